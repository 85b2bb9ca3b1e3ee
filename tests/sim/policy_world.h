/* A simulated federation's hosts and guests: what the adaptation acts upon, on virtual time.
 *
 * Fluid: between two events everything goes on at constant rates. An environment is bulk-synchronous: all
 * its guests progress at the rate of the slowest. A host divides its CPUs among its guests by weights,
 * work-conserving. A move either stalls its guest for a fixed time (what the paper measured), or sends its
 * memory in rounds over links of a bandwidth, while the guest goes on writing (pre-copy: Clark et al., "Live
 * Migration of Virtual Machines", NSDI 2005, §4), and the guest pauses for the last of them.
 *
 * Nothing here decides: that is done by static, reference and violin (policy_run.h).
 * Units: CPU in hosts' CPUs (1.0 is one CPU), work in CPU seconds, memory KiB, bandwidth KiB/s. */
#ifndef TESTS_SIM_POLICY_WORLD_H
#define TESTS_SIM_POLICY_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peer/base/clock.h"
#include "policy/rules.h"
#include "tests/sim/words.h"

#define PW_NAME     24
#define PW_TITLE    100
#define PW_STAGES   16
#define PW_USES     16
#define PW_ORDERS   32
#define PW_QUOTES   32
#define PW_RULES    32
#define PW_TALKS    32
#define PW_GUESTS   64  /* of an environment */
#define PW_NOWHERE  UINT32_MAX
#define PW_MIB      UINT64_C(1024)
#define PW_ROUNDS   5   /* of pre-copy at most, as libxl's */

/* ---- what is simulated ---- */

struct pw_domain {
    char name[PW_NAME];
    unsigned hosts, first; /* first: the number of its first host */
    unsigned cpus;
    uint64_t kb; /* for guests, of each host */
};

struct pw_stage {
    double demand; /* of each guest, 0 … 1 CPU */
    double work;   /* CPU seconds of each guest; INFINITY: goes on for ever */
};

struct pw_use {
    vi_time at; /* of the run */
    uint64_t kb;
};

struct pw_env {
    char name[PW_NAME];
    unsigned guests, domain, domain_static; /* where it is created with and without adaptation */
    vi_time start;
    uint64_t kb, max_kb; /* of each guest: at first, and at most */
    double dirty_kbps;
    unsigned priority;
    bool each_host; /* one guest on each host of the domain, or none */
    unsigned n_stages, n_uses;
    struct pw_stage stage[PW_STAGES];
    struct pw_use use[PW_USES]; /* memory in use; the first is of the start */
};

struct pw_rule { /* where an environment's guests may be */
    enum policy_rule_kind kind;
    unsigned env, host; /* host: of all; pin, never */
    unsigned n, guest[POLICY_RULE_GUESTS]; /* of the environment: 0 … */
};

struct pw_talk { /* two guests of an environment that send each other so much */
    unsigned env, a, b;
    double kbps; /* KiB/s, both ways together */
};

struct pw_order { /* an operator's: that environment to that domain */
    vi_time at;
    unsigned env, domain;
};

struct pw_quote { /* what the paper says */
    char metric[40];
    double value;
};

struct pw_scenario {
    char name[PW_NAME], title[PW_TITLE];
    vi_time length, period;
    unsigned needed; /* evaluations that a condition must hold */
    double range_low, range_high;
    uint64_t floor_kb;
    double link_kbps;
    unsigned n_domains, n_hosts, n_envs, n_orders, n_quotes, n_rules, n_talks;
    struct pw_domain *domain;
    struct pw_env *env;
    struct pw_order order[PW_ORDERS];
    struct pw_rule rule[PW_RULES];
    struct pw_talk talk[PW_TALKS];
    struct pw_quote quote[PW_QUOTES];
};

/* ---- how it is now ---- */

enum pw_state { PW_WAITS, PW_RUNS, PW_ENDED, PW_DIED };

struct pw_guest {
    unsigned env, index, host;
    uint32_t domid;
    uint32_t weight;
    uint64_t kb;       /* its memory */
    double share, use; /* CPU offered and taken, at the moment */
    double cpu_s, steal_s;
    bool streaming;    /* a move's stream is under way */
    bool stalled;      /* makes no progress: a fixed stall, or the last round */
    bool streamed;     /* all is sent; it waits for pw_activate or pw_cancel */
    double hold;       /* CPU that it keeps from others while it is stalled */
    unsigned to, round;
    vi_time stall;     /* 0: rounds */
    vi_time began, until;
    double left_kb, sent_kb, rate_kbps, dirtied_kb;
    vi_time pause_left; /* beside what is left to send, while it is stalled */
};

struct pw_env_state {
    enum pw_state state;
    unsigned first; /* guest; they are numbered one after another */
    unsigned stage, next_use, moves;
    uint64_t used_kb; /* of each guest */
    double done, rate; /* in this stage, CPU seconds of each guest; per second */
    vi_time created, ended, settled, stage_ends;
    unsigned stamp;
};

struct pw_host {
    unsigned domain;
    unsigned *guest, n, cap;
    uint64_t reserved_kb; /* promised to those that come */
    bool dirty;
    unsigned stamp;
};

/* What became of whom; the order of events. */
enum pw_note_kind { PW_CREATED, PW_REFUSED, PW_STAGE, PW_FINISHED, PW_OUT_OF_MEMORY, PW_LEAVES, PW_ARRIVES, PW_STAYS,
                    PW_GROWS, PW_SHRINKS };
extern const char *const pw_note_names[];
struct pw_note {
    vi_time at;
    enum pw_note_kind kind;
    unsigned env, guest; /* guest: of all, or PW_NOWHERE */
    unsigned from, to;   /* hosts */
    uint64_t kb;
};

/* Where a guest was, for pictures. */
struct pw_stay {
    unsigned guest, host;
    vi_time from, to;
    bool stalled;
};

struct pw_world {
    const struct pw_scenario *s;
    vi_time now;
    unsigned n_guests, stamp;
    struct pw_host *host;
    struct pw_guest *guest;
    struct pw_env_state *env;
    bool is_static;
    bool rates_stale, next_stale;
    vi_time next;
    unsigned n_notes, notes_cap, n_stays, stays_cap, n_moving, moving_cap;
    struct pw_note *note;
    struct pw_stay *stay;
    unsigned *moving; /* guests whose stream is under way */
    unsigned *work;   /* room for the rates' arithmetic: hosts, then environments */
    double sent_kb;
    bool no_memory;
};

/* s is borrowed. NULL: no memory. */
struct pw_world *pw_new(const struct pw_scenario *s, bool is_static);
void pw_free(struct pw_world *w);
/* When something happens by itself next (VI_NEVER: nothing). */
vi_time pw_next(struct pw_world *w);
/* Time goes on to t ≤ pw_next(); what happens then happens. */
void pw_advance(struct pw_world *w, vi_time t);
/* Brings the integrals of a host's guests (cpu_s, steal_s) up to now. */
void pw_settle_host(struct pw_world *w, unsigned host);
void pw_settle_env(struct pw_world *w, unsigned env);

/* Tries to create what waits and is due: on the hosts of least demand that have the memory. */
void pw_create_due(struct pw_world *w);
double pw_demand(const struct pw_world *w, unsigned host); /* what its guests would use, if they could */
double pw_guest_demand(const struct pw_world *w, unsigned guest);
uint64_t pw_free_kb(const struct pw_world *w, unsigned host); /* reserved memory isn't free */
void pw_set_weight(struct pw_world *w, unsigned guest, uint32_t weight);
void pw_set_memory(struct pw_world *w, unsigned guest, uint64_t kb); /* the host must have it */

/* A move's stream begins. stall: 0 or so long without progress, `hold` CPUs kept at the source meanwhile. */
void pw_stream(struct pw_world *w, unsigned guest, unsigned to, vi_time stall, double hold);
/* It goes on at its destination; or where it is, nothing came of the move. */
void pw_activate(struct pw_world *w, unsigned guest);
void pw_cancel(struct pw_world *w, unsigned guest);
/* Is every environment that ends by itself over? */
bool pw_over(const struct pw_world *w);
double pw_execution_s(const struct pw_world *w, unsigned env); /* to the end of the run, if it didn't end; 0: never began */

/* ---- scenarios (policy_scenario.c) ---- */

#define PW_FILE_MAX    WORDS_FILE_MAX
#define PW_FILE_ENVS   64
#define PW_FILE_DOMAINS 32
#define PW_FILE_HOSTS  1000

/* A file's text; false: err says why. Either way s is to be freed. */
bool pw_parse(struct pw_scenario *s, const char *text, size_t len, struct words_error *err);
void pw_scenario_free(struct pw_scenario *s);

#endif
