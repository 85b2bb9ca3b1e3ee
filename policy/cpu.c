/* Entitlements and weights. */
#include <math.h>
#include <string.h>

#include "policy/internal.h"

#define LEAST_PCT    5.0
#define WEIGHT_STEP  0.05 /* a weight that differs by less stays */

void policy_divide(double capacity, unsigned n, const double *want, const double *shares, double *out)
{
    bool done[POLICY_GUESTS] = {false};
    double left = capacity > 0 ? capacity : 0;
    for (unsigned i = 0; i < n; i++)
        out[i] = 0;
    for (unsigned round = 0; round < n; round++) {
        double sum = 0, taken = 0;
        bool someone = false;
        for (unsigned i = 0; i < n; i++)
            if (!done[i])
                sum += shares[i];
        if (sum <= 0)
            return;
        for (unsigned i = 0; i < n; i++) /* those who want less than their part get all they want */
            if (!done[i] && want[i] <= left * shares[i] / sum) {
                out[i] = want[i];
                taken += want[i];
                done[i] = someone = true;
            }
        left = left > taken ? left - taken : 0;
        if (someone)
            continue;
        for (unsigned i = 0; i < n; i++) /* everybody left wants more: by shares */
            if (!done[i])
                out[i] = left * shares[i] / sum;
        return;
    }
}

static double recent_peak(const struct guest_state *g)
{
    double most = 0;
    for (unsigned i = 0; i < g->n_recent; i++)
        most = fmax(most, g->recent_pct[i]);
    return most;
}

/* What a guest should have: kept while its utilisation is in range, doubled above, shrunk below.
 * Only when its latest peak is below the range too is it shrunk, and then by that peak: else a
 * small load that comes and goes would have its weight go up and down with it. */
static double desired(const struct policy *p, const struct guest_state *g)
{
    double most = 100.0 * g->in.vcpus, mid = (p->cfg.range_low + p->cfg.range_high) / 2;
    double e = g->entitlement;
    if (!g->measured)
        e = e > 0 ? e : most;
    else if (e <= 0 || policy_k_of_n(p, g->cpu_above))
        e = fmax(2 * e, g->demand_pct / mid);
    else if (policy_k_of_n(p, g->cpu_below) && recent_peak(g) < p->cfg.range_low * e)
        e = recent_peak(g) / mid;
    return fmin(most, fmax(LEAST_PCT, e));
}

static uint32_t weight_of(double entitlement)
{
    double w = round(entitlement * 256.0 / 100.0);
    return w < 1 ? 1 : w > 65535 ? 65535 : (uint32_t)w;
}

static void set_weight(struct policy *p, vi_time now, struct guest_state *g)
{
    uint32_t w = weight_of(g->entitlement);
    double have = g->in.weight ? g->in.weight : 1;
    struct policy_decision *d;
    struct policy_effect *fx;
    if (fabs(w - have) <= have * WEIGHT_STEP || g->in.frozen)
        return;
    d = policy_decide(p, now, g, POLICY_WEIGHT, "%s: CPU weight %u → %u, entitled to %.0f %% of a CPU (wants %.0f %%)",
                      g->in.name, g->in.weight, w, g->entitlement, g->demand_pct);
    if (d) {
        policy_number(d, "weight_before", g->in.weight);
        policy_number(d, "weight", w);
        policy_number(d, "entitlement_pct", g->entitlement);
        policy_number(d, "demand_pct", g->demand_pct);
        policy_number(d, "used_pct", g->used_pct);
        policy_number(d, "shares", policy_shares_of(p, g));
        policy_say(p, d);
    }
    if (!p->cfg.automatic)
        return;
    fx = policy_push(p, POLICY_FX_SCHED);
    if (fx) {
        fx->guest = g->in.uuid;
        fx->domid = g->in.domid;
        fx->weight = w;
    }
}

void policy_plan_cpu(struct policy *p, vi_time now)
{
    double want[POLICY_GUESTS] = {0}, shares[POLICY_GUESTS] = {0}, got[POLICY_GUESTS] = {0};
    struct guest_state *of[POLICY_GUESTS];
    unsigned n = 0;
    double demand = 0, entitled = 0, level = 0;
    for (unsigned i = 0; i < p->top; i++) {
        struct guest_state *g = &p->guests[i];
        if (!g->used || !g->in.running)
            continue;
        of[n] = g;
        want[n] = desired(p, g);
        shares[n] = policy_shares_of(p, g);
        demand += g->demand_pct;
        level += policy_level(g->demand_pct, p->cfg.range_high);
        n++;
    }
    policy_divide(policy_capacity(p), n, want, shares, got);
    for (unsigned i = 0; i < n; i++) {
        of[i]->short_cpu = of[i]->measured && got[i] < of[i]->demand_pct * 0.95;
        if (fabs(got[i] - of[i]->entitlement) > 1) /* what was seen before was seen of another entitlement */
            of[i]->cpu_above = of[i]->cpu_below = 0;
        of[i]->entitlement = got[i];
        entitled += got[i];
        set_weight(p, now, of[i]);
    }
    p->load.demand_pct = demand;
    p->level_pct = level;
    p->load.entitled_pct = entitled;
}
