/* Which guest should leave, and where to: when the host itself can't give what its guests need.
 *
 * Pay-off, in CPU seconds (one second of a whole CPU): gain = what is unserved here and would be served
 * there, over the horizon; a guest that is short of memory counts as losing the part of its work by
 * which it is above its range. Cost = the seconds that the move takes × what the guest gets done
 * meanwhile at half speed, and a second of pause. A move must gain more than it costs. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"
#include "policy/internal.h"

#define PROBE_TIME  (5 * VI_SEC)
#define SUMMARY_OLD (30 * VI_SEC)
#define BACK_OFF    (20 * VI_SEC)
#define PAUSE_S     1.0
#define MIB(kb)     ((double)(kb) / 1024.0)

/* ---- who may go ---- */

static struct env_moves *moves_of(struct policy *p, const struct vi_id *env)
{
    struct env_moves *old = &p->moves[0];
    for (unsigned i = 0; i < POLICY_ENVS; i++) {
        if (vi_id_equal(&p->moves[i].env, env))
            return &p->moves[i];
        if (vi_id_is_zero(&p->moves[i].env)) {
            p->moves[i].env = *env;
            return &p->moves[i];
        }
        if (p->moves[i].at[(p->moves[i].next + HOUR_SLOTS - 1) % HOUR_SLOTS] <
            old->at[(old->next + HOUR_SLOTS - 1) % HOUR_SLOTS])
            old = &p->moves[i];
    }
    memset(old, 0, sizeof *old); /* the one whose last move is longest ago */
    old->env = *env;
    return old;
}

static unsigned moves_last_hour(struct policy *p, vi_time now, const struct vi_id *env)
{
    const struct env_moves *m = moves_of(p, env);
    unsigned n = 0;
    for (unsigned i = 0; i < HOUR_SLOTS; i++)
        n += m->at[i] && now - m->at[i] < VI_HOUR;
    return n;
}

/* NULL, or why this guest stays. */
static const char *stays(struct policy *p, vi_time now, const struct guest_state *g)
{
    if (g->in.frozen)
        return "it is being moved";
    if (!g->in.movable)
        return g->in.why_not;
    if (!g->measured)
        return "it was not measured yet";
    if ((g->moved_at && now - g->moved_at < p->cfg.cooldown) || (g->came_at && now - g->came_at < p->cfg.cooldown))
        return "it was moved a short while ago";
    if (now - g->seen_at < p->cfg.settle)
        return "it was started a short while ago";
    if (now < g->back_off_until)
        return "an offer failed a short while ago";
    if (moves_last_hour(p, now, &g->in.env) >= p->cfg.moves_per_hour)
        return "its environment has used up its moves of this hour";
    return NULL;
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
    double u = g->in.current_kb ? (double)g->used_kb / (double)g->in.current_kb : 0;
    return g->short_kb && u > p->cfg.range_high ? g->demand_pct * fmin(1.0, (u - p->cfg.range_high) / u) : 0;
}

/* Gain in CPU seconds when g leaves to a host that serves it in full. */
static double gain_of(const struct policy *p, const struct guest_state *g, const struct guest_state *hungry)
{
    double before = unserved(p->load.demand_pct, policy_capacity(p));
    double after = unserved(p->load.demand_pct - g->demand_pct, policy_capacity(p));
    double pct = before - after + memory_loss(p, hungry ? hungry : g);
    /* a guest near the end of its memory may fail altogether: that is worth a CPU */
    if (hungry && hungry->in.current_kb && (double)hungry->used_kb > 0.9 * (double)hungry->in.current_kb)
        pct += 100;
    return pct / 100.0 * (double)p->cfg.horizon / 1e6;
}

static double cost_of(const struct policy *p, const struct guest_state *g)
{
    double seconds = (double)g->in.current_kb / p->cfg.bandwidth_kbps;
    return (seconds * 0.5 + PAUSE_S) * (g->demand_pct / 100.0 + 0.05);
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

static bool solves(const struct policy *p, const struct guest_state *g, const struct guest_state *hungry)
{
    if (hungry)
        return g == hungry || g->in.current_kb >= hungry->short_kb;
    return unserved(p->load.demand_pct - g->demand_pct, policy_capacity(p)) <
           unserved(p->load.demand_pct, policy_capacity(p)) * 0.5;
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

/* The guest that solves the shortage at least cost, and pays off. */
static struct guest_state *cheapest(struct policy *p, vi_time now, struct guest_state *hungry)
{
    struct guest_state *best = NULL;
    double least = INFINITY;
    for (unsigned i = 0; i < p->top; i++) {
        struct guest_state *g = &p->guests[i];
        const char *why;
        double c;
        if (!g->used || !g->in.running || !solves(p, g, hungry))
            continue;
        why = stays(p, now, g);
        c = cost_of(p, g);
        if (!why && gain_of(p, g, hungry) <= c)
            why = "moving it would cost more than it gains";
        if (why) {
            if (g == hungry || (!hungry && g->short_cpu))
                policy_refuse(p, now, g, why);
            continue;
        }
        if (c < least) {
            least = c;
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
        if (g->n_choices >= POLICY_CHOICES)
            return;
        c = &g->choices[g->n_choices++];
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

static const char *peer_unfit(const struct policy *p, vi_time now, const struct guest_state *g,
                              const struct policy_peer *peer, const struct policy_needs *needs)
{
    const char *full = policy_peer_full(p, peer, needs);
    if (full)
        return full;
    if (g->came_at && vi_id_equal(&g->came_from, &peer->id) && now - g->came_at < p->cfg.no_return)
        return "it came from there a while ago";
    return NULL;
}

double policy_utilisation(const struct policy_load *l, const struct policy_needs *n)
{
    double m = l->total_kb ? (double)(l->total_kb - l->free_kb + n->kb) / (double)l->total_kb : 1;
    double c = l->capacity_pct > 0 ? (l->demand_pct + n->pct) / l->capacity_pct : 1;
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

/* Probes up to three of the fitting hosts, drawn at random, so that not everybody picks the same. */
static void probe(struct policy *p, vi_time now, struct guest_state *g, const struct guest_state *hungry)
{
    struct choosing *c = &p->choosing;
    unsigned fit[POLICY_PEERS], n = 0;
    g->n_choices = 0;
    policy_needs_of(g, &c->needs);
    for (unsigned i = 0; i < p->n_peers; i++) {
        const char *why = peer_unfit(p, now, g, &p->peers[i], &c->needs);
        if (why)
            policy_note(g, &p->peers[i].id, why);
        else
            fit[n++] = i;
    }
    if (n == 0) {
        policy_refuse(p, now, g, "no other host has room for it");
        return;
    }
    c->active = true;
    c->guest = g->in.uuid;
    c->gain = gain_of(p, g, hungry);
    c->cost = cost_of(p, g);
    c->until = now + PROBE_TIME;
    c->n = 0;
    while (n > 0 && c->n < PROBES) {
        unsigned k = vi_rng_below(p->rng, n);
        struct policy_effect *fx = policy_push(p, POLICY_FX_PROBE);
        if (!fx)
            break;
        fx->peer = p->peers[fit[k]].id;
        encode_needs(fx, &c->needs);
        c->peer[c->n] = fx->peer;
        c->state[c->n++] = 0;
        fit[k] = fit[--n];
    }
}

static void decide_move(struct policy *p, vi_time now)
{
    struct choosing *c = &p->choosing;
    struct guest_state *g = policy_guest_find(p, &c->guest);
    struct policy_decision *d;
    struct policy_effect *fx;
    int best = -1;
    c->active = false;
    if (!g || g->in.frozen)
        return;
    for (unsigned i = 0; i < c->n; i++)
        if (c->state[i] == 1 && (best < 0 || c->utilisation[i] < c->utilisation[best]))
            best = (int)i;
    if (best < 0) {
        g->back_off_until = now + BACK_OFF;
        policy_refuse(p, now, g, "the hosts that were asked have no room for it");
        return;
    }
    policy_note(g, &c->peer[best], "chosen: the least utilised of those asked");
    d = policy_decide(p, now, g, POLICY_MOVE, "%s should move: this host can't give it %s", g->in.name,
                      g->short_kb ? "the memory that it needs" : "the CPU that it wants");
    if (d) {
        policy_number(d, "needs_mib", MIB(c->needs.kb));
        policy_number(d, "needs_pct", c->needs.pct);
        policy_number(d, "short_mib", MIB(g->short_kb));
        policy_number(d, "gain_cpu_s", c->gain);
        policy_number(d, "cost_cpu_s", c->cost);
        policy_number(d, "asked", c->n);
        policy_number(d, "utilisation_there", c->utilisation[best]);
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
    g->in.frozen = true;
}

void policy_probed(struct policy *p, vi_time now, const struct policy_event *ev)
{
    struct choosing *c = &p->choosing;
    struct guest_state *g = policy_guest_find(p, &c->guest);
    bool waiting = false;
    if (!c->active || !g)
        return;
    for (unsigned i = 0; i < c->n; i++) {
        if (c->state[i] == 0 && vi_id_equal(&c->peer[i], &ev->peer)) {
            struct policy_load l;
            struct vi_reader r;
            uint64_t fits;
            size_t len;
            const uint8_t *summary;
            vi_reader_init(&r, ev->data, ev->err ? 0 : ev->len);
            vi_read_array(&r, 2);
            fits = vi_read_uint(&r, 1);
            summary = vi_read_bin(&r, POLICY_SUMMARY, &len);
            c->state[i] = -1;
            if (ev->err || vi_read_end(&r) || policy_summary_decode(&l, summary, len))
                policy_note(g, &ev->peer, "it did not answer");
            else if (!fits)
                policy_note(g, &ev->peer, "it has no room now");
            else {
                c->state[i] = 1;
                c->utilisation[i] = policy_utilisation(&l, &c->needs);
                policy_note(g, &ev->peer, "it would fit, another is less utilised");
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
    for (unsigned i = 0; i < p->top; i++)
        if (p->guests[i].used) {
            leaving += p->guests[i].in.frozen;
            cpu_short |= p->guests[i].short_cpu && policy_k_of_n(p, p->guests[i].cpu_above);
        }
    if (leaving || (!hungry && !cpu_short))
        return; /* one at a time: its going may be all that is needed */
    g = cheapest(p, now, hungry);
    if (g)
        probe(p, now, g, hungry);
}

void policy_moved(struct policy *p, vi_time now, const struct policy_event *ev)
{
    struct guest_state *g = policy_guest_find(p, &ev->guest);
    struct env_moves *m;
    if (!g)
        return;
    g->in.frozen = false;
    if (!ev->err) {
        g->moved_at = now;
        g->failures = 0;
        m = moves_of(p, &g->in.env);
        m->at[m->next++ % HOUR_SLOTS] = now;
        return;
    }
    if (g->failures < 8)
        g->failures++;
    g->back_off_until = now + (BACK_OFF << g->failures);
    struct policy_decision *d = policy_decide(p, now, g, POLICY_FAILED, "%s was not moved: %s", g->in.name,
                                              ev->why ? ev->why : vi_strerror(ev->err));
    if (d) {
        policy_number(d, "failures", g->failures);
        policy_number(d, "again_in_s", (double)(g->back_off_until - now) / 1e6);
        policy_say(p, d);
    }
}

int policy_operator_choice(struct policy *p, const struct vi_id *guest, struct vi_id *peer, char *why,
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
    for (unsigned i = 0; i < p->n_peers; i++) {
        const struct policy_peer *q = &p->peers[i];
        if (q->age > SUMMARY_OLD || q->load.draining || q->load.free_kb < needs.kb)
            continue;
        if (policy_utilisation(&q->load, &needs) < least) {
            least = policy_utilisation(&q->load, &needs);
            *peer = q->id;
        }
    }
    if (isinf(least)) {
        snprintf(why, cap, "no other host has %.0f MiB free for %s", MIB(needs.kb), g->in.name);
        return VI_EFULL;
    }
    return 0;
}
