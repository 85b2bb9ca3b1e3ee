/* The daemon explains itself: why a guest has what it has and is where it is. */
#include "peer/daemon_disk.h"
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/rpc_write.h"

#define MIB(kb) ((double)(kb) / 1024.0)

static void write_numbers(struct daemon *d, struct vi_writer *w, const struct hv_guest *g)
{
    struct policy_view v;
    bool known = policy_view(d->policy, daemon_now(), &g->uuid, &v);
    const struct env *e = daemon_guest_env(d, g);
    uint64_t disk_kb = daemon_disk_kb(d, g);
    vi_write_str(w, "numbers");
    vi_write_map(w, 4U + (disk_kb > 0) + (e != NULL) + (known && v.measured ? 4U : 0) + (known && v.fresh_report ? 3U : 0));
    put_number(w, "memory_mib", MIB(g->current_kb));
    put_number(w, "memory_maximum_mib", MIB(g->max_kb));
    if (disk_kb) /* that move with it */
        put_number(w, "disks_mib", MIB(disk_kb));
    put_uint(w, "weight", g->weight);
    put_uint(w, "vcpus", g->vcpus);
    if (e)
        put_uint(w, "shares_of_environment", e->def.shares);
    if (known && v.measured) {
        put_number(w, "cpu_used_pct", v.used_pct);
        put_number(w, "cpu_demand_pct", v.demand_pct);
        put_number(w, "cpu_entitlement_pct", v.entitlement_pct);
        put_number(w, "cpu_utilisation", v.cpu_utilisation);
    }
    if (known && v.fresh_report) {
        put_number(w, "memory_used_mib", MIB(v.used_kb));
        put_number(w, "memory_utilisation", v.memory_utilisation);
        put_number(w, "memory_desired_mib", MIB(v.desired_kb));
    }
}

static void write_decisions(struct daemon *d, struct vi_writer *w, const struct vi_id *guest)
{
    vi_time offset = vi_clock_wall() - daemon_now();
    const struct policy_decision *dec;
    char text[DAEMON_COMMAND];
    unsigned pos = 0, n = 0;
    while (policy_decision_next(d->policy, guest, &pos, &dec))
        n++;
    vi_write_str(w, "decisions");
    vi_write_array(w, n);
    for (pos = 0; policy_decision_next(d->policy, guest, &pos, &dec);) {
        const char *command = dec->done ? "" : daemon_decision_command(d, dec, text, sizeof text);
        vi_write_map(w, 5U + (command[0] != 0));
        if (command[0])
            put_text(w, "command", command);
        put_number(w, "at", (double)(dec->at + offset) / 1e6);
        put_text(w, "kind", policy_decision_text(dec->kind));
        put_text(w, "text", dec->text);
        put_bool(w, "done", dec->done);
        vi_write_str(w, "numbers");
        vi_write_map(w, dec->n);
        for (unsigned i = 0; i < dec->n; i++)
            put_number(w, dec->numbers[i].name, dec->numbers[i].value);
    }
}

static bool stays_behind(const struct hv_disk *k)
{
    return k->kind == HV_DISK_LOCAL && !k->readonly;
}

/* What would let it move: a line for each disk that is its host's alone. */
static void write_advice(struct vi_writer *w, const struct hv_guest *g)
{
    char line[400];
    unsigned n = 0;
    for (unsigned i = 0; i < g->n_disks; i++)
        n += stays_behind(&g->disks[i]);
    vi_write_str(w, "advice");
    vi_write_array(w, n);
    for (unsigned i = 0; i < g->n_disks; i++) {
        if (!stays_behind(&g->disks[i]))
            continue;
        snprintf(line, sizeof line, "its disk %s is this host's alone, so that it can't move. To let it: shut it down; `violin disk adopt "
                 "NAME PATH`, PATH being the device or file that its configuration has there; put the line which that prints in its "
                 "place; start it", g->disks[i].vdev);
        vi_write_str(w, line);
    }
}

static void explain_guest(struct daemon *d, struct rpc_call *call, const struct hv_guest *g)
{
    const struct env *e = daemon_guest_env(d, g);
    struct vi_writer *w = rpc_begin(call, 65536);
    char uuid[VI_UUID_TEXT];
    struct vi_id peer;
    const char *text;
    unsigned pos = 0, n = 0;
    if (!w)
        return;
    vi_write_map(w, 8);
    put_text(w, "guest", g->name);
    put_text(w, "uuid", vi_uuid_format(&g->uuid, uuid));
    put_text(w, "environment", e->def.name);
    put_text(w, "state", hv_state_name(g->state));
    write_numbers(d, w, g);
    write_decisions(d, w, &g->uuid);
    write_advice(w, g);
    while (policy_choice_next(d->policy, &g->uuid, &pos, &peer, &text))
        n++;
    vi_write_str(w, "hosts");
    vi_write_array(w, n);
    for (pos = 0; policy_choice_next(d->policy, &g->uuid, &pos, &peer, &text);) {
        vi_write_map(w, 2);
        put_text(w, "host", daemon_member_name(d, &peer));
        put_text(w, "text", text);
    }
    rpc_end(call);
}

/* Two guests of this host may have one name, too. */
static bool one_guest(struct daemon *d, struct rpc_call *call, const char *name, const struct hv_guest **g)
{
    unsigned n = 0;
    *g = NULL;
    for (unsigned i = 0; i < d->n_guests; i++)
        n += !strcmp(d->guests[i].name, name) && daemon_guest_env(d, &d->guests[i]);
    if (n > 1) {
        rpc_error(call, VI_EEXIST, "%u guests here are called `%s`: give the UUID (violin guests --json)", n, name);
        return false;
    }
    *g = daemon_guest_find(d, name);
    if (*g && !daemon_guest_env(d, *g))
        *g = NULL;
    return true;
}

void daemon_do_explain(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char text[DAEMON_NAME], on[DAEMON_NAME];
    const char *name;
    const struct hv_guest *g = NULL;
    const struct env *e;
    unsigned means;
    if (!rpc_param_text(call, *params, "guest", true, text, sizeof text) || !rpc_param_text(call, *params, "on", false, on, sizeof on))
        return;
    means = daemon_name_means(d, text, &name);
    if (on[0])
        means = means & DAEMON_IS_GUEST ? DAEMON_IS_GUEST : 0; /* nothing else could be there */
    e = daemon_env_by_name(d, name);
    if (means & (means - 1))
        daemon_name_ambiguous(call, name, means);
    else if (means == DAEMON_IS_HOST)
        daemon_explain_host(d, call, name);
    else if (means == DAEMON_IS_ENV && e)
        daemon_explain_env(d, call, e);
    else if (means == DAEMON_IS_ENV)
        rpc_error(call, VI_ENOTFOUND, "there is no environment `%s`; `violin env list` shows them", name);
    else if (means == DAEMON_IS_GUEST && !one_guest(d, call, name, &g))
        return;
    else if (!g)
        daemon_explain_elsewhere(d, call, name);
    else if (on[0])
        daemon_whynot(d, call, g, on);
    else
        explain_guest(d, call, g);
}
