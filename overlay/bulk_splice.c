/* As a relay: two connections joined. What one says goes to the other, as it is; nothing is read from one
 * while the other hasn't taken what was read before. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "overlay/bulk_internal.h"
#include "peer/base/err.h"

#define TICK 50 /* ms */

struct splice;

struct side {
    struct splice *of;
    uv_tcp_t tcp;
    uv_shutdown_t shutdown;
    uv_write_t write; /* to this side */
    bool there, reading, writing, ended; /* ended: said all it has */
    size_t len; /* bytes that this side has said and the other hasn't got */
    double tokens;
    uint8_t buf[READ_BYTES];
};

struct splice {
    LIST_ENTRY(splice) link;
    struct bulk_server *server;
    uint8_t token[BULK_TOKEN];
    uint64_t bandwidth; /* KiB/s */
    uv_timer_t timer;
    unsigned handles;
    bool closing;
    vi_time began, moved, filled;
    struct side side[2];
};

static void go_on(struct side *a);

static void on_closed(uv_handle_t *h)
{
    struct splice *p = h->data;
    if (--p->handles > 0)
        return;
    LIST_REMOVE(p, link);
    p->server->n_splices--;
    bulk_server_left(p->server);
    free(p);
}

static void end(struct splice *p)
{
    if (p->closing)
        return;
    p->closing = true;
    uv_close((uv_handle_t *)&p->timer, on_closed);
    for (unsigned i = 0; i < 2; i++)
        if (p->side[i].there)
            uv_close((uv_handle_t *)&p->side[i].tcp, on_closed);
}

void splice_close_all(struct bulk_server *s)
{
    struct splice *p;
    LIST_FOREACH (p, &s->splices, link)
        end(p);
}

static struct side *other(struct side *a)
{
    return a == &a->of->side[0] ? &a->of->side[1] : &a->of->side[0];
}

static struct side *side_of(uv_stream_t *s)
{
    struct splice *p = s->data;
    return s == (uv_stream_t *)&p->side[0].tcp ? &p->side[0] : &p->side[1];
}

/* ---- bytes ---- */

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct side *to = req->data;
    (void)status;
    if (to->ended && other(to)->ended && !to->len && !other(to)->len)
        end(to->of);
}

static void on_written(uv_write_t *req, int status)
{
    struct side *to = req->data, *from = other(to);
    to->writing = false;
    if (to->of->closing)
        return;
    if (status < 0) {
        end(to->of);
        return;
    }
    to->of->moved = vi_clock_boottime();
    from->len = 0;
    go_on(from);
}

static void on_alloc(uv_handle_t *h, size_t n, uv_buf_t *buf)
{
    struct side *a = side_of((uv_stream_t *)h);
    (void)n;
    *buf = uv_buf_init((char *)a->buf, sizeof a->buf);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct side *a = side_of(s);
    (void)buf;
    if (a->of->closing || n == 0)
        return;
    if (n < 0 && n != UV_EOF) {
        end(a->of);
        return;
    }
    uv_read_stop(s);
    a->reading = false;
    a->ended = n == UV_EOF;
    a->len = n < 0 ? 0 : (size_t)n;
    go_on(a);
}

/* What a has said is written to the other side, then more is read. */
static void go_on(struct side *a)
{
    struct splice *p = a->of;
    struct side *to = other(a);
    uv_buf_t buf;
    int err = 0;
    if (p->closing || !a->there || !to->there || to->writing || a->reading)
        return;
    if (a->len) {
        buf = uv_buf_init((char *)a->buf, (unsigned)a->len);
        to->write.data = to;
        to->writing = true;
        a->tokens -= (double)a->len;
        err = uv_write(&to->write, (uv_stream_t *)&to->tcp, &buf, 1, on_written);
    } else if (a->ended) {
        to->shutdown.data = to;
        to->writing = true; /* nothing comes after it */
        err = uv_shutdown(&to->shutdown, (uv_stream_t *)&to->tcp, on_shutdown);
    } else if (!p->bandwidth || a->tokens > 0) {
        a->reading = true;
        err = uv_read_start((uv_stream_t *)&a->tcp, on_alloc, on_read);
    }
    if (err < 0)
        end(p);
}

/* ---- time ---- */

static void refill(struct splice *p, vi_time now)
{
    double add = (double)(now - p->filled) / 1e6 * (double)p->bandwidth * 1024, most = (double)p->bandwidth * 256;
    p->filled = now;
    for (unsigned i = 0; i < 2; i++)
        p->side[i].tokens = p->side[i].tokens + add < most ? p->side[i].tokens + add : most;
}

static void on_timer(uv_timer_t *t)
{
    struct splice *p = t->data;
    bool both = p->side[0].there && p->side[1].there;
    vi_time now = vi_clock_boottime();
    if ((!both && now - p->began > BULK_MEET) || now - p->moved > BULK_SILENCE) {
        end(p);
        return;
    }
    refill(p, now);
    go_on(&p->side[0]);
    go_on(&p->side[1]);
}

/* ---- connections ---- */

static struct splice *find(struct bulk_server *s, const uint8_t token[BULK_TOKEN])
{
    struct splice *p;
    LIST_FOREACH (p, &s->splices, link)
        if (!p->closing && !sodium_memcmp(p->token, token, BULK_TOKEN))
            return p;
    return NULL;
}

int bulk_server_splice(struct bulk_server *s, const uint8_t token[BULK_TOKEN], uint64_t bandwidth)
{
    struct splice *p = find(s, token);
    if (p)
        return 0;
    if (s->n_splices >= BULK_SPLICES_MAX || s->closing)
        return VI_EFULL;
    p = calloc(1, sizeof *p);
    if (!p)
        return VI_ENOMEM;
    p->server = s;
    memcpy(p->token, token, BULK_TOKEN);
    p->bandwidth = bandwidth;
    p->began = p->moved = p->filled = vi_clock_boottime();
    p->side[0].of = p->side[1].of = p;
    uv_timer_init(s->loop, &p->timer);
    p->timer.data = p;
    p->handles = 1;
    uv_timer_start(&p->timer, on_timer, TICK, TICK);
    s->n++;
    s->n_splices++;
    LIST_INSERT_HEAD(&s->splices, p, link);
    return 0;
}

int splice_join(struct bulk_server *s, const uint8_t token[BULK_TOKEN], int fd, const uint8_t *rest, size_t len)
{
    struct splice *p = find(s, token);
    struct side *a = p && !p->side[0].there ? &p->side[0] : p && !p->side[1].there ? &p->side[1] : NULL;
    if (!a || len > sizeof a->buf) {
        close(fd);
        return VI_ENOTFOUND;
    }
    uv_tcp_init(s->loop, &a->tcp);
    a->tcp.data = p;
    a->there = true;
    p->handles++;
    if (uv_tcp_open(&a->tcp, fd) < 0) {
        close(fd);
        end(p);
        return VI_EIO;
    }
    uv_tcp_nodelay(&a->tcp, 1);
    memcpy(a->buf, rest, len);
    a->len = len;
    p->moved = vi_clock_boottime();
    go_on(&p->side[0]);
    go_on(&p->side[1]);
    return 0;
}
