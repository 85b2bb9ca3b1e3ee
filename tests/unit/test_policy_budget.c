/* An environment's hourly budget of moves, over all hosts that it is on: what others do counts, what was before is asked for,
 * and when few are left the hosts take turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "policy/internal.h"
#include "tests/sim/policy_host.h"

static struct policy_host h;
static struct policy_place place[40];

static int set_up(void **unused)
{
    (void)unused;
    ph_init(&h);
    h.cfg.moves_per_hour = 6;
    h.s.self = ph_id('h', 50);
    h.s.rules = (struct policy_rules){.place = place};
    ph_guest(&h, 256, 128, 256);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    ph_close(&h);
    return 0;
}

static void hosts(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        place[i] = (struct policy_place){.env = h.env[0].id, .guest = ph_id('x', i), .host = ph_id('h', 10 + i), .epoch = 1};
        policy_rule_tag(&place[i].guest, place[i].tag);
    }
    h.s.rules.n_places = n;
}

static const char *refused(void)
{
    return policy_budget_refuses(h.p, h.now, &h.env[0].id);
}

/* Whoever moved them: a guest's epoch says so. */
static void test_others_count(void **unused)
{
    (void)unused;
    hosts(2);
    ph_open(&h);
    ph_evaluate(&h);
    assert_null(refused());
    for (unsigned i = 0; i < 3; i++) {
        place[i % 2].epoch += 2;
        place[i % 2].host = ph_id('h', 10 + i % 2);
        ph_evaluate(&h);
    }
    assert_non_null(strstr(refused(), "used up"));
    h.now += VI_HOUR;
    ph_evaluate(&h);
    assert_null(refused());
}

/* One that is seen for the first time may have moved before: that is no move of now, and a nonsense epoch is none either. */
static void test_first_sight(void **unused)
{
    (void)unused;
    hosts(2);
    place[0].epoch = 900;
    ph_open(&h);
    ph_evaluate(&h);
    place[1].epoch = UINT64_MAX;
    ph_evaluate(&h);
    assert_null(refused());
}

/* Who comes counts, and what the host that it came from has seen; nothing twice. */
static void test_heard_of(void **unused)
{
    uint8_t q[POLICY_MOVES], a[POLICY_MOVES];
    struct policy *other;
    int n;
    (void)unused;
    ph_open(&h);
    other = policy_new(&h.cfg, &h.rng, h.now);
    ph_evaluate(&h);
    for (unsigned i = 0; i < 5; i++)
        policy_budget_spent(other, h.now, &h.env[0].id, h.now - i * VI_MIN * 5 - VI_SEC);
    policy_budget_spent(other, h.now, &h.env[0].id, h.now - 2 * VI_HOUR);
    policy_budget_spent(h.p, h.now, &h.env[0].id, h.now); /* it came: the latest of those */
    n = policy_moves_ask(&h.env[0].id, q);
    n = policy_moves_tell(other, h.now, q, (size_t)n, a);
    assert_true(n > 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(policy_moves_heard(h.p, h.now, &h.env[0].id, a, (size_t)n), 0);
        assert_null(refused()); /* five of six */
    }
    policy_budget_spent(h.p, h.now, &h.env[0].id, h.now);
    assert_non_null(refused());
    for (int i = 0; i < n; i++)
        assert_int_equal(policy_moves_heard(h.p, h.now, &h.env[0].id, a, (size_t)i), VI_EPROTO);
    q[1] ^= 2;
    assert_int_equal(policy_moves_tell(other, h.now, q, 20, a), VI_EPROTO);
    policy_free(other);
}

/* Others ask about environments that aren't here: that is no reason to forget those that are. */
static void test_asked_of_others(void **unused)
{
    uint8_t q[POLICY_MOVES], a[POLICY_MOVES];
    struct vi_id env;
    int n;
    (void)unused;
    ph_open(&h);
    for (unsigned e = 0; e < POLICY_ENVS; e++) {
        env = ph_id('e', e);
        policy_budget_spent(h.p, h.now, &env, h.now - VI_MIN - e);
    }
    for (unsigned e = POLICY_ENVS; e < 3 * POLICY_ENVS; e++) {
        env = ph_id('e', e);
        n = policy_moves_ask(&env, q);
        n = policy_moves_tell(h.p, h.now, q, (size_t)n, a);
        assert_int_equal(n, 1);
        assert_int_equal(a[0], 0x90);
    }
    for (unsigned e = 0; e < POLICY_ENVS; e++) {
        env = ph_id('e', e);
        n = policy_moves_ask(&env, q);
        assert_true(policy_moves_tell(h.p, h.now, q, (size_t)n, a) > 1);
    }
}

/* However many are told of, there are so many places; the oldest give way, and the count is what it is. */
static void test_bound(void **unused)
{
    (void)unused;
    ph_open(&h);
    for (unsigned i = 0; i < 1000; i++)
        policy_budget_spent(h.p, h.now, &h.env[0].id, h.now - (i * 7 % 100) * VI_MIN);
    assert_non_null(refused());
    h.now += 2 * VI_HOUR;
    assert_null(refused());
}

/* With more hosts than moves are left: in turns, never more at a time than are left, and each has its turn. */
static void test_turns(void **unused)
{
    unsigned at_once[200] = {0}, had[10] = {0};
    (void)unused;
    for (unsigned self = 0; self < 10; self++) {
        struct vi_id all[10];
        set_up(NULL);
        h.cfg.moves_per_hour = 3;
        hosts(10);
        for (unsigned i = 0; i < 10; i++)
            all[i] = place[i].host;
        h.s.self = all[self];
        place[self] = place[9];
        h.s.rules.n_places = 9;
        ph_open(&h);
        ph_evaluate(&h);
        policy_budget_spent(h.p, h.now, &h.env[0].id, h.now);
        for (unsigned m = 0; m < 200; m++) {
            bool may = !policy_budget_refuses(h.p, h.now + m * 15 * VI_SEC, &h.env[0].id);
            at_once[m] += may;
            had[self] += may;
        }
        ph_close(&h);
    }
    for (unsigned m = 0; m < 200; m++)
        assert_in_range(at_once[m], 0, 2);
    for (unsigned m = 0; m < 16; m++)
        assert_int_equal(at_once[m], 0); /* what was begun before is over first */
    for (unsigned i = 0; i < 10; i++)
        assert_true(had[i] > 0);
}

/* The core itself: guests that are told to go again and again, here and elsewhere. */
static void test_kept_by_moves(void **unused)
{
    (void)unused;
    h.s.n_guests = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned g = ph_guest(&h, 256, 128, 256);
        h.pct[g] = 95;
        h.steal[g] = 60;
    }
    ph_peer(&h, 12000, 10);
    hosts(2);
    ph_open(&h);
    for (unsigned i = 0; i < 12 * 30; i++) {
        unsigned before = h.t.moves;
        ph_evaluate(&h);
        ph_answer(&h, 0, true);
        if (i % 60 == 59)
            place[0].epoch++; /* somebody else's */
        for (unsigned g = 0; h.t.moves > before && g < h.s.n_guests; g++)
            if (vi_id_equal(&h.guest[g].uuid, &h.t.move.guest)) {
                ph_moved(&h, g, 0, 0);
                h.guest[g].uuid = ph_id('n', i); /* and another one begins */
            }
    }
    assert_in_range(h.t.moves, 3, 6);
    assert_non_null(strstr(h.t.decision[POLICY_REFUSE].text, "used up"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_others_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_first_sight, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_heard_of, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_asked_of_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bound, set_up, tear_down),
        cmocka_unit_test(test_turns),
        cmocka_unit_test_setup_teardown(test_kept_by_moves, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
