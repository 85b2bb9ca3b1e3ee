/* Entitlements and weights: fair, bounded, quick to follow a load and slow to follow noise. */
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

/* ---- dividing ---- */

static void divides(double capacity, unsigned n, const double *want, const double *shares,
                    const double *expected)
{
    double out[8];
    policy_divide(capacity, n, want, shares, out);
    for (unsigned i = 0; i < n; i++)
        assert_true(near(out[i], expected[i]));
}

static void test_divide(void **unused)
{
    const double equal[] = {1, 1, 1}, three[] = {3, 1, 1}, none[] = {0, 0, 0}, some[] = {0, 1, 1};
    const double big[] = {400, 400, 400}, mixed[] = {10, 400, 400}, small[] = {10, 20, 30};
    (void)unused;
    divides(300, 3, small, equal, small); /* enough: all that is wanted */
    divides(60, 3, small, three, small);  /* just enough */
    divides(300, 3, big, equal, (const double[]){100, 100, 100});
    divides(300, 3, big, three, (const double[]){180, 60, 60});
    divides(300, 3, mixed, equal,
            (const double[]){10, 145, 145}); /* what one doesn't want, others get */
    divides(300, 3, mixed, three, (const double[]){10, 145, 145});
    divides(375, 2, big, (const double[]){300, 100}, (const double[]){281.25, 93.75});
    divides(0, 3, big, equal, none);
    divides(-5, 3, big, equal, none);
    divides(300, 3, big, none, none);
    divides(300, 3, big, some, (const double[]){0, 150, 150});
    policy_divide(100, 0, NULL, NULL, NULL);
}

/* Max-min: nobody gets more than it wants, nothing is wasted, and who gets less than it wants has
 * as much per share as anybody has. */
static void test_divide_is_fair(void **unused)
{
    double want[POLICY_GUESTS], shares[POLICY_GUESTS], out[POLICY_GUESTS];
    struct vi_rng rng;
    (void)unused;
    vi_rng_seed(&rng, 11);
    for (int round = 0; round < 300; round++) {
        unsigned n = round == 0 ? POLICY_GUESTS : 1 + vi_rng_below(&rng, 20);
        double capacity = vi_rng_unit(&rng) * 1500, sum = 0, wanted = 0;
        for (unsigned i = 0; i < n; i++) {
            want[i] = vi_rng_below(&rng, 4) ? vi_rng_unit(&rng) * 400 : 0;
            shares[i] = 1 + vi_rng_below(&rng, 1000);
            wanted += want[i];
        }
        policy_divide(capacity, n, want, shares, out);
        for (unsigned i = 0; i < n; i++) {
            sum += out[i];
            assert_true(out[i] >= 0 && out[i] <= want[i] + 1e-6);
            for (unsigned k = 0; k < n; k++)
                if (out[i] < want[i] - 1e-6)
                    assert_true(out[k] / shares[k] <= out[i] / shares[i] + 1e-6);
        }
        assert_true(near(sum, fmin(capacity, wanted)));
    }
}

/* ---- shares ---- */

/* Busy guests on four CPUs, served by weight; each guest tells what it lacks. */
static void serve(unsigned n)
{
    double sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += h.guest[i].weight;
    for (unsigned i = 0; i < n; i++) {
        h.pct[i] = fmin(400, 400.0 * h.guest[i].weight / sum);
        h.steal[i] = 400 - h.pct[i];
    }
}

static void contend(unsigned n, unsigned evaluations)
{
    for (unsigned i = 0; i < n; i++)
        h.guest[i].vcpus = 4;
    while (evaluations--) {
        serve(n);
        ph_evaluate(&h);
    }
}

static void second_environment(uint32_t shares)
{
    h.env[1].id = ph_id('e', 1);
    h.env[1].shares = shares;
    h.s.n_envs = 2;
}

static void test_three_to_one(void **unused)
{
    unsigned a = ph_guest(&h, 512, 256, 512), b = ph_guest(&h, 512, 256, 512);
    (void)unused;
    h.env[0].shares = 300;
    second_environment(100);
    h.guest[b].env = h.env[1].id;
    ph_open(&h);
    contend(2, 6);
    assert_true(near(ph_view(&h, a).entitlement_pct, 281.25));
    assert_true(near(ph_view(&h, b).entitlement_pct, 93.75));
    assert_int_equal(h.guest[a].weight, 720);
    assert_int_equal(h.guest[b].weight, 240);
    memset(&h.t, 0, sizeof h.t);
    contend(2, 50);
    assert_int_equal(h.t.weights, 0); /* and so it stays */
    assert_true(ph_view(&h, b).short_of_cpu);
}

/* A guest that has just come isn't measured yet; that is no reason to give it more than those beside it. */
static void test_newcomer_gets_its_part(void **unused)
{
    unsigned a = ph_guest(&h, 512, 256, 512), b;
    (void)unused;
    second_environment(100);
    ph_open(&h);
    contend(1, 6);
    b = ph_guest(&h, 512, 256, 512);
    h.guest[b].env = h.env[1].id;
    contend(2, 1);
    assert_int_equal(h.guest[a].weight, h.guest[b].weight);
}

static void test_environment_divides_its_shares(void **unused)
{
    unsigned a = ph_guest(&h, 512, 256, 512), b = ph_guest(&h, 512, 256, 512),
             c = ph_guest(&h, 512, 256, 512);
    (void)unused;
    second_environment(100);
    h.guest[c].env = h.env[1].id;
    ph_open(&h);
    contend(3, 6);
    assert_int_equal(h.guest[a].weight, 240);
    assert_int_equal(h.guest[b].weight, 240);
    assert_int_equal(h.guest[c].weight, 480);
}

/* One that needs little leaves the rest to the other, whatever its shares. */
static void test_idle_shares_are_used(void **unused)
{
    unsigned a = ph_guest(&h, 512, 256, 512), b = ph_guest(&h, 512, 256, 512);
    (void)unused;
    h.env[0].shares = 1000;
    second_environment(10);
    h.guest[b].env = h.env[1].id;
    h.guest[b].vcpus = 4;
    ph_open(&h);
    h.pct[a] = 10;
    h.pct[b] = 350;
    h.steal[b] = 50;
    ph_run(&h, 30);
    assert_true(ph_view(&h, a).entitlement_pct < 20);
    assert_true(ph_view(&h, b).entitlement_pct > 355);
}

/* ---- following a load ---- */

static void test_range(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    double e;
    (void)unused;
    ph_open(&h);
    h.pct[g] = 23;
    ph_run(&h, 20);
    e = ph_view(&h, g).entitlement_pct;
    assert_true(near(e, 40)); /* the middle of the range: 23 ÷ 0.575 */
    h.pct[g] = 29;            /* 0.725 */
    ph_run(&h, 20);
    assert_true(near(ph_view(&h, g).entitlement_pct, e));
    h.pct[g] = 17; /* 0.425 */
    ph_run(&h, 20);
    assert_true(near(ph_view(&h, g).entitlement_pct, e));
    h.pct[g] = 31; /* 0.775, for less than three of five */
    ph_run(&h, 2);
    h.pct[g] = 29;
    ph_run(&h, 4);
    assert_true(near(ph_view(&h, g).entitlement_pct, e));
    h.pct[g] = 31;
    ph_run(&h, 2);
    assert_true(near(ph_view(&h, g).entitlement_pct, e));
    ph_evaluate(&h);
    assert_true(near(ph_view(&h, g).entitlement_pct, 2 * e)); /* above: doubled */
    assert_int_equal(h.guest[g].weight, lround(2 * e * 2.56));
    h.pct[g] =
        190; /* doubling isn't enough: to the middle of the range, and never beyond its VCPUs */
    ph_run(&h, 4);
    assert_true(near(ph_view(&h, g).entitlement_pct, 200));
}

/* A load that ended is followed within the ten evaluations that are remembered, and three. */
static void test_follows_down(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    ph_open(&h);
    h.pct[g] = 150;
    ph_run(&h, 20);
    assert_true(ph_view(&h, g).entitlement_pct > 150);
    h.pct[g] = 5;
    ph_run(&h, 9);
    assert_true(ph_view(&h, g).entitlement_pct > 150);
    ph_run(&h, 4);
    assert_true(near(ph_view(&h, g).entitlement_pct, 5 / 0.575));
    h.pct[g] = 0;
    ph_run(&h, 20);
    assert_true(near(ph_view(&h, g).entitlement_pct, 5)); /* never less than this */
    assert_int_equal(h.guest[g].weight, 13);
}

/* Down to the peak of what is remembered, whatever the moment. */
static void test_follows_down_to_the_peak(void **unused)
{
    (void)unused;
    for (unsigned phase = 0; phase < 2; phase++) {
        unsigned g;
        set_up(NULL);
        g = ph_guest(&h, 512, 256, 512);
        ph_open(&h);
        h.pct[g] = 150;
        ph_run(&h, 20);
        h.t.weights = 0;
        for (unsigned i = 0; i < 30; i++) {
            h.pct[g] = (i + phase) & 1 ? 5 : 20;
            ph_evaluate(&h);
        }
        assert_true(near(ph_view(&h, g).entitlement_pct, 20 / 0.575));
        assert_int_equal(h.t.weights, 1); /* at once, not down too far and up again */
        ph_close(&h);
    }
}

/* Weight changes in 500 evaluations, when 30 have gone by. */
static unsigned changes(double (*load)(unsigned i, struct vi_rng *rng), bool report)
{
    struct vi_rng rng;
    unsigned g, n;
    set_up(NULL);
    vi_rng_seed(&rng, 3);
    g = ph_guest(&h, 512, 256, 512);
    h.guest[g].report = report;
    ph_open(&h);
    for (unsigned i = 0; i < 530; i++) {
        h.pct[g] = load(i, &rng);
        ph_evaluate(&h);
        if (i == 29)
            h.t.weights = 0;
    }
    n = h.t.weights;
    ph_close(&h);
    return n;
}

static double every_other(unsigned i, struct vi_rng *rng)
{
    (void)rng;
    return i & 1 ? 12 : 5;
}
static double slow(unsigned i, struct vi_rng *rng)
{
    (void)rng;
    return i % 8 < 4 ? 12 : 3;
}
static double idle(unsigned i, struct vi_rng *rng)
{
    (void)rng;
    return i % 6 < 3 ? 4.5 : 0.5;
}
static double any(unsigned i, struct vi_rng *rng)
{
    (void)i;
    return vi_rng_unit(rng) * 12;
}
static double all_or_nothing(unsigned i, struct vi_rng *rng)
{
    (void)rng;
    return i & 1 ? 0 : 160;
}

static void test_small_loads_do_not_flap(void **unused)
{
    (void)unused;
    for (int report = 0; report < 2; report++) {
        assert_int_equal(changes(every_other, report), 0);
        assert_int_equal(changes(slow, report), 0);
        assert_int_equal(changes(idle, report), 0);
        assert_int_equal(changes(all_or_nothing, report), 0);
        assert_in_range(changes(any, report), 0, 5);
    }
}

static void test_small_differences_stay(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    h.guest[g].vcpus = 1;
    ph_open(&h);
    h.pct[g] = 100;
    h.guest[g].weight = 245; /* 256 is less than 5 % more */
    ph_run(&h, 10);
    assert_int_equal(h.t.weights, 0);
    h.guest[g].weight = 243;
    ph_evaluate(&h);
    assert_int_equal(h.t.weights, 1);
    assert_int_equal(h.t.weight.weight, 256);
    assert_int_equal(h.t.weight.domid, h.guest[g].domid);
}

/* Use at the entitlement, without a report, may hide any demand. */
static void test_without_report(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    h.cfg.range_high = 0.99;
    h.guest[g].report = false;
    ph_open(&h);
    h.pct[g] = 40;
    ph_run(&h, 20);
    h.pct[g] = ph_view(&h, g).entitlement_pct * 0.985;
    ph_run(&h, 3);
    assert_true(ph_view(&h, g).entitlement_pct > 1.9 * h.pct[g]);
}

static void test_left_alone(void **unused)
{
    unsigned frozen = ph_guest(&h, 512, 256, 512), paused = ph_guest(&h, 512, 256, 512);
    (void)unused;
    h.guest[frozen].frozen = true;
    h.guest[paused].running = false;
    ph_open(&h);
    h.pct[frozen] = 150;
    ph_run(&h, 20);
    assert_int_equal(h.t.weights, 0);
    assert_true(near(ph_view(&h, paused).entitlement_pct, 0));
    h.guest[frozen].frozen = false;
    ph_evaluate(&h);
    assert_int_equal(h.t.weights, 1);
}

static void test_weight_has_bounds(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    h.s.cpus = 1024;
    h.guest[g].vcpus = 512;
    ph_open(&h);
    h.pct[g] = 51200;
    ph_run(&h, 10);
    assert_int_equal(h.guest[g].weight, 65535);
    h.s.cpus = 0; /* a host that tells nothing of itself */
    ph_run(&h, 10);
    assert_int_equal(h.guest[g].weight, 1);
}

static void test_observing(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    h.cfg.automatic = false;
    ph_open(&h);
    h.pct[g] = 23;
    ph_run(&h, 20);
    assert_int_equal(h.t.weights, 0);
    assert_true(h.t.of_kind[POLICY_WEIGHT] > 0);
    assert_false(h.t.decision[POLICY_WEIGHT].done);
    policy_set_automatic(h.p, true);
    ph_evaluate(&h);
    assert_int_equal(h.t.weights, 1);
    assert_true(h.t.decision[POLICY_WEIGHT].done);
    assert_int_equal(h.t.weight.weight, 102); /* what it would have been all the time */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_divide),
        cmocka_unit_test(test_divide_is_fair),
        cmocka_unit_test_setup_teardown(test_three_to_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_newcomer_gets_its_part, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_environment_divides_its_shares, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_idle_shares_are_used, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_follows_down, set_up, tear_down),
        cmocka_unit_test(test_follows_down_to_the_peak),
        cmocka_unit_test_setup_teardown(test_small_loads_do_not_flap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_small_differences_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_report, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_weight_has_bounds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_observing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
