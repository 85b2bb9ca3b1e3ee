/* The room: a representative that is asked to take an environment in. LOOKING (how are our hosts?) → plan → SHIFTING
 * (small guests of ours make room) → LEASING (at every host that gets a guest) → CHECKING (with all leases in place:
 * is its home domain still within its limits? two of us at once both look after both have reserved) → ROOM, which is
 * kept as long as it is asked for. What fails is planned anew, EM_TRIES times, then REFUSED.
 *
 * A domain gets ENVMOVE_ROOMS_EACH rooms at a time, its limits in all, and so many shifts an hour; a room that is
 * kept but not used is taken back after EM_ASK_FOR. */
#include "policy/envmove_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "policy/policy.h"

static struct em_room *find(struct envmoves *s, const struct vi_id *move)
{
    for (unsigned i = 0; i < ENVMOVE_ROOMS; i++)
        if (s->room[i].used && vi_id_equal(&s->room[i].move, move))
            return &s->room[i];
    return NULL;
}

static void phase(struct envmoves *s, vi_time now, struct em_room *r, enum envmove_phase p, const char *why)
{
    if (why)
        snprintf(r->why, sizeof r->why, "%s", why);
    if (r->phase != p)
        em_note(s, &r->move, &r->plan.env, "asked for room: %s%s%s", envmove_phase_text(p), r->why[0] ? ": " : "",
                r->why);
    if (p == ER_ROOM)
        em_remember(s, now, &r->plan.env);
    r->phase = p;
    r->entered = r->next = now;
    em_look_end(s, &r->look);
}

static void answer(struct envmoves *s, vi_time now, const struct vi_id *to, const struct em_msg *asked,
                   enum em_kind kind, const char *why)
{
    struct em_msg m = {.kind = kind, .move = asked->move, .n = asked->n, .round = asked->round};
    snprintf(m.why, sizeof m.why, "%s", why);
    em_send(s, now, to, &m);
}

/* ---- leases ---- */

static void drop(struct envmoves *s, vi_time now, struct em_room *r)
{
    struct em_msg m = {.kind = EM_DROP, .move = r->move};
    for (unsigned i = 0; i < r->plan.n; i++)
        if (!vi_id_is_zero(&r->place[i].host)) {
            m.guest = r->plan.g[i].uuid;
            em_send(s, now, &r->place[i].host, &m);
            memset(&r->place[i], 0, sizeof r->place[i]);
        }
}

/* Its leases end by their terms, or their guests' hosts renew them. */
static void forget(struct envmoves *s, struct em_room *r)
{
    em_look_end(s, &r->look);
    r->used = false;
}

static void refuse(struct envmoves *s, vi_time now, struct em_room *r, const char *why)
{
    char text[ENVMOVE_WHY];
    snprintf(text, sizeof text, "%s", why); /* may be our own */
    drop(s, now, r);
    phase(s, now, r, ER_REFUSED, text);
}

static void ask_lease(struct envmoves *s, vi_time now, struct em_room *r, unsigned i)
{
    const struct em_part *g = &r->plan.g[i];
    struct em_msg m = {.kind = EM_LEASE, .move = r->move, .env = r->plan.env, .home = r->home, .guest = g->uuid,
                       .peer = g->from, .kb = g->kb, .pct = g->pct};
    m.n = em_asking(&r->place[i].asked, now);
    em_send(s, now, &r->place[i].host, &m);
}

static void plan_again(struct envmoves *s, vi_time now, struct em_room *r, const char *why)
{
    if (++r->tries >= EM_TRIES) {
        refuse(s, now, r, why);
        return;
    }
    drop(s, now, r);
    phase(s, now, r, ER_LOOKING, why);
}

/* How long the room is sure, from now: until the first of its leases isn't to be trusted. */
static vi_time sure(const struct em_room *r, vi_time now)
{
    vi_time left = ENVMOVE_TRUSTED;
    for (unsigned i = 0; i < r->plan.n; i++) {
        vi_time of = r->place[i].leased_at + ENVMOVE_TRUSTED - now;
        if (!r->place[i].leased || of < 0)
            return 0;
        left = of < left ? of : left;
    }
    return left;
}

/* ---- planning ---- */

static unsigned budget(struct envmoves *s, vi_time now, const struct vi_id *domain, unsigned used)
{
    unsigned oldest = 0;
    for (unsigned i = 0; i < EM_BUDGETS; i++) {
        if (vi_id_equal(&s->budget[i].domain, domain) && now - s->budget[i].since < VI_HOUR) {
            s->budget[i].n += used;
            return s->budget[i].n < s->cfg.shifts_hour ? s->cfg.shifts_hour - s->budget[i].n : 0;
        }
        if (s->budget[i].since < s->budget[oldest].since)
            oldest = i;
    }
    s->budget[oldest].domain = *domain;
    s->budget[oldest].since = now;
    s->budget[oldest].n = used;
    return s->cfg.shifts_hour;
}

/* All that are looked at in one turn, but perhaps this one, have guests of that home: others may have some, too, and nobody knows how
 * many. */
static bool uncounted(const struct em_room *r, const struct em_look *k)
{
    unsigned n = 0;
    for (unsigned i = 0; i < k->n_hosts; i++)
        n += k->answered[i] && k->seen[i].of_home.guests > 0;
    return !r->at_home && n >= ENVMOVE_HOSTS - 1;
}

static bool within_limits(const struct em_room *r, const struct em_look *k, bool with_asked)
{
    struct envmove_limits sum = {0};
    for (unsigned i = 0; i < k->n_hosts; i++)
        if (k->answered[i]) {
            sum.guests += k->seen[i].of_home.guests;
            sum.kb += k->seen[i].of_home.kb;
            sum.pct += k->seen[i].of_home.pct;
        }
    for (unsigned i = 0; with_asked && i < r->plan.n; i++) {
        sum.guests++;
        sum.kb += r->plan.g[i].kb;
        sum.pct += r->plan.g[i].pct;
    }
    return r->at_home || (sum.guests <= r->limits.guests && sum.kb <= r->limits.kb && sum.pct <= r->limits.pct + 0.5);
}

/* Each counts with what it has to be allocated: nobody is packed, or taken in, so tightly that it is out of its range at once.
 * A guest of the environment itself, or of another that a foreign domain moves right now, isn't shifted: its host
 * refuses, and the plan is made anew. */
static unsigned bins_of(const struct envmoves *s, struct em_room *r, const struct em_look *k, struct envmove_bin *bins)
{
    unsigned n = 0;
    for (unsigned i = 0; i < k->n_hosts; i++) {
        const struct envmove_seen *e = &k->seen[i];
        struct envmove_bin *b = &bins[n];
        if (!k->answered[i])
            continue;
        r->bins[n++] = k->host[i];
        b->id = k->host[i];
        b->free_kb = e->free_kb > 0 ? (uint64_t)e->free_kb : 0;
        b->free_pct = e->free_pct;
        b->arrivals = s->cfg.arrivals;
        b->n = e->n;
        memcpy(b->guest, e->guest, e->n * sizeof e->guest[0]);
        for (unsigned g = 0; g < e->n; g++) {
            b->guest[g].pct = policy_level(e->guest[g].pct, s->cfg.range_high);
            b->free_pct -= b->guest[g].pct - e->guest[g].pct;
        }
    }
    return n;
}

static void plan(struct envmoves *s, vi_time now, struct em_room *r)
{
    static struct envmove_bin bins[ENVMOVE_HOSTS];
    const struct em_look *k = &s->looks[r->look];
    struct envmove_item items[ENVMOVE_GUESTS];
    char why[ENVMOVE_WHY] = "";
    unsigned n = bins_of(s, r, k, bins), most = budget(s, now, &r->domain, 0);
    most = most < s->cfg.shifts_most ? most : s->cfg.shifts_most;
    if (uncounted(r, k)) {
        refuse(s, now, r, "guests of its home domain are on more hosts than can be looked at: they can't be counted");
        return;
    }
    if (!within_limits(r, k, true)) {
        refuse(s, now, r, "more than this domain takes in of its home domain's guests");
        return;
    }
    for (unsigned i = 0; i < r->plan.n; i++) {
        items[i].guest = r->plan.g[i].uuid;
        items[i].env = r->plan.env;
        items[i].kb = r->plan.g[i].kb;
        items[i].pct = policy_level(r->plan.g[i].pct, s->cfg.range_high);
    }
    if (envmove_plan(&r->shifts, bins, n, items, r->plan.n, most, s->cfg.hooks.rules ? s->cfg.hooks.rules(s->cfg.hooks.arg) : NULL,
                     why, sizeof why)) {
        refuse(s, now, r, why);
        return;
    }
    memset(r->place, 0, sizeof r->place);
    for (unsigned i = 0; i < r->plan.n; i++)
        r->place[i].host = r->bins[r->shifts.place[i]];
    memset(r->shifted, 0, sizeof r->shifted);
    r->shift_failed = false;
    (void)budget(s, now, &r->domain, r->shifts.n_shifts);
    phase(s, now, r, r->shifts.n_shifts ? ER_SHIFTING : ER_LEASING, "");
}

static void looking(struct envmoves *s, vi_time now, struct em_room *r)
{
    if (r->look < 0)
        r->look = em_look_begin(s, now, NULL, &r->home);
    else if (s->looks[r->look].done)
        plan(s, now, r);
}

/* ---- making room ---- */

/* A shift waits for those before it that free its place, and until its host has a hand free for it. */
static bool may_begin(const struct envmoves *s, const struct em_room *r, unsigned i)
{
    unsigned to_host = 0;
    for (unsigned k = 0; k < r->shifts.n_shifts; k++)
        to_host += r->shifted[k] == EM_DOING && r->shifts.shift[k].to == r->shifts.shift[i].to;
    if (to_host >= s->cfg.per_host)
        return false;
    for (unsigned k = 0; k < i; k++)
        if (r->shifted[k] != EM_DONE &&
            (r->shifts.shift[k].from == r->shifts.shift[i].to || vi_id_equal(&r->shifts.shift[k].guest, &r->shifts.shift[i].guest)))
            return false;
    return true;
}

static void shifting(struct envmoves *s, vi_time now, struct em_room *r)
{
    unsigned doing = 0, left = 0;
    if (now - r->entered > EM_SHIFT_FOR) {
        plan_again(s, now, r, "making room takes too long");
        return;
    }
    for (unsigned i = 0; i < r->shifts.n_shifts; i++)
        doing += r->shifted[i] == EM_DOING;
    if (r->shift_failed && doing == 0) {
        plan_again(s, now, r, r->why);
        return;
    }
    for (unsigned i = 0; i < r->shifts.n_shifts; i++) {
        const struct envmove_shift *x = &r->shifts.shift[i];
        struct em_msg m = {.kind = EM_SHIFT, .move = r->move, .guest = x->guest, .peer = r->bins[x->to]};
        if (r->shifted[i] == EM_DONE)
            continue;
        left++;
        if (r->shifted[i] == EM_TO_DO && (r->shift_failed || doing >= s->cfg.links || !may_begin(s, r, i)))
            continue;
        doing += r->shifted[i] == EM_TO_DO;
        if (r->shifted[i] == EM_DOING && now - r->shift_at[i] < 2 * EM_AGAIN)
            continue;
        r->shifted[i] = EM_DOING;
        r->shift_at[i] = now;
        em_send(s, now, &r->bins[x->from], &m);
    }
    if (left == 0)
        phase(s, now, r, ER_LEASING, "");
}

static void shifted(vi_time now, struct em_room *r, const struct vi_id *from, const struct em_msg *m)
{
    for (unsigned i = 0; r->phase == ER_SHIFTING && i < r->shifts.n_shifts; i++)
        if (r->shifted[i] == EM_DOING && vi_id_equal(&r->shifts.shift[i].guest, &m->guest) &&
            vi_id_equal(&r->bins[r->shifts.shift[i].from], from)) {
            if (m->err) {
                r->shift_failed = true;
                r->next = now;
                memcpy(r->why, m->why, sizeof r->why);
            }
            r->shifted[i] = m->err ? EM_TO_DO : EM_DONE;
        }
}

/* ---- leases, limits ---- */

static void leasing(struct envmoves *s, vi_time now, struct em_room *r)
{
    unsigned left = 0;
    for (unsigned i = 0; i < r->plan.n; i++)
        left += !r->place[i].leased;
    if (left == 0) {
        phase(s, now, r, r->at_home ? ER_ROOM : ER_CHECKING, "");
        if (!r->room_at)
            r->room_at = now;
        return;
    }
    if (now - r->entered > EM_LEASE_FOR) {
        plan_again(s, now, r, "a host that has room doesn't answer");
        return;
    }
    if (now < r->next)
        return;
    r->next = now + EM_AGAIN;
    for (unsigned i = 0; i < r->plan.n; i++)
        if (!r->place[i].leased)
            ask_lease(s, now, r, i);
}

static void checking(struct envmoves *s, vi_time now, struct em_room *r)
{
    if (r->look < 0) {
        r->look = em_look_begin(s, now, NULL, &r->home);
        return;
    }
    if (!s->looks[r->look].done)
        return;
    if (!em_look_whole(&s->looks[r->look])) { /* who doesn't answer may have more of them */
        em_look_end(s, &r->look);
        if (++r->looks >= EM_TRIES)
            refuse(s, now, r, "not all hosts say what they have of its home domain's guests");
        return;
    }
    if (within_limits(r, &s->looks[r->look], false))
        phase(s, now, r, ER_ROOM, "");
    else
        refuse(s, now, r, "more than this domain takes in of its home domain's guests");
}

static void keep(struct envmoves *s, vi_time now, struct em_room *r)
{
    if (now - r->room_at > EM_ASK_FOR) {
        refuse(s, now, r, "the room was kept for long and not used");
        return;
    }
    if (now < r->next)
        return;
    r->next = now + EM_RENEW / 2;
    for (unsigned i = 0; i < r->plan.n; i++)
        ask_lease(s, now, r, i);
}

static void lease_answered(struct envmoves *s, vi_time now, struct em_room *r, const struct vi_id *from,
                           const struct em_msg *m)
{
    vi_time asked;
    for (unsigned i = 0; i < r->plan.n; i++) {
        struct em_place *p = &r->place[i];
        if (!vi_id_equal(&r->plan.g[i].uuid, &m->guest) || !vi_id_equal(&p->host, from) ||
            !em_answered(&p->asked, m->n, &asked))
            continue;
        if (m->kind == EM_LEASED) {
            p->leased = true;
            p->leased_at = asked;
        } else if (r->phase == ER_LEASING) {
            plan_again(s, now, r, m->why);
            return;
        } else
            p->leased = false; /* not sure any more: nothing is said of room from here on */
    }
}

/* ---- asked ---- */

static const char *unfit(struct envmoves *s, const struct em_msg *m, const struct vi_id *domain,
                         struct envmove_env *env)
{
    unsigned of_domain = 0;
    for (unsigned i = 0; i < ENVMOVE_ROOMS; i++)
        of_domain += s->room[i].used && s->room[i].phase != ER_REFUSED && vi_id_equal(&s->room[i].domain, domain);
    if (of_domain >= ENVMOVE_ROOMS_EACH)
        return "another environment of your domain is being taken in";
    if (!s->cfg.hooks.env(s->cfg.hooks.arg, &m->plan.env, env))
        return "the environment isn't known there yet, or may not be there; try again in a moment";
    if (!env->allowed)
        return "the environment may not be here";
    if (!env->at_home && env->limits.guests < m->plan.n)
        return "more than this domain takes in of its home domain's guests";
    return NULL;
}

/* Guests that are asked for again have no use for the places that they had: another one would count twice. */
static void drop_again(struct envmoves *s, vi_time now, const struct em_room *r, const struct em_msg *m)
{
    struct em_msg d = {.kind = EM_DROP, .move = r->move};
    if (!vi_id_equal(&r->move, &m->move))
        return; /* an old one, whose place is taken */
    for (unsigned i = 0; i < r->plan.n; i++)
        for (unsigned k = 0; k < m->plan.n; k++)
            if (vi_id_equal(&r->plan.g[i].uuid, &m->plan.g[k].uuid) && !vi_id_is_zero(&r->place[i].host)) {
                d.guest = r->plan.g[i].uuid;
                em_send(s, now, &r->place[i].host, &d);
            }
}

static void begin(struct envmoves *s, vi_time now, const struct vi_id *from, const struct vi_id *domain,
                  const struct em_msg *m)
{
    struct em_room *r = find(s, &m->move);
    struct envmove_env env = {0};
    const char *why;
    for (unsigned i = 0; i < ENVMOVE_ROOMS; i++)
        if (s->room[i].used && &s->room[i] != r && vi_id_equal(&s->room[i].domain, domain) &&
            now - s->room[i].heard > EM_ANSWER)
            forget(s, &s->room[i]); /* nobody asks for it any more */
    for (unsigned i = 0; i < ENVMOVE_ROOMS && !r; i++)
        if (!s->room[i].used)
            r = &s->room[i];
    for (unsigned i = 0; i < ENVMOVE_ROOMS && !r; i++)
        if (s->room[i].phase == ER_REFUSED)
            r = &s->room[i];
    if (!r) {
        answer(s, now, from, m, EM_REFUSE, "too many environments are being taken in");
        return;
    }
    if (r->used) {
        em_look_end(s, &r->look);
        drop_again(s, now, r, m);
    } else
        r->look = -1;
    r->used = false; /* one of an earlier round doesn't count against this one */
    why = unfit(s, m, domain, &env);
    if (why) {
        answer(s, now, from, m, EM_REFUSE, why);
        return;
    }
    memset(r, 0, sizeof *r);
    r->used = true;
    r->move = m->move;
    r->lead = *from;
    r->domain = *domain;
    r->home = env.home;
    r->at_home = env.at_home;
    r->limits = env.limits;
    r->plan = m->plan;
    for (unsigned i = 0; i < r->plan.n; i++)
        memset(&r->plan.g[i].to, 0, sizeof r->plan.g[i].to);
    r->round = m->round;
    r->since = r->heard = now;
    r->look = -1;
    phase(s, now, r, ER_LOOKING, "");
    answer(s, now, from, m, EM_WAIT, "looking for room");
}

static void say_room(struct envmoves *s, vi_time now, struct em_room *r, const struct em_msg *asked)
{
    struct em_msg m = {.kind = EM_ROOM, .move = r->move, .n = asked->n, .round = r->round, .plan = r->plan};
    m.left = sure(r, now);
    for (unsigned i = 0; i < r->plan.n; i++)
        m.plan.g[i].to = r->place[i].host;
    em_send(s, now, &r->lead, &m);
}

static void asked(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_room *r = find(s, &m->move);
    struct vi_id domain;
    if (s->cfg.hooks.kin(s->cfg.hooks.arg, from, &domain) != ENVMOVE_FOREIGN)
        return;
    if (r && !vi_id_equal(&r->domain, &domain))
        return; /* nobody else's business */
    if (!r || m->round > r->round) {
        if (s->represents)
            begin(s, now, from, &domain, m);
        return;
    }
    if (m->round < r->round)
        return;
    r->lead = *from;
    r->heard = now;
    if (r->phase == ER_REFUSED)
        answer(s, now, from, m, EM_REFUSE, r->why);
    else if (r->phase == ER_ROOM && sure(r, now) > EM_MARGIN)
        say_room(s, now, r, m);
    else
        answer(s, now, from, m, EM_WAIT, envmove_phase_text(r->phase));
}

void em_room_message(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_room *r = find(s, &m->move);
    struct vi_id domain;
    if (m->kind == EM_ASK) {
        asked(s, now, from, m);
        return;
    }
    if (!r)
        return;
    if (m->kind == EM_BACK) {
        if (s->cfg.hooks.kin(s->cfg.hooks.arg, from, &domain) == ENVMOVE_FOREIGN && vi_id_equal(&domain, &r->domain) &&
            r->phase != ER_REFUSED)
            refuse(s, now, r, "given back");
    } else if (m->kind == EM_SHIFTED)
        shifted(now, r, from, m);
    else
        lease_answered(s, now, r, from, m);
}

void em_room_tick(struct envmoves *s, vi_time now)
{
    for (unsigned i = 0; i < ENVMOVE_ROOMS; i++) {
        struct em_room *r = &s->room[i];
        if (!r->used)
            continue;
        if (now - r->heard > EM_HEARD) {
            forget(s, r);
            continue;
        }
        switch (r->phase) {
        case ER_LOOKING: looking(s, now, r); break;
        case ER_SHIFTING: shifting(s, now, r); break;
        case ER_LEASING: leasing(s, now, r); break;
        case ER_CHECKING: checking(s, now, r); break;
        case ER_ROOM: keep(s, now, r); break;
        default: break;
        }
    }
}
