/* Which environment should leave an overloaded domain. What is missing is counted twice: now, host by host; and once
 * the environment has gone, for the domain as a whole, for its hosts divide what is left among themselves. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy/envmove.h"

#define ENVS 64 /* of a domain; more aren't considered */
#define LEAST_LIFE VI_MIN
#define MOST_LIFE  VI_HOUR

struct sums {
    double missing_pct;   /* what guests should have and the hosts don't */
    double missing_kb;
    double pct, kb;       /* what all guests should have */
    double capacity_pct, total_kb;
};

static struct sums sum_up(const struct envmove_seen *h, unsigned n)
{
    struct sums s = {0};
    for (unsigned i = 0; i < n; i++) {
        s.capacity_pct += h[i].capacity_pct;
        s.total_kb += (double)h[i].total_kb;
        s.pct += h[i].capacity_pct - h[i].free_pct;
        s.kb += (double)h[i].total_kb - (double)h[i].free_kb;
        s.missing_pct += h[i].free_pct < 0 ? -h[i].free_pct : 0;
        s.missing_kb += h[i].free_kb < 0 ? -(double)h[i].free_kb : 0;
    }
    return s;
}

static struct envmove_choice *entry(struct envmove_choice *all, unsigned *n, const struct vi_id *env)
{
    for (unsigned i = 0; i < *n; i++)
        if (vi_id_equal(&all[i].env, env))
            return &all[i];
    if (*n == ENVS)
        return NULL;
    memset(&all[*n], 0, sizeof all[0]);
    all[*n].env = *env;
    return &all[(*n)++];
}

static unsigned gather(struct envmove_choice *all, const struct envmove_config *cfg, const struct envmove_seen *h,
                       unsigned n_hosts)
{
    unsigned n = 0;
    for (unsigned i = 0; i < n_hosts; i++)
        for (unsigned k = 0; k < h[i].n; k++) {
            const struct envmove_guest *g = &h[i].guest[k];
            struct envmove_choice *c = g->movable && g->running ? entry(all, &n, &g->env) : NULL;
            if (!c)
                continue;
            c->guests++;
            c->kb += g->kb;
            c->size_kb += g->size_kb;
            c->pct += g->pct;
            c->age = g->age > c->age ? g->age : c->age;
            c->cost_s += ((double)g->size_kb / cfg->bandwidth_kbps / 2 + cfg->pause_s) * (g->pct + 5) / 100;
        }
    return n;
}

/* One host knows it: none of its guests goes by itself. */
static bool stays(const struct envmove_seen *h, unsigned n_hosts, const struct vi_id *env)
{
    for (unsigned i = 0; i < n_hosts; i++)
        for (unsigned k = 0; k < h[i].n; k++)
            if (h[i].guest[k].stays && vi_id_equal(&h[i].guest[k].env, env))
                return true;
    return false;
}

/* Memory that is missing holds a guest up as a missing share of a mean host would. */
static void judge(struct envmove_choice *c, const struct envmove_config *cfg, const struct sums *s, unsigned n_hosts)
{
    double over_pct = s->pct - c->pct - s->capacity_pct, over_kb = s->kb - (double)c->kb - s->total_kb;
    double after_pct = fmin(s->missing_pct, over_pct > 0 ? over_pct : 0);
    double after_kb = fmin(s->missing_kb, over_kb > 0 ? over_kb : 0);
    double memory = s->total_kb > 0 ? (s->missing_kb - after_kb) / s->total_kb * n_hosts : 0;
    c->gain_s = ((s->missing_pct - after_pct) / 100 + memory) * (double)cfg->horizon / 1e6;
    c->solves = after_pct < 1 && after_kb < 1;
}

/* What a move costs, for each second that it is expected to be of use: what has run for long is expected to go on for
 * as long again (Harchol-Balter and Downey, "Exploiting process lifetime distributions for dynamic load balancing",
 * 1997, §3). */
static double price(const struct envmove_choice *c)
{
    vi_time life = c->age > LEAST_LIFE ? c->age : LEAST_LIFE;
    return c->cost_s / (double)(life < MOST_LIFE ? life : MOST_LIFE);
}

static int better(const void *x, const void *y)
{
    const struct envmove_choice *a = x, *b = y;
    double p = price(a), q = price(b);
    if (a->solves != b->solves)
        return a->solves ? -1 : 1;
    if (a->solves && (p < q || p > q))
        return p < q ? -1 : 1;
    if (!a->solves && (a->gain_s - a->cost_s < b->gain_s - b->cost_s || a->gain_s - a->cost_s > b->gain_s - b->cost_s))
        return a->gain_s - a->cost_s > b->gain_s - b->cost_s ? -1 : 1;
    return vi_id_compare(&a->env, &b->env);
}

unsigned envmove_choose(const struct envmove_config *cfg, const struct envmove_seen *hosts, unsigned n_hosts,
                        bool (*may)(void *arg, const struct vi_id *env), void *arg, struct envmove_choice *out,
                        unsigned most)
{
    struct envmove_choice all[ENVS];
    struct sums s = sum_up(hosts, n_hosts);
    unsigned n = gather(all, cfg, hosts, n_hosts), kept = 0;
    for (unsigned i = 0; i < n; i++) {
        judge(&all[i], cfg, &s, n_hosts);
        if (all[i].gain_s > all[i].cost_s && !stays(hosts, n_hosts, &all[i].env) && may(arg, &all[i].env))
            all[kept++] = all[i];
    }
    qsort(all, kept, sizeof all[0], better);
    kept = kept < most ? kept : most;
    memcpy(out, all, kept * sizeof all[0]);
    return kept;
}
