/* Moving a guest: describe, can_receive, suspend on one host; restore on the other.
 *
 * restore, when all goes well:
 *   1. image folders are looked through (worker thread); configuration built from the description
 *   2. child `violin stream-check` started: given descriptor → child → pipe → libxl
 *   3. libxl_domain_create_restore (asynchronous) under the name X--incoming
 *   4. both ended well: mark `incoming`, callback with the domain id
 * What can fail: 1 and 2 leave nothing. In 3 a bad or broken stream ends the child, libxl then finds
 * the pipe at its end and destroys what it had; if libxl gives up first, the child is killed. If
 * libxl was content but the child was not, the copy is destroyed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/base/log.h"
#include "xen/libxl_internal.h"
#include "xen/stream_check.h"

static void refresh_work(uv_work_t *w)
{
    struct lx_op *op = w->data;
    images_refresh(op->lx->images);
}

static void refresh_done(uv_work_t *w, int status)
{
    struct lx_op *op = w->data;
    (void)status;
    op->working = false;
    lx_queue(op, op->step);
}

void lx_refresh_then(struct lx_op *op, lx_step *then)
{
    op->step = then;
    op->work.data = op;
    op->working = true;
    if (uv_queue_work(op->lx->loop, &op->work, refresh_work, refresh_done)) {
        op->working = false;
        lx_finish(op, VI_ENOMEM, "no worker thread");
    }
}

/* ---- describe */

static void describe_now(struct lx_op *op)
{
    struct lx *lx = op->lx;
    char why[160] = "";
    libxl_domain_config c;
    libxl_domain_sched_params s;
    int err = lx_lookup(lx, op->domid, &op->uuid, NULL);

    if (err) {
        lx_finish(op, err, "no such guest");
        return;
    }
    op->d = calloc(1, sizeof *op->d);
    if (!op->d) {
        lx_finish(op, VI_ENOMEM, "out of memory");
        return;
    }
    libxl_domain_config_init(&c);
    libxl_domain_sched_params_init(&s);
    if (libxl_retrieve_domain_configuration(lx->ctx, op->domid, &c, NULL)) {
        err = VI_EIO;
        snprintf(why, sizeof why, "libxl does not know its configuration");
    } else {
        err = lx_describe_config(lx, &c, op->d, why, sizeof why);
    }
    if (!err && libxl_domain_sched_params_get(lx->ctx, op->domid, &s) == 0) {
        if (s.weight > 0 && s.weight <= 65535)
            op->d->weight = (uint32_t)s.weight;
        if (s.cap > 0 && (uint32_t)s.cap <= 100 * op->d->vcpus)
            op->d->cap = (uint32_t)s.cap;
    }
    libxl_domain_sched_params_dispose(&s);
    libxl_domain_config_dispose(&c);
    lx_finish(op, err, "%s", why);
}

void lx_step_describe(struct lx_op *op)
{
    lx_refresh_then(op, describe_now);
}

/* ---- can_receive */

static bool mac_in_use(struct lx *lx, const uint8_t mac[6])
{
    for (unsigned i = 0; i < lx->n_doms; i++) {
        const struct lx_static *st = lx_static_of(lx, &lx->doms[i]);
        for (unsigned j = 0; j < st->n_vifs; j++)
            if (memcmp(st->vifs[j].mac, mac, 6) == 0)
                return true;
    }
    return false;
}

int lx_receivable(struct lx_op *op, enum lx_purpose purpose, char *why, size_t cap)
{
    bool comes = purpose != LX_CREATE;
    struct lx *lx = op->lx;
    const struct hv_description *d = op->d;

    lx_scan(lx, false);
    for (unsigned i = 0; i < lx->n_doms; i++)
        if (vi_id_equal(&lx->doms[i].uuid, &d->uuid)) {
            snprintf(why, cap, "a guest with this UUID is here already, as %s", lx->doms[i].name);
            return VI_EEXIST;
        }
    for (unsigned i = 0; i < d->n_vifs; i++)
        if (mac_in_use(lx, d->vifs[i].mac)) {
            snprintf(why, cap, "a guest here has its MAC address");
            return VI_EEXIST;
        }
    for (unsigned i = 0; comes && i < d->n_vifs; i++)
        if (vi_id_is_zero(&d->vifs[i].environment)) {
            snprintf(why, cap, "it has a leg outside its environment: such a guest stays where it is");
            return VI_EUNSUPPORTED;
        }
    if (comes && memcmp(d->cpu_features, lx->cpu_features, sizeof lx->cpu_features) != 0) {
        snprintf(why, cap, "the hosts' CPUs differ in what a guest can see");
        return VI_EUNSUPPORTED;
    }
    libxl_domain_config_init(&op->config);
    op->config_set = true;
    return lx_build_config(op, purpose, why, cap);
}

static void can_receive_now(struct lx_op *op)
{
    char why[160] = "";
    int err = lx_receivable(op, LX_ASK_RECEIVE, why, sizeof why);
    lx_finish(op, err, "%s", why);
}

void lx_step_can_receive(struct lx_op *op)
{
    lx_refresh_then(op, can_receive_now);
}

/* ---- suspend */

static void suspended(struct lx_op *op)
{
    libxl_dominfo info;
    enum hv_guest_state state = HV_RUNNING;
    enum hv_reason reason;
    int rc = op->rc, err;

    lx_close_fd(&op->fd);
    err = lx_lookup(op->lx, op->domid, &op->uuid, &info);
    if (!err) {
        lx_state(&info, &state, &reason);
        libxl_dominfo_dispose(&info);
    }
    if (err)
        lx_finish(op, err, "the guest went away while it was sent");
    else if (rc == 0 && state == HV_SUSPENDED)
        lx_finish(op, 0, "%s", "");
    else if (rc == 0)
        lx_finish(op, VI_ESTATE, "sent, but somebody started it again");
    else if (rc == ERROR_GUEST_TIMEDOUT)
        lx_finish(op, VI_ETIMEDOUT, "the guest did not answer the request to suspend");
    else
        lx_finish(op, VI_EIO, "sending failed (libxl error %d); the guest is %s", rc,
                  hv_state_name(state));
}

static void blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && flags & O_NONBLOCK)
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

void lx_step_suspend(struct lx_op *op)
{
    struct lx *lx = op->lx;
    libxl_dominfo info;
    enum hv_guest_state state;
    enum hv_reason reason;
    int err = lx_lookup(lx, op->domid, &op->uuid, &info);

    if (err) {
        lx_finish(op, err, "no such guest");
        return;
    }
    lx_state(&info, &state, &reason);
    libxl_dominfo_dispose(&info);
    if (state != HV_RUNNING) {
        lx_finish(op, VI_ESTATE, "the guest is %s", hv_state_name(state));
        return;
    }
    if (lx_busy(lx, op->domid, op)) {
        lx_finish(op, VI_ESTATE, "something else is being done with this guest");
        return;
    }
    op->exclusive = true;
    blocking(op->fd);
    lx_started(op,
               libxl_domain_suspend(lx->ctx, op->domid, op->fd, LIBXL_SUSPEND_LIVE,
                                    lx_how(op, suspended)),
               "sending");
}

/* ---- restore */

static void restore_failed(struct lx_op *op)
{
    int status = (int)op->child_status;

    if (status > STREAM_CHECK_EXIT && status < STREAM_CHECK_EXIT + STREAM_REASONS)
        lx_finish(op, VI_EPROTO, "the stream was refused: %s",
                  stream_check_reason_name((enum stream_check_reason)(status - STREAM_CHECK_EXIT)));
    else if (status == STREAM_CHECK_CUT)
        lx_finish(op, VI_EIO, "the stream ended too early");
    else if (op->rc)
        lx_finish(op, VI_EIO, "libxl could not restore it (error %d)", op->rc);
    else
        lx_finish(op, VI_EIO, "the stream checker died (status %d, signal %d)", status,
                  op->child_signal);
}

/* Both libxl and the child may be the first to end; this runs at each end. */
static void restore_ended(struct lx_op *op)
{
    struct lx *lx = op->lx;

    if (op->ao)
        return;
    lx_close_fd(&op->pipe);
    if (op->child_running) {
        if (op->rc)
            uv_process_kill(&op->child, SIGKILL);
        return;
    }
    if (op->rc == 0 && op->child_status == 0 && op->child_signal == 0) {
        if (lx_mark_set(lx, op->domid, LX_MARK_INCOMING))
            vi_log(VI_LOG_WARN, "xen", "domain %u: no mark in xenstore; its name tells", op->domid);
        lx_scan(lx, false);
        lx_finish(op, 0, "%s", "");
        return;
    }
    if (lx_lookup(lx, op->domid, &op->uuid, NULL) == 0 &&
        libxl_domain_destroy(lx->ctx, op->domid, lx_how(op, restore_failed)) == 0)
        return;
    op->ao = false;
    restore_failed(op);
}

static void child_ended(uv_process_t *child, int64_t status, int signal)
{
    struct lx_op *op = child->data;

    op->child_running = false;
    op->child_status = status;
    op->child_signal = signal;
    lx_queue(op, restore_ended);
}

static int start_checker(struct lx_op *op)
{
    struct lx *lx = op->lx;
    int ends[2], err;
    char *args[] = {lx->self, "stream-check", NULL};
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_INHERIT_FD, .data.fd = op->fd},
        {.flags = UV_INHERIT_FD},
        {.flags = UV_INHERIT_FD, .data.fd = 2},
    };
    uv_process_options_t o = {
        .exit_cb = child_ended, .file = lx->self, .args = args, .stdio = stdio, .stdio_count = 3};

    if (pipe2(ends, O_CLOEXEC) < 0)
        return VI_EIO;
    stdio[1].data.fd = ends[1];
    if (geteuid() == 0) {
        o.flags = UV_PROCESS_SETUID | UV_PROCESS_SETGID;
        o.uid = lx->uid;
        o.gid = lx->gid;
    }
    blocking(op->fd);
    op->child.data = op;
    op->child_open = true; /* initialised even where the start fails */
    err = uv_spawn(lx->loop, &op->child, &o);
    close(ends[1]);
    lx_close_fd(&op->fd);
    op->pipe = ends[0];
    op->child_running = err == 0;
    return err ? VI_EIO : 0;
}

bool lx_memory_for(struct lx *lx, uint64_t kb)
{
    uint64_t free_kb = 0;
    libxl_physinfo p;

    libxl_physinfo_init(&p);
    if (libxl_get_physinfo(lx->ctx, &p) == 0)
        free_kb = (p.free_pages + p.scrub_pages - p.outstanding_pages) * 4;
    libxl_physinfo_dispose(&p);
    return free_kb >= kb;
}

static void restore_now(struct lx_op *op)
{
    struct lx *lx = op->lx;
    libxl_domain_restore_params params;
    char why[160] = "";
    int rc, err = lx_receivable(op, LX_RECEIVE, why, sizeof why);

    if (!err && !lx_memory_for(lx, op->d->target_kb)) {
        err = VI_EFULL;
        snprintf(why, sizeof why, "the host has less than %llu MiB free",
                 (unsigned long long)op->d->target_kb / 1024);
    }
    if (!err && (err = start_checker(op)))
        snprintf(why, sizeof why, "%s stream-check could not be started", lx->self);
    if (err) {
        lx_finish(op, err, "%s", why);
        return;
    }
    op->uuid = op->d->uuid;
    libxl_domain_restore_params_init(&params);
    params.stream_version = 2;
    rc = libxl_domain_create_restore(lx->ctx, &op->config, &op->domid, op->pipe, -1, &params,
                                     lx_how(op, restore_ended), NULL);
    libxl_domain_restore_params_dispose(&params);
    if (rc) {
        op->ao = false;
        op->rc = rc;
        restore_ended(op);
    }
}

void lx_step_restore(struct lx_op *op)
{
    lx_refresh_then(op, restore_now);
}
