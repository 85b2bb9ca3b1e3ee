/* Receiving: datagrams, many at once, opened where they lie; what they carry goes to TAPs. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/datapath_internal.h"

static unsigned get16(const uint8_t *p)
{
    return (unsigned)(p[0] << 8 | p[1]);
}

static void from_sockaddr(struct mesh_addr *a, const union udp_addr *u)
{
    memset(a, 0, sizeof *a);
    if (u->s.sa_family == AF_INET) {
        a->family = 4;
        a->port = ntohs(u->v4.sin_port);
        memcpy(a->ip, &u->v4.sin_addr, 4);
    } else if (u->s.sa_family == AF_INET6) {
        bool mapped = IN6_IS_ADDR_V4MAPPED(&u->v6.sin6_addr);
        a->family = mapped ? 4 : 6;
        a->port = ntohs(u->v6.sin6_port);
        memcpy(a->ip, u->v6.sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
    }
}

static void keep_unknown(struct worker *w, const union udp_addr *from, const uint8_t *p, size_t len)
{
    struct datapath *d = w->d;
    bool kept = false;
    count(&w->n.rx_unknown, 1);
    pthread_mutex_lock(&d->mail);
    if (d->n_unknown < DATAPATH_UNKNOWN) {
        struct unknown *u = &d->unknown[d->n_unknown++];
        from_sockaddr(&u->from, from);
        u->len = len < sizeof u->bytes ? len : sizeof u->bytes; /* its header is what tells */
        memcpy(u->bytes, p, u->len);
        kept = true;
    }
    pthread_mutex_unlock(&d->mail);
    if (kept)
        d->cfg.wake(d->cfg.arg);
}

/* An authentic packet came from here. */
static void seen_at(struct worker *w, struct session *s, const union udp_addr *from)
{
    if (!memcmp(&s->seen[w->index], from, sizeof *from))
        return;
    s->seen[w->index] = *from;
    pthread_mutex_lock(&w->d->mail);
    from_sockaddr(&s->from, from);
    pthread_mutex_unlock(&w->d->mail);
}

/* The kernel sorts queues to sockets (udp.h), so each has one thread, and its window needs no lock. */
static struct rx_queue *queue_of(struct worker *w, struct session *s, uint16_t queue)
{
    struct rx_queue *q;
    uint8_t key[NOISE_KEY];
    size_t size = (sizeof *q + 63) & ~(size_t)63;
    if (queue == 0 || queue >= s->keys.rx_queues || queue >= MESH_QUEUES) {
        count(&w->n.rx_old, 1);
        return NULL;
    }
    if ((queue - 1u) % (w->d->threads * w->d->lanes) / w->d->lanes != w->index) {
        count(&w->n.rx_stray, 1);
        return NULL;
    }
    q = atomic_load(&s->rx[queue]);
    if (q)
        return q;
    if (!(q = aligned_alloc(64, size))) {
        count(&w->n.rx_old, 1);
        return NULL;
    }
    memset(q, 0, size);
    mesh_queue_key(s->keys.rx_base, s->keys.cipher, queue, key);
    if (aead_init(&q->key, s->keys.cipher, key, false)) {
        free(q);
        q = NULL;
        count(&w->n.rx_old, 1);
    }
    sodium_memzero(key, sizeof key);
    atomic_store(&s->rx[queue], q);
    return q;
}

/* ---- frames ---- */

static const struct tap *tap_of(const struct worker *w, const struct vi_id *env)
{
    for (unsigned i = 0; w->taps && i < SWITCH_ENVS; i++)
        if (w->taps->tap[i].n && vi_id_equal(&w->taps->tap[i].env, env))
            return &w->taps->tap[i];
    return NULL;
}

static void frame_in(struct worker *w, const struct session *s, unsigned number, uint8_t flags, uint8_t *frame,
                     size_t len)
{
    const struct switch_env_table *t =
        w->table && number >= 1 && number <= SWITCH_ENVS ? w->table->envs[number - 1] : NULL;
    const struct tap *tap;
    struct env_counters *counts;
    struct forward_decision f;
    if (!t) {
        count(&w->n.rx_number, 1);
        return;
    }
    f = forward_from_peer(t, &s->keys.peer, flags & FLAG_AGAIN, frame, len);
    if (f.to == FORWARD_PEER) {
        tx_frame(w, t, f.peer, FLAG_AGAIN | (flags & FLAG_PARTIAL), frame, len, NULL);
        return;
    }
    tap = f.to == FORWARD_LOCAL ? tap_of(w, &t->env) : NULL;
    if (!tap) {
        seen_drop(w, t, f.to == FORWARD_LOCAL ? FORWARD_NO_TAP : f.why);
        return;
    }
    seen_traffic(w, &t->env, &f, frame, 1, len);
    counts = seen_counters(w, t);
    count(&counts->rx_frames, 1);
    count(&counts->rx_bytes, len);
    tap_write(w, tap, frame, len, flags & FLAG_PARTIAL);
}

static void part_in(struct worker *w, const struct session *s, uint16_t queue, const uint8_t *plain, size_t len)
{
    struct reassembly_key key = {.session = s->keys.local, .queue = queue};
    uint64_t before = w->parts.incomplete;
    uint8_t *frame;
    size_t whole;
    count(&w->n.rx_fragments, 1);
    if (len < INNER + FRAGMENT)
        return;
    key.id = (uint16_t)get16(plain + 3);
    frame = reassembly_add(&w->parts, w->now, &key, get16(plain + 5), get16(plain + 7), plain + INNER + FRAGMENT,
                           len - INNER - FRAGMENT, &whole);
    count(&w->n.rx_incomplete, w->parts.incomplete - before);
    if (!frame)
        return;
    frame_in(w, s, get16(plain), plain[2], frame, whole);
    tap_flush(w); /* the next one is put together in the same place */
}

static void packet_in(struct worker *w, uint8_t *p, size_t len, const union udp_addr *from)
{
    const struct route *r;
    struct mesh_header h;
    struct session *s;
    struct rx_queue *q;
    uint8_t *plain = p + MESH_HEADER;
    if (mesh_header_read(&h, p, len) || h.type != MESH_DATA || len < DATAPATH_OVERHEAD) {
        count(&w->n.rx_short, 1);
        return;
    }
    r = route_find(w->keyring, h.receiver);
    if (!r) {
        keep_unknown(w, from, p, len);
        return;
    }
    s = r->s;
    q = queue_of(w, s, h.queue);
    if (!q) /* counted */
        return;
    if (w->now > s->keys.born + MESH_REJECT_AFTER) {
        count(&w->n.rx_old, 1);
        return;
    }
    if (!mesh_window_fresh(&q->window, h.counter)) {
        count(&w->n.rx_replay, 1);
        return;
    }
    if (aead_open(&q->key, h.counter, p, MESH_HEADER, plain, len - MESH_HEADER)) {
        count(&w->n.rx_auth, 1);
        count(&q->failed, 1);
        return;
    }
    mesh_window_mark(&q->window, h.counter);
    w->lane = (h.queue - 1u) % w->d->lanes; /* what is passed on stays in it */
    seen_at(w, s, from);
    count(&q->received, 1);
    count(&w->n.rx_packets, 1);
    len -= MESH_OVERHEAD;
    if (get16(plain) == 0)
        path_packet(w, r, plain, len);
    else if (plain[2] & FLAG_FRAGMENT)
        part_in(w, s, h.queue, plain, len);
    else
        frame_in(w, s, get16(plain), plain[2], plain + INNER, len - INNER);
}

void rx_packet(struct worker *w, uint8_t *p, size_t len)
{
    static const union udp_addr nowhere;
    packet_in(w, p, len, &nowhere);
}

/* ---- the socket ---- */

void rx_gro(struct worker *w, bool on)
{
    int value = on;
    w->gro = on;
    for (unsigned lane = 0; lane < w->d->lanes; lane++)
        w->gro = setsockopt(w->udp_fd[lane], SOL_UDP, UDP_GRO, &value, sizeof value) == 0 && w->gro;
}

/* Of what size are the datagrams that the kernel has put together? */
static size_t segment_size(struct msghdr *m, size_t len)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(c), sizeof size);
            return size > 0 && (size_t)size < len ? (size_t)size : len;
        }
    return len;
}

static int receive(struct worker *w, unsigned lane)
{
    struct receive_batch *b = &w->receive;
    for (unsigned i = 0; i < RECV_MSGS; i++) {
        memset(&b->from[i], 0, sizeof b->from[i]);
        b->iov[i] = (struct iovec){b->buf[i], RECV_BYTES};
        b->msg[i].msg_hdr = (struct msghdr){.msg_name = &b->from[i], .msg_namelen = sizeof b->from[i],
                                            .msg_iov = &b->iov[i], .msg_iovlen = 1,
                                            .msg_control = b->control[i], .msg_controllen = sizeof b->control[i]};
    }
    return recvmmsg(w->udp_fd[lane], b->msg, RECV_MSGS, MSG_DONTWAIT, NULL);
}

void rx_socket(struct worker *w, unsigned lane)
{
    struct receive_batch *b = &w->receive;
    size_t bytes = 0;
    for (unsigned packets = 0; packets < TURN_FRAMES && bytes < TURN_BYTES;) {
        int n = receive(w, lane);
        if (n < 0 && (errno == ECONNREFUSED || errno == EHOSTUNREACH)) {
            packets++;
            continue; /* an earlier send's ICMP error */
        }
        if (n <= 0)
            break;
        for (int i = 0; i < n; i++) {
            size_t len = b->msg[i].msg_len, size = segment_size(&b->msg[i].msg_hdr, len);
            if (size < len)
                count(&w->n.rx_gro, 1);
            if (len == 0)
                count(&w->n.rx_short, 1);
            for (size_t at = 0; at < len; at += size, packets++)
                packet_in(w, b->buf[i] + at, len - at < size ? len - at : size, &b->from[i]);
            bytes += len;
            packets++;
        }
        tap_flush(w); /* the buffers are about to be used again */
        if (n < RECV_MSGS)
            break;
    }
    tap_flush(w);
    tx_flush(w); /* what was passed on */
}
