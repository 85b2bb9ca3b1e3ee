/* The largest datagram that a path carries, found by probes inside the encrypted path: Fairhurst et al.,
 * "Packetization Layer Path MTU Discovery for Datagram Transports" (RFC 8899). No ICMP is believed. Pure:
 * the owner sends the probes, padded to their size and never fragmented, and says which were answered.
 *
 *   searching   probes 1472, 1452 (Ethernet with IPv4, IPv6), the greatest, 8972, then halves the interval until 8 bytes are left
 *   found       confirms the size every second while the path is in use; tries a larger one after 2 min
 *   black hole  three confirmations unanswered (1.4 s): down to 1232, then 548 bytes, and searching again
 *
 * Sizes are bytes of UDP payload. */
#ifndef OVERLAY_PMTU_H
#define OVERLAY_PMTU_H

#include <stdbool.h>

#include "peer/base/clock.h"

#define PMTU_BASE    1232 /* IPv6's least MTU, 1280, less its header and UDP's */
#define PMTU_MIN     548  /* 576, which every IPv4 host takes, less headers */
#define PMTU_STEP    8
#define PMTU_TRIES   3
#define PMTU_TIMEOUT (200 * VI_MSEC) /* of the first try; doubles */
#define PMTU_CONFIRM VI_SEC
#define PMTU_RAISE   (120 * VI_SEC)

struct pmtu {
    unsigned size; /* passes, as far as is known */
    unsigned bad;  /* the least that is known not to pass; most + 1: none is */
    unsigned most;
    unsigned probe; /* under way; 0: none */
    unsigned tries;
    uint32_t id;
    vi_time at;     /* the probe's deadline */
    vi_time confirm_at, raise_at;
    uint64_t holes; /* black holes met */
};

/* Begins at PMTU_BASE. most: the greatest size that is of use, ≥ PMTU_BASE. */
void pmtu_init(struct pmtu *p, unsigned most, vi_time now);
/* Is a probe to be sent now? Then of what size and with which id. Call again until false. */
bool pmtu_poll(struct pmtu *p, vi_time now, unsigned *size, uint32_t *id);
void pmtu_acked(struct pmtu *p, vi_time now, uint32_t id);
/* The operating system refused to send so much. */
void pmtu_refused(struct pmtu *p, vi_time now, unsigned size);
/* The path is used again after a pause: what was known is confirmed at once. */
void pmtu_resume(struct pmtu *p, vi_time now);
vi_time pmtu_deadline(const struct pmtu *p, vi_time now);

#endif
