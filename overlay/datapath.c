/* The plain data path. See datapath.h.
 *
 * One thread: epoll over the TAPs, the socket and an eventfd. Everything handed in is put under the
 * lock and taken by the thread before it works on a batch, so that a batch sees one table. */
#include "overlay/datapath.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/base/err.h"

#define BATCH    64 /* frames or packets of one descriptor before the others have their turn */
#define QUEUE    1  /* our sending queue */
#define INNER    5  /* bytes before the frame in the plaintext */
#define CACHE    256
#define HALVES   64
#define HALF_OLD (2 * VI_SEC)
#define PACKET   (DATAPATH_FRAME_MAX + MESH_OVERHEAD + INNER)
#define FLAG_FIRST  1
#define FLAG_SECOND 2
#define FLAG_AGAIN  4

struct session {
    bool used;
    struct mesh_keys keys;
    uint8_t tx_key[NOISE_KEY];
    uint64_t tx_counter;
    uint64_t sent, received; /* since the last report */
    struct mesh_addr from;
    uint8_t rx_key[MESH_QUEUES][NOISE_KEY];
    struct mesh_window *window[MESH_QUEUES];
};

struct half { /* the first or second part of a frame, waiting for the other */
    bool used;
    uint32_t local;
    uint16_t id;
    uint8_t flags;
    vi_time at;
    size_t len;
    uint8_t bytes[DATAPATH_PATH_BYTES];
};

struct unknown {
    struct mesh_addr from;
    size_t len;
    uint8_t bytes[256];
};

struct datapath {
    struct datapath_config cfg;
    pthread_t thread;
    pthread_mutex_t lock; /* over everything below it but the buffers, which are the thread's */
    int epoll, event;
    bool ending;
    struct switch_table *table;
    struct session *sessions[DATAPATH_SESSIONS];
    struct session *cache[CACHE]; /* the newest session to a peer */
    struct {
        struct vi_id env;
        int fd;
    } taps[SWITCH_ENVS];
    struct forward_rate rates[SWITCH_ENVS];
    struct datapath_counters counters;
    unsigned n_unknown;
    struct unknown unknown[DATAPATH_UNKNOWN];
    struct half halves[HALVES];
    unsigned next_half;
    uint16_t fragment;
    uint8_t in[PACKET + DATAPATH_VNET_HDR], out[PACKET], plain[PACKET + DATAPATH_VNET_HDR],
        whole[2 * DATAPATH_PATH_BYTES + DATAPATH_VNET_HDR];
};

/* ---- sessions ---- */

static struct session **session_slot(struct datapath *d, uint32_t local)
{
    struct session **freed = NULL;
    for (unsigned i = 0; i < 64; i++) {
        struct session **s = &d->sessions[(local + i * 61) % DATAPATH_SESSIONS];
        if (*s && (*s)->keys.local == local)
            return s;
        if (!*s && !freed)
            freed = s;
    }
    return freed;
}

static struct session *session_find(struct datapath *d, uint32_t local)
{
    struct session **s = session_slot(d, local);
    return s ? *s : NULL;
}

static void session_free(struct session *s)
{
    if (!s)
        return;
    for (unsigned q = 0; q < MESH_QUEUES; q++)
        free(s->window[q]);
    sodium_memzero(s, sizeof *s);
    free(s);
}

static struct session *session_to(struct datapath *d, const struct vi_id *peer, vi_time now)
{
    struct session **cached = &d->cache[vi_id_bucket(peer) % CACHE], *best = *cached;
    if (best && now < best->keys.born + MESH_REJECT_AFTER && vi_id_equal(&best->keys.peer, peer))
        return best; /* set_keys empties the cache, so it is still the newest */
    best = NULL;
    for (unsigned i = 0; i < DATAPATH_SESSIONS; i++) {
        struct session *s = d->sessions[i];
        if (s && s->keys.send && now < s->keys.born + MESH_REJECT_AFTER && vi_id_equal(&s->keys.peer, peer) &&
            (!best || s->keys.generation > best->keys.generation))
            best = s;
    }
    *cached = best;
    return best;
}

void datapath_set_keys(struct datapath *d, const struct mesh_keys *k)
{
    struct session **slot, *s;
    pthread_mutex_lock(&d->lock);
    memset(d->cache, 0, sizeof d->cache);
    slot = session_slot(d, k->local);
    if (!slot) {
        pthread_mutex_unlock(&d->lock);
        return; /* over the bound: this peer's frames are counted as tx_no_session */
    }
    s = *slot;
    if (k->withdrawn) {
        session_free(s);
        *slot = NULL;
    } else {
        if (s && s->keys.generation != k->generation) {
            session_free(s);
            s = NULL;
        }
        if (!s) {
            s = calloc(1, sizeof *s);
            if (s) {
                s->used = true;
                mesh_queue_key(k->tx_base, k->cipher, QUEUE, s->tx_key);
                for (uint16_t q = 1; q < k->rx_queues && q < MESH_QUEUES; q++)
                    mesh_queue_key(k->rx_base, k->cipher, q, s->rx_key[q]);
            }
        }
        if (s)
            s->keys = *k;
        *slot = s;
    }
    pthread_mutex_unlock(&d->lock);
}

/* ---- addresses ---- */

static socklen_t to_sockaddr(const struct mesh_addr *a, struct sockaddr_storage *ss)
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

static void from_sockaddr(struct mesh_addr *a, const struct sockaddr_storage *ss)
{
    memset(a, 0, sizeof *a);
    if (ss->ss_family == AF_INET) {
        const struct sockaddr_in *s = (const struct sockaddr_in *)ss;
        a->family = 4;
        a->port = ntohs(s->sin_port);
        memcpy(a->ip, &s->sin_addr, 4);
    } else if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *s = (const struct sockaddr_in6 *)ss;
        bool mapped = IN6_IS_ADDR_V4MAPPED(&s->sin6_addr);
        a->family = mapped ? 4 : 6;
        a->port = ntohs(s->sin6_port);
        memcpy(a->ip, s->sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
    }
}

/* ---- sending ---- */

static void send_part(struct datapath *d, struct session *s, uint16_t number, uint8_t flags,
                      const uint8_t *part, size_t len)
{
    struct mesh_header h = {.type = MESH_DATA, .queue = QUEUE, .receiver = s->keys.remote};
    struct sockaddr_storage to;
    socklen_t to_len = to_sockaddr(&s->keys.addr, &to);
    size_t sealed = INNER + len;
    d->plain[0] = (uint8_t)(number >> 8);
    d->plain[1] = (uint8_t)number;
    d->plain[2] = flags;
    d->plain[3] = (uint8_t)(d->fragment >> 8);
    d->plain[4] = (uint8_t)d->fragment;
    memcpy(d->plain + INNER, part, len);
    h.counter = s->tx_counter++;
    mesh_header_write(d->out, &h);
    if (noise_seal(s->keys.cipher, s->tx_key, h.counter, d->out, MESH_HEADER, d->plain, sealed,
                   d->out + MESH_HEADER)) {
        d->counters.tx_errors++;
        return;
    }
    if (sendto(d->cfg.udp_fd, d->out, sealed + MESH_OVERHEAD, MSG_DONTWAIT, (struct sockaddr *)&to, to_len) < 0)
        d->counters.tx_errors++;
    s->sent++;
    d->counters.tx_packets++;
}

static void send_to_peer(struct datapath *d, const struct switch_env_table *t, unsigned peer, bool again,
                         const uint8_t *frame, size_t len, vi_time now)
{
    struct session *s = session_to(d, &t->peers[peer], now);
    uint8_t flags = again ? FLAG_AGAIN : 0;
    size_t first;
    if (!s) {
        d->counters.tx_no_session++;
        return;
    }
    if (t->number[peer] == 0) {
        d->counters.tx_no_number++;
        return;
    }
    if (len <= DATAPATH_PATH_BYTES) {
        send_part(d, s, t->number[peer], flags, frame, len);
        return;
    }
    if (len > 2 * DATAPATH_PATH_BYTES) {
        d->counters.too_long++;
        return;
    }
    first = len / 2;
    d->fragment++;
    send_part(d, s, t->number[peer], flags | FLAG_FIRST, frame, first);
    send_part(d, s, t->number[peer], flags | FLAG_SECOND, frame + first, len - first);
}

static void write_tap(struct datapath *d, int fd, uint8_t *frame, size_t len)
{
    /* the header's room is in front of every buffer that a frame is in */
    memset(frame - DATAPATH_VNET_HDR, 0, DATAPATH_VNET_HDR);
    if (write(fd, frame - DATAPATH_VNET_HDR, len + DATAPATH_VNET_HDR) < 0)
        d->counters.tap_errors++;
    else {
        d->counters.rx_frames++;
        d->counters.rx_bytes += len;
    }
}

static void frame_from_tap(struct datapath *d, unsigned env, const uint8_t *frame, size_t len, vi_time now)
{
    const struct switch_env_table *t = d->table ? d->table->envs[env] : NULL;
    struct forward_decision f;
    if (!t)
        return;
    f = forward_from_tap(t, &d->rates[env], now, frame, len);
    if (f.to == FORWARD_DROP) {
        d->counters.dropped[f.why]++;
        return;
    }
    d->counters.tx_frames++;
    d->counters.tx_bytes += len;
    if (f.to == FORWARD_PEER) {
        send_to_peer(d, t, f.peer, false, frame, len, now);
        return;
    }
    for (unsigned i = 0; i < t->n_peers; i++)
        send_to_peer(d, t, i, false, frame, len, now);
}

/* ---- receiving ---- */

static int tap_of(struct datapath *d, const struct vi_id *env)
{
    for (unsigned i = 0; i < SWITCH_ENVS; i++)
        if (d->taps[i].fd >= 0 && vi_id_equal(&d->taps[i].env, env))
            return d->taps[i].fd;
    return -1;
}

/* frame has DATAPATH_VNET_HDR writable bytes in front of it. */
static void frame_from_peer(struct datapath *d, const struct session *s, uint16_t number, bool again,
                            uint8_t *frame, size_t len, vi_time now)
{
    const struct switch_env_table *t =
        d->table && number >= 1 && number <= SWITCH_ENVS ? d->table->envs[number - 1] : NULL;
    struct forward_decision f;
    int tap;
    if (!t) {
        d->counters.rx_number++;
        return;
    }
    f = forward_from_peer(t, &s->keys.peer, again, frame, len);
    if (f.to == FORWARD_PEER) {
        uint8_t copy[2 * DATAPATH_PATH_BYTES];
        if (len > sizeof copy)
            return;
        memcpy(copy, frame, len); /* d->plain is both where it is and where it would be sealed from */
        send_to_peer(d, t, f.peer, true, copy, len, now);
        return;
    }
    tap = f.to == FORWARD_LOCAL ? tap_of(d, &t->env) : -1;
    if (tap >= 0)
        write_tap(d, tap, frame, len);
    else
        d->counters.dropped[f.why]++;
}

static void half_frame(struct datapath *d, const struct session *s, uint16_t number, uint8_t flags, uint16_t id,
                       const uint8_t *part, size_t len, vi_time now)
{
    struct half *h;
    d->counters.rx_fragments++;
    if (len > DATAPATH_PATH_BYTES)
        return;
    for (unsigned i = 0; i < HALVES; i++) {
        uint8_t *frame = d->whole + DATAPATH_VNET_HDR;
        h = &d->halves[i];
        if (!h->used || h->local != s->keys.local || h->id != id ||
            ((h->flags ^ flags) & (FLAG_FIRST | FLAG_SECOND)) != (FLAG_FIRST | FLAG_SECOND) || now - h->at > HALF_OLD)
            continue;
        if (flags & FLAG_FIRST) {
            memcpy(frame, part, len);
            memcpy(frame + len, h->bytes, h->len);
        } else {
            memcpy(frame, h->bytes, h->len);
            memcpy(frame + h->len, part, len);
        }
        h->used = false;
        frame_from_peer(d, s, number, flags & FLAG_AGAIN, frame, h->len + len, now);
        return;
    }
    h = &d->halves[d->next_half++ % HALVES]; /* the oldest goes */
    if (h->used)
        d->counters.rx_incomplete++;
    h->used = true;
    h->local = s->keys.local;
    h->id = id;
    h->flags = flags;
    h->at = now;
    h->len = len;
    memcpy(h->bytes, part, len);
}

static void keep_unknown(struct datapath *d, const struct sockaddr_storage *from, const uint8_t *p, size_t len)
{
    struct unknown *u;
    d->counters.rx_unknown++;
    if (d->n_unknown >= DATAPATH_UNKNOWN)
        return;
    u = &d->unknown[d->n_unknown++];
    from_sockaddr(&u->from, from);
    u->len = len < sizeof u->bytes ? len : sizeof u->bytes; /* its header is what tells */
    memcpy(u->bytes, p, u->len);
    if (d->n_unknown == 1)
        d->cfg.wake(d->cfg.arg);
}

static struct mesh_window *window_of(struct session *s, uint16_t queue)
{
    if (queue == 0 || queue >= s->keys.rx_queues || queue >= MESH_QUEUES)
        return NULL;
    if (!s->window[queue])
        s->window[queue] = calloc(1, sizeof *s->window[queue]);
    return s->window[queue];
}

static void packet_in(struct datapath *d, const uint8_t *p, size_t len, const struct sockaddr_storage *from,
                      vi_time now)
{
    struct mesh_header h;
    struct session *s;
    struct mesh_window *w;
    uint8_t *plain = d->plain + DATAPATH_VNET_HDR;
    size_t inner;
    if (mesh_header_read(&h, p, len) || h.type != MESH_DATA || len < MESH_OVERHEAD + INNER) {
        d->counters.rx_short++;
        return;
    }
    s = session_find(d, h.receiver);
    if (!s) {
        keep_unknown(d, from, p, len);
        return;
    }
    w = window_of(s, h.queue);
    if (!w || now > s->keys.born + MESH_REJECT_AFTER) {
        d->counters.rx_old++;
        return;
    }
    if (!mesh_window_fresh(w, h.counter)) {
        d->counters.rx_replay++;
        return;
    }
    if (noise_open(s->keys.cipher, s->rx_key[h.queue], h.counter, p, MESH_HEADER, p + MESH_HEADER,
                   len - MESH_HEADER, plain)) {
        d->counters.rx_auth++;
        return;
    }
    mesh_window_mark(w, h.counter);
    from_sockaddr(&s->from, from);
    s->received++;
    d->counters.rx_packets++;
    inner = len - MESH_OVERHEAD - INNER;
    uint16_t number = (uint16_t)(plain[0] << 8 | plain[1]), id = (uint16_t)(plain[3] << 8 | plain[4]);
    uint8_t flags = plain[2];
    if (flags & (FLAG_FIRST | FLAG_SECOND))
        half_frame(d, s, number, flags, id, plain + INNER, inner, now);
    else {
        /* number and flags are read: their bytes serve as the TAP header's room */
        frame_from_peer(d, s, number, flags & FLAG_AGAIN, plain + INNER, inner, now);
    }
}

/* ---- the thread ---- */

static void read_socket(struct datapath *d, vi_time now)
{
    for (unsigned i = 0; i < BATCH; i++) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        ssize_t n = recvfrom(d->cfg.udp_fd, d->in, sizeof d->in, MSG_DONTWAIT, (struct sockaddr *)&from, &len);
        if (n < 0 && (errno == ECONNREFUSED || errno == EHOSTUNREACH))
            continue; /* an earlier send's ICMP error */
        if (n < 0)
            return;
        packet_in(d, d->in, (size_t)n, &from, now);
    }
}

static void read_tap(struct datapath *d, unsigned slot, vi_time now)
{
    int env = -1;
    for (unsigned i = 0; d->table && i < SWITCH_ENVS; i++)
        if (d->table->envs[i] && vi_id_equal(&d->table->envs[i]->env, &d->taps[slot].env))
            env = (int)i;
    for (unsigned i = 0; i < BATCH; i++) {
        ssize_t n = read(d->taps[slot].fd, d->in, sizeof d->in);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) { /* somebody deleted the TAP: nothing comes any more, and it would be readable for ever */
            d->counters.tap_errors++;
            epoll_ctl(d->epoll, EPOLL_CTL_DEL, d->taps[slot].fd, NULL);
            return;
        }
        if (env >= 0 && n > DATAPATH_VNET_HDR)
            frame_from_tap(d, (unsigned)env, d->in + DATAPATH_VNET_HDR, (size_t)n - DATAPATH_VNET_HDR, now);
    }
}

static void *run(void *arg)
{
    struct datapath *d = arg;
    struct epoll_event ev[16];
    for (;;) {
        int n = epoll_wait(d->epoll, ev, 16, -1);
        vi_time now = vi_clock_boottime();
        pthread_mutex_lock(&d->lock);
        if (d->ending) {
            pthread_mutex_unlock(&d->lock);
            return NULL;
        }
        for (int i = 0; i < n; i++) {
            uint32_t what = ev[i].data.u32;
            uint64_t count;
            if (what == SWITCH_ENVS)
                read_socket(d, now);
            else if (what > SWITCH_ENVS)
                (void)!read(d->event, &count, sizeof count);
            else if (d->taps[what].fd >= 0)
                read_tap(d, what, now);
        }
        pthread_mutex_unlock(&d->lock);
    }
}

static bool watch(struct datapath *d, int fd, uint32_t what)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = what};
    return epoll_ctl(d->epoll, EPOLL_CTL_ADD, fd, &ev) == 0;
}

struct datapath *datapath_start(const struct datapath_config *cfg)
{
    struct datapath *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->cfg = *cfg;
    for (unsigned i = 0; i < SWITCH_ENVS; i++)
        d->taps[i].fd = -1;
    d->epoll = epoll_create1(EPOLL_CLOEXEC);
    d->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&d->lock, NULL);
    if (d->epoll < 0 || d->event < 0 || !watch(d, d->event, SWITCH_ENVS + 1) ||
        !watch(d, cfg->udp_fd, SWITCH_ENVS) || pthread_create(&d->thread, NULL, run, d)) {
        if (d->epoll >= 0)
            close(d->epoll);
        if (d->event >= 0)
            close(d->event);
        pthread_mutex_destroy(&d->lock);
        free(d);
        return NULL;
    }
    return d;
}

void datapath_stop(struct datapath *d)
{
    uint64_t one = 1;
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->ending = true;
    pthread_mutex_unlock(&d->lock);
    (void)!write(d->event, &one, sizeof one);
    pthread_join(d->thread, NULL);
    for (unsigned i = 0; i < SWITCH_ENVS; i++)
        if (d->taps[i].fd >= 0)
            close(d->taps[i].fd);
    for (unsigned i = 0; i < DATAPATH_SESSIONS; i++)
        session_free(d->sessions[i]);
    switch_table_free(d->table);
    close(d->epoll);
    close(d->event);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

void datapath_set_table(struct datapath *d, struct switch_table *t)
{
    struct switch_table *old;
    pthread_mutex_lock(&d->lock);
    old = d->table;
    d->table = t;
    pthread_mutex_unlock(&d->lock);
    switch_table_free(old);
}

void datapath_set_tap(struct datapath *d, const struct vi_id *env, int fd)
{
    int slot = -1, old = -1;
    pthread_mutex_lock(&d->lock);
    for (unsigned i = 0; i < SWITCH_ENVS; i++) {
        if (d->taps[i].fd >= 0 && vi_id_equal(&d->taps[i].env, env)) {
            slot = (int)i;
            old = d->taps[i].fd;
            break;
        }
        if (d->taps[i].fd < 0 && slot < 0)
            slot = (int)i;
    }
    if (slot >= 0) {
        if (old >= 0)
            epoll_ctl(d->epoll, EPOLL_CTL_DEL, old, NULL);
        d->taps[slot].env = *env;
        d->taps[slot].fd = fd;
        if (fd >= 0 && !watch(d, fd, (uint32_t)slot))
            d->counters.tap_errors++;
    } else if (fd >= 0)
        old = fd; /* no place: the switch's own bound is the same, so this is not met */
    pthread_mutex_unlock(&d->lock);
    if (old >= 0)
        close(old);
}

void datapath_counters(struct datapath *d, struct datapath_counters *out)
{
    pthread_mutex_lock(&d->lock);
    *out = d->counters;
    pthread_mutex_unlock(&d->lock);
}

void datapath_collect(struct datapath *d,
                      void (*used)(void *arg, uint32_t local, uint64_t sent, uint64_t received,
                                   const struct mesh_addr *from),
                      void (*unknown)(void *arg, const struct mesh_addr *from, const uint8_t *data, size_t len),
                      void *arg)
{
    struct unknown *list = NULL;
    unsigned n = 0;
    for (unsigned i = 0; used && i < DATAPATH_SESSIONS; i++) {
        struct mesh_addr from = {0};
        uint32_t local = 0;
        uint64_t sent = 0, received = 0;
        pthread_mutex_lock(&d->lock);
        if (d->sessions[i] && (d->sessions[i]->sent || d->sessions[i]->received)) {
            struct session *s = d->sessions[i];
            local = s->keys.local;
            sent = s->sent;
            received = s->received;
            from = s->from;
            s->sent = s->received = 0;
        }
        pthread_mutex_unlock(&d->lock);
        if (sent || received)
            used(arg, local, sent, received, &from);
    }
    if (!unknown)
        return;
    pthread_mutex_lock(&d->lock);
    n = d->n_unknown;
    if (n && (list = malloc(n * sizeof *list)))
        memcpy(list, d->unknown, n * sizeof *list);
    d->n_unknown = 0;
    pthread_mutex_unlock(&d->lock);
    for (unsigned i = 0; list && i < n; i++)
        unknown(arg, &list[i].from, list[i].bytes, list[i].len);
    free(list);
}
