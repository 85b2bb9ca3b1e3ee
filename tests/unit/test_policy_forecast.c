/* What can be expected of a guest and of the host, and what is done about it before the host is full. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/wire.h"
#include "policy/internal.h"
#include "tests/sim/policy_host.h"

static struct policy_host h;
static unsigned minute; /* in evaluations */

static int tear_down(void **unused)
{
    (void)unused;
    ph_close(&h);
    return 0;
}

/* Sixteen guests of about 20 %; every tenth evaluation all of them want much more. */
static int set_up(void **unused)
{
    (void)unused;
    ph_init(&h);
    minute = 0;
    h.cfg.dom0_pct = 0;
    for (unsigned i = 0; i < 16; i++)
        h.pct[ph_guest(&h, 256, 128, 256)] = 20;
    ph_open(&h);
    return 0;
}

static void swing(double low, double high, unsigned evaluations)
{
    for (unsigned k = 0; k < evaluations; k++) {
        for (unsigned i = 0; i < h.s.n_guests; i++)
            h.pct[i] = (minute / 12) % 2 ? high : low; /* a minute each */
        minute++;
        ph_evaluate(&h);
    }
}

static void swing_until_asked(double low, double high)
{
    for (unsigned k = 0; k < 600 && !h.t.probes; k++)
        swing(low, high, 1);
    assert_int_equal(h.t.probes, 1);
}

/* Textbook values of the unit normal loss: 0.3989 at 0, 0.0833 at 1, 0.0085 at 2. */
static void test_unserved(void **unused)
{
    (void)unused;
    assert_true(fabs(policy_unserved(400, 10, 400) - 3.989) < 0.01);
    assert_true(fabs(policy_unserved(390, 10, 400) - 0.833) < 0.01);
    assert_true(fabs(policy_unserved(380, 10, 400) - 0.085) < 0.01);
    assert_true(fabs(policy_unserved(500, 10, 400) - 100) < 0.01);
    assert_true(policy_unserved(300, 0, 400) == 0 && policy_unserved(450, 0, 400) == 50);
}

static void test_mean_and_spread(void **unused)
{
    const struct policy_load *l;
    (void)unused;
    swing(15, 25, 60);
    assert_false(policy_own_load(h.p)->lasting_known);
    swing(15, 25, 600);
    l = policy_own_load(h.p);
    assert_true(l->lasting_known);
    assert_true(fabs(l->lasting_pct - 320) < 4);
    assert_true(fabs(l->spread_pct - 80) < 4); /* they swing together: 16 × 5, not 4 × 5 */
    h.s.n_guests = 8;                          /* half of them go, and take their part along */
    ph_evaluate(&h);
    assert_true(fabs(policy_own_load(h.p)->lasting_pct - 160) < 4);
}

/* Never short, but it can be expected to be: one goes before. */
static void test_before_it_is_full(void **unused)
{
    unsigned to = ph_peer(&h, 12000, 100);
    (void)unused;
    h.peer[to].load.lasting_known = true;
    h.peer[to].load.lasting_pct = 100;
    h.peer[to].load.spread_pct = 20;
    swing_until_asked(19, 24.5); /* 304 … 392 of 400 */
    ph_answer(&h, to, true);
    assert_int_equal(h.t.moves, 1);
    assert_non_null(strstr(h.t.decision[POLICY_MOVE].text, "short of CPU before long"));
    assert_int_equal(h.t.of_kind[POLICY_SHORT], 0);
}

/* In placement pack hosts are to be full: one is relieved when it is short. */
static void test_pack_waits(void **unused)
{
    (void)unused;
    ph_close(&h);
    h.cfg.pack = true;
    ph_peer(&h, 12000, 100);
    ph_open(&h);
    swing(19, 24.5, 600);
    assert_int_equal(h.t.probes, 0);
    swing(30, 30, 12); /* 480 of 400 */
    assert_true(h.t.probes > 0);
}

/* The same load without swings: nothing to fear. */
static void test_steady_stays(void **unused)
{
    (void)unused;
    ph_peer(&h, 12000, 100);
    swing(21.5, 21.5, 600); /* 344 of 400 */
    assert_int_equal(h.t.probes, 0);
}

/* The only other host has room at this moment, but not as a rule. */
static void test_target_full_before_long(void **unused)
{
    unsigned to = ph_peer(&h, 12000, 100);
    (void)unused;
    h.peer[to].load.lasting_known = true;
    h.peer[to].load.lasting_pct = 360;
    h.peer[to].load.spread_pct = 40;
    swing(19, 24.5, 600);
    assert_int_equal(h.t.probes, 0);
    assert_true(h.t.of_kind[POLICY_REFUSE] > 0);
    for (unsigned i = 0; i < h.s.n_guests; i++)
        if (ph_choice(&h, i, to)[0])
            assert_string_equal(ph_choice(&h, i, to), "it would be too full with it before long");
}

/* An answer tells of a target that filled up since its summary. */
static void test_fresh_forecast_decides(void **unused)
{
    unsigned to = ph_peer(&h, 12000, 100);
    (void)unused;
    h.peer[to].load.lasting_known = true;
    h.peer[to].load.lasting_pct = 100;
    h.peer[to].load.spread_pct = 20;
    swing_until_asked(19, 24.5);
    h.peer[to].load.lasting_pct = 370;
    h.peer[to].load.spread_pct = 50;
    ph_answer(&h, to, true);
    assert_int_equal(h.t.moves, 0);
}

/* ---- the summary ---- */

static void test_summary_both_ways(void **unused)
{
    struct policy_load l = {.capacity_pct = 400, .demand_pct = 120, .entitled_pct = 200, .total_kb = 1024, .free_kb = 1024}, got;
    uint8_t b[POLICY_SUMMARY];
    int n;
    (void)unused;
    l.lasting_known = l.packs = l.draining = true;
    l.lasting_pct = 250;
    l.spread_pct = 41;
    n = policy_summary_encode(&l, b, sizeof b);
    assert_int_equal(policy_summary_decode(&got, b, (size_t)n), 0);
    assert_true(got.lasting_known && got.packs && got.draining && !got.observes);
    assert_true(got.lasting_pct == 250 && got.spread_pct >= 41 && got.spread_pct <= 51);
    assert_true(b[0] == 0x9a && b[1] == 1); /* ten fields of version 1, as the version before demands */
    l.spread_pct = 1e6;
    n = policy_summary_encode(&l, b, sizeof b);
    assert_int_equal(policy_summary_decode(&got, b, (size_t)n), 0);
    assert_true(got.spread_pct == 150);
    l.lasting_known = false; /* as the version before writes it */
    n = policy_summary_encode(&l, b, sizeof b);
    assert_int_equal(policy_summary_decode(&got, b, (size_t)n), 0);
    assert_true(!got.lasting_known && got.entitled_pct == 200 && got.lasting_pct == 0 && got.spread_pct == 0);
}

static void test_summary_of_later(void **unused)
{
    uint8_t b[POLICY_SUMMARY];
    struct policy_load got;
    struct vi_writer w;
    (void)unused;
    for (unsigned fields = 9; fields <= 17; fields++) {
        vi_writer_init(&w, b, sizeof b);
        vi_write_array(&w, fields);
        vi_write_uint(&w, 1);
        for (unsigned k = 1; k < fields; k++)
            vi_write_uint(&w, 5);
        assert_int_equal(policy_summary_decode(&got, b, w.len) == 0, fields >= 10 && fields <= 16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unserved),
        cmocka_unit_test_setup_teardown(test_mean_and_spread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_before_it_is_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pack_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_steady_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_target_full_before_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fresh_forecast_decides, set_up, tear_down),
        cmocka_unit_test(test_summary_both_ways),
        cmocka_unit_test(test_summary_of_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
