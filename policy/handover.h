/* Moving a guest: the handover, as a pure core. Design: one side may end it alone until GO is on the
 * source's disk, the other from then on (presumed abort; Gray, "Notes on Data Base Operating Systems",
 * 1978, §5.8.3.3, with the destination as the one that can't decide). policy/handover.md has states,
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
#define HANDOVER_DISKS         4    /* disks of a guest that move with it; one with more can't be offered */
#define HANDOVER_SECTORS_MAX   ((uint64_t)1 << 40) /* of a disk: 512 TiB */

enum handover_role { HANDOVER_SOURCE = 1, HANDOVER_DESTINATION = 2 };

enum handover_state {
    /* source */
    HS_OFFERED = 1, HS_ACCEPTED, HS_STREAMING, HS_SUSPENDED, HS_CHECKING, HS_GO, HS_DESTROYING, HS_DONE,
    HS_ABORTING, HS_RESUMING, HS_ABORTED, HS_REFUSED,
    /* ... of a guest whose disks move with it; journals hold these numbers: new ones come last */
    HS_MIRRORING, HS_SYNCING, HS_SYNCED,
    /* destination */
    HD_ADMITTING = 32, HD_RESERVED, HD_PREPARING, HD_READY, HD_RESTORING, HD_RESTORED, HD_CHECKING, HD_OWNED,
    HD_RUNNING, HD_ABORTING, HD_ABORTED, HD_LOST, HD_DONE,
    HD_COMPLETING, HD_COMPLETE
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

/* A disk that moves with its guest. Each copy of it has a generation: the one at the destination has the source's and one
 * more, and becomes the true one when the handover says so; the source's is an old one then. An old copy is known by the
 * handover that took the disk away from it: it is what the disk was then, and a base on which a later handover puts only
 * what has changed since. (Not by its generation: if an operator decided wrongly, two copies may have the same.) */
struct handover_disk {
    struct vi_id id;
    char name[HANDOVER_NAME]; /* as it is called at the source; may be "": for people only */
    uint64_t sectors;    /* of 512 bytes, exactly; at most HANDOVER_SECTORS_MAX */
    uint64_t generation; /* of the source's copy, ≥ 1 */
    struct vi_id since;  /* the source can tell what has changed after that handover; zero: after none */
    bool base;           /* agreed in the handover: the destination's old copy since then is written on */
};

struct handover_guest {
    struct vi_id uuid, env;
    char name[HANDOVER_NAME];
    uint32_t domid;
    uint64_t kb;
    double pct;
    unsigned n_macs;
    uint8_t macs[TRANSFER_MACS][6];
    unsigned n_disks;
    struct handover_disk disks[HANDOVER_DISKS];
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
    HANDOVER_EV_ADMITTED,  /* id; err, why; bases */
    HANDOVER_EV_HV,        /* id: the operation asked for ended; err, why, domid (RESTORE), domain (QUERY) */
    HANDOVER_EV_ARRIVING,  /* id: its stream has come and was let in */
    HANDOVER_EV_STREAM,    /* id: the bulk stream ended; err */
    HANDOVER_EV_RECORD,    /* at start: one journal record, in the order written */
    HANDOVER_EV_RECORDS_END,
    HANDOVER_EV_RESOLVE,   /* operator: id, keep (keep-here or give-up) */
    HANDOVER_EV_CANCEL,    /* operator, or shutdown: id */
    HANDOVER_EV_PROGRESS   /* id: MIRROR is under way; done, compared */
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
    struct vi_id bases[HANDOVER_DISKS]; /* ADMITTED: handover that took each disk from the old copy here; zero: none here */
    uint64_t done, compared;        /* PROGRESS: sectors in sync, and those compared with old copies, of all disks */
};

/* ---- effects -------------------------------------------------------------------------------- */

enum handover_op {
    HANDOVER_OP_SUSPEND, /* stream the guest to peer */
    HANDOVER_OP_RESTORE, /* from the stream that came for id */
    HANDOVER_OP_QUERY,   /* answer with `domain` for guest.uuid */
    HANDOVER_OP_RESUME, HANDOVER_OP_UNPAUSE, HANDOVER_OP_DESTROY,
    /* On all of guest.disks, for a guest that has any. Each may be asked for again, also after a restart, and answers
     * as if it had been the first time; what another handover has made it leaves alone. Source: */
    HANDOVER_OP_MIRROR,   /* writes go to peer, too, and what is there already; done when all is in sync */
    HANDOVER_OP_FINISH,   /* the guest is suspended: what was under way is written on both sides, or an error if the
                           * mirror isn't whole; then it is taken down */
    HANDOVER_OP_UNMIRROR, /* taken down, whatever it is doing: the guest's own copy is whole */
    HANDOVER_OP_RETIRE,   /* the copy here is an old one, of this handover, from now on: never started from, and kept
                           * until its room is needed */
    /* destination: */
    HANDOVER_OP_MAKE,     /* room for a copy of `sectors`, or the old copy `base`; takes what the source writes. From
                           * its beginning an old copy is none any more. Refused, as by ADMIT, where the copy here is
                           * the true one: an OFFER can come late */
    HANDOVER_OP_COMPLETE, /* the source has finished: all of it on the disk, and closed to the source */
    HANDOVER_OP_OWN,      /* the copy here is the true one, of generation + 1; what changes since this handover is noted */
    HANDOVER_OP_DISCARD   /* what MAKE made goes, owned or not */
};

enum handover_effect_kind {
    HANDOVER_FX_SEND,     /* data to peer */
    HANDOVER_FX_PERSIST,  /* record of id; answer with PERSISTED */
    HANDOVER_FX_HV,       /* op on guest (domid), or its disks; answer with HV */
    HANDOVER_FX_ADMIT,    /* could guest be taken? answer with ADMITTED */
    HANDOVER_FX_PREPARE,  /* sessions and switch ready for guest, silent */
    HANDOVER_FX_UNPREPARE,
    HANDOVER_FX_ACTIVATE, /* data: the transfer, to us */
    HANDOVER_FX_GIVEN,    /* data: the transfer, by us */
    HANDOVER_FX_END_STREAM, /* close it, and the disks', whatever they are doing; MIRROR then ends */
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
/* 0, or for START: VI_EFULL, VI_EEXIST (the guest is in one already), VI_EINVAL (a description or disks that no
 * offer can hold). */
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
    uint64_t done; /* sectors of its disks that are in sync, at the source */
    char why[HANDOVER_WHY];
};
bool handover_next(const struct handovers *h, unsigned *pos, struct handover_view *out);
bool handover_find(const struct handovers *h, const struct vi_id *id, struct handover_view *out);
/* Is a guest in a handover that isn't over? */
bool handover_has_guest(const struct handovers *h, const struct vi_id *uuid);
/* Is a handover bringing this guest here, and not over yet? What it needs is promised to it. */
bool handover_brings(const struct handovers *h, const struct vi_id *uuid);
/* A stream came for id from peer: is it waited for? */
bool handover_expects_stream(const struct handovers *h, const struct vi_id *id, const struct vi_id *peer);
/* The same for what the source writes to disk `i`. */
bool handover_expects_disk(const struct handovers *h, const struct vi_id *id, const struct vi_id *peer, unsigned i);
/* Is a disk in a handover that isn't over? Then its records say which copy is the true one: nothing else may start a
 * guest from it, write to it or remove it. */
bool handover_has_disk(const struct handovers *h, const struct vi_id *disk);
/* What is promised to guests that are arriving. */
unsigned handover_promised(const struct handovers *h, uint64_t *kb, double *pct);
/* Sectors promised to disks that aren't made yet; also on old copies, for their room may be had by others until then. */
uint64_t handover_promised_sectors(const struct handovers *h);

/* The names of all fault points, NULL-terminated. */
extern const char *const handover_fault_points[];

#endif
