/* The mesh core on a real UDP socket. See mesh_io.h. */
#include "peer/mesh_io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/netaddr.h"

#define BATCH      32
#define DRAIN_MOST 64 /* batches in one turn: a flood must not keep the loop from its timers */
#define DATAGRAM   2048

struct mesh_io {
    uv_poll_t poll, poll_first;
    unsigned handles;
    struct mesh *core;
    struct mesh_io_hooks hooks;
    int fd, first;
    uint64_t send_errors;
    uint8_t buf[BATCH][DATAGRAM];
};

static vi_time now_of(void)
{
    return vi_clock_boottime();
}

void mesh_io_datagram(struct mesh_io *m, const struct mesh_addr *from, const void *data, size_t len)
{
    struct mesh_event ev = {.kind = MESH_EV_DATAGRAM};
    ev.datagram.from = *from;
    ev.datagram.data = data;
    ev.datagram.len = len;
    mesh_step(m->core, now_of(), &ev);
}

/* true while there may be more */
static bool receive_batch(struct mesh_io *m, int fd)
{
    struct mmsghdr msgs[BATCH];
    struct iovec iov[BATCH];
    struct sockaddr_storage from[BATCH];
    int n;
    memset(msgs, 0, sizeof msgs);
    for (int i = 0; i < BATCH; i++) {
        iov[i].iov_base = m->buf[i];
        iov[i].iov_len = DATAGRAM;
        msgs[i].msg_hdr.msg_iov = &iov[i];
        msgs[i].msg_hdr.msg_iovlen = 1;
        msgs[i].msg_hdr.msg_name = &from[i];
        msgs[i].msg_hdr.msg_namelen = sizeof from[i];
    }
    n = recvmmsg(fd, msgs, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++) {
        struct mesh_addr a;
        netaddr_from_sockaddr(&a, &from[i]);
        mesh_io_datagram(m, &a, m->buf[i], msgs[i].msg_len);
    }
    /* an ICMP error of an earlier send is reported once here; the next read goes on */
    return n == BATCH || (n < 0 && (errno == ECONNREFUSED || errno == EHOSTUNREACH));
}

void mesh_io_drain(struct mesh_io *m)
{
    for (int i = 0; i < DRAIN_MOST && receive_batch(m, m->fd); i++)
        ;
}

static void on_readable(uv_poll_t *p, int status, int events)
{
    (void)status;
    (void)events;
    mesh_io_drain(p->data);
}

/* One batch a turn. */
static void on_first(uv_poll_t *p, int status, int events)
{
    struct mesh_io *m = p->data;
    (void)status;
    (void)events;
    (void)receive_batch(m, m->first);
}

struct mesh_io *mesh_io_open(uv_loop_t *loop, int fd, int first, const struct mesh_config *cfg,
                             struct vi_rng *rng, const struct mesh_io_hooks *hooks)
{
    struct mesh_io *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->fd = fd;
    m->first = first;
    m->hooks = *hooks;
    m->core = mesh_new(cfg, rng, now_of());
    if (!m->core || uv_poll_init(loop, &m->poll, fd) < 0) {
        mesh_free(m->core);
        free(m);
        return NULL;
    }
    m->poll.data = m->poll_first.data = m;
    m->handles = 1;
    uv_poll_start(&m->poll, UV_READABLE, on_readable);
    if (uv_poll_init(loop, &m->poll_first, first) < 0) {
        mesh_io_close(m);
        return NULL;
    }
    m->handles = 2;
    uv_poll_start(&m->poll_first, UV_READABLE, on_first);
    return m;
}

static void on_closed(uv_handle_t *h)
{
    struct mesh_io *m = h->data;
    if (--m->handles)
        return;
    mesh_free(m->core);
    free(m);
}

void mesh_io_close(struct mesh_io *m)
{
    if (!m)
        return;
    if (m->handles > 1)
        uv_close((uv_handle_t *)&m->poll_first, on_closed);
    uv_close((uv_handle_t *)&m->poll, on_closed);
}

struct mesh *mesh_io_core(struct mesh_io *m)
{
    return m->core;
}

static void send_datagram(struct mesh_io *m, const struct mesh_effect *fx)
{
    struct sockaddr_storage to;
    socklen_t len = netaddr_to_sockaddr(&fx->addr, &to);
    /* Answers to first messages may be to addresses that nobody has: until the kernel has given up looking
     * for them they fill a send buffer, which must not be the one that members are answered from. */
    bool answer = fx->len && (fx->data[0] == MESH_COOKIE || fx->data[0] == MESH_RESPONSE);
    /* what the kernel has no room for is lost, as on any network: the cores send again */
    if (sendto(answer ? m->first : m->fd, fx->data, fx->len, MSG_DONTWAIT, (struct sockaddr *)&to, len) < 0)
        m->send_errors++;
}

static void perform(struct mesh_io *m, const struct mesh_effect *fx)
{
    switch (fx->kind) {
    case MESH_FX_DATAGRAM:
        send_datagram(m, fx);
        break;
    case MESH_FX_DELIVER:
        m->hooks.deliver(m->hooks.arg, &fx->peer, fx->channel, fx->data, fx->len);
        break;
    case MESH_FX_PEER_UP:
        m->hooks.up(m->hooks.arg, &fx->peer, &fx->cert, &fx->addr);
        break;
    case MESH_FX_PEER_DOWN:
        m->hooks.down(m->hooks.arg, &fx->peer, fx->why, fx->err);
        break;
    case MESH_FX_KEYS:
        m->hooks.keys(m->hooks.arg, &fx->keys);
        break;
    case MESH_FX_ADMISSION_REQUEST:
        m->hooks.admission(m->hooks.arg, fx);
        break;
    case MESH_FX_DATA:
        m->hooks.data(m->hooks.arg, fx->data, fx->len);
        break;
    case MESH_FX_ADMISSION_ANSWER: /* a running peer never joins */
        break;
    }
}

void mesh_io_pump(struct mesh_io *m, vi_time now)
{
    const struct mesh_effect *fx;
    struct mesh_effect copy;
    static uint8_t bytes[DATAGRAM]; /* one loop, one thread: a hook may step the core again */
    if (mesh_deadline(m->core) <= now) {
        struct mesh_event tick = {.kind = MESH_EV_TICK};
        mesh_step(m->core, now, &tick);
    }
    while ((fx = mesh_effect(m->core))) {
        copy = *fx;
        if (fx->data && fx->len <= sizeof bytes) {
            memcpy(bytes, fx->data, fx->len);
            copy.data = bytes;
        }
        perform(m, &copy);
    }
}

vi_time mesh_io_deadline(const struct mesh_io *m)
{
    return mesh_deadline(m->core);
}

int mesh_io_send(struct mesh_io *m, const struct vi_id *to, unsigned channel, const void *data,
                 size_t len)
{
    struct mesh_event ev = {.kind = MESH_EV_SEND};
    ev.send.peer = *to;
    ev.send.channel = (uint8_t)channel;
    ev.send.data = data;
    ev.send.len = len;
    return mesh_step(m->core, now_of(), &ev);
}

int mesh_io_connect(struct mesh_io *m, const struct vi_id *peer, const uint8_t *x,
                    const struct mesh_addr *addr)
{
    struct mesh_event ev = {.kind = MESH_EV_CONNECT};
    ev.connect.peer = *peer;
    ev.connect.x = x;
    if (addr)
        ev.connect.addr = *addr;
    return mesh_step(m->core, now_of(), &ev);
}

void mesh_io_forget(struct mesh_io *m, const struct vi_id *peer)
{
    struct mesh_event ev = {.kind = MESH_EV_CLOSE};
    ev.close.peer = *peer;
    mesh_step(m->core, now_of(), &ev);
}
