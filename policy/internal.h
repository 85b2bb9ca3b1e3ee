/* What the files of the policy core share. */
#ifndef POLICY_INTERNAL_H
#define POLICY_INTERNAL_H

#include "policy/policy.h"

#define EFFECTS 1024
#define PEAKS   10  /* the shrink window in tenths */
#define PROBES  3
#define RECENT  10 /* evaluations whose CPU demand is remembered */
#define HOUR_SLOTS 64

struct choice {
    struct vi_id peer;
    char text[96];
};

struct guest_state {
    bool used, seen; /* seen in this evaluation */
    bool awaited;    /* it came from another host and was in no snapshot yet */
    struct policy_guest in;
    /* measured */
    vi_time last_at;
    uint64_t last_cpu_ns, last_steal_ms, last_sequence;
    bool measured, has_steal;
    vi_time report_at; /* when the sequence last changed; VI_NEVER: never */
    double used_pct, demand_pct, entitlement;
    double recent_pct[RECENT]; /* demand; the latest first */
    unsigned n_recent;
    uint64_t used_kb;
    bool report_good; /* fresh and plausible */
    vi_time seen_at;    /* first */
    vi_time resized_at; /* when its memory was last seen to change */
    /* k of n: bit 0 is the latest evaluation */
    uint32_t mem_above, mem_below, cpu_above, cpu_below;
    uint64_t peak[PEAKS];
    vi_time peak_at; /* beginning of peak[0] */
    unsigned peaks;
    vi_time grown_at, moved_at, back_off_until;
    vi_time came_at;
    struct vi_id came_from;
    unsigned failures;
    uint64_t desired_kb;
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
    unsigned n;
    struct vi_id peer[PROBES];
    int state[PROBES]; /* 0 asked, 1 fits, -1 not */
    double utilisation[PROBES];
    vi_time until;
};

struct env_moves {
    struct vi_id env;
    vi_time at[HOUR_SLOTS];
    unsigned next;
};

struct policy {
    struct policy_config cfg;
    struct vi_rng *rng;
    vi_time next;
    struct policy_load load;
    uint64_t snapshot_reserved_kb;
    uint32_t cpus;
    unsigned top; /* the places in use are below: those never used cost no memory */
    struct guest_state guests[POLICY_GUESTS];
    unsigned n_envs;
    struct policy_env envs[POLICY_ENVS];
    unsigned n_peers;
    struct policy_peer peers[POLICY_PEERS];
    struct choosing choosing;
    struct env_moves moves[POLICY_ENVS];
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
double policy_shares_of(const struct policy *p, const struct guest_state *g);

void policy_measure(struct policy *p, vi_time now, struct guest_state *g, const struct policy_guest *in);
void policy_plan_cpu(struct policy *p, vi_time now);
void policy_plan_memory(struct policy *p, vi_time now, const struct policy_snapshot *s);
void policy_consider_move(struct policy *p, vi_time now);
void policy_consider_drain(struct policy *p, vi_time now);
/* move.c, for drain.c: what it needs elsewhere; NULL or why that host can't take it, whoever it is; how utilised that host
 * would be with it; notes why a host was taken or not; says that a guest stays. */
void policy_needs_of(const struct guest_state *g, struct policy_needs *n);
const char *policy_peer_full(const struct policy *p, const struct policy_peer *peer, const struct policy_needs *needs);
double policy_utilisation(const struct policy_load *l, const struct policy_needs *n);
void policy_note(struct guest_state *g, const struct vi_id *peer, const char *text);
void policy_refuse(struct policy *p, vi_time now, struct guest_state *g, const char *why);
void policy_probed(struct policy *p, vi_time now, const struct policy_event *ev);
void policy_moved(struct policy *p, vi_time now, const struct policy_event *ev);

#endif
