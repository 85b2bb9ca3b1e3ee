/* The simulated hypervisor on a libuv loop: a host and guests that are numbers (simulated_model.h),
 * optionally with a network namespace each, streams that are real. For the demo, the tests and for
 * trying violin without Xen.
 *
 * Folder:  host.conf       cpus=2 memory=2048 dom0=256   (memory, dom0 in MiB; defaults are these)
 *                          stream=8 (MiB of pages at most in a stream)  name-value pairs, any order
 *                          netns=PREFIX: a guest that is made from a description has its link in the
 *                          network namespace PREFIX + its name, which must be there
 *          boot_id         made when missing; another one after `reboot-host`
 *          guests/UUID     one line per guest, rewritten atomically; guests outlive the agent
 *          guests/UUID.ID.writes  what it has written to a disk (simulated_disk.c)
 *          sim.sock        control socket: a line in, a line out (`ok …` or `error …`)
 *   create name=N uuid=U memory=MiB maxmem=MiB vcpus=N mac=M bridge=vi-… [netns=NS] [ifname=eth0]
 *          [image=HASH]… [kernel=HASH [ramdisk=HASH]] (of files in the image folders; such a guest moves only to where they are)
 *          [disk=NAME|ID[:vdev]]… [writes=N a second] (of this host's disks: random blocks are written to them)
 *          cpu=PERCENT used=MiB dirty=MiBps [movable=no] [on_poweroff=… on_reboot=… on_crash=…]
 *   load NAME [cpu=…] [used=…] [dirty=…] [writes=…]   verify NAME (`ok blocks=N bad=N errors=N`: is what it has written on its disks?)   list   destroy NAME   shutdown NAME   reboot NAME
 *   crash NAME   rename OLD NEW   reboot-host
 * `list` answers with one item per guest, "; " between: `name=… uuid=… domid=… state=… incoming=0|1
 * memory= target= maxmem= used= cpu= weight= cap= cpu_ms= steal_ms= mac= bridge=`.
 *
 * A guest with netns has a veth there (ifname, its MAC); the other end, vs-<8 hex digits of the
 * UUID>, is in the bridge of the environment while the guest runs here. While it is suspended or
 * incoming, that end waits in the limbo namespace; the host that lets the guest run fetches it. */
#ifndef XEN_SIMULATED_H
#define XEN_SIMULATED_H

#include <uv.h>

#include "xen/disks.h"

struct hypervisor_simulated_config {
    const char *dir;   /* made if missing */
    const char *const *image_folders; /* as libxl's: what a guest is made from must be there */
    unsigned n_image_folders;
    const char *outside_bridge; /* for guests' legs outside; NULL: none */
    const char *limbo; /* name of a network namespace (ip netns); NULL: guests with netns can't move */
    struct disks *disks; /* disk_host's, borrowed: it outlives the hypervisor; NULL: guests have none */
};

/* NULL with a sentence in why. ops->close needs the loop to run until its handles are closed. */
struct hypervisor *hypervisor_simulated_open(uv_loop_t *loop,
                                             const struct hypervisor_simulated_config *cfg,
                                             char *why, size_t why_size);

#endif
