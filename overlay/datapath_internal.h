/* What the files of the data path share.
 *
 * Threads read three things that the owner replaces as wholes: the switch's table, the keyring, the TAPs.
 * They load the pointers once a batch. Before a batch a thread notes the epoch it begins in, after it 0. What
 * was replaced is freed once every thread is in no batch, or in one that began later ("quiescent state based
 * reclamation"). All other fields say whose they are. */
#ifndef OVERLAY_DATAPATH_INTERNAL_H
#define OVERLAY_DATAPATH_INTERNAL_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "overlay/aead.h"
#include "overlay/backlog.h"
#include "overlay/datapath.h"
#include "overlay/flows.h"
#include "overlay/gso.h"
#include "overlay/health.h"
#include "overlay/matrix.h"
#include "overlay/pmtu.h"
#include "overlay/reassembly.h"

#define INNER         3 /* number, flags */
#define FRAGMENT      6 /* id, offset, total */
#define FLAG_FRAGMENT 1
#define FLAG_AGAIN    4
#define FLAG_PARTIAL  8
#define KIND_PROBE    1
#define KIND_ANSWER   2
#define ANSWER        (3 + 4 + 4 + 8 + 8)

#define HEAVY         0 /* lanes */
#define LIGHT         1
#define TX_QUEUES     (DATAPATH_THREADS * DATAPATH_LANES)

#define PATH_MOST     (DATAPATH_FRAME_MAX + DATAPATH_OVERHEAD)
#define RECV_MSGS     4
#define RECV_BYTES    65536
#define SEND_BYTES    65000
#define SEND_SEGMENTS 64 /* the kernel's UDP_MAX_SEGMENTS before 6.9 */
#define TAP_BYTES     (DATAPATH_VNET_HDR + 65536 + 64)
#define TURN_FRAMES   64 /* of one descriptor before the others have their turn … */
#define TURN_BYTES    (256u << 10) /* … or so much */
#define READ_BYTES    (512u << 10) /* from a TAP at a time: more than is sent, so that light frames come to light */
#define RETIRED       256
#define PATH_IDLE     (5 * VI_SEC)
#define VIA_MOST      (MESH_INNER_MAX - MESH_VIA_OVERHEAD) /* with the relay's around it, it passes an Ethernet */

union udp_addr {
    struct sockaddr s;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* A path to a peer, whatever its sessions. */
struct path {
    struct path *next; /* owner's */
    unsigned refs;     /* owner's: sessions */
    struct vi_id peer;
    struct mesh_addr addr; /* owner's */
    _Atomic unsigned bytes;  /* of a datagram */
    _Atomic bool gso;        /* segmentation offload may be used */
    _Atomic bool resting;    /* not used: nobody looks after it */
    _Atomic vi_time used_at;
    pthread_mutex_t lock; /* over the following; taken for probes and answers only */
    struct pmtu pmtu;
    struct health health;
    uint32_t counted; /* the session (its index at the peer) whose counts these are */
    uint64_t counted_good, counted_bad;
};

struct tx_queue {
    struct aead_key key;
    uint64_t counter;      /* its thread's */
    _Atomic uint64_t sent; /* packets, ever */
};

struct rx_queue {
    struct aead_key key;
    struct mesh_window window; /* its thread's */
    _Atomic uint64_t received, failed;
};

struct session {
    struct mesh_keys keys; /* addr and send: see the route */
    struct path *path;
    struct tx_queue *tx[TX_QUEUES];
    struct rx_queue *_Atomic rx[MESH_QUEUES]; /* made by their threads */
    union udp_addr seen[DATAPATH_THREADS];    /* each thread's: where the newest packet came from */
    struct mesh_addr from;                    /* the same, under the data path's mail lock */
    uint64_t said_sent[TX_QUEUES], said_received; /* owner's */
};

struct route {
    struct session *s;
    bool send;
    struct mesh_addr addr;
    union udp_addr to;
    socklen_t to_len;
};

struct keyring {
    unsigned n, mask;
    struct route *routes;
    uint32_t *by_local, *by_peer; /* index into routes + 1; by_peer: the newest that may be sent with */
};

struct tap {
    struct vi_id env;
    unsigned n; /* queues; 0: no TAP */
    int fd[DATAPATH_THREADS];
    bool vnet, udp; /* takes superframes, of UDP too */
};

struct taps {
    struct tap tap[SWITCH_ENVS];
};

struct counters {
#define X(name) _Atomic uint64_t name;
    DATAPATH_COUNTERS(X)
#undef X
    _Atomic uint64_t dropped[FORWARD_REASONS];
};

struct env_counters {
    _Atomic uint64_t serial; /* of the environment (switch_env_table) that these are of */
#define X(name) _Atomic uint64_t name;
    DATAPATH_ENV_COUNTERS(X)
#undef X
    _Atomic uint64_t dropped[FORWARD_REASONS];
};

/* Only one thread writes a counter, so there is nothing to lock. */
static inline void count(_Atomic uint64_t *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

/* Datagrams to one peer, of one size but for a smaller last: what one sendmsg carries. */
struct send_batch {
    const struct route *to;
    unsigned lane;
    size_t size, bytes;
    unsigned n;
    bool closed;
    uint8_t buf[SEND_BYTES + PATH_MOST];
};

struct receive_batch {
    struct mmsghdr msg[RECV_MSGS];
    struct iovec iov[RECV_MSGS];
    union udp_addr from[RECV_MSGS];
    _Alignas(struct cmsghdr) char control[RECV_MSGS][2 * CMSG_SPACE(sizeof(int))];
    uint8_t buf[RECV_MSGS][RECV_BYTES];
};

/* A packet to or from a relay. */
struct via_packet {
    uint32_t local;
    size_t len;
    uint8_t bytes[MESH_INNER_MAX];
};

#define SEEN_CLAIMS 128

struct seen_claim {
    struct datapath_claim claim;
    vi_time at; /* 0: none */
};

struct worker {
    struct datapath *d;
    unsigned index;
    pthread_t thread;
    bool running; /* owner's */
    int epoll, event, udp_fd[DATAPATH_LANES];
    _Atomic uint64_t epoch; /* 0: in no batch */
    struct counters n;
    unsigned n_injected; /* under the data path's mail lock */
    struct via_packet *injected;
    /* the thread's own from here on */
    vi_time now, next_tick;
    struct switch_table *table; /* of this batch */
    struct keyring *keyring;
    struct taps *taps;
    struct forward_rates rates[SWITCH_ENVS];
    struct forward_rate learn;
    struct seen_claim claims[SEEN_CLAIMS];
    uint16_t fragment;
    unsigned lane; /* of what is being handled */
    bool gro;
    struct health gro_health, tap_health;
    uint64_t gro_good, gro_bad; /* as reported last */
    vi_time judge_at;
    const struct tap *run_tap;
    struct gso_run run;
    struct send_batch send[DATAPATH_LANES];
    struct flows flows;
    struct backlog backlog; /* of heavy flows */
    struct receive_batch receive;
    struct reassembly parts;
    struct matrix matrix; /* others read it */
    struct env_counters env[SWITCH_ENVS]; /* the same */
    _Alignas(struct backlog_item) uint8_t tap_in[sizeof(struct backlog_item) + TAP_BYTES]; /* when the backlog is full */
    uint8_t segment[TAP_BYTES], probe[PATH_MOST];
};

struct unknown {
    struct mesh_addr from;
    size_t len;
    uint8_t bytes[256];
};

struct datapath {
    struct datapath_config cfg;
    struct datapath_offload offload;
    unsigned threads, lanes;
    struct worker *worker[DATAPATH_THREADS];
    _Atomic bool ending;
    _Atomic uint64_t epoch;
    struct switch_table *_Atomic table;
    struct keyring *_Atomic keyring;
    struct taps *_Atomic taps;
    struct forward_limits limits; /* of one thread */
    pthread_mutex_t owner; /* over what the owner writes: the caller's threads, never ours */
    struct path *paths;
    unsigned n_routes;
    struct route routes[DATAPATH_SESSIONS]; /* what the next keyring is made of */
    struct counters n;
    unsigned n_retired;
    struct retired {
        uint64_t epoch;
        void (*end)(struct datapath *d, void *what);
        void *what;
    } retired[RETIRED];
    pthread_mutex_t mail; /* over what threads leave for the owner */
    unsigned n_unknown;
    struct unknown unknown[DATAPATH_UNKNOWN];
    unsigned n_claims;
    struct datapath_claim claims[DATAPATH_CLAIMS];
    unsigned n_relayed;
    struct via_packet *relayed; /* DATAPATH_RELAYED, from the first one on */
};

/* datapath.c: what was replaced goes when no thread reads it any more */
void datapath_retire(struct datapath *d, void (*end)(struct datapath *d, void *what), void *what);
void datapath_synchronize(struct datapath *d);
void datapath_poke(struct worker *w);

/* datapath_keys.c */
const struct route *route_find(const struct keyring *k, uint32_t local);
const struct route *route_to(const struct keyring *k, const struct vi_id *peer, vi_time now);
void keys_free(struct datapath *d);

/* datapath_tap.c */
void tap_read(struct worker *w, unsigned slot); /* light frames leave, others are kept … */
void tap_turn(struct worker *w);                /* … and leave now, a turn's worth of them */
void tap_write(struct worker *w, const struct tap *t, uint8_t *frame, size_t len, bool partial);
void tap_flush(struct worker *w); /* what tap_write() has collected */
void taps_free(struct datapath *d);

/* datapath_tx.c */
void tx_frame(struct worker *w, const struct switch_env_table *t, unsigned peer, uint8_t flags,
              const uint8_t *frame, size_t len, const struct vnet_frame *super);
void tx_flush(struct worker *w);
/* A packet of the data path's own, sent at once: 0 or an errno. len: of the plaintext. */
int tx_own(struct worker *w, const struct route *r, uint8_t *datagram, size_t len);

/* datapath_seen.c */
void seen_claim(struct worker *w, const struct vi_id *env, const uint8_t *frame, size_t len);
void seen_stranger(struct worker *w, const struct vi_id *env, const uint8_t *frame);
struct env_counters *seen_counters(struct worker *w, const struct switch_env_table *t);
void seen_drop(struct worker *w, const struct switch_env_table *t, enum forward_why why);
void seen_traffic(struct worker *w, const struct vi_id *env, const struct forward_decision *f, const uint8_t *frame,
                  uint64_t frames, size_t len);

/* datapath_rx.c */
void rx_socket(struct worker *w, unsigned lane);
void rx_gro(struct worker *w, bool on);

/* One datagram without a source, in place; frames in it are borrowed until tap_flush(). */
void rx_packet(struct worker *w, uint8_t *p, size_t len);

/* datapath_via.c */
int via_send(struct worker *w, const struct route *r, const uint8_t *datagram, size_t len); /* 0 or an errno */
void via_receive(struct worker *w);
void via_free(struct datapath *d);

/* datapath_path.c */
unsigned path_start_bytes(const struct datapath *d, const struct mesh_addr *addr);
void path_used(struct worker *w, struct path *p);
void path_refused(struct worker *w, struct path *p, size_t size);
void path_gso_failed(struct worker *w, struct path *p);
void path_packet(struct worker *w, const struct route *r, const uint8_t *plain, size_t len);
/* Looks after all paths in use; when to call again. */
vi_time path_tick(struct worker *w);

#endif
