/* What a guest uses: from counters that begin anew, and from reports that can't be trusted. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/sim/policy_host.h"

static struct policy_host h;

static int set_up(void **unused)
{
    (void)unused;
    ph_init(&h);
    h.cfg.shrink_window = 100 * VI_SEC;
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    ph_close(&h);
    return 0;
}

static bool near(double a, double b)
{
    return fabs(a - b) < 0.01;
}

static void test_used(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    ph_open(&h);
    h.pct[g] = 50;
    ph_evaluate(&h);
    assert_false(ph_view(&h, g).measured); /* one look at a counter says nothing */
    assert_true(ph_view(&h, g).report_age == 0);
    ph_evaluate(&h);
    assert_true(ph_view(&h, g).measured);
    assert_true(near(ph_view(&h, g).used_pct, 50));
    h.pct[g] = 125;
    ph_evaluate(&h);
    assert_true(near(ph_view(&h, g).used_pct, 125));
    h.pct[g] = 1e9; /* more than two VCPUs can use */
    ph_evaluate(&h);
    assert_true(near(ph_view(&h, g).used_pct, 200));
}

static void test_counter_begins_anew(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    double entitled;
    (void)unused;
    ph_open(&h);
    h.pct[g] = 60;
    ph_run(&h, 30);
    entitled = ph_view(&h, g).entitlement_pct;
    memset(&h.t, 0, sizeof h.t);
    h.guest[g].cpu_time_ns = 0;
    h.guest[g].steal_ms = 0;
    h.pct[g] = 0;
    ph_evaluate(&h);
    assert_false(ph_view(&h, g).measured);
    assert_true(near(ph_view(&h, g).entitlement_pct, entitled));
    assert_int_equal(h.t.weights + h.t.moves + h.t.decisions, 0);
    h.pct[g] = 60;
    ph_evaluate(&h);
    assert_true(ph_view(&h, g).measured);
    assert_true(near(ph_view(&h, g).used_pct, 60));
}

/* The same moment twice: nothing is divided by the time between. */
static void test_no_time_went_by(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    ph_open(&h);
    h.pct[g] = 60;
    ph_run(&h, 3);
    h.now -= h.cfg.period;
    ph_evaluate(&h);
    assert_false(ph_view(&h, g).measured);
    h.now -= 2 * h.cfg.period; /* nor by less than none */
    ph_evaluate(&h);
    assert_false(ph_view(&h, g).measured);
    ph_evaluate(&h);
    assert_true(near(ph_view(&h, g).demand_pct, 60));
}

static void test_steal(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    ph_open(&h);
    h.pct[g] = 60;
    h.steal[g] = 30;
    ph_run(&h, 3);
    assert_true(near(ph_view(&h, g).used_pct, 60));
    assert_true(near(ph_view(&h, g).demand_pct, 90));
    h.guest[g].steal_ms = 0; /* the guest's word goes backwards: the hypervisor's figure stands */
    h.steal[g] = 0;
    ph_evaluate(&h);
    assert_true(ph_view(&h, g).measured);
    assert_true(near(ph_view(&h, g).demand_pct, 60));
    h.guest[g].steal_ms = UINT64_MAX; /* absurd: no more than its VCPUs could use */
    ph_evaluate(&h);
    assert_true(near(ph_view(&h, g).demand_pct, 200));
    assert_true(near(ph_view(&h, g).used_pct, 60));
    h.guest[g].report = false; /* gone */
    h.guest[g].steal_ms = 0;
    ph_evaluate(&h);
    assert_true(ph_view(&h, g).measured);
    assert_true(near(ph_view(&h, g).demand_pct, 60));
    h.guest[g].report = true; /* back, with all that was stolen since it started */
    h.guest[g].steal_ms = 100000;
    ph_evaluate(&h);
    assert_true(near(ph_view(&h, g).demand_pct, 60));
}

/* A guest that has its report come and go isn't kept from being measured by that. */
static void test_flickering_report(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    ph_open(&h);
    h.pct[g] = 60;
    h.steal[g] = 20;
    ph_run(&h, 2);
    for (int i = 0; i < 20; i++) {
        uint64_t steal = h.guest[g].steal_ms;
        h.guest[g].report = i & 1;
        h.guest[g].steal_ms = i & 1 ? steal : 0;
        ph_evaluate(&h);
        assert_true(ph_view(&h, g).measured);
    }
}

/* ---- reports ---- */

static void absent(struct policy_host *w)
{
    w->guest[0].report = false;
}
static void stale(struct policy_host *w)
{
    w->guest[0].sequence = 5;
}
static void more_than_all(struct policy_host *w)
{
    w->guest[0].available_kb = w->guest[0].total_kb + 1;
}
static void nothing_at_all(struct policy_host *w)
{
    w->guest[0].total_kb = 0;
    w->guest[0].available_kb = 0;
}
static void beyond_its_maximum(struct policy_host *w)
{
    w->guest[0].total_kb = w->guest[0].max_kb * 2;
}
static void endless_swap(struct policy_host *w)
{
    w->guest[0].swap_kb = UINT64_MAX;
}

static void (*const absurd[])(struct policy_host *) = {absent, more_than_all, nothing_at_all, beyond_its_maximum,
                                                       endless_swap};

/* How often the balloon was set in ten windows for a guest that uses so much of 1 GiB (at most 2).
 */
static unsigned balloons(void (*twist)(struct policy_host *), uint64_t used_mib)
{
    unsigned n;
    set_up(NULL);
    ph_guest(&h, 1024, used_mib, 2048);
    h.twist = twist;
    ph_open(&h);
    ph_run(&h, 200);
    n = h.t.memories;
    ph_close(&h);
    return n;
}

static void test_bad_reports_change_nothing(void **unused)
{
    (void)unused;
    assert_true(balloons(NULL, 100) > 0); /* with good ones it is shrunk, and grown */
    assert_true(balloons(NULL, 900) > 0);
    for (unsigned i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        assert_int_equal(balloons(absurd[i], 100), 0);
        assert_int_equal(balloons(absurd[i], 900), 0);
    }
    assert_int_equal(balloons(stale, 100), 0);
    assert_int_equal(balloons(stale, 900), 1); /* while it was fresh */
}

static void test_freshness(void **unused)
{
    unsigned g = ph_guest(&h, 1024, 512, 1024);
    (void)unused;
    ph_open(&h);
    ph_run(&h, 3);
    h.silent[g] = true;
    ph_run(&h, 4); /* 20 s: still good */
    assert_true(ph_view(&h, g).fresh_report);
    assert_true(ph_view(&h, g).report_age == 20 * VI_SEC);
    ph_evaluate(&h);
    assert_false(ph_view(&h, g).fresh_report);
    h.silent[g] = false;
    ph_evaluate(&h);
    assert_true(ph_view(&h, g).fresh_report);
}

/* A report from before the balloon's change would have a guest that was just given more look full.
 */
static void test_report_of_another_size(void **unused)
{
    unsigned g = ph_guest(&h, 1024, 900, 8192);
    (void)unused;
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(h.t.memories, 1);
    assert_int_equal(h.guest[g].current_kb, 2048 * PH_MIB);
    h.silent[g] = true; /* it goes on saying 124 MiB available, now of 2 GiB */
    ph_run(&h, 4);
    assert_int_equal(h.t.memories, 1);
    assert_int_equal(ph_view(&h, g).used_kb, 900 * PH_MIB);
    h.silent[g] = false;
    ph_run(&h, 6);
    assert_int_equal(h.t.memories, 1);
    assert_int_equal(ph_view(&h, g).used_kb, 900 * PH_MIB);
}

static void test_swap_is_use(void **unused)
{
    unsigned g = ph_guest(&h, 1024, 700, 2048);
    (void)unused;
    ph_open(&h);
    h.guest[g].swap_kb = 200 * PH_MIB;
    ph_run(&h, 3);
    assert_int_equal(ph_view(&h, g).used_kb, 900 * PH_MIB);
    assert_int_equal(h.t.memories, 1);
}

/* A guest that went away and came again under its UUID has no past. */
static void test_new_life(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    ph_open(&h);
    h.pct[g] = 60;
    ph_run(&h, 3);
    h.s.n_guests = 0;
    ph_evaluate(&h);
    assert_true(ph_view(&h, g).weight == 0); /* unknown */
    h.s.n_guests = 1;
    ph_evaluate(&h);
    assert_false(ph_view(&h, g).measured);
    assert_true(near(ph_view(&h, g).used_pct, 0));
}

/* Counters that were read a while before the evaluation are of that moment; those that weren't read anew say nothing. */
static void test_counters_are_of_when_they_were_read(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    h.pct[g] = 40;
    ph_open(&h);
    ph_run(&h, 4);
    h.s.at = h.now + h.cfg.period / 2; /* half a period later than the last, with half a period's use */
    h.pct[g] = 20;
    ph_evaluate(&h);
    assert_true(ph_view(&h, g).used_pct > 39.9 && ph_view(&h, g).used_pct < 40.1);
    h.pct[g] = 0;
    ph_evaluate(&h);
    assert_true(ph_view(&h, g).measured);
    assert_true(ph_view(&h, g).used_pct > 39.9 && ph_view(&h, g).used_pct < 40.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_used, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_counter_begins_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_time_went_by, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_steal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flickering_report, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_reports_change_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_freshness, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_report_of_another_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_swap_is_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_new_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_counters_are_of_when_they_were_read, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
