/* Questions from outside: members, summaries, records, figures. */
#include "gossip/internal.h"

#include <string.h>

const char *gossip_state_text(enum gossip_state s)
{
    static const char *const text[] = {"unknown", "alive", "suspect", "dead", "left"};

    return s >= GOSSIP_ALIVE && s <= GOSSIP_LEFT ? text[s] : text[0];
}

const char *gossip_change_text(enum gossip_change c)
{
    static const char *const text[] = {"none", "up",      "suspected", "confirmed", "refuted",
                                       "down", "goodbye", "changed",   "forgotten"};

    return c >= GOSSIP_UP && c <= GOSSIP_FORGOTTEN ? text[c] : text[0];
}

const char *gossip_reason_text(enum gossip_reason r)
{
    static const char *const text[] = {"none", "no answer to a probe", "a member said so",
                                       "the suspicion ran out", "its own word"};

    return r >= GOSSIP_WHY_NONE && r <= GOSSIP_WHY_SELF ? text[r] : text[0];
}

static void show(const struct gossip *g, uint32_t i, struct gossip_member *out)
{
    const struct gsp_member *m = &g->m[i];
    const struct gsp_word *w = m->word;

    *out = (struct gossip_member){.id = w->st.id, .state = (enum gossip_state)m->state,
                                  .incarnation = w->st.incarnation, .addr = w->st.addr,
                                  .meta_len = w->st.meta_len, .key = w->key, .cert = w->cert,
                                  .cert_len = w->cert_len, .self = i == GSP_SELF,
                                  .since = (vi_time)m->since * GSP_SINCE, .heard = m->heard};
    memcpy(out->name, w->st.name, w->st.name_len);
    memcpy(out->meta, w->st.meta, w->st.meta_len);
    if (m->doubt)
        out->why = m->doubt->why;
}

bool gossip_member_next(const struct gossip *g, size_t *pos, struct gossip_member *out)
{
    while (*pos < g->n) {
        uint32_t i = (uint32_t)(*pos)++;

        if (g->m[i].word) {
            show(g, i, out);
            return true;
        }
    }
    return false;
}

bool gossip_member_find(const struct gossip *g, const struct vi_id *id, struct gossip_member *out)
{
    uint32_t i = gsp_find(g, id);

    if (i == GSP_NONE)
        return false;
    show(g, i, out);
    return true;
}

uint32_t gossip_alive(const struct gossip *g)
{
    return g->norder + 1;
}

static void show_summary(const struct gsp_entry *e, vi_time now, struct gossip_summary *out)
{
    *out = (struct gossip_summary){.id = e->key, .version = e->version,
                                   .age = now > e->born ? now - e->born : 0,
                                   .bytes = e->bytes, .len = e->len};
}

bool gossip_summary_next(const struct gossip *g, vi_time now, size_t *pos,
                         struct gossip_summary *out)
{
    while (*pos < g->store.n) {
        const struct gsp_entry *e = &g->store.e[(*pos)++];

        if (!e->used || e->kind)
            continue;
        show_summary(e, now, out);
        return true;
    }
    return false;
}

static size_t gcd(size_t a, size_t b)
{
    while (b) {
        size_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* Places as far apart as the number says: neighbours in the table came together, and may be alike. */
void gossip_round(const struct gossip *g, uint64_t drawn, struct gossip_round *r)
{
    size_t n = g->store.n;

    *r = (struct gossip_round){.step = 1, .left = n};
    if (n < 2)
        return;
    r->at = (size_t)(drawn % n);
    r->step = 1 + (size_t)(drawn / n % (n - 1));
    while (gcd(n, r->step) != 1)
        r->step++; /* n - 1 at most */
}

bool gossip_summary_drawn(const struct gossip *g, vi_time now, struct gossip_round *r,
                          struct gossip_summary *out)
{
    for (; r->left > 0; r->left--) {
        const struct gsp_entry *e = &g->store.e[r->at];

        r->at = (r->at + r->step) % g->store.n;
        if (!e->used || e->kind)
            continue;
        r->left--;
        show_summary(e, now, out);
        return true;
    }
    return false;
}

bool gossip_summary_get(const struct gossip *g, vi_time now, const struct vi_id *id,
                        struct gossip_summary *out)
{
    uint32_t i = gsp_store_find(g, 0, id);

    if (i == GSP_NONE || !vi_id_equal(&g->store.e[i].key, id))
        return false;
    show_summary(&g->store.e[i], now, out);
    return true;
}

static void show_record(const struct gossip *g, const struct gsp_entry *e, struct gossip_record *out)
{
    *out = (struct gossip_record){.kind = e->kind, .key = e->key, .origin = e->origin,
                                  .version = e->version, .bytes = e->bytes, .len = e->len,
                                  .age = g->now > e->born ? g->now - e->born : 0};
}

bool gossip_record_next(const struct gossip *g, size_t *pos, struct gossip_record *out)
{
    while (*pos < g->store.n) {
        const struct gsp_entry *e = &g->store.e[(*pos)++];

        if (!e->used || !e->kind)
            continue;
        show_record(g, e, out);
        return true;
    }
    return false;
}

bool gossip_record_get(const struct gossip *g, uint8_t kind, const struct vi_id *key,
                       struct gossip_record *out)
{
    uint32_t i = kind ? gsp_store_find(g, kind, key) : GSP_NONE;

    if (i == GSP_NONE || !vi_id_equal(&g->store.e[i].key, key))
        return false;
    show_record(g, &g->store.e[i], out);
    return true;
}

const struct gossip_counters *gossip_counters(const struct gossip *g)
{
    return &g->count;
}

void gossip_gauges(const struct gossip *g, struct gossip_gauges *out)
{
    *out = (struct gossip_gauges){.health = g->health,
                                  .incarnation = g->m[GSP_SELF].word->st.incarnation,
                                  .rumours = g->rumours, .suspects = g->nsuspects,
                                  .relays = g->nrelays, .seeds = g->nseeds,
                                  .records = g->store.records, .summaries = g->store.summaries,
                                  .effects = (uint32_t)g->fx_len,
                                  .probe_timeout = gsp_probe_timeout(g), .aside = g->aside,
                                  .guarded = g->now < g->hold_until ||
                                             (g->norder >= 3 &&
                                              g->now - g->last_rx > g->cfg.silence &&
                                              g->now - g->last_rx < g->cfg.silence_most)};
    memcpy(out->digest.b, g->digest, sizeof out->digest.b);
}
