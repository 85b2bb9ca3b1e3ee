/* The mesh: encrypted sessions with other peers over UDP, as a pure core.
 *
 * Handshake Noise_IK_25519_{ChaChaPoly,AESGCM}_BLAKE2b with certificates in the payloads; mac1,
 * mac2 and cookies as in Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel" (NDSS 2017),
 * §5.3–5.4; timers as its §6. overlay/README.md has the packets and the timers as tables.
 *
 * The core carries control messages (queue 0) itself. Data frames travel on the same socket as
 * packet type MESH_DATA with keys of their own for every sending queue, exported in MESH_FX_KEYS
 * to a data path that may run in its own thread: the core never sees those packets, except that
 * the data path hands it the ones whose receiver index it doesn't know (MESH_EV_DATAGRAM), and
 * tells it now and then how much was carried (MESH_EV_USED). */
#ifndef OVERLAY_MESH_H
#define OVERLAY_MESH_H

#include "overlay/cert.h"
#include "overlay/noise.h"
#include "peer/base/rng.h"

/* ---- addresses ------------------------------------------------------------------------------ */

#define MESH_ADDR_TEXT 56 /* "[v6]:port" and NUL */

#define MESH_VIA 1 /* a family: through another peer, the relay */

struct mesh_addr {
    uint8_t family; /* 4, 6, MESH_VIA, or 0: none */
    uint16_t port;  /* host byte order */
    uint8_t ip[16]; /* network byte order; IPv4 in the first four bytes, the rest zero; MESH_VIA: the
                       relay's id */
    struct vi_id to; /* MESH_VIA: whom the relay passes it on to; else zero */
};

bool mesh_addr_equal(const struct mesh_addr *a, const struct mesh_addr *b);
/* "1.2.3.4:5" or "[2001:db8::1]:5"; "via 1a2b3c4d"; "-" when there is none. Returns out. */
char *mesh_addr_format(const struct mesh_addr *a, char out[MESH_ADDR_TEXT]);
/* The same forms, numeric only. 0 or VI_EINVAL. */
int mesh_addr_parse(struct mesh_addr *a, const char *text);

/* ---- limits --------------------------------------------------------------------------------- */

#define MESH_WIRE          1    /* the wire version spoken, and the oldest that is understood */
#define MESH_WIRE_OLDEST   1
#define MESH_PAYLOAD_MAX   1200 /* bytes of a control message */
#define MESH_HEADER        16   /* of a control or data packet */
#define MESH_OVERHEAD      (MESH_HEADER + NOISE_TAG)
#define MESH_REKEY_AFTER   (120 * VI_SEC)
#define MESH_REJECT_AFTER  (180 * VI_SEC)
#define MESH_REKEY_MESSAGES (UINT64_C(1) << 32) /* with AES-GCM, per queue */
#define MESH_WINDOW        8192 /* packets that may come late; a replay window's size */
#define MESH_QUEUES        17   /* sending queues of a peer, at most, the control queue included */
#define MESH_INNER_MAX     1440 /* bytes of a datagram that a relay passes on */
#define MESH_VIA_OVERHEAD  64   /* of bytes that a relayed datagram has less room for */
#define MESH_RELAYS        8    /* preferred relays */

/* First byte of a datagram. */
enum mesh_packet {
    MESH_INIT = 1, MESH_RESPONSE = 2, MESH_COOKIE = 3, MESH_CONTROL = 4, MESH_DATA = 5,
    MESH_UNKNOWN = 6, /* "I have no session with that index": makes the other shake hands anew */
    MESH_RELAY = 7 /* as CONTROL: an inner datagram to be passed on, or that was */
};

/* Control and data packets: type 1, zero 1, queue 2, receiver index 4, counter 8 (all little
 * endian), then ciphertext and tag; the 16 bytes are the additional data; the nonce is the counter. */
struct mesh_header {
    uint8_t type;
    uint16_t queue;
    uint32_t receiver;
    uint64_t counter;
};
void mesh_header_write(uint8_t out[MESH_HEADER], const struct mesh_header *h);
int mesh_header_read(struct mesh_header *h, const uint8_t *data, size_t len); /* 0 or VI_EPROTO */

/* A replay window over 64-bit counters. Zero it to begin with. */
struct mesh_window {
    uint64_t next; /* greatest counter accepted + 1 */
    uint64_t bits[MESH_WINDOW / 64 + 1];
};
/* Is n new? Doesn't change the window: ask before the packet is opened. */
bool mesh_window_fresh(const struct mesh_window *w, uint64_t n);
/* Marks n, after the packet proved authentic. false if it was marked before or is too old. */
bool mesh_window_mark(struct mesh_window *w, uint64_t n);

/* ---- keys for the data path ----------------------------------------------------------------- */

/* One session, for every sending queue. Queue 0 is the core's; a data path uses 1 … queues - 1. */
struct mesh_keys {
    struct vi_id peer;
    uint32_t local;      /* the receiver index of packets that come to us */
    uint32_t remote;     /* the receiver index to write into packets to them */
    uint64_t generation; /* grows with each session of this core; send with the greatest that has `send` */
    enum noise_cipher cipher;
    uint16_t tx_queues, rx_queues; /* ours and theirs, queue 0 included */
    bool send;           /* the other is known to have this session: sending may use it */
    bool withdrawn;      /* forget it; only peer, local and generation are meaningful then */
    vi_time born;        /* no packet is sent or accepted later than born + MESH_REJECT_AFTER */
    struct mesh_addr addr;
    uint8_t tx_base[NOISE_HASH], rx_base[NOISE_HASH];
};
/* The key of one queue, derived from tx_base (sending) or rx_base (receiving). */
void mesh_queue_key(const uint8_t base[NOISE_HASH], enum noise_cipher c, uint16_t queue,
                    uint8_t key[NOISE_KEY]);

/* ---- configuration -------------------------------------------------------------------------- */

struct mesh_trust {
    char domain[CERT_NAME_MAX + 1];
    uint8_t authority[CERT_KEY]; /* Ed25519 */
};

struct mesh_config {
    uint8_t secret[NOISE_KEY];  /* own X25519 secret key */
    bool has_cert;              /* without: only MESH_EV_JOIN works */
    struct cert cert;           /* own; must hold the public key of `secret` */
    const struct mesh_trust *trust; /* authorities whose certificates are accepted; own one first.
                                       Borrowed while the core lives; the owner may change it
                                       between steps (sessions stay: close them) */
    unsigned trusts;
    vi_time wall_minus_now;     /* wall clock - now, µs; see mesh_set_wall() */
    unsigned ciphers;           /* mask; 0: noise_ciphers() */
    uint16_t queues;            /* own sending queues with the control queue; 0: 2 */
    uint32_t max_peers;         /* 0: 2048 */
    uint32_t max_admissions;    /* at a time; 0: 16 */
    uint32_t load_threshold;    /* handshakes per second from which a cookie is asked; 0: 200 */
    uint32_t source_limit;      /* handshakes per second and source address; 0: 20 */
    uint32_t queue_bytes;       /* per peer while a handshake runs; 0: 32768 */
    uint64_t rekey_messages;    /* 0: MESH_REKEY_MESSAGES; tests lower it */
    vi_time rekey_after;        /* 0: MESH_REKEY_AFTER, which is also the most */
    uint32_t relay_bytes;       /* per second that are passed on between two others; 0: 12500000 */
    uint32_t relay_packets;     /* the same in datagrams; 0: 20000 */
    bool relay_off;             /* pass nothing on */
    void *arg;                  /* handed to the calls below */
    /* The secret of an invitation that still holds; false: no such. NULL: nobody is admitted. */
    bool (*lookup_psk)(void *arg, const struct vi_id *token, uint8_t psk[32]);
    /* Refuses a certificate that is otherwise good (revoked, say). NULL: refuse none. */
    bool (*refuse)(void *arg, const struct vi_id *peer, const struct cert *c);
    /* A certificate that no trusted authority signed: are these keys a known member's all the same?
     * (One that has gone over to an authority that we haven't heard of yet, or hasn't heard itself.)
     * Then c's keys count and nothing else in it. NULL: no. */
    bool (*vouch)(void *arg, const struct vi_id *peer, const struct cert *c, vi_time wall);
    /* May datagrams be passed on between these two, who both have sessions with us? NULL: yes. */
    bool (*relay)(void *arg, const struct vi_id *from, const struct vi_id *to);
};

/* ---- events --------------------------------------------------------------------------------- */

enum mesh_event_kind {
    MESH_EV_TICK,
    MESH_EV_DATAGRAM, /* from the socket, of any type but known data */
    MESH_EV_CONNECT,  /* shake hands with a peer, unless there is a session */
    MESH_EV_SEND,     /* a control message; shakes hands first if need be */
    MESH_EV_CLOSE,    /* forget a peer and its session; nothing is said to it */
    MESH_EV_SET_ADDR, /* where a peer may be tried; a live session's address stays as it is */
    MESH_EV_USED,     /* the data path carried packets of a session */
    MESH_EV_JOIN,     /* be admitted: our request to an inviter */
    MESH_EV_ADMISSION_REPLY, /* our answer to a MESH_FX_ADMISSION_REQUEST */
    MESH_EV_RELAYED,  /* the data path has a packet for a session whose address is MESH_VIA */
    MESH_EV_RELAYS,   /* which relays to prefer, best first */
    MESH_EV_SELF      /* our own address, as others are told: who sees another one sees a NAT */
};

struct mesh_event {
    enum mesh_event_kind kind;
    union {
        struct {
            struct mesh_addr from;
            const uint8_t *data;
            size_t len;
        } datagram;
        struct {
            struct vi_id peer;
            const uint8_t *x; /* its static X25519 key, or NULL: as known from before */
            struct mesh_addr addr; /* family 0: as known from before */
        } connect;
        struct {
            struct vi_id peer;
            uint8_t channel; /* 1 gossip, 2 switch, 3 handover, 4 call, 7 federation; 5 and 6 are the core's own */
            const uint8_t *data;
            size_t len;      /* ≤ MESH_PAYLOAD_MAX */
        } send;
        struct {
            struct vi_id peer;
        } close;
        struct {
            struct vi_id peer;
            struct mesh_addr addr;
        } set_addr;
        struct {
            uint32_t local;        /* session */
            uint64_t sent, received; /* packets since the last report; sent: of the busiest queue */
            struct mesh_addr from; /* where the newest authentic packet came from, or family 0 */
        } used;
        struct {
            const uint8_t *x; /* the inviter's X25519 key, from the token's seed */
            struct vi_id peer; /* its id, from the same seed; zero: whoever holds x */
            struct mesh_addr addr;
            struct vi_id token;
            const uint8_t *psk;       /* 32 bytes: the token's secret */
            const struct mesh_trust *trust; /* domain and authority of the token */
            const uint8_t *request;   /* join_request_encode() */
            size_t len;               /* ≤ MESH_PAYLOAD_MAX */
        } join;
        struct {
            uint32_t admission;
            const uint8_t *data;
            size_t len; /* ≤ MESH_PAYLOAD_MAX */
        } admission_reply;
        struct {
            uint32_t local; /* session */
            const uint8_t *data;
            size_t len; /* ≤ MESH_INNER_MAX */
        } relayed;
        struct {
            const struct vi_id *id;
            unsigned n; /* ≤ MESH_RELAYS, the rest is ignored */
        } relays;
        struct {
            struct mesh_addr addr;
        } self;
    };
};

/* ---- effects -------------------------------------------------------------------------------- */

enum mesh_effect_kind {
    MESH_FX_DATAGRAM,  /* send this */
    MESH_FX_DELIVER,   /* a control message came */
    MESH_FX_PEER_UP,   /* a session, where there was none */
    MESH_FX_PEER_DOWN, /* no session any more, or none could be made */
    MESH_FX_KEYS,      /* for the data path: new, changed (send, addr), or withdrawn */
    MESH_FX_ADMISSION_REQUEST, /* a holder of an invitation asks; answer with ADMISSION_REPLY */
    MESH_FX_ADMISSION_ANSWER,  /* to our MESH_EV_JOIN: bytes, or err */
    MESH_FX_DATA       /* for the data path: one of its packets, that came through a relay */
};

enum mesh_down {
    MESH_DOWN_TIMEOUT,  /* no answer to handshakes */
    MESH_DOWN_IDLE,     /* the session ended by age, nobody had used it; a send makes a new one */
    MESH_DOWN_CLOSED,   /* by MESH_EV_CLOSE */
    MESH_DOWN_REFUSED   /* it answered with a certificate that isn't good, or isn't that peer's */
};
const char *mesh_down_text(enum mesh_down why);

struct mesh_effect {
    enum mesh_effect_kind kind;
    struct vi_id peer; /* DELIVER, PEER_UP, PEER_DOWN, KEYS */
    struct mesh_addr addr; /* DATAGRAM: to; PEER_UP, ADMISSION_REQUEST: from */
    const uint8_t *data;   /* DATAGRAM, DELIVER, ADMISSION_REQUEST, ADMISSION_ANSWER, DATA */
    size_t len;
    uint8_t channel;       /* DELIVER */
    enum mesh_down why;    /* PEER_DOWN */
    int err;               /* ADMISSION_ANSWER: 0, VI_ETIMEDOUT, VI_EAUTH; PEER_DOWN REFUSED: what
                              cert_verify() said, VI_EREFUSED, or VI_EAUTH */
    uint32_t admission;    /* ADMISSION_REQUEST: for the reply */
    struct vi_id token;    /* ADMISSION_REQUEST */
    uint8_t x[CERT_KEY];   /* ADMISSION_REQUEST: the joiner's authenticated X25519 key */
    struct cert cert;      /* PEER_UP */
    struct mesh_keys keys; /* KEYS */
};

/* ---- the core ------------------------------------------------------------------------------- */

struct mesh;

/* cfg is copied (not what it points to); rng is borrowed while the core lives. NULL when out of
 * memory or the configuration is out of range. */
struct mesh *mesh_new(const struct mesh_config *cfg, struct vi_rng *rng, vi_time now);
void mesh_free(struct mesh *m);
/* One event in. What its pointers show is copied. 0, or why it was not taken: VI_ENOTFOUND (SEND
 * or CONNECT without a key or an address), VI_EREFUSED (a handshake with that peer was refused a short
 * while ago, by either side), VI_EFULL, VI_EINVAL, VI_ENOMEM. Bad datagrams are never
 * an error: they are counted. */
int mesh_step(struct mesh *m, vi_time now, const struct mesh_event *ev);
/* The oldest effect not taken, or NULL. Borrowed until the next call with m. Datagrams, and
 * deliveries, beyond 4096 waiting effects are dropped and counted; the others never are. */
const struct mesh_effect *mesh_effect(struct mesh *m);
vi_time mesh_deadline(const struct mesh *m);

/* The wall clock was set: wall clock - now. */
void mesh_set_wall(struct mesh *m, vi_time wall_minus_now);
/* A new own certificate for coming handshakes (renewal, or the one that joining gave). 0, VI_EINVAL. */
int mesh_set_cert(struct mesh *m, const struct cert *c);

/* ---- for display ---------------------------------------------------------------------------- */

struct mesh_peer_info {
    struct vi_id id;
    bool up, has_cert, handshaking;
    struct mesh_addr addr;
    const struct cert *cert; /* valid until the next step */
    enum noise_cipher cipher;
    vi_time born;            /* of the session */
    vi_time last_rx, last_tx; /* 0: never */
    uint64_t tx, rx;         /* control messages */
    uint32_t queued;         /* bytes */
};
/* The peers one after another: *pos starts at 0; false at the end. */
bool mesh_peer_next(const struct mesh *m, size_t *pos, struct mesh_peer_info *out);
bool mesh_peer_find(const struct mesh *m, const struct vi_id *id, struct mesh_peer_info *out);

/* How a peer is reached. A way is direct as long as probes come back over it; when they don't, its
 * packets go through a relay, and direct ways are tried again and again, at the same time from both
 * ends with the addresses that the relay sees (which is how most NATs are passed). */
enum mesh_path_kind { MESH_PATH_NONE, MESH_PATH_DIRECT, MESH_PATH_PUNCHED, MESH_PATH_RELAYED };
enum mesh_path_why {
    MESH_WHY_NONE,
    MESH_WHY_NO_ANSWER,  /* nothing passes directly, either way */
    MESH_WHY_NOT_THERE,  /* its packets come here, ours don't reach it */
    MESH_WHY_NOT_HERE,   /* ours reach it, its packets don't come here */
    MESH_WHY_DOWN        /* there is no session: mesh_path_info.down */
};
const char *mesh_path_why_text(enum mesh_path_why why);
struct mesh_path_info {
    enum mesh_path_kind kind;
    struct mesh_addr addr;   /* DIRECT, PUNCHED */
    struct vi_id relay;      /* RELAYED */
    vi_time since;           /* on this way; NONE: without a session; 0: never had one */
    vi_time rtt;             /* 0: not measured yet */
    unsigned probes, lost;   /* of the latest ones over this way, ≤ 32 */
    enum mesh_path_why why;  /* RELAYED, NONE: the latest reason */
    enum mesh_down down;     /* with MESH_WHY_DOWN */
    vi_time retry;           /* RELAYED: when direct ways are tried next */
};
bool mesh_path_find(const struct mesh *m, const struct vi_id *id, struct mesh_path_info *out);
/* A relay for what isn't a datagram: the one in use to that peer, or the one that would be. */
bool mesh_relay_for(const struct mesh *m, vi_time now, const struct vi_id *peer, struct vi_id *relay);
/* Is this host behind a NAT, as far as others have told? */
bool mesh_behind_nat(const struct mesh *m);

/* Packets and events that were dropped, by reason, and a few that were not. init_computed,
 * response_computed: handshake messages for which public-key work was done (at most four
 * Diffie-Hellman and six signature checks each). Under a flood of first messages with a good mac1 that is
 * load_threshold in the first second, and then, of sources that have proved their address only,
 * source_limit per second and source. */
#define MESH_COUNTERS(X)                                                                           \
    X(rx_garbage) X(rx_version) X(rx_mac1) X(rx_cookie_asked) X(rx_cookie_bad) X(rx_source_limit)  \
    X(rx_handshake_bad) X(rx_cert_bad) X(rx_cert_expired) X(rx_refused) X(rx_stale_init)           \
    X(rx_simultaneous) X(rx_response_unknown) X(rx_unknown_index) X(rx_too_old_session)            \
    X(rx_replay) X(rx_auth) X(rx_channel) X(rx_hint_bad) X(rx_wrong_peer) X(rx_no_token)           \
    X(rx_to_self) X(init_computed) X(response_computed) X(tx_queue_full) X(tx_gave_up) X(tx_session_spent) X(peers_full)                  \
    X(admissions_full) X(effects_full) X(no_memory) X(handshakes_started) X(handshakes_done)       \
    X(rekeys) X(roamed) X(hints_sent) X(hints_heeded) X(control_tx) X(control_rx)                  \
    X(relay_tx) X(relay_rx) X(relay_tx_lost) X(relayed) X(relayed_bytes) X(relay_refused)          \
    X(relay_limited) X(relay_full) X(probes_sent) X(probes_answered) X(paths_lost) X(paths_direct)
struct mesh_counters {
#define X(name) uint64_t name;
    MESH_COUNTERS(X)
#undef X
};
const struct mesh_counters *mesh_counters(const struct mesh *m);

#endif
