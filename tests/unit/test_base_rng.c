/* Seeded random numbers: a seed gives the same run everywhere, and the numbers are even. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/rng.h"

/* The first block of ChaCha20 with a key and nonce of zeros (RFC 8439, appendix A.1, vector 1). */
static void test_known(void **unused)
{
    static const uint8_t first[16] = {0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90,
                                      0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28};
    uint8_t out[16];
    struct vi_rng r;
    (void)unused;
    vi_rng_seed(&r, 0);
    vi_rng_bytes(&r, out, sizeof out);
    assert_memory_equal(out, first, sizeof first);
    vi_rng_seed(&r, 0);
    assert_true(vi_rng_u64(&r) == UINT64_C(0x903df1a0ade0b876)); /* little-endian on every machine */
}

static void test_pieces(void **unused)
{
    uint8_t whole[1000], piece[1000];
    struct vi_rng r;
    (void)unused;
    vi_rng_seed(&r, 42);
    vi_rng_bytes(&r, whole, sizeof whole);
    vi_rng_seed(&r, 42);
    for (size_t at = 0, n = 0; at < sizeof piece; at += n) {
        n = (n + 7) % 130;
        if (n > sizeof piece - at)
            n = sizeof piece - at;
        vi_rng_bytes(&r, piece + at, n);
    }
    assert_memory_equal(whole, piece, sizeof whole);
    assert_memory_not_equal(whole, whole + 64, 64); /* blocks differ */
    vi_rng_seed(&r, 43);
    vi_rng_bytes(&r, piece, sizeof piece);
    assert_memory_not_equal(whole, piece, sizeof whole);
}

static void test_below(void **unused)
{
    unsigned seen[7] = {0};
    struct vi_rng r;
    (void)unused;
    vi_rng_seed(&r, 1);
    for (int i = 0; i < 70000; i++) {
        uint32_t v = vi_rng_below(&r, 7);
        assert_true(v < 7);
        seen[v]++;
    }
    for (int i = 0; i < 7; i++)
        assert_in_range(seen[i], 9500, 10500); /* 5 standard deviations are 460 */
    for (int i = 0; i < 100; i++) {
        assert_int_equal(vi_rng_below(&r, 1), 0);
        assert_true(vi_rng_below(&r, UINT32_MAX) < UINT32_MAX);
        assert_true(vi_rng_below(&r, 0x80000001U) < 0x80000001U); /* half of the draws don't count */
    }
}

static void test_unit(void **unused)
{
    double sum = 0;
    struct vi_rng r;
    (void)unused;
    vi_rng_seed(&r, 2);
    for (int i = 0; i < 10000; i++) {
        double v = vi_rng_unit(&r);
        assert_true(v >= 0 && v < 1);
        sum += v;
    }
    assert_true(sum > 4800 && sum < 5200);
}

static void test_kernel(void **unused)
{
    struct vi_id a, b;
    struct vi_rng r;
    (void)unused;
    vi_rng_seed_from_kernel(&r);
    vi_rng_id(&r, &a);
    vi_rng_seed_from_kernel(&r);
    vi_rng_id(&r, &b);
    assert_false(vi_id_equal(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known), cmocka_unit_test(test_pieces), cmocka_unit_test(test_below),
        cmocka_unit_test(test_unit), cmocka_unit_test(test_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
