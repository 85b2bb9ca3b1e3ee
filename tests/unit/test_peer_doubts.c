/* Histories of doubts: what each change does to them, their bounds; and with real gossip on virtual time,
 * where every doubt must have an accuser, a path and an end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "peer/doubts.h"
#include "tests/sim/gossip_peers.h"

static struct vi_id id_of(unsigned n)
{
    struct vi_id id = {{(uint8_t)n, (uint8_t)(n >> 8), 1}};
    return id;
}

static const struct doubt *note(struct doubts *s, unsigned who, enum gossip_change change, unsigned accuser, vi_time now)
{
    struct gossip_effect fx = {.kind = GOSSIP_FX_MEMBER, .id = id_of(who), .change = change};
    char name[16];
    snprintf(name, sizeof name, "host%u", who);
    if (accuser) {
        fx.why.reason = GOSSIP_WHY_RUMOUR;
        fx.why.accuser = id_of(accuser);
        fx.why.via = id_of(99);
    } else
        fx.why.reason = GOSSIP_WHY_SELF;
    return doubts_note(s, &fx, name, now, now + 1000, 3);
}

static const struct doubt *latest(const struct doubts *s, unsigned who)
{
    struct vi_id id = id_of(who);
    const struct doubted *m = doubts_find(s, &id);
    return m ? doubted_at(m, m->n - 1) : NULL;
}

static void test_refuted(void **unused)
{
    struct doubts *s = doubts_new(4);
    const struct doubt *b;
    struct vi_id accuser = id_of(2), via = id_of(99), none = {{0}};
    (void)unused;
    assert_null(note(s, 1, GOSSIP_UP, 0, 5)); /* a new member is no matter of doubt */
    assert_null(note(s, 1, GOSSIP_CHANGED, 0, 6));
    assert_null(note(s, 1, GOSSIP_CONFIRMED, 2, 7));
    assert_null(latest(s, 1));
    b = note(s, 1, GOSSIP_SUSPECTED, 2, 10);
    assert_ptr_equal(b, latest(s, 1));
    assert_true(vi_id_equal(&b->why.accuser, &accuser) && vi_id_equal(&b->why.via, &via));
    assert_int_equal(b->began, 10);
    assert_int_equal(b->wall, 1010);
    assert_int_equal(b->health, 3);
    assert_int_equal(b->end, DOUBT_LASTS);
    note(s, 1, GOSSIP_CONFIRMED, 3, 11);
    note(s, 1, GOSSIP_CONFIRMED, 2, 11); /* the accuser is no other */
    note(s, 1, GOSSIP_CONFIRMED, 3, 12);
    note(s, 1, GOSSIP_CONFIRMED, 4, 12);
    assert_int_equal(b->n_confirmers, 2);
    for (unsigned k = 5; k < 30; k++)
        note(s, 1, GOSSIP_CONFIRMED, k, 13);
    assert_int_equal(b->n_confirmers, DOUBT_CONFIRMERS);
    assert_ptr_equal(note(s, 1, GOSSIP_REFUTED, 0, 14), b);
    assert_int_equal(b->end, DOUBT_REFUTED);
    assert_int_equal(b->ended, 14);
    assert_int_equal(b->died, 0);
    assert_true(vi_id_equal(&b->end_via, &none)); /* its own word, from itself */
    assert_null(note(s, 1, GOSSIP_UP, 0, 15)); /* over: nothing to end */
    assert_int_equal(b->end, DOUBT_REFUTED);
    doubts_free(s);
    doubts_free(NULL);
}

static void test_died_left_forgotten(void **unused)
{
    struct doubts *s = doubts_new(4);
    const struct doubt *b;
    (void)unused;
    note(s, 1, GOSSIP_SUSPECTED, 2, 10);
    b = note(s, 1, GOSSIP_DOWN, 2, 20);
    assert_int_equal(b->died, 20);
    assert_int_equal(b->ended, 0);
    note(s, 1, GOSSIP_UP, 0, 30);
    assert_int_equal(b->ended, 30);
    assert_int_equal(b->end, DOUBT_BACK);
    b = note(s, 1, GOSSIP_GOODBYE, 0, 40); /* nobody doubted it */
    assert_int_equal(b->why.reason, GOSSIP_WHY_SELF);
    assert_int_equal(b->left, 40);
    assert_int_equal(b->end, DOUBT_LASTS);
    note(s, 1, GOSSIP_FORGOTTEN, 0, 50);
    assert_int_equal(b->end, DOUBT_FORGOTTEN);
    assert_string_equal(doubts_find(s, &(struct vi_id){{1, 0, 1}})->name, "host1"); /* its name stays */
    note(s, 2, GOSSIP_SUSPECTED, 3, 60);
    b = note(s, 2, GOSSIP_GOODBYE, 0, 70); /* that is what the suspicion was about */
    assert_int_equal(b->began, 60);
    assert_int_equal(b->left, 70);
    doubts_free(s);
}

static void test_bounds(void **unused)
{
    struct doubts *s = doubts_new(4);
    const struct doubted *m;
    const struct doubt *b;
    struct vi_id id = id_of(1);
    size_t pos = 0;
    unsigned n = 0;
    (void)unused;
    for (unsigned k = 0; k < 3 * DOUBTS_EACH; k++) {
        note(s, 1, GOSSIP_SUSPECTED, 2, 100 + 10 * k);
        note(s, 1, GOSSIP_REFUTED, 0, 105 + 10 * k);
    }
    m = doubts_find(s, &id);
    assert_int_equal(m->n, DOUBTS_EACH);
    assert_int_equal(m->total, 3 * DOUBTS_EACH);
    for (unsigned i = 0; (b = doubted_at(m, i)); i++, n++)
        assert_int_equal(b->began, 100 + 10 * (2 * DOUBTS_EACH + i)); /* the newest, oldest first */
    assert_int_equal(n, DOUBTS_EACH);
    note(s, 2, GOSSIP_SUSPECTED, 1, 1000);
    note(s, 3, GOSSIP_SUSPECTED, 1, 1001);
    note(s, 4, GOSSIP_SUSPECTED, 1, 1002);
    note(s, 5, GOSSIP_SUSPECTED, 1, 1003); /* host1's are over: it makes room */
    assert_null(latest(s, 1));
    assert_non_null(latest(s, 2));
    note(s, 2, GOSSIP_CONFIRMED, 3, 1004);
    note(s, 6, GOSSIP_SUSPECTED, 1, 1005); /* all last: host3 changed longest ago */
    assert_null(latest(s, 3));
    note(s, 6, GOSSIP_REFUTED, 0, 1006);
    note(s, 7, GOSSIP_SUSPECTED, 1, 1007);
    assert_null(latest(s, 6));
    for (n = 0; doubts_next(s, &pos); n++)
        ;
    assert_int_equal(n, 4);
    doubts_free(s);
    s = doubts_new(0); /* keeps nothing */
    assert_null(note(s, 1, GOSSIP_SUSPECTED, 2, 1));
    doubts_free(s);
}

/* ---- with real gossip ---- */

#define PEERS 8

struct seen {
    struct peers *p;
    struct doubts *of[PEERS];
    unsigned confirmed, refuted_via;
};

static void notice(void *arg, unsigned at, unsigned about, const struct gossip_effect *fx)
{
    struct seen *s = arg;
    (void)about;
    s->confirmed += fx->change == GOSSIP_CONFIRMED;
    if (fx->change == GOSSIP_CONFIRMED)
        assert_true(fx->state == GOSSIP_SUSPECT && fx->was == GOSSIP_SUSPECT && !vi_id_is_zero(&fx->why.accuser));
    s->refuted_via += fx->change == GOSSIP_REFUTED && !vi_id_is_zero(&fx->why.via);
    doubts_note(s->of[at], fx, "x", world_now(peers_world(s->p)), 1, 0);
}

static void run(struct seen *s, vi_time t)
{
    world_run(peers_world(s->p), world_now(peers_world(s->p)) + t);
}

/* Everybody's newest doubt about node `whom` is whole, and as far as given. */
static void all_know(struct seen *s, unsigned whom, enum doubt_end end, bool died)
{
    unsigned confirmers = 0, own = 0;
    for (unsigned k = 0; k < PEERS; k++) {
        const struct doubted *m = k == whom ? NULL : doubts_find(s->of[k], peers_id(s->p, whom));
        const struct doubt *b = m ? doubted_at(m, m->n - 1) : NULL;
        if (k == whom)
            continue;
        assert_non_null(b);
        assert_int_equal(b->end, end);
        assert_int_equal(b->died != 0, died);
        assert_false(vi_id_is_zero(&b->why.accuser));
        if (b->why.reason == GOSSIP_WHY_PROBE) {
            assert_true(vi_id_equal(&b->why.accuser, peers_id(s->p, k)) && vi_id_is_zero(&b->why.via));
            assert_true(b->why.asked > 0 && b->why.nacks <= b->why.asked);
            own++;
        } else {
            assert_int_equal(b->why.reason, GOSSIP_WHY_RUMOUR);
            assert_false(vi_id_equal(&b->why.accuser, peers_id(s->p, k)) || vi_id_is_zero(&b->why.via));
        }
        for (unsigned i = 0; i < b->n_confirmers; i++)
            assert_true(peers_index(s->p, &b->confirmers[i]) < PEERS && !vi_id_equal(&b->confirmers[i], &b->why.accuser));
        confirmers += b->n_confirmers;
    }
    assert_true(own > 0 && own < PEERS - 1);
    assert_true(confirmers > 0);
}

static void test_with_gossip(void **unused)
{
    struct seen s = {0};
    struct peers_config c = {.seed = 11, .n = PEERS, .net = {.delay_min = VI_MSEC, .delay_max = 20 * VI_MSEC},
                             .notice = notice, .arg = &s};
    (void)unused;
    for (unsigned k = 0; k < PEERS; k++)
        assert_non_null(s.of[k] = doubts_new(64));
    assert_non_null(s.p = peers_new(&c));
    for (unsigned k = 0; k < PEERS; k++) {
        world_start(peers_world(s.p), k);
        run(&s, 100 * VI_MSEC);
    }
    run(&s, 20 * VI_SEC);
    assert_true(peers_agreed(s.p));
    world_crash(peers_world(s.p), 5);
    run(&s, 40 * VI_SEC);
    all_know(&s, 5, DOUBT_LASTS, true);
    assert_true(s.confirmed > 0);
    world_start(peers_world(s.p), 5);
    run(&s, 30 * VI_SEC);
    assert_true(peers_agreed(s.p));
    all_know(&s, 5, DOUBT_BACK, true);
    for (unsigned k = 0; k < 20 && !s.refuted_via; k++) { /* suspected, and just in time */
        world_pause(peers_world(s.p), 3);
        run(&s, 3500 * VI_MSEC);
        world_resume(peers_world(s.p), 3);
        run(&s, 20 * VI_SEC);
    }
    assert_true(s.refuted_via > 0); /* somebody heard that through another */
    assert_true(peers_agreed(s.p));
    peers_free(s.p);
    for (unsigned k = 0; k < PEERS; k++)
        doubts_free(s.of[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuted), cmocka_unit_test(test_died_left_forgotten), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_with_gossip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
