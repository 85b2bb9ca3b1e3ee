/* What becomes of one frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "overlay/switch.h"

static struct switch_env_table *t;
static const uint8_t here[6] = {2, 0, 0, 0, 0, 1}, there[6] = {2, 0, 0, 0, 0, 2}, unknown[6] = {2, 0, 0, 0, 0, 9},
                     all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, group[6] = {0x33, 0x33, 0, 0, 0, 1};
static struct vi_id peer[3];

static void put(const uint8_t mac[6], bool local, uint16_t at)
{
    unsigned slot = switch_mac_slot(mac);
    while (t->macs[slot].used)
        slot = (slot + 1) % (SWITCH_MACS * 2);
    t->macs[slot] = (struct switch_mac){.used = true, .local = local, .peer = at};
    memcpy(t->macs[slot].mac, mac, 6);
}

static int set_up(void **state)
{
    (void)state;
    t = calloc(1, sizeof *t);
    t->used = true;
    t->n_peers = 2;
    for (unsigned i = 0; i < 3; i++)
        memset(peer[i].b, (int)i + 1, sizeof peer[i].b);
    t->peers[0] = peer[0];
    t->peers[1] = peer[1];
    put(here, true, 0);
    put(there, false, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(t);
    return 0;
}

static void frame(uint8_t out[64], const uint8_t dst[6], const uint8_t src[6])
{
    memset(out, 0, 64);
    memcpy(out, dst, 6);
    memcpy(out + 6, src, 6);
}

static struct forward_decision tap(const uint8_t dst[6], const uint8_t src[6], size_t len)
{
    struct forward_rates r = {0};
    uint8_t f[64];
    frame(f, dst, src);
    return forward_from_tap(t, &r, VI_SEC, f, len);
}

static struct forward_decision net(unsigned from, bool again, const uint8_t dst[6], size_t len)
{
    uint8_t f[64];
    frame(f, dst, there);
    return forward_from_peer(t, &peer[from], again, f, len);
}

static void from_a_guest(void **state)
{
    (void)state;
    assert_int_equal(tap(there, here, 64).to, FORWARD_PEER);
    assert_int_equal(tap(there, here, 64).peer, 1);
    assert_int_equal(tap(here, unknown, 64).why, FORWARD_STAYS);
    assert_int_equal(tap(all, here, 64).to, FORWARD_ALL);
    assert_int_equal(tap(group, here, 64).to, FORWARD_ALL);
    assert_int_equal(tap(unknown, here, 64).to, FORWARD_ALL);
    assert_int_equal(tap(all, there, 64).why, FORWARD_SPOOFED);
    assert_int_equal(tap(all, here, 13).why, FORWARD_SHORT);
    assert_int_equal(tap(all, here, 14).to, FORWARD_ALL);
}

static void from_a_peer(void **state)
{
    (void)state;
    assert_int_equal(net(1, false, here, 64).to, FORWARD_LOCAL);
    assert_int_equal(net(1, false, all, 64).to, FORWARD_LOCAL);
    assert_int_equal(net(1, false, unknown, 64).to, FORWARD_LOCAL);
    assert_int_equal(net(2, false, here, 64).why, FORWARD_NOT_MEMBER);
    assert_int_equal(net(0, false, here, 13).why, FORWARD_SHORT);
    /* the guest has left: once on to where it is, never twice, never back */
    assert_int_equal(net(0, false, there, 64).to, FORWARD_PEER);
    assert_int_equal(net(0, false, there, 64).peer, 1);
    assert_int_equal(net(0, true, there, 64).why, FORWARD_AGAIN);
    assert_int_equal(net(1, false, there, 64).why, FORWARD_AGAIN);
}

/* How many of n frames at this time get through. */
static unsigned through(struct forward_rates *r, vi_time at, const uint8_t *f, unsigned n)
{
    unsigned passed = 0;
    for (unsigned i = 0; i < n; i++)
        passed += forward_from_tap(t, r, at, f, 64).to == FORWARD_ALL;
    return passed;
}

static void broadcasts_are_bounded(void **state)
{
    static struct forward_rates r;
    uint8_t f[64], g[64], mac[6] = {2, 0, 0, 0, 1, 0};
    (void)state;
    memset(&r, 0, sizeof r);
    frame(f, all, here);
    assert_int_equal(through(&r, VI_SEC, f, 10000), (unsigned)(2 * forward_defaults.guest));
    assert_int_equal(forward_from_tap(t, &r, VI_SEC, f, 64).why, FORWARD_GUEST_RATE);
    assert_in_range(through(&r, 2 * VI_SEC, f, 10000), (unsigned)forward_defaults.guest - 1, (unsigned)forward_defaults.guest + 1);
    frame(g, all, unknown); /* another guest isn't held back by the first */
    assert_int_equal(forward_from_tap(t, &r, 2 * VI_SEC, g, 64).to, FORWARD_ALL);
    memcpy(f, there, 6); /* a known address is not held back */
    assert_int_equal(forward_from_tap(t, &r, 2 * VI_SEC, f, 64).to, FORWARD_PEER);
    /* many guests together: the environment's */
    unsigned passed = 0, why = 0;
    for (unsigned i = 0; i < 64; i++) {
        mac[5] = (uint8_t)i;
        frame(g, all, mac);
        passed += through(&r, 3 * VI_SEC, g, 500);
        why += forward_from_tap(t, &r, 3 * VI_SEC, g, 64).why == FORWARD_RATE;
    }
    assert_in_range(passed, 1000, (unsigned)(2 * forward_defaults.all));
    assert_int_not_equal(why, 0);
}

static void unknown_macs_are_bounded(void **state)
{
    static struct forward_rates r;
    uint8_t f[64];
    (void)state;
    memset(&r, 0, sizeof r);
    frame(f, unknown, here);
    assert_int_equal(through(&r, VI_SEC, f, 5000), (unsigned)(2 * forward_defaults.unknown));
    assert_int_equal(forward_from_tap(t, &r, VI_SEC, f, 64).why, FORWARD_UNKNOWN);
    frame(f, all, here); /* broadcasts go on */
    assert_int_equal(forward_from_tap(t, &r, VI_SEC, f, 64).to, FORWARD_ALL);
}

static const uint8_t ip_here[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1},
                     ip_there[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 2},
                     ip_new[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 9};

static void arp(uint8_t f[64], const uint8_t src[6], const uint8_t from[16], const uint8_t to[16])
{
    static const uint8_t head[10] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
    frame(f, all, src);
    memcpy(f + 12, head, sizeof head);
    memcpy(f + 22, src, 6);
    memcpy(f + 28, from + 12, 4);
    memcpy(f + 38, to + 12, 4);
}

static struct forward_decision ask(const uint8_t src[6], const uint8_t from[16], const uint8_t to[16])
{
    struct forward_rates r = {0};
    uint8_t f[64];
    arp(f, src, from, to);
    return forward_from_tap(t, &r, VI_SEC, f, 64);
}

static void questions_go_to_who_can_answer(void **state)
{
    struct forward_decision d;
    (void)state;
    assert_int_equal(ask(here, ip_here, ip_there).to, FORWARD_ALL); /* nobody has said so */
    switch_table_add_ip(t, ip_here, here, true, 0);
    switch_table_add_ip(t, ip_there, there, false, 1);
    d = ask(here, ip_here, ip_there);
    assert_int_equal(d.to, FORWARD_PEER);
    assert_int_equal(d.peer, 1);
    assert_true(d.asked);
    assert_int_equal(ask(unknown, ip_new, ip_here).why, FORWARD_STAYS); /* the bridge has asked it */
    assert_int_equal(ask(here, ip_here, ip_new).to, FORWARD_ALL);
    assert_int_equal(ask(here, ip_there, ip_there).to, FORWARD_ALL); /* gratuitous: all are to hear it */
    switch_table_add_ip(t, ip_there, unknown, false, 0);
    assert_int_equal(ask(here, ip_here, ip_there).to, FORWARD_ALL); /* two have it: both are to answer */
}

static void strict(void **state)
{
    struct forward_rates r = {0};
    uint8_t f[64];
    (void)state;
    switch_table_add_ip(t, ip_here, here, true, 0);
    switch_table_add_ip(t, ip_there, there, false, 1);
    assert_int_equal(ask(here, ip_there, ip_new).to, FORWARD_ALL);
    assert_int_equal(net(0, false, here, 64).to, FORWARD_LOCAL); /* from `there`, though host 1 states it */
    t->strict = true;
    assert_int_equal(ask(here, ip_here, ip_new).to, FORWARD_ALL);
    assert_int_equal(ask(here, ip_new, ip_here).why, FORWARD_STAYS);
    assert_int_equal(ask(here, ip_there, ip_new).why, FORWARD_ADDRESS);
    assert_int_equal(tap(all, unknown, 64).why, FORWARD_SPOOFED);
    arp(f, here, ip_here, ip_new);
    f[22] ^= 4; /* ARP for another MAC */
    assert_int_equal(forward_from_tap(t, &r, VI_SEC, f, 64).why, FORWARD_ADDRESS);
    frame(f, there, here); /* IPv4 */
    f[12] = 8;
    memcpy(f + 26, ip_here + 12, 4);
    assert_int_equal(forward_from_tap(t, &r, VI_SEC, f, 64).to, FORWARD_PEER);
    memcpy(f + 26, ip_there + 12, 4);
    assert_int_equal(forward_from_tap(t, &r, VI_SEC, f, 64).why, FORWARD_ADDRESS);
    assert_int_equal(net(1, false, here, 64).to, FORWARD_LOCAL);
    assert_int_equal(net(0, false, here, 64).why, FORWARD_SPOOFED);
    assert_int_equal(net(0, true, here, 64).to, FORWARD_LOCAL); /* passed on by the host it has left */
}

static void texts(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FORWARD_REASONS; i++)
        assert_true(strlen(forward_why_text((enum forward_why)i)) > 1);
    assert_string_equal(forward_why_text((enum forward_why)99), "?");
}

static void who_takes_no_part_is_silent(void **state)
{
    (void)state;
    t->away = true;
    assert_int_equal(tap(there, here, 64).why, FORWARD_AWAY);
    assert_int_equal(tap(all, here, 64).why, FORWARD_AWAY);
    assert_int_equal(net(1, false, here, 64).why, FORWARD_AWAY);
    assert_int_equal(net(1, false, all, 64).why, FORWARD_AWAY);
    assert_int_equal(net(0, false, there, 64).to, FORWARD_PEER); /* its guest has just left: on to it */
}

static void beacons_stay(void **state)
{
    struct forward_rates r = {0};
    uint8_t f[64];
    (void)state;
    frame(f, all, here);
    f[12] = FORWARD_BEACON_TYPE >> 8;
    f[13] = FORWARD_BEACON_TYPE & 255;
    assert_int_equal(forward_from_tap(t, &r, VI_SEC, f, 64).to, FORWARD_ALL); /* somebody else's */
    memcpy(f + 14, FORWARD_BEACON_TEXT, FORWARD_BEACON_MAGIC);
    assert_int_equal(forward_from_tap(t, &r, VI_SEC, f, 64).why, FORWARD_BEACON);
    assert_int_equal(forward_from_peer(t, &peer[1], false, f, 64).why, FORWARD_BEACON);
    assert_int_equal(forward_from_tap(t, &r, VI_SEC, f, 14 + FORWARD_BEACON_MAGIC - 1).to, FORWARD_ALL);
}

static void bandwidth_is_bounded(void **state)
{
    static const struct forward_limits l = {.all = 1e6, .guest = 1e6, .unknown = 1e6, .bytes = 8e6};
    struct forward_rates r = {.limits = &l};
    uint8_t f[1000] = {0};
    unsigned passed = 0;
    vi_time at = VI_SEC;
    (void)state;
    memcpy(f, there, 6);
    memcpy(f + 6, here, 6);
    for (unsigned i = 0; i < 10000; i++) {
        struct forward_decision d = forward_from_tap(t, &r, at, f, sizeof f);
        assert_true(d.to == FORWARD_PEER || d.why == FORWARD_ENV_RATE);
        passed += d.to == FORWARD_PEER;
    }
    assert_in_range(passed, 2000, 2100); /* a quarter of a second's */
    for (unsigned i = 0; i < 1000; i++) /* 8 a millisecond */
        for (unsigned k = 0; k < 20; k++)
            passed += forward_from_tap(t, &r, at + (vi_time)i * VI_MSEC, f, sizeof f).to == FORWARD_PEER;
    assert_in_range(passed, 9900, 10200);
    memcpy(f, all, 6);
    for (unsigned i = 0; i < 1000; i++)
        passed += forward_from_tap(t, &r, at + VI_SEC, f, sizeof f).why == FORWARD_ENV_RATE; /* broadcasts count, too */
    assert_true(passed > 10500);
    for (unsigned k = 0; k < 2; k++) { /* the environment's own, when that is less */
        struct forward_rates own = {.limits = &l};
        t->bandwidth = k ? 4e6 : 64e6;
        memcpy(f, there, 6);
        passed = 0;
        for (unsigned i = 0; i < 10000; i++)
            passed += forward_from_tap(t, &own, at, f, sizeof f).to == FORWARD_PEER;
        assert_in_range(passed, k ? 1000 : 2000, k ? 1100 : 2100);
    }
}

/* What goes to who can answer is no way around it, and who asks is learned wherever the answer is. */
static void questions_are_bounded(void **state)
{
    static const struct forward_limits l = {.all = 1e6, .guest = 1e6, .unknown = 1e6, .bytes = 8e6};
    struct forward_rates r = {.limits = &l};
    uint8_t f[1000] = {0};
    unsigned passed = 0;
    (void)state;
    switch_table_add_ip(t, ip_here, here, true, 0);
    switch_table_add_ip(t, ip_there, there, false, 1);
    arp(f, here, ip_here, ip_there);
    for (unsigned i = 0; i < 10000; i++) {
        struct forward_decision d = forward_from_tap(t, &r, VI_SEC, f, sizeof f);
        assert_true(d.asked || d.why == FORWARD_ENV_RATE);
        passed += d.to == FORWARD_PEER;
    }
    assert_in_range(passed, 2000, 2100);
    assert_true(ask(unknown, ip_new, ip_here).learn);
}

static void learned_is_less_than_stated(void **state)
{
    struct forward_decision d;
    (void)state;
    put(unknown, false, 0);
    t->macs[switch_mac_slot(unknown)].learned = true;
    d = tap(unknown, here, 64); /* to where it was heard */
    assert_int_equal(d.to, FORWARD_PEER);
    assert_int_equal(d.peer, 0);
    assert_false(d.dst_known);
    d = tap(there, unknown, 64); /* it is here now: not spoofed, but learned anew */
    assert_int_equal(d.to, FORWARD_PEER);
    assert_true(d.learn);
    assert_false(tap(there, here, 64).learn);
    assert_int_equal(net(1, false, unknown, 64).to, FORWARD_LOCAL); /* learned ones are never passed on */
    t->strict = true;
    d = tap(there, unknown, 64);
    assert_int_equal(d.why, FORWARD_SPOOFED);
    assert_false(d.learn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(from_a_guest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(from_a_peer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(broadcasts_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unknown_macs_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(questions_go_to_who_can_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strict, set_up, tear_down),
        cmocka_unit_test(texts),
        cmocka_unit_test_setup_teardown(who_takes_no_part_is_silent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(beacons_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bandwidth_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(questions_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(learned_is_less_than_stated, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
