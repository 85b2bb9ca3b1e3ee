/* The daemon and whole environments that move to other domains: what daemon_envmove.c (the core's questions and
 * effects) and daemon_envmove_rpc.c (people, and other members on their behalf) share. */
#ifndef PEER_DAEMON_ENVMOVE_H
#define PEER_DAEMON_ENVMOVE_H

#include "peer/daemon_internal.h"

#define MESH_CHANNEL_ENVMOVE 8
#define ENVMOVE_NOTES        64   /* kept for `explain`: the oldest goes */
#define ENVMOVE_MARK         0x00 /* begins the journal's records that are of these moves, not of handovers */

struct envmove_note {
    vi_time at; /* 0: none */
    struct vi_id env, move;
    char text[ENVMOVE_WHY];
    char would[CERT_NAME_MAX + 1]; /* the domain that it would move to, if that was only said; else "" */
};

struct envmove_daemon {
    struct envmoves *core;
    bool represents; /* as the core was told */
    vi_time warn_at;
    uint64_t leased_kb; /* in the policy's last snapshot */
    unsigned next_note;
    struct envmove_note note[ENVMOVE_NOTES];
};

/* An order, or a question about one, that another member passes on to the representative: CALL_ENVMOVE. */
enum { ENVMOVE_ASK_START = 1, ENVMOVE_ASK_SHOW = 2, ENVMOVE_ASK_CANCEL = 3 };

#endif
