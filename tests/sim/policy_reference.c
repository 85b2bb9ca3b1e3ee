/* The reference: one who sees everything at once, and decides for all. Not part of the program: what the peers
 * come to is held against it.
 *
 * Every guest has a desired level: its demand ÷ the range's top, at most a CPU; doubled or shrunk after the
 * condition has held for `needed` evaluations. An environment whose hosts are desired more of than they have
 * goes, whole, to a domain that has the room, once both were so for `needed` evaluations: the smallest first.
 * The room is the domain's aggregate: guests of less than a CPU are packed on fewer hosts to make it, after the
 * newcomers have come. A guest that moves stalls for PW_STALL and keeps its level at its source.
 * Memory: out of range for `needed` evaluations means double, or shrunk to the middle of the range; what the
 * hosts don't have is made by another environment's going, if its leaving is enough. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/policy_run.h"

#define EPS 1e-6

struct env_view {
    double level;
    unsigned above, below, room; /* evaluations in a row */
    unsigned more, less;         /* of memory */
    bool moving;
};

struct packing {
    unsigned guest, to;
};

struct central {
    struct pw_world *w;
    struct env_view *env;
    unsigned *place;                        /* of each guest of the plan at hand */
    struct packing *pack, *planned;         /* planned: begins when the environment that moves has come */
    unsigned n_pack, n_planned, waits_for;  /* environment; PW_NOWHERE: none */
    unsigned next_order;
    double *left;    /* CPU of each host in the plan at hand */
    double *left_kb;
};

static double desired(const struct central *c, unsigned env)
{
    double d = pw_guest_demand(c->w, c->w->env[env].first) / c->w->s->range_high;

    return fmin(1, d);
}

static bool runs(const struct central *c, unsigned env)
{
    return c->w->env[env].state == PW_RUNS;
}

static unsigned domain_of(const struct central *c, unsigned env)
{
    return c->w->host[c->w->guest[c->w->env[env].first].host].domain;
}

/* What each host of a domain has left once everybody there, or coming, has its level. */
static void leave(struct central *c, unsigned domain)
{
    const struct pw_domain *d = &c->w->s->domain[domain];

    for (unsigned h = d->first; h < d->first + d->hosts; h++) {
        c->left[h] = d->cpus;
        c->left_kb[h] = (double)pw_free_kb(c->w, h);
    }
    for (unsigned g = 0; g < c->w->n_guests; g++) {
        const struct pw_guest *at = &c->w->guest[g];
        unsigned h = at->streaming || at->streamed ? at->to : at->host;

        if (at->host != PW_NOWHERE && c->w->host[h].domain == domain && runs(c, at->env))
            c->left[h] -= desired(c, at->env);
    }
}

static bool is_short(struct central *c, unsigned env)
{
    const struct pw_env_state *e = &c->w->env[env];

    leave(c, domain_of(c, env));
    for (unsigned k = 0; k < c->w->s->env[env].guests; k++)
        if (c->left[c->w->guest[e->first + k].host] < -EPS)
            return true;
    return false;
}

/* ---- where it would fit ---- */

static bool place(struct central *c, unsigned env, unsigned domain)
{
    const struct pw_domain *d = &c->w->s->domain[domain];
    double level = desired(c, env), kb = (double)c->w->guest[c->w->env[env].first].kb;

    for (unsigned k = 0; k < c->w->s->env[env].guests; k++) {
        unsigned best = PW_NOWHERE;

        for (unsigned h = d->first; h < d->first + d->hosts; h++)
            if (c->left[h] + EPS >= level && c->left_kb[h] >= kb && (best == PW_NOWHERE || c->left[h] > c->left[best] + EPS))
                best = h;
        if (best == PW_NOWHERE)
            return false;
        c->left[best] -= level;
        c->left_kb[best] -= kb;
        c->place[k] = best;
    }
    return true;
}

static bool is_small(const struct central *c, unsigned guest, unsigned domain)
{
    const struct pw_guest *g = &c->w->guest[guest];

    return g->host != PW_NOWHERE && c->w->host[g->host].domain == domain && runs(c, g->env) && !g->streaming &&
           !g->streamed && desired(c, g->env) < 1 - EPS;
}

/* The small guests of a domain on its first `hosts` hosts; those that are there stay. */
static bool pack_on(struct central *c, unsigned domain, unsigned hosts)
{
    unsigned first = c->w->s->domain[domain].first;

    leave(c, domain);
    c->n_pack = 0;
    for (unsigned g = 0; g < c->w->n_guests; g++) {
        const struct pw_guest *at = &c->w->guest[g];
        unsigned to = first;

        if (!is_small(c, g, domain) || at->host < first + hosts)
            continue;
        while (to < first + hosts && (c->left[to] + EPS < desired(c, at->env) || c->left_kb[to] < (double)at->kb))
            to++;
        if (to == first + hosts)
            return false;
        c->left[to] -= desired(c, at->env);
        c->left_kb[to] -= (double)at->kb;
        c->left[at->host] += desired(c, at->env);
        c->left_kb[at->host] += (double)at->kb;
        c->pack[c->n_pack++] = (struct packing){g, to};
    }
    return true;
}

/* Is there room, if need be by packing? The plan is in place[] and pack[]. */
static bool fits(struct central *c, unsigned env, unsigned domain)
{
    c->n_pack = 0;
    leave(c, domain);
    if (place(c, env, domain))
        return true;
    for (unsigned hosts = c->w->s->domain[domain].hosts - 1; hosts > 0; hosts--)
        if (pack_on(c, domain, hosts) && place(c, env, domain))
            return true;
    return false;
}

/* ---- moving ---- */

static void go(struct central *c, unsigned env)
{
    for (unsigned k = 0; k < c->w->s->env[env].guests; k++) {
        unsigned g = c->w->env[env].first + k;

        c->w->host[c->place[k]].reserved_kb += c->w->guest[g].kb;
        pw_stream(c->w, g, c->place[k], PW_STALL, c->env[env].level);
    }
    c->env[env].moving = true;
    c->n_planned = c->n_pack;
    memcpy(c->planned, c->pack, c->n_pack * sizeof *c->pack);
    c->waits_for = env;
}

static void arrivals(struct central *c)
{
    for (unsigned g = 0; g < c->w->n_guests; g++)
        if (c->w->guest[g].streamed) {
            c->w->host[c->w->guest[g].to].reserved_kb -= c->w->guest[g].kb;
            pw_activate(c->w, g);
            c->env[c->w->guest[g].env].moving = false;
        }
    if (c->waits_for == PW_NOWHERE || c->env[c->waits_for].moving)
        return;
    c->waits_for = PW_NOWHERE;
    for (unsigned k = 0; k < c->n_planned; k++) {
        const struct pw_guest *g = &c->w->guest[c->planned[k].guest];

        if (!runs(c, g->env))
            continue;
        c->w->host[c->planned[k].to].reserved_kb += g->kb;
        c->env[g->env].moving = true;
        pw_stream(c->w, c->planned[k].guest, c->planned[k].to, PW_STALL, c->env[g->env].level);
    }
    c->n_planned = 0;
}

/* ---- evaluating ---- */

static void levels(struct central *c)
{
    for (unsigned e = 0; e < c->w->s->n_envs; e++) {
        struct env_view *v = &c->env[e];
        double demand;

        if (!runs(c, e))
            continue;
        demand = pw_guest_demand(c->w, c->w->env[e].first);
        if (v->level <= 0)
            v->level = desired(c, e);
        v->above = demand > v->level * c->w->s->range_high ? v->above + 1 : 0;
        v->below = demand < v->level * c->w->s->range_low ? v->below + 1 : 0;
        if (v->above >= c->w->s->needed)
            v->level = fmin(1, 2 * v->level);
        if (v->below >= c->w->s->needed)
            v->level = desired(c, e);
    }
}

static void consider_cpu(struct central *c)
{
    unsigned best = PW_NOWHERE, where = 0;

    for (unsigned e = 0; e < c->w->s->n_envs; e++) {
        bool room = false;

        if (!runs(c, e) || c->env[e].moving || !is_short(c, e)) {
            c->env[e].room = 0;
            continue;
        }
        for (unsigned d = 0; d < c->w->s->n_domains && !room; d++)
            if (d != domain_of(c, e) && fits(c, e, d)) {
                room = true;
                if (++c->env[e].room >= c->w->s->needed &&
                    (best == PW_NOWHERE || c->w->s->env[e].guests < c->w->s->env[best].guests)) {
                    best = e;
                    where = d;
                }
            }
        if (!room)
            c->env[e].room = 0;
    }
    if (best != PW_NOWHERE && c->waits_for == PW_NOWHERE && fits(c, best, where)) {
        go(c, best);
        c->env[best].room = 0;
    }
}

static uint64_t shortest_kb(const struct central *c, unsigned env, uint64_t want)
{
    uint64_t most = 0;

    for (unsigned k = 0; k < c->w->s->env[env].guests; k++) {
        const struct pw_guest *g = &c->w->guest[c->w->env[env].first + k];
        uint64_t have = g->kb + pw_free_kb(c->w, g->host);

        if (want > have && want - have > most)
            most = want - have;
    }
    return most;
}

/* An environment of the same domain whose guests, gone, leave enough on each host of env's; else itself. */
static void make_room(struct central *c, unsigned env, uint64_t missing)
{
    for (unsigned v = 0; v < c->w->s->n_envs; v++) {
        bool helps = v != env && runs(c, v) && !c->env[v].moving && domain_of(c, v) == domain_of(c, env);

        for (unsigned k = 0; helps && k < c->w->s->env[env].guests; k++) {
            unsigned host = c->w->guest[c->w->env[env].first + k].host, i = 0;

            while (i < c->w->s->env[v].guests && (c->w->guest[c->w->env[v].first + i].host != host ||
                                                 c->w->guest[c->w->env[v].first + i].kb < missing))
                i++;
            helps = i < c->w->s->env[v].guests;
        }
        for (unsigned d = 0; helps && d < c->w->s->n_domains; d++)
            if (d != domain_of(c, v) && fits(c, v, d)) {
                go(c, v);
                return;
            }
    }
}

static void resize(struct central *c, unsigned env, uint64_t kb)
{
    for (unsigned k = 0; k < c->w->s->env[env].guests; k++)
        pw_set_memory(c->w, c->w->env[env].first + k, kb);
    c->env[env].more = c->env[env].less = 0;
}

static void consider_memory(struct central *c)
{
    const struct pw_scenario *s = c->w->s;

    for (unsigned e = 0; e < s->n_envs; e++) {
        struct env_view *v = &c->env[e];
        const struct pw_guest *g = &c->w->guest[c->w->env[e].first];
        double used = (double)c->w->env[e].used_kb;
        uint64_t want = 2 * g->kb < s->env[e].max_kb ? 2 * g->kb : s->env[e].max_kb, missing;

        if (!runs(c, e) || v->moving)
            continue;
        v->more = used > s->range_high * (double)g->kb ? v->more + 1 : 0;
        v->less = used < s->range_low * (double)g->kb ? v->less + 1 : 0;
        if (v->more >= s->needed && want > g->kb) {
            missing = shortest_kb(c, e, want);
            if (!missing)
                resize(c, e, want);
            else if (c->waits_for == PW_NOWHERE)
                make_room(c, e, missing);
        } else if (v->less >= s->needed) {
            want = (uint64_t)(used / ((s->range_low + s->range_high) / 2));
            want = want > s->floor_kb ? want : s->floor_kb;
            if (want < g->kb)
                resize(c, e, want);
        }
    }
}

static void orders(struct central *c)
{
    const struct pw_scenario *s = c->w->s;

    while (c->next_order < s->n_orders && s->order[c->next_order].at <= c->w->now) {
        const struct pw_order *o = &s->order[c->next_order++];

        if (runs(c, o->env) && !c->env[o->env].moving && domain_of(c, o->env) != o->domain && fits(c, o->env, o->domain))
            go(c, o->env);
    }
}

static void evaluate(struct central *c)
{
    levels(c);
    consider_memory(c);
    consider_cpu(c);
    pw_create_due(c->w);
}

bool policy_reference_play(struct pw_world *w)
{
    const struct pw_scenario *s = w->s;
    struct central c = {.w = w, .waits_for = PW_NOWHERE};
    vi_time next = 0;
    bool ok;

    c.env = calloc(s->n_envs + 1, sizeof *c.env);
    c.place = calloc(PW_GUESTS, sizeof *c.place);
    c.pack = calloc(w->n_guests + 1, sizeof *c.pack);
    c.planned = calloc(w->n_guests + 1, sizeof *c.planned);
    c.left = calloc(s->n_hosts, sizeof *c.left);
    c.left_kb = calloc(s->n_hosts, sizeof *c.left_kb);
    ok = c.env && c.place && c.pack && c.planned && c.left && c.left_kb;
    while (ok && w->now < s->length && !pw_over(w)) {
        vi_time t = pw_next(w), o = c.next_order < s->n_orders ? s->order[c.next_order].at : VI_NEVER;

        t = t < next ? t : next;
        t = t < o ? t : o;
        pw_advance(w, t < s->length ? t : s->length);
        arrivals(&c);
        orders(&c);
        if (w->now >= next) {
            evaluate(&c);
            next += s->period;
        }
    }
    free(c.env);
    free(c.place);
    free(c.pack);
    free(c.planned);
    free(c.left);
    free(c.left_kb);
    return ok;
}
