/* Disks that move with their guests (xen/disk_host.h), in libxl's configurations: which they are there, how they get there,
 * attach and detach.
 *
 * A configuration has a device's path, and what is found there may be another disk by the time it is looked at again. So
 * whatever starts a guest goes by the disk's id, asks the host's disks for the device anew, and is refused an old copy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/log.h"
#include "xen/libxl_internal.h"

bool lx_disk_moves(struct lx *lx, const libxl_device_disk *k, struct vi_id *id)
{
    char path[DISK_PATH], why[160];

    return lx->disks && k->readwrite && k->pdev_path && !k->script && k->format == LIBXL_DISK_FORMAT_RAW &&
           k->backend != LIBXL_DISK_BACKEND_QDISK && !k->backend_domid && !k->is_cdrom &&
           disk_host_find(lx->disks, k->pdev_path, id) &&
           disk_host_device(lx->disks, id, true, path, why, sizeof why) == 0;
}

void lx_disk_why_local(struct lx *lx, const libxl_device_disk *k, char *why, size_t cap)
{
    const char *vdev = k->vdev ? k->vdev : "", *path = k->pdev_path ? k->pdev_path : "";
    char there[DISK_PATH], problem[80];
    struct vi_id id;
    int n = 0;

    if (lx->disks && disk_host_find(lx->disks, path, &id) &&
        disk_host_device(lx->disks, &id, true, there, problem, sizeof problem)) {
        snprintf(why, cap, "%s: %s", vdev, problem);
        return;
    }
    if (k->readwrite && !k->is_cdrom && !k->backend_domid)
        n = snprintf(why, cap, "disk %s is local; `violin disk adopt NAME %s` lets it move from its next start", vdev, path);
    if (n <= 0)
        snprintf(why, cap, "disk %s is local: neither read-only in image-dirs nor shared", vdev);
    else if ((size_t)n >= cap)
        snprintf(why, cap, "disk %s is local; `violin disk adopt` lets it move from its next start", vdev);
}

/* ---- who has a disk */

static bool op_has(const struct lx_op *op, const struct vi_id *disk)
{
    for (unsigned i = 0; i < op->n_moving; i++)
        if (vi_id_equal(&op->moving[i].id, disk))
            return true;
    return false;
}

/* Does another guest have it, or is it being given to one? Configurations are read anew: xl may have changed them. */
static bool taken(const struct lx_op *op, const struct vi_id *disk, char *why, size_t cap)
{
    struct lx *lx = op->lx;

    for (const struct lx_op *o = lx->ops; o; o = o->next)
        if (o != op && op_has(o, disk)) {
            snprintf(why, cap, "it is being given to a guest already");
            return true;
        }
    for (unsigned i = 0; i < lx->n_doms; i++) {
        const struct lx_static *st;
        lx->doms[i].st.read_at = 0;
        st = lx_static_of(lx, &lx->doms[i]);
        for (unsigned j = 0; j < st->n_disks; j++)
            if (st->disks[j].kind == HV_DISK_MOVABLE && vi_id_equal(&st->disks[j].id, disk)) {
                snprintf(why, cap, "%.64s has it", lx->doms[i].name);
                return true;
            }
    }
    return false;
}

/* ---- building */

static int fill(libxl_device_disk *k, const char *vdev, const char *path)
{
    k->backend = LIBXL_DISK_BACKEND_PHY;
    k->format = LIBXL_DISK_FORMAT_RAW;
    k->readwrite = 1;
    /* A mirror can't pass on what a guest discards: both copies would differ in it. */
    libxl_defbool_set(&k->discard_enable, false);
    free(k->vdev);
    free(k->pdev_path);
    k->vdev = strdup(vdev);
    k->pdev_path = strdup(path);
    return k->vdev && k->pdev_path ? 0 : VI_ENOMEM;
}

/* Notes what an operation is giving to a guest, until it ends. */
static int note(struct lx_op *op, const char *vdev, const struct vi_id *disk)
{
    if (op->n_moving >= HV_DISKS_MAX)
        return VI_EFULL;
    snprintf(op->moving[op->n_moving].vdev, sizeof op->moving[0].vdev, "%s", vdev);
    op->moving[op->n_moving++].id = *disk;
    return 0;
}

int lx_disk_build(struct lx_op *op, enum lx_purpose purpose, const char *vdev, const struct vi_id *disk, libxl_device_disk *k,
                  char *why, size_t cap)
{
    char path[DISK_PATH] = "", problem[128] = "";
    struct lx *lx = op->lx;
    int err;

    if (!lx->disks) {
        snprintf(why, cap, "disk %s: this host keeps no disks (its log says why)", vdev);
        return VI_EUNSUPPORTED;
    }
    if (op_has(op, disk)) {
        snprintf(why, cap, "disk %s: it is another one of its disks, too", vdev);
        return VI_EINVAL;
    }
    err = disk_host_device(lx->disks, disk, purpose == LX_RECEIVE, path, problem, sizeof problem);
    if (purpose == LX_ASK_RECEIVE) {
        /* It will be made here; the handover sees to its room. */
        if (err)
            return fill(k, vdev, "");
        snprintf(why, cap, "disk %s: the true copy is here already", vdev);
        return VI_EEXIST;
    }
    if (!err && taken(op, disk, problem, sizeof problem))
        err = VI_ESTATE;
    if (err) {
        snprintf(why, cap, "disk %s: %s", vdev, problem);
        return err;
    }
    err = fill(k, vdev, path);
    return err ? err : note(op, vdev, disk);
}

/* ---- starting again */

void lx_disk_remember(struct lx_op *op)
{
    struct vi_id id;

    op->n_moving = 0;
    for (int i = 0; i < op->config.num_disks && op->n_moving < HV_DISKS_MAX; i++)
        if (op->config.disks[i].vdev && lx_disk_moves(op->lx, &op->config.disks[i], &id))
            (void)note(op, op->config.disks[i].vdev, &id);
}

static libxl_device_disk *disk_at(libxl_domain_config *c, const char *vdev)
{
    for (int i = 0; i < c->num_disks; i++)
        if (c->disks[i].vdev && strcmp(c->disks[i].vdev, vdev) == 0)
            return &c->disks[i];
    return NULL;
}

int lx_disk_find_again(struct lx_op *op, char *why, size_t cap)
{
    char path[DISK_PATH], problem[128];

    for (unsigned i = 0; i < op->n_moving; i++) {
        libxl_device_disk *k = disk_at(&op->config, op->moving[i].vdev);
        int err = VI_EUNSUPPORTED;
        snprintf(problem, sizeof problem, "this host keeps no disks");
        if (op->lx->disks)
            err = disk_host_device(op->lx->disks, &op->moving[i].id, false, path, problem, sizeof problem);
        if (!err && k)
            err = fill(k, op->moving[i].vdev, path);
        if (err) {
            snprintf(why, cap, "disk %s: %s", op->moving[i].vdev, problem);
            return err;
        }
    }
    return 0;
}

/* ---- attach and detach */

/* The guest's configuration as it is now, into op->config. */
static bool read_config(struct lx_op *op)
{
    libxl_domain_config_init(&op->config);
    op->config_set = true;
    if (libxl_retrieve_domain_configuration(op->lx->ctx, op->domid, &op->config, NULL) == 0)
        return true;
    lx_finish(op, VI_EIO, "libxl does not know its configuration");
    return false;
}

static void changed(struct lx_op *op)
{
    struct lx_dom *dom = lx_find(op->lx, op->domid);

    if (dom)
        dom->st.read_at = 0;
}

static void given_up(struct lx_op *op)
{
    changed(op);
    lx_finish(op, VI_EIO, "libxl could not attach it (the agent's log has its words)");
}

static void attached(struct lx_op *op)
{
    changed(op);
    if (op->rc == 0) {
        lx_finish(op, 0, "%s", "");
        return;
    }
    /* What libxl has made of it until it failed would be in the way of the next try. */
    lx_started(op, libxl_device_disk_destroy(op->lx->ctx, op->domid, &op->disk, lx_how(op, given_up)), "attaching");
}

void lx_step_attach(struct lx_op *op)
{
    enum hv_guest_state state;
    char why[160] = "";
    int err;

    if (!lx_guest_state(op, &state, NULL) || !lx_alone(op) || !read_config(op))
        return;
    libxl_device_disk_init(&op->disk);
    op->disk_set = true;
    if (state != HV_RUNNING && state != HV_PAUSED) {
        lx_finish(op, VI_ESTATE, "the guest is %s", hv_state_name(state));
        return;
    }
    if (disk_at(&op->config, op->name)) {
        lx_finish(op, VI_EEXIST, "it has a disk %s", op->name);
        return;
    }
    if (op->config.num_disks >= HV_DISKS_MAX) {
        lx_finish(op, VI_EFULL, "it has as many disks as violin can move");
        return;
    }
    err = lx_disk_build(op, LX_CREATE, op->name, &op->disk_id, &op->disk, why, sizeof why);
    if (err)
        lx_finish(op, err, "%s", why);
    else
        lx_started(op, libxl_device_disk_add(op->lx->ctx, op->domid, &op->disk, lx_how(op, attached)), "attaching");
}

static void detached(struct lx_op *op)
{
    changed(op);
    if (op->rc)
        lx_finish(op, VI_ESTATE, "the guest doesn't let it go: is it mounted there? (libxl error %d)", op->rc);
    else
        lx_finish(op, 0, "%s", "");
}

void lx_step_detach(struct lx_op *op)
{
    enum hv_guest_state state;
    struct vi_id id;

    if (!lx_guest_state(op, &state, NULL) || !lx_alone(op) || !read_config(op))
        return;
    if (state != HV_RUNNING) { /* a guest has to let go of it */
        lx_finish(op, VI_ESTATE, "the guest is %s", hv_state_name(state));
        return;
    }
    for (int i = 0; i < op->config.num_disks; i++)
        if (lx_disk_moves(op->lx, &op->config.disks[i], &id) && vi_id_equal(&id, &op->disk_id)) {
            lx_started(op, libxl_device_disk_safe_remove(op->lx->ctx, op->domid, &op->config.disks[i], lx_how(op, detached)),
                       "detaching");
            return;
        }
    lx_finish(op, VI_ENOTFOUND, "it has no such disk");
}
