/* Environments that violin makes from images, as a pure core: one on every host, with two parts.
 *
 *   job    at the host where somebody asked: places the guests, makes, starts, stops, removes them, one question to
 *          one host at a time, asked again until the answer is the wanted one
 *   guest  at the host where it is, or shall be: a lease of its room, then the guest itself, kept here (what it is made
 *          of, and whether it shall run) until it moves or is removed; so it can be started again, and after a reboot is
 *
 * Making is a commit in two phases with presumed abort (Gray and Reuter, "Transaction Processing", 1993, §10.3; Mohan,
 * Lindsay, Obermarck, "Transaction Management in the R* Distributed Database Management System", 1986, §3):
 *
 *   LEASE  every host says whether it has room and the images       the job writes that it has begun
 *   MAKE   the job writes PLANNED, with their hosts; each host writes the guest down, makes it, leaves it paused
 *   RUN    all are made: the job writes COMMITTED; each host writes that it keeps the guest, and starts it
 *   DROP   before COMMITTED, whatever fails: each host destroys its guest, forgets it
 *
 * A host that doesn't hear from the job any more asks it (WHAT): an unknown job was dropped. If nobody answers for
 * ENVMAKE_GIVEN_UP the host drops its paused guest by itself; a committed job that finds it gone makes it there again.
 * A guest is only ever made at the host that its job wrote down, so it is never doubled. A job that is found after a
 * restart goes on: PLANNED is dropped, COMMITTED completed.
 *
 * No I/O and no clock: questions come in and are answered at once, effects are taken out. peer/README.md has the
 * states as a table. */
#ifndef PEER_ENVMAKE_H
#define PEER_ENVMAKE_H

#include "peer/base/clock.h"
#include "policy/policy.h"
#include "xen/disk.h"
#include "xen/hypervisor.h"

#define ENVMAKE_GUESTS       64 /* of one environment, beside its head: numbers 1 … 64; the head is 0 */
#define ENVMAKE_JOBS         8  /* at one host, with those just over: then VI_EFULL */
#define ENVMAKE_HERE         128 /* guests kept, made or promised on one host; more are refused */
#define ENVMAKE_HOSTS        64 /* looked at for placing, the most room first; asked about an environment */
#define ENVMAKE_DISKS        4
#define ENVMAKE_CMDLINE      192 /* with NUL, before %n, %N, %a, %p are replaced */
#define ENVMAKE_NAME         32  /* of an environment, with NUL */
#define ENVMAKE_DESCRIPTION  760 /* bytes of a guest's description, so that a question fits a datagram */
#define ENVMAKE_QUESTION_MAX 1000 /* with four writable disks; 833 without */
#define ENVMAKE_ANSWER_MAX   900
#define ENVMAKE_RECORD_MAX   3072
#define ENVMAKE_WHY          160
#define ENVMAKE_LISTED       14 /* guests told of in one answer */

#define ENVMAKE_TERM         (60 * VI_SEC)  /* of a lease, from when it was asked for last */
#define ENVMAKE_SILENT       (10 * VI_SEC)  /* the job hasn't asked for so long: it is asked, every 5 s */
#define ENVMAKE_GIVEN_UP     (120 * VI_SEC) /* and then the paused guest is dropped */
#define ENVMAKE_PLACING_MOST (60 * VI_SEC)
#define ENVMAKE_FETCH_MOST   (30 * VI_MIN) /* while hosts fetch images */
#define ENVMAKE_NO_ANSWER    (20 * VI_SEC)  /* of a host, before COMMITTED: then the job is dropped */
#define ENVMAKE_STOP_MOST    (60 * VI_SEC)  /* a guest may take to power off */

/* What the guests of an environment are made from and with: the same for all. */
struct envmake_spec {
    uint32_t vcpus;      /* 1 … 128 */
    uint64_t kb, max_kb; /* 16 MiB ≤ kb ≤ max_kb */
    uint32_t weight;     /* 1 … 65535 */
    bool has_ramdisk;
    uint8_t kernel[HV_HASH_SIZE], ramdisk[HV_HASH_SIZE];
    unsigned n_disks;    /* xvda, xvdb, … */
    uint8_t disk[ENVMAKE_DISKS][HV_HASH_SIZE]; /* an image; zero: none */
    uint64_t sectors[ENVMAKE_DISKS]; /* 0: the image, read-only. Else a disk of that size of the guest's own, writable: a copy
                                        of the image, zeros after that */
    char cmdline[ENVMAKE_CMDLINE]; /* printable; %n number, %N name, %a address, %p prefix, %% */
    bool net;            /* the guests have addresses: net4 + 10 + number, the head's is net4 + 1 */
    uint8_t net4[4];     /* the network's address */
    unsigned prefix;     /* 8 … 25 */
    enum hv_action on_poweroff, on_reboot, on_crash;
};

/* A guest's own writable disks, by place (0: xvda). */
struct envmake_disks {
    uint64_t sectors[ENVMAKE_DISKS];             /* 0: there is no such one */
    uint8_t image[ENVMAKE_DISKS][HV_HASH_SIZE];  /* what it begins with; zero: zeros. Not known of a guest that came here */
};
void envmake_disk_id(const struct vi_id *guest, unsigned place, struct vi_id *out);
void envmake_disk_name(const char *guest_name, unsigned place, char out[HV_NAME_MAX]); /* NAME-1-xvda */

/* 0, or VI_EINVAL with a phrase in why. */
int envmake_spec_check(const struct envmake_spec *s, char *why, size_t cap);
/* The MAC of a guest's first card: the same for an environment and a number, always. */
void envmake_mac(const struct vi_id *env, unsigned number, uint8_t mac[6]);
void envmake_guest_name(const char *env_name, unsigned number, char out[HV_NAME_MAX]); /* NAME-1 …, NAME-head */
/* The guest as its host is told; its UUID follows from job and number. VI_EINVAL, VI_EFULL: it would be too long. */
int envmake_describe(const struct envmake_spec *s, const struct vi_id *job, const struct vi_id *env, const char *env_name,
                     unsigned number, struct hv_description *out);

/* What a guest is made of, in 8 bytes: of all but its UUID, its memory just now, its weight and what its own disks began
 * with. Disks that were attached to it since aren't looked at. */
uint64_t envmake_print(const struct hv_description *d, const struct envmake_disks *disks);

/* A guest as the hypervisor has it. */
struct envmake_view {
    bool known; /* the list was read; the rest counts */
    bool here, running, paused, incoming;
    uint32_t domid;
};

/* A host with room, as its summary says. */
struct envmake_host {
    struct vi_id id;
    uint64_t free_kb, total_kb;
    double free_pct, capacity_pct;
};

enum envmake_record { ENVMAKE_RECORD_GUEST = 1, ENVMAKE_RECORD_JOB = 2 };

struct envmake_hooks {
    void *arg;
    /* Writes a record that replaces the one with that key, on the disk when it returns 0; forgets one. */
    int (*save)(void *arg, enum envmake_record kind, const struct vi_id *key, const uint8_t *data, size_t len);
    int (*forget)(void *arg, enum envmake_record kind, const struct vi_id *key);
    void (*view)(void *arg, const struct vi_id *guest, struct envmake_view *out);
    bool (*env_open)(void *arg, const struct vi_id *env); /* known and with its bridge */
    bool (*env_gone)(void *arg, const struct vi_id *env); /* removed, as its home said: nobody starts a guest of it again */
    bool (*owned)(void *arg, const struct vi_id *guest);  /* by this host, as far as it knows */
    bool (*moving)(void *arg, const struct vi_id *guest); /* a handover has it, perhaps undecided */
    int (*can_take)(void *arg, uint64_t kb, double pct, uint64_t promised_kb, double promised_pct, char *why, size_t cap);
    /* Hosts of our domain that are alive and take guests, this one too, the most room first. */
    unsigned (*candidates)(void *arg, struct envmake_host *out, unsigned most);
    /* Hosts that may have guests of env, this one too. */
    unsigned (*hosts)(void *arg, const struct vi_id *env, struct vi_id *out, unsigned most);
    void (*fault)(void *arg, const char *name); /* may be NULL */
    /* Rules of env and where its guests are, borrowed until the next call; NULL: none. May be NULL. */
    const struct policy_rules *(*rules)(void *arg, const struct vi_id *env);
    /* A guest that was kept here is another host's now: of its own disks old copies may be here. May be NULL. */
    void (*left)(void *arg, const struct vi_id *env, const struct vi_id *guest, const struct envmake_disks *disks);
};

struct envmake_config {
    struct vi_id self;
    bool start; /* after a reboot, what was running */
    struct envmake_hooks hooks;
};

enum envmake_op {
    ENVMAKE_OP_CHECK, ENVMAKE_OP_CREATE, ENVMAKE_OP_RUN, ENVMAKE_OP_SHUTDOWN, ENVMAKE_OP_DESTROY,
    ENVMAKE_OP_DISKS, /* makes its disks, those that aren't here; VI_EAGAIN: one is being made, as was asked before */
    ENVMAKE_OP_WIPE   /* removes them, those that are here */
};

enum envmake_effect_kind {
    ENVMAKE_FX_ASK,  /* a question to peer: answer with envmake_answered(token) */
    ENVMAKE_FX_HV,   /* op on guest: answer with envmake_done(); data: the description, for CHECK, CREATE, DISKS and WIPE; disks. CHECK: VI_EAGAIN
                        with a word: its images are being fetched, it is asked again in a second. peer: who asked for the guest, and has its images */
    ENVMAKE_FX_NOTE, /* for people: env, text */
    ENVMAKE_FX_OVER  /* a job has ended: id, err, text */
};

enum envmake_kind { ENVMAKE_MAKE = 1, ENVMAKE_START, ENVMAKE_STOP, ENVMAKE_REMOVE, ENVMAKE_LOOK };

struct envmake_effect {
    enum envmake_effect_kind kind;
    struct vi_id peer, guest, env, id;
    enum envmake_op op;
    enum envmake_kind job; /* OVER */
    bool fresh;            /* OVER of a MAKE: the environment was made for it */
    uint32_t domid;
    uint64_t token;
    int err;
    struct envmake_disks disks;
    char text[ENVMAKE_WHY];
    size_t len;
    uint8_t data[ENVMAKE_QUESTION_MAX];
};

struct envmake;
struct envmake *envmake_new(const struct envmake_config *cfg); /* NULL without memory */
void envmake_free(struct envmake *m);

/* Records as they were saved, before anything else; then, once, envmake_loaded() with this boot's id. VI_EPROTO. */
int envmake_load(struct envmake *m, vi_time now, enum envmake_record kind, const struct vi_id *key, const uint8_t *data,
                 size_t len);
void envmake_loaded(struct envmake *m, vi_time now, const struct vi_id *boot);

/* A question from a member of our own domain (its right to ask is the caller's to see to): the answer's length, at most
 * ENVMAKE_ANSWER_MAX, or VI_EPROTO; VI_EAGAIN before envmake_loaded(). */
int envmake_asked(struct envmake *m, vi_time now, const struct vi_id *from, const uint8_t *data, size_t len,
                  uint8_t out[ENVMAKE_ANSWER_MAX]);
void envmake_answered(struct envmake *m, vi_time now, uint64_t token, int err, const uint8_t *data, size_t len);
void envmake_done(struct envmake *m, vi_time now, const struct vi_id *guest, enum envmake_op op, int err,
                  const char *why);
void envmake_tick(struct envmake *m, vi_time now);
vi_time envmake_deadline(const struct envmake *m);
/* The oldest effect not taken, or NULL; borrowed until the next call. At most 256 wait; beyond that a question counts
 * as unanswered and an operation as failed. */
const struct envmake_effect *envmake_effect(struct envmake *m);

/* How far ENVMAKE_OP_DISKS is. */
void envmake_copied(struct envmake *m, const struct vi_id *guest, unsigned percent);
/* A guest that came by a handover (its description says whether it is kept), or came back: kept here from now on. disks: its
 * own ones' sizes. */
void envmake_arrived(struct envmake *m, vi_time now, const struct vi_id *env, const struct hv_description *d,
                     const struct envmake_disks *disks);
/* One that was given away: forgotten here. */
void envmake_given(struct envmake *m, const struct vi_id *guest);
/* What a kept guest is made from, for its next host. False: it isn't kept here. */
bool envmake_kept(const struct envmake *m, const struct vi_id *guest, struct hv_description *out);
unsigned envmake_kept_of(const struct envmake *m, const struct vi_id *env); /* here, running or not */
/* Room that is promised here to guests that aren't in the hypervisor's list yet. */
void envmake_promised(const struct envmake *m, uint64_t *kb, double *pct);
/* Sectors that are promised to disks that aren't made yet, of others than this guest (NULL: of all); those of two guests that are checked at
 * the same time count for one of them. */
uint64_t envmake_disks_promised(const struct envmake *m, const struct vi_id *guest);
/* An operator has attached a disk to a guest, or taken it away: one that is kept is started so the next time, too. A disk of its own
 * that was taken away isn't removed with it any more. VI_ENOTFOUND: it isn't kept here; VI_EFULL; VI_EIO. */
int envmake_attached(struct envmake *m, const struct vi_id *guest, const struct vi_id *disk, const char *vdev);
int envmake_detached(struct envmake *m, const struct vi_id *guest, const struct vi_id *disk);

/* Jobs. fresh: the environment was made for this, and goes with it if it fails. head: one more guest, number 0, with a leg outside, at head_host unless that is zero. first: the number of the
 * first of `guests`. 0 with *id; VI_EFULL; VI_EEXIST (the environment has a job that isn't over); VI_EINVAL; VI_ESTATE
 * (not loaded). */
int envmake_begin(struct envmake *m, vi_time now, const struct vi_id *id, const struct vi_id *env, const char *env_name,
                  const struct envmake_spec *spec, unsigned first, unsigned guests, bool head,
                  const struct vi_id *head_host, bool fresh, char *why, size_t cap);
/* START, STOP or REMOVE of all guests of env that violin made, in order: the head first when they start, last when they
 * stop. force: STOP destroys who doesn't stop in ENVMAKE_STOP_MOST, REMOVE those that run. least: REMOVE only guests
 * with this number or a greater one; 0: all. LOOK only lists them, and says which aren't made of spec (else NULL). A MAKE of the environment that isn't committed is dropped by a REMOVE. */
int envmake_order(struct envmake *m, vi_time now, const struct vi_id *id, const struct vi_id *env, const char *env_name,
                  enum envmake_kind kind, bool force, unsigned least, const struct envmake_spec *spec, char *why,
                  size_t cap);

struct envmake_item_view {
    unsigned number;
    bool head, placed, done;
    bool differs; /* LOOK: from the spec */
    struct vi_id uuid, host;
    const char *state; /* a word: "placing", "leased", "making", "made", "starting", "running", … */
    const char *why;
};
struct envmake_job_view {
    struct vi_id id, env;
    enum envmake_kind kind;
    const char *phase; /* "placing", "making", "starting", "dropping", "looking", "working", "done", "failed" */
    char env_name[ENVMAKE_NAME];
    char why[ENVMAKE_WHY];
    bool over, committed;
    bool part; /* REMOVE: not of all guests */
    int err;
    unsigned n, done;
    struct envmake_item_view item[ENVMAKE_GUESTS + 1];
};
bool envmake_job(const struct envmake *m, const struct vi_id *id, struct envmake_job_view *out);
bool envmake_job_next(const struct envmake *m, unsigned *pos, struct envmake_job_view *out);

struct envmake_guest_view {
    struct vi_id uuid, env;
    unsigned number;
    bool head, run;    /* run: it shall */
    const char *state;
    const char *why;   /* "" when all is well */
    struct hv_description description;
};
bool envmake_guest_next(const struct envmake *m, unsigned *pos, struct envmake_guest_view *out);

/* For the fuzzer: walks a question, an answer or a record. */
int envmake_wire_check(const uint8_t *data, size_t len);

#endif
