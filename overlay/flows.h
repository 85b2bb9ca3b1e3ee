/* Which flows carry little: a ping, a name's query, a session's keystrokes, the acknowledgements of a stream.
 * Their frames go ahead of those of the others (datapath.h), as RFC 8290 §4.2 has it for sparse flows; here the
 * way that a frame takes is the flow's for as long as frames of it may still be under way, so that none
 * overtakes another of its own flow. Pure.
 *
 * A flow is light while a bucket of FLOW_BURST bytes, refilled by a byte each µs (8 Mb/s), isn't empty; then it
 * is heavy until it has said nothing for FLOW_REST. Flows that share a place in the table count as one. */
#ifndef OVERLAY_FLOWS_H
#define OVERLAY_FLOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peer/base/clock.h"

#define FLOWS      4096
#define FLOW_BURST 16384
#define FLOW_REST  (250 * VI_MSEC) /* more than what the receiver's buffer holds takes */

struct flows { /* zero it to begin with */
    struct {
        vi_time at; /* 0: never used */
        uint32_t left;
        bool heavy;
    } flow[FLOWS];
};

/* The flow of a frame of environment env: addresses, protocol, and ports where l4, the offset of a TCP or UDP
 * header, isn't 0. */
uint64_t flows_key(unsigned env, const uint8_t *frame, size_t len, size_t l4);
/* A frame of len bytes of this flow now (> 0, not earlier than before). */
bool flows_light(struct flows *f, vi_time now, uint64_t key, size_t len);

#endif
