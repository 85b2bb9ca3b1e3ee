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
    struct forward_rate r = {0};
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

static void broadcasts_are_bounded(void **state)
{
    struct forward_rate r = {0};
    uint8_t f[64];
    unsigned first = 0, second = 0;
    (void)state;
    frame(f, all, here);
    for (unsigned i = 0; i < 10000; i++)
        first += forward_from_tap(t, &r, VI_SEC, f, 64).to == FORWARD_ALL;
    for (unsigned i = 0; i < 10000; i++)
        second += forward_from_tap(t, &r, 2 * VI_SEC, f, 64).to == FORWARD_ALL;
    assert_int_equal(first, (unsigned)FORWARD_BURST);
    assert_in_range(second, (unsigned)FORWARD_RATE_PER_S - 1, (unsigned)FORWARD_RATE_PER_S + 1);
    assert_int_equal(forward_from_tap(t, &r, 2 * VI_SEC, f, 64).why, FORWARD_RATE);
    memcpy(f, there, 6); /* a known address is not held back */
    assert_int_equal(forward_from_tap(t, &r, 2 * VI_SEC, f, 64).to, FORWARD_PEER);
}

static void texts(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FORWARD_REASONS; i++)
        assert_true(strlen(forward_why_text((enum forward_why)i)) > 1);
    assert_string_equal(forward_why_text((enum forward_why)99), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(from_a_guest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(from_a_peer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(broadcasts_are_bounded, set_up, tear_down),
        cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
