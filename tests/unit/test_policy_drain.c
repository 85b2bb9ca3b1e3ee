/* Draining: every guest that can leaves, the largest first, a few at a time; nobody comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "tests/sim/policy_host.h"

static struct policy_host h;
static unsigned small, large, middle, fixed;

static int set_up(void **unused)
{
    (void)unused;
    ph_init(&h);
    small = ph_guest(&h, 256, 128, 512);
    large = ph_guest(&h, 1024, 512, 1024);
    middle = ph_guest(&h, 512, 256, 512);
    fixed = ph_guest(&h, 2048, 1024, 2048);
    h.guest[fixed].movable = false;
    snprintf(h.guest[fixed].why_not, sizeof h.guest[fixed].why_not, "a device is passed through");
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    ph_close(&h);
    return 0;
}

static bool goes(unsigned guest)
{
    return h.t.moves && vi_id_equal(&h.t.move.guest, &h.guest[guest].uuid);
}

/* The daemon freezes a guest that is being handed over. */
static void gone(unsigned guest, unsigned peer, int err)
{
    ph_moved(&h, guest, peer, err);
    if (!err)
        h.guest[guest].running = false;
}

static void test_all_leave(void **unused)
{
    unsigned a = ph_peer(&h, 8000, 100), b = ph_peer(&h, 9000, 50), c = ph_peer(&h, 12000, 10);
    (void)unused;
    h.cfg.automatic = false; /* an order is carried out all the same */
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(h.t.moves, 0);
    policy_set_draining(h.p, h.now, true);
    ph_evaluate(&h);
    assert_int_equal(h.t.moves, 2); /* the large one, then the middle one, to different hosts */
    assert_true(goes(middle));
    assert_true(h.t.decision[POLICY_MOVE].done);
    assert_non_null(strstr(h.t.decision[POLICY_MOVE].text, "drained"));
    assert_string_equal(ph_choice(&h, large, c), "chosen: the least utilised");
    assert_string_equal(ph_choice(&h, middle, c), "another guest goes there just now");
    assert_string_equal(ph_choice(&h, middle, b), "chosen: the least utilised");
    h.guest[large].frozen = h.guest[middle].frozen = true;
    ph_run(&h, 3);
    assert_int_equal(h.t.moves, 2);
    h.guest[large].frozen = h.guest[middle].frozen = false;
    gone(large, c, 0);
    gone(middle, b, 0);
    ph_evaluate(&h);
    assert_int_equal(h.t.moves, 3);
    assert_true(goes(small));
    gone(small, a, 0);
    ph_run(&h, 5);
    assert_int_equal(h.t.moves, 3); /* the last one can't */
    assert_non_null(strstr(h.t.decision[POLICY_REFUSE].text, "passed through"));
}

static void test_nowhere(void **unused)
{
    unsigned full = ph_peer(&h, 100, 0), drained = ph_peer(&h, 9000, 0);
    (void)unused;
    h.peer[drained].load.draining = true;
    ph_open(&h);
    policy_set_draining(h.p, h.now, true);
    ph_run(&h, 3);
    assert_int_equal(h.t.moves, 0);
    assert_true(h.t.of_kind[POLICY_REFUSE] > 0);
    assert_string_equal(ph_choice(&h, large, full), "not enough free memory there");
    assert_string_equal(ph_choice(&h, large, drained), "it is being drained");
    h.peer[drained].load.draining = false;
    ph_evaluate(&h);
    assert_int_equal(h.t.moves, 1); /* one a host and evaluation */
    assert_true(goes(large));
}

static void test_failed_offer_rests(void **unused)
{
    unsigned a = ph_peer(&h, 9000, 0);
    (void)unused;
    ph_open(&h);
    policy_set_draining(h.p, h.now, true);
    ph_evaluate(&h);
    assert_true(goes(large));
    gone(large, a, VI_EREFUSED);
    ph_evaluate(&h);
    assert_true(goes(middle)); /* the next meanwhile */
    h.guest[middle].frozen = true;
    ph_run(&h, 20);
    assert_true(goes(large) || goes(small));
    assert_true(h.t.moves >= 3);
}

static void test_nobody_comes(void **unused)
{
    struct policy_needs needs = {.kb = 100 * PH_MIB, .pct = 1};
    struct policy_load l;
    char why[120];
    (void)unused;
    ph_open(&h);
    ph_evaluate(&h);
    assert_int_equal(policy_can_take(h.p, &needs, 0, 0, 0, why, sizeof why), 0);
    policy_set_draining(h.p, h.now, true);
    assert_int_equal(policy_can_take(h.p, &needs, 0, 0, 0, why, sizeof why), VI_EAGAIN);
    assert_non_null(strstr(why, "drained"));
    ph_evaluate(&h);
    assert_int_equal(policy_summary_decode(&l, h.t.summary.data, h.t.summary.len), 0);
    assert_true(l.draining && !l.observes);
    policy_set_draining(h.p, h.now, false);
    ph_evaluate(&h);
    assert_int_equal(policy_can_take(h.p, &needs, 0, 0, 0, why, sizeof why), 0);
    assert_int_equal(policy_summary_decode(&l, h.t.summary.data, h.t.summary.len), 0);
    assert_false(l.draining);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_leave, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nowhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failed_offer_rests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nobody_comes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
