/* The simulated hypervisor behind hypervisor.h. See simulated.h.
 *
 * Every operation is a job. What the model can do at once is done inside the call; its answer waits
 * in `finished` for the next turn of the loop. What needs the guest's network or a stream answers
 * when that has ended. Guests are looked up again after every wait: the control socket may have
 * destroyed or rebooted them meanwhile. */
#include "xen/simulated_internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/base/log.h"

#define TICK_MS 1000
#define SAVE_EVERY 10 /* ticks */
#define WRITE_MS 50

enum job_kind { JOB_DONE, JOB_HOST, JOB_LIST, JOB_DESCRIBE, JOB_RESTORE, JOB_IMAGE, JOB_NONE };

struct sim_job {
    struct sim_job *next;
    struct sim *sim;
    enum job_kind kind;
    union {
        hv_done *done;
        hv_host_done *host;
        hv_list_done *list;
        hv_describe_done *describe;
        hv_restore_done *restore;
        hv_image_done *image;
    } cb;
    void *arg;
    int err;
    char detail[SIM_DETAIL];
    uint32_t domid;
    struct vi_id uuid;
    struct hv_description description;
    uint8_t hash[HV_HASH_SIZE];
    uv_work_t work;
};

/* ---- jobs ------------------------------------------------------------------------------------------------ */

static void free_sim(struct sim *s)
{
    sim_model_free(s->model);
    images_free(s->images);
    free(s);
}

void sim_release(struct sim *s)
{
    if (--s->handles == 0)
        free_sim(s);
}

static void answer_list(struct sim_job *j)
{
    struct hv_guest *list = calloc(HV_GUESTS_MAX, sizeof *list);
    unsigned n = 0;
    if (!list) {
        j->cb.list(j->arg, VI_ENOMEM, NULL, 0);
        return;
    }
    if (!j->err) {
        sim_now(j->sim);
        n = sim_model_list(j->sim->model, list, HV_GUESTS_MAX);
        for (unsigned i = 0; i < n; i++) {
            const struct sim_guest *g = sim_model_at(j->sim->model, i);
            if (g->cfg.movable && g->cfg.netns[0] && !j->sim->net.limbo[0]) {
                list[i].movable = false;
                snprintf(list[i].why_not, sizeof list[i].why_not,
                         "it has a network namespace, and simulated-limbo isn't configured");
            }
        }
    }
    j->cb.list(j->arg, j->err, list, n);
    free(list);
}

static void answer(struct sim_job *j)
{
    struct hv_host host;
    switch (j->kind) {
    case JOB_DONE: j->cb.done(j->arg, j->err, j->detail); break;
    case JOB_HOST:
        sim_now(j->sim);
        sim_model_host(j->sim->model, &host);
        j->cb.host(j->arg, j->err, &host);
        break;
    case JOB_LIST: answer_list(j); break;
    case JOB_DESCRIBE: j->cb.describe(j->arg, j->err, j->detail, &j->description); break;
    case JOB_RESTORE: j->cb.restore(j->arg, j->err, j->detail, j->domid); break;
    case JOB_IMAGE: j->cb.image(j->arg, j->err, j->detail, j->hash); break;
    case JOB_NONE: break;
    }
    free(j);
}

static void answer_finished(struct sim *s)
{
    struct sim_job *list = s->finished;
    s->finished = NULL;
    s->finished_last = &s->finished;
    while (list) {
        struct sim_job *j = list;
        list = j->next;
        answer(j);
    }
}

static void on_soon(uv_timer_t *t)
{
    answer_finished(t->data);
}

static struct sim_job *job_new(struct hypervisor *h, enum job_kind kind, void *arg)
{
    struct sim_job *j = calloc(1, sizeof *j);
    if (j) {
        j->sim = (struct sim *)h;
        j->kind = kind;
        j->arg = arg;
    }
    return j;
}

static void finish_later(struct sim_job *j, int err, const char *detail)
{
    struct sim *s = j->sim;
    j->err = err;
    if (detail != j->detail)
        snprintf(j->detail, sizeof j->detail, "%s", detail);
    *s->finished_last = j;
    s->finished_last = &j->next;
    if (!s->closing)
        uv_timer_start(&s->soon, on_soon, 0, 0);
}

static int finish_job(struct sim_job *j, int err, const char *detail)
{
    finish_later(j, err, detail);
    return 0;
}

static int no_guest(struct sim_job *j)
{
    return finish_job(j, VI_ENOTFOUND, "no such guest here (any more)");
}

/* ---- shared with the control socket -------------------------------------------------------------------- */

vi_time sim_now(struct sim *s)
{
    vi_time now = vi_clock_boottime();
    sim_model_advance(s->model, now);
    return now;
}

void sim_emit(struct sim *s, enum hv_event_kind kind, uint32_t domid, const struct vi_id *uuid,
              enum hv_reason reason)
{
    struct hv_event e = {.kind = kind, .domid = domid, .uuid = *uuid, .reason = reason};
    if (s->hv.on_event && !s->closing)
        s->hv.on_event(s->hv.event_arg, &e);
}

void sim_save(struct sim *s, const struct sim_guest *g)
{
    if (sim_store_save(s->dir, g))
        vi_log(VI_LOG_ERROR, "simulated", "can't write the guest %s into %s", g->cfg.name, s->dir);
}

static void net_over(void *arg, int err, const char *detail)
{
    struct sim *s = arg;
    if (err)
        vi_log(VI_LOG_WARN, "simulated", "%s", detail);
    sim_release(s);
}

void sim_drop(struct sim *s, struct sim_guest *g)
{
    struct vi_id uuid = g->cfg.uuid;
    uint32_t domid = g->domid;
    s->handles++;
    if (sim_net_remove(&s->net, g, net_over, s))
        s->handles--;
    sim_store_remove(s->dir, &uuid);
    sim_disks_close(s, &uuid, NULL);
    sim_model_destroy(s->model, g);
    sim_emit(s, HV_EV_GONE, domid, &uuid, HV_REASON_NONE);
}

void sim_guest_shutdown(struct sim *s, struct sim_guest *g, enum hv_reason reason)
{
    struct vi_id uuid = g->cfg.uuid;
    uint32_t domid = g->domid, again;
    if (sim_model_shutdown(s->model, g, reason))
        return;
    enum hv_action action = sim_model_action(g);
    sim_save(s, g);
    sim_emit(s, HV_EV_SHUTDOWN, domid, &uuid, reason);
    g = sim_model_find(s->model, domid, &uuid);
    if (!g)
        return;
    if (action == HV_ACT_DESTROY) {
        sim_drop(s, g);
    } else if (action == HV_ACT_RESTART && !sim_model_restart(s->model, g, &again)) {
        sim_save(s, sim_model_find(s->model, again, &uuid));
        sim_emit(s, HV_EV_GONE, domid, &uuid, HV_REASON_NONE);
        sim_emit(s, HV_EV_APPEARED, again, &uuid, HV_REASON_NONE);
    }
}

static int images_here(struct sim *s, const struct hv_description *d, const char **why);

/* ---- operations --------------------------------------------------------------------------------------------- */

static int op_host(struct hypervisor *h, hv_host_done *done, void *arg)
{
    struct sim_job *j = job_new(h, JOB_HOST, arg);
    if (!j)
        return VI_ENOMEM;
    j->cb.host = done;
    return finish_job(j, 0, "");
}

static int op_list(struct hypervisor *h, hv_list_done *done, void *arg)
{
    struct sim_job *j = job_new(h, JOB_LIST, arg);
    if (!j)
        return VI_ENOMEM;
    j->cb.list = done;
    return finish_job(j, 0, "");
}

static int op_describe(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid,
                       hv_describe_done *done, void *arg)
{
    struct sim *s = (struct sim *)h;
    struct sim_job *j = job_new(h, JOB_DESCRIBE, arg);
    if (!j)
        return VI_ENOMEM;
    j->cb.describe = done;
    struct sim_guest *g = sim_model_find(s->model, domid, uuid);
    if (!g)
        return no_guest(j);
    sim_model_describe(s->model, g, &j->description);
    if (!g->cfg.movable)
        return finish_job(j, VI_EUNSUPPORTED, "it was made with movable=no");
    if (g->cfg.netns[0] && !s->net.limbo[0])
        return finish_job(j, VI_EUNSUPPORTED,
                          "it has a network namespace, and simulated-limbo isn't configured");
    return finish_job(j, 0, "");
}

static int receivable(struct sim *s, const struct hv_description *d, const char **why)
{
    int err;
    sim_now(s);
    *why = "";
    err = sim_model_can_receive(s->model, d, why);
    return err ? err : images_here(s, d, why); /* last: VI_ENOTFOUND says that all else is well */
}

static void refresh_work(uv_work_t *w)
{
    struct sim_job *j = w->data;
    images_refresh(j->sim->images);
}

static void refreshed(uv_work_t *w, int status)
{
    struct sim_job *j = w->data;
    struct sim *s = j->sim;
    const char *why = "";
    (void)status;
    if (s->closing) {
        j->err = VI_ECANCELED;
        answer(j);
    } else {
        finish_later(j, receivable(s, &j->description, &why), why);
    }
    sim_release(s);
}

/* A guest's images may have come a moment ago: the folders are looked through first, in a worker thread. */
static int op_can_receive(struct hypervisor *h, const struct hv_description *d, hv_done *done,
                          void *arg)
{
    struct sim *s = (struct sim *)h;
    struct sim_job *j = job_new(h, JOB_DONE, arg);
    const char *why = "";
    if (!j)
        return VI_ENOMEM;
    j->cb.done = done;
    j->description = *d;
    j->work.data = j;
    if ((d->n_disks || d->has_kernel) &&
        !uv_queue_work(s->loop, &j->work, refresh_work, refreshed)) {
        s->handles++;
        return 0;
    }
    int err = receivable(s, d, &why);
    return finish_job(j, err, why);
}

/* Begins a job on a guest; *g is NULL (and the job answered) when there is no such guest. */
static struct sim_job *guest_job(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid,
                                 hv_done *done, void *arg, struct sim_guest **g)
{
    struct sim *s = (struct sim *)h;
    struct sim_job *j = job_new(h, JOB_DONE, arg);
    if (!j)
        return NULL;
    j->cb.done = done;
    j->domid = domid;
    j->uuid = *uuid;
    sim_now(s);
    *g = sim_model_find(s->model, domid, uuid);
    if (!*g)
        no_guest(j);
    return j;
}

static int op_set_memory(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid,
                         uint64_t kb, hv_done *done, void *arg)
{
    struct sim_guest *g;
    struct sim_job *j = guest_job(h, domid, uuid, done, arg, &g);
    if (!j || !g)
        return j ? 0 : VI_ENOMEM;
    int err = sim_model_set_memory(j->sim->model, g, kb);
    if (!err)
        sim_save(j->sim, g);
    return finish_job(j, err, err ? "out of this guest's range" : "");
}

static int op_set_sched(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid,
                        uint32_t weight, uint32_t cap, hv_done *done, void *arg)
{
    struct sim_guest *g;
    struct sim_job *j = guest_job(h, domid, uuid, done, arg, &g);
    if (!j || !g)
        return j ? 0 : VI_ENOMEM;
    int err = sim_model_set_sched(j->sim->model, g, weight, cap);
    if (!err)
        sim_save(j->sim, g);
    return finish_job(j, err, err ? "weight must be 1 to 65535, cap within the vcpus" : "");
}

static void suspended(void *arg, int err, const char *detail, uint32_t domid)
{
    struct sim_job *j = arg;
    (void)domid;
    if (!err)
        sim_emit(j->sim, HV_EV_CHANGED, j->domid, &j->uuid, HV_SUSPEND);
    finish_later(j, err, detail);
}

static int op_suspend(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, int fd,
                      hv_done *done, void *arg)
{
    struct sim_guest *g;
    struct sim_job *j = guest_job(h, domid, uuid, done, arg, &g);
    if (!j || !g) {
        close(fd);
        return j ? 0 : VI_ENOMEM;
    }
    int err = g->state != HV_RUNNING ? VI_ESTATE : sim_stream_send(j->sim, g, fd, suspended, j);
    if (!err)
        return 0;
    close(fd);
    return finish_job(j, err, err == VI_ESTATE ? "the guest isn't running" : "no usable stream");
}

static void restored(void *arg, int err, const char *detail, uint32_t domid)
{
    struct sim_job *j = arg;
    j->domid = domid;
    finish_later(j, err, detail);
}

static int op_restore(struct hypervisor *h, const struct hv_description *d, int fd,
                      hv_restore_done *done, void *arg)
{
    struct sim *s = (struct sim *)h;
    struct sim_job *j = job_new(h, JOB_RESTORE, arg);
    const char *why = "no usable stream";
    if (!j) {
        close(fd);
        return VI_ENOMEM;
    }
    j->cb.restore = done;
    sim_now(s);
    int err = sim_disks_there(s, d, true, j->detail, sizeof j->detail);
    if (err) {
        close(fd);
        return finish_job(j, err, j->detail);
    }
    err = sim_model_can_receive(s->model, d, &why);
    if (!err && (err = sim_stream_receive(s, d, fd, restored, j)) != 0)
        why = "no usable stream";
    if (!err)
        return 0;
    close(fd);
    return finish_job(j, err, why);
}

/* The network followed (or didn't): the answer to unpause, pause and resume. */
static void net_followed(void *arg, int err, const char *detail)
{
    struct sim_job *j = arg;
    struct sim *s = j->sim;
    if (!err)
        sim_emit(s, HV_EV_CHANGED, j->domid, &j->uuid, HV_REASON_NONE);
    finish_later(j, err, detail);
    sim_release(s);
}

/* The model changed; the network follows. */
static int let_net_follow(struct sim_job *j, struct sim_guest *g, bool attach)
{
    struct sim *s = j->sim;
    sim_save(s, g);
    s->handles++;
    int err = attach ? sim_net_attach(&s->net, g, net_followed, j)
                     : sim_net_cut(&s->net, g, false, net_followed, j);
    if (!err)
        return 0;
    s->handles--;
    return finish_job(j, err, "out of memory");
}

static int op_unpause(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                      void *arg)
{
    struct sim_guest *g;
    struct sim_job *j = guest_job(h, domid, uuid, done, arg, &g);
    if (!j || !g)
        return j ? 0 : VI_ENOMEM;
    int err = sim_model_unpause(j->sim->model, g);
    return err ? finish_job(j, err, "the guest isn't paused") : let_net_follow(j, g, true);
}

static int op_pause(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                    void *arg)
{
    struct sim_guest *g;
    struct sim_job *j = guest_job(h, domid, uuid, done, arg, &g);
    if (!j || !g)
        return j ? 0 : VI_ENOMEM;
    int err = sim_model_pause(j->sim->model, g);
    return err ? finish_job(j, err, "the guest isn't running") : let_net_follow(j, g, false);
}

static int op_resume(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                     void *arg)
{
    struct sim_guest *g;
    struct sim_job *j = guest_job(h, domid, uuid, done, arg, &g);
    if (!j || !g)
        return j ? 0 : VI_ENOMEM;
    int err = sim_model_resume(j->sim->model, g);
    return err ? finish_job(j, err, "the guest isn't suspended") : let_net_follow(j, g, true);
}

static int op_destroy(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                      void *arg)
{
    struct sim_guest *g;
    struct sim_job *j = guest_job(h, domid, uuid, done, arg, &g);
    if (!j || !g)
        return j ? 0 : VI_ENOMEM;
    sim_drop(j->sim, g);
    return finish_job(j, 0, "");
}

static int op_shutdown(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                       void *arg)
{
    struct sim_guest *g;
    struct sim_job *j = guest_job(h, domid, uuid, done, arg, &g);
    if (!j || !g)
        return j ? 0 : VI_ENOMEM;
    if (g->state != HV_RUNNING)
        return finish_job(j, VI_ESTATE, "the guest isn't running");
    sim_guest_shutdown(j->sim, g, HV_POWEROFF);
    return finish_job(j, 0, "");
}

/* ---- from images -------------------------------------------------------------------------------------------- */

/* Files are small where this hypervisor is used: they are hashed in the loop, but before a guest comes. Those of a receiving host count, too,
 * or a guest could move where it can't be started again. */
static int images_here(struct sim *s, const struct hv_description *d, const char **why)
{
    char path[IMAGES_PATH];
    bool all = true;
    if (!d->has_kernel && !d->n_disks)
        return 0;
    (void)images_refresh(s->images);
    if (d->has_kernel)
        all = images_path_of(s->images, d->kernel, path) == 0;
    if (d->has_ramdisk)
        all &= images_path_of(s->images, d->ramdisk, path) == 0;
    for (unsigned i = 0; i < d->n_disks && i < HV_DISKS_MAX; i++)
        all &= d->disks[i].kind == HV_DISK_MOVABLE ||
               (d->disks[i].kind == HV_DISK_IMAGE && images_path_of(s->images, d->disks[i].hash, path) == 0);
    *why = "one of its images is in none of this host's image-dirs";
    return all ? 0 : VI_ENOTFOUND;
}

static int build(struct sim *s, const struct hv_description *d, bool create, uint32_t *domid, const char **why)
{
    int err = images_here(s, d, why);
    sim_now(s);
    return err ? err
               : sim_model_build(s->model, d, s->outside[0] ? s->outside : NULL, s->netns_prefix, create, domid, why);
}

static int op_can_create(struct hypervisor *h, const struct hv_description *d, hv_done *done, void *arg)
{
    struct sim_job *j = job_new(h, JOB_DONE, arg);
    const char *why = "";
    uint32_t domid;
    if (!j)
        return VI_ENOMEM;
    j->cb.done = done;
    int err = sim_disks_there(j->sim, d, false, j->detail, sizeof j->detail);
    if (err)
        return finish_job(j, err, j->detail);
    err = build(j->sim, d, false, &domid, &why);
    return finish_job(j, err, why);
}

/* The guest's link is there, or couldn't be made: then the guest isn't, either. */
static void linked(void *arg, int err, const char *detail)
{
    struct sim_job *j = arg;
    struct sim *s = j->sim;
    struct sim_guest *g = sim_model_find(s->model, j->domid, &j->uuid);
    if (err && g)
        sim_drop(s, g);
    else if (g)
        sim_emit(s, HV_EV_APPEARED, j->domid, &j->uuid, HV_REASON_NONE);
    else if (!err)
        err = VI_ENOTFOUND;
    finish_later(j, err, detail);
    sim_release(s);
}

static int op_create(struct hypervisor *h, const struct hv_description *d, hv_restore_done *done, void *arg)
{
    struct sim_job *j = job_new(h, JOB_RESTORE, arg);
    struct sim *s = (struct sim *)h;
    struct sim_guest *g;
    const char *why = "";
    if (!j)
        return VI_ENOMEM;
    j->cb.restore = done;
    int err = sim_disks_there(s, d, false, j->detail, sizeof j->detail);
    if (err)
        return finish_job(j, err, j->detail);
    err = build(s, d, true, &j->domid, &why);
    if (err)
        return finish_job(j, err, why);
    j->uuid = d->uuid;
    g = sim_model_find(s->model, j->domid, &d->uuid);
    err = sim_disks_open(s, g, false, NULL, j->detail, sizeof j->detail);
    if (err) {
        sim_model_destroy(s->model, g);
        return finish_job(j, err, j->detail);
    }
    sim_save(s, g);
    s->handles++;
    err = sim_net_create(&s->net, g, linked, j);
    if (!err)
        return 0;
    s->handles--;
    sim_drop(s, g);
    return finish_job(j, err, "out of memory");
}

static int op_image(struct hypervisor *h, const char *name, hv_image_done *done, void *arg)
{
    struct sim_job *j = job_new(h, JOB_IMAGE, arg);
    if (!j)
        return VI_ENOMEM;
    j->cb.image = done;
    (void)images_refresh(j->sim->images);
    int err = images_named(j->sim->images, name, j->hash);
    return finish_job(j, err, err == VI_EEXIST ? "files of that name in two of the image-dirs differ: say which by its hash"
                              : err            ? "no file of that name is in this host's image-dirs"
                                               : "");
}

/* ---- disks ----------------------------------------------------------------------------------------------------- */

static int attach(struct sim *s, struct sim_guest *g, const struct vi_id *disk, const char *vdev, char *why, size_t cap)
{
    struct sim_guest_config *c = &g->cfg;
    struct sim_guest alone;
    struct hv_guest view;
    int err;
    sim_guest_view(g, &view);
    for (unsigned i = 0; i < view.n_disks; i++)
        if (!strcmp(view.disks[i].vdev, vdev)) {
            snprintf(why, cap, "the guest has a disk called %.15s", vdev);
            return VI_EEXIST;
        }
    if (sim_model_has_disk(s->model, disk) || c->n_disks == SIM_DISKS_MAX || strlen(vdev) >= sizeof c->disks[0].vdev) {
        snprintf(why, cap, "a guest has this disk, or this one as many as it can have");
        return sim_model_has_disk(s->model, disk) ? VI_ESTATE : VI_EFULL;
    }
    memset(&alone, 0, sizeof alone);
    alone.cfg.uuid = c->uuid;
    alone.cfg.n_disks = 1;
    alone.cfg.disks[0].id = *disk;
    snprintf(alone.cfg.disks[0].vdev, sizeof alone.cfg.disks[0].vdev, "%s", vdev);
    err = sim_disks_open(s, &alone, false, NULL, why, cap);
    if (!err)
        c->disks[c->n_disks++] = alone.cfg.disks[0];
    return err;
}

static int op_attach(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, const struct vi_id *disk,
                     const char *vdev, hv_done *done, void *arg)
{
    struct sim_guest *g;
    struct sim_job *j = guest_job(h, domid, uuid, done, arg, &g);
    if (!j || !g)
        return j ? 0 : VI_ENOMEM;
    int err = attach(j->sim, g, disk, vdev, j->detail, sizeof j->detail);
    if (!err)
        sim_save(j->sim, g);
    return finish_job(j, err, err ? j->detail : "");
}

static int op_detach(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, const struct vi_id *disk,
                     hv_done *done, void *arg)
{
    struct sim_guest *g;
    struct sim_job *j = guest_job(h, domid, uuid, done, arg, &g);
    if (!j || !g)
        return j ? 0 : VI_ENOMEM;
    for (unsigned i = 0; i < g->cfg.n_disks; i++) {
        if (!vi_id_equal(&g->cfg.disks[i].id, disk))
            continue;
        g->cfg.n_disks--;
        memmove(&g->cfg.disks[i], &g->cfg.disks[i + 1], (g->cfg.n_disks - i) * sizeof g->cfg.disks[0]);
        sim_disks_close(j->sim, uuid, disk);
        sim_save(j->sim, g);
        return finish_job(j, 0, "");
    }
    return finish_job(j, VI_ENOTFOUND, "the guest hasn't this disk");
}

static void on_write(uv_timer_t *t)
{
    sim_disks_write(t->data);
}

/* Of guests that were here before this process. */
static void open_disks(struct sim *s)
{
    char why[SIM_DETAIL];
    for (unsigned i = 0; i < sim_model_count(s->model); i++) {
        const struct sim_guest *g = sim_model_at(s->model, i);
        if (g->cfg.n_disks && sim_disks_keep(s, g, why, sizeof why))
            vi_log(VI_LOG_ERROR, "simulated", "%s has no disks now: %s", g->cfg.name, why);
    }
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

static void on_tick(uv_timer_t *t)
{
    struct sim *s = t->data;
    sim_now(s);
    if (++s->ticks % SAVE_EVERY)
        return;
    for (unsigned i = 0; i < sim_model_count(s->model); i++)
        sim_save(s, sim_model_at(s->model, i));
}

static void handle_closed(uv_handle_t *h)
{
    sim_release(h->data);
}

static void op_close(struct hypervisor *h)
{
    struct sim *s = (struct sim *)h;
    if (s->closing)
        return;
    s->closing = true;
    sim_now(s);
    for (unsigned i = 0; i < sim_model_count(s->model); i++)
        sim_save(s, sim_model_at(s->model, i));
    sim_control_close(s->control);
    sim_stream_cancel_all(s);
    for (struct sim_job *j = s->finished; j; j = j->next)
        j->err = j->err ? j->err : VI_ECANCELED;
    answer_finished(s);
    uv_close((uv_handle_t *)&s->soon, handle_closed);
    uv_close((uv_handle_t *)&s->tick, handle_closed);
    uv_close((uv_handle_t *)&s->write, handle_closed);
    sim_disks_close_all(s);
}

static const struct hypervisor_ops ops = {
    .host = op_host, .list = op_list, .describe = op_describe, .can_receive = op_can_receive,
    .set_memory = op_set_memory, .set_sched = op_set_sched, .suspend = op_suspend,
    .restore = op_restore, .unpause = op_unpause, .pause = op_pause, .resume = op_resume,
    .destroy = op_destroy, .create = op_create, .can_create = op_can_create, .shutdown = op_shutdown,
    .image = op_image, .attach = op_attach, .detach = op_detach, .close = op_close,
};

struct hypervisor *hypervisor_simulated_open(uv_loop_t *loop,
                                             const struct hypervisor_simulated_config *cfg,
                                             char *why, size_t why_size)
{
    struct sim_store_host host;
    struct sim *s = calloc(1, sizeof *s);
    snprintf(why, why_size, "out of memory");
    if (!s)
        return NULL;
    s->hv.ops = &ops;
    s->loop = s->net.loop = loop;
    s->finished_last = &s->finished;
    if (strlen(cfg->dir) >= sizeof s->dir) {
        snprintf(why, why_size, "simulated-dir is too long");
        goto fail;
    }
    snprintf(s->dir, sizeof s->dir, "%s", cfg->dir);
    if (cfg->limbo && cfg->limbo[0]) {
        if (!sim_name_ok(cfg->limbo) || strlen(cfg->limbo) >= sizeof s->net.limbo) {
            snprintf(why, why_size, "simulated-limbo should be the name of a network namespace");
            goto fail;
        }
        snprintf(s->net.limbo, sizeof s->net.limbo, "%s", cfg->limbo);
    }
    if (sim_store_open(s->dir, &host, why, why_size))
        goto fail;
    s->stream_max_kb = host.stream_max_kb;
    snprintf(s->netns_prefix, sizeof s->netns_prefix, "%s", host.netns_prefix);
    snprintf(s->outside, sizeof s->outside, "%s", cfg->outside_bridge ? cfg->outside_bridge : "");
    s->images = images_new(cfg->image_folders, cfg->n_image_folders);
    if (!s->images)
        goto fail;
    s->model = sim_model_new(&host.host, vi_clock_boottime());
    if (!s->model)
        goto fail;
    sim_store_load(s->dir, s->model);
    s->disks = cfg->disks;
    vi_rng_seed_from_kernel(&s->rng);
    s->wrote_at = vi_clock_boottime();
    open_disks(s);
    s->control = sim_control_open(s, why, why_size);
    if (!s->control)
        goto fail;
    signal(SIGPIPE, SIG_IGN);
    uv_timer_init(loop, &s->soon);
    uv_timer_init(loop, &s->tick);
    uv_timer_init(loop, &s->write);
    s->soon.data = s->tick.data = s->write.data = s;
    s->handles += 3;
    uv_timer_start(&s->write, on_write, WRITE_MS, WRITE_MS);
    uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
    return &s->hv;
fail:
    sim_disks_close_all(s);
    sim_model_free(s->model);
    images_free(s->images);
    free(s);
    return NULL;
}
