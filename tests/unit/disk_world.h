/* What the probes of disks share: a writer as a guest would be, and the way between two hosts.
 *
 * The writer writes random blocks of 4 KiB past the cache, each with its place and a number, and keeps a table of them: a bad
 * block is one that isn't what the table says. A way is two threads that pass on bytes, count them, may hold them back for a
 * while, stop, or break off, as the peers' stream may. Its ends are sockets: of TCP with `tcp`, else a pair. */
#ifndef TESTS_UNIT_DISK_WORLD_H
#define TESTS_UNIT_DISK_WORLD_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "xen/disk_store.h"

#define BLOCK 4096

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void nap(double s)
{
    struct timespec t = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};
    nanosleep(&t, NULL);
}

static void must(int err, const char *what, const char *why)
{
    if (!err)
        return;
    printf("{\"failed\": \"%s: %s: %s\"}\n", what, vi_strerror(err), why);
    exit(1);
}

/* ---- the guest */

static struct {
    char path[DISK_PATH];
    unsigned blocks;
    uint64_t *table; /* by block: the number last written */
    uint64_t number;
    atomic_bool stop;
    unsigned errors, writes;
    double worst;
    pthread_t thread;
} writer;

static void fill(uint64_t *data, unsigned block, uint64_t number)
{
    for (unsigned i = 0; i < BLOCK / 8; i++)
        data[i] = number ? number * 1000003 + block * 31 + i : 0;
}

static void *write_on(void *arg)
{
    void *data;
    int fd = open(writer.path, O_RDWR | O_DIRECT | O_CLOEXEC);
    (void)arg;
    if (fd < 0 || posix_memalign(&data, BLOCK, BLOCK)) {
        writer.errors++;
        return NULL;
    }
    while (!atomic_load(&writer.stop)) {
        unsigned block = (unsigned)random() % writer.blocks;
        double began = now();
        fill(data, block, ++writer.number);
        if (pwrite(fd, data, BLOCK, (off_t)block * BLOCK) == BLOCK)
            writer.table[block] = writer.number;
        else
            writer.errors++;
        writer.writes++;
        if (now() - began > writer.worst)
            writer.worst = now() - began;
        nap(0.05);
    }
    free(data);
    close(fd);
    return NULL;
}

static void start_writer(const char *path)
{
    snprintf(writer.path, sizeof writer.path, "%s", path);
    atomic_store(&writer.stop, false);
    pthread_create(&writer.thread, NULL, write_on, NULL);
}

static void stop_writer(void)
{
    atomic_store(&writer.stop, true);
    pthread_join(writer.thread, NULL);
}

/* Blocks that are not what was written last. */
static unsigned bad_blocks(const char *path)
{
    static uint64_t want[BLOCK / 8];
    unsigned bad = 0;
    void *data;
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0 || posix_memalign(&data, BLOCK, BLOCK))
        return writer.blocks;
    for (unsigned b = 0; b < writer.blocks; b++) {
        fill(want, b, writer.table[b]);
        bad += pread(fd, data, BLOCK, (off_t)b * BLOCK) != BLOCK || memcmp(data, want, BLOCK) != 0;
    }
    free(data);
    close(fd);
    return bad;
}

/* ---- the way between the hosts */

struct way {
    int from, to;
    struct line *line;
    pthread_t thread;
};

struct line {
    int here, there; /* the ends that are used */
    int inner[2];
    atomic_ullong bytes;
    atomic_bool cut, stalled;
    unsigned long long cut_after; /* 0: never */
    double delay;
    struct way way[2];
};

static void *pass(void *arg)
{
    static _Thread_local char data[65536];
    struct way *w = arg;
    for (;;) {
        ssize_t n = read(w->from, data, sizeof data);
        if (n <= 0)
            break;
        while (atomic_load(&w->line->stalled) && !atomic_load(&w->line->cut))
            nap(0.05);
        if (w->line->delay > 0)
            nap(w->line->delay);
        atomic_fetch_add(&w->line->bytes, (unsigned long long)n);
        if (w->line->cut_after && atomic_load(&w->line->bytes) > w->line->cut_after)
            break;
        for (ssize_t done = 0; done < n;) {
            ssize_t m = write(w->to, data + done, (size_t)(n - done));
            if (m <= 0)
                goto out;
            done += m;
        }
    }
out:
    shutdown(w->from, SHUT_RDWR);
    shutdown(w->to, SHUT_RDWR);
    return NULL;
}

static void tcp_pair(int fds[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l < 0 || fds[0] < 0 || bind(l, (struct sockaddr *)&at, size) || listen(l, 1) ||
        getsockname(l, (struct sockaddr *)&at, &size) || connect(fds[0], (struct sockaddr *)&at, size) ||
        (fds[1] = accept4(l, NULL, NULL, SOCK_CLOEXEC)) < 0)
        exit(1);
    close(l);
}

static void line_open(struct line *l, bool tcp)
{
    int a[2], b[2];
    memset(l, 0, sizeof *l);
    if (tcp) {
        tcp_pair(a);
        tcp_pair(b);
    } else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b)) {
        exit(1);
    }
    l->here = a[0];
    l->there = b[0];
    l->inner[0] = a[1];
    l->inner[1] = b[1];
    for (int i = 0; i < 2; i++) {
        l->way[i] = (struct way){.from = l->inner[i], .to = l->inner[1 - i], .line = l};
        pthread_create(&l->way[i].thread, NULL, pass, &l->way[i]);
    }
}

/* taken: both ends have been given away, who has them closes them. */
static void line_close(struct line *l, bool taken)
{
    atomic_store(&l->cut, true);
    shutdown(l->inner[0], SHUT_RDWR);
    shutdown(l->inner[1], SHUT_RDWR);
    for (int i = 0; i < 2; i++)
        pthread_join(l->way[i].thread, NULL);
    if (!taken) {
        close(l->here);
        close(l->there);
    }
    close(l->inner[0]);
    close(l->inner[1]);
}

#endif
