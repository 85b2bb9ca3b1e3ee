/* Placement "pack": who empties itself, where the guests go, and when it doesn't. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "tests/sim/policy_host.h"

static struct policy_host h;
static unsigned a, b;

/* Two small guests: 40 of 375 %. */
static int set_up(void **unused)
{
    (void)unused;
    ph_init(&h);
    h.cfg.pack = true;
    h.s.self = ph_id('p', 500);
    a = ph_guest(&h, 256, 128, 256);
    b = ph_guest(&h, 256, 128, 256);
    h.pct[a] = 25;
    h.pct[b] = 15;
    h.env[1].id = ph_id('e', 1); /* of one environment one leaves at a time */
    h.env[1].shares = 100;
    h.s.n_envs = 2;
    h.guest[b].env = h.env[1].id;
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    ph_close(&h);
    return 0;
}

static unsigned host(double lasting, uint64_t free_mib)
{
    unsigned n = ph_peer(&h, free_mib, lasting);
    h.peer[n].load.lasting_known = h.peer[n].load.packs = true;
    h.peer[n].load.lasting_pct = lasting;
    h.peer[n].load.spread_pct = 10;
    h.peer[n].load.guests = 3;
    return n;
}

static void half_an_hour(void)
{
    for (unsigned k = 0; k < 360 && !h.t.moves; k++)
        ph_evaluate(&h);
}

static void test_to_the_fullest_that_fits(void **unused)
{
    unsigned full = host(350, 9000), to = host(200, 9000), light = host(60, 9000);
    (void)unused;
    ph_open(&h);
    half_an_hour();
    assert_int_equal(h.t.moves, 2); /* both at once */
    assert_true(vi_id_equal(&h.t.move.peer, &h.peer[to].id));
    assert_non_null(strstr(h.t.decision[POLICY_MOVE].text, "so that this host can be switched off"));
    assert_true(h.now > VI_HOUR + 10 * VI_MIN); /* not before it knows itself */
    (void)full;
    (void)light;
}

static void nobody_leaves(void)
{
    ph_open(&h);
    half_an_hour();
    assert_int_equal(h.t.moves + h.t.probes, 0);
}

static void test_balance_stays(void **unused)
{
    (void)unused;
    host(200, 9000);
    h.cfg.pack = false;
    nobody_leaves();
}

/* All or nobody: the second has no place. */
static void test_not_all_fit(void **unused)
{
    (void)unused;
    host(200, 300);
    nobody_leaves();
}

static void test_one_may_not_leave(void **unused)
{
    (void)unused;
    host(200, 9000);
    h.guest[b].movable = false;
    strcpy(h.guest[b].why_not, "it is pinned to this host");
    nobody_leaves();
}

static void test_only_onto_fuller(void **unused)
{
    (void)unused;
    host(20, 9000);
    nobody_leaves();
}

/* The larger host stays, however little it has to do. */
static void test_onto_the_largest(void **unused)
{
    unsigned fuller = host(200, 9000), large = host(30, 9000);
    (void)unused;
    h.peer[large].load.capacity_pct = 800;
    ph_open(&h);
    half_an_hour();
    assert_int_equal(h.t.moves, 2);
    assert_true(vi_id_equal(&h.t.move.peer, &h.peer[large].id));
    (void)fuller;
}

static void test_not_onto_smaller(void **unused)
{
    (void)unused;
    h.peer[host(150, 9000)].load.capacity_pct = 200;
    nobody_leaves();
}

/* Full on the mean with them, or too near to its capacity for its swings. */
static void test_head_room(void **unused)
{
    unsigned n = host(350, 9000);
    (void)unused;
    nobody_leaves();
    ph_close(&h);
    h.peer[n].load.lasting_pct = h.peer[n].load.demand_pct = 200;
    h.peer[n].load.spread_pct = 130;
    nobody_leaves();
}

static void test_unfit_members(void **unused)
{
    (void)unused;
    h.peer[host(200, 9000)].load.packs = false;
    h.peer[host(200, 9000)].load.draining = true;
    h.peer[host(200, 9000)].load.guests = 0;
    h.peer[host(200, 9000)].load.observes = true;
    h.peer[host(200, 9000)].age = VI_MIN;
    nobody_leaves();
}

static void test_observing(void **unused)
{
    (void)unused;
    host(200, 9000);
    h.cfg.automatic = false;
    nobody_leaves();
    assert_true(h.t.of_kind[POLICY_MOVE] > 0);
    assert_false(h.t.decision[POLICY_MOVE].done);
}

/* What was begun goes on until the host is empty, and it says in its summary that it packs. */
static void test_goes_on(void **unused)
{
    unsigned to = host(200, 9000);
    struct policy_load l;
    (void)unused;
    h.pct[ph_guest(&h, 256, 128, 256)] = 5;
    ph_open(&h);
    half_an_hour();
    assert_int_equal(h.t.moves, 2);
    ph_moved(&h, a, to, 0);
    ph_moved(&h, b, to, 0);
    h.guest[0] = h.guest[2];
    h.s.n_guests = 1;
    h.pct[0] = 5;
    ph_evaluate(&h);
    assert_int_equal(h.t.moves, 3);
    assert_true(vi_id_equal(&h.t.move.guest, &h.guest[0].uuid));
    ph_moved(&h, 2, to, 0);
    h.s.n_guests = 0;
    ph_evaluate(&h);
    assert_int_equal(policy_summary_decode(&l, h.t.summary.data, h.t.summary.len), 0);
    assert_true(l.packs && l.guests == 0);
}

/* The balance rule comes to an empty host last. */
static void test_empty_last(void **unused)
{
    unsigned empty = host(0, 16000), used = host(100, 9000);
    (void)unused;
    h.peer[empty].load.guests = 0;
    h.pct[a] = h.pct[b] = 187.5;
    h.steal[a] = h.steal[b] = 62.5;
    h.guest[a].vcpus = h.guest[b].vcpus = 4;
    ph_open(&h);
    ph_run(&h, 12);
    assert_true(ph_probed(&h, used) && !ph_probed(&h, empty));
    ph_close(&h);
    h.peer[used].load.free_kb = 0;
    memset(&h.t, 0, sizeof h.t);
    ph_open(&h);
    ph_run(&h, 12);
    assert_true(ph_probed(&h, empty));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_to_the_fullest_that_fits), T(test_balance_stays),    T(test_not_all_fit),      T(test_one_may_not_leave),
        T(test_only_onto_fuller),         T(test_onto_the_largest), T(test_not_onto_smaller), T(test_head_room),
        T(test_unfit_members),            T(test_observing),        T(test_goes_on),          T(test_empty_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
