/* Scenario files: what violin-sim run plays, line by line. README.md has the words.
 *
 * Text to fields, nothing else: bounded, no allocation, every error with its line and what was
 * expected there. */
#ifndef TESTS_SIM_SCENARIO_H
#define TESTS_SIM_SCENARIO_H

#include <stdbool.h>

#include "tests/sim/words.h"
#include "tests/sim/world.h"

#define SC_FILE_MAX  WORDS_FILE_MAX
#define SC_PEERS_MAX 2000
#define SC_RANGES    16
#define SC_EVENTS    1024 /* with every repetition of `every` */
#define SC_CLOCKS    64
#define SC_EXPECTS   64
#define SC_TEXT      100

struct sc_set {
    struct {
        unsigned lo, hi; /* both belong to it */
    } r[SC_RANGES];
    unsigned n;
};

enum sc_verb {
    SC_START, SC_RESTART, SC_CRASH, SC_LEAVE, SC_MOVE, /* at a moment */
    SC_PAUSE, SC_BLOCK, SC_MUTE, SC_PARTITION, SC_CUT, SC_LOSS, SC_NET /* for a time */
};

struct sc_event {
    enum sc_verb verb;
    vi_time at, lasts; /* lasts: VI_NEVER: to the end of the run */
    vi_time within;    /* START, RESTART: spread over so long */
    struct sc_set set, to; /* to: of a CUT, those that aren't heard by */
    double in, out;    /* LOSS */
    struct world_net net;
    bool without_disk;
    unsigned line;
    char text[SC_TEXT];
};

enum sc_expect_kind {
    SC_NONE_REMOVED, SC_NONE_REMOVED_BY_HEALTHY, SC_DEAD, SC_ALIVE, SC_NEVER_DEAD, SC_AGREED, SC_TRAFFIC
};

struct sc_expect {
    enum sc_expect_kind kind;
    struct sc_set set;
    vi_time within;    /* DEAD, ALIVE; AGREED: when, VI_NEVER: at the end */
    enum sc_verb of;   /* DEAD, ALIVE: counted from that event of the member … */
    bool after;        /* … or from its end */
    double most;       /* TRAFFIC: bytes a second and peer */
    unsigned line;
    char text[SC_TEXT];
};

struct scenario {
    uint64_t seed;
    unsigned peers;
    vi_time length;
    struct world_net net;
    bool swim, crypto;
    struct {
        struct sc_set set;
        double rate;
    } clock[SC_CLOCKS];
    unsigned nclocks;
    struct sc_event event[SC_EVENTS];
    unsigned nevents;
    struct sc_expect expect[SC_EXPECTS];
    unsigned nexpects;
};

/* false: err says why. What s held before is lost either way. */
bool scenario_parse(struct scenario *s, const char *text, size_t len, struct words_error *err);
bool sc_has(const struct sc_set *set, unsigned who);
const char *sc_verb_text(enum sc_verb v);

#endif
