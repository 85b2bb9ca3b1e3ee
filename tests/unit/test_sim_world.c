#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"

/* A node sends its number to the next one every 100 ms and counts what it gets. */
struct echo {
    struct world *w;
    vi_time next;
    unsigned ticks, got, late;
};

static void *start(void *arg, struct world *w, unsigned n, unsigned life, vi_time now)
{
    struct echo *e = calloc(1, sizeof *e);

    (void)arg, (void)n, (void)life;
    assert_non_null(e);
    e->w = w;
    e->next = now + 100 * VI_MSEC;
    return e;
}
static void stop(void *arg, unsigned n, void *node)
{
    (void)arg, (void)n;
    free(node);
}
static void deliver(void *arg, unsigned n, void *node, vi_time now, unsigned from,
                    const uint8_t *data, size_t len)
{
    struct echo *e = node;

    (void)arg, (void)n, (void)now;
    assert_int_equal(len, 1);
    assert_int_equal(data[0], from);
    e->got++;
}
static void tick(void *arg, unsigned n, void *node, vi_time now)
{
    struct echo *e = node;
    uint8_t me = (uint8_t)n;

    (void)arg;
    assert_true(now >= e->next);
    if (now > e->next)
        e->late++;
    e->ticks++;
    e->next = now + 100 * VI_MSEC;
    world_send(e->w, n, (n + 1) % 3, &me, 1);
}
static vi_time deadline(void *arg, unsigned n, const void *node)
{
    (void)arg, (void)n;
    return ((const struct echo *)node)->next;
}

static struct world *three(uint64_t seed, struct world_net net)
{
    struct world_config c = {.seed = seed, .nodes = 3, .net = net,
                             .ops = {start, stop, deliver, tick, deadline}};
    struct world *w = world_new(&c);

    assert_non_null(w);
    for (unsigned n = 0; n < 3; n++)
        world_start(w, n);
    return w;
}
static struct echo *at(struct world *w, unsigned n)
{
    return world_node(w, n);
}

static const struct world_net calm = {.delay_min = VI_MSEC, .delay_max = 5 * VI_MSEC};
static const struct world_net wild = {.delay_min = VI_MSEC, .delay_max = 50 * VI_MSEC, .loss = .2,
                                      .duplicate = .1, .reorder = .2, .reorder_delay = VI_SEC};

static void test_repeats(void **state)
{
    uint64_t h[3];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct world *w = three(i == 2 ? 8 : 7, wild);

        world_run(w, 20 * VI_SEC);
        h[i] = world_hash(w);
        assert_true(world_events(w) > 500);
        world_free(w);
    }
    assert_true(h[0] == h[1]);
    assert_true(h[0] != h[2]);
}

static void test_calm_and_wild(void **state)
{
    struct world *w = three(1, calm);

    (void)state;
    world_run(w, 11 * VI_SEC);
    assert_int_equal(world_now(w), 11 * VI_SEC);
    assert_int_equal(at(w, 0)->ticks, 100);
    assert_true(at(w, 0)->got >= 99);
    world_free(w);
    w = three(1, wild);
    world_run(w, 101 * VI_SEC);
    assert_true(at(w, 0)->got > 780 && at(w, 0)->got < 980); /* 1000 × 0.8 × 1.1 */
    world_free(w);
}

static void test_cut_crash_mute(void **state)
{
    struct world *w = three(1, calm);
    bool side[3] = {true, false, false};

    (void)state;
    world_cut(w, 0, 1, true);
    world_run(w, 2 * VI_SEC);
    assert_int_equal(at(w, 1)->got, 0);
    assert_true(at(w, 0)->got > 0);
    world_heal(w);
    world_run(w, 3 * VI_SEC);
    assert_true(at(w, 1)->got > 5);
    world_partition(w, side);
    world_run(w, 4 * VI_SEC);
    assert_true(at(w, 1)->got < 12);
    world_heal(w);
    world_crash(w, 2);
    assert_null(world_node(w, 2));
    world_run(w, 5 * VI_SEC);
    world_start(w, 2);
    assert_int_equal(world_life(w, 2), 1);
    world_mute(w, 1, true);
    world_run(w, 6 * VI_SEC);
    assert_true(at(w, 2)->got <= 1); /* one was under way */
    assert_true(at(w, 2)->ticks > 5);
    world_free(w);
}

static void test_pause_runs_timers_first(void **state)
{
    struct world *w = three(1, calm);
    unsigned before;

    (void)state;
    world_run(w, 2 * VI_SEC);
    before = at(w, 1)->got;
    world_pause(w, 1);
    world_run(w, 5 * VI_SEC);
    assert_int_equal(at(w, 1)->got, before);
    world_resume(w, 1);
    assert_true(world_step(w, 6 * VI_SEC));
    assert_int_equal(at(w, 1)->late, 1); /* the timer, overdue, … */
    assert_int_equal(at(w, 1)->got, before);
    assert_true(world_step(w, 5 * VI_SEC)); /* … then what waited */
    assert_int_equal(at(w, 1)->got, before + 1);
    world_run(w, 5 * VI_SEC);
    assert_true(at(w, 1)->got >= before + 29);
    world_free(w);
}

static void test_clock_rate(void **state)
{
    struct world_config c = {.seed = 1, .nodes = 3, .net = calm,
                             .ops = {start, stop, deliver, tick, deadline}};
    struct world *w = world_new(&c);

    (void)state;
    world_clock_rate(w, 0, 1.1);
    world_start(w, 0);
    world_start(w, 1);
    world_run(w, 101 * VI_SEC);
    assert_in_range(at(w, 0)->ticks, 1098, 1101);
    assert_int_equal(at(w, 1)->ticks, 1000);
    world_free(w);
}

static void note(void *arg, struct world *w, uint64_t a)
{
    unsigned *n = arg;

    assert_int_equal(world_now(w), 5 * VI_SEC);
    assert_int_equal(*n, a);
    ++*n;
}

static void test_calls_in_order(void **state)
{
    struct world *w = three(1, calm);
    unsigned n = 0;

    (void)state;
    for (uint64_t i = 0; i < 10; i++)
        world_at(w, 5 * VI_SEC, note, &n, i);
    world_run(w, 4 * VI_SEC);
    assert_int_equal(n, 0);
    world_run(w, 5 * VI_SEC);
    assert_int_equal(n, 10);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repeats),         cmocka_unit_test(test_calm_and_wild),
        cmocka_unit_test(test_cut_crash_mute),  cmocka_unit_test(test_pause_runs_timers_first),
        cmocka_unit_test(test_clock_rate),      cmocka_unit_test(test_calls_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
