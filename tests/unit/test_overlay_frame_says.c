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

/* Who gets it takes it like an untagged one, so it says the same. */
static void behind_priority_tags(void **state)
{
    struct frame_says s;
    uint8_t plain[60], f[72];
    (void)state;
    arp_frame(plain, 2, 1, 2);
    for (unsigned n = 1; n <= 3; n++) {
        memcpy(f, plain, 12);
        for (unsigned i = 0; i < n; i++)
            memcpy(f + 12 + 4 * i, (uint8_t[4]){i ? 0x81 : 0x88, i ? 0 : 0xa8, 0xe0, 0}, 4);
        memcpy(f + 12 + 4 * n, plain + 12, 48);
        frame_says(&s, f, 60 + 4 * n);
        assert_true(s.source && s.claim && !s.forged);
        assert_int_equal(s.ip[15], 1);
        assert_true(frame_resolves(f, 42 + 4 * n) && !frame_resolves(f, 41 + 4 * n));
        f[22 + 4 * n] ^= 4;
        frame_says(&s, f, 60 + 4 * n);
        assert_true(s.forged);
        f[15] = 5; /* of a VLAN: others' addresses */
        frame_says(&s, f, 60 + 4 * n);
        assert_true(!s.source && !s.forged);
        for (size_t len = 0; len < 60 + 4 * n; len++)
            frame_says(&s, f, len);
    }
}

static void arp_of_the_other_hardware(void **state)
{
    struct frame_says s;
    uint8_t f[60];
    (void)state;
    arp_frame(f, 2, 1, 2);
    f[15] = 6;
    f[22] ^= 4;
    frame_says(&s, f, sizeof f);
    assert_true(s.source && s.forged);
    f[15] = 7;
    frame_says(&s, f, sizeof f);
    assert_false(s.source);
}

static void nd_behind_options(void **state)
{
    static const uint8_t kinds[3] = {0, 43, 60};
    struct frame_says s;
    uint8_t plain[86], f[86 + 24];
    (void)state;
    nd_frame(plain, 136, 1, 2);
    for (unsigned i = 0; i < 3; i++) {
        memcpy(f, plain, 54);
        memset(f + 54, 0, 24);
        memcpy(f + 78, plain + 54, 32);
        f[20] = kinds[i];
        f[54] = 60; /* of 16 bytes, and then another of 8 */
        f[55] = 1;
        f[70] = 58;
        frame_says(&s, f, sizeof f);
        assert_true(s.claim && s.ip[15] == 2 && frame_resolves(f, sizeof f));
        frame_says(&s, f, 78 + 23);
        assert_true(s.source && !s.claim && s.ip[15] == 1);
        f[71] = 255; /* far behind its end */
        frame_says(&s, f, sizeof f);
        assert_false(s.claim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arp),
        cmocka_unit_test(nd),
        cmocka_unit_test(packets),
        cmocka_unit_test(behind_priority_tags),
        cmocka_unit_test(arp_of_the_other_hardware),
        cmocka_unit_test(nd_behind_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
