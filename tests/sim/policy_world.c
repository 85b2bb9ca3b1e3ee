/* Hosts, guests, time. See policy_world.h. */
#include "tests/sim/policy_world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/policy_cpu.h"

#define LAST_ROUND_KB 200.0               /* so little left: the last round (libxl: 50 pages) */
#define PAUSE_OVERHEAD (100 * VI_MSEC)    /* suspending, handing over the rest of the state */
#define RETRY_CREATE  (5 * VI_SEC)

const char *const pw_note_names[] = {"created", "refused", "next stage", "finished", "out of memory", "leaves", "arrives",
                                     "stays after all", "memory grows", "memory shrinks"};

/* ---- lists that grow ---- */

static bool room(struct pw_world *w, void **list, unsigned n, unsigned *cap, size_t size)
{
    unsigned more = *cap ? 2 * *cap : 64;
    void *p;

    if (n < *cap)
        return true;
    p = realloc(*list, more * size);
    if (!p) {
        w->no_memory = true;
        return false;
    }
    *list = p;
    *cap = more;
    return true;
}

static void note(struct pw_world *w, enum pw_note_kind kind, unsigned env, unsigned guest, unsigned from, unsigned to,
                 uint64_t kb)
{
    void *list = w->note;

    if (!room(w, &list, w->n_notes, &w->notes_cap, sizeof *w->note))
        return;
    w->note = list;
    w->note[w->n_notes++] = (struct pw_note){w->now, kind, env, guest, from, to, kb};
}

static void end_stay(struct pw_world *w, unsigned guest)
{
    for (unsigned k = w->n_stays; k > 0; k--)
        if (w->stay[k - 1].guest == guest) {
            if (w->stay[k - 1].to == VI_NEVER)
                w->stay[k - 1].to = w->now;
            return;
        }
}

static void begin_stay(struct pw_world *w, unsigned guest)
{
    void *list = w->stay;

    end_stay(w, guest);
    if (!room(w, &list, w->n_stays, &w->stays_cap, sizeof *w->stay))
        return;
    w->stay = list;
    w->stay[w->n_stays++] = (struct pw_stay){guest, w->guest[guest].host, w->now, VI_NEVER, w->guest[guest].stalled};
}

/* ---- making ---- */

struct pw_world *pw_new(const struct pw_scenario *s, bool is_static)
{
    struct pw_world *w = calloc(1, sizeof *w);

    if (!w)
        return NULL;
    w->s = s;
    w->is_static = is_static;
    w->rates_stale = w->next_stale = true;
    w->host = calloc(s->n_hosts, sizeof *w->host);
    w->env = calloc(s->n_envs + 1, sizeof *w->env);
    for (unsigned e = 0; e < s->n_envs; e++)
        w->n_guests += s->env[e].guests;
    w->guest = calloc(w->n_guests + 1, sizeof *w->guest);
    w->work = calloc(s->n_hosts + s->n_envs + 2, sizeof *w->work);
    if (!w->host || !w->env || !w->guest || !w->work) {
        pw_free(w);
        return NULL;
    }
    for (unsigned d = 0; d < s->n_domains; d++)
        for (unsigned h = 0; h < s->domain[d].hosts; h++)
            w->host[s->domain[d].first + h].domain = d;
    w->n_guests = 0;
    for (unsigned e = 0; e < s->n_envs; e++) {
        w->env[e].first = w->n_guests;
        w->env[e].used_kb = s->env[e].n_uses ? s->env[e].use[0].kb : 0;
        w->env[e].next_use = 1;
        for (unsigned k = 0; k < s->env[e].guests; k++)
            w->guest[w->n_guests++] = (struct pw_guest){.env = e, .index = k, .host = PW_NOWHERE, .weight = 256};
    }
    pw_create_due(w);
    return w;
}

void pw_free(struct pw_world *w)
{
    if (!w)
        return;
    for (unsigned h = 0; w->host && h < w->s->n_hosts; h++)
        free(w->host[h].guest);
    free(w->host);
    free(w->env);
    free(w->guest);
    free(w->note);
    free(w->stay);
    free(w->moving);
    free(w->work);
    free(w);
}

static void touch(struct pw_world *w, unsigned host)
{
    if (host != PW_NOWHERE)
        w->host[host].dirty = true;
    w->rates_stale = w->next_stale = true;
}

static void put(struct pw_world *w, unsigned guest, unsigned host)
{
    struct pw_host *h = &w->host[host];
    void *list = h->guest;

    if (!room(w, &list, h->n, &h->cap, sizeof *h->guest))
        return;
    h->guest = list;
    h->guest[h->n++] = guest;
    w->guest[guest].host = host;
    w->guest[guest].domid++;
    touch(w, host);
    begin_stay(w, guest);
}

static void take_away(struct pw_world *w, unsigned guest)
{
    struct pw_guest *g = &w->guest[guest];
    struct pw_host *h = &w->host[g->host];

    for (unsigned k = 0; k < h->n; k++)
        if (h->guest[k] == guest) {
            memmove(h->guest + k, h->guest + k + 1, (h->n - k - 1) * sizeof *h->guest);
            h->n--;
            break;
        }
    touch(w, g->host);
    end_stay(w, guest);
    g->host = PW_NOWHERE;
}

/* ---- what there is ---- */

double pw_guest_demand(const struct pw_world *w, unsigned guest)
{
    const struct pw_env_state *e = &w->env[w->guest[guest].env];

    return e->state == PW_RUNS ? w->s->env[w->guest[guest].env].stage[e->stage].demand : 0;
}

double pw_demand(const struct pw_world *w, unsigned host)
{
    double sum = 0;

    for (unsigned k = 0; k < w->host[host].n; k++)
        sum += pw_guest_demand(w, w->host[host].guest[k]);
    return sum;
}

uint64_t pw_free_kb(const struct pw_world *w, unsigned host)
{
    uint64_t taken = w->host[host].reserved_kb, all = w->s->domain[w->host[host].domain].kb;

    for (unsigned k = 0; k < w->host[host].n; k++)
        taken += w->guest[w->host[host].guest[k]].kb;
    return all > taken ? all - taken : 0;
}

/* ---- time ---- */

static void settle(struct pw_world *w, unsigned env)
{
    struct pw_env_state *e = &w->env[env];
    double span = (double)(w->now - e->settled) / 1e6;

    e->settled = w->now;
    if (e->state != PW_RUNS || span <= 0)
        return;
    e->done += e->rate * span;
    for (unsigned k = 0; k < w->s->env[env].guests; k++) {
        struct pw_guest *g = &w->guest[e->first + k];
        double want = pw_guest_demand(w, e->first + k);

        g->cpu_s += g->use * span;
        /* it wants the CPU for as much of the time as its work takes at the share that it gets */
        if (g->share > 0 && want > g->share)
            g->steal_s += (want - g->share) * fmin(1, g->use / g->share) * span;
    }
}

void pw_settle_env(struct pw_world *w, unsigned env)
{
    settle(w, env);
}

void pw_settle_host(struct pw_world *w, unsigned host)
{
    for (unsigned k = 0; k < w->host[host].n; k++)
        settle(w, w->guest[w->host[host].guest[k]].env);
}

static void stage_end(struct pw_world *w, unsigned env)
{
    struct pw_env_state *e = &w->env[env];
    double left = w->s->env[env].stage[e->stage].work - e->done;

    e->stage_ends = VI_NEVER;
    if (e->state == PW_RUNS && e->rate > 0 && !isinf(left))
        e->stage_ends = w->now + (vi_time)ceil(fmax(0, left) / e->rate * 1e6);
}

void pw_rates_changed(struct pw_world *w, unsigned env, double rate)
{
    settle(w, env);
    w->env[env].rate = rate;
    stage_end(w, env);
}

/* ---- streams ---- */

static unsigned sharing(const struct pw_world *w, const struct pw_guest *of)
{
    unsigned out = 0, in = 0, between = 0, from = w->host[of->host].domain, to = w->host[of->to].domain;

    for (unsigned k = 0; k < w->n_moving; k++) {
        const struct pw_guest *g = &w->guest[w->moving[k]];

        out += g->host == of->host;
        in += g->to == of->to;
        between += from != to && w->host[g->host].domain == from && w->host[g->to].domain == to;
    }
    out = out > in ? out : in;
    return out > between ? out : between;
}

static void settle_streams(struct pw_world *w)
{
    for (unsigned k = 0; k < w->n_moving; k++) {
        struct pw_guest *g = &w->guest[w->moving[k]];
        double span = (double)(w->now - g->began) / 1e6, sent = fmin(g->left_kb, g->rate_kbps * span);

        g->began = w->now;
        if (g->stall)
            continue;
        g->left_kb -= sent;
        g->sent_kb += sent;
        w->sent_kb += sent;
        if (g->stalled && g->rate_kbps > 0) /* other streams' beginnings and ends don't begin the pause anew */
            g->pause_left -= (vi_time)fmin((double)g->pause_left, fmax(0, span - sent / g->rate_kbps) * 1e6);
        else if (!g->stalled)
            g->dirtied_kb = fmin((double)g->kb, g->dirtied_kb + w->s->env[g->env].dirty_kbps * span * (g->use > 0 ? 1 : 0));
    }
}

/* Each stream has an equal part of the fullest of what it crosses: its hosts' links, and the domains'. */
static void stream_rates(struct pw_world *w)
{
    settle_streams(w);
    for (unsigned k = 0; k < w->n_moving; k++) {
        struct pw_guest *g = &w->guest[w->moving[k]];

        if (g->stall)
            continue;
        g->rate_kbps = w->s->link_kbps / sharing(w, g);
        g->until = w->now + (vi_time)ceil(g->left_kb / g->rate_kbps * 1e6) +
                   (g->stalled ? g->pause_left : 0);
    }
    w->next_stale = true;
}

static void unlist(struct pw_world *w, unsigned guest)
{
    for (unsigned k = 0; k < w->n_moving; k++)
        if (w->moving[k] == guest)
            w->moving[k] = w->moving[--w->n_moving];
    stream_rates(w);
}

void pw_stream(struct pw_world *w, unsigned guest, unsigned to, vi_time stall, double hold)
{
    struct pw_guest *g = &w->guest[guest];
    void *list = w->moving;

    if (g->streaming || g->streamed || g->host == PW_NOWHERE || !room(w, &list, w->n_moving, &w->moving_cap, sizeof *w->moving))
        return;
    w->moving = list;
    w->moving[w->n_moving++] = guest;
    note(w, PW_LEAVES, g->env, guest, g->host, to, 0);
    g->streaming = true;
    g->to = to;
    g->round = 1;
    g->stall = stall;
    g->hold = hold;
    g->began = w->now;
    g->left_kb = (double)g->kb;
    g->dirtied_kb = g->sent_kb = 0;
    if (stall) {
        g->stalled = true;
        g->until = w->now + stall;
        g->sent_kb = (double)g->kb;
        w->sent_kb += (double)g->kb;
        begin_stay(w, guest);
    }
    touch(w, g->host);
    stream_rates(w);
}

/* A round is over: the next sends what was written meanwhile; the last one while the guest pauses. */
static void round_over(struct pw_world *w, unsigned guest)
{
    struct pw_guest *g = &w->guest[guest];

    if (g->stalled) {
        g->streaming = false;
        g->streamed = true;
        unlist(w, guest);
        return;
    }
    g->left_kb = g->dirtied_kb;
    g->dirtied_kb = 0;
    g->round++;
    if (g->left_kb <= LAST_ROUND_KB || g->round > PW_ROUNDS) {
        g->stalled = true;
        g->pause_left = PAUSE_OVERHEAD;
        g->hold = 0;
        touch(w, g->host);
        begin_stay(w, guest);
    }
    stream_rates(w);
}

static void stop_moving(struct pw_world *w, unsigned guest)
{
    struct pw_guest *g = &w->guest[guest];

    g->streaming = g->streamed = g->stalled = false;
    g->hold = 0;
    unlist(w, guest);
    touch(w, g->host);
}

void pw_activate(struct pw_world *w, unsigned guest)
{
    struct pw_guest *g = &w->guest[guest];
    unsigned from = g->host, to = g->to;

    settle(w, g->env);
    stop_moving(w, guest);
    take_away(w, guest);
    put(w, guest, to);
    w->env[g->env].moves++;
    note(w, PW_ARRIVES, g->env, guest, from, to, 0);
}

void pw_cancel(struct pw_world *w, unsigned guest)
{
    struct pw_guest *g = &w->guest[guest];

    if (!g->streaming && !g->streamed)
        return;
    settle(w, g->env);
    stop_moving(w, guest);
    begin_stay(w, guest);
    note(w, PW_STAYS, g->env, guest, g->host, g->to, 0);
}

/* ---- what happens by itself ---- */

/* What its users' programs need beyond its memory they don't get: they die. The guest stays as it is. */
static void check_memory(struct pw_world *w, unsigned env)
{
    struct pw_env_state *e = &w->env[env];

    for (unsigned k = 0; e->state == PW_RUNS && k < w->s->env[env].guests; k++) {
        const struct pw_guest *g = &w->guest[e->first + k];

        if (e->used_kb <= g->kb)
            continue;
        settle(w, env);
        e->state = PW_DIED;
        e->ended = w->now;
        e->used_kb = g->kb / 2;
        note(w, PW_OUT_OF_MEMORY, env, e->first + k, g->host, PW_NOWHERE, g->kb);
        for (unsigned i = 0; i < w->s->env[env].guests; i++)
            touch(w, w->guest[e->first + i].host);
    }
}

static void finish(struct pw_world *w, unsigned env)
{
    struct pw_env_state *e = &w->env[env];

    e->state = PW_ENDED;
    e->ended = w->now;
    for (unsigned k = 0; k < w->s->env[env].guests; k++) {
        struct pw_guest *g = &w->guest[e->first + k];

        if (g->streaming || g->streamed)
            stop_moving(w, e->first + k);
        take_away(w, e->first + k);
        g->use = g->share = 0;
    }
    note(w, PW_FINISHED, env, PW_NOWHERE, PW_NOWHERE, PW_NOWHERE, 0);
}

static void stage_over(struct pw_world *w, unsigned env)
{
    struct pw_env_state *e = &w->env[env];

    settle(w, env);
    if (++e->stage >= w->s->env[env].n_stages) {
        e->stage--;
        finish(w, env);
        return;
    }
    e->done = 0;
    stage_end(w, env);
    note(w, PW_STAGE, env, PW_NOWHERE, PW_NOWHERE, PW_NOWHERE, 0);
    for (unsigned k = 0; k < w->s->env[env].guests; k++)
        touch(w, w->guest[e->first + k].host);
}

static vi_time due(const struct pw_world *w, unsigned env)
{
    const struct pw_env *d = &w->s->env[env];
    const struct pw_env_state *e = &w->env[env];
    vi_time t = e->stage_ends;

    if (e->state == PW_WAITS)
        return d->start > w->now ? d->start : (w->now / RETRY_CREATE + 1) * RETRY_CREATE;
    if (e->state != PW_RUNS)
        return VI_NEVER;
    return e->next_use < d->n_uses && d->use[e->next_use].at < t ? d->use[e->next_use].at : t;
}

vi_time pw_next(struct pw_world *w)
{
    vi_time t = VI_NEVER;

    if (w->rates_stale) {
        w->rates_stale = false;
        policy_cpu_rates(w);
        w->next_stale = true;
    }
    if (!w->next_stale)
        return w->next;
    for (unsigned e = 0; e < w->s->n_envs; e++) {
        vi_time of = due(w, e);

        t = of < t ? of : t;
    }
    for (unsigned k = 0; k < w->n_moving; k++)
        t = w->guest[w->moving[k]].until < t ? w->guest[w->moving[k]].until : t;
    w->next_stale = false;
    return w->next = t;
}

void pw_advance(struct pw_world *w, vi_time t)
{
    vi_time next = pw_next(w);

    w->now = t;
    if (t < next)
        return;
    w->next_stale = true;
    settle_streams(w);
    for (unsigned k = w->n_moving; k > 0; k--)
        if (k <= w->n_moving && w->guest[w->moving[k - 1]].until <= t)
            round_over(w, w->moving[k - 1]);
    for (unsigned e = 0; e < w->s->n_envs; e++) {
        struct pw_env_state *s = &w->env[e];

        if (s->state == PW_RUNS && s->stage_ends <= t)
            stage_over(w, e);
        while (s->state == PW_RUNS && s->next_use < w->s->env[e].n_uses && w->s->env[e].use[s->next_use].at <= t) {
            s->used_kb = w->s->env[e].use[s->next_use++].kb;
            check_memory(w, e);
        }
    }
    pw_create_due(w);
}

/* ---- creating ---- */

static unsigned best_host(const struct pw_world *w, unsigned domain, uint64_t kb, const double *more, bool each)
{
    const struct pw_domain *d = &w->s->domain[domain];
    unsigned best = PW_NOWHERE;
    double least = INFINITY;

    for (unsigned k = 0; k < d->hosts; k++) {
        double has = pw_demand(w, d->first + k) + more[k];

        if (pw_free_kb(w, d->first + k) < kb || (each && more[k] > 0) || has >= least - 1e-9)
            continue;
        least = has;
        best = k;
    }
    return best;
}

/* All its guests or none. */
static void create(struct pw_world *w, unsigned env)
{
    const struct pw_env *d = &w->s->env[env];
    struct pw_env_state *e = &w->env[env];
    unsigned domain = w->is_static ? d->domain_static : d->domain, hosts = w->s->domain[domain].hosts, at[PW_GUESTS], n = 0;
    double *more = calloc(hosts, sizeof *more);

    for (; more && n < d->guests; n++) {
        at[n] = best_host(w, domain, d->kb, more, d->each_host);
        if (at[n] == PW_NOWHERE)
            break;
        more[at[n]] += d->stage[0].demand + 1e-6; /* more than nothing: it is taken */
        w->host[w->s->domain[domain].first + at[n]].reserved_kb += d->kb;
    }
    for (unsigned k = 0; k < n; k++)
        w->host[w->s->domain[domain].first + at[k]].reserved_kb -= d->kb;
    free(more);
    if (n < d->guests) {
        if (!e->created) { /* refused; said once */
            e->created = -1;
            note(w, PW_REFUSED, env, PW_NOWHERE, PW_NOWHERE, PW_NOWHERE, 0);
        }
        return;
    }
    e->state = PW_RUNS;
    e->created = e->settled = w->now;
    e->stage_ends = VI_NEVER;
    note(w, PW_CREATED, env, PW_NOWHERE, PW_NOWHERE, w->s->domain[domain].first + at[0], 0);
    for (unsigned k = 0; k < d->guests; k++) {
        w->guest[e->first + k].kb = d->kb;
        put(w, e->first + k, w->s->domain[domain].first + at[k]);
    }
    check_memory(w, env);
}

void pw_create_due(struct pw_world *w)
{
    for (unsigned e = 0; e < w->s->n_envs; e++)
        if (w->env[e].state == PW_WAITS && w->s->env[e].start <= w->now)
            create(w, e);
}

/* ---- what is done to guests ---- */

void pw_set_weight(struct pw_world *w, unsigned guest, uint32_t weight)
{
    w->guest[guest].weight = weight ? weight : 1;
    if (w->guest[guest].host != PW_NOWHERE)
        touch(w, w->guest[guest].host);
}

void pw_set_memory(struct pw_world *w, unsigned guest, uint64_t kb)
{
    struct pw_guest *g = &w->guest[guest];

    if (g->host == PW_NOWHERE || kb == g->kb || (kb > g->kb && pw_free_kb(w, g->host) < kb - g->kb))
        return;
    note(w, kb > g->kb ? PW_GROWS : PW_SHRINKS, g->env, guest, g->host, g->host, kb);
    g->kb = kb;
    check_memory(w, g->env);
}

/* ---- results ---- */

static bool ends_by_itself(const struct pw_env *d)
{
    for (unsigned k = 0; k < d->n_stages; k++)
        if (isinf(d->stage[k].work))
            return false;
    return true;
}

bool pw_over(const struct pw_world *w)
{
    for (unsigned e = 0; e < w->s->n_envs; e++)
        if (w->env[e].state == PW_WAITS || (w->env[e].state == PW_RUNS && ends_by_itself(&w->s->env[e])) ||
            (w->env[e].state == PW_RUNS && w->now < w->s->length && !ends_by_itself(&w->s->env[e])))
            return false;
    return true;
}

double pw_execution_s(const struct pw_world *w, unsigned env)
{
    const struct pw_env_state *e = &w->env[env];

    if (e->state == PW_WAITS)
        return 0;
    return (double)((e->state == PW_RUNS ? w->now : e->ended) - w->s->env[env].start) / 1e6;
}
