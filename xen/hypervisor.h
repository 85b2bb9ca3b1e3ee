/* The hypervisor interface: what violin asks of the machine below, and what it hears from it.
 *
 * Behind it: `libxl` (xen/libxl*.c, in the agent), `simulated` (xen/simulated*.c, in the agent or,
 * as numbers on virtual time, in the simulator), and `remote` (peer/agent_client.c: the unprivileged
 * peer's view of the agent's one, over their link).
 *
 * Every operation is asynchronous: it returns 0 and calls `done` later, exactly once, never from
 * inside the call; or it returns a vi_err and never calls. Operations name a guest by (domid, uuid);
 * where the domain with that domid has another UUID, or none has, the result is VI_ENOTFOUND, so
 * that a domain id that was used again can't be hit. All memory is in KiB, CPU time in ns.
 *
 * Ownership: arguments are copied before the call returns; what is handed to a callback is borrowed
 * until it returns. Descriptors given to suspend and restore are closed by the implementation. */
#ifndef XEN_HYPERVISOR_H
#define XEN_HYPERVISOR_H

#include "peer/base/clock.h"
#include "peer/base/err.h"
#include "peer/base/id.h"

#define HV_GUESTS_MAX 256 /* on one host; further ones are counted, not listed */
#define HV_VIFS_MAX   8
#define HV_DISKS_MAX  8
#define HV_MOVABLE_MAX 4 /* of them, HV_DISK_MOVABLE: as many as a handover takes */
#define HV_BOOT_MAX   2 /* kernel, ramdisk */
#define HV_NAME_MAX   64
#define HV_HASH_SIZE  32 /* BLAKE2b-256 of a file's bytes */

enum hv_guest_state {
    HV_RUNNING, /* running or blocked: it makes progress when it has work */
    HV_PAUSED,
    HV_SUSPENDED, /* shut down with reason suspend: a saved copy, resumable */
    HV_SHUTDOWN,  /* powered off, rebooting or crashed; see reason */
};

enum hv_reason { HV_REASON_NONE, HV_POWEROFF, HV_REBOOT, HV_SUSPEND, HV_CRASH, HV_WATCHDOG };

enum hv_action { /* what on_poweroff, on_reboot, on_crash ask for */
    HV_ACT_DESTROY, HV_ACT_RESTART, HV_ACT_PRESERVE
};

enum hv_type { HV_PVH, HV_HVM, HV_PV };

enum hv_disk_kind {
    HV_DISK_IMAGE,  /* read-only file in one of the host's image folders, known by its hash */
    HV_DISK_SHARED, /* storage that several hosts see, known by its storage id */
    HV_DISK_LOCAL,  /* anything else: the guest can't move */
    HV_DISK_MOVABLE /* writable, moves with its guest, known by its id (xen/disks.h) */
};

struct hv_vif {
    uint8_t mac[6];
    char bridge[16]; /* as configured on this host; "vi-xxxxxxxx" is an environment's */
};

struct hv_disk {
    enum hv_disk_kind kind;
    bool readonly;
    char vdev[16];              /* xvda */
    uint8_t hash[HV_HASH_SIZE]; /* HV_DISK_IMAGE */
    char storage_id[64];        /* HV_DISK_SHARED */
    struct vi_id id;            /* HV_DISK_MOVABLE */
};

/* What the guest itself says (deploy/guest/, through xenstore). Hostile: bounded, never trusted to
 * shrink a guest when absent, stale or absurd. Cumulative counters are since the guest booted. */
struct hv_report {
    bool present;      /* there is one and it is well formed */
    uint64_t sequence; /* increases with every report; staleness is judged by the reader's clock */
    uint64_t total_kb, available_kb, swap_used_kb;
    uint64_t steal_ms; /* over all vcpus, cumulative */
};

struct hv_guest {
    uint32_t domid;
    struct vi_id uuid;
    char name[HV_NAME_MAX];
    enum hv_type type;
    enum hv_guest_state state;
    enum hv_reason reason; /* for HV_SUSPENDED and HV_SHUTDOWN */
    bool incoming;         /* a received copy that was not activated by violin yet */
    uint32_t vcpus;
    uint64_t cpu_time_ns; /* cumulative over all vcpus */
    uint64_t current_kb, target_kb, max_kb;
    uint32_t weight, cap; /* credit2: default 256; cap in percent of one CPU, 0 none */
    unsigned n_vifs, n_disks;
    struct hv_vif vifs[HV_VIFS_MAX];
    struct hv_disk disks[HV_DISKS_MAX];
    unsigned n_boot;
    uint8_t boot[HV_BOOT_MAX][HV_HASH_SIZE]; /* kernel and ramdisk, as far as they are images */
    struct hv_report report;
    bool movable;
    char why_not[96]; /* when it can't move: the reason, for people */
};

struct hv_host {
    struct vi_id boot_id; /* changes when the hypervisor's host reboots */
    char kind[16];        /* "libxl" or "simulated" */
    char version[32];
    uint32_t cpus;
    uint64_t total_kb, free_kb; /* free: not given to any domain */
    uint64_t dom0_kb;
    uint8_t cpu_features[32]; /* hash of what a guest can see of the CPU; equal means compatible */
};

/* What a source tells a destination about a guest: small and bounded, never a libxl configuration.
 * Kernel, ramdisk and disks are named by content hash, never by path. */
struct hv_description {
    struct vi_id uuid;
    char name[HV_NAME_MAX]; /* [A-Za-z0-9_.+-]; the destination may have to choose another */
    enum hv_type type;
    uint32_t vcpus;
    uint64_t target_kb, max_kb;
    uint32_t weight, cap;
    bool has_kernel, has_ramdisk;
    uint8_t kernel[HV_HASH_SIZE], ramdisk[HV_HASH_SIZE];
    char cmdline[512]; /* printable ASCII */
    unsigned n_vifs, n_disks;
    struct {
        uint8_t mac[6];
        struct vi_id environment; /* the destination puts it in its own bridge for that one; zero: a leg
                                     outside, in the bridge that this host's configuration names */
    } vifs[HV_VIFS_MAX];
    struct hv_disk disks[HV_DISKS_MAX];
    enum hv_action on_poweroff, on_reboot, on_crash;
    uint8_t cpu_features[32];
    bool kept; /* violin made it from an image: whoever owns it keeps this, and starts it after a reboot */
};

/* msgpack, at most HV_DESCRIPTION_MAX bytes. encode returns the length or a vi_err; decode rejects
 * everything out of bounds (VI_EPROTO, VI_EINVAL). Implemented in xen/description.c (pure). */
#define HV_DESCRIPTION_MAX 2048
int hv_description_encode(const struct hv_description *d, uint8_t *out, size_t cap);
int hv_description_decode(struct hv_description *d, const uint8_t *data, size_t len);

enum hv_event_kind {
    HV_EV_APPEARED, /* a guest that wasn't there (xl create, restore) */
    HV_EV_GONE,     /* destroyed, by us or behind our back */
    HV_EV_SHUTDOWN, /* powered off, reboots or crashed; the agent carries out on_* by itself */
    HV_EV_CHANGED,  /* renamed, paused, unpaused: list again */
    HV_EV_LOST,     /* the hypervisor can't be reached (any more); a retry is under way */
    HV_EV_BACK,
};

struct hv_event {
    enum hv_event_kind kind;
    uint32_t domid;
    struct vi_id uuid;
    enum hv_reason reason;
};

/* Results. err is 0 or a vi_err; detail is a sentence for people, never NULL. */
typedef void hv_done(void *arg, int err, const char *detail);
typedef void hv_host_done(void *arg, int err, const struct hv_host *host);
typedef void hv_list_done(void *arg, int err, const struct hv_guest *guests, unsigned n);
typedef void hv_describe_done(void *arg, int err, const char *detail,
                              const struct hv_description *d);
/* domid of the paused, incoming copy when err is 0 */
typedef void hv_restore_done(void *arg, int err, const char *detail, uint32_t domid);
/* the hash of an image's bytes when err is 0 */
typedef void hv_image_done(void *arg, int err, const char *detail, const uint8_t hash[HV_HASH_SIZE]);
typedef void hv_on_event(void *arg, const struct hv_event *ev);

struct hypervisor;

struct hypervisor_ops {
    int (*host)(struct hypervisor *h, hv_host_done *done, void *arg);
    int (*list)(struct hypervisor *h, hv_list_done *done, void *arg);
    /* Builds the description of a guest that may move; VI_EUNSUPPORTED with the reason if not.
     * The environment ids of the vifs are left zero: who knows them fills them in. */
    int (*describe)(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid,
                    hv_describe_done *done, void *arg);
    /* Would restore(d) be possible here: images present, UUID and MACs unused, type supported? VI_ENOTFOUND: one of its
     * images isn't here. */
    int (*can_receive)(struct hypervisor *h, const struct hv_description *d, hv_done *done,
                       void *arg);
    /* Sets the balloon target (enforced). Done when set, not when the guest has followed. */
    int (*set_memory)(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, uint64_t kb,
                      hv_done *done, void *arg);
    int (*set_sched)(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid,
                     uint32_t weight, uint32_t cap, hv_done *done, void *arg);
    /* Live: streams the guest into fd; done(0) when it is suspended and the stream complete. After
     * an error the guest may be running or suspended: list tells. Cancelled by closing fd's other
     * end. `progress` may be NULL. */
    int (*suspend)(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, int fd,
                   hv_done *done, void *arg);
    /* Builds the guest from d and the stream, leaves it paused and marked incoming. On an error
     * nothing is left. */
    int (*restore)(struct hypervisor *h, const struct hv_description *d, int fd,
                   hv_restore_done *done, void *arg);
    /* An incoming copy takes its own name, loses the mark and runs. Idempotent. Also for a guest
     * that violin paused. */
    int (*unpause)(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                   void *arg);
    int (*pause)(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                 void *arg);
    /* A suspended guest goes on where it was. Refused (VI_ESTATE) unless it is HV_SUSPENDED. */
    int (*resume)(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                  void *arg);
    int (*destroy)(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done,
                   void *arg);
    /* Builds a new guest from d, without a stream: paused, under d's own name, at d's target; unpause lets it run.
     * d->cpu_features isn't looked at. VI_EEXIST: its UUID, name or a MAC is here; VI_ENOTFOUND: an image isn't; VI_EUNSUPPORTED:
     * it wants a leg outside and this host has no bridge for that. On an error nothing is left. */
    int (*create)(struct hypervisor *h, const struct hv_description *d, hv_restore_done *done, void *arg);
    /* Would create(d) be possible here? Free memory isn't looked at. */
    int (*can_create)(struct hypervisor *h, const struct hv_description *d, hv_done *done, void *arg);
    /* Asks the guest to power off; done when it was asked. Its on_poweroff says what comes then. */
    int (*shutdown)(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, hv_done *done, void *arg);
    /* The image in this host's folders whose file has that name (no path). VI_ENOTFOUND. */
    int (*image)(struct hypervisor *h, const char *name, hv_image_done *done, void *arg);
    /* A disk of this host (xen/disks.h) for a guest that runs, as vdev, and taken from it again; it has it at its next start,
     * too. VI_ENOTFOUND: no such disk; VI_ESTATE: an old copy, or another guest has it; VI_EEXIST: it has such a vdev. May be
     * NULL where guests have no disks. */
    int (*attach)(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, const struct vi_id *disk,
                  const char *vdev, hv_done *done, void *arg);
    int (*detach)(struct hypervisor *h, uint32_t domid, const struct vi_id *uuid, const struct vi_id *disk,
                  hv_done *done, void *arg);
    /* Cancels what is under way (done callbacks run with VI_ECANCELED) and frees h. Guests stay. */
    void (*close)(struct hypervisor *h);
};

struct hypervisor {
    const struct hypervisor_ops *ops;
    hv_on_event *on_event; /* set by the owner before anything can happen; may be NULL */
    void *event_arg;
};

const char *hv_state_name(enum hv_guest_state s);   /* "running" … */
const char *hv_reason_name(enum hv_reason r);       /* "poweroff" … , "" for none */
const char *hv_type_name(enum hv_type t);
/* What a guest sees a disk as: lower-case letters and digits, a letter first, like xvdb. */
bool hv_vdev_ok(const char *vdev);

/* Reads a guest's report as it stands in xenstore (deploy/guest/: one line of key=value). Pure, in
 * xen/report.c. 0, or VI_EPROTO with report->present false. */
int hv_report_parse(struct hv_report *report, const char *text, size_t len);

#endif
