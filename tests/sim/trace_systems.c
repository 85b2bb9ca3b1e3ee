/* Static, and two that see everything: Xen Orchestra's rules, and a greedy balancer. */
#include "tests/sim/trace_systems.h"

#include <math.h>
#include <stdlib.h>

const struct ts_system ts_systems[] = {
    {"static", "nobody moves", ts_static},
    {"orchestra", "Xen Orchestra's balancer, performance plan", ts_orchestra},
    {"greedy-central", "sees all at once; from the fullest to the emptiest host", ts_greedy},
    {"violin", "the policy cores, one a host", ts_violin},
    {NULL, NULL, NULL}};

bool ts_static(struct tw *w, const struct ts_config *c)
{
    (void)c;
    for (unsigned k = 0; k < TRACE_STEPS; k++)
        tw_begin_step(w, k);
    return true;
}

/* ---- Xen Orchestra ----
 *
 * As its documentation and the behaviour of its performance plan describe it: the critical CPU threshold is 90 %; a
 * host is acted upon when both its present use and the mean of that (three quarters) and of its last half hour (one
 * quarter) are at 85 % of the threshold; its guests, the busiest first, go one after another to the host of least use,
 * unless that one would reach 65 % of the threshold with it; until the host is below these 65 %. From where it is below
 * the 85 % a guest goes only if its old host stays the busier of the two. A guest that moved stays for half an hour.
 * Figures of hosts and guests are these weighted means. */

#define XO_ACT      (0.90 * 0.85)
#define XO_STOP     (0.90 * 0.65)
#define XO_COOLDOWN (30 * VI_MIN)

static double weighted(double now, double sum, unsigned n)
{
    return 0.75 * now + 0.25 * sum / n;
}

static double xo_guest(const struct tw *w, unsigned guest)
{
    unsigned n = 0;
    double sum = 0;

    for (; n < TW_HISTORY && n <= w->step; n++)
        sum += w->guest[guest].scale * w->t->guest[guest].pct[w->step - n];
    return weighted(w->guest[guest].demand, sum, n);
}

static void xo_hosts(const struct tw *w, double *use)
{
    for (unsigned h = 0; h < w->n_hosts; h++) {
        unsigned n = w->step + 1 < TW_HISTORY ? w->step + 1 : TW_HISTORY;
        double sum = 0;

        for (unsigned k = 0; k < n; k++)
            sum += w->host[h].past[k];
        use[h] = weighted(w->host[h].past[0], sum, n) / w->host[h].capacity;
    }
}

static unsigned least(const struct tw *w, const double *use, unsigned but)
{
    unsigned best = TW_NOWHERE;

    for (unsigned h = 0; h < w->n_hosts; h++)
        if (h != but && (best == TW_NOWHERE || use[h] < use[best]))
            best = h;
    return best;
}

struct busy {
    unsigned id;
    double use;
};

static int by_use(const void *a, const void *b)
{
    const struct busy *x = a, *y = b;

    return x->use > y->use ? -1 : x->use < y->use ? 1 : x->id < y->id ? -1 : 1;
}

static void xo_relieve(struct tw *w, unsigned host, double *use, struct busy *guests)
{
    unsigned n = w->host[host].n;

    for (unsigned k = 0; k < n; k++)
        guests[k] = (struct busy){w->host[host].guest[k], xo_guest(w, w->host[host].guest[k])};
    qsort(guests, n, sizeof *guests, by_use);
    for (unsigned k = 0; k < n && use[host] > XO_STOP; k++) {
        unsigned to = least(w, use, host);
        double here = guests[k].use / w->host[host].capacity, there = guests[k].use / w->host[to].capacity;
        vi_time moved = w->guest[guests[k].id].moved_at;

        if (moved != VI_NEVER && w->now - moved < XO_COOLDOWN)
            continue;
        if (use[to] + there >= XO_STOP || (use[host] < XO_ACT && use[host] - here < use[to] + there))
            continue;
        use[host] -= here;
        use[to] += there;
        tw_move(w, guests[k].id, to);
    }
}

bool ts_orchestra(struct tw *w, const struct ts_config *c)
{
    double *use = calloc(w->n_hosts, sizeof *use);
    struct busy *order = calloc(w->n_hosts, sizeof *order), *guests = calloc(w->n_guests, sizeof *guests);
    bool ok = use && order && guests;

    (void)c;
    for (unsigned k = 0; ok && k < TRACE_STEPS; k++) {
        unsigned n = 0;

        tw_begin_step(w, k);
        xo_hosts(w, use);
        for (unsigned h = 0; h < w->n_hosts; h++)
            if (w->host[h].past[0] / w->host[h].capacity >= XO_ACT && use[h] >= XO_ACT)
                order[n++] = (struct busy){h, use[h]};
        qsort(order, n, sizeof *order, by_use);
        for (unsigned i = 0; i < n; i++)
            xo_relieve(w, order[i].id, use, guests);
    }
    free(use);
    free(order);
    free(guests);
    return ok && !w->no_memory;
}

/* ---- greedy ----
 *
 * At every step, while a host is at 80 % or more: the guest whose leaving brings the fullest such host nearest to 70 % from
 * below, or the busiest where none alone does, goes to the host of least use, if that stays at 70 %. It sees the present
 * use of all at once, and forgets it. */

#define GREEDY_ACT  0.80
#define GREEDY_STOP 0.70

static unsigned greedy_guest(const struct tw *w, const struct tw_host *h)
{
    unsigned best = TW_NOWHERE;
    double need = h->demand - GREEDY_STOP * h->capacity, is = 0;

    for (unsigned k = 0; k < h->n; k++) {
        double d = w->guest[h->guest[k]].demand;
        bool solves = d >= need, solved = is >= need;

        if (best == TW_NOWHERE || (solves ? !solved || d < is : !solved && d > is)) {
            best = h->guest[k];
            is = d;
        }
    }
    return best;
}

static bool greedy_one(struct tw *w, double *use, bool *stuck)
{
    unsigned full = TW_NOWHERE, to, guest;

    for (unsigned h = 0; h < w->n_hosts; h++) {
        use[h] = w->host[h].demand / w->host[h].capacity;
        if (use[h] >= GREEDY_ACT && !stuck[h] && (full == TW_NOWHERE || use[h] > use[full]))
            full = h;
    }
    if (full == TW_NOWHERE)
        return false;
    to = least(w, use, full);
    guest = greedy_guest(w, &w->host[full]);
    if (guest == TW_NOWHERE || w->host[to].demand + w->guest[guest].demand > GREEDY_STOP * w->host[to].capacity)
        stuck[full] = true;
    else
        tw_move(w, guest, to);
    return true;
}

bool ts_greedy(struct tw *w, const struct ts_config *c)
{
    double *use = calloc(w->n_hosts, sizeof *use);
    bool *stuck = calloc(w->n_hosts, sizeof *stuck), ok = use && stuck;

    (void)c;
    for (unsigned k = 0; ok && k < TRACE_STEPS; k++) {
        tw_begin_step(w, k);
        for (unsigned h = 0; h < w->n_hosts; h++)
            stuck[h] = false;
        while (greedy_one(w, use, stuck))
            ;
    }
    free(use);
    free(stuck);
    return ok && !w->no_memory;
}
