/* What travels about environments in the gossip's record store (pure encoding, no I/O).
 *
 * A definition (record kind ENV_RECORD_DEFINITION, keyed by the environment's id) is signed by a
 * host of the home domain that holds the `env` capability. A participation list
 * (ENV_RECORD_TAKES_PART, keyed by the peer's id) is signed by that peer. Newer versions replace
 * older ones; a removed environment stays as a tombstone.
 *
 * Rules for where an environment's guests may be, and its priority, are records of a kind of their own
 * (ENV_RECORD_RULES, one for each page of them that is in use), signed like a definition: a peer of a version that
 * doesn't know them refuses them without harm, where a longer definition would lose it the environment. */
#ifndef PEER_ENVDEF_H
#define PEER_ENVDEF_H

#include "peer/base/id.h"
#include "policy/policy.h"

#define ENV_RECORD_DEFINITION 1
#define ENV_RECORD_TAKES_PART 2
#define ENV_RECORD_RULES      3

#define ENV_NAME_MAX   32 /* with NUL; letters, digits, . _ - ; begins with a letter or digit */
#define ENV_DOMAIN_MAX 64
#define ENV_MAX        64  /* on a host, and in a domain for this version */
#define ENV_SHARES_MAX 10000
#define ENV_BANDWIDTH_MAX 100000
#define ENV_RECORD_MAX 880 /* bytes of either record; fits the gossip's store */
#define ENV_CERT_MAX   576
#define ENV_TAG_SIZE   8   /* of an environment's id, in participation lists */
#define ENV_BRIDGE_MAX 16
#define ENV_RULES      32 /* of an environment */
#define ENV_PAGES      8  /* of rules; a page has as many as fit into a record */
#define ENV_PRIORITY_MAX 100
#define ENV_PRIORITY     50 /* without a word about it */
#define ENV_ALLOWED    8   /* domains beside the home where an environment may be */

struct env_definition {
    struct vi_id id; /* BLAKE2b-128 of home domain, name and nonce */
    char name[ENV_NAME_MAX];
    char home[ENV_DOMAIN_MAX];
    struct vi_id nonce;
    uint32_t shares; /* 1..ENV_SHARES_MAX, default 100 */
    bool removed;
    unsigned n_allowed;  /* domains where its guests may be, beside the home; 0: only there */
    char allowed[ENV_ALLOWED][ENV_DOMAIN_MAX];
    bool strict; /* guests may only speak with their own MACs and IP addresses */
    uint32_t bandwidth; /* MiB/s that its guests on one host may send to others, ≤ ENV_BANDWIDTH_MAX; 0: no limit */
    uint64_t version;    /* counts changes */
    unsigned cert_len;   /* the signer's certificate, encoded: shows that it may */
    uint8_t cert[ENV_CERT_MAX];
};

struct env_takes_part {
    uint8_t key[32]; /* the peer's Ed25519 public key; its id is the key's */
    uint64_t version;
    unsigned n;
    uint8_t envs[ENV_MAX][ENV_TAG_SIZE]; /* the first bytes of each environment's id */
};

/* One page of an environment's rules. Whoever changes a rule writes its page anew. */
struct env_rules {
    struct vi_id env;
    unsigned page; /* < ENV_PAGES */
    uint64_t version;
    uint32_t priority; /* of page 0; of the others ENV_PRIORITY */
    unsigned n;
    struct policy_rule rule[ENV_RULES]; /* numbers 1 … ENV_RULES; env is filled in */
    unsigned cert_len; /* as in a definition */
    uint8_t cert[ENV_CERT_MAX];
};

/* May the environment be in this domain? */
bool env_allows(const struct env_definition *d, const char *domain);
bool env_name_valid(const char *name);
/* Fills in the id from home, name and nonce. */
void env_definition_identify(struct env_definition *d);
/* "vi-" and the first eight hex digits of the id: the bridge on every host. Returns out. */
char *env_bridge_name(const struct vi_id *env, char out[ENV_BRIDGE_MAX]);

/* Both encode and sign: the length, or a vi_err. sk is a libsodium Ed25519 secret key (64 bytes). */
int env_definition_encode(const struct env_definition *d, const uint8_t sk[64], uint8_t *out,
                          size_t cap);
int env_takes_part_encode(const struct env_takes_part *t, const uint8_t sk[64], uint8_t *out,
                          size_t cap);

/* Both decode without verifying (VI_EPROTO, VI_EINVAL); the id is recomputed, never taken. */
int env_definition_decode(struct env_definition *d, const uint8_t *data, size_t len);
int env_takes_part_decode(struct env_takes_part *t, const uint8_t *data, size_t len);
/* The key of a page's record. */
void env_rules_key(struct vi_id *out, const struct vi_id *env, unsigned page);
/* As those above. Rules of a kind that isn't known are left out. */
int env_rules_encode(const struct env_rules *r, const uint8_t sk[64], uint8_t *out, size_t cap);
int env_rules_decode(struct env_rules *r, const uint8_t *data, size_t len);
/* Is the record's signature by pk? For all kinds. 0 or VI_EAUTH. */
int env_record_verify(const uint8_t *data, size_t len, const uint8_t pk[32]);

#endif
