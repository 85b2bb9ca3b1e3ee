/* The control socket of the simulated hypervisor: a line in, a line out. See simulated.h.
 * It belongs to root (0600): who can write to it may do to simulated guests what `xl` may. */
#include "xen/simulated_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS_MAX 16
#define LIST_ITEM       448

struct connection;

struct sim_control {
    struct sim *sim;
    uv_pipe_t listener;
    struct connection *connections;
    unsigned n;
    bool closing, closed;
};

struct connection {
    struct connection *next;
    struct sim_control *control;
    uv_pipe_t pipe;
    bool closed, waiting; /* waiting: for a network command, whose guest is uuid */
    struct vi_id uuid;
    uint32_t domid;
    size_t len;
    char line[SIM_TEXT_MAX];
};

struct reply {
    uv_write_t req;
    char *text;
};

/* ---- answers ---------------------------------------------------------------------------------------------- */

static void on_written(uv_write_t *req, int status)
{
    struct reply *r = (struct reply *)req;
    (void)status;
    free(r->text);
    free(r);
}

/* Takes text over. */
static void send_text(struct connection *c, char *text)
{
    struct reply *r = text && !c->closed ? calloc(1, sizeof *r) : NULL;
    if (!r) {
        free(text);
        return;
    }
    uv_buf_t b = uv_buf_init(text, (unsigned)strlen(text));
    r->text = text;
    if (uv_write(&r->req, (uv_stream_t *)&c->pipe, &b, 1, on_written))
        on_written(&r->req, 0);
}

static void say(struct connection *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct connection *c, const char *fmt, ...)
{
    va_list ap;
    char *text = malloc(SIM_TEXT_MAX);
    if (!text)
        return;
    va_start(ap, fmt);
    vsnprintf(text, SIM_TEXT_MAX - 1, fmt, ap);
    va_end(ap);
    strcat(text, "\n");
    send_text(c, text);
}

static void say_err(struct connection *c, int err, const char *what)
{
    say(c, "error %s: %s", what, vi_strerror(err));
}

/* ---- commands ---------------------------------------------------------------------------------------------- */

static void try_free(struct connection *c)
{
    if (!c->waiting && c->closed && !c->control) /* closed and unlinked */
        free(c);
}

static void run_lines(struct connection *c);

static void created(void *arg, int err, const char *detail)
{
    struct connection *c = arg;
    struct sim *s = (struct sim *)c->pipe.data;
    struct sim_guest *g = sim_model_find(s->model, c->domid, &c->uuid);
    c->waiting = false;
    if (err && g) {
        sim_drop(s, g);
        say(c, "error %s", detail);
    } else if (g) {
        sim_save(s, g);
        sim_emit(s, HV_EV_APPEARED, c->domid, &c->uuid, HV_REASON_NONE);
        say(c, "ok domid=%" PRIu32, c->domid);
    } else {
        say(c, "error the guest is gone");
    }
    if (!c->closed)
        run_lines(c); /* what came meanwhile */
    try_free(c);
    sim_release(s);
}

/* The line with disks by their ids, where it has them by name. */
static bool name_disks(struct sim *s, const char *line, char *out, size_t cap)
{
    char copy[SIM_TEXT_MAX], *save = NULL, id_text[VI_ID_TEXT];
    size_t at = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *w = strtok_r(copy, " ", &save); w && at < cap; w = strtok_r(NULL, " ", &save)) {
        char *vdev = strchr(w, ':');
        struct vi_id id;
        size_t n = vdev ? (size_t)(vdev - w) : strlen(w);
        char name[DISK_NAME];
        snprintf(name, sizeof name, "%.*s", n > 5 && n - 5 < sizeof name ? (int)(n - 5) : 0, w + (n > 5 ? 5 : 0));
        if (!strncmp(w, "disk=", 5) && s->disks && disk_host_named(s->disks, name, &id))
            at += (size_t)snprintf(out + at, cap - at, "disk=%s%s ", vi_id_format(&id, id_text), vdev ? vdev : "");
        else
            at += (size_t)snprintf(out + at, cap - at, "%s ", w);
    }
    if (at < cap)
        out[at] = '\0';
    return at < cap;
}

static void do_create(struct sim *s, struct connection *c, const char *rest)
{
    struct sim_guest g;
    char why[SIM_DETAIL] = "the line is too long", line[SIM_TEXT_MAX];
    sim_text_defaults(&g);
    if (!name_disks(s, rest, line, sizeof line) || sim_text_read(&g, line, why, sizeof why)) {
        say(c, "error %s", why);
        return;
    }
    if (!g.cfg.max_kb)
        g.cfg.max_kb = g.cfg.memory_kb;
    int err = sim_model_create(s->model, &g.cfg, &c->domid);
    if (err) {
        say_err(c, err, g.cfg.name[0] ? g.cfg.name : "create");
        return;
    }
    c->uuid = g.cfg.uuid;
    err = sim_disks_open(s, &g, false, NULL, why, sizeof why);
    if (err) {
        sim_model_destroy(s->model, sim_model_find(s->model, c->domid, &c->uuid));
        say(c, "error %s", why);
        return;
    }
    c->waiting = true;
    s->handles++;
    err = sim_net_create(&s->net, &g, created, c);
    if (err)
        created(c, err, "out of memory");
}

static void do_list(struct sim *s, struct connection *c)
{
    unsigned n = sim_model_count(s->model);
    size_t cap = 16 + (size_t)n * LIST_ITEM, at;
    char *text = malloc(cap), uuid[VI_UUID_TEXT];
    if (!text)
        return;
    at = (size_t)snprintf(text, cap, "ok");
    for (unsigned i = 0; i < n; i++) {
        const struct sim_guest *g = sim_model_at(s->model, i);
        const uint8_t *m = g->cfg.vifs[0].mac;
        struct hv_guest v;
        sim_guest_view(g, &v);
        at += (size_t)snprintf(
            text + at, cap - at,
            "%s name=%s uuid=%s domid=%" PRIu32 " state=%s incoming=%d memory=%" PRIu64
            " target=%" PRIu64 " maxmem=%" PRIu64 " used=%" PRIu64 " cpu=%.0f weight=%" PRIu32
            " cap=%" PRIu32 " cpu_ms=%" PRIu64 " steal_ms=%" PRIu64
            " mac=%02x:%02x:%02x:%02x:%02x:%02x bridge=%s",
            i ? ";" : "", g->cfg.name, vi_uuid_format(&g->cfg.uuid, uuid), g->domid,
            hv_state_name(g->state), g->incoming, g->current_kb / 1024, g->target_kb / 1024,
            g->cfg.max_kb / 1024, g->cfg.load.used_kb / 1024, g->cfg.load.cpu, g->cfg.weight,
            g->cfg.cap, g->cpu_time_ns / 1000000, g->steal_ns / 1000000, m[0], m[1], m[2], m[3], m[4],
            m[5], g->cfg.vifs[0].bridge);
        if (at >= cap - 2)
            break;
    }
    at = at < cap - 2 ? at : cap - 2;
    text[at] = '\n';
    text[at + 1] = '\0';
    send_text(c, text);
}

static void do_load(struct sim *s, struct connection *c, struct sim_guest *g, const char *rest)
{
    struct sim_guest copy = *g;
    char why[SIM_DETAIL];
    if (sim_text_read(&copy, rest, why, sizeof why)) {
        say(c, "error %s", why);
        return;
    }
    g->cfg.load = copy.cfg.load;
    sim_save(s, g);
    say(c, "ok");
}

static void do_verify(struct sim *s, struct connection *c, const struct sim_guest *g)
{
    unsigned blocks, bad, errors;
    sim_disks_verify(s, &g->cfg.uuid, &blocks, &bad, &errors);
    say(c, "ok blocks=%u bad=%u errors=%u", blocks, bad, errors);
}

static void do_reboot_host(struct sim *s, struct connection *c)
{
    struct vi_id boot;
    int err = sim_store_new_boot_id(s->dir, &boot);
    if (err) {
        say_err(c, err, "boot_id");
        return;
    }
    sim_stream_cancel_all(s);
    while (sim_model_count(s->model))
        sim_drop(s, sim_model_at(s->model, 0));
    sim_model_reboot(s->model, &boot);
    say(c, "ok");
}

/* Commands whose first argument is a guest's name. */
static void on_guest(struct sim *s, struct connection *c, const char *what, struct sim_guest *g,
                     const char *rest)
{
    int err = 0;
    if (!strcmp(what, "load")) {
        do_load(s, c, g, rest);
        return;
    }
    if (!strcmp(what, "verify")) {
        do_verify(s, c, g);
        return;
    }
    if (!strcmp(what, "destroy")) {
        sim_drop(s, g);
    } else if (!strcmp(what, "rename")) {
        err = sim_name_ok(rest) ? sim_model_rename(s->model, g, rest) : VI_EINVAL;
        if (!err) {
            sim_save(s, g);
            sim_emit(s, HV_EV_CHANGED, g->domid, &g->cfg.uuid, HV_REASON_NONE);
        }
    } else {
        enum hv_reason r = !strcmp(what, "reboot")  ? HV_REBOOT
                           : !strcmp(what, "crash") ? HV_CRASH
                                                    : HV_POWEROFF;
        err = g->state == HV_RUNNING ? 0 : VI_ESTATE;
        if (!err)
            sim_guest_shutdown(s, g, r);
    }
    if (err)
        say_err(c, err, what);
    else
        say(c, "ok");
}

static void on_line(struct connection *c, char *line)
{
    static const char *const with_guest[] = {"load", "destroy", "shutdown", "reboot", "crash",
                                             "rename", "verify"};
    struct sim *s = c->control->sim;
    char *rest = line + strcspn(line, " ");
    if (*rest)
        *rest++ = '\0';
    sim_now(s);
    if (!strcmp(line, "create")) {
        do_create(s, c, rest);
    } else if (!strcmp(line, "list")) {
        do_list(s, c);
    } else if (!strcmp(line, "reboot-host")) {
        do_reboot_host(s, c);
    } else {
        for (size_t i = 0; i < sizeof with_guest / sizeof *with_guest; i++) {
            if (strcmp(line, with_guest[i]))
                continue;
            char *more = rest + strcspn(rest, " ");
            if (*more)
                *more++ = '\0';
            struct sim_guest *g = sim_model_by_name(s->model, rest);
            if (g)
                on_guest(s, c, line, g, more);
            else
                say(c, "error no guest is called %.64s", rest);
            return;
        }
        say(c, "error unknown command %.32s", line);
    }
}

static void run_lines(struct connection *c)
{
    char *end, line[SIM_TEXT_MAX];
    while (!c->waiting && !c->closed && (end = memchr(c->line, '\n', c->len))) {
        size_t len = (size_t)(end - c->line);
        memcpy(line, c->line, len);
        line[len] = '\0';
        line[strcspn(line, "\r")] = '\0';
        c->len -= len + 1;
        memmove(c->line, end + 1, c->len);
        on_line(c, line);
    }
}

/* ---- connections ------------------------------------------------------------------------------------------- */

static void free_control(struct sim_control *k)
{
    if (k->closed && !k->n)
        free(k);
}

static void connection_closed(uv_handle_t *h)
{
    struct connection *c = (struct connection *)((char *)h - offsetof(struct connection, pipe));
    struct sim *s = h->data;
    for (struct connection **p = &c->control->connections; *p; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            break;
        }
    struct sim_control *k = c->control;
    k->n--;
    c->control = NULL;
    try_free(c);
    free_control(k);
    sim_release(s);
}

static void close_connection(struct connection *c)
{
    if (c->closed)
        return;
    c->closed = true;
    uv_close((uv_handle_t *)&c->pipe, connection_closed);
}

static struct connection *of_pipe(uv_stream_t *s)
{
    return (struct connection *)((char *)s - offsetof(struct connection, pipe));
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
    struct connection *c = of_pipe((uv_stream_t *)h);
    (void)hint;
    *b = uv_buf_init(c->line + c->len, (unsigned)(sizeof c->line - 1 - c->len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct connection *c = of_pipe(stream);
    (void)b;
    if (n < 0) {
        close_connection(c);
        return;
    }
    c->len += (size_t)n;
    run_lines(c);
    if (c->len == sizeof c->line - 1) /* a line that is too long, or lines while one waits */
        close_connection(c);
}
static void on_connection(uv_stream_t *listener, int status)
{
    struct sim_control *k = listener->data;
    struct connection *c = status ? NULL : calloc(1, sizeof *c);
    if (!c)
        return;
    uv_pipe_init(k->sim->loop, &c->pipe, 0);
    c->pipe.data = k->sim;
    c->control = k;
    c->next = k->connections;
    k->connections = c;
    k->n++;
    k->sim->handles++;
    if (uv_accept(listener, (uv_stream_t *)&c->pipe) || k->n > CONNECTIONS_MAX ||
        uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read))
        close_connection(c);
}

struct sim_control *sim_control_open(struct sim *s, char *why, size_t why_size)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char path[256];
    struct sim_control *k = calloc(1, sizeof *k);
    snprintf(path, sizeof path, "%s/sim.sock", s->dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (!k || fd < 0 || strlen(path) >= sizeof sa.sun_path) {
        snprintf(why, why_size, "%s: can't make the socket; use a shorter simulated-dir", path);
        goto fail;
    }
    memcpy(sa.sun_path, path, strlen(path));
    unlink(path); /* what an agent that died left; the agent's lock keeps a living one away */
    if (fchmod(fd, 0600) || bind(fd, (struct sockaddr *)&sa, sizeof sa) ||
        listen(fd, CONNECTIONS_MAX)) {
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
        goto fail;
    }
    k->sim = s;
    uv_pipe_init(s->loop, &k->listener, 0);
    k->listener.data = k;
    s->handles++;
    uv_pipe_open(&k->listener, fd);
    uv_listen((uv_stream_t *)&k->listener, CONNECTIONS_MAX, on_connection);
    return k;
fail:
    if (fd >= 0)
        close(fd);
    free(k);
    return NULL;
}

static void listener_closed(uv_handle_t *h)
{
    struct sim_control *k = h->data;
    struct sim *s = k->sim;
    k->closed = true;
    free_control(k);
    sim_release(s);
}

void sim_control_close(struct sim_control *k)
{
    if (k->closing)
        return;
    k->closing = true;
    for (struct connection *c = k->connections; c; c = c->next)
        close_connection(c);
    uv_close((uv_handle_t *)&k->listener, listener_closed);
}
