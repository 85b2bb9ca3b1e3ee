/* What the files of the envmake core share. */
#ifndef PEER_ENVMAKE_INTERNAL_H
#define PEER_ENVMAKE_INTERNAL_H

#include "peer/envmake.h"

#define MK_EFFECTS  256
#define MK_AT_ONCE  8 /* questions of one job under way */
#define MK_PCT_VCPU 20.0 /* of a CPU: what a vcpu of a guest that nobody has measured yet is counted for */

enum mk_ask {
    MK_LEASE = 1, MK_MAKE, MK_RUN, MK_DROP, MK_LIST, MK_SET, MK_WHAT
};
enum mk_want { MK_WANT_RUN = 1, MK_WANT_STOP, MK_WANT_KILL, MK_WANT_REMOVE };

/* How a guest stands, as its host says. */
enum mk_state {
    ES_NONE = 0, ES_CHECKING, ES_LEASED, ES_REFUSED, ES_MAKING, ES_MADE, ES_FAILED, ES_STARTING, ES_RUNNING, ES_STOPPING,
    ES_STOPPED, ES_MOVING, ES_DROPPING, ES_FETCHING,
    /* answers to WHAT */
    ES_WAIT, ES_COMMITTED, ES_UNKNOWN,
    ES_COPYING /* only said to who asks for disks: others know of nothing beyond UNKNOWN */
};

struct mk_question {
    enum mk_ask ask;
    struct vi_id job, guest, env;
    unsigned number; /* LIST: after this one */
    bool head;
    bool committed;  /* MAKE: go on without a lease */
    enum mk_want want;
    size_t len;      /* of the description */
    const uint8_t *description; /* borrowed */
    struct envmake_disks disks; /* LEASE, MAKE */
};

struct mk_listed {
    struct vi_id uuid;
    unsigned number;
    bool head;
    enum mk_state state;
    uint64_t print;
};

struct mk_answer {
    enum mk_state state;
    bool more; /* LIST: there are further ones */
    char why[ENVMAKE_WHY];
    unsigned n;
    struct mk_listed listed[ENVMAKE_LISTED];
};

/* A guest at its host. */
enum mk_phase { EP_CHECKING = 1, EP_LEASED, EP_REFUSED, EP_MAKING, EP_MADE, EP_FAILED, EP_DROPPING, EP_KEPT };

struct mk_guest {
    bool used;
    enum mk_phase phase;
    struct vi_id uuid, env, job, maker;
    unsigned number;
    bool head;
    size_t len;
    uint8_t description[ENVMAKE_DESCRIPTION];
    uint64_t kb;
    double pct;
    vi_time until; /* of a lease, a refusal or a failure that is remembered */
    vi_time heard, asked; /* from the job; of it */
    bool asking, fetching;
    uint64_t token;
    /* kept */
    enum mk_want want;
    struct vi_id boot; /* in which it was seen running last */
    bool starting;
    /* the hypervisor */
    bool busy;
    struct envmake_disks disks;
    bool disks_there; /* made, since this process began */
    bool copying;     /* DISKS is under way */
    unsigned percent;
    bool wiped, failed; /* failed: dropped, and remembered why */
    vi_time again; /* no operation before that */
    unsigned tries;
    char why[ENVMAKE_WHY];
};

struct mk_item {
    struct vi_id uuid, host;
    unsigned number;
    bool head, placed, done, differs, fixed; /* fixed: at that host or at none */
    enum mk_state state;
    uint64_t token; /* of the question under way; 0: none */
    vi_time again, since; /* since: unanswered */
    bool remake;
    uint64_t refused;     /* hosts of the job, a bit each */
    char why[ENVMAKE_WHY];
};

struct mk_job_host {
    struct envmake_host h;
    unsigned planned;
    bool refused;
    /* looking */
    bool listed;
    unsigned after;
    uint64_t token;
    vi_time again, since;
};

enum mk_job_phase { EJ_PLACING = 1, EJ_MAKING, EJ_RUNNING, EJ_DROPPING, EJ_LOOKING, EJ_SETTING, EJ_OVER };

struct mk_job {
    bool used;
    enum envmake_kind kind;
    enum mk_job_phase phase;
    struct vi_id id, env;
    char name[ENVMAKE_NAME];
    struct envmake_spec spec;
    bool force, killing, fresh, written; /* written: there is a record of it */
    unsigned least, wave;
    vi_time began, since, wave_since;
    int err;
    char why[ENVMAKE_WHY];
    unsigned n, n_hosts;
    struct mk_item item[ENVMAKE_GUESTS + 1];
    struct mk_job_host host[ENVMAKE_HOSTS];
};

struct envmake {
    struct envmake_config cfg;
    bool loaded;
    vi_time due; /* of the next tick */
    struct vi_id boot;
    uint64_t next_token;
    struct mk_guest guest[ENVMAKE_HERE];
    struct mk_job job[ENVMAKE_JOBS];
    unsigned head, count; /* of effects */
    struct envmake_effect fx[MK_EFFECTS];
};

/* envmake.c */
struct envmake_effect *mk_push(struct envmake *m, enum envmake_effect_kind kind); /* NULL: full */
void mk_fault(struct envmake *m, const char *name);
void mk_say(char out[ENVMAKE_WHY], const char *text);
/* Asks peer; false: it can't be asked now. */
bool mk_ask(struct envmake *m, const struct vi_id *peer, uint64_t token, const struct mk_question *q);

/* envmake_guest.c */
void mk_guest_asked(struct envmake *m, vi_time now, const struct vi_id *from, const struct mk_question *q,
                    struct mk_answer *a);
void mk_guest_answered(struct envmake *m, vi_time now, struct mk_guest *g, int err, const struct mk_answer *a);
void mk_guest_tick(struct envmake *m, vi_time now);
int mk_guest_write(struct envmake *m, const struct mk_guest *g);
struct mk_guest *mk_guest_find(struct envmake *m, const struct vi_id *uuid);
struct mk_guest *mk_guest_place(struct envmake *m);
bool mk_guest_quiet(const struct mk_guest *g); /* nothing is to be done with it just now */
const char *mk_state_word(enum mk_state s);
enum mk_state mk_guest_state(const struct envmake *m, const struct mk_guest *g);

/* envmake_job.c, envmake_order.c */
void mk_job_what(struct envmake *m, const struct mk_question *q, struct mk_answer *a);
void mk_job_answered(struct envmake *m, vi_time now, uint64_t token, int err, const struct mk_answer *a);
void mk_job_tick(struct envmake *m, vi_time now);
void mk_job_over(struct envmake *m, struct mk_job *j, int err, const char *why);
void mk_job_put(struct envmake *m, vi_time now, struct mk_job *j, struct mk_item *i, const struct mk_question *q);
void mk_order_tick(struct envmake *m, vi_time now, struct mk_job *j);
void mk_order_listed(struct envmake *m, vi_time now, struct mk_job *j, struct mk_job_host *h, int err,
                     const struct mk_answer *a);
void mk_order_answered(struct envmake *m, vi_time now, struct mk_job *j, struct mk_item *i, const struct mk_answer *a);
struct mk_job *mk_job_place(struct envmake *m, const struct vi_id *env, bool any, char *why, size_t cap, int *err);

/* envmake_disk.c */
bool mk_has_disks(const struct envmake_disks *k);
void mk_disks_of_spec(const struct envmake_spec *s, struct envmake_disks *out);
/* Are they those that the description names, and no others? */
bool mk_disks_fit(const struct envmake_disks *k, const struct hv_description *d);

/* envmake_wire.c: lengths or a vi_err */
int mk_question_encode(const struct mk_question *q, uint8_t *out, size_t cap);
int mk_question_decode(struct mk_question *q, const uint8_t *data, size_t len);
int mk_answer_encode(const struct mk_answer *a, uint8_t *out, size_t cap);
int mk_answer_decode(struct mk_answer *a, const uint8_t *data, size_t len);
int mk_guest_encode(const struct mk_guest *g, uint8_t *out, size_t cap);
int mk_guest_decode(struct mk_guest *g, const uint8_t *data, size_t len);
int mk_job_encode(const struct mk_job *j, uint8_t *out, size_t cap);
int mk_job_decode(struct mk_job *j, const uint8_t *data, size_t len);

#endif
