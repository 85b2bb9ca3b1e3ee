/* What the files of the policy core share. */
#ifndef POLICY_INTERNAL_H
#define POLICY_INTERNAL_H

#include "policy/policy.h"

#define EFFECTS 1024
#define PEAKS   10  /* the shrink window in tenths */
#define PROBES  3
#define RECENT  10 /* evaluations whose CPU demand is remembered */
#define HOUR_SLOTS 64
#define POLICY_BUDGET_HOSTS 512 /* of an environment; with more of them there are turns all the same */
#define RISING  12 /* evaluations over which use is seen to rise */
#define SAID_YES   16 /* promises to who asked for room: the oldest gives way */

struct choice {
    struct vi_id peer;
    char text[96];
};

struct guest_state {
    bool used, seen; /* seen in this evaluation */
    bool awaited;    /* it came from another host and was in no snapshot yet */
    uint8_t tag[POLICY_RULE_TAG];
    uint32_t broken; /* k of n: a rule wants it elsewhere */
    uint32_t apart;  /* the same: its traffic does */
    struct policy_guest in;
    /* measured */
    vi_time last_at;
    uint64_t last_cpu_ns, last_steal_ms, last_sequence;
    bool measured, has_steal;
    vi_time report_at; /* when the sequence last changed; VI_NEVER: never */
    double used_pct, demand_pct, entitlement;
    double recent_pct[RECENT]; /* demand; the latest first */
    unsigned n_recent;
    double lasting_pct, lasting_var; /* mean and variance of the last hour's demand */
    vi_time lasting_seen;
    uint64_t used_kb;
    bool report_good; /* fresh and plausible */
    vi_time seen_at;    /* first */
    vi_time resized_at; /* when its memory was last seen to change */
    /* k of n: bit 0 is the latest evaluation */
    uint32_t mem_above, mem_below, cpu_above, cpu_below;
    uint64_t peak[PEAKS];
    vi_time peak_at; /* beginning of peak[0] */
    unsigned peaks;
    vi_time grown_at, moved_at, back_off_until, no_place_until;
    bool asked_in_vain; /* why it backs off: a question, not a move that failed */
    vi_time came_at, came_counted; /* came_counted: in its environment's moves */
    struct vi_id came_from, going_to;
    unsigned failures;
    vi_time shrunk_at, asked_at; /* its balloon, by us */
    uint64_t asked_kb, swap_was_kb;
    uint64_t follow_kb, behind_kb; /* the target that it should follow; how far it was behind at best */
    unsigned follow_since;         /* evaluations without progress */
    bool stuck;                    /* its balloon does not follow */
    vi_time stuck_at;
    uint64_t rising[RISING];       /* what it used; the latest first */
    unsigned n_rising;
    uint64_t desired_kb;
    uint64_t wanted_kb; /* it was found above the range and got less than this; 0: nothing is owed to it */
    uint64_t short_kb; /* what the host could not give */
    bool short_cpu;
    vi_time said[POLICY_FAILED + 1]; /* when each kind was last said, so that a refusal is said once */
    unsigned n_decisions, next_decision;
    struct policy_decision decisions[POLICY_KEPT];
    unsigned n_choices;
    struct choice choices[POLICY_CHOICES];
};

/* A move being chosen: probes are out. */
struct choosing {
    bool active;
    struct vi_id guest;
    struct policy_needs needs;
    double gain, cost;
    char mends[POLICY_RULE_TEXT]; /* the rule that its going mends; "": it goes for another reason */
    unsigned n;
    struct vi_id peer[PROBES];
    int state[PROBES]; /* 0 asked, 1 fits, -1 not */
    double utilisation[PROBES];
    double talk[PROBES];         /* bytes a second with guests there */
    unsigned companions[PROBES]; /* guests there that it should be together with */
    bool lacks[PROBES]; /* some of the guest's images, or all of some of its disks */
    vi_time until;
};

struct env_moves {
    struct vi_id env;
    vi_time since; /* known here */
    vi_time at[HOUR_SLOTS];
    unsigned next;
};

/* policy.c: policy_take_beyond() (policy.h), with room for its sentence as `cap` says. */
bool policy_beyond_range(const struct policy *p, const struct policy_needs *n, double reserved_pct, char *why, size_t cap);

#define POLICY_WHY 56 /* of a probe's no: with the summary it is within POLICY_PROBE */

struct said_yes { /* a host was told that its guest would fit: it may come */
    struct vi_id to;
    uint64_t kb;
    double pct;
    vi_time until;
};

struct policy {
    struct policy_config cfg;
    struct vi_rng *rng;
    vi_time next;
    vi_time evaluated_at; /* in full */
    vi_time read_at;      /* the snapshot's counters; 0: now */
    unsigned glances;     /* left until the next full one (glance.c) */
    uint32_t cpu_short;   /* k of n: the host was wanted more of than it has; bit 0 is the latest look */
    double leaving_pct;   /* of its demand, what is about to leave */
    double level_pct;     /* what its guests have to be allocated, to be in their range */
    struct said_yes said_yes[SAID_YES];
    unsigned next_yes;
    struct policy_load load;
    uint64_t snapshot_reserved_kb;
    uint32_t cpus;
    unsigned top; /* the places in use are below: those never used cost no memory */
    struct guest_state guests[POLICY_GUESTS];
    unsigned n_envs;
    struct policy_env envs[POLICY_ENVS];
    unsigned n_peers, looked; /* looked: so many were asked for in this step; 0: it didn't look yet */
    struct policy_peer peers[POLICY_PEERS];
    vi_time forecast_at, forecast_seen;
    double forecast_var;
    bool emptying; /* pack.c: its guests are leaving, so that it can be switched off */
    vi_time pack_again, pack_progress;
    struct choosing choosing;
    struct env_moves moves[POLICY_ENVS];
    struct vi_id self;
    vi_time mended_at, gathered_at;
    char rule_text[POLICY_RULE_TEXT];
    unsigned n_rules, n_places;
    struct policy_rule rules[POLICY_RULES];
    unsigned n_talks;
    struct policy_talk talks[POLICY_TALKS];
    struct policy_place places[POLICY_PLACES + POLICY_GUESTS]; /* elsewhere, then those here */
    const struct policy_place *by_guest[POLICY_PLACES + POLICY_GUESTS]; /* the same, sorted */
    unsigned first, count;
    struct policy_effect effects[EFFECTS];
};

struct guest_state *policy_guest_find(const struct policy *p, const struct vi_id *uuid);
/* A free effect, or NULL at the bound. */
struct policy_effect *policy_push(struct policy *p, enum policy_effect_kind kind);
/* Records and says a decision; returns it for numbers. NULL: the same was said a moment ago. */
struct policy_decision *policy_decide(struct policy *p, vi_time now, struct guest_state *g,
                                      enum policy_decision_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void policy_number(struct policy_decision *d, const char *name, double value);
/* Says it, once its numbers are in. */
void policy_say(struct policy *p, const struct policy_decision *d);
bool policy_k_of_n(const struct policy *p, uint32_t bits);
double policy_capacity(const struct policy *p);
uint32_t policy_priority_of(const struct policy *p, const struct guest_state *g);
double policy_shares_of(const struct policy *p, const struct guest_state *g);

/* look.c: peers are some of the others from now on, up to `most`, as they are now, until the next step or look for more. One of them,
 * who is added if it isn't among these; NULL: it isn't alive, or there is no room. */
void policy_look(struct policy *p, vi_time now, unsigned most);
const struct policy_peer *policy_look_at(struct policy *p, vi_time now, const struct vi_id *host);
void policy_measure(struct policy *p, vi_time now, struct guest_state *g, const struct policy_guest *in);
#define FORECAST_S     3600.0        /* that a forecast looks back, and so is good for */
/* forecast.c: with a guest's new demand; with all guests measured; and what of such a demand a host can't serve. */
void policy_forecast_guest(struct guest_state *g, vi_time now);
void policy_forecast_host(struct policy *p, vi_time now);
double policy_unserved(double mean, double spread, double capacity);
void policy_plan_cpu(struct policy *p, vi_time now);
/* glance.c: after a full evaluation; a look between two of them; is it wanted so much more of than it has, without those
 * that are leaving, that it can't wait? */
void policy_judge_host(struct policy *p, vi_time now);
void policy_glance(struct policy *p, vi_time now, const struct policy_snapshot *s);
bool policy_presses(const struct policy *p);
void policy_plan_memory(struct policy *p, vi_time now, const struct policy_snapshot *s);
/* NULL, or the rule that forbids a guest to be on that host, that keeps it where it is: a text until the next call. */
const char *policy_ruled_out(struct policy *p, const struct guest_state *g, const struct vi_id *host);
const char *policy_ruled_here(struct policy *p, const struct guest_state *g);
unsigned policy_companions(const struct policy *p, const struct guest_state *g, const struct vi_id *host);
/* Where a guest is, as far as is known; NULL. */
const struct policy_place *policy_place_of(const struct policy *p, const struct vi_id *guest);
/* mend.c: which guest should go for a rule's sake, if nothing is short. */
void policy_take_rules(struct policy *p, vi_time now, const struct policy_snapshot *s);
void policy_consider_pack(struct policy *p, vi_time now);
void policy_consider_mend(struct policy *p, vi_time now);
/* prefer.c: what is preferred among equals. Bytes a second that a guest talks with those on a host; which of these guests
 * goes; which of the hosts that fit is asked in any case (n: none); which of those that answered is taken (-1: none), and why. */
struct policy_candidate {
    struct guest_state *g;
    double cost;
};
void policy_take_talks(struct policy *p, const struct policy_snapshot *s);
double policy_talk_with(const struct policy *p, const struct guest_state *g, const struct vi_id *host);
struct guest_state *policy_pick(const struct policy *p, const struct policy_candidate *of, unsigned n);
unsigned policy_ask_first(const struct policy *p, const struct guest_state *g, const unsigned *fit, unsigned n);
int policy_best_place(const struct choosing *c, char why[POLICY_RULE_TEXT]);
void policy_consider_gather(struct policy *p, vi_time now);
/* budget.c: moves of an environment. One was made; look for others'; NULL or why there may be none now. */
void policy_budget_spent(struct policy *p, vi_time now, const struct vi_id *env, vi_time at);
void policy_budget_watch(struct policy *p, vi_time now, const struct policy_rules *seen);
const char *policy_budget_refuses(struct policy *p, vi_time now, const struct vi_id *env);
void policy_consider_move(struct policy *p, vi_time now);
void policy_consider_drain(struct policy *p, vi_time now);
/* move.c, for drain.c: what it needs elsewhere; NULL or why that host can't take it, whoever it is; how utilised that host
 * would be with it; notes why a host was taken or not; says that a guest stays. */
void policy_needs_of(const struct guest_state *g, struct policy_needs *n);
const char *policy_peer_full(const struct policy *p, const struct policy_peer *peer, const struct policy_needs *needs);
double policy_utilisation(const struct policy_load *l, const struct policy_needs *n);
/* For whynot.c: NULL, or why it doesn't go to that host. */
const char *policy_peer_unfit(struct policy *p, vi_time now, const struct guest_state *g, const struct policy_peer *peer,
                              const struct policy_needs *needs);
void policy_note(struct guest_state *g, const struct vi_id *peer, const char *text);
void policy_refuse(struct policy *p, vi_time now, struct guest_state *g, const char *why);
/* move.c, for mend.c: NULL or why it stays; asks hosts for room (only: that one alone, NULL: any; mends: the rule). */
const char *policy_stays(struct policy *p, vi_time now, const struct guest_state *g);
/* The same of a guest that neither a rule nor an order sends away: it has to pay off. */
const char *policy_rather_stays(struct policy *p, vi_time now, const struct guest_state *g);
void policy_probe(struct policy *p, vi_time now, struct guest_state *g, const struct guest_state *hungry,
                  const struct vi_id *only, const char *mends);
void policy_probed(struct policy *p, vi_time now, const struct policy_event *ev);
void policy_moved(struct policy *p, vi_time now, const struct policy_event *ev);

#endif
