/* New guests from images: create, can_create, image.
 *
 * create, when all goes well:
 *   1. image folders are looked through (worker thread); configuration built from the description
 *   2. libxl_domain_create_new (asynchronous): the domain is there, paused
 *   3. mark `owned`, so that the agent carries out its reboots; callback with the domain id
 * What can fail: 1 leaves nothing. In 2 libxl destroys what it had. If the mark can't be set, the domain is destroyed:
 * a guest whose reboots nobody carries out is worse than none. If the agent dies in 2, a paused domain stays; the peer,
 * which wrote down what it asked for, finds it by its UUID. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/log.h"
#include "xen/libxl_internal.h"

#define OVERHEAD_KB (8 * 1024) /* page tables and the like, beside the guest's memory */

static bool being_created(const struct lx_op *op)
{
    for (const struct lx_op *o = op->lx->ops; o; o = o->next)
        if (o != op && o->creating && vi_id_equal(&o->uuid, &op->d->uuid))
            return true;
    return false;
}

/* 0, or the error with a reason; op->config is then the guest's, under its own name. */
static int creatable(struct lx_op *op, char *why, size_t cap)
{
    uint32_t holder;
    int err;

    if (being_created(op)) {
        snprintf(why, cap, "it is being made already");
        return VI_EEXIST;
    }
    err = lx_receivable(op, LX_CREATE, why, cap);
    if (err)
        return err;
    if (libxl_name_to_domid(op->lx->ctx, op->d->name, &holder) == 0) {
        snprintf(why, cap, "a guest called %s is here already", op->d->name);
        return VI_EEXIST;
    }
    free(op->config.c_info.name);
    op->config.c_info.name = strdup(op->d->name);
    return op->config.c_info.name ? 0 : VI_ENOMEM;
}

static void can_create_now(struct lx_op *op)
{
    char why[160] = "";
    int err = creatable(op, why, sizeof why);
    lx_finish(op, err, "%s", why);
}

void lx_step_can_create(struct lx_op *op)
{
    lx_refresh_then(op, can_create_now);
}

static void unmarked_destroyed(struct lx_op *op)
{
    if (op->rc)
        vi_log(VI_LOG_ERROR, "xen", "domain %u could not be destroyed (libxl error %d)", op->domid, op->rc);
    lx_scan(op->lx, false);
    lx_finish(op, VI_EIO, "xenstore does not take the mark");
}

static void created(struct lx_op *op)
{
    struct lx *lx = op->lx;

    op->exclusive = false;
    if (op->rc) {
        lx_scan(lx, false);
        lx_finish(op, VI_EIO, "libxl could not make it (error %d; the agent's log has its words)", op->rc);
        return;
    }
    if (lx_mark_set(lx, op->domid, LX_MARK_OWNED)) {
        lx_started(op, libxl_domain_destroy(lx->ctx, op->domid, lx_how(op, unmarked_destroyed)), "destroying");
        return;
    }
    vi_log(VI_LOG_INFO, "xen", "%s is made as domain %u", op->config.c_info.name, op->domid);
    lx_scan(lx, false);
    lx_finish(op, 0, "%s", "");
}

static void create_now(struct lx_op *op)
{
    char why[160] = "";
    int err = creatable(op, why, sizeof why);

    if (!err && !lx_memory_for(op->lx, op->d->target_kb + OVERHEAD_KB)) {
        err = VI_EFULL;
        snprintf(why, sizeof why, "the host has less than %llu MiB free",
                 (unsigned long long)(op->d->target_kb + OVERHEAD_KB) / 1024);
    }
    if (err) {
        lx_finish(op, err, "%s", why);
        return;
    }
    op->uuid = op->d->uuid;
    op->creating = true;
    op->domid = INVALID_DOMID_VALUE;
    op->rc = libxl_domain_create_new(op->lx->ctx, &op->config, &op->domid, lx_how(op, created), NULL);
    if (op->rc) {
        op->ao = false;
        created(op);
    }
}

void lx_step_create(struct lx_op *op)
{
    lx_refresh_then(op, create_now);
}

static void image_now(struct lx_op *op)
{
    int err = images_named(op->lx->images, op->name, op->hash);

    if (err == VI_EEXIST)
        lx_finish(op, err, "files called %s in two of the image-dirs differ: say which by its hash", op->name);
    else
        lx_finish(op, err, "no file called %s is in this host's image-dirs", op->name);
}

void lx_step_image(struct lx_op *op)
{
    lx_refresh_then(op, image_now);
}
