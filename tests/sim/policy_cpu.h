/* Who gets how much CPU: the rates of a policy_world's environments. */
#ifndef TESTS_SIM_POLICY_CPU_H
#define TESTS_SIM_POLICY_CPU_H

#include "tests/sim/policy_world.h"

/* Anew for all environments that share a host, directly or through others, with one marked dirty. */
void policy_cpu_rates(struct pw_world *w);
/* Of policy_world.c: an environment's rate from now on. */
void pw_rates_changed(struct pw_world *w, unsigned env, double rate);

#endif
