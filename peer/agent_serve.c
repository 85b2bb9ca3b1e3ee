/* The agent serves its peer: every request is decoded with bounds, checked, carried out, answered.
 *
 * Happy path of a request on a guest: decode → is the guest known to be an environment's? (if not:
 * list, look again) → operation → answer. An answer goes only to the link that the request came
 * from; when that is gone the operation still ends as it ends, and nobody is told. */
#include "peer/agent_internal.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/base/log.h"
#include "peer/link_wire.h"

#define PAGE_FULL   (LINK_MESSAGE_MAX - 8192) /* a guest is less than 2 KiB */
#define TARGET_MIN  (16 * 1024)               /* KiB */

/* ---- answering --------------------------------------------------------------------------------------------- */

void agent_send_out(struct agent_job *j, struct vi_writer *w, int fd)
{
    struct agent *a = j->a;
    if (j->generation != a->generation || !a->peer)
        return;
    int err = w->err ? w->err : link_send(a->peer, a->out, w->len, fd);
    if (err)
        vi_log(VI_LOG_WARN, "agent", "an answer to the peer is lost: %s", vi_strerror(err));
}

void agent_begin_answer(struct agent_job *j, struct vi_writer *w, int err, const char *text)
{
    vi_writer_init(w, j->a->out, sizeof j->a->out);
    link_write_response(w, j->q.id, err, text);
}

void agent_end_job(struct agent_job *j)
{
    if (j->fd >= 0)
        close(j->fd);
    if (j->stream >= 0) {
        close(j->a->streams[j->stream]);
        j->a->streams[j->stream] = -1;
    }
    j->a->at_once--;
    free(j);
}

void agent_answer(struct agent_job *j, int err, const char *text)
{
    struct vi_writer w;
    agent_begin_answer(j, &w, err, text && text[0] ? text : vi_strerror(err));
    vi_write_nil(&w);
    agent_send_out(j, &w, -1);
    agent_end_job(j);
}

void agent_tell(struct agent *a, const struct hv_event *e)
{
    struct vi_writer w;
    vi_writer_init(&w, a->out, sizeof a->out);
    link_write_notification(&w, "event");
    link_write_event(&w, e);
    if (a->peer)
        link_send(a->peer, a->out, w.len, -1);
}

void agent_end_streams(struct agent *a)
{
    for (unsigned i = 0; i < AGENT_STREAMS_MAX; i++)
        if (a->streams[i] >= 0)
            shutdown(a->streams[i], SHUT_RDWR);
}

unsigned agent_count_streams(const struct agent *a)
{
    unsigned n = 0;
    for (unsigned i = 0; i < AGENT_STREAMS_MAX; i++)
        n += a->streams[i] >= 0;
    return n;
}

/* ---- whom the peer may touch ---------------------------------------------------------------------------------- */

static struct agent_guest *known(struct agent *a, uint32_t domid, const struct vi_id *uuid)
{
    for (unsigned i = 0; i < a->n_guests; i++)
        if (a->guests[i].domid == domid && vi_id_equal(&a->guests[i].uuid, uuid))
            return &a->guests[i];
    return NULL;
}

static void remember(struct agent *a, uint32_t domid, const struct vi_id *uuid, uint64_t max_kb,
                     uint32_t vcpus)
{
    if (a->n_guests < HV_GUESTS_MAX && !known(a, domid, uuid))
        a->guests[a->n_guests++] =
            (struct agent_guest){.domid = domid, .uuid = *uuid, .max_kb = max_kb, .vcpus = vcpus};
}

static void remember_list(struct agent *a, const struct hv_guest *g, unsigned n)
{
    a->n_guests = 0;
    for (unsigned i = 0; i < n; i++) {
        bool ours = false;
        for (unsigned k = 0; k < g[i].n_vifs && k < HV_VIFS_MAX; k++)
            ours |= !strncmp(g[i].vifs[k].bridge, "vi-", 3);
        if (ours && g[i].domid)
            remember(a, g[i].domid, &g[i].uuid, g[i].max_kb, g[i].vcpus);
    }
}

/* ---- results of operations ------------------------------------------------------------------------------------ */

static void on_done(void *arg, int err, const char *detail)
{
    agent_answer(arg, err, detail);
}

static void on_host(void *arg, int err, const struct hv_host *host)
{
    struct agent_job *j = arg;
    struct vi_writer w;
    if (err) {
        agent_answer(j, err, NULL);
        return;
    }
    agent_begin_answer(j, &w, 0, "");
    link_write_host(&w, host);
    agent_send_out(j, &w, -1);
    agent_end_job(j);
}

static void send_page(struct agent_job *j, const struct vi_writer *page, uint32_t n)
{
    struct vi_writer w;
    vi_writer_init(&w, j->a->out, sizeof j->a->out);
    link_write_notification(&w, "list.page");
    vi_write_array(&w, 2);
    vi_write_uint(&w, j->q.id);
    vi_write_array(&w, n);
    if (w.err || w.cap - w.len < page->len)
        return;
    memcpy(w.data + w.len, page->data, page->len);
    w.len += page->len;
    agent_send_out(j, &w, -1);
}

static void on_list(void *arg, int err, const struct hv_guest *guests, unsigned n)
{
    struct agent_job *j = arg;
    struct vi_writer page, w;
    uint32_t in_page = 0;
    if (err) {
        agent_answer(j, err, NULL);
        return;
    }
    remember_list(j->a, guests, n);
    vi_writer_init(&page, j->a->page, sizeof j->a->page);
    for (unsigned i = 0; i < n; i++) {
        link_write_guest(&page, &guests[i]);
        in_page++;
        if (page.len > PAGE_FULL || i + 1 == n) {
            send_page(j, &page, in_page);
            vi_writer_init(&page, j->a->page, sizeof j->a->page);
            in_page = 0;
        }
    }
    agent_begin_answer(j, &w, 0, "");
    vi_write_uint(&w, n);
    agent_send_out(j, &w, -1);
    agent_end_job(j);
}

static void on_describe(void *arg, int err, const char *detail, const struct hv_description *d)
{
    struct agent_job *j = arg;
    struct vi_writer w;
    agent_begin_answer(j, &w, 0, "");
    if (!err) {
        link_write_description(&w, d);
        err = w.err;
    }
    if (err) {
        agent_answer(j, err, detail);
        return;
    }
    agent_send_out(j, &w, -1);
    agent_end_job(j);
}

static void on_restore(void *arg, int err, const char *detail, uint32_t domid)
{
    struct agent_job *j = arg;
    const struct hv_description *d = &j->q.description;
    struct vi_writer w;
    if (err) {
        agent_answer(j, err, detail);
        return;
    }
    remember(j->a, domid, &d->uuid, d->max_kb, d->vcpus);
    agent_begin_answer(j, &w, 0, "");
    vi_write_uint(&w, domid);
    agent_send_out(j, &w, -1);
    agent_end_job(j);
}

/* ---- carrying out ---------------------------------------------------------------------------------------------- */

/* The operation takes the descriptor; our duplicate is for ending the stream. */
static int take_stream(struct agent_job *j, int *fd)
{
    int type = 0;
    socklen_t size = sizeof type;
    if (j->fd < 0 || getsockopt(j->fd, SOL_SOCKET, SO_TYPE, &type, &size) || type != SOCK_STREAM)
        return VI_EINVAL;
    for (int i = 0; i < AGENT_STREAMS_MAX; i++) {
        if (j->a->streams[i] >= 0)
            continue;
        j->a->streams[i] = fcntl(j->fd, F_DUPFD_CLOEXEC, 3);
        if (j->a->streams[i] < 0)
            return VI_EIO;
        j->stream = i;
        *fd = j->fd;
        j->fd = -1;
        return 0;
    }
    return VI_EFULL;
}

static int check_bounds(struct agent_job *j, const char **why)
{
    const struct agent_request *q = &j->q;
    const struct agent_guest *g = known(j->a, q->domid, &q->uuid);
    if (q->method == AM_SET_MEMORY && (q->kb < TARGET_MIN || (g->max_kb && q->kb > g->max_kb))) {
        *why = "the memory is out of this guest's range";
        return VI_EINVAL;
    }
    if (q->method == AM_SET_SCHED && q->cap > 100 * g->vcpus) {
        *why = "the cap is more than the guest's vcpus";
        return VI_EINVAL;
    }
    return 0;
}

static int run_on_guest(struct agent_job *j, const char **why)
{
    struct hypervisor *h = j->a->hv;
    const struct agent_request *q = &j->q;
    int fd = -1, err = check_bounds(j, why);
    if (err)
        return err;
    switch (q->method) {
    case AM_DESCRIBE: return h->ops->describe(h, q->domid, &q->uuid, on_describe, j);
    case AM_SET_MEMORY: return h->ops->set_memory(h, q->domid, &q->uuid, q->kb, on_done, j);
    case AM_SET_SCHED:
        return h->ops->set_sched(h, q->domid, &q->uuid, q->weight, q->cap, on_done, j);
    case AM_SUSPEND:
        err = take_stream(j, &fd);
        return err ? err : h->ops->suspend(h, q->domid, &q->uuid, fd, on_done, j);
    case AM_UNPAUSE: return h->ops->unpause(h, q->domid, &q->uuid, on_done, j);
    case AM_PAUSE: return h->ops->pause(h, q->domid, &q->uuid, on_done, j);
    case AM_RESUME: return h->ops->resume(h, q->domid, &q->uuid, on_done, j);
    case AM_DESTROY: return h->ops->destroy(h, q->domid, &q->uuid, on_done, j);
    case AM_SHUTDOWN: return h->ops->shutdown(h, q->domid, &q->uuid, on_done, j);
    case AM_ATTACH:
        return h->ops->attach ? h->ops->attach(h, q->domid, &q->uuid, &q->disk, q->vdev, on_done, j) : VI_EUNSUPPORTED;
    case AM_DETACH:
        return h->ops->detach ? h->ops->detach(h, q->domid, &q->uuid, &q->disk, on_done, j) : VI_EUNSUPPORTED;
    default: return VI_EUNSUPPORTED;
    }
}

static void go_on_guest(struct agent_job *j);

static void on_look(void *arg, int err, const struct hv_guest *guests, unsigned n)
{
    struct agent_job *j = arg;
    if (err) {
        agent_answer(j, err, NULL);
        return;
    }
    remember_list(j->a, guests, n);
    j->looked = true;
    go_on_guest(j);
}

static void go_on_guest(struct agent_job *j)
{
    const char *why = "";
    int err;
    if (j->generation != j->a->generation) {
        agent_answer(j, VI_ECANCELED, ""); /* who asked is gone: guests stay as they are */
    } else if (!j->a->hv) {
        agent_answer(j, VI_EAGAIN, j->a->problem);
    } else if (known(j->a, j->q.domid, &j->q.uuid)) {
        if ((err = run_on_guest(j, &why)) != 0)
            agent_answer(j, err, why);
    } else if (j->looked) {
        agent_answer(j, VI_ENOTFOUND, "no such guest in an environment on this host");
    } else if ((err = j->a->hv->ops->list(j->a->hv, on_look, j)) != 0) {
        agent_answer(j, err, why);
    }
}

/* A guest comes only into environments that are open here. */
static int check_description(struct agent_job *j, const char **why)
{
    const struct hv_description *d = &j->q.description;
    bool create = j->q.method == AM_CREATE || j->q.method == AM_CAN_CREATE;
    for (unsigned i = 0; i < d->n_vifs; i++) {
        /* A leg outside is the second card of a guest that is made here, in a bridge of this host's choice. */
        if (create && i == 1 && d->n_vifs == 2 && vi_id_is_zero(&d->vifs[i].environment))
            continue;
        if (!agent_env_find(j->a, &d->vifs[i].environment)) {
            *why = "one of its environments isn't open on this host";
            return VI_ESTATE;
        }
    }
    if (d->n_vifs == 0) {
        *why = "it is in no environment";
        return VI_EINVAL;
    }
    return 0;
}

static void go_receive(struct agent_job *j)
{
    struct hypervisor *h = j->a->hv;
    const struct hv_description *d = &j->q.description;
    const char *why = "";
    int fd = -1, err = check_description(j, &why);
    if (!err && j->q.method == AM_CAN_RECEIVE)
        err = h->ops->can_receive(h, d, on_done, j);
    else if (!err && j->q.method == AM_CAN_CREATE)
        err = h->ops->can_create(h, d, on_done, j);
    else if (!err && j->q.method == AM_CREATE)
        err = h->ops->create(h, d, on_restore, j);
    else if (!err && !(err = take_stream(j, &fd)))
        err = h->ops->restore(h, d, fd, on_restore, j);
    if (err)
        agent_answer(j, err, why);
}

static void on_image(void *arg, int err, const char *detail, const uint8_t hash[HV_HASH_SIZE])
{
    struct agent_job *j = arg;
    struct vi_writer w;
    if (err) {
        agent_answer(j, err, detail);
        return;
    }
    agent_begin_answer(j, &w, 0, "");
    vi_write_bin(&w, hash, HV_HASH_SIZE);
    agent_send_out(j, &w, -1);
    agent_end_job(j);
}

static void go_env_open(struct agent_job *j)
{
    char why[AGENT_WHY] = "";
    struct agent_env *e;
    struct vi_writer w;
    int err = agent_env_make(j->a, &j->q, &e, why, sizeof why);
    if (err) {
        agent_answer(j, err, why);
        return;
    }
    agent_begin_answer(j, &w, 0, "");
    vi_write_array(&w, 3);
    vi_write_str(&w, e->tap);
    vi_write_str(&w, e->bridge);
    vi_write_bool(&w, j->a->taps == AGENT_TAPS_GOOD);
    agent_send_out(j, &w, e->tap_fd);
    agent_end_job(j);
}

static void go_env_queue(struct agent_job *j)
{
    char why[AGENT_WHY] = "";
    struct agent_env *e = agent_env_find(j->a, &j->q.uuid);
    struct vi_writer w;
    int fd = e ? agent_tap_queue(e->tap, why, sizeof why) : VI_ENOTFOUND;
    if (fd < 0) {
        agent_answer(j, fd, why);
        return;
    }
    agent_begin_answer(j, &w, 0, "");
    vi_write_nil(&w);
    agent_send_out(j, &w, fd);
    close(fd); /* the peer's from now on */
    agent_end_job(j);
}

static void go_env_listen(struct agent_job *j)
{
    char why[AGENT_WHY] = "";
    struct vi_writer w;
    int fd = agent_lan_listen(j->a, &j->q, why, sizeof why);
    if (fd < 0) {
        agent_answer(j, fd, why);
        return;
    }
    agent_begin_answer(j, &w, 0, "");
    vi_write_nil(&w);
    agent_send_out(j, &w, fd);
    close(fd); /* the peer's from now on */
    agent_end_job(j);
}

static void go_env_attach(struct agent_job *j)
{
    char why[AGENT_WHY] = "";
    int err = j->q.method == AM_ENV_ATTACH ? agent_lan_attach(j->a, &j->q, why, sizeof why)
                                           : agent_lan_detach(j->a, &j->q, why, sizeof why);
    agent_answer(j, err, why);
}

/* Frames come in bursts that the default of the system (208 KiB) doesn't hold; more than that only root may give. */
static void go_udp_buffers(struct agent_job *j)
{
    int type = 0, family = 0, bytes = AGENT_UDP_BUFFER, err = 0;
    socklen_t size = sizeof type;
    if (j->fd < 0 || getsockopt(j->fd, SOL_SOCKET, SO_TYPE, &type, &size) ||
        getsockopt(j->fd, SOL_SOCKET, SO_DOMAIN, &family, &size) || type != SOCK_DGRAM ||
        (family != AF_INET && family != AF_INET6))
        err = VI_EINVAL;
    else if (j->a->udp_buffers >= AGENT_UDP_SOCKETS)
        err = VI_EFULL;
    else if (setsockopt(j->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) ||
             setsockopt(j->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes))
        err = VI_EIO;
    else
        j->a->udp_buffers++;
    agent_answer(j, err, "");
}

static void go_announce(struct agent_job *j)
{
    char why[AGENT_WHY] = "";
    struct agent_env *e = agent_env_find(j->a, &j->q.uuid);
    int err = e ? agent_bridge_forget(e->tap, j->q.mac, why, sizeof why) : VI_ENOTFOUND;
    agent_answer(j, err, why);
}

static void go_facts(struct agent_job *j)
{
    struct agent *a = j->a;
    struct vi_writer w;
    unsigned n = 0;
    for (unsigned i = 0; i < AGENT_ENVS_MAX; i++)
        n += a->envs[i].used;
    agent_begin_answer(j, &w, 0, "");
    vi_write_array(&w, 5);
    vi_write_bool(&w, a->hv_up);
    vi_write_strn(&w, a->options->hypervisor, strnlen(a->options->hypervisor, 15));
    vi_write_str(&w, a->hv_up ? "" : a->problem);
    vi_write_uint(&w, n);
    vi_write_uint(&w, agent_count_streams(a));
    agent_send_out(j, &w, -1);
    agent_end_job(j);
}

static void go_env_close(struct agent_job *j)
{
    char why[AGENT_WHY] = "";
    int err = agent_env_end(j->a, &j->q.uuid, j->q.remove_bridge, why, sizeof why);
    agent_answer(j, err, why);
}

static void go(struct agent_job *j)
{
    struct hypervisor *h = j->a->hv;
    int err;
    switch (j->q.method) {
    case AM_ENV_OPEN: go_env_open(j); return;
    case AM_ENV_QUEUE: go_env_queue(j); return;
    case AM_ENV_LISTEN: go_env_listen(j); return;
    case AM_ENV_ATTACH: case AM_ENV_DETACH: go_env_attach(j); return;
    case AM_UDP_BUFFERS: go_udp_buffers(j); return;
    case AM_ENV_CLOSE: go_env_close(j); return;
    case AM_ANNOUNCE: go_announce(j); return;
    case AM_FACTS: go_facts(j); return;
    default: break;
    }
    if (agent_request_on_disk(&j->q)) {
        agent_disk(j);
        return;
    }
    if (!h)
        agent_answer(j, VI_EAGAIN, j->a->problem);
    else if (j->q.method == AM_HOST && (err = h->ops->host(h, on_host, j)) != 0)
        agent_answer(j, err, "");
    else if (j->q.method == AM_LIST && (err = h->ops->list(h, on_list, j)) != 0)
        agent_answer(j, err, "");
    else if (j->q.method == AM_IMAGE && (err = h->ops->image(h, j->q.image, on_image, j)) != 0)
        agent_answer(j, err, "");
    else if (j->q.method == AM_CAN_RECEIVE || j->q.method == AM_RESTORE || j->q.method == AM_CREATE ||
             j->q.method == AM_CAN_CREATE)
        go_receive(j);
    else if (agent_request_on_guest(&j->q))
        go_on_guest(j);
}

/* ---- coming in --------------------------------------------------------------------------------------------------- */

static bool within_rate(struct agent *a)
{
    vi_time now = vi_clock_boottime();
    a->tokens += (double)(now - a->tokens_at) * AGENT_RATE / 1e6;
    a->tokens_at = now;
    if (a->tokens > AGENT_RATE)
        a->tokens = AGENT_RATE;
    if (a->tokens < 1)
        return false;
    a->tokens -= 1;
    return true;
}

static void refuse(struct agent *a, uint32_t id, int err, const char *text)
{
    struct vi_writer w;
    vi_writer_init(&w, a->out, sizeof a->out);
    link_write_response(&w, id, err, text);
    vi_write_nil(&w);
    if (a->peer)
        link_send(a->peer, a->out, w.len, -1);
}

void agent_on_request(struct agent *a, const struct link_message *m, int *fd)
{
    struct agent_request q;
    int err = agent_request_decode(&q, m);
    if (err == VI_EINVAL)
        return; /* nothing that wants an answer */
    if (err) {
        vi_log(VI_LOG_WARN, "agent", "refused a request of the peer: %s: %s", m->method,
               vi_strerror(err));
        refuse(a, q.id, err, "the agent doesn't know this request, or its values are out of range");
        return;
    }
    if (a->stopping || a->at_once >= AGENT_AT_ONCE_MAX || !within_rate(a)) {
        refuse(a, q.id, VI_EAGAIN, "too many requests");
        return;
    }
    struct agent_job *j = calloc(1, sizeof *j);
    if (!j) {
        refuse(a, q.id, VI_ENOMEM, "out of memory");
        return;
    }
    j->a = a;
    j->generation = a->generation;
    j->q = q;
    j->fd = -1;
    j->stream = -1;
    if (agent_request_has_stream(&q)) {
        j->fd = *fd;
        *fd = -1;
    }
    a->at_once++;
    go(j);
}
