/* The daemon and environments made from images: what daemon_envmake.c (the core's questions and effects) and
 * daemon_envmake_rpc.c (people) share. */
#ifndef PEER_DAEMON_ENVMAKE_H
#define PEER_DAEMON_ENVMAKE_H

#include "peer/daemon_internal.h"
#include "peer/envmake.h"
#include "xen/disk_store.h"

/* An environment whose guests are gone: its definition goes, once no host takes part in it any more. */
struct env_closing {
    bool used, over;
    struct vi_id job, env;
    char name[ENV_NAME_MAX];
    vi_time until;
    int err;
    char why[ENVMAKE_WHY];
};

/* An old copy of a disk, left here by a guest that is another host's now. */
struct left_disk {
    bool used;
    struct vi_id disk, env;
};

struct envmake_daemon {
    struct envmake *core;
    /* An operation changes what the hypervisor's list says: one that was asked for before it ended doesn't count. */
    uint64_t changes, listing, listed;
    unsigned next_closing;
    struct env_closing closing[ENVMAKE_JOBS];
    struct left_disk left[DISKS_MAX];
    unsigned sweeping; /* of them, being removed */
    vi_time next_sweep;
};

/* The closing of a removed environment, by its job; NULL: none. */
const struct env_closing *daemon_envmake_closing(const struct daemon *d, const struct vi_id *job);
bool daemon_envmake_env_gone(struct daemon *d, const struct vi_id *env); /* removed, as its home said */

/* ---- daemon_envdisk.c: their writable disks. All answer once; an error returned: never ---- */
/* ENVMAKE_OP_DISKS, ENVMAKE_OP_WIPE. */
int daemon_envdisk_make(struct daemon *d, const struct hv_description *desc, const struct envmake_disks *disks, hv_done *done,
                        void *arg);
int daemon_envdisk_wipe(struct daemon *d, const struct hv_description *desc, const struct envmake_disks *disks, hv_done *done,
                        void *arg);
/* VI_EFULL: no room here for them, beside what is promised. */
int daemon_envdisk_room(struct daemon *d, const struct hv_description *desc, const struct envmake_disks *disks, hv_done *done,
                        void *arg);
/* VI_ESTATE: a writable disk of the description isn't here, or isn't the true copy. */
int daemon_envdisk_there(struct daemon *d, const struct hv_description *desc, hv_done *done, void *arg);
bool daemon_envdisk_has(const struct hv_description *desc); /* a writable one that moves with it */
/* For whether it could be made: its own disks, which aren't there yet, as the images that they begin with. */
void daemon_envdisk_as_images(struct hv_description *desc, const struct envmake_disks *disks);
/* Old copies, once their environment is gone: noted, no longer, looked for. */
void daemon_envdisk_load(struct daemon *d);
void daemon_envdisk_left(void *arg, const struct vi_id *env, const struct vi_id *guest, const struct envmake_disks *disks);
void daemon_envdisk_back(struct daemon *d, const struct vi_id *guest);
void daemon_envdisk_tick(struct daemon *d, vi_time now);

#endif
