/* Why not there, on the wire. See whynot.h. [1, KiB, percent × 100, description]; [1, flags, [reason …], summary]. */
#include "peer/whynot.h"

#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

#define VERSION 1

int whynot_question_encode(const struct whynot_question *q, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 4);
    vi_write_uint(&w, VERSION);
    vi_write_uint(&w, q->kb);
    vi_write_uint(&w, (uint64_t)(q->pct * 100));
    vi_write_bin(&w, q->description, q->len);
    return w.err ? w.err : (int)w.len;
}

int whynot_question_decode(struct whynot_question *q, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    const uint8_t *d;
    vi_reader_init(&r, data, len);
    if (vi_read_array(&r, 4) != 4 || vi_read_uint(&r, 255) != VERSION)
        return VI_EPROTO;
    q->kb = vi_read_uint(&r, (uint64_t)1 << 40);
    q->pct = (double)vi_read_uint(&r, 1000000000) / 100;
    d = vi_read_bin(&r, WHYNOT_DESCRIPTION, &q->len);
    if (vi_read_end(&r))
        return VI_EPROTO;
    if (q->len)
        memcpy(q->description, d, q->len);
    return 0;
}

int whynot_answer_encode(const struct whynot_answer *a, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 4);
    vi_write_uint(&w, VERSION);
    vi_write_uint(&w, (a->observes ? 1U : 0U) | (a->paused ? 2U : 0U) | (a->ordered ? 4U : 0U));
    vi_write_array(&w, a->n);
    for (unsigned i = 0; i < a->n; i++)
        vi_write_str(&w, a->reason[i]);
    vi_write_bin(&w, a->summary, a->summary_len);
    return w.err ? w.err : (int)w.len;
}

int whynot_answer_decode(struct whynot_answer *a, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    const uint8_t *s;
    uint64_t flags;
    memset(a, 0, sizeof *a);
    vi_reader_init(&r, data, len);
    if (vi_read_array(&r, 4) != 4 || vi_read_uint(&r, 255) != VERSION)
        return VI_EPROTO;
    flags = vi_read_uint(&r, 255);
    a->observes = flags & 1;
    a->paused = flags & 2;
    a->ordered = flags & 4;
    a->n = vi_read_array(&r, WHYNOT_REASONS);
    for (unsigned i = 0; i < a->n && !r.err; i++)
        vi_read_cstr(&r, a->reason[i], sizeof a->reason[i]);
    s = vi_read_bin(&r, WHYNOT_SUMMARY, &a->summary_len);
    if (vi_read_end(&r))
        return VI_EPROTO;
    if (a->summary_len)
        memcpy(a->summary, s, a->summary_len);
    return 0;
}
