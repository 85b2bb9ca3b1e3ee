/* A scenario played: what was done, who believed what of whom and when, and whether it is as expected.
 *
 * Times are since the start of the run; VI_NEVER: it didn't happen. */
#ifndef TESTS_SIM_SCENARIO_RUN_H
#define TESTS_SIM_SCENARIO_RUN_H

#include <stdio.h>

#include "tests/sim/gossip_peers.h"
#include "tests/sim/scenario.h"

#define SR_GRACE (10 * VI_SEC) /* so long after a fault is over its subject isn't called healthy yet */
#define SR_SHOWN 8             /* wrong removals that are told one by one */

/* Of an event, and of one of its subjects. For what takes somebody away, first, last, all are of those
 * who believe it dead or gone, back is when all believe it alive again after the end; for a start they
 * are of those who believe it alive. */
struct sr_subject {
    unsigned who;
    vi_time all, back;
};
struct sr_outcome {
    struct sr_subject *subject;
    unsigned nsubjects;
    bool begun, over;    /* over: the fault ended, or (a crash) somebody was started again */
    vi_time at, end, first, last, all, back;
};

/* What others believe of one, from then on. */
struct sr_sample {
    vi_time at;
    unsigned suspecting, dead, observers;
};
struct sr_row {
    struct sr_sample *v;
    unsigned n, cap;
    bool doubted; /* somebody once suspected it */
};

struct sr_down {
    unsigned who;
    vi_time from, to;
};

struct sr_check {
    bool ok;
    char said[120];
};

struct scenario_run {
    const struct scenario *s;
    uint64_t seed;
    FILE *trace; /* NULL: none */
    struct peers *p;
    struct world *w;
    unsigned n;

    uint8_t *belief; /* of b at a: enum gossip_state, 0: none */
    unsigned *suspecting, *dead, *alive; /* how many believe that of one */
    unsigned up;
    bool *is_up;
    vi_time *started;    /* the last time */
    uint64_t *removed;   /* verdicts on one by anybody */
    bool *in_event;      /* event × peer */
    struct sr_outcome *outcome;
    struct sr_row *row;
    vi_time grain;       /* samples of a row are at least so far apart */
    struct sr_down *down;
    unsigned ndown, down_cap;

    uint64_t wrong, wrong_by_healthy;
    struct {
        unsigned who, by;
        vi_time at;
    } shown[SR_SHOWN];
    unsigned nshown;

    double tx_mean, tx_max, store_mean; /* bytes a second and peer */
    bool agreed;
    uint64_t hash, events;
    bool no_memory;
    struct sr_check check[SC_EXPECTS];
    bool ok;
};

/* NULL: no memory. s and trace are borrowed. */
struct scenario_run *scenario_run(const struct scenario *s, uint64_t seed, FILE *trace);
void scenario_run_free(struct scenario_run *r);

/* scenario_check.c: fills check[] and ok; `at` (VI_NEVER: the end) decides which of "agreed". */
void scenario_check_agreed(struct scenario_run *r, vi_time at);
void scenario_check(struct scenario_run *r);
bool sr_healthy(const struct scenario_run *r, unsigned who, vi_time now);
/* Might `by` rightly hold `who` for dead? */
bool sr_excused(const struct scenario_run *r, unsigned by, unsigned who, vi_time now);

/* scenario_report.c, scenario_svg.c; name: what the run is called. 0, or -1: it couldn't be written. */
void scenario_text(const struct scenario_run *r, const char *name, FILE *out);
int scenario_json(const struct scenario_run *r, const char *name, FILE *out);
int scenario_svg(const struct scenario_run *r, const char *name, FILE *out);

#endif
