/* What the files of disk_host share. Three kinds of threads: the loop's, in which all that is called from outside runs and
 * every call back; the store's, which does what is asked of the store, one after another; and one for each copy under way and
 * each image that is being copied into a disk, which may take as long as they like. */
#ifndef XEN_DISK_HOST_INTERNAL_H
#define XEN_DISK_HOST_INTERNAL_H

#include <pthread.h>

#include "xen/disk_files.h"
#include "xen/disk_host.h"
#include "xen/images.h"

#define DISK_WHY      256
#define DISK_JOBS_MAX 256 /* operations that wait or are under way; further ones get VI_EFULL */
#define ADOPT_MAX     32
#define ADOPT_PATH    256

/* An operation, from its call until `done`. */
struct disk_job {
    struct disk_job *next; /* it is in one list at a time */
    struct disk_host *host;
    void (*work)(struct disk_job *j);  /* not in the loop's thread */
    void (*after)(struct disk_job *j); /* in the loop's, then; NULL: disk_job_done() */
    void (*go)(struct disk_job *j);    /* waits for a copy's end: what it does then */
    hv_done *done;
    disks_list_done *list_done;
    disks_progress *progress;
    void *arg;
    int err;
    char why[DISK_WHY];
    struct vi_id id, handover;
    char name[DISK_NAME], path[DISK_PATH];
    uint64_t sectors, generation;
    bool base, has_image;
    uint8_t hash[HV_HASH_SIZE];
    struct disk_record record; /* create: while it is made */
    struct disk_job *next_making;
    uint64_t written, to_write, told; /* of the image; under the lock */
    struct disk_info *list;
    unsigned n;
    uint64_t room;
    struct disk_way *way; /* mirror, serve */
    uint64_t deadline;    /* complete: uv_now(); 0: none */
};

/* One side of a copy: under way, or over and remembered until something else is done to the disk. */
struct disk_way {
    struct disk_way *next;
    struct disk_host *host;
    bool serves; /* else it is the source's */
    struct vi_id id, handover;
    int fd, hashes;          /* -1: closed */
    bool running, threaded;
    int result;              /* when it isn't running: 0: it ended in order */
    char result_why[DISK_WHY];
    char device[DISK_NAME], below[DISK_PATH], path[DISK_PATH];
    uint64_t sectors;
    struct disk_files *files;
    struct disk_job *job, *finish, *waiting; /* to be answered: the copy's own, finish(), and those that wait for its end */
    uint64_t told, told_differed;
    pthread_t thread;
    pthread_cond_t wake;
    /* under the host's lock */
    bool stop, want_finish;                 /* the loop's word to the thread */
    bool synced, finish_answered, ended;    /* and the thread's to the loop */
    int err, finish_err;
    char why[DISK_WHY], finish_why[DISK_WHY];
    uint64_t regions, in_sync, differed;
};

/* What is known of a disk without asking the store, which may be busy. */
struct disk_seen {
    struct disk_record record;
    char device[DISK_PATH]; /* "": none */
};

struct disk_host {
    struct disks disks; /* first */
    uv_loop_t *loop;
    uv_async_t wake;
    uv_timer_t tick; /* deadlines */
    unsigned handles;
    char folder[DISK_PATH];
    const char *log_folder;
    char adopt[ADOPT_MAX][ADOPT_PATH];
    unsigned n_adopt;
    bool files, closing;
    struct images *images;
    pthread_mutex_t images_lock;
    struct disk_store *store; /* the store's thread's */
    struct disk_way *ways;
    unsigned n_running, n_jobs;
    struct disk_job *making; /* creates under way */
    pthread_t thread;
    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t work;
    struct disk_job *queue, **queue_last, *finished, **finished_last;
    unsigned apart; /* threads of disk_job_apart() */
    bool end, ended; /* the store's thread shall end; has */
    unsigned n_seen;
    struct disk_seen seen[DISKS_MAX], before[DISKS_MAX]; /* before: only for making a new one */
};

/* ---- disk_host.c */
/* A job with no work yet, or NULL with *err: VI_EFULL, VI_ENOMEM, VI_ECANCELED. */
struct disk_job *disk_job_new(struct disk_host *h, hv_done *done, void *arg, int *err);
/* The same, of a handover on a disk. */
struct disk_job *disk_job_of(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg, int *err);
void disk_job_submit(struct disk_job *j, void (*work)(struct disk_job *), void (*after)(struct disk_job *)); /* to the store's thread */
void disk_job_apart(struct disk_job *j, void (*work)(struct disk_job *), void (*after)(struct disk_job *));  /* to one of its own */
void disk_job_done(struct disk_job *j); /* answers and frees it; from the loop, not inside a call */
void disk_job_later(struct disk_job *j, int err, const char *why); /* with that, in the loop's next turn */
void disk_host_try_end(struct disk_host *h);
int disk_thread(pthread_t *thread, void *(*run)(void *), void *arg); /* that gets no signals */

/* ---- disk_host_copy.c */
int disk_way_mirror(struct disks *s, const struct vi_id *handover, const struct vi_id *id, int fd, int hashes,
                    disks_progress *progress, hv_done *done, void *arg);
int disk_way_serve(struct disks *s, const struct vi_id *handover, const struct vi_id *id, int fd, int hashes, hv_done *done,
                   void *arg);
int disk_way_finish(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg);
int disk_way_unmirror(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg);
int disk_way_complete(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg);
bool disk_way_running(struct disk_host *h, const struct vi_id *id);
/* Ends the handover's copy of the disk, if one is under way, and then goes on. Another's is left alone; with `alone` the job
 * then fails (VI_ESTATE), else it goes on: the store knows whose the disk is. */
void disk_way_end_then(struct disk_job *j, bool alone, void (*go)(struct disk_job *j));
void disk_way_forget(struct disk_host *h, const struct vi_id *id); /* if it isn't running */
void disk_ways_look(struct disk_host *h);  /* what have their threads said? */
void disk_ways_late(struct disk_host *h);  /* complete()'s deadlines */
void disk_ways_stop(struct disk_host *h);
void disk_ways_free(struct disk_host *h);

/* ---- disk_host_make.c */
int disk_make_create(struct disks *s, const struct vi_id *id, const char *name, uint64_t sectors,
                     const uint8_t image[HV_HASH_SIZE], disks_progress *progress, hv_done *done, void *arg);
int disk_make_adopt(struct disks *s, const struct vi_id *id, const char *name, const char *path, hv_done *done, void *arg);
bool disk_being_made(struct disk_host *h, const struct vi_id *id);
void disk_makings_look(struct disk_host *h); /* progress */

#endif
