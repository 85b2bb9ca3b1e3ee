/* Sending: frames sealed one a datagram, datagrams of one size to one peer sent with one call. */
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>

#include "overlay/datapath_internal.h"

#define BUSY_WAIT   2 /* ms for room in the socket's buffer */
#define AES_MESSAGES (UINT64_C(1) << 32)

static void put16(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* ---- a batch ---- */

static bool no_room(int e)
{
    return e == EAGAIN || e == EWOULDBLOCK || e == ENOBUFS;
}

static ssize_t send_once(struct worker *w, unsigned lane, const struct msghdr *m)
{
    int fd = w->udp_fd[lane];
    ssize_t n = sendmsg(fd, m, MSG_DONTWAIT);
    if (n < 0 && no_room(errno)) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (poll(&p, 1, BUSY_WAIT) == 1)
            n = sendmsg(fd, m, MSG_DONTWAIT);
    }
    if (n < 0 && (errno == ECONNREFUSED || errno == EHOSTUNREACH)) /* an earlier packet's ICMP error */
        n = sendmsg(fd, m, MSG_DONTWAIT);
    return n;
}

/* What became of n datagrams of this size that the system didn't take. */
static void not_sent(struct worker *w, struct path *p, unsigned n, size_t size, int e)
{
    if (e == EMSGSIZE) {
        count(&w->n.tx_too_big, n);
        path_refused(w, p, size);
    } else
        count(no_room(e) ? &w->n.tx_busy : &w->n.tx_errors, n);
}

static struct msghdr message_to(const struct route *r, struct iovec *iov)
{
    struct msghdr m = {.msg_name = (void *)(uintptr_t)&r->to, .msg_namelen = r->to_len, .msg_iov = iov,
                       .msg_iovlen = 1};
    return m;
}

static void send_singly(struct worker *w, const struct send_batch *b)
{
    for (unsigned i = 0; i < b->n; i++) {
        size_t at = i * b->size, len = i + 1 < b->n ? b->size : b->bytes - at;
        struct iovec iov = {(void *)(uintptr_t)(b->buf + at), len};
        struct msghdr m = message_to(b->to, &iov);
        if (send_once(w, b->lane, &m) < 0) {
            not_sent(w, b->to->s->path, 1, len, errno);
            if (no_room(errno)) {
                count(&w->n.tx_busy, b->n - i - 1);
                return;
            }
        }
    }
}

/* Without UDP_SEGMENT: the second best way. */
static void send_many(struct worker *w, const struct send_batch *b)
{
    struct mmsghdr m[SEND_SEGMENTS];
    struct iovec iov[SEND_SEGMENTS];
    for (unsigned i = 0; i < b->n; i++) {
        size_t at = i * b->size;
        iov[i] = (struct iovec){(void *)(uintptr_t)(b->buf + at), i + 1 < b->n ? b->size : b->bytes - at};
        m[i] = (struct mmsghdr){.msg_hdr = message_to(b->to, &iov[i])};
    }
    int n = sendmmsg(w->udp_fd[b->lane], m, b->n, MSG_DONTWAIT);
    if (n == (int)b->n)
        return;
    unsigned sent = n > 0 ? (unsigned)n : 0;
    for (unsigned i = sent; i < b->n; i++) { /* one by one, so that each says what is wrong */
        struct msghdr one = message_to(b->to, &iov[i]);
        if (send_once(w, b->lane, &one) >= 0)
            continue;
        not_sent(w, b->to->s->path, 1, iov[i].iov_len, errno);
        if (no_room(errno)) {
            count(&w->n.tx_busy, b->n - i - 1);
            return;
        }
    }
}

static void send_segments(struct worker *w, const struct send_batch *b)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(uint16_t))];
    } control = {.space = {0}};
    struct iovec iov = {(void *)(uintptr_t)b->buf, b->bytes};
    struct msghdr m = message_to(b->to, &iov);
    struct cmsghdr *c;
    uint16_t size = (uint16_t)b->size;
    m.msg_control = control.space;
    m.msg_controllen = sizeof control.space;
    c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(c), &size, sizeof size);
    if (send_once(w, b->lane, &m) >= 0) {
        count(&w->n.tx_gso, 1);
        return;
    }
    if (no_room(errno)) {
        count(&w->n.tx_busy, b->n);
        return;
    }
    /* too large for the path (older kernels say EINVAL), or this device can't: singly it is told which */
    if (errno != EMSGSIZE && errno != EINVAL && errno != ENETUNREACH && errno != EHOSTUNREACH) {
        count(&w->n.tx_gso_refused, 1);
        path_gso_failed(w, b->to->s->path);
    }
    send_singly(w, b);
}

/* Through a relay: each datagram goes inside another. */
static void send_via(struct worker *w, const struct send_batch *b)
{
    for (unsigned i = 0; i < b->n; i++) {
        size_t at = i * b->size, len = i + 1 < b->n ? b->size : b->bytes - at;
        int e = via_send(w, b->to, b->buf + at, len);
        if (e)
            not_sent(w, b->to->s->path, 1, len, e);
    }
}

static void flush(struct worker *w, struct send_batch *b)
{
    if (b->n == 0)
        return;
    count(&w->n.tx_packets, b->n);
    if (b->to->addr.family == MESH_VIA)
        send_via(w, b);
    else if (b->n == 1)
        send_singly(w, b);
    else if (atomic_load_explicit(&b->to->s->path->gso, memory_order_relaxed))
        send_segments(w, b);
    else
        send_many(w, b);
    path_used(w, b->to->s->path);
    b->n = 0;
    b->bytes = 0;
    b->closed = false;
}

void tx_flush(struct worker *w)
{
    flush(w, &w->send[LIGHT]); /* first, also when only the other one is full */
    flush(w, &w->send[HEAVY]);
}

/* ---- one datagram ---- */

static unsigned lane_of(const struct worker *w, const struct session *s, unsigned lane)
{
    return lane < w->d->lanes && s->tx[w->index * w->d->lanes + lane] ? lane : HEAVY;
}

static struct tx_queue *queue_of(const struct worker *w, const struct session *s, unsigned lane)
{
    return s->tx[w->index * w->d->lanes + lane];
}

static bool may_seal(const struct tx_queue *t, enum noise_cipher c)
{
    return t && (c != NOISE_AESGCM || t->counter < AES_MESSAGES);
}

static bool seal(struct worker *w, const struct route *r, unsigned lane, uint8_t *datagram, size_t len)
{
    struct tx_queue *t = queue_of(w, r->s, lane);
    struct mesh_header h = {.type = MESH_DATA, .queue = (uint16_t)(w->index * w->d->lanes + lane + 1), .receiver = r->s->keys.remote,
                            .counter = t->counter++};
    mesh_header_write(datagram, &h);
    if (aead_seal(&t->key, h.counter, datagram, MESH_HEADER, datagram + MESH_HEADER, len)) {
        count(&w->n.tx_errors, 1);
        return false;
    }
    count(&t->sent, 1);
    return true;
}

/* Where the plaintext, len bytes, of the next datagram to r goes; then tx_add(). */
static uint8_t *room(struct worker *w, const struct route *r, size_t len)
{
    struct send_batch *b = &w->send[w->lane];
    size_t size = len + MESH_OVERHEAD;
    if (b->n && (b->to != r || b->closed || size > b->size || b->n == SEND_SEGMENTS || b->bytes + size > SEND_BYTES))
        tx_flush(w);
    return b->buf + b->bytes + MESH_HEADER;
}

static void add(struct worker *w, const struct route *r, size_t len)
{
    struct send_batch *b = &w->send[w->lane];
    size_t size = len + MESH_OVERHEAD;
    if (!seal(w, r, b->lane, b->buf + b->bytes, len))
        return;
    if (b->n == 0) {
        b->to = r;
        b->size = size;
    }
    b->closed = size < b->size;
    b->bytes += size;
    b->n++;
}

int tx_own(struct worker *w, const struct route *r, uint8_t *datagram, size_t len)
{
    struct iovec iov = {datagram, len + MESH_OVERHEAD};
    struct msghdr m = message_to(r, &iov);
    unsigned lane = lane_of(w, r->s, LIGHT);
    if (!may_seal(queue_of(w, r->s, lane), r->s->keys.cipher))
        return EKEYEXPIRED;
    if (!seal(w, r, lane, datagram, len))
        return EIO;
    if (r->addr.family == MESH_VIA)
        return via_send(w, r, datagram, len + MESH_OVERHEAD);
    return send_once(w, lane, &m) < 0 ? errno : 0;
}

/* ---- frames ---- */

static void fragments(struct worker *w, const struct route *r, uint16_t number, uint8_t flags, const uint8_t *frame,
                      size_t len, size_t datagram)
{
    size_t most = datagram - DATAPATH_OVERHEAD - FRAGMENT, parts = (len + most - 1) / most, each;
    if (parts > REASSEMBLY_PARTS || len > DATAPATH_FRAME_MAX) {
        count(&w->n.too_long, 1);
        return;
    }
    each = (len + parts - 1) / parts;
    w->fragment++;
    for (size_t at = 0; at < len; at += each) {
        size_t n = len - at < each ? len - at : each;
        uint8_t *p = room(w, r, INNER + FRAGMENT + n);
        put16(p, number);
        p[2] = flags | FLAG_FRAGMENT;
        put16(p + 3, w->fragment);
        put16(p + 5, at);
        put16(p + 7, len);
        memcpy(p + INNER + FRAGMENT, frame + at, n);
        add(w, r, INNER + FRAGMENT + n);
    }
}

static void whole_frame(struct worker *w, const struct route *r, uint16_t number, uint8_t flags, const uint8_t *frame,
                        size_t len, size_t datagram)
{
    uint8_t *p;
    if (len + DATAPATH_OVERHEAD > datagram) {
        fragments(w, r, number, flags, frame, len, datagram);
        return;
    }
    p = room(w, r, INNER + len);
    put16(p, number);
    p[2] = flags;
    memcpy(p + INNER, frame, len);
    add(w, r, INNER + len);
}

static void superframe(struct worker *w, const struct route *r, uint16_t number, uint8_t flags, const uint8_t *frame,
                       size_t len, const struct vnet_frame *f, size_t datagram)
{
    struct gso_split s;
    size_t n, fit = datagram - DATAPATH_OVERHEAD;
    count(&w->n.tx_superframes, 1);
    gso_split_begin(&s, frame, len, f, fit);
    while ((n = gso_split_size(&s))) {
        uint8_t *p;
        if (n > fit) {
            gso_split_next(&s, w->segment);
            fragments(w, r, number, flags, w->segment, n, datagram);
            continue;
        }
        p = room(w, r, INNER + n);
        put16(p, number);
        p[2] = flags;
        gso_split_next(&s, p + INNER);
        add(w, r, INNER + n);
    }
}

void tx_frame(struct worker *w, const struct switch_env_table *t, unsigned peer, uint8_t flags, const uint8_t *frame,
              size_t len, const struct vnet_frame *super)
{
    const struct route *r = route_to(w->keyring, &t->peers[peer], w->now);
    size_t datagram;
    if (r)
        w->lane = lane_of(w, r->s, w->lane);
    if (!r || !may_seal(queue_of(w, r->s, w->lane), r->s->keys.cipher)) {
        count(&w->n.tx_no_session, 1);
        count(&seen_counters(w, t)->tx_no_session, 1);
        return;
    }
    if (t->number[peer] == 0) {
        count(&w->n.tx_no_number, 1);
        count(&seen_counters(w, t)->tx_no_number, 1);
        return;
    }
    datagram = atomic_load_explicit(&r->s->path->bytes, memory_order_relaxed);
    if (r->addr.family == MESH_VIA && datagram > VIA_MOST)
        datagram = VIA_MOST;
    if (super)
        superframe(w, r, t->number[peer], flags, frame, len, super, datagram);
    else
        whole_frame(w, r, t->number[peer], flags, frame, len, datagram);
}
