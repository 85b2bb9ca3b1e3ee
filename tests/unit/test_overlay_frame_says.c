/* What frames say about IP addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "overlay/frame_says.h"

static const uint8_t me[6] = {2, 0, 0, 0, 0, 1};

static void arp_frame(uint8_t f[60], uint8_t op, uint8_t sender, uint8_t target)
{
    static const uint8_t head[10] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 0};
    const uint8_t from[4] = {10, 0, 0, sender}, to[4] = {10, 0, 0, target};
    memset(f, 0, 60);
    memset(f, 0xff, 6);
    memcpy(f + 6, me, 6);
    memcpy(f + 12, head, 10);
    f[21] = op;
    memcpy(f + 22, me, 6);
    memcpy(f + 28, from, 4);
    memcpy(f + 38, to, 4);
}

static void arp(void **state)
{
    struct frame_says s;
    uint8_t f[60];
    (void)state;
    arp_frame(f, 1, 1, 2);
    frame_says(&s, f, sizeof f);
    assert_true(s.source && s.claim && s.asks && !s.forged);
    assert_int_equal(s.ip[15], 1);
    assert_int_equal(s.asked[15], 2);
    assert_int_equal(s.ip[10], 0xff);
    arp_frame(f, 1, 1, 1); /* gratuitous */
    frame_says(&s, f, sizeof f);
    assert_true(s.claim && !s.asks);
    arp_frame(f, 2, 1, 2);
    frame_says(&s, f, sizeof f);
    assert_true(s.claim && !s.asks);
    arp_frame(f, 1, 1, 2);
    memset(f + 28, 0, 4); /* a probe (RFC 5227) claims nothing yet */
    frame_says(&s, f, sizeof f);
    assert_true(!s.source && !s.claim && s.asks);
    f[22] ^= 4;
    frame_says(&s, f, sizeof f);
    assert_true(s.forged && !s.claim);
    frame_says(&s, f, 41);
    assert_true(!s.source && !s.claim && !s.asks && !s.forged);
    assert_true(frame_resolves(f, 42) && !frame_resolves(f, 41));
}

static void nd_frame(uint8_t f[86], uint8_t type, uint8_t source, uint8_t target)
{
    memset(f, 0, 86);
    f[0] = f[1] = 0x33;
    memcpy(f + 6, me, 6);
    f[12] = 0x86;
    f[13] = 0xdd;
    f[14] = 0x60;
    f[20] = 58;
    f[22] = f[62] = 0xfd;
    f[37] = source;
    f[54] = type;
    f[77] = target;
}

static void nd(void **state)
{
    struct frame_says s;
    uint8_t f[86];
    (void)state;
    nd_frame(f, 135, 1, 2);
    frame_says(&s, f, sizeof f);
    assert_true(s.claim && s.asks);
    assert_int_equal(s.ip[15], 1);
    assert_int_equal(s.asked[15], 2);
    memset(f + 22, 0, 16); /* duplicate address detection */
    frame_says(&s, f, sizeof f);
    assert_true(!s.claim && s.asks);
    nd_frame(f, 136, 1, 2); /* who advertises has the target's address */
    frame_says(&s, f, sizeof f);
    assert_true(s.claim && !s.asks);
    assert_int_equal(s.ip[15], 2);
    frame_says(&s, f, 77); /* cut: an IPv6 packet only */
    assert_true(s.source && !s.claim && !s.asks);
    nd_frame(f, 133, 1, 2);
    assert_false(frame_resolves(f, sizeof f));
}

static void packets(void **state)
{
    struct frame_says s;
    uint8_t f[60] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0, 0x45};
    (void)state;
    f[26] = 10;
    f[29] = 7;
    frame_says(&s, f, sizeof f);
    assert_true(s.source && !s.claim && !s.asks);
    assert_int_equal(s.ip[15], 7);
    frame_says(&s, f, 33);
    assert_false(s.source);
    f[12] = 0x81; /* a VLAN tag */
    frame_says(&s, f, sizeof f);
    assert_false(s.source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(arp), cmocka_unit_test(nd), cmocka_unit_test(packets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
