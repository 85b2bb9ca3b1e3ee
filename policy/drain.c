/* Draining: an operator wants the host empty, before maintenance. Every guest that can move leaves, the largest first
 * (it is the hardest to place), a few at a time; nobody comes. It is an order, so it is carried out in observe mode, too,
 * and neither cool-down nor the hourly budget of moves keeps a guest here. */
#include <math.h>

#include "policy/internal.h"

#define AT_ONCE 2

void policy_set_draining(struct policy *p, vi_time now, bool draining)
{
    p->load.draining = draining;
    if (p->next > now)
        p->next = now;
}

static struct guest_state *largest(struct policy *p, vi_time now, const bool *seen)
{
    struct guest_state *best = NULL;
    for (unsigned i = 0; i < p->top; i++) {
        struct guest_state *g = &p->guests[i];
        if (g->used && !seen[i] && g->in.running && !g->in.frozen && now >= g->back_off_until &&
            (!best || g->in.current_kb > best->in.current_kb))
            best = g;
    }
    return best;
}

/* The least utilised of those whose summaries fit, but none that was chosen in this evaluation: summaries are seconds
 * old. -1: none. */
static int destination(struct policy *p, vi_time now, struct guest_state *g, const struct policy_needs *needs,
                       const bool *chosen)
{
    double least = INFINITY, u;
    int best = -1;
    g->n_choices = 0;
    policy_look(p, now, POLICY_PEERS);
    for (unsigned i = 0; i < p->n_peers; i++) {
        const char *why = chosen[i] ? "another guest goes there just now"
                                    : policy_peer_full(p, &p->peers[i], needs);
        if (!why)
            why = policy_ruled_out(p, g, &p->peers[i].id);
        policy_note(g, &p->peers[i].id, why ? why : "it would fit, another is less utilised");
        u = policy_utilisation(&p->peers[i].load, needs);
        if (!why && u < least) {
            least = u;
            best = (int)i;
        }
    }
    if (best >= 0)
        policy_note(g, &p->peers[best].id, "chosen: the least utilised");
    return best;
}

static void leave(struct policy *p, vi_time now, struct guest_state *g, const struct policy_peer *to,
                  const struct policy_needs *needs)
{
    struct policy_effect *fx = policy_push(p, POLICY_FX_MOVE);
    struct policy_decision *d;
    if (!fx)
        return;
    fx->guest = g->in.uuid;
    fx->domid = g->in.domid;
    fx->peer = to->id;
    fx->needs = *needs;
    g->in.frozen = true;
    d = policy_decide(p, now, g, POLICY_MOVE, "%s leaves: this host is being drained", g->in.name);
    if (!d)
        return;
    d->done = true;
    d->peer = to->id;
    policy_number(d, "needs_mib", (double)needs->kb / 1024);
    policy_number(d, "needs_pct", needs->pct);
    policy_number(d, "utilisation_there", policy_utilisation(&to->load, needs));
    policy_say(p, d);
}

void policy_consider_drain(struct policy *p, vi_time now)
{
    bool seen[POLICY_GUESTS] = {false}, chosen[POLICY_PEERS] = {false};
    unsigned leaving = 0;
    struct guest_state *g;
    p->choosing.active = false; /* what was being chosen for another reason */
    for (unsigned i = 0; i < p->top; i++)
        leaving += p->guests[i].used && p->guests[i].in.frozen;
    while (leaving < AT_ONCE && (g = largest(p, now, seen))) {
        const char *ruled = policy_ruled_here(p, g);
        struct policy_needs needs;
        int to;
        seen[g - p->guests] = true;
        if (!g->in.movable || ruled) {
            policy_refuse(p, now, g, ruled ? ruled : g->in.why_not);
            continue;
        }
        policy_needs_of(g, &needs);
        to = destination(p, now, g, &needs, chosen);
        if (to < 0) {
            policy_refuse(p, now, g, "no other host has room for it, or takes any just now");
            continue;
        }
        chosen[to] = true;
        leave(p, now, g, &p->peers[to], &needs);
        leaving++;
    }
}
