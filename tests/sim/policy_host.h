/* One host for the policy core: what a test says of its guests and of the other hosts goes in once
 * an evaluation, what the core asks for is counted and, if the host obeys, done. */
#ifndef TESTS_SIM_POLICY_HOST_H
#define TESTS_SIM_POLICY_HOST_H

#include "policy/policy.h"

#define PH_GUESTS (POLICY_GUESTS + 8)
#define PH_PEERS  (POLICY_PEERS + 8)
#define PH_ENVS   (POLICY_ENVS + 8)
#define PH_MIB    UINT64_C(1024)

struct ph_tally {
    unsigned weights, memories, probes, moves, summaries, decisions, of_kind[POLICY_FAILED + 1];
    struct policy_effect weight, memory, move, probe[4], summary; /* the latest of each */
    struct policy_decision decision[POLICY_FAILED + 1];
};

struct policy_host {
    struct policy_config cfg;
    struct policy *p;
    struct vi_rng rng;
    vi_time now;
    struct policy_snapshot s;
    bool free_fixed; /* s.free_kb is as the test says, not what the guests leave */
    struct policy_guest guest[PH_GUESTS];
    double pct[PH_GUESTS], steal[PH_GUESTS]; /* until the next evaluation, in percent of one CPU */
    uint64_t used_kb[PH_GUESTS];
    bool silent[PH_GUESTS]; /* its report stands still */
    struct policy_env env[PH_ENVS];
    struct policy_peer peer[PH_PEERS];
    unsigned n_peers, looks, looked; /* how often others were asked for, and how many at most */
    bool obeys;                           /* weights and balloons are set as asked, at once */
    void (*twist)(struct policy_host *h); /* last change of a snapshot, or NULL */
    struct ph_tally t;
};

struct vi_id ph_id(char kind, unsigned n);
/* Four CPUs, 16 GiB of which dom0 has 512 MiB, one environment of 100 shares, the default figures
 * in automatic mode but without settling time. The test changes cfg, then opens. */
void ph_init(struct policy_host *h);
void ph_open(struct policy_host *h);
void ph_close(struct policy_host *h);
/* A running guest of two VCPUs in environment 0 that reports; its number. */
unsigned ph_guest(struct policy_host *h, uint64_t mib, uint64_t used_mib, uint64_t max_mib);
/* Another host: free_mib of 16 GiB, demand_pct of 400 %. Its number. */
unsigned ph_peer(struct policy_host *h, uint64_t free_mib, double demand_pct);
/* One evaluation, a period later; effects taken. */
void ph_evaluate(struct policy_host *h);
void ph_run(struct policy_host *h, unsigned evaluations);
void ph_take_effects(struct policy_host *h);
/* Peer n answers a probe by what its summary says. */
void ph_answer(struct policy_host *h, unsigned n, bool fits);
/* The same of one that lacks so many of the guest's images. */
void ph_answer_lacking(struct policy_host *h, unsigned n, bool fits, unsigned lacks);
/* The same of one that fits, but has nothing of so much of its disks. */
void ph_answer_without_disks(struct policy_host *h, unsigned n, uint64_t lacks_kb);
void ph_moved(struct policy_host *h, unsigned guest, unsigned peer, int err);
void ph_arrived(struct policy_host *h, unsigned guest, unsigned peer);
/* What the latest choice says of peer n for a guest, or "". */
const char *ph_choice(const struct policy_host *h, unsigned guest, unsigned n);
bool ph_probed(const struct policy_host *h, unsigned n);
struct policy_view ph_view(const struct policy_host *h, unsigned guest);

#endif
