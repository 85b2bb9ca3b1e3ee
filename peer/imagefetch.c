/* Fetching an image: its states, and whom to believe. See imagefetch.h. */
#include "peer/imagefetch_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

#define RATE_OVER  (300 * VI_MSEC)
#define LOOK_FIRST (2 * VI_SEC)
#define LOOK_MOST  (60 * VI_SEC)
#define LOOK_MORE  (30 * VI_SEC) /* while it goes on, for more sources */
#define BACK_OFF   (1 * VI_SEC)
#define BACK_MOST  5 /* doublings; so many failures in a row: taken for gone */

const char *image_state_text(enum image_state s)
{
    static const char *const text[] = {[IMAGE_LOOKING] = "looking", [IMAGE_MANIFEST] = "manifest", [IMAGE_ROOM] = "room",
                                       [IMAGE_OPENING] = "opening", [IMAGE_FETCHING] = "fetching",
                                       [IMAGE_CHECKING] = "checking", [IMAGE_DONE] = "done", [IMAGE_FAILED] = "failed"};
    return s >= IMAGE_LOOKING && s <= IMAGE_FAILED ? text[s] : "?";
}

static bool is_over(const struct image_fetch *f)
{
    return f->state == IMAGE_DONE || f->state == IMAGE_FAILED;
}

/* ---- effects ---- */

/* A full queue can't be: each step pushes at most a cancel and an ask for each request, a distrust for each source, and
 * few others, and its owner empties it after each step. */
struct image_effect *if_push(struct image_fetch *f, enum image_effect_kind kind)
{
    struct image_effect *fx;
    if (f->fx_at == f->fx_n)
        f->fx_at = f->fx_n = 0;
    if (f->fx_n == EFFECTS) {
        memmove(f->effects, f->effects + f->fx_at, (EFFECTS - f->fx_at) * sizeof f->effects[0]);
        f->fx_n -= f->fx_at;
        f->fx_at = 0;
    }
    if (f->fx_n == EFFECTS)
        f->fx_n--;
    fx = &f->effects[f->fx_n++];
    memset(fx, 0, sizeof *fx);
    fx->kind = kind;
    return fx;
}

const struct image_effect *image_fetch_effect(struct image_fetch *f)
{
    return f->fx_at < f->fx_n ? &f->effects[f->fx_at++] : NULL;
}

/* ---- states ---- */

static void drop_manifest(struct image_fetch *f)
{
    free(f->manifest);
    free(f->got);
    free(f->by);
    f->manifest = f->got = f->by = NULL;
    f->chunks = f->have = f->next = 0;
}

void if_over(struct image_fetch *f, int err, const char *why)
{
    struct image_effect *fx;
    if_drop_all(f, NULL);
    f->state = err ? IMAGE_FAILED : IMAGE_DONE;
    snprintf(f->why, sizeof f->why, "%s", why);
    fx = if_push(f, IMAGE_FX_OVER);
    fx->err = err;
    snprintf(fx->why, sizeof fx->why, "%s", why);
}

static void look(struct image_fetch *f, vi_time now)
{
    vi_time wait = LOOK_FIRST << (f->looks < 5 ? f->looks : 5);
    f->looking = true;
    f->next_look = now + (wait < LOOK_MOST ? wait : LOOK_MOST);
    (void)if_push(f, IMAGE_FX_LOOK);
}

static void begin_looking(struct image_fetch *f, vi_time now)
{
    f->state = IMAGE_LOOKING;
    if (!f->looking && now >= f->next_look)
        look(f, now);
}

struct image_fetch *image_fetch_new(const uint8_t hash[IMAGE_HASH], struct vi_rng *rng, vi_time now)
{
    struct image_fetch *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    memcpy(f->hash, hash, IMAGE_HASH);
    f->rng = rng;
    f->began = f->progress = now;
    f->next_look = now;
    begin_looking(f, now);
    return f;
}

void image_fetch_free(struct image_fetch *f)
{
    if (!f)
        return;
    drop_manifest(f);
    free(f);
}

/* ---- sources ---- */

static struct source *find_source(struct image_fetch *f, const struct vi_id *peer)
{
    for (unsigned i = 0; i < IMAGE_SOURCES; i++)
        if (f->sources[i].used && vi_id_equal(&f->sources[i].id, peer))
            return &f->sources[i];
    return NULL;
}

void if_distrust(struct image_fetch *f, struct source *s, const char *why)
{
    struct image_effect *fx;
    if (s->distrusted)
        return;
    s->distrusted = true;
    if_drop_all(f, s);
    fx = if_push(f, IMAGE_FX_DISTRUST);
    fx->peer = s->id;
    snprintf(fx->why, sizeof fx->why, "%s", why);
}

/* A place for one more: a free one, or that of one that is gone and gave nothing. Who is distrusted keeps his, so that
 * he isn't asked again when he says the same again. */
static struct source *place(struct image_fetch *f)
{
    for (unsigned i = 0; i < IMAGE_SOURCES; i++)
        if (!f->sources[i].used)
            return &f->sources[i];
    for (unsigned i = 0; i < IMAGE_SOURCES; i++)
        if (f->sources[i].gone && !f->sources[i].bytes && !f->sources[i].distrusted && !if_asked(f, &f->sources[i]))
            return &f->sources[i];
    return NULL;
}

static bool known_wrong(const struct image_fetch *f, const uint8_t manifest[IMAGE_HASH])
{
    for (unsigned i = 0; i < f->n_wrong; i++)
        if (!memcmp(f->wrong[i], manifest, IMAGE_HASH))
            return true;
    return false;
}

static void take_source(struct image_fetch *f, const struct image_event *ev)
{
    struct source *s = find_source(f, &ev->peer);
    if (memcmp(ev->found->hash, f->hash, IMAGE_HASH) || ev->found->size == 0 || ev->found->size > IMAGE_SIZE_MAX)
        return;
    if (!s) {
        s = place(f);
        if (!s)
            return;
        memset(s, 0, sizeof *s);
        s->used = true;
        s->id = ev->peer;
    }
    if (s->distrusted)
        return;
    if (memcmp(s->found.manifest, ev->found->manifest, IMAGE_HASH) || s->gone)
        s->failures = 0;
    s->gone = false;
    s->found = *ev->found;
    s->rank = ev->rank;
    s->rtt = ev->rtt;
    if (known_wrong(f, s->found.manifest))
        if_distrust(f, s, "it states a list of chunks that doesn't make this image");
}

static unsigned votes(const struct image_fetch *f, const uint8_t manifest[IMAGE_HASH])
{
    unsigned n = 0;
    for (unsigned i = 0; i < IMAGE_SOURCES; i++)
        n += f->sources[i].used && !f->sources[i].gone && !f->sources[i].distrusted &&
             !memcmp(f->sources[i].found.manifest, manifest, IMAGE_HASH);
    return n;
}

/* The manifest that most state; among equals, of the nearest. false: there is no source. */
static bool choose_manifest(struct image_fetch *f)
{
    const struct source *best = NULL;
    unsigned most = 0;
    for (unsigned i = 0; i < IMAGE_SOURCES; i++) {
        const struct source *s = &f->sources[i];
        unsigned n;
        if (!s->used || s->gone || s->distrusted)
            continue;
        n = votes(f, s->found.manifest);
        if (!best || n > most || (n == most && s->rank < best->rank)) {
            best = s;
            most = n;
        }
    }
    if (!best)
        return false;
    memcpy(f->manifest_hash, best->found.manifest, IMAGE_HASH);
    f->size = best->found.size;
    return true;
}

/* Does anybody state one that isn't known to be wrong? What is here stays, as far as it is right under that, too. */
static bool another_manifest(const struct image_fetch *f)
{
    for (unsigned i = 0; i < IMAGE_SOURCES; i++)
        if (f->sources[i].used && !f->sources[i].gone && !f->sources[i].distrusted)
            return true;
    return false;
}

static bool any_usable(const struct image_fetch *f)
{
    for (unsigned i = 0; i < IMAGE_SOURCES; i++)
        if (if_usable(f, &f->sources[i]))
            return true;
    return false;
}

/* ---- the manifest ---- */

static void begin_manifest(struct image_fetch *f, vi_time now)
{
    if (!choose_manifest(f)) {
        begin_looking(f, now);
        return;
    }
    f->looks = 0;
    f->state = IMAGE_MANIFEST;
    if_ask_manifest(f, now);
}

static void take_manifest(struct image_fetch *f, vi_time now, const struct image_event *ev)
{
    struct request *r = if_request(f, ev->request);
    struct source *s;
    uint8_t hash[IMAGE_HASH];
    uint64_t size;
    if (f->state != IMAGE_MANIFEST || !r)
        return;
    s = &f->sources[r->source];
    image_hash(ev->data, ev->len, hash);
    if (memcmp(hash, f->manifest_hash, IMAGE_HASH) || image_manifest_check(ev->data, ev->len, &size) || size != s->found.size) {
        if_distrust(f, s, "the list of chunks that it sent isn't the one that it stated");
        begin_manifest(f, now);
        return;
    }
    if_drop(f, r, false);
    drop_manifest(f);
    f->size = size;
    f->chunks = image_chunks(size);
    f->manifest = malloc(ev->len);
    f->got = calloc(f->chunks, 1);
    f->by = calloc(f->chunks, 1);
    if (!f->manifest || !f->got || !f->by) {
        if_over(f, VI_ENOMEM, "out of memory");
        return;
    }
    memcpy(f->manifest, ev->data, ev->len);
    f->manifest_len = ev->len;
    f->state = IMAGE_ROOM;
    if_push(f, IMAGE_FX_ROOM)->size = size;
}

/* Everybody who stated it is distrusted: alone or together they made it up. */
static void manifest_was_wrong(struct image_fetch *f, vi_time now)
{
    if_drop_all(f, NULL);
    if (f->n_wrong < IMAGE_MANIFESTS)
        memcpy(f->wrong[f->n_wrong++], f->manifest_hash, IMAGE_HASH);
    for (unsigned i = 0; i < IMAGE_SOURCES; i++) {
        struct source *s = &f->sources[i];
        if (s->used && !memcmp(s->found.manifest, f->manifest_hash, IMAGE_HASH))
            if_distrust(f, s, "the list of chunks that it stated doesn't make this image");
    }
    drop_manifest(f);
    if (f->n_wrong == IMAGE_MANIFESTS)
        if_over(f, VI_EAUTH, "what the others have isn't this image");
    else
        begin_manifest(f, now);
}

/* ---- chunks ---- */

static void take_kept(struct image_fetch *f, vi_time now, const struct image_event *ev)
{
    if (f->state != IMAGE_OPENING)
        return;
    if (ev->err) {
        if_over(f, ev->err, ev->why ? ev->why : vi_strerror(ev->err));
        return;
    }
    for (uint32_t i = 0; i < f->chunks; i++)
        if (ev->kept[i] && !f->got[i]) {
            f->got[i] = 1;
            f->have++;
        }
    f->kept = f->have;
    f->state = IMAGE_FETCHING;
    f->progress = now;
}

/* Chunks come in the order in which they were asked for: what is left of a request follows from which came. */
static bool came(struct image_fetch *f, struct request *r, uint32_t chunk)
{
    for (unsigned i = 0; i < r->ask.n_ranges; i++)
        if (chunk - r->ask.ranges[i].first < r->ask.ranges[i].n) {
            uint8_t bit = (uint8_t)(1U << (r - f->requests));
            if (!(f->by[chunk] & bit))
                return false;
            f->by[chunk] &= (uint8_t)~bit;
            r->left--;
            return true;
        }
    return false;
}

/* Chunks come in bunches: only what came in a while tells a rate. */
static void measure(struct source *s, vi_time now, uint32_t len)
{
    double rate;
    s->lately += len;
    if (now - s->since < RATE_OVER)
        return;
    rate = (double)s->lately * 1e6 / (double)(now - s->since);
    s->rate = s->rate > 0 ? 0.5 * s->rate + 0.5 * rate : rate;
    s->since = now;
    s->lately = 0;
}

static void good_chunk(struct image_fetch *f, vi_time now, struct source *s, struct request *r, uint32_t chunk)
{
    uint32_t len = image_chunk_len(f->size, chunk);
    measure(s, now, len);
    r->moved = now;
    s->failures = 0;
    if (f->got[chunk]) {
        f->twice += len;
        return;
    }
    s->bytes += len;
    f->got[chunk] = 1;
    f->have++;
    f->bytes += len;
    f->progress = now;
}

static void take_chunk(struct image_fetch *f, vi_time now, const struct image_event *ev)
{
    struct request *r = if_request(f, ev->request);
    struct source *s = r ? &f->sources[r->source] : NULL;
    if (f->state != IMAGE_FETCHING || ev->chunk >= f->chunks)
        return;
    if (ev->err && ev->err != VI_EAUTH && ev->err != VI_ENOTFOUND) {
        if_over(f, ev->err, ev->why ? ev->why : vi_strerror(ev->err));
        return;
    }
    if (!r || !came(f, r, ev->chunk))
        return; /* perhaps of another manifest */
    if (ev->err == 0)
        good_chunk(f, now, s, r, ev->chunk);
    else if (ev->err == VI_EAUTH) {
        s->bad++;
        if_distrust(f, s, "a chunk that it sent is wrong");
    } else { /* it said that it has all of it */
        s->gone = true;
        if_drop_all(f, s);
    }
}

static void request_ended(struct image_fetch *f, vi_time now, struct request *r, int err)
{
    struct source *s = &f->sources[r->source];
    bool unfinished = r->left > 0 || r->ask.manifest;
    if_drop(f, r, true);
    if (!unfinished)
        return;
    if (err == VI_EFULL) { /* busy: others are served first */
        s->not_before = now + BACK_OFF + (vi_time)vi_rng_below(f->rng, (uint32_t)BACK_OFF);
        return;
    }
    if (err == VI_ENOTFOUND || err == VI_EREFUSED || err == VI_EAUTH)
        s->gone = true;
    s->not_before = now + (BACK_OFF << (s->failures < BACK_MOST ? s->failures : BACK_MOST));
    if (++s->failures > BACK_MOST)
        s->gone = true;
}

/* Requests from which nothing comes, or nothing that is wanted. */
static void give_up(struct image_fetch *f, vi_time now)
{
    for (unsigned i = 0; i < IMAGE_REQUESTS; i++) {
        struct request *r = &f->requests[i];
        if (r->used && if_useless(f, r))
            if_drop(f, r, false);
        if (!r->used || now - r->moved < IMAGE_SILENCE)
            continue;
        if_push(f, IMAGE_FX_CANCEL)->request = r->id;
        request_ended(f, now, r, VI_ETIMEDOUT);
    }
}

/* ---- going on ---- */

static void go_looking(struct image_fetch *f, vi_time now)
{
    if (f->looking || now < f->next_look)
        return;
    if (f->looks >= IMAGE_LOOKS && f->bytes == 0 && f->n_wrong == 0 && f->progress == f->began)
        if_over(f, VI_ENOTFOUND, "no host that could be asked has it");
    else
        look(f, now);
}

/* Whatever the event was: what follows from how things are now. */
static void go_on(struct image_fetch *f, vi_time now)
{
    if (!is_over(f) && now - f->progress >= IMAGE_GIVE_UP && f->state < IMAGE_CHECKING)
        if_over(f, VI_ETIMEDOUT, "nothing came for ten minutes");
    if (f->state == IMAGE_LOOKING && !f->looking && choose_manifest(f))
        begin_manifest(f, now);
    if (f->state == IMAGE_LOOKING)
        go_looking(f, now);
    if (f->state != IMAGE_MANIFEST && f->state != IMAGE_FETCHING)
        return;
    give_up(f, now);
    if (f->state == IMAGE_FETCHING && f->have == f->chunks) {
        if_drop_all(f, NULL);
        f->state = IMAGE_CHECKING;
        (void)if_push(f, IMAGE_FX_CHECK);
        return;
    }
    if (!any_usable(f) && !if_any_request(f) && (f->state == IMAGE_MANIFEST || another_manifest(f))) {
        drop_manifest(f);
        begin_manifest(f, now); /* another one, or looking again */
        return;
    }
    if (f->state == IMAGE_MANIFEST)
        if_ask_manifest(f, now);
    else
        if_assign(f, now);
    if (!f->looking && now >= f->next_look) {
        look(f, now);
        if (any_usable(f))
            f->next_look = now + LOOK_MORE;
    }
}

static void take_whole(struct image_fetch *f, vi_time now, const struct image_event *ev)
{
    if (f->state != IMAGE_CHECKING)
        return;
    if (ev->err == VI_EAUTH)
        manifest_was_wrong(f, now);
    else
        if_over(f, ev->err, ev->err ? (ev->why ? ev->why : vi_strerror(ev->err)) : "");
}

static void take_room(struct image_fetch *f, const struct image_event *ev)
{
    if (f->state != IMAGE_ROOM)
        return;
    if (ev->err) {
        if_over(f, ev->err, ev->why ? ev->why : vi_strerror(ev->err));
        return;
    }
    f->state = IMAGE_OPENING;
    (void)if_push(f, IMAGE_FX_OPEN);
}

static void take_event(struct image_fetch *f, vi_time now, const struct image_event *ev)
{
    struct request *r;
    struct source *s;
    switch (ev->kind) {
    case IMAGE_EV_TICK: break;
    case IMAGE_EV_SOURCE: take_source(f, ev); break;
    case IMAGE_EV_LOOKED:
        f->looking = false;
        f->looks++;
        break;
    case IMAGE_EV_MANIFEST: take_manifest(f, now, ev); break;
    case IMAGE_EV_ROOM: take_room(f, ev); break;
    case IMAGE_EV_KEPT: take_kept(f, now, ev); break;
    case IMAGE_EV_CHUNK: take_chunk(f, now, ev); break;
    case IMAGE_EV_ENDED:
        r = if_request(f, ev->request);
        if (r)
            request_ended(f, now, r, ev->err);
        break;
    case IMAGE_EV_GONE:
        s = find_source(f, &ev->peer);
        if (s) {
            s->gone = true;
            if_drop_all(f, s);
        }
        break;
    case IMAGE_EV_WHOLE: take_whole(f, now, ev); break;
    case IMAGE_EV_CANCEL: if_over(f, VI_ECANCELED, ev->why ? ev->why : "given up"); break;
    }
}

void image_fetch_step(struct image_fetch *f, vi_time now, const struct image_event *ev)
{
    if (is_over(f))
        return;
    f->stepped = now;
    take_event(f, now, ev);
    if (!is_over(f))
        go_on(f, now);
}

/* Who has nothing to do may be asked when his time comes, or help somebody who turns out to be slow. */
static vi_time idle_deadline(const struct image_fetch *f)
{
    vi_time t = VI_NEVER;
    for (unsigned i = 0; i < IMAGE_SOURCES; i++) {
        const struct source *s = &f->sources[i];
        vi_time at = s->not_before > f->stepped ? s->not_before : f->stepped + VI_SEC;
        if (if_usable(f, s) && !if_asked(f, s) && at < t)
            t = at;
    }
    return t;
}

vi_time image_fetch_deadline(const struct image_fetch *f)
{
    vi_time t = f->progress + IMAGE_GIVE_UP;
    if (is_over(f) || f->state == IMAGE_CHECKING)
        return VI_NEVER;
    if (!f->looking && f->next_look < t && f->state != IMAGE_ROOM && f->state != IMAGE_OPENING)
        t = f->next_look;
    for (unsigned i = 0; i < IMAGE_REQUESTS; i++)
        if (f->requests[i].used && f->requests[i].moved + IMAGE_SILENCE < t)
            t = f->requests[i].moved + IMAGE_SILENCE;
    if ((f->state == IMAGE_FETCHING || f->state == IMAGE_MANIFEST) && idle_deadline(f) < t)
        t = idle_deadline(f);
    return t;
}

/* ---- queries ---- */

const uint8_t *image_fetch_manifest(const struct image_fetch *f)
{
    return f->manifest;
}

bool image_fetch_wants(const struct image_fetch *f, uint32_t request, uint32_t chunk)
{
    for (unsigned i = 0; i < IMAGE_REQUESTS; i++)
        if (f->requests[i].used && f->requests[i].id == request)
            return f->state == IMAGE_FETCHING && chunk < f->chunks && !f->got[chunk];
    return false;
}

void image_fetch_look(const struct image_fetch *f, struct image_fetch_view *out)
{
    memset(out, 0, sizeof *out);
    out->state = f->state;
    memcpy(out->hash, f->hash, IMAGE_HASH);
    out->size = f->size;
    out->chunks = f->chunks;
    out->have = f->have;
    out->kept = f->kept;
    out->bytes = f->bytes;
    out->twice = f->twice;
    out->manifests = f->n_wrong;
    out->began = f->began;
    snprintf(out->why, sizeof out->why, "%s", f->why);
}

bool image_fetch_source(const struct image_fetch *f, unsigned i, struct image_source_view *out)
{
    const struct source *s = i < IMAGE_SOURCES ? &f->sources[i] : NULL;
    if (!s || !s->used)
        return false;
    *out = (struct image_source_view){.peer = s->id, .rank = s->rank, .asked = if_asked(f, s), .distrusted = s->distrusted,
                                      .gone = s->gone, .bytes = s->bytes, .bad = s->bad, .rate = s->rate};
    return true;
}
