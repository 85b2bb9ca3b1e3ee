/* What is true about keys. See keyring.h. */
#include "peer/keyring.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

void keyring_init(struct keyring *k, const struct identity *me, struct trust *trust)
{
    memset(k, 0, sizeof *k);
    k->me = me;
    k->trust = trust;
}

void keyring_free(struct keyring *k)
{
    blocklist_free(&k->revoked);
}

static bool ours(const struct keyring *k, const char *domain)
{
    return !strcmp(domain, k->trust->domain);
}

/* The key of a trusted authority of our domain, or NULL. */
static const uint8_t *trusted(const struct keyring *k, const struct vi_id *authority)
{
    bool now;
    const uint8_t *key = trust_own_key(k->trust, authority, &now);
    return now ? key : NULL;
}

static bool knows(const struct keyring *k, const uint8_t authority[CERT_KEY])
{
    struct vi_id id;
    cert_authority_id(&id, authority);
    return trust_own_key(k->trust, &id, NULL) != NULL;
}

/* ---- delegations ---- */

static struct delegation *find_delegation(const struct keyring *k, const uint8_t ed[CERT_KEY])
{
    for (unsigned i = 0; i < k->n_delegations; i++)
        if (!memcmp(k->delegations[i].d.issuer, ed, CERT_KEY))
            return (struct delegation *)&k->delegations[i];
    return NULL;
}

const struct delegation *keyring_delegation(const struct keyring *k, const uint8_t ed[CERT_KEY])
{
    return find_delegation(k, ed);
}

/* Is there a newer word on that delegate, without the right? */
static bool withdrawn(const struct keyring *k, const struct cert_delegation *d, uint32_t cap)
{
    const struct delegation *newer = find_delegation(k, d->issuer);
    return newer && newer->d.not_before > d->not_before && !(newer->d.caps & cap);
}

uint32_t keyring_caps(const struct keyring *k, const uint8_t ed[CERT_KEY], vi_time wall)
{
    const struct delegation *d = find_delegation(k, ed);
    const uint8_t *authority = d ? trusted(k, &d->authority) : NULL;
    if (!authority || blocklist_has_key(&k->revoked, ed) || delegation_verify(d, authority, wall))
        return 0;
    return d->d.caps & CERT_CAPS_ALL;
}

const struct cert_delegation *keyring_mine(const struct keyring *k, uint32_t cap, vi_time wall,
                                           struct vi_id *authority)
{
    const struct cert_delegation *d = &k->me->delegation;
    if (!k->me->has_delegation || !(d->caps & cap) || blocklist_has_key(&k->revoked, k->me->ed_pk))
        return NULL;
    for (unsigned i = 0; i < TRUST_MAX; i++) {
        if (!ours(k, k->trust->slot[i].domain) ||
            cert_delegation_verify(d, k->trust->domain, k->trust->slot[i].authority, wall))
            continue;
        if (authority)
            cert_authority_id(authority, k->trust->slot[i].authority);
        return d;
    }
    return NULL;
}

/* ---- rollovers ---- */

static struct rollover *find_rollover(const struct keyring *k, const uint8_t before[CERT_KEY])
{
    for (unsigned i = 0; i < k->n_rollovers; i++)
        if (!memcmp(k->rollovers[i].before, before, CERT_KEY))
            return (struct rollover *)&k->rollovers[i];
    return NULL;
}

/* One statement's effect on trust; true if there was any. */
static bool apply(struct keyring *k, const struct rollover *r)
{
    bool was = trust_has(k->trust, r->domain, r->before);
    if (!memcmp(trust_newest(k->trust), r->before, CERT_KEY)) {
        if (trust_succeed(k->trust, r->after, r->until))
            return false;
        if (r->retired)
            trust_drop(k->trust, r->domain, r->before);
        return true;
    }
    if (!knows(k, r->after))
        return false;
    if (!knows(k, r->before)) { /* from before we came */
        if (r->retired)
            trust_former(k->trust, r->before);
        else if (trust_add(k->trust, r->domain, r->before, r->until))
            return false;
        return true;
    }
    if (was && r->retired)
        trust_drop(k->trust, r->domain, r->before);
    return was && r->retired;
}

/* In whatever order they came: until nothing changes. */
static void apply_all(struct keyring *k)
{
    bool again = true;
    for (unsigned n = 0; again && n <= k->n_rollovers; n++) {
        again = false;
        for (unsigned i = 0; i < k->n_rollovers; i++)
            again |= apply(k, &k->rollovers[i]);
    }
}

static void drop_old_delegations(struct keyring *k)
{
    unsigned n = 0;
    for (unsigned i = 0; i < k->n_delegations; i++)
        if (trusted(k, &k->delegations[i].authority))
            k->delegations[n++] = k->delegations[i];
    k->n_delegations = n;
}

unsigned keyring_tick(struct keyring *k, vi_time wall)
{
    unsigned n = trust_expire(k->trust, wall);
    if (n)
        drop_old_delegations(k);
    return n;
}

/* ---- accepting ---- */

static bool accept_revocation(const struct keyring *k, const struct revocation *r)
{
    const uint8_t *authority = trusted(k, &r->authority);
    struct vi_id peer;
    struct revoked *have;
    if (!authority || !ours(k, r->domain) || r->delegated != (r->issue < REVOKE_ISSUE_AUTHORITY))
        return false;
    cert_peer_id(&peer, r->key);
    have = blocklist_find(&k->revoked, &peer);
    if (!have && k->revoked.n >= REVOKED_MAX)
        return false;
    if (r->delegated && (blocklist_has_key(&k->revoked, r->by.issuer) || withdrawn(k, &r->by, CERT_REVOKE)))
        return false;
    return revocation_verify(r, authority) == 0;
}

static bool accept_delegation(const struct keyring *k, const struct delegation *d)
{
    const uint8_t *authority = trusted(k, &d->authority);
    return authority && ours(k, d->domain) && !blocklist_has_key(&k->revoked, d->d.issuer) &&
           (k->n_delegations < DELEGATIONS_MAX || find_delegation(k, d->d.issuer)) &&
           delegation_verify(d, authority, d->d.not_before) == 0;
}

/* The first successor that was heard of counts: who steals a retired authority can't name another. */
static bool accept_rollover(const struct keyring *k, const struct rollover *r)
{
    const struct rollover *have = find_rollover(k, r->before);
    if (!ours(k, r->domain) || (have && memcmp(have->after, r->after, CERT_KEY)))
        return false;
    if (!have && knows(k, r->before) == knows(k, r->after))
        return false; /* of neither, or a circle */
    return rollover_verify(r) == 0;
}

bool keyring_contradicts(const struct keyring *k, const uint8_t *bytes, size_t len)
{
    const struct rollover *have;
    struct rollover r;
    if (rollover_decode(&r, bytes, len) || !ours(k, r.domain))
        return false;
    have = find_rollover(k, r.before);
    return have && memcmp(have->after, r.after, CERT_KEY) && rollover_verify(&r) == 0;
}

bool keyring_accept(const struct keyring *k, unsigned kind, const struct vi_id *key,
                    const struct vi_id *origin, uint64_t version, const uint8_t *bytes, size_t len)
{
    struct revocation r;
    struct delegation d;
    struct rollover o;
    const uint8_t *about;
    uint64_t v;
    struct vi_id id;
    bool good;
    if (kind == KEY_RECORD_REVOCATION && !revocation_decode(&r, bytes, len)) {
        about = r.key;
        v = r.issue;
        good = accept_revocation(k, &r);
    } else if (kind == KEY_RECORD_DELEGATION && !delegation_decode(&d, bytes, len)) {
        about = d.d.issuer;
        v = (uint64_t)d.d.not_before;
        good = accept_delegation(k, &d);
    } else if (kind == KEY_RECORD_ROLLOVER && !rollover_decode(&o, bytes, len)) {
        about = o.before;
        v = rollover_version(&o);
        good = accept_rollover(k, &o);
    } else {
        return false;
    }
    statement_key(&id, kind, about);
    return good && v == version && vi_id_equal(&id, key) && vi_id_equal(&id, origin);
}

static int take_revocation(struct keyring *k, const struct revocation *r)
{
    bool changed;
    int err = blocklist_add(&k->revoked, r, &changed);
    return err ? err : changed ? 0 : VI_EEXIST;
}

static int take_delegation(struct keyring *k, const struct delegation *d)
{
    struct delegation *have = find_delegation(k, d->d.issuer);
    if (have && have->d.not_before >= d->d.not_before)
        return VI_EEXIST;
    if (!have && k->n_delegations == DELEGATIONS_MAX)
        return VI_EFULL;
    *(have ? have : &k->delegations[k->n_delegations++]) = *d;
    return 0;
}

static int take_rollover(struct keyring *k, const struct rollover *r)
{
    struct rollover *have = find_rollover(k, r->before);
    unsigned oldest = 0;
    if (have && rollover_version(have) >= rollover_version(r))
        return VI_EEXIST;
    if (!have && k->n_rollovers < ROLLOVERS_MAX)
        have = &k->rollovers[k->n_rollovers++];
    for (unsigned i = 1; !have && i < ROLLOVERS_MAX; i++)
        if (k->rollovers[i].at < k->rollovers[oldest].at)
            oldest = i;
    *(have ? have : &k->rollovers[oldest]) = *r;
    apply_all(k);
    drop_old_delegations(k);
    return 0;
}

int keyring_take(struct keyring *k, unsigned kind, const uint8_t *bytes, size_t len)
{
    struct revocation r;
    struct delegation d;
    struct rollover o;
    if (kind == KEY_RECORD_REVOCATION)
        return revocation_decode(&r, bytes, len) ? VI_EPROTO : take_revocation(k, &r);
    if (kind == KEY_RECORD_DELEGATION)
        return delegation_decode(&d, bytes, len) ? VI_EPROTO : take_delegation(k, &d);
    if (kind == KEY_RECORD_ROLLOVER)
        return rollover_decode(&o, bytes, len) ? VI_EPROTO : take_rollover(k, &o);
    return VI_EPROTO;
}

/* ---- judgements ---- */

static bool delegate_blocked(const struct keyring *k, const struct cert_delegation *d, uint32_t cap)
{
    return blocklist_has_key(&k->revoked, d->issuer) || withdrawn(k, d, cap);
}

/* Was it issued by one that was revoked, or may no longer? Its dates don't tell when: they are its word. */
static bool issuer_blocked(const struct keyring *k, const struct cert *c)
{
    if (c->delegated && delegate_blocked(k, &c->by, c->renewed ? CERT_RENEW : CERT_ADMIT))
        return true;
    return c->renewed && c->root.delegated && delegate_blocked(k, &c->root.by, CERT_ADMIT);
}

static bool is_kept(const struct keyring *k, const struct vi_id *peer, const struct cert *c,
                    struct cert *kept)
{
    return k->kept && k->kept(k->arg, peer, kept) && !strcmp(kept->domain, c->domain) &&
           !memcmp(kept->ed, c->ed, CERT_KEY) && !memcmp(kept->x, c->x, CERT_KEY);
}

bool keyring_refuses(const struct keyring *k, const struct vi_id *peer, const struct cert *c)
{
    struct cert kept;
    if (!ours(k, c->domain))
        return false;
    return blocklist_find(&k->revoked, peer) || (issuer_blocked(k, c) && !is_kept(k, peer, c, &kept));
}

bool keyring_vouches(const struct keyring *k, const struct vi_id *peer, const struct cert *c,
                     vi_time wall)
{
    struct cert kept;
    return ours(k, c->domain) && !blocklist_find(&k->revoked, peer) && is_kept(k, peer, c, &kept) &&
           trust_check_former(k->trust, &kept, wall) == 0;
}

bool keyring_admits(const struct keyring *k, const struct cert *c)
{
    struct vi_id peer;
    struct cert kept;
    cert_peer_id(&peer, c->ed);
    if (!ours(k, c->domain) || blocklist_find(&k->revoked, &peer))
        return false;
    if (trust_check(k->trust, c, c->not_before) == 0 && !issuer_blocked(k, c))
        return true;
    return is_kept(k, &peer, c, &kept) && trust_check_former(k->trust, &kept, kept.not_before) == 0;
}

/* ---- renewal ---- */

/* Is the certificate that is to be renewed one to go by? */
static int judge_old(const struct keyring *k, const struct cert *old, vi_time wall, char *why, size_t cap)
{
    struct vi_id peer;
    struct cert kept;
    int err;
    cert_peer_id(&peer, old->ed);
    if (blocklist_find(&k->revoked, &peer)) {
        snprintf(why, cap, "that host was revoked");
        return VI_EREFUSED;
    }
    err = trust_check_former(k->trust, old, wall);
    if (err == VI_EEXPIRED)
        snprintf(why, cap, "that certificate has expired: the host must join again");
    else if (err)
        snprintf(why, cap, "that certificate isn't of this domain's authority");
    if (!err && (trust_check(k->trust, old, wall) || issuer_blocked(k, old)) &&
        !is_kept(k, &peer, old, &kept)) {
        snprintf(why, cap, "its issuer counts no longer, and the host is not known here from before");
        err = VI_EAUTH;
    }
    return err;
}

int keyring_renew(const struct keyring *k, const uint8_t *secret, const struct cert *old, vi_time wall,
                  vi_time life, struct cert *out, char *why, size_t cap)
{
    const struct cert_delegation *mine;
    struct vi_id authority;
    int err = judge_old(k, old, wall, why, cap);
    if (err)
        return err;
    if (secret) {
        *out = *old;
        out->not_before = wall;
        out->not_after = wall + life;
        return cert_issue(out, secret);
    }
    mine = keyring_mine(k, CERT_RENEW, wall, &authority);
    if (!mine) {
        snprintf(why, cap, "this host may not renew certificates");
        return VI_EAUTH;
    }
    memset(out, 0, sizeof *out);
    out->not_before = wall;
    out->not_after = wall + life;
    err = cert_renew_as_delegate(out, old, &authority, mine, k->me->ed_sk);
    if (err == VI_EFULL)
        snprintf(why, cap, "the host's and the domain's names are too long for a renewal by a host that may "
                           "only renew; ask one that may admit, too");
    else if (err)
        snprintf(why, cap, "a host that may admit, or the authority's own, must carry it over to the new "
                           "authority");
    return err;
}
