/* The handover on virtual time: two hosts (0 is the source), a model hypervisor each that outlives
 * its peer, a journal that outlives both, a network that loses. What a fault does is done here, and
 * what may come of it is noted when it strikes: `gone` and `may_be_gone` below. */
#ifndef TESTS_SIM_HANDOVER_WORLD_H
#define TESTS_SIM_HANDOVER_WORLD_H

#include "policy/handover.h"

enum hw_fault {
    HW_NONE,
    HW_CRASH_S,
    HW_CRASH_D,
    HW_REBOOT_S,
    HW_REBOOT_D,
    HW_CUT,
    HW_CUT_FOR_GOOD,
    HW_DISK_S,
    HW_DISK_D,
    HW_XL_DESTROY_S,
    HW_XL_DESTROY_D,
    HW_XL_REBOOT_S,
    HW_XL_REBOOT_D,
    HW_XL_SHUTDOWN_S,
    HW_XL_SHUTDOWN_D,
    HW_PANIC_S,
    HW_PANIC_D,
    HW_XL_RENAME_S,
    HW_XL_RENAME_D,
    HW_FAULTS_DISKLESS, /* those before strike every guest, those after one whose disk moves with it */
    HW_DISKS_CUT = HW_FAULTS_DISKLESS,
    HW_DISKS_STALL,
    HW_STORAGE_D,
    HW_FAULTS
};
extern const char *const hw_fault_names[HW_FAULTS];

#define HW_QUEUE   256 /* more in flight fails the case */
#define HW_RECORDS 128
#define HW_NAME    "g"
#define HW_RENAMED "g--migratedaway" /* by an operator */

enum hw_dom { HW_ABSENT, HW_RUNS, HW_PAUSED, HW_SUSPENDED, HW_ENDED };

/* A reboot or a shutdown is a request in xenstore: a guest that is paused or suspended takes it
 * once it runs. */
enum hw_request { HW_NOTHING, HW_REBOOT, HW_SHUTDOWN };

struct hw_host {
    struct handovers *core; /* NULL: crashed */
    struct vi_id id, boot, journal;
    uint8_t pk[32], sk[64];
    enum hw_dom dom;
    char name[32];
    bool saving; /* the guest is stopped, its last pages are on their way */
    bool incoming;
    bool rebuilding; /* `xl reboot`'s old domain has gone, its new one comes */
    uint32_t domid, next_domid;
    vi_time back_at, disk_fails_until;
    unsigned n_records, generation;
    enum hw_request request;
    bool moved, failed, go, owned; /* go: on the source's disk; owned: on the destination's */
    struct { /* last: begins as it is */
        struct vi_id id;
        size_t len;
        bool gone;
        uint8_t data[HANDOVER_RECORD_MAX];
    } records[HW_RECORDS];
};

enum hw_kind {
    HW_MESSAGE,
    HW_DONE_PERSIST,
    HW_DONE_HV,
    HW_DONE_ADMIT,
    HW_STREAM_COMES,
    HW_GUEST_STOPS,
    HW_REBUILT,
    HW_MIRROR_STEP,
    HW_WRITE_LANDS
};

struct hw_item {
    vi_time at;
    uint64_t seq;
    enum hw_kind kind;
    int to;
    unsigned generation;
    struct vi_id id;
    enum handover_op op;
    int err;
    uint32_t domid; /* that the operation is for */
    unsigned block;
    uint64_t written; /* WRITE_LANDS */
    size_t len;
    uint8_t data[HANDOVER_MESSAGE_MAX];
};

struct hw {
    struct hw_host h[2];
    vi_time now, cut_until;
    uint64_t seq;
    struct vi_rng rng;
    unsigned n;
    /* the faults of this case; they strike at the fault points met, counted */
    unsigned point, at[2];
    enum hw_fault what[2];
    bool due[2];
    bool streaming, stream_broken, overflow;
    unsigned twice;   /* how often two copies were seen running */
    bool gone;        /* somebody ended the guest: no copy may run in the end */
    bool may_be_gone; /* a host died with what may have been the only copy */
    struct hw_item queue[HW_QUEUE]; /* last: begins as it is */
};
extern struct hw *hw;
extern const struct vi_id hw_older;
/* What is asked of the worlds begun from now on. states: called with every STATE effect; NULL: nobody is. refuses: the
 * destination admits nobody. disk: the guest has one that moves with it; back: to a host that has an old copy of it; stale: one too old. */
struct hw_options {
    void (*states)(const struct handover_effect *fx);
    bool refuses, disk, back, stale;
};
extern struct hw_options hw_options;

/* From the start: the guest runs at host 0 and is told to move to host 1. older: an earlier move of
 * it, to a host that never answered, is still in the journal, as hw_older. */
void hw_begin(uint64_t seed, bool older, unsigned a, enum hw_fault fa, unsigned b,
              enum hw_fault fb);
void hw_end(void);
void hw_step(int n, struct handover_event *ev);
void hw_turn(vi_time until);
unsigned hw_running(void);
int hw_runs_at(void); /* -1: nowhere */

#endif
