/* Many simulated peers. See scale.h. */
#include "tests/sim/scale.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CPUS       4
#define LOOK_EVERY (100 * VI_MSEC)
#define NOISE_STEP (10 * VI_SEC)

void scale_config_init(struct scale_config *c, uint64_t seed)
{
    *c = (struct scale_config){.seed = seed, .domains = 1, .hosts = 500, .guests = 10, .hot = 5, .hot_domains = 1,
                               .hot_guests = 6, .base = .2, .wants = .9, .before = 100 * VI_SEC, .after = 60 * VI_SEC};
}

/* ---- the scenario ---- */

static void stages(struct pw_env *e, const struct scale_config *c, bool hot, struct vi_rng *r)
{
    vi_time at = 0;

    while (c->noise > 0 && at + NOISE_STEP < c->before && e->n_stages + 2 < PW_STAGES) {
        double demand = c->base + (2 * vi_rng_unit(r) - 1) * c->noise;

        e->stage[e->n_stages++] = (struct pw_stage){demand, demand * NOISE_STEP / 1e6};
        at += NOISE_STEP;
    }
    if (hot) {
        e->stage[e->n_stages++] = (struct pw_stage){c->base, c->base * (double)(c->before - at) / 1e6};
        e->stage[e->n_stages++] = (struct pw_stage){c->wants, INFINITY};
    } else {
        e->stage[e->n_stages++] = (struct pw_stage){c->base, INFINITY};
    }
}

/* Guests are dealt out to hosts one by one: the k-th of a host is environment k × hosts + host of its domain. */
static bool make(struct pw_scenario *s, const struct scale_config *c)
{
    struct vi_rng r;
    unsigned n_envs = c->domains * c->hosts * c->guests;

    memset(s, 0, sizeof *s);
    vi_rng_seed(&r, c->seed);
    snprintf(s->name, sizeof s->name, "scale");
    s->length = c->before + c->after + VI_HOUR;
    s->period = c->period ? c->period : 5 * VI_SEC;
    s->needed = 3;
    s->range_low = .4;
    s->range_high = .75;
    s->floor_kb = 64 * PW_MIB;
    s->link_kbps = 1e9 / 8 / 1024;
    s->domain = calloc(c->domains, sizeof *s->domain);
    s->env = calloc(n_envs, sizeof *s->env);
    if (!s->domain || !s->env)
        return false;
    for (unsigned d = 0; d < c->domains; d++) {
        s->domain[d] = (struct pw_domain){.hosts = c->hosts, .first = d * c->hosts, .cpus = CPUS, .kb = 16384 * PW_MIB};
        snprintf(s->domain[d].name, sizeof s->domain[d].name, "d%u", d);
    }
    s->n_domains = c->domains;
    s->n_hosts = c->domains * c->hosts;
    s->n_envs = n_envs;
    for (unsigned e = 0; e < n_envs; e++) {
        unsigned of = e % (c->hosts * c->guests), host = of % c->hosts;
        struct pw_env *x = &s->env[e];

        x->domain = x->domain_static = e / (c->hosts * c->guests);
        snprintf(x->name, sizeof x->name, "e%u", e);
        x->guests = 1;
        x->kb = x->max_kb = 256 * PW_MIB;
        x->dirty_kbps = 5 * 1024;
        x->n_uses = 1;
        x->use[0].kb = 150 * PW_MIB;
        stages(x, c, x->domain < c->hot_domains && host < c->hot && of / c->hosts < c->hot_guests, &r);
    }
    return true;
}

/* ---- looking on ---- */

struct watch {
    const struct pw_world *w;
    struct scale_result *r;
    unsigned notes;
    bool print;
    bool *came;           /* guests came to this host */
    bool *over_range, *over;
    unsigned *left;       /* guests that left it */
    unsigned *first_host; /* of each guest */
    vi_time hot, unserved_at;
};

static void take_notes(struct watch *x)
{
    for (; x->notes < x->w->n_notes; x->notes++) {
        const struct pw_note *n = &x->w->note[x->notes];

        if (x->print && (n->kind == PW_LEAVES || n->kind == PW_ARRIVES || n->kind == PW_STAYS))
            printf("%8.3f s  %s %s, from host %u to %u\n", (double)(n->at - x->hot) / 1e6, x->w->s->env[n->env].name,
                   pw_note_names[n->kind], n->from, n->to);
        if (n->kind == PW_LEAVES && n->at >= x->hot && x->r->first_leaves_s < 0)
            x->r->first_leaves_s = (double)(n->at - x->hot) / 1e6;
        if (n->kind != PW_ARRIVES)
            continue;
        if (n->at < x->hot)
            x->r->moves_before++;
        else
            x->r->moves++;
        x->came[n->to] = true;
        if (++x->left[n->from] > x->r->most_moves)
            x->r->most_moves = x->left[n->from];
        if (x->first_host[n->guest] == PW_NOWHERE)
            x->first_host[n->guest] = n->from;
        else
            x->r->returns += x->first_host[n->guest] == n->to;
    }
}

/* Is a guest out of its range for want of what the host has? Who wants nearly a whole CPU can't have more than that. */
static bool out_of_range(const struct pw_world *w, unsigned host)
{
    double level = 0;

    for (unsigned k = 0; k < w->host[host].n; k++)
        level += policy_level(100 * pw_guest_demand(w, w->host[host].guest[k]), w->s->range_high);
    return level > 100.0 * CPUS * 1.005;
}

static void look(struct watch *x)
{
    double unserved = 0;

    take_notes(x);
    for (unsigned h = 0; h < x->w->s->n_hosts; h++) {
        double wants = pw_demand(x->w, h), of = wants / CPUS;

        unserved += wants > CPUS + 1e-6 ? wants - CPUS : 0;
        if (!x->came[h])
            continue;
        x->r->fullest_pct = fmax(x->r->fullest_pct, 100 * of);
        if (!x->over_range[h] && out_of_range(x->w, h)) {
            x->over_range[h] = true;
            x->r->over_range++;
        }
        x->r->over += !x->over[h] && of > 1 + 1e-6;
        x->over[h] |= of > 1 + 1e-6;
    }
    x->r->unserved_pct = fmax(x->r->unserved_pct, 100 * unserved);
    if (unserved > 0)
        x->unserved_at = x->w->now;
}

static bool watch_open(struct watch *x, const struct pw_world *w, struct scale_result *r, vi_time hot)
{
    *x = (struct watch){.w = w, .r = r, .hot = hot, .unserved_at = hot};
    x->came = calloc(w->s->n_hosts, sizeof *x->came);
    x->over_range = calloc(w->s->n_hosts, sizeof *x->over_range);
    x->over = calloc(w->s->n_hosts, sizeof *x->over);
    x->left = calloc(w->s->n_hosts, sizeof *x->left);
    x->first_host = calloc(w->n_guests, sizeof *x->first_host);
    for (unsigned g = 0; x->first_host && g < w->n_guests; g++)
        x->first_host[g] = PW_NOWHERE;
    return x->came && x->over_range && x->over && x->left && x->first_host;
}

static void watch_close(struct watch *x)
{
    free(x->came);
    free(x->over_range);
    free(x->over);
    free(x->left);
    free(x->first_host);
}

/* ---- running ---- */

static double all_bytes(const struct violin *v, double *each, double per)
{
    double sum = 0;

    for (unsigned k = 0; k < VIOLIN_CHANNELS; k++) {
        double b = (double)violin_count(v)->bytes[k] / per;

        if (each)
            each[k] = b;
        sum += b;
    }
    return sum;
}

static bool play(struct violin *v, struct pw_world *w, const struct scale_config *c, struct scale_result *out)
{
    vi_time settled = c->before * 2 / 3, end = c->before + c->after;
    struct watch x;
    double p99;
    bool ok = watch_open(&x, w, out, c->before) && violin_run(v, settled);

    x.print = c->events;

    violin_count_reset(v);
    ok = ok && violin_run(v, c->before - 1);
    (void)all_bytes(v, out->bytes, (double)(c->before - settled) / 1e6 * w->s->n_hosts);
    if (c->measure)
        (void)violin_evaluations(v, false, &out->ns_median, &out->ns_p99);
    ok = ok && violin_ages(v, &out->age_s, &out->age_p99_s);
    violin_count_reset(v);
    for (vi_time t = c->before + LOOK_EVERY; ok && t <= end; t += LOOK_EVERY) {
        ok = violin_run(v, t);
        if (ok)
            look(&x);
    }
    if (ok) {
        out->busy_bytes = all_bytes(v, NULL, (double)c->after / 1e6 * w->s->n_hosts);
        if (c->measure)
            (void)violin_evaluations(v, true, &out->look_ns, &p99);
        out->most_arrivals = violin_count(v)->most_arrivals;
        out->resolved_s = x.unserved_at >= end - VI_SEC ? -1 : (double)(x.unserved_at + LOOK_EVERY - c->before) / 1e6;
        out->hash = violin_hash(v);
    }
    watch_close(&x);
    return ok;
}

bool scale_run(const struct scale_config *c, struct scale_result *out)
{
    struct pw_scenario s;
    struct violin_config vc;
    struct pw_world *w;
    struct violin *v = NULL;
    bool ok;

    *out = (struct scale_result){.first_leaves_s = -1, .resolved_s = -1};
    violin_config_init(&vc, c->seed);
    vc.measure = c->measure;
    ok = make(&s, c);
    w = ok ? pw_new(&s, false) : NULL;
    if (w)
        v = violin_new(&vc, w);
    ok = v && play(v, w, c, out);
    violin_free(v);
    pw_free(w);
    free(s.domain);
    free(s.env);
    return ok;
}
