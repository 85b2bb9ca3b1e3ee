/* Hosts and guests whose demand is a trace's: what balancers are compared on.
 *
 * Demand is piecewise constant: a step's percentage holds for its five minutes, for every system alike. A system sees
 * only what is and what was. Overload and unserved demand are taken at the beginning of each step: with the step's
 * demand, and the places that the system had chosen without knowing it. Energy, overload in time and the cost of moves are
 * integrals. A central system's moves are done at once, and free; Violin's take the time of their bytes (trace_violin.c).
 *
 * Units: CPU in percent of one CPU, memory KiB, time vi_time from the trace's beginning. */
#ifndef TESTS_SIM_TRACE_WORLD_H
#define TESTS_SIM_TRACE_WORLD_H

#include "peer/base/clock.h"
#include "tests/sim/trace.h"

#define TW_NOWHERE UINT32_MAX
#define TW_LEFT    16 /* of a guest's departures that are remembered */
#define TW_RETURN  (30 * VI_MIN)
#define TW_HISTORY 6  /* steps of a host's past: half an hour */

struct tw_host {
    double capacity;
    uint32_t cpus;      /* as the policy is told; what they have more than the capacity is dom0's */
    uint64_t kb;
    const double *watts; /* at 0, 10, … 100 % of the capacity; NULL: not counted */
    unsigned *guest, n, cap;
    double demand;
    double past[TW_HISTORY]; /* demand at the latest steps, at most the capacity; the latest first */
    vi_time settled;
};

struct tw_guest {
    unsigned host;
    double scale; /* percent of one CPU for each percent of the trace's */
    uint64_t kb;
    double demand;
    vi_time moved_at; /* VI_NEVER: never */
    struct {
        unsigned host;
        vi_time at;
    } left[TW_LEFT];
    unsigned n_left;
};

struct tw_tally {
    uint64_t host_steps, overloaded;
    double demanded, unserved;             /* at steps */
    uint64_t moves, returns, to_overload;  /* to_overload: the destination was overloaded at the next step, though it wasn't before */
    double joules, active_s, violated_s;   /* violated: active with more demand than capacity */
    double wanted_s, degraded_s;           /* CPU seconds; degraded: what moves cost their guests, as CloudSim charges */
};

struct tw {
    const struct trace *t;
    unsigned n_hosts, n_guests, step;
    vi_time now;
    struct tw_host *host;
    struct tw_guest *guest;
    struct tw_tally tally;
    bool *came; /* to this host in the last step */
    bool no_memory;
};

/* Bare: so many hosts, guests that are nowhere. To be closed either way. */
bool tw_open(struct tw *w, const struct trace *t, unsigned hosts);
/* Hosts of 4 CPUs, guests of one; as many hosts as make the mean of all demand that part of all capacity; guests are dealt
 * round robin in the order of their names. 1 GiB a guest; memory never limits. */
bool tw_open_mean(struct tw *w, const struct trace *t, double mean);
/* CloudSim's PlanetLab setting (trace_cloudsim.c). memory: 4 GB a host count when guests move, too. */
bool tw_open_pack(struct tw *w, const struct trace *t, unsigned hosts, bool memory);
void tw_close(struct tw *w);

/* The next step's demand, and its tally. */
void tw_begin_step(struct tw *w, unsigned step);
/* Brings the integrals up to now. */
void tw_settle(struct tw *w, unsigned host);
void tw_settle_all(struct tw *w);
/* A guest is there now, and a move is counted. */
void tw_move(struct tw *w, unsigned guest, unsigned to);
/* Where it is to begin. */
void tw_place(struct tw *w, unsigned guest, unsigned host);
uint64_t tw_free_kb(const struct tw *w, unsigned host);
/* Watts of a host at that demand; an empty one has none. */
double tw_watts(const struct tw_host *h, double demand);
unsigned tw_active(const struct tw *w); /* hosts with a guest */

#endif
