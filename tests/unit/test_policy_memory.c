/* The local plan for memory: grown when full, shrunk by a window's peak, never more than there is. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/sim/policy_host.h"

static struct policy_host h;

static int set_up(void **unused)
{
    (void)unused;
    ph_init(&h);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    ph_close(&h);
    return 0;
}

static uint64_t mib_of(unsigned g)
{
    return h.guest[g].current_kb / PH_MIB;
}

/* ---- growing ---- */

static void test_doubled(void **unused)
{
    unsigned g = ph_guest(&h, 200, 160, 1000);
    (void)unused;
    ph_open(&h);
    ph_run(&h, 2);
    assert_int_equal(h.t.memories, 0); /* k of n: not yet */
    ph_evaluate(&h);
    assert_int_equal(mib_of(g), 400);
    assert_int_equal(h.t.memory.domid, h.guest[g].domid);
    assert_int_equal(h.t.of_kind[POLICY_GROW], 1);
    assert_true(h.t.decision[POLICY_GROW].done);
    ph_run(&h, 50);
    assert_int_equal(h.t.memories, 1); /* 0.40 is in the range */
}

/* The paper's third scenario: 160 of 200 MB should be 400, the host has 56 left. With those it is in its range, and
 * still short: what it was found to need comes too late when it is needed. */
static void test_part_is_not_enough(void **unused)
{
    unsigned g = ph_guest(&h, 200, 160, 1000);
    (void)unused;
    h.s.total_kb = (512 + 128 + 200 + 56) * PH_MIB;
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(mib_of(g), 256);
    ph_run(&h, 40);
    assert_int_equal(mib_of(g), 256);
    assert_true(ph_view(&h, g).short_of_memory);
    assert_int_equal(ph_view(&h, g).desired_kb, 400 * PH_MIB);
    h.s.total_kb += 144 * PH_MIB; /* another left */
    ph_evaluate(&h);
    assert_int_equal(mib_of(g), 400);
    assert_false(ph_view(&h, g).short_of_memory);
    ph_run(&h, 40);
    assert_int_equal(mib_of(g), 400);
}

static void test_what_is_owed_ends(void **unused)
{
    unsigned g = ph_guest(&h, 200, 160, 1000);
    (void)unused;
    h.s.total_kb = (512 + 128 + 200 + 56) * PH_MIB;
    ph_open(&h);
    ph_run(&h, 5);
    h.used_kb[g] = 116 * PH_MIB; /* 0.58 of the 200 that it had */
    ph_run(&h, 2);
    assert_true(ph_view(&h, g).short_of_memory);
    h.used_kb[g] = 114 * PH_MIB;
    ph_run(&h, 2);
    assert_false(ph_view(&h, g).short_of_memory);
    h.used_kb[g] = 160 * PH_MIB; /* in its range: nothing is owed any more */
    ph_run(&h, 20);
    assert_false(ph_view(&h, g).short_of_memory);
}

static void test_range(void **unused)
{
    static const struct {
        uint64_t used, becomes;
    } cases[] = {{800, 2000}, {760, 2000}, {750, 1000}, {500, 1000}, {400, 1000}, {1000, 2000}};
    (void)unused;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned g;
        set_up(NULL);
        g = ph_guest(&h, 1000, cases[i].used, 8000);
        ph_open(&h);
        ph_run(&h, 6);
        assert_int_equal(mib_of(g), cases[i].becomes);
        ph_close(&h);
    }
}

static void test_k_of_n(void **unused)
{
    static const bool two_of_five[] = {1, 1, 0, 0, 0}, three_of_five[] = {1, 0, 1, 0, 1};
    unsigned g = ph_guest(&h, 1000, 500, 8000);
    (void)unused;
    ph_open(&h);
    for (unsigned i = 0; i < 100; i++) {
        h.used_kb[g] = (two_of_five[i % 5] ? 900 : 500) * PH_MIB;
        ph_evaluate(&h);
    }
    assert_int_equal(h.t.memories, 0);
    h.used_kb[g] = 500 * PH_MIB;
    ph_run(&h, 5);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(h.t.memories, 0);
        h.used_kb[g] = (three_of_five[i] ? 900 : 500) * PH_MIB;
        ph_evaluate(&h);
    }
    assert_int_equal(h.t.memories, 1);
}

static void test_maximum(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 990, 1500), full = ph_guest(&h, 1000, 990, 1000);
    (void)unused;
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(mib_of(g), 1500);
    ph_run(&h, 30);
    h.used_kb[g] = 1490 * PH_MIB;
    ph_run(&h, 30);
    assert_int_equal(mib_of(g), 1500);
    assert_int_equal(mib_of(full), 1000);
    assert_int_equal(h.t.memories, 1);
    assert_int_equal(h.t.of_kind[POLICY_SHORT], 0); /* its maximum isn't the host's shortage */
}

/* A balloon that takes its time is not asked for more meanwhile. */
static void test_under_way(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 900, 8000);
    (void)unused;
    h.obeys = false;
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(h.t.memories, 1);
    h.guest[g].target_kb = h.t.memory.kb;
    ph_run(&h, 20);
    assert_int_equal(h.t.memories, 1);
}

static void test_left_alone(void **unused)
{
    unsigned frozen = ph_guest(&h, 1000, 900, 8000), paused = ph_guest(&h, 1000, 900, 8000);
    unsigned idle = ph_guest(&h, 1000, 100, 8000);
    (void)unused;
    h.cfg.shrink_window = 50 * VI_SEC;
    h.guest[frozen].frozen = h.guest[idle].frozen = true;
    h.guest[paused].running = false;
    ph_open(&h);
    ph_run(&h, 60);
    assert_int_equal(h.t.memories, 0);
    h.guest[frozen].frozen = false;
    ph_evaluate(&h);
    assert_int_equal(h.t.memories, 1);
    assert_int_equal(mib_of(frozen), 2000);
}

/* ---- never more than there is ---- */

static void test_by_the_book(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 900, 8000), other = ph_guest(&h, 1000, 600, 2000);
    (void)unused;
    h.guest[other].target_kb = 1300 * PH_MIB; /* promised to it, not taken yet: charged */
    h.s.reserved_kb = 200 * PH_MIB;           /* to one that is arriving */
    h.s.total_kb = (512 + 128 + 200 + 1000 + 1300 + 250) * PH_MIB;
    h.free_fixed = true;
    h.s.free_kb = h.s.total_kb; /* whatever the hypervisor has */
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(mib_of(g), 1250);
    assert_int_equal(h.t.of_kind[POLICY_SHORT], 1);
    assert_true(ph_view(&h, g).short_of_memory);
    assert_int_equal(ph_view(&h, g).desired_kb, 2000 * PH_MIB);
    assert_int_equal(policy_own_load(h.p)->free_kb, 0);
}

static void test_in_fact(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 900, 8000), other = ph_guest(&h, 1000, 600, 2000);
    (void)unused;
    h.guest[other].target_kb = 1300 * PH_MIB;
    h.s.reserved_kb = 200 * PH_MIB;
    h.free_fixed = true;
    h.s.free_kb = (128 + 200 + 300 + 70) * PH_MIB; /* by the book there is far more */
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(mib_of(g), 1070);
    h.s.free_kb = 100 * PH_MIB; /* not even the reserve */
    ph_run(&h, 10);
    assert_int_equal(h.t.memories, 1);
}

/* Whatever the guests do, what is charged fits, and what is given was free. */
static void test_never_too_much(void **unused)
{
    struct vi_rng rng;
    (void)unused;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        set_up(NULL);
        vi_rng_seed(&rng, seed);
        h.s.total_kb = 4096 * PH_MIB;
        h.cfg.shrink_window = 50 * VI_SEC;
        for (unsigned i = 0; i < 6; i++)
            ph_guest(&h, 400, 200, 300 + vi_rng_below(&rng, 3000));
        ph_open(&h);
        for (unsigned step = 0; step < 200; step++) {
            uint64_t charged = h.s.dom0_kb;
            for (unsigned i = 0; i < h.s.n_guests; i++)
                if (vi_rng_below(&rng, 20) == 0)
                    h.used_kb[i] = h.guest[i].max_kb / 100 * vi_rng_below(&rng, 100);
            h.s.reserved_kb = vi_rng_below(&rng, 4) ? h.s.reserved_kb : vi_rng_below(&rng, 512) * PH_MIB;
            memset(&h.t, 0, sizeof h.t);
            ph_evaluate(&h);
            for (unsigned i = 0; i < h.s.n_guests; i++) {
                charged += h.guest[i].current_kb;
                assert_true(h.guest[i].current_kb <= h.guest[i].max_kb || h.guest[i].current_kb <= 400 * PH_MIB);
            }
            if (h.t.of_kind[POLICY_GROW])
                assert_true(charged + h.s.reserved_kb + h.cfg.reserve_kb <= h.s.total_kb);
        }
        ph_close(&h);
    }
}

static void test_neediest_first(void **unused)
{
    unsigned a = ph_guest(&h, 1000, 800, 2000), b = ph_guest(&h, 1000, 950, 2000), c = ph_guest(&h, 1000, 850, 2000);
    (void)unused;
    h.s.total_kb = (512 + 128 + 3000 + 1400) * PH_MIB;
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(mib_of(b), 2000);
    assert_int_equal(mib_of(c), 1333); /* what is left, but for what brings the last one into the range */
    assert_int_equal(mib_of(a), 1066);
}

/* Too little for all to come into the range: in that order, each no more than that. */
static void test_into_the_range_first(void **unused)
{
    unsigned a = ph_guest(&h, 1000, 800, 2000), b = ph_guest(&h, 1000, 950, 2000), c = ph_guest(&h, 1000, 850, 2000);
    (void)unused;
    h.s.total_kb = (512 + 128 + 3000 + 300) * PH_MIB;
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(mib_of(b), 1266);
    assert_int_equal(mib_of(c), 1033);
    assert_int_equal(mib_of(a), 1000);
    assert_true(ph_view(&h, b).short_of_memory && ph_view(&h, c).short_of_memory);
}

/* The higher priority grows first, but its doubling takes nothing from what brings the lower one into its range. */
static void test_priority_grows_first(void **unused)
{
    unsigned low = ph_guest(&h, 1000, 950, 4000), high = ph_guest(&h, 1000, 800, 4000);
    (void)unused;
    h.env[1] = (struct policy_env){.id = ph_id('e', 1), .shares = 100, .priority = 80};
    h.env[0].priority = 20;
    h.s.n_envs = 2;
    h.guest[high].env = h.env[1].id;
    h.s.total_kb = (512 + 128 + 2000 + 600) * PH_MIB;
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(mib_of(high), 1333);
    assert_int_equal(mib_of(low), 1266);
}

/* A shortage goes on for long: it is said once a minute. */
static void test_shortage_is_said_once_a_minute(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 900, 8000);
    (void)unused;
    h.s.total_kb = (512 + 128 + 1000) * PH_MIB;
    ph_open(&h);
    ph_run(&h, 2 + 12 * 10); /* ten minutes */
    assert_int_equal(h.t.of_kind[POLICY_SHORT], 10);
    assert_int_equal(h.t.of_kind[POLICY_REFUSE], 10); /* and that it can't move either */
    assert_int_equal(mib_of(g), 1000);
    h.s.total_kb += 500 * PH_MIB;
    ph_evaluate(&h);
    assert_int_equal(mib_of(g), 1500);
}

/* ---- shrinking ---- */

static void test_shrunk_after_a_window(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 115, 1000);
    (void)unused;
    ph_open(&h);
    ph_run(&h, 108); /* nine tenths of ten minutes */
    assert_int_equal(h.t.memories, 0);
    ph_run(&h, 14);
    assert_int_equal(h.t.memories, 1);
    assert_int_equal(h.t.of_kind[POLICY_SHRINK], 1);
    assert_int_equal(mib_of(g), 500); /* at most to a half at a time, a tenth of the window apart */
    ph_run(&h, 10);
    assert_int_equal(mib_of(g), 500);
    ph_run(&h, 303);
    assert_int_equal(mib_of(g), 200); /* 115 is the middle of the range of 200 */
    assert_int_equal(h.t.memories, 2);
}

/* ---- growth kept ready ---- */

static uint64_t free_mib(void)
{
    return policy_own_load(h.p)->free_kb / PH_MIB;
}

/* What a guest is about to need is kept from arrivals before it is above its range; who stays where it is keeps nothing. */
static void test_growth_is_kept_ready(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 500, 3000), still = ph_guest(&h, 1000, 740, 3000);
    struct policy_needs needs = {.kb = 1200 * PH_MIB};
    char why[120];
    (void)unused;
    h.s.total_kb = (512 + 128 + 2000 + 1500) * PH_MIB;
    ph_open(&h);
    ph_run(&h, 12);
    assert_int_equal(free_mib(), 1500);
    assert_int_equal(policy_can_take(h.p, &needs, 0, 0, 0, why, sizeof why), 0);
    for (unsigned i = 0; i < 12; i++) {
        h.used_kb[g] += 13 * PH_MIB; /* 13 MiB in 5 s: 0.81 in a minute */
        ph_evaluate(&h);
    }
    assert_true(h.used_kb[g] < 750 * PH_MIB);
    assert_int_equal(mib_of(g), 1000); /* in its range as yet */
    assert_int_equal(free_mib(), 500);
    assert_int_not_equal(policy_can_take(h.p, &needs, 0, 0, 0, why, sizeof why), 0);
    h.used_kb[g] = 760 * PH_MIB;
    ph_run(&h, 3);
    assert_int_equal(mib_of(g), 2000); /* and it is there */
    assert_int_equal(mib_of(still), 1000);
    assert_int_equal(free_mib(), 500);
}

/* Never more than it can have. */
static void test_kept_ready_up_to_the_maximum(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 700, 1100);
    (void)unused;
    h.s.total_kb = (512 + 128 + 1000 + 1500) * PH_MIB;
    ph_open(&h);
    for (unsigned i = 0; i < 10; i++) {
        h.used_kb[g] += 4 * PH_MIB;
        ph_evaluate(&h);
    }
    assert_int_equal(free_mib(), 1400);
    h.silent[g] = true; /* nothing is kept on an old word */
    ph_run(&h, 10);
    assert_int_equal(free_mib(), 1500);
}

/* ---- balloons ---- */

/* A balloon that gives nothing back is noticed, isn't counted as free, and isn't asked again and again. */
static void test_balloon_stuck(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 115, 1000), full = ph_guest(&h, 200, 199, 400);
    uint64_t asked;
    (void)unused;
    h.obeys = false;
    h.cfg.shrink_window = 100 * VI_SEC;
    h.s.total_kb = (512 + 128 + 1200) * PH_MIB;
    ph_open(&h);
    for (unsigned i = 0; i < 30 && !h.t.of_kind[POLICY_SHRINK]; i++)
        ph_evaluate(&h);
    asked = h.t.memory.kb;
    assert_int_equal(asked, 500 * PH_MIB);
    h.guest[g].target_kb = asked;
    ph_run(&h, 11);
    assert_false(ph_view(&h, g).stuck);
    ph_run(&h, 3);
    assert_true(ph_view(&h, g).stuck);
    assert_int_equal(h.t.of_kind[POLICY_STUCK], 1);
    assert_non_null(strstr(h.t.decision[POLICY_STUCK].text, "does not follow: it has 1000 MiB, and should have 500"));
    assert_int_equal(free_mib(), 0);
    assert_true(ph_view(&h, full).short_of_memory); /* nothing was given away that isn't there */
    ph_run(&h, 100);
    assert_int_equal(h.t.memories, 1);
    assert_int_equal(h.t.of_kind[POLICY_STUCK], 1);
    h.guest[g].current_kb = asked; /* it follows after all */
    ph_run(&h, 3);
    assert_false(ph_view(&h, g).stuck);
    assert_true(free_mib() + h.t.memory.kb / PH_MIB > 0);
}

/* A slow one is none that is stuck. */
static void test_balloon_slow(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 900, 4000);
    (void)unused;
    h.obeys = false;
    ph_open(&h);
    ph_run(&h, 3);
    h.guest[g].target_kb = h.t.memory.kb;
    while (h.guest[g].current_kb < h.guest[g].target_kb) {
        h.guest[g].current_kb += 8 * PH_MIB;
        ph_evaluate(&h);
    }
    assert_int_equal(h.t.of_kind[POLICY_STUCK], 0);
    assert_false(ph_view(&h, g).stuck);
}

/* One that takes nothing isn't given more, and its host isn't short for it: moving wouldn't help. */
static void test_balloon_takes_nothing(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 900, 4000);
    (void)unused;
    h.obeys = false;
    ph_open(&h);
    ph_run(&h, 3);
    h.guest[g].target_kb = h.t.memory.kb;
    ph_run(&h, 20);
    assert_true(ph_view(&h, g).stuck);
    assert_false(ph_view(&h, g).short_of_memory);
    assert_int_equal(h.t.memories, 1);
    h.guest[g].target_kb = 1000 * PH_MIB; /* somebody took the target back */
    ph_run(&h, 2);
    assert_false(ph_view(&h, g).stuck);
}

/* A target that the hypervisor doesn't take is asked for once a minute. */
static void test_target_refused(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 900, 4000);
    (void)unused;
    h.obeys = false;
    ph_open(&h);
    ph_run(&h, 2 + 12 * 5);
    assert_in_range(h.t.memories, 4, 6);
    assert_int_equal(mib_of(g), 1000);
}

/* It swaps while its memory is being taken: what it has left stays. */
static void test_swap_stops_shrinking(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 115, 1000);
    (void)unused;
    h.obeys = false;
    h.cfg.shrink_window = 100 * VI_SEC;
    ph_open(&h);
    for (unsigned i = 0; i < 40 && !h.t.of_kind[POLICY_SHRINK]; i++)
        ph_evaluate(&h);
    h.guest[g].target_kb = h.t.memory.kb;
    for (unsigned i = 0; i < 4; i++) {
        h.guest[g].current_kb -= 50 * PH_MIB;
        ph_evaluate(&h);
    }
    assert_int_equal(h.t.memories, 1);
    h.guest[g].swap_kb = 20 * PH_MIB;
    ph_evaluate(&h);
    assert_int_equal(h.t.memories, 2); /* at once, not after k of n */
    assert_int_equal(h.t.memory.kb, 800 * PH_MIB);
    h.guest[g].target_kb = h.t.memory.kb;
    ph_run(&h, 60);
    assert_int_equal(h.t.memories, 2); /* and no more is taken */
}

/* By the peak of the window; when the peak has left it, by the next: down in steps. */
static void test_in_steps(void **unused)
{
    unsigned g = ph_guest(&h, 2000, 115, 2000);
    (void)unused;
    h.cfg.shrink_window = 100 * VI_SEC; /* twenty evaluations, each peak of two */
    ph_open(&h);
    ph_run(&h, 10);
    h.used_kb[g] = 575 * PH_MIB;
    ph_run(&h, 2);
    h.used_kb[g] = 230 * PH_MIB;
    ph_run(&h, 2);
    h.used_kb[g] = 115 * PH_MIB;
    ph_run(&h, 8);
    assert_int_equal(mib_of(g), 1000);
    ph_run(&h, 9);
    assert_int_equal(mib_of(g), 400);
    ph_run(&h, 10);
    assert_int_equal(mib_of(g), 200);
    assert_int_equal(h.t.memories, 3);
}

/* 0.76 doubled is 0.38: that is no reason to take it back at once. */
static void test_not_after_growing(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 760, 4000);
    (void)unused;
    h.cfg.shrink_window = 100 * VI_SEC;
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(mib_of(g), 2000);
    ph_run(&h, 19);
    assert_int_equal(h.t.memories, 1);
    ph_run(&h, 10);
    assert_int_equal(h.t.memories, 2);
    assert_int_equal(mib_of(g), 1321); /* 760 ÷ 0.575 */
    ph_run(&h, 100);
    assert_int_equal(h.t.memories, 2);
}

/* Its report begins late: a window must be known before anything is taken. */
static void test_window_is_known(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 115, 1000);
    (void)unused;
    h.cfg.shrink_window = 100 * VI_SEC;
    h.guest[g].report = false;
    ph_open(&h);
    ph_run(&h, 60);
    h.guest[g].report = true;
    ph_run(&h, 18);
    assert_int_equal(h.t.memories, 0);
    ph_run(&h, 4);
    assert_int_equal(h.t.memories, 1);
}

static void test_floor(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 1, 1000);
    (void)unused;
    h.cfg.shrink_window = 100 * VI_SEC;
    ph_open(&h);
    ph_run(&h, 60);
    assert_int_equal(mib_of(g), 64);
    assert_int_equal(h.t.memories, 4); /* 500, 250, 125, 64 */
}

static void test_swapping_is_not_shrunk(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 100, 1000);
    (void)unused;
    h.cfg.shrink_window = 100 * VI_SEC;
    h.guest[g].swap_kb = 1;
    ph_open(&h);
    ph_run(&h, 100);
    assert_int_equal(h.t.memories, 0);
    h.guest[g].swap_kb = 0;
    ph_evaluate(&h);
    assert_int_equal(h.t.memories, 1);
}

/* What the under-used give up is for the over-used, once it is really free. */
static void test_shrink_then_grow(void **unused)
{
    unsigned idle = ph_guest(&h, 2000, 230, 2000), g = ph_guest(&h, 1000, 600, 4000);
    (void)unused;
    h.cfg.shrink_window = 100 * VI_SEC;
    h.s.total_kb = (512 + 128 + 3000) * PH_MIB;
    ph_open(&h);
    ph_run(&h, 17);
    h.used_kb[g] = 900 * PH_MIB;
    ph_run(&h, 20);
    assert_int_equal(mib_of(idle), 400);
    assert_int_equal(mib_of(g), 2000); /* with the first half that came free */
}

/* ---- observing ---- */

/* The first decision of each kind about each guest. */
static void remember(struct policy_decision first[3][POLICY_FAILED + 1])
{
    for (unsigned g = 0; g < 3; g++) {
        const struct policy_decision *d, *oldest[POLICY_FAILED + 1] = {NULL};
        unsigned pos = 0;
        while (policy_decision_next(h.p, &h.guest[g].uuid, &pos, &d))
            oldest[d->kind] = d;
        for (unsigned k = 0; k <= POLICY_FAILED; k++)
            if (oldest[k] && !first[g][k].n)
                first[g][k] = *oldest[k];
    }
}

/* A host that doesn't do what it is told: one guest wants more than there is, one could do with less. */
static void decide(bool automatic, struct policy_decision first[3][POLICY_FAILED + 1], struct ph_tally *t)
{
    unsigned a, c;
    set_up(NULL);
    h.obeys = false;
    h.cfg.automatic = automatic;
    h.cfg.shrink_window = 100 * VI_SEC;
    h.s.total_kb = (512 + 128 + 4000 + 100) * PH_MIB;
    a = ph_guest(&h, 1000, 900, 4000);
    ph_guest(&h, 2000, 230, 2000);
    c = ph_guest(&h, 1000, 500, 1000);
    h.guest[c].movable = false;
    ph_open(&h);
    h.pct[a] = 30;
    h.pct[c] = 140;
    memset(first, 0, 3 * sizeof *first);
    for (unsigned i = 0; i < 60; i++) {
        ph_evaluate(&h);
        remember(first);
    }
    *t = h.t;
    ph_close(&h);
}

static void test_observing(void **unused)
{
    static struct policy_decision said[3][POLICY_FAILED + 1], done[3][POLICY_FAILED + 1];
    struct ph_tally quiet, busy;
    (void)unused;
    decide(false, said, &quiet);
    decide(true, done, &busy);
    assert_int_equal(quiet.weights + quiet.memories + quiet.moves, 0);
    assert_true(busy.weights > 0 && busy.memories > 0);
    for (unsigned g = 0; g < 3; g++)
        for (unsigned k = 0; k <= POLICY_FAILED; k++) {
            assert_int_equal(said[g][k].n > 0, done[g][k].n > 0);
            assert_string_equal(said[g][k].text, done[g][k].text);
        }
    assert_true(said[0][POLICY_GROW].n && said[1][POLICY_SHRINK].n && said[0][POLICY_SHORT].n);
    assert_false(said[0][POLICY_GROW].done);
    assert_true(done[0][POLICY_GROW].done);
    assert_in_range(quiet.decisions, 6, 40); /* five minutes: nobody is told the same every time */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_doubled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_part_is_not_enough, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_owed_ends, set_up, tear_down),
        cmocka_unit_test(test_range),
        cmocka_unit_test_setup_teardown(test_k_of_n, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_maximum, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_under_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_by_the_book, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_in_fact, set_up, tear_down),
        cmocka_unit_test(test_never_too_much),
        cmocka_unit_test_setup_teardown(test_neediest_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_into_the_range_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_priority_grows_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_growth_is_kept_ready, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kept_ready_up_to_the_maximum, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_balloon_stuck, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_balloon_slow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_balloon_takes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_target_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_swap_stops_shrinking, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shortage_is_said_once_a_minute, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shrunk_after_a_window, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_in_steps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_after_growing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_window_is_known, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_floor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_swapping_is_not_shrunk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shrink_then_grow, set_up, tear_down),
        cmocka_unit_test(test_observing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
