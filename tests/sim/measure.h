/* What `make bench-gossip` measures: each case is one run of many gossip cores on virtual time, from
 * one seed, and gives named figures. tests/bench/bench_gossip.py runs many and takes medians. */
#ifndef TESTS_SIM_MEASURE_H
#define TESTS_SIM_MEASURE_H

#include <stdint.h>

#include "gossip/gossip.h"

#define FIGURES_MAX 256

struct figure {
    char name[48];
    double value;
};

struct measured {
    struct figure f[FIGURES_MAX];
    unsigned n;
};

struct measure_config {
    uint64_t seed;
    unsigned n;         /* members; 0: as the case has it */
    bool swim;          /* SWIM as published, without what came after it */
    double alpha, beta; /* 0: as they are */
    unsigned anomalous; /* interval, threshold: members that are blocked … */
    double blocked_s;   /* … for so long … */
    double normal_s;    /* … and then not for so long */
    double duration_s;  /* 0: as the case has it */
    unsigned domains;   /* federation: so many; 0: 100 */
};

void figure(struct measured *m, const char *name, double value);

struct measure_case {
    const char *name, *what;
    bool (*run)(const struct measure_config *c, struct measured *m); /* false: it failed */
};
/* The last one has a NULL name. */
extern const struct measure_case measure_cases[];

/* SWIM with suspicion and incarnations, as memberlist without Lifeguard: no local health, one fixed
 * suspicion, no guards, others' verdicts believed. */
void measure_swim(struct gossip_config *c);

#endif
