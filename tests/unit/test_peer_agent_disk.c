/* Disks over the agent link: two agents with simulated hypervisors, each a process, and a client of each in this one. Lists in
 * pages, a disk's way out and back with its second descriptors, an enemy's requests, a peer that vanishes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <stdio.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "peer/agent.h"
#include "peer/agent_client.h"
#include "peer/link.h"
#include "tests/unit/agent_link.h"

#define WAIT    20 /* s */
#define SECTORS 4096
#define MANY    70 /* more than a page */

struct host {
    char dir[128], sim[160];
    pid_t pid;
    int control; /* the supervisor's end */
    struct agent_client *client;
    struct disks *disks;
};

struct result {
    bool done;
    int err;
    char detail[256];
    unsigned n, told;
    uint64_t room, to_copy;
    struct disk_info disks[DISKS_MAX];
};

static uv_loop_t loop;
static struct host hosts[2];
static char base[64];
static const struct vi_id web = {.b = {0xd1}}, out = {.b = {0x71}}, back = {.b = {0x72}}, zero;

/* ---- what came back */

static void on_done(void *arg, int err, const char *detail)
{
    struct result *r = arg;
    assert_false(r->done);
    r->done = true;
    r->err = err;
    snprintf(r->detail, sizeof r->detail, "%s", detail);
}

static void on_list(void *arg, int err, const char *detail, const struct disk_info *d, unsigned n, uint64_t room)
{
    struct result *r = arg;
    on_done(arg, err, detail);
    r->n = n;
    r->room = room;
    memcpy(r->disks, d, n * sizeof *d);
}

static void on_progress(void *arg, uint64_t in_sync, uint64_t sectors, uint64_t to_copy)
{
    struct result *r = arg;
    assert_true(in_sync <= sectors && !r->done);
    r->told++;
    r->to_copy = to_copy;
}

static void until(const bool *done)
{
    vi_time end = vi_clock_boottime() + WAIT * VI_SEC;
    while (!*done && vi_clock_boottime() < end) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(500);
    }
    assert_true(*done);
}

#define ASK(r, call) (memset(&(r), 0, sizeof(r)), assert_int_equal((call), 0), until(&(r).done), (r).err)

/* ---- hosts */

static void hand_link(struct host *h)
{
    h->client = agent_client_open(&loop, agent_link_handed(h->control), NULL, h);
    assert_non_null(h->client);
    h->disks = agent_client_disks(h->client);
}

static void start_agent(struct host *h)
{
    int fds[2];
    assert_int_equal(link_pair(fds), 0);
    h->pid = fork();
    if (h->pid == 0) {
        const char *folders[] = {h->dir}, *adopt[] = {h->dir};
        struct agent_options o = {.run_dir = h->dir, .hypervisor = "simulated", .simulated_dir = h->sim,
                                  .image_folders = folders, .n_image_folders = 1, .adopt_folders = adopt, .n_adopt_folders = 1,
                                  .control_fd = fds[1]};
        close(fds[0]);
        _exit(agent_main(&o));
    }
    close(fds[1]);
    h->control = fds[0];
    hand_link(h);
}

static int setup(void **state)
{
    (void)state;
    snprintf(base, sizeof base, "/tmp/violin-agent-disk-XXXXXX");
    assert_non_null(mkdtemp(base));
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&loop);
    for (int i = 0; i < 2; i++) {
        snprintf(hosts[i].dir, sizeof hosts[i].dir, "%s/h%d", base, i);
        snprintf(hosts[i].sim, sizeof hosts[i].sim, "%s/h%d/sim", base, i);
        assert_int_equal(mkdir(hosts[i].dir, 0700), 0);
        start_agent(&hosts[i]);
    }
    return 0;
}

static void drop_client(struct host *h)
{
    agent_client_close(h->client);
    for (int i = 0; i < 20; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
}

static int teardown(void **state)
{
    char command[96];
    int status;
    (void)state;
    for (int i = 0; i < 2; i++) {
        drop_client(&hosts[i]);
        kill(hosts[i].pid, SIGTERM);
        assert_int_equal(waitpid(hosts[i].pid, &status, 0), hosts[i].pid);
        assert_int_equal(status, 0); /* it ended in order */
        close(hosts[i].control);
    }
    snprintf(command, sizeof command, "rm -rf %s", base);
    return system(command) ? -1 : uv_loop_close(&loop);
}

static struct result list(int host)
{
    struct result r;
    assert_int_equal(ASK(r, hosts[host].disks->ops->list(hosts[host].disks, on_list, &r)), 0);
    return r;
}

static void pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

/* ---- tests */

static void lists_come_in_pages(void **state)
{
    static struct result r, all;
    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        struct vi_id id = {.b = {0xe0, (uint8_t)i}};
        char name[16];
        snprintf(name, sizeof name, "d%u", i);
        assert_int_equal(ASK(r, hosts[0].disks->ops->create(hosts[0].disks, &id, name, 8, NULL, NULL, on_done, &r)), 0);
        usleep(6000); /* 200 requests a second */
    }
    all = list(0);
    assert_int_equal(all.n, MANY);
    assert_true(all.room > 0);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(all.disks[i].record.sectors, 8);
        assert_int_equal(all.disks[i].record.kind, DISK_TRUE);
        assert_true(all.disks[i].device[0] == '/' && !all.disks[i].busy);
        assert_int_equal(ASK(r, hosts[0].disks->ops->remove(hosts[0].disks, &all.disks[i].record.id, on_done, &r)), 0);
        usleep(6000);
    }
    assert_int_equal(list(0).n, 0);
}

static uint64_t move(int from, int to, const struct vi_id *handover, bool base_there, uint64_t generation)
{
    static struct result r, mirror, serve;
    struct disks *a = hosts[from].disks, *b = hosts[to].disks;
    int data[2], hashes[2] = {-1, -1};
    memset(&serve, 0, sizeof serve);
    pair(data);
    if (base_there)
        pair(hashes);
    assert_int_equal(ASK(r, b->ops->make(b, handover, &web, "web", SECTORS, base_there, on_done, &r)), 0);
    assert_int_equal(b->ops->serve(b, handover, &web, data[1], hashes[1], on_done, &serve), 0);
    assert_int_equal(ASK(mirror, a->ops->mirror(a, handover, &web, data[0], hashes[0], on_progress, on_done, &mirror)), 0);
    assert_true(mirror.told > 0);
    assert_int_equal(ASK(r, a->ops->finish(a, handover, &web, on_done, &r)), 0);
    assert_int_equal(ASK(r, b->ops->complete(b, handover, &web, on_done, &r)), 0);
    until(&serve.done);
    assert_int_equal(serve.err, 0);
    assert_int_equal(ASK(r, b->ops->own(b, handover, &web, generation + 1, on_done, &r)), 0);
    assert_int_equal(ASK(r, a->ops->retire(a, handover, &web, generation, on_done, &r)), 0);
    return mirror.to_copy;
}

static void a_disk_moves_and_comes_back(void **state)
{
    static struct result r;
    (void)state;
    assert_int_equal(ASK(r, hosts[0].disks->ops->create(hosts[0].disks, &web, "web", SECTORS, NULL, NULL, on_done, &r)), 0);
    assert_int_equal(move(0, 1, &out, false, 1), SECTORS);
    assert_int_equal(list(0).disks[0].record.kind, DISK_OLD);
    assert_true(vi_id_equal(&list(0).disks[0].record.by, &out));
    assert_int_equal(move(1, 0, &back, true, 2), 0); /* nothing was written */
    assert_int_equal(list(0).disks[0].record.generation, 3);
}

static void an_enemy_is_refused(void **state)
{
    static struct result r;
    struct disks *a = hosts[0].disks;
    struct vi_id strange = {.b = {0x55}};
    int pipes[2], data[2], hashes[2];
    (void)state;
    assert_int_equal(ASK(r, a->ops->create(a, &zero, "zero", 8, NULL, NULL, on_done, &r)), VI_EPROTO);
    assert_int_equal(ASK(r, a->ops->create(a, &strange, "../x", 8, NULL, NULL, on_done, &r)), VI_EINVAL);
    assert_int_equal(ASK(r, a->ops->create(a, &strange, "x", UINT64_MAX, NULL, NULL, on_done, &r)), VI_EPROTO);
    assert_int_equal(ASK(r, a->ops->adopt(a, &strange, "x", "/etc/passwd", on_done, &r)), VI_EREFUSED);
    assert_int_equal(ASK(r, a->ops->adopt(a, &strange, "x", "/tmp/../etc/passwd", on_done, &r)), VI_EPROTO);
    assert_int_equal(ASK(r, a->ops->remove(a, &strange, on_done, &r)), VI_ENOTFOUND);
    assert_int_equal(ASK(r, a->ops->own(a, &zero, &web, 9, on_done, &r)), VI_EPROTO);
    assert_int_equal(ASK(r, a->ops->own(a, &out, &web, 9, on_done, &r)), VI_ENOTFOUND); /* not that handover's */
    assert_int_equal(ASK(r, a->ops->make(a, &out, &web, "web", SECTORS, true, on_done, &r)), VI_EEXIST);
    pair(data);
    assert_int_equal(ASK(r, a->ops->serve(a, &out, &web, data[0], -1, on_done, &r)), VI_ESTATE); /* the true copy is never written to */
    close(data[1]);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(ASK(r, a->ops->mirror(a, &out, &web, pipes[1], -1, NULL, on_done, &r)), VI_EINVAL);
    close(pipes[0]);
    assert_int_equal(pipe(pipes), 0);
    pair(data);
    assert_int_equal(ASK(r, a->ops->mirror(a, &out, &web, data[0], pipes[1], NULL, on_done, &r)), VI_EINVAL);
    close(pipes[0]);
    close(data[1]);
    pair(data);
    pair(hashes);
    assert_int_equal(ASK(r, a->ops->mirror(a, &out, &strange, data[0], hashes[0], NULL, on_done, &r)), VI_ENOTFOUND);
    close(data[1]);
    close(hashes[1]);
    assert_int_equal(list(0).n, 1);
}

/* Its copies end with it, the disk goes on; the next peer finds all as it is. */
static void a_peer_vanishes(void **state)
{
    static struct result m, r;
    int data[2];
    (void)state;
    memset(&m, 0, sizeof m);
    pair(data);
    assert_int_equal(hosts[0].disks->ops->mirror(hosts[0].disks, &out, &web, data[0], -1, NULL, on_done, &m), 0);
    assert_true(list(0).disks[0].busy);
    drop_client(&hosts[0]);
    close(data[1]);
    assert_true(m.done);
    assert_int_equal(m.err, VI_ECANCELED);
    hand_link(&hosts[0]);
    for (int i = 0; list(0).disks[0].busy; i++) {
        assert_true(i < WAIT * 20);
        usleep(50000);
    }
    assert_int_equal(ASK(r, hosts[0].disks->ops->finish(hosts[0].disks, &out, &web, on_done, &r)), VI_EIO);
    assert_int_equal(ASK(r, hosts[0].disks->ops->remove(hosts[0].disks, &web, on_done, &r)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_come_in_pages),
        cmocka_unit_test(a_disk_moves_and_comes_back),
        cmocka_unit_test(an_enemy_is_refused),
        cmocka_unit_test(a_peer_vanishes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
