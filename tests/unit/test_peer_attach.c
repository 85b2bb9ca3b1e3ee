/* A LAN in an environment's bridge: beacons, and who gives way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <string.h>

#include "overlay/overlay.h"
#include "peer/agent_attach.h"
#include "peer/attach.h"

static struct vi_id host(uint8_t n)
{
    struct vi_id id;
    memset(id.b, n, sizeof id.b);
    return id;
}

static void beacons(void **state)
{
    uint8_t pk[32], sk[64], other_pk[32], other_sk[64], f[ATTACH_FRAME], cut[ATTACH_FRAME];
    struct attach_beacon b = {.env = host(1), .host = host(2), .rank = 0x0102030405060708, .count = UINT64_MAX}, got;
    (void)state;
    crypto_sign_keypair(pk, sk);
    crypto_sign_keypair(other_pk, other_sk);
    attach_beacon_encode(&b, sk, f);
    assert_true(attach_beacon_decode(&got, f, sizeof f));
    assert_true(vi_id_equal(&got.env, &b.env) && vi_id_equal(&got.host, &b.host));
    assert_true(got.rank == b.rank && got.count == b.count);
    assert_true(attach_beacon_verify(f, pk));
    assert_false(attach_beacon_verify(f, other_pk));
    for (size_t len = 0; len < sizeof f; len++) {
        memcpy(cut, f, sizeof f);
        assert_false(attach_beacon_decode(&got, cut, len));
    }
    for (size_t i = 0; i < sizeof f; i++) {
        f[i] ^= 1;
        assert_false(attach_beacon_verify(f, pk));
        f[i] ^= 1;
    }
    { /* the switch carries it no further */
        struct switch_env_table *t = test_calloc(1, sizeof *t);
        struct forward_rates r = {0};
        assert_int_equal(forward_from_tap(t, &r, VI_SEC, f, sizeof f).why, FORWARD_BEACON);
        test_free(t);
    }
}

static void listens_first(void **state)
{
    struct attach a;
    struct vi_id self = host(5);
    vi_time now = 100 * VI_SEC;
    unsigned sent = 0;
    (void)state;
    attach_begin(&a, &self, 1000, false, now);
    assert_int_equal(a.state, ATTACH_LISTENING);
    assert_false(attach_tick(&a, now + ATTACH_LISTEN - 1));
    assert_int_equal(a.state, ATTACH_LISTENING);
    assert_true(attach_deadline(&a) == now + ATTACH_LISTEN);
    for (vi_time t = now + ATTACH_LISTEN; t < now + ATTACH_LISTEN + 10 * VI_SEC; t += 100 * VI_MSEC)
        sent += attach_tick(&a, t);
    assert_int_equal(a.state, ATTACH_ON);
    assert_int_equal(sent, 10);
    attach_begin(&a, &self, 1000, true, now); /* in the bridge already */
    assert_true(attach_tick(&a, now));
    assert_int_equal(a.state, ATTACH_ON);
}

static void the_older_one_stays(void **state)
{
    struct attach a;
    struct vi_id self = host(5);
    struct attach_beacon older = {.host = host(9), .rank = 999, .count = 1}, younger = {.host = host(1), .rank = 1001, .count = 1},
                         same = {.host = host(4), .rank = 1000, .count = 1}, own = {.host = self, .rank = 1, .count = 1};
    vi_time now = 100 * VI_SEC;
    (void)state;
    attach_begin(&a, &self, 1000, true, now);
    attach_heard(&a, now, &younger);
    attach_heard(&a, now, &own);
    assert_int_equal(a.state, ATTACH_ON);
    attach_heard(&a, now, &older);
    assert_int_equal(a.state, ATTACH_HELD);
    assert_false(attach_tick(&a, now)); /* silent, too */
    older.count++;
    attach_heard(&a, now + 5 * VI_SEC, &older);
    attach_heard(&a, now + 9 * VI_SEC, &older); /* the same again: somebody repeats it */
    assert_false(attach_tick(&a, now + 15 * VI_SEC - 1));
    assert_true(attach_tick(&a, now + 15 * VI_SEC));
    assert_int_equal(a.state, ATTACH_ON);
    attach_heard(&a, now + 16 * VI_SEC, &older);
    assert_int_equal(a.state, ATTACH_ON);
    attach_heard(&a, now + 16 * VI_SEC, &same); /* at one time: the smaller id */
    assert_int_equal(a.state, ATTACH_HELD);
}

static void names(void **state)
{
    (void)state;
    assert_true(agent_iface_name_ok("eth0"));
    assert_true(agent_iface_name_ok("enp3s0.100"));
    assert_true(agent_iface_name_ok("a23456789012345"));
    assert_false(agent_iface_name_ok("a234567890123456"));
    assert_false(agent_iface_name_ok(""));
    assert_false(agent_iface_name_ok(".."));
    assert_false(agent_iface_name_ok("../eth0"));
    assert_false(agent_iface_name_ok("eth 0"));
    assert_false(agent_iface_name_ok("-x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beacons),
        cmocka_unit_test(listens_first),
        cmocka_unit_test(the_older_one_stays),
        cmocka_unit_test(names),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
