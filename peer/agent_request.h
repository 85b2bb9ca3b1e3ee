/* What the peer may ask of the agent, taken apart. Pure: the fuzz target of the link is here. */
#ifndef PEER_AGENT_REQUEST_H
#define PEER_AGENT_REQUEST_H

#include "peer/link.h"
#include "xen/disks.h"

enum agent_method {
    AM_HOST, AM_LIST, AM_DESCRIBE, AM_CAN_RECEIVE, AM_SET_MEMORY, AM_SET_SCHED, AM_SUSPEND,
    AM_RESTORE, AM_UNPAUSE, AM_PAUSE, AM_RESUME, AM_DESTROY, AM_ENV_OPEN, AM_ENV_QUEUE, AM_ENV_CLOSE, AM_ANNOUNCE,
    AM_FACTS, AM_UDP_BUFFERS, AM_ENV_LISTEN, AM_ENV_ATTACH, AM_ENV_DETACH, AM_CREATE, AM_CAN_CREATE, AM_SHUTDOWN,
    AM_IMAGE, AM_ATTACH, AM_DETACH,
    /* disks.h's operations; HASHES gives the next MIRROR or SERVE its second descriptor */
    AM_DISK_LIST, AM_DISK_CREATE, AM_DISK_ADOPT, AM_DISK_REMOVE, AM_DISK_HASHES, AM_DISK_MIRROR, AM_DISK_FINISH,
    AM_DISK_UNMIRROR, AM_DISK_RETIRE, AM_DISK_MAKE, AM_DISK_SERVE, AM_DISK_COMPLETE, AM_DISK_OWN, AM_DISK_DISCARD,
    AM_COUNT
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
    char image[HV_NAME_MAX]; /* IMAGE: a file's name, no path */
    char vdev[16];           /* ATTACH */
    struct vi_id disk;       /* of a disk, with */
    struct vi_id handover;   /* what a handover asks for */
    char name[DISK_NAME];    /* a good one */
    char path[DISK_PATH];    /* ADOPT: absolute, without `..` */
    uint64_t sectors, generation; /* never 0 */
    bool base, hashes, has_image;
    uint8_t hash[HV_HASH_SIZE];
    struct hv_description description;
};

/* 0, or VI_EUNSUPPORTED (no such method), VI_EPROTO (params of another form or out of range). The
 * id is set for every request. VI_EINVAL: not a request at all. */
int agent_request_decode(struct agent_request *q, const struct link_message *m);
bool agent_request_on_guest(const struct agent_request *q); /* domid and uuid name one */
bool agent_request_has_stream(const struct agent_request *q);
bool agent_request_on_disk(const struct agent_request *q); /* one of disks.h's */

#endif
