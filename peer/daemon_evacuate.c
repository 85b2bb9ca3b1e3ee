/* Draining, when the domain has no room: a guest that no host of it takes leaves with its whole environment for another domain where
 * that is allowed. The move is the environments' own (policy/envmove.h), begun by who represents the domain, and within what the other
 * domain takes in; one at a time from this host, tried again at growing distances. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

#define STUCK_FOR (20 * VI_SEC)  /* summaries are seconds old, and hosts take some guests at a time */
#define AGAIN     VI_MIN         /* then doubled, up to */
#define AGAIN_MOST (10 * VI_MIN)

void daemon_evacuate_anew(struct daemon *d)
{
    d->evacuate = (struct evacuation){.wait = AGAIN};
}

/* The policy's last word is that it stays, for want of a place. */
static bool is_stuck(struct daemon *d, const struct hv_guest *g)
{
    const struct policy_decision *dec;
    unsigned pos = 0;
    if (!g->movable || g->state != HV_RUNNING || g->incoming || daemon_pinned(d, g->name) ||
        handover_has_guest(d->handovers, &g->uuid) || daemon_envmove_holds(d, &g->uuid))
        return false;
    while (policy_decision_next(d->policy, &g->uuid, &pos, &dec))
        if (dec->kind == POLICY_REFUSE || dec->kind == POLICY_MOVE || dec->kind == POLICY_FAILED)
            return dec->kind == POLICY_REFUSE;
    return false;
}

/* Is a guest of this host on its way? Its going may make the room that another waits for. */
static bool some_leave(struct daemon *d)
{
    for (unsigned i = 0; i < d->n_guests; i++)
        if (handover_has_guest(d->handovers, &d->guests[i].uuid) || daemon_envmove_holds(d, &d->guests[i].uuid))
            return true;
    return false;
}

/* What the environment's guests of this host need: those of other hosts come beside, and the representative counts them. */
static void needs_here(struct daemon *d, const struct env *e, uint64_t *kb, double *pct)
{
    *kb = 0;
    *pct = 0;
    for (unsigned i = 0; i < d->n_guests; i++) {
        struct policy_needs needs = {.kb = d->guests[i].current_kb};
        if (daemon_guest_env(d, &d->guests[i]) != e || !d->guests[i].movable || daemon_pinned(d, d->guests[i].name))
            continue;
        (void)policy_needs(d->policy, &d->guests[i].uuid, &needs);
        *kb += needs.kb;
        *pct += needs.pct;
    }
}

/* The nth of the domains that might take it, counted round and round; NULL: none, why says it of the last. */
static const char *domain_for(struct daemon *d, const struct env *e, unsigned nth, char *why, size_t cap)
{
    const char *fit[ENV_ALLOWED + 1], *refused;
    char text[120];
    unsigned n = 0;
    uint64_t kb;
    double pct;
    needs_here(d, e, &kb, &pct);
    snprintf(why, cap, "its environment may be in no other domain");
    for (unsigned i = 0; i <= e->def.n_allowed; i++) {
        const char *domain = i < e->def.n_allowed ? e->def.allowed[i] : e->def.home;
        if (!strcmp(domain, d->me.cert.domain))
            continue;
        refused = daemon_env_refused(d, e, domain, kb, pct, text, sizeof text);
        if (refused)
            snprintf(why, cap, "nor %s: %s", domain, refused);
        else
            fit[n++] = domain;
    }
    return n ? fit[nth % n] : NULL;
}

bool daemon_evacuate_word(struct daemon *d, const struct hv_guest *g, char *out, size_t cap)
{
    const struct env *e = daemon_guest_env(d, g);
    char why[DRAINWORD_WHY];
    const char *domain = e ? domain_for(d, e, d->evacuate.tries, why, sizeof why) : NULL;
    if (!e)
        return false;
    if (!domain)
        snprintf(out, cap, "%.*s", (int)cap - 1, why);
    else if (d->evacuate.last[0] && vi_id_equal(&d->evacuate.env, &e->def.id))
        snprintf(out, cap, "%.*s", (int)cap - 1, d->evacuate.last);
    else
        snprintf(out, cap, "%s is asked to have all of %s", domain, e->def.name);
    return true;
}

/* What came of the order; how the move itself goes is told where moves are (`violin env moves`, explain). */
static void on_ordered(struct daemon *d, const struct vi_id *env, int err)
{
    if (!vi_id_equal(env, &d->evacuate.env))
        return;
    if (err == VI_EEXIST)
        err = 0; /* it is moving: good */
    if (err)
        snprintf(d->evacuate.last, sizeof d->evacuate.last, "its environment's move was not begun: %s", vi_strerror(err));
}

static void send_away(struct daemon *d, const struct env *e)
{
    char why[DRAINWORD_WHY];
    const char *domain = domain_for(d, e, d->evacuate.tries, why, sizeof why);
    d->evacuate.env = e->def.id;
    if (!domain)
        return;
    d->evacuate.tries++;
    snprintf(d->evacuate.last, sizeof d->evacuate.last, "%s was asked to have all of %s (violin explain env:%s)", domain, e->def.name,
             e->def.name);
    daemon_history(d, daemon_event(d, "drain", d->me.cert.host, "no host of the domain has room: environment %s is to go to %s", e->def.name,
                                   domain));
    daemon_envmove_order(d, &e->def.id, domain, on_ordered);
}

void daemon_evacuate_tick(struct daemon *d, vi_time now)
{
    const struct env *e = NULL;
    unsigned skip = d->evacuate.tries + d->evacuate.skipped, stuck = 0, at = 0;
    for (unsigned i = 0; i < d->n_guests; i++)
        stuck += is_stuck(d, &d->guests[i]);
    if (stuck == 0 || some_leave(d)) {
        d->evacuate.stuck_since = 0;
        return;
    }
    if (!d->evacuate.stuck_since)
        d->evacuate.stuck_since = now;
    if (now - d->evacuate.stuck_since < STUCK_FOR || now < d->evacuate.at)
        return;
    for (unsigned i = 0; i < d->n_guests; i++) /* another one each time: one that can't go must not keep the others */
        if (is_stuck(d, &d->guests[i]) && at++ == skip % stuck)
            e = daemon_guest_env(d, &d->guests[i]);
    d->evacuate.skipped++;
    d->evacuate.at = now + d->evacuate.wait;
    if (!e)
        return;
    skip = d->evacuate.tries;
    send_away(d, e);
    if (d->evacuate.tries == skip) {
        d->evacuate.at = now + 5 * VI_SEC; /* nobody was asked */
        return;
    }
    d->evacuate.skipped--;
    d->evacuate.wait = d->evacuate.wait * 2 > AGAIN_MOST ? AGAIN_MOST : d->evacuate.wait * 2;
}
