#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <string.h>

#include "overlay/noise.h"
#include "peer/base/err.h"

/* Both sides against each other; the public vectors are run by build/tests/noise_vectors. */
static void run(enum noise_cipher c, bool psk2, bool good_psk)
{
    uint8_t keys[4][32], pub[32], psk[32], wrong[32], msg[512], plain[512], tx[32], rx[32], tx2[32],
        rx2[32], e1[64], e2[64];
    struct noise_setup su = {.cipher = c, .initiator = true, .psk2 = psk2, .psk = psk,
                             .prologue = "p", .prologue_len = 1, .secret = keys[0],
                             .ephemeral = keys[1], .remote = pub};
    struct noise_setup sr = su;
    struct noise_handshake i, r;
    size_t n, got;

    for (unsigned k = 0; k < 4; k++)
        memset(keys[k], (int)(k + 1), 32);
    memset(psk, 5, 32);
    memset(wrong, 6, 32);
    crypto_scalarmult_base(pub, keys[2]);
    sr.initiator = false;
    sr.secret = keys[2];
    sr.ephemeral = keys[3];
    sr.psk = NULL;
    assert_int_equal(noise_init(&i, &su), 0);
    assert_int_equal(noise_init(&r, &sr), 0);
    assert_int_equal(noise_read(&i, msg, 100, plain, sizeof plain, &got), VI_ESTATE);
    assert_int_equal(noise_split(&i, tx, rx), VI_ESTATE);
    assert_int_equal(noise_write(&i, "one", 3, msg, 10, &n), VI_EFULL);
    assert_int_equal(noise_write(&i, "one", 3, msg, sizeof msg, &n), 0);
    assert_int_equal(n, 3 + NOISE_IK_1);
    assert_int_equal(noise_read(&r, msg, n, plain, sizeof plain, &got), 0);
    assert_int_equal(got, 3);
    assert_memory_equal(plain, "one", 3);
    assert_memory_equal(r.rs, i.sp, 32);
    if (psk2) {
        assert_int_equal(noise_write(&r, "two", 3, msg, sizeof msg, &n), VI_ESTATE);
        noise_set_psk(&r, good_psk ? psk : wrong);
    }
    assert_int_equal(noise_write(&r, "two", 3, msg, sizeof msg, &n), 0);
    if (psk2 && !good_psk) {
        assert_int_equal(noise_read(&i, msg, n, plain, sizeof plain, &got), VI_EAUTH);
        assert_int_equal(noise_read(&i, msg, n, plain, sizeof plain, &got), VI_ESTATE);
        return;
    }
    assert_int_equal(noise_read(&i, msg, n, plain, sizeof plain, &got), 0);
    assert_int_equal(noise_split(&i, tx, rx), 0);
    assert_int_equal(noise_split(&r, tx2, rx2), 0);
    assert_memory_equal(tx, rx2, 32);
    assert_memory_equal(rx, tx2, 32);
    assert_memory_not_equal(tx, rx, 32);
    assert_int_equal(noise_export(&i, "label", e1), 0);
    assert_int_equal(noise_export(&r, "label", e2), 0);
    assert_memory_equal(e1, e2, 64);
    assert_int_equal(noise_export(&r, "other", e2), 0);
    assert_memory_not_equal(e1, e2, 64);
    noise_clear(&i);
    noise_clear(&i);
}

static void test_handshakes(void **state)
{
    (void)state;
    run(NOISE_CHACHAPOLY, false, true);
    run(NOISE_CHACHAPOLY, true, true);
    run(NOISE_CHACHAPOLY, true, false);
    if (noise_ciphers() & 1U << NOISE_AESGCM) {
        run(NOISE_AESGCM, false, true);
        run(NOISE_AESGCM, true, true);
    }
}

/* The ephemeral keys of the public vectors, as they appear first in the messages. */
static void test_known_message(void **state)
{
    static const char *const good[2] = {
        [0] = "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254",
        [1] = "64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d48466"};
    uint8_t s[32], e[32], rs[32], pub[32], msg[128], hex[32];
    struct noise_setup su = {.cipher = NOISE_CHACHAPOLY, .initiator = true, .secret = s,
                             .ephemeral = e, .remote = pub};
    struct noise_handshake hs;
    size_t n;

    (void)state;
    for (unsigned i = 0; i < 32; i++) {
        s[i] = (uint8_t)i;
        e[i] = (uint8_t)(0x20 + i);
        rs[i] = (uint8_t)(1 + i);
    }
    crypto_scalarmult_base(pub, rs);
    assert_int_equal(noise_init(&hs, &su), 0);
    assert_int_equal(noise_write(&hs, NULL, 0, msg, sizeof msg, &n), 0);
    sodium_hex2bin(hex, 32, good[0], 64, NULL, NULL, NULL);
    assert_memory_equal(msg, hex, 32);
    for (unsigned i = 0; i < 32; i++)
        e[i] = (uint8_t)(0x41 + i);
    crypto_scalarmult_base(pub, e);
    sodium_hex2bin(hex, 32, good[1], 64, NULL, NULL, NULL);
    assert_memory_equal(pub, hex, 32);
}

static void test_low_order_key(void **state)
{
    uint8_t key[32] = {1}, zero[32] = {0}, msg[128];
    struct noise_setup su = {.cipher = NOISE_CHACHAPOLY, .initiator = true, .secret = key,
                             .ephemeral = key, .remote = zero};
    struct noise_handshake hs;
    size_t n;

    (void)state;
    assert_int_equal(noise_init(&hs, &su), 0);
    assert_int_equal(noise_write(&hs, NULL, 0, msg, sizeof msg, &n), VI_EAUTH);
    su.cipher = 9;
    assert_int_equal(noise_init(&hs, &su), VI_EINVAL);
}

static void test_seal(void **state)
{
    uint8_t key[32] = {3}, box[40], plain[24];

    (void)state;
    for (int c = NOISE_CHACHAPOLY; c <= NOISE_AESGCM; c++) {
        if (!(noise_ciphers() & 1U << c)) {
            assert_int_equal(noise_seal(c, key, 1, NULL, 0, "x", 1, box), VI_EUNSUPPORTED);
            continue;
        }
        assert_int_equal(noise_seal(c, key, 7, "ad", 2, "some plaintext", 14, box), 0);
        assert_int_equal(noise_open(c, key, 7, "ad", 2, box, 30, plain), 0);
        assert_memory_equal(plain, "some plaintext", 14);
        assert_int_equal(noise_open(c, key, 8, "ad", 2, box, 30, plain), VI_EAUTH);
        assert_int_equal(noise_open(c, key, 7, "aD", 2, box, 30, plain), VI_EAUTH);
        assert_int_equal(noise_open(c, key, 7, "ad", 2, box, 15, plain), VI_EAUTH);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshakes), cmocka_unit_test(test_known_message),
        cmocka_unit_test(test_low_order_key), cmocka_unit_test(test_seal)};

    if (sodium_init() < 0)
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
