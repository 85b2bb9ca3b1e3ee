/* What a guest really uses: from cumulative counters and from its own, hostile, report. */
#include <string.h>

#include "policy/internal.h"

/* Plausible: total can't exceed what it was given by much, available can't exceed total. */
static bool plausible(const struct policy_guest *in)
{
    return in->report && in->total_kb > 0 && in->available_kb <= in->total_kb &&
           in->total_kb <= in->max_kb + in->max_kb / 8 && in->swap_kb <= (uint64_t)1 << 40;
}

static void measure_cpu(struct guest_state *g, vi_time now, const struct policy_guest *in)
{
    double span = (double)(now - g->last_at) * 1000.0; /* ns */
    double most = 100.0 * in->vcpus;
    double steal = 0;
    if (span <= 0 && in->cpu_time_ns == g->last_cpu_ns)
        return; /* not read anew since: what was found then stands */
    if (in->cpu_time_ns < g->last_cpu_ns || span <= 0) {
        g->measured = false; /* it was restarted: counters began anew */
        g->n_recent = 0;
        return;
    }
    g->used_pct = (double)(in->cpu_time_ns - g->last_cpu_ns) * 100.0 / span;
    if (g->used_pct > most)
        g->used_pct = most;
    /* steal is the guest's word: where it makes no sense, the hypervisor's figure stands alone */
    if (g->report_good && g->has_steal && in->report && in->steal_ms >= g->last_steal_ms)
        steal = (double)(in->steal_ms - g->last_steal_ms) * 1e6 * 100.0 / span;
    g->demand_pct = g->used_pct + steal;
    if (g->demand_pct > most)
        g->demand_pct = most;
    memmove(g->recent_pct + 1, g->recent_pct, sizeof g->recent_pct - sizeof g->recent_pct[0]);
    g->recent_pct[0] = g->demand_pct;
    if (g->n_recent < RECENT)
        g->n_recent++;
    g->measured = true;
}

/* Remembers the peak of each tenth of the shrink window. */
static void remember_peak(const struct policy *p, struct guest_state *g, vi_time now)
{
    vi_time tenth = p->cfg.shrink_window / PEAKS;
    if (g->peaks == 0 || now - g->peak_at >= tenth) {
        memmove(g->peak + 1, g->peak, sizeof g->peak - sizeof g->peak[0]);
        g->peak[0] = g->used_kb;
        g->peak_at = now;
        if (g->peaks < PEAKS)
            g->peaks++;
    } else if (g->used_kb > g->peak[0])
        g->peak[0] = g->used_kb;
}

#define RESIZED_KB 1024 /* less is the balloon driver's own rounding */

/* A report from before the balloon's last change speaks of the memory that there was then: it would
 * have a guest that was just given more look fuller than ever. */
static bool report_is_of_this_size(const struct guest_state *g)
{
    return g->resized_at == VI_NEVER || g->report_at > g->resized_at;
}

static void measure_memory(const struct policy *p, struct guest_state *g, vi_time now)
{
    const struct policy_guest *in = &g->in;
    double u;
    g->mem_above <<= 1;
    g->mem_below <<= 1;
    if (!g->report_good || !report_is_of_this_size(g))
        return; /* absent, stale or absurd: never a reason to shrink or to grow */
    g->used_kb = in->current_kb > in->available_kb ? in->current_kb - in->available_kb : 0;
    g->used_kb += in->swap_kb;
    remember_peak(p, g, now);
    u = in->current_kb ? (double)g->used_kb / (double)in->current_kb : 0;
    g->mem_above |= u > p->cfg.range_high;
    g->mem_below |= u < p->cfg.range_low;
}

static void judge_cpu(const struct policy *p, struct guest_state *g)
{
    double u;
    g->cpu_above <<= 1;
    g->cpu_below <<= 1;
    if (!g->measured || g->entitlement <= 0)
        return;
    u = g->demand_pct / g->entitlement;
    /* without a report, use at the entitlement may hide any demand */
    g->cpu_above |= u > p->cfg.range_high || (!g->report_good && g->used_pct >= g->entitlement * 0.98);
    g->cpu_below |= u < p->cfg.range_low;
}

void policy_measure(struct policy *p, vi_time now, struct guest_state *g, const struct policy_guest *in)
{
    bool first = !g->used || g->awaited;
    vi_time at = p->read_at ? p->read_at : now;
    if (first) {
        struct guest_state fresh = {.used = true, .came_at = g->came_at, .came_from = g->came_from,
                                    .demand_pct = g->awaited ? g->demand_pct : 0};
        *g = fresh;
        policy_rule_tag(&in->uuid, g->tag);
        g->report_at = VI_NEVER;
        g->resized_at = VI_NEVER;
        g->grown_at = g->seen_at = now;
        g->entitlement = 0;
    } else {
        uint64_t was = g->in.current_kb, is = in->current_kb;
        if ((is > was ? is - was : was - is) > RESIZED_KB)
            g->resized_at = now;
        if (in->running)
            measure_cpu(g, at, in);
    }
    g->seen = true;
    g->in = *in;
    g->has_steal = in->report;
    if (in->report && (in->sequence != g->last_sequence || g->report_at == VI_NEVER)) {
        g->report_at = now;
        g->last_sequence = in->sequence;
    }
    g->report_good = plausible(in) && g->report_at != VI_NEVER && now - g->report_at <= p->cfg.report_stale;
    measure_memory(p, g, now);
    if (!first) {
        judge_cpu(p, g);
        if (g->measured && in->running)
            policy_forecast_guest(g, at);
    }
    g->last_at = at;
    g->last_cpu_ns = in->cpu_time_ns;
    g->last_steal_ms = in->steal_ms;
}
