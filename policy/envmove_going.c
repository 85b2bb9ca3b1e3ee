/* The lead from its GO on: hosts are given their turns (slots), leases are kept until all hosts know of the GO, who
 * got stuck is given another place, EM_ROUNDS times, then left where it is and shown. And one that takes over from a
 * lead that is silent: TAKING_OVER, with a higher ballot, until all hosts of the move answered or had the time to;
 * if one has GO it goes on from there, else everything is given back.
 *
 * A GO that isn't heard is said again for ever; hosts carry it out without us. */
#include "policy/envmove_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

/* ---- turns ---- */

static unsigned unfinished(const struct em_lead *l, const struct vi_id *host)
{
    unsigned n = 0;
    for (unsigned i = 0; i < l->plan.n; i++)
        if (vi_id_equal(&l->plan.g[i].from, host) && l->plan.g[i].state != ENVMOVE_MOVED &&
            l->plan.g[i].state != ENVMOVE_LEFT)
            n++;
    return n;
}

/* The domain's links are dealt out one by one, so that every host has its turn. */
static void deal(struct envmoves *s, struct em_lead *l)
{
    unsigned left = s->cfg.links;
    bool more = true;
    for (unsigned i = 0; i < l->n_hosts; i++)
        l->host[i].slots = 0;
    while (left > 0 && more) {
        more = false;
        for (unsigned i = 0; i < l->n_hosts && left > 0; i++) {
            struct em_lead_host *h = &l->host[i];
            if (h->slots < s->cfg.per_host && h->slots < unfinished(l, &h->id)) {
                h->slots++;
                left--;
                more = true;
            }
        }
    }
}

static void say_go(struct envmoves *s, vi_time now, struct em_lead *l)
{
    struct em_msg m = {.kind = EM_GO, .move = l->id, .n = l->ballot, .plan = l->plan};
    for (unsigned i = 0; i < l->n_hosts; i++) {
        m.round = l->host[i].slots;
        em_send(s, now, &l->host[i].id, &m);
    }
}

static void all_again(struct em_lead *l, vi_time now)
{
    for (unsigned i = 0; i < l->n_hosts; i++) {
        l->host[i].went = false;
        l->host[i].heard = now;
    }
}

void em_going_begin(struct envmoves *s, vi_time now, struct em_lead *l)
{
    l->again = false;
    all_again(l, now);
    em_lead_phase(s, now, l, EL_GOING, "");
    deal(s, l);
    say_go(s, now, l);
    l->next = now + EM_AGAIN;
    l->ask_next = now + EM_RENEW / 2;
}

/* ---- the end ---- */

static void follow(struct envmoves *s, vi_time now, const struct em_lead *l)
{
    struct vi_id id, env = l->plan.env, domain = l->plan.domain;
    bool by_operator = l->by_operator;
    vi_rng_id(s->rng, &id);
    if (em_lead_start(s, now, &id, &env, &domain, 1, by_operator) == 0)
        em_note(s, &id, &env, "the rest of it follows");
}

static void finish(struct envmoves *s, vi_time now, struct em_lead *l)
{
    unsigned moved = 0;
    say_go(s, now, l); /* who is left is told */
    for (unsigned i = 0; i < l->plan.n; i++)
        moved += l->plan.g[i].state == ENVMOVE_MOVED;
    if (moved == l->plan.n && l->incomplete)
        snprintf(l->why, sizeof l->why, "a host did not say which guests it has; those stay: `violin env move` tries again");
    else if (moved == l->plan.n)
        l->why[0] = '\0';
    else
        snprintf(l->why, sizeof l->why, "%u of its %u guests stay where they were: `violin env move` tries again",
                 l->plan.n - moved, l->plan.n);
    em_lead_over(s, now, l, moved == l->plan.n && !l->incomplete ? EL_MOVED : EL_SPLIT);
    if (moved == l->plan.n && l->more)
        follow(s, now, l);
}

static void leave_lost(struct envmoves *s, vi_time now, struct em_lead *l)
{
    for (unsigned i = 0; i < l->plan.n; i++) {
        struct em_part *g = &l->plan.g[i];
        const struct em_lead_host *h = em_lead_host(l, &g->from);
        if (g->state != ENVMOVE_MOVED && g->state != ENVMOVE_LEFT && h && now - h->heard > EM_HOST_LOST) {
            g->state = ENVMOVE_LEFT;
            em_note(s, &l->id, &l->plan.env, "a guest is left: its host says nothing any more");
        }
    }
}

static unsigned in_state(const struct em_lead *l, enum envmove_guest_state st)
{
    unsigned n = 0;
    for (unsigned i = 0; i < l->plan.n; i++)
        n += l->plan.g[i].state == st;
    return n;
}

static void give_up_on_stuck(struct envmoves *s, struct em_lead *l, const char *why)
{
    for (unsigned i = 0; i < l->plan.n; i++)
        if (l->plan.g[i].state == ENVMOVE_STUCK)
            l->plan.g[i].state = ENVMOVE_LEFT;
    em_note(s, &l->id, &l->plan.env, "guests are left where they are: %s", why);
    l->again = false;
}

/* ---- who got stuck ---- */

static void next_round(struct envmoves *s, vi_time now, struct em_lead *l, const char *why)
{
    if (l->round >= EM_ROUNDS) {
        give_up_on_stuck(s, l, why);
        return;
    }
    l->round++;
    l->again = true;
    l->heard = l->ask_next = now + 5 * VI_SEC + (vi_time)vi_rng_below(s->rng, 10000) * VI_MSEC;
    l->ask_until = l->ask_next + EM_ASK_FOR / 5;
    em_note(s, &l->id, &l->plan.env, "other places are looked for, for guests that are stuck: %s", why);
}

static void ask_again(struct envmoves *s, vi_time now, struct em_lead *l)
{
    if (now > l->heard && now - l->heard > EM_ANSWER) {
        next_round(s, now, l, "nobody answers for the domain that was asked");
        return;
    }
    if (now > l->ask_until) {
        next_round(s, now, l, "the domain that was asked takes too long");
        return;
    }
    if (now >= l->ask_next)
        em_lead_ask(s, now, l);
}

void em_going_room(struct envmoves *s, vi_time now, struct em_lead *l, const struct em_msg *m)
{
    vi_time asked;
    if (!l->again || l->round == 0 || !em_answered(&l->asked, m->n, &asked) || asked + m->left < now + EM_MARGIN)
        return;
    for (unsigned k = 0; k < m->plan.n; k++)
        for (unsigned i = 0; i < l->plan.n; i++)
            if (vi_id_equal(&m->plan.g[k].uuid, &l->plan.g[i].uuid) && l->plan.g[i].state == ENVMOVE_STUCK &&
                !vi_id_is_zero(&m->plan.g[k].to)) {
                l->plan.g[i].to = m->plan.g[k].to;
                l->plan.g[i].state = ENVMOVE_WAITS;
            }
    l->plan.version++;
    l->again = false;
    all_again(l, now);
    deal(s, l);
    say_go(s, now, l);
    l->next = now + EM_AGAIN;
}

void em_going_refused(struct envmoves *s, vi_time now, struct em_lead *l, const struct em_msg *m)
{
    if (l->again)
        next_round(s, now, l, m->why);
}

/* ---- time, answers ---- */

void em_going_tick(struct envmoves *s, vi_time now, struct em_lead *l)
{
    bool all_went = true;
    leave_lost(s, now, l);
    if (in_state(l, ENVMOVE_MOVED) + in_state(l, ENVMOVE_LEFT) == l->plan.n) {
        finish(s, now, l);
        return;
    }
    for (unsigned i = 0; i < l->n_hosts; i++)
        all_went &= l->host[i].went;
    if (l->again)
        ask_again(s, now, l);
    else if (in_state(l, ENVMOVE_STUCK) > 0)
        next_round(s, now, l, "their places can't be had");
    else if (!all_went && now >= l->ask_next) { /* keeps the leases until their hosts do */
        em_lead_ask(s, now, l);
        l->ask_next = now + EM_RENEW / 2;
    }
    if (now >= l->next) {
        deal(s, l);
        say_go(s, now, l);
        l->next = now + (all_went ? 4 : 1) * EM_AGAIN;
    }
}

/* What a host says of its own guests. While it hasn't heard the latest GO, what it says of those that were given
 * another place is old. */
static void take_states(struct em_lead *l, const struct vi_id *from, const struct em_msg *m)
{
    for (unsigned k = 0; k < m->plan.n; k++)
        for (unsigned i = 0; i < l->plan.n; i++) {
            struct em_part *g = &l->plan.g[i];
            if (!vi_id_equal(&g->uuid, &m->plan.g[k].uuid) || !vi_id_equal(&g->from, from))
                continue;
            if (m->plan.version < l->plan.version && m->plan.g[k].state != ENVMOVE_MOVED)
                continue;
            if (g->state == ENVMOVE_LEFT && m->plan.g[k].state != ENVMOVE_MOVED)
                continue;
            g->state = m->plan.g[k].state;
        }
}

static void taken(struct em_lead *l, const struct vi_id *from, const struct em_msg *m)
{
    struct em_lead_host *h = em_lead_host(l, from);
    h->answered = true;
    h->went = m->flag;
    if (!m->flag)
        return;
    l->moved_any = true; /* that is: GO was said */
    for (unsigned i = 0; i < l->plan.n; i++) /* places: its own guests' for sure, the others' as it knows them */
        for (unsigned k = 0; k < m->plan.n; k++)
            if (vi_id_equal(&l->plan.g[i].uuid, &m->plan.g[k].uuid) &&
                (vi_id_is_zero(&l->plan.g[i].to) || vi_id_equal(&l->plan.g[i].from, from)))
                l->plan.g[i].to = m->plan.g[k].to;
    l->plan.domain = m->plan.domain;
    if (m->plan.version > l->plan.version)
        l->plan.version = m->plan.version;
    take_states(l, from, m);
}

void em_going_held(struct envmoves *s, vi_time now, struct em_lead *l, const struct vi_id *from,
                   const struct em_msg *m)
{
    struct em_lead_host *h = em_lead_host(l, from);
    h->heard = now;
    if (l->phase == EL_TAKING_OVER) {
        if (m->n == l->ballot)
            taken(l, from, m);
        return;
    }
    if (l->phase == EL_GIVING_BACK) {
        if (m->flag) /* it went: another of us said so. Only forward */
            em_taking_over(s, now, from, m);
        return;
    }
    if (l->phase != EL_GOING)
        return;
    h->went |= m->flag && m->n == l->ballot;
    if (m->flag)
        take_states(l, from, m);
}

/* It holds no grant of this move: over there, or run out before it heard of the GO. */
void em_going_none(struct envmoves *s, vi_time now, struct em_lead *l, const struct vi_id *from,
                   const struct em_msg *m)
{
    struct em_lead_host *h = em_lead_host(l, from);
    struct em_msg grant = {.kind = EM_GRANT, .move = l->id, .n = l->ballot, .plan = l->plan};
    h->heard = now;
    h->answered = true;
    if (l->phase == EL_TAKING_OVER)
        return;
    if (m->flag) {
        for (unsigned i = 0; i < l->plan.n; i++)
            if (vi_id_equal(&l->plan.g[i].from, from) && l->plan.g[i].state != ENVMOVE_LEFT)
                l->plan.g[i].state = ENVMOVE_MOVED;
        h->went = true;
        return;
    }
    h->went = false;
    grant.round = (unsigned)em_asking(&h->asked, now);
    em_send(s, now, from, &grant);
}

/* ---- taking over ---- */

void em_taking_over(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_lead *l = em_lead_find(s, &m->move);
    struct vi_id rep;
    (void)from;
    if (!l) {
        if (!s->represents || !s->cfg.hooks.representative(s->cfg.hooks.arg, NULL, &rep) ||
            !vi_id_equal(&rep, &s->cfg.self) ||
            em_lead_start(s, now, &m->move, &m->plan.env, &m->plan.domain, 1, true))
            return; /* the host says it again */
        l = em_lead_find(s, &m->move);
    }
    if (l->plan.n == 0 || l->over) { /* not ours before, or thought to be over */
        l->plan = m->plan;
        for (unsigned i = 0; i < l->plan.n; i++)
            if (!m->flag)
                memset(&l->plan.g[i].to, 0, sizeof l->plan.g[i].to);
        em_lead_hosts(l);
    }
    l->over = l->moved_any = l->again = false;
    l->by_operator = true;
    l->round = 0;
    l->plan.lead = s->cfg.self;
    l->ballot = ((m->n > l->ballot ? m->n : l->ballot) >> 16) + 1;
    l->ballot = l->ballot << 16 | (uint64_t)(s->cfg.self.b[0] << 8 | s->cfg.self.b[1]);
    all_again(l, now);
    for (unsigned i = 0; i < l->n_hosts; i++)
        l->host[i].answered = false;
    em_lead_phase(s, now, l, EL_TAKING_OVER, "its representative says nothing any more");
}

static void decide(struct envmoves *s, vi_time now, struct em_lead *l)
{
    if (!l->moved_any) {
        l->attempts = 1000; /* not tried again by us: who is overloaded says so */
        em_lead_give_back(s, now, l, "its representative died before GO was said");
        return;
    }
    for (unsigned i = 0; i < l->plan.n; i++)
        if (vi_id_is_zero(&l->plan.g[i].to) && l->plan.g[i].state == ENVMOVE_WAITS)
            l->plan.g[i].state = ENVMOVE_STUCK;
    em_going_begin(s, now, l);
}

void em_taking_over_tick(struct envmoves *s, vi_time now, struct em_lead *l)
{
    struct em_msg m = {.kind = EM_TAKE, .move = l->id, .n = l->ballot};
    bool all = true;
    for (unsigned i = 0; i < l->n_hosts; i++)
        all &= l->host[i].answered;
    if (all || now - l->entered > EM_TAKE_FOR) {
        decide(s, now, l);
        return;
    }
    if (now < l->next)
        return;
    l->next = now + EM_AGAIN;
    for (unsigned i = 0; i < l->n_hosts; i++)
        if (!l->host[i].answered)
            em_send(s, now, &l->host[i].id, &m);
}
