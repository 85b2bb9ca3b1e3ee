/* Superframes: one frame of up to 64 KiB with one set of headers, that stands for many frames of one
 * connection. They are split into frames that fit a datagram each, and put together again, without a
 * pass over the payload: checksums stay partial (vnet.h). Pure. */
#ifndef OVERLAY_GSO_H
#define OVERLAY_GSO_H

#include "overlay/vnet.h"

/* ---- one superframe → frames ------------------------------------------------------------------ */

struct gso_split {
    const uint8_t *frame;
    size_t len, at; /* at: payload bytes handed out */
    struct vnet_frame f;
    unsigned size, index;
    uint16_t pseudo; /* without the length */
};

/* frame is borrowed until the last segment was taken; f is what vnet_check() said of it. Segments have
 * f->gso_size bytes of payload; TCP's fewer if the frames would be longer than `most` and IP's identity
 * numbers don't matter (IPv6, or "don't fragment"; RFC 6864): a stream has no boundaries. */
void gso_split_begin(struct gso_split *s, const uint8_t *frame, size_t len, const struct vnet_frame *f,
                     size_t most);
/* Length of the next frame; 0: none. */
size_t gso_split_size(const struct gso_split *s);
/* Writes it, gso_split_size() bytes, its checksum partial. */
void gso_split_next(struct gso_split *s, uint8_t *out);

/* ---- frames → superframes --------------------------------------------------------------------- */

#define GSO_RUN 64 /* frames of a superframe, at most */

struct gso_part {
    uint8_t *p;
    size_t len;
};

/* A run of frames that follow one another. Zero it to begin with. */
struct gso_run {
    unsigned n;                   /* frames; 0: empty */
    bool closed, partial;
    struct vnet_frame f;          /* of the first */
    size_t len;                   /* of all as one superframe */
    uint32_t next_seq;
    uint16_t next_id;
    struct gso_part frame[GSO_RUN];
    uint8_t head[VNET_HDR + VNET_HEADERS]; /* of gso_run_finish() */
    struct gso_part out[GSO_RUN + 1];
};

/* Takes a frame into the run; false: it doesn't follow, take the run first. An empty run takes any
 * frame. partial: its TCP or UDP checksum is. udp: runs of UDP are wanted, too. The frame is borrowed
 * until the run is emptied (n = 0), and not changed. */
bool gso_run_add(struct gso_run *r, uint8_t *frame, size_t len, bool partial, bool udp);
/* What to write to the TAP, header first: out[0 … returned - 1]. */
unsigned gso_run_finish(struct gso_run *r);

#endif
