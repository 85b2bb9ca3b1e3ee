/* Light and heavy flows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "overlay/flows.h"

static struct flows f;

static int clean(void **state)
{
    (void)state;
    memset(&f, 0, sizeof f);
    return 0;
}

static void a_ping_is_light(void **state)
{
    vi_time now = VI_SEC;
    (void)state;
    for (int i = 0; i < 10000; i++, now += VI_MSEC)
        assert_true(flows_light(&f, now, 7, 98));
}

/* 64 KiB at once, 1500 bytes every ms, many small ones: all are found out, and none comes back while it goes on. */
static void a_stream_is_heavy(void **state)
{
    static const struct {
        size_t len;
        vi_time every;
        unsigned within;
    } streams[] = {{65000, 100, 1}, {1514, VI_MSEC, 40}, {64, 10, 400}, {1200, 1000, 100}};
    (void)state;
    for (unsigned s = 0; s < sizeof streams / sizeof *streams; s++) {
        vi_time now = VI_SEC;
        unsigned first = 0;
        for (unsigned i = 1; i <= 5000; i++, now += streams[s].every) {
            bool light = flows_light(&f, now, (uint64_t)(s + 1) << 40, streams[s].len);
            if (!light && !first)
                first = i;
            assert_false(light && first);
        }
        assert_in_range(first, 1, streams[s].within);
    }
}

/* No frame goes the light way sooner than FLOW_REST after one of its flow went the heavy way. */
static void none_overtakes(void **state)
{
    vi_time now = VI_SEC, heavy_at = 0;
    uint64_t x = 1;
    unsigned turns = 0;
    bool was = true;
    (void)state;
    for (int i = 0; i < 200000; i++) {
        bool light;
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        now += (vi_time)((x >> 33) % 100 ? (x >> 40) % 3000 : (x >> 40) % 500000);
        light = flows_light(&f, now, 3, (x >> 50) % 6000);
        if (light && heavy_at)
            assert_true(now - heavy_at > FLOW_REST);
        turns += light != was;
        was = light;
        if (!light)
            heavy_at = now;
    }
    assert_true(turns > 10);
}

static void bucket_refills(void **state)
{
    vi_time now = VI_SEC;
    (void)state;
    assert_true(flows_light(&f, now, 1, FLOW_BURST));
    now += 1000;
    assert_true(flows_light(&f, now, 1, 1000)); /* to the byte */
    assert_false(flows_light(&f, now, 1, 1));
    now += FLOW_REST;
    assert_false(flows_light(&f, now, 1, 1)); /* not yet */
    now += FLOW_REST + 1;
    assert_true(flows_light(&f, now, 1, FLOW_BURST));
}

static void keys_tell_flows_apart(void **state)
{
    uint8_t v4[60] = {[0] = 2, [6] = 2, [11] = 1, [12] = 8, [14] = 0x45, [23] = 6}, other[60], v6[80] = {0};
    uint64_t k = flows_key(0, v4, sizeof v4, 34);
    static const unsigned matter[] = {5, 11, 23, 26, 33, 34, 37}, not[] = {16, 18, 24, 38, 50};
    (void)state;
    assert_true(k != flows_key(1, v4, sizeof v4, 34));
    for (unsigned i = 0; i < sizeof matter / sizeof *matter; i++) {
        memcpy(other, v4, sizeof other);
        other[matter[i]] ^= 1;
        assert_true(k != flows_key(0, other, sizeof other, 34));
    }
    for (unsigned i = 0; i < sizeof not / sizeof *not; i++) {
        memcpy(other, v4, sizeof other);
        other[not[i]] ^= 1;
        assert_true(k == flows_key(0, other, sizeof other, 34));
    }
    v6[12] = 0x86;
    v6[13] = 0xdd;
    k = flows_key(0, v6, sizeof v6, 0);
    v6[60] = 1; /* without ports nothing behind the addresses matters */
    assert_true(k == flows_key(0, v6, sizeof v6, 0));
    v6[53] = 1;
    assert_true(k != flows_key(0, v6, sizeof v6, 0));
    for (size_t len = 0; len < sizeof v6; len++) /* stumps are read no further than they go */
        (void)flows_key(0, v6 + sizeof v6 - len, len, 54);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_ping_is_light, clean),    cmocka_unit_test_setup(a_stream_is_heavy, clean),
        cmocka_unit_test_setup(none_overtakes, clean),     cmocka_unit_test_setup(bucket_refills, clean),
        cmocka_unit_test_setup(keys_tell_flows_apart, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
