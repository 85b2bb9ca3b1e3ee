/* Frames that came in parts, because the path carries only smaller datagrams. Pure.
 *
 * A part says of which frame it is (session, sending queue, id), where it begins and how long the frame
 * is. Parts that overlap, or disagree about the length, end the frame. Bounds: REASSEMBLY_FRAMES at a time
 * (the oldest goes), REASSEMBLY_PARTS of each, REASSEMBLY_AGE. */
#ifndef OVERLAY_REASSEMBLY_H
#define OVERLAY_REASSEMBLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peer/base/clock.h"

#define REASSEMBLY_FRAMES 64
#define REASSEMBLY_PARTS  32
#define REASSEMBLY_BYTES  9216
#define REASSEMBLY_AGE    (2 * VI_SEC)

struct reassembly_frame {
    bool used;
    uint32_t session;
    uint16_t queue, id, total, have;
    vi_time at;
    unsigned n;
    struct {
        uint16_t offset, len;
    } part[REASSEMBLY_PARTS];
    uint8_t bytes[REASSEMBLY_BYTES];
};

struct reassembly { /* zero it to begin with */
    unsigned next;
    uint64_t incomplete; /* frames given up */
    struct reassembly_frame frame[REASSEMBLY_FRAMES];
};

struct reassembly_key {
    uint32_t session;
    uint16_t queue, id;
};

/* A part in. The whole frame once it is complete, *len = its length: borrowed until the next call. Else NULL. */
uint8_t *reassembly_add(struct reassembly *r, vi_time now, const struct reassembly_key *key, unsigned offset,
                        unsigned total, const uint8_t *part, size_t part_len, size_t *len);

#endif
