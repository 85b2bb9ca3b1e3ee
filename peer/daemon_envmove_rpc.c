/* Environment moves as people order and see them; an order is passed on to who represents the domain. */
#include "peer/daemon_envmove.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/daemon_federation.h"
#include "peer/rpc_write.h"

static const char *domain_name(struct daemon *d, const struct vi_id *id)
{
    struct vi_id key;
    fed_domain_key(&key, d->me.cert.domain);
    if (vi_id_equal(&key, id))
        return d->me.cert.domain;
    for (unsigned i = 0; i < FED_DOMAINS; i++) {
        if (!d->fed->domain[i].used)
            continue;
        fed_domain_key(&key, d->fed->domain[i].trust.with.domain);
        if (vi_id_equal(&key, id))
            return d->fed->domain[i].trust.with.domain;
    }
    return "?";
}

/* ---- one move as a map ---- */

static unsigned count(const struct envmove_view *v, enum envmove_guest_state st)
{
    unsigned n = 0;
    for (unsigned i = 0; i < v->n; i++)
        n += v->guest[i].state == st;
    return n;
}

static void write_guests(struct daemon *d, struct vi_writer *w, const struct envmove_view *v)
{
    char uuid[VI_UUID_TEXT];
    vi_write_str(w, "guests");
    vi_write_array(w, v->n);
    for (unsigned i = 0; i < v->n; i++) {
        const struct hv_guest *g = daemon_guest_find(d, vi_uuid_format(&v->guest[i].uuid, uuid));
        bool to = !vi_id_is_zero(&v->guest[i].to);
        vi_write_map(w, 4U + (g != NULL) + to);
        if (g)
            put_text(w, "name", g->name);
        put_text(w, "uuid", uuid);
        put_text(w, "from", daemon_member_name(d, &v->guest[i].from));
        if (to)
            put_text(w, "to", daemon_member_name(d, &v->guest[i].to));
        put_number(w, "memory_mib", (double)v->guest[i].kb / 1024);
        put_text(w, "state", v->part == ENVMOVE_LEASE ? "leased" : envmove_guest_text(v->guest[i].state));
    }
}

static void write_move(struct daemon *d, struct vi_writer *w, const struct envmove_view *v)
{
    static const char *const parts[] = {[ENVMOVE_LEAD] = "lead", [ENVMOVE_ROOM] = "room", [ENVMOVE_GRANT] = "grant",
                                        [ENVMOVE_LEASE] = "lease"};
    const struct env *e = daemon_env_by_id(d, &v->env);
    char id[VI_ID_TEXT];
    bool domain = v->part != ENVMOVE_LEASE;
    vi_write_map(w, 9U + domain + (v->why[0] != 0) + (e != NULL));
    put_text(w, "id", vi_id_format(&v->id, id));
    if (e)
        put_text(w, "environment", e->def.name);
    put_text(w, "part", parts[v->part]);
    /* a grant is kept for a while when it is over, as it was */
    put_text(w, "phase", v->over && v->part == ENVMOVE_GRANT ? "over" : envmove_phase_text(v->phase));
    put_bool(w, "over", v->over);
    if (domain)
        put_text(w, "domain", domain_name(d, &v->domain));
    put_number(w, "since_s", (double)(daemon_now() - v->since) / 1e6);
    put_uint(w, "moved", count(v, ENVMOVE_MOVED));
    put_uint(w, "left", count(v, ENVMOVE_LEFT));
    put_uint(w, "of", v->n);
    if (v->why[0])
        put_text(w, "why", v->why);
    write_guests(d, w, v);
}

static unsigned views(struct daemon *d, const struct vi_id *env)
{
    static struct envmove_view v;
    unsigned pos = 0, n = 0;
    while (envmove_next(d->envmove->core, &pos, &v))
        n += !env || vi_id_equal(&v.env, env);
    return n;
}

static void write_moves(struct daemon *d, struct vi_writer *w, const struct vi_id *env)
{
    static struct envmove_view v;
    unsigned pos = 0;
    vi_write_array(w, views(d, env));
    while (envmove_next(d->envmove->core, &pos, &v))
        if (!env || vi_id_equal(&v.env, env))
            write_move(d, w, &v);
}

void daemon_do_env_moves(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct vi_writer *w = rpc_begin(call, 262144);
    (void)params;
    if (!w)
        return;
    write_moves(d, w, NULL);
    rpc_end(call);
}

void daemon_envmove_counts(struct daemon *d, struct vi_writer *w)
{
    static struct envmove_view v;
    unsigned pos = 0, n[ENVMOVE_LEASE + 1] = {0}, split = 0;
    while (envmove_next(d->envmove->core, &pos, &v)) {
        n[v.part] += !v.over;
        split += v.phase == EL_SPLIT;
    }
    vi_write_str(w, "env_moves");
    vi_write_map(w, 5);
    put_uint(w, "leading", n[ENVMOVE_LEAD]);
    put_uint(w, "asked", n[ENVMOVE_ROOM]);
    put_uint(w, "granted", n[ENVMOVE_GRANT]);
    put_uint(w, "leases", n[ENVMOVE_LEASE]);
    put_uint(w, "split", split);
}

/* ---- explain ENV ---- */

void daemon_envmove_explain(struct daemon *d, struct vi_writer *w, const struct env *e)
{
    vi_time offset = vi_clock_wall() - daemon_now();
    unsigned n = 0;
    for (unsigned i = 0; i < ENVMOVE_NOTES; i++)
        n += d->envmove->note[i].at && vi_id_equal(&d->envmove->note[i].env, &e->def.id);
    vi_write_str(w, "allowed");
    vi_write_array(w, e->def.n_allowed);
    for (unsigned i = 0; i < e->def.n_allowed; i++)
        vi_write_str(w, e->def.allowed[i]);
    vi_write_str(w, "hosts");
    vi_write_array(w, e->n_participants + (e->local_guests ? 1 : 0));
    if (e->local_guests)
        vi_write_str(w, d->me.cert.host);
    for (unsigned i = 0; i < e->n_participants; i++)
        vi_write_str(w, daemon_member_name(d, &e->participants[i]));
    vi_write_str(w, "decisions");
    vi_write_array(w, n);
    for (unsigned i = 0; i < ENVMOVE_NOTES; i++) { /* the newest first */
        const struct envmove_note *x = &d->envmove->note[(d->envmove->next_note + ENVMOVE_NOTES - 1 - i) % ENVMOVE_NOTES];
        if (!x->at || !vi_id_equal(&x->env, &e->def.id))
            continue;
        vi_write_map(w, 2);
        put_number(w, "at", (double)(x->at + offset) / 1e6);
        put_text(w, "text", x->text);
    }
    vi_write_str(w, "moves");
    write_moves(d, w, &e->def.id);
}

/* ---- orders: [what, move, env, domain] → nothing, or [phase, over, moved, left, of, why] ---- */

static bool find_lead(struct daemon *d, const struct vi_id *id, struct envmove_view *v)
{
    unsigned pos = 0;
    while (envmove_next(d->envmove->core, &pos, v))
        if (v->part == ENVMOVE_LEAD && vi_id_equal(&v->id, id))
            return true;
    return false;
}

static int show(struct daemon *d, const struct vi_id *id, uint8_t *out)
{
    static struct envmove_view v;
    struct vi_writer w;
    if (!find_lead(d, id, &v))
        return VI_ENOTFOUND;
    vi_writer_init(&w, out, CALL_BODY_MAX);
    vi_write_array(&w, 6);
    vi_write_str(&w, envmove_phase_text(v.phase));
    vi_write_bool(&w, v.over);
    vi_write_uint(&w, count(&v, ENVMOVE_MOVED));
    vi_write_uint(&w, count(&v, ENVMOVE_LEFT));
    vi_write_uint(&w, v.n);
    vi_write_str(&w, v.why);
    return w.err ? w.err : (int)w.len;
}

/* Another member's, or our own. */
int daemon_envmove_asked(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out)
{
    struct envmove_event ev = {.kind = ENVMOVE_EV_START};
    struct vi_reader r;
    uint64_t what;
    (void)from;
    vi_reader_init(&r, body, len);
    if (vi_read_array(&r, 4) != 4)
        return VI_EPROTO;
    what = vi_read_uint(&r, ENVMOVE_ASK_CANCEL);
    vi_read_id(&r, &ev.id);
    vi_read_id(&r, &ev.env);
    vi_read_id(&r, &ev.domain);
    if (vi_read_end(&r) || what == 0)
        return VI_EPROTO;
    if (what == ENVMOVE_ASK_SHOW)
        return show(d, &ev.id, out);
    if (what == ENVMOVE_ASK_CANCEL)
        ev.kind = ENVMOVE_EV_CANCEL;
    else {
        static struct envmove_view v;
        if (find_lead(d, &ev.id, &v))
            return 0; /* asked again */
    }
    return d->recovered ? envmoves_step(d->envmove->core, daemon_now(), &ev) : VI_ESTATE;
}

struct order {
    struct daemon *d;
    struct rpc_call *call;
    struct vi_id move, env;
    unsigned what;
    void (*done)(struct daemon *d, const struct vi_id *env, int err); /* no call: not of people */
};

static const char *too_early_or_late(unsigned what)
{
    return what == ENVMOVE_ASK_CANCEL ? "its guests are on their way already: that can't be taken back now"
                                      : "who represents this domain isn't ready for it yet: it has just begun to, or waits for the other side; "
                                        "`violin domains` shows which, then ask again";
}

static void answer(struct order *o, int err, const uint8_t *body, size_t len)
{
    static const char *const fields[] = {"phase", "over", "moved", "left", "of", "why"};
    struct vi_reader r;
    struct vi_writer *w;
    char id[VI_ID_TEXT];
    if (!o->call) {
        if (o->done)
            o->done(o->d, &o->env, err);
        free(o);
        return;
    }
    if (err) {
        rpc_error(o->call, err, "%s", err == VI_ESTATE   ? too_early_or_late(o->what)
                                      : err == VI_EEXIST ? "it is moving already"
                                      : err == VI_EFULL  ? "too many environments are moving"
                                      : err == VI_ENOTFOUND
                                          ? (o->what == ENVMOVE_ASK_START ? "that environment, or who represents that domain, isn't known"
                                                                          : "no such move, or it is long over")
                                          : vi_strerror(err));
        free(o);
        return;
    }
    w = rpc_begin(o->call, 1024);
    if (w && o->what == ENVMOVE_ASK_SHOW) {
        vi_reader_init(&r, body, len);
        (void)vi_read_array(&r, 6);
        vi_write_map(w, 7);
        put_text(w, "id", vi_id_format(&o->move, id));
        for (unsigned i = 0; i < 6; i++) {
            char text[ENVMOVE_WHY];
            vi_write_str(w, fields[i]);
            if (i == 1)
                vi_write_bool(w, vi_read_bool(&r));
            else if (i > 1 && i < 5)
                vi_write_uint(w, vi_read_uint(&r, ENVMOVE_GUESTS));
            else {
                vi_read_cstr(&r, text, sizeof text);
                vi_write_str(w, r.err ? "?" : text);
            }
        }
        rpc_end(o->call);
    } else if (w) {
        vi_write_map(w, 1);
        put_text(w, "id", vi_id_format(&o->move, id));
        rpc_end(o->call);
    }
    free(o);
}

static void on_asked(void *arg, int err, const uint8_t *body, size_t len)
{
    answer(arg, err, body, len);
}

/* o is taken over. */
static void pass_on(struct daemon *d, struct order *o, const struct vi_id *domain)
{
    const struct vi_id *rep = rep_current(&d->fed->rep, daemon_now());
    uint8_t b[128], out[CALL_BODY_MAX];
    struct vi_writer w;
    int n;
    if (!rep) {
        if (o->call)
            rpc_error(o->call, VI_ESTATE, "nobody represents this domain now; try again in a moment");
        else if (o->done)
            o->done(d, &o->env, VI_ESTATE);
        free(o);
        return;
    }
    vi_writer_init(&w, b, sizeof b);
    vi_write_array(&w, 4);
    vi_write_uint(&w, o->what);
    vi_write_id(&w, &o->move);
    vi_write_id(&w, &o->env);
    vi_write_id(&w, domain);
    if (vi_id_equal(rep, &d->me.id)) {
        n = daemon_envmove_asked(d, rep, b, w.len, out);
        answer(o, n < 0 ? n : 0, out, n > 0 ? (size_t)n : 0);
    } else if (calls_ask(d->calls, daemon_now(), rep, CALL_ENVMOVE, b, w.len, on_asked, o))
        answer(o, VI_EFULL, NULL, 0);
}

static void order(struct daemon *d, struct rpc_call *call, unsigned what, const struct vi_id *move, const struct vi_id *env,
                  const struct vi_id *domain)
{
    struct order *o = calloc(1, sizeof *o);
    if (!o) {
        rpc_error(call, VI_ENOMEM, "out of memory");
        return;
    }
    *o = (struct order){.d = d, .call = call, .move = *move, .env = *env, .what = what};
    pass_on(d, o, domain);
}

void daemon_envmove_order(struct daemon *d, const struct vi_id *env, const char *domain,
                          void (*done)(struct daemon *d, const struct vi_id *env, int err))
{
    struct order *o = calloc(1, sizeof *o);
    struct vi_id to;
    if (!o)
        return;
    *o = (struct order){.d = d, .env = *env, .what = ENVMOVE_ASK_START, .done = done};
    vi_rng_id(&d->rng, &o->move);
    fed_domain_key(&to, domain);
    pass_on(d, o, &to);
}

void daemon_do_env_move(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char name[128], domain[CERT_NAME_MAX + 1];
    struct vi_id move, to;
    const struct env *e;
    if (!rpc_param_text(call, *params, "name", true, name, sizeof name) ||
        !rpc_param_text(call, *params, "domain", true, domain, sizeof domain))
        return;
    e = daemon_env_by_name(d, name);
    if (!e)
        rpc_error(call, VI_ENOTFOUND, "there is no environment `%s`; `violin env list` shows them", name);
    else if (!strcmp(domain, d->me.cert.domain))
        rpc_error(call, VI_EINVAL, "%s is this domain; ask for the move where the guests are", domain);
    else if (!fed_find(d, domain))
        rpc_error(call, VI_ENOTFOUND, "not federated with `%s`; `violin domains` shows with whom", domain);
    else if (!env_allows(&e->def, domain))
        rpc_error(call, VI_EAUTH, "%s may not be in %s: violin env allow %s %s", name, domain, name, domain);
    else {
        vi_rng_id(&d->rng, &move);
        fed_domain_key(&to, domain);
        order(d, call, ENVMOVE_ASK_START, &move, &e->def.id, &to);
    }
}

/* A whole id, or the beginning of one that this host has to do with. */
static bool move_param(struct daemon *d, struct rpc_call *call, struct vi_reader params, struct vi_id *id)
{
    static struct envmove_view v;
    char text[64], have[VI_ID_TEXT];
    unsigned pos = 0, found = 0;
    if (!rpc_param_text(call, params, "id", true, text, sizeof text))
        return false;
    if (vi_id_parse(id, text) == 0)
        return true;
    while (strlen(text) >= 4 && envmove_next(d->envmove->core, &pos, &v))
        if (!strncmp(vi_id_format(&v.id, have), text, strlen(text)) && !(found && vi_id_equal(id, &v.id))) {
            *id = v.id;
            found++;
        }
    if (found == 1)
        return true;
    rpc_error(call, VI_EINVAL, "`%s` is no move's id, or the beginning of none of this host's", text);
    return false;
}

void daemon_do_env_move_show(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct vi_id id, none = {{0}};
    if (move_param(arg, call, *params, &id))
        order(arg, call, ENVMOVE_ASK_SHOW, &id, &none, &none);
}

void daemon_do_env_move_cancel(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct vi_id id, none = {{0}};
    if (move_param(arg, call, *params, &id))
        order(arg, call, ENVMOVE_ASK_CANCEL, &id, &none, &none);
}
