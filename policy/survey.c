/* What a host knows, as its environment moves' core asks for it. See survey.h. */
#include "policy/survey.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

/* ---- hosts, domains ---- */

/* The part that is free of what is scarcer; guests of other domains before all. */
static double room_of(const struct survey_host *h)
{
    const struct policy_load *l = &h->load;
    double m = l->total_kb ? (double)l->free_kb / (double)l->total_kb : 0;
    double c = l->capacity_pct > 0 ? (l->capacity_pct - l->demand_pct) / l->capacity_pct : 0;
    return h->foreign ? INFINITY : fmin(m, c);
}

static int by_room(const void *a, const void *b)
{
    const struct survey_host *x = a, *y = b;
    double p = room_of(x), q = room_of(y);
    return p < q ? 1 : p > q ? -1 : vi_id_compare(&x->id, &y->id);
}

unsigned survey_hosts(struct survey_host *all, unsigned n, struct vi_id *out, unsigned most)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < n; i++)
        if (!all[i].load.observes || all[i].foreign)
            all[kept++] = all[i];
    if (kept > 0)
        qsort(all, kept, sizeof all[0], by_room);
    kept = kept < most ? kept : most;
    for (unsigned i = 0; i < kept; i++)
        out[i] = all[i].id;
    return kept;
}

struct ranked {
    const struct survey_domain *d;
    double times; /* how often what is needed would fit there, by what there is least of */
};

static int by_times(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return x->times < y->times ? 1 : x->times > y->times ? -1 : vi_id_compare(&x->d->id, &y->d->id);
}

unsigned survey_domains(struct survey_domain *all, unsigned n, uint64_t kb, double pct, struct vi_id *out, unsigned most)
{
    struct ranked *r = n ? calloc(n, sizeof *r) : NULL;
    unsigned kept = 0;
    for (unsigned i = 0; r && i < n; i++) {
        double free_pct = all[i].capacity_pct - all[i].demand_pct;
        if (all[i].free_kb < kb || free_pct < pct)
            continue;
        r[kept].d = &all[i];
        r[kept++].times = fmin((double)all[i].free_kb / (double)(kb ? kb : 1024), free_pct / (pct > 0 ? pct : 1));
    }
    if (kept > 0)
        qsort(r, kept, sizeof r[0], by_times);
    kept = kept < most ? kept : most;
    for (unsigned i = 0; i < kept; i++)
        out[i] = r[i].d->id;
    free(r);
    return kept;
}

void survey_add(struct survey_total *t, const struct policy_load *l)
{
    t->capacity_pct += l->capacity_pct;
    t->demand_pct += l->demand_pct;
    t->total_kb += l->total_kb;
    t->free_kb += l->free_kb;
}

/* ---- this host ---- */

static struct envmove_guest of_guest(const struct policy *p, vi_time now, const struct survey_guest *g)
{
    struct policy_needs needs = {.kb = g->target_kb > g->current_kb ? g->target_kb : g->current_kb};
    struct envmove_guest out = {.uuid = g->uuid, .env = g->env, .size_kb = needs.kb, .movable = g->movable,
                                .running = g->running};
    (void)policy_needs(p, &g->uuid, &needs);
    out.kb = needs.kb > out.size_kb ? needs.kb : out.size_kb;
    out.pct = needs.pct;
    out.age = policy_age(p, now, &g->uuid);
    out.stays = policy_moves_left(p, now, &g->env) == 0;
    return out;
}

/* The smallest are told of first; the others are only counted. */
static void tell_of(struct envmove_seen *out, const struct envmove_guest *g)
{
    unsigned at = out->n;
    if (out->n == ENVMOVE_SEEN) {
        out->more++;
        if (out->guest[--at].size_kb <= g->size_kb)
            return;
    } else
        out->n++;
    for (; at > 0 && out->guest[at - 1].size_kb > g->size_kb; at--)
        out->guest[at] = out->guest[at - 1];
    out->guest[at] = *g;
}

void survey_look(const struct policy *p, vi_time now, uint64_t leased_kb, double promised_pct,
                 const struct survey_guest *guests, unsigned n, const struct vi_id *env, const struct vi_id *home, struct envmove_seen *out)
{
    const struct policy_load *l = policy_own_load(p);
    memset(out, 0, sizeof *out);
    out->total_kb = l->total_kb;
    out->capacity_pct = l->capacity_pct;
    out->free_kb = (int64_t)l->free_kb + (int64_t)leased_kb;
    out->free_pct = l->capacity_pct - promised_pct;
    for (unsigned i = 0; i < n; i++) {
        struct envmove_guest x = of_guest(p, now, &guests[i]);
        out->free_kb -= (int64_t)(x.kb - x.size_kb);
        out->free_pct -= x.pct;
        if (vi_id_equal(&guests[i].home, home)) {
            out->of_home.guests++;
            out->of_home.kb += x.size_kb;
            out->of_home.pct += x.pct;
        }
        if (vi_id_is_zero(env) || vi_id_equal(env, &guests[i].env))
            tell_of(out, &x);
    }
}

int survey_admit(const struct envmoves *moves, vi_time now, const struct vi_id *guest, const struct vi_id *from,
                 bool foreign, struct policy_needs *needs, uint64_t *kb, double *pct, bool *leased)
{
    uint64_t all_kb, own_kb = 0;
    double all_pct, own_pct = 0;
    *leased = envmove_lease_of(moves, now, guest, from, &own_kb, &own_pct);
    if (!*leased && foreign)
        return VI_EREFUSED;
    (void)envmove_leased(moves, &all_kb, &all_pct);
    *kb += all_kb;
    *pct += all_pct;
    needs->kb -= needs->kb < own_kb ? needs->kb : own_kb;
    needs->pct -= needs->pct < own_pct ? needs->pct : own_pct;
    return 0;
}
