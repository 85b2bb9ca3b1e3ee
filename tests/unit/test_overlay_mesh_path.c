/* Ways between mesh cores on virtual time: NATs of every kind, one-way blocks, relays that come and go. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "tests/sim/mesh_world.h"

/* ---- tests --------------------------------------------------------------------------------------- */

static void test_no_nat(void **state)
{
    (void)state;
    connect_to(A, R);
    connect_to(B, R);
    connect_to(A, B);
    talk(A, B, 30 * VI_SEC);
    assert_int_equal(path(A, B).kind, MESH_PATH_DIRECT);
    assert_int_equal(path(B, A).kind, MESH_PATH_DIRECT);
    assert_true(path(A, B).rtt > 9 * VI_MSEC && path(A, B).rtt < 13 * VI_MSEC);
    assert_true(path(A, B).probes >= 3);
    assert_int_equal(path(A, B).lost, 0);
    assert_int_equal(mesh_counters(R->m)->relayed, 0);
    assert_false(mesh_behind_nat(A->m));
}

/* New keys each second, if the owner says so: nothing is lost by it. */
static void test_rekey_each_second(void **state)
{
    (void)state;
    mesh_free(A->m);
    A->cfg.rekey_after = MESH_REKEY_AFTER + 1; /* not later than others expect it */
    assert_null(mesh_new(&A->cfg, &w.rng, w.now));
    A->cfg.rekey_after = VI_SEC;
    A->m = mesh_new(&A->cfg, &w.rng, w.now);
    assert_non_null(A->m);
    connect_to(A, B);
    talk(A, B, 20 * VI_SEC);
    assert_in_range(mesh_counters(A->m)->handshakes_done, 17, 24);
    assert_int_equal(A->downs + B->downs, 0);
}

/* Every kind of NAT against every other: through the relay at once, then past it where that can be. */
static void test_nat_matrix(void **state)
{
    for (unsigned a = NONE; a < KINDS; a++)
        for (unsigned b = NONE; b < KINDS; b++) {
            bool hard_a = a == SYMMETRIC || a == PORT_RESTRICTED, hard_b = b == SYMMETRIC || b == PORT_RESTRICTED;
            bool can = !(hard_a && hard_b && (a == SYMMETRIC || b == SYMMETRIC));
            unsigned before;

            mesh_world_down(state);
            mesh_world_up(state);
            meet_behind(a, b);
            if ((path(A, B).kind != MESH_PATH_RELAYED) != can || (path(B, A).kind != MESH_PATH_RELAYED) != can)
                fail_msg("NATs %u and %u: ways %u and %u", a, b, path(A, B).kind, path(B, A).kind);
            assert_int_equal(A->downs + B->downs, 0);
            if (a != NONE)
                assert_true(mesh_behind_nat(A->m));
            assert_true(A->delivered > 50 && B->delivered > 50);
            before = (unsigned)mesh_counters(R->m)->relayed;
            talk(A, B, 5 * VI_SEC);
            if (can) {
                assert_int_equal(mesh_counters(R->m)->relayed, before);
            } else {
                assert_true(mesh_counters(R->m)->relayed > before + 40);
                assert_int_equal(path(A, B).why, MESH_WHY_NO_ANSWER);
                assert_true(through(A, B, R));
                assert_true(path(A, B).rtt > 18 * VI_MSEC && path(A, B).rtt < 26 * VI_MSEC);
            }
        }
}

/* A punched way stays open while nobody says anything: probes keep the NATs' mappings. */
static void test_keeps_nat_open(void **state)
{
    unsigned before;

    (void)state;
    meet_behind(PORT_RESTRICTED, PORT_RESTRICTED);
    assert_int_equal(path(A, B).kind, MESH_PATH_PUNCHED);
    run(100 * VI_SEC);
    before = B->delivered;
    send_to(A, B);
    run(VI_SEC);
    assert_int_equal(B->delivered, before + 1);
    assert_int_equal(path(A, B).kind, MESH_PATH_PUNCHED);
}

/* Messages every 20 ms while a way goes over from the relay to direct: none is lost. */
static void test_make_before_break(void **state)
{
    unsigned sent = 0;

    (void)state;
    behind(A, PORT_RESTRICTED);
    behind(B, PORT_RESTRICTED);
    run(VI_SEC);
    connect_to(A, B);
    run(2 * VI_SEC);
    assert_int_equal(A->ups, 2);
    assert_int_equal(path(A, B).kind, MESH_PATH_RELAYED);
    for (; path(A, B).kind == MESH_PATH_RELAYED || sent < 500; sent++) {
        assert_int_equal(send_to(A, B), 0);
        run(20 * VI_MSEC);
        assert_true(sent < 5000);
    }
    run(VI_SEC);
    assert_int_equal(path(A, B).kind, MESH_PATH_PUNCHED);
    assert_int_equal(B->delivered, sent);
}

static void test_one_way(void **state)
{
    (void)state;
    connect_to(A, R);
    connect_to(B, R);
    connect_to(A, B);
    talk(A, B, 20 * VI_SEC);
    w.blocked[1][2] = true; /* A's packets don't reach B any more */
    talk(A, B, 8 * VI_SEC);
    assert_int_equal(path(A, B).kind, MESH_PATH_RELAYED);
    assert_int_equal(path(B, A).kind, MESH_PATH_RELAYED);
    talk(A, B, 30 * VI_SEC);
    assert_int_equal(path(A, B).why, MESH_WHY_NOT_THERE);
    assert_int_equal(path(B, A).why, MESH_WHY_NOT_HERE);
    assert_int_equal(A->downs + B->downs, 0);
    w.blocked[1][2] = false;
    talk(A, B, 75 * VI_SEC);
    assert_int_equal(path(A, B).kind, MESH_PATH_DIRECT);
    assert_int_equal(path(B, A).kind, MESH_PATH_DIRECT);
    assert_int_equal(A->downs + B->downs, 0);
}

/* The block is there from the beginning, in either direction: a session never confirms directly. */
static void test_one_way_from_start(void **state)
{
    for (unsigned way = 0; way < 2; way++) {
        mesh_world_down(state);
        mesh_world_up(state);
        w.blocked[1 + way][2 - way] = true;
        connect_to(A, R);
        connect_to(B, R);
        run(VI_SEC);
        connect_to(A, B);
        run(10 * VI_SEC);
        assert_int_equal(path(A, B).kind, MESH_PATH_RELAYED);
        assert_int_equal(path(B, A).kind, MESH_PATH_RELAYED);
        send_to(A, B);
        send_to(B, A);
        run(VI_SEC);
        assert_int_equal(A->delivered, 1);
        assert_int_equal(B->delivered, 1);
    }
}

static void test_new_address_is_tried_at_once(void **state)
{
    (void)state;
    w.blocked[1][2] = w.blocked[2][1] = true;
    connect_to(A, R);
    connect_to(B, R);
    run(VI_SEC);
    connect_to(A, B);
    talk(A, B, 200 * VI_SEC); /* long since only once a minute */
    assert_int_equal(path(A, B).kind, MESH_PATH_RELAYED);
    assert_int_equal(path(A, B).why, MESH_WHY_NO_ANSWER);
    talk(A, B, path(A, B).retry - w.now + 4 * VI_SEC); /* just after one */
    assert_true(path(A, B).retry - w.now > 20 * VI_SEC);
    w.blocked[1][2] = w.blocked[2][1] = false;
    B->addr.ip[3] = 9;
    connect_to(B, R);
    assert_int_equal(step(A, &(struct mesh_event){.kind = MESH_EV_SET_ADDR,
                                                  .set_addr = {.peer = B->id, .addr = B->addr}}), 0);
    run(3 * VI_SEC);
    assert_int_equal(path(A, B).kind, MESH_PATH_DIRECT);
    assert_true(at(A, B, &B->addr));
}

static void test_relay_dies(void **state)
{
    struct vi_id relay;
    unsigned before;

    (void)state;
    w.blocked[1][2] = w.blocked[2][1] = true;
    for (unsigned i = 1; i <= 2; i++) {
        connect_to(&w.n[i], R);
        connect_to(&w.n[i], S);
    }
    run(VI_SEC);
    for (unsigned i = 1; i <= 2; i++)
        step(&w.n[i], &(struct mesh_event){.kind = MESH_EV_RELAYS, .relays = {.id = &R->id, .n = 1}});
    connect_to(A, B);
    talk(A, B, 10 * VI_SEC);
    assert_true(through(A, B, R));
    assert_true(mesh_relay_for(A->m, w.now, &B->id, &relay) && vi_id_equal(&relay, &R->id));
    w.dead[0] = true;
    talk(A, B, 10 * VI_SEC);
    assert_true(through(A, B, S));
    assert_true(through(B, A, S));
    before = B->delivered;
    talk(A, B, 5 * VI_SEC);
    assert_true(B->delivered >= before + 24);
    assert_int_equal(path(A, B).lost > 0, false);
}

/* Answers that take longer than a probe waits for (a busy host, a full line): no reason to leave a way. */
static void test_slow_is_not_broken(void **state)
{
    (void)state;
    connect_to(A, R);
    connect_to(B, R);
    connect_to(A, B);
    talk(A, B, 10 * VI_SEC);
    w.delay = 900 * VI_MSEC;
    talk(A, B, 60 * VI_SEC);
    assert_int_equal(mesh_counters(A->m)->paths_lost + mesh_counters(B->m)->paths_lost, 0);
    assert_int_equal(path(A, B).kind, MESH_PATH_DIRECT);
    assert_int_equal(mesh_counters(R->m)->relayed, 0);
}

/* Both NATs forget everything, as after a power cut: through the relay, then a new way through both. */
static void test_nats_restart(void **state)
{
    (void)state;
    meet_behind(PORT_RESTRICTED, PORT_RESTRICTED);
    assert_int_equal(path(A, B).kind, MESH_PATH_PUNCHED);
    A->nmap = B->nmap = 0;
    talk(A, B, 75 * VI_SEC);
    assert_int_equal(path(A, B).kind, MESH_PATH_PUNCHED);
    assert_int_equal(path(B, A).kind, MESH_PATH_PUNCHED);
    assert_int_equal(A->downs + B->downs, 0);
    assert_true(mesh_counters(A->m)->paths_direct >= 2);
}

static void test_lossy(void **state)
{
    (void)state;
    w.loss = 20;
    meet_behind(PORT_RESTRICTED, RESTRICTED);
    talk(A, B, 300 * VI_SEC);
    assert_int_equal(A->downs + B->downs, 0);
    assert_true(path(A, B).kind != MESH_PATH_NONE);
    assert_true(path(A, B).lost > 0 && path(A, B).lost < path(A, B).probes);
}

static void fault(struct vi_rng *rng)
{
    unsigned a = vi_rng_below(rng, 3), b = (a + 1 + vi_rng_below(rng, 2)) % 3;

    switch (vi_rng_below(rng, 7)) {
    case 0:
    case 1:
        w.blocked[a][b] = true;
        break;
    case 2:
        memset(w.blocked, 0, sizeof w.blocked);
        break;
    case 3:
        w.loss = 25 * vi_rng_below(rng, 3);
        break;
    case 4:
        w.n[a].nmap = 0; /* its NAT restarts */
        break;
    case 5:
        w.delay = (vi_time)vi_rng_below(rng, 3) * 400 * VI_MSEC;
        break;
    default:
        w.dead[0] = !w.dead[0];
    }
}

/* All kinds of faults for two minutes, then none: whatever there was before, the pair is where it should be, and
 * what it says arrives. */
static void test_mixed_faults(void **state)
{
    struct vi_rng rng;

    for (unsigned seed = 1; seed <= 100; seed++) {
        enum nat a, b;
        unsigned before;
        bool can;

        mesh_world_down(state);
        mesh_world_up(state);
        vi_rng_seed(&rng, seed);
        a = vi_rng_below(&rng, KINDS);
        b = vi_rng_below(&rng, KINDS);
        can = a != SYMMETRIC && b != SYMMETRIC ? true : a <= RESTRICTED || b <= RESTRICTED;
        meet_behind(a, b);
        for (unsigned i = 0; i < 24; i++) {
            fault(&rng);
            talk(A, B, 5 * VI_SEC);
        }
        memset(w.blocked, 0, sizeof w.blocked);
        w.loss = 0;
        w.delay = 0;
        w.dead[0] = false;
        for (unsigned i = 0; i < 20; i++) { /* as a peer's owner does that is behind a NAT */
            connect_to(A, R);
            connect_to(B, R);
            talk(A, B, 5 * VI_SEC);
        }
        before = A->delivered + B->delivered;
        talk(A, B, 10 * VI_SEC);
        if (A->delivered + B->delivered < before + 98)
            fail_msg("seed %u, NATs %u and %u: %u of 100 came", seed, a, b, A->delivered + B->delivered - before);
        if ((path(A, B).kind != MESH_PATH_RELAYED) != can || path(A, B).kind == MESH_PATH_NONE)
            fail_msg("seed %u, NATs %u and %u: way %u", seed, a, b, path(A, B).kind);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, mesh_world_up, mesh_world_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_no_nat), T(test_rekey_each_second), T(test_nat_matrix), T(test_keeps_nat_open), T(test_make_before_break),
        T(test_one_way), T(test_one_way_from_start), T(test_new_address_is_tried_at_once),
        T(test_relay_dies), T(test_slow_is_not_broken), T(test_nats_restart), T(test_lossy), T(test_mixed_faults),
    };

    if (sodium_init() < 0)
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
