/* Rules and priorities of environments as people see and change them. A guest is named as on its host, or by its UUID
 * (or the beginning of one that is known here); one that is elsewhere is looked for by name at the environment's hosts. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/rpc_write.h"

#define NAME_MAX_LEN  64 /* of a guest, with NUL */
#define ASKED_MOST    32 /* hosts asked for the names that aren't known here */
#define UUID_LEAST    4

/* ---- shown ---- */

static void write_guest(struct daemon *d, struct vi_writer *w, const struct env *e, const uint8_t tag[POLICY_RULE_TAG])
{
    struct switch_place p;
    unsigned pos = 0;
    uint8_t t[POLICY_RULE_TAG];
    char text[VI_UUID_TEXT];
    const char *name = daemon_guest_name(d, tag);
    if (name) {
        vi_write_str(w, name);
        return;
    }
    while (switch_place_next(d->vswitch, &e->def.id, &pos, &p)) {
        policy_rule_tag(&p.guest, t);
        if (!p.learned && !memcmp(t, tag, sizeof t)) {
            vi_write_str(w, vi_uuid_format(&p.guest, text));
            return;
        }
    }
    snprintf(text, sizeof text, "#%02x%02x%02x%02x", tag[0], tag[1], tag[2], tag[3]);
    vi_write_str(w, text); /* it runs nowhere that this host knows of */
}

void daemon_rules_write(struct daemon *d, struct vi_writer *w, const struct env *e)
{
    put_uint(w, "priority", e->priority);
    vi_write_str(w, "rules");
    vi_write_array(w, e->n_rules);
    for (unsigned i = 0; i < e->n_rules; i++) {
        const struct policy_rule *r = &e->rule[i];
        bool host = r->kind == POLICY_RULE_PIN || r->kind == POLICY_RULE_NEVER;
        vi_write_map(w, 4U + host);
        put_uint(w, "number", r->number);
        put_text(w, "kind", policy_rule_kind_text(r->kind));
        vi_write_str(w, "guests");
        vi_write_array(w, r->n);
        for (unsigned k = 0; k < r->n; k++)
            write_guest(d, w, e, r->guest[k]);
        if (host)
            put_text(w, "host", daemon_member_name(d, &r->host));
        put_bool(w, "broken_here", daemon_rules_broken(d, e, r));
    }
}

static void tell(struct daemon *d, struct rpc_call *call, const struct env *e)
{
    struct vi_writer *w = rpc_begin(call, RPC_RESULT_MAX);
    if (!w)
        return;
    vi_write_map(w, 1 + DAEMON_RULES_FIELDS);
    put_text(w, "name", e->def.name);
    daemon_rules_write(d, w, e);
    rpc_end(call);
}

static void answer(struct daemon *d, struct rpc_call *call, const char *name)
{
    const struct env *e = daemon_env_by_name(d, name);
    if (e)
        daemon_names_ask(d, call, e, tell);
    else
        rpc_error(call, VI_ENOTFOUND, "there is no environment `%s`; `violin env list` shows them", name);
}

void daemon_do_env_rules(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    char name[128];
    if (rpc_param_text(call, *params, "name", true, name, sizeof name))
        answer(arg, call, name);
}

/* ---- a new rule: its guests are looked up first ---- */

struct making {
    struct daemon *d;
    struct rpc_call *call;
    char env[128];
    struct policy_rule rule;
    char name[POLICY_RULE_GUESTS][NAME_MAX_LEN];
    bool known[POLICY_RULE_GUESTS];
    unsigned asked;
};

struct asking {
    struct making *m;
    unsigned guest;
};

static void made(struct making *m)
{
    char why[300] = "";
    int err = 0;
    for (unsigned i = 0; i < m->rule.n && !err; i++)
        if (!m->known[i]) {
            err = VI_ENOTFOUND;
            snprintf(why, sizeof why, "no guest `%s` of %s is known; give its UUID (violin env show)", m->name[i], m->env);
        }
    for (unsigned i = 1; i < m->rule.n && !err; i++)
        for (unsigned k = 0; k < i && !err; k++)
            if (!memcmp(m->rule.guest[i], m->rule.guest[k], POLICY_RULE_TAG)) {
                err = VI_EINVAL;
                snprintf(why, sizeof why, "%s and %s are one guest", m->name[k], m->name[i]);
            }
    if (!err)
        err = daemon_rules_add(m->d, m->env, &m->rule, why, sizeof why);
    if (err)
        rpc_error(m->call, err, "%s", why[0] ? why : vi_strerror(err));
    else
        answer(m->d, m->call, m->env);
    free(m);
}

static void on_named(void *arg, int err, const uint8_t *body, size_t len)
{
    struct asking *a = arg;
    struct making *m = a->m;
    struct vi_id guest;
    if (!err && len == VI_ID_SIZE) {
        memcpy(guest.b, body, VI_ID_SIZE);
        policy_rule_tag(&guest, m->rule.guest[a->guest]);
        m->known[a->guest] = true;
    }
    free(a);
    if (--m->asked == 0)
        made(m);
}

static void ask_for(struct making *m, const struct env *e, unsigned guest)
{
    uint8_t body[VI_ID_SIZE + NAME_MAX_LEN];
    size_t n = strlen(m->name[guest]);
    memcpy(body, e->def.id.b, VI_ID_SIZE);
    memcpy(body + VI_ID_SIZE, m->name[guest], n);
    for (unsigned i = 0; i < e->n_participants && m->asked < ASKED_MOST; i++) {
        struct asking *a = malloc(sizeof *a);
        if (!a)
            return;
        *a = (struct asking){.m = m, .guest = guest};
        if (calls_ask(m->d->calls, daemon_now(), &e->participants[i], CALL_GUEST, body, VI_ID_SIZE + n, on_named, a)) {
            free(a);
            return;
        }
        m->asked++;
    }
}

int daemon_rules_named(struct daemon *d, const uint8_t *body, size_t len, uint8_t *out)
{
    char name[NAME_MAX_LEN];
    struct vi_id env;
    if (len <= VI_ID_SIZE || len - VI_ID_SIZE >= sizeof name)
        return VI_EPROTO;
    memcpy(env.b, body, VI_ID_SIZE);
    memcpy(name, body + VI_ID_SIZE, len - VI_ID_SIZE);
    name[len - VI_ID_SIZE] = 0;
    for (unsigned i = 0; i < d->n_guests; i++) {
        const struct env *e = daemon_guest_env(d, &d->guests[i]);
        if (e && vi_id_equal(&e->def.id, &env) && !d->guests[i].incoming && !strcmp(d->guests[i].name, name)) {
            memcpy(out, d->guests[i].uuid.b, VI_ID_SIZE);
            return VI_ID_SIZE;
        }
    }
    return VI_ENOTFOUND;
}

/* By name or UUID here, or by the beginning of the UUID of one that another host states. */
static bool known_here(struct daemon *d, const struct env *e, const char *name, struct vi_id *out)
{
    const struct hv_guest *g = daemon_guest_find(d, name);
    struct switch_place p;
    unsigned pos = 0;
    char text[VI_UUID_TEXT];
    if (g && daemon_guest_env(d, g) == e) {
        *out = g->uuid;
        return true;
    }
    if (vi_id_parse(out, name) == 0)
        return true;
    while (strlen(name) >= UUID_LEAST && switch_place_next(d->vswitch, &e->def.id, &pos, &p))
        if (!p.learned && !strncmp(vi_uuid_format(&p.guest, text), name, strlen(name))) {
            *out = p.guest;
            return true;
        }
    return false;
}

static bool read_guests(struct vi_reader params, struct making *m)
{
    uint32_t n = vi_read_map(&params, 16);
    for (uint32_t i = 0; i < n && !params.err; i++) {
        if (!vi_read_key(&params, "guests")) {
            vi_read_skip(&params);
            vi_read_skip(&params);
            continue;
        }
        m->rule.n = vi_read_array(&params, POLICY_RULE_GUESTS);
        for (unsigned k = 0; k < m->rule.n && !params.err; k++)
            vi_read_cstr(&params, m->name[k], NAME_MAX_LEN);
    }
    return !params.err;
}

/* What the rule says, from the parameters; the guests as names. 0 or a vi_err with why ("": the call is answered). */
static int read_rule(struct making *m, const char *kind, const char *host, struct vi_reader params, char *why, size_t cap)
{
    bool one;
    for (unsigned k = POLICY_RULE_SPREAD; k <= POLICY_RULE_NEVER; k++)
        if (!strcmp(kind, policy_rule_kind_text((enum policy_rule_kind)k)))
            m->rule.kind = (enum policy_rule_kind)k;
    if (!m->rule.kind) {
        snprintf(why, cap, "kind `%s`: spread, together, pin or never", kind);
        return VI_EINVAL;
    }
    one = m->rule.kind == POLICY_RULE_PIN || m->rule.kind == POLICY_RULE_NEVER;
    if (!read_guests(params, m) || (one ? m->rule.n != 1 : m->rule.n < 2)) {
        snprintf(why, cap, one ? "%s is about one guest" : "%s is about 2 to 16 guests", kind);
        return VI_EINVAL;
    }
    if (one && !host[0]) {
        snprintf(why, cap, "%s needs a host", kind);
        return VI_EINVAL;
    }
    return one ? daemon_member_by_name(m->d, m->call, host, &m->rule.host) : 0;
}

void daemon_do_env_rule(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char name[128], kind[16], host[128], why[300] = "";
    struct making *m;
    const struct env *e;
    int err;
    if (!rpc_param_text(call, *params, "name", true, name, sizeof name) ||
        !rpc_param_text(call, *params, "kind", true, kind, sizeof kind) ||
        !rpc_param_text(call, *params, "host", false, host, sizeof host))
        return;
    e = daemon_env_by_name(d, name);
    m = calloc(1, sizeof *m);
    if (!e || !m) {
        rpc_error(call, e ? VI_ENOMEM : VI_ENOTFOUND, "there is no environment `%s`; `violin env list` shows them", name);
        free(m);
        return;
    }
    m->d = d;
    m->call = call;
    snprintf(m->env, sizeof m->env, "%s", name);
    err = read_rule(m, kind, host, *params, why, sizeof why);
    if (err) {
        if (why[0])
            rpc_error(call, err, "%s", why);
        free(m);
        return;
    }
    for (unsigned i = 0; i < m->rule.n; i++) {
        struct vi_id guest;
        m->known[i] = known_here(d, e, m->name[i], &guest);
        if (m->known[i])
            policy_rule_tag(&guest, m->rule.guest[i]);
        else
            ask_for(m, e, i);
    }
    if (m->asked == 0)
        made(m);
}

/* ---- the other changes ---- */

void daemon_do_env_rule_remove(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    char name[128], why[300] = "";
    uint64_t number = 0;
    int err;
    if (!rpc_param_text(call, *params, "name", true, name, sizeof name) ||
        !rpc_param_uint(call, *params, "number", ENV_RULES, &number))
        return;
    err = daemon_rules_remove(arg, name, (unsigned)number, why, sizeof why);
    if (err)
        rpc_error(call, err, "%s", why[0] ? why : vi_strerror(err));
    else
        answer(arg, call, name);
}

void daemon_do_env_priority(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    char name[128], why[300] = "";
    uint64_t priority = ENV_PRIORITY;
    int err;
    if (!rpc_param_text(call, *params, "name", true, name, sizeof name) ||
        !rpc_param_uint(call, *params, "priority", ENV_PRIORITY_MAX, &priority))
        return;
    err = daemon_rules_priority(arg, name, (unsigned)priority, why, sizeof why);
    if (err)
        rpc_error(call, err, "%s", why[0] ? why : vi_strerror(err));
    else
        answer(arg, call, name);
}
