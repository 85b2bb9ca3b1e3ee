/* A guest at its host: promised, made, kept, removed. See envmake.h.
 *
 *   CHECKING → LEASED → MAKING → MADE → KEPT → (nothing)      a lease and a refusal are in memory only; the rest is
 *        ↘ REFUSED        ↘ FAILED  ↘ DROPPING → (nothing)    written before it is begun
 *
 * MAKING and MADE are one record: after a restart the hypervisor's list tells which. One operation at a time is under
 * way for a guest; what is to be done next follows from what is wanted and from what the list shows. A guest's own disks
 * are made after its record and before the guest, and go after it and before its record; one that is kept is only ever
 * started from disks that are here. */
#include "peer/envmake_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

#define REMEMBERED  (30 * VI_SEC) /* why it was refused, or failed */
#define ASK_EVERY   (5 * VI_SEC)
#define AGAIN       (1 * VI_SEC)
#define AGAIN_LATE  (10 * VI_SEC) /* after a failure */
#define TRIES       6
#define ASKED_TO_STOP (20 * VI_SEC)

struct mk_guest *mk_guest_find(struct envmake *m, const struct vi_id *uuid)
{
    for (unsigned i = 0; i < ENVMAKE_HERE; i++)
        if (m->guest[i].used && vi_id_equal(&m->guest[i].uuid, uuid))
            return &m->guest[i];
    return NULL;
}

/* A free place, cleared; NULL: all are taken. What is only remembered makes room. */
struct mk_guest *mk_guest_place(struct envmake *m)
{
    struct mk_guest *old = NULL;
    for (unsigned i = 0; i < ENVMAKE_HERE; i++) {
        struct mk_guest *g = &m->guest[i];
        if (!g->used || g->phase == EP_REFUSED || g->phase == EP_FAILED)
            old = old && !old->used ? old : g;
    }
    if (old)
        memset(old, 0, sizeof *old);
    return old;
}

static void view_of(const struct envmake *m, const struct mk_guest *g, struct envmake_view *v)
{
    memset(v, 0, sizeof *v);
    m->cfg.hooks.view(m->cfg.hooks.arg, &g->uuid, v);
}

int mk_guest_write(struct envmake *m, const struct mk_guest *g)
{
    uint8_t b[ENVMAKE_RECORD_MAX];
    int n = mk_guest_encode(g, b, sizeof b);
    return n < 0 ? n : m->cfg.hooks.save(m->cfg.hooks.arg, ENVMAKE_RECORD_GUEST, &g->uuid, b, (size_t)n);
}

static void remember(struct mk_guest *g, vi_time now, enum mk_phase phase, const char *why)
{
    g->phase = phase;
    g->busy = false;
    g->until = now + REMEMBERED;
    mk_say(g->why, why);
}

/* Its record goes, then it does. A record that can't be taken away is tried again later. */
static bool forget(struct envmake *m, struct mk_guest *g, vi_time now)
{
    if (m->cfg.hooks.forget(m->cfg.hooks.arg, ENVMAKE_RECORD_GUEST, &g->uuid)) {
        g->again = now + AGAIN_LATE;
        mk_say(g->why, "its record can't be removed from the disk");
        return false;
    }
    mk_fault(m, "envmake.guest.forgotten");
    memset(g, 0, sizeof *g);
    return true;
}

/* It is another host's: what is left of its disks here goes when its environment does. */
static bool forget_given(struct envmake *m, struct mk_guest *g, vi_time now)
{
    if (mk_has_disks(&g->disks) && m->cfg.hooks.left)
        m->cfg.hooks.left(m->cfg.hooks.arg, &g->env, &g->uuid, &g->disks);
    return forget(m, g, now);
}

static void operate(struct envmake *m, vi_time now, struct mk_guest *g, enum envmake_op op, uint32_t domid)
{
    struct envmake_effect *fx = mk_push(m, ENVMAKE_FX_HV);
    g->again = now + AGAIN;
    if (!fx)
        return; /* the next tick tries again */
    fx->op = op;
    fx->guest = g->uuid;
    fx->env = g->env;
    fx->peer = g->maker;
    fx->domid = domid;
    if (op == ENVMAKE_OP_CHECK || op == ENVMAKE_OP_CREATE || op == ENVMAKE_OP_DISKS || op == ENVMAKE_OP_WIPE) {
        memcpy(fx->data, g->description, g->len);
        fx->len = g->len;
        fx->disks = g->disks;
    }
    g->copying = op == ENVMAKE_OP_DISKS;
    g->busy = true;
}

void envmake_promised(const struct envmake *m, uint64_t *kb, double *pct)
{
    *kb = 0;
    *pct = 0;
    for (unsigned i = 0; i < ENVMAKE_HERE; i++) {
        const struct mk_guest *g = &m->guest[i];
        struct envmake_view v;
        if (!g->used || g->phase == EP_REFUSED || g->phase == EP_FAILED || (g->phase == EP_KEPT && !g->starting))
            continue;
        view_of(m, g, &v);
        if (v.known && v.here)
            continue; /* counted in the list */
        *kb += g->kb;
        *pct += g->pct;
    }
}

/* ---- what a job asks ---- */

static void take_description(struct mk_guest *g, const struct mk_question *q)
{
    struct hv_description d;
    memcpy(g->description, q->description, q->len);
    g->len = q->len;
    g->disks = q->disks;
    if (hv_description_decode(&d, g->description, g->len)) {
        g->len = 0;
        return;
    }
    g->kb = d.target_kb;
    g->pct = MK_PCT_VCPU * d.vcpus;
}

static struct mk_guest *new_guest(struct envmake *m, vi_time now, const struct vi_id *from, const struct mk_question *q)
{
    struct mk_guest *g = mk_guest_place(m);
    if (!g)
        return NULL;
    g->used = true;
    g->uuid = q->guest;
    g->env = q->env;
    g->job = q->job;
    g->maker = *from;
    g->number = q->number;
    g->head = q->head;
    g->heard = now;
    take_description(g, q);
    return g;
}

static void lease(struct envmake *m, vi_time now, const struct vi_id *from, const struct mk_question *q)
{
    char why[ENVMAKE_WHY] = "";
    uint64_t kb;
    double pct;
    struct mk_guest *g;
    envmake_promised(m, &kb, &pct);
    if (!(g = new_guest(m, now, from, q)))
        return;
    if (g->len == 0)
        remember(g, now, EP_REFUSED, "its description can't be read");
    else if (m->cfg.hooks.can_take(m->cfg.hooks.arg, g->kb, g->pct, kb, pct, why, sizeof why))
        remember(g, now, EP_REFUSED, why);
    else {
        g->phase = EP_CHECKING;
        g->until = now + ENVMAKE_TERM;
        operate(m, now, g, ENVMAKE_OP_CHECK, 0);
    }
}

static void begin_making(struct envmake *m, vi_time now, struct mk_guest *g)
{
    enum mk_phase before = g->phase;
    g->phase = EP_MAKING;
    g->until = 0;
    g->tries = 0;
    g->busy = false; /* a check whose answer isn't waited for any more */
    g->disks_there = g->wiped = g->failed = false;
    g->percent = 0;
    g->again = now;
    if (mk_guest_write(m, g)) {
        g->phase = before;
        remember(g, now, EP_FAILED, "the host's disk doesn't take its record");
        return;
    }
    mk_fault(m, "envmake.guest.written");
}

/* It was made here, and ran, and this host gave it to another: its job hasn't heard. */
static bool given_away(const struct envmake *m, const struct mk_question *q, const struct mk_guest *g)
{
    return !g && (q->ask == MK_RUN || (q->ask == MK_MAKE && q->committed)) && !m->cfg.hooks.owned(m->cfg.hooks.arg, &q->guest);
}

static void make(struct envmake *m, vi_time now, const struct vi_id *from, const struct mk_question *q,
                 struct mk_guest *g)
{
    if (!g && q->committed && m->cfg.hooks.env_open(m->cfg.hooks.arg, &q->env)) {
        g = new_guest(m, now, from, q); /* it was dropped here though the others run */
        if (g && g->len > 0)
            begin_making(m, now, g);
    } else if (g && (g->phase == EP_LEASED || (q->committed && (g->phase == EP_FAILED || g->phase == EP_REFUSED)))) {
        g->why[0] = '\0';
        begin_making(m, now, g);
    }
}

/* It is everybody's now: kept here, and started. */
static void keep_and_run(struct envmake *m, vi_time now, struct mk_guest *g)
{
    g->phase = EP_KEPT;
    g->want = MK_WANT_RUN;
    g->starting = true;
    memset(&g->boot, 0, sizeof g->boot);
    g->again = now;
    if (mk_guest_write(m, g)) {
        g->phase = EP_MADE;
        g->starting = false;
        mk_say(g->why, "the host's disk doesn't take its record");
        return;
    }
    g->why[0] = '\0';
    mk_fault(m, "envmake.guest.kept");
}

static void drop(vi_time now, struct mk_guest *g)
{
    if (g->phase == EP_MAKING || g->phase == EP_MADE) {
        g->phase = EP_DROPPING;
        g->again = now;
    } else if (g->phase == EP_DROPPING)
        g->failed = false; /* why needn't be remembered any more */
    else if (g->phase != EP_KEPT)
        memset(g, 0, sizeof *g); /* nothing was written */
}

static void set_want(struct envmake *m, vi_time now, struct mk_guest *g, enum mk_want want)
{
    enum mk_want before = g->want;
    bool was_starting = g->starting;
    bool changed = want != before && !(want == MK_WANT_STOP && before == MK_WANT_KILL);
    struct envmake_view v;
    if (before == MK_WANT_REMOVE)
        return;
    view_of(m, g, &v);
    if (want == MK_WANT_RUN && v.known && !v.running) {
        g->starting = true;
        changed = true;
    }
    if (!changed)
        return;
    g->want = want;
    if (want != MK_WANT_RUN)
        g->starting = false;
    g->why[0] = '\0';
    g->again = now;
    if (mk_guest_write(m, g)) {
        g->want = before;
        g->starting = was_starting;
        mk_say(g->why, "the host's disk doesn't take its record");
        return;
    }
    mk_fault(m, "envmake.guest.set");
}

static uint64_t print_of(const struct mk_guest *g)
{
    struct hv_description d;
    return hv_description_decode(&d, g->description, g->len) ? 0 : envmake_print(&d, &g->disks);
}

static void list(struct envmake *m, const struct mk_question *q, struct mk_answer *a)
{
    unsigned last = q->number;
    for (;;) {
        const struct mk_guest *next = NULL;
        for (unsigned i = 0; i < ENVMAKE_HERE; i++) {
            const struct mk_guest *g = &m->guest[i];
            if (g->used && vi_id_equal(&g->env, &q->env) && g->number + 1 > last &&
                (g->phase == EP_KEPT || g->phase == EP_MADE || g->phase == EP_MAKING) &&
                (!next || g->number < next->number))
                next = g;
        }
        if (!next)
            return;
        if (a->n == ENVMAKE_LISTED) {
            a->more = true;
            return;
        }
        a->listed[a->n++] = (struct mk_listed){next->uuid, next->number, next->head, mk_guest_state(m, next), print_of(next)};
        last = next->number + 1;
    }
}

void mk_guest_asked(struct envmake *m, vi_time now, const struct vi_id *from, const struct mk_question *q,
                    struct mk_answer *a)
{
    struct mk_guest *g = mk_guest_find(m, &q->guest);
    bool its_job = g && vi_id_equal(&g->job, &q->job) && vi_id_equal(&g->maker, from);
    if (q->ask == MK_LIST) {
        list(m, q, a);
        return;
    }
    if (q->ask == MK_SET && !g && !m->cfg.hooks.owned(m->cfg.hooks.arg, &q->guest)) {
        a->state = ES_UNKNOWN; /* it was here, and is another host's: what is wanted of it isn't done */
        return;
    }
    if (q->ask == MK_SET) {
        if (g && g->phase == EP_KEPT)
            set_want(m, now, g, q->want);
        else if (g && (g->phase == EP_MADE || g->phase == EP_MAKING) && q->want == MK_WANT_REMOVE)
            drop(now, g);
    } else if (g && !its_job) {
        if (q->ask != MK_DROP) {
            a->state = ES_REFUSED;
            mk_say(a->why, "a guest with its UUID is known here already");
        }
        return;
    } else {
        if (g)
            g->heard = now;
        if (!g && q->ask == MK_LEASE && !m->cfg.hooks.env_open(m->cfg.hooks.arg, &q->env)) {
            a->state = ES_CHECKING; /* what was just said about it comes round */
            mk_say(a->why, "its environment isn't known there yet");
            return;
        }
        if (given_away(m, q, g)) {
            a->state = ES_MOVING;
            return;
        }
        if (!g && q->ask == MK_LEASE)
            lease(m, now, from, q);
        else if (q->ask == MK_LEASE && (g->phase == EP_LEASED || g->phase == EP_CHECKING))
            g->until = now + ENVMAKE_TERM;
        else if (q->ask == MK_MAKE)
            make(m, now, from, q, g);
        else if (q->ask == MK_RUN && g && g->phase == EP_MADE)
            keep_and_run(m, now, g);
        else if (q->ask == MK_DROP && g)
            drop(now, g);
    }
    g = mk_guest_find(m, &q->guest);
    a->state = g ? mk_guest_state(m, g) : ES_NONE;
    if (g)
        mk_say(a->why, g->why);
    if (g && a->state == ES_MAKING && g->copying && q->ask == MK_MAKE) {
        a->state = ES_COPYING;
        snprintf(a->why, sizeof a->why, "%u %%", g->percent);
    } else if (g)
        return;
    else if (q->ask == MK_LEASE) {
        a->state = ES_REFUSED;
        mk_say(a->why, "it has as many guests as it can keep");
    }
}

/* ---- how it stands ---- */

enum mk_state mk_guest_state(const struct envmake *m, const struct mk_guest *g)
{
    struct envmake_view v;
    switch (g->phase) {
    case EP_CHECKING: return g->fetching ? ES_FETCHING : ES_CHECKING;
    case EP_LEASED:   return ES_LEASED;
    case EP_REFUSED:  return ES_REFUSED;
    case EP_MAKING:   return ES_MAKING;
    case EP_MADE:     return ES_MADE;
    case EP_FAILED:   return ES_FAILED;
    case EP_DROPPING: return g->failed ? ES_MAKING : ES_DROPPING;
    case EP_KEPT:     break;
    }
    if (m->cfg.hooks.moving(m->cfg.hooks.arg, &g->uuid))
        return ES_MOVING;
    view_of(m, g, &v);
    if (g->want == MK_WANT_RUN)
        return g->starting || !v.known ? ES_STARTING : v.running ? ES_RUNNING : ES_STOPPED; /* by itself, or paused */
    return !v.known || v.here || g->want == MK_WANT_REMOVE ? ES_STOPPING : ES_STOPPED;
}

const char *mk_state_word(enum mk_state s)
{
    static const char *const words[] = {
        [ES_NONE] = "gone", [ES_CHECKING] = "asked", [ES_LEASED] = "promised", [ES_REFUSED] = "refused",
        [ES_MAKING] = "being made", [ES_MADE] = "made", [ES_FAILED] = "failed", [ES_STARTING] = "starting",
        [ES_RUNNING] = "running", [ES_STOPPING] = "stopping", [ES_STOPPED] = "stopped", [ES_MOVING] = "moving",
        [ES_DROPPING] = "being removed", [ES_FETCHING] = "fetching images", [ES_WAIT] = "", [ES_COMMITTED] = "", [ES_UNKNOWN] = "",
        [ES_COPYING] = "copying disks"};
    return words[s];
}

/* ---- time ---- */

/* Nothing is heard from its job: how does that stand? */
static void ask_job(struct envmake *m, vi_time now, struct mk_guest *g)
{
    struct mk_question q = {.ask = MK_WHAT, .job = g->job, .guest = g->uuid, .env = g->env, .number = g->number};
    struct mk_answer a;
    g->asked = now;
    if (vi_id_equal(&g->maker, &m->cfg.self)) {
        memset(&a, 0, sizeof a);
        mk_job_what(m, &q, &a);
        mk_guest_answered(m, now, g, 0, &a);
        return;
    }
    g->token = ++m->next_token;
    g->asking = mk_ask(m, &g->maker, g->token, &q);
}

void mk_guest_answered(struct envmake *m, vi_time now, struct mk_guest *g, int err, const struct mk_answer *a)
{
    g->asking = false;
    if (err || (g->phase != EP_MAKING && g->phase != EP_MADE))
        return;
    g->heard = now;
    if (a->state == ES_UNKNOWN)
        drop(now, g);
    else if (a->state == ES_COMMITTED && g->phase == EP_MADE)
        keep_and_run(m, now, g);
}

/* Towards running. */
static void start(struct envmake *m, vi_time now, struct mk_guest *g, const struct envmake_view *v)
{
    struct vi_id before = g->boot;
    if (!v->here) {
        operate(m, now, g, ENVMAKE_OP_CREATE, 0);
    } else if (v->running) {
        g->boot = m->boot;
        g->starting = false;
        g->why[0] = '\0';
        if (mk_guest_write(m, g)) { /* it would be started once more, which finds it running */
            g->boot = before;
            g->starting = true;
            g->again = now + AGAIN_LATE;
        }
    } else if (v->paused && !v->incoming) {
        operate(m, now, g, ENVMAKE_OP_RUN, v->domid);
    } else if (!v->incoming) {
        operate(m, now, g, ENVMAKE_OP_DESTROY, v->domid); /* shut down, and kept as it was: made anew */
    }
}

/* Nothing of it is here any more, or shall be: its disks go, then its record. */
static void vanish(struct envmake *m, vi_time now, struct mk_guest *g)
{
    char why[ENVMAKE_WHY];
    if (mk_has_disks(&g->disks) && !g->wiped)
        operate(m, now, g, ENVMAKE_OP_WIPE, 0);
    else if (g->phase == EP_DROPPING && g->failed) {
        mk_say(why, g->why);
        if (m->cfg.hooks.forget(m->cfg.hooks.arg, ENVMAKE_RECORD_GUEST, &g->uuid) == 0)
            remember(g, now, EP_FAILED, why);
        else
            g->again = now + AGAIN_LATE;
    } else
        (void)forget(m, g, now);
}

static void step_kept(struct envmake *m, vi_time now, struct mk_guest *g, const struct envmake_view *v)
{
    if (!m->cfg.hooks.owned(m->cfg.hooks.arg, &g->uuid)) {
        (void)forget_given(m, g, now); /* it is another host's, who keeps it */
        return;
    }
    if (!v->here && m->cfg.hooks.env_gone(m->cfg.hooks.arg, &g->env)) {
        vanish(m, now, g); /* this host was away when it was removed */
        return;
    }
    switch (g->want) {
    case MK_WANT_RUN:
        if (g->starting)
            start(m, now, g, v);
        break;
    case MK_WANT_STOP:
        if (v->here && v->running) {
            operate(m, now, g, ENVMAKE_OP_SHUTDOWN, v->domid);
            g->again = now + ASKED_TO_STOP;
        } else if (v->here && v->paused)
            mk_say(g->why, "it is paused: it can't power off by itself");
        else if (v->here)
            operate(m, now, g, ENVMAKE_OP_DESTROY, v->domid);
        break;
    case MK_WANT_KILL:
        if (v->here)
            operate(m, now, g, ENVMAKE_OP_DESTROY, v->domid);
        break;
    case MK_WANT_REMOVE:
        if (v->here)
            operate(m, now, g, ENVMAKE_OP_DESTROY, v->domid);
        else
            vanish(m, now, g);
        break;
    }
}

static void step_made(struct envmake *m, vi_time now, struct mk_guest *g)
{
    vi_time since = now - g->heard;
    if (since > ENVMAKE_GIVEN_UP) {
        mk_say(g->why, "nobody said whether it shall stay");
        drop(now, g);
    } else if (since > ENVMAKE_SILENT && !g->asking && now - g->asked > ASK_EVERY)
        ask_job(m, now, g);
}

static void step(struct envmake *m, vi_time now, struct mk_guest *g)
{
    struct envmake_view v;
    switch (g->phase) {
    case EP_CHECKING: case EP_LEASED: case EP_REFUSED: case EP_FAILED:
        if (now >= g->until)
            memset(g, 0, sizeof *g);
        else if (g->fetching && !g->busy && now >= g->again)
            operate(m, now, g, ENVMAKE_OP_CHECK, 0);
        return;
    case EP_MADE:
        step_made(m, now, g);
        return;
    default:
        break;
    }
    if (g->busy || now < g->again)
        return;
    if (m->cfg.hooks.moving(m->cfg.hooks.arg, &g->uuid)) {
        if (g->starting)
            mk_say(g->why, "its move to another host isn't decided: violin handover list");
        return;
    }
    view_of(m, g, &v);
    if (!v.known)
        return;
    if (g->phase == EP_MAKING && v.here)
        g->phase = EP_MADE;
    else if (g->phase == EP_MAKING)
        operate(m, now, g, mk_has_disks(&g->disks) && !g->disks_there ? ENVMAKE_OP_DISKS : ENVMAKE_OP_CREATE, 0);
    else if (g->phase == EP_DROPPING && v.here)
        operate(m, now, g, ENVMAKE_OP_DESTROY, v.domid);
    else if (g->phase == EP_DROPPING && now >= g->until) /* else it may still appear */
        vanish(m, now, g);
    else if (g->phase == EP_KEPT)
        step_kept(m, now, g, &v);
}

void mk_guest_tick(struct envmake *m, vi_time now)
{
    for (unsigned i = 0; i < ENVMAKE_HERE; i++)
        if (m->guest[i].used)
            step(m, now, &m->guest[i]);
}

bool mk_guest_quiet(const struct mk_guest *g)
{
    return g->phase == EP_KEPT && (g->want == MK_WANT_RUN || g->want == MK_WANT_STOP) && !g->starting && !g->busy;
}

/* ---- what the hypervisor did ---- */

/* Its disks go first. */
static void fail_making(vi_time now, struct mk_guest *g)
{
    g->phase = EP_DROPPING;
    g->failed = true;
    g->again = now;
}

static void disks_ended(struct envmake *m, vi_time now, struct mk_guest *g, enum envmake_op op, int err, const char *why)
{
    g->copying = false;
    g->again = now + (err ? AGAIN : 0);
    if (op == ENVMAKE_OP_DISKS && !err) {
        g->disks_there = true;
        mk_fault(m, "envmake.guest.disks");
    } else if (op == ENVMAKE_OP_DISKS && err != VI_EAGAIN && g->phase == EP_MAKING) {
        mk_say(g->why, why);
        fail_making(now, g);
    } else if (op == ENVMAKE_OP_WIPE && !err) {
        g->wiped = true;
        mk_fault(m, "envmake.guest.wiped");
    } else if (op == ENVMAKE_OP_WIPE && !g->failed)
        mk_say(g->why, why);
}

/* EEXIST: an agent may still be making what a peer before us asked for; the list shows it soon. */
static void create_failed(struct envmake *m, vi_time now, struct mk_guest *g, int err, const char *why)
{
    struct envmake_view v;
    view_of(m, g, &v);
    mk_say(g->why, why);
    g->again = now + AGAIN;
    if (v.known && v.here)
        return; /* somebody before us was faster: the next step sees it */
    if (err == VI_EEXIST && ++g->tries < TRIES)
        g->again = now + AGAIN_LATE;
    else if (g->phase == EP_MAKING && mk_has_disks(&g->disks))
        fail_making(now, g);
    else if (g->phase == EP_MAKING && !m->cfg.hooks.forget(m->cfg.hooks.arg, ENVMAKE_RECORD_GUEST, &g->uuid))
        remember(g, now, EP_FAILED, why);
    else
        g->again = now + AGAIN_LATE;
}

void envmake_done(struct envmake *m, vi_time now, const struct vi_id *guest, enum envmake_op op, int err,
                  const char *why)
{
    struct mk_guest *g = mk_guest_find(m, guest);
    if (!g || !g->busy)
        return;
    m->due = now;
    if (op == ENVMAKE_OP_CHECK) {
        if (g->phase != EP_CHECKING)
            return;
        g->busy = false;
        g->fetching = err == VI_EAGAIN;
        mk_say(g->why, err ? why : "");
        if (err && !g->fetching)
            remember(g, now, EP_REFUSED, why);
        else if (!err)
            g->phase = EP_LEASED;
        return;
    }
    g->busy = false;
    if (op == ENVMAKE_OP_DISKS || op == ENVMAKE_OP_WIPE)
        disks_ended(m, now, g, op, err, why);
    else if (op == ENVMAKE_OP_CREATE && err)
        create_failed(m, now, g, err, why);
    else if (err) {
        mk_say(g->why, why);
        g->again = now + AGAIN_LATE;
    } else if (op == ENVMAKE_OP_CREATE) {
        mk_fault(m, "envmake.guest.made");
        if (g->phase == EP_MAKING)
            g->phase = EP_MADE;
    }
}

/* ---- guests that come and go by handovers ---- */

void envmake_arrived(struct envmake *m, vi_time now, const struct vi_id *env, const struct hv_description *d,
                     const struct envmake_disks *disks)
{
    struct mk_guest *g = mk_guest_find(m, &d->uuid);
    struct envmake_effect *fx;
    int n;
    m->due = now;
    if (!d->kept || (g && g->phase == EP_KEPT))
        return;
    if (!g)
        g = mk_guest_place(m);
    if (g) {
        memset(g, 0, sizeof *g);
        g->used = true;
        g->uuid = d->uuid;
        g->env = *env;
        g->phase = EP_KEPT;
        g->want = MK_WANT_RUN;
        g->boot = m->boot;
        g->heard = now;
        g->number = d->n_vifs ? d->vifs[0].mac[5] : 0;
        g->kb = d->target_kb;
        g->pct = MK_PCT_VCPU * d->vcpus;
        g->disks = *disks;
        n = hv_description_encode(d, g->description, sizeof g->description);
        g->len = n > 0 ? (size_t)n : 0;
    }
    if (g && g->len > 0 && mk_guest_write(m, g) == 0)
        return;
    if (g && g->len == 0)
        memset(g, 0, sizeof *g);
    fx = mk_push(m, ENVMAKE_FX_NOTE);
    if (fx) {
        fx->env = *env;
        fx->guest = d->uuid;
        snprintf(fx->text, sizeof fx->text, "%.64s came, but it can't be written down that it is kept here: after a reboot it isn't started",
                 d->name);
    }
}

void envmake_given(struct envmake *m, const struct vi_id *guest)
{
    struct mk_guest *g = mk_guest_find(m, guest);
    m->due = 0;
    if (g && g->phase == EP_KEPT)
        (void)forget_given(m, g, 0); /* else the next step does: this host owns it no more */
}

/* ---- shown ---- */

bool envmake_kept(const struct envmake *m, const struct vi_id *guest, struct hv_description *out)
{
    for (unsigned i = 0; i < ENVMAKE_HERE; i++) {
        const struct mk_guest *g = &m->guest[i];
        if (g->used && g->phase == EP_KEPT && vi_id_equal(&g->uuid, guest))
            return hv_description_decode(out, g->description, g->len) == 0;
    }
    return false;
}

unsigned envmake_kept_of(const struct envmake *m, const struct vi_id *env)
{
    unsigned n = 0;
    for (unsigned i = 0; i < ENVMAKE_HERE; i++)
        n += m->guest[i].used && m->guest[i].phase >= EP_MAKING && m->guest[i].phase != EP_FAILED &&
             vi_id_equal(&m->guest[i].env, env);
    return n;
}

bool envmake_guest_next(const struct envmake *m, unsigned *pos, struct envmake_guest_view *out)
{
    while (*pos < ENVMAKE_HERE) {
        const struct mk_guest *g = &m->guest[(*pos)++];
        if (!g->used || (g->phase != EP_KEPT && g->phase != EP_MADE && g->phase != EP_MAKING && g->phase != EP_DROPPING))
            continue;
        memset(out, 0, sizeof *out);
        out->uuid = g->uuid;
        out->env = g->env;
        out->number = g->number;
        out->head = g->head;
        out->run = g->phase != EP_KEPT || g->want == MK_WANT_RUN;
        out->state = mk_state_word(mk_guest_state(m, g));
        out->why = g->why;
        (void)hv_description_decode(&out->description, g->description, g->len);
        return true;
    }
    return false;
}
