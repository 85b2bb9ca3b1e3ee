/* The switch core's state, shared by its files only. */
#ifndef OVERLAY_SWITCH_INTERNAL_H
#define OVERLAY_SWITCH_INTERNAL_H

#include "overlay/switch.h"

#define EFFECTS   512
#define PER_PART  24
#define AGAIN     (500 * VI_MSEC)
#define REFRESH   (10 * VI_SEC)
#define ASKS      20 /* for a statement, each AGAIN */
#define RECORD_MOST (60 * VI_SEC) /* how long a record by gossip may take */
#define ECHO_MOST (60 * VI_SEC)   /* a statement from before a move doesn't come later */
#define TRANSFERS 128

struct stated {
    bool used, gone; /* gone: a tombstone: nobody states it now, the epoch is kept */
    uint8_t mac[6];
    struct vi_id guest, peer;
    uint64_t epoch;
    uint64_t counter; /* of the statement it was last in */
    vi_time gone_at;
};

struct local_mac {
    uint8_t mac[6];
    struct vi_id guest;
    uint64_t epoch;
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

struct senv {
    bool used;
    struct vi_id id;
    uint64_t counter; /* of our statement */
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

#endif
