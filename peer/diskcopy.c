/* Who has which copy of a disk, between hosts. See diskcopy.h. */
#include "peer/diskcopy.h"

#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

#define VERSION 1
#define LATEST  ((int64_t)1 << 40) /* seconds since 1970 */

static int ended(const struct vi_writer *w)
{
    return w->err ? w->err : (int)w->len;
}

static bool begins(struct vi_reader *r, const uint8_t *data, size_t len)
{
    vi_reader_init(r, data, len);
    return len <= DISKCOPY_MAX && vi_read_array(r, 2) == 2 && vi_read_uint(r, VERSION) == VERSION && !r->err;
}

int diskcopy_ask(const struct vi_id *disk, uint8_t out[DISKCOPY_MAX])
{
    struct vi_writer w;
    vi_writer_init(&w, out, DISKCOPY_MAX);
    vi_write_array(&w, 2);
    vi_write_uint(&w, VERSION);
    vi_write_id(&w, disk);
    return ended(&w);
}

int diskcopy_asked(struct vi_id *disk, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    memset(disk, 0, sizeof *disk);
    if (!begins(&r, data, len))
        return VI_EPROTO;
    vi_read_id(&r, disk);
    return vi_read_end(&r) ? VI_EPROTO : 0;
}

int diskcopy_encode(const struct diskcopy *c, uint8_t out[DISKCOPY_MAX])
{
    struct vi_writer w;
    vi_writer_init(&w, out, DISKCOPY_MAX);
    vi_write_array(&w, 2);
    vi_write_uint(&w, VERSION);
    vi_write_array(&w, c->here ? 3 : 0);
    if (c->here) {
        vi_write_uint(&w, c->kind);
        vi_write_uint(&w, c->generation);
        vi_write_uint(&w, c->since > 0 && c->since <= LATEST ? (uint64_t)c->since : 0);
    }
    return ended(&w);
}

int diskcopy_decode(struct diskcopy *c, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    uint32_t n;
    memset(c, 0, sizeof *c);
    if (!begins(&r, data, len))
        return VI_EPROTO;
    n = vi_read_array(&r, 3);
    if (n == 3) {
        c->here = true;
        c->kind = (enum disk_kind)vi_read_uint(&r, DISK_OLD);
        c->generation = vi_read_uint(&r, UINT64_MAX);
        c->since = (int64_t)vi_read_uint(&r, (uint64_t)LATEST);
    }
    if (vi_read_end(&r) || (n != 0 && n != 3)) {
        memset(c, 0, sizeof *c);
        return VI_EPROTO;
    }
    return 0;
}
