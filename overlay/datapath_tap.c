/* The TAPs: superframes and frames out of them, and into them. */
#include <errno.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "overlay/datapath_internal.h"

#ifndef TUN_F_USO4 /* Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* ---- opening and closing ---- */

/* What the TAP's kernel takes and gives; the plain way if it takes nothing. */
static void set_offload(struct tap *t, bool wanted)
{
    unsigned long tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    t->vnet = t->udp = false;
    if (!wanted) {
        (void)ioctl(t->fd[0], TUNSETOFFLOAD, 0UL); /* a peer before us may have turned it on */
        return;
    }
    t->udp = ioctl(t->fd[0], TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) == 0;
    t->vnet = t->udp || ioctl(t->fd[0], TUNSETOFFLOAD, tcp) == 0;
}

static bool watch(struct worker *w, int fd, unsigned slot)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = slot};
    return epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &ev) == 0;
}

/* Who reads queue q of the TAP in this slot: one queue is read by one thread, or its flows would be reordered. */
static struct worker *reader_of(struct datapath *d, unsigned slot, unsigned n, unsigned q)
{
    return d->worker[n == 1 ? slot % d->threads : q];
}

static void taps_end(struct datapath *d, void *what)
{
    (void)d;
    free(what);
}

/* A copy to be changed and published; NULL: no memory. */
static struct taps *copy_taps(struct datapath *d)
{
    struct taps *new = calloc(1, sizeof *new), *old = atomic_load(&d->taps);
    if (new && old)
        *new = *old;
    return new;
}

static void publish(struct datapath *d, struct taps *t)
{
    t = atomic_exchange(&d->taps, t);
    if (t)
        datapath_retire(d, taps_end, t);
}

static unsigned slot_of(const struct taps *t, const struct vi_id *env, bool make)
{
    unsigned free_slot = SWITCH_ENVS;
    for (unsigned i = 0; i < SWITCH_ENVS; i++) {
        if (t->tap[i].n && vi_id_equal(&t->tap[i].env, env))
            return i;
        if (!t->tap[i].n && free_slot == SWITCH_ENVS)
            free_slot = i;
    }
    return make ? free_slot : SWITCH_ENVS;
}

/* Nobody waits for it any more, and then nobody uses it. */
static void close_tap(struct datapath *d, const struct tap *t)
{
    datapath_synchronize(d);
    for (unsigned i = 0; i < t->n; i++)
        close(t->fd[i]);
}

void datapath_set_tap(struct datapath *d, const struct vi_id *env, int fd, bool vnet)
{
    struct taps *t;
    struct tap old = {.n = 0};
    unsigned slot;
    pthread_mutex_lock(&d->owner);
    t = copy_taps(d);
    slot = t ? slot_of(t, env, fd >= 0) : SWITCH_ENVS;
    if (slot == SWITCH_ENVS) { /* no memory or no place; the switch's own bound is the same */
        if (fd >= 0)
            close(fd);
        free(t);
        pthread_mutex_unlock(&d->owner);
        return;
    }
    old = t->tap[slot];
    for (unsigned i = 0; i < old.n; i++)
        epoll_ctl(reader_of(d, slot, old.n, i)->epoll, EPOLL_CTL_DEL, old.fd[i], NULL);
    t->tap[slot] = (struct tap){.env = *env, .n = fd >= 0, .fd = {fd}};
    if (fd >= 0)
        set_offload(&t->tap[slot], vnet && !d->cfg.no_vnet);
    publish(d, t);
    if (fd >= 0 && !watch(reader_of(d, slot, 1, 0), fd, slot))
        count(&d->n.tap_errors, 1);
    if (old.n)
        close_tap(d, &old);
    pthread_mutex_unlock(&d->owner);
}

void datapath_add_queue(struct datapath *d, const struct vi_id *env, int fd)
{
    struct taps *t;
    struct tap *tap;
    unsigned slot;
    pthread_mutex_lock(&d->owner);
    t = copy_taps(d);
    slot = t ? slot_of(t, env, false) : SWITCH_ENVS;
    tap = slot < SWITCH_ENVS ? &t->tap[slot] : NULL;
    if (!tap || tap->n >= d->threads) {
        close(fd);
        free(t);
        pthread_mutex_unlock(&d->owner);
        return;
    }
    tap->fd[tap->n++] = fd;
    publish(d, t);
    if (tap->n == 2 && slot % d->threads != 0) { /* from now on the first queue is the first thread's */
        epoll_ctl(reader_of(d, slot, 1, 0)->epoll, EPOLL_CTL_DEL, tap->fd[0], NULL);
        datapath_synchronize(d);
        if (!watch(d->worker[0], tap->fd[0], slot))
            count(&d->n.tap_errors, 1);
    }
    if (!watch(d->worker[tap->n - 1], fd, slot))
        count(&d->n.tap_errors, 1);
    pthread_mutex_unlock(&d->owner);
}

void taps_free(struct datapath *d)
{
    struct taps *t = atomic_load(&d->taps);
    for (unsigned i = 0; t && i < SWITCH_ENVS; i++)
        for (unsigned q = 0; q < t->tap[i].n; q++)
            close(t->tap[i].fd[q]);
    free(t);
}

/* ---- reading ---- */

static void frame_out(struct worker *w, unsigned env, uint8_t *frame, size_t len, const struct vnet_frame *v)
{
    const struct switch_env_table *t = w->table->envs[env];
    struct env_counters *counts;
    uint8_t flags = v->partial ? FLAG_PARTIAL : 0;
    struct forward_decision f = forward_from_tap(t, &w->rates[env], w->now, frame, len);
    if (f.to == FORWARD_DROP) {
        seen_drop(w, t, f.why);
        if (f.learn)
            seen_stranger(w, &t->env, frame);
        return;
    }
    if (f.src_known)
        seen_claim(w, &t->env, frame, len);
    else if (f.learn)
        seen_stranger(w, &t->env, frame);
    seen_traffic(w, &t->env, &f, frame, v->gso ? (len - v->payload + v->gso_size - 1) / v->gso_size : 1, len);
    count(&w->n.tx_frames, 1);
    count(&w->n.tx_bytes, len);
    count(&w->n.tx_asked, f.asked);
    counts = seen_counters(w, t);
    count(&counts->tx_frames, 1);
    count(&counts->tx_bytes, len);
    count(&counts->tx_asked, f.asked);
    if (f.to == FORWARD_PEER) {
        tx_frame(w, t, f.peer, flags, frame, len, v->gso ? v : NULL);
        return;
    }
    for (unsigned i = 0; i < t->n_peers; i++)
        tx_frame(w, t, i, flags, frame, len, v->gso ? v : NULL);
}

/* The environment's place in the table; SWITCH_ENVS: the switch doesn't have it (yet). */
static unsigned env_of(const struct worker *w, const struct vi_id *env)
{
    unsigned i = 0;
    if (!w->table)
        return SWITCH_ENVS;
    while (i < SWITCH_ENVS && !(w->table->envs[i] && vi_id_equal(&w->table->envs[i]->env, env)))
        i++;
    return i;
}

static int queue_fd(const struct worker *w, const struct tap *t)
{
    return t->fd[t->n == 1 ? 0 : w->index % t->n];
}

/* One frame as it was read: checked, and sent or kept. kept: it lies in the backlog's room. */
static void sort_frame(struct worker *w, unsigned slot, struct backlog_item *i, bool kept)
{
    uint8_t *frame = i->bytes + DATAPATH_VNET_HDR;
    size_t len = i->len - DATAPATH_VNET_HDR;
    if (vnet_check(&i->frame, i->bytes, frame, len)) {
        count(&w->n.tap_header, 1);
        return;
    }
    if (i->frame.csum_at) /* inside something that the other end doesn't look into; before anybody judges what it says */
        vnet_complete(frame, len, i->frame.csum_start, i->frame.csum_at);
    if (w->d->lanes > 1 && flows_light(&w->flows, w->now, flows_key(slot, frame, len, i->frame.l4), len)) {
        w->lane = LIGHT;
        count(&w->n.tx_light, 1);
        frame_out(w, env_of(w, &w->taps->tap[slot].env), frame, len, &i->frame);
    } else if (kept) {
        i->env = w->taps->tap[slot].env;
        backlog_add(&w->backlog, i);
    } else
        count(&w->n.tx_backlog, 1);
}

void tap_read(struct worker *w, unsigned slot)
{
    const struct tap *t = w->taps ? &w->taps->tap[slot] : NULL;
    bool known;
    size_t bytes = 0;
    if (!t || t->n == 0)
        return;
    known = env_of(w, &t->env) < SWITCH_ENVS;
    for (unsigned i = 0; i < TURN_FRAMES && bytes < READ_BYTES; i++) {
        struct backlog_item *room = backlog_room(&w->backlog, TAP_BYTES);
        struct backlog_item *in = room ? room : (struct backlog_item *)(void *)w->tap_in;
        ssize_t n = read(queue_fd(w, t), in->bytes, TAP_BYTES);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0) { /* somebody deleted the TAP: nothing comes any more, and it would be readable for ever */
            count(&w->n.tap_errors, 1);
            epoll_ctl(w->epoll, EPOLL_CTL_DEL, queue_fd(w, t), NULL);
            break;
        }
        bytes += (size_t)n;
        in->len = (size_t)n;
        if (known && n > DATAPATH_VNET_HDR)
            sort_frame(w, slot, in, room != NULL);
        if (i == 0)
            tx_flush(w); /* most often it is the only one; whether it is takes another call to find out */
    }
    tx_flush(w);
}

void tap_turn(struct worker *w)
{
    struct backlog_item *i;
    size_t bytes = 0;
    while (bytes < TURN_BYTES && (i = backlog_first(&w->backlog))) {
        unsigned env = env_of(w, &i->env); /* where it is by now, whoever's TAP has taken its TAP's place */
        bytes += i->len;
        w->lane = HEAVY;
        if (env < SWITCH_ENVS)
            frame_out(w, env, i->bytes + DATAPATH_VNET_HDR, i->len - DATAPATH_VNET_HDR, &i->frame);
        backlog_next(&w->backlog);
    }
    tx_flush(w);
}

/* ---- writing ---- */

static bool put(struct worker *w, const struct tap *t, const struct gso_part *part, unsigned n)
{
    struct iovec iov[GSO_RUN + 1];
    for (unsigned i = 0; i < n; i++)
        iov[i] = (struct iovec){part[i].p, part[i].len};
    return writev(queue_fd(w, t), iov, (int)n) >= 0;
}

static void wrote(struct worker *w, bool good, unsigned frames, size_t bytes)
{
    if (!good) {
        count(&w->n.tap_errors, frames);
        return;
    }
    count(&w->n.rx_frames, frames);
    count(&w->n.rx_bytes, bytes);
}

/* A TAP without offloads takes whole checksums, and one frame a write. */
static void put_plain(struct worker *w, const struct tap *t, const struct gso_run *r)
{
    uint8_t none[VNET_HDR] = {0};
    for (unsigned i = 0; i < r->n; i++) {
        struct gso_part out[2] = {{none, sizeof none}, r->frame[i]};
        if (r->partial)
            vnet_complete(r->frame[i].p, r->frame[i].len, r->f.l4, vnet_csum_at(&r->f));
        wrote(w, put(w, t, out, 2), 1, r->frame[i].len);
    }
}

void tap_flush(struct worker *w)
{
    struct gso_run *r = &w->run;
    if (r->n == 0)
        return;
    if (!w->run_tap->vnet) {
        put_plain(w, w->run_tap, r);
    } else {
        unsigned parts = gso_run_finish(r);
        bool good = put(w, w->run_tap, r->out, parts);
        if (!good && r->n > 1 && errno == EINVAL) { /* it doesn't like superframes after all */
            count(&w->n.tap_refused, 1);
            health_report(&w->tap_health, w->now, 0, HEALTH_BAD);
            put_plain(w, w->run_tap, r);
        } else {
            wrote(w, good, r->n, r->len);
            count(&w->n.rx_superframes, good && r->n > 1);
        }
    }
    r->n = 0;
}

void tap_write(struct worker *w, const struct tap *t, uint8_t *frame, size_t len, bool partial)
{
    if (w->run.n && (w->run_tap != t || !t->vnet || !health_ok(&w->tap_health, w->now) ||
                     !gso_run_add(&w->run, frame, len, partial, t->udp)))
        tap_flush(w);
    else if (w->run.n)
        return;
    w->run_tap = t;
    (void)gso_run_add(&w->run, frame, len, partial, t->udp);
    if (w->run.closed)
        tap_flush(w);
}
