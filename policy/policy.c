/* The policy core: one evaluation after another. See policy.h. */
#include "policy/policy.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"
#include "policy/internal.h"

#define SAY_AGAIN   VI_MIN /* an unchanged refusal or shortage is said once a minute */
#define ALONE       1 /* percent of a CPU: nobody else who matters is there */
#define PROMISED_FOR (1500 * VI_MSEC) /* by an answer, to who asked */
#define AWAITED_FOR VI_MIN /* a guest that came is in the snapshots by then, or it is gone */

void policy_config_init(struct policy_config *c)
{
    memset(c, 0, sizeof *c);
    c->range_low = 0.40;
    c->range_high = 0.75;
    c->period = 5 * VI_SEC;
    c->needed = 3;
    c->of = 5;
    c->floor_kb = 64 * 1024;
    c->reserve_kb = 128 * 1024;
    c->dom0_pct = 25;
    c->shrink_window = 10 * VI_MIN;
    c->settle = VI_MIN;
    c->cooldown = 5 * VI_MIN;
    c->no_return = 30 * VI_MIN;
    c->horizon = 10 * VI_MIN;
    c->forecast_after = 10 * VI_MIN;
    c->report_stale = 20 * VI_SEC;
    c->moves_per_hour = 12;
    c->arrivals_max = 2;
    c->bandwidth_kbps = 50 * 1024;
}

struct policy *policy_new(const struct policy_config *c, struct vi_rng *rng, vi_time now)
{
    struct policy *p;
    if (!(c->range_low > 0 && c->range_low < c->range_high && c->range_high < 1) || c->period <= 0 ||
        c->needed == 0 || c->needed > c->of || c->of > 20 || !(c->bandwidth_kbps > 0) || c->shrink_window <= 0)
        return NULL;
    p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->cfg = *c;
    p->rng = rng;
    p->next = now + c->period;
    return p;
}

void policy_free(struct policy *p)
{
    free(p);
}

void policy_set_automatic(struct policy *p, bool automatic)
{
    p->cfg.automatic = automatic;
    p->load.observes = !automatic;
}

vi_time policy_deadline(const struct policy *p)
{
    return p->next;
}

const struct policy_load *policy_own_load(const struct policy *p)
{
    return &p->load;
}

/* ---- effects ---- */

struct policy_effect *policy_push(struct policy *p, enum policy_effect_kind kind)
{
    struct policy_effect *fx;
    if (p->count >= EFFECTS)
        return NULL;
    if (p->count == 0)
        p->first = 0; /* what is never used costs no memory */
    fx = &p->effects[(p->first + p->count++) % EFFECTS];
    memset(fx, 0, offsetof(struct policy_effect, decision));
    fx->kind = kind;
    return fx;
}

const struct policy_effect *policy_effect(struct policy *p)
{
    const struct policy_effect *fx;
    if (p->count == 0)
        return NULL;
    fx = &p->effects[p->first];
    p->first = --p->count ? (p->first + 1) % EFFECTS : 0; /* an empty ring begins anew: memory never needed isn't touched */
    return fx;
}

/* ---- decisions ---- */

const char *policy_decision_text(enum policy_decision_kind k)
{
    static const char *const text[] = {"grow", "shrink", "weight", "short", "move", "refuse", "stuck", "failed"};
    return (unsigned)k < sizeof text / sizeof *text ? text[k] : "?";
}

struct policy_decision *policy_decide(struct policy *p, vi_time now, struct guest_state *g,
                                      enum policy_decision_kind kind, const char *fmt, ...)
{
    struct policy_decision *d;
    char text[POLICY_TEXT];
    va_list ap;
    bool repeats = !p->cfg.automatic || kind == POLICY_SHORT || kind == POLICY_REFUSE;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (repeats && g->said[kind] && now - g->said[kind] < SAY_AGAIN)
        return NULL;
    d = &g->decisions[g->next_decision++ % POLICY_KEPT];
    if (g->n_decisions < POLICY_KEPT)
        g->n_decisions++;
    memset(d, 0, sizeof *d);
    memcpy(d->text, text, sizeof text);
    memcpy(d->name, g->in.name, sizeof d->name);
    d->guest = g->in.uuid;
    d->at = now;
    d->kind = kind;
    d->done = p->cfg.automatic;
    g->said[kind] = now;
    return d;
}

void policy_number(struct policy_decision *d, const char *name, double value)
{
    if (d->n >= POLICY_NUMBERS)
        return;
    snprintf(d->numbers[d->n].name, sizeof d->numbers[d->n].name, "%s", name);
    d->numbers[d->n++].value = value;
}

void policy_say(struct policy *p, const struct policy_decision *d)
{
    struct policy_effect *fx = policy_push(p, POLICY_FX_DECISION);
    if (fx)
        fx->decision = *d;
}

/* ---- helpers ---- */

struct guest_state *policy_guest_find(const struct policy *p, const struct vi_id *uuid)
{
    for (unsigned i = 0; i < p->top; i++)
        if (p->guests[i].used && vi_id_equal(&p->guests[i].in.uuid, uuid))
            return (struct guest_state *)(uintptr_t)&p->guests[i];
    return NULL;
}

bool policy_k_of_n(const struct policy *p, uint32_t bits)
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->cfg.of; i++)
        n += bits >> i & 1U;
    return n >= p->cfg.needed;
}

double policy_capacity(const struct policy *p)
{
    double c = 100.0 * p->cpus - p->cfg.dom0_pct;
    return c > 0 ? c : 0;
}

/* An environment's shares are divided among its guests here. */
double policy_shares_of(const struct policy *p, const struct guest_state *g)
{
    unsigned n = 0;
    double shares = 100;
    for (unsigned i = 0; i < p->top; i++)
        n += p->guests[i].used && p->guests[i].in.running && vi_id_equal(&p->guests[i].in.env, &g->in.env);
    for (unsigned i = 0; i < p->n_envs; i++)
        if (vi_id_equal(&p->envs[i].id, &g->in.env))
            shares = p->envs[i].shares;
    return shares / (n ? n : 1);
}

uint32_t policy_priority_of(const struct policy *p, const struct guest_state *g)
{
    for (unsigned i = 0; i < p->n_envs; i++)
        if (vi_id_equal(&p->envs[i].id, &g->in.env))
            return p->envs[i].priority;
    return 0;
}

/* ---- evaluating ---- */

static struct guest_state *place_for(struct policy *p, const struct vi_id *uuid)
{
    struct guest_state *g = policy_guest_find(p, uuid);
    for (unsigned i = 0; !g && i < p->top; i++)
        if (!p->guests[i].used)
            g = &p->guests[i];
    if (!g && p->top < POLICY_GUESTS)
        g = &p->guests[p->top++];
    return g;
}

static void take_snapshot(struct policy *p, vi_time now, const struct policy_event *ev)
{
    const struct policy_snapshot *s = &ev->snapshot;
    p->cpus = s->cpus;
    p->read_at = s->at;
    p->n_envs = s->n_envs < POLICY_ENVS ? s->n_envs : POLICY_ENVS;
    if (p->n_envs)
        memcpy(p->envs, s->envs, p->n_envs * sizeof *s->envs);
    for (unsigned i = 0; i < p->top; i++)
        p->guests[i].seen = false;
    for (unsigned i = 0; i < s->n_guests; i++) {
        struct guest_state *g = place_for(p, &s->guests[i].uuid);
        if (g)
            policy_measure(p, now, g, &s->guests[i]);
    }
    for (unsigned i = 0; i < p->top; i++)
        if (p->guests[i].used && !p->guests[i].seen &&
            !(p->guests[i].awaited && now - p->guests[i].came_at < AWAITED_FOR))
            memset(&p->guests[i], 0, sizeof p->guests[i]);
}

static void publish(struct policy *p)
{
    struct policy_effect *fx = policy_push(p, POLICY_FX_SUMMARY);
    int n;
    if (!fx)
        return;
    n = policy_summary_encode(&p->load, fx->data, sizeof fx->data);
    fx->len = n > 0 ? (size_t)n : 0;
}

static void evaluate(struct policy *p, vi_time now, const struct policy_event *ev)
{
    const struct policy_snapshot *s = &ev->snapshot;
    bool glance = p->glances > 0 && now - p->evaluated_at < p->cfg.period;
    p->load.arrivals = s->arrivals;
    p->load.observes = !p->cfg.automatic;
    p->load.packs = p->cfg.pack;
    if (glance)
        policy_glance(p, now, s);
    else {
        take_snapshot(p, now, ev);
        p->evaluated_at = now;
        p->load.capacity_pct = policy_capacity(p);
        p->load.guests = s->n_guests;
        p->snapshot_reserved_kb = s->reserved_kb;
        policy_take_rules(p, now, s);
        policy_plan_cpu(p, now);
        policy_forecast_host(p, now);
        policy_plan_memory(p, now, s);
        policy_judge_host(p, now);
    }
    if (p->load.draining)
        policy_consider_drain(p, now);
    else
        policy_consider_move(p, now);
    publish(p);
}

/* Until the next evaluation the host is as the latest one found it, but for who left and who came since: else a host
 * that has just been filled looks as empty as before, and one that made room as full. */
static void left(struct policy *p, const struct vi_id *guest)
{
    struct guest_state *g = policy_guest_find(p, guest);
    uint64_t kb = !g ? 0 : g->in.current_kb > g->in.target_kb ? g->in.current_kb : g->in.target_kb;
    if (!g || !g->in.running)
        return;
    g->in.running = false; /* nobody looks at it any more */
    p->load.demand_pct -= fmin(p->load.demand_pct, g->demand_pct);
    p->load.lasting_pct -= fmin(p->load.lasting_pct, g->lasting_pct);
    p->level_pct -= fmin(p->level_pct, policy_level(g->demand_pct, p->cfg.range_high));
    p->load.charged_kb -= p->load.charged_kb < kb ? p->load.charged_kb : kb;
    p->load.free_kb += kb;
    if (p->load.free_kb > p->load.total_kb)
        p->load.free_kb = p->load.total_kb;
}

static void came(struct policy *p, const struct policy_needs *n)
{
    p->load.demand_pct += n->pct;
    p->load.lasting_pct += n->pct;
    p->level_pct += policy_level(n->pct, p->cfg.range_high);
    p->load.charged_kb += n->kb;
    if (p->snapshot_reserved_kb >= n->kb)
        p->snapshot_reserved_kb -= n->kb; /* its promise was taken off what is free already */
    else
        p->load.free_kb -= p->load.free_kb < n->kb ? p->load.free_kb : n->kb;
}

static void arrived(struct policy *p, vi_time now, const struct policy_event *ev)
{
    struct guest_state *g = place_for(p, &ev->guest);
    came(p, &ev->needs);
    if (!g)
        return;
    if (!g->used) { /* it will be in the next snapshot */
        memset(g, 0, sizeof *g);
        g->used = g->awaited = true;
        g->report_at = VI_NEVER;
        g->in.uuid = ev->guest;
        g->demand_pct = ev->needs.pct;
    }
    g->came_at = now;
    g->came_from = ev->peer;
}

void policy_step(struct policy *p, vi_time now, const struct policy_event *ev)
{
    p->n_peers = p->looked = 0;
    switch (ev->kind) {
    case POLICY_EV_EVALUATE: evaluate(p, now, ev); break;
    case POLICY_EV_PROBED: policy_probed(p, now, ev); break;
    case POLICY_EV_MOVED:
        if (!ev->err)
            left(p, &ev->guest);
        policy_moved(p, now, ev);
        if (!ev->err && !p->load.draining && policy_presses(p))
            policy_consider_move(p, now); /* it wasn't enough */
        break;
    case POLICY_EV_ARRIVED: arrived(p, now, ev); break;
    }
}

/* ---- the destination's side ---- */

int policy_can_take(const struct policy *p, const struct policy_needs *needs, uint64_t reserved_kb,
                    double reserved_pct, unsigned arrivals, char *why, size_t cap)
{
    /* the snapshot's promises are in free_kb already: only those made since count */
    uint64_t since = reserved_kb > p->snapshot_reserved_kb ? reserved_kb - p->snapshot_reserved_kb : 0;
    uint64_t left = p->load.free_kb > since ? p->load.free_kb - since : 0;
    double cpu = policy_capacity(p) - p->load.demand_pct - reserved_pct;
    why[0] = 0;
    if (p->cpus == 0) {
        snprintf(why, cap, "this host does not know itself yet");
        return VI_EAGAIN;
    }
    if (p->load.draining) {
        snprintf(why, cap, "this host is being drained");
        return VI_EAGAIN;
    }
    if (arrivals >= p->cfg.arrivals_max) {
        snprintf(why, cap, "%u guests are arriving already", arrivals);
        return VI_EAGAIN;
    }
    if (left < needs->kb) {
        snprintf(why, cap, "it needs %.0f MiB, %.0f are free", (double)needs->kb / 1024, (double)left / 1024);
        return VI_EFULL;
    }
    if (cpu < needs->pct) {
        snprintf(why, cap, "it wants %.0f %% of a CPU, %.0f %% are free", needs->pct, cpu > 0 ? cpu : 0);
        return VI_EFULL;
    }
    return 0;
}

double policy_level(double pct, double range_high)
{
    double most = 100 * ceil(pct / 100), in_range = pct / range_high * 0.99;
    return in_range < pct ? pct : fmin(in_range, most);
}

void policy_promised(struct policy *p, vi_time now, const struct vi_id *from, uint64_t *kb, double *pct)
{
    for (unsigned i = 0; i < SAID_YES; i++) {
        struct said_yes *y = &p->said_yes[i];
        if (now >= y->until)
            continue;
        if (from && vi_id_equal(&y->to, from)) {
            y->until = 0;
            continue;
        }
        *kb += y->kb;
        *pct += y->pct;
    }
}

/* Many ask at once, and each may take the answer up: until then it counts like a guest that is arriving. */
static void promise(struct policy *p, vi_time now, const struct vi_id *to, const struct policy_needs *n)
{
    p->said_yes[p->next_yes] = (struct said_yes){.to = *to, .kb = n->kb, .pct = n->pct, .until = now + PROMISED_FOR};
    p->next_yes = (p->next_yes + 1) % SAID_YES;
}

/* What all that are here and will be have to be allocated, to be in their range. */
static double filled(const struct policy *p, const struct policy_needs *n, double reserved_pct)
{
    return p->level_pct + reserved_pct / p->cfg.range_high + policy_level(n->pct, p->cfg.range_high);
}

bool policy_beyond_range(const struct policy *p, const struct policy_needs *n, double reserved_pct, char *why, size_t cap)
{
    double level = filled(p, n, reserved_pct);
    /* A host that is filled further is the next one to be short. But one that wants nearly all of a host has nowhere
     * more than one of its own. */
    if (level <= policy_capacity(p) * 1.005 || p->level_pct + reserved_pct < ALONE)
        return false;
    snprintf(why, cap, "beyond its range: CPU %.0f %% of %.0f %%", level, policy_capacity(p));
    return true;
}

int policy_probe_answer(struct policy *p, vi_time now, const struct vi_id *from, const uint8_t *question, size_t len,
                        uint64_t reserved_kb, double reserved_pct, unsigned arrivals, uint8_t out[POLICY_PROBE])
{
    struct policy_needs needs;
    struct policy_load l = p->load;
    struct vi_reader r;
    struct vi_writer w;
    uint8_t summary[POLICY_SUMMARY];
    char why[POLICY_WHY];
    bool fits;
    int n;
    vi_reader_init(&r, question, len);
    if (vi_read_array(&r, 3) != 3 || vi_read_uint(&r, 255) != 1)
        return VI_EPROTO;
    needs.kb = vi_read_uint(&r, (uint64_t)1 << 40);
    needs.pct = (double)vi_read_uint(&r, 1000000000) / 100;
    if (vi_read_end(&r))
        return VI_EPROTO;
    policy_promised(p, now, from, &reserved_kb, &reserved_pct);
    fits = policy_can_take(p, &needs, reserved_kb, reserved_pct, arrivals, why, sizeof why) == 0 &&
           !policy_beyond_range(p, &needs, reserved_pct, why, sizeof why);
    if (fits && from)
        promise(p, now, from, &needs);
    if (reserved_kb > p->snapshot_reserved_kb)
        l.free_kb -= l.free_kb < reserved_kb - p->snapshot_reserved_kb ? l.free_kb
                                                                       : reserved_kb - p->snapshot_reserved_kb;
    l.demand_pct += reserved_pct;
    l.arrivals = arrivals;
    n = policy_summary_encode(&l, summary, sizeof summary);
    if (n < 0)
        return n;
    vi_writer_init(&w, out, POLICY_PROBE);
    vi_write_array(&w, fits ? 2 : 3);
    vi_write_uint(&w, fits);
    vi_write_bin(&w, summary, (size_t)n);
    if (!fits) /* who knows no third field takes the answer for none, which is a no, too */
        vi_write_str(&w, why);
    return w.err ? w.err : (int)w.len;
}

/* ---- explaining ---- */

bool policy_view(const struct policy *p, vi_time now, const struct vi_id *guest, struct policy_view *v)
{
    const struct guest_state *g = policy_guest_find(p, guest);
    memset(v, 0, sizeof *v);
    if (!g)
        return false;
    v->measured = g->measured;
    v->fresh_report = g->report_good;
    v->used_pct = g->used_pct;
    v->demand_pct = g->demand_pct;
    v->entitlement_pct = g->entitlement;
    v->cpu_utilisation = g->entitlement > 0 ? g->demand_pct / g->entitlement : 0;
    v->used_kb = g->used_kb;
    v->desired_kb = g->desired_kb;
    v->memory_utilisation = g->in.current_kb ? (double)g->used_kb / (double)g->in.current_kb : 0;
    v->weight = g->in.weight;
    v->report_age = g->report_at == VI_NEVER ? VI_NEVER : now - g->report_at;
    v->short_of_memory = g->short_kb > 0;
    v->short_of_cpu = g->short_cpu;
    v->stuck = g->stuck;
    return true;
}

vi_time policy_age(const struct policy *p, vi_time now, const struct vi_id *guest)
{
    const struct guest_state *g = policy_guest_find(p, guest);
    return g && !g->awaited ? now - g->seen_at : 0;
}

bool policy_in_need(const struct policy *p, vi_time now, const struct vi_id *guest)
{
    const struct guest_state *g = policy_guest_find(p, guest);
    const struct policy_decision *dec;
    unsigned pos = 0;
    if (!g || (!g->short_kb && !g->short_cpu) || now - g->seen_at < p->cfg.settle)
        return false;
    while (policy_decision_next(p, guest, &pos, &dec))
        if (dec->kind == POLICY_REFUSE || dec->kind == POLICY_MOVE)
            return dec->kind == POLICY_REFUSE && dec->done;
    return false;
}

bool policy_decision_next(const struct policy *p, const struct vi_id *guest, unsigned *pos,
                          const struct policy_decision **out)
{
    const struct guest_state *g = policy_guest_find(p, guest);
    if (!g || *pos >= g->n_decisions)
        return false;
    *out = &g->decisions[(g->next_decision - 1 - *pos) % POLICY_KEPT];
    (*pos)++;
    return true;
}

bool policy_choice_next(const struct policy *p, const struct vi_id *guest, unsigned *pos, struct vi_id *peer,
                        const char **text)
{
    const struct guest_state *g = policy_guest_find(p, guest);
    if (!g || *pos >= g->n_choices)
        return false;
    *peer = g->choices[*pos].peer;
    *text = g->choices[*pos].text;
    (*pos)++;
    return true;
}
