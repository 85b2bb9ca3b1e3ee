/* The supervisor. See supervisor.h.
 *
 * Happy path: folders, agent with its control channel, peer child with one end of a link whose
 * other end goes to the agent, wait. The peer child dies: after its back-off a new one with a new
 * link, the agent lives on. The agent dies: the peer child is ended, too, and after the agent's
 * back-off both start. A child says that the configuration can't work: the other one is ended and so
 * are we, with its status. SIGTERM, SIGINT: peer child first, so that it can take leave, then the
 * agent; each is killed when it takes too long. Children have sessions of their own, so that Ctrl-C
 * reaches only us; when we are killed they notice by the end of the channel. */
#include "peer/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "peer/base/clock.h"
#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/link.h"

#define BACKOFF_FIRST 200u
#define BACKOFF_MOST  30000u
#define STEADY        (60 * VI_SEC)
#define END_MS        8000
#define EXIT_NO_ROOT  77

struct supervisor;

struct child {
    struct supervisor *s;
    const char *name;
    const char *const *argv;
    uv_process_t process;
    uv_timer_t timer; /* to start it again, or to kill it when it doesn't end */
    bool alive, closing; /* closing: its handle is being closed */
    vi_time since;
    unsigned backoff_ms;
};

struct supervisor {
    uv_loop_t loop;
    const struct supervisor_options *o;
    struct child agent, peer;
    struct link *control;
    uv_signal_t signals[3];
    bool stopping, done;
    int status;
};

static void proceed(struct supervisor *s);

/* ---- starting -------------------------------------------------------------------------------------------------- */

static void on_kill_timer(uv_timer_t *t)
{
    struct child *c = t->data;
    if (!c->alive)
        return;
    vi_log(VI_LOG_WARN, "supervisor", "the %s doesn't end; killed", c->name);
    uv_process_kill(&c->process, SIGKILL);
}

static void end_child(struct child *c)
{
    if (!c->alive)
        return;
    uv_process_kill(&c->process, SIGTERM);
    uv_timer_start(&c->timer, on_kill_timer, END_MS, 0);
}

static void process_closed(uv_handle_t *h)
{
    struct child *c = h->data;
    c->closing = false;
    proceed(c->s);
}

static void begin_stop(struct supervisor *s, int status)
{
    if (s->stopping)
        return;
    s->stopping = true;
    s->status = status;
    uv_timer_stop(&s->agent.timer);
    uv_timer_stop(&s->peer.timer);
    proceed(s);
}

static void on_child_exit(uv_process_t *p, int64_t status, int sig)
{
    struct child *c = p->data;
    struct supervisor *s = c->s;
    c->alive = false;
    c->closing = true;
    uv_timer_stop(&c->timer);
    uv_close((uv_handle_t *)p, process_closed);
    if (sig) /* also at the end: a crash there is one */
        vi_log(VI_LOG_WARN, "supervisor", "the %s died of signal %d", c->name, sig);
    if (s->stopping)
        return;
    if (vi_clock_boottime() - c->since >= STEADY)
        c->backoff_ms = BACKOFF_FIRST;
    if (!sig)
        vi_log(VI_LOG_WARN, "supervisor", "the %s ended with status %d", c->name, (int)status);
    if (!sig && status == EXIT_CONFIGURATION) {
        vi_log(VI_LOG_ERROR, "supervisor", "the configuration can't work; ending");
        begin_stop(s, EXIT_CONFIGURATION);
    }
}

/* fd becomes the child's descriptor 3; it stays ours to close. */
static int spawn(struct child *c, int fd)
{
    const char *program = c->s->o->program ? c->s->o->program : "/proc/self/exe";
    uv_stdio_container_t io[4] = {{.flags = UV_IGNORE},
                                  {.flags = UV_INHERIT_FD, .data.fd = 1},
                                  {.flags = UV_INHERIT_FD, .data.fd = 2},
                                  {.flags = UV_INHERIT_FD, .data.fd = fd}};
    uv_process_options_t o = {.file = program,
                              .args = (char **)(uintptr_t)c->argv,
                              .exit_cb = on_child_exit,
                              .flags = UV_PROCESS_DETACHED,
                              .stdio = io,
                              .stdio_count = 4};
    memset(&c->process, 0, sizeof c->process);
    int err = uv_spawn(&c->s->loop, &c->process, &o);
    c->process.data = c;
    c->since = vi_clock_boottime();
    c->alive = !err;
    if (!err)
        return 0;
    vi_log(VI_LOG_ERROR, "supervisor", "can't start the %s: %s", c->name, uv_strerror(err));
    c->closing = true;
    uv_close((uv_handle_t *)&c->process, process_closed);
    return VI_EIO;
}

static void on_control_message(void *arg, const struct link_message *m, int *fd)
{
    (void)arg; /* the agent has nothing to say here */
    (void)m;
    (void)fd;
}

static void on_control_lost(void *arg, const char *why)
{
    (void)arg; /* the agent ends or has ended: its exit says so */
    (void)why;
}

static int start_agent(struct supervisor *s)
{
    int fds[2], err;
    link_close(s->control);
    s->control = NULL;
    if (link_pair(fds))
        return VI_EIO;
    err = spawn(&s->agent, fds[1]);
    close(fds[1]);
    s->control = link_open(&s->loop, fds[0], on_control_message, on_control_lost, s);
    if (!err && !s->control) {
        end_child(&s->agent);
        err = VI_EIO;
    }
    return err;
}

static int hand_out_link(struct supervisor *s, int fd)
{
    uint8_t bytes[64];
    struct vi_writer w;
    vi_writer_init(&w, bytes, sizeof bytes);
    link_write_notification(&w, "peer");
    vi_write_nil(&w);
    return link_send(s->control, bytes, w.len, fd);
}

static int start_peer(struct supervisor *s)
{
    int fds[2], err;
    if (link_pair(fds))
        return VI_EIO;
    err = hand_out_link(s, fds[0]);
    close(fds[0]);
    if (!err)
        err = spawn(&s->peer, fds[1]);
    close(fds[1]);
    return err;
}

static void start_both(struct supervisor *s)
{
    if (!start_agent(s))
        start_peer(s);
}

/* systemd's protocol: one datagram to the socket that it named (sd_notify(3)). */
static void notify_ready(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path ? strlen(path) : 0;
    if (len < 2 || len >= sizeof sa.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    memcpy(sa.sun_path, path, len);
    if (path[0] == '@')
        sa.sun_path[0] = '\0';
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&sa, size) < 0)
        vi_log(VI_LOG_WARN, "supervisor", "NOTIFY_SOCKET doesn't take our message");
    close(fd);
}

/* ---- what now? --------------------------------------------------------------------------------------------------- */

static void on_start_timer(uv_timer_t *t)
{
    struct child *c = t->data;
    struct supervisor *s = c->s;
    if (s->stopping)
        return;
    if (c == &s->agent)
        start_both(s);
    else if (s->agent.alive)
        start_peer(s);
    proceed(s); /* what could not be started is tried again */
}

static void start_later(struct child *c)
{
    if (uv_is_active((uv_handle_t *)&c->timer))
        return;
    vi_log(VI_LOG_INFO, "supervisor", "the %s starts again in %u.%u s", c->name, c->backoff_ms / 1000,
           c->backoff_ms % 1000 / 100);
    uv_timer_start(&c->timer, on_start_timer, c->backoff_ms, 0);
    c->backoff_ms = c->backoff_ms * 2 < BACKOFF_MOST ? c->backoff_ms * 2 : BACKOFF_MOST;
}

static void close_all(struct supervisor *s)
{
    if (s->done)
        return;
    s->done = true;
    link_close(s->control);
    s->control = NULL;
    for (int i = 0; i < 3; i++)
        uv_close((uv_handle_t *)&s->signals[i], NULL);
    uv_close((uv_handle_t *)&s->agent.timer, NULL);
    uv_close((uv_handle_t *)&s->peer.timer, NULL);
}

static bool is_gone(const struct child *c)
{
    return !c->alive && !c->closing;
}

/* The one place that decides, after every end of a child and every order to stop. */
static void proceed(struct supervisor *s)
{
    if (s->stopping) {
        if (!is_gone(&s->peer))
            end_child(&s->peer);
        else if (!is_gone(&s->agent))
            end_child(&s->agent);
        else
            close_all(s);
    } else if (is_gone(&s->agent) && is_gone(&s->peer)) {
        uv_timer_stop(&s->peer.timer);
        start_later(&s->agent);
    } else if (!s->agent.alive) {
        if (!uv_is_active((uv_handle_t *)&s->peer.timer))
            end_child(&s->peer);
    } else if (is_gone(&s->peer)) {
        start_later(&s->peer);
    }
}

static void on_signal(uv_signal_t *h, int number)
{
    struct supervisor *s = h->data;
    if (number != SIGHUP)
        begin_stop(s, EXIT_SUCCESS);
    else if (s->peer.alive)
        uv_process_kill(&s->peer.process, SIGHUP);
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static int make_folders(const struct supervisor_options *o)
{
    char why[512];
    if (geteuid() != 0 && !o->simulated) {
        vi_log(VI_LOG_ERROR, "supervisor", "this needs root (hypervisor, bridges, TAPs)");
        return EXIT_NO_ROOT;
    }
    if (make_owned_folder(o->state_dir, 0700, o->user, o->group, why, sizeof why) ||
        make_owned_folder(o->run_dir, 0755, o->user, o->group, why, sizeof why)) {
        vi_log(VI_LOG_ERROR, "supervisor", "%s", why);
        return EXIT_CONFIGURATION;
    }
    return 0;
}

/* Two peers with the same folders would only keep each other from starting. The lock is held until we
 * end; the folder is the peer's, so no link is followed. */
static int take_lock(const char *run_dir)
{
    char path[512];
    snprintf(path, sizeof path, "%s/supervisor.lock", run_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        vi_log(VI_LOG_ERROR, "supervisor", "%s: %s; check run-dir", path, strerror(errno));
        return EXIT_CONFIGURATION;
    }
    if (!flock(fd, LOCK_EX | LOCK_NB))
        return 0;
    vi_log(VI_LOG_ERROR, "supervisor", "%s: another peer runs with this run-dir; stop it first", path);
    close(fd);
    return EXIT_FAILURE;
}

static void init_child(struct supervisor *s, struct child *c, const char *name,
                       const char *const *argv)
{
    c->s = s;
    c->name = name;
    c->argv = argv;
    c->backoff_ms = BACKOFF_FIRST;
    uv_timer_init(&s->loop, &c->timer);
    c->timer.data = c;
}

int supervisor_main(const struct supervisor_options *o)
{
    static const int numbers[3] = {SIGTERM, SIGINT, SIGHUP};
    struct supervisor s;
    int status = make_folders(o);
    if (!status)
        status = take_lock(o->run_dir);
    if (status)
        return status;
    memset(&s, 0, sizeof s);
    s.o = o;
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&s.loop);
    init_child(&s, &s.agent, "agent", o->agent_argv);
    init_child(&s, &s.peer, "peer", o->peer_argv);
    for (int i = 0; i < 3; i++) {
        uv_signal_init(&s.loop, &s.signals[i]);
        s.signals[i].data = &s;
        uv_signal_start(&s.signals[i], on_signal, numbers[i]);
    }
    start_both(&s);
    proceed(&s);
    if (s.agent.alive && s.peer.alive)
        notify_ready();
    uv_run(&s.loop, UV_RUN_DEFAULT);
    uv_loop_close(&s.loop);
    return s.status;
}
