/* Simulated peers: their nodes in the engine, what they send each other, and the world that they act upon. See violin.h. */
#include "tests/sim/violin.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/codec.h"
#include "peer/base/err.h"
#include "tests/sim/violin_internal.h"

const char *const violin_channels[VIOLIN_CHANNELS] = {"membership", "federation", "calls", "handovers", "moves", "summaries"};

#define ORDER_AGAIN VI_SEC
#define START_OVER  (5 * VI_SEC) /* the hosts don't all start at once */

void violin_config_init(struct violin_config *c, uint64_t seed)
{
    *c = (struct violin_config){.seed = seed, .warm_up = VIOLIN_WARM_UP,
                                .net = {.delay_min = VI_MSEC, .delay_max = 20 * VI_MSEC, .loss = .01}};
}

/* ---- ids ---- */

struct vn_host *vn_host(struct violin *v, unsigned n)
{
    return world_node(v->w, n);
}

static const void *id_of(const void *arg, uint32_t n)
{
    return ((const struct violin *)arg)->disk[n].id.b;
}

unsigned vn_host_of(const struct violin *v, const struct vi_id *id)
{
    uint32_t n = gsp_idmap_find(&v->by_id, id->b);

    return n == GSP_NONE ? PW_NOWHERE : n;
}

unsigned vn_domain_of(const struct violin *v, const struct vi_id *id)
{
    for (unsigned d = 0; d < v->pw->s->n_domains; d++)
        if (vi_id_equal(&v->domain_id[d], id))
            return d;
    return PW_NOWHERE;
}

/* Guests' and environments' ids carry their numbers, after something that orders them by chance. */
static void number_id(unsigned n, uint8_t kind, struct vi_id *id)
{
    uint32_t mixed = n * UINT32_C(2654435761) ^ kind;

    memset(id, kind, sizeof *id);
    memcpy(id->b, &mixed, 4);
    memcpy(id->b + 4, &n, 4);
}

void vn_guest_id(unsigned guest, struct vi_id *id)
{
    number_id(guest, 'g', id);
}

static unsigned number_of(const struct vi_id *id, uint8_t kind, unsigned most)
{
    struct vi_id same;
    unsigned n;

    memcpy(&n, id->b + 4, 4);
    number_id(n, kind, &same);
    return n < most && vi_id_equal(id, &same) ? n : PW_NOWHERE;
}

unsigned vn_guest_of(const struct violin *v, const struct vi_id *id)
{
    return number_of(id, 'g', v->pw->n_guests);
}

unsigned vn_env_of(const struct violin *v, const struct vi_id *id)
{
    return number_of(id, 'e', v->pw->s->n_envs);
}

unsigned vn_env_of_tag(const struct violin *v, const uint8_t tag[ENV_TAG_SIZE])
{
    unsigned n;

    memcpy(&n, tag + 4, 4);
    return n < v->pw->s->n_envs && !memcmp(v->env_id[n].b, tag, ENV_TAG_SIZE) ? n : PW_NOWHERE;
}

vi_time vn_now(const struct vn_host *h)
{
    return world_node_now(h->v->w, h->n);
}

/* ---- out ---- */

void vn_send(struct vn_host *h, enum violin_channel c, const struct vi_id *to, const uint8_t *data, size_t len)
{
    uint8_t buf[1 + GOSSIP_DATAGRAM_MAX + 100];
    unsigned n = vn_host_of(h->v, to);

    if (n == PW_NOWHERE || len == 0 || len >= sizeof buf)
        return;
    buf[0] = (uint8_t)c;
    memcpy(buf + 1, data, len);
    h->v->count.bytes[c == VIOLIN_GOSSIP && len > 1 && data[1] >= GSP_DIGEST ? VIOLIN_STORE : c] += len + VIOLIN_OVERHEAD;
    world_send(h->v->w, h->n, n, buf, len + 1);
}

void violin_said(const struct vn_host *h, const struct envmove_effect *fx)
{
    unsigned e = vn_env_of(h->v, &fx->env);

    if (h->v->cfg.say)
        printf("%9.3f s  %s.%u, %s: %s\n", (double)(world_now(h->v->w) - h->v->begin) / 1e6,
               h->v->pw->s->domain[h->domain].name, h->n - h->v->pw->s->domain[h->domain].first,
               e == PW_NOWHERE ? "?" : h->v->pw->s->env[e].name, fx->why);
}

/* ---- what takes a while ---- */

static void later_comes(void *arg, struct world *w, uint64_t a)
{
    struct violin *v = arg;
    struct vn_later l = v->later[a];
    struct envmove_event ev = {.kind = ENVMOVE_EV_PERSISTED, .id = l.id};
    struct vn_host *h = vn_host(v, l.host);

    v->later[a].next_free = v->later_free;
    v->later_free = (uint32_t)a;
    if (!h)
        return;
    if (l.kind == VN_MOVE_PERSISTED)
        (void)envmoves_step(h->moves, vn_now(h), &ev);
    else
        vn_handover_later(h, &l);
    vn_pump(h);
    world_touch(w, h->n);
}

void vn_after(struct vn_host *h, vi_time delay, const struct vn_later *l)
{
    struct violin *v = h->v;
    uint32_t at = v->later_free;

    if (at != UINT32_MAX) {
        v->later_free = v->later[at].next_free;
    } else {
        if (v->n_later == v->later_cap) {
            uint32_t cap = v->later_cap ? 2 * v->later_cap : 64;
            struct vn_later *list = realloc(v->later, cap * sizeof *list);

            if (!list) {
                v->no_memory = true;
                return;
            }
            v->later = list;
            v->later_cap = cap;
        }
        at = v->n_later++;
    }
    v->later[at] = *l;
    v->later[at].host = h->n;
    world_at(v->w, world_now(v->w) + delay, later_comes, v, at);
}

/* ---- nodes ---- */

void vn_pump(struct vn_host *h)
{
    bool more = true;

    while (more) {
        more = vn_policy_pump(h);
        more |= vn_moves_pump(h);
        more |= vn_handover_pump(h);
    }
    vn_gossip_pump(h);
}

static void send_call(void *arg, const struct vi_id *peer, const uint8_t *data, size_t len)
{
    vn_send(arg, VIOLIN_CALL, peer, data, len);
}

static int answer_call(void *arg, const struct vi_id *from, unsigned method, const uint8_t *body, size_t len, uint8_t *out)
{
    struct vn_host *h = arg;

    switch (method) {
    case CALL_LOAD:
        return vn_policy_probed(h, from, body, len, out);
    case CALL_MOVES:
        return vn_rules_moves(h, from, body, len, out);
    case CALL_DECLARE:
        vn_declared(h, from);
        return 0;
    case CALL_REDIRECT:
        vn_redirected(h, body, len);
        return 0;
    default:
        return VI_EUNSUPPORTED;
    }
}

static void stop(void *arg, unsigned n, void *node)
{
    struct vn_host *h = node;

    (void)arg, (void)n;
    vn_gossip_close(h);
    policy_free(h->policy);
    envmoves_free(h->moves);
    handovers_free(h->handovers);
    calls_free(h->calls);
    free(h->copy);
    free(h->view);
    free(h);
}

static void *start(void *arg, struct world *w, unsigned n, unsigned life, vi_time now)
{
    struct violin *v = arg;
    struct vn_host *h = calloc(1, sizeof *h);
    struct call_hooks hooks = {.arg = h, .send = send_call, .answer = answer_call};

    (void)w, (void)life, (void)now;
    if (!h)
        return NULL;
    h->v = v;
    h->n = n;
    h->domain = v->pw->host[n].domain;
    h->view = calloc(v->pw->s->n_domains, sizeof *h->view);
    h->calls = calls_new(&hooks, &v->disk[n].rng);
    if (!h->view || !h->calls || !vn_gossip_open(h) || !vn_policy_open(h) || !vn_moves_open(h) || !vn_handover_open(h)) {
        v->no_memory = true;
        stop(arg, n, h);
        return NULL;
    }
    return h;
}

static void deliver(void *arg, unsigned n, void *node, vi_time now, unsigned from, const uint8_t *data, size_t len)
{
    struct violin *v = arg;
    struct vn_host *h = node;
    struct vi_id *id = &v->disk[from].id;
    struct handover_event ho = {.kind = HANDOVER_EV_MESSAGE, .peer = *id, .data = data + 1, .len = len - 1};
    struct envmove_event mv = {.kind = ENVMOVE_EV_MESSAGE, .peer = *id, .data = data + 1, .len = len - 1};

    (void)n;
    switch ((enum violin_channel)data[0]) {
    case VIOLIN_GOSSIP: case VIOLIN_FEDERATION:
        vn_gossip_datagram(h, (enum violin_channel)data[0], from, data + 1, len - 1);
        vn_gossip_pump(h);
        return; /* nothing of the others' can have changed */
    case VIOLIN_CALL:
        calls_message(h->calls, now, id, data + 1, len - 1);
        break;
    case VIOLIN_HANDOVER:
        (void)handovers_step(h->handovers, now, &ho);
        break;
    case VIOLIN_ENVMOVE:
        (void)envmoves_step(h->moves, now, &mv);
        break;
    case VIOLIN_STORE: case VIOLIN_CHANNELS:
        break;
    }
    vn_pump(h);
}

static void tick(void *arg, unsigned n, void *node, vi_time now)
{
    struct vn_host *h = node;
    struct handover_event ev = {.kind = HANDOVER_EV_TICK};

    (void)arg, (void)n;
    vn_gossip_tick(h);
    if (calls_deadline(h->calls) <= now)
        calls_tick(h->calls, now);
    if (handovers_deadline(h->handovers) <= now)
        (void)handovers_step(h->handovers, now, &ev);
    vn_moves_tick(h);
    vn_policy_tick(h);
    vn_pump(h);
}

static vi_time deadline(void *arg, unsigned n, const void *node)
{
    const struct vn_host *h = node;
    vi_time t = vn_gossip_deadline(h), all[4] = {calls_deadline(h->calls), handovers_deadline(h->handovers),
                                                 envmoves_deadline(h->moves), policy_deadline(h->policy)};

    (void)arg, (void)n;
    for (unsigned k = 0; k < 4; k++)
        t = all[k] < t ? all[k] : t;
    return t;
}

/* ---- time ---- */

void vn_catch_up(struct violin *v)
{
    if (v->begun)
        pw_advance(v->pw, world_now(v->w) - v->begin);
}

static void host_changed(struct violin *v, unsigned n)
{
    if (!vn_host(v, n))
        return;
    vn_pump(vn_host(v, n));
    world_touch(v->w, n);
}

/* What the guests' world did by itself is known to the hypervisors. */
static void take_notes(struct violin *v)
{
    vn_hv_streams(v);
    while (v->notes_taken < v->pw->n_notes) {
        const struct pw_note *n = &v->pw->note[v->notes_taken++];

        if (n->kind == PW_CREATED)
            vn_hv_created(v, n->env);
        else if (n->kind == PW_FINISHED)
            vn_hv_ended(v, n->env);
    }
}

/* An operator orders it where the domain's representative is, until it is taken. */
static bool give_order(struct violin *v, const struct pw_order *o)
{
    unsigned first = v->pw->guest[v->pw->env[o->env].first].host;

    for (unsigned n = 0; first != PW_NOWHERE && n < v->pw->s->n_hosts; n++) {
        struct vn_host *h = vn_host(v, n);

        if (h && h->fed && h->domain == v->pw->host[first].domain) {
            int err = vn_moves_order(h, o->env, o->domain);

            host_changed(v, n);
            return err == 0 || err == VI_EEXIST;
        }
    }
    return false;
}

static void orders(struct violin *v)
{
    const struct pw_scenario *s = v->pw->s;

    while (v->next_order < s->n_orders && s->order[v->next_order].at <= v->pw->now && v->order_again <= v->pw->now) {
        if (!give_order(v, &s->order[v->next_order])) {
            v->order_again = v->pw->now + ORDER_AGAIN;
            return;
        }
        v->next_order++;
    }
}

static vi_time next_order_at(const struct violin *v)
{
    vi_time at = v->next_order < v->pw->s->n_orders ? v->pw->s->order[v->next_order].at : VI_NEVER;

    return at == VI_NEVER || at > v->order_again ? at : v->order_again;
}

static bool go_on(struct violin *v, vi_time t, bool until_over)
{
    if (!v->begun) {
        world_run(v->w, v->begin);
        v->begun = true;
        vn_catch_up(v);
    }
    while (!v->no_memory && !v->pw->no_memory && v->pw->now < t && !(until_over && pw_over(v->pw))) {
        vi_time next, order;

        take_notes(v);
        orders(v);
        next = pw_next(v->pw);
        order = next_order_at(v);
        next = next < t ? next : t;
        next = next < order ? next : order;
        while (world_step(v->w, v->begin + next)) {
            take_notes(v);
            if (pw_next(v->pw) < next)
                next = pw_next(v->pw);
        }
        world_run(v->w, v->begin + next);
        vn_catch_up(v);
        take_notes(v);
    }
    return !v->no_memory && !v->pw->no_memory;
}

bool violin_run(struct violin *v, vi_time t)
{
    return go_on(v, t, false);
}

bool violin_play(struct violin *v)
{
    return go_on(v, v->pw->s->length, true);
}

/* ---- the lot ---- */

static void start_one(void *arg, struct world *w, uint64_t n)
{
    (void)arg;
    world_start(w, (unsigned)n);
}

static bool make_disk(struct violin *v, unsigned n)
{
    struct vn_disk *d = &v->disk[n];
    uint8_t seed[32] = {0};

    memcpy(seed, &v->cfg.seed, sizeof v->cfg.seed);
    memcpy(seed + 8, &n, sizeof n);
    crypto_sign_seed_keypair(d->pk, d->sk, seed);
    cert_peer_id(&d->id, d->pk);
    vi_rng_seed(&d->rng, v->cfg.seed * 1000003 + n);
    vi_rng_id(&d->rng, &d->boot);
    vi_rng_id(&d->rng, &d->journal);
    return gsp_idmap_add(&v->by_id, n) == 0;
}

static bool make_ids(struct violin *v)
{
    const struct pw_scenario *s = v->pw->s;

    for (unsigned d = 0; d < s->n_domains; d++)
        fed_domain_key(&v->domain_id[d], s->domain[d].name);
    for (unsigned e = 0; e < s->n_envs; e++)
        number_id(e, 'e', &v->env_id[e]);
    for (unsigned n = 0; n < s->n_hosts; n++)
        if (!make_disk(v, n))
            return false;
    return true;
}

struct violin *violin_new(const struct violin_config *cfg, struct pw_world *pw)
{
    struct violin *v = calloc(1, sizeof *v);
    struct world_config wc = {.seed = cfg->seed, .nodes = pw->s->n_hosts, .net = cfg->net,
                              .ops = {start, stop, deliver, tick, deadline}, .arg = v};

    if (!v || sodium_init() < 0) {
        free(v);
        return NULL;
    }
    v->cfg = *cfg;
    v->pw = pw;
    v->later_free = UINT32_MAX;
    gsp_idmap_init(&v->by_id, VI_ID_SIZE, id_of, v);
    v->disk = calloc(pw->s->n_hosts, sizeof *v->disk);
    v->domain_id = calloc(pw->s->n_domains, sizeof *v->domain_id);
    v->env_id = calloc(pw->s->n_envs + 1, sizeof *v->env_id);
    v->pool = gossip_pool_new();
    v->w = v->disk && v->domain_id && v->env_id && v->pool ? world_new(&wc) : NULL;
    if (!v->w || !make_ids(v) || !vn_rules_open(v)) {
        violin_free(v);
        return NULL;
    }
    v->begin = world_now(v->w) + cfg->warm_up;
    for (unsigned n = 0; n < pw->s->n_hosts; n++)
        world_at(v->w, world_now(v->w) + (vi_time)(vi_rng_unit(world_rng(v->w)) * (double)START_OVER), start_one, v, n);
    return v;
}

void violin_free(struct violin *v)
{
    if (!v)
        return;
    if (v->w)
        vn_hv_free(v);
    world_free(v->w);
    gossip_pool_free(v->pool);
    gsp_idmap_free(&v->by_id);
    free(v->disk);
    free(v->domain_id);
    free(v->env_id);
    free(v->epoch);
    free(v->later);
    for (unsigned k = 0; k < 2; k++)
        free(v->took[k].ns);
    free(v);
}

/* ---- figures ---- */

uint64_t violin_hash(const struct violin *v)
{
    uint64_t hash = world_hash(v->w);

    for (unsigned k = 0; k < v->pw->n_notes; k++) {
        const struct pw_note *n = &v->pw->note[k];

        hash = (hash ^ (uint64_t)n->at ^ (uint64_t)n->kind << 56 ^ (uint64_t)n->env << 40 ^ n->guest) * UINT64_C(1099511628211);
    }
    return hash;
}

const struct violin_count *violin_count(const struct violin *v)
{
    return &v->count;
}

void violin_count_reset(struct violin *v)
{
    memset(&v->count, 0, sizeof v->count);
    v->took[0].n = v->took[1].n = 0;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static bool spread(uint32_t *list, size_t n, double *median, double *p99)
{
    if (!n)
        return false;
    qsort(list, n, sizeof list[0], by_value);
    *median = list[n / 2];
    *p99 = list[n - 1 - n / 100];
    return true;
}

bool violin_evaluations(const struct violin *v, bool looked, double *median, double *p99)
{
    return spread(v->took[looked].ns, v->took[looked].n, median, p99);
}

bool violin_ages(const struct violin *v, double *median, double *p99)
{
    size_t n = 0, most = 0;
    uint32_t *age;
    bool ok;

    for (unsigned d = 0; d < v->pw->s->n_domains; d++)
        most += (size_t)v->pw->s->domain[d].hosts * v->pw->s->domain[d].hosts;
    age = malloc(most * sizeof *age);
    for (unsigned h = 0; age && h < v->pw->s->n_hosts; h++) {
        const struct vn_host *host = vn_host((struct violin *)(uintptr_t)v, h);
        struct gossip_summary s;
        size_t pos = 0;

        while (host && n < most && gossip_summary_next(host->gossip, vn_now(host), &pos, &s))
            if (!vi_id_equal(&s.id, &v->disk[h].id))
                age[n++] = (uint32_t)(s.age / VI_MSEC);
    }
    ok = spread(age, n, median, p99);
    free(age);
    *median /= 1e3;
    *p99 /= 1e3;
    return ok;
}
