/* Environment records: what goes out comes back, and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>

#include "peer/base/err.h"
#include "peer/envdef.h"

static uint8_t pk[32], sk[64];

static struct env_definition sample(void)
{
    struct env_definition d = {.shares = 300, .version = 3};
    snprintf(d.name, sizeof d.name, "physics-1");
    snprintf(d.home, sizeof d.home, "lab.example");
    memset(d.nonce.b, 7, sizeof d.nonce.b);
    d.cert_len = ENV_CERT_MAX;
    memset(d.cert, 9, sizeof d.cert);
    env_definition_identify(&d);
    return d;
}

static void test_definition(void **unused)
{
    uint8_t b[ENV_RECORD_MAX];
    static struct env_definition d, e;
    int n;
    (void)unused;
    d = sample();
    n = env_definition_encode(&d, sk, b, sizeof b);
    assert_true(n > 0);
    assert_int_equal(env_definition_decode(&e, b, (size_t)n), 0);
    assert_true(vi_id_equal(&d.id, &e.id));
    assert_string_equal(e.name, "physics-1");
    assert_int_equal(e.shares, 300);
    assert_int_equal(env_record_verify(b, (size_t)n, pk), 0);
    for (int i = 0; i < n; i++) {
        b[i] ^= 1;
        assert_int_equal(env_record_verify(b, (size_t)n, pk), VI_EAUTH);
        b[i] ^= 1;
    }
    for (int i = 0; i < n; i++) /* a part decodes to nothing, or at least isn't authentic */
        assert_int_equal(env_record_verify(b, (size_t)i, pk), VI_EAUTH);
    assert_int_equal(env_definition_encode(&d, sk, b, 40), VI_EFULL);
    assert_false(e.strict);
    d.strict = true;
    n = env_definition_encode(&d, sk, b, sizeof b);
    assert_true(n > 0 && n <= ENV_RECORD_MAX);
    assert_int_equal(env_definition_decode(&e, b, (size_t)n), 0);
    assert_true(e.strict);
    assert_int_equal(e.bandwidth, 0);
    for (unsigned i = 0; i < 2; i++) { /* with and without the other field */
        uint8_t more[ENV_RECORD_MAX];
        int m;
        d.strict = i == 1;
        d.bandwidth = ENV_BANDWIDTH_MAX;
        m = env_definition_encode(&d, sk, more, sizeof more);
        assert_true(m > 0);
        assert_int_equal(env_definition_decode(&e, more, (size_t)m), 0);
        assert_int_equal(e.bandwidth, ENV_BANDWIDTH_MAX);
        assert_true(e.strict == (i == 1));
    }
}

static void test_bad_definitions(void **unused)
{
    uint8_t b[ENV_RECORD_MAX];
    static struct env_definition d, e;
    int n;
    (void)unused;
    d = sample();
    snprintf(d.name, sizeof d.name, "../etc");
    n = env_definition_encode(&d, sk, b, sizeof b);
    assert_int_equal(env_definition_decode(&e, b, (size_t)n), VI_EINVAL);
    d = sample();
    d.shares = 0;
    n = env_definition_encode(&d, sk, b, sizeof b);
    assert_int_equal(env_definition_decode(&e, b, (size_t)n), VI_EINVAL);
    d.shares = ENV_SHARES_MAX + 1;
    n = env_definition_encode(&d, sk, b, sizeof b);
    assert_int_equal(env_definition_decode(&e, b, (size_t)n), VI_EPROTO);
}

static void test_takes_part(void **unused)
{
    uint8_t b[ENV_RECORD_MAX];
    static struct env_takes_part t, u;
    int n;
    (void)unused;
    t.n = ENV_MAX;
    t.version = 5;
    for (unsigned i = 0; i < t.n; i++)
        memset(t.envs[i], (int)i, ENV_TAG_SIZE);
    n = env_takes_part_encode(&t, sk, b, sizeof b);
    assert_true(n > 0);
    assert_int_equal(env_takes_part_decode(&u, b, (size_t)n), 0);
    assert_memory_equal(&t, &u, sizeof t);
    assert_int_equal(env_record_verify(b, (size_t)n, pk), 0);
    assert_int_equal(env_takes_part_decode(&u, b, (size_t)n - 1), VI_EPROTO);
}

static void test_names(void **unused)
{
    struct env_definition d = sample();
    char bridge[ENV_BRIDGE_MAX];
    (void)unused;
    assert_true(env_name_valid("a"));
    assert_true(env_name_valid("A.b_c-9"));
    assert_false(env_name_valid(""));
    assert_false(env_name_valid("-a"));
    assert_false(env_name_valid("a b"));
    assert_false(env_name_valid("abcdefghijklmnopqrstuvwxyz0123456789"));
    assert_int_equal(strlen(env_bridge_name(&d.id, bridge)), 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition), cmocka_unit_test(test_bad_definitions),
        cmocka_unit_test(test_takes_part), cmocka_unit_test(test_names),
    };
    if (sodium_init() < 0)
        return 1;
    crypto_sign_keypair(pk, sk);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
