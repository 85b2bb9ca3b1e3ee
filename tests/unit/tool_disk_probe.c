/* disk_probe: a disk's copy between two "hosts" of one kernel, while a writer as a guest would be goes on: for
 * tests/xen/check_disks.py, which starts a machine for it. Prints a line of JSON for each scenario.
 *
 *   disk_probe FOLDER MIB
 */
#include <errno.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "tests/unit/disk_world.h"

struct serving {
    int fd, err;
    const char *path;
    uint64_t written;
    char why[128];
    pthread_t thread;
};

/* A disk there that can't be written to once, while it is compared: its hashes come after that. */
static struct {
    bool wanted;
    atomic_bool failed;
} worn;

static bool all(int fd, void *data, size_t len)
{
    return recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

/* As disk_serve(), but for the first write, and it has no more to say of that later. */
static void serve_badly(struct serving *s)
{
    uint8_t head[DISK_REQUEST_SIZE], reply[DISK_REPLY_SIZE], *data = malloc(DISK_IO_MAX);
    struct disk_request q;
    uint64_t sectors = 0;
    int disk = open(s->path, O_RDWR | O_CLOEXEC);
    must(data && disk >= 0 ? disk_sectors(s->path, &sectors) : VI_EIO, "bad disk", s->path);
    while (all(s->fd, head, sizeof head) && !disk_request_decode(&q, head, sectors * 512) && q.command != DISK_DISCONNECT) {
        bool fails = q.command == DISK_WRITE && !atomic_load(&worn.failed);
        if (q.command == DISK_WRITE && (!all(s->fd, data, q.length) ||
                                        (!fails && pwrite(disk, data, q.length, (off_t)q.offset) != (ssize_t)q.length)))
            break;
        if (q.command == DISK_READ && pread(disk, data, q.length, (off_t)q.offset) != (ssize_t)q.length)
            break;
        disk_reply_encode(reply, q.handle, fails ? 5 : 0);
        if (send(s->fd, reply, sizeof reply, MSG_NOSIGNAL) < 0 ||
            (q.command == DISK_READ && send(s->fd, data, q.length, MSG_NOSIGNAL) < 0))
            break;
        if (fails)
            atomic_store(&worn.failed, true);
    }
    fsync(disk);
    close(disk);
    free(data);
}

static void *serve(void *arg)
{
    struct serving *s = arg;
    if (worn.wanted)
        serve_badly(s);
    else
        s->err = disk_serve(s->fd, s->path, &s->written, s->why, sizeof s->why);
    shutdown(s->fd, SHUT_RDWR);
    return NULL;
}

static void *tell(void *arg)
{
    struct serving *s = arg;
    while (worn.wanted && !atomic_load(&worn.failed))
        nap(0.05);
    s->err = disk_tell_hashes(s->fd, s->path, s->why, sizeof s->why);
    shutdown(s->fd, SHUT_WR);
    return NULL;
}

/* ---- hosts: each has its own disks, and one of them in hand */

struct host {
    struct disk_store *store;
    char name[16], dm[DISK_NAME], loop[DISK_PATH], path[DISK_PATH];
    uint64_t sectors;
};

static const struct vi_id disk = {.b = {0xd1}};
static uint64_t generation = 1;
static uint8_t handovers;

static struct vi_id next_handover(void)
{
    return (struct vi_id){.b = {0x77, ++handovers}};
}

static void host_open(struct host *h, const char *folder, const char *name, uint64_t sectors)
{
    char path[DISK_PATH], why[160] = "";
    memset(h, 0, sizeof *h);
    h->sectors = sectors;
    snprintf(h->name, sizeof h->name, "%s", name);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    h->store = disk_store_open(path, why, sizeof why);
    must(h->store ? 0 : VI_EIO, "store", why);
}

static void device(struct host *h)
{
    char why[160] = "";
    must(disk_store_device(h->store, &disk, h->path, h->loop, why, sizeof why), "device", why);
    disk_device_name(h->name, h->dm);
}

static void make(struct host *h, const struct vi_id *handover, bool base)
{
    char why[160] = "";
    must(disk_store_make(h->store, handover, &disk, h->name, h->sectors, base, why, sizeof why), "make", why);
    device(h);
}

/* After the handover: one has the true copy, the other an old one, which can't be started from. */
static void given(struct host *from, struct host *to, const struct vi_id *handover)
{
    char path[DISK_PATH], below[DISK_PATH], why[160] = "";
    must(disk_store_own(to->store, handover, &disk, generation + 1, why, sizeof why), "own", why);
    must(disk_store_retire(from->store, handover, &disk, generation, why, sizeof why), "retire", why);
    must(disk_store_device(from->store, &disk, path, below, why, sizeof why) == VI_ESTATE ? 0 : VI_EIO,
         "an old copy has a device", why);
    generation++;
}

static void host_close(struct host *h)
{
    char why[160] = "";
    if (disk_store_find(h->store, &disk))
        must(disk_store_remove(h->store, &disk, why, sizeof why), "remove", why);
    disk_store_close(h->store);
}

/* ---- scenarios */

struct outcome {
    bool finished;
    double sync_s, finish_s, worst_ms;
    unsigned long long bytes;
    uint64_t differed;
    unsigned errors;
    char why[160], served[160];
};

/* From one host to the other; told: the other has an old copy and tells what is in it. The writer is stopped for the
 * last step, and left so. */
static void copy(struct host *from, struct host *to, bool told, struct line *l, double give_up, struct outcome *o)
{
    struct serving s = {.fd = l->there, .path = to->path}, t = {.path = to->path};
    struct disk_copy *c = NULL;
    struct disk_mirror_status st = {.whole = false};
    int hashes[2] = {-1, -1}, err, err_before;
    double began = now();
    memset(o, 0, sizeof *o);
    writer.worst = 0;
    writer.errors = 0;
    if (told && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, hashes))
        exit(1);
    if (told) {
        t.fd = hashes[1];
        pthread_create(&t.thread, NULL, tell, &t);
    }
    pthread_create(&s.thread, NULL, serve, &s);
    err = disk_copy_begin(&c, from->dm, from->loop, from->sectors, l->here, hashes[0], "/tmp", NULL, o->why, sizeof o->why);
    while (!err && !st.whole && now() - began < give_up) {
        nap(0.2);
        err = disk_copy_status(c, &st);
    }
    o->sync_s = now() - began;
    o->differed = c ? disk_copy_differed(c) : 0;
    err_before = err;
    if (!err && st.whole) {
        stop_writer();
        began = now();
        err = disk_copy_finish(c, o->why, sizeof o->why);
        o->finish_s = now() - began;
        o->finished = !err;
    } else if (!o->why[0])
        snprintf(o->why, sizeof o->why, "%s", err ? "the other leg is lost" : "given up");
    o->bytes = atomic_load(&l->bytes);
    if (!o->finished) {
        began = now();
        if (c)
            disk_copy_end(c);
        o->finish_s = now() - began;
        if (st.whole && !err_before)
            start_writer(from->path); /* it was stopped for the last step: resumed */
    }
    nap(0.5); /* whatever is said at the end comes through */
    line_close(l, false);
    pthread_join(s.thread, NULL);
    snprintf(o->served, sizeof o->served, "%s%s%s", s.err ? vi_strerror(s.err) : "", s.err ? ": " : "", s.err ? s.why : "");
    if (told) {
        pthread_join(t.thread, NULL);
        o->bytes += disk_regions(from->sectors) * DISK_HASH;
        close(hashes[0]);
        close(hashes[1]);
    }
    if (!o->finished)
        nap(1); /* the guest goes on, on its own copy */
    o->worst_ms = writer.worst * 1000;
    o->errors = writer.errors;
}

static void say(const char *scenario, const struct outcome *o, unsigned bad, const struct host *h)
{
    printf("{\"scenario\": \"%s\", \"finished\": %s, \"bad_blocks\": %u, \"io_errors\": %u, \"writes\": %u, \"sync_s\": %.1f, "
           "\"finish_s\": %.3f, \"worst_write_ms\": %.0f, \"bytes\": %llu, \"of_disk\": %.3f, \"regions_differed\": %llu, "
           "\"why\": \"%s\", \"served\": \"%s\"}\n",
           scenario, o->finished ? "true" : "false", bad, o->errors, writer.writes, o->sync_s, o->finish_s, o->worst_ms, o->bytes,
           (double)o->bytes / (double)(h->sectors * 512), (unsigned long long)o->differed, o->why, o->served);
    fflush(stdout);
}

static void broken(const char *scenario, struct host *from, struct host *to, unsigned long long cut_after, bool stall, double give_up)
{
    struct vi_id h = next_handover();
    struct outcome o;
    struct line l;
    char why[160] = "";
    line_open(&l, false);
    l.cut_after = cut_after;
    atomic_store(&l.stalled, stall);
    make(to, &h, false);
    start_writer(from->path);
    copy(from, to, false, &l, give_up, &o);
    must(disk_store_discard(to->store, &h, &disk, why, sizeof why), "discard", why);
    if (!o.finished)
        stop_writer();
    say(scenario, &o, bad_blocks(from->path), from);
}

/* What is equal to its old copy there, and is written to while that is found out, and isn't written there. */
static void fails_while_compared(struct host *from, struct host *to)
{
    struct vi_id h = next_handover();
    struct outcome o;
    struct line l;
    char why[160] = "";
    line_open(&l, false);
    make(to, &h, true);
    start_writer(from->path);
    worn.wanted = true;
    copy(from, to, true, &l, 60, &o);
    worn.wanted = false;
    must(disk_store_discard(to->store, &h, &disk, why, sizeof why), "discard", why);
    if (!o.finished)
        stop_writer();
    say("a write fails there while it is compared", &o, bad_blocks(from->path), from);
}

/* The room of what a guest discards stays the disk's: it isn't offered to do that. */
static void discarded(struct host *h)
{
    struct outcome o = {.finished = false};
    uint64_t range[2] = {0, h->sectors * 512};
    int fd = open(h->path, O_RDWR | O_CLOEXEC);
    o.finished = fd < 0 || ioctl(fd, BLKDISCARD, range) == 0;
    snprintf(o.why, sizeof o.why, "%s", strerror(errno));
    if (fd >= 0)
        close(fd);
    say("a guest discards", &o, bad_blocks(h->path), h);
}

/* A device that another disk of the same name has left is nobody's. */
static void left_device(struct host *h, struct host *other)
{
    struct outcome o = {.finished = false};
    char path[DISK_PATH], loop[DISK_PATH], why[160] = "";
    const struct vi_id id = {.b = {0xd2}}, id2 = {.b = {0xd3}};
    must(disk_store_create(other->store, &id, "left", 2048, why, sizeof why), "create", why);
    must(disk_store_device(other->store, &id, path, loop, why, sizeof why), "device", why);
    must(disk_store_create(h->store, &id2, "left", 2048, why, sizeof why), "create", why);
    o.finished = disk_store_device(h->store, &id2, path, loop, o.why, sizeof o.why) == 0;
    must(disk_store_remove(other->store, &id, why, sizeof why), "remove", why);
    must(disk_store_device(h->store, &id2, path, loop, why, sizeof why), "device", why);
    must(disk_store_remove(h->store, &id2, why, sizeof why), "remove", why);
    say("a device of its name was left", &o, 0, h);
}

/* Refused before anything is copied. */
static void no_room(struct host *from, struct host *small)
{
    struct vi_id h = next_handover();
    struct outcome o;
    char why[160] = "";
    memset(&o, 0, sizeof o);
    start_writer(from->path);
    nap(1);
    o.finished = disk_store_make(small->store, &h, &disk, small->name, small->sectors, false, o.why, sizeof o.why) != VI_EFULL;
    must(disk_store_discard(small->store, &h, &disk, why, sizeof why), "discard", why);
    stop_writer();
    o.errors = writer.errors;
    say("destination's disk is full", &o, bad_blocks(from->path), from);
}

static void one_way(const char *scenario, struct host *from, struct host *to, bool base, double delay)
{
    struct vi_id h = next_handover();
    struct outcome o;
    struct line l;
    line_open(&l, false);
    l.delay = delay;
    make(to, &h, base);
    copy(from, to, base, &l, 900, &o);
    if (o.finished)
        given(from, to, &h);
    say(scenario, &o, bad_blocks(o.finished ? to->path : from->path), from);
}

static void round_trip(struct host *a, struct host *b, double away, double delay)
{
    start_writer(a->path);
    one_way(delay > 0 ? "out with delay" : "out", a, b, false, delay);
    start_writer(b->path);
    nap(away);
    one_way(delay > 0 ? "back with delay" : "back", b, a, true, delay);
}

int main(int argc, char **argv)
{
    struct host a, b, small;
    uint64_t sectors;
    char why[160] = "";
    signal(SIGPIPE, SIG_IGN);
    if (argc != 3 || atoi(argv[2]) < 1)
        return 2;
    sectors = (uint64_t)atoi(argv[2]) * 2048;
    writer.blocks = (unsigned)(sectors / 8);
    writer.table = calloc(writer.blocks, sizeof *writer.table);
    host_open(&a, argv[1], "web-a", sectors);
    host_open(&b, argv[1], "web-b", sectors);
    host_open(&small, "/small", "web-c", sectors); /* a file system without room for it */
    must(disk_store_create(a.store, &disk, a.name, sectors, why, sizeof why), "create", why);
    device(&a);
    round_trip(&a, &b, 20, 0);
    round_trip(&a, &b, 5, 0.002);
    fails_while_compared(&a, &b);
    left_device(&a, &b);
    discarded(&a);
    broken("given up midway", &a, &b, 0, false, 0.1);
    broken("stream cut midway", &a, &b, sectors * 512 / 3, false, 20);
    broken("nothing comes through", &a, &b, 0, true, 20);
    no_room(&a, &small);
    round_trip(&a, &b, 5, 0);
    host_close(&small);
    host_close(&b);
    host_close(&a);
    return 0;
}
