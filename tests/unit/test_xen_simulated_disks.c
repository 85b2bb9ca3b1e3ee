/* Simulated guests that write to their disks, on two hosts in one process: a disk moves with its guest while it is written to,
 * and comes back; is cut; its guest and host go on from what they kept; nobody else gets it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/folder.h"
#include "xen/disk_host.h"
#include "xen/simulated.h"

#define SECTORS 8192 /* 4 MiB */
#define WAIT_MS 20000

struct result {
    unsigned done;
    int err;
    char why[256];
    uint32_t domid;
    uint64_t to_copy;
    unsigned n;
    struct hv_guest guests[2];
    struct hv_description d;
};

static uv_loop_t loop;
static char base[64];
static struct disks *disks[2];
static struct hypervisor *hv[2];
static const struct vi_id disk = {.b = {0xd1}}, second = {.b = {0xd2}}, out = {.b = {0x71}}, back = {.b = {0x72}};

/* ---- what comes back */

static void on_done(void *arg, int err, const char *detail)
{
    struct result *r = arg;
    r->done++;
    r->err = err;
    snprintf(r->why, sizeof r->why, "%s", detail);
}

static void on_restore(void *arg, int err, const char *detail, uint32_t domid)
{
    on_done(arg, err, detail);
    ((struct result *)arg)->domid = domid;
}

static void on_list(void *arg, int err, const struct hv_guest *g, unsigned n)
{
    struct result *r = arg;
    on_done(arg, err, "");
    r->n = n;
    memcpy(r->guests, g, (n < 2 ? n : 2) * sizeof *g);
}

static void on_describe(void *arg, int err, const char *detail, const struct hv_description *d)
{
    on_done(arg, err, detail);
    ((struct result *)arg)->d = *d;
}

static void on_progress(void *arg, uint64_t in_sync, uint64_t sectors, uint64_t to_copy)
{
    (void)in_sync;
    (void)sectors;
    ((struct result *)arg)->to_copy = to_copy;
}

static void on_timer(uv_timer_t *t)
{
    *(bool *)t->data = true;
}

/* Runs the loop until that has happened, or (NULL) for so long. */
static void run(const unsigned *happened, unsigned ms)
{
    bool late = false;
    uv_timer_t t;
    uv_timer_init(&loop, &t);
    t.data = &late;
    uv_timer_start(&t, on_timer, ms, 0);
    while ((!happened || !*happened) && !late)
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&t, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

#define ASK(r, call)                                                                                                           \
    (memset(&(r), 0, sizeof(r)), assert_int_equal((call), 0), run(&(r).done, WAIT_MS), assert_int_equal((r).done, 1), (r).err)

/* ---- hosts */

static void open_host(int i)
{
    char folder[96], dir[96], why[256] = "";
    struct disk_host_config c = {.folder = folder, .files = true};
    struct hypervisor_simulated_config s = {.dir = dir};
    snprintf(folder, sizeof folder, "%s/disks%d", base, i);
    snprintf(dir, sizeof dir, "%s/host%d", base, i);
    disks[i] = disk_host_open(&loop, &c, why, sizeof why);
    if (!disks[i])
        fail_msg("%s", why);
    s.disks = disks[i];
    hv[i] = hypervisor_simulated_open(&loop, &s, why, sizeof why);
    if (!hv[i])
        fail_msg("%s", why);
}

static void close_host(int i)
{
    hv[i]->ops->close(hv[i]);
    disks[i]->ops->close(disks[i]);
    hv[i] = NULL;
}

static int set_up(void **state)
{
    (void)state;
    assert_true(sodium_init() >= 0);
    strcpy(base, "/tmp/violin-sim-disks.XXXXXX");
    assert_non_null(mkdtemp(base));
    uv_loop_init(&loop);
    open_host(0);
    open_host(1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        if (hv[i])
            close_host(i);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    folder_remove(base);
    return 0;
}

/* A line to the host's control socket, its answer back. */
static const char *say(int host, const char *line)
{
    static char answer[4096];
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t n = 0;
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s/host%d/sim.sock", base, host);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(send(fd, line, strlen(line), 0), strlen(line));
    assert_int_equal(send(fd, "\n", 1, 0), 1);
    for (int i = 0; i < 4000 && !memchr(answer, '\n', n); i++) {
        ssize_t got = recv(fd, answer + n, sizeof answer - 1 - n, MSG_DONTWAIT);
        n += got > 0 ? (size_t)got : 0;
        if (got <= 0)
            run(NULL, 5);
    }
    close(fd);
    run(NULL, 5);
    answer[n] = '\0';
    answer[strcspn(answer, "\n")] = '\0';
    return answer;
}

static void create_disk(int host, const struct vi_id *id, const char *name)
{
    struct result r;
    assert_int_equal(ASK(r, disks[host]->ops->create(disks[host], id, name, SECTORS, NULL, NULL, on_done, &r)), 0);
}

static void create_guest(int host)
{
    char line[300];
    snprintf(line, sizeof line, "create name=g uuid=%032x memory=64 maxmem=64 vcpus=1 mac=00:16:3e:00:00:01 bridge=vi-ab000000 "
                                "used=4 disk=web:xvdb writes=400", 1);
    if (strncmp(say(host, line), "ok", 2))
        fail_msg("%s", say(host, "list"));
}

/* How many blocks it has written; none of them may be bad. */
static unsigned verify(int host)
{
    unsigned blocks = 0, bad = 1, errors = 1;
    const char *a = say(host, "verify g");
    if (sscanf(a, "ok blocks=%u bad=%u errors=%u", &blocks, &bad, &errors) != 3 || bad || errors)
        fail_msg("%s", a);
    return blocks;
}

static struct hv_guest guest_at(int host)
{
    struct result r;
    assert_int_equal(ASK(r, hv[host]->ops->list(hv[host], on_list, &r)), 0);
    assert_int_equal(r.n, 1);
    return r.guests[0];
}

static void pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

/* The guest, suspended at the one and paused at the other. */
static void move_memory(int from, int to, struct hv_description *d)
{
    struct hv_guest g = guest_at(from);
    struct result r, s;
    int fds[2];
    pair(fds);
    assert_int_equal(ASK(r, hv[from]->ops->describe(hv[from], g.domid, &g.uuid, on_describe, &r)), 0);
    *d = r.d;
    memset(&d->vifs[0].environment, 0xab, 1);
    memset(&s, 0, sizeof s);
    assert_int_equal(hv[to]->ops->restore(hv[to], d, fds[1], on_restore, &s), 0);
    assert_int_equal(ASK(r, hv[from]->ops->suspend(hv[from], g.domid, &g.uuid, fds[0], on_done, &r)), 0);
    run(&s.done, WAIT_MS);
    if (s.err)
        fail_msg("%s", s.why);
}

static uint64_t move(int from, int to, const struct vi_id *handover, bool base_there, uint64_t generation)
{
    struct disks *a = disks[from], *b = disks[to];
    struct hv_guest g = guest_at(from), there;
    struct hv_description d;
    struct result r, mirror, serve = {0};
    int data[2], hashes[2] = {-1, -1};
    pair(data);
    if (base_there)
        pair(hashes);
    assert_int_equal(ASK(r, b->ops->make(b, handover, &disk, "web", SECTORS, base_there, on_done, &r)), 0);
    assert_int_equal(b->ops->serve(b, handover, &disk, data[1], hashes[1], on_done, &serve), 0);
    assert_int_equal(ASK(mirror, a->ops->mirror(a, handover, &disk, data[0], hashes[0], on_progress, on_done, &mirror)), 0);
    run(NULL, 300); /* it goes on writing */
    move_memory(from, to, &d);
    assert_int_equal(ASK(r, a->ops->finish(a, handover, &disk, on_done, &r)), 0);
    assert_int_equal(ASK(r, b->ops->complete(b, handover, &disk, on_done, &r)), 0);
    assert_int_equal(ASK(r, b->ops->own(b, handover, &disk, generation + 1, on_done, &r)), 0);
    there = guest_at(to);
    assert_int_equal(ASK(r, hv[to]->ops->unpause(hv[to], there.domid, &there.uuid, on_done, &r)), 0);
    assert_int_equal(ASK(r, a->ops->retire(a, handover, &disk, generation, on_done, &r)), VI_ESTATE); /* the old one has it still */
    assert_int_equal(ASK(r, hv[from]->ops->destroy(hv[from], g.domid, &g.uuid, on_done, &r)), 0);
    assert_int_equal(ASK(r, a->ops->retire(a, handover, &disk, generation, on_done, &r)), 0);
    return mirror.to_copy;
}

/* ---- tests */

static void a_guest_moves_with_its_disk_and_back(void **state)
{
    struct hv_guest g;
    unsigned before;
    (void)state;
    create_disk(0, &disk, "web");
    create_guest(0);
    run(NULL, 300);
    g = guest_at(0);
    assert_int_equal(g.n_disks, 1);
    assert_int_equal(g.disks[0].kind, HV_DISK_MOVABLE);
    assert_true(vi_id_equal(&g.disks[0].id, &disk));
    assert_string_equal(g.disks[0].vdev, "xvdb");
    before = verify(0);
    assert_true(before > 0);
    assert_int_equal(move(0, 1, &out, false, 1), SECTORS);
    assert_true(verify(1) > before);
    say(1, "load g writes=20");
    run(NULL, 300);
    assert_true(move(1, 0, &back, true, 2) < SECTORS);
    assert_true(verify(0) > before);
}

static void a_guest_that_is_started_again_has_what_it_wrote(void **state)
{
    unsigned before;
    (void)state;
    create_disk(0, &disk, "web");
    create_guest(0);
    run(NULL, 300);
    before = verify(0);
    close_host(0);
    uv_run(&loop, UV_RUN_NOWAIT);
    run(NULL, 200);
    open_host(0);
    assert_true(verify(0) >= before);
    assert_int_equal(strncmp(say(0, "reboot g"), "ok", 2), 0);
    run(NULL, 200);
    assert_true(verify(0) > before);
}

/* The stream breaks off: the guest goes on at the source, what has come goes. */
static void a_copy_that_is_cut_changes_nothing(void **state)
{
    struct disks *a = disks[0], *b = disks[1];
    struct result r, mirror = {0}, serve = {0};
    int data[2];
    (void)state;
    create_disk(0, &disk, "web");
    create_guest(0);
    pair(data);
    assert_int_equal(ASK(r, b->ops->make(b, &out, &disk, "web", SECTORS, false, on_done, &r)), 0);
    assert_int_equal(b->ops->serve(b, &out, &disk, data[1], -1, on_done, &serve), 0);
    assert_int_equal(a->ops->mirror(a, &out, &disk, data[0], -1, on_progress, on_done, &mirror), 0);
    run(&mirror.done, WAIT_MS);
    assert_int_equal(mirror.err, 0);
    assert_int_equal(ASK(r, b->ops->discard(b, &out, &disk, on_done, &r)), 0); /* the other end is gone */
    assert_int_equal(serve.done, 1);
    assert_int_equal(serve.err, VI_ECANCELED);
    run(NULL, 600);
    assert_int_equal(ASK(r, a->ops->finish(a, &out, &disk, on_done, &r)), VI_EIO);
    assert_int_equal(ASK(r, a->ops->unmirror(a, &out, &disk, on_done, &r)), 0);
    run(NULL, 200);
    assert_true(verify(0) > 0);
}

static void nobody_else_gets_it(void **state)
{
    struct result r;
    struct hv_guest g;
    (void)state;
    create_disk(0, &disk, "web");
    create_disk(0, &second, "more");
    create_guest(0);
    g = guest_at(0);
    assert_int_equal(strncmp(say(0, "create name=h uuid=00000000000000000000000000000002 memory=64 vcpus=1 mac=00:16:3e:00:00:02 "
                                    "bridge=vi-ab000000 disk=web"), "error", 5), 0);
    assert_int_equal(ASK(r, disks[0]->ops->remove(disks[0], &disk, on_done, &r)), VI_ESTATE);
    assert_int_equal(ASK(r, hv[0]->ops->attach(hv[0], g.domid, &g.uuid, &second, "xvdb", on_done, &r)), VI_EEXIST);
    assert_int_equal(ASK(r, hv[0]->ops->attach(hv[0], g.domid, &g.uuid, &disk, "xvdc", on_done, &r)), VI_ESTATE);
    assert_int_equal(ASK(r, hv[0]->ops->attach(hv[0], g.domid, &g.uuid, &out, "xvdc", on_done, &r)), VI_ENOTFOUND);
    assert_int_equal(ASK(r, hv[0]->ops->attach(hv[0], g.domid, &g.uuid, &second, "xvdc", on_done, &r)), 0);
    assert_int_equal(guest_at(0).n_disks, 2);
    run(NULL, 200);
    assert_true(verify(0) > 0);
    assert_int_equal(ASK(r, disks[0]->ops->remove(disks[0], &second, on_done, &r)), VI_ESTATE);
    assert_int_equal(ASK(r, hv[0]->ops->detach(hv[0], g.domid, &g.uuid, &second, on_done, &r)), 0);
    assert_int_equal(ASK(r, hv[0]->ops->detach(hv[0], g.domid, &g.uuid, &second, on_done, &r)), VI_ENOTFOUND);
    assert_int_equal(ASK(r, disks[0]->ops->remove(disks[0], &second, on_done, &r)), 0);
    assert_int_equal(ASK(r, hv[0]->ops->destroy(hv[0], g.domid, &g.uuid, on_done, &r)), 0);
    assert_int_equal(ASK(r, disks[0]->ops->remove(disks[0], &disk, on_done, &r)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_guest_moves_with_its_disk_and_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_guest_that_is_started_again_has_what_it_wrote, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_copy_that_is_cut_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_else_gets_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
