/* Copies of a host's disks under way: mirrors at the source, serves at the destination. See disks.h.
 *
 * Happy path of a mirror: the store's thread looks the disk up → a thread begins the copy (xen/disk_copy.h's functions, or
 * for plain files disk_files.h's), watches it and says how far it is → in sync: `done` → finish() → the thread writes what is
 * left, ends the stream and itself. Of a serve: the same look-up → a thread answers what comes (and another tells the hashes
 * meanwhile) until the other ends it → `done`. What it came to is remembered for complete() and for finish() asked again.
 *
 * Failure: the thread takes the copy down and ends. Given up: `stop` is set and both sockets are shut down, which ends
 * whatever the thread waits for; what the kernel has sent and isn't answered it gives up itself after ten seconds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "peer/base/log.h"
#include "xen/disk_host_internal.h"

#define LOOK_MS      250
#define QUIET_S      10    /* a mirror in sync writes nothing by itself: the streams would be given up as dead */
#define COMPLETE_MS  30000

/* ---- the list */

static struct disk_way *find(struct disk_host *h, const struct vi_id *id)
{
    for (struct disk_way *w = h->ways; w; w = w->next)
        if (vi_id_equal(&w->id, id))
            return w;
    return NULL;
}

static struct disk_way *of_handover(struct disk_host *h, const struct vi_id *handover, const struct vi_id *id, bool serves)
{
    struct disk_way *w = find(h, id);
    return w && w->serves == serves && vi_id_equal(&w->handover, handover) ? w : NULL;
}

bool disk_way_running(struct disk_host *h, const struct vi_id *id)
{
    struct disk_way *w = find(h, id);
    return w && w->running;
}

static void close_way(struct disk_way *w)
{
    if (w->fd >= 0)
        close(w->fd);
    if (w->hashes >= 0)
        close(w->hashes);
    w->fd = w->hashes = -1;
}

static void free_way(struct disk_way *w)
{
    close_way(w);
    disk_files_free(w->files);
    pthread_cond_destroy(&w->wake);
    free(w);
}

void disk_way_forget(struct disk_host *h, const struct vi_id *id)
{
    for (struct disk_way **p = &h->ways; *p; p = &(*p)->next)
        if (vi_id_equal(&(*p)->id, id) && !(*p)->running) {
            struct disk_way *w = *p;
            *p = w->next;
            free_way(w);
            return;
        }
}

void disk_ways_free(struct disk_host *h)
{
    while (h->ways)
        disk_way_forget(h, &h->ways->id);
}

/* ---- the threads */

/* What the loop shall know. */
static void tell(struct disk_way *w, bool *what)
{
    pthread_mutex_lock(&w->host->lock);
    if (what)
        *what = true;
    uv_async_send(&w->host->wake);
    pthread_mutex_unlock(&w->host->lock);
}

static void tell_state(struct disk_way *w, const struct disk_mirror_status *s, uint64_t differed)
{
    pthread_mutex_lock(&w->host->lock);
    if (w->in_sync != s->in_sync || w->regions != s->regions || w->differed != differed || (s->whole && !w->synced))
        uv_async_send(&w->host->wake);
    w->in_sync = s->in_sync;
    w->regions = s->regions;
    w->differed = differed;
    w->synced |= s->whole;
    pthread_mutex_unlock(&w->host->lock);
}

/* The loop's word, after a while at most. */
static void hear(struct disk_way *w, long ms, bool *stop, bool *finish)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&w->host->lock);
    if (!w->stop && !w->want_finish && ms)
        pthread_cond_timedwait(&w->wake, &w->host->lock, &until);
    *stop = w->stop;
    *finish = w->want_finish;
    w->want_finish = false;
    pthread_mutex_unlock(&w->host->lock);
}

static time_t seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

/* The kernel's mirror, or ours of a plain file. */
struct mirror {
    struct disk_way *way;
    struct disk_copy *copy;
    time_t flushed;
    char why[DISK_WHY];
};

/* What was equal is in sync. */
static void on_compared(void *arg, uint64_t regions, uint64_t differed)
{
    struct disk_way *w = arg;
    struct disk_mirror_status s = {.in_sync = regions - differed, .regions = disk_regions(w->sectors)};
    tell_state(w, &s, differed);
}

static int begin(struct mirror *m)
{
    struct disk_way *w = m->way;
    const struct disk_compared told = {.told = on_compared, .arg = w};
    m->flushed = seconds();
    if (w->files)
        return disk_files_begin(w->files, &told, m->why, sizeof m->why);
    return disk_copy_begin(&m->copy, w->device, w->below, w->sectors, w->fd, w->hashes, w->host->log_folder, &told, m->why,
                           sizeof m->why);
}

static int look(struct mirror *m)
{
    struct disk_way *w = m->way;
    struct disk_mirror_status s;
    int err = w->files ? disk_files_step(w->files, &s) : disk_copy_status(m->copy, &s);
    if (!err && seconds() - m->flushed >= QUIET_S) {
        m->flushed = seconds();
        err = w->files ? disk_files_flush(w->files) : disk_copy_flush(m->copy);
    }
    if (err)
        snprintf(m->why, sizeof m->why, "the copy at the other side is lost");
    else
        tell_state(w, &s, w->files ? disk_files_differed(w->files) : disk_copy_differed(m->copy));
    return err;
}

static int last_writes(struct mirror *m)
{
    struct disk_way *w = m->way;
    int err = w->files ? disk_files_finish(w->files, m->why, sizeof m->why) : disk_copy_finish(m->copy, m->why, sizeof m->why);
    if (!err)
        m->copy = NULL;
    pthread_mutex_lock(&w->host->lock);
    w->finish_err = err;
    snprintf(w->finish_why, sizeof w->finish_why, "%s", m->why);
    pthread_mutex_unlock(&w->host->lock);
    tell(w, &w->finish_answered);
    return err;
}

static void *run_mirror(void *arg)
{
    struct disk_way *w = arg;
    struct mirror m = {.way = w};
    bool stop = false, finish = false, over = false, more = w->files != NULL;
    int err = begin(&m);
    while (!err && !over) {
        hear(w, more ? 0 : LOOK_MS, &stop, &finish);
        if (stop) {
            err = VI_ECANCELED;
            snprintf(m.why, sizeof m.why, "the mirror was taken down");
        } else if (finish) {
            over = last_writes(&m) == 0; /* else it stands, as it was, until it is taken down */
        } else {
            err = look(&m);
            more = w->files && w->in_sync < w->regions; /* this thread alone writes them */
        }
    }
    disk_copy_end(m.copy);
    pthread_mutex_lock(&w->host->lock);
    w->err = w->stop && err ? VI_ECANCELED : err;
    snprintf(w->why, sizeof w->why, "%s", m.why);
    pthread_mutex_unlock(&w->host->lock);
    tell(w, &w->ended);
    return NULL;
}

static void *run_hashes(void *arg)
{
    struct disk_way *w = arg;
    char why[DISK_WHY];
    (void)disk_tell_hashes(w->hashes, w->path, why, sizeof why); /* the other finds it cut short, and gives up */
    shutdown(w->hashes, SHUT_RDWR);
    return NULL;
}

static void *run_serve(void *arg)
{
    struct disk_way *w = arg;
    pthread_t hashes;
    uint64_t written = 0;
    char why[DISK_WHY] = "";
    bool telling = w->hashes >= 0 && disk_thread(&hashes, run_hashes, w) == 0;
    int err = w->hashes >= 0 && !telling ? VI_ENOMEM : disk_serve(w->fd, w->path, &written, why, sizeof why);
    shutdown(w->fd, SHUT_RDWR);
    if (telling) {
        shutdown(w->hashes, SHUT_RDWR);
        pthread_join(hashes, NULL);
    }
    pthread_mutex_lock(&w->host->lock);
    w->err = err && w->stop ? VI_ECANCELED : err;
    snprintf(w->why, sizeof w->why, "%s", why);
    pthread_mutex_unlock(&w->host->lock);
    tell(w, &w->ended);
    return NULL;
}

/* ---- the end of one */

static void stop(struct disk_way *w)
{
    pthread_mutex_lock(&w->host->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->host->lock);
    shutdown(w->fd, SHUT_RDWR);
    if (w->hashes >= 0)
        shutdown(w->hashes, SHUT_RDWR);
}

void disk_ways_stop(struct disk_host *h)
{
    for (struct disk_way *w = h->ways; w; w = w->next)
        if (w->running)
            stop(w);
}

static void answer(struct disk_job **j, int err, const char *why)
{
    struct disk_job *one = *j;
    *j = NULL;
    if (!one)
        return;
    one->err = err;
    snprintf(one->why, sizeof one->why, "%s", why);
    disk_job_done(one);
}

/* Jobs that wait go on; one of them may begin a copy of the disk anew, in place of w. */
static void end_way(struct disk_way *w, int err, const char *why)
{
    struct disk_host *h = w->host;
    struct disk_job *waiting = w->waiting, *finish = w->finish, *job = w->job, *next;
    w->running = false;
    w->waiting = w->finish = w->job = NULL;
    w->result = err;
    snprintf(w->result_why, sizeof w->result_why, "%s", why);
    h->n_running--;
    close_way(w);
    disk_files_free(w->files);
    w->files = NULL;
    if (err && err != VI_ECANCELED)
        vi_log(VI_LOG_INFO, "disk", "%s: %s ended: %s", w->device[0] ? w->device : "a disk",
               w->serves ? "what came for it" : "its mirror", w->result_why);
    answer(&finish, err ? VI_EIO : 0, why); /* who is called back may ask for something that lets w be forgotten */
    answer(&job, err, why);
    for (; waiting; waiting = next) {
        next = waiting->next;
        waiting->go(waiting);
    }
}

static void say_progress(struct disk_way *w, uint64_t in_sync, uint64_t regions, uint64_t differed)
{
    struct disk_job *j = w->job;
    uint64_t done = in_sync * DISK_REGION;
    if (!j || !j->progress || !regions || (in_sync == w->told && differed == w->told_differed))
        return;
    w->told = in_sync;
    w->told_differed = differed;
    if (!w->files && regions != disk_regions(w->sectors)) /* a whole copy's regions are larger */
        done = w->sectors / regions * in_sync;
    j->progress(j->arg, in_sync == regions || done > w->sectors ? w->sectors : done, w->sectors,
                differed * DISK_REGION > w->sectors ? w->sectors : differed * DISK_REGION);
}

static void look_at(struct disk_way *w)
{
    struct disk_host *h = w->host;
    bool synced, answered, ended;
    int err, finish_err;
    char why[DISK_WHY], finish_why[DISK_WHY];
    uint64_t in_sync, regions, differed;
    pthread_mutex_lock(&h->lock);
    synced = w->synced;
    answered = w->finish_answered;
    w->finish_answered = false;
    ended = w->ended;
    err = w->err;
    finish_err = w->finish_err;
    in_sync = w->in_sync;
    regions = w->regions;
    differed = w->differed;
    memcpy(why, w->why, sizeof why);
    memcpy(finish_why, w->finish_why, sizeof finish_why);
    pthread_mutex_unlock(&h->lock);
    say_progress(w, in_sync, regions, differed);
    if (synced && !ended)
        answer(&w->job, 0, "");
    if (answered && finish_err)
        answer(&w->finish, VI_EIO, finish_why);
    if (ended) {
        pthread_join(w->thread, NULL);
        w->threaded = false;
        end_way(w, err, why); /* a finish that went well is answered here: when the thread is gone, too */
    }
}

void disk_ways_look(struct disk_host *h)
{
    struct disk_way *seen[DISK_COPIES_MAX];
    unsigned n = 0;
    for (struct disk_way *w = h->ways; w && n < DISK_COPIES_MAX; w = w->next)
        if (w->threaded)
            seen[n++] = w;
    for (unsigned i = 0; i < n; i++) /* what is called back may change the list, but takes none away that runs */
        look_at(seen[i]);
}

/* ---- the beginning of one */

static void look_up(struct disk_job *j)
{
    struct disk_way *w = j->way;
    const struct disk_record *r = disk_store_find(j->host->store, &w->id);
    j->err = VI_ESTATE;
    if (!r) {
        j->err = VI_ENOTFOUND;
        snprintf(j->why, sizeof j->why, "this host has no such disk");
    } else if (w->serves && (r->kind != DISK_ARRIVING || !vi_id_equal(&r->by, &w->handover))) {
        snprintf(j->why, sizeof j->why, "disk %s: this handover hasn't made a copy of it here", r->name);
    } else if (!w->serves && r->kind != DISK_TRUE) {
        snprintf(j->why, sizeof j->why, "disk %s: the copy here isn't the true one", r->name);
    } else {
        w->sectors = r->sectors;
        disk_device_name(r->name, w->device);
        j->err = disk_store_device(j->host->store, &w->id, w->path, w->below, j->why, sizeof j->why);
    }
}

static void looked_up(struct disk_job *j)
{
    struct disk_way *w = j->way;
    if (!j->err && w->stop) {
        j->err = VI_ECANCELED;
        snprintf(j->why, sizeof j->why, "the copy was taken down");
    }
    if (!j->err && w->host->files && !w->serves) {
        w->files = disk_files_new(w->path, w->sectors, w->fd, w->hashes);
        j->err = w->files ? 0 : VI_ENOMEM;
    }
    if (!j->err)
        j->err = disk_thread(&w->thread, w->serves ? run_serve : run_mirror, w);
    if (j->err) {
        char why[DISK_WHY];
        memcpy(why, j->why, sizeof why);
        end_way(w, j->err, why[0] ? why : vi_strerror(j->err));
    } else {
        w->threaded = true;
    }
}

static void wait_for(struct disk_way *w, struct disk_job *j, void (*go)(struct disk_job *j))
{
    struct disk_job **last = &w->waiting;
    while (*last)
        last = &(*last)->next;
    *last = j;
    j->next = NULL;
    j->go = go;
}

static void begin_way(struct disk_job *j)
{
    struct disk_way *w = j->way, *old = find(j->host, &j->id);
    struct disk_host *h = j->host;
    if (old && old->running && vi_id_equal(&old->handover, &j->handover) && old->serves == w->serves && !h->closing) {
        stop(old); /* asked again: the streams are other ones by now */
        wait_for(old, j, begin_way);
        return;
    }
    if ((old && old->running) || h->n_running >= DISK_COPIES_MAX || h->closing) {
        j->way = NULL;
        free_way(w);
        disk_job_later(j, h->closing ? VI_ECANCELED : old && old->running ? VI_ESTATE : VI_EFULL,
                      old && old->running ? "another handover copies it" : "this host copies as many disks at once as it can");
        return;
    }
    disk_way_forget(h, &j->id);
    w->next = h->ways;
    h->ways = w;
    w->running = true;
    w->job = j;
    h->n_running++;
    disk_job_submit(j, look_up, looked_up);
}

/* Descriptors are the way's from the beginning: they are closed with it. */
static struct disk_way *new_way(struct disk_host *h, struct disk_job *j, int fd, int hashes, bool serves)
{
    struct disk_way *w = calloc(1, sizeof *w);
    pthread_condattr_t attr;
    if (!w)
        return NULL;
    w->host = h;
    w->serves = serves;
    w->id = j->id;
    w->handover = j->handover;
    w->fd = fd;
    w->hashes = hashes;
    w->told = UINT64_MAX;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    return w;
}

static int start(struct disks *s, const struct vi_id *handover, const struct vi_id *id, int fd, int hashes, bool serves,
                 disks_progress *progress, hv_done *done, void *arg)
{
    int err;
    struct disk_job *j = disk_job_of(s, handover, id, done, arg, &err);
    if (j)
        j->way = new_way((struct disk_host *)s, j, fd, hashes, serves);
    if (!j || !j->way) {
        close(fd);
        if (hashes >= 0)
            close(hashes);
        if (j)
            disk_job_later(j, VI_ENOMEM, "out of memory");
        return j ? 0 : err;
    }
    j->progress = progress;
    begin_way(j);
    return 0;
}

void disk_host_wrote(struct disks *s, const struct vi_id *id, uint64_t at, size_t len)
{
    struct disk_way *w = find((struct disk_host *)s, id);
    if (w && w->files && !w->serves)
        disk_files_wrote(w->files, at, len);
}

/* ---- disks.h */

int disk_way_mirror(struct disks *s, const struct vi_id *handover, const struct vi_id *id, int fd, int hashes,
                    disks_progress *progress, hv_done *done, void *arg)
{
    return start(s, handover, id, fd, hashes, false, progress, done, arg);
}

int disk_way_serve(struct disks *s, const struct vi_id *handover, const struct vi_id *id, int fd, int hashes, hv_done *done,
                   void *arg)
{
    return start(s, handover, id, fd, hashes, true, NULL, done, arg);
}

int disk_way_finish(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg)
{
    int err;
    struct disk_job *j = disk_job_of(s, handover, id, done, arg, &err);
    struct disk_way *w;
    if (!j)
        return err;
    w = of_handover(j->host, handover, id, false);
    if (!w) {
        disk_job_later(j, VI_EIO, "there is no mirror of it");
    } else if (!w->running) {
        disk_job_later(j, w->result ? VI_EIO : 0, w->result_why); /* 0: it was finished before */
    } else if (w->finish) {
        disk_job_later(j, VI_EAGAIN, "its last writes are under way");
    } else {
        w->finish = j;
        pthread_mutex_lock(&j->host->lock);
        w->want_finish = true;
        pthread_cond_signal(&w->wake);
        pthread_mutex_unlock(&j->host->lock);
    }
    return 0;
}

static void taken_down(struct disk_job *j)
{
    disk_way_forget(j->host, &j->id);
    disk_job_done(j);
}

int disk_way_unmirror(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg)
{
    int err;
    struct disk_job *j = disk_job_of(s, handover, id, done, arg, &err);
    struct disk_way *w;
    if (!j)
        return err;
    w = of_handover(j->host, handover, id, false);
    if (w && w->running) {
        stop(w);
        wait_for(w, j, taken_down);
        return 0;
    }
    if (w)
        disk_way_forget(j->host, id);
    disk_job_later(j, 0, "");
    return 0;
}

/* No copy of it is known: it is complete if this handover's copy is the true one already. */
static void is_owned(struct disk_job *j)
{
    const struct disk_record *r = disk_store_find(j->host->store, &j->id);
    if (r && r->kind == DISK_TRUE && vi_id_equal(&r->by, &j->handover))
        return;
    j->err = VI_EIO;
    snprintf(j->why, sizeof j->why, "what came for it hasn't ended in order");
}

static void completed(struct disk_job *j)
{
    struct disk_way *w = of_handover(j->host, &j->handover, &j->id, true);
    if (!w) {
        disk_job_submit(j, is_owned, NULL);
        return;
    }
    if (w->running) { /* served anew meanwhile */
        wait_for(w, j, completed);
        return;
    }
    if (w->result) {
        j->err = VI_EIO;
        snprintf(j->why, sizeof j->why, "what came for it hasn't ended in order: %.180s", w->result_why);
    }
    disk_job_done(j);
}

int disk_way_complete(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg)
{
    int err;
    struct disk_job *j = disk_job_of(s, handover, id, done, arg, &err);
    struct disk_way *w;
    if (!j)
        return err;
    w = of_handover(j->host, handover, id, true);
    if (!w) {
        disk_job_submit(j, is_owned, NULL);
    } else if (w->running) {
        j->deadline = uv_now(j->host->loop) + COMPLETE_MS;
        wait_for(w, j, completed);
    } else {
        disk_job_later(j, w->result ? VI_EIO : 0, w->result_why);
    }
    return 0;
}

void disk_ways_late(struct disk_host *h)
{
    uint64_t now = uv_now(h->loop);
    for (struct disk_way *w = h->ways; w; w = w->next)
        for (struct disk_job *j = w->waiting; j; j = j->next)
            if (w->running && j->deadline && now >= j->deadline) {
                j->deadline = 0;
                stop(w);
            }
}

void disk_way_end_then(struct disk_job *j, bool alone, void (*go)(struct disk_job *j))
{
    struct disk_way *w = find(j->host, &j->id);
    if (!w || !w->running || (!alone && !vi_id_equal(&w->handover, &j->handover))) {
        go(j);
    } else if (vi_id_equal(&w->handover, &j->handover)) {
        stop(w);
        wait_for(w, j, go);
    } else {
        disk_job_later(j, VI_ESTATE, "another handover copies it");
    }
}
