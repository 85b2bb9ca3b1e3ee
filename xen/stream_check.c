/* The migration stream walker. See stream_check.h.
 *
 *   outer header 16 · outer record LIBXC_CONTEXT 8 · image header 24 · domain header 16
 *     · inner records (8 + body, padded to 8) … inner END · outer record END 8
 *
 * Each fixed-size field is collected into s->field, judged by the state's function, which says
 * what comes next; bodies that need no look are counted down in s->pass. */
#include "xen/stream_check.h"

#include <string.h>

enum state { S_HEADER, S_RECORD, S_IMAGE, S_DOMAIN, S_INNER, S_PAGES, S_FRAME, S_PARAMS, S_END,
             S_STUCK };

enum outer { OUTER_END = 0, OUTER_LIBXC = 1 };

enum inner {
    R_END, R_PAGES, R_PV_INFO, R_PV_FRAMES, R_PV_BASIC, R_PV_EXTENDED, R_PV_XSAVE, R_SHARED_INFO,
    R_TSC, R_HVM_CONTEXT, R_HVM_PARAMS, R_TOOLSTACK, R_PV_MSRS, R_VERIFY, R_CHECKPOINT,
    R_DIRTY_LIST, R_STATIC_END, R_CPUID, R_MSR, INNER_TYPES
};

#define PV  1
#define HVM 2
#define MANY 4 /* may come more than once */

/* What a plain migration has; length = min + k * unit, at most max. Records of checkpointed
 * streams, of verification and of old versions are not here. */
static const struct {
    uint8_t where;
    uint32_t min, unit, max;
} inner[INNER_TYPES] = {
    [R_END] = {PV | HVM, 0, 1, 0},
    [R_PAGES] = {PV | HVM | MANY, 16, 8, 8 + 1024 * (8 + 4096)},
    [R_PV_INFO] = {PV, 8, 1, 8},
    [R_PV_FRAMES] = {PV | MANY, 16, 8, 8 << 20},
    [R_PV_BASIC] = {PV | MANY, 8, 1, 64 << 10},
    [R_PV_EXTENDED] = {PV | MANY, 8, 1, 64 << 10},
    [R_PV_XSAVE] = {PV | MANY, 8, 1, 64 << 10},
    [R_PV_MSRS] = {PV | MANY, 8, 1, 64 << 10},
    [R_SHARED_INFO] = {PV, 4096, 1, 4096},
    [R_TSC] = {PV | HVM, 24, 1, 24},
    [R_HVM_CONTEXT] = {HVM, 8, 1, 8 << 20},
    [R_HVM_PARAMS] = {HVM, 8, 16, 8 + 16 * 256},
    [R_STATIC_END] = {PV | HVM, 0, 1, 0},
    [R_CPUID] = {PV | HVM, 24, 24, 24 * 4096},
    [R_MSR] = {PV | HVM, 16, 16, 16 * 4096},
};

static const char *const reasons[STREAM_REASONS] = {
    [STREAM_FINE] = "nothing wrong",
    [STREAM_NOT_LIBXL] = "not a libxl migration stream of version 2",
    [STREAM_RECORD] = "an outer record that a plain migration does not have",
    [STREAM_NOT_LIBXC] = "not a libxc image of version 3",
    [STREAM_DOMAIN] = "a domain header that no guest here has",
    [STREAM_TYPE] = "an unknown or misplaced record",
    [STREAM_LENGTH] = "a record's length is out of its bounds",
    [STREAM_TWICE] = "a record came twice that may come once",
    [STREAM_ORDER] = "records out of order",
    [STREAM_PAGES] = "pages and their record's length disagree",
    [STREAM_FRAME] = "a frame number out of bounds",
    [STREAM_PARAMETERS] = "parameters and their record's length disagree",
};

const char *stream_check_reason_name(enum stream_check_reason r)
{
    return (unsigned)r < STREAM_REASONS && reasons[r] ? reasons[r] : "unknown";
}

static uint64_t le(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | p[n];
    return v;
}

static uint64_t be(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static void expect(struct stream_check *s, enum state state, unsigned need)
{
    s->state = state;
    s->need = need;
    s->have = 0;
}

static void bad(struct stream_check *s, enum stream_check_reason r)
{
    s->reason = r;
    s->state = S_STUCK;
}

void stream_check_init(struct stream_check *s, uint64_t pfn_max)
{
    memset(s, 0, sizeof *s);
    s->pfn_max = pfn_max && pfn_max < STREAM_CHECK_PFN_MAX ? pfn_max : STREAM_CHECK_PFN_MAX;
    expect(s, S_HEADER, 16);
}

static void outer_header(struct stream_check *s)
{
    if (be(s->field, 8) != 0x4c6962786c466d74u || be(s->field + 8, 4) != 2 ||
        be(s->field + 12, 4) != 0)
        bad(s, STREAM_NOT_LIBXL);
    else
        expect(s, S_RECORD, 8);
}

static void outer_record(struct stream_check *s)
{
    uint64_t type = le(s->field, 4), length = le(s->field + 4, 4);
    bool context_done = s->seen & 1u << R_END;

    if (length != 0 || (type != OUTER_END && type != OUTER_LIBXC))
        bad(s, STREAM_RECORD);
    else if (type == OUTER_LIBXC && !context_done)
        expect(s, S_IMAGE, 24);
    else if (type == OUTER_END && context_done)
        expect(s, S_END, 0);
    else
        bad(s, STREAM_ORDER);
}

static void image_header(struct stream_check *s)
{
    if (le(s->field, 8) != UINT64_MAX || be(s->field + 8, 4) != 0x58454e46u ||
        be(s->field + 12, 4) != 3 || le(s->field + 16, 8) != 0)
        bad(s, STREAM_NOT_LIBXC);
    else
        expect(s, S_DOMAIN, 16);
}

static void domain_header(struct stream_check *s)
{
    uint64_t type = le(s->field, 4);

    if ((type != 1 && type != 2) || le(s->field + 4, 2) != 12 || le(s->field + 6, 2) != 0) {
        bad(s, STREAM_DOMAIN);
        return;
    }
    s->hvm = type == 2;
    expect(s, S_INNER, 8);
}

static bool ends_whole(const struct stream_check *s)
{
    uint32_t needs = 1u << R_STATIC_END |
                     (s->hvm ? 1u << R_HVM_CONTEXT | 1u << R_HVM_PARAMS
                             : 1u << R_PV_INFO | 1u << R_SHARED_INFO);
    return (s->seen & needs) == needs;
}

static void inner_record(struct stream_check *s)
{
    uint64_t type = le(s->field, 4), length = le(s->field + 4, 4);
    bool repeated = type < INNER_TYPES && s->seen & 1u << type;

    if (type >= INNER_TYPES || !(inner[type].where & (s->hvm ? HVM : PV)))
        bad(s, STREAM_TYPE);
    else if (length < inner[type].min || length > inner[type].max ||
             (length - inner[type].min) % inner[type].unit != 0)
        bad(s, STREAM_LENGTH);
    else if (repeated && !(inner[type].where & MANY))
        bad(s, STREAM_TWICE);
    else if ((type == R_PAGES && !(s->seen & 1u << R_STATIC_END)) ||
             ((type == R_CPUID || type == R_MSR) && s->seen & 1u << R_STATIC_END) ||
             (type == R_END && !ends_whole(s)))
        bad(s, STREAM_ORDER);
    if (s->state == S_STUCK)
        return;
    s->seen |= 1u << type;
    s->records++;
    s->body = length;
    if (type == R_END)
        expect(s, S_RECORD, 8);
    else if (type == R_PAGES)
        expect(s, S_PAGES, 8);
    else if (type == R_HVM_PARAMS)
        expect(s, S_PARAMS, 8);
    else {
        s->pass = (length + 7) & ~(uint64_t)7;
        expect(s, S_INNER, 8);
    }
}

static void page_header(struct stream_check *s)
{
    uint64_t count = le(s->field, 4), reserved = le(s->field + 4, 4);

    s->body -= 8;
    if (count < 1 || count > 1024 || reserved != 0 || s->body < count * 8) {
        bad(s, STREAM_PAGES);
        return;
    }
    s->body -= count * 8;
    s->data = 0;
    s->left = (uint32_t)count;
    expect(s, S_FRAME, 8);
}

/* One frame number: type in bits 60–63, bits 52–59 zero. Types 13 (broken), 14 (allocate only) and
 * 15 (nothing) bring no page; 5 to 8 don't exist; page tables are only a PV guest's. */
static void page_frame(struct stream_check *s)
{
    uint64_t v = le(s->field, 8), type = v >> 60;

    if (v & 0x0ff0000000000000u || (v & 0x000fffffffffffffu) >= s->pfn_max) {
        bad(s, STREAM_FRAME);
        return;
    }
    if ((type >= 5 && type <= 8) || (s->hvm && type != 0 && type < 13)) {
        bad(s, STREAM_PAGES);
        return;
    }
    if (type < 13) {
        s->data += 4096;
        s->pages++;
    }
    if (--s->left) {
        expect(s, S_FRAME, 8);
    } else if (s->data != s->body) {
        bad(s, STREAM_PAGES);
    } else {
        s->pass = s->body;
        expect(s, S_INNER, 8);
    }
}

static void parameters(struct stream_check *s)
{
    uint64_t count = le(s->field, 4), reserved = le(s->field + 4, 4);

    s->body -= 8;
    if (reserved != 0 || count * 16 != s->body) {
        bad(s, STREAM_PARAMETERS);
        return;
    }
    s->pass = s->body;
    expect(s, S_INNER, 8);
}

static void judge(struct stream_check *s)
{
    switch ((enum state)s->state) {
    case S_HEADER: outer_header(s); break;
    case S_RECORD: outer_record(s); break;
    case S_IMAGE:  image_header(s); break;
    case S_DOMAIN: domain_header(s); break;
    case S_INNER:  inner_record(s); break;
    case S_PAGES:  page_header(s); break;
    case S_FRAME:  page_frame(s); break;
    case S_PARAMS: parameters(s); break;
    case S_END:
    case S_STUCK:  break;
    }
}

enum stream_check_status stream_check_feed(struct stream_check *s, const uint8_t *data, size_t len,
                                           size_t *used)
{
    size_t at = 0;

    while (s->state != S_STUCK && s->state != S_END && at < len) {
        size_t n = len - at;
        if (s->pass) {
            n = n < s->pass ? n : (size_t)s->pass;
            s->pass -= n;
            at += n;
            continue;
        }
        n = n < s->need - s->have ? n : s->need - s->have;
        memcpy(s->field + s->have, data + at, n);
        s->have += (unsigned)n;
        if (s->have == s->need)
            judge(s);
        if (s->state != S_STUCK)
            at += n;
    }
    *used = at;
    return s->state == S_STUCK ? STREAM_BAD : s->state == S_END ? STREAM_DONE : STREAM_MORE;
}
