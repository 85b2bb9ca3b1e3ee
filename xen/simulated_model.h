/* A host and its guests as numbers, on the time that it is handed. Pure: the simulator uses it
 * directly, simulated.c puts it behind hypervisor.h.
 *
 * CPU: every guest demands a share of CPUs; the host's CPUs are divided by weight (as credit2 does:
 * nobody gets more than its demand, its vcpus or its cap; what one leaves is divided among the
 * rest). What a guest demanded within its vcpus and didn't get is steal. Memory: the balloon moves
 * towards the target at SIM_BALLOON_KB_S, upwards only into free memory. A guest's report is made
 * every SIM_REPORT_EVERY while it runs. */
#ifndef XEN_SIMULATED_MODEL_H
#define XEN_SIMULATED_MODEL_H

#include "xen/hypervisor.h"

#define SIM_BALLOON_KB_S (512 * 1024)
#define SIM_REPORT_EVERY (5 * VI_SEC)
#define SIM_GUEST_MIN_KB (16 * 1024)
#define SIM_IMAGES_MAX   4
#define SIM_DISKS_MAX    4 /* that are written to and move with their guest */

struct sim_host_config {
    uint32_t cpus;             /* 1…1024 */
    uint64_t total_kb, dom0_kb;
    struct vi_id boot_id;
};

struct sim_load {
    double cpu;        /* percent of one CPU that the guest would use; 0…100 × vcpus counts */
    uint64_t used_kb;  /* memory that it needs */
    uint64_t dirty_kb_s;
    uint32_t writes; /* random blocks of 4 KiB a second, to its disks */
};

struct sim_guest_disk {
    struct vi_id id;
    char vdev[16];
};

struct sim_guest_config {
    struct vi_id uuid;
    char name[HV_NAME_MAX];
    enum hv_type type;
    uint32_t vcpus;
    uint64_t memory_kb, max_kb;
    uint32_t weight, cap; /* 0 weight: 256 */
    unsigned n_vifs;
    struct hv_vif vifs[HV_VIFS_MAX];
    bool movable;
    enum hv_action on_poweroff, on_reboot, on_crash;
    struct sim_load load;
    char netns[64], ifname[16]; /* "" when the guest has no namespace; only carried */
    unsigned n_images; /* read-only disks, xvda and so on, known by their hashes; */
    uint8_t images[SIM_IMAGES_MAX][HV_HASH_SIZE];
    unsigned n_disks;
    struct sim_guest_disk disks[SIM_DISKS_MAX];
    bool has_kernel, has_ramdisk; /* and the images it boots */
    uint8_t kernel[HV_HASH_SIZE], ramdisk[HV_HASH_SIZE];
};

struct sim_guest {
    struct sim_guest_config cfg;
    uint32_t domid;
    enum hv_guest_state state;
    enum hv_reason reason;
    bool incoming;
    uint64_t current_kb, target_kb;
    uint64_t cpu_time_ns, steal_ns;
    double granted; /* percent of one CPU, since the last advance */
    vi_time next_report;
    struct hv_report report;
};

struct sim_model;

/* The images and disks of a description become those of a guest: as many as it can have. */
void sim_take_images(struct sim_guest_config *c, const struct hv_description *d);

struct sim_model *sim_model_new(const struct sim_host_config *cfg, vi_time now); /* NULL: no memory */
void sim_model_free(struct sim_model *m);
void sim_model_advance(struct sim_model *m, vi_time now); /* earlier than the last: nothing happens */

void sim_model_host(const struct sim_model *m, struct hv_host *out);
/* The list as the interface gives it; n bounded by HV_GUESTS_MAX. */
unsigned sim_model_list(const struct sim_model *m, struct hv_guest *out, unsigned cap);
void sim_guest_view(const struct sim_guest *g, struct hv_guest *out);

unsigned sim_model_count(const struct sim_model *m);
struct sim_guest *sim_model_at(struct sim_model *m, unsigned i); /* i < count; order of domid */
struct sim_guest *sim_model_find(struct sim_model *m, uint32_t domid, const struct vi_id *uuid);
struct sim_guest *sim_model_by_uuid(struct sim_model *m, const struct vi_id *uuid);
/* Has a guest here this disk? */
bool sim_model_has_disk(const struct sim_model *m, const struct vi_id *disk);
struct sim_guest *sim_model_by_name(struct sim_model *m, const char *name);

/* 0 with *domid; VI_EEXIST (UUID, name or MAC is here), VI_EFULL (guests, memory), VI_EINVAL. */
int sim_model_create(struct sim_model *m, const struct sim_guest_config *cfg, uint32_t *domid);
/* Puts a whole guest back as it was kept (its domid included, which becomes used). */
int sim_model_put(struct sim_model *m, const struct sim_guest *g);
/* A received copy: paused, incoming, new domid, its own counters and balloon. *why is one sentence
 * when not 0. */
int sim_model_can_receive(const struct sim_model *m, const struct hv_description *d,
                          const char **why);
/* In simulated_build.c. A new guest from a description: paused. VI_EEXIST, VI_EFULL, VI_EINVAL with *why. outside: the bridge of vifs without
 * an environment, or NULL (then VI_EUNSUPPORTED). create: false only asks, and looks at no free memory. */
int sim_model_build(struct sim_model *m, const struct hv_description *d, const char *outside, const char *netns_prefix,
                    bool create, uint32_t *domid, const char **why);
int sim_model_receive(struct sim_model *m, const struct hv_description *d,
                      const struct sim_guest *state, uint32_t *domid);

int sim_model_set_memory(struct sim_model *m, struct sim_guest *g, uint64_t kb); /* VI_EINVAL */
int sim_model_set_sched(struct sim_model *m, struct sim_guest *g, uint32_t weight, uint32_t cap);
int sim_model_suspend(struct sim_model *m, struct sim_guest *g); /* VI_ESTATE unless it runs */
int sim_model_resume(struct sim_model *m, struct sim_guest *g);  /* VI_ESTATE unless suspended */
int sim_model_pause(struct sim_model *m, struct sim_guest *g);
int sim_model_unpause(struct sim_model *m, struct sim_guest *g); /* idempotent */
void sim_model_destroy(struct sim_model *m, struct sim_guest *g); /* g is gone afterwards */
/* The guest powers off, reboots or crashes; state HV_SHUTDOWN with the reason. */
int sim_model_shutdown(struct sim_model *m, struct sim_guest *g, enum hv_reason reason);
/* What the guest's on_* asks for, after a shutdown. */
enum hv_action sim_model_action(const struct sim_guest *g);
/* Starts it again with a new domid, at the target it had; counters begin at 0. */
int sim_model_restart(struct sim_model *m, struct sim_guest *g, uint32_t *domid);
int sim_model_rename(struct sim_model *m, struct sim_guest *g, const char *name);
/* Every guest is gone. */
void sim_model_reboot(struct sim_model *m, const struct vi_id *boot_id);

void sim_model_describe(const struct sim_model *m, const struct sim_guest *g,
                        struct hv_description *out);
void sim_cpu_features(uint8_t out[32]); /* every simulated host has the same */
/* "vi-" and the first 8 hex digits: the bridge of an environment on any host. */
void sim_bridge_name(const struct vi_id *environment, char out[16]);

#endif
