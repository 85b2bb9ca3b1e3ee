/* Admission: an invitation is counted, survives a restart, and gives one certificate a host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <sodium.h>

#include "peer/base/err.h"
#include "peer/invites.h"

static char dir[64], why[400];
static struct store *store;
static struct identity inviter;
static struct invites *invites;
static struct vi_rng rng;
static uint8_t authority_sk[64];
static const vi_time wall = (vi_time)1800000000 * VI_SEC;

static int set_up(void **unused)
{
    (void)unused;
    snprintf(dir, sizeof dir, "/tmp/violin-invites-XXXXXX");
    assert_non_null(mkdtemp(dir));
    store = store_open(dir, why, sizeof why);
    assert_non_null(store);
    identity_generate(&inviter);
    crypto_sign_keypair(inviter.authority, authority_sk);
    strcpy(inviter.cert.domain, "lab");
    strcpy(inviter.cert.host, "one");
    inviter.has_delegation = true;
    assert_int_equal(cert_delegate(&inviter.delegation, "lab", inviter.ed_pk, wall, wall + 9000 * VI_HOUR,
                                   CERT_ADMIT | CERT_ENV, authority_sk), 0);
    vi_rng_seed(&rng, 7);
    invites = invites_new(store, &inviter);
    return 0;
}

static int tear_down(void **unused)
{
    char path[128];
    (void)unused;
    invites_free(invites);
    store_close(store);
    snprintf(path, sizeof path, "%s/violin.db", dir);
    unlink(path);
    rmdir(dir);
    return 0;
}

static struct token invite(unsigned uses, vi_time ttl)
{
    char text[TOKEN_TEXT];
    struct token t;
    vi_time expires;
    assert_int_equal(invites_make(invites, &rng, wall, uses, ttl, "10.0.0.1:7411", text, &expires, why, sizeof why), 0);
    assert_int_equal(token_decode(&t, text, NULL), 0);
    assert_true(expires == wall + ttl);
    return t;
}

static struct join_answer ask(const struct identity *joiner, const struct token *t, vi_time at)
{
    struct join_request r = {.token = t->id};
    struct join_answer a;
    uint8_t bytes[JOIN_MAX], out[JOIN_MAX], psk[32];
    char admitted[CERT_NAME_MAX + 1];
    size_t len;
    memcpy(r.ed, joiner->ed_pk, 32);
    memcpy(r.x, joiner->x_pk, 32);
    strcpy(r.host, "two");
    assert_int_equal(join_request_encode(&r, joiner->ed_sk, bytes, sizeof bytes, &len), 0);
    assert_true(invites_secret(invites, &t->id, psk));
    assert_memory_equal(psk, t->secret, 32);
    len = invites_admit(invites, at, &t->id, joiner->x_pk, bytes, len, out, admitted);
    assert_true(len > 0);
    assert_int_equal(join_answer_decode(&a, out, len), 0);
    return a;
}

static void test_counted(void **unused)
{
    struct token t = invite(2, VI_HOUR);
    struct identity a, b, c;
    struct join_answer r;
    (void)unused;
    identity_generate(&a);
    identity_generate(&b);
    identity_generate(&c);
    r = ask(&a, &t, wall);
    assert_int_equal(r.err, 0);
    assert_int_equal(cert_verify(&r.cert, inviter.authority, wall), 0);
    assert_string_equal(r.cert.host, "two");
    assert_int_equal(r.cert.caps & CERT_ADMIT, 0);
    assert_int_equal(ask(&a, &t, wall).err, 0); /* again: the same, no further use */
    assert_int_equal(ask(&b, &t, wall).err, 0);
    assert_int_equal(ask(&c, &t, wall).err, VI_EREFUSED);
    assert_int_equal(ask(&a, &t, wall).err, 0);
}

static void test_survives_restart(void **unused)
{
    struct token t = invite(1, VI_HOUR);
    struct identity a, b;
    (void)unused;
    identity_generate(&a);
    identity_generate(&b);
    assert_int_equal(ask(&a, &t, wall).err, 0);
    invites_free(invites);
    invites = invites_new(store, &inviter);
    assert_int_equal(ask(&b, &t, wall).err, VI_EREFUSED);
}

static void test_expires(void **unused)
{
    struct token t = invite(5, VI_MIN);
    struct identity a;
    (void)unused;
    identity_generate(&a);
    assert_int_equal(ask(&a, &t, wall + 2 * VI_MIN).err, VI_EEXPIRED);
}

static void test_disk_full(void **unused)
{
    struct token t = invite(1, VI_HOUR);
    struct identity a;
    (void)unused;
    identity_generate(&a);
    store_fail_after(store, 1);
    assert_int_equal(ask(&a, &t, wall).err, VI_EIO);
    store_fail_after(store, 0);
    assert_int_equal(ask(&a, &t, wall).err, 0);
}

static void test_may_not(void **unused)
{
    char text[TOKEN_TEXT];
    vi_time e;
    (void)unused;
    inviter.has_delegation = false;
    assert_int_equal(invites_make(invites, &rng, wall, 1, VI_HOUR, "a:1", text, &e, why, sizeof why), VI_EAUTH);
    inviter.has_delegation = true;
    for (int i = 0; i < INVITES_MAX; i++)
        invite(1, VI_HOUR);
    assert_int_equal(invites_make(invites, &rng, wall, 1, VI_HOUR, "a:1", text, &e, why, sizeof why), VI_EFULL);
    assert_int_equal(invites_make(invites, &rng, wall + 2 * VI_HOUR, 1, VI_HOUR, "a:1", text, &e, why, sizeof why), 0);
}

static bool turn_away(void *arg, const uint8_t ed[CERT_KEY], const char *host, char *text, size_t cap)
{
    const struct identity *revoked = arg;
    assert_true(strlen(host) > 0);
    snprintf(text, cap, "revoked");
    return !memcmp(ed, revoked->ed_pk, CERT_KEY);
}

static void test_rules(void **unused)
{
    struct token t = invite(2, VI_HOUR);
    struct identity a, b;
    struct join_answer r;
    (void)unused;
    identity_generate(&a);
    identity_generate(&b);
    assert_int_equal(ask(&a, &t, wall).err, 0);
    invites_rules(invites, 7 * VI_HOUR, turn_away, &a);
    r = ask(&a, &t, wall); /* also what it was given before isn't given again */
    assert_int_equal(r.err, VI_EREFUSED);
    assert_string_equal(r.why, "revoked");
    r = ask(&b, &t, wall); /* and it cost no use */
    assert_int_equal(r.err, 0);
    assert_true(r.cert.not_after == wall + 7 * VI_HOUR);
}

/* A delegation without the right, one that has ended, one of another authority. */
static void test_right_to_admit(void **unused)
{
    char text[TOKEN_TEXT];
    uint8_t sk[64], pk[32];
    vi_time e;
    (void)unused;
    assert_int_equal(invites_make(invites, &rng, wall + 9002 * VI_HOUR, 1, VI_HOUR, "a:1", text, &e, why, sizeof why), VI_EAUTH);
    cert_delegate(&inviter.delegation, "lab", inviter.ed_pk, wall, wall + VI_HOUR, CERT_RENEW, authority_sk);
    assert_int_equal(invites_make(invites, &rng, wall, 1, VI_HOUR, "a:1", text, &e, why, sizeof why), VI_EAUTH);
    crypto_sign_keypair(pk, sk);
    cert_delegate(&inviter.delegation, "lab", inviter.ed_pk, wall, wall + VI_HOUR, CERT_ADMIT, sk);
    assert_int_equal(invites_make(invites, &rng, wall, 1, VI_HOUR, "a:1", text, &e, why, sizeof why), VI_EAUTH);
    cert_delegate(&inviter.delegation, "lab", inviter.ed_pk, wall, wall + VI_HOUR, CERT_ADMIT, authority_sk);
    assert_int_equal(invites_make(invites, &rng, wall, 1, VI_HOUR, "a:1", text, &e, why, sizeof why), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_survives_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_expires, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_disk_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_may_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rules, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_right_to_admit, set_up, tear_down),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
