/* The daemon explains a host and an environment: both are asked of the domain's members, as they are now. */
#include "peer/daemon_federation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/daemon_envmove.h"
#include "peer/rpc_write.h"

#define MIB(kb) ((double)(kb) / 1024.0)
#define WHYS    6
#define WHY     240

struct question {
    struct rpc_call *call;
    struct vi_id id;              /* the host, or the environment */
    char name[DAEMON_NAME];
};

static struct question *asks(struct rpc_call *call, const struct vi_id *id, const char *name)
{
    struct question *q = calloc(1, sizeof *q);
    if (!q) {
        rpc_error(call, VI_ENOMEM, "out of memory");
        return NULL;
    }
    q->call = call;
    if (id)
        q->id = *id;
    snprintf(q->name, sizeof q->name, "%s", name);
    return q;
}

bool daemon_env_has(const struct env *e, const struct vi_id *host)
{
    for (unsigned i = 0; i < e->n_participants; i++)
        if (vi_id_equal(&e->participants[i], host))
            return true;
    return false;
}

static bool takes_part(void *arg, struct daemon *d, const struct vi_id *id, const char *name)
{
    const struct question *q = arg;
    const struct env *e = daemon_env_by_id(d, &q->id);
    (void)name;
    return e && daemon_env_has(e, id);
}

static void go(struct daemon *d, struct question *q, const struct vi_id *only, void (*done)(struct daemon_views *v))
{
    int err = !q ? 0 : only ? daemon_views_ask_one(d, only, done, q) : daemon_views_ask(d, takes_part, done, q);
    if (!err)
        return;
    rpc_error(q->call, err, "%s", err == VI_EFULL ? "others ask the same just now; try again in a moment" : vi_strerror(err));
    free(q);
}

/* ---- a host ---- */

static void write_guest(struct vi_writer *w, const struct hostview_guest *g, const char *env)
{
    vi_write_map(w, 8U + (g->why_not[0] != 0));
    put_text(w, "name", g->name);
    put_text(w, "environment", env);
    put_number(w, "memory_mib", MIB(g->size_kb));
    put_number(w, "wants_mib", MIB(g->kb));
    put_number(w, "wants_pct", g->pct);
    put_text(w, "short_of", g->short_of_memory && g->short_of_cpu ? "memory and CPU" : g->short_of_memory ? "memory" : g->short_of_cpu ? "CPU" : "-");
    put_bool(w, "moving", g->moving);
    put_bool(w, "movable", g->movable);
    if (g->why_not[0])
        put_text(w, "why_not", g->why_not);
}

/* The policy's last word on a guest of this host that is short. */
static const char *last_word(struct daemon *d, const struct vi_id *guest)
{
    const struct policy_decision *dec;
    unsigned pos = 0;
    while (policy_decision_next(d->policy, guest, &pos, &dec))
        if (dec->kind == POLICY_REFUSE || dec->kind == POLICY_FAILED || dec->kind == POLICY_MOVE)
            return dec->text;
    return NULL;
}

static unsigned whys_of(struct daemon *d, const struct daemon_view *v, char out[WHYS][WHY])
{
    const struct hostview *h = &v->host;
    bool own = vi_id_equal(&v->id, &d->me.id);
    unsigned n = 0, short_of = 0;
    if (h->draining)
        snprintf(out[n++], WHY, h->drained ? "it is drained: none of its guests is left, and it takes none"
                                           : "it is being drained: its guests leave, and it takes none");
    if (h->paused)
        snprintf(out[n++], WHY, "it is paused: nothing is changed or moved by itself");
    else if (h->observes)
        snprintf(out[n++], WHY, "mode observe: it only says what it would do; `violin todo` there shows it");
    for (unsigned i = 0; i < v->n; i++) {
        const struct hostview_guest *g = &v->guest[i];
        const char *word = own && (g->short_of_memory || g->short_of_cpu) ? last_word(d, &g->uuid) : NULL;
        short_of += g->short_of_memory || g->short_of_cpu;
        if (word && n < WHYS - 1)
            snprintf(out[n++], WHY, "%s", word);
    }
    if (short_of == 0)
        snprintf(out[n++], WHY, "nothing is short: each guest has what it should have");
    else if (!own)
        snprintf(out[n++], WHY, "%u guest(s) are short; why they stay: `violin explain GUEST` there", short_of);
    return n;
}

static void write_takes(struct daemon *d, struct vi_writer *w, const struct hostview *h)
{
    double cpu = h->capacity_pct - h->demand_pct;
    const char *why = h->draining                        ? "it is being drained"
                      : h->arrivals >= h->arrivals_most ? "as many guests as it takes at once are arriving"
                                                        : NULL;
    (void)d;
    vi_write_str(w, "takes");
    vi_write_map(w, 2U + (why != NULL));
    put_number(w, "memory_mib", why ? 0 : MIB(h->free_kb));
    put_number(w, "cpu_pct", why || cpu < 0 ? 0 : cpu);
    if (why)
        put_text(w, "why_not", why);
}

static void explain_host(struct daemon_views *v)
{
    struct question *q = v->arg;
    struct daemon *d = v->d;
    const struct daemon_view *x = v->n ? &v->view[0] : NULL;
    char why[WHYS][WHY];
    struct vi_writer *w;
    unsigned n;
    bool own;
    if (!x || !x->known) {
        rpc_error(q->call, VI_ETIMEDOUT, "%s does not answer; `violin members --why %s` says what is known of it", q->name, q->name);
        return;
    }
    w = rpc_begin(q->call, 131072);
    if (!w)
        return;
    own = vi_id_equal(&x->id, &d->me.id);
    n = whys_of(d, x, why);
    vi_write_map(w, 14U + own);
    put_text(w, "host", x->name);
    put_text(w, "mode", x->host.paused ? "paused" : x->host.observes ? "observe" : "auto");
    put_text(w, "draining", x->host.drained ? "drained" : x->host.draining ? "yes" : "no");
    put_number(w, "cpu_wanted_pct", x->host.demand_pct);
    put_number(w, "cpu_capacity_pct", x->host.capacity_pct);
    put_number(w, "memory_total_mib", MIB(x->host.total_kb));
    put_number(w, "memory_free_mib", MIB(x->host.free_kb));
    put_number(w, "range_low", x->host.range_low);
    put_number(w, "range_high", x->host.range_high);
    put_uint(w, "arriving", x->host.arrivals);
    put_uint(w, "arriving_most", x->host.arrivals_most);
    write_takes(d, w, &x->host);
    vi_write_str(w, "why");
    vi_write_array(w, n);
    for (unsigned i = 0; i < n; i++)
        vi_write_str(w, why[i]);
    vi_write_str(w, "guests");
    vi_write_array(w, x->n);
    for (unsigned i = 0; i < x->n; i++) {
        const struct env *e = daemon_env_by_id(d, &x->guest[i].env);
        write_guest(w, &x->guest[i], e ? e->def.name : "?");
    }
    if (own) { /* another's history is told by itself */
        vi_write_str(w, "latest");
        daemon_history_latest(d, w);
    }
    rpc_end(q->call);
}

void daemon_explain_host(struct daemon *d, struct rpc_call *call, const char *name)
{
    struct vi_id id;
    if (!daemon_member_by_name(d, call, name, &id))
        go(d, asks(call, NULL, name), &id, explain_host);
}

/* ---- an environment ---- */

const char *daemon_env_refused(struct daemon *d, const struct env *e, const char *domain, uint64_t kb, double pct, char *out, size_t cap)
{
    const struct fed_domain *f = fed_find(d, domain);
    const struct fed_summary *s = f ? &f->view.summary : NULL;
    if (!f)
        return "not federated with it";
    if (!env_allows(&e->def, domain))
        return "the environment may not be there: violin env allow";
    if (!f->heard || daemon_now() - f->heard > FED_STALE)
        return "nothing was heard of it for a minute";
    if (s->memory_free_mib * 1024 < kb) {
        snprintf(out, cap, "it has %llu MiB free, %.0f are needed", (unsigned long long)s->memory_free_mib, MIB(kb));
        return out;
    }
    if ((double)s->cpu_pct < (double)s->cpu_used_pct + pct) {
        snprintf(out, cap, "it has %.0f %% of a CPU free, %.0f are needed", (double)s->cpu_pct - (double)s->cpu_used_pct, pct);
        return out;
    }
    return NULL;
}

static unsigned guests_of(const struct daemon_views *v, const struct vi_id *env, uint64_t *kb, double *pct)
{
    unsigned n = 0;
    *kb = 0;
    *pct = 0;
    for (unsigned i = 0; i < v->n; i++)
        for (unsigned k = 0; v->view[i].known && k < v->view[i].n; k++) {
            const struct hostview_guest *g = &v->view[i].guest[k];
            if (!vi_id_equal(&g->env, env))
                continue;
            n++;
            if (!g->movable || !g->running)
                continue;
            *kb += g->kb;
            *pct += g->pct;
        }
    return n;
}

static void write_env_guests(struct vi_writer *w, const struct daemon_views *v, const struct vi_id *env, unsigned n)
{
    vi_write_str(w, "guests");
    vi_write_array(w, n);
    for (unsigned i = 0; i < v->n; i++)
        for (unsigned k = 0; v->view[i].known && k < v->view[i].n; k++) {
            const struct hostview_guest *g = &v->view[i].guest[k];
            if (!vi_id_equal(&g->env, env))
                continue;
            vi_write_map(w, 5U + (g->why_not[0] != 0));
            put_text(w, "name", g->name);
            put_text(w, "host", v->view[i].name);
            put_number(w, "memory_mib", MIB(g->size_kb));
            put_number(w, "wants_pct", g->pct);
            put_bool(w, "movable", g->movable);
            if (g->why_not[0])
                put_text(w, "why_not", g->why_not);
        }
}

/* Where it could go as a whole, and why not. */
static void write_domains(struct daemon *d, struct vi_writer *w, const struct env *e, uint64_t kb, double pct)
{
    uint32_t n = strcmp(e->def.home, d->me.cert.domain) != 0;
    char text[120];
    for (unsigned i = 0; i < e->def.n_allowed; i++)
        n += strcmp(e->def.allowed[i], d->me.cert.domain) != 0;
    vi_write_str(w, "domains");
    vi_write_array(w, n);
    for (unsigned i = 0; i <= e->def.n_allowed; i++) {
        const char *domain = i < e->def.n_allowed ? e->def.allowed[i] : e->def.home, *why;
        if (!strcmp(domain, d->me.cert.domain))
            continue;
        why = daemon_env_refused(d, e, domain, kb, pct, text, sizeof text);
        vi_write_map(w, 2U + (why != NULL));
        put_text(w, "domain", domain);
        put_bool(w, "fits", why == NULL);
        if (why)
            put_text(w, "why", why);
    }
}

static void write_traffic(struct daemon *d, struct vi_writer *w, const struct env *e)
{
    static struct matrix_row rows[1024];
    unsigned n = datapath_traffic(d->datapath, &e->def.id, rows, 1024);
    uint64_t bytes = 0, frames = 0;
    long host = d->cfg.overlay_bandwidth, own = (long)e->def.bandwidth;
    for (unsigned i = 0; i < n; i++) {
        bytes += rows[i].bytes;
        frames += rows[i].frames;
    }
    put_uint(w, "traffic_bytes", bytes);
    put_uint(w, "traffic_frames", frames);
    put_uint(w, "bandwidth_mib_s", (uint64_t)(!own || (host && host < own) ? host : own));
    put_uint(w, "shares", e->def.shares);
}

static void explain_env(struct daemon_views *v)
{
    struct question *q = v->arg;
    struct daemon *d = v->d;
    const struct env *e = daemon_env_by_id(d, &q->id);
    struct vi_writer *w;
    uint64_t kb;
    double pct;
    unsigned n;
    if (!e) {
        rpc_error(q->call, VI_ENOTFOUND, "the environment is gone");
        return;
    }
    w = rpc_begin(q->call, 1048576);
    if (!w)
        return;
    n = guests_of(v, &e->def.id, &kb, &pct);
    vi_write_map(w, 8 + 4 + DAEMON_ENVMOVE_EXPLAIN);
    put_text(w, "environment", e->def.name);
    put_text(w, "home", e->def.home);
    put_number(w, "moving_mib", MIB(kb));
    put_number(w, "moving_pct", pct);
    daemon_envmove_explain(d, w, e);
    write_env_guests(w, v, &e->def.id, n);
    write_domains(d, w, e, kb, pct);
    write_traffic(d, w, e);
    vi_write_str(w, "silent");
    n = 0;
    for (unsigned i = 0; i < v->n; i++)
        n += !v->view[i].known;
    vi_write_array(w, n);
    for (unsigned i = 0; i < v->n; i++)
        if (!v->view[i].known)
            vi_write_str(w, v->view[i].name);
    put_uint(w, "unasked", v->unasked);
    rpc_end(q->call);
}

void daemon_explain_env(struct daemon *d, struct rpc_call *call, const struct env *e)
{
    go(d, asks(call, &e->def.id, e->def.name), NULL, explain_env);
}

/* ---- a guest that isn't here ---- */

static void elsewhere(struct daemon_views *v)
{
    struct question *q = v->arg;
    for (unsigned i = 0; i < v->n; i++)
        for (unsigned k = 0; v->view[i].known && k < v->view[i].n; k++)
            if (!strcmp(v->view[i].guest[k].name, q->name)) {
                rpc_error(q->call, VI_ENOTFOUND, "%s is on %s: ask there", q->name, v->view[i].name);
                return;
            }
    rpc_error(q->call, VI_ENOTFOUND, "no guest, environment or host `%s` on this host or on those of the domain that answered; "
                                     "`violin guests`, `env list` and `members` show them", q->name);
}

void daemon_explain_elsewhere(struct daemon *d, struct rpc_call *call, const char *guest)
{
    go(d, asks(call, NULL, guest), NULL, elsewhere);
}
