/* Why not there: all reasons of both sides, and the place among the hosts that fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "policy/policy.h"

#define MIB ((uint64_t)1024)

static struct policy *p;
static const struct policy_peer *others;
static unsigned n_others;
static struct vi_rng rng;
static char why[8][POLICY_REASON];

/* One host of 4 CPUs and 4 GiB with one guest of 512 MiB; peers as given. */
static void evaluate(vi_time now, const struct policy_peer *peers, unsigned n_peers, bool movable)
{
    struct policy_guest g = {.uuid = {{1}}, .env = {{2}}, .name = "web", .domid = 1, .vcpus = 1, .weight = 256, .current_kb = 512 * MIB,
                             .target_kb = 512 * MIB, .max_kb = 1024 * MIB, .running = true, .movable = movable, .why_not = "passed-through"};
    struct policy_event ev = {.kind = POLICY_EV_EVALUATE};
    const struct policy_env none = {.shares = 0};
    g.cpu_time_ns = (uint64_t)now * 100;
    ev.snapshot = (struct policy_snapshot){.cpus = 4, .total_kb = 4096 * MIB, .free_kb = 3000 * MIB, .dom0_kb = 256 * MIB, .guests = &g, .n_guests = 1, .envs = &none};
    others = peers;
    n_others = n_peers;
    policy_step(p, now, &ev);
    while (policy_effect(p)) {
    }
}

static unsigned peers_of(void *arg, vi_time now, struct policy_peer *out, unsigned most)
{
    (void)arg;
    (void)now;
    assert_true(n_others <= most);
    memcpy(out, others, n_others * sizeof *out);
    return n_others;
}

static int set_up(void **unused)
{
    struct policy_config c;
    (void)unused;
    policy_config_init(&c);
    c.peers = peers_of;
    c.settle = 0;
    vi_rng_seed(&rng, 1);
    p = policy_new(&c, &rng, VI_SEC);
    return p ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    policy_free(p);
    return 0;
}

static void test_there(void **unused)
{
    struct policy_needs needs = {.kb = 512 * MIB, .pct = 50};
    (void)unused;
    assert_int_equal(policy_take_reasons(p, &needs, 0, 0, 0, why, 8), 1); /* it knows nothing yet */
    evaluate(2 * VI_SEC, NULL, 0, true);
    assert_int_equal(policy_take_reasons(p, &needs, 0, 0, 0, why, 8), 0);
    needs = (struct policy_needs){.kb = 9000 * MIB, .pct = 1000};
    assert_int_equal(policy_take_reasons(p, &needs, 0, 0, 2, why, 8), 3);
    assert_non_null(strstr(why[0], "arriving"));
    assert_non_null(strstr(why[1], "9000 MiB"));
    assert_non_null(strstr(why[2], "1000 %"));
    assert_int_equal(policy_take_reasons(p, &needs, 0, 0, 2, why, 2), 2); /* no more than there is place for */
    needs = (struct policy_needs){.kb = 512 * MIB, .pct = 50};
    assert_int_equal(policy_take_reasons(p, &needs, 3000 * MIB, 0, 0, why, 8), 1); /* promised to others */
    needs = (struct policy_needs){.pct = 10};
    assert_false(policy_take_beyond(p, &needs, 0, why[0]));
    assert_true(policy_take_beyond(p, &needs, 10000, why[0])); /* promised to others */
    assert_non_null(strstr(why[0], "beyond its range"));
    policy_set_draining(p, 3 * VI_SEC, true);
    assert_int_equal(policy_take_reasons(p, &needs, 0, 0, 2, why, 8), 1);
    assert_non_null(strstr(why[0], "drained"));
}

static void test_here(void **unused)
{
    const struct vi_id guest = {{1}}, peer = {{7}}, other = {{8}}, nobody = {{9}};
    struct policy_event came = {.kind = POLICY_EV_ARRIVED, .guest = guest, .peer = peer};
    unsigned n;
    (void)unused;
    for (unsigned i = 1; i < 6; i++)
        evaluate(i * 5 * VI_SEC, NULL, 0, true);
    assert_int_equal(policy_send_reasons(p, 26 * VI_SEC, &guest, &peer, why, 8), 0);
    assert_int_equal(policy_send_reasons(p, 26 * VI_SEC, &nobody, &peer, why, 8), 0);
    policy_step(p, 26 * VI_SEC, &came);
    n = policy_send_reasons(p, 27 * VI_SEC, &guest, &peer, why, 8);
    assert_int_equal(n, 2); /* the cool-down, and where it came from */
    assert_non_null(strstr(why[1], "came from there"));
    assert_int_equal(policy_send_reasons(p, 27 * VI_SEC, &guest, &other, why, 8), 1);
    evaluate(30 * VI_SEC, NULL, 0, false);
    n = policy_send_reasons(p, 31 * VI_SEC, &guest, &other, why, 8);
    assert_int_equal(n, 1);
    assert_string_equal(why[0], "passed-through");
}

static struct policy_peer peer_of(uint8_t id, double demand, uint64_t free_mib)
{
    struct policy_peer x = {.id = {{id}}};
    x.load = (struct policy_load){.capacity_pct = 400, .demand_pct = demand, .total_kb = 4096 * MIB, .free_kb = free_mib * MIB};
    return x;
}

static void test_rank(void **unused)
{
    struct policy_peer peers[] = {peer_of(7, 100, 2000), peer_of(8, 10, 3000), peer_of(9, 300, 2500), peer_of(10, 0, 10)};
    struct policy_needs needs = {.kb = 512 * MIB, .pct = 50};
    double u;
    unsigned of;
    (void)unused;
    evaluate(5 * VI_SEC, peers, 4, true);
    assert_int_equal(policy_rank(p, 5 * VI_SEC, &peers[0].id, &peers[0].load, &needs, &u, &of), 2);
    assert_int_equal(of, 3); /* the fourth has no room */
    assert_true(u > 0.63 && u < 0.64); /* its memory: (4096 - 2000 + 512) ÷ 4096 */
    assert_int_equal(policy_rank(p, 5 * VI_SEC, &peers[1].id, &peers[1].load, &needs, &u, &of), 1);
    assert_int_equal(policy_rank(p, 5 * VI_SEC, &peers[2].id, &peers[2].load, &needs, &u, &of), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_there, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_here, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_rank, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
