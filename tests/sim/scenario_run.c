/* Plays a scenario. See scenario_run.h.
 *
 * Faults that last are kept as a list of what is on; at every change the whole network is set anew
 * from it, so that faults may overlap and end in any order. */
#include "tests/sim/scenario_run.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/measure.h"

#define ROW_SAMPLES 1000
#define GOODBYE (2 * VI_SEC) /* after leaving the process ends */

static vi_time now_of(const struct scenario_run *r)
{
    return world_now(r->w) - VI_SEC; /* the world begins at 1 s */
}

/* ---- who believes what --------------------------------------------------------------------------- */

static void sample(struct scenario_run *r, unsigned who)
{
    struct sr_row *row = &r->row[who];
    struct sr_sample s = {.at = now_of(r), .suspecting = r->suspecting[who], .dead = r->dead[who],
                          .observers = r->up - r->is_up[who]};

    row->doubted |= s.suspecting || s.dead;
    if (row->n && s.at - row->v[row->n - 1].at < r->grain) {
        s.at = row->v[row->n - 1].at;
        row->v[row->n - 1] = s;
        return;
    }
    if (row->n == row->cap) {
        unsigned cap = row->cap ? 2 * row->cap : 8;
        struct sr_sample *v = realloc(row->v, cap * sizeof *v);

        if (!v) {
            r->no_memory = true;
            return;
        }
        row->v = v;
        row->cap = cap;
    }
    row->v[row->n++] = s;
}

static unsigned *counter(struct scenario_run *r, uint8_t state)
{
    return state == GOSSIP_ALIVE ? r->alive : state == GOSSIP_SUSPECT ? r->suspecting
           : state == GOSSIP_DEAD || state == GOSSIP_LEFT ? r->dead : NULL;
}

static void believe(struct scenario_run *r, unsigned at, unsigned who, uint8_t state)
{
    uint8_t *b = &r->belief[(size_t)at * r->n + who];
    unsigned *c = counter(r, *b);

    if (c)
        c[who]--;
    *b = state;
    c = counter(r, state);
    if (c)
        c[who]++;
}

/* ---- what became of each event ---------------------------------------------------------------------- */

static bool starts(enum sc_verb v)
{
    return v == SC_START || v == SC_RESTART || v == SC_MOVE;
}

static bool all_alive(const struct scenario_run *r, unsigned who)
{
    unsigned observers = r->up - r->is_up[who];

    return r->is_up[who] && observers && r->alive[who] == observers;
}

/* Nobody who is up takes it for a member: also who forgot it, or never knew it. */
static bool all_dead(const struct scenario_run *r, unsigned who)
{
    return r->up > r->is_up[who] && !r->alive[who] && !r->suspecting[who];
}

/* Times that are there once it is so of every subject. */
static void follow(struct scenario_run *r, struct sr_outcome *o, bool to_life)
{
    vi_time now = now_of(r);
    bool all = true, back = true;

    for (unsigned k = 0; k < o->nsubjects; k++) {
        struct sr_subject *s = &o->subject[k];

        if (s->all == VI_NEVER && !(o->over && !to_life) &&
            (to_life ? all_alive(r, s->who) : all_dead(r, s->who)))
            s->all = now;
        if (s->back == VI_NEVER && !to_life && o->over && all_alive(r, s->who))
            s->back = now;
        all &= s->all != VI_NEVER;
        back &= s->back != VI_NEVER;
    }
    if (all && o->all == VI_NEVER)
        o->all = now;
    if (back && o->back == VI_NEVER)
        o->back = now;
}

static void follow_all(struct scenario_run *r)
{
    for (unsigned k = 0; k < r->s->nevents; k++)
        if (r->outcome[k].begun && r->outcome[k].nsubjects)
            follow(r, &r->outcome[k], starts(r->s->event[k].verb));
}

static void heard_of(struct scenario_run *r, unsigned who, enum gossip_change change)
{
    bool gone = change == GOSSIP_DOWN || change == GOSSIP_GOODBYE;
    vi_time now = now_of(r);

    for (unsigned k = 0; k < r->s->nevents; k++) {
        struct sr_outcome *o = &r->outcome[k];
        bool to_life = starts(r->s->event[k].verb);

        if (!o->begun || !r->in_event[(size_t)k * r->n + who])
            continue;
        if (to_life ? o->all == VI_NEVER && (change == GOSSIP_UP || (r->s->event[k].verb == SC_MOVE && change == GOSSIP_CHANGED))
                    : gone && !o->over) {
            o->first = o->first == VI_NEVER ? now : o->first;
            o->last = now;
        }
        follow(r, o, to_life);
    }
}

static void wrongly(struct scenario_run *r, unsigned at, unsigned who)
{
    vi_time now = now_of(r);

    r->removed[who]++;
    if (sr_excused(r, at, who, now))
        return;
    r->wrong++;
    r->wrong_by_healthy += sr_healthy(r, at, now);
    if (r->nshown == SR_SHOWN)
        return;
    r->shown[r->nshown].who = who;
    r->shown[r->nshown].by = at;
    r->shown[r->nshown++].at = now;
}

static void tell(const struct scenario_run *r, unsigned at, unsigned who, const struct gossip_effect *fx)
{
    unsigned accuser = peers_index(r->p, &fx->why.accuser);

    fprintf(r->trace, "%.3f %u: %u %s, %s", (double)now_of(r) / 1e6, at, who, gossip_change_text(fx->change),
            gossip_state_text(fx->state));
    if (fx->why.reason != GOSSIP_WHY_NONE)
        fprintf(r->trace, " (%s", gossip_reason_text(fx->why.reason));
    if (fx->why.reason != GOSSIP_WHY_NONE && accuser < r->n)
        fprintf(r->trace, ", accused by %u", accuser);
    fprintf(r->trace, "%s\n", fx->why.reason != GOSSIP_WHY_NONE ? ")" : "");
}

static void notice(void *arg, unsigned at, unsigned about, const struct gossip_effect *fx)
{
    struct scenario_run *r = arg;

    if (at == about)
        return;
    believe(r, at, about, fx->change == GOSSIP_FORGOTTEN ? 0 : (uint8_t)fx->state);
    if (fx->change == GOSSIP_DOWN)
        wrongly(r, at, about);
    heard_of(r, about, fx->change);
    sample(r, about);
    if (r->trace)
        tell(r, at, about, fx);
}

/* ---- what is done -------------------------------------------------------------------------------------- */

static void one_faulty(struct scenario_run *r, unsigned who)
{
    bool pause = false, block = false, mute = false;
    double in = 0, out = 0;

    for (unsigned k = 0; k < r->s->nevents; k++) {
        const struct sc_event *e = &r->s->event[k];

        if (!r->outcome[k].begun || r->outcome[k].over || !r->in_event[(size_t)k * r->n + who])
            continue;
        pause |= e->verb == SC_PAUSE;
        block |= e->verb == SC_BLOCK;
        mute |= e->verb == SC_MUTE;
        if (e->verb == SC_LOSS && e->in > in)
            in = e->in;
        if (e->verb == SC_LOSS && e->out > out)
            out = e->out;
    }
    world_node_loss(r->w, who, in, out);
    world_mute(r->w, who, mute);
    world_block(r->w, who, block);
    if (pause)
        world_pause(r->w, who);
    else
        world_resume(r->w, who);
}

static void partition(struct scenario_run *r, unsigned k)
{
    world_partition(r->w, &r->in_event[(size_t)k * r->n]);
}

/* The network and everybody's faults, as the events that are on have them. */
static void apply(struct scenario_run *r)
{
    world_heal(r->w);
    *world_net(r->w) = r->s->net;
    for (unsigned k = 0; k < r->s->nevents; k++) {
        const struct sc_event *e = &r->s->event[k];

        if (!r->outcome[k].begun || r->outcome[k].over)
            continue;
        if (e->verb == SC_PARTITION)
            partition(r, k);
        if (e->verb == SC_NET)
            *world_net(r->w) = e->net;
        for (unsigned a = 0; e->verb == SC_CUT && a < r->n; a++)
            for (unsigned b = 0; sc_has(&e->set, a) && b < r->n; b++)
                if (b != a && sc_has(&e->to, b))
                    world_cut(r->w, a, b, true);
    }
    for (unsigned who = 0; who < r->n; who++)
        one_faulty(r, who);
}

static void down_begins(struct scenario_run *r, unsigned who)
{
    if (r->ndown == r->down_cap) {
        unsigned cap = r->down_cap ? 2 * r->down_cap : 16;
        struct sr_down *d = realloc(r->down, cap * sizeof *d);

        if (!d) {
            r->no_memory = true;
            return;
        }
        r->down = d;
        r->down_cap = cap;
    }
    r->down[r->ndown++] = (struct sr_down){who, now_of(r), VI_NEVER};
}

static void crash(struct scenario_run *r, unsigned who)
{
    if (!r->is_up[who])
        return;
    world_crash(r->w, who);
    r->is_up[who] = false;
    r->up--;
    down_begins(r, who);
    for (unsigned b = 0; b < r->n; b++) {
        believe(r, who, b, 0);
        sample(r, b);
    }
    follow_all(r);
}

/* A crash or good-bye is over when its subject is started again. */
static void alive_again(struct scenario_run *r, unsigned who)
{
    for (unsigned k = 0; k < r->ndown; k++)
        if (r->down[k].who == who && r->down[k].to == VI_NEVER)
            r->down[k].to = now_of(r);
    for (unsigned k = 0; k < r->s->nevents; k++) {
        enum sc_verb v = r->s->event[k].verb;

        if ((v == SC_CRASH || v == SC_LEAVE) && r->outcome[k].begun && !r->outcome[k].over &&
            r->in_event[(size_t)k * r->n + who]) {
            r->outcome[k].over = true;
            r->outcome[k].end = now_of(r);
        }
    }
}

static void start_one(void *arg, struct world *w, uint64_t a)
{
    struct scenario_run *r = arg;
    const struct sc_event *e = &r->s->event[a >> 32];
    unsigned who = (unsigned)(a & UINT32_MAX);

    if (r->is_up[who])
        return;
    if (e->without_disk)
        peers_lose_disk(r->p, who);
    r->is_up[who] = true; /* before: starting it makes effects */
    r->up++;
    r->started[who] = now_of(r);
    world_start(w, who);
    alive_again(r, who);
    for (unsigned b = 0; b < r->n; b++)
        sample(r, b);
    apply(r);
}

static void gone(void *arg, struct world *w, uint64_t who)
{
    (void)w;
    crash(arg, (unsigned)who);
}

static void on_one(struct scenario_run *r, const struct sc_event *e, unsigned index, unsigned k)
{
    const struct sr_outcome *o = &r->outcome[index];
    unsigned who = o->subject[k].who;
    struct gossip_event leave = {.kind = GOSSIP_EV_LEAVE}, move = {.kind = GOSSIP_EV_SET_SELF};
    struct gossip_addr addr = {.len = 8};

    if (e->verb == SC_START || e->verb == SC_RESTART) {
        vi_time at = world_now(r->w) + e->within * (vi_time)k / (vi_time)o->nsubjects;

        world_at(r->w, at, start_one, r, (uint64_t)index << 32 | who);
        return;
    }
    if (!r->is_up[who])
        return;
    if (e->verb == SC_CRASH) {
        crash(r, who);
    } else if (e->verb == SC_LEAVE && !peers_event(r->p, who, &leave)) {
        world_at(r->w, world_now(r->w) + GOODBYE, gone, r, who);
    } else if (e->verb == SC_MOVE) {
        memcpy(addr.b, &who, 4);
        memcpy(addr.b + 4, &index, 4);
        move.self.addr = &addr;
        peers_event(r->p, who, &move);
    }
}

static void end_event(void *arg, struct world *w, uint64_t index)
{
    struct scenario_run *r = arg;

    (void)w;
    r->outcome[index].over = true;
    r->outcome[index].end = now_of(r);
    apply(r);
    follow_all(r);
}

static void begin_event(void *arg, struct world *w, uint64_t index)
{
    struct scenario_run *r = arg;
    const struct sc_event *e = &r->s->event[index];
    struct sr_outcome *o = &r->outcome[index];

    o->begun = true;
    o->at = now_of(r);
    if (e->verb >= SC_PAUSE) {
        apply(r);
        if (e->lasts != VI_NEVER)
            world_at(w, world_now(w) + e->lasts, end_event, r, index);
        return;
    }
    for (unsigned k = 0; k < o->nsubjects; k++)
        on_one(r, e, (unsigned)index, k);
}

static void look(void *arg, struct world *w, uint64_t at)
{
    (void)w;
    scenario_check_agreed(arg, (vi_time)at);
}

/* ---- all of it ---------------------------------------------------------------------------------------------- */

static void tune_swim(struct gossip_config *c)
{
    measure_swim(c);
}

static bool make_outcome(struct scenario_run *r, unsigned index)
{
    const struct sc_event *e = &r->s->event[index];
    struct sr_outcome *o = &r->outcome[index];

    o->at = o->end = o->first = o->last = o->all = o->back = VI_NEVER;
    o->subject = calloc(r->n, sizeof *o->subject);
    if (!o->subject)
        return false;
    for (unsigned who = 0; who < r->n; who++) {
        if (!sc_has(&e->set, who) && !(e->verb == SC_CUT && sc_has(&e->to, who)))
            continue;
        r->in_event[(size_t)index * r->n + who] = true;
        o->subject[o->nsubjects++] = (struct sr_subject){who, VI_NEVER, VI_NEVER};
    }
    return true;
}

static bool make(struct scenario_run *r)
{
    const struct scenario *s = r->s;
    struct peers_config pc = {.seed = r->seed, .n = s->peers, .net = s->net, .crypto = s->crypto,
                              .tune = s->swim ? tune_swim : NULL, .notice = notice, .arg = r};

    r->n = s->peers;
    r->grain = s->length / ROW_SAMPLES;
    r->belief = calloc((size_t)r->n * r->n, 1);
    r->suspecting = calloc(r->n, sizeof *r->suspecting);
    r->dead = calloc(r->n, sizeof *r->dead);
    r->alive = calloc(r->n, sizeof *r->alive);
    r->is_up = calloc(r->n, sizeof *r->is_up);
    r->started = calloc(r->n, sizeof *r->started);
    r->removed = calloc(r->n, sizeof *r->removed);
    r->row = calloc(r->n, sizeof *r->row);
    r->in_event = calloc((size_t)s->nevents * r->n, sizeof *r->in_event);
    r->outcome = calloc(s->nevents, sizeof *r->outcome);
    if (!r->belief || !r->suspecting || !r->dead || !r->alive || !r->is_up || !r->started || !r->removed ||
        !r->row || !r->in_event || !r->outcome)
        return false;
    for (unsigned k = 0; k < s->nevents; k++)
        if (!make_outcome(r, k))
            return false;
    r->p = peers_new(&pc);
    if (!r->p)
        return false;
    r->w = peers_world(r->p);
    return true;
}

static void schedule(struct scenario_run *r)
{
    const struct scenario *s = r->s;

    for (unsigned k = 0; k < s->nclocks; k++)
        for (unsigned who = 0; who < r->n; who++)
            if (sc_has(&s->clock[k].set, who))
                world_clock_rate(r->w, who, s->clock[k].rate);
    for (unsigned k = 0; k < s->nevents; k++)
        world_at(r->w, VI_SEC + s->event[k].at, begin_event, r, k);
    for (unsigned k = 0; k < s->nexpects; k++)
        if (s->expect[k].kind == SC_AGREED && s->expect[k].within != VI_NEVER)
            world_at(r->w, VI_SEC + s->expect[k].within, look, r, (uint64_t)s->expect[k].within);
}

static void sum_up(struct scenario_run *r)
{
    double seconds = (double)r->s->length / 1e6;

    for (unsigned who = 0; who < r->n; who++) {
        const struct peers_traffic *t = peers_traffic(r->p, who);

        r->tx_mean += (double)t->membership / seconds / r->n;
        r->store_mean += (double)t->store / seconds / r->n;
        if ((double)t->most > r->tx_max)
            r->tx_max = (double)t->most;
    }
    r->agreed = peers_agreed(r->p);
    r->hash = world_hash(r->w);
    r->events = world_events(r->w);
}

struct scenario_run *scenario_run(const struct scenario *s, uint64_t seed, FILE *trace)
{
    struct scenario_run *r = calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->s = s;
    r->seed = seed;
    r->trace = trace;
    if (!make(r)) {
        scenario_run_free(r);
        return NULL;
    }
    schedule(r);
    world_run(r->w, VI_SEC + s->length);
    sum_up(r);
    scenario_check_agreed(r, VI_NEVER);
    scenario_check(r);
    if (r->no_memory) {
        scenario_run_free(r);
        return NULL;
    }
    return r;
}

void scenario_run_free(struct scenario_run *r)
{
    if (!r)
        return;
    peers_free(r->p);
    for (unsigned k = 0; r->outcome && k < r->s->nevents; k++)
        free(r->outcome[k].subject);
    for (unsigned who = 0; r->row && who < r->n; who++)
        free(r->row[who].v);
    free(r->belief);
    free(r->suspecting);
    free(r->dead);
    free(r->alive);
    free(r->is_up);
    free(r->started);
    free(r->removed);
    free(r->in_event);
    free(r->outcome);
    free(r->row);
    free(r->down);
    free(r);
}
