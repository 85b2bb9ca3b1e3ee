/* Items that came in a datagram: members' own words and accusations, judged and applied.
 *
 * A word counts by its signature, whoever relays it. An accusation counts as somebody's suspicion,
 * never more: what is said of others' deaths only confirms, and a death is believed at once only
 * where the suspicion has already lasted its minimum here. */
#include "gossip/internal.h"

#include <stdlib.h>
#include <string.h>

#define PULL_GAP VI_SEC
#define REPEAT_GAP (200 * VI_MSEC)
#define TOLD_OVER 32
#define STORM    64 /* rumours under way: very many are joining, and lists are the quicker way */

static bool asked_for(const struct gossip *g, const uint8_t prefix[GSP_PREFIX])
{
    for (unsigned k = 0; k < GSP_PULLS; k++)
        if (g->pulled[k].at && !memcmp(g->pulled[k].prefix, prefix, GSP_PREFIX))
            return g->now - g->pulled[k].at < 2 * PULL_GAP;
    return false;
}

void gsp_want(struct gossip *g, const struct vi_id *from, const uint8_t prefix[GSP_PREFIX])
{
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    /* the same news comes from many at once: ask one */
    for (unsigned k = 0; k < GSP_PULLS; k++)
        if (g->pulled[k].at && g->now - g->pulled[k].at < PULL_GAP &&
            !memcmp(g->pulled[k].prefix, prefix, GSP_PREFIX))
            return;
    memcpy(g->pulled[g->next_pulled].prefix, prefix, GSP_PREFIX);
    g->pulled[g->next_pulled].at = g->now ? g->now : 1;
    g->next_pulled = (g->next_pulled + 1) % GSP_PULLS;
    gsp_begin(g, &o, buf, GSP_PULL);
    gsp_put_u8(&o, 1);
    gsp_put(&o, prefix, GSP_PREFIX);
    gsp_send(g, from, NULL, &o);
}

static bool authentic(struct gossip *g, const struct gsp_read_item *it, const uint8_t *key)
{
    static const char label[] = "violin member";
    uint8_t buf[sizeof label + GSP_STATEMENT_MAX];

    memcpy(buf, label, sizeof label);
    memcpy(buf + sizeof label, it->signed_bytes, it->signed_len);
    if (g->cfg.verify(g->cfg.arg, key, buf, sizeof label + it->signed_len, it->sig))
        return true;
    g->count.rx_forged++;
    return false;
}

static bool admitted(struct gossip *g, const struct gsp_read_item *it)
{
    struct vi_id id;

    vi_id_hash(&id, "violin peer", it->key, GOSSIP_KEY, NULL, 0);
    if (vi_id_equal(&id, &it->st.id) && it->st.cert_tag == gsp_cert_tag(it->cert, it->cert_len) &&
        g->cfg.admit(g->cfg.arg, &id, it->key, it->cert, it->cert_len))
        return true;
    g->count.rx_forged++;
    return false;
}

/* It believes what is over of an incarnation of ours: the word that came after it didn't reach that one. */
static void repeat_word(struct gossip *g, const struct vi_id *via, bool gone)
{
    uint32_t i = gsp_find(g, via);
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    if (i == GSP_NONE || g->now - g->repeated_at < REPEAT_GAP)
        return;
    g->repeated_at = g->now;
    gsp_begin(g, &o, buf, GSP_GOSSIP);
    gsp_put_about(g, &o, GSP_SELF);
    gsp_send(g, via, NULL, &o);
    if (gone && g->m[GSP_SELF].rumour == GSP_NONE)
        gsp_rumour(g, GSP_SELF);
}

/* Our own signature on something newer than we know of: we lost our memory. Go beyond it. Who shows that we once left, and
 * takes us for gone, takes nothing else from us. */
static void word_of_self(struct gossip *g, const struct vi_id *via, const struct gsp_read_item *it)
{
    const struct gsp_word *w = g->m[GSP_SELF].word;

    if (it->st.incarnation < w->st.incarnation) {
        if (it->st.left && !g->left)
            repeat_word(g, via, true);
        return;
    }
    if (it->st.incarnation == w->st.incarnation && !memcmp(it->sig, w->sig, GOSSIP_SIG))
        return;
    if (authentic(g, it, g->cfg.key))
        gsp_self_word(g, it->st.incarnation, g->left);
}

static void word_of_stranger(struct gossip *g, const struct vi_id *via,
                             const struct gsp_read_item *it)
{
    struct gsp_word *w;
    uint32_t i;

    if (gsp_find_prefix(g, it->st.id.b) != GSP_NONE)
        return; /* another with the same first bytes */
    if (it->kind != GSP_FULL) {
        if (!it->st.left)
            gsp_want(g, via, it->st.id.b);
        return;
    }
    if (it->st.left ||
        !(gsp_word_shared(g, it) || (admitted(g, it) && authentic(g, it, it->key))))
        return;
    w = gsp_word_new(g, &it->st, it->sig, it->key, it->cert, it->cert_len);
    i = w ? gsp_member_add(g, w, GOSSIP_ALIVE) : GSP_NONE;
    /* news is what it says itself, or what we asked for because of a rumour; the rest is a list's */
    if (i != GSP_NONE && (vi_id_equal(via, &it->st.id) ||
                          (g->rumours < STORM && asked_for(g, it->st.id.b))))
        gsp_rumour(g, i);
}

/* The same incarnation with the certificate that it names, where we had an older one. */
static void take_cert(struct gossip *g, uint32_t i, const struct gsp_read_item *it)
{
    static const struct gossip_why self = {.reason = GOSSIP_WHY_SELF};
    const struct gsp_word *old = g->m[i].word;
    struct gsp_word *w;

    if (it->kind != GSP_FULL || it->st.cert_tag != old->st.cert_tag ||
        gsp_cert_tag(old->cert, old->cert_len) == old->st.cert_tag || !admitted(g, it))
        return;
    w = gsp_word_new(g, &old->st, old->sig, old->key, it->cert, it->cert_len);
    if (!w)
        return;
    gsp_member_word(g, i, w);
    gsp_member_effect(g, i, (enum gossip_state)g->m[i].state, GOSSIP_CHANGED, &self);
}

static bool same_face(const struct gsp_statement *a, const struct gsp_statement *b)
{
    return a->addr.len == b->addr.len && !memcmp(a->addr.b, b->addr.b, a->addr.len) &&
           a->name_len == b->name_len && !memcmp(a->name, b->name, a->name_len) &&
           a->meta_len == b->meta_len && !memcmp(a->meta, b->meta, a->meta_len) &&
           a->cert_tag == b->cert_tag;
}

/* An authentic newer word replaces the older, and with it what was believed. */
static void newer_word(struct gossip *g, const struct vi_id *via, uint32_t i,
                       const struct gsp_read_item *it)
{
    struct gossip_why self = {.reason = GOSSIP_WHY_SELF};
    const struct gsp_word *old = g->m[i].word;
    bool full = it->kind == GSP_FULL && it->st.cert_tag != old->st.cert_tag && admitted(g, it);
    bool changed = !same_face(&old->st, &it->st);
    enum gossip_state was = (enum gossip_state)g->m[i].state;
    struct gsp_word *w;

    if (gsp_fx_reserve(g, 2))
        return;
    if (!vi_id_equal(via, &it->st.id))
        self.via = *via;
    w = full ? gsp_word_new(g, &it->st, it->sig, old->key, it->cert, it->cert_len)
             : gsp_word_new(g, &it->st, it->sig, old->key, old->cert, old->cert_len);
    if (!w) {
        g->count.no_memory++;
        return;
    }
    gsp_member_word(g, i, w);
    if (it->st.left && was != GOSSIP_LEFT)
        gsp_member_state(g, i, GOSSIP_LEFT, GOSSIP_GOODBYE, &self);
    else if (!it->st.left && was == GOSSIP_SUSPECT)
        gsp_member_state(g, i, GOSSIP_ALIVE, GOSSIP_REFUTED, &self);
    else if (!it->st.left && was != GOSSIP_ALIVE)
        gsp_member_state(g, i, GOSSIP_ALIVE, GOSSIP_UP, &self);
    if (was == GOSSIP_SUSPECT && !it->st.left) {
        g->count.refuted++;
        g->refuted_at = g->now;
    }
    if (changed && was == GOSSIP_ALIVE && !it->st.left)
        gsp_member_effect(g, i, was, GOSSIP_CHANGED, &self);
    gsp_rumour(g, i);
    if (gsp_cert_tag(w->cert, w->cert_len) != w->st.cert_tag)
        gsp_want(g, via, it->st.id.b);
}

/* At most so many answers of this kind in a second: what was said before goes round for a while. */
static bool may_tell_over(struct gossip *g)
{
    if (g->now - g->told_over_at >= VI_SEC) {
        g->told_over_at = g->now;
        g->told_over = 0;
    }
    return g->told_over++ < TOLD_OVER;
}

/* It believes that a member is there which left, or died, since: the newer word, and the death. Who was cut off meanwhile
 * would else probe those who are gone, one after another, and take itself for what is wrong. */
static void tell_over(struct gossip *g, const struct vi_id *via, uint32_t i)
{
    struct gsp_member *m = &g->m[i];
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    if (gsp_is_up(m) || !may_tell_over(g))
        return;
    gsp_begin(g, &o, buf, GSP_GOSSIP);
    gsp_put_word(&o, &m->word->st, m->word->sig);
    if (m->state == GOSSIP_DEAD)
        gsp_put_about(g, &o, i);
    gsp_send(g, via, NULL, &o);
}

/* Who says what we know to be over is told: a member that lost its memory by its own newer word,
 * anyone who believes a dead one alive by the accusation, at most so often. */
static void answer_stale(struct gossip *g, const struct vi_id *via, uint32_t i,
                         const struct gsp_read_item *it)
{
    struct gsp_member *m = &g->m[i];
    bool itself = vi_id_equal(via, &it->st.id), behind = it->st.incarnation < m->word->st.incarnation;
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    if (!itself && behind) {
        if (!it->st.left)
            tell_over(g, via, i);
        return;
    }
    if (!behind) {
        if (m->state != GOSSIP_DEAD || (m->doubt->told && g->now - m->doubt->told < 500 * VI_MSEC))
            return;
        m->doubt->told = g->now;
    }
    gsp_begin(g, &o, buf, GSP_GOSSIP);
    if (behind)
        gsp_put_word(&o, &m->word->st, m->word->sig);
    else
        gsp_put_about(g, &o, i);
    gsp_send(g, via, NULL, &o);
}

static void word(struct gossip *g, const struct vi_id *via, const struct gsp_read_item *it)
{
    uint32_t i = gsp_find(g, &it->st.id);
    const struct gsp_word *w;

    if (i == GSP_SELF) {
        word_of_self(g, via, it);
        return;
    }
    if (i == GSP_NONE) {
        word_of_stranger(g, via, it);
        return;
    }
    w = g->m[i].word;
    if (it->st.incarnation > w->st.incarnation) {
        if (authentic(g, it, w->key))
            newer_word(g, via, i, it);
        return;
    }
    g->count.rx_stale++;
    if (it->st.incarnation == w->st.incarnation)
        take_cert(g, i, it);
    w = g->m[i].word; /* with a new certificate it is another */
    /* the member itself is behind what it once said, or doesn't know that it is thought dead */
    if (it->st.incarnation < w->st.incarnation || g->m[i].state == GOSSIP_DEAD)
        answer_stale(g, via, i, it);
}

/* ---- accusations ------------------------------------------------------------------------------ */

static void accused_self(struct gossip *g, const struct vi_id *via, const struct gsp_accusation *a)
{
    uint64_t own = g->m[GSP_SELF].word->st.incarnation;
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    if (g->left)
        return;
    /* an incarnation of ours that we never signed is a lie; one that we did, and forgot, is shown to us for our word of now */
    if (a->incarnation > own) {
        repeat_word(g, via, false);
        return;
    }
    if (g->aside) { /* the accusation may well be right */
        g->owed = true;
        g->count.self_accused += a->incarnation == own;
        return;
    }
    if (a->incarnation < own) {
        repeat_word(g, via, a->death);
        return;
    }
    g->count.self_accused++;
    gsp_health(g, 1);
    if (gsp_self_word(g, 0, false))
        return;
    gsp_begin(g, &o, buf, GSP_GOSSIP);
    gsp_put_about(g, &o, GSP_SELF);
    gsp_send(g, via, NULL, &o);
}

static bool credible(const struct gossip *g, uint32_t accused, uint32_t accuser)
{
    return accuser != GSP_NONE && accuser != accused && gsp_is_up(&g->m[accuser]);
}

static void accused(struct gossip *g, const struct vi_id *via, const struct gsp_accusation *a)
{
    uint32_t i = gsp_find_prefix(g, a->id);
    struct vi_id accusers[GSP_ACCUSERS];
    struct gossip_why why = {.reason = GOSSIP_WHY_RUMOUR, .via = *via, .at = g->now};
    struct gsp_member *m;
    unsigned n = 0;

    if (i == GSP_SELF) {
        accused_self(g, via, a);
        return;
    }
    if (i == GSP_NONE || a->incarnation > g->m[i].word->st.incarnation) {
        if (!a->death || i != GSP_NONE)
            gsp_want(g, via, a->id);
        return;
    }
    m = &g->m[i];
    if (a->incarnation < m->word->st.incarnation || !gsp_is_up(m))
        return;
    for (unsigned k = 0; k < a->n; k++) {
        uint32_t by = gsp_find_prefix(g, a->accusers[k]);

        if (credible(g, i, by))
            accusers[n++] = *gsp_id(&g->m[by]);
    }
    if (!n)
        return;
    why.accuser = accusers[0];
    if (m->state == GOSSIP_ALIVE && gsp_suspect(g, i, accusers, n, &why))
        return;
    for (unsigned k = 0; k < n; k++)
        gsp_confirm(g, i, &accusers[k], &why);
    if (a->death && g->cfg.plain) {
        gsp_dies(g, i);
    } else if (a->death) {
        const struct gsp_suspicion s = {g->cfg.alpha, g->cfg.beta, g->cfg.confirmations,
                                        g->cfg.probe_interval};
        vi_time least = m->doubt->start + gsp_suspicion_min(&s, g->norder + 1);

        gsp_doubt_until(g, m->doubt, least);
    }
}

void gsp_items(struct gossip *g, const struct vi_id *via, struct gsp_cur *c, bool *full_of_via)
{
    struct gsp_read_item it;

    while (gsp_get_item(c, &it)) {
        if (it.kind == GSP_WORD || it.kind == GSP_FULL) {
            if (it.kind == GSP_FULL && vi_id_equal(&it.st.id, via))
                *full_of_via = true;
            word(g, via, &it);
        } else {
            accused(g, via, &it.ac);
        }
    }
    if (c->bad)
        g->count.rx_malformed++;
}
