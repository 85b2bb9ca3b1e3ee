/* Which guest should leave, and where to: when the host itself can't give what its guests need.
 *
 * Pay-off, in CPU seconds (one second of a whole CPU): gain = what is unserved here and would be served
 * there, over the horizon: at this moment, or as can be expected of the last hour (forecast.c), so that a host is relieved
 * before it is full and one that is full for a moment isn't, in vain, of a guest that is not the cause; a guest that is
 * short of memory counts as losing the part of its work by which it is above its range. From it goes what the destination will
 * have to leave unserved with the guest. Cost = the seconds that the move takes × what the guest gets done
 * meanwhile at half speed, and a second of pause. A move must gain more than it costs. Disks that move with a guest take their
 * time, during which nothing is gained: so a guest without goes before one with, and one whose disks would take longer than
 * the horizon doesn't go at all but for an order or a rule. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"
#include "policy/internal.h"

#define PROBE_TIME  (5 * VI_SEC)
#define SUMMARY_OLD (30 * VI_SEC)
#define BACK_OFF    (20 * VI_SEC)
#define NO_PLACE    (20 * VI_SEC) /* a guest that no host has a place for gives others their turn */
#define PAUSE_S     1.0
#define LOOK_AT     64 /* hosts at random, before all */
#define LEAVING_MOST 3 /* at a time, when what is missing can't wait */
#define MIB(kb)     ((double)(kb) / 1024.0)

/* ---- who may go ---- */

/* NULL, or why this guest stays. */
/* Moves of an environment are counted one by one (budget.c), and each tells whether another is needed. */
static bool another_leaves(const struct policy *p, const struct guest_state *g)
{
    for (unsigned i = 0; i < p->top; i++)
        if (p->guests[i].used && &p->guests[i] != g && p->guests[i].in.frozen && vi_id_equal(&p->guests[i].in.env, &g->in.env))
            return true;
    return false;
}

const char *policy_stays(struct policy *p, vi_time now, const struct guest_state *g)
{
    const char *rule = policy_ruled_here(p, g);
    if (g->in.frozen)
        return "it is being moved";
    if (!g->in.movable)
        return g->in.why_not;
    if (rule)
        return rule;
    if (!g->measured)
        return "it was not measured yet";
    if ((g->moved_at && now - g->moved_at < p->cfg.cooldown) || (g->came_at && now - g->came_at < p->cfg.cooldown))
        return "it was moved a short while ago";
    if (now - g->seen_at < p->cfg.settle)
        return "it was started a short while ago";
    if (now < g->back_off_until)
        return g->asked_in_vain ? "the hosts that were asked had no room for it a short while ago" : "a move of it failed a short while ago";
    if (another_leaves(p, g))
        return "another guest of its environment is being moved";
    return policy_budget_refuses(p, now, &g->in.env);
}

/* For how long its memory and its disks are under way. Of the disks all is counted: what the destination may have of them
 * from before is known only once it has been asked for room. */
static double seconds_of(const struct policy *p, const struct guest_state *g)
{
    return (double)(g->in.current_kb + g->in.disk_kb) / p->cfg.bandwidth_kbps;
}

const char *policy_rather_stays(struct policy *p, vi_time now, const struct guest_state *g)
{
    const char *why = policy_stays(p, now, g);
    if (!why && g->in.disk_kb && seconds_of(p, g) > (double)p->cfg.horizon / 1e6)
        why = "copying its disks would take longer than a move may take to pay off";
    return why;
}

void policy_needs_of(const struct guest_state *g, struct policy_needs *n)
{
    n->kb = g->short_kb ? g->desired_kb : g->in.target_kb;
    if (n->kb < g->in.current_kb)
        n->kb = g->in.current_kb;
    n->pct = g->demand_pct;
}

int policy_needs(const struct policy *p, const struct vi_id *guest, struct policy_needs *needs)
{
    const struct guest_state *g = policy_guest_find(p, guest);
    if (!g)
        return VI_ENOTFOUND;
    if (g->awaited) { /* its memory wasn't looked at here yet: the caller's figure stands */
        needs->pct = g->demand_pct;
        return 0;
    }
    policy_needs_of(g, needs);
    return 0;
}

/* ---- what a move gains and costs ---- */

static double unserved(double demand, double capacity)
{
    return demand > capacity ? demand - capacity : 0;
}

static double memory_loss(const struct policy *p, const struct guest_state *g)
{
    /* what it was given since, of what it should have, doesn't change what it was found to be short of */
    uint64_t had = g->wanted_kb && g->wanted_kb / 2 < g->in.current_kb ? g->wanted_kb / 2 : g->in.current_kb;
    double u = had ? (double)g->used_kb / (double)had : 0;
    return g->short_kb && u > p->cfg.range_high ? g->demand_pct * fmin(1.0, (u - p->cfg.range_high) / u) : 0;
}

/* Gain in CPU seconds when g leaves to a host that serves it in full, by what is wanted at this moment. */
static double momentary_gain(const struct policy *p, const struct guest_state *g, const struct guest_state *hungry)
{
    double wanted = p->load.demand_pct - p->leaving_pct;
    double before = unserved(wanted, policy_capacity(p));
    double after = unserved(wanted - g->demand_pct, policy_capacity(p));
    double pct = before - after + memory_loss(p, hungry ? hungry : g);
    /* a guest near the end of its memory may fail altogether: that is worth a CPU */
    if (hungry && hungry->in.current_kb && (double)hungry->used_kb > 0.9 * (double)hungry->in.current_kb)
        pct += 100;
    return pct / 100.0 * (double)p->cfg.horizon / 1e6;
}

/* The same by what can be expected (forecast.c): what this host will leave unserved, with the guest and without, in CPU
 * seconds per second. */
static double lasting_relief(const struct policy *p, const struct guest_state *g)
{
    double mean = p->load.lasting_pct, spread = p->load.spread_pct, left = spread * spread - g->lasting_var;
    if (!p->load.lasting_known || g->lasting_seen < p->cfg.forecast_after)
        return 0;
    left = sqrt(fmax(left, spread * spread / 4)); /* two estimates: their difference may be anything */
    return (policy_unserved(mean, spread, policy_capacity(p)) -
            policy_unserved(mean - g->lasting_pct, left, policy_capacity(p))) / 100.0;
}

/* And what the host that takes it will leave unserved more than without it: over the whole hour that the forecast is good for,
 * while the gain counts for the horizon only. A host that is made too full stays so, or another move must mend it. */
static double lasting_loss(const struct policy_load *l, const struct guest_state *g)
{
    double mean = l->lasting_known ? l->lasting_pct : l->demand_pct;
    double after = sqrt(l->spread_pct * l->spread_pct + g->lasting_var);
    return (policy_unserved(mean + g->lasting_pct, after, l->capacity_pct) -
            policy_unserved(mean, l->spread_pct, l->capacity_pct)) / 100.0 * FORECAST_S;
}

static double gain_of(const struct policy *p, const struct guest_state *g, const struct guest_state *hungry)
{
    double gain = momentary_gain(p, g, hungry), late = (double)g->in.disk_kb / p->cfg.bandwidth_kbps;
    if (!hungry)
        gain = fmax(gain, lasting_relief(p, g) * (double)p->cfg.horizon / 1e6);
    return gain * fmax(0, 1 - late / ((double)p->cfg.horizon / 1e6)); /* nothing is served there while its disks are copied */
}

static double cost_of(const struct policy *p, const struct guest_state *g)
{
    return (seconds_of(p, g) * 0.5 + PAUSE_S) * (g->demand_pct / 100.0 + 0.05);
}

/* ---- which guest ---- */

static struct guest_state *hungriest(struct policy *p)
{
    struct guest_state *best = NULL;
    for (unsigned i = 0; i < p->top; i++) {
        struct guest_state *g = &p->guests[i];
        if (g->used && g->in.running && g->short_kb && (!best || g->short_kb > best->short_kb))
            best = g;
    }
    return best;
}

/* What the guest's leaving would relieve of what is unserved. */
static double relief(const struct policy *p, const struct guest_state *g)
{
    double wanted = p->load.demand_pct - p->leaving_pct;
    return unserved(wanted, policy_capacity(p)) - unserved(wanted - g->demand_pct, policy_capacity(p));
}

/* All that is unserved; where no guest alone is so large, what the largest relieve: few moves rather than many. */
static double enough(struct policy *p, vi_time now)
{
    double most = 0;
    for (unsigned i = 0; i < p->top; i++)
        if (p->guests[i].used && p->guests[i].in.running && !policy_rather_stays(p, now, &p->guests[i]))
            most = fmax(most, relief(p, &p->guests[i]));
    return most * 0.95;
}

static bool solves(const struct policy *p, const struct guest_state *g, const struct guest_state *hungry, double least)
{
    if (hungry)
        return g == hungry || g->in.current_kb >= hungry->short_kb;
    return relief(p, g) > 0 && relief(p, g) >= least;
}

void policy_refuse(struct policy *p, vi_time now, struct guest_state *g, const char *why)
{
    struct policy_decision *d = policy_decide(p, now, g, POLICY_REFUSE, "%s stays: %s", g->in.name, why);
    if (!d)
        return;
    policy_number(d, "short_mib", MIB(g->short_kb));
    policy_number(d, "demand_pct", g->demand_pct);
    policy_number(d, "host_demand_pct", p->load.demand_pct);
    policy_number(d, "host_capacity_pct", policy_capacity(p));
    policy_say(p, d);
}

/* Nobody had a place for it a moment ago: others have their turn before it is looked for again. */
static bool in_vain(const struct guest_state *g, vi_time now)
{
    return now < g->no_place_until;
}

static unsigned with_hope(struct policy_candidate *may, unsigned n, vi_time now)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < n; i++)
        if (!in_vain(may[i].g, now))
            kept++;
    if (kept == 0)
        return n;
    kept = 0;
    for (unsigned i = 0; i < n; i++)
        if (!in_vain(may[i].g, now))
            may[kept++] = may[i];
    return kept;
}

/* The guest that solves the shortage at least cost, and pays off. */
static struct guest_state *cheapest(struct policy *p, vi_time now, struct guest_state *hungry)
{
    struct policy_candidate may[POLICY_GUESTS];
    unsigned n = 0;
    double relieves = hungry ? 0 : enough(p, now);
    for (unsigned i = 0; i < p->top; i++) {
        struct guest_state *g = &p->guests[i];
        const char *why;
        double c;
        if (!g->used || !g->in.running || !solves(p, g, hungry, relieves))
            continue;
        why = policy_rather_stays(p, now, g);
        c = cost_of(p, g);
        if (!why && gain_of(p, g, hungry) <= c)
            why = "moving it would cost more than it gains";
        if (why) {
            if (g == hungry || (!hungry && g->short_cpu))
                policy_refuse(p, now, g, why);
            continue;
        }
        may[n++] = (struct policy_candidate){g, c};
    }
    return policy_pick(p, may, with_hope(may, n, now));
}

/* Before there is a shortage: of those whose leaving pays, the one that is worth most by the forecast for its whole hour, so
 * that one guest goes rather than, one after another, several that are just enough for now. */
static struct guest_state *to_relieve(struct policy *p, vi_time now)
{
    struct guest_state *best = NULL;
    double most = 0;
    for (unsigned i = 0; i < p->top; i++) {
        struct guest_state *g = &p->guests[i];
        double net, cost;
        if (!g->used || !g->in.running || policy_rather_stays(p, now, g))
            continue;
        cost = cost_of(p, g);
        net = lasting_relief(p, g) * FORECAST_S - cost;
        if (gain_of(p, g, NULL) > cost && net > 0 && (!best || in_vain(g, now) < in_vain(best, now) ||
                                                      (in_vain(g, now) == in_vain(best, now) && net > most))) {
            most = net;
            best = g;
        }
    }
    return best;
}

/* ---- which host ---- */

void policy_note(struct guest_state *g, const struct vi_id *peer, const char *text)
{
    struct choice *c = NULL;
    for (unsigned i = 0; i < g->n_choices; i++)
        if (vi_id_equal(&g->choices[i].peer, peer))
            c = &g->choices[i];
    if (!c) {
        if (g->n_choices < POLICY_CHOICES)
            g->n_choices++;
        c = &g->choices[g->n_choices - 1]; /* at the bound the latest takes the last one's place: the host that is chosen */
        c->peer = *peer;
    }
    snprintf(c->text, sizeof c->text, "%s", text);
}

const char *policy_peer_full(const struct policy *p, const struct policy_peer *peer, const struct policy_needs *needs)
{
    if (peer->age > SUMMARY_OLD)
        return "its summary is too old";
    if (peer->load.draining)
        return "it is being drained";
    if (peer->load.free_kb < needs->kb)
        return "not enough free memory there";
    if (peer->load.capacity_pct - peer->load.demand_pct < needs->pct)
        return "not enough CPU there";
    if (peer->load.arrivals >= p->cfg.arrivals_max)
        return "too many guests are arriving there";
    return NULL;
}

const char *policy_peer_unfit(struct policy *p, vi_time now, const struct guest_state *g,
                              const struct policy_peer *peer, const struct policy_needs *needs)
{
    const char *full = policy_peer_full(p, peer, needs);
    if (full)
        return full;
    if (g->came_at && vi_id_equal(&g->came_from, &peer->id) && now - g->came_at < p->cfg.no_return)
        return "it came from there a while ago";
    for (unsigned i = 0; i < p->top; i++) /* what it answered of late doesn't count that one yet */
        if (p->guests[i].used && p->guests[i].in.frozen && vi_id_equal(&p->guests[i].going_to, &peer->id))
            return "another guest is on its way there";
    return policy_ruled_out(p, g, &peer->id);
}

double policy_utilisation(const struct policy_load *l, const struct policy_needs *n)
{
    double m = l->total_kb ? (double)(l->total_kb - l->free_kb + n->kb) / (double)l->total_kb : 1;
    double d = l->lasting_known ? l->lasting_pct + l->spread_pct : l->demand_pct;
    double c = l->capacity_pct > 0 ? (d + n->pct) / l->capacity_pct : 1;
    return m > c ? m : c;
}

static void encode_needs(struct policy_effect *fx, const struct policy_needs *n)
{
    struct vi_writer w;
    vi_writer_init(&w, fx->data, sizeof fx->data);
    vi_write_array(&w, 3);
    vi_write_uint(&w, 1);
    vi_write_uint(&w, n->kb);
    vi_write_uint(&w, (uint64_t)(n->pct * 100));
    fx->len = w.len;
}

/* In placement "pack" a host without guests may be switched off: it is asked only if no other fits. */
static unsigned empty_last(const struct policy *p, struct guest_state *g, unsigned *fit, unsigned n)
{
    unsigned kept = 0, used = 0;
    for (unsigned i = 0; i < n; i++)
        used += p->peers[fit[i]].load.guests > 0;
    if (!p->cfg.pack || !used)
        return n;
    for (unsigned i = 0; i < n; i++) {
        if (p->peers[fit[i]].load.guests > 0)
            fit[kept++] = fit[i];
        else
            policy_note(g, &p->peers[fit[i]].id, "it is empty, and others have room");
    }
    return kept;
}

/* Some of the others, and those where guests of its environment are, for it may belong or talk with them. Hosts that pack look at
 * all: they want the few that have guests. */
static void look_for(struct policy *p, vi_time now, const struct guest_state *g, const struct vi_id *only, unsigned most)
{
    policy_look(p, now, p->cfg.pack ? POLICY_PEERS : most);
    if (only)
        (void)policy_look_at(p, now, only);
    for (unsigned i = 0; (p->n_rules || p->n_talks) && i < p->n_places; i++)
        if (vi_id_equal(&p->places[i].env, &g->in.env))
            (void)policy_look_at(p, now, &p->places[i].host);
}

static unsigned fitting(struct policy *p, vi_time now, struct guest_state *g, const struct vi_id *only, unsigned *fit)
{
    const struct choosing *c = &p->choosing;
    unsigned n = 0;
    g->n_choices = 0;
    for (unsigned i = 0; i < p->n_peers; i++) {
        const char *why = only && !vi_id_equal(only, &p->peers[i].id) ? "the rule wants it elsewhere"
                                                                      : policy_peer_unfit(p, now, g, &p->peers[i], &c->needs);
        if (!why && !c->mends[0] && c->gain - lasting_loss(&p->peers[i].load, g) <= c->cost)
            why = "it would be too full with it before long";
        if (why)
            policy_note(g, &p->peers[i].id, why);
        else
            fit[n++] = i;
    }
    return empty_last(p, g, fit, n);
}

/* Probes up to three of the fitting hosts, drawn at random, so that not everybody picks the same; first the one where
 * its companions are, or whom it talks with. */
void policy_probe(struct policy *p, vi_time now, struct guest_state *g, const struct guest_state *hungry,
                  const struct vi_id *only, const char *mends)
{
    struct choosing *c = &p->choosing;
    unsigned fit[POLICY_PEERS], n;
    policy_needs_of(g, &c->needs);
    snprintf(c->mends, sizeof c->mends, "%s", mends);
    c->gain = gain_of(p, g, hungry);
    c->cost = cost_of(p, g);
    look_for(p, now, g, only, LOOK_AT);
    n = fitting(p, now, g, only, fit);
    if (n < PROBES && p->n_peers >= LOOK_AT) { /* few have room: those of all, then */
        look_for(p, now, g, only, POLICY_PEERS);
        n = fitting(p, now, g, only, fit);
    }
    if (n == 0) {
        if (!mends[0])
            g->no_place_until = now + NO_PLACE;
        policy_refuse(p, now, g, "no other host has room for it");
        return;
    }
    c->active = true;
    c->guest = g->in.uuid;
    c->until = now + PROBE_TIME;
    c->n = 0;
    while (n > 0 && c->n < PROBES) {
        unsigned k = c->n == 0 ? policy_ask_first(p, g, fit, n) : n;
        struct policy_effect *fx = policy_push(p, POLICY_FX_PROBE);
        k = k < n ? k : vi_rng_below(p->rng, n);
        if (!fx)
            break;
        fx->peer = p->peers[fit[k]].id;
        fx->guest = g->in.uuid;
        encode_needs(fx, &c->needs);
        c->peer[c->n] = fx->peer;
        c->companions[c->n] = policy_companions(p, g, &fx->peer);
        c->talk[c->n] = policy_talk_with(p, g, &fx->peer);
        c->state[c->n++] = 0;
        fit[k] = fit[--n];
    }
}

static const char *reason(const struct policy *p, const struct guest_state *g)
{
    if (g->short_kb)
        return "this host can't give it the memory that it needs";
    if (p->load.demand_pct > policy_capacity(p))
        return "this host can't give its guests the CPU that they want";
    return "this host will be short of CPU before long";
}

static void decide_move(struct policy *p, vi_time now)
{
    struct choosing *c = &p->choosing;
    struct guest_state *g = policy_guest_find(p, &c->guest);
    struct policy_decision *d;
    struct policy_effect *fx;
    char why[POLICY_RULE_TEXT];
    int best;
    c->active = false;
    if (!g || g->in.frozen)
        return;
    best = policy_best_place(c, why);
    if (best < 0) {
        g->back_off_until = now + BACK_OFF;
        g->asked_in_vain = true;
        policy_refuse(p, now, g, "the hosts that were asked have no room for it");
        if (policy_presses(p))
            policy_consider_move(p, now); /* another, then */
        return;
    }
    policy_note(g, &c->peer[best], why);
    d = c->mends[0] ? policy_decide(p, now, g, POLICY_MOVE, "%s should move, for %s", g->in.name, c->mends)
                    : policy_decide(p, now, g, POLICY_MOVE, "%s should move: %s", g->in.name, reason(p, g));
    if (d) {
        policy_number(d, "needs_mib", MIB(c->needs.kb));
        policy_number(d, "needs_pct", c->needs.pct);
        policy_number(d, "short_mib", MIB(g->short_kb));
        policy_number(d, "gain_cpu_s", c->gain);
        policy_number(d, "cost_cpu_s", c->cost);
        policy_number(d, "asked", c->n);
        policy_number(d, "utilisation_there", c->utilisation[best]);
        d->peer = c->peer[best];
        policy_number(d, "talks_kb_s", c->talk[best] / 1e3);
        if (g->in.disk_kb) {
            policy_number(d, "disk_mib", MIB(g->in.disk_kb));
            policy_number(d, "takes_s", seconds_of(p, g));
        }
        policy_say(p, d);
    }
    if (!p->cfg.automatic)
        return;
    fx = policy_push(p, POLICY_FX_MOVE);
    if (!fx)
        return;
    fx->guest = g->in.uuid;
    fx->domid = g->in.domid;
    fx->peer = c->peer[best];
    fx->needs = c->needs;
    g->going_to = fx->peer;
    g->in.frozen = true;
    policy_consider_move(p, now); /* another, if that can't wait */
}

void policy_probed(struct policy *p, vi_time now, const struct policy_event *ev)
{
    struct choosing *c = &p->choosing;
    struct guest_state *g = policy_guest_find(p, &c->guest);
    bool waiting = false;
    if (!c->active || !g || !vi_id_equal(&ev->guest, &c->guest))
        return; /* the answer to an earlier question may come late */
    for (unsigned i = 0; i < c->n; i++) {
        if (c->state[i] == 0 && vi_id_equal(&c->peer[i], &ev->peer)) {
            struct policy_load l;
            struct vi_reader r;
            uint64_t fits, fields;
            char no[POLICY_WHY] = "", text[POLICY_WHY + 8];
            size_t len;
            const uint8_t *summary;
            vi_reader_init(&r, ev->data, ev->err ? 0 : ev->len);
            fields = vi_read_array(&r, 3);
            fits = vi_read_uint(&r, 1);
            summary = vi_read_bin(&r, POLICY_SUMMARY, &len);
            if (fields == 3)
                vi_read_cstr(&r, no, sizeof no);
            snprintf(text, sizeof text, "no: %s", no);
            c->state[i] = -1;
            if (ev->err || fields < 2 || vi_read_end(&r) || policy_summary_decode(&l, summary, len))
                policy_note(g, &ev->peer, "it did not answer");
            else if (!fits)
                policy_note(g, &ev->peer, no[0] ? text : "it has no room now");
            else if (!c->mends[0] && c->gain - lasting_loss(&l, g) <= c->cost)
                policy_note(g, &ev->peer, "it would be too full with it before long");
            else {
                c->state[i] = 1;
                c->utilisation[i] = policy_utilisation(&l, &c->needs);
                c->lacks[i] = ev->lacks > 0 || ev->lacks_kb > 0;
                policy_note(g, &ev->peer, ev->lacks ? "it would fit, but would have to fetch images first"
                                          : ev->lacks_kb ? "it would fit, but has nothing of its disks from before"
                                                    : "it would fit, another is less utilised");
            }
        }
        waiting |= c->state[i] == 0;
    }
    if (!waiting)
        decide_move(p, now);
}

void policy_consider_move(struct policy *p, vi_time now)
{
    struct guest_state *hungry = hungriest(p), *g;
    unsigned leaving = 0;
    bool cpu_short = false;
    if (p->choosing.active) {
        if (now < p->choosing.until)
            return;
        decide_move(p, now); /* with those that answered */
        return;
    }
    p->leaving_pct = 0;
    for (unsigned i = 0; i < p->top; i++)
        if (p->guests[i].used && p->guests[i].in.running) {
            leaving += p->guests[i].in.frozen;
            p->leaving_pct += p->guests[i].in.frozen ? p->guests[i].demand_pct : 0;
            cpu_short |= p->guests[i].short_cpu;
        }
    cpu_short = cpu_short && policy_k_of_n(p, p->cpu_short);
    if (p->emptying && !hungry && !cpu_short) {
        policy_consider_pack(p, now);
        return;
    }
    if (leaving) { /* one at a time: its going may be all that is needed */
        if (leaving >= LEAVING_MOST || !cpu_short || !policy_presses(p))
            return;
        hungry = NULL;
    }
    g = hungry || cpu_short ? cheapest(p, now, hungry) : NULL;
    if (!g && !hungry && !leaving && !p->cfg.pack) /* before it is full, or no single guest solves it now */
        g = to_relieve(p, now);
    if (g)
        policy_probe(p, now, g, hungry, NULL, "");
    else if (!hungry && !cpu_short) {
        policy_consider_mend(p, now);
        if (!p->choosing.active)
            policy_consider_gather(p, now);
        if (p->cfg.pack && !p->choosing.active)
            policy_consider_pack(p, now);
    }
}

void policy_moved(struct policy *p, vi_time now, const struct policy_event *ev)
{
    struct guest_state *g = policy_guest_find(p, &ev->guest);
    if (!g)
        return;
    g->in.frozen = false;
    memset(&g->going_to, 0, sizeof g->going_to);
    if (!ev->err) {
        g->moved_at = now;
        g->failures = 0;
        policy_budget_spent(p, now, &g->in.env, now);
        return;
    }
    if (g->failures < 8)
        g->failures++;
    g->back_off_until = now + (BACK_OFF << g->failures);
    g->asked_in_vain = false;
    struct policy_decision *d = policy_decide(p, now, g, POLICY_FAILED, "%s was not moved: %s", g->in.name,
                                              ev->why ? ev->why : vi_strerror(ev->err));
    if (d) {
        policy_number(d, "failures", g->failures);
        policy_number(d, "again_in_s", (double)(g->back_off_until - now) / 1e6);
        if (!ev->told)
            policy_say(p, d);
    }
}

int policy_operator_choice(struct policy *p, vi_time now, const struct vi_id *guest, struct vi_id *peer, char *why,
                           size_t cap)
{
    struct guest_state *g = policy_guest_find(p, guest);
    struct policy_needs needs;
    double least = INFINITY;
    if (!g) {
        snprintf(why, cap, "no such guest here");
        return VI_ENOTFOUND;
    }
    if (g->in.frozen || !g->in.movable) {
        snprintf(why, cap, "%s can't move: %s", g->in.name[0] ? g->in.name : "the guest",
                 g->in.frozen ? "it is being moved" : g->in.why_not[0] ? g->in.why_not : "it has only just come; try again in some seconds");
        return VI_EUNSUPPORTED;
    }
    policy_needs_of(g, &needs);
    p->looked = 0;
    policy_look(p, now, POLICY_PEERS);
    for (unsigned i = 0; i < p->n_peers; i++) {
        const struct policy_peer *q = &p->peers[i];
        if (q->age > SUMMARY_OLD || q->load.draining || q->load.free_kb < needs.kb || policy_ruled_out(p, g, &q->id))
            continue;
        if (policy_utilisation(&q->load, &needs) < least) {
            least = policy_utilisation(&q->load, &needs);
            *peer = q->id;
        }
    }
    if (isinf(least)) {
        snprintf(why, cap, "no other host has %.0f MiB free for %s, or may have it by its environment's rules", MIB(needs.kb),
                 g->in.name);
        return VI_EFULL;
    }
    return 0;
}
