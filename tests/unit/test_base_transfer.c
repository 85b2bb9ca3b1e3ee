/* The signed transfer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/transfer.h"

static uint8_t pk[32], sk[64];

static struct transfer sample(unsigned macs)
{
    struct transfer t = {.epoch = 42, .n_macs = macs};
    memset(t.handover.b, 1, VI_ID_SIZE);
    memset(t.guest.b, 2, VI_ID_SIZE);
    memset(t.env.b, 3, VI_ID_SIZE);
    memset(t.from.b, 4, VI_ID_SIZE);
    memset(t.to.b, 5, VI_ID_SIZE);
    for (unsigned i = 0; i < macs && i < TRANSFER_MACS; i++)
        memset(t.macs[i], (int)(0x10 + i), 6);
    return t;
}

static void there_and_back(void **state)
{
    (void)state;
    for (unsigned macs = 0; macs <= TRANSFER_MACS; macs++) {
        struct transfer t = sample(macs), r;
        uint8_t b[TRANSFER_MAX];
        int n = transfer_sign(&t, sk, b, sizeof b);
        assert_in_range(n, 64, TRANSFER_MAX);
        assert_int_equal(transfer_decode(&r, b, (size_t)n), 0);
        assert_int_equal(transfer_verify(b, (size_t)n, pk), 0);
        assert_memory_equal(&r.handover, &t.handover, VI_ID_SIZE);
        assert_memory_equal(&r.guest, &t.guest, VI_ID_SIZE);
        assert_memory_equal(&r.env, &t.env, VI_ID_SIZE);
        assert_memory_equal(&r.from, &t.from, VI_ID_SIZE);
        assert_memory_equal(&r.to, &t.to, VI_ID_SIZE);
        assert_int_equal(r.epoch, 42);
        assert_int_equal(r.n_macs, macs);
        assert_memory_equal(r.macs, t.macs, macs * 6);
    }
}

static void every_byte_is_signed(void **state)
{
    struct transfer t = sample(3);
    uint8_t b[TRANSFER_MAX];
    int n = transfer_sign(&t, sk, b, sizeof b);
    (void)state;
    for (int i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            b[i] ^= (uint8_t)(1 << bit);
            assert_true(transfer_verify(b, (size_t)n, pk) != 0);
            b[i] ^= (uint8_t)(1 << bit);
        }
}

static void bad_ones(void **state)
{
    struct transfer t = sample(2), r;
    uint8_t b[TRANSFER_MAX + 1], other[32], other_sk[64];
    int n = transfer_sign(&t, sk, b, TRANSFER_MAX);
    (void)state;
    crypto_sign_keypair(other, other_sk);
    assert_int_equal(transfer_verify(b, (size_t)n, other), VI_EAUTH);
    for (int i = 0; i < n; i++) {
        assert_true(transfer_decode(&r, b, (size_t)i) != 0 || transfer_verify(b, (size_t)i, pk) != 0);
        assert_true(transfer_verify(b, (size_t)i, pk) != 0);
    }
    assert_true(transfer_verify(b, (size_t)n + 1, pk) != 0);
    t.n_macs = TRANSFER_MACS + 1;
    assert_true(transfer_sign(&t, sk, b, sizeof b) < 0);
    t.n_macs = 2;
    assert_true(transfer_sign(&t, sk, b, 80) < 0); /* no room */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(every_byte_is_signed),
        cmocka_unit_test(bad_ones),
    };
    if (sodium_init() < 0)
        return 1;
    crypto_sign_keypair(pk, sk);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
