/* What members tell each other for operators: hosts in detail, why not there, draining; amounts as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/drainword.h"
#include "peer/hostview.h"
#include "peer/whynot.h"

#define BODY 1000

/* Every prefix of a good message, and every one with something behind it, is refused. */
#define REFUSES_CUT(decode, bytes, len)                                                            \
    do {                                                                                           \
        for (size_t cut = 0; cut < (size_t)(len); cut++)                                           \
            assert_true(decode(bytes, cut) < 0);                                                   \
        bytes[len] = 0;                                                                            \
        assert_true(decode(bytes, (size_t)(len) + 1) < 0);                                         \
    } while (0)

static struct hostview_guest all[HOSTVIEW_GUESTS], got[HOSTVIEW_GUESTS + HOSTVIEW_PAGE];

static int decode_view(const uint8_t *b, size_t len)
{
    struct hostview h;
    struct hostview_guest page[HOSTVIEW_PAGE];
    unsigned first, n;
    return hostview_decode(&h, &first, &n, page, b, len);
}

static void fill(struct hostview *h, unsigned guests)
{
    *h = (struct hostview){.paused = true, .no_outside = true, .capacity_pct = 375, .demand_pct = 120, .total_kb = 8192 * 1024, .free_kb = 1024 * 1024,
                           .arrivals = 1, .arrivals_most = 2, .range_low = 0.4, .range_high = 0.75, .guests = guests};
    memset(all, 0, sizeof all);
    for (unsigned i = 0; i < guests; i++) {
        all[i].uuid.b[0] = (uint8_t)i;
        all[i].env.b[15] = 9;
        snprintf(all[i].name, sizeof all[i].name, "guest-with-a-name-%u", i);
        all[i].kb = all[i].size_kb = 1024 * (i + 1);
        all[i].max_kb = 1 << 20;
        all[i].pct = i;
        all[i].movable = i % 2;
        all[i].running = true;
        all[i].short_of_cpu = i % 3 == 0;
        if (!all[i].movable)
            memset(all[i].why_not, 'w', sizeof all[i].why_not - 1);
    }
}

/* Page by page everything comes over, whatever it takes. */
static void test_view(void **unused)
{
    struct hostview h, back;
    uint8_t b[BODY + 1];
    unsigned have = 0, pages = 0;
    (void)unused;
    fill(&h, HOSTVIEW_GUESTS);
    while (have < h.guests) {
        unsigned first, n;
        int len = hostview_encode(&h, all, have, b, BODY);
        assert_in_range(len, 1, BODY);
        assert_int_equal(hostview_decode(&back, &first, &n, got + have, b, (size_t)len), 0);
        assert_int_equal(first, have);
        assert_true(n > 0);
        have += n;
        if (pages++ == 0)
            REFUSES_CUT(decode_view, b, len);
    }
    assert_memory_equal(all, got, sizeof all);
    assert_memory_equal(&h, &back, sizeof h);
    fill(&h, 0);
    assert_true(hostview_encode(&h, all, 0, b, BODY) > 0);
    assert_true(hostview_encode(&h, all, 5, b, BODY) > 0); /* beyond the end: none */
    assert_true(hostview_encode(&h, all, 0, b, 5) < 0);
}

static void test_view_absurd(void **unused)
{
    struct hostview h;
    uint8_t b[BODY];
    int len;
    (void)unused;
    fill(&h, 2);
    h.free_kb = h.total_kb + 1024;
    len = hostview_encode(&h, all, 0, b, BODY);
    assert_int_equal(decode_view(b, (size_t)len), VI_EINVAL);
    fill(&h, 2);
    len = hostview_encode(&h, all, 0, b, BODY);
    b[1] = 9; /* another version */
    assert_int_equal(decode_view(b, (size_t)len), VI_EVERSION);
}

static int decode_question(const uint8_t *b, size_t len)
{
    unsigned first;
    return hostview_question_decode(&first, b, len);
}

static void test_question(void **unused)
{
    uint8_t b[32];
    unsigned first;
    int len = hostview_question_encode(77, b, sizeof b);
    (void)unused;
    assert_int_equal(hostview_question_decode(&first, b, (size_t)len), 0);
    assert_int_equal(first, 77);
    REFUSES_CUT(decode_question, b, len);
    len = hostview_question_encode(HOSTVIEW_GUESTS + 1, b, sizeof b);
    assert_true(hostview_question_decode(&first, b, (size_t)len) < 0);
}

static void amounts(const char *text, double now, bool percent, double want)
{
    double v = -1;
    int err = hostview_amount(text, now, percent, &v);
    if (want < 0)
        assert_int_equal(err, VI_EINVAL);
    else
        assert_true(err == 0 && v > want - 0.001 && v < want + 0.001);
}

static void test_amounts(void **unused)
{
    static const char *const none[] = {"", "x", "lots", "2x", "x-2", "+", "+-5%", "5%", "0x10", "nan", "inf", "1e5", "4096K", "4G5", "x2G5",
                                       "+50%%", "-200%", "99999999999G", "12345678901234567890123456"};
    (void)unused;
    amounts("x2", 512, false, 1024);
    amounts("x0.5", 512, false, 256);
    amounts("+50%", 512, false, 768);
    amounts("-25%", 512, false, 384);
    amounts("4096M", 512, false, 4096);
    amounts("4096", 512, false, 4096);
    amounts("4G", 512, false, 4096);
    amounts("+256M", 512, false, 768);
    amounts("-256", 512, false, 256);
    amounts("200", 50, true, 200);
    amounts("+100", 50, true, 150);
    amounts("4G", 50, true, -1);
    for (unsigned i = 0; i < sizeof none / sizeof *none; i++)
        amounts(none[i], 512, false, -1);
}

static int decode_whynot_question(const uint8_t *b, size_t len)
{
    static struct whynot_question q;
    return whynot_question_decode(&q, b, len);
}

static int decode_whynot(const uint8_t *b, size_t len)
{
    struct whynot_answer a;
    return whynot_answer_decode(&a, b, len);
}

static void test_whynot(void **unused)
{
    static struct whynot_question q = {.kb = 262144, .pct = 12.5, .len = WHYNOT_DESCRIPTION}, back;
    struct whynot_answer a = {.observes = true, .ordered = true, .n = WHYNOT_REASONS, .summary_len = WHYNOT_SUMMARY}, b2;
    uint8_t b[BODY + 1];
    int len = whynot_question_encode(&q, b, BODY);
    (void)unused;
    assert_in_range(len, 1, BODY); /* the longest description fits */
    assert_int_equal(whynot_question_decode(&back, b, (size_t)len), 0);
    assert_memory_equal(&q, &back, sizeof q);
    REFUSES_CUT(decode_whynot_question, b, len);
    for (unsigned i = 0; i < a.n; i++)
        memset(a.reason[i], 'r', WHYNOT_REASON - 1);
    len = whynot_answer_encode(&a, b, BODY);
    assert_in_range(len, 1, BODY); /* and so do the longest reasons */
    assert_int_equal(whynot_answer_decode(&b2, b, (size_t)len), 0);
    assert_memory_equal(&a, &b2, sizeof a);
    REFUSES_CUT(decode_whynot, b, len);
}

static int decode_order(const uint8_t *b, size_t len)
{
    struct drainword_order o;
    return drainword_order_decode(&o, b, len);
}

static int decode_drain(const uint8_t *b, size_t len)
{
    static struct drainword w;
    return drainword_decode(&w, b, len);
}

static void test_drain(void **unused)
{
    static struct drainword w = {.draining = true, .within = true, .deadline_s = 1700000000, .guests = 40, .n = 40}, back;
    struct drainword_order o = {.what = DRAIN_BEGIN, .deadline_s = DRAINWORD_MOST_S, .within = true}, o2;
    uint8_t b[BODY + 1];
    int len = drainword_order_encode(&o, b, BODY);
    (void)unused;
    assert_int_equal(drainword_order_decode(&o2, b, (size_t)len), 0);
    assert_true(o2.what == DRAIN_BEGIN && o2.deadline_s == DRAINWORD_MOST_S && o2.within);
    REFUSES_CUT(decode_order, b, len);
    o.what = 0;
    len = drainword_order_encode(&o, b, BODY);
    assert_true(decode_order(b, (size_t)len) < 0);
    o = (struct drainword_order){.what = DRAIN_BEGIN, .deadline_s = DRAINWORD_MOST_S + 1};
    len = drainword_order_encode(&o, b, BODY);
    assert_true(decode_order(b, (size_t)len) < 0);
    for (unsigned i = 0; i < w.n; i++) {
        snprintf(w.guest[i].name, sizeof w.guest[i].name, "g%u", i);
        memset(w.guest[i].why, 'y', 50);
    }
    len = drainword_encode(&w, b, BODY);
    assert_in_range(len, 1, BODY);
    assert_int_equal(drainword_decode(&back, b, (size_t)len), 0);
    assert_int_equal(back.guests, 40); /* how many there are, and those that fit */
    assert_in_range(back.n, 10, 39);
    assert_string_equal(back.guest[back.n - 1].name, w.guest[back.n - 1].name);
    assert_true(back.draining && back.within && !back.drained && back.deadline_s == 1700000000);
    REFUSES_CUT(decode_drain, b, len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_view),    cmocka_unit_test(test_view_absurd), cmocka_unit_test(test_question),
                                       cmocka_unit_test(test_amounts), cmocka_unit_test(test_whynot),      cmocka_unit_test(test_drain)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
