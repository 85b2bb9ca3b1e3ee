/* blocks DEVICE WRITES [SEED]: what runs in test guests to watch a disk. Writes WRITES random blocks of 4 KiB a second,
 * without the page cache, with a table in memory of what it wrote last to each.
 *
 * Each block says of itself where it is and which write it was, all of its bytes follow from that, and it is never written
 * twice the same: an old, a torn and a misplaced block are told apart from the right one. What is on the disk at the start
 * (after a reboot) is taken over into the table.
 *
 * Says, each in a line that begins with the device:
 *   begins BLOCKS KNOWN BAD TABLE    blocks that hold a write, that hold neither a write nor zeros; a hash of the table
 *   wrote N ERRORS MS                once a second: since the start; the longest write since it last said so
 *   verified BLOCKS BAD ERRORS TABLE at SIGUSR1: every block read and compared with the table
 *   rests TABLE, goes on             at SIGUSR2, in turn: no writes until the next one, and all is flushed before it is said */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define MANY  32 /* blocks read at once */
#define MAGIC UINT64_C(0x76696f6c696e0001)
#define SECOND INT64_C(1000000000)

struct disk {
    const char *name;
    int fd;
    uint64_t blocks, writes, errors, seed;
    uint64_t *table; /* of each block, the write that it holds; 0: zeros */
    uint8_t *buffer;
};

static volatile sig_atomic_t verify_wanted, rest_wanted;

static void on_signal(int sig)
{
    if (sig == SIGUSR1)
        verify_wanted = 1;
    else
        rest_wanted = 1;
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* ---- blocks */

static void fill(uint8_t *out, uint64_t block, uint64_t write)
{
    uint64_t words[BLOCK / 8] = {MAGIC, block, write};
    for (size_t i = 3; i < BLOCK / 8; i++)
        words[i] = mixed(block * UINT64_C(0x9e3779b97f4a7c15) + write + i * UINT64_C(0x100000001));
    memcpy(out, words, BLOCK);
}

static int is_block(const uint8_t *have, uint64_t block, uint64_t write)
{
    uint8_t want[BLOCK] = {0};
    if (write)
        fill(want, block, write);
    return memcmp(have, want, BLOCK) == 0;
}

/* The write that a block holds, 0 for zeros; -1: neither. */
static int64_t held(const uint8_t *have, uint64_t block)
{
    uint64_t head[3];
    memcpy(head, have, sizeof head);
    uint64_t write = head[0] == MAGIC ? head[2] : 0;
    return is_block(have, block, write) ? (int64_t)write : -1;
}

static uint64_t digest(const struct disk *d)
{
    uint64_t h = 0;
    for (uint64_t i = 0; i < d->blocks; i++)
        h = mixed(h ^ d->table[i]) + i;
    return h;
}

/* Reads up to MANY blocks; how many, or -1. */
static int read_some(struct disk *d, uint64_t block)
{
    uint64_t n = d->blocks - block < MANY ? d->blocks - block : MANY;
    ssize_t got = pread(d->fd, d->buffer, n * BLOCK, (off_t)(block * BLOCK));
    return got == (ssize_t)(n * BLOCK) ? (int)n : -1;
}

/* ---- what it does */

static void say(const struct disk *d, const char *what)
{
    printf("%s: %s\n", d->name, what);
    fflush(stdout);
}

static void take_over(struct disk *d)
{
    char line[128];
    uint64_t known = 0, bad = 0;

    for (uint64_t b = 0; b < d->blocks;) {
        int n = read_some(d, b);
        if (n < 0)
            d->errors++;
        for (int i = 0; i < (n < 0 ? MANY : n) && b < d->blocks; i++, b++) {
            int64_t w = n < 0 ? -1 : held(d->buffer + i * BLOCK, b);
            bad += w < 0;
            known += w > 0;
            d->table[b] = w > 0 ? (uint64_t)w : 0;
            if (w > 0 && (uint64_t)w > d->writes)
                d->writes = (uint64_t)w;
        }
    }
    snprintf(line, sizeof line, "begins %llu %llu %llu %016llx", (unsigned long long)d->blocks, (unsigned long long)known,
             (unsigned long long)bad, (unsigned long long)digest(d));
    say(d, line);
}

static void verify(struct disk *d)
{
    char line[128];
    uint64_t bad = 0, errors = 0;

    for (uint64_t b = 0; b < d->blocks;) {
        int n = read_some(d, b);
        errors += n < 0;
        for (int i = 0; i < (n < 0 ? MANY : n) && b < d->blocks; i++, b++)
            bad += n < 0 || !is_block(d->buffer + i * BLOCK, b, d->table[b]);
    }
    d->errors += errors;
    snprintf(line, sizeof line, "verified %llu %llu %llu %016llx", (unsigned long long)d->blocks, (unsigned long long)bad,
             (unsigned long long)d->errors, (unsigned long long)digest(d));
    say(d, line);
}

static void write_one(struct disk *d)
{
    uint64_t block;

    d->seed = mixed(d->seed + 1);
    block = d->seed % d->blocks;
    fill(d->buffer, block, ++d->writes);
    if (pwrite(d->fd, d->buffer, BLOCK, (off_t)(block * BLOCK)) == BLOCK)
        d->table[block] = d->writes;
    else
        d->errors++;
}

static void rest(struct disk *d)
{
    char line[64];

    rest_wanted = 0;
    if (fdatasync(d->fd))
        d->errors++;
    snprintf(line, sizeof line, "rests %016llx", (unsigned long long)digest(d));
    say(d, line);
    while (!rest_wanted) {
        if (verify_wanted) {
            verify_wanted = 0;
            verify(d);
        }
        usleep(100000);
    }
    rest_wanted = 0;
    say(d, "goes on");
}

static void run(struct disk *d, unsigned rate)
{
    int64_t said = now(), longest = 0, next = now();
    char line[96];

    for (;;) {
        int64_t began = now(), took;
        write_one(d);
        took = now() - began;
        longest = took > longest ? took : longest;
        if (now() - said >= SECOND) {
            snprintf(line, sizeof line, "wrote %llu %llu %lld", (unsigned long long)d->writes, (unsigned long long)d->errors,
                     (long long)(longest / 1000000));
            say(d, line);
            said = now();
            longest = 0;
        }
        if (verify_wanted) {
            verify_wanted = 0;
            verify(d);
        }
        if (rest_wanted)
            rest(d);
        next += SECOND / rate;
        int64_t wait = next - now();
        if (wait > 0)
            usleep((useconds_t)(wait / 1000));
        else
            next -= wait; /* what a pause has kept from being written isn't made up for at once */
    }
}

int main(int argc, char **argv)
{
    struct disk d = {.name = "disk"};
    uint64_t bytes = 0;
    unsigned rate = argc >= 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    if (argc < 3 || rate == 0)
        return 2;
    d.name = strrchr(argv[1], '/') ? strrchr(argv[1], '/') + 1 : argv[1];
    d.seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)now();
    d.fd = open(argv[1], O_RDWR | O_DIRECT);
    if (d.fd < 0 || ioctl(d.fd, BLKGETSIZE64, &bytes) || bytes < BLOCK ||
        !(d.table = calloc(bytes / BLOCK, sizeof *d.table)) || posix_memalign((void **)&d.buffer, BLOCK, (size_t)MANY * BLOCK)) {
        printf("%s: can't be used: %s\n", d.name, strerror(errno));
        return 1;
    }
    d.blocks = bytes / BLOCK;
    sigaction(SIGUSR1, &act, NULL);
    sigaction(SIGUSR2, &act, NULL);
    take_over(&d);
    run(&d, rate);
}
