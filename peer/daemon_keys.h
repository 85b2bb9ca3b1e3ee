/* The daemon and keys over time: what daemon_keys.c (statements in, judgements, enforcement),
 * daemon_renew.c (certificates), daemon_authority.c (what is said: revocations, delegations, rollovers) and
 * daemon_keys_rpc.c (the control socket) share. */
#ifndef PEER_DAEMON_KEYS_H
#define PEER_DAEMON_KEYS_H

#include "peer/daemon_internal.h"
#include "peer/keyring.h"

#define ISSUED_KEPT     64          /* renewals answered of late: asking again costs nothing */
#define ISSUE_GAP       (10 * VI_SEC)
#define RENEW_RETRY     (5 * VI_SEC) /* then doubled, up to: */
#define RENEW_RETRY_MOST (10 * VI_MIN)
#define DELEGATION_LIFE ((vi_time)10 * 365 * 24 * VI_HOUR) /* of the authority's own host */
#define ROLLOVER_OVERLAP ((vi_time)30 * 24 * VI_HOUR) /* unless said otherwise */

struct issued {
    struct vi_id peer;
    vi_time at; /* boottime; 0: free */
    int err;    /* refused: why */
    size_t len;
    uint8_t cert[CERT_MAX];
};

struct keys {
    struct keyring ring;
    bool enforce;          /* a revocation is new */
    vi_time next;          /* housekeeping */
    vi_time next_authority;
    vi_time recheck_at;    /* members' certificates that were refused; 0: no need */
    unsigned rechecks;
    /* our own renewal */
    bool asking, forced;   /* forced: by `violin cert renew` */
    unsigned tried;        /* candidates asked in this round */
    vi_time rest_until;    /* renewed of late: a clock that is wrong must not make it a habit */
    vi_time retry_at, retry, go_over_at; /* go_over_at: to the newest authority; 0: not begun */
    char trouble[160];     /* why it failed last; "": it didn't */
    struct rpc_call *waiting;
    /* others' */
    struct issued issued[ISSUED_KEPT];
    unsigned next_issued;
};

/* daemon_keys.c */
/* The authority's secret key, if it is on this host and is our newest. The caller wipes it. */
bool daemon_keys_authority(struct daemon *d, uint8_t secret[64]);
/* Takes a statement of our own making, or one that was accepted: keyring, store, gossip. 0 or an error. */
int daemon_keys_publish(struct daemon *d, unsigned kind, const uint8_t *bytes, size_t len);
/* "the authority", or the name of the host with that key. Static storage, until the next call. */
const char *daemon_keys_issuer(struct daemon *d, bool delegated, const struct cert_delegation *by);

/* daemon_renew.c */
void daemon_renew_tick(struct daemon *d, vi_time now);
/* Begins a renewal now; call is answered when it is over. An error: nothing was begun, and call is the
 * caller's. */
int daemon_renew_now(struct daemon *d, struct rpc_call *call, char *why, size_t cap);
vi_time daemon_renew_at(const struct daemon *d); /* wall */

/* daemon_authority.c */
void daemon_authority_recover(struct daemon *d); /* a rollover that was interrupted */
void daemon_authority_tick(struct daemon *d);
int daemon_revoke(struct daemon *d, const char *who, const char *text, struct vi_id *peer, char *why,
                  size_t cap);
int daemon_delegate(struct daemon *d, const char *who, uint32_t caps, vi_time ttl, struct vi_id *peer,
                    char *why, size_t cap);
int daemon_rollover(struct daemon *d, vi_time overlap, char *why, size_t cap);
int daemon_retire(struct daemon *d, bool force, char *why, size_t cap);

#endif
