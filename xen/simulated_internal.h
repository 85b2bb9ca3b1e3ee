/* What the files of the simulated hypervisor share. */
#ifndef XEN_SIMULATED_INTERNAL_H
#define XEN_SIMULATED_INTERNAL_H

#include "peer/base/rng.h"
#include "xen/disk_host.h"
#include "xen/images.h"
#include "xen/simulated.h"
#include "xen/simulated_model.h"

#define SIM_TEXT_MAX  3072 /* a guest as one line, with its NUL */
#define SIM_NAME_MAX  64   /* of a network namespace, with its NUL */
#define SIM_DETAIL    160
#define SIM_WRITES_MAX 2000 /* a second, of a guest */
#define SIM_BLOCK     4096
#define SIM_BLOCKS_MAX 8192 /* of a disk are written to: its first 32 MiB */

/* ---- text: a guest as `key=value` words, in files, on the control socket and in streams ---------- */

/* Reads words into g, whose fields keep their values where no word names them. 0, or VI_EINVAL with
 * the offending word in why. */
int sim_text_read(struct sim_guest *g, const char *line, char *why, size_t why_size);
/* The whole guest; reads back the same. Length, or VI_EFULL. */
int sim_text_write(const struct sim_guest *g, char *out, size_t cap);
/* A guest with the defaults that `create` has. */
void sim_text_defaults(struct sim_guest *g);
bool sim_name_ok(const char *name); /* [A-Za-z0-9_.+-], as hv_description_decode wants */
const char *sim_action_name(enum hv_action a);

/* ---- store: the folder ------------------------------------------------------------------------------ */

struct sim_store_host {
    struct sim_host_config host;
    uint64_t stream_max_kb;
    char netns_prefix[32];
};

/* Makes the folder, reads host.conf and boot_id (makes it). */
int sim_store_open(const char *dir, struct sim_store_host *out, char *why, size_t why_size);
int sim_store_new_boot_id(const char *dir, struct vi_id *id);
/* Puts every kept guest into the model; a broken file is skipped and said in the log. */
void sim_store_load(const char *dir, struct sim_model *m);
int sim_store_save(const char *dir, const struct sim_guest *g);
void sim_store_remove(const char *dir, const struct vi_id *uuid);

/* ---- net: the guest's veth, by commands of iproute2 one after another ------------------------------- */

struct sim_net {
    uv_loop_t *loop;
    char limbo[SIM_NAME_MAX];
    unsigned running; /* chains under way; each ends by itself */
};

typedef void sim_net_done(void *arg, int err, const char *detail);

/* done is called later, exactly once, also when there is nothing to do. */
int sim_net_create(struct sim_net *n, const struct sim_guest *g, sim_net_done *done, void *arg);
int sim_net_attach(struct sim_net *n, const struct sim_guest *g, sim_net_done *done, void *arg);
/* Out of the bridge, down; to_limbo: and away, so that another host can fetch it. */
int sim_net_cut(struct sim_net *n, const struct sim_guest *g, bool to_limbo, sim_net_done *done,
                void *arg);
int sim_net_remove(struct sim_net *n, const struct sim_guest *g, sim_net_done *done, void *arg);

/* ---- the hypervisor ------------------------------------------------------------------------------------ */

struct sim_control;
struct sim_disk;
struct sim_job;
struct sim_stream;

struct sim {
    struct hypervisor hv; /* first */
    uv_loop_t *loop;
    char dir[200];
    struct sim_model *model;
    uint64_t stream_max_kb;
    struct sim_net net;
    struct images *images;
    struct disks *disks; /* NULL: none */
    struct sim_disk *open_disks;
    struct vi_rng rng; /* which blocks are written */
    vi_time wrote_at;
    uv_timer_t write;
    char netns_prefix[32], outside[16];
    uv_timer_t tick, soon; /* soon: finished jobs are waiting */
    struct sim_job *finished, **finished_last;
    struct sim_stream *streams;
    struct sim_control *control;
    unsigned ticks;
    unsigned handles; /* that are still open; sim is freed with the last */
    bool closing;
};

vi_time sim_now(struct sim *s); /* also advances the model */
void sim_emit(struct sim *s, enum hv_event_kind kind, uint32_t domid, const struct vi_id *uuid,
              enum hv_reason reason);
void sim_save(struct sim *s, const struct sim_guest *g);
/* Takes the guest out of the model and the folder and says HV_EV_GONE; its veth goes if it is here. */
void sim_drop(struct sim *s, struct sim_guest *g);
/* A guest shut itself down: the event, then what its on_* asks for. */
void sim_guest_shutdown(struct sim *s, struct sim_guest *g, enum hv_reason reason);
void sim_release(struct sim *s); /* one handle less */

/* streams: simulated_stream.c. done comes from the loop, once; fd is closed. */
typedef void sim_stream_done(void *arg, int err, const char *detail, uint32_t domid);
int sim_stream_send(struct sim *s, const struct sim_guest *g, int fd, sim_stream_done *done,
                    void *arg);
int sim_stream_receive(struct sim *s, const struct hv_description *d, int fd,
                       sim_stream_done *done, void *arg);
void sim_stream_cancel_all(struct sim *s); /* done with VI_ECANCELED, inside the call */

/* guests' disks: simulated_disk.c. Each is open, and locked, as long as its guest is here; what it writes is noted in a table,
 * kept beside the guest and sent with it, so that whoever has it can tell whether the disk has all of it. */
struct sim_tables { /* of a guest that comes */
    unsigned n;
    struct sim_written {
        uint32_t blocks;
        uint32_t *numbers; /* of the write that each block has; 0: none */
    } of[SIM_DISKS_MAX];
};
void sim_tables_free(struct sim_tables *t);
/* Opens all of g's disks, or none. arriving: they need not be true copies yet. tables: what the guest has written; NULL:
 * nothing. VI_ESTATE, VI_ENOTFOUND … with why. */
int sim_disks_open(struct sim *s, const struct sim_guest *g, bool arriving, const struct sim_tables *tables, char *why,
                   size_t why_size);
/* Again, of a guest that was here before this process: with the tables that it left. */
int sim_disks_keep(struct sim *s, const struct sim_guest *g, char *why, size_t why_size);
/* Could it, for a guest that isn't here? */
int sim_disks_there(struct sim *s, const struct hv_description *d, bool arriving, char *why, size_t why_size);
/* One is taken from the guest, or (NULL) all; the tables go. */
void sim_disks_close(struct sim *s, const struct vi_id *guest, const struct vi_id *disk);
void sim_disks_close_all(struct sim *s); /* tables stay */
/* Guests that run write what is due. */
void sim_disks_write(struct sim *s);
/* Blocks that were written, how many of them aren't what was written last or stand where they shouldn't, writes that failed. */
void sim_disks_verify(struct sim *s, const struct vi_id *guest, unsigned *blocks, unsigned *bad, unsigned *errors);
/* The i-th disk's table as bytes for the stream; its length, 0 if there is none. cap: SIM_BLOCKS_MAX * 4 at least. */
size_t sim_disk_table(struct sim *s, const struct sim_guest *g, unsigned i, uint8_t *out);
int sim_table_take(struct sim_tables *t, unsigned i, const uint8_t *data, size_t len);

/* control socket: simulated_control.c */
struct sim_control *sim_control_open(struct sim *s, char *why, size_t why_size);
void sim_control_close(struct sim_control *c);

#endif
