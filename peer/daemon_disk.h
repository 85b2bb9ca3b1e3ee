/* The disks of this host that move with their guests, as its daemon knows them: looked at again and again, as guests are,
 * and asked for what it wants of them through struct disks (xen/disks.h). And what handovers ask of them. */
#ifndef PEER_DAEMON_DISK_H
#define PEER_DAEMON_DISK_H

#include <sys/queue.h>

#include "overlay/overlay.h"
#include "policy/policy.h"
#include "xen/disks.h"

struct daemon;
struct dial;
struct vi_writer;

/* ---- the view: daemon_disk.c */

LIST_HEAD(disk_move_list, disk_move);

struct daemon_disks {
    struct disks *ops;  /* to ask; the agent's; NULL: none */
    bool known;         /* the agent has told since this process began */
    bool looking, again;
    vi_time next_look, next_turn;
    uint64_t room;      /* sectors that new disks may take, if old copies go; handovers' promises aren't taken off */
    unsigned n;
    struct disk_info disk[DISKS_MAX];
    struct disk_move_list moves; /* daemon_disk_move.c */
};

/* ops is borrowed, and may be NULL: then nothing is ever known. After the agent's client, before what uses disks. */
int daemon_disks_open(struct daemon *d, struct disks *ops, char *why, size_t cap);
void daemon_disks_close(struct daemon *d); /* ends the copies' streams */
void daemon_disks_free(struct daemon *d);  /* after the loop's last turn */
void daemon_disks_tick(struct daemon *d, vi_time now);
/* Something was done to them: they are looked at in the loop's next turn. */
void daemon_disks_changed(struct daemon *d);
/* Looks at once and calls then, never from inside. An error: it never calls. */
int daemon_disks_ask(struct daemon *d, void (*then)(void *arg, int err), void *arg);
const struct daemon_disks *daemon_disks(const struct daemon *d);
/* NULL: no copy of it here, as far as is known. Borrowed until the loop's next turn. */
const struct disk_info *daemon_disk_by_id(const struct daemon *d, const struct vi_id *id);
const struct disk_info *daemon_disk_by_name(const struct daemon *d, const char *name_or_id);
/* The guest here that has it among its disks; NULL. */
const struct hv_guest *daemon_disk_guest(const struct daemon *d, const struct vi_id *id);
/* KiB of the disks that would move with a guest. */
uint64_t daemon_disk_kb(const struct daemon *d, const struct hv_guest *g);
/* Sectors of room that are promised to disks which handovers bring and haven't made yet. */
uint64_t daemon_disks_promised(const struct daemon *d);

/* ---- handovers: daemon_disk_op.c */

/* What an offer says of the guest's disks, as daemon_disks_ask() has just told them. VI_EUNSUPPORTED, VI_ESTATE, VI_EFULL
 * with why. */
int daemon_disk_offer(struct daemon *d, const struct hv_description *desc, struct handover_guest *g, char *why, size_t cap);
/* May a guest's disks come? bases: the handover that took each from the old copy here; zero: none. done is never called from
 * inside; an error: it never is. */
typedef void disks_admitted(void *arg, int err, const char *why, const struct vi_id bases[HANDOVER_DISKS]);
int daemon_disk_admit(struct daemon *d, const struct handover_guest *g, disks_admitted *done, void *arg);
/* Are the disks that move, by the guest's description, those that its handover brings? An offer is another host's word: a guest
 * that is built from its description gets no disk that this handover hasn't made here. Pure. */
bool daemon_disks_agree(const struct hv_description *desc, const struct handover_guest *g);
/* A HANDOVER_OP_* on a guest's disks; done is called once. */
void daemon_disk_do(struct daemon *d, const struct handover_effect *fx, hv_done *done, void *arg);

/* Asks a host of the policy's choice what it has of a guest's disks from before: the question, 0: nothing is to be asked; what
 * CALL_DISK_LACKS is answered. */
size_t daemon_disk_ask_lacks(struct daemon *d, const struct vi_id *guest, uint8_t *out);
int daemon_disk_lacks(struct daemon *d, const uint8_t *body, size_t len, uint8_t *out);

/* ---- the copies' streams: daemon_disk_move.c
 *
 * Of each disk two or three, on one socket pair: what the source's agent writes goes to the destination's agent ("data"),
 * what that answers comes back ("replies"); and, where an old copy is built on, what is in it is told ("hashes"), on a
 * pair of its own. A stream's purpose: the handover's id 16 · which of them 1 · the disk's index 1. */
#define DISK_PURPOSE (VI_ID_SIZE + 2)
enum disk_way { DISK_DATA = 1, DISK_REPLIES, DISK_HASHES };

/* Several disks' parts of one thing that was asked for: done(first error) when all have ended. */
struct disk_op {
    struct daemon *d;
    struct vi_id handover;
    bool ends; /* an error closes the streams */
    unsigned left;
    int err;
    char why[HANDOVER_WHY];
    hv_done *done;
    void *arg;
};
void disk_op_part(struct disk_op *op, int err, const char *why);

/* HANDOVER_OP_MIRROR, a part of op for each disk. */
void disk_move_mirror(struct daemon *d, const struct handover_effect *fx, struct disk_op *op);
/* The copies end in order from now on: how their streams end decides nothing any more. */
void disk_move_settle(struct daemon *d, const struct vi_id *handover);
/* Closes them all, whatever they are doing. */
void daemon_disk_end(struct daemon *d, const struct vi_id *handover);
void daemon_disk_drop_peer(struct daemon *d, const struct vi_id *peer);
/* A stream came: the descriptor for it, or -1. Would one be let in? purpose has DISK_PURPOSE bytes. */
int daemon_disk_stream(struct daemon *d, const struct vi_id *peer, const uint8_t *purpose, bulk_done **done, void **done_arg);
bool daemon_disk_expects(struct daemon *d, const struct vi_id *peer, const uint8_t *purpose);
/* Streams of disks that would come in, to this host, for the handovers that are under way. */
unsigned daemon_disk_streams(const struct daemon *d);
void disk_moves_turn(struct daemon *d); /* once a second: progress, and each stream's part of the bandwidth */

/* How far a handover's disks are. */
struct disk_figures {
    bool copying;     /* streams are open */
    uint64_t bytes;   /* over the network so far, both ways */
    uint64_t in_sync; /* sectors; at the source */
};
void daemon_disk_figures(const struct daemon *d, const struct vi_id *handover, struct disk_figures *f);

#endif
