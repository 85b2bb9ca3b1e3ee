/* Image folders. See images.h.
 *
 * One refresh at a time (its own mutex); the table has another, held only for moments, so that a
 * loop thread can look things up while a worker reads gigabytes. */
#include "xen/images.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/base/err.h"

struct entry {
    char path[IMAGES_PATH];
    uint8_t hash[IMAGES_HASH];
    off_t size;
    ino_t inode;
    struct timespec mtime, ctime;
    bool seen; /* in the refresh under way */
};

struct images {
    char *folders[IMAGES_FOLDERS_MAX];
    unsigned n_folders;
    pthread_mutex_t refreshing, table;
    struct entry *entries; /* IMAGES_MAX */
    unsigned n, left_out;
};

struct images *images_new(const char *const *folders, unsigned n)
{
    struct images *im = calloc(1, sizeof *im);

    if (!im)
        return NULL;
    pthread_mutex_init(&im->refreshing, NULL);
    pthread_mutex_init(&im->table, NULL);
    im->entries = calloc(IMAGES_MAX, sizeof *im->entries);
    for (unsigned i = 0; i < n && im->n_folders < IMAGES_FOLDERS_MAX; i++) {
        im->folders[im->n_folders] = strdup(folders[i]);
        if (!im->folders[im->n_folders++])
            goto fail;
    }
    if (im->entries)
        return im;
fail:
    images_free(im);
    return NULL;
}

void images_free(struct images *im)
{
    if (!im)
        return;
    for (unsigned i = 0; i < im->n_folders; i++)
        free(im->folders[i]);
    free(im->entries);
    pthread_mutex_destroy(&im->refreshing);
    pthread_mutex_destroy(&im->table);
    free(im);
}

/* ---- whose a file is ---- */

static bool ours(uid_t u)
{
    return u == 0 || u == geteuid();
}

/* The folder that a path is in; false: others than root and this user may write in it. */
static bool folder_is_ours(const char *path, struct stat *in)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;

    memset(in, 0, sizeof *in);
    if (!n || n >= sizeof folder)
        return n == 0;
    memcpy(folder, path, n);
    folder[n] = '\0';
    return stat(folder, in) == 0 && ours(in->st_uid) && !(in->st_mode & (S_IWGRP | S_IWOTH));
}

/* In a folder that another user writes (the peer's cache is one) only a file of that user's counts: a link, or a file of
 * root's under another name, would let a guest read with our rights what that user may not. */
static bool is_theirs(const struct stat *in, const struct stat *st)
{
    return S_ISREG(st->st_mode) && (ours(in->st_uid) || st->st_uid == in->st_uid);
}

static bool look(const char *path, struct stat *st)
{
    struct stat in;
    if (folder_is_ours(path, &in))
        return stat(path, st) == 0;
    return lstat(path, st) == 0 && is_theirs(&in, st);
}

/* A descriptor, or -1 with errno; EPERM: it doesn't count. */
static int open_image(const char *path, struct stat *st)
{
    struct stat in;
    bool own = folder_is_ours(path, &in);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (own ? 0 : O_NOFOLLOW));

    if (fd < 0) {
        errno = errno == ELOOP ? EPERM : errno;
        return -1;
    }
    if (fstat(fd, st) == 0 && (own || is_theirs(&in, st)))
        return fd;
    close(fd);
    errno = EPERM;
    return -1;
}

/* Another user can only make links of his own. */
bool images_led_astray(const char *path)
{
    char part[PATH_MAX];
    struct stat st;
    size_t n = strlen(path);

    for (size_t i = 1; i <= n && n < sizeof part; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (lstat(part, &st) == 0 && S_ISLNK(st.st_mode) && !ours(st.st_uid))
            return true;
    }
    return false;
}

/* ---- looking through the folders ---- */

static bool unchanged(const struct entry *e, const struct stat *st)
{
    return e->size == st->st_size && e->inode == st->st_ino &&
           e->mtime.tv_sec == st->st_mtim.tv_sec && e->mtime.tv_nsec == st->st_mtim.tv_nsec &&
           e->ctime.tv_sec == st->st_ctim.tv_sec && e->ctime.tv_nsec == st->st_ctim.tv_nsec;
}

static struct entry *find(struct images *im, const char *path)
{
    for (unsigned i = 0; i < im->n; i++)
        if (strcmp(im->entries[i].path, path) == 0)
            return &im->entries[i];
    return NULL;
}

/* Hashes what the descriptor reads; VI_EAGAIN if the file changed meanwhile. */
static int hash_file(int fd, const struct stat *before, uint8_t hash[IMAGES_HASH])
{
    static const size_t chunk = 1 << 18;
    crypto_generichash_state st;
    struct stat after;
    struct entry was = {.size = before->st_size, .inode = before->st_ino, .mtime = before->st_mtim, .ctime = before->st_ctim};
    uint8_t *buf = malloc(chunk);
    int err = VI_EIO;

    if (!buf)
        return VI_ENOMEM;
    crypto_generichash_init(&st, NULL, 0, IMAGES_HASH);
    for (;;) {
        ssize_t n = read(fd, buf, chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            goto out;
        if (n == 0)
            break;
        crypto_generichash_update(&st, buf, (size_t)n);
    }
    crypto_generichash_final(&st, hash, IMAGES_HASH);
    if (fstat(fd, &after) == 0)
        err = unchanged(&was, &after) ? 0 : VI_EAGAIN;
out:
    free(buf);
    return err;
}

static void keep(struct images *im, const char *path, const struct stat *st,
                 const uint8_t hash[IMAGES_HASH])
{
    struct entry *e = find(im, path);

    if (!e && im->n < IMAGES_MAX)
        e = &im->entries[im->n++];
    if (!e) {
        im->left_out++;
        return;
    }
    snprintf(e->path, sizeof e->path, "%s", path);
    memcpy(e->hash, hash, IMAGES_HASH);
    e->size = st->st_size;
    e->inode = st->st_ino;
    e->mtime = st->st_mtim;
    e->ctime = st->st_ctim;
    e->seen = true;
}

static int refresh_file(struct images *im, const char *path)
{
    struct stat st;
    uint8_t hash[IMAGES_HASH];
    int err = VI_EIO;
    int fd = open_image(path, &st);

    if (fd < 0)
        return errno == ENOENT || errno == EPERM ? 0 : VI_EIO;
    err = 0;
    if (!S_ISREG(st.st_mode))
        goto out;
    pthread_mutex_lock(&im->table);
    struct entry *e = find(im, path);
    bool known = e && unchanged(e, &st), full = !e && im->n >= IMAGES_MAX;
    if (known)
        e->seen = true;
    if (full)
        im->left_out++;
    pthread_mutex_unlock(&im->table);
    if (known || full)
        goto out;
    err = hash_file(fd, &st, hash);
    if (err == 0) {
        pthread_mutex_lock(&im->table);
        keep(im, path, &st, hash);
        pthread_mutex_unlock(&im->table);
    } else if (err == VI_EAGAIN) {
        err = 0; /* being written: the next refresh will find it */
    }
out:
    close(fd);
    return err;
}

static int refresh_folder(struct images *im, const char *folder)
{
    char base[PATH_MAX], path[IMAGES_PATH];
    struct dirent *d;
    int result = 0;
    DIR *dir;

    if (images_led_astray(folder))
        return VI_EIO;
    if (!realpath(folder, base))
        return errno == ENOENT ? 0 : VI_EIO;
    dir = opendir(base);
    if (!dir)
        return VI_EIO;
    while ((d = readdir(dir))) {
        if (d->d_name[0] == '.')
            continue;
        int n = snprintf(path, sizeof path, "%s/%s", base, d->d_name);
        int err = n < (int)sizeof path ? refresh_file(im, path) : VI_EFULL;
        if (err)
            result = err;
    }
    closedir(dir);
    return result;
}

int images_refresh(struct images *im)
{
    int result = 0;

    pthread_mutex_lock(&im->refreshing);
    pthread_mutex_lock(&im->table);
    im->left_out = 0;
    for (unsigned i = 0; i < im->n; i++)
        im->entries[i].seen = false;
    pthread_mutex_unlock(&im->table);
    for (unsigned i = 0; i < im->n_folders; i++) {
        int err = refresh_folder(im, im->folders[i]);
        if (err)
            result = err;
    }
    pthread_mutex_lock(&im->table);
    for (unsigned i = 0; i < im->n;) {
        if (im->entries[i].seen)
            i++;
        else
            im->entries[i] = im->entries[--im->n];
    }
    pthread_mutex_unlock(&im->table);
    pthread_mutex_unlock(&im->refreshing);
    return result;
}

static bool in_a_folder(const struct images *im, const char *real)
{
    char base[PATH_MAX];
    const char *slash = strrchr(real, '/');

    for (unsigned i = 0; slash && i < im->n_folders; i++)
        if (realpath(im->folders[i], base) && strlen(base) == (size_t)(slash - real) &&
            strncmp(base, real, (size_t)(slash - real)) == 0)
            return true;
    return false;
}

int images_hash_of(struct images *im, const char *path, uint8_t hash[IMAGES_HASH])
{
    char folder[PATH_MAX], real[2 * PATH_MAX];
    struct stat st;
    int err = VI_EAGAIN;
    const char *slash = strrchr(path, '/');

    /* Only the folder part is resolved: a link in an image folder is an image under its own name. */
    if (path[0] != '/' || (size_t)(slash - path) >= sizeof folder)
        return VI_ENOTFOUND;
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    char base[PATH_MAX];
    if (!realpath(folder[0] ? folder : "/", base))
        return VI_ENOTFOUND;
    snprintf(real, sizeof real, "%s/%s", base, slash + 1);
    if (!in_a_folder(im, real) || !look(real, &st))
        return VI_ENOTFOUND;
    pthread_mutex_lock(&im->table);
    struct entry *e = find(im, real);
    if (e && unchanged(e, &st)) {
        memcpy(hash, e->hash, IMAGES_HASH);
        err = 0;
    }
    pthread_mutex_unlock(&im->table);
    return err;
}

int images_path_of(struct images *im, const uint8_t hash[IMAGES_HASH], char path[IMAGES_PATH])
{
    int err = VI_ENOTFOUND;
    struct stat st;

    pthread_mutex_lock(&im->table);
    for (unsigned i = 0; i < im->n && err; i++) {
        struct entry *e = &im->entries[i];
        if (memcmp(e->hash, hash, IMAGES_HASH) == 0 && look(e->path, &st) &&
            unchanged(e, &st)) {
            memcpy(path, e->path, IMAGES_PATH);
            err = 0;
        }
    }
    pthread_mutex_unlock(&im->table);
    return err;
}

int images_named(struct images *im, const char *name, uint8_t hash[IMAGES_HASH])
{
    int err = VI_ENOTFOUND;

    pthread_mutex_lock(&im->table);
    for (unsigned i = 0; i < im->n; i++) {
        const struct entry *e = &im->entries[i];
        const char *slash = strrchr(e->path, '/');
        if (!slash || strcmp(slash + 1, name) != 0)
            continue;
        if (err == 0 && memcmp(hash, e->hash, IMAGES_HASH) != 0)
            err = VI_EEXIST;
        else if (err == VI_ENOTFOUND)
            err = 0;
        memcpy(hash, e->hash, IMAGES_HASH);
    }
    pthread_mutex_unlock(&im->table);
    return err;
}

unsigned images_left_out(struct images *im)
{
    pthread_mutex_lock(&im->table);
    unsigned n = im->left_out;
    pthread_mutex_unlock(&im->table);
    return n;
}
