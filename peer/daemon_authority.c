/* What is said about keys: by the authority, where its secret key is in the state folder, or by a delegate.
 *
 * Files of the authority: `authority` (its secret key), `authority.next` while a rollover is being made,
 * `authority.old` from then until the old one is retired. A rollover, in order: next written, statement
 * stored, old written, authority written, next removed; what was interrupted is finished at the next
 * start if the statement was stored, and undone if not. */
#include "peer/daemon_keys.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"

static const char no_authority[] = "the authority's secret key isn't on this host (`authority` in the state folder); "
                                   "run this where it is, or restore it: violin authority import";

static void remove_file(const struct daemon *d, const char *name)
{
    char path[CONFIG_TEXT + 32];
    snprintf(path, sizeof path, "%s/%s", d->cfg.state_dir, name);
    (void)unlink(path);
}

/* ---- whom is meant ---- */

struct wanted {
    const char *text;
    size_t hex; /* digits of an id, or 0 */
    const struct keyring *ring;
    unsigned found;
    struct vi_id id;
    uint8_t ed[CERT_KEY];
    char host[CERT_NAME_MAX + 1];
};

static void consider(struct wanted *w, const struct cert *c)
{
    char text[VI_ID_TEXT];
    struct vi_id id;
    cert_peer_id(&id, c->ed);
    vi_id_format(&id, text);
    if (strcmp(c->domain, w->ring->trust->domain) ||
        (strcmp(c->host, w->text) && !(w->hex && !strncmp(text, w->text, w->hex))))
        return;
    if (blocklist_find(&w->ring->revoked, &id) || (w->found && vi_id_equal(&id, &w->id)))
        return; /* a revoked one has made way for another of the name */
    w->found++;
    w->id = id;
    memcpy(w->ed, c->ed, CERT_KEY);
    memcpy(w->host, c->host, sizeof w->host);
}

static bool consider_kept(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    const uint8_t *b = value;
    struct cert c;
    (void)key;
    if (len > 1 && b[0] <= GOSSIP_ADDR_MAX && len > 1U + b[0] && !cert_decode(&c, b + 1 + b[0], len - 1 - b[0]))
        consider(arg, &c);
    return true;
}

/* A member by its name or (the beginning of) its id; also one that is long gone. */
static int find_member(struct daemon *d, const char *text, struct wanted *w, char *why, size_t cap)
{
    struct gossip_member m;
    struct cert c;
    size_t pos = 0, n = strlen(text);
    memset(w, 0, sizeof *w);
    w->text = text;
    w->ring = &d->keys->ring;
    if (n >= 8 && n <= 32 && strspn(text, "0123456789abcdef") == n)
        w->hex = n;
    while (gossip_member_next(d->gossip, &pos, &m))
        if (!cert_decode(&c, m.cert, m.cert_len))
            consider(w, &c);
    if (w->found == 0 || w->hex)
        (void)store_each(d->store, STORE_PEER, consider_kept, w);
    if (w->found == 1)
        return 0;
    if (w->found)
        snprintf(why, cap, "more than one member is called `%.64s`; give its id (violin members --json)", text);
    else
        snprintf(why, cap, "no member `%.64s`; give its name, or at least 8 digits of its id", text);
    return w->found ? VI_EEXIST : VI_ENOTFOUND;
}

/* ---- revocations ---- */

/* By the authority itself where it is, else by our delegation. */
static int sign_revocation(struct daemon *d, struct revocation *r)
{
    struct vi_id authority;
    const struct cert_delegation *mine;
    uint8_t secret[64];
    int err;
    if (daemon_keys_authority(d, secret)) {
        cert_authority_id(&authority, trust_newest(&d->trust));
        r->issue = (r->issue >= REVOKE_ISSUE_AUTHORITY ? r->issue : REVOKE_ISSUE_AUTHORITY) + 1;
        err = revocation_sign(r, &authority, NULL, secret);
        sodium_memzero(secret, sizeof secret);
        return err;
    }
    mine = keyring_mine(&d->keys->ring, CERT_REVOKE, vi_clock_wall(), &authority);
    if (!mine || r->issue >= REVOKE_ISSUE_AUTHORITY - 1)
        return VI_EAUTH;
    r->issue++;
    return revocation_sign(r, &authority, mine, d->me.ed_sk);
}

static int say_revocation(struct daemon *d, struct revocation *r)
{
    uint8_t b[STATEMENT_MAX];
    size_t len;
    int err = sign_revocation(d, r);
    if (!err)
        err = revocation_encode(r, b, sizeof b, &len);
    return err ? err : daemon_keys_publish(d, KEY_RECORD_REVOCATION, b, len);
}

/* Those that would not be believed any more by who hears of them from now on: of a delegate that was
 * revoked, of an authority that isn't the newest. */
static void sign_revocations_again(struct daemon *d)
{
    struct blocklist *b = &d->keys->ring.revoked;
    struct vi_id newest;
    cert_authority_id(&newest, trust_newest(&d->trust));
    for (unsigned i = 0; i < b->n; i++) {
        struct revocation r = b->e[i].r;
        if (vi_id_equal(&r.authority, &newest) &&
            !(r.delegated && blocklist_has_key(b, r.by.issuer)))
            continue;
        if (say_revocation(d, &r))
            vi_log(VI_LOG_WARN, "keys", "the revocation of %s can't be signed again", r.host);
    }
}

int daemon_revoke(struct daemon *d, const char *who, const char *text, struct vi_id *peer, char *why,
                  size_t cap)
{
    struct revocation r = {.at = vi_clock_wall()};
    struct wanted w;
    uint8_t secret[64];
    int err;
    if (!daemon_keys_authority(d, secret) &&
        !keyring_mine(&d->keys->ring, CERT_REVOKE, vi_clock_wall(), NULL)) {
        snprintf(why, cap, "this host may not revoke: it has neither the authority's key nor the capability "
                           "`revoke` (violin delegate)");
        return VI_EAUTH;
    }
    sodium_memzero(secret, sizeof secret);
    if (strlen(text) > REVOKE_WHY_MAX) {
        snprintf(why, cap, "--why: at most %d bytes", REVOKE_WHY_MAX);
        return VI_EINVAL;
    }
    err = find_member(d, who, &w, why, cap);
    if (err)
        return err;
    if (vi_id_equal(&w.id, &d->me.id)) {
        snprintf(why, cap, "that is this host; revoke it from another");
        return VI_EINVAL;
    }
    if (d->keys->ring.revoked.n >= REVOKED_MAX) {
        snprintf(why, cap, "%d keys are revoked already: no room; begin anew with another authority "
                           "(violin authority rollover)", REVOKED_MAX);
        return VI_EFULL;
    }
    memcpy(r.domain, d->me.cert.domain, sizeof r.domain);
    memcpy(r.host, w.host, sizeof r.host);
    memcpy(r.key, w.ed, CERT_KEY);
    memcpy(r.why, text, strlen(text));
    err = say_revocation(d, &r);
    if (err) {
        snprintf(why, cap, err == VI_EINVAL ? "the reason must be text without control characters"
                                            : "the statement can't be published: %s", vi_strerror(err));
        return err;
    }
    *peer = w.id;
    sign_revocations_again(d);
    daemon_envs_resign(d, false);
    return 0;
}

/* ---- delegations ---- */

static int say_delegation(struct daemon *d, const uint8_t ed[CERT_KEY], uint32_t caps, vi_time not_after,
                          const uint8_t secret[64])
{
    const struct delegation *have = keyring_delegation(&d->keys->ring, ed);
    struct delegation e = {0};
    vi_time from = vi_clock_wall();
    uint8_t b[STATEMENT_MAX];
    size_t len;
    int err;
    if (have && from <= have->d.not_before)
        from = have->d.not_before + 1; /* the newest counts, whatever our clock says */
    if (!have && !memcmp(ed, d->me.ed_pk, CERT_KEY) && d->me.has_delegation &&
        from <= d->me.delegation.not_before)
        from = d->me.delegation.not_before + 1;
    memcpy(e.domain, d->me.cert.domain, sizeof e.domain);
    cert_authority_id(&e.authority, trust_newest(&d->trust));
    err = cert_delegate(&e.d, e.domain, ed, from, not_after > from ? not_after : from + VI_SEC, caps, secret);
    if (!err)
        err = delegation_encode(&e, b, sizeof b, &len);
    return err ? err : daemon_keys_publish(d, KEY_RECORD_DELEGATION, b, len);
}

int daemon_delegate(struct daemon *d, const char *who, uint32_t caps, vi_time ttl, struct vi_id *peer,
                    char *why, size_t cap)
{
    struct wanted w;
    uint8_t secret[64];
    int err;
    if (!daemon_keys_authority(d, secret)) {
        snprintf(why, cap, "%s", no_authority);
        return VI_EAUTH;
    }
    err = find_member(d, who, &w, why, cap);
    if (!err)
        err = say_delegation(d, w.ed, caps, vi_clock_wall() + (caps ? ttl : DELEGATION_LIFE), secret);
    if (err && !why[0])
        snprintf(why, cap, "the delegation can't be published: %s%s", vi_strerror(err),
                 err == VI_EAUTH ? " (at most 256 hosts may hold one)" : "");
    sodium_memzero(secret, sizeof secret);
    *peer = w.id;
    return err;
}

/* Under the newest authority what was said under those before. */
static void delegate_again(struct daemon *d, const struct delegation *all, unsigned n, const uint8_t secret[64])
{
    struct vi_id newest;
    cert_authority_id(&newest, trust_newest(&d->trust));
    for (unsigned i = 0; i < n; i++)
        if (!vi_id_equal(&all[i].authority, &newest) &&
            say_delegation(d, all[i].d.issuer, all[i].d.caps, all[i].d.not_after, secret))
            vi_log(VI_LOG_WARN, "keys", "a delegation can't be signed again");
}

/* The authority's own host is its delegate in everything, so that the others find it. */
void daemon_authority_tick(struct daemon *d)
{
    static const vi_time soon = (vi_time)30 * 24 * VI_HOUR;
    struct keys *k = d->keys;
    const struct delegation *have = keyring_delegation(&k->ring, d->me.ed_pk);
    vi_time wall = vi_clock_wall();
    struct vi_id newest;
    uint8_t secret[64];
    if (daemon_keys_blocked(d, &d->me.id))
        return;
    cert_authority_id(&newest, trust_newest(&d->trust));
    if (daemon_keys_authority(d, secret)) {
        if (!have || !vi_id_equal(&have->authority, &newest) || have->d.caps != CERT_CAPS_ALL ||
            have->d.not_after < wall + soon)
            (void)say_delegation(d, d->me.ed_pk, CERT_CAPS_ALL, wall + DELEGATION_LIFE, secret);
        sign_revocations_again(d);
    } else if (!have && d->me.has_delegation) { /* from before the others were told of it */
        struct delegation e = {.d = d->me.delegation};
        uint8_t b[STATEMENT_MAX];
        size_t len;
        memcpy(e.domain, d->me.cert.domain, sizeof e.domain);
        if (keyring_mine(&k->ring, CERT_CAPS_ALL, wall, &e.authority) &&
            !delegation_encode(&e, b, sizeof b, &len))
            (void)daemon_keys_publish(d, KEY_RECORD_DELEGATION, b, len);
    }
    sodium_memzero(secret, sizeof secret);
}

/* ---- rollover ---- */

static int read_secret(const struct daemon *d, const char *name, uint8_t secret[64])
{
    size_t len;
    int err = identity_read_file(d->cfg.state_dir, name, secret, 64, &len);
    return err ? err : len == 64 ? 0 : VI_EPROTO;
}

/* From the statement on: the files follow it. */
static int finish_rollover(struct daemon *d, const uint8_t next[64], char *why, size_t cap)
{
    uint8_t old[64];
    int err = read_secret(d, "authority", old);
    if (!err && memcmp(old, next, 64))
        err = identity_write_file(d->cfg.state_dir, "authority.old", old, 64, why, cap);
    else if (err == VI_ENOTFOUND)
        err = 0;
    if (!err)
        err = identity_write_file(d->cfg.state_dir, "authority", next, 64, why, cap);
    sodium_memzero(old, sizeof old);
    if (!err)
        remove_file(d, "authority.next");
    return err;
}

void daemon_authority_recover(struct daemon *d)
{
    uint8_t next[64], pk[CERT_KEY];
    char why[300] = "";
    if (read_secret(d, "authority.next", next))
        return;
    crypto_sign_ed25519_sk_to_pk(pk, next);
    if (memcmp(pk, trust_newest(&d->trust), CERT_KEY))
        remove_file(d, "authority.next"); /* nobody has heard of it */
    else if (finish_rollover(d, next, why, sizeof why))
        daemon_warn(d, WARN_STORE, "the new authority's key waits as authority.next: %s", why);
    sodium_memzero(next, sizeof next);
}

static int say_rollover(struct daemon *d, const struct rollover *r)
{
    uint8_t b[STATEMENT_MAX];
    size_t len;
    int err = rollover_encode(r, b, sizeof b, &len);
    return err ? err : daemon_keys_publish(d, KEY_RECORD_ROLLOVER, b, len);
}

/* The rollover that made the newest authority and isn't ended yet, or NULL. */
static const struct rollover *latest(const struct daemon *d)
{
    const struct keyring *ring = &d->keys->ring;
    for (unsigned i = 0; i < ring->n_rollovers; i++)
        if (!memcmp(ring->rollovers[i].after, trust_newest(&d->trust), CERT_KEY) &&
            trust_has(&d->trust, d->trust.domain, ring->rollovers[i].before))
            return &ring->rollovers[i];
    return NULL;
}

int daemon_rollover(struct daemon *d, vi_time overlap, char *why, size_t cap)
{
    static struct delegation before[DELEGATIONS_MAX];
    unsigned n = d->keys->ring.n_delegations;
    struct rollover r = {.at = vi_clock_wall()};
    uint8_t old[64], next[64], pk[CERT_KEY];
    int err;
    if (latest(d)) {
        snprintf(why, cap, "the last rollover isn't over: violin authority retire");
        return VI_ESTATE;
    }
    if (!daemon_keys_authority(d, old)) {
        snprintf(why, cap, "%s", no_authority);
        return VI_EAUTH;
    }
    memcpy(before, d->keys->ring.delegations, sizeof before);
    memcpy(r.domain, d->me.cert.domain, sizeof r.domain);
    r.until = r.at + overlap;
    crypto_sign_keypair(pk, next);
    err = rollover_sign(&r, old, next);
    if (!err)
        err = identity_write_file(d->cfg.state_dir, "authority.next", next, 64, why, cap);
    if (!err)
        err = say_rollover(d, &r);
    if (!err)
        err = finish_rollover(d, next, why, cap);
    if (!err) {
        delegate_again(d, before, n, next);
        sign_revocations_again(d);
        d->keys->next = d->keys->next_authority = 0;
    }
    sodium_memzero(old, sizeof old);
    sodium_memzero(next, sizeof next);
    if (err && !why[0])
        snprintf(why, cap, "the statement can't be made: %s", vi_strerror(err));
    return err;
}

struct behind {
    struct daemon *d;
    struct vi_id newest;
    unsigned n;
    size_t used;
    char names[256];
};

static bool count_behind(void *arg, const struct vi_id *peer, const void *value, size_t len)
{
    struct behind *x = arg;
    const uint8_t *b = value;
    struct cert c;
    if (len < 2 || b[0] > GOSSIP_ADDR_MAX || len < 1U + b[0] || cert_decode(&c, b + 1 + b[0], len - 1 - b[0]) ||
        strcmp(c.domain, x->d->me.cert.domain) || vi_id_equal(&c.authority, &x->newest) ||
        daemon_keys_blocked(x->d, peer))
        return true;
    if (x->n++ < 5 && x->used < sizeof x->names)
        x->used += (size_t)snprintf(x->names + x->used, sizeof x->names - x->used, "%s%.40s", x->n > 1 ? ", " : "",
                                    c.host);
    return true;
}

/* Members, also those that have been away for long, of whom no certificate of the newest authority is known. */
static int left_behind(struct daemon *d, struct behind *x)
{
    memset(x, 0, sizeof *x);
    x->d = d;
    cert_authority_id(&x->newest, trust_newest(&d->trust));
    return store_each(d->store, STORE_PEER, count_behind, x);
}

int daemon_retire(struct daemon *d, bool force, char *why, size_t cap)
{
    const struct rollover *now = latest(d);
    struct rollover r;
    uint8_t secret[64];
    struct behind x;
    int err;
    if (!now) {
        snprintf(why, cap, "there is no old authority to retire: violin authority rollover makes a new one first");
        return VI_ESTATE;
    }
    if (left_behind(d, &x)) {
        snprintf(why, cap, "%s", store_error(d->store));
        return VI_EIO;
    }
    if (x.n && !force) {
        snprintf(why, cap, "%u member(s) have no certificate of the new authority yet: %s%s; wait, or --force "
                           "(those that are away come back even so)", x.n, x.names, x.n > 5 ? ", …" : "");
        return VI_ESTATE;
    }
    if (!daemon_keys_authority(d, secret)) {
        snprintf(why, cap, "%s", no_authority);
        return VI_EAUTH;
    }
    sign_revocations_again(d);
    r = *now;
    err = rollover_retire(&r, vi_clock_wall(), secret);
    sodium_memzero(secret, sizeof secret);
    if (!err)
        err = say_rollover(d, &r);
    if (err)
        snprintf(why, cap, "the statement can't be published: %s", vi_strerror(err));
    else
        remove_file(d, "authority.old");
    if (!err)
        daemon_envs_resign(d, true);
    return err;
}
