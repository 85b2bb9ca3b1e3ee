/* What domains say to each other: there and back, cut anywhere, bent anywhere, signed by others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "peer/base/err.h"
#include "peer/federation.h"

static uint8_t pk[32], sk[64], other[32];

static struct fed_card a_card(unsigned seeds)
{
    struct fed_card c = {.domain = "venus", .seeds = seeds};

    memset(c.authority, 7, sizeof c.authority);
    for (unsigned i = 0; i < seeds; i++) {
        memset(c.seed[i].ed, (int)i + 1, CERT_KEY);
        memset(c.seed[i].x, (int)i + 100, CERT_KEY);
        snprintf(c.seed[i].addr, sizeof c.seed[i].addr, "10.0.0.%u:7411", i + 1);
    }
    return c;
}

static void cards(void **state)
{
    char text[FED_CARD_TEXT], spaced[FED_CARD_TEXT + 8], bent[FED_CARD_TEXT];
    struct fed_card c = a_card(3), back;
    const char *why;

    (void)state;
    assert_int_equal(fed_card_encode(&c, text), 0);
    assert_int_equal(fed_card_decode(&back, text, &why), 0);
    assert_memory_equal(&back, &c, sizeof c);
    snprintf(spaced, sizeof spaced, "  %s\n", text);
    assert_int_equal(fed_card_decode(&back, spaced, NULL), 0);
    for (size_t i = strlen(FED_CARD_PREFIX); i < strlen(text); i++) {
        memcpy(bent, text, strlen(text) + 1);
        bent[i] = bent[i] == 'A' ? 'B' : 'A';
        assert_int_not_equal(fed_card_decode(&back, bent, &why), 0);
        memcpy(bent, text, i);
        bent[i] = 0;
        assert_int_equal(fed_card_decode(&back, bent, &why), VI_EPROTO);
    }
    assert_int_equal(fed_card_decode(&back, "violin-domain2-AAAA", &why), VI_EVERSION);
    assert_non_null(strstr(why, "later version"));
    assert_int_equal(fed_card_decode(&back, "violin1-AAAA", &why), VI_EPROTO);
    c.seeds = 0;
    assert_int_equal(fed_card_encode(&c, text), VI_EINVAL);
}

/* Whole: taken and authentic; cut or bent anywhere: not both. */
#define CHECK_RECORD(kind, type, decode, bytes, n)                                                 \
    do {                                                                                           \
        type got;                                                                                  \
        uint8_t copy[FED_RECORD_MAX];                                                              \
        assert_true((n) > 64);                                                                     \
        assert_int_equal(decode(&got, bytes, (size_t)(n)), 0);                                     \
        assert_int_equal(fed_verify(kind, bytes, (size_t)(n), pk), 0);                             \
        assert_int_equal(fed_verify(kind, bytes, (size_t)(n), other), VI_EAUTH);                   \
        assert_int_equal(fed_verify((kind) + 1, bytes, (size_t)(n), pk), VI_EAUTH);                \
        for (size_t i = 0; i < (size_t)(n); i++) {                                                 \
            if (!decode(&got, bytes, i))                                                           \
                assert_int_equal(fed_verify(kind, bytes, i, pk), VI_EAUTH);                        \
            memcpy(copy, bytes, (size_t)(n));                                                      \
            copy[i] ^= 1;                                                                          \
            if (!decode(&got, copy, (size_t)(n)))                                                  \
                assert_int_equal(fed_verify(kind, copy, (size_t)(n), pk), VI_EAUTH);               \
        }                                                                                          \
    } while (0)

static void trusts(void **state)
{
    struct fed_trust t = {.with = a_card(2), .limits = {4, 512, 200}, .version = 99, .cert_len = 300}, back;
    uint8_t b[FED_RECORD_MAX];
    int n = fed_trust_encode(&t, sk, b, sizeof b);

    (void)state;
    CHECK_RECORD(FED_RECORD_TRUST, struct fed_trust, fed_trust_decode, b, n);
    assert_int_equal(fed_trust_decode(&back, b, (size_t)n), 0);
    assert_memory_equal(&back, &t, sizeof t);
    t.with.seeds = 0;
    t.withdrawn = true;
    n = fed_trust_encode(&t, sk, b, sizeof b);
    assert_int_equal(fed_trust_decode(&back, b, (size_t)n), 0);
    assert_true(back.withdrawn);
    t = (struct fed_trust){.with = a_card(3), .cert_len = CERT_MAX};
    memset(t.with.seed[0].addr, 'x', SEED_ADDR_MAX);
    memset(t.with.seed[1].addr, 'x', SEED_ADDR_MAX);
    assert_int_equal(fed_trust_encode(&t, sk, b, sizeof b), VI_EFULL);
}

static void summaries(void **state)
{
    struct fed_summary s = {.domain = "venus", .version = 5, .hosts = 1000, .suspects = 2, .environments = 64,
                            .cpu_pct = 3200000, .cpu_used_pct = 7, .memory_mib = UINT64_MAX, .memory_free_mib = 1},
                       back;
    struct fed_view v = {.version = 6, .rep_host = "host4"}, seen;
    uint8_t b[FED_RECORD_MAX];
    int n = fed_summary_encode(&s, sk, b, sizeof b);

    (void)state;
    assert_true(n <= FED_SUMMARY_MAX);
    CHECK_RECORD(FED_RECORD_SUMMARY, struct fed_summary, fed_summary_decode, b, n);
    assert_int_equal(fed_summary_decode(&back, b, (size_t)n), 0);
    assert_memory_equal(&back, &s, sizeof s);
    v.summary = s;
    v.rep = a_card(1).seed[0];
    n = fed_view_encode(&v, sk, b, sizeof b);
    CHECK_RECORD(FED_RECORD_VIEW, struct fed_view, fed_view_decode, b, n);
    assert_int_equal(fed_view_decode(&seen, b, (size_t)n), 0);
    assert_memory_equal(&seen, &v, sizeof v);
    snprintf(v.rep_host, sizeof v.rep_host, "no host");
    n = fed_view_encode(&v, sk, b, sizeof b);
    assert_int_equal(fed_view_decode(&seen, b, (size_t)n), VI_EPROTO);
}

static void presences(void **state)
{
    struct fed_presence p = {.version = 8, .n = FED_TAGS, .cert_len = CERT_MAX, .addr = {.family = 6, .port = 7411}}, back;
    uint8_t b[FED_RECORD_MAX];
    int n;

    (void)state;
    memset(p.envs, 3, sizeof p.envs);
    memset(p.addr.ip, 9, 16);
    n = fed_presence_encode(&p, sk, b, sizeof b);
    CHECK_RECORD(FED_RECORD_PRESENCE, struct fed_presence, fed_presence_decode, b, n);
    assert_int_equal(fed_presence_decode(&back, b, (size_t)n), 0);
    assert_memory_equal(&back, &p, sizeof p);
    p.n = FED_TAGS + 1;
    assert_int_equal(fed_presence_encode(&p, sk, b, sizeof b), VI_EINVAL);
    p = (struct fed_presence){.version = 9};
    n = fed_presence_encode(&p, sk, b, sizeof b);
    assert_int_equal(fed_presence_decode(&back, b, (size_t)n), 0);
    assert_int_equal(back.n, 0);
    assert_int_equal(back.addr.family, 0);
}

static int keys(void **state)
{
    uint8_t unused[64];

    (void)state;
    if (sodium_init() < 0)
        return -1;
    crypto_sign_keypair(pk, sk);
    return crypto_sign_keypair(other, unused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cards),
        cmocka_unit_test(trusts),
        cmocka_unit_test(summaries),
        cmocka_unit_test(presences),
    };

    return cmocka_run_group_tests_name("federation", tests, keys, NULL);
}
