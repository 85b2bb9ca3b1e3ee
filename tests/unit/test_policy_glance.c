/* A host that is wanted much more of than it has: it looks again before its next evaluation, and several guests leave at
 * once; one that only flared up, or is a bit short, takes its time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/sim/policy_host.h"

#define PERIOD (5 * VI_SEC)

static struct policy_host h;

/* Ten guests that want a fifth of a CPU each, of 375 % that there are; and twelve idle hosts. */
static int set_up(void **unused)
{
    (void)unused;
    ph_init(&h);
    for (unsigned i = 0; i < 10; i++) {
        unsigned g = ph_guest(&h, 256, 150, 256);
        h.guest[g].vcpus = 1;
        h.guest[g].env = ph_id('e', g);
        h.pct[g] = 20;
    }
    for (unsigned i = 0; i < 12; i++)
        ph_peer(&h, 8000, 50);
    ph_open(&h);
    ph_run(&h, 4);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    ph_close(&h);
    return 0;
}

/* The host goes on to its next look; returns after how long that was. */
static vi_time next_look(void)
{
    vi_time span = policy_deadline(h.p) - h.now;
    h.cfg.period = span;
    ph_evaluate(&h);
    return span;
}

static void want(unsigned n, double pct)
{
    for (unsigned i = 0; i < n; i++) {
        h.pct[i] = pct * 0.6;
        h.steal[i] = pct * 0.4;
    }
}

/* Those that were asked last say yes. */
static void say_yes(void)
{
    struct vi_id to[3];
    unsigned n = h.t.probes;
    for (unsigned i = 0; i < 3; i++)
        to[i] = h.t.probe[(n - 3 + i) % 4].peer;
    for (unsigned i = 0; i < 3; i++)
        for (unsigned k = 0; k < h.n_peers; k++)
            if (vi_id_equal(&h.peer[k].id, &to[i]))
                ph_answer(&h, k, true);
}

/* More than half as much again as there is: two looks are enough. */
static void test_very_short(void **unused)
{
    (void)unused;
    want(6, 90); /* 620 of 375 */
    assert_int_equal(next_look(), PERIOD);
    assert_int_equal(h.t.probes, 0);
    assert_int_equal(next_look(), PERIOD / 5);
    assert_int_equal(h.t.probes, 3);
}

static void test_looks_again_soon(void **unused)
{
    (void)unused;
    want(4, 90); /* 480 of 375 */
    assert_int_equal(next_look(), PERIOD);
    assert_int_equal(h.t.probes, 0);
    assert_int_equal(next_look(), PERIOD / 5);
    assert_int_equal(h.t.probes, 0);
    assert_int_equal(next_look(), PERIOD / 5); /* the third time: k of n, as ever */
    assert_int_equal(h.t.probes, 3);
    assert_int_equal(next_look(), PERIOD - 2 * PERIOD / 5); /* the full evaluation where it would have been */
    assert_int_equal(next_look(), PERIOD);
}

static void test_a_flare_moves_nobody(void **unused)
{
    (void)unused;
    want(6, 90);
    (void)next_look();
    want(10, 20);
    assert_int_equal(next_look(), PERIOD / 5);
    for (unsigned i = 0; i < 20; i++)
        assert_true(next_look() >= PERIOD - PERIOD / 5);
    assert_int_equal(h.t.probes, 0);
}

static void test_a_bit_short_takes_its_time(void **unused)
{
    (void)unused;
    want(10, 40); /* 400 of 375 */
    assert_int_equal(next_look(), PERIOD);
    assert_int_equal(next_look(), PERIOD);
    assert_int_equal(h.t.probes, 0);
    assert_int_equal(next_look(), PERIOD);
    assert_int_equal(h.t.probes, 3);
    say_yes();
    assert_int_equal(h.t.moves, 1);
    assert_int_equal(h.t.probes, 3); /* one at a time */
}

static void test_several_leave_at_once(void **unused)
{
    static struct policy_effect move[4];
    (void)unused;
    want(6, 90);
    for (unsigned i = 0; i < 2; i++)
        (void)next_look();
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(h.t.probes, 3 * (i + 1));
        assert_int_equal(h.t.moves, i);
        say_yes();
        assert_int_equal(h.t.moves, i + 1);
        move[i] = h.t.move;
        assert_true(move[i].needs.pct > 85); /* the large ones: few moves */
        for (unsigned k = 0; k < i; k++)
            assert_false(vi_id_equal(&move[i].guest, &move[k].guest));
        for (unsigned g = 0; g < 10; g++)
            h.guest[g].frozen |= vi_id_equal(&h.guest[g].uuid, &move[i].guest);
    }
    assert_int_equal(h.t.probes, 9); /* three at most: 620 - 3 × 90 = 350 is all that is needed, besides */
    (void)next_look();
    assert_int_equal(h.t.probes, 9);
}

/* Of one environment only one at a time leaves a host: its hourly budget is counted so. */
static void test_one_of_an_environment(void **unused)
{
    (void)unused;
    for (unsigned g = 0; g < 10; g++)
        h.guest[g].env = ph_id('e', 0);
    want(6, 90);
    for (unsigned i = 0; i < 2; i++)
        (void)next_look();
    say_yes();
    assert_int_equal(h.t.moves, 1);
    assert_int_equal(h.t.probes, 3);
}

/* Four would have to leave: the fourth goes as soon as one has left. */
static void test_the_next_follows(void **unused)
{
    unsigned first = 10;
    (void)unused;
    want(8, 90); /* 760 of 375 */
    for (unsigned i = 0; i < 2; i++)
        (void)next_look();
    for (unsigned i = 0; i < 3; i++) {
        say_yes();
        for (unsigned g = 0; g < 10; g++)
            if (vi_id_equal(&h.guest[g].uuid, &h.t.move.guest)) {
                h.guest[g].frozen = true;
                first = i ? first : g;
            }
    }
    assert_int_equal(h.t.moves, 3);
    assert_int_equal(h.t.probes, 9);
    ph_moved(&h, first, 0, 0);
    assert_int_equal(h.t.probes, 12);
}

static void test_a_refused_one_is_not_the_last(void **unused)
{
    (void)unused;
    want(6, 90);
    for (unsigned i = 0; i < 2; i++)
        (void)next_look();
    for (unsigned i = 0; i < 3; i++)
        for (unsigned k = 0; k < h.n_peers; k++)
            if (vi_id_equal(&h.peer[k].id, &h.t.probe[i].peer))
                ph_answer(&h, k, false);
    assert_int_equal(h.t.moves, 0);
    assert_int_equal(h.t.probes, 6); /* another guest, three hosts again */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_very_short, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_looks_again_soon, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_flare_moves_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_bit_short_takes_its_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_several_leave_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_of_an_environment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_next_follows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_refused_one_is_not_the_last, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
