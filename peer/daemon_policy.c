/* The daemon and the policy: snapshots in, balloons, weights and moves out; what people ask of it. */
#include "peer/daemon_disk.h"
#include "peer/daemon_federation.h"
#include "peer/daemon_image.h"
#include "peer/diskask.h"
#include "peer/federation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/rpc_write.h"

#define MIB(kb) ((double)(kb) / 1024.0)

/* ---- the other hosts ---- */

static bool one_peer(const struct daemon *d, const struct gossip_summary *s, struct policy_peer *out)
{
    out->id = s->id;
    out->age = s->age;
    return !vi_id_equal(&s->id, &d->me.id) && !policy_summary_decode(&out->load, s->bytes, s->len);
}

static bool peer_of(void *arg, vi_time now, const struct vi_id *id, struct policy_peer *out)
{
    const struct daemon *d = arg;
    struct gossip_summary s;
    return gossip_summary_get(d->gossip, now, id, &s) && one_peer(d, &s, out);
}

static unsigned peers_of(void *arg, vi_time now, struct policy_peer *peers, unsigned most)
{
    struct daemon *d = arg;
    struct gossip_round r;
    struct gossip_summary s;
    unsigned n = 0;
    gossip_round(d->gossip, most < gossip_alive(d->gossip) ? vi_rng_u64(&d->rng) : 0, &r);
    while (n < most && gossip_summary_drawn(d->gossip, now, &r, &s))
        n += one_peer(d, &s, &peers[n]);
    return n;
}

int daemon_policy_open(struct daemon *d, char *why, size_t cap)
{
    const struct config *c = &d->cfg;
    struct policy_config p;
    policy_config_init(&p);
    p.automatic = !strcmp(c->mode, "auto");
    p.pack = daemon_packs(d);
    p.range_low = c->range_low;
    p.range_high = c->range_high;
    p.period = c->evaluation_period * VI_SEC;
    p.needed = (unsigned)c->evaluations_needed;
    p.of = (unsigned)c->evaluations_of;
    p.floor_kb = (uint64_t)c->memory_floor * 1024;
    p.reserve_kb = (uint64_t)c->memory_reserve * 1024;
    p.dom0_pct = (double)c->dom0_cpu;
    p.shrink_window = c->shrink_window * VI_SEC;
    p.settle = c->settle_time * VI_SEC;
    p.cooldown = c->cooldown * VI_SEC;
    p.no_return = c->no_return * VI_SEC;
    p.horizon = c->payoff_horizon * VI_SEC;
    p.forecast_after = c->forecast_after * VI_SEC;
    p.report_stale = c->report_stale * VI_SEC;
    p.moves_per_hour = (unsigned)c->moves_per_hour;
    p.arrivals_max = (unsigned)c->arrivals_max;
    if (c->migration_bandwidth)
        p.bandwidth_kbps = (double)c->migration_bandwidth * 1024;
    p.peers = peers_of;
    p.peer = peer_of;
    p.peers_arg = d;
    d->policy = policy_new(&p, &d->rng, daemon_now());
    if (!d->policy) {
        snprintf(why, cap, "the policy can't be set up; `violin config check` says whether its settings are good");
        return VI_EINVAL;
    }
    daemon_drain_open(d);
    daemon_policy_mode(d);
    return 0;
}

void daemon_policy_close(struct daemon *d)
{
    policy_free(d->policy);
    d->policy = NULL;
}

vi_time daemon_policy_deadline(const struct daemon *d)
{
    return policy_deadline(d->policy);
}

void daemon_policy_mode(struct daemon *d)
{
    policy_set_automatic(d->policy, !strcmp(d->cfg.mode, "auto") && !daemon_paused(d));
}

/* ---- in ---- */

static void one_guest(struct daemon *d, struct policy_guest *p, const struct hv_guest *g, const struct env *e)
{
    memset(p, 0, sizeof *p);
    p->uuid = g->uuid;
    p->env = e->def.id;
    snprintf(p->name, sizeof p->name, "%s", g->name);
    p->domid = g->domid;
    p->vcpus = g->vcpus;
    p->weight = g->weight;
    p->cpu_time_ns = g->cpu_time_ns;
    p->current_kb = g->current_kb;
    p->target_kb = g->target_kb;
    p->max_kb = g->max_kb;
    p->report = g->report.present;
    p->sequence = g->report.sequence;
    p->total_kb = g->report.total_kb;
    p->available_kb = g->report.available_kb;
    p->swap_kb = g->report.swap_used_kb;
    p->steal_ms = g->report.steal_ms;
    p->running = g->state == HV_RUNNING && !g->incoming;
    p->frozen = handover_has_guest(d->handovers, &g->uuid) || daemon_envmove_holds(d, &g->uuid);
    p->disk_kb = daemon_disk_kb(d, g);
    p->movable = g->movable && !daemon_pinned(d, g->name);
    snprintf(p->why_not, sizeof p->why_not, "%s", !g->movable ? g->why_not : p->movable ? "" : "pinned by the configuration of this host");
}

void daemon_policy_domain_load(struct daemon *d, struct fed_summary *out)
{
    struct gossip_summary s;
    struct gossip_member m;
    struct policy_load l;
    struct survey_total t = {0};
    size_t pos = 0;
    while (gossip_summary_next(d->gossip, daemon_now(), &pos, &s)) {
        if (!gossip_member_find(d->gossip, &s.id, &m) || m.state != GOSSIP_ALIVE || policy_summary_decode(&l, s.bytes, s.len))
            continue; /* what a dead host had isn't to be had */
        survey_add(&t, &l);
    }
    out->cpu_pct = (uint32_t)t.capacity_pct;
    out->cpu_used_pct = (uint32_t)t.demand_pct;
    out->memory_mib = t.total_kb / 1024;
    out->memory_free_mib = t.free_kb / 1024;
}

static void evaluate(struct daemon *d, vi_time now)
{
    static struct policy_guest guests[POLICY_GUESTS];
    struct policy_env envs[POLICY_ENVS];
    struct policy_event ev = {.kind = POLICY_EV_EVALUATE};
    struct policy_snapshot *s = &ev.snapshot;
    uint64_t made_kb;
    double made_pct;
    s->at = d->listed_at;
    s->cpus = d->host.cpus;
    s->total_kb = d->host.total_kb;
    s->free_kb = d->host.free_kb;
    s->dom0_kb = d->host.dom0_kb;
    s->arrivals = handover_promised(d->handovers, &s->reserved_kb, &s->reserved_pct);
    daemon_envmove_snapshot(d, &s->reserved_kb, &s->reserved_pct);
    daemon_envmake_promised(d, &made_kb, &made_pct);
    s->reserved_kb += made_kb;
    s->reserved_pct += made_pct;
    for (unsigned i = 0; i < d->n_guests && s->n_guests < POLICY_GUESTS; i++) {
        const struct env *e = daemon_guest_env(d, &d->guests[i]);
        if (e && !d->guests[i].incoming && d->guests[i].state != HV_SHUTDOWN)
            one_guest(d, &guests[s->n_guests++], &d->guests[i], e);
        else
            s->dom0_kb += d->guests[i].current_kb; /* not ours to plan with: charged to the host */
    }
    for (unsigned i = 0; i < ENV_MAX; i++)
        if (d->envs[i].used) {
            envs[s->n_envs].id = d->envs[i].def.id;
            envs[s->n_envs].priority = d->envs[i].priority;
            envs[s->n_envs++].shares = d->envs[i].def.shares;
        }
    s->guests = guests;
    s->envs = envs;
    daemon_rules_snapshot(d, s);
    daemon_talks_snapshot(d, now, s);
    policy_step(d->policy, now, &ev);
    daemon_placement_evaluated(d, now);
    daemon_envmove_evaluated(d);
}

/* ---- out ---- */

static void on_done(void *arg, int err, const char *detail)
{
    (void)arg;
    if (err)
        vi_log(VI_LOG_WARN, "policy", "%s", detail);
}

struct probing {
    struct daemon *d;
    struct vi_id peer, guest;
    unsigned lacks;
    uint8_t load[CALL_BODY_MAX]; /* its first answer */
    size_t len;
};

/* What came of it: nobody says how many images it lacks where there are none, or from before there were any. A host from before
 * there were disks has none. */
static void probed(struct probing *p, int err, uint64_t lacks_kb)
{
    struct policy_event ev = {.kind = POLICY_EV_PROBED, .guest = p->guest, .peer = p->peer, .err = err, .data = p->load,
                              .len = p->len, .lacks = p->lacks, .lacks_kb = lacks_kb};
    policy_step(p->d->policy, daemon_now(), &ev);
    free(p);
}

static uint64_t all_disks(const struct probing *p)
{
    const struct hv_guest *g = daemon_guest_by_id(p->d, &p->guest);
    return g ? daemon_disk_kb(p->d, g) : 0;
}

static void on_disks(void *arg, int err, const uint8_t *body, size_t len)
{
    struct probing *p = arg;
    uint64_t sectors;
    probed(p, 0, err || diskask_answer_decode(&sectors, body, len) ? all_disks(p) : sectors / 2);
}

static void ask_for_disks(struct probing *p)
{
    uint8_t question[DISKASK_SIZE];
    size_t n = daemon_disk_ask_lacks(p->d, &p->guest, question);
    if (!n || calls_ask(p->d->calls, daemon_now(), &p->peer, CALL_DISK_LACKS, question, n, on_disks, p))
        probed(p, 0, all_disks(p));
}

static void on_lacks(void *arg, int err, const uint8_t *body, size_t len)
{
    struct probing *p = arg;
    struct vi_reader r;
    vi_reader_init(&r, body, err ? 0 : len);
    if (vi_read_array(&r, 2) == 2 && vi_read_uint(&r, 1) == 1)
        p->lacks = (unsigned)vi_read_uint(&r, UINT32_MAX);
    if (r.err)
        p->lacks = 0;
    ask_for_disks(p);
}

static void on_probed(void *arg, int err, const uint8_t *body, size_t len)
{
    struct probing *p = arg;
    uint8_t question[CALL_BODY_MAX];
    size_t n = err ? 0 : daemon_image_ask_lacks(p->d, &p->guest, question);
    p->len = err ? 0 : len;
    if (p->len)
        memcpy(p->load, body, p->len);
    p->lacks = 0;
    if (err)
        probed(p, err, 0);
    else if (!n || calls_ask(p->d->calls, daemon_now(), &p->peer, CALL_IMAGE_LACKS, question, n, on_lacks, p))
        ask_for_disks(p);
}

static void probe(struct daemon *d, vi_time now, const struct policy_effect *fx)
{
    struct probing *p = malloc(sizeof *p);
    struct policy_event ev = {.kind = POLICY_EV_PROBED, .guest = fx->guest, .peer = fx->peer, .err = VI_EFULL};
    if (p) {
        p->d = d;
        p->peer = fx->peer;
        p->guest = fx->guest;
    }
    if (!p || calls_ask(d->calls, now, &fx->peer, CALL_LOAD, fx->data, fx->len, on_probed, p)) {
        free(p);
        policy_step(d->policy, now, &ev);
    }
}

static void say(struct daemon *d, const struct policy_decision *dec)
{
    static const char *const kinds[] = {[POLICY_GROW] = "balloon", [POLICY_SHRINK] = "balloon",
                                        [POLICY_WEIGHT] = "weight", [POLICY_SHORT] = "short",
                                        [POLICY_MOVE] = "moving", [POLICY_REFUSE] = "refused",
                                        [POLICY_STUCK] = "balloon", [POLICY_FAILED] = "failed"};
    struct event *ev = daemon_event(d, kinds[dec->kind], dec->name, "%s%s", dec->done ? "" : "would do: ", dec->text);
    const struct hv_guest *g = daemon_guest_by_id(d, &dec->guest);
    const struct env *e = g ? daemon_guest_env(d, g) : NULL;
    char command[DAEMON_COMMAND];
    for (unsigned i = 0; i < dec->n; i++)
        event_number(ev, dec->numbers[i].name, dec->numbers[i].value);
    event_word(ev, "environment", e ? e->def.name : NULL);
    if (!dec->done && daemon_decision_command(d, dec, command, sizeof command)[0])
        event_word(ev, "command", command);
    daemon_history(d, ev);
}

/* Why the policy moves it: its last decision to. */
static const char *reason_of(struct daemon *d, const struct vi_id *guest)
{
    const struct policy_decision *dec;
    unsigned pos = 0;
    while (policy_decision_next(d->policy, guest, &pos, &dec))
        if (dec->kind == POLICY_MOVE)
            return dec->text;
    return "the policy's decision";
}

static void perform(struct daemon *d, vi_time now, const struct policy_effect *fx)
{
    char why[HANDOVER_WHY] = "";
    switch (fx->kind) {
    case POLICY_FX_MEMORY:
        (void)d->hv->ops->set_memory(d->hv, fx->domid, &fx->guest, fx->kb, on_done, d);
        d->next_list = 0;
        break;
    case POLICY_FX_SCHED:
        (void)d->hv->ops->set_sched(d->hv, fx->domid, &fx->guest, fx->weight, 0, on_done, d);
        d->next_list = 0;
        break;
    case POLICY_FX_PROBE:
        probe(d, now, fx);
        break;
    case POLICY_FX_MOVE:
        if (daemon_handover_start(d, &fx->guest, &fx->peer, reason_of(d, &fx->guest), NULL, why, sizeof why))
            daemon_policy_moved(d, &fx->guest, &fx->peer, VI_EREFUSED, why, false);
        break;
    case POLICY_FX_SUMMARY:
        if (fx->len)
            daemon_gossip_summary(d, fx->data, fx->len);
        break;
    case POLICY_FX_DECISION:
        say(d, &fx->decision);
        break;
    }
}

void daemon_policy_pump(struct daemon *d, vi_time now)
{
    static struct policy_effect copy;
    const struct policy_effect *fx;
    daemon_drain_tick(d, now);
    if (policy_deadline(d->policy) <= now && d->hv_there && d->recovered)
        evaluate(d, now);
    while ((fx = policy_effect(d->policy))) {
        copy = *fx;
        perform(d, now, &copy);
    }
}

void daemon_policy_moved(struct daemon *d, const struct vi_id *guest, const struct vi_id *peer, int err,
                         const char *why, bool told)
{
    struct policy_event ev = {.kind = POLICY_EV_MOVED, .guest = *guest, .peer = *peer, .err = err, .why = why, .told = told};
    policy_step(d->policy, daemon_now(), &ev);
    daemon_envmove_moved(d, guest, peer, err, why);
}

/* What the guest's environment has moved of late, by the host that it came from. Without an answer this host goes by what
 * it sees itself. */
static void on_moves(void *arg, int err, const uint8_t *body, size_t len)
{
    struct probing *p = arg; /* peer: the environment */
    if (!err)
        (void)policy_moves_heard(p->d->policy, daemon_now(), &p->peer, body, len);
    free(p);
}

void daemon_policy_arrived(struct daemon *d, const struct handover_guest *g, const struct vi_id *from)
{
    struct policy_event ev = {.kind = POLICY_EV_ARRIVED, .guest = g->uuid, .peer = *from, .needs = {g->kb, g->pct}};
    struct probing *p = malloc(sizeof *p);
    uint8_t b[POLICY_MOVES];
    int n = policy_moves_ask(&g->env, b);
    policy_step(d->policy, daemon_now(), &ev);
    if (p)
        *p = (struct probing){.d = d, .peer = g->env};
    if (!p || n < 0 || calls_ask(d->calls, daemon_now(), from, CALL_MOVES, b, (size_t)n, on_moves, p))
        free(p);
}

int daemon_policy_moves(struct daemon *d, const uint8_t *body, size_t len, uint8_t *out)
{
    return policy_moves_tell(d->policy, daemon_now(), body, len, out);
}

int daemon_policy_probed(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out)
{
    uint64_t kb;
    double pct;
    unsigned n = handover_promised(d->handovers, &kb, &pct);
    uint64_t leased_kb;
    double leased_pct;
    struct cert c;
    (void)daemon_envmove_leased(d, &leased_kb, &leased_pct);
    kb += leased_kb;
    pct += leased_pct;
    daemon_envmake_promised(d, &leased_kb, &leased_pct);
    kb += leased_kb;
    pct += leased_pct;
    return policy_probe_answer(d->policy, daemon_now(), fed_foreign(d, from, &c) ? NULL : from, body, len, kb, pct, n, out);
}

/* ---- shown ---- */

void daemon_policy_load(struct daemon *d, struct vi_writer *w)
{
    const struct policy_load *l = policy_own_load(d->policy);
    uint64_t kb;
    double pct;
    (void)handover_promised(d->handovers, &kb, &pct);
    vi_write_str(w, "load");
    if (l->total_kb == 0) { /* not evaluated yet */
        vi_write_map(w, 0);
        return;
    }
    vi_write_map(w, 8);
    put_number(w, "cpu_capacity_pct", l->capacity_pct);
    put_number(w, "cpu_demand_pct", l->demand_pct);
    put_number(w, "cpu_entitled_pct", l->entitled_pct);
    put_number(w, "memory_total_mib", MIB(l->total_kb));
    put_number(w, "memory_charged_mib", MIB(l->charged_kb));
    put_number(w, "memory_free_mib", MIB(l->free_kb));
    put_uint(w, "memory_reserve_mib", (uint64_t)d->cfg.memory_reserve);
    put_number(w, "memory_promised_mib", MIB(kb));
}

static bool summary_of(struct daemon *d, const struct vi_id *peer, struct policy_load *l, vi_time *age)
{
    struct gossip_summary s;
    size_t pos = 0;
    while (gossip_summary_next(d->gossip, daemon_now(), &pos, &s))
        if (vi_id_equal(&s.id, peer)) {
            *age = s.age;
            return policy_summary_decode(l, s.bytes, s.len) == 0;
        }
    return false;
}

unsigned daemon_policy_summary_fields(struct daemon *d, const struct vi_id *peer)
{
    struct policy_load l;
    vi_time age;
    return summary_of(d, peer, &l, &age) ? 8 : 0;
}

void daemon_policy_write_summary(struct daemon *d, struct vi_writer *w, const struct vi_id *peer)
{
    struct policy_load l;
    vi_time age;
    if (!summary_of(d, peer, &l, &age))
        return;
    put_number(w, "summary_age_s", (double)age / 1e6);
    put_number(w, "cpu_capacity_pct", l.capacity_pct);
    put_number(w, "cpu_demand_pct", l.demand_pct);
    put_number(w, "memory_total_mib", MIB(l.total_kb));
    put_number(w, "memory_free_mib", MIB(l.free_kb));
    put_uint(w, "guests", l.guests);
    put_text(w, "mode", l.observes ? "observe" : "auto");
    put_text(w, "placement", l.packs ? "pack" : "balance");
}

void daemon_policy_write_guest(struct daemon *d, struct vi_writer *w, const struct hv_guest *g)
{
    const struct env *e = daemon_guest_env(d, g);
    struct policy_view v;
    bool known = policy_view(d->policy, daemon_now(), &g->uuid, &v);
    bool cpu = known && v.measured, memory = known && v.fresh_report, aged = known && v.report_age != VI_NEVER;
    char uuid[VI_UUID_TEXT];
    vi_write_map(w, 11U + 4U * cpu + 2U * memory + aged + !g->movable + (known && v.stuck));
    put_text(w, "name", g->name);
    put_text(w, "uuid", vi_uuid_format(&g->uuid, uuid));
    put_text(w, "environment", e->def.name);
    put_text(w, "state", g->incoming ? "incoming" : hv_state_name(g->state));
    put_uint(w, "vcpus", g->vcpus);
    put_number(w, "memory_mib", MIB(g->current_kb));
    put_number(w, "target_mib", MIB(g->target_kb));
    put_number(w, "max_mib", MIB(g->max_kb));
    put_uint(w, "weight", g->weight);
    put_uint(w, "cap", g->cap);
    put_bool(w, "movable", g->movable);
    if (!g->movable)
        put_text(w, "why_not", g->why_not);
    if (cpu) {
        put_number(w, "cpu_pct", v.used_pct);
        put_number(w, "demand_pct", v.demand_pct);
        put_number(w, "entitlement_pct", v.entitlement_pct);
        put_number(w, "cpu_utilisation", v.cpu_utilisation);
    }
    if (memory) {
        put_number(w, "used_mib", MIB(v.used_kb));
        put_number(w, "memory_utilisation", v.memory_utilisation);
    }
    if (known && v.stuck)
        put_bool(w, "balloon_stuck", true);
    if (aged)
        put_number(w, "report_age_s", (double)v.report_age / 1e6);
}

/* ---- an operator's move ---- */

void daemon_do_migrate(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char name[128], host[128], rule[POLICY_RULE_TEXT], why[HANDOVER_WHY] = "";
    const struct hv_guest *g;
    struct vi_id peer;
    uint64_t force = 0;
    bool ruled;
    int err;
    if (!rpc_param_text(call, *params, "guest", true, name, sizeof name) ||
        !rpc_param_text(call, *params, "host", false, host, sizeof host) ||
        !rpc_param_uint(call, *params, "force", 1, &force))
        return;
    g = daemon_guest_find(d, name);
    if (!g || !daemon_guest_env(d, g)) {
        rpc_error(call, VI_ENOTFOUND, "no guest `%s` of an environment on this host; `violin guests` shows them", name);
        return;
    }
    if (daemon_envmove_holds(d, &g->uuid)) {
        rpc_error(call, VI_ESTATE, "%s's environment is moving to another domain; `violin env moves` shows how far it is",
                  g->name);
        return;
    }
    if (host[0] && daemon_member_by_name(d, call, host, &peer))
        return;
    if (host[0] && vi_id_equal(&peer, &d->me.id)) {
        rpc_error(call, VI_EINVAL, "%s is on %s already", name, host);
        return;
    }
    err = host[0] ? 0 : policy_operator_choice(d->policy, daemon_now(), &g->uuid, &peer, why, sizeof why);
    ruled = !err && daemon_rules_against(d, daemon_guest_env(d, g), &g->uuid, &peer, rule);
    if (ruled && !force) {
        rpc_error(call, VI_EREFUSED, "%s may not go to %s: %s; --force moves it all the same", g->name,
                  daemon_member_name(d, &peer), rule);
        return;
    }
    if (!err)
        err = ruled ? daemon_rules_order(d, &g->uuid, &peer, call)
                    : daemon_handover_start(d, &g->uuid, &peer, "ordered by an operator", call, why, sizeof why);
    if (err)
        rpc_error(call, err, "%s", why[0] ? why : vi_strerror(err));
}
