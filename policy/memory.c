/* The local plan for memory: shrink the under-used first, then grow the over-used. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy/internal.h"

#define STEP_KB   4096 /* smaller changes aren't worth a balloon's work */
#define MIB(kb)   ((double)(kb) / 1024.0)

static uint64_t charged(const struct policy_guest *g)
{
    return g->current_kb > g->target_kb ? g->current_kb : g->target_kb;
}

static uint64_t peak_of(const struct guest_state *g)
{
    uint64_t m = g->used_kb;
    for (unsigned i = 0; i < g->peaks; i++)
        if (g->peak[i] > m)
            m = g->peak[i];
    return m;
}

/* How many evaluations ago the first of those that count was out of range, this one included. */
static double evaluations_since(const struct policy *p, uint32_t bits)
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->cfg.of; i++)
        if (bits >> i & 1U)
            n = i + 1;
    return n;
}

static void set_target(struct policy *p, vi_time now, struct guest_state *g, uint64_t kb,
                       enum policy_decision_kind kind)
{
    double u = (double)g->used_kb / (double)g->in.current_kb;
    struct policy_decision *d;
    struct policy_effect *fx;
    d = policy_decide(p, now, g, kind, "%s: memory %.0f → %.0f MiB, it uses %.0f MiB (%.0f %%)", g->in.name,
                      MIB(g->in.target_kb), MIB(kb), MIB(g->used_kb), u * 100);
    if (d) {
        policy_number(d, "before_mib", MIB(g->in.target_kb));
        policy_number(d, "after_mib", MIB(kb));
        policy_number(d, "used_mib", MIB(g->used_kb));
        policy_number(d, "peak_mib", MIB(peak_of(g)));
        policy_number(d, "utilisation", u);
        policy_number(d, "maximum_mib", MIB(g->in.max_kb));
        policy_number(d, "evaluations", evaluations_since(p, kind == POLICY_GROW ? g->mem_above : g->mem_below));
        policy_say(p, d);
    }
    if (!p->cfg.automatic)
        return;
    fx = policy_push(p, POLICY_FX_MEMORY);
    if (!fx)
        return;
    fx->guest = g->in.uuid;
    fx->domid = g->in.domid;
    fx->kb = kb;
    g->in.target_kb = kb;
    g->mem_above = g->mem_below = 0;
    if (kind == POLICY_GROW)
        g->grown_at = now;
}

/* Below the range for a whole window after the last growth: to the middle of the range, by the peak. */
static void maybe_shrink(struct policy *p, vi_time now, struct guest_state *g)
{
    double mid = (p->cfg.range_low + p->cfg.range_high) / 2;
    uint64_t kb, least;
    if (g->in.frozen || !g->report_good || g->in.swap_kb || !policy_k_of_n(p, g->mem_below) ||
        now - g->grown_at < p->cfg.shrink_window || g->peaks < PEAKS)
        return;
    kb = (uint64_t)((double)peak_of(g) / mid);
    least = (uint64_t)((double)g->used_kb / p->cfg.range_high) + STEP_KB;
    if (kb < least)
        kb = least;
    if (kb < p->cfg.floor_kb)
        kb = p->cfg.floor_kb;
    if (kb + STEP_KB < g->in.target_kb)
        set_target(p, now, g, kb, POLICY_SHRINK);
}

static int by_need(const void *a, const void *b)
{
    const struct guest_state *x = *(struct guest_state *const *)a, *y = *(struct guest_state *const *)b;
    double ux = (double)x->used_kb / (double)x->in.current_kb, uy = (double)y->used_kb / (double)y->in.current_kb;
    return ux > uy ? -1 : ux < uy ? 1 : vi_id_compare(&x->in.uuid, &y->in.uuid);
}

/* What may be given: by the book (charges, reserve, promises), and what is really free. */
static uint64_t spare(const struct policy *p, const struct policy_snapshot *s)
{
    uint64_t book = s->dom0_kb + s->reserved_kb + p->cfg.reserve_kb, pending = 0, real;
    for (unsigned i = 0; i < p->top; i++) {
        const struct guest_state *g = &p->guests[i];
        if (!g->used)
            continue;
        book += charged(&g->in);
        if (g->in.target_kb > g->in.current_kb)
            pending += g->in.target_kb - g->in.current_kb; /* given, not taken yet */
    }
    book = s->total_kb > book ? s->total_kb - book : 0;
    real = p->cfg.reserve_kb + s->reserved_kb + pending;
    real = s->free_kb > real ? s->free_kb - real : 0;
    return book < real ? book : real;
}

static void say_short(struct policy *p, vi_time now, struct guest_state *g)
{
    struct policy_decision *d =
        policy_decide(p, now, g, POLICY_SHORT, "%s wants %.0f MiB more than this host has left", g->in.name,
                      MIB(g->short_kb));
    if (!d)
        return;
    policy_number(d, "short_mib", MIB(g->short_kb));
    policy_number(d, "used_mib", MIB(g->used_kb));
    policy_number(d, "has_mib", MIB(g->in.current_kb));
    policy_number(d, "desired_mib", MIB(g->desired_kb));
    policy_say(p, d);
}

void policy_plan_memory(struct policy *p, vi_time now, const struct policy_snapshot *s)
{
    struct guest_state *over[POLICY_GUESTS];
    unsigned n = 0;
    uint64_t left, book = s->dom0_kb;
    for (unsigned i = 0; i < p->top; i++) {
        struct guest_state *g = &p->guests[i];
        if (!g->used || !g->in.running)
            continue;
        g->short_kb = 0;
        g->desired_kb = g->in.target_kb;
        maybe_shrink(p, now, g);
        if (g->report_good && !g->in.frozen && policy_k_of_n(p, g->mem_above) && g->in.current_kb)
            over[n++] = g;
    }
    qsort(over, n, sizeof *over, by_need);
    left = spare(p, s);
    for (unsigned i = 0; i < n; i++) {
        struct guest_state *g = over[i];
        uint64_t want = 2 * g->in.current_kb, more;
        if (want > g->in.max_kb)
            want = g->in.max_kb;
        if (want <= g->in.target_kb + STEP_KB)
            continue; /* under way, or at its maximum */
        g->desired_kb = want;
        more = want - g->in.target_kb;
        if (more > left) {
            g->short_kb = more - left;
            more = left;
            say_short(p, now, g);
        }
        if (more < STEP_KB)
            continue;
        left -= more;
        set_target(p, now, g, g->in.target_kb + more, POLICY_GROW);
    }
    for (unsigned i = 0; i < p->top; i++)
        if (p->guests[i].used)
            book += charged(&p->guests[i].in);
    p->load.total_kb = s->total_kb;
    p->load.charged_kb = book;
    p->load.free_kb = left;
}
