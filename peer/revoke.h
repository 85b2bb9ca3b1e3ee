/* The blocklist: keys that were revoked, with the statements that say so. In memory, sorted by the
 * peer's id; at most REVOKED_MAX, beyond which further statements are not taken. */
#ifndef PEER_REVOKE_H
#define PEER_REVOKE_H

#include "peer/statements.h"

#define REVOKED_MAX 1024

struct revoked {
    struct vi_id peer; /* cert_peer_id() of the key */
    struct revocation r;
    bool enforced; /* its owner's: sessions were closed, the member dropped */
};

struct blocklist {
    struct revoked *e;
    unsigned n, cap;
};

/* Takes a statement that was verified. 0 and *changed (may be NULL): new, or a newer issue (then it counts
 * as enforced as the one before); VI_EFULL; VI_ENOMEM. */
int blocklist_add(struct blocklist *b, const struct revocation *r, bool *changed);
/* NULL: not revoked. Valid until the next add. */
struct revoked *blocklist_find(const struct blocklist *b, const struct vi_id *peer);
bool blocklist_has_key(const struct blocklist *b, const uint8_t ed[CERT_KEY]);
void blocklist_free(struct blocklist *b);

#endif
