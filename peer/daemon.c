/* The peer's process: opens everything, runs the loop, ends in order. See daemon_internal.h.
 *
 * Once a turn, before the loop waits, pump() takes the cores' effects and sets the timer to the
 * earliest deadline. When the timer fires, the sockets are drained first: libuv 1.44 runs timers
 * before it polls, and a verdict about others must not come before what they sent was read. */
#include "peer/daemon_disk_rpc.h"
#include "peer/daemon_image.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/supervisor.h"

#define LAG_WORTH_SAYING (200 * VI_MSEC)
#define GOODBYE_MOST     (2 * VI_SEC)

vi_time daemon_now(void)
{
    return vi_clock_boottime();
}

/* ---- events and warnings ---- */

struct event *daemon_event(struct daemon *d, const char *kind, const char *subject, const char *fmt,
                           ...)
{
    char text[EVENT_TEXT];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    vi_log(VI_LOG_INFO, kind, "%s", text);
    return events_add(d->events, vi_clock_wall(), kind, subject, "%s", text);
}

void daemon_event_done(struct daemon *d, const struct event *ev)
{
    uint8_t b[EVENT_BYTES_MAX];
    struct vi_writer w;
    if (!d->rpc || !rpc_has_followers(d->rpc))
        return;
    vi_writer_init(&w, b, sizeof b);
    event_write(&w, ev);
    if (!w.err)
        rpc_notify(d->rpc, "event", b, w.len);
}

void daemon_warn(struct daemon *d, enum warning which, const char *fmt, ...)
{
    char text[WARNING_TEXT] = "";
    va_list ap;
    if (fmt) {
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
    }
    if (!strcmp(text, d->warnings[which]))
        return;
    memcpy(d->warnings[which], text, sizeof text);
    if (text[0])
        daemon_event_done(d, daemon_event(d, "warning", NULL, "%s", text));
}

/* ---- the turn ---- */

static vi_time earliest(struct daemon *d)
{
    vi_time t[] = {mesh_io_deadline(d->mesh), gossip_deadline(d->gossip), calls_deadline(d->calls),
                   daemon_guests_deadline(d), daemon_policy_deadline(d), daemon_handover_deadline(d),
                   daemon_switch_deadline(d), daemon_attach_deadline(d), daemon_federation_deadline(d), daemon_envmove_deadline(d), daemon_envmake_deadline(d),
                   daemon_image_deadline(d), daemon_now() + VI_SEC};
    vi_time min = VI_NEVER;
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
        if (t[i] < min)
            min = t[i];
    return min;
}

static void step_all(struct daemon *d)
{
    vi_time now = daemon_now();
    daemon_mesh_clock(d);
    mesh_io_pump(d->mesh, now);
    if (!d->stopping) {
        daemon_keys_pump(d, now);
        daemon_reach_tick(d, now);
        daemon_gossip_address(d, now);
        daemon_federation_pump(d, now);
        daemon_guests_tick(d, now);
        daemon_disks_tick(d, now);
        daemon_envs_tick(d, now);
        daemon_policy_pump(d, now);
        daemon_envmove_pump(d, now);
        daemon_envmake_pump(d, now);
        daemon_image_tick(d, now);
        daemon_handover_pump(d, now);
    }
    daemon_gossip_pump(d, now);
    daemon_members_tick(d, now);
    daemon_attach_pump(d, now);
    daemon_switch_pump(d, now);
    calls_tick(d->calls, now);
    daemon_views_tick(d);
    mesh_io_pump(d->mesh, now); /* what the others wanted sent */
}

static void finish_stopping(struct daemon *d)
{
    if (d->stopping && (d->said_goodbye || daemon_now() >= d->goodbye_until))
        uv_stop(&d->loop);
}

static void on_wake(uv_timer_t *t);

static void on_prepare(uv_prepare_t *p)
{
    struct daemon *d = p->data;
    vi_time now, next;
    step_all(d);
    finish_stopping(d);
    now = daemon_now();
    next = earliest(d);
    d->wake_at = next > now ? next : now; /* what was due before isn't lag */
    uv_update_time(&d->loop);
    uv_timer_start(&d->wake, on_wake,
                   next <= now ? 0 : (uint64_t)((next - now + VI_MSEC - 1) / VI_MSEC), 0);
}

static void on_wake(uv_timer_t *t)
{
    struct daemon *d = t->data;
    vi_time lag = daemon_now() - d->wake_at;
    if (lag > LAG_WORTH_SAYING)
        daemon_gossip_lag(d, lag);
    mesh_io_drain(d->mesh);
}

void daemon_stop(struct daemon *d, int status)
{
    if (d->stopping)
        return;
    d->stopping = true;
    d->exit_status = status;
    d->goodbye_until = daemon_now() + GOODBYE_MOST;
    if (d->gossip) {
        daemon_federation_leave(d);
        daemon_gossip_leave(d);
    }
}

static void on_signal(uv_signal_t *s, int number)
{
    (void)number;
    daemon_stop(s->data, 0);
}

/* ---- opening and closing ---- */

static int open_state(struct daemon *d, char *why, size_t cap)
{
    int err = identity_load(&d->me, d->cfg.state_dir, why, cap);
    if (err)
        return err;
    d->events = events_new((unsigned)d->cfg.events_kept);
    if (!d->events)
        return VI_ENOMEM;
    d->store = store_open(d->cfg.state_dir, why, cap);
    if (!d->store)
        return VI_EIO;
    d->invites = invites_new(d->store, &d->me);
    if (d->invites)
        invites_rules(d->invites, (vi_time)d->cfg.cert_lifetime * VI_SEC, daemon_keys_refuses_join, d);
    d->journal = journal_open(&d->loop, d->cfg.state_dir, daemon_journal_done, d, why, cap);
    return d->invites && d->journal ? daemon_keys_open(d, why, cap) : VI_EIO;
}

static int open_all(struct daemon *d, int link_fd, char *why, size_t cap)
{
    int err = open_state(d, why, cap);
    if (!err)
        err = daemon_switch_open_sockets(d, why, cap);
    if (!err)
        err = daemon_guests_open(d, link_fd, why, cap);
    if (!err)
        err = daemon_disks_open(d, agent_client_disks(d->agent), why, cap);
    if (!err)
        err = daemon_disk_rpc_open(d, why, cap);
    if (err)
        return err;
    daemon_find_address(d, NULL);
    err = daemon_federation_open(d, why, cap);
    if (!err)
        err = daemon_mesh_open(d, why, cap);
    if (!err)
        err = daemon_gossip_open(d, why, cap);
    if (!err)
        err = daemon_members_open(d, why, cap);
    if (!err)
        err = daemon_switch_open(d, why, cap);
    if (!err)
        err = daemon_policy_open(d, why, cap);
    if (!err)
        err = daemon_envmove_open(d, why, cap);
    if (!err)
        err = daemon_envmake_open(d, why, cap);
    if (!err)
        err = daemon_handover_open(d, why, cap);
    if (!err)
        err = daemon_image_open(d, why, cap);
    if (err)
        return err;
    d->rpc = rpc_open(&d->loop, d->cfg.socket, d->cfg.group, daemon_methods, d, why, cap);
    if (!d->rpc)
        return VI_EIO;
    daemon_connect_seeds(d);
    daemon_gossip_known_peers(d);
    daemon_keys_load(d);
    daemon_federation_load(d);
    daemon_envs_load(d);
    return 0;
}

static void on_walk_close(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void close_all(struct daemon *d)
{
    uv_prepare_stop(&d->prepare); /* the loop still turns below, without what a turn needs */
    uv_timer_stop(&d->wake);
    rpc_close(d->rpc);
    daemon_image_close(d);
    daemon_handover_close(d);
    daemon_policy_close(d);
    daemon_attach_close(d);
    daemon_switch_close(d);
    journal_close(d->journal);
    agent_client_close(d->agent);
    daemon_federation_close(d);
    if (d->mesh)
        daemon_mesh_close(d);
    daemon_views_close(d);
    gossip_free(d->gossip);
    doubts_free(d->doubts);
    uv_run(&d->loop, UV_RUN_NOWAIT);
    uv_walk(&d->loop, on_walk_close, NULL);
    for (int i = 0; i < 100 && uv_loop_close(&d->loop) == UV_EBUSY; i++)
        uv_run(&d->loop, UV_RUN_NOWAIT);
    daemon_handover_free(d);
    daemon_image_free(d);
    daemon_disk_rpc_free(d);
    daemon_disks_free(d);
    daemon_envmove_free(d);
    daemon_envmake_free(d);
    daemon_keys_free(d);
    invites_free(d->invites);
    store_close(d->store);
    events_free(d->events);
}

int daemon_main(const struct config *cfg, int link_fd)
{
    struct daemon *d = calloc(1, sizeof *d);
    char why[700] = "out of memory";
    int status, err;
    if (!d)
        return 1;
    d->cfg = *cfg;
    d->started = daemon_now();
    vi_rng_seed_from_kernel(&d->rng);
    uv_loop_init(&d->loop);
    uv_timer_init(&d->loop, &d->wake);
    uv_prepare_init(&d->loop, &d->prepare);
    uv_signal_init(&d->loop, &d->sigterm);
    uv_signal_init(&d->loop, &d->sigint);
    d->wake.data = d->prepare.data = d->sigterm.data = d->sigint.data = d;
    err = open_all(d, link_fd, why, sizeof why);
    if (err) {
        fprintf(stderr, "violin: %s\n", why);
        status = err == VI_ENOTFOUND || err == VI_EINVAL || err == VI_EVERSION ? EXIT_CONFIGURATION : 1;
    } else {
        uv_signal_start(&d->sigterm, on_signal, SIGTERM);
        uv_signal_start(&d->sigint, on_signal, SIGINT);
        uv_prepare_start(&d->prepare, on_prepare);
        daemon_event_done(d, daemon_event(d, "started", d->me.cert.host, "%s of %s runs, at %s, mode %s",
                                          d->me.cert.host, d->me.cert.domain, d->address, d->cfg.mode));
        uv_run(&d->loop, UV_RUN_DEFAULT);
        status = d->exit_status;
    }
    close_all(d);
    free(d);
    return status;
}
