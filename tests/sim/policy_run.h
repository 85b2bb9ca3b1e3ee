/* A scenario played under one of the systems that are compared. */
#ifndef TESTS_SIM_POLICY_RUN_H
#define TESTS_SIM_POLICY_RUN_H

#include "tests/sim/policy_world.h"

enum pw_system {
    PW_STATIC,         /* nothing ever moves */
    PW_REFERENCE,      /* a central view of everything, at once: policy_reference.c */
    PW_VIOLIN_20S,     /* whole peers (violin.h); a guest that moves stalls for PW_STALL */
    PW_VIOLIN,         /* … stalls as its memory, its dirty rate and the link make it */
    PW_SYSTEMS
};
extern const char *const pw_system_names[PW_SYSTEMS];

#define PW_STALL (20 * VI_SEC)

struct pw_run {
    enum pw_system system;
    uint64_t seed;
    struct pw_world *w; /* as it was in the end */
    uint64_t hash;      /* of what the peers did: violin_hash(); 0 for the others */
};

/* NULL: no memory. */
struct pw_run *policy_run(const struct pw_scenario *s, enum pw_system system, uint64_t seed);
void policy_run_aloud(bool aloud); /* print what environment moves say as they go */
void policy_run_free(struct pw_run *r);

/* ---- what came of it ---- */

unsigned pw_moves(const struct pw_world *w);      /* of guests */
double pw_average_s(const struct pw_world *w);    /* mean execution time of those environments that ended */
double pw_overall_s(const struct pw_world *w);    /* from the first start to the last end */

/* ---- systems ---- */

bool policy_reference_play(struct pw_world *w);             /* false: no memory */

#endif
