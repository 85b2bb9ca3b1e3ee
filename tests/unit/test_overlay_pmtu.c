/* The path MTU prober, and what turns a broken offload off and on again, on virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "overlay/health.h"
#include "overlay/pmtu.h"
#include "peer/base/rng.h"

#define MOST 9251
#define RTT  (20 * VI_MSEC)

static struct pmtu p;
static vi_time now;
static unsigned sent, largest;

/* A path that carries `path` bytes and whose first hop refuses more than `hop`; loss in percent. */
struct net {
    unsigned path, hop, loss;
    struct vi_rng rng;
};

/* Runs for so long; an answer takes RTT. */
static void run(struct net *n, vi_time span)
{
    vi_time end = now + span, answer_at = VI_NEVER;
    uint32_t answer = 0;
    while (now < end) {
        unsigned size;
        uint32_t id;
        vi_time next;
        if (answer_at <= now) {
            pmtu_acked(&p, now, answer);
            answer_at = VI_NEVER;
        }
        for (unsigned i = 0; i < 24 && pmtu_poll(&p, now, &size, &id); i++) {
            sent++;
            largest = size > largest ? size : largest;
            assert_true(size <= MOST && size >= PMTU_MIN);
            if (size > n->hop)
                pmtu_refused(&p, now, size);
            else if (size <= n->path && vi_rng_u64(&n->rng) % 100 >= n->loss) {
                answer = id;
                answer_at = now + RTT;
            }
        }
        assert_true(p.size >= PMTU_MIN && p.size <= MOST && p.bad > p.size);
        next = pmtu_deadline(&p, now);
        if (answer_at < next)
            next = answer_at;
        now = next > now ? next : now + VI_MSEC;
    }
    now = end;
}

static int set_up(void **state)
{
    (void)state;
    now = 1000 * VI_SEC;
    sent = largest = 0;
    pmtu_init(&p, MOST, now);
    assert_int_equal(p.size, PMTU_BASE);
    return 0;
}

static void finds_the_size(void **state)
{
    static const unsigned paths[] = {PMTU_BASE, 1300, 1452, 1464, 1472, 1473, 2000, 4000, 8972, 9000, MOST};
    (void)state;
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct net far = {.path = paths[i], .hop = MOST}, near = {.path = paths[i], .hop = paths[i]};
        set_up(NULL);
        run(&near, VI_SEC / 2); /* the first hop says so itself: a few round trips */
        assert_true(p.size <= paths[i] && p.size + PMTU_STEP > paths[i]);
        set_up(NULL);
        run(&far, 30 * VI_SEC);
        assert_true(p.size <= paths[i] && p.size + PMTU_STEP > paths[i]);
        assert_int_equal(p.holes, 0);
    }
}

static void common_sizes_take_one_round_trip(void **state)
{
    struct net n = {.path = 1472, .hop = 1472};
    (void)state;
    run(&n, 2 * RTT);
    assert_int_equal(p.size, 1472);
}

static void black_hole_heals(void **state)
{
    struct net n = {.path = 1472, .hop = 9000};
    vi_time began;
    (void)state;
    run(&n, 60 * VI_SEC);
    assert_true(p.size > 1472 - PMTU_STEP);
    n.path = 1252; /* as 1280 bytes of IP */
    began = now;
    while (p.size > n.path && now < began + 60 * VI_SEC)
        run(&n, 10 * VI_MSEC);
    assert_true(now - began <= 3 * VI_SEC);
    assert_int_equal(p.holes, 1);
    run(&n, 30 * VI_SEC);
    assert_true(p.size > n.path - PMTU_STEP);
    n.path = 600; /* less than IPv6's least */
    began = now;
    while (p.size > n.path && now < began + 60 * VI_SEC)
        run(&n, 10 * VI_MSEC);
    assert_true(now - began <= 6 * VI_SEC);
    n.path = 1472; /* well again: found at the next try upwards */
    run(&n, PMTU_RAISE + 30 * VI_SEC);
    assert_true(p.size > 1472 - PMTU_STEP);
}

static void grows_when_the_path_does(void **state)
{
    struct net n = {.path = 1472, .hop = 9000};
    (void)state;
    run(&n, 60 * VI_SEC);
    n.path = 8972;
    run(&n, PMTU_RAISE + 30 * VI_SEC);
    assert_int_equal(p.size, 8972);
}

/* Chance losses are no black hole: three in a row are needed. */
static void loss_is_not_size(void **state)
{
    struct net n = {.path = 1472, .hop = 1472, .loss = 5};
    (void)state;
    vi_rng_seed(&n.rng, 3);
    run(&n, 600 * VI_SEC);
    assert_int_equal(p.holes, 0);
    assert_int_equal(p.size, 1472);
}

static void quiet_when_found(void **state)
{
    struct net n = {.path = 1472, .hop = 1472};
    (void)state;
    run(&n, 10 * VI_SEC);
    sent = 0;
    run(&n, 100 * VI_SEC);
    assert_true(sent <= 101);
    pmtu_resume(&p, now);
    assert_int_equal(pmtu_deadline(&p, now), now);
}

static void dead_peer_is_not_hammered(void **state)
{
    struct net n = {.path = 0, .hop = MOST};
    (void)state;
    run(&n, 20 * VI_SEC);
    assert_int_equal(p.size, PMTU_MIN);
    run(&n, 600 * VI_SEC);
    sent = 0;
    run(&n, 100 * VI_SEC);
    assert_true(sent < 300);
}

static void stale_answers_mean_nothing(void **state)
{
    unsigned size;
    uint32_t id;
    (void)state;
    assert_true(pmtu_poll(&p, now, &size, &id));
    assert_int_equal(size, 1472);
    pmtu_acked(&p, now, id + 1);
    pmtu_acked(&p, now, id - 1);
    assert_int_equal(p.size, PMTU_BASE);
    assert_false(pmtu_poll(&p, now, &size, &id));
    pmtu_acked(&p, now, id);
    assert_int_equal(p.size, 1472);
    pmtu_acked(&p, now, id); /* a second time */
    assert_int_equal(p.size, 1472);
}

/* ---- offload ---- */

static void falls_back_and_comes_back(void **state)
{
    struct health h = {0};
    vi_time t = VI_SEC;
    (void)state;
    assert_true(health_ok(&h, t));
    assert_false(health_report(&h, t, 100000, 8)); /* chance, or somebody's forgeries */
    assert_false(health_report(&h, t, 0, HEALTH_BAD - 1));
    assert_true(health_report(&h, t, 100, 8));
    assert_false(health_ok(&h, t));
    assert_false(health_report(&h, t, 0, 100)); /* off already */
    assert_false(health_ok(&h, t + HEALTH_OFF - 1));
    assert_true(health_ok(&h, t + HEALTH_OFF));
    t += HEALTH_OFF;
    assert_true(health_report(&h, t, 0, 100)); /* it fails again: longer off */
    assert_false(health_ok(&h, t + HEALTH_OFF));
    assert_true(health_ok(&h, t + 2 * HEALTH_OFF));
    for (unsigned i = 0; i < 10; i++) {
        t = h.until;
        assert_true(health_ok(&h, t));
        assert_true(health_report(&h, t, 0, 100));
        assert_true(h.until - t <= HEALTH_OFF_MOST);
    }
    assert_int_equal(h.until - t, HEALTH_OFF_MOST);
    t = h.until + 3 * HEALTH_OFF_MOST; /* it has worked for long */
    assert_true(health_ok(&h, t));
    assert_true(health_report(&h, t, 0, 100));
    assert_int_equal(h.until - t, HEALTH_OFF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(finds_the_size, set_up),
        cmocka_unit_test_setup(common_sizes_take_one_round_trip, set_up),
        cmocka_unit_test_setup(black_hole_heals, set_up),
        cmocka_unit_test_setup(grows_when_the_path_does, set_up),
        cmocka_unit_test_setup(loss_is_not_size, set_up),
        cmocka_unit_test_setup(quiet_when_found, set_up),
        cmocka_unit_test_setup(dead_peer_is_not_hammered, set_up),
        cmocka_unit_test_setup(stale_answers_mean_nothing, set_up),
        cmocka_unit_test(falls_back_and_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
