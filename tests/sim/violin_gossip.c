/* A simulated peer's gossip: its domain's, who represents it, the representatives' own, and what is carried between the
 * two: summaries one way, views the other. As peer/daemon_gossip.c and daemon_represent.c do, by the same peer/represent.c; certificates and signatures
 * of members' words are stubs (peers_stub), records are the program's. */
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/represent.h"
#include "tests/sim/gossip_peers.h"
#include "tests/sim/violin_internal.h"

/* ---- the cores' calls ---- */

static void sign(void *arg, const uint8_t *data, size_t len, uint8_t sig[GOSSIP_SIG])
{
    struct vn_host *h = arg;

    peers_stub(sig, data, len, h->v->disk[h->n].pk);
}

static bool verify(void *arg, const uint8_t key[GOSSIP_KEY], const uint8_t *data, size_t len, const uint8_t sig[GOSSIP_SIG])
{
    uint8_t want[GOSSIP_SIG];

    (void)arg;
    peers_stub(want, data, len, key);
    return !memcmp(want, sig, sizeof want);
}

/* The certificate is the domain's number. */
static bool admit_own(void *arg, const struct vi_id *id, const uint8_t key[GOSSIP_KEY], const uint8_t *cert, size_t len)
{
    struct vn_host *h = arg;

    (void)id, (void)key;
    return len == sizeof h->domain && !memcmp(cert, &h->domain, sizeof h->domain);
}

static bool admit_any(void *arg, const struct vi_id *id, const uint8_t key[GOSSIP_KEY], const uint8_t *cert, size_t len)
{
    (void)arg, (void)id, (void)key, (void)cert;
    return len == sizeof(unsigned);
}

static bool accept_record(void *arg, uint8_t kind, const struct vi_id *key, const struct vi_id *origin, uint64_t version,
                   const uint8_t *bytes, size_t len)
{
    (void)arg, (void)key, (void)origin, (void)version, (void)bytes;
    return len <= GOSSIP_RECORD_MAX && (kind == FED_RECORD_SUMMARY || kind == FED_RECORD_VIEW || kind == ENV_RECORD_TAKES_PART);
}

static struct gossip *new_core(struct vn_host *h, bool fed)
{
    struct vn_disk *d = &h->v->disk[h->n];
    struct gossip_config c;

    if (fed)
        gossip_config_federation(&c);
    else
        gossip_config_domain(&c);
    c.id = d->id;
    memcpy(c.key, d->pk, sizeof c.key);
    memcpy(c.cert, &h->domain, sizeof h->domain);
    c.cert_len = sizeof h->domain;
    snprintf(c.name, sizeof c.name, "host-%u", h->n);
    if (!fed) {
        rep_meta_encode(&h->meta, c.meta);
        c.meta_len = REP_META;
    }
    c.initial_incarnation = fed ? d->fed_incarnation : d->incarnation;
    c.pool = fed ? NULL : h->v->pool;
    c.arg = h;
    c.sign = sign;
    c.verify = verify;
    c.admit = fed ? admit_any : admit_own;
    c.accept = accept_record;
    return gossip_new(&c, &d->rng, vn_now(h));
}

static void seed(struct vn_host *h, struct gossip *g, unsigned to)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_SEED, .seed = {.id = h->v->disk[to].id}};

    if (to != h->n)
        (void)gossip_step(g, vn_now(h), &ev);
}

static void put(struct vn_host *h, struct gossip *g, unsigned kind, const struct vi_id *key, uint64_t version,
                const uint8_t *bytes, int len)
{
    if (len > 0)
        (void)represent_put(g, vn_now(h), kind, key, &h->v->disk[h->n].id, version, bytes, (size_t)len, 0);
}

bool vn_alive(const struct vn_host *h, const struct vi_id *id)
{
    struct gossip_member m;

    return gossip_member_find(h->gossip, id, &m) && m.state == GOSSIP_ALIVE;
}

/* ---- who represents ---- */

void vn_declared(struct vn_host *h, const struct vi_id *from)
{
    bool tell;

    if (!represent_declared(&h->rep, vn_now(h), h->gossip, from, &tell) && tell)
        calls_tell(h->calls, from, CALL_DECLARE, NULL, 0);
}

/* ---- the representatives' gossip ---- */

static bool has_representative(struct vn_host *h, unsigned domain)
{
    struct gossip_member m;
    size_t pos = 0;

    while (gossip_member_next(h->fed, &pos, &m)) {
        unsigned n = vn_host_of(h->v, &m.id);

        if (m.state == GOSSIP_ALIVE && n != PW_NOWHERE && h->v->pw->host[n].domain == domain)
            return true;
    }
    return false;
}

/* A domain's contacts are its first hosts. */
static void seeds(struct vn_host *h)
{
    const struct pw_scenario *s = h->v->pw->s;

    for (unsigned d = 0; d < s->n_domains; d++) {
        if (d == h->domain || has_representative(h, d))
            continue;
        for (unsigned k = 0; k < FED_SEEDS && k < s->domain[d].hosts; k++)
            seed(h, h->fed, s->domain[d].first + k);
        if (h->view[d].version && vn_host_of(h->v, &h->view[d].rep) != PW_NOWHERE)
            seed(h, h->fed, vn_host_of(h->v, &h->view[d].rep));
    }
}

/* A domain's representative is found: its other hosts are left in peace. */
static void forget_seeds(struct vn_host *h, unsigned domain, unsigned but)
{
    const struct pw_domain *d = &h->v->pw->s->domain[domain];
    struct gossip_event ev = {.kind = GOSSIP_EV_FORGET};
    struct gossip_member m;

    for (unsigned k = 0; k < FED_SEEDS && k < d->hosts; k++) {
        ev.peer = h->v->disk[d->first + k].id;
        if (d->first + k != but && !gossip_member_find(h->fed, &ev.peer, &m))
            (void)gossip_step(h->fed, vn_now(h), &ev);
    }
}

static void fed_member(struct vn_host *h, const struct gossip_effect *fx)
{
    unsigned n = vn_host_of(h->v, &fx->id);

    if (n == PW_NOWHERE)
        return;
    if (fx->change == GOSSIP_UP)
        forget_seeds(h, h->v->pw->host[n].domain, n);
    else if (fx->change == GOSSIP_DOWN || fx->change == GOSSIP_GOODBYE)
        seeds(h);
    h->view_at = 0;
}

void vn_redirected(struct vn_host *h, const uint8_t *data, size_t len)
{
    struct vi_id id;

    if (!h->fed || len != sizeof id.b)
        return;
    memcpy(id.b, data, sizeof id.b);
    if (vn_host_of(h->v, &id) != PW_NOWHERE)
        seed(h, h->fed, vn_host_of(h->v, &id));
}

static void redirect(struct vn_host *h, unsigned from)
{
    const struct vi_id *rep = rep_current(&h->rep, vn_now(h));

    if (rep && vn_host_of(h->v, rep) != h->n)
        calls_tell(h->calls, &h->v->disk[from].id, CALL_REDIRECT, rep->b, sizeof rep->b);
}

/* ---- summaries and views ---- */

static void publish_summary(struct vn_host *h)
{
    const struct vi_id *key = &h->v->domain_id[h->domain];
    struct fed_summary s = {.version = represent_version(h->fed, key, (uint64_t)vn_now(h))};
    uint8_t b[FED_SUMMARY_MAX];

    snprintf(s.domain, sizeof s.domain, "%s", h->v->pw->s->domain[h->domain].name);
    represent_count(h->gossip, &s);
    vn_policy_domain_load(h, &s);
    put(h, h->fed, FED_RECORD_SUMMARY, key, s.version, b,
        fed_summary_encode(&s, h->v->disk[h->n].sk, b, sizeof b));
}

static void take_view(struct vn_host *h, const uint8_t *bytes, size_t len)
{
    struct fed_view f;
    struct vi_id key;
    struct vn_view *v;
    unsigned d;

    if (fed_view_decode(&f, bytes, len))
        return;
    fed_domain_key(&key, f.summary.domain);
    d = vn_domain_of(h->v, &key);
    if (d == PW_NOWHERE)
        return;
    v = &h->view[d];
    if (f.summary.version > v->summary_version)
        v->heard = vn_now(h);
    v->version = f.version;
    v->summary_version = f.summary.version;
    v->free_kb = f.summary.memory_free_mib * 1024;
    v->capacity_pct = f.summary.cpu_pct;
    v->demand_pct = f.summary.cpu_used_pct;
    cert_peer_id(&v->rep, f.rep.ed);
}

static void publish_view(struct vn_host *h, unsigned rep)
{
    unsigned d = h->v->pw->host[rep].domain;
    struct fed_view v;
    uint8_t b[FED_RECORD_MAX];
    int n;

    represent_view(h->fed, &h->v->domain_id[d], h->v->pw->s->domain[d].name, (uint64_t)vn_now(h), h->view[d].version, &v);
    memcpy(v.rep.ed, h->v->disk[rep].pk, sizeof v.rep.ed);
    snprintf(v.rep.addr, sizeof v.rep.addr, "192.0.2.1:7000");
    snprintf(v.rep_host, sizeof v.rep_host, "host-%u", rep);
    n = fed_view_encode(&v, h->v->disk[h->n].sk, b, sizeof b);
    put(h, h->gossip, FED_RECORD_VIEW, &h->v->domain_id[d], v.version, b, n);
    if (n > 0)
        take_view(h, b, (size_t)n);
}

static void publish_views(struct vn_host *h)
{
    struct gossip_member m;
    size_t pos = 0;

    while (gossip_member_next(h->fed, &pos, &m)) {
        unsigned n = vn_host_of(h->v, &m.id);

        if (!m.self && m.state == GOSSIP_ALIVE && n != PW_NOWHERE && h->v->pw->host[n].domain != h->domain)
            publish_view(h, n);
    }
}

/* Who represents knows it at once; its members, from the next view. */
static void summary_came(struct vn_host *h, const struct vi_id *key)
{
    unsigned d = vn_domain_of(h->v, key);
    struct gossip_record r;
    struct fed_summary s;
    struct vn_view *v;

    if (d == PW_NOWHERE || !gossip_record_get(h->fed, FED_RECORD_SUMMARY, key, &r) || fed_summary_decode(&s, r.bytes, r.len))
        return;
    v = &h->view[d];
    if (!v->version || s.version <= v->summary_version)
        return;
    v->heard = vn_now(h);
    v->summary_version = s.version;
    v->free_kb = s.memory_free_mib * 1024;
    v->capacity_pct = s.cpu_pct;
    v->demand_pct = s.cpu_used_pct;
}

/* Of a domain of which our members heard nothing lately? */
static bool is_news(struct vn_host *h, const struct vi_id *key)
{
    unsigned d = vn_domain_of(h->v, key);

    return d != PW_NOWHERE && !represent_fresh(vn_now(h), h->view[d].heard);
}

void vn_gossip_summary(struct vn_host *h, const uint8_t *data, size_t len)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_SET_SUMMARY, .summary = {.bytes = data, .len = len}};

    (void)gossip_step(h->gossip, vn_now(h), &ev);
}

void vn_gossip_takes_part(struct vn_host *h)
{
    const struct vn_disk *d = &h->v->disk[h->n];
    struct env_takes_part t = {.version = (uint64_t)vn_now(h)};
    uint8_t b[ENV_RECORD_MAX];
    uint64_t hash = 1;

    memcpy(t.key, d->pk, sizeof t.key);
    for (unsigned k = 0; k < h->n_copies; k++) {
        unsigned env = h->v->pw->guest[h->copy[k].guest].env, i = 0;

        while (i < t.n && memcmp(t.envs[i], h->v->env_id[env].b, ENV_TAG_SIZE) != 0)
            i++;
        if (i == t.n && t.n < ENV_MAX) {
            memcpy(t.envs[t.n++], h->v->env_id[env].b, ENV_TAG_SIZE);
            hash += (env + 1) * UINT64_C(0x9e3779b97f4a7c15); /* whatever their order */
        }
    }
    if (hash == h->published)
        return;
    h->published = hash;
    put(h, h->gossip, ENV_RECORD_TAKES_PART, &d->id, t.version, b, env_takes_part_encode(&t, d->sk, b, sizeof b));
}

/* ---- in and out ---- */

void vn_gossip_datagram(struct vn_host *h, enum violin_channel c, unsigned from, const uint8_t *data, size_t len)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_DATAGRAM,
                              .datagram = {.from = h->v->disk[from].id, .data = data, .len = len}};

    if (c == VIOLIN_FEDERATION && !h->fed)
        redirect(h, from);
    else if (c == VIOLIN_FEDERATION || h->v->pw->host[from].domain == h->domain)
        (void)gossip_step(c == VIOLIN_FEDERATION ? h->fed : h->gossip, vn_now(h), &ev);
}

static void view_came(struct vn_host *h, const struct vi_id *key)
{
    uint8_t b[FED_RECORD_MAX];
    struct gossip_record r;

    if (!gossip_record_get(h->gossip, FED_RECORD_VIEW, key, &r) || r.len > sizeof b)
        return;
    memcpy(b, r.bytes, r.len);
    take_view(h, b, r.len);
}

static void carry_out(struct vn_host *h, struct gossip *g, bool fed)
{
    const struct gossip_effect *fx;
    struct vn_disk *d = &h->v->disk[h->n];

    while ((fx = gossip_effect(g))) {
        if (fx->kind == GOSSIP_FX_SEND)
            vn_send(h, fed ? VIOLIN_FEDERATION : VIOLIN_GOSSIP, &fx->id, fx->data, fx->len);
        else if (fx->kind == GOSSIP_FX_PERSIST)
            *(fed ? &d->fed_incarnation : &d->incarnation) = fx->number;
        else if (fx->kind == GOSSIP_FX_MEMBER && fed)
            fed_member(h, fx);
        else if (fx->kind == GOSSIP_FX_MEMBER)
            h->ranks_stale = true;
        else if (fx->kind == GOSSIP_FX_RECORD && fed) {
            if (is_news(h, &fx->id))
                h->view_at = 0;
            summary_came(h, &fx->id);
        }
        else if (fx->kind == GOSSIP_FX_RECORD && !fed && fx->record_kind == FED_RECORD_VIEW)
            view_came(h, &fx->id);
    }
}

static void represent(struct vn_host *h)
{
    struct gossip_event leave = {.kind = GOSSIP_EV_LEAVE};
    bool acts = h->rep.acting && h->v->pw->s->n_domains > 1;

    if (acts && !h->fed) {
        h->fed = new_core(h, true);
        h->publish_at = h->view_at = 0;
        if (h->fed)
            seeds(h);
    } else if (!acts && h->fed) {
        (void)gossip_step(h->fed, vn_now(h), &leave);
        carry_out(h, h->fed, true);
        gossip_free(h->fed);
        h->fed = NULL;
    }
}

void vn_gossip_pump(struct vn_host *h)
{
    struct vi_id to[REP_FIRST];

    if (h->ranks_stale) {
        h->ranks_stale = false;
        represent_rank(&h->rep, vn_now(h), h->gossip, &h->v->disk[h->n].id, &h->meta);
    }
    if (rep_tick(&h->rep, vn_now(h)))
        for (unsigned n = rep_standbys(&h->rep, to); n > 0; n--)
            calls_tell(h->calls, &to[n - 1], CALL_DECLARE, NULL, 0);
    h->ranks_stale |= represent_say(&h->rep, vn_now(h), h->gossip, &h->meta);
    represent(h);
    if (h->fed && vn_now(h) >= h->publish_at) {
        h->publish_at = vn_now(h) + FED_PUBLISH;
        publish_summary(h);
    }
    if (h->fed && vn_now(h) >= h->view_at) {
        h->view_at = vn_now(h) + FED_VIEW;
        publish_views(h);
    }
    if (h->fed)
        carry_out(h, h->fed, true);
    carry_out(h, h->gossip, false);
}

void vn_gossip_tick(struct vn_host *h)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_TICK};

    if (gossip_deadline(h->gossip) <= vn_now(h))
        (void)gossip_step(h->gossip, vn_now(h), &ev);
    if (h->fed && gossip_deadline(h->fed) <= vn_now(h))
        (void)gossip_step(h->fed, vn_now(h), &ev);
}

vi_time vn_gossip_deadline(const struct vn_host *h)
{
    vi_time t = gossip_deadline(h->gossip), r = rep_deadline(&h->rep), g;

    t = t < r ? t : r;
    if (!h->fed)
        return t;
    g = gossip_deadline(h->fed);
    t = t < g ? t : g;
    t = t < h->publish_at ? t : h->publish_at;
    return t < h->view_at ? t : h->view_at;
}

bool vn_gossip_open(struct vn_host *h)
{
    const struct pw_domain *d = &h->v->pw->s->domain[h->domain];

    h->meta.started = (uint32_t)(vn_now(h) / VI_SEC) + 1;
    h->ranks_stale = true;
    rep_init(&h->rep, &h->v->disk[h->n].id, vn_now(h));
    h->gossip = new_core(h, false);
    if (!h->gossip)
        return false;
    if (d->hosts > 1)
        seed(h, h->gossip, h->n == d->first ? d->first + 1 : d->first);
    return true;
}

void vn_gossip_close(struct vn_host *h)
{
    gossip_free(h->gossip);
    gossip_free(h->fed);
    h->gossip = h->fed = NULL;
}
