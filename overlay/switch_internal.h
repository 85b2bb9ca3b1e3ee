/* The switch core's state, shared by its files only. */
#ifndef OVERLAY_SWITCH_INTERNAL_H
#define OVERLAY_SWITCH_INTERNAL_H

#include "overlay/switch.h"

struct vi_reader;

#define EFFECTS   512
#define PER_PART  24
#define AGAIN     (500 * VI_MSEC)
#define REFRESH   (10 * VI_SEC)
#define ASKS      20 /* for a statement, each AGAIN */
#define RECORD_MOST (60 * VI_SEC) /* how long a record by gossip may take */
#define GREETED   8               /* of many that take part all at once, so many are asked at once */
#define ECHO_MOST (60 * VI_SEC)   /* a statement from before a move doesn't come later */
#define TRANSFERS 128
#define STICKY    (3600 * VI_SEC) /* a pinned guest's MAC stays its host's for so long */
#define ASK_AGAIN (2 * VI_SEC)    /* for transfers, in a conflict */
#define SHOW_EVERY (100 * VI_MSEC) /* at most: an answer is longer than what asks for it */
#define DISPUTE_MOST (30 * VI_SEC) /* after it was seen last */

/* The addresses of one MAC. */
struct says {
    unsigned n;
    uint8_t ip[SWITCH_MAC_IPS][IP_BYTES];
    vi_time at[SWITCH_MAC_IPS]; /* of a guest here: when it said so last */
    uint64_t counter;           /* of a guest elsewhere: of the message it is from */
};

struct stated {
    bool used, gone; /* gone: a tombstone: nobody states it now, the epoch is kept */
    bool pinned;     /* gone and pinned: its host's for STICKY, then as any */
    uint8_t mac[6];
    struct vi_id guest, peer;
    uint64_t epoch;
    uint64_t counter; /* of the statement it was last in */
    vi_time gone_at;
    struct says says;
};

struct local_mac {
    uint8_t mac[6];
    bool pinned;
    struct vi_id guest;
    uint64_t epoch;
    struct says says;
};

struct other {
    struct vi_id peer;
    uint16_t number;      /* its number for this environment */
    uint64_t counter;     /* of its newest statement */
    uint32_t parts_seen;  /* of that one */
    uint64_t acked;       /* of ours */
    vi_time last_sent;
    unsigned asks;        /* for its statement */
    vi_time until; /* known by a transfer only, its own record is under way: kept so long; else VI_NEVER */
};

struct learned {
    uint8_t mac[6];
    struct vi_id peer; /* of others': who told it */
    vi_time at;        /* heard, told */
};

/* A transfer that was believed, or leads to one that was. */
struct kept {
    bool used, write; /* write: to be kept on disk, at the next tick */
    struct transfer t;
    size_t len;
    uint8_t data[TRANSFER_MAX];
};

struct dispute {
    bool used;
    uint8_t mac[6];
    struct vi_id peer, has;
    enum switch_decision decided;
    vi_time at, asked, said;
};

struct senv {
    bool used, strict, away;
    bool addresses_new, addresses_tell; /* until the next tick: the table's, ours */
    bool learned_tell, pinned_tell;     /* the same */
    struct vi_id id;
    uint64_t serial;
    double bandwidth;
    uint64_t counter; /* of our statement */
    unsigned n_own, n_learned, next_kept;
    vi_time shown; /* transfers, on somebody's asking */
    struct learned own[SWITCH_LEARNED_OWN], learned[SWITCH_LEARNED];
    struct kept kept[SWITCH_TRANSFERS];
    struct dispute disputes[SWITCH_CONFLICTS];
    unsigned n_local, n_others;
    struct local_mac local[SWITCH_LOCAL_MACS];
    struct other others[SWITCH_PEERS];
    struct stated stated[SWITCH_MACS];
};

struct vswitch {
    struct switch_config cfg;
    uint64_t counter, conflicts;
    bool changed;
    vi_time now, next;
    struct senv *envs[SWITCH_ENVS];
    struct { /* transfers that we still tell, so that a lost datagram harms nobody */
        struct vi_id env;
        unsigned times;
        size_t len;
        uint8_t data[TRANSFER_MAX];
    } tell[TRANSFERS];
    unsigned next_tell;
    unsigned first, count;
    struct switch_effect effects[EFFECTS];
};

/* NULL: not open here. */
struct senv *switch_env(const struct vswitch *s, const struct vi_id *id);
bool switch_is_local(const struct senv *e, const uint8_t mac[6]);

/* An effect to be filled in, but for its kind; NULL: too many wait. */
struct switch_effect *switch_push(struct vswitch *s, enum switch_effect_kind kind);

int switch_env_index(const struct vswitch *s, const struct vi_id *id); /* -1: not open here */

/* switch_say.c */
void switch_say(struct vswitch *s, struct senv *e, struct other *o, vi_time now);
void switch_ask(struct vswitch *s, const struct senv *e, struct other *o);
void switch_say_to_all(struct vswitch *s, struct senv *e, vi_time now);
void switch_tell_transfer(struct vswitch *s, const struct senv *e, const uint8_t *data, size_t len);

/* switch_believe.c */
struct stated *switch_find_stated(struct senv *e, const uint8_t mac[6], bool make); /* NULL: none, or no room */
/* Index of a host that has a guest by a good transfer: it takes part, also when its record isn't here yet; -1: no room. */
int switch_known_by_transfer(struct vswitch *s, vi_time now, struct senv *e, const struct vi_id *peer);
void switch_take_message(struct vswitch *s, vi_time now, const struct switch_event *ev);

/* switch_chain.c: who gave what away, and what follows */
bool switch_transfer_has(const struct transfer *t, const uint8_t mac[6]);
void switch_chain_add(struct senv *e, const struct transfer *t, const uint8_t *data, size_t len, bool write);
/* Does it lead to one that is kept, of the same guest? */
bool switch_chain_links(const struct senv *e, const struct transfer *t);
/* mac is stated by peer for guest at epoch, but `has` has it. */
void switch_conflict(struct vswitch *s, struct senv *e, const uint8_t mac[6], const struct vi_id *guest, uint64_t epoch,
                     const struct vi_id *peer, const struct vi_id *has);
void switch_moved(struct vswitch *s, struct senv *e, const uint8_t mac[6], const struct vi_id *from,
                  const struct vi_id *to); /* by a transfer: a conflict may have ended */
void switch_chain_show(struct vswitch *s, struct senv *e, const struct vi_id *to, const uint8_t mac[6]);
void switch_chain_tick(struct vswitch *s, vi_time now, struct senv *e);

/* switch_pinned.c, switch_learned.c */
bool switch_sticks(const struct vswitch *s, const struct stated *m); /* to a host that is gone */
void switch_pinned_tick(const struct vswitch *s, struct senv *e);
void switch_say_pinned(struct vswitch *s, const struct senv *e, const struct other *o, bool empty);
void switch_take_pinned(struct vswitch *s, const struct vi_id *from, struct vi_reader *r);
void switch_say_learned(struct vswitch *s, const struct senv *e, const struct other *o, bool empty);
void switch_take_learned(struct vswitch *s, vi_time now, const struct vi_id *from, struct vi_reader *r);
void switch_learned(struct vswitch *s, vi_time now, const struct switch_event *ev);
void switch_unlearn(struct senv *e, const uint8_t mac[6]); /* it is stated now */
void switch_learned_tick(struct vswitch *s, vi_time now, struct senv *e);

/* switch_table.c */
int switch_other(const struct senv *e, const struct vi_id *peer); /* index into e->others; -1: takes no part */
struct switch_env_table *switch_env_table_make(const struct senv *e);

/* switch_address.c */
/* empty: also of guests that have said none (any more). */
void switch_say_addresses(struct vswitch *s, const struct senv *e, const struct other *o, bool empty);
void switch_take_addresses(struct vswitch *s, const struct vi_id *from, struct vi_reader *r);
void switch_address(struct vswitch *s, vi_time now, const struct switch_event *ev);
void switch_addresses_tick(struct vswitch *s, vi_time now, struct senv *e);
void switch_addresses_here(struct says *says, vi_time now); /* their guest has come to us: said now */

#endif
