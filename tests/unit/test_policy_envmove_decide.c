/* An overloaded domain's decision, and what hosts remember of moves: one representative's core, its domain played. Moves from
 * their beginning to their end, under faults, are tests/sim/envmove_main.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "peer/base/err.h"
#include "policy/envmove_internal.h"

#define GIB   ((int64_t)1 << 20)
#define HOSTS 100 /* of the domain; 80 with room, 0 … 19 are short */
#define SHORTS 20

static struct {
    struct vi_id host[HOSTS], env[2], foreign, domain;
    struct envmoves *s;
    struct vi_rng rng;
    vi_time now;
    bool arriving, here, abroad;
    unsigned foreign_here; /* guests of that home on each host */
    struct vi_id counted; /* whose guests were asked about */
    int stays; /* of which environment a host says so; -1: none */
    unsigned asked[HOSTS];
    struct envmove_effect fx[512];
    unsigned n_fx;
} t;

static void id_of(struct vi_id *id, unsigned kind, unsigned n)
{
    memset(id, 0, sizeof *id);
    id->b[0] = (uint8_t)kind;
    id->b[1] = (uint8_t)n;
}

static enum envmove_kin kin(void *arg, const struct vi_id *peer, struct vi_id *domain)
{
    (void)arg;
    if (!vi_id_equal(peer, &t.foreign))
        return ENVMOVE_OWN;
    *domain = t.domain;
    return ENVMOVE_FOREIGN;
}

static bool representative(void *arg, const struct vi_id *domain, struct vi_id *peer)
{
    (void)arg;
    *peer = domain ? t.foreign : t.host[HOSTS - 1];
    return true;
}

static bool env(void *arg, const struct vi_id *id, struct envmove_env *out)
{
    (void)arg;
    (void)id;
    *out = (struct envmove_env){.home = t.domain, .at_home = !t.abroad, .allowed = true, .limits = {.guests = 1000, .kb = (uint64_t)1 << 40, .pct = 1e6}};
    return true;
}

/* Those with the most room, as envmove.h wants them. */
static unsigned hosts(void *arg, const struct vi_id *id, const struct vi_id *home, struct vi_id *out, unsigned most)
{
    unsigned n = 0;
    (void)arg;
    t.counted = home ? *home : t.counted;
    for (unsigned i = HOSTS; !id && i > 0 && n < most; i--)
        out[n++] = t.host[i - 1];
    return n;
}

static unsigned domains(void *arg, const struct vi_id *id, uint64_t kb, double pct, struct vi_id *out, unsigned most)
{
    (void)arg, (void)id, (void)kb, (void)pct;
    if (most)
        out[0] = t.domain;
    return most ? 1 : 0;
}

static void look(void *arg, const struct vi_id *id, const struct vi_id *home, struct envmove_seen *out)
{
    (void)arg, (void)id, (void)home;
    *out = (struct envmove_seen){.total_kb = 8 * (uint64_t)GIB, .free_kb = 8 * GIB, .capacity_pct = 100, .free_pct = 100,
                                 .of_home.guests = t.foreign_here};
}

static bool guest(void *arg, const struct vi_id *uuid, bool *busy)
{
    (void)arg, (void)uuid;
    *busy = false;
    return t.here;
}

static bool arriving(void *arg, const struct vi_id *uuid)
{
    (void)arg, (void)uuid;
    return t.arriving;
}

static int can_take(void *arg, uint64_t kb, double pct, uint64_t leased_kb, double leased_pct, char *why, size_t cap)
{
    (void)arg, (void)kb, (void)pct, (void)leased_kb, (void)leased_pct, (void)why, (void)cap;
    return 0;
}

static int set_up(void **state)
{
    struct envmove_config c;
    (void)state;
    memset(&t, 0, sizeof t);
    t.stays = -1;
    t.now = VI_HOUR;
    for (unsigned i = 0; i < HOSTS; i++)
        id_of(&t.host[i], 1, i);
    id_of(&t.env[0], 3, 0);
    id_of(&t.env[1], 3, 1);
    id_of(&t.foreign, 1, 200);
    id_of(&t.domain, 4, 1);
    vi_rng_seed(&t.rng, 1);
    envmove_config_init(&c);
    c.self = t.host[HOSTS - 1];
    c.hooks = (struct envmove_hooks){.kin = kin, .representative = representative, .env = env, .hosts = hosts, .domains = domains,
                                     .look = look, .guest = guest, .arriving = arriving, .can_take = can_take};
    t.s = envmoves_new(&c, &t.rng, t.now);
    return t.s ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    envmoves_free(t.s);
    return 0;
}

static void step(struct envmove_event *ev)
{
    const struct envmove_effect *fx;
    assert_int_equal(envmoves_step(t.s, t.now, ev), 0);
    t.n_fx = 0;
    while ((fx = envmoves_effect(t.s)))
        if (t.n_fx < 512)
            t.fx[t.n_fx++] = *fx;
}

static void say(const struct vi_id *from, const struct em_msg *m)
{
    uint8_t b[ENVMOVE_MESSAGE_MAX];
    int n = em_encode(m, b, sizeof b);
    struct envmove_event ev = {.kind = ENVMOVE_EV_MESSAGE, .peer = *from, .data = b, .len = (size_t)n};
    assert_true(n > 0);
    step(&ev);
}

static void tick(void)
{
    struct envmove_event ev = {.kind = ENVMOVE_EV_TICK};
    step(&ev);
}

/* A host that is short has a guest of each environment, of which one is large; one with room has none. */
static void answer(unsigned host, const struct em_msg *asked)
{
    static struct em_msg m;
    memset(&m, 0, sizeof m);
    m.kind = EM_SEEN;
    m.n = asked->n;
    m.more = asked->more;
    m.seen = (struct envmove_seen){.total_kb = 8 * (uint64_t)GIB, .free_kb = 4 * GIB, .capacity_pct = 100, .free_pct = host < SHORTS ? -80 : 0};
    for (unsigned e = 0; host < SHORTS && e < 2; e++) {
        struct envmove_guest *g = &m.seen.guest[m.seen.n++];
        id_of(&g->uuid, 2, 2 * host + e);
        g->env = t.env[e];
        g->kb = g->size_kb = (uint64_t)GIB / (e ? 1 : 2);
        g->pct = 90;
        g->movable = g->running = true;
        g->stays = (int)e == t.stays && host == 7;
    }
    say(&t.host[host], &m);
}

/* All say that they are short; the looks are answered. Returns the environment that is to go; -1: none. */
static int decided(void)
{
    struct envmove_event on = {.kind = ENVMOVE_EV_REPRESENT, .on = true};
    struct em_msg is_short = {.kind = EM_SHORT};
    static struct envmove_effect fx[512];
    static struct em_msg m;
    struct envmove_view v;
    unsigned n, pos = 0;
    step(&on);
    for (unsigned k = 0; k < 3; k++)
        for (unsigned i = 0; i < SHORTS; i++)
            say(&t.host[i], &is_short);
    t.now += EM_AGAIN; /* who hasn't answered is asked again */
    tick();
    n = t.n_fx;
    memcpy(fx, t.fx, sizeof fx);
    for (unsigned i = 0; i < n; i++)
        for (unsigned h = 0; h < HOSTS; h++)
            if (fx[i].kind == ENVMOVE_FX_SEND && vi_id_equal(&fx[i].peer, &t.host[h]) && !em_decode(&m, fx[i].data, fx[i].len) && m.kind == EM_LOOK) {
                t.asked[h]++;
                answer(h, &m);
            }
    t.now += 5 * VI_SEC;
    tick();
    while (envmove_next(t.s, &pos, &v))
        if (v.part == ENVMOVE_LEAD)
            return v.env.b[1];
    return -1;
}

/* Of a hundred hosts it looks at 64: those that are short are among them, and what they have is what counts. */
static void test_the_short_ones_are_looked_at(void **state)
{
    unsigned n = 0;
    (void)state;
    assert_int_equal(decided(), 0); /* the cheaper */
    for (unsigned h = 0; h < HOSTS; h++) {
        n += t.asked[h] > 0;
        assert_true(h >= SHORTS || t.asked[h]);
    }
    assert_in_range(n, ENVMOVE_HOSTS - 1, ENVMOVE_HOSTS); /* itself isn't asked by a message */
}

/* One host says that an environment has just moved, or has no move left: it stays, though nobody here knows it. */
static void test_one_that_moved_stays(void **state)
{
    (void)state;
    t.stays = 0;
    assert_int_equal(decided(), 1);
}

/* ---- limits ---- */

/* Asked for room by another domain: every host says how many guests of its it has. Returns what comes of it. */
static const char *asked_for_room(unsigned each)
{
    static struct envmove_view v;
    static struct em_msg m, seen;
    static struct envmove_effect fx[512];
    struct envmove_event on = {.kind = ENVMOVE_EV_REPRESENT, .on = true};
    unsigned pos = 0, n;
    t.abroad = true;
    t.foreign_here = each;
    step(&on);
    memset(&m, 0, sizeof m);
    m.kind = EM_ASK;
    m.move.b[0] = 5;
    m.n = 1;
    m.plan.env = t.env[0];
    m.plan.domain = t.domain;
    m.plan.n = 1;
    id_of(&m.plan.g[0].uuid, 2, 1);
    m.plan.g[0].from = t.foreign;
    m.plan.g[0].kb = (uint64_t)GIB;
    m.plan.g[0].pct = 10;
    say(&t.foreign, &m);
    t.now += EM_AGAIN;
    tick();
    n = t.n_fx;
    memcpy(fx, t.fx, sizeof fx);
    for (unsigned i = 0; i < n; i++)
        if (fx[i].kind == ENVMOVE_FX_SEND && !em_decode(&m, fx[i].data, fx[i].len) && m.kind == EM_LOOK) {
            memset(&seen, 0, sizeof seen);
            seen.kind = EM_SEEN;
            seen.n = m.n;
            seen.seen = (struct envmove_seen){.total_kb = 8 * (uint64_t)GIB, .free_kb = 8 * GIB, .capacity_pct = 100, .free_pct = 100, .of_home.guests = each};
            say(&fx[i].peer, &seen);
        }
    t.now += EM_LOOK_FOR;
    tick();
    while (envmove_next(t.s, &pos, &v))
        if (v.part == ENVMOVE_ROOM)
            return v.why[0] ? v.why : envmove_phase_text(v.phase);
    return "";
}

static void test_guests_that_cant_be_counted(void **state)
{
    (void)state;
    assert_string_equal(asked_for_room(0), "taking leases");
    assert_true(vi_id_equal(&t.counted, &t.domain));
    tear_down(NULL);
    set_up(NULL);
    assert_non_null(strstr(asked_for_room(1), "can't be counted")); /* on all 64 that are looked at, of a hundred */
}

/* ---- leases ---- */

static unsigned leases(void)
{
    struct envmove_view v;
    unsigned pos = 0, n = 0;
    while (envmove_next(t.s, &pos, &v))
        n += v.part == ENVMOVE_LEASE;
    return n;
}

static void take_lease(const struct vi_id *move, const struct vi_id *uuid)
{
    struct em_msg m = {.kind = EM_LEASE, .move = *move, .env = t.env[0], .home = t.domain, .guest = *uuid, .peer = t.foreign,
                       .kb = (uint64_t)GIB, .pct = 50, .n = 1};
    struct envmove_event done = {.kind = ENVMOVE_EV_PERSISTED};
    say(&t.host[1], &m);
    for (unsigned i = 0; i < t.n_fx; i++)
        if (t.fx[i].kind == ENVMOVE_FX_PERSIST) {
            done.id = t.fx[i].id;
            step(&done);
            return;
        }
}

/* It comes, and is gone before anybody sees it in the list of guests: its lease goes with it, and isn't given again for the move
 * that brought it. Its environment is known to have moved. */
static void test_it_comes_and_goes(void **state)
{
    struct envmove_event came = {.kind = ENVMOVE_EV_CAME};
    struct vi_id move = {{5}}, other = {{6}};
    uint64_t kb;
    double pct;
    (void)state;
    id_of(&came.guest, 2, 1);
    take_lease(&move, &came.guest);
    assert_int_equal(leases(), 1);
    t.arriving = true;
    t.now += VI_MIN; /* longer than its term: a handover is under way */
    tick();
    assert_int_equal(leases(), 1);
    t.arriving = false;
    step(&came);
    assert_int_equal(envmove_leased(t.s, &kb, &pct), 1); /* until it is listed */
    t.now += EM_CAME_FOR;
    tick();
    assert_int_equal(leases(), 0);
    assert_true(em_recent(t.s, t.now, &t.env[0]) && !em_recent(t.s, t.now, &t.env[1]));
    take_lease(&move, &came.guest);
    assert_int_equal(leases(), 0);
    take_lease(&other, &came.guest);
    assert_int_equal(leases(), 1);
}

/* One that failed may be tried again: its lease stays. */
static void test_it_does_not_come(void **state)
{
    struct vi_id move = {{5}}, uuid;
    (void)state;
    id_of(&uuid, 2, 1);
    take_lease(&move, &uuid);
    t.arriving = true;
    tick();
    t.arriving = false;
    t.now += ENVMOVE_TERM / 2;
    tick();
    assert_int_equal(leases(), 1);
    t.now += ENVMOVE_TERM / 2;
    tick();
    assert_int_equal(leases(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_short_ones_are_looked_at, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_that_moved_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_guests_that_cant_be_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_it_comes_and_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_it_does_not_come, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
