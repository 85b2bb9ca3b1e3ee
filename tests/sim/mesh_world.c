#include "tests/sim/mesh_world.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct mesh_world w;

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

int mesh_world_up(void **state)
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

int mesh_world_down(void **state)
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

void drain(struct node *n)
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
            n->requests++;
            n->admission = fx->admission;
            break;
        case MESH_FX_ADMISSION_ANSWER:
            n->answers++;
            n->err = fx->err;
            break;
        }
}

int step(struct node *n, const struct mesh_event *ev)
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

void run(vi_time span)
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

void connect_to(struct node *a, struct node *b)
{
    assert_int_equal(step(a, &(struct mesh_event){.kind = MESH_EV_CONNECT,
                                                  .connect = {.peer = b->id, .x = b->x_pk,
                                                              .addr = b->addr}}), 0);
}

int send_to(struct node *a, struct node *b)
{
    return step(a, &(struct mesh_event){.kind = MESH_EV_SEND,
                                        .send = {.peer = b->id, .channel = 1,
                                                 .data = (const uint8_t *)"hello", .len = 5}});
}

struct mesh_path_info path(struct node *a, struct node *b)
{
    struct mesh_path_info p;

    assert_true(mesh_path_find(a->m, &b->id, &p));
    return p;
}

bool through(struct node *a, struct node *b, struct node *relay)
{
    struct mesh_path_info p = path(a, b);

    return p.kind == MESH_PATH_RELAYED && vi_id_equal(&p.relay, &relay->id);
}

bool at(struct node *a, struct node *b, const struct mesh_addr *addr)
{
    struct mesh_path_info p = path(a, b);

    return mesh_addr_equal(&p.addr, addr);
}

/* Both ends talk for so long. */
void talk(struct node *a, struct node *b, vi_time span)
{
    for (vi_time end = w.now + span; w.now < end; run(200 * VI_MSEC)) {
        send_to(a, b);
        send_to(b, a);
    }
}

void behind(struct node *n, enum nat kind)
{
    n->nat = kind;
    connect_to(n, R);
}

void meet_behind(enum nat a, enum nat b)
{
    behind(A, a);
    behind(B, b);
    run(VI_SEC);
    connect_to(A, B);
    connect_to(B, A);
    talk(A, B, 15 * VI_SEC);
}
