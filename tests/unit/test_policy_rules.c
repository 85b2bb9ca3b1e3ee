/* Rules for where guests may be: what each forbids, what breaks it, and that every chooser keeps to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/sim/policy_host.h"

static struct policy_host h;
static struct policy_rule rule[4];
static struct policy_place place[8];
static struct vi_id self;

static void name_guest(struct policy_rule *r, const struct vi_id *guest)
{
    policy_rule_tag(guest, r->guest[r->n++]);
}

static struct policy_rule *add_rule(enum policy_rule_kind kind, const struct vi_id *host)
{
    struct policy_rule *r = &rule[h.s.rules.n];
    memset(r, 0, sizeof *r);
    r->env = h.env[0].id;
    r->number = ++h.s.rules.n;
    r->kind = kind;
    if (host)
        r->host = *host;
    return r;
}

static struct vi_id add_place(unsigned n, const struct vi_id *host)
{
    struct policy_place *p = &place[h.s.rules.n_places++];
    memset(p, 0, sizeof *p);
    p->env = h.env[0].id;
    p->guest = ph_id('x', n);
    p->host = *host;
    policy_rule_tag(&p->guest, p->tag);
    return p->guest;
}

static int set_up(void **unused)
{
    (void)unused;
    ph_init(&h);
    self = ph_id('h', 0);
    h.s.self = self;
    h.s.rules = (struct policy_rules){.rule = rule, .place = place};
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    ph_close(&h);
    return 0;
}

/* Many evaluations, every probe answered, who is told to go is being moved; how many moves were asked for. */
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

/* ---- the questions ---- */

static void test_against(void **unused)
{
    unsigned g = ph_guest(&h, 256, 128, 512);
    struct vi_id there = ph_id('p', 0), elsewhere = ph_id('p', 1), other_env = ph_id('e', 9), x;
    uint8_t tag[POLICY_RULE_TAG], xtag[POLICY_RULE_TAG];
    struct policy_rule *spread, *pin, *never;
    const struct policy_rules *r = &h.s.rules;
    (void)unused;
    policy_rule_tag(&h.guest[g].uuid, tag);
    x = add_place(0, &there);
    policy_rule_tag(&x, xtag);
    assert_null(policy_rule_against(r, &h.env[0].id, tag, &there));
    spread = add_rule(POLICY_RULE_SPREAD, NULL);
    name_guest(spread, &h.guest[g].uuid);
    name_guest(spread, &x);
    assert_ptr_equal(policy_rule_against(r, &h.env[0].id, tag, &there), spread);
    assert_null(policy_rule_against(r, &h.env[0].id, tag, &elsewhere));
    assert_null(policy_rule_against(r, &h.env[0].id, xtag, &there)); /* itself isn't another */
    assert_null(policy_rule_against(r, &other_env, tag, &there));
    assert_ptr_equal(policy_rule_apart(r, &h.env[0].id, tag, xtag), spread);
    never = add_rule(POLICY_RULE_NEVER, &elsewhere);
    name_guest(never, &h.guest[g].uuid);
    assert_ptr_equal(policy_rule_against(r, &h.env[0].id, tag, &elsewhere), never);
    assert_null(policy_rule_against(r, &h.env[0].id, xtag, &elsewhere));
    pin = add_rule(POLICY_RULE_PIN, &self);
    name_guest(pin, &h.guest[g].uuid);
    assert_null(policy_rule_against(r, &h.env[0].id, tag, &self));
    assert_ptr_equal(policy_rule_pins(r, &h.env[0].id, tag, &self), pin);
    assert_null(policy_rule_pins(r, &h.env[0].id, tag, &there));
    h.s.rules.n = 0;
    pin = add_rule(POLICY_RULE_PIN, &self);
    name_guest(pin, &h.guest[g].uuid);
    assert_ptr_equal(policy_rule_against(r, &h.env[0].id, tag, &there), pin);
}

/* Guests that should be together gather where most of them are, and never change places. */
static void test_gathering(void **unused)
{
    struct vi_id a = ph_id('p', 0), b = ph_id('p', 1), x0 = add_place(0, &b), x1 = add_place(1, &a), x2, to;
    uint8_t t0[POLICY_RULE_TAG], t1[POLICY_RULE_TAG];
    struct policy_rule *r = add_rule(POLICY_RULE_TOGETHER, NULL);
    (void)unused;
    policy_rule_tag(&x0, t0);
    policy_rule_tag(&x1, t1);
    name_guest(r, &x0);
    name_guest(r, &x1);
    assert_null(policy_rule_against(&h.s.rules, &r->env, t0, &a));
    assert_ptr_equal(policy_rule_broken(&h.s.rules, &r->env, t0, &b, &to), r);
    assert_true(vi_id_equal(&to, &a)); /* one each: the lower id */
    assert_null(policy_rule_broken(&h.s.rules, &r->env, t1, &a, &to));
    assert_int_equal(policy_rule_companions(&h.s.rules, &r->env, t0, &a), 1);
    x2 = add_place(2, &b);
    name_guest(r, &x2);
    assert_null(policy_rule_broken(&h.s.rules, &r->env, t0, &b, &to)); /* two there: the other one comes */
    assert_ptr_equal(policy_rule_broken(&h.s.rules, &r->env, t1, &a, &to), r);
    assert_true(vi_id_equal(&to, &b));
}

/* ---- the choosers ---- */

/* A short host; the emptiest other one is forbidden. */
static void hungry_one(unsigned *g)
{
    *g = ph_guest(&h, 768, 690, 1536);
    h.s.total_kb = (512 + 128 + 768) * PH_MIB;
    h.pct[*g] = 60;
}

static void test_choice(void **unused)
{
    unsigned g, best, next;
    struct vi_id x;
    struct policy_rule *r;
    (void)unused;
    hungry_one(&g);
    best = ph_peer(&h, 12000, 10);
    next = ph_peer(&h, 4000, 200);
    x = add_place(0, &h.peer[best].id);
    r = add_rule(POLICY_RULE_SPREAD, NULL);
    name_guest(r, &h.guest[g].uuid);
    name_guest(r, &x);
    ph_open(&h);
    assert_int_equal(run_answering(4), 1);
    assert_true(goes_to(g, next));
    assert_string_equal(ph_choice(&h, g, best), "rule 1 (spread: another of its guests is there)");
}

/* The one that would go first may be nowhere else: others have their turn, and the host doesn't stay short for it. */
static void test_others_have_their_turn(void **unused)
{
    unsigned cheap = ph_guest(&h, 128, 60, 128), there;
    struct policy_rule *r;
    (void)unused;
    h.pct[cheap] = 187;
    for (unsigned i = 0; i < 2; i++)
        h.pct[ph_guest(&h, 2048, 1000, 2048)] = 180;
    there = ph_peer(&h, 12000, 10);
    r = add_rule(POLICY_RULE_NEVER, &h.peer[there].id);
    name_guest(r, &h.guest[cheap].uuid);
    ph_open(&h);
    assert_int_equal(run_answering(10), 1);
    assert_false(vi_id_equal(&h.t.move.guest, &h.guest[cheap].uuid));
    assert_true(vi_id_equal(&h.t.move.peer, &h.peer[there].id));
    assert_non_null(strstr(h.t.decision[POLICY_REFUSE].text, "no other host has room"));
}

static void test_pinned_stays(void **unused)
{
    unsigned g;
    struct policy_rule *r;
    (void)unused;
    hungry_one(&g);
    ph_peer(&h, 12000, 10);
    r = add_rule(POLICY_RULE_PIN, &self);
    name_guest(r, &h.guest[g].uuid);
    ph_open(&h);
    assert_int_equal(run_answering(10), 0);
    assert_non_null(strstr(h.t.decision[POLICY_REFUSE].text, "rule 1 (pin"));
    policy_set_draining(h.p, h.now, true); /* not even then */
    assert_int_equal(run_answering(30), 0);
}

static void test_together_is_preferred(void **unused)
{
    unsigned g, with;
    struct vi_id x;
    struct policy_rule *r;
    (void)unused;
    hungry_one(&g);
    for (unsigned i = 0; i < 20; i++)
        ph_peer(&h, 12000, 10);
    with = ph_peer(&h, 4000, 200); /* fits, though it is the most utilised */
    x = add_place(0, &h.peer[with].id);
    r = add_rule(POLICY_RULE_TOGETHER, NULL);
    name_guest(r, &h.guest[g].uuid);
    name_guest(r, &x);
    ph_open(&h);
    assert_int_equal(run_answering(4), 1);
    assert_true(goes_to(g, with));
    assert_string_equal(ph_choice(&h, g, with), "chosen: others that it should be together with are there");
}

static void test_drain_keeps_rules(void **unused)
{
    unsigned g = ph_guest(&h, 256, 128, 512), best = ph_peer(&h, 12000, 10), next = ph_peer(&h, 4000, 200);
    struct policy_rule *r = add_rule(POLICY_RULE_NEVER, &h.peer[best].id);
    (void)unused;
    name_guest(r, &h.guest[g].uuid);
    ph_open(&h);
    ph_run(&h, 2);
    policy_set_draining(h.p, h.now, true);
    ph_evaluate(&h);
    assert_int_equal(h.t.moves, 1);
    assert_true(goes_to(g, next));
}

static void test_operators_choice(void **unused)
{
    unsigned g = ph_guest(&h, 256, 128, 512), best = ph_peer(&h, 12000, 10), next = ph_peer(&h, 4000, 200);
    struct policy_rule *r = add_rule(POLICY_RULE_NEVER, &h.peer[best].id);
    struct vi_id peer;
    char why[160];
    (void)unused;
    name_guest(r, &h.guest[g].uuid);
    ph_open(&h);
    ph_run(&h, 2);
    assert_int_equal(policy_operator_choice(h.p, h.now, &h.guest[g].uuid, &peer, why, sizeof why), 0);
    assert_true(vi_id_equal(&peer, &h.peer[next].id));
}

/* ---- mending ---- */

/* Two that should be apart were started here: one goes, and only one. */
static void test_spread_is_mended(void **unused)
{
    unsigned a = ph_guest(&h, 512, 250, 1024), b = ph_guest(&h, 256, 128, 512);
    struct policy_rule *r = add_rule(POLICY_RULE_SPREAD, NULL);
    (void)unused;
    name_guest(r, &h.guest[a].uuid);
    name_guest(r, &h.guest[b].uuid);
    ph_peer(&h, 12000, 10);
    ph_open(&h);
    assert_int_equal(run_answering(2), 0); /* k of n */
    assert_int_equal(run_answering(6), 1);
    assert_true(goes_to(b, 0)); /* the smaller one */
    assert_non_null(strstr(h.t.decision[POLICY_MOVE].text, "for rule 1 (spread"));
    ph_moved(&h, b, 0, 0);
    h.guest[b].running = false;
    add_place(0, &h.peer[0].id);
    h.s.n_guests = 1; /* it has left */
    assert_int_equal(run_answering(300), 1);
}

/* One a minute, under the environment's budget of moves. */
static void test_no_storm(void **unused)
{
    (void)unused;
    h.cfg.moves_per_hour = 5;
    h.cfg.cooldown = 0;
    for (unsigned i = 0; i < 20; i++) {
        struct policy_rule *r = i < 4 ? add_rule(POLICY_RULE_NEVER, &self) : &rule[i % 4];
        unsigned g = ph_guest(&h, 64, 30, 128);
        name_guest(r, &h.guest[g].uuid);
    }
    ph_peer(&h, 12000, 10);
    ph_open(&h);
    for (unsigned i = 0; i < 12 * 30; i++) { /* half an hour */
        unsigned before = h.t.moves;
        run_answering(1);
        if (h.t.moves == before)
            continue;
        assert_int_equal(h.t.moves, before + 1);
        assert_true(h.t.moves <= 1 + i / 12);
        for (unsigned g = 0; g < h.s.n_guests; g++) {
            if (!vi_id_equal(&h.guest[g].uuid, &h.t.move.guest))
                continue;
            ph_moved(&h, g, 0, 0);
            h.guest[g] = h.guest[--h.s.n_guests];
        }
    }
    assert_int_equal(h.t.moves, 5);
}

static void test_pin_is_mended_there_only(void **unused)
{
    unsigned g = ph_guest(&h, 256, 128, 512), home, empty = ph_peer(&h, 15000, 0);
    struct policy_rule *r;
    (void)unused;
    home = ph_peer(&h, 100, 10); /* no room */
    r = add_rule(POLICY_RULE_PIN, &h.peer[home].id);
    name_guest(r, &h.guest[g].uuid);
    ph_open(&h);
    assert_int_equal(run_answering(20), 0);
    assert_string_equal(ph_choice(&h, g, empty), "the rule wants it elsewhere");
    h.peer[home].load.free_kb = 4000 * PH_MIB;
    assert_int_equal(run_answering(20), 1);
    assert_true(goes_to(g, home));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_against, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_gathering, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_choice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_others_have_their_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pinned_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_together_is_preferred, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_drain_keeps_rules, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_operators_choice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_spread_is_mended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_storm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pin_is_mended_there_only, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
