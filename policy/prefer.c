/* What is preferred where several would do: which guest goes when a host is short, which host it goes to, and who is moved to
 * whom it talks with. Costs and loads that are about equal count as equal; then the rules of environments, their priorities
 * and the traffic of their guests decide.
 *
 * Traffic (as VNET infers it from the Ethernet: Sundararaj, Gupta, Dinda, "Increasing Application Performance in Virtual
 * Environments through Run-Time Inference and Adaptation", HPDC 2005): it chooses among hosts whose utilisation is within
 * BAND of the least. It moves a guest by itself only when nothing is short and no rule broken, to a host that is about as
 * utilised with it as this one or less, and if over the horizon it saves SAVES times the bytes that the move carries:
 *
 *     (bytes/s with guests there − bytes/s with guests here) × horizon > SAVES × memory
 *
 * with all that holds for other moves: cool-down, no return, the environment's budget. Of two guests that talk the one with
 * the lower id moves, so that they don't change places; the other one moves if for 32 evaluations nobody came. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "policy/internal.h"

#define EQUAL_COST 1.5     /* of the least */
#define BAND       0.10    /* of utilisation */
#define TALKS      65536.0 /* bytes a second that count */
#define SAVES      3.0
#define GATHER_EVERY VI_MIN

/* ---- who talks with whom ---- */

void policy_take_talks(struct policy *p, const struct policy_snapshot *s)
{
    p->n_talks = s->n_talks < POLICY_TALKS ? s->n_talks : POLICY_TALKS;
    if (p->n_talks)
        memcpy(p->talks, s->talks, p->n_talks * sizeof p->talks[0]);
}

static const struct vi_id *other_of(const struct policy_talk *t, const struct guest_state *g)
{
    return vi_id_equal(&t->a, &g->in.uuid) ? &t->b : vi_id_equal(&t->b, &g->in.uuid) ? &t->a : NULL;
}

double policy_talk_with(const struct policy *p, const struct guest_state *g, const struct vi_id *host)
{
    double sum = 0;
    for (unsigned i = 0; i < p->n_talks; i++) {
        const struct policy_talk *t = &p->talks[i];
        const struct vi_id *with = other_of(t, g);
        const struct policy_place *q = with ? policy_place_of(p, with) : NULL;
        if (q && vi_id_equal(&q->host, host))
            sum += t->bytes_s;
    }
    return sum;
}

/* ---- which guest goes ---- */

/* Among those whose moves cost about the same: the lower priority, who leaves fewer behind that it should be together with,
 * who talks less with guests here, the cheaper. */
static bool goes_before(const struct policy *p, const struct policy_candidate *a, const struct policy_candidate *b)
{
    uint32_t pa = policy_priority_of(p, a->g), pb = policy_priority_of(p, b->g);
    unsigned ca = policy_companions(p, a->g, &p->self), cb = policy_companions(p, b->g, &p->self);
    double ta = policy_talk_with(p, a->g, &p->self), tb = policy_talk_with(p, b->g, &p->self);
    if (pa != pb)
        return pa < pb;
    if (ca != cb)
        return ca < cb;
    if (fabs(ta - tb) > TALKS)
        return ta < tb;
    return a->cost < b->cost;
}

struct guest_state *policy_pick(const struct policy *p, const struct policy_candidate *of, unsigned n)
{
    const struct policy_candidate *best = NULL;
    double least = INFINITY;
    for (unsigned i = 0; i < n; i++)
        least = fmin(least, of[i].cost);
    for (unsigned i = 0; i < n; i++)
        if (of[i].cost <= EQUAL_COST * least && (!best || goes_before(p, &of[i], best)))
            best = &of[i];
    return best ? best->g : NULL;
}

/* ---- which host ---- */

unsigned policy_ask_first(const struct policy *p, const struct guest_state *g, const unsigned *fit, unsigned n)
{
    unsigned best = n, companions = 0;
    double talk = TALKS;
    for (unsigned i = 0; i < n; i++) {
        const struct vi_id *host = &p->peers[fit[i]].id;
        unsigned c = policy_companions(p, g, host);
        double t = policy_talk_with(p, g, host);
        if (c < companions || (c == companions && t <= talk))
            continue;
        best = i;
        companions = c;
        talk = t > TALKS ? t : TALKS;
    }
    return best;
}

struct wanted_place {
    unsigned companions; /* as many as any has */
    bool ready;          /* its images are there already, and its disks from before, on one of these */
};

static bool fits(const struct choosing *c, unsigned i, const struct wanted_place *w)
{
    return c->state[i] == 1 && c->companions[i] == w->companions && !(w->ready && c->lacks[i]);
}

static struct wanted_place best_kind(const struct choosing *c)
{
    struct wanted_place w = {0};
    for (unsigned i = 0; i < c->n; i++)
        if (c->state[i] == 1 && c->companions[i] > w.companions)
            w.companions = c->companions[i];
    for (unsigned i = 0; i < c->n; i++)
        w.ready |= c->state[i] == 1 && c->companions[i] == w.companions && !c->lacks[i];
    return w;
}

int policy_best_place(const struct choosing *c, char why[POLICY_RULE_TEXT])
{
    struct wanted_place w = best_kind(c);
    double least = INFINITY;
    int best = -1;
    for (unsigned i = 0; i < c->n; i++)
        if (fits(c, i, &w))
            least = fmin(least, c->utilisation[i]);
    for (unsigned i = 0; i < c->n; i++) {
        if (!fits(c, i, &w) || c->utilisation[i] > least + BAND)
            continue;
        if (best < 0 || c->talk[i] > c->talk[best] + TALKS ||
            (c->talk[i] + TALKS >= c->talk[best] && c->utilisation[i] < c->utilisation[best]))
            best = (int)i;
    }
    if (best < 0)
        return -1;
    if (w.companions)
        snprintf(why, POLICY_RULE_TEXT, "chosen: others that it should be together with are there");
    else if (c->talk[best] >= TALKS && c->utilisation[best] > least)
        snprintf(why, POLICY_RULE_TEXT, "chosen: it talks with guests there, %.1f MB/s", c->talk[best] / 1e6);
    else
        snprintf(why, POLICY_RULE_TEXT, "chosen: the least utilised of those asked%s",
                 c->talk[best] >= TALKS ? ", and it talks with guests there" : "");
    return best;
}

/* ---- moved to whom it talks with ---- */

/* Of the guest's talks that with the most, if this one is to move for it: its id is the lower one. */
static bool is_the_one(const struct policy *p, const struct guest_state *g, const struct vi_id *host)
{
    const struct vi_id *with = NULL;
    double most = 0;
    for (unsigned i = 0; i < p->n_talks; i++) {
        const struct policy_talk *t = &p->talks[i];
        const struct vi_id *o = other_of(t, g);
        const struct policy_place *q = o ? policy_place_of(p, o) : NULL;
        if (q && vi_id_equal(&q->host, host) && t->bytes_s > most) {
            most = t->bytes_s;
            with = o;
        }
    }
    return with && vi_id_compare(&g->in.uuid, with) < 0;
}

static double saved(const struct policy *p, const struct guest_state *g, const struct vi_id *host)
{
    return (policy_talk_with(p, g, host) - policy_talk_with(p, g, &p->self)) * (double)p->cfg.horizon / 1e6;
}

static bool no_worse_there(const struct policy *p, const struct guest_state *g, const struct policy_peer *q)
{
    static const struct policy_needs nothing;
    struct policy_needs needs;
    policy_needs_of(g, &needs);
    return policy_utilisation(&q->load, &needs) <= policy_utilisation(&p->load, &nothing) + BAND;
}

/* Of the hosts where guests are that it talks with, the one where it would save the most, and enough; NULL. */
static const struct policy_peer *better_place(struct policy *p, vi_time now, const struct guest_state *g, double *saves)
{
    const struct policy_peer *best = NULL, *peer;
    *saves = SAVES * 1024.0 * (double)g->in.current_kb;
    for (unsigned i = 0; i < p->n_talks; i++) {
        const struct vi_id *with = other_of(&p->talks[i], g);
        const struct policy_place *q = with ? policy_place_of(p, with) : NULL;
        double s = q && !vi_id_equal(&q->host, &p->self) ? saved(p, g, &q->host) : 0;
        if (s <= *saves)
            continue;
        peer = policy_look_at(p, now, &q->host);
        if (!peer || !no_worse_there(p, g, peer))
            continue;
        best = peer;
        *saves = s;
    }
    return best;
}

/* One of two that talk moves; the other only if the first has not come for so long that it can't: it is pinned, say. */
static bool its_turn(const struct policy *p, const struct guest_state *g, const struct policy_peer *to)
{
    return is_the_one(p, g, &to->id) ? policy_k_of_n(p, g->apart) : g->apart == UINT32_MAX;
}

void policy_consider_gather(struct policy *p, vi_time now)
{
    struct guest_state *who = NULL;
    struct vi_id to = {{0}};
    double most = 0;
    char text[POLICY_RULE_TEXT];
    for (unsigned i = 0; i < p->top; i++) {
        struct guest_state *g = &p->guests[i];
        const struct policy_peer *best;
        double saves;
        if (!g->used || !g->in.running)
            continue;
        best = better_place(p, now, g, &saves);
        g->apart = (g->apart << 1) | (best != NULL);
        if (best && its_turn(p, g, best) && saves > most && !policy_rather_stays(p, now, g)) {
            most = saves;
            who = g;
            to = best->id;
        }
    }
    if (!who || (p->gathered_at && now - p->gathered_at < GATHER_EVERY))
        return;
    p->gathered_at = now;
    snprintf(text, sizeof text, "its traffic: %.1f MB/s with guests there", policy_talk_with(p, who, &to) / 1e6);
    policy_probe(p, now, who, NULL, &to, text);
}
