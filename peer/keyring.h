/* What this host holds to be true about keys: trusted authorities and their succession, revoked keys,
 * who may do what in the authority's place; and the judgements that follow.
 *
 * Pure: the owner loads and stores statements, and hands in the wall clock. Bounds: REVOKED_MAX,
 * DELEGATIONS_MAX, ROLLOVERS_MAX; a further delegation or revocation is not accepted, the oldest rollover
 * is forgotten.
 *
 * "Kept" below: this host has stored the member's certificate, with the same keys, at a time when it was
 * good. What was kept goes on counting where a certificate alone no longer does: after the authority that
 * signed it was retired (it may be stolen: what it signs from now on must not count), and after the
 * delegate that issued it was revoked. Who was away meanwhile can so come back and be renewed. */
#ifndef PEER_KEYRING_H
#define PEER_KEYRING_H

#include "peer/identity.h"
#include "peer/revoke.h"
#include "peer/trust.h"

#define DELEGATIONS_MAX 256
#define ROLLOVERS_MAX   TRUST_FORMER
#define REVOKE_ISSUE_AUTHORITY (UINT64_C(1) << 20) /* issues by the authority itself begin here: a
                                                      delegate's never replaces one */

struct keyring {
    const struct identity *me; /* borrowed */
    struct trust *trust;       /* borrowed */
    struct blocklist revoked;
    struct delegation delegations[DELEGATIONS_MAX];
    unsigned n_delegations;
    struct rollover rollovers[ROLLOVERS_MAX];
    unsigned n_rollovers;
    void *arg;
    /* The certificate kept of a member; false: none. */
    bool (*kept)(void *arg, const struct vi_id *peer, struct cert *c);
};

void keyring_init(struct keyring *k, const struct identity *me, struct trust *trust);
void keyring_free(struct keyring *k);

/* For the gossip: is that record what it claims to be, by one who may say it, and is there room for it? */
bool keyring_accept(const struct keyring *k, unsigned kind, const struct vi_id *key,
                    const struct vi_id *origin, uint64_t version, const uint8_t *bytes, size_t len);
/* Is that a genuine rollover to another successor than the one we know? Then two were made at once, or the
 * old key is stolen: people must look. */
bool keyring_contradicts(const struct keyring *k, const uint8_t *bytes, size_t len);
/* Takes an accepted statement, or one of the owner's store: changes trust and blocklist. 0: it was new;
 * VI_EEXIST; VI_EFULL; VI_ENOMEM; VI_EPROTO. */
int keyring_take(struct keyring *k, unsigned kind, const uint8_t *bytes, size_t len);
/* Time has gone on: authorities whose overlap is over become former ones. Returns how many did. */
unsigned keyring_tick(struct keyring *k, vi_time wall);

/* ---- judgements of members of our own domain; certificates of others are not judged here ---- */

/* Mesh: turn away a certificate that is otherwise good? Revoked, or issued by a delegate that was revoked
 * or may no longer, and not kept. */
bool keyring_refuses(const struct keyring *k, const struct vi_id *peer, const struct cert *c);
/* Mesh: a certificate that no trusted authority signed: are these keys kept, and is what was kept good? */
bool keyring_vouches(const struct keyring *k, const struct vi_id *peer, const struct cert *c,
                     vi_time wall);
/* Gossip: may the holder be a member? Expiry isn't judged. */
bool keyring_admits(const struct keyring *k, const struct cert *c);

/* ---- rights ---- */

/* The newest delegation known of a peer, or NULL. */
const struct delegation *keyring_delegation(const struct keyring *k, const uint8_t ed[CERT_KEY]);
/* What it may do in the authority's place, now. */
uint32_t keyring_caps(const struct keyring *k, const uint8_t ed[CERT_KEY], vi_time wall);
/* Our own delegation, if it has this right now, and the authority under which; else NULL. */
const struct cert_delegation *keyring_mine(const struct keyring *k, uint32_t cap, vi_time wall,
                                           struct vi_id *authority);

/* Renews a member's certificate, as the authority (secret given, the newest's) or as its delegate. 0, or
 * an error with why. */
int keyring_renew(const struct keyring *k, const uint8_t *secret, const struct cert *old, vi_time wall,
                  vi_time life, struct cert *out, char *why, size_t cap);

#endif
