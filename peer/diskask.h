/* "What have you of these disks from before?": asked of a host on which a guest might be placed, for what an old copy is there of
 * needn't be copied whole. Pure; both ways hostile. */
#ifndef PEER_DISKASK_H
#define PEER_DISKASK_H

#include <stddef.h>

#include "peer/base/id.h"

#define DISKASK_MOST 8   /* disks of a guest */
#define DISKASK_SIZE 384 /* bytes of a question or an answer, at most */

struct diskask {
    unsigned n;
    struct {
        struct vi_id id, since; /* since: the handover that took it from the old copy there */
        uint64_t sectors;
    } disk[DISKASK_MOST];
};

/* The length, or VI_EFULL. decode: 0 or VI_EPROTO. */
int diskask_encode(const struct diskask *q, uint8_t *out, size_t cap);
int diskask_decode(struct diskask *q, const uint8_t *data, size_t len);
/* The answer: sectors of those of which there is nothing. */
int diskask_answer_encode(uint64_t lacks, uint8_t *out, size_t cap);
int diskask_answer_decode(uint64_t *lacks, const uint8_t *data, size_t len);

#endif
