/* A plain file's copy. See disk_files.h.
 *
 * A region's mark is taken away before its bytes are read: what is written after that marks it again. Up to WINDOW writes
 * are under way, each of as many regions in a row as are marked. */
#include "xen/disk_files.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "xen/disk_internal.h"

#define REGION_BYTES (DISK_REGION * 512)
#define WRITE_MOST   16 /* regions of one write */
#define WINDOW       8  /* writes without an answer */
#define STEP         16 /* writes of one step */
#define TIMEOUT_S    10 /* as the kernel's nbd: no answer so long, and the stream is lost */

struct disk_files {
    char path[DISK_PATH];
    uint64_t size, regions, differed;
    int fd, hashes, file;
    uint64_t handle;
    unsigned open; /* requests without an answer */
    uint8_t *data;
    pthread_mutex_t lock; /* over what follows */
    uint8_t *marks;
    uint64_t marked;
};

struct disk_files *disk_files_new(const char *path, uint64_t sectors, int fd, int hashes)
{
    const struct timeval wait = {.tv_sec = TIMEOUT_S};
    struct disk_files *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    pthread_mutex_init(&f->lock, NULL);
    snprintf(f->path, sizeof f->path, "%s", path);
    f->size = sectors * 512;
    f->regions = disk_regions(sectors);
    f->fd = fd;
    f->hashes = hashes;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    f->file = -1;
    f->marks = calloc(1, (size_t)(f->regions + 7) / 8);
    f->data = malloc(WRITE_MOST * REGION_BYTES);
    if (f->marks && f->data)
        return f;
    disk_files_free(f);
    return NULL;
}

void disk_files_free(struct disk_files *f)
{
    if (!f)
        return;
    if (f->file >= 0)
        close(f->file);
    pthread_mutex_destroy(&f->lock);
    free(f->marks);
    free(f->data);
    free(f);
}

/* ---- marks */

static bool is_marked(const struct disk_files *f, uint64_t region)
{
    return f->marks[region / 8] >> (region % 8) & 1;
}

static void mark(struct disk_files *f, uint64_t region, bool on)
{
    uint8_t bit = (uint8_t)(1U << (region % 8));
    if (is_marked(f, region) == on)
        return;
    f->marks[region / 8] ^= bit;
    f->marked = on ? f->marked + 1 : f->marked - 1;
}

void disk_files_wrote(struct disk_files *f, uint64_t at, size_t len)
{
    if (!len || at >= f->size || len > f->size - at)
        return;
    pthread_mutex_lock(&f->lock);
    for (uint64_t r = at / REGION_BYTES; r <= (at + len - 1) / REGION_BYTES; r++)
        mark(f, r, true);
    pthread_mutex_unlock(&f->lock);
}

/* The next marked regions in a row, from *first on: how many; their marks are taken away. */
static uint64_t take(struct disk_files *f, uint64_t *first)
{
    uint64_t r = *first, n = 0;
    pthread_mutex_lock(&f->lock);
    while (r < f->regions && !is_marked(f, r))
        r++;
    *first = r;
    while (n < WRITE_MOST && r + n < f->regions && is_marked(f, r + n))
        mark(f, r + n++, false);
    pthread_mutex_unlock(&f->lock);
    return n;
}

static uint64_t marked_now(struct disk_files *f)
{
    uint64_t n;
    pthread_mutex_lock(&f->lock);
    n = f->marked;
    pthread_mutex_unlock(&f->lock);
    return n;
}

/* ---- the stream */

static bool answers(struct disk_files *f, unsigned most_open)
{
    uint8_t reply[DISK_REPLY_SIZE];
    uint64_t handle;
    while (f->open > most_open) {
        if (!disk_read_all(f->fd, reply, sizeof reply) || disk_reply_decode(reply, &handle) ||
            handle != f->handle - f->open + 1)
            return false;
        f->open--;
    }
    return true;
}

static bool ask(struct disk_files *f, enum disk_command command, uint64_t at, size_t len)
{
    struct disk_request q = {.command = command, .handle = ++f->handle, .offset = at, .length = (uint32_t)len};
    uint8_t head[DISK_REQUEST_SIZE];
    disk_request_encode(head, &q);
    if (!disk_write_all(f->fd, head, sizeof head) || !disk_write_all(f->fd, f->data, len))
        return false;
    if (command != DISK_DISCONNECT)
        f->open++;
    return answers(f, WINDOW - 1);
}

/* Sends at most so many writes; false: the stream or the file is lost. */
static bool send_some(struct disk_files *f, unsigned most)
{
    uint64_t first = 0, n;
    while (most-- > 0 && (n = take(f, &first)) > 0) {
        uint64_t at = first * REGION_BYTES, len = n * REGION_BYTES;
        if (len > f->size - at)
            len = f->size - at;
        if (!disk_read_all_at(f->file, f->data, (size_t)len, at) || !ask(f, DISK_WRITE, at, (size_t)len))
            return false;
        first += n;
    }
    return answers(f, 0);
}

/* ---- disk_files.h */

static int flush_it(void *arg)
{
    return disk_files_flush(arg);
}

int disk_files_begin(struct disk_files *f, const struct disk_compared *told, char *why, size_t cap)
{
    uint8_t *equal = calloc(1, (size_t)(f->regions + 7) / 8);
    int err = equal ? 0 : VI_ENOMEM;
    f->file = open(f->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (f->file < 0)
        err = VI_ENOTFOUND;
    f->differed = f->regions;
    if (!err && f->hashes >= 0)
        err = disk_compare(f->path, f->size / 512, f->hashes, equal, &f->differed, flush_it, f, told);
    if (!err) {
        pthread_mutex_lock(&f->lock); /* what was written meanwhile is marked already */
        for (uint64_t r = 0; r < f->regions; r++)
            if (!(equal[r / 8] >> (r % 8) & 1))
                mark(f, r, true);
        pthread_mutex_unlock(&f->lock);
    }
    free(equal);
    if (err)
        snprintf(why, cap, "%s: its copy can't be begun: %s", f->path, vi_strerror(err));
    return err;
}

int disk_files_step(struct disk_files *f, struct disk_mirror_status *s)
{
    bool well = send_some(f, STEP);
    uint64_t left = marked_now(f);
    *s = (struct disk_mirror_status){.regions = f->regions, .in_sync = f->regions - left, .whole = well && left == 0,
                                     .broken = !well};
    return well ? 0 : VI_EIO;
}

int disk_files_flush(struct disk_files *f)
{
    return ask(f, DISK_FLUSH, 0, 0) && answers(f, 0) ? 0 : VI_EIO;
}

uint64_t disk_files_differed(const struct disk_files *f)
{
    return f->differed;
}

int disk_files_finish(struct disk_files *f, char *why, size_t cap)
{
    bool well = true;
    while (well && marked_now(f))
        well = send_some(f, STEP);
    if (well && !disk_files_flush(f) && ask(f, DISK_DISCONNECT, 0, 0))
        return 0;
    snprintf(why, cap, "the copy at the other side is lost");
    return VI_EIO;
}
