/* Who doubted whom: of every member that was lately suspected, dead or gone the latest doubts, with
 * accuser, reason, path, confirmations, and what ended each. For `violin members --why`, also after the
 * doubt is over or the member forgotten. Pure: it is told each change and the time. */
#ifndef PEER_DOUBTS_H
#define PEER_DOUBTS_H

#include "gossip/gossip.h"

#define DOUBTS_EACH      8 /* kept of one member; the newest */
#define DOUBT_CONFIRMERS 8

enum doubt_end {
    DOUBT_LASTS,
    DOUBT_REFUTED,  /* before anybody was dead */
    DOUBT_BACK,     /* it was dead, or had left */
    DOUBT_FORGOTTEN /* gone from the table: revoked, or long left */
};

/* One doubt, from the suspicion (or the good-bye) until the member is in good standing again. */
struct doubt {
    struct gossip_why why; /* of its beginning; reason SELF: it left, nobody doubted */
    vi_time wall;          /* when, µs since 1970; the others are of the clock that `now` is of */
    vi_time began, died, left, ended; /* 0: it didn't */
    unsigned health;       /* ours when it began, 0 is good */
    unsigned n_confirmers; /* the first DOUBT_CONFIRMERS; `why` counts as none */
    struct vi_id confirmers[DOUBT_CONFIRMERS];
    enum doubt_end end;
    struct vi_id end_via;  /* through whom its word came; zero: itself, or nothing came */
};

struct doubted {
    struct vi_id id;
    char name[GOSSIP_NAME_MAX + 1];
    unsigned n;     /* doubts kept */
    uint64_t total; /* and had */
    vi_time last;   /* latest change */
    struct doubt ring[DOUBTS_EACH];
};

struct doubts;
/* Of so many members at most; beyond that the one whose doubts ended longest ago makes room, or if all
 * last, the one that changed longest ago. NULL: no memory. */
struct doubts *doubts_new(unsigned members);
void doubts_free(struct doubts *s); /* NULL does nothing */
/* One GOSSIP_FX_MEMBER. name: the member's as far as known, "" otherwise. now > 0. The doubt that it
 * began, prolonged or ended, borrowed until the next call; NULL when it is no matter of doubt, or memory
 * is short: then it isn't kept. */
const struct doubt *doubts_note(struct doubts *s, const struct gossip_effect *fx, const char *name,
                                vi_time now, vi_time wall, unsigned health);
const struct doubted *doubts_find(const struct doubts *s, const struct vi_id *id);
/* One after another; *pos starts at 0; NULL at the end. */
const struct doubted *doubts_next(const struct doubts *s, size_t *pos);
/* The i-th that is kept, oldest first; NULL from n on. */
const struct doubt *doubted_at(const struct doubted *m, unsigned i);

#endif
