/* Which authorities' keys are trusted: for our own domain (the one we were admitted by, and around a
 * rollover its successor and its predecessors), and for the domains that we are federated with.
 *
 * Pure data. The mesh borrows `slot` as its list (mesh_config.trust, TRUST_MAX entries): a free place
 * has an empty domain, which no certificate has, so the list may change between two steps and nobody
 * has to be told. Times are wall clock. */
#ifndef PEER_TRUST_H
#define PEER_TRUST_H

#include "overlay/overlay.h"

#define TRUST_MAX    128 /* authorities trusted at a time, own and foreign; one more is VI_EFULL */
#define TRUST_FORMER 16  /* own authorities that have been retired and are remembered, the newest */

struct trust {
    char domain[CERT_NAME_MAX + 1];    /* our own */
    struct mesh_trust slot[TRUST_MAX]; /* [0]: our domain's newest authority */
    vi_time until[TRUST_MAX];          /* VI_NEVER: until it is dropped */
    struct mesh_trust former[TRUST_FORMER];
    unsigned n_former;
};

/* Trusts one authority, our own domain's newest. */
void trust_init(struct trust *t, const char *domain, const uint8_t authority[CERT_KEY]);
/* Our domain's newest authority. */
const uint8_t *trust_newest(const struct trust *t);
/* Another is our domain's newest now. The one before stays trusted until `until`. 0 or VI_EFULL. */
int trust_succeed(struct trust *t, const uint8_t authority[CERT_KEY], vi_time until);

/* Trusts an authority of any domain until then; known already: changes until. 0, VI_EFULL, VI_EINVAL
 * (no domain's name). Of our own domain only what a rollover says may be added: for a foreign authority
 * the caller has made sure that its domain isn't called like ours. */
int trust_add(struct trust *t, const char *domain, const uint8_t authority[CERT_KEY], vi_time until);
/* Ends it. An authority of our own domain becomes a former one; the newest can't be dropped. */
void trust_drop(struct trust *t, const char *domain, const uint8_t authority[CERT_KEY]);
/* Remembers one of our own domain's authorities that was retired before we came. */
void trust_former(struct trust *t, const uint8_t authority[CERT_KEY]);
/* Ends those whose time is over by more than CERT_SKEW. Returns how many. */
unsigned trust_expire(struct trust *t, vi_time wall);

/* Is it trusted now? */
bool trust_has(const struct trust *t, const char *domain, const uint8_t authority[CERT_KEY]);
/* Is the certificate good under a trusted authority of its domain? As cert_verify(): 0, VI_EAUTH,
 * VI_EEXPIRED. */
int trust_check(const struct trust *t, const struct cert *c, vi_time wall);
/* The same for our own domain only, former authorities included. */
int trust_check_former(const struct trust *t, const struct cert *c, vi_time wall);
/* The key of one of our own domain's authorities by its id, former ones included, or NULL. trusted (may
 * be NULL): whether it is trusted now. */
const uint8_t *trust_own_key(const struct trust *t, const struct vi_id *id, bool *trusted);

#endif
