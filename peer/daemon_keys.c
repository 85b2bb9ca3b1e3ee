/* The daemon and statements about keys: they come by the gossip or are made here, are kept in the store,
 * and change whom we speak with. See daemon_keys.h. */
#include "peer/daemon_keys.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/rpc_write.h"

#define RECHECKS 24 /* 5 s apart: the members go over within a minute or so */

/* ---- what was kept of members ---- */

static bool kept_cert(void *arg, const struct vi_id *peer, struct cert *c)
{
    struct daemon *d = arg;
    uint8_t b[1 + GOSSIP_ADDR_MAX + CERT_MAX];
    size_t len;
    if (store_get(d->store, STORE_PEER, peer, b, sizeof b, &len) || len < 1 || b[0] > GOSSIP_ADDR_MAX ||
        len < 1U + b[0])
        return false;
    return cert_decode(c, b + 1 + b[0], len - 1 - b[0]) == 0;
}

/* ---- opening ---- */

struct loading {
    struct daemon *d;
    unsigned kind;
};

static bool load_one(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    struct loading *l = arg;
    const uint8_t *b = value;
    (void)key;
    if (len > 1 && b[0] == l->kind)
        (void)keyring_take(&l->d->keys->ring, l->kind, b + 1, len - 1);
    return true;
}

int daemon_keys_open(struct daemon *d, char *why, size_t cap)
{
    static const unsigned order[] = {KEY_RECORD_ROLLOVER, KEY_RECORD_DELEGATION, KEY_RECORD_REVOCATION};
    const uint8_t *authority;
    trust_init(&d->trust, d->me.cert.domain, d->me.authority);
    d->keys = calloc(1, sizeof *d->keys);
    if (!d->keys) {
        snprintf(why, cap, "out of memory");
        return VI_ENOMEM;
    }
    keyring_init(&d->keys->ring, &d->me, &d->trust);
    d->keys->ring.arg = d;
    d->keys->ring.kept = kept_cert;
    for (unsigned i = 0; i < 3; i++) {
        struct loading l = {d, order[i]};
        if (store_each(d->store, STORE_STATEMENT, load_one, &l)) {
            snprintf(why, cap, "%s", store_error(d->store));
            return VI_EIO;
        }
    }
    (void)keyring_tick(&d->keys->ring, vi_clock_wall());
    /* our certificate's own, also if we were killed between its two files */
    authority = trust_own_key(&d->trust, &d->me.cert.authority, NULL);
    if (authority)
        memcpy(d->me.authority, authority, CERT_KEY);
    d->keys->enforce = true;
    daemon_authority_recover(d);
    return 0;
}

void daemon_keys_free(struct daemon *d)
{
    if (!d->keys)
        return;
    if (d->keys->waiting)
        rpc_error(d->keys->waiting, VI_ECANCELED, "the peer ends");
    keyring_free(&d->keys->ring);
    free(d->keys);
    d->keys = NULL;
}

/* ---- statements ---- */

static uint64_t version_of(unsigned kind, const uint8_t *bytes, size_t len, struct vi_id *key)
{
    struct revocation r;
    struct delegation e;
    struct rollover o;
    if (kind == KEY_RECORD_REVOCATION && !revocation_decode(&r, bytes, len)) {
        statement_key(key, kind, r.key);
        return r.issue;
    }
    if (kind == KEY_RECORD_DELEGATION && !delegation_decode(&e, bytes, len)) {
        statement_key(key, kind, e.d.issuer);
        return (uint64_t)e.d.not_before;
    }
    if (kind == KEY_RECORD_ROLLOVER && !rollover_decode(&o, bytes, len)) {
        statement_key(key, kind, o.before);
        return rollover_version(&o);
    }
    return 0;
}

static int put_record(struct daemon *d, unsigned kind, const uint8_t *bytes, size_t len)
{
    struct vi_id key;
    uint64_t version = version_of(kind, bytes, len, &key);
    if (!version || !keyring_accept(&d->keys->ring, kind, &key, &key, version, bytes, len))
        return VI_EAUTH; /* a retired authority's: kept here, but nobody would take it */
    return daemon_gossip_record(d, kind, &key, &key, version, bytes, len);
}

static bool publish_one(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    const uint8_t *b = value;
    (void)key;
    if (len > 1)
        (void)put_record(arg, b[0], b + 1, len - 1);
    return true;
}

void daemon_keys_load(struct daemon *d)
{
    (void)store_each(d->store, STORE_STATEMENT, publish_one, d);
}

static int keep(struct daemon *d, unsigned kind, const uint8_t *bytes, size_t len)
{
    uint8_t b[1 + STATEMENT_MAX];
    struct vi_id key;
    if (!version_of(kind, bytes, len, &key))
        return VI_EPROTO;
    b[0] = (uint8_t)kind;
    memcpy(b + 1, bytes, len);
    if (store_put(d->store, STORE_STATEMENT, &key, b, len + 1) == 0)
        return 0;
    daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
    return VI_EIO;
}

/* A delegation of this host: it may do more, or less, from now on. */
static void own_delegation(struct daemon *d, const struct delegation *e)
{
    char why[300], caps[CAPS_TEXT];
    uint8_t b[CERT_DELEG_MAX];
    size_t len;
    if (memcmp(e->d.issuer, d->me.ed_pk, CERT_KEY) ||
        (d->me.has_delegation && !memcmp(&d->me.delegation, &e->d, sizeof e->d)))
        return;
    if (cert_delegation_encode(&e->d, b, sizeof b, &len))
        return;
    if (identity_write_file(d->cfg.state_dir, "delegation", b, len, why, sizeof why))
        daemon_warn(d, WARN_STORE, "%s", why);
    d->me.delegation = e->d;
    d->me.has_delegation = true;
    daemon_event_done(d, daemon_event(d, "keys", d->me.cert.host, "this host may now, in the authority's place: %s",
                                      caps_format(e->d.caps, caps)));
}

/* What changes with a statement that is new. */
static void changed(struct daemon *d, unsigned kind, const uint8_t *bytes, size_t len)
{
    struct revocation r;
    struct delegation e;
    struct rollover o;
    struct vi_id id;
    char text[VI_ID_TEXT];
    if (kind == KEY_RECORD_REVOCATION && !revocation_decode(&r, bytes, len)) {
        cert_peer_id(&id, r.key);
        vi_id_format(&id, text);
        text[8] = 0;
        d->keys->enforce = true;
        daemon_event_done(d, daemon_event(d, "revoked", r.host[0] ? r.host : text, "%s (%s) was revoked by %s%s%s",
                                          r.host[0] ? r.host : "a host", text,
                                          daemon_keys_issuer(d, r.delegated, &r.by), r.why[0] ? ": " : "", r.why));
    } else if (kind == KEY_RECORD_DELEGATION && !delegation_decode(&e, bytes, len)) {
        own_delegation(d, &e);
    } else if (kind == KEY_RECORD_ROLLOVER && !rollover_decode(&o, bytes, len)) {
        daemon_event_done(d, daemon_event(d, "keys", d->me.cert.domain,
                                          o.retired ? "an authority of %s is retired" : "%s has a new authority",
                                          d->me.cert.domain));
        d->keys->next = 0;
        d->keys->rechecks = RECHECKS;
    }
}

bool daemon_keys_accept(struct daemon *d, unsigned kind, const struct vi_id *key,
                        const struct vi_id *origin, uint64_t version, const uint8_t *bytes, size_t len)
{
    if (keyring_accept(&d->keys->ring, kind, key, origin, version, bytes, len))
        return true;
    if (kind == KEY_RECORD_ROLLOVER && keyring_contradicts(&d->keys->ring, bytes, len))
        daemon_warn(d, WARN_ROLLOVER, "an authority of this domain has named two successors: its key is stolen, or "
                                      "two rollovers were made at once; this host follows the one it heard of first");
    return false;
}

static void take(struct daemon *d, unsigned kind, const uint8_t *bytes, size_t len)
{
    int err = keyring_take(&d->keys->ring, kind, bytes, len);
    if (err == VI_EEXIST)
        return;
    if (err) {
        vi_log(VI_LOG_WARN, "keys", "a statement can't be taken: %s", vi_strerror(err));
        return;
    }
    (void)keep(d, kind, bytes, len);
    changed(d, kind, bytes, len);
}

void daemon_keys_record(struct daemon *d, unsigned kind, const struct vi_id *key)
{
    struct gossip_record r;
    uint8_t b[STATEMENT_MAX];
    if (kind < KEY_RECORD_REVOCATION || kind > KEY_RECORD_ROLLOVER) /* others', about environments */
        return;
    if (!gossip_record_get(d->gossip, (uint8_t)kind, key, &r) || r.len > sizeof b)
        return;
    memcpy(b, r.bytes, r.len); /* the gossip's own may go with the next step */
    take(d, kind, b, r.len);
}

int daemon_keys_publish(struct daemon *d, unsigned kind, const uint8_t *bytes, size_t len)
{
    struct vi_id key;
    uint64_t version = version_of(kind, bytes, len, &key);
    int err;
    if (!version || !keyring_accept(&d->keys->ring, kind, &key, &key, version, bytes, len))
        return VI_EAUTH;
    err = keep(d, kind, bytes, len);
    if (err)
        return err;
    err = keyring_take(&d->keys->ring, kind, bytes, len);
    if (err && err != VI_EEXIST)
        return err;
    if (!err)
        changed(d, kind, bytes, len);
    err = daemon_gossip_record(d, kind, &key, &key, version, bytes, len);
    return err == VI_EEXIST ? 0 : err;
}

/* ---- judgements ---- */

bool daemon_keys_blocked(const struct daemon *d, const struct vi_id *peer)
{
    return d->keys && blocklist_find(&d->keys->ring.revoked, peer) != NULL;
}

bool daemon_keys_refuses(void *arg, const struct vi_id *peer, const struct cert *c)
{
    struct daemon *d = arg;
    return keyring_refuses(&d->keys->ring, peer, c);
}

bool daemon_keys_vouches(void *arg, const struct vi_id *peer, const struct cert *c, vi_time wall)
{
    struct daemon *d = arg;
    return keyring_vouches(&d->keys->ring, peer, c, wall);
}

bool daemon_keys_admits(const struct daemon *d, const struct cert *c)
{
    return keyring_admits(&d->keys->ring, c);
}

/* Is there another member of that name that hasn't left and isn't held dead? */
static bool name_taken(struct daemon *d, const struct vi_id *peer, const char *host)
{
    struct gossip_member m;
    size_t pos = 0;
    while (gossip_member_next(d->gossip, &pos, &m))
        if ((m.state == GOSSIP_ALIVE || m.state == GOSSIP_SUSPECT) && !strcmp(m.name, host) && !vi_id_equal(&m.id, peer))
            return true;
    return false;
}

bool daemon_keys_refuses_join(void *arg, const uint8_t ed[CERT_KEY], const char *host, char *why, size_t cap)
{
    struct daemon *d = arg;
    struct vi_id id;
    const struct revoked *e;
    cert_peer_id(&id, ed);
    e = blocklist_find(&d->keys->ring.revoked, &id);
    if (e)
        snprintf(why, cap, "this host's key was revoked%s%.60s; to join with new ones, remove `key` from its state folder",
                 e->r.why[0] ? ": " : "", e->r.why);
    else if (name_taken(d, &id, host))
        snprintf(why, cap, "`%.40s` is a living member: choose another name with --host, or end that one first", host);
    else
        return false;
    return true;
}

uint32_t daemon_keys_caps(const struct daemon *d, const struct vi_id *peer)
{
    struct gossip_member m;
    if (!gossip_member_find(d->gossip, peer, &m))
        return 0;
    return keyring_caps(&d->keys->ring, m.key, vi_clock_wall());
}

bool daemon_keys_authority(struct daemon *d, uint8_t secret[64])
{
    uint8_t pk[CERT_KEY];
    size_t len;
    if (identity_read_file(d->cfg.state_dir, "authority", secret, 64, &len) || len != 64)
        return false;
    crypto_sign_ed25519_sk_to_pk(pk, secret);
    if (memcmp(pk, trust_newest(&d->trust), CERT_KEY) == 0)
        return true;
    sodium_memzero(secret, 64);
    return false;
}

const char *daemon_keys_issuer(struct daemon *d, bool delegated, const struct cert_delegation *by)
{
    struct vi_id id;
    struct cert c;
    static char name[CERT_NAME_MAX + 1];
    struct gossip_member m;
    if (!delegated)
        return "the authority";
    cert_peer_id(&id, by->issuer);
    if (!(d->gossip && gossip_member_find(d->gossip, &id, &m)) && kept_cert(d, &id, &c)) {
        memcpy(name, c.host, sizeof name);
        return name;
    }
    return daemon_member_name(d, &id);
}

/* ---- enforcement ---- */

static void turn_out(struct daemon *d, struct revoked *e)
{
    struct gossip_event forget = {.kind = GOSSIP_EV_FORGET, .peer = e->peer};
    struct mesh_peer_info info;
    uint8_t b[STATEMENT_MAX];
    size_t len;
    if (mesh_peer_find(mesh_io_core(d->mesh), &e->peer, &info)) {
        /* so that it knows; then nothing more passes */
        if (info.up && revocation_encode(&e->r, b, sizeof b, &len) == 0)
            calls_tell(d->calls, &e->peer, CALL_REVOKED, b, len);
        mesh_io_forget(d->mesh, &e->peer);
    }
    (void)gossip_step(d->gossip, daemon_now(), &forget);
    daemon_envs_member(d, &e->peer, GOSSIP_LEFT);
    daemon_handover_drop_peer(d, &e->peer);
    if (store_delete(d->store, STORE_PEER, &e->peer))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
}

static void enforce(struct daemon *d)
{
    struct blocklist *b = &d->keys->ring.revoked;
    d->keys->enforce = false;
    for (unsigned i = 0; i < b->n; i++) {
        if (b->e[i].enforced)
            continue;
        b->e[i].enforced = true;
        if (vi_id_equal(&b->e[i].peer, &d->me.id)) {
            char when[32];
            time_t t = (time_t)(b->e[i].r.at / VI_SEC);
            struct tm tm;
            strftime(when, sizeof when, "%Y-%m-%d %H:%M", localtime_r(&t, &tm));
            daemon_warn(d, WARN_REVOKED, "this host's key was revoked (%s)%s%.100s; to come back, join again with new keys",
                        when, b->e[i].r.why[0] ? ": " : "", b->e[i].r.why);
        } else {
            turn_out(d, &b->e[i]);
        }
    }
}

void daemon_keys_told(struct daemon *d, const uint8_t *body, size_t len)
{
    struct revocation r;
    struct vi_id key;
    if (revocation_decode(&r, body, len))
        return;
    statement_key(&key, KEY_RECORD_REVOCATION, r.key);
    if (keyring_accept(&d->keys->ring, KEY_RECORD_REVOCATION, &key, &key, r.issue, body, len))
        (void)daemon_keys_publish(d, KEY_RECORD_REVOCATION, body, len);
}

void daemon_keys_pump(struct daemon *d, vi_time now)
{
    struct keys *k = d->keys;
    if (k->enforce)
        enforce(d);
    if (now < k->next)
        return;
    k->next = now + VI_SEC;
    if (keyring_tick(&k->ring, vi_clock_wall()))
        daemon_event_done(d, daemon_event(d, "keys", d->me.cert.domain, "an authority's time is over"));
    if (k->rechecks && now >= k->recheck_at) { /* who was faster than the news of its authority */
        struct gossip_event ev = {.kind = GOSSIP_EV_RECHECK};
        (void)gossip_step(d->gossip, now, &ev);
        k->rechecks--;
        k->recheck_at = now + 5 * VI_SEC;
    }
    if (now >= k->next_authority) {
        k->next_authority = now + 10 * VI_SEC;
        daemon_authority_tick(d);
    }
    daemon_renew_tick(d, now);
}

/* ---- members ---- */

/* What it may do, and its certificate. */
static const struct cert *shown(const struct gossip_member *m)
{
    static struct cert c;
    return cert_decode(&c, m->cert, m->cert_len) ? NULL : &c;
}

unsigned daemon_keys_member_fields(const struct daemon *d, const struct gossip_member *m)
{
    return (keyring_caps(&d->keys->ring, m->key, vi_clock_wall()) ? 1U : 0) + (shown(m) ? 2U : 0);
}

void daemon_keys_write_member(struct daemon *d, struct vi_writer *w, const struct gossip_member *m)
{
    uint32_t caps = keyring_caps(&d->keys->ring, m->key, vi_clock_wall());
    const struct cert *c = shown(m);
    char text[CAPS_TEXT];
    if (caps)
        put_text(w, "capabilities", caps_format(caps, text));
    if (c) {
        put_text(w, "issued_by", daemon_keys_issuer(d, c->delegated, &c->by));
        put_number(w, "cert_until", (double)c->not_after / 1e6);
    }
}
