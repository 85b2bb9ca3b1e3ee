/* Who represents the domain: ranks, taking over, stepping back; all interleavings of three by seeds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/representative.h"
#include "peer/base/rng.h"

#define MANY 6

static struct rep_rank ranked(unsigned n, uint32_t started, bool degraded)
{
    struct rep_rank r = {.degraded = degraded, .started = started};

    memset(r.id.b, (int)n + 1, sizeof r.id.b);
    return r;
}

static void ranks(void **state)
{
    struct rep_rank old = ranked(5, 100, false), young = ranked(1, 200, false),
                    ill = ranked(0, 1, true), unknown = ranked(0, 0, false), same = ranked(6, 100, false);
    struct rep_first f = {0};

    (void)state;
    assert_true(rep_compare(&old, &young) < 0 && rep_compare(&young, &old) > 0);
    assert_true(rep_compare(&young, &ill) < 0);
    assert_true(rep_compare(&young, &unknown) < 0 && rep_compare(&unknown, &ill) < 0);
    assert_true(rep_compare(&old, &same) < 0);
    rep_offer(&f, &ill);
    rep_offer(&f, &unknown);
    rep_offer(&f, &young);
    rep_offer(&f, &same);
    rep_offer(&f, &old);
    assert_int_equal(f.n, REP_FIRST);
    assert_memory_equal(&f.r[0].id, &old.id, sizeof old.id);
    assert_memory_equal(&f.r[1].id, &same.id, sizeof old.id);
    assert_memory_equal(&f.r[2].id, &young.id, sizeof old.id);
}

static void meta(void **state)
{
    struct rep_meta m = {.acting = true, .started = 0x89abcdef}, back;
    uint8_t b[REP_META];

    (void)state;
    rep_meta_encode(&m, b);
    rep_meta_decode(&back, b, sizeof b);
    assert_true(back.acting && !back.degraded && back.started == m.started);
    rep_meta_decode(&back, b, sizeof b - 1);
    assert_true(!back.acting && !back.started);
    b[0] = 77;
    rep_meta_decode(&back, b, sizeof b);
    assert_true(!back.acting && !back.started);
}

/* ---- some of them together: declarations are lost, members come and go ---- */

struct group {
    struct representative r[MANY];
    struct rep_rank rank[MANY];
    bool up[MANY];
    vi_time now;
    double loss;
    struct vi_rng rng;
};

static void tell_all(struct group *g)
{
    struct rep_first f = {0};

    for (unsigned k = 0; k < MANY; k++)
        if (g->up[k])
            rep_offer(&f, &g->rank[k]);
    for (unsigned k = 0; k < MANY; k++)
        if (g->up[k])
            rep_set(&g->r[k], g->now, &f, &g->rank[k]);
}

static void start(struct group *g, unsigned k)
{
    g->rank[k].started = (uint32_t)(g->now / VI_SEC) + 10;
    g->up[k] = true;
    rep_init(&g->r[k], &g->rank[k].id, g->now);
    tell_all(g);
}

static void declare(struct group *g, unsigned from, unsigned to)
{
    if (rep_declaration(&g->r[to], g->now, &g->rank[from]) && vi_rng_unit(&g->rng) >= g->loss)
        rep_declaration(&g->r[from], g->now, &g->rank[to]);
}

static void step(struct group *g)
{
    g->now += 100 * VI_MSEC;
    for (unsigned k = 0; k < MANY; k++) {
        struct vi_id to[REP_FIRST];
        unsigned n = 0;

        if (!g->up[k])
            continue;
        if (rep_deadline(&g->r[k]) <= g->now && rep_tick(&g->r[k], g->now))
            n = rep_standbys(&g->r[k], to);
        for (unsigned j = 0; j < n; j++)
            for (unsigned x = 0; x < MANY; x++)
                if (g->up[x] && vi_id_equal(&to[j], &g->rank[x].id) && vi_rng_unit(&g->rng) >= g->loss)
                    declare(g, k, x);
    }
}

static unsigned acting(const struct group *g, unsigned *who)
{
    unsigned n = 0;

    for (unsigned k = 0; k < MANY; k++)
        if (g->up[k] && g->r[k].acting) {
            n++;
            *who = k;
        }
    return n;
}

static void begin(struct group *g, uint64_t seed)
{
    memset(g, 0, sizeof *g);
    g->now = 1000 * VI_SEC;
    vi_rng_seed(&g->rng, seed);
    for (unsigned k = 0; k < MANY; k++)
        g->rank[k] = ranked(k, 0, false);
    for (unsigned k = 0; k < MANY; k++) {
        start(g, k);
        for (int j = 0; j < 30; j++)
            step(g);
    }
}

static void one_and_its_heir(void **state)
{
    struct group g;
    unsigned who = MANY, next = MANY;

    (void)state;
    begin(&g, 1);
    for (int j = 0; j < 100; j++)
        step(&g);
    assert_int_equal(acting(&g, &who), 1);
    assert_int_equal(who, 0); /* up for longest */
    g.up[0] = false; /* nobody has noticed yet */
    for (int j = 0; j < 80; j++)
        step(&g);
    assert_int_equal(acting(&g, &next), 1);
    assert_int_equal(next, 1);
    tell_all(&g);
    start(&g, 0); /* it is back, and last */
    for (int j = 0; j < 100; j++)
        step(&g);
    assert_int_equal(acting(&g, &who), 1);
    assert_int_equal(who, 1);
    g.rank[1].degraded = true;
    tell_all(&g);
    for (int j = 0; j < 100; j++)
        step(&g);
    assert_int_equal(acting(&g, &who), 1);
    assert_int_equal(who, 2);
}

/* Whatever happened, 10 s of peace leave exactly one, the first. */
static void always_one_in_the_end(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct group g;
        struct rep_first f = {0};
        unsigned who = MANY, n;

        begin(&g, seed);
        g.loss = .4;
        for (unsigned turn = 0; turn < 60; turn++) {
            unsigned k = vi_rng_below(&g.rng, MANY);

            if (vi_rng_below(&g.rng, 3) == 0)
                g.rank[k].degraded = !g.rank[k].degraded;
            else if (g.up[k])
                g.up[k] = false;
            else
                start(&g, k);
            if (vi_rng_below(&g.rng, 2))
                tell_all(&g);
            for (unsigned j = vi_rng_below(&g.rng, 80); j > 0; j--)
                step(&g);
        }
        g.loss = 0;
        for (unsigned k = 0; k < MANY; k++) {
            g.rank[k].degraded = false;
            if (!g.up[k])
                start(&g, k);
        }
        tell_all(&g);
        for (int j = 0; j < 100; j++)
            step(&g);
        for (unsigned k = 0; k < MANY; k++)
            rep_offer(&f, &g.rank[k]);
        n = acting(&g, &who);
        if (n != 1)
            print_error("seed %u: %u represent\n", (unsigned)seed, n);
        assert_int_equal(n, 1);
        assert_memory_equal(rep_current(&g.r[(who + 1) % MANY], g.now), &f.r[0].id, VI_ID_SIZE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks),
        cmocka_unit_test(meta),
        cmocka_unit_test(one_and_its_heir),
        cmocka_unit_test(always_one_in_the_end),
    };

    return cmocka_run_group_tests_name("representative", tests, NULL, NULL);
}
