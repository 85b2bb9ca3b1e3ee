/* disk_host_probe: two "hosts" of one kernel as their agents are, each with its disks behind xen/disks.h over the device
 * mapper, while a writer as a guest would be goes on: for tests/xen/check_disks.py, which starts a machine for it. Prints a line
 * of JSON for each scenario.
 *
 *   disk_host_probe FOLDER MIB */
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <uv.h>

#include "tests/unit/disk_world.h"
#include "xen/disk_host.h"
#include "xen/disk_internal.h"

#define QUIET_S 25
#define LASTING "/dev/lasting"

struct result {
    bool done;
    int err;
    char why[256];
    uint64_t to_copy;
    unsigned n;
    struct disk_info disks[4];
};

static uv_loop_t loop;
static char folder[64];
static struct disks *hosts[2];
static const char *const names[2] = {"host-a", "host-b"}; /* one kernel: no two devices of one name */
static const struct vi_id disk = {.b = {0xd1}}, spare = {.b = {0xd2}};
static uint64_t sectors, generation = 1;
static uint8_t handovers;

static struct vi_id next_handover(void)
{
    return (struct vi_id){.b = {0x77, ++handovers}};
}

/* ---- asking */

static void on_done(void *arg, int err, const char *detail)
{
    struct result *r = arg;
    r->done = true;
    r->err = err;
    snprintf(r->why, sizeof r->why, "%s", detail);
}

static void on_list(void *arg, int err, const char *detail, const struct disk_info *d, unsigned n, uint64_t room)
{
    struct result *r = arg;
    (void)room;
    on_done(arg, err, detail);
    r->n = n;
    for (unsigned i = 0; i < n && i < 4; i++)
        r->disks[i] = d[i];
}

static void on_progress(void *arg, uint64_t in_sync, uint64_t of, uint64_t to_copy)
{
    (void)in_sync;
    (void)of;
    ((struct result *)arg)->to_copy = to_copy;
}

static void on_timer(uv_timer_t *t)
{
    *(bool *)t->data = true;
}

/* Until it is done, or so many seconds. */
static bool wait_for(const struct result *r, double s)
{
    bool late = false;
    uv_timer_t t;
    uv_timer_init(&loop, &t);
    t.data = &late;
    uv_timer_start(&t, on_timer, (uint64_t)(s * 1000), 0);
    while (!(r && r->done) && !late)
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&t, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    return r && r->done;
}

static int answer(int err, struct result *r)
{
    if (!err && !wait_for(r, 300))
        err = VI_ETIMEDOUT;
    return err ? err : r->err;
}

#define ASK(r, call) (memset(&(r), 0, sizeof(r)), answer((call), &(r)))

static void host_open(int i)
{
    char path[128], why[256] = "";
    const char *adopt[] = {"/dev", "/tmp/raw"};
    struct disk_host_config c = {.folder = path, .adopt_folders = adopt, .n_adopt_folders = 2};
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    hosts[i] = disk_host_open(&loop, &c, why, sizeof why);
    must(hosts[i] ? 0 : VI_EIO, "host", why);
}

static void host_close(int i)
{
    hosts[i]->ops->close(hosts[i]);
    hosts[i] = NULL;
}

static void device(int i, bool arriving, char path[DISK_PATH])
{
    char why[256] = "";
    must(disk_host_device(hosts[i], &disk, arriving, path, why, sizeof why), "device", why);
}

static void said(const char *scenario, bool good, const char *why)
{
    printf("{\"scenario\": \"%s\", \"good\": %s, \"why\": \"%s\"}\n", scenario, good ? "true" : "false", why);
    fflush(stdout);
}

/* ---- moves */

struct move {
    struct result mirror, serve, finish, complete;
    struct vi_id handover;
    struct line line;
    int hashes[2];
    double sync_s, finish_s;
};

static void begin_move(struct move *m, int from, int to, bool base, bool tcp, double delay)
{
    struct disks *a = hosts[from], *b = hosts[to];
    struct result r;
    memset(m, 0, sizeof *m);
    m->handover = next_handover();
    m->hashes[0] = m->hashes[1] = -1;
    must(ASK(r, b->ops->make(b, &m->handover, &disk, names[to], sectors, base, on_done, &r)), "make", r.why);
    line_open(&m->line, tcp);
    m->line.delay = delay;
    if (base && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, m->hashes))
        exit(1);
    must(b->ops->serve(b, &m->handover, &disk, m->line.there, m->hashes[1], on_done, &m->serve), "serve", "");
    must(a->ops->mirror(a, &m->handover, &disk, m->line.here, m->hashes[0], on_progress, on_done, &m->mirror), "mirror", "");
}

static void one_way(const char *scenario, int from, int to, bool base, bool tcp, double delay)
{
    struct disks *a = hosts[from], *b = hosts[to];
    struct move m;
    struct result r;
    char path[DISK_PATH] = "";
    double began = now();
    unsigned long long bytes;
    unsigned bad;
    int old, remove;
    writer.worst = 0;
    device(from, false, path);
    start_writer(path);
    begin_move(&m, from, to, base, tcp, delay);
    wait_for(&m.mirror, 600);
    m.sync_s = now() - began;
    stop_writer();
    began = now();
    must(ASK(m.finish, a->ops->finish(a, &m.handover, &disk, on_done, &m.finish)), "finish", m.finish.why);
    must(ASK(m.complete, b->ops->complete(b, &m.handover, &disk, on_done, &m.complete)), "complete", m.complete.why);
    m.finish_s = now() - began;
    wait_for(&m.serve, 60);
    must(ASK(r, b->ops->own(b, &m.handover, &disk, generation + 1, on_done, &r)), "own", r.why);
    must(ASK(r, a->ops->retire(a, &m.handover, &disk, generation++, on_done, &r)), "retire", r.why);
    bytes = atomic_load(&m.line.bytes) + (base ? disk_regions(sectors) * DISK_HASH : 0);
    line_close(&m.line, true);
    old = disk_host_device(a, &disk, true, path, r.why, sizeof r.why);
    device(to, false, path);
    bad = bad_blocks(path);
    remove = ASK(r, a->ops->list(a, on_list, &r));
    printf("{\"scenario\": \"%s\", \"finished\": true, \"old_starts\": %s, \"left_device\": \"%s\", \"bad_blocks\": %u, \"io_errors\": %u, "
           "\"writes\": %u, \"sync_s\": %.1f, \"finish_s\": %.3f, \"worst_write_ms\": %.0f, \"bytes\": %llu, \"of_disk\": %.3f, "
           "\"to_copy_sectors\": %llu, \"served\": %d}\n",
           scenario, old == VI_ESTATE ? "false" : "true", remove ? "?" : r.disks[0].device, bad, writer.errors, writer.writes, m.sync_s,
           m.finish_s, writer.worst * 1000, bytes, (double)bytes / (double)(sectors * 512), (unsigned long long)m.mirror.to_copy,
           m.serve.err);
    fflush(stdout);
}

/* Given up midway, by the line or by the source: the writer goes on at the source. */
static void given_up(const char *scenario, unsigned long long cut_after, bool unmirror)
{
    struct disks *a = hosts[0], *b = hosts[1];
    struct move m;
    struct result r, u;
    char path[DISK_PATH];
    int finish;
    writer.errors = 0;
    device(0, false, path);
    start_writer(path);
    begin_move(&m, 0, 1, false, false, 0);
    m.line.cut_after = cut_after;
    if (unmirror) {
        wait_for(NULL, 2);
        must(ASK(u, a->ops->unmirror(a, &m.handover, &disk, on_done, &u)), "unmirror", u.why);
    }
    wait_for(&m.mirror, 60);
    finish = ASK(r, a->ops->finish(a, &m.handover, &disk, on_done, &r));
    must(ASK(u, a->ops->unmirror(a, &m.handover, &disk, on_done, &u)), "unmirror", u.why);
    must(ASK(u, b->ops->discard(b, &m.handover, &disk, on_done, &u)), "discard", u.why);
    line_close(&m.line, true);
    wait_for(NULL, 1);
    stop_writer();
    printf("{\"scenario\": \"%s\", \"finished\": %s, \"bad_blocks\": %u, \"io_errors\": %u, \"mirror\": \"%s\", \"why\": \"%s\"}\n", scenario,
           finish ? "false" : "true", bad_blocks(path), writer.errors, vi_strerror(m.mirror.err), m.mirror.why);
    fflush(stdout);
}

/* In sync, and nobody writes: something passes all the same. */
static void quiet(void)
{
    struct move m;
    struct result u;
    unsigned long long before;
    begin_move(&m, 0, 1, false, false, 0);
    wait_for(&m.mirror, 300);
    before = atomic_load(&m.line.bytes);
    wait_for(NULL, QUIET_S);
    said("a quiet mirror says something", !m.mirror.err && atomic_load(&m.line.bytes) > before, m.mirror.why);
    must(ASK(u, hosts[0]->ops->unmirror(hosts[0], &m.handover, &disk, on_done, &u)), "unmirror", u.why);
    must(ASK(u, hosts[1]->ops->discard(hosts[1], &m.handover, &disk, on_done, &u)), "discard", u.why);
    line_close(&m.line, true);
}

/* The agent is killed while a mirror stands. In a process of its own, before this one has threads. */
static void agent_that_dies(void)
{
    int ready[2];
    char byte;
    pid_t pid;
    if (pipe(ready) || (pid = fork()) < 0)
        exit(1);
    if (pid == 0) {
        struct move m;
        struct result r;
        uv_loop_init(&loop);
        host_open(0);
        host_open(1);
        must(ASK(r, hosts[0]->ops->create(hosts[0], &disk, names[0], sectors, NULL, NULL, on_done, &r)), "create", r.why);
        begin_move(&m, 0, 1, false, false, 0);
        wait_for(&m.mirror, 300);
        must(m.mirror.err, "mirror", m.mirror.why);
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        printf("the agent's child ended\n");
    close(ready[0]);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* The table, as the kernel has it: a mirror counts its regions. */
static bool is_mirror(const char *name)
{
    struct disk_mirror_status s;
    char text[256], why[128];
    return !dm_status(name, false, text, sizeof text, why, sizeof why) && !disk_mirror_status_parse(&s, text);
}

/* What is left is made good by the next agent: the disk is as it was, the copy that was arriving can be discarded. */
static void the_next_agent(void)
{
    struct result r;
    struct vi_id handover = {.b = {0x77, 1}};
    char path[DISK_PATH], below[DISK_PATH], why[256] = "";
    void *data;
    int fd;
    bool writes;
    handovers = 1;
    host_open(0);
    host_open(1);
    device(0, false, path);
    fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    writes = fd >= 0 && !posix_memalign(&data, BLOCK, BLOCK) && memset(data, 0, BLOCK) && pwrite(fd, data, BLOCK, 0) == BLOCK;
    if (fd >= 0)
        close(fd);
    must(disk_below("violin-host-a", below, why, sizeof why), "below", why);
    must(ASK(r, hosts[1]->ops->discard(hosts[1], &handover, &disk, on_done, &r)), "discard", r.why);
    said("an agent that dies leaves a disk that goes on", writes && !is_mirror("violin-host-a") && strncmp(below, "/dev/loop", 9) == 0, path);
}

/* A device that is in use, one that isn't, a raw file. */
static void adopted(void)
{
    struct disks *a = hosts[0];
    struct result r;
    char loop_device[DISK_PATH], path[DISK_PATH], why[256] = "", byte = 0;
    int used, fd, holder, err;
    mkdir("/tmp/raw", 0700);
    fd = open("/tmp/raw/one.img", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, 8 << 20))
        exit(1);
    close(fd);
    must(disk_loop_open("/tmp/raw/one.img", loop_device, why, sizeof why), "loop", why);
    if (mkdir(LASTING, 0755) || symlink(loop_device, LASTING "/one")) /* as a volume group's */
        exit(1);
    used = ASK(r, a->ops->adopt(a, &spare, "spare", "/tmp/raw/one.img", on_done, &r)); /* a loop device has it */
    holder = open(loop_device, O_RDWR | O_EXCL | O_CLOEXEC);
    err = ASK(r, a->ops->adopt(a, &spare, "spare", LASTING "/one", on_done, &r)); /* and somebody that one */
    close(holder);
    said("what is in use isn't adopted", used == VI_ESTATE && err == VI_ESTATE, r.why);
    used = ASK(r, a->ops->adopt(a, &spare, "spare", loop_device, on_done, &r));
    said("nor is a name of the day", used == VI_EREFUSED, r.why);
    err = ASK(r, a->ops->adopt(a, &spare, "spare", LASTING "/one", on_done, &r));
    err = err ? err : disk_host_device(a, &spare, false, path, r.why, sizeof r.why);
    fd = err ? -1 : open(path, O_RDWR | O_CLOEXEC);
    used = ASK(r, a->ops->remove(a, &spare, on_done, &r)); /* as a guest has it */
    if (fd >= 0)
        close(fd);
    said("a device is adopted", !err && fd >= 0 && used == VI_ESTATE, r.why);
    must(ASK(r, a->ops->remove(a, &spare, on_done, &r)), "remove", r.why);
    must(disk_loop_close(loop_device), "loop", "");
    unlink(LASTING "/one");
    rmdir(LASTING);
    err = ASK(r, a->ops->adopt(a, &spare, "spare", "/tmp/raw/one.img", on_done, &r));
    err = err ? err : disk_host_device(a, &spare, false, path, r.why, sizeof r.why);
    fd = err ? -1 : open(path, O_RDWR | O_CLOEXEC | O_SYNC);
    used = fd >= 0 && pwrite(fd, "v", 1, 4096) == 1;
    if (fd >= 0)
        close(fd);
    must(ASK(r, a->ops->remove(a, &spare, on_done, &r)), "remove", r.why);
    fd = open("/tmp/raw/one.img", O_RDONLY | O_CLOEXEC);
    err = err || pread(fd, &byte, 1, 4096) != 1 || byte != 'v';
    close(fd);
    said("a raw file is adopted in place", used && !err, r.why);
    unlink("/tmp/raw/one.img");
    rmdir("/tmp/raw");
}

int main(int argc, char **argv)
{
    struct result r;
    signal(SIGPIPE, SIG_IGN);
    if (argc != 3 || atoi(argv[2]) < 1)
        return 2;
    snprintf(folder, sizeof folder, "%s", argv[1]);
    sectors = (uint64_t)atoi(argv[2]) * 2048;
    writer.blocks = (unsigned)(sectors / 8);
    writer.table = calloc(writer.blocks, sizeof *writer.table);
    agent_that_dies();
    uv_loop_init(&loop);
    the_next_agent();
    given_up("agents: stream cut midway", sectors * 512 / 3, false);
    given_up("agents: taken down midway", 0, true);
    quiet();
    one_way("agents: out", 0, 1, false, true, 0);
    one_way("agents: back", 1, 0, true, false, 0.002);
    adopted();
    must(ASK(r, hosts[0]->ops->remove(hosts[0], &disk, on_done, &r)), "remove", r.why);
    must(ASK(r, hosts[1]->ops->remove(hosts[1], &disk, on_done, &r)), "remove", r.why);
    host_close(0);
    host_close(1);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop) ? 1 : 0;
}
