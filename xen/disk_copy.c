/* The source's side of a disk's copy. See disk.h.
 *
 * Happy path: an nbd device on the stream → the table is a mirror, all taken as in sync, so that writes go to both →
 * the other side's hashes are compared with what is here → a mirror whose log marks what differs, which the kernel
 * copies → (the guest is suspended) what is under way ends, all is in sync, flushed → linear again, the device goes.
 *
 * While it is compared, a write may come to a region after its hash was taken there: it is taken to differ then, and
 * copied once more. What is equal here to a hash of there is equal there, too, whatever was written to both since.
 *
 * Failure: the stream is given up, which fails what hangs in the second leg; then linear, and the nbd device goes. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "xen/disk_internal.h"

#define REGION_BYTES  (DISK_REGION * 512)
#define READ_BYTES    (32 * REGION_BYTES) /* at once: a disk that is busy otherwise does few reads a second */
#define WHOLE_REGION  1024 /* sectors: of a whole copy, in fewer and larger pieces */
#define HASHES_AT_ONCE 256
#define QUIET_S        10 /* while it is compared, something passes over the stream that often, at least */

struct disk_copy {
    char name[DISK_NAME], below[DISK_PATH];
    uint64_t sectors, differed;
    struct nbd *nbd;
    int log_fd; /* the device of the mirror's log, which is there as long as somebody has it; -1: none */
    char log[DISK_PATH];
};

/* ---- hashes */

/* The device's content, not what is kept of it in memory: what is below has its own. */
static int open_direct(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    return fd >= 0 ? fd : open(path, O_RDONLY | O_CLOEXEC);
}

/* The last region may be short. */
static bool hash_each(const uint8_t *data, size_t len, bool (*take)(void *arg, const uint8_t *hash), void *arg)
{
    uint8_t hash[DISK_HASH];
    for (size_t at = 0; at < len; at += REGION_BYTES)
        if (crypto_generichash(hash, DISK_HASH, data + at, len - at < REGION_BYTES ? len - at : REGION_BYTES, NULL, 0) || !take(arg, hash))
            return false;
    return true;
}

static int each_hash(const char *path, uint64_t sectors, bool (*take)(void *arg, const uint8_t *hash), void *arg)
{
    uint64_t size = sectors * 512;
    int disk = open_direct(path), err = 0;
    void *buffer = NULL;
    if (disk < 0 || posix_memalign(&buffer, 4096, READ_BYTES)) {
        if (disk >= 0)
            close(disk);
        return disk < 0 ? VI_ENOTFOUND : VI_ENOMEM;
    }
    for (uint64_t at = 0; at < size && !err; at += READ_BYTES) {
        size_t len = size - at < READ_BYTES ? (size_t)(size - at) : READ_BYTES;
        if (!disk_read_all_at(disk, buffer, len, at) || !hash_each(buffer, len, take, arg))
            err = VI_EIO;
    }
    free(buffer);
    close(disk);
    return err;
}

struct telling {
    int fd;
    size_t n;
    uint8_t hashes[HASHES_AT_ONCE][DISK_HASH];
};

static bool tell(void *arg, const uint8_t *hash)
{
    struct telling *t = arg;
    memcpy(t->hashes[t->n++], hash, DISK_HASH);
    if (t->n < HASHES_AT_ONCE)
        return true;
    t->n = 0;
    return disk_write_all(t->fd, t->hashes, sizeof t->hashes);
}

int disk_tell_hashes(int fd, const char *path, char *why, size_t cap)
{
    struct telling t = {.fd = fd};
    uint64_t sectors = 0;
    int err = disk_sectors(path, &sectors);
    if (!err)
        err = each_hash(path, sectors, tell, &t);
    if (!err && !disk_write_all(fd, t.hashes, t.n * DISK_HASH))
        err = VI_EIO;
    if (err)
        snprintf(why, cap, "%s: it can't be told what is in it", path);
    return err;
}

struct comparing {
    int fd;
    uint64_t region, differed;
    uint8_t *bits;
    int (*flush)(void *arg);
    void *arg;
    const struct disk_compared *told;
    time_t flushed, said;
};

static time_t seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static bool compare(void *arg, const uint8_t *hash)
{
    struct comparing *c = arg;
    uint8_t theirs[DISK_HASH];
    if (!disk_read_all(c->fd, theirs, sizeof theirs))
        return false;
    if (memcmp(hash, theirs, sizeof theirs) == 0)
        c->bits[c->region / 8] |= (uint8_t)(1U << (c->region % 8));
    else
        c->differed++;
    c->region++;
    if (c->told && seconds() != c->said) {
        c->said = seconds();
        c->told->told(c->told->arg, c->region, c->differed);
    }
    if (seconds() - c->flushed >= QUIET_S) {
        c->flushed = seconds();
        return c->flush(c->arg) == 0;
    }
    return true;
}

int disk_compare(const char *path, uint64_t sectors, int hashes, uint8_t *bits, uint64_t *differed, int (*flush)(void *arg),
                 void *arg, const struct disk_compared *told)
{
    struct comparing k = {.fd = hashes, .bits = bits, .flush = flush, .arg = arg, .told = told, .flushed = seconds()};
    int err = each_hash(path, sectors, compare, &k);
    *differed = k.differed;
    return err;
}

static int flush_copy(void *arg)
{
    return disk_copy_flush(arg);
}

/* ---- tables */

static int mirror(struct disk_copy *c, const char *log, char *why, size_t cap)
{
    char params[256];
    dev_t here, there;
    int err = dm_number(c->below, &here, why, cap);
    if (!err)
        err = dm_number(nbd_path(c->nbd), &there, why, cap);
    if (err)
        return err;
    snprintf(params, sizeof params, "%s 2 %u:%u 0 %u:%u 0 2 handle_errors keep_log", log, major(here), minor(here),
             major(there), minor(there));
    return dm_table(c->name, "mirror", c->sectors, params, true, why, cap);
}

static int write_log(struct disk_copy *c, const char *folder, const uint8_t *bits, char *why, size_t cap)
{
    uint64_t regions = disk_regions(c->sectors);
    size_t size = disk_log_size(regions);
    uint8_t *log = malloc(size);
    char file[DISK_PATH + 32];
    int fd, err = log ? 0 : VI_ENOMEM;
    snprintf(file, sizeof file, "%s/violin-disk-log.XXXXXX", folder);
    fd = mkostemp(file, O_CLOEXEC);
    if (!err && fd < 0)
        err = VI_EIO;
    if (!err) {
        disk_log_encode(log, regions, bits);
        err = disk_write_all(fd, log, size) ? 0 : VI_EIO;
    }
    if (err)
        snprintf(why, cap, "no room for the mirror's log in %s", folder);
    free(log);
    if (!err)
        err = loop_temporary(file, c->log, &c->log_fd, why, cap);
    if (fd >= 0) {
        close(fd);
        unlink(file); /* the device has it */
    }
    return err;
}

/* A leg that is lost is so in the table in which it was, and a new one would know nothing of it: no write may come between the
 * look and the new table. */
static int still_both(struct disk_copy *c, char *why, size_t cap)
{
    struct disk_mirror_status s;
    int err = dm_suspend(c->name, true, why, cap);
    if (!err && disk_copy_status(c, &s)) {
        snprintf(why, cap, "the copy at the other side is lost");
        err = VI_EIO;
    }
    return err;
}

/* Both are written to already; what differs is found and marked. An error may leave it suspended: disk_copy_end() follows. */
static int only_differences(struct disk_copy *c, int hashes, const char *log_folder, const struct disk_compared *told, char *why,
                            size_t cap)
{
    uint64_t regions = disk_regions(c->sectors);
    uint8_t *bits = calloc(1, (size_t)(regions + 7) / 8);
    char log[192];
    dev_t n;
    int err = bits ? disk_compare(c->below, c->sectors, hashes, bits, &c->differed, flush_copy, c, told) : VI_ENOMEM;
    if (err)
        snprintf(why, cap, "what is at the other side can't be compared with");
    if (!err)
        err = write_log(c, log_folder, bits, why, cap);
    free(bits);
    if (!err)
        err = dm_number(c->log, &n, why, cap);
    if (err)
        return err;
    snprintf(log, sizeof log, "disk 2 %u:%u %d", major(n), minor(n), DISK_REGION);
    err = still_both(c, why, cap);
    return err ? err : mirror(c, log, why, cap);
}

/* ---- disk.h */

static void release(struct disk_copy *c)
{
    if (c->nbd)
        nbd_close(c->nbd);
    if (c->log_fd >= 0)
        close(c->log_fd);
    free(c);
}

int disk_copy_begin(struct disk_copy **out, const char *name, const char *below, uint64_t sectors, int fd, int hashes,
                    const char *log_folder, const struct disk_compared *told, char *why, size_t cap)
{
    struct disk_copy *c = calloc(1, sizeof *c);
    char log[64];
    int err;
    if (!c || sodium_init() < 0 || strlen(name) >= sizeof c->name || strlen(below) >= sizeof c->below || strlen(log_folder) >= DISK_PATH) {
        free(c);
        snprintf(why, cap, "out of memory, or a name that is too long");
        return VI_ENOMEM;
    }
    c->log_fd = -1;
    strcpy(c->name, name);
    strcpy(c->below, below);
    c->sectors = sectors;
    err = nbd_open(&c->nbd, fd, sectors, why, cap);
    if (!err) {
        snprintf(log, sizeof log, hashes < 0 ? "core 1 %d" : "core 2 %d nosync", WHOLE_REGION);
        c->differed = disk_regions(sectors);
        err = mirror(c, log, why, cap);
    }
    if (!err && hashes >= 0)
        err = only_differences(c, hashes, log_folder, told, why, cap);
    if (err) {
        disk_copy_end(c);
        return err;
    }
    *out = c;
    return 0;
}

int disk_copy_status(struct disk_copy *c, struct disk_mirror_status *s)
{
    char text[256], why[128];
    int err = dm_status(c->name, false, text, sizeof text, why, sizeof why);
    if (!err)
        err = disk_mirror_status_parse(s, text);
    if (!err && s->own_lost)
        vi_log(VI_LOG_ERROR, "disk", "%s: %s failed while it was mirrored; what the guest wrote then may be at the other side alone", c->name,
               c->below);
    return err ? err : s->broken ? VI_EIO : 0;
}

int disk_copy_flush(struct disk_copy *c)
{
    char why[128];
    return nbd_flush(c->nbd, why, sizeof why);
}

uint64_t disk_copy_differed(const struct disk_copy *c)
{
    return c->differed;
}

int disk_copy_finish(struct disk_copy *c, char *why, size_t cap)
{
    struct disk_mirror_status s;
    int err = dm_suspend(c->name, true, why, cap), again;
    if (err)
        return err;
    err = disk_copy_status(c, &s);
    if (err || !s.whole) {
        snprintf(why, cap, err ? "the copy at the other side is lost" : "not all of it is at the other side yet");
        err = VI_EIO;
    }
    if (!err)
        err = nbd_flush(c->nbd, why, cap);
    if (!err)
        err = disk_linear(c->name, c->below, c->sectors, false, why, cap);
    if (err) {
        char ignored[128];
        again = dm_resume(c->name, ignored, sizeof ignored);
        return again ? again : err;
    }
    release(c);
    return 0;
}

void disk_copy_end(struct disk_copy *c)
{
    char why[128];
    if (!c)
        return;
    if (c->nbd)
        nbd_cut(c->nbd); /* else what hangs in the second leg is waited for */
    (void)disk_linear(c->name, c->below, c->sectors, true, why, sizeof why);
    release(c);
}
