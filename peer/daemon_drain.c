/* The daemon and what an operator orders of the whole host: drain it, pause its policy. Both are kept over a restart.
 *
 * A drain may be ordered from another member of the domain that may admit or revoke hosts: who can end a host's membership can
 * have it emptied. Guests that no host of the domain has room for leave with their whole environment for another domain, where that is
 * allowed: daemon_evacuate.c. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/rpc_write.h"

#define NO_DEADLINE 1 /* as a stored number: draining, without one */
#define LONGEST_S   DRAINWORD_MOST_S
#define NEAR_MOST   (10 * VI_MIN) /* the deadline is near: so long before it, or the last fifth of a shorter time */

static unsigned guests_here(struct daemon *d)
{
    unsigned n = 0;
    for (unsigned i = 0; i < d->n_guests; i++)
        n += daemon_guest_env(d, &d->guests[i]) != NULL;
    return n;
}

/* May a guest still come, that was let in before? By a handover, with its environment, or made or started here. */
static bool one_may_come(struct daemon *d)
{
    uint64_t kb;
    double pct;
    if (handover_promised(d->handovers, &kb, &pct) || daemon_envmove_leased(d, &kb, &pct))
        return true;
    daemon_envmake_promised(d, &kb, &pct);
    return kb > 0;
}

/* An empty list says so only if the hypervisor was asked, what was under way before a restart is known, and nobody is still let
 * in: who reads "drained" switches the host off. */
bool daemon_drained(struct daemon *d)
{
    return d->drain_until && d->hv_there && d->listed && d->recovered && !guests_here(d) && !one_may_come(d);
}

static void keep(struct daemon *d, const char *name, int64_t value)
{
    if (store_set_number(d->store, name, value))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
}

void daemon_drain_open(struct daemon *d)
{
    d->drain_until = store_number(d->store, "drain", 0);
    d->drain_since = store_number(d->store, "drain-since", 0);
    d->drain_within = store_number(d->store, "drain-within", 0) != 0;
    d->paused_until = store_number(d->store, "paused-until", 0);
    policy_set_draining(d->policy, daemon_now(), d->drain_until != 0);
}

bool daemon_paused(const struct daemon *d)
{
    return d->paused_until > vi_clock_wall();
}

/* ---- why a guest is still here ---- */

/* "web stays: why" → "why" */
static const char *without_name(const char *text, const char *name)
{
    size_t n = strlen(name);
    return !strncmp(text, name, n) && !strncmp(text + n, " stays: ", 8) ? text + n + 8 : text;
}

static void why_here(struct daemon *d, const struct hv_guest *g, char *out, size_t cap)
{
    const struct policy_decision *dec;
    char elsewhere[DRAINWORD_WHY];
    const char *why = "its turn comes";
    unsigned pos = 0;
    bool refused = false;
    while (policy_decision_next(d->policy, &g->uuid, &pos, &dec))
        if (dec->kind == POLICY_REFUSE || dec->kind == POLICY_FAILED || dec->kind == POLICY_MOVE) {
            why = dec->kind == POLICY_MOVE ? why : without_name(dec->text, g->name);
            refused = dec->kind == POLICY_REFUSE;
            break;
        }
    if (!d->drain_until)
        why = "this host is not being drained";
    else if (handover_has_guest(d->handovers, &g->uuid) || daemon_envmove_holds(d, &g->uuid))
        why = "it is being moved";
    else if (!g->movable)
        why = g->why_not;
    else if (daemon_pinned(d, g->name))
        why = "pinned by the configuration of this host";
    else if (refused && !d->drain_within && daemon_evacuate_word(d, g, elsewhere, sizeof elsewhere)) {
        snprintf(out, cap, "%.110s; %.80s", why, elsewhere);
        return;
    }
    snprintf(out, cap, "%.190s", why);
}

static void fill(struct daemon *d, struct drainword *w)
{
    memset(w, 0, sizeof *w);
    w->draining = d->drain_until != 0;
    w->within = d->drain_within;
    w->deadline_s = d->drain_until > NO_DEADLINE ? (uint64_t)(d->drain_until / VI_SEC) : 0;
    for (unsigned i = 0; i < d->n_guests; i++) {
        const struct hv_guest *g = &d->guests[i];
        if (!daemon_guest_env(d, g))
            continue;
        w->guests++;
        if (w->n == DRAINWORD_GUESTS)
            continue;
        snprintf(w->guest[w->n].name, sizeof w->guest[w->n].name, "%s", g->name);
        why_here(d, g, w->guest[w->n].why, sizeof w->guest[w->n].why);
        w->n++;
    }
    w->drained = daemon_drained(d);
}

/* ---- as time goes by ---- */

static void warn(struct daemon *d, unsigned here)
{
    static struct drainword w;
    vi_time wall = vi_clock_wall(), left = d->drain_until - wall, near = (d->drain_until - d->drain_since) / 5;
    char list[160] = "";
    size_t at = 0;
    near = d->drain_since && near < NEAR_MOST ? near : NEAR_MOST;
    if (!here || d->drain_until <= NO_DEADLINE || left > near) {
        daemon_warn(d, WARN_DRAIN, NULL);
        return;
    }
    fill(d, &w);
    for (unsigned i = 0; i < w.n && i < 2 && at < sizeof list; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%.24s (%.45s)", i ? ", " : "", w.guest[i].name, w.guest[i].why);
    if (left > 0)
        daemon_warn(d, WARN_DRAIN, "this host is to be empty in %lld min, and %u guest(s) are still here: %s; `violin drain` has all",
                    (long long)((left + VI_MIN - 1) / VI_MIN), here, list);
    else
        daemon_warn(d, WARN_DRAIN, "the time to drain this host is over, and %u guest(s) are still here: %s; `violin drain` has all",
                    here, list);
}

void daemon_drain_tick(struct daemon *d, vi_time now)
{
    unsigned here = guests_here(d);
    if (d->paused_until && !daemon_paused(d)) {
        d->paused_until = 0;
        keep(d, "paused-until", 0);
        daemon_policy_mode(d);
        daemon_history(d, daemon_event(d, "mode", d->me.cert.host, "the pause is over: mode %s", d->cfg.mode));
    }
    if (!d->drain_until || now < d->next_drain)
        return;
    d->next_drain = now + VI_SEC;
    if (!d->hv_there || !d->recovered)
        return;
    if (daemon_drained(d) && !d->drain_told)
        daemon_history(d, daemon_event(d, "drain", d->me.cert.host, "this host is drained: no guest of an environment is here"));
    d->drain_told = daemon_drained(d);
    warn(d, here);
    if (here && !d->drain_within)
        daemon_evacuate_tick(d, now);
}

/* ---- shown ---- */

unsigned daemon_drain_fields(const struct daemon *d)
{
    return (d->drain_until ? 1U : 0U) + (daemon_paused(d) ? 1U : 0U);
}

void daemon_drain_write(struct daemon *d, struct vi_writer *w)
{
    if (d->drain_until)
        put_text(w, "draining", daemon_drained(d) ? "drained" : "yes");
    if (daemon_paused(d))
        put_number(w, "paused_for_s", (double)(d->paused_until - vi_clock_wall()) / 1e6);
}

static void answer(struct rpc_call *call, const char *host, const struct drainword *x)
{
    struct vi_writer *w = rpc_begin(call, RPC_RESULT_MAX);
    if (!w)
        return;
    vi_write_map(w, 6U + (x->deadline_s != 0));
    put_text(w, "host", host);
    put_bool(w, "draining", x->draining);
    put_bool(w, "drained", x->drained);
    put_bool(w, "within", x->within);
    if (x->deadline_s)
        put_number(w, "deadline", (double)x->deadline_s);
    put_uint(w, "guests_here", x->guests);
    vi_write_str(w, "guests");
    vi_write_array(w, x->n);
    for (unsigned i = 0; i < x->n; i++) {
        vi_write_map(w, 2);
        put_text(w, "name", x->guest[i].name);
        put_text(w, "why_here", x->guest[i].why);
    }
    rpc_end(call);
}

/* ---- ordered ---- */

static void begin(struct daemon *d, const struct drainword_order *o, const char *by)
{
    bool anew = !d->drain_until, told = !anew && (o->deadline_s || (o->within && !d->drain_within)); /* else it only looks */
    if (!anew && !told)
        return;
    if (anew)
        daemon_history(d, daemon_event(d, "drain", d->me.cert.host, "this host is being drained: its guests leave, none comes%s%s",
                                       by ? "; ordered from " : "", by ? by : ""));
    if (anew || o->deadline_s) {
        d->drain_since = vi_clock_wall();
        d->drain_until = o->deadline_s ? d->drain_since + (vi_time)o->deadline_s * VI_SEC : NO_DEADLINE;
    }
    d->drain_within = anew ? o->within : d->drain_within || o->within;
    d->drain_told = false;
    d->next_drain = 0;
    daemon_evacuate_anew(d);
    keep(d, "drain-since", d->drain_since);
    keep(d, "drain-within", d->drain_within);
    keep(d, "drain", d->drain_until);
    policy_set_draining(d->policy, daemon_now(), true);
}

static void end(struct daemon *d, const char *by)
{
    if (!d->drain_until)
        return;
    d->drain_until = 0;
    d->drain_told = false;
    keep(d, "drain", 0);
    policy_set_draining(d->policy, daemon_now(), false);
    daemon_warn(d, WARN_DRAIN, NULL);
    daemon_history(d, daemon_event(d, "drain", d->me.cert.host, "this host takes guests again%s%s", by ? "; ordered from " : "", by ? by : ""));
}

static void obey(struct daemon *d, const struct drainword_order *o, const char *by)
{
    if (o->what == DRAIN_BEGIN)
        begin(d, o, by);
    if (o->what == DRAIN_END)
        end(d, by);
}

/* Another member asks, or orders. */
int daemon_drain_asked(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out)
{
    static struct drainword w;
    struct drainword_order o;
    if (drainword_order_decode(&o, body, len))
        return VI_EPROTO;
    if (o.what != DRAIN_SHOW && !(daemon_keys_caps(d, from) & (CERT_ADMIT | CERT_REVOKE)))
        return VI_EAUTH;
    obey(d, &o, daemon_member_name(d, from));
    fill(d, &w);
    return drainword_encode(&w, out, CALL_BODY_MAX);
}

struct asking {
    struct daemon *d;
    struct rpc_call *call;
    char host[CERT_NAME_MAX + 1];
};

static void on_answered(void *arg, int err, const uint8_t *body, size_t len)
{
    static struct drainword w;
    struct asking *q = arg;
    if (!err)
        err = drainword_decode(&w, body, len);
    if (!err)
        answer(q->call, q->host, &w);
    else if (err == VI_EAUTH)
        rpc_error(q->call, err, "%s does not take that order from %s, which may neither admit nor revoke hosts (violin delegate): run it "
                                "on %s itself", q->host, q->d->me.cert.host, q->host);
    else
        rpc_error(q->call, err, "%s: %s", q->host, err == VI_EUNSUPPORTED ? "an older violin; run it there" : vi_strerror(err));
    free(q);
}

static void pass_on(struct daemon *d, struct rpc_call *call, const struct vi_id *to, const struct drainword_order *o)
{
    struct asking *q = calloc(1, sizeof *q);
    uint8_t b[32];
    int n = drainword_order_encode(o, b, sizeof b);
    if (q && n > 0) {
        *q = (struct asking){.d = d, .call = call};
        snprintf(q->host, sizeof q->host, "%s", daemon_member_name(d, to));
        if (!calls_ask(d->calls, daemon_now(), to, CALL_DRAIN, b, (size_t)n, on_answered, q))
            return;
    }
    free(q);
    rpc_error(call, VI_EFULL, "too many questions are under way; try again in a moment");
}

static void ordered(struct daemon *d, struct rpc_call *call, struct vi_reader params, const struct drainword_order *o)
{
    static struct drainword w;
    char host[DAEMON_NAME];
    struct vi_id id;
    const char *name;
    if (!rpc_param_text(call, params, "host", false, host, sizeof host))
        return;
    name = strncmp(host, "host:", 5) ? host : host + 5;
    if (name[0] && strcmp(name, d->me.cert.host) != 0) {
        if (daemon_member_by_name(d, call, name, &id))
            return;
        if (!vi_id_equal(&id, &d->me.id)) {
            pass_on(d, call, &id, o);
            return;
        }
    }
    obey(d, o, NULL);
    fill(d, &w);
    answer(call, d->me.cert.host, &w);
}

void daemon_do_drain(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct drainword_order o = {.what = DRAIN_BEGIN};
    uint64_t deadline = 0, within = 0;
    if (!rpc_param_uint(call, *params, "deadline_s", LONGEST_S, &deadline) || !rpc_param_uint(call, *params, "within", 1, &within))
        return;
    o.deadline_s = (uint32_t)deadline;
    o.within = within == 1;
    ordered(arg, call, *params, &o);
}

void daemon_do_drain_show(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct drainword_order o = {.what = DRAIN_SHOW};
    ordered(arg, call, *params, &o);
}

void daemon_do_undrain(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct drainword_order o = {.what = DRAIN_END};
    ordered(arg, call, *params, &o);
}

static void answer_mode(struct daemon *d, struct rpc_call *call)
{
    struct vi_writer *w = rpc_begin(call, 128);
    if (!w)
        return;
    vi_write_map(w, 1U + daemon_paused(d));
    put_text(w, "mode", d->cfg.mode);
    if (daemon_paused(d))
        put_number(w, "paused_for_s", (double)(d->paused_until - vi_clock_wall()) / 1e6);
    rpc_end(call);
}

void daemon_do_pause(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    uint64_t s = 3600;
    if (!rpc_param_uint(call, *params, "for_s", LONGEST_S, &s))
        return;
    d->paused_until = vi_clock_wall() + (vi_time)s * VI_SEC;
    keep(d, "paused-until", d->paused_until);
    daemon_policy_mode(d);
    daemon_history(d, daemon_event(d, "mode", d->me.cert.host, "paused for %llu s: nothing is changed or moved by itself",
                                   (unsigned long long)s));
    answer_mode(d, call);
}

void daemon_do_resume(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    (void)params;
    if (d->paused_until) {
        d->paused_until = 0;
        keep(d, "paused-until", 0);
        daemon_policy_mode(d);
        daemon_history(d, daemon_event(d, "mode", d->me.cert.host, "the pause is ended: mode %s", d->cfg.mode));
    }
    answer_mode(d, call);
}
