/* The journal's writer. See journal.h.
 *
 * journal_put → queue → (thread) store_journal_put → done list → uv_async → done callback. */
#include "peer/journal.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "peer/base/err.h"
#include "peer/base/store.h"

struct job {
    STAILQ_ENTRY(job) link;
    uint64_t handle;
    struct vi_id handover;
    bool forget;
    int err;
    char text[256];
    size_t len;
    uint8_t record[];
};

STAILQ_HEAD(job_list, job);

struct journal {
    struct store *store;
    uv_thread_t thread;
    uv_mutex_t lock;
    uv_cond_t wake;
    uv_async_t async;
    struct job_list todo, finished;
    unsigned waiting;
    bool ending;
    journal_done *done;
    void *arg;
};

static void write_job(struct journal *j, struct job *job)
{
    if (job->forget)
        job->err = store_journal_forget(j->store, &job->handover);
    else
        job->err = store_journal_put(j->store, &job->handover, job->record, job->len);
    snprintf(job->text, sizeof job->text, "%s", job->err ? store_error(j->store) : "");
}

static void worker(void *arg)
{
    struct journal *j = arg;
    uv_mutex_lock(&j->lock);
    for (;;) {
        struct job *job;
        while (!j->ending && STAILQ_EMPTY(&j->todo))
            uv_cond_wait(&j->wake, &j->lock);
        if (j->ending)
            break;
        job = STAILQ_FIRST(&j->todo);
        STAILQ_REMOVE_HEAD(&j->todo, link);
        uv_mutex_unlock(&j->lock);
        write_job(j, job);
        uv_mutex_lock(&j->lock);
        STAILQ_INSERT_TAIL(&j->finished, job, link);
        uv_async_send(&j->async);
    }
    uv_mutex_unlock(&j->lock);
}

static void on_finished(uv_async_t *a)
{
    struct journal *j = a->data;
    for (;;) {
        struct job *job;
        uv_mutex_lock(&j->lock);
        job = STAILQ_FIRST(&j->finished);
        if (job) {
            STAILQ_REMOVE_HEAD(&j->finished, link);
            j->waiting--;
        }
        uv_mutex_unlock(&j->lock);
        if (!job)
            return;
        if (!job->forget)
            j->done(j->arg, job->handle, job->err, job->text);
        free(job);
    }
}

static void end_worker(struct journal *j)
{
    uv_mutex_lock(&j->lock);
    j->ending = true;
    uv_cond_signal(&j->wake);
    uv_mutex_unlock(&j->lock);
    uv_thread_join(&j->thread);
}

/* The lock, the thread that waits at it, and how it calls back. */
static int start_worker(struct journal *j, uv_loop_t *loop)
{
    if (uv_mutex_init(&j->lock))
        return VI_ENOMEM;
    if (uv_cond_init(&j->wake))
        goto no_cond;
    if (uv_thread_create(&j->thread, worker, j))
        goto no_thread;
    if (uv_async_init(loop, &j->async, on_finished))
        goto no_async;
    j->async.data = j;
    return 0;
no_async:
    end_worker(j);
no_thread:
    uv_cond_destroy(&j->wake);
no_cond:
    uv_mutex_destroy(&j->lock);
    return VI_ENOMEM;
}

struct journal *journal_open(uv_loop_t *loop, const char *dir, journal_done *done, void *arg,
                             char *why, size_t cap)
{
    struct journal *j = calloc(1, sizeof *j);
    if (!j) {
        snprintf(why, cap, "out of memory");
        return NULL;
    }
    j->store = store_open(dir, why, cap);
    if (!j->store) {
        free(j);
        return NULL;
    }
    j->done = done;
    j->arg = arg;
    STAILQ_INIT(&j->todo);
    STAILQ_INIT(&j->finished);
    if (start_worker(j, loop)) {
        snprintf(why, cap, "no memory, or no thread, for the journal's writer");
        store_close(j->store);
        free(j);
        return NULL;
    }
    return j;
}

static void free_jobs(struct job_list *list)
{
    struct job *job;
    while ((job = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, link);
        free(job);
    }
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    end_worker(j);
    free_jobs(&j->todo);
    free_jobs(&j->finished);
    uv_mutex_destroy(&j->lock);
    uv_cond_destroy(&j->wake);
    store_close(j->store);
    uv_close((uv_handle_t *)&j->async, on_closed);
}

static int enqueue(struct journal *j, uint64_t handle, const struct vi_id *handover,
                   const void *record, size_t len, bool forget)
{
    struct job *job;
    if (len > STORE_RECORD_MAX)
        return VI_EINVAL;
    job = calloc(1, sizeof *job + len);
    if (!job)
        return VI_ENOMEM;
    job->handle = handle;
    job->handover = *handover;
    job->forget = forget;
    job->len = len;
    if (len)
        memcpy(job->record, record, len);
    uv_mutex_lock(&j->lock);
    if (j->waiting >= JOURNAL_QUEUE_MAX) {
        uv_mutex_unlock(&j->lock);
        free(job);
        return VI_EFULL;
    }
    j->waiting++;
    STAILQ_INSERT_TAIL(&j->todo, job, link);
    uv_cond_signal(&j->wake);
    uv_mutex_unlock(&j->lock);
    return 0;
}

int journal_put(struct journal *j, uint64_t handle, const struct vi_id *handover,
                const void *record, size_t len)
{
    return enqueue(j, handle, handover, record, len, false);
}

void journal_forget(struct journal *j, const struct vi_id *handover)
{
    (void)enqueue(j, 0, handover, NULL, 0, true);
}
