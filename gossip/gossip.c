/* The core: events in, deadline out, questions from outside. */
#include "gossip/internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- configuration ---------------------------------------------------------------------------- */

void gossip_config_domain(struct gossip_config *c)
{
    *c = (struct gossip_config){
        .probe_interval = VI_SEC,
        .timeout_min = 100 * VI_MSEC,
        .timeout_max = 500 * VI_MSEC,
        .indirect = 3,
        .health_max = 8,
        .alpha = 2,
        .beta = 6,
        .confirmations = 3,
        .buddy = true,
        .gossip_interval = 200 * VI_MSEC,
        .gossip_fanout = 3,
        .retransmit = 4,
        .sync_interval = 10 * VI_SEC,
        .lost_every = 4,
        .store_interval = VI_SEC,
        .store_datagrams = 3,
        .lag_limit = 250 * VI_MSEC,
        .silence = 3 * VI_SEC,
        .silence_most = 15 * VI_SEC,
        .aside_failures = 3,
        .aside_answers = 16,
        .dead_keep = 24 * VI_HOUR,
        .max_members = 12000,
        .max_records = 4096,
        .max_per_origin = 256,
    };
}

void gossip_config_federation(struct gossip_config *c)
{
    gossip_config_domain(c);
    c->probe_interval = 3 * VI_SEC;
    c->timeout_min = c->timeout_max = 1500 * VI_MSEC;
    c->alpha = 4;
    c->gossip_interval = 500 * VI_MSEC;
    c->gossip_fanout = 4;
    c->sync_interval = 15 * VI_SEC;
    c->lost_every = 2;
    c->store_interval = 2 * VI_SEC;
    c->silence = 9 * VI_SEC;
    c->silence_most = 45 * VI_SEC;
}

static bool config_ok(const struct gossip_config *c)
{
    struct vi_id id;

    vi_id_hash(&id, "violin peer", c->key, GOSSIP_KEY, NULL, 0);
    return vi_id_equal(&id, &c->id) && c->addr.len <= GOSSIP_ADDR_MAX &&
           memchr(c->name, 0, sizeof c->name) && c->meta_len <= GOSSIP_META_MAX &&
           c->cert_len <= GOSSIP_CERT_MAX && c->initial_incarnation < UINT64_MAX / 2 &&
           c->probe_interval >= 10 * VI_MSEC && c->timeout_min > 0 &&
           c->timeout_max >= c->timeout_min && c->timeout_max <= c->probe_interval &&
           c->indirect <= GSP_HELPERS && c->health_max <= 64 && c->alpha >= 1 && c->beta >= 1 &&
           c->confirmations < GSP_ACCUSERS && c->gossip_interval > 0 && c->gossip_fanout >= 1 &&
           c->gossip_fanout <= 16 && c->retransmit >= 1 && c->sync_interval > 0 && c->lost_every >= 1 &&
           c->store_interval > 0 && c->store_datagrams >= 1 && c->lag_limit > 0 &&
           (!c->mortal_kind || (c->mortal_life > 0 && c->mortal_life <= VI_HOUR)) &&
           c->max_members >= 2 && c->max_members <= 1000000 && c->sign && c->verify && c->admit;
}

/* ---- life ----------------------------------------------------------------------------------------- */

static int add_self(struct gossip *g)
{
    struct gsp_statement st = {.id = g->cfg.id, .incarnation = g->cfg.initial_incarnation};
    static const uint8_t none[GOSSIP_SIG];
    struct gsp_word *w;

    st.name_len = (uint8_t)strlen(g->cfg.name);
    memcpy(st.name, g->cfg.name, st.name_len);
    w = gsp_word_new(g, &st, none, g->cfg.key, g->cfg.cert, g->cfg.cert_len);
    if (!w || gsp_member_add(g, w, GOSSIP_ALIVE) != GSP_SELF)
        return VI_ENOMEM;
    return gsp_self_word(g, 0, false);
}

struct gossip *gossip_new(const struct gossip_config *cfg, struct vi_rng *rng, vi_time now)
{
    struct gossip *g;

    if (!config_ok(cfg))
        return NULL;
    g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->cfg = *cfg;
    g->rng = rng;
    g->now = g->last_rx = now;
    g->reserved = cfg->initial_incarnation;
    g->seq = (uint32_t)vi_rng_u64(rng);
    g->join_gap = 500 * VI_MSEC;
    g->next_probe_at = now + (vi_time)(vi_rng_unit(rng) * (double)cfg->probe_interval);
    g->next_gossip = now;
    g->next_sync = now + (vi_time)(vi_rng_unit(rng) * (double)cfg->sync_interval);
    g->next_store = now + (vi_time)(vi_rng_unit(rng) * (double)cfg->store_interval);
    g->next_join = now;
    gsp_members_init(g);
    gsp_store_init(g);
    if (add_self(g)) {
        gossip_free(g);
        return NULL;
    }
    return g;
}

void gossip_free(struct gossip *g)
{
    if (!g)
        return;
    gsp_fx_free(g);
    gsp_store_free(g);
    gsp_members_free(g);
    free(g);
}

/* ---- time -------------------------------------------------------------------------------------------- */

static vi_time least(vi_time a, vi_time b)
{
    return a < b ? a : b;
}

vi_time gossip_deadline(const struct gossip *g)
{
    vi_time t = VI_NEVER;

    if (g->gone)
        return VI_NEVER;
    if (g->left)
        return g->next_gossip;
    t = least(gsp_probe_deadline(g), least(gsp_relay_deadline(g), gsp_doubt_deadline(g)));
    if (g->norder)
        t = least(t, g->next_store);
    if (g->norder && g->rumours)
        t = least(t, g->next_gossip);
    if (g->norder || g->nseeds || g->members > 1)
        t = least(t, g->next_sync);
    if (!g->norder && g->nseeds)
        t = least(t, g->next_join);
    return t;
}

#define GOODBYES 3

static void leave_tick(struct gossip *g)
{
    struct gossip_effect fx = {.kind = GOSSIP_FX_GONE};
    uint32_t to[16];
    unsigned n;

    if (g->gone || g->now < g->next_gossip)
        return;
    g->next_gossip = g->now + g->cfg.gossip_interval;
    n = g->leaving ? gsp_pick(g, NULL, 8, to) : 0;
    for (unsigned k = 0; k < n; k++) {
        uint8_t buf[GOSSIP_DATAGRAM_MAX];
        struct gsp_out o;

        gsp_begin(g, &o, buf, GSP_GOSSIP);
        gsp_put_about(g, &o, GSP_SELF);
        gsp_piggyback(g, &o, to[k]);
        gsp_send(g, gsp_id(&g->m[to[k]]), &g->m[to[k]].word->st.addr, &o);
    }
    if (g->leaving && --g->leaving && n)
        return;
    if (gsp_fx_reserve(g, 1))
        return;
    g->gone = true;
    gsp_fx_push(g, &fx);
}

static void tick(struct gossip *g)
{
    if (g->left) {
        leave_tick(g);
        return;
    }
    gsp_aside_tick(g);
    gsp_probe_tick(g);
    gsp_relay_tick(g);
    gsp_doubt_tick(g);
    if (g->norder && g->rumours && g->now >= g->next_gossip)
        gsp_gossip_tick(g);
    if (g->norder && g->now >= g->next_store)
        gsp_store_tick(g);
    if (!g->norder && g->nseeds && g->now >= g->next_join)
        gsp_join_tick(g);
    if (g->now >= g->next_sync)
        gsp_sync_tick(g);
}

/* ---- datagrams ----------------------------------------------------------------------------------------- */

/* Bodies that are read before the items; the rest of the work is done after them. */
struct body {
    enum gsp_type type;
    uint32_t seq;
    struct vi_id target;
    struct gsp_cur at; /* HASH: its fields, read once the items are known */
};

static void skip(struct gsp_cur *c, size_t len)
{
    gsp_get(c, len);
}

static bool read_body(struct gsp_cur *c, struct body *b)
{
    if (b->type == GSP_PING || b->type == GSP_ACK || b->type == GSP_NACK ||
        b->type == GSP_PING_REQ)
        b->seq = gsp_get_u32(c);
    if (b->type == GSP_PING_REQ)
        gsp_get_id(c, &b->target);
    b->at = *c;
    if (b->type == GSP_HASH)
        skip(c, 4 + VI_ID_SIZE);
    return !c->bad;
}

static void answer_body(struct gossip *g, const struct vi_id *from, struct body *b)
{
    uint32_t i = gsp_find(g, from);

    switch (b->type) {
    case GSP_PING:
        gsp_on_ping(g, from, b->seq);
        break;
    case GSP_PING_REQ:
        gsp_on_ping_req(g, from, b->seq, &b->target);
        break;
    case GSP_ACK:
        gsp_on_ack(g, from, b->seq);
        break;
    case GSP_NACK:
        gsp_on_nack(g, from, b->seq);
        break;
    case GSP_JOIN:
        gsp_on_join(g, from);
        break;
    case GSP_PULL:
        gsp_on_pull(g, from, &b->at);
        break;
    case GSP_HASH:
        if (i != GSP_NONE)
            gsp_on_hash(g, i, &b->at);
        break;
    default:
        break;
    }
}

/* Messages without items; only from members. */
static void lists(struct gossip *g, uint32_t i, struct body *b)
{
    if (b->type == GSP_BUCKETS)
        gsp_on_buckets(g, i, &b->at);
    else if (b->type == GSP_LIST)
        gsp_on_list(g, i, &b->at);
    else if (b->type == GSP_DIGEST)
        gsp_on_digest(g, i, &b->at);
    else if (b->type == GSP_VALUES)
        gsp_on_values(g, i, &b->at);
    else if (b->type == GSP_WANT)
        gsp_on_want(g, i, &b->at);
    g->count.rx_malformed += b->at.bad;
}

static void datagram(struct gossip *g, const struct vi_id *from, const uint8_t *data, size_t len)
{
    struct body b = {0};
    bool full = false;
    struct gsp_cur c;
    uint32_t i;

    gsp_cur_init(&c, data, len);
    g->count.rx++;
    g->count.rx_bytes += len;
    if (gsp_get_u8(&c) != GOSSIP_WIRE || len > GOSSIP_DATAGRAM_MAX) {
        g->count.rx_version++;
        return;
    }
    b.type = (enum gsp_type)gsp_get_u8(&c);
    if (b.type < GSP_PING || b.type > GSP_WANT || !read_body(&c, &b)) {
        g->count.rx_malformed++;
        return;
    }
    g->last_rx = g->now;
    i = gsp_find(g, from);
    if (i != GSP_NONE)
        g->m[i].heard = g->now;
    if (b.type < GSP_BUCKETS)
        gsp_items(g, from, &c, &full);
    i = gsp_find(g, from);
    if (i == GSP_NONE) {
        g->count.rx_unknown++;
        if (!full) /* who is that? (once refused, not asked again by its own full word) */
            gsp_want(g, from, from->b);
    } else if (b.type >= GSP_BUCKETS && b.type != GSP_PULL && gsp_is_up(&g->m[i])) {
        lists(g, i, &b);
        return;
    } else if (!gsp_is_up(&g->m[i]) || g->m[i].state == GOSSIP_SUSPECT) {
        gsp_tell(g, i);
    }
    answer_body(g, from, &b);
}

/* ---- the owner's events ----------------------------------------------------------------------------------- */

static int leave(struct gossip *g)
{
    int err = gsp_self_word(g, 0, true);

    if (err)
        return err;
    g->left = true;
    g->leaving = GOODBYES;
    g->next_gossip = g->now;
    leave_tick(g);
    return 0;
}

static int set_self(struct gossip *g, const struct gossip_event *ev)
{
    if ((ev->self.addr && ev->self.addr->len > GOSSIP_ADDR_MAX) ||
        (ev->self.meta && ev->self.meta_len > GOSSIP_META_MAX) ||
        (ev->self.cert && ev->self.cert_len > GOSSIP_CERT_MAX))
        return VI_EINVAL;
    if (ev->self.addr)
        g->cfg.addr = *ev->self.addr;
    if (ev->self.meta) {
        memcpy(g->cfg.meta, ev->self.meta, ev->self.meta_len);
        g->cfg.meta_len = ev->self.meta_len;
    }
    if (ev->self.cert) {
        memcpy(g->cfg.cert, ev->self.cert, ev->self.cert_len);
        g->cfg.cert_len = ev->self.cert_len;
    }
    return gsp_self_word(g, 0, false);
}

static int set_record(struct gossip *g, const struct gossip_event *ev)
{
    struct gsp_entry e = {.kind = ev->record.kind, .key = ev->record.key,
                          .origin = ev->record.origin, .version = ev->record.version,
                          .len = ev->record.len, .born = g->now - ev->record.age};
    bool changed;

    if (!e.kind || !e.len || e.len > GOSSIP_RECORD_MAX || ev->record.age < 0 || gsp_store_over(g, &e))
        return VI_EINVAL;
    return gsp_store_put(g, &e, ev->record.bytes, &changed);
}

static int forget(struct gossip *g, const struct vi_id *id)
{
    uint32_t i = gsp_find(g, id);

    if (i == GSP_SELF)
        return VI_EINVAL;
    gsp_store_drop_origin(g, id);
    for (unsigned k = 0; k < g->nseeds; k++)
        if (vi_id_equal(&g->seed[k].id, id)) {
            g->seed[k] = g->seed[--g->nseeds];
            break;
        }
    if (i == GSP_NONE)
        return VI_ENOTFOUND;
    gsp_member_remove(g, i);
    return 0;
}

/* Members of whom we have a newer word than certificate. */
static void recheck(struct gossip *g)
{
    for (uint32_t i = GSP_SELF + 1; i < g->n; i++) {
        const struct gsp_word *w = g->m[i].word;

        if (w && gsp_is_up(&g->m[i]) && gsp_cert_tag(w->cert, w->cert_len) != w->st.cert_tag)
            gsp_want(g, &w->st.id, w->st.id.b);
    }
}

static void hint(struct gossip *g, const struct vi_id *id, bool reachable)
{
    uint32_t i = gsp_find(g, id);

    if (i == GSP_NONE || i == GSP_SELF)
        return;
    if (!reachable)
        g->hint = *id;
    else if (!gsp_is_up(&g->m[i]))
        gsp_send_hash(g, i); /* with what we believe of it */
}

static int own_event(struct gossip *g, const struct gossip_event *ev)
{
    if (g->left)
        return VI_ESTATE;
    switch (ev->kind) {
    case GOSSIP_EV_REACHABLE:
    case GOSSIP_EV_UNREACHABLE:
        hint(g, &ev->peer, ev->kind == GOSSIP_EV_REACHABLE);
        return 0;
    case GOSSIP_EV_SEED:
        if (ev->seed.addr.len > GOSSIP_ADDR_MAX)
            return VI_EINVAL;
        return gsp_seed_add(g, &ev->seed.id, &ev->seed.addr);
    case GOSSIP_EV_LEAVE:
        return leave(g);
    case GOSSIP_EV_SET_SELF:
        return set_self(g, ev);
    case GOSSIP_EV_SET_SUMMARY:
        if (ev->summary.len > GOSSIP_SUMMARY_MAX)
            return VI_EINVAL;
        return gsp_store_set_summary(g, ev->summary.bytes, ev->summary.len);
    case GOSSIP_EV_SET_RECORD:
        return set_record(g, ev);
    case GOSSIP_EV_FORGET:
        return forget(g, &ev->peer);
    case GOSSIP_EV_RECHECK:
        recheck(g);
        return 0;
    default:
        return VI_EINVAL;
    }
}

int gossip_step(struct gossip *g, vi_time now, const struct gossip_event *ev)
{
    vi_time due = gossip_deadline(g);

    if (now > g->now)
        g->now = now;
    if (due != VI_NEVER && g->now - due > g->cfg.lag_limit && !g->left)
        gsp_lagged(g, g->now - due);
    switch (ev->kind) {
    case GOSSIP_EV_TICK:
        tick(g);
        return 0;
    case GOSSIP_EV_DATAGRAM:
        if (!g->left && !vi_id_equal(&ev->datagram.from, &g->cfg.id))
            datagram(g, &ev->datagram.from, ev->datagram.data, ev->datagram.len);
        return 0;
    case GOSSIP_EV_LAG:
        if (ev->lag > g->cfg.lag_limit)
            gsp_lagged(g, ev->lag);
        return 0;
    default:
        return own_event(g, ev);
    }
}
