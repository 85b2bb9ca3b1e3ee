/* Question [1, [[id, since, sectors]…]], answer [1, sectors]. See diskask.h. */
#include "peer/diskask.h"

#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

#define VERSION      1
#define MOST_SECTORS ((uint64_t)1 << 40)

int diskask_encode(const struct diskask *q, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 2);
    vi_write_uint(&w, VERSION);
    vi_write_array(&w, q->n);
    for (unsigned i = 0; i < q->n; i++) {
        vi_write_array(&w, 3);
        vi_write_id(&w, &q->disk[i].id);
        vi_write_id(&w, &q->disk[i].since);
        vi_write_uint(&w, q->disk[i].sectors);
    }
    return w.err ? VI_EFULL : (int)w.len;
}

static bool head(struct vi_reader *r)
{
    return vi_read_array(r, 2) == 2 && vi_read_uint(r, 255) == VERSION && !r->err;
}

int diskask_decode(struct diskask *q, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    memset(q, 0, sizeof *q);
    vi_reader_init(&r, data, len);
    if (!head(&r))
        return VI_EPROTO;
    q->n = vi_read_array(&r, DISKASK_MOST);
    for (unsigned i = 0; i < q->n && !r.err; i++) {
        if (vi_read_array(&r, 3) != 3)
            return VI_EPROTO;
        vi_read_id(&r, &q->disk[i].id);
        vi_read_id(&r, &q->disk[i].since);
        q->disk[i].sectors = vi_read_uint(&r, MOST_SECTORS);
    }
    return vi_read_end(&r) ? VI_EPROTO : 0;
}

int diskask_answer_encode(uint64_t lacks, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 2);
    vi_write_uint(&w, VERSION);
    vi_write_uint(&w, lacks);
    return w.err ? VI_EFULL : (int)w.len;
}

int diskask_answer_decode(uint64_t *lacks, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    vi_reader_init(&r, data, len);
    if (!head(&r))
        return VI_EPROTO;
    *lacks = vi_read_uint(&r, DISKASK_MOST * MOST_SECTORS);
    return vi_read_end(&r) ? VI_EPROTO : 0;
}
