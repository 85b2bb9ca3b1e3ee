/* What the hosts of envmove_world.h are to their cores, and what is looked for. */
#ifndef TESTS_SIM_ENVMOVE_HOOKS_H
#define TESTS_SIM_ENVMOVE_HOOKS_H

#include "tests/sim/envmove_world.h"

void ew_populate(void); /* domains, hosts, environments, guests, faults: by the seed */
bool ew_key_of(void *arg, const struct vi_id *peer, uint8_t pk[32]);
void ew_hooks(struct envmove_hooks *h, unsigned n);
int ew_admit(unsigned n, const struct vi_id *handover, char *why, size_t cap);
void ew_look_at_record(unsigned n, const uint8_t *data, size_t len); /* of a grant or a lease, on the disk */
void ew_look_at_move(unsigned n, const struct envmove_effect *fx);
void ew_look_at_host(unsigned n);
void ew_look_at_leases(unsigned n);
void ew_note(unsigned n, const struct envmove_effect *fx);

#endif
