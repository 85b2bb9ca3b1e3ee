/* Fetching an image: who is asked for what. See imagefetch.h. */
#include "peer/imagefetch_internal.h"

#include <string.h>

#define FIRST_BATCH 4
#define SLOW        (2 * VI_SEC) /* a request this old may be helped with */

/* ---- requests ---- */

struct request *if_request(struct image_fetch *f, uint32_t id)
{
    for (unsigned i = 0; i < IMAGE_REQUESTS; i++)
        if (f->requests[i].used && f->requests[i].id == id)
            return &f->requests[i];
    return NULL;
}

bool if_any_request(const struct image_fetch *f)
{
    for (unsigned i = 0; i < IMAGE_REQUESTS; i++)
        if (f->requests[i].used)
            return true;
    return false;
}

unsigned if_asked(const struct image_fetch *f, const struct source *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < IMAGE_REQUESTS; i++)
        n += f->requests[i].used && &f->sources[f->requests[i].source] == s;
    return n;
}

void if_drop(struct image_fetch *f, struct request *r, bool told)
{
    uint8_t bit = (uint8_t)(1U << (r - f->requests));
    for (unsigned i = 0; i < r->ask.n_ranges && f->by; i++)
        for (uint32_t c = r->ask.ranges[i].first; c - r->ask.ranges[i].first < r->ask.ranges[i].n && c < f->chunks; c++) {
            f->by[c] &= (uint8_t)~bit;
            if (!f->got[c] && c < f->next)
                f->next = c;
        }
    r->used = false;
    if (!told)
        if_push(f, IMAGE_FX_CANCEL)->request = r->id;
}

void if_drop_all(struct image_fetch *f, const struct source *of)
{
    for (unsigned i = 0; i < IMAGE_REQUESTS; i++)
        if (f->requests[i].used && (!of || &f->sources[f->requests[i].source] == of))
            if_drop(f, &f->requests[i], false);
}

static struct request *begin(struct image_fetch *f, vi_time now, struct source *s)
{
    if (!if_asked(f, s)) { /* it did nothing until now */
        s->since = now;
        s->lately = 0;
    }
    for (unsigned i = 0; i < IMAGE_REQUESTS; i++) {
        struct request *r = &f->requests[i];
        if (r->used)
            continue;
        memset(r, 0, sizeof *r);
        r->used = true;
        r->id = ++f->next_request;
        r->source = (unsigned)(s - f->sources);
        r->asked = r->moved = now;
        memcpy(r->ask.hash, f->hash, IMAGE_HASH);
        return r;
    }
    return NULL;
}

static void send(struct image_fetch *f, const struct request *r)
{
    struct image_effect *fx = if_push(f, IMAGE_FX_ASK);
    fx->request = r->id;
    fx->peer = f->sources[r->source].id;
    fx->ask = r->ask;
}

/* ---- whom ---- */

bool if_usable(const struct image_fetch *f, const struct source *s)
{
    return s->used && !s->gone && !s->distrusted && !memcmp(s->found.manifest, f->manifest_hash, IMAGE_HASH);
}

static bool own_domain_has_one(const struct image_fetch *f)
{
    for (unsigned i = 0; i < IMAGE_SOURCES; i++)
        if (if_usable(f, &f->sources[i]) && f->sources[i].rank < IMAGE_FOREIGN)
            return true;
    return false;
}

static unsigned active(const struct image_fetch *f)
{
    unsigned n = 0;
    for (unsigned i = 0; i < IMAGE_SOURCES; i++)
        n += f->sources[i].used && if_asked(f, &f->sources[i]) > 0;
    return n;
}

static bool before(const struct image_fetch *f, const struct source *a, const struct source *b)
{
    unsigned an = if_asked(f, a), bn = if_asked(f, b);
    if (an != bn)
        return an < bn; /* whoever has nothing to do */
    if (a->rank != b->rank)
        return a->rank < b->rank;
    return a->rtt < b->rtt;
}

/* The best that may be asked now and has less than `most` to do; NULL: none. */
static struct source *choose(struct image_fetch *f, vi_time now, unsigned most)
{
    bool own = own_domain_has_one(f), full = active(f) >= IMAGE_ACTIVE;
    struct source *best = NULL;
    for (unsigned i = 0; i < IMAGE_SOURCES; i++) {
        struct source *s = &f->sources[i];
        unsigned n;
        if (!if_usable(f, s) || s->not_before > now || (own && s->rank >= IMAGE_FOREIGN))
            continue;
        n = if_asked(f, s);
        if (n >= most || (n == 0 && full))
            continue;
        if (!best || before(f, s, best))
            best = s;
    }
    return best;
}

void if_ask_manifest(struct image_fetch *f, vi_time now)
{
    struct source *s;
    struct request *r;
    if (if_any_request(f))
        return; /* one at a time */
    s = choose(f, now, 1);
    r = s ? begin(f, now, s) : NULL;
    if (!r)
        return;
    r->ask.manifest = true;
    send(f, r);
}

/* ---- what ---- */

static uint32_t batch_of(const struct source *s)
{
    double n = s->rate > 0 ? s->rate / IMAGE_CHUNK : FIRST_BATCH;
    return n < IMAGE_BATCH_MIN ? IMAGE_BATCH_MIN : n > IMAGE_BATCH_MAX ? IMAGE_BATCH_MAX : (uint32_t)n;
}

/* false: no more ranges fit. */
static bool add_chunk(struct image_fetch *f, struct request *r, uint32_t chunk)
{
    struct image_range *last = r->ask.n_ranges ? &r->ask.ranges[r->ask.n_ranges - 1] : NULL;
    if (last && last->first + last->n == chunk)
        last->n++;
    else if (r->ask.n_ranges == IMAGE_RANGES)
        return false;
    else
        r->ask.ranges[r->ask.n_ranges++] = (struct image_range){chunk, 1};
    f->by[chunk] |= (uint8_t)(1U << (r - f->requests));
    r->left++;
    return true;
}

/* The first that are missing and nobody was asked for. */
static void add_missing(struct image_fetch *f, struct request *r, uint32_t most)
{
    uint32_t c = f->next;
    while (c < f->chunks && (f->got[c] || f->by[c]))
        c++;
    f->next = c;
    for (; c < f->chunks && r->left < most; c++)
        if (!f->got[c] && !f->by[c] && !add_chunk(f, r, c))
            return;
}

/* How long a request will still take, in seconds, as far as one can say. */
static double takes(const struct image_fetch *f, const struct request *r)
{
    double rate = f->sources[r->source].rate;
    return (double)r->left * IMAGE_CHUNK / (rate > 1 ? rate : 1);
}

/* Chunks that only this request carries, the last IMAGE_BATCH_MAX of them: how many. */
static uint32_t helpless(const struct image_fetch *f, const struct request *r, uint32_t out[IMAGE_BATCH_MAX])
{
    uint32_t n = 0;
    for (unsigned i = 0; i < r->ask.n_ranges; i++)
        for (uint32_t k = 0; k < r->ask.ranges[i].n; k++) {
            uint32_t c = r->ask.ranges[i].first + k;
            if (!f->got[c] && f->by[c] == 1U << (r - f->requests) && n < IMAGE_BATCH_MAX)
                out[n++] = c;
        }
    return n;
}

/* Of a request that takes much longer than s would, the last half: that its source will come to last. */
static void add_slow(struct image_fetch *f, vi_time now, struct request *r, const struct source *s)
{
    uint32_t chunks[IMAGE_BATCH_MAX], n;
    const struct request *slow = NULL;
    for (unsigned i = 0; i < IMAGE_REQUESTS; i++) {
        const struct request *o = &f->requests[i];
        if (o->used && o != r && o->source != r->source && now - o->asked >= SLOW && helpless(f, o, chunks) &&
            (!slow || takes(f, o) > takes(f, slow)))
            slow = o;
    }
    n = slow ? helpless(f, slow, chunks) : 0;
    if (!n || (s->rate > 0 && takes(f, slow) < 2 * (double)n * IMAGE_CHUNK / s->rate))
        return;
    for (uint32_t k = n / 2; k < n; k++)
        if (!add_chunk(f, r, chunks[k]))
            return;
}

bool if_useless(const struct image_fetch *f, const struct request *r)
{
    uint8_t bit = (uint8_t)(1U << (r - f->requests));
    if (r->ask.manifest)
        return false;
    for (unsigned i = 0; i < r->ask.n_ranges; i++)
        for (uint32_t k = 0; k < r->ask.ranges[i].n; k++)
            if (f->by[r->ask.ranges[i].first + k] & bit && !f->got[r->ask.ranges[i].first + k])
                return false;
    return r->left > 0;
}

void if_assign(struct image_fetch *f, vi_time now)
{
    struct source *s;
    for (unsigned turns = 0; turns < IMAGE_REQUESTS; turns++) {
        struct request *r;
        s = choose(f, now, 2);
        r = s ? begin(f, now, s) : NULL;
        if (!r)
            return;
        add_missing(f, r, batch_of(s));
        if (r->left == 0 && if_asked(f, s) == 1)
            add_slow(f, now, r, s);
        if (r->left == 0) {
            r->used = false;
            return;
        }
        send(f, r);
    }
}
