/* Room for an environment's guests on a domain's hosts, made by moving as few of the domain's own small guests as
 * it takes. Two ways, the cheaper that works:
 *
 *   evict  items by size, the largest first; each to the host that needs the fewest guests moved away for it, these
 *          go where they fit most tightly (best-fit decreasing: Johnson, "Near-optimal bin packing algorithms",
 *          1973, §2), so that a few hosts fill up and the others come free
 *   pack   all movable guests and items, the largest first; a guest stays where it is if that is possible, else
 *          takes the first host that fits
 *
 * The moves come in an order in which no host is over-full at any step; what has no such order is no plan. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "policy/envmove.h"

#define SLACK_PCT 0.01 /* what is rounded on the wire */

/* A host while it is planned. */
struct work {
    uint64_t kb;
    double pct;
    unsigned arrivals, n;
    struct {
        const struct envmove_guest *g;
        unsigned from;
    } guest[ENVMOVE_HOSTS];
};

struct planner {
    struct work bin[ENVMOVE_HOSTS];
    unsigned n_bins, most;
    struct envmove_plan *out;
    unsigned order[ENVMOVE_GUESTS]; /* items, the largest first */
    unsigned n;
    const struct envmove_item *items;
    const struct policy_rules *rules; /* NULL: none */
    const struct envmove_bin *ids;
    bool placed[ENVMOVE_GUESTS];
    uint64_t mean_kb; /* free memory that counts as much as mean_pct of CPU */
    double mean_pct;
};

static bool fits(const struct work *b, uint64_t kb, double pct)
{
    return b->kb >= kb && b->pct + SLACK_PCT >= pct;
}

static bool may_meet(const struct planner *p, const struct vi_id *env, const uint8_t tag[POLICY_RULE_TAG], const struct vi_id *guest,
                     const struct envmove_guest *g)
{
    uint8_t other[POLICY_RULE_TAG];
    if (vi_id_equal(&g->uuid, guest) || !vi_id_equal(&g->env, env))
        return true;
    policy_rule_tag(&g->uuid, other);
    return policy_rule_apart(p->rules, env, tag, other) == NULL;
}

/* Would a guest be apart from those that it may not be with? */
static bool apart(const struct planner *p, const struct vi_id *guest, const struct vi_id *env, unsigned bin)
{
    uint8_t tag[POLICY_RULE_TAG], other[POLICY_RULE_TAG];
    policy_rule_tag(guest, tag);
    for (unsigned i = 0; i < p->n; i++) {
        if (!p->placed[i] || p->out->place[i] != bin || vi_id_equal(&p->items[i].guest, guest) || !vi_id_equal(&p->items[i].env, env))
            continue;
        policy_rule_tag(&p->items[i].guest, other);
        if (policy_rule_apart(p->rules, env, tag, other))
            return false;
    }
    for (unsigned i = 0; i < p->ids[bin].n && i < ENVMOVE_SEEN; i++) /* where they were: who leaves it is no help */
        if (!may_meet(p, env, tag, guest, &p->ids[bin].guest[i]))
            return false;
    for (unsigned i = 0; i < p->bin[bin].n; i++) /* who is to make room comes there, too */
        if (p->bin[bin].guest[i].from != bin && !may_meet(p, env, tag, guest, p->bin[bin].guest[i].g))
            return false;
    return true;
}

static bool may_be(const struct planner *p, const struct vi_id *guest, const struct vi_id *env, unsigned bin)
{
    struct policy_rules v;
    uint8_t tag[POLICY_RULE_TAG];
    if (!p->rules || !p->rules->n)
        return true;
    v = (struct policy_rules){.rule = p->rules->rule, .n = p->rules->n};
    policy_rule_tag(guest, tag);
    return !policy_rule_against(&v, env, tag, &p->ids[bin].id) && apart(p, guest, env, bin);
}

/* One number for two resources, each in units of the mean free room. */
static double size_of(const struct planner *p, uint64_t kb, double pct)
{
    double m = (double)kb / (double)p->mean_kb, c = pct / p->mean_pct;
    return m > c ? m : c;
}

static double room_of(const struct planner *p, const struct work *b)
{
    double m = (double)b->kb / (double)p->mean_kb, c = b->pct / p->mean_pct;
    return m < c ? m : c;
}

static void load(struct planner *p, const struct envmove_bin *bins)
{
    memset(p->bin, 0, sizeof p->bin);
    for (unsigned i = 0; i < p->n_bins; i++) {
        struct work *w = &p->bin[i];
        w->kb = bins[i].free_kb;
        w->pct = bins[i].free_pct;
        w->arrivals = bins[i].arrivals;
        for (unsigned k = 0; k < bins[i].n && k < ENVMOVE_SEEN; k++)
            if (bins[i].guest[k].movable && bins[i].guest[k].running) {
                w->guest[w->n].g = &bins[i].guest[k];
                w->guest[w->n++].from = i;
            }
    }
    p->out->n_shifts = 0;
    memset(p->placed, 0, sizeof p->placed);
}

static void prepare(struct planner *p, const struct envmove_bin *bins)
{
    double pct = 0;
    uint64_t kb = 0;
    for (unsigned i = 0; i < p->n_bins; i++) {
        kb += bins[i].free_kb / p->n_bins;
        pct += bins[i].free_pct > 0 ? bins[i].free_pct / p->n_bins : 0;
    }
    p->mean_kb = kb > 0 ? kb : 1;
    p->mean_pct = pct > 1 ? pct : 1;
    for (unsigned i = 0; i < p->n; i++) {
        unsigned k = i;
        double size = size_of(p, p->items[i].kb, p->items[i].pct);
        for (; k > 0 && size_of(p, p->items[p->order[k - 1]].kb, p->items[p->order[k - 1]].pct) < size; k--)
            p->order[k] = p->order[k - 1];
        p->order[k] = i;
    }
}

static void place(struct planner *p, unsigned item, unsigned bin)
{
    p->bin[bin].kb -= p->items[item].kb;
    p->bin[bin].pct -= p->items[item].pct;
    p->bin[bin].arrivals--;
    p->out->place[item] = bin;
    p->placed[item] = true;
}

/* ---- evict ---- */

static bool shift(struct planner *p, unsigned from, unsigned k, unsigned to)
{
    struct work *a = &p->bin[from], *b = &p->bin[to];
    const struct envmove_guest *g = a->guest[k].g;
    struct envmove_shift *s;
    if (p->out->n_shifts >= p->most || b->n >= ENVMOVE_HOSTS)
        return false;
    s = &p->out->shift[p->out->n_shifts++];
    s->guest = g->uuid;
    s->from = from;
    s->to = to;
    s->kb = g->kb;
    s->pct = g->pct;
    a->kb += g->kb;
    a->pct += g->pct;
    b->kb -= g->kb;
    b->pct -= g->pct;
    b->guest[b->n].g = g;
    b->guest[b->n++].from = a->guest[k].from;
    a->guest[k] = a->guest[--a->n];
    return true;
}

/* The fullest host but `from` and those taken, that has room for g; n_bins: none. */
static unsigned tightest(const struct planner *p, unsigned from, const bool *taken, const struct envmove_guest *g)
{
    unsigned best = p->n_bins;
    for (unsigned i = 0; i < p->n_bins; i++)
        if (i != from && !taken[i] && p->bin[i].arrivals && fits(&p->bin[i], g->kb, g->pct) && may_be(p, &g->uuid, &g->env, i) &&
            (best == p->n_bins || room_of(p, &p->bin[i]) < room_of(p, &p->bin[best])))
            best = i;
    return best;
}

/* Guests of bin b, the smallest that does it or else the largest first, until the item fits. Undone by the caller's
 * copy if that fails. */
static bool clear(struct planner *p, unsigned b, const bool *taken, const struct envmove_item *it)
{
    struct work *w = &p->bin[b];
    while (!fits(w, it->kb, it->pct)) {
        unsigned pick = w->n, to;
        bool enough = false;
        for (unsigned k = 0; k < w->n; k++) {
            const struct envmove_guest *g = w->guest[k].g;
            bool does = w->kb + g->kb >= it->kb && w->pct + g->pct + SLACK_PCT >= it->pct;
            double size = size_of(p, g->kb, g->pct), best;
            if (w->guest[k].from != b || tightest(p, b, taken, g) == p->n_bins)
                continue; /* moved already; or nowhere to go */
            best = pick < w->n ? size_of(p, w->guest[pick].g->kb, w->guest[pick].g->pct) : 0;
            if (pick == w->n || (does && (!enough || size < best)) || (!does && !enough && size > best)) {
                pick = k;
                enough = does;
            }
        }
        if (pick == w->n)
            return false;
        to = tightest(p, b, taken, w->guest[pick].g);
        if (!shift(p, b, pick, to))
            return false;
    }
    return true;
}

static bool place_one(struct planner *p, unsigned item, bool *taken)
{
    static struct planner before, best;
    static struct envmove_plan plan_before, plan_best;
    const struct envmove_item *it = &p->items[item];
    unsigned found = p->n_bins, cost = 0;
    for (unsigned i = 0; i < p->n_bins; i++) /* where there is most room, nothing has to move */
        if (p->bin[i].arrivals && fits(&p->bin[i], it->kb, it->pct) && may_be(p, &it->guest, &it->env, i) &&
            (found == p->n_bins || room_of(p, &p->bin[i]) > room_of(p, &p->bin[found])))
            found = i;
    if (found < p->n_bins) {
        taken[found] = true;
        place(p, item, found);
        return true;
    }
    before = *p;
    plan_before = *p->out;
    for (unsigned i = 0; i < p->n_bins; i++) {
        if (!p->bin[i].arrivals || !p->bin[i].n || !may_be(p, &it->guest, &it->env, i))
            continue;
        if (clear(p, i, taken, it) && (found == p->n_bins || p->out->n_shifts < cost)) {
            found = i;
            cost = p->out->n_shifts;
            best = *p;
            plan_best = *p->out;
        }
        *p = before;
        *p->out = plan_before;
    }
    if (found == p->n_bins)
        return false;
    *p = best;
    *p->out = plan_best;
    taken[found] = true;
    place(p, item, found);
    return true;
}

static bool evict(struct planner *p, const struct envmove_bin *bins)
{
    bool taken[ENVMOVE_HOSTS] = {false};
    load(p, bins);
    for (unsigned i = 0; i < p->n; i++)
        if (!place_one(p, p->order[i], taken))
            return false;
    return true;
}

/* ---- pack ---- */

struct thing {
    const struct envmove_guest *g; /* NULL: an item */
    unsigned item, from, to;
    uint64_t kb;
    double pct, size;
};

static int by_size(const void *x, const void *y)
{
    const struct thing *a = x, *b = y;
    if (a->size > b->size || a->size < b->size)
        return a->size > b->size ? -1 : 1;
    return a->g && b->g ? vi_id_compare(&a->g->uuid, &b->g->uuid) : (a->g ? 1 : 0) - (b->g ? 1 : 0);
}

static unsigned gather(struct planner *p, struct thing *t)
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->n; i++)
        t[n++] = (struct thing){.item = i, .kb = p->items[i].kb, .pct = p->items[i].pct,
                                .size = size_of(p, p->items[i].kb, p->items[i].pct)};
    for (unsigned b = 0; b < p->n_bins; b++)
        for (unsigned k = 0; k < p->bin[b].n; k++) {
            const struct envmove_guest *g = p->bin[b].guest[k].g;
            t[n++] = (struct thing){.g = g, .from = b, .kb = g->kb, .pct = g->pct, .size = size_of(p, g->kb, g->pct)};
            p->bin[b].kb += g->kb; /* all out, then in again */
            p->bin[b].pct += g->pct;
        }
    return n;
}

static bool put_in(struct planner *p, struct thing *t)
{
    const struct vi_id *guest = t->g ? &t->g->uuid : &p->items[t->item].guest, *env = t->g ? &t->g->env : &p->items[t->item].env;
    unsigned found = p->n_bins;
    if (t->g && fits(&p->bin[t->from], t->kb, t->pct))
        found = t->from;
    for (unsigned i = 0; found == p->n_bins && i < p->n_bins; i++)
        if (p->bin[i].arrivals && fits(&p->bin[i], t->kb, t->pct) && may_be(p, guest, env, i))
            found = i;
    if (found == p->n_bins)
        return false;
    t->to = found;
    p->bin[found].kb -= t->kb;
    p->bin[found].pct -= t->pct;
    if (t->g && found != t->from) {
        struct work *w = &p->bin[found];
        if (w->n >= ENVMOVE_HOSTS)
            return false;
        w->guest[w->n].g = t->g;
        w->guest[w->n++].from = t->from;
    }
    if (!t->g) {
        p->bin[found].arrivals--;
        p->out->place[t->item] = found;
        p->placed[t->item] = true;
    }
    return true;
}

/* The shifts in an order in which each has room when its turn comes. */
static bool in_order(struct planner *p, const struct envmove_bin *bins, struct thing *t, unsigned n)
{
    bool more = true;
    load(p, bins);
    while (more) {
        unsigned left = 0;
        more = false;
        for (unsigned i = 0; i < n; i++) {
            struct work *a, *b;
            if (!t[i].g || t[i].to == t[i].from)
                continue;
            left++;
            a = &p->bin[t[i].from];
            b = &p->bin[t[i].to];
            if (!fits(b, t[i].kb, t[i].pct))
                continue;
            if (p->out->n_shifts >= p->most)
                return false;
            p->out->shift[p->out->n_shifts++] = (struct envmove_shift){
                .guest = t[i].g->uuid, .from = t[i].from, .to = t[i].to, .kb = t[i].kb, .pct = t[i].pct};
            a->kb += t[i].kb;
            a->pct += t[i].pct;
            b->kb -= t[i].kb;
            b->pct -= t[i].pct;
            t[i].from = t[i].to;
            left--;
            more = true;
        }
        if (left == 0)
            return true;
    }
    return false;
}

static bool pack(struct planner *p, const struct envmove_bin *bins)
{
    static struct thing things[ENVMOVE_HOSTS * ENVMOVE_SEEN + ENVMOVE_GUESTS];
    unsigned n;
    load(p, bins);
    n = gather(p, things);
    qsort(things, n, sizeof things[0], by_size);
    for (unsigned i = 0; i < n; i++)
        if (!put_in(p, &things[i]))
            return false;
    return in_order(p, bins, things, n);
}

int envmove_plan(struct envmove_plan *out, struct envmove_bin *bins, unsigned n_bins, const struct envmove_item *items,
                 unsigned n, unsigned shifts_most, const struct policy_rules *rules, char *why, size_t cap)
{
    static struct planner p;
    static struct envmove_plan packed;
    bool evicted;
    memset(&p, 0, sizeof p);
    memset(out, 0, sizeof *out);
    if (n == 0 || n > ENVMOVE_GUESTS || n_bins == 0 || n_bins > ENVMOVE_HOSTS) {
        snprintf(why, cap, n_bins ? "too many guests at once" : "no host of the domain answers");
        return VI_EFULL;
    }
    p.n_bins = n_bins;
    p.most = shifts_most < ENVMOVE_SHIFTS ? shifts_most : ENVMOVE_SHIFTS;
    p.items = items;
    p.rules = rules;
    p.ids = bins;
    p.n = n;
    p.out = out;
    prepare(&p, bins);
    evicted = evict(&p, bins);
    if (evicted && out->n_shifts <= 1)
        return 0;
    p.out = &packed;
    if (pack(&p, bins) && (!evicted || packed.n_shifts < out->n_shifts)) {
        *out = packed;
        return 0;
    }
    if (!evicted)
        snprintf(why, cap, "no room for its %u guests on %u hosts%s, not even if up to %u small ones move", n, n_bins,
                 rules && rules->n ? " that rules allow" : "", p.most);
    return evicted ? 0 : VI_EFULL;
}
