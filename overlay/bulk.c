/* Bulk streams. See bulk.h.
 *
 * Sender: connect → handshake → (descriptor readable → stream_write → TCP) → descriptor's end →
 *         stream_end → the other's end marker → done(0).
 * Receiver: accept → handshake, purpose → (TCP → stream_feed → descriptor) → end marker → our end
 *         marker → descriptor closed → done(0).
 * Failures: no connection, a handshake that isn't good, refused, silence, either descriptor's or the
 * connection's end too early. */
#include "overlay/bulk.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "overlay/bulk_internal.h"
#include "peer/base/err.h"

static void flush(struct bulk *b);
static void set_poll(struct bulk *b);

/* ---- ending ---- */

static void on_handle_closed(uv_handle_t *h)
{
    struct bulk *b = h->data;
    struct bulk_server *s = b->server ? b->server : b->awaits;
    if (--b->handles > 0)
        return;
    if (b->done)
        b->done(b->arg, b->err, b->why, b->bytes);
    if (s) {
        LIST_REMOVE(b, link);
        bulk_server_left(s);
    }
    stream_free(b->stream);
    free(b->keep);
    free(b);
}

void bulk_finish(struct bulk *b, int err, const char *why)
{
    if (b->finished)
        return;
    b->finished = true;
    b->err = err;
    snprintf(b->why, sizeof b->why, "%s", why);
    if (b->polling)
        uv_poll_stop(&b->poll);
    uv_close((uv_handle_t *)&b->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&b->timer, on_handle_closed);
    if (b->fd >= 0) {
        uv_close((uv_handle_t *)&b->poll, on_handle_closed);
        close(b->fd);
        b->fd = -1;
    }
}

static void maybe_finished(struct bulk *b)
{
    if (stream_finished(b->stream) && !b->writing && (b->sending || b->fd_done))
        bulk_finish(b, 0, "whole");
}

/* ---- the connection ---- */

struct out {
    uv_write_t req;
    uint8_t bytes[]; /* a copy: the stream moves its own buffer when more is sealed */
};

static void on_written(uv_write_t *req, int status)
{
    struct bulk *b = req->handle->data;
    free(req);
    b->writing = false;
    if (b->finished)
        return;
    if (status < 0) {
        bulk_finish(b, VI_EIO, uv_strerror(status));
        return;
    }
    b->moved = vi_clock_boottime();
    flush(b);
    maybe_finished(b);
}

static void flush(struct bulk *b)
{
    size_t len;
    const uint8_t *p = stream_pending(b->stream, &len);
    struct out *o;
    uv_buf_t buf;
    int err;
    set_poll(b);
    if (!p || !len || b->writing || b->finished || !b->connected)
        return;
    if (len > WRITE_BYTES)
        len = WRITE_BYTES;
    o = malloc(sizeof *o + len);
    if (!o) {
        bulk_finish(b, VI_ENOMEM, "out of memory");
        return;
    }
    memcpy(o->bytes, p, len);
    stream_sent(b->stream, len);
    buf = uv_buf_init((char *)o->bytes, (unsigned)len);
    b->writing = true;
    err = uv_write(&o->req, (uv_stream_t *)&b->tcp, &buf, 1, on_written);
    if (err < 0) {
        b->writing = false;
        free(o);
        bulk_finish(b, VI_EIO, uv_strerror(err));
    }
}

/* ---- the sender's descriptor ---- */

static bool may_send(struct bulk *b)
{
    vi_time now = vi_clock_boottime();
    if (!b->bandwidth)
        return true;
    b->tokens += (double)(now - b->filled) / 1e6 * (double)b->bandwidth * 1024;
    b->filled = now;
    if (b->tokens > (double)b->bandwidth * 1024 / 4) /* what a pause saves up: 250 ms' worth */
        b->tokens = (double)b->bandwidth * 1024 / 4;
    return b->tokens > 0;
}

static void seal_plain(struct bulk *b)
{
    while (b->plain_at < b->plain_len) {
        size_t used = 0;
        int err = stream_write(b->stream, b->plain + b->plain_at, b->plain_len - b->plain_at, &used);
        b->plain_at += used;
        b->bytes += used;
        if (err == VI_EAGAIN || (!err && used == 0))
            return;
        if (err) {
            bulk_finish(b, err, "the stream can't be written");
            return;
        }
    }
    b->plain_at = b->plain_len = 0;
}

static void end_sending(struct bulk *b)
{
    if (!b->fd_done || b->ended || b->plain_len)
        return;
    if (stream_end(b->stream) == 0)
        b->ended = true;
}

static void read_descriptor(struct bulk *b)
{
    ssize_t n;
    if (b->plain_len) /* what is left goes first */
        seal_plain(b);
    if (b->finished || b->plain_len || !may_send(b)) {
        flush(b);
        return;
    }
    n = read(b->fd, b->plain, sizeof b->plain);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        bulk_finish(b, VI_EIO, "the local end broke");
        return;
    }
    b->moved = vi_clock_boottime();
    if (n == 0)
        b->fd_done = true;
    else {
        b->plain_len = (size_t)n;
        b->tokens -= (double)n;
        seal_plain(b);
    }
    end_sending(b);
    flush(b);
}

/* ---- the receiver's descriptor ---- */

static void write_descriptor(struct bulk *b)
{
    while (b->keep_at < b->keep_len) {
        ssize_t n = send(b->fd, b->keep + b->keep_at, b->keep_len - b->keep_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            bulk_finish(b, VI_EIO, "the local end broke");
            return;
        }
        b->keep_at += (size_t)n;
        b->moved = vi_clock_boottime();
    }
    if (b->keep_at == b->keep_len) {
        b->keep_at = b->keep_len = 0;
        if (b->ended && !b->fd_done) {
            b->fd_done = true;
            shutdown(b->fd, SHUT_WR);
            (void)stream_end(b->stream);
            flush(b);
        }
    }
    set_poll(b);
    maybe_finished(b);
}

static bool keep(struct bulk *b, const uint8_t *data, size_t len)
{
    if (b->keep_len + len > b->keep_cap && b->keep_at) { /* what was written makes room */
        b->keep_len -= b->keep_at;
        memmove(b->keep, b->keep + b->keep_at, b->keep_len);
        b->keep_at = 0;
    }
    if (b->keep_len + len > b->keep_cap) {
        size_t cap = b->keep_len + len + KEEP;
        uint8_t *p = realloc(b->keep, cap);
        if (!p)
            return false;
        b->keep = p;
        b->keep_cap = cap;
    }
    memcpy(b->keep + b->keep_len, data, len);
    b->keep_len += len;
    b->bytes += len;
    return true;
}

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct bulk *b = p->data;
    (void)status;
    (void)events;
    if (b->finished)
        return;
    if (b->sending)
        read_descriptor(b);
    else
        write_descriptor(b);
}

static void on_alloc(uv_handle_t *h, size_t n, uv_buf_t *buf)
{
    struct bulk *b = h->data;
    (void)n;
    *buf = uv_buf_init((char *)b->in, sizeof b->in);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);

/* What is watched follows from what there is room for. */
static void set_poll(struct bulk *b)
{
    size_t pending = 0;
    bool want, read_tcp;
    if (b->finished || b->fd < 0)
        return;
    (void)stream_pending(b->stream, &pending);
    if (b->sending)
        want = b->open && !b->fd_done && pending < STREAM_OUT_MAX / 4 && may_send(b);
    else
        want = b->keep_len > b->keep_at;
    if (want != b->polling) {
        b->polling = want;
        if (want)
            uv_poll_start(&b->poll, b->sending ? UV_READABLE : UV_WRITABLE, on_poll);
        else
            uv_poll_stop(&b->poll);
    }
    read_tcp = b->sending || b->keep_len - b->keep_at < KEEP;
    if (b->connected && read_tcp != b->reading) {
        b->reading = read_tcp;
        if (read_tcp)
            uv_read_start((uv_stream_t *)&b->tcp, on_alloc, on_read);
        else
            uv_read_stop((uv_stream_t *)&b->tcp);
    }
}

/* ---- the stream ---- */

static bool take_fd(struct bulk *b, int fd)
{
    int fl = fcntl(fd, F_GETFL);
    if (fl < 0 || fcntl(fd, F_SETFL, fl | O_NONBLOCK) < 0 || uv_poll_init(b->tcp.loop, &b->poll, fd) < 0) {
        close(fd);
        return false;
    }
    b->fd = fd;
    b->poll.data = b;
    b->handles++;
    return true;
}

static void opened(struct bulk *b, const struct stream_event *ev)
{
    int fd;
    b->open = true;
    if (b->sending) {
        flush(b);
        return;
    }
    b->from = ev->peer;
    fd = b->server->accept(b->server->arg, &ev->peer, ev->data, ev->len, &b->done, &b->arg);
    if (fd < 0)
        bulk_finish(b, VI_EREFUSED, "nobody waits for this stream");
    else if (!take_fd(b, fd))
        bulk_finish(b, VI_EIO, "the local end can't be watched");
}

static void take_event(struct bulk *b, const struct stream_event *ev)
{
    switch (ev->kind) {
    case STREAM_NONE:
        break;
    case STREAM_OPEN:
        opened(b, ev);
        break;
    case STREAM_DATA:
        if (b->sending || b->fd < 0 || !keep(b, ev->data, ev->len))
            bulk_finish(b, VI_EPROTO, "data where none is expected");
        break;
    case STREAM_END:
        if (!b->sending)
            b->ended = true;
        else if (!b->ended)
            bulk_finish(b, VI_EREFUSED, "the other side ended early");
        break;
    case STREAM_FAILED:
        bulk_finish(b, ev->err, vi_strerror(ev->err));
        break;
    }
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct bulk *b = s->data;
    struct stream_event ev;
    size_t at = 0, used;
    (void)buf;
    if (b->finished || n == 0)
        return;
    if (n < 0) {
        stream_feed_eof(b->stream, &ev);
        if (!stream_finished(b->stream) || !(b->sending || b->fd_done))
            bulk_finish(b, VI_EIO, n == UV_EOF ? "the other side closed the connection" : uv_strerror((int)n));
        else
            bulk_finish(b, 0, "whole");
        return;
    }
    b->moved = vi_clock_boottime();
    if (b->peeking && !bulk_server_peek(b, (size_t)n))
        return;
    do {
        stream_feed(b->stream, b->in + at, (size_t)n - at, &used, &ev);
        at += used;
        take_event(b, &ev);
    } while (!b->finished && (ev.kind != STREAM_NONE || (at < (size_t)n && used > 0)));
    if (b->finished)
        return;
    if (!b->sending && b->fd >= 0)
        write_descriptor(b);
    if (!b->finished) {
        flush(b);
        maybe_finished(b);
    }
}

static void on_timer(uv_timer_t *t)
{
    struct bulk *b = t->data;
    vi_time now = vi_clock_boottime();
    if (b->finished)
        return;
    if (!b->open && now - b->began > b->open_within)
        bulk_finish(b, VI_ETIMEDOUT, "no answer to the handshake");
    else if (now - b->moved > BULK_SILENCE)
        bulk_finish(b, VI_ETIMEDOUT, "nothing moved for a minute");
    else
        set_poll(b); /* the bandwidth limit may let more through now */
}

struct bulk *bulk_make(uv_loop_t *loop, const struct mesh_config *cfg, struct vi_rng *rng, const uint8_t *x,
                         const struct vi_id *peer, const void *purpose, size_t len)
{
    struct bulk *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->fd = -1;
    b->began = b->moved = b->filled = vi_clock_boottime();
    b->open_within = BULK_HANDSHAKE;
    b->stream = stream_new(cfg, rng, x, peer, purpose, len, b->began);
    if (!b->stream) {
        free(b);
        return NULL;
    }
    uv_tcp_init(loop, &b->tcp);
    uv_timer_init(loop, &b->timer);
    b->tcp.data = b->timer.data = b;
    b->handles = 2;
    uv_timer_start(&b->timer, on_timer, 50, 50);
    return b;
}

static void on_hello_written(uv_write_t *req, int status)
{
    (void)status; /* the next write, or the silence, tells */
    free(req);
}

static void write_hello(struct bulk *b)
{
    struct out *o = malloc(sizeof *o + BULK_HELLO);
    uv_buf_t buf;
    int err = UV_ENOMEM;
    if (o) {
        memcpy(o->bytes, b->hello, BULK_HELLO);
        buf = uv_buf_init((char *)o->bytes, BULK_HELLO);
        err = uv_write(&o->req, (uv_stream_t *)&b->tcp, &buf, 1, on_hello_written);
    }
    if (err < 0) {
        free(o);
        bulk_finish(b, VI_EIO, uv_strerror(err));
    }
}

void bulk_connected(struct bulk *b)
{
    b->connected = b->reading = true;
    uv_tcp_nodelay(&b->tcp, 1);
    if (b->has_hello)
        write_hello(b);
    if (b->finished)
        return;
    uv_read_start((uv_stream_t *)&b->tcp, on_alloc, on_read);
    flush(b);
}

static void on_connect(uv_connect_t *req, int status)
{
    struct bulk *b = req->data;
    if (b->finished)
        return;
    if (status < 0)
        bulk_finish(b, VI_EIO, uv_strerror(status));
    else
        bulk_connected(b);
}

static socklen_t sockaddr_of(const struct mesh_addr *a, struct sockaddr_storage *ss)
{
    memset(ss, 0, sizeof *ss);
    if (a->family == 6) {
        struct sockaddr_in6 *s = (struct sockaddr_in6 *)ss;
        s->sin6_family = AF_INET6;
        s->sin6_port = htons(a->port);
        memcpy(&s->sin6_addr, a->ip, 16);
        return sizeof *s;
    }
    struct sockaddr_in *s = (struct sockaddr_in *)ss;
    s->sin_family = AF_INET;
    s->sin_port = htons(a->port);
    memcpy(&s->sin_addr, a->ip, 4);
    return sizeof *s;
}

void bulk_connect(struct bulk *b, const struct mesh_addr *to)
{
    struct sockaddr_storage ss;
    int err;
    sockaddr_of(to, &ss);
    b->connect.data = b;
    err = to->family == 4 || to->family == 6 ? uv_tcp_connect(&b->connect, &b->tcp, (struct sockaddr *)&ss, on_connect)
                                             : UV_EADDRNOTAVAIL;
    if (err < 0)
        bulk_finish(b, VI_EIO, uv_strerror(err));
}

struct bulk *bulk_make_sender(uv_loop_t *loop, const struct mesh_config *cfg, struct vi_rng *rng,
                              const uint8_t x[CERT_KEY], const struct vi_id *peer, const void *purpose, size_t len,
                              int fd, uint64_t bandwidth, bulk_done *done, void *arg)
{
    struct bulk *b = bulk_make(loop, cfg, rng, x, peer, purpose, len);
    if (!b) {
        close(fd);
        return NULL;
    }
    b->sending = true;
    b->bandwidth = bandwidth;
    b->done = done;
    b->arg = arg;
    if (!take_fd(b, fd))
        bulk_finish(b, VI_EIO, "the local end can't be watched");
    return b;
}

struct bulk *bulk_send(uv_loop_t *loop, const struct mesh_config *cfg, struct vi_rng *rng,
                       const struct mesh_addr *to, const uint8_t x[CERT_KEY], const struct vi_id *peer,
                       const void *purpose, size_t len, int fd, uint64_t bandwidth, bulk_done *done, void *arg)
{
    struct bulk *b = bulk_make_sender(loop, cfg, rng, x, peer, purpose, len, fd, bandwidth, done, arg);
    if (b && !b->finished)
        bulk_connect(b, to);
    return b;
}

struct bulk *bulk_send_through(uv_loop_t *loop, const struct mesh_config *cfg, struct vi_rng *rng,
                               const struct mesh_addr *relay, const uint8_t token[BULK_TOKEN], const uint8_t x[CERT_KEY],
                               const struct vi_id *peer, const void *purpose, size_t len, int fd, uint64_t bandwidth,
                               bulk_done *done, void *arg)
{
    struct bulk *b = bulk_make_sender(loop, cfg, rng, x, peer, purpose, len, fd, bandwidth, done, arg);
    if (!b || b->finished)
        return b;
    bulk_hello_write(b->hello, BULK_JOIN, token);
    b->has_hello = true;
    bulk_connect(b, relay);
    return b;
}

void bulk_open_within(struct bulk *b, vi_time span)
{
    b->open_within = span;
}

bool bulk_opened(const struct bulk *b)
{
    return b->open;
}

void bulk_cancel(struct bulk *b)
{
    bulk_finish(b, VI_ECANCELED, "given up");
}

uint64_t bulk_bytes(const struct bulk *b)
{
    return b->bytes;
}

void bulk_limit(struct bulk *b, uint64_t bandwidth)
{
    if (!b->bandwidth)
        b->filled = vi_clock_boottime();
    b->bandwidth = bandwidth;
}
