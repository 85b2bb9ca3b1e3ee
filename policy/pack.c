/* Placement "pack": guests are kept on few hosts, so that the others can be switched off.
 *
 * Who empties itself decides alone, and only when nothing is short: a host whose guests all may move and all fit on larger or
 * fuller hosts, by what is expected of both (forecast.c) with head room. Only onto these, so no two empty themselves onto each other,
 * and few large hosts stay rather than many small ones, each of which draws most of its power for being on;
 * only the lightest ones at a time, and by the toss of a coin, so that the others' summaries keep up. From the first guest on it is decided:
 * the rest follows, unless no host has had room for a while. The balance rule sends guests away when a host is short, not when it
 * can be expected to be; it comes to an empty host last. Between what makes a host take in (the head room) and what
 * makes it send away lies the hysteresis; cool-down and no-return hold for both. On days of PlanetLab's machines
 * (tests/sim/trace_cloudsim.c) to leave guests where they are expected to be short made most of what is gained here.
 *
 * Filling bins by the fullest that has room, lightest emptied first, is best fit (Johnson, Near-optimal bin packing algorithms,
 * 1973), with each host seeing only summaries. */
#include <math.h>
#include <string.h>

#include "policy/internal.h"

#define FULL       0.90 /* of a host, on the mean */
#define SPREADS    1.28 /* standard deviations below its capacity: short in one of ten looks */
#define ALIKE      0.10 /* of capacity: summaries are rounded, dom0s differ */
#define AT_ONCE    2
#define RETRY      (5 * VI_MIN) /* after it was found that they don't all fit */
#define GIVE_UP    (2 * VI_MIN)  /* without a place for the rest */
#define LIGHTEST   8             /* one in so many of the hosts in use may empty themselves at a time */
#define CHANCE     4             /* each of them in one of so many evaluations */
#define SUMMARY_OLD (30 * VI_SEC)

struct bin {
    unsigned peer;
    double pct, spread2, now_pct; /* with what was put in */
    uint64_t free_kb;
    unsigned arrivals;
};

static double expected(const struct policy_load *l)
{
    return l->lasting_known ? l->lasting_pct : l->demand_pct;
}

static double fullness(const struct policy_load *l)
{
    return l->capacity_pct > 0 ? expected(l) / l->capacity_pct : 1;
}

static bool takes_part(const struct policy_peer *q)
{
    return q->age <= SUMMARY_OLD && q->load.packs && !q->load.draining && !q->load.observes && q->load.guests > 0;
}

static int by_capacity(const struct policy_load *a, const struct policy_load *b)
{
    double more = a->capacity_pct - b->capacity_pct;
    return fabs(more) <= ALIKE * fmax(a->capacity_pct, b->capacity_pct) ? 0 : more > 0 ? 1 : -1;
}

/* It stays rather than this host: larger, else fuller; of two alike the one with the larger id. */
static bool stays_rather(const struct policy *p, const struct policy_peer *q)
{
    double here = fullness(&p->load), there = fullness(&q->load);
    int larger = by_capacity(&q->load, &p->load);
    if (larger)
        return larger > 0;
    return there > here || (there >= here && vi_id_compare(&q->id, &p->self) > 0);
}

/* The hosts that guests may be put on, as they are now. */
static unsigned bins_of(const struct policy *p, struct bin *bins)
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->n_peers; i++) {
        const struct policy_peer *q = &p->peers[i];
        if (takes_part(q) && stays_rather(p, q))
            bins[n++] = (struct bin){i, expected(&q->load), q->load.spread_pct * q->load.spread_pct, q->load.demand_pct,
                                     q->load.free_kb, q->load.arrivals};
    }
    return n;
}

/* Not full on the mean, and some standard deviations below its capacity. */
static bool fits(struct policy *p, const struct guest_state *g, const struct policy_needs *needs, const struct bin *b)
{
    const struct policy_peer *q = &p->peers[b->peer];
    double cap = q->load.capacity_pct, mean = b->pct + g->lasting_pct;
    if (b->free_kb < needs->kb || b->now_pct + needs->pct > cap || mean > FULL * cap ||
        mean + SPREADS * sqrt(b->spread2 + g->lasting_var) > cap)
        return false;
    if (g->came_at && vi_id_equal(&g->came_from, &q->id))
        return false;
    return !policy_ruled_out(p, g, &q->id);
}

static bool better(const struct policy *p, const struct bin *a, const struct bin *b)
{
    const struct policy_load *x = &p->peers[a->peer].load, *y = &p->peers[b->peer].load;
    int larger = by_capacity(x, y);
    return larger ? larger > 0 : a->pct / x->capacity_pct > b->pct / y->capacity_pct;
}

/* The fullest of the largest that have room; -1. arriving: may it come at once? */
static int best_fit(struct policy *p, const struct guest_state *g, const struct policy_needs *needs,
                    const struct bin *bins, unsigned n, bool arriving)
{
    int best = -1;
    for (unsigned i = 0; i < n; i++) {
        if ((arriving && bins[i].arrivals >= p->cfg.arrivals_max) || !fits(p, g, needs, &bins[i]))
            continue;
        if (best < 0 || better(p, &bins[i], &bins[best]))
            best = (int)i;
    }
    return best;
}

static void put(struct bin *b, const struct guest_state *g, const struct policy_needs *needs)
{
    b->pct += g->lasting_pct;
    b->spread2 += g->lasting_var;
    b->now_pct += needs->pct;
    b->free_kb -= needs->kb;
    b->arrivals++;
}

/* The guests of this host, the largest first. */
static unsigned in_order(struct policy *p, struct guest_state **out)
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->top; i++) {
        unsigned k = n;
        if (!p->guests[i].used || (!p->guests[i].in.running && !p->guests[i].awaited))
            continue;
        for (; k > 0 && out[k - 1]->lasting_pct < p->guests[i].lasting_pct; k--)
            out[k] = out[k - 1];
        out[k] = &p->guests[i];
        n++;
    }
    return n;
}

/* Would all of them find a place now, and may all leave? */
static bool all_fit(struct policy *p, vi_time now, struct guest_state **guests, unsigned n)
{
    struct bin bins[POLICY_PEERS];
    unsigned n_bins = bins_of(p, bins);
    for (unsigned i = 0; i < n; i++) {
        struct policy_needs needs;
        int to;
        if (guests[i]->awaited || !guests[i]->in.running || policy_rather_stays(p, now, guests[i]))
            return false;
        policy_needs_of(guests[i], &needs);
        to = best_fit(p, guests[i], &needs, bins, n_bins, false);
        if (to < 0)
            return false;
        put(&bins[to], guests[i], &needs);
    }
    return true;
}

/* Is it this host's turn? Few are lighter, and the coin says so. */
static bool turn(struct policy *p, vi_time now)
{
    unsigned in_use = 1, lighter = 0;
    if (vi_rng_below(p->rng, CHANCE))
        return false;
    policy_look(p, now, POLICY_PEERS);
    for (unsigned i = 0; i < p->n_peers; i++)
        if (takes_part(&p->peers[i])) {
            in_use++;
            lighter += !stays_rather(p, &p->peers[i]);
        }
    return lighter <= in_use / LIGHTEST;
}

static bool leave(struct policy *p, vi_time now, struct guest_state *g, struct bin *to, const struct policy_needs *needs)
{
    struct policy_decision *d = policy_decide(p, now, g, POLICY_MOVE, "%s leaves, so that this host can be switched off", g->in.name);
    struct policy_effect *fx;
    if (d) {
        policy_number(d, "needs_mib", (double)needs->kb / 1024);
        policy_number(d, "expected_pct", g->lasting_pct);
        policy_number(d, "expected_there_pct", to->pct);
        policy_say(p, d);
    }
    fx = p->cfg.automatic ? policy_push(p, POLICY_FX_MOVE) : NULL;
    if (!fx)
        return false;
    fx->guest = g->in.uuid;
    fx->domid = g->in.domid;
    fx->peer = p->peers[to->peer].id;
    fx->needs = *needs;
    g->going_to = fx->peer;
    g->in.frozen = true;
    return true;
}

static void go_on(struct policy *p, vi_time now, struct guest_state **guests, unsigned n)
{
    struct bin bins[POLICY_PEERS];
    unsigned n_bins = bins_of(p, bins), leaving = 0;
    for (unsigned i = 0; i < n; i++)
        leaving += guests[i]->in.frozen;
    if (leaving)
        p->pack_progress = now;
    for (unsigned i = 0; i < n && leaving < AT_ONCE; i++) {
        struct policy_needs needs;
        int to;
        if (guests[i]->awaited || !guests[i]->in.running || policy_rather_stays(p, now, guests[i]))
            continue;
        policy_needs_of(guests[i], &needs);
        to = best_fit(p, guests[i], &needs, bins, n_bins, true);
        if (to < 0 || !leave(p, now, guests[i], &bins[to], &needs))
            continue;
        put(&bins[to], guests[i], &needs);
        p->pack_progress = now;
        leaving++;
    }
    if (now - p->pack_progress > GIVE_UP) {
        p->emptying = false;
        p->pack_again = now + RETRY;
    }
}

void policy_consider_pack(struct policy *p, vi_time now)
{
    struct guest_state *guests[POLICY_GUESTS];
    unsigned n = in_order(p, guests);
    if (!n || !p->load.lasting_known || p->load.arrivals) {
        p->emptying = false;
        return;
    }
    if (!p->emptying) {
        if (now < p->pack_again || !turn(p, now))
            return;
        if (!all_fit(p, now, guests, n)) {
            p->pack_again = now + RETRY;
            return;
        }
        p->emptying = true;
        p->pack_progress = now;
    }
    policy_look(p, now, POLICY_PEERS);
    go_on(p, now, guests, n);
}
