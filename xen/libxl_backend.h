/* The real hypervisor: struct hypervisor over libxenlight (4.17 and later). Runs in the agent, as
 * root, on the agent's libuv loop; libxl's events come through that loop, some of its calls block
 * for up to a second. The agent holds its lock before it opens this. */
#ifndef XEN_LIBXL_BACKEND_H
#define XEN_LIBXL_BACKEND_H

#include <uv.h>

#include "xen/disks.h"

struct hypervisor_libxl_config {
    const char *const *image_folders; /* where kernels, ramdisks and read-only disks are */
    unsigned n_image_folders;         /* at most 16 (IMAGES_FOLDERS_MAX) */
    const char *outside_bridge; /* for the legs outside of guests that are made here; NULL: none are */
    const char *self; /* the program for `SELF stream-check`; NULL: /proc/self/exe */
    const char *user; /* what stream-check runs as; NULL or unknown: nobody */
    const char *state_folder; /* keeps a guest's configuration while it reboots, so that a crash of
                                 the agent in between loses no guest; NULL: not kept */
    struct disks *disks; /* disk_host's, borrowed: it outlives the hypervisor; NULL: none */
};

/* Everything in cfg is copied. NULL with a sentence in why (one line, no newline) when there is no
 * hypervisor or it does not answer. Set h->on_event before the loop runs. Guests that are there at
 * this time make no HV_EV_APPEARED: list them. Sets SIGPIPE to be ignored.
 *
 * h->ops->close ends what is under way through the loop: run the loop until it has nothing left to
 * do (or exit; guests stay as they are either way). */
struct hypervisor *hypervisor_libxl_open(uv_loop_t *loop, const struct hypervisor_libxl_config *cfg,
                                         char *why, size_t why_size);

#endif
