/* A federation in a simulated world: domains of gossip cores, their representatives, the representatives'
 * own gossip. As the peer has it, without the mesh: a datagram's first byte says for which core it is. */
#ifndef TESTS_SIM_FEDERATION_H
#define TESTS_SIM_FEDERATION_H

#include "gossip/gossip.h"
#include "gossip/representative.h"
#include "tests/sim/world.h"

struct federation;

struct federation_config {
    uint64_t seed;
    unsigned domains, members; /* of each */
    struct world_net net;
};

/* All down at first. A domain's seed is its first member; the domains know the first member of the next
 * one and of the first domain. NULL: no memory. */
struct federation *federation_new(const struct federation_config *cfg);
void federation_free(struct federation *f);
struct world *federation_world(struct federation *f);

bool federation_acts(struct federation *f, unsigned n); /* does that member represent its domain? */
/* How many running members of the domain represent it; *who: the last of them. */
unsigned federation_acting(struct federation *f, unsigned domain, unsigned *who);
/* In every domain that has somebody up: the same table everywhere, one representative; and the
 * representatives have the same table of one another. */
bool federation_agreed(struct federation *f);
/* Do all representatives know `who` to be alive? */
bool federation_known(struct federation *f, unsigned who);
/* Domain summaries that representatives have, younger than `most`, of all that there could be: 0 … 1. */
double federation_summaries(struct federation *f, vi_time most);

#endif
