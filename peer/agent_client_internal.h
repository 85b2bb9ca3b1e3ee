/* What the files of the peer's side of the agent link share. */
#ifndef PEER_AGENT_CLIENT_INTERNAL_H
#define PEER_AGENT_CLIENT_INTERNAL_H

#include "peer/agent_client.h"
#include "peer/link.h"

#define CALLS_MAX 128 /* the agent refuses more at once */

enum result { R_NONE, R_DONE, R_HOST, R_LIST, R_DESCRIBE, R_RESTORE, R_ENV, R_QUEUE, R_FACTS, R_IMAGE,
              R_DISKS, R_IGNORED };

struct call {
    enum result kind; /* R_NONE: free */
    uint32_t id;
    bool remote; /* made through the hypervisor's table */
    union {
        hv_done *done;
        hv_host_done *host;
        hv_list_done *list;
        hv_describe_done *describe;
        hv_restore_done *restore;
        agent_env_done *env;
        agent_queue_done *queue;
        agent_facts_done *facts;
        hv_image_done *image;
        disks_list_done *disks;
    } cb;
    void *arg;
    struct vi_id env;        /* R_QUEUE */
    struct hv_guest *guests; /* R_LIST: as many as have come */
    bool no_memory;          /* for some of them */
    unsigned n_guests;
    struct disk_info *disks; /* R_DISKS: as many as have come */
    unsigned n_disks;
    disks_progress *progress; /* R_DONE of a copy; NULL: nobody wants to know */
};

struct agent_client {
    struct hypervisor hv; /* first: the table's functions get &hv */
    struct disks disks;
    struct link *link;
    agent_on_lost *on_lost;
    void *arg;
    bool dead;
    uint32_t next;
    struct call calls[CALLS_MAX];
    uint8_t out[LINK_MESSAGE_MAX];
};

struct hv_call {
    struct agent_client *c;
    struct call *slot;
    struct vi_writer w;
};

/* Takes a slot and begins the request; the caller writes params, then sends it. */
int agent_call_begin(struct hv_call *q, struct agent_client *c, enum result kind, const char *method, void *arg);
int agent_call_send(struct hv_call *q, int fd); /* fd stays the caller's */
int agent_call_send_stream(struct hv_call *q, int fd); /* and closes fd, in every case */
struct call *agent_call_find(struct agent_client *c, uint32_t id);

/* agent_client_disk.c */
void agent_disks_init(struct agent_client *c);
void agent_disks_answer(struct call *k, int err, const char *text, struct vi_reader *r); /* R_DISKS */
void agent_disks_told(struct agent_client *c, const char *method, struct vi_reader *r); /* `disk.page`, `disk.progress` */

#endif
