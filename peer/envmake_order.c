/* Starting, stopping, removing an environment's guests, at the host where somebody asked. See envmake.h.
 *
 *   LOOKING   every host that may have guests of it says which; one that doesn't answer ends a REMOVE, as nobody knows
 *             what it has, and is passed over with a word otherwise
 *   SETTING   each guest's host is told what is wanted, until it is so: the head before the others when they start,
 *             after them when they stop */
#include "peer/envmake_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

#define SOON       (300 * VI_MSEC)
#define LATER      (2 * VI_SEC)
#define LOOK_MOST  (8 * VI_SEC)
#define START_MOST (180 * VI_SEC)

/* A MAKE that isn't committed gives way to a REMOVE, and so does one that waits for a host. */
static bool gives_way(struct envmake *m, vi_time now, struct mk_job *j)
{
    if (j->kind != ENVMAKE_MAKE)
        return false;
    if (j->phase == EJ_RUNNING) {
        mk_job_over(m, j, VI_ECANCELED, "the environment is being removed");
        return true;
    }
    if (j->phase != EJ_DROPPING) {
        mk_say(j->why, "the environment is being removed");
        j->phase = EJ_DROPPING;
        j->since = now;
        for (unsigned i = 0; i < j->n; i++) {
            j->item[i].done = !j->item[i].placed;
            j->item[i].token = 0;
            j->item[i].again = now;
        }
    }
    return true;
}

int envmake_order(struct envmake *m, vi_time now, const struct vi_id *id, const struct vi_id *env, const char *env_name,
                  enum envmake_kind kind, bool force, unsigned least, const struct envmake_spec *spec, char *why,
                  size_t cap)
{
    struct vi_id hosts[ENVMAKE_HOSTS];
    struct mk_job *j;
    bool way = false;
    int err;
    for (unsigned i = 0; kind == ENVMAKE_REMOVE && i < ENVMAKE_JOBS; i++)
        if (m->job[i].used && m->job[i].phase != EJ_OVER && vi_id_equal(&m->job[i].env, env))
            way |= gives_way(m, now, &m->job[i]);
    if (!(j = mk_job_place(m, env, way, why, cap, &err)))
        return err;
    m->due = now;
    j->used = true;
    j->kind = kind;
    j->phase = EJ_LOOKING;
    j->id = *id;
    j->env = *env;
    snprintf(j->name, sizeof j->name, "%s", env_name);
    j->force = force;
    if (spec)
        j->spec = *spec;
    j->fresh = kind == ENVMAKE_LOOK && spec; /* there is a spec to compare with */
    j->least = least;
    j->since = now;
    j->n_hosts = m->cfg.hooks.hosts(m->cfg.hooks.arg, env, hosts, ENVMAKE_HOSTS);
    for (unsigned i = 0; i < j->n_hosts; i++)
        j->host[i].h.id = hosts[i];
    return 0;
}

/* ---- looking ---- */

static bool is_done(const struct mk_job *j, enum mk_state s)
{
    switch (j->kind) {
    case ENVMAKE_START: return s == ES_RUNNING;
    case ENVMAKE_STOP:  return s == ES_STOPPED || s == ES_NONE;
    default:            return s == ES_NONE;
    }
}

static struct mk_item *item_of(struct mk_job *j, const struct vi_id *uuid)
{
    for (unsigned i = 0; i < j->n; i++)
        if (vi_id_equal(&j->item[i].uuid, uuid))
            return &j->item[i];
    return NULL;
}

static void take(struct mk_job *j, const struct mk_job_host *h, const struct mk_listed *l, vi_time now)
{
    struct hv_description d;
    struct envmake_disks disks;
    struct mk_item *t;
    if (l->number < j->least || item_of(j, &l->uuid) || j->n == ENVMAKE_GUESTS + 1)
        return;
    t = &j->item[j->n++];
    t->uuid = l->uuid;
    t->number = l->number;
    t->head = l->head;
    t->host = h->h.id;
    t->placed = true;
    t->state = l->state;
    mk_disks_of_spec(&j->spec, &disks);
    t->differs = j->fresh && (envmake_describe(&j->spec, &j->id, &j->env, j->name, l->number, &d) ||
                              envmake_print(&d, &disks) != l->print);
    t->again = now;
}

void mk_order_listed(struct envmake *m, vi_time now, struct mk_job *j, struct mk_job_host *h, int err,
                     const struct mk_answer *a)
{
    (void)m;
    h->token = 0;
    if (err) {
        h->again = now + SOON;
        return;
    }
    for (unsigned i = 0; i < a->n; i++)
        take(j, h, &a->listed[i], now);
    h->listed = !a->more || a->n == 0;
    if (!h->listed)
        h->after = a->listed[a->n - 1].number + 1;
}

static void look(struct envmake *m, vi_time now, struct mk_job *j, struct mk_job_host *h)
{
    struct mk_question q = {.ask = MK_LIST, .job = j->id, .env = j->env, .number = h->after};
    struct mk_answer a;
    if (vi_id_equal(&h->h.id, &m->cfg.self)) {
        memset(&a, 0, sizeof a);
        mk_guest_asked(m, now, &m->cfg.self, &q, &a);
        mk_order_listed(m, now, j, h, 0, &a);
        return;
    }
    h->token = ++m->next_token;
    if (!mk_ask(m, &h->h.id, h->token, &q))
        h->token = 0;
}

static bool runs(const struct mk_item *t)
{
    return t->state != ES_STOPPED && t->state != ES_MADE && t->state != ES_MAKING;
}

static bool any_runs(const struct mk_job *j)
{
    for (unsigned i = 0; i < j->n; i++)
        if (runs(&j->item[i]))
            return true;
    return false;
}

/* They are listed in any order, and named by their numbers'. NULL: no more. */
static const struct mk_item *next_running(const struct mk_job *j, const struct mk_item *before)
{
    const struct mk_item *best = NULL;
    for (unsigned i = 0; i < j->n; i++) {
        const struct mk_item *t = &j->item[i];
        if (runs(t) && (!before || t->number > before->number) && (!best || t->number < best->number))
            best = t;
    }
    return best;
}

#define NAMED 3 /* of guests that run; of the others how many they are */

static void they_run(struct envmake *m, struct mk_job *j)
{
    char why[ENVMAKE_WHY], name[HV_NAME_MAX];
    unsigned n = 0;
    size_t at = (size_t)snprintf(why, sizeof why, "it has guests that run (");
    for (const struct mk_item *t = next_running(j, NULL); t; t = next_running(j, t)) {
        if (n++ >= NAMED)
            continue;
        envmake_guest_name(j->name, t->number, name);
        at += (size_t)snprintf(why + at, sizeof why - at, "%s%.24s", n > 1 ? ", " : "", name);
    }
    if (n > NAMED)
        at += (size_t)snprintf(why + at, sizeof why - at, ", and %u more", n - NAMED);
    snprintf(why + at, sizeof why - at, "): use --force%s", j->least ? "" : ", or violin env stop first");
    mk_job_over(m, j, VI_ESTATE, why);
}

static void all_listed(struct envmake *m, vi_time now, struct mk_job *j)
{
    if (j->kind == ENVMAKE_REMOVE && !j->force && any_runs(j))
        they_run(m, j);
    else if (j->kind == ENVMAKE_LOOK)
        mk_job_over(m, j, j->err, j->why);
    else if (j->n == 0 && j->kind != ENVMAKE_REMOVE)
        mk_job_over(m, j, VI_ENOTFOUND, "violin has made no guest of it; what `xl create` made is yours to start and stop");
    else {
        j->phase = EJ_SETTING;
        j->wave = 0;
        j->wave_since = now;
    }
}

static void looking(struct envmake *m, vi_time now, struct mk_job *j)
{
    unsigned silent = 0, asking = 0;
    for (unsigned i = 0; i < j->n_hosts; i++)
        asking += j->host[i].token != 0;
    for (unsigned i = 0; i < j->n_hosts; i++) {
        struct mk_job_host *h = &j->host[i];
        if (!h->listed && !h->token && h->again <= now && asking < MK_AT_ONCE) {
            look(m, now, j, h);
            asking += h->token != 0;
        }
        silent += !h->listed;
    }
    if (silent == 0)
        all_listed(m, now, j);
    else if (now - j->since > LOOK_MOST) {
        if (j->kind == ENVMAKE_REMOVE || j->kind == ENVMAKE_LOOK)
            mk_job_over(m, j, VI_ETIMEDOUT, "a host that may have guests of it doesn't answer; nothing was done");
        else {
            mk_say(j->why, "a host that may have guests of it doesn't answer: those are left as they are");
            j->err = VI_ETIMEDOUT;
            all_listed(m, now, j);
        }
    }
}

/* ---- setting ---- */

static unsigned wave_of(const struct mk_job *j, const struct mk_item *t)
{
    return j->kind == ENVMAKE_START ? !t->head : t->head;
}

void mk_order_answered(struct envmake *m, vi_time now, struct mk_job *j, struct mk_item *t, const struct mk_answer *a)
{
    (void)m;
    t->done = is_done(j, a->state);
    t->again = now + SOON;
    if ((a->state == ES_NONE && !t->done) || a->state == ES_UNKNOWN) {
        mk_say(t->why, "it has moved meanwhile; ask again");
        j->err = VI_EAGAIN;
        mk_say(j->why, "a guest has moved meanwhile; ask again");
        t->done = true;
    }
}

static void set(struct envmake *m, vi_time now, struct mk_job *j, struct mk_item *t)
{
    struct mk_question q = {.ask = MK_SET, .job = j->id, .guest = t->uuid, .env = j->env, .number = t->number};
    q.want = j->kind == ENVMAKE_START    ? MK_WANT_RUN
             : j->kind == ENVMAKE_REMOVE ? MK_WANT_REMOVE
             : j->killing                ? MK_WANT_KILL
                                         : MK_WANT_STOP;
    mk_job_put(m, now, j, t, &q);
}

/* A guest that isn't as wanted in time. */
static void too_late(struct envmake *m, vi_time now, struct mk_job *j, const struct mk_item *t)
{
    char name[HV_NAME_MAX], why[ENVMAKE_WHY + HV_NAME_MAX];
    if (j->kind == ENVMAKE_STOP && j->force && !j->killing) {
        j->killing = true;
        j->wave_since = now;
        return;
    }
    envmake_guest_name(j->name, t->number, name);
    snprintf(why, sizeof why, "%.63s is %s%s%.100s%s", name, mk_state_word(t->state), t->why[0] ? ": " : "", t->why,
             j->kind == ENVMAKE_STOP && !j->force ? "; --force destroys it" : "");
    mk_job_over(m, j, VI_ETIMEDOUT, why);
}

void mk_order_tick(struct envmake *m, vi_time now, struct mk_job *j)
{
    const struct mk_item *left = NULL;
    unsigned asking = 0;
    if (j->phase == EJ_LOOKING) {
        looking(m, now, j);
        return;
    }
    for (unsigned i = 0; i < j->n; i++)
        asking += j->item[i].token != 0;
    for (unsigned i = 0; i < j->n; i++) {
        struct mk_item *t = &j->item[i];
        if (t->done || wave_of(j, t) != j->wave)
            continue;
        if (!t->token && t->again <= now && asking < MK_AT_ONCE) {
            set(m, now, j, t);
            asking += t->token != 0;
        }
        left = t->done ? left : t;
    }
    if (left && now - j->wave_since > (j->kind == ENVMAKE_START ? START_MOST : ENVMAKE_STOP_MOST))
        too_late(m, now, j, left);
    else if (!left && j->wave == 0) {
        j->wave = 1;
        j->wave_since = now;
        j->killing = false;
    } else if (!left)
        mk_job_over(m, j, j->err, j->why);
}
