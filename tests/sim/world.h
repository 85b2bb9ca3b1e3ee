/* The simulation's engine: nodes and a hostile network on virtual time, knowing no core.
 *
 * One heap ordered by (time, sequence) holds datagrams under way, timers of nodes and whatever the
 * test schedules. All randomness comes from the seed, so the same seed and the same cores make the
 * same run, which world_hash() shows. A node is a pointer made by `start` and destroyed by `stop`;
 * what must survive a crash lives with the test. The node's functions send with world_send(). */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <stdbool.h>

#include "peer/base/clock.h"
#include "peer/base/rng.h"

struct world;

/* All are called with the node's own clock (see world_clock_rate()); arg is the config's. */
struct world_ops {
    /* Makes node n, life counts from 0 (1: after the first restart). NULL: it can't; stays down. */
    void *(*start)(void *arg, struct world *w, unsigned n, unsigned life, vi_time now);
    void (*stop)(void *arg, unsigned n, void *node); /* crash, or the end of the world */
    void (*deliver)(void *arg, unsigned n, void *node, vi_time now, unsigned from,
                    const uint8_t *data, size_t len);
    void (*tick)(void *arg, unsigned n, void *node, vi_time now); /* its deadline has come */
    vi_time (*deadline)(void *arg, unsigned n, const void *node);
};

/* Chances are 0 … 1. */
struct world_net {
    vi_time delay_min, delay_max; /* uniform */
    double loss, duplicate;
    double reorder;               /* chance that reorder_delay is added */
    vi_time reorder_delay;
};

struct world_config {
    uint64_t seed;
    unsigned nodes;
    struct world_net net;
    struct world_ops ops;
    void *arg;
};

/* Nodes are down at first. NULL: no memory. Time starts at 1 s (so that 0 can mean never). */
struct world *world_new(const struct world_config *cfg);
void world_free(struct world *w);

vi_time world_now(const struct world *w);
vi_time world_node_now(const struct world *w, unsigned n); /* by the node's own clock */
struct vi_rng *world_rng(struct world *w); /* for the test's own choices; part of the run */
void *world_node(struct world *w, unsigned n); /* NULL: down */
unsigned world_life(const struct world *w, unsigned n);
struct world_net *world_net(struct world *w); /* may be changed while it runs */

/* A datagram from n to another node, copied; the network decides. From inside a node's function, or
 * from the test. */
void world_send(struct world *w, unsigned from, unsigned to, const uint8_t *data, size_t len);

/* fn(arg, w, a) at a time of the world. */
void world_at(struct world *w, vi_time at, void (*fn)(void *arg, struct world *w, uint64_t a),
              void *arg, uint64_t a);

void world_start(struct world *w, unsigned n); /* also restarts */
void world_crash(struct world *w, unsigned n); /* datagrams to it under way find nobody */
/* A paused node neither ticks nor receives; datagrams wait in its socket (at most 4096). */
void world_pause(struct world *w, unsigned n);
void world_resume(struct world *w, unsigned n); /* its timers run before what waits, as in libuv */
/* io only: the node ticks, but nothing comes in and what it sends is lost. */
void world_mute(struct world *w, unsigned n, bool mute);

/* I/O only, the other way: the node ticks, but what it sends waits, and what comes to it (at most 4096
 * each), until it is unblocked: a process whose socket calls hang (Lifeguard, §V). */
void world_block(struct world *w, unsigned n, bool block);
/* Chances that a datagram to the node, or from it, is lost, beside the network's own. */
void world_node_loss(struct world *w, unsigned n, double in, double out);

/* From `from` to `to` nothing passes. One direction. */
void world_cut(struct world *w, unsigned from, unsigned to, bool cut);
/* Nodes with a bit set in side[] (bool per node) and the others don't hear each other, beside what
 * earlier partitions parted. */
void world_partition(struct world *w, const bool *side);
void world_heal(struct world *w); /* undoes all cuts */
/* The node's clock runs by that factor (0.9 … 1.1, say). Set it while the node is down. */
void world_clock_rate(struct world *w, unsigned n, double rate);

/* A node was changed from outside (an event handed to its core): its deadline is asked again. */
void world_touch(struct world *w, unsigned n);
/* Handles the next thing, if it is not later than `until`. false: there is none. */
bool world_step(struct world *w, vi_time until);
void world_run(struct world *w, vi_time until); /* up to and including; then now = until */

uint64_t world_hash(const struct world *w);   /* of all that was handled so far */
/* Memory that the world itself holds: nodes, what is under way. */
size_t world_bytes(const struct world *w);
uint64_t world_events(const struct world *w); /* how many things that were */

#endif
