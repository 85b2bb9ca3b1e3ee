/* A LAN of this host's in an environment's bridge: `violin env attach NAME IFACE`. See attach.h.
 *
 * 1. The agent looks at the interface and gives a socket that hears beacons there.
 * 2. After ATTACH_LISTEN without another's beacon it puts the interface into the bridge; the request is answered.
 * 3. From then on a beacon a second. When an older attachment of the same LAN is heard, the interface leaves the bridge
 *    until that one is silent; heard in 1, the request fails instead.
 * What is attached is kept in the store, and begins again when the environment is opened: at 3 when the interface is in
 * the bridge still. */
#include "peer/daemon_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/agent_attach.h"
#include "peer/attach.h"
#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/rpc_write.h"

#define TURN 32 /* beacons taken at once; the rest at the next turn */
#define VERIFIES 20 /* a second and LAN: strangers may send what they like */
#define RETRY (10 * VI_SEC) /* an interface that isn't there (yet) */

struct lan {
    struct daemon *d;
    struct vi_id env;
    char iface[16];
    uint64_t rank;
    bool listening, asked; /* the socket is there; a request to the agent is under way */
    bool joined;           /* in the bridge, as far as asked for */
    int fd;
    uv_poll_t poll;
    struct rpc_call *call; /* of env.attach, until it is answered */
    struct attach a;
    char problem[160];
    vi_time retry_at, verify_at;
    unsigned verified;
    uint64_t heard;
};

static struct lan *lan_of(const struct daemon *d, const struct vi_id *env)
{
    for (unsigned i = 0; i < ENV_MAX; i++)
        if (d->lans[i] && vi_id_equal(&d->lans[i]->env, env))
            return d->lans[i];
    return NULL;
}

static const char *env_name(struct daemon *d, const struct vi_id *id)
{
    const struct env *e = daemon_env_by_id(d, id);
    return e ? e->def.name : "?";
}

/* ---- the end ---- */

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

static void stop_listening(struct lan *l)
{
    if (l->fd >= 0) {
        uv_poll_stop(&l->poll);
        close(l->fd);
    }
    l->fd = -1;
}

static void take_part(struct daemon *d, const struct vi_id *env, bool on)
{
    struct env *e = daemon_env_by_id(d, env);
    if (!e || e->attached == on)
        return;
    e->attached = on;
    daemon_envs_publish(d);
}

/* l is gone after it. */
static void end_lan(struct lan *l)
{
    struct daemon *d = l->d;
    for (unsigned i = 0; i < ENV_MAX; i++)
        if (d->lans[i] == l)
            d->lans[i] = NULL;
    take_part(d, &l->env, false);
    stop_listening(l);
    if (l->listening)
        uv_close((uv_handle_t *)&l->poll, on_closed);
    else
        free(l);
}

static void on_parted(void *arg, int err, const char *detail)
{
    (void)arg;
    if (err)
        vi_log(VI_LOG_WARN, "attach", "%s", detail);
}

static void refuse(struct lan *l, int err, const char *why)
{
    if (l->call)
        rpc_error(l->call, err, "%s", why);
    l->call = NULL;
    end_lan(l);
}

static void write_answer(struct lan *l)
{
    struct vi_writer *w = l->call ? rpc_begin(l->call, 256) : NULL;
    if (w) {
        vi_write_map(w, 2);
        put_text(w, "environment", env_name(l->d, &l->env));
        put_text(w, "interface", l->iface);
        rpc_end(l->call);
    }
    l->call = NULL;
}

/* ---- the bridge ---- */

struct asked {
    struct daemon *d;
    struct vi_id env;
};

static struct lan *lan_asked(struct asked *q)
{
    struct lan *l = lan_of(q->d, &q->env);
    free(q);
    if (l)
        l->asked = false;
    return l;
}

static void keep(struct lan *l)
{
    struct vi_writer w;
    uint8_t b[64];
    vi_writer_init(&w, b, sizeof b);
    vi_write_array(&w, 2);
    vi_write_str(&w, l->iface);
    vi_write_uint(&w, l->rank);
    if (store_put(l->d->store, STORE_ATTACHED, &l->env, b, w.len))
        daemon_warn(l->d, WARN_STORE, "%s", store_error(l->d->store));
}

static void on_joined(void *arg, int err, const char *detail)
{
    struct daemon *d = ((struct asked *)arg)->d;
    struct lan *l = lan_asked(arg);
    if (!l)
        return;
    if (err && l->call) {
        refuse(l, err, detail);
        return;
    }
    if (err) {
        snprintf(l->problem, sizeof l->problem, "%.150s", detail);
        l->joined = false;
        l->retry_at = daemon_now() + RETRY;
        return;
    }
    l->problem[0] = '\0';
    if (l->call)
        keep(l);
    take_part(d, &l->env, true);
    daemon_event_done(d, daemon_event(d, "attach", env_name(d, &l->env), "%s is attached to %s", l->iface,
                                      env_name(d, &l->env)));
    write_answer(l);
}

static void ask_bridge(struct lan *l, bool join)
{
    struct asked *q = calloc(1, sizeof *q);
    int err;
    if (!q)
        return;
    *q = (struct asked){l->d, l->env};
    err = join ? agent_env_attach(l->d->agent, &l->env, l->iface, on_joined, q)
               : agent_env_detach(l->d->agent, &l->env, l->iface, on_parted, NULL);
    if (err || !join)
        free(q);
    if (err)
        return; /* asked again at the next turn */
    l->joined = join;
    l->asked = join;
}

/* ---- beacons ---- */

static bool authentic(struct lan *l, const struct attach_beacon *b, const uint8_t *frame)
{
    uint8_t pk[32];
    vi_time now = daemon_now();
    if (now - l->verify_at >= VI_SEC) {
        l->verify_at = now;
        l->verified = 0;
    }
    if (++l->verified > VERIFIES)
        return false;
    return daemon_key_of(l->d, &b->host, pk) && attach_beacon_verify(frame, pk);
}

static void heard(struct lan *l, const struct attach_beacon *b)
{
    enum attach_state before = l->a.state;
    const char *who;
    char text[160];
    l->heard++;
    attach_heard(&l->a, daemon_now(), b);
    if (l->a.state != ATTACH_HELD || before == ATTACH_HELD)
        return;
    who = daemon_member_name(l->d, &b->host);
    snprintf(text, sizeof text, "the LAN at %s is attached to %s by %s already: once more would be a loop", l->iface,
             env_name(l->d, &l->env), who);
    if (l->call) {
        refuse(l, VI_EEXIST, text);
        return;
    }
    snprintf(l->problem, sizeof l->problem, "%s", text);
    ask_bridge(l, false);
    daemon_event_done(l->d, daemon_event(l->d, "attach", env_name(l->d, &l->env), "%s", text));
}

static void on_frames(uv_poll_t *p, int status, int events)
{
    struct lan *l = p->data;
    uint8_t frame[ATTACH_FRAME + 1];
    (void)status;
    (void)events;
    for (unsigned i = 0; i < TURN; i++) {
        struct attach_beacon b;
        struct daemon *d = l->d;
        struct vi_id env = l->env;
        ssize_t n = recv(l->fd, frame, sizeof frame, 0);
        if (n < 0 && errno != ENETDOWN)
            return;
        if (n < 0 || !attach_beacon_decode(&b, frame, (size_t)n) || !vi_id_equal(&b.env, &l->env) ||
            vi_id_equal(&b.host, &l->d->me.id) || !authentic(l, &b, frame))
            continue;
        heard(l, &b);
        if (lan_of(d, &env) != l)
            return;
    }
}

static void send_beacon(struct lan *l)
{
    struct attach_beacon b = {.env = l->env, .host = l->d->me.id, .rank = l->rank, .count = (uint64_t)vi_clock_wall()};
    uint8_t frame[ATTACH_FRAME];
    attach_beacon_encode(&b, l->d->me.ed_sk, frame);
    if (send(l->fd, frame, sizeof frame, MSG_DONTWAIT) < 0 && errno != EAGAIN && errno != ENOBUFS)
        vi_log(VI_LOG_DEBUG, "attach", "%s: %s", l->iface, strerror(errno));
}

/* ---- the beginning ---- */

static void on_socket(void *arg, int err, const char *detail, const struct vi_id *env, int fd)
{
    struct daemon *d = ((struct asked *)arg)->d;
    struct lan *l = lan_asked(arg);
    (void)env;
    if (!l && fd >= 0)
        close(fd);
    if (!l)
        return;
    if (err && l->call) {
        refuse(l, err, detail);
        return;
    }
    if (err || uv_poll_init(&d->loop, &l->poll, fd)) {
        snprintf(l->problem, sizeof l->problem, "%.150s", err ? detail : "its socket can't be watched");
        l->retry_at = daemon_now() + RETRY;
        if (!err)
            close(fd);
        return;
    }
    l->listening = true;
    l->fd = fd;
    l->poll.data = l;
    l->problem[0] = '\0';
    uv_poll_start(&l->poll, UV_READABLE, on_frames);
    attach_begin(&l->a, &d->me.id, l->rank, agent_iface_in(l->iface, &l->env), daemon_now());
}

static void ask_socket(struct lan *l)
{
    struct asked *q = calloc(1, sizeof *q);
    if (!q)
        return;
    *q = (struct asked){l->d, l->env};
    if (agent_env_listen(l->d->agent, &l->env, l->iface, on_socket, q))
        free(q);
    else
        l->asked = true;
}

static struct lan *begin(struct daemon *d, const struct vi_id *env, const char *iface, uint64_t rank)
{
    struct lan *l = calloc(1, sizeof *l);
    for (unsigned i = 0; l && i < ENV_MAX; i++)
        if (!d->lans[i]) {
            l->d = d;
            l->env = *env;
            l->rank = rank;
            l->fd = -1;
            snprintf(l->iface, sizeof l->iface, "%s", iface);
            d->lans[i] = l;
            return l;
        }
    free(l);
    return NULL;
}

static bool attached(void *arg, const struct vi_id *env, const void *value, size_t len)
{
    struct daemon *d = arg;
    struct vi_reader r;
    char iface[16];
    uint64_t rank;
    vi_reader_init(&r, value, len);
    vi_read_array(&r, 2);
    vi_read_cstr(&r, iface, sizeof iface);
    rank = vi_read_uint(&r, UINT64_MAX);
    if (!vi_read_end(&r) && agent_iface_name_ok(iface) && daemon_env_by_id(d, env) && !lan_of(d, env))
        (void)begin(d, env, iface, rank);
    return true;
}

void daemon_attach_env_open(struct daemon *d, const struct env *e)
{
    struct lan *l = lan_of(d, &e->def.id);
    if (!l)
        (void)store_each(d->store, STORE_ATTACHED, attached, d);
    else if (!l->listening && !l->asked)
        ask_socket(l);
}

void daemon_attach_env_close(struct daemon *d, const struct env *e)
{
    struct lan *l = lan_of(d, &e->def.id);
    (void)store_delete(d->store, STORE_ATTACHED, &e->def.id);
    if (l)
        refuse(l, VI_ENOTFOUND, "the environment was removed");
}

void daemon_attach_pump(struct daemon *d, vi_time now)
{
    const char *trouble = NULL;
    for (unsigned i = 0; i < ENV_MAX; i++) {
        struct lan *l = d->lans[i];
        const struct env *e = l ? daemon_env_by_id(d, &l->env) : NULL;
        if (!e)
            continue;
        if (!l->listening && !l->asked && e->open && now >= l->retry_at)
            ask_socket(l);
        if (l->listening && attach_tick(&l->a, now))
            send_beacon(l);
        if (l->listening && l->a.state == ATTACH_ON && !l->joined && !l->asked && now >= l->retry_at)
            ask_bridge(l, true);
        if (l->listening && l->a.state == ATTACH_HELD && l->joined && !l->asked)
            ask_bridge(l, false); /* the agent couldn't be asked at once */
        if (l->problem[0] && !l->call)
            trouble = l->problem;
    }
    daemon_warn(d, WARN_ATTACH, trouble ? "%s" : NULL, trouble);
}

vi_time daemon_attach_deadline(const struct daemon *d)
{
    vi_time t = VI_NEVER;
    for (unsigned i = 0; i < ENV_MAX; i++)
        if (d->lans[i] && d->lans[i]->listening && attach_deadline(&d->lans[i]->a) < t)
            t = attach_deadline(&d->lans[i]->a);
    return t;
}

void daemon_attach_close(struct daemon *d)
{
    for (unsigned i = 0; i < ENV_MAX; i++)
        if (d->lans[i]) { /* the interface stays where it is */
            d->lans[i]->call = NULL; /* closed already */
            end_lan(d->lans[i]);
        }
}

/* ---- asked by people ---- */

static struct env *env_asked(struct daemon *d, struct rpc_call *call, struct vi_reader *params)
{
    char name[128];
    struct env *e;
    if (!rpc_param_text(call, *params, "name", true, name, sizeof name))
        return NULL;
    e = daemon_env_by_name(d, name);
    if (!e)
        rpc_error(call, VI_ENOTFOUND, "there is no environment `%s`; `violin env list` shows them", name);
    return e;
}

void daemon_do_env_attach(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char iface[64];
    struct env *e;
    struct lan *l;
    if (!rpc_param_text(call, *params, "interface", true, iface, sizeof iface) || !(e = env_asked(d, call, params)))
        return;
    l = lan_of(d, &e->def.id);
    if (l) {
        rpc_error(call, VI_EEXIST, "%s is attached to %s here already; one LAN an environment and host", l->iface,
                  e->def.name);
    } else if (e->def.strict) {
        rpc_error(call, VI_ESTATE, "%s is strict: only its guests speak there", e->def.name);
    } else if (!agent_iface_name_ok(iface)) {
        rpc_error(call, VI_EINVAL, "`%s` is no interface's name", iface);
    } else if (!e->open) {
        rpc_error(call, VI_ESTATE, "%s has no bridge here yet", e->def.name);
    } else if (!(l = begin(d, &e->def.id, iface, (uint64_t)vi_clock_wall()))) {
        rpc_error(call, VI_ENOMEM, "out of memory");
    } else {
        l->call = call;
        ask_socket(l);
        if (!l->asked)
            refuse(l, VI_EIO, "the agent can't be asked");
    }
}

void daemon_do_env_detach(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct env *e = env_asked(d, call, params);
    struct lan *l = e ? lan_of(d, &e->def.id) : NULL;
    struct vi_writer *w;
    if (!e)
        return;
    if (!l || l->call) {
        rpc_error(call, VI_ENOTFOUND, "nothing is attached to %s here", e->def.name);
        return;
    }
    w = rpc_begin(call, 256);
    if (w) {
        vi_write_map(w, 2);
        put_text(w, "environment", e->def.name);
        put_text(w, "interface", l->iface);
        rpc_end(call);
    }
    (void)store_delete(d->store, STORE_ATTACHED, &e->def.id);
    (void)agent_env_detach(d->agent, &l->env, l->iface, on_parted, NULL);
    daemon_event_done(d, daemon_event(d, "attach", e->def.name, "%s is no longer attached to %s", l->iface, e->def.name));
    end_lan(l);
}

void daemon_attach_write_env(struct daemon *d, struct vi_writer *w, const struct env *e)
{
    static const char *const state[] = {"listening", "on", "held"};
    const struct lan *l = lan_of(d, &e->def.id);
    vi_write_str(w, "attached");
    vi_write_array(w, l ? 1 : 0);
    if (!l)
        return;
    vi_write_map(w, 4);
    put_text(w, "interface", l->iface);
    put_text(w, "state", l->listening ? state[l->a.state] : "absent");
    put_text(w, "why", l->problem);
    put_uint(w, "beacons_heard", l->heard);
}
