/* Frames that have been read from TAPs and wait for their turn, first in, first out, in one piece of memory.
 *
 * A place where a frame can be read to is always in one piece; who finds none has to do without. When the backlog
 * is empty it begins anew at its beginning, which is then in the processor's cache. Pure. */
#ifndef OVERLAY_BACKLOG_H
#define OVERLAY_BACKLOG_H

#include <stddef.h>
#include <stdint.h>

#include "overlay/vnet.h"
#include "peer/base/id.h"

#define BACKLOG_BYTES (4u << 20) /* at 4 Gb/s 8 ms; what comes then is dropped */

struct backlog_item {
    size_t len;       /* of bytes */
    struct vi_id env; /* the owner's, as is frame */
    struct vnet_frame frame;
    uint8_t bytes[];
};

struct backlog { /* zero it to begin with */
    size_t head, tail; /* offsets of the oldest and behind the newest */
    size_t end;        /* 0, or where the items before tail's wrap end: then tail <= head */
    _Alignas(struct backlog_item) uint8_t mem[BACKLOG_BYTES];
};

/* Room for an item with len bytes: fill it, then backlog_add(). NULL: full. */
struct backlog_item *backlog_room(struct backlog *b, size_t len);
/* Adds what backlog_room() gave, item->len bytes of it. */
void backlog_add(struct backlog *b, const struct backlog_item *item);
/* The oldest; NULL: empty. Borrowed until backlog_next(). */
struct backlog_item *backlog_first(struct backlog *b);
void backlog_next(struct backlog *b);

#endif
