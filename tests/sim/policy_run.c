/* Playing a scenario. See policy_run.h. */
#include "tests/sim/policy_run.h"

#include <math.h>
#include <stdlib.h>

#include "tests/sim/violin.h"

const char *const pw_system_names[PW_SYSTEMS] = {"static", "reference", "violin-20s", "violin-modelled"};

static bool say;

void policy_run_aloud(bool aloud)
{
    say = aloud;
}

static void play_static(struct pw_world *w)
{
    while (w->now < w->s->length && !pw_over(w)) {
        vi_time t = pw_next(w);

        pw_advance(w, t < w->s->length ? t : w->s->length);
    }
}

static bool play_violin(struct pw_run *r)
{
    struct violin_config c;
    struct violin *v;
    bool ok;

    violin_config_init(&c, r->seed);
    c.stall = r->system == PW_VIOLIN_20S ? PW_STALL : 0;
    c.say = say;
    v = violin_new(&c, r->w);
    ok = v && violin_play(v);
    if (v)
        r->hash = violin_hash(v);
    violin_free(v);
    return ok;
}

struct pw_run *policy_run(const struct pw_scenario *s, enum pw_system system, uint64_t seed)
{
    struct pw_run *r = calloc(1, sizeof *r);
    bool ok = true;

    if (!r)
        return NULL;
    r->system = system;
    r->seed = seed;
    r->w = pw_new(s, system == PW_STATIC);
    if (r->w) {
        if (system == PW_STATIC)
            play_static(r->w);
        else
            ok = system == PW_REFERENCE ? policy_reference_play(r->w) : play_violin(r);
    }
    if (!r->w || !ok || r->w->no_memory) {
        policy_run_free(r);
        return NULL;
    }
    for (unsigned e = 0; e < s->n_envs; e++)
        pw_settle_env(r->w, e);
    return r;
}

void policy_run_free(struct pw_run *r)
{
    if (!r)
        return;
    pw_free(r->w);
    free(r);
}

unsigned pw_moves(const struct pw_world *w)
{
    unsigned n = 0;

    for (unsigned e = 0; e < w->s->n_envs; e++)
        n += w->env[e].moves;
    return n;
}

double pw_average_s(const struct pw_world *w)
{
    double sum = 0;
    unsigned n = 0;

    for (unsigned e = 0; e < w->s->n_envs; e++)
        if (w->env[e].state == PW_ENDED) {
            sum += pw_execution_s(w, e);
            n++;
        }
    return n ? sum / n : 0;
}

double pw_overall_s(const struct pw_world *w)
{
    vi_time first = VI_NEVER, last = 0;

    for (unsigned e = 0; e < w->s->n_envs; e++) {
        if (w->s->env[e].start < first)
            first = w->s->env[e].start;
        if (w->env[e].state == PW_ENDED && w->env[e].ended > last)
            last = w->env[e].ended;
    }
    return last > first ? (double)(last - first) / 1e6 : 0;
}
