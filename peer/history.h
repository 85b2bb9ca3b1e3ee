/* The history of a host: what was decided and done, kept in the store as events. Pure: which records are asked for, and what
 * they come to. A move within the domain is in the histories of both its hosts: `moved` where the guest left, with
 * duration, bytes and pause; `arrived` where it went. */
#ifndef PEER_HISTORY_H
#define PEER_HISTORY_H

#include "peer/events.h"

#define HISTORY_KINDS 16

enum history_what { HISTORY_GUEST = 1, HISTORY_ENV = 2, HISTORY_HOST = 4 }; /* whose name subject is; 0: anybody's */

struct history_filter {
    char subject[EVENT_SUBJECT]; /* a guest, an environment or a host that is named in it; "": whatever */
    unsigned what;
    vi_time since;               /* wall */
    unsigned n_kinds;            /* 0: all */
    char kind[HISTORY_KINDS][EVENT_KIND];
};

/* "move,balloon": kinds of events; `move` stands for all that are about moves. 0, or VI_EINVAL with the first that is
 * none in bad. */
int history_kinds(struct history_filter *f, const char *text, char *bad, size_t cap);
bool history_match(const struct history_filter *f, const struct event *ev);

/* What only holds on and is said again every minute is kept once an hour: a refusal by its text, a shortage, and what would be done by
 * its command. Of HISTORY_MEMORY such records at a time; beyond that the oldest is forgotten, and kept again. */
#define HISTORY_MEMORY 512
struct history_memory {
    struct {
        uint64_t sum;
        vi_time at; /* 0: free */
    } record[HISTORY_MEMORY];
};
/* Was the same kept within the hour? Else it is remembered. */
bool history_again(struct history_memory *m, vi_time now, const struct event *ev);

struct history_summary {
    unsigned records;
    unsigned moved, arrived, failed; /* of guests */
    unsigned environments;           /* moved to other domains, wholly or in part */
    unsigned pauses;
    double pause_s, bytes;           /* sums; of the moves from here */
};
void history_count(struct history_summary *s, const struct event *ev);

#endif
