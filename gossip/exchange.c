/* The digest/delta exchange of summaries and records: once an interval with one member chosen at
 * random. DIGEST (kinds, keys, versions) → VALUES that the other lacks or has older, WANT of what it
 * has newer → VALUES.
 *
 * A digest that holds all we have says so, and the other then adds what isn't in it. When there is
 * more than `store_datagrams` hold, half of them are the newest entries, half a slice that moves on. */
#include "gossip/internal.h"

#include <string.h>

#define DIGEST_ENTRY (1 + GSP_PREFIX + 8 + 2)
#define DIGEST_MAX   60 /* entries of a datagram: 2 + 2 + 60 × 19 = 1144 bytes */
#define WANT_MAX     120
#define AGE_MAX      VI_HOUR /* an age is carried in milliseconds, up to this */

static bool shown(const struct gossip *g, const struct gsp_entry *e)
{
    return e->used && (e->kind || vi_id_equal(&e->key, &g->cfg.id) || gsp_find(g, &e->key) != GSP_NONE);
}

/* ---- digests -------------------------------------------------------------------------------------- */

struct digest {
    struct gossip *g;
    uint32_t to;
    uint32_t in[DIGEST_MAX];
    unsigned n;
};

static void digest_send(struct digest *d, bool complete)
{
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gossip *g = d->g;
    struct gsp_out o;

    gsp_begin(g, &o, buf, GSP_DIGEST);
    gsp_put_u8(&o, complete);
    gsp_put_u8(&o, (uint8_t)d->n);
    for (unsigned k = 0; k < d->n; k++) {
        const struct gsp_entry *e = &g->store.e[d->in[k]];

        gsp_put(&o, e->tag, sizeof e->tag);
        gsp_put_u64(&o, e->version);
        gsp_put_u16(&o, e->check);
    }
    gsp_send(g, gsp_id(&g->m[d->to]), &g->m[d->to].word->st.addr, &o);
    d->n = 0;
}

static void digest_newest(struct digest *d)
{
    const struct gsp_store *s = &d->g->store;

    for (uint32_t i = s->newest; i != GSP_NONE && d->n < DIGEST_MAX; i = s->e[i].next)
        if (shown(d->g, &s->e[i]))
            d->in[d->n++] = i;
}

static void digest_slice(struct digest *d)
{
    struct gsp_store *s = &d->g->store;

    for (uint32_t k = 0; k < s->n && d->n < DIGEST_MAX; k++) {
        s->cursor = (s->cursor + 1) % s->n;
        if (shown(d->g, &s->e[s->cursor]))
            d->in[d->n++] = s->cursor;
    }
}

void gsp_store_tick(struct gossip *g)
{
    struct gsp_store *s = &g->store;
    struct digest d = {.g = g};
    unsigned most = g->cfg.store_datagrams, all;

    g->next_store = g->now + g->cfg.store_interval;
    gsp_store_drop_over(g);
    all = s->records + s->summaries;
    if (gsp_pick(g, NULL, 1, &d.to) != 1)
        return;
    if (all <= DIGEST_MAX) {
        digest_newest(&d);
        digest_send(&d, true);
        return;
    }
    digest_newest(&d);
    digest_send(&d, false);
    for (unsigned k = 1; k < most && k * DIGEST_MAX < all; k++) {
        digest_slice(&d);
        digest_send(&d, false);
    }
    if (most == 1) /* the one datagram must sometimes be the slice */
        s->cursor = s->cursor + DIGEST_MAX < s->n ? s->cursor + DIGEST_MAX : 0;
}

/* ---- values ----------------------------------------------------------------------------------------- */

struct values {
    struct gossip *g;
    uint32_t to;
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;
    unsigned left;
    bool open;
};

static void values_flush(struct values *v)
{
    if (v->open)
        gsp_send(v->g, gsp_id(&v->g->m[v->to]), &v->g->m[v->to].word->st.addr, &v->o);
    v->open = false;
}

static bool put_value(struct gossip *g, struct gsp_out *o, const struct gsp_entry *e)
{
    size_t before = o->len;
    vi_time age = g->now - e->born;

    age = age < 0 ? 0 : age > AGE_MAX ? AGE_MAX : age;
    gsp_put_u8(o, e->kind);
    gsp_put(o, e->key.b, VI_ID_SIZE);
    if (e->kind)
        gsp_put(o, e->origin.b, VI_ID_SIZE);
    gsp_put_u64(o, e->version);
    gsp_put_u32(o, (uint32_t)(age / VI_MSEC));
    gsp_put_u16(o, (uint16_t)e->len);
    gsp_put(o, e->bytes, e->len);
    if (!o->full)
        return true;
    o->full = false;
    o->len = before;
    return false;
}

static void values_add(struct values *v, uint32_t i)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        if (!v->open) {
            if (!v->left)
                return;
            v->left--;
            v->open = true;
            gsp_begin(v->g, &v->o, v->buf, GSP_VALUES);
        }
        if (put_value(v->g, &v->o, &v->g->store.e[i]))
            return;
        values_flush(v);
    }
}

/* ---- what came ---------------------------------------------------------------------------------------- */

struct want {
    unsigned n;
    uint8_t tag[WANT_MAX][1 + GSP_PREFIX];
};

static void send_want(struct gossip *g, uint32_t to, const struct want *w)
{
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    if (!w->n)
        return;
    gsp_begin(g, &o, buf, GSP_WANT);
    gsp_put_u8(&o, (uint8_t)w->n);
    gsp_put(&o, w->tag, w->n * sizeof w->tag[0]);
    gsp_send(g, gsp_id(&g->m[to]), &g->m[to].word->st.addr, &o);
}

static bool has(const struct gsp_cur *c, unsigned n, const uint8_t *tag)
{
    const uint8_t *p = c->p;

    for (unsigned k = 0; k < n; k++, p += DIGEST_ENTRY)
        if (!memcmp(p, tag, 1 + GSP_PREFIX))
            return true;
    return false;
}

/* What we have and a complete digest doesn't. */
static void add_missing(struct values *v, const struct gsp_cur *entries, unsigned n)
{
    const struct gsp_store *s = &v->g->store;

    for (uint32_t i = s->newest; i != GSP_NONE && v->left; i = s->e[i].next)
        if (shown(v->g, &s->e[i]) && !has(entries, n, s->e[i].tag))
            values_add(v, i);
}

void gsp_on_digest(struct gossip *g, uint32_t from, struct gsp_cur *c)
{
    uint8_t complete = gsp_get_u8(c);
    unsigned n = gsp_get_u8(c);
    struct values v = {.g = g, .to = from, .left = g->cfg.store_datagrams};
    struct want w = {0};
    struct gsp_cur entries = *c;

    if (complete > 1 || n > DIGEST_MAX || gsp_left(c) != n * DIGEST_ENTRY) {
        c->bad = true;
        return;
    }
    for (unsigned k = 0; k < n; k++) {
        const uint8_t *tag = gsp_get(c, 1 + GSP_PREFIX);
        uint64_t version = gsp_get_u64(c);
        uint16_t check = gsp_get_u16(c);
        uint32_t i = gsp_idmap_find(&g->store.map, tag);
        const struct gsp_entry *e = i == GSP_NONE ? NULL : &g->store.e[i];

        if (!e || version > e->version || (version == e->version && check > e->check))
            memcpy(w.tag[w.n++], tag, sizeof w.tag[0]);
        else if (version < e->version || check < e->check)
            values_add(&v, i);
    }
    if (complete)
        add_missing(&v, &entries, n);
    values_flush(&v);
    send_want(g, from, &w);
}

void gsp_on_want(struct gossip *g, uint32_t from, struct gsp_cur *c)
{
    unsigned n = gsp_get_u8(c);
    struct values v = {.g = g, .to = from, .left = g->cfg.store_datagrams};

    if (n > WANT_MAX)
        c->bad = true;
    for (unsigned k = 0; k < n && !c->bad; k++) {
        const uint8_t *tag = gsp_get(c, 1 + GSP_PREFIX);
        uint32_t i = tag ? gsp_idmap_find(&g->store.map, tag) : GSP_NONE;

        if (i != GSP_NONE)
            values_add(&v, i);
    }
    values_flush(&v);
}

/* A summary claimed to be ours with a number that we never gave: go beyond it, in a new incarnation
 * if it used ours up. */
static void summary_of_self(struct gossip *g, const struct gsp_entry *e)
{
    uint64_t inc = g->m[GSP_SELF].word->st.incarnation;
    uint32_t i = gsp_store_find(g, 0, &g->cfg.id);
    uint8_t bytes[GOSSIP_SUMMARY_MAX];
    size_t len;

    if (i == GSP_NONE || e->version <= g->store.e[i].version || e->version >> GSP_COUNTER_BITS > inc)
        return;
    len = g->store.e[i].len;
    memcpy(bytes, g->store.e[i].bytes, len);
    if (gsp_self_word(g, 0, g->left))
        return;
    gsp_store_set_summary(g, bytes, len);
}

static void take_summary(struct gossip *g, const struct gsp_entry *e, const uint8_t *bytes)
{
    uint32_t i = gsp_find(g, &e->key);
    bool changed;

    if (i == GSP_SELF) {
        summary_of_self(g, e);
        return;
    }
    /* of members only, and only with numbers of incarnations that the member itself signed */
    if (i == GSP_NONE || !gsp_is_up(&g->m[i]) || e->len > GOSSIP_SUMMARY_MAX ||
        e->version >> GSP_COUNTER_BITS > g->m[i].word->st.incarnation) {
        g->count.records_refused++;
        return;
    }
    gsp_store_put(g, e, bytes, &changed);
}

static void take_record(struct gossip *g, const struct gsp_entry *e, const uint8_t *bytes)
{
    struct gossip_effect fx = {.kind = GOSSIP_FX_RECORD, .id = e->key, .origin = e->origin,
                               .record_kind = e->kind, .number = e->version};
    uint32_t i = gsp_store_find(g, e->kind, &e->key);
    bool changed;

    if ((i != GSP_NONE && e->version < g->store.e[i].version) || gsp_store_over(g, e))
        return;
    if (!e->len || !g->cfg.accept ||
        !g->cfg.accept(g->cfg.arg, e->kind, &e->key, &e->origin, e->version, bytes, e->len)) {
        g->count.records_refused++;
        return;
    }
    if (!gsp_store_put(g, e, bytes, &changed) && changed)
        gsp_fx_push(g, &fx); /* reserved by the put */
}

void gsp_on_values(struct gossip *g, uint32_t from, struct gsp_cur *c)
{
    (void)from;
    while (!c->bad && gsp_left(c)) {
        struct gsp_entry e = {.kind = gsp_get_u8(c)};
        const uint8_t *bytes;

        gsp_get_id(c, &e.key);
        e.origin = e.key;
        if (e.kind)
            gsp_get_id(c, &e.origin);
        e.version = gsp_get_u64(c);
        e.born = g->now - (vi_time)gsp_get_u32(c) * VI_MSEC;
        e.len = gsp_get_u16(c);
        if (e.len > GOSSIP_RECORD_MAX)
            c->bad = true;
        bytes = gsp_get(c, e.len);
        if (c->bad)
            return;
        if (e.kind)
            take_record(g, &e, bytes);
        else
            take_summary(g, &e, bytes);
    }
}
