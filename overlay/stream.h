/* Bulk streams: the mesh's handshake and an AEAD record layer over a byte stream (TCP). Pure.
 *
 * The initiator sends one handshake message, gets one, then both send records: 4 bytes header
 * (24-bit length and an 8-bit kind, authenticated), ciphertext, tag. Each direction has its own
 * key and counter, and moves to a new key every STREAM_REKEY records by a one-way step. The first
 * record is the purpose, chosen by the caller; the last is an end marker, so that a stream cut
 * short is never taken for a whole one. Cipher as in overlay/mesh.h: AES-GCM where both have it.
 *
 *   initiator: stream_new → bytes to send; feed what arrives; STREAM_OPEN; write; end
 *   responder: stream_new, feed what arrives → STREAM_OPEN with the purpose and the peer; ... */
#ifndef OVERLAY_STREAM_H
#define OVERLAY_STREAM_H

#include "overlay/mesh.h"

#define STREAM_RECORD  65536 /* plaintext bytes in a record, at most */
#define STREAM_PURPOSE 256   /* bytes of the purpose, at most */
#define STREAM_REKEY   (1U << 16) /* records under one key (4 GiB) */
#define STREAM_OUT_MAX (4U << 20) /* bytes waiting to be sent, at most */

struct stream;

enum stream_event_kind {
    STREAM_NONE,   /* nothing (yet) */
    STREAM_OPEN,   /* the other is authentic; for the responder with the purpose */
    STREAM_DATA,   /* plaintext */
    STREAM_END,    /* the other ended its direction cleanly */
    STREAM_FAILED  /* err says why; nothing more will come; close the connection */
};

struct stream_event {
    enum stream_event_kind kind;
    struct vi_id peer;          /* OPEN */
    const struct cert *cert;    /* OPEN: the peer's; lives as long as the stream */
    const uint8_t *data;        /* OPEN: purpose; DATA: plaintext; borrowed until the next call */
    size_t len;
    int err;                    /* FAILED: enum vi_err */
};

/* The configuration is the mesh's: keys, certificate, trust, wall offset, refuse. Borrowed for the
 * stream's life. remote_x and remote_id: whom the initiator calls; NULL for a responder. NULL when
 * out of memory or out of range. rng only during stream_new. */
struct stream *stream_new(const struct mesh_config *cfg, struct vi_rng *rng,
                          const uint8_t *remote_x, const struct vi_id *remote_id,
                          const void *purpose, size_t purpose_len, vi_time now);
void stream_free(struct stream *s);

/* Hands in bytes from the connection. Takes at most what is needed for the next event and sets
 * *used; call again with the rest until the event is STREAM_NONE and all is used. */
void stream_feed(struct stream *s, const uint8_t *data, size_t len, size_t *used,
                 struct stream_event *ev);
/* The connection's end was seen: STREAM_NONE if the other had ended cleanly, else STREAM_FAILED
 * with VI_EPROTO (cut short). */
void stream_feed_eof(struct stream *s, struct stream_event *ev);

/* Seals as much of the plaintext as there is room for (whole records of ≤ STREAM_RECORD); *used is
 * how much was taken. VI_ESTATE before STREAM_OPEN or after stream_end; VI_EAGAIN when there is no
 * room: send first. That is the back pressure. */
int stream_write(struct stream *s, const void *data, size_t len, size_t *used);
/* Ends our direction: queues the end marker. 0, VI_EAGAIN, VI_ESTATE. */
int stream_end(struct stream *s);

/* Bytes to send on the connection: borrowed; NULL when none. Then say how many were sent. */
const uint8_t *stream_pending(const struct stream *s, size_t *len);
void stream_sent(struct stream *s, size_t len);
/* Our end marker has been sent whole and the other's was received. */
bool stream_finished(const struct stream *s);

#endif
