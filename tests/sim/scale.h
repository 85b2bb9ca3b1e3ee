/* Many simulated peers, and hosts whose guests suddenly want much more than their host has. */
#ifndef TESTS_SIM_SCALE_H
#define TESTS_SIM_SCALE_H

#include "tests/sim/violin.h"

struct scale_config {
    uint64_t seed;
    unsigned domains, hosts, guests; /* hosts of a domain; guests of a host, each an environment of its own */
    unsigned hot, hot_domains;       /* hosts that get hot, of each of so many domains */
    unsigned hot_guests;             /* of each: they want `wants` of a CPU then; all want `base` before */
    double base, wants;
    double noise;                    /* demand goes up and down by so much all the time, every ten seconds */
    vi_time before, after;           /* of the run, until the hosts get hot; and from then on */
    bool measure;                    /* the policy's time, too */
    bool events;                     /* print who leaves, and who arrives */
    vi_time period;                  /* of evaluation; 0: the default */
};
/* 4 CPUs, 16 GiB, ten guests of 256 MiB that want a fifth of a CPU each; then six of a hot host want nine tenths:
 * one and a half times what it has. */
void scale_config_init(struct scale_config *c, uint64_t seed);

struct scale_result {
    double unserved_pct;         /* most, of one CPU, over all hosts, that guests wanted and didn't get */
    double resolved_s;           /* from the beginning until nothing was unserved any more; -1: not in time */
    double first_leaves_s;       /* until the first guest left; -1: none did */
    unsigned moves_before, moves, most_moves; /* guests that moved; most from one host */
    unsigned returns;            /* guests that came back to a host that they had left */
    double fullest_pct;          /* a host that guests came to: most wanted there, of what it has */
    unsigned over_range, over;   /* hosts to which guests came and that were then wanted more of than the range, than they have */
    unsigned most_arrivals;      /* at one host at a time */
    double bytes[VIOLIN_CHANNELS]; /* sent, by a host and second, in the time before */
    double busy_bytes;           /* all of it, in the time after */
    double ns_median, ns_p99;    /* of one evaluation, CPU time, in the time before; 0: not measured */
    double look_ns;              /* median of those, in the time after, that looked for another host */
    double age_s, age_p99_s;     /* of summaries, when the hosts get hot */
    uint64_t hash;
};
/* false: no memory. */
bool scale_run(const struct scale_config *c, struct scale_result *out);

#endif
