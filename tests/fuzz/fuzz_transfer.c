/* Signed transfers from other hosts: what is read can be signed and read again, and nothing else. */
#include <sodium.h>
#include <stdint.h>
#include <string.h>

#include "peer/base/transfer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct transfer *a, const struct transfer *b)
{
    return vi_id_equal(&a->handover, &b->handover) && vi_id_equal(&a->guest, &b->guest) &&
           vi_id_equal(&a->env, &b->env) && vi_id_equal(&a->from, &b->from) && vi_id_equal(&a->to, &b->to) &&
           a->epoch == b->epoch && a->n_macs == b->n_macs && !memcmp(a->macs, b->macs, a->n_macs * 6U);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[32] = {1};
    uint8_t pk[32], sk[64], out[TRANSFER_MAX];
    struct transfer t, again;
    int n;
    if (sodium_init() < 0)
        return 0;
    crypto_sign_seed_keypair(pk, sk, seed);
    transfer_verify(data, size, pk);
    if (transfer_decode(&t, data, size))
        return 0;
    if (t.n_macs > TRANSFER_MACS)
        __builtin_trap();
    n = transfer_sign(&t, sk, out, sizeof out);
    if (n <= 0 || transfer_verify(out, (size_t)n, pk) || transfer_decode(&again, out, (size_t)n) || !same(&t, &again))
        __builtin_trap();
    out[size % (size_t)n] ^= 1;
    if (!transfer_verify(out, (size_t)n, pk) || transfer_sign(&t, sk, out, (size_t)n - 1) > 0)
        __builtin_trap();
    return 0;
}
