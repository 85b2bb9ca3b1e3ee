/* The environment moves' core: opening, events, effects, queries. See envmove.h; the parts are in envmove_lead.c and
 * envmove_going.c (lead), envmove_room.c, envmove_grant.c, envmove_lease.c, envmove_look.c (asking hosts how they
 * are, and deciding by that). */
#include "policy/envmove_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

const char *envmove_phase_text(enum envmove_phase p)
{
    switch (p) {
    case EL_LOOKING: case ER_LOOKING: return "looking";
    case EL_GRANTING: return "getting grants";
    case EL_ASKING: return "asking for room";
    case EL_GOING: return "going";
    case EL_BACKING_OFF: return "backing off";
    case EL_TAKING_OVER: return "taking over";
    case EL_GIVING_BACK: return "giving back";
    case EL_MOVED: return "moved";
    case EL_SPLIT: return "split";
    case EL_REFUSED: case ER_REFUSED: return "refused";
    case ER_SHIFTING: return "making room";
    case ER_LEASING: return "taking leases";
    case ER_CHECKING: return "checking limits";
    case ER_ROOM: return "room";
    case EG_WRITING: case EE_WRITING: return "writing";
    case EG_GRANTED: return "granted";
    case EG_GO: return "going";
    case EE_LEASED: return "leased";
    }
    return "?";
}

const char *envmove_guest_text(enum envmove_guest_state g)
{
    switch (g) {
    case ENVMOVE_WAITS: return "waits";
    case ENVMOVE_MOVES: return "moves";
    case ENVMOVE_MOVED: return "moved";
    case ENVMOVE_STUCK: return "stuck";
    case ENVMOVE_LEFT: return "left";
    }
    return "?";
}

void envmove_config_init(struct envmove_config *c)
{
    memset(c, 0, sizeof *c);
    c->automatic = true;
    c->per_host = 2;
    c->links = 4;
    c->arrivals = ENVMOVE_GUESTS;
    c->shifts_most = 8;
    c->shifts_hour = 16;
    c->cooldown = 10 * VI_MIN;
    c->horizon = 10 * VI_MIN;
    c->range_high = 0.75;
    c->bandwidth_kbps = 100000;
    c->pause_s = 0.3;
    c->needed = 3;
    c->short_stale = 30 * VI_SEC;
}

/* ---- shared ---- */

struct envmove_effect *em_push(struct envmoves *s, enum envmove_effect_kind kind)
{
    struct envmove_effect *fx;
    if (s->count >= EM_EFFECTS)
        return NULL;
    fx = &s->effects[(s->first + s->count++) % EM_EFFECTS];
    memset(fx, 0, sizeof *fx);
    fx->kind = kind;
    return fx;
}

void em_fault(struct envmoves *s, const char *name)
{
    if (s->cfg.fault)
        s->cfg.fault(s->cfg.hooks.arg, name);
}

void em_note(struct envmoves *s, const struct vi_id *move, const struct vi_id *env, const char *fmt, ...)
{
    struct envmove_effect *fx = em_push(s, ENVMOVE_FX_NOTE);
    va_list ap;
    if (!fx)
        return;
    fx->id = *move;
    fx->env = *env;
    va_start(ap, fmt);
    vsnprintf(fx->why, sizeof fx->why, fmt, ap);
    va_end(ap);
}

void em_would(struct envmoves *s, const struct vi_id *domain)
{
    struct envmove_effect *last = s->count ? &s->effects[(s->first + s->count - 1) % EM_EFFECTS] : NULL;
    if (last && last->kind == ENVMOVE_FX_NOTE)
        last->peer = *domain;
}

bool em_own(const struct envmoves *s, const struct vi_id *peer)
{
    struct vi_id domain;
    return vi_id_equal(peer, &s->cfg.self) || s->cfg.hooks.kin(s->cfg.hooks.arg, peer, &domain) == ENVMOVE_OWN;
}

uint64_t em_asking(struct em_asked *a, vi_time now)
{
    a->at[++a->seq % 4] = now;
    return a->seq;
}

bool em_answered(const struct em_asked *a, uint64_t seq, vi_time *asked)
{
    if (seq == 0 || seq > a->seq || a->seq - seq >= 4)
        return false;
    *asked = a->at[seq % 4];
    return true;
}

static const char *fault_name(enum em_kind k)
{
    switch (k) {
    case EM_GRANT: return "envmove.grant.sent";
    case EM_GRANTED: return "envmove.granted.sent";
    case EM_ASK: return "envmove.ask.sent";
    case EM_SHIFT: return "envmove.shift.sent";
    case EM_LEASE: return "envmove.lease.sent";
    case EM_LEASED: return "envmove.leased.sent";
    case EM_ROOM: return "envmove.room.sent";
    case EM_GO: return "envmove.go.sent";
    case EM_HELD: return "envmove.held.sent";
    default: return NULL;
    }
}

void em_send(struct envmoves *s, vi_time now, const struct vi_id *to, const struct em_msg *m)
{
    struct envmove_effect *fx;
    const char *name = fault_name(m->kind);
    int n;
    (void)now;
    if (vi_id_equal(to, &s->cfg.self)) {
        unsigned i = (s->own_first + s->own_count) % EM_OWN;
        if (s->own_count >= EM_OWN)
            return; /* lost, as on the network */
        n = em_encode(m, s->own[i].data, ENVMOVE_MESSAGE_MAX);
        s->own[i].len = n > 0 ? (size_t)n : 0;
        s->own_count++;
    } else {
        fx = em_push(s, ENVMOVE_FX_SEND);
        if (!fx)
            return;
        fx->peer = *to;
        fx->id = m->move;
        n = em_encode(m, fx->data, ENVMOVE_MESSAGE_MAX);
        fx->len = n > 0 ? (size_t)n : 0;
    }
    if (name)
        em_fault(s, name);
}

/* By kind to the part that it is for; who may say what to whom is judged here. */
static void take(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct vi_id domain;
    enum envmove_kin kin = vi_id_equal(from, &s->cfg.self) ? ENVMOVE_OWN
                                                           : s->cfg.hooks.kin(s->cfg.hooks.arg, from, &domain);
    if (kin == ENVMOVE_STRANGER)
        return;
    switch (m->kind) {
    case EM_ASK: case EM_BACK:
        if (kin == ENVMOVE_FOREIGN)
            em_room_message(s, now, from, m);
        return;
    case EM_WAIT: case EM_ROOM: case EM_REFUSE:
        if (kin == ENVMOVE_FOREIGN)
            em_lead_message(s, now, from, m);
        return;
    case EM_RENEW_LEASE:
        em_lease_message(s, now, from, m);
        return;
    case EM_LEASED: case EM_NOLEASE: /* to who planned it, or to the guest's host */
        if (kin == ENVMOVE_OWN)
            em_room_message(s, now, from, m);
        em_grant_message(s, now, from, m);
        return;
    default:
        break;
    }
    if (kin != ENVMOVE_OWN)
        return;
    switch (m->kind) {
    case EM_LOOK: case EM_SEEN: em_look_message(s, now, from, m); break;
    case EM_SHORT: em_decide_short(s, now, from); break;
    case EM_GRANTED: case EM_BUSY: case EM_YIELD: case EM_HELD: case EM_NONE: em_lead_message(s, now, from, m); break;
    case EM_GRANT: case EM_TAKE: case EM_RELEASE: case EM_GO: case EM_SHIFT: em_grant_message(s, now, from, m); break;
    case EM_LEASE: case EM_DROP: em_lease_message(s, now, from, m); break;
    case EM_SHIFTED: em_room_message(s, now, from, m); break;
    default: break;
    }
}

/* ---- opening ---- */

static bool good(const struct envmove_config *c)
{
    return c->range_high > 0 && c->range_high < 1 && c->per_host > 0 && c->links > 0 && c->arrivals > 0 && c->bandwidth_kbps > 0 && c->needed > 0 &&
           c->horizon > 0 && c->cooldown >= 0;
}

struct envmoves *envmoves_new(const struct envmove_config *cfg, struct vi_rng *rng, vi_time now)
{
    struct envmoves *s;
    if (!good(cfg))
        return NULL;
    s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->looks = calloc(EM_LOOKS, sizeof *s->looks);
    if (!s->looks) {
        free(s);
        return NULL;
    }
    s->cfg = *cfg;
    s->rng = rng;
    s->deciding = -1;
    s->decide_wait = VI_MIN;
    s->decide_at = now;
    s->said_short = now - VI_MIN;
    return s;
}

void envmoves_free(struct envmoves *s)
{
    if (s)
        free(s->looks);
    free(s);
}

void envmoves_set_boot(struct envmoves *s, const struct vi_id *boot)
{
    s->cfg.boot = *boot;
}

void envmoves_set_automatic(struct envmoves *s, bool automatic)
{
    s->cfg.automatic = automatic;
}

const struct envmove_effect *envmoves_effect(struct envmoves *s)
{
    const struct envmove_effect *fx;
    if (s->count == 0)
        return NULL;
    fx = &s->effects[s->first];
    s->first = (s->first + 1) % EM_EFFECTS;
    s->count--;
    return fx;
}

/* ---- events ---- */

static void tick(struct envmoves *s, vi_time now)
{
    s->ticked = now;
    em_look_tick(s, now);
    em_lease_tick(s, now);
    em_grant_tick(s, now);
    em_room_tick(s, now);
    em_lead_tick(s, now);
    em_decide_tick(s, now);
}

static void take_short(struct envmoves *s, vi_time now, const struct envmove_event *ev)
{
    struct em_msg m = {.kind = EM_SHORT, .env = ev->env, .kb = ev->kb, .pct = ev->pct};
    struct vi_id rep;
    if (now - s->said_short < EM_AGAIN || !s->cfg.hooks.representative(s->cfg.hooks.arg, NULL, &rep))
        return; /* said again with the next evaluation */
    s->said_short = now;
    em_send(s, now, &rep, &m);
}

static int take_record(struct envmoves *s, vi_time now, const struct envmove_event *ev)
{
    static struct em_grant g;
    struct em_lease e;
    struct vi_id boot;
    bool is_lease;
    int err = em_record_decode(&is_lease, &g, &e, &boot, ev->data, ev->len);
    struct envmove_effect *fx;
    if (err)
        return err;
    if (vi_id_equal(&boot, &s->cfg.boot) || (!is_lease && g.phase == EG_GO)) {
        if (is_lease)
            return em_lease_recover(s, now, &e);
        em_grant_recover(s, now, &g);
        return 0;
    }
    fx = em_push(s, ENVMOVE_FX_FORGET); /* of before a reboot: nobody counts on it any more */
    if (fx)
        fx->id = ev->id;
    return 0;
}

static int start(struct envmoves *s, vi_time now, const struct envmove_event *ev)
{
    struct envmove_env env;
    struct vi_id rep;
    if (!s->represents)
        return VI_ESTATE;
    if (!s->cfg.hooks.env(s->cfg.hooks.arg, &ev->env, &env) ||
        !s->cfg.hooks.representative(s->cfg.hooks.arg, &ev->domain, &rep))
        return VI_ENOTFOUND;
    return em_lead_start(s, now, &ev->id, &ev->env, &ev->domain, 1, true);
}

static void message(struct envmoves *s, vi_time now, const struct vi_id *from, const uint8_t *data, size_t len)
{
    struct em_msg m;
    if (em_decode(&m, data, len) == 0)
        take(s, now, from, &m);
}

static int step(struct envmoves *s, vi_time now, const struct envmove_event *ev)
{
    switch (ev->kind) {
    case ENVMOVE_EV_TICK:
        tick(s, now);
        return 0;
    case ENVMOVE_EV_REPRESENT:
        s->represents = ev->on;
        return 0;
    case ENVMOVE_EV_START:
        return start(s, now, ev);
    case ENVMOVE_EV_CANCEL:
        return em_lead_cancel(s, now, &ev->id);
    case ENVMOVE_EV_SHORT:
        take_short(s, now, ev);
        return 0;
    case ENVMOVE_EV_MESSAGE:
        message(s, now, &ev->peer, ev->data, ev->len);
        return 0;
    case ENVMOVE_EV_PERSISTED:
        if (!em_grant_persisted(s, now, &ev->id, ev->err))
            (void)em_lease_persisted(s, now, &ev->id, ev->err);
        return 0;
    case ENVMOVE_EV_MOVED:
        em_grant_moved(s, now, ev);
        return 0;
    case ENVMOVE_EV_CAME:
        em_lease_came(s, now, &ev->guest);
        return 0;
    case ENVMOVE_EV_RECORD:
        return take_record(s, now, ev);
    case ENVMOVE_EV_RECORDS_END:
        return 0;
    }
    return VI_EINVAL;
}

/* The step, and what this host says to itself in it. */
static int all_of(struct envmoves *s, vi_time now, const struct envmove_event *ev)
{
    int err = step(s, now, ev);
    for (unsigned most = 4 * EM_OWN; s->own_count > 0 && most > 0; most--) {
        uint8_t data[ENVMOVE_MESSAGE_MAX];
        size_t len = s->own[s->own_first].len;
        memcpy(data, s->own[s->own_first].data, len);
        s->own_first = (s->own_first + 1) % EM_OWN;
        s->own_count--;
        message(s, now, &s->cfg.self, data, len);
    }
    return err;
}

int envmoves_step(struct envmoves *s, vi_time now, const struct envmove_event *ev)
{
    int err = all_of(s, now, ev);
    struct envmove_event tick = {.kind = ENVMOVE_EV_TICK};
    /* what an answer allows is done at once, not with the next look at the times */
    if (ev->kind == ENVMOVE_EV_MESSAGE || ev->kind == ENVMOVE_EV_PERSISTED || ev->kind == ENVMOVE_EV_MOVED)
        (void)all_of(s, now, &tick);
    return err;
}

/* Machines look at their times once a second while any is at work; nothing of theirs is finer than that. */
vi_time envmoves_deadline(const struct envmoves *s)
{
    bool busy = s->grant.used || s->last.used || s->deciding >= 0;
    vi_time t = VI_NEVER, shown, soon = s->ticked + VI_SEC / 2;
    for (unsigned i = 0; i < ENVMOVE_LEADS; i++)
        if (s->lead[i].used) {
            busy |= !s->lead[i].over;
            shown = s->lead[i].entered + (s->lead[i].phase == EL_SPLIT ? EM_SPLIT_SHOWN : EM_SHOWN_FOR);
            t = shown < t ? shown : t;
        }
    for (unsigned i = 0; i < ENVMOVE_ROOMS; i++)
        busy |= s->room[i].used;
    for (unsigned i = 0; i < ENVMOVE_LEASES; i++)
        busy |= s->lease[i].used;
    for (unsigned i = 0; i < EM_SHIFTING; i++)
        busy |= s->shifting[i].used;
    for (unsigned i = 0; s->represents && i < ENVMOVE_SHORTS; i++)
        busy |= s->shorts[i].used;
    return busy || t < soon ? soon : t;
}

/* ---- queries ---- */

bool envmove_holds(const struct envmoves *s, const struct vi_id *guest)
{
    const struct em_grant *g = &s->grant;
    for (unsigned i = 0; g->used && i < g->plan.n; i++)
        if (vi_id_equal(&g->plan.g[i].uuid, guest) && vi_id_equal(&g->plan.g[i].from, &s->cfg.self))
            return g->plan.g[i].state != ENVMOVE_LEFT && g->plan.g[i].state != ENVMOVE_MOVED;
    return false;
}

static void view_plan(struct envmove_view *v, const struct em_plan *p)
{
    v->env = p->env;
    v->n = p->n;
    for (unsigned i = 0; i < p->n; i++) {
        v->guest[i].uuid = p->g[i].uuid;
        v->guest[i].from = p->g[i].from;
        v->guest[i].to = p->g[i].to;
        v->guest[i].kb = p->g[i].kb;
        v->guest[i].state = p->g[i].state;
    }
}

static void view_lead(struct envmove_view *v, const struct em_lead *l, const struct envmoves *s)
{
    v->part = ENVMOVE_LEAD;
    v->phase = l->phase;
    v->id = l->id;
    v->domain = l->domain < l->n_domains ? l->domains[l->domain] : l->plan.domain;
    v->lead = s->cfg.self;
    v->since = l->since;
    v->over = l->over;
    memcpy(v->why, l->why, sizeof v->why);
    view_plan(v, &l->plan);
}

static void view_room(struct envmove_view *v, const struct em_room *r)
{
    v->part = ENVMOVE_ROOM;
    v->phase = r->phase;
    v->id = r->move;
    v->domain = r->domain;
    v->lead = r->lead;
    v->since = r->since;
    v->over = r->phase == ER_REFUSED;
    memcpy(v->why, r->why, sizeof v->why);
    view_plan(v, &r->plan);
    for (unsigned i = 0; i < r->plan.n; i++)
        v->guest[i].to = r->place[i].host;
}

/* Its own guests only: of the others it knows little. */
static void view_grant(struct envmove_view *v, const struct em_grant *g, const struct vi_id *self)
{
    unsigned n = 0;
    v->part = ENVMOVE_GRANT;
    v->phase = g->phase;
    v->id = g->move;
    v->domain = g->plan.domain;
    v->lead = g->plan.lead;
    v->since = g->since;
    v->until = g->until;
    v->over = g->over;
    memcpy(v->why, g->why, sizeof v->why);
    view_plan(v, &g->plan);
    for (unsigned i = 0; i < v->n; i++)
        if (vi_id_equal(&v->guest[i].from, self))
            v->guest[n++] = v->guest[i];
    v->n = n;
}

static void view_lease(struct envmove_view *v, const struct em_lease *e, const struct vi_id *self)
{
    v->part = ENVMOVE_LEASE;
    v->phase = e->phase;
    v->id = e->move;
    v->env = e->env;
    v->lead = e->asker;
    v->since = e->since;
    v->until = e->until;
    v->n = 1;
    v->guest[0].uuid = e->guest;
    v->guest[0].from = e->from;
    v->guest[0].to = *self;
    v->guest[0].kb = e->kb;
}

bool envmove_next(const struct envmoves *s, unsigned *pos, struct envmove_view *out)
{
    memset(out, 0, sizeof *out);
    for (; *pos < ENVMOVE_LEADS + ENVMOVE_ROOMS + 2 + ENVMOVE_LEASES; (*pos)++) {
        unsigned i = *pos;
        if (i < ENVMOVE_LEADS) {
            if (!s->lead[i].used)
                continue;
            view_lead(out, &s->lead[i], s);
        } else if ((i -= ENVMOVE_LEADS) < ENVMOVE_ROOMS) {
            if (!s->room[i].used)
                continue;
            view_room(out, &s->room[i]);
        } else if ((i -= ENVMOVE_ROOMS) < 2) {
            const struct em_grant *g = i ? &s->last : &s->grant;
            if (!g->used)
                continue;
            view_grant(out, g, &s->cfg.self);
        } else {
            if (!s->lease[i - 2].used)
                continue;
            view_lease(out, &s->lease[i - 2], &s->cfg.self);
        }
        (*pos)++;
        return true;
    }
    return false;
}
