/* A host in detail, on the wire. See hostview.h. */
#include "peer/hostview.h"

#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

#define VERSION  1
#define MOST_MIB ((uint64_t)1 << 30)
#define MOST_PCT ((uint64_t)100 * 65536)

enum { OBSERVES = 1, PAUSED = 2, DRAINING = 4, DRAINED = 8, NO_OUTSIDE = 16 };
enum { MOVABLE = 1, RUNNING = 2, MOVING = 4, SHORT_MEMORY = 8, SHORT_CPU = 16 };

int hostview_question_encode(unsigned first, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 2);
    vi_write_uint(&w, VERSION);
    vi_write_uint(&w, first);
    return w.err ? w.err : (int)w.len;
}

int hostview_question_decode(unsigned *first, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    vi_reader_init(&r, data, len);
    if (vi_read_array(&r, 2) != 2 || vi_read_uint(&r, 255) != VERSION)
        return VI_EPROTO;
    *first = (unsigned)vi_read_uint(&r, HOSTVIEW_GUESTS);
    return vi_read_end(&r);
}

static void write_guest(struct vi_writer *w, const struct hostview_guest *g)
{
    vi_write_array(w, 9);
    vi_write_id(w, &g->uuid);
    vi_write_id(w, &g->env);
    vi_write_str(w, g->name);
    vi_write_uint(w, g->kb / 1024);
    vi_write_uint(w, g->size_kb / 1024);
    vi_write_uint(w, g->max_kb / 1024);
    vi_write_uint(w, (uint64_t)(g->pct + 0.5));
    vi_write_uint(w, (g->movable ? MOVABLE : 0U) | (g->running ? RUNNING : 0U) | (g->moving ? MOVING : 0U) |
                         (g->short_of_memory ? SHORT_MEMORY : 0U) | (g->short_of_cpu ? SHORT_CPU : 0U));
    vi_write_str(w, g->why_not);
}

static void write_head(struct vi_writer *w, const struct hostview *h, unsigned first, unsigned n)
{
    vi_write_array(w, 13);
    vi_write_uint(w, VERSION);
    vi_write_uint(w, (h->observes ? OBSERVES : 0U) | (h->paused ? PAUSED : 0U) | (h->draining ? DRAINING : 0U) |
                         (h->drained ? DRAINED : 0U) | (h->no_outside ? NO_OUTSIDE : 0U));
    vi_write_uint(w, (uint64_t)h->capacity_pct);
    vi_write_uint(w, (uint64_t)(h->demand_pct + 0.5));
    vi_write_uint(w, h->total_kb / 1024);
    vi_write_uint(w, h->free_kb / 1024);
    vi_write_uint(w, h->arrivals);
    vi_write_uint(w, h->arrivals_most);
    vi_write_uint(w, (uint64_t)(h->range_low * 1000 + 0.5));
    vi_write_uint(w, (uint64_t)(h->range_high * 1000 + 0.5));
    vi_write_uint(w, h->guests);
    vi_write_uint(w, first);
    vi_write_array(w, n);
}

int hostview_encode(const struct hostview *h, const struct hostview_guest *guests, unsigned first, uint8_t *out, size_t cap)
{
    unsigned n = first < h->guests ? h->guests - first : 0;
    struct vi_writer w;
    if (n > HOSTVIEW_PAGE)
        n = HOSTVIEW_PAGE;
    for (;;) { /* fewer, until they fit */
        vi_writer_init(&w, out, cap);
        write_head(&w, h, first, n);
        for (unsigned i = 0; i < n; i++)
            write_guest(&w, &guests[first + i]);
        if (!w.err)
            return (int)w.len;
        if (n <= 1)
            return w.err;
        n--;
    }
}

static void read_guest(struct vi_reader *r, struct hostview_guest *g)
{
    uint64_t flags;
    memset(g, 0, sizeof *g);
    if (vi_read_array(r, 9) != 9) {
        r->err = VI_EPROTO;
        return;
    }
    vi_read_id(r, &g->uuid);
    vi_read_id(r, &g->env);
    vi_read_cstr(r, g->name, sizeof g->name);
    g->kb = vi_read_uint(r, MOST_MIB) * 1024;
    g->size_kb = vi_read_uint(r, MOST_MIB) * 1024;
    g->max_kb = vi_read_uint(r, MOST_MIB) * 1024;
    g->pct = (double)vi_read_uint(r, MOST_PCT);
    flags = vi_read_uint(r, 255);
    vi_read_cstr(r, g->why_not, sizeof g->why_not);
    g->movable = flags & MOVABLE;
    g->running = flags & RUNNING;
    g->moving = flags & MOVING;
    g->short_of_memory = flags & SHORT_MEMORY;
    g->short_of_cpu = flags & SHORT_CPU;
}

int hostview_decode(struct hostview *h, unsigned *first, unsigned *n, struct hostview_guest guests[HOSTVIEW_PAGE],
                    const uint8_t *data, size_t len)
{
    struct vi_reader r;
    uint64_t flags;
    memset(h, 0, sizeof *h);
    *first = *n = 0;
    vi_reader_init(&r, data, len);
    if (vi_read_array(&r, 13) != 13)
        return VI_EPROTO;
    if (vi_read_uint(&r, 255) != VERSION)
        return r.err ? VI_EPROTO : VI_EVERSION;
    flags = vi_read_uint(&r, 255);
    h->observes = flags & OBSERVES;
    h->paused = flags & PAUSED;
    h->draining = flags & DRAINING;
    h->drained = flags & DRAINED;
    h->no_outside = flags & NO_OUTSIDE;
    h->capacity_pct = (double)vi_read_uint(&r, MOST_PCT);
    h->demand_pct = (double)vi_read_uint(&r, MOST_PCT);
    h->total_kb = vi_read_uint(&r, MOST_MIB) * 1024;
    h->free_kb = vi_read_uint(&r, MOST_MIB) * 1024;
    h->arrivals = (unsigned)vi_read_uint(&r, 1000);
    h->arrivals_most = (unsigned)vi_read_uint(&r, 1000);
    h->range_low = (double)vi_read_uint(&r, 1000) / 1000;
    h->range_high = (double)vi_read_uint(&r, 1000) / 1000;
    h->guests = (unsigned)vi_read_uint(&r, HOSTVIEW_GUESTS);
    *first = (unsigned)vi_read_uint(&r, HOSTVIEW_GUESTS);
    *n = vi_read_array(&r, HOSTVIEW_PAGE);
    for (unsigned i = 0; i < *n && !r.err; i++)
        read_guest(&r, &guests[i]);
    if (!vi_read_end(&r) && (h->free_kb > h->total_kb || *first + *n > h->guests))
        r.err = VI_EINVAL;
    if (r.err)
        *n = 0;
    return r.err;
}

/* ---- amounts as people write them ---- */

int hostview_amount(const char *text, double now, bool percent, double *out)
{
    bool factor = text[0] == 'x', change = text[0] == '+' || text[0] == '-';
    const char *digits = text + (factor || change);
    char *end;
    double v;
    if (digits[0] < '0' || digits[0] > '9' || strlen(text) > 24)
        return VI_EINVAL;
    v = strtod(digits, &end);
    if (end != digits + strspn(digits, "0123456789.")) /* strtod() takes more than people mean here */
        return VI_EINVAL;
    if (factor)
        v = now * v;
    else if (change && *end == '%') {
        v = now * (text[0] == '+' ? 1 + v / 100 : 1 - v / 100);
        end++;
    } else if (!percent && (*end == 'G' || *end == 'M'))
        v *= *end++ == 'G' ? 1024 : 1;
    if (change && end[-1] != '%')
        v = text[0] == '+' ? now + v : now - v;
    if (*end || !(v >= 0 && v <= (double)MOST_MIB))
        return VI_EINVAL;
    *out = v;
    return 0;
}
