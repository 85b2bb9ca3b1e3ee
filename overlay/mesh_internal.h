/* Inside of the mesh core: shared by overlay/mesh*.c and, for the hello, overlay/stream.c. */
#ifndef OVERLAY_MESH_INTERNAL_H
#define OVERLAY_MESH_INTERNAL_H

#include "overlay/mesh.h"

#define MESH_INIT_SIZE      768 /* every first message: no answer to it is longer */
#define MESH_INIT_HEAD      24
#define MESH_RESPONSE_HEAD  12
#define MESH_MAC            16
#define MESH_COOKIE_SIZE    64
#define MESH_UNKNOWN_SIZE   16
#define MESH_HELLO_MAX      (MESH_INIT_SIZE - 2 * MESH_MAC - MESH_INIT_HEAD - NOISE_IK_1)
#define MESH_DATAGRAM_MAX   (MESH_PAYLOAD_MAX + 1 + MESH_OVERHEAD)

#define MESH_RETRY_FIRST    (500 * VI_MSEC) /* then doubled, with jitter, up to: */
#define MESH_RETRY_MOST     (8 * VI_SEC)
#define MESH_REFUSED_FIRST  VI_SEC /* after a refusal no handshake for so long, doubled up to: */
#define MESH_REFUSED_MOST   (30 * VI_SEC)
#define MESH_GIVE_UP        (20 * VI_SEC)
#define MESH_KEEPALIVE      (10 * VI_SEC) /* heard something, said nothing */
#define MESH_EXPECT         (15 * VI_SEC) /* said something, heard nothing: new handshake */
#define MESH_PENDING        (10 * VI_SEC) /* a responder's session waits for its first packet */
#define MESH_CONFIRM        (250 * VI_MSEC)
#define MESH_CONFIRMS       8
#define MESH_COOKIE_LIFE    (120 * VI_SEC)
#define MESH_ADMISSION_LIFE (30 * VI_SEC)
#define MESH_HINT_GAP       (3 * VI_SEC)  /* a peer's hints are heeded at most so often */
#define MESH_EFFECTS        4096          /* waiting datagrams and deliveries */
#define MESH_CHANNEL_JOIN   5
#define MESH_CHANNEL_PATH   6
#define MESH_CHANNEL_LAST   8
/* One of the owner's? */
static inline bool mesh_channel_ok(uint8_t channel)
{
    return channel && channel <= MESH_CHANNEL_LAST && channel != MESH_CHANNEL_JOIN && channel != MESH_CHANNEL_PATH;
}
#define MESH_RELAY_HEAD     17  /* of a relay packet's plaintext: kind, the other's id */
#define MESH_RELAY_MAX      (MESH_OVERHEAD + MESH_RELAY_HEAD + MESH_INNER_MAX)
#define MESH_PATH_MAX       40  /* bytes of a path message, at most */
#define MESH_SOURCES        256
#define MESH_BUCKETS        1024

enum { MESH_KIND_MEMBER = 0, MESH_KIND_ADMISSION = 1 };

/* How a peer is reached; mesh_path.c. */
#define MESH_QUIET        (2 * VI_SEC)   /* said something, heard nothing: is the way still there? */
#define MESH_PROBE_WAIT   VI_SEC         /* a probe without an answer until then is lost */
#define MESH_PROBE_SOON   (500 * VI_MSEC) /* between probes while answers are missing */
#define MESH_PROBE_EVERY  (10 * VI_SEC)
#define MESH_PROBE_NAT    (25 * VI_SEC)  /* keeps a NAT's mapping; RFC 4787 asks 2 min of it, many have 30 s */
#define MESH_PROBES_LOST  4              /* in a row: the way is lost */
#define MESH_RETRY_DIRECT (60 * VI_SEC)  /* direct again, at least so often */
#define MESH_RELAY_BAD    (30 * VI_SEC)  /* a relay that doesn't do isn't asked again so soon */
#define MESH_CANDIDATES   4
#define MESH_PROBES       24
#define MESH_BAD          3
#define MESH_PAIRS        256

struct mesh_probe {
    uint64_t nonce; /* 0: free */
    vi_time at;
    struct mesh_addr to;
    bool current; /* over the way in use: counts */
};

struct mesh_path {
    struct mesh_addr direct;               /* the one in use, or the latest that was */
    struct mesh_addr cand[MESH_CANDIDATES]; /* where it was seen, besides */
    unsigned next_cand;
    struct mesh_probe probe[MESH_PROBES];
    unsigned next_probe, lost_in_row;
    vi_time probe_at, quiet_at, burst_at, retry_at, retry_gap;
    unsigned burst;                        /* round of a burst of probes to all direct addresses */
    vi_time burst_began, heard_direct, heard_here, told_direct, proven_at, since, rtt, meet_at;
    unsigned probes;                       /* concluded ones of this way, ≤ 32 */
    uint32_t lost;                         /* the newest in bit 0 */
    vi_time refused_at;                    /* a relay's refusal was told it */
    bool punched, was_relayed;
    bool dropped;                          /* the relay is gone */
    bool urgent;                           /* an answer is missing */
    bool failing;                          /* lost, and no other way */
    enum mesh_path_why why;
    enum mesh_down down;
    struct {
        struct vi_id id;
        vi_time until;
    } bad[MESH_BAD];
};

/* Two peers between which we pass on, one direction. */
struct mesh_pair {
    struct vi_id from, to;
    bool used;
    vi_time filled, last;
    int64_t bytes, packets; /* that may be passed on now */
};

struct mesh_peer;
struct mesh_admission;

struct mesh_session {
    uint32_t local, remote;
    uint64_t generation, counter; /* counter: of the initiator's hello */
    bool initiator, confirmed, told; /* told: the data path has keys of it */
    enum noise_cipher cipher;
    uint16_t rx_queues;
    vi_time born, confirm_at;
    unsigned confirms;
    uint64_t tx_next, data_sent;
    uint8_t tx_base[NOISE_HASH], rx_base[NOISE_HASH], tx[NOISE_KEY], rx[NOISE_KEY];
    struct mesh_addr addr;
    struct mesh_window window;
};

/* A handshake that we began and that has no answer yet. */
struct mesh_half {
    bool on;
    struct noise_handshake hs;
    uint32_t local;
    vi_time first, next;
    unsigned attempts, bad;
    bool mac_sent, has_cookie;
    uint8_t mac1[MESH_MAC], cookie[MESH_MAC];
    vi_time cookie_until;
};

struct mesh_queued {
    struct mesh_queued *next;
    size_t len;
    uint8_t data[]; /* channel, payload */
};

struct mesh_peer {
    struct vi_id id;
    struct mesh_peer *chain;
    size_t at; /* in mesh.peers */
    bool up, has_x, has_cert;
    uint8_t x[CERT_KEY];
    struct cert cert, next_cert;
    unsigned ciphers;
    struct mesh_addr addr, hint;
    struct mesh_session *cur, *prev, *next;
    struct mesh_half half;
    struct mesh_queued *head, **tail;
    uint32_t queued;
    uint64_t greatest; /* hello counter of the newest session that the peer began */
    uint64_t tx_count, rx_count;
    unsigned refusals;     /* one after another, of our handshakes */
    vi_time refused_until; /* no new one before */
    vi_time due, last_rx, last_tx, last_use, keepalive_at, expect_at, rekey_at, hint_after;
    struct mesh_path path;
};

struct mesh_admission {
    bool joiner, asked, answered;
    uint32_t id;
    struct mesh_half half;
    struct mesh_session *s;
    struct vi_id token, peer;
    uint8_t psk[32], x[CERT_KEY];
    struct mesh_trust trust;
    struct mesh_addr addr;
    vi_time born, next, heard; /* heard: its newest packet */
    size_t request_len, reply_len;
    uint8_t request[MESH_PAYLOAD_MAX], reply[MESH_PAYLOAD_MAX];
};

struct mesh_slot {
    uint32_t index; /* 0: free */
    struct mesh_peer *peer;
    struct mesh_admission *adm;
};

struct mesh_node {
    struct mesh_node *next;
    struct mesh_effect fx;
    uint8_t data[];
};

struct mesh_source {
    uint8_t ip[16];
    vi_time since;
    uint32_t unproved, proved;
};

struct mesh {
    struct mesh_config cfg;
    struct vi_rng *rng;
    uint8_t x[CERT_KEY], mac1_key[32], cookie_key[32];
    struct vi_id id;
    vi_time due, now; /* now: of the step under way */
    struct vi_id relays[MESH_RELAYS];
    unsigned n_relays;
    struct mesh_addr self; /* our address as we state it */
    vi_time nat_at;        /* another saw another one; 0: never */
    struct mesh_pair *pairs;     /* MESH_PAIRS, from the first packet that we pass on */
    struct mesh_peer **peers, *bucket[MESH_BUCKETS];
    size_t npeers, peers_cap;
    struct mesh_slot *slots;
    uint32_t nslots, slot_hand;
    struct mesh_admission **adm; /* cfg.max_admissions of them, NULL where free */
    struct mesh_admission *join;
    uint64_t generation, hello_counter;
    uint8_t cookie_secret[32];
    vi_time cookie_born, load_since, hints_since;
    uint32_t load, load_before, hints_out, hints_in;
    struct mesh_source source[MESH_SOURCES];
    struct mesh_node *first, **last, *taken, *spare;
    unsigned spares;
    size_t waiting;
    struct mesh_counters n;
};

/* ---- mesh_wire.c: packets and what is in a handshake ------------------------------------------- */

struct mesh_hello {
    uint64_t counter;          /* initiator */
    unsigned oldest, newest;   /* wire versions; of a response both the chosen one */
    unsigned ciphers;          /* mask; of a response one bit */
    uint16_t queues;
    uint32_t index;            /* the sender's index once more, now authenticated */
    int err;                   /* of a response: why there is no session */
    const struct cert *cert;   /* writing */
    const uint8_t *cert_bytes; /* reading */
    size_t cert_len;
};
/* pad: fill to cap. */
int mesh_hello_write(const struct mesh_hello *h, bool pad, uint8_t *out, size_t cap, size_t *len);
int mesh_hello_read(struct mesh_hello *h, const uint8_t *data, size_t len);
/* Is the certificate good, of a trusted domain, and of the holder of x? Sets *c and *id. */
int mesh_cert_check(const struct mesh_config *cfg, const struct mesh_trust *trust, unsigned trusts,
                    const uint8_t *data, size_t len, const uint8_t *x, vi_time wall, struct cert *c,
                    struct vi_id *id);
enum noise_cipher mesh_cipher_choose(unsigned ours, unsigned theirs);
void mesh_put32(uint8_t *p, uint32_t v);
void mesh_put64(uint8_t *p, uint64_t v);
uint32_t mesh_get32(const uint8_t *p);
uint64_t mesh_get64(const uint8_t *p);
void mesh_label_key(const char *label, const uint8_t x[32], uint8_t key[32]);
void mesh_mac(const void *data, size_t len, const uint8_t *key, size_t key_len,
              uint8_t out[MESH_MAC]);
bool mesh_mac_ok(const void *data, size_t len, const uint8_t *key, size_t key_len,
                 const uint8_t *mac);

enum mesh_path_message {
    MESH_PROBE = 1, /* flags, nonce */
    MESH_ACK,       /* flags, nonce, the address that the probe came from */
    MESH_MEET,      /* to a relay, peer: tell us both where you see the other */
    MESH_SEEN,      /* from a relay: peer, address */
    MESH_REFUSED    /* from a relay: peer, reason */
};
enum { MESH_HEARD = 1 }; /* flag: your packets come to me directly */
enum mesh_refusal { MESH_NO_PEER = 1, MESH_NO_SESSION, MESH_NOT_DIRECT, MESH_TOO_MUCH, MESH_NOT_ALLOWED };
struct mesh_path_msg {
    enum mesh_path_message kind;
    uint8_t flags; /* REFUSED: the reason */
    uint64_t nonce;
    struct vi_id peer;
    struct mesh_addr addr;
};
/* out: the channel's byte and the message, at most MESH_PATH_MAX. Returns its length. */
size_t mesh_path_write(const struct mesh_path_msg *msg, uint8_t out[MESH_PATH_MAX]);
/* data: without the channel's byte. 0 or VI_EPROTO. */
int mesh_path_read(struct mesh_path_msg *msg, const uint8_t *data, size_t len);

/* ---- mesh_table.c: peers, indices, effects ------------------------------------------------------ */

struct mesh_peer *mesh_peer_get(const struct mesh *m, const struct vi_id *id);
struct mesh_peer *mesh_peer_make(struct mesh *m, const struct vi_id *id);
void mesh_peer_free(struct mesh *m, struct mesh_peer *p);
uint32_t mesh_index_new(struct mesh *m, struct mesh_peer *p, struct mesh_admission *a); /* 0: none */
void mesh_index_free(struct mesh *m, uint32_t index);
struct mesh_slot *mesh_index_find(struct mesh *m, uint32_t index);
bool mesh_reserve(struct mesh *m, unsigned n);
struct mesh_effect *mesh_say(struct mesh *m, enum mesh_effect_kind kind); /* from the reserve */
int mesh_say_bytes(struct mesh *m, const struct mesh_effect *fx, const void *data, size_t len);
void mesh_datagram(struct mesh *m, const struct mesh_addr *to, const void *data, size_t len);
void mesh_queue_clear(struct mesh_peer *p);
void mesh_touch(struct mesh *m, struct mesh_peer *p);

/* ---- mesh_session.c: transport ------------------------------------------------------------------ */

struct mesh_session *mesh_session_new(struct mesh *m, const struct noise_handshake *hs,
                                      uint32_t local, uint32_t remote, enum noise_cipher c,
                                      uint16_t rx_queues, const struct mesh_addr *addr, vi_time now);
void mesh_session_drop(struct mesh *m, struct mesh_peer *p, struct mesh_session **s);
void mesh_session_seal(struct mesh *m, struct mesh_session *s, const struct mesh_addr *to,
                       const uint8_t *data, size_t len);
/* The same for any type of packet that goes by queue 0; len ≤ MESH_RELAY_MAX - MESH_OVERHEAD. */
void mesh_session_seal_as(struct mesh *m, struct mesh_session *s, enum mesh_packet type,
                          const struct mesh_addr *to, const uint8_t *data, size_t len);
struct mesh_session *mesh_session_of(const struct mesh_slot *slot, uint32_t index);
void mesh_say_keys(struct mesh *m, struct mesh_peer *p, struct mesh_session *s);
void mesh_peer_up(struct mesh *m, struct mesh_peer *p);
void mesh_peer_down(struct mesh *m, struct mesh_peer *p, enum mesh_down why, int err);
int mesh_peer_send(struct mesh *m, struct mesh_peer *p, uint8_t channel, const uint8_t *data,
                   size_t len, vi_time now);
void mesh_keepalive(struct mesh *m, struct mesh_peer *p, vi_time now);
void mesh_flush(struct mesh *m, struct mesh_peer *p, vi_time now);
void mesh_on_control(struct mesh *m, vi_time now, const struct mesh_addr *from, const uint8_t *data,
                     size_t len);
void mesh_on_unknown(struct mesh *m, vi_time now, const struct mesh_addr *from, const uint8_t *data,
                     size_t len);
void mesh_on_used(struct mesh *m, vi_time now, uint32_t local, uint64_t sent, uint64_t received,
                  const struct mesh_addr *from);

/* ---- mesh_path.c: which way to a peer ------------------------------------------------------------ */

void mesh_path_reset(struct mesh_path *path); /* nothing known, nothing due */
/* The peer's address is now *to: by a handshake, or because its packets come from there. */
void mesh_path_set(struct mesh_peer *p, const struct mesh_addr *to, vi_time now);
/* An authentic packet came from there; newest: of those of the current session. */
void mesh_path_heard(struct mesh *m, struct mesh_peer *p, const struct mesh_addr *from, bool newest,
                     vi_time now);
void mesh_path_said(struct mesh_peer *p, vi_time now);
void mesh_path_down(struct mesh *m, struct mesh_peer *p, enum mesh_down why, vi_time now);
void mesh_path_hint(struct mesh_peer *p, const struct mesh_addr *a, vi_time now);
void mesh_path_message(struct mesh *m, struct mesh_peer *p, const struct mesh_addr *from,
                       const uint8_t *data, size_t len, vi_time now);
void mesh_path_tick(struct mesh *m, struct mesh_peer *p, vi_time now);
vi_time mesh_path_due(const struct mesh_peer *p);
/* Where the handshake's attempt number n goes. */
void mesh_path_for_init(struct mesh *m, struct mesh_peer *p, unsigned n, vi_time now,
                        struct mesh_addr *to);
void mesh_path_refused(struct mesh *m, struct mesh_peer *p, const struct vi_id *relay, vi_time now);

/* ---- mesh_relay.c: through another ---------------------------------------------------------------- */

static inline bool mesh_direct(const struct mesh_addr *a)
{
    return a->family == 4 || a->family == 6;
}
/* A relay to p, or NULL: preferred, fastest, smallest id of those with a direct session that p's path
 * hasn't found wanting. */
struct mesh_peer *mesh_relay_pick(const struct mesh *m, const struct mesh_peer *p, vi_time now);
void mesh_via(struct mesh_addr *a, const struct vi_id *relay, const struct vi_id *to);
void mesh_relay_send(struct mesh *m, const struct mesh_addr *via, const void *data, size_t len);
/* The plaintext of a relay packet from p. */
void mesh_relay_packet(struct mesh *m, struct mesh_peer *p, const uint8_t *data, size_t len,
                       vi_time now);
void mesh_relay_meet(struct mesh *m, struct mesh_peer *p, const struct vi_id *other, vi_time now);
/* The owner's or a relay's datagram, by its type. */
void mesh_dispatch(struct mesh *m, vi_time now, const struct mesh_addr *from, const uint8_t *data,
                   size_t len);
int mesh_relay_data(struct mesh *m, uint32_t local, const uint8_t *data, size_t len);

/* ---- mesh_handshake.c --------------------------------------------------------------------------- */

/* The prologue of a handshake from its INIT; how long it is. */
size_t mesh_prologue(const uint8_t *init, uint8_t out[64]);
void mesh_half_begin(struct mesh *m, struct mesh_peer *p, vi_time now);
void mesh_half_send(struct mesh *m, struct mesh_peer *p, vi_time now);
void mesh_half_end(struct mesh *m, struct mesh_half *h);
int mesh_init_build(struct mesh *m, struct mesh_half *h, int kind, enum noise_cipher c,
                    const uint8_t *x, const struct vi_id *token, const uint8_t *psk, vi_time now,
                    uint8_t out[MESH_INIT_SIZE]);
int mesh_response_build(struct mesh *m, struct noise_handshake *hs, int kind, uint32_t local,
                        uint32_t remote, enum noise_cipher c, int err, uint8_t *out, size_t *len);
int mesh_response_read(struct mesh_half *h, const uint8_t *data, size_t len,
                       struct noise_handshake *hs, struct mesh_hello *hello, uint8_t *buf);
void mesh_on_init(struct mesh *m, vi_time now, const struct mesh_addr *from, const uint8_t *data,
                  size_t len);
void mesh_on_response(struct mesh *m, vi_time now, const struct mesh_addr *from,
                      const uint8_t *data, size_t len);
void mesh_on_cookie(struct mesh *m, vi_time now, const uint8_t *data, size_t len);

/* ---- mesh_admission.c --------------------------------------------------------------------------- */

int mesh_join_begin(struct mesh *m, vi_time now, const struct mesh_event *ev);
int mesh_admission_reply(struct mesh *m, vi_time now, const struct mesh_event *ev);
void mesh_admission_init(struct mesh *m, vi_time now, const struct mesh_addr *from,
                         const uint8_t *data, size_t len);
void mesh_join_response(struct mesh *m, vi_time now, const struct mesh_addr *from,
                        const uint8_t *data, size_t len);
void mesh_admission_control(struct mesh *m, vi_time now, struct mesh_admission *a,
                            const struct mesh_addr *from, const uint8_t *plain, size_t len);
void mesh_admission_free(struct mesh *m, struct mesh_admission **a);
void mesh_admission_tick(struct mesh *m, vi_time now);
vi_time mesh_admission_due(const struct mesh *m);

#endif
