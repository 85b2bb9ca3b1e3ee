/* A member that lies: its own core goes on, beside it go datagrams that are authentically from it and
 * untrue in every way that the wire allows. */
#ifndef TESTS_SIM_SOAK_HOSTILE_H
#define TESTS_SIM_SOAK_HOSTILE_H

#include "tests/sim/gossip_peers.h"

#define HOSTILE_KEPT 32

struct hostile {
    struct peers *p;
    unsigned n, self;
    struct vi_rng rng;
    struct {
        uint8_t data[GOSSIP_DATAGRAM_MAX];
        size_t len;
    } kept[HOSTILE_KEPT]; /* what it heard, to be replayed */
    unsigned nkept;
    uint64_t lies;
};

void hostile_init(struct hostile *h, struct peers *p, unsigned n, unsigned self, uint64_t seed);
void hostile_hears(struct hostile *h, const uint8_t *data, size_t len);
void hostile_lies(struct hostile *h); /* one lie, or one burst */

#endif
