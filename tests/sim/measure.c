/* The cases of the gossip benchmark. See measure.h. */
#include "tests/sim/measure.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/federation.h"
#include "tests/sim/gossip_peers.h"

static const struct world_net lan = {.delay_min = 200, .delay_max = 2 * VI_MSEC};

void figure(struct measured *m, const char *name, double value)
{
    if (m->n == FIGURES_MAX)
        return;
    snprintf(m->f[m->n].name, sizeof m->f[m->n].name, "%s", name);
    m->f[m->n++].value = value;
}

void measure_swim(struct gossip_config *c)
{
    c->plain = true;
    c->alpha = 5;
    c->beta = 1;
    c->confirmations = 0;
    c->health_max = 0;
    c->buddy = false;
    c->aside_failures = 0;
    c->lag_limit = 1000 * VI_HOUR;
    c->silence = c->silence_most = 1000 * VI_HOUR;
}

/* ---- what all cases share ---------------------------------------------------------------------- */

struct run {
    const struct measure_config *c;
    struct peers *p;
    struct world *w;
    unsigned n;
    struct vi_rng *rng;
    bool *faulty;
    vi_time from;              /* events before don't count */
    /* one that is watched */
    unsigned subject;
    unsigned knowing;          /* observers that know it to be dead */
    vi_time first, last;
    /* all */
    uint64_t wrong, wrong_healthy; /* removals of ones that aren't faulty: by anyone, by ones that aren't either */
    uint64_t faulty_down, faulty_up; /* of faulty ones, at healthy ones */
    uint64_t subjects_hit;
    bool *hit;
    vi_time *first_of;         /* first detection of each faulty one by a healthy one */
    vi_time *last_of;
    unsigned *known_by;
};

static const struct measure_config *tuning; /* of the run under way: tune() has no argument */

static void tune(struct gossip_config *c)
{
    if (tuning->swim)
        measure_swim(c);
    if (tuning->alpha > 0)
        c->alpha = tuning->alpha;
    if (tuning->beta > 0)
        c->beta = tuning->beta;
}

static void down(struct run *r, unsigned at, unsigned about, vi_time now)
{
    if (about == r->subject) {
        r->first = r->knowing++ ? r->first : now;
        r->last = now;
    }
    if (!r->faulty[about]) {
        r->wrong++;
        r->wrong_healthy += !r->faulty[at];
        if (!r->faulty[at] && !r->hit[about]) {
            r->hit[about] = true;
            r->subjects_hit++;
        }
        return;
    }
    if (r->faulty[at])
        return;
    r->faulty_down++;
    if (!r->known_by[about]++)
        r->first_of[about] = now;
    r->last_of[about] = now;
}

static void notice(void *arg, unsigned at, unsigned about, const struct gossip_effect *fx)
{
    struct run *r = arg;
    vi_time now = world_now(r->w);

    if (now < r->from)
        return;
    if (fx->change == GOSSIP_DOWN)
        down(r, at, about, now);
    else if (fx->change == GOSSIP_UP && fx->was == GOSSIP_DEAD && r->faulty[about] && !r->faulty[at])
        r->faulty_up++;
}

static bool open_run(struct run *r, const struct measure_config *c, unsigned n,
                     const struct world_net *net)
{
    struct peers_config pc = {.seed = c->seed, .n = n, .net = *net, .tune = tune, .notice = notice,
                              .arg = r, .always_pool = true};

    *r = (struct run){.c = c, .n = n, .from = VI_NEVER, .subject = n};
    tuning = c;
    r->p = peers_new(&pc);
    r->faulty = calloc(n, sizeof *r->faulty);
    r->hit = calloc(n, sizeof *r->hit);
    r->first_of = calloc(n, sizeof *r->first_of);
    r->last_of = calloc(n, sizeof *r->last_of);
    r->known_by = calloc(n, sizeof *r->known_by);
    if (!r->p || !r->faulty || !r->hit || !r->first_of || !r->last_of || !r->known_by)
        return false;
    r->w = peers_world(r->p);
    r->rng = world_rng(r->w);
    return true;
}

static void close_run(struct run *r)
{
    peers_free(r->p);
    free(r->faulty);
    free(r->hit);
    free(r->first_of);
    free(r->last_of);
    free(r->known_by);
}

static void pass(struct run *r, vi_time t)
{
    world_run(r->w, world_now(r->w) + t);
}

static bool until_same(struct run *r, vi_time most)
{
    vi_time end = world_now(r->w) + most;

    while (!peers_same(r->p)) {
        if (world_now(r->w) >= end)
            return false;
        pass(r, 100 * VI_MSEC);
    }
    return true;
}

static bool rumours(struct run *r)
{
    struct gossip_gauges g;

    for (unsigned k = 0; k < r->n; k++) {
        gossip_gauges(peers_core(r->p, k), &g);
        if (g.rumours)
            return true;
    }
    return false;
}

/* All started within five seconds, and known to one another. */
static bool form(struct run *r)
{
    for (unsigned k = 0; k < r->n; k++) {
        world_start(r->w, k);
        pass(r, 5 * VI_SEC / r->n);
    }
    if (!until_same(r, 600 * VI_SEC))
        return false;
    while (rumours(r)) /* of the beginning */
        pass(r, VI_SEC);
    pass(r, 10 * VI_SEC);
    r->from = world_now(r->w);
    return true;
}

static double seconds(vi_time t)
{
    return (double)t / 1e6;
}

static unsigned *choose(struct run *r, unsigned many)
{
    unsigned *who = calloc(many ? many : 1, sizeof *who);

    for (unsigned k = 0; who && k < many;) {
        unsigned one = vi_rng_below(r->rng, r->n);

        if (r->faulty[one])
            continue;
        r->faulty[one] = true;
        who[k++] = one;
    }
    return who;
}

/* ---- crash ---------------------------------------------------------------------------------------- */

#define CRASHES 5

static bool crash(const struct measure_config *c, struct measured *m)
{
    struct run r;
    bool ok = open_run(&r, c, c->n ? c->n : 128, &lan) && form(&r);

    for (unsigned k = 0; ok && k < CRASHES; k++) {
        vi_time at;

        r.subject = 1 + vi_rng_below(r.rng, r.n - 1);
        r.knowing = 0;
        pass(&r, (vi_time)vi_rng_below(r.rng, 1000) * VI_MSEC);
        at = world_now(r.w);
        world_crash(r.w, r.subject);
        while (r.knowing < r.n - 1 && world_now(r.w) - at < 120 * VI_SEC)
            pass(&r, 50 * VI_MSEC);
        ok = r.knowing == r.n - 1;
        figure(m, "known_to_first_s", seconds(r.first - at));
        figure(m, "known_to_all_s", seconds(r.last - at));
        world_start(r.w, r.subject);
        ok = ok && until_same(&r, 120 * VI_SEC);
        pass(&r, 5 * VI_SEC);
    }
    close_run(&r);
    return ok;
}

/* ---- Lifeguard's: members whose socket calls hang ---------------------------------------------------- */

static void block(struct run *r, const unsigned *who, unsigned n, bool on)
{
    for (unsigned k = 0; k < n; k++)
        world_block(r->w, who[k], on);
}

static bool interval(const struct measure_config *c, struct measured *m)
{
    struct run r;
    bool ok = open_run(&r, c, c->n ? c->n : 128, &lan) && form(&r);
    unsigned *who = ok ? choose(&r, c->anomalous) : NULL;
    vi_time end;

    if (!who) {
        close_run(&r);
        return false;
    }
    end = world_now(r.w) + (vi_time)((c->duration_s > 0 ? c->duration_s : 120) * 1e6);
    while (world_now(r.w) < end) {
        block(&r, who, c->anomalous, true);
        pass(&r, (vi_time)(c->blocked_s * 1e6));
        block(&r, who, c->anomalous, false);
        pass(&r, (vi_time)(c->normal_s * 1e6));
    }
    pass(&r, 15 * VI_SEC);
    figure(m, "false_positive", (double)r.wrong);
    figure(m, "false_positive_healthy", (double)r.wrong_healthy);
    free(who);
    close_run(&r);
    return true;
}

/* Blocked for good, as far as the others can see: how soon is it known? */
static bool threshold(const struct measure_config *c, struct measured *m)
{
    struct run r;
    bool ok = open_run(&r, c, c->n ? c->n : 128, &lan) && form(&r);
    unsigned *who = ok ? choose(&r, c->anomalous) : NULL;
    vi_time at;

    if (!who) {
        close_run(&r);
        return false;
    }
    at = world_now(r.w);
    block(&r, who, c->anomalous, true);
    pass(&r, (vi_time)((c->blocked_s > 0 ? c->blocked_s : 60) * 1e6));
    for (unsigned k = 0; k < c->anomalous; k++) {
        if (r.known_by[who[k]])
            figure(m, "first_detection_s", seconds(r.first_of[who[k]] - at));
        if (r.known_by[who[k]] >= r.n - c->anomalous)
            figure(m, "known_to_healthy_s", seconds(r.last_of[who[k]] - at));
    }
    figure(m, "false_positive", (double)r.wrong);
    free(who);
    close_run(&r);
    return true;
}

/* ---- Rapid's: one in a hundred members with a bad network ---------------------------------------------- */

static bool unstable(const struct measure_config *c, struct measured *m, bool flip)
{
    struct run r;
    bool ok = open_run(&r, c, c->n ? c->n : 1000, &lan) && form(&r);
    unsigned many = ok ? r.n / 100 : 0, down_now = 0;
    unsigned *who = ok ? choose(&r, many) : NULL;
    vi_time length = (vi_time)((c->duration_s > 0 ? c->duration_s : 600) * 1e6), begin;

    if (!who) {
        close_run(&r);
        return false;
    }
    begin = world_now(r.w);
    for (unsigned turn = 0; world_now(r.w) - begin < length; turn++) {
        for (unsigned k = 0; k < many; k++) {
            if (flip)
                world_node_loss(r.w, who[k], turn % 2 ? 0 : 1, 0);
            else
                world_node_loss(r.w, who[k], .8, .8);
        }
        pass(&r, 20 * VI_SEC);
    }
    for (unsigned k = 0; k < many; k++)
        down_now += peers_thought_down(r.p, who[k]) > (r.n - many) / 2;
    figure(m, "healthy_removed", (double)r.wrong_healthy);
    figure(m, "healthy_removed_by_faulty", (double)(r.wrong - r.wrong_healthy));
    figure(m, "oscillations_per_faulty_10min",
           (double)r.faulty_up / (r.n - many) / many * 600 / seconds(length));
    figure(m, "removals_per_faulty_10min",
           (double)r.faulty_down / (r.n - many) / many * 600 / seconds(length));
    figure(m, "faulty_removed_at_the_end_pct", 100.0 * down_now / many);
    for (unsigned k = 0; k < many; k++)
        world_node_loss(r.w, who[k], 0, 0);
    begin = world_now(r.w);
    figure(m, "healed_after_s", until_same(&r, 600 * VI_SEC) ? seconds(world_now(r.w) - begin) : -1);
    free(who);
    close_run(&r);
    return true;
}

static bool loss80(const struct measure_config *c, struct measured *m)
{
    return unstable(c, m, false);
}

static bool flipflop(const struct measure_config *c, struct measured *m)
{
    return unstable(c, m, true);
}

/* ---- traffic ---------------------------------------------------------------------------------------------- */

#define SUMMARY_EVERY (5 * VI_SEC) /* as the peer's policy does */

static void traffic_reset(struct run *r)
{
    for (unsigned k = 0; k < r->n; k++)
        *peers_traffic(r->p, k) = (struct peers_traffic){0};
}

static void summaries(struct run *r, vi_time length)
{
    vi_time end = world_now(r->w) + length, step = SUMMARY_EVERY / r->n;
    uint8_t bytes[40] = {0};
    struct gossip_event ev = {.kind = GOSSIP_EV_SET_SUMMARY,
                              .summary = {.bytes = bytes, .len = sizeof bytes}};

    for (unsigned k = 0; world_now(r->w) < end; k = (k + 1) % r->n) {
        if (peers_core(r->p, k))
            peers_event(r->p, k, &ev);
        pass(r, step ? step : 1);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void staleness(struct run *r, struct measured *m)
{
    size_t cap = (size_t)r->n * r->n, have = 0;
    double *age = malloc(cap * sizeof *age), sum = 0;

    for (unsigned k = 0; age && k < r->n; k++) {
        struct gossip_summary s;
        size_t pos = 0;

        while (peers_core(r->p, k) && have < cap &&
               gossip_summary_next(peers_core(r->p, k), world_now(r->w), &pos, &s)) {
            age[have] = seconds(s.age);
            sum += age[have++];
        }
    }
    if (age && have) {
        qsort(age, have, sizeof *age, by_value);
        figure(m, "summary_age_mean_s", sum / (double)have);
        figure(m, "summary_age_p50_s", age[have / 2]);
        figure(m, "summary_age_p99_s", age[have * 99 / 100]);
        figure(m, "summaries_known_pct", 100.0 * (double)have / (double)cap);
    }
    free(age);
}

static bool traffic(const struct measure_config *c, struct measured *m)
{
    struct run r;
    bool ok = open_run(&r, c, c->n ? c->n : 1000, &lan) && form(&r);
    unsigned *who = ok ? choose(&r, r.n / 100) : NULL;
    vi_time begin;
    double membership = 0, most = 0, store = 0, idle = 0, type[16] = {0};

    if (!who) {
        close_run(&r);
        return false;
    }
    traffic_reset(&r);
    begin = world_now(r.w);
    pass(&r, 30 * VI_SEC);
    for (unsigned k = 0; k < r.n; k++)
        idle += (double)peers_traffic(r.p, k)->membership;
    figure(m, "idle_tx_bytes_per_s_mean", idle / r.n / 30);
    for (unsigned k = 0; k < r.n / 100; k++)
        world_crash(r.w, who[k]);
    pass(&r, 60 * VI_SEC);
    for (unsigned k = 0; k < r.n; k++) {
        const struct peers_traffic *t = peers_traffic(r.p, k);

        membership += (double)t->membership;
        most = (double)t->most > most ? (double)t->most : most;
        for (unsigned j = 0; j < 16; j++)
            type[j] += (double)t->by_type[j];
    }
    for (unsigned j = 0; j < 16; j++) {
        char name[48];

        snprintf(name, sizeof name, "tx_bytes_per_s_type_%u", j);
        if (type[j] > 0)
            figure(m, name, type[j] / r.n / seconds(world_now(r.w) - begin));
    }
    figure(m, "membership_tx_bytes_per_s_mean", membership / r.n / seconds(world_now(r.w) - begin));
    figure(m, "membership_tx_bytes_per_s_max", most);
    for (unsigned k = 0; k < r.n / 100; k++)
        world_start(r.w, who[k]);
    summaries(&r, 30 * VI_SEC);
    traffic_reset(&r);
    begin = world_now(r.w);
    summaries(&r, 60 * VI_SEC);
    for (unsigned k = 0; k < r.n; k++)
        store += (double)peers_traffic(r.p, k)->store;
    figure(m, "summaries_tx_bytes_per_s_mean", store / r.n / seconds(world_now(r.w) - begin));
    staleness(&r, m);
    free(who);
    close_run(&r);
    return true;
}

/* ---- joining, spreading, size -------------------------------------------------------------------------------- */

static bool join(const struct measure_config *c, struct measured *m)
{
    struct run r;
    bool ok = open_run(&r, c, c->n ? c->n : 2000, &lan);
    vi_time begin;

    if (!ok) {
        close_run(&r);
        return false;
    }
    world_start(r.w, 0);
    pass(&r, VI_SEC);
    begin = world_now(r.w);
    for (unsigned k = 1; k < r.n; k++)
        world_start(r.w, k);
    ok = until_same(&r, 600 * VI_SEC);
    figure(m, "join_s", seconds(world_now(r.w) - begin));
    close_run(&r);
    return ok;
}

static bool update(const struct measure_config *c, struct measured *m)
{
    struct world_net net = lan;
    struct run r;
    bool ok;

    ok = open_run(&r, c, c->n ? c->n : 1000, &net) && form(&r);
    if (ok) {
        world_net(r.w)->loss = .25;
        pass(&r, 20 * VI_SEC);
    }
    for (unsigned k = 0; ok && k < 5; k++) {
        uint8_t meta[4] = {(uint8_t)k, 1, 2, 3};
        struct gossip_event ev = {.kind = GOSSIP_EV_SET_SELF, .self = {.meta = meta, .meta_len = 4}};
        unsigned who = vi_rng_below(r.rng, r.n), all = 0;
        vi_time begin = world_now(r.w);
        struct gossip_config d;

        gossip_config_domain(&d);
        peers_event(r.p, who, &ev);
        while (all < r.n && world_now(r.w) - begin < 120 * VI_SEC) {
            pass(&r, 50 * VI_MSEC);
            all = 0;
            for (unsigned j = 0; j < r.n; j++) {
                struct gossip_member x;

                all += gossip_member_find(peers_core(r.p, j), peers_id(r.p, who), &x) &&
                       x.meta_len == 4 && x.meta[0] == k;
            }
        }
        figure(m, "update_everywhere_s", seconds(world_now(r.w) - begin));
        figure(m, "update_everywhere_syncs", ceil(seconds(world_now(r.w) - begin) / seconds(d.sync_interval)));
        ok = all == r.n;
        pass(&r, 5 * VI_SEC);
    }
    close_run(&r);
    return ok;
}

static double wall(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double heap_bytes(void)
{
    struct mallinfo2 i = mallinfo2();

    return (double)i.uordblks + (double)i.hblkhd;
}

/* Very many in one process: does it come to an end, how soon, how large. */
static bool flat(const struct measure_config *c, struct measured *m)
{
    double before = heap_bytes(), begin = wall(), pairs;
    struct run r;
    bool ok = open_run(&r, c, c->n ? c->n : 10000, &lan);
    vi_time t;

    pairs = (double)r.n * r.n;
    if (!ok) {
        close_run(&r);
        return false;
    }
    t = world_now(r.w);
    for (unsigned k = 0; k < r.n; k++) {
        world_start(r.w, k);
        pass(&r, 20 * VI_SEC / r.n);
    }
    ok = until_same(&r, 1200 * VI_SEC);
    figure(m, "converged_after_s", seconds(world_now(r.w) - t));
    figure(m, "wall_s", wall() - begin);
    figure(m, "events_per_s", (double)world_events(r.w) / (wall() - begin));
    pass(&r, 5 * VI_SEC);
    figure(m, "bytes_per_observer_and_member", (heap_bytes() - before - (double)world_bytes(r.w)) / pairs);
    close_run(&r);
    return ok;
}

static bool settle(struct federation *f, vi_time most)
{
    struct world *w = federation_world(f);
    vi_time end = world_now(w) + most;

    while (!federation_agreed(f)) {
        if (world_now(w) >= end)
            return false;
        world_run(w, world_now(w) + 250 * VI_MSEC);
    }
    return true;
}

/* The representative of a domain crashes: until another represents it, and until all others know that one. */
static bool replaced(struct federation *f, unsigned domain, struct measured *m)
{
    struct world *w = federation_world(f);
    vi_time at = world_now(w);
    unsigned old = 0, now = 0;

    if (federation_acting(f, domain, &old) != 1)
        return false;
    world_crash(w, old);
    while (!federation_acting(f, domain, &now) && world_now(w) - at < 60 * VI_SEC)
        world_run(w, world_now(w) + 50 * VI_MSEC);
    figure(m, "representative_after_crash_s", seconds(world_now(w) - at));
    while (!(federation_acting(f, domain, &now) == 1 && federation_known(f, now)) &&
           world_now(w) - at < 120 * VI_SEC)
        world_run(w, world_now(w) + 50 * VI_MSEC);
    figure(m, "representative_known_after_crash_s", seconds(world_now(w) - at));
    return true;
}

static bool federated(const struct measure_config *c, struct measured *m)
{
    struct federation_config fc = {.seed = c->seed, .domains = c->domains ? c->domains : 100,
                                   .members = c->n ? c->n : 100, .net = lan};
    double before = heap_bytes(), begin = wall();
    struct federation *f = federation_new(&fc);
    struct world *w = f ? federation_world(f) : NULL;
    unsigned n = fc.domains * fc.members;
    vi_time t;
    bool ok;

    if (!f)
        return false;
    t = world_now(w);
    for (unsigned k = 0; k < n; k++) {
        world_start(w, k % fc.domains * fc.members + k / fc.domains);
        world_run(w, t + 20 * VI_SEC * (vi_time)(k + 1) / n);
    }
    ok = settle(f, 300 * VI_SEC);
    figure(m, "converged_after_s", seconds(world_now(w) - t));
    figure(m, "wall_s", wall() - begin);
    figure(m, "events_per_s", (double)world_events(w) / (wall() - begin));
    figure(m, "bytes_per_observer_and_member",
           (heap_bytes() - before - (double)world_bytes(w)) /
               ((double)n * fc.members + (double)fc.domains * fc.domains));
    world_run(w, world_now(w) + 40 * VI_SEC);
    figure(m, "summaries_fresh_pct", 100 * federation_summaries(f, 60 * VI_SEC));
    for (unsigned k = 0; ok && k < 5; k++) {
        ok = replaced(f, (k * 17 + 3) % fc.domains, m);
        world_run(w, world_now(w) + 10 * VI_SEC);
    }
    ok = ok && settle(f, 300 * VI_SEC);
    federation_free(f);
    return ok;
}

const struct measure_case measure_cases[] = {
    {"crash", "five crashes one after the other: when the first and when all know", crash},
    {"interval", "members blocked again and again: healthy ones removed (Lifeguard, §V-C)", interval},
    {"threshold", "members blocked for long: when it is known (Lifeguard, §V-B)", threshold},
    {"rapid-80pct-loss", "one in a hundred loses 80 % in and out, ten minutes (Rapid, §7)", loss80},
    {"rapid-flipflop", "one in a hundred hears nothing every other 20 s (Rapid, §7)", flipflop},
    {"traffic", "bytes sent, idle and with one in a hundred crashed; summaries' age", traffic},
    {"join", "all join at once through one seed", join},
    {"update", "a member changes at 25 % loss: until all know", update},
    {"flat", "very many members in one domain, from nothing to agreement", flat},
    {"federation", "domains of members, from nothing to agreement; their representatives crash", federated},
    {NULL, NULL, NULL},
};
