/* A disk that moves with the guest of handover_world.h: a copy at each host, which outlives its boots, a mirror between
 * them, and a guest that writes whenever anything happens. Every write has a number; one that the guest was told of as
 * done is in the copy that it runs on, for ever.
 *
 * A write may be under way for a while: it is on the disk, then the guest is told, if it is still there; a guest that
 * went on elsewhere meanwhile writes it once more. One that lands late, from what the guest left behind, must not reach
 * the copy that it runs on by then. */
#ifndef TESTS_SIM_HANDOVER_DISKS_H
#define TESTS_SIM_HANDOVER_DISKS_H

#include "policy/handover.h"

#define HWD_BLOCKS  8
#define HWD_SECTORS (HWD_BLOCKS * 1024)

enum hwd_kind {
    HWD_NONE,
    HWD_ARRIVING, /* being made by a handover */
    HWD_TRUE,
    HWD_OLD /* a base, never to be started from */
};

struct hwd_copy {
    enum hwd_kind kind;
    uint64_t generation;
    struct vi_id by;    /* ARRIVING, TRUE: the handover that made it; OLD: the one that took the disk away */
    struct vi_id since; /* TRUE: an old copy is elsewhere, from this handover */
    bool synced; /* on the disk, not only in the host's memory */
    uint64_t block[HWD_BLOCKS];
    bool dirty[HWD_BLOCKS]; /* since `since` */
    uint64_t landing[HWD_BLOCKS]; /* the write that is under way here, or 0 */
};

struct hwd {
    struct hwd_copy copy[2];
    struct handover_disk asked; /* as the handover's last operation had it */
    bool mirror, broken, finished; /* the source's device is a mirror; its other leg is gone */
    bool in_sync[HWD_BLOCKS];
    bool open;    /* the destination takes writes */
    bool stalled; /* and nothing comes through */
    vi_time full_until; /* the destination's storage is full */
    uint64_t written, acked[HWD_BLOCKS], pending[HWD_BLOCKS];
    unsigned copied; /* blocks that the mirror moved because they weren't there */
    const char *bad; /* the first thing that must never be */
};
extern struct hwd *hwd;

/* back: the disk was at host 1 before, where an old copy is; two of its blocks have changed since. stale: and once more
 * elsewhere since then: what is there is older than what the source can tell the difference from. */
void hwd_begin(bool back, bool stale);
void hwd_describe(struct handover_guest *g);
/* A guest runs at host n: it writes. Returns a block whose write is under way now, or -1. */
int hwd_guest_writes(int n, struct vi_rng *rng);
/* The write under way at host n lands; running: the guest that wrote it hears of it. */
void hwd_lands(int n, unsigned block, uint64_t seq, bool running);
void hwd_all_land(int n);
void hwd_host_dies(int n);
void hwd_cut(void);
/* An operation ended: its result. cut: nothing comes through between the hosts now. */
int hwd_op(int n, enum handover_op op, const struct vi_id *id, bool cut, vi_time now);
/* One more block of the mirror: 0 and *done, or it is broken. */
int hwd_mirror_step(bool cut, vi_time now, uint64_t *done);
/* Somebody decided that the copy at host n is the true one, whatever was written elsewhere. */
void hwd_decided_for(int n);
/* n: where the guest runs; -1: nowhere. */
void hwd_check(int n);
/* In the end, when all is over: one true copy with all that was written; no other but an old one. NULL, or what is wrong. */
const char *hwd_judge(int runs);

#endif
