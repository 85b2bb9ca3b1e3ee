/* Who speaks for the domain to others, as a pure core. No vote: the members rank themselves alike, by what
 * each says of itself in its own signed word; the first acts, the next two stand by.
 *
 * Who acts declares itself to its standbys every 2 s. A standby that hears nobody declare for 6 s (and the
 * second one 2 s later) acts; so does at once whoever ranks first. Whoever acts and hears a better one
 * declare itself stops. Two at once are harmless, for being representative is advice: it says who
 * bothers, and gives no right. Ranks: not degraded, up for longest, id. A host that restarts is last, so
 * one that comes back takes nothing over. */
#ifndef GOSSIP_REPRESENTATIVE_H
#define GOSSIP_REPRESENTATIVE_H

#include "peer/base/clock.h"
#include "peer/base/id.h"

#define REP_PERIOD   (2 * VI_SEC)
#define REP_EXPIRY   (6 * VI_SEC)
#define REP_STANDBYS 2
#define REP_FIRST    (1 + REP_STANDBYS)

/* What a member says of itself, in the meta field of its word. */
#define REP_META 6 /* bytes: version 1, flags 1, started 4 */
struct rep_meta {
    bool acting;      /* it represents the domain */
    bool degraded;    /* it stands aside, or leaves, or was told not to */
    uint32_t started; /* wall clock, s since 1970; 0: unknown, ranks last */
};
void rep_meta_encode(const struct rep_meta *m, uint8_t out[REP_META]);
/* Absent or of a version that we don't know: all zero. */
void rep_meta_decode(struct rep_meta *m, const uint8_t *data, size_t len);

struct rep_rank {
    struct vi_id id;
    bool degraded;
    uint32_t started;
};
/* < 0: a ranks before b. Never 0 for different ids. */
int rep_compare(const struct rep_rank *a, const struct rep_rank *b);

/* The first REP_FIRST of those that were offered. Zero it to begin with. */
struct rep_first {
    struct rep_rank r[REP_FIRST];
    unsigned n;
};
void rep_offer(struct rep_first *f, const struct rep_rank *r);

struct representative {
    struct vi_id me;
    struct rep_rank own;
    struct rep_first first;
    bool acting;
    vi_time heard;            /* a declaration, or the start */
    struct vi_id declared;    /* who, last; zero: nobody */
    vi_time declare_at;
};

void rep_init(struct representative *r, const struct vi_id *me, vi_time now);
/* Who is alive now, we included (suspects don't count), and our own rank. Call it when that changes. */
void rep_set(struct representative *r, vi_time now, const struct rep_first *f,
             const struct rep_rank *own);
/* `from` declared itself; rank as we know it. Returns whether we act and come before it: it is to be
 * declared to at once, for it need not be one of the standbys. */
bool rep_declaration(struct representative *r, vi_time now, const struct rep_rank *from);
/* Time goes on. Returns whether it is time to declare to rep_standbys(), which then is done. */
bool rep_tick(struct representative *r, vi_time now);
vi_time rep_deadline(const struct representative *r);
/* To whom a declaration goes: the first ones but ourselves; REP_FIRST at most. */
unsigned rep_standbys(const struct representative *r, struct vi_id out[REP_FIRST]);
/* The one that represents as far as we know: ourselves, or who declared itself to us of late, or who ranks
 * first. NULL: nobody known. */
const struct vi_id *rep_current(const struct representative *r, vi_time now);

#endif
