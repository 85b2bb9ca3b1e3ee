/* A host's disks. See disk_store.h.
 *
 * A record is written before what it says is done, where doing it twice is harmless, so that a crash between the two is
 * made good by asking again: ARRIVING before bytes are touched, OLD before the device goes, removed last of all. */
#include "xen/disk_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"

#define NAME_KEPT 40 /* of a name that another disk here has, beside what tells them apart */
#define GIB ((uint64_t)(1 << 30) / 512) /* sectors */
#define KEPT_FREE ((4 << 20) / 512) /* sectors: that no disk takes, so that a record can always be written */

struct disk_store {
    char folder[DISK_PATH];
    int fd; /* of the folder */
    bool plain; /* files, no devices */
    unsigned n;
    struct disk_record disks[DISKS_MAX];
};

struct file {
    char name[VI_ID_TEXT + 8];
};

static struct file file_of(const struct vi_id *id, const char *suffix)
{
    char text[VI_ID_TEXT];
    struct file f;
    snprintf(f.name, sizeof f.name, "%s%s", vi_id_format(id, text), suffix);
    return f;
}

static int said(char *why, size_t cap, int err, const struct disk_record *r, const char *what)
{
    snprintf(why, cap, "disk %s: %s", r->name, what);
    return err;
}

/* ---- records */

static int write_whole(int fd, const char *text, size_t len)
{
    ssize_t n = write(fd, text, len);
    return n == (ssize_t)len && fsync(fd) == 0 ? 0 : VI_EIO;
}

static int save(struct disk_store *s, const struct disk_record *r, char *why, size_t cap)
{
    struct file there = file_of(&r->id, ".disk"), new = file_of(&r->id, ".new");
    char text[DISK_RECORD_MAX];
    int n = disk_record_encode(r, text, sizeof text), fd, err;
    if (n < 0)
        return said(why, cap, VI_EINVAL, r, "its name, size or device can't be written down");
    fd = openat(s->fd, new.name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    err = fd < 0 ? VI_EIO : write_whole(fd, text, (size_t)n);
    if (fd >= 0)
        close(fd);
    if (!err && (renameat(s->fd, new.name, s->fd, there.name) || fsync(s->fd)))
        err = VI_EIO;
    return err ? said(why, cap, err, r, "its record can't be written") : 0;
}

static struct disk_record *find(struct disk_store *s, const struct vi_id *id)
{
    for (unsigned i = 0; i < s->n; i++)
        if (vi_id_equal(&s->disks[i].id, id))
            return &s->disks[i];
    return NULL;
}

static bool named(const struct disk_store *s, const char *name)
{
    for (unsigned i = 0; i < s->n; i++)
        if (strcmp(s->disks[i].name, name) == 0)
            return true;
    return false;
}

static bool drop_old(struct disk_store *s);

/* The record as it will be, saved and then taken over. */
static int put(struct disk_store *s, const struct disk_record *r, char *why, size_t cap)
{
    struct disk_record *there = find(s, &r->id);
    int err;
    if (!there && s->n >= DISKS_MAX && !drop_old(s)) /* one that is there is no old one that could go */
        return said(why, cap, VI_EFULL, r, "this host has as many disks as it can have");
    err = save(s, r, why, cap);
    if (!err)
        *(there ? there : &s->disks[s->n++]) = *r;
    return err;
}

static void forget(struct disk_store *s, struct disk_record *r)
{
    struct file record = file_of(&r->id, ".disk"), bytes = file_of(&r->id, ".img");
    if (!r->below[0])
        unlinkat(s->fd, bytes.name, 0);
    unlinkat(s->fd, record.name, 0);
    (void)fsync(s->fd);
    *r = s->disks[--s->n];
}

static void load(struct disk_store *s, const char *name)
{
    char text[DISK_RECORD_MAX], id[VI_ID_TEXT];
    struct disk_record r;
    int fd = openat(s->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    if (n < 0 || disk_record_decode(&r, text, (size_t)n) || strncmp(name, vi_id_format(&r.id, id), VI_ID_TEXT - 1) != 0 ||
        s->n >= DISKS_MAX)
        vi_log(VI_LOG_WARN, "disk", "%s/%s is no disk's record that can be read; it is left alone", s->folder, name);
    else
        s->disks[s->n++] = r;
}

/* Bytes or a record that were being made, and whose disk isn't there. What has a record, good or not, is left alone. */
static void sweep(struct disk_store *s, const char *name)
{
    char record[VI_ID_TEXT + 8];
    struct vi_id id;
    struct stat st;
    snprintf(record, sizeof record, "%.*s.disk", VI_ID_TEXT - 1, name);
    record[VI_ID_TEXT - 1] = '\0';
    if (vi_id_parse(&id, record))
        return;
    record[VI_ID_TEXT - 1] = '.';
    if (fstatat(s->fd, record, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
        return;
    vi_log(VI_LOG_INFO, "disk", "%s/%s was being made and never was; it goes", s->folder, name);
    unlinkat(s->fd, name, 0);
}

static void read_folder(struct disk_store *s, DIR *d)
{
    struct dirent *e;
    while ((e = readdir(d))) {
        size_t n = strlen(e->d_name);
        if (n == VI_ID_TEXT - 1 + 5 && strcmp(e->d_name + n - 5, ".disk") == 0)
            load(s, e->d_name);
        else if (n == VI_ID_TEXT - 1 + 4 && (strcmp(e->d_name + n - 4, ".img") == 0 || strcmp(e->d_name + n - 4, ".new") == 0))
            sweep(s, e->d_name);
    }
}

struct disk_store *disk_store_open(const char *folder, char *why, size_t cap)
{
    struct disk_store *s = calloc(1, sizeof *s);
    DIR *d;
    if (!s || strlen(folder) >= sizeof s->folder - VI_ID_TEXT - 8) {
        snprintf(why, cap, "out of memory, or the folder's path is too long");
        free(s);
        return NULL;
    }
    strcpy(s->folder, folder);
    s->fd = mkdir(folder, 0700) && errno != EEXIST ? -1 : open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    d = s->fd < 0 ? NULL : opendir(folder);
    if (!d) {
        snprintf(why, cap, "%s: %s", folder, strerror(errno));
        disk_store_close(s);
        return NULL;
    }
    read_folder(s, d);
    closedir(d);
    return s;
}

void disk_store_plain_files(struct disk_store *s)
{
    s->plain = true;
}

void disk_store_close(struct disk_store *s)
{
    if (s && s->fd >= 0)
        close(s->fd);
    free(s);
}

unsigned disk_store_count(const struct disk_store *s)
{
    return s->n;
}

const struct disk_record *disk_store_at(const struct disk_store *s, unsigned i)
{
    return i < s->n ? &s->disks[i] : NULL;
}

const struct disk_record *disk_store_find(const struct disk_store *s, const struct vi_id *id)
{
    for (unsigned i = 0; i < s->n; i++)
        if (vi_id_equal(&s->disks[i].id, id))
            return &s->disks[i];
    return NULL;
}

/* ---- room */

static uint64_t free_now(const struct disk_store *s)
{
    struct statvfs v;
    return fstatvfs(s->fd, &v) ? 0 : (uint64_t)v.f_bavail * v.f_frsize / 512;
}

uint64_t disk_store_room(const struct disk_store *s)
{
    uint64_t sectors = free_now(s);
    for (unsigned i = 0; i < s->n; i++)
        if (s->disks[i].kind == DISK_OLD && !s->disks[i].below[0])
            sectors += s->disks[i].sectors;
    return sectors > KEPT_FREE ? sectors - KEPT_FREE : 0;
}

static int release(const struct disk_store *s, const struct disk_record *r, char *why, size_t cap);

/* The old copy that has been here longest goes; not one that its guest, which has moved, still has here. */
static bool drop_old(struct disk_store *s)
{
    struct disk_record *oldest = NULL;
    time_t since = 0;
    char why[160];
    for (unsigned i = 0; i < s->n; i++) {
        struct disk_record *r = &s->disks[i];
        struct file f = file_of(&r->id, ".disk");
        struct stat st;
        if (r->kind != DISK_OLD || r->below[0] || fstatat(s->fd, f.name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        if ((!oldest || st.st_mtime < since) && !release(s, r, why, sizeof why)) {
            oldest = r;
            since = st.st_mtime;
        }
    }
    if (oldest) {
        vi_log(VI_LOG_INFO, "disk", "the old copy of %s goes: its room is needed", oldest->name);
        forget(s, oldest);
    }
    return oldest != NULL;
}

/* The smaller unit's digits where a GiB would hide the difference. */
static void size_text(uint64_t sectors, char out[24])
{
    bool gib = sectors >= 10 * GIB;
    snprintf(out, 24, "%llu %s", (unsigned long long)(sectors / (gib ? GIB : GIB / 1024)), gib ? "GiB" : "MiB");
}

static int no_room(const struct disk_store *s, const struct disk_record *r, char *why, size_t cap)
{
    char wanted[24], there[24], text[160];
    size_text(r->sectors, wanted);
    size_text(disk_store_room(s), there);
    snprintf(text, sizeof text, "there is no room for it: %s are wanted, %s are left in the disks' folder (violin disk list)", wanted, there);
    return said(why, cap, VI_EFULL, r, text);
}

/* The file of its bytes, new and of zeros, with all of its room. */
static int allocate(struct disk_store *s, const struct disk_record *r, char *why, size_t cap)
{
    struct file f = file_of(&r->id, ".img");
    int fd, err;
    unlinkat(s->fd, f.name, 0);
    while (free_now(s) < r->sectors + KEPT_FREE)
        if (disk_store_room(s) < r->sectors || !drop_old(s)) /* where there will be no room, none goes for nothing */
            return no_room(s, r, why, cap);
    fd = openat(s->fd, f.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return said(why, cap, VI_EIO, r, strerror(errno));
    do /* not posix_fallocate, which writes all of it where the file system can't: others wait meanwhile */
        err = fallocate(fd, 0, 0, (off_t)(r->sectors * 512)) ? errno : 0;
    while (err == EINTR);
    if (!err && fsync(fd))
        err = EIO;
    close(fd);
    if (!err)
        return 0;
    unlinkat(s->fd, f.name, 0);
    if (err == EOPNOTSUPP)
        return said(why, cap, VI_EUNSUPPORTED, r, "the file system of the disks' folder can't keep room for a file; use ext4 or xfs");
    return said(why, cap, err == ENOSPC ? VI_EFULL : VI_EIO, r, strerror(err));
}

/* ---- devices */

void disk_store_bytes(const struct disk_store *s, const struct disk_record *r, char path[DISK_PATH * 2])
{
    struct file f = file_of(&r->id, ".img");
    if (r->below[0])
        snprintf(path, DISK_PATH * 2, "%s", r->below);
    else
        snprintf(path, DISK_PATH * 2, "%s/%s", s->folder, f.name);
}

int64_t disk_store_since(const struct disk_store *s, const struct vi_id *id)
{
    struct file f = file_of(id, ".disk");
    struct stat st;
    return fstatat(s->fd, f.name, &st, AT_SYMLINK_NOFOLLOW) ? 0 : (int64_t)st.st_mtime;
}

/* Files are below a loop device of ours. No link: who could lead root elsewhere by one? */
static bool is_file(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool locked(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    bool is = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
    if (fd >= 0)
        close(fd);
    return is;
}

bool disk_store_used(struct disk_store *s, const struct vi_id *id)
{
    const struct disk_record *r = find(s, id);
    char path[DISK_PATH * 2], name[DISK_NAME], why[128];
    unsigned n = 0;
    if (!r)
        return false;
    if (s->plain) {
        disk_store_bytes(s, r, path);
        return locked(path);
    }
    disk_device_name(r->name, name);
    return disk_users(name, &n, why, sizeof why) == 0 && n > 0;
}

int disk_store_device(struct disk_store *s, const struct vi_id *id, char path[DISK_PATH], char below[DISK_PATH], char *why,
                      size_t cap)
{
    const struct disk_record *r = find(s, id);
    char name[DISK_NAME], bytes[DISK_PATH * 2];
    bool file;
    int err;
    if (!r || r->kind == DISK_OLD) {
        snprintf(why, cap, r ? "disk %s is an old copy: its guest has moved, nothing starts from it" : "no such disk here",
                 r ? r->name : "");
        return r ? VI_ESTATE : VI_ENOTFOUND;
    }
    disk_store_bytes(s, r, bytes);
    if (s->plain) {
        below[0] = '\0';
        return (size_t)snprintf(path, DISK_PATH, "%s", bytes) < DISK_PATH ? 0 : VI_EINVAL;
    }
    disk_device_name(r->name, name);
    if (!disk_below(name, below, why, cap)) { /* it is there already: its own, or what another disk of that name has left? */
        if (!disk_lies_on(below, bytes))
            return said(why, cap, VI_ESTATE, r, "a device of its name is there already, and another one; dmsetup remove takes it away");
        return disk_open(name, below, r->sectors, path, why, cap);
    }
    file = is_file(bytes);
    if (!file && !r->below[0])
        return said(why, cap, VI_ENOTFOUND, r, "the file of its bytes is gone");
    snprintf(below, DISK_PATH, "%s", r->below);
    if (file && (err = disk_loop_open(bytes, below, why, cap)) != 0)
        return err;
    err = disk_open(name, below, r->sectors, path, why, cap);
    if (err && file)
        (void)disk_loop_close(below);
    return err;
}

/* Gone, or VI_ESTATE while somebody has it open. No device, or no device mapper at all: there is nothing to go. */
static int release(const struct disk_store *s, const struct disk_record *r, char *why, size_t cap)
{
    char name[DISK_NAME], below[DISK_PATH], bytes[DISK_PATH * 2];
    int err;
    bool known;
    disk_store_bytes(s, r, bytes);
    if (s->plain)
        return locked(bytes) ? said(why, cap, VI_ESTATE, r, "a guest has it still") : 0;
    disk_device_name(r->name, name);
    err = disk_below(name, below, why, cap);
    if (err == VI_ENOTFOUND || err == VI_EUNSUPPORTED)
        return 0;
    known = !err;
    err = disk_close(name, why, cap);
    if (!err && known && is_file(bytes))
        err = disk_loop_close(below);
    return err ? said(why, cap, VI_ESTATE, r, "a guest has it still") : 0;
}

/* ---- an operator's */

static int begin(struct disk_store *s, struct disk_record *r, const struct vi_id *id, const char *name, char *why, size_t cap)
{
    memset(r, 0, sizeof *r);
    r->id = *id;
    r->kind = DISK_TRUE;
    r->generation = 1;
    if (!disk_name_ok(name)) {
        snprintf(why, cap, "a disk's name has letters, digits, `_`, `.`, `-`, at most %d", DISK_NAME - 17);
        return VI_EINVAL;
    }
    snprintf(r->name, sizeof r->name, "%s", name);
    return named(s, name) || find(s, id) ? said(why, cap, VI_EEXIST, r, "there is one of this name") : 0;
}

int disk_store_create(struct disk_store *s, const struct vi_id *id, const char *name, uint64_t sectors, char *why, size_t cap)
{
    struct disk_record r;
    int err = disk_store_begin(s, &r, id, name, sectors, why, cap);
    return err ? err : disk_store_commit(s, &r, why, cap);
}

int disk_store_begin(struct disk_store *s, struct disk_record *r, const struct vi_id *id, const char *name, uint64_t sectors,
                     char *why, size_t cap)
{
    int err = begin(s, r, id, name, why, cap);
    if (!err && (sectors == 0 || sectors > DISK_SECTORS_MAX))
        err = said(why, cap, VI_EINVAL, r, "its size is out of range");
    r->sectors = sectors;
    return err ? err : allocate(s, r, why, cap);
}

int disk_store_commit(struct disk_store *s, const struct disk_record *r, char *why, size_t cap)
{
    int err = named(s, r->name) || find(s, &r->id) ? said(why, cap, VI_EEXIST, r, "there is one of this name") : 0;
    if (!err)
        err = put(s, r, why, cap);
    if (err)
        disk_store_abandon(s, r);
    return err;
}

void disk_store_abandon(struct disk_store *s, const struct disk_record *r)
{
    struct file bytes = file_of(&r->id, ".img"), new = file_of(&r->id, ".new");
    if (find(s, &r->id))
        return;
    unlinkat(s->fd, bytes.name, 0);
    unlinkat(s->fd, new.name, 0);
}

int disk_store_adopt(struct disk_store *s, const struct vi_id *id, const char *name, const char *below, char *why, size_t cap)
{
    struct disk_record r;
    struct stat st;
    int err = begin(s, &r, id, name, why, cap);
    if (err)
        return err;
    if (strlen(below) >= sizeof r.below || stat(below, &st) || (!S_ISBLK(st.st_mode) && !is_file(below)) ||
        disk_sectors(below, &r.sectors))
        return said(why, cap, VI_ENOTFOUND, &r, "what is to be adopted is no block device and no file");
    strcpy(r.below, below);
    for (unsigned i = 0; i < s->n; i++)
        if (strcmp(s->disks[i].below, below) == 0)
            return said(why, cap, VI_EEXIST, &s->disks[i], "it has this device already");
    return put(s, &r, why, cap);
}

int disk_store_remove(struct disk_store *s, const struct vi_id *id, char *why, size_t cap)
{
    struct disk_record *r = find(s, id);
    int err;
    if (!r) {
        snprintf(why, cap, "no such disk here");
        return VI_ENOTFOUND;
    }
    if (r->kind == DISK_ARRIVING)
        return said(why, cap, VI_ESTATE, r, "it is being moved here");
    err = release(s, r, why, cap);
    if (!err)
        forget(s, r);
    return err;
}

/* ---- a handover's */

static bool is_made(const struct disk_store *s, const struct file *f, uint64_t sectors)
{
    struct stat st;
    return !fstatat(s->fd, f->name, &st, AT_SYMLINK_NOFOLLOW) && (uint64_t)st.st_size == sectors * 512;
}

int disk_store_make(struct disk_store *s, const struct vi_id *handover, const struct vi_id *id, const char *name,
                    uint64_t sectors, bool base, char *why, size_t cap)
{
    struct disk_record *there = find(s, id), r;
    struct file f = file_of(id, ".img");
    int err;
    memset(&r, 0, sizeof r);
    if (there)
        r = *there;
    snprintf(r.name, sizeof r.name, "%s", there ? there->name : disk_name_ok(name) ? name : "disk");
    if (there && there->kind == DISK_TRUE)
        return said(why, cap, VI_EEXIST, &r, "the copy here is the true one");
    if (there && there->kind == DISK_ARRIVING && !vi_id_equal(&there->by, handover))
        return said(why, cap, VI_ESTATE, &r, "another handover brings it");
    if ((base || (there && there->below[0])) && (!there || there->sectors != sectors))
        return said(why, cap, VI_EINVAL, &r, "the old copy here is of another size, or gone");
    if (there && there->kind == DISK_ARRIVING && (r.below[0] || is_made(s, &f, sectors)))
        return 0; /* before, by this handover */
    if (there && there->kind == DISK_OLD && (err = release(s, there, why, cap)) != 0)
        return err; /* its guest has moved, and not gone here yet */
    if (!there && named(s, r.name))
        snprintf(r.name + strnlen(r.name, NAME_KEPT), DISK_NAME - NAME_KEPT, "-%02x%02x%02x", id->b[0], id->b[1], id->b[2]);
    if (!there && named(s, r.name)) /* name and id are the other host's choice: no device gets two disks */
        return said(why, cap, VI_EEXIST, &r, "there is one of this name");
    r.id = *id;
    r.by = *handover;
    r.kind = DISK_ARRIVING;
    r.sectors = sectors;
    r.generation = 1;
    err = put(s, &r, why, cap);
    if (!err && !base && !r.below[0])
        err = allocate(s, &r, why, cap);
    return err;
}

int disk_store_own(struct disk_store *s, const struct vi_id *handover, const struct vi_id *id, uint64_t generation, char *why,
                   size_t cap)
{
    struct disk_record *there = find(s, id), r;
    if (!there || !vi_id_equal(&there->by, handover) || there->kind == DISK_OLD) {
        snprintf(why, cap, "this handover has brought no such disk");
        return VI_ENOTFOUND;
    }
    r = *there;
    r.kind = DISK_TRUE;
    r.generation = generation;
    return put(s, &r, why, cap);
}

int disk_store_retire(struct disk_store *s, const struct vi_id *handover, const struct vi_id *id, uint64_t generation,
                      char *why, size_t cap)
{
    struct disk_record *there = find(s, id), r;
    int err = 0;
    if (!there || there->generation != generation)
        return 0; /* gone, or another one by now */
    r = *there;
    if (r.kind == DISK_ARRIVING || (r.kind == DISK_OLD && !vi_id_equal(&r.by, handover)))
        return 0; /* another handover's by now */
    if (r.kind == DISK_TRUE) {
        r.kind = DISK_OLD;
        r.by = *handover;
        err = put(s, &r, why, cap);
    }
    return err ? err : release(s, &r, why, cap);
}

int disk_store_discard(struct disk_store *s, const struct vi_id *handover, const struct vi_id *id, char *why, size_t cap)
{
    struct disk_record *r = find(s, id);
    int err;
    if (!r || r->kind == DISK_OLD || !vi_id_equal(&r->by, handover))
        return 0;
    err = release(s, r, why, cap);
    if (!err)
        forget(s, r);
    return err;
}
