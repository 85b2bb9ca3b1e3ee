/* The peer's side of the agent link. See agent_client.h.
 *
 * Each call takes a slot, whose index and generation make the request's id; its response, or the
 * end of the link, or close, frees the slot and calls back. A guest list comes as notifications
 * `list.page [id, [guest…]]` before its response, collected in the slot. */
#include "peer/agent_client_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/link.h"
#include "peer/link_wire.h"

/* ---- answers ---------------------------------------------------------------------------------------- */

static void answer_env(const struct call *k, int err, const char *text, struct vi_reader *r, int *fd)
{
    char ifname[16] = "", bridge[16] = "";
    struct agent_tap tap = {.fd = -1, .ifname = ifname, .bridge = bridge};
    if (!err) {
        vi_read_array(r, 3);
        vi_read_cstr(r, ifname, sizeof ifname);
        vi_read_cstr(r, bridge, sizeof bridge);
        tap.vnet = vi_read_bool(r);
        err = r->err ? VI_EPROTO : *fd < 0 ? VI_EIO : 0;
    }
    if (!err) {
        tap.fd = *fd;
        *fd = -1;
    }
    k->cb.env(k->arg, err, text, &tap);
}

static void answer_queue(const struct call *k, int err, const char *text, int *fd)
{
    int queue = *fd;
    if (!err && queue < 0)
        err = VI_EIO;
    if (!err)
        *fd = -1;
    k->cb.queue(k->arg, err, text, &k->env, err ? -1 : queue);
}

static void answer_facts(const struct call *k, int err, struct vi_reader *r)
{
    struct agent_facts f = {.hypervisor = false};
    if (!err) {
        vi_read_array(r, 5);
        f.hypervisor = vi_read_bool(r);
        vi_read_cstr(r, f.kind, sizeof f.kind);
        vi_read_cstr(r, f.problem, sizeof f.problem);
        f.environments = (unsigned)vi_read_uint(r, 65535);
        f.streams = (unsigned)vi_read_uint(r, 65535);
        err = r->err ? VI_EPROTO : 0;
    }
    k->cb.facts(k->arg, err, &f);
}

static void answer_describe(const struct call *k, int err, const char *text, struct vi_reader *r)
{
    struct hv_description d;
    memset(&d, 0, sizeof d);
    if (!err) {
        link_read_description(r, &d);
        err = r->err ? VI_EPROTO : 0;
    }
    k->cb.describe(k->arg, err, text, &d);
}

static void answer_image(const struct call *k, int err, const char *text, struct vi_reader *r)
{
    uint8_t hash[HV_HASH_SIZE] = {0};
    if (!err) {
        vi_read_bytes(r, hash, sizeof hash);
        err = r->err ? VI_EPROTO : 0;
    }
    k->cb.image(k->arg, err, text, hash);
}

static void answer_host(const struct call *k, int err, struct vi_reader *r)
{
    struct hv_host h;
    memset(&h, 0, sizeof h);
    if (!err) {
        link_read_host(r, &h);
        err = r->err ? VI_EPROTO : 0;
    }
    k->cb.host(k->arg, err, &h);
}

static void answer_list(struct call *k, int err)
{
    static const struct hv_guest none;
    if (!err && k->no_memory)
        err = VI_ENOMEM;
    k->cb.list(k->arg, err, k->guests ? k->guests : &none, err ? 0 : k->n_guests);
}

/* Ends a call. r is read only when err is 0. */
static void answer(struct call *slot, int err, const char *text, struct vi_reader *r, int *fd)
{
    struct call k = *slot;
    slot->kind = R_NONE; /* the callback may make another call */
    slot->guests = NULL;
    slot->disks = NULL;
    switch (k.kind) {
    case R_NONE: break;
    case R_DONE: k.cb.done(k.arg, err, text); break;
    case R_HOST: answer_host(&k, err, r); break;
    case R_LIST: answer_list(&k, err); break;
    case R_DESCRIBE: answer_describe(&k, err, text, r); break;
    case R_RESTORE: {
        uint32_t domid = err ? 0 : (uint32_t)vi_read_uint(r, UINT32_MAX);
        if (!err && r->err)
            err = VI_EPROTO;
        k.cb.restore(k.arg, err, text, domid);
        break;
    }
    case R_ENV: answer_env(&k, err, text, r, fd); break;
    case R_QUEUE: answer_queue(&k, err, text, fd); break;
    case R_FACTS: answer_facts(&k, err, r); break;
    case R_IMAGE: answer_image(&k, err, text, r); break;
    case R_DISKS: agent_disks_answer(&k, err, text, r); break;
    case R_IGNORED: break;
    }
    free(k.guests);
    free(k.disks);
}

static void end_all(struct agent_client *c, bool only_remote, int err, const char *text)
{
    int none = -1;
    for (unsigned i = 0; i < CALLS_MAX; i++)
        if (c->calls[i].kind != R_NONE && (!only_remote || c->calls[i].remote))
            answer(&c->calls[i], err, text, NULL, &none);
}

struct call *agent_call_find(struct agent_client *c, uint32_t id)
{
    struct call *k = &c->calls[id % CALLS_MAX];
    return k->kind != R_NONE && k->id == id ? k : NULL;
}

static void take_page(struct agent_client *c, struct vi_reader *r)
{
    vi_read_array(r, 2);
    struct call *k = agent_call_find(c, (uint32_t)vi_read_uint(r, UINT32_MAX));
    uint32_t n = vi_read_array(r, HV_GUESTS_MAX);
    struct hv_guest *more;
    if (!k || k->kind != R_LIST || r->err || n == 0)
        return;
    more = realloc(k->guests, (k->n_guests + n) * sizeof *more);
    if (!more) {
        k->no_memory = true;
        return;
    }
    k->guests = more;
    for (uint32_t i = 0; i < n && k->n_guests < HV_GUESTS_MAX; i++) {
        link_read_guest(r, &k->guests[k->n_guests]);
        if (r->err)
            return;
        k->n_guests++;
    }
}

static void on_message(void *arg, const struct link_message *m, int *fd)
{
    struct agent_client *c = arg;
    struct vi_reader r = m->body;
    if (m->kind == LINK_RESPONSE) {
        struct call *k = agent_call_find(c, m->id);
        if (k)
            answer(k, m->err, m->text, &r, fd);
    } else if (m->kind == LINK_NOTIFICATION && !strcmp(m->method, "list.page")) {
        take_page(c, &r);
    } else if (m->kind == LINK_NOTIFICATION && !strncmp(m->method, "disk.", 5)) {
        agent_disks_told(c, m->method, &r);
    } else if (m->kind == LINK_NOTIFICATION && !strcmp(m->method, "event")) {
        struct hv_event e;
        link_read_event(&r, &e);
        if (!r.err && c->hv.on_event)
            c->hv.on_event(c->hv.event_arg, &e);
    }
}

static void on_lost(void *arg, const char *why)
{
    struct agent_client *c = arg;
    c->dead = true;
    end_all(c, false, VI_EIO, "the agent is gone; the supervisor starts it again");
    if (c->on_lost)
        c->on_lost(c->arg, why);
}

/* ---- questions -------------------------------------------------------------------------------------- */

int agent_call_begin(struct hv_call *q, struct agent_client *c, enum result kind, const char *method,
                 void *arg)
{
    if (c->dead)
        return VI_EIO;
    for (unsigned i = 0; i < CALLS_MAX; i++) {
        uint32_t id = c->next++;
        struct call *k = &c->calls[id % CALLS_MAX];
        if (k->kind != R_NONE)
            continue;
        memset(k, 0, sizeof *k);
        k->kind = kind;
        k->id = id;
        k->arg = arg;
        q->c = c;
        q->slot = k;
        vi_writer_init(&q->w, c->out, sizeof c->out);
        link_write_request(&q->w, id, method);
        return 0;
    }
    return VI_EFULL;
}

int agent_call_send(struct hv_call *q, int fd)
{
    int err = q->w.err ? VI_EINVAL : link_send(q->c->link, q->c->out, q->w.len, fd);
    if (err) {
        free(q->slot->guests);
        free(q->slot->disks);
        memset(q->slot, 0, sizeof *q->slot);
    }
    return err;
}

static int begin_hv(struct hv_call *q, struct hypervisor *h, enum result kind, const char *method,
                    void *arg)
{
    int err = agent_call_begin(q, (struct agent_client *)h, kind, method, arg);
    if (!err)
        q->slot->remote = true;
    return err;
}

/* Methods whose parameters begin with the guest. */
static int begin_guest(struct hv_call *q, struct hypervisor *h, enum result kind,
                       const char *method, uint32_t domid, const struct vi_id *uuid,
                       uint32_t n_more, void *arg)
{
    int err = begin_hv(q, h, kind, method, arg);
    if (err)
        return err;
    vi_write_array(&q->w, 2 + n_more);
    vi_write_uint(&q->w, domid);
    vi_write_id(&q->w, uuid);
    return 0;
}

static int op_host(struct hypervisor *h, hv_host_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_hv(&q, h, R_HOST, "host", arg);
    if (err)
        return err;
    q.slot->cb.host = done;
    vi_write_nil(&q.w);
    return agent_call_send(&q, -1);
}

static int op_list(struct hypervisor *h, hv_list_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_hv(&q, h, R_LIST, "list", arg);
    if (err)
        return err;
    q.slot->cb.list = done;
    vi_write_nil(&q.w);
    return agent_call_send(&q, -1);
}

static int op_describe(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid,
                       hv_describe_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_guest(&q, h, R_DESCRIBE, "describe", domid, uuid, 0, arg);
    if (err)
        return err;
    q.slot->cb.describe = done;
    return agent_call_send(&q, -1);
}

static int judge(struct hypervisor *h, const char *method, const struct hv_description *d, hv_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_hv(&q, h, R_DONE, method, arg);
    if (err)
        return err;
    q.slot->cb.done = done;
    vi_write_array(&q.w, 1);
    link_write_description(&q.w, d);
    return agent_call_send(&q, -1);
}

static int op_can_receive(struct hypervisor *h, const struct hv_description *d, hv_done *done,
                          void *arg)
{
    return judge(h, "can_receive", d, done, arg);
}

static int op_can_create(struct hypervisor *h, const struct hv_description *d, hv_done *done, void *arg)
{
    return judge(h, "can_create", d, done, arg);
}

static int op_create(struct hypervisor *h, const struct hv_description *d, hv_restore_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_hv(&q, h, R_RESTORE, "create", arg);
    if (err)
        return err;
    q.slot->cb.restore = done;
    vi_write_array(&q.w, 1);
    link_write_description(&q.w, d);
    return agent_call_send(&q, -1);
}

static int op_image(struct hypervisor *h, const char *name, hv_image_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_hv(&q, h, R_IMAGE, "image", arg);
    if (err)
        return err;
    q.slot->cb.image = done;
    vi_write_array(&q.w, 1);
    vi_write_str(&q.w, name);
    return agent_call_send(&q, -1);
}

static int op_set_memory(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid,
                         uint64_t kb, hv_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_guest(&q, h, R_DONE, "set_memory", domid, uuid, 1, arg);
    if (err)
        return err;
    q.slot->cb.done = done;
    vi_write_uint(&q.w, kb);
    return agent_call_send(&q, -1);
}

static int op_set_sched(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid,
                        uint32_t weight, uint32_t cap, hv_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_guest(&q, h, R_DONE, "set_sched", domid, uuid, 2, arg);
    if (err)
        return err;
    q.slot->cb.done = done;
    vi_write_uint(&q.w, weight);
    vi_write_uint(&q.w, cap);
    return agent_call_send(&q, -1);
}

/* link_send has its own. */
int agent_call_send_stream(struct hv_call *q, int fd)
{
    int err = agent_call_send(q, fd);
    close(fd);
    return err;
}

static int op_suspend(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, int fd,
                      hv_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_guest(&q, h, R_DONE, "suspend", domid, uuid, 0, arg);
    if (err) {
        close(fd);
        return err;
    }
    q.slot->cb.done = done;
    return agent_call_send_stream(&q, fd);
}

static int op_restore(struct hypervisor *h, const struct hv_description *d, int fd,
                      hv_restore_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_hv(&q, h, R_RESTORE, "restore", arg);
    if (err) {
        close(fd);
        return err;
    }
    q.slot->cb.restore = done;
    vi_write_array(&q.w, 1);
    link_write_description(&q.w, d);
    return agent_call_send_stream(&q, fd);
}

static int simple(struct hypervisor *h, const char *method, uint32_t domid,
                  const struct vi_id *uuid, hv_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_guest(&q, h, R_DONE, method, domid, uuid, 0, arg);
    if (err)
        return err;
    q.slot->cb.done = done;
    return agent_call_send(&q, -1);
}

static int op_unpause(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                      void *arg)
{
    return simple(h, "unpause", domid, uuid, done, arg);
}

static int op_pause(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                    void *arg)
{
    return simple(h, "pause", domid, uuid, done, arg);
}

static int op_resume(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                     void *arg)
{
    return simple(h, "resume", domid, uuid, done, arg);
}

static int op_destroy(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                      void *arg)
{
    return simple(h, "destroy", domid, uuid, done, arg);
}

static int op_shutdown(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                       void *arg)
{
    return simple(h, "shutdown", domid, uuid, done, arg);
}

static int op_attach(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, const struct vi_id *disk,
                     const char *vdev, hv_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_guest(&q, h, R_DONE, "attach", domid, uuid, 2, arg);
    if (err)
        return err;
    q.slot->cb.done = done;
    vi_write_id(&q.w, disk);
    vi_write_str(&q.w, vdev);
    return agent_call_send(&q, -1);
}

static int op_detach(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, const struct vi_id *disk, hv_done *done,
                     void *arg)
{
    struct hv_call q;
    int err = begin_guest(&q, h, R_DONE, "detach", domid, uuid, 1, arg);
    if (err)
        return err;
    q.slot->cb.done = done;
    vi_write_id(&q.w, disk);
    return agent_call_send(&q, -1);
}

static void op_close(struct hypervisor *h)
{
    h->on_event = NULL;
    end_all((struct agent_client *)h, true, VI_ECANCELED, "closed");
}

static const struct hypervisor_ops remote_ops = {
    .host = op_host, .list = op_list, .describe = op_describe, .can_receive = op_can_receive,
    .set_memory = op_set_memory, .set_sched = op_set_sched, .suspend = op_suspend,
    .restore = op_restore, .unpause = op_unpause, .pause = op_pause, .resume = op_resume,
    .destroy = op_destroy, .create = op_create, .can_create = op_can_create, .shutdown = op_shutdown,
    .image = op_image, .attach = op_attach, .detach = op_detach, .close = op_close,
};

/* ---- environments ------------------------------------------------------------------------------------ */

int agent_env_open(struct agent_client *c, const struct vi_id *env, unsigned mtu,
                   unsigned queues, agent_env_done *done, void *arg)
{
    struct hv_call q;
    int err = agent_call_begin(&q, c, R_ENV, "env.open", arg);
    if (err)
        return err;
    q.slot->cb.env = done;
    vi_write_array(&q.w, 3);
    vi_write_id(&q.w, env);
    vi_write_uint(&q.w, mtu);
    vi_write_uint(&q.w, queues);
    return agent_call_send(&q, -1);
}

int agent_env_queue(struct agent_client *c, const struct vi_id *env, agent_queue_done *done, void *arg)
{
    struct hv_call q;
    int err = agent_call_begin(&q, c, R_QUEUE, "env.queue", arg);
    if (err)
        return err;
    q.slot->cb.queue = done;
    q.slot->env = *env;
    vi_write_array(&q.w, 1);
    vi_write_id(&q.w, env);
    return agent_call_send(&q, -1);
}

int agent_env_close(struct agent_client *c, const struct vi_id *env, bool remove_bridge,
                    hv_done *done, void *arg)
{
    struct hv_call q;
    int err = agent_call_begin(&q, c, R_DONE, "env.close", arg);
    if (err)
        return err;
    q.slot->cb.done = done;
    vi_write_array(&q.w, 2);
    vi_write_id(&q.w, env);
    vi_write_bool(&q.w, remove_bridge);
    return agent_call_send(&q, -1);
}

int agent_env_listen(struct agent_client *c, const struct vi_id *env, const char *iface, agent_queue_done *done, void *arg)
{
    struct hv_call q;
    int err = agent_call_begin(&q, c, R_QUEUE, "env.listen", arg);
    if (err)
        return err;
    q.slot->cb.queue = done;
    q.slot->env = *env;
    vi_write_array(&q.w, 2);
    vi_write_id(&q.w, env);
    vi_write_str(&q.w, iface);
    return agent_call_send(&q, -1);
}

static int on_iface(struct agent_client *c, const char *method, const struct vi_id *env, const char *iface, hv_done *done,
                    void *arg)
{
    struct hv_call q;
    int err = agent_call_begin(&q, c, R_DONE, method, arg);
    if (err)
        return err;
    q.slot->cb.done = done;
    vi_write_array(&q.w, 2);
    vi_write_id(&q.w, env);
    vi_write_str(&q.w, iface);
    return agent_call_send(&q, -1);
}

int agent_env_attach(struct agent_client *c, const struct vi_id *env, const char *iface, hv_done *done, void *arg)
{
    return on_iface(c, "env.attach", env, iface, done, arg);
}

int agent_env_detach(struct agent_client *c, const struct vi_id *env, const char *iface, hv_done *done, void *arg)
{
    return on_iface(c, "env.detach", env, iface, done, arg);
}

int agent_announce(struct agent_client *c, const struct vi_id *env, const uint8_t mac[6],
                   hv_done *done, void *arg)
{
    struct hv_call q;
    int err = agent_call_begin(&q, c, R_DONE, "announce", arg);
    if (err)
        return err;
    q.slot->cb.done = done;
    vi_write_array(&q.w, 2);
    vi_write_id(&q.w, env);
    vi_write_bin(&q.w, mac, 6);
    return agent_call_send(&q, -1);
}

int agent_udp_buffers(struct agent_client *c, int fd, hv_done *done, void *arg)
{
    struct hv_call q;
    int err = agent_call_begin(&q, c, R_DONE, "udp.buffers", arg);
    if (err)
        return err;
    q.slot->cb.done = done;
    vi_write_nil(&q.w);
    return agent_call_send(&q, fd);
}

int agent_facts(struct agent_client *c, agent_facts_done *done, void *arg)
{
    struct hv_call q;
    int err = agent_call_begin(&q, c, R_FACTS, "facts", arg);
    if (err)
        return err;
    q.slot->cb.facts = done;
    vi_write_nil(&q.w);
    return agent_call_send(&q, -1);
}

/* ---- life --------------------------------------------------------------------------------------------- */

struct agent_client *agent_client_open(uv_loop_t *loop, int fd, agent_on_lost *lost, void *arg)
{
    struct agent_client *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return NULL;
    }
    c->hv.ops = &remote_ops;
    agent_disks_init(c);
    c->on_lost = lost;
    c->arg = arg;
    c->link = link_open(loop, fd, on_message, on_lost, c);
    if (!c->link) {
        free(c);
        return NULL;
    }
    return c;
}

struct hypervisor *agent_client_hypervisor(struct agent_client *c)
{
    return &c->hv;
}

void agent_client_close(struct agent_client *c)
{
    if (!c)
        return;
    c->dead = true;
    end_all(c, false, VI_ECANCELED, "closed");
    link_close(c->link);
    free(c);
}
