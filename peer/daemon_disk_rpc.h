/* A host's disks, as people ask for them: what daemon_disk_rpc.c, daemon_disk_order.c and daemon_disk_copies.c share. */
#ifndef PEER_DAEMON_DISK_RPC_H
#define PEER_DAEMON_DISK_RPC_H

#include "peer/daemon_disk.h"
#include "peer/daemon_internal.h"

#define DISK_MAKINGS   8 /* at a time, with those just over: then VI_EFULL */
#define DISK_QUESTIONS 4 /* to other hosts, at a time: then VI_EFULL */

/* A disk that is being made. */
struct disk_making {
    bool used, over;
    struct daemon *d;
    struct vi_id id;
    char name[DISK_NAME], why[200];
    uint64_t sectors, written, of; /* of: sectors of the image; 0: none */
    int err;
    vi_time ended;
};

struct disk_copies;

struct disk_orders {
    struct disk_making making[DISK_MAKINGS];
    struct disk_copies *asking[DISK_QUESTIONS];
};

/* ---- daemon_disk_rpc.c ---- */
int daemon_disk_rpc_open(struct daemon *d, char *why, size_t cap);
void daemon_disk_rpc_free(struct daemon *d); /* after the loop's last turn */
/* By name, or id; else the call is answered, with how to find it. */
const struct disk_info *daemon_disk_named(struct daemon *d, struct rpc_call *call, const char *text);
/* Who has it, or is started from it: a guest here, or one that is kept here and doesn't run. "": nobody. Returns out. */
const char *daemon_disk_user(struct daemon *d, const struct vi_id *disk, char *out, size_t cap);
/* How it stands, in words: "true copy", … Returns out. */
const char *daemon_disk_state(struct daemon *d, const struct disk_info *k, char *out, size_t cap);
/* The same of a copy of another host. */
const char *daemon_disk_kind_text(enum disk_kind kind, int64_t since, bool adopted, char *out, size_t cap);
/* A disk's fields: so many, written. */
unsigned daemon_disk_fields(struct daemon *d, const struct disk_info *k);
void daemon_disk_write(struct daemon *d, struct vi_writer *w, const struct disk_info *k);
void daemon_do_disk_list(void *arg, struct rpc_call *call, struct vi_reader *params);

/* ---- daemon_disk_copies.c ---- */
int daemon_disk_copy_answer(struct daemon *d, const uint8_t *body, size_t len, uint8_t *out); /* CALL_DISK_COPY */
void daemon_do_disk_show(void *arg, struct rpc_call *call, struct vi_reader *params);

/* ---- daemon_disk_order.c ---- */
void daemon_do_disk_create(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_disk_making(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_disk_adopt(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_disk_remove(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_disk_attach(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_disk_detach(void *arg, struct rpc_call *call, struct vi_reader *params);

#endif
