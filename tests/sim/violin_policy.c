/* A simulated peer's policy: snapshots of the model hypervisor in, balloons, weights, questions and moves out. As
 * peer/daemon_policy.c does. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "peer/base/err.h"
#include "tests/sim/violin_internal.h"

#define STATE (64u * 1024) /* of a core with some ten guests, from its beginning; a core is larger */
#define REPORTS_EVERY (2 * VI_SEC) /* the guests' own reports */

/* ---- in ---- */

static void one_guest(struct vn_host *h, struct policy_guest *p, const struct vn_copy *c)
{
    const struct pw_world *w = h->v->pw;
    const struct pw_guest *g = &w->guest[c->guest];
    uint64_t used = w->env[g->env].used_kb;

    memset(p, 0, sizeof *p);
    vn_guest_id(c->guest, &p->uuid);
    p->env = h->v->env_id[g->env];
    snprintf(p->name, sizeof p->name, "%.20s-%u", w->s->env[g->env].name, g->index);
    p->domid = c->domid;
    p->vcpus = 1;
    p->weight = g->weight;
    p->cpu_time_ns = (uint64_t)(g->cpu_s * 1e9);
    p->current_kb = p->target_kb = g->kb;
    p->max_kb = w->s->env[g->env].max_kb;
    p->report = true;
    p->sequence = (uint64_t)(vn_now(h) / REPORTS_EVERY) + 1;
    p->total_kb = g->kb;
    p->available_kb = g->kb > used ? g->kb - used : 0;
    p->steal_ms = (uint64_t)(g->steal_s * 1e3);
    p->running = c->is == VN_RUNS;
    p->frozen = handover_has_guest(h->handovers, &p->uuid) || envmove_holds(h->moves, &p->uuid);
    p->movable = true;
}

static bool one_peer(const struct vn_host *h, const struct gossip_summary *s, struct policy_peer *out)
{
    out->id = s->id;
    out->age = s->age;
    return !vi_id_equal(&s->id, &h->v->disk[h->n].id) && !policy_summary_decode(&out->load, s->bytes, s->len);
}

static bool peer_of(void *arg, vi_time now, const struct vi_id *id, struct policy_peer *out)
{
    const struct vn_host *h = arg;
    struct gossip_summary s;

    return gossip_summary_get(h->gossip, now, id, &s) && one_peer(h, &s, out);
}

static unsigned peers_of(void *arg, vi_time now, struct policy_peer *peers, unsigned most)
{
    struct vn_host *h = arg;
    struct gossip_round r;
    struct gossip_summary s;
    unsigned n = 0;

    h->v->looked = true;
    gossip_round(h->gossip, most < gossip_alive(h->gossip) ? vi_rng_u64(&h->v->disk[h->n].rng) : 0, &r);
    while (n < most && gossip_summary_drawn(h->gossip, now, &r, &s))
        n += one_peer(h, &s, &peers[n]);
    return n;
}

void vn_policy_domain_load(struct vn_host *h, struct fed_summary *out)
{
    struct survey_total t = {0};
    struct gossip_summary s;
    struct policy_load l;
    size_t pos = 0;

    while (gossip_summary_next(h->gossip, vn_now(h), &pos, &s))
        if (vn_alive(h, &s.id) && !policy_summary_decode(&l, s.bytes, s.len))
            survey_add(&t, &l);
    out->cpu_pct = (uint32_t)t.capacity_pct;
    out->cpu_used_pct = (uint32_t)t.demand_pct;
    out->memory_mib = t.total_kb / 1024;
    out->memory_free_mib = t.free_kb / 1024;
}

static void note_time(struct vn_times *t, uint32_t ns)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 4096;
        uint32_t *list = realloc(t->ns, cap * sizeof *list);

        if (!list)
            return;
        t->ns = list;
        t->cap = cap;
    }
    t->ns[t->n++] = ns;
}

/* Between two evaluations of a host all the others' have been in the caches, which a real host hasn't to share. */
static void into_cache(const struct policy *p)
{
    const volatile uint8_t *at = (const volatile uint8_t *)p;

    for (size_t k = 0; k < STATE; k += 64)
        (void)at[k];
}

static void timed_step(struct violin *v, struct policy *p, vi_time now, const struct policy_event *ev)
{
    struct timespec a, b;
    uint32_t ns;

    if (!v->cfg.measure) {
        policy_step(p, now, ev);
        return;
    }
    v->looked = false;
    into_cache(p);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    policy_step(p, now, ev);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    ns = (uint32_t)((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec);
    note_time(&v->took[0], ns);
    if (v->looked)
        note_time(&v->took[1], ns);
}

static unsigned priority_of(const struct violin *v, const struct vi_id *env)
{
    unsigned e = vn_env_of(v, env);

    return e == PW_NOWHERE ? 50 : v->pw->s->env[e].priority;
}

static void evaluate(struct vn_host *h)
{
    static struct policy_guest guests[POLICY_GUESTS];
    struct policy_env envs[POLICY_ENVS];
    struct policy_event ev = {.kind = POLICY_EV_EVALUATE};
    struct policy_snapshot *s = &ev.snapshot;
    const struct pw_domain *d = &h->v->pw->s->domain[h->domain];
    uint64_t leased_kb, used = 0;
    double leased_pct;

    vn_catch_up(h->v);
    pw_settle_host(h->v->pw, h->n);
    s->cpus = d->cpus;
    s->total_kb = d->kb;
    s->arrivals = handover_promised(h->handovers, &s->reserved_kb, &s->reserved_pct);
    (void)envmove_leased(h->moves, &leased_kb, &leased_pct);
    h->leased_kb = leased_kb;
    s->reserved_kb += leased_kb;
    s->reserved_pct += leased_pct;
    if (s->arrivals > h->v->count.most_arrivals)
        h->v->count.most_arrivals = s->arrivals;
    for (unsigned k = 0; k < h->n_copies && s->n_guests < POLICY_GUESTS; k++) {
        used += h->v->pw->guest[h->copy[k].guest].kb;
        if (!h->copy[k].incoming)
            one_guest(h, &guests[s->n_guests++], &h->copy[k]);
    }
    s->free_kb = d->kb > used ? d->kb - used : 0;
    for (unsigned k = 0; k < s->n_guests; k++) {
        unsigned i = 0;

        while (i < s->n_envs && !vi_id_equal(&envs[i].id, &guests[k].env))
            i++;
        if (i == s->n_envs && i < POLICY_ENVS) {
            envs[i] = (struct policy_env){.id = guests[k].env, .shares = 100, .priority = priority_of(h->v, &guests[k].env)};
            s->n_envs++;
        }
    }
    s->guests = guests;
    s->envs = envs;
    vn_rules_snapshot(h, s);
    vn_rules_talks(h, s);
    timed_step(h->v, h->policy, vn_now(h), &ev);
    vn_moves_evaluated(h);
}

void vn_policy_tick(struct vn_host *h)
{
    if (policy_deadline(h->policy) <= vn_now(h))
        evaluate(h);
}

/* ---- out ---- */

static void on_probed(void *arg, int err, const uint8_t *body, size_t len)
{
    struct vn_probing *p = arg;
    struct policy_event ev = {.kind = POLICY_EV_PROBED, .guest = p->guest, .peer = p->peer, .err = err, .data = body, .len = len};

    p->used = false;
    policy_step(p->h->policy, vn_now(p->h), &ev);
}

static void probe(struct vn_host *h, const struct policy_effect *fx)
{
    struct policy_event ev = {.kind = POLICY_EV_PROBED, .guest = fx->guest, .peer = fx->peer, .err = VI_EFULL};
    unsigned k = 0;

    while (k < CALLS_MAX && h->probing[k].used)
        k++;
    if (k < CALLS_MAX) {
        h->probing[k] = (struct vn_probing){true, h, fx->peer, fx->guest};
        if (!calls_ask(h->calls, vn_now(h), &fx->peer, CALL_LOAD, fx->data, fx->len, on_probed, &h->probing[k]))
            return;
        h->probing[k].used = false;
    }
    policy_step(h->policy, vn_now(h), &ev);
}

static void perform(struct vn_host *h, const struct policy_effect *fx)
{
    struct policy_event moved = {.kind = POLICY_EV_MOVED, .guest = fx->guest, .peer = fx->peer};
    unsigned g = vn_guest_of(h->v, &fx->guest);

    switch (fx->kind) {
    case POLICY_FX_MEMORY:
        if (vn_copy_of(h, g))
            pw_set_memory(h->v->pw, g, fx->kb);
        break;
    case POLICY_FX_SCHED:
        if (vn_copy_of(h, g))
            pw_set_weight(h->v->pw, g, fx->weight);
        break;
    case POLICY_FX_PROBE:
        probe(h, fx);
        break;
    case POLICY_FX_MOVE:
        h->v->count.moves++;
        moved.err = vn_handover_start(h, &fx->guest, &fx->peer);
        if (moved.err)
            policy_step(h->policy, vn_now(h), &moved);
        break;
    case POLICY_FX_SUMMARY:
        if (fx->len)
            vn_gossip_summary(h, fx->data, fx->len);
        break;
    case POLICY_FX_DECISION:
        h->v->count.refused += fx->decision.kind == POLICY_REFUSE;
        break;
    }
}

bool vn_policy_pump(struct vn_host *h)
{
    static struct policy_effect copy;
    const struct policy_effect *fx;
    bool any = false;

    while ((fx = policy_effect(h->policy))) {
        copy = *fx;
        perform(h, &copy);
        any = true;
    }
    return any;
}

int vn_policy_probed(struct vn_host *h, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out)
{
    uint64_t kb, leased_kb;
    double pct, leased_pct;
    unsigned n = handover_promised(h->handovers, &kb, &pct);

    (void)envmove_leased(h->moves, &leased_kb, &leased_pct);
    return policy_probe_answer(h->policy, vn_now(h), from, body, len, kb + leased_kb, pct + leased_pct, n, out);
}

/* ---- opening ---- */

/* What the scenario says; the rest are the program's defaults. dom0 and the reserve are taken off already: a scenario's
 * hosts have so much for guests. */
bool vn_policy_open(struct vn_host *h)
{
    const struct pw_scenario *s = h->v->pw->s;
    struct policy_config c;

    policy_config_init(&c);
    c.automatic = true;
    c.period = s->period;
    c.needed = s->needed;
    c.of = c.of > s->needed ? c.of : s->needed;
    c.range_low = s->range_low;
    c.range_high = s->range_high;
    if (s->floor_kb)
        c.floor_kb = s->floor_kb;
    c.reserve_kb = 0;
    c.dom0_pct = 0;
    c.bandwidth_kbps = s->link_kbps;
    c.peers = peers_of;
    c.peer = peer_of;
    c.peers_arg = h;
    if (h->v->cfg.tune)
        h->v->cfg.tune(&c);
    h->policy = policy_new(&c, &h->v->disk[h->n].rng, vn_now(h));
    return h->policy;
}
