/* Every reason why a guest would not go to a host, not only the first: on both sides by the same questions that decide. */
#include <stdio.h>
#include <string.h>

#include "policy/internal.h"

static unsigned add(char out[][POLICY_REASON], unsigned n, unsigned most, const char *why)
{
    if (!why || !why[0] || n >= most)
        return n;
    snprintf(out[n], POLICY_REASON, "%s", why);
    return n + 1;
}

unsigned policy_take_reasons(const struct policy *p, const struct policy_needs *needs, uint64_t reserved_kb, double reserved_pct,
                             unsigned arrivals, char out[][POLICY_REASON], unsigned most)
{
    const struct policy_needs nothing = {.kb = 0}, memory = {.kb = needs->kb}, cpu = {.pct = needs->pct};
    char why[POLICY_REASON];
    unsigned n = 0;
    /* each alone; what refuses even a guest that needs nothing is said once */
    if (policy_can_take(p, &nothing, 0, 0, 0, why, sizeof why))
        return add(out, n, most, why);
    if (policy_can_take(p, &nothing, 0, 0, arrivals, why, sizeof why))
        n = add(out, n, most, why);
    if (policy_can_take(p, &memory, reserved_kb, 0, 0, why, sizeof why))
        n = add(out, n, most, why);
    if (policy_can_take(p, &cpu, 0, reserved_pct, 0, why, sizeof why))
        n = add(out, n, most, why);
    return n;
}

void policy_promised_others(const struct policy *p, vi_time now, const struct vi_id *from, uint64_t *kb, double *pct)
{
    for (unsigned i = 0; i < SAID_YES; i++) {
        const struct said_yes *y = &p->said_yes[i];
        if (now >= y->until || vi_id_equal(&y->to, from))
            continue;
        *kb += y->kb;
        *pct += y->pct;
    }
}

bool policy_take_beyond(const struct policy *p, const struct policy_needs *needs, double reserved_pct, char out[POLICY_REASON])
{
    return policy_beyond_range(p, needs, reserved_pct, out, POLICY_REASON);
}

unsigned policy_send_reasons(struct policy *p, vi_time now, const struct vi_id *guest, const struct vi_id *peer,
                             char out[][POLICY_REASON], unsigned most)
{
    const struct guest_state *g = policy_guest_find(p, guest);
    const struct policy_needs nothing = {.kb = 0};
    struct policy_peer ample = {.id = *peer};
    const char *unfit, *rule;
    unsigned n = 0;
    if (!g)
        return 0;
    ample.load.capacity_pct = 1e9;
    ample.load.total_kb = ample.load.free_kb = UINT64_MAX / 4;
    n = add(out, n, most, policy_rather_stays(p, now, g));
    unfit = policy_peer_unfit(p, now, g, &ample, &nothing);
    n = add(out, n, most, unfit);
    rule = policy_ruled_out(p, g, peer);
    return unfit == rule ? n : add(out, n, most, rule);
}

unsigned policy_rank(struct policy *p, vi_time now, const struct vi_id *peer, const struct policy_load *there,
                     const struct policy_needs *needs, double *utilisation, unsigned *of)
{
    unsigned before = 0;
    *utilisation = policy_utilisation(there, needs);
    *of = 1;
    p->looked = 0;
    policy_look(p, now, POLICY_PEERS);
    for (unsigned i = 0; i < p->n_peers; i++) {
        if (vi_id_equal(&p->peers[i].id, peer) || policy_peer_full(p, &p->peers[i], needs))
            continue;
        (*of)++;
        before += policy_utilisation(&p->peers[i].load, needs) < *utilisation;
    }
    return before + 1;
}
