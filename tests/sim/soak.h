/* One seed of random mixed faults, then peace, and what must hold after it. For make check, for
 * violin-sim soak. Everything about a run, its size too, follows from the seed. */
#ifndef TESTS_SIM_SOAK_H
#define TESTS_SIM_SOAK_H

#include <stdbool.h>
#include <stdint.h>

struct soak_report {
    unsigned peers;
    bool crypto, hostile, alone; /* alone: the hostile member is the only fault */
    double seconds;              /* of the world */
    uint64_t events, hash;
    double memory; /* bytes a peer, at most; 0: can't be measured here */
    char why[200]; /* it failed */
};

/* false: an invariant is broken; why says which, and the state is printed where it is small. */
bool soak_one(uint64_t seed, struct soak_report *out);

#endif
