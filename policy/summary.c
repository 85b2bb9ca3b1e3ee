/* A host's summary: at most 64 bytes, from other hosts, so hostile. */
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"
#include "policy/policy.h"

#define VERSION 1
#define MOST_MIB ((uint64_t)1 << 30) /* a pebibyte */
#define MOST_PCT ((uint64_t)100 * 65536)

int policy_summary_encode(const struct policy_load *l, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap < POLICY_SUMMARY ? cap : POLICY_SUMMARY);
    vi_write_array(&w, 10);
    vi_write_uint(&w, VERSION);
    vi_write_uint(&w, (uint64_t)l->capacity_pct);
    vi_write_uint(&w, (uint64_t)(l->demand_pct + 0.5));
    vi_write_uint(&w, (uint64_t)(l->entitled_pct + 0.5));
    vi_write_uint(&w, l->total_kb / 1024);
    vi_write_uint(&w, l->charged_kb / 1024);
    vi_write_uint(&w, l->free_kb / 1024);
    vi_write_uint(&w, l->guests);
    vi_write_uint(&w, l->arrivals);
    vi_write_uint(&w, (l->observes ? 1U : 0U) | (l->draining ? 2U : 0U));
    return w.err ? w.err : (int)w.len;
}

int policy_summary_decode(struct policy_load *l, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    uint64_t flags;
    memset(l, 0, sizeof *l);
    if (len > POLICY_SUMMARY)
        return VI_EPROTO;
    vi_reader_init(&r, data, len);
    if (vi_read_array(&r, 10) != 10)
        return VI_EPROTO;
    if (vi_read_uint(&r, 255) != VERSION)
        return r.err ? VI_EPROTO : VI_EVERSION;
    l->capacity_pct = (double)vi_read_uint(&r, MOST_PCT);
    l->demand_pct = (double)vi_read_uint(&r, MOST_PCT);
    l->entitled_pct = (double)vi_read_uint(&r, MOST_PCT);
    l->total_kb = vi_read_uint(&r, MOST_MIB) * 1024;
    l->charged_kb = vi_read_uint(&r, MOST_MIB) * 1024;
    l->free_kb = vi_read_uint(&r, MOST_MIB) * 1024;
    l->guests = (uint32_t)vi_read_uint(&r, 100000);
    l->arrivals = (uint32_t)vi_read_uint(&r, 1000);
    flags = vi_read_uint(&r, 255);
    l->observes = flags & 1;
    l->draining = flags & 2;
    if (!vi_read_end(&r) && l->free_kb > l->total_kb)
        return VI_EINVAL;
    return r.err;
}
