/* Three gossip cores; the input says, command by command, what the network does to their datagrams:
 * pass, drop, double, alter, keep for later, let time go by, and what other members and strangers
 * send. Every signature counts as good: a member may say anything, and even then a core stays whole. */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/gossip.h"

#define NODES 3
#define KEPT  24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct datagram {
    unsigned from, to;
    size_t len;
    uint8_t data[GOSSIP_DATAGRAM_MAX];
};

struct world {
    struct gossip *g[NODES];
    struct vi_rng rng;
    vi_time now;
    uint64_t persisted[NODES];
    unsigned nkept;
    struct datagram kept[KEPT];
};

static struct gossip_config cfg[NODES];

static void sign(void *arg, const uint8_t *data, size_t len, uint8_t sig[GOSSIP_SIG])
{
    (void)arg;
    crypto_generichash(sig, GOSSIP_SIG, data, len, NULL, 0);
}

static bool verify(void *arg, const uint8_t key[GOSSIP_KEY], const uint8_t *data, size_t len,
                   const uint8_t sig[GOSSIP_SIG])
{
    (void)arg, (void)key, (void)data, (void)len, (void)sig;
    return true;
}

static bool admit(void *arg, const struct vi_id *id, const uint8_t key[GOSSIP_KEY], const uint8_t *cert, size_t len)
{
    (void)arg, (void)id, (void)key;
    return len > 0 && cert[0] == 'c';
}

static bool accept(void *arg, uint8_t kind, const struct vi_id *key, const struct vi_id *origin, uint64_t version,
                   const uint8_t *bytes, size_t len)
{
    (void)arg, (void)kind, (void)key, (void)origin, (void)version;
    return len == 0 || bytes[0] != 0xff;
}

static void set_up(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        struct gossip_config *c = &cfg[i];
        gossip_config_domain(c);
        memset(c->key, (int)i + 1, sizeof c->key);
        vi_id_hash(&c->id, "violin peer", c->key, sizeof c->key, NULL, 0);
        c->addr.len = 4;
        c->addr.b[0] = (uint8_t)i;
        c->name[0] = (char)('a' + i);
        c->cert[0] = 'c';
        c->cert_len = 4;
        c->max_members = 8;
        c->max_records = 16;
        c->max_per_origin = 6;
        c->sign = sign;
        c->verify = verify;
        c->admit = admit;
        c->accept = accept;
    }
}

static unsigned index_of(const struct vi_id *id)
{
    unsigned i = 0;
    while (i < NODES && !vi_id_equal(&cfg[i].id, id))
        i++;
    return i;
}

static void drain(struct world *w, unsigned i)
{
    const struct gossip_effect *fx;
    while ((fx = gossip_effect(w->g[i]))) {
        unsigned to = index_of(&fx->id);
        if (fx->kind == GOSSIP_FX_PERSIST)
            w->persisted[i] = fx->number;
        if (fx->kind != GOSSIP_FX_SEND)
            continue;
        if (fx->len == 0 || fx->len > GOSSIP_DATAGRAM_MAX)
            abort();
        if (to < NODES && w->nkept < KEPT) {
            struct datagram *d = &w->kept[w->nkept++];
            d->from = i;
            d->to = to;
            d->len = fx->len;
            memcpy(d->data, fx->data, fx->len);
        }
    }
}

static void step(struct world *w, unsigned i, const struct gossip_event *ev)
{
    gossip_step(w->g[i], w->now, ev);
    drain(w, i);
}

static void deliver(struct world *w, unsigned to, const struct vi_id *from, const uint8_t *data, size_t len)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_DATAGRAM, .datagram = {.from = *from, .data = data, .len = len}};
    step(w, to, &ev);
}

static void pass(struct world *w, unsigned k, bool forget)
{
    static struct datagram d;
    d = w->kept[k];
    if (forget)
        w->kept[k] = w->kept[--w->nkept];
    deliver(w, d.to, &cfg[d.from].id, d.data, d.len);
}

static void pass_all(struct world *w)
{
    for (unsigned n = 0; w->nkept && n < 2 * KEPT; n++)
        pass(w, 0, true);
}

static void go_on(struct world *w, unsigned times)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_TICK};
    while (times--) {
        w->now += VI_SEC / 4;
        for (unsigned i = 0; i < NODES; i++)
            step(w, i, &ev);
    }
}

static void seed(struct world *w, unsigned i, unsigned to)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_SEED, .seed = {.id = cfg[to].id, .addr = cfg[to].addr}};
    step(w, i, &ev);
}

static void start(struct world *w, unsigned i)
{
    struct gossip_config c = cfg[i];
    gossip_free(w->g[i]);
    c.initial_incarnation = w->persisted[i];
    w->g[i] = gossip_new(&c, &w->rng, w->now);
    if (!w->g[i])
        abort();
    drain(w, i);
}

/* Things that its owner tells core i. */
static size_t owner(struct world *w, unsigned i, const uint8_t *d, size_t n)
{
    static const enum gossip_event_kind kinds[] = {GOSSIP_EV_REACHABLE, GOSSIP_EV_UNREACHABLE, GOSSIP_EV_LEAVE,
                                                   GOSSIP_EV_LAG,       GOSSIP_EV_FORGET,      GOSSIP_EV_SET_RECORD,
                                                   GOSSIP_EV_SET_SELF,  GOSSIP_EV_SET_SUMMARY};
    struct gossip_event ev = {.kind = kinds[n > 1 ? d[1] % 8 : 0]};
    size_t used = 2;
    switch (ev.kind) {
    case GOSSIP_EV_LAG:
        ev.lag = n > 2 ? d[2] * VI_SEC / 16 : 0;
        break;
    case GOSSIP_EV_SET_RECORD:
        ev.record.kind = n > 2 ? d[2] : 1;
        ev.record.key = ev.record.origin = cfg[i].id;
        ev.record.key.b[0] = n > 3 ? d[3] : 0;
        ev.record.version = n > 4 ? d[4] : 1;
        ev.record.bytes = d;
        ev.record.len = n < 30 ? n : 30;
        used = 5;
        break;
    case GOSSIP_EV_SET_SELF:
        ev.self.meta = d;
        ev.self.meta_len = (uint8_t)(n < 8 ? n : 8);
        break;
    case GOSSIP_EV_SET_SUMMARY:
        ev.summary.bytes = d;
        ev.summary.len = n < 20 ? n : 20;
        break;
    default:
        ev.peer = cfg[(i + 1 + (n > 2 ? d[2] % 2U : 0)) % NODES].id;
        break;
    }
    step(w, i, &ev);
    return used;
}

/* One command; returns how many bytes of it were used. */
static size_t command(struct world *w, const uint8_t *d, size_t n)
{
    unsigned i = (d[0] >> 4) % NODES, k = n > 1 && w->nkept ? d[1] % w->nkept : 0;
    struct vi_id stranger = {.b = {d[0], 2, 3}};
    size_t len;
    switch (d[0] & 15) {
    case 0:
    case 1:
        seed(w, i, (i + 1 + (d[0] & 1)) % NODES);
        return 1;
    case 2:
    case 3:
        if (w->nkept)
            pass(w, k, d[0] & 1);
        return 2;
    case 4:
    case 5:
        pass_all(w);
        return 1;
    case 6: /* a member alters what it sends, or passes it to another */
        if (w->nkept && n > 3) {
            struct datagram *x = &w->kept[k];
            x->data[(size_t)(d[2] * 5 + (d[3] & 7)) % x->len] ^= (uint8_t)(d[3] | 1);
            x->to = d[3] & 64 ? (x->to + 1) % NODES : x->to;
        }
        return 4;
    case 7:
        if (w->nkept && n > 2) /* cut off */
            w->kept[k].len = 1 + d[2] * 5U % w->kept[k].len;
        return 3;
    case 8:
        if (w->nkept)
            w->nkept--;
        return 1;
    case 9:
    case 10:
        go_on(w, n > 1 ? d[1] % 64 : 1);
        return 2;
    case 11:
    case 12: /* a member's, or a stranger's, datagram: of all that is left or some of it */
        len = n > 2 ? (size_t)d[1] * 6 % (n - 1) : 0;
        deliver(w, i, (d[0] & 15) == 11 ? &cfg[(i + 1) % NODES].id : &stranger, d + 2, len);
        return 2 + len;
    case 13:
        start(w, i);
        return 1;
    default:
        return owner(w, i, d, n);
    }
}

static void check(const struct gossip *g)
{
    struct gossip_member m;
    struct gossip_gauges gauges;
    size_t pos = 0;
    unsigned n = 0;
    while (gossip_member_next(g, &pos, &m)) {
        if (n++ == 0 && !m.self)
            abort();
        if (index_of(&m.id) == NODES) /* nobody can make a member up: ids are of keys */
            abort();
    }
    gossip_gauges(g, &gauges);
    if (n > NODES || gossip_alive(g) > n || gauges.records > 16 || gauges.summaries > n)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    size_t n;
    if (sodium_init() < 0 || size > 4096)
        return 0;
    if (!cfg[0].sign)
        set_up();
    memset(&w, 0, sizeof w);
    w.now = VI_SEC;
    vi_rng_seed(&w.rng, 1);
    for (unsigned i = 0; i < NODES; i++)
        start(&w, i);
    while (size) {
        n = command(&w, data, size);
        n = n < size ? n : size;
        data += n;
        size -= n;
    }
    for (unsigned i = 0; i < NODES; i++) {
        check(w.g[i]);
        gossip_free(w.g[i]);
    }
    return 0;
}
