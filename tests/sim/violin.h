/* Whole peers on virtual time, acting upon a policy_world: every host has what the daemon has, in the same object files:
 * membership and summaries of its domain, representative and the representatives' gossip, questions between peers, policy,
 * environment moves, handovers. The network delays and loses, journals take their time, the hypervisor is a model.
 *
 * Nothing here decides: events go in, effects are carried out (violin_*.c, as peer/daemon_*.c do in the program). */
#ifndef TESTS_SIM_VIOLIN_H
#define TESTS_SIM_VIOLIN_H

#include "policy/policy.h"
#include "tests/sim/policy_world.h"
#include "tests/sim/world.h"

#define VIOLIN_WARM_UP (45 * VI_SEC) /* hosts find each other before the experiment begins */

struct violin_config {
    uint64_t seed;
    vi_time stall; /* of a guest that moves; 0: as its memory, its dirty rate and the link make it */
    vi_time warm_up;
    struct world_net net;
    /* Beside what the scenario says (period, needed, range, floor) and the program's defaults; may be NULL. */
    void (*tune)(struct policy_config *c);
    bool say;     /* print what the environments' moves say */
    bool measure; /* how long the policy takes, on the machine's clock; not part of the run */
};
/* 1 to 20 ms, 1 % lost. */
void violin_config_init(struct violin_config *c, uint64_t seed);

struct violin;
/* pw is borrowed; nothing of it has happened yet. NULL: no memory. */
struct violin *violin_new(const struct violin_config *cfg, struct pw_world *pw);
void violin_free(struct violin *v);
/* To time t of the run (which begins after warm_up). false: no memory. */
bool violin_run(struct violin *v, vi_time t);
/* Until all is over, or the scenario is. */
bool violin_play(struct violin *v);

/* Of everything that was handled and of all that came of it: the same seed makes the same run. */
uint64_t violin_hash(const struct violin *v);

enum violin_channel { VIOLIN_GOSSIP, VIOLIN_FEDERATION, VIOLIN_CALL, VIOLIN_HANDOVER, VIOLIN_ENVMOVE,
                      VIOLIN_STORE, /* of VIOLIN_GOSSIP: summaries and records, counted apart */
                      VIOLIN_CHANNELS };
extern const char *const violin_channels[VIOLIN_CHANNELS];
struct violin_count {
    uint64_t bytes[VIOLIN_CHANNELS]; /* sent by all hosts, with UDP's, IP's and the mesh's heads */
    unsigned moves, refused, failed; /* moves that the policy asked for; guests that stay; handovers that failed */
    unsigned most_arrivals;          /* at one host at a time */
};
const struct violin_count *violin_count(const struct violin *v);
void violin_count_reset(struct violin *v);
/* CPU ns of one evaluation of the policy: median and 99th percentile of those measured since the reset; looked: of those that
 * looked at other hosts. */
bool violin_evaluations(const struct violin *v, bool looked, double *median, double *p99);
/* How old other hosts' summaries are, at this moment, in seconds. */
bool violin_ages(const struct violin *v, double *median, double *p99);

#endif
