/* The exchange of summaries and records: once an interval with one member chosen at random.
 *
 * Everybody's summary is out of date in seconds, so the freshest ones are sent as they are (VALUES, at most
 * `store_datagrams`): to ask first would cost more than it saves. And a digest (DIGEST: kinds, keys, versions) names
 * those that are stalest here; the other sends what it has newer. What both cost doesn't grow with the members: with more
 * of them summaries get older (measured: README.md), as who needs one needs a few that are fresh rather than all.
 *
 * Records change rarely: the digest names the newest, and another a slice of all that moves on. The other sends what it
 * has newer and asks (WANT) for what it lacks. Who gets an old one was cut off or is new here: it asks several members a second
 * for slices (a WANT of nothing; who doesn't know that ignores it) until it has lacked none for a while.
 *
 * A digest that holds all we have says so, and the other then adds what isn't in it: nothing is sent before. */
#include "gossip/internal.h"

#include <string.h>

#define DIGEST_ENTRY (1 + GSP_PREFIX + 8 + 2)
#define DIGEST_MAX   60 /* entries of a datagram: 2 + 2 + 60 × 19 = 1144 bytes */
#define WANT_MAX     120
#define STALEST      30 /* summaries of a digest … */
#define UNKNOWN      10 /* … among them those of members that none came from yet: with version 0 */
#define NEWEST       30 /* … and records; if there are more of these, a slice of all records goes with it */
#define OLD          (30 * VI_SEC) /* a record that should be everywhere by now */
#define LOOKS        (10 * VI_SEC) /* so long who lacked one looks for others */
#define SLICES       4  /* slices at most that who lacks records asks for, and that are sent when asked for, in an interval */
#define WANTED       16 /* datagrams with what others asked for, in an interval */
#define FRESHEST     64 /* summaries: more than fit in what is sent */
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
    uint32_t unknown[UNKNOWN]; /* members */
    unsigned n_unknown;
};

static void digest_entry(struct gsp_out *o, const uint8_t tag[1 + GSP_PREFIX], uint64_t version, uint16_t check)
{
    gsp_put(o, tag, 1 + GSP_PREFIX);
    gsp_put_u64(o, version);
    gsp_put_u16(o, check);
}

static void digest_send(struct digest *d, bool complete)
{
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gossip *g = d->g;
    struct gsp_out o;

    gsp_begin(g, &o, buf, GSP_DIGEST);
    gsp_put_u8(&o, complete);
    gsp_put_u8(&o, (uint8_t)(d->n + d->n_unknown));
    for (unsigned k = 0; k < d->n; k++) {
        const struct gsp_entry *e = &g->store.e[d->in[k]];

        digest_entry(&o, e->tag, e->version, e->check);
    }
    for (unsigned k = 0; k < d->n_unknown; k++) {
        uint8_t tag[1 + GSP_PREFIX] = {0};

        memcpy(tag + 1, gsp_id(&g->m[d->unknown[k]])->b, GSP_PREFIX);
        digest_entry(&o, tag, 0, 0);
    }
    gsp_send(g, gsp_id(&g->m[d->to]), &g->m[d->to].word->st.addr, &o);
}

/* Who has none, as some have, is asked for again and again: a part of the digest, never all of it. */
static void digest_unknown(struct digest *d)
{
    struct gossip *g = d->g;
    uint32_t from = g->norder ? vi_rng_below(g->rng, g->norder) : 0;

    if (g->store.summaries > g->norder)
        return;
    for (uint32_t k = 0; k < g->norder && d->n_unknown < UNKNOWN; k++) {
        uint32_t i = g->order[(from + k) % g->norder];

        if (gsp_store_find(g, 0, gsp_id(&g->m[i])) == GSP_NONE)
            d->unknown[d->n_unknown++] = i;
    }
}

static void digest_all(struct digest *d)
{
    const struct gsp_store *s = &d->g->store;

    for (uint32_t i = s->newest; i != GSP_NONE && d->n < DIGEST_MAX; i = s->e[i].next)
        if (shown(d->g, &s->e[i]))
            d->in[d->n++] = i;
}

/* The summaries that are the freshest here, or the stalest ones of others: the first is so most. */
static unsigned by_age(const struct gossip *g, bool stalest, uint32_t *out, unsigned most)
{
    const struct gsp_store *s = &g->store;
    unsigned n = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        const struct gsp_entry *e = &s->e[i];
        unsigned k;

        if (e->kind || !shown(g, e) || (stalest && vi_id_equal(&e->key, &g->cfg.id)))
            continue;
        for (k = n; k > 0 && (stalest ? e->born < s->e[out[k - 1]].born : e->born > s->e[out[k - 1]].born); k--)
            if (k < most)
                out[k] = out[k - 1];
        if (k < most) {
            out[k] = i;
            n += n < most;
        }
    }
    return n;
}

static void digest_newest_records(struct digest *d)
{
    const struct gsp_store *s = &d->g->store;
    unsigned most = d->n + NEWEST;

    for (uint32_t i = s->newest; i != GSP_NONE && d->n < most; i = s->e[i].next)
        if (s->e[i].kind)
            d->in[d->n++] = i;
}

static void digest_slice(struct digest *d)
{
    struct gsp_store *s = &d->g->store;
    unsigned most = s->records < DIGEST_MAX ? s->records : DIGEST_MAX;

    for (uint32_t k = 0; k < s->n && d->n < most; k++) {
        s->cursor = (s->cursor + 1) % s->n;
        if (s->e[s->cursor].used && s->e[s->cursor].kind)
            d->in[d->n++] = s->cursor;
    }
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

/* false: there is no room for it any more. */
static bool values_add(struct values *v, uint32_t i)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        if (!v->open) {
            if (!v->left)
                return false;
            v->left--;
            v->open = true;
            gsp_begin(v->g, &v->o, v->buf, GSP_VALUES);
        }
        if (put_value(v->g, &v->o, &v->g->store.e[i]))
            return true;
        values_flush(v);
    }
    return false;
}

/* ---- an interval ------------------------------------------------------------------------------------ */

static void send_freshest(struct gossip *g, uint32_t to)
{
    struct values v = {.g = g, .to = to, .left = g->cfg.store_datagrams};
    uint32_t list[FRESHEST];
    unsigned n = by_age(g, false, list, FRESHEST);

    for (unsigned k = 0; k < n && values_add(&v, list[k]); k++)
        ;
    values_flush(&v);
}

struct want {
    unsigned n;
    uint8_t tag[WANT_MAX][1 + GSP_PREFIX];
};

static void send_want(struct gossip *g, uint32_t to, const struct want *w)
{
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    gsp_begin(g, &o, buf, GSP_WANT);
    gsp_put_u8(&o, (uint8_t)w->n);
    gsp_put(&o, w->tag, w->n * sizeof w->tag[0]);
    gsp_send(g, gsp_id(&g->m[to]), &g->m[to].word->st.addr, &o);
}

static void send_slice(struct gossip *g, uint32_t to)
{
    struct digest d = {.g = g, .to = to};

    digest_slice(&d);
    digest_send(&d, false);
}

static void ask_for_slices(struct gossip *g)
{
    static const struct want any;
    uint32_t of[SLICES];
    unsigned n = gsp_pick(g, NULL, SLICES, of);

    for (unsigned k = 0; k < n; k++)
        send_want(g, of[k], &any);
}

void gsp_store_tick(struct gossip *g)
{
    struct gsp_store *s = &g->store;
    struct digest d = {.g = g};
    bool all;

    g->next_store = g->now + g->cfg.store_interval;
    s->slices = SLICES;
    s->wanted = WANTED;
    gsp_store_drop_over(g);
    if (gsp_pick(g, NULL, 1, &d.to) != 1)
        return;
    all = s->records + s->summaries <= DIGEST_MAX;
    if (all) {
        digest_all(&d);
    } else {
        send_freshest(g, d.to);
        digest_unknown(&d);
        d.n = by_age(g, true, d.in, STALEST - d.n_unknown);
        digest_newest_records(&d);
    }
    digest_send(&d, all);
    if (s->records > NEWEST && !all)
        send_slice(g, d.to);
    if (g->now < s->lacking)
        ask_for_slices(g);
}

/* ---- what came ---------------------------------------------------------------------------------------- */

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
            (void)values_add(v, i);
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

        if (!e && !version)
            continue; /* neither has it */
        if (!e || version > e->version || (version == e->version && check > e->check))
            memcpy(w.tag[w.n++], tag, sizeof w.tag[0]);
        else if (version < e->version || check < e->check)
            (void)values_add(&v, i);
    }
    if (complete)
        add_missing(&v, &entries, n);
    values_flush(&v);
    if (w.n)
        send_want(g, from, &w);
}

void gsp_on_want(struct gossip *g, uint32_t from, struct gsp_cur *c)
{
    unsigned n = gsp_get_u8(c);
    struct values v = {.g = g, .to = from, .left = g->store.wanted};

    if (n > WANT_MAX)
        c->bad = true;
    for (unsigned k = 0; k < n && !c->bad; k++) {
        const uint8_t *tag = gsp_get(c, 1 + GSP_PREFIX);
        uint32_t i = tag ? gsp_idmap_find(&g->store.map, tag) : GSP_NONE;

        if (i != GSP_NONE)
            (void)values_add(&v, i);
    }
    values_flush(&v);
    g->store.wanted = v.left;
    if (!c->bad && !n && g->store.slices) {
        g->store.slices--;
        send_slice(g, from);
    }
}

/* A summary claimed to be ours with a number that we never gave, or gave to another one: go beyond it, in a new
 * incarnation if it may have used ours up. */
static void summary_of_self(struct gossip *g, const struct gsp_entry *e, const uint8_t *forged)
{
    uint64_t inc = g->m[GSP_SELF].word->st.incarnation;
    uint32_t i = gsp_store_find(g, 0, &g->cfg.id);
    uint8_t bytes[GOSSIP_SUMMARY_MAX];
    size_t len;

    if (i == GSP_NONE || e->version < g->store.e[i].version || e->version >> GSP_COUNTER_BITS > inc)
        return;
    len = g->store.e[i].len;
    memcpy(bytes, g->store.e[i].bytes, len);
    if (e->version == g->store.e[i].version ? e->len == len && !memcmp(forged, bytes, len) : gsp_self_word(g, 0, g->left))
        return;
    gsp_store_set_summary(g, bytes, len);
}

static void take_summary(struct gossip *g, const struct gsp_entry *e, const uint8_t *bytes)
{
    uint32_t i = gsp_find(g, &e->key);
    bool changed;

    if (i == GSP_SELF) {
        summary_of_self(g, e, bytes);
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
    if (gsp_store_put(g, e, bytes, &changed) || !changed)
        return;
    gsp_fx_push(g, &fx); /* reserved by the put */
    if (g->now - e->born > OLD)
        g->store.lacking = g->now + LOOKS;
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
