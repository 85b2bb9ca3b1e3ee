/* Both ends of a disk's second leg: the kernel's nbd on the source, over any connected stream socket, and who answers it
 * on the destination. See disk.h. There is no handshake: who gives the socket has agreed on the size. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/nbd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "xen/disk_internal.h"

#define DEVICES   16 /* of the module, without a parameter */
#define COMES_UP_MS 20000
#define TIMEOUT_S 10 /* no answer to a request: the leg is lost, and the guest waits no longer */
#define BEHIND_MOST (32 << 20) /* bytes that wait to be written to the disk: a flush is answered in time then, of a slow one, too */

bool disk_read_all(int fd, void *data, size_t len)
{
    for (uint8_t *p = data; len > 0;) {
        ssize_t n = read(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

bool disk_read_all_at(int fd, void *data, size_t len, uint64_t at)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, (uint8_t *)data + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

bool disk_write_all(int fd, const void *data, size_t len)
{
    for (const uint8_t *p = data; len > 0;) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n < 0 && errno == ENOTSOCK)
            n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

/* ---- the source: a device */

struct nbd {
    int fd; /* of the device */
    int socket; /* borrowed */
    bool stopped;
    char path[DISK_PATH];
    pthread_t thread;
};

static void *run(void *arg)
{
    struct nbd *n = arg;
    (void)ioctl(n->fd, NBD_DO_IT); /* until the socket or nbd_close() ends it */
    return NULL;
}

static bool in_use(int number)
{
    char path[64];
    snprintf(path, sizeof path, "/sys/block/nbd%d/pid", number);
    return access(path, F_OK) == 0;
}

/* A device that nobody else has, with our socket. */
static int take_device(struct nbd *n, int socket, uint64_t sectors)
{
    for (int i = 0; i < DEVICES; i++) {
        if (in_use(i))
            continue;
        snprintf(n->path, sizeof n->path, "/dev/nbd%d", i);
        n->fd = open(n->path, O_RDWR | O_CLOEXEC);
        if (n->fd < 0)
            continue;
        if (!ioctl(n->fd, NBD_SET_BLKSIZE, 512UL) && !ioctl(n->fd, NBD_SET_SIZE_BLOCKS, (unsigned long)sectors) &&
            !ioctl(n->fd, NBD_SET_TIMEOUT, (unsigned long)TIMEOUT_S) &&
            !ioctl(n->fd, NBD_SET_FLAGS, (unsigned long)(NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH)) &&
            !ioctl(n->fd, NBD_SET_SOCK, (unsigned long)socket))
            return 0;
        close(n->fd);
        n->fd = -1;
    }
    return VI_EFULL;
}

/* The kernel gives it its size when the thread has got as far; who uses it before gets errors. */
static bool comes_up(const struct nbd *n, uint64_t sectors)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    for (int i = 0; i < COMES_UP_MS / 5; i++) {
        uint64_t bytes = 0;
        if (!ioctl(n->fd, BLKGETSIZE64, &bytes) && bytes == sectors * 512)
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

int nbd_open(struct nbd **out, int fd, uint64_t sectors, char *why, size_t cap)
{
    struct nbd *n = calloc(1, sizeof *n);
    int err = n ? 0 : VI_ENOMEM;
    if (n) {
        n->fd = -1;
        n->socket = fd;
        err = take_device(n, fd, sectors);
    }
    if (err)
        snprintf(why, cap, "no nbd device is free; load the module nbd");
    if (!err && pthread_create(&n->thread, NULL, run, n)) {
        (void)ioctl(n->fd, NBD_CLEAR_SOCK);
        close(n->fd);
        err = VI_ENOMEM;
        snprintf(why, cap, "no thread for the nbd device");
    }
    if (err) {
        free(n);
        return err;
    }
    if (!comes_up(n, sectors)) {
        snprintf(why, cap, "%s does not come up", n->path);
        nbd_cut(n);
        nbd_close(n);
        return VI_EIO;
    }
    *out = n;
    return 0;
}

const char *nbd_path(const struct nbd *n)
{
    return n->path;
}

int nbd_flush(struct nbd *n, char *why, size_t cap)
{
    if (fsync(n->fd)) {
        snprintf(why, cap, "what was copied could not be flushed: %s", strerror(errno));
        return VI_EIO;
    }
    return 0;
}

static void nbd_stop(struct nbd *n)
{
    if (n->stopped)
        return;
    n->stopped = true;
    (void)ioctl(n->fd, NBD_DISCONNECT);
    (void)ioctl(n->fd, NBD_CLEAR_SOCK);
    pthread_join(n->thread, NULL);
}

void nbd_cut(struct nbd *n)
{
    shutdown(n->socket, SHUT_RDWR);
    nbd_stop(n);
}

void nbd_close(struct nbd *n)
{
    nbd_stop(n);
    close(n->fd);
    free(n);
}

/* ---- the destination: who answers */

struct server {
    int fd, disk;
    uint64_t size, written, behind;
    bool failed; /* something once: whatever comes after it, the copy isn't whole */
    uint8_t *data;
};

static bool reply(const struct server *s, const struct disk_request *q, bool well)
{
    uint8_t out[DISK_REPLY_SIZE];
    disk_reply_encode(out, q->handle, well ? 0 : EIO);
    return disk_write_all(s->fd, out, sizeof out) &&
           (!well || q->command != DISK_READ || disk_write_all(s->fd, s->data, q->length));
}

static bool write_at(const struct server *s, const struct disk_request *q)
{
    for (uint32_t done = 0; done < q->length;) {
        ssize_t n = pwrite(s->disk, s->data + done, q->length - done, (off_t)(q->offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (uint32_t)n;
    }
    return true;
}

/* What has come is written to the disk meanwhile, not all of it at a flush. */
static bool go_behind(struct server *s, uint32_t length)
{
    s->behind += length;
    if (s->behind < BEHIND_MOST)
        return true;
    s->behind = 0;
    return sync_file_range(s->disk, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE) == 0;
}

/* 1: and so on; 0: the other has ended; or a vi_err. */
static int serve_one(struct server *s, char *why, size_t cap)
{
    uint8_t head[DISK_REQUEST_SIZE];
    struct disk_request q;
    bool well = true;
    snprintf(why, cap, "the disk's stream broke off");
    if (!disk_read_all(s->fd, head, sizeof head))
        return VI_EIO;
    if (disk_request_decode(&q, head, s->size)) {
        snprintf(why, cap, "the disk's stream has no request, or one outside of the disk");
        return VI_EPROTO;
    }
    switch (q.command) {
    case DISK_DISCONNECT:
        return 0;
    case DISK_FLUSH:
        well = fdatasync(s->disk) == 0;
        break;
    case DISK_WRITE:
        if (!disk_read_all(s->fd, s->data, q.length))
            return VI_EIO;
        well = write_at(s, &q) && go_behind(s, q.length);
        s->written += well ? q.length : 0;
        break;
    case DISK_READ:
        well = disk_read_all_at(s->disk, s->data, q.length, q.offset);
        break;
    }
    s->failed |= !well;
    return reply(s, &q, well) ? 1 : VI_EIO;
}

int disk_serve(int fd, const char *path, uint64_t *written, char *why, size_t cap)
{
    struct server s = {.fd = fd, .disk = open(path, O_RDWR | O_CLOEXEC), .data = malloc(DISK_IO_MAX)};
    uint64_t sectors = 0;
    int err = s.disk < 0 || disk_sectors(path, &sectors) ? VI_ENOTFOUND : s.data ? 1 : VI_ENOMEM;
    s.size = sectors * 512;
    if (err != 1)
        snprintf(why, cap, "%s can't be served", path);
    while (err == 1)
        err = serve_one(&s, why, cap);
    if (s.disk >= 0 && fsync(s.disk) && !err) {
        snprintf(why, cap, "%s: %s", path, strerror(errno));
        err = VI_EIO;
    }
    if (s.failed && !err) { /* a write that failed later than it was answered is told once: by a flush, and by no other after it */
        snprintf(why, cap, "%s: some of what came could not be written or read", path);
        err = VI_EIO;
    }
    if (s.disk >= 0) {
        (void)ioctl(s.disk, BLKFLSBUF, 0); /* a block device's: who reads it later reads what is written there later */
        close(s.disk);
    }
    free(s.data);
    *written = s.written;
    return err;
}
