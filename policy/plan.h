/* What if? A guest of another size, a host that isn't there, an environment that goes: which moves the policy would make, in which
 * order, and who would find no place. Pure; nothing is changed. The rules are the policy's own: who leaves a host that is drained
 * (drain.c), who fits where (move.c), where environments' rules let a guest be (rules.h), what a move costs; only the hosts are those
 * that are handed in, as they are now.
 *
 * It is a forecast: three hosts at random are asked for a real move, here all are looked at. */
#ifndef POLICY_PLAN_H
#define POLICY_PLAN_H

#include "policy/envmove.h"
#include "policy/rules.h"

#define PLAN_HOSTS  64   /* more aren't looked at */
#define PLAN_GUESTS 2048 /* of all hosts */
#define PLAN_MOVES  256
#define PLAN_NOBODY UINT32_MAX

struct policy;
struct policy_load;

struct plan_guest {
    struct vi_id uuid, env;
    uint64_t kb;      /* what it should have; of a changed one: by the question */
    uint64_t size_kb; /* what it has */
    uint64_t disk_kb; /* of its disks that would move with it, where that is known; 0: none, or not known */
    double pct;       /* wanted; of a changed one: by the question */
    double was_pct;   /* … and what it wants now */
    bool movable, running;
    bool changed;     /* the question is about another size of it */
    bool leaves;      /* … about its environment's going to another domain */
    unsigned host;    /* in: where it is; out: where it would be, PLAN_HOSTS: in the other domain */
    bool stuck;       /* out: it should go and finds no place */
    char why[120];    /* in: why it isn't movable; out: why it is stuck, or why it moves */
    uint64_t charged_kb; /* the planner's: to its host */
};

struct plan_host {
    struct vi_id id;
    bool known;   /* it answered; else it takes nobody, and keeps its guests */
    bool without; /* the question is: without it */
    bool draining;
    double capacity_pct;
    double pct, pct_after;           /* wanted */
    uint64_t total_kb;
    int64_t free_kb, free_after_kb;  /* < 0: it is short */
    unsigned arrivals, guests, guests_after;
};

struct plan_move {
    unsigned guest, from, to;
    double cost_s;    /* CPU seconds, as in move.c */
    double carry_s;   /* that the transfer is expected to take */
    bool makes_room;  /* nobody does it by itself: it would make a stuck guest's place */
};

struct policy_plan {
    unsigned n_hosts, n_guests, n_moves;
    struct plan_host host[PLAN_HOSTS];
    struct plan_guest guest[PLAN_GUESTS];
    struct plan_move move[PLAN_MOVES]; /* to be made in this order */
    bool cut;                          /* there would be more moves than these */
    const struct policy_rules *rules;  /* in, borrowed: of all environments; NULL: those of p's last snapshot */
    struct policy_place place[PLAN_GUESTS]; /* the planner's: where rules look */
    /* of guests that leave for another domain */
    unsigned leaving, pinned;
    uint64_t leaving_kb;
    double leaving_pct;
};

/* Fills in what comes of it; p: the settings (arrivals at once, bandwidth). Hosts' free room and guests' sizes go in as they are
 * now, kb and pct of a `changed` guest as they would be. */
void policy_plan(const struct policy *p, struct policy_plan *plan);

#endif
