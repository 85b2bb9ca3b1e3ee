/* The daemon and whole environments that move: the core's questions (who is who, who has room), its effects
 * (messages, journal, handovers, notes), and what the rest of the daemon asks: is room kept by leases, may a foreign
 * guest come in. */
#include "peer/daemon_envmove.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/daemon_federation.h"
#include "peer/netaddr.h"

static void step(struct daemon *d, struct envmove_event *ev)
{
    (void)envmoves_step(d->envmove->core, daemon_now(), ev);
}

/* ---- who is who ---- */

static struct fed_domain *domain_of(struct daemon *d, const struct vi_id *id)
{
    for (unsigned i = 0; d->fed && i < FED_DOMAINS; i++) {
        struct fed_domain *f = &d->fed->domain[i];
        struct vi_id key;
        if (!f->used || f->trust.withdrawn)
            continue;
        fed_domain_key(&key, f->trust.with.domain);
        if (vi_id_equal(&key, id))
            return f;
    }
    return NULL;
}

static enum envmove_kin kin(void *arg, const struct vi_id *peer, struct vi_id *domain)
{
    struct daemon *d = arg;
    struct gossip_member m;
    struct cert c;
    if (gossip_member_find(d->gossip, peer, &m))
        return ENVMOVE_OWN;
    if (!fed_foreign(d, peer, &c) || !fed_find(d, c.domain))
        return ENVMOVE_STRANGER;
    fed_domain_key(domain, c.domain);
    return ENVMOVE_FOREIGN;
}

static bool representative(void *arg, const struct vi_id *domain, struct vi_id *peer)
{
    struct daemon *d = arg;
    const struct fed_domain *f = domain ? domain_of(d, domain) : NULL;
    const struct vi_id *rep = domain ? NULL : rep_current(&d->fed->rep, daemon_now());
    if (rep)
        *peer = *rep;
    else if (f && f->view.version)
        cert_peer_id(peer, f->view.rep.ed);
    return rep || (f && f->view.version);
}

static bool env(void *arg, const struct vi_id *id, struct envmove_env *out)
{
    struct daemon *d = arg;
    const struct env *e = daemon_env_by_id(d, id);
    const struct fed_domain *f;
    if (!e)
        return false;
    memset(out, 0, sizeof *out);
    fed_domain_key(&out->home, e->def.home);
    out->at_home = !strcmp(e->def.home, d->me.cert.domain);
    out->allowed = env_allows(&e->def, d->me.cert.domain);
    f = fed_find(d, e->def.home);
    if (f) {
        out->limits.guests = f->trust.limits.guests;
        out->limits.kb = (uint64_t)f->trust.limits.memory_mib * 1024;
        out->limits.pct = f->trust.limits.cpu_pct;
    }
    return true;
}

/* Hosts that may have guests of that domain come first: these are counted against limits. */
static bool takes_in(struct daemon *d, const struct vi_id *peer, const struct vi_id *home)
{
    for (unsigned i = 0; i < ENV_MAX; i++) {
        const struct env *e = &d->envs[i];
        struct vi_id key;
        if (!home || !e->used || !strcmp(e->def.home, d->me.cert.domain))
            continue;
        fed_domain_key(&key, e->def.home);
        if (!vi_id_equal(&key, home))
            continue;
        for (unsigned k = 0; k < e->n_participants; k++)
            if (vi_id_equal(&e->participants[k], peer))
                return true;
    }
    return false;
}

static unsigned by_summary(struct daemon *d, const struct vi_id *home, struct vi_id *out, unsigned most)
{
    static struct survey_host all[POLICY_PEERS];
    struct gossip_summary s;
    struct gossip_member m;
    unsigned n = 0;
    size_t pos = 0;
    while (n < POLICY_PEERS && gossip_summary_next(d->gossip, daemon_now(), &pos, &s)) {
        if (vi_id_equal(&s.id, &d->me.id) || policy_summary_decode(&all[n].load, s.bytes, s.len) ||
            !gossip_member_find(d->gossip, &s.id, &m) || m.state != GOSSIP_ALIVE)
            continue;
        all[n].id = s.id;
        all[n++].foreign = takes_in(d, &s.id, home);
    }
    return survey_hosts(all, n, out, most);
}

static unsigned hosts(void *arg, const struct vi_id *env_id, const struct vi_id *home, struct vi_id *out, unsigned most)
{
    struct daemon *d = arg;
    const struct env *e = env_id ? daemon_env_by_id(d, env_id) : NULL;
    struct gossip_member m;
    unsigned k = e ? 0 : by_summary(d, home, out, most - 1);
    for (unsigned i = 0; e && i < e->n_participants && k < most - 1; i++)
        if (gossip_member_find(d->gossip, &e->participants[i], &m) && m.state == GOSSIP_ALIVE)
            out[k++] = m.id;
    out[k++] = d->me.id;
    return k;
}

static unsigned domains(void *arg, const struct vi_id *id, uint64_t kb, double pct, struct vi_id *out, unsigned most)
{
    static struct survey_domain all[FED_DOMAINS];
    struct daemon *d = arg;
    const struct env *e = daemon_env_by_id(d, id);
    unsigned n = 0;
    for (unsigned i = 0; e && i < FED_DOMAINS; i++) {
        const struct fed_domain *f = &d->fed->domain[i];
        const struct fed_summary *s = &f->view.summary;
        if (!f->used || f->trust.withdrawn || !f->view.version || !env_allows(&e->def, f->trust.with.domain) ||
            !f->heard || daemon_now() - f->heard > FED_STALE)
            continue;
        fed_domain_key(&all[n].id, f->trust.with.domain);
        all[n].free_kb = s->memory_free_mib * 1024;
        all[n].capacity_pct = s->cpu_pct;
        all[n++].demand_pct = s->cpu_used_pct;
    }
    return survey_domains(all, n, kb, pct, out, most);
}

/* ---- this host ---- */

static bool arriving(void *arg, const struct vi_id *uuid)
{
    struct daemon *d = arg;
    return handover_brings(d->handovers, uuid);
}

static bool guest(void *arg, const struct vi_id *uuid, bool *busy)
{
    struct daemon *d = arg;
    *busy = handover_has_guest(d->handovers, uuid);
    if (!d->recovered || !d->listed) { /* nobody knows yet: neither here nor gone */
        *busy = true;
        return true;
    }
    for (unsigned i = 0; i < d->n_guests; i++)
        if (vi_id_equal(&d->guests[i].uuid, uuid))
            return !d->guests[i].incoming && daemon_owns(d, uuid);
    return *busy && !arriving(arg, uuid);
}

static void look(void *arg, const struct vi_id *env_id, const struct vi_id *home, struct envmove_seen *out)
{
    static struct survey_guest guests[POLICY_GUESTS];
    struct daemon *d = arg;
    uint64_t promised_kb;
    double promised_pct;
    unsigned n = 0;
    (void)handover_promised(d->handovers, &promised_kb, &promised_pct);
    for (unsigned i = 0; i < d->n_guests && n < POLICY_GUESTS; i++) {
        const struct hv_guest *g = &d->guests[i];
        const struct env *e = daemon_guest_env(d, g);
        if (!e || g->state == HV_SHUTDOWN || g->incoming)
            continue;
        guests[n] = (struct survey_guest){.uuid = g->uuid, .env = e->def.id, .current_kb = g->current_kb,
                                          .target_kb = g->target_kb, .movable = g->movable && !daemon_pinned(d, g->name) && !daemon_rules_pinned(d, e, &g->uuid),
                                          .running = g->state == HV_RUNNING};
        fed_domain_key(&guests[n++].home, e->def.home);
    }
    survey_look(d->policy, daemon_now(), d->envmove->leased_kb, promised_pct, guests, n, env_id, home, out);
}

static int can_take(void *arg, uint64_t kb, double pct, uint64_t leased_kb, double leased_pct, char *why, size_t cap)
{
    struct daemon *d = arg;
    struct policy_needs needs = {.kb = kb, .pct = pct};
    uint64_t promised_kb;
    double promised_pct;
    if (!d->hv_there || !d->recovered) {
        snprintf(why, cap, "no hypervisor here");
        return VI_EAGAIN;
    }
    (void)handover_promised(d->handovers, &promised_kb, &promised_pct);
    return policy_can_take(d->policy, &needs, promised_kb + leased_kb, promised_pct + leased_pct, 0, why, cap);
}

/* ---- opening ---- */

int daemon_envmove_open(struct daemon *d, char *why, size_t cap)
{
    struct envmove_config c;
    envmove_config_init(&c);
    c.self = d->me.id;
    c.cooldown = d->cfg.env_cooldown * VI_SEC;
    c.horizon = d->cfg.payoff_horizon * VI_SEC;
    c.range_high = d->cfg.range_high;
    if (d->cfg.migration_bandwidth)
        c.bandwidth_kbps = (double)d->cfg.migration_bandwidth * 1024;
    c.links = (unsigned)d->cfg.env_moves_at_once;
    c.per_host = c.links < 2 ? c.links : 2;
    c.short_stale = 4 * d->cfg.evaluation_period * VI_SEC > c.short_stale ? 4 * d->cfg.evaluation_period * VI_SEC
                                                                           : c.short_stale;
    c.fault = daemon_fault;
    c.hooks = (struct envmove_hooks){.arg = d, .kin = kin, .representative = representative, .env = env, .hosts = hosts,
                                     .domains = domains, .look = look, .guest = guest, .arriving = arriving,
                                     .can_take = can_take, .rules = daemon_rules_all};
    d->envmove = calloc(1, sizeof *d->envmove);
    if (d->envmove)
        d->envmove->core = envmoves_new(&c, &d->rng, daemon_now());
    if (!d->envmove || !d->envmove->core) {
        snprintf(why, cap, "out of memory");
        return VI_ENOMEM;
    }
    return 0;
}

void daemon_envmove_free(struct daemon *d)
{
    if (d->envmove)
        envmoves_free(d->envmove->core);
    free(d->envmove);
    d->envmove = NULL;
}

bool daemon_envmove_record(struct daemon *d, const struct vi_id *id, const uint8_t *record, size_t len)
{
    struct envmove_event ev = {.kind = ENVMOVE_EV_RECORD, .id = *id, .data = record + 1, .len = len - 1};
    int err;
    if (len < 2 || record[0] != ENVMOVE_MARK)
        return false;
    err = envmoves_step(d->envmove->core, daemon_now(), &ev);
    if (err)
        daemon_warn(d, WARN_STORE, "a record of an environment's move can't be read: %s", vi_strerror(err));
    return true;
}

void daemon_envmove_boot(struct daemon *d)
{
    envmoves_set_boot(d->envmove->core, &d->host.boot_id);
}

/* ---- effects ---- */

static void send_to(struct daemon *d, const struct envmove_effect *fx)
{
    int err = fx->len ? daemon_send(d, &fx->peer, MESH_CHANNEL_ENVMOVE, fx->data, fx->len) : VI_EINVAL;
    for (unsigned i = 0; err == VI_ENOTFOUND && i < FED_DOMAINS; i++) { /* another domain's representative */
        const struct fed_domain *f = &d->fed->domain[i];
        struct mesh_addr a;
        struct vi_id id;
        char why[300];
        if (!f->used || !f->view.version)
            continue;
        cert_peer_id(&id, f->view.rep.ed);
        if (vi_id_equal(&id, &fx->peer) && !netaddr_resolve(&a, f->view.rep.addr, why, sizeof why) &&
            !mesh_io_connect(d->mesh, &id, f->view.rep.x, &a))
            err = mesh_io_send(d->mesh, &fx->peer, MESH_CHANNEL_ENVMOVE, fx->data, fx->len);
    }
}

static void persist(struct daemon *d, const struct envmove_effect *fx)
{
    uint8_t b[1 + ENVMOVE_RECORD_MAX];
    struct envmove_event ev = {.kind = ENVMOVE_EV_PERSISTED, .id = fx->id, .err = VI_EIO};
    b[0] = ENVMOVE_MARK;
    memcpy(b + 1, fx->data, fx->len);
    if (!fx->len || daemon_journal(d, &fx->id, true, b, fx->len + 1))
        step(d, &ev);
}

void daemon_envmove_persisted(struct daemon *d, const struct vi_id *id, int err, const char *why)
{
    struct envmove_event ev = {.kind = ENVMOVE_EV_PERSISTED, .id = *id, .err = err, .why = why};
    step(d, &ev);
}

static void hand_over(struct daemon *d, const struct envmove_effect *fx)
{
    char why[HANDOVER_WHY] = "";
    int err = daemon_handover_start(d, &fx->guest, &fx->peer,
                                    fx->shift ? "makes room for an environment of another domain"
                                              : "its environment moves to another domain",
                                    NULL, why, sizeof why);
    if (err)
        daemon_envmove_moved(d, &fx->guest, &fx->peer, err, why[0] ? why : vi_strerror(err));
}

void daemon_envmove_moved(struct daemon *d, const struct vi_id *guest_id, const struct vi_id *peer, int err,
                          const char *why)
{
    struct envmove_event ev = {.kind = ENVMOVE_EV_MOVED, .guest = *guest_id, .peer = *peer, .err = err, .why = why};
    step(d, &ev);
}

void daemon_envmove_came(struct daemon *d, const struct vi_id *guest_id)
{
    struct envmove_event ev = {.kind = ENVMOVE_EV_CAME, .guest = *guest_id};
    step(d, &ev);
}

static void expect(struct daemon *d, const struct envmove_effect *fx)
{
    struct env *e = daemon_env_by_id(d, &fx->env);
    if (!e || (!fx->on && !e->expecting))
        return;
    e->expecting += fx->on ? 1U : -1U;
    daemon_envs_publish(d);
}

/* Where to; and how it ended, with the note that says so. */
static void about_lead(struct daemon *d, struct event *ev, const struct envmove_effect *fx)
{
    static struct envmove_view v;
    unsigned pos = 0;
    while (envmove_next(d->envmove->core, &pos, &v)) {
        const struct fed_domain *f;
        const char *phase = envmove_phase_text(v.phase);
        if (v.part != ENVMOVE_LEAD || !vi_id_equal(&v.id, &fx->id))
            continue;
        f = domain_of(d, &v.domain);
        event_word(ev, "domain", f ? f->trust.with.domain : NULL);
        if (v.over && !strncmp(fx->why, phase, strlen(phase)))
            event_word(ev, "end", phase);
        return;
    }
}

static void note(struct daemon *d, const struct envmove_effect *fx)
{
    struct envmove_note *n = &d->envmove->note[d->envmove->next_note++ % ENVMOVE_NOTES];
    const struct env *e = daemon_env_by_id(d, &fx->env);
    struct event *ev;
    const struct fed_domain *f;
    char command[DAEMON_COMMAND];
    n->at = daemon_now();
    n->env = fx->env;
    n->move = fx->id;
    snprintf(n->text, sizeof n->text, "%s", fx->why);
    ev = daemon_event(d, "envmove", e ? e->def.name : NULL, "%s to another domain: %s", e ? e->def.name : "an environment",
                      fx->why);
    about_lead(d, ev, fx);
    f = vi_id_is_zero(&fx->peer) ? NULL : domain_of(d, &fx->peer);
    snprintf(n->would, sizeof n->would, "%s", f ? f->trust.with.domain : "");
    if (f && e) {
        snprintf(command, sizeof command, "violin env move %s %s", e->def.name, f->trust.with.domain);
        event_word(ev, "command", command);
    }
    daemon_history(d, ev);
}

static void perform(struct daemon *d, const struct envmove_effect *fx)
{
    switch (fx->kind) {
    case ENVMOVE_FX_SEND: send_to(d, fx); break;
    case ENVMOVE_FX_PERSIST: persist(d, fx); break;
    case ENVMOVE_FX_FORGET: journal_forget(d->journal, &fx->id); break;
    case ENVMOVE_FX_MOVE: hand_over(d, fx); break;
    case ENVMOVE_FX_EXPECT: expect(d, fx); break;
    case ENVMOVE_FX_NOTE: note(d, fx); break;
    }
}

/* An environment that a move left split stays an operator's business for a while. */
static void warn(struct daemon *d, vi_time now)
{
    static struct envmove_view v;
    unsigned pos = 0;
    d->envmove->warn_at = now + VI_SEC;
    while (envmove_next(d->envmove->core, &pos, &v))
        if (v.phase == EL_SPLIT) {
            const struct env *e = daemon_env_by_id(d, &v.env);
            daemon_warn(d, WARN_ENVMOVE, "environment %s is split: %s", e ? e->def.name : "?", v.why);
            return;
        }
    daemon_warn(d, WARN_ENVMOVE, NULL);
}

void daemon_envmove_pump(struct daemon *d, vi_time now)
{
    struct envmove_event tick = {.kind = ENVMOVE_EV_TICK};
    struct envmove_event rep = {.kind = ENVMOVE_EV_REPRESENT, .on = d->fed->gossip != NULL};
    static struct envmove_effect copy;
    const struct envmove_effect *fx;
    if (!d->recovered)
        return; /* before the journal is read we know nothing */
    envmoves_set_automatic(d->envmove->core, !strcmp(d->cfg.mode, "auto"));
    if (now >= d->envmove->warn_at)
        warn(d, now);
    if (rep.on != d->envmove->represents) {
        d->envmove->represents = rep.on;
        step(d, &rep);
    }
    if (envmoves_deadline(d->envmove->core) <= now)
        step(d, &tick);
    while ((fx = envmoves_effect(d->envmove->core))) {
        copy = *fx;
        perform(d, &copy);
    }
}

vi_time daemon_envmove_deadline(const struct daemon *d)
{
    return d->recovered ? envmoves_deadline(d->envmove->core) : VI_NEVER;
}

void daemon_envmove_message(struct daemon *d, const struct vi_id *from, const uint8_t *data, size_t len)
{
    struct envmove_event ev = {.kind = ENVMOVE_EV_MESSAGE, .peer = *from, .data = data, .len = len};
    if (d->recovered)
        step(d, &ev);
}

/* ---- what the rest of the daemon asks ---- */

bool daemon_pinned(const struct daemon *d, const char *name)
{
    for (unsigned i = 0; i < d->cfg.n_pinned; i++)
        if (!strcmp(d->cfg.pinned[i], name))
            return true;
    return false;
}

unsigned daemon_envmove_leased(const struct daemon *d, uint64_t *kb, double *pct)
{
    return envmove_leased(d->envmove->core, kb, pct);
}

void daemon_envmove_snapshot(struct daemon *d, uint64_t *reserved_kb, double *reserved_pct)
{
    uint64_t kb;
    double pct;
    (void)envmove_leased(d->envmove->core, &kb, &pct);
    d->envmove->leased_kb = kb;
    *reserved_kb += kb;
    *reserved_pct += pct;
}

bool daemon_envmove_holds(const struct daemon *d, const struct vi_id *guest_id)
{
    return envmove_holds(d->envmove->core, guest_id);
}

int daemon_envmove_admit(struct daemon *d, const struct vi_id *guest_id, const struct vi_id *from,
                         struct policy_needs *needs, uint64_t *kb, double *pct, bool *leased)
{
    struct cert c;
    return survey_admit(d->envmove->core, daemon_now(), guest_id, from, fed_foreign(d, from, &c), needs, kb, pct, leased);
}

void daemon_envmove_evaluated(struct daemon *d)
{
    for (unsigned i = 0; i < d->n_guests; i++) {
        const struct hv_guest *g = &d->guests[i];
        const struct env *e = daemon_guest_env(d, g);
        struct envmove_event ev = {.kind = ENVMOVE_EV_SHORT, .guest = g->uuid};
        if (!e || g->incoming || handover_has_guest(d->handovers, &g->uuid) || !policy_in_need(d->policy, daemon_now(), &g->uuid))
            continue;
        ev.env = e->def.id;
        step(d, &ev);
        return; /* one is enough: the host is short */
    }
}
