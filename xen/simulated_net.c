/* A guest's veth, moved by commands of iproute2, each started when the one before has ended well.
 *
 * Happy path of a move: cut at the source (out of the bridge, down, into limbo), attach at the
 * destination (out of limbo into this process' namespace, into the bridge, up). Failing: the chain
 * stops and says which command failed; a veth is then where the last good command left it, and
 * attaching again, here or at the source, goes on from there. No shell is involved. */
#include "xen/simulated_internal.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define COMMANDS_MAX 4
#define WORDS_MAX    18

struct command {
    char words[WORDS_MAX][SIM_NAME_MAX];
    unsigned n;
};

struct chain {
    struct sim_net *net;
    uv_process_t process;
    uv_timer_t later; /* when there is nothing to run, done must still not come inside the call */
    struct command commands[COMMANDS_MAX];
    unsigned n, at;
    int err;
    char detail[SIM_DETAIL];
    sim_net_done *done;
    void *arg;
};

static struct command *command(struct chain *c)
{
    struct command *k = &c->commands[c->n++];
    k->n = 0;
    return k;
}

static void words(struct command *k, const char *const *list)
{
    for (; *list && k->n < WORDS_MAX - 1; list++)
        snprintf(k->words[k->n++], SIM_NAME_MAX, "%s", *list);
}

#define WORDS(k, ...) words((k), (const char *const[]){__VA_ARGS__, NULL})

static void free_chain(uv_handle_t *h)
{
    struct chain *c = h->data;
    sim_net_done *done = c->done;
    void *arg = c->arg;
    int err = c->err;
    char detail[SIM_DETAIL];
    memcpy(detail, c->detail, sizeof detail);
    c->net->running--;
    free(c);
    if (done)
        done(arg, err, detail);
}

static void next_command(struct chain *c);

static void next_after_close(uv_handle_t *h)
{
    next_command(h->data);
}

static void command_ended(uv_process_t *p, int64_t status, int sig)
{
    struct chain *c = p->data;
    if (status || sig) {
        const struct command *k = &c->commands[c->at];
        size_t at = (size_t)snprintf(c->detail, sizeof c->detail, "failed:");
        for (unsigned i = 0; i < k->n && at < sizeof c->detail; i++)
            at += (size_t)snprintf(c->detail + at, sizeof c->detail - at, " %s", k->words[i]);
        c->err = VI_EIO;
    }
    c->at++;
    uv_close((uv_handle_t *)p, next_after_close);
}

static void on_later(uv_timer_t *t)
{
    uv_close((uv_handle_t *)t, free_chain);
}

static void next_command(struct chain *c)
{
    char *argv[WORDS_MAX + 1];
    if (c->err || c->at == c->n) {
        uv_timer_init(c->net->loop, &c->later);
        c->later.data = c;
        uv_timer_start(&c->later, on_later, 0, 0);
        return;
    }
    struct command *k = &c->commands[c->at];
    for (unsigned i = 0; i < k->n; i++)
        argv[i] = k->words[i];
    argv[k->n] = NULL;
    uv_stdio_container_t io[3] = {{.flags = UV_IGNORE}, {.flags = UV_IGNORE},
                                  {.flags = UV_INHERIT_FD, .data.fd = 2}};
    uv_process_options_t o = {.file = argv[0], .args = argv, .exit_cb = command_ended, .stdio = io,
                              .stdio_count = 3};
    memset(&c->process, 0, sizeof c->process);
    c->process.data = c;
    int err = uv_spawn(c->net->loop, &c->process, &o);
    if (err) {
        c->err = VI_EIO;
        snprintf(c->detail, sizeof c->detail, "can't run ip: %s; install iproute2", uv_strerror(err));
        uv_close((uv_handle_t *)&c->process, next_after_close);
    }
}

static struct chain *chain_new(struct sim_net *n, sim_net_done *done, void *arg)
{
    struct chain *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->net = n;
    c->done = done;
    c->arg = arg;
    n->running++;
    return c;
}

static void veth_name(const struct sim_guest *g, char out[16])
{
    const uint8_t *b = g->cfg.uuid.b;
    snprintf(out, 16, "vs-%02x%02x%02x%02x", b[0], b[1], b[2], b[3]);
}

static bool has_net(const struct sim_guest *g)
{
    return g->cfg.netns[0] && g->cfg.n_vifs > 0;
}

/* The bridge's MTU, which the guest must keep to; 1500 where it can't be known. */
static void bridge_mtu(const char *bridge, char out[16])
{
    struct ifreq r;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memset(&r, 0, sizeof r);
    snprintf(r.ifr_name, sizeof r.ifr_name, "%.15s", bridge);
    if (fd < 0 || ioctl(fd, SIOCGIFMTU, &r) || r.ifr_mtu < 68)
        r.ifr_mtu = 1500;
    if (fd >= 0)
        close(fd);
    snprintf(out, 16, "%d", r.ifr_mtu);
}

int sim_net_create(struct sim_net *n, const struct sim_guest *g, sim_net_done *done, void *arg)
{
    char veth[16], mtu[16], mac[18];
    const uint8_t *m = g->cfg.vifs[0].mac;
    struct chain *c = chain_new(n, done, arg);
    if (!c)
        return VI_ENOMEM;
    if (has_net(g)) {
        veth_name(g, veth);
        bridge_mtu(g->cfg.vifs[0].bridge, mtu);
        snprintf(mac, sizeof mac, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
        WORDS(command(c), "ip", "link", "add", veth, "mtu", mtu, "type", "veth", "peer", "name",
              g->cfg.ifname, "mtu", mtu, "address", mac, "netns", g->cfg.netns);
        if (g->cfg.vifs[0].bridge[0])
            WORDS(command(c), "ip", "link", "set", veth, "master", g->cfg.vifs[0].bridge, "up");
    }
    next_command(c);
    return 0;
}

/* The guest's own end goes up last. A veth whose other end is up already gets its carrier before it has
 * its queue, and the kernel then looks at it, and lets its bridge use it, only up to a second later. */
static void guest_end(struct chain *c, const struct sim_guest *g, const char *state)
{
    WORDS(command(c), "ip", "-n", g->cfg.netns, "link", "set", g->cfg.ifname, state);
}

int sim_net_attach(struct sim_net *n, const struct sim_guest *g, sim_net_done *done, void *arg)
{
    char veth[16], pid[16];
    struct chain *c = chain_new(n, done, arg);
    if (!c)
        return VI_ENOMEM;
    if (has_net(g)) {
        veth_name(g, veth);
        snprintf(pid, sizeof pid, "%d", (int)getpid());
        guest_end(c, g, "down");
        if (!if_nametoindex(veth) && n->limbo[0])
            WORDS(command(c), "ip", "-n", n->limbo, "link", "set", veth, "netns", pid);
        if (g->cfg.vifs[0].bridge[0])
            WORDS(command(c), "ip", "link", "set", veth, "master", g->cfg.vifs[0].bridge, "up");
        guest_end(c, g, "up");
    }
    next_command(c);
    return 0;
}

int sim_net_cut(struct sim_net *n, const struct sim_guest *g, bool to_limbo, sim_net_done *done,
                void *arg)
{
    char veth[16];
    struct chain *c = chain_new(n, done, arg);
    if (!c)
        return VI_ENOMEM;
    veth_name(g, veth);
    if (has_net(g) && if_nametoindex(veth)) {
        WORDS(command(c), "ip", "link", "set", veth, "nomaster", "down");
        if (to_limbo && n->limbo[0])
            WORDS(command(c), "ip", "link", "set", veth, "netns", n->limbo);
    }
    next_command(c);
    return 0;
}

int sim_net_remove(struct sim_net *n, const struct sim_guest *g, sim_net_done *done, void *arg)
{
    char veth[16];
    struct chain *c = chain_new(n, done, arg);
    if (!c)
        return VI_ENOMEM;
    veth_name(g, veth);
    if (has_net(g) && if_nametoindex(veth))
        WORDS(command(c), "ip", "link", "del", veth);
    next_command(c);
    return 0;
}
