/* The agent: the process that keeps root. It has the hypervisor, the bridges and the TAPs, and does
 * for the peer what the peer may ask, checking every request as if an enemy had sent it:
 *   - a guest is touched only if the agent itself saw it on a bridge vi-*; never domain 0;
 *   - numbers within bounds, at most 200 requests a second and 128 at once, 16 streams at once;
 *   - a guest is received only into environments whose bridge was opened;
 *   - a disk is one that the agent knows, in what state it may be asked for; nothing is adopted but from disk-adopt's folders;
 *   - streams are sockets.
 * When the peer vanishes, streams are shut down and guests stay as they are. */
#ifndef PEER_AGENT_H
#define PEER_AGENT_H

#include <stdbool.h>

struct agent_options {
    const char *run_dir;            /* agent.lock is there; it exists */
    const char *hypervisor;         /* "libxl" or "simulated" */
    const char *simulated_dir;      /* simulated: its folder, made if missing */
    const char *simulated_limbo;    /* simulated: network namespace for cut guests; NULL: none */
    const char *outside_bridge;     /* for legs outside of guests that are made here; NULL: none */
    const char *const *image_folders;
    unsigned n_image_folders;
    const char *disk_folder;        /* where guests' disks are; NULL: `disks` in state_dir, or simulated_dir */
    const char *const *adopt_folders; /* below which devices and files may become disks */
    unsigned n_adopt_folders;
    const char *user;               /* libxl: whom the stream check runs as; NULL: nobody */
    const char *state_dir;          /* libxl: its own folder (not the peer's, which the peer may
                                       write); NULL: rebooting guests are not kept */
    int control_fd;                 /* from the supervisor: AGENT_CONTROL_FD */
};

/* `violin agent`: runs until the control channel ends or SIGTERM. Returns the exit status: 0, 75
 * (another agent has the lock: try again), 78 (the configuration can't work). */
int agent_main(const struct agent_options *o);

#endif
