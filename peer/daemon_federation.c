/* The daemon and other domains: whom we are federated with, which of their hosts take part with us, who may
 * have a session and for what. See daemon_federation.h. */
#include "peer/daemon_federation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/daemon_envmove.h"
#include "peer/daemon_keys.h"
#include "peer/netaddr.h"

/* ---- tables ---- */

struct fed_domain *fed_find(struct daemon *d, const char *domain)
{
    for (unsigned i = 0; d->fed && i < FED_DOMAINS; i++) {
        struct fed_domain *f = &d->fed->domain[i];
        if (f->used && !f->trust.withdrawn && !strcmp(f->trust.with.domain, domain))
            return f;
    }
    return NULL;
}

bool fed_any(const struct daemon *d)
{
    for (unsigned i = 0; i < FED_DOMAINS; i++)
        if (d->fed->domain[i].used && !d->fed->domain[i].trust.withdrawn)
            return true;
    return false;
}

bool fed_gone(const struct daemon *d, const struct vi_id *peer)
{
    for (unsigned i = 0; i < d->fed->n_gone; i++)
        if (vi_id_equal(&d->fed->gone[i].id, peer))
            return true;
    return false;
}

struct fed_host *fed_host_of(const struct daemon *d, const struct vi_id *peer)
{
    for (unsigned i = 0; d->fed && i < d->fed->n_hosts; i++)
        if (vi_id_equal(&d->fed->hosts[i].id, peer))
            return &d->fed->hosts[i];
    return NULL;
}

/* The one not heard of for longest gives way. */
static struct fed_host *add_host(struct daemon *d, const struct vi_id *peer)
{
    struct federation *f = d->fed;
    struct fed_host *h = fed_host_of(d, peer);
    if (h)
        return h;
    if (f->n_hosts == FED_HOSTS) {
        h = &f->hosts[0];
        for (unsigned i = 1; i < f->n_hosts; i++)
            if (f->hosts[i].at < h->at)
                h = &f->hosts[i];
    } else {
        if (f->n_hosts == f->hosts_cap) {
            unsigned cap = f->hosts_cap + 16;
            struct fed_host *p = realloc(f->hosts, cap * sizeof *p);
            if (!p)
                return NULL;
            f->hosts = p;
            f->hosts_cap = cap;
        }
        h = &f->hosts[f->n_hosts++];
    }
    memset(h, 0, sizeof *h);
    h->id = *peer;
    return h;
}

void fed_drop_host(struct daemon *d, struct fed_host *h)
{
    struct gossip_event forget = {.kind = GOSSIP_EV_FORGET, .peer = h->id};
    if (d->mesh)
        mesh_io_forget(d->mesh, &h->id);
    (void)gossip_step(d->gossip, daemon_now(), &forget);
    *h = d->fed->hosts[--d->fed->n_hosts];
}

/* ---- judgements ---- */

static bool own(const struct daemon *d, const struct cert *c)
{
    return !strcmp(c->domain, d->me.cert.domain);
}

/* Good under an authority that counts, whoever's it is; expiry is judged at handshakes only. */
static bool good_cert(struct daemon *d, const uint8_t *bytes, size_t len, struct cert *c)
{
    struct vi_id id;
    if (cert_decode(c, bytes, len))
        return false;
    cert_peer_id(&id, c->ed);
    if (own(d, c))
        return daemon_keys_admits(d, c);
    return fed_find(d, c->domain) && !fed_gone(d, &id) && !trust_check(&d->trust, c, c->not_before);
}

bool fed_judge_trust(struct daemon *d, const struct vi_id *key, const struct vi_id *origin, uint64_t version,
                        const uint8_t *bytes, size_t len)
{
    struct fed_trust t;
    struct vi_id want, id;
    struct cert c;
    if (fed_trust_decode(&t, bytes, len) || !good_cert(d, t.cert, t.cert_len, &c) || !own(d, &c) ||
        !strcmp(t.with.domain, d->me.cert.domain))
        return false;
    fed_domain_key(&want, t.with.domain);
    cert_peer_id(&id, c.ed);
    return vi_id_equal(key, &want) && vi_id_equal(origin, &id) && t.version == version &&
           ((c.caps & CERT_FEDERATE) || (keyring_caps(&d->keys->ring, c.ed, vi_clock_wall()) & CERT_FEDERATE)) &&
           fed_verify(FED_RECORD_TRUST, bytes, len, c.ed) == 0;
}

static bool judge_presence(struct daemon *d, const struct gossip *g, const struct vi_id *key, const struct vi_id *origin,
                           uint64_t version, const uint8_t *bytes, size_t len)
{
    struct fed_presence p;
    struct vi_id id;
    struct cert c;
    if (fed_presence_decode(&p, bytes, len) || !good_cert(d, p.cert, p.cert_len, &c))
        return false;
    cert_peer_id(&id, c.ed);
    return vi_id_equal(key, &id) && vi_id_equal(origin, &id) && p.version == version &&
           fed_verify(FED_RECORD_PRESENCE, bytes, len, c.ed) == 0 && fed_room_presence(d, g, key, c.domain);
}

/* Said by one of our own members; nothing but where to look and how full it is. */
static bool judge_view(struct daemon *d, const struct vi_id *key, const struct vi_id *origin, uint64_t version,
                       const uint8_t *bytes, size_t len)
{
    struct gossip_member m;
    struct fed_view v;
    struct vi_id want;
    if (fed_view_decode(&v, bytes, len) || !fed_find(d, v.summary.domain) ||
        !gossip_member_find(d->gossip, origin, &m) || !m.key)
        return false;
    fed_domain_key(&want, v.summary.domain);
    return vi_id_equal(key, &want) && v.version == version && fed_verify(FED_RECORD_VIEW, bytes, len, m.key) == 0;
}

/* Also of our own domain, by one that represented it before us: ours are to be newer. */
static bool represents(struct daemon *d, const struct vi_id *origin, const char *domain, struct gossip_member *m)
{
    struct cert c;
    if (d->fed->gossip && gossip_member_find(d->fed->gossip, origin, m) && m->key && good_cert(d, m->cert, m->cert_len, &c))
        return !strcmp(c.domain, domain);
    return !strcmp(domain, d->me.cert.domain) && gossip_member_find(d->gossip, origin, m) && m->key;
}

/* Said by a representative of that domain, to representatives. */
static bool judge_summary(struct daemon *d, const struct vi_id *key, const struct vi_id *origin,
                          uint64_t version, const uint8_t *bytes, size_t len)
{
    struct gossip_member m;
    struct fed_summary s;
    struct vi_id want;
    if (fed_summary_decode(&s, bytes, len) || !represents(d, origin, s.domain, &m))
        return false;
    fed_domain_key(&want, s.domain);
    return vi_id_equal(key, &want) && s.version == version &&
           fed_verify(FED_RECORD_SUMMARY, bytes, len, m.key) == 0;
}

static bool judge_statement(struct daemon *d, const struct vi_id *key, const struct vi_id *origin,
                            const uint8_t *bytes, size_t len)
{
    struct vi_id want;
    vi_id_hash(&want, "violin statement of a domain", bytes, len, NULL, 0);
    return vi_id_equal(key, &want) && vi_id_equal(origin, &want) && fed_statement_good(d, bytes, len);
}

bool daemon_federation_accepts(struct daemon *d, unsigned kind, const struct vi_id *key, const struct vi_id *origin,
                               uint64_t version, const uint8_t *bytes, size_t len)
{
    return kind != FED_RECORD_SUMMARY && fed_accept(d, d->gossip, kind, key, origin, version, bytes, len);
}

bool fed_accept(struct daemon *d, const struct gossip *g, unsigned kind, const struct vi_id *key,
                const struct vi_id *origin, uint64_t version, const uint8_t *bytes, size_t len)
{
    if (!d->fed || !fed_version_sane(version))
        return false;
    switch (kind) {
    case FED_RECORD_TRUST: return fed_judge_trust(d, key, origin, version, bytes, len);
    case FED_RECORD_PRESENCE: return judge_presence(d, g, key, origin, version, bytes, len);
    case FED_RECORD_VIEW: return judge_view(d, key, origin, version, bytes, len);
    case FED_RECORD_SUMMARY: return judge_summary(d, key, origin, version, bytes, len);
    case FED_RECORD_STATEMENT: return version == 1 && judge_statement(d, key, origin, bytes, len);
    default: return false;
    }
}

/* An environment of another domain: signed there, and allowed here. */
bool daemon_federation_definition(struct daemon *d, const struct env_definition *e, struct cert *c)
{
    return d->fed && good_cert(d, e->cert, e->cert_len, c) && !own(d, c) &&
           (env_allows(e, d->me.cert.domain) || daemon_env_by_id(d, &e->id));
}

/* ---- sessions ---- */

bool fed_foreign(struct daemon *d, const struct vi_id *peer, struct cert *c)
{
    struct mesh_peer_info p;
    if (!mesh_peer_find(mesh_io_core(d->mesh), peer, &p) || !p.cert)
        return false;
    *c = *p.cert;
    return !own(d, c);
}

bool fed_takes_part(struct daemon *d, const struct vi_id *peer)
{
    const struct fed_host *h = fed_host_of(d, peer);
    for (unsigned i = 0; h && i < h->said.n; i++)
        for (unsigned k = 0; k < ENV_MAX; k++)
            if (d->envs[k].used && !memcmp(d->envs[k].def.id.b, h->said.envs[i], ENV_TAG_SIZE) &&
                env_allows(&d->envs[k].def, h->cert.domain))
                return true;
    return false;
}

/* Hosts of other domains get a session if they take part in an environment that may be here, or speak
 * with this host as a representative; a few more may ask who that is. */
bool daemon_federation_refuses(void *arg, const struct vi_id *peer, const struct cert *c)
{
    struct daemon *d = arg;
    if (own(d, c))
        return daemon_keys_refuses(d, peer, c);
    if (!d->fed || !fed_find(d, c->domain) || fed_gone(d, peer))
        return true;
    if (fed_takes_part(d, peer) || daemon_handover_owes(d, peer))
        return false;
    return d->fed->rep.acting ? fed_sessions(d, peer, c->domain) >= FED_SESSIONS_EACH
                              : fed_sessions(d, peer, NULL) >= FED_ASKERS;
}

/* What a host of another domain may say on a channel. */
bool daemon_federation_admits(struct daemon *d, const struct vi_id *from, unsigned channel)
{
    struct cert c;
    const struct fed_domain *f;
    if (!fed_foreign(d, from, &c))
        return true;
    f = fed_find(d, c.domain);
    if (!f)
        return false;
    switch (channel) {
    case MESH_CHANNEL_FEDERATION: return true;
    case MESH_CHANNEL_SWITCH: return fed_takes_part(d, from);
    /* in: with a lease only; out: ours. What is decided is brought to its end, or a guest's two copies wait for ever */
    case MESH_CHANNEL_HANDOVER: return fed_takes_part(d, from) || daemon_handover_owes(d, from);
    case MESH_CHANNEL_ENVMOVE: return true; /* judged by what it says */
    case MESH_CHANNEL_CALL: return true; /* judged by method */
    default: return false;
    }
}

bool daemon_federation_has_ways(struct daemon *d, const struct vi_id *peer)
{
    struct cert c;
    return !fed_foreign(d, peer, &c) || (!fed_gone(d, peer) && fed_takes_part(d, peer));
}

bool daemon_federation_may_ask(struct daemon *d, const struct vi_id *from, unsigned method)
{
    struct cert c;
    const struct fed_domain *f;
    if (!fed_foreign(d, from, &c))
        return true;
    f = fed_find(d, c.domain);
    return f && (method == CALL_REDIRECT ||
                 (method == CALL_LOAD && f->trust.limits.guests > 0 && fed_takes_part(d, from)) ||
                 ((method == CALL_IMAGE_FIND || method == CALL_IMAGE_SEND) && fed_takes_part(d, from))); /* judged by image */
}

bool daemon_federation_key_of(const struct daemon *d, const struct vi_id *peer, uint8_t pk[32])
{
    const struct fed_host *h = fed_host_of(d, peer);
    if (h)
        memcpy(pk, h->cert.ed, 32);
    return h != NULL;
}

bool daemon_federation_introduce(struct daemon *d, const struct vi_id *peer)
{
    const struct fed_host *h = fed_host_of(d, peer);
    return h && h->said.addr.family && mesh_io_connect(d->mesh, peer, h->cert.x, &h->said.addr) == 0;
}

const char *daemon_federation_name(const struct daemon *d, const struct vi_id *peer)
{
    static char name[2 * CERT_NAME_MAX + 2];
    const struct fed_host *h = fed_host_of(d, peer);
    if (h)
        snprintf(name, sizeof name, "%s.%s", h->cert.host, h->cert.domain);
    return h ? name : NULL;
}

/* ---- who takes part with us ---- */

unsigned daemon_federation_participants(struct daemon *d, const struct env *e, struct vi_id *out, unsigned most)
{
    unsigned n = 0;
    for (unsigned i = 0; d->fed && i < d->fed->n_hosts; i++) {
        const struct fed_host *h = &d->fed->hosts[i];
        bool in = false;
        for (unsigned k = 0; k < h->said.n; k++)
            in |= !memcmp(e->def.id.b, h->said.envs[k], ENV_TAG_SIZE);
        if (in && n < most && env_allows(&e->def, h->cert.domain))
            out[n++] = h->id;
    }
    return n;
}

/* Says in which environments that may span domains this host takes part, when that changed and now and then. */
void daemon_federation_presence(struct daemon *d, vi_time now)
{
    struct fed_presence p = {.addr = d->own_addr};
    uint8_t b[FED_RECORD_MAX];
    size_t len;
    int n;
    for (unsigned i = 0; i < ENV_MAX && p.n < FED_TAGS; i++) {
        const struct env *e = &d->envs[i];
        if (e->used && daemon_env_here(e) &&
            (e->def.n_allowed || strcmp(e->def.home, d->me.cert.domain)))
            memcpy(p.envs[p.n++], e->def.id.b, ENV_TAG_SIZE);
    }
    if ((!p.n && !d->fed->presence.n) ||
        (now < d->fed->presence_at && p.n == d->fed->presence.n && !memcmp(p.envs, d->fed->presence.envs, sizeof p.envs) &&
         mesh_addr_equal(&p.addr, &d->fed->presence.addr)))
        return;
    p.version = (uint64_t)vi_clock_wall();
    if (p.version <= d->fed->presence.version)
        p.version = d->fed->presence.version + 1;
    if (cert_encode(&d->me.cert, p.cert, sizeof p.cert, &len))
        return;
    p.cert_len = (unsigned)len;
    n = fed_presence_encode(&p, d->me.ed_sk, b, sizeof b);
    if (n > 0 && !daemon_gossip_record(d, FED_RECORD_PRESENCE, &d->me.id, &d->me.id, p.version, b, (size_t)n)) {
        d->fed->presence = p;
        d->fed->presence_at = now + FED_PRESENCE;
    }
}

static void take_presence(struct daemon *d, const uint8_t *bytes, size_t len, vi_time age)
{
    struct fed_presence p;
    struct fed_host *h;
    struct vi_id id;
    struct cert c;
    if (fed_presence_decode(&p, bytes, len) || cert_decode(&c, p.cert, p.cert_len) || own(d, &c))
        return;
    cert_peer_id(&id, c.ed);
    h = p.n ? add_host(d, &id) : fed_host_of(d, &id);
    if (!h)
        return;
    h->said = p;
    h->cert = c;
    h->at = daemon_now() - age;
    if (p.addr.family)
        (void)mesh_io_connect(d->mesh, &id, c.x, &p.addr);
    daemon_envs_participants(d);
}

/* ---- views ---- */

/* The first one after a start may have lain with some member for long. Later ones are new: they follow it. */
static bool recent(const struct fed_view *v)
{
    vi_time ago = vi_clock_wall() - (vi_time)v->version;
    return ago < FED_STALE && ago > -FED_STALE;
}

static void take_view(struct daemon *d, const uint8_t *bytes, size_t len)
{
    struct fed_domain *f;
    struct fed_view v;
    bool other;
    struct vi_id key;
    if (fed_view_decode(&v, bytes, len))
        return;
    f = fed_find(d, v.summary.domain);
    if (!f)
        return;
    other = memcmp(&f->view.rep, &v.rep, sizeof v.rep) != 0;
    if (v.summary.version > f->view.summary.version && (f->viewed || recent(&v)))
        f->heard = daemon_now();
    f->viewed = true;
    f->view = v;
    fed_domain_key(&key, v.summary.domain);
    if (other && store_put(d->store, STORE_FEDERATION_VIEW, &key, bytes, len))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
    if (other)
        represent_seeds(d);
}

void fed_take(struct daemon *d, unsigned kind, const uint8_t *bytes, size_t len, vi_time age)
{
    if (kind == FED_RECORD_TRUST)
        fed_take_trust(d, bytes, len);
    else if (kind == FED_RECORD_VIEW)
        take_view(d, bytes, len);
    else if (kind == FED_RECORD_PRESENCE)
        take_presence(d, bytes, len, age);
    else if (kind == FED_RECORD_STATEMENT)
        fed_take_statement(d, bytes, len, true);
}

void daemon_federation_record(struct daemon *d, unsigned kind, const struct vi_id *key)
{
    struct gossip_record r;
    uint8_t b[FED_RECORD_MAX];
    if (!gossip_record_get(d->gossip, (uint8_t)kind, key, &r) || r.len > sizeof b)
        return;
    memcpy(b, r.bytes, r.len); /* the gossip's own may go with the next step */
    fed_take(d, kind, b, r.len, r.age);
}

/* ---- our card ---- */

static void card_seed(struct seed *s, const struct cert *c, const struct mesh_addr *a)
{
    char text[MESH_ADDR_TEXT];
    memset(s, 0, sizeof *s);
    memcpy(s->ed, c->ed, CERT_KEY);
    memcpy(s->x, c->x, CERT_KEY);
    snprintf(s->addr, sizeof s->addr, "%s", mesh_addr_format(a, text));
}

/* This host and those that represent the domain, or would. */
int fed_own_card(struct daemon *d, struct fed_card *card)
{
    struct vi_id who[REP_FIRST];
    unsigned n = rep_standbys(&d->fed->rep, who);
    memset(card, 0, sizeof *card);
    snprintf(card->domain, sizeof card->domain, "%s", d->me.cert.domain);
    memcpy(card->authority, trust_newest(&d->trust), CERT_KEY);
    if (d->own_addr.family)
        card_seed(&card->seed[card->seeds++], &d->me.cert, &d->own_addr);
    for (unsigned i = 0; i < n && card->seeds < FED_SEEDS; i++) {
        struct gossip_member m;
        struct mesh_addr a;
        struct cert c;
        if (!gossip_member_find(d->gossip, &who[i], &m) || cert_decode(&c, m.cert, m.cert_len))
            continue;
        daemon_gossip_addr(&a, &m.addr);
        if (a.family)
            card_seed(&card->seed[card->seeds++], &c, &a);
    }
    return card->seeds ? 0 : VI_ESTATE;
}

/* ---- opening, turning, closing ---- */

static bool load_view(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    struct daemon *d = arg;
    struct fed_domain *f;
    struct fed_view v;
    (void)key;
    if (fed_view_decode(&v, value, len))
        return true;
    f = fed_find(d, v.summary.domain);
    if (f)
        f->view = v; /* where to look; how full it was then says nothing any more */
    return true;
}

int daemon_federation_open(struct daemon *d, char *why, size_t cap)
{
    d->fed = calloc(1, sizeof *d->fed);
    if (!d->fed) {
        snprintf(why, cap, "out of memory");
        return VI_ENOMEM;
    }
    represent_open(d);
    return 0;
}

void daemon_federation_load(struct daemon *d)
{
    fed_load_trust(d);
    (void)store_each(d->store, STORE_FEDERATION_VIEW, load_view, d);
    fed_publish_trust(d);
}

void daemon_federation_pump(struct daemon *d, vi_time now)
{
    if (now >= d->fed->tidy_at) {
        d->fed->tidy_at = now + FED_TIDY;
        for (unsigned i = d->fed->n_hosts; i > 0; i--)
            if (now - d->fed->hosts[i - 1].at > FED_FORGET)
                fed_drop_host(d, &d->fed->hosts[i - 1]);
        fed_restate(d);
        if (d->fed->rep.acting)
            daemon_envs_resign(d, false);
    }
    daemon_federation_presence(d, now);
    represent_tick(d, now);
}

void daemon_federation_close(struct daemon *d)
{
    if (!d->fed)
        return;
    represent_close(d);
    free(d->fed->hosts);
    free(d->fed);
    d->fed = NULL;
}
