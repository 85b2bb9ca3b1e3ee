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
#include "policy/plan.h"
#include "policy/rules.h"

#define POLICY_GUESTS    256
#define POLICY_PEERS     1024 /* summaries looked at at a time */
#define POLICY_ENVS      64
#define POLICY_RULES     2048 /* 32 of each environment; further ones are not looked at */
#define POLICY_TALKS     1024 /* pairs of guests that talk */
#define POLICY_PLACES    4096 /* guests elsewhere whose places are looked at */
#define POLICY_TEXT      240
#define POLICY_NUMBERS   12
#define POLICY_SUMMARY   64   /* bytes, at most */
#define POLICY_PROBE     128  /* bytes of a probe's question or answer, at most */
#define POLICY_KEPT      16   /* decisions kept for each guest */
#define POLICY_CHOICES   16   /* hosts of the last choice kept for each guest */

struct policy_peer;

struct policy_config {
    bool automatic; /* act; else only say */
    bool pack;      /* placement: keep guests on few hosts (policy/pack.c), else where they are served best */
    double range_low, range_high;
    vi_time period;
    unsigned needed, of; /* evaluations out of range: needed of the latest `of` (≤ 20) */
    uint64_t floor_kb, reserve_kb;
    double dom0_pct;
    vi_time settle; /* a guest that appeared isn't moved for this long: booting isn't its load */
    vi_time shrink_window, cooldown, no_return, horizon, report_stale;
    vi_time forecast_after; /* so long a load must have been seen before anything is expected by it */
    unsigned moves_per_hour, arrivals_max;
    double bandwidth_kbps; /* KiB per second that a move is expected to make */
    /* The other hosts that are alive: `most` of them, drawn at random, if there are more, and how many these are; one of
     * them, or false. Asked only when something should go, so that an evaluation costs no more in a large domain. NULL: it is alone. */
    unsigned (*peers)(void *arg, vi_time now, struct policy_peer *out, unsigned most);
    bool (*peer)(void *arg, vi_time now, const struct vi_id *id, struct policy_peer *out);
    void *peers_arg;
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
    uint64_t disk_kb;     /* of its disks that move with it */
    char why_not[96];
};

struct policy_env {
    struct vi_id id;
    uint32_t shares;
    uint32_t priority; /* on a host that is short the lower one gives way: placing.md */
};

/* Two guests of an environment, one of them here, that talk with each other; both ways together. */
struct policy_talk {
    struct vi_id a, b;
    double bytes_s;
};

struct policy_snapshot {
    vi_time at; /* the counters were read then; 0: now */
    uint32_t cpus;
    uint64_t total_kb, free_kb, dom0_kb;
    uint64_t reserved_kb;  /* promised to guests that are arriving */
    double reserved_pct;
    unsigned arrivals;
    struct vi_id self;     /* this host, as rules name it */
    struct policy_rules rules; /* of the environments with guests here; where their guests elsewhere are */
    const struct policy_talk *talks; /* the strongest first */
    unsigned n_talks;
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
    bool packs;    /* placement "pack" */
    bool lasting_known;      /* the next two are: it has looked for long enough (policy/forecast.c) */
    double lasting_pct;      /* mean of what its guests want, over the last hour */
    double spread_pct;       /* standard deviation of what they want together */
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
    struct vi_id guest, peer; /* PROBED, MOVED, ARRIVED (peer: where from); PROBED: about which guest */
    struct policy_needs needs; /* ARRIVED: what it is expected to need, until it is measured here */
    int err;                  /* PROBED, MOVED: 0 or a vi_err */
    const uint8_t *data;      /* PROBED: the answer */
    size_t len;
    unsigned lacks;           /* PROBED: so many of the guest's images aren't there, and would be fetched first */
    uint64_t lacks_kb;        /* PROBED: of its disks, what isn't there from before and would be copied whole */
    const char *why;          /* MOVED: when err isn't 0 */
    bool told;                /* MOVED: … and people are told of it: no effect for them */
};

/* ---- effects -------------------------------------------------------------------------------- */

struct policy_number {
    char name[28];
    double value;
};

enum policy_decision_kind {
    POLICY_GROW, POLICY_SHRINK, POLICY_WEIGHT, POLICY_SHORT, POLICY_MOVE, POLICY_REFUSE, POLICY_STUCK, POLICY_FAILED
};
const char *policy_decision_text(enum policy_decision_kind k); /* "grow" … */

struct policy_decision {
    vi_time at;
    enum policy_decision_kind kind;
    bool done; /* false: observe mode, this is what would have been done */
    struct vi_id guest;
    struct vi_id peer; /* MOVE: where to */
    char name[64];
    char text[POLICY_TEXT];
    unsigned n;
    struct policy_number numbers[POLICY_NUMBERS];
};

enum policy_effect_kind {
    POLICY_FX_MEMORY,  /* set the balloon target of `guest` to kb */
    POLICY_FX_SCHED,   /* set its weight */
    POLICY_FX_PROBE,   /* ask `peer` with data, about `guest`; answer with POLICY_EV_PROBED */
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
/* Answers a probe's question; the length, or VI_EPROTO. A yes is a promise to `from` for a moment; NULL: to nobody, for who
 * asks is of another domain, and its questions must keep no room from this one. */
int policy_probe_answer(struct policy *p, vi_time now, const struct vi_id *from, const uint8_t *question, size_t len,
                        uint64_t reserved_kb, double reserved_pct, unsigned arrivals, uint8_t out[POLICY_PROBE]);
/* A guest comes from that host: adds what was promised to other hosts of late, by answers to their questions. Its own
 * promise is over with this: from now on a reservation stands for it. */
void policy_promised(struct policy *p, vi_time now, const struct vi_id *from, uint64_t *kb, double *pct);
/* An operator's choice of a destination: the least utilised of those whose summaries fit. 0, or
 * VI_ENOTFOUND (no such guest), VI_EUNSUPPORTED (it can't move), VI_EFULL (nowhere), with why. */
int policy_operator_choice(struct policy *p, vi_time now, const struct vi_id *guest, struct vi_id *peer,
                           char *why, size_t cap);
/* What a guest would need elsewhere. VI_ENOTFOUND. Of one that has just arrived the memory isn't known yet: then needs->kb is
 * left as the caller set it, to the hypervisor's figure. */
int policy_needs(const struct policy *p, const struct vi_id *guest, struct policy_needs *needs);

/* How long a guest has been here, as far as the policy saw; 0: not yet. */
vi_time policy_age(const struct policy *p, vi_time now, const struct vi_id *guest);
/* Short, and the policy's last word on it was that it stays: no host of the domain helps. Not a guest that has just
 * appeared: as booting is no reason to move it to another host, it is none to move its environment away. */
bool policy_in_need(const struct policy *p, vi_time now, const struct vi_id *guest);

/* ---- an environment's moves of the last hour (policy/budget.c) --------------------------------- */

#define POLICY_MOVES 256 /* bytes of a question or an answer, at most */
/* How many are left in this hour, as far as this host knows. */
unsigned policy_moves_left(const struct policy *p, vi_time now, const struct vi_id *env);
/* What a host asks the one that a guest came from; what that answers (the length, or VI_EPROTO); and what is made of the
 * answer, hostile input: 0 or VI_EPROTO. The more moves are heard of, the fewer are left. */
int policy_moves_ask(const struct vi_id *env, uint8_t out[POLICY_MOVES]);
int policy_moves_tell(const struct policy *p, vi_time now, const uint8_t *question, size_t len, uint8_t out[POLICY_MOVES]);
int policy_moves_heard(struct policy *p, vi_time now, const struct vi_id *env, const uint8_t *data, size_t len);

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
    bool stuck; /* its balloon does not follow its target */
};
bool policy_view(const struct policy *p, vi_time now, const struct vi_id *guest, struct policy_view *out);
/* Decisions about a guest, newest first: *pos starts at 0. */
bool policy_decision_next(const struct policy *p, const struct vi_id *guest, unsigned *pos,
                          const struct policy_decision **out);
/* The hosts looked at in the last choice for a guest, with why each was taken or not. */
bool policy_choice_next(const struct policy *p, const struct vi_id *guest, unsigned *pos,
                        struct vi_id *peer, const char **text);

/* What is to be allocated of the CPU to who uses that much, for it to be within a range up to range_high: never more than
 * whole CPUs, for it can't have more; a hundredth less, for so much measuring is off. */
double policy_level(double pct, double range_high);

/* ---- why not there? (whynot.c): all reasons, up to `most`; returns how many ------------------------- */

#define POLICY_REASON 120
/* Of this host, that doesn't take a guest with these needs; as policy_can_take() judges. */
unsigned policy_take_reasons(const struct policy *p, const struct policy_needs *needs, uint64_t reserved_kb, double reserved_pct,
                             unsigned arrivals, char out[][POLICY_REASON], unsigned most);
/* What others than `from` were promised by probes' answers is added to both; a look ends no promise. */
void policy_promised_others(const struct policy *p, vi_time now, const struct vi_id *from, uint64_t *kb, double *pct);
/* Would another's policy get a no all the same, for with that guest this host's CPU were beyond its range? As a probe's answer
 * judges; an operator's order is taken. Fills `out` then. */
bool policy_take_beyond(const struct policy *p, const struct policy_needs *needs, double reserved_pct, char out[POLICY_REASON]);
/* Of this host, whose policy doesn't send its guest away, or not to that peer, whatever room is there. An operator's order
 * (`violin migrate`) asks only what can't be. */
unsigned policy_send_reasons(struct policy *p, vi_time now, const struct vi_id *guest, const struct vi_id *peer,
                             char out[][POLICY_REASON], unsigned most);
/* The place of that peer, as it says it is, among the hosts that fit by their summaries: 1 is the least utilised; *of them. */
unsigned policy_rank(struct policy *p, vi_time now, const struct vi_id *peer, const struct policy_load *there,
                     const struct policy_needs *needs, double *utilisation, unsigned *of);

/* ---- arithmetic, for tests ------------------------------------------------------------------- */

/* Divides capacity among n wants in proportion to shares, nobody more than it wants (weighted max-min
 * fairness, progressive filling: Bertsekas and Gallager, Data Networks, §6.5.2). out[i] ≤ want[i],
 * sum(out) ≤ capacity. */
void policy_divide(double capacity, unsigned n, const double *want, const double *shares, double *out);

#include "policy/survey.h"

#endif
