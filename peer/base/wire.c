/* Writing msgpack into the caller's memory, with msgpack-c. See wire.h. */
#include "peer/base/wire.h"

#include <msgpack.h>
#include <string.h>

#include "peer/base/err.h"

/* msgpack-c writes a value in pieces; what doesn't fit fails the writer for good. */
static int put(void *data, const char *buf, size_t len)
{
    struct vi_writer *w = data;
    if (w->err || len > w->cap - w->len) {
        w->err = VI_EFULL;
        return -1;
    }
    if (len)
        memcpy(w->data + w->len, buf, len);
    w->len += len;
    return 0;
}

static msgpack_packer packer(struct vi_writer *w)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, w, put);
    return pk;
}

/* Takes back the pieces of a value that did not fit whole. */
static void whole(struct vi_writer *w, size_t before)
{
    if (w->err)
        w->len = before;
}

void vi_writer_init(struct vi_writer *w, void *data, size_t cap)
{
    w->data = data;
    w->cap = cap;
    w->len = 0;
    w->err = 0;
}

void vi_write_nil(struct vi_writer *w)
{
    msgpack_packer pk = packer(w);
    msgpack_pack_nil(&pk);
}

void vi_write_bool(struct vi_writer *w, bool v)
{
    msgpack_packer pk = packer(w);
    if (v)
        msgpack_pack_true(&pk);
    else
        msgpack_pack_false(&pk);
}

void vi_write_uint(struct vi_writer *w, uint64_t v)
{
    msgpack_packer pk = packer(w);
    msgpack_pack_uint64(&pk, v);
}

void vi_write_int(struct vi_writer *w, int64_t v)
{
    msgpack_packer pk = packer(w);
    msgpack_pack_int64(&pk, v);
}

void vi_write_double(struct vi_writer *w, double v)
{
    msgpack_packer pk = packer(w);
    msgpack_pack_double(&pk, v);
}

void vi_write_str(struct vi_writer *w, const char *s)
{
    if (s)
        vi_write_strn(w, s, strlen(s));
    else
        vi_write_nil(w);
}

void vi_write_strn(struct vi_writer *w, const char *s, size_t len)
{
    msgpack_packer pk = packer(w);
    size_t before = w->len;
    msgpack_pack_str(&pk, len);
    msgpack_pack_str_body(&pk, s, len);
    whole(w, before);
}

void vi_write_bin(struct vi_writer *w, const void *p, size_t len)
{
    msgpack_packer pk = packer(w);
    size_t before = w->len;
    msgpack_pack_bin(&pk, len);
    msgpack_pack_bin_body(&pk, p, len);
    whole(w, before);
}

void vi_write_id(struct vi_writer *w, const struct vi_id *id)
{
    vi_write_bin(w, id->b, VI_ID_SIZE);
}

void vi_write_array(struct vi_writer *w, uint32_t n)
{
    msgpack_packer pk = packer(w);
    msgpack_pack_array(&pk, n);
}

void vi_write_map(struct vi_writer *w, uint32_t n)
{
    msgpack_packer pk = packer(w);
    msgpack_pack_map(&pk, n);
}
