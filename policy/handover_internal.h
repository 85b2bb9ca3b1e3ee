/* What the files of the handover core share. */
#ifndef POLICY_HANDOVER_INTERNAL_H
#define POLICY_HANDOVER_INTERNAL_H

#include "policy/handover.h"

#define H_EFFECTS 512
#define RETRY     (1 * VI_SEC)
#define RETRY_MOST (15 * VI_SEC)
#define OFFER_FOR (10 * VI_SEC)
#define LEASE     (15 * VI_SEC)
#define LEASE_RENEW (5 * VI_SEC)
#define SILENT_FOR (60 * VI_SEC) /* D, from RECEIVING until the stream has come; S, from SUSPENDED to RESTORED × 2 */
#define DISKS_FOR (60 * VI_SEC)  /* S: from ACCEPT until D has made room for the disks; without progress of a mirror */
#define SHOWN_FOR (60 * VI_SEC)  /* one that is over can still be looked at */

enum msg {
    M_OFFER = 1, M_REFUSE, M_RESERVE, M_ACCEPT, M_READY, M_RENEW, M_RESTORED, M_GO, M_RUNNING, M_DONE,
    M_ABORT, M_ABORTED, M_ASK, M_UNKNOWN, M_LOST,
    M_SYNCED, M_COMPLETE /* of guests with disks only */
};

enum wait { W_NONE, W_PERSIST, W_HV, W_ADMIT };

struct handover {
    bool used, over, undecided, restarted, recovered;
    struct vi_id id, peer, boot;
    enum handover_role role;
    enum handover_state state, recorded;
    enum wait wait;
    enum handover_op op;
    struct handover_guest guest;
    uint32_t domid; /* of our copy */
    uint64_t epoch; /* that the guest will have at the destination */
    vi_time since, next, until;
    vi_time retry;  /* the present interval */
    bool suspend_done, restored_seen, persist_failed, resume_it;
    bool suspending; /* source, restarted: the former peer's suspend may still be under way */
    bool told; /* destination: the source has said ABORT */
    bool synced;      /* destination: the source has finished its mirror */
    bool complete;    /* source: the destination's disks are complete */
    bool disks_done;  /* source: the mirror is down; destination: the disks are owned, or discarded */
    bool let_go_then; /* destination, LOST: it ends when the disks are done, and nothing is said */
    uint64_t done, most, compared; /* source: sectors in sync, now and at most; compared with old copies */
    char why[HANDOVER_WHY];
    size_t transfer_len;
    uint8_t transfer[TRANSFER_MAX];
    int err;
};

struct handovers {
    struct handover_config cfg;
    struct vi_rng *rng;
    struct handover h[HANDOVERS_MAX];
    unsigned first, count;
    struct handover_effect effects[H_EFFECTS]; /* last: begins as it is */
};

struct handover *ho_find(struct handovers *s, const struct vi_id *id);
struct handover *ho_place(struct handovers *s);
struct handover_effect *ho_push(struct handovers *s, struct handover *h, enum handover_effect_kind kind);
void ho_fault(struct handovers *s, const char *name);
/* The one function that changes state. why NULL: keeps what there is. */
void ho_state(struct handovers *s, vi_time now, struct handover *h, enum handover_state st, const char *why);
void ho_over(struct handovers *s, vi_time now, struct handover *h, int err);
/* The record for this state; h->wait is W_PERSIST until it is on the disk. */
void ho_persist(struct handovers *s, struct handover *h, enum handover_state record);
void ho_hv(struct handovers *s, struct handover *h, enum handover_op op);
void ho_send(struct handovers *s, struct handover *h, enum msg m);
void ho_reply(struct handovers *s, const struct vi_id *to, const struct vi_id *id, enum msg m);
int ho_record_encode(const struct handover *h, enum handover_state st, uint8_t *out, size_t cap);
int ho_record_decode(struct handover *h, const uint8_t *data, size_t len);

/* Decoded message. */
struct message {
    enum msg kind;
    struct vi_id id, boot, journal;
    uint64_t epoch;
    struct handover_guest guest; /* OFFER */
    unsigned n_bases;            /* RESERVE */
    bool bases[HANDOVER_DISKS];
    char why[HANDOVER_WHY];
    const uint8_t *transfer; /* GO */
    size_t transfer_len;
};
int ho_message_decode(struct message *m, const uint8_t *data, size_t len);
/* Whether an OFFER of it fits into a message. */
bool ho_fits(const struct handover *h);
bool ho_disks_ok(const struct handover_guest *g);

void source_start(struct handovers *s, vi_time now, struct handover *h);
void source_message(struct handovers *s, vi_time now, struct handover *h, const struct message *m);
void source_persisted(struct handovers *s, vi_time now, struct handover *h);
void source_hv(struct handovers *s, vi_time now, struct handover *h, const struct handover_event *ev);
void source_tick(struct handovers *s, vi_time now, struct handover *h);
void source_recover(struct handovers *s, vi_time now, struct handover *h);
void source_abort(struct handovers *s, vi_time now, struct handover *h, const char *why);
void source_progress(vi_time now, struct handover *h, uint64_t done, uint64_t compared);

void dest_offer(struct handovers *s, vi_time now, const struct vi_id *from, const struct message *m);
void dest_message(struct handovers *s, vi_time now, struct handover *h, const struct message *m);
void dest_persisted(struct handovers *s, vi_time now, struct handover *h);
void dest_hv(struct handovers *s, vi_time now, struct handover *h, const struct handover_event *ev);
void dest_admitted(struct handovers *s, vi_time now, struct handover *h, const struct handover_event *ev);
void dest_tick(struct handovers *s, vi_time now, struct handover *h);
void dest_recover(struct handovers *s, vi_time now, struct handover *h);
void dest_abort(struct handovers *s, vi_time now, struct handover *h, const char *why);
/* LOST, and somebody has decided: keep: its disks here are the true ones; else they go. */
void dest_decided(struct handovers *s, vi_time now, struct handover *h, bool keep, const char *why);

#endif
