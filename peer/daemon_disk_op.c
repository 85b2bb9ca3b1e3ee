/* What handovers ask of this host's disks, disk by disk of a guest: whether they may go, whether they may come, and the
 * core's operations. See daemon_disk.h. */
#include "peer/daemon_disk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/daemon_envmake.h"
#include "peer/daemon_internal.h"
#include "peer/diskask.h"

#define STREAMS_ELSE 8 /* of BULK_STREAMS_MAX, for what isn't a disk's */

/* ---- they go */

static int offer_one(struct daemon *d, const struct hv_disk *disk, struct handover_guest *g, char *why, size_t cap)
{
    const struct disk_info *here = daemon_disk_by_id(d, &disk->id);
    struct handover_disk *k;
    if (g->n_disks == HANDOVER_DISKS) {
        snprintf(why, cap, "more than %d of its disks would have to move with it", HANDOVER_DISKS);
        return VI_EUNSUPPORTED;
    }
    if (!here || here->record.kind != DISK_TRUE) {
        snprintf(why, cap, "its disk %s is %s", disk->vdev, here ? "no true copy here" : "not known here; try again in some seconds");
        return VI_ESTATE;
    }
    k = &g->disks[g->n_disks++];
    memset(k, 0, sizeof *k);
    k->id = disk->id;
    snprintf(k->name, sizeof k->name, "%s", here->record.name);
    k->sectors = here->record.sectors;
    k->generation = here->record.generation;
    k->since = here->record.by;
    return 0;
}

int daemon_disk_offer(struct daemon *d, const struct hv_description *desc, struct handover_guest *g, char *why, size_t cap)
{
    int err = 0;
    for (unsigned i = 0; !err && i < desc->n_disks; i++)
        if (desc->disks[i].kind == HV_DISK_MOVABLE)
            err = offer_one(d, &desc->disks[i], g, why, cap);
    if (!err && g->n_disks && daemon_disk_streams(d) + 2 * g->n_disks > BULK_STREAMS_MAX - STREAMS_ELSE) {
        snprintf(why, cap, "too many disks are being moved to and from this host already");
        err = VI_EFULL;
    }
    return err;
}

/* ---- they come */

struct admitting {
    struct daemon *d;
    struct handover_guest guest;
    disks_admitted *done;
    void *arg;
};

static int admit_one(struct daemon *d, const struct handover_disk *k, uint64_t *sectors, struct vi_id *base, char *why, size_t cap)
{
    const struct disk_info *here = daemon_disk_by_id(d, &k->id);
    bool adopted = here && here->record.below[0];
    if (here && here->record.kind != DISK_OLD) {
        snprintf(why, cap, here->record.kind == DISK_TRUE ? "the true copy of its disk %s is here already"
                                                          : "another handover brings its disk %s", here->record.name);
        return VI_EEXIST;
    }
    if (adopted && here->record.sectors != k->sectors) {
        snprintf(why, cap, "the device that was adopted here for its disk %s is of another size", here->record.name);
        return VI_EUNSUPPORTED;
    }
    if (here && here->record.sectors == k->sectors)
        *base = here->record.by;
    *sectors += adopted ? 0 : k->sectors;
    return 0;
}

static int judge(struct daemon *d, const struct handover_guest *g, struct vi_id bases[HANDOVER_DISKS], char *why, size_t cap)
{
    uint64_t sectors = 0, promised = daemon_disks_promised(d) + envmake_disks_promised(d->envmake->core, NULL);
    int err = 0;
    for (unsigned i = 0; !err && i < g->n_disks; i++)
        err = admit_one(d, &g->disks[i], &sectors, &bases[i], why, cap);
    if (err)
        return err;
    if (d->disks->n + g->n_disks > DISKS_MAX) {
        snprintf(why, cap, "this host has %u disks already, and may have %d", d->disks->n, DISKS_MAX);
        return VI_EFULL;
    }
    if (sectors + promised > d->disks->room) {
        snprintf(why, cap, "its disks need %" PRIu64 " MiB, and this host has %" PRIu64 " MiB for disks", sectors / 2048,
                 (d->disks->room > promised ? d->disks->room - promised : 0) / 2048);
        return VI_EFULL;
    }
    if (daemon_disk_streams(d) > BULK_STREAMS_MAX - STREAMS_ELSE) { /* its own are in it */
        snprintf(why, cap, "too many disks are being moved to and from this host already");
        return VI_EFULL;
    }
    return 0;
}

static void on_listed(void *arg, int err)
{
    struct admitting *a = arg;
    struct vi_id bases[HANDOVER_DISKS] = {0};
    char why[HANDOVER_WHY] = "this host's disks can't be asked";
    if (!err)
        err = judge(a->d, &a->guest, bases, why, sizeof why);
    a->done(a->arg, err, err ? why : "", bases);
    free(a);
}

int daemon_disk_admit(struct daemon *d, const struct handover_guest *g, disks_admitted *done, void *arg)
{
    struct admitting *a = malloc(sizeof *a);
    int err;
    if (!a)
        return VI_ENOMEM;
    a->d = d;
    a->guest = *g;
    a->done = done;
    a->arg = arg;
    err = daemon_disks_ask(d, on_listed, a);
    if (err)
        free(a);
    return err;
}

static bool brings(const struct handover_guest *g, const struct vi_id *disk)
{
    for (unsigned i = 0; i < g->n_disks; i++)
        if (vi_id_equal(&g->disks[i].id, disk))
            return true;
    return false;
}

static unsigned named(const struct hv_description *desc, const struct vi_id *disk)
{
    unsigned n = 0;
    for (unsigned i = 0; i < desc->n_disks; i++)
        n += desc->disks[i].kind == HV_DISK_MOVABLE && vi_id_equal(&desc->disks[i].id, disk);
    return n;
}

bool daemon_disks_agree(const struct hv_description *desc, const struct handover_guest *g)
{
    bool agree = true;
    for (unsigned i = 0; i < desc->n_disks; i++)
        agree &= desc->disks[i].kind != HV_DISK_MOVABLE || brings(g, &desc->disks[i].id);
    for (unsigned i = 0; i < g->n_disks; i++)
        agree &= named(desc, &g->disks[i].id) == 1;
    return agree;
}

size_t daemon_disk_ask_lacks(struct daemon *d, const struct vi_id *guest, uint8_t *out)
{
    const struct hv_guest *g = daemon_guest_by_id(d, guest);
    struct diskask q = {0};
    int n;
    for (unsigned i = 0; g && i < g->n_disks && q.n < DISKASK_MOST; i++) {
        const struct disk_info *k = g->disks[i].kind == HV_DISK_MOVABLE ? daemon_disk_by_id(d, &g->disks[i].id) : NULL;
        if (!k)
            continue;
        q.disk[q.n].id = k->record.id;
        q.disk[q.n].since = k->record.by;
        q.disk[q.n++].sectors = k->record.sectors;
    }
    n = q.n ? diskask_encode(&q, out, DISKASK_SIZE) : 0;
    return n > 0 ? (size_t)n : 0;
}

int daemon_disk_lacks(struct daemon *d, const uint8_t *body, size_t len, uint8_t *out)
{
    struct diskask q;
    uint64_t lacks = 0;
    if (diskask_decode(&q, body, len))
        return VI_EPROTO;
    for (unsigned i = 0; i < q.n; i++) {
        const struct disk_info *k = daemon_disk_by_id(d, &q.disk[i].id);
        if (!k || k->record.kind != DISK_OLD || vi_id_is_zero(&q.disk[i].since) ||
            !vi_id_equal(&k->record.by, &q.disk[i].since) || k->record.sectors != q.disk[i].sectors)
            lacks += q.disk[i].sectors;
    }
    return diskask_answer_encode(lacks, out, DISKASK_SIZE);
}

/* ---- the core's operations */

void disk_op_part(struct disk_op *op, int err, const char *why)
{
    if (err && !op->err) {
        op->err = err;
        snprintf(op->why, sizeof op->why, "%s", why);
    }
    if (--op->left > 0)
        return;
    if (op->err && op->ends)
        daemon_disk_end(op->d, &op->handover);
    daemon_disks_changed(op->d);
    op->done(op->arg, op->err, op->why);
    free(op);
}

static void on_part(void *arg, int err, const char *detail)
{
    struct disk_op *op = arg;
    if (err)
        vi_log(VI_LOG_INFO, "disk", "%s", detail);
    disk_op_part(op, err, detail);
}

static int ask(struct daemon *d, const struct handover_effect *fx, const struct handover_disk *k, struct disk_op *op)
{
    struct disks *s = d->disks->ops;
    const struct vi_id *h = &fx->id;
    switch (fx->op) {
    case HANDOVER_OP_FINISH: return s->ops->finish(s, h, &k->id, on_part, op);
    case HANDOVER_OP_UNMIRROR: return s->ops->unmirror(s, h, &k->id, on_part, op);
    case HANDOVER_OP_RETIRE: return s->ops->retire(s, h, &k->id, k->generation, on_part, op);
    case HANDOVER_OP_MAKE: return s->ops->make(s, h, &k->id, k->name, k->sectors, k->base, on_part, op);
    case HANDOVER_OP_COMPLETE: return s->ops->complete(s, h, &k->id, on_part, op);
    case HANDOVER_OP_OWN: return s->ops->own(s, h, &k->id, k->generation + 1, on_part, op);
    case HANDOVER_OP_DISCARD: return s->ops->discard(s, h, &k->id, on_part, op);
    default: return VI_EINVAL;
    }
}

static void ask_all(struct daemon *d, const struct handover_effect *fx, struct disk_op *op)
{
    for (unsigned i = 0; i < fx->guest->n_disks; i++) {
        int err;
        op->left++;
        err = ask(d, fx, &fx->guest->disks[i], op);
        if (err)
            disk_op_part(op, err, "this host's disks can't be asked");
    }
}

void daemon_disk_do(struct daemon *d, const struct handover_effect *fx, hv_done *done, void *arg)
{
    struct disk_op *op = calloc(1, sizeof *op);
    if (!op || !d->disks->ops) {
        done(arg, op ? VI_EUNSUPPORTED : VI_ENOMEM, op ? "this host has no disks" : "out of memory");
        free(op);
        return;
    }
    /* left: one more than disks, for it isn't over while they are being asked */
    *op = (struct disk_op){.d = d, .handover = fx->id, .ends = fx->op == HANDOVER_OP_FINISH, .left = 1, .done = done, .arg = arg};
    if (fx->op == HANDOVER_OP_FINISH)
        disk_move_settle(d, &fx->id);
    if (fx->op == HANDOVER_OP_UNMIRROR || fx->op == HANDOVER_OP_DISCARD)
        daemon_disk_end(d, &fx->id);
    if (fx->op == HANDOVER_OP_MIRROR)
        disk_move_mirror(d, fx, op);
    else
        ask_all(d, fx, op);
    disk_op_part(op, 0, "");
}
