/* A host's disks, in the process that has root. See disk_host.h; what belongs to which thread, disk_host_internal.h.
 *
 * Happy path of an operation: a job → the store's thread does it, and notes what disks there are now → the loop calls back.
 * Each operation on a disk that a copy has in hand ends that first, where it may (disk_host_copy.c). At the end: copies are
 * stopped, jobs that haven't begun are answered with VI_ECANCELED, and when no thread is left the host goes. */
#include "xen/disk_host.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/base/log.h"
#include "xen/disk_host_internal.h"

#define TICK_MS 1000

/* ---- threads and jobs */

int disk_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
    sigset_t all, before;
    int err;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(thread, NULL, run, arg) ? VI_ENOMEM : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

struct disk_job *disk_job_new(struct disk_host *h, hv_done *done, void *arg, int *err)
{
    struct disk_job *j = NULL;
    *err = h->closing ? VI_ECANCELED : h->n_jobs >= DISK_JOBS_MAX ? VI_EFULL : 0;
    if (!*err)
        j = calloc(1, sizeof *j);
    if (!*err && !j)
        *err = VI_ENOMEM;
    if (!j)
        return NULL;
    j->host = h;
    j->done = done;
    j->arg = arg;
    h->n_jobs++;
    return j;
}

static void put_finished(struct disk_job *j)
{
    struct disk_host *h = j->host;
    j->next = NULL;
    *h->finished_last = j;
    h->finished_last = &j->next;
}

void disk_job_submit(struct disk_job *j, void (*work)(struct disk_job *), void (*after)(struct disk_job *))
{
    struct disk_host *h = j->host;
    j->work = work;
    j->after = after;
    pthread_mutex_lock(&h->lock);
    if (h->ended) {
        j->err = VI_ECANCELED;
        put_finished(j);
        uv_async_send(&h->wake);
    } else {
        j->next = NULL;
        *h->queue_last = j;
        h->queue_last = &j->next;
        pthread_cond_signal(&h->work);
    }
    pthread_mutex_unlock(&h->lock);
}

static void *run_apart(void *arg)
{
    struct disk_job *j = arg;
    struct disk_host *h = j->host;
    j->work(j);
    pthread_mutex_lock(&h->lock);
    put_finished(j);
    h->apart--;
    uv_async_send(&h->wake);
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

void disk_job_apart(struct disk_job *j, void (*work)(struct disk_job *), void (*after)(struct disk_job *))
{
    struct disk_host *h = j->host;
    pthread_t thread;
    j->work = work;
    j->after = after;
    pthread_mutex_lock(&h->lock);
    h->apart++;
    pthread_mutex_unlock(&h->lock);
    if (disk_thread(&thread, run_apart, j) == 0) {
        pthread_detach(thread);
        return;
    }
    j->err = VI_ENOMEM;
    pthread_mutex_lock(&h->lock);
    h->apart--;
    put_finished(j);
    uv_async_send(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

void disk_job_done(struct disk_job *j)
{
    const char *why = j->why[0] || !j->err ? j->why : vi_strerror(j->err);
    j->host->n_jobs--;
    if (j->list_done)
        j->list_done(j->arg, j->err, why, j->list, j->n, j->room);
    else
        j->done(j->arg, j->err, why);
    free(j->list);
    free(j);
}

void disk_job_later(struct disk_job *j, int err, const char *why)
{
    struct disk_host *h = j->host;
    j->err = err;
    j->after = NULL;
    snprintf(j->why, sizeof j->why, "%s", why);
    pthread_mutex_lock(&h->lock);
    put_finished(j);
    pthread_mutex_unlock(&h->lock);
    uv_async_send(&h->wake);
}

/* ---- the store's thread */

/* Devices that are known aren't asked for again: they stay as long as their disk is what it is. */
static const char *seen_before(const struct disk_host *h, unsigned n, const struct vi_id *id)
{
    for (unsigned i = 0; i < n; i++)
        if (vi_id_equal(&h->before[i].record.id, id) && h->before[i].record.kind != DISK_OLD)
            return h->before[i].device;
    return "";
}

static void look_at_store(struct disk_host *h)
{
    unsigned n, n_before = h->n_seen; /* this thread alone writes it */
    memcpy(h->before, h->seen, n_before * sizeof h->before[0]);
    n = disk_store_count(h->store);
    for (unsigned i = 0; i < n; i++) {
        const struct disk_record *r = disk_store_at(h->store, i);
        char device[DISK_PATH] = "", below[DISK_PATH], why[DISK_WHY] = "";
        if (r->kind != DISK_OLD)
            snprintf(device, sizeof device, "%s", seen_before(h, n_before, &r->id));
        if (r->kind != DISK_OLD && !device[0] && disk_store_device(h->store, &r->id, device, below, why, sizeof why)) {
            vi_log(VI_LOG_WARN, "disk", "%s has no device: %s", r->name, why);
            device[0] = '\0';
        }
        pthread_mutex_lock(&h->lock);
        h->seen[i].record = *r;
        snprintf(h->seen[i].device, sizeof h->seen[i].device, "%s", device);
        pthread_mutex_unlock(&h->lock);
    }
    pthread_mutex_lock(&h->lock);
    h->n_seen = n;
    pthread_mutex_unlock(&h->lock);
}

static void *run_store(void *arg)
{
    struct disk_host *h = arg;
    struct disk_job *j;
    bool end;
    for (;;) {
        pthread_mutex_lock(&h->lock);
        while (!h->queue && !h->end)
            pthread_cond_wait(&h->work, &h->lock);
        j = h->queue;
        end = h->end;
        if (j && !(h->queue = j->next))
            h->queue_last = &h->queue;
        if (!j)
            h->ended = true;
        pthread_mutex_unlock(&h->lock);
        if (!j)
            break;
        if (end) {
            j->err = VI_ECANCELED;
        } else {
            j->work(j);
            look_at_store(h);
        }
        pthread_mutex_lock(&h->lock);
        put_finished(j);
        pthread_mutex_unlock(&h->lock);
        uv_async_send(&h->wake);
    }
    uv_async_send(&h->wake);
    return NULL;
}

/* ---- operations that the store does */

static void list_work(struct disk_job *j)
{
    struct disk_host *h = j->host;
    unsigned n = disk_store_count(h->store);
    j->room = disk_store_room(h->store);
    j->list = calloc(n ? n : 1, sizeof *j->list);
    if (!j->list) {
        j->err = VI_ENOMEM;
        return;
    }
    j->n = n;
    for (unsigned i = 0; i < n; i++) {
        struct disk_info *d = &j->list[i];
        d->record = *disk_store_at(h->store, i);
        d->busy = disk_store_used(h->store, &d->record.id);
        d->since = disk_store_since(h->store, &d->record.id);
        for (unsigned k = 0; k < h->n_seen; k++) /* this thread alone writes it */
            if (vi_id_equal(&h->seen[k].record.id, &d->record.id))
                memcpy(d->device, h->seen[k].device, sizeof d->device);
    }
}

static void listed(struct disk_job *j)
{
    for (unsigned i = 0; i < j->n; i++)
        j->list[i].busy |= disk_way_running(j->host, &j->list[i].record.id);
    disk_job_done(j);
}

static int op_list(struct disks *s, disks_list_done *done, void *arg)
{
    int err;
    struct disk_job *j = disk_job_new((struct disk_host *)s, NULL, arg, &err);
    if (!j)
        return err;
    j->list_done = done;
    disk_job_submit(j, list_work, listed);
    return 0;
}

struct disk_job *disk_job_of(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg, int *err)
{
    struct disk_job *j = disk_job_new((struct disk_host *)s, done, arg, err);
    if (!j)
        return NULL;
    j->handover = *handover;
    j->id = *id;
    return j;
}

/* What its copy was isn't asked for any more. */
static void settled(struct disk_job *j)
{
    if (!j->err)
        disk_way_forget(j->host, &j->id);
    disk_job_done(j);
}

static void remove_work(struct disk_job *j)
{
    j->err = disk_store_remove(j->host->store, &j->id, j->why, sizeof j->why);
}

static int op_remove(struct disks *s, const struct vi_id *id, hv_done *done, void *arg)
{
    struct disk_host *h = (struct disk_host *)s;
    int err;
    struct disk_job *j = disk_job_new(h, done, arg, &err);
    if (!j)
        return err;
    j->id = *id;
    if (disk_way_running(h, id))
        disk_job_later(j, VI_ESTATE, "it is being copied");
    else if (disk_being_made(h, id))
        disk_job_later(j, VI_ESTATE, "it is being made");
    else
        disk_job_submit(j, remove_work, settled);
    return 0;
}

static void make_work(struct disk_job *j)
{
    j->err = disk_store_make(j->host->store, &j->handover, &j->id, j->name, j->sectors, j->base, j->why, sizeof j->why);
}

static int op_make(struct disks *s, const struct vi_id *handover, const struct vi_id *id, const char *name, uint64_t sectors,
                   bool base, hv_done *done, void *arg)
{
    int err;
    struct disk_job *j = disk_job_of(s, handover, id, done, arg, &err);
    if (!j)
        return err;
    snprintf(j->name, sizeof j->name, "%s", name);
    j->sectors = sectors;
    j->base = base;
    if (sectors == 0 || sectors > DISK_SECTORS_MAX)
        disk_job_later(j, VI_EINVAL, "its size is out of range");
    else if (disk_being_made(j->host, id))
        disk_job_later(j, VI_ESTATE, "it is being made here");
    else
        disk_job_submit(j, make_work, NULL);
    return 0;
}

static void own_work(struct disk_job *j)
{
    j->err = disk_store_own(j->host->store, &j->handover, &j->id, j->generation, j->why, sizeof j->why);
}

static void own_go(struct disk_job *j)
{
    disk_job_submit(j, own_work, settled);
}

static void retire_work(struct disk_job *j)
{
    j->err = disk_store_retire(j->host->store, &j->handover, &j->id, j->generation, j->why, sizeof j->why);
}

static void retire_go(struct disk_job *j)
{
    disk_job_submit(j, retire_work, settled);
}

static void discard_work(struct disk_job *j)
{
    j->err = disk_store_discard(j->host->store, &j->handover, &j->id, j->why, sizeof j->why);
}

static void discard_go(struct disk_job *j)
{
    disk_job_submit(j, discard_work, settled);
}

static int op_own(struct disks *s, const struct vi_id *handover, const struct vi_id *id, uint64_t generation, hv_done *done,
                  void *arg)
{
    int err;
    struct disk_job *j = disk_job_of(s, handover, id, done, arg, &err);
    if (!j)
        return err;
    j->generation = generation;
    disk_way_end_then(j, false, own_go);
    return 0;
}

static int op_retire(struct disks *s, const struct vi_id *handover, const struct vi_id *id, uint64_t generation, hv_done *done,
                     void *arg)
{
    int err;
    struct disk_job *j = disk_job_of(s, handover, id, done, arg, &err);
    if (!j)
        return err;
    j->generation = generation;
    disk_way_end_then(j, true, retire_go);
    return 0;
}

static int op_discard(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg)
{
    int err;
    struct disk_job *j = disk_job_of(s, handover, id, done, arg, &err);
    if (!j)
        return err;
    disk_way_end_then(j, false, discard_go);
    return 0;
}

/* ---- for the hypervisor */

int disk_host_device(struct disks *s, const struct vi_id *id, bool arriving, char path[DISK_PATH], char *why, size_t cap)
{
    struct disk_host *h = (struct disk_host *)s;
    const struct disk_seen *d = NULL;
    int err = 0;
    pthread_mutex_lock(&h->lock);
    for (unsigned i = 0; i < h->n_seen && !d; i++)
        if (vi_id_equal(&h->seen[i].record.id, id))
            d = &h->seen[i];
    if (!d)
        err = VI_ENOTFOUND;
    else if (d->record.kind == DISK_OLD || (d->record.kind == DISK_ARRIVING && !arriving))
        err = VI_ESTATE;
    else if (!d->device[0])
        err = VI_EIO;
    if (!err)
        memcpy(path, d->device, DISK_PATH);
    if (err == VI_ENOTFOUND)
        snprintf(why, cap, "this host has no such disk");
    else if (err)
        snprintf(why, cap, "disk %s %s", d->record.name,
                 err == VI_EIO                      ? "has no device here; the agent's log says why"
                 : d->record.kind == DISK_OLD       ? "is an old copy here: its guest has moved, nothing starts from it"
                                                    : "is on its way here and not whole yet");
    pthread_mutex_unlock(&h->lock);
    return err;
}

bool disk_host_find(struct disks *s, const char *device, struct vi_id *id)
{
    struct disk_host *h = (struct disk_host *)s;
    struct stat it, one;
    bool found = false, block = stat(device, &it) == 0 && S_ISBLK(it.st_mode);
    pthread_mutex_lock(&h->lock);
    for (unsigned i = 0; i < h->n_seen && !found; i++) {
        char name[DISK_NAME], path[DISK_PATH] = "";
        disk_device_name(h->seen[i].record.name, name);
        if (h->files)
            snprintf(path, sizeof path, "%s", h->seen[i].device);
        else
            snprintf(path, sizeof path, "/dev/mapper/%s", name); /* also of one that is old by now: a guest may have it still */
        found = path[0] && (strcmp(path, device) == 0 || (block && stat(path, &one) == 0 && one.st_rdev == it.st_rdev));
        if (found)
            *id = h->seen[i].record.id;
    }
    pthread_mutex_unlock(&h->lock);
    return found;
}

bool disk_host_named(struct disks *s, const char *name, struct vi_id *id)
{
    struct disk_host *h = (struct disk_host *)s;
    bool found = false;
    pthread_mutex_lock(&h->lock);
    for (unsigned i = 0; i < h->n_seen && !found; i++) {
        found = strcmp(h->seen[i].record.name, name) == 0;
        if (found)
            *id = h->seen[i].record.id;
    }
    pthread_mutex_unlock(&h->lock);
    return found;
}

/* ---- life */

static void handle_closed(uv_handle_t *handle)
{
    struct disk_host *h = handle->data;
    if (--h->handles)
        return;
    disk_ways_free(h);
    disk_store_close(h->store);
    images_free(h->images);
    pthread_mutex_destroy(&h->lock);
    pthread_mutex_destroy(&h->images_lock);
    pthread_cond_destroy(&h->work);
    free(h);
}

void disk_host_try_end(struct disk_host *h)
{
    bool over;
    if (!h->closing || h->n_running || h->n_jobs || uv_is_closing((uv_handle_t *)&h->wake))
        return;
    pthread_mutex_lock(&h->lock);
    over = h->ended && !h->apart && !h->finished;
    pthread_mutex_unlock(&h->lock);
    if (!over)
        return;
    pthread_join(h->thread, NULL);
    uv_close((uv_handle_t *)&h->wake, handle_closed);
    uv_close((uv_handle_t *)&h->tick, handle_closed);
}

static void on_wake(uv_async_t *wake)
{
    struct disk_host *h = wake->data;
    struct disk_job *j, *next;
    pthread_mutex_lock(&h->lock);
    j = h->finished;
    h->finished = NULL;
    h->finished_last = &h->finished;
    pthread_mutex_unlock(&h->lock);
    for (; j; j = next) {
        next = j->next;
        if (j->after)
            j->after(j);
        else
            disk_job_done(j);
    }
    disk_ways_look(h);
    disk_makings_look(h);
    disk_host_try_end(h);
}

static void on_tick(uv_timer_t *tick)
{
    disk_ways_late(tick->data);
}

static void op_close(struct disks *s)
{
    struct disk_host *h = (struct disk_host *)s;
    if (h->closing)
        return;
    h->closing = true;
    disk_ways_stop(h);
    pthread_mutex_lock(&h->lock);
    h->end = true;
    pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->lock);
}

static const struct disks_ops ops = {
    .list = op_list, .create = disk_make_create, .adopt = disk_make_adopt, .remove = op_remove,
    .mirror = disk_way_mirror, .finish = disk_way_finish, .unmirror = disk_way_unmirror, .retire = op_retire,
    .make = op_make, .serve = disk_way_serve, .complete = disk_way_complete, .own = op_own, .discard = op_discard,
    .close = op_close,
};

/* What others than root could write to can't say which disks are true. */
static int check_folder(const char *folder, char *why, size_t cap)
{
    struct stat st;
    if ((mkdir(folder, 0700) && errno != EEXIST) || lstat(folder, &st)) {
        snprintf(why, cap, "%s: %s; set disk-folder", folder, strerror(errno));
        return VI_EIO;
    }
    if (S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH)))
        return 0;
    snprintf(why, cap, "%s: no folder, or not root's alone; set disk-folder", folder);
    return VI_EREFUSED;
}

static int take_config(struct disk_host *h, const struct disk_host_config *cfg, char *why, size_t cap)
{
    snprintf(why, cap, "disk-folder's path is too long");
    if ((size_t)snprintf(h->folder, sizeof h->folder, "%s", cfg->folder) >= sizeof h->folder - VI_ID_TEXT - 8)
        return VI_EINVAL;
    for (unsigned i = 0; i < cfg->n_adopt_folders && h->n_adopt < ADOPT_MAX; i++)
        if ((size_t)snprintf(h->adopt[h->n_adopt], ADOPT_PATH, "%s", cfg->adopt_folders[i]) < ADOPT_PATH)
            h->n_adopt++;
    h->files = cfg->files;
    h->log_folder = access("/run", W_OK) == 0 ? "/run" : h->folder;
    h->images = images_new(cfg->image_folders, cfg->n_image_folders);
    if (!h->images) {
        snprintf(why, cap, "out of memory");
        return VI_ENOMEM;
    }
    return check_folder(h->folder, why, cap);
}

/* Devices are made; a mirror that an agent before has left has lost its other end with it. */
static void open_devices(struct disk_host *h)
{
    if (h->files)
        disk_store_plain_files(h->store);
    look_at_store(h);
    for (unsigned i = 0; i < h->n_seen && !h->files; i++) {
        char name[DISK_NAME], why[DISK_WHY] = "";
        disk_device_name(h->seen[i].record.name, name);
        if (h->seen[i].device[0] && disk_settle(name, h->seen[i].record.sectors, why, sizeof why))
            vi_log(VI_LOG_WARN, "disk", "%s: a mirror can't be ended: %s", h->seen[i].record.name, why);
    }
}

struct disks *disk_host_open(uv_loop_t *loop, const struct disk_host_config *cfg, char *why, size_t cap)
{
    struct disk_host *h = calloc(1, sizeof *h);
    snprintf(why, cap, "out of memory");
    if (!h)
        return NULL;
    h->disks.ops = &ops;
    h->loop = loop;
    h->queue_last = &h->queue;
    h->finished_last = &h->finished;
    pthread_mutex_init(&h->lock, NULL);
    pthread_mutex_init(&h->images_lock, NULL);
    pthread_cond_init(&h->work, NULL);
    if (take_config(h, cfg, why, cap) || !(h->store = disk_store_open(h->folder, why, cap)))
        goto fail;
    open_devices(h);
    h->wake.data = h->tick.data = h;
    if (uv_async_init(loop, &h->wake, on_wake))
        goto fail;
    uv_timer_init(loop, &h->tick);
    uv_timer_start(&h->tick, on_tick, TICK_MS, TICK_MS);
    uv_unref((uv_handle_t *)&h->tick);
    h->handles = 2;
    if (disk_thread(&h->thread, run_store, h) == 0)
        return &h->disks;
    snprintf(why, cap, "no thread for the disks");
    uv_close((uv_handle_t *)&h->wake, handle_closed);
    uv_close((uv_handle_t *)&h->tick, handle_closed);
    return NULL;
fail:
    disk_store_close(h->store);
    images_free(h->images);
    free(h);
    return NULL;
}
