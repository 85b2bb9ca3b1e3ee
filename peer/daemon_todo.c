/* What the policy would do, as commands to copy: in mode observe, and while it is paused, every decision is only said. */
#include "peer/daemon_envmove.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/rpc_write.h"

#define STILL_MEANT  (150 * VI_SEC)  /* what still holds is said again every minute */
#define ENV_MEANT    (21 * VI_MIN)   /* … of environments every ten, at most */

static double number(const struct policy_decision *dec, const char *name, double otherwise)
{
    for (unsigned i = 0; i < dec->n; i++)
        if (!strcmp(dec->numbers[i].name, name))
            return dec->numbers[i].value;
    return otherwise;
}

/* Names are letters, digits and a few signs on Xen; what a shell would read otherwise gets no command. */
static bool plain(const char *name)
{
    return name[0] && name[0] != '-' &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+-") == strlen(name);
}

const char *daemon_decision_command(struct daemon *d, const struct policy_decision *dec, char *out, size_t cap)
{
    const char *to;
    out[0] = 0;
    if (!plain(dec->name))
        return out;
    switch (dec->kind) {
    case POLICY_GROW: case POLICY_SHRINK:
        snprintf(out, cap, "xl mem-set %s %.0fm", dec->name, number(dec, "after_mib", 0));
        break;
    case POLICY_WEIGHT:
        snprintf(out, cap, "xl sched-credit2 -d %s -w %.0f", dec->name, number(dec, "weight", 256));
        break;
    case POLICY_MOVE:
        to = vi_id_is_zero(&dec->peer) ? "" : daemon_member_name(d, &dec->peer);
        snprintf(out, cap, "violin migrate %s%s%s", dec->name, plain(to) ? " " : "", plain(to) ? to : "");
        break;
    default:
        break;
    }
    return out;
}

/* ---- the list ---- */

/* What a decision is the last word on: a balloon, a weight, a place; 0: nothing that could be done. */
static unsigned about(enum policy_decision_kind kind)
{
    switch (kind) {
    case POLICY_GROW: case POLICY_SHRINK: return 1;
    case POLICY_WEIGHT: return 2;
    case POLICY_MOVE: case POLICY_REFUSE: case POLICY_FAILED: return 4;
    default: return 0;
    }
}

/* The newest word on it, recent, only said, and something to be done. */
static bool meant(const struct policy_decision *dec, unsigned *said)
{
    unsigned what = about(dec->kind);
    bool first = what && !(*said & what);
    *said |= what;
    return first && !dec->done && daemon_now() - dec->at < STILL_MEANT && dec->kind != POLICY_REFUSE && dec->kind != POLICY_FAILED;
}

static void write_guest(struct daemon *d, struct vi_writer *w, const struct policy_decision *dec)
{
    char command[DAEMON_COMMAND];
    bool move = dec->kind == POLICY_MOVE;
    vi_write_map(w, 5U + (move ? 2U : 0));
    put_text(w, "subject", dec->name);
    put_text(w, "kind", policy_decision_text(dec->kind));
    put_text(w, "text", dec->text);
    put_text(w, "command", daemon_decision_command(d, dec, command, sizeof command));
    put_number(w, "at", (double)(dec->at + vi_clock_wall() - daemon_now()) / 1e6);
    if (move) {
        put_number(w, "gain_cpu_s", number(dec, "gain_cpu_s", 0));
        put_number(w, "cost_cpu_s", number(dec, "cost_cpu_s", 0));
    }
}

static unsigned of_guests(struct daemon *d, struct vi_writer *w)
{
    unsigned n = 0;
    for (unsigned i = 0; i < d->n_guests; i++) {
        const struct policy_decision *dec;
        unsigned pos = 0, said = 0;
        while (policy_decision_next(d->policy, &d->guests[i].uuid, &pos, &dec))
            if (meant(dec, &said)) {
                n++;
                if (w)
                    write_guest(d, w, dec);
            }
    }
    return n;
}

/* The newest word about each environment, if it is what would be done. */
static unsigned of_envs(struct daemon *d, struct vi_writer *w)
{
    const struct envmove_daemon *m = d->envmove;
    unsigned n = 0;
    for (unsigned i = 0; i < ENV_MAX; i++) {
        const struct env *e = &d->envs[i];
        const struct envmove_note *last = NULL;
        char command[DAEMON_COMMAND];
        for (unsigned k = 0; e->used && k < ENVMOVE_NOTES; k++)
            if (m->note[k].at && vi_id_equal(&m->note[k].env, &e->def.id) && (!last || m->note[k].at > last->at))
                last = &m->note[k];
        if (!last || !last->would[0] || daemon_now() - last->at > ENV_MEANT)
            continue;
        n++;
        if (!w)
            continue;
        snprintf(command, sizeof command, "violin env move %s %s", e->def.name, last->would);
        vi_write_map(w, 5);
        put_text(w, "subject", e->def.name);
        put_text(w, "kind", "envmove");
        put_text(w, "text", last->text);
        put_text(w, "command", command);
        put_number(w, "at", (double)(last->at + vi_clock_wall() - daemon_now()) / 1e6);
    }
    return n;
}

unsigned daemon_todo_count(struct daemon *d)
{
    return of_guests(d, NULL) + of_envs(d, NULL);
}

void daemon_do_todo(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct vi_writer *w = rpc_begin(call, 65536 + (size_t)HV_GUESTS_MAX * 3 * 700);
    (void)params;
    if (!w)
        return;
    vi_write_map(w, 3);
    put_text(w, "host", d->me.cert.host);
    put_text(w, "mode", daemon_paused(d) ? "paused" : d->cfg.mode);
    vi_write_str(w, "suggestions");
    vi_write_array(w, daemon_todo_count(d));
    (void)of_guests(d, w);
    (void)of_envs(d, w);
    rpc_end(call);
}
