/* The virtual switch, as a pure core: where each MAC of each environment lives, because the host that
 * has it says so, and what is sent where therefore.
 *
 * Statements (mesh channel 2): each host tells every other host that takes part the whole list of MACs
 * that its guests of that environment have, numbered; it is said again until acknowledged, and every
 * 10 s. A MAC that one host states is believed of another only with a transfer signed by the first
 * (peer/base/transfer.h), or when the first took it off its list, or is gone. Everything else is a
 * conflict: each asks both for the transfers they have; who is shown to have given the MAC away loses, and without
 * any the first statement stays; all of it is reported. overlay/README.md has the messages.
 *
 * A pinned guest's MAC stays its host's for an hour after that host is gone, whatever others state.
 *
 * Learned MACs (of stations on an attached LAN, of bridges inside guests) are told by the host behind whose TAP they
 * were heard. They never override stated ones, and are forgotten 5 minutes after they were heard last.
 *
 * Addresses: a host also says which IP addresses its guests said, by ARP or neighbour discovery, that they have. They
 * only tell whom a question is sent to (and in a strict environment, whose an address is), so nothing is lost when one
 * is missing or wrong: the question then goes to everybody. Forgotten 20 minutes after the guest said it last. */
#ifndef OVERLAY_SWITCH_H
#define OVERLAY_SWITCH_H

#include "overlay/frame_says.h"
#include "peer/base/clock.h"
#include "peer/base/id.h"
#include "peer/base/transfer.h"

#define SWITCH_ENVS        64
#define SWITCH_MACS        1024 /* stated by others, in one environment */
#define SWITCH_LOCAL_MACS  256  /* ours, in one environment */
#define SWITCH_MAC_IPS     8    /* addresses of one MAC; a further one takes the oldest's place */
#define SWITCH_IPS         1024 /* addresses of one environment; questions for others go to everybody */
#define SWITCH_PEERS       256  /* hosts that take part in one environment, as far as we reach */
#define SWITCH_TRANSFERS   128  /* of one environment that are kept to decide conflicts; the oldest goes */
#define SWITCH_CHAIN       8    /* … of one guest */
#define SWITCH_CONFLICTS   16   /* that are shown; the oldest goes */
#define SWITCH_PINNED      128  /* MACs of pinned guests that are told; others move as any */
#define SWITCH_LEARNED_OWN 128  /* learned here, in one environment; more aren't learned */
#define SWITCH_LEARNED     512  /* learned by others, in one environment; the same */
#define SWITCH_MESSAGE_MAX 1200

/* ---- what the data path reads: immutable ------------------------------------------------------ */

struct switch_mac {
    uint8_t mac[6];
    bool used, local, learned;
    uint16_t peer; /* index into switch_env_table.peers, when not local */
};

/* An IP address that a guest says it has. */
struct switch_ip {
    uint8_t ip[IP_BYTES], mac[6];
    bool used, local, many; /* many: several MACs have it, say their hosts */
    uint16_t peer;          /* index into switch_env_table.peers, when not local */
};

struct switch_env_table {
    struct vi_id env;
    bool used, strict;
    double bandwidth; /* bytes a second from here to others, of one thread; 0: forward_limits' */
    bool away;       /* this host takes no part (any more): nothing goes in or out, but what is passed on */
    uint64_t serial; /* of this opening of the environment: another one's counters begin anew */
    unsigned slot;   /* in switch_table.envs */
    unsigned n_peers, n_ips;
    struct vi_id peers[SWITCH_PEERS];
    uint16_t number[SWITCH_PEERS];  /* the peer's number for this environment; 0: it hasn't said yet */
    struct switch_mac macs[SWITCH_MACS * 2]; /* open addressing by switch_mac_slot() */
    struct switch_ip ips[SWITCH_IPS * 2];    /* the same by the address' hash */
};

struct switch_table {
    struct switch_env_table *envs[SWITCH_ENVS]; /* our number for it is the index + 1 */
};

unsigned switch_mac_slot(const uint8_t mac[6]);
const struct switch_mac *switch_table_find(const struct switch_env_table *t, const uint8_t mac[6]);
const struct switch_ip *switch_table_find_ip(const struct switch_env_table *t, const uint8_t ip[IP_BYTES]);
/* Into a table that nobody reads yet. A MAC twice: the first stays. An address of two MACs becomes `many`. */
void switch_table_add(struct switch_env_table *t, const uint8_t mac[6], bool local, unsigned peer);
void switch_table_add_ip(struct switch_env_table *t, const uint8_t ip[IP_BYTES], const uint8_t mac[6], bool local, unsigned peer);
void switch_table_free(struct switch_table *t);

/* ---- forwarding one frame (overlay/forward.c) ------------------------------------------------- */

enum forward_to { FORWARD_DROP, FORWARD_LOCAL, FORWARD_PEER, FORWARD_ALL };

enum forward_why {
    FORWARD_OK,
    FORWARD_SHORT,       /* not a whole Ethernet header */
    FORWARD_SPOOFED,     /* with the MAC of a guest elsewhere; strict: with a MAC that no guest here has */
    FORWARD_STAYS,       /* for a guest of this host: the bridge has delivered it */
    FORWARD_RATE,        /* to many, over the environment's rate */
    FORWARD_NOT_MEMBER,  /* from a peer that doesn't take part */
    FORWARD_AGAIN,       /* was forwarded once already */
    FORWARD_GUEST_RATE,  /* to many, over its guest's rate */
    FORWARD_UNKNOWN,     /* to a MAC that nobody states, over the rate */
    FORWARD_ADDRESS,     /* strict: with the IP address of another guest, or ARP that names another MAC */
    FORWARD_AWAY,        /* this host takes no part in the environment */
    FORWARD_ENV_RATE,    /* over the environment's bandwidth */
    FORWARD_BEACON,      /* says whose an attached LAN is (peer/attach.h): for that LAN only */
    FORWARD_NO_TAP,      /* for somebody here, but the environment's TAP isn't there (yet) */
    FORWARD_REASONS
};
/* How a beacon begins, after the two MACs: IEEE 802's second local experimental type, and this. */
#define FORWARD_BEACON_TYPE  0x88b6
#define FORWARD_BEACON_TEXT  "violinAT"
#define FORWARD_BEACON_MAGIC 8
const char *forward_why_text(enum forward_why w);

struct forward_rate { /* a token bucket */
    double tokens;
    vi_time at;
};
/* Frames a second that go to everybody: of an environment, of a guest of it; those to MACs that nobody states, of an
 * environment; twice as many at once. bytes: of all frames of an environment; 0: as many as come. */
struct forward_limits {
    double all, guest, unknown, bytes;
};
extern const struct forward_limits forward_defaults;

/* Of one environment, in one thread. */
struct forward_rates {
    const struct forward_limits *limits; /* NULL: forward_defaults */
    struct forward_rate all, unknown, bytes;
    struct forward_rate guest[64]; /* by the MAC's hash: guests may share one */
};

struct forward_decision {
    enum forward_to to;
    enum forward_why why;
    uint16_t peer;            /* FORWARD_PEER */
    bool asked;               /* an ARP request or neighbour solicitation, to the host of who can answer only */
    bool src_known, dst_known; /* these MACs are stated */
    bool learn;               /* src isn't: it is to be told to the switch */
};

/* A frame that came out of the environment's TAP. */
struct forward_decision forward_from_tap(const struct switch_env_table *t, struct forward_rates *rates,
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
    SWITCH_EV_ADDRESS,      /* a guest of ours (mac) says that it has this IP address */
    SWITCH_EV_LEARNED,      /* a MAC that nobody states was heard behind our TAP */
    SWITCH_EV_AWAY,         /* this host takes part (not on), or doesn't (on), in env */
    SWITCH_EV_KEPT,         /* at start: a transfer that was kept (SWITCH_FX_KEEP) */
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
    bool strict;               /* ENV: guests may only speak with their own MACs and addresses */
    double bandwidth;          /* ENV: bytes a second that one thread may send; 0: no limit of its own */
    bool pinned;               /* LOCAL: the guest stays where it is */
    bool left;                 /* PEER_GONE: it was revoked: it doesn't come back */
    uint8_t mac[6], ip[IP_BYTES]; /* ADDRESS, LEARNED */
    uint64_t epoch;            /* LOCAL */
    const struct vi_id *peers; /* PARTICIPANTS */
    unsigned n;                /* PARTICIPANTS, LOCAL */
    const uint8_t (*macs)[6];  /* LOCAL */
    const uint8_t *data;       /* MESSAGE, ACTIVATE, GIVEN, KEPT */
    size_t len;
};

enum switch_effect_kind {
    SWITCH_FX_SEND,     /* data to peer, channel 2 */
    SWITCH_FX_TABLE,    /* a new table: the taker owns it (switch_table_free) */
    SWITCH_FX_ANNOUNCE, /* tell our own bridge of env where mac is now */
    SWITCH_FX_CONFLICT, /* mac is stated by peer, and by other, who had it by our book */
    SWITCH_FX_KEEP      /* data is a transfer of this host's, of guest `peer`: to be kept for SWITCH_EV_KEPT */
};

/* How a conflict ended. */
enum switch_decision {
    SWITCH_UNDECIDED, /* the first statement stays */
    SWITCH_STAYS,     /* `peer` gave the MAC away, says its own transfer */
    SWITCH_MOVES      /* `other` did: it is `peer`'s now */
};

struct switch_effect {
    enum switch_effect_kind kind;
    struct vi_id peer, other, env;
    uint8_t mac[6];
    enum switch_decision decided;
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
    bool pinned, learned;
    unsigned n_ips;
    uint8_t ips[SWITCH_MAC_IPS][IP_BYTES];
};
bool switch_place_next(const struct vswitch *s, const struct vi_id *env, unsigned *pos,
                       struct switch_place *out);
uint64_t switch_conflicts(const struct vswitch *s);

/* Conflicts of the last half minute; *pos starts at 0. */
struct switch_dispute {
    uint8_t mac[6];
    struct vi_id peer, has;
    enum switch_decision decided;
};
bool switch_dispute_next(const struct vswitch *s, const struct vi_id *env, unsigned *pos, struct switch_dispute *out);

#endif
