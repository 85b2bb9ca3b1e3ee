/* Certificates: what a domain's authority says about a host.
 *
 * A certificate is issued by the authority itself, or by a host that holds a delegation: a compact
 * statement signed by the authority ("this key may hand out certificates until then"), carried
 * inside every certificate that it issued. So a chain has at most two links and one size. A
 * delegate may give no right but `env`, and that only if its delegation has it; a certificate
 * lives no longer than the delegation under it.
 *
 * A delegate that may only renew can't make members: a certificate that it renewed carries its root,
 * what is needed to check the one that the host was admitted with (the authority's, or a delegate's
 * that may admit). It holds as long as the delegations of both, with no right that its root hadn't.
 *
 * Wire: msgpack array, then the 64 bytes of the Ed25519 signature over a label and the array. */
#ifndef OVERLAY_CERT_H
#define OVERLAY_CERT_H

#include "peer/base/clock.h"
#include "peer/base/id.h"

#define CERT_VERSION    1
#define CERT_MAX        576 /* encoded, at most; 170 to 350 in practice, 530 with a root */
#define CERT_NAME_MAX   63  /* domain and host names: letters, digits, '-', '.', '_' */
#define CERT_DELEG_MAX  160 /* an encoded delegation, at most */
#define CERT_KEY        32
#define CERT_SIG        64
#define CERT_SKEW       VI_HOUR /* how wrong a clock may be at a handshake */

enum cert_cap {
    CERT_ADMIT = 1,    /* admits hosts */
    CERT_RENEW = 2,    /* renews certificates */
    CERT_REVOKE = 4,   /* revokes them */
    CERT_ENV = 8,      /* creates environments */
    CERT_FEDERATE = 16 /* speaks for the domain to others */
};
#define CERT_CAPS_ALL 31U

struct cert_delegation {
    uint8_t issuer[CERT_KEY];      /* Ed25519 public key that may issue */
    vi_time not_before, not_after; /* wall clock, µs since 1970 */
    uint32_t caps;
    uint8_t sig[CERT_SIG];         /* the authority's */
};

/* Of the certificate that one with a root renews: what differs from it. */
struct cert_root {
    vi_time not_before, not_after;
    uint32_t caps;
    bool delegated;
    struct cert_delegation by;
    uint8_t sig[CERT_SIG];
};

struct cert {
    char domain[CERT_NAME_MAX + 1];
    char host[CERT_NAME_MAX + 1];
    struct vi_id authority;        /* cert_authority_id() of the authority's key */
    uint8_t ed[CERT_KEY];          /* the host's Ed25519 public key */
    uint8_t x[CERT_KEY];           /* its X25519 public key */
    vi_time not_before, not_after; /* wall clock, µs since 1970 */
    uint32_t caps;
    bool delegated;                /* issued by a delegate: `by` is set, and signed */
    struct cert_delegation by;
    bool renewed;                  /* by a delegate that may renew: `root` is set, and signed */
    struct cert_root root;
    uint8_t sig[CERT_SIG];         /* the issuer's */
};

/* Letters, digits, '-', '.', '_'; 1 to CERT_NAME_MAX of them. */
bool cert_name_ok(const char *name);
void cert_authority_id(struct vi_id *id, const uint8_t authority[CERT_KEY]);
/* The id of a peer: vi_id_hash("violin peer", Ed25519 key). */
void cert_peer_id(struct vi_id *id, const uint8_t ed[CERT_KEY]);

/* Signs c (all fields but authority, delegated, by, renewed, root and sig filled in) with the authority's Ed25519
 * secret key (64 bytes, libsodium's form). 0 or VI_EINVAL. */
int cert_issue(struct cert *c, const uint8_t authority_secret[64]);
/* The authority's permission for the holder of `issuer` to issue certificates of `domain`. */
int cert_delegate(struct cert_delegation *d, const char *domain, const uint8_t issuer[CERT_KEY],
                  vi_time not_before, vi_time not_after, uint32_t caps,
                  const uint8_t authority_secret[64]);
/* Signs c as a delegate of the authority; c->authority must be set. Shortens not_after to the
 * delegation's, and clears rights that a delegate can't give. 0 or VI_EINVAL. */
int cert_issue_as_delegate(struct cert *c, const struct cert_delegation *d,
                           const uint8_t issuer_secret[64]);

/* Renews `old` as a delegate that holds CERT_RENEW: c gets old's names, keys and rights, and its own
 * not_before and not_after, shortened to what the delegations allow. With CERT_ADMIT, too, and if it
 * can give all of old's rights, or old is another authority's, it issues as any delegate; else c carries
 * old's root. The caller has verified old. 0; VI_EINVAL: the delegation doesn't allow it; VI_EFULL: the
 * names are too long for a root beside them. */
int cert_renew_as_delegate(struct cert *c, const struct cert *old, const struct vi_id *authority,
                           const struct cert_delegation *d, const uint8_t issuer_secret[64]);

/* 0 and *len, or VI_EFULL, VI_EINVAL. */
int cert_encode(const struct cert *c, uint8_t *out, size_t cap, size_t *len);
/* 0, VI_EPROTO or VI_EVERSION. Says nothing about authenticity. */
int cert_decode(struct cert *c, const uint8_t *data, size_t len);
int cert_delegation_encode(const struct cert_delegation *d, uint8_t *out, size_t cap, size_t *len);
int cert_delegation_decode(struct cert_delegation *d, const uint8_t *data, size_t len);

/* 0; VI_EAUTH: not this authority's, or altered, or a delegate that gave more than it may;
 * VI_EEXPIRED: out of its validity (or the delegation's) by more than CERT_SKEW. */
int cert_verify(const struct cert *c, const uint8_t authority[CERT_KEY], vi_time wall);
int cert_delegation_verify(const struct cert_delegation *d, const char *domain,
                           const uint8_t authority[CERT_KEY], vi_time wall);

#endif
