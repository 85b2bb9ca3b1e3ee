/* What both parts of the core share: its life, effects, and what comes in from outside. See envmake.h. */
#include "peer/envmake_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

struct envmake *envmake_new(const struct envmake_config *cfg)
{
    struct envmake *m = calloc(1, sizeof *m);
    if (m)
        m->cfg = *cfg;
    return m;
}

void envmake_free(struct envmake *m)
{
    free(m);
}

void mk_say(char out[ENVMAKE_WHY], const char *text)
{
    snprintf(out, ENVMAKE_WHY, "%s", text ? text : "");
}

void mk_fault(struct envmake *m, const char *name)
{
    if (m->cfg.hooks.fault)
        m->cfg.hooks.fault(m->cfg.hooks.arg, name);
}

struct envmake_effect *mk_push(struct envmake *m, enum envmake_effect_kind kind)
{
    struct envmake_effect *fx;
    if (m->count == MK_EFFECTS)
        return NULL;
    fx = &m->fx[(m->head + m->count++) % MK_EFFECTS];
    memset(fx, 0, sizeof *fx);
    fx->kind = kind;
    return fx;
}

const struct envmake_effect *envmake_effect(struct envmake *m)
{
    const struct envmake_effect *fx;
    if (m->count == 0)
        return NULL;
    fx = &m->fx[m->head];
    m->head = (m->head + 1) % MK_EFFECTS;
    m->count--;
    return fx;
}

bool mk_ask(struct envmake *m, const struct vi_id *peer, uint64_t token, const struct mk_question *q)
{
    struct envmake_effect *fx = mk_push(m, ENVMAKE_FX_ASK);
    int n;
    if (!fx)
        return false;
    n = mk_question_encode(q, fx->data, sizeof fx->data);
    fx->peer = *peer;
    fx->token = token;
    fx->len = n > 0 ? (size_t)n : 0;
    if (n < 0)
        m->count--; /* the last one pushed: taken back */
    return n > 0;
}

int envmake_asked(struct envmake *m, vi_time now, const struct vi_id *from, const uint8_t *data, size_t len,
                  uint8_t out[ENVMAKE_ANSWER_MAX])
{
    struct mk_question q;
    struct mk_answer a;
    int err = mk_question_decode(&q, data, len);
    if (err)
        return err;
    if (!m->loaded)
        return VI_EAGAIN; /* before the records are read nothing is known: no answer, not "unknown" */
    memset(&a, 0, sizeof a);
    m->due = now;
    if (q.ask == MK_WHAT)
        mk_job_what(m, &q, &a);
    else
        mk_guest_asked(m, now, from, &q, &a);
    return mk_answer_encode(&a, out, ENVMAKE_ANSWER_MAX);
}

void envmake_answered(struct envmake *m, vi_time now, uint64_t token, int err, const uint8_t *data, size_t len)
{
    struct mk_answer a;
    memset(&a, 0, sizeof a);
    m->due = now;
    if (!err)
        err = mk_answer_decode(&a, data, len);
    for (unsigned i = 0; i < ENVMAKE_HERE; i++)
        if (m->guest[i].used && m->guest[i].asking && m->guest[i].token == token) {
            mk_guest_answered(m, now, &m->guest[i], err, &a);
            return;
        }
    mk_job_answered(m, now, token, err, &a);
}

#define BUSY_EVERY  (250 * VI_MSEC)
#define QUIET_EVERY (5 * VI_SEC)

/* While anything is under way the hypervisor's list and the clocks are looked at often. */
static vi_time next_tick(const struct envmake *m, vi_time now)
{
    vi_time t = VI_NEVER;
    for (unsigned i = 0; i < ENVMAKE_JOBS; i++)
        if (m->job[i].used && (m->job[i].phase != EJ_OVER || m->job[i].written))
            return now + BUSY_EVERY;
    for (unsigned i = 0; i < ENVMAKE_HERE; i++)
        if (m->guest[i].used && !mk_guest_quiet(&m->guest[i]))
            return now + BUSY_EVERY;
        else if (m->guest[i].used)
            t = now + QUIET_EVERY;
    return t;
}

void envmake_tick(struct envmake *m, vi_time now)
{
    if (!m->loaded)
        return;
    m->due = VI_NEVER;
    mk_guest_tick(m, now);
    mk_job_tick(m, now);
    m->due = next_tick(m, now);
}

vi_time envmake_deadline(const struct envmake *m)
{
    return m->loaded ? m->due : VI_NEVER;
}

/* ---- records ---- */

int envmake_load(struct envmake *m, vi_time now, enum envmake_record kind, const struct vi_id *key, const uint8_t *data,
                 size_t len)
{
    struct mk_guest *g;
    struct mk_job *j;
    int err;
    if (kind == ENVMAKE_RECORD_GUEST) {
        if (!(g = mk_guest_place(m)))
            return VI_EFULL;
        err = mk_guest_decode(g, data, len);
        g->used = !err && vi_id_equal(&g->uuid, key);
        g->heard = now; /* its job gets its time to ask */
        g->until = now + ENVMAKE_TERM; /* for so long it may still appear: the agent goes on with what it was asked */
        return g->used ? 0 : VI_EPROTO;
    }
    for (j = m->job; j < m->job + ENVMAKE_JOBS && j->used; j++)
        ;
    if (j == m->job + ENVMAKE_JOBS)
        return VI_EFULL;
    err = mk_job_decode(j, data, len);
    j->used = !err && vi_id_equal(&j->id, key);
    j->since = now;
    j->written = true;
    if (j->used && j->phase == EJ_DROPPING)
        mk_say(j->why, "this host was started again before all of them were made");
    return j->used ? 0 : VI_EPROTO;
}

void envmake_loaded(struct envmake *m, vi_time now, const struct vi_id *boot)
{
    m->due = now;
    m->boot = *boot;
    m->loaded = true;
    for (unsigned i = 0; i < ENVMAKE_HERE; i++) {
        struct mk_guest *g = &m->guest[i];
        /* What ran in another boot of this host ended with that. */
        if (g->used && g->phase == EP_KEPT && g->want == MK_WANT_RUN && !vi_id_equal(&g->boot, boot))
            g->starting = m->cfg.start || vi_id_is_zero(&g->boot);
    }
}
