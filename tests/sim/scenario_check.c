/* The truth behind a verdict, and what a scenario expects. See scenario_run.h. */
#include "tests/sim/scenario_run.h"

#include <stdarg.h>

/* ---- the truth ------------------------------------------------------------------------------------- */

static unsigned size(const struct scenario_run *r, const struct sc_set *set)
{
    unsigned n = 0;

    for (unsigned who = 0; who < r->n; who++)
        n += sc_has(set, who);
    return n;
}

/* On, or over for less than the grace. */
static bool felt(const struct scenario_run *r, unsigned k, vi_time now)
{
    const struct sr_outcome *o = &r->outcome[k];

    return o->begun && (!o->over || now - o->end < SR_GRACE);
}

/* Cut off from half of all, one way or the other. */
static bool cut_off(const struct scenario_run *r, const struct sc_event *e, unsigned who)
{
    return (sc_has(&e->set, who) && 2 * size(r, &e->to) >= r->n) ||
           (sc_has(&e->to, who) && 2 * size(r, &e->set) >= r->n);
}

bool sr_healthy(const struct scenario_run *r, unsigned who, vi_time now)
{
    if (!r->is_up[who] || now - r->started[who] < SR_GRACE)
        return false;
    for (unsigned k = 0; k < r->s->nevents; k++) {
        const struct sc_event *e = &r->s->event[k];

        if (!felt(r, k, now) || !r->in_event[(size_t)k * r->n + who])
            continue;
        if (e->verb == SC_LEAVE || (e->verb >= SC_PAUSE && e->verb <= SC_LOSS && e->verb != SC_PARTITION &&
                                    (e->verb != SC_CUT || cut_off(r, e, who))))
            return false;
    }
    return true;
}

bool sr_excused(const struct scenario_run *r, unsigned by, unsigned who, vi_time now)
{
    if (!sr_healthy(r, who, now))
        return true;
    for (unsigned k = 0; k < r->s->nevents; k++) {
        const struct sc_event *e = &r->s->event[k];
        const bool *in = &r->in_event[(size_t)k * r->n];

        if (!felt(r, k, now))
            continue;
        /* once it is healed, the verdicts of either side go about on the other */
        if ((e->verb == SC_PARTITION && (in[by] != in[who] || r->outcome[k].over)) || (e->verb == SC_MUTE && in[by]) ||
            (e->verb == SC_CUT && in[by] && cut_off(r, e, by)))
            return true;
    }
    return false;
}

/* ---- expectations ------------------------------------------------------------------------------------ */

static void say(struct sr_check *c, bool ok, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(struct sr_check *c, bool ok, const char *fmt, ...)
{
    va_list ap;

    c->ok = ok;
    va_start(ap, fmt);
    vsnprintf(c->said, sizeof c->said, fmt, ap);
    va_end(ap);
}

void scenario_check_agreed(struct scenario_run *r, vi_time at)
{
    bool agreed = peers_agreed(r->p);

    for (unsigned k = 0; k < r->s->nexpects; k++)
        if (r->s->expect[k].kind == SC_AGREED && r->s->expect[k].within == at)
            say(&r->check[k], agreed, agreed ? "all agree" : "they don't agree");
}

/* The last event of that kind about it; NULL: there was none. */
static const struct sr_outcome *last_of(const struct scenario_run *r, enum sc_verb verb, unsigned who,
                                        const struct sr_subject **subject)
{
    for (unsigned k = r->s->nevents; k > 0; k--) {
        const struct sr_outcome *o = &r->outcome[k - 1];

        if (r->s->event[k - 1].verb != verb || !o->begun || !r->in_event[(size_t)(k - 1) * r->n + who])
            continue;
        for (unsigned j = 0; j < o->nsubjects; j++)
            if (o->subject[j].who == who)
                *subject = &o->subject[j];
        return o;
    }
    return NULL;
}

/* All believed it of all members of the set, the last of them so long after. */
static void check_within(const struct scenario_run *r, const struct sc_expect *e, struct sr_check *c)
{
    bool dead = e->kind == SC_DEAD, starting = e->of == SC_START || e->of == SC_RESTART || e->of == SC_MOVE;
    const char *state = dead ? "dead" : "alive";
    vi_time most = 0;

    for (unsigned who = 0; who < r->n; who++) {
        const struct sr_subject *s = NULL;
        const struct sr_outcome *o;
        vi_time from, then;

        if (!sc_has(&e->set, who))
            continue;
        o = last_of(r, e->of, who, &s);
        if (!o || !s || (e->after && !o->over)) {
            say(c, false, "there was no %s%s of %u", e->after ? "end of a " : "", sc_verb_text(e->of), who);
            return;
        }
        from = e->after ? o->end : o->at;
        then = dead || starting ? s->all : s->back;
        if (then == VI_NEVER || (dead && starting)) {
            say(c, false, "%u was never %s for all (%u of %u say dead at the end, %u alive)", who, state, r->dead[who],
                r->up - r->is_up[who], r->alive[who]);
            return;
        }
        most = then - from > most ? then - from : most;
        if (most > e->within) {
            say(c, false, "%u was %s for all after %.2f s", who, state, (double)most / 1e6);
            return;
        }
    }
    say(c, true, "after %.2f s", (double)most / 1e6);
}

static void check_never(const struct scenario_run *r, const struct sc_expect *e, struct sr_check *c)
{
    for (unsigned who = 0; who < r->n; who++)
        if (sc_has(&e->set, who) && r->removed[who]) {
            say(c, false, "%u was declared dead %llu times", who, (unsigned long long)r->removed[who]);
            return;
        }
    say(c, true, "never");
}

static void check_removed(const struct scenario_run *r, struct sr_check *c, uint64_t n)
{
    if (n && r->nshown)
        say(c, false, "%llu wrong verdicts; the first: %u on %u at %.2f s", (unsigned long long)n, r->shown[0].by,
            r->shown[0].who, (double)r->shown[0].at / 1e6);
    else
        say(c, true, "none");
}

void scenario_check(struct scenario_run *r)
{
    r->ok = true;
    for (unsigned k = 0; k < r->s->nexpects; k++) {
        const struct sc_expect *e = &r->s->expect[k];
        struct sr_check *c = &r->check[k];

        if (e->kind == SC_NONE_REMOVED || e->kind == SC_NONE_REMOVED_BY_HEALTHY)
            check_removed(r, c, e->kind == SC_NONE_REMOVED ? r->wrong : r->wrong_by_healthy);
        else if (e->kind == SC_DEAD || e->kind == SC_ALIVE)
            check_within(r, e, c);
        else if (e->kind == SC_NEVER_DEAD)
            check_never(r, e, c);
        else if (e->kind == SC_TRAFFIC)
            say(c, r->tx_mean <= e->most, "%.0f bytes a second and peer", r->tx_mean);
        r->ok &= c->ok;
    }
}
