/* The libxl backend: opening, and the public operations, which only copy, check and queue. */
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "xen/libxl_internal.h"

#define NOBODY 65534

/* ---- operations */

static struct lx_op *guest_op(struct hypervisor *h, lx_step *step, uint32_t domid,
                              const struct vi_id *uuid, hv_done *done, void *arg)
{
    struct lx_op *op = lx_op_new((struct lx *)h, step, LX_DONE, arg);
    if (!op)
        return NULL;
    op->callback = true;
    op->cb.done = done;
    op->domid = domid;
    op->uuid = *uuid;
    return op;
}

static int do_host(struct hypervisor *h, hv_host_done *done, void *arg)
{
    struct lx_op *op = lx_op_new((struct lx *)h, lx_step_host, LX_HOST, arg);
    if (!op)
        return VI_EFULL;
    op->callback = true;
    op->cb.host = done;
    return 0;
}

static int do_list(struct hypervisor *h, hv_list_done *done, void *arg)
{
    struct lx_op *op = lx_op_new((struct lx *)h, lx_step_list, LX_LIST, arg);
    if (!op)
        return VI_EFULL;
    op->callback = true;
    op->cb.list = done;
    return 0;
}

static int do_describe(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid,
                       hv_describe_done *done, void *arg)
{
    struct lx_op *op = lx_op_new((struct lx *)h, lx_step_describe, LX_DESCRIBE, arg);
    if (!op)
        return VI_EFULL;
    op->callback = true;
    op->cb.describe = done;
    op->domid = domid;
    op->uuid = *uuid;
    return 0;
}

static bool copy_description(struct lx_op *op, const struct hv_description *d)
{
    op->d = malloc(sizeof *op->d);
    if (op->d)
        *op->d = *d;
    return op->d != NULL;
}

/* What is not encodable is not sensible either; it may come from elsewhere than decode. */
static bool sound(const struct hv_description *d)
{
    uint8_t encoded[HV_DESCRIPTION_MAX];
    return hv_description_encode(d, encoded, sizeof encoded) > 0;
}

static int judge(struct hypervisor *h, lx_step *step, const struct hv_description *d, hv_done *done, void *arg)
{
    struct lx_op *op;
    if (!sound(d))
        return VI_EINVAL;
    op = lx_op_new((struct lx *)h, step, LX_DONE, arg);
    if (!op || !copy_description(op, d)) {
        if (op)
            lx_finish(op, VI_ENOMEM, "%s", "");
        return op ? VI_ENOMEM : VI_EFULL;
    }
    op->callback = true;
    op->cb.done = done;
    return 0;
}

static int do_can_receive(struct hypervisor *h, const struct hv_description *d, hv_done *done,
                          void *arg)
{
    return judge(h, lx_step_can_receive, d, done, arg);
}

static int do_can_create(struct hypervisor *h, const struct hv_description *d, hv_done *done, void *arg)
{
    return judge(h, lx_step_can_create, d, done, arg);
}

static int do_set_memory(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, uint64_t kb,
                         hv_done *done, void *arg)
{
    struct lx_op *op = guest_op(h, lx_step_set_memory, domid, uuid, done, arg);
    if (!op)
        return VI_EFULL;
    op->kb = kb;
    return 0;
}

static int do_set_sched(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid,
                        uint32_t weight, uint32_t cap, hv_done *done, void *arg)
{
    struct lx_op *op;
    if (weight < 1 || weight > 65535)
        return VI_EINVAL;
    op = guest_op(h, lx_step_set_sched, domid, uuid, done, arg);
    if (!op)
        return VI_EFULL;
    op->weight = weight;
    op->cap = cap;
    return 0;
}

static int do_suspend(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, int fd,
                      hv_done *done, void *arg)
{
    struct lx_op *op = guest_op(h, lx_step_suspend, domid, uuid, done, arg);
    if (!op) {
        close(fd);
        return VI_EFULL;
    }
    op->fd = fd;
    return 0;
}

static int do_restore(struct hypervisor *h, const struct hv_description *d, int fd,
                      hv_restore_done *done, void *arg)
{
    struct lx_op *op = sound(d) ? lx_op_new((struct lx *)h, lx_step_restore, LX_RESTORE, arg) : NULL;
    if (!op || !copy_description(op, d)) {
        close(fd);
        if (op)
            lx_finish(op, VI_ENOMEM, "%s", "");
        return op ? VI_ENOMEM : VI_EINVAL;
    }
    op->callback = true;
    op->cb.restore = done;
    op->fd = fd;
    return 0;
}

static int do_create(struct hypervisor *h, const struct hv_description *d, hv_restore_done *done, void *arg)
{
    struct lx_op *op = sound(d) ? lx_op_new((struct lx *)h, lx_step_create, LX_RESTORE, arg) : NULL;
    if (!op || !copy_description(op, d)) {
        if (op)
            lx_finish(op, VI_ENOMEM, "%s", "");
        return op ? VI_ENOMEM : VI_EINVAL;
    }
    op->callback = true;
    op->cb.restore = done;
    return 0;
}

static int do_image(struct hypervisor *h, const char *name, hv_image_done *done, void *arg)
{
    struct lx_op *op;
    if (strlen(name) >= sizeof op->name)
        return VI_EINVAL;
    op = lx_op_new((struct lx *)h, lx_step_image, LX_IMAGE, arg);
    if (!op)
        return VI_EFULL;
    snprintf(op->name, sizeof op->name, "%s", name);
    op->callback = true;
    op->cb.image = done;
    return 0;
}

static int do_attach(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, const struct vi_id *disk,
                     const char *vdev, hv_done *done, void *arg)
{
    struct lx_op *op;
    size_t n = strlen(vdev);
    if (n == 0 || n >= sizeof op->moving[0].vdev || strspn(vdev, "abcdefghijklmnopqrstuvwxyz0123456789") != n)
        return VI_EINVAL;
    op = guest_op(h, lx_step_attach, domid, uuid, done, arg);
    if (!op)
        return VI_EFULL;
    op->disk_id = *disk;
    snprintf(op->name, sizeof op->name, "%s", vdev);
    return 0;
}

static int do_detach(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, const struct vi_id *disk,
                     hv_done *done, void *arg)
{
    struct lx_op *op = guest_op(h, lx_step_detach, domid, uuid, done, arg);
    if (!op)
        return VI_EFULL;
    op->disk_id = *disk;
    return 0;
}

#define GUEST_OPERATION(name)                                                                      \
    static int do_##name(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid,           \
                         hv_done *done, void *arg)                                                 \
    {                                                                                              \
        return guest_op(h, lx_step_##name, domid, uuid, done, arg) ? 0 : VI_EFULL;                 \
    }
GUEST_OPERATION(unpause)
GUEST_OPERATION(pause)
GUEST_OPERATION(resume)
GUEST_OPERATION(destroy)
GUEST_OPERATION(shutdown)

static const struct hypervisor_ops libxl_ops = {
    .host = do_host,
    .list = do_list,
    .describe = do_describe,
    .can_receive = do_can_receive,
    .set_memory = do_set_memory,
    .set_sched = do_set_sched,
    .suspend = do_suspend,
    .restore = do_restore,
    .unpause = do_unpause,
    .pause = do_pause,
    .resume = do_resume,
    .destroy = do_destroy,
    .create = do_create,
    .can_create = do_can_create,
    .shutdown = do_shutdown,
    .image = do_image,
    .attach = do_attach,
    .detach = do_detach,
    .close = lx_close,
};

/* ---- opening */

static int copy_config(struct lx *lx, const struct hypervisor_libxl_config *cfg)
{
    const struct passwd *pw = cfg->user ? getpwnam(cfg->user) : NULL;

    if (!pw)
        pw = getpwnam("nobody");
    lx->uid = pw ? pw->pw_uid : NOBODY;
    lx->gid = pw ? pw->pw_gid : NOBODY;
    lx->self = strdup(cfg->self ? cfg->self : "/proc/self/exe");
    lx->disks = cfg->disks;
    lx->images = images_new(cfg->image_folders, cfg->n_image_folders);
    if (cfg->state_folder && !(lx->state_folder = strdup(cfg->state_folder)))
        return VI_ENOMEM;
    if (cfg->outside_bridge && !(lx->outside = strdup(cfg->outside_bridge)))
        return VI_ENOMEM;
    return lx->self && lx->images ? 0 : VI_ENOMEM;
}

static bool hypervisor_there(void)
{
    return access("/dev/xen/privcmd", R_OK | W_OK) == 0 ||
           access("/proc/xen/privcmd", R_OK | W_OK) == 0;
}

/* The folders are looked through at the start, so that the first list knows them, and when a guest has an image that
 * came later. */
static void looked_through(struct lx_op *op)
{
    op->lx->looking = false;
    for (unsigned i = 0; i < op->lx->n_doms; i++)
        op->lx->doms[i].st.read_at = 0;
    lx_finish(op, 0, "%s", "");
}

static void look_through_work(uv_work_t *w)
{
    struct lx_op *op = w->data;
    images_refresh(op->lx->images);
}

static void look_through_done(uv_work_t *w, int status)
{
    struct lx_op *op = w->data;
    (void)status;
    op->working = false;
    lx_queue(op, looked_through);
}

static void look_through(struct lx_op *op)
{
    op->work.data = op;
    op->working = true;
    op->step = looked_through;
    if (uv_queue_work(op->lx->loop, &op->work, look_through_work, look_through_done)) {
        op->working = false;
        op->lx->looking = false;
        lx_finish(op, VI_ENOMEM, "%s", "");
    }
}

void lx_look_through(struct lx *lx)
{
    if (lx->looking || !lx_op_new(lx, look_through, LX_DONE, NULL))
        return;
    lx->looking = true;
    lx->unread = false;
    lx->looked_at = vi_clock_boottime();
}

struct hypervisor *hypervisor_libxl_open(uv_loop_t *loop, const struct hypervisor_libxl_config *cfg,
                                         char *why, size_t why_size)
{
    struct lx *lx = calloc(1, sizeof *lx);

    snprintf(why, why_size, "out of memory");
    if (!lx)
        return NULL;
    lx->base.ops = &libxl_ops;
    lx->loop = loop;
    lx->queue_end = &lx->queue;
    uv_timer_init(loop, &lx->queue_timer);
    lx->queue_timer.data = lx;
    lx->handles++;
    if (copy_config(lx, cfg))
        goto fail;
    if (!hypervisor_there()) {
        snprintf(why, why_size,
                 "no Xen hypervisor: neither /dev/xen/privcmd nor /proc/xen/privcmd can be opened "
                 "(boot the host with Xen, or use hypervisor = \"simulated\")");
        goto fail;
    }
    signal(SIGPIPE, SIG_IGN);
    lx_logger_init(lx);
    lx->xs = xs_open(0);
    if (!lx->xs) {
        snprintf(why, why_size, "no Xen hypervisor: xenstored does not answer (is it running? or "
                                "use hypervisor = \"simulated\")");
        goto fail;
    }
    if (libxl_ctx_alloc(&lx->ctx, LIBXL_VERSION, 0, &lx->logger) || lx_host_facts(lx)) {
        snprintf(why, why_size, "no Xen hypervisor: libxl can't talk to it (is this dom0? or use "
                                "hypervisor = \"simulated\")");
        goto fail;
    }
    if (lx_loop_open(lx) || lx_events_open(lx)) {
        snprintf(why, why_size, "libxl's events can't be hooked up");
        goto fail;
    }
    lx_scan(lx, true);
    lx_reboot_leftovers(lx);
    lx_look_through(lx);
    return &lx->base;
fail:
    lx_close(&lx->base);
    return NULL;
}
