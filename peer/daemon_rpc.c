/* The control socket's methods that look: status, guests, events, environments, and the
 * small ones that change: mode, environments, invitations. peer/rpc.md has the fields. */
#include "peer/daemon_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/trace.h"
#include "peer/daemon_disk_rpc.h"
#include "peer/daemon_image.h"
#include "peer/rpc_write.h"
#include "peer/version.h"

/* ---- parameters ---- */

/* Reads the map's string under `key`; false (and the call answered) when it is missing or no text.
 * Everything else in the map is skipped, so that later versions may add to it. */
bool rpc_param_text(struct rpc_call *call, struct vi_reader params, const char *key, bool must,
                    char *out, size_t cap)
{
    uint32_t n = vi_read_map(&params, 32);
    bool found = false;
    out[0] = 0;
    for (uint32_t i = 0; i < n && !params.err; i++) {
        if (vi_read_key(&params, key)) {
            vi_read_cstr(&params, out, cap);
            found = true;
        } else {
            vi_read_skip(&params);
            vi_read_skip(&params);
        }
    }
    if (params.err)
        rpc_error(call, VI_EINVAL, "`%s` is too long (at most %zu bytes), or not a text", key, cap - 1);
    else if (must && !found)
        rpc_error(call, VI_EINVAL, "`%s` is missing", key);
    return !params.err && (found || !must);
}

bool rpc_param_uint(struct rpc_call *call, struct vi_reader params, const char *key, uint64_t most,
                    uint64_t *value)
{
    uint32_t n = vi_read_map(&params, 32);
    for (uint32_t i = 0; i < n && !params.err; i++) {
        if (vi_read_key(&params, key)) {
            *value = vi_read_uint(&params, most);
        } else {
            vi_read_skip(&params);
            vi_read_skip(&params);
        }
    }
    if (params.err)
        rpc_error(call, VI_EINVAL, "`%s` is no number up to %llu", key, (unsigned long long)most);
    return !params.err;
}

/* ---- status ---- */

static void write_hypervisor(struct daemon *d, struct vi_writer *w)
{
    vi_write_str(w, "hypervisor");
    vi_write_map(w, d->host.kind[0] ? 4 : 1);
    put_text(w, "state", d->hv_there ? "there" : "not there");
    if (d->host.kind[0]) {
        put_text(w, "kind", d->host.kind);
        put_text(w, "version", d->host.version);
        put_uint(w, "cpus", d->host.cpus);
    }
}

static void write_mesh(struct daemon *d, struct vi_writer *w)
{
    const struct mesh_counters *n = mesh_counters(mesh_io_core(d->mesh));
    vi_write_str(w, "mesh");
    vi_write_map(w, 7);
    put_uint(w, "handshakes_done", n->handshakes_done);
    put_uint(w, "init_computed", n->init_computed);
    put_uint(w, "response_computed", n->response_computed);
    put_uint(w, "cookies_asked", n->rx_cookie_asked);
    put_uint(w, "mac1_bad", n->rx_mac1);
    put_uint(w, "certificates_refused", n->rx_cert_bad + n->rx_cert_expired + n->rx_refused);
    put_uint(w, "stale_inits", n->rx_stale_init);
}

static void do_status(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct vi_writer *w = rpc_begin(call, 16384);
    char id[VI_ID_TEXT];
    unsigned warnings = 0, n_guests = 0;
    (void)params;
    if (!w)
        return;
    for (unsigned i = 0; i < WARNINGS; i++)
        warnings += d->warnings[i][0] != 0;
    for (unsigned i = 0; i < d->n_guests; i++)
        n_guests += daemon_guest_env(d, &d->guests[i]) != NULL;
    vi_write_map(w, 15U + (d->own_addr.family != 0) + (d->host.kind[0] != 0) + daemon_drain_fields(d) + daemon_placement_fields(d));
    put_text(w, "version", VIOLIN_VERSION);
    put_text(w, "host", d->me.cert.host);
    put_text(w, "peer", vi_id_format(&d->me.id, id));
    put_text(w, "domain", d->me.cert.domain);
    put_text(w, "mode", d->cfg.mode);
    daemon_placement_write(d, w);
    daemon_drain_write(d, w);
    put_number(w, "uptime_s", (double)(daemon_now() - d->started) / 1e6);
    if (d->own_addr.family)
        put_text(w, "address", d->address);
    write_hypervisor(d, w);
    daemon_write_members_count(d, w);
    daemon_write_standing(d, w);
    if (d->host.kind[0])
        put_uint(w, "guests", n_guests);
    daemon_policy_load(d, w);
    daemon_handover_counts(d, w);
    daemon_envmove_counts(d, w);
    put_uint(w, "suggestions", daemon_todo_count(d));
    write_mesh(d, w);
    vi_write_str(w, "warnings");
    vi_write_array(w, warnings);
    for (unsigned i = 0; i < WARNINGS; i++)
        if (d->warnings[i][0])
            vi_write_str(w, d->warnings[i]);
    rpc_end(call);
}

/* ---- guests ---- */

static void do_guests(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct vi_writer *w = rpc_begin(call, RPC_RESULT_MAX);
    uint32_t n = 0;
    (void)params;
    if (!w)
        return;
    for (unsigned i = 0; i < d->n_guests; i++)
        n += daemon_guest_env(d, &d->guests[i]) != NULL;
    vi_write_array(w, n);
    for (unsigned i = 0; i < d->n_guests; i++)
        if (daemon_guest_env(d, &d->guests[i]))
            daemon_policy_write_guest(d, w, &d->guests[i]);
    rpc_end(call);
}

/* ---- environments ---- */

static void do_env_list(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct vi_writer *w = rpc_begin(call, 65536);
    char bridge[ENV_BRIDGE_MAX], id[VI_ID_TEXT];
    uint32_t n = 0;
    (void)params;
    if (!w)
        return;
    for (unsigned i = 0; i < ENV_MAX; i++)
        n += d->envs[i].used;
    vi_write_array(w, n);
    for (unsigned i = 0; i < ENV_MAX; i++) {
        const struct env *e = &d->envs[i];
        if (!e->used)
            continue;
        vi_write_map(w, 7);
        put_text(w, "name", e->def.name);
        put_text(w, "id", vi_id_format(&e->def.id, id));
        put_text(w, "bridge", env_bridge_name(&e->def.id, bridge));
        put_uint(w, "shares", e->def.shares);
        put_text(w, "home", e->def.home);
        put_uint(w, "hosts", e->n_participants + (e->local_guests ? 1 : 0));
        put_uint(w, "guests", e->local_guests);
    }
    rpc_end(call);
}

static void write_env_people(struct daemon *d, struct vi_writer *w, const struct env *e)
{
    uint32_t guests = 0;
    vi_write_str(w, "hosts");
    vi_write_array(w, e->n_participants + (e->local_guests ? 1 : 0));
    if (e->local_guests)
        vi_write_str(w, d->me.cert.host);
    for (unsigned i = 0; i < e->n_participants; i++)
        vi_write_str(w, daemon_member_name(d, &e->participants[i]));
    for (unsigned i = 0; i < d->n_guests; i++)
        guests += daemon_guest_env(d, &d->guests[i]) == e;
    vi_write_str(w, "guests");
    vi_write_array(w, guests);
    for (unsigned i = 0; i < d->n_guests; i++)
        if (daemon_guest_env(d, &d->guests[i]) == e)
            vi_write_str(w, d->guests[i].name);
}

static void answer_env(struct daemon *d, struct rpc_call *call, const struct env *e)
{
    struct vi_writer *w = rpc_begin(call, RPC_RESULT_MAX);
    char bridge[ENV_BRIDGE_MAX], id[VI_ID_TEXT], vif[64];
    if (!w)
        return;
    env_bridge_name(&e->def.id, bridge);
    snprintf(vif, sizeof vif, "vif = ['bridge=%s']", bridge);
    vi_write_map(w, 13 + DAEMON_SWITCH_FIELDS + DAEMON_RULES_FIELDS);
    put_text(w, "name", e->def.name);
    put_bool(w, "strict", e->def.strict);
    put_text(w, "id", vi_id_format(&e->def.id, id));
    put_text(w, "bridge", bridge);
    put_text(w, "vif", vif);
    put_uint(w, "shares", e->def.shares);
    put_text(w, "home", e->def.home);
    write_env_people(d, w, e);
    daemon_rules_write(d, w, e);
    daemon_switch_write_env(d, w, e);
    daemon_datapath_write_env(d, w, e);
    daemon_attach_write_env(d, w, e);
    daemon_envmake_write_env(d, w, e);
    rpc_end(call);
}

static void do_env_show(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char name[128];
    const struct env *e;
    if (!rpc_param_text(call, *params, "name", true, name, sizeof name))
        return;
    e = daemon_env_by_name(d, name);
    if (e)
        daemon_names_ask(d, call, e, answer_env);
    else
        rpc_error(call, VI_ENOTFOUND, "there is no environment `%s`; `violin env list` shows them", name);
}

static void do_env_create(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char name[128], why[300] = "";
    uint64_t shares = 100, strict = 0, priority = ENV_PRIORITY;
    int err;
    if (!rpc_param_text(call, *params, "name", true, name, sizeof name) ||
        !rpc_param_uint(call, *params, "shares", ENV_SHARES_MAX, &shares) ||
        !rpc_param_uint(call, *params, "strict", 1, &strict) ||
        !rpc_param_uint(call, *params, "priority", ENV_PRIORITY_MAX, &priority))
        return;
    err = daemon_env_create(d, name, (unsigned)shares, strict == 1, why, sizeof why);
    if (!err && !daemon_env_by_name(d, name)) {
        err = VI_EFULL;
        snprintf(why, sizeof why, "no room for another environment here");
    }
    if (!err)
        err = daemon_rules_priority(d, name, (unsigned)priority, why, sizeof why);
    if (err)
        rpc_error(call, err, "%s", why[0] ? why : vi_strerror(err));
    else
        answer_env(d, call, daemon_env_by_name(d, name));
}

static void answer_nothing(struct rpc_call *call)
{
    struct vi_writer *w = rpc_begin(call, 16);
    if (w) {
        vi_write_map(w, 0);
        rpc_end(call);
    }
}

static void do_env_limit(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char name[128], why[300] = "";
    uint64_t bandwidth = 0;
    int err;
    if (!rpc_param_text(call, *params, "name", true, name, sizeof name) ||
        !rpc_param_uint(call, *params, "bandwidth_mib_s", ENV_BANDWIDTH_MAX, &bandwidth))
        return;
    err = daemon_env_limit(d, name, (unsigned)bandwidth, why, sizeof why);
    if (err)
        rpc_error(call, err, "%s", why[0] ? why : vi_strerror(err));
    else
        answer_env(d, call, daemon_env_by_name(d, name));
}

static void do_env_remove(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    char name[128], why[300] = "";
    uint64_t force = 0;
    int err;
    if (!rpc_param_text(call, *params, "name", true, name, sizeof name) || !rpc_param_uint(call, *params, "force", 1, &force))
        return;
    err = daemon_env_remove(arg, name, why, sizeof why);
    if (err == VI_ESTATE) /* it has guests: those that violin made can be removed */
        daemon_envmake_remove(arg, call, name, force == 1);
    else if (err)
        rpc_error(call, err, "%s", why[0] ? why : vi_strerror(err));
    else
        answer_nothing(call);
}

/* ---- events ---- */

static void do_events(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    uint64_t after = 0, limit = 1000;
    const struct event *ev;
    struct vi_writer *w;
    uint32_t n = 0;
    if (!rpc_param_uint(call, *params, "after", UINT64_MAX, &after) ||
        !rpc_param_uint(call, *params, "limit", 10000, &limit))
        return;
    if (events_last(d->events) > limit && after < events_last(d->events) - limit)
        after = events_last(d->events) - limit;
    for (ev = events_after(d->events, after); ev; ev = events_after(d->events, ev->seq))
        n++;
    w = rpc_begin(call, 64 + (size_t)n * EVENT_BYTES_MAX);
    if (!w)
        return;
    vi_write_array(w, n);
    for (ev = events_after(d->events, after); ev; ev = events_after(d->events, ev->seq))
        event_write(w, ev);
    rpc_end(call);
}

static void do_follow(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    (void)arg;
    (void)params;
    rpc_follow(call);
    answer_nothing(call);
}

/* The newest `limit` of the trace ring. */
static void do_trace(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    struct trace_entry e;
    uint64_t limit = 200, all = 0, n = 0, seq = 0;
    struct vi_writer *w;
    (void)arg;
    if (!rpc_param_uint(call, *params, "limit", TRACE_KEPT, &limit))
        return;
    while (trace_after(seq, &e)) {
        seq = e.seq;
        all++;
    }
    n = all < limit ? all : limit;
    w = rpc_begin(call, 64 + (size_t)n * 256);
    if (!w)
        return;
    vi_write_array(w, (uint32_t)n);
    /* nothing logs meanwhile in this thread; what others add comes after */
    for (seq -= n; n && trace_after(seq, &e); n--, seq = e.seq) {
        vi_write_map(w, 4);
        put_number(w, "at", (double)e.wall / 1e6);
        put_text(w, "level", levels[e.level]);
        put_text(w, "area", e.area);
        put_text(w, "text", e.text);
    }
    rpc_end(call);
}

/* ---- mode, invitations ---- */

static void do_mode_get(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct vi_writer *w = rpc_begin(call, 64);
    (void)params;
    if (!w)
        return;
    vi_write_map(w, 1);
    put_text(w, "mode", d->cfg.mode);
    rpc_end(call);
}

static void do_mode_set(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char mode[16];
    if (!rpc_param_text(call, *params, "mode", true, mode, sizeof mode))
        return;
    if (strcmp(mode, "auto") != 0 && strcmp(mode, "observe") != 0) {
        rpc_error(call, VI_EINVAL, "mode `%s`: observe or auto", mode);
        return;
    }
    if (strcmp(mode, d->cfg.mode) != 0) {
        snprintf(d->cfg.mode, sizeof d->cfg.mode, "%s", mode);
        daemon_policy_mode(d);
        daemon_history(d, daemon_event(d, "mode", d->me.cert.host, "mode is now %s (until the peer is restarted)", mode));
    }
    do_mode_get(arg, call, params);
}

static void do_invite(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    uint64_t uses = 1, ttl = 3600;
    char token[TOKEN_TEXT], why[300] = "";
    vi_time expires;
    struct vi_writer *w;
    int err;
    if (!rpc_param_uint(call, *params, "uses", INVITE_USES_MAX, &uses) ||
        !rpc_param_uint(call, *params, "ttl_s", 366 * 86400, &ttl))
        return;
    if (!d->own_addr.family) {
        rpc_error(call, VI_ESTATE, "this host's address isn't known; set `advertise` in the configuration");
        return;
    }
    err = invites_make(d->invites, &d->rng, vi_clock_wall(), (unsigned)uses, (vi_time)ttl * VI_SEC,
                       d->cfg.advertise[0] ? d->cfg.advertise : d->address, token, &expires, why,
                       sizeof why);
    if (err) {
        rpc_error(call, err, "%s", why[0] ? why : vi_strerror(err));
        return;
    }
    w = rpc_begin(call, 2048);
    if (!w)
        return;
    vi_write_map(w, 2);
    put_text(w, "token", token);
    put_number(w, "expires_at", (double)expires / 1e6);
    rpc_end(call);
}

const struct rpc_entry daemon_methods[] = {
    {"status", do_status, false},
    {"members", daemon_do_members, false},
    {"members.why", daemon_do_members_why, false},
    {"reachability", daemon_do_reachability, false},
    {"guests", do_guests, false},
    {"env.list", do_env_list, false},
    {"env.show", do_env_show, false},
    {"env.create", do_env_create, true},
    {"env.remove", do_env_remove, true},
    {"env.make", daemon_do_env_make, true},
    {"env.start", daemon_do_env_start, true},
    {"env.stop", daemon_do_env_stop, true},
    {"env.shrink", daemon_do_env_shrink, true},
    {"env.jobs", daemon_do_env_jobs, false},
    {"env.job", daemon_do_env_job, false},
    {"env.look", daemon_do_env_look, true},
    {"env.move", daemon_do_env_move, true},
    {"env.moves", daemon_do_env_moves, false},
    {"env.move.show", daemon_do_env_move_show, false},
    {"env.move.cancel", daemon_do_env_move_cancel, true},
    {"env.limit", do_env_limit, true},
    {"env.rule", daemon_do_env_rule, true},
    {"env.rule.remove", daemon_do_env_rule_remove, true},
    {"env.rules", daemon_do_env_rules, false},
    {"env.priority", daemon_do_env_priority, true},
    {"env.attach", daemon_do_env_attach, true},
    {"env.detach", daemon_do_env_detach, true},
    {"events", do_events, false},
    {"events.follow", do_follow, false},
    {"trace", do_trace, true},
    {"explain", daemon_do_explain, false},
    {"history", daemon_do_history, false},
    {"plan", daemon_do_plan, false},
    {"todo", daemon_do_todo, false},
    {"migrate", daemon_do_migrate, true},
    {"handover.list", daemon_do_handover_list, false},
    {"handover.show", daemon_do_handover_show, false},
    {"handover.resolve", daemon_do_handover_resolve, true},
    {"mode.get", do_mode_get, false},
    {"mode.set", do_mode_set, true},
    {"image.list", daemon_do_image_list, false},
    {"image.show", daemon_do_image_show, false},
    {"image.fetch", daemon_do_image_fetch, true},
    {"image.cancel", daemon_do_image_cancel, true},
    {"image.remove", daemon_do_image_remove, true},
    {"image.begin", daemon_do_image_begin, true},
    {"image.add", daemon_do_image_add, true},
    {"image.adding", daemon_do_image_adding, false},
    {"disk.list", daemon_do_disk_list, false},
    {"disk.show", daemon_do_disk_show, false},
    {"disk.create", daemon_do_disk_create, true},
    {"disk.making", daemon_do_disk_making, false},
    {"disk.adopt", daemon_do_disk_adopt, true},
    {"disk.attach", daemon_do_disk_attach, true},
    {"disk.detach", daemon_do_disk_detach, true},
    {"disk.remove", daemon_do_disk_remove, true},
    {"drain", daemon_do_drain, true},
    {"drain.show", daemon_do_drain_show, false},
    {"undrain", daemon_do_undrain, true},
    {"pause", daemon_do_pause, true},
    {"resume", daemon_do_resume, true},
    {"invite", do_invite, true},
    {"cert", daemon_do_cert, false},
    {"cert.renew", daemon_do_cert_renew, true},
    {"revoke", daemon_do_revoke, true},
    {"domains", daemon_do_domains, false},
    {"federate", daemon_do_federate, true},
    {"unfederate", daemon_do_unfederate, true},
    {"federation.card", daemon_do_federation_card, false},
    {"env.allow", daemon_do_env_allow, true},
    {"revocations", daemon_do_revocations, false},
    {"delegate", daemon_do_delegate, true},
    {"authority.rollover", daemon_do_rollover, true},
    {"authority.retire", daemon_do_retire, true},
    {NULL, NULL, false}};
