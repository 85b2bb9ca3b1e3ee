/* The daemon and what an operator orders of the whole host: drain it, pause its policy. Both are kept over a restart. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/rpc_write.h"

#define NO_DEADLINE 1 /* as a stored number: draining, without one */
#define LONGEST_S   (366 * 86400)

static unsigned guests_here(struct daemon *d)
{
    unsigned n = 0;
    for (unsigned i = 0; i < d->n_guests; i++)
        n += daemon_guest_env(d, &d->guests[i]) != NULL;
    return n;
}

static void keep(struct daemon *d, const char *name, int64_t value)
{
    if (store_set_number(d->store, name, value))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
}

void daemon_drain_open(struct daemon *d)
{
    d->drain_until = store_number(d->store, "drain", 0);
    d->paused_until = store_number(d->store, "paused-until", 0);
    policy_set_draining(d->policy, daemon_now(), d->drain_until != 0);
}

bool daemon_paused(const struct daemon *d)
{
    return d->paused_until > vi_clock_wall();
}

void daemon_drain_tick(struct daemon *d, vi_time now)
{
    unsigned here = guests_here(d);
    if (d->paused_until && !daemon_paused(d)) {
        d->paused_until = 0;
        keep(d, "paused-until", 0);
        daemon_policy_mode(d);
        daemon_event_done(d, daemon_event(d, "mode", NULL, "the pause is over: mode %s", d->cfg.mode));
    }
    if (!d->drain_until || now < d->next_drain)
        return;
    d->next_drain = now + VI_SEC;
    if (!d->hv_there || !d->recovered)
        return;
    if (here == 0 && !d->drained)
        daemon_event_done(d, daemon_event(d, "drain", d->me.cert.host, "this host is drained: no guest of an environment is here"));
    d->drained = here == 0;
    if (here && d->drain_until > NO_DEADLINE && vi_clock_wall() > d->drain_until)
        daemon_warn(d, WARN_DRAIN, "the time to drain this host is over, and %u guest(s) are still here; `violin drain` says why", here);
    else
        daemon_warn(d, WARN_DRAIN, NULL);
}

/* ---- shown ---- */

static const char *why_here(struct daemon *d, const struct hv_guest *g, char *out, size_t cap)
{
    const struct policy_decision *dec;
    unsigned pos = 0;
    if (handover_has_guest(d->handovers, &g->uuid) || daemon_envmove_holds(d, &g->uuid))
        return "it is being moved";
    if (!g->movable)
        return g->why_not;
    if (daemon_pinned(d, g->name))
        return "pinned by the configuration of this host";
    while (policy_decision_next(d->policy, &g->uuid, &pos, &dec))
        if (dec->kind == POLICY_REFUSE || dec->kind == POLICY_FAILED) {
            snprintf(out, cap, "%s", dec->text);
            return out;
        }
    return "its turn comes";
}

unsigned daemon_drain_fields(const struct daemon *d)
{
    return (d->drain_until ? 1U : 0U) + (daemon_paused(d) ? 1U : 0U);
}

void daemon_drain_write(struct daemon *d, struct vi_writer *w)
{
    if (d->drain_until)
        put_text(w, "draining", d->drained ? "drained" : "yes");
    if (daemon_paused(d))
        put_number(w, "paused_for_s", (double)(d->paused_until - vi_clock_wall()) / 1e6);
}

static void answer(struct daemon *d, struct rpc_call *call)
{
    struct vi_writer *w = rpc_begin(call, RPC_RESULT_MAX);
    unsigned here = guests_here(d);
    bool until = d->drain_until > NO_DEADLINE;
    char text[POLICY_TEXT];
    if (!w)
        return;
    vi_write_map(w, 4U + until);
    put_text(w, "host", d->me.cert.host);
    put_bool(w, "draining", d->drain_until != 0);
    put_bool(w, "drained", d->drain_until && here == 0);
    if (until)
        put_number(w, "deadline", (double)d->drain_until / 1e6);
    vi_write_str(w, "guests");
    vi_write_array(w, here);
    for (unsigned i = 0; i < d->n_guests; i++) {
        const struct hv_guest *g = &d->guests[i];
        if (!daemon_guest_env(d, g))
            continue;
        vi_write_map(w, 2);
        put_text(w, "name", g->name);
        put_text(w, "why_here", d->drain_until ? why_here(d, g, text, sizeof text) : "this host is not being drained");
    }
    rpc_end(call);
}

/* ---- ordered ---- */

void daemon_do_drain(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char host[128];
    uint64_t deadline = 0;
    if (!rpc_param_text(call, *params, "host", false, host, sizeof host) ||
        !rpc_param_uint(call, *params, "deadline_s", LONGEST_S, &deadline))
        return;
    if (host[0] && strcmp(host, d->me.cert.host)) {
        rpc_error(call, VI_EINVAL, "this is %s: run `violin drain` on %s itself", d->me.cert.host, host);
        return;
    }
    if (!d->drain_until)
        daemon_event_done(d, daemon_event(d, "drain", d->me.cert.host, "this host is being drained: its guests leave, none comes"));
    if (!d->drain_until || deadline) {
        d->drain_until = deadline ? vi_clock_wall() + (vi_time)deadline * VI_SEC : NO_DEADLINE;
        d->drained = false;
        d->next_drain = 0;
        keep(d, "drain", d->drain_until);
        policy_set_draining(d->policy, daemon_now(), true);
    }
    answer(d, call);
}

void daemon_do_drain_show(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    (void)params;
    answer(arg, call);
}

void daemon_do_undrain(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    (void)params;
    if (d->drain_until) {
        d->drain_until = 0;
        d->drained = false;
        keep(d, "drain", 0);
        policy_set_draining(d->policy, daemon_now(), false);
        daemon_warn(d, WARN_DRAIN, NULL);
        daemon_event_done(d, daemon_event(d, "drain", d->me.cert.host, "this host takes guests again"));
    }
    answer(d, call);
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
    daemon_event_done(d, daemon_event(d, "mode", NULL, "paused for %llu s: nothing is changed or moved by itself",
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
        daemon_event_done(d, daemon_event(d, "mode", NULL, "the pause is ended: mode %s", d->cfg.mode));
    }
    answer_mode(d, call);
}
