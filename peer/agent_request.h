/* What the peer may ask of the agent, taken apart. Pure: the fuzz target of the link is here. */
#ifndef PEER_AGENT_REQUEST_H
#define PEER_AGENT_REQUEST_H

#include "peer/link.h"
#include "xen/hypervisor.h"

enum agent_method {
    AM_HOST, AM_LIST, AM_DESCRIBE, AM_CAN_RECEIVE, AM_SET_MEMORY, AM_SET_SCHED, AM_SUSPEND,
    AM_RESTORE, AM_UNPAUSE, AM_PAUSE, AM_RESUME, AM_DESTROY, AM_ENV_OPEN, AM_ENV_QUEUE, AM_ENV_CLOSE, AM_ANNOUNCE,
    AM_FACTS, AM_UDP_BUFFERS, AM_ENV_LISTEN, AM_ENV_ATTACH, AM_ENV_DETACH, AM_COUNT
};

struct agent_request {
    enum agent_method method;
    uint32_t id;
    uint32_t domid;    /* on a guest; never 0 */
    struct vi_id uuid; /* of the guest or of the environment */
    uint64_t kb;
    uint32_t weight, cap;
    unsigned mtu, queues;
    bool remove_bridge;
    uint8_t mac[6];
    char iface[16]; /* ENV_LISTEN, ENV_ATTACH, ENV_DETACH */
    struct hv_description description;
};

/* 0, or VI_EUNSUPPORTED (no such method), VI_EPROTO (params of another form or out of range). The
 * id is set for every request. VI_EINVAL: not a request at all. */
int agent_request_decode(struct agent_request *q, const struct link_message *m);
bool agent_request_on_guest(const struct agent_request *q); /* domid and uuid name one */
bool agent_request_has_stream(const struct agent_request *q);

#endif
