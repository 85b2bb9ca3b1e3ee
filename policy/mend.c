/* The rules of environments, as this host has to do with them: taken in with each snapshot, asked for every choice, and
 * mended where they are broken, as they are when guests were started so by hand.
 *
 * Mending waits until nothing is short, for a rule broken in k of n evaluations, goes one guest a minute and host, and
 * under the conditions of any other move: settling time, cool-down, the environment's budget of moves, room there. */
#include <stdlib.h>
#include <string.h>

#include "policy/internal.h"

#define MEND_EVERY VI_MIN

static void view_of(const struct policy *p, struct policy_rules *v)
{
    v->rule = p->rules;
    v->n = p->n_rules;
    v->place = p->places;
    v->n_places = p->n_places;
}

/* Of a guest that is heard of in two places the one that is told of first. */
static int by_guest(const void *x, const void *y)
{
    const struct policy_place *a = *(const struct policy_place *const *)x, *b = *(const struct policy_place *const *)y;
    int c = vi_id_compare(&a->guest, &b->guest);
    return c ? c : a < b ? -1 : a > b;
}

static void sort_places(struct policy *p)
{
    for (unsigned i = 0; i < p->n_places; i++)
        p->by_guest[i] = &p->places[i];
    if (p->n_places)
        qsort(p->by_guest, p->n_places, sizeof p->by_guest[0], by_guest);
}

const struct policy_place *policy_place_of(const struct policy *p, const struct vi_id *guest)
{
    unsigned low = 0, high = p->n_places;
    while (low < high) { /* the first that isn't before it */
        unsigned mid = low + (high - low) / 2;
        if (vi_id_compare(&p->by_guest[mid]->guest, guest) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < p->n_places && vi_id_equal(&p->by_guest[low]->guest, guest) ? p->by_guest[low] : NULL;
}

void policy_take_rules(struct policy *p, vi_time now, const struct policy_snapshot *s)
{
    struct policy_rules v;
    policy_take_talks(p, s);
    policy_budget_watch(p, now, &s->rules);
    p->self = s->self;
    p->n_rules = s->rules.n < POLICY_RULES ? s->rules.n : POLICY_RULES;
    if (p->n_rules)
        memcpy(p->rules, s->rules.rule, p->n_rules * sizeof p->rules[0]);
    p->n_places = s->rules.n_places < POLICY_PLACES ? s->rules.n_places : POLICY_PLACES;
    if (p->n_places)
        memcpy(p->places, s->rules.place, p->n_places * sizeof p->places[0]);
    for (unsigned i = 0; i < p->top; i++) {
        struct guest_state *g = &p->guests[i];
        struct policy_place *here = &p->places[p->n_places];
        if (!g->used || g->awaited)
            continue;
        memset(here, 0, sizeof *here);
        here->env = g->in.env;
        here->guest = g->in.uuid;
        here->host = p->self;
        memcpy(here->tag, g->tag, sizeof here->tag);
        p->n_places++;
    }
    sort_places(p);
    view_of(p, &v);
    for (unsigned i = 0; i < p->top; i++) {
        struct guest_state *g = &p->guests[i];
        struct vi_id to;
        g->broken <<= 1;
        if (g->used && p->n_rules)
            g->broken |= policy_rule_broken(&v, &g->in.env, g->tag, &p->self, &to) != NULL;
    }
}

const char *policy_ruled_out(struct policy *p, const struct guest_state *g, const struct vi_id *host)
{
    const struct policy_rule *rule;
    struct policy_rules v;
    view_of(p, &v);
    rule = policy_rule_against(&v, &g->in.env, g->tag, host);
    return rule ? policy_rule_text(rule, p->rule_text) : NULL;
}

const char *policy_ruled_here(struct policy *p, const struct guest_state *g)
{
    const struct policy_rule *rule;
    struct policy_rules v;
    view_of(p, &v);
    rule = policy_rule_pins(&v, &g->in.env, g->tag, &p->self);
    return rule ? policy_rule_text(rule, p->rule_text) : NULL;
}

unsigned policy_companions(const struct policy *p, const struct guest_state *g, const struct vi_id *host)
{
    struct policy_rules v;
    view_of(p, &v);
    return policy_rule_companions(&v, &g->in.env, g->tag, host);
}

/* The smallest that may go: it costs least. */
static struct guest_state *to_mend(struct policy *p, vi_time now)
{
    struct guest_state *best = NULL;
    for (unsigned i = 0; i < p->top; i++) {
        struct guest_state *g = &p->guests[i];
        const char *why;
        if (!g->used || !g->in.running || !policy_k_of_n(p, g->broken))
            continue;
        why = policy_stays(p, now, g);
        if (why)
            policy_refuse(p, now, g, why);
        else if (!best || g->in.current_kb + g->in.disk_kb < best->in.current_kb + best->in.disk_kb)
            best = g;
    }
    return best;
}

void policy_consider_mend(struct policy *p, vi_time now)
{
    const struct policy_rule *rule;
    struct guest_state *g;
    struct policy_rules v;
    struct vi_id to;
    char text[POLICY_RULE_TEXT];
    if (p->n_rules == 0 || (p->mended_at && now - p->mended_at < MEND_EVERY))
        return;
    g = to_mend(p, now);
    if (!g)
        return;
    view_of(p, &v);
    rule = policy_rule_broken(&v, &g->in.env, g->tag, &p->self, &to);
    if (!rule)
        return; /* not in this evaluation */
    p->mended_at = now;
    policy_probe(p, now, g, NULL, vi_id_is_zero(&to) ? NULL : &to, policy_rule_text(rule, text));
}
