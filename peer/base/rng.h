/* A seeded stream of random numbers, handed to cores so that a run can be repeated.
 * ChaCha20 keyed by the seed (crypto_stream_chacha20). The daemon seeds it from the kernel. */
#ifndef PEER_BASE_RNG_H
#define PEER_BASE_RNG_H

#include "peer/base/id.h"

struct vi_rng {
    uint8_t key[32];
    uint64_t counter; /* next block */
    uint8_t block[64];
    unsigned used; /* bytes of block handed out */
};

void vi_rng_seed(struct vi_rng *r, uint64_t seed);   /* repeatable; simulator and tests */
void vi_rng_seed_from_kernel(struct vi_rng *r);      /* daemon only */
void vi_rng_bytes(struct vi_rng *r, void *out, size_t len);
uint64_t vi_rng_u64(struct vi_rng *r);
uint32_t vi_rng_below(struct vi_rng *r, uint32_t n); /* uniform in [0, n); n > 0 */
double vi_rng_unit(struct vi_rng *r);                /* uniform in [0, 1) */
void vi_rng_id(struct vi_rng *r, struct vi_id *id);

#endif
