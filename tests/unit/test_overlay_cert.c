#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <string.h>

#include "overlay/cert.h"
#include "peer/base/err.h"

#define NOW (INT64_C(1700000000) * VI_SEC)
#define DAY (24 * VI_HOUR)

static uint8_t auth_pk[32], auth_sk[64], host_pk[32], host_sk[64];

static struct cert fresh(uint32_t caps)
{
    struct cert c = {.not_before = NOW, .not_after = NOW + 30 * DAY, .caps = caps};

    strcpy(c.domain, "lab.example");
    strcpy(c.host, "host-1");
    memcpy(c.ed, host_pk, 32);
    memset(c.x, 4, 32);
    cert_authority_id(&c.authority, auth_pk);
    return c;
}

static void test_direct(void **state)
{
    struct cert c = fresh(CERT_CAPS_ALL), d;
    uint8_t buf[CERT_MAX];
    size_t len;

    (void)state;
    assert_int_equal(cert_issue(&c, auth_sk), 0);
    assert_int_equal(cert_verify(&c, auth_pk, NOW + DAY), 0);
    assert_int_equal(cert_verify(&c, host_pk, NOW + DAY), VI_EAUTH);
    assert_int_equal(cert_verify(&c, auth_pk, NOW - VI_HOUR / 2), 0); /* allowance for skew */
    assert_int_equal(cert_verify(&c, auth_pk, NOW - 2 * VI_HOUR), VI_EEXPIRED);
    assert_int_equal(cert_verify(&c, auth_pk, NOW + 30 * DAY + VI_HOUR / 2), 0);
    assert_int_equal(cert_verify(&c, auth_pk, NOW + 31 * DAY), VI_EEXPIRED);
    assert_int_equal(cert_encode(&c, buf, sizeof buf, &len), 0);
    assert_true(len <= 300);
    assert_int_equal(cert_decode(&d, buf, len), 0);
    assert_int_equal(cert_verify(&d, auth_pk, NOW), 0);
    assert_string_equal(d.host, "host-1");
    assert_int_equal(cert_encode(&c, buf, len - 1, &len), VI_EFULL);
}

static void test_every_bit(void **state)
{
    struct cert c = fresh(CERT_ENV), d;
    struct cert_delegation by;
    uint8_t buf[CERT_MAX];
    size_t len;

    (void)state;
    assert_int_equal(cert_delegate(&by, c.domain, host_pk, NOW, NOW + 9 * DAY, CERT_ADMIT | CERT_ENV,
                                   auth_sk),
                     0);
    assert_int_equal(cert_issue_as_delegate(&c, &by, host_sk), 0);
    assert_int_equal(cert_encode(&c, buf, sizeof buf, &len), 0);
    for (size_t i = 0; i < len * 8; i++) {
        buf[i / 8] ^= (uint8_t)(1 << i % 8);
        if (!cert_decode(&d, buf, len))
            assert_int_not_equal(cert_verify(&d, auth_pk, NOW + DAY), 0);
        buf[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t n = 0; n < len; n++)
        assert_int_not_equal(cert_decode(&d, buf, n), 0);
    assert_int_equal(cert_decode(&d, buf, len), 0);
    assert_int_equal(cert_verify(&d, auth_pk, NOW + DAY), 0);
}

static void test_delegation(void **state)
{
    struct cert c = fresh(CERT_CAPS_ALL);
    struct cert_delegation by, back;
    uint8_t buf[CERT_MAX], other_pk[32], other_sk[64];
    size_t len;

    (void)state;
    crypto_sign_seed_keypair(other_pk, other_sk, (const uint8_t *)"some other key of thirty-two by.");
    assert_int_equal(cert_delegate(&by, c.domain, host_pk, NOW, NOW + 9 * DAY, CERT_ADMIT | CERT_ENV,
                                   auth_sk),
                     0);
    assert_int_equal(cert_delegation_encode(&by, buf, sizeof buf, &len), 0);
    assert_true(len <= CERT_DELEG_MAX);
    assert_int_equal(cert_delegation_decode(&back, buf, len), 0);
    assert_int_equal(cert_delegation_verify(&back, c.domain, auth_pk, NOW), 0);
    assert_int_equal(cert_delegation_verify(&back, "other", auth_pk, NOW), VI_EAUTH);
    assert_int_equal(cert_delegation_verify(&back, c.domain, auth_pk, NOW + 10 * DAY), VI_EEXPIRED);
    assert_int_equal(cert_issue_as_delegate(&c, &by, other_sk), VI_EINVAL);
    assert_int_equal(cert_issue_as_delegate(&c, &by, host_sk), 0);
    assert_int_equal(c.caps, CERT_ENV); /* no more than a delegate may give */
    assert_int_equal(c.not_after, by.not_after);
    assert_int_equal(cert_verify(&c, auth_pk, NOW + DAY), 0);
    assert_int_equal(cert_encode(&c, buf, sizeof buf, &len), 0);
    assert_true(len <= 400);
    /* with no right to admit */
    assert_int_equal(cert_delegate(&by, c.domain, host_pk, NOW, NOW + 9 * DAY, CERT_ENV, auth_sk), 0);
    assert_int_equal(cert_issue_as_delegate(&c, &by, host_sk), VI_EINVAL);
    /* a delegation that the delegate signed for itself */
    assert_int_equal(cert_delegate(&by, c.domain, host_pk, NOW, NOW + 9 * DAY, CERT_CAPS_ALL, host_sk),
                     0);
    assert_int_equal(cert_issue_as_delegate(&c, &by, host_sk), 0);
    assert_int_equal(cert_verify(&c, auth_pk, NOW + DAY), VI_EAUTH);
}

static void test_longest(void **state)
{
    struct cert c = fresh(CERT_CAPS_ALL), d;
    struct cert_delegation by;
    uint8_t buf[CERT_MAX];
    size_t len;

    (void)state;
    memset(c.domain, 'd', CERT_NAME_MAX);
    memset(c.host, 'h', CERT_NAME_MAX);
    cert_delegate(&by, c.domain, host_pk, NOW, NOW + DAY, CERT_ADMIT, auth_sk);
    assert_int_equal(cert_issue_as_delegate(&c, &by, host_sk), 0);
    assert_int_equal(cert_encode(&c, buf, sizeof buf, &len), 0);
    assert_int_equal(cert_decode(&d, buf, len), 0);
    strcpy(c.host, "a b");
    assert_int_equal(cert_issue(&c, auth_sk), VI_EINVAL);
    assert_false(cert_name_ok(""));
    assert_false(cert_name_ok("a/b"));
    assert_true(cert_name_ok("a-b.c_9"));
}

/* A delegate that may only renew: its certificates go back to one that was given by who may. */
static void test_renewal(void **state)
{
    uint8_t renewer_pk[32], renewer_sk[64], admitter_pk[32], admitter_sk[64], buf[CERT_MAX];
    struct cert first = fresh(CERT_ENV), c = {.not_before = NOW + 20 * DAY, .not_after = NOW + 99 * DAY}, d, bad;
    struct cert_delegation renew, admit;
    struct vi_id authority;
    size_t len;

    (void)state;
    crypto_sign_keypair(renewer_pk, renewer_sk);
    crypto_sign_keypair(admitter_pk, admitter_sk);
    cert_authority_id(&authority, auth_pk);
    cert_delegate(&renew, first.domain, renewer_pk, NOW, NOW + 80 * DAY, CERT_RENEW, auth_sk);
    cert_delegate(&admit, first.domain, admitter_pk, NOW, NOW + 70 * DAY, CERT_ADMIT | CERT_ENV, auth_sk);
    assert_int_equal(cert_issue_as_delegate(&first, &admit, admitter_sk), 0);
    assert_int_equal(cert_renew_as_delegate(&c, &first, &authority, &renew, renewer_sk), 0);
    assert_true(c.renewed && c.caps == CERT_ENV);
    assert_int_equal(c.not_after, NOW + 70 * DAY); /* the sooner end of both delegations */
    assert_int_equal(cert_verify(&c, auth_pk, NOW + 60 * DAY), 0); /* the first ended at 30 */
    assert_int_equal(cert_verify(&c, auth_pk, NOW + 71 * DAY), VI_EEXPIRED);
    assert_int_equal(cert_encode(&c, buf, sizeof buf, &len), 0);
    assert_true(len <= 530);
    assert_int_equal(cert_decode(&d, buf, len), 0);
    assert_int_equal(cert_verify(&d, auth_pk, NOW + 60 * DAY), 0);
    for (size_t i = 0; i < len * 8; i++) {
        buf[i / 8] ^= (uint8_t)(1 << i % 8);
        if (!cert_decode(&d, buf, len))
            assert_int_not_equal(cert_verify(&d, auth_pk, NOW + 21 * DAY), 0);
        buf[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    /* it can't make members: no root, another's keys or name under a root, more rights than the root */
    bad = fresh(0);
    assert_int_equal(cert_issue_as_delegate(&bad, &renew, renewer_sk), VI_EINVAL);
    bad = first;
    bad.host[0] = 'x';
    assert_int_equal(cert_renew_as_delegate(&c, &bad, &authority, &renew, renewer_sk), 0);
    assert_int_equal(cert_verify(&c, auth_pk, NOW + DAY), VI_EAUTH);
    bad = first;
    memset(bad.ed, 5, 32);
    assert_int_equal(cert_renew_as_delegate(&c, &bad, &authority, &renew, renewer_sk), 0);
    assert_int_equal(cert_verify(&c, auth_pk, NOW + DAY), VI_EAUTH);
    bad = first;
    bad.caps = CERT_CAPS_ALL;
    assert_int_equal(cert_renew_as_delegate(&c, &bad, &authority, &renew, renewer_sk), 0);
    assert_int_equal(cert_verify(&c, auth_pk, NOW + DAY), VI_EAUTH);
    /* a certificate that it renewed can't be the root of another's: the root must be by who may admit */
    assert_int_equal(cert_renew_as_delegate(&c, &first, &authority, &renew, renewer_sk), 0);
    bad = c;
    bad.renewed = false;
    assert_int_equal(cert_renew_as_delegate(&d, &bad, &authority, &renew, renewer_sk), 0);
    assert_int_equal(cert_verify(&d, auth_pk, NOW + DAY), VI_EAUTH);
    /* without the right to renew; with both rights no root is needed */
    assert_int_equal(cert_renew_as_delegate(&c, &first, &authority, &admit, admitter_sk), VI_EINVAL);
    cert_delegate(&admit, first.domain, admitter_pk, NOW, NOW + 70 * DAY, CERT_ADMIT | CERT_RENEW | CERT_ENV, auth_sk);
    c = (struct cert){.not_before = NOW, .not_after = NOW + DAY};
    assert_int_equal(cert_renew_as_delegate(&c, &first, &authority, &admit, admitter_sk), 0);
    assert_true(!c.renewed && !cert_verify(&c, auth_pk, NOW));
    /* the longest names don't fit beside a root */
    memset(first.host, 'h', CERT_NAME_MAX);
    memset(first.domain, 'd', CERT_NAME_MAX);
    assert_int_equal(cert_renew_as_delegate(&c, &first, &authority, &renew, renewer_sk), VI_EFULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_direct), cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_delegation), cmocka_unit_test(test_longest),
        cmocka_unit_test(test_renewal)};

    if (sodium_init() < 0)
        return 2;
    crypto_sign_seed_keypair(auth_pk, auth_sk, (const uint8_t *)"authority authority authority 32");
    crypto_sign_seed_keypair(host_pk, host_sk, (const uint8_t *)"host host host host host host 32");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
