/* What is said about keys, each signed by who may say it, and carried in the gossip's record store:
 *
 *   revocation   "this key is no member any more": the authority, or a delegate that may revoke
 *   delegation   "this key may do that in the authority's place until then": the authority
 *   rollover     "our next authority is that key": both; and later "the old one is retired": the new
 *
 * Pure encoding and checking. Wire: a msgpack array, then one Ed25519 signature of 64 bytes (a rollover:
 * two, and a third once the old one is retired) over a label and the array. */
#ifndef PEER_STATEMENTS_H
#define PEER_STATEMENTS_H

#include "overlay/overlay.h"

/* Kinds of records in the gossip's store. */
#define KEY_RECORD_REVOCATION 16
#define KEY_RECORD_DELEGATION 17
#define KEY_RECORD_ROLLOVER   18

#define STATEMENT_MAX   640 /* bytes of any of them */
#define REVOKE_WHY_MAX  120 /* bytes of text */

/* The key of a key's record in the store, and its origin there: not the peer's id, for what a revoked
 * peer published is dropped, and what is said about it isn't. kind: KEY_RECORD_… */
void statement_key(struct vi_id *out, unsigned kind, const uint8_t ed[CERT_KEY]);

/* ---- revocation ---- */

struct revocation {
    char domain[CERT_NAME_MAX + 1];
    uint8_t key[CERT_KEY];          /* revoked: a host's Ed25519 key */
    char host[CERT_NAME_MAX + 1];   /* what it was called; "" unknown */
    char why[REVOKE_WHY_MAX + 1];
    vi_time at;                     /* wall */
    uint64_t issue;                 /* 1; more when it is signed again by another: the record's version */
    struct vi_id authority;         /* whose word it is, or whose delegate's */
    bool delegated;
    struct cert_delegation by;
    uint8_t sig[CERT_SIG];
};

/* Signs r (all but authority, delegated, by, sig filled in). by: NULL, and secret is the authority's; or a
 * delegation of it to the holder of secret, with CERT_REVOKE. 0 or VI_EINVAL. */
int revocation_sign(struct revocation *r, const struct vi_id *authority,
                    const struct cert_delegation *by, const uint8_t secret[64]);
int revocation_encode(const struct revocation *r, uint8_t *out, size_t cap, size_t *len);
int revocation_decode(struct revocation *r, const uint8_t *data, size_t len); /* 0, VI_EPROTO, VI_EVERSION */
/* 0, or VI_EAUTH. A delegate's holds if its delegation held at r->at: a revocation outlives it. */
int revocation_verify(const struct revocation *r, const uint8_t authority[CERT_KEY]);

/* ---- delegation: cert_delegation with what is needed to check it. Version: not_before. ---- */

struct delegation {
    char domain[CERT_NAME_MAX + 1];
    struct vi_id authority;
    struct cert_delegation d; /* caps 0: nothing any more */
};
int delegation_encode(const struct delegation *d, uint8_t *out, size_t cap, size_t *len);
int delegation_decode(struct delegation *d, const uint8_t *data, size_t len);
/* 0, VI_EAUTH; VI_EEXPIRED at wall. */
int delegation_verify(const struct delegation *d, const uint8_t authority[CERT_KEY], vi_time wall);

/* "admit,renew" ↔ CERT_ADMIT | CERT_RENEW; "none" is 0. */
int caps_parse(uint32_t *caps, const char *text); /* VI_EINVAL */
#define CAPS_TEXT 48
char *caps_format(uint32_t caps, char out[CAPS_TEXT]);
extern const char *const caps_names[5]; /* of bit 0 … 4 */

/* ---- rollover ---- */

struct rollover {
    char domain[CERT_NAME_MAX + 1];
    uint8_t before[CERT_KEY], after[CERT_KEY]; /* authorities */
    vi_time at, until;      /* wall: made; `before` counts no longer than that */
    vi_time retired;        /* wall; 0: not yet */
    uint8_t sig_before[CERT_SIG], sig_after[CERT_SIG], sig_retired[CERT_SIG];
};
/* Signs all but `retired`, with both secrets. */
int rollover_sign(struct rollover *r, const uint8_t before_secret[64], const uint8_t after_secret[64]);
/* Says that `before` is retired. */
int rollover_retire(struct rollover *r, vi_time at, const uint8_t after_secret[64]);
int rollover_encode(const struct rollover *r, uint8_t *out, size_t cap, size_t *len);
int rollover_decode(struct rollover *r, const uint8_t *data, size_t len);
int rollover_verify(const struct rollover *r); /* 0 or VI_EAUTH */
/* The record's version: 1, 2 once retired. */
uint64_t rollover_version(const struct rollover *r);

#endif
