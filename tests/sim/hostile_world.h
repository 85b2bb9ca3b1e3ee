/* A domain of policy cores with a hostile environment among honest ones: hosts that share CPU by weight and memory by
 * balloon, summaries and statements that come late, moves that take their time, and guests that do and say what they like.
 * Hostile guests know the rules: they swing with any period, claim hunger, report nonsense, leave their balloons alone. */
#ifndef TESTS_SIM_HOSTILE_WORLD_H
#define TESTS_SIM_HOSTILE_WORLD_H

#include "policy/policy.h"

#define HW_HOSTS  16
#define HW_GUESTS 48
#define HW_ENVS   3
#define HW_MOVES  4096
#define HW_MIB    UINT64_C(1024)

enum hw_way { /* of a hostile guest, in memory and CPU alike */
    HW_HUNGRY,  /* claims to use all that it has */
    HW_SWINGS,  /* between all and nothing, with a period of its own */
    HW_ABSURD,  /* numbers that can't be */
    HW_RANDOM,
    HW_STALE,   /* the same report for ever, after a hungry one */
    HW_SWAPS,   /* claims to swap */
    HW_HUNTED,  /* hungry for some minutes after each move, else quiet */
    HW_WAYS
};

struct hw_guest {
    bool used, hostile;
    unsigned env, host, from; /* from: where it was before its last move */
    struct policy_guest in;   /* as the hypervisor has it */
    enum hw_way memory, cpu;
    bool obeys;               /* its balloon does */
    vi_time period, phase;
    double demand_pct, got_pct;     /* wanted; given in the last step */
    uint64_t used_kb, base_kb;      /* really; without its short peaks */
    uint64_t peak_kb;               /* of the last nine minutes at least */
    vi_time peak_at, next_peak;
    vi_time moved_at, arrives;      /* arrives: being moved to `to`; 0: not */
    unsigned to;
    uint64_t epoch;
    double wanted_s, fair_s, got_s; /* CPU seconds of the current span: wanted, what is its due, got */
};

struct hw_host {
    struct hw *w;
    struct policy *p;
    struct vi_id id;
    double delay_s; /* of what others state */
    vi_time next;
    struct policy_load load;   /* as it last said */
    uint8_t summary[POLICY_SUMMARY];
    size_t summary_len;
    vi_time said_at;
    struct {
        unsigned host;
        struct vi_id guest;
        uint8_t question[POLICY_PROBE];
        size_t len;
    } probe[8];
    unsigned n_probes;
};

struct hw {
    struct policy_config cfg;
    struct vi_rng rng;
    vi_time now, begun;
    uint64_t total_kb, dom0_kb;
    unsigned cpus, n_hosts, n_guests;
    struct policy_env env[HW_ENVS]; /* 0: the hostile one */
    struct hw_host host[HW_HOSTS];
    struct hw_guest guest[HW_GUESTS];
    struct {
        unsigned env;
        vi_time at;
    } move[HW_MOVES], unheard[HW_MOVES]; /* unheard: who got a guest was not told what others had seen */
    unsigned n_moves, n_unheard, most_in_hour, refused;
    bool trace, failed;
    char why[200];
};

/* A domain drawn from the seed. */
void hw_open(struct hw *w, uint64_t seed);
void hw_close(struct hw *w);
/* One second. What must never be is looked for all the while; w->failed, w->why. */
void hw_second(struct hw *w);
void hw_bad(struct hw *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
