/* A domain with a hostile environment. See hostile_world.h. */
#include "tests/sim/hostile_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

#define FLOW_KBPS (50 * 1024.0)

void hw_bad(struct hw *w, const char *fmt, ...)
{
    va_list ap;
    if (w->failed)
        return;
    w->failed = true;
    va_start(ap, fmt);
    vsnprintf(w->why, sizeof w->why, fmt, ap);
    va_end(ap);
}

static struct vi_id make_id(char kind, unsigned n)
{
    struct vi_id id = {.b = {(uint8_t)kind, (uint8_t)(n >> 8), (uint8_t)n, 7}};
    return id;
}

/* What a host's guests have or were promised, with those on their way. */
static uint64_t charged(struct hw *w, unsigned host, bool promised)
{
    uint64_t kb = w->dom0_kb;
    for (unsigned i = 0; i < w->n_guests; i++) {
        const struct hw_guest *g = &w->guest[i];
        uint64_t own = g->in.current_kb > g->in.target_kb ? g->in.current_kb : g->in.target_kb;
        if (g->host == host || (promised && g->arrives && g->to == host))
            kb += own;
    }
    return kb;
}

/* ---- drawing ---- */

/* All of one mind, at the same time, as an environment of one owner can be; hosts that all evaluate at once. */
static void conspire(struct hw *w)
{
    const struct hw_guest *first = &w->guest[0];
    for (unsigned i = 0; i < w->n_guests; i++) {
        struct hw_guest *g = &w->guest[i];
        if (!g->hostile)
            continue;
        g->memory = first->memory;
        g->cpu = first->cpu == HW_HUNGRY ? HW_SWINGS : first->cpu;
        g->period = first->period;
        g->phase = first->phase;
        g->in.vcpus = w->cpus;
    }
    for (unsigned i = 0; i < w->n_hosts; i++)
        w->host[i].next = w->now;
}

static void draw_guest(struct hw *w, unsigned env, uint64_t kb, bool hostile)
{
    unsigned n = w->n_guests;
    struct hw_guest *g = &w->guest[n];
    struct policy_guest *in = &g->in;
    if (n >= HW_GUESTS)
        return;
    g->used = true;
    g->hostile = hostile;
    g->env = env;
    g->host = vi_rng_below(&w->rng, w->n_hosts);
    for (unsigned i = 0; i < w->n_hosts && charged(w, g->host, false) + kb + w->cfg.reserve_kb > w->total_kb; i++)
        g->host = (g->host + 1) % w->n_hosts;
    if (charged(w, g->host, false) + kb + w->cfg.reserve_kb > w->total_kb)
        return; /* the domain is full */
    w->n_guests++;
    g->from = g->host;
    g->memory = (enum hw_way)vi_rng_below(&w->rng, HW_WAYS);
    g->cpu = (enum hw_way)vi_rng_below(&w->rng, HW_WAYS);
    g->obeys = !hostile || vi_rng_below(&w->rng, 4) > 0;
    g->period = (10 + vi_rng_below(&w->rng, vi_rng_below(&w->rng, 2) ? 7200 : 120)) * VI_SEC;
    g->phase = vi_rng_below(&w->rng, 7200) * VI_SEC;
    g->demand_pct = 10 + vi_rng_below(&w->rng, 60);
    g->used_kb = g->base_kb = kb / 100 * (45 + vi_rng_below(&w->rng, 25));
    g->next_peak = w->now + vi_rng_below(&w->rng, 480) * VI_SEC;
    g->epoch = 1;
    in->uuid = make_id('g', n);
    in->env = w->env[env].id;
    snprintf(in->name, sizeof in->name, "%s-%u", hostile ? "hostile" : "honest", n);
    in->domid = n + 1;
    in->vcpus = hostile ? 1 + vi_rng_below(&w->rng, 4) : 1;
    in->weight = 256;
    in->current_kb = in->target_kb = kb;
    in->max_kb = hostile ? kb * (1 + vi_rng_below(&w->rng, 16)) : 2 * kb;
    in->running = in->movable = true;
}

static unsigned peers_of(void *arg, vi_time now, struct policy_peer *out, unsigned most)
{
    const struct hw_host *h = arg;
    const struct hw *w = h->w;
    unsigned k = 0;
    for (unsigned i = 0; i < w->n_hosts && k < most; i++)
        if (&w->host[i] != h && w->host[i].summary_len && !policy_summary_decode(&out[k].load, w->host[i].summary, w->host[i].summary_len)) {
            out[k].id = w->host[i].id;
            out[k++].age = now - w->host[i].said_at;
        }
    return k;
}

static void draw_host(struct hw *w)
{
    struct hw_host *h = &w->host[w->n_hosts];
    h->id = make_id('h', w->n_hosts++);
    h->delay_s = vi_rng_below(&w->rng, 30) / 10.0;
    h->next = w->now + vi_rng_below(&w->rng, 5) * VI_SEC;
    h->w = w;
    w->cfg.peers = peers_of;
    w->cfg.peers_arg = h;
    h->p = policy_new(&w->cfg, &w->rng, w->now);
}

void hw_open(struct hw *w, uint64_t seed)
{
    unsigned busy;
    memset(w, 0, sizeof *w);
    vi_rng_seed(&w->rng, seed);
    policy_config_init(&w->cfg);
    w->cfg.automatic = true;
    if (seed % 2) { /* an operator's own figures */
        w->cfg.moves_per_hour = 1 + vi_rng_below(&w->rng, 6);
        w->cfg.cooldown = (10 + vi_rng_below(&w->rng, 60)) * VI_SEC;
        w->cfg.no_return = (10 + vi_rng_below(&w->rng, 120)) * VI_SEC;
        w->cfg.settle = vi_rng_below(&w->rng, 20) * VI_SEC;
    }
    w->now = w->begun = 10 * VI_HOUR;
    w->cpus = 2 + vi_rng_below(&w->rng, 3);
    w->total_kb = (2048 + 512 * vi_rng_below(&w->rng, 9)) * HW_MIB;
    w->dom0_kb = 512 * HW_MIB;
    for (unsigned i = 0; i < HW_ENVS; i++)
        w->env[i] = (struct policy_env){.id = make_id('e', i), .shares = 100, .priority = 50};
    for (unsigned i = 2 + vi_rng_below(&w->rng, seed % 5 == 0 ? 10 : 5); i > 0; i--)
        draw_host(w);
    for (unsigned n = 1 + vi_rng_below(&w->rng, seed % 5 == 0 ? 16 : 8); n > 0; n--)
        draw_guest(w, 0, (128 + 64 * vi_rng_below(&w->rng, 4)) * HW_MIB, true);
    busy = w->n_hosts;
    for (unsigned i = vi_rng_below(&w->rng, 5); i > 0 && w->n_hosts < HW_HOSTS; i--)
        draw_host(w); /* empty ones */
    if (seed % 3 == 0)
        conspire(w);
    for (unsigned n = 2 * busy; n > 0 && w->n_guests < HW_GUESTS; n--)
        draw_guest(w, 1 + n % 2, (256 + 128 * vi_rng_below(&w->rng, 3)) * HW_MIB, false);
}

void hw_close(struct hw *w)
{
    for (unsigned i = 0; i < w->n_hosts; i++)
        policy_free(w->host[i].p);
}

/* ---- what guests do and say ---- */

static double level(struct hw *w, const struct hw_guest *g, enum hw_way way)
{
    vi_time t = w->now - w->begun + g->phase;
    switch (way) {
    case HW_SWINGS: return t % g->period < g->period / 2 ? 1 : 0.01;
    case HW_RANDOM: return vi_rng_below(&w->rng, 101) / 100.0;
    case HW_HUNTED: return !g->moved_at || w->now - g->moved_at < 8 * VI_MIN ? 1 : 0.1;
    default: return 1;
    }
}

/* Of any size. In this order: C has none for the two sides of <<. */
static uint64_t wild(struct vi_rng *r, uint32_t bits)
{
    uint32_t by = vi_rng_below(r, bits);
    return (uint64_t)vi_rng_below(r, 1 << 30) << by;
}

static void report(struct hw *w, struct hw_guest *g)
{
    struct policy_guest *in = &g->in;
    uint64_t claims = g->used_kb;
    in->report = true;
    if (g->hostile && g->memory == HW_STALE && w->now - w->begun > VI_MIN)
        return;
    in->sequence++;
    in->total_kb = in->current_kb;
    in->swap_kb = 0;
    if (g->hostile)
        claims = (uint64_t)((double)in->current_kb * level(w, g, g->memory));
    in->available_kb = in->current_kb > claims ? in->current_kb - claims : 0;
    in->steal_ms += (uint64_t)(g->demand_pct > g->got_pct ? (g->demand_pct - g->got_pct) * 10 : 0);
    if (!g->hostile)
        return;
    if (g->memory == HW_SWAPS)
        in->swap_kb = (uint64_t)vi_rng_below(&w->rng, 1 << 30);
    if (g->memory == HW_ABSURD) {
        in->available_kb = wild(&w->rng, 30);
        in->total_kb = wild(&w->rng, 30);
    }
    if (g->cpu == HW_ABSURD || g->cpu == HW_RANDOM)
        in->steal_ms = wild(&w->rng, 8);
    if (g->cpu == HW_HUNGRY)
        in->steal_ms += 1000U * in->vcpus;
}

static void want(struct hw *w, struct hw_guest *g)
{
    if (g->hostile)
        g->demand_pct = 100.0 * g->in.vcpus * level(w, g, g->cpu);
    else if (vi_rng_below(&w->rng, 900) == 0)
        g->demand_pct = 10 + vi_rng_below(&w->rng, 60);
    if (g->hostile)
        return;
    /* it works, or idles for long with a short peak now and then */
    if (vi_rng_below(&w->rng, 1800) == 0)
        g->base_kb = g->in.max_kb / 200 * (vi_rng_below(&w->rng, 2) ? 10 : 45 + vi_rng_below(&w->rng, 25));
    if (w->now >= g->next_peak + VI_MIN)
        g->next_peak = w->now + (4 + vi_rng_below(&w->rng, 4)) * VI_MIN;
    g->used_kb = w->now >= g->next_peak ? g->base_kb + g->in.max_kb / 20 : g->base_kb;
    if (g->used_kb >= g->peak_kb || w->now - g->peak_at > 9 * VI_MIN) {
        g->peak_kb = g->used_kb;
        g->peak_at = w->now;
    }
}

/* ---- a host's second ---- */

static unsigned on_host(struct hw *w, unsigned host, struct hw_guest **out)
{
    unsigned n = 0;
    for (unsigned i = 0; i < w->n_guests; i++)
        if (w->guest[i].host == host)
            out[n++] = &w->guest[i];
    return n;
}

/* The CPU by weight; beside it what each is due: by the shares of the environments, divided among their guests here. */
static void share_cpu(struct hw *w, unsigned host)
{
    struct hw_guest *of[HW_GUESTS];
    double wants[HW_GUESTS] = {0}, weights[HW_GUESTS] = {0}, shares[HW_GUESTS] = {0}, got[HW_GUESTS], due[HW_GUESTS];
    unsigned n = on_host(w, host, of);
    double capacity = 100.0 * w->cpus - w->cfg.dom0_pct;
    for (unsigned i = 0; i < n; i++) {
        unsigned same = 0;
        for (unsigned k = 0; k < n; k++)
            same += of[k]->env == of[i]->env;
        wants[i] = of[i]->demand_pct;
        weights[i] = of[i]->in.weight;
        shares[i] = 100.0 / same;
    }
    policy_divide(capacity, n, wants, weights, got);
    policy_divide(capacity, n, wants, shares, due);
    for (unsigned i = 0; i < n; i++) {
        of[i]->got_pct = got[i];
        of[i]->in.cpu_time_ns += (uint64_t)(got[i] * 1e7);
        of[i]->wanted_s += wants[i] / 100;
        of[i]->fair_s += due[i] / 100;
        of[i]->got_s += got[i] / 100;
    }
}

static void balloons(struct hw *w, unsigned host)
{
    struct hw_guest *of[HW_GUESTS];
    unsigned n = on_host(w, host, of);
    for (unsigned i = 0; i < n; i++)
        if (of[i]->obeys && !of[i]->arrives)
            of[i]->in.current_kb = of[i]->in.target_kb;
}

/* ---- the policy's questions and orders ---- */

static unsigned number_of(const struct hw *w, const struct vi_id *id)
{
    for (unsigned i = 0; i < w->n_hosts; i++)
        if (vi_id_equal(&w->host[i].id, id))
            return i;
    return w->n_hosts;
}

static struct hw_guest *guest_of(struct hw *w, const struct vi_id *uuid)
{
    for (unsigned i = 0; i < w->n_guests; i++)
        if (vi_id_equal(&w->guest[i].in.uuid, uuid))
            return &w->guest[i];
    return NULL;
}

static unsigned promised(struct hw *w, unsigned host, uint64_t *kb, double *pct)
{
    unsigned n = 0;
    *kb = 0;
    *pct = 0;
    for (unsigned i = 0; i < w->n_guests; i++)
        if (w->guest[i].arrives && w->guest[i].to == host) {
            *kb += w->guest[i].in.target_kb > w->guest[i].in.current_kb ? w->guest[i].in.target_kb : w->guest[i].in.current_kb;
            *pct += w->guest[i].demand_pct;
            n++;
        }
    return n;
}

static void set_memory(struct hw *w, const struct policy_effect *fx)
{
    struct hw_guest *g = guest_of(w, &fx->guest);
    uint64_t needs = (uint64_t)((double)g->peak_kb / w->cfg.range_high);
    if (!g->hostile && fx->kb < needs && fx->kb < g->in.target_kb)
        hw_bad(w, "%s, which has used %.0f MiB of late, is shrunk to %.0f MiB", g->in.name, (double)g->peak_kb / 1024,
               (double)fx->kb / 1024);
    g->in.target_kb = fx->kb;
}

static void begin_move(struct hw *w, unsigned from, const struct policy_effect *fx)
{
    struct hw_guest *g = guest_of(w, &fx->guest);
    struct policy_event ev = {.kind = POLICY_EV_MOVED, .guest = fx->guest, .peer = fx->peer, .err = VI_EREFUSED, .why = "full"};
    unsigned to = number_of(w, &fx->peer), n;
    uint64_t kb;
    double pct;
    char why[120];
    n = promised(w, to, &kb, &pct);
    if (policy_can_take(w->host[to].p, &fx->needs, kb, pct, n, why, sizeof why)) {
        w->refused++;
        policy_step(w->host[from].p, w->now, &ev);
        return;
    }
    g->to = to;
    g->arrives = w->now + (vi_time)((2 + (double)g->in.current_kb / FLOW_KBPS) * 1e6);
}

static void take_effects(struct hw *w, unsigned n)
{
    struct hw_host *h = &w->host[n];
    const struct policy_effect *fx;
    while ((fx = policy_effect(h->p))) {
        struct policy_effect copy = *fx;
        if (copy.kind == POLICY_FX_MEMORY)
            set_memory(w, &copy);
        else if (copy.kind == POLICY_FX_SCHED)
            guest_of(w, &copy.guest)->in.weight = copy.weight;
        else if (copy.kind == POLICY_FX_PROBE && h->n_probes < 8) {
            h->probe[h->n_probes].host = number_of(w, &copy.peer);
            h->probe[h->n_probes].guest = copy.guest;
            memcpy(h->probe[h->n_probes].question, copy.data, copy.len);
            h->probe[h->n_probes++].len = copy.len;
        } else if (copy.kind == POLICY_FX_MOVE)
            begin_move(w, n, &copy);
        else if (copy.kind == POLICY_FX_SUMMARY) {
            memcpy(h->summary, copy.data, copy.len);
            h->summary_len = copy.len;
            h->said_at = w->now;
        } else if (copy.kind == POLICY_FX_DECISION && w->trace)
            printf("%6.0f s  host %u: %s\n", (double)(w->now - w->begun) / 1e6, n, copy.decision.text);
    }
}

static void answer_probes(struct hw *w, unsigned n)
{
    struct hw_host *h = &w->host[n];
    unsigned k = h->n_probes;
    h->n_probes = 0;
    for (unsigned i = 0; i < k; i++) {
        unsigned to = h->probe[i].host, arrivals;
        struct policy_event ev = {.kind = POLICY_EV_PROBED, .guest = h->probe[i].guest, .peer = w->host[to].id};
        uint8_t out[POLICY_PROBE];
        uint64_t kb;
        double pct;
        int len;
        arrivals = promised(w, to, &kb, &pct);
        len = policy_probe_answer(w->host[to].p, w->now, &h->id, h->probe[i].question, h->probe[i].len, kb, pct, arrivals, out);
        ev.err = len < 0 ? len : 0;
        ev.data = out;
        ev.len = len > 0 ? (size_t)len : 0;
        policy_step(h->p, w->now, &ev);
    }
    take_effects(w, n);
}

/* ---- evaluations ---- */

static bool env_here(struct hw *w, unsigned env, unsigned host)
{
    for (unsigned i = 0; i < w->n_guests; i++)
        if (w->guest[i].env == env && w->guest[i].host == host)
            return true;
    return false;
}

/* Guests elsewhere of the environments that are here, as was stated a little while ago. */
static unsigned places_of(struct hw *w, unsigned n, struct policy_place *out)
{
    unsigned k = 0;
    for (unsigned i = 0; i < w->n_guests; i++) {
        const struct hw_guest *g = &w->guest[i];
        bool news = g->moved_at && (double)(w->now - g->moved_at) < w->host[n].delay_s * 1e6;
        unsigned at = news ? g->from : g->host;
        if (at == n || g->host == n || !env_here(w, g->env, n))
            continue;
        out[k] = (struct policy_place){.env = g->in.env, .guest = g->in.uuid, .host = w->host[at].id, .epoch = g->epoch - news};
        policy_rule_tag(&g->in.uuid, out[k++].tag);
    }
    return k;
}

static void evaluate(struct hw *w, unsigned n)
{
    struct hw_host *h = &w->host[n];
    struct policy_guest guests[HW_GUESTS];
    struct policy_place places[HW_GUESTS];
    struct policy_event ev = {.kind = POLICY_EV_EVALUATE};
    struct policy_snapshot *s = &ev.snapshot;
    uint64_t taken = w->dom0_kb;
    for (unsigned i = 0; i < w->n_guests; i++) {
        struct hw_guest *g = &w->guest[i];
        if (g->host != n)
            continue;
        guests[s->n_guests] = g->in;
        guests[s->n_guests++].frozen = g->arrives != 0;
        taken += g->in.current_kb;
    }
    s->cpus = w->cpus;
    s->total_kb = w->total_kb;
    s->dom0_kb = w->dom0_kb;
    s->free_kb = w->total_kb > taken ? w->total_kb - taken : 0;
    s->arrivals = promised(w, n, &s->reserved_kb, &s->reserved_pct);
    s->self = h->id;
    s->rules.place = places;
    s->rules.n_places = places_of(w, n, places);
    s->guests = guests;
    s->envs = w->env;
    s->n_envs = HW_ENVS;
    policy_step(h->p, w->now, &ev);
    take_effects(w, n);
}

/* ---- moves ---- */

/* No environment moves more in any hour than its budget, whichever hosts its guests were on; but who got a guest and was not
 * told in that hour what had been seen elsewhere may make it one more. */
static void count_move(struct hw *w, const struct hw_guest *g)
{
    unsigned n = 0, more = 0;
    if (w->n_moves >= HW_MOVES) {
        hw_bad(w, "more than %u moves", HW_MOVES);
        return;
    }
    w->move[w->n_moves].env = g->env;
    w->move[w->n_moves++].at = w->now;
    for (unsigned i = 0; i < w->n_moves; i++)
        n += w->move[i].env == g->env && w->now - w->move[i].at < VI_HOUR;
    for (unsigned i = 0; i < w->n_unheard; i++)
        more += w->unheard[i].env == g->env && w->now - w->unheard[i].at < VI_HOUR;
    w->most_in_hour = n > w->most_in_hour ? n : w->most_in_hour;
    if (n > w->cfg.moves_per_hour + more)
        hw_bad(w, "environment %u has moved %u times in an hour", g->env, n);
}

/* What the new host asks the old one; one answer in fifty is lost. */
static void hear_of_moves(struct hw *w, const struct hw_guest *g)
{
    uint8_t q[POLICY_MOVES], a[POLICY_MOVES];
    int n = policy_moves_ask(&g->in.env, q);
    n = policy_moves_tell(w->host[g->from].p, w->now, q, (size_t)n, a);
    if (vi_rng_below(&w->rng, 50) == 0 && w->n_unheard < HW_MOVES) {
        w->unheard[w->n_unheard].env = g->env;
        w->unheard[w->n_unheard++].at = w->now;
        return;
    }
    if (n < 0 || policy_moves_heard(w->host[g->host].p, w->now, &g->in.env, a, (size_t)n))
        hw_bad(w, "the moves of an environment can't be told");
}

static void arrive(struct hw *w, struct hw_guest *g)
{
    struct policy_event gone = {.kind = POLICY_EV_MOVED, .guest = g->in.uuid, .peer = w->host[g->to].id};
    struct policy_event came = {.kind = POLICY_EV_ARRIVED, .guest = g->in.uuid, .peer = w->host[g->host].id};
    g->from = g->host;
    g->host = g->to;
    g->arrives = 0;
    g->moved_at = w->now;
    g->epoch++;
    policy_step(w->host[g->host].p, w->now, &came);
    policy_step(w->host[g->from].p, w->now, &gone);
    hear_of_moves(w, g);
    count_move(w, g);
}

/* ---- a second ---- */

void hw_second(struct hw *w)
{
    w->now += VI_SEC;
    for (unsigned i = 0; i < w->n_guests; i++) {
        struct hw_guest *g = &w->guest[i];
        if (g->arrives && g->arrives <= w->now)
            arrive(w, g);
        want(w, g);
    }
    for (unsigned n = 0; n < w->n_hosts; n++) {
        share_cpu(w, n);
        balloons(w, n);
    }
    for (unsigned i = 0; i < w->n_guests; i++)
        report(w, &w->guest[i]);
    for (unsigned n = 0; n < w->n_hosts; n++) {
        if (w->host[n].n_probes)
            answer_probes(w, n);
        if (w->now >= w->host[n].next) {
            w->host[n].next += w->cfg.period;
            evaluate(w, n);
        }
        if (charged(w, n, true) > w->total_kb)
            hw_bad(w, "host %u has given %.0f MiB more than it has", n, (double)(charged(w, n, true) - w->total_kb) / 1024);
    }
}
