/* The local plan for memory: shrink the under-used first, then grow the over-used. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy/internal.h"

#define STEP_KB   4096 /* smaller changes aren't worth a balloon's work */
#define AHEAD     VI_MIN /* growth is kept ready for so long in advance */
#define FOLLOW    12     /* evaluations without progress: a balloon is stuck */
#define STUCK_FOR (10 * VI_MIN)
#define ASK_AGAIN VI_MIN /* what the hypervisor doesn't take is asked for again after this */
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

/* The same was asked a short while ago, and the hypervisor's target is still another: it is refused there. */
static bool in_vain(const struct guest_state *g, vi_time now, uint64_t kb)
{
    return g->asked_kb == kb && g->in.target_kb != kb && g->asked_at && now - g->asked_at < ASK_AGAIN;
}

static void set_target(struct policy *p, vi_time now, struct guest_state *g, uint64_t kb,
                       enum policy_decision_kind kind)
{
    double u = (double)g->used_kb / (double)g->in.current_kb;
    struct policy_decision *d;
    struct policy_effect *fx;
    if (in_vain(g, now, kb))
        return;
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
    g->asked_kb = kb;
    g->asked_at = now;
    g->in.target_kb = kb;
    g->mem_above = g->mem_below = 0;
    if (kind == POLICY_GROW)
        g->grown_at = now;
    else
        g->shrunk_at = now;
}

/* ---- balloons that don't follow ---- */

/* Noticed after FOLLOW evaluations without progress toward one target: said once, not asked for anything meanwhile, and
 * tried again after STUCK_FOR. What it has beyond its target is charged all the while, and so is what it was given and
 * didn't take: neither counts as free. */
static void watch_balloon(struct policy *p, vi_time now, struct guest_state *g)
{
    uint64_t has = g->in.current_kb, target = g->in.target_kb, behind = has > target ? has - target : target - has;
    uint64_t near = target / 32 > 2 * STEP_KB ? target / 32 : 2 * STEP_KB;
    struct policy_decision *d;
    if (behind <= near || g->in.frozen || !g->in.running || target != g->follow_kb || (g->stuck && now - g->stuck_at >= STUCK_FOR)) {
        g->stuck = g->stuck && behind > near && now - g->stuck_at < STUCK_FOR;
        g->follow_kb = target;
        g->behind_kb = behind;
        g->follow_since = 0;
        return;
    }
    if (behind + STEP_KB <= g->behind_kb) {
        g->behind_kb = behind;
        g->follow_since = 0;
        g->stuck = false;
        return;
    }
    if (g->stuck || ++g->follow_since < FOLLOW)
        return;
    g->stuck = true;
    g->stuck_at = now;
    d = policy_decide(p, now, g, POLICY_STUCK, "%s: its balloon does not follow: it has %.0f MiB, and should have %.0f",
                      g->in.name, MIB(has), MIB(target));
    if (!d)
        return;
    policy_number(d, "has_mib", MIB(has));
    policy_number(d, "target_mib", MIB(target));
    policy_number(d, "evaluations", g->follow_since);
    policy_say(p, d);
}

/* ---- shrinking ---- */

/* It swaps while its balloon still takes memory: what it has left stays with it. */
static bool stop_shrinking(struct policy *p, vi_time now, struct guest_state *g)
{
    bool swaps = g->in.report && g->in.swap_kb > g->swap_was_kb;
    g->swap_was_kb = g->in.swap_kb;
    if (!swaps || g->in.frozen || g->stuck || g->in.target_kb + STEP_KB > g->in.current_kb || !g->shrunk_at)
        return false;
    set_target(p, now, g, g->in.current_kb, POLICY_GROW);
    return true;
}

/* Below the range for a whole window after the last growth: toward the middle of the range, by the window's peak, in
 * steps to a half, a tenth of the window apart. */
static void maybe_shrink(struct policy *p, vi_time now, struct guest_state *g)
{
    double mid = (p->cfg.range_low + p->cfg.range_high) / 2;
    uint64_t kb, least;
    if (stop_shrinking(p, now, g) || g->in.frozen || g->stuck || !g->report_good || g->in.swap_kb ||
        !policy_k_of_n(p, g->mem_below) || now - g->grown_at < p->cfg.shrink_window || g->peaks < PEAKS ||
        (g->shrunk_at && now - g->shrunk_at < p->cfg.shrink_window / PEAKS) || g->in.current_kb > g->in.target_kb + 2 * STEP_KB)
        return; /* the last in the line: a step that its balloon hasn't made yet */
    kb = (uint64_t)((double)peak_of(g) / mid);
    least = (uint64_t)((double)g->used_kb / p->cfg.range_high) + STEP_KB;
    if (kb < least)
        kb = least;
    if (kb < p->cfg.floor_kb)
        kb = p->cfg.floor_kb;
    if (2 * mid * (double)kb < p->cfg.range_low * (double)g->in.target_kb)
        kb = g->in.target_kb / 2; /* below the range still: the next step follows */
    if (kb + STEP_KB < g->in.target_kb)
        set_target(p, now, g, kb, POLICY_SHRINK);
}

/* ---- growing ---- */

static uint64_t next_size(const struct guest_state *g)
{
    uint64_t want = 2 * g->in.current_kb;
    return want < g->in.max_kb ? want : g->in.max_kb;
}

static void remember_rise(struct guest_state *g)
{
    if (!g->report_good)
        return;
    memmove(g->rising + 1, g->rising, sizeof g->rising - sizeof g->rising[0]);
    g->rising[0] = g->used_kb;
    if (g->n_rising < RISING)
        g->n_rising++;
}

/* What it will use in AHEAD if it goes on as it does: the line through the oldest and the latest of RISING evaluations. */
static double expected_use(const struct policy *p, const struct guest_state *g)
{
    double was, is = (double)g->used_kb, span;
    if (g->n_rising < 2)
        return is;
    was = (double)g->rising[g->n_rising - 1];
    span = (double)(g->n_rising - 1) * (double)p->cfg.period;
    return is > was ? is + (is - was) * (double)AHEAD / span : is;
}

/* What a guest is about to need next: its next growth, if it is above its range in one evaluation already, or will be within
 * AHEAD. Kept from arrivals and leases, never from the guests that are here. */
static uint64_t growth_ahead(const struct policy *p, const struct guest_state *g)
{
    uint64_t want = next_size(g);
    if (!g->used || !g->in.running || !g->report_good || g->in.frozen || g->stuck || want <= g->in.target_kb)
        return 0;
    if (!(g->mem_above & 1U) && expected_use(p, g) <= p->cfg.range_high * (double)g->in.target_kb)
        return 0;
    return want - g->in.target_kb;
}

/* More that brings its use into the range; nobody else's doubling comes before it. */
static uint64_t least_more(const struct policy *p, const struct guest_state *g)
{
    uint64_t kb = (uint64_t)((double)g->used_kb / p->cfg.range_high) + 1, want = next_size(g);
    kb = kb < want ? kb : want;
    return kb > g->in.target_kb ? kb - g->in.target_kb : 0;
}

struct hungry {
    struct guest_state *g;
    uint32_t priority;
};

/* The higher priority first, of equal ones the one that uses most of what it has. */
static int by_need(const void *a, const void *b)
{
    const struct hungry *s = a, *t = b;
    const struct guest_state *x = s->g, *y = t->g;
    double ux = (double)x->used_kb / (double)x->in.current_kb, uy = (double)y->used_kb / (double)y->in.current_kb;
    if (s->priority != t->priority)
        return s->priority > t->priority ? -1 : 1;
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

/* What it should have had when it was found above the range and the host could only give a part: that part doesn't end
 * the shortage, or the guest is short again when there is no time left. Over when it uses so little that what it had
 * then would be in the middle of the range. */
static uint64_t still_wanted(const struct policy *p, struct guest_state *g)
{
    double mid = (p->cfg.range_low + p->cfg.range_high) / 2;
    if (g->wanted_kb <= g->in.target_kb + STEP_KB || (double)g->used_kb < mid * (double)g->wanted_kb / 2)
        g->wanted_kb = 0;
    return g->wanted_kb;
}

/* What it should have now: its next size if it is above its range, what it is owed in any case. */
static uint64_t wanted(const struct policy *p, const struct guest_state *g)
{
    uint64_t want = policy_k_of_n(p, g->mem_above) ? next_size(g) : 0;
    if (want < g->wanted_kb)
        want = g->wanted_kb;
    return want < g->in.max_kb ? want : g->in.max_kb;
}

/* Who is above its range, in order: all that it wants, but for what brings those after it into theirs. */
static uint64_t grow(struct policy *p, vi_time now, struct hungry *over, unsigned n, uint64_t left)
{
    uint64_t later = 0;
    for (unsigned i = 0; i < n; i++)
        later += least_more(p, over[i].g);
    for (unsigned i = 0; i < n; i++) {
        struct guest_state *g = over[i].g;
        uint64_t want = wanted(p, g), least = least_more(p, g), more, may;
        later -= least;
        if (want <= g->in.target_kb + STEP_KB)
            continue; /* under way, or at its maximum */
        may = left > later ? left - later : 0;
        if (may < least)
            may = least < left ? least : left;
        g->desired_kb = want;
        more = want - g->in.target_kb;
        if (more > may) {
            g->short_kb = more - may;
            g->wanted_kb = want;
            more = may;
            say_short(p, now, g);
        }
        if (more < STEP_KB)
            continue;
        left -= more;
        set_target(p, now, g, g->in.target_kb + more, POLICY_GROW);
    }
    return left;
}

void policy_plan_memory(struct policy *p, vi_time now, const struct policy_snapshot *s)
{
    struct hungry over[POLICY_GUESTS];
    unsigned n = 0;
    uint64_t left, book = s->dom0_kb, ahead = 0;
    for (unsigned i = 0; i < p->top; i++) {
        struct guest_state *g = &p->guests[i];
        if (!g->used || !g->in.running)
            continue;
        g->short_kb = 0;
        g->desired_kb = g->in.target_kb;
        watch_balloon(p, now, g);
        remember_rise(g);
        maybe_shrink(p, now, g);
        if (g->report_good && !g->in.frozen && !g->stuck && g->in.current_kb &&
            (policy_k_of_n(p, g->mem_above) || still_wanted(p, g)))
            over[n++] = (struct hungry){.g = g, .priority = policy_priority_of(p, g)};
    }
    qsort(over, n, sizeof *over, by_need);
    left = grow(p, now, over, n, spare(p, s));
    for (unsigned i = 0; i < p->top; i++)
        if (p->guests[i].used) {
            book += charged(&p->guests[i].in);
            ahead += growth_ahead(p, &p->guests[i]);
        }
    p->load.total_kb = s->total_kb;
    p->load.charged_kb = book;
    p->load.free_kb = left > ahead ? left - ahead : 0;
}
