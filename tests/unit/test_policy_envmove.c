/* Environment moves: the plan, the choice, the wire. Faults are for tests/sim/envmove_main.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/rng.h"
#include "peer/base/wire.h"
#include "policy/envmove_internal.h"

#define GIB ((uint64_t)1 << 20)

static void id_of(struct vi_id *id, unsigned kind, unsigned n)
{
    memset(id, 0, sizeof *id);
    id->b[0] = (uint8_t)kind;
    id->b[1] = (uint8_t)n;
}

/* ---- the plan ---- */

static struct envmove_bin bins[ENVMOVE_HOSTS];
static struct envmove_plan plan;
static char why[ENVMOVE_WHY];

static void bin(unsigned i, uint64_t free_kb, double free_pct)
{
    memset(&bins[i], 0, sizeof bins[i]);
    id_of(&bins[i].id, 1, i);
    bins[i].free_kb = free_kb;
    bins[i].free_pct = free_pct;
    bins[i].arrivals = ENVMOVE_GUESTS;
}

static void put(unsigned i, unsigned n, uint64_t kb, double pct, bool movable)
{
    struct envmove_guest *g = &bins[i].guest[bins[i].n++];
    id_of(&g->uuid, 2, n);
    g->kb = g->size_kb = kb;
    g->pct = pct;
    g->movable = movable;
    g->running = true;
}

/* Carries the plan out, step by step: no bin is ever over-full, every guest is where the plan takes it from. */
static void carry_out(unsigned n_bins, const struct envmove_item *items, unsigned n)
{
    static uint64_t kb[ENVMOVE_HOSTS];
    static double pct[ENVMOVE_HOSTS];
    static struct { struct vi_id id; unsigned at; } where[ENVMOVE_HOSTS * ENVMOVE_SEEN];
    unsigned guests = 0;
    for (unsigned i = 0; i < n_bins; i++) {
        kb[i] = bins[i].free_kb;
        pct[i] = bins[i].free_pct;
        for (unsigned k = 0; k < bins[i].n; k++) {
            where[guests].id = bins[i].guest[k].uuid;
            where[guests++].at = i;
        }
    }
    for (unsigned s = 0; s < plan.n_shifts; s++) {
        const struct envmove_shift *x = &plan.shift[s];
        unsigned g = 0;
        while (g < guests && !vi_id_equal(&where[g].id, &x->guest))
            g++;
        assert_true(g < guests);
        assert_int_equal(where[g].at, x->from);
        assert_int_not_equal(x->from, x->to);
        assert_true(kb[x->to] >= x->kb && pct[x->to] + 0.05 >= x->pct);
        kb[x->to] -= x->kb;
        pct[x->to] -= x->pct;
        kb[x->from] += x->kb;
        pct[x->from] += x->pct;
        where[g].at = x->to;
    }
    for (unsigned i = 0; i < n; i++) {
        assert_true(plan.place[i] < n_bins);
        assert_true(kb[plan.place[i]] >= items[i].kb && pct[plan.place[i]] + 0.05 >= items[i].pct);
        kb[plan.place[i]] -= items[i].kb;
        pct[plan.place[i]] -= items[i].pct;
    }
}

static void test_spreads(void **state)
{
    struct envmove_item items[3] = {{.kb = GIB, .pct = 50}, {.kb = GIB, .pct = 50}, {.kb = GIB, .pct = 50}};
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        bin(i, 4 * GIB, 400);
    assert_int_equal(envmove_plan(&plan, bins, 3, items, 3, 8, NULL, why, sizeof why), 0);
    assert_int_equal(plan.n_shifts, 0);
    assert_true(plan.place[0] != plan.place[1] && plan.place[1] != plan.place[2] && plan.place[0] != plan.place[2]);
}

static void name_guest(struct policy_rule *r, const struct vi_id *guest)
{
    policy_rule_tag(guest, r->guest[r->n++]);
}

/* The environment's rules hold where it is taken in: who must be apart isn't put on one host, though one has most room, nor
 * anybody where he may never be; and what can't be kept is no room. */
static void test_by_rules(void **state)
{
    static const struct vi_id env = {{9}};
    struct envmove_item items[3] = {{.kb = GIB, .pct = 50}, {.kb = GIB, .pct = 50}, {.kb = GIB, .pct = 50}};
    struct policy_rule rule[2] = {{.env = env, .number = 1, .kind = POLICY_RULE_SPREAD}, {.env = env, .number = 2, .kind = POLICY_RULE_NEVER}};
    struct policy_rules rules = {.rule = rule, .n = 1};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        items[i].env = env;
        items[i].guest.b[0] = (uint8_t)(100 + i);
        if (i < 2)
            name_guest(&rule[0], &items[i].guest);
    }
    for (unsigned round = 0; round < 2; round++) { /* with the second rule the other way round */
        bin(0, 16 * GIB, 900);
        bin(1, 2 * GIB, 110);
        assert_int_equal(envmove_plan(&plan, bins, 2, items, 3, 8, NULL, why, sizeof why), 0);
        assert_int_equal(plan.place[0] + plan.place[1] + plan.place[2], 0);
        assert_int_equal(envmove_plan(&plan, bins, 2, items, 3, 8, &rules, why, sizeof why), 0);
        assert_int_not_equal(plan.place[0], plan.place[1]);
        if (round)
            assert_int_equal(plan.place[0], 1);
        rule[1].host = bins[0].id;
        rule[1].n = 0;
        name_guest(&rule[1], &items[0].guest);
        rules.n = 2;
    }
    name_guest(&rule[0], &items[2].guest); /* three apart on two hosts */
    assert_int_equal(envmove_plan(&plan, bins, 2, items, 3, 8, &rules, why, sizeof why), VI_EFULL);
    assert_non_null(strstr(why, "that rules allow"));
}

/* Who makes room for it is to be kept apart, too: two that were on two hosts aren't both put on the third. */
static void test_who_makes_room_by_rules(void **state)
{
    static const struct vi_id env = {{9}};
    struct envmove_item items[2] = {{.kb = 3 * GIB, .pct = 50}, {.kb = 3 * GIB, .pct = 50}};
    struct policy_rule rule = {.env = env, .number = 1, .kind = POLICY_RULE_SPREAD};
    struct policy_rules rules = {.rule = &rule, .n = 1};
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        id_of(&items[i].guest, 5, i);
        bin(i, 2 * GIB, 300);
        put(i, i, GIB, 50, true);
        bins[i].guest[0].env = env;
        name_guest(&rule, &bins[i].guest[0].uuid);
    }
    bin(2, 2 * GIB + GIB / 2, 300);
    assert_int_equal(envmove_plan(&plan, bins, 3, items, 2, 8, NULL, why, sizeof why), 0);
    assert_int_equal(plan.n_shifts, 2);
    carry_out(3, items, 2);
    assert_int_equal(envmove_plan(&plan, bins, 3, items, 2, 8, &rules, why, sizeof why), VI_EFULL);
    rule.n = 1;
    assert_int_equal(envmove_plan(&plan, bins, 3, items, 2, 8, &rules, why, sizeof why), 0);
}

/* The paper's second scenario: six hosts with a small guest each, four guests that want a host to themselves. */
static void test_second_scenario(void **state)
{
    struct envmove_item items[4] = {{.kb = GIB, .pct = 100}, {.kb = GIB, .pct = 100}, {.kb = GIB, .pct = 100}, {.kb = GIB, .pct = 100}};
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        bin(i, 8 * GIB, 100 - 33.3);
        put(i, i, GIB / 2, 33.3, true);
    }
    assert_int_equal(envmove_plan(&plan, bins, 6, items, 4, 8, NULL, why, sizeof why), 0);
    assert_int_equal(plan.n_shifts, 4);
    carry_out(6, items, 4);
    assert_int_equal(envmove_plan(&plan, bins, 6, items, 4, 3, NULL, why, sizeof why), VI_EFULL);
    assert_non_null(strstr(why, "no room"));
}

static void test_pinned_stay(void **state)
{
    struct envmove_item item = {.kb = 4 * GIB, .pct = 50};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        bin(i, 3 * GIB, 300);
        put(i, i, GIB, 50, i == 2);
    }
    assert_int_equal(envmove_plan(&plan, bins, 3, &item, 1, 8, NULL, why, sizeof why), 0);
    assert_int_equal(plan.n_shifts, 1);
    assert_int_equal(plan.place[0], 2);
    carry_out(3, &item, 1);
    bins[2].guest[0].movable = false;
    assert_int_equal(envmove_plan(&plan, bins, 3, &item, 1, 8, NULL, why, sizeof why), VI_EFULL);
}

/* Any plan that is made can be carried out; and what fits without a move is never moved for. */
static void test_random_plans(void **state)
{
    struct vi_rng rng;
    unsigned made = 0, shifted = 0;
    (void)state;
    vi_rng_seed(&rng, 7);
    for (unsigned round = 0; round < 3000; round++) {
        struct envmove_item items[ENVMOVE_GUESTS];
        unsigned n_bins = 1 + vi_rng_below(&rng, 8), n = 1 + vi_rng_below(&rng, 6), guest = 0;
        for (unsigned i = 0; i < n_bins; i++) {
            unsigned k = vi_rng_below(&rng, 4);
            bin(i, vi_rng_below(&rng, 4 * GIB), vi_rng_below(&rng, 300));
            while (k-- > 0)
                put(i, guest++, 1 + vi_rng_below(&rng, GIB), vi_rng_below(&rng, 100), vi_rng_below(&rng, 5) > 0);
        }
        for (unsigned i = 0; i < n; i++)
            items[i] = (struct envmove_item){.kb = 1 + vi_rng_below(&rng, 3 * GIB), .pct = vi_rng_below(&rng, 200)};
        if (envmove_plan(&plan, bins, n_bins, items, n, 8, NULL, why, sizeof why))
            continue;
        made++;
        shifted += plan.n_shifts > 0;
        assert_true(plan.n_shifts <= 8);
        carry_out(n_bins, items, n);
    }
    assert_true(made > 500 && shifted > 100);
}

/* ---- the choice ---- */

static bool may(void *arg, const struct vi_id *env)
{
    return !arg || env->b[1] != *(unsigned *)arg;
}

static void guest_of(struct envmove_seen *h, unsigned env, unsigned n, uint64_t kb, double pct, bool movable)
{
    struct envmove_guest *g = &h->guest[h->n++];
    id_of(&g->uuid, 2, n);
    id_of(&g->env, 3, env);
    g->kb = g->size_kb = kb;
    g->pct = pct;
    g->movable = movable;
    g->running = true;
    h->free_kb -= (int64_t)kb;
    h->free_pct -= pct;
}

/* The paper's first scenario: 4 and 6 guests that want a host each, on six hosts: the four go. */
static void test_first_scenario(void **state)
{
    static struct envmove_seen hosts[6];
    struct envmove_choice c[4];
    struct envmove_config cfg;
    unsigned not_this = 1, n;
    (void)state;
    envmove_config_init(&cfg);
    for (unsigned i = 0; i < 6; i++) {
        hosts[i] = (struct envmove_seen){.total_kb = 8 * GIB, .free_kb = 8 * (int64_t)GIB, .capacity_pct = 100,
                                         .free_pct = 100};
        guest_of(&hosts[i], 3, i, GIB, 100, true);
        if (i < 4)
            guest_of(&hosts[i], 1, 10 + i, GIB, 100, true);
    }
    n = envmove_choose(&cfg, hosts, 6, may, NULL, c, 4);
    assert_int_equal(n, 2);
    assert_int_equal(c[0].env.b[1], 1);
    assert_int_equal(c[0].guests, 4);
    assert_true(c[0].solves && c[0].gain_s > c[0].cost_s);
    n = envmove_choose(&cfg, hosts, 6, may, &not_this, c, 4);
    assert_int_equal(n, 1);
    assert_int_equal(c[0].env.b[1], 3);
    for (unsigned i = 0; i < 4; i++) /* nothing is short: nobody goes */
        hosts[i] = hosts[4];
    assert_int_equal(envmove_choose(&cfg, hosts, 6, may, NULL, c, 4), 0);
}

/* Of two that cost the same the one goes that has run for longer: it is expected to go on for longer, too. */
static void test_the_older_goes(void **state)
{
    static struct envmove_seen host;
    struct envmove_choice c[2];
    struct envmove_config cfg;
    (void)state;
    envmove_config_init(&cfg);
    for (unsigned older = 0; older < 2; older++) {
        host = (struct envmove_seen){.total_kb = 8 * GIB, .free_kb = 8 * (int64_t)GIB, .capacity_pct = 100, .free_pct = 100};
        guest_of(&host, 1, 1, GIB, 100, true);
        guest_of(&host, 2, 2, GIB, 99, true); /* a bit cheaper, for it was measured so */
        host.guest[older].age = 130 * VI_SEC;
        host.guest[!older].age = 100 * VI_SEC;
        assert_int_equal(envmove_choose(&cfg, &host, 1, may, NULL, c, 2), 2);
        assert_int_equal(c[0].env.b[1], older + 1);
    }
}

static void test_does_not_pay(void **state)
{
    static struct envmove_seen host;
    struct envmove_choice c[4];
    struct envmove_config cfg;
    (void)state;
    envmove_config_init(&cfg);
    cfg.horizon = 10 * VI_SEC;
    cfg.bandwidth_kbps = 1000;
    host = (struct envmove_seen){.total_kb = 8 * GIB, .free_kb = 8 * (int64_t)GIB, .capacity_pct = 100, .free_pct = 100};
    guest_of(&host, 1, 1, GIB, 60, true);
    guest_of(&host, 2, 2, GIB, 50, false);
    assert_int_equal(envmove_choose(&cfg, &host, 1, may, NULL, c, 4), 0);
    cfg.horizon = VI_HOUR;
    cfg.bandwidth_kbps = 100000;
    assert_int_equal(envmove_choose(&cfg, &host, 1, may, NULL, c, 4), 1);
    assert_int_equal(c[0].env.b[1], 1); /* the other one can't move */
}

/* ---- the wire ---- */

static void full_plan(struct em_plan *p)
{
    memset(p, 0, sizeof *p);
    id_of(&p->env, 3, 1);
    id_of(&p->domain, 4, 1);
    id_of(&p->lead, 1, 9);
    p->version = 3;
    p->n = ENVMOVE_GUESTS;
    for (unsigned i = 0; i < p->n; i++) {
        memset(&p->g[i].uuid, 0xe0 + (int)i, VI_ID_SIZE);
        memset(&p->g[i].from, 0x20 + (int)i, VI_ID_SIZE);
        memset(&p->g[i].to, 0x60 + (int)i, VI_ID_SIZE);
        p->g[i].kb = ((uint64_t)1 << 32) - 1;
        p->g[i].pct = 12800;
        p->g[i].state = ENVMOVE_LEFT;
    }
}

static void test_largest_messages(void **state)
{
    static struct em_msg m, back;
    static struct em_grant g, g2;
    struct em_lease e2;
    uint8_t b[ENVMOVE_RECORD_MAX];
    struct vi_id boot = {{7}}, boot2;
    bool is_lease;
    int n;
    (void)state;
    for (unsigned k = EM_LOOK; k <= EM_SHIFTED; k++) {
        memset(&m, 0, sizeof m);
        m.kind = (enum em_kind)k;
        m.n = UINT64_MAX;
        m.round = UINT32_MAX;
        full_plan(&m.plan);
        memset(m.why, 'w', sizeof m.why - 1);
        m.seen.total_kb = (uint64_t)1 << 33;
        m.seen.free_kb = -(int64_t)m.seen.total_kb;
        m.seen.free_pct = -100000;
        m.seen.n = ENVMOVE_SEEN;
        m.more = true;
        for (unsigned i = 0; i < ENVMOVE_SEEN; i++) {
            m.seen.guest[i].kb = m.seen.guest[i].size_kb = ((uint64_t)1 << 32) - 1;
            m.seen.guest[i].age = i ? VI_NEVER : 129 * VI_SEC;
            m.seen.guest[i].stays = i == 1;
        }
        n = em_encode(&m, b, sizeof b);
        assert_true(n > 0 && n <= ENVMOVE_MESSAGE_MAX);
        assert_int_equal(em_decode(&back, b, (size_t)n), 0);
        assert_int_equal(back.kind, k);
        assert_true(back.n == UINT64_MAX);
        if (k == EM_SEEN) {
            assert_int_equal(back.seen.guest[0].age, 120 * VI_SEC);
            assert_in_range(back.seen.guest[1].age, 45 * VI_HOUR, 46 * VI_HOUR);
            assert_true(back.seen.guest[1].stays && !back.seen.guest[2].stays);
        }
        if (k == EM_GO)
            assert_memory_equal(&back.plan, &m.plan, sizeof m.plan);
        for (int cut = 0; cut < n; cut++)
            assert_int_not_equal(em_decode(&back, b, (size_t)cut), 0);
    }
    g.move = boot;
    g.phase = EG_GO;
    g.ballot = 5;
    full_plan(&g.plan);
    n = em_grant_encode(&g, &boot, b, sizeof b);
    assert_true(n > 0);
    assert_int_equal(em_record_decode(&is_lease, &g2, &e2, &boot2, b, (size_t)n), 0);
    assert_true(!is_lease && g2.phase == EG_GO && g2.ballot == 5 && vi_id_equal(&boot, &boot2));
    assert_memory_equal(&g2.plan, &g.plan, sizeof g.plan);
}

/* Word for word what the first version reads and writes: thirteen values, flags of two bits, nothing after them. */
static int read_as_before(const uint8_t *data, size_t len, struct vi_id *move, uint64_t *flags)
{
    struct vi_reader r;
    struct vi_id id;
    vi_reader_init(&r, data, len);
    if (vi_read_array(&r, 32) != 13 || vi_read_uint(&r, 255) != 1 || vi_read_uint(&r, EM_SHIFTED) != EM_SEEN)
        return VI_EPROTO;
    vi_read_id(&r, move);
    for (unsigned i = 0; i < 9; i++)
        (void)vi_read_int(&r, -((int64_t)1 << 40), (int64_t)1 << 40);
    if (vi_read_array(&r, ENVMOVE_SEEN * 6) != 6)
        return VI_EPROTO;
    vi_read_id(&r, &id);
    vi_read_id(&r, &id);
    for (unsigned i = 0; i < 3; i++)
        (void)vi_read_uint(&r, UINT64_MAX);
    *flags = vi_read_uint(&r, 3);
    return vi_read_end(&r);
}

/* Hosts are upgraded one by one: an older one is told what it understands, and what it says is understood. */
static void test_an_older_peer(void **state)
{
    static struct em_msg m, back;
    struct vi_id move = {{0}};
    uint8_t b[ENVMOVE_MESSAGE_MAX];
    uint64_t flags;
    int n;
    (void)state;
    for (unsigned more = 0; more < 2; more++) { /* which question is it? */
        memset(&m, 0, sizeof m);
        m.kind = EM_LOOK;
        m.more = more;
        n = em_encode(&m, b, sizeof b);
        assert_true(n > 0);
        assert_int_equal(em_decode(&back, b, (size_t)n), 0);
        assert_int_equal(back.more, more);
    }
    memset(&m, 0, sizeof m);
    m.kind = EM_SEEN;
    m.n = 77;
    m.seen.n = 1;
    m.seen.guest[0] = (struct envmove_guest){.age = VI_HOUR, .stays = true, .movable = true};
    n = em_encode(&m, b, sizeof b);
    assert_int_equal(read_as_before(b, (size_t)n, &move, &flags), 0);
    assert_int_equal(flags, 1);
    assert_int_equal(em_decode(&back, b, (size_t)n), 0); /* as its answer, too */
    assert_true(back.seen.guest[0].age == 0 && !back.seen.guest[0].stays && back.seen.guest[0].movable);
    m.more = true;
    n = em_encode(&m, b, sizeof b);
    assert_int_equal(read_as_before(b, (size_t)n, &move, &flags), VI_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_rules),
        cmocka_unit_test(test_who_makes_room_by_rules),
        cmocka_unit_test(test_spreads),        cmocka_unit_test(test_second_scenario),
        cmocka_unit_test(test_pinned_stay),    cmocka_unit_test(test_random_plans),
        cmocka_unit_test(test_first_scenario), cmocka_unit_test(test_does_not_pay),
        cmocka_unit_test(test_the_older_goes),
        cmocka_unit_test(test_largest_messages), cmocka_unit_test(test_an_older_peer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
