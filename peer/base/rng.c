/* Seeded random numbers. See rng.h. */
#include "peer/base/rng.h"

#include <sodium.h>
#include <string.h>

static void restart(struct vi_rng *r)
{
    r->counter = 0;
    r->used = sizeof r->block;
}

void vi_rng_seed(struct vi_rng *r, uint64_t seed)
{
    memset(r, 0, sizeof *r);
    for (int i = 0; i < 8; i++)
        r->key[i] = (uint8_t)(seed >> (8 * i));
    restart(r);
}

void vi_rng_seed_from_kernel(struct vi_rng *r)
{
    memset(r, 0, sizeof *r);
    randombytes_buf(r->key, sizeof r->key);
    restart(r);
}

void vi_rng_bytes(struct vi_rng *r, void *out, size_t len)
{
    uint8_t *p = out, nonce[crypto_stream_chacha20_NONCEBYTES];
    while (len > 0) {
        size_t n = sizeof r->block - r->used;
        if (n == 0) {
            for (size_t i = 0; i < sizeof nonce; i++)
                nonce[i] = (uint8_t)(r->counter >> (8 * i));
            r->counter++;
            crypto_stream_chacha20(r->block, sizeof r->block, nonce, r->key);
            r->used = 0;
            continue;
        }
        if (n > len)
            n = len;
        memcpy(p, r->block + r->used, n);
        r->used += (unsigned)n;
        p += n;
        len -= n;
    }
}

uint64_t vi_rng_u64(struct vi_rng *r)
{
    uint8_t b[8];
    uint64_t v = 0;
    vi_rng_bytes(r, b, sizeof b);
    for (int i = 0; i < 8; i++)
        v |= (uint64_t)b[i] << (8 * i);
    return v;
}

uint32_t vi_rng_below(struct vi_rng *r, uint32_t n)
{
    uint64_t limit = (UINT64_C(1) << 32) - (UINT64_C(1) << 32) % n, v;
    do
        v = vi_rng_u64(r) & 0xffffffffU;
    while (v >= limit); /* so that every value is equally likely */
    return (uint32_t)(v % n);
}

double vi_rng_unit(struct vi_rng *r)
{
    return (double)(vi_rng_u64(r) >> 11) / 9007199254740992.0;
}

void vi_rng_id(struct vi_rng *r, struct vi_id *id)
{
    vi_rng_bytes(r, id->b, VI_ID_SIZE);
}
