/* The grant, at a host with guests of an environment that moves: one at a time. GRANTED is on the disk before it is
 * said, ends by its term or when it is given back; GO is on the disk before anything moves, and only goes forward.
 * From then on this host renews its guests' leases and hands them over, as many at once as it was given turns, or
 * one if nobody gives any. Who fails EM_TRIES times, or whose lease is lost, is stuck: its lead finds another place
 * or leaves it. Also: guests handed over to make room, for a room of our domain. */
#include "policy/envmove_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

static bool mine(const struct envmoves *s, const struct em_plan *p, unsigned i)
{
    return vi_id_equal(&p->g[i].from, &s->cfg.self);
}

static bool here(const struct envmoves *s, const struct vi_id *guest, bool *busy)
{
    *busy = false;
    return s->cfg.hooks.guest(s->cfg.hooks.arg, guest, busy);
}

/* ---- answers ---- */

static void say(struct envmoves *s, vi_time now, const struct vi_id *to, const struct em_msg *asked, enum em_kind kind,
                bool flag)
{
    struct em_msg m = {.kind = kind, .move = asked->move, .n = asked->n, .round = asked->round, .flag = flag};
    em_send(s, now, to, &m);
}

static void say_held(struct envmoves *s, vi_time now, const struct em_grant *g, const struct vi_id *to)
{
    struct em_msg m = {.kind = EM_HELD, .move = g->move, .n = g->ballot, .flag = g->phase == EG_GO, .plan = g->plan};
    em_send(s, now, to, &m);
}

static void answer(struct envmoves *s, vi_time now, const struct em_grant *g)
{
    struct em_msg m = {.kind = EM_GRANTED, .move = g->move, .n = g->ballot, .round = g->answer_round};
    if (g->phase == EG_GRANTED && g->answer_round)
        em_send(s, now, &g->answer_to, &m);
    else
        say_held(s, now, g, &g->answer_to);
}

/* ---- the record ---- */

static void write_down(struct envmoves *s, struct em_grant *g)
{
    struct envmove_effect *fx = em_push(s, ENVMOVE_FX_PERSIST);
    int n;
    g->writing = fx != NULL; /* else: as if the write had failed; whoever asked asks again */
    if (!fx)
        return;
    em_grant_key(&fx->id, &g->move);
    n = em_grant_encode(g, &s->cfg.boot, fx->data, sizeof fx->data);
    fx->len = n > 0 ? (size_t)n : 0;
}

static void forget(struct envmoves *s, struct em_grant *g)
{
    struct envmove_effect *fx = em_push(s, ENVMOVE_FX_FORGET);
    if (fx)
        em_grant_key(&fx->id, &g->move);
    g->used = false;
}

bool em_grant_persisted(struct envmoves *s, vi_time now, const struct vi_id *key, int err)
{
    struct em_grant *g = &s->grant;
    struct vi_id k;
    if (!g->used)
        return false;
    em_grant_key(&k, &g->move);
    if (!vi_id_equal(&k, key))
        return false;
    if (!g->writing)
        return true;
    g->writing = false;
    if (err) { /* nothing was said */
        if (g->phase == EG_WRITING)
            g->used = false;
        else
            g->rewrite = true;
        return true;
    }
    em_fault(s, g->phase == EG_GO ? "envmove.go.journalled" : "envmove.grant.journalled");
    if (g->phase == EG_WRITING)
        g->phase = EG_GRANTED;
    answer(s, now, g);
    return true;
}

void em_grant_recover(struct envmoves *s, vi_time now, const struct em_grant *found)
{
    struct em_grant *g = found->over ? &s->last : &s->grant;
    if (g->used && !vi_id_equal(&g->move, &found->move)) { /* one that was over, which a full disk kept from saying so */
        struct em_grant other = *found;
        if (g->phase == EG_GO && found->phase != EG_GO) {
            forget(s, &other);
            return;
        }
        forget(s, g);
    }
    if (found->over && s->grant.used && vi_id_equal(&s->grant.move, &found->move))
        s->grant.used = false; /* all records of it are read: this is the last */
    *g = *found;
    g->used = true;
    g->since = g->heard = g->next = now;
    g->until = now + ENVMOVE_TERM;
    g->tell_next = now + EM_SILENT;
    g->slots = 0;
    g->answer_to = g->plan.lead;
    for (unsigned i = 0; i < g->plan.n; i++) {
        g->g[i].silent_since = now;
        if (mine(s, &g->plan, i) && g->plan.g[i].state == ENVMOVE_MOVES)
            g->plan.g[i].state = ENVMOVE_WAITS; /* a handover that goes on has it busy */
    }
}

/* ---- granting ---- */

/* May it be granted? EM_GRANTED: yes; else what to answer. */
static enum em_kind judge(struct envmoves *s, const struct em_plan *p, bool *gone)
{
    unsigned n = 0, missing = 0;
    bool busy, placed = false, held_up = false;
    for (unsigned i = 0; i < p->n; i++) {
        if (!mine(s, p, i))
            continue;
        n++;
        placed |= !vi_id_is_zero(&p->g[i].to);
        missing += !here(s, &p->g[i].uuid, &busy);
        held_up |= busy;
    }
    *gone = missing == n;
    if (missing == n || (missing > 0 && !placed))
        return EM_NONE;
    return held_up && !placed ? EM_BUSY : EM_GRANTED;
}

static void begin(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_grant *g = &s->grant;
    memset(g, 0, sizeof *g);
    g->used = true;
    g->phase = EG_WRITING;
    g->move = m->move;
    g->ballot = m->n;
    g->plan = m->plan;
    g->since = g->heard = g->next = now;
    g->until = now + ENVMOVE_TERM;
    g->tell_next = now + EM_SILENT;
    g->answer_to = *from;
    g->answer_round = m->round;
    write_down(s, g);
    if (!g->writing)
        g->used = false;
}

static void busy_with_another(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_msg busy = {.kind = EM_BUSY, .move = m->move, .n = m->n, .peer = s->grant.move};
    struct em_msg yield = {.kind = EM_YIELD, .move = s->grant.move, .peer = m->move};
    em_send(s, now, from, &busy);
    if (s->grant.phase != EG_GO && vi_id_compare(&m->move, &s->grant.move) < 0)
        em_send(s, now, &s->grant.plan.lead, &yield);
}

/* Is it from the lead that counts: of this ballot, or of a later one? */
static bool counts(const struct em_grant *g, const struct vi_id *from, const struct em_msg *m)
{
    return m->n > g->ballot || (m->n == g->ballot && vi_id_equal(from, &g->plan.lead));
}

/* Was the move given back to a later lead? Then this one is told by whose ballot. */
static bool deposed(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    for (unsigned i = 0; i < EM_RELEASED; i++)
        if (vi_id_equal(&s->released[i].move, &m->move) && m->n < s->released[i].ballot) {
            struct em_msg none = {.kind = EM_NONE, .move = m->move, .n = s->released[i].ballot};
            em_send(s, now, from, &none);
            return true;
        }
    return false;
}

static void remember_release(struct envmoves *s, const struct em_msg *m)
{
    unsigned at = EM_RELEASED;
    for (unsigned i = 0; i < EM_RELEASED; i++)
        if (vi_id_equal(&s->released[i].move, &m->move))
            at = i;
    if (at == EM_RELEASED)
        at = s->next_released++ % EM_RELEASED;
    else if (m->n < s->released[at].ballot)
        return;
    s->released[at].move = m->move;
    s->released[at].ballot = m->n;
}

static void asked_to_grant(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_grant *g = &s->grant;
    struct em_msg busy = {.kind = EM_BUSY, .move = m->move, .n = m->n};
    enum em_kind is;
    bool gone;
    if (deposed(s, now, from, m))
        return;
    if (g->used && !vi_id_equal(&g->move, &m->move)) {
        busy_with_another(s, now, from, m);
        return;
    }
    if (g->used) {
        if (!counts(g, from, m) || g->phase == EG_WRITING)
            return;
        g->heard = now;
        g->answer_to = *from;
        g->answer_round = m->round;
        if (g->phase == EG_GRANTED) {
            g->until = now + ENVMOVE_TERM;
            g->plan.domain = m->plan.domain;
        }
        if (!g->writing)
            answer(s, now, g);
        return;
    }
    is = judge(s, &m->plan, &gone);
    memset(&busy.peer, 0xff, sizeof busy.peer); /* a handover: whoever asks waits for it */
    if (is == EM_BUSY)
        em_send(s, now, from, &busy);
    else if (is == EM_NONE)
        say(s, now, from, m, EM_NONE, gone);
    else
        begin(s, now, from, m);
}

static void released(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_grant *g = &s->grant;
    if (g->used && vi_id_equal(&g->move, &m->move)) {
        if (!counts(g, from, m))
            return;
        if (g->phase == EG_GO) {
            say_held(s, now, g, from);
            return;
        }
        forget(s, g);
    }
    remember_release(s, m);
    say(s, now, from, m, EM_NONE, false);
}

static void taken_over(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_grant *g = &s->grant;
    if (s->last.used && vi_id_equal(&s->last.move, &m->move)) {
        s->last.ballot = m->n;
        say_held(s, now, &s->last, from);
        return;
    }
    if (!g->used || !vi_id_equal(&g->move, &m->move)) {
        say(s, now, from, m, EM_NONE, false);
        return;
    }
    if (!counts(g, from, m) || g->phase == EG_WRITING || g->writing)
        return; /* said again */
    g->heard = now;
    g->until = now + ENVMOVE_TERM;
    g->answer_to = *from;
    g->answer_round = 0;
    if (m->n == g->ballot) {
        say_held(s, now, g, from);
        return;
    }
    g->ballot = m->n;
    g->plan.lead = *from;
    write_down(s, g);
}

/* ---- GO ---- */

/* The lead's word on places and on who is left; on how far our own guests are, ours counts. */
static bool take_plan(struct envmoves *s, vi_time now, struct em_grant *g, const struct em_plan *p)
{
    bool changed = false;
    for (unsigned i = 0; i < g->plan.n && i < p->n; i++) {
        struct em_part *have = &g->plan.g[i];
        const struct em_part *said = &p->g[i];
        if (!vi_id_equal(&have->uuid, &said->uuid))
            return changed; /* the same guests in the same order, always */
        if (!mine(s, &g->plan, i)) {
            *have = *said;
            continue;
        }
        if (have->state == ENVMOVE_MOVES || have->state == ENVMOVE_MOVED)
            continue;
        if (said->state == ENVMOVE_LEFT && have->state != ENVMOVE_LEFT) {
            have->state = ENVMOVE_LEFT;
            changed = true;
        } else if (p->version > g->plan.version && said->state == ENVMOVE_WAITS &&
                   (have->state == ENVMOVE_STUCK || !vi_id_equal(&have->to, &said->to))) {
            have->to = said->to;
            have->state = ENVMOVE_WAITS;
            memset(&g->g[i], 0, sizeof g->g[i]);
            g->g[i].silent_since = now;
            changed = true;
        }
    }
    changed |= p->version > g->plan.version;
    g->plan.version = p->version > g->plan.version ? p->version : g->plan.version;
    return changed;
}

static void go(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_grant *g = &s->grant;
    bool changed;
    if (s->last.used && vi_id_equal(&s->last.move, &m->move)) {
        s->last.ballot = m->n;
        say_held(s, now, &s->last, from);
        return;
    }
    if (!g->used || !vi_id_equal(&g->move, &m->move)) {
        say(s, now, from, m, EM_NONE, false);
        return;
    }
    if (!counts(g, from, m) || g->phase == EG_WRITING || g->writing || g->plan.n != m->plan.n)
        return; /* said again */
    changed = take_plan(s, now, g, &m->plan) || g->phase != EG_GO || g->ballot != m->n;
    g->heard = now;
    g->slots = m->round;
    g->answer_to = *from;
    g->answer_round = 0;
    g->ballot = m->n;
    g->plan.lead = *from;
    g->plan.domain = m->plan.domain;
    if (!changed) {
        say_held(s, now, g, from);
        return;
    }
    if (g->phase != EG_GO)
        for (unsigned i = 0; i < g->plan.n; i++)
            g->g[i].silent_since = now;
    g->phase = EG_GO;
    g->next = now;
    write_down(s, g);
    g->rewrite = !g->writing;
}

/* ---- moving ---- */

static void stuck(struct envmoves *s, struct em_grant *g, unsigned i, const char *why)
{
    g->plan.g[i].state = ENVMOVE_STUCK;
    snprintf(g->why, sizeof g->why, "%s", why);
    em_note(s, &g->move, &g->plan.env, "a guest is stuck: %s", why);
}

static void keep_lease(struct envmoves *s, vi_time now, struct em_grant *g, unsigned i)
{
    struct em_granted_guest *x = &g->g[i];
    struct em_msg m = {.kind = EM_RENEW_LEASE, .move = g->move, .guest = g->plan.g[i].uuid};
    if (now < x->ask_next)
        return;
    if (now - x->silent_since > EM_LEASE_FOR + EM_RENEW && g->plan.g[i].state == ENVMOVE_WAITS) {
        stuck(s, g, i, "the host where it should go doesn't answer");
        return;
    }
    x->ask_next = now + EM_AGAIN;
    m.n = em_asking(&x->asked, now);
    em_send(s, now, &g->plan.g[i].to, &m);
}

static void leased(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_grant *g = &s->grant;
    vi_time asked;
    if (!g->used || g->phase != EG_GO || !vi_id_equal(&g->move, &m->move))
        return;
    for (unsigned i = 0; i < g->plan.n; i++) {
        struct em_granted_guest *x = &g->g[i];
        if (!mine(s, &g->plan, i) || !vi_id_equal(&g->plan.g[i].uuid, &m->guest) ||
            !vi_id_equal(&g->plan.g[i].to, from) || !em_answered(&x->asked, m->n, &asked))
            continue;
        x->silent_since = now;
        if (m->kind == EM_LEASED) {
            x->leased = true;
            x->leased_at = asked;
            x->ask_next = now + EM_RENEW;
        } else if (g->plan.g[i].state == ENVMOVE_WAITS)
            stuck(s, g, i, m->why);
    }
}

static void hand_over(struct envmoves *s, struct em_grant *g, unsigned i)
{
    struct envmove_effect *fx = em_push(s, ENVMOVE_FX_MOVE);
    if (!fx)
        return;
    fx->id = g->move;
    fx->env = g->plan.env;
    fx->guest = g->plan.g[i].uuid;
    fx->peer = g->plan.g[i].to;
    g->plan.g[i].state = ENVMOVE_MOVES;
}

/* One of ours: is it gone, does it have its lease, is it its turn? */
static void turn(struct envmoves *s, vi_time now, struct em_grant *g, unsigned i, unsigned *moving)
{
    struct em_part *p = &g->plan.g[i];
    struct em_granted_guest *x = &g->g[i];
    unsigned slots = now - g->heard > EM_ALONE && g->slots == 0 ? 1 : g->slots;
    bool busy;
    if (!here(s, &p->uuid, &busy)) {
        p->state = ENVMOVE_MOVED; /* or it has ended: it isn't ours to move any more */
        return;
    }
    if (p->state == ENVMOVE_STUCK) {
        if (now - g->heard > EM_LEAVE) {
            p->state = ENVMOVE_LEFT;
            em_note(s, &g->move, &g->plan.env, "a guest is left where it is: nobody finds another place for it");
        }
        return;
    }
    if (vi_id_is_zero(&p->to)) {
        stuck(s, g, i, "no place for it is known");
        return;
    }
    keep_lease(s, now, g, i);
    if (p->state != ENVMOVE_WAITS || busy || now < x->next || *moving >= slots || !x->leased ||
        now - x->leased_at > ENVMOVE_TRUSTED - EM_MARGIN)
        return;
    hand_over(s, g, i);
    (*moving)++;
}

static void going(struct envmoves *s, vi_time now, struct em_grant *g)
{
    unsigned moving = 0, open = 0, moved = 0;
    for (unsigned i = 0; i < g->plan.n; i++)
        moving += mine(s, &g->plan, i) && g->plan.g[i].state == ENVMOVE_MOVES;
    for (unsigned i = 0; i < g->plan.n; i++) {
        struct em_part *p = &g->plan.g[i];
        if (!mine(s, &g->plan, i) || p->state == ENVMOVE_MOVED || p->state == ENVMOVE_LEFT)
            continue;
        if (p->state == ENVMOVE_MOVES)
            keep_lease(s, now, g, i);
        else
            turn(s, now, g, i, &moving);
        open += p->state != ENVMOVE_MOVED && p->state != ENVMOVE_LEFT;
    }
    if (open > 0)
        return;
    for (unsigned i = 0; i < g->plan.n; i++)
        moved += mine(s, &g->plan, i) && g->plan.g[i].state == ENVMOVE_MOVED;
    if (moved > 0)
        em_remember(s, now, &g->plan.env);
    say_held(s, now, g, &g->answer_to);
    if (s->last.used)
        forget(s, &s->last);
    s->last = *g;
    s->last.over = true;
    s->last.since = now;
    write_down(s, &s->last); /* kept for a while: a lead that takes over must hear that it went */
    g->used = false;
}

/* ---- to make room ---- */

static void shifted(struct envmoves *s, vi_time now, const struct em_shifting *x)
{
    struct em_msg m = {.kind = EM_SHIFTED, .move = x->move, .guest = x->guest, .err = x->err};
    memcpy(m.why, x->why, sizeof m.why);
    em_send(s, now, &x->asker, &m);
}

static void begin_shift(struct envmoves *s, vi_time now, struct em_shifting *x, const struct vi_id *from,
                        const struct em_msg *m)
{
    struct envmove_effect *fx = NULL;
    bool busy;
    *x = (struct em_shifting){.used = true, .move = m->move, .guest = m->guest, .to = m->peer, .asker = *from, .at = now};
    if (!here(s, &m->guest, &busy) || busy || envmove_holds(s, &m->guest) || !(fx = em_push(s, ENVMOVE_FX_MOVE))) {
        x->over = true;
        x->err = VI_ESTATE;
        snprintf(x->why, sizeof x->why, "a guest that should make room is gone, or moves otherwise");
        shifted(s, now, x);
        return;
    }
    fx->id = m->move;
    fx->guest = m->guest;
    fx->peer = m->peer;
    fx->shift = true;
}

static void asked_to_shift(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_shifting *place = NULL;
    for (unsigned i = 0; i < EM_SHIFTING; i++) {
        struct em_shifting *x = &s->shifting[i];
        if (x->used && vi_id_equal(&x->move, &m->move) && vi_id_equal(&x->guest, &m->guest)) {
            x->asker = *from;
            if (x->over && vi_id_equal(&x->to, &m->peer))
                shifted(s, now, x);
            else if (x->over)
                begin_shift(s, now, x, from, m);
            return;
        }
        if (!x->used || (x->over && !place))
            place = x;
    }
    if (place)
        begin_shift(s, now, place, from, m); /* else: asked again */
}

void em_grant_moved(struct envmoves *s, vi_time now, const struct envmove_event *ev)
{
    struct em_grant *g = &s->grant;
    for (unsigned i = 0; i < EM_SHIFTING; i++) {
        struct em_shifting *x = &s->shifting[i];
        if (x->used && !x->over && vi_id_equal(&x->guest, &ev->guest)) {
            x->over = true;
            x->at = now;
            x->err = ev->err;
            snprintf(x->why, sizeof x->why, "%s", ev->why ? ev->why : "");
            shifted(s, now, x);
            return;
        }
    }
    for (unsigned i = 0; g->used && i < g->plan.n; i++) {
        struct em_granted_guest *x = &g->g[i];
        if (!mine(s, &g->plan, i) || !vi_id_equal(&g->plan.g[i].uuid, &ev->guest) ||
            g->plan.g[i].state != ENVMOVE_MOVES)
            continue;
        if (!ev->err) {
            g->plan.g[i].state = ENVMOVE_MOVED;
            say_held(s, now, g, &g->answer_to);
            return;
        }
        g->plan.g[i].state = ENVMOVE_WAITS;
        x->silent_since = now;
        x->next = now + (2 * VI_SEC << x->tries) + (vi_time)vi_rng_below(s->rng, 1000) * VI_MSEC;
        if (++x->tries >= EM_TRIES)
            stuck(s, g, i, ev->why ? ev->why : "it can't be handed over");
    }
}

/* ---- messages, time ---- */

void em_grant_message(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    switch (m->kind) {
    case EM_GRANT: asked_to_grant(s, now, from, m); break;
    case EM_RELEASE: released(s, now, from, m); break;
    case EM_TAKE: taken_over(s, now, from, m); break;
    case EM_GO: go(s, now, from, m); break;
    case EM_LEASED: case EM_NOLEASE: leased(s, now, from, m); break;
    case EM_SHIFT: asked_to_shift(s, now, from, m); break;
    default: break;
    }
}

void em_grant_tick(struct envmoves *s, vi_time now)
{
    struct em_grant *g = &s->grant;
    struct vi_id rep;
    for (unsigned i = 0; i < EM_SHIFTING; i++)
        if (s->shifting[i].over && now - s->shifting[i].at > EM_SHIFT_FOR)
            s->shifting[i].used = s->shifting[i].over = false;
    if (s->last.used && now - s->last.since > EM_SHOWN_FOR)
        forget(s, &s->last);
    if (!g->used || g->writing)
        return;
    if (g->rewrite) {
        g->rewrite = false;
        write_down(s, g);
        g->rewrite = !g->writing;
        return;
    }
    if (g->phase == EG_GRANTED && now >= g->until) {
        forget(s, g);
        return;
    }
    if (now - g->heard > EM_SILENT && now >= g->tell_next &&
        s->cfg.hooks.representative(s->cfg.hooks.arg, NULL, &rep)) {
        g->tell_next = now + EM_SILENT / 2;
        say_held(s, now, g, &rep);
    }
    if (g->phase == EG_GO)
        going(s, now, g);
}
