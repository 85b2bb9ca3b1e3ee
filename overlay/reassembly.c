/* Frames that came in parts. See reassembly.h. */
#include "overlay/reassembly.h"

#include <string.h>

static struct reassembly_frame *find(struct reassembly *r, vi_time now, const struct reassembly_key *key)
{
    for (unsigned i = 0; i < REASSEMBLY_FRAMES; i++) {
        struct reassembly_frame *f = &r->frame[i];
        if (!f->used || f->session != key->session || f->queue != key->queue || f->id != key->id)
            continue;
        if (now - f->at <= REASSEMBLY_AGE)
            return f;
        f->used = false; /* the number came round again */
        r->incomplete++;
    }
    return NULL;
}

static struct reassembly_frame *make(struct reassembly *r, vi_time now, const struct reassembly_key *key,
                                     unsigned total)
{
    struct reassembly_frame *f = &r->frame[r->next++ % REASSEMBLY_FRAMES];
    if (f->used)
        r->incomplete++;
    f->used = true;
    f->session = key->session;
    f->queue = key->queue;
    f->id = key->id;
    f->total = (uint16_t)total;
    f->have = 0;
    f->n = 0;
    f->at = now;
    return f;
}

static bool fits(const struct reassembly_frame *f, unsigned offset, unsigned total, size_t len)
{
    if (f->total != total || f->n == REASSEMBLY_PARTS)
        return false;
    for (unsigned i = 0; i < f->n; i++)
        if (offset < (unsigned)f->part[i].offset + f->part[i].len && f->part[i].offset < offset + len)
            return false;
    return true;
}

uint8_t *reassembly_add(struct reassembly *r, vi_time now, const struct reassembly_key *key, unsigned offset,
                        unsigned total, const uint8_t *part, size_t part_len, size_t *len)
{
    struct reassembly_frame *f;
    if (part_len == 0 || total > REASSEMBLY_BYTES || offset > total || part_len > total - offset)
        return NULL;
    f = find(r, now, key);
    if (!f)
        f = make(r, now, key, total);
    if (!fits(f, offset, total, part_len)) {
        f->used = false;
        r->incomplete++;
        return NULL;
    }
    memcpy(f->bytes + offset, part, part_len);
    f->part[f->n].offset = (uint16_t)offset;
    f->part[f->n++].len = (uint16_t)part_len;
    f->have = (uint16_t)(f->have + part_len);
    if (f->have < total)
        return NULL;
    f->used = false;
    *len = total;
    return f->bytes;
}
