/* What each guest should have, from its own host first, and which guest should go where when that
 * isn't enough. A pure core: a snapshot of the host goes in once per evaluation, decisions come out.
 *
 * Units: memory KiB; CPU in percent of one CPU; times vi_time. Words as in the design: demand (used +
 * steal), entitlement (what a guest is allocated of the CPU), utilisation (used ÷ allocated), range,
 * desired level, shortage. The formulas are in policy/README.md. */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include "peer/base/clock.h"
#include "peer/base/id.h"
#include "peer/base/rng.h"
#include "policy/envmove.h"
#include "policy/handover.h"
#include "policy/rules.h"

#define POLICY_GUESTS    256
#define POLICY_PEERS     1024 /* summaries looked at in one evaluation */
#define POLICY_ENVS      64
#define POLICY_TEXT      240
#define POLICY_NUMBERS   12
#define POLICY_SUMMARY   64   /* bytes, at most */
#define POLICY_PROBE     128  /* bytes of a probe's question or answer, at most */
#define POLICY_KEPT      16   /* decisions kept for each guest */
#define POLICY_CHOICES   16   /* hosts of the last choice kept for each guest */

struct policy_config {
    bool automatic; /* act; else only say */
    double range_low, range_high;
    vi_time period;
    unsigned needed, of; /* evaluations out of range: needed of the latest `of` (≤ 20) */
    uint64_t floor_kb, reserve_kb;
    double dom0_pct;
    vi_time settle; /* a guest that appeared isn't moved for this long: booting isn't its load */
    vi_time shrink_window, cooldown, no_return, horizon, report_stale;
    unsigned moves_per_hour, arrivals_max;
    double bandwidth_kbps; /* KiB per second that a move is expected to make */
};
/* The defaults of the design. */
void policy_config_init(struct policy_config *c);

/* ---- events --------------------------------------------------------------------------------- */

struct policy_guest {
    struct vi_id uuid, env;
    char name[64];
    uint32_t domid, vcpus, weight;
    uint64_t cpu_time_ns; /* cumulative */
    uint64_t current_kb, target_kb, max_kb;
    bool report;          /* well formed; the rest is the guest's word */
    uint64_t sequence, total_kb, available_kb, swap_kb, steal_ms;
    bool running;
    bool frozen;          /* a handover is under way: leave it alone */
    bool movable;
    char why_not[96];
};

struct policy_env {
    struct vi_id id;
    uint32_t shares;
};

struct policy_snapshot {
    uint32_t cpus;
    uint64_t total_kb, free_kb, dom0_kb;
    uint64_t reserved_kb;  /* promised to guests that are arriving */
    double reserved_pct;
    unsigned arrivals;
    const struct policy_guest *guests;
    unsigned n_guests;
    const struct policy_env *envs;
    unsigned n_envs;
};

/* What a host says about itself in its summary. */
struct policy_load {
    double capacity_pct, demand_pct, entitled_pct;
    uint64_t total_kb, charged_kb, free_kb;
    uint32_t guests, arrivals;
    bool observes; /* its policy does not act */
    bool draining; /* its guests are to leave, nobody may come */
};

struct policy_peer {
    struct vi_id id;
    struct policy_load load;
    vi_time age;
};

/* What a guest needs at its destination. */
struct policy_needs {
    uint64_t kb;
    double pct;
};

enum policy_event_kind {
    POLICY_EV_EVALUATE,
    POLICY_EV_PROBED, /* an answer to POLICY_FX_PROBE, or none */
    POLICY_EV_MOVED,  /* the end of POLICY_FX_MOVE, or of an operator's move */
    POLICY_EV_ARRIVED /* a guest came from another host */
};

struct policy_event {
    enum policy_event_kind kind;
    struct policy_snapshot snapshot; /* EVALUATE; borrowed during the step */
    const struct policy_peer *peers; /* EVALUATE: the other hosts that are alive */
    unsigned n_peers;
    struct vi_id guest, peer; /* PROBED, MOVED, ARRIVED (peer: where from) */
    int err;                  /* PROBED, MOVED: 0 or a vi_err */
    const uint8_t *data;      /* PROBED: the answer */
    size_t len;
    const char *why;          /* MOVED: when err isn't 0 */
};

/* ---- effects -------------------------------------------------------------------------------- */

struct policy_number {
    char name[28];
    double value;
};

enum policy_decision_kind {
    POLICY_GROW, POLICY_SHRINK, POLICY_WEIGHT, POLICY_SHORT, POLICY_MOVE, POLICY_REFUSE, POLICY_FAILED
};
const char *policy_decision_text(enum policy_decision_kind k); /* "grow" … */

struct policy_decision {
    vi_time at;
    enum policy_decision_kind kind;
    bool done; /* false: observe mode, this is what would have been done */
    struct vi_id guest;
    char name[64];
    char text[POLICY_TEXT];
    unsigned n;
    struct policy_number numbers[POLICY_NUMBERS];
};

enum policy_effect_kind {
    POLICY_FX_MEMORY,  /* set the balloon target of `guest` to kb */
    POLICY_FX_SCHED,   /* set its weight */
    POLICY_FX_PROBE,   /* ask `peer` with data; answer with POLICY_EV_PROBED */
    POLICY_FX_MOVE,    /* hand `guest` over to `peer`; answer with POLICY_EV_MOVED */
    POLICY_FX_SUMMARY, /* publish data */
    POLICY_FX_DECISION
};

struct policy_effect {
    enum policy_effect_kind kind;
    struct vi_id guest, peer;
    uint32_t domid, weight;
    uint64_t kb;
    struct policy_needs needs; /* MOVE */
    uint8_t data[POLICY_PROBE];
    size_t len;
    struct policy_decision decision;
};

/* ---- the core ------------------------------------------------------------------------------- */

struct policy;
/* rng is borrowed while the core lives. NULL without memory or with a figure out of range. */
struct policy *policy_new(const struct policy_config *cfg, struct vi_rng *rng, vi_time now);
void policy_free(struct policy *p);
void policy_step(struct policy *p, vi_time now, const struct policy_event *ev);
/* The oldest effect not taken, or NULL; borrowed until the next call. At most 1024 wait; decisions
 * beyond that are dropped, and the others wait for the next evaluation, which makes them again. */
const struct policy_effect *policy_effect(struct policy *p);
/* When to step with the next POLICY_EV_EVALUATE. */
vi_time policy_deadline(const struct policy *p);
/* An operator's order: every guest that can leave does (policy/drain.c), and nobody is taken in. */
void policy_set_draining(struct policy *p, vi_time now, bool draining);
void policy_set_automatic(struct policy *p, bool automatic);

/* ---- the destination's side ------------------------------------------------------------------ */

/* Could a guest with these needs be taken now, beside what is promised? 0, or VI_EFULL / VI_EAGAIN with
 * a phrase in why. Judged by the latest snapshot; reserved_* are the promises of now. */
int policy_can_take(const struct policy *p, const struct policy_needs *needs, uint64_t reserved_kb,
                    double reserved_pct, unsigned arrivals, char *why, size_t cap);
/* Answers a probe's question; the length, or VI_EPROTO. */
int policy_probe_answer(const struct policy *p, const uint8_t *question, size_t len,
                        uint64_t reserved_kb, double reserved_pct, unsigned arrivals,
                        uint8_t out[POLICY_PROBE]);
/* An operator's choice of a destination: the least utilised of those whose summaries fit. 0, or
 * VI_ENOTFOUND (no such guest), VI_EUNSUPPORTED (it can't move), VI_EFULL (nowhere), with why. */
int policy_operator_choice(struct policy *p, const struct vi_id *guest, struct vi_id *peer,
                           char *why, size_t cap);
/* What a guest would need elsewhere. VI_ENOTFOUND. */
int policy_needs(const struct policy *p, const struct vi_id *guest, struct policy_needs *needs);

/* ---- summaries (policy/summary.c, hostile input) ---------------------------------------------- */

int policy_summary_encode(const struct policy_load *l, uint8_t *out, size_t cap);
int policy_summary_decode(struct policy_load *l, const uint8_t *data, size_t len);
const struct policy_load *policy_own_load(const struct policy *p);

/* ---- explaining ------------------------------------------------------------------------------ */

struct policy_view {
    bool measured, fresh_report;
    double used_pct, demand_pct, entitlement_pct, cpu_utilisation;
    uint64_t used_kb, desired_kb;
    double memory_utilisation;
    uint32_t weight;
    vi_time report_age; /* VI_NEVER: none yet */
    bool short_of_memory, short_of_cpu;
};
bool policy_view(const struct policy *p, vi_time now, const struct vi_id *guest, struct policy_view *out);
/* Decisions about a guest, newest first: *pos starts at 0. */
bool policy_decision_next(const struct policy *p, const struct vi_id *guest, unsigned *pos,
                          const struct policy_decision **out);
/* The hosts looked at in the last choice for a guest, with why each was taken or not. */
bool policy_choice_next(const struct policy *p, const struct vi_id *guest, unsigned *pos,
                        struct vi_id *peer, const char **text);

/* ---- arithmetic, for tests ------------------------------------------------------------------- */

/* Divides capacity among n wants in proportion to shares, nobody more than it wants (weighted max-min
 * fairness, progressive filling: Bertsekas and Gallager, Data Networks, §6.5.2). out[i] ≤ want[i],
 * sum(out) ≤ capacity. */
void policy_divide(double capacity, unsigned n, const double *want, const double *shares, double *out);

#endif
