/* The daemon as the one that represents its domain: who that is, the representatives' gossip, and what is
 * carried between it and the domain's own. See daemon_federation.h. */
#include "peer/daemon_federation.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/daemon_keys.h"
#include "peer/netaddr.h"
#include "peer/represent.h"

/* ---- who it is ---- */

void daemon_federation_meta(const struct daemon *d, uint8_t out[REP_META])
{
    rep_meta_encode(&d->fed->meta, out);
}

bool daemon_federation_declared(struct daemon *d, const struct vi_id *from)
{
    bool tell;
    if (!d->fed || represent_declared(&d->fed->rep, daemon_now(), d->gossip, from, &tell))
        return false;
    if (tell)
        calls_tell(d->calls, from, CALL_DECLARE, NULL, 0);
    return true;
}

void daemon_federation_member(struct daemon *d)
{
    if (d->fed)
        d->fed->ranks_stale = true;
}

bool daemon_represents(const struct gossip_member *m)
{
    struct rep_meta meta;
    rep_meta_decode(&meta, m->meta, m->meta_len);
    return meta.acting;
}

/* ---- the representatives' gossip ---- */

static void do_sign(void *arg, const uint8_t *data, size_t len, uint8_t sig[GOSSIP_SIG])
{
    struct daemon *d = arg;
    crypto_sign_detached(sig, NULL, data, len, d->me.ed_sk);
}

static bool do_verify(void *arg, const uint8_t key[GOSSIP_KEY], const uint8_t *data, size_t len,
                      const uint8_t sig[GOSSIP_SIG])
{
    (void)arg;
    return crypto_sign_verify_detached(sig, data, len, key) == 0;
}

static bool do_admit(void *arg, const struct vi_id *id, const uint8_t key[GOSSIP_KEY], const uint8_t *bytes,
                     size_t len)
{
    struct daemon *d = arg;
    struct cert c;
    if (cert_decode(&c, bytes, len) || memcmp(c.ed, key, CERT_KEY))
        return false;
    if (!strcmp(c.domain, d->me.cert.domain))
        return daemon_keys_admits(d, &c);
    return fed_find(d, c.domain) && !fed_gone(d, id) && !trust_check(&d->trust, &c, c.not_before) &&
           fed_room_representative(d, id, c.domain);
}

static bool do_accept(void *arg, uint8_t kind, const struct vi_id *key, const struct vi_id *origin,
                      uint64_t version, const uint8_t *bytes, size_t len)
{
    struct daemon *d = arg;
    if (kind == ENV_RECORD_DEFINITION)
        return daemon_gossip_definition(d, d->fed->gossip, key, origin, version, bytes, len);
    if (kind == ENV_RECORD_RULES)
        return daemon_gossip_rules(d, key, origin, version, bytes, len);
    return kind != FED_RECORD_TRUST && kind != FED_RECORD_VIEW &&
           fed_accept(d, d->fed->gossip, kind, key, origin, version, bytes, len);
}

static int put(struct gossip *g, unsigned kind, const struct vi_id *key, const struct vi_id *origin,
               uint64_t version, const uint8_t *bytes, size_t len, vi_time age)
{
    return represent_put(g, daemon_now(), kind, key, origin, version, bytes, len, age);
}

static void begin(struct daemon *d)
{
    struct federation *f = d->fed;
    struct gossip_config c;
    size_t len;
    gossip_config_federation(&c);
    c.id = d->me.id;
    memcpy(c.key, d->me.ed_pk, 32);
    daemon_gossip_encode_addr(&c.addr, &d->own_addr);
    snprintf(c.name, sizeof c.name, "%.*s", GOSSIP_NAME_MAX, d->me.cert.host);
    if (cert_encode(&d->me.cert, c.cert, sizeof c.cert, &len))
        return;
    c.cert_len = (uint16_t)len;
    c.initial_incarnation = (uint64_t)store_number(d->store, "federation-incarnation", 0);
    c.max_members = 3 * FED_DOMAINS;
    c.mortal_kind = FED_RECORD_PRESENCE;
    c.mortal_life = FED_FORGET;
    c.arg = d;
    c.sign = do_sign;
    c.verify = do_verify;
    c.admit = do_admit;
    c.accept = do_accept;
    f->gossip = gossip_new(&c, &f->rng, daemon_now());
    if (!f->gossip)
        return;
    f->publish_at = f->view_at = 0;
    daemon_event_done(d, daemon_event(d, "federation", d->me.cert.domain, "this host represents %s from now on",
                                      d->me.cert.domain));
    represent_seeds(d);
}

static void carry_out(struct daemon *d);

static void end(struct daemon *d)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_LEAVE};
    (void)gossip_step(d->fed->gossip, daemon_now(), &ev);
    carry_out(d);
    gossip_free(d->fed->gossip);
    d->fed->gossip = NULL;
    daemon_event_done(d, daemon_event(d, "federation", d->me.cert.domain, "this host does not represent %s any more",
                                      d->me.cert.domain));
}

static void seed_one(struct daemon *d, const struct seed *s)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_SEED};
    struct mesh_addr a;
    struct vi_id id;
    char why[300];
    cert_peer_id(&id, s->ed);
    if (vi_id_equal(&id, &d->me.id) || fed_gone(d, &id) || netaddr_resolve(&a, s->addr, why, sizeof why))
        return;
    (void)mesh_io_connect(d->mesh, &id, s->x, &a);
    ev.seed.id = id;
    daemon_gossip_encode_addr(&ev.seed.addr, &a);
    (void)gossip_step(d->fed->gossip, daemon_now(), &ev);
}

void daemon_federation_self(struct daemon *d, const struct gossip_event *ev)
{
    if (d->fed && d->fed->gossip)
        (void)gossip_step(d->fed->gossip, daemon_now(), ev);
}

static bool has_representative(struct daemon *d, const char *domain)
{
    struct gossip_member m;
    struct cert c;
    size_t pos = 0;
    while (gossip_member_next(d->fed->gossip, &pos, &m))
        if (m.state == GOSSIP_ALIVE && !cert_decode(&c, m.cert, m.cert_len) && !strcmp(c.domain, domain))
            return true;
    return false;
}

void represent_seeds(struct daemon *d)
{
    if (!d->fed->gossip)
        return;
    for (unsigned i = 0; i < FED_DOMAINS; i++) {
        const struct fed_domain *f = &d->fed->domain[i];
        if (!f->used || f->trust.withdrawn || has_representative(d, f->trust.with.domain))
            continue;
        for (unsigned k = 0; k < f->trust.with.seeds; k++)
            seed_one(d, &f->trust.with.seed[k]);
        if (f->view.version)
            seed_one(d, &f->view.rep);
    }
}

void represent_forget(struct daemon *d, const char *domain)
{
    struct gossip_member m;
    struct cert c;
    size_t pos = 0;
    while (d->fed->gossip && gossip_member_next(d->fed->gossip, &pos, &m)) {
        struct gossip_event ev = {.kind = GOSSIP_EV_FORGET, .peer = m.id};
        if (m.self || cert_decode(&c, m.cert, m.cert_len) || strcmp(c.domain, domain))
            continue;
        if (d->mesh)
            mesh_io_forget(d->mesh, &m.id);
        (void)gossip_step(d->fed->gossip, daemon_now(), &ev);
        pos = 0;
    }
}

/* ---- in ---- */

/* Somebody of another domain looks for who represents ours. */
static void redirect(struct daemon *d, const struct vi_id *to)
{
    const struct vi_id *rep = rep_current(&d->fed->rep, daemon_now());
    uint8_t b[SEED_TEXT];
    struct gossip_member m;
    struct mesh_addr a;
    struct vi_writer w;
    struct cert c;
    char text[MESH_ADDR_TEXT];
    if (!rep || daemon_now() - d->fed->redirected_at < VI_SEC / 4 || !gossip_member_find(d->gossip, rep, &m) || m.self ||
        cert_decode(&c, m.cert, m.cert_len))
        return;
    daemon_gossip_addr(&a, &m.addr);
    if (!a.family)
        return;
    d->fed->redirected_at = daemon_now();
    vi_writer_init(&w, b, sizeof b);
    vi_write_array(&w, 3);
    vi_write_bin(&w, c.ed, CERT_KEY);
    vi_write_bin(&w, c.x, CERT_KEY);
    vi_write_str(&w, mesh_addr_format(&a, text));
    if (w.err)
        return;
    calls_tell(d->calls, to, CALL_REDIRECT, b, w.len);
    if (!fed_takes_part(d, to))
        mesh_io_forget(d->mesh, to); /* that was all it may have of us */
}

void daemon_federation_redirected(struct daemon *d, const uint8_t *body, size_t len)
{
    struct federation *f = d->fed;
    struct vi_id *old = &f->redirect[f->next_redirect];
    struct gossip_event forget = {.kind = GOSSIP_EV_FORGET, .peer = *old};
    struct gossip_member m;
    struct vi_reader r;
    struct mesh_addr a;
    struct seed s;
    struct vi_id id;
    if (!f->gossip)
        return;
    memset(&s, 0, sizeof s);
    vi_reader_init(&r, body, len);
    if (vi_read_array(&r, 3) != 3)
        return;
    vi_read_bytes(&r, s.ed, CERT_KEY);
    vi_read_bytes(&r, s.x, CERT_KEY);
    vi_read_cstr(&r, s.addr, sizeof s.addr);
    if (vi_read_end(&r) || mesh_addr_parse(&a, s.addr))
        return;
    cert_peer_id(&id, s.ed);
    for (unsigned i = 0; i < FED_REDIRECTS; i++)
        if (vi_id_equal(&f->redirect[i], &id)) {
            seed_one(d, &s);
            return;
        }
    if (!vi_id_is_zero(old) && !gossip_member_find(f->gossip, old, &m))
        (void)gossip_step(f->gossip, daemon_now(), &forget);
    *old = id;
    f->next_redirect = (f->next_redirect + 1) % FED_REDIRECTS;
    seed_one(d, &s);
}

void daemon_federation_message(struct daemon *d, const struct vi_id *from, const uint8_t *data, size_t len)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_DATAGRAM};
    struct cert c;
    if (!d->fed)
        return;
    if (!d->fed->gossip) {
        if (fed_foreign(d, from, &c))
            redirect(d, from);
        return;
    }
    ev.datagram.from = *from;
    ev.datagram.data = data;
    ev.datagram.len = len;
    (void)gossip_step(d->fed->gossip, daemon_now(), &ev);
}

/* ---- out ---- */

static void send_gossip(struct daemon *d, const struct gossip_effect *fx)
{
    struct gossip_member m;
    struct mesh_addr a;
    struct cert c;
    if (mesh_io_send(d->mesh, &fx->id, MESH_CHANNEL_FEDERATION, fx->data, fx->len) != VI_ENOTFOUND)
        return;
    if (!gossip_member_find(d->fed->gossip, &fx->id, &m) || cert_decode(&c, m.cert, m.cert_len))
        return;
    daemon_gossip_addr(&a, fx->addr.len ? &fx->addr : &m.addr);
    if (a.family && !mesh_io_connect(d->mesh, &fx->id, c.x, &a))
        (void)mesh_io_send(d->mesh, &fx->id, MESH_CHANNEL_FEDERATION, fx->data, fx->len);
}

static void forget_seed(struct daemon *d, const struct seed *s, const struct vi_id *but)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_FORGET};
    struct gossip_member m;
    cert_peer_id(&ev.peer, s->ed);
    if (vi_id_equal(&ev.peer, but) || gossip_member_find(d->fed->gossip, &ev.peer, &m))
        return;
    (void)gossip_step(d->fed->gossip, daemon_now(), &ev);
    if (!fed_takes_part(d, &ev.peer))
        mesh_io_forget(d->mesh, &ev.peer);
}

/* A domain's representative is found: its other hosts are left in peace until it is lost. */
static void forget_seeds(struct daemon *d, const char *domain, const struct vi_id *but)
{
    const struct fed_domain *f = fed_find(d, domain);
    for (unsigned i = 0; f && i < f->trust.with.seeds; i++)
        forget_seed(d, &f->trust.with.seed[i], but);
    if (f && f->view.version)
        forget_seed(d, &f->view.rep, but);
}

static void member_changed(struct daemon *d, const struct gossip_effect *fx)
{
    struct gossip_member m;
    struct cert c;
    if (!gossip_member_find(d->fed->gossip, &fx->id, &m) || cert_decode(&c, m.cert, m.cert_len))
        return;
    if (fx->change == GOSSIP_UP)
        forget_seeds(d, c.domain, &fx->id);
    else if (fx->change == GOSSIP_DOWN || fx->change == GOSSIP_GOODBYE)
        represent_seeds(d);
    if (fx->change == GOSSIP_UP)
        daemon_event_done(d, daemon_event(d, "federation", c.domain, "%s represents %s", c.host, c.domain));
    else if (fx->change == GOSSIP_DOWN)
        daemon_event_done(d, daemon_event(d, "federation", c.domain, "%s, which represented %s, is dead", c.host,
                                          c.domain));
    d->fed->view_at = 0;
}

/* Is this the summary of a domain of which our members have heard nothing yet, or nothing lately? */
static bool is_news(struct daemon *d, const struct vi_id *key)
{
    for (unsigned i = 0; i < FED_DOMAINS; i++) {
        const struct fed_domain *f = &d->fed->domain[i];
        struct vi_id id;
        if (!f->used || f->trust.withdrawn || represent_fresh(daemon_now(), f->heard))
            continue;
        fed_domain_key(&id, f->trust.with.domain);
        if (vi_id_equal(&id, key))
            return true;
    }
    return false;
}

/* Who represents knows it at once; its members, from the next view. */
static void summary_came(struct daemon *d, const struct vi_id *key)
{
    struct gossip_record r;
    struct fed_summary s;
    for (unsigned i = 0; i < FED_DOMAINS; i++) {
        struct fed_domain *f = &d->fed->domain[i];
        struct vi_id id;
        if (!f->used || f->trust.withdrawn)
            continue;
        fed_domain_key(&id, f->trust.with.domain);
        if (!vi_id_equal(&id, key))
            continue;
        if (f->view.version && gossip_record_get(d->fed->gossip, FED_RECORD_SUMMARY, key, &r) &&
            !fed_summary_decode(&s, r.bytes, r.len) && s.version > f->view.summary.version) {
            f->view.summary = s;
            f->heard = daemon_now();
        }
        return;
    }
}

static void carry_out(struct daemon *d)
{
    static uint8_t bytes[GOSSIP_DATAGRAM_MAX];
    const struct gossip_effect *fx;
    while ((fx = gossip_effect(d->fed->gossip))) {
        struct gossip_effect copy = *fx;
        if (fx->data && fx->len <= sizeof bytes) {
            memcpy(bytes, fx->data, fx->len);
            copy.data = bytes;
        }
        if (copy.kind == GOSSIP_FX_SEND)
            send_gossip(d, &copy);
        else if (copy.kind == GOSSIP_FX_MEMBER)
            member_changed(d, &copy);
        else if (copy.kind == GOSSIP_FX_PERSIST &&
                 store_set_number(d->store, "federation-incarnation", (int64_t)copy.number))
            daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
        else if (copy.kind == GOSSIP_FX_RECORD && copy.record_kind != FED_RECORD_SUMMARY)
            d->fed->publish_at = 0; /* carried over with the next turn */
        else if (copy.kind == GOSSIP_FX_RECORD) {
            if (is_news(d, &copy.id))
                d->fed->view_at = 0;
            summary_came(d, &copy.id);
        }
    }
}

/* ---- carried between the two ---- */

static bool shared_tag(struct daemon *d, const uint8_t tag[ENV_TAG_SIZE])
{
    for (unsigned i = 0; i < ENV_MAX; i++)
        if (d->envs[i].used && !memcmp(d->envs[i].def.id.b, tag, ENV_TAG_SIZE))
            return d->envs[i].def.n_allowed || strcmp(d->envs[i].def.home, d->me.cert.domain);
    return false;
}

/* A page of rules of an environment that is at home here (ours), or that we have from another domain. */
static bool rules_of(struct daemon *d, const struct gossip_record *r, bool ours)
{
    static struct env_rules page;
    const struct env *e = env_rules_decode(&page, r->bytes, r->len) ? NULL : daemon_env_by_id(d, &page.env);
    return e && ours == !strcmp(e->def.home, d->me.cert.domain) && (!ours || e->def.n_allowed);
}

/* Does a record of the domain's store concern others? */
static bool goes_out(struct daemon *d, const struct gossip_record *r)
{
    static struct env_definition e;
    struct fed_presence p;
    struct cert c;
    if (r->kind == ENV_RECORD_DEFINITION)
        return !env_definition_decode(&e, r->bytes, r->len) && e.n_allowed && !strcmp(e.home, d->me.cert.domain);
    if (r->kind == ENV_RECORD_RULES)
        return rules_of(d, r, true);
    if (r->kind != FED_RECORD_PRESENCE || fed_presence_decode(&p, r->bytes, r->len) ||
        cert_decode(&c, p.cert, p.cert_len) || strcmp(c.domain, d->me.cert.domain))
        return false;
    for (unsigned i = 0; i < p.n; i++)
        if (shared_tag(d, p.envs[i]))
            return true;
    return !p.n;
}

/* Does a record of the representatives' store concern our domain? */
static bool comes_in(struct daemon *d, const struct gossip_record *r)
{
    static struct env_definition e;
    struct fed_presence p;
    struct cert c;
    if (r->kind == FED_RECORD_STATEMENT)
        return true;
    if (r->kind == ENV_RECORD_DEFINITION)
        return !env_definition_decode(&e, r->bytes, r->len) && strcmp(e.home, d->me.cert.domain) &&
               (env_allows(&e, d->me.cert.domain) || daemon_env_by_id(d, &e.id));
    if (r->kind == ENV_RECORD_RULES)
        return rules_of(d, r, false);
    if (r->kind != FED_RECORD_PRESENCE || fed_presence_decode(&p, r->bytes, r->len) ||
        cert_decode(&c, p.cert, p.cert_len) || !strcmp(c.domain, d->me.cert.domain))
        return false;
    for (unsigned i = 0; i < p.n; i++)
        if (shared_tag(d, p.envs[i]))
            return true;
    return !p.n && daemon_federation_name(d, &r->key);
}

/* What our domain says about its own keys, for the others. */
static void statement_out(struct daemon *d, const struct gossip_record *r)
{
    uint8_t b[1 + STATEMENT_MAX];
    struct vi_id key;
    if ((r->kind != KEY_RECORD_REVOCATION && r->kind != KEY_RECORD_ROLLOVER) || r->len > STATEMENT_MAX)
        return;
    b[0] = r->kind;
    memcpy(b + 1, r->bytes, r->len);
    vi_id_hash(&key, "violin statement of a domain", b, r->len + 1, NULL, 0);
    (void)put(d->fed->gossip, FED_RECORD_STATEMENT, &key, &key, 1, b, r->len + 1, 0);
}

/* Our domain's store may hold what the representatives' doesn't. */
static bool has_room(struct daemon *d, const struct gossip_record *r)
{
    static struct env_definition e;
    struct fed_presence p;
    struct cert c;
    if (r->kind == ENV_RECORD_DEFINITION)
        return !env_definition_decode(&e, r->bytes, r->len) && fed_room_definition(d, d->gossip, &e);
    return r->kind != FED_RECORD_PRESENCE || (!fed_presence_decode(&p, r->bytes, r->len) &&
           !cert_decode(&c, p.cert, p.cert_len) && fed_room_presence(d, d->gossip, &r->key, c.domain));
}

static void carry_over(struct daemon *d)
{
    struct gossip_record r, have;
    uint8_t b[GOSSIP_RECORD_MAX];
    size_t pos = 0;
    while (gossip_record_next(d->gossip, &pos, &r)) {
        statement_out(d, &r);
        if (goes_out(d, &r))
            (void)put(d->fed->gossip, r.kind, &r.key, &r.origin, r.version, r.bytes, r.len, r.age);
    }
    pos = 0;
    while (gossip_record_next(d->fed->gossip, &pos, &r)) {
        if (!comes_in(d, &r) ||
            (gossip_record_get(d->gossip, r.kind, &r.key, &have) && have.version >= r.version))
            continue;
        memcpy(b, r.bytes, r.len);
        if (!has_room(d, &r) || put(d->gossip, r.kind, &r.key, &r.origin, r.version, b, r.len, r.age))
            continue;
        if (r.kind == ENV_RECORD_DEFINITION || r.kind == ENV_RECORD_RULES)
            daemon_envs_record(d, r.kind, &r.key);
        else
            fed_take(d, r.kind, b, r.len, r.age);
    }
}

/* ---- summaries ---- */

static void sum_up(struct daemon *d, struct fed_summary *s)
{
    memset(s, 0, sizeof *s);
    snprintf(s->domain, sizeof s->domain, "%s", d->me.cert.domain);
    represent_count(d->gossip, s);
    for (unsigned i = 0; i < ENV_MAX; i++)
        s->environments += d->envs[i].used && !strcmp(d->envs[i].def.home, d->me.cert.domain);
    daemon_policy_domain_load(d, s);
}

static void publish_summary(struct daemon *d)
{
    uint8_t b[FED_SUMMARY_MAX];
    struct fed_summary s;
    struct vi_id key;
    int n;
    sum_up(d, &s);
    fed_domain_key(&key, s.domain);
    s.version = represent_version(d->fed->gossip, &key, (uint64_t)vi_clock_wall());
    n = fed_summary_encode(&s, d->me.ed_sk, b, sizeof b);
    if (n > 0)
        (void)put(d->fed->gossip, FED_RECORD_SUMMARY, &key, &d->me.id, s.version, b, (size_t)n, 0);
}

/* What we know of one domain, for our members. Nothing while nobody represents it. */
static void publish_view(struct daemon *d, const struct gossip_member *m, const struct cert *c)
{
    struct fed_domain *f = fed_find(d, c->domain);
    struct fed_view v;
    uint8_t b[FED_RECORD_MAX];
    struct mesh_addr a;
    struct vi_id key;
    char text[MESH_ADDR_TEXT];
    int n;
    if (!f)
        return;
    fed_domain_key(&key, c->domain);
    represent_view(d->fed->gossip, &key, c->domain, (uint64_t)vi_clock_wall(), f->view.version, &v);
    daemon_gossip_addr(&a, &m->addr);
    memcpy(v.rep.ed, c->ed, CERT_KEY);
    memcpy(v.rep.x, c->x, CERT_KEY);
    snprintf(v.rep.addr, sizeof v.rep.addr, "%s", mesh_addr_format(&a, text));
    snprintf(v.rep_host, sizeof v.rep_host, "%s", c->host);
    n = fed_view_encode(&v, d->me.ed_sk, b, sizeof b);
    if (n > 0 && !put(d->gossip, FED_RECORD_VIEW, &key, &d->me.id, v.version, b, (size_t)n, 0))
        fed_take(d, FED_RECORD_VIEW, b, (size_t)n, 0);
}

static void publish_views(struct daemon *d)
{
    struct gossip_member m;
    struct cert c;
    size_t pos = 0;
    while (gossip_member_next(d->fed->gossip, &pos, &m))
        if (!m.self && m.state == GOSSIP_ALIVE && !cert_decode(&c, m.cert, m.cert_len) &&
            strcmp(c.domain, d->me.cert.domain))
            publish_view(d, &m, &c);
}

/* ---- the turn ---- */

static void represent(struct daemon *d, vi_time now)
{
    struct federation *f = d->fed;
    struct gossip_event tick = {.kind = GOSSIP_EV_TICK};
    if (gossip_deadline(f->gossip) <= now)
        (void)gossip_step(f->gossip, now, &tick);
    if (now >= f->publish_at) {
        f->publish_at = now + FED_PUBLISH;
        publish_summary(d);
        carry_over(d);
    }
    if (now >= f->view_at) {
        f->view_at = now + FED_VIEW;
        publish_views(d);
    }
    carry_out(d);
}

void represent_tick(struct daemon *d, vi_time now)
{
    struct federation *f = d->fed;
    struct vi_id to[REP_FIRST];
    if (f->ranks_stale) {
        f->ranks_stale = false;
        represent_rank(&f->rep, now, d->gossip, &d->me.id, &f->meta);
    }
    if (rep_tick(&f->rep, now))
        for (unsigned n = rep_standbys(&f->rep, to); n > 0; n--)
            calls_tell(d->calls, &to[n - 1], CALL_DECLARE, NULL, 0);
    f->ranks_stale |= represent_say(&f->rep, now, d->gossip, &f->meta);
    if (f->rep.acting && !f->gossip && fed_any(d))
        begin(d);
    else if (f->gossip && (!f->rep.acting || !fed_any(d)))
        end(d);
    if (f->gossip)
        represent(d, now);
}

vi_time daemon_federation_deadline(const struct daemon *d)
{
    const struct federation *f = d->fed;
    vi_time t = rep_deadline(&f->rep);
    if (f->gossip) {
        vi_time g = gossip_deadline(f->gossip);
        t = g < t ? g : t;
        t = f->publish_at < t ? f->publish_at : t;
        t = f->view_at < t ? f->view_at : t;
    }
    return f->presence_at > daemon_now() && f->presence_at < t ? f->presence_at : t;
}

void represent_open(struct daemon *d)
{
    vi_rng_seed_from_kernel(&d->fed->rng);
    d->fed->meta.started = (uint32_t)(vi_clock_wall() / VI_SEC);
    d->fed->ranks_stale = true;
    rep_init(&d->fed->rep, &d->me.id, daemon_now());
}

void represent_close(struct daemon *d)
{
    gossip_free(d->fed->gossip);
    d->fed->gossip = NULL;
}

void daemon_federation_leave(struct daemon *d)
{
    if (d->fed->gossip)
        end(d);
}
