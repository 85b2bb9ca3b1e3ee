/* Hosts, guests, tallies. See trace_world.h. */
#include "tests/sim/trace_world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GUEST_KB (UINT64_C(1024) * 1024)
#define HOST_KB  (UINT64_C(256) * 1024 * 1024)

bool tw_open(struct tw *w, const struct trace *t, unsigned hosts)
{
    memset(w, 0, sizeof *w);
    w->t = t;
    w->n_hosts = hosts;
    w->n_guests = t->n;
    w->host = calloc(hosts, sizeof *w->host);
    w->guest = calloc(t->n, sizeof *w->guest);
    w->came = calloc(hosts, sizeof *w->came);
    for (unsigned g = 0; w->guest && g < t->n; g++) {
        w->guest[g].host = TW_NOWHERE;
        w->guest[g].moved_at = VI_NEVER;
    }
    return w->host && w->guest && w->came;
}

bool tw_open_mean(struct tw *w, const struct trace *t, double mean)
{
    double sum = 0;
    unsigned hosts;

    for (unsigned g = 0; g < t->n; g++)
        for (unsigned k = 0; k < TRACE_STEPS; k++)
            sum += t->guest[g].pct[k];
    hosts = (unsigned)lround(sum / TRACE_STEPS / 400 / mean);
    if (hosts < 2 || !tw_open(w, t, hosts))
        return false;
    for (unsigned h = 0; h < hosts; h++) {
        w->host[h].capacity = 400;
        w->host[h].cpus = 4;
        w->host[h].kb = HOST_KB;
    }
    for (unsigned g = 0; g < t->n; g++) {
        w->guest[g].scale = 1;
        w->guest[g].kb = GUEST_KB;
        tw_place(w, g, g % hosts);
    }
    return !w->no_memory;
}

void tw_close(struct tw *w)
{
    for (unsigned h = 0; w->host && h < w->n_hosts; h++)
        free(w->host[h].guest);
    free(w->host);
    free(w->guest);
    free(w->came);
    memset(w, 0, sizeof *w);
}

/* ---- places ---- */

void tw_place(struct tw *w, unsigned guest, unsigned host)
{
    struct tw_host *h = &w->host[host];

    if (h->n == h->cap) {
        unsigned more = h->cap ? 2 * h->cap : 16;
        void *p = realloc(h->guest, more * sizeof *h->guest);

        if (!p) {
            w->no_memory = true;
            return;
        }
        h->guest = p;
        h->cap = more;
    }
    h->guest[h->n++] = guest;
    h->demand += w->guest[guest].demand;
    w->guest[guest].host = host;
}

static void take_away(struct tw *w, unsigned guest)
{
    struct tw_host *h = &w->host[w->guest[guest].host];

    for (unsigned k = 0; k < h->n; k++)
        if (h->guest[k] == guest) {
            memmove(h->guest + k, h->guest + k + 1, (h->n - k - 1) * sizeof *h->guest);
            h->n--;
            break;
        }
    h->demand = 0;
    for (unsigned k = 0; k < h->n; k++)
        h->demand += w->guest[h->guest[k]].demand;
}

void tw_move(struct tw *w, unsigned guest, unsigned to)
{
    struct tw_guest *g = &w->guest[guest];
    unsigned kept = g->n_left < TW_LEFT ? g->n_left : TW_LEFT;

    if (g->host == to)
        return;
    tw_settle(w, g->host);
    tw_settle(w, to);
    w->tally.moves++;
    for (unsigned k = 0; k < kept; k++)
        if (g->left[k].host == to && w->now - g->left[k].at < TW_RETURN) {
            w->tally.returns++;
            break;
        }
    g->left[g->n_left % TW_LEFT].host = g->host;
    g->left[g->n_left++ % TW_LEFT].at = w->now;
    g->moved_at = w->now;
    take_away(w, guest);
    tw_place(w, guest, to);
    w->came[to] = true;
}

uint64_t tw_free_kb(const struct tw *w, unsigned host)
{
    uint64_t taken = 0;

    for (unsigned k = 0; k < w->host[host].n; k++)
        taken += w->guest[w->host[host].guest[k]].kb;
    return w->host[host].kb > taken ? w->host[host].kb - taken : 0;
}

unsigned tw_active(const struct tw *w)
{
    unsigned n = 0;

    for (unsigned h = 0; h < w->n_hosts; h++)
        n += w->host[h].n > 0;
    return n;
}

/* ---- time ---- */

double tw_watts(const struct tw_host *h, double demand)
{
    double u = demand >= h->capacity ? 10 : 10 * demand / h->capacity;
    unsigned below = (unsigned)u;

    if (!h->watts)
        return 0;
    return below >= 10 ? h->watts[10] : h->watts[below] + (u - below) * (h->watts[below + 1] - h->watts[below]);
}

void tw_settle(struct tw *w, unsigned host)
{
    struct tw_host *h = &w->host[host];
    double span = (double)(w->now - h->settled) / 1e6;

    h->settled = w->now;
    w->tally.wanted_s += h->demand / 100 * span;
    if (!h->n || span <= 0)
        return;
    w->tally.joules += tw_watts(h, h->demand) * span;
    w->tally.active_s += span;
    if (h->demand > h->capacity)
        w->tally.violated_s += span;
}

void tw_settle_all(struct tw *w)
{
    for (unsigned h = 0; h < w->n_hosts; h++)
        tw_settle(w, h);
}

static void tally_host(struct tw *w, unsigned host)
{
    struct tw_host *h = &w->host[host];
    bool over = h->demand >= h->capacity;

    w->tally.host_steps++;
    w->tally.overloaded += over;
    w->tally.to_overload += over && w->came[host] && h->past[0] < h->capacity;
    w->came[host] = false;
    w->tally.demanded += h->demand;
    w->tally.unserved += over ? h->demand - h->capacity : 0;
    memmove(h->past + 1, h->past, sizeof h->past - sizeof h->past[0]);
    h->past[0] = fmin(h->demand, h->capacity);
}

void tw_begin_step(struct tw *w, unsigned step)
{
    w->now = (vi_time)step * TRACE_STEP_S * VI_SEC;
    tw_settle_all(w);
    w->step = step;
    for (unsigned h = 0; h < w->n_hosts; h++)
        w->host[h].demand = 0;
    for (unsigned g = 0; g < w->n_guests; g++) {
        w->guest[g].demand = w->guest[g].scale * w->t->guest[g].pct[step];
        w->host[w->guest[g].host].demand += w->guest[g].demand;
    }
    for (unsigned h = 0; h < w->n_hosts; h++)
        tally_host(w, h);
}
