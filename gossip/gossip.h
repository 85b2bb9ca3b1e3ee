/* Membership, failure detection, rumours, summaries and records, as a pure core.
 *
 * SWIM: Das, Gupta, Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process Group
 * Membership Protocol" (DSN 2002), with suspicion and incarnations (§4.2), round-robin probing
 * (§4.3). Lifeguard: Dadgar, Phillips, Currey, "Lifeguard: Local Health Awareness for More Accurate
 * Failure Detection" (2017): local health multiplier, dynamic suspicion, buddy. Beyond both: two
 * guards (own loop lagged; nothing heard), records signed by those they are about, and nobody's
 * word makes a member dead: it starts or shortens a suspicion, which runs out at each peer itself.
 *
 * One core, two instances: the hosts of a domain, the representatives of a federation.
 * gossip/README.md has the messages and the states as tables. */
#ifndef GOSSIP_GOSSIP_H
#define GOSSIP_GOSSIP_H

#include "gossip/representative.h"
#include "peer/base/clock.h"
#include "peer/base/id.h"
#include "peer/base/rng.h"

#define GOSSIP_WIRE         1    /* version spoken, first byte of every datagram */
#define GOSSIP_WIRE_OLDEST  1    /* oldest that is understood */
#define GOSSIP_DATAGRAM_MAX 1200 /* bytes */
#define GOSSIP_NAME_MAX     32   /* bytes without NUL */
#define GOSSIP_META_MAX     32
#define GOSSIP_CERT_MAX     576
#define GOSSIP_ADDR_MAX     19   /* family 1, port 2, IP 4 or 16 as the owner likes: opaque here */
#define GOSSIP_SUMMARY_MAX  64
#define GOSSIP_RECORD_MAX   900
#define GOSSIP_KEY          32   /* Ed25519 public key */
#define GOSSIP_SIG          64

struct gossip_addr {
    uint8_t len; /* 0: none */
    uint8_t b[GOSSIP_ADDR_MAX];
};

/* ---- configuration -------------------------------------------------------------------------- */

struct gossip_pool;
/* NULL: no memory. Not for threads. */
struct gossip_pool *gossip_pool_new(void);
void gossip_pool_free(struct gossip_pool *p); /* after its cores; NULL does nothing */

struct gossip_config {
    /* Ourselves. id must be vi_id_hash("violin peer", key). */
    struct vi_id id;
    uint8_t key[GOSSIP_KEY];
    struct gossip_addr addr;      /* may be unknown (len 0) and set later with SET_SELF */
    char name[GOSSIP_NAME_MAX + 1];
    uint8_t meta[GOSSIP_META_MAX];
    uint8_t meta_len;
    uint8_t cert[GOSSIP_CERT_MAX]; /* shows that key may be a member; goes into full records */
    uint16_t cert_len;
    /* The greatest number that a GOSSIP_FX_PERSIST of an earlier run asked to keep; 0: first run. */
    uint64_t initial_incarnation;

    vi_time probe_interval;   /* one member is probed per interval, × local health + 1 */
    vi_time timeout_min;      /* of a direct probe: clamp(3 × p99 of RTTs, min, max), */
    vi_time timeout_max;      /*   × local health + 1 */
    unsigned indirect;        /* members asked to probe in our place */
    unsigned health_max;      /* of the local health multiplier; 0: SWIM without Lifeguard's */
    double alpha, beta;       /* suspicion lasts alpha × max(1, log10 n) × interval at least, */
    unsigned confirmations;   /*   beta times that without K independent confirmations (≤ 8) */
    bool buddy;               /* tell a suspected member with the next ping */
    vi_time gossip_interval;  /* rumours go to `gossip_fanout` members so often, while there are any */
    unsigned gossip_fanout;
    unsigned retransmit;      /* each rumour goes out ⌈retransmit × log10(n + 1)⌉ times */
    vi_time sync_interval;    /* digest sync with one member; … */
    unsigned lost_every;      /* … of so many one with a dead one or a seed, for ever */
    vi_time store_interval;   /* summaries and records: exchange with one member */
    unsigned store_datagrams; /* with values, sent per exchange and as an answer to a digest, at most (≥ 1) */
    vi_time lag_limit;        /* a step later than its deadline by more is a lag of ours */
    vi_time silence;          /* nothing heard for so long (≥ 3 others): no verdicts … */
    vi_time silence_most;     /* … until silent for so long: then we are alone and say so */
    unsigned aside_failures;  /* so many of our own probes in a row failed, and the helpers weren't heard
                                 either: the fault is ours. We judge nobody, and don't refute, until
                                 `aside_answers` were answered in a row; 0: never */
    unsigned aside_answers;
    bool plain;               /* SWIM as published, to compare with: others' deaths are believed, who
                                 spoke since it was accused isn't spared */
    vi_time dead_keep;        /* left members are forgotten after this; dead ones only when the
                                 table is full, oldest first */

    uint32_t max_members;     /* with ourselves */
    uint32_t max_records;     /* without summaries (there is one a member) */
    uint32_t max_per_origin;  /* records of one origin */
    uint8_t mortal_kind;      /* records of this kind are said again and again: when they are that old they */
    vi_time mortal_life;      /*   are dropped, and not taken from others; ≤ 1 hour. Kind 0: none is */

    /* Members' words shared by the cores of one process that have this pool; NULL: each has its own.
     * Outlives them. What one core found authentic, the others take without looking again. */
    struct gossip_pool *pool;

    void *arg; /* handed to the four calls, which must be pure functions of what they are given */
    /* Our Ed25519 signature. */
    void (*sign)(void *arg, const uint8_t *data, size_t len, uint8_t sig[GOSSIP_SIG]);
    bool (*verify)(void *arg, const uint8_t key[GOSSIP_KEY], const uint8_t *data, size_t len,
                   const uint8_t sig[GOSSIP_SIG]);
    /* May the holder of key be a member? (certificate of the right authority, of that key, not
     * revoked; expiry isn't tested here: design §4). Id and key were found to match. */
    bool (*admit)(void *arg, const struct vi_id *id, const uint8_t key[GOSSIP_KEY],
                  const uint8_t *cert, size_t len);
    /* Is this record what it claims to be (signature inside the bytes, kind, key, version, origin)? */
    bool (*accept)(void *arg, uint8_t kind, const struct vi_id *key, const struct vi_id *origin,
                   uint64_t version, const uint8_t *bytes, size_t len);
};

/* The figures of design §6. Ourselves, and the calls, are left zero for the caller to fill in. */
void gossip_config_domain(struct gossip_config *c);
void gossip_config_federation(struct gossip_config *c);

/* ---- events --------------------------------------------------------------------------------- */

enum gossip_event_kind {
    GOSSIP_EV_TICK,        /* gossip_deadline() has come */
    GOSSIP_EV_DATAGRAM,    /* authenticated by the session as from that peer */
    GOSSIP_EV_REACHABLE,   /* a session with that peer came up */
    GOSSIP_EV_UNREACHABLE, /* none could be made: a hint to probe, never a verdict */
    GOSSIP_EV_SEED,        /* a peer to be tried for ever; joins through it */
    GOSSIP_EV_LEAVE,       /* say good-bye; GOSSIP_FX_GONE when it is said */
    GOSSIP_EV_LAG,         /* the owner's loop stood still for so long, sockets not yet drained */
    GOSSIP_EV_SET_SELF,    /* own address, meta or certificate changed */
    GOSSIP_EV_SET_SUMMARY, /* own summary; each call makes a new version, age 0 */
    GOSSIP_EV_SET_RECORD,  /* a record of ours, or one from the owner's store after a restart */
    GOSSIP_EV_FORGET,      /* drop a member and what it published (revoked) */
    GOSSIP_EV_RECHECK      /* admit() says yes to more than it did: ask for the certificates it refused */
};

struct gossip_event {
    enum gossip_event_kind kind;
    union {
        struct {
            struct vi_id from;
            const uint8_t *data;
            size_t len;
        } datagram;
        struct vi_id peer; /* REACHABLE, UNREACHABLE, FORGET */
        struct {
            struct vi_id id;
            struct gossip_addr addr;
        } seed;
        vi_time lag;
        struct {
            const struct gossip_addr *addr; /* each may be NULL: unchanged */
            const uint8_t *meta;
            uint8_t meta_len;
            const uint8_t *cert;
            uint16_t cert_len;
        } self;
        struct {
            const uint8_t *bytes;
            size_t len; /* ≤ GOSSIP_SUMMARY_MAX */
        } summary;
        struct {
            uint8_t kind; /* 1 … 255 */
            struct vi_id key, origin;
            uint64_t version;
            const uint8_t *bytes;
            size_t len;  /* 1 … GOSSIP_RECORD_MAX */
            vi_time age; /* 0: said now */
        } record;
    };
};

/* ---- effects -------------------------------------------------------------------------------- */

enum gossip_state { GOSSIP_ALIVE = 1, GOSSIP_SUSPECT, GOSSIP_DEAD, GOSSIP_LEFT };
const char *gossip_state_text(enum gossip_state s);

enum gossip_change {
    GOSSIP_UP = 1,   /* a new member, or one that was dead or left is back */
    GOSSIP_SUSPECTED,
    GOSSIP_CONFIRMED, /* by another independent accuser, `why`; it was suspected already */
    GOSSIP_REFUTED,  /* suspicion is over: it lives */
    GOSSIP_DOWN,     /* the suspicion ran out */
    GOSSIP_GOODBYE,  /* it left */
    GOSSIP_CHANGED,  /* address, name, meta or certificate */
    GOSSIP_FORGOTTEN /* no longer in the table */
};
const char *gossip_change_text(enum gossip_change c);

enum gossip_reason {
    GOSSIP_WHY_NONE,
    GOSSIP_WHY_PROBE,   /* our own probe: no answer, direct or through others */
    GOSSIP_WHY_RUMOUR,  /* `accuser` said so; it reached us by `via` */
    GOSSIP_WHY_TIMEOUT, /* the suspicion ran out (accuser: who began it) */
    GOSSIP_WHY_SELF     /* its own signed word */
};
const char *gossip_reason_text(enum gossip_reason r);

struct gossip_why {
    enum gossip_reason reason;
    struct vi_id accuser;   /* zero: nobody */
    struct vi_id via;       /* who told us; zero: we found out ourselves */
    unsigned asked;         /* PROBE: members that probed in our place */
    unsigned nacks;         /*   … that said they got no answer either */
    unsigned confirmations; /* independent accusers after the first */
    vi_time at;
};

enum gossip_effect_kind {
    GOSSIP_FX_SEND,    /* data to peer `id`, best effort; addr (if len > 0) where it may be tried */
    GOSSIP_FX_MEMBER,  /* a member changed: change, was, state, why */
    GOSSIP_FX_PERSIST, /* keep `number` (initial_incarnation) before any later effect is carried out */
    GOSSIP_FX_RECORD,  /* another peer gave us a new or newer record: gossip_record_get() */
    GOSSIP_FX_GONE     /* after LEAVE: it has been said */
};

struct gossip_effect {
    enum gossip_effect_kind kind;
    struct vi_id id; /* SEND: to; MEMBER: whom; RECORD: key */
    struct gossip_addr addr;
    const uint8_t *data; /* SEND */
    size_t len;
    enum gossip_change change; /* MEMBER */
    enum gossip_state was, state; /* MEMBER; was 0: unknown before */
    struct gossip_why why;
    uint64_t number;     /* PERSIST: incarnation; RECORD: version */
    uint8_t record_kind; /* RECORD */
    struct vi_id origin; /* RECORD */
};

/* ---- the core ------------------------------------------------------------------------------- */

struct gossip;

/* cfg is copied (not what arg points to); rng is borrowed while the core lives. NULL: no memory, or
 * a figure out of its range. */
struct gossip *gossip_new(const struct gossip_config *cfg, struct vi_rng *rng, vi_time now);
void gossip_free(struct gossip *g);
/* One event in; everything it points to is copied. 0, or for the owner's own events VI_EINVAL,
 * VI_EFULL, VI_EEXIST (as new or newer is there), VI_ESTATE (after
 * LEAVE), VI_ENOMEM. Bad datagrams are counted, never an error. */
int gossip_step(struct gossip *g, vi_time now, const struct gossip_event *ev);
/* The oldest effect not taken, or NULL. Borrowed until the next call with g. Sends beyond 4096
 * waiting ones are dropped and counted; other effects never are. */
const struct gossip_effect *gossip_effect(struct gossip *g);
vi_time gossip_deadline(const struct gossip *g);

/* ---- for display and for the other cores' owners --------------------------------------------- */

struct gossip_member {
    struct vi_id id;
    enum gossip_state state;
    uint64_t incarnation;
    struct gossip_addr addr;
    char name[GOSSIP_NAME_MAX + 1];
    uint8_t meta[GOSSIP_META_MAX];
    uint8_t meta_len;
    const uint8_t *key;  /* 32 bytes; key and cert are borrowed until the next step */
    const uint8_t *cert;
    uint16_t cert_len;
    bool self;
    vi_time since; /* in this state */
    vi_time heard; /* last datagram from it; 0: never */
    struct gossip_why why; /* of the suspicion or death; reason NONE otherwise */
};
/* Members one after another, ourselves first; *pos starts at 0; false at the end. */
bool gossip_member_next(const struct gossip *g, size_t *pos, struct gossip_member *out);
bool gossip_member_find(const struct gossip *g, const struct vi_id *id, struct gossip_member *out);
/* Alive and suspect members, ourselves included. */
uint32_t gossip_alive(const struct gossip *g);

struct gossip_summary {
    struct vi_id id;
    uint64_t version;
    vi_time age; /* since its host made it, as far as we can know */
    const uint8_t *bytes; /* borrowed until the next step */
    size_t len;
};
/* Summaries of members that are alive or suspect, ours included. */
bool gossip_summary_next(const struct gossip *g, vi_time now, size_t *pos,
                         struct gossip_summary *out);
/* The same, each once, in an order that a number drawn at random decides; until the next step. */
struct gossip_round {
    size_t at, step, left;
};
void gossip_round(const struct gossip *g, uint64_t drawn, struct gossip_round *r);
bool gossip_summary_drawn(const struct gossip *g, vi_time now, struct gossip_round *r,
                          struct gossip_summary *out);
bool gossip_summary_get(const struct gossip *g, vi_time now, const struct vi_id *id,
                        struct gossip_summary *out);

struct gossip_record {
    uint8_t kind;
    struct vi_id key, origin;
    uint64_t version;
    const uint8_t *bytes; /* borrowed until the next step */
    size_t len;
    vi_time age; /* since it was said, as far as those who passed it on tell; beyond an hour it stops growing on the way */
};
bool gossip_record_next(const struct gossip *g, size_t *pos, struct gossip_record *out);
bool gossip_record_get(const struct gossip *g, uint8_t kind, const struct vi_id *key,
                       struct gossip_record *out);

#define GOSSIP_COUNTERS(X)                                                                         \
    X(tx) X(tx_bytes) X(tx_store_bytes) X(rx) X(rx_bytes) X(rx_malformed) X(rx_version)            \
    X(rx_unknown) X(rx_forged) X(rx_stale) X(probes) X(probes_failed) X(indirect) X(relays)        \
    X(relays_full) X(suspected) X(refuted) X(died) X(self_accused) X(aside) X(guard_lag) X(guard_silence)   \
    X(syncs) X(syncs_different) X(records_refused) X(records_full) X(members_full)                 \
    X(seeds_full) X(sends_dropped) X(no_memory)
struct gossip_counters {
#define X(name) uint64_t name;
    GOSSIP_COUNTERS(X)
#undef X
};
const struct gossip_counters *gossip_counters(const struct gossip *g);

struct gossip_gauges {
    unsigned health;       /* local health: 0 is good */
    uint64_t incarnation;  /* own */
    uint32_t rumours, suspects, relays, seeds, records, summaries, effects;
    vi_time probe_timeout; /* now, with local health */
    bool guarded;          /* no verdicts at the moment */
    bool aside;            /* our own probes fail: we judge nobody and don't refute */
    struct vi_id digest;   /* of who is alive or suspect, and their incarnations: equal where tables are */
};
void gossip_gauges(const struct gossip *g, struct gossip_gauges *out);

#endif
