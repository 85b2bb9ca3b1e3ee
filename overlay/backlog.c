/* See backlog.h. */
#include "overlay/backlog.h"

#include <stdalign.h>

static size_t size_of(size_t len)
{
    size_t a = alignof(struct backlog_item);
    return (sizeof(struct backlog_item) + len + a - 1) / a * a;
}

static struct backlog_item *at(struct backlog *b, size_t offset)
{
    return (struct backlog_item *)(void *)(b->mem + offset);
}

struct backlog_item *backlog_room(struct backlog *b, size_t len)
{
    size_t need = size_of(len);
    if (b->end) /* wrapped: between tail and head; never quite, since equal means empty */
        return b->head - b->tail > need ? at(b, b->tail) : NULL;
    if (BACKLOG_BYTES - b->tail >= need)
        return at(b, b->tail);
    if (b->head <= need)
        return NULL;
    b->end = b->tail;
    b->tail = 0;
    return at(b, 0);
}

void backlog_add(struct backlog *b, const struct backlog_item *item)
{
    b->tail += size_of(item->len);
}

struct backlog_item *backlog_first(struct backlog *b)
{
    if (b->end && b->head == b->end) {
        b->head = 0;
        b->end = 0;
    }
    return b->end || b->head != b->tail ? at(b, b->head) : NULL;
}

void backlog_next(struct backlog *b)
{
    struct backlog_item *i = backlog_first(b);
    if (!i)
        return;
    b->head += size_of(i->len);
    if (!b->end && b->head == b->tail)
        b->head = b->tail = 0;
}
