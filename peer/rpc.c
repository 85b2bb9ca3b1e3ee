/* The control socket's server: connections, framing, rights. See rpc.h.
 *
 * Happy path: on_connection → on_read → (a whole request walked) dispatch → the method answers →
 * rpc_end → write. A client that goes away leaves its unanswered calls orphaned: they keep a
 * pointer to nothing and are freed when the method answers. */
#include "peer/rpc.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/base/clock.h"
#include "peer/base/err.h"
#include "peer/base/log.h"

#define CALLS_PER_CLIENT 64

struct client {
    uv_pipe_t pipe;
    struct rpc *rpc;
    TAILQ_ENTRY(client) link; /* in the order of the last request, longest silent first */
    LIST_HEAD(, rpc_call) calls;
    unsigned n_calls;
    uint8_t *in;
    size_t in_len, in_cap;
    bool may_change, follows, closing;
};

struct rpc_call {
    LIST_ENTRY(rpc_call) link;
    struct client *client; /* NULL once it went away */
    uint32_t id;
    uint8_t *out;
    struct vi_writer w;
};

TAILQ_HEAD(client_list, client);

struct rpc {
    uv_pipe_t listener;
    uv_loop_t *loop;
    const struct rpc_entry *table;
    void *arg;
    struct client_list clients;
    unsigned n_clients, n_followers, open_handles;
    bool closing;
    gid_t gid;
    bool has_gid;
    char path[108];
};

struct outgoing {
    uv_write_t req;
    uint8_t *bytes;
};

static void maybe_free(struct rpc *r)
{
    if (r->closing && r->open_handles == 0)
        free(r);
}

/* ---- clients ---- */

static void client_closed(uv_handle_t *h)
{
    struct client *c = h->data;
    struct rpc *r = c->rpc;
    free(c->in);
    free(c);
    r->open_handles--;
    maybe_free(r);
}

static void client_close(struct client *c)
{
    struct rpc_call *call;
    if (c->closing)
        return;
    c->closing = true;
    while ((call = LIST_FIRST(&c->calls))) {
        LIST_REMOVE(call, link);
        call->client = NULL;
    }
    TAILQ_REMOVE(&c->rpc->clients, c, link);
    c->rpc->n_clients--;
    if (c->follows)
        c->rpc->n_followers--;
    uv_close((uv_handle_t *)&c->pipe, client_closed);
}

static void on_written(uv_write_t *req, int status)
{
    struct outgoing *o = (struct outgoing *)req;
    struct client *c = req->handle->data;
    free(o->bytes);
    free(o);
    if (status < 0)
        client_close(c);
}

/* Takes ownership of bytes. */
static void client_send(struct client *c, uint8_t *bytes, size_t len)
{
    struct outgoing *o;
    uv_buf_t buf;
    if (c->closing || uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) > RPC_BACKLOG_MAX) {
        free(bytes);
        client_close(c);
        return;
    }
    o = calloc(1, sizeof *o);
    if (!o) {
        free(bytes);
        client_close(c);
        return;
    }
    o->bytes = bytes;
    buf = uv_buf_init((char *)bytes, (unsigned)len);
    if (uv_write(&o->req, (uv_stream_t *)&c->pipe, &buf, 1, on_written) < 0) {
        free(bytes);
        free(o);
        client_close(c);
    }
}

/* ---- answering ---- */

static void call_free(struct rpc_call *call)
{
    if (call->client) {
        LIST_REMOVE(call, link);
        call->client->n_calls--;
    }
    free(call->out);
    free(call);
}

struct vi_writer *rpc_begin(struct rpc_call *call, size_t max)
{
    size_t cap = (max > RPC_RESULT_MAX ? RPC_RESULT_MAX : max) + 16;
    call->out = malloc(cap);
    if (!call->out) {
        rpc_error(call, VI_ENOMEM, "out of memory");
        return NULL;
    }
    vi_writer_init(&call->w, call->out, cap);
    vi_write_array(&call->w, 4);
    vi_write_uint(&call->w, 1);
    vi_write_uint(&call->w, call->id);
    vi_write_nil(&call->w);
    return &call->w;
}

void rpc_end(struct rpc_call *call)
{
    if (call->w.err) {
        free(call->out);
        call->out = NULL;
        rpc_error(call, VI_EFULL, "the answer is larger than its bound");
        return;
    }
    if (call->client) {
        uint8_t *fit = realloc(call->out, call->w.len);
        client_send(call->client, fit ? fit : call->out, call->w.len);
        call->out = NULL;
    }
    call_free(call);
}

static size_t encode_error(uint8_t *out, size_t cap, uint32_t id, int code, const char *text)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 4);
    vi_write_uint(&w, 1);
    vi_write_uint(&w, id);
    vi_write_map(&w, 2);
    vi_write_str(&w, "code");
    vi_write_int(&w, code);
    vi_write_str(&w, "message");
    vi_write_str(&w, text);
    vi_write_nil(&w);
    return w.len;
}

static void send_error(struct client *c, uint32_t id, int code, const char *text)
{
    uint8_t *bytes = malloc(1024);
    if (bytes)
        client_send(c, bytes, encode_error(bytes, 1024, id, code, text));
    else
        client_close(c);
}

void rpc_error(struct rpc_call *call, int code, const char *fmt, ...)
{
    char text[800];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (call->client)
        send_error(call->client, call->id, code, text);
    call_free(call);
}

void rpc_follow(struct rpc_call *call)
{
    if (call->client && !call->client->follows) {
        call->client->follows = true;
        call->client->rpc->n_followers++;
    }
}

bool rpc_has_followers(const struct rpc *r)
{
    return r->n_followers > 0;
}

unsigned rpc_clients(const struct rpc *r)
{
    return r->n_clients;
}

void rpc_notify(struct rpc *r, const char *method, const void *params, size_t len)
{
    struct client *c, *next;
    for (c = TAILQ_FIRST(&r->clients); c; c = next) {
        uint8_t *bytes;
        struct vi_writer w;
        next = TAILQ_NEXT(c, link);
        if (!c->follows)
            continue;
        bytes = malloc(len + 64);
        if (!bytes)
            continue;
        vi_writer_init(&w, bytes, 64);
        vi_write_array(&w, 3);
        vi_write_uint(&w, 2);
        vi_write_str(&w, method);
        memcpy(bytes + w.len, params, len);
        client_send(c, bytes, w.len + len);
    }
}

/* ---- requests ---- */

static void dispatch(struct client *c, const char *method, size_t mlen, uint32_t id,
                     struct vi_reader *params)
{
    static const uint8_t empty_map[1] = {0x80};
    const struct rpc_entry *e;
    struct rpc_call *call;
    struct vi_reader none;
    for (e = c->rpc->table; e->name; e++)
        if (strlen(e->name) == mlen && !memcmp(e->name, method, mlen))
            break;
    if (!e->name) {
        send_error(c, id, VI_ENOTFOUND, "no such method");
        return;
    }
    if (e->changes && !c->may_change) {
        send_error(c, id, VI_EAUTH, "only root may do that");
        return;
    }
    if (c->n_calls >= CALLS_PER_CLIENT) {
        send_error(c, id, VI_EFULL, "too many calls at once on this connection");
        return;
    }
    call = calloc(1, sizeof *call);
    if (!call) {
        send_error(c, id, VI_ENOMEM, "out of memory");
        return;
    }
    call->client = c;
    call->id = id;
    LIST_INSERT_HEAD(&c->calls, call, link);
    c->n_calls++;
    if (vi_read_peek(params) != VI_WIRE_MAP) {
        vi_reader_init(&none, empty_map, sizeof empty_map);
        params = &none;
    }
    e->method(c->rpc->arg, call, params);
}

/* One walked message. 0, or VI_EPROTO: this client doesn't speak the protocol. */
static int take_message(struct client *c, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    uint64_t kind, id = 0;
    uint32_t n;
    const char *method;
    size_t mlen;
    vi_reader_init(&r, data, len);
    if (vi_read_peek(&r) != VI_WIRE_ARRAY)
        return VI_EPROTO;
    n = vi_read_array(&r, 4);
    kind = vi_read_uint(&r, 2);
    if (r.err || !((kind == 0 && n == 4) || (kind == 2 && n == 3)))
        return VI_EPROTO;
    if (kind == 0)
        id = vi_read_uint(&r, UINT32_MAX);
    method = vi_read_str(&r, 64, &mlen);
    if (r.err)
        return VI_EPROTO;
    if (kind == 0) /* a notification asks for nothing that we have */
        dispatch(c, method, mlen, (uint32_t)id, &r);
    return 0;
}

static void take_bytes(struct client *c)
{
    size_t at = 0, used;
    while (at < c->in_len && !c->closing) {
        int err = vi_wire_walk(c->in + at, c->in_len - at, VI_WIRE_DEPTH, 4096, &used);
        if (err == VI_EAGAIN && c->in_len - at < RPC_REQUEST_MAX)
            break;
        if (!err)
            err = take_message(c, c->in + at, used);
        if (err) {
            send_error(c, 0, VI_EPROTO,
                       err == VI_EAGAIN || err == VI_EFULL ? "the request is too large"
                                                           : "not a msgpack-RPC request");
            /* the answer is on its way in the same turn; what follows can't be trusted */
            uv_read_stop((uv_stream_t *)&c->pipe);
            c->in_len = 0;
            if (!c->closing)
                client_close(c);
            return;
        }
        at += used;
    }
    if (c->closing)
        return;
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
    if (c->in_len == 0) { /* a thousand idle connections hold no buffers */
        free(c->in);
        c->in = NULL;
        c->in_cap = 0;
    }
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct client *c = h->data;
    (void)suggested;
    if (c->in_cap - c->in_len < 2048) {
        size_t cap = c->in_cap ? c->in_cap * 2 : 4096;
        uint8_t *p = cap <= RPC_REQUEST_MAX * 2 ? realloc(c->in, cap) : NULL;
        if (!p) {
            *buf = uv_buf_init(NULL, 0);
            return;
        }
        c->in = p;
        c->in_cap = cap;
    }
    *buf = uv_buf_init((char *)c->in + c->in_len, (unsigned)(c->in_cap - c->in_len));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = s->data;
    (void)buf;
    if (n < 0) {
        client_close(c);
        return;
    }
    if (n == 0)
        return;
    c->in_len += (size_t)n;
    TAILQ_REMOVE(&c->rpc->clients, c, link);
    TAILQ_INSERT_TAIL(&c->rpc->clients, c, link);
    take_bytes(c);
}

/* ---- rights ---- */

static bool in_group(uid_t uid, gid_t gid, gid_t wanted)
{
    gid_t groups[256];
    int n = 256;
    struct passwd *pw;
    if (gid == wanted)
        return true;
    pw = getpwuid(uid);
    if (!pw)
        return false;
    if (getgrouplist(pw->pw_name, gid, groups, &n) < 0)
        n = 256;
    for (int i = 0; i < n; i++)
        if (groups[i] == wanted)
            return true;
    return false;
}

/* 0 nothing, 1 reads, 2 changes too. */
static int rights(struct rpc *r, int fd)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return 0;
    if (cred.uid == 0 || cred.uid == geteuid())
        return 2;
    return r->has_gid && in_group(cred.uid, cred.gid, r->gid) ? 1 : 0;
}

static void make_room(struct rpc *r)
{
    struct client *c;
    if (r->n_clients < RPC_CLIENTS_MAX)
        return;
    TAILQ_FOREACH (c, &r->clients, link) {
        if (c->n_calls == 0 && !c->follows) {
            client_close(c);
            return;
        }
    }
    client_close(TAILQ_FIRST(&r->clients));
}

static void on_connection(uv_stream_t *s, int status)
{
    struct rpc *r = s->data;
    struct client *c;
    uv_os_fd_t fd;
    int may;
    if (status < 0)
        return;
    make_room(r);
    c = calloc(1, sizeof *c);
    if (!c)
        return;
    c->rpc = r;
    LIST_INIT(&c->calls);
    uv_pipe_init(r->loop, &c->pipe, 0);
    c->pipe.data = c;
    r->open_handles++;
    TAILQ_INSERT_TAIL(&r->clients, c, link);
    r->n_clients++;
    if (uv_accept(s, (uv_stream_t *)&c->pipe) < 0 ||
        uv_fileno((uv_handle_t *)&c->pipe, &fd) < 0) {
        client_close(c);
        return;
    }
    may = rights(r, fd);
    if (may == 0) {
        send_error(c, 0, VI_EAUTH, "you are neither root nor in the peer's group");
        client_close(c);
        return;
    }
    c->may_change = may == 2;
    if (uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) < 0)
        client_close(c);
}

/* ---- opening and closing ---- */

static void listener_closed(uv_handle_t *h)
{
    struct rpc *r = h->data;
    r->open_handles--;
    maybe_free(r);
}

/* A socket file that nobody listens at is left from a peer that was killed. */
static bool somebody_listens(uv_loop_t *loop, const char *path)
{
    struct sockaddr_un {
        sa_family_t family;
        char path[108];
    } a = {.family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), err;
    (void)loop;
    if (fd < 0)
        return false;
    snprintf(a.path, sizeof a.path, "%s", path);
    err = connect(fd, (const struct sockaddr *)&a, sizeof a);
    close(fd);
    return err == 0;
}

struct rpc *rpc_open(uv_loop_t *loop, const char *path, const char *group,
                     const struct rpc_entry *table, void *arg, char *why, size_t why_cap)
{
    struct rpc *r;
    struct group *g;
    int err;
    if (strlen(path) >= sizeof r->path) {
        snprintf(why, why_cap, "control socket %s: the path is longer than %zu bytes; set `socket`",
                 path, sizeof r->path - 1);
        return NULL;
    }
    if (somebody_listens(loop, path)) {
        snprintf(why, why_cap, "control socket %s: another peer is running; stop it first", path);
        return NULL;
    }
    r = calloc(1, sizeof *r);
    if (!r) {
        snprintf(why, why_cap, "out of memory");
        return NULL;
    }
    r->loop = loop;
    r->table = table;
    r->arg = arg;
    TAILQ_INIT(&r->clients);
    snprintf(r->path, sizeof r->path, "%s", path);
    g = group ? getgrnam(group) : NULL;
    if (g) {
        r->gid = g->gr_gid;
        r->has_gid = true;
    }
    uv_pipe_init(loop, &r->listener, 0);
    r->listener.data = r;
    r->open_handles++;
    unlink(path);
    err = uv_pipe_bind(&r->listener, path);
    if (!err)
        err = uv_listen((uv_stream_t *)&r->listener, 1024, on_connection);
    if (err) {
        snprintf(why, why_cap, "control socket %s: %s; set `socket` or give the folder to the peer's user",
                 path, uv_strerror(err));
        r->closing = true;
        uv_close((uv_handle_t *)&r->listener, listener_closed);
        return NULL;
    }
    if (chmod(path, 0660) < 0 || (r->has_gid && chown(path, (uid_t)-1, r->gid) < 0))
        vi_log(VI_LOG_WARN, "socket", "%s: %s; only the peer's own user can use it", path,
               strerror(errno));
    return r;
}

void rpc_close(struct rpc *r)
{
    struct client *c;
    if (!r)
        return;
    r->closing = true;
    while ((c = TAILQ_FIRST(&r->clients)))
        client_close(c);
    unlink(r->path);
    uv_close((uv_handle_t *)&r->listener, listener_closed);
}
