/* A host that is wanted much more of than it has doesn't wait for its next evaluations: it glances, between two of them, at
 * what its guests used since the last full one. So what must hold for k of n looks is known to hold within seconds, and
 * what only flared up in one of them still moves nobody. Weights and memory stay with the full evaluations. */
#include <math.h>

#include "policy/internal.h"

#define SHORT   0.02 /* of what the host has: less is measuring */
#define PRESSES 0.05 /* several of its guests may leave at once then, and the next as soon as one has left */
#define GLANCE  0.15 /* it doesn't wait */
#define TWICE   0.30 /* one look that finds so much counts as two: noise isn't like that */
#define PART    5    /* glances are a fifth of a period apart … */
#define PARTS   1
#define GLANCES 2    /* … and so few that the last full evaluation stays the basis */

/* What is wanted beyond what there is, as a part of that. */
static double lacks(const struct policy *p, double leaving)
{
    double capacity = policy_capacity(p), wanted = p->load.demand_pct - leaving;
    return capacity > 0 && wanted > capacity ? wanted / capacity - 1 : 0;
}

bool policy_presses(const struct policy *p)
{
    return lacks(p, p->leaving_pct) > PRESSES;
}

static void look_again(struct policy *p, vi_time now)
{
    vi_time soon = now + p->cfg.period * PARTS / PART, full = p->evaluated_at + p->cfg.period;
    p->next = p->glances > 0 && soon < full ? soon : full;
}

static void note_look(struct policy *p, double part)
{
    p->cpu_short = p->cpu_short << 1 | (part > SHORT);
    if (part > TWICE)
        p->cpu_short = p->cpu_short << 1 | 1;
}

void policy_judge_host(struct policy *p, vi_time now)
{
    double part = lacks(p, 0);
    note_look(p, part);
    p->glances = part > GLANCE && !policy_k_of_n(p, p->cpu_short) ? GLANCES : 0;
    look_again(p, now);
}

/* Since the last full evaluation. Who came after it has no figures yet: what was said of it stands. */
static void demand_since(struct policy *p, vi_time now, const struct policy_guest *in)
{
    struct guest_state *g = policy_guest_find(p, &in->uuid);
    double span = g ? (double)((p->read_at ? p->read_at : now) - g->last_at) * 1000.0 : 0, most = 100.0 * in->vcpus, demand;
    if (!g)
        return;
    g->in.frozen = in->frozen;
    if (!g->measured || span <= 0 || in->cpu_time_ns < g->last_cpu_ns)
        return;
    demand = (double)(in->cpu_time_ns - g->last_cpu_ns) * 100.0 / span;
    if (g->report_good && g->has_steal && in->report && in->steal_ms >= g->last_steal_ms)
        demand += (double)(in->steal_ms - g->last_steal_ms) * 1e6 * 100.0 / span;
    g->demand_pct = fmin(demand, most);
}

void policy_glance(struct policy *p, vi_time now, const struct policy_snapshot *s)
{
    double demand = 0, level = 0;
    p->read_at = s->at;
    for (unsigned i = 0; i < s->n_guests; i++)
        demand_since(p, now, &s->guests[i]);
    for (unsigned i = 0; i < p->top; i++)
        if (p->guests[i].used && (p->guests[i].in.running || p->guests[i].awaited)) {
            demand += p->guests[i].demand_pct;
            level += policy_level(p->guests[i].demand_pct, p->cfg.range_high);
        }
    p->load.demand_pct = demand;
    p->level_pct = level;
    note_look(p, lacks(p, 0));
    p->glances = lacks(p, 0) > GLANCE ? p->glances - 1 : 0;
    look_again(p, now);
}
