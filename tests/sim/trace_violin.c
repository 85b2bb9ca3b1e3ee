/* The policy cores on a trace, one a host: the same object files as the daemon's.
 *
 * Happy path, in the order of time: every five seconds (each host at its own second) a host measures its guests as the
 * daemon does (cumulative CPU time, the guest's own steal and memory report), looks at the others' summaries and steps its
 * core. A summary is a host's latest that has come: after it was published it takes up to 0.9 × log2(hosts) seconds, drawn
 * for each reader, which with the period gives the ages that `violin-sim measure traffic` shows. Probes are
 * answered within the second. A move that the destination accepts (as it would an OFFER, with what it has promised)
 * streams the guest's memory at the policy's bandwidth, a second more for the hand-over, and then the guest is there.
 * Failure modes: the destination has no room any more: the source's core is told; nothing else fails here (that is what
 * the other simulations are for). */
#include "tests/sim/trace_systems.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "policy/policy.h"

#define PERIOD_S  5
#define PUBLISHED 4 /* summaries of a host that somebody may still see: of the last 20 s */
#define USED      0.55 /* of a guest's memory, in range */

struct host {
    struct violin *v;
    struct policy *p;
    struct vi_rng rng;
    struct {
        uint8_t data[POLICY_SUMMARY];
        size_t len;
        vi_time at;
        struct policy_load load;
    } said[PUBLISHED]; /* the latest at said[n_said - 1] modulo */
    unsigned n_said;
    unsigned arrivals;
    uint64_t reserved_kb;
    double reserved_pct;
    vi_time settled;
};

struct guest {
    double served; /* percent of one CPU, at the moment */
    double cpu_s, steal_s;
    uint32_t weight;
    unsigned to; /* being moved there, or TW_NOWHERE */
    vi_time until;
    struct policy_needs needs;
    uint32_t domid;
};

struct violin {
    struct tw *w;
    struct host *host;
    struct guest *guest;
    unsigned *moving, n_moving;
    struct policy_config cfg;
    unsigned delay_s; /* of a summary, at most */
    uint64_t seed;
    struct policy_guest in[POLICY_GUESTS];
    struct policy_env envs[POLICY_ENVS];
};

static struct vi_id id_of(char kind, unsigned n)
{
    struct vi_id id = {.b = {(uint8_t)kind, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, 1}};

    return id;
}

static unsigned number_of(const struct vi_id *id)
{
    return (unsigned)id->b[1] << 16 | (unsigned)id->b[2] << 8 | id->b[3];
}

/* ---- the hypervisor ---- */

static void settle(struct violin *v, unsigned host)
{
    struct host *h = &v->host[host];
    double span = (double)(v->w->now - h->settled) / 1e6;

    h->settled = v->w->now;
    for (unsigned k = 0; k < v->w->host[host].n; k++) {
        struct guest *g = &v->guest[v->w->host[host].guest[k]];

        g->cpu_s += g->served / 100 * span;
        g->steal_s += (v->w->guest[v->w->host[host].guest[k]].demand - g->served) / 100 * span;
    }
}

/* Who gets how much: by weights, work-conserving. */
static void divide(struct violin *v, unsigned host)
{
    const struct tw_host *h = &v->w->host[host];
    double want[POLICY_GUESTS] = {0}, share[POLICY_GUESTS] = {0}, got[POLICY_GUESTS] = {0};
    unsigned n = h->n < POLICY_GUESTS ? h->n : POLICY_GUESTS;

    for (unsigned k = 0; k < n; k++) {
        want[k] = got[k] = v->w->guest[h->guest[k]].demand;
        share[k] = v->guest[h->guest[k]].weight;
    }
    if (h->demand > h->capacity)
        policy_divide(h->capacity, n, want, share, got);
    for (unsigned k = 0; k < n; k++)
        v->guest[h->guest[k]].served = got[k];
}

/* ---- a host's view ---- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static bool seen(const struct violin *v, unsigned reader, unsigned of, struct policy_peer *out)
{
    const struct host *h = &v->host[of];

    for (unsigned k = 0; k < PUBLISHED && k < h->n_said; k++) {
        unsigned which = h->n_said - 1 - k;
        uint64_t draw = mix(v->seed + ((uint64_t)reader << 40) + ((uint64_t)of << 20) + which);
        vi_time delay = (vi_time)(draw % (v->delay_s + 1)) * VI_SEC, at = h->said[which % PUBLISHED].at;

        if (at + delay > v->w->now)
            continue;
        out->id = id_of('p', of);
        out->load = h->said[which % PUBLISHED].load;
        out->age = v->w->now - at;
        return true;
    }
    return false;
}

static unsigned look(void *arg, vi_time now, struct policy_peer *out, unsigned most)
{
    struct host *h = arg;
    struct violin *v = h->v;
    unsigned n = 0, reader = (unsigned)(h - v->host), all = v->w->n_hosts, from = most < all ? vi_rng_below(&h->rng, all) : 0;

    (void)now;
    for (unsigned k = 0; k < all && n < most; k++) {
        unsigned of = (from + k) % all;

        if (of != reader && seen(v, reader, of, &out[n]))
            n++;
    }
    return n;
}

static void one_guest(struct violin *v, unsigned guest, struct policy_guest *in)
{
    const struct guest *g = &v->guest[guest];
    const struct tw_guest *is = &v->w->guest[guest];

    memset(in, 0, sizeof *in);
    in->uuid = id_of('g', guest);
    in->env = id_of('e', guest);
    snprintf(in->name, sizeof in->name, "guest-%u", guest);
    in->domid = g->domid;
    in->vcpus = is->scale > 1 ? (uint32_t)ceil(is->scale) : 1;
    in->weight = g->weight;
    in->cpu_time_ns = (uint64_t)(g->cpu_s * 1e9);
    in->current_kb = in->target_kb = in->max_kb = is->kb;
    in->report = in->running = in->movable = true;
    in->frozen = g->to != TW_NOWHERE;
    in->sequence = (uint64_t)(v->w->now / VI_SEC) + 1;
    in->total_kb = is->kb;
    in->available_kb = is->kb - (uint64_t)((double)is->kb * USED);
    in->steal_ms = (uint64_t)(g->steal_s * 1e3);
}

/* ---- what a core asks for ---- */

static void answer(struct violin *v, unsigned source, const struct policy_effect *fx)
{
    const struct host *h = &v->host[number_of(&fx->peer)];
    uint8_t out[POLICY_PROBE];
    struct vi_id from = id_of('p', source);
    struct policy_event ev = {.kind = POLICY_EV_PROBED, .guest = fx->guest, .peer = fx->peer, .data = out};
    int n = policy_probe_answer(h->p, v->w->now, &from, fx->data, fx->len, h->reserved_kb, h->reserved_pct, h->arrivals, out);

    ev.err = n < 0 ? n : 0;
    ev.len = n > 0 ? (size_t)n : 0;
    policy_step(v->host[source].p, v->w->now, &ev);
}

static void begin_move(struct violin *v, unsigned source, const struct policy_effect *fx)
{
    unsigned guest = number_of(&fx->guest), to = number_of(&fx->peer);
    struct host *d = &v->host[to];
    struct guest *g = &v->guest[guest];
    char why[120];
    struct vi_id from = id_of('p', source);
    uint64_t kb = d->reserved_kb;
    double pct = d->reserved_pct;
    struct policy_event ev = {.kind = POLICY_EV_MOVED, .guest = fx->guest, .peer = fx->peer, .why = why};

    policy_promised(d->p, v->w->now, &from, &kb, &pct);
    ev.err = policy_can_take(d->p, &fx->needs, kb, pct, d->arrivals, why, sizeof why);
    if (ev.err) {
        policy_step(v->host[source].p, v->w->now, &ev);
        return;
    }
    g->to = to;
    g->needs = fx->needs;
    g->until = v->w->now + VI_SEC + (vi_time)((double)v->w->guest[guest].kb / v->cfg.bandwidth_kbps * 1e6);
    d->reserved_kb += fx->needs.kb;
    d->reserved_pct += fx->needs.pct;
    d->arrivals++;
    v->moving[v->n_moving++] = guest;
}

static void end_move(struct violin *v, unsigned guest)
{
    struct guest *g = &v->guest[guest];
    unsigned from = v->w->guest[guest].host, to = g->to;
    struct host *d = &v->host[to];
    struct policy_event ev = {.guest = id_of('g', guest)};
    double seconds = (double)v->w->guest[guest].kb / v->cfg.bandwidth_kbps;

    d->reserved_kb -= g->needs.kb;
    d->reserved_pct -= g->needs.pct;
    d->arrivals--;
    g->to = TW_NOWHERE;
    g->domid++;
    settle(v, from);
    settle(v, to);
    /* CloudSim: a tenth of what it wants is lost while its memory is under way */
    v->w->tally.degraded_s += 0.10 * v->w->guest[guest].demand / 100 * seconds;
    tw_move(v->w, guest, to);
    divide(v, from);
    divide(v, to);
    ev.kind = POLICY_EV_ARRIVED;
    ev.peer = id_of('p', from);
    ev.needs = g->needs;
    policy_step(d->p, v->w->now, &ev);
    ev.kind = POLICY_EV_MOVED;
    ev.peer = id_of('p', to);
    policy_step(v->host[from].p, v->w->now, &ev);
}

static void publish(struct violin *v, unsigned host, const struct policy_effect *fx)
{
    struct host *h = &v->host[host];
    unsigned at = h->n_said % PUBLISHED;

    if (!fx->len || fx->len > POLICY_SUMMARY || policy_summary_decode(&h->said[at].load, fx->data, fx->len))
        return;
    h->said[at].len = fx->len;
    h->said[at].at = v->w->now;
    h->n_said++;
}

static void pump(struct violin *v, unsigned host)
{
    const struct policy_effect *fx;
    struct policy_effect copy;

    while ((fx = policy_effect(v->host[host].p))) {
        copy = *fx;
        switch (copy.kind) {
        case POLICY_FX_PROBE:
            answer(v, host, &copy);
            break;
        case POLICY_FX_MOVE:
            begin_move(v, host, &copy);
            break;
        case POLICY_FX_SUMMARY:
            publish(v, host, &copy);
            break;
        case POLICY_FX_SCHED:
            settle(v, host);
            v->guest[number_of(&copy.guest)].weight = copy.weight;
            divide(v, host);
            break;
        case POLICY_FX_MEMORY: /* what guests use is in range: it isn't asked for */
        case POLICY_FX_DECISION:
            break;
        }
    }
}

static void evaluate(struct violin *v, unsigned host)
{
    const struct tw_host *th = &v->w->host[host];
    struct host *h = &v->host[host];
    struct policy_event ev = {.kind = POLICY_EV_EVALUATE};
    struct policy_snapshot *s = &ev.snapshot;

    settle(v, host);
    s->self = id_of('p', host);
    s->cpus = th->cpus;
    s->total_kb = th->kb;
    s->free_kb = tw_free_kb(v->w, host);
    s->reserved_kb = h->reserved_kb;
    s->reserved_pct = h->reserved_pct;
    s->arrivals = h->arrivals;
    for (; s->n_guests < th->n && s->n_guests < POLICY_GUESTS; s->n_guests++) {
        one_guest(v, th->guest[s->n_guests], &v->in[s->n_guests]);
        if (s->n_envs < POLICY_ENVS)
            v->envs[s->n_envs++] = (struct policy_env){.id = v->in[s->n_guests].env, .shares = 100};
    }
    s->guests = v->in;
    s->envs = v->envs;
    policy_step(h->p, v->w->now, &ev);
    pump(v, host);
}

/* ---- playing ---- */

static void second(struct violin *v)
{
    unsigned phase = (unsigned)(v->w->now / VI_SEC % PERIOD_S);

    for (unsigned k = 0; k < v->n_moving;) {
        unsigned guest = v->moving[k];

        if (v->guest[guest].until > v->w->now) {
            k++;
            continue;
        }
        v->moving[k] = v->moving[--v->n_moving];
        end_move(v, guest);
    }
    for (unsigned h = phase; h < v->w->n_hosts; h += PERIOD_S)
        evaluate(v, h);
}

static bool open_all(struct violin *v, struct tw *w, const struct ts_config *c)
{
    v->w = w;
    v->seed = mix(c->seed);
    v->delay_s = (unsigned)lround(0.9 * log2(w->n_hosts));
    v->host = calloc(w->n_hosts, sizeof *v->host);
    v->guest = calloc(w->n_guests, sizeof *v->guest);
    v->moving = calloc(w->n_guests, sizeof *v->moving);
    policy_config_init(&v->cfg);
    v->cfg.automatic = true;
    v->cfg.pack = c->pack;
    v->cfg.reserve_kb = 0; /* the hosts' memory is all for guests here, and dom0's is not in it */
    if (c->bandwidth_kbps > 0)
        v->cfg.bandwidth_kbps = c->bandwidth_kbps;
    for (unsigned h = 0; v->host && h < w->n_hosts; h++) {
        v->cfg.dom0_pct = 100.0 * w->host[h].cpus - w->host[h].capacity;
        vi_rng_seed(&v->host[h].rng, mix(c->seed + h));
        v->host[h].v = v;
        v->cfg.peers = look;
        v->cfg.peers_arg = &v->host[h];
        v->host[h].p = policy_new(&v->cfg, &v->host[h].rng, 0);
        if (!v->host[h].p)
            return false;
    }
    for (unsigned g = 0; v->guest && g < w->n_guests; g++) {
        v->guest[g].to = TW_NOWHERE;
        v->guest[g].weight = 256;
        v->guest[g].domid = 1;
    }
    return v->host && v->guest && v->moving;
}

bool ts_violin(struct tw *w, const struct ts_config *c)
{
    struct violin *v = calloc(1, sizeof *v);
    bool ok = v && open_all(v, w, c);

    for (unsigned k = 0; ok && k < TRACE_STEPS; k++) {
        w->now = (vi_time)k * TRACE_STEP_S * VI_SEC;
        for (unsigned h = 0; h < w->n_hosts; h++)
            settle(v, h);
        tw_begin_step(w, k);
        for (unsigned h = 0; h < w->n_hosts; h++)
            divide(v, h);
        for (unsigned s = 0; s < TRACE_STEP_S; s++) {
            w->now = ((vi_time)k * TRACE_STEP_S + s) * VI_SEC;
            second(v);
        }
    }
    for (unsigned h = 0; v && v->host && h < w->n_hosts; h++)
        policy_free(v->host[h].p);
    if (v) {
        free(v->host);
        free(v->guest);
        free(v->moving);
    }
    free(v);
    return ok && !w->no_memory;
}
