/* A simulated peer's environment moves: what the core asks, and its effects. As peer/daemon_envmove.c does. Every
 * environment may be in every domain, and is known everywhere. */
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "tests/sim/violin_internal.h"

#define JOURNAL_MIN (2 * VI_MSEC) /* a write that is on the disk */
#define JOURNAL_MAX (12 * VI_MSEC)

static void step(struct vn_host *h, struct envmove_event *ev)
{
    (void)envmoves_step(h->moves, vn_now(h), ev);
}

/* ---- who is who ---- */

static enum envmove_kin kin(void *arg, const struct vi_id *peer, struct vi_id *domain)
{
    struct vn_host *h = arg;
    struct gossip_member m;
    unsigned n = vn_host_of(h->v, peer);

    if (gossip_member_find(h->gossip, peer, &m))
        return ENVMOVE_OWN;
    if (n == PW_NOWHERE || h->v->pw->host[n].domain == h->domain)
        return ENVMOVE_STRANGER;
    *domain = h->v->domain_id[h->v->pw->host[n].domain];
    return ENVMOVE_FOREIGN;
}

static bool representative(void *arg, const struct vi_id *domain, struct vi_id *peer)
{
    struct vn_host *h = arg;
    const struct vi_id *rep = domain ? NULL : rep_current(&h->rep, vn_now(h));
    unsigned d = domain ? vn_domain_of(h->v, domain) : PW_NOWHERE;

    if (rep)
        *peer = *rep;
    else if (d != PW_NOWHERE && h->view[d].version)
        *peer = h->view[d].rep;
    else
        return false;
    return true;
}

static bool env(void *arg, const struct vi_id *id, struct envmove_env *out)
{
    struct vn_host *h = arg;
    unsigned e = vn_env_of(h->v, id);

    if (e == PW_NOWHERE)
        return false;
    memset(out, 0, sizeof *out);
    out->home = h->v->domain_id[h->v->pw->s->env[e].domain];
    out->at_home = h->v->pw->s->env[e].domain == h->domain;
    out->allowed = true;
    out->limits = (struct envmove_limits){.guests = 1000, .kb = UINT64_C(1) << 40, .pct = 1e6};
    return true;
}

static bool takes_in(struct vn_host *h, const struct env_takes_part *t, const struct vi_id *home)
{
    for (unsigned i = 0; i < t->n; i++) {
        unsigned e = vn_env_of_tag(h->v, t->envs[i]);

        if (home && e != PW_NOWHERE && h->v->pw->s->env[e].domain != h->domain &&
            vi_id_equal(&h->v->domain_id[h->v->pw->s->env[e].domain], home))
            return true;
    }
    return false;
}

static unsigned by_summary(struct vn_host *h, const struct vi_id *home, struct vi_id *out, unsigned most)
{
    static struct survey_host all[POLICY_PEERS];
    static struct env_takes_part t;
    struct gossip_summary s;
    struct gossip_record r;
    unsigned n = 0;
    size_t pos = 0;

    while (n < POLICY_PEERS && gossip_summary_next(h->gossip, vn_now(h), &pos, &s)) {
        if (vi_id_equal(&s.id, &h->v->disk[h->n].id) || policy_summary_decode(&all[n].load, s.bytes, s.len) ||
            !vn_alive(h, &s.id))
            continue;
        all[n].id = s.id;
        all[n++].foreign = gossip_record_get(h->gossip, ENV_RECORD_TAKES_PART, &s.id, &r) &&
                           !env_takes_part_decode(&t, r.bytes, r.len) && takes_in(h, &t, home);
    }
    return survey_hosts(all, n, out, most);
}

static bool takes_part(const struct env_takes_part *t, const struct vi_id *id)
{
    for (unsigned i = 0; i < t->n; i++)
        if (!memcmp(t->envs[i], id->b, ENV_TAG_SIZE))
            return true;
    return false;
}

static unsigned hosts(void *arg, const struct vi_id *id, const struct vi_id *home, struct vi_id *out, unsigned most)
{
    static struct env_takes_part t;
    struct vn_host *h = arg;
    struct gossip_record r;
    size_t pos = 0;
    unsigned n = id ? 0 : by_summary(h, home, out, most - 1);

    while (id && n < most - 1 && gossip_record_next(h->gossip, &pos, &r))
        if (r.kind == ENV_RECORD_TAKES_PART && !vi_id_equal(&r.key, &h->v->disk[h->n].id) &&
            !env_takes_part_decode(&t, r.bytes, r.len) && takes_part(&t, id) && vn_alive(h, &r.key))
            out[n++] = r.key;
    out[n++] = h->v->disk[h->n].id;
    return n;
}

static unsigned domains(void *arg, const struct vi_id *id, uint64_t kb, double pct, struct vi_id *out, unsigned most)
{
    static struct survey_domain all[FED_DOMAINS];
    struct vn_host *h = arg;
    unsigned n = 0;

    (void)id;
    for (unsigned d = 0; d < h->v->pw->s->n_domains && n < FED_DOMAINS; d++) {
        const struct vn_view *v = &h->view[d];

        if (d == h->domain || !v->version || !v->heard || vn_now(h) - v->heard > FED_STALE)
            continue;
        all[n++] = (struct survey_domain){h->v->domain_id[d], v->free_kb, v->capacity_pct, v->demand_pct};
    }
    return survey_domains(all, n, kb, pct, out, most);
}

/* ---- this host ---- */

static bool arriving(void *arg, const struct vi_id *uuid)
{
    struct vn_host *h = arg;

    return handover_brings(h->handovers, uuid);
}

static bool guest(void *arg, const struct vi_id *uuid, bool *busy)
{
    struct vn_host *h = arg;
    const struct vn_copy *c = vn_copy_of(h, vn_guest_of(h->v, uuid));

    *busy = handover_has_guest(h->handovers, uuid);
    return c ? !c->incoming && !arriving(arg, uuid) : *busy && !arriving(arg, uuid);
}

static void look(void *arg, const struct vi_id *id, const struct vi_id *home, struct envmove_seen *out)
{
    static struct survey_guest guests[POLICY_GUESTS];
    struct vn_host *h = arg;
    const struct pw_world *w = h->v->pw;
    uint64_t promised_kb;
    double promised_pct;
    unsigned n = 0;

    (void)handover_promised(h->handovers, &promised_kb, &promised_pct);
    for (unsigned k = 0; k < h->n_copies && n < POLICY_GUESTS; k++) {
        const struct vn_copy *c = &h->copy[k];
        const struct pw_guest *g = &w->guest[c->guest];

        if (c->incoming || c->is == VN_SUSPENDED)
            continue;
        guests[n] = (struct survey_guest){.env = h->v->env_id[g->env], .home = h->v->domain_id[w->s->env[g->env].domain],
                                          .current_kb = g->kb, .target_kb = g->kb, .movable = true,
                                          .running = c->is == VN_RUNS};
        vn_guest_id(c->guest, &guests[n++].uuid);
    }
    survey_look(h->policy, vn_now(h), h->leased_kb, promised_pct, guests, n, id, home, out);
}

static int can_take(void *arg, uint64_t kb, double pct, uint64_t leased_kb, double leased_pct, char *why, size_t cap)
{
    struct vn_host *h = arg;
    struct policy_needs needs = {.kb = kb, .pct = pct};
    uint64_t promised_kb;
    double promised_pct;

    (void)handover_promised(h->handovers, &promised_kb, &promised_pct);
    return policy_can_take(h->policy, &needs, promised_kb + leased_kb, promised_pct + leased_pct, 0, why, cap);
}

bool vn_moves_open(struct vn_host *h)
{
    const struct vn_disk *d = &h->v->disk[h->n];
    struct envmove_config c;

    envmove_config_init(&c);
    c.self = d->id;
    c.boot = d->boot;
    c.range_high = h->v->pw->s->range_high;
    c.bandwidth_kbps = h->v->pw->s->link_kbps;
    c.hooks = (struct envmove_hooks){.arg = h, .kin = kin, .representative = representative, .env = env, .hosts = hosts,
                                     .domains = domains, .look = look, .guest = guest, .arriving = arriving,
                                     .can_take = can_take, .rules = vn_rules_all};
    h->moves = envmoves_new(&c, &h->v->disk[h->n].rng, vn_now(h));
    return h->moves;
}

/* ---- effects ---- */

static void perform(struct vn_host *h, const struct envmove_effect *fx)
{
    struct envmove_event moved = {.kind = ENVMOVE_EV_MOVED, .guest = fx->guest, .peer = fx->peer};
    struct vn_later l = {.kind = VN_MOVE_PERSISTED, .id = fx->id};

    switch (fx->kind) {
    case ENVMOVE_FX_SEND:
        vn_send(h, VIOLIN_ENVMOVE, &fx->peer, fx->data, fx->len);
        break;
    case ENVMOVE_FX_PERSIST:
        vn_after(h, JOURNAL_MIN + (vi_time)vi_rng_below(&h->v->disk[h->n].rng, JOURNAL_MAX - JOURNAL_MIN), &l);
        break;
    case ENVMOVE_FX_MOVE:
        moved.err = vn_handover_start(h, &fx->guest, &fx->peer);
        if (moved.err)
            step(h, &moved);
        break;
    case ENVMOVE_FX_NOTE:
        violin_said(h, fx);
        break;
    case ENVMOVE_FX_FORGET: case ENVMOVE_FX_EXPECT:
        break; /* nothing is read back; there are no frames here */
    }
}

void vn_moves_tick(struct vn_host *h)
{
    struct envmove_event tick = {.kind = ENVMOVE_EV_TICK};

    if (envmoves_deadline(h->moves) <= vn_now(h))
        step(h, &tick);
}

bool vn_moves_pump(struct vn_host *h)
{
    static struct envmove_effect copy;
    struct envmove_event rep = {.kind = ENVMOVE_EV_REPRESENT, .on = h->fed != NULL};
    const struct envmove_effect *fx;
    bool any = false;

    if (rep.on != h->represents) {
        h->represents = rep.on;
        step(h, &rep);
    }
    while ((fx = envmoves_effect(h->moves))) {
        copy = *fx;
        perform(h, &copy);
        any = true;
    }
    return any;
}

void vn_moves_evaluated(struct vn_host *h)
{
    for (unsigned k = 0; k < h->n_copies; k++) {
        struct envmove_event ev = {.kind = ENVMOVE_EV_SHORT};

        vn_guest_id(h->copy[k].guest, &ev.guest);
        if (h->copy[k].incoming || handover_has_guest(h->handovers, &ev.guest) ||
            !policy_in_need(h->policy, vn_now(h), &ev.guest))
            continue;
        ev.env = h->v->env_id[h->v->pw->guest[h->copy[k].guest].env];
        step(h, &ev);
        return; /* one is enough: the host is short */
    }
}

int vn_moves_order(struct vn_host *h, unsigned e, unsigned domain)
{
    struct envmove_event ev = {.kind = ENVMOVE_EV_START, .env = h->v->env_id[e], .domain = h->v->domain_id[domain]};

    vi_rng_id(&h->v->disk[h->n].rng, &ev.id);
    return envmoves_step(h->moves, vn_now(h), &ev);
}
