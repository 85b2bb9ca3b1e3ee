/* The plain data path: frames between the environments' TAPs and the data socket, one datagram a frame,
 * in a thread with descriptors and keys of its own. It shares with the rest of the program only whole
 * tables and keys handed in, and counters read out.
 *
 * A data packet's plaintext: number 2 (the receiver's, for the environment), flags 1, fragment id 2,
 * then the frame or a part of it. Frames that don't fit PATH_BYTES go in two parts, under the AEAD. */
#ifndef OVERLAY_DATAPATH_H
#define OVERLAY_DATAPATH_H

#include "overlay/mesh.h"
#include "overlay/switch.h"

#define DATAPATH_VNET_HDR  10   /* bytes before each frame on the TAPs' descriptors */
#define DATAPATH_PATH_BYTES 1400 /* of a frame in one datagram */
#define DATAPATH_FRAME_MAX 9216
#define DATAPATH_SESSIONS  4096
#define DATAPATH_UNKNOWN   64 /* packets of unknown sessions kept for the mesh; more are dropped */

#define DATAPATH_COUNTERS(X)                                                                       \
    X(tx_frames) X(tx_bytes) X(tx_packets) X(rx_frames) X(rx_bytes) X(rx_packets) X(tx_no_session) \
    X(tx_no_number) X(tx_errors) X(rx_short) X(rx_unknown) X(rx_replay) X(rx_auth) X(rx_number)    \
    X(rx_old) X(rx_fragments) X(rx_incomplete) X(tap_errors) X(too_long)
struct datapath_counters {
#define X(name) uint64_t name;
    DATAPATH_COUNTERS(X)
#undef X
    uint64_t dropped[FORWARD_REASONS];
};

struct datapath_config {
    int udp_fd; /* the data socket, borrowed */
    void *arg;
    /* Called in the data path's thread, when there is something to collect: must only wake the owner. */
    void (*wake)(void *arg);
};

struct datapath;
/* Starts the thread. NULL when out of memory or threads. */
struct datapath *datapath_start(const struct datapath_config *cfg);
/* Ends it and closes the TAPs. */
void datapath_stop(struct datapath *d);
/* Replaces the table as a whole; takes it over. */
void datapath_set_table(struct datapath *d, struct switch_table *t);
/* New, changed or withdrawn keys of a session. */
void datapath_set_keys(struct datapath *d, const struct mesh_keys *k);
/* The TAP of the environment with this id; fd (non-blocking) is taken over, -1 closes it. */
void datapath_set_tap(struct datapath *d, const struct vi_id *env, int fd);
void datapath_counters(struct datapath *d, struct datapath_counters *out);

/* What the mesh should hear of: how much each session carried since the last call; and packets whose
 * session is unknown. each may be NULL. */
void datapath_collect(struct datapath *d,
                      void (*used)(void *arg, uint32_t local, uint64_t sent, uint64_t received,
                                   const struct mesh_addr *from),
                      void (*unknown)(void *arg, const struct mesh_addr *from, const uint8_t *data,
                                      size_t len),
                      void *arg);

#endif
