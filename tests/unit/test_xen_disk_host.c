/* A host's disks as the agent has them, on plain files: two hosts in one process, whose copies go over socket pairs. What the
 * kernel does instead, tests/xen/check_disks.py shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "tests/unit/folder.h"
#include "xen/disk_host.h"

#define SECTORS 4096 /* 2 MiB: 64 regions */
#define WAIT_MS 20000

struct result {
    unsigned done, told;
    int err;
    char why[256];
    unsigned n;
    struct disk_info disks[8];
    uint64_t room, in_sync, to_copy;
};

static uv_loop_t loop;
static char base[64], images_dir[96], adopt_dir[96];
static struct disks *hosts[2];
static const struct vi_id disk = {.b = {0xd1}}, other = {.b = {0xd2}}, out = {.b = {0x71}}, back = {.b = {0x72}};

static void on_done(void *arg, int err, const char *detail)
{
    struct result *r = arg;
    r->done++;
    r->err = err;
    snprintf(r->why, sizeof r->why, "%s", detail);
}

static void on_list(void *arg, int err, const char *detail, const struct disk_info *d, unsigned n, uint64_t room)
{
    struct result *r = arg;
    on_done(arg, err, detail);
    r->n = n;
    r->room = room;
    for (unsigned i = 0; i < n && i < 8; i++)
        r->disks[i] = d[i];
}

static void on_progress(void *arg, uint64_t in_sync, uint64_t sectors, uint64_t to_copy)
{
    struct result *r = arg;
    assert_int_equal(r->done, 0);
    assert_true(in_sync <= sectors && to_copy <= sectors);
    r->told++;
    r->in_sync = in_sync;
    r->to_copy = to_copy;
}

static void on_late(uv_timer_t *t)
{
    *(bool *)t->data = true;
}

static void until(const struct result *r)
{
    bool late = false;
    uv_timer_t t;
    uv_timer_init(&loop, &t);
    t.data = &late;
    uv_timer_start(&t, on_late, WAIT_MS, 0);
    while (!r->done && !late)
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&t, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(r->done, 1);
}

/* Asks, waits, and gives the answer. */
#define ASK(r, call)                                                                                                           \
    (memset(&(r), 0, sizeof(r)), assert_int_equal((call), 0), until(&(r)), (r).err)

static void open_host(int i)
{
    char folder[96], why[256] = "";
    const char *adopt[] = {adopt_dir}, *images[] = {images_dir};
    struct disk_host_config c = {.folder = folder, .adopt_folders = adopt, .n_adopt_folders = 1, .image_folders = images,
                                 .n_image_folders = 1, .files = true};
    snprintf(folder, sizeof folder, "%s/host%d", base, i);
    hosts[i] = disk_host_open(&loop, &c, why, sizeof why);
    if (!hosts[i])
        fail_msg("%s", why);
}

static void close_host(int i)
{
    hosts[i]->ops->close(hosts[i]);
    hosts[i] = NULL;
}

static int set_up(void **state)
{
    (void)state;
    assert_true(sodium_init() >= 0);
    strcpy(base, "/tmp/violin-disk-host.XXXXXX");
    assert_non_null(mkdtemp(base));
    snprintf(images_dir, sizeof images_dir, "%s/images", base);
    snprintf(adopt_dir, sizeof adopt_dir, "%s/adopt", base);
    assert_int_equal(mkdir(images_dir, 0700) | mkdir(adopt_dir, 0700), 0);
    uv_loop_init(&loop);
    open_host(0);
    open_host(1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        if (hosts[i])
            close_host(i);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    folder_remove(base);
    return 0;
}

/* ---- helpers */

static void file_of(int host, const struct vi_id *id, char path[160])
{
    char text[VI_ID_TEXT];
    snprintf(path, 160, "%s/host%d/%s.img", base, host, vi_id_format(id, text));
}

static void write_at(const char *path, uint64_t at, uint8_t value)
{
    uint8_t data[4096];
    int fd = open(path, O_RDWR | O_CLOEXEC);
    memset(data, value, sizeof data);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, sizeof data, (off_t)at), sizeof data);
    close(fd);
}

static bool equal(const char *a, const char *b)
{
    static uint8_t x[SECTORS * 512], y[SECTORS * 512];
    int fa = open(a, O_RDONLY | O_CLOEXEC), fb = open(b, O_RDONLY | O_CLOEXEC);
    bool is = read(fa, x, sizeof x) == sizeof x && read(fb, y, sizeof y) == sizeof y && memcmp(x, y, sizeof x) == 0;
    close(fa);
    close(fb);
    return is;
}

static void pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static enum disk_kind kind_at(int host, const struct vi_id *id)
{
    struct result r;
    assert_int_equal(ASK(r, hosts[host]->ops->list(hosts[host], on_list, &r)), 0);
    for (unsigned i = 0; i < r.n; i++)
        if (vi_id_equal(&r.disks[i].record.id, id))
            return r.disks[i].record.kind;
    return (enum disk_kind)-1;
}

static void create(int host, const struct vi_id *id, const char *name)
{
    struct result r;
    assert_int_equal(ASK(r, hosts[host]->ops->create(hosts[host], id, name, SECTORS, NULL, NULL, on_done, &r)), 0);
}

/* A whole handover of the disk from one host to the other; the source's bytes are as `mark` leaves them. */
static void move(int from, int to, const struct vi_id *handover, bool base_there, uint64_t generation, struct result *mirror)
{
    struct disks *a = hosts[from], *b = hosts[to];
    struct result serve = {0}, r;
    int data[2], hashes[2] = {-1, -1};
    char path[2][160];
    pair(data);
    if (base_there)
        pair(hashes);
    assert_int_equal(ASK(r, b->ops->make(b, handover, &disk, "web", SECTORS, base_there, on_done, &r)), 0);
    assert_int_equal(b->ops->serve(b, handover, &disk, data[1], hashes[1], on_done, &serve), 0);
    assert_int_equal(ASK(*mirror, a->ops->mirror(a, handover, &disk, data[0], hashes[0], on_progress, on_done, mirror)), 0);
    assert_int_equal(ASK(r, a->ops->finish(a, handover, &disk, on_done, &r)), 0);
    assert_int_equal(ASK(r, b->ops->complete(b, handover, &disk, on_done, &r)), 0);
    until(&serve);
    assert_int_equal(serve.err, 0);
    file_of(from, &disk, path[0]);
    file_of(to, &disk, path[1]);
    assert_true(equal(path[0], path[1]));
    assert_int_equal(ASK(r, a->ops->finish(a, handover, &disk, on_done, &r)), 0); /* asked again */
    assert_int_equal(ASK(r, b->ops->own(b, handover, &disk, generation + 1, on_done, &r)), 0);
    assert_int_equal(ASK(r, b->ops->complete(b, handover, &disk, on_done, &r)), 0);
    assert_int_equal(ASK(r, a->ops->retire(a, handover, &disk, generation, on_done, &r)), 0);
    assert_int_equal(kind_at(from, &disk), DISK_OLD);
    assert_int_equal(kind_at(to, &disk), DISK_TRUE);
}

/* ---- tests */

static void only_what_is_there_is_copied(void **state)
{
    struct result r;
    int fds[2];
    (void)state;
    create(0, &disk, "web");
    assert_int_equal(ASK(r, hosts[0]->ops->create(hosts[0], &other, "web", SECTORS, NULL, NULL, on_done, &r)), VI_EEXIST);
    assert_int_equal(ASK(r, hosts[0]->ops->create(hosts[0], &disk, "web-2", SECTORS, NULL, NULL, on_done, &r)), VI_EEXIST);
    pair(fds);
    assert_int_equal(ASK(r, hosts[0]->ops->serve(hosts[0], &out, &disk, fds[0], -1, on_done, &r)), VI_ESTATE);
    close(fds[1]);
    pair(fds);
    assert_int_equal(ASK(r, hosts[0]->ops->mirror(hosts[0], &out, &other, fds[0], -1, NULL, on_done, &r)), VI_ENOTFOUND);
    close(fds[1]);
    assert_int_equal(ASK(r, hosts[0]->ops->make(hosts[0], &out, &disk, "web", SECTORS, false, on_done, &r)), VI_EEXIST);
    assert_int_equal(ASK(r, hosts[0]->ops->finish(hosts[0], &out, &disk, on_done, &r)), VI_EIO);
    assert_int_equal(ASK(r, hosts[0]->ops->complete(hosts[0], &out, &disk, on_done, &r)), VI_EIO);
    assert_int_equal(ASK(r, hosts[0]->ops->unmirror(hosts[0], &out, &disk, on_done, &r)), 0);
}

static void out_and_back(void **state)
{
    struct result m;
    char path[160], why[128];
    int fd;
    (void)state;
    create(0, &disk, "web");
    file_of(0, &disk, path);
    write_at(path, 5 * 4096, 0x11);
    write_at(path, SECTORS * 512 - 4096, 0x22);
    move(0, 1, &out, false, 1, &m);
    assert_int_equal(m.to_copy, SECTORS);
    assert_int_equal(disk_host_device(hosts[0], &disk, true, path, why, sizeof why), VI_ESTATE);
    assert_int_equal(disk_host_device(hosts[1], &disk, false, path, why, sizeof why), 0);
    write_at(path, 9 * 32768, 0x33); /* one region */
    file_of(0, &disk, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0); /* the guest that moved isn't gone there yet */
    assert_int_equal(ASK(m, hosts[0]->ops->make(hosts[0], &back, &disk, "web", SECTORS, true, on_done, &m)), VI_ESTATE);
    assert_int_equal(kind_at(0, &disk), DISK_OLD);
    close(fd);
    move(1, 0, &back, true, 2, &m);
    assert_int_equal(m.to_copy, DISK_REGION);
}

/* What came from one and isn't sent to the other yet. Neither blocks: who reads there may not have begun. */
struct carried {
    uint8_t bytes[65536];
    size_t n, passed;
};

static void carry(struct carried *c, int from, int to)
{
    ssize_t n = c->n ? 0 : recv(from, c->bytes, sizeof c->bytes, MSG_DONTWAIT);
    c->n += n > 0 ? (size_t)n : 0;
    n = c->n ? send(to, c->bytes, c->n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (n > 0) {
        c->n -= (size_t)n;
        c->passed += (size_t)n;
        memmove(c->bytes, c->bytes + n, c->n);
    }
}

/* The destination's stream ends without a word: nothing of it counts, and the source's mirror goes. */
static void a_stream_that_is_cut(void **state)
{
    struct disks *a = hosts[0], *b = hosts[1];
    struct result mirror = {0}, serve = {0}, r;
    int up[2], down[2];
    static struct carried there, answers;
    (void)state;
    there.n = there.passed = answers.n = answers.passed = 0;
    create(0, &disk, "web");
    pair(up);
    pair(down);
    assert_int_equal(ASK(r, b->ops->make(b, &out, &disk, "web", SECTORS, false, on_done, &r)), 0);
    assert_int_equal(b->ops->serve(b, &out, &disk, down[1], -1, on_done, &serve), 0);
    assert_int_equal(a->ops->mirror(a, &out, &disk, up[0], -1, on_progress, on_done, &mirror), 0);
    while (there.passed < SECTORS * 512 / 4) { /* a quarter goes over */
        assert_int_equal(mirror.done | serve.done, 0);
        carry(&there, up[1], down[0]);
        carry(&answers, down[0], up[1]);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    close(up[1]);
    close(down[0]);
    until(&mirror);
    until(&serve);
    assert_int_equal(mirror.err, VI_EIO);
    assert_int_not_equal(serve.err, 0);
    assert_int_equal(ASK(r, b->ops->complete(b, &out, &disk, on_done, &r)), VI_EIO);
    assert_int_equal(ASK(r, a->ops->finish(a, &out, &disk, on_done, &r)), VI_EIO);
    assert_int_equal(ASK(r, a->ops->unmirror(a, &out, &disk, on_done, &r)), 0);
    assert_int_equal(ASK(r, b->ops->discard(b, &out, &disk, on_done, &r)), 0);
    assert_int_equal(kind_at(0, &disk), DISK_TRUE);
    assert_int_equal((int)kind_at(1, &disk), -1);
    move(0, 1, &back, false, 1, &mirror); /* and again, by another */
}

/* Nothing of one handover is another's. */
static void another_handover_has_no_say(void **state)
{
    struct disks *a = hosts[0], *b = hosts[1];
    struct result mirror = {0}, serve = {0}, r;
    int data[2], more[2];
    (void)state;
    create(0, &disk, "web");
    pair(data);
    assert_int_equal(ASK(r, b->ops->make(b, &out, &disk, "web", SECTORS, false, on_done, &r)), 0);
    assert_int_equal(ASK(r, b->ops->make(b, &out, &disk, "web", SECTORS, false, on_done, &r)), 0); /* again */
    assert_int_equal(ASK(r, b->ops->make(b, &back, &disk, "web", SECTORS, false, on_done, &r)), VI_ESTATE);
    assert_int_equal(b->ops->serve(b, &out, &disk, data[1], -1, on_done, &serve), 0);
    pair(more);
    assert_int_equal(ASK(r, b->ops->serve(b, &back, &disk, more[0], -1, on_done, &r)), VI_ESTATE);
    assert_int_equal(recv(more[1], &r, 1, 0), 0); /* closed there */
    close(more[1]);
    assert_int_equal(ASK(mirror, a->ops->mirror(a, &out, &disk, data[0], -1, on_progress, on_done, &mirror)), 0);
    pair(more);
    assert_int_equal(ASK(r, a->ops->mirror(a, &back, &disk, more[0], -1, NULL, on_done, &r)), VI_ESTATE);
    close(more[1]);
    assert_int_equal(ASK(r, a->ops->finish(a, &back, &disk, on_done, &r)), VI_EIO);
    assert_int_equal(ASK(r, a->ops->unmirror(a, &back, &disk, on_done, &r)), 0);
    assert_int_equal(ASK(r, a->ops->retire(a, &back, &disk, 1, on_done, &r)), VI_ESTATE);
    assert_int_equal(ASK(r, b->ops->discard(b, &back, &disk, on_done, &r)), 0);
    assert_int_equal(ASK(r, b->ops->own(b, &back, &disk, 2, on_done, &r)), VI_ENOTFOUND);
    assert_int_equal(ASK(r, a->ops->remove(a, &disk, on_done, &r)), VI_ESTATE);
    assert_int_equal(ASK(r, a->ops->finish(a, &out, &disk, on_done, &r)), 0); /* none of that harmed it */
    assert_int_equal(ASK(r, b->ops->complete(b, &out, &disk, on_done, &r)), 0);
    assert_int_equal(ASK(r, b->ops->own(b, &out, &disk, 2, on_done, &r)), 0);
    assert_int_equal(ASK(r, b->ops->discard(b, &back, &disk, on_done, &r)), 0);
    assert_int_equal(kind_at(1, &disk), DISK_TRUE);
}

/* The mirror is asked for again by who has new streams: the one before ends. Then it is taken down. */
static void a_mirror_begun_again(void **state)
{
    struct disks *a = hosts[0];
    struct result first = {0}, next = {0}, r;
    int one[2], two[2];
    (void)state;
    create(0, &disk, "web");
    pair(one);
    pair(two);
    assert_int_equal(a->ops->mirror(a, &out, &disk, one[0], -1, NULL, on_done, &first), 0); /* nobody answers */
    assert_int_equal(a->ops->mirror(a, &out, &disk, two[0], -1, NULL, on_done, &next), 0);
    until(&first);
    assert_int_equal(first.err, VI_ECANCELED);
    assert_int_equal(next.done, 0);
    assert_int_equal(ASK(r, a->ops->unmirror(a, &out, &disk, on_done, &r)), 0);
    until(&next);
    assert_int_equal(next.err, VI_ECANCELED);
    close(one[1]);
    close(two[1]);
}

static void a_mirror_taken_down(void **state)
{
    struct disks *a = hosts[0];
    struct result m = {0}, r;
    int data[2];
    (void)state;
    create(0, &disk, "web");
    pair(data);
    assert_int_equal(a->ops->mirror(a, &out, &disk, data[0], -1, NULL, on_done, &m), 0);
    assert_int_equal(ASK(r, a->ops->unmirror(a, &out, &disk, on_done, &r)), 0);
    assert_int_equal(m.done, 1);
    assert_int_equal(m.err, VI_ECANCELED);
    assert_int_equal(ASK(r, a->ops->remove(a, &disk, on_done, &r)), 0);
    close(data[1]);
}

/* The agent is started again: what is served has to come again, what is there is there. */
static void started_again(void **state)
{
    struct disks *b = hosts[1];
    struct result serve = {0}, r;
    int data[2];
    char path[160], why[128];
    (void)state;
    create(0, &disk, "web");
    pair(data);
    assert_int_equal(ASK(r, b->ops->make(b, &out, &other, "data", SECTORS, false, on_done, &r)), 0);
    assert_int_equal(b->ops->serve(b, &out, &other, data[1], -1, on_done, &serve), 0);
    for (int i = 0; i < 2; i++)
        close_host(i);
    until(&serve);
    assert_int_equal(serve.err, VI_ECANCELED);
    uv_run(&loop, UV_RUN_DEFAULT); /* it ends */
    snprintf(path, sizeof path, "%s/host0/00000000000000000000000000000099.img", base); /* half made */
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    for (int i = 0; i < 2; i++)
        open_host(i);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(kind_at(0, &disk), DISK_TRUE);
    assert_int_equal(kind_at(1, &other), DISK_ARRIVING);
    assert_int_equal(disk_host_device(hosts[1], &other, false, path, why, sizeof why), VI_ESTATE);
    assert_int_equal(disk_host_device(hosts[1], &other, true, path, why, sizeof why), 0);
    assert_int_equal(ASK(r, hosts[1]->ops->complete(hosts[1], &out, &other, on_done, &r)), VI_EIO);
    assert_int_equal(ASK(r, hosts[1]->ops->discard(hosts[1], &out, &other, on_done, &r)), 0);
    close(data[0]);
}

/* As many copies as there may be, and one more. All of them end with the host. */
static void copies_are_bounded(void **state)
{
    struct result m[DISK_COPIES_MAX + 1], r;
    int data[DISK_COPIES_MAX + 1][2];
    (void)state;
    memset(m, 0, sizeof m);
    for (int i = 0; i <= DISK_COPIES_MAX; i++) {
        struct vi_id id = {.b = {0xe0, (uint8_t)i}};
        char name[16];
        snprintf(name, sizeof name, "d%d", i);
        assert_int_equal(ASK(r, hosts[0]->ops->create(hosts[0], &id, name, 64, NULL, NULL, on_done, &r)), 0);
        pair(data[i]);
        assert_int_equal(hosts[0]->ops->mirror(hosts[0], &out, &id, data[i][0], -1, NULL, on_done, &m[i]), 0);
    }
    until(&m[DISK_COPIES_MAX]);
    assert_int_equal(m[DISK_COPIES_MAX].err, VI_EFULL);
    close_host(0);
    for (int i = 0; i <= DISK_COPIES_MAX; i++) {
        until(&m[i]);
        if (i < DISK_COPIES_MAX)
            assert_int_equal(m[i].err, VI_ECANCELED);
        close(data[i][1]);
    }
}

static void no_room(void **state)
{
    struct result r;
    (void)state;
    assert_int_equal(ASK(r, hosts[0]->ops->create(hosts[0], &disk, "web", DISK_SECTORS_MAX, NULL, NULL, on_done, &r)), VI_EFULL);
    assert_int_equal(ASK(r, hosts[1]->ops->make(hosts[1], &out, &disk, "web", DISK_SECTORS_MAX, false, on_done, &r)), VI_EFULL);
    assert_int_equal(ASK(r, hosts[1]->ops->discard(hosts[1], &out, &disk, on_done, &r)), 0);
    assert_int_equal(ASK(r, hosts[1]->ops->make(hosts[1], &out, &disk, "web", SECTORS, true, on_done, &r)), VI_EINVAL); /* no old copy */
    for (int i = 0; i < 2; i++)
        assert_int_equal((int)kind_at(i, &disk), -1);
}

/* ---- from an image */

static void image(const char *name, size_t size, uint8_t hash[HV_HASH_SIZE])
{
    char path[160];
    uint8_t *data = calloc(1, size);
    int fd;
    snprintf(path, sizeof path, "%s/%s", images_dir, name);
    memset(data + size / 2, 0x5a, size / 2);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
    crypto_generichash(hash, HV_HASH_SIZE, data, size, NULL, 0);
    free(data);
}

static void from_an_image(void **state)
{
    struct disks *a = hosts[0];
    uint8_t hash[HV_HASH_SIZE], wrong[HV_HASH_SIZE] = {1};
    struct result r, two = {0};
    char path[160];
    struct stat st;
    uint8_t byte = 0;
    int fd;
    (void)state;
    image("root.img", 3 * 65536 + 512, hash);
    assert_int_equal(ASK(r, a->ops->create(a, &disk, "web", SECTORS, wrong, on_progress, on_done, &r)), VI_ENOTFOUND);
    assert_int_equal(ASK(r, a->ops->create(a, &disk, "web", 8, hash, on_progress, on_done, &r)), VI_EINVAL); /* larger than that */
    file_of(0, &disk, path);
    assert_int_equal(access(path, F_OK), -1);
    memset(&r, 0, sizeof r);
    assert_int_equal(a->ops->create(a, &disk, "web", SECTORS, hash, on_progress, on_done, &r), 0);
    assert_int_equal(a->ops->create(a, &other, "web", SECTORS, hash, NULL, on_done, &two), 0); /* of the same name, meanwhile */
    until(&r);
    until(&two);
    assert_int_equal(r.err, 0);
    assert_int_equal(two.err, VI_EEXIST);
    assert_true(r.told > 0);
    assert_int_equal(r.to_copy, 3 * 128 + 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, SECTORS * 512);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, 3 * 65536 + 511), 1);
    assert_int_equal(byte, 0x5a);
    assert_int_equal(pread(fd, &byte, 1, 3 * 65536 + 512), 1);
    assert_int_equal(byte, 0);
    close(fd);
    assert_int_equal(kind_at(0, &disk), DISK_TRUE);
}

/* ---- adopted */

static int adopt(const char *path)
{
    struct result r;
    return ASK(r, hosts[0]->ops->adopt(hosts[0], &disk, "old", path, on_done, &r));
}

static void only_what_is_allowed_is_adopted(void **state)
{
    char inside[160], outside[160], link_[160], below[160], path[320];
    struct result r;
    int fd;
    (void)state;
    snprintf(inside, sizeof inside, "%s/raw.img", adopt_dir);
    snprintf(outside, sizeof outside, "%s/raw.img", base);
    snprintf(link_, sizeof link_, "%s/link", adopt_dir);
    snprintf(below, sizeof below, "%s/sub", adopt_dir);
    for (int i = 0; i < 2; i++) {
        fd = open(i ? outside : inside, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(ftruncate(fd, SECTORS * 512), 0);
        close(fd);
    }
    assert_int_equal(adopt(outside), VI_EREFUSED);
    assert_int_equal(adopt("/etc/passwd"), VI_EREFUSED);
    snprintf(path, sizeof path, "%s/../raw.img", adopt_dir);
    assert_int_equal(adopt(path), VI_EINVAL);
    assert_int_equal(adopt("raw.img"), VI_EINVAL);
    assert_int_equal(adopt(adopt_dir), VI_EREFUSED);
    assert_int_equal(mkdir(below, 0700), 0);
    assert_int_equal(adopt(below), VI_EINVAL);               /* a folder */
    assert_int_equal(symlink(outside, link_), 0);
    assert_int_equal(adopt(link_), VI_EINVAL);               /* leads out */
    unlink(link_);
    assert_int_equal(symlink(base, link_), 0);
    snprintf(path, sizeof path, "%s/raw.img", link_);
    assert_int_equal(adopt(path), VI_EREFUSED);              /* a folder that does */
    unlink(link_);
    assert_int_equal(link(inside, link_), 0);
    assert_int_equal(adopt(inside), VI_EREFUSED);            /* another name */
    unlink(link_);
    assert_int_equal(chmod(adopt_dir, 0777), 0);
    assert_int_equal(adopt(inside), VI_EREFUSED);            /* anybody's folder */
    assert_int_equal(chmod(adopt_dir, 0700), 0);
    fd = open(inside, O_RDONLY | O_CLOEXEC);
    assert_int_equal(adopt(inside), VI_ESTATE);              /* somebody has it open */
    close(fd);
    assert_int_equal(adopt(inside), 0);
    assert_int_equal(adopt(inside), VI_EEXIST);
    assert_int_equal(ASK(r, hosts[0]->ops->adopt(hosts[0], &other, "more", inside, on_done, &r)), VI_EEXIST);
    assert_int_equal(ASK(r, hosts[0]->ops->list(hosts[0], on_list, &r)), 0);
    assert_int_equal(r.n, 1);
    assert_int_equal(r.disks[0].record.sectors, SECTORS);
    assert_string_equal(r.disks[0].record.below, inside);
    assert_true(r.disks[0].since > 0);
    fd = open(inside, O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(ASK(r, hosts[0]->ops->list(hosts[0], on_list, &r)), 0);
    assert_true(r.disks[0].busy);
    assert_int_equal(ASK(r, hosts[0]->ops->remove(hosts[0], &disk, on_done, &r)), VI_ESTATE); /* as a guest has it */
    close(fd);
    assert_int_equal(ASK(r, hosts[0]->ops->remove(hosts[0], &disk, on_done, &r)), 0);
    assert_int_equal(access(inside, F_OK), 0); /* its bytes stay */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_is_there_is_copied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(out_and_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stream_that_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_handover_has_no_say, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_mirror_begun_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_mirror_taken_down, set_up, tear_down),
        cmocka_unit_test_setup_teardown(started_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(copies_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(from_an_image, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_what_is_allowed_is_adopted, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
