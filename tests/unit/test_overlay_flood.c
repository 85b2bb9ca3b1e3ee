/* A peer under a flood of first messages. Stated rates (mesh.h): with a good mac1, `load_threshold` of them
 * cost public-key work in the first second, and then only those of sources that have proved their address
 * with a cookie, `source_limit` per second and source; with a bad one none. Meanwhile no session is lost,
 * what a member sends arrives, and who has no session yet gets one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "overlay/mesh_internal.h"
#include "peer/base/err.h"

#define WALL      (INT64_C(1700000000) * VI_SEC)
#define THRESHOLD 50
#define SOURCE    5

struct node {
    struct mesh *m;
    struct mesh_config cfg;
    struct vi_id id;
    struct mesh_addr addr;
    uint8_t ed_pk[32], ed_sk[64], x_pk[32];
    unsigned delivered, ups, downs, withdrawn;
};

struct packet {
    struct node *to;
    struct mesh_addr from;
    size_t len;
    uint8_t data[1500];
};

static struct node n[3];
static struct vi_rng rng;
static vi_time now;
static struct mesh_trust trust;
static struct packet flight[512];
static size_t flying;
static struct packet kept; /* the first INIT that passed */
static bool keeping;
static uint8_t cookie_reply[MESH_COOKIE_SIZE]; /* the newest that went to a stranger */
static unsigned strangers_got;                 /* bytes */

#define A (&n[0])
#define B (&n[1])
#define C (&n[2])

static void send_on(struct node *from, const struct mesh_effect *fx)
{
    for (unsigned i = 0; i < 3; i++) {
        if (!mesh_addr_equal(&n[i].addr, &fx->addr))
            continue;
        assert_true(flying < sizeof flight / sizeof *flight);
        flight[flying] = (struct packet){.to = &n[i], .from = from->addr, .len = fx->len};
        memcpy(flight[flying].data, fx->data, fx->len);
        if (keeping && fx->data[0] == MESH_INIT && !kept.len)
            kept = flight[flying];
        flying++;
        return;
    }
    strangers_got += (unsigned)fx->len;
    if (fx->len == MESH_COOKIE_SIZE)
        memcpy(cookie_reply, fx->data, fx->len);
}

static void drain(struct node *k)
{
    const struct mesh_effect *fx;
    while ((fx = mesh_effect(k->m))) {
        k->delivered += fx->kind == MESH_FX_DELIVER;
        k->ups += fx->kind == MESH_FX_PEER_UP;
        k->downs += fx->kind == MESH_FX_PEER_DOWN;
        k->withdrawn += fx->kind == MESH_FX_KEYS && fx->keys.withdrawn;
        if (fx->kind == MESH_FX_DATAGRAM)
            send_on(k, fx);
    }
}

static void feed(struct node *k, const struct mesh_addr *from, const uint8_t *data, size_t len)
{
    struct mesh_event ev = {.kind = MESH_EV_DATAGRAM, .datagram = {.from = *from, .data = data, .len = len}};
    mesh_step(k->m, now, &ev);
    drain(k);
}

/* A millisecond of the members' own traffic. */
static void tick(void)
{
    struct mesh_event ev = {.kind = MESH_EV_TICK};
    size_t had = flying;
    now += VI_MSEC;
    for (size_t i = 0; i < had; i++) {
        struct packet p = flight[i];
        feed(p.to, &p.from, p.data, p.len);
    }
    memmove(flight, flight + had, (flying - had) * sizeof *flight);
    flying -= had;
    for (unsigned i = 0; i < 3; i++)
        if (mesh_deadline(n[i].m) <= now) {
            mesh_step(n[i].m, now, &ev);
            drain(&n[i]);
        }
}

static void run(vi_time span)
{
    for (vi_time end = now + span; now < end;)
        tick();
}

static int say(struct node *from, struct node *to)
{
    struct mesh_event ev = {.kind = MESH_EV_SEND, .send = {.peer = to->id, .channel = 1, .data = (const uint8_t *)"x", .len = 1}};
    int err = mesh_step(from->m, now, &ev);
    drain(from);
    return err;
}

static void link_up(struct node *from, struct node *to)
{
    struct mesh_event ev = {.kind = MESH_EV_CONNECT, .connect = {.peer = to->id, .x = to->x_pk, .addr = to->addr}};
    assert_int_equal(mesh_step(from->m, now, &ev), 0);
    drain(from);
}

static int set_up(void **unused)
{
    uint8_t pk[32], sk[64];
    (void)unused;
    memset(n, 0, sizeof n);
    memset(&kept, 0, sizeof kept);
    flying = 0;
    strangers_got = 0;
    keeping = true;
    now = 90 * VI_SEC;
    vi_rng_seed(&rng, 3);
    crypto_sign_seed_keypair(pk, sk, (const uint8_t *)"authority authority authority 32");
    strcpy(trust.domain, "lab");
    memcpy(trust.authority, pk, 32);
    for (unsigned i = 0; i < 3; i++) {
        struct cert *c = &n[i].cfg.cert;
        crypto_sign_keypair(n[i].ed_pk, n[i].ed_sk);
        vi_rng_bytes(&rng, n[i].cfg.secret, 32);
        crypto_scalarmult_base(n[i].x_pk, n[i].cfg.secret);
        cert_peer_id(&n[i].id, n[i].ed_pk);
        n[i].addr = (struct mesh_addr){.family = 4, .port = 7000, .ip = {10, 0, 0, (uint8_t)(i + 1)}};
        strcpy(c->domain, "lab");
        snprintf(c->host, sizeof c->host, "host%u", i);
        memcpy(c->ed, n[i].ed_pk, 32);
        memcpy(c->x, n[i].x_pk, 32);
        c->not_before = WALL;
        c->not_after = WALL + 24 * VI_HOUR;
        assert_int_equal(cert_issue(c, sk), 0);
        n[i].cfg.has_cert = true;
        n[i].cfg.trust = &trust;
        n[i].cfg.trusts = 1;
        n[i].cfg.wall_minus_now = WALL;
        n[i].cfg.load_threshold = THRESHOLD;
        n[i].cfg.source_limit = SOURCE;
        n[i].m = mesh_new(&n[i].cfg, &rng, now);
        assert_non_null(n[i].m);
    }
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 3; i++)
        mesh_free(n[i].m);
    return 0;
}

/* What somebody can make who knows B's public key: all but the Noise message. */
static void forge(uint8_t out[MESH_INIT_SIZE], bool good_mac1, const uint8_t *cookie)
{
    uint8_t key[32];
    vi_rng_bytes(&rng, out, MESH_INIT_SIZE);
    out[0] = MESH_INIT;
    out[1] = MESH_WIRE;
    out[2] = MESH_KIND_MEMBER;
    out[3] = NOISE_CHACHAPOLY;
    memset(out + MESH_INIT_SIZE - MESH_MAC, 0, MESH_MAC);
    mesh_label_key("violin mac1", B->x_pk, key);
    if (good_mac1)
        mesh_mac(out, MESH_INIT_SIZE - 2 * MESH_MAC, key, sizeof key, out + MESH_INIT_SIZE - 2 * MESH_MAC);
    if (cookie)
        mesh_mac(out, MESH_INIT_SIZE - MESH_MAC, cookie, MESH_MAC, out + MESH_INIT_SIZE - MESH_MAC);
}

static struct mesh_addr somewhere(void)
{
    struct mesh_addr a = {.family = 4, .port = (uint16_t)(1 + vi_rng_below(&rng, 65535))};
    vi_rng_bytes(&rng, a.ip, 4);
    a.ip[0] = 172; /* not one of ours */
    return a;
}

static uint64_t computed(void)
{
    return mesh_counters(B->m)->init_computed;
}

/* 20,000 a second, from everywhere. */
static void flood(vi_time span, bool good_mac1)
{
    uint8_t init[MESH_INIT_SIZE];
    for (vi_time end = now + span; now < end;) {
        for (int i = 0; i < 20; i++) {
            struct mesh_addr from = somewhere();
            forge(init, good_mac1, NULL);
            feed(B, &from, init, sizeof init);
        }
        tick();
    }
}

static void test_forged(void **unused)
{
    uint64_t before;
    unsigned bytes;
    (void)unused;
    link_up(A, B);
    run(VI_SEC);
    assert_int_equal(A->ups + B->ups, 2);
    before = computed();
    flood(2 * VI_SEC, false);
    assert_int_equal(computed(), before); /* no mac1, no work, no answer */
    assert_int_equal(strangers_got, 0);
    before = computed();
    flood(VI_SEC, true);
    assert_in_range(computed() - before, 1, THRESHOLD);
    before = computed();
    bytes = strangers_got;
    flood(5 * VI_SEC, true);
    assert_int_equal(computed(), before); /* from the second second on: cookies only */
    assert_true(mesh_counters(B->m)->rx_cookie_asked > 90000);
    assert_true(strangers_got - bytes <= 100000 * MESH_COOKIE_SIZE); /* a twelfth of what came */
    /* the session lives, and carries */
    assert_int_equal(A->downs + B->downs, 0);
    assert_int_equal(say(A, B), 0);
    assert_int_equal(say(B, A), 0);
    run(VI_SEC);
    assert_int_equal(A->delivered, 1);
    assert_int_equal(B->delivered, 1);
}

/* Five minutes in which the session must be renewed twice, and a newcomer comes. */
static void test_members_get_through(void **unused)
{
    uint8_t init[MESH_INIT_SIZE];
    unsigned said = 0;
    (void)unused;
    link_up(A, B);
    run(VI_SEC);
    for (int ms = 0; ms < 300000; ms++) {
        struct mesh_addr from = somewhere();
        forge(init, true, NULL);
        feed(B, &from, init, sizeof init); /* 1,000 a second: twenty times the threshold */
        tick();
        if (ms % 1000 == 0) {
            said += !say(A, B);
            if (ms > 100000)
                said += !say(C, B);
        }
        if (ms == 100000)
            link_up(C, B);
    }
    run(VI_SEC);
    assert_int_equal(said, 300 + 199);
    assert_int_equal(B->delivered, said);
    assert_int_equal(A->downs + B->downs + C->downs, 0);
    assert_int_equal(C->ups, 1);
    assert_true(mesh_counters(A->m)->rekeys >= 2);
    /* first second, and then the members' own handshakes */
    assert_in_range(computed(), 1, THRESHOLD + 1 + 20);
}

/* Who answers cookies from one address is held to the source's rate. */
static void test_proved_source(void **unused)
{
    struct mesh_addr evil = {.family = 4, .port = 9, .ip = {172, 1, 1, 1}};
    uint8_t init[MESH_INIT_SIZE], key[32], cookie[MESH_MAC];
    uint64_t before;
    (void)unused;
    flood(2 * VI_SEC, true);
    forge(init, true, NULL);
    feed(B, &evil, init, sizeof init);
    mesh_label_key("violin cookie", B->x_pk, key);
    assert_int_equal(crypto_aead_xchacha20poly1305_ietf_decrypt(cookie, NULL, NULL, cookie_reply + 32, 32,
                                                                init + MESH_INIT_SIZE - 2 * MESH_MAC, MESH_MAC,
                                                                cookie_reply + 8, key), 0);
    before = computed();
    for (int ms = 0; ms < 3000; ms++) {
        for (int i = 0; i < 5; i++) {
            forge(init, true, cookie);
            feed(B, &evil, init, sizeof init);
        }
        tick();
    }
    assert_in_range(computed() - before, SOURCE, 4 * SOURCE); /* three seconds touch four of the meter's */
    assert_true(mesh_counters(B->m)->rx_source_limit > 10000);
    before = computed();
    evil.port++; /* the cookie is of another address */
    for (int i = 0; i < 100; i++) {
        forge(init, true, cookie);
        feed(B, &evil, init, sizeof init);
    }
    assert_int_equal(computed(), before);
    assert_true(mesh_counters(B->m)->rx_cookie_bad >= 100);
}

/* A member's own first message, recorded and sent again and again, from its address and from others. */
static void test_replayed(void **unused)
{
    struct mesh_peer_info info;
    struct mesh_addr where;
    uint64_t before, done;
    (void)unused;
    link_up(A, B);
    run(VI_SEC);
    assert_int_equal(kept.len, MESH_INIT_SIZE);
    assert_true(mesh_peer_find(B->m, &A->id, &info));
    where = info.addr;
    before = computed();
    done = mesh_counters(B->m)->handshakes_done;
    for (int ms = 0; ms < 20000; ms++) {
        struct mesh_addr from = ms % 3 ? somewhere() : A->addr;
        feed(B, &from, kept.data, kept.len);
        tick();
        if (ms % 500 == 0)
            assert_int_equal(say(A, B), 0);
    }
    run(VI_SEC);
    assert_true(mesh_peer_find(B->m, &A->id, &info));
    assert_true(info.up && mesh_addr_equal(&info.addr, &where));
    assert_int_equal(mesh_counters(B->m)->handshakes_done, done); /* nothing came of any */
    assert_int_equal(B->delivered, 40);
    assert_int_equal(A->downs + B->downs, 0);
    assert_int_equal(B->withdrawn, 0);
    assert_in_range(computed() - before, 1, THRESHOLD);
    assert_int_equal(say(B, A), 0);
    run(VI_SEC);
    assert_int_equal(A->delivered, 1);
}

static bool refuse(void *arg, const struct vi_id *peer, const struct cert *c)
{
    const bool *on = arg;
    (void)c;
    return *on && vi_id_equal(peer, &A->id);
}

/* Who is refused comes again, but not with every message that it has. */
static void test_refused(void **unused)
{
    static bool on;
    (void)unused;
    on = true;
    mesh_free(B->m);
    B->cfg.arg = &on;
    B->cfg.refuse = refuse;
    B->m = mesh_new(&B->cfg, &rng, now);
    assert_non_null(B->m);
    link_up(A, B);
    for (int ms = 0; ms < 300000; ms++) {
        tick();
        if (ms % 10 == 0)
            (void)say(A, B);
    }
    assert_int_equal(A->ups + B->ups, 0);
    assert_in_range(computed(), 10, 16); /* 5 in half a minute, then one in 30 s */
    assert_in_range(A->downs, 10, 16);
    assert_int_equal(say(A, B), VI_EREFUSED);
    on = false; /* let in again: at the next attempt */
    for (int ms = 0; ms < 31000; ms++) {
        tick();
        if (ms % 10 == 0)
            (void)say(A, B);
    }
    assert_int_equal(A->ups, 1);
    assert_int_equal(say(A, B), 0);
    /* refused once more; a new certificate is tried at once */
    on = true;
    assert_int_equal(mesh_step(A->m, now, &(struct mesh_event){.kind = MESH_EV_CLOSE, .close = {.peer = B->id}}), 0);
    link_up(A, B);
    run(VI_SEC / 2);
    assert_int_equal(say(A, B), VI_EREFUSED);
    on = false;
    assert_int_equal(mesh_set_cert(A->m, &A->cfg.cert), 0);
    assert_int_equal(say(A, B), 0);
    run(VI_SEC / 2);
    assert_int_equal(A->ups, 2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(test_forged), T(test_members_get_through), T(test_proved_source),
                                       T(test_replayed), T(test_refused)};
    if (sodium_init() < 0)
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
