#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "overlay/token.h"
#include "peer/base/err.h"

static struct token sample(unsigned seeds, bool longest)
{
    struct token t = {.seeds = seeds, .expires = INT64_C(1700000000000000)};

    strcpy(t.domain, "lab");
    memset(t.id.b, 1, 16);
    memset(t.authority, 2, 32);
    memset(t.secret, 3, 32);
    for (unsigned i = 0; i < seeds; i++) {
        memset(t.seed[i].ed, (int)(10 + i), 32);
        memset(t.seed[i].x, (int)(20 + i), 32);
        strcpy(t.seed[i].addr, "[2001:db8::1]:7946");
        if (longest)
            snprintf(t.seed[i].addr, sizeof t.seed[i].addr, "%057d:7946", 0);
    }
    if (longest)
        memset(t.domain, 'd', CERT_NAME_MAX);
    return t;
}

static void test_round_trip(void **state)
{
    char text[TOKEN_TEXT], spaced[TOKEN_TEXT + 8];
    struct token t, u;
    const char *why;

    (void)state;
    for (unsigned n = 1; n <= TOKEN_SEEDS; n++) {
        t = sample(n, n == TOKEN_SEEDS);
        assert_int_equal(token_encode(&t, text), 0);
        assert_memory_equal(text, TOKEN_PREFIX, strlen(TOKEN_PREFIX));
        assert_true(strlen(text) <= 1024);
        assert_int_equal(token_decode(&u, text, &why), 0);
        assert_memory_equal(&t, &u, sizeof t);
        snprintf(spaced, sizeof spaced, "  %s\r\n", text);
        assert_int_equal(token_decode(&u, spaced, NULL), 0);
    }
    t = sample(0, false);
    assert_int_equal(token_encode(&t, text), VI_EINVAL);
    t = sample(1, false);
    strcpy(t.seed[0].addr, "no port");
    assert_int_equal(token_encode(&t, text), VI_EINVAL);
}

static void test_mistyped(void **state)
{
    char text[TOKEN_TEXT];
    struct token t = sample(2, false), u;
    const char *why = NULL;
    size_t len;

    (void)state;
    assert_int_equal(token_encode(&t, text), 0);
    len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        char was = text[i];

        text[i] = was == 'A' ? 'B' : 'A';
        assert_int_not_equal(token_decode(&u, text, &why), 0);
        assert_true(strlen(why) > 10);
        text[i] = was;
    }
    for (size_t i = 0; i < len; i++) {
        char was = text[i];

        text[i] = 0;
        assert_int_not_equal(token_decode(&u, text, &why), 0);
        text[i] = was;
    }
    assert_int_equal(token_decode(&u, "violin2-AAAA", &why), VI_EVERSION);
    assert_int_equal(token_decode(&u, "", &why), VI_EPROTO);
    assert_int_equal(token_decode(&u, "hello", &why), VI_EPROTO);
}

static void test_seed(void **state)
{
    struct seed s = {.addr = "host.example:7946"}, u;
    char text[SEED_TEXT];

    (void)state;
    memset(s.ed, 5, 32);
    memset(s.x, 6, 32);
    assert_int_equal(seed_format(&s, text), 0);
    assert_int_equal(seed_parse(&u, text), 0);
    assert_memory_equal(&s, &u, sizeof s);
    text[3] = '*';
    assert_int_equal(seed_parse(&u, text), VI_EPROTO);
    assert_int_equal(seed_parse(&u, "host:1"), VI_EPROTO);
    assert_int_equal(seed_parse(&u, ""), VI_EPROTO);
}

static void test_join(void **state)
{
    uint8_t pk[32], sk[64], buf[JOIN_MAX];
    struct join_request r = {.host = "new"}, s;
    struct join_answer a = {.err = VI_EEXPIRED, .why = "it has expired"}, b;
    size_t len;

    (void)state;
    crypto_sign_keypair(pk, sk);
    memcpy(r.ed, pk, 32);
    assert_int_equal(join_request_encode(&r, sk, buf, sizeof buf, &len), 0);
    assert_int_equal(join_request_decode(&s, buf, len), 0);
    assert_string_equal(s.host, "new");
    for (size_t i = 0; i < len; i++) {
        buf[i] ^= 1;
        assert_int_not_equal(join_request_decode(&s, buf, len), 0);
        buf[i] ^= 1;
    }
    assert_int_equal(join_answer_encode(&a, buf, sizeof buf, &len), 0);
    assert_int_equal(join_answer_decode(&b, buf, len), 0);
    assert_int_equal(b.err, VI_EEXPIRED);
    assert_string_equal(b.why, "it has expired");
    memset(&a, 0, sizeof a);
    strcpy(a.cert.domain, "lab");
    strcpy(a.cert.host, "new");
    a.cert.not_after = 1;
    assert_int_equal(cert_issue(&a.cert, sk), 0);
    assert_int_equal(join_answer_encode(&a, buf, sizeof buf, &len), 0);
    assert_int_equal(join_answer_decode(&b, buf, len), 0);
    assert_string_equal(b.cert.host, "new");
    assert_int_equal(join_answer_decode(&b, buf, len - 1), VI_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_mistyped),
        cmocka_unit_test(test_seed), cmocka_unit_test(test_join)};

    if (sodium_init() < 0)
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
