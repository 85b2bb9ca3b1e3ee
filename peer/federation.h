/* What domains say to each other, and hosts about other domains; each statement is signed by who makes it.
 *
 *   card       "violin-domain1-…": a domain's name, authority and where to reach it; a line of text that
 *              operators exchange. Nothing in it is secret; whoever uses it must have it from the right one
 *   trust      "we are federated with that authority, and take in so much of its guests": a host that may
 *              `federate`; in the domain's own store. Nothing crosses until both domains have said it
 *   summary    how a domain is: its representative; between representatives
 *   view       what our representative knows of another domain: its summary, and where to reach it; in the
 *              domain's own store
 *   presence   "I take part in these environments, here I am": each host whose environments may span
 *              domains; in both stores
 *   statement  a revocation or a rollover (peer/statements.h) of another domain; in both stores
 *
 * Pure encoding and checking. Wire: a msgpack array, then the Ed25519 signature of 64 bytes over a label
 * and the array (statement: none of its own). Decoders: 0, VI_EPROTO, VI_EVERSION; authenticity is judged
 * by fed_verify(). */
#ifndef PEER_FEDERATION_H
#define PEER_FEDERATION_H

#include "overlay/overlay.h"
#include "peer/envdef.h"

/* Kinds of records in the gossip's stores. */
#define FED_RECORD_TRUST     32
#define FED_RECORD_SUMMARY   33
#define FED_RECORD_VIEW      34
#define FED_RECORD_PRESENCE  35
#define FED_RECORD_STATEMENT 36

#define FED_RECORD_MAX   900 /* bytes of any of them */
#define FED_SUMMARY_MAX  512 /* of a summary */
#define FED_DOMAINS      100 /* that a domain is federated with, at most */
#define FED_SEEDS        3   /* of a card or a trust */
#define FED_TAGS         16  /* environments of a presence, at most: the others stay in the domain */
#define FED_STALE       (60 * VI_SEC) /* a summary that old says nothing any more */
#define FED_PUBLISH     (10 * VI_SEC) /* a representative says its domain's summary to the others so often … */
#define FED_VIEW        (30 * VI_SEC) /* … and the others' to its members */
#define FED_CARD_PREFIX  "violin-domain1-"
#define FED_CARD_TEXT    1024

/* ---- card ---- */

struct fed_card {
    char domain[CERT_NAME_MAX + 1];
    uint8_t authority[CERT_KEY];
    unsigned seeds; /* 1 to FED_SEEDS */
    struct seed seed[FED_SEEDS];
};
int fed_card_encode(const struct fed_card *c, char out[FED_CARD_TEXT]); /* 0 or VI_EINVAL */
/* *why, if not NULL: a phrase for people, static. White space around the text is allowed. */
int fed_card_decode(struct fed_card *c, const char *text, const char **why);

/* ---- trust ---- */

/* What is taken in of another domain's guests; all 0: none. */
struct fed_limits {
    uint32_t guests, memory_mib, cpu_pct;
};

struct fed_trust {
    struct fed_card with;  /* domain and authority; seeds may be 0 where it is withdrawn */
    struct fed_limits limits;
    bool withdrawn;
    uint64_t version;      /* wall clock, µs */
    unsigned cert_len;     /* of the signer */
    uint8_t cert[CERT_MAX];
};
int fed_trust_encode(const struct fed_trust *t, const uint8_t sk[64], uint8_t *out, size_t cap);
int fed_trust_decode(struct fed_trust *t, const uint8_t *data, size_t len);

/* ---- summary, view ---- */

struct fed_summary {
    char domain[CERT_NAME_MAX + 1];
    uint64_t version;       /* wall clock, µs */
    uint32_t hosts, suspects, environments;
    uint32_t cpu_pct, cpu_used_pct;     /* of one CPU, summed over hosts */
    uint64_t memory_mib, memory_free_mib;
    struct fed_limits limits; /* what the one that reads it may ask room for: its own domain's only */
};
int fed_summary_encode(const struct fed_summary *s, const uint8_t sk[64], uint8_t *out, size_t cap);
int fed_summary_decode(struct fed_summary *s, const uint8_t *data, size_t len);

struct fed_view {
    struct fed_summary summary; /* version 0: none yet */
    uint64_t version;           /* of the view */
    struct seed rep;            /* addr numeric */
    char rep_host[CERT_NAME_MAX + 1];
};
int fed_view_encode(const struct fed_view *v, const uint8_t sk[64], uint8_t *out, size_t cap);
int fed_view_decode(struct fed_view *v, const uint8_t *data, size_t len);

/* ---- presence ---- */

struct fed_presence {
    uint64_t version;
    struct mesh_addr addr;
    unsigned n; /* 0: it takes part in none any more */
    uint8_t envs[FED_TAGS][ENV_TAG_SIZE];
    unsigned cert_len;
    uint8_t cert[CERT_MAX];
};
int fed_presence_encode(const struct fed_presence *p, const uint8_t sk[64], uint8_t *out, size_t cap);
int fed_presence_decode(struct fed_presence *p, const uint8_t *data, size_t len);

/* ---- all ---- */

/* Is the record's signature by pk? 0 or VI_EAUTH. */
int fed_verify(unsigned kind, const uint8_t *data, size_t len, const uint8_t pk[32]);
/* The key of the record about a domain. */
void fed_domain_key(struct vi_id *key, const char *domain);

#endif
