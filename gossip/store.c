/* Summaries (kind 0, one a member, unsigned advice) and records (kinds 1 …, judged by the owner's
 * call): newest first in a list, found by kind and the first bytes of the key. */
#include "gossip/internal.h"

#include <stdlib.h>
#include <string.h>

/* A summary's version is its host's incarnation and a counter: it grows over restarts, and nobody
 * can use up the numbers of an incarnation that the host hasn't signed yet. */
#define COUNTER_MAX ((UINT32_C(1) << GSP_COUNTER_BITS) - 1)

static const void *entry_key(const void *arg, uint32_t i)
{
    const struct gossip *g = arg;

    return g->store.e[i].tag;
}

void gsp_store_init(struct gossip *g)
{
    struct gsp_store *s = &g->store;

    s->free_head = s->newest = s->oldest = GSP_NONE;
    gsp_idmap_init(&s->map, sizeof s->e->tag, entry_key, g);
}

void gsp_store_free(struct gossip *g)
{
    for (uint32_t i = 0; i < g->store.n; i++)
        if (g->store.e[i].used)
            free(g->store.e[i].bytes);
    free(g->store.e);
    gsp_idmap_free(&g->store.map);
}

static void make_tag(uint8_t tag[1 + GSP_PREFIX], uint8_t kind, const struct vi_id *key)
{
    tag[0] = kind;
    memcpy(tag + 1, key->b, GSP_PREFIX);
}

uint32_t gsp_store_find(const struct gossip *g, uint8_t kind, const struct vi_id *key)
{
    uint8_t tag[1 + GSP_PREFIX];

    make_tag(tag, kind, key);
    return gsp_idmap_find(&g->store.map, tag);
}

static void unlink_entry(struct gsp_store *s, uint32_t i)
{
    struct gsp_entry *e = &s->e[i];

    if (e->prev != GSP_NONE)
        s->e[e->prev].next = e->next;
    else
        s->newest = e->next;
    if (e->next != GSP_NONE)
        s->e[e->next].prev = e->prev;
    else
        s->oldest = e->prev;
}

static void link_newest(struct gsp_store *s, uint32_t i)
{
    struct gsp_entry *e = &s->e[i];

    e->prev = GSP_NONE;
    e->next = s->newest;
    if (s->newest != GSP_NONE)
        s->e[s->newest].prev = i;
    else
        s->oldest = i;
    s->newest = i;
}

static void drop(struct gossip *g, uint32_t i)
{
    struct gsp_store *s = &g->store;

    unlink_entry(s, i);
    gsp_idmap_remove(&s->map, i);
    if (s->e[i].kind)
        s->records--;
    else
        s->summaries--;
    free(s->e[i].bytes);
    s->e[i] = (struct gsp_entry){.next = s->free_head};
    s->free_head = i;
}

void gsp_store_drop_summary(struct gossip *g, const struct vi_id *id)
{
    uint32_t i = gsp_store_find(g, 0, id);

    if (i != GSP_NONE)
        drop(g, i);
}

void gsp_store_drop_origin(struct gossip *g, const struct vi_id *id)
{
    for (uint32_t i = 0; i < g->store.n; i++)
        if (g->store.e[i].used && vi_id_equal(&g->store.e[i].origin, id))
            drop(g, i);
}

/* Records that tell of the peer that said them go with it; what it said of others stays. */
void gsp_store_drop_own(struct gossip *g, const struct vi_id *id)
{
    for (uint32_t i = 0; i < g->store.n; i++)
        if (g->store.e[i].used && g->store.e[i].kind && vi_id_equal(&g->store.e[i].key, id) &&
            vi_id_equal(&g->store.e[i].origin, id))
            drop(g, i);
}

bool gsp_store_over(const struct gossip *g, const struct gsp_entry *e)
{
    return e->kind && e->kind == g->cfg.mortal_kind && g->now - e->born >= g->cfg.mortal_life;
}

void gsp_store_drop_over(struct gossip *g)
{
    for (uint32_t i = 0; g->cfg.mortal_kind && i < g->store.n; i++)
        if (g->store.e[i].used && gsp_store_over(g, &g->store.e[i]))
            drop(g, i);
}

static int room_for(struct gossip *g, const struct gsp_entry *in)
{
    struct gsp_store *s = &g->store;
    uint32_t mine = 0;

    if (!in->kind) /* bounded by the members */
        return s->summaries < g->cfg.max_members ? 0 : VI_EFULL;
    for (uint32_t i = 0; i < s->n; i++)
        mine += s->e[i].used && s->e[i].kind && vi_id_equal(&s->e[i].origin, &in->origin);
    if (s->records < g->cfg.max_records && mine < g->cfg.max_per_origin)
        return 0;
    g->count.records_full++;
    return VI_EFULL;
}

static uint32_t take_place(struct gossip *g)
{
    struct gsp_store *s = &g->store;
    uint32_t i = s->free_head;

    if (i != GSP_NONE) {
        s->free_head = s->e[i].next;
        return i;
    }
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? 2 * s->cap : 16;
        struct gsp_entry *e = realloc(s->e, cap * sizeof *e);

        if (!e)
            return GSP_NONE;
        s->e = e;
        s->cap = cap;
    }
    return s->n++;
}

static int add(struct gossip *g, const struct gsp_entry *in, uint8_t *bytes)
{
    int err = room_for(g, in);
    uint32_t i;

    if (err)
        return err;
    i = take_place(g);
    if (i == GSP_NONE)
        return VI_ENOMEM;
    g->store.e[i] = *in;
    g->store.e[i].used = true;
    g->store.e[i].bytes = bytes;
    if (gsp_idmap_add(&g->store.map, i)) {
        g->store.e[i] = (struct gsp_entry){.next = g->store.free_head};
        g->store.free_head = i;
        return VI_ENOMEM;
    }
    link_newest(&g->store, i);
    if (in->kind)
        g->store.records++;
    else
        g->store.summaries++;
    return 0;
}

static uint16_t check_of(const uint8_t *bytes, size_t len)
{
    struct vi_id h;

    vi_id_hash(&h, "violin record", bytes, len, NULL, 0);
    return (uint16_t)(h.b[0] | h.b[1] << 8);
}

/* Greater version wins; of two with the same version the greater content, so that all choose alike. */
static bool newer(const struct gsp_entry *have, const struct gsp_entry *in, const uint8_t *bytes)
{
    size_t least = have->len < in->len ? have->len : in->len;
    int c;

    if (in->version != have->version)
        return in->version > have->version;
    if (in->check != have->check)
        return in->check > have->check;
    c = memcmp(bytes, have->bytes, least);
    return c > 0 || (!c && in->len > have->len);
}

int gsp_store_put(struct gossip *g, const struct gsp_entry *in, const uint8_t *bytes, bool *changed)
{
    struct gsp_entry put = *in;
    uint32_t i = gsp_store_find(g, in->kind, &in->key);
    uint8_t *copy;
    int err = 0;

    *changed = false;
    make_tag(put.tag, in->kind, &in->key);
    put.check = check_of(bytes, in->len);
    if (i != GSP_NONE && (!vi_id_equal(&g->store.e[i].key, &in->key) ||
                          !newer(&g->store.e[i], &put, bytes)))
        return VI_EEXIST;
    copy = malloc(in->len ? in->len : 1);
    if (!copy || gsp_fx_reserve(g, 1)) {
        free(copy);
        g->count.no_memory++;
        return VI_ENOMEM;
    }
    memcpy(copy, bytes, in->len);
    if (i == GSP_NONE) {
        err = add(g, &put, copy);
    } else {
        struct gsp_entry *e = &g->store.e[i];

        free(e->bytes);
        e->bytes = copy;
        e->len = put.len;
        e->check = put.check;
        e->version = put.version;
        e->origin = put.origin;
        e->born = put.born;
        unlink_entry(&g->store, i);
        link_newest(&g->store, i);
    }
    if (err) {
        g->count.no_memory += err == VI_ENOMEM;
        free(copy);
        return err;
    }
    *changed = true;
    return 0;
}

int gsp_store_set_summary(struct gossip *g, const uint8_t *bytes, size_t len)
{
    struct gsp_entry e = {.key = g->cfg.id, .origin = g->cfg.id, .len = len, .born = g->now};
    uint32_t i = gsp_store_find(g, 0, &g->cfg.id);
    uint64_t base;
    bool changed;

    if (g->store.counter >= COUNTER_MAX) {
        int err = gsp_self_word(g, 0, g->left); /* a new incarnation has new numbers */

        if (err)
            return err;
    }
    base = g->m[GSP_SELF].word->st.incarnation << GSP_COUNTER_BITS;
    e.version = base | ++g->store.counter;
    if (i != GSP_NONE && g->store.e[i].version >= e.version) {
        e.version = g->store.e[i].version + 1;
        g->store.counter = (uint32_t)(e.version & COUNTER_MAX);
    }
    return gsp_store_put(g, &e, bytes, &changed);
}
