/* The daemon and other domains: with whom we are federated, and what those say about their keys. See
 * daemon_federation.h. */
#include "peer/daemon_federation.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/daemon_keys.h"

#define ROLLOVERS 8 /* of a domain, one after the other, while nobody who may has said anew whom we trust */

static struct fed_domain *slot_of(struct daemon *d, const char *domain)
{
    struct fed_domain *free_one = NULL;
    for (unsigned i = 0; i < FED_DOMAINS; i++) {
        struct fed_domain *f = &d->fed->domain[i];
        if (f->used && !strcmp(f->trust.with.domain, domain))
            return f;
        if (!f->used || (f->trust.withdrawn && !free_one))
            free_one = f;
    }
    return free_one;
}

/* ---- what they say about their keys ---- */

/* Has that domain revoked so much already that one more would not be taken? */
static bool gone_full(const struct daemon *d, const struct vi_id *domain)
{
    unsigned n = 0;
    for (unsigned i = 0; i < d->fed->n_gone; i++)
        n += vi_id_equal(&d->fed->gone[i].domain, domain);
    return d->fed->n_gone == FED_GONE || n >= FED_GONE_EACH;
}

static unsigned authorities(const struct daemon *d, const char *domain)
{
    unsigned n = 0;
    for (unsigned i = 0; i < TRUST_MAX; i++)
        n += !strcmp(d->trust.slot[i].domain, domain);
    return n;
}

static bool revocation_good(struct daemon *d, const struct revocation *r)
{
    struct vi_id id, domain;
    cert_peer_id(&id, r->key);
    fed_domain_key(&domain, r->domain);
    if (!fed_gone(d, &id) && gone_full(d, &domain)) {
        daemon_warn(d, WARN_FEDERATION, "domain %s: has revoked too many hosts; a further revocation isn't heeded here",
                    r->domain);
        return false;
    }
    for (unsigned i = 0; i < TRUST_MAX; i++) {
        cert_authority_id(&id, d->trust.slot[i].authority);
        if (!strcmp(d->trust.slot[i].domain, r->domain) && vi_id_equal(&id, &r->authority))
            return revocation_verify(r, d->trust.slot[i].authority) == 0;
    }
    return false;
}

/* Whoever has an authority can name successors without end, and the places are for all. */
static bool rollover_good(struct daemon *d, const struct rollover *o)
{
    bool known = trust_has(&d->trust, o->domain, o->after);
    return (known || (trust_has(&d->trust, o->domain, o->before) && authorities(d, o->domain) < FED_AUTHORITIES)) &&
           rollover_verify(o) == 0;
}

/* A statement about keys of another domain: kind, then the statement. */
bool fed_statement_good(struct daemon *d, const uint8_t *bytes, size_t len)
{
    struct revocation r;
    struct rollover o;
    if (len < 2)
        return false;
    if (bytes[0] == KEY_RECORD_REVOCATION && !revocation_decode(&r, bytes + 1, len - 1))
        return revocation_good(d, &r);
    return bytes[0] == KEY_RECORD_ROLLOVER && !rollover_decode(&o, bytes + 1, len - 1) && rollover_good(d, &o);
}

static void keep_statement(struct daemon *d, const uint8_t *bytes, size_t len)
{
    struct vi_id key;
    uint8_t b[1 + STATEMENT_MAX];
    size_t had;
    vi_id_hash(&key, "violin statement of a domain", bytes, len, NULL, 0);
    if (store_get(d->store, STORE_FEDERATION_KEYS, &key, b, sizeof b, &had) == 0)
        return;
    if (d->fed->statements >= FED_STATEMENTS) {
        daemon_warn(d, WARN_FEDERATION, "other domains have said too much about their keys; this host forgets some of it "
                                        "when it starts again");
        return;
    }
    if (store_put(d->store, STORE_FEDERATION_KEYS, &key, bytes, len))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
    else
        d->fed->statements++;
}

void fed_take_statement(struct daemon *d, const uint8_t *bytes, size_t len, bool keep)
{
    struct revocation r;
    struct rollover o;
    struct vi_id id, domain;
    if (keep)
        keep_statement(d, bytes, len);
    if (bytes[0] == KEY_RECORD_REVOCATION && !revocation_decode(&r, bytes + 1, len - 1) && strcmp(r.domain, d->me.cert.domain)) {
        struct fed_host *h;
        cert_peer_id(&id, r.key);
        if (fed_gone(d, &id))
            return;
        fed_domain_key(&domain, r.domain);
        if (gone_full(d, &domain))
            return;
        d->fed->gone[d->fed->n_gone++] = (struct fed_gone){id, domain};
        h = fed_host_of(d, &id);
        if (h)
            fed_drop_host(d, h);
        if (d->mesh)
            mesh_io_forget(d->mesh, &id);
        daemon_envs_participants(d);
    } else if (bytes[0] == KEY_RECORD_ROLLOVER && !rollover_decode(&o, bytes + 1, len - 1) &&
               strcmp(o.domain, d->me.cert.domain) && fed_find(d, o.domain)) {
        (void)trust_add(&d->trust, o.domain, o.after, VI_NEVER);
        if (o.retired)
            trust_drop(&d->trust, o.domain, o.before);
        daemon_federation_self(d, &(struct gossip_event){.kind = GOSSIP_EV_RECHECK}); /* what we refused until now */
    }
}

/* ---- trust ---- */

/* Does it still say anything? A rollover does while the authority that we trust in words is one that it led away from:
 * the next start comes from there again. */
static bool useful(struct daemon *d, const uint8_t *bytes, size_t len)
{
    struct rollover o;
    const struct fed_domain *f;
    if (len < 2 || bytes[0] != KEY_RECORD_ROLLOVER || rollover_decode(&o, bytes + 1, len - 1))
        return fed_statement_good(d, bytes, len);
    f = fed_find(d, o.domain);
    return f && (trust_has(&d->trust, o.domain, o.after) || trust_has(&d->trust, o.domain, o.before) ||
                 !trust_has(&d->trust, o.domain, f->trust.with.authority));
}

struct useless {
    struct daemon *d;
    struct vi_id key[64];
    unsigned n, kept;
};

static bool find_useless(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    struct useless *u = arg;
    if (useful(u->d, value, len))
        u->kept++;
    else
        u->key[u->n++] = *key;
    return u->n < sizeof u->key / sizeof u->key[0];
}

static void drop_useless(struct daemon *d)
{
    struct useless u = {.d = d};
    do {
        u.n = u.kept = 0;
        (void)store_each(d->store, STORE_FEDERATION_KEYS, find_useless, &u);
        for (unsigned i = 0; i < u.n; i++)
            if (store_delete(d->store, STORE_FEDERATION_KEYS, &u.key[i]))
                return;
    } while (u.n == sizeof u.key / sizeof u.key[0]);
    d->fed->statements = u.kept;
}

static void forget_seed(struct daemon *d, const struct seed *s)
{
    struct vi_id id;
    cert_peer_id(&id, s->ed);
    if (d->mesh && !vi_id_equal(&id, &d->me.id))
        mesh_io_forget(d->mesh, &id);
}

/* Nothing of that domain stays: sessions, hosts, addresses, what they said, its environments. */
static void cut_off(struct daemon *d, const struct fed_domain *f)
{
    const char *domain = f->trust.with.domain;
    const uint8_t *authority = f->trust.with.authority;
    struct mesh_peer_info p;
    struct vi_id found[64], key;
    unsigned n;
    fed_domain_key(&key, domain);
    for (unsigned i = d->fed->n_gone; i > 0; i--)
        if (vi_id_equal(&d->fed->gone[i - 1].domain, &key))
            d->fed->gone[i - 1] = d->fed->gone[--d->fed->n_gone];
    trust_drop(&d->trust, domain, authority);
    for (unsigned i = 0; i < TRUST_MAX; i++) /* and those that it named since */
        if (!strcmp(d->trust.slot[i].domain, domain))
            trust_drop(&d->trust, domain, d->trust.slot[i].authority);
    drop_useless(d);
    represent_forget(d, domain);
    for (unsigned i = 0; i < f->trust.with.seeds; i++)
        forget_seed(d, &f->trust.with.seed[i]);
    if (f->view.version)
        forget_seed(d, &f->view.rep);
    for (unsigned i = d->fed->n_hosts; i > 0; i--)
        if (!strcmp(d->fed->hosts[i - 1].cert.domain, domain))
            fed_drop_host(d, &d->fed->hosts[i - 1]);
    do {
        size_t pos = 0;
        n = 0;
        while (d->mesh && n < 64 && mesh_peer_next(mesh_io_core(d->mesh), &pos, &p))
            if (p.cert && !strcmp(p.cert->domain, domain))
                found[n++] = p.id;
        for (unsigned i = 0; i < n; i++) {
            mesh_io_forget(d->mesh, &found[i]);
            daemon_handover_drop_peer(d, &found[i]);
        }
    } while (n == 64);
    daemon_envs_participants(d);
}

/* A withdrawn trust gives its place in the table to another domain, but what the store has of it counts on: an old
 * statement that a long absent member brings along changes nothing. */
static bool outdated(struct daemon *d, const struct vi_id *key, uint64_t version)
{
    uint8_t b[FED_RECORD_MAX];
    struct fed_trust kept;
    size_t len;
    return store_get(d->store, STORE_FEDERATION, key, b, sizeof b, &len) == 0 && fed_trust_decode(&kept, b, len) == 0 &&
           kept.version > version;
}

void fed_take_trust(struct daemon *d, const uint8_t *bytes, size_t len)
{
    struct fed_trust t;
    struct fed_domain *f;
    struct vi_id key;
    bool was;
    if (fed_trust_decode(&t, bytes, len))
        return;
    f = slot_of(d, t.with.domain);
    if (!f) {
        daemon_warn(d, WARN_FEDERATION, "domain %s: federated with %d others already; it is left out here",
                    t.with.domain, FED_DOMAINS);
        return;
    }
    was = f->used && !f->trust.withdrawn;
    if (f->used && !strcmp(f->trust.with.domain, t.with.domain) && f->trust.version >= t.version)
        return;
    fed_domain_key(&key, t.with.domain);
    if (outdated(d, &key, t.version))
        return;
    if (store_put(d->store, STORE_FEDERATION, &key, bytes, len))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
    if (was && (t.withdrawn || (memcmp(f->trust.with.authority, t.with.authority, CERT_KEY) &&
                                !trust_has(&d->trust, t.with.domain, t.with.authority)))) /* a successor that we know */
        cut_off(d, f);
    if (strcmp(f->trust.with.domain, t.with.domain) || t.withdrawn)
        memset(f, 0, sizeof *f);
    f->used = true;
    f->trust = t;
    if (!t.withdrawn && trust_add(&d->trust, t.with.domain, t.with.authority, VI_NEVER))
        daemon_warn(d, WARN_FEDERATION, "domain %s: too many authorities are trusted already", t.with.domain);
    if (was == t.withdrawn)
        daemon_event_done(d, daemon_event(d, "federation", t.with.domain,
                                          t.withdrawn ? "%s is not federated with any more" : "federated with %s, as far as it lies with us",
                                          t.with.domain));
    if (!t.withdrawn)
        represent_seeds(d);
}

/* ---- what operators say ---- */

static bool may_federate(const struct daemon *d)
{
    return (d->me.cert.caps & CERT_FEDERATE) ||
           (keyring_caps(&d->keys->ring, d->me.ed_pk, vi_clock_wall()) & CERT_FEDERATE);
}

static int state(struct daemon *d, struct fed_trust *t, char *why, size_t cap)
{
    uint8_t b[FED_RECORD_MAX];
    struct fed_domain *f = slot_of(d, t->with.domain);
    struct vi_id key;
    size_t len;
    int n, err;
    if (!may_federate(d)) {
        snprintf(why, cap, "this host may not speak for the domain; one with the right `federate` can: violin delegate");
        return VI_EAUTH;
    }
    t->version = (uint64_t)vi_clock_wall();
    if (f && f->used && !strcmp(f->trust.with.domain, t->with.domain) && t->version <= f->trust.version)
        t->version = f->trust.version + 1;
    if (cert_encode(&d->me.cert, t->cert, sizeof t->cert, &len))
        return VI_EINVAL;
    t->cert_len = (unsigned)len;
    do {
        n = fed_trust_encode(t, d->me.ed_sk, b, sizeof b);
    } while (n < 0 && t->with.seeds > 1 && t->with.seeds--); /* what doesn't fit goes: one will do */
    if (n < 0) {
        snprintf(why, cap, "the statement does not fit: %s", vi_strerror(n));
        return n;
    }
    fed_domain_key(&key, t->with.domain);
    err = daemon_gossip_record(d, FED_RECORD_TRUST, &key, &d->me.id, t->version, b, (size_t)n);
    if (err) {
        snprintf(why, cap, "the statement can't be published: %s", vi_strerror(err));
        return err;
    }
    fed_take_trust(d, b, (size_t)n);
    return 0;
}

int fed_federate(struct daemon *d, const struct fed_card *card, const struct fed_limits *limits, char *why,
                 size_t cap)
{
    struct fed_trust t = {.with = *card, .limits = *limits};
    if (!strcmp(card->domain, d->me.cert.domain)) {
        snprintf(why, cap, "that is this domain's own card, or another domain of the same name; names tell domains apart");
        return VI_EINVAL;
    }
    if (!slot_of(d, card->domain)) {
        snprintf(why, cap, "federated with %d domains already", FED_DOMAINS);
        return VI_EFULL;
    }
    return state(d, &t, why, cap);
}

int fed_unfederate(struct daemon *d, const char *domain, char *why, size_t cap)
{
    struct fed_domain *f = fed_find(d, domain);
    struct fed_trust t;
    if (!f) {
        snprintf(why, cap, "not federated with `%.64s`; `violin domains` shows with whom", domain);
        return VI_ENOTFOUND;
    }
    t = f->trust;
    t.withdrawn = true;
    memset(&t.limits, 0, sizeof t.limits);
    return state(d, &t, why, cap);
}

/* The authority that we named is retired: one that it led to. */
static bool successor(const struct daemon *d, struct fed_card *with)
{
    if (trust_has(&d->trust, with->domain, with->authority))
        return false;
    for (unsigned i = 0; i < TRUST_MAX; i++) {
        if (strcmp(d->trust.slot[i].domain, with->domain))
            continue;
        memcpy(with->authority, d->trust.slot[i].authority, CERT_KEY);
        return true;
    }
    return false;
}

void fed_restate(struct daemon *d)
{
    struct vi_id newest, signer;
    char why[300] = "";
    struct cert c;
    cert_authority_id(&newest, trust_newest(&d->trust));
    if (!may_federate(d) || !vi_id_equal(&newest, &d->me.cert.authority))
        return;
    for (unsigned i = 0; i < FED_DOMAINS; i++) {
        struct fed_domain *f = &d->fed->domain[i];
        struct fed_trust t = f->trust;
        bool other;
        if (!f->used || cert_decode(&c, t.cert, t.cert_len))
            continue;
        cert_peer_id(&signer, c.ed);
        other = !t.withdrawn && successor(d, &t.with);
        if (!other && !daemon_keys_blocked(d, &signer) && vi_id_equal(&newest, &c.authority))
            continue;
        if (state(d, &t, why, sizeof why))
            vi_log(VI_LOG_WARN, "federation", "domain %s: what was said of it can't be said again: %s", t.with.domain, why);
    }
}

/* ---- what was kept ---- */

static bool load_trust(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    (void)key;
    fed_take_trust(arg, value, len);
    return true;
}

struct loading {
    struct daemon *d;
    unsigned kind;
};

static bool load_statement(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    struct loading *l = arg;
    const uint8_t *b = value;
    (void)key;
    if (len > 1 && b[0] == l->kind && fed_statement_good(l->d, b, len))
        fed_take_statement(l->d, b, len, false);
    return true;
}

static bool publish_trust(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    struct daemon *d = arg;
    struct fed_trust t;
    struct vi_id id;
    struct cert c;
    if (fed_trust_decode(&t, value, len) || cert_decode(&c, t.cert, t.cert_len))
        return true;
    cert_peer_id(&id, c.ed);
    if (fed_judge_trust(d, key, &id, t.version, value, len))
        (void)daemon_gossip_record(d, FED_RECORD_TRUST, key, &id, t.version, value, len);
    return true;
}

void fed_load_trust(struct daemon *d)
{
    (void)store_each(d->store, STORE_FEDERATION, load_trust, d);
    /* one rollover leads to the next, and they lie in no order */
    for (unsigned i = 0; i < ROLLOVERS; i++)
        (void)store_each(d->store, STORE_FEDERATION_KEYS, load_statement, &(struct loading){d, KEY_RECORD_ROLLOVER});
    (void)store_each(d->store, STORE_FEDERATION_KEYS, load_statement, &(struct loading){d, KEY_RECORD_REVOCATION});
    drop_useless(d);
}

void fed_publish_trust(struct daemon *d)
{
    (void)store_each(d->store, STORE_FEDERATION, publish_trust, d);
}
