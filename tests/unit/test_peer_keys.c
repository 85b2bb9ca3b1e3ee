/* Statements about keys, and what follows from them: every altered bit is noticed, every right is checked at
 * the receiver, authorities follow each other, who was away comes back, who was revoked doesn't. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>

#include "peer/backup.h"
#include "peer/base/err.h"
#include "peer/keyring.h"

#define WALL ((vi_time)1800000000 * VI_SEC)
#define DAY  (24 * VI_HOUR)

struct key {
    uint8_t pk[32], sk[64];
};

struct host {
    struct identity me;
    struct trust trust;
    struct keyring ring;
    struct cert keeps[8]; /* what this host has kept of members */
    unsigned n_keeps;
};

static struct key authority, second, third;
static struct host a, b, c;
static char why[300];

static struct vi_id aid(const struct key *k)
{
    struct vi_id id;
    cert_authority_id(&id, k->pk);
    return id;
}

static bool kept(void *arg, const struct vi_id *peer, struct cert *out)
{
    struct host *h = arg;
    struct vi_id id;
    for (unsigned i = 0; i < h->n_keeps; i++) {
        cert_peer_id(&id, h->keeps[i].ed);
        if (vi_id_equal(&id, peer)) {
            *out = h->keeps[i];
            return true;
        }
    }
    return false;
}

static void make(struct host *h, const char *name, const struct key *by)
{
    memset(h, 0, sizeof *h);
    identity_generate(&h->me);
    strcpy(h->me.cert.domain, "lab");
    strcpy(h->me.cert.host, name);
    memcpy(h->me.cert.ed, h->me.ed_pk, 32);
    memcpy(h->me.cert.x, h->me.x_pk, 32);
    memcpy(h->me.authority, by->pk, 32);
    h->me.cert.not_before = WALL;
    h->me.cert.not_after = WALL + 90 * DAY;
    h->me.cert.caps = CERT_ENV;
    assert_int_equal(cert_issue(&h->me.cert, by->sk), 0);
    trust_init(&h->trust, "lab", by->pk);
    keyring_init(&h->ring, &h->me, &h->trust);
    h->ring.arg = h;
    h->ring.kept = kept;
}

static int set_up(void **unused)
{
    (void)unused;
    crypto_sign_keypair(authority.pk, authority.sk);
    crypto_sign_keypair(second.pk, second.sk);
    crypto_sign_keypair(third.pk, third.sk);
    make(&a, "a", &authority);
    make(&b, "b", &authority);
    make(&c, "c", &authority);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    keyring_free(&a.ring);
    keyring_free(&b.ring);
    keyring_free(&c.ring);
    return 0;
}

/* ---- statements on their way to a host ---- */

struct letter {
    unsigned kind;
    struct vi_id key;
    uint64_t version;
    uint8_t bytes[STATEMENT_MAX];
    size_t len;
};

static bool accepts(const struct host *h, const struct letter *l)
{
    return keyring_accept(&h->ring, l->kind, &l->key, &l->key, l->version, l->bytes, l->len);
}

/* As the gossip does it: what isn't accepted is not taken. */
static bool deliver(struct host *h, const struct letter *l)
{
    if (!accepts(h, l))
        return false;
    (void)keyring_take(&h->ring, l->kind, l->bytes, l->len);
    return true;
}

static struct letter revocation_of(const struct host *who, const struct key *by, const struct cert_delegation *d,
                            const uint8_t *secret, uint64_t issue)
{
    struct revocation r = {.at = WALL + DAY, .issue = issue};
    struct letter l = {.kind = KEY_RECORD_REVOCATION, .version = issue};
    struct vi_id id = aid(by);
    strcpy(r.domain, "lab");
    strcpy(r.host, who->me.cert.host);
    strcpy(r.why, "stolen");
    memcpy(r.key, who->me.ed_pk, 32);
    assert_int_equal(revocation_sign(&r, &id, d, secret), 0);
    assert_int_equal(revocation_encode(&r, l.bytes, sizeof l.bytes, &l.len), 0);
    statement_key(&l.key, l.kind, r.key);
    return l;
}

static struct letter delegate(struct host *to, const struct key *by, uint32_t caps, vi_time from, vi_time until)
{
    struct delegation d = {.authority = aid(by)};
    struct letter l = {.kind = KEY_RECORD_DELEGATION, .version = (uint64_t)from};
    strcpy(d.domain, "lab");
    assert_int_equal(cert_delegate(&d.d, "lab", to->me.ed_pk, from, until, caps, by->sk), 0);
    assert_int_equal(delegation_encode(&d, l.bytes, sizeof l.bytes, &l.len), 0);
    statement_key(&l.key, l.kind, to->me.ed_pk);
    to->me.delegation = d.d;
    to->me.has_delegation = true;
    return l;
}

static struct letter roll(struct rollover *r, const struct key *from, const struct key *to)
{
    struct letter l = {.kind = KEY_RECORD_ROLLOVER};
    if (to) {
        *r = (struct rollover){.at = WALL + DAY, .until = WALL + 31 * DAY};
        strcpy(r->domain, "lab");
        assert_int_equal(rollover_sign(r, from->sk, to->sk), 0);
    }
    l.version = rollover_version(r);
    assert_int_equal(rollover_encode(r, l.bytes, sizeof l.bytes, &l.len), 0);
    statement_key(&l.key, l.kind, r->before);
    return l;
}

static bool same_bytes_again(const struct letter *l)
{
    uint8_t out[STATEMENT_MAX];
    struct revocation r;
    struct delegation d;
    struct rollover o;
    size_t n = 0;
    if (l->kind == KEY_RECORD_REVOCATION)
        return !revocation_decode(&r, l->bytes, l->len) && !revocation_encode(&r, out, sizeof out, &n) &&
               n == l->len && !memcmp(out, l->bytes, n);
    if (l->kind == KEY_RECORD_DELEGATION)
        return !delegation_decode(&d, l->bytes, l->len) && !delegation_encode(&d, out, sizeof out, &n) &&
               n == l->len && !memcmp(out, l->bytes, n);
    return !rollover_decode(&o, l->bytes, l->len) && !rollover_encode(&o, out, sizeof out, &n) && n == l->len &&
           !memcmp(out, l->bytes, n);
}

static void test_every_bit(void **unused)
{
    struct rollover r;
    struct letter all[4];
    struct letter l = delegate(&b, &authority, CERT_REVOKE, WALL, WALL + 9 * DAY);
    (void)unused;
    all[0] = l;
    all[1] = revocation_of(&c, &authority, &b.me.delegation, b.me.ed_sk, 1);
    all[2] = roll(&r, &authority, &second);
    assert_int_equal(rollover_retire(&r, WALL + 2 * DAY, second.sk), 0);
    all[3] = roll(&r, NULL, NULL);
    for (unsigned n = 0; n < 4; n++) {
        assert_true(same_bytes_again(&all[n]));
        assert_true(accepts(&a, &all[n]));
        for (size_t bit = 0; bit < all[n].len * 8; bit++) {
            l = all[n];
            l.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (accepts(&a, &l))
                fail_msg("statement %u is accepted with bit %zu changed", n, bit);
        }
        for (size_t len = 0; len < all[n].len; len++) {
            l = all[n];
            l.len = len;
            assert_false(accepts(&a, &l));
        }
        l = all[n];
        l.version++;
        assert_false(accepts(&a, &l));
        l = all[n];
        l.key.b[3] ^= 1;
        assert_false(accepts(&a, &l));
        l = all[n];
        l.kind = KEY_RECORD_REVOCATION + (l.kind - KEY_RECORD_REVOCATION + 1) % 3;
        assert_false(accepts(&a, &l));
    }
}

static void test_who_may_revoke(void **unused)
{
    struct letter d = delegate(&b, &authority, CERT_ADMIT | CERT_RENEW, WALL, WALL + 9 * DAY), l;
    struct cert_delegation with = b.me.delegation;
    (void)unused;
    /* nobody's word, a foreign authority's, a delegate's without the right */
    l = revocation_of(&c, &second, NULL, second.sk, REVOKE_ISSUE_AUTHORITY);
    assert_false(accepts(&a, &l));
    with.caps |= CERT_REVOKE; /* says so itself */
    l = revocation_of(&c, &authority, &with, b.me.ed_sk, 1);
    assert_false(accepts(&a, &l));
    d = delegate(&b, &authority, CERT_REVOKE, WALL, WALL + DAY / 2); /* ended before `at` */
    l = revocation_of(&c, &authority, &b.me.delegation, b.me.ed_sk, 1);
    assert_false(accepts(&a, &l));
    d = delegate(&b, &authority, CERT_REVOKE, WALL + 1, WALL + 9 * DAY);
    l = revocation_of(&c, &authority, &b.me.delegation, a.me.ed_sk, 1); /* another's delegation */
    assert_false(accepts(&a, &l));
    l = revocation_of(&c, &authority, &b.me.delegation, b.me.ed_sk, REVOKE_ISSUE_AUTHORITY); /* not a delegate's number */
    assert_false(accepts(&a, &l));
    l = revocation_of(&c, &authority, &b.me.delegation, b.me.ed_sk, 1);
    assert_true(deliver(&a, &l));
    assert_true(blocklist_find(&a.ring.revoked, &c.me.id) != NULL);
    /* the right is withdrawn: no more of them */
    assert_true(deliver(&a, &d));
    d = delegate(&b, &authority, 0, WALL + 2, WALL + 9 * DAY);
    assert_true(deliver(&a, &d));
    assert_int_equal(keyring_caps(&a.ring, b.me.ed_pk, WALL + DAY), 0);
    b.me.delegation.caps = CERT_REVOKE;
    d = delegate(&b, &authority, CERT_REVOKE, WALL + 1, WALL + 9 * DAY);
    l = revocation_of(&c, &authority, &b.me.delegation, b.me.ed_sk, 2);
    assert_false(accepts(&a, &l));
    l = revocation_of(&c, &authority, NULL, authority.sk, REVOKE_ISSUE_AUTHORITY + 1);
    assert_true(deliver(&a, &l));
}

static void test_revoked(void **unused)
{
    struct letter l = revocation_of(&c, &authority, NULL, authority.sk, REVOKE_ISSUE_AUTHORITY);
    struct cert out;
    struct host again;
    (void)unused;
    assert_true(keyring_admits(&a.ring, &c.me.cert));
    assert_false(keyring_refuses(&a.ring, &c.me.id, &c.me.cert));
    a.keeps[a.n_keeps++] = c.me.cert;
    assert_true(deliver(&a, &l));
    assert_true(deliver(&a, &l)); /* again: nothing more */
    assert_int_equal(a.ring.revoked.n, 1);
    assert_false(keyring_admits(&a.ring, &c.me.cert));
    assert_true(keyring_refuses(&a.ring, &c.me.id, &c.me.cert));
    assert_false(keyring_vouches(&a.ring, &c.me.id, &c.me.cert, WALL));
    assert_int_equal(keyring_renew(&a.ring, authority.sk, &c.me.cert, WALL, DAY, &out, why, sizeof why), VI_EREFUSED);
    assert_int_equal(keyring_take(&c.ring, l.kind, l.bytes, l.len), 0);
    c.me.has_delegation = true;
    assert_null(keyring_mine(&c.ring, CERT_CAPS_ALL, WALL, NULL));
    /* the same name with new keys */
    make(&again, "c", &authority);
    assert_true(keyring_admits(&a.ring, &again.me.cert));
    assert_false(keyring_refuses(&a.ring, &again.me.id, &again.me.cert));
    keyring_free(&again.ring);
}

/* Certificates that a revoked delegate gave: of whom we know from before, and of nobody else. */
static void test_revoked_delegate(void **unused)
{
    struct letter d = delegate(&b, &authority, CERT_ADMIT | CERT_ENV | CERT_REVOKE, WALL, WALL + 99 * DAY), l;
    struct cert mine = c.me.cert, forged;
    struct host thief;
    (void)unused;
    assert_int_equal(cert_issue_as_delegate(&mine, &b.me.delegation, b.me.ed_sk), 0);
    make(&thief, "d", &authority);
    forged = thief.me.cert;
    assert_int_equal(cert_issue_as_delegate(&forged, &b.me.delegation, b.me.ed_sk), 0);
    assert_true(deliver(&a, &d));
    assert_true(keyring_admits(&a.ring, &forged));
    a.keeps[a.n_keeps++] = mine;
    l = revocation_of(&b, &authority, NULL, authority.sk, REVOKE_ISSUE_AUTHORITY);
    assert_true(deliver(&a, &l));
    assert_true(keyring_admits(&a.ring, &mine));
    assert_false(keyring_refuses(&a.ring, &c.me.id, &mine));
    assert_int_equal(keyring_renew(&a.ring, authority.sk, &mine, WALL, DAY, &forged, why, sizeof why), 0);
    forged = thief.me.cert;
    assert_int_equal(cert_issue_as_delegate(&forged, &b.me.delegation, b.me.ed_sk), 0);
    assert_false(keyring_admits(&a.ring, &forged));
    assert_true(keyring_refuses(&a.ring, &thief.me.id, &forged));
    assert_int_equal(keyring_renew(&a.ring, authority.sk, &forged, WALL, DAY, &mine, why, sizeof why), VI_EAUTH);
    /* nor does it revoke any more, nor get a delegation again */
    l = revocation_of(&c, &authority, &b.me.delegation, b.me.ed_sk, 1);
    assert_false(accepts(&a, &l));
    d = delegate(&b, &authority, CERT_REVOKE, WALL + 5, WALL + 9 * DAY);
    assert_false(accepts(&a, &d));
    assert_int_equal(keyring_caps(&a.ring, b.me.ed_pk, WALL + DAY), 0);
    keyring_free(&thief.ring);
}

static void test_delegations(void **unused)
{
    struct letter l, old;
    struct vi_id under;
    (void)unused;
    l = delegate(&b, &second, CERT_CAPS_ALL, WALL, WALL + DAY);
    assert_false(accepts(&a, &l));
    old = delegate(&b, &authority, CERT_ADMIT, WALL, WALL + 9 * DAY);
    l = delegate(&b, &authority, CERT_RENEW, WALL + 1, WALL + 9 * DAY);
    assert_true(deliver(&a, &l));
    assert_int_equal(keyring_take(&a.ring, old.kind, old.bytes, old.len), VI_EEXIST); /* the newest counts */
    assert_int_equal(keyring_caps(&a.ring, b.me.ed_pk, WALL + DAY), CERT_RENEW);
    assert_int_equal(keyring_caps(&a.ring, b.me.ed_pk, WALL + 10 * DAY), 0);
    assert_non_null(keyring_mine(&b.ring, CERT_RENEW, WALL + DAY, &under));
    assert_true(vi_id_equal(&under, &(struct vi_id){{0}}) == false);
    assert_null(keyring_mine(&b.ring, CERT_ADMIT, WALL + DAY, NULL));
    assert_null(keyring_mine(&b.ring, CERT_RENEW, WALL + 10 * DAY, NULL));
    /* full */
    for (unsigned i = a.ring.n_delegations; i < DELEGATIONS_MAX; i++) {
        struct host h = {0};
        identity_generate(&h.me);
        l = delegate(&h, &authority, CERT_ADMIT, WALL, WALL + DAY);
        assert_true(deliver(&a, &l));
    }
    l = delegate(&c, &authority, CERT_ADMIT, WALL, WALL + DAY);
    assert_false(deliver(&a, &l));
    l = delegate(&b, &authority, CERT_ADMIT, WALL + 3, WALL + DAY); /* one that is there may change */
    assert_true(deliver(&a, &l));
}

static void test_blocklist_full(void **unused)
{
    struct revocation r = {.at = WALL, .issue = 1};
    struct letter l;
    bool changed;
    (void)unused;
    strcpy(r.domain, "lab");
    for (unsigned i = 0; i < REVOKED_MAX; i++) {
        randombytes_buf(r.key, sizeof r.key);
        assert_int_equal(blocklist_add(&a.ring.revoked, &r, &changed), 0);
        assert_true(changed);
    }
    for (unsigned i = 1; i < REVOKED_MAX; i++)
        assert_true(vi_id_compare(&a.ring.revoked.e[i - 1].peer, &a.ring.revoked.e[i].peer) < 0);
    assert_true(blocklist_has_key(&a.ring.revoked, r.key));
    assert_int_equal(blocklist_add(&a.ring.revoked, &r, &changed), 0);
    assert_false(changed);
    randombytes_buf(r.key, sizeof r.key);
    assert_int_equal(blocklist_add(&a.ring.revoked, &r, &changed), VI_EFULL);
    l = revocation_of(&c, &authority, NULL, authority.sk, REVOKE_ISSUE_AUTHORITY);
    assert_false(accepts(&a, &l));
}

static void test_rollover(void **unused)
{
    struct rollover r;
    struct letter l = roll(&r, &authority, &second), d;
    struct host young;
    struct cert over;
    (void)unused;
    assert_true(deliver(&a, &l));
    assert_memory_equal(trust_newest(&a.trust), second.pk, 32);
    assert_true(trust_has(&a.trust, "lab", authority.pk));
    assert_true(keyring_admits(&a.ring, &c.me.cert)); /* both count */
    make(&young, "y", &second);
    assert_true(keyring_admits(&a.ring, &young.me.cert));
    assert_int_equal(trust_check(&a.trust, &young.me.cert, WALL), 0);
    /* the new authority renews what the old one signed */
    assert_int_equal(keyring_renew(&a.ring, second.sk, &c.me.cert, WALL + 2 * DAY, 90 * DAY, &over, why, sizeof why), 0);
    assert_int_equal(cert_verify(&over, second.pk, WALL + 3 * DAY), 0);
    assert_int_equal(over.caps, c.me.cert.caps);
    /* who came after the rollover learns of the old one, for the overlap */
    assert_int_equal(trust_check(&young.trust, &c.me.cert, WALL), VI_EAUTH);
    assert_true(deliver(&young, &l));
    assert_int_equal(trust_check(&young.trust, &c.me.cert, WALL), 0);
    /* a delegate of the new one that may admit carries over; one that may only renew can't */
    d = delegate(&b, &second, CERT_RENEW, WALL, WALL + 9 * DAY);
    assert_true(deliver(&b, &l) && deliver(&b, &d));
    assert_int_equal(keyring_renew(&b.ring, NULL, &c.me.cert, WALL, DAY, &over, why, sizeof why), VI_EINVAL);
    d = delegate(&b, &second, CERT_RENEW | CERT_ADMIT | CERT_ENV, WALL + 1, WALL + 9 * DAY);
    assert_int_equal(keyring_renew(&b.ring, NULL, &c.me.cert, WALL, DAY, &over, why, sizeof why), 0);
    assert_int_equal(cert_verify(&over, second.pk, WALL), 0);
    /* the overlap ends by itself */
    assert_int_equal(keyring_tick(&a.ring, WALL + 31 * DAY), 0);
    assert_int_equal(keyring_tick(&a.ring, WALL + 31 * DAY + 2 * VI_HOUR), 1);
    assert_false(trust_has(&a.trust, "lab", authority.pk));
    assert_false(keyring_admits(&a.ring, &c.me.cert));
    keyring_free(&young.ring);
}

static void test_retired(void **unused)
{
    struct rollover r, other, back;
    struct letter l = roll(&r, &authority, &second), evil, d;
    (void)unused;
    d = delegate(&b, &authority, CERT_ADMIT, WALL, WALL + 9 * DAY);
    assert_true(deliver(&a, &d));
    assert_true(deliver(&a, &l));
    assert_int_equal(rollover_retire(&r, WALL + 2 * DAY, authority.sk), VI_EINVAL); /* the new one says it */
    assert_int_equal(rollover_retire(&r, WALL + 2 * DAY, second.sk), 0);
    l = roll(&r, NULL, NULL);
    assert_true(deliver(&a, &l));
    assert_false(trust_has(&a.trust, "lab", authority.pk));
    assert_int_equal(keyring_caps(&a.ring, b.me.ed_pk, WALL + DAY), 0); /* its delegations are over */
    assert_int_equal(a.ring.n_delegations, 0);
    d = delegate(&b, &authority, CERT_ADMIT, WALL + 9, WALL + 9 * DAY);
    assert_false(accepts(&a, &d));
    d = revocation_of(&c, &authority, NULL, authority.sk, REVOKE_ISSUE_AUTHORITY);
    assert_false(accepts(&a, &d));
    /* the thief of the old key names another successor, and goes round in a circle */
    assert_false(keyring_contradicts(&a.ring, l.bytes, l.len));
    evil = roll(&other, &authority, &third);
    assert_false(accepts(&a, &evil));
    assert_true(keyring_contradicts(&a.ring, evil.bytes, evil.len));
    evil.bytes[evil.len - 1] ^= 1;
    assert_false(keyring_contradicts(&a.ring, evil.bytes, evil.len));
    back = (struct rollover){.at = WALL, .until = WALL + DAY};
    strcpy(back.domain, "lab");
    evil = roll(&back, &second, &authority);
    assert_false(accepts(&a, &evil));
    evil = roll(&other, &third, &second); /* signed by both, but leads nowhere that counts */
    assert_true(accepts(&a, &evil) == true); /* an authority before ours: known as a former one at most */
    assert_memory_equal(trust_newest(&a.trust), second.pk, 32);
}

/* c was away from before the rollover until after the old authority was retired. */
static void test_away(void **unused)
{
    struct rollover r1, r2;
    struct letter l1 = roll(&r1, &authority, &second), l2 = roll(&r2, &second, &third);
    struct cert before = a.me.cert, forged;
    struct host thief;
    (void)unused;
    c.keeps[c.n_keeps++] = a.me.cert; /* they knew each other */
    a.keeps[a.n_keeps++] = c.me.cert;
    assert_true(deliver(&a, &l1));
    assert_int_equal(rollover_retire(&r1, WALL + 2 * DAY, second.sk), 0);
    l1 = roll(&r1, NULL, NULL);
    assert_true(deliver(&a, &l1) && deliver(&a, &l2));
    assert_int_equal(rollover_retire(&r2, WALL + 3 * DAY, third.sk), 0);
    l2 = roll(&r2, NULL, NULL);
    assert_true(deliver(&a, &l2));
    assert_int_equal(keyring_renew(&a.ring, third.sk, &before, WALL + 3 * DAY, 90 * DAY, &a.me.cert, why, sizeof why), VI_EAUTH);
    a.keeps[a.n_keeps++] = before;
    assert_int_equal(keyring_renew(&a.ring, third.sk, &before, WALL + 3 * DAY, 90 * DAY, &a.me.cert, why, sizeof why), 0);
    /* neither has an authority that the other trusts; both kept the other's keys */
    assert_int_equal(trust_check(&a.trust, &c.me.cert, WALL + 4 * DAY), VI_EAUTH);
    assert_int_equal(trust_check(&c.trust, &a.me.cert, WALL + 4 * DAY), VI_EAUTH);
    assert_true(keyring_vouches(&a.ring, &c.me.id, &c.me.cert, WALL + 4 * DAY));
    assert_true(keyring_vouches(&c.ring, &a.me.id, &a.me.cert, WALL + 4 * DAY));
    assert_true(keyring_admits(&a.ring, &c.me.cert));
    assert_true(keyring_admits(&c.ring, &a.me.cert));
    /* what was kept ends with its own date */
    assert_false(keyring_vouches(&a.ring, &c.me.id, &c.me.cert, WALL + 91 * DAY));
    /* a thief of the retired authority gets nothing by it */
    make(&thief, "t", &authority);
    assert_false(keyring_vouches(&a.ring, &thief.me.id, &thief.me.cert, WALL + 4 * DAY));
    assert_false(keyring_admits(&a.ring, &thief.me.cert));
    forged = c.me.cert;
    memcpy(forged.x, thief.me.x_pk, 32); /* c's name and Ed25519 key, another's X25519 key */
    assert_int_equal(cert_issue(&forged, authority.sk), 0);
    assert_false(keyring_vouches(&a.ring, &c.me.id, &forged, WALL + 4 * DAY));
    /* the chain reaches c in any order */
    assert_false(deliver(&c, &l2));
    assert_true(deliver(&c, &l1));
    assert_true(deliver(&c, &l2));
    assert_memory_equal(trust_newest(&c.trust), third.pk, 32);
    assert_int_equal(trust_check(&c.trust, &a.me.cert, WALL + 4 * DAY), 0);
    /* and it is renewed */
    assert_int_equal(keyring_renew(&a.ring, third.sk, &c.me.cert, WALL + 4 * DAY, 90 * DAY, &forged, why, sizeof why), 0);
    assert_int_equal(trust_check(&c.trust, &forged, WALL + 5 * DAY), 0);
    assert_int_equal(keyring_renew(&a.ring, third.sk, &thief.me.cert, WALL + 4 * DAY, DAY, &forged, why, sizeof why), VI_EAUTH);
    keyring_free(&thief.ring);
}

/* From a store: any order, the same result. */
static void test_chain_in_any_order(void **unused)
{
    static const unsigned orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    struct key k[4] = {authority, second, third, {{0}, {0}}};
    struct letter l[3];
    struct rollover r;
    (void)unused;
    crypto_sign_keypair(k[3].pk, k[3].sk);
    for (unsigned i = 0; i < 3; i++) {
        l[i] = roll(&r, &k[i], &k[i + 1]);
        assert_int_equal(rollover_retire(&r, WALL + 2 * DAY, k[i + 1].sk), 0);
        if (i < 2)
            l[i] = roll(&r, NULL, NULL);
    }
    for (unsigned o = 0; o < 6; o++)
        for (unsigned from = 0; from < 4; from++) { /* whose certificate this host has */
            struct host h;
            make(&h, "h", &k[from]);
            for (unsigned i = 0; i < 3; i++)
                assert_int_equal(keyring_take(&h.ring, l[0].kind, l[orders[o][i]].bytes, l[orders[o][i]].len), 0);
            assert_memory_equal(trust_newest(&h.trust), k[3].pk, 32);
            assert_true(trust_has(&h.trust, "lab", k[2].pk)); /* still in its overlap */
            assert_false(trust_has(&h.trust, "lab", k[1].pk) || trust_has(&h.trust, "lab", k[0].pk));
            assert_int_equal(h.trust.n_former, 2);
            keyring_free(&h.ring);
        }
}

static void test_renew(void **unused)
{
    struct cert out, second_time;
    struct letter d = delegate(&b, &authority, CERT_RENEW, WALL, WALL + 200 * DAY);
    (void)d;
    (void)unused;
    assert_int_equal(keyring_renew(&b.ring, NULL, &c.me.cert, WALL + 60 * DAY, 90 * DAY, &out, why, sizeof why), 0);
    assert_true(out.renewed && out.not_after == WALL + 150 * DAY && out.caps == CERT_ENV);
    assert_int_equal(trust_check(&a.trust, &out, WALL + 140 * DAY), 0);
    /* again, from the renewed one, after the first has long ended: the root stays */
    assert_int_equal(keyring_renew(&b.ring, NULL, &out, WALL + 120 * DAY, 90 * DAY, &second_time, why, sizeof why), 0);
    assert_int_equal(second_time.root.not_before, c.me.cert.not_before);
    assert_int_equal(second_time.not_after, WALL + 200 * DAY); /* no longer than the delegation */
    assert_int_equal(trust_check(&a.trust, &second_time, WALL + 190 * DAY), 0);
    assert_int_equal(trust_check(&a.trust, &second_time, WALL + 201 * DAY), VI_EEXPIRED);
    /* one that has expired within the allowance for clocks is renewed, a later one isn't */
    assert_int_equal(keyring_renew(&b.ring, NULL, &c.me.cert, WALL + 90 * DAY + VI_HOUR / 2, DAY, &out, why, sizeof why), 0);
    assert_int_equal(keyring_renew(&b.ring, NULL, &c.me.cert, WALL + 90 * DAY + 2 * VI_HOUR, DAY, &out, why, sizeof why), VI_EEXPIRED);
    /* without the right */
    assert_int_equal(keyring_renew(&a.ring, NULL, &c.me.cert, WALL, DAY, &out, why, sizeof why), VI_EAUTH);
    d = delegate(&b, &authority, CERT_ADMIT, WALL + 1, WALL + 200 * DAY);
    assert_int_equal(keyring_renew(&b.ring, NULL, &c.me.cert, WALL, DAY, &out, why, sizeof why), VI_EAUTH);
    /* of another domain */
    out = c.me.cert;
    strcpy(out.domain, "elsewhere");
    assert_int_equal(cert_issue(&out, authority.sk), 0);
    assert_int_equal(keyring_renew(&a.ring, authority.sk, &out, WALL, DAY, &second_time, why, sizeof why), VI_EAUTH);
}

static void test_trust_table(void **unused)
{
    struct trust *t = &a.trust;
    uint8_t k[32] = {1};
    unsigned n = 0;
    (void)unused;
    assert_int_equal(trust_add(t, "", k, WALL), VI_EINVAL);
    for (; n < TRUST_MAX - 1; n++) {
        k[1] = (uint8_t)n;
        assert_int_equal(trust_add(t, "elsewhere", k, n < 10 ? WALL : VI_NEVER), 0);
        assert_int_equal(trust_add(t, "elsewhere", k, n < 10 ? WALL : VI_NEVER), 0); /* known already */
    }
    k[1] = 255;
    assert_int_equal(trust_add(t, "elsewhere", k, VI_NEVER), VI_EFULL);
    assert_int_equal(trust_succeed(t, second.pk, VI_NEVER), VI_EFULL);
    assert_memory_equal(trust_newest(t), authority.pk, 32);
    assert_int_equal(trust_expire(t, WALL + CERT_SKEW), 0);
    assert_int_equal(trust_expire(t, WALL + CERT_SKEW + 1), 10);
    assert_int_equal(t->n_former, 0); /* foreign ones are not remembered */
    trust_drop(t, "lab", authority.pk); /* the newest stays */
    assert_true(trust_has(t, "lab", authority.pk));
    assert_int_equal(trust_succeed(t, second.pk, VI_NEVER), 0);
    trust_drop(t, "lab", authority.pk);
    assert_int_equal(t->n_former, 1);
    assert_false(trust_has(t, "lab", authority.pk));
    for (unsigned i = 0; i < 2 * TRUST_FORMER; i++) {
        k[2] = (uint8_t)(i + 1);
        trust_former(t, k);
        trust_former(t, k);
    }
    assert_int_equal(t->n_former, TRUST_FORMER);
}

static void test_caps(void **unused)
{
    char text[CAPS_TEXT];
    uint32_t caps;
    (void)unused;
    for (uint32_t m = 0; m < 32; m++) {
        assert_int_equal(caps_parse(&caps, caps_format(m, text)), 0);
        assert_int_equal(caps, m);
    }
    assert_int_equal(caps_parse(&caps, ""), VI_EINVAL);
    assert_int_equal(caps_parse(&caps, "admit,"), VI_EINVAL);
    assert_int_equal(caps_parse(&caps, "adm"), VI_EINVAL);
    assert_int_equal(caps_parse(&caps, "admit,none"), VI_EINVAL);
    assert_int_equal(caps_parse(&caps, "renew,admit"), 0);
    assert_int_equal(caps, CERT_ADMIT | CERT_RENEW);
}

static void test_backup(void **unused)
{
    uint8_t bytes[BACKUP_MAX], secret[64];
    struct backup k;
    size_t len;
    (void)unused;
    assert_int_equal(backup_make("lab", authority.sk, "short", bytes, sizeof bytes, &len), VI_EINVAL);
    assert_int_equal(backup_make("no domain", authority.sk, "long enough", bytes, sizeof bytes, &len), VI_EINVAL);
    assert_int_equal(backup_make("lab", authority.sk, "long enough", bytes, sizeof bytes, &len), 0);
    assert_null(memmem(bytes, len, authority.sk, 32));
    assert_int_equal(backup_decode(&k, bytes, len), 0);
    assert_string_equal(k.domain, "lab");
    assert_memory_equal(k.authority, authority.pk, 32);
    assert_int_equal(backup_open(&k, "long enougH", secret), VI_EAUTH);
    assert_int_equal(backup_open(&k, "long enough", secret), 0);
    assert_memory_equal(secret, authority.sk, 64);
    k.authority[0] ^= 1; /* names another's key */
    assert_int_equal(backup_open(&k, "long enough", secret), VI_EAUTH);
    for (size_t n = 0; n < len; n++)
        assert_int_not_equal(backup_decode(&k, bytes, n), 0);
    for (size_t i = 0; i < len; i += 7) { /* any byte: refused at once, or by the passphrase */
        uint8_t was = bytes[i];
        bytes[i] ^= 0x10;
        if (backup_decode(&k, bytes, len) == 0 && k.memory <= (64 << 20) && k.ops <= 3) /* else only slow */
            assert_int_equal(backup_open(&k, "long enough", secret), VI_EAUTH);
        bytes[i] = was;
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_every_bit), T(test_who_may_revoke), T(test_revoked), T(test_revoked_delegate),
        T(test_delegations), T(test_blocklist_full), T(test_rollover), T(test_retired), T(test_away),
        T(test_chain_in_any_order), T(test_renew), T(test_trust_table), T(test_caps), T(test_backup),
    };
    if (sodium_init() < 0)
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
