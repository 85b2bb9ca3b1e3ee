/* Inside the libxl backend (xen/libxl_*.c); nobody else includes this.
 *
 * An operation (struct lx_op) lives from the public call until its callback. The call only copies
 * and queues; the loop runs it (lx_queue's timer), so that no callback runs inside a call and no
 * operation starts inside another's libxl callback: a synchronous libxl call may deliver other
 * operations' completions before it returns. libxl's callbacks therefore only note their result
 * (lx_ao_done) and put the operation back in the queue with its next step. */
#ifndef XEN_LIBXL_INTERNAL_H
#define XEN_LIBXL_INTERNAL_H

#include <libxl.h>
#include <libxl_event.h>
#include <libxl_utils.h>
#include <uv.h>
#include <xenstore.h>

#include "xen/disk_host.h"
#include "xen/hypervisor.h"
#include "xen/images.h"
#include "xen/kept_disks.h"
#include "xen/libxl_backend.h"

#define LX_DOMS_MAX   (HV_GUESTS_MAX + 64)
#define LX_NAME_MAX   (HV_NAME_MAX + 32) /* with what we put behind it */
#define LX_SCAN_MS    2000  /* what no watch tells: pauses, renames, lost watches */
#define LX_STATIC_AGE (20 * VI_SEC) /* a guest's configuration is read again after that */
#define LX_LOOK_AGAIN (20 * VI_SEC) /* at most so often the image folders are looked through for a guest's new image */
#define LX_INCOMING   "--incoming"
#define INVALID_DOMID_VALUE ((uint32_t)INVALID_DOMID)

enum lx_mark { LX_UNMARKED, LX_MARK_INCOMING, LX_MARK_OWNED };

/* What does not change often about a guest, from its configuration. */
struct lx_static {
    vi_time read_at; /* 0: not read */
    enum hv_type type;
    uint32_t vcpus;
    uint64_t max_kb;
    unsigned n_vifs, n_disks;
    struct hv_vif vifs[HV_VIFS_MAX];
    struct hv_disk disks[HV_DISKS_MAX];
    unsigned n_boot;
    uint8_t boot[HV_BOOT_MAX][HV_HASH_SIZE];
    char why_not[96]; /* "" if it may move */
};

/* A domain as the last scan saw it. */
struct lx_dom {
    uint32_t domid;
    struct vi_id uuid;
    char name[LX_NAME_MAX];
    enum hv_guest_state state;
    enum hv_reason reason;
    enum lx_mark mark;
    bool acted; /* on_* of this shutdown was begun */
    bool seen;
    struct lx_static st;
};

struct lx;
struct lx_op;
typedef void lx_step(struct lx_op *op);

/* What a configuration is built for. */
enum lx_purpose {
    LX_ASK_RECEIVE, /* to see whether it could be: its disks are made later */
    LX_RECEIVE,
    LX_CREATE
};

enum lx_callback { LX_DONE, LX_HOST, LX_LIST, LX_DESCRIBE, LX_RESTORE, LX_IMAGE };

struct lx_op {
    struct lx *lx;
    struct lx_op *next;   /* of all operations */
    struct lx_op *queued; /* of those whose step is due */
    lx_step *step;
    bool due, exclusive; /* exclusive: no other exclusive operation on this domid meanwhile */

    enum lx_callback kind;
    bool callback; /* is still to be called */
    union {
        hv_done *done;
        hv_host_done *host;
        hv_list_done *list;
        hv_describe_done *describe;
        hv_restore_done *restore;
        hv_image_done *image;
    } cb;
    void *arg;

    uint32_t domid;
    struct vi_id uuid;
    uint64_t kb;
    uint32_t weight, cap;
    int fd;                   /* suspend, restore; -1 if none */
    struct hv_description *d; /* can_receive, restore, describe */

    libxl_asyncop_how how;
    bool ao; /* under way in libxl */
    int rc;  /* its result */

    uv_work_t work;
    bool working;
    uv_timer_t timer; /* reboot: until the next attempt */
    bool timer_open;

    /* restore */
    uv_process_t child;
    bool child_open, child_running, config_set;
    int64_t child_status;
    int child_signal;
    int pipe;
    libxl_domain_config config;

    /* create, image; attach: the vdev */
    bool creating; /* no other create of this uuid meanwhile */
    char name[HV_NAME_MAX];
    uint8_t hash[HV_HASH_SIZE];

    /* attach, detach */
    struct vi_id disk_id;
    libxl_device_disk disk;
    bool disk_set;

    /* disks that this operation is giving to a guest: nobody else gets them meanwhile */
    unsigned n_moving;
    struct kept_disk moving[HV_DISKS_MAX];

    /* reboot */
    unsigned attempts;
    bool restart;
};

struct lx {
    struct hypervisor base; /* first */
    uv_loop_t *loop;
    libxl_ctx *ctx;
    xentoollog_logger logger;
    struct xs_handle *xs;
    struct images *images;
    struct disks *disks; /* the host's; NULL: it has none */
    bool unread;      /* a guest's image has not been read since it changed */
    bool looking;     /* the folders are being looked through */
    vi_time looked_at;
    char *self, *state_folder, *outside; /* outside: bridge for guests' legs outside, or NULL */
    uv_uid_t uid;
    uv_gid_t gid;
    bool shadow; /* PV guests can be logged for dirty pages */
    uint8_t cpu_features[32];

    uv_timer_t queue_timer, scan_timer;
    uv_signal_t sigchld;
    uv_poll_t xs_poll;
    int xs_fd;
    unsigned handles; /* open ones of the four above */
    struct lx_op *ops, *queue, **queue_end;
    bool closing, lost;

    struct lx_dom doms[LX_DOMS_MAX];
    unsigned n_doms;
};

/* ---- libxl_loop.c: libxl's events on the loop */
int lx_loop_open(struct lx *lx);
void lx_logger_init(struct lx *lx);

/* ---- libxl_backend.c: reads what is new in the image folders, in a worker thread, and then all configurations anew */
void lx_look_through(struct lx *lx);

/* ---- libxl_op.c: operations */
struct lx_op *lx_op_new(struct lx *lx, lx_step *step, enum lx_callback kind, void *arg);
void lx_queue(struct lx_op *op, lx_step *step); /* step runs from the loop, soon */
/* Ends the operation: its callback with err and the sentence, then frees it. */
void lx_finish(struct lx_op *op, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void lx_close_fd(int *fd);
bool lx_busy(const struct lx *lx, uint32_t domid, const struct lx_op *except);
/* Prepares op->how so that lx_queue(op, then) happens at completion with op->rc. */
const libxl_asyncop_how *lx_how(struct lx_op *op, lx_step *then);
/* After starting with lx_how: if rc says it did not start, ends the operation with `what`. */
bool lx_started(struct lx_op *op, int rc, const char *what);
void lx_queue_run(uv_timer_t *t);
void lx_close(struct hypervisor *h);
void lx_release_if_idle(struct lx *lx);

/* ---- libxl_facts.c: reading */
struct lx_dom *lx_find(struct lx *lx, uint32_t domid);
/* Domain domid as it is now, if it has that uuid: 0, VI_ENOTFOUND, VI_EIO. info may be NULL; it is
 * the caller's to dispose when 0 is returned. */
int lx_lookup(struct lx *lx, uint32_t domid, const struct vi_id *uuid, libxl_dominfo *info);
void lx_state(const libxl_dominfo *info, enum hv_guest_state *state, enum hv_reason *reason);
enum lx_mark lx_mark_get(struct lx *lx, uint32_t domid, const char *name);
int lx_mark_set(struct lx *lx, uint32_t domid, enum lx_mark mark);
bool lx_name(struct lx *lx, uint32_t domid, char *out, size_t cap);
/* name without "--incoming" */
void lx_own_name(const char *name, char *out, size_t cap);
struct lx_static *lx_static_of(struct lx *lx, struct lx_dom *dom);
void lx_step_host(struct lx_op *op);
void lx_step_list(struct lx_op *op);
int lx_host_facts(struct lx *lx);

/* ---- libxl_config.c: between libxl configurations and descriptions */
void lx_static_read(struct lx *lx, const struct lx_dom *dom, const libxl_domain_config *c,
                    struct lx_static *st);
/* 0, or VI_EUNSUPPORTED with the reason in why. */
int lx_describe_config(struct lx *lx, const libxl_domain_config *c, struct hv_description *d,
                       char *why, size_t cap);
/* From op->d into op->config. */
int lx_build_config(struct lx_op *op, enum lx_purpose purpose, char *why, size_t cap);
enum hv_action lx_action(libxl_action_on_shutdown a);

/* ---- libxl_move.c */
/* Looks through the image folders in a worker thread, then goes on with `then`. */
void lx_refresh_then(struct lx_op *op, lx_step *then);
/* Checks op->d against what is here and builds op->config from it; what is received comes with another host's CPU, and
 * with no leg outside. 0, or the error with a reason. */
int lx_receivable(struct lx_op *op, enum lx_purpose purpose, char *why, size_t cap);
bool lx_memory_for(struct lx *lx, uint64_t kb);
void lx_step_describe(struct lx_op *op);
void lx_step_can_receive(struct lx_op *op);
void lx_step_suspend(struct lx_op *op);
void lx_step_restore(struct lx_op *op);

/* ---- libxl_create.c: new guests from images */
void lx_step_create(struct lx_op *op);
void lx_step_can_create(struct lx_op *op);
void lx_step_image(struct lx_op *op);

/* ---- libxl_disk.c: disks that move with their guests */
/* Is it one of this host's disks, not an old copy? Which one. */
bool lx_disk_moves(struct lx *lx, const libxl_device_disk *k, struct vi_id *id);
/* Why a disk that is none of these keeps its guest here, and what lets it move. */
void lx_disk_why_local(struct lx *lx, const libxl_device_disk *k, char *why, size_t cap);
/* k: that disk, as vdev of op's guest. Only a copy that no other guest has; to create only the true one. */
int lx_disk_build(struct lx_op *op, enum lx_purpose purpose, const char *vdev, const struct vi_id *disk, libxl_device_disk *k,
                  char *why, size_t cap);
/* Before the guest of op->config is destroyed to be started again: which of its disks are which; and then: where they are. */
void lx_disk_remember(struct lx_op *op);
int lx_disk_find_again(struct lx_op *op, char *why, size_t cap);
void lx_step_attach(struct lx_op *op);
void lx_step_detach(struct lx_op *op);

/* ---- libxl_guest.c: a running guest */
/* Looks the guest up and says its state; false and the operation ended if it is not there. out may be NULL. */
bool lx_guest_state(struct lx_op *op, enum hv_guest_state *state, libxl_dominfo *out);
/* Nothing else exclusive is done with the guest; else the operation has ended. */
bool lx_alone(struct lx_op *op);
void lx_step_set_memory(struct lx_op *op);
void lx_step_set_sched(struct lx_op *op);
void lx_step_unpause(struct lx_op *op);
void lx_step_pause(struct lx_op *op);
void lx_step_resume(struct lx_op *op);
void lx_step_destroy(struct lx_op *op);
void lx_step_shutdown(struct lx_op *op);

/* ---- libxl_events.c */
int lx_events_open(struct lx *lx);
void lx_scan(struct lx *lx, bool quiet);
/* ---- libxl_reboot.c: on_poweroff, on_reboot, on_crash of the guests that are ours */
void lx_act(struct lx *lx, struct lx_dom *dom);
void lx_reboot_leftovers(struct lx *lx); /* of an agent that died between destroy and create */

#endif
