/* The daemon and images: what is here, what may go, who isn't believed any more. See daemon_image.h. */
#include "peer/daemon_image.h"
#include "peer/daemon_envmake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"

#define RECORD_MAX 1024
#define DIGITS_LEAST 8

/* ---- kept over a restart ---- */

static void key_of(const struct image_file *f, struct vi_id *key)
{
    vi_id_hash(key, "violin image", f->path, strlen(f->path), "", 0);
}

static void store(struct daemon *d, const struct image_file *f)
{
    uint8_t b[RECORD_MAX];
    struct vi_writer w;
    struct vi_id key;
    vi_writer_init(&w, b, sizeof b);
    vi_write_array(&w, 12);
    vi_write_uint(&w, 1);
    vi_write_str(&w, f->path);
    vi_write_bin(&w, f->hash, IMAGE_HASH);
    vi_write_bin(&w, f->manifest, IMAGE_HASH);
    vi_write_uint(&w, f->size);
    vi_write_uint(&w, f->inode);
    vi_write_int(&w, f->mtime);
    vi_write_int(&w, f->ctime);
    vi_write_bool(&w, f->cached);
    vi_write_bool(&w, f->added);
    vi_write_str(&w, f->name);
    vi_write_int(&w, f->used);
    key_of(f, &key);
    if (w.err || store_put(d->store, STORE_IMAGE, &key, b, w.len))
        daemon_warn(d, WARN_STORE, "%s", w.err ? "an image's record is too large" : store_error(d->store));
}

static bool stored(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    struct images_daemon *im = arg;
    struct image_file f = {.size = 0};
    struct vi_reader r;
    (void)key;
    vi_reader_init(&r, value, len);
    if (vi_read_array(&r, 12) != 12 || vi_read_uint(&r, 1) != 1)
        return true;
    vi_read_cstr(&r, f.path, sizeof f.path);
    vi_read_bytes(&r, f.hash, IMAGE_HASH);
    vi_read_bytes(&r, f.manifest, IMAGE_HASH);
    f.size = vi_read_uint(&r, IMAGE_SIZE_MAX);
    f.inode = vi_read_uint(&r, UINT64_MAX);
    f.mtime = vi_read_int(&r, INT64_MIN, INT64_MAX);
    f.ctime = vi_read_int(&r, INT64_MIN, INT64_MAX);
    f.cached = vi_read_bool(&r);
    f.added = vi_read_bool(&r);
    vi_read_cstr(&r, f.name, sizeof f.name);
    f.used = vi_read_int(&r, 0, INT64_MAX);
    if (!vi_read_end(&r) && im->n < IMAGE_FILES_MAX)
        im->files[im->n++] = f;
    return true;
}

/* ---- the index ---- */

struct image_file *image_here(struct daemon *d, const uint8_t hash[IMAGE_HASH])
{
    struct images_daemon *im = d->images;
    for (unsigned i = 0; i < im->n && im->scanned; i++)
        if (!memcmp(im->files[i].hash, hash, IMAGE_HASH))
            return &im->files[i];
    return NULL;
}

struct image_file *image_by_text(struct daemon *d, const char *text, char *why, size_t cap)
{
    struct images_daemon *im = d->images;
    struct image_file *found = NULL;
    size_t len = strlen(text);
    char hex[IMAGE_HASH_TEXT];
    for (unsigned i = 0; i < im->n && im->scanned; i++)
        if (!strcmp(im->files[i].name, text))
            return &im->files[i];
    for (unsigned i = 0; i < im->n && im->scanned && len >= DIGITS_LEAST; i++) {
        if (strncmp(image_hash_format(im->files[i].hash, hex), text, len))
            continue;
        if (found) {
            snprintf(why, cap, "more than one image begins with %.64s", text);
            return NULL;
        }
        found = &im->files[i];
    }
    if (!found)
        snprintf(why, cap, im->scanned ? "there is no image `%.64s` here" : "the images here are still being looked through", text);
    return found;
}

void image_keep(struct daemon *d, const struct image_file *f)
{
    struct images_daemon *im = d->images;
    unsigned i = 0;
    while (i < im->n && memcmp(im->files[i].hash, f->hash, IMAGE_HASH))
        i++;
    if (i == IMAGE_FILES_MAX) {
        daemon_warn(d, WARN_IMAGE, "there are %d images here already; %.64s is left out", IMAGE_FILES_MAX, f->name);
        return;
    }
    if (i == im->n)
        im->n++;
    im->files[i] = *f;
    im->fresh[i] = im->scanning;
    store(d, f);
}

void image_forget(struct daemon *d, struct image_file *f)
{
    struct images_daemon *im = d->images;
    unsigned i = (unsigned)(f - im->files);
    struct vi_id key;
    key_of(f, &key);
    (void)store_delete(d->store, STORE_IMAGE, &key);
    im->n--;
    im->files[i] = im->files[im->n];
    im->fresh[i] = im->fresh[im->n];
}

/* ---- used by whom ---- */

static unsigned add_hash(uint8_t out[][IMAGE_HASH], unsigned n, const uint8_t *hash)
{
    for (unsigned i = 0; i < n; i++)
        if (!memcmp(out[i], hash, IMAGE_HASH))
            return n;
    if (n < IMAGE_OF_GUEST)
        memcpy(out[n++], hash, IMAGE_HASH);
    return n;
}

unsigned image_of_description(const struct hv_description *desc, uint8_t out[][IMAGE_HASH])
{
    unsigned n = 0;
    if (desc->has_kernel)
        n = add_hash(out, n, desc->kernel);
    if (desc->has_ramdisk)
        n = add_hash(out, n, desc->ramdisk);
    for (unsigned i = 0; i < desc->n_disks && i < HV_DISKS_MAX; i++)
        if (desc->disks[i].kind == HV_DISK_IMAGE)
            n = add_hash(out, n, desc->disks[i].hash);
    return n;
}

unsigned image_of_guest(const struct hv_guest *g, uint8_t out[][IMAGE_HASH])
{
    unsigned n = 0;
    for (unsigned i = 0; i < g->n_boot && i < HV_BOOT_MAX; i++)
        n = add_hash(out, n, g->boot[i]);
    for (unsigned i = 0; i < g->n_disks && i < HV_DISKS_MAX; i++)
        if (g->disks[i].kind == HV_DISK_IMAGE)
            n = add_hash(out, n, g->disks[i].hash);
    return n;
}

static bool among(uint8_t of[][IMAGE_HASH], unsigned n, const uint8_t hash[IMAGE_HASH])
{
    for (unsigned i = 0; i < n; i++)
        if (!memcmp(of[i], hash, IMAGE_HASH))
            return true;
    return false;
}

/* Guests that this host keeps, also those that don't run: they are to start again. */
static const char *kept_guest(struct daemon *d, const uint8_t hash[IMAGE_HASH])
{
    static struct envmake_guest_view v;
    uint8_t of[IMAGE_OF_GUEST][IMAGE_HASH];
    unsigned pos = 0;
    while (envmake_guest_next(d->envmake->core, &pos, &v))
        if (among(of, image_of_description(&v.description, of), hash))
            return v.description.name;
    return NULL;
}

const char *image_used_by(struct daemon *d, const uint8_t hash[IMAGE_HASH])
{
    static struct handover_view v;
    static struct hv_description desc;
    uint8_t of[IMAGE_OF_GUEST][IMAGE_HASH];
    unsigned pos = 0;
    if (!d->listed)
        return "not known yet";
    for (unsigned i = 0; i < d->n_guests; i++)
        if (among(of, image_of_guest(&d->guests[i], of), hash))
            return d->guests[i].name;
    while (handover_next(d->handovers, &pos, &v))
        if (!v.over && hv_description_decode(&desc, v.guest->description, v.guest->description_len) == 0 &&
            among(of, image_of_description(&desc, of), hash))
            return v.guest->name;
    return kept_guest(d, hash);
}

/* ---- room ---- */

/* Only what was fetched: what a person added may be nowhere else. */
static bool may_go(struct daemon *d, const struct image_file *f)
{
    return f->cached && !f->added && vi_clock_wall() - f->used > IMAGE_KEEP && !image_used_by(d, f->hash);
}

uint64_t image_to_come(const struct daemon *d, const uint8_t *but)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < IMAGE_FETCHES; i++) {
        struct fetching *f = &d->images->fetch[i];
        struct image_fetch_view v;
        uint64_t have;
        if (!f->used || f->over || (but && !memcmp(f->hash, but, IMAGE_HASH)))
            continue;
        image_get_view(f, &v);
        have = (uint64_t)v.have << IMAGE_CHUNK_SHIFT;
        n += v.size > have ? v.size - have : 0;
    }
    return n;
}

int image_make_room(struct daemon *d, uint64_t bytes, uint64_t used, uint64_t available, uint8_t out[][IMAGE_HASH],
                    unsigned *n, char *why, size_t cap)
{
    struct images_daemon *im = d->images;
    uint64_t most = (uint64_t)d->cfg.image_cache_size << 20;
    bool keep[IMAGE_FILES_MAX];
    unsigned which[IMAGE_FILES_MAX];
    for (unsigned i = 0; i < im->n; i++)
        keep[i] = !may_go(d, &im->files[i]);
    if (image_store_choose(im->files, im->n, keep, bytes, used, most, available, IMAGE_SPARE, which, n)) {
        snprintf(why, cap, "no room for %llu MiB: image-cache-size is %ld MiB, of which %llu are used; the disk has %llu MiB free, and %u stay so",
                 (unsigned long long)(bytes >> 20), d->cfg.image_cache_size, (unsigned long long)(used >> 20),
                 (unsigned long long)(available >> 20), IMAGE_SPARE >> 20);
        *n = 0;
        return VI_EFULL;
    }
    for (unsigned i = 0; i < *n; i++)
        memcpy(out[i], im->files[which[i]].hash, IMAGE_HASH);
    return 0;
}

/* ---- who isn't believed ---- */

bool image_is_enemy(const struct daemon *d, const struct vi_id *peer)
{
    for (unsigned i = 0; i < IMAGE_ENEMIES; i++)
        if (d->images->enemy[i].at && vi_id_equal(&d->images->enemy[i].peer, peer) &&
            daemon_now() - d->images->enemy[i].at < IMAGE_ENEMY_FOR)
            return true;
    return false;
}

void image_enemy(struct daemon *d, const struct vi_id *peer, const char *why)
{
    unsigned i = d->images->next_enemy++ % IMAGE_ENEMIES;
    d->images->enemy[i].peer = *peer;
    d->images->enemy[i].at = daemon_now();
    daemon_warn(d, WARN_IMAGE, "%s gives wrong images: %s; it isn't asked again for ten minutes", daemon_member_name(d, peer), why);
}

/* ---- guests that are to come ---- */

void daemon_image_needed(struct daemon *d, const struct hv_description *desc, const struct vi_id *from, char *why, size_t cap)
{
    uint8_t of[IMAGE_OF_GUEST][IMAGE_HASH];
    unsigned n = image_of_description(desc, of);
    const struct vi_id *env = desc->n_vifs ? &desc->vifs[0].environment : NULL;
    char hex[IMAGE_HASH_TEXT], no[IMAGE_WHY] = "";
    for (unsigned i = 0; i < n; i++) {
        struct image_fetch_view v;
        struct fetching *f = image_getting(d, of[i]);
        if (image_here(d, of[i]))
            continue;
        if (f && f->over && f->err && daemon_now() - f->ended < 10 * VI_SEC) { /* tried just now */
            snprintf(why, cap, "its image %.12s isn't here and can't be fetched: %s", image_hash_format(of[i], hex), f->why);
            return;
        }
        if (image_get(d, of[i], NULL, from, env, no, sizeof no)) {
            snprintf(why, cap, "its image %.12s isn't here: %s", image_hash_format(of[i], hex), no);
            return;
        }
        f = image_getting(d, of[i]);
        image_get_view(f, &v);
        snprintf(why, cap, "its image %.12s is being fetched (%u %%); try again", image_hash_format(of[i], hex),
                 v.chunks ? 100 * v.have / v.chunks : 0);
    }
}

/* [1, [hash …]] → [1, how many of them aren't here] */
int daemon_image_lacks(struct daemon *d, const uint8_t *body, size_t len, uint8_t *out)
{
    struct vi_reader r;
    struct vi_writer w;
    uint8_t hash[IMAGE_HASH];
    uint32_t n, lacks = 0;
    vi_reader_init(&r, body, len);
    if (vi_read_array(&r, 2) != 2 || vi_read_uint(&r, 1) != 1)
        return VI_EPROTO;
    n = vi_read_array(&r, IMAGE_OF_GUEST);
    for (uint32_t i = 0; i < n && !r.err; i++) {
        vi_read_bytes(&r, hash, sizeof hash);
        lacks += !image_here(d, hash);
    }
    if (vi_read_end(&r))
        return VI_EPROTO;
    vi_writer_init(&w, out, CALL_BODY_MAX);
    vi_write_array(&w, 2);
    vi_write_uint(&w, 1);
    vi_write_uint(&w, lacks);
    return (int)w.len;
}

size_t daemon_image_ask_lacks(struct daemon *d, const struct vi_id *guest, uint8_t *out)
{
    uint8_t of[IMAGE_OF_GUEST][IMAGE_HASH];
    struct vi_writer w;
    unsigned n = 0;
    for (unsigned i = 0; i < d->n_guests; i++)
        if (vi_id_equal(&d->guests[i].uuid, guest))
            n = image_of_guest(&d->guests[i], of);
    if (!n)
        return 0;
    vi_writer_init(&w, out, CALL_BODY_MAX);
    vi_write_array(&w, 2);
    vi_write_uint(&w, 1);
    vi_write_array(&w, n);
    for (unsigned i = 0; i < n; i++)
        vi_write_bin(&w, of[i], IMAGE_HASH);
    return w.err ? 0 : w.len;
}

/* ---- looking through the folders ---- */

struct scanning {
    uv_work_t req;
    struct daemon *d;
    struct images_daemon *im;
    char folder[CONFIG_TEXT], dirs[CONFIG_LIST][CONFIG_TEXT];
    unsigned n_dirs, n_known, n, n_parts;
    struct image_file known[IMAGE_FILES_MAX], out[IMAGE_FILES_MAX];
    uint8_t parts[IMAGE_PARTS_MAX][IMAGE_HASH];
};

static void on_scan(uv_work_t *req)
{
    struct scanning *s = req->data;
    const char *dirs[CONFIG_LIST];
    for (unsigned i = 0; i < s->n_dirs; i++)
        dirs[i] = s->dirs[i];
    s->n = image_store_scan(s->folder, dirs, s->n_dirs, s->known, s->n_known, s->out, s->parts, &s->n_parts,
                            &s->im->scan_progress);
}

static const struct image_file *find_in(const struct image_file *files, unsigned n, const struct image_file *f)
{
    for (unsigned i = 0; i < n; i++)
        if (!memcmp(files[i].hash, f->hash, IMAGE_HASH))
            return &files[i];
    return NULL;
}

/* What came or went meanwhile counts more than what was seen. */
static void merge(struct daemon *d, struct scanning *s)
{
    struct images_daemon *im = d->images;
    for (unsigned i = 0; i < im->n;)
        if (!im->fresh[i] && !find_in(s->out, s->n, &im->files[i]))
            image_forget(d, &im->files[i]);
        else
            i++;
    for (unsigned i = 0; i < s->n; i++) {
        struct image_file *f = &s->out[i];
        const struct image_file *known = find_in(im->files, im->n, f), *before = find_in(s->known, s->n_known, f);
        const char *base = strrchr(f->path, '/');
        if ((!known && before) || access(f->path, F_OK))
            continue; /* removed meanwhile */
        if (!f->cached && !f->name[0] && base && image_name_valid(base + 1))
            snprintf(f->name, sizeof f->name, "%s", base + 1);
        if (!known || (memcmp(known, f, sizeof *f) && !im->fresh[known - im->files]))
            image_keep(d, f);
    }
    memset(im->fresh, 0, sizeof im->fresh);
}

/* What was being fetched when this host was stopped is gone on with. */
static void resume(struct daemon *d, struct scanning *s)
{
    char why[IMAGE_WHY];
    for (unsigned i = 0; i < s->n_parts && i < IMAGE_FETCHES; i++)
        (void)image_get(d, s->parts[i], NULL, NULL, NULL, why, sizeof why);
}

static void on_scanned(uv_work_t *req, int status)
{
    struct scanning *s = req->data;
    struct daemon *d = s->d;
    struct images_daemon *im = d->images;
    bool first = !im->scanned;
    (void)status;
    im->jobs--;
    if (!im->closing) {
        merge(d, s);
        im->scanning = false;
        im->scanned = true;
        im->next_scan = daemon_now() + IMAGE_SCAN;
        if (first)
            resume(d, s);
    }
    free(s);
}

/* What guests use is of use now. */
static void touch(struct daemon *d)
{
    uint8_t of[IMAGE_OF_GUEST][IMAGE_HASH];
    for (unsigned i = 0; i < d->n_guests; i++) {
        unsigned n = image_of_guest(&d->guests[i], of);
        for (unsigned k = 0; k < n; k++) {
            struct image_file *f = image_here(d, of[k]);
            if (f && vi_clock_wall() - f->used > IMAGE_SCAN) {
                f->used = vi_clock_wall();
                store(d, f);
            }
        }
    }
}

static void scan(struct daemon *d)
{
    struct images_daemon *im = d->images;
    struct scanning *s = calloc(1, sizeof *s);
    im->next_scan = daemon_now() + IMAGE_SCAN;
    if (!s)
        return;
    s->req.data = s;
    s->d = d;
    s->im = im;
    snprintf(s->folder, sizeof s->folder, "%s", d->cfg.image_cache);
    memcpy(s->dirs, d->cfg.image_dirs, sizeof s->dirs);
    s->n_dirs = d->cfg.n_image_dirs;
    memcpy(s->known, im->files, sizeof s->known);
    s->n_known = im->n;
    if (uv_queue_work(&d->loop, &s->req, on_scan, on_scanned)) {
        free(s);
        return;
    }
    im->scanning = true;
    im->jobs++;
}

/* ---- life ---- */

int daemon_image_open(struct daemon *d, char *why, size_t cap)
{
    int err = config_image_cache(&d->cfg);
    snprintf(why, cap, "image-cache: state-dir's path is too long for a folder below it");
    if (!err)
        err = image_store_open(d->cfg.image_cache, why, cap);
    if (err)
        return err;
    d->images = calloc(1, sizeof *d->images);
    if (!d->images) {
        snprintf(why, cap, "out of memory");
        return VI_ENOMEM;
    }
    LIST_INIT(&d->images->giving);
    if (store_each(d->store, STORE_IMAGE, stored, d->images)) {
        snprintf(why, cap, "%s", store_error(d->store));
        return VI_EIO;
    }
    scan(d);
    return 0;
}

void daemon_image_tick(struct daemon *d, vi_time now)
{
    struct images_daemon *im = d->images;
    if (!im->scanning && now >= im->next_scan) {
        touch(d);
        scan(d);
    }
    image_get_tick(d, now);
}

vi_time daemon_image_deadline(const struct daemon *d)
{
    vi_time t = image_get_deadline(d);
    return !d->images->scanning && d->images->next_scan < t ? d->images->next_scan : t;
}

void daemon_image_close(struct daemon *d)
{
    if (!d->images)
        return;
    d->images->closing = true;
    image_get_close(d);
    image_give_close(d);
}

/* Workers that are still at it have their own memory, but for the progress in here: then it stays, the process ends. */
void daemon_image_free(struct daemon *d)
{
    if (d->images && d->images->jobs == 0) {
        image_get_free(d);
        free(d->images);
    }
    d->images = NULL;
}
