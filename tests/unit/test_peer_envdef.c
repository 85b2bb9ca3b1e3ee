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

/* ---- rules ---- */

static struct env_rules sample_rules(void)
{
    static const struct {
        enum policy_rule_kind kind;
        unsigned n;
    } of[] = {{POLICY_RULE_SPREAD, 3}, {POLICY_RULE_TOGETHER, 2}, {POLICY_RULE_PIN, 1}, {POLICY_RULE_NEVER, 1}};
    struct env_rules r = {.page = 3, .version = 9, .priority = 77, .n = 4, .cert_len = 300};
    memset(&r.env, 5, sizeof r.env);
    memset(r.cert, 9, r.cert_len);
    for (unsigned i = 0; i < r.n; i++) {
        struct policy_rule *x = &r.rule[i];
        x->env = r.env;
        x->number = i + 1;
        x->kind = of[i].kind;
        x->n = of[i].n;
        for (unsigned k = 0; k < x->n; k++)
            memset(x->guest[k], (int)(16 * i + k + 1), sizeof x->guest[k]);
        if (x->n == 1)
            memset(&x->host, 0xb0 + (int)i, sizeof x->host);
    }
    return r;
}

static void test_rules(void **unused)
{
    uint8_t b[ENV_RECORD_MAX];
    static struct env_rules r, back;
    static struct env_definition d;
    static struct env_takes_part t;
    int n;
    (void)unused;
    r = sample_rules();
    n = env_rules_encode(&r, sk, b, sizeof b);
    assert_true(n > 0);
    assert_int_equal(env_rules_decode(&back, b, (size_t)n), 0);
    assert_memory_equal(&r, &back, sizeof r);
    assert_int_equal(env_record_verify(b, (size_t)n, pk), 0);
    for (int i = 0; i < n; i++) {
        b[i] ^= 1;
        assert_int_equal(env_record_verify(b, (size_t)n, pk), VI_EAUTH);
        b[i] ^= 1;
        assert_int_not_equal(env_rules_decode(&back, b, (size_t)i), 0);
    }
    /* what doesn't know of rules takes a page for nothing else */
    assert_int_equal(env_definition_decode(&d, b, (size_t)n), VI_EPROTO);
    assert_int_equal(env_takes_part_decode(&t, b, (size_t)n), VI_EPROTO);
}

/* The longest rule fits beside the longest certificate; as many as fit make a page. */
static void test_rules_fit(void **unused)
{
    uint8_t b[ENV_RECORD_MAX];
    static struct env_rules r;
    int n = 1;
    (void)unused;
    r = sample_rules();
    r.cert_len = ENV_CERT_MAX;
    memset(r.cert, 9, r.cert_len);
    r.n = 1;
    r.rule[0].n = POLICY_RULE_GUESTS;
    assert_true(env_rules_encode(&r, sk, b, sizeof b) > 0);
    r.cert_len = 300;
    for (r.n = 0; n > 0 && r.n < ENV_RULES; r.n++) {
        r.rule[r.n] = sample_rules().rule[0];
        n = env_rules_encode(&r, sk, b, sizeof b);
    }
    assert_int_equal(n, VI_EFULL);
    assert_in_range(r.n, 10, 20);
}

static void test_bad_rules(void **unused)
{
    uint8_t b[ENV_RECORD_MAX];
    static struct env_rules r, back;
    int n;
    (void)unused;
    for (unsigned bad = 0; bad < 7; bad++) {
        r = sample_rules();
        switch (bad) {
        case 0: r.rule[0].number = 0; break;
        case 1: r.rule[0].number = ENV_RULES + 1; break;
        case 2: r.rule[0].n = 1; break;  /* one guest can't be apart from itself */
        case 3: r.rule[2].n = 2; break;  /* a pin is of one */
        case 4: r.rule[1].n = 0; break;
        case 5: r.page = ENV_PAGES; break;
        default: r.priority = ENV_PRIORITY_MAX + 1; break;
        }
        n = env_rules_encode(&r, sk, b, sizeof b);
        assert_true(n > 0);
        assert_int_equal(env_rules_decode(&back, b, (size_t)n), VI_EPROTO);
    }
    r = sample_rules();
    r.rule[1].kind = (enum policy_rule_kind)99; /* of a later version: the others count */
    n = env_rules_encode(&r, sk, b, sizeof b);
    assert_int_equal(env_rules_decode(&back, b, (size_t)n), 0);
    assert_int_equal(back.n, 3);
    assert_int_equal(back.rule[1].number, 3);
}

static void test_rules_keys(void **unused)
{
    struct vi_id env = sample_rules().env, a, c;
    (void)unused;
    env_rules_key(&a, &env, 0);
    env_rules_key(&c, &env, 1);
    assert_false(vi_id_equal(&a, &c) || vi_id_equal(&a, &env));
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
        cmocka_unit_test(test_takes_part), cmocka_unit_test(test_rules), cmocka_unit_test(test_rules_fit),
        cmocka_unit_test(test_bad_rules), cmocka_unit_test(test_rules_keys), cmocka_unit_test(test_names),
    };
    if (sodium_init() < 0)
        return 1;
    crypto_sign_keypair(pk, sk);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
