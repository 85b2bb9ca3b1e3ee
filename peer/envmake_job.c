/* Making an environment's guests, at the host where somebody asked for it. See envmake.h.
 *
 *   PLACING   a host for each guest, which leases it room; one that refuses isn't asked again
 *   MAKING    PLANNED is written; every host makes its guest and leaves it paused
 *   RUNNING   COMMITTED is written; every host starts its guest, and one that has lost it makes it again
 *   DROPPING  nothing was committed: every host is told to forget its guest */
#include "peer/envmake_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

#define SOON       (300 * VI_MSEC)
#define RENEW      (15 * VI_SEC) /* of a lease, while others aren't given yet */
#define LATER      (2 * VI_SEC)
#define DROP_MOST  (30 * VI_SEC) /* then hosts that didn't answer ask by themselves */

/* ---- jobs ---- */

struct mk_job *mk_job_place(struct envmake *m, const struct vi_id *env, bool any, char *why, size_t cap, int *err)
{
    struct mk_job *old = NULL;
    *err = VI_ESTATE;
    snprintf(why, cap, "this host has only just started; try again in some seconds");
    if (!m->loaded)
        return NULL;
    for (unsigned i = 0; i < ENVMAKE_JOBS; i++) {
        struct mk_job *j = &m->job[i];
        if (j->used && j->phase != EJ_OVER && vi_id_equal(&j->env, env) && !any) {
            snprintf(why, cap, "%s is being worked on already", j->name);
            *err = VI_EEXIST;
            return NULL;
        }
        if (!j->used || (j->phase == EJ_OVER && !j->written && (!old || (old->used && j->since < old->since))))
            old = old && !old->used ? old : j;
    }
    *err = VI_EFULL;
    snprintf(why, cap, "this host works on %d environments already", ENVMAKE_JOBS);
    if (old)
        memset(old, 0, sizeof *old);
    return old;
}

/* Its record goes; where the disk doesn't do that now, it is tried again. */
static void forget(struct envmake *m, struct mk_job *j)
{
    if (j->written && m->cfg.hooks.forget(m->cfg.hooks.arg, ENVMAKE_RECORD_JOB, &j->id) == 0)
        j->written = false;
}

void mk_job_over(struct envmake *m, struct mk_job *j, int err, const char *why)
{
    struct envmake_effect *fx = mk_push(m, ENVMAKE_FX_OVER);
    forget(m, j);
    mk_fault(m, "envmake.job.over");
    j->phase = EJ_OVER;
    j->err = err;
    if (why != j->why)
        mk_say(j->why, why);
    if (!fx)
        return;
    fx->id = j->id;
    fx->env = j->env;
    fx->job = j->kind;
    fx->fresh = j->kind == ENVMAKE_MAKE && j->fresh;
    fx->err = err;
    mk_say(fx->text, j->why);
}

static int write_down(struct envmake *m, struct mk_job *j)
{
    uint8_t b[ENVMAKE_RECORD_MAX];
    int n = mk_job_encode(j, b, sizeof b);
    j->written = true; /* perhaps: a failed write may have come through */
    return n < 0 ? n : m->cfg.hooks.save(m->cfg.hooks.arg, ENVMAKE_RECORD_JOB, &j->id, b, (size_t)n);
}

static void ask_all_again(struct mk_job *j, vi_time now)
{
    for (unsigned i = 0; i < j->n; i++) {
        struct mk_item *t = &j->item[i];
        t->done = false;
        t->remake = false;
        t->token = 0;
        t->again = now;
        t->since = 0;
    }
}

static void give_up(struct mk_job *j, vi_time now, const char *why)
{
    char text[ENVMAKE_WHY];
    snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, why); /* why may be an item's */
    if (j->phase == EJ_DROPPING)
        return;
    mk_say(j->why, text);
    j->phase = EJ_DROPPING;
    j->since = now;
    ask_all_again(j, now);
    for (unsigned i = 0; i < j->n; i++)
        j->item[i].done = !j->item[i].placed;
}

int envmake_begin(struct envmake *m, vi_time now, const struct vi_id *id, const struct vi_id *env, const char *env_name,
                  const struct envmake_spec *spec, unsigned first, unsigned guests, bool head,
                  const struct vi_id *head_host, bool fresh, char *why, size_t cap)
{
    struct hv_description d;
    struct mk_job *j;
    int err = envmake_spec_check(spec, why, cap);
    if (!err && (first < 1 || guests > ENVMAKE_GUESTS || first + guests > ENVMAKE_GUESTS + 1 || guests + head == 0)) {
        snprintf(why, cap, "guests: 1 to %d, their numbers too", ENVMAKE_GUESTS);
        err = VI_EINVAL;
    }
    if (!err && (err = envmake_describe(spec, id, env, env_name, head ? 0 : first, &d)) != 0)
        snprintf(why, cap, "the guests' description is too long: a shorter command line, or fewer images and disks");
    if (err || !(j = mk_job_place(m, env, false, why, cap, &err)))
        return err;
    m->due = now;
    j->used = true;
    j->kind = ENVMAKE_MAKE;
    j->phase = EJ_PLACING;
    j->id = *id;
    j->env = *env;
    snprintf(j->name, sizeof j->name, "%s", env_name);
    j->spec = *spec;
    j->fresh = fresh;
    j->since = j->began = now;
    for (unsigned i = 0; i < guests + head; i++) {
        struct mk_item *t = &j->item[j->n++];
        t->head = head && i == 0;
        t->number = t->head ? 0 : first + i - head;
        if ((err = envmake_describe(spec, id, env, env_name, t->number, &d)) != 0) {
            memset(j, 0, sizeof *j);
            snprintf(why, cap, "the guests' description is too long: a shorter command line, or fewer images and disks");
            return err;
        }
        t->uuid = d.uuid;
        if (t->head && head_host && !vi_id_is_zero(head_host)) {
            t->host = *head_host;
            t->placed = t->fixed = true;
        }
    }
    if (write_down(m, j)) {
        memset(j, 0, sizeof *j);
        snprintf(why, cap, "this host's disk doesn't take the record of it");
        return VI_EIO;
    }
    mk_fault(m, "envmake.job.begun");
    return 0;
}

/* ---- placing: the host that is least utilised with the guest on it ---- */

static void look_at_hosts(struct envmake *m, struct mk_job *j)
{
    static struct envmake_host h[ENVMAKE_HOSTS];
    j->n_hosts = m->cfg.hooks.candidates(m->cfg.hooks.arg, h, ENVMAKE_HOSTS);
    for (unsigned i = 0; i < j->n_hosts; i++)
        j->host[i].h = h[i];
}

static double used_with(const struct mk_job *j, const struct mk_job_host *h)
{
    double kb = (double)(h->planned + 1) * (double)j->spec.kb, pct = (h->planned + 1) * MK_PCT_VCPU * j->spec.vcpus;
    double memory, cpu;
    if (h->h.total_kb == 0 || h->h.capacity_pct <= 0 || kb > (double)h->h.free_kb)
        return 2;
    memory = 1 - ((double)h->h.free_kb - kb) / (double)h->h.total_kb;
    cpu = 1 - (h->h.free_pct - pct) / h->h.capacity_pct;
    return memory > cpu ? memory : cpu;
}

static struct mk_job_host *host_of(struct mk_job *j, const struct vi_id *id)
{
    for (unsigned i = 0; i < j->n_hosts; i++)
        if (vi_id_equal(&j->host[i].h.id, id))
            return &j->host[i];
    return NULL;
}

/* Where the job's own guests will be counts, too, and before where guests are. */
static const struct policy_rule *ruled_out(const struct envmake *m, const struct mk_job *j, const struct mk_item *t, const struct vi_id *host)
{
    static struct policy_place at[POLICY_PLACES + ENVMAKE_GUESTS + 1];
    const struct policy_rules *r = m->cfg.hooks.rules ? m->cfg.hooks.rules(m->cfg.hooks.arg, &j->env) : NULL;
    struct policy_rules v;
    uint8_t tag[POLICY_RULE_TAG];
    if (!r || r->n == 0)
        return NULL;
    v = (struct policy_rules){.rule = r->rule, .n = r->n, .place = at};
    for (unsigned i = 0; i < j->n; i++)
        if (j->item[i].placed && &j->item[i] != t) {
            struct policy_place *p = &at[v.n_places++];
            *p = (struct policy_place){.env = j->env, .guest = j->item[i].uuid, .host = j->item[i].host};
            policy_rule_tag(&p->guest, p->tag);
        }
    for (unsigned i = 0; i < r->n_places && i < POLICY_PLACES; i++)
        at[v.n_places++] = r->place[i];
    policy_rule_tag(&t->uuid, tag);
    return policy_rule_against(&v, &j->env, tag, host);
}

/* False: nowhere; rule: what keeps it from a host that has room, "" if nothing does. */
static bool place(const struct envmake *m, struct mk_job *j, struct mk_item *t, char rule[POLICY_RULE_TEXT])
{
    struct mk_job_host *best = NULL;
    rule[0] = '\0';
    for (unsigned i = 0; i < j->n_hosts; i++) {
        struct mk_job_host *h = &j->host[i];
        const struct policy_rule *against;
        if (h->refused || t->refused >> i & 1 || used_with(j, h) > 1)
            continue;
        against = ruled_out(m, j, t, &h->h.id);
        if (against) {
            policy_rule_text(against, rule);
            continue;
        }
        if (!best || used_with(j, h) < used_with(j, best) ||
            (used_with(j, h) <= used_with(j, best) && h->planned < best->planned))
            best = h;
    }
    if (!best)
        return false;
    best->planned++;
    t->host = best->h.id;
    t->placed = true;
    t->since = 0;
    return true;
}

/* All guests but the head are alike: a host that has no room for one has none for the others. */
static void refused(struct mk_job *j, struct mk_item *t, const char *why)
{
    struct mk_job_host *h = host_of(j, &t->host);
    mk_say(t->why, why);
    t->state = ES_NONE;
    t->placed = false;
    if (!h)
        return;
    h->planned -= h->planned > 0;
    t->refused |= UINT64_C(1) << (h - j->host);
    if (!t->head)
        h->refused = true;
}

/* ---- asking ---- */

static void answered(struct envmake *m, vi_time now, struct mk_job *j, struct mk_item *t, int err,
                     const struct mk_answer *a);

void mk_job_put(struct envmake *m, vi_time now, struct mk_job *j, struct mk_item *t, const struct mk_question *q)
{
    struct mk_answer a;
    if (vi_id_equal(&t->host, &m->cfg.self)) {
        memset(&a, 0, sizeof a);
        mk_guest_asked(m, now, &m->cfg.self, q, &a);
        answered(m, now, j, t, 0, &a);
        return;
    }
    t->token = ++m->next_token;
    if (!mk_ask(m, &t->host, t->token, q)) {
        t->token = 0;
        t->again = now + SOON;
    }
}

static void ask(struct envmake *m, vi_time now, struct mk_job *j, struct mk_item *t)
{
    static const enum mk_ask by_phase[] = {[EJ_PLACING] = MK_LEASE, [EJ_MAKING] = MK_MAKE, [EJ_RUNNING] = MK_RUN,
                                           [EJ_DROPPING] = MK_DROP};
    struct mk_question q = {.ask = by_phase[j->phase], .job = j->id, .guest = t->uuid, .env = j->env,
                            .number = t->number, .head = t->head};
    struct hv_description d;
    uint8_t b[HV_DESCRIPTION_MAX];
    int n;
    if (t->remake) {
        q.ask = MK_MAKE;
        q.committed = true;
    }
    if (q.ask == MK_LEASE || q.ask == MK_MAKE) {
        n = envmake_describe(&j->spec, &j->id, &j->env, j->name, t->number, &d) ? VI_EINVAL
                                                                                 : hv_description_encode(&d, b, sizeof b);
        if (n < 0)
            return; /* it was looked at in the beginning */
        q.description = b;
        q.len = (size_t)n;
        mk_disks_of_spec(&j->spec, &q.disks);
    }
    mk_job_put(m, now, j, t, &q);
}

/* ---- answers ---- */

static void unanswered(struct envmake *m, vi_time now, struct mk_job *j, struct mk_item *t)
{
    (void)m;
    t->since = t->since ? t->since : now;
    t->again = now + LATER;
    mk_say(t->why, "its host doesn't answer");
    if (now - t->since < ENVMAKE_NO_ANSWER)
        return;
    if (j->phase == EJ_PLACING)
        refused(j, t, "its host doesn't answer");
    else if (j->phase == EJ_MAKING)
        give_up(j, now, "a host doesn't answer any more");
}

static void fail(struct mk_job *j, vi_time now, const struct mk_item *t, const char *why)
{
    char name[HV_NAME_MAX], text[ENVMAKE_WHY + HV_NAME_MAX];
    envmake_guest_name(j->name, t->number, name);
    snprintf(text, sizeof text, "%.63s: %.155s", name, why);
    give_up(j, now, text);
}

static void placing(struct mk_job *j, vi_time now, struct mk_item *t, const struct mk_answer *a)
{
    t->again = now + SOON;
    t->done = a->state == ES_LEASED;
    if (a->state == ES_FETCHING && now - j->began < ENVMAKE_FETCH_MOST)
        j->since = now; /* it takes its time */
    if (t->done) {
        t->again = now + RENEW;
        t->why[0] = '\0';
    } else if (a->state == ES_REFUSED || a->state == ES_FAILED || a->state == ES_NONE)
        refused(j, t, a->why);
    else if (a->state != ES_CHECKING && a->state != ES_FETCHING)
        fail(j, now, t, "a guest of that environment is there already");
}

static void making(struct mk_job *j, vi_time now, struct mk_item *t, const struct mk_answer *a)
{
    t->again = now + SOON;
    t->done = a->state == ES_MADE;
    if (a->state == ES_NONE)
        fail(j, now, t, "its host was started again meanwhile");
    else if (a->state == ES_FAILED || a->state == ES_REFUSED)
        fail(j, now, t, a->why[0] ? a->why : "its host could not make it");
}

static void running(struct mk_job *j, vi_time now, struct mk_item *t, const struct mk_answer *a)
{
    (void)j;
    t->again = now + (a->why[0] ? LATER : SOON);
    /* stopped, or moved on: it ran, and what is done with it since is somebody else's wish */
    t->done = a->state == ES_RUNNING || a->state == ES_STOPPING || a->state == ES_STOPPED || a->state == ES_MOVING;
    t->remake = a->state == ES_NONE || a->state == ES_FAILED || a->state == ES_MAKING || a->state == ES_COPYING ||
                a->state == ES_REFUSED;
}

static void answered(struct envmake *m, vi_time now, struct mk_job *j, struct mk_item *t, int err,
                     const struct mk_answer *a)
{
    t->token = 0;
    if (err) {
        unanswered(m, now, j, t);
        return;
    }
    t->since = 0;
    t->state = a->state;
    mk_say(t->why, a->why);
    switch (j->phase) {
    case EJ_PLACING: placing(j, now, t, a); break;
    case EJ_MAKING: making(j, now, t, a); break;
    case EJ_RUNNING: running(j, now, t, a); break;
    case EJ_DROPPING:
        t->again = now + SOON;
        t->done = a->state == ES_NONE || a->state == ES_REFUSED || a->state == ES_FAILED;
        break;
    default: mk_order_answered(m, now, j, t, a); break;
    }
}

void mk_job_answered(struct envmake *m, vi_time now, uint64_t token, int err, const struct mk_answer *a)
{
    for (unsigned i = 0; i < ENVMAKE_JOBS; i++) {
        struct mk_job *j = &m->job[i];
        for (unsigned k = 0; j->used && j->phase != EJ_OVER && k < j->n; k++)
            if (j->item[k].token == token) {
                answered(m, now, j, &j->item[k], err, a);
                return;
            }
        for (unsigned k = 0; j->used && j->phase == EJ_LOOKING && k < j->n_hosts; k++)
            if (j->host[k].token == token) {
                mk_order_listed(m, now, j, &j->host[k], err, a);
                return;
            }
    }
}

/* Presumed abort: of a job that isn't known nothing was committed, or everybody has said that it runs. */
void mk_job_what(struct envmake *m, const struct mk_question *q, struct mk_answer *a)
{
    a->state = ES_UNKNOWN;
    for (unsigned i = 0; i < ENVMAKE_JOBS; i++) {
        const struct mk_job *j = &m->job[i];
        if (j->used && vi_id_equal(&j->id, &q->job))
            a->state = j->phase == EJ_RUNNING ? ES_COMMITTED
                       : j->phase == EJ_PLACING || j->phase == EJ_MAKING ? ES_WAIT : ES_UNKNOWN;
    }
}

/* ---- phases ---- */

/* What a host has said of this guest, or of another that is like it; "": none was asked. */
static const char *last_said(const struct mk_job *j, const struct mk_item *t)
{
    for (unsigned i = 0; i < j->n && !t->why[0]; i++)
        if (j->item[i].why[0] && !j->item[i].head)
            return j->item[i].why;
    return t->why;
}

/* No host was even asked: what is short, and how far. */
static void no_room(const struct mk_job *j, char *why, size_t cap)
{
    uint64_t most_kb = 0;
    for (unsigned i = 0; i < j->n_hosts; i++) {
        uint64_t planned = j->host[i].planned * j->spec.kb, left = j->host[i].h.free_kb;
        left -= planned < left ? planned : left;
        most_kb = left > most_kb ? left : most_kb;
    }
    if (j->n_hosts == 0)
        snprintf(why, cap, "no host has room for it: none says how much it has (violin members)");
    else if (most_kb < j->spec.kb)
        snprintf(why, cap, "no host has room for it: it needs %llu MiB, the most that one has left is %llu MiB (violin members)",
                 (unsigned long long)(j->spec.kb / 1024), (unsigned long long)(most_kb / 1024));
    else
        snprintf(why, cap, "no host has room for it: its %u vCPUs are more than is left where its memory fits (violin members)",
                 (unsigned)j->spec.vcpus);
}

static void find_places(struct envmake *m, vi_time now, struct mk_job *j)
{
    if (j->n_hosts == 0)
        look_at_hosts(m, j);
    for (unsigned i = 0; i < j->n; i++) {
        struct mk_item *t = &j->item[i];
        char why[ENVMAKE_WHY], rule[POLICY_RULE_TEXT] = "";
        if (!t->placed && (t->fixed || !place(m, j, t, rule))) {
            if (rule[0])
                snprintf(why, sizeof why, "%s keeps it from where there is room", rule);
            else if (!last_said(j, t)[0])
                no_room(j, why, sizeof why);
            else
                snprintf(why, sizeof why, "%s%.100s",
                         t->fixed ? "the host that was named doesn't take it: " : "no host takes it; the last one said: ",
                         last_said(j, t));
            fail(j, now, t, why);
            return;
        }
    }
    if (now - j->since > ENVMAKE_PLACING_MOST)
        give_up(j, now, "the hosts didn't say in time whether they have room");
}

static void next_phase(struct envmake *m, vi_time now, struct mk_job *j)
{
    for (unsigned i = 0; i < j->n; i++)
        if (!j->item[i].done)
            return;
    if (j->phase == EJ_RUNNING) {
        mk_job_over(m, j, 0, "");
        return;
    }
    if (j->phase == EJ_DROPPING) {
        mk_job_over(m, j, VI_EREFUSED, j->why);
        return;
    }
    mk_fault(m, j->phase == EJ_PLACING ? "envmake.job.leased" : "envmake.job.made");
    j->phase = j->phase == EJ_PLACING ? EJ_MAKING : EJ_RUNNING;
    if (write_down(m, j)) {
        give_up(j, now, "this host's disk doesn't take the record of it");
        return;
    }
    mk_fault(m, j->phase == EJ_MAKING ? "envmake.job.planned" : "envmake.job.committed");
    ask_all_again(j, now);
}

static void tick(struct envmake *m, vi_time now, struct mk_job *j)
{
    unsigned asking = 0;
    if (j->phase == EJ_PLACING)
        find_places(m, now, j);
    if (j->phase == EJ_RUNNING && !m->cfg.hooks.env_open(m->cfg.hooks.arg, &j->env) && now - j->since > ENVMAKE_NO_ANSWER) {
        mk_job_over(m, j, VI_ENOTFOUND, "the environment was removed meanwhile");
        return;
    }
    for (unsigned i = 0; i < j->n; i++)
        asking += j->item[i].token != 0;
    for (unsigned i = 0; i < j->n && asking < MK_AT_ONCE; i++) {
        struct mk_item *t = &j->item[i];
        enum mk_job_phase before = j->phase;
        if ((t->done && j->phase != EJ_PLACING) || t->token || !t->placed || t->again > now) /* leases are renewed */
            continue;
        ask(m, now, j, t);
        asking += t->token != 0;
        if (j->phase != before)
            return;
    }
    if (j->phase == EJ_DROPPING && now - j->since > DROP_MOST)
        mk_job_over(m, j, VI_EREFUSED, j->why);
    else
        next_phase(m, now, j);
}

void mk_job_tick(struct envmake *m, vi_time now)
{
    for (unsigned i = 0; i < ENVMAKE_JOBS; i++) {
        struct mk_job *j = &m->job[i];
        if (j->used && j->phase == EJ_OVER)
            forget(m, j);
        if (!j->used || j->phase == EJ_OVER)
            continue;
        if (j->phase == EJ_LOOKING || j->phase == EJ_SETTING)
            mk_order_tick(m, now, j);
        else
            tick(m, now, j);
    }
}

/* ---- shown ---- */

static const char *phase_word(const struct mk_job *j)
{
    switch (j->phase) {
    case EJ_PLACING: return "placing";
    case EJ_MAKING: return "making";
    case EJ_RUNNING: return "starting";
    case EJ_DROPPING: return "dropping";
    case EJ_LOOKING: return "looking";
    case EJ_SETTING: return "working";
    case EJ_OVER: break;
    }
    return j->err ? "failed" : "done";
}

static void show(const struct mk_job *j, struct envmake_job_view *out)
{
    memset(out, 0, sizeof *out);
    out->id = j->id;
    out->env = j->env;
    out->kind = j->kind;
    out->phase = phase_word(j);
    memcpy(out->env_name, j->name, sizeof out->env_name);
    memcpy(out->why, j->why, sizeof out->why);
    out->over = j->phase == EJ_OVER;
    out->committed = j->phase == EJ_RUNNING;
    out->err = j->err;
    out->part = j->least > 0;
    out->n = j->n;
    for (unsigned i = 0; i < j->n; i++) {
        const struct mk_item *t = &j->item[i];
        struct envmake_item_view *v = &out->item[i];
        v->number = t->number;
        v->head = t->head;
        v->placed = t->placed;
        v->differs = t->differs;
        v->done = t->done || (out->over && !out->err);
        v->uuid = t->uuid;
        v->host = t->host;
        v->state = !t->placed ? "to be placed" : t->state == ES_NONE && j->phase == EJ_PLACING ? "to be asked" : mk_state_word(t->state);
        v->why = t->why;
        out->done += v->done;
    }
}

bool envmake_job(const struct envmake *m, const struct vi_id *id, struct envmake_job_view *out)
{
    for (unsigned i = 0; i < ENVMAKE_JOBS; i++)
        if (m->job[i].used && vi_id_equal(&m->job[i].id, id)) {
            show(&m->job[i], out);
            return true;
        }
    return false;
}

bool envmake_job_next(const struct envmake *m, unsigned *pos, struct envmake_job_view *out)
{
    while (*pos < ENVMAKE_JOBS)
        if (m->job[(*pos)++].used) {
            show(&m->job[*pos - 1], out);
            return true;
        }
    return false;
}
