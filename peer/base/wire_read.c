/* Reading msgpack in place. See wire.h.
 *
 * Everything goes through head(), which takes one value's first byte and length apart and checks
 * that its bytes are there; containers are checked against the bytes left, since each element
 * needs at least one. */
#include "peer/base/wire.h"

#include <math.h>
#include <string.h>

#include "peer/base/err.h"

struct head {
    enum vi_wire_type type;
    uint64_t n;        /* value of an unsigned or a bool; length; count */
    int64_t i;         /* value of a signed */
    double d;
    size_t head_bytes; /* before the body */
    size_t body_bytes; /* of str, bin, ext; 0 for the rest */
};

static uint64_t be(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | *p++;
    return v;
}

static int64_t sign_extend(uint64_t v, unsigned bytes)
{
    switch (bytes) {
    case 1: return (int8_t)v;
    case 2: return (int16_t)v;
    case 4: return (int32_t)v;
    default: return (int64_t)v;
    }
}

static int body(struct head *h, enum vi_wire_type t, size_t head_bytes, uint64_t len)
{
    h->type = t;
    h->head_bytes = head_bytes;
    h->n = len;
    h->body_bytes = (size_t)len;
    return 0;
}

static int container(struct head *h, enum vi_wire_type t, size_t head_bytes, uint64_t n)
{
    h->type = t;
    h->head_bytes = head_bytes;
    h->n = n;
    return 0;
}

static int number(struct head *h, uint8_t c, const uint8_t *p)
{
    static const unsigned bytes_of[4] = {1, 2, 4, 8};
    unsigned n;
    if (c == 0xca || c == 0xcb) {
        n = c == 0xca ? 4 : 8;
        h->type = VI_WIRE_DOUBLE;
        if (n == 4) {
            uint32_t raw = (uint32_t)be(p, 4);
            float f;
            memcpy(&f, &raw, sizeof f);
            h->d = (double)f;
        } else {
            uint64_t raw = be(p, 8);
            memcpy(&h->d, &raw, sizeof h->d);
        }
    } else if (c <= 0xcf) {
        n = bytes_of[c - 0xcc];
        h->type = VI_WIRE_UINT;
        h->n = be(p, n);
    } else {
        n = bytes_of[c - 0xd0];
        h->i = sign_extend(be(p, n), n);
        h->type = h->i < 0 ? VI_WIRE_INT : VI_WIRE_UINT;
        if (h->i >= 0)
            h->n = (uint64_t)h->i;
    }
    h->head_bytes = 1 + n;
    return 0;
}

/* How many bytes the head of a value that begins with c has. 0: no msgpack. */
static size_t head_size(uint8_t c)
{
    static const uint8_t extra[0x20] = {
        /* c0 */ 0, 0xff, 0, 0, 1, 2, 4, 2, 3, 5, 4, 8, 1, 2, 4, 8,
        /* d0 */ 1, 2, 4, 8, 1, 1, 1, 1, 1, 1, 2, 4, 2, 4, 2, 4};
    if (c < 0xc0 || c >= 0xe0)
        return 1;
    return extra[c - 0xc0] == 0xff ? 0 : 1U + extra[c - 0xc0];
}

/* 0, VI_EAGAIN when bytes are missing, VI_EPROTO. */
static int head(const uint8_t *p, size_t len, struct head *h)
{
    uint8_t c;
    size_t hs;
    int err;
    memset(h, 0, sizeof *h);
    if (len == 0)
        return VI_EAGAIN;
    c = *p;
    hs = head_size(c);
    if (hs == 0)
        return VI_EPROTO;
    if (hs > len)
        return VI_EAGAIN;
    if (c < 0x80) {
        h->type = VI_WIRE_UINT;
        h->n = c;
        h->head_bytes = 1;
        return 0;
    }
    if (c >= 0xe0) {
        h->type = VI_WIRE_INT;
        h->i = (int8_t)c;
        h->head_bytes = 1;
        return 0;
    }
    if (c < 0xc0)
        return c < 0x90   ? container(h, VI_WIRE_MAP, 1, c & 15U)
               : c < 0xa0 ? container(h, VI_WIRE_ARRAY, 1, c & 15U)
               : c - 0xa0U > len - 1 ? VI_EAGAIN
                                     : body(h, VI_WIRE_STR, 1, c & 31U);
    switch (c) {
    case 0xc0: h->type = VI_WIRE_NIL; h->head_bytes = 1; return 0;
    case 0xc2: case 0xc3:
        h->type = VI_WIRE_BOOL;
        h->n = c & 1U;
        h->head_bytes = 1;
        return 0;
    case 0xc4: case 0xc5: case 0xc6: err = body(h, VI_WIRE_BIN, hs, be(p + 1, (unsigned)hs - 1)); break;
    case 0xc7: case 0xc8: case 0xc9: err = body(h, VI_WIRE_EXT, hs, be(p + 1, (unsigned)hs - 2)); break;
    case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8:
        err = body(h, VI_WIRE_EXT, 2, 1U << (c - 0xd4));
        break;
    case 0xd9: case 0xda: case 0xdb: err = body(h, VI_WIRE_STR, hs, be(p + 1, (unsigned)hs - 1)); break;
    case 0xdc: case 0xdd: return container(h, VI_WIRE_ARRAY, hs, be(p + 1, (unsigned)hs - 1));
    case 0xde: case 0xdf: return container(h, VI_WIRE_MAP, hs, be(p + 1, (unsigned)hs - 1));
    default: return number(h, c, p + 1);
    }
    if (!err && h->body_bytes > len - h->head_bytes)
        return VI_EAGAIN;
    return err;
}

void vi_reader_init(struct vi_reader *r, const void *data, size_t len)
{
    static const uint8_t nothing[1];
    r->p = data && len ? data : nothing;
    r->end = r->p + (data ? len : 0);
    r->err = 0;
}

static size_t left(const struct vi_reader *r)
{
    return (size_t)(r->end - r->p);
}

enum vi_wire_type vi_read_peek(const struct vi_reader *r)
{
    struct head h;
    if (r->err)
        return VI_WIRE_BAD;
    if (left(r) == 0)
        return VI_WIRE_END;
    return head(r->p, left(r), &h) ? VI_WIRE_BAD : h.type;
}

/* Takes the next head if it is of type t; its body is left for the caller. */
static bool take(struct vi_reader *r, enum vi_wire_type t, struct head *h)
{
    if (!r->err && (head(r->p, left(r), h) || h->type != t))
        r->err = VI_EPROTO;
    if (r->err) {
        memset(h, 0, sizeof *h);
        return false;
    }
    r->p += h->head_bytes;
    return true;
}

void vi_read_nil(struct vi_reader *r)
{
    struct head h;
    take(r, VI_WIRE_NIL, &h);
}

bool vi_read_bool(struct vi_reader *r)
{
    struct head h;
    return take(r, VI_WIRE_BOOL, &h) && h.n;
}

uint64_t vi_read_uint(struct vi_reader *r, uint64_t max)
{
    struct head h;
    if (take(r, VI_WIRE_UINT, &h) && h.n > max)
        r->err = VI_EPROTO;
    return r->err ? 0 : h.n;
}

int64_t vi_read_int(struct vi_reader *r, int64_t min, int64_t max)
{
    struct head h;
    int64_t v;
    if (vi_read_peek(r) == VI_WIRE_UINT) {
        uint64_t u = vi_read_uint(r, INT64_MAX);
        v = (int64_t)u;
    } else {
        take(r, VI_WIRE_INT, &h);
        v = h.i;
    }
    if (!r->err && (v < min || v > max))
        r->err = VI_EPROTO;
    return r->err ? 0 : v;
}

double vi_read_double(struct vi_reader *r)
{
    struct head h;
    double v;
    switch (vi_read_peek(r)) {
    case VI_WIRE_UINT: v = (double)vi_read_uint(r, UINT64_MAX); break;
    case VI_WIRE_INT: v = (double)vi_read_int(r, INT64_MIN, INT64_MAX); break;
    default:
        take(r, VI_WIRE_DOUBLE, &h);
        v = h.d;
    }
    if (!r->err && !isfinite(v))
        r->err = VI_EPROTO;
    return r->err ? 0 : v;
}

static const uint8_t *take_body(struct vi_reader *r, enum vi_wire_type t, size_t max, size_t *len)
{
    struct head h;
    const uint8_t *p = r->p;
    *len = 0;
    if (take(r, t, &h) && h.body_bytes > max)
        r->err = VI_EPROTO;
    if (r->err)
        return (const uint8_t *)"";
    p = r->p;
    r->p += h.body_bytes;
    *len = h.body_bytes;
    return p;
}

const char *vi_read_str(struct vi_reader *r, size_t max, size_t *len)
{
    return (const char *)take_body(r, VI_WIRE_STR, max, len);
}

const uint8_t *vi_read_bin(struct vi_reader *r, size_t max, size_t *len)
{
    return take_body(r, VI_WIRE_BIN, max, len);
}

void vi_read_cstr(struct vi_reader *r, char *out, size_t cap)
{
    size_t len;
    const char *s = vi_read_str(r, cap ? cap - 1 : 0, &len);
    if (!r->err && memchr(s, 0, len))
        r->err = VI_EPROTO;
    if (r->err)
        len = 0;
    if (cap) {
        memcpy(out, s, len);
        out[len] = 0;
    }
}

void vi_read_bytes(struct vi_reader *r, void *out, size_t len)
{
    size_t n;
    const uint8_t *p = vi_read_bin(r, len, &n);
    if (!r->err && n != len)
        r->err = VI_EPROTO;
    if (r->err)
        memset(out, 0, len);
    else if (len)
        memcpy(out, p, len);
}

void vi_read_id(struct vi_reader *r, struct vi_id *id)
{
    vi_read_bytes(r, id->b, VI_ID_SIZE);
}

static uint32_t take_container(struct vi_reader *r, enum vi_wire_type t, uint32_t max)
{
    struct head h;
    uint64_t each = t == VI_WIRE_MAP ? 2 : 1;
    if (take(r, t, &h) && (h.n > max || h.n * each > left(r)))
        r->err = VI_EPROTO;
    return r->err ? 0 : (uint32_t)h.n;
}

uint32_t vi_read_array(struct vi_reader *r, uint32_t max)
{
    return take_container(r, VI_WIRE_ARRAY, max);
}

uint32_t vi_read_map(struct vi_reader *r, uint32_t max)
{
    return take_container(r, VI_WIRE_MAP, max);
}

bool vi_read_key(struct vi_reader *r, const char *key)
{
    struct head h;
    size_t n = strlen(key);
    if (r->err || head(r->p, left(r), &h) || h.type != VI_WIRE_STR || h.body_bytes != n ||
        memcmp(r->p + h.head_bytes, key, n) != 0)
        return false;
    r->p += h.head_bytes + n;
    return true;
}

int vi_wire_walk(const void *data, size_t len, unsigned max_depth, uint32_t max_values,
                 size_t *used)
{
    uint64_t open[32]; /* values still to come at each depth */
    unsigned depth = 0;
    uint32_t values = 0;
    const uint8_t *p = data;
    uint64_t due = 1; /* values that were begun or promised, and must still come */
    size_t at = 0;
    if (len == 0)
        return VI_EAGAIN; /* data may be NULL */
    if (max_depth > 32)
        max_depth = 32;
    do {
        struct head h;
        int err = head(p + at, len - at, &h);
        if (err)
            return err;
        if (h.type == VI_WIRE_ARRAY || h.type == VI_WIRE_MAP)
            due += h.type == VI_WIRE_MAP ? h.n * 2 : h.n;
        /* a count beyond the bound is refused at once, not once that much has been awaited */
        if (++values > max_values || --due > max_values - values)
            return VI_EFULL;
        at += h.head_bytes + h.body_bytes;
        while (depth > 0 && open[depth - 1] == 0)
            depth--;
        if (depth > 0)
            open[depth - 1]--;
        if (h.type == VI_WIRE_ARRAY || h.type == VI_WIRE_MAP) {
            if (depth >= max_depth)
                return VI_EFULL;
            open[depth++] = h.type == VI_WIRE_MAP ? h.n * 2 : h.n;
        }
        while (depth > 0 && open[depth - 1] == 0)
            depth--;
    } while (depth > 0);
    *used = at;
    return 0;
}

void vi_read_skip(struct vi_reader *r)
{
    size_t used = 0;
    if (!r->err && vi_wire_walk(r->p, left(r), VI_WIRE_DEPTH, UINT32_MAX, &used))
        r->err = VI_EPROTO;
    if (!r->err)
        r->p += used;
}

int vi_read_end(struct vi_reader *r)
{
    if (!r->err && left(r) != 0)
        r->err = VI_EPROTO;
    return r->err;
}
