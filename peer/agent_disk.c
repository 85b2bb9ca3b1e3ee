/* The agent does for its peer what disks.h says, on the disks of disk_host. What comes in has been bounded by
 * agent_request.c; which disks there are, what they are and whose handover made them disk_host knows, and refuses the rest.
 *
 * A copy has one descriptor, or two: the second comes first, in a request of its own (`disk.hashes`), and waits here for
 * the next `disk.mirror` or `disk.serve` of the same handover and disk. A list comes in pages before its answer, progress
 * as notifications (`disk.progress`) that name the request. */
#include "peer/agent_internal.h"

#include <sys/socket.h>
#include <unistd.h>

#include "peer/base/log.h"
#include "peer/link_wire.h"

#define PAGE_FULL (LINK_MESSAGE_MAX - 2048) /* a disk is less than 1 KiB */

/* A pair's end, as the peer makes them: the kernel's nbd gets it, and no other family's code shall be reached by that way. */
static bool is_stream(int fd)
{
    int type = 0, family = 0;
    socklen_t size = sizeof type, also = sizeof family;
    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM &&
           getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &also) == 0 && family == AF_UNIX;
}

/* ---- second descriptors */

/* -1: none has come. */
static int take_hashes(struct agent *a, const struct agent_request *q)
{
    for (unsigned i = 0; i < AGENT_HASHES_MAX; i++) {
        struct agent_hashes *h = &a->hashes[i];
        if (h->fd >= 0 && vi_id_equal(&h->handover, &q->handover) && vi_id_equal(&h->disk, &q->disk)) {
            int fd = h->fd;
            h->fd = -1;
            return fd;
        }
    }
    return -1;
}

static void keep_hashes(struct agent_job *j)
{
    struct agent_hashes *there = NULL;
    int err = is_stream(j->fd) ? 0 : VI_EINVAL;
    int old = err ? -1 : take_hashes(j->a, &j->q);
    if (old >= 0)
        close(old); /* one of a try before */
    for (unsigned i = 0; i < AGENT_HASHES_MAX && !there; i++)
        if (j->a->hashes[i].fd < 0)
            there = &j->a->hashes[i];
    if (!err && !there) { /* its copy comes in the next message: those that wait longer wait for nothing */
        there = &j->a->hashes[j->a->next_hashes++ % AGENT_HASHES_MAX];
        close(there->fd);
    }
    if (!err) {
        *there = (struct agent_hashes){.fd = j->fd, .handover = j->q.handover, .disk = j->q.disk};
        j->fd = -1;
    }
    agent_answer(j, err, "");
}

void agent_disk_forget(struct agent *a)
{
    for (unsigned i = 0; i < AGENT_HASHES_MAX; i++) {
        if (a->hashes[i].fd >= 0)
            close(a->hashes[i].fd);
        a->hashes[i].fd = -1;
    }
}

/* ---- answers */

static void on_done(void *arg, int err, const char *detail)
{
    agent_answer(arg, err, detail);
}

static void on_progress(void *arg, uint64_t in_sync, uint64_t sectors, uint64_t to_copy)
{
    struct agent_job *j = arg;
    struct vi_writer w;
    vi_writer_init(&w, j->a->out, sizeof j->a->out);
    link_write_notification(&w, "disk.progress");
    vi_write_array(&w, 4);
    vi_write_uint(&w, j->q.id);
    vi_write_uint(&w, in_sync);
    vi_write_uint(&w, sectors);
    vi_write_uint(&w, to_copy);
    agent_send_out(j, &w, -1);
}

static void send_page(struct agent_job *j, const struct disk_info *disks, unsigned n)
{
    struct vi_writer w;
    vi_writer_init(&w, j->a->out, sizeof j->a->out);
    link_write_notification(&w, "disk.page");
    vi_write_array(&w, 2);
    vi_write_uint(&w, j->q.id);
    vi_write_array(&w, n);
    for (unsigned i = 0; i < n; i++)
        link_write_disk(&w, &disks[i]);
    agent_send_out(j, &w, -1);
}

/* As many as fit into one message: by their size at most. */
static void on_list(void *arg, int err, const char *detail, const struct disk_info *disks, unsigned n, uint64_t room)
{
    const unsigned most = PAGE_FULL / 1024;
    struct agent_job *j = arg;
    struct vi_writer w;
    if (err) {
        agent_answer(j, err, detail);
        return;
    }
    for (unsigned i = 0; i < n; i += most)
        send_page(j, disks + i, n - i < most ? n - i : most);
    agent_begin_answer(j, &w, 0, "");
    vi_write_array(&w, 2);
    vi_write_uint(&w, n);
    vi_write_uint(&w, room);
    agent_send_out(j, &w, -1);
    agent_end_job(j);
}

/* ---- carrying out */

static int copy(struct agent_job *j, struct disks *d, const char **why)
{
    const struct agent_request *q = &j->q;
    int fd = j->fd, hashes = q->hashes ? take_hashes(j->a, q) : -1;
    if (!is_stream(fd) || (q->hashes && hashes < 0)) {
        if (hashes >= 0)
            close(hashes);
        *why = "a copy's descriptors are missing, or no sockets";
        return VI_EINVAL;
    }
    j->fd = -1; /* disks.h: theirs in every case */
    if (q->method == AM_DISK_MIRROR)
        return d->ops->mirror(d, &q->handover, &q->disk, fd, hashes, on_progress, on_done, j);
    return d->ops->serve(d, &q->handover, &q->disk, fd, hashes, on_done, j);
}

static int carry_out(struct agent_job *j, struct disks *d, const char **why)
{
    const struct disks_ops *o = d->ops;
    const struct agent_request *q = &j->q;
    switch (q->method) {
    case AM_DISK_LIST: return o->list(d, on_list, j);
    case AM_DISK_CREATE:
        return o->create(d, &q->disk, q->name, q->sectors, q->has_image ? q->hash : NULL, on_progress, on_done, j);
    case AM_DISK_ADOPT: return o->adopt(d, &q->disk, q->name, q->path, on_done, j);
    case AM_DISK_REMOVE: return o->remove(d, &q->disk, on_done, j);
    case AM_DISK_MIRROR: case AM_DISK_SERVE: return copy(j, d, why);
    case AM_DISK_FINISH: return o->finish(d, &q->handover, &q->disk, on_done, j);
    case AM_DISK_UNMIRROR: return o->unmirror(d, &q->handover, &q->disk, on_done, j);
    case AM_DISK_RETIRE: return o->retire(d, &q->handover, &q->disk, q->generation, on_done, j);
    case AM_DISK_MAKE: return o->make(d, &q->handover, &q->disk, q->name, q->sectors, q->base, on_done, j);
    case AM_DISK_COMPLETE: return o->complete(d, &q->handover, &q->disk, on_done, j);
    case AM_DISK_OWN: return o->own(d, &q->handover, &q->disk, q->generation, on_done, j);
    case AM_DISK_DISCARD: return o->discard(d, &q->handover, &q->disk, on_done, j);
    default: return VI_EUNSUPPORTED;
    }
}

void agent_disk(struct agent_job *j)
{
    const char *why = "";
    int err;
    if (!j->a->disks) {
        agent_answer(j, VI_EUNSUPPORTED, j->a->no_disks);
    } else if (j->q.method == AM_DISK_HASHES) {
        keep_hashes(j);
    } else {
        err = carry_out(j, j->a->disks, &why);
        if (err)
            agent_answer(j, err, why);
    }
}
