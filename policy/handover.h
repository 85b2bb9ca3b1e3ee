/* Moving a guest: the handover, as a pure core. Design: one side may end it alone until GO is on the
 * source's disk, the other from then on (presumed abort; Gray, "Notes on Data Base Operating Systems",
 * 1978, §5.8.3.3, with the destination as the one that can't decide). policy/README.md has states,
 * messages, records, timers and fault points as tables.
 *
 * Nothing is sent, and no guest touched, before the record that allows it is on the disk; if a write
 * fails, the handover stands still and tries again, or gives up where giving up needs no record. */
#ifndef POLICY_HANDOVER_H
#define POLICY_HANDOVER_H

#include "peer/base/clock.h"
#include "peer/base/id.h"
#include "peer/base/rng.h"
#include "peer/base/transfer.h"

#define HANDOVERS_MAX          64   /* at a time, both roles */
#define HANDOVER_DESCRIPTION   900  /* bytes of a guest's description; a longer one can't be offered */
#define HANDOVER_MESSAGE_MAX   1200
#define HANDOVER_RECORD_MAX    2048
#define HANDOVER_NAME          64
#define HANDOVER_WHY           160

enum handover_role { HANDOVER_SOURCE = 1, HANDOVER_DESTINATION = 2 };

enum handover_state {
    /* source */
    HS_OFFERED = 1, HS_ACCEPTED, HS_STREAMING, HS_SUSPENDED, HS_CHECKING, HS_GO, HS_DESTROYING, HS_DONE,
    HS_ABORTING, HS_RESUMING, HS_ABORTED, HS_REFUSED,
    /* destination */
    HD_ADMITTING = 32, HD_RESERVED, HD_PREPARING, HD_READY, HD_RESTORING, HD_RESTORED, HD_CHECKING, HD_OWNED,
    HD_RUNNING, HD_ABORTING, HD_ABORTED, HD_LOST, HD_DONE
};
const char *handover_state_text(enum handover_state s);

struct handover_config {
    struct vi_id self;
    struct vi_id journal;
    struct vi_id boot; /* of this host, now */
    uint8_t sign_key[64];
    void *arg;
    bool (*key_of)(void *arg, const struct vi_id *peer, uint8_t pk[32]);
    /* A named fault point was reached; may end the process. NULL outside builds with fault points. */
    void (*fault)(void *arg, const char *name);
};

/* ---- events --------------------------------------------------------------------------------- */

struct handover_guest {
    struct vi_id uuid, env;
    char name[HANDOVER_NAME];
    uint32_t domid;
    uint64_t kb;
    double pct;
    unsigned n_macs;
    uint8_t macs[TRANSFER_MACS][6];
    size_t description_len;
    uint8_t description[HANDOVER_DESCRIPTION];
};

/* What the hypervisor has under a UUID. */
struct handover_domain {
    bool known;    /* the hypervisor answered */
    bool there;
    uint32_t domid;
    bool running, paused, suspended, incoming;
    bool mac_taken; /* a guest with another UUID has one of its MACs */
};

enum handover_event_kind {
    HANDOVER_EV_TICK,
    HANDOVER_EV_START,     /* move guest to peer; `id` chosen by the caller */
    HANDOVER_EV_MESSAGE,
    HANDOVER_EV_PERSISTED, /* id; err */
    HANDOVER_EV_ADMITTED,  /* id; err, why */
    HANDOVER_EV_HV,        /* id: the operation asked for ended; err, why, domid (RESTORE), domain (QUERY) */
    HANDOVER_EV_ARRIVING,  /* id: its stream has come and was let in */
    HANDOVER_EV_STREAM,    /* id: the bulk stream ended; err */
    HANDOVER_EV_RECORD,    /* at start: one journal record, in the order written */
    HANDOVER_EV_RECORDS_END,
    HANDOVER_EV_RESOLVE,   /* operator: id, keep (keep-here or give-up) */
    HANDOVER_EV_CANCEL     /* operator, or shutdown: id */
};

struct handover_event {
    enum handover_event_kind kind;
    struct vi_id id, peer;
    const struct handover_guest *guest;
    uint64_t epoch;
    const uint8_t *data;
    size_t len;
    int err;
    const char *why;
    uint32_t domid;
    struct handover_domain domain;
    bool keep;
};

/* ---- effects -------------------------------------------------------------------------------- */

enum handover_op {
    HANDOVER_OP_SUSPEND, /* stream the guest to peer */
    HANDOVER_OP_RESTORE, /* from the stream that came for id */
    HANDOVER_OP_QUERY,   /* answer with `domain` for guest.uuid */
    HANDOVER_OP_RESUME, HANDOVER_OP_UNPAUSE, HANDOVER_OP_DESTROY
};

enum handover_effect_kind {
    HANDOVER_FX_SEND,     /* data to peer */
    HANDOVER_FX_PERSIST,  /* record of id; answer with PERSISTED */
    HANDOVER_FX_HV,       /* op on guest (domid); answer with HV */
    HANDOVER_FX_ADMIT,    /* could guest be taken? answer with ADMITTED */
    HANDOVER_FX_PREPARE,  /* sessions and switch ready for guest, silent */
    HANDOVER_FX_UNPREPARE,
    HANDOVER_FX_ACTIVATE, /* data: the transfer, to us */
    HANDOVER_FX_GIVEN,    /* data: the transfer, by us */
    HANDOVER_FX_END_STREAM, /* close it, whatever it is doing */
    HANDOVER_FX_STATE,    /* id: from state `was` to `state`, why */
    HANDOVER_FX_OVER,     /* id: moved (err 0) or not (err); the source's caller waits for it */
    HANDOVER_FX_FORGET    /* id's records may go */
};

struct handover_effect {
    enum handover_effect_kind kind;
    enum handover_op op;
    enum handover_role role;
    enum handover_state was, state;
    struct vi_id id, peer;
    const struct handover_guest *guest; /* borrowed until the next step */
    uint32_t domid;
    uint64_t epoch;
    int err;
    char why[HANDOVER_WHY];
    size_t len;
    uint8_t data[HANDOVER_RECORD_MAX];
};

struct handovers;
struct handovers *handovers_new(const struct handover_config *cfg, struct vi_rng *rng, vi_time now);
void handovers_free(struct handovers *h);
/* This host's boot id, once the hypervisor has told; before any record or message is handed in. */
void handovers_set_boot(struct handovers *h, const struct vi_id *boot);
/* 0, or for START: VI_EFULL, VI_EEXIST (the guest is in one already), VI_EINVAL. */
int handovers_step(struct handovers *h, vi_time now, const struct handover_event *ev);
const struct handover_effect *handovers_effect(struct handovers *h);
vi_time handovers_deadline(const struct handovers *h);

/* ---- queries ---- */

struct handover_view {
    struct vi_id id, peer;
    enum handover_role role;
    enum handover_state state;
    const struct handover_guest *guest;
    uint64_t epoch;
    vi_time since;
    bool over, undecided;
    char why[HANDOVER_WHY];
};
bool handover_next(const struct handovers *h, unsigned *pos, struct handover_view *out);
bool handover_find(const struct handovers *h, const struct vi_id *id, struct handover_view *out);
/* Is a guest in a handover that isn't over? */
bool handover_has_guest(const struct handovers *h, const struct vi_id *uuid);
/* A stream came for id from peer: is it waited for? */
bool handover_expects_stream(const struct handovers *h, const struct vi_id *id, const struct vi_id *peer);
/* What is promised to guests that are arriving. */
unsigned handover_promised(const struct handovers *h, uint64_t *kb, double *pct);

/* The names of all fault points, NULL-terminated. */
extern const char *const handover_fault_points[];

#endif
