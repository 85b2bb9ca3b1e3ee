/* What is preferred among equals: priorities, companions, traffic; and when traffic moves a guest by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/sim/policy_host.h"

static struct policy_host h;
static struct policy_place place[8];
static struct policy_talk talk[8];

static int set_up(void **unused)
{
    (void)unused;
    ph_init(&h);
    h.s.self = ph_id('h', 0);
    h.s.rules = (struct policy_rules){.place = place};
    h.s.talks = talk;
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    ph_close(&h);
    return 0;
}

/* A guest elsewhere whose id is higher or lower than any here. */
static struct vi_id elsewhere(char kind, unsigned n, unsigned peer)
{
    struct policy_place *p = &place[h.s.rules.n_places++];
    memset(p, 0, sizeof *p);
    p->env = h.env[0].id;
    p->guest = ph_id(kind, n);
    p->host = h.peer[peer].id;
    policy_rule_tag(&p->guest, p->tag);
    return p->guest;
}

static void talks(const struct vi_id *a, const struct vi_id *b, double mb_s)
{
    talk[h.s.n_talks++] = (struct policy_talk){.a = *a, .b = *b, .bytes_s = mb_s * 1e6};
}

static unsigned run_answering(unsigned evaluations)
{
    for (unsigned i = 0; i < evaluations; i++) {
        unsigned before = h.t.probes;
        ph_evaluate(&h);
        for (unsigned n = 0; n < h.n_peers && h.t.probes > before; n++)
            ph_answer(&h, n, true);
        for (unsigned g = 0; h.t.moves && g < h.s.n_guests; g++)
            h.guest[g].frozen |= vi_id_equal(&h.guest[g].uuid, &h.t.move.guest);
    }
    return h.t.moves;
}

static bool goes_to(unsigned guest, unsigned peer)
{
    return vi_id_equal(&h.t.move.guest, &h.guest[guest].uuid) && vi_id_equal(&h.t.move.peer, &h.peer[peer].id);
}

/* Five guests want six CPUs of four: whichever goes, it helps. */
static void short_of_cpu(void)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned g = ph_guest(&h, 512, 250, 512);
        h.pct[g] = 95;
        h.steal[g] = 60;
    }
}

static void test_lower_priority_goes(void **unused)
{
    unsigned peer;
    (void)unused;
    for (unsigned low = 0; low < 4; low++) {
        set_up(NULL);
        short_of_cpu();
        peer = ph_peer(&h, 12000, 10);
        h.env[1] = (struct policy_env){.id = ph_id('e', 1), .shares = 300, .priority = 70};
        h.env[0].priority = 30;
        h.s.n_envs = 2;
        for (unsigned i = 0; i < 4; i++)
            if (i != low)
                h.guest[i].env = h.env[1].id;
        ph_open(&h);
        assert_int_equal(run_answering(8), 1);
        assert_true(goes_to(low, peer));
        ph_close(&h);
    }
}

/* Priority is for costs that are about equal: a guest ten times as large doesn't go for it. */
static void test_priority_is_not_everything(void **unused)
{
    unsigned peer;
    (void)unused;
    short_of_cpu();
    peer = ph_peer(&h, 12000, 10);
    h.env[1] = (struct policy_env){.id = ph_id('e', 1), .shares = 300, .priority = 70};
    h.env[0].priority = 30;
    h.s.n_envs = 2;
    for (unsigned i = 1; i < 4; i++)
        h.guest[i].env = h.env[1].id;
    h.guest[0].current_kb = h.guest[0].target_kb = h.guest[0].max_kb = 5120 * PH_MIB;
    h.used_kb[0] = 2500 * PH_MIB;
    ph_open(&h);
    assert_int_equal(run_answering(8), 1);
    assert_false(goes_to(0, peer));
}

/* Of several whose going costs the same, the one that talks least with those that stay. */
static void test_who_talks_here_stays(void **unused)
{
    unsigned peer;
    (void)unused;
    short_of_cpu();
    peer = ph_peer(&h, 12000, 10);
    talks(&h.guest[0].uuid, &h.guest[1].uuid, 20);
    talks(&h.guest[1].uuid, &h.guest[3].uuid, 9);
    ph_open(&h);
    assert_int_equal(run_answering(8), 1);
    assert_true(goes_to(2, peer));
}

/* A hungry guest among hosts that are about as full: where those are with which it talks; not where it is much fuller. */
static void test_place_by_traffic(void **unused)
{
    for (unsigned fuller = 0; fuller < 2; fuller++) {
        unsigned g, with, other;
        struct vi_id x;
        (void)unused;
        set_up(NULL);
        g = ph_guest(&h, 768, 690, 1536);
        h.pct[g] = 60;
        h.s.total_kb = (512 + 128 + 768) * PH_MIB;
        other = ph_peer(&h, 12000, 100);
        for (unsigned i = 0; i < 10; i++)
            ph_peer(&h, 12000, 100);
        with = ph_peer(&h, 12000, fuller ? 300 : 130);
        x = elsewhere('x', 0, with);
        talks(&h.guest[g].uuid, &x, 12);
        ph_open(&h);
        assert_int_equal(run_answering(4), 1);
        assert_true(vi_id_equal(&h.t.move.peer, &h.peer[with].id) == !fuller);
        assert_string_equal(ph_choice(&h, g, with), fuller ? "it would fit, another is less utilised"
                                                           : "chosen: it talks with guests there, 12.0 MB/s");
        (void)other;
        ph_close(&h);
    }
}

/* Nothing is short: a guest goes to whom it talks with if that saves more than the move carries, else it stays. */
static unsigned gathers_within(unsigned evaluations, double mb_s, uint64_t mib, char kind, double demand_there)
{
    unsigned g, with, moves;
    struct vi_id x;
    set_up(NULL);
    g = ph_guest(&h, mib, mib / 2, mib);
    h.pct[g] = 60;
    with = ph_peer(&h, 15000, demand_there);
    x = elsewhere(kind, 0, with);
    talks(&h.guest[g].uuid, &x, mb_s);
    ph_open(&h);
    moves = run_answering(evaluations);
    if (moves) {
        assert_true(goes_to(g, with));
        assert_non_null(strstr(h.t.decision[POLICY_MOVE].text, "for its traffic: "));
    }
    ph_close(&h);
    return moves;
}

static unsigned gathers(double mb_s, uint64_t mib, char kind, double demand_there)
{
    return gathers_within(30, mb_s, mib, kind, demand_there);
}

static void test_brought_together(void **unused)
{
    (void)unused;
    assert_int_equal(gathers(12, 512, 'x', 0), 1);
    assert_int_equal(gathers(12, 512, 'a', 0), 0);   /* the other one, whose id is lower, comes here */
    assert_int_equal(gathers(0.5, 1024, 'x', 0), 0); /* 300 MB saved, a gigabyte carried three times over */
    assert_int_equal(gathers(12, 512, 'x', 200), 0); /* it is fuller there */
}

/* The other one is to come here, but it doesn't: then this one goes. */
static void test_who_waited_goes(void **unused)
{
    (void)unused;
    assert_int_equal(gathers_within(60, 12, 512, 'a', 0), 1);
    assert_int_equal(gathers_within(60, 0.5, 1024, 'a', 0), 0);
}

/* As many peers, places and pairs as there may be: each guest goes where it talks, one a minute. */
static void test_many_that_talk(void **unused)
{
    static struct policy_place places[POLICY_PLACES];
    static struct policy_talk talks_of[POLICY_TALKS];
    (void)unused;
    for (unsigned i = 0; i < 16; i++)
        h.pct[ph_guest(&h, 64, 30, 64)] = 5;
    for (unsigned i = 0; i < POLICY_PEERS; i++)
        ph_peer(&h, 15000, 0);
    for (unsigned i = 0; i < POLICY_PLACES; i++) {
        places[i] = (struct policy_place){.env = h.env[0].id, .guest = ph_id('x', POLICY_PLACES - i), .host = h.peer[i % 8].id, .epoch = 1};
        policy_rule_tag(&places[i].guest, places[i].tag);
    }
    for (unsigned i = 0; i < POLICY_TALKS; i++)
        talks_of[i] = (struct policy_talk){.a = h.guest[i % 16].uuid, .b = places[i % 16 * 7].guest, .bytes_s = 2e5};
    h.s.rules = (struct policy_rules){.place = places, .n_places = POLICY_PLACES};
    h.s.talks = talks_of;
    h.s.n_talks = POLICY_TALKS;
    ph_open(&h);
    assert_int_equal(run_answering(8), 1);
    for (unsigned g = 0; g < 16; g++)
        if (vi_id_equal(&h.t.move.guest, &h.guest[g].uuid))
            assert_true(goes_to(g, g * 7 % 8));
}

/* Traffic that comes and goes moves nobody, and there are no more moves for it than the budget has. */
static void test_traffic_within_the_budget(void **unused)
{
    unsigned with;
    (void)unused;
    h.cfg.moves_per_hour = 3;
    h.cfg.cooldown = 0;
    for (unsigned i = 0; i < 8; i++)
        h.pct[ph_guest(&h, 128, 60, 128)] = 20;
    with = ph_peer(&h, 15000, 0);
    for (unsigned i = 0; i < 8; i++) {
        struct vi_id x = elsewhere('x', i, with);
        talks(&h.guest[i].uuid, &x, 10 + i);
    }
    ph_open(&h);
    for (unsigned i = 0; i < 12 * 30; i++) {
        unsigned before = h.t.moves;
        h.s.n_talks = i < 60 ? (i % 5 < 2 ? 8 : 0) : 8;
        run_answering(1);
        if (i < 60)
            assert_int_equal(h.t.moves, 0);
        for (unsigned g = 0; h.t.moves > before && g < h.s.n_guests; g++)
            if (vi_id_equal(&h.guest[g].uuid, &h.t.move.guest)) {
                ph_moved(&h, g, with, 0);
                h.guest[g] = h.guest[--h.s.n_guests];
            }
    }
    assert_int_equal(h.t.moves, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lower_priority_goes),
        cmocka_unit_test_setup_teardown(test_priority_is_not_everything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_talks_here_stays, set_up, tear_down),
        cmocka_unit_test(test_place_by_traffic),
        cmocka_unit_test(test_brought_together),
        cmocka_unit_test(test_who_waited_goes),
        cmocka_unit_test_setup_teardown(test_many_that_talk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_traffic_within_the_budget, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
