/* What is news: a rumour is about a member and always tells its present state. Rumours sent least
 * often go first (SWIM §4.1), each λ⌈log10(n + 1)⌉ times. */
#include "gossip/internal.h"

#include <stdlib.h>
#include <string.h>

static unsigned tiers(const struct gossip *g)
{
    unsigned l = gsp_log10_milli(g->norder + 2), t = (g->cfg.retransmit * l + 999) / 1000;

    return t > GSP_TIERS ? GSP_TIERS : t;
}

void gsp_rumours_init(struct gossip *g)
{
    g->rumour_free = GSP_NONE;
    for (int t = 0; t < GSP_TIERS; t++)
        g->tier_head[t] = g->tier_tail[t] = GSP_NONE;
}

static void link_last(struct gossip *g, uint32_t k, unsigned tier)
{
    struct gsp_rumour *r = &g->rumour[k];

    r->tier = (uint8_t)tier;
    r->next = GSP_NONE;
    r->prev = g->tier_tail[tier];
    if (r->prev != GSP_NONE)
        g->rumour[r->prev].next = k;
    else
        g->tier_head[tier] = k;
    g->tier_tail[tier] = k;
}

static void unlink_rumour(struct gossip *g, uint32_t k)
{
    struct gsp_rumour *r = &g->rumour[k];

    if (r->prev != GSP_NONE)
        g->rumour[r->prev].next = r->next;
    else
        g->tier_head[r->tier] = r->next;
    if (r->next != GSP_NONE)
        g->rumour[r->next].prev = r->prev;
    else
        g->tier_tail[r->tier] = r->prev;
}

/* At most one a member. A rumour that finds no memory isn't told; the sync will. */
static uint32_t take_rumour(struct gossip *g, uint32_t i)
{
    uint32_t k = g->rumour_free;

    if (k == GSP_NONE) {
        uint32_t cap = g->rumour_cap + g->rumour_cap / 2 + 8;
        struct gsp_rumour *r = realloc(g->rumour, cap * sizeof *r);

        if (!r) {
            g->count.no_memory++;
            return GSP_NONE;
        }
        g->rumour = r;
        for (k = cap; k > g->rumour_cap; k--) {
            r[k - 1].next = g->rumour_free;
            g->rumour_free = k - 1;
        }
        g->rumour_cap = cap;
        k = g->rumour_free;
    }
    g->rumour_free = g->rumour[k].next;
    g->rumour[k].member = i;
    g->m[i].rumour = k;
    g->rumours++;
    return k;
}

void gsp_unrumour(struct gossip *g, uint32_t i)
{
    uint32_t k = g->m[i].rumour;

    if (k == GSP_NONE)
        return;
    unlink_rumour(g, k);
    g->rumour[k].next = g->rumour_free;
    g->rumour_free = k;
    g->m[i].rumour = GSP_NONE;
    if (--g->rumours || g->rumour_cap <= 64)
        return;
    free(g->rumour); /* what a storm needed isn't kept */
    g->rumour = NULL;
    g->rumour_cap = 0;
    g->rumour_free = GSP_NONE;
}

void gsp_rumour(struct gossip *g, uint32_t i)
{
    uint32_t k = g->m[i].rumour;

    if (k != GSP_NONE)
        unlink_rumour(g, k);
    if (!g->norder) { /* nobody to tell: a lone peer keeps nothing */
        if (k != GSP_NONE) {
            link_last(g, k, 0);
            gsp_unrumour(g, i);
        }
        return;
    }
    if (!g->rumours && g->next_gossip < g->now)
        g->next_gossip = g->now + (vi_time)(vi_rng_unit(g->rng) * (double)g->cfg.gossip_interval);
    if (k == GSP_NONE)
        k = take_rumour(g, i);
    if (k != GSP_NONE)
        link_last(g, k, 0);
}

/* ---- items ----------------------------------------------------------------------------------- */

bool gsp_put_about(struct gossip *g, struct gsp_out *o, uint32_t i)
{
    const struct gsp_member *m = &g->m[i];
    struct gsp_accusation a = {.incarnation = m->word->st.incarnation};

    if ((m->state != GOSSIP_SUSPECT && m->state != GOSSIP_DEAD) || !m->doubt)
        return gsp_put_word(o, &m->word->st, m->word->sig);
    a.death = m->state == GOSSIP_DEAD;
    a.n = m->doubt->n;
    memcpy(a.id, gsp_id(m)->b, GSP_PREFIX);
    for (unsigned k = 0; k < a.n; k++)
        memcpy(a.accusers[k], m->doubt->accusers[k].b, GSP_PREFIX);
    return gsp_put_accusation(o, &a);
}

bool gsp_put_full_of(struct gossip *g, struct gsp_out *o, uint32_t i)
{
    const struct gsp_word *w = g->m[i].word;

    return gsp_put_full(o, &w->st, w->sig, w->key, w->cert, w->cert_len);
}

void gsp_begin(struct gossip *g, struct gsp_out *o, uint8_t buf[GOSSIP_DATAGRAM_MAX],
               enum gsp_type type)
{
    (void)g;
    gsp_out_init(o, buf, GOSSIP_DATAGRAM_MAX);
    gsp_put_u8(o, GOSSIP_WIRE);
    gsp_put_u8(o, (uint8_t)type);
}

/* Told once more: it moves behind those told less often, or is no news any more. */
static void told(struct gossip *g, uint32_t k, unsigned most)
{
    unsigned sent = g->rumour[k].tier + 1U;

    if (sent >= most) {
        gsp_unrumour(g, g->rumour[k].member);
        return;
    }
    unlink_rumour(g, k);
    link_last(g, k, sent);
}

void gsp_piggyback(struct gossip *g, struct gsp_out *o, uint32_t to)
{
    unsigned most = tiers(g), n = 0, misfits = 0;
    uint32_t chosen[GOSSIP_DATAGRAM_MAX / (1 + VI_ID_SIZE)];

    /* buddy (Lifeguard §IV-C): the accused hears it first, so that it can refute */
    if (to != GSP_NONE && g->cfg.buddy && g->m[to].state == GOSSIP_SUSPECT)
        gsp_put_about(g, o, to);
    for (unsigned t = 0; t < GSP_TIERS && misfits < 4; t++) {
        for (uint32_t k = g->tier_head[t]; k != GSP_NONE && misfits < 4; k = g->rumour[k].next) {
            uint32_t i = g->rumour[k].member;

            if (i == to && (g->m[i].state != GOSSIP_SUSPECT || g->cfg.buddy))
                continue;
            if (gsp_put_about(g, o, i))
                chosen[n++] = k;
            else
                misfits++;
        }
    }
    for (unsigned c = 0; c < n; c++)
        told(g, chosen[c], most);
}

void gsp_gossip_tick(struct gossip *g)
{
    uint32_t to[16];
    unsigned n = g->cfg.gossip_fanout < 16 ? g->cfg.gossip_fanout : 16;

    g->next_gossip = g->now + g->cfg.gossip_interval;
    n = gsp_pick(g, NULL, n, to);
    for (unsigned k = 0; k < n && g->rumours; k++) {
        uint8_t buf[GOSSIP_DATAGRAM_MAX];
        struct gsp_out o;
        size_t empty;

        gsp_begin(g, &o, buf, GSP_GOSSIP);
        empty = o.len;
        gsp_piggyback(g, &o, to[k]);
        if (o.len > empty)
            gsp_send(g, gsp_id(&g->m[to[k]]), &g->m[to[k]].word->st.addr, &o);
    }
}

#define TELL_GAP (500 * VI_MSEC)

void gsp_tell(struct gossip *g, uint32_t i)
{
    struct gsp_member *m = &g->m[i];
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    if (m->doubt) {
        if (m->doubt->told && g->now - m->doubt->told < TELL_GAP)
            return;
        m->doubt->told = g->now;
    }
    gsp_begin(g, &o, buf, GSP_GOSSIP);
    gsp_put_about(g, &o, i);
    gsp_send(g, gsp_id(m), &m->word->st.addr, &o);
}

/* ---- our own word ---------------------------------------------------------------------------- */

/* Numbers are persisted ahead, so that not every refutation costs a write. */
#define RESERVE 32

int gsp_self_word(struct gossip *g, uint64_t least, bool left)
{
    static const char label[] = "violin member";
    uint8_t buf[sizeof label + GSP_STATEMENT_MAX], sig[GOSSIP_SIG];
    struct gsp_statement st = g->m[GSP_SELF].word->st;
    struct gsp_word *w;
    struct gsp_out o;

    st.incarnation = (least > st.incarnation ? least : st.incarnation) + 1;
    st.left = left;
    st.addr = g->cfg.addr;
    st.meta_len = g->cfg.meta_len;
    memcpy(st.meta, g->cfg.meta, sizeof st.meta);
    st.cert_tag = gsp_cert_tag(g->cfg.cert, g->cfg.cert_len);
    if (!st.incarnation || gsp_fx_reserve(g, 1))
        return VI_ENOMEM;
    gsp_out_init(&o, buf, sizeof buf);
    gsp_put(&o, label, sizeof label);
    gsp_put_statement(&o, &st);
    g->cfg.sign(g->cfg.arg, buf, o.len, sig);
    w = gsp_word_new(g, &st, sig, g->cfg.key, g->cfg.cert, g->cfg.cert_len);
    if (!w) {
        g->count.no_memory++;
        return VI_ENOMEM;
    }
    gsp_member_word(g, GSP_SELF, w);
    g->store.counter = 0;
    if (st.incarnation > g->reserved) {
        struct gossip_effect fx = {.kind = GOSSIP_FX_PERSIST};

        g->reserved = st.incarnation > UINT64_MAX - RESERVE ? UINT64_MAX : st.incarnation + RESERVE;
        fx.number = g->reserved;
        gsp_fx_push(g, &fx);
    }
    gsp_rumour(g, GSP_SELF);
    return 0;
}
