/* What a host tells of itself and of its domain: order, sums, what is counted and what is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "tests/sim/policy_host.h"

static struct policy_host h;

static struct survey_host host(unsigned n, uint64_t free_mib, double demand, bool foreign, bool observes)
{
    struct survey_host s = {.id = ph_id('p', n), .foreign = foreign};
    s.load.total_kb = 1000 * PH_MIB;
    s.load.free_kb = free_mib * PH_MIB;
    s.load.capacity_pct = 400;
    s.load.demand_pct = demand;
    s.load.observes = observes;
    return s;
}

static void test_hosts_by_what_is_scarcer(void **unused)
{
    struct survey_host all[] = {
        host(0, 900, 390, false, false), /* memory, but no CPU */
        host(1, 500, 200, false, false), host(2, 600, 100, false, false), host(3, 1000, 0, false, true), /* only looks on */
        host(4, 0, 400, true, true),     /* has guests of others: counted against limits */
        host(5, 20, 0, false, false)};
    struct vi_id out[6];
    unsigned n = survey_hosts(all, 6, out, 6);
    static const unsigned order[] = {4, 2, 1, 0, 5};
    (void)unused;
    assert_int_equal(n, 5);
    for (unsigned i = 0; i < n; i++) {
        struct vi_id id = ph_id('p', order[i]);
        assert_true(vi_id_equal(&out[i], &id));
    }
    assert_int_equal(survey_hosts(all, 5, out, 2), 2);
    assert_int_equal(survey_hosts(all, 0, out, 2), 0);
}

static void test_domains_that_might_have_room(void **unused)
{
    struct survey_domain all[] = {{ph_id('d', 0), 4000, 1000, 700},   /* CPU for 300 */
                                  {ph_id('d', 1), 9000, 1000, 900},   /* too little CPU */
                                  {ph_id('d', 2), 900, 1000, 0},      /* too little memory */
                                  {ph_id('d', 3), 2500, 1000, 100}};
    struct vi_id out[4], want[] = {ph_id('d', 3), ph_id('d', 0)};
    (void)unused;
    assert_int_equal(survey_domains(all, 4, 1000, 200, out, 4), 2);
    assert_true(vi_id_equal(&out[0], &want[0]) && vi_id_equal(&out[1], &want[1]));
    assert_int_equal(survey_domains(all, 4, 1000, 200, out, 1), 1);
    assert_int_equal(survey_domains(all, 4, 0, 0, out, 4), 4);
    assert_int_equal(survey_domains(all, 0, 0, 0, out, 4), 0);
}

static void test_a_domain_in_sum(void **unused)
{
    struct survey_total t = {0};
    struct survey_host a = host(0, 100, 50, false, false), b = host(1, 200, 500, false, false);
    (void)unused;
    survey_add(&t, &a.load);
    survey_add(&t, &b.load);
    assert_true(t.capacity_pct > 799 && t.capacity_pct < 801 && t.demand_pct > 549 && t.demand_pct < 551);
    assert_int_equal(t.total_kb, 2000 * PH_MIB);
    assert_int_equal(t.free_kb, 300 * PH_MIB);
}

/* Thirty guests of two environments: the smallest are told of, all are counted; leases and promises are told apart. */
static void test_this_host(void **unused)
{
    static struct survey_guest g[30];
    struct envmove_seen seen;
    struct vi_id none = {{0}}, homes[] = {ph_id('d', 0), ph_id('d', 1)};
    (void)unused;
    ph_init(&h);
    for (unsigned i = 0; i < 30; i++) {
        unsigned k = ph_guest(&h, 100 + i, 60, 100 + i);
        h.pct[k] = 10;
        g[i] = (struct survey_guest){.uuid = h.guest[k].uuid, .env = ph_id('e', i % 2), .home = homes[i % 2],
                                     .current_kb = h.guest[k].current_kb, .target_kb = h.guest[k].target_kb,
                                     .movable = i != 4, .running = true};
    }
    ph_open(&h);
    ph_run(&h, 4);
    survey_look(h.p, h.now, 7 * PH_MIB, 50, g, 30, &none, &homes[1], &seen);
    assert_int_equal(seen.n, ENVMOVE_SEEN);
    assert_int_equal(seen.more, 10);
    assert_int_equal(seen.of_home.guests, 15);
    assert_int_equal(seen.free_kb, (int64_t)(policy_own_load(h.p)->free_kb + 7 * PH_MIB));
    assert_true(seen.free_pct > 375 - 50 - 300 - 1 && seen.free_pct < 375 - 50 - 300 + 1);
    for (unsigned i = 0; i < seen.n; i++) {
        assert_int_equal(seen.guest[i].size_kb, (100 + i) * PH_MIB);
        assert_int_equal(seen.guest[i].movable, i != 4);
        assert_int_equal(seen.guest[i].age, 3 * h.cfg.period);
    }
    survey_look(h.p, h.now, 0, 0, g, 30, &g[1].env, &none, &seen);
    assert_int_equal(seen.n, 15);
    assert_int_equal(seen.more, 0);
    assert_int_equal(seen.of_home.guests, 0);
    ph_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts_by_what_is_scarcer), cmocka_unit_test(test_domains_that_might_have_room),
        cmocka_unit_test(test_a_domain_in_sum), cmocka_unit_test(test_this_host)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
