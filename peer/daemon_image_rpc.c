/* Images, as people ask for them. See daemon_image.h; peer/rpc.md has the methods. */
#include "peer/daemon_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/rpc_write.h"

#define FOUND_MOST 8 /* hosts that have one of a name */

/* ---- shown ---- */

static void put_hash(struct vi_writer *w, const uint8_t hash[IMAGE_HASH])
{
    char hex[IMAGE_HASH_TEXT];
    put_text(w, "hash", image_hash_format(hash, hex));
}

static const char *state_of(const struct image_file *f)
{
    return f->cached ? f->added ? "added" : "fetched" : "folder";
}

/* Fields of an image that is here: 6, and used_by. */
static void write_file(struct daemon *d, struct vi_writer *w, const struct image_file *f)
{
    const char *by = image_used_by(d, f->hash);
    put_text(w, "name", f->name);
    put_hash(w, f->hash);
    put_uint(w, "size", f->size);
    put_text(w, "state", state_of(f));
    put_text(w, "path", f->path);
    put_number(w, "used_at", (double)f->used / 1e6);
    if (by)
        put_text(w, "used_by", by);
}

static unsigned file_fields(struct daemon *d, const struct image_file *f)
{
    return 6U + (image_used_by(d, f->hash) != NULL);
}

static double percent(const struct image_fetch_view *v)
{
    return v->chunks ? 100.0 * v->have / v->chunks : 0;
}

/* One that is on its way, or didn't come: 5 fields. */
static void write_fetch(struct vi_writer *w, struct fetching *f, const struct image_fetch_view *v)
{
    put_text(w, "name", f->name);
    put_hash(w, f->hash);
    put_uint(w, "size", v->size);
    put_text(w, "state", image_state_text(v->state));
    put_number(w, "here_pct", percent(v));
}

static bool to_list(struct daemon *d, const struct fetching *f)
{
    return f->used && !image_here(d, f->hash);
}

void daemon_do_image_list(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct images_daemon *im = d->images;
    struct vi_writer *w = rpc_begin(call, RPC_RESULT_MAX);
    unsigned n = im->scanned ? im->n : 0;
    (void)params;
    if (!w)
        return;
    for (unsigned i = 0; i < IMAGE_FETCHES; i++)
        n += to_list(d, &im->fetch[i]);
    vi_write_array(w, n);
    for (unsigned i = 0; i < im->n && im->scanned; i++) {
        vi_write_map(w, file_fields(d, &im->files[i]));
        write_file(d, w, &im->files[i]);
    }
    for (unsigned i = 0; i < IMAGE_FETCHES; i++) {
        struct image_fetch_view v;
        if (!to_list(d, &im->fetch[i]))
            continue;
        image_get_view(&im->fetch[i], &v);
        vi_write_map(w, 5);
        write_fetch(w, &im->fetch[i], &v);
    }
    rpc_end(call);
}

static unsigned sources_of(struct fetching *f, struct image_source_view out[IMAGE_SOURCES])
{
    unsigned n = 0;
    if (!f->core) {
        memcpy(out, f->sources, sizeof f->sources);
        return f->n_sources;
    }
    for (unsigned i = 0; i < IMAGE_SOURCES; i++)
        n += image_fetch_source(f->core, i, &out[n]);
    return n;
}

static void write_sources(struct daemon *d, struct vi_writer *w, struct fetching *f)
{
    struct image_source_view s[IMAGE_SOURCES];
    unsigned n = sources_of(f, s);
    vi_write_str(w, "sources");
    vi_write_array(w, n);
    for (unsigned i = 0; i < n; i++) {
        vi_write_map(w, 5);
        put_text(w, "host", daemon_member_name(d, &s[i].peer));
        put_uint(w, "bytes", s[i].bytes);
        put_uint(w, "wrong_chunks", s[i].bad);
        put_number(w, "bytes_per_s", s[i].rate);
        put_text(w, "state", s[i].distrusted ? "distrusted" : s[i].gone ? "gone" : s[i].asked ? "asked" : "idle");
    }
}

/* How it came, or comes: 7 fields. */
static void write_coming(struct daemon *d, struct vi_writer *w, struct fetching *f)
{
    struct image_fetch_view v;
    image_get_view(f, &v);
    put_uint(w, "chunks", v.chunks);
    put_uint(w, "chunks_here", v.have);
    put_uint(w, "chunks_kept", v.kept);
    put_uint(w, "bytes_fetched", v.bytes);
    put_number(w, "for_s", (double)((f->over ? f->ended : daemon_now()) - v.began) / 1e6);
    put_text(w, "why", f->why);
    write_sources(d, w, f);
}

static struct fetching *fetch_by_text(struct daemon *d, const char *text)
{
    char hex[IMAGE_HASH_TEXT];
    for (unsigned i = 0; i < IMAGE_FETCHES; i++) {
        struct fetching *f = &d->images->fetch[i];
        if (f->used && (!strcmp(f->name, text) || (strlen(text) >= 8 && !strncmp(image_hash_format(f->hash, hex), text, strlen(text)))))
            return f;
    }
    return NULL;
}

void daemon_do_image_show(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char text[IMAGE_PATH_MAX], why[200] = "";
    struct image_fetch_view v;
    struct image_file *here;
    struct fetching *f;
    struct vi_writer *w;
    if (!rpc_param_text(call, *params, "image", true, text, sizeof text))
        return;
    here = image_by_text(d, text, why, sizeof why);
    f = here ? image_getting(d, here->hash) : fetch_by_text(d, text);
    if (!here && !f) {
        rpc_error(call, VI_ENOTFOUND, "%s", why);
        return;
    }
    w = rpc_begin(call, 16384);
    if (!w)
        return;
    vi_write_map(w, (here ? file_fields(d, here) : 5U) + (f ? 7U : 0U));
    if (here) {
        write_file(d, w, here);
    } else {
        image_get_view(f, &v);
        write_fetch(w, f, &v);
    }
    if (f)
        write_coming(d, w, f);
    rpc_end(call);
}

/* ---- fetched ---- */

struct searching {
    struct daemon *d;
    struct rpc_call *call;
    struct image_find what;
    unsigned n;
    struct image_found found[FOUND_MOST];
    struct vi_id peer[FOUND_MOST];
};

static void answer_fetch(struct daemon *d, struct rpc_call *call, const uint8_t hash[IMAGE_HASH], const char *name,
                         const struct vi_id *from)
{
    char why[IMAGE_WHY] = "";
    struct vi_writer *w;
    int err = image_get(d, hash, name, from, NULL, why, sizeof why);
    if (err && err != VI_EEXIST) {
        rpc_error(call, err, "%s", why);
        return;
    }
    w = rpc_begin(call, 256);
    if (!w)
        return;
    vi_write_map(w, 1);
    put_hash(w, hash);
    rpc_end(call);
}

static void on_found(void *arg, const struct vi_id *peer, const struct image_found *found)
{
    struct searching *s = arg;
    if (s->n == FOUND_MOST || strcmp(found->name, s->what.name))
        return;
    s->peer[s->n] = *peer;
    s->found[s->n++] = *found;
}

static void on_looked(void *arg, unsigned asked)
{
    struct searching *s = arg;
    bool differ = false;
    for (unsigned i = 1; i < s->n; i++)
        differ |= memcmp(s->found[i].hash, s->found[0].hash, IMAGE_HASH) != 0;
    if (!s->n)
        rpc_error(s->call, VI_ENOTFOUND, "none of the %u hosts that were asked has an image `%s`", asked, s->what.name);
    else if (differ)
        rpc_error(s->call, VI_EEXIST, "%s has another image of the name `%s` than %s: give the hash", daemon_member_name(s->d, &s->peer[0]),
                  s->what.name, "others");
    else
        answer_fetch(s->d, s->call, s->found[0].hash, s->what.name, &s->peer[0]);
    free(s);
}

static void search(struct daemon *d, struct rpc_call *call, const char *name)
{
    struct searching *s = calloc(1, sizeof *s);
    struct image_look *l = NULL;
    if (s) {
        s->d = d;
        s->call = call;
        s->what.by_name = true;
        snprintf(s->what.name, sizeof s->what.name, "%.*s", IMAGE_NAME_MAX - 1, name);
        l = image_look(d, &s->what, NULL, 0, FOUND_MOST, on_found, on_looked, s);
    }
    if (!l) {
        free(s);
        rpc_error(call, VI_ENOMEM, "out of memory");
        return;
    }
    if (image_look_pump(l))
        return;
    image_look_cancel(l);
    free(s);
    rpc_error(call, VI_EFULL, "too many questions to other hosts are under way; try again");
}

void daemon_do_image_fetch(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char text[IMAGE_PATH_MAX], why[200];
    uint8_t hash[IMAGE_HASH];
    const struct image_file *f;
    if (!rpc_param_text(call, *params, "image", true, text, sizeof text))
        return;
    f = image_by_text(d, text, why, sizeof why);
    if (!d->images->scanned)
        rpc_error(call, VI_EAGAIN, "the images here are still being looked through");
    else if (f)
        answer_fetch(d, call, f->hash, NULL, NULL);
    else if (image_hash_parse(hash, text) == 0)
        answer_fetch(d, call, hash, NULL, NULL);
    else if (image_name_valid(text))
        search(d, call, text);
    else
        rpc_error(call, VI_EINVAL, "`%.64s` is neither an image's name nor its hash", text);
}

static void answer_nothing(struct rpc_call *call)
{
    struct vi_writer *w = rpc_begin(call, 16);
    if (!w)
        return;
    vi_write_map(w, 0);
    rpc_end(call);
}

void daemon_do_image_cancel(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char text[IMAGE_PATH_MAX];
    struct fetching *f;
    if (!rpc_param_text(call, *params, "image", true, text, sizeof text))
        return;
    f = fetch_by_text(d, text);
    if (!f || f->over) {
        rpc_error(call, VI_ENOTFOUND, "no image `%.64s` is being fetched", text);
        return;
    }
    f->discard = true; /* or it would be gone on with after a restart */
    image_get_cancel(f, "an operator gave it up");
    answer_nothing(call);
}

/* ---- removed; room for one that is added: both need work on the disk ---- */

struct disk_job {
    uv_work_t req;
    struct daemon *d;
    struct rpc_call *call;
    char folder[CONFIG_TEXT];
    unsigned n;
    uint8_t remove[IMAGE_FILES_MAX][IMAGE_HASH];
    bool begins; /* then answer with where to copy to */
    int err;
};

static void on_work(uv_work_t *req)
{
    struct disk_job *j = req->data;
    for (unsigned i = 0; i < j->n; i++)
        j->err = image_store_remove(j->folder, j->remove[i]);
}

static void answer_begin(struct disk_job *j)
{
    struct vi_writer *w = rpc_begin(j->call, 1024);
    uint8_t random[8];
    char file[32];
    if (!w)
        return;
    vi_rng_bytes(&j->d->rng, random, sizeof random);
    snprintf(file, sizeof file, ".add-%02x%02x%02x%02x%02x%02x%02x%02x", random[0], random[1], random[2], random[3], random[4],
             random[5], random[6], random[7]);
    vi_write_map(w, 2);
    put_text(w, "folder", j->folder);
    put_text(w, "file", file);
    rpc_end(j->call);
}

static void on_worked(uv_work_t *req, int status)
{
    struct disk_job *j = req->data;
    (void)status;
    j->d->images->jobs--;
    if (j->begins)
        answer_begin(j);
    else if (j->err && j->err != VI_ENOTFOUND)
        rpc_error(j->call, j->err, "it can't be removed from %s", j->folder);
    else
        answer_nothing(j->call);
    free(j);
}

static void start(struct disk_job *j)
{
    j->req.data = j;
    if (uv_queue_work(&j->d->loop, &j->req, on_work, on_worked)) {
        rpc_error(j->call, VI_ENOMEM, "no worker thread");
        free(j);
        return;
    }
    j->d->images->jobs++;
}

static struct disk_job *disk_job(struct daemon *d, struct rpc_call *call)
{
    struct disk_job *j = calloc(1, sizeof *j);
    if (!j) {
        rpc_error(call, VI_ENOMEM, "out of memory");
        return NULL;
    }
    j->d = d;
    j->call = call;
    snprintf(j->folder, sizeof j->folder, "%s", d->cfg.image_cache);
    return j;
}

void daemon_do_image_remove(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char text[IMAGE_PATH_MAX], why[200];
    struct image_file *f;
    struct disk_job *j;
    struct fetching *came;
    const char *by;
    if (!rpc_param_text(call, *params, "image", true, text, sizeof text))
        return;
    f = image_by_text(d, text, why, sizeof why);
    by = f ? image_used_by(d, f->hash) : NULL;
    if (!f)
        rpc_error(call, VI_ENOTFOUND, "%s", why);
    else if (!f->cached)
        rpc_error(call, VI_EUNSUPPORTED, "it is in a folder of image-dirs, which isn't violin's: remove %s yourself", f->path);
    else if (by)
        rpc_error(call, VI_ESTATE, "it is in use: %s", by);
    else if ((j = disk_job(d, call))) {
        memcpy(j->remove[j->n++], f->hash, IMAGE_HASH);
        daemon_event_done(d, daemon_event(d, "image", f->name, "image %s is removed", f->name[0] ? f->name : text));
        image_forget(d, f);
        came = image_getting(d, j->remove[0]);
        if (came && came->over && !came->core && LIST_EMPTY(&came->coming))
            came->used = false; /* how it came says nothing any more */
        start(j);
    }
}

/* ---- added ---- */

static uint64_t used_bytes(struct daemon *d)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < d->images->n; i++)
        n += d->images->files[i].cached ? d->images->files[i].size : 0;
    for (unsigned i = 0; i < IMAGE_FETCHES; i++) {
        struct image_fetch_view v;
        if (!d->images->fetch[i].used || d->images->fetch[i].over)
            continue;
        image_get_view(&d->images->fetch[i], &v);
        n += v.size;
    }
    return n;
}

void daemon_do_image_begin(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char why[200] = "its size isn't known";
    uint64_t size = 0, available = 0, more;
    struct disk_job *j;
    if (!rpc_param_uint(call, *params, "size", IMAGE_SIZE_MAX, &size))
        return;
    if (!d->images->scanned) {
        rpc_error(call, VI_EAGAIN, "the images here are still being looked through");
        return;
    }
    j = disk_job(d, call);
    if (!j)
        return;
    more = image_to_come(d, NULL);
    if (!size || image_store_free(d->cfg.image_cache, &available) ||
        image_make_room(d, size, used_bytes(d), available > more ? available - more : 0, j->remove, &j->n, why, sizeof why)) {
        rpc_error(call, VI_EFULL, "%s", why);
        free(j);
        return;
    }
    for (unsigned i = 0; i < j->n; i++) {
        struct image_file *old = image_here(d, j->remove[i]);
        if (old)
            image_forget(d, old);
    }
    j->begins = true;
    start(j);
}

struct taking {
    uv_work_t req;
    struct daemon *d;
    struct images_daemon *im; /* its `adding` is the worker's as long as that is busy */
    char folder[CONFIG_TEXT];
};

static void on_take(uv_work_t *req)
{
    struct taking *t = req->data;
    t->im->adding.err = image_store_take(t->folder, t->im->adding.file, &t->im->adding.f, &t->im->adding.progress);
}

static void on_taken(uv_work_t *req, int status)
{
    struct taking *t = req->data;
    struct daemon *d = t->d;
    struct image_file *f = &t->im->adding.f;
    char hex[IMAGE_HASH_TEXT];
    (void)status;
    t->im->jobs--;
    t->im->adding.busy = false;
    t->im->adding.over = true;
    if (t->im->adding.err) {
        snprintf(t->im->adding.why, sizeof t->im->adding.why, "it can't be taken in: %s", vi_strerror(t->im->adding.err));
    } else if (!t->im->closing) {
        image_keep(d, f);
        daemon_event_done(d, daemon_event(d, "image", f->name, "image %.12s %s was added", image_hash_format(f->hash, hex), f->name));
    }
    free(t);
}

static bool own_file_name(const char *file)
{
    return !strncmp(file, ".add-", 5) && strlen(file) == 21 && strspn(file + 5, "0123456789abcdef") == 16;
}

void daemon_do_image_add(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct images_daemon *im = d->images;
    char file[32], name[IMAGE_NAME_MAX];
    struct taking *t;
    if (!rpc_param_text(call, *params, "file", true, file, sizeof file) ||
        !rpc_param_text(call, *params, "name", true, name, sizeof name))
        return;
    if (!own_file_name(file) || !image_name_valid(name)) {
        rpc_error(call, VI_EINVAL, "name `%.40s`: 1 to %d letters, digits, '.', '_', '-', '+', and no sign first", name, IMAGE_NAME_MAX - 1);
        return;
    }
    for (unsigned i = 0; i < im->n; i++)
        if (im->files[i].cached && !strcmp(im->files[i].name, name)) {
            rpc_error(call, VI_EEXIST, "there is an image `%s` here already: remove it, or give --name", name);
            return;
        }
    t = im->adding.busy ? NULL : calloc(1, sizeof *t);
    if (!t) {
        rpc_error(call, VI_EAGAIN, "another image is being added here; try again");
        return;
    }
    memset(&im->adding, 0, sizeof im->adding);
    snprintf(im->adding.file, sizeof im->adding.file, "%s", file);
    snprintf(im->adding.f.name, sizeof im->adding.f.name, "%s", name);
    im->adding.f.added = true;
    t->req.data = t;
    t->d = d;
    t->im = im;
    snprintf(t->folder, sizeof t->folder, "%s", d->cfg.image_cache);
    if (uv_queue_work(&d->loop, &t->req, on_take, on_taken)) {
        free(t);
        rpc_error(call, VI_ENOMEM, "no worker thread");
        return;
    }
    im->adding.busy = true;
    im->jobs++;
    answer_nothing(call);
}

void daemon_do_image_adding(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct images_daemon *im = d->images;
    bool good = im->adding.over && !im->adding.err;
    struct vi_writer *w = rpc_begin(call, 1024);
    (void)params;
    if (!w)
        return;
    vi_write_map(w, good ? 7 : 4);
    put_uint(w, "done_bytes", im->adding.progress.done);
    put_uint(w, "of_bytes", im->adding.progress.of);
    put_bool(w, "over", im->adding.over);
    put_text(w, "why", im->adding.why);
    if (good) {
        put_hash(w, im->adding.f.hash);
        put_text(w, "name", im->adding.f.name);
        put_uint(w, "size", im->adding.f.size);
    }
    rpc_end(call);
}
