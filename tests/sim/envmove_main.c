/* Environment moves under random faults, in the world of envmove_world.h: two to four domains, one or two
 * environments told to move (or chosen, because hosts say that they are short), messages lost and late, clocks 0.9
 * to 1.1 as fast as time, up to three faults at random points of it: a peer crashes, a host is booted, the other
 * side's representative dies, a domain is cut off, a disk is full, a second representative acts.
 *
 * In every seventh seed domain 0 is hostile instead: it asks domain 1 for room without end, for guests that don't exist.
 *
 * Always: no guest runs twice; no host has promised more than it has; no lease outlives its term; when the first host
 * of a move goes, all its leases are there; no guest is handed over whose lease is gone; no domain has more foreign
 * guests than it takes in. In the end: every guest runs somewhere (but for a host's death with the only copy),
 * nothing is open, no lease or grant is left; and an operator's order to move what was left works where there is room.
 *
 * SEEDS=100, SEED=1 (the first); one seed alone, with what happens: SEEDS=1 SEED=n TRACE=1. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "tests/sim/envmove_world.h"

static struct {
    unsigned passed, failed, moved, splits, refused, taken_over, shifts, undecided, struck[EW_FAULTS];
} sum;

static unsigned number(const char *name, unsigned otherwise)
{
    const char *v = getenv(name);
    return v ? (unsigned)strtoul(v, NULL, 10) : otherwise;
}

static void shortage(void)
{
    for (unsigned i = 0; i < 12; i++) {
        for (unsigned n = 0; n < ew->n_hosts; n++) {
            struct envmove_event ev = {.kind = ENVMOVE_EV_SHORT, .env = ew->env[0].id, .pct = 50};
            if (ew->host[n].domain == 0 && ew->host[n].moves)
                envmoves_step(ew->host[n].moves, ew_local(&ew->host[n]), &ev);
        }
        ew_turn(ew->now + 5 * VI_SEC);
    }
}

/* Rooms and leases that domain 1 has for domain 0's environments. */
static void look_at_hostile(void)
{
    unsigned rooms = 0, leases = 0;
    for (unsigned n = 0; n < ew->n_hosts; n++) {
        struct envmove_view v;
        unsigned pos = 0, of_host = 0;
        while (ew->host[n].domain == 1 && ew->host[n].moves && envmove_next(ew->host[n].moves, &pos, &v)) {
            leases += v.part == ENVMOVE_LEASE;
            of_host += v.part == ENVMOVE_ROOM && !v.over;
        }
        rooms = of_host > rooms ? of_host : rooms; /* of one that represents it; there may be two */
    }
    if (rooms > ENVMOVE_ROOMS_EACH)
        ew_bad("a domain has %u rooms kept for it", rooms);
    if (leases > 2 * ENVMOVE_ROOMS_EACH * ew->limits[1])
        ew_bad("a domain has %u leases and is let in with %u guests", leases, ew->limits[1]);
}

/* A representative of domain 0 asks for room again and again, for guests that don't exist, and never says GO. */
static void hostile(void)
{
    static struct em_msg m;
    for (unsigned i = 0; i < 240; i++) {
        struct ew_host *to = &ew->host[ew->rep[1]];
        struct envmove_event ev = {.kind = ENVMOVE_EV_MESSAGE, .peer = ew->host[0].id};
        uint8_t b[ENVMOVE_MESSAGE_MAX];
        int n;
        if (i % 20 == 0) { /* another one; those before are asked for no more */
            memset(&m, 0, sizeof m);
            m.kind = EM_ASK;
            vi_rng_id(&ew->rng, &m.move);
            m.plan.env = ew->env[0].id;
            m.plan.n = 1 + vi_rng_below(&ew->rng, ENVMOVE_GUESTS);
            for (unsigned k = 0; k < m.plan.n; k++) {
                vi_rng_id(&ew->rng, &m.plan.g[k].uuid);
                m.plan.g[k].from = ew->host[0].id;
                m.plan.g[k].kb = 1 + vi_rng_below(&ew->rng, 1 << 21);
                m.plan.g[k].pct = vi_rng_below(&ew->rng, 200);
            }
        }
        m.n++;
        n = em_encode(&m, b, sizeof b);
        ev.data = b;
        ev.len = n > 0 ? (size_t)n : 0;
        if (to->moves)
            envmoves_step(to->moves, ew_local(to), &ev);
        ew_turn(ew->now + VI_SEC / 2);
        look_at_hostile();
    }
}

static const char *open_ones(unsigned n)
{
    static char text[160];
    struct ew_host *h = &ew->host[n];
    struct handover_view hv;
    struct envmove_view v;
    unsigned pos = 0;
    if (!h->moves)
        return "a peer is not back";
    while (handover_next(h->handovers, &pos, &hv))
        if (!hv.over && !hv.undecided) {
            snprintf(text, sizeof text, "a handover of host %u is open: %s", n, handover_state_text(hv.state));
            return text;
        }
    for (pos = 0; envmove_next(h->moves, &pos, &v);)
        if (!v.over) {
            snprintf(text, sizeof text, "host %u has part %d of a move open: %s", n, (int)v.part,
                     envmove_phase_text(v.phase));
            return text;
        }
    return NULL;
}

static const char *judge(void)
{
    static char text[160];
    for (unsigned n = 0; n < ew->n_hosts; n++) {
        const char *bad = open_ones(n);
        if (bad)
            return bad;
        for (unsigned i = 0; i < ew->host[n].n_records; i++)
            if (!ew->host[n].record[i].gone && !ew->host[n].record[i].of_handover)
                return "a grant or a lease is left in a journal";
    }
    for (unsigned g = 0; g < ew->n_guests; g++) {
        unsigned runs = ew_running(g, NULL), copies = 0;
        for (unsigned n = 0; n < ew->n_hosts; n++)
            copies += ew->host[n].copy[g].is != EW_ABSENT;
        if (runs != 1 && !(runs == 0 && ew->guest[g].may_be_gone)) {
            snprintf(text, sizeof text, "guest %u: %u copies run", g, runs);
            return text;
        }
        if (copies != runs) {
            snprintf(text, sizeof text, "guest %u: %u copies beside the one that runs", g, copies - runs);
            return text;
        }
    }
    return NULL;
}

/* What is left in domain 0 of environment 0 is moved by an operator, now that all is well again. */
static const char *resolve(unsigned domain)
{
    if (!ew->roomy)
        return NULL;
    ew->n_faults = 0;
    if (ew_order(0, domain))
        return "an order isn't taken";
    ew_turn(ew->now + 900 * VI_SEC);
    if (ew->bad[0])
        return ew->bad;
    for (unsigned g = 0; g < ew->n_guests; g++) {
        int where = -1;
        if (ew->guest[g].env == 0 && !ew->guest[g].pinned && ew_running(g, &where) == 1 &&
            ew->host[where].domain == ew->env[0].home)
            return "a guest is still where it was, though there is room and nothing disturbs";
    }
    return judge();
}

static const char *play(uint64_t seed, bool trace)
{
    const char *bad;
    unsigned to;
    ew_begin(seed);
    ew->trace = trace;
    to = 1 + vi_rng_below(&ew->rng, ew->n_domains - 1);
    ew_turn(ew->now + 2 * VI_SEC);
    if (seed % 7 == 3)
        hostile();
    else if (seed % 5 == 4)
        shortage();
    else {
        (void)ew_order(0, to);
        if (seed % 2)
            (void)ew_order(1, to != ew->env[1].home ? to : 0); /* to the same domain, if that isn't its own */
    }
    ew_turn(ew->now + 1800 * VI_SEC);
    sum.undecided += ew_operator_decides();
    ew_turn(ew->now + 1000 * VI_SEC);
    bad = ew->bad[0] ? ew->bad : judge();
    return bad ? bad : resolve(to);
}

static void one(uint64_t seed, bool trace)
{
    static char text[240];
    const char *bad = play(seed, trace);
    if (bad) {
        sum.failed++;
        snprintf(text, sizeof text, "%s", bad);
        if (sum.failed <= 20)
            printf("SEED=%llu: %s\n", (unsigned long long)seed, text);
        for (unsigned k = 0; k < ew->n_faults && sum.failed <= 20; k++)
            printf("    %s at point %u of %u\n", ew_fault_names[ew->what[k]], ew->at[k], ew->point);
    } else
        sum.passed++;
    for (unsigned k = 0; k < ew->n_faults; k++)
        sum.struck[ew->what[k]] += ew->at[k] < ew->point;
    sum.moved += ew->moved;
    sum.splits += ew->splits;
    sum.refused += ew->refused;
    sum.taken_over += ew->taken_over;
    sum.shifts += ew->shifts;
    ew_end();
}

int main(void)
{
    unsigned first = number("SEED", 1), n = number("SEEDS", 100);
    bool trace = getenv("TRACE") != NULL;
    if (sodium_init() < 0)
        return 1;
    for (unsigned i = 0; i < n; i++)
        one(first + i, trace);
    printf("faults that struck:");
    for (unsigned f = 1; f < EW_FAULTS; f++)
        printf(" %s %u%s", ew_fault_names[f], sum.struck[f], f + 1 < EW_FAULTS ? "," : "\n");
    printf("moves: %u whole, %u split, %u refused, %u taken over, %u guests made room, %u undecided handovers\n",
           sum.moved, sum.splits, sum.refused, sum.taken_over, sum.shifts, sum.undecided);
    if (n >= 100 && (!sum.moved || !sum.refused || !sum.taken_over || !sum.shifts)) {
        printf("something never happened in %u seeds\n", n);
        sum.failed++;
    }
    printf("envmove: %u passed, %u failed\n", sum.passed, sum.failed);
    return sum.failed > 0;
}
