/* What the files of the simulated hypervisor share. */
#ifndef XEN_SIMULATED_INTERNAL_H
#define XEN_SIMULATED_INTERNAL_H

#include "xen/simulated.h"
#include "xen/simulated_model.h"

#define SIM_TEXT_MAX  2048 /* a guest as one line, with its NUL */
#define SIM_NAME_MAX  64   /* of a network namespace, with its NUL */
#define SIM_DETAIL    160

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
struct sim_job;
struct sim_stream;

struct sim {
    struct hypervisor hv; /* first */
    uv_loop_t *loop;
    char dir[200];
    struct sim_model *model;
    uint64_t stream_max_kb;
    struct sim_net net;
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

/* control socket: simulated_control.c */
struct sim_control *sim_control_open(struct sim *s, char *why, size_t why_size);
void sim_control_close(struct sim_control *c);

#endif
