/* The side that listens: connections come for streams to us, for streams of ours that we couldn't connect for,
 * and to be joined to one another. */
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "overlay/bulk_internal.h"
#include "peer/base/err.h"

static const uint8_t MAGIC[7] = "Violin\1";

void bulk_server_left(struct bulk_server *s)
{
    s->n--;
    if (s->closing && s->n == 0 && uv_is_closing((uv_handle_t *)&s->tcp) && !s->tcp.data)
        free(s);
}

/* ---- hellos ---- */

void bulk_hello_write(uint8_t out[BULK_HELLO], enum bulk_hello kind, const uint8_t token[BULK_TOKEN])
{
    memcpy(out, MAGIC, sizeof MAGIC);
    out[sizeof MAGIC] = (uint8_t)kind;
    memcpy(out + sizeof MAGIC + 1, token, BULK_TOKEN);
}

int bulk_hello_read(const uint8_t *data, size_t len, enum bulk_hello *kind, uint8_t token[BULK_TOKEN])
{
    if (memcmp(data, MAGIC, len < sizeof MAGIC ? len : sizeof MAGIC) != 0 ||
        (len > sizeof MAGIC && data[sizeof MAGIC] != BULK_REVERSE && data[sizeof MAGIC] != BULK_JOIN))
        return VI_EPROTO;
    if (len < BULK_HELLO)
        return VI_EAGAIN;
    *kind = data[sizeof MAGIC];
    memcpy(token, data + sizeof MAGIC + 1, BULK_TOKEN);
    return 0;
}

static bool says(const struct bulk *b, const uint8_t token[BULK_TOKEN])
{
    return !sodium_memcmp(b->hello + BULK_HELLO - BULK_TOKEN, token, BULK_TOKEN);
}

/* The connection as a descriptor of its own; the bulk that had it ends. -1: no more descriptors. */
static int detach(struct bulk *b)
{
    uv_os_fd_t fd;
    int own = uv_fileno((uv_handle_t *)&b->tcp, &fd) ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    bulk_finish(b, 0, "handed over");
    return own;
}

static void reversed(struct bulk *b, const uint8_t token[BULK_TOKEN], size_t rest)
{
    struct bulk *a;
    int fd, err;
    LIST_FOREACH (a, &b->server->awaiting, link)
        if (!a->finished && !a->connected && says(a, token))
            break;
    if (!a || rest) {
        bulk_finish(b, VI_EREFUSED, "nobody waits for this connection");
        return;
    }
    fd = detach(b);
    err = fd < 0 ? UV_EMFILE : uv_tcp_open(&a->tcp, fd);
    if (!err) {
        bulk_connected(a);
        return;
    }
    if (fd >= 0)
        close(fd);
    bulk_finish(a, VI_EIO, uv_strerror(err));
}

bool bulk_server_peek(struct bulk *b, size_t n)
{
    size_t take = BULK_HELLO - b->peeked < n ? BULK_HELLO - b->peeked : n;
    uint8_t token[BULK_TOKEN];
    enum bulk_hello kind;
    int err, fd;
    if (b->peeked == 0 && b->in[0] != MAGIC[0]) {
        b->peeking = false;
        return true;
    }
    memcpy(b->peek + b->peeked, b->in, take);
    b->peeked += (unsigned)take;
    err = bulk_hello_read(b->peek, b->peeked, &kind, token);
    if (err == VI_EAGAIN)
        return false;
    if (err) {
        bulk_finish(b, err, "neither a stream nor a hello");
    } else if (kind == BULK_REVERSE) {
        reversed(b, token, n - take);
    } else {
        fd = detach(b);
        if (fd >= 0)
            (void)splice_join(b->server, token, fd, b->in + take, n - take);
    }
    return false;
}

/* ---- streams ---- */

struct bulk *bulk_send_await(struct bulk_server *s, const uint8_t token[BULK_TOKEN], const uint8_t x[CERT_KEY],
                             const struct vi_id *peer, const void *purpose, size_t len, int fd, uint64_t bandwidth,
                             bulk_done *done, void *arg)
{
    struct bulk *b = bulk_make_sender(s->loop, s->cfg, s->rng, x, peer, purpose, len, fd, bandwidth, done, arg);
    if (!b)
        return NULL;
    b->awaits = s;
    s->n++;
    LIST_INSERT_HEAD(&s->awaiting, b, link);
    bulk_hello_write(b->hello, BULK_REVERSE, token); /* what is waited for */
    return b;
}


/* Too many at once: who has been here longest without showing who it is gives way, so that strangers
 * can't keep members out by connecting. All being known members' streams, the newest goes. */
static struct bulk *one_too_many(struct bulk_server *s)
{
    struct bulk *b, *oldest = NULL;
    unsigned live = 0;
    LIST_FOREACH (b, &s->streams, link) {
        live += !b->finished;
        if (!b->finished && !b->open)
            oldest = b; /* new ones come in at the head */
    }
    return live > BULK_STREAMS_MAX ? oldest : NULL;
}

static void limit(struct bulk_server *s)
{
    struct bulk *b = one_too_many(s);
    if (b)
        bulk_finish(b, VI_EFULL, "too many streams");
}

int bulk_server_dial(struct bulk_server *s, const struct mesh_addr *to, enum bulk_hello kind,
                     const uint8_t token[BULK_TOKEN])
{
    struct bulk *b;
    LIST_FOREACH (b, &s->streams, link)
        if (b->has_hello && !b->finished && says(b, token))
            return 0;
    b = bulk_make(s->loop, s->cfg, s->rng, NULL, NULL, NULL, 0);
    if (!b)
        return VI_ENOMEM;
    b->server = s;
    s->n++;
    LIST_INSERT_HEAD(&s->streams, b, link);
    bulk_hello_write(b->hello, kind, token);
    b->has_hello = true;
    bulk_connect(b, to);
    limit(s);
    return 0;
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct bulk_server *s = stream->data;
    struct bulk *b;
    if (status < 0)
        return;
    b = bulk_make(s->loop, s->cfg, s->rng, NULL, NULL, NULL, 0);
    if (!b)
        return;
    b->server = s;
    b->peeking = true;
    s->n++;
    LIST_INSERT_HEAD(&s->streams, b, link);
    if (uv_accept(stream, (uv_stream_t *)&b->tcp) < 0) {
        bulk_finish(b, VI_EIO, "accept");
        return;
    }
    bulk_connected(b);
    limit(s);
}

static void on_server_closed(uv_handle_t *h)
{
    struct bulk_server *s = (struct bulk_server *)((char *)h - offsetof(struct bulk_server, tcp));
    s->tcp.data = NULL;
    if (s->n == 0)
        free(s);
}

struct bulk_server *bulk_listen(uv_loop_t *loop, const char *listen, uint16_t port,
                                const struct mesh_config *cfg, struct vi_rng *rng, bulk_accept *accept, void *arg,
                                char *why, size_t cap)
{
    struct bulk_server *s = calloc(1, sizeof *s);
    struct sockaddr_storage ss;
    int err;
    if (!s) {
        snprintf(why, cap, "out of memory");
        return NULL;
    }
    s->loop = loop;
    s->cfg = cfg;
    s->rng = rng;
    s->accept = accept;
    s->arg = arg;
    LIST_INIT(&s->streams);
    LIST_INIT(&s->awaiting);
    LIST_INIT(&s->splices);
    uv_tcp_init(loop, &s->tcp);
    s->tcp.data = s;
    err = strchr(listen, ':') ? uv_ip6_addr(listen, port, (struct sockaddr_in6 *)&ss)
                              : uv_ip4_addr(listen, port, (struct sockaddr_in *)&ss);
    if (!err)
        err = uv_tcp_bind(&s->tcp, (struct sockaddr *)&ss, 0);
    if (!err)
        err = uv_listen((uv_stream_t *)&s->tcp, 16, on_connection);
    if (err) {
        snprintf(why, cap, "TCP port %u at %s: %s; set `port`, or end what uses it", port, listen, uv_strerror(err));
        s->closing = true;
        uv_close((uv_handle_t *)&s->tcp, on_server_closed);
        return NULL;
    }
    return s;
}

void bulk_server_close(struct bulk_server *s)
{
    struct bulk *b;
    if (!s)
        return;
    s->closing = true;
    uv_close((uv_handle_t *)&s->tcp, on_server_closed);
    LIST_FOREACH (b, &s->streams, link)
        bulk_finish(b, VI_ECANCELED, "the peer ends");
    LIST_FOREACH (b, &s->awaiting, link)
        bulk_finish(b, VI_ECANCELED, "the peer ends");
    splice_close_all(s);
}

static struct bulk *came_for(const struct bulk_server *s, const void *done_arg)
{
    struct bulk *b;
    LIST_FOREACH (b, &s->streams, link)
        if (b->open && b->arg == done_arg)
            return b;
    return NULL;
}

void bulk_server_cancel(struct bulk_server *s, const void *done_arg)
{
    struct bulk *b = s ? came_for(s, done_arg) : NULL;
    if (b)
        bulk_cancel(b);
}

uint64_t bulk_server_bytes(const struct bulk_server *s, const void *done_arg)
{
    const struct bulk *b = s ? came_for(s, done_arg) : NULL;
    return b ? bulk_bytes(b) : 0;
}

void bulk_server_drop(struct bulk_server *s, const struct vi_id *peer)
{
    struct bulk *b;
    if (!s)
        return;
    LIST_FOREACH (b, &s->streams, link)
        if (b->open && vi_id_equal(&b->from, peer))
            bulk_finish(b, VI_ECANCELED, "its host was revoked");
}
