/* Gossip cores as nodes of a simulated world, with what outlives their crashes, and invariants. */
#ifndef TESTS_SIM_GOSSIP_PEERS_H
#define TESTS_SIM_GOSSIP_PEERS_H

#include "gossip/gossip.h"
#include "tests/sim/world.h"

struct peers;

/* In a signature's place, where there are very many: it tells every key and text apart, and is no proof. */
void peers_stub(uint8_t sig[GOSSIP_SIG], const uint8_t *data, size_t len, const uint8_t *pk);

struct peers_config {
    uint64_t seed;
    unsigned n;
    struct world_net net;
    bool crypto; /* real Ed25519, else a keyed hash that any node can check */
    void (*tune)(struct gossip_config *c); /* may be NULL */
    /* Hears of every change of a member (about) at a node; may be NULL. */
    void (*notice)(void *arg, unsigned at, unsigned about, const struct gossip_effect *fx);
    /* Hears every datagram that comes to a running node; may be NULL. */
    void (*heard)(void *arg, unsigned at, const uint8_t *data, size_t len);
    void *arg;
    bool always_pool; /* share words also when there are few */
};

/* Makes the world, its nodes down. Everyone's seed is node 0, and node 0's is node 1. */
struct peers *peers_new(const struct peers_config *cfg);
void peers_free(struct peers *p);
struct world *peers_world(struct peers *p);
/* NULL: down. */
struct gossip *peers_core(struct peers *p, unsigned n);
const struct vi_id *peers_id(const struct peers *p, unsigned n);
unsigned peers_index(const struct peers *p, const struct vi_id *id); /* n: nobody */
int peers_event(struct peers *p, unsigned n, const struct gossip_event *ev);
/* n's signature, of whatever kind this world has. */
void peers_sign(struct peers *p, unsigned n, const uint8_t *data, size_t len, uint8_t sig[GOSSIP_SIG]);
/* Makes a record of n's: len bytes, of which the first 72 are version and signature, the others the
 * caller's. Other records are refused by all. */
void peers_record(struct peers *p, unsigned n, uint8_t kind, const struct vi_id *key, uint64_t version,
                  uint8_t *bytes, size_t len);
/* Restarts lose the disk: the incarnation starts at 0 again. */
void peers_lose_disk(struct peers *p, unsigned n);

/* Do all running nodes have the same table, of exactly the running ones, nobody suspect? By digests:
 * quick, also for very many. */
bool peers_same(struct peers *p);

/* What a node sent, with PEERS_OVERHEAD bytes a datagram: UDP, IPv4, and the mesh's header and tag. */
#define PEERS_OVERHEAD (28 + 32)
struct peers_traffic {
    uint64_t membership, store; /* bytes since the start, or since it was set to zero */
    uint64_t most, in_second;   /* of membership, in the worst second */
    uint64_t by_type[16];       /* of membership */
    vi_time second;
};
struct peers_traffic *peers_traffic(struct peers *p, unsigned n);

/* Does a believe b to be alive (not even suspect)? */
bool peers_knows(struct peers *p, unsigned a, unsigned b);
/* Do all running nodes believe exactly the running ones alive, and agree on incarnations? */
bool peers_agreed(struct peers *p);
/* Prints who believes what of whom, for a failure. */
void peers_print(struct peers *p);

/* What was seen happening since the start, or since it was set to zero. */
struct peers_tally {
    unsigned downs, wrong_downs; /* of others; wrong: it was running and not paused or muted */
    unsigned back;               /* incarnations that went back: must stay 0 */
    unsigned records, gone;
    uint32_t most_effects, most_rumours;
};
struct peers_tally *peers_tally(struct peers *p);
/* When n last was thought down by anyone, and by how many running nodes it is now. */
unsigned peers_thought_down(struct peers *p, unsigned n);

#endif
