/* What if? The members of the domain are asked how they are, policy/plan.h works out what would come of it, and that is told.
 * Nothing is changed. */
#include "peer/daemon_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/daemon_disk.h"
#include "peer/rpc_write.h"

#define WITHOUT_MOST 16
#define NOTES        8
#define NOTE         200

struct question {
    struct rpc_call *call;
    char guest[DAEMON_NAME], memory[32], cpu[32], env[ENV_NAME_MAX + 1], to[CERT_NAME_MAX + 1];
    unsigned n_without;
    char without[WITHOUT_MOST][CERT_NAME_MAX + 1];
    unsigned n_notes;
    char note[NOTES][NOTE];
};

static void note(struct question *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct question *q, const char *fmt, ...)
{
    va_list ap;
    if (q->n_notes == NOTES)
        return;
    va_start(ap, fmt);
    vsnprintf(q->note[q->n_notes++], NOTE, fmt, ap);
    va_end(ap);
}

/* ---- the hosts' words into the planner ---- */

struct planning {
    struct policy_plan plan;
    const struct hostview_guest *guest[PLAN_GUESTS]; /* as it was told */
    unsigned from[PLAN_GUESTS];                      /* where it is now */
};

static void take_host(struct daemon *d, struct planning *p, const struct daemon_view *v)
{
    unsigned at = p->plan.n_hosts++;
    struct plan_host *h = &p->plan.host[at];
    h->id = v->id;
    h->known = v->known;
    if (!v->known)
        return;
    h->draining = v->host.draining;
    h->capacity_pct = v->host.capacity_pct;
    h->pct = v->host.demand_pct;
    h->total_kb = v->host.total_kb;
    h->free_kb = (int64_t)v->host.free_kb;
    h->arrivals = v->host.arrivals;
    for (unsigned i = 0; i < v->n && p->plan.n_guests < PLAN_GUESTS; i++) {
        const struct hostview_guest *g = &v->guest[i];
        struct plan_guest *x = &p->plan.guest[p->plan.n_guests];
        const struct hv_guest *own;
        p->guest[p->plan.n_guests] = g;
        p->from[p->plan.n_guests++] = at;
        h->guests++;
        *x = (struct plan_guest){.uuid = g->uuid, .env = g->env, .kb = g->kb, .size_kb = g->size_kb, .pct = g->pct,
                                 .was_pct = g->pct, .movable = g->movable && !g->moving, .running = g->running, .host = at};
        own = daemon_guest_by_id(d, &g->uuid);
        if (own) /* of another host's guests their disks aren't told */
            x->disk_kb = daemon_disk_kb(d, own);
        snprintf(x->why, sizeof x->why, "%s", g->moving ? "it is being moved just now" : g->why_not);
    }
}

/* By name, UUID, or host/name. */
static bool is_named(const struct daemon_views *v, const struct planning *p, unsigned i, const char *name)
{
    const char *slash = strchr(name, '/');
    struct vi_id id;
    if (vi_id_parse(&id, name) == 0)
        return vi_id_equal(&id, &p->guest[i]->uuid);
    if (!slash)
        return !strcmp(p->guest[i]->name, name);
    return !strncmp(v->view[p->from[i]].name, name, (size_t)(slash - name)) && !v->view[p->from[i]].name[slash - name] &&
           !strcmp(p->guest[i]->name, slash + 1);
}

static bool change_guest(struct question *q, const struct daemon_views *v, struct planning *p)
{
    struct plan_guest *g = NULL;
    unsigned found = 0;
    double mib, pct;
    const char *name = strncmp(q->guest, "guest:", 6) ? q->guest : q->guest + 6;
    for (unsigned i = 0; i < p->plan.n_guests; i++)
        if (is_named(v, p, i, name)) {
            g = &p->plan.guest[i];
            found++;
        }
    if (found != 1) {
        rpc_error(q->call, found ? VI_EEXIST : VI_ENOTFOUND,
                  found ? "more than one guest is called `%s`: say HOST/%s, or its UUID"
                        : "no guest `%s` on the hosts that answered; `violin guests` on its host shows it%s", name, found ? name : "");
        return false;
    }
    mib = (double)g->size_kb / 1024;
    pct = g->pct;
    if ((q->memory[0] && hostview_amount(q->memory, mib, false, &mib)) || (q->cpu[0] && hostview_amount(q->cpu, pct, true, &pct))) {
        rpc_error(q->call, VI_EINVAL, "an amount is like x2, +50%%, 4096M or 4G; for the CPU x2, +50%% or a percent of one CPU");
        return false;
    }
    g->changed = true;
    g->kb = (uint64_t)(mib * 1024);
    g->pct = pct;
    if (g->kb > p->guest[g - p->plan.guest]->max_kb)
        note(q, "%s can grow to %.0f MiB only, as it is configured: maxmem= and a restart", p->guest[g - p->plan.guest]->name,
             (double)p->guest[g - p->plan.guest]->max_kb / 1024);
    if (p->plan.host[g->host].known && v->view[g->host].host.observes)
        note(q, "%s is in mode observe: it would say what is to be moved, and not do it", v->view[g->host].name);
    return true;
}

static bool take_away(struct question *q, const struct daemon_views *v, struct planning *p)
{
    for (unsigned k = 0; k < q->n_without; k++) {
        unsigned found = 0, at = 0;
        for (unsigned i = 0; i < v->n; i++)
            if (!strcmp(v->view[i].name, q->without[k])) {
                at = i;
                found++;
            }
        if (found != 1 || !v->view[at].known) {
            rpc_error(q->call, found > 1 ? VI_EEXIST : VI_ENOTFOUND,
                      found > 1 ? "more than one host is called `%s`" : found ? "%s does not answer: its guests aren't known"
                                                                             : "no living member `%s`; `violin members` shows them",
                      q->without[k]);
            return false;
        }
        p->plan.host[at].without = true;
    }
    return true;
}

static void mark_env(struct planning *p, const struct env *e)
{
    for (unsigned i = 0; i < p->plan.n_guests; i++)
        p->plan.guest[i].leaves = vi_id_equal(&p->plan.guest[i].env, &e->def.id);
}

/* The hosts that are named. */
static bool is_about(void *arg, struct daemon *d, const struct vi_id *id, const char *name)
{
    const struct question *q = arg;
    const char *guest = strncmp(q->guest, "guest:", 6) ? q->guest : q->guest + 6;
    size_t n = strlen(name);
    const struct env *e = q->env[0] ? daemon_env_by_name(d, q->env) : NULL;
    for (unsigned i = 0; i < q->n_without; i++)
        if (!strcmp(q->without[i], name))
            return true;
    return (!strncmp(guest, name, n) && guest[n] == '/') || (e && daemon_env_has(e, id));
}

/* ---- told ---- */

static const char *name_at(const struct daemon_views *v, unsigned host)
{
    return host < v->n ? v->view[host].name : "?";
}

static void write_moves(struct vi_writer *w, const struct daemon_views *v, const struct planning *p)
{
    char command[HOSTVIEW_NAME + CERT_NAME_MAX + 32];
    vi_write_str(w, "moves");
    vi_write_array(w, p->plan.n_moves);
    for (unsigned i = 0; i < p->plan.n_moves; i++) {
        const struct plan_move *m = &p->plan.move[i];
        const struct plan_guest *g = &p->plan.guest[m->guest];
        snprintf(command, sizeof command, "violin migrate %s %s", p->guest[m->guest]->name, name_at(v, m->to));
        vi_write_map(w, 9U + (g->disk_kb > 0));
        put_text(w, "guest", p->guest[m->guest]->name);
        put_text(w, "from", name_at(v, m->from));
        put_text(w, "to", name_at(v, m->to));
        put_number(w, "memory_mib", (double)g->size_kb / 1024);
        if (g->disk_kb)
            put_number(w, "disk_mib", (double)g->disk_kb / 1024);
        put_number(w, "cpu_pct", g->pct);
        put_number(w, "seconds", m->carry_s);
        put_bool(w, "makes_room", m->makes_room);
        put_text(w, "why", g->why);
        put_text(w, "command", command);
    }
}

static void write_stuck(struct vi_writer *w, const struct daemon_views *v, const struct planning *p)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < p->plan.n_guests; i++)
        n += p->plan.guest[i].stuck;
    vi_write_str(w, "stuck");
    vi_write_array(w, n);
    for (unsigned i = 0; i < p->plan.n_guests; i++) {
        if (!p->plan.guest[i].stuck)
            continue;
        vi_write_map(w, 3);
        put_text(w, "guest", p->guest[i]->name);
        put_text(w, "host", name_at(v, p->from[i]));
        put_text(w, "why", p->plan.guest[i].why);
    }
}

static double part(double of, double all)
{
    return all > 0 ? of / all : 0;
}

static void write_hosts(struct vi_writer *w, const struct daemon_views *v, const struct planning *p)
{
    vi_write_str(w, "hosts");
    vi_write_array(w, p->plan.n_hosts);
    for (unsigned i = 0; i < p->plan.n_hosts; i++) {
        const struct plan_host *h = &p->plan.host[i];
        double total = (double)h->total_kb;
        vi_write_map(w, h->known ? 9 : 2);
        put_text(w, "host", name_at(v, i));
        put_bool(w, "known", h->known);
        if (!h->known)
            continue;
        put_bool(w, "without", h->without);
        put_number(w, "memory_before", part(total - (double)h->free_kb, total));
        put_number(w, "memory_after", part(total - (double)h->free_after_kb, total));
        put_number(w, "cpu_before", part(h->pct, h->capacity_pct));
        put_number(w, "cpu_after", part(h->pct_after, h->capacity_pct));
        put_uint(w, "guests_before", h->guests);
        put_uint(w, "guests_after", h->guests_after);
    }
}

static void write_elsewhere(struct daemon *d, struct vi_writer *w, const struct question *q, const struct planning *p)
{
    const struct env *e = daemon_env_by_name(d, q->env);
    char text[120], command[ENV_NAME_MAX + CERT_NAME_MAX + 32];
    const char *why = !e                  ? "the environment is gone"
                      : !p->plan.leaving ? "none of its guests that could go is here"
                                          : daemon_env_refused(d, e, q->to, p->plan.leaving_kb, p->plan.leaving_pct, text, sizeof text);
    snprintf(command, sizeof command, "violin env move %s %s", q->env, q->to);
    vi_write_str(w, "elsewhere");
    vi_write_map(w, 8);
    put_text(w, "environment", q->env);
    put_text(w, "domain", q->to);
    put_uint(w, "guests", p->plan.leaving);
    put_uint(w, "stay", p->plan.pinned);
    put_number(w, "memory_mib", (double)p->plan.leaving_kb / 1024);
    put_number(w, "cpu_pct", p->plan.leaving_pct);
    put_bool(w, "fits", why == NULL);
    if (why)
        put_text(w, "why", why);
    else
        put_text(w, "command", command);
}

static void write_names(struct vi_writer *w, const struct daemon_views *v, const struct question *q)
{
    uint32_t silent = 0;
    for (unsigned i = 0; i < v->n; i++)
        silent += !v->view[i].known;
    vi_write_str(w, "silent");
    vi_write_array(w, silent);
    for (unsigned i = 0; i < v->n; i++)
        if (!v->view[i].known)
            vi_write_str(w, v->view[i].name);
    put_uint(w, "unasked", v->unasked);
    vi_write_str(w, "without");
    vi_write_array(w, q->n_without);
    for (unsigned i = 0; i < q->n_without; i++)
        vi_write_str(w, q->without[i]);
    vi_write_str(w, "notes");
    vi_write_array(w, q->n_notes);
    for (unsigned i = 0; i < q->n_notes; i++)
        vi_write_str(w, q->note[i]);
}

static void planned(struct daemon_views *v)
{
    struct question *q = v->arg;
    struct planning *p = calloc(1, sizeof *p);
    const struct env *e = q->env[0] ? daemon_env_by_name(v->d, q->env) : NULL;
    struct vi_writer *w;
    if (!p) {
        rpc_error(q->call, VI_ENOMEM, "out of memory");
        return;
    }
    for (unsigned i = 0; i < v->n; i++)
        take_host(v->d, p, &v->view[i]);
    if ((q->guest[0] && !change_guest(q, v, p)) || !take_away(q, v, p))
        goto out;
    if (e)
        mark_env(p, e);
    p->plan.rules = daemon_rules_all(v->d);
    policy_plan(v->d->policy, &p->plan);
    if (p->plan.cut)
        note(q, "more moves would follow than the %u told of", PLAN_MOVES);
    w = rpc_begin(q->call, RPC_RESULT_MAX);
    if (!w)
        goto out;
    vi_write_map(w, 7U + (q->env[0] != 0));
    write_moves(w, v, p);
    write_stuck(w, v, p);
    write_hosts(w, v, p);
    if (q->env[0])
        write_elsewhere(v->d, w, q, p);
    write_names(w, v, q);
    rpc_end(q->call);
out:
    free(p);
}

/* ---- asked ---- */

static bool split_names(struct question *q, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, ",");
        if (n == 0 || n > CERT_NAME_MAX || q->n_without == WITHOUT_MOST)
            return false;
        memcpy(q->without[q->n_without], text, n);
        q->without[q->n_without++][n] = 0;
        text += n + (text[n] == ',');
    }
    return true;
}

static bool asked(struct daemon *d, struct question *q, struct vi_reader params)
{
    char without[1100];
    if (!rpc_param_text(q->call, params, "guest", false, q->guest, sizeof q->guest) ||
        !rpc_param_text(q->call, params, "memory", false, q->memory, sizeof q->memory) ||
        !rpc_param_text(q->call, params, "cpu", false, q->cpu, sizeof q->cpu) ||
        !rpc_param_text(q->call, params, "without", false, without, sizeof without) ||
        !rpc_param_text(q->call, params, "env", false, q->env, sizeof q->env) ||
        !rpc_param_text(q->call, params, "to", false, q->to, sizeof q->to))
        return false;
    if (!split_names(q, without))
        rpc_error(q->call, VI_EINVAL, "`without` is a host or several with commas between, %u at most", WITHOUT_MOST);
    else if (!q->guest[0] && !q->n_without && !q->env[0])
        rpc_error(q->call, VI_EINVAL, "what if what? A guest of another size, without a host, or an environment elsewhere");
    else if ((q->guest[0] != 0) != (q->memory[0] || q->cpu[0]))
        rpc_error(q->call, VI_EINVAL, "a guest, and how much memory or CPU it should have");
    else if ((q->env[0] != 0) != (q->to[0] != 0))
        rpc_error(q->call, VI_EINVAL, "an environment, and the domain that it should go to");
    else if (q->env[0] && !daemon_env_by_name(d, q->env))
        rpc_error(q->call, VI_ENOTFOUND, "there is no environment `%s`; `violin env list` shows them", q->env);
    else
        return true;
    return false;
}

void daemon_do_plan(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct question *q = calloc(1, sizeof *q);
    int err;
    if (!q) {
        rpc_error(call, VI_ENOMEM, "out of memory");
        return;
    }
    q->call = call;
    if (!asked(d, q, *params)) {
        free(q);
        return;
    }
    err = daemon_views_ask(d, is_about, planned, q);
    if (err) {
        rpc_error(call, err, "%s", err == VI_EFULL ? "others ask for plans just now; try again in a moment" : vi_strerror(err));
        free(q);
    }
}
