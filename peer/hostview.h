/* A host as it tells other members of its domain, in detail: what it has, how it stands, each of its guests. Told in pages, for an
 * answer is one datagram (CALL_VIEW). Hostile input: everything is bounded. */
#ifndef PEER_HOSTVIEW_H
#define PEER_HOSTVIEW_H

#include <stdbool.h>
#include <stddef.h>

#include "peer/base/id.h"

#define HOSTVIEW_GUESTS  256
#define HOSTVIEW_NAME    64
#define HOSTVIEW_WHY     60
#define HOSTVIEW_PAGE    16  /* guests of one page, at most */

struct hostview_guest {
    struct vi_id uuid, env;
    char name[HOSTVIEW_NAME];
    uint64_t kb;      /* what it should have */
    uint64_t size_kb; /* what it has, and a move would carry */
    uint64_t max_kb;
    double pct;       /* of one CPU, that it wants */
    bool movable, running, moving, short_of_memory, short_of_cpu;
    char why_not[HOSTVIEW_WHY]; /* if it isn't movable */
};

struct hostview {
    bool observes, paused, draining, drained;
    bool no_outside; /* its configuration names no outside-bridge: no head is made there. Older hosts don't say so */
    double capacity_pct, demand_pct;
    uint64_t total_kb, free_kb;  /* free beside its reserve and all that is promised */
    unsigned arrivals, arrivals_most;
    double range_low, range_high; /* of utilisation: 0…1 */
    unsigned guests; /* in all */
};

/* The page that begins with the guest of number `first`: as many of guests[h->guests] as fit. The length, or VI_EFULL. */
int hostview_encode(const struct hostview *h, const struct hostview_guest *guests, unsigned first, uint8_t *out, size_t cap);
/* *first, *n and guests of one page. 0, VI_EPROTO, VI_EVERSION, or VI_EINVAL for figures that can't be. */
int hostview_decode(struct hostview *h, unsigned *first, unsigned *n, struct hostview_guest guests[HOSTVIEW_PAGE],
                    const uint8_t *data, size_t len);
int hostview_question_encode(unsigned first, uint8_t *out, size_t cap);
int hostview_question_decode(unsigned *first, const uint8_t *data, size_t len);

/* "x2", "+50%", "-25%", or a number with the unit M (MiB, also without a unit) or G: from what there is now to what is asked
 * about. percent: the unit is a percent of one CPU, and none is written. 0, or VI_EINVAL. */
int hostview_amount(const char *text, double now, bool percent, double *out);

#endif
