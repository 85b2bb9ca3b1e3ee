/* A host's summary: at most 64 bytes, from other hosts, so hostile.
 *
 * Peers of the version before have ten fields, know the first two flags and look at no other, and use neither the fifth
 * field of others nor refuse any value of it within its bounds. So what a host expects to want (policy/forecast.c) stands in
 * the fifth field, where its entitlements were, once the flag LASTING says so, and the spread in the flags' upper half: both
 * versions read both. A later version adds fields at the end, which are passed over here. */
#include <math.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"
#include "policy/policy.h"

#define VERSION 1
#define FIELDS  10
#define FIELDS_MOST 16
enum { OBSERVES = 1, DRAINING = 2, LASTING = 4, PACKS = 8, SPREAD_SHIFT = 4 };
#define SPREAD_PARTS 40
#define MOST_MIB ((uint64_t)1 << 30) /* a pebibyte */
#define MOST_PCT ((uint64_t)100 * 65536)

/* In fortieths of the capacity, never rounded down; 15 stands for as much and more. */
static unsigned spread_of(const struct policy_load *l)
{
    double part = l->capacity_pct > 0 ? ceil(l->spread_pct / l->capacity_pct * SPREAD_PARTS) : 0;
    return part > 15 ? 15 : part > 0 ? (unsigned)part : 0;
}

static unsigned flags_of(const struct policy_load *l)
{
    unsigned f = (l->observes ? OBSERVES : 0U) | (l->draining ? DRAINING : 0U) | (l->packs ? PACKS : 0U);
    return l->lasting_known ? f | LASTING | spread_of(l) << SPREAD_SHIFT : f;
}

int policy_summary_encode(const struct policy_load *l, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap < POLICY_SUMMARY ? cap : POLICY_SUMMARY);
    vi_write_array(&w, 10);
    vi_write_uint(&w, VERSION);
    vi_write_uint(&w, (uint64_t)l->capacity_pct);
    vi_write_uint(&w, (uint64_t)(l->demand_pct + 0.5));
    vi_write_uint(&w, (uint64_t)((l->lasting_known ? l->lasting_pct : l->entitled_pct) + 0.5));
    vi_write_uint(&w, l->total_kb / 1024);
    vi_write_uint(&w, l->charged_kb / 1024);
    vi_write_uint(&w, l->free_kb / 1024);
    vi_write_uint(&w, l->guests);
    vi_write_uint(&w, l->arrivals);
    vi_write_uint(&w, flags_of(l));
    return w.err ? w.err : (int)w.len;
}

int policy_summary_decode(struct policy_load *l, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    uint64_t flags;
    uint32_t n;
    memset(l, 0, sizeof *l);
    if (len > POLICY_SUMMARY)
        return VI_EPROTO;
    vi_reader_init(&r, data, len);
    n = vi_read_array(&r, FIELDS_MOST);
    if (n < FIELDS)
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
    l->observes = flags & OBSERVES;
    l->draining = flags & DRAINING;
    l->packs = flags & PACKS;
    l->lasting_known = flags & LASTING;
    if (l->lasting_known) {
        l->lasting_pct = l->entitled_pct;
        l->entitled_pct = 0;
        l->spread_pct = (double)(flags >> SPREAD_SHIFT) * l->capacity_pct / SPREAD_PARTS;
    }
    for (; n > FIELDS; n--)
        (void)vi_read_uint(&r, UINT64_MAX); /* what a later peer says beside */
    if (!vi_read_end(&r) && l->free_kb > l->total_kb)
        return VI_EINVAL;
    return r.err;
}
