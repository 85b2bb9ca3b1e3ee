/* What if? See plan.h. */
#include "policy/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "policy/internal.h"

#define AT_ONCE 2 /* that leave a host in one evaluation: drain.c */

/* ---- hosts as the policy sees them ---- */

static struct policy_peer peer_of(const struct plan_host *h)
{
    struct policy_peer x = {.id = h->id};
    x.load.capacity_pct = h->capacity_pct;
    x.load.demand_pct = h->pct_after;
    x.load.total_kb = h->total_kb;
    x.load.free_kb = h->free_after_kb > 0 ? (uint64_t)h->free_after_kb : 0;
    x.load.arrivals = h->arrivals;
    x.load.draining = h->draining || h->without;
    return x;
}

static struct policy_needs needs_of(const struct plan_guest *g)
{
    return (struct policy_needs){.kb = g->changed || g->kb > g->size_kb ? g->kb : g->size_kb, .pct = g->pct};
}

static double cost_of(const struct policy *p, const struct plan_guest *g)
{
    return ((double)g->size_kb / p->cfg.bandwidth_kbps * 0.5 + 1) * (g->pct / 100 + 0.05);
}

/* ---- rules of environments ---- */

static struct policy_rules rules_of(const struct policy *p, const struct policy_plan *plan)
{
    if (plan->rules)
        return (struct policy_rules){.rule = plan->rules->rule, .n = plan->rules->n, .place = plan->place, .n_places = plan->n_guests};
    return (struct policy_rules){.rule = p->rules, .n = p->n_rules, .place = plan->place, .n_places = plan->n_guests};
}

static void take_place(struct policy_plan *plan, const struct plan_guest *g)
{
    static const struct vi_id elsewhere;
    struct policy_place *at = &plan->place[g - plan->guest];
    at->env = g->env;
    at->guest = g->uuid;
    at->host = g->host < PLAN_HOSTS ? plan->host[g->host].id : elsewhere;
    policy_rule_tag(&g->uuid, at->tag);
}

static const struct policy_rule *ruled_out(const struct policy *p, const struct policy_plan *plan, const struct plan_guest *g, unsigned host)
{
    struct policy_rules r = rules_of(p, plan);
    return policy_rule_against(&r, &g->env, plan->place[g - plan->guest].tag, &plan->host[host].id);
}

/* NULL, or why it stays where it is. */
static const char *kept_here(const struct policy *p, const struct policy_plan *plan, const struct plan_guest *g, char text[POLICY_RULE_TEXT])
{
    struct policy_rules r = rules_of(p, plan);
    const struct policy_rule *rule;
    if (!g->movable || !g->running)
        return g->why[0] ? g->why : "it does not run";
    rule = policy_rule_pins(&r, &g->env, plan->place[g - plan->guest].tag, &plan->host[g->host].id);
    return rule ? policy_rule_text(rule, text) : NULL;
}

/* The least utilised of those that fit, but none of `chosen`; PLAN_NOBODY, with *rule what kept it from one that fits (NULL: nothing). */
static unsigned destination(const struct policy *p, const struct policy_plan *plan, const struct plan_guest *g, const bool *chosen,
                            const struct policy_rule **rule)
{
    struct policy_needs needs = needs_of(g);
    unsigned best = PLAN_NOBODY;
    double least = INFINITY;
    *rule = NULL;
    for (unsigned i = 0; i < plan->n_hosts; i++) {
        struct policy_peer peer = peer_of(&plan->host[i]);
        double u = policy_utilisation(&peer.load, &needs);
        const struct policy_rule *against;
        if (i == g->host || !plan->host[i].known || (chosen && chosen[i]) || policy_peer_full(p, &peer, &needs))
            continue;
        against = ruled_out(p, plan, g, i);
        if (against) {
            *rule = against;
            continue;
        }
        if (u < least) {
            least = u;
            best = i;
        }
    }
    return best;
}

static void leave(struct policy_plan *plan, struct plan_guest *g)
{
    struct plan_host *from = &plan->host[g->host];
    from->free_after_kb += (int64_t)g->charged_kb;
    from->pct_after -= g->pct;
    from->guests_after--;
}

static bool move(const struct policy *p, struct policy_plan *plan, struct plan_guest *g, unsigned to, bool makes_room)
{
    struct plan_host *there = &plan->host[to];
    struct plan_move *m;
    if (plan->n_moves >= PLAN_MOVES) {
        plan->cut = true;
        return false;
    }
    m = &plan->move[plan->n_moves++];
    *m = (struct plan_move){.guest = (unsigned)(g - plan->guest), .from = g->host, .to = to, .cost_s = cost_of(p, g),
                            .carry_s = (double)(g->size_kb + g->disk_kb) / p->cfg.bandwidth_kbps, .makes_room = makes_room};
    leave(plan, g);
    g->charged_kb = needs_of(g).kb;
    there->free_after_kb -= (int64_t)g->charged_kb;
    there->pct_after += g->pct;
    there->guests_after++;
    g->host = to;
    take_place(plan, g);
    return true;
}

static void stay(struct plan_guest *g, const char *why)
{
    g->stuck = true;
    if (why != g->why)
        snprintf(g->why, sizeof g->why, "%s", why);
}

/* Is it a rule that keeps it from a host with room? */
static void no_place(struct plan_guest *g, const char *why, const struct policy_rule *rule)
{
    char text[POLICY_RULE_TEXT], all[sizeof g->why];
    if (!rule) {
        stay(g, why);
        return;
    }
    snprintf(all, sizeof all, "%.78s keeps it from where there is room", policy_rule_text(rule, text));
    stay(g, all);
}

/* ---- an environment goes to another domain ---- */

static void send_away(struct policy_plan *plan)
{
    for (unsigned i = 0; i < plan->n_guests; i++) {
        struct plan_guest *g = &plan->guest[i];
        if (!g->leaves)
            continue;
        if (!g->movable || !g->running) {
            plan->pinned++;
            continue;
        }
        plan->leaving++;
        plan->leaving_kb += needs_of(g).kb;
        plan->leaving_pct += g->pct;
        leave(plan, g);
        g->host = PLAN_HOSTS;
        take_place(plan, g);
    }
}

/* ---- a host is short: one guest's going must solve it, the cheapest that has a place ---- */

static double unserved(double pct, double capacity)
{
    return pct > capacity ? pct - capacity : 0;
}

static bool solves(const struct plan_host *h, const struct plan_guest *g)
{
    uint64_t short_kb = h->free_after_kb < 0 ? (uint64_t)-h->free_after_kb : 0;
    if (g->charged_kb < short_kb)
        return false;
    return unserved(h->pct_after - g->pct, h->capacity_pct) <= unserved(h->pct_after, h->capacity_pct) * 0.5;
}

static bool is_short(const struct plan_host *h)
{
    return h->free_after_kb < 0 || h->pct_after > h->capacity_pct;
}

static void relieve(const struct policy *p, struct policy_plan *plan, struct plan_guest *hungry)
{
    unsigned at = hungry->host;
    struct plan_guest *best = NULL;
    const struct policy_rule *rule = NULL, *of_hungry = NULL;
    unsigned to = PLAN_NOBODY;
    if (at >= PLAN_HOSTS || plan->host[at].without || !is_short(&plan->host[at]))
        return;
    for (unsigned i = 0; i < plan->n_guests; i++) {
        struct plan_guest *g = &plan->guest[i];
        char text[POLICY_RULE_TEXT];
        unsigned there;
        if (g->host != at || kept_here(p, plan, g, text) || !solves(&plan->host[at], g) ||
            (best && cost_of(p, g) >= cost_of(p, best)))
            continue;
        there = destination(p, plan, g, NULL, &rule);
        if (g == hungry)
            of_hungry = rule;
        if (there != PLAN_NOBODY) {
            best = g;
            to = there;
        }
    }
    if (!best) {
        no_place(hungry, "its host can't give it that, and no guest's move to another host would help", of_hungry);
        return;
    }
    snprintf(best->why, sizeof best->why, "%s", best == hungry ? "its host can't give it that" : "makes room for the one that grows");
    move(p, plan, best, to, false);
}

static void resize(const struct policy *p, struct policy_plan *plan)
{
    for (unsigned i = 0; i < plan->n_guests; i++)
        if (plan->guest[i].changed)
            relieve(p, plan, &plan->guest[i]);
}

/* ---- a host goes: as drain.c does it, some in each turn ---- */

static struct plan_guest *largest(struct policy_plan *plan, unsigned host, const bool *seen)
{
    struct plan_guest *best = NULL;
    for (unsigned i = 0; i < plan->n_guests; i++) {
        struct plan_guest *g = &plan->guest[i];
        if (g->host == host && !g->stuck && !seen[i] && (!best || g->size_kb > best->size_kb))
            best = g;
    }
    return best;
}

/* One evaluation of a host that is drained. false: nobody left. */
static bool turn(const struct policy *p, struct policy_plan *plan, unsigned host)
{
    bool chosen[PLAN_HOSTS] = {false}, seen[PLAN_GUESTS] = {false};
    struct plan_guest *g;
    unsigned left = 0;
    while (left < AT_ONCE && (g = largest(plan, host, seen))) {
        char text[POLICY_RULE_TEXT];
        const char *kept = kept_here(p, plan, g, text);
        const struct policy_rule *rule;
        unsigned to;
        seen[g - plan->guest] = true;
        if (kept) {
            stay(g, kept);
            continue;
        }
        to = destination(p, plan, g, chosen, &rule);
        if (to == PLAN_NOBODY && left == 0) /* else it may be that another goes there just now */
            no_place(g, "no other host has room for it", rule);
        if (to == PLAN_NOBODY)
            continue;
        snprintf(g->why, sizeof g->why, "its host is to be empty");
        if (!move(p, plan, g, to, false))
            return false;
        chosen[to] = true;
        left++;
    }
    return left > 0;
}

static void empty(const struct policy *p, struct policy_plan *plan)
{
    bool more = true;
    for (unsigned i = 0; i < plan->n_hosts; i++)
        if (plan->host[i].known)
            plan->host[i].arrivals = 0; /* those that come now are there by then */
    while (more) {
        more = false;
        for (unsigned i = 0; i < plan->n_hosts; i++)
            if (plan->host[i].without && plan->host[i].known)
                more |= turn(p, plan, i);
    }
}

/* ---- what would help who is stuck: small guests moved first, as envmove_plan() finds them ---- */

static unsigned bins_of(const struct policy *p, const struct policy_plan *plan, struct envmove_bin *bins, unsigned *of)
{
    unsigned n = 0;
    for (unsigned i = 0; i < plan->n_hosts && n < ENVMOVE_HOSTS; i++) {
        const struct plan_host *h = &plan->host[i];
        struct envmove_bin *b = &bins[n];
        if (!h->known || h->without || h->draining)
            continue;
        memset(b, 0, sizeof *b);
        b->id = h->id;
        b->free_kb = h->free_after_kb > 0 ? (uint64_t)h->free_after_kb : 0;
        b->free_pct = h->capacity_pct > h->pct_after ? h->capacity_pct - h->pct_after : 0;
        b->arrivals = ENVMOVE_GUESTS;
        for (unsigned k = 0; k < plan->n_guests && b->n < ENVMOVE_SEEN; k++) {
            const struct plan_guest *g = &plan->guest[k];
            char text[POLICY_RULE_TEXT];
            if (g->host == i) /* who stays counts where guests are to be apart */
                b->guest[b->n++] = (struct envmove_guest){.uuid = g->uuid, .env = g->env, .kb = needs_of(g).kb, .size_kb = g->size_kb, .pct = g->pct,
                                                          .movable = !g->changed && !kept_here(p, plan, g, text), .running = g->running};
        }
        of[n++] = i;
    }
    return n;
}

static struct plan_guest *guest_of(struct policy_plan *plan, const struct vi_id *uuid)
{
    for (unsigned i = 0; i < plan->n_guests; i++)
        if (vi_id_equal(&plan->guest[i].uuid, uuid))
            return &plan->guest[i];
    return NULL;
}

/* A host tells the planner of ENVMOVE_SEEN guests: with those that it has beside, is each step what rules allow? */
static bool allowed(const struct policy *p, struct policy_plan *plan, const struct envmove_plan *found, struct plan_guest *const *of, unsigned n,
                    const unsigned *host_of)
{
    static struct policy_place before[PLAN_GUESTS];
    bool all = true;
    memcpy(before, plan->place, plan->n_guests * sizeof before[0]);
    for (unsigned i = 0; i < found->n_shifts + n; i++) {
        const struct plan_guest *g = i < found->n_shifts ? guest_of(plan, &found->shift[i].guest) : of[i - found->n_shifts];
        unsigned to = host_of[i < found->n_shifts ? found->shift[i].to : found->place[i - found->n_shifts]];
        all &= !g || !ruled_out(p, plan, g, to);
        if (g)
            plan->place[g - plan->guest].host = plan->host[to].id;
    }
    memcpy(plan->place, before, plan->n_guests * sizeof before[0]);
    return all;
}

static void make_room(const struct policy *p, struct policy_plan *plan)
{
    static struct envmove_bin bins[ENVMOVE_HOSTS];
    static struct envmove_plan found;
    struct envmove_item items[ENVMOVE_GUESTS];
    struct plan_guest *of[ENVMOVE_GUESTS];
    struct policy_rules rules = rules_of(p, plan);
    unsigned host_of[ENVMOVE_HOSTS], n = 0, n_bins;
    char why[ENVMOVE_WHY];
    for (unsigned i = 0; i < plan->n_guests; i++) {
        struct plan_guest *g = &plan->guest[i];
        char text[POLICY_RULE_TEXT];
        if (!g->stuck || kept_here(p, plan, g, text) || g->host >= PLAN_HOSTS || !plan->host[g->host].without)
            continue;
        if (n == ENVMOVE_GUESTS)
            return;
        of[n] = g;
        items[n++] = (struct envmove_item){.guest = g->uuid, .env = g->env, .kb = needs_of(g).kb, .pct = g->pct};
    }
    n_bins = bins_of(p, plan, bins, host_of);
    if (n == 0 || n_bins == 0 || envmove_plan(&found, bins, n_bins, items, n, 8, &rules, why, sizeof why) || !allowed(p, plan, &found, of, n, host_of))
        return;
    for (unsigned i = 0; i < found.n_shifts; i++) {
        struct plan_guest *g = guest_of(plan, &found.shift[i].guest);
        if (g && !move(p, plan, g, host_of[found.shift[i].to], true))
            return;
    }
    for (unsigned i = 0; i < n; i++)
        if (move(p, plan, of[i], host_of[found.place[i]], true))
            snprintf(of[i]->why, sizeof of[i]->why, "it fits only once others have made room");
}

/* ---- all together ---- */

/* What the question changes of a guest, its host has to give. */
static void take_in(struct policy_plan *plan, struct plan_guest *g)
{
    struct plan_host *h = &plan->host[g->host];
    take_place(plan, g);
    g->stuck = false;
    if (g->movable)
        g->why[0] = 0;
    g->charged_kb = g->size_kb;
    if (!g->changed)
        return;
    g->charged_kb = g->kb;
    h->free_after_kb += (int64_t)g->size_kb - (int64_t)g->kb;
    h->pct_after += g->pct - g->was_pct;
}

void policy_plan(const struct policy *p, struct policy_plan *plan)
{
    plan->n_moves = plan->leaving = plan->pinned = 0;
    plan->leaving_kb = 0;
    plan->leaving_pct = 0;
    plan->cut = false;
    for (unsigned i = 0; i < plan->n_hosts; i++) {
        plan->host[i].free_after_kb = plan->host[i].free_kb;
        plan->host[i].pct_after = plan->host[i].pct;
        plan->host[i].guests_after = plan->host[i].guests;
    }
    for (unsigned i = 0; i < plan->n_guests; i++)
        take_in(plan, &plan->guest[i]);
    send_away(plan);
    resize(p, plan);
    empty(p, plan);
    make_room(p, plan);
}
