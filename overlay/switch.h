/* The virtual switch, as a pure core: where each MAC of each environment lives, because the host that
 * has it says so, and what is sent where therefore.
 *
 * Statements (mesh channel 2): each host tells every other host that takes part the whole list of MACs
 * that its guests of that environment have, numbered; it is said again until acknowledged, and every
 * 10 s. A MAC that one host states is believed of another only with a transfer signed by the first
 * (peer/base/transfer.h), or when the first took it off its list, or is gone. Everything else is a
 * conflict: counted, reported, and the first statement stays. overlay/README.md has the messages. */
#ifndef OVERLAY_SWITCH_H
#define OVERLAY_SWITCH_H

#include "peer/base/clock.h"
#include "peer/base/id.h"
#include "peer/base/transfer.h"

#define SWITCH_ENVS        64
#define SWITCH_MACS        1024 /* stated by others, in one environment */
#define SWITCH_LOCAL_MACS  256  /* ours, in one environment */
#define SWITCH_PEERS       256  /* hosts that take part in one environment, as far as we reach */
#define SWITCH_MESSAGE_MAX 1200

/* ---- what the data path reads: immutable ------------------------------------------------------ */

struct switch_mac {
    uint8_t mac[6];
    bool used, local;
    uint16_t peer; /* index into switch_env_table.peers, when not local */
};

struct switch_env_table {
    struct vi_id env;
    bool used;
    unsigned n_peers;
    struct vi_id peers[SWITCH_PEERS];
    uint16_t number[SWITCH_PEERS];  /* the peer's number for this environment; 0: it hasn't said yet */
    struct switch_mac macs[SWITCH_MACS * 2]; /* open addressing by switch_mac_slot() */
};

struct switch_table {
    struct switch_env_table *envs[SWITCH_ENVS]; /* our number for it is the index + 1 */
};

unsigned switch_mac_slot(const uint8_t mac[6]);
const struct switch_mac *switch_table_find(const struct switch_env_table *t, const uint8_t mac[6]);
void switch_table_free(struct switch_table *t);

/* ---- forwarding one frame (overlay/forward.c) ------------------------------------------------- */

enum forward_to { FORWARD_DROP, FORWARD_LOCAL, FORWARD_PEER, FORWARD_ALL };

enum forward_why {
    FORWARD_OK,
    FORWARD_SHORT,       /* not a whole Ethernet header */
    FORWARD_SPOOFED,     /* a local frame with the MAC of a guest elsewhere */
    FORWARD_STAYS,       /* for a guest of this host: the bridge has delivered it */
    FORWARD_RATE,        /* broadcast or unknown address, over the rate */
    FORWARD_NOT_MEMBER,  /* from a peer that doesn't take part */
    FORWARD_AGAIN,       /* was forwarded once already */
    FORWARD_REASONS
};
const char *forward_why_text(enum forward_why w);

struct forward_rate { /* a token bucket: frames that go to everybody */
    double tokens;
    vi_time at;
};
#define FORWARD_RATE_PER_S 2000.0
#define FORWARD_BURST      4000.0

struct forward_decision {
    enum forward_to to;
    enum forward_why why;
    uint16_t peer; /* FORWARD_PEER */
};

/* A frame that came out of the environment's TAP. */
struct forward_decision forward_from_tap(const struct switch_env_table *t, struct forward_rate *rate,
                                         vi_time now, const uint8_t *frame, size_t len);
/* A frame that came from a peer; again: it was passed on once already by a host its guest has left. */
struct forward_decision forward_from_peer(const struct switch_env_table *t, const struct vi_id *peer,
                                          bool again, const uint8_t *frame, size_t len);

/* ---- the core --------------------------------------------------------------------------------- */

struct switch_config {
    struct vi_id self;
    uint64_t first_counter; /* greater than any used before: the wall clock in µs, or what was kept */
    void *arg;
    /* The Ed25519 key of a peer; false: unknown. Pure lookup. */
    bool (*key_of)(void *arg, const struct vi_id *peer, uint8_t pk[32]);
};

enum switch_event_kind {
    SWITCH_EV_TICK,
    SWITCH_EV_ENV,          /* this host has a bridge of env (on) or not any more */
    SWITCH_EV_PARTICIPANTS, /* all others that take part */
    SWITCH_EV_LOCAL,        /* a guest of ours: its MACs, or that it is gone */
    SWITCH_EV_MESSAGE,
    SWITCH_EV_ACTIVATE,     /* a transfer to us was journalled: state its MACs, tell everybody */
    SWITCH_EV_GIVEN,        /* a transfer by us was journalled: forward from now on */
    SWITCH_EV_PEER_UP,      /* a session with it is new: it may have been started again, and know nothing */
    SWITCH_EV_PEER_GONE     /* dead or left: its statements don't hold */
};

struct switch_event {
    enum switch_event_kind kind;
    struct vi_id env, peer, guest;
    bool on;                   /* ENV, LOCAL: present */
    uint64_t epoch;            /* LOCAL */
    const struct vi_id *peers; /* PARTICIPANTS */
    unsigned n;                /* PARTICIPANTS, LOCAL */
    const uint8_t (*macs)[6];  /* LOCAL */
    const uint8_t *data;       /* MESSAGE, ACTIVATE, GIVEN */
    size_t len;
};

enum switch_effect_kind {
    SWITCH_FX_SEND,     /* data to peer, channel 2 */
    SWITCH_FX_TABLE,    /* a new table: the taker owns it (switch_table_free) */
    SWITCH_FX_ANNOUNCE, /* tell our own bridge of env where mac is now */
    SWITCH_FX_CONFLICT  /* mac is stated by peer, and by other, who has it by our book */
};

struct switch_effect {
    enum switch_effect_kind kind;
    struct vi_id peer, other, env;
    uint8_t mac[6];
    struct switch_table *table;
    size_t len;
    uint8_t data[SWITCH_MESSAGE_MAX];
};

struct vswitch;
struct vswitch *switch_new(const struct switch_config *cfg, vi_time now);
void switch_free(struct vswitch *s);
void switch_step(struct vswitch *s, vi_time now, const struct switch_event *ev);
/* The oldest effect not taken, or NULL; borrowed until the next call. 512 may wait: further sends are
 * dropped (they are said again), at most one table waits (the newest). */
const struct switch_effect *switch_effect(struct vswitch *s);
vi_time switch_deadline(const struct vswitch *s);

/* Is this MAC another host's, by the book, though a guest here may have it too? Then peer says whose. */
bool switch_elsewhere(const struct vswitch *s, const struct vi_id *env, const uint8_t mac[6], struct vi_id *peer);

/* Is this environment open here? Not after an EV_ENV that found no memory: say it again. */
bool switch_has(const struct vswitch *s, const struct vi_id *env);

/* For display: MACs of an environment with their hosts; *pos starts at 0. */
struct switch_place {
    uint8_t mac[6];
    struct vi_id guest, peer;
    uint64_t epoch;
};
bool switch_place_next(const struct vswitch *s, const struct vi_id *env, unsigned *pos,
                       struct switch_place *out);
uint64_t switch_conflicts(const struct vswitch *s);

#endif
