/* One host for the policy core. See policy_host.h. */
#include "tests/sim/policy_host.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/wire.h"

struct vi_id ph_id(char kind, unsigned n)
{
    struct vi_id id = {.b = {(uint8_t)kind, (uint8_t)(n >> 8), (uint8_t)n, 1}};
    return id;
}

void ph_init(struct policy_host *h)
{
    memset(h, 0, sizeof *h);
    policy_config_init(&h->cfg);
    h->cfg.automatic = true;
    h->cfg.settle = 0;
    h->now = VI_HOUR;
    h->s.cpus = 4;
    h->s.total_kb = 16384 * PH_MIB;
    h->s.dom0_kb = 512 * PH_MIB;
    h->env[0].id = ph_id('e', 0);
    h->env[0].shares = 100;
    h->s.n_envs = 1;
    h->obeys = true;
    vi_rng_seed(&h->rng, 7);
}

/* From the n-th evaluation on, if not all are wanted. */
static unsigned peers_of(void *arg, vi_time now, struct policy_peer *out, unsigned most)
{
    struct policy_host *h = arg;
    unsigned n = h->n_peers < most ? h->n_peers : most;
    h->looks++;
    h->looked = most > h->looked ? most : h->looked;
    for (unsigned i = 0; i < n; i++)
        out[i] = h->peer[((unsigned)(now / h->cfg.period) * (n < h->n_peers) + i) % h->n_peers];
    return n;
}

static bool peer_of(void *arg, vi_time now, const struct vi_id *id, struct policy_peer *out)
{
    const struct policy_host *h = arg;
    (void)now;
    for (unsigned i = 0; i < h->n_peers; i++)
        if (vi_id_equal(&h->peer[i].id, id)) {
            *out = h->peer[i];
            return true;
        }
    return false;
}

void ph_open(struct policy_host *h)
{
    h->cfg.peers = peers_of;
    h->cfg.peer = peer_of;
    h->cfg.peers_arg = h;
    h->p = policy_new(&h->cfg, &h->rng, h->now);
}

void ph_close(struct policy_host *h)
{
    policy_free(h->p);
    h->p = NULL;
}

unsigned ph_guest(struct policy_host *h, uint64_t mib, uint64_t used_mib, uint64_t max_mib)
{
    unsigned n = h->s.n_guests++;
    struct policy_guest *g = &h->guest[n];
    g->uuid = ph_id('g', n);
    g->env = h->env[0].id;
    snprintf(g->name, sizeof g->name, "guest-%u", n);
    g->domid = n + 1;
    g->vcpus = 2;
    g->weight = 256;
    g->current_kb = g->target_kb = mib * PH_MIB;
    g->max_kb = max_mib * PH_MIB;
    g->report = g->running = g->movable = true;
    h->used_kb[n] = used_mib * PH_MIB;
    return n;
}

unsigned ph_peer(struct policy_host *h, uint64_t free_mib, double demand_pct)
{
    unsigned n = h->n_peers++;
    struct policy_peer *q = &h->peer[n];
    q->id = ph_id('p', n);
    q->age = VI_SEC;
    q->load.capacity_pct = 400;
    q->load.demand_pct = demand_pct;
    q->load.total_kb = 16384 * PH_MIB;
    q->load.free_kb = free_mib * PH_MIB;
    q->load.charged_kb = q->load.total_kb - q->load.free_kb;
    return n;
}

static void go_on(struct policy_host *h, unsigned n)
{
    struct policy_guest *g = &h->guest[n];
    double seconds = (double)h->cfg.period / 1e6;
    g->cpu_time_ns += (uint64_t)(h->pct[n] / 100 * seconds * 1e9);
    g->steal_ms += (uint64_t)(h->steal[n] / 100 * seconds * 1e3);
    if (h->silent[n])
        return;
    g->sequence++;
    g->total_kb = g->current_kb;
    g->available_kb = g->current_kb > h->used_kb[n] ? g->current_kb - h->used_kb[n] : 0;
}

void ph_evaluate(struct policy_host *h)
{
    struct policy_event ev = {.kind = POLICY_EV_EVALUATE};
    uint64_t taken = h->s.dom0_kb;
    h->now += h->cfg.period;
    for (unsigned i = 0; i < h->s.n_guests; i++) {
        go_on(h, i);
        taken += h->guest[i].current_kb;
    }
    if (!h->free_fixed)
        h->s.free_kb = h->s.total_kb > taken ? h->s.total_kb - taken : 0;
    if (h->twist)
        h->twist(h);
    ev.snapshot = h->s;
    ev.snapshot.guests = h->guest;
    ev.snapshot.envs = h->env;
    policy_step(h->p, h->now, &ev);
    ph_take_effects(h);
}

void ph_run(struct policy_host *h, unsigned evaluations)
{
    while (evaluations--)
        ph_evaluate(h);
}

static void obey(struct policy_host *h, const struct policy_effect *fx)
{
    for (unsigned i = 0; i < h->s.n_guests; i++) {
        struct policy_guest *g = &h->guest[i];
        if (!vi_id_equal(&g->uuid, &fx->guest))
            continue;
        if (fx->kind == POLICY_FX_SCHED)
            g->weight = fx->weight;
        else
            g->current_kb = g->target_kb = fx->kb;
    }
}

void ph_take_effects(struct policy_host *h)
{
    const struct policy_effect *fx;
    struct ph_tally *t = &h->t;
    while ((fx = policy_effect(h->p))) {
        if (h->obeys && (fx->kind == POLICY_FX_SCHED || fx->kind == POLICY_FX_MEMORY))
            obey(h, fx);
        switch (fx->kind) {
        case POLICY_FX_SCHED:
            t->weights++, t->weight = *fx;
            break;
        case POLICY_FX_MEMORY:
            t->memories++, t->memory = *fx;
            break;
        case POLICY_FX_PROBE:
            t->probe[t->probes++ % 4] = *fx;
            break;
        case POLICY_FX_MOVE:
            t->moves++, t->move = *fx;
            break;
        case POLICY_FX_SUMMARY:
            t->summaries++, t->summary = *fx;
            break;
        case POLICY_FX_DECISION:
            t->decisions++;
            t->of_kind[fx->decision.kind]++;
            t->decision[fx->decision.kind] = fx->decision;
            break;
        }
    }
}

static void answer(struct policy_host *h, unsigned n, bool fits, unsigned lacks, uint64_t lacks_kb)
{
    uint8_t summary[POLICY_SUMMARY], b[POLICY_PROBE];
    struct policy_event ev = {.kind = POLICY_EV_PROBED, .guest = h->t.probe[(h->t.probes + 3) % 4].guest, .peer = h->peer[n].id, .data = b, .lacks = lacks,
                              .lacks_kb = lacks_kb};
    int len = policy_summary_encode(&h->peer[n].load, summary, sizeof summary);
    struct vi_writer w;
    vi_writer_init(&w, b, sizeof b);
    vi_write_array(&w, 2);
    vi_write_uint(&w, fits);
    vi_write_bin(&w, summary, len > 0 ? (size_t)len : 0);
    ev.len = w.len;
    policy_step(h->p, h->now, &ev);
    ph_take_effects(h);
}

void ph_answer(struct policy_host *h, unsigned n, bool fits)
{
    ph_answer_lacking(h, n, fits, 0);
}

void ph_answer_lacking(struct policy_host *h, unsigned n, bool fits, unsigned lacks)
{
    answer(h, n, fits, lacks, 0);
}

void ph_answer_without_disks(struct policy_host *h, unsigned n, uint64_t lacks_kb)
{
    answer(h, n, true, 0, lacks_kb);
}

void ph_moved(struct policy_host *h, unsigned guest, unsigned peer, int err)
{
    struct policy_event ev = {.kind = POLICY_EV_MOVED,
                              .guest = h->guest[guest].uuid,
                              .peer = ph_id('p', peer),
                              .err = err};
    policy_step(h->p, h->now, &ev);
    ph_take_effects(h);
}

void ph_arrived(struct policy_host *h, unsigned guest, unsigned peer)
{
    struct policy_event ev = {
        .kind = POLICY_EV_ARRIVED, .guest = ph_id('g', guest), .peer = ph_id('p', peer)};
    policy_step(h->p, h->now, &ev);
}

const char *ph_choice(const struct policy_host *h, unsigned guest, unsigned n)
{
    unsigned pos = 0;
    struct vi_id peer;
    const char *text;
    while (policy_choice_next(h->p, &h->guest[guest].uuid, &pos, &peer, &text))
        if (vi_id_equal(&peer, &h->peer[n].id))
            return text;
    return "";
}

bool ph_probed(const struct policy_host *h, unsigned n)
{
    for (unsigned i = 0; i < h->t.probes && i < 4; i++)
        if (vi_id_equal(&h->t.probe[i].peer, &h->peer[n].id))
            return true;
    return false;
}

struct policy_view ph_view(const struct policy_host *h, unsigned guest)
{
    struct policy_view v;
    policy_view(h->p, h->now, &h->guest[guest].uuid, &v);
    return v;
}
