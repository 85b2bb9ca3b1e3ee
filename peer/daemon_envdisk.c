/* The writable disks of guests that violin makes (envmake.h): made and removed through struct disks, asked for afresh each
 * time, so that a question which is asked again, also by a peer that was started again, does what is still to be done. And
 * old copies that handovers have left here of guests that are another host's: once their environment is removed nobody
 * needs them as a base any more, and they go.
 *
 *   make   list → create the first that isn't here → list …        wipe   list → remove the first that is → list …  */
#include "peer/daemon_envmake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/daemon_disk.h"

#define SWEEP_EVERY (5 * VI_SEC)

enum task { MAKE, WIPE, ROOM, THERE };

struct envdisks {
    struct daemon *d;
    enum task task;
    struct hv_description desc;
    struct envmake_disks disks;
    unsigned steps; /* of one make or wipe: more than there are disks can't be */
    hv_done *done;
    void *arg;
};

static void end(struct envdisks *t, int err, const char *why)
{
    daemon_disks_changed(t->d);
    t->done(t->arg, err, why);
    free(t);
}

static const struct disk_info *find(const struct disk_info *all, unsigned n, const struct vi_id *id)
{
    for (unsigned i = 0; i < n; i++)
        if (vi_id_equal(&all[i].record.id, id))
            return &all[i];
    return NULL;
}

static void look(struct envdisks *t);

static void on_step(void *arg, int err, const char *detail)
{
    struct envdisks *t = arg;
    if (t->task == MAKE && err == VI_EEXIST)
        err = VI_EAGAIN; /* the list showed none: a peer before us has asked for it */
    if (t->task == WIPE && err == VI_ENOTFOUND)
        err = 0;
    if (err || ++t->steps > ENVMAKE_DISKS)
        end(t, err ? err : VI_EAGAIN, detail);
    else
        look(t);
}

static void on_progress(void *arg, uint64_t in_sync, uint64_t sectors, uint64_t to_copy)
{
    struct envdisks *t = arg;
    (void)sectors;
    if (to_copy)
        envmake_copied(t->d->envmake->core, &t->desc.uuid, (unsigned)(100 * (in_sync < to_copy ? in_sync : to_copy) / to_copy));
}

/* Old copies of a guest that had this name before may be here still: then with some digits of its own. */
static void name_of(const struct envdisks *t, unsigned place, const struct vi_id *id, const struct disk_info *all, unsigned n,
                    char name[HV_NAME_MAX])
{
    bool taken = false;
    size_t len;
    envmake_disk_name(t->desc.name, place, name);
    for (unsigned i = 0; i < n; i++)
        taken |= !strcmp(all[i].record.name, name);
    len = strlen(name);
    if (taken)
        snprintf(name + len, HV_NAME_MAX - len, "-%02x%02x", id->b[0], id->b[1]);
}

static void make(struct envdisks *t, const struct disk_info *all, unsigned n)
{
    static const uint8_t none[HV_HASH_SIZE];
    const struct disks_ops *ops = daemon_disks(t->d)->ops->ops;
    char name[HV_NAME_MAX], why[ENVMAKE_WHY];
    for (unsigned i = 0; i < ENVMAKE_DISKS; i++) {
        const struct disk_info *k;
        struct vi_id id;
        int err;
        if (!t->disks.sectors[i])
            continue;
        envmake_disk_id(&t->desc.uuid, i, &id);
        k = find(all, n, &id);
        if (k && k->record.kind == DISK_TRUE)
            continue;
        name_of(t, i, &id, all, n, name);
        snprintf(why, sizeof why, "its disk %s is on the host already, as %s: violin disk list", k ? k->record.name : name,
                 k && k->record.kind == DISK_OLD ? "an old copy" : "one that arrives");
        err = k ? VI_ESTATE : 0;
        if (!err) {
            const uint8_t *image = memcmp(t->disks.image[i], none, HV_HASH_SIZE) ? t->disks.image[i] : NULL;
            snprintf(why, sizeof why, "the host's disks can't be asked");
            err = ops->create(daemon_disks(t->d)->ops, &id, name, t->disks.sectors[i], image, on_progress, on_step, t);
        }
        if (err)
            end(t, err, why);
        return;
    }
    end(t, 0, "");
}

static void wipe(struct envdisks *t)
{
    const struct disks_ops *ops = daemon_disks(t->d)->ops->ops;
    struct vi_id id;
    unsigned i = t->steps; /* each is asked for: one that is being made isn't listed */
    int err;
    while (i < ENVMAKE_DISKS && !t->disks.sectors[i])
        i++;
    if (i == ENVMAKE_DISKS) {
        end(t, 0, "");
        return;
    }
    t->steps = i;
    envmake_disk_id(&t->desc.uuid, i, &id);
    err = ops->remove(daemon_disks(t->d)->ops, &id, on_step, t);
    if (err)
        end(t, err, "the host's disks can't be asked");
}

static void room(struct envdisks *t, uint64_t sectors)
{
    uint64_t promised = envmake_disks_promised(t->d->envmake->core, &t->desc.uuid) + daemon_disks_promised(t->d), wanted = 0;
    char why[ENVMAKE_WHY];
    for (unsigned i = 0; i < ENVMAKE_DISKS; i++)
        wanted += t->disks.sectors[i];
    if (wanted + promised <= sectors) {
        end(t, 0, "");
        return;
    }
    snprintf(why, sizeof why, "no room for its disks: %llu MiB are wanted, %llu are there, %llu of them promised",
             (unsigned long long)(wanted / 2048), (unsigned long long)(sectors / 2048), (unsigned long long)(promised / 2048));
    end(t, VI_EFULL, why);
}

static void there(struct envdisks *t, const struct disk_info *all, unsigned n)
{
    char why[ENVMAKE_WHY];
    for (unsigned i = 0; i < t->desc.n_disks; i++) {
        const struct hv_disk *k = &t->desc.disks[i];
        const struct disk_info *has = k->kind == HV_DISK_MOVABLE ? find(all, n, &k->id) : NULL;
        bool moving = has && handover_has_disk(t->d->handovers, &k->id);
        if (k->kind != HV_DISK_MOVABLE || (has && has->record.kind == DISK_TRUE && !moving))
            continue;
        if (moving)
            snprintf(why, sizeof why, "its disk %s (%s) is in a move that isn't over: violin handover list", k->vdev, has->record.name);
        else if (has)
            snprintf(why, sizeof why, "its disk %s (%s) here is %s: it isn't started from that", k->vdev, has->record.name,
                     has->record.kind == DISK_OLD ? "an old copy" : "not whole yet");
        else
            snprintf(why, sizeof why, "its disk %s isn't on this host (any more): violin disk list", k->vdev);
        end(t, VI_ESTATE, why);
        return;
    }
    end(t, 0, "");
}

static void on_list(void *arg, int err, const char *detail, const struct disk_info *all, unsigned n, uint64_t sectors)
{
    struct envdisks *t = arg;
    if (err)
        end(t, err, detail);
    else if (t->task == MAKE)
        make(t, all, n);
    else if (t->task == ROOM)
        room(t, sectors);
    else
        there(t, all, n);
}

static void look(struct envdisks *t)
{
    struct disks *k = daemon_disks(t->d)->ops;
    int err;
    if (t->task == WIPE) {
        wipe(t);
        return;
    }
    err = k->ops->list(k, on_list, t);
    if (err)
        end(t, err, "the host's disks can't be asked");
}

static int begin(struct daemon *d, enum task task, const struct hv_description *desc, const struct envmake_disks *disks,
                 hv_done *done, void *arg)
{
    struct disks *k = daemon_disks(d)->ops;
    struct envdisks *t;
    int err;
    if (!k)
        return VI_EUNSUPPORTED;
    t = calloc(1, sizeof *t);
    if (!t)
        return VI_ENOMEM;
    *t = (struct envdisks){.d = d, .task = task, .desc = *desc, .done = done, .arg = arg};
    if (disks)
        t->disks = *disks;
    if (task == WIPE) { /* the first remove() is asked for here: an error then ends it before it began */
        wipe(t);
        return 0;
    }
    err = k->ops->list(k, on_list, t);
    if (err)
        free(t);
    return err;
}

int daemon_envdisk_make(struct daemon *d, const struct hv_description *desc, const struct envmake_disks *disks, hv_done *done,
                        void *arg)
{
    return begin(d, MAKE, desc, disks, done, arg);
}

int daemon_envdisk_wipe(struct daemon *d, const struct hv_description *desc, const struct envmake_disks *disks, hv_done *done,
                        void *arg)
{
    return begin(d, WIPE, desc, disks, done, arg);
}

int daemon_envdisk_room(struct daemon *d, const struct hv_description *desc, const struct envmake_disks *disks, hv_done *done,
                        void *arg)
{
    return begin(d, ROOM, desc, disks, done, arg);
}

int daemon_envdisk_there(struct daemon *d, const struct hv_description *desc, hv_done *done, void *arg)
{
    return begin(d, THERE, desc, NULL, done, arg);
}

bool daemon_envdisk_has(const struct hv_description *desc)
{
    for (unsigned i = 0; i < desc->n_disks; i++)
        if (desc->disks[i].kind == HV_DISK_MOVABLE)
            return true;
    return false;
}

void daemon_envdisk_as_images(struct hv_description *desc, const struct envmake_disks *disks)
{
    static const uint8_t none[HV_HASH_SIZE];
    unsigned n = 0;
    for (unsigned i = 0; i < desc->n_disks; i++) {
        struct hv_disk k = desc->disks[i];
        struct vi_id id;
        unsigned p = 0;
        for (; k.kind == HV_DISK_MOVABLE && p < ENVMAKE_DISKS; p++) {
            envmake_disk_id(&desc->uuid, p, &id);
            if (vi_id_equal(&id, &k.id))
                break;
        }
        if (k.kind == HV_DISK_MOVABLE) {
            if (p == ENVMAKE_DISKS || !memcmp(disks->image[p], none, HV_HASH_SIZE))
                continue;
            k.kind = HV_DISK_IMAGE;
            k.readonly = true;
            memcpy(k.hash, disks->image[p], HV_HASH_SIZE);
        }
        desc->disks[n++] = k;
    }
    desc->n_disks = n;
}

/* ---- old copies that are left here ---- */

static struct left_disk *left_place(struct envmake_daemon *e, const struct vi_id *disk)
{
    struct left_disk *place = NULL;
    for (unsigned i = 0; i < DISKS_MAX; i++) {
        if (e->left[i].used && vi_id_equal(&e->left[i].disk, disk))
            return &e->left[i];
        if (!e->left[i].used && !place)
            place = &e->left[i];
    }
    return place;
}

static bool one_left(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    struct daemon *d = arg;
    struct left_disk *l = len == VI_ID_SIZE ? left_place(d->envmake, key) : NULL;
    if (!l)
        return true; /* a copy more that waits for its room to be needed */
    l->used = true;
    l->disk = *key;
    memcpy(l->env.b, value, VI_ID_SIZE);
    return true;
}

void daemon_envdisk_load(struct daemon *d)
{
    if (store_each(d->store, STORE_LEFT_DISK, one_left, d))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
}

void daemon_envdisk_left(void *arg, const struct vi_id *env, const struct vi_id *guest, const struct envmake_disks *disks)
{
    struct daemon *d = arg;
    for (unsigned i = 0; i < ENVMAKE_DISKS; i++) {
        struct left_disk *l;
        struct vi_id id;
        if (!disks->sectors[i])
            continue;
        envmake_disk_id(guest, i, &id);
        l = left_place(d->envmake, &id);
        if (!l || store_put(d->store, STORE_LEFT_DISK, &id, env->b, VI_ID_SIZE)) {
            vi_log(VI_LOG_WARN, "disk", "an old copy that is left here can't be noted: it stays until its room is needed");
            continue;
        }
        *l = (struct left_disk){.used = true, .disk = id, .env = *env};
    }
}

static void forget_left(struct daemon *d, struct left_disk *l)
{
    (void)store_delete(d->store, STORE_LEFT_DISK, &l->disk); /* else it is looked at once more, after a restart */
    l->used = false;
}

void daemon_envdisk_back(struct daemon *d, const struct vi_id *guest)
{
    for (unsigned i = 0; i < ENVMAKE_DISKS; i++) {
        struct left_disk *l;
        struct vi_id id;
        envmake_disk_id(guest, i, &id);
        l = left_place(d->envmake, &id);
        if (l && l->used)
            forget_left(d, l);
    }
}

struct sweeping {
    struct daemon *d;
    struct vi_id disk;
};

static void on_removed(void *arg, int err, const char *detail)
{
    struct sweeping *s = arg;
    struct left_disk *l = left_place(s->d->envmake, &s->disk);
    s->d->envmake->sweeping--;
    if (l && l->used && (!err || err == VI_ENOTFOUND))
        forget_left(s->d, l);
    else if (err)
        vi_log(VI_LOG_INFO, "disk", "an old copy of a removed environment can't go yet: %s", detail);
    daemon_disks_changed(s->d);
    free(s);
}

/* Only an old copy: of what else is here under its id somebody else takes care. */
static void sweep(struct daemon *d, struct left_disk *l)
{
    const struct disk_info *k = daemon_disk_by_id(d, &l->disk);
    struct disks *all = daemon_disks(d)->ops;
    struct sweeping *s;
    if (!k) {
        forget_left(d, l);
        return;
    }
    if (k->record.kind != DISK_OLD)
        return;
    s = malloc(sizeof *s);
    if (!s)
        return;
    *s = (struct sweeping){d, l->disk};
    if (all->ops->remove(all, &l->disk, on_removed, s))
        free(s);
    else
        d->envmake->sweeping++;
}

void daemon_envdisk_tick(struct daemon *d, vi_time now)
{
    const struct daemon_disks *k = daemon_disks(d);
    if (now < d->envmake->next_sweep || d->envmake->sweeping || !k->ops || !k->known)
        return;
    d->envmake->next_sweep = now + SWEEP_EVERY;
    for (unsigned i = 0; i < DISKS_MAX; i++)
        if (d->envmake->left[i].used && daemon_envmake_env_gone(d, &d->envmake->left[i].env))
            sweep(d, &d->envmake->left[i]);
}
