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
};

bool agent_request_on_guest(const struct agent_request *q)
{
    switch (q->method) {
    case AM_DESCRIBE: case AM_SET_MEMORY: case AM_SET_SCHED: case AM_SUSPEND: case AM_UNPAUSE:
    case AM_PAUSE: case AM_RESUME: case AM_DESTROY:
        return true;
    default:
        return false;
    }
}

bool agent_request_has_stream(const struct agent_request *q)
{
    return q->method == AM_SUSPEND || q->method == AM_RESTORE || q->method == AM_UDP_BUFFERS;
}

static uint32_t fields(const struct agent_request *q)
{
    switch (q->method) {
    case AM_HOST: case AM_LIST: case AM_FACTS: case AM_UDP_BUFFERS:
        return 0;
    case AM_CAN_RECEIVE: case AM_RESTORE: case AM_ENV_QUEUE:
        return 1;
    case AM_SET_MEMORY: case AM_ENV_OPEN:
        return 3;
    case AM_SET_SCHED:
        return 4;
    default:
        return 2;
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
    case AM_CAN_RECEIVE: case AM_RESTORE:
        link_read_description(r, &q->description);
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
    if (q->method != AM_CAN_RECEIVE && q->method != AM_RESTORE)
        vi_read_id(&r, &q->uuid);
    read_more(q, &r);
    return vi_read_end(&r) ? VI_EPROTO : 0;
}
