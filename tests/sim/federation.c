/* A federation in a simulated world. See federation.h. */
#include "tests/sim/federation.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/idmap.h"
#include "peer/represent.h"
#include "tests/sim/gossip_peers.h"

#define SUMMARY_KIND   3
#define CONTACTS_KIND  4
#define SUMMARY_EVERY  (10 * VI_SEC)
#define CONTACTS       8
#define FEDERATION_TAG "federation"

enum tag { TO_DOMAIN, TO_FEDERATION, DECLARATION, REDIRECT };

struct disk {
    struct vi_id id;
    uint8_t pk[32];
    uint64_t incarnation, fed_incarnation;
    struct vi_rng rng;
};

struct federation {
    struct federation_config cfg;
    struct world *w;
    struct disk *disk;
    struct gossip_pool *pool;
    struct gsp_idmap by_id;
};

struct host {
    struct federation *f;
    unsigned n;
    struct gossip *domain, *fed;
    struct representative rep;
    struct rep_meta meta;
    bool changed; /* a member did */
    vi_time publish_at;
};

static unsigned total(const struct federation *f)
{
    return f->cfg.domains * f->cfg.members;
}

static unsigned domain_of(const struct federation *f, unsigned n)
{
    return n / f->cfg.members;
}

static const void *id_of(const void *arg, uint32_t n)
{
    return ((const struct federation *)arg)->disk[n].id.b;
}

static unsigned index_of(const struct federation *f, const struct vi_id *id)
{
    return gsp_idmap_find(&f->by_id, id->b);
}

/* ---- the cores' calls --------------------------------------------------------------------------- */

static void sign(void *arg, const uint8_t *data, size_t len, uint8_t sig[GOSSIP_SIG])
{
    struct host *h = arg;

    peers_stub(sig, data, len, h->f->disk[h->n].pk);
}

static bool verify(void *arg, const uint8_t key[GOSSIP_KEY], const uint8_t *data, size_t len,
                   const uint8_t sig[GOSSIP_SIG])
{
    uint8_t want[GOSSIP_SIG];

    (void)arg;
    peers_stub(want, data, len, key);
    return !memcmp(want, sig, sizeof want);
}

/* The certificate is the domain's number; any will do between domains. */
static bool admit_own(void *arg, const struct vi_id *id, const uint8_t key[GOSSIP_KEY],
                      const uint8_t *cert, size_t len)
{
    struct host *h = arg;
    unsigned d;

    (void)id, (void)key;
    if (len != sizeof d)
        return false;
    memcpy(&d, cert, sizeof d);
    return d == domain_of(h->f, h->n);
}

static bool admit_any(void *arg, const struct vi_id *id, const uint8_t key[GOSSIP_KEY],
                      const uint8_t *cert, size_t len)
{
    (void)arg, (void)id, (void)key, (void)cert;
    return len == sizeof(unsigned);
}

static bool accepted(void *arg, uint8_t kind, const struct vi_id *key, const struct vi_id *origin,
                     uint64_t version, const uint8_t *bytes, size_t len)
{
    (void)arg, (void)key, (void)origin, (void)version, (void)bytes;
    return (kind == SUMMARY_KIND && len <= 512) || (kind == CONTACTS_KIND && len <= CONTACTS * 4);
}

static struct gossip *new_core(struct host *h, bool fed, vi_time now)
{
    struct disk *d = &h->f->disk[h->n];
    unsigned domain = domain_of(h->f, h->n);
    struct gossip_config c;

    if (fed)
        gossip_config_federation(&c);
    else
        gossip_config_domain(&c);
    c.id = d->id;
    memcpy(c.key, d->pk, 32);
    memcpy(c.cert, &domain, sizeof domain);
    c.cert_len = sizeof domain;
    snprintf(c.name, sizeof c.name, "host-%u", h->n);
    if (!fed) {
        rep_meta_encode(&h->meta, c.meta);
        c.meta_len = REP_META;
    }
    c.initial_incarnation = fed ? d->fed_incarnation : d->incarnation;
    c.pool = fed ? NULL : h->f->pool;
    c.arg = h;
    c.sign = sign;
    c.verify = verify;
    c.admit = fed ? admit_any : admit_own;
    c.accept = accepted;
    return gossip_new(&c, &d->rng, now);
}

/* ---- out ------------------------------------------------------------------------------------------ */

static void post(struct host *h, enum tag tag, unsigned to, const void *data, size_t len)
{
    uint8_t buf[1 + GOSSIP_DATAGRAM_MAX];

    buf[0] = (uint8_t)tag;
    if (len)
        memcpy(buf + 1, data, len);
    world_send(h->f->w, h->n, to, buf, len + 1);
}

static void carry_out(struct host *h, struct gossip *g, bool fed)
{
    const struct gossip_effect *fx;

    while ((fx = gossip_effect(g))) {
        if (fx->kind == GOSSIP_FX_SEND) {
            unsigned to = index_of(h->f, &fx->id);

            if (to != GSP_NONE)
                post(h, fed ? TO_FEDERATION : TO_DOMAIN, to, fx->data, fx->len);
        } else if (fx->kind == GOSSIP_FX_PERSIST) {
            *(fed ? &h->f->disk[h->n].fed_incarnation : &h->f->disk[h->n].incarnation) = fx->number;
        }
        h->changed |= fx->kind == GOSSIP_FX_MEMBER && !fed;
    }
}

static void seed(struct host *h, struct gossip *g, unsigned to, vi_time now)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_SEED, .seed = {.id = h->f->disk[to].id}};

    if (to != h->n)
        gossip_step(g, now, &ev);
}

/* ---- representing ------------------------------------------------------------------------------------ */

static void ranks(struct host *h, vi_time now)
{
    represent_rank(&h->rep, now, h->domain, &h->f->disk[h->n].id, &h->meta);
}

static void contacts_in(struct host *h, vi_time now)
{
    struct gossip_record rec;
    size_t pos = 0;

    while (gossip_record_next(h->domain, &pos, &rec)) {
        if (rec.kind != CONTACTS_KIND)
            continue;
        for (size_t k = 0; k + 4 <= rec.len; k += 4) {
            unsigned to;

            memcpy(&to, rec.bytes + k, 4);
            if (to < total(h->f))
                seed(h, h->fed, to, now);
        }
    }
}

static void begin_acting(struct host *h, vi_time now)
{
    unsigned d = domain_of(h->f, h->n), next = (d + 1) % h->f->cfg.domains;

    h->fed = new_core(h, true, now);
    if (!h->fed)
        return;
    if (next != d)
        seed(h, h->fed, next * h->f->cfg.members, now);
    if (d)
        seed(h, h->fed, 0, now);
    contacts_in(h, now);
    h->publish_at = now;
}

static void end_acting(struct host *h, vi_time now)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_LEAVE};

    gossip_step(h->fed, now, &ev);
    carry_out(h, h->fed, true);
    gossip_free(h->fed);
    h->fed = NULL;
}

static void put(struct host *h, struct gossip *g, uint8_t kind, const void *bytes, size_t len, vi_time now)
{
    struct vi_id key;
    unsigned d = domain_of(h->f, h->n);

    vi_id_hash(&key, FEDERATION_TAG, &d, sizeof d, NULL, 0);
    (void)represent_put(g, now, kind, &key, &h->f->disk[h->n].id, (uint64_t)now, bytes, len, 0);
}

/* The domain's summary to the others, and whom we know of them to our own domain. */
static void publish(struct host *h, vi_time now)
{
    uint8_t summary[300] = {0};
    unsigned to[CONTACTS], n = 0;
    struct gossip_member m;
    size_t pos = 0;

    if (now < h->publish_at)
        return;
    h->publish_at = now + SUMMARY_EVERY;
    put(h, h->fed, SUMMARY_KIND, summary, sizeof summary, now);
    while (n < CONTACTS && gossip_member_next(h->fed, &pos, &m))
        if (!m.self && m.state == GOSSIP_ALIVE)
            to[n++] = index_of(h->f, &m.id);
    if (n)
        put(h, h->domain, CONTACTS_KIND, to, n * sizeof to[0], now);
}

static void represent(struct host *h, vi_time now)
{
    struct vi_id to[REP_FIRST];

    if (h->changed) {
        h->changed = false;
        ranks(h, now);
    }
    if (rep_tick(&h->rep, now))
        for (unsigned n = rep_standbys(&h->rep, to); n > 0; n--)
            post(h, DECLARATION, index_of(h->f, &to[n - 1]), NULL, 0);
    if (h->rep.acting && !h->fed)
        begin_acting(h, now);
    else if (!h->rep.acting && h->fed)
        end_acting(h, now);
    if (h->fed) {
        publish(h, now);
        carry_out(h, h->fed, true);
    }
    carry_out(h, h->domain, false);
}

/* ---- nodes ------------------------------------------------------------------------------------------------ */

static void *start(void *arg, struct world *w, unsigned n, unsigned life, vi_time now)
{
    struct federation *f = arg;
    struct host *h = calloc(1, sizeof *h);

    (void)life;
    if (!h)
        return NULL;
    h->f = f;
    h->n = n;
    h->meta.started = (uint32_t)(world_now(w) / VI_SEC) + 1;
    rep_init(&h->rep, &f->disk[n].id, now);
    h->domain = new_core(h, false, now);
    if (!h->domain) {
        free(h);
        return NULL;
    }
    seed(h, h->domain, domain_of(f, n) * f->cfg.members + (n % f->cfg.members ? 0 : 1), now);
    h->changed = true;
    represent(h, now);
    return h;
}

static void stop(void *arg, unsigned n, void *node)
{
    struct host *h = node;

    (void)arg, (void)n;
    gossip_free(h->domain);
    gossip_free(h->fed);
    free(h);
}

static void declared(struct host *h, unsigned from, vi_time now)
{
    bool tell;

    if (!represent_declared(&h->rep, now, h->domain, &h->f->disk[from].id, &tell) && tell)
        post(h, DECLARATION, from, NULL, 0);
}

static void for_representative(struct host *h, unsigned from, const struct gossip_event *ev, vi_time now)
{
    const struct vi_id *rep = rep_current(&h->rep, now);

    if (h->fed) {
        gossip_step(h->fed, now, ev);
    } else if (rep && index_of(h->f, rep) != h->n) {
        unsigned who = index_of(h->f, rep);

        post(h, REDIRECT, from, &who, sizeof who);
    }
}

static void deliver(void *arg, unsigned n, void *node, vi_time now, unsigned from, const uint8_t *data,
                    size_t len)
{
    struct federation *f = arg;
    struct host *h = node;
    struct gossip_event ev = {.kind = GOSSIP_EV_DATAGRAM,
                              .datagram = {.from = f->disk[from].id, .data = data + 1, .len = len - 1}};
    unsigned who;

    if (data[0] == TO_DOMAIN && domain_of(f, from) == domain_of(f, n)) {
        gossip_step(h->domain, now, &ev);
    } else if (data[0] == TO_FEDERATION) {
        for_representative(h, from, &ev, now);
    } else if (data[0] == DECLARATION) {
        declared(h, from, now);
    } else if (data[0] == REDIRECT && h->fed && len == 5) {
        memcpy(&who, data + 1, sizeof who);
        if (who < total(f))
            seed(h, h->fed, who, now);
    }
    represent(h, now);
}

static void tick(void *arg, unsigned n, void *node, vi_time now)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_TICK};
    struct host *h = node;

    (void)arg, (void)n;
    if (gossip_deadline(h->domain) <= now)
        gossip_step(h->domain, now, &ev);
    if (h->fed && gossip_deadline(h->fed) <= now)
        gossip_step(h->fed, now, &ev);
    represent(h, now);
}

static vi_time deadline(void *arg, unsigned n, const void *node)
{
    const struct host *h = node;
    vi_time t = gossip_deadline(h->domain), r = rep_deadline(&h->rep), g = VI_NEVER;

    (void)arg, (void)n;
    if (h->fed) {
        g = gossip_deadline(h->fed);
        g = g < h->publish_at ? g : h->publish_at;
    }
    t = t < r ? t : r;
    return t < g ? t : g;
}

/* ---- the lot ------------------------------------------------------------------------------------------------ */

struct federation *federation_new(const struct federation_config *cfg)
{
    struct federation *f = calloc(1, sizeof *f);
    struct world_config wc = {.seed = cfg->seed, .nodes = cfg->domains * cfg->members, .net = cfg->net,
                              .ops = {start, stop, deliver, tick, deadline}, .arg = f};

    if (!f)
        return NULL;
    f->cfg = *cfg;
    f->disk = calloc(total(f), sizeof *f->disk);
    f->pool = gossip_pool_new();
    f->w = f->disk && f->pool ? world_new(&wc) : NULL;
    gsp_idmap_init(&f->by_id, VI_ID_SIZE, id_of, f);
    for (unsigned n = 0; f->w && n < total(f); n++) {
        struct disk *d = &f->disk[n];

        vi_rng_seed(&d->rng, cfg->seed * 1000003 + n);
        vi_rng_bytes(&d->rng, d->pk, sizeof d->pk);
        vi_id_hash(&d->id, "violin peer", d->pk, sizeof d->pk, NULL, 0);
        if (gsp_idmap_add(&f->by_id, n)) {
            world_free(f->w);
            f->w = NULL;
        }
    }
    if (f->w)
        return f;
    federation_free(f);
    return NULL;
}

void federation_free(struct federation *f)
{
    if (!f)
        return;
    world_free(f->w);
    gossip_pool_free(f->pool);
    gsp_idmap_free(&f->by_id);
    free(f->disk);
    free(f);
}

struct world *federation_world(struct federation *f)
{
    return f->w;
}

bool federation_acts(struct federation *f, unsigned n)
{
    const struct host *h = world_node(f->w, n);

    return h && h->rep.acting;
}

unsigned federation_acting(struct federation *f, unsigned domain, unsigned *who)
{
    unsigned n = 0;

    for (unsigned k = 0; k < f->cfg.members; k++) {
        unsigned at = domain * f->cfg.members + k;
        const struct host *h = world_node(f->w, at);

        if (h && h->rep.acting) {
            n++;
            *who = at;
        }
    }
    return n;
}

/* Running members have the same table of exactly themselves. */
static bool domain_agreed(struct federation *f, unsigned domain, unsigned *up)
{
    struct gossip_gauges first = {0}, g;
    uint32_t alive = 0;

    *up = 0;
    for (unsigned k = 0; k < f->cfg.members; k++) {
        const struct host *h = world_node(f->w, domain * f->cfg.members + k);

        if (!h)
            continue;
        gossip_gauges(h->domain, &g);
        if (!(*up)++) {
            first = g;
            alive = gossip_alive(h->domain);
        }
        if (g.suspects || !vi_id_equal(&g.digest, &first.digest))
            return false;
    }
    return *up == alive;
}

bool federation_agreed(struct federation *f)
{
    struct gossip_gauges first = {0}, g;
    unsigned reps = 0, alive = 0;

    for (unsigned d = 0; d < f->cfg.domains; d++) {
        unsigned up, who = 0;
        const struct host *h;

        if (!domain_agreed(f, d, &up))
            return false;
        if (!up)
            continue;
        if (federation_acting(f, d, &who) != 1)
            return false;
        h = world_node(f->w, who);
        if (!h->fed)
            return false;
        gossip_gauges(h->fed, &g);
        if (!reps++) {
            first = g;
            alive = gossip_alive(h->fed);
        }
        if (g.suspects || !vi_id_equal(&g.digest, &first.digest))
            return false;
    }
    return reps == alive;
}

bool federation_known(struct federation *f, unsigned who)
{
    for (unsigned d = 0; d < f->cfg.domains; d++) {
        struct gossip_member m;
        unsigned at = who;
        const struct host *h;

        if (!federation_acting(f, d, &at) || at == who)
            continue;
        h = world_node(f->w, at);
        if (!h->fed || !gossip_member_find(h->fed, &f->disk[who].id, &m) || m.state != GOSSIP_ALIVE)
            return false;
    }
    return true;
}

double federation_summaries(struct federation *f, vi_time most)
{
    unsigned have = 0;

    for (unsigned d = 0; d < f->cfg.domains; d++) {
        struct gossip_record rec;
        size_t pos = 0;
        unsigned who;
        const struct host *h;

        if (!federation_acting(f, d, &who))
            continue;
        h = world_node(f->w, who);
        while (h->fed && gossip_record_next(h->fed, &pos, &rec))
            have += rec.kind == SUMMARY_KIND && world_now(f->w) - (vi_time)rec.version < most;
    }
    return (double)have / f->cfg.domains / f->cfg.domains;
}
