/* The disks of a host that move with their guests, as the daemon sees them: asynchronous, as hypervisor.h is.
 *
 * Behind it: `disk_host` in the agent (xen/disk_host.h: xen/disk_store.h and the device mapper, in threads; for the
 * simulated hypervisor the same on files), and `remote` (peer/agent_client_disk.c: the peer's view of the agent's one,
 * over their link).
 *
 * Every operation returns 0 and calls `done` later, exactly once, never from inside the call; or it returns a vi_err
 * and never calls. Arguments are copied before the call returns; what is handed to a callback is borrowed until it
 * returns. Descriptors are closed by the implementation in every case, also when it returns an error.
 *
 * What a handover asks for (policy/handover.h: HANDOVER_OP_*) is asked for here disk by disk. Each may be asked for again,
 * also after a restart of either process, and answers as if it had been the first time. */
#ifndef XEN_DISKS_H
#define XEN_DISKS_H

#include "xen/disk_store.h"
#include "xen/hypervisor.h"

struct disk_info {
    struct disk_record record; /* .below: "" or what was adopted */
    char device[DISK_PATH];    /* where a guest's configuration finds it; "": none (an old copy) */
    bool busy;                 /* a guest has it, or a copy is under way */
    int64_t since;             /* seconds since 1970: it is what it is; 0: not known */
};

/* room: sectors that new disks may take, if old copies go. */
typedef void disks_list_done(void *arg, int err, const char *detail, const struct disk_info *disks, unsigned n,
                             uint64_t room);
/* How far a mirror is, told now and then while it is under way: sectors in sync, and how many were not at its beginning; while it
 * is compared with an old copy, how many of those that have been compared were, and were not. */
typedef void disks_progress(void *arg, uint64_t in_sync, uint64_t sectors, uint64_t to_copy);

struct disks;

struct disks_ops {
    int (*list)(struct disks *s, disks_list_done *done, void *arg);

    /* ---- an operator's: a true copy of generation 1 */

    /* A new disk of zeros; with an image (32 bytes, or NULL) its bytes from the beginning of it, zeros after them. The room
     * is taken now. VI_EEXIST: the id or the name is here, or being made; VI_EFULL: no room; VI_ENOTFOUND: no such image
     * here; VI_EINVAL: the image is larger. Of a copy half made nothing is left. progress (may be NULL): in_sync of to_copy
     * sectors of the image are written; not called after done. */
    int (*create)(struct disks *s, const struct vi_id *id, const char *name, uint64_t sectors,
                  const uint8_t image[HV_HASH_SIZE], disks_progress *progress, hv_done *done, void *arg);
    /* A block device or a raw file as it is. Only below the folders that the host's configuration allows (VI_EREFUSED
     * with the key's name), and nothing that is mounted, swapped to or opened by a guest (VI_ESTATE). */
    int (*adopt)(struct disks *s, const struct vi_id *id, const char *name, const char *path, hv_done *done, void *arg);
    /* VI_ESTATE while a guest has it, a handover has it in hand, or it is being made. What was adopted keeps its bytes. */
    int (*remove)(struct disks *s, const struct vi_id *id, hv_done *done, void *arg);

    /* ---- the source of a handover */

    /* fd: a connected stream socket, both ways, whose other end is serve()'s on the other host. hashes: where the other's
     * regions are told, or -1: all is copied. done(0) when all is in sync; the mirror then stays until finish or unmirror.
     * An error: it is taken down, the guest's own copy is whole. While it stands something passes over fd at least every 20 s.
     * progress may be NULL; it is not called after done. */
    int (*mirror)(struct disks *s, const struct vi_id *handover, const struct vi_id *id, int fd, int hashes,
                  disks_progress *progress, hv_done *done, void *arg);
    /* The guest is suspended: what is under way is written on both sides, then the mirror is taken down and fd's other
     * end is told that it is over. VI_EIO: the mirror isn't whole, or there is none (of this handover). */
    int (*finish)(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg);
    /* Taken down, whatever it is doing; one of another handover is left alone. */
    int (*unmirror)(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg);
    int (*retire)(struct disks *s, const struct vi_id *handover, const struct vi_id *id, uint64_t generation, hv_done *done,
                  void *arg);

    /* ---- the destination */

    /* disk_store_make(). name: what it is called at the source. */
    int (*make)(struct disks *s, const struct vi_id *handover, const struct vi_id *id, const char *name, uint64_t sectors,
                bool base, hv_done *done, void *arg);
    /* Takes what comes over fd, until the source ends it; with hashes (a stream socket, else -1) its regions are told there
     * first, and the socket is closed after them. done(0): the source has ended it in order, and all is on the disk. Only for
     * a copy that this handover has made. */
    int (*serve)(struct disks *s, const struct vi_id *handover, const struct vi_id *id, int fd, int hashes, hv_done *done,
                 void *arg);
    /* VI_EIO unless serve() has ended in order; while it is still under way that is waited for, at most 30 s. After that
     * nothing of the source reaches the copy any more. */
    int (*complete)(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg);
    int (*own)(struct disks *s, const struct vi_id *handover, const struct vi_id *id, uint64_t generation, hv_done *done,
               void *arg);
    /* Ends serve(), too. */
    int (*discard)(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg);

    /* Ends what is under way (VI_ECANCELED), frees s. Devices stay. NULL for the remote one, which its client ends. */
    void (*close)(struct disks *s);
};

struct disks {
    const struct disks_ops *ops;
};

#endif
