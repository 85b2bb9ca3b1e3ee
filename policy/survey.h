/* What a host tells its environment moves' core when that asks (envmove.h, struct envmove_hooks), from what gossip,
 * hypervisor and policy know: pure arithmetic and order, the same in the daemon and in the simulator.
 *
 * Units: memory KiB; CPU in percent of one CPU. */
#ifndef POLICY_SURVEY_H
#define POLICY_SURVEY_H

#include "policy/policy.h"

/* ---- which hosts, which domains ---- */

struct survey_host { /* another host of the domain that is alive */
    struct vi_id id;
    struct policy_load load;
    bool foreign; /* it may have guests of other domains */
};
/* The hosts worth looking at, at most `most`: those with guests of other domains first, for these are counted against
 * limits; then by the part of them that is free, of CPU or of memory, whichever is less. Who only observes takes nobody
 * in and is left out, unless it is of the first. Sorts all; returns how many. */
unsigned survey_hosts(struct survey_host *all, unsigned n, struct vi_id *out, unsigned most);

struct survey_domain { /* another domain, by its latest summary */
    struct vi_id id;
    uint64_t free_kb;
    double capacity_pct, demand_pct;
};
/* Those that might have so much room, by what is free there; of CPU or memory, what is less of what is needed. Sorts all. */
unsigned survey_domains(struct survey_domain *all, unsigned n, uint64_t kb, double pct, struct vi_id *out, unsigned most);

/* A domain's own load, as told to others: summed over the summaries of its hosts that are alive. */
struct survey_total {
    double capacity_pct, demand_pct;
    uint64_t total_kb, free_kb;
};
void survey_add(struct survey_total *t, const struct policy_load *l);

/* ---- this host ---- */

struct survey_guest {
    struct vi_id uuid, env, home; /* home: the id of its environment's home domain */
    uint64_t current_kb, target_kb;
    bool movable, running;
};
/* envmove_hooks.look: guests of env only, if that isn't zero, the smallest told of, the others counted; what guests of
 * home's take is summed up. leased_kb: what leases kept when the policy last evaluated; promised_pct: of handovers. */
void survey_look(const struct policy *p, vi_time now, uint64_t leased_kb, double promised_pct,
                 const struct survey_guest *guests, unsigned n, const struct vi_id *env, const struct vi_id *home, struct envmove_seen *out);

/* A guest comes from host `from`. One of another domain (foreign) needs a lease: VI_EREFUSED. One with a lease needs so
 * much less, for what leases keep, its own too, is added to what is promised (*kb, *pct). */
int survey_admit(const struct envmoves *moves, vi_time now, const struct vi_id *guest, const struct vi_id *from,
                 bool foreign, struct policy_needs *needs, uint64_t *kb, double *pct, bool *leased);

#endif
