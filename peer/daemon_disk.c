/* The daemon's view of its host's disks: kept up to date by looking, as that of the guests is. See daemon_disk.h. */
#include "peer/daemon_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/daemon_internal.h"

#define LOOK_EVERY (5 * VI_SEC)

int daemon_disks_open(struct daemon *d, struct disks *ops, char *why, size_t cap)
{
    d->disks = calloc(1, sizeof *d->disks);
    if (!d->disks) {
        snprintf(why, cap, "out of memory");
        return VI_ENOMEM;
    }
    d->disks->ops = ops;
    LIST_INIT(&d->disks->moves);
    return 0;
}

void daemon_disks_free(struct daemon *d)
{
    free(d->disks);
    d->disks = NULL;
}

static void take(struct daemon_disks *k, int err, const struct disk_info *disks, unsigned n, uint64_t room)
{
    if (err)
        return;
    k->known = true;
    k->room = room;
    k->n = n < DISKS_MAX ? n : DISKS_MAX;
    if (k->n)
        memcpy(k->disk, disks, k->n * sizeof *disks);
}

static void on_list(void *arg, int err, const char *detail, const struct disk_info *disks, unsigned n, uint64_t room)
{
    struct daemon_disks *k = ((struct daemon *)arg)->disks;
    (void)detail;
    k->looking = false;
    take(k, err, disks, n, room);
}

struct asking {
    struct daemon *d;
    void (*then)(void *arg, int err);
    void *arg;
};

static void on_asked(void *arg, int err, const char *detail, const struct disk_info *disks, unsigned n, uint64_t room)
{
    struct asking *a = arg;
    (void)detail;
    take(a->d->disks, err, disks, n, room);
    a->then(a->arg, err);
    free(a);
}

int daemon_disks_ask(struct daemon *d, void (*then)(void *arg, int err), void *arg)
{
    struct daemon_disks *k = d->disks;
    struct asking *a = k->ops ? malloc(sizeof *a) : NULL;
    int err;
    if (!a)
        return k->ops ? VI_ENOMEM : VI_EUNSUPPORTED;
    *a = (struct asking){.d = d, .then = then, .arg = arg};
    err = k->ops->ops->list(k->ops, on_asked, a);
    if (err)
        free(a);
    return err;
}

void daemon_disks_tick(struct daemon *d, vi_time now)
{
    struct daemon_disks *k = d->disks;
    if (now >= k->next_turn) {
        k->next_turn = now + VI_SEC;
        disk_moves_turn(d);
    }
    if (!k->ops || k->looking || (!k->again && now < k->next_look))
        return;
    k->again = false;
    k->next_look = now + LOOK_EVERY;
    k->looking = k->ops->ops->list(k->ops, on_list, d) == 0;
}

void daemon_disks_changed(struct daemon *d)
{
    d->disks->again = true;
}

const struct daemon_disks *daemon_disks(const struct daemon *d)
{
    return d->disks;
}

const struct disk_info *daemon_disk_by_id(const struct daemon *d, const struct vi_id *id)
{
    for (unsigned i = 0; i < d->disks->n; i++)
        if (vi_id_equal(&d->disks->disk[i].record.id, id))
            return &d->disks->disk[i];
    return NULL;
}

const struct disk_info *daemon_disk_by_name(const struct daemon *d, const char *name_or_id)
{
    struct vi_id id;
    for (unsigned i = 0; i < d->disks->n; i++)
        if (!strcmp(d->disks->disk[i].record.name, name_or_id))
            return &d->disks->disk[i];
    return vi_id_parse(&id, name_or_id) ? NULL : daemon_disk_by_id(d, &id);
}

const struct hv_guest *daemon_disk_guest(const struct daemon *d, const struct vi_id *id)
{
    for (unsigned i = 0; i < d->n_guests; i++)
        for (unsigned k = 0; k < d->guests[i].n_disks; k++) {
            const struct hv_disk *disk = &d->guests[i].disks[k];
            if (disk->kind == HV_DISK_MOVABLE && vi_id_equal(&disk->id, id))
                return &d->guests[i];
        }
    return NULL;
}

uint64_t daemon_disk_kb(const struct daemon *d, const struct hv_guest *g)
{
    uint64_t sectors = 0;
    for (unsigned i = 0; i < g->n_disks; i++) {
        const struct disk_info *k = g->disks[i].kind == HV_DISK_MOVABLE ? daemon_disk_by_id(d, &g->disks[i].id) : NULL;
        sectors += k ? k->record.sectors : 0;
    }
    return sectors / 2;
}

uint64_t daemon_disks_promised(const struct daemon *d)
{
    return d->handovers ? handover_promised_sectors(d->handovers) : 0;
}
