/* Ways between mesh cores on virtual time: simulated NATs of every kind, one-way blocks, relays that
 * come and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/mesh.h"
#include "overlay/mesh_internal.h"
#include "peer/base/err.h"

#define WALL     (INT64_C(1700000000) * VI_SEC)
#define NODES    4
#define FLIGHT   4096
#define MAPPINGS 64
#define NAT_LIFE (40 * VI_SEC)

enum nat { NONE, FULL_CONE, RESTRICTED, PORT_RESTRICTED, SYMMETRIC, KINDS };

struct mapping {
    uint16_t port; /* outside */
    struct mesh_addr to; /* whom it was made for, or who was last spoken to */
    vi_time at;
};

struct node {
    struct mesh *m;
    struct mesh_config cfg;
    struct mesh_trust trust;
    struct vi_id id;
    struct mesh_addr addr, outside; /* own; its NAT's */
    enum nat nat;
    struct mapping map[MAPPINGS];
    unsigned nmap;
    uint16_t next_port;
    uint8_t x_pk[32];
    unsigned delivered, ups, downs, datas;
    struct mesh_keys keys;
    uint8_t data[MESH_INNER_MAX];
    size_t data_len;
};

struct packet {
    vi_time at;
    struct mesh_addr from, to; /* as on the public network */
    size_t len;
    uint8_t data[1600];
};

static struct {
    vi_time now;
    struct vi_rng rng;
    struct node n[NODES];
    struct packet flight[FLIGHT];
    size_t flying;
    unsigned loss;
    vi_time delay; /* besides 5 ms */
    bool blocked[NODES][NODES], dead[NODES];
    uint8_t auth_sk[64];
} w;

#define R (&w.n[0])
#define A (&w.n[1])
#define B (&w.n[2])
#define S (&w.n[3])

static void make_node(unsigned i)
{
    struct node *n = &w.n[i];
    struct cert *c = &n->cfg.cert;
    uint8_t seed[32], sk[64];

    vi_rng_bytes(&w.rng, seed, 32);
    crypto_sign_seed_keypair(c->ed, sk, seed);
    vi_rng_bytes(&w.rng, n->cfg.secret, 32);
    crypto_scalarmult_base(n->x_pk, n->cfg.secret);
    memcpy(c->x, n->x_pk, 32);
    cert_peer_id(&n->id, c->ed);
    strcpy(c->domain, "lab");
    strcpy(c->host, "host");
    c->not_before = WALL - VI_HOUR;
    c->not_after = WALL + 24 * VI_HOUR;
    assert_int_equal(cert_issue(c, w.auth_sk), 0);
    n->cfg.has_cert = true;
    n->cfg.trust = &n->trust;
    n->cfg.trusts = 1;
    n->cfg.wall_minus_now = WALL;
    n->addr = (struct mesh_addr){.family = 4, .port = 7411, .ip = {10, 0, (uint8_t)i, 1}};
    n->outside = (struct mesh_addr){.family = 4, .ip = {1, 0, 0, (uint8_t)(i + 1)}};
    n->next_port = 20000;
}

static void tell_self(struct node *n)
{
    struct mesh_event ev = {.kind = MESH_EV_SELF, .self = {.addr = n->addr}};

    assert_int_equal(mesh_step(n->m, w.now, &ev), 0);
}

static int set_up(void **state)
{
    uint8_t pk[32];

    (void)state;
    memset(&w, 0, sizeof w);
    w.now = 50 * VI_SEC;
    vi_rng_seed(&w.rng, 7);
    crypto_sign_seed_keypair(pk, w.auth_sk, (const uint8_t *)"authority authority authority 32");
    for (unsigned i = 0; i < NODES; i++) {
        make_node(i);
        strcpy(w.n[i].trust.domain, "lab");
        memcpy(w.n[i].trust.authority, pk, 32);
        w.n[i].m = mesh_new(&w.n[i].cfg, &w.rng, w.now);
        assert_non_null(w.n[i].m);
        tell_self(&w.n[i]);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NODES; i++) {
        mesh_free(w.n[i].m);
        w.n[i].m = NULL;
    }
    return 0;
}

/* ---- the network -------------------------------------------------------------------------------- */

static bool same_ip(const struct mesh_addr *a, const struct mesh_addr *b)
{
    return !memcmp(a->ip, b->ip, 16);
}

/* What n's packet to `to` looks like outside its NAT. */
static struct mesh_addr translate_out(struct node *n, const struct mesh_addr *to)
{
    struct mesh_addr out = n->outside;
    uint16_t port = 0;

    if (n->nat == NONE)
        return n->addr;
    for (unsigned i = 0; i < n->nmap; i++) {
        if (w.now - n->map[i].at > NAT_LIFE)
            continue;
        if (n->nat != SYMMETRIC)
            port = n->map[i].port;
        if (mesh_addr_equal(&n->map[i].to, to)) {
            n->map[i].at = w.now;
            out.port = n->map[i].port;
            return out;
        }
    }
    if (n->nmap == MAPPINGS) {
        memmove(n->map, n->map + 1, (MAPPINGS - 1) * sizeof *n->map);
        n->nmap--;
    }
    out.port = port ? port : n->next_port++;
    n->map[n->nmap++] = (struct mapping){.port = out.port, .to = *to, .at = w.now};
    return out;
}

static bool lets_in(const struct node *n, const struct packet *p)
{
    if (n->nat == NONE)
        return mesh_addr_equal(&n->addr, &p->to);
    if (!same_ip(&n->outside, &p->to))
        return false;
    for (unsigned i = 0; i < n->nmap; i++) {
        const struct mapping *x = &n->map[i];

        if (w.now - x->at > NAT_LIFE || x->port != p->to.port)
            continue;
        if (n->nat == FULL_CONE || (n->nat == RESTRICTED && same_ip(&x->to, &p->from)) ||
            mesh_addr_equal(&x->to, &p->from))
            return true;
    }
    return false;
}

static void put(struct node *n, const struct mesh_effect *fx)
{
    struct packet *p = &w.flight[w.flying];

    assert_true(fx->addr.family == 4 && fx->len <= 1472 + 28);
    if (w.flying == FLIGHT || w.dead[n - w.n] || vi_rng_below(&w.rng, 100) < w.loss)
        return;
    w.flying++;
    p->at = w.now + w.delay + 5 * VI_MSEC + (vi_time)vi_rng_below(&w.rng, VI_MSEC);
    p->from = translate_out(n, &fx->addr);
    p->to = fx->addr;
    p->len = fx->len;
    memcpy(p->data, fx->data, fx->len);
}

static void drain(struct node *n)
{
    const struct mesh_effect *fx;

    while ((fx = mesh_effect(n->m)))
        switch (fx->kind) {
        case MESH_FX_DATAGRAM:
            put(n, fx);
            break;
        case MESH_FX_DELIVER:
            n->delivered++;
            break;
        case MESH_FX_PEER_UP:
            n->ups++;
            break;
        case MESH_FX_PEER_DOWN:
            n->downs += !vi_id_equal(&fx->peer, &R->id); /* that one may be idle */
            break;
        case MESH_FX_KEYS:
            if (!fx->keys.withdrawn && (vi_id_equal(&fx->peer, &A->id) || vi_id_equal(&fx->peer, &B->id)))
                n->keys = fx->keys;
            break;
        case MESH_FX_DATA:
            n->datas++;
            n->data_len = fx->len;
            memcpy(n->data, fx->data, fx->len);
            break;
        case MESH_FX_ADMISSION_REQUEST:
        case MESH_FX_ADMISSION_ANSWER:
            fail();
        }
}

static int step(struct node *n, const struct mesh_event *ev)
{
    int err = mesh_step(n->m, w.now, ev);

    drain(n);
    return err;
}

static void arrive(const struct packet *p)
{
    unsigned from = NODES;

    for (unsigned i = 0; i < NODES; i++)
        if (same_ip(w.n[i].nat == NONE ? &w.n[i].addr : &w.n[i].outside, &p->from))
            from = i;
    assert_true(from < NODES);
    for (unsigned i = 0; i < NODES; i++)
        if (!w.dead[i] && !w.blocked[from][i] && lets_in(&w.n[i], p))
            step(&w.n[i], &(struct mesh_event){.kind = MESH_EV_DATAGRAM,
                                               .datagram = {.from = p->from, .data = p->data,
                                                            .len = p->len}});
}

static void run(vi_time span)
{
    vi_time end = w.now + span;
    unsigned same = 0;

    for (;;) {
        vi_time next = end;
        size_t first = w.flying;
        struct node *due = NULL;

        for (size_t i = 0; i < w.flying; i++)
            if (w.flight[i].at <= next && (first == w.flying || w.flight[i].at < w.flight[first].at)) {
                first = i;
                next = w.flight[i].at;
            }
        for (unsigned i = 0; i < NODES; i++)
            if (!w.dead[i] && mesh_deadline(w.n[i].m) < next) {
                next = mesh_deadline(w.n[i].m);
                due = &w.n[i];
            }
        if (!due && first == w.flying)
            break;
        same = next > w.now ? 0 : same + 1;
        assert_true(same < 10000); /* a core that wants ticks for ever at the same time */
        if (next > w.now)
            w.now = next;
        if (due) {
            step(due, &(struct mesh_event){.kind = MESH_EV_TICK});
        } else {
            struct packet p = w.flight[first];

            w.flight[first] = w.flight[--w.flying];
            arrive(&p);
        }
    }
    w.now = end;
}

/* ---- what the tests say -------------------------------------------------------------------------- */

static void connect_to(struct node *a, struct node *b)
{
    assert_int_equal(step(a, &(struct mesh_event){.kind = MESH_EV_CONNECT,
                                                  .connect = {.peer = b->id, .x = b->x_pk,
                                                              .addr = b->addr}}), 0);
}

static int send_to(struct node *a, struct node *b)
{
    return step(a, &(struct mesh_event){.kind = MESH_EV_SEND,
                                        .send = {.peer = b->id, .channel = 1,
                                                 .data = (const uint8_t *)"hello", .len = 5}});
}

static struct mesh_path_info path(struct node *a, struct node *b)
{
    struct mesh_path_info p;

    assert_true(mesh_path_find(a->m, &b->id, &p));
    return p;
}

static bool through(struct node *a, struct node *b, struct node *relay)
{
    struct mesh_path_info p = path(a, b);

    return p.kind == MESH_PATH_RELAYED && vi_id_equal(&p.relay, &relay->id);
}

static bool at(struct node *a, struct node *b, const struct mesh_addr *addr)
{
    struct mesh_path_info p = path(a, b);

    return mesh_addr_equal(&p.addr, addr);
}

/* Both ends talk for so long. */
static void talk(struct node *a, struct node *b, vi_time span)
{
    for (vi_time end = w.now + span; w.now < end; run(200 * VI_MSEC)) {
        send_to(a, b);
        send_to(b, a);
    }
}

static void behind(struct node *n, enum nat kind)
{
    n->nat = kind;
    connect_to(n, R);
}

static void meet_behind(enum nat a, enum nat b)
{
    behind(A, a);
    behind(B, b);
    run(VI_SEC);
    connect_to(A, B);
    connect_to(B, A);
    talk(A, B, 15 * VI_SEC);
}

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

/* Every kind of NAT against every other: through the relay at once, then past it where that can be. */
static void test_nat_matrix(void **state)
{
    for (unsigned a = NONE; a < KINDS; a++)
        for (unsigned b = NONE; b < KINDS; b++) {
            bool hard_a = a == SYMMETRIC || a == PORT_RESTRICTED, hard_b = b == SYMMETRIC || b == PORT_RESTRICTED;
            bool can = !(hard_a && hard_b && (a == SYMMETRIC || b == SYMMETRIC));
            unsigned before;

            tear_down(state);
            set_up(state);
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
        tear_down(state);
        set_up(state);
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

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_no_nat), T(test_nat_matrix), T(test_keeps_nat_open), T(test_make_before_break),
        T(test_one_way), T(test_one_way_from_start), T(test_new_address_is_tried_at_once),
        T(test_relay_dies), T(test_refused), T(test_owner_refuses), T(test_data_and_limits),
        T(test_hostile), T(test_pairs_bounded), T(test_nats_restart), T(test_slow_is_not_broken),
        T(test_sources_behind_one_relay), T(test_lossy), T(test_messages),
    };

    if (sodium_init() < 0)
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
