/* The data path: frames between the environments' TAPs and the data sockets, in threads with descriptors
 * and keys of their own. It shares with the rest of the program only whole tables and keys handed in,
 * which its threads read without locks, and counters read out.
 *
 * A data packet's plaintext: number 2 (the receiver's, for the environment), flags 1, then the frame; or,
 * with the flag FRAGMENT, id 2, offset 2, total 2 and a part of one. Number 0 is the data path's own:
 * kind 1 (probe, answer), id 4, and in an answer the receiver index 4, packets received 8, and not authentic
 * 8 of that session. All big-endian. A frame whose flag PARTIAL is set has only the pseudo-header's sum as
 * its TCP or UDP checksum: the AEAD has protected it so far, and who writes it to a TAP says so there.
 *
 * Superframes from a TAP are split into one packet a frame (gso.h), leave with one sendmsg (UDP_SEGMENT),
 * arrive with one recvmsg (UDP_GRO), and are joined again. Nothing ever waits for more to come. */
#ifndef OVERLAY_DATAPATH_H
#define OVERLAY_DATAPATH_H

#include "overlay/matrix.h"
#include "overlay/mesh.h"
#include "overlay/switch.h"

#define DATAPATH_VNET_HDR  10   /* bytes before each frame on the TAPs' descriptors */
#define DATAPATH_FRAME_MAX 9216 /* but for superframes */
#define DATAPATH_OVERHEAD  (MESH_OVERHEAD + 3) /* a datagram's bytes beside the frame */
#define DATAPATH_SESSIONS  4096
#define DATAPATH_RELAYED   512 /* packets that wait to be sent through a relay, or came so; more are dropped */
#define DATAPATH_UNKNOWN   64 /* packets of unknown sessions kept for the mesh; more are dropped */
#define DATAPATH_THREADS   8
#define DATAPATH_CLAIMS    64 /* addresses that wait to be collected; more are dropped, guests say them again */
#define DATAPATH_LANES     2

#define DATAPATH_COUNTERS(X)                                                                       \
    X(tx_frames) X(tx_bytes) X(tx_packets) X(rx_frames) X(rx_bytes) X(rx_packets) X(tx_no_session) \
    X(tx_no_number) X(tx_errors) X(tx_busy) X(tx_too_big) X(tx_superframes) X(tx_gso) X(tx_gso_refused) \
    X(rx_short) X(rx_unknown) X(rx_replay) X(rx_auth) X(rx_number) X(rx_old) X(rx_stray) X(rx_gro) \
    X(rx_superframes) X(rx_fragments) X(rx_incomplete) X(tap_errors) X(tap_refused) X(tap_header)   \
    X(too_long) X(tx_asked) X(probes) X(black_holes) X(gso_off) X(gro_off) X(tx_relayed)      \
    X(rx_relayed) X(tx_relay_full) X(rx_relay_full) X(tx_light) X(tx_backlog)
struct datapath_counters {
#define X(name) uint64_t name;
    DATAPATH_COUNTERS(X)
#undef X
    uint64_t dropped[FORWARD_REASONS];
};

/* Those of one environment. */
#define DATAPATH_ENV_COUNTERS(X) \
    X(tx_frames) X(tx_bytes) X(rx_frames) X(rx_bytes) X(tx_asked) X(tx_no_session) X(tx_no_number)
struct datapath_env_counters {
#define X(name) uint64_t name;
    DATAPATH_ENV_COUNTERS(X)
#undef X
    uint64_t dropped[FORWARD_REASONS];
};

struct datapath_config {
    /* the data sockets, borrowed; see udp.h. Those of thread t begin at t * lanes; from socket i it sends with queue i + 1 */
    int udp_fd[DATAPATH_THREADS * DATAPATH_LANES];
    unsigned threads; /* 0: 1 */
    unsigned lanes;   /* 0: 1. 2: flows that carry little (flows.h) have a queue and a socket of their own, served first */
    bool no_gso;      /* no UDP_SEGMENT, no UDP_GRO, whatever datapath_selftest() says */
    bool no_vnet;     /* no superframes and no partial checksums at the TAPs */
    unsigned path_bytes; /* UDP payload of a datagram over IPv4 (548 … 9251; over IPv6 20 less), no probes; 0: found out for each path (pmtu.h) */
    bool no_learn;       /* MACs that nobody states aren't told (datapath_collect_claims) */
    struct forward_limits limits; /* of each environment; bytes: shared out among the threads. all = 0: forward_defaults */
    void *arg;
    /* Called in a data path's thread, when there is something to collect: must only wake the owner. */
    void (*wake)(void *arg);
};

/* Does this kernel do UDP_SEGMENT and UDP_GRO right? Sends to itself over loopback, in milliseconds. */
struct datapath_offload {
    bool gso, gro;
};
void datapath_selftest(struct datapath_offload *out);

struct datapath;
/* Tests the kernel, starts the threads. NULL when out of memory or threads. */
struct datapath *datapath_start(const struct datapath_config *cfg);
/* Ends it and closes the TAPs. */
void datapath_stop(struct datapath *d);
/* Replaces the table as a whole; takes it over. */
void datapath_set_table(struct datapath *d, struct switch_table *t);
/* New, changed or withdrawn keys of a session. */
void datapath_set_keys(struct datapath *d, const struct mesh_keys *k);
/* The TAP of the environment with this id; fd (non-blocking) is taken over, -1 closes it and its queues. vnet: its
 * kernel is known to do superframes right (peer/agent_taptest.h). */
void datapath_set_tap(struct datapath *d, const struct vi_id *env, int fd, bool vnet);
/* One more queue of the same TAP, for the next thread that has none; taken over. Superfluous ones are closed. */
void datapath_add_queue(struct datapath *d, const struct vi_id *env, int fd);
void datapath_counters(struct datapath *d, struct datapath_counters *out);
/* Since it was opened here; false: it isn't. */
bool datapath_env_counters(struct datapath *d, const struct vi_id *env, struct datapath_env_counters *out);

/* What a path to a peer is like. */
struct datapath_path {
    unsigned bytes; /* UDP payload of a datagram */
    bool gso, found; /* segmentation offload is used; the size isn't searched for any more */
    enum noise_cipher cipher;
};
/* false: no session with this peer. */
bool datapath_path(struct datapath *d, const struct vi_id *peer, struct datapath_path *out);

struct datapath_state {
    unsigned threads;
    bool gso, gro; /* of the kernel, and not turned off */
    unsigned taps, taps_vnet; /* TAPs, and those that take superframes */
};
void datapath_state(struct datapath *d, struct datapath_state *out);

/* What the mesh should hear of: how much each session carried since the last call (sent: of the busiest
 * queue); and packets whose session is unknown. each may be NULL. */
void datapath_collect(struct datapath *d,
                      void (*used)(void *arg, uint32_t local, uint64_t sent, uint64_t received,
                                   const struct mesh_addr *from),
                      void (*unknown)(void *arg, const struct mesh_addr *from, const uint8_t *data,
                                      size_t len),
                      void *arg);
/* Packets of sessions whose address is MESH_VIA: for the mesh (MESH_EV_RELAYED), oldest first. */
void datapath_collect_relayed(struct datapath *d,
                              void (*each)(void *arg, uint32_t local, const uint8_t *data, size_t len),
                              void *arg);
/* A data packet that came through a relay (MESH_FX_DATA): as if the socket had it. */
void datapath_inject(struct datapath *d, const uint8_t *data, size_t len);

/* A guest here said, by ARP or neighbour discovery, that it has this address; env: where. Or, without an address, a MAC
 * that nobody states was heard. The same is told once a minute at most, MACs DATAPATH_LEARN_PER_S a second and thread.
 * wake() says that there are some. */
struct datapath_claim {
    struct vi_id env;
    uint8_t mac[6], ip[IP_BYTES]; /* ip: all 0: none */
};
#define DATAPATH_LEARN_PER_S 50
void datapath_collect_claims(struct datapath *d, void (*each)(void *arg, const struct datapath_claim *c), void *arg);

/* What this host's guests of env have sent to other hosts and received from them: rows, cap at most. */
unsigned datapath_traffic(struct datapath *d, const struct vi_id *env, struct matrix_row *rows, unsigned cap);

#endif
