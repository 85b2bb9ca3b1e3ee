/* Invitations that this host has given out, and the admission of those who come with one.
 *
 * Only the inviter counts uses: each is on the disk before the certificate goes out. A joiner that
 * asks again (its answer was lost) gets the same certificate and costs no further use. */
#ifndef PEER_INVITES_H
#define PEER_INVITES_H

#include "overlay/overlay.h"
#include "peer/base/store.h"
#include "peer/identity.h"

#define INVITES_MAX     64   /* open at a time */
#define INVITE_USES_MAX 1000
#define ADMITTED_KEPT   64   /* answers remembered for those who ask again */

struct invites;

/* Reads the open ones from the store. me and store are borrowed. NULL when out of memory. */
struct invites *invites_new(struct store *store, const struct identity *me);
void invites_free(struct invites *v);
/* How long its certificates hold (default: a year), and whom it turns away: refused says why. */
void invites_rules(struct invites *v, vi_time life,
                   bool (*refused)(void *arg, const uint8_t ed[CERT_KEY], const char *host, char *why, size_t cap),
                   void *arg);

/* Makes one: writes it to the store, then its text. address: where this host is reached. 0, or
 * VI_EAUTH (this host may not admit), VI_EFULL, VI_EIO, with why. */
int invites_make(struct invites *v, struct vi_rng *rng, vi_time wall, unsigned uses, vi_time ttl,
                 const char *address, char token[TOKEN_TEXT], vi_time *expires, char *why,
                 size_t cap);

/* For mesh_config.lookup_psk; arg is the struct invites. */
bool invites_secret(void *arg, const struct vi_id *token, uint8_t psk[32]);

/* Answers a request: out[JOIN_MAX] gets the encoded answer. *admitted is the new host's name when it
 * was admitted just now, else "". Returns the length, 0 if nothing can be answered. */
size_t invites_admit(struct invites *v, vi_time wall, const struct vi_id *token, const uint8_t x[32],
                     const uint8_t *request, size_t len, uint8_t out[JOIN_MAX],
                     char admitted[CERT_NAME_MAX + 1]);

#endif
