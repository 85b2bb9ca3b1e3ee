/* Mesh cores wired back to back on virtual time, over a network that loses, doubles, and reorders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/mesh.h"
#include "overlay/token.h"
#include "peer/base/err.h"

#define WALL   (INT64_C(1700000000) * VI_SEC)
#define FLIGHT 4096

struct packet {
    vi_time at;
    struct mesh_addr from, to;
    size_t len;
    uint8_t data[1500];
};

struct node {
    struct mesh *m;
    struct mesh_config cfg;
    struct mesh_trust trust;
    struct vi_id id;
    struct mesh_addr addr;
    uint8_t ed_pk[32], ed_sk[64], x_pk[32];
    unsigned delivered, ups, downs, keys, withdrawn, requests, answers;
    enum mesh_down why;
    int err;
    uint8_t last[MESH_PAYLOAD_MAX];
    size_t last_len;
    struct mesh_keys newest;
    uint32_t admission;
};

struct net {
    vi_time now;
    struct vi_rng rng;
    struct node n[3];
    struct packet *flight;
    size_t flying;
    unsigned loss, dup; /* percent */
    vi_time jitter;
    bool cut;
    struct packet kept[8]; /* the first packets of a type, for replays */
    unsigned nkept, keep_type;
    uint8_t auth_pk[32], auth_sk[64];
};

static struct net w;
static bool token_known = true;

static bool lookup(void *arg, const struct vi_id *token, uint8_t psk[32])
{
    (void)arg;
    memset(psk, 7, 32);
    return token_known && token->b[0] == 9;
}

static void make_cert(struct node *n, const uint8_t auth_sk[64], const char *host)
{
    struct cert *c = &n->cfg.cert;

    memset(c, 0, sizeof *c);
    strcpy(c->domain, "lab");
    strcpy(c->host, host);
    memcpy(c->ed, n->ed_pk, 32);
    memcpy(c->x, n->x_pk, 32);
    c->not_before = WALL - VI_HOUR;
    c->not_after = WALL + 24 * VI_HOUR;
    assert_int_equal(cert_issue(c, auth_sk), 0);
    n->cfg.has_cert = true;
}

static void start(struct node *n)
{
    n->m = mesh_new(&n->cfg, &w.rng, w.now);
    assert_non_null(n->m);
}

static int set_up(void **state)
{
    (void)state;
    free(w.flight);
    memset(&w, 0, sizeof w);
    token_known = true;
    w.now = 50 * VI_SEC;
    w.flight = calloc(FLIGHT, sizeof *w.flight);
    vi_rng_seed(&w.rng, 42);
    crypto_sign_seed_keypair(w.auth_pk, w.auth_sk, (const uint8_t *)"authority authority authority 32");
    for (unsigned i = 0; i < 3; i++) {
        struct node *n = &w.n[i];
        uint8_t seed[32];

        vi_rng_bytes(&w.rng, seed, 32);
        crypto_sign_seed_keypair(n->ed_pk, n->ed_sk, seed);
        vi_rng_bytes(&w.rng, n->cfg.secret, 32);
        crypto_scalarmult_base(n->x_pk, n->cfg.secret);
        cert_peer_id(&n->id, n->ed_pk);
        n->addr = (struct mesh_addr){.family = 4, .port = 7000, .ip = {10, 0, 0, (uint8_t)(i + 1)}};
        strcpy(n->trust.domain, "lab");
        memcpy(n->trust.authority, w.auth_pk, 32);
        n->cfg.trust = &n->trust;
        n->cfg.trusts = 1;
        n->cfg.wall_minus_now = WALL;
        n->cfg.lookup_psk = lookup;
        make_cert(n, w.auth_sk, "host");
        start(n);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        mesh_free(w.n[i].m);
    free(w.flight);
    w.flight = NULL;
    return 0;
}

static void put(const struct mesh_addr *from, const struct mesh_addr *to, const uint8_t *data,
                size_t len)
{
    struct packet *p;

    if (w.nkept < 8 && len && data[0] == w.keep_type) {
        p = &w.kept[w.nkept++];
        *p = (struct packet){.from = *from, .to = *to, .len = len};
        memcpy(p->data, data, len);
    }
    for (unsigned copies = vi_rng_below(&w.rng, 100) < w.dup ? 2 : 1; copies; copies--) {
        if (w.cut || vi_rng_below(&w.rng, 100) < w.loss || w.flying == FLIGHT)
            continue;
        p = &w.flight[w.flying++];
        p->at = w.now + VI_MSEC +
                (w.jitter ? (vi_time)vi_rng_below(&w.rng, (uint32_t)w.jitter) : 0);
        p->from = *from;
        p->to = *to;
        p->len = len;
        memcpy(p->data, data, len);
    }
}

static void drain(struct node *n)
{
    const struct mesh_effect *fx;

    while ((fx = mesh_effect(n->m))) {
        switch (fx->kind) {
        case MESH_FX_DATAGRAM:
            assert_true(fx->len <= 1400);
            put(&n->addr, &fx->addr, fx->data, fx->len);
            break;
        case MESH_FX_DELIVER:
            n->delivered++;
            n->last_len = fx->len;
            memcpy(n->last, fx->data, fx->len);
            break;
        case MESH_FX_PEER_UP:
            n->ups++;
            break;
        case MESH_FX_PEER_DOWN:
            n->downs++;
            n->why = fx->why;
            n->err = fx->err;
            break;
        case MESH_FX_KEYS:
            if (fx->keys.withdrawn) {
                n->withdrawn++;
            } else {
                n->keys++;
                n->newest = fx->keys;
            }
            break;
        case MESH_FX_DATA:
            fail_msg("nothing is relayed here");
            break;
        case MESH_FX_ADMISSION_REQUEST:
            n->requests++;
            n->admission = fx->admission;
            n->last_len = fx->len;
            memcpy(n->last, fx->data, fx->len);
            break;
        case MESH_FX_ADMISSION_ANSWER:
            n->answers++;
            n->err = fx->err;
            n->last_len = fx->len;
            if (fx->len)
                memcpy(n->last, fx->data, fx->len);
            break;
        }
    }
}

static int step(struct node *n, const struct mesh_event *ev)
{
    int err = mesh_step(n->m, w.now, ev);

    drain(n);
    return err;
}

static void feed(struct node *n, const struct mesh_addr *from, const uint8_t *data, size_t len)
{
    step(n, &(struct mesh_event){.kind = MESH_EV_DATAGRAM,
                                 .datagram = {.from = *from, .data = data, .len = len}});
}

static void run(vi_time span)
{
    vi_time end = w.now + span;

    for (;;) {
        vi_time next = end;
        size_t first = w.flying;
        struct node *due = NULL;

        for (size_t i = 0; i < w.flying; i++)
            if (w.flight[i].at <= next) {
                if (first == w.flying || w.flight[i].at < w.flight[first].at)
                    first = i;
                next = w.flight[first].at;
            }
        for (unsigned i = 0; i < 3; i++)
            if (mesh_deadline(w.n[i].m) < next) {
                next = mesh_deadline(w.n[i].m);
                due = &w.n[i];
            }
        if (next >= end && !due && first == w.flying)
            break;
        if (next > w.now)
            w.now = next;
        if (due) {
            step(due, &(struct mesh_event){.kind = MESH_EV_TICK});
        } else {
            struct packet p = w.flight[first];

            w.flight[first] = w.flight[--w.flying];
            for (unsigned i = 0; i < 3; i++)
                if (mesh_addr_equal(&w.n[i].addr, &p.to))
                    feed(&w.n[i], &p.from, p.data, p.len);
        }
    }
    w.now = end;
}

static int connect_to(struct node *a, struct node *b)
{
    return step(a, &(struct mesh_event){.kind = MESH_EV_CONNECT,
                                        .connect = {.peer = b->id, .x = b->x_pk, .addr = b->addr}});
}

static int send_to(struct node *a, struct node *b, const char *text)
{
    return step(a, &(struct mesh_event){.kind = MESH_EV_SEND,
                                        .send = {.peer = b->id, .channel = 1,
                                                 .data = (const uint8_t *)text,
                                                 .len = strlen(text)}});
}

#define A (&w.n[0])
#define B (&w.n[1])
#define C (&w.n[2])

static void test_connect_and_send(void **state)
{
    struct mesh_peer_info info;
    uint8_t k1[32], k2[32];

    (void)state;
    assert_int_equal(connect_to(A, B), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(send_to(A, B, "hello"), 0); /* waits for the handshake */
    run(VI_SEC);
    assert_int_equal(A->ups, 1);
    assert_int_equal(B->ups, 1);
    assert_int_equal(B->delivered, 5);
    assert_memory_equal(B->last, "hello", 5);
    assert_int_equal(send_to(B, A, "back"), 0);
    run(VI_SEC);
    assert_int_equal(A->delivered, 1);
    /* the data path's keys agree, and differ by queue and direction */
    assert_int_equal(A->newest.local, B->newest.remote);
    assert_int_equal(B->newest.local, A->newest.remote);
    assert_true(A->newest.send && B->newest.send);
    mesh_queue_key(A->newest.tx_base, A->newest.cipher, 1, k1);
    mesh_queue_key(B->newest.rx_base, B->newest.cipher, 1, k2);
    assert_memory_equal(k1, k2, 32);
    mesh_queue_key(B->newest.rx_base, B->newest.cipher, 2, k2);
    assert_memory_not_equal(k1, k2, 32);
    mesh_queue_key(A->newest.rx_base, A->newest.cipher, 1, k2);
    assert_memory_not_equal(k1, k2, 32);
    assert_true(mesh_peer_find(A->m, &B->id, &info));
    assert_true(info.up && info.has_cert);
    assert_string_equal(info.cert->host, "host");
    assert_int_equal(send_to(A, C, "x"), VI_ENOTFOUND);
}

static void test_bad_network(void **state)
{
    unsigned sent = 0;

    (void)state;
    w.loss = 20;
    w.dup = 20;
    w.jitter = 200 * VI_MSEC;
    connect_to(A, B);
    run(10 * VI_SEC);
    assert_int_equal(A->ups, 1);
    for (int i = 0; i < 3000; i++) {
        sent += !send_to(A, B, "m");
        run(100 * VI_MSEC);
    }
    run(VI_SEC);
    assert_int_equal(sent, 3000);
    assert_in_range(B->delivered, 3000 * 70 / 100, 3000); /* copies aren't delivered twice */
    assert_true(mesh_counters(B->m)->rx_replay > 100);
    assert_true(mesh_counters(A->m)->handshakes_done >= 2); /* 300 s: rekeyed */
    assert_int_equal(A->downs + B->downs, 0);
}

static void test_rekey_without_loss(void **state)
{
    (void)state;
    connect_to(A, B);
    run(VI_SEC);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(send_to(i % 2 ? A : B, i % 2 ? B : A, "m"), 0);
        run(50 * VI_MSEC);
    }
    run(VI_SEC);
    assert_int_equal(A->delivered + B->delivered, 10000);
    assert_in_range(mesh_counters(A->m)->handshakes_done, 4, 7);
    assert_int_equal(A->downs + B->downs, 0);
    assert_true(A->withdrawn >= 2 && B->withdrawn >= 2);
    assert_int_equal(A->newest.local, B->newest.remote);
}

static void test_rekey_by_count(void **state)
{
    (void)state;
    mesh_free(A->m);
    A->cfg.rekey_messages = 100;
    start(A);
    connect_to(A, B);
    run(VI_SEC);
    for (int i = 0; i < 350; i++) {
        send_to(A, B, "m");
        run(10 * VI_MSEC);
    }
    assert_int_equal(B->delivered, 350);
    assert_in_range(mesh_counters(A->m)->handshakes_done, 4, 5);
    step(A, &(struct mesh_event){.kind = MESH_EV_USED,
                                 .used = {.local = A->newest.local, .sent = 1000}});
    run(VI_SEC);
    assert_in_range(mesh_counters(A->m)->handshakes_done, 5, 6);
}

static void test_simultaneous(void **state)
{
    (void)state;
    connect_to(A, B);
    connect_to(B, A);
    send_to(A, B, "a");
    send_to(B, A, "b");
    run(5 * VI_SEC);
    assert_int_equal(A->ups, 1);
    assert_int_equal(B->ups, 1);
    assert_int_equal(A->delivered, 1);
    assert_int_equal(B->delivered, 1);
    assert_int_equal(A->newest.local, B->newest.remote);
    assert_int_equal(mesh_counters(A->m)->handshakes_done, 1);
    assert_int_equal(mesh_counters(B->m)->handshakes_done, 1);
}

/* Where A is, as a peer knows it from its store, without a session yet. */
static void told_of(struct node *who, struct node *a)
{
    w.cut = true;
    connect_to(who, a);
    run(0);
    w.cut = false;
}

static void test_restart_heals(void **state)
{
    vi_time began;
    unsigned before;

    (void)state;
    connect_to(A, B);
    send_to(A, B, "x");
    run(30 * VI_SEC);
    mesh_free(B->m);
    start(B); /* knows nobody: silent, until it is told where members are */
    send_to(A, B, "y");
    run(VI_SEC);
    assert_int_equal(mesh_counters(B->m)->hints_sent, 0);
    assert_true(mesh_counters(B->m)->rx_unknown_index > 0);
    told_of(B, A);
    before = B->delivered;
    began = w.now;
    while (B->delivered == before && w.now - began < 20 * VI_SEC) {
        send_to(A, B, "y");
        run(500 * VI_MSEC);
    }
    assert_true(w.now - began <= 2 * VI_SEC);
    assert_int_equal(mesh_counters(A->m)->hints_heeded, 1);
    assert_int_equal(A->downs, 0);
    /* the restarted one may begin, too */
    mesh_free(B->m);
    start(B);
    connect_to(B, A);
    send_to(B, A, "z");
    before = A->delivered;
    run(VI_SEC);
    assert_int_equal(A->delivered, before + 1);
}

static void test_silent_restart(void **state)
{
    (void)state;
    connect_to(A, B);
    send_to(A, B, "x");
    run(VI_SEC);
    w.cut = true;
    send_to(A, B, "lost");
    run(60 * VI_SEC);
    assert_int_equal(A->downs, 1);
    assert_int_equal(A->why, MESH_DOWN_TIMEOUT);
    w.cut = false;
    assert_int_equal(send_to(A, B, "again"), 0); /* the key and the address are still known */
    run(2 * VI_SEC);
    assert_int_equal(A->ups, 2);
    assert_int_equal(B->delivered, 2);
}

static void test_idle_and_keepalive(void **state)
{
    uint64_t tx;

    (void)state;
    connect_to(A, B);
    send_to(A, B, "x");
    run(30 * VI_SEC);
    tx = mesh_counters(A->m)->control_tx;
    run(300 * VI_SEC);
    assert_int_equal(mesh_counters(A->m)->control_tx, tx);
    assert_int_equal(A->downs, 1);
    assert_int_equal(A->why, MESH_DOWN_IDLE);
    assert_int_equal(B->downs, 1);
    assert_true(A->withdrawn && B->withdrawn);
    assert_int_equal(mesh_counters(A->m)->handshakes_started, 1);
    assert_int_equal(mesh_counters(B->m)->handshakes_started, 0);
    assert_int_equal(send_to(B, A, "x"), 0);
    run(VI_SEC);
    assert_int_equal(A->delivered, 1);
}

static void test_replay(void **state)
{
    uint64_t done;
    struct mesh_addr evil = {.family = 4, .port = 1, .ip = {6, 6, 6, 6}};

    (void)state;
    w.keep_type = MESH_INIT;
    connect_to(A, B);
    run(VI_SEC);
    send_to(A, B, "x");
    run(VI_SEC);
    assert_true(w.nkept >= 1);
    done = mesh_counters(B->m)->handshakes_done;
    feed(B, &evil, w.kept[0].data, w.kept[0].len);
    assert_int_equal(mesh_counters(B->m)->rx_stale_init, 1);
    run(30 * VI_SEC);
    feed(B, &evil, w.kept[0].data, w.kept[0].len); /* answered perhaps, but nothing comes of it */
    run(20 * VI_SEC);
    assert_int_equal(mesh_counters(B->m)->handshakes_done, done);
    send_to(B, A, "still to A");
    run(VI_SEC);
    assert_int_equal(A->delivered, 1);
    assert_int_equal(A->newest.local, B->newest.remote);
    /* to a peer that has forgotten all */
    mesh_free(B->m);
    start(B);
    w.cut = true;
    feed(B, &evil, w.kept[0].data, w.kept[0].len);
    run(20 * VI_SEC);
    assert_int_equal(B->ups, 1);
}

static void test_replayed_transport(void **state)
{
    (void)state;
    connect_to(A, B);
    run(VI_SEC);
    w.keep_type = MESH_CONTROL;
    w.nkept = 0;
    send_to(A, B, "x");
    run(VI_SEC);
    feed(B, &A->addr, w.kept[0].data, w.kept[0].len);
    assert_int_equal(B->delivered, 1);
    assert_true(mesh_counters(B->m)->rx_replay >= 1);
    w.kept[0].data[8] ^= 0x40;
    feed(B, &A->addr, w.kept[0].data, w.kept[0].len);
    assert_int_equal(mesh_counters(B->m)->rx_auth, 1);
}

static void refused(int err)
{
    connect_to(A, B);
    send_to(A, B, "x");
    run(30 * VI_SEC);
    assert_int_equal(A->ups + B->ups, 0);
    assert_int_equal(A->downs, 1);
    assert_int_equal(A->why, MESH_DOWN_REFUSED);
    assert_int_equal(A->err, err);
    assert_int_equal(B->delivered, 0);
}

static void test_wrong_domain(void **state)
{
    uint8_t pk[32], sk[64];

    (void)state;
    crypto_sign_seed_keypair(pk, sk, (const uint8_t *)"another authority, not ours, 32.");
    mesh_free(A->m);
    make_cert(A, sk, "stranger");
    start(A);
    refused(VI_EAUTH);
    assert_int_equal(mesh_counters(B->m)->rx_cert_bad, 1);
}

static void test_expired(void **state)
{
    (void)state;
    A->cfg.cert.not_after = WALL - 2 * VI_HOUR;
    A->cfg.cert.not_before = WALL - 3 * VI_HOUR;
    cert_issue(&A->cfg.cert, w.auth_sk);
    mesh_free(A->m);
    start(A);
    refused(VI_EEXPIRED);
}

static void test_wrong_peer(void **state)
{
    struct mesh_event ev = {.kind = MESH_EV_CONNECT,
                            .connect = {.peer = C->id, .x = B->x_pk, .addr = B->addr}};

    (void)state;
    assert_int_equal(step(A, &ev), 0);
    run(2 * VI_SEC);
    assert_int_equal(A->ups, 0);
    assert_int_equal(A->why, MESH_DOWN_REFUSED);
    assert_int_equal(mesh_counters(A->m)->rx_wrong_peer, 1);
}

static void test_roaming(void **state)
{
    (void)state;
    connect_to(A, B);
    run(VI_SEC);
    A->addr.ip[3] = 77;
    send_to(A, B, "from elsewhere");
    run(VI_SEC);
    assert_int_equal(mesh_counters(B->m)->roamed, 1);
    assert_int_equal(B->newest.addr.ip[3], 77);
    send_to(B, A, "there");
    run(VI_SEC);
    assert_int_equal(A->delivered, 1);
}

static void test_load_asks_cookie(void **state)
{
    (void)state;
    mesh_free(B->m);
    B->cfg.load_threshold = 1;
    start(B);
    connect_to(C, B);
    connect_to(A, B);
    run(5 * VI_SEC);
    assert_int_equal(A->ups + C->ups, 2);
    assert_true(mesh_counters(B->m)->rx_cookie_asked >= 1);
}

static void test_garbage(void **state)
{
    uint8_t buf[1500];
    struct packet p;

    (void)state;
    connect_to(A, B);
    run(VI_SEC);
    w.keep_type = MESH_INIT;
    w.nkept = 0;
    connect_to(C, B);
    p = w.kept[0];
    for (int i = 0; i < 20000; i++) {
        size_t len = vi_rng_below(&w.rng, sizeof buf);

        vi_rng_bytes(&w.rng, buf, len);
        if (len && i % 2)
            buf[0] = (uint8_t)(1 + i / 2 % 6);
        feed(B, &C->addr, buf, len);
        w.flying = 0;
    }
    for (size_t i = 0; i < p.len; i += 3) { /* a real INIT with one bit wrong: nobody comes up */
        w.now += 100 * VI_MSEC;
        p.data[i] ^= 4;
        feed(B, &C->addr, p.data, p.len);
        p.data[i] ^= 4;
    }
    w.flying = 0;
    assert_int_equal(B->ups, 1);
    assert_true(mesh_counters(B->m)->rx_mac1 > 200);
    assert_true(mesh_counters(B->m)->rx_garbage > 1000);
    send_to(A, B, "still here");
    run(VI_SEC);
    assert_memory_equal(B->last, "still here", 10);
}

static void test_no_amplification(void **state)
{
    (void)state;
    w.keep_type = MESH_INIT;
    connect_to(A, B);
    w.flying = 0;
    w.keep_type = MESH_RESPONSE;
    feed(B, &A->addr, w.kept[0].data, w.kept[0].len);
    assert_int_equal(w.nkept, 2);
    assert_true(w.kept[1].len <= w.kept[0].len);
}

static void test_queue_bound(void **state)
{
    int err = 0, n = 0;

    (void)state;
    w.cut = true;
    connect_to(A, B);
    while (!err && n < 10000) {
        err = send_to(A, B, "0123456789");
        n++;
    }
    assert_int_equal(err, VI_EFULL);
    assert_true(mesh_counters(A->m)->tx_queue_full == 1);
    assert_int_equal(step(A, &(struct mesh_event){.kind = MESH_EV_CLOSE, .close = {.peer = B->id}}),
                     0);
    assert_int_equal(A->why, MESH_DOWN_CLOSED);
}

static struct mesh_event join_event(const uint8_t *psk)
{
    struct mesh_event ev = {.kind = MESH_EV_JOIN};

    ev.join.x = B->x_pk;
    ev.join.addr = B->addr;
    ev.join.peer = B->id;
    ev.join.token.b[0] = 9;
    ev.join.psk = psk;
    ev.join.trust = &B->trust;
    ev.join.request = (const uint8_t *)"please";
    ev.join.len = 6;
    return ev;
}

static void test_admission(void **state)
{
    uint8_t psk[32];
    struct mesh_event ev;

    (void)state;
    memset(psk, 7, sizeof psk);
    mesh_free(A->m);
    A->cfg.has_cert = false;
    start(A);
    w.loss = 30;
    w.dup = 30;
    ev = join_event(psk);
    assert_int_equal(step(A, &ev), 0);
    assert_int_equal(step(A, &ev), VI_EEXIST);
    run(15 * VI_SEC);
    assert_true(B->requests >= 1);
    assert_memory_equal(B->last, "please", 6);
    assert_int_equal(step(B, &(struct mesh_event){
                                 .kind = MESH_EV_ADMISSION_REPLY,
                                 .admission_reply = {.admission = B->admission,
                                                     .data = (const uint8_t *)"welcome", .len = 7}}),
                     0);
    run(14 * VI_SEC);
    assert_int_equal(A->answers, 1);
    assert_int_equal(A->err, 0);
    assert_memory_equal(A->last, "welcome", 7);
    assert_int_equal(A->ups + B->ups, 0);
    /* with a certificate it's a member */
    make_cert(A, w.auth_sk, "new");
    assert_int_equal(mesh_set_cert(A->m, &A->cfg.cert), 0);
    w.loss = 0;
    connect_to(A, B);
    run(3 * VI_SEC);
    assert_int_equal(A->ups, 1);
}

static void test_admission_refused(void **state)
{
    uint8_t psk[32];
    struct mesh_event ev;

    (void)state;
    memset(psk, 8, sizeof psk); /* not the secret */
    ev = join_event(psk);
    step(A, &ev);
    run(40 * VI_SEC);
    assert_int_equal(B->requests, 0);
    assert_int_equal(A->answers, 1);
    assert_int_equal(A->err, VI_ETIMEDOUT);
    memset(psk, 7, sizeof psk);
    token_known = false;
    step(A, &ev);
    run(40 * VI_SEC);
    assert_int_equal(A->answers, 2);
    assert_true(mesh_counters(B->m)->rx_no_token > 0);
}

static void test_window(void **state)
{
    struct mesh_window v = {0};

    (void)state;
    assert_true(mesh_window_mark(&v, 0));
    assert_false(mesh_window_mark(&v, 0));
    assert_true(mesh_window_mark(&v, 9000));
    assert_false(mesh_window_mark(&v, 9001 - MESH_WINDOW - 1));
    for (uint64_t i = 9001 - MESH_WINDOW; i < 9000; i++)
        assert_true(mesh_window_mark(&v, i));
    for (uint64_t i = 9001 - MESH_WINDOW; i <= 9000; i++)
        assert_false(mesh_window_mark(&v, i));
    assert_true(mesh_window_mark(&v, UINT64_C(1) << 60));
    assert_false(mesh_window_mark(&v, 9001));
    assert_true(mesh_window_mark(&v, (UINT64_C(1) << 60) - MESH_WINDOW + 1));
    assert_false(mesh_window_fresh(&v, UINT64_MAX));
}

static void test_addr(void **state)
{
    static const char *const good[] = {"1.2.3.4:5", "[::1]:7000", "[2001:db8::1]:65535", "[::]:1",
                                       "[fe80::1:2:3:4]:9", "[1:2:3:4:5:6:7:8]:9", "[1::]:9",
                                       "[1:0:0:2::3]:80"};
    static const char *const bad[] = {"", ":", "1.2.3:5", "1.2.3.4", "1.2.3.4:0", "1.2.3.4:65536",
                                      "256.1.1.1:1", "1.2.3.4:5x", "[::1]", "[::1:7000", "[1:2]:3",
                                      "[1::2::3]:4", "[1:2:3:4:5:6:7:8:9]:1", "[12345::]:1",
                                      "[::1:]:3", "host:1", "[]:1", "[1:2:3:4:5:6:7:8::]:1"};
    struct mesh_addr a, b;
    char text[MESH_ADDR_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(mesh_addr_parse(&a, good[i]), 0);
        mesh_addr_format(&a, text);
        assert_int_equal(mesh_addr_parse(&b, text), 0);
        assert_true(mesh_addr_equal(&a, &b));
        if (i < 7)
            assert_string_equal(text, good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (mesh_addr_parse(&a, bad[i]) != VI_EINVAL)
            fail_msg("accepted: %s", bad[i]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_connect_and_send), T(test_bad_network), T(test_rekey_without_loss),
        T(test_rekey_by_count), T(test_simultaneous), T(test_restart_heals),
        T(test_silent_restart), T(test_idle_and_keepalive), T(test_replay),
        T(test_replayed_transport), T(test_wrong_domain), T(test_expired), T(test_wrong_peer),
        T(test_roaming), T(test_load_asks_cookie), T(test_garbage), T(test_no_amplification),
        T(test_queue_bound), T(test_admission), T(test_admission_refused),
        cmocka_unit_test(test_window), cmocka_unit_test(test_addr),
    };

    if (sodium_init() < 0)
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
