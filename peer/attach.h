/* A LAN that is bridged into an environment, as a pure state machine: once per environment and LAN.
 *
 * Each host that has attached an interface says so there, once a second, with a beacon: a signed broadcast frame that
 * no environment carries further. Two hosts that hear each other have attached one LAN twice, which would be a loop: who
 * attached it first keeps it, the other takes its interface out of the bridge, and waits.
 *
 *   LISTENING --3 s, nobody heard--> ON          (joins the bridge)
 *   LISTENING, ON --an older one is heard--> HELD (leaves the bridge)
 *   HELD --none for 10 s--> ON
 *
 * Nothing is forwarded before ON. A process that starts again while the interface is in the bridge begins ON. Two that
 * begin at the same time are ON for a second at most; the environment's rates bound what goes round meanwhile. */
#ifndef PEER_ATTACH_H
#define PEER_ATTACH_H

#include "peer/base/clock.h"
#include "peer/base/id.h"

#define ATTACH_TYPE   0x88b6 /* the frames': IEEE 802's second local experimental type (RFC 9542, appendix B.2) */
#define ATTACH_FRAME  135    /* bytes of a beacon */
#define ATTACH_LISTEN (3 * VI_SEC)
#define ATTACH_EVERY  VI_SEC
#define ATTACH_HOLD   (10 * VI_SEC)

struct attach_beacon {
    struct vi_id env, host;
    uint64_t rank;  /* µs since 1970 when it was attached: the smaller is the older; then the smaller id */
    uint64_t count; /* grows with each */
};

/* A whole frame, signed with the host's Ed25519 secret key (64 bytes). */
void attach_beacon_encode(const struct attach_beacon *b, const uint8_t sk[64], uint8_t out[ATTACH_FRAME]);
/* Without judging the signature; false: none of ours. */
bool attach_beacon_decode(struct attach_beacon *b, const uint8_t *frame, size_t len);
/* Of a frame that was decoded. */
bool attach_beacon_verify(const uint8_t frame[ATTACH_FRAME], const uint8_t pk[32]);

enum attach_state { ATTACH_LISTENING, ATTACH_ON, ATTACH_HELD };

struct attach {
    struct vi_id self;
    uint64_t rank;
    enum attach_state state;
    vi_time until; /* LISTENING, HELD */
    vi_time next;  /* beacon */
    struct vi_id by; /* who was heard last, that is older */
    uint64_t by_count;
};

/* on: the interface is in the bridge already. */
void attach_begin(struct attach *a, const struct vi_id *self, uint64_t rank, bool on, vi_time now);
/* An authentic beacon of the same environment, at our interface. */
void attach_heard(struct attach *a, vi_time now, const struct attach_beacon *b);
/* Changes the state when it is time; true: a beacon is due. */
bool attach_tick(struct attach *a, vi_time now);
vi_time attach_deadline(const struct attach *a);

#endif
