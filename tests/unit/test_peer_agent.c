/* Two agents with simulated hypervisors, each a process in a network namespace of its own, and a
 * client of each in this process: environments, memory, a move of a guest, an enemy's requests,
 * another peer, another agent. Needs root and /dev/net/tun; skipped without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <stdio.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "peer/agent.h"
#include "peer/agent_client.h"
#include "peer/link.h"
#include "tests/unit/agent_link.h"

#define WAIT 20 /* s */

struct host {
    char dir[128], sim[160];
    pid_t pid;
    int control; /* the supervisor's end */
    struct agent_client *client;
    struct hypervisor *hv;
    unsigned lost, events[HV_EV_BACK + 1];
};

static uv_loop_t loop;
static struct host hosts[2];
static char base[64], limbo[32], guest_ns[32];

/* ---- what came back ----------------------------------------------------------------------------------------------- */

struct result {
    bool done;
    int err;
    uint32_t domid;
    int tap;
    bool vnet;
    unsigned n;
    char detail[256];
    struct hv_guest guest;
    struct hv_description d;
    struct hv_host host;
    struct agent_facts facts;
};

static void on_done(void *arg, int err, const char *detail)
{
    struct result *r = arg;
    assert_false(r->done);
    r->done = true;
    r->err = err;
    snprintf(r->detail, sizeof r->detail, "%s", detail);
}

static void on_host(void *arg, int err, const struct hv_host *h)
{
    on_done(arg, err, "");
    ((struct result *)arg)->host = *h;
}

static void on_list(void *arg, int err, const struct hv_guest *g, unsigned n)
{
    struct result *r = arg;
    on_done(arg, err, "");
    r->n = n;
    if (n)
        r->guest = g[0];
}

static void on_describe(void *arg, int err, const char *detail, const struct hv_description *d)
{
    on_done(arg, err, detail);
    ((struct result *)arg)->d = *d;
}

static void on_restore(void *arg, int err, const char *detail, uint32_t domid)
{
    on_done(arg, err, detail);
    ((struct result *)arg)->domid = domid;
}

static void on_env(void *arg, int err, const char *detail, const struct agent_tap *tap)
{
    struct result *r = arg;
    on_done(arg, err, detail);
    r->tap = tap->fd;
    r->vnet = tap->vnet;
    if (!err)
        snprintf(r->detail, sizeof r->detail, "%s %s", tap->ifname, tap->bridge);
}

static void on_queue(void *arg, int err, const char *detail, const struct vi_id *env, int fd)
{
    struct result *r = arg;
    on_done(arg, err, detail);
    assert_int_equal(env->b[0], 0x11);
    r->tap = fd;
}

static void on_facts(void *arg, int err, const struct agent_facts *f)
{
    on_done(arg, err, "");
    ((struct result *)arg)->facts = *f;
}

static void on_event(void *arg, const struct hv_event *e)
{
    ((struct host *)arg)->events[e->kind]++;
}

static void on_lost(void *arg, const char *why)
{
    (void)why;
    ((struct host *)arg)->lost++;
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

/* ---- hosts ---------------------------------------------------------------------------------------------------------- */

static void hand_link(struct host *h)
{
    h->client = agent_client_open(&loop, agent_link_handed(h->control), on_lost, h);
    assert_non_null(h->client);
    h->hv = agent_client_hypervisor(h->client);
    h->hv->on_event = on_event;
    h->hv->event_arg = h;
}

/* The namespace is made once and kept by a descriptor, so that an agent can start again in it. */
static void start_agent(struct host *h, int *netns)
{
    int fds[2];
    assert_int_equal(link_pair(fds), 0);
    h->pid = fork();
    if (h->pid == 0) {
        const char *folders[] = {h->dir};
        struct agent_options o = {.run_dir = h->dir, .hypervisor = "simulated",
                                  .simulated_dir = h->sim,
                                  .image_folders = folders, .n_image_folders = 1,
                                  .outside_bridge = h == &hosts[1] ? "out0" : NULL,
                                  .simulated_limbo = limbo, .control_fd = fds[1]};
        close(fds[0]);
        if (setns(*netns, CLONE_NEWNET))
            _exit(99);
        _exit(agent_main(&o));
    }
    close(fds[1]);
    h->control = fds[0];
    hand_link(h);
}

static int stop_agent(struct host *h, int sig)
{
    int status;
    if (sig)
        kill(h->pid, sig);
    else
        close(h->control);
    assert_int_equal(waitpid(h->pid, &status, 0), h->pid);
    if (sig)
        close(h->control);
    h->pid = 0;
    return status;
}

static void drop_client(struct host *h)
{
    agent_client_close(h->client);
    h->client = NULL;
    for (int i = 0; i < 20; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
}

static int netns[2];

static int command(const char *fmt, const char *what)
{
    char cmd[192];
    snprintf(cmd, sizeof cmd, "%.*s%s%s", (int)strcspn(fmt, "%"), fmt, what, strchr(fmt, '%') + 2);
    return system(cmd);
}

static int setup(void **state)
{
    (void)state;
    int self = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    snprintf(base, sizeof base, "/tmp/violin-agent-XXXXXX");
    assert_non_null(mkdtemp(base));
    snprintf(limbo, sizeof limbo, "violin-l%d", (int)getpid());
    snprintf(guest_ns, sizeof guest_ns, "violin-g%d", (int)getpid());
    assert_int_equal(command("ip netns add %s", limbo), 0);
    assert_int_equal(command("ip netns add %s", guest_ns), 0);
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&loop);
    for (int i = 0; i < 2; i++) {
        snprintf(hosts[i].dir, sizeof hosts[i].dir, "%s/h%d", base, i);
        snprintf(hosts[i].sim, sizeof hosts[i].sim, "%s/h%d/sim", base, i);
        assert_int_equal(mkdir(hosts[i].dir, 0700), 0);
        assert_int_equal(unshare(CLONE_NEWNET), 0);
        netns[i] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        assert_int_equal(setns(self, CLONE_NEWNET), 0);
        start_agent(&hosts[i], &netns[i]);
    }
    close(self);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        if (hosts[i].client)
            drop_client(&hosts[i]);
        if (hosts[i].pid)
            stop_agent(&hosts[i], SIGTERM);
        close(netns[i]);
    }
    int err = command("ip netns del %s", limbo) | command("ip netns del %s", guest_ns) |
              command("rm -rf %s", base);
    return err ? -1 : uv_loop_close(&loop);
}

/* One line to the simulated hypervisor, which runs in another process. */
static void sim(struct host *h, const char *line, char *answer, size_t cap)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = -1;
    snprintf(sa.sun_path, sizeof sa.sun_path, "%.90s/sim.sock", h->sim);
    for (int i = 0; i < 200; i++) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (!connect(fd, (struct sockaddr *)&sa, sizeof sa))
            break;
        close(fd);
        fd = -1;
        usleep(50000);
    }
    assert_true(fd >= 0);
    assert_true(write(fd, line, strlen(line)) > 0 && write(fd, "\n", 1) == 1);
    size_t n = 0;
    ssize_t got;
    while (n + 1 < cap && (got = read(fd, answer + n, cap - 1 - n)) > 0) {
        n += (size_t)got;
        if (answer[n - 1] == '\n')
            break;
    }
    answer[n] = '\0';
    close(fd);
}

#define ENV  "11223344556677889900aabbccddeeff"
#define UUID "a1b2c3d4-0000-4000-8000-000000000001"

static struct vi_id id(const char *text)
{
    struct vi_id i;
    assert_int_equal(vi_id_parse(&i, text), 0);
    return i;
}

static struct result list(struct host *h)
{
    struct result r = {.done = false};
    assert_int_equal(h->hv->ops->list(h->hv, on_list, &r), 0);
    until(&r.done);
    assert_int_equal(r.err, 0);
    return r;
}

static struct result env_open(struct host *h)
{
    struct result r = {.tap = -1};
    struct vi_id e = id(ENV);
    assert_int_equal(agent_env_open(h->client, &e, 1400, 2, on_env, &r), 0);
    until(&r.done);
    return r;
}

/* ---- tests ------------------------------------------------------------------------------------------------------------ */

static void environments_have_bridge_and_tap(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct result r = env_open(&hosts[i]), again = env_open(&hosts[i]);
        if (r.err && access("/dev/net/tun", R_OK))
            skip();
        assert_string_equal(r.err ? r.detail : "", "");
        assert_int_equal(again.err, 0);
        assert_string_equal(r.detail, "vt-11223344 vi-11223344");
        assert_true(r.tap >= 0 && again.tap >= 0);
        assert_true(r.vnet && again.vnet); /* the kernel that this runs on is a good one */
        close(r.tap);
        close(again.tap);
    }
    struct result r = {.done = false};
    struct vi_id other = id("11223344000000000000000000000000"), e = id(ENV);
    assert_int_equal(agent_env_open(hosts[0].client, &other, 1400, 2, on_env, &r), 0);
    until(&r.done);
    assert_int_equal(r.err, VI_EEXIST);
    r = (struct result){.done = false};
    assert_int_equal(agent_env_open(hosts[0].client, &other, 100, 2, on_env, &r), 0);
    until(&r.done);
    assert_int_equal(r.err, VI_EPROTO);
    r = (struct result){.done = false};
    assert_int_equal(agent_env_queue(hosts[0].client, &e, on_queue, &r), 0);
    until(&r.done);
    assert_string_equal(r.detail, "");
    assert_int_equal(r.err, 0);
    assert_true(r.tap >= 0);
    close(r.tap);
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), bytes = 0;
    socklen_t size = sizeof bytes;
    r = (struct result){.done = false};
    assert_int_equal(agent_udp_buffers(hosts[0].client, udp, on_done, &r), 0);
    until(&r.done);
    assert_int_equal(r.err, 0);
    assert_int_equal(getsockopt(udp, SOL_SOCKET, SO_RCVBUF, &bytes, &size), 0);
    assert_true(bytes >= 4 << 20);
    r = (struct result){.done = false};
    assert_int_equal(agent_udp_buffers(hosts[0].client, tcp, on_done, &r), 0);
    until(&r.done);
    assert_int_equal(r.err, VI_EINVAL);
    for (unsigned i = 1; i < 17; i++) {
        r = (struct result){.done = false};
        assert_int_equal(agent_udp_buffers(hosts[0].client, udp, on_done, &r), 0);
        until(&r.done);
        assert_int_equal(r.err, i < 16 ? 0 : VI_EFULL);
    }
    close(udp);
    close(tcp);
    r = (struct result){.done = false};
    assert_int_equal(agent_announce(hosts[0].client, &e, (uint8_t[6]){0, 22, 62, 1, 2, 3}, on_done, &r), 0);
    until(&r.done);
    assert_string_equal(r.detail, "");
    assert_int_equal(r.err, 0);
}

static int asked_lan(int (*ask)(struct agent_client *, const struct vi_id *, const char *, hv_done *, void *),
                     const struct vi_id *e, const char *iface, const char *why)
{
    struct result r = {.done = false};
    assert_int_equal(ask(hosts[0].client, e, iface, on_done, &r), 0);
    until(&r.done);
    if (why)
        assert_non_null(strstr(r.detail, why));
    return r.err;
}

/* A command in the first host's namespace. */
static int at_first_host(const char *cmd)
{
    int self = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), err;
    assert_int_equal(setns(netns[0], CLONE_NEWNET), 0);
    err = system(cmd);
    assert_int_equal(setns(self, CLONE_NEWNET), 0);
    close(self);
    return err;
}

static bool is_port(const char *iface)
{
    char cmd[128];
    snprintf(cmd, sizeof cmd, "ip link show %s | grep -q 'master vi-11223344'", iface);
    return at_first_host(cmd) == 0;
}

/* A LAN goes into an environment's bridge, and what isn't one doesn't. */
static void lans_are_attached_with_checks(void **state)
{
    struct vi_id e = id(ENV), none = id("99999999000000000000000000000000");
    struct result r = env_open(&hosts[0]);
    int n;
    (void)state;
    if (r.err && access("/dev/net/tun", R_OK))
        skip();
    close(r.tap);
    assert_int_equal(at_first_host("ip link add lan0 type veth peer name lan1 && ip link add lan2 type veth peer name lan3 && "
                             "ip addr add 192.0.2.7/24 dev lan2 && ip link add other type bridge && ip link set lan3 master other"), 0);
    assert_int_equal(asked_lan(agent_env_attach, &none, "lan0", NULL), VI_ENOTFOUND);
    assert_int_equal(asked_lan(agent_env_attach, &e, "nothing", "there is no interface"), VI_ENOTFOUND);
    assert_int_equal(asked_lan(agent_env_attach, &e, "lo", "no Ethernet"), VI_EINVAL);
    assert_int_equal(asked_lan(agent_env_attach, &e, "lan2", "192.0.2.7"), VI_ESTATE);
    assert_int_equal(asked_lan(agent_env_attach, &e, "lan3", "in another bridge"), VI_ESTATE);
    assert_int_equal(asked_lan(agent_env_attach, &e, "vt-11223344", "own"), VI_EINVAL);
    assert_int_equal(asked_lan(agent_env_attach, &e, "../lan0", NULL), VI_EPROTO);
    assert_int_equal(asked_lan(agent_env_attach, &e, "", NULL), VI_EPROTO);
    assert_int_equal(asked_lan(agent_env_attach, &e, "lan0", NULL), 0);
    assert_true(is_port("lan0"));
    assert_int_equal(asked_lan(agent_env_attach, &e, "lan0", NULL), 0); /* as it is */
    assert_int_equal(asked_lan(agent_env_attach, &e, "lan1", "lan0 is attached already"), VI_EEXIST);
    r = (struct result){.tap = -1};
    assert_int_equal(agent_env_listen(hosts[0].client, &e, "lan0", on_queue, &r), 0);
    until(&r.done);
    assert_int_equal(r.err, 0);
    n = 0;
    assert_int_equal(setsockopt(r.tap, SOL_SOCKET, SO_DETACH_FILTER, &n, sizeof n), -1); /* it hears beacons only, for good */
    close(r.tap);
    assert_int_equal(asked_lan(agent_env_detach, &e, "vt-11223344", "own"), VI_EINVAL);
    assert_int_equal(asked_lan(agent_env_detach, &e, "lan0", NULL), 0);
    assert_false(is_port("lan0"));
    assert_int_equal(asked_lan(agent_env_detach, &e, "lan0", NULL), 0);
}

static void a_guest_is_seen_and_given_memory(void **state)
{
    (void)state;
    char answer[512];
    struct host *h = &hosts[0];
    sim(h, "create name=web uuid=" UUID " memory=256 maxmem=1024 vcpus=1 mac=00:16:3e:00:00:01"
           " bridge=vi-11223344 cpu=50 used=200 dirty=2", answer, sizeof answer);
    assert_string_equal(answer, "ok domid=1\n");
    sim(h, "create name=lan uuid=b1b2c3d4-0000-4000-8000-000000000002 memory=64 maxmem=64 vcpus=1"
           " mac=00:16:3e:00:00:02 bridge=xenbr0 cpu=0 used=1 dirty=0", answer, sizeof answer);
    struct result r = list(h), m = {.done = false};
    assert_int_equal(r.n, 2);
    assert_string_equal(r.guest.name, "web");
    assert_int_equal(hosts[0].events[HV_EV_APPEARED], 2);
    struct vi_id u = id(UUID);
    assert_int_equal(h->hv->ops->set_memory(h->hv, 1, &u, 512 * 1024, on_done, &m), 0);
    until(&m.done);
    assert_int_equal(m.err, 0);
    usleep(700000);
    r = list(h);
    assert_int_equal(r.guest.target_kb, 512 * 1024);
    assert_int_equal(r.guest.current_kb, 512 * 1024);
    assert_true(r.guest.cpu_time_ns > 0);
    struct result host = {.done = false};
    assert_int_equal(h->hv->ops->host(h->hv, on_host, &host), 0);
    until(&host.done);
    assert_string_equal(host.host.kind, "simulated");
}

static void an_enemy_is_refused(void **state)
{
    (void)state;
    struct host *h = &hosts[0];
    struct vi_id u = id(UUID), lan = id("b1b2c3d4-0000-4000-8000-000000000002");
    struct result r[6] = {{.done = false}};
    int fds[2], pipes[2];
    assert_int_equal(h->hv->ops->destroy(h->hv, 2, &lan, on_done, &r[0]), 0);
    assert_int_equal(h->hv->ops->destroy(h->hv, 0, &u, on_done, &r[1]), 0);
    assert_int_equal(h->hv->ops->set_memory(h->hv, 1, &u, 1 << 30, on_done, &r[2]), 0);
    assert_int_equal(h->hv->ops->set_sched(h->hv, 1, &u, 256, 200, on_done, &r[3]), 0);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(h->hv->ops->suspend(h->hv, 1, &u, pipes[1], on_done, &r[4]), 0);
    for (int i = 0; i < 5; i++)
        until(&r[i].done);
    close(pipes[0]);
    assert_int_equal(r[0].err, VI_ENOTFOUND);
    assert_int_equal(r[1].err, VI_EPROTO);
    assert_int_equal(r[2].err, VI_EINVAL);
    assert_int_equal(r[3].err, VI_EINVAL);
    assert_int_equal(r[4].err, VI_EINVAL);
    struct result d = {.done = false};
    assert_int_equal(h->hv->ops->describe(h->hv, 1, &u, on_describe, &d), 0);
    until(&d.done);
    memset(&d.d.vifs[0].environment, 0xee, 16); /* not open here */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(hosts[1].hv->ops->restore(hosts[1].hv, &d.d, fds[0], on_restore, &r[5]), 0);
    until(&r[5].done);
    close(fds[1]);
    assert_int_equal(r[5].err, VI_ESTATE);
    assert_int_equal(list(h).n, 2);
}

static void too_many_requests_are_refused(void **state)
{
    (void)state;
    struct host *h = &hosts[1];
    static struct result r[600];
    unsigned refused = 0, made = 0;
    memset(r, 0, sizeof r);
    while (made < 600) {
        if (agent_facts(h->client, on_facts, &r[made]) == 0)
            made++;
        else
            uv_run(&loop, UV_RUN_ONCE);
    }
    for (unsigned i = 0; i < made; i++) {
        until(&r[i].done);
        refused += r[i].err == VI_EAGAIN;
    }
    assert_true(refused > 0 && refused < made);
    usleep(1100000);
}

static void a_guest_moves(void **state)
{
    (void)state;
    struct host *s = &hosts[0], *d = &hosts[1];
    struct vi_id u = id(UUID), e = id(ENV);
    struct result r = {.done = false}, out = {.done = false}, in = {.done = false}, can = {.done = false};
    int fds[2];
    assert_int_equal(s->hv->ops->describe(s->hv, 1, &u, on_describe, &r), 0);
    until(&r.done);
    assert_int_equal(r.err, 0);
    r.d.vifs[0].environment = e;
    assert_int_equal(d->hv->ops->can_receive(d->hv, &r.d, on_done, &can), 0);
    until(&can.done);
    assert_string_equal(can.detail, "");
    assert_int_equal(can.err, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(d->hv->ops->restore(d->hv, &r.d, fds[1], on_restore, &in), 0);
    assert_int_equal(s->hv->ops->suspend(s->hv, 1, &u, fds[0], on_done, &out), 0);
    until(&out.done);
    until(&in.done);
    assert_int_equal(out.err, 0);
    assert_int_equal(in.err, 0);
    struct result l = list(d);
    assert_int_equal(l.n, 1);
    assert_true(l.guest.incoming && l.guest.state == HV_PAUSED);
    assert_int_equal(l.guest.target_kb, 512 * 1024);
    assert_string_equal(l.guest.vifs[0].bridge, "vi-11223344");
    assert_int_equal(list(s).guest.state, HV_SUSPENDED);
    struct result un = {.done = false}, de = {.done = false};
    assert_int_equal(d->hv->ops->unpause(d->hv, in.domid, &u, on_done, &un), 0);
    until(&un.done);
    assert_int_equal(un.err, 0);
    assert_int_equal(s->hv->ops->destroy(s->hv, 1, &u, on_done, &de), 0);
    until(&de.done);
    assert_int_equal(de.err, 0);
    assert_int_equal(list(d).guest.state, HV_RUNNING);
    assert_false(list(d).guest.incoming);
    assert_int_equal(list(s).n, 1);
}

static int carrier(void)
{
    return command("test \"$(ip netns exec %s cat /sys/class/net/eth0/carrier)\" = 1", guest_ns) == 0;
}

#define NS_UUID "c1b2c3d4-0000-4000-8000-000000000003"

/* A guest that is a namespace keeps its eth0; only its carrier goes and comes. */
static void a_guest_with_a_namespace_moves(void **state)
{
    (void)state;
    struct host *s = &hosts[0], *d = &hosts[1];
    struct vi_id u = id(NS_UUID);
    struct result r = {.done = false}, out = {.done = false}, in = {.done = false}, un = {.done = false},
                  de = {.done = false};
    char answer[512], line[512];
    int fds[2];
    snprintf(line, sizeof line, "create name=ns uuid=" NS_UUID " memory=64 maxmem=128 vcpus=1 "
             "mac=00:16:3e:00:00:03 bridge=vi-11223344 netns=%s cpu=1 used=32 dirty=1", guest_ns);
    sim(s, line, answer, sizeof answer);
    assert_memory_equal(answer, "ok domid=", 9);
    uint32_t domid = (uint32_t)atoi(answer + 9);
    assert_int_equal(command("ip -n %s link set eth0 up", guest_ns), 0);
    assert_true(carrier());
    assert_int_equal(s->hv->ops->describe(s->hv, domid, &u, on_describe, &r), 0);
    until(&r.done);
    assert_int_equal(r.err, 0);
    r.d.vifs[0].environment = id(ENV);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(d->hv->ops->restore(d->hv, &r.d, fds[1], on_restore, &in), 0);
    assert_int_equal(s->hv->ops->suspend(s->hv, domid, &u, fds[0], on_done, &out), 0);
    until(&out.done);
    until(&in.done);
    assert_int_equal(out.err, 0);
    assert_int_equal(in.err, 0);
    assert_false(carrier());
    assert_int_equal(d->hv->ops->unpause(d->hv, in.domid, &u, on_done, &un), 0);
    until(&un.done);
    assert_string_equal(un.detail, "");
    assert_int_equal(un.err, 0);
    assert_true(carrier());
    assert_int_equal(s->hv->ops->destroy(s->hv, domid, &u, on_done, &de), 0);
    until(&de.done);
    assert_true(carrier());
    de = (struct result){.done = false};
    assert_int_equal(d->hv->ops->destroy(d->hv, in.domid, &u, on_done, &de), 0);
    until(&de.done);
}

/* The peer of the source vanishes in mid-stream: the stream ends, the guest runs on. */
static void on_image(void *arg, int err, const char *detail, const uint8_t hash[HV_HASH_SIZE])
{
    on_done(arg, err, detail);
    memcpy(((struct result *)arg)->d.kernel, hash, HV_HASH_SIZE);
}

static struct result image(struct host *h, const char *name)
{
    struct result r = {.done = false};
    assert_int_equal(h->hv->ops->image(h->hv, name, on_image, &r), 0);
    until(&r.done);
    return r;
}

static struct result create(struct host *h, const struct hv_description *d, bool only_ask)
{
    struct result r = {.done = false};
    if (only_ask)
        assert_int_equal(h->hv->ops->can_create(h->hv, d, on_done, &r), 0);
    else
        assert_int_equal(h->hv->ops->create(h->hv, d, on_restore, &r), 0);
    until(&r.done);
    return r;
}

/* What an enemy may try: another environment, none, a leg outside where it must not be, images that aren't here. */
static void refused_to_make(struct host *h, const struct hv_description *good)
{
    struct hv_description d = *good;
    memset(&d.vifs[0].environment, 0xee, 16); /* not open here */
    assert_int_equal(create(h, &d, false).err, VI_ESTATE);
    memset(&d.vifs[0].environment, 0, 16); /* a leg outside alone */
    assert_int_equal(create(h, &d, false).err, VI_ESTATE);
    d = *good;
    d.n_vifs = 0;
    assert_int_equal(create(h, &d, false).err, VI_EINVAL);
    d = *good; /* two legs outside */
    d.n_vifs = 3;
    memcpy(d.vifs[1].mac, "\x06\x01\x01\x01\x01\x01", 6);
    memcpy(d.vifs[2].mac, "\x06\x01\x01\x01\x01\x02", 6);
    assert_int_equal(create(h, &d, false).err, VI_ESTATE);
    d.n_vifs = 2; /* one, where the configuration names no bridge */
    assert_int_equal(create(h, &d, true).err, h == &hosts[1] ? 0 : VI_EUNSUPPORTED);
    d = *good;
    d.kernel[5] ^= 1;
    assert_int_equal(create(h, &d, false).err, VI_ENOTFOUND);
    d = *good;
    d.n_disks = 1;
    d.disks[0] = (struct hv_disk){.kind = HV_DISK_IMAGE, .readonly = true, .vdev = "xvda", .hash = {7}};
    assert_int_equal(create(h, &d, true).err, VI_ENOTFOUND);
    d = *good;
    d.target_kb = d.max_kb = 1 << 30;
    assert_int_equal(create(h, &d, false).err, VI_EFULL);
}

static void a_guest_is_made_from_an_image(void **state)
{
    struct host *h = &hosts[1];
    struct hv_description d = {.name = "made", .type = HV_PVH, .vcpus = 1, .target_kb = 64 * 1024, .max_kb = 64 * 1024,
                               .weight = 256, .n_vifs = 1, .has_kernel = true, .kept = true};
    struct result r, un = {.done = false}, off = {.done = false};
    char path[800];
    FILE *f;
    (void)state;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/vmlinuz", hosts[i].dir);
        f = fopen(path, "w");
        assert_non_null(f);
        fprintf(f, "a kernel");
        fclose(f);
    }
    assert_int_equal(image(h, "nosuch").err, VI_ENOTFOUND);
    for (const char *const *bad = (const char *const[]){"../vmlinuz", ".hidden", "", NULL}; *bad; bad++)
        assert_int_equal(image(h, *bad).err, VI_EPROTO);
    r = image(h, "vmlinuz");
    assert_int_equal(r.err, 0);
    memcpy(d.kernel, r.d.kernel, HV_HASH_SIZE);
    d.uuid = id("d1b2c3d4-0000-4000-8000-000000000004");
    d.vifs[0].environment = id(ENV);
    memcpy(d.vifs[0].mac, "\x06\x01\x02\x03\x04\x05", 6);
    refused_to_make(h, &d);
    refused_to_make(&hosts[0], &d);
    assert_int_equal(create(h, &d, true).err, 0);
    r = create(h, &d, false);
    assert_string_equal(r.detail, "");
    assert_int_equal(create(h, &d, false).err, VI_EEXIST); /* its UUID is here */
    d.uuid.b[0] ^= 1;
    assert_int_equal(create(h, &d, false).err, VI_EEXIST); /* its name and MAC are */
    d.uuid.b[0] ^= 1;
    assert_int_equal(h->hv->ops->unpause(h->hv, r.domid, &d.uuid, on_done, &un), 0);
    until(&un.done);
    assert_int_equal(un.err, 0);
    assert_int_equal(h->hv->ops->shutdown(h->hv, r.domid, &d.uuid, on_done, &off), 0);
    until(&off.done);
    assert_int_equal(off.err, 0); /* and its on_poweroff was carried out: */
    off = (struct result){.done = false};
    assert_int_equal(h->hv->ops->shutdown(h->hv, r.domid, &d.uuid, on_done, &off), 0);
    until(&off.done);
    assert_int_equal(off.err, VI_ENOTFOUND);
}

static void a_vanished_peer_ends_its_streams(void **state)
{
    (void)state;
    struct host *d = &hosts[1];
    struct vi_id u = id(UUID);
    struct result out = {.done = false}, f = {.done = false};
    char c[4096];
    int fds[2], size = 4096;
    uint32_t domid = list(d).guest.domid;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    assert_int_equal(d->hv->ops->suspend(d->hv, domid, &u, fds[0], on_done, &out), 0);
    assert_int_equal(agent_facts(d->client, on_facts, &f), 0);
    until(&f.done);
    assert_int_equal(f.facts.streams, 1);
    assert_int_equal(f.facts.environments, 1);
    assert_false(out.done);
    drop_client(d);
    assert_true(out.done && out.err == VI_ECANCELED);
    while (read(fds[1], c, sizeof c) > 0)
        ;
    close(fds[1]);
    hand_link(d);
    f = (struct result){.done = false};
    assert_int_equal(agent_facts(d->client, on_facts, &f), 0);
    until(&f.done);
    assert_int_equal(f.facts.streams, 0);
    assert_int_equal(list(d).guest.state, HV_RUNNING);
    struct result r = env_open(d); /* the new peer gets the TAP of the old one */
    assert_int_equal(r.err, 0);
    close(r.tap);
}

/* The agent is killed: pending calls end, on_lost comes; the next agent finds the guest. */
static void a_killed_agent_is_followed_by_another(void **state)
{
    (void)state;
    struct host *d = &hosts[1];
    bool lost;
    stop_agent(d, SIGKILL);
    struct result r = {.done = false};
    if (d->hv->ops->list(d->hv, on_list, &r) == 0) {
        until(&r.done);
        assert_int_equal(r.err, VI_EIO);
    }
    for (int i = 0; i < 1000 && !d->lost; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    lost = d->lost == 1;
    assert_true(lost);
    drop_client(d);
    d->lost = 0;
    start_agent(d, &netns[1]);
    r = list(d);
    assert_int_equal(r.n, 1);
    assert_string_equal(r.guest.name, "web");
    assert_int_equal(r.guest.state, HV_RUNNING);
    drop_client(d);
    assert_int_equal(stop_agent(d, 0), 0); /* the supervisor is gone */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(environments_have_bridge_and_tap),
        cmocka_unit_test(lans_are_attached_with_checks),
        cmocka_unit_test(a_guest_is_seen_and_given_memory),
        cmocka_unit_test(an_enemy_is_refused),
        cmocka_unit_test(too_many_requests_are_refused),
        cmocka_unit_test(a_guest_moves),
        cmocka_unit_test(a_guest_with_a_namespace_moves),
        cmocka_unit_test(a_guest_is_made_from_an_image),
        cmocka_unit_test(a_vanished_peer_ends_its_streams),
        cmocka_unit_test(a_killed_agent_is_followed_by_another),
    };
    if (geteuid() != 0) {
        printf("test_peer_agent needs root: skipped\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
