/* Operations of the libxl backend: queueing, asynchronous libxl calls, ending, closing. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "xen/libxl_internal.h"

#define OPS_MAX 256 /* further ones are refused with VI_EFULL by the calls */

void lx_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

struct lx_op *lx_op_new(struct lx *lx, lx_step *step, enum lx_callback kind, void *arg)
{
    unsigned n = 0;
    struct lx_op *op;

    for (op = lx->ops; op; op = op->next)
        n++;
    if (n >= OPS_MAX || lx->closing || !(op = calloc(1, sizeof *op)))
        return NULL;
    op->lx = lx;
    op->kind = kind;
    op->arg = arg;
    op->fd = op->pipe = -1;
    op->domid = INVALID_DOMID_VALUE;
    op->next = lx->ops;
    lx->ops = op;
    lx_queue(op, step);
    return op;
}

void lx_queue(struct lx_op *op, lx_step *step)
{
    struct lx *lx = op->lx;

    op->step = step;
    if (op->due)
        return;
    op->due = true;
    op->queued = NULL;
    *lx->queue_end = op;
    lx->queue_end = &op->queued;
    if (!uv_is_closing((uv_handle_t *)&lx->queue_timer))
        uv_timer_start(&lx->queue_timer, lx_queue_run, 0, 0);
}

static void abandon(struct lx_op *op)
{
    if (op->ao)
        return; /* aborted; it will be back */
    if (op->child_running)
        uv_process_kill(&op->child, SIGKILL);
    lx_finish(op, VI_ECANCELED, "closing");
}

void lx_queue_run(uv_timer_t *t)
{
    struct lx *lx = t->data;
    struct lx_op *op = lx->queue;

    if (!op)
        return;
    lx->queue = op->queued;
    if (!lx->queue)
        lx->queue_end = &lx->queue;
    op->due = false;
    if (lx->closing)
        abandon(op);
    else
        op->step(op);
    if (lx->queue && !uv_is_closing((uv_handle_t *)t))
        uv_timer_start(t, lx_queue_run, 0, 0);
}

bool lx_busy(const struct lx *lx, uint32_t domid, const struct lx_op *except)
{
    for (const struct lx_op *op = lx->ops; op; op = op->next)
        if (op != except && op->exclusive && op->domid == domid)
            return true;
    return false;
}

/* Calls the callback, once, for everything but a successful host, list or describe, whose steps
 * call it themselves with what they found. */
static void call_back(struct lx_op *op, int err, const char *detail)
{
    if (!op->callback)
        return;
    op->callback = false;
    switch (op->kind) {
    case LX_DONE:     op->cb.done(op->arg, err, detail); break;
    case LX_HOST:     op->cb.host(op->arg, err, NULL); break;
    case LX_LIST:     op->cb.list(op->arg, err, NULL, 0); break;
    case LX_DESCRIBE: op->cb.describe(op->arg, err, detail, err ? NULL : op->d); break;
    case LX_RESTORE:  op->cb.restore(op->arg, err, detail, err ? 0 : op->domid); break;
    case LX_IMAGE:    op->cb.image(op->arg, err, detail, op->hash); break;
    }
}

static void unqueue(struct lx_op *op)
{
    struct lx *lx = op->lx;

    for (struct lx_op **p = &lx->queue; *p; p = &(*p)->queued)
        if (*p == op) {
            *p = op->queued;
            if (lx->queue_end == &op->queued)
                lx->queue_end = p;
            break;
        }
}

static void op_free(struct lx_op *op)
{
    struct lx *lx = op->lx;

    for (struct lx_op **p = &lx->ops; *p; p = &(*p)->next)
        if (*p == op) {
            *p = op->next;
            break;
        }
    unqueue(op);
    lx_close_fd(&op->fd);
    lx_close_fd(&op->pipe);
    if (op->config_set)
        libxl_domain_config_dispose(&op->config);
    if (op->disk_set)
        libxl_device_disk_dispose(&op->disk);
    free(op->d);
    free(op);
    lx_release_if_idle(lx);
}

static void handle_closed(uv_handle_t *h)
{
    struct lx_op *op = h->data;

    if (h == (uv_handle_t *)&op->child)
        op->child_open = false;
    else
        op->timer_open = false;
    if (!op->child_open && !op->timer_open)
        op_free(op);
}

void lx_finish(struct lx_op *op, int err, const char *fmt, ...)
{
    char detail[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    op->exclusive = false;
    call_back(op, err, detail);
    if (op->child_open)
        uv_close((uv_handle_t *)&op->child, handle_closed);
    if (op->timer_open)
        uv_close((uv_handle_t *)&op->timer, handle_closed);
    if (!op->child_open && !op->timer_open)
        op_free(op);
}

/* May run inside any libxl call: only notes. */
static void ao_done(libxl_ctx *ctx, int rc, void *for_callback)
{
    struct lx_op *op = for_callback;
    (void)ctx;
    op->ao = false;
    op->rc = rc;
    lx_queue(op, op->step);
}

const libxl_asyncop_how *lx_how(struct lx_op *op, lx_step *then)
{
    op->how = (libxl_asyncop_how){.callback = ao_done};
    op->how.u.for_callback = op;
    op->step = then;
    op->ao = true;
    return &op->how;
}

bool lx_started(struct lx_op *op, int rc, const char *what)
{
    if (rc == 0)
        return true;
    op->ao = false;
    lx_finish(op, VI_EIO, "%s failed (libxl error %d)", what, rc);
    return false;
}

/* ---- closing: callbacks at once, what is under way in libxl is aborted and waited for */

static void backend_handle_closed(uv_handle_t *h)
{
    struct lx *lx = h->data;
    if (--lx->handles > 0)
        return;
    if (lx->xs)
        xs_close(lx->xs);
    if (lx->ctx)
        libxl_ctx_free(lx->ctx);
    images_free(lx->images);
    free(lx->self);
    free(lx->state_folder);
    free(lx->outside);
    free(lx);
}

void lx_release_if_idle(struct lx *lx)
{
    uv_handle_t *all[] = {(uv_handle_t *)&lx->queue_timer, (uv_handle_t *)&lx->scan_timer,
                          (uv_handle_t *)&lx->sigchld, (uv_handle_t *)&lx->xs_poll};
    if (!lx->closing || lx->ops)
        return;
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->data && !uv_is_closing(all[i]))
            uv_close(all[i], backend_handle_closed);
}

void lx_close(struct hypervisor *h)
{
    struct lx *lx = (struct lx *)h;
    struct lx_op *op, *next;

    lx->closing = true;
    uv_timer_stop(&lx->scan_timer);
    for (op = lx->ops; op; op = next) {
        next = op->next;
        call_back(op, VI_ECANCELED, "closing");
        if (op->ao)
            libxl_ao_abort(lx->ctx, &op->how);
        else if (!op->working)
            lx_queue(op, op->step);
    }
    lx_release_if_idle(lx);
}
