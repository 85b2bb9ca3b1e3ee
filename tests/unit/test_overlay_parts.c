/* Frames in parts put together, and the data path's AEADs against the handshake's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <string.h>

#include "overlay/aead.h"
#include "overlay/reassembly.h"
#include "peer/base/err.h"
#include "peer/base/rng.h"

static struct reassembly r;
static uint8_t frame[REASSEMBLY_BYTES];
static struct vi_rng rng;

static int set_up(void **state)
{
    (void)state;
    memset(&r, 0, sizeof r);
    vi_rng_seed(&rng, 1);
    for (size_t i = 0; i < sizeof frame; i++)
        frame[i] = (uint8_t)vi_rng_u64(&rng);
    return 0;
}

static uint8_t *add(uint32_t session, unsigned queue, unsigned id, unsigned offset, unsigned total, size_t n, size_t *len)
{
    struct reassembly_key k = {session, (uint16_t)queue, (uint16_t)id};
    return reassembly_add(&r, VI_SEC, &k, offset, total, frame + (offset < sizeof frame ? offset : 0), n, len);
}

/* Frames in any number of parts, in any order, mixed. */
static void in_any_order(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        unsigned parts = 2 + (unsigned)(vi_rng_u64(&rng) % (REASSEMBLY_PARTS - 1)), order[REASSEMBLY_PARTS], done = 0;
        unsigned total = parts + (unsigned)(vi_rng_u64(&rng) % (REASSEMBLY_BYTES - parts)), each = (total + parts - 1) / parts;
        parts = (total + each - 1) / each;
        for (unsigned i = 0; i < parts; i++)
            order[i] = i;
        for (unsigned i = parts; i-- > 1;) {
            unsigned j = (unsigned)(vi_rng_u64(&rng) % (i + 1)), t = order[i];
            order[i] = order[j];
            order[j] = t;
        }
        for (unsigned i = 0; i < parts; i++) {
            unsigned at = order[i] * each;
            size_t len, n = total - at < each ? total - at : each;
            uint8_t *whole = add(round % 3, 1 + round % 2, round, at, total, n, &len);
            assert_int_equal(whole != NULL, i + 1 == parts);
            if (!whole)
                continue;
            assert_int_equal(len, total);
            assert_memory_equal(whole, frame, total);
            done++;
        }
        assert_int_equal(done, 1);
    }
    assert_int_equal(r.incomplete, 0);
}

static void parts_that_cannot_be(void **state)
{
    size_t len;
    (void)state;
    assert_null(add(1, 1, 1, 0, 0, 0, &len));
    assert_null(add(1, 1, 1, 0, 100, 0, &len));
    assert_null(add(1, 1, 1, 0, 100, 101, &len));
    assert_null(add(1, 1, 1, 60, 100, 41, &len));
    assert_null(add(1, 1, 1, 65535, 100, 1, &len));
    assert_null(add(1, 1, 1, 0, REASSEMBLY_BYTES + 1, 100, &len));
    assert_int_equal(r.incomplete, 0); /* nothing was kept of them */
    assert_null(add(1, 1, 2, 0, 100, 50, &len)); /* an overlap ends the frame */
    assert_null(add(1, 1, 2, 40, 100, 60, &len));
    assert_int_equal(r.incomplete, 1);
    assert_null(add(1, 1, 2, 50, 100, 50, &len));
    assert_null(add(1, 1, 3, 0, 100, 50, &len)); /* so does another length */
    assert_null(add(1, 1, 3, 50, 101, 51, &len));
    assert_int_equal(r.incomplete, 2);
    for (unsigned i = 0; i <= REASSEMBLY_PARTS; i++)
        assert_null(add(1, 1, 4, i, 1000, 1, &len));
    assert_int_equal(r.incomplete, 3);
}

static void others_are_others(void **state)
{
    size_t len;
    (void)state;
    assert_null(add(1, 1, 7, 0, 100, 50, &len));
    assert_null(add(2, 1, 7, 50, 100, 50, &len)); /* another session */
    assert_null(add(1, 2, 7, 50, 100, 50, &len)); /* another queue */
    assert_null(add(1, 1, 8, 50, 100, 50, &len)); /* another frame */
    assert_non_null(add(1, 1, 7, 50, 100, 50, &len));
}

static void bounded_in_number_and_time(void **state)
{
    struct reassembly_key k = {1, 1, 1};
    size_t len;
    (void)state;
    for (unsigned i = 0; i < REASSEMBLY_FRAMES + 10; i++)
        assert_null(add(1, 1, i, 0, 100, 50, &len));
    assert_int_equal(r.incomplete, 10);
    assert_null(add(1, 1, 3, 50, 100, 50, &len)); /* its first part was given up */
    assert_non_null(add(1, 1, REASSEMBLY_FRAMES + 9, 50, 100, 50, &len));
    set_up(NULL);
    assert_null(reassembly_add(&r, 0, &k, 0, 100, frame, 50, &len));
    assert_null(reassembly_add(&r, REASSEMBLY_AGE + 1, &k, 50, 100, frame, 50, &len)); /* the number came round */
    assert_int_equal(r.incomplete, 1);
    assert_non_null(reassembly_add(&r, REASSEMBLY_AGE + 1, &k, 0, 100, frame, 50, &len));
}

/* ---- AEADs ---- */

static void same_bytes_as_the_handshakes(void **state)
{
    static uint8_t slow[9300], fast[9300];
    static const size_t sizes[] = {0, 1, 15, 16, 17, 100, 1435, 1436, 9216};
    (void)state;
    for (int c = NOISE_CHACHAPOLY; c <= NOISE_AESGCM; c++) {
        struct aead_key seal = {.ctx = NULL}, open = {.ctx = NULL};
        uint8_t key[NOISE_KEY], ad[16];
        if (!(noise_ciphers() & 1u << c)) {
            assert_int_equal(aead_init(&seal, (enum noise_cipher)c, key, true), VI_EUNSUPPORTED);
            continue;
        }
        vi_rng_bytes(&rng, key, sizeof key);
        vi_rng_bytes(&rng, ad, sizeof ad);
        assert_int_equal(aead_init(&seal, (enum noise_cipher)c, key, true), 0);
        assert_int_equal(aead_init(&open, (enum noise_cipher)c, key, false), 0);
        for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t n = sizes[i];
            uint64_t counter = i == 3 ? UINT64_C(0x0102030405060708) : i;
            assert_int_equal(noise_seal((enum noise_cipher)c, key, counter, ad, sizeof ad, frame, n, slow), 0);
            memcpy(fast, frame, n);
            assert_int_equal(aead_seal(&seal, counter, ad, sizeof ad, fast, n), 0);
            assert_memory_equal(slow, fast, n + NOISE_TAG);
            for (size_t k = 0; k < n + NOISE_TAG; k += 1 + n / 5) { /* bent */
                fast[k] ^= 1;
                assert_int_equal(aead_open(&open, counter, ad, sizeof ad, fast, n + NOISE_TAG), VI_EAUTH);
                memcpy(fast, slow, n + NOISE_TAG);
            }
            ad[3] ^= 1;
            assert_int_equal(aead_open(&open, counter, ad, sizeof ad, fast, n + NOISE_TAG), VI_EAUTH);
            ad[3] ^= 1;
            memcpy(fast, slow, n + NOISE_TAG);
            assert_int_equal(aead_open(&open, counter + 1, ad, sizeof ad, fast, n + NOISE_TAG), VI_EAUTH);
            memcpy(fast, slow, n + NOISE_TAG);
            assert_int_equal(aead_open(&open, counter, ad, sizeof ad, fast, n + NOISE_TAG), 0);
            assert_memory_equal(fast, frame, n);
            assert_int_equal(aead_open(&open, counter, ad, sizeof ad, fast, NOISE_TAG - 1), VI_EAUTH);
        }
        aead_clear(&seal);
        aead_clear(&seal);
        aead_clear(&open);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(in_any_order, set_up),
        cmocka_unit_test_setup(parts_that_cannot_be, set_up),
        cmocka_unit_test_setup(others_are_others, set_up),
        cmocka_unit_test_setup(bounded_in_number_and_time, set_up),
        cmocka_unit_test_setup(same_bytes_as_the_handshakes, set_up),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
