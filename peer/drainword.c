/* Draining, on the wire. See drainword.h. [1, what, seconds, within]; [1, flags, deadline, guests, [[name, why] …]]. */
#include "peer/drainword.h"

#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

#define VERSION 1

enum { DRAINING = 1, DRAINED = 2, WITHIN = 4 };

int drainword_order_encode(const struct drainword_order *o, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 4);
    vi_write_uint(&w, VERSION);
    vi_write_uint(&w, o->what);
    vi_write_uint(&w, o->deadline_s);
    vi_write_bool(&w, o->within);
    return w.err ? w.err : (int)w.len;
}

int drainword_order_decode(struct drainword_order *o, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    vi_reader_init(&r, data, len);
    if (vi_read_array(&r, 4) != 4 || vi_read_uint(&r, 255) != VERSION)
        return VI_EPROTO;
    o->what = (enum drainword_what)vi_read_uint(&r, DRAIN_END);
    o->deadline_s = (uint32_t)vi_read_uint(&r, DRAINWORD_MOST_S);
    o->within = vi_read_bool(&r);
    return vi_read_end(&r) || o->what < DRAIN_SHOW ? VI_EPROTO : 0;
}

static int encode(const struct drainword *d, unsigned n, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 5);
    vi_write_uint(&w, VERSION);
    vi_write_uint(&w, (d->draining ? DRAINING : 0U) | (d->drained ? DRAINED : 0U) | (d->within ? WITHIN : 0U));
    vi_write_uint(&w, d->deadline_s);
    vi_write_uint(&w, d->guests);
    vi_write_array(&w, n);
    for (unsigned i = 0; i < n; i++) {
        vi_write_array(&w, 2);
        vi_write_str(&w, d->guest[i].name);
        vi_write_str(&w, d->guest[i].why);
    }
    return w.err ? w.err : (int)w.len;
}

int drainword_encode(const struct drainword *d, uint8_t *out, size_t cap)
{
    unsigned n = d->n;
    int len = encode(d, n, out, cap);
    while (len < 0 && n > 0)
        len = encode(d, --n, out, cap);
    return len;
}

int drainword_decode(struct drainword *d, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    uint64_t flags;
    memset(d, 0, sizeof *d);
    vi_reader_init(&r, data, len);
    if (vi_read_array(&r, 5) != 5 || vi_read_uint(&r, 255) != VERSION)
        return VI_EPROTO;
    flags = vi_read_uint(&r, 255);
    d->draining = flags & DRAINING;
    d->drained = flags & DRAINED;
    d->within = flags & WITHIN;
    d->deadline_s = vi_read_uint(&r, (uint64_t)1 << 36);
    d->guests = (unsigned)vi_read_uint(&r, 100000);
    d->n = vi_read_array(&r, DRAINWORD_GUESTS);
    for (unsigned i = 0; i < d->n && !r.err; i++) {
        if (vi_read_array(&r, 2) != 2)
            r.err = VI_EPROTO;
        vi_read_cstr(&r, d->guest[i].name, sizeof d->guest[i].name);
        vi_read_cstr(&r, d->guest[i].why, sizeof d->guest[i].why);
    }
    if (!vi_read_end(&r) && d->n > d->guests)
        r.err = VI_EPROTO;
    if (r.err)
        d->n = 0;
    return r.err ? VI_EPROTO : 0;
}
