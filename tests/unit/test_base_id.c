/* Identifiers: texts that come back, texts that are refused, hashes that others can compute. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/base/id.h"

static const struct vi_id some = {{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa,
                                   0xbb, 0xcc, 0xdd, 0xee, 0xff}};

static void test_format(void **unused)
{
    char text[VI_ID_TEXT], uuid[VI_UUID_TEXT];
    (void)unused;
    assert_string_equal(vi_id_format(&some, text), "00112233445566778899aabbccddeeff");
    assert_string_equal(vi_uuid_format(&some, uuid), "00112233-4455-6677-8899-aabbccddeeff");
}

static void test_parse(void **unused)
{
    static const char *const good[] = {"00112233445566778899aabbccddeeff", "00112233445566778899AABBCCDDEEFF",
                                       "00112233-4455-6677-8899-aabbccddeeff",
                                       "00-11-22-33-44-55-66-77-88-99-aa-bb-cc-dd-ee-ff"};
    static const char *const bad[] = {"", "0", "00112233445566778899aabbccddeef", "00112233445566778899aabbccddeefff",
                                      "00112233445566778899aabbccddeeff ", " 00112233445566778899aabbccddeeff",
                                      "-00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff-",
                                      "0-0112233445566778899aabbccddeeff", "00--112233445566778899aabbccddeeff",
                                      "g0112233445566778899aabbccddeeff", "0\xc3\xa9"};
    struct vi_id id;
    (void)unused;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        memset(&id, 0xee, sizeof id);
        assert_int_equal(vi_id_parse(&id, good[i]), 0);
        assert_true(vi_id_equal(&id, &some));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        id = some;
        assert_int_equal(vi_id_parse(&id, bad[i]), VI_EINVAL);
        assert_true(vi_id_equal(&id, &some)); /* untouched */
    }
}

static void test_order(void **unused)
{
    struct vi_id a = {{0}}, b = {{0}};
    (void)unused;
    assert_true(vi_id_is_zero(&a));
    assert_false(vi_id_is_zero(&some));
    assert_int_equal(vi_id_compare(&a, &b), 0);
    b.b[15] = 1;
    assert_true(vi_id_compare(&a, &b) < 0 && vi_id_compare(&b, &a) > 0);
    a.b[0] = 0x80; /* as unsigned bytes, the first decides */
    assert_true(vi_id_compare(&a, &b) > 0);
    assert_false(vi_id_equal(&a, &b));
}

/* Computed with another BLAKE2b: length-prefixed parts, 16 bytes. */
static void test_hash(void **unused)
{
    uint8_t pk[32];
    struct vi_id id, other;
    char text[VI_ID_TEXT];
    (void)unused;
    for (unsigned i = 0; i < sizeof pk; i++)
        pk[i] = (uint8_t)i;
    vi_id_hash(&id, "violin peer", pk, sizeof pk, NULL, 0);
    assert_string_equal(vi_id_format(&id, text), "604a501e4d461de4edbd1815b4685ddf");
    vi_id_hash(&id, "l", "ab", 2, "c", 1); /* where a part ends counts */
    vi_id_hash(&other, "l", "a", 1, "bc", 2);
    assert_false(vi_id_equal(&id, &other));
}

static void *ask(void *arg)
{
    *(uint64_t *)arg = vi_id_bucket(&some);
    return NULL;
}

static void test_bucket(void **unused)
{
    struct vi_id other = some;
    uint64_t of[4];
    pthread_t t[4];
    (void)unused;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, ask, &of[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 4; i++)
        assert_true(of[i] == vi_bucket(some.b, VI_ID_SIZE));
    other.b[3] ^= 1;
    assert_true(vi_id_bucket(&other) != of[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bucket), cmocka_unit_test(test_format), cmocka_unit_test(test_parse),
        cmocka_unit_test(test_order), cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
