/* Gossip cores in a simulated world. See gossip_peers.h. */
#include "tests/sim/gossip_peers.h"

#include "gossip/codec.h"
#include "gossip/idmap.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACKED 512 /* nodes of which every belief of every other is remembered */

struct disk {
    struct vi_id id;
    uint8_t pk[32], sk[64];
    uint64_t persisted, seen; /* seen: greatest incarnation that left the node */
    struct vi_rng rng;
};

struct peers {
    struct peers_config cfg;
    struct world *w;
    struct disk *disk;
    struct gossip_pool *pool;
    struct gsp_idmap by_id;
    uint64_t *believed; /* incarnation of b at a, in a's present life; NULL: too many */
    struct peers_tally tally;
    struct peers_traffic *traffic;
};

struct peer {
    struct peers *p;
    unsigned n;
    struct gossip *g;
};

/* ---- keys ------------------------------------------------------------------------------------- */

/* Not a signature, but as long as one, and different for every key and text. */
void peers_stub(uint8_t sig[GOSSIP_SIG], const uint8_t *data, size_t len, const uint8_t *pk)
{
    memcpy(sig, pk, 32);
    memset(sig + 32, 0, GOSSIP_SIG - 32);
    crypto_shorthash(sig, data, len, pk);
}

void peers_sign(struct peers *p, unsigned n, const uint8_t *data, size_t len, uint8_t sig[GOSSIP_SIG])
{
    const struct disk *d = &p->disk[n];

    if (p->cfg.crypto)
        crypto_sign_detached(sig, NULL, data, len, d->sk);
    else
        peers_stub(sig, data, len, d->pk);
}

static void sign(void *arg, const uint8_t *data, size_t len, uint8_t sig[GOSSIP_SIG])
{
    struct peer *me = arg;

    peers_sign(me->p, me->n, data, len, sig);
}

static bool verify(void *arg, const uint8_t key[GOSSIP_KEY], const uint8_t *data, size_t len,
                   const uint8_t sig[GOSSIP_SIG])
{
    struct peer *me = arg;
    uint8_t want[GOSSIP_SIG];

    if (me->p->cfg.crypto)
        return !crypto_sign_verify_detached(sig, data, len, key);
    peers_stub(want, data, len, key);
    return !memcmp(want, sig, sizeof want);
}

static bool admit(void *arg, const struct vi_id *id, const uint8_t key[GOSSIP_KEY],
                  const uint8_t *cert, size_t len)
{
    (void)arg, (void)id;
    return len == 40 && !memcmp(cert, "admitted", 8) && !memcmp(cert + 8, key, 32);
}

#define RECORD_HEAD (8 + GOSSIP_SIG)

/* What is signed of a record: kind, key, version, the caller's bytes. */
static size_t record_text(uint8_t out[1 + VI_ID_SIZE + 8 + GOSSIP_RECORD_MAX], uint8_t kind, const struct vi_id *key,
                          uint64_t version, const uint8_t *bytes, size_t len)
{
    size_t n = len - RECORD_HEAD;

    out[0] = kind;
    memcpy(out + 1, key->b, VI_ID_SIZE);
    memcpy(out + 1 + VI_ID_SIZE, &version, 8);
    memcpy(out + 1 + VI_ID_SIZE + 8, bytes + RECORD_HEAD, n);
    return 1 + VI_ID_SIZE + 8 + n;
}

void peers_record(struct peers *p, unsigned n, uint8_t kind, const struct vi_id *key, uint64_t version,
                  uint8_t *bytes, size_t len)
{
    uint8_t text[1 + VI_ID_SIZE + 8 + GOSSIP_RECORD_MAX];

    memcpy(bytes, &version, 8);
    peers_sign(p, n, text, record_text(text, kind, key, version, bytes, len), bytes + 8);
}

static bool accept(void *arg, uint8_t kind, const struct vi_id *key, const struct vi_id *origin,
                   uint64_t version, const uint8_t *bytes, size_t len)
{
    struct peer *me = arg;
    unsigned n = peers_index(me->p, origin);
    uint8_t text[1 + VI_ID_SIZE + 8 + GOSSIP_RECORD_MAX];
    struct gossip_member m;

    if (!gossip_member_find(me->g, origin, &m) || !kind || len < RECORD_HEAD || len > GOSSIP_RECORD_MAX || memcmp(bytes, &version, 8) != 0 || n == me->p->cfg.n)
        return false;
    return verify(arg, me->p->disk[n].pk, text, record_text(text, kind, key, version, bytes, len), bytes + 8);
}

static void make_disk(struct peers *p, unsigned n)
{
    struct disk *d = &p->disk[n];
    uint8_t seed[32] = {0};

    memcpy(seed, &p->cfg.seed, sizeof p->cfg.seed);
    memcpy(seed + 8, &n, sizeof n);
    crypto_sign_seed_keypair(d->pk, d->sk, seed);
    vi_id_hash(&d->id, "violin peer", d->pk, sizeof d->pk, NULL, 0);
    vi_rng_seed(&d->rng, p->cfg.seed * 1000003 + n);
}

static const void *id_of(const void *arg, uint32_t n)
{
    return ((const struct peers *)arg)->disk[n].id.b;
}

/* What leaves a node, by the second; summaries and records apart. */
static void count(struct peers_traffic *t, vi_time now, const struct gossip_effect *fx)
{
    uint64_t bytes = fx->len + PEERS_OVERHEAD;

    if (fx->data[1] >= GSP_DIGEST) {
        t->store += bytes;
        return;
    }
    t->membership += bytes;
    t->by_type[fx->data[1] & 15] += bytes;
    if (now / VI_SEC != t->second) {
        t->second = now / VI_SEC;
        t->in_second = 0;
    }
    t->in_second += bytes;
    if (t->in_second > t->most)
        t->most = t->in_second;
}

/* ---- nodes -------------------------------------------------------------------------------------- */

static void notice_member(struct peer *me, const struct gossip_effect *fx)
{
    struct peers *p = me->p;
    unsigned who = peers_index(p, &fx->id);
    struct gossip_member m;

    if (who == p->cfg.n)
        return;
    if (fx->change == GOSSIP_DOWN) {
        p->tally.downs++;
        p->tally.wrong_downs += world_node(p->w, who) != NULL;
    }
    if (p->cfg.notice)
        p->cfg.notice(p->cfg.arg, me->n, who, fx);
    if (p->believed && gossip_member_find(me->g, &fx->id, &m)) {
        uint64_t *b = &p->believed[(size_t)me->n * p->cfg.n + who];

        p->tally.back += m.incarnation < *b;
        *b = m.incarnation;
    }
}

static void carry_out(struct peer *me)
{
    struct peers *p = me->p;
    const struct gossip_effect *fx;
    struct gossip_gauges gauges;

    gossip_gauges(me->g, &gauges);
    if (gauges.effects > p->tally.most_effects)
        p->tally.most_effects = gauges.effects;
    if (gauges.rumours > p->tally.most_rumours)
        p->tally.most_rumours = gauges.rumours;
    while ((fx = gossip_effect(me->g))) {
        if (fx->kind == GOSSIP_FX_SEND) {
            count(&p->traffic[me->n], world_now(p->w), fx);
            world_send(p->w, me->n, peers_index(p, &fx->id), fx->data, fx->len);
        } else if (fx->kind == GOSSIP_FX_PERSIST)
            p->disk[me->n].persisted = fx->number;
        else if (fx->kind == GOSSIP_FX_MEMBER)
            notice_member(me, fx);
        p->tally.records += fx->kind == GOSSIP_FX_RECORD;
        p->tally.gone += fx->kind == GOSSIP_FX_GONE;
    }
    p->tally.back += gauges.incarnation < p->disk[me->n].seen ||
                     gauges.incarnation > p->disk[me->n].persisted;
    p->disk[me->n].seen = gauges.incarnation;
}

static void step(struct peer *me, vi_time now, const struct gossip_event *ev)
{
    gossip_step(me->g, now, ev);
    carry_out(me);
}

static void add_seed(struct peer *me, vi_time now, unsigned to)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_SEED, .seed = {.id = me->p->disk[to].id}};

    ev.seed.addr.len = 4;
    memcpy(ev.seed.addr.b, &to, 4);
    step(me, now, &ev);
}

static void *start(void *arg, struct world *w, unsigned n, unsigned life, vi_time now)
{
    struct peers *p = arg;
    struct disk *d = &p->disk[n];
    struct peer *me = calloc(1, sizeof *me);
    struct gossip_config c;

    (void)w, (void)life;
    if (!me)
        return NULL;
    me->p = p;
    me->n = n;
    gossip_config_domain(&c);
    c.id = d->id;
    memcpy(c.key, d->pk, 32);
    memcpy(c.cert, "admitted", 8);
    memcpy(c.cert + 8, d->pk, 32);
    c.cert_len = 40;
    snprintf(c.name, sizeof c.name, "host-%u", n);
    c.addr.len = 4;
    memcpy(c.addr.b, &n, 4);
    c.initial_incarnation = d->persisted;
    c.pool = p->pool;
    c.arg = me;
    c.sign = sign;
    c.verify = verify;
    c.admit = admit;
    c.accept = accept;
    if (p->cfg.tune)
        p->cfg.tune(&c);
    me->g = gossip_new(&c, &d->rng, now);
    if (!me->g) {
        free(me);
        return NULL;
    }
    if (p->believed)
        memset(&p->believed[(size_t)n * p->cfg.n], 0, p->cfg.n * sizeof *p->believed);
    carry_out(me);
    add_seed(me, now, n ? 0 : 1);
    return me;
}

static void stop(void *arg, unsigned n, void *node)
{
    struct peer *me = node;

    (void)arg, (void)n;
    gossip_free(me->g);
    free(me);
}

static void deliver(void *arg, unsigned n, void *node, vi_time now, unsigned from,
                    const uint8_t *data, size_t len)
{
    struct peers *p = arg;
    struct gossip_event ev = {
        .kind = GOSSIP_EV_DATAGRAM,
        .datagram = {.from = p->disk[from].id, .data = data, .len = len}};

    if (p->cfg.heard)
        p->cfg.heard(p->cfg.arg, n, data, len);
    step(node, now, &ev);
}

static void tick(void *arg, unsigned n, void *node, vi_time now)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_TICK};

    (void)arg, (void)n;
    step(node, now, &ev);
}

static vi_time deadline(void *arg, unsigned n, const void *node)
{
    (void)arg, (void)n;
    return gossip_deadline(((const struct peer *)node)->g);
}

/* ---- the lot ---------------------------------------------------------------------------------------- */

struct peers *peers_new(const struct peers_config *cfg)
{
    struct peers *p = calloc(1, sizeof *p);
    struct world_config wc = {.seed = cfg->seed, .nodes = cfg->n, .net = cfg->net,
                              .ops = {start, stop, deliver, tick, deadline}, .arg = p};

    if (!p || sodium_init() < 0) {
        free(p);
        return NULL;
    }
    p->cfg = *cfg;
    p->disk = calloc(cfg->n, sizeof *p->disk);
    p->traffic = calloc(cfg->n, sizeof *p->traffic);
    if (cfg->n <= TRACKED && !cfg->always_pool)
        p->believed = calloc((size_t)cfg->n * cfg->n, sizeof *p->believed);
    if (cfg->n > TRACKED || cfg->always_pool)
        p->pool = gossip_pool_new();
    gsp_idmap_init(&p->by_id, VI_ID_SIZE, id_of, p);
    p->w = p->disk && p->traffic && (p->believed || p->pool) ? world_new(&wc) : NULL;
    if (!p->w) {
        peers_free(p);
        return NULL;
    }
    for (unsigned n = 0; n < cfg->n; n++) {
        make_disk(p, n);
        if (gsp_idmap_add(&p->by_id, n)) {
            peers_free(p);
            return NULL;
        }
    }
    return p;
}

void peers_free(struct peers *p)
{
    if (!p)
        return;
    world_free(p->w);
    gossip_pool_free(p->pool);
    gsp_idmap_free(&p->by_id);
    free(p->disk);
    free(p->traffic);
    free(p->believed);
    free(p);
}

struct world *peers_world(struct peers *p)
{
    return p->w;
}

struct gossip *peers_core(struct peers *p, unsigned n)
{
    struct peer *me = world_node(p->w, n);

    return me ? me->g : NULL;
}

const struct vi_id *peers_id(const struct peers *p, unsigned n)
{
    return &p->disk[n].id;
}

unsigned peers_index(const struct peers *p, const struct vi_id *id)
{
    uint32_t n = gsp_idmap_find(&p->by_id, id->b);

    return n == GSP_NONE ? p->cfg.n : n;
}

int peers_event(struct peers *p, unsigned n, const struct gossip_event *ev)
{
    struct peer *me = world_node(p->w, n);
    int err = gossip_step(me->g, world_node_now(p->w, n), ev);

    carry_out(me);
    world_touch(p->w, n);
    return err;
}

void peers_lose_disk(struct peers *p, unsigned n)
{
    p->disk[n].persisted = p->disk[n].seen = 0;
}

struct peers_tally *peers_tally(struct peers *p)
{
    return &p->tally;
}

bool peers_knows(struct peers *p, unsigned a, unsigned b)
{
    struct gossip *g = peers_core(p, a);
    struct gossip_member m;

    return g && gossip_member_find(g, &p->disk[b].id, &m) && m.state == GOSSIP_ALIVE;
}

unsigned peers_thought_down(struct peers *p, unsigned n)
{
    unsigned by = 0;

    for (unsigned a = 0; a < p->cfg.n; a++) {
        struct gossip *g = peers_core(p, a);
        struct gossip_member m;

        by += g && a != n && gossip_member_find(g, &p->disk[n].id, &m) &&
              (m.state == GOSSIP_DEAD || m.state == GOSSIP_LEFT);
    }
    return by;
}

struct peers_traffic *peers_traffic(struct peers *p, unsigned n)
{
    return &p->traffic[n];
}

bool peers_same(struct peers *p)
{
    struct gossip_gauges first = {0}, g;
    uint32_t up = 0, alive = 0;

    for (unsigned n = 0; n < p->cfg.n; n++) {
        struct gossip *core = peers_core(p, n);

        if (!core)
            continue;
        gossip_gauges(core, &g);
        if (!up++) {
            first = g;
            alive = gossip_alive(core);
        }
        if (g.suspects || !vi_id_equal(&g.digest, &first.digest))
            return false;
    }
    return up == alive;
}

bool peers_agreed(struct peers *p)
{
    if (!p->believed)
        return peers_same(p);
    for (unsigned b = 0; b < p->cfg.n; b++) {
        struct gossip *gb = peers_core(p, b);
        struct gossip_gauges self = {0};

        if (gb)
            gossip_gauges(gb, &self);
        for (unsigned a = 0; a < p->cfg.n; a++) {
            struct gossip *ga = peers_core(p, a);
            struct gossip_member m;
            bool there = ga && gossip_member_find(ga, &p->disk[b].id, &m);

            if (!ga)
                continue;
            if (gb && (!there || m.state != GOSSIP_ALIVE || m.incarnation != self.incarnation))
                return false;
            if (!gb && there && m.state != GOSSIP_DEAD && m.state != GOSSIP_LEFT)
                return false;
        }
    }
    return true;
}

void peers_print(struct peers *p)
{
    printf("  at %.3f s, rows believe of columns:\n", (double)world_now(p->w) / 1e6);
    for (unsigned a = 0; a < p->cfg.n; a++) {
        struct gossip *g = peers_core(p, a);
        struct gossip_gauges gauges;

        printf("  %3u ", a);
        for (unsigned b = 0; g && b < p->cfg.n; b++) {
            struct gossip_member m;

            putchar(gossip_member_find(g, &p->disk[b].id, &m) ? " AsDL"[m.state] : '-');
        }
        if (g) {
            gossip_gauges(g, &gauges);
            printf("  incarnation %llu, health %u, rumours %u%s\n",
                   (unsigned long long)gauges.incarnation, gauges.health, gauges.rumours,
                   gauges.guarded ? ", no verdicts" : "");
        } else {
            printf("down\n");
        }
    }
}
