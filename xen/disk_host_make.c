/* Disks that an operator makes: of zeros, from an image, or of what is there already. See disks.h.
 *
 * From an image: room and file (the store's thread) → the image's bytes, tested by their hash while they are copied (a thread
 * of its own: that takes long) → the record. Before the record there is no disk, and after a crash nothing of one.
 *
 * What is adopted is written to by root from then on, for a guest. So nobody else may be able to say what it is: not by a
 * link, a second name, or a folder that he may write to. And nobody else may have it in use. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "xen/disk_host_internal.h"

#define CHUNK (1 << 20)

static int said(struct disk_job *j, int err, const char *what)
{
    snprintf(j->why, sizeof j->why, "%.100s: %s", j->path[0] ? j->path : j->name, what);
    return err;
}

/* ---- from an image */

static int open_image(struct disk_job *j, uint64_t *size)
{
    struct disk_host *h = j->host;
    char path[IMAGES_PATH];
    struct stat st;
    int fd = -1;
    bool known;
    pthread_mutex_lock(&h->images_lock);
    known = images_path_of(h->images, j->hash, path) == 0;
    if (!known) { /* it may have come a moment ago */
        (void)images_refresh(h->images);
        known = images_path_of(h->images, j->hash, path) == 0;
    }
    pthread_mutex_unlock(&h->images_lock);
    if (known && !images_led_astray(path))
        fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        if (fd >= 0)
            close(fd);
        return said(j, VI_ENOTFOUND, "no such image is here");
    }
    *size = (uint64_t)st.st_size;
    return fd;
}

static bool all_zero(const uint8_t *data, size_t len)
{
    return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* The file is of zeros already. */
static bool put(int to, const uint8_t *data, size_t len, uint64_t at)
{
    for (size_t done = all_zero(data, len) ? len : 0; done < len;) {
        ssize_t n = pwrite(to, data + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

/* How far it is; false: the host is closed. */
static bool go_on(struct disk_job *j, uint64_t written, uint64_t of)
{
    struct disk_host *h = j->host;
    bool on;
    pthread_mutex_lock(&h->lock);
    j->written = written / 512;
    j->to_write = (of + 511) / 512;
    on = !h->end;
    uv_async_send(&h->wake);
    pthread_mutex_unlock(&h->lock);
    return on;
}

static int copy_bytes(struct disk_job *j, int from, int to, uint64_t size)
{
    crypto_generichash_state state;
    uint8_t hash[HV_HASH_SIZE], *data = malloc(CHUNK);
    uint64_t at = 0;
    int err = data ? 0 : VI_ENOMEM;
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    while (!err && at < size) {
        ssize_t n = read(from, data, size - at < CHUNK ? (size_t)(size - at) : CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            err = said(j, VI_EIO, "the image can't be read");
        } else {
            crypto_generichash_update(&state, data, (size_t)n);
            err = put(to, data, (size_t)n, at) ? 0 : said(j, VI_EIO, "the image can't be written to it");
            at += (uint64_t)n;
        }
        if (!err && !go_on(j, at, size))
            err = VI_ECANCELED;
    }
    crypto_generichash_final(&state, hash, sizeof hash);
    if (!err && memcmp(hash, j->hash, sizeof hash) != 0)
        err = said(j, VI_ENOTFOUND, "the image was changed while it was copied");
    if (!err && fsync(to))
        err = said(j, VI_EIO, strerror(errno));
    free(data);
    return err;
}

static void fill_work(struct disk_job *j)
{
    char path[DISK_PATH * 2];
    uint64_t size = 0;
    int from = open_image(j, &size), to;
    if (from < 0) {
        j->err = from;
        return;
    }
    if (size > j->sectors * 512) {
        close(from);
        j->err = said(j, VI_EINVAL, "the image is larger than the disk");
        return;
    }
    disk_store_bytes(j->host->store, &j->record, path); /* of what never changes of it */
    to = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    j->err = to < 0 ? said(j, VI_EIO, strerror(errno)) : copy_bytes(j, from, to, size);
    if (to >= 0)
        close(to);
    close(from);
}

/* ---- create */

static void made(struct disk_job *j)
{
    for (struct disk_job **p = &j->host->making; *p; p = &(*p)->next_making)
        if (*p == j) {
            *p = j->next_making;
            break;
        }
    disk_job_done(j);
}

static void create_work(struct disk_job *j)
{
    j->err = disk_store_create(j->host->store, &j->id, j->name, j->sectors, j->why, sizeof j->why);
}

static void begin_work(struct disk_job *j)
{
    j->err = disk_store_begin(j->host->store, &j->record, &j->id, j->name, j->sectors, j->why, sizeof j->why);
}

static void end_work(struct disk_job *j)
{
    if (j->err)
        disk_store_abandon(j->host->store, &j->record);
    else
        j->err = disk_store_commit(j->host->store, &j->record, j->why, sizeof j->why);
}

static void filled(struct disk_job *j)
{
    disk_job_submit(j, end_work, made);
}

static void begun(struct disk_job *j)
{
    if (j->err)
        made(j);
    else
        disk_job_apart(j, fill_work, filled);
}

bool disk_being_made(struct disk_host *h, const struct vi_id *id)
{
    for (struct disk_job *j = h->making; j; j = j->next_making)
        if (vi_id_equal(&j->id, id))
            return true;
    return false;
}

static bool name_being_made(struct disk_host *h, const char *name)
{
    for (struct disk_job *j = h->making; j; j = j->next_making)
        if (strcmp(j->name, name) == 0)
            return true;
    return false;
}

static struct disk_job *new_job(struct disks *s, const struct vi_id *id, const char *name, hv_done *done, void *arg, int *err)
{
    struct disk_job *j = disk_job_new((struct disk_host *)s, done, arg, err);
    if (!j)
        return NULL;
    j->id = *id;
    snprintf(j->name, sizeof j->name, "%s", name);
    return j;
}

int disk_make_create(struct disks *s, const struct vi_id *id, const char *name, uint64_t sectors,
                     const uint8_t image[HV_HASH_SIZE], disks_progress *progress, hv_done *done, void *arg)
{
    struct disk_host *h = (struct disk_host *)s;
    int err;
    struct disk_job *j = new_job(s, id, name, done, arg, &err);
    if (!j)
        return err;
    j->sectors = sectors;
    j->progress = progress;
    if (disk_being_made(h, id) || name_being_made(h, name)) {
        disk_job_later(j, VI_EEXIST, "one of this name is being made");
        return 0;
    }
    j->next_making = h->making;
    h->making = j;
    j->has_image = image != NULL;
    if (image)
        memcpy(j->hash, image, sizeof j->hash);
    disk_job_submit(j, image ? begin_work : create_work, image ? begun : made);
    return 0;
}

void disk_makings_look(struct disk_host *h)
{
    struct disk_job *next;
    for (struct disk_job *j = h->making; j; j = next) {
        uint64_t written, to_write;
        next = j->next_making;
        pthread_mutex_lock(&h->lock);
        written = j->written;
        to_write = j->to_write;
        pthread_mutex_unlock(&h->lock);
        if (j->progress && to_write && written != j->told) {
            j->told = written;
            j->progress(j->arg, written, j->sectors, to_write);
        }
    }
}

/* ---- adopt: may it be? */

/* Root's alone? */
static bool is_roots(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

/* Is the folder, whose path is a real one, the allowed one or below it, and root's alone all the way? */
static bool is_below(const char *folder, const char *allowed)
{
    char top[PATH_MAX], part[PATH_MAX];
    size_t n;
    if (!realpath(allowed, top))
        return false;
    n = strcmp(top, "/") ? strlen(top) : 0;
    if (strncmp(folder, top, n) != 0 || (folder[n] && folder[n] != '/'))
        return false;
    snprintf(part, sizeof part, "%s", folder);
    for (char *slash = part + strlen(part); slash; slash = strrchr(part, '/')) {
        *slash = '\0';
        if (strlen(part) < n || !part[0])
            break;
        if (!is_roots(part))
            return false;
    }
    return true;
}

/* The path as it will be known: its folder's real one, and the last name as it is, for what is behind a device's name may
 * have another number after a boot. */
static int resolve(struct disk_job *j, char real[PATH_MAX])
{
    const char *name = strrchr(j->path, '/');
    char folder[DISK_PATH], path[PATH_MAX];
    if (!name || !name[1] || j->path[0] != '/' || strstr(j->path, ".."))
        return said(j, VI_EINVAL, "this is no whole path");
    snprintf(folder, sizeof folder, "%.*s", (int)(name == j->path ? 1 : name - j->path), j->path);
    if (!realpath(folder, path))
        return said(j, VI_ENOTFOUND, strerror(errno));
    for (unsigned i = 0; i < j->host->n_adopt; i++)
        if (is_below(path, j->host->adopt[i])) {
            int n = snprintf(real, PATH_MAX, "%s%s", strcmp(path, "/") ? path : "", name);
            return n < DISK_PATH ? 0 : said(j, VI_EINVAL, "its path is too long");
        }
    return said(j, VI_EREFUSED, "it is below no folder of disk-adopt, or others than root may write to its folder");
}

static int check_kind(struct disk_job *j, const char *path, struct stat *st)
{
    struct stat link;
    if (lstat(path, &link) || stat(path, st))
        return said(j, VI_ENOTFOUND, strerror(errno));
    if (S_ISREG(st->st_mode) && !S_ISLNK(link.st_mode))
        return st->st_nlink == 1 ? 0 : said(j, VI_EREFUSED, "the file has another name, too");
    if (!S_ISBLK(st->st_mode))
        return said(j, VI_EINVAL, "it is neither a block device nor a plain file");
    if (S_ISLNK(link.st_mode) && link.st_uid != geteuid())
        return said(j, VI_EREFUSED, "the link isn't root's");
    if (!S_ISLNK(link.st_mode) && strrchr(path, '/') == path + 4 && strncmp(path, "/dev/", 5) == 0)
        return said(j, VI_EREFUSED, "after a boot that name may be another device's; adopt it by one that stays, of /dev/disk/by-id or its "
                                    "volume group");
    return j->host->files ? said(j, VI_EUNSUPPORTED, "simulated guests' disks are files") : 0;
}

/* ---- adopt: is it in use? */

static bool read_word(const char *path, char *out, size_t cap)
{
    FILE *f = fopen(path, "re");
    bool got = f && fgets(out, (int)cap, f);
    if (f)
        fclose(f);
    if (got)
        out[strcspn(out, "\n")] = '\0';
    return got;
}

/* A guest's back end in the kernel holds no device to itself: it is listed. */
static bool a_guest_has(const struct stat *st)
{
    unsigned major_is, minor_is;
    char text[32];
    glob_t g;
    bool has = false;
    if (!S_ISBLK(st->st_mode) || glob("/sys/bus/xen-backend/devices/vbd-*/physical_device", 0, NULL, &g))
        return false;
    for (size_t i = 0; i < g.gl_pathc && !has; i++)
        has = read_word(g.gl_pathv[i], text, sizeof text) && sscanf(text, "%x:%x", &major_is, &minor_is) == 2 &&
              makedev(major_is, minor_is) == st->st_rdev;
    globfree(&g);
    return has;
}

static bool a_loop_has(const struct stat *st)
{
    char text[PATH_MAX];
    struct stat back;
    glob_t g;
    bool has = false;
    if (!S_ISREG(st->st_mode) || glob("/sys/block/loop*/loop/backing_file", 0, NULL, &g))
        return false;
    for (size_t i = 0; i < g.gl_pathc && !has; i++)
        has = read_word(g.gl_pathv[i], text, sizeof text) && stat(text, &back) == 0 && back.st_dev == st->st_dev &&
              back.st_ino == st->st_ino;
    globfree(&g);
    return has;
}

static bool same(const struct stat *a, const struct stat *b)
{
    if (S_ISBLK(a->st_mode))
        return S_ISBLK(b->st_mode) && a->st_rdev == b->st_rdev;
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool in_folder(const char *folder, const struct stat *st)
{
    struct dirent *e;
    struct stat one;
    bool has = false;
    DIR *d = opendir(folder);
    while (d && !has && (e = readdir(d)))
        has = e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &one, 0) == 0 && same(st, &one);
    if (d)
        closedir(d);
    return has;
}

/* QEMU's back ends, and whatever else. */
static bool a_process_has(const struct stat *st)
{
    char path[64];
    struct dirent *e;
    bool has = false;
    DIR *d = opendir("/proc");
    while (d && !has && (e = readdir(d))) {
        if (!isdigit((unsigned char)e->d_name[0]) || strlen(e->d_name) > 16)
            continue;
        snprintf(path, sizeof path, "/proc/%.16s/fd", e->d_name);
        has = in_folder(path, st);
    }
    if (d)
        closedir(d);
    return has;
}

/* udev looks into devices for a moment. */
static bool stays_open(const struct stat *st)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    for (int i = 0; i < 3; i++) {
        if (!a_process_has(st))
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* Mounted, swapped to, a part of another device: whoever holds it, holds it to himself. */
static int check_free(struct disk_job *j, const char *path, const struct stat *st)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | (S_ISBLK(st->st_mode) ? O_EXCL : O_NOFOLLOW));
    if (fd >= 0)
        close(fd);
    else
        return said(j, errno == EBUSY || errno == ETXTBSY ? VI_ESTATE : VI_EIO,
                    errno == EBUSY || errno == ETXTBSY ? "it is in use: mounted, swapped to, or part of another device"
                                                       : strerror(errno));
    if (a_guest_has(st) || a_loop_has(st) || stays_open(st))
        return said(j, VI_ESTATE, "it is in use: a guest, a loop device or a program has it open; stop that first");
    return 0;
}

/* By this or another name it may be one already. Bytes of the folder itself are never adopted. */
static int check_new(struct disk_job *j, const char *path, const struct stat *st)
{
    struct disk_host *h = j->host;
    char bytes[DISK_PATH * 2], folder[PATH_MAX];
    struct vi_id id;
    struct stat one;
    bool is = disk_host_find(&h->disks, path, &id);
    for (unsigned i = 0; i < disk_store_count(h->store) && !is; i++) {
        disk_store_bytes(h->store, disk_store_at(h->store, i), bytes);
        is = stat(bytes, &one) == 0 && same(st, &one);
    }
    if (!is && realpath(h->folder, folder))
        is = strncmp(path, folder, strlen(folder)) == 0 && path[strlen(folder)] == '/';
    return is ? said(j, VI_EEXIST, "it is a disk of this host already") : 0;
}

static void adopt_work(struct disk_job *j)
{
    char real[PATH_MAX];
    struct stat st;
    j->err = resolve(j, real);
    if (!j->err)
        j->err = check_kind(j, real, &st);
    if (!j->err)
        j->err = check_new(j, real, &st);
    if (!j->err)
        j->err = check_free(j, real, &st);
    if (!j->err)
        j->err = disk_store_adopt(j->host->store, &j->id, j->name, real, j->why, sizeof j->why);
}

int disk_make_adopt(struct disks *s, const struct vi_id *id, const char *name, const char *path, hv_done *done, void *arg)
{
    struct disk_host *h = (struct disk_host *)s;
    int err;
    struct disk_job *j = new_job(s, id, name, done, arg, &err);
    if (!j)
        return err;
    if (disk_being_made(h, id) || name_being_made(h, name)) {
        disk_job_later(j, VI_EEXIST, "one of this name is being made");
        return 0;
    }
    if ((size_t)snprintf(j->path, sizeof j->path, "%s", path) >= sizeof j->path) {
        disk_job_later(j, VI_EINVAL, "its path is too long");
        return 0;
    }
    disk_job_submit(j, adopt_work, NULL);
    return 0;
}
