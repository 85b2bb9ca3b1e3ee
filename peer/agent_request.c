/* Requests to the agent. See agent_request.h. */
#include "peer/agent_request.h"

#include <string.h>

#include "peer/agent_attach.h"
#include "peer/base/err.h"
#include "peer/link_wire.h"

#define MTU_MIN 576
#define MTU_MAX 9000
#define QUEUES_MAX 8

static const char *const names[AM_COUNT] = {
    [AM_HOST] = "host", [AM_LIST] = "list", [AM_DESCRIBE] = "describe",
    [AM_CAN_RECEIVE] = "can_receive", [AM_SET_MEMORY] = "set_memory", [AM_SET_SCHED] = "set_sched",
    [AM_SUSPEND] = "suspend", [AM_RESTORE] = "restore", [AM_UNPAUSE] = "unpause",
    [AM_PAUSE] = "pause", [AM_RESUME] = "resume", [AM_DESTROY] = "destroy",
    [AM_ENV_OPEN] = "env.open", [AM_ENV_QUEUE] = "env.queue",
    [AM_ENV_CLOSE] = "env.close", [AM_ANNOUNCE] = "announce",
    [AM_FACTS] = "facts", [AM_UDP_BUFFERS] = "udp.buffers",
    [AM_ENV_LISTEN] = "env.listen", [AM_ENV_ATTACH] = "env.attach", [AM_ENV_DETACH] = "env.detach",
    [AM_CREATE] = "create", [AM_CAN_CREATE] = "can_create", [AM_SHUTDOWN] = "shutdown", [AM_IMAGE] = "image",
    [AM_ATTACH] = "attach", [AM_DETACH] = "detach",
    [AM_DISK_LIST] = "disk.list", [AM_DISK_CREATE] = "disk.create", [AM_DISK_ADOPT] = "disk.adopt",
    [AM_DISK_REMOVE] = "disk.remove", [AM_DISK_HASHES] = "disk.hashes", [AM_DISK_MIRROR] = "disk.mirror",
    [AM_DISK_FINISH] = "disk.finish", [AM_DISK_UNMIRROR] = "disk.unmirror", [AM_DISK_RETIRE] = "disk.retire",
    [AM_DISK_MAKE] = "disk.make", [AM_DISK_SERVE] = "disk.serve", [AM_DISK_COMPLETE] = "disk.complete",
    [AM_DISK_OWN] = "disk.own", [AM_DISK_DISCARD] = "disk.discard",
};

bool agent_request_on_guest(const struct agent_request *q)
{
    switch (q->method) {
    case AM_DESCRIBE: case AM_SET_MEMORY: case AM_SET_SCHED: case AM_SUSPEND: case AM_UNPAUSE:
    case AM_PAUSE: case AM_RESUME: case AM_DESTROY: case AM_SHUTDOWN: case AM_ATTACH: case AM_DETACH:
        return true;
    default:
        return false;
    }
}

bool agent_request_has_stream(const struct agent_request *q)
{
    switch (q->method) {
    case AM_SUSPEND: case AM_RESTORE: case AM_UDP_BUFFERS: case AM_DISK_HASHES: case AM_DISK_MIRROR: case AM_DISK_SERVE:
        return true;
    default:
        return false;
    }
}

bool agent_request_on_disk(const struct agent_request *q)
{
    return q->method >= AM_DISK_LIST && q->method <= AM_DISK_DISCARD;
}

static uint32_t fields(const struct agent_request *q)
{
    switch (q->method) {
    case AM_HOST: case AM_LIST: case AM_FACTS: case AM_UDP_BUFFERS: case AM_DISK_LIST:
        return 0;
    case AM_CAN_RECEIVE: case AM_RESTORE: case AM_ENV_QUEUE: case AM_CREATE: case AM_CAN_CREATE: case AM_IMAGE:
    case AM_DISK_REMOVE:
        return 1;
    case AM_SET_MEMORY: case AM_ENV_OPEN: case AM_DETACH: case AM_DISK_ADOPT: case AM_DISK_MIRROR: case AM_DISK_RETIRE:
    case AM_DISK_SERVE: case AM_DISK_OWN:
        return 3;
    case AM_SET_SCHED: case AM_ATTACH: case AM_DISK_CREATE:
        return 4;
    case AM_DISK_MAKE:
        return 5;
    default:
        return 2;
    }
}

/* The name of a file in a folder: nothing of a path, and not hidden. */
static bool image_name_ok(const char *s)
{
    if (!s[0] || s[0] == '.')
        return false;
    for (; *s; s++)
        if (*s <= 0x20 || *s > 0x7e || *s == '/')
            return false;
    return true;
}

/* Does an id come first? */
static bool begins_with_id(const struct agent_request *q)
{
    switch (q->method) {
    case AM_CAN_RECEIVE: case AM_RESTORE: case AM_CREATE: case AM_CAN_CREATE: case AM_IMAGE:
        return false;
    default:
        return !agent_request_on_disk(q);
    }
}

static void read_vdev(struct agent_request *q, struct vi_reader *r)
{
    vi_read_id(r, &q->disk);
    if (q->method == AM_DETACH)
        return;
    vi_read_cstr(r, q->vdev, sizeof q->vdev);
    if (!r->err && !hv_vdev_ok(q->vdev))
        r->err = VI_EPROTO;
}

/* An operator's may have a name that no disk can have: it is told. A handover's is the other host's: the store takes another. */
static void read_named(struct agent_request *q, struct vi_reader *r)
{
    vi_read_cstr(r, q->name, sizeof q->name);
    for (const char *p = q->name; *p && !r->err; p++)
        if (*p <= ' ' || *p > '~')
            r->err = VI_EPROTO;
    if (q->method != AM_DISK_ADOPT) {
        q->sectors = vi_read_uint(r, DISK_SECTORS_MAX);
        if (!q->sectors)
            r->err = VI_EPROTO;
    }
}

static void read_image(struct agent_request *q, struct vi_reader *r)
{
    q->has_image = vi_read_peek(r) != VI_WIRE_NIL;
    if (q->has_image)
        vi_read_bytes(r, q->hash, sizeof q->hash);
    else
        vi_read_nil(r);
}

static void read_path(struct agent_request *q, struct vi_reader *r)
{
    vi_read_cstr(r, q->path, sizeof q->path);
    if (!r->err && (q->path[0] != '/' || strstr(q->path, "..")))
        r->err = VI_EPROTO;
}

static void read_disk(struct agent_request *q, struct vi_reader *r)
{
    bool operators = q->method == AM_DISK_CREATE || q->method == AM_DISK_ADOPT || q->method == AM_DISK_REMOVE;
    if (!operators) {
        vi_read_id(r, &q->handover);
        if (vi_id_is_zero(&q->handover))
            r->err = VI_EPROTO;
    }
    vi_read_id(r, &q->disk);
    if (vi_id_is_zero(&q->disk))
        r->err = VI_EPROTO;
    if (q->method == AM_DISK_CREATE || q->method == AM_DISK_ADOPT || q->method == AM_DISK_MAKE)
        read_named(q, r);
    switch (q->method) {
    case AM_DISK_CREATE: read_image(q, r); break;
    case AM_DISK_ADOPT: read_path(q, r); break;
    case AM_DISK_MAKE: q->base = vi_read_bool(r); break;
    case AM_DISK_MIRROR: case AM_DISK_SERVE: q->hashes = vi_read_bool(r); break;
    case AM_DISK_RETIRE: case AM_DISK_OWN:
        q->generation = vi_read_uint(r, UINT64_MAX);
        if (!q->generation)
            r->err = VI_EPROTO;
        break;
    default: break;
    }
}

static void read_more(struct agent_request *q, struct vi_reader *r)
{
    switch (q->method) {
    case AM_SET_MEMORY:
        q->kb = vi_read_uint(r, (uint64_t)1 << 34);
        break;
    case AM_SET_SCHED:
        q->weight = (uint32_t)vi_read_uint(r, 65535);
        q->cap = (uint32_t)vi_read_uint(r, 100 * 1024);
        if (!q->weight)
            r->err = VI_EPROTO;
        break;
    case AM_CAN_RECEIVE: case AM_RESTORE: case AM_CREATE: case AM_CAN_CREATE:
        link_read_description(r, &q->description);
        break;
    case AM_IMAGE:
        vi_read_cstr(r, q->image, sizeof q->image);
        if (!r->err && !image_name_ok(q->image))
            r->err = VI_EPROTO;
        break;
    case AM_ATTACH: case AM_DETACH:
        read_vdev(q, r);
        break;
    case AM_ENV_OPEN:
        q->mtu = (unsigned)vi_read_uint(r, MTU_MAX);
        q->queues = (unsigned)vi_read_uint(r, QUEUES_MAX);
        if (q->mtu < MTU_MIN || q->queues == 0)
            r->err = VI_EPROTO;
        break;
    case AM_ENV_CLOSE:
        q->remove_bridge = vi_read_bool(r);
        break;
    case AM_ENV_LISTEN: case AM_ENV_ATTACH: case AM_ENV_DETACH:
        vi_read_cstr(r, q->iface, sizeof q->iface);
        if (!r->err && !agent_iface_name_ok(q->iface))
            r->err = VI_EPROTO;
        break;
    case AM_ANNOUNCE:
        vi_read_bytes(r, q->mac, sizeof q->mac);
        if (q->mac[0] & 1)
            r->err = VI_EPROTO;
        break;
    default:
        if (agent_request_on_disk(q))
            read_disk(q, r);
        break;
    }
}

int agent_request_decode(struct agent_request *q, const struct link_message *m)
{
    struct vi_reader r = m->body;
    unsigned i = 0;
    memset(q, 0, sizeof *q);
    if (m->kind != LINK_REQUEST)
        return VI_EINVAL;
    q->id = m->id;
    while (i < AM_COUNT && strcmp(names[i], m->method))
        i++;
    if (i == AM_COUNT)
        return VI_EUNSUPPORTED;
    q->method = (enum agent_method)i;
    uint32_t n = fields(q);
    if (n == 0) {
        vi_read_nil(&r);
        return vi_read_end(&r);
    }
    if (vi_read_array(&r, n) != n)
        return VI_EPROTO;
    if (agent_request_on_guest(q)) {
        q->domid = (uint32_t)vi_read_uint(&r, 0x7fefu); /* DOMID_FIRST_RESERVED - 1 */
        if (!q->domid)
            return VI_EPROTO;
    }
    if (begins_with_id(q))
        vi_read_id(&r, &q->uuid);
    read_more(q, &r);
    return vi_read_end(&r) ? VI_EPROTO : 0;
}
