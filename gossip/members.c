/* The table of members: who is in it, in which state, and all that hangs on a change of state. */
#include "gossip/internal.h"

#include <stdlib.h>
#include <string.h>

static const void *member_key(const void *arg, uint32_t i)
{
    const struct gossip *g = arg;

    return g->m[i].word->st.id.b;
}

uint32_t gsp_find_prefix(const struct gossip *g, const uint8_t prefix[GSP_PREFIX])
{
    return gsp_idmap_find(&g->map, prefix);
}

uint32_t gsp_find(const struct gossip *g, const struct vi_id *id)
{
    uint32_t i = gsp_find_prefix(g, id->b);

    return i != GSP_NONE && vi_id_equal(gsp_id(&g->m[i]), id) ? i : GSP_NONE;
}

bool gsp_is_up(const struct gsp_member *m)
{
    return m->state == GOSSIP_ALIVE || m->state == GOSSIP_SUSPECT;
}

/* ---- digest: toggled whenever (id, incarnation) of an up member comes or goes ----------------- */

static void toggle(struct gossip *g, const struct gsp_member *m)
{
    const uint8_t *h = m->word->hash.b;
    uint32_t part = (uint32_t)h[0] | (uint32_t)h[1] << 8 | (uint32_t)h[2] << 16 | (uint32_t)h[3] << 24;

    for (int i = 0; i < VI_ID_SIZE; i++)
        g->digest[i] ^= h[i];
    g->bucket[gsp_id(m)->b[0]] ^= part;
}

/* ---- the order in which members are probed (SWIM §4.3: random places, a round reaches all) ---- */

static void order_set(struct gossip *g, uint32_t at, uint32_t i)
{
    g->order[at] = i;
    g->m[i].order = at;
}

static void order_insert(struct gossip *g, uint32_t i)
{
    uint32_t at = vi_rng_below(g->rng, g->norder + 1);

    if (at < g->norder)
        order_set(g, g->norder, g->order[at]);
    order_set(g, at, i);
    g->norder++;
}

static void order_remove(struct gossip *g, uint32_t i)
{
    uint32_t at = g->m[i].order;

    if (at == GSP_NONE)
        return;
    g->norder--;
    if (at != g->norder)
        order_set(g, at, g->order[g->norder]);
    g->m[i].order = GSP_NONE;
}

static int more(uint32_t **a, uint32_t *cap, uint32_t want)
{
    uint32_t n = *cap ? *cap : 16, *p;

    while (n < want)
        n += n / 8 + 8;
    if (n == *cap)
        return 0;
    p = realloc(*a, n * sizeof **a);
    if (!p)
        return VI_ENOMEM;
    *a = p;
    *cap = n;
    return 0;
}

unsigned gsp_pick(struct gossip *g, const struct vi_id *not_this, unsigned n, uint32_t *out)
{
    unsigned got = 0;
    uint32_t start;

    if (!g->norder)
        return 0;
    /* twice around from random places: the alive first, then, if nobody is, the suspects */
    for (int pass = 0; pass < 2 && !got; pass++) {
        for (uint32_t k = 0, tries = 4 * n + 8; k < tries && got < n; k++) {
            uint32_t i = g->order[vi_rng_below(g->rng, g->norder)];
            bool twice = pass == 0 && g->m[i].state != GOSSIP_ALIVE;

            for (unsigned j = 0; j < got; j++)
                twice |= out[j] == i;
            if (!twice && !(not_this && vi_id_equal(gsp_id(&g->m[i]), not_this)))
                out[got++] = i;
        }
    }
    if (got || !g->norder)
        return got;
    start = vi_rng_below(g->rng, g->norder); /* chance missed the few that there are */
    for (uint32_t k = 0; k < g->norder && got < n; k++) {
        uint32_t i = g->order[(start + k) % g->norder];

        if (!(not_this && vi_id_equal(gsp_id(&g->m[i]), not_this)))
            out[got++] = i;
    }
    return got;
}

/* ---- suspicions ------------------------------------------------------------------------------ */

static void doubt_unlist(struct gossip *g, struct gsp_doubt *d)
{
    if (!d || d->at == GSP_NONE)
        return;
    g->nsuspects--;
    if (d->at != g->nsuspects) {
        uint32_t last = g->suspects[g->nsuspects];

        g->suspects[d->at] = last;
        g->m[last].doubt->at = d->at;
    }
    d->at = GSP_NONE;
}

static void doubt_end(struct gossip *g, uint32_t i)
{
    doubt_unlist(g, g->m[i].doubt);
    free(g->m[i].doubt);
    g->m[i].doubt = NULL;
}

static void sure(struct gossip *g, uint32_t i, const struct vi_id *accusers, unsigned n,
                 const struct gossip_why *why)
{
    for (unsigned j = 0; j < n; j++)
        gsp_confirm(g, i, &accusers[j], why);
}

int gsp_suspect(struct gossip *g, uint32_t i, const struct vi_id *accusers, unsigned n,
                const struct gossip_why *why)
{
    struct gsp_doubt *d = calloc(1, sizeof *d);
    int err;

    if (!d || more(&g->suspects, &g->suspects_cap, g->nsuspects + 1)) {
        free(d);
        g->count.no_memory++;
        return VI_ENOMEM;
    }
    err = gsp_member_state(g, i, GOSSIP_SUSPECT, GOSSIP_SUSPECTED, why);
    if (err) {
        free(d);
        return err;
    }
    d->start = g->now;
    d->why = *why;
    d->accusers[0] = accusers[0];
    d->n = 1;
    d->at = g->nsuspects;
    g->suspects[g->nsuspects++] = i;
    g->m[i].doubt = d;
    g->count.suspected++;
    d->until = VI_NEVER;
    d->ask = g->now + gsp_ask_gap(g) / 2;
    sure(g, i, accusers, n, why); /* the first sets the time, each other one shortens it */
    gsp_rumour(g, i);
    return 0;
}

/* ---- states ---------------------------------------------------------------------------------- */

void gsp_member_effect(struct gossip *g, uint32_t i, enum gossip_state was,
                       enum gossip_change change, const struct gossip_why *why)
{
    struct gossip_effect fx = {.kind = GOSSIP_FX_MEMBER,
                               .id = *gsp_id(&g->m[i]),
                               .addr = g->m[i].word->st.addr,
                               .change = change,
                               .was = was,
                               .state = (enum gossip_state)g->m[i].state,
                               .why = *why};

    fx.why.at = g->now;
    if (!gsp_fx_reserve(g, 1))
        gsp_fx_push(g, &fx);
}

int gsp_member_state(struct gossip *g, uint32_t i, enum gossip_state to, enum gossip_change change,
                     const struct gossip_why *why)
{
    struct gsp_member *m = &g->m[i];
    enum gossip_state was = (enum gossip_state)m->state;
    bool before = gsp_is_up(m);

    if (gsp_fx_reserve(g, 1) || more(&g->order, &g->order_cap, g->norder + 1))
        return VI_ENOMEM;
    g->ndead -= was == GOSSIP_DEAD;
    m->state = (uint8_t)to;
    m->since = (uint32_t)(g->now / GSP_SINCE);
    g->ndead += to == GOSSIP_DEAD;
    if (before && !gsp_is_up(m)) {
        toggle(g, m);
        order_remove(g, i);
        gsp_store_drop_summary(g, gsp_id(m));
    } else if (!before && gsp_is_up(m)) {
        toggle(g, m);
        order_insert(g, i);
    }
    if (to == GOSSIP_ALIVE || to == GOSSIP_LEFT)
        doubt_end(g, i);
    else if (to == GOSSIP_DEAD)
        doubt_unlist(g, m->doubt);
    gsp_member_effect(g, i, was, change, why);
    return 0;
}

void gsp_member_word(struct gossip *g, uint32_t i, struct gsp_word *word)
{
    struct gsp_member *m = &g->m[i];

    if (gsp_is_up(m))
        toggle(g, m);
    gsp_word_free(m->word);
    m->word = word;
    if (gsp_is_up(m))
        toggle(g, m);
}

/* ---- the table ------------------------------------------------------------------------------- */

static int grow_table(struct gossip *g)
{
    uint32_t cap = g->cap + g->cap / 8 + 16;
    struct gsp_member *m;

    if (cap > g->cfg.max_members)
        cap = g->cfg.max_members;
    if (cap <= g->cap)
        return VI_EFULL;
    m = realloc(g->m, cap * sizeof *m);
    if (!m)
        return VI_ENOMEM;
    memset(m + g->cap, 0, (cap - g->cap) * sizeof *m);
    g->m = m;
    g->cap = cap;
    return 0;
}

/* The one longest gone makes room; those who left before those who died. */
static bool make_room(struct gossip *g)
{
    uint32_t best = GSP_NONE;

    for (uint32_t i = 1; i < g->n; i++) {
        const struct gsp_member *m = &g->m[i];

        if (!m->word || gsp_is_up(m))
            continue;
        if (best == GSP_NONE || m->state > g->m[best].state ||
            (m->state == g->m[best].state && m->since < g->m[best].since))
            best = i;
    }
    if (best == GSP_NONE)
        return false;
    gsp_member_remove(g, best);
    return true;
}

static uint32_t take_place(struct gossip *g)
{
    uint32_t i = g->free_head;

    if (i == GSP_NONE && g->n == g->cap) {
        int err = grow_table(g);

        if (err == VI_EFULL && !make_room(g))
            g->count.members_full++;
        if (err == VI_ENOMEM)
            g->count.no_memory++;
        i = g->free_head;
        if (i == GSP_NONE && g->n == g->cap)
            return GSP_NONE;
    }
    if (i != GSP_NONE)
        g->free_head = g->m[i].order;
    else
        i = g->n++;
    return i;
}

static void give_place(struct gossip *g, uint32_t i)
{
    g->m[i] = (struct gsp_member){.order = g->free_head};
    g->free_head = i;
}

uint32_t gsp_member_add(struct gossip *g, struct gsp_word *word, enum gossip_state state)
{
    static const struct gossip_why self = {.reason = GOSSIP_WHY_SELF};
    uint32_t i = GSP_NONE;
    struct gsp_member *m;

    if (gsp_find_prefix(g, word->st.id.b) == GSP_NONE && !gsp_fx_reserve(g, 2) &&
        !more(&g->order, &g->order_cap, g->norder + 1))
        i = take_place(g);
    if (i == GSP_NONE) {
        gsp_word_free(word);
        return GSP_NONE;
    }
    m = &g->m[i];
    *m = (struct gsp_member){.word = word,
                             .since = (uint32_t)(g->now / GSP_SINCE),
                             .order = GSP_NONE,
                             .rumour = GSP_NONE,
                             .part = (uint16_t)(word->st.id.b[0] << 8 | word->st.id.b[1]),
                             .state = (uint8_t)state};
    if (gsp_idmap_add(&g->map, i)) {
        g->count.no_memory++;
        gsp_word_free(word);
        give_place(g, i);
        return GSP_NONE;
    }
    g->members++;
    g->ndead += state == GOSSIP_DEAD;
    if (gsp_is_up(m))
        toggle(g, m);
    if (i == GSP_SELF)
        return i;
    if (gsp_is_up(m)) {
        order_insert(g, i);
        if (g->norder == 1)
            gsp_retry_lost(g); /* not alone any more: other seeds may know others */
    }
    gsp_member_effect(g, i, 0, GOSSIP_UP, &self);
    return i;
}

void gsp_member_remove(struct gossip *g, uint32_t i)
{
    static const struct gossip_why none = {.reason = GOSSIP_WHY_NONE};
    struct gsp_member *m = &g->m[i];

    gsp_member_effect(g, i, (enum gossip_state)m->state, GOSSIP_FORGOTTEN, &none);
    if (gsp_is_up(m))
        toggle(g, m);
    order_remove(g, i);
    doubt_end(g, i);
    gsp_unrumour(g, i);
    gsp_store_drop_summary(g, gsp_id(m));
    gsp_store_drop_own(g, gsp_id(m));
    gsp_idmap_remove(&g->map, i);
    g->ndead -= m->state == GOSSIP_DEAD;
    g->members--;
    gsp_word_free(m->word);
    give_place(g, i);
}

void gsp_members_init(struct gossip *g)
{
    gsp_idmap_init(&g->map, GSP_PREFIX, member_key, g);
    g->free_head = GSP_NONE;
    gsp_rumours_init(g);
}

void gsp_members_free(struct gossip *g)
{
    for (uint32_t i = 0; i < g->n; i++) {
        gsp_word_free(g->m[i].word);
        free(g->m[i].doubt);
    }
    free(g->m);
    free(g->order);
    free(g->suspects);
    free(g->rumour);
    free(g->relay);
    gsp_idmap_free(&g->map);
}
