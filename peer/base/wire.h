/* Bounded msgpack: a writer into the caller's memory and a cursor that reads in place.
 *
 * https://github.com/msgpack/msgpack/blob/master/spec.md. msgpack-c packs; it has neither a cursor
 * nor any limit on what it unpacks, so reading is ours: nothing is allocated, every length is
 * checked against the bytes that are left, and containers against a depth and a count. After the
 * first error a reader stays failed and every further read returns zeros, so that a decoder may
 * read a whole message and test once at the end. */
#ifndef PEER_BASE_WIRE_H
#define PEER_BASE_WIRE_H

#include "peer/base/id.h"

#define VI_WIRE_DEPTH 8 /* deepest nesting that is accepted */

struct vi_writer {
    uint8_t *data;
    size_t cap, len;
    int err; /* 0, or VI_EFULL once something did not fit (len is then what fitted whole) */
};

void vi_writer_init(struct vi_writer *w, void *data, size_t cap);
void vi_write_nil(struct vi_writer *w);
void vi_write_bool(struct vi_writer *w, bool v);
void vi_write_uint(struct vi_writer *w, uint64_t v);
void vi_write_int(struct vi_writer *w, int64_t v);
void vi_write_double(struct vi_writer *w, double v);
void vi_write_str(struct vi_writer *w, const char *s); /* NULL writes nil */
void vi_write_strn(struct vi_writer *w, const char *s, size_t len);
void vi_write_bin(struct vi_writer *w, const void *p, size_t len);
void vi_write_id(struct vi_writer *w, const struct vi_id *id); /* bin 16 */
void vi_write_array(struct vi_writer *w, uint32_t n); /* n values follow */
void vi_write_map(struct vi_writer *w, uint32_t n);   /* n key/value pairs follow */

enum vi_wire_type {
    VI_WIRE_END, VI_WIRE_NIL, VI_WIRE_BOOL, VI_WIRE_UINT, VI_WIRE_INT, VI_WIRE_DOUBLE,
    VI_WIRE_STR, VI_WIRE_BIN, VI_WIRE_ARRAY, VI_WIRE_MAP, VI_WIRE_EXT, VI_WIRE_BAD
};

struct vi_reader {
    const uint8_t *p, *end;
    int err; /* 0, or VI_EPROTO from the first thing that was not as asked */
};

void vi_reader_init(struct vi_reader *r, const void *data, size_t len);
enum vi_wire_type vi_read_peek(const struct vi_reader *r);
void vi_read_nil(struct vi_reader *r);
bool vi_read_bool(struct vi_reader *r);
uint64_t vi_read_uint(struct vi_reader *r, uint64_t max); /* > max is an error */
int64_t vi_read_int(struct vi_reader *r, int64_t min, int64_t max);
double vi_read_double(struct vi_reader *r); /* accepts integers; NaN and infinities are errors */
/* Strings and binaries point into the reader's bytes; *len is set; longer than max is an error. */
const char *vi_read_str(struct vi_reader *r, size_t max, size_t *len);
const uint8_t *vi_read_bin(struct vi_reader *r, size_t max, size_t *len);
/* Copies a string with its NUL into out[cap]; embedded NULs and len >= cap are errors. */
void vi_read_cstr(struct vi_reader *r, char *out, size_t cap);
void vi_read_bytes(struct vi_reader *r, void *out, size_t len); /* a bin of exactly len */
void vi_read_id(struct vi_reader *r, struct vi_id *id);
uint32_t vi_read_array(struct vi_reader *r, uint32_t max); /* also checked against bytes left */
uint32_t vi_read_map(struct vi_reader *r, uint32_t max);
bool vi_read_key(struct vi_reader *r, const char *key); /* next is this string? consumes if so */
void vi_read_skip(struct vi_reader *r); /* one whole value, depth-bounded */
/* 0 if nothing failed and every byte was read, else the error (VI_EPROTO for trailing bytes). */
int vi_read_end(struct vi_reader *r);

/* Walks one value without keeping anything: 0 and *used, VI_EAGAIN if bytes are missing, or
 * VI_EPROTO / VI_EFULL at a bound (a container's count is held against it when it is read).
 * max_depth above 32 is 32. For streams, before anything is unpacked. data may be NULL if len is 0. */
int vi_wire_walk(const void *data, size_t len, unsigned max_depth, uint32_t max_values,
                 size_t *used);

#endif
