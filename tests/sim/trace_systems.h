/* The systems that are compared on a trace. */
#ifndef TESTS_SIM_TRACE_SYSTEMS_H
#define TESTS_SIM_TRACE_SYSTEMS_H

#include "tests/sim/trace_world.h"

struct ts_config {
    uint64_t seed;
    bool pack;   /* violin: the domain's placement */
    double bandwidth_kbps; /* violin: of a move; 0: the policy's own figure */
};

struct ts_system {
    const char *name, *what;
    /* The whole trace; false: no memory. */
    bool (*play)(struct tw *w, const struct ts_config *c);
};
extern const struct ts_system ts_systems[]; /* the last has no name */

bool ts_static(struct tw *w, const struct ts_config *c);
bool ts_orchestra(struct tw *w, const struct ts_config *c);
bool ts_greedy(struct tw *w, const struct ts_config *c);
bool ts_violin(struct tw *w, const struct ts_config *c);

#endif
