/* A relay and what can go wrong with one: refusals, limits, hostile members, many behind one. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "tests/sim/mesh_world.h"

/* No relay knows the peer: refused, with no end of trying. */
static void test_refused(void **state)
{
    (void)state;
    w.blocked[1][2] = w.blocked[2][1] = true;
    connect_to(A, R);
    run(VI_SEC);
    connect_to(A, B);
    run(30 * VI_SEC);
    assert_true(mesh_counters(R->m)->relay_refused > 0);
    assert_true(mesh_counters(R->m)->relay_refused < 10);
    assert_int_equal(path(A, B).kind, MESH_PATH_NONE);
    assert_int_equal(path(A, B).why, MESH_WHY_DOWN);
    assert_int_equal(path(A, B).down, MESH_DOWN_TIMEOUT);
    assert_int_equal(A->ups, 1);
}

static bool never(void *arg, const struct vi_id *from, const struct vi_id *to)
{
    (void)arg;
    (void)from;
    (void)to;
    return false;
}

static void test_owner_refuses(void **state)
{
    (void)state;
    mesh_free(R->m);
    R->cfg.relay = never;
    R->m = mesh_new(&R->cfg, &w.rng, w.now);
    w.blocked[1][2] = w.blocked[2][1] = true;
    connect_to(A, R);
    connect_to(B, R);
    run(VI_SEC);
    connect_to(A, B);
    run(30 * VI_SEC);
    assert_int_equal(mesh_counters(R->m)->relayed, 0);
    assert_true(mesh_counters(R->m)->relay_refused > 0);
    assert_int_equal(path(A, B).kind, MESH_PATH_NONE);
}

static void data_packet(uint8_t *out, size_t len, const struct mesh_keys *k, uint64_t counter)
{
    struct mesh_header h = {.type = MESH_DATA, .queue = 1, .receiver = k->remote, .counter = counter};

    memset(out, 0xd5, len);
    mesh_header_write(out, &h);
}

/* The data path's packets pass as they are, up to a limit per second and pair. */
static void test_data_and_limits(void **state)
{
    uint8_t packet[MESH_INNER_MAX + 1];
    struct mesh_event ev = {.kind = MESH_EV_RELAYED, .relayed = {.data = packet, .len = 1376}};
    unsigned n = 0;

    (void)state;
    mesh_free(R->m);
    R->cfg.relay_bytes = 100000;
    R->m = mesh_new(&R->cfg, &w.rng, w.now);
    w.blocked[1][2] = w.blocked[2][1] = true;
    connect_to(A, R);
    connect_to(B, R);
    run(VI_SEC);
    connect_to(A, B);
    run(5 * VI_SEC);
    assert_int_equal(A->keys.addr.family, MESH_VIA);
    ev.relayed.local = A->keys.local;
    data_packet(packet, sizeof packet, &A->keys, 0);
    assert_int_equal(step(A, &ev), 0);
    run(100 * VI_MSEC);
    assert_int_equal(B->datas, 1);
    assert_int_equal(B->data_len, 1376);
    assert_memory_equal(B->data, packet, 1376);
    ev.relayed.len = sizeof packet;
    assert_int_equal(step(A, &ev), VI_EINVAL);
    ev.relayed.len = 1376;
    for (vi_time end = w.now + 10 * VI_SEC; w.now < end; run(5 * VI_MSEC), n++) {
        data_packet(packet, 1376, &A->keys, n + 1);
        assert_int_equal(step(A, &ev), 0); /* 275 kB/s */
    }
    assert_true(mesh_counters(R->m)->relay_limited > n / 2);
    assert_in_range(B->datas, 10 * 100000 / 1376 * 9 / 10, 10 * 100000 / 1376 * 11 / 10);
    assert_int_equal(A->downs + B->downs, 0);
}

/* What a hostile relay or member can do: nothing but lose packets. */
static void test_hostile(void **state)
{
    struct mesh_peer *p;
    uint8_t buf[MESH_RELAY_HEAD + 64] = {2};
    struct mesh_path_msg seen = {.kind = MESH_SEEN, .peer = B->id, .addr = {.family = 4, .port = 9, .ip = {9, 9, 9, 9}}};
    uint8_t msg[MESH_PATH_MAX];
    size_t len;
    uint64_t probes;

    (void)state;
    connect_to(A, R);
    connect_to(A, B);
    connect_to(B, R);
    talk(A, B, 5 * VI_SEC);
    p = mesh_peer_get(A->m, &R->id);
    assert_true(mesh_reserve(A->m, 16));
    memcpy(buf + 1, B->id.b, VI_ID_SIZE);
    buf[MESH_RELAY_HEAD] = MESH_RELAY; /* one within another */
    mesh_relay_packet(A->m, p, buf, sizeof buf, w.now);
    memcpy(buf + 1, A->id.b, VI_ID_SIZE); /* from ourselves */
    buf[MESH_RELAY_HEAD] = MESH_INIT;
    mesh_relay_packet(A->m, p, buf, sizeof buf, w.now);
    memcpy(buf + 1, R->id.b, VI_ID_SIZE); /* from the relay itself */
    mesh_relay_packet(A->m, p, buf, sizeof buf, w.now);
    assert_int_equal(mesh_counters(A->m)->rx_garbage, 3);
    mesh_relay_packet(A->m, p, buf, MESH_RELAY_HEAD, w.now); /* empty */
    assert_int_equal(mesh_counters(A->m)->rx_garbage, 4);
    assert_int_equal(mesh_counters(A->m)->relay_rx, 0);
    probes = mesh_counters(A->m)->probes_sent;
    len = mesh_path_write(&seen, msg); /* B isn't relayed: nobody makes us send elsewhere */
    mesh_path_message(A->m, p, &R->addr, msg + 1, len - 1, w.now);
    run(VI_MSEC);
    assert_int_equal(mesh_counters(A->m)->probes_sent, probes);
    drain(A);
    talk(A, B, 5 * VI_SEC);
    assert_int_equal(path(A, B).kind, MESH_PATH_DIRECT);
}

/* The pairs' table is bounded: the oldest entries go, the newest is refused while all are in use. */
static void test_pairs_bounded(void **state)
{
    uint8_t buf[MESH_RELAY_HEAD + 64] = {1};
    struct mesh_peer *p;

    (void)state;
    connect_to(A, R);
    connect_to(B, R);
    run(VI_SEC);
    p = mesh_peer_get(R->m, &A->id);
    memcpy(buf + 1, B->id.b, VI_ID_SIZE);
    buf[MESH_RELAY_HEAD] = MESH_CONTROL;
    assert_true(mesh_reserve(R->m, 16));
    mesh_relay_packet(R->m, p, buf, sizeof buf, w.now);
    assert_int_equal(mesh_counters(R->m)->relayed, 1);
    for (unsigned i = 0; i < MESH_PAIRS; i++) {
        vi_rng_id(&w.rng, &R->m->pairs[i].from);
        R->m->pairs[i].used = true;
        R->m->pairs[i].last = w.now;
    }
    mesh_relay_packet(R->m, p, buf, sizeof buf, w.now);
    assert_int_equal(mesh_counters(R->m)->relayed, 1);
    assert_int_equal(mesh_counters(R->m)->relay_full, 1);
    w.now += 61 * VI_SEC;
    R->m->now = w.now;
    mesh_relay_packet(R->m, p, buf, sizeof buf, w.now);
    assert_int_equal(mesh_counters(R->m)->relayed, 2);
    drain(R);
}

/* A hundred peers are relayed to at once by one: each gets its handshake, none takes it from another. */
static void test_sources_behind_one_relay(void **state)
{
    struct mesh_addr from;
    struct vi_id other;
    uint8_t init[MESH_INIT_SIZE];
    struct mesh_half h = {0};

    (void)state;
    h.local = 77;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(mesh_init_build(A->m, &h, MESH_KIND_MEMBER, NOISE_CHACHAPOLY, B->x_pk, NULL, NULL,
                                         w.now, init), 0);
        vi_rng_id(&w.rng, &other);
        mesh_via(&from, &R->id, &other);
        mesh_dispatch(B->m, w.now, &from, init, sizeof init);
    }
    assert_int_equal(mesh_counters(B->m)->init_computed, 100);
    for (unsigned i = 0; i < 100; i++) { /* the same one: within its own limit */
        assert_int_equal(mesh_init_build(A->m, &h, MESH_KIND_MEMBER, NOISE_CHACHAPOLY, B->x_pk, NULL, NULL,
                                         w.now, init), 0);
        mesh_dispatch(B->m, w.now, &from, init, sizeof init);
    }
    assert_in_range(mesh_counters(B->m)->init_computed, 110, 125);
    init[2] = MESH_KIND_ADMISSION; /* nobody is admitted through a relay */
    mesh_dispatch(B->m, w.now, &from, init, sizeof init);
    assert_true(mesh_counters(B->m)->rx_garbage > 0);
    drain(B);
    w.flying = 0;
}

static void test_messages(void **state)
{
    struct mesh_path_msg m = {.kind = MESH_SEEN, .addr = {.family = 6, .port = 258, .ip = {1, 2, 3}}}, r;
    uint8_t b[MESH_PATH_MAX];
    size_t len;

    (void)state;
    memset(m.peer.b, 9, VI_ID_SIZE);
    len = mesh_path_write(&m, b);
    assert_int_equal(b[0], MESH_CHANNEL_PATH);
    assert_int_equal(mesh_path_read(&r, b + 1, len - 1), 0);
    assert_true(mesh_addr_equal(&m.addr, &r.addr) && vi_id_equal(&m.peer, &r.peer));
    for (size_t n = 0; n < len - 1; n++)
        assert_int_equal(mesh_path_read(&r, b + 1, n), VI_EPROTO);
    b[18] = 5; /* no such family */
    assert_int_equal(mesh_path_read(&r, b + 1, len - 1), VI_EPROTO);
    b[18] = 4; /* with more than an IPv4 address has */
    b[18 + 3 + 9] = 1;
    assert_int_equal(mesh_path_read(&r, b + 1, len - 1), VI_EPROTO);
    m = (struct mesh_path_msg){.kind = MESH_ACK, .flags = MESH_HEARD, .nonce = 77};
    mesh_via(&m.addr, &R->id, &A->id); /* a relay's is no address to tell */
    len = mesh_path_write(&m, b);
    assert_int_equal(mesh_path_read(&r, b + 1, len - 1), 0);
    assert_true(r.addr.family == 0 && r.nonce == 77 && r.flags == MESH_HEARD);
    b[1] = 99;
    assert_int_equal(mesh_path_read(&r, b + 1, len - 1), VI_EPROTO);
}

#define T(f) cmocka_unit_test_setup_teardown(f, mesh_world_up, mesh_world_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_refused), T(test_owner_refuses), T(test_data_and_limits), T(test_hostile),
        T(test_pairs_bounded), T(test_sources_behind_one_relay), T(test_messages),
    };

    if (sodium_init() < 0)
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
