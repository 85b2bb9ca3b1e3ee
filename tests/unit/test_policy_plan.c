/* What if? On four hosts: who moves, where to, in which order; who finds no place; what it comes to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "policy/policy.h"

#define MIB ((uint64_t)1024)

static struct policy *settings;
static struct policy_plan p;
static struct vi_rng rng;

static int set_up(void **unused)
{
    struct policy_config c;
    (void)unused;
    policy_config_init(&c);
    vi_rng_seed(&rng, 1);
    settings = policy_new(&c, &rng, 0);
    memset(&p, 0, sizeof p);
    return settings ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    policy_free(settings);
    return 0;
}

static unsigned host(uint64_t free_mib, double pct)
{
    struct plan_host *h = &p.host[p.n_hosts];
    memset(h, 0, sizeof *h);
    h->id.b[0] = (uint8_t)(p.n_hosts + 1);
    h->known = true;
    h->capacity_pct = 200;
    h->pct = pct;
    h->total_kb = 4096 * MIB;
    h->free_kb = (int64_t)(free_mib * MIB);
    return p.n_hosts++;
}

static unsigned guest(unsigned on, uint64_t mib, double pct)
{
    struct plan_guest *g = &p.guest[p.n_guests];
    memset(g, 0, sizeof *g);
    g->uuid.b[0] = (uint8_t)(p.n_guests + 1);
    g->host = on;
    g->kb = g->size_kb = mib * MIB;
    g->pct = g->was_pct = pct;
    g->movable = g->running = true;
    p.host[on].guests++;
    return p.n_guests++;
}

/* Every step fits, and the sums are those of the guests' places. */
static void consistent(void)
{
    int64_t kb[PLAN_HOSTS];
    for (unsigned i = 0; i < p.n_hosts; i++)
        kb[i] = p.host[i].free_kb;
    for (unsigned i = 0; i < p.n_moves; i++) {
        const struct plan_move *m = &p.move[i];
        const struct plan_guest *g = &p.guest[m->guest];
        assert_true(m->from != m->to && m->to < p.n_hosts && p.host[m->to].known && !p.host[m->to].without);
        kb[m->from] += (int64_t)g->size_kb;
        kb[m->to] -= (int64_t)(g->kb > g->size_kb ? g->kb : g->size_kb);
        assert_true(kb[m->to] >= 0);
    }
}

static void test_nothing(void **unused)
{
    unsigned a = host(1000, 50);
    (void)unused;
    guest(a, 500, 20);
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 0);
    assert_int_equal(p.host[a].free_after_kb, 1000 * MIB);
    assert_int_equal(p.host[a].guests_after, 1);
}

/* The largest first, each to the least utilised; two that leave at once don't go to one host. */
static void test_without(void **unused)
{
    unsigned a = host(1000, 60), b = host(2000, 10), c = host(3000, 20), small, big, mid;
    (void)unused;
    small = guest(a, 200, 20);
    big = guest(a, 900, 20);
    mid = guest(a, 500, 20);
    p.guest[mid].disk_kb = 5000 * MIB;
    p.host[a].without = true;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 3);
    assert_int_equal(p.move[0].guest, big);
    assert_int_equal(p.move[0].to, c);
    assert_int_equal(p.move[1].guest, mid);
    assert_int_equal(p.move[1].to, b);
    assert_int_equal(p.move[2].guest, small);
    assert_int_equal(p.move[2].to, c); /* 2100 free beside 1500 */
    assert_int_equal(p.host[a].guests_after, 0);
    assert_int_equal(p.host[a].free_after_kb, 2600 * MIB);
    assert_int_equal(p.host[c].free_after_kb, 1900 * MIB);
    assert_true(p.host[c].pct_after > 59 && p.host[c].pct_after < 61);
    assert_true(p.move[0].carry_s > 17 && p.move[0].carry_s < 19); /* 900 MiB at 50 MiB/s */
    assert_true(p.move[1].carry_s > 109 && p.move[1].carry_s < 111); /* with its disks */
    consistent();
}

/* Hosts that don't answer, are drained, or take enough already, take nobody; what can't move stays, with its reason. */
static void test_who_takes_nobody(void **unused)
{
    unsigned a = host(1000, 60), b = host(4000, 0), c = host(4000, 0), g, stays;
    (void)unused;
    g = guest(a, 500, 20);
    stays = guest(a, 900, 20);
    p.guest[stays].movable = false;
    snprintf(p.guest[stays].why, sizeof p.guest[stays].why, "pinned");
    p.host[a].without = true;
    p.host[b].known = false;
    p.host[c].draining = true;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 0);
    assert_true(p.guest[g].stuck && p.guest[stays].stuck);
    assert_string_equal(p.guest[stays].why, "pinned");
    assert_non_null(strstr(p.guest[g].why, "no other host has room"));
    p.host[c].draining = false;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 1);
    assert_false(p.guest[g].stuck);
}

/* A guest that grows beyond its host: the cheapest move that solves it, which needn't be its own. */
static void test_grows(void **unused)
{
    unsigned a = host(300, 60), b = host(3000, 20), big, other;
    (void)unused;
    big = guest(a, 1000, 20);
    other = guest(a, 800, 10);
    p.guest[big].changed = true;
    p.guest[big].kb = 1200 * MIB;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 0); /* there is room */
    assert_int_equal(p.host[a].free_after_kb, 100 * MIB);
    p.guest[big].kb = 2000 * MIB;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 1);
    assert_int_equal(p.move[0].guest, other);
    assert_int_equal(p.move[0].to, b);
    assert_int_equal(p.host[a].free_after_kb, 100 * MIB);
    p.guest[other].host = a; /* as it was */
    p.guest[other].movable = false;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 1);
    assert_int_equal(p.move[0].guest, big);
    assert_int_equal(p.host[a].free_after_kb, 1300 * MIB);
    assert_int_equal(p.host[b].free_after_kb, 1000 * MIB);
    p.guest[big].host = a;
    p.guest[big].kb = 4000 * MIB;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 0);
    assert_true(p.guest[big].stuck);
    assert_true(p.host[a].free_after_kb < 0);
}

static void test_wants_more_cpu(void **unused)
{
    unsigned a = host(1000, 150), b = host(3000, 20), g;
    (void)unused;
    g = guest(a, 500, 100);
    guest(a, 500, 50);
    p.guest[g].changed = true;
    p.guest[g].pct = 170;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 1); /* the one that wants 50: cheaper, and it is enough */
    assert_int_equal(p.move[0].to, b);
    assert_true(p.host[a].pct_after < 200);
    assert_true(p.host[b].pct_after > 69 && p.host[b].pct_after < 71);
}

/* No single move does it, but two small ones first would: told as such, and the guest as one that finds no place. */
static void test_room_is_made(void **unused)
{
    unsigned a = host(0, 20), b = host(600, 20), c = host(600, 20), big;
    (void)unused;
    big = guest(a, 1000, 10);
    guest(b, 500, 5);
    guest(c, 500, 5);
    p.host[a].without = true;
    policy_plan(settings, &p);
    assert_true(p.guest[big].stuck);
    assert_int_equal(p.n_moves, 2);
    assert_true(p.move[0].makes_room && p.move[1].makes_room);
    assert_int_equal(p.move[1].guest, big);
    consistent();
}

/* An environment's guests leave the domain, all but those that can't; the others have their room then. */
static void test_environment_goes(void **unused)
{
    unsigned a = host(100, 60), b = host(100, 20), one, head;
    (void)unused;
    one = guest(a, 900, 30);
    head = guest(b, 500, 10);
    guest(b, 700, 10); /* another environment's */
    p.guest[one].leaves = p.guest[head].leaves = true;
    p.guest[head].movable = false;
    p.host[b].without = true;
    policy_plan(settings, &p);
    assert_int_equal(p.leaving, 1);
    assert_int_equal(p.pinned, 1);
    assert_int_equal(p.leaving_kb, 900 * MIB);
    assert_int_equal(p.guest[one].host, PLAN_HOSTS);
    assert_int_equal(p.n_moves, 1);
    assert_int_equal(p.move[0].to, a);
    assert_true(p.guest[head].stuck);
}

/* More moves than are told of: it says so, and stays within its bounds. */
static void test_bounds(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < PLAN_HOSTS; i++)
        p.host[host(i ? 4096 : 0, 0)].total_kb = 1 << 30;
    for (unsigned i = 0; i < PLAN_GUESTS; i++)
        p.guest[guest(0, 1, 0)].uuid.b[1] = (uint8_t)(i >> 8);
    p.host[0].without = true;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, PLAN_MOVES);
    assert_true(p.cut);
    assert_int_equal(p.host[0].guests_after, PLAN_GUESTS - PLAN_MOVES);
}

/* Rules of environments: a pinned guest stays, with the rule; one that is to be spread goes where no other of them is. */
static void test_rules(void **unused)
{
    struct policy_rule rules[2] = {{.number = 1, .kind = POLICY_RULE_SPREAD, .n = 2}, {.number = 2, .kind = POLICY_RULE_PIN, .n = 1}};
    struct policy_env none = {.shares = 0};
    struct policy_event ev = {.kind = POLICY_EV_EVALUATE};
    unsigned a = host(100, 60), b = host(3000, 10), c = host(1500, 50), web1, web2, head;
    (void)unused;
    web1 = guest(a, 500, 20);
    web2 = guest(b, 500, 20);
    head = guest(a, 300, 20);
    policy_rule_tag(&p.guest[web1].uuid, rules[0].guest[0]);
    policy_rule_tag(&p.guest[web2].uuid, rules[0].guest[1]);
    policy_rule_tag(&p.guest[head].uuid, rules[1].guest[0]);
    rules[1].host = p.host[a].id;
    ev.snapshot = (struct policy_snapshot){.cpus = 4, .total_kb = 4096 * MIB, .free_kb = 1000 * MIB, .envs = &none,
                                           .rules = {.rule = rules, .n = 2}};
    policy_step(settings, VI_SEC, &ev);
    p.host[a].without = true;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 1);
    assert_int_equal(p.move[0].guest, web1);
    assert_int_equal(p.move[0].to, c); /* not b, which is emptier: web2 is there */
    assert_true(p.guest[head].stuck);
    assert_non_null(strstr(p.guest[head].why, "rule 2"));
}

/* Room is made as rules allow: for one that may not be where the small one's going would be easiest, and of small ones only those
 * that may go elsewhere. What can't be is said to be a rule's doing. The rules are those handed in: this host's policy knows none. */
static void test_room_is_made_by_rules(void **unused)
{
    static struct policy_rule rule[2] = {{.number = 1, .kind = POLICY_RULE_SPREAD, .n = 2}, {.number = 2, .kind = POLICY_RULE_NEVER, .n = 1}};
    static struct policy_rules rules = {.rule = rule};
    unsigned a = host(0, 20), b = host(600, 20), c = host(600, 30), big, x, y;
    (void)unused;
    big = guest(a, 1000, 10);
    x = guest(b, 500, 5);
    y = guest(c, 500, 5);
    p.host[a].without = true;
    p.rules = &rules;
    policy_rule_tag(&p.guest[x].uuid, rule[0].guest[0]);
    policy_rule_tag(&p.guest[y].uuid, rule[0].guest[1]);
    policy_rule_tag(&p.guest[big].uuid, rule[1].guest[0]);
    rule[1].host = p.host[b].id;
    rules.n = 0;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 2);
    rules.n = 1; /* x and y apart: neither can make room */
    for (unsigned i = 0; i < 3; i++)
        p.guest[i].host = i;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 0);
    assert_true(p.guest[big].stuck);
    rule[0] = rule[1]; /* they needn't, but big may not be on b: c's makes room */
    for (unsigned i = 0; i < 3; i++)
        p.guest[i].host = i;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 2);
    assert_int_equal(p.move[0].guest, y);
    assert_int_equal(p.move[1].to, c);
    p.host[c].free_kb = 100 * (int64_t)MIB; /* no room can be made there; b would have it, and may not */
    p.host[b].free_kb = 2000 * (int64_t)MIB;
    for (unsigned i = 0; i < 3; i++)
        p.guest[i].host = i;
    p.guest[y].movable = false;
    policy_plan(settings, &p);
    assert_int_equal(p.n_moves, 0);
    assert_non_null(strstr(p.guest[big].why, "rule 2 (never"));
}

/* ---- the plan is what a draining host does ---- */

struct draining {
    struct policy *core;
    unsigned n_guests, n_peers, n_moves;
    struct policy_guest guest[16];
    struct policy_peer peer[8];
    struct {
        unsigned guest, peer;
    } move[16];
};

static unsigned peer_at(const struct draining *d, const struct vi_id *id)
{
    for (unsigned i = 0; i < d->n_peers; i++)
        if (vi_id_equal(&d->peer[i].id, id))
            return i;
    fail();
    return 0;
}

static unsigned others(void *arg, vi_time now, struct policy_peer *out, unsigned most)
{
    const struct draining *d = arg;
    (void)now;
    assert_true(d->n_peers <= most);
    memcpy(out, d->peer, d->n_peers * sizeof *out);
    return d->n_peers;
}

/* One evaluation; the moves that it asks for are made before the next. */
static unsigned evaluate(struct draining *d, vi_time now)
{
    struct policy_event ev = {.kind = POLICY_EV_EVALUATE}, moved[16];
    const struct policy_effect *fx;
    const struct policy_env none = {.shares = 0};
    unsigned n = 0;
    ev.snapshot = (struct policy_snapshot){.cpus = 4, .total_kb = 64 << 20, .free_kb = 1 << 20, .guests = d->guest, .n_guests = d->n_guests, .envs = &none};
    policy_step(d->core, now, &ev);
    while ((fx = policy_effect(d->core)))
        if (fx->kind == POLICY_FX_MOVE) {
            struct policy_peer *to = &d->peer[peer_at(d, &fx->peer)];
            d->move[d->n_moves].guest = fx->guest.b[0];
            d->move[d->n_moves++].peer = (unsigned)(to - d->peer);
            to->load.free_kb -= fx->needs.kb;
            moved[n++] = (struct policy_event){.kind = POLICY_EV_MOVED, .guest = fx->guest, .peer = fx->peer};
        }
    for (unsigned i = 0; i < n; i++) {
        policy_step(d->core, now, &moved[i]);
        for (unsigned k = 0; k < d->n_guests; k++)
            if (vi_id_equal(&d->guest[k].uuid, &moved[i].guest))
                d->guest[k--] = d->guest[--d->n_guests];
    }
    return n;
}

static void compare(uint64_t seed)
{
    static struct draining d;
    struct policy_config c;
    struct vi_rng r;
    unsigned here;
    memset(&d, 0, sizeof d);
    memset(&p, 0, sizeof p);
    policy_config_init(&c);
    vi_rng_seed(&r, seed);
    c.peers = others;
    c.peers_arg = &d;
    d.core = policy_new(&c, &r, 0);
    here = host(1024, 0);
    p.host[here].without = true;
    d.n_peers = 1 + vi_rng_below(&r, 6);
    for (unsigned i = 0; i < d.n_peers; i++) {
        unsigned h = host(vi_rng_below(&r, 3000), vi_rng_below(&r, 150));
        d.peer[i].id = p.host[h].id;
        d.peer[i].load = (struct policy_load){.capacity_pct = 200, .demand_pct = p.host[h].pct, .total_kb = p.host[h].total_kb,
                                              .free_kb = (uint64_t)p.host[h].free_kb};
    }
    d.n_guests = 1 + vi_rng_below(&r, 12);
    for (unsigned i = 0; i < d.n_guests; i++) {
        uint64_t mib = 100 + 7 * i + vi_rng_below(&r, 8) * 200; /* no two alike: their order is then certain */
        unsigned g = guest(here, mib, 0);
        p.guest[g].uuid.b[0] = (uint8_t)i;
        d.guest[i] = (struct policy_guest){.uuid = p.guest[g].uuid, .env = {{9}}, .name = "g", .domid = i + 1, .vcpus = 1, .weight = 256,
                                           .current_kb = mib * MIB, .target_kb = mib * MIB, .max_kb = mib * MIB, .running = true, .movable = true};
    }
    policy_plan(settings, &p);
    policy_set_draining(d.core, VI_SEC, true);
    for (unsigned turn = 1, idle = 0; idle < 2; turn++)
        idle = evaluate(&d, turn * 5 * VI_SEC) ? 0 : idle + 1;
    for (unsigned i = 0, k = 0; i < p.n_moves; i++) {
        if (p.move[i].makes_room)
            continue;
        assert_true(k < d.n_moves);
        assert_int_equal(p.move[i].guest, d.move[k].guest);
        assert_int_equal(p.move[i].to, d.move[k].peer + 1);
        k++;
        here = k;
    }
    assert_int_equal(here, d.n_moves);
    policy_free(d.core);
}

static void test_plan_is_what_drain_does(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 300; seed++)
        compare(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_takes_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wants_more_cpu, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_room_is_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_environment_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bounds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rules, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_room_is_made_by_rules, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plan_is_what_drain_does, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
