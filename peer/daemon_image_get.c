/* The daemon and images: what comes. The core (peer/imagefetch.h) decides; its requests, streams and work on the disk are
 * done here. See daemon_image.h.
 *
 * A chunk's way: source → bulk stream → socket pair → coming.buf → (worker) tested, written → CHUNK to the core. While
 * JOBS_MOST chunks of a stream wait for the disk nothing more of it is read: back pressure to the source.
 * Failures: the question is refused, no stream comes, it ends early or isn't what was asked for: ENDED; the disk: CHUNK
 * with its error, which ends the whole. A stream that isn't wanted any more is closed on our side. */
#include "peer/daemon_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"

#define JOBS_MOST 3

static void pump(struct fetching *f);

/* ---- manifests that workers read in ---- */

static void list_release(struct image_list *l)
{
    if (l && --l->refs == 0)
        free(l);
}

static bool list_renew(struct fetching *f, uint64_t size)
{
    size_t len = image_manifest_len(size);
    struct image_list *l = malloc(sizeof *l + len);
    if (!l)
        return false;
    l->refs = 1;
    l->len = len;
    memcpy(l->bytes, image_fetch_manifest(f->core), len);
    list_release(f->list);
    f->list = l;
    return true;
}

/* ---- work on the disk ---- */

enum work { WORK_ROOM, WORK_REMOVE, WORK_OPEN, WORK_CHUNK, WORK_FINISH, WORK_DISCARD };

struct job {
    uv_work_t req;
    enum work what;
    struct fetching *f;
    struct coming *c; /* WORK_CHUNK */
    struct image_list *list;
    char folder[CONFIG_TEXT];
    uint8_t hash[IMAGE_HASH];
    int fd, err;
    char why[IMAGE_WHY];
    uint32_t chunk;
    uint8_t *data; /* of a chunk; or what is kept */
    size_t len;
    uint64_t size, used, available;
    unsigned n_remove;
    uint8_t remove[IMAGE_FILES_MAX][IMAGE_HASH];
    struct image_file file;
};

static void on_work(uv_work_t *req)
{
    struct job *j = req->data;
    switch (j->what) {
    case WORK_ROOM:
        j->used = image_store_used(j->folder, j->hash);
        j->err = image_store_free(j->folder, &j->available);
        break;
    case WORK_REMOVE:
        for (unsigned i = 0; i < j->n_remove; i++)
            (void)image_store_remove(j->folder, j->remove[i]);
        break;
    case WORK_OPEN:
        j->fd = image_part_open(j->folder, j->hash, j->list->bytes, j->list->len, j->data, j->why, sizeof j->why);
        break;
    case WORK_CHUNK:
        j->err = image_part_put(j->fd, j->list->bytes, j->chunk, j->data, j->len, j->why, sizeof j->why);
        break;
    case WORK_DISCARD: image_part_remove(j->folder, j->hash); break;
    case WORK_FINISH:
        j->err = image_part_finish(j->folder, j->hash, j->fd, j->size, &j->file, j->why, sizeof j->why);
        break;
    }
}

static void on_worked(uv_work_t *req, int status);

static struct job *job_new(struct fetching *f, enum work what)
{
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->req.data = j;
    j->what = what;
    j->f = f;
    j->fd = f->fd;
    snprintf(j->folder, sizeof j->folder, "%s", f->d->cfg.image_cache);
    memcpy(j->hash, f->hash, IMAGE_HASH);
    if (f->list) {
        j->list = f->list;
        j->list->refs++;
    }
    return j;
}

static void job_free(struct job *j)
{
    list_release(j->list);
    free(j->data);
    free(j);
}

static bool job_start(struct job *j)
{
    if (uv_queue_work(&j->f->d->loop, &j->req, on_work, on_worked)) {
        job_free(j);
        return false;
    }
    j->f->jobs++;
    j->f->d->images->jobs++;
    return true;
}

static void fail(struct fetching *f, const char *why)
{
    struct image_event ev = {.kind = IMAGE_EV_CANCEL, .why = why};
    image_get_step(f, &ev);
}

static void room_known(struct job *j)
{
    struct fetching *f = j->f;
    struct image_event ev = {.kind = IMAGE_EV_ROOM, .err = j->err, .why = j->err ? "the disk's free space isn't known" : j->why};
    struct job *r = job_new(f, WORK_REMOVE);
    uint64_t more = image_to_come(f->d, f->hash), free_then = j->available > more ? j->available - more : 0;
    if (r && !ev.err)
        ev.err = image_make_room(f->d, j->size, j->used + more, free_then, r->remove, &r->n_remove, j->why, sizeof j->why);
    else if (!r)
        ev.err = VI_ENOMEM;
    if (ev.err || r->n_remove == 0) {
        if (r)
            job_free(r);
        image_get_step(f, &ev);
        return;
    }
    for (unsigned i = 0; i < r->n_remove; i++) {
        struct image_file *old = image_here(f->d, r->remove[i]);
        if (!old)
            continue;
        daemon_event_done(f->d, daemon_event(f->d, "image", old->name, "image %s is removed to make room", old->name[0] ? old->name : "without a name"));
        image_forget(f->d, old);
    }
    if (!job_start(r))
        fail(f, "out of memory");
}

static void part_opened(struct job *j)
{
    struct fetching *f = j->f;
    struct image_event ev = {.kind = IMAGE_EV_KEPT, .kept = j->data, .err = j->fd < 0 ? j->fd : 0, .why = j->why};
    if (j->fd >= 0) {
        if (f->fd >= 0)
            close(f->fd);
        f->fd = j->fd;
    }
    image_get_step(f, &ev);
}

/* A name says which image here; one that came by it and isn't the one of that name here goes without. */
static bool name_is_free(const struct daemon *d, const char *name)
{
    for (unsigned i = 0; i < d->images->n; i++)
        if (!strcmp(d->images->files[i].name, name))
            return false;
    return true;
}

static void finished(struct job *j)
{
    struct image_event ev = {.kind = IMAGE_EV_WHOLE, .err = j->err, .why = j->why};
    if (!j->err) {
        snprintf(j->file.name, sizeof j->file.name, "%s", name_is_free(j->f->d, j->f->name) ? j->f->name : "");
        image_keep(j->f->d, &j->file);
    }
    image_get_step(j->f, &ev);
}

static void coming_release(struct coming *c);
static void read_on(struct coming *c);
static void maybe_ended(struct coming *c);

static void chunk_written(struct job *j)
{
    struct coming *c = j->c;
    struct image_event ev = {.kind = IMAGE_EV_CHUNK, .request = c->request, .chunk = j->chunk, .err = j->err, .why = j->why};
    c->jobs--;
    if (!c->ended)
        image_get_step(j->f, &ev);
    read_on(c);
    maybe_ended(c);
    coming_release(c);
}

static void on_worked(uv_work_t *req, int status)
{
    struct job *j = req->data;
    struct fetching *f = j->f;
    struct image_event room = {.kind = IMAGE_EV_ROOM};
    (void)status;
    f->jobs--;
    f->d->images->jobs--;
    switch (j->what) {
    case WORK_ROOM: room_known(j); break;
    case WORK_REMOVE: image_get_step(f, &room); break;
    case WORK_OPEN: part_opened(j); break;
    case WORK_CHUNK: chunk_written(j); break;
    case WORK_FINISH: finished(j); break;
    case WORK_DISCARD: break;
    }
    job_free(j);
    pump(f);
}

/* ---- streams ---- */

static void coming_release(struct coming *c)
{
    if (--c->refs)
        return;
    LIST_REMOVE(c, link);
    free(c->buf);
    free(c);
}

static void on_pipe_closed(uv_handle_t *h)
{
    coming_release(h->data);
}

static void close_pipe(struct coming *c)
{
    if (c->piped && !uv_is_closing((uv_handle_t *)&c->pipe))
        uv_close((uv_handle_t *)&c->pipe, on_pipe_closed);
}

/* Nothing of it is wanted any more. Whoever calls it has a hold of his own on c. */
static void forget(struct coming *c)
{
    if (c->ended)
        return;
    c->ended = true;
    close_pipe(c);
    coming_release(c);
}

/* The request is over: the core is told, unless it isn't wanted any more. */
static void ended(struct coming *c, int err)
{
    struct image_event ev = {.kind = IMAGE_EV_ENDED, .request = c->request, .err = err};
    if (c->ended)
        return;
    forget(c);
    image_get_step(c->f, &ev);
}

static void maybe_ended(struct coming *c)
{
    if (c->eof && c->jobs == 0 && !c->ended)
        ended(c, image_items_complete(&c->items) ? 0 : VI_EIO);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    static char bytes[65536]; /* one loop: used up before the next read */
    (void)h;
    (void)suggested;
    *buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);

static void read_on(struct coming *c)
{
    bool want = c->piped && !c->eof && !c->ended && c->jobs < JOBS_MOST && !uv_is_closing((uv_handle_t *)&c->pipe);
    if (want == c->reading)
        return;
    c->reading = want;
    if (want)
        uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
    else if (c->piped && !uv_is_closing((uv_handle_t *)&c->pipe))
        uv_read_stop((uv_stream_t *)&c->pipe);
}

static void told_chunk(struct coming *c, uint32_t chunk, int err)
{
    struct image_event ev = {.kind = IMAGE_EV_CHUNK, .request = c->request, .chunk = chunk, .err = err};
    image_get_step(c->f, &ev);
}

static void write_chunk(struct coming *c)
{
    struct job *j;
    uint32_t chunk = c->items.what;
    if (!image_fetch_wants(c->f->core, c->request, chunk)) { /* it came from another meanwhile */
        told_chunk(c, chunk, 0);
        return;
    }
    j = job_new(c->f, WORK_CHUNK);
    if (!j) {
        fail(c->f, "out of memory");
        return;
    }
    j->c = c;
    j->chunk = chunk;
    j->data = c->buf;
    j->len = c->items.len;
    c->buf = NULL;
    c->refs++;
    c->jobs++;
    if (!job_start(j)) {
        c->refs--;
        c->jobs--;
        fail(c->f, "out of memory");
    }
}

static void item_came(struct coming *c)
{
    struct image_event ev = {.kind = IMAGE_EV_MANIFEST, .request = c->request, .data = c->buf, .len = c->items.len};
    if (!c->items.ask.manifest)
        write_chunk(c);
    else if (c->items.len)
        image_get_step(c->f, &ev);
    else
        ended(c, VI_ENOTFOUND);
}

/* false: nothing more of this stream is wanted. */
static bool take(struct coming *c, enum image_items_step step, const uint8_t *bytes, size_t n)
{
    struct image_items *s = &c->items;
    if (step == IMAGE_ITEMS_BAD) {
        ended(c, VI_EAUTH);
    } else if (step == IMAGE_ITEMS_HEAD && s->len == 0) {
        if (s->ask.manifest)
            ended(c, VI_ENOTFOUND);
        else
            told_chunk(c, s->what, VI_ENOTFOUND);
    } else if (step == IMAGE_ITEMS_HEAD) {
        free(c->buf);
        c->buf = malloc(s->len);
        if (!c->buf)
            ended(c, VI_ENOMEM);
    } else {
        memcpy(c->buf + s->got - n, bytes, n);
        if (s->got == s->len)
            item_came(c);
    }
    return !c->ended && c->f->core;
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct coming *c = s->data;
    const uint8_t *p = (const uint8_t *)buf->base, *bytes = NULL;
    size_t len = n > 0 ? (size_t)n : 0, took = 0;
    enum image_items_step step;
    if (c->ended)
        return;
    if (n < 0) {
        c->eof = true;
        read_on(c);
        maybe_ended(c);
        pump(c->f);
        return;
    }
    while ((step = image_items_feed(&c->items, &p, &len, &bytes, &took)) != IMAGE_ITEMS_MORE)
        if (!take(c, step, bytes, took))
            break;
    read_on(c);
    pump(c->f);
}

static void on_bulk_done(void *arg, int err, const char *why, uint64_t bytes)
{
    struct coming *c = arg;
    (void)bytes;
    if (err && !c->ended)
        vi_log(VI_LOG_DEBUG, "image", "stream from %s: %s", daemon_member_name(c->f->d, &c->peer), why);
    coming_release(c);
}

static struct coming *coming_of(struct daemon *d, const struct vi_id *stream, const struct vi_id *peer)
{
    struct coming *c;
    for (unsigned i = 0; d->images && i < IMAGE_FETCHES; i++)
        LIST_FOREACH (c, &d->images->fetch[i].coming, link)
            if (!c->ended && !c->piped && vi_id_equal(&c->stream, stream) && vi_id_equal(&c->peer, peer))
                return c;
    return NULL;
}

bool daemon_image_expects(struct daemon *d, const struct vi_id *stream, const struct vi_id *peer)
{
    return coming_of(d, stream, peer) != NULL;
}

int daemon_image_stream(struct daemon *d, const struct vi_id *peer, const uint8_t *purpose, size_t len, bulk_done **done,
                        void **done_arg)
{
    struct vi_id stream;
    struct coming *c;
    int sv[2];
    if (len != VI_ID_SIZE)
        return -1;
    memcpy(stream.b, purpose, VI_ID_SIZE);
    c = coming_of(d, &stream, peer);
    if (!c || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        return -1;
    uv_pipe_init(&d->loop, &c->pipe, 0);
    c->pipe.data = c;
    c->piped = true;
    c->refs++; /* the pipe's */
    if (uv_pipe_open(&c->pipe, sv[0])) {
        close(sv[0]);
        close(sv[1]);
        ended(c, VI_EIO);
        return -1;
    }
    c->refs++; /* the bulk stream's */
    *done = on_bulk_done;
    *done_arg = c;
    read_on(c);
    return sv[1];
}

static void on_send_answer(void *arg, int err, const uint8_t *body, size_t len)
{
    struct coming *c = arg;
    struct fetching *f = c->f;
    (void)body;
    (void)len;
    if (err && !c->piped)
        ended(c, err);
    coming_release(c);
    pump(f);
}

static void ask(struct fetching *f, const struct image_effect *fx)
{
    struct image_event no = {.kind = IMAGE_EV_ENDED, .request = fx->request, .err = VI_EFULL};
    struct coming *c = calloc(1, sizeof *c);
    struct image_fetch_view v;
    uint8_t body[IMAGE_BODY_MAX];
    struct image_ask q = fx->ask;
    int n;
    if (!c) {
        image_get_step(f, &no);
        return;
    }
    image_fetch_look(f->core, &v);
    vi_rng_id(&f->d->rng, &q.stream);
    *c = (struct coming){.f = f, .request = fx->request, .peer = fx->peer, .stream = q.stream, .refs = 2};
    image_items_init(&c->items, &q, v.size);
    n = image_ask_encode(&q, body, sizeof body);
    LIST_INSERT_HEAD(&f->coming, c, link);
    if (n < 0 || calls_ask(f->d->calls, daemon_now(), &c->peer, CALL_IMAGE_SEND, body, (size_t)n, on_send_answer, c)) {
        c->refs--; /* there is no call */
        forget(c);
        image_get_step(f, &no);
    }
}

static void cancel(struct fetching *f, uint32_t request)
{
    struct coming *c;
    LIST_FOREACH (c, &f->coming, link)
        if (c->request == request && !c->ended) {
            forget(c);
            return;
        }
}

/* ---- who has it ---- */

static void on_found(void *arg, const struct vi_id *peer, const struct image_found *found)
{
    struct fetching *f = arg;
    struct mesh_path_info path;
    struct image_event ev = {.kind = IMAGE_EV_SOURCE, .peer = *peer, .found = found, .rank = 1};
    if (mesh_path_find(mesh_io_core(f->d->mesh), peer, &path)) {
        ev.rank = path.kind == MESH_PATH_RELAYED ? 1 : 0;
        ev.rtt = path.rtt;
    }
    if (daemon_federation_name(f->d, peer))
        ev.rank = IMAGE_FOREIGN;
    else if (!f->name[0])
        snprintf(f->name, sizeof f->name, "%s", found->name);
    image_get_step(f, &ev);
}

static void on_looked(void *arg, unsigned asked)
{
    struct fetching *f = arg;
    struct image_event ev = {.kind = IMAGE_EV_LOOKED};
    (void)asked;
    f->look = NULL;
    image_get_step(f, &ev);
    pump(f);
}

/* Hosts of its environment; when it is for none that is known, those of all environments here: they may be of other
 * domains, whose hosts aren't asked otherwise. */
static unsigned likely(struct fetching *f, struct vi_id *out, unsigned most)
{
    const struct env *its = daemon_env_by_id(f->d, &f->env);
    unsigned n = 0;
    for (unsigned i = 0; i < ENV_MAX; i++) {
        const struct env *e = &f->d->envs[i];
        for (unsigned k = 0; e->used && (!its || e == its) && k < e->n_participants && n < most; k++)
            out[n++] = e->participants[k];
    }
    return n;
}

static void look(struct fetching *f)
{
    struct image_find what = {.by_name = false};
    struct image_event none = {.kind = IMAGE_EV_LOOKED};
    struct vi_id first[1 + IMAGE_ASKED];
    unsigned n;
    memcpy(what.hash, f->hash, IMAGE_HASH);
    first[0] = f->from;
    n = 1 + likely(f, first + 1, IMAGE_ASKED);
    f->look = image_look(f->d, &what, first, n, IMAGE_ACTIVE, on_found, on_looked, f);
    if (!f->look)
        image_get_step(f, &none);
}

/* ---- the core's effects ---- */

static void with_job(struct fetching *f, enum work what)
{
    struct image_fetch_view v;
    struct job *j = job_new(f, what);
    image_fetch_look(f->core, &v);
    if (j)
        j->size = v.size;
    if (j && what == WORK_OPEN)
        j->data = calloc(v.chunks, 1);
    if (!j || (what == WORK_OPEN && !j->data)) {
        if (j)
            job_free(j);
        fail(f, "out of memory");
    } else if (!job_start(j)) {
        fail(f, "no worker thread");
    }
}

/* Workers that still write chunks by another manifest must be done before it is looked what is there. */
static void open_part(struct fetching *f)
{
    struct image_fetch_view v;
    f->open_wanted = f->jobs > 0;
    if (f->open_wanted)
        return;
    image_fetch_look(f->core, &v);
    if (!list_renew(f, v.size))
        fail(f, "out of memory");
    else
        with_job(f, WORK_OPEN);
}

static void over(struct fetching *f, const struct image_effect *fx)
{
    char hex[IMAGE_HASH_TEXT];
    struct event *ev;
    f->over = true;
    f->err = fx->err;
    f->ended = daemon_now();
    snprintf(f->why, sizeof f->why, "%s", fx->why);
    image_get_view(f, &f->last);
    for (unsigned i = 0; i < IMAGE_SOURCES; i++)
        if (image_fetch_source(f->core, i, &f->sources[f->n_sources]))
            f->n_sources++;
    image_hash_format(f->hash, hex);
    if (fx->err)
        ev = daemon_event(f->d, "image", f->name, "image %.12s%s%s can't be fetched: %s", hex, f->name[0] ? " " : "", f->name, fx->why);
    else
        ev = daemon_event(f->d, "image", f->name, "image %.12s%s%s is here", hex, f->name[0] ? " " : "", f->name);
    event_number(ev, "bytes", (double)f->last.bytes);
    event_number(ev, "sources", f->n_sources);
    event_number(ev, "seconds", (double)(f->ended - f->last.began) / 1e6);
    daemon_event_done(f->d, ev);
}

static void perform(struct fetching *f, const struct image_effect *fx)
{
    switch (fx->kind) {
    case IMAGE_FX_LOOK: look(f); break;
    case IMAGE_FX_ASK: ask(f, fx); break;
    case IMAGE_FX_CANCEL: cancel(f, fx->request); break;
    case IMAGE_FX_ROOM: with_job(f, WORK_ROOM); break;
    case IMAGE_FX_OPEN: open_part(f); break;
    case IMAGE_FX_CHECK: with_job(f, WORK_FINISH); break;
    case IMAGE_FX_DISTRUST: image_enemy(f->d, &fx->peer, fx->why); break;
    case IMAGE_FX_OVER: over(f, fx); break;
    }
}

void image_get_step(struct fetching *f, struct image_event *ev)
{
    if (f->core && !f->closing)
        image_fetch_step(f->core, daemon_now(), ev);
}

/* What is over stays to be looked at for a while, without what it held. */
static void tidy(struct fetching *f)
{
    struct job *j;
    if (!f->over || f->jobs)
        return;
    if (f->discard && f->err) {
        f->discard = false;
        j = job_new(f, WORK_DISCARD);
        if (j && job_start(j))
            return; /* and then again */
    }
    if (f->look)
        image_look_cancel(f->look);
    f->look = NULL;
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    list_release(f->list);
    f->list = NULL;
    image_fetch_free(f->core);
    f->core = NULL;
}

static void pump(struct fetching *f)
{
    const struct image_effect *fx;
    struct image_effect copy;
    if (!f->core || f->closing)
        return;
    if (f->open_wanted && f->jobs == 0)
        open_part(f);
    while (f->core && (fx = image_fetch_effect(f->core))) {
        copy = *fx;
        perform(f, &copy);
    }
    tidy(f);
}

/* ---- from outside ---- */

struct fetching *image_getting(struct daemon *d, const uint8_t hash[IMAGE_HASH])
{
    for (unsigned i = 0; i < IMAGE_FETCHES; i++) {
        struct fetching *f = &d->images->fetch[i];
        if (f->used && !memcmp(f->hash, hash, IMAGE_HASH))
            return f;
    }
    return NULL;
}

/* A free place, or that of what has been over longest. */
static struct fetching *place(struct daemon *d)
{
    struct fetching *best = NULL;
    for (unsigned i = 0; i < IMAGE_FETCHES; i++) {
        struct fetching *f = &d->images->fetch[i];
        if (!f->used)
            return f;
        if (f->over && !f->core && LIST_EMPTY(&f->coming) && (!best || f->ended < best->ended))
            best = f;
    }
    return best;
}

int image_get(struct daemon *d, const uint8_t hash[IMAGE_HASH], const char *name, const struct vi_id *from,
              const struct vi_id *env, char *why, size_t cap)
{
    struct fetching *f = image_getting(d, hash);
    char hex[IMAGE_HASH_TEXT];
    if (image_here(d, hash))
        return VI_EEXIST;
    if (f && !f->over)
        return 0;
    if (!d->cfg.image_cache_size) {
        snprintf(why, cap, "image-cache-size is 0 here: nothing is fetched");
        return VI_EFULL;
    }
    if (f && (f->core || !LIST_EMPTY(&f->coming))) {
        snprintf(why, cap, "what is left of an earlier try is just being ended");
        return VI_EFULL;
    }
    if (!f)
        f = place(d);
    if (!f) {
        snprintf(why, cap, "%d other images are being fetched here", IMAGE_FETCHES);
        return VI_EFULL;
    }
    memset(f, 0, sizeof *f);
    f->d = d;
    f->fd = -1;
    LIST_INIT(&f->coming);
    memcpy(f->hash, hash, IMAGE_HASH);
    snprintf(f->name, sizeof f->name, "%s", name ? name : "");
    if (from)
        f->from = *from;
    if (env)
        f->env = *env;
    f->core = image_fetch_new(hash, &d->rng, daemon_now());
    if (!f->core) {
        snprintf(why, cap, "out of memory");
        return VI_ENOMEM;
    }
    f->used = true;
    daemon_event_done(d, daemon_event(d, "image", f->name, "image %.12s is being fetched", image_hash_format(hash, hex)));
    return 0;
}

void image_get_cancel(struct fetching *f, const char *why)
{
    fail(f, why);
    pump(f);
}

void image_get_view(struct fetching *f, struct image_fetch_view *v)
{
    if (f->core)
        image_fetch_look(f->core, v);
    else
        *v = f->last;
}

void image_get_tick(struct daemon *d, vi_time now)
{
    for (unsigned i = 0; i < IMAGE_FETCHES; i++) {
        struct fetching *f = &d->images->fetch[i];
        struct image_event tick = {.kind = IMAGE_EV_TICK};
        if (!f->used)
            continue;
        if (f->over && !f->core && LIST_EMPTY(&f->coming) && now - f->ended > IMAGE_FINISHED) {
            f->used = false;
            continue;
        }
        if (f->look)
            (void)image_look_pump(f->look);
        if (f->core && image_fetch_deadline(f->core) <= now)
            image_get_step(f, &tick);
        pump(f);
    }
}

vi_time image_get_deadline(const struct daemon *d)
{
    vi_time t = VI_NEVER;
    for (unsigned i = 0; i < IMAGE_FETCHES; i++) {
        const struct fetching *f = &d->images->fetch[i];
        if (f->used && f->core && image_fetch_deadline(f->core) < t)
            t = image_fetch_deadline(f->core);
    }
    return t;
}

void image_get_free(struct daemon *d)
{
    for (unsigned i = 0; i < IMAGE_FETCHES; i++) {
        struct fetching *f = &d->images->fetch[i];
        image_fetch_free(f->core);
        list_release(f->list);
        if (f->used && f->fd >= 0)
            close(f->fd);
    }
}

/* The loop still turns until all handles are closed: nothing is begun any more. */
void image_get_close(struct daemon *d)
{
    struct coming *c, *next;
    for (unsigned i = 0; i < IMAGE_FETCHES; i++) {
        struct fetching *f = &d->images->fetch[i];
        f->closing = true;
        for (c = LIST_FIRST(&f->coming); c; c = next) {
            next = LIST_NEXT(c, link);
            forget(c);
        }
    }
}
