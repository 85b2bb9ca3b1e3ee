/* Images on the disk. See imagestore.h. */
#include "peer/imagestore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"

#define PATH_CAP (PATH_MAX + 512)

static void path_of(char out[PATH_CAP], const char *folder, const uint8_t hash[IMAGE_HASH], const char *before,
                    const char *after)
{
    char hex[IMAGE_HASH_TEXT];
    snprintf(out, PATH_CAP, "%s/%s%s%s", folder, before, image_hash_format(hash, hex), after);
}

static void say(char *why, size_t cap, const char *what)
{
    snprintf(why, cap, "%s: %s", what, strerror(errno));
}

int image_store_open(const char *folder, char *why, size_t cap)
{
    struct stat st;
    if ((mkdir(folder, 0755) && errno != EEXIST) || stat(folder, &st) || !S_ISDIR(st.st_mode) || access(folder, W_OK)) {
        snprintf(why, cap, "image-cache: %s: %s", folder, errno ? strerror(errno) : "is no folder");
        return VI_EIO;
    }
    return 0;
}

/* ---- reading and writing whole things ---- */

static int read_at(int fd, uint8_t *buf, size_t len, uint64_t at)
{
    for (size_t n = 0; n < len;) {
        ssize_t r = pread(fd, buf + n, len - n, (off_t)(at + n));
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0) {
            if (r == 0)
                errno = EIO; /* shorter than it was */
            return VI_EIO;
        }
        n += (size_t)r;
    }
    return 0;
}

static int write_at(int fd, const uint8_t *buf, size_t len, uint64_t at)
{
    for (size_t n = 0; n < len;) {
        ssize_t r = pwrite(fd, buf + n, len - n, (off_t)(at + n));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return VI_EIO;
        n += (size_t)r;
    }
    return 0;
}

static uint8_t *read_manifest(const char *folder, const uint8_t hash[IMAGE_HASH], size_t *len)
{
    char path[PATH_CAP];
    struct stat st;
    uint64_t size;
    uint8_t *m = NULL;
    int fd;
    path_of(path, folder, hash, ".", ".manifest");
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= IMAGE_MANIFEST_MAX)
        m = malloc((size_t)st.st_size);
    if (m && (read_at(fd, m, (size_t)st.st_size, 0) || image_manifest_check(m, (size_t)st.st_size, &size))) {
        free(m);
        m = NULL;
    }
    close(fd);
    *len = m ? (size_t)st.st_size : 0;
    return m;
}

/* Whole or not at all; it can be made again, so it isn't waited for. */
static int write_manifest(const char *folder, const uint8_t hash[IMAGE_HASH], const uint8_t *m, size_t len)
{
    char path[PATH_CAP], tmp[PATH_CAP];
    int fd, err;
    path_of(path, folder, hash, ".", ".manifest");
    path_of(tmp, folder, hash, ".", ".manifest.new");
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return VI_EIO;
    err = write_at(fd, m, len, 0);
    close(fd);
    if (!err && rename(tmp, path))
        err = VI_EIO;
    if (err)
        unlink(tmp);
    return err;
}

/* Reads a file of this size through: its hash, and with m its chunks', too. */
static int read_through(int fd, uint64_t size, uint8_t hash[IMAGE_HASH], uint8_t *m, struct image_progress *p)
{
    crypto_generichash_state st;
    uint8_t *buf = malloc(IMAGE_CHUNK);
    int err = buf ? 0 : VI_ENOMEM;
    crypto_generichash_init(&st, NULL, 0, IMAGE_HASH);
    for (uint32_t c = 0; !err && c < image_chunks(size); c++) {
        uint32_t len = image_chunk_len(size, c);
        err = read_at(fd, buf, len, (uint64_t)c << IMAGE_CHUNK_SHIFT);
        if (err)
            break;
        crypto_generichash_update(&st, buf, len);
        if (m)
            image_hash(buf, len, image_manifest_chunk(m, c));
        if (p)
            p->done += len;
    }
    crypto_generichash_final(&st, hash, IMAGE_HASH);
    free(buf);
    return err;
}

/* ---- one file ---- */

static void remember(struct image_file *f, const struct stat *st)
{
    f->size = (uint64_t)st->st_size;
    f->inode = st->st_ino;
    f->mtime = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    f->ctime = (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec;
}

static bool unchanged(const struct image_file *f, const struct stat *st)
{
    struct image_file now = {0};
    remember(&now, st);
    return now.size == f->size && now.inode == f->inode && now.mtime == f->mtime && now.ctime == f->ctime;
}

/* Fills in hash, manifest and what tells a change; writes the manifest into the cache folder. VI_EAGAIN: it is being
 * written. */
static int look_at(const char *folder, int fd, struct image_file *f, struct image_progress *p)
{
    struct stat st, after;
    uint8_t *m;
    size_t len;
    int err = VI_EIO;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t)st.st_size > IMAGE_SIZE_MAX)
        return VI_EINVAL;
    remember(f, &st);
    if (p) {
        p->of = f->size;
        p->done = 0;
    }
    len = image_manifest_len(f->size);
    m = malloc(len);
    if (!m)
        return VI_ENOMEM;
    image_manifest_begin(m, f->size);
    err = read_through(fd, f->size, f->hash, m, p);
    if (!err && (fstat(fd, &after) || !unchanged(f, &after)))
        err = VI_EAGAIN;
    image_hash(m, len, f->manifest);
    if (!err)
        err = write_manifest(folder, f->hash, m, len);
    free(m);
    return err;
}

uint8_t *image_store_manifest(const char *folder, const struct image_file *f, size_t *len)
{
    uint8_t *m = read_manifest(folder, f->hash, len), hash[IMAGE_HASH];
    struct image_file again = *f;
    int fd;
    if (m) {
        image_hash(m, *len, hash);
        if (!memcmp(hash, f->manifest, IMAGE_HASH))
            return m;
        free(m);
    }
    fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    if (look_at(folder, fd, &again, NULL) == 0 && !memcmp(again.hash, f->hash, IMAGE_HASH))
        m = read_manifest(folder, f->hash, len);
    else
        m = NULL;
    close(fd);
    return m;
}

/* ---- looking through the folders ---- */

struct scan {
    const char *folder;
    const struct image_file *known;
    unsigned n_known, n;
    struct image_file *out;
    struct image_progress *p;
};

static const struct image_file *known_file(const struct scan *s, const char *path)
{
    for (unsigned i = 0; i < s->n_known; i++)
        if (!strcmp(s->known[i].path, path))
            return &s->known[i];
    return NULL;
}

static bool have(const struct scan *s, const uint8_t hash[IMAGE_HASH])
{
    for (unsigned i = 0; i < s->n; i++)
        if (!memcmp(s->out[i].hash, hash, IMAGE_HASH))
            return true;
    return false;
}

/* A file that can't be read, is empty, or whose path is too long to be kept is no image. want: what its name says it is. */
static void scan_file(struct scan *s, const char *path, const uint8_t *want)
{
    const struct image_file *k = known_file(s, path);
    struct image_file f = {.cached = want != NULL, .added = false};
    struct stat st;
    size_t len = strlen(path);
    int fd = s->n < IMAGE_FILES_MAX && len < sizeof f.path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
    if (fd < 0)
        return;
    if (k)
        f = *k;
    memcpy(f.path, path, len + 1);
    f.cached = want != NULL;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || ((!k || !unchanged(k, &st)) && look_at(s->folder, fd, &f, s->p))) {
        close(fd);
        return;
    }
    close(fd);
    if (want && memcmp(want, f.hash, IMAGE_HASH)) {
        vi_log(VI_LOG_WARN, "image", "%s isn't what its name says; it is removed", path);
        unlink(path);
    } else if (!have(s, f.hash)) {
        if (!f.used)
            f.used = vi_clock_wall();
        s->out[s->n++] = f;
    }
}

static bool is_old(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && vi_clock_wall() / VI_SEC - st.st_mtim.tv_sec > IMAGE_STALE / VI_SEC;
}

/* ".HEX.part", ".HEX.manifest", ".add-*". Manifests go with what they are of. */
static void scan_hidden(const char *folder, const char *name, uint8_t parts[][IMAGE_HASH], unsigned *n_parts)
{
    char path[PATH_CAP], hex[IMAGE_HASH_TEXT];
    uint8_t hash[IMAGE_HASH];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!strncmp(name, ".add-", 5)) {
        if (is_old(path))
            unlink(path);
        return;
    }
    snprintf(hex, sizeof hex, "%s", name + 1);
    if (strlen(name) < IMAGE_HASH_TEXT || strcmp(name + IMAGE_HASH_TEXT, ".part") || image_hash_parse(hash, hex))
        return;
    if (is_old(path))
        image_part_remove(folder, hash);
    else if (*n_parts < IMAGE_PARTS_MAX)
        memcpy(parts[(*n_parts)++], hash, IMAGE_HASH);
}

static void scan_folder(struct scan *s, const char *folder, bool cache, uint8_t parts[][IMAGE_HASH], unsigned *n_parts)
{
    char base[PATH_MAX], path[PATH_CAP];
    uint8_t hash[IMAGE_HASH];
    struct dirent *e;
    DIR *d = realpath(folder, base) ? opendir(base) : NULL;
    if (!d)
        return;
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.') {
            if (cache)
                scan_hidden(folder, e->d_name, parts, n_parts);
            continue;
        }
        snprintf(path, sizeof path, "%s/%s", cache ? folder : base, e->d_name);
        if (strlen(path) < IMAGE_PATH_MAX && (!cache || image_hash_parse(hash, e->d_name) == 0))
            scan_file(s, path, cache ? hash : NULL);
    }
    closedir(d);
}

unsigned image_store_scan(const char *folder, const char *const *dirs, unsigned n_dirs, const struct image_file *known,
                          unsigned n_known, struct image_file *out, uint8_t parts[][IMAGE_HASH], unsigned *n_parts,
                          struct image_progress *p)
{
    struct scan s = {.folder = folder, .known = known, .n_known = n_known, .out = out, .p = p};
    *n_parts = 0;
    scan_folder(&s, folder, true, parts, n_parts);
    for (unsigned i = 0; i < n_dirs; i++)
        scan_folder(&s, dirs[i], false, NULL, NULL);
    return s.n;
}

/* ---- taking one in ---- */

/* The file's content and its name are on the disk. */
static int settle(const char *folder, int fd, const char *from, const char *to)
{
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = VI_EIO;
    if (dir >= 0 && !fchmod(fd, 0444) && !fsync(fd) && !rename(from, to) && !fsync(dir))
        err = 0;
    if (dir >= 0)
        close(dir);
    return err;
}

int image_store_take(const char *folder, const char *file, struct image_file *f, struct image_progress *p)
{
    char path[PATH_CAP];
    struct stat st;
    int fd, err;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return VI_ENOTFOUND;
    err = look_at(folder, fd, f, p);
    if (!err) {
        char to[PATH_CAP];
        path_of(to, folder, f->hash, "", "");
        err = settle(folder, fd, path, to);
        snprintf(f->path, sizeof f->path, "%.*s", (int)sizeof f->path - 1, to);
        f->cached = true;
        f->used = vi_clock_wall();
        if (!err && !fstat(fd, &st))
            remember(f, &st); /* rename and chmod changed it */
    }
    close(fd);
    if (err)
        unlink(path);
    return err;
}

/* ---- parts ---- */

/* A chunk that lies in a hole was never written. */
static bool in_hole(int fd, uint64_t at, uint32_t len)
{
    off_t data = lseek(fd, (off_t)at, SEEK_DATA);
    return data < 0 ? errno == ENXIO : (uint64_t)data >= at + len;
}

static int find_kept(int fd, const uint8_t *manifest, uint64_t size, uint8_t *kept)
{
    uint8_t *buf = malloc(IMAGE_CHUNK);
    if (!buf)
        return VI_ENOMEM;
    for (uint32_t c = 0; c < image_chunks(size); c++) {
        uint64_t at = (uint64_t)c << IMAGE_CHUNK_SHIFT;
        uint32_t len = image_chunk_len(size, c);
        kept[c] = !in_hole(fd, at, len) && !read_at(fd, buf, len, at) && image_chunk_good(manifest, c, buf, len);
    }
    free(buf);
    return 0;
}

int image_part_open(const char *folder, const uint8_t hash[IMAGE_HASH], const uint8_t *manifest, size_t len, uint8_t *kept,
                    char *why, size_t cap)
{
    char path[PATH_CAP];
    uint64_t size;
    int fd, err;
    path_of(path, folder, hash, ".", ".part");
    if (image_manifest_check(manifest, len, &size))
        return VI_EPROTO;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0 || ftruncate(fd, (off_t)size) || write_manifest(folder, hash, manifest, len)) {
        say(why, cap, path);
        if (fd >= 0)
            close(fd);
        return VI_EIO;
    }
    err = find_kept(fd, manifest, size, kept);
    if (!err)
        return fd;
    snprintf(why, cap, "out of memory");
    close(fd);
    return err;
}

int image_part_put(int fd, const uint8_t *manifest, uint32_t chunk, const uint8_t *data, size_t len, char *why, size_t cap)
{
    if (!image_chunk_good(manifest, chunk, data, len))
        return VI_EAUTH;
    if (write_at(fd, data, len, (uint64_t)chunk << IMAGE_CHUNK_SHIFT) == 0)
        return 0;
    say(why, cap, "image-cache");
    return VI_EIO;
}

int image_part_finish(const char *folder, const uint8_t hash[IMAGE_HASH], int fd, uint64_t size, struct image_file *f,
                      char *why, size_t cap)
{
    char path[PATH_CAP], to[PATH_CAP];
    uint8_t is[IMAGE_HASH], *m;
    struct stat st;
    size_t len;
    int err = read_through(fd, size, is, NULL, NULL);
    if (!err && memcmp(is, hash, IMAGE_HASH))
        return VI_EAUTH;
    path_of(path, folder, hash, ".", ".part");
    path_of(to, folder, hash, "", "");
    if (!err)
        err = settle(folder, fd, path, to);
    if (err || fstat(fd, &st)) {
        say(why, cap, path);
        return VI_EIO;
    }
    memset(f, 0, sizeof *f);
    memcpy(f->hash, hash, IMAGE_HASH);
    f->cached = true;
    f->used = vi_clock_wall();
    snprintf(f->path, sizeof f->path, "%.*s", (int)sizeof f->path - 1, to);
    remember(f, &st);
    m = read_manifest(folder, hash, &len);
    if (m)
        image_hash(m, len, f->manifest);
    free(m);
    return 0;
}

void image_part_remove(const char *folder, const uint8_t hash[IMAGE_HASH])
{
    char path[PATH_CAP];
    path_of(path, folder, hash, ".", ".part");
    unlink(path);
    path_of(path, folder, hash, "", "");
    if (access(path, F_OK) == 0)
        return; /* its manifest stays */
    path_of(path, folder, hash, ".", ".manifest");
    unlink(path);
}

/* ---- room ---- */

int image_store_free(const char *folder, uint64_t *bytes)
{
    struct statvfs v;
    if (statvfs(folder, &v))
        return VI_EIO;
    *bytes = (uint64_t)v.f_bavail * v.f_frsize;
    return 0;
}

uint64_t image_store_used(const char *folder, const uint8_t but[IMAGE_HASH])
{
    char path[PATH_CAP], part[PATH_CAP];
    uint64_t n = 0;
    struct dirent *e;
    struct stat st;
    DIR *d = opendir(folder);
    if (!d)
        return 0;
    path_of(part, folder, but, ".", ".part");
    while ((e = readdir(d))) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (strcmp(path, part) && lstat(path, &st) == 0 && S_ISREG(st.st_mode))
            n += (uint64_t)st.st_blocks * 512;
    }
    closedir(d);
    return n;
}

int image_store_choose(const struct image_file *files, unsigned n_files, const bool *keep, uint64_t bytes, uint64_t used,
                       uint64_t most, uint64_t available, uint64_t spare, unsigned *out, unsigned *n)
{
    bool gone[IMAGE_FILES_MAX] = {false};
    uint64_t freed = 0;
    *n = 0;
    while (used - freed + bytes > most || available + freed < bytes + spare) {
        unsigned oldest = n_files;
        for (unsigned i = 0; i < n_files; i++)
            if (!gone[i] && !keep[i] && (oldest == n_files || files[i].used < files[oldest].used))
                oldest = i;
        if (oldest == n_files)
            return VI_EFULL;
        gone[oldest] = true;
        freed += files[oldest].size < used - freed ? files[oldest].size : used - freed;
        out[(*n)++] = oldest;
    }
    return 0;
}

int image_store_remove(const char *folder, const uint8_t hash[IMAGE_HASH])
{
    char path[PATH_CAP];
    path_of(path, folder, hash, "", "");
    if (unlink(path))
        return errno == ENOENT ? VI_ENOTFOUND : VI_EIO;
    image_part_remove(folder, hash);
    return 0;
}
