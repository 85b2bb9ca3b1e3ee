/* Joining, and making tables equal: HASH (one of all) → BUCKETS (256 of parts) → LIST (who is in a
 * part) → words that the other lacks, PULL of those that we lack. Nothing but the hash is sent while
 * tables agree. Every fourth time the partner is a dead member or a seed, for ever: so partitions heal. */
#include "gossip/internal.h"

#include <string.h>

#define LIST_MAX      70 /* entries of a datagram */
#define LISTS_MAX     12 /* datagrams of lists, and … */
#define FULLS_MAX     24 /* … of words, in answer to one datagram */
#define SMALL         60 /* so few members are listed at once */
#define PULL_MAX      140
#define SOON          (3 * VI_SEC)   /* the next sync, when tables were different, … */
#define VERY_SOON     (VI_SEC / 2)   /* … very different: */
#define VERY          16             /* buckets, members of a list */
#define JOIN_GAP      (500 * VI_MSEC)

/* ± 10 %, so that those who found the same together don't stay together. */
static void sooner(struct gossip *g, vi_time gap)
{
    vi_time at = g->now + (vi_time)((double)gap * (0.9 + 0.2 * vi_rng_unit(g->rng)));

    if (at < g->next_sync)
        g->next_sync = at;
}

static void send_to(struct gossip *g, uint32_t to, struct gsp_out *o)
{
    gsp_send(g, gsp_id(&g->m[to]), &g->m[to].word->st.addr, o);
}

static uint32_t strangers(const struct gossip *g)
{
    uint32_t n = 0;

    for (unsigned k = 0; k < g->nseeds; k++)
        n += gsp_find(g, &g->seed[k].id) == GSP_NONE;
    return n;
}

void gsp_retry_lost(struct gossip *g)
{
    g->retries = 2 * (g->ndead + strangers(g)); /* chosen by chance, so most of them once */
    if (g->retries)
        sooner(g, VERY_SOON);
}

/* ---- joining ----------------------------------------------------------------------------------- */

int gsp_seed_add(struct gossip *g, const struct vi_id *id, const struct gossip_addr *addr)
{
    unsigned k;

    if (vi_id_equal(id, &g->cfg.id))
        return 0;
    for (k = 0; k < g->nseeds && !vi_id_equal(&g->seed[k].id, id); k++)
        ;
    if (k == GSP_SEEDS_MAX) {
        g->count.seeds_full++;
        return VI_EFULL;
    }
    g->seed[k] = (struct gsp_seed){.id = *id, .addr = *addr};
    if (k == g->nseeds)
        g->nseeds++;
    if (!g->norder) {
        g->next_join = g->now;
        g->join_gap = JOIN_GAP;
    } else if (gsp_find(g, id) == GSP_NONE) {
        gsp_retry_lost(g); /* it may lead to others than those that we know */
    }
    return 0;
}

static void send_join(struct gossip *g, const struct vi_id *to, const struct gossip_addr *addr)
{
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    gsp_begin(g, &o, buf, GSP_JOIN);
    gsp_put_full_of(g, &o, GSP_SELF);
    gsp_send(g, to, addr, &o);
}

/* Alone: one seed or dead member after the other, ever more slowly. */
void gsp_join_tick(struct gossip *g)
{
    const struct gsp_seed *s;

    if (g->norder || !g->nseeds)
        return;
    s = &g->seed[vi_rng_below(g->rng, g->nseeds)];
    send_join(g, &s->id, &s->addr);
    g->next_join = g->now + g->join_gap;
    g->join_gap = 2 * g->join_gap < g->cfg.sync_interval ? 2 * g->join_gap : g->cfg.sync_interval;
}

void gsp_on_join(struct gossip *g, const struct vi_id *from)
{
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    uint32_t i = gsp_find(g, from);
    struct gsp_out o;

    gsp_begin(g, &o, buf, GSP_GOSSIP);
    gsp_put_full_of(g, &o, GSP_SELF);
    gsp_piggyback(g, &o, i);
    gsp_send(g, from, i == GSP_NONE ? NULL : &g->m[i].word->st.addr, &o);
    if (i != GSP_NONE)
        gsp_send_hash(g, i);
}

/* ---- the hash of all ----------------------------------------------------------------------------- */

void gsp_send_hash(struct gossip *g, uint32_t to)
{
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    gsp_begin(g, &o, buf, GSP_HASH);
    gsp_put_u32(&o, g->norder + 1);
    gsp_put(&o, g->digest, sizeof g->digest);
    if (!gsp_is_up(&g->m[to]))
        gsp_put_about(g, &o, to);
    gsp_piggyback(g, &o, to);
    send_to(g, to, &o);
}

/* One of the dead, or of the seeds that aren't members, by chance. */
static bool try_the_lost(struct gossip *g)
{
    uint32_t others = strangers(g), pick;

    if (!others && !g->ndead)
        return false;
    pick = vi_rng_below(g->rng, others + g->ndead);
    for (unsigned k = 0; k < g->nseeds; k++)
        if (gsp_find(g, &g->seed[k].id) == GSP_NONE && pick-- == 0) {
            send_join(g, &g->seed[k].id, &g->seed[k].addr);
            return true;
        }
    for (uint32_t i = 1; i < g->n; i++)
        if (g->m[i].word && g->m[i].state == GOSSIP_DEAD && pick-- == 0) {
            gsp_send_hash(g, i);
            return true;
        }
    return false;
}

static void forget_left(struct gossip *g)
{
    for (uint32_t i = 1; i < g->n; i++)
        if (g->m[i].word && g->m[i].state == GOSSIP_LEFT &&
            g->now - (vi_time)g->m[i].since * GSP_SINCE > g->cfg.dead_keep)
            gsp_member_remove(g, i);
}

void gsp_sync_tick(struct gossip *g)
{
    uint32_t to;

    /* ± 10 %, so that those who started together don't stay together */
    g->next_sync = g->now + (vi_time)((double)g->cfg.sync_interval * (0.9 + 0.2 * vi_rng_unit(g->rng)));
    forget_left(g);
    if (!g->norder && !g->ndead)
        return; /* seeds are tried by gsp_join_tick() */
    if ((++g->syncs % g->cfg.lost_every == 0 || !g->norder || g->retries) && try_the_lost(g)) {
        if (g->retries && --g->retries)
            sooner(g, VERY_SOON);
        return;
    }
    g->retries = 0;
    if (gsp_pick(g, NULL, 1, &to) == 1) {
        g->count.syncs++;
        gsp_send_hash(g, to);
    }
}

/* ---- lists ----------------------------------------------------------------------------------------- */

static uint32_t in_part(struct gossip *g, uint16_t lo, uint16_t hi, uint32_t *out, uint32_t most)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < g->n; i++) {
        const struct gsp_member *m = &g->m[i];

        if (!m->word || m->part < lo || m->part > hi || !gsp_is_up(m))
            continue;
        if (n < most)
            out[n] = i;
        n++;
    }
    return n;
}

static unsigned send_list(struct gossip *g, uint32_t to, uint16_t lo, uint16_t hi, unsigned most)
{
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    uint32_t in[LIST_MAX], n = in_part(g, lo, hi, in, LIST_MAX);
    struct gsp_out o;

    if (!most)
        return 0;
    if (n > LIST_MAX && lo < hi) {
        uint16_t mid = (uint16_t)(lo + (hi - lo) / 2);
        unsigned sent = send_list(g, to, lo, mid, most);

        return sent + send_list(g, to, (uint16_t)(mid + 1), hi, most - sent);
    }
    if (n > LIST_MAX)
        n = LIST_MAX; /* 70 ids that share 16 bits of 65,536: not by chance */
    gsp_begin(g, &o, buf, GSP_LIST);
    gsp_put_u16(&o, lo);
    gsp_put_u16(&o, hi);
    gsp_put_u8(&o, (uint8_t)n);
    for (uint32_t k = 0; k < n; k++) {
        gsp_put(&o, gsp_id(&g->m[in[k]])->b, GSP_PREFIX);
        gsp_put_u64(&o, g->m[in[k]].word->st.incarnation);
    }
    send_to(g, to, &o);
    return 1;
}

void gsp_ask_about(struct gossip *g, uint32_t i)
{
    uint16_t part = g->m[i].part;
    uint32_t to[2];
    unsigned n = gsp_pick(g, gsp_id(&g->m[i]), 2, to);

    for (unsigned k = 0; k < n; k++)
        send_list(g, to[k], part, part, 1);
}

static void send_buckets(struct gossip *g, uint32_t to)
{
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    gsp_begin(g, &o, buf, GSP_BUCKETS);
    for (unsigned b = 0; b < GSP_BUCKETS_N; b++)
        gsp_put_u32(&o, g->bucket[b]);
    send_to(g, to, &o);
}

void gsp_on_hash(struct gossip *g, uint32_t from, struct gsp_cur *c)
{
    uint32_t n = gsp_get_u32(c);
    const uint8_t *digest = gsp_get(c, sizeof g->digest);

    if (!digest || (n == g->norder + 1 && !memcmp(digest, g->digest, sizeof g->digest)))
        return;
    g->count.syncs_different++;
    sooner(g, n > g->norder + VERY ? VERY_SOON : SOON);
    if (g->norder < SMALL && n < SMALL)
        send_list(g, from, 0, UINT16_MAX, LISTS_MAX);
    else
        send_buckets(g, from);
}

void gsp_on_buckets(struct gossip *g, uint32_t from, struct gsp_cur *c)
{
    bool differ[GSP_BUCKETS_N];
    unsigned n = 0, sent = 0, first = vi_rng_below(g->rng, GSP_BUCKETS_N);

    for (unsigned b = 0; b < GSP_BUCKETS_N; b++) {
        differ[b] = gsp_get_u32(c) != g->bucket[b];
        n += differ[b];
    }
    if (c->bad)
        return;
    sooner(g, n >= VERY ? VERY_SOON : SOON);
    /* runs of differing buckets together, from a random place on, so that partners share the work */
    for (unsigned k = 0; k < GSP_BUCKETS_N && sent < LISTS_MAX; k++) {
        unsigned b = (first + k) % GSP_BUCKETS_N, e = b;

        if (!differ[b])
            continue;
        while (e + 1 < GSP_BUCKETS_N && differ[e + 1] && k + 1 < GSP_BUCKETS_N && e - b < 31) {
            e++;
            k++;
        }
        sent += send_list(g, from, (uint16_t)(b << 8), (uint16_t)(e << 8 | 255), LISTS_MAX - sent);
    }
}

/* ---- what differs ------------------------------------------------------------------------------------ */

/* Datagrams of items for one peer, begun when needed, at most so many. */
struct packer {
    struct gossip *g;
    struct vi_id to;
    struct gossip_addr addr;
    enum gsp_type type;
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;
    unsigned left;
    bool open;
};

static void flush(struct packer *p)
{
    if (p->open)
        gsp_send(p->g, &p->to, &p->addr, &p->o);
    p->open = false;
}

static void pack(struct packer *p, uint32_t i, bool full)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        if (!p->open) {
            if (!p->left)
                return;
            p->left--;
            p->open = true;
            gsp_begin(p->g, &p->o, p->buf, p->type);
        }
        if (full ? gsp_put_full_of(p->g, &p->o, i) : gsp_put_about(p->g, &p->o, i))
            return;
        flush(p);
    }
}

static void packer_init(struct packer *p, struct gossip *g, const struct vi_id *to)
{
    uint32_t i = gsp_find(g, to);

    *p = (struct packer){.g = g, .to = *to, .type = GSP_GOSSIP, .left = FULLS_MAX};
    if (i != GSP_NONE)
        p->addr = g->m[i].word->st.addr;
}

struct list {
    unsigned n;
    uint8_t prefix[LIST_MAX][GSP_PREFIX];
};

static bool listed(const struct list *l, const struct gsp_member *m)
{
    for (unsigned k = 0; k < l->n; k++)
        if (!memcmp(l->prefix[k], gsp_id(m)->b, GSP_PREFIX))
            return true;
    return false;
}

static void send_pull(struct gossip *g, uint32_t to, const struct list *l)
{
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    if (!l->n)
        return;
    gsp_begin(g, &o, buf, GSP_PULL);
    gsp_put_u8(&o, (uint8_t)l->n);
    gsp_put(&o, l->prefix, l->n * sizeof l->prefix[0]);
    send_to(g, to, &o);
}

/* What the other has in a part of the ids: it lacks or has older → our word; we → PULL. */
void gsp_on_list(struct gossip *g, uint32_t from, struct gsp_cur *c)
{
    uint16_t lo = gsp_get_u16(c), hi = gsp_get_u16(c);
    unsigned n = gsp_get_u8(c);
    struct list theirs = {0}, want = {0};
    struct packer p;

    if (n > LIST_MAX)
        c->bad = true;
    packer_init(&p, g, gsp_id(&g->m[from]));
    for (unsigned k = 0; k < n && !c->bad; k++) {
        const uint8_t *prefix = gsp_get(c, GSP_PREFIX);
        uint64_t inc = gsp_get_u64(c);
        uint32_t i;

        if (c->bad)
            break;
        memcpy(theirs.prefix[theirs.n++], prefix, GSP_PREFIX);
        i = gsp_find_prefix(g, prefix);
        if (i == GSP_NONE || inc > g->m[i].word->st.incarnation)
            memcpy(want.prefix[want.n++], prefix, GSP_PREFIX);
        else if (inc < g->m[i].word->st.incarnation || !gsp_is_up(&g->m[i]))
            pack(&p, i, false);
    }
    if (c->bad)
        return;
    /* from a random place on: what doesn't fit today comes another time */
    for (uint32_t k = 0, i = vi_rng_below(g->rng, g->n); k < g->n; k++, i = i + 1 < g->n ? i + 1 : 0) {
        const struct gsp_member *m = &g->m[i];

        if (m->part >= lo && m->part <= hi && m->word && gsp_is_up(m) && i != from &&
            !listed(&theirs, m))
            pack(&p, i, true);
    }
    flush(&p);
    send_pull(g, from, &want);
    if (want.n)
        sooner(g, want.n >= VERY ? VERY_SOON : SOON);
}

void gsp_on_pull(struct gossip *g, const struct vi_id *from, struct gsp_cur *c)
{
    unsigned n = gsp_get_u8(c);
    struct packer p;

    if (n > PULL_MAX)
        c->bad = true;
    packer_init(&p, g, from);
    for (unsigned k = 0; k < n && !c->bad; k++) {
        const uint8_t *prefix = gsp_get(c, GSP_PREFIX);
        uint32_t i = prefix ? gsp_find_prefix(g, prefix) : GSP_NONE;

        if (i == GSP_NONE)
            continue;
        pack(&p, i, true);
        if (g->m[i].state == GOSSIP_SUSPECT)
            pack(&p, i, false);
    }
    flush(&p);
}
