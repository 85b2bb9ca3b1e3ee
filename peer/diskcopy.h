/* "Have you a copy of that disk?" (CALL_DISK_COPY), asked of the domain's hosts for `violin disk show`. Pure; the answer comes
 * from another host: what isn't plainly one is refused.
 *
 *   question [1, disk]   answer [1, copy? [kind, generation, since]] */
#ifndef PEER_DISKCOPY_H
#define PEER_DISKCOPY_H

#include "xen/disk_store.h"

#define DISKCOPY_MAX 64 /* bytes of a question or an answer */

struct diskcopy {
    bool here; /* the rest counts */
    enum disk_kind kind;
    uint64_t generation;
    int64_t since; /* seconds since 1970; 0: not known */
};

/* Lengths, or a vi_err; decode 0 or VI_EPROTO. */
int diskcopy_ask(const struct vi_id *disk, uint8_t out[DISKCOPY_MAX]);
int diskcopy_asked(struct vi_id *disk, const uint8_t *data, size_t len);
int diskcopy_encode(const struct diskcopy *c, uint8_t out[DISKCOPY_MAX]);
int diskcopy_decode(struct diskcopy *c, const uint8_t *data, size_t len);

#endif
