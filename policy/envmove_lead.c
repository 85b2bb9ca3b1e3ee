/* The lead until its GO: LOOKING (who has guests of it) → GRANTING (each of their hosts) → ASKING (one domain after
 * the other) → GO: envmove_going.c. What fails before that is given back: GIVING_BACK, then tried again after a
 * random while (BACKING_OFF), or REFUSED. A host that has granted another move: the lower id goes first, the higher
 * gives everything back and tries again. */
#include "policy/envmove_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

#define ATTEMPTS 6

struct em_lead *em_lead_find(struct envmoves *s, const struct vi_id *id)
{
    for (unsigned i = 0; i < ENVMOVE_LEADS; i++)
        if (s->lead[i].used && vi_id_equal(&s->lead[i].id, id))
            return &s->lead[i];
    return NULL;
}

bool em_lead_busy(const struct envmoves *s, const struct vi_id *env)
{
    for (unsigned i = 0; i < ENVMOVE_LEADS; i++)
        if (s->lead[i].used && !s->lead[i].over && (!env || vi_id_equal(&s->lead[i].plan.env, env)))
            return true;
    return false;
}

/* The one function that changes a lead's phase. why NULL: keeps what there is. */
void em_lead_phase(struct envmoves *s, vi_time now, struct em_lead *l, enum envmove_phase p, const char *why)
{
    char before[ENVMOVE_WHY];
    if (why) {
        snprintf(before, sizeof before, "%s", why); /* may be our own text */
        memcpy(l->why, before, sizeof l->why);
    }
    if (l->phase != p || why)
        em_note(s, &l->id, &l->plan.env, "%s%s%s", envmove_phase_text(p), l->why[0] ? ": " : "", l->why);
    l->phase = p;
    l->entered = now;
    l->next = now;
    if (l->look >= 0 && p != EL_LOOKING)
        em_look_end(s, &l->look);
}

void em_lead_over(struct envmoves *s, vi_time now, struct em_lead *l, enum envmove_phase p)
{
    em_lead_phase(s, now, l, p, NULL);
    l->over = true;
    em_decide_ended(s, now, l);
}

int em_lead_start(struct envmoves *s, vi_time now, const struct vi_id *id, const struct vi_id *env,
                  const struct vi_id *domains, unsigned n, bool by_operator)
{
    struct em_lead *l = NULL;
    if (em_lead_busy(s, env) || em_lead_find(s, id))
        return VI_EEXIST;
    for (unsigned i = 0; i < ENVMOVE_LEADS; i++) /* what an earlier one left is this one's now */
        if (s->lead[i].used && s->lead[i].phase == EL_SPLIT && vi_id_equal(&s->lead[i].plan.env, env))
            s->lead[i].used = false;
    for (unsigned i = 0; i < ENVMOVE_LEADS; i++) {
        struct em_lead *o = &s->lead[i];
        if (!o->used || (o->over && (!l || (l->used && o->since < l->since))))
            l = o;
        if (!o->used)
            break;
    }
    if (!l)
        return VI_EFULL;
    memset(l, 0, sizeof *l);
    l->used = true;
    l->by_operator = by_operator;
    l->id = *id;
    l->ballot = (uint64_t)1 << 16 | (uint64_t)(s->cfg.self.b[0] << 8 | s->cfg.self.b[1]);
    l->plan.env = *env;
    l->plan.lead = s->cfg.self;
    l->n_domains = n < ENVMOVE_DOMAINS ? n : ENVMOVE_DOMAINS;
    memcpy(l->domains, domains, l->n_domains * sizeof domains[0]);
    l->plan.domain = l->domains[0];
    l->since = now;
    l->look = -1;
    em_lead_phase(s, now, l, EL_LOOKING, "");
    return 0;
}

/* ---- hosts ---- */

struct em_lead_host *em_lead_host(struct em_lead *l, const struct vi_id *id)
{
    for (unsigned i = 0; i < l->n_hosts; i++)
        if (vi_id_equal(&l->host[i].id, id))
            return &l->host[i];
    return NULL;
}

void em_lead_hosts(struct em_lead *l)
{
    l->n_hosts = 0;
    for (unsigned i = 0; i < l->plan.n; i++)
        if (!em_lead_host(l, &l->plan.g[i].from)) {
            memset(&l->host[l->n_hosts], 0, sizeof l->host[0]);
            l->host[l->n_hosts++].id = l->plan.g[i].from;
        }
}

static void say_all(struct envmoves *s, vi_time now, struct em_lead *l, enum em_kind kind)
{
    struct em_msg m = {.kind = kind, .move = l->id, .n = l->ballot, .plan = l->plan};
    for (unsigned i = 0; i < l->n_hosts; i++) {
        if (kind == EM_RELEASE && l->host[i].answered)
            continue;
        if (kind == EM_GRANT)
            m.round = (unsigned)em_asking(&l->host[i].asked, now);
        em_send(s, now, &l->host[i].id, &m);
    }
}

/* ---- giving back ---- */

static void give_back(struct envmoves *s, vi_time now, struct em_lead *l, enum envmove_phase then, const char *why)
{
    struct em_msg back = {.kind = EM_BACK, .move = l->id};
    struct vi_id rep;
    for (unsigned i = 0; i < l->n_hosts; i++)
        l->host[i].answered = false;
    l->then = then;
    em_lead_phase(s, now, l, EL_GIVING_BACK, why);
    if (s->cfg.hooks.representative(s->cfg.hooks.arg, &l->plan.domain, &rep))
        em_send(s, now, &rep, &back);
}

void em_lead_give_back(struct envmoves *s, vi_time now, struct em_lead *l, const char *why)
{
    give_back(s, now, l, EL_REFUSED, why);
}

static void given_back(struct envmoves *s, vi_time now, struct em_lead *l)
{
    if (l->then == EL_REFUSED) {
        em_lead_over(s, now, l, EL_REFUSED);
        return;
    }
    em_lead_phase(s, now, l, EL_BACKING_OFF, NULL);
    l->until = now + 5 * VI_SEC + (vi_time)vi_rng_below(s->rng, 15000) * VI_MSEC;
}

static void again_or_refused(struct envmoves *s, vi_time now, struct em_lead *l, const char *why)
{
    l->attempts++;
    give_back(s, now, l, l->attempts < ATTEMPTS ? EL_BACKING_OFF : EL_REFUSED, why);
}

static void giving_back(struct envmoves *s, vi_time now, struct em_lead *l)
{
    bool all = true;
    for (unsigned i = 0; i < l->n_hosts; i++)
        all &= l->host[i].answered;
    if (all || now - l->entered > EM_BACK_FOR) {
        given_back(s, now, l); /* a grant that nobody gave back ends by its term */
        return;
    }
    if (now >= l->next) {
        l->next = now + EM_AGAIN;
        say_all(s, now, l, EM_RELEASE);
    }
}

int em_lead_cancel(struct envmoves *s, vi_time now, const struct vi_id *id)
{
    struct em_lead *l = em_lead_find(s, id);
    if (!l || l->over)
        return VI_ENOTFOUND;
    if (l->phase == EL_GOING || l->phase == EL_TAKING_OVER)
        return VI_ESTATE;
    l->by_operator = true;
    give_back(s, now, l, EL_REFUSED, "cancelled by an operator");
    return 0;
}

/* ---- looking, granting ---- */

static void take_guests(struct em_lead *l, const struct em_look *k)
{
    l->plan.n = 0;
    l->more = false;
    for (unsigned i = 0; i < k->n_hosts; i++)
        for (unsigned n = 0; k->answered[i] && n < k->seen[i].n; n++) {
            const struct envmove_guest *g = &k->seen[i].guest[n];
            if (!g->movable || !g->running || !vi_id_equal(&g->env, &l->plan.env))
                continue;
            if (l->plan.n == ENVMOVE_GUESTS) {
                l->more = true;
                break;
            }
            l->plan.g[l->plan.n++] =
                (struct em_part){.uuid = g->uuid, .from = k->host[i], .kb = g->kb, .pct = g->pct};
        }
    em_lead_hosts(l);
}

static void looking(struct envmoves *s, vi_time now, struct em_lead *l)
{
    if (l->look < 0) {
        l->look = em_look_begin(s, now, &l->plan.env, NULL);
        return;
    }
    if (!s->looks[l->look].done)
        return;
    l->incomplete = !em_look_whole(&s->looks[l->look]);
    if (l->incomplete && ++l->looks < EM_TRIES) { /* who is overlooked stays behind */
        em_look_end(s, &l->look);
        return;
    }
    take_guests(l, &s->looks[l->look]);
    em_look_end(s, &l->look);
    if (l->plan.n == 0) {
        snprintf(l->why, sizeof l->why, "no guest of it in this domain may move");
        em_lead_over(s, now, l, EL_REFUSED);
        return;
    }
    em_lead_phase(s, now, l, EL_GRANTING, "");
}

static bool granted(const struct em_lead *l, vi_time now, vi_time margin)
{
    for (unsigned i = 0; i < l->n_hosts; i++)
        if (!l->host[i].granted || now - l->host[i].granted_at > ENVMOVE_TRUSTED - margin)
            return false;
    return true;
}

static void begin_asking(struct envmoves *s, vi_time now, struct em_lead *l)
{
    l->plan.domain = l->domains[l->domain];
    l->round = 0;
    l->heard = now;
    em_lead_phase(s, now, l, EL_ASKING, "");
    l->ask_until = now + EM_ASK_FOR;
    l->ask_next = now;
    l->renewed = now;
}

static void granting(struct envmoves *s, vi_time now, struct em_lead *l)
{
    if (granted(l, now, EM_MARGIN)) {
        begin_asking(s, now, l);
        return;
    }
    if (now - l->entered > EM_GRANT_FOR) {
        again_or_refused(s, now, l, "not all hosts of its guests grant the move");
        return;
    }
    if (now >= l->next) {
        l->next = now + EM_AGAIN;
        say_all(s, now, l, EM_GRANT);
    }
}

/* ---- asking ---- */

/* Also keeps the leases, once there is room: the answer says for how long. While others go already, it is for those
 * that got stuck. */
void em_lead_ask(struct envmoves *s, vi_time now, struct em_lead *l)
{
    struct em_msg m = {.kind = EM_ASK, .move = l->id, .round = l->round, .plan = l->plan};
    struct vi_id rep;
    l->ask_next = now + EM_AGAIN;
    m.n = em_asking(&l->asked, now);
    if (!s->cfg.hooks.representative(s->cfg.hooks.arg, &l->plan.domain, &rep))
        return;
    if (l->round > 0) {
        m.plan.n = 0;
        for (unsigned i = 0; i < l->plan.n; i++)
            if (l->plan.g[i].state == ENVMOVE_STUCK)
                m.plan.g[m.plan.n++] = l->plan.g[i];
        if (m.plan.n == 0)
            return;
    }
    em_send(s, now, &rep, &m);
}

static void next_domain(struct envmoves *s, vi_time now, struct em_lead *l, const char *why)
{
    struct em_msg back = {.kind = EM_BACK, .move = l->id};
    struct vi_id rep;
    if (s->cfg.hooks.representative(s->cfg.hooks.arg, &l->plan.domain, &rep))
        em_send(s, now, &rep, &back);
    l->domain++;
    if (l->domain < l->n_domains) {
        em_lead_phase(s, now, l, EL_ASKING, why);
        begin_asking(s, now, l);
        return;
    }
    l->domain = 0;
    give_back(s, now, l, EL_REFUSED, why);
}

static void asking(struct envmoves *s, vi_time now, struct em_lead *l)
{
    if (now - l->heard > EM_ANSWER) {
        next_domain(s, now, l, "nobody answers for the domain that was asked");
        return;
    }
    if (now > l->ask_until) {
        next_domain(s, now, l, "the domain that was asked takes too long");
        return;
    }
    if (!granted(l, now, 0)) {
        again_or_refused(s, now, l, "a host of its guests doesn't answer any more");
        return;
    }
    if (now - l->renewed >= EM_RENEW / 2) {
        l->renewed = now;
        say_all(s, now, l, EM_GRANT);
    }
    if (now >= l->ask_next)
        em_lead_ask(s, now, l);
}

/* Room, sure for `left` from when we asked. */
static void room(struct envmoves *s, vi_time now, struct em_lead *l, const struct em_msg *m)
{
    vi_time asked;
    if (!em_answered(&l->asked, m->n, &asked) || m->plan.n != l->plan.n || asked + m->left < now + EM_MARGIN)
        return; /* too old to be sure of; asked again */
    for (unsigned i = 0; i < l->plan.n; i++)
        if (!vi_id_equal(&m->plan.g[i].uuid, &l->plan.g[i].uuid) || vi_id_is_zero(&m->plan.g[i].to))
            return;
    if (!granted(l, now, EM_MARGIN)) {
        l->renewed = now; /* all at once: grants and leases */
        say_all(s, now, l, EM_GRANT);
        return;
    }
    for (unsigned i = 0; i < l->plan.n; i++)
        l->plan.g[i].to = m->plan.g[i].to;
    l->plan.version++;
    em_going_begin(s, now, l);
}

/* ---- messages ---- */

static void grant_answered(struct envmoves *s, vi_time now, struct em_lead *l, struct em_lead_host *h,
                           const struct em_msg *m)
{
    bool before_go = l->phase == EL_GRANTING || l->phase == EL_ASKING;
    vi_time asked;
    h->heard = now;
    if (m->kind == EM_GRANTED) {
        if (em_answered(&h->asked, m->round, &asked)) {
            h->granted = true;
            h->granted_at = asked;
        }
    } else if (m->kind == EM_NONE && l->phase == EL_GIVING_BACK)
        h->answered = true;
    else if (m->kind == EM_NONE && before_go) {
        h->granted = false;
        again_or_refused(s, now, l, "a guest of it is not where it was");
    } else if (m->kind == EM_YIELD && before_go && vi_id_compare(&m->peer, &l->id) < 0)
        again_or_refused(s, now, l, "another environment's move goes first");
    else if (m->kind == EM_BUSY && before_go) {
        h->granted = false;
        if (vi_id_compare(&m->peer, &l->id) < 0)
            again_or_refused(s, now, l, "another environment's move goes first");
    }
}

static void room_answered(struct envmoves *s, vi_time now, struct em_lead *l, const struct vi_id *from,
                          const struct em_msg *m)
{
    struct vi_id domain;
    if (s->cfg.hooks.kin(s->cfg.hooks.arg, from, &domain) != ENVMOVE_FOREIGN ||
        !vi_id_equal(&domain, &l->plan.domain) || m->round != l->round)
        return; /* nobody else speaks for that domain */
    l->heard = now;
    if (l->phase == EL_GOING) {
        if (m->kind == EM_ROOM)
            em_going_room(s, now, l, m);
        else if (m->kind == EM_REFUSE)
            em_going_refused(s, now, l, m);
        return;
    }
    if (l->phase != EL_ASKING)
        return;
    if (m->kind == EM_WAIT)
        memcpy(l->why, m->why, sizeof l->why);
    else if (m->kind == EM_ROOM)
        room(s, now, l, m);
    else
        next_domain(s, now, l, m->why);
}

/* Has its host something left to do? What it says last is no call for help. */
static bool unfinished(const struct em_msg *m, const struct vi_id *from)
{
    for (unsigned i = 0; i < m->plan.n; i++)
        if (vi_id_equal(&m->plan.g[i].from, from) && m->plan.g[i].state != ENVMOVE_MOVED &&
            m->plan.g[i].state != ENVMOVE_LEFT)
            return true;
    return false;
}

void em_lead_message(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_lead *l = em_lead_find(s, &m->move);
    struct em_lead_host *h = l ? em_lead_host(l, from) : NULL;
    if (m->kind == EM_HELD && (!l || (l->over && m->n >= l->ballot))) {
        if (unfinished(m, from))
            em_taking_over(s, now, from, m);
        return;
    }
    if (!l || l->over)
        return;
    if (m->kind == EM_WAIT || m->kind == EM_ROOM || m->kind == EM_REFUSE) {
        room_answered(s, now, l, from, m);
        return;
    }
    if (!h)
        return;
    if ((m->kind == EM_HELD || m->kind == EM_NONE) && m->n > l->ballot) {
        snprintf(l->why, sizeof l->why, "another representative goes on with it");
        em_lead_over(s, now, l, EL_REFUSED);
    } else if (m->kind == EM_HELD)
        em_going_held(s, now, l, from, m);
    else if (m->kind == EM_NONE && (l->phase == EL_GOING || l->phase == EL_TAKING_OVER))
        em_going_none(s, now, l, from, m);
    else if (m->n == l->ballot || m->kind == EM_YIELD)
        grant_answered(s, now, l, h, m);
}

void em_lead_tick(struct envmoves *s, vi_time now)
{
    for (unsigned i = 0; i < ENVMOVE_LEADS; i++) {
        struct em_lead *l = &s->lead[i];
        if (!l->used)
            continue;
        switch (l->phase) {
        case EL_LOOKING: looking(s, now, l); break;
        case EL_GRANTING: granting(s, now, l); break;
        case EL_ASKING: asking(s, now, l); break;
        case EL_GOING: em_going_tick(s, now, l); break;
        case EL_TAKING_OVER: em_taking_over_tick(s, now, l); break;
        case EL_GIVING_BACK: giving_back(s, now, l); break;
        case EL_BACKING_OFF:
            l->looks = 0;
            if (now >= l->until)
                em_lead_phase(s, now, l, EL_LOOKING, "");
            break;
        default:
            if (now - l->entered > (l->phase == EL_SPLIT ? EM_SPLIT_SHOWN : EM_SHOWN_FOR))
                l->used = false;
            break;
        }
    }
}
