/* The agent's life: lock, hypervisor, control channel, the peer's link. See agent.h.
 *
 * Order: the lock (an agent before us must be gone before we look at anything), then the control
 * channel, then the hypervisor, with a retry if there is none. A new link on the control channel
 * means a new peer; the old one's streams are ended, its environments' TAPs are kept for the new
 * one. The end of the control channel, or SIGTERM, means: stop. */
#include "peer/agent_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/base/log.h"
#include "xen/disk_host.h"
#include "xen/libxl_backend.h"
#include "xen/simulated.h"

#define LOCK_TRIES    100 /* of 100 ms */
#define RETRY_FIRST   1000
#define RETRY_MOST    30000
#define STOP_MS       5000
#define GUARD_MS      2000 /* so long guests may have what somebody's `nft flush ruleset` gives them */
#define EXIT_TRY_LATER 75
#define EXIT_CONFIG    78

/* ---- the lock ------------------------------------------------------------------------------------------------------ */

/* Descriptor, or -1. The folder may be the peer's: no links followed, and the file that we locked
 * must still be the one that is there. */
static int take_lock(const char *run_dir)
{
    char path[512];
    snprintf(path, sizeof path, "%s/agent.lock", run_dir);
    for (int i = 0; i < LOCK_TRIES; i++) {
        struct stat ours, there;
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
            vi_log(VI_LOG_ERROR, "agent", "%s: %s; check run-dir", path, strerror(errno));
            return -1;
        }
        if (!flock(fd, LOCK_EX | LOCK_NB) && !fstat(fd, &ours) && !lstat(path, &there) &&
            ours.st_ino == there.st_ino && S_ISREG(there.st_mode))
            return fd;
        close(fd);
        usleep(100000);
    }
    vi_log(VI_LOG_ERROR, "agent", "%s: another agent still runs; end it first", path);
    return -1;
}

/* ---- the hypervisor -------------------------------------------------------------------------------------------------- */

static void tell_kind(struct agent *a, enum hv_event_kind kind)
{
    struct hv_event e = {.kind = kind};
    agent_tell(a, &e);
}

static void on_hv_event(void *arg, const struct hv_event *e)
{
    struct agent *a = arg;
    if (e->kind == HV_EV_LOST) {
        a->hv_up = false;
        snprintf(a->problem, sizeof a->problem, "the hypervisor doesn't answer any more");
    } else if (e->kind == HV_EV_BACK) {
        a->hv_up = true;
    }
    agent_tell(a, e);
}

/* The agent's own folder. What root starts guests again from must be nobody else's. NULL: there is none. */
static const char *own_folder(const char *path)
{
    struct stat st;
    if ((mkdir(path, 0700) && errno != EEXIST) || lstat(path, &st)) {
        vi_log(VI_LOG_WARN, "agent", "%s: %s; set agent-dir: without it a guest whose reboot is cut short stays down",
               path, strerror(errno));
        return NULL;
    }
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH)) {
        vi_log(VI_LOG_WARN, "agent", "%s: no folder, or not root's alone; it isn't used. Set agent-dir", path);
        return NULL;
    }
    return path;
}

/* Where they are, unless the configuration says it. */
static bool disk_folder(const struct agent_options *o, bool simulated, char *path, size_t cap)
{
    const char *in = simulated ? o->simulated_dir : o->state_dir;
    if (o->disk_folder)
        return (size_t)snprintf(path, cap, "%s", o->disk_folder) < cap;
    if (!in || (mkdir(in, 0700) && errno != EEXIST))
        return false;
    return (size_t)snprintf(path, cap, "%s/disks", in) < cap;
}

/* Without them the host has no disks that move, and all else goes on. */
static void open_disks(struct agent *a)
{
    const struct agent_options *o = a->options;
    char folder[256];
    struct disk_host_config c = {.folder = folder,
                                 .adopt_folders = o->adopt_folders,
                                 .n_adopt_folders = o->n_adopt_folders,
                                 .image_folders = o->image_folders,
                                 .n_image_folders = o->n_image_folders,
                                 .files = !strcmp(o->hypervisor, "simulated")};
    snprintf(a->no_disks, sizeof a->no_disks, "no folder for disks; set disk-folder");
    if (disk_folder(o, c.files, folder, sizeof folder))
        a->disks = disk_host_open(&a->loop, &c, a->no_disks, sizeof a->no_disks);
    if (!a->disks)
        vi_log(VI_LOG_WARN, "agent", "no disks that move with their guests: %s", a->no_disks);
}

static struct hypervisor *open_hypervisor(struct agent *a)
{
    const struct agent_options *o = a->options;
    if (!strcmp(o->hypervisor, "simulated")) {
        struct hypervisor_simulated_config c = {.dir = o->simulated_dir,
                                                .limbo = o->simulated_limbo,
                                                .image_folders = o->image_folders,
                                                .n_image_folders = o->n_image_folders,
                                                .outside_bridge = o->outside_bridge,
                                                .disks = a->disks};
        return hypervisor_simulated_open(&a->loop, &c, a->problem, sizeof a->problem);
    }
    struct hypervisor_libxl_config c = {.image_folders = o->image_folders,
                                        .n_image_folders = o->n_image_folders,
                                        .outside_bridge = o->outside_bridge,
                                        .user = o->user,
                                        .state_folder = own_folder(o->state_dir),
                                        .disks = a->disks};
    return hypervisor_libxl_open(&a->loop, &c, a->problem, sizeof a->problem);
}

static void try_hypervisor(struct agent *a);

static void on_retry(uv_timer_t *t)
{
    try_hypervisor(t->data);
}

static void try_hypervisor(struct agent *a)
{
    bool was_said = a->retry_ms > RETRY_FIRST;
    a->hv = open_hypervisor(a);
    if (a->hv) {
        a->hv->on_event = on_hv_event;
        a->hv->event_arg = a;
        a->hv_up = true;
        vi_log(VI_LOG_INFO, "agent", "the %s hypervisor answers", a->options->hypervisor);
        tell_kind(a, HV_EV_BACK);
        return;
    }
    vi_log(was_said ? VI_LOG_DEBUG : VI_LOG_WARN, "agent",
           "no hypervisor: %s; trying again, at most every 30 s", a->problem);
    tell_kind(a, HV_EV_LOST);
    uv_timer_start(&a->retry, on_retry, a->retry_ms, 0);
    a->retry_ms = a->retry_ms * 2 < RETRY_MOST ? a->retry_ms * 2 : RETRY_MOST;
}

/* ---- the links ---------------------------------------------------------------------------------------------------------- */

static void drop_peer(struct agent *a)
{
    link_close(a->peer);
    a->peer = NULL;
    a->generation++;
    agent_end_streams(a);
    agent_disk_forget(a);
}

static void on_peer_message(void *arg, const struct link_message *m, int *fd)
{
    agent_on_request(arg, m, fd);
}

static void on_peer_lost(void *arg, const char *why)
{
    struct agent *a = arg;
    vi_log(VI_LOG_INFO, "agent", "the peer is gone: %s", why);
    drop_peer(a);
}

static void on_stop_timeout(uv_timer_t *t)
{
    uv_stop(t->loop);
}

static void stop(struct agent *a)
{
    if (a->stopping)
        return;
    a->stopping = true;
    drop_peer(a);
    link_close(a->control);
    a->control = NULL;
    if (a->hv)
        a->hv->ops->close(a->hv);
    a->hv = NULL;
    if (a->disks)
        a->disks->ops->close(a->disks); /* after the hypervisor, which asks it for devices */
    a->disks = NULL;
    uv_close((uv_handle_t *)&a->retry, NULL);
    uv_close((uv_handle_t *)&a->guard, NULL);
    uv_close((uv_handle_t *)&a->sigterm, NULL);
    uv_close((uv_handle_t *)&a->sigint, NULL);
    uv_timer_start(&a->stop_timer, on_stop_timeout, STOP_MS, 0);
    uv_unref((uv_handle_t *)&a->stop_timer); /* a bound, nothing to wait for */
}

static void on_control_message(void *arg, const struct link_message *m, int *fd)
{
    struct agent *a = arg;
    if (m->kind != LINK_NOTIFICATION || strcmp(m->method, "peer") || *fd < 0)
        return;
    if (a->peer)
        drop_peer(a);
    a->generation++;
    a->udp_buffers = 0;
    a->peer = link_open(&a->loop, *fd, on_peer_message, on_peer_lost, a);
    *fd = -1;
    if (!a->peer)
        vi_log(VI_LOG_ERROR, "agent", "can't use the link to the new peer");
    else if (!a->hv_up)
        tell_kind(a, HV_EV_LOST);
}

static void on_control_lost(void *arg, const char *why)
{
    (void)why;
    stop(arg);
}

static void on_guard(uv_timer_t *t)
{
    agent_env_guard_all(t->data);
}

static void on_signal(uv_signal_t *s, int number)
{
    (void)number;
    stop(s->data);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------ */

static void start_handles(struct agent *a)
{
    uv_timer_init(&a->loop, &a->retry);
    uv_timer_init(&a->loop, &a->stop_timer);
    uv_timer_init(&a->loop, &a->guard);
    uv_timer_start(&a->guard, on_guard, GUARD_MS, GUARD_MS);
    uv_signal_init(&a->loop, &a->sigterm);
    uv_signal_init(&a->loop, &a->sigint);
    a->retry.data = a->guard.data = a->sigterm.data = a->sigint.data = a;
    uv_signal_start(&a->sigterm, on_signal, SIGTERM);
    uv_signal_start(&a->sigint, on_signal, SIGINT);
    a->retry_ms = RETRY_FIRST;
    a->tokens = AGENT_RATE;
    a->tokens_at = vi_clock_boottime();
    for (unsigned i = 0; i < AGENT_STREAMS_MAX; i++)
        a->streams[i] = -1;
    for (unsigned i = 0; i < AGENT_HASHES_MAX; i++)
        a->hashes[i].fd = -1;
}

int agent_main(const struct agent_options *o)
{
    struct agent *a = calloc(1, sizeof *a);
    if (!a)
        return EXIT_FAILURE;
    int status = EXIT_SUCCESS;
    a->options = o;
    if (strcmp(o->hypervisor, "libxl") && strcmp(o->hypervisor, "simulated")) {
        vi_log(VI_LOG_ERROR, "agent", "hypervisor: should be libxl or simulated, not %s", o->hypervisor);
        free(a);
        return EXIT_CONFIG;
    }
    signal(SIGPIPE, SIG_IGN);
    a->lock_fd = take_lock(o->run_dir);
    if (a->lock_fd < 0) {
        free(a);
        return EXIT_TRY_LATER;
    }
    uv_loop_init(&a->loop);
    start_handles(a);
    a->control = link_open(&a->loop, o->control_fd, on_control_message, on_control_lost, a);
    if (!a->control) {
        vi_log(VI_LOG_ERROR, "agent", "start `violin peer`; it starts the agent");
        status = EXIT_CONFIG;
        stop(a);
    } else {
        open_disks(a);
        try_hypervisor(a);
    }
    uv_run(&a->loop, UV_RUN_DEFAULT);
    agent_env_end_all(a);
    if (!uv_loop_alive(&a->loop)) {
        uv_close((uv_handle_t *)&a->stop_timer, NULL);
        uv_run(&a->loop, UV_RUN_NOWAIT);
    }
    close(a->lock_fd);
    /* After a stop that ran into its bound, operations still point into the agent. */
    if (uv_loop_close(&a->loop) == 0)
        free(a);
    return status;
}
