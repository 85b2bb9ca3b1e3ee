/* The gossip's small parts: how long a suspicion lasts, the table of ids, datagrams' items. What they do
 * together is for tests/sim/gossip_main.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/codec.h"
#include "gossip/idmap.h"
#include "gossip/suspicion.h"
#include "peer/base/rng.h"

/* ---- suspicion ---- */

static void logarithms(void **state)
{
    (void)state;
    assert_int_equal(gsp_log10_milli(0), 0);
    assert_int_equal(gsp_log10_milli(1), 0);
    for (unsigned n = 2; n < 200000; n += 1 + n / 50) {
        double want = log10(n) * 1000;
        assert_true(fabs((double)gsp_log10_milli(n) - want) <= 2);
    }
}

static void suspicion_figures(void **state)
{
    struct gsp_suspicion s = {.alpha = 4, .beta = 6, .k = 3, .interval = VI_SEC};
    (void)state;
    assert_int_equal(gsp_suspicion_min(&s, 2), 4 * VI_SEC); /* log10 below 1 counts as 1 */
    assert_int_equal(gsp_suspicion_min(&s, 10), 4 * VI_SEC);
    assert_true(llabs(gsp_suspicion_min(&s, 100) - 8 * VI_SEC) < 50 * VI_MSEC);
    assert_true(llabs(gsp_suspicion_time(&s, 100, 0) - 48 * VI_SEC) < 300 * VI_MSEC);
    /* Lifeguard: with 1 of 3 confirmations half of the way in logarithms */
    assert_true(llabs(gsp_suspicion_time(&s, 100, 1) - 28 * VI_SEC) < 300 * VI_MSEC);
    assert_true(llabs(gsp_suspicion_time(&s, 100, 3) - 8 * VI_SEC) < 100 * VI_MSEC);
    assert_int_equal(gsp_suspicion_time(&s, 100, 9), gsp_suspicion_time(&s, 100, 3));
    assert_int_equal(gsp_suspicion_time(&s, 2, 0), gsp_suspicion_min(&s, 2)); /* nobody could confirm */
    for (unsigned n = 2; n < 5000; n += 7)
        for (unsigned c = 0; c < 4; c++)
            assert_true(gsp_suspicion_time(&s, n, c) >= gsp_suspicion_time(&s, n, c + 1) &&
                        gsp_suspicion_time(&s, n, c) >= gsp_suspicion_min(&s, n));
}

static void health_has_bounds(void **state)
{
    (void)state;
    assert_int_equal(gsp_health_add(0, -1, 8), 0);
    assert_int_equal(gsp_health_add(8, 1, 8), 8);
    assert_int_equal(gsp_health_add(3, 2, 8), 5);
    assert_int_equal(gsp_health_add(3, -5, 8), 0);
    assert_int_equal(gsp_health_add(0, 1, 0), 0);
}

static void round_trips(void **state)
{
    struct gsp_rtts r = {.n = 0};
    (void)state;
    for (unsigned i = 0; i < 7; i++)
        gsp_rtt_add(&r, 10 * VI_MSEC);
    assert_int_equal(gsp_rtt_timeout(&r, 100 * VI_MSEC, 500 * VI_MSEC), 500 * VI_MSEC); /* too few to judge by */
    gsp_rtt_add(&r, 10 * VI_MSEC);
    assert_int_equal(gsp_rtt_timeout(&r, 100 * VI_MSEC, 500 * VI_MSEC), 100 * VI_MSEC);
    for (unsigned i = 0; i < GSP_RTTS; i++)
        gsp_rtt_add(&r, 60 * VI_MSEC);
    assert_int_equal(gsp_rtt_timeout(&r, 100 * VI_MSEC, 500 * VI_MSEC), 180 * VI_MSEC);
    for (unsigned i = 0; i < GSP_RTTS; i++)
        gsp_rtt_add(&r, VI_SEC);
    assert_int_equal(gsp_rtt_timeout(&r, 100 * VI_MSEC, 500 * VI_MSEC), 500 * VI_MSEC);
}

/* ---- idmap ---- */

#define KEYS 3000
static uint64_t keys[KEYS];

static const void *key_at(const void *arg, uint32_t index)
{
    const uint64_t *k = arg;
    return &k[index];
}

static void table_of_ids(void **state)
{
    static bool in[KEYS];
    struct gsp_idmap m;
    struct vi_rng rng;
    uint64_t other = 0x1234;
    (void)state;
    vi_rng_seed(&rng, 11);
    for (unsigned i = 0; i < KEYS; i++)
        keys[i] = vi_rng_u64(&rng) | 1U << 20;
    gsp_idmap_init(&m, sizeof keys[0], key_at, keys);
    assert_int_equal(gsp_idmap_find(&m, &keys[0]), GSP_NONE);
    for (unsigned turn = 0; turn < 60000; turn++) {
        uint32_t i = (uint32_t)vi_rng_below(&rng, KEYS);
        if (in[i])
            gsp_idmap_remove(&m, i);
        else
            assert_int_equal(gsp_idmap_add(&m, i), 0);
        in[i] = !in[i];
        if (turn % 1000 == 0)
            for (uint32_t k = 0; k < KEYS; k++)
                assert_int_equal(gsp_idmap_find(&m, &keys[k]), in[k] ? k : GSP_NONE);
    }
    assert_int_equal(gsp_idmap_find(&m, &other), GSP_NONE);
    gsp_idmap_free(&m);
}

/* ---- items ---- */

static struct gsp_statement statement(void)
{
    struct gsp_statement s = {.incarnation = UINT64_C(0x0102030405060708), .left = true, .name_len = 5, .meta_len = 3,
                              .cert_tag = 77};
    memset(s.id.b, 0xab, sizeof s.id.b);
    s.addr.len = 7;
    memset(s.addr.b, 9, 7);
    memcpy(s.name, "host1", 5);
    memcpy(s.meta, "abc", 3);
    return s;
}

static void items_there_and_back(void **state)
{
    uint8_t buf[1200], sig[GOSSIP_SIG], key[GOSSIP_KEY];
    struct gsp_statement s = statement();
    struct gsp_accusation a = {.death = true, .incarnation = 9, .n = GSP_ACCUSERS};
    struct gsp_read_item it;
    struct gsp_out o;
    struct gsp_cur c;
    (void)state;
    memset(sig, 1, sizeof sig);
    memset(key, 2, sizeof key);
    memset(a.id, 3, sizeof a.id);
    for (unsigned i = 0; i < GSP_ACCUSERS; i++)
        memset(a.accusers[i], (int)i, GSP_PREFIX);
    gsp_out_init(&o, buf, sizeof buf);
    assert_true(gsp_put_word(&o, &s, sig));
    assert_true(gsp_put_full(&o, &s, sig, key, (const uint8_t *)"cert", 4));
    assert_true(gsp_put_accusation(&o, &a));
    gsp_cur_init(&c, buf, o.len);
    assert_true(gsp_get_item(&c, &it));
    assert_int_equal(it.kind, GSP_WORD);
    assert_memory_equal(&it.st, &s, sizeof s);
    assert_memory_equal(it.sig, sig, GOSSIP_SIG);
    assert_true(gsp_get_item(&c, &it));
    assert_int_equal(it.kind, GSP_FULL);
    assert_memory_equal(it.key, key, GOSSIP_KEY);
    assert_int_equal(it.cert_len, 4);
    assert_memory_equal(it.cert, "cert", 4);
    assert_true(gsp_get_item(&c, &it));
    assert_int_equal(it.kind, GSP_DEATH);
    assert_memory_equal(it.ac.accusers, a.accusers, sizeof a.accusers);
    assert_false(gsp_get_item(&c, &it));
    assert_false(c.bad);
    /* cut anywhere: what is whole is read, the rest is bad, nothing beyond is touched */
    for (size_t len = 1; len < o.len; len++) {
        uint8_t *copy = malloc(len);
        memcpy(copy, buf, len);
        gsp_cur_init(&c, copy, len);
        while (gsp_get_item(&c, &it))
            ;
        free(copy);
    }
}

static void items_are_whole_or_not_there(void **state)
{
    uint8_t buf[1200], sig[GOSSIP_SIG] = {0}, key[GOSSIP_KEY] = {0};
    struct gsp_statement s = statement();
    struct gsp_out o;
    (void)state;
    for (size_t cap = 0; cap < 240; cap++) {
        size_t before;
        gsp_out_init(&o, buf, cap);
        (void)gsp_put_word(&o, &s, sig);
        before = o.len;
        if (!gsp_put_full(&o, &s, sig, key, (const uint8_t *)"c", 1))
            assert_int_equal(o.len, before);
        assert_true(o.len <= cap);
    }
}

static void bad_items(void **state)
{
    uint8_t buf[400], sig[GOSSIP_SIG] = {0};
    struct gsp_statement s = statement();
    struct gsp_accusation a = {.n = 1};
    struct gsp_read_item it;
    struct gsp_out o;
    struct gsp_cur c;
    (void)state;
    s.name[2] = 0; /* a text with an end in its middle */
    gsp_out_init(&o, buf, sizeof buf);
    assert_true(gsp_put_word(&o, &s, sig));
    gsp_cur_init(&c, buf, o.len);
    assert_false(gsp_get_item(&c, &it));
    assert_true(c.bad);
    gsp_out_init(&o, buf, sizeof buf);
    assert_true(gsp_put_accusation(&o, &a));
    buf[1 + GSP_PREFIX + 1] = 0; /* nobody accuses */
    gsp_cur_init(&c, buf, o.len);
    assert_false(gsp_get_item(&c, &it));
    buf[1 + VI_ID_SIZE + 8] = GSP_ACCUSERS + 1;
    gsp_cur_init(&c, buf, sizeof buf);
    assert_false(gsp_get_item(&c, &it));
    buf[0] = 99;
    gsp_cur_init(&c, buf, o.len);
    assert_false(gsp_get_item(&c, &it));
}

/* What the version before wrote: whole ids, the incarnation in eight bytes. */
static void accusations_of_before(void **state)
{
    uint8_t b[1 + VI_ID_SIZE + 8 + 1 + 2 * VI_ID_SIZE] = {GSP_DEATH_LONG};
    struct gsp_read_item it;
    struct gsp_cur c;

    (void)state;
    memset(b + 1, 7, VI_ID_SIZE);
    b[1 + VI_ID_SIZE] = 9;
    b[1 + VI_ID_SIZE + 8] = 2;
    memset(b + 1 + VI_ID_SIZE + 9, 1, VI_ID_SIZE);
    memset(b + 1 + VI_ID_SIZE + 9 + VI_ID_SIZE, 2, VI_ID_SIZE);
    gsp_cur_init(&c, b, sizeof b);
    assert_true(gsp_get_item(&c, &it));
    assert_true(it.ac.death);
    assert_int_equal(it.ac.incarnation, 9);
    assert_int_equal(it.ac.n, 2);
    assert_int_equal(it.ac.id[0], 7);
    assert_int_equal(it.ac.accusers[1][GSP_PREFIX - 1], 2);
    assert_int_equal(gsp_left(&c), 0);
    for (size_t n = 1; n < sizeof b; n++) {
        gsp_cur_init(&c, b, n);
        assert_false(gsp_get_item(&c, &it));
        assert_true(c.bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logarithms),           cmocka_unit_test(suspicion_figures),
        cmocka_unit_test(health_has_bounds),    cmocka_unit_test(round_trips),
        cmocka_unit_test(table_of_ids),         cmocka_unit_test(items_there_and_back),
        cmocka_unit_test(items_are_whole_or_not_there), cmocka_unit_test(bad_items),
        cmocka_unit_test(accusations_of_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
