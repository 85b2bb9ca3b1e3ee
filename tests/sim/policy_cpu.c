/* Who gets how much CPU. See policy_cpu.h.
 *
 * Each host divides its CPUs by weighted max-min fairness (policy_divide, the same as the cores'). A bulk-
 * synchronous guest wants no more than what its slowest sibling elsewhere gets, which leaves more for others:
 * so division and wants are repeated until they agree. */
#include "tests/sim/policy_cpu.h"

#include <math.h>

#include "policy/policy.h"

#define TRIES  200
#define ENOUGH 1e-9

static bool gets_cpu(const struct pw_world *w, unsigned guest)
{
    return w->env[w->guest[guest].env].state == PW_RUNS;
}

/* What a guest asks of its host, when its siblings get what they got in the round before. */
static double want(const struct pw_world *w, unsigned guest)
{
    const struct pw_guest *g = &w->guest[guest];
    const struct pw_env_state *e = &w->env[g->env];
    double most = pw_guest_demand(w, guest);

    if (!gets_cpu(w, guest))
        return 0;
    if (g->stalled)
        return g->hold;
    for (unsigned k = 0; k < w->s->env[g->env].guests; k++) {
        const struct pw_guest *other = &w->guest[e->first + k];

        if (other->stalled)
            return 0;
        if (other != g)
            most = fmin(most, other->share);
    }
    return most;
}

static double divide(struct pw_world *w, unsigned host)
{
    struct pw_host *h = &w->host[host];
    double wants[POLICY_GUESTS] = {0}, shares[POLICY_GUESTS] = {0}, out[POLICY_GUESTS] = {0}, changed = 0, capacity, used = 0;
    unsigned n = h->n < POLICY_GUESTS ? h->n : POLICY_GUESTS;

    capacity = w->s->domain[w->host[host].domain].cpus;
    for (unsigned k = 0; k < n; k++) {
        wants[k] = want(w, h->guest[k]);
        shares[k] = w->guest[h->guest[k]].weight;
    }
    policy_divide(capacity, n, wants, shares, out);
    for (unsigned k = 0; k < n; k++)
        used += out[k];
    for (unsigned k = 0; k < n; k++) {
        struct pw_guest *g = &w->guest[h->guest[k]];
        /* what it could have: its siblings are told this, not what it takes */
        double could = fmin(pw_guest_demand(w, h->guest[k]), fmax(out[k], capacity - (used - out[k])));

        if (g->stalled || !gets_cpu(w, h->guest[k]))
            could = 0;
        changed = fmax(changed, fabs(could - g->share));
        g->share = could;
    }
    return changed;
}

static void reach(struct pw_world *w, unsigned host, unsigned *n_hosts)
{
    if (w->host[host].stamp == w->stamp)
        return;
    w->host[host].stamp = w->stamp;
    w->work[(*n_hosts)++] = host;
}

static double rate_of(const struct pw_world *w, unsigned env)
{
    const struct pw_env_state *e = &w->env[env];
    double rate = INFINITY;

    for (unsigned k = 0; k < w->s->env[env].guests; k++)
        rate = fmin(rate, w->guest[e->first + k].stalled ? 0 : w->guest[e->first + k].share);
    return rate;
}

static void one_group(struct pw_world *w, unsigned start)
{
    unsigned n_hosts = 0, n_envs = 0, *envs = w->work + w->s->n_hosts;

    w->stamp++;
    reach(w, start, &n_hosts);
    for (unsigned i = 0; i < n_hosts; i++) {
        const struct pw_host *h = &w->host[w->work[i]];

        w->host[w->work[i]].dirty = false;
        for (unsigned k = 0; k < h->n; k++) {
            unsigned env = w->guest[h->guest[k]].env;
            struct pw_env_state *e = &w->env[env];

            if (e->stamp == w->stamp)
                continue;
            e->stamp = w->stamp;
            envs[n_envs++] = env;
            pw_settle_env(w, env); /* at the rates so far */
            for (unsigned g = 0; g < w->s->env[env].guests; g++) {
                w->guest[e->first + g].share = pw_guest_demand(w, e->first + g);
                if (w->guest[e->first + g].host != PW_NOWHERE)
                    reach(w, w->guest[e->first + g].host, &n_hosts);
            }
        }
    }
    for (unsigned try = 0; try < TRIES; try++) {
        double changed = 0;

        for (unsigned i = 0; i < n_hosts; i++)
            changed = fmax(changed, divide(w, w->work[i]));
        if (changed < ENOUGH)
            break;
    }
    for (unsigned i = 0; i < n_envs; i++) {
        double rate = w->env[envs[i]].state == PW_RUNS ? rate_of(w, envs[i]) : 0;

        for (unsigned g = 0; g < w->s->env[envs[i]].guests; g++)
            w->guest[w->env[envs[i]].first + g].use = rate;
        pw_rates_changed(w, envs[i], rate);
    }
}

void policy_cpu_rates(struct pw_world *w)
{
    for (unsigned h = 0; h < w->s->n_hosts; h++)
        if (w->host[h].dirty)
            one_group(w, h);
}
