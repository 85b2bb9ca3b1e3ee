/* The disks of this host (disks.h), in the process that has root: the agent. */
#ifndef XEN_DISK_HOST_H
#define XEN_DISK_HOST_H

#include <uv.h>

#include "xen/disks.h"

#define DISK_COPIES_MAX 16 /* mirrors and serves at once; the next gets VI_EFULL */

struct disk_host_config {
    const char *folder;               /* root's alone; made if missing */
    const char *const *adopt_folders; /* block devices and files below these may be adopted */
    unsigned n_adopt_folders;
    const char *const *image_folders; /* create()'s images: tested by hash while they are copied */
    unsigned n_image_folders;
    bool files; /* no device mapper: a disk is its file, written to by the simulated guests alone (xen/simulated_disk.h) */
};

/* Opens the devices of all true copies (after a boot there are none), ends mirrors that an agent before has left. The
 * loop must run until close() is through. NULL with why. */
struct disks *disk_host_open(uv_loop_t *loop, const struct disk_host_config *cfg, char *why, size_t cap);
/* For the hypervisor of the same process: the device of a true copy, or if asked for of an arriving one (a guest is being
 * received), by id, and the other way round. 0, VI_ENOTFOUND, VI_ESTATE (an old copy: its guest has moved, nothing starts
 * from it; or one that isn't whole yet). Doesn't block for long. */
int disk_host_device(struct disks *s, const struct vi_id *id, bool arriving, char path[DISK_PATH], char *why, size_t cap);
/* Of plain files, for who writes to them himself: the disk of that name; and what was written, len bytes at `at`, which a copy
 * that is under way has to be told. From the loop. */
bool disk_host_named(struct disks *s, const char *name, struct vi_id *id);
void disk_host_wrote(struct disks *s, const struct vi_id *id, uint64_t at, size_t len);
bool disk_host_find(struct disks *s, const char *device, struct vi_id *id);

#endif
