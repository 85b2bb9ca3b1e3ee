/* Members' own words: made once, never changed, counted, so that the table, and where many cores run
 * in one process all of their tables (gossip_pool), can share one. */
#include "gossip/internal.h"

#include <stdlib.h>
#include <string.h>

#define POOL_FIRST 256

struct gossip_pool {
    struct gsp_word **bucket;
    uint32_t mask, n;
};

struct gossip_pool *gossip_pool_new(void)
{
    struct gossip_pool *p = calloc(1, sizeof *p);

    if (p)
        p->bucket = calloc(POOL_FIRST, sizeof *p->bucket);
    if (!p || !p->bucket) {
        free(p);
        return NULL;
    }
    p->mask = POOL_FIRST - 1;
    return p;
}

void gossip_pool_free(struct gossip_pool *p)
{
    if (p)
        free(p->bucket);
    free(p);
}

/* A signature's bytes are as good as random. */
static uint32_t home(const struct gossip_pool *p, const uint8_t *sig)
{
    uint32_t h;

    memcpy(&h, sig, sizeof h);
    return h & p->mask;
}

/* No memory: the chains grow longer, nothing else. */
static void pool_grow(struct gossip_pool *p)
{
    uint32_t size = 2 * (p->mask + 1), old = p->mask + 1;
    struct gsp_word **from = p->bucket, **to = calloc(size, sizeof *to);

    if (!to)
        return;
    p->bucket = to;
    p->mask = size - 1;
    for (uint32_t k = 0; k < old; k++) {
        for (struct gsp_word *w = from[k], *next; w; w = next) {
            uint32_t at = home(p, w->sig);

            next = w->chain;
            w->chain = to[at];
            to[at] = w;
        }
    }
    free(from);
}

static struct gsp_word *pool_find(const struct gossip_pool *p, const uint8_t *sig,
                                  const uint8_t *cert, size_t cert_len)
{
    for (struct gsp_word *w = p->bucket[home(p, sig)]; w; w = w->chain)
        if (!memcmp(w->sig, sig, GOSSIP_SIG) && w->cert_len == cert_len &&
            (!cert_len || !memcmp(w->cert, cert, cert_len)))
            return w;
    return NULL;
}

static void pool_remove(struct gossip_pool *p, struct gsp_word *w)
{
    struct gsp_word **at = &p->bucket[home(p, w->sig)];

    while (*at && *at != w)
        at = &(*at)->chain;
    if (*at) {
        *at = w->chain;
        p->n--;
    }
}

uint32_t gsp_cert_tag(const uint8_t *cert, size_t len)
{
    struct vi_id h;

    vi_id_hash(&h, "violin member certificate", cert, len, NULL, 0);
    return (uint32_t)h.b[0] | (uint32_t)h.b[1] << 8 | (uint32_t)h.b[2] << 16 |
           (uint32_t)h.b[3] << 24;
}

static void hash_of(struct gsp_word *w)
{
    uint8_t inc[8];

    for (int i = 0; i < 8; i++)
        inc[i] = (uint8_t)(w->st.incarnation >> (8 * i));
    vi_id_hash(&w->hash, "violin member digest", w->st.id.b, VI_ID_SIZE, inc, sizeof inc);
}

struct gsp_word *gsp_word_new(struct gossip *g, const struct gsp_statement *st, const uint8_t *sig,
                              const uint8_t *key, const uint8_t *cert, size_t cert_len)
{
    struct gossip_pool *p = g->cfg.pool;
    struct gsp_word *w = p ? pool_find(p, sig, cert, cert_len) : NULL;

    if (w && vi_id_equal(&w->st.id, &st->id) && w->st.incarnation == st->incarnation) {
        w->refs++;
        return w;
    }
    w = malloc(sizeof *w + cert_len);
    if (!w)
        return NULL;
    w->refs = 1;
    w->pool = p;
    w->chain = NULL;
    w->st = *st;
    memcpy(w->sig, sig, GOSSIP_SIG);
    memcpy(w->key, key, GOSSIP_KEY);
    w->cert_len = (uint16_t)cert_len;
    if (cert_len)
        memcpy(w->cert, cert, cert_len);
    hash_of(w);
    if (p) {
        if (p->n > 2 * p->mask)
            pool_grow(p);
        w->chain = p->bucket[home(p, w->sig)];
        p->bucket[home(p, w->sig)] = w;
        p->n++;
    }
    return w;
}

void gsp_word_free(struct gsp_word *w)
{
    if (!w || --w->refs)
        return;
    if (w->pool)
        pool_remove(w->pool, w);
    free(w);
}

bool gsp_word_shared(const struct gossip *g, const struct gsp_read_item *it)
{
    const struct gsp_word *w;

    if (!g->cfg.pool)
        return false;
    w = pool_find(g->cfg.pool, it->sig, it->cert, it->cert_len);
    return w && w->st.incarnation == it->st.incarnation && vi_id_equal(&w->st.id, &it->st.id) &&
           !memcmp(w->key, it->key, GOSSIP_KEY);
}
