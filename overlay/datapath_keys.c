/* Sessions and their keys: the keyring, which is replaced as a whole. */
#include <arpa/inet.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/datapath_internal.h"
#include "peer/base/err.h"

static unsigned local_slot(uint32_t local, unsigned mask)
{
    return (unsigned)((local * UINT64_C(0x9e3779b97f4a7c15)) >> 40) & mask;
}

const struct route *route_find(const struct keyring *k, uint32_t local)
{
    if (!k)
        return NULL;
    for (unsigned i = local_slot(local, k->mask); k->by_local[i]; i = (i + 1) & k->mask) {
        const struct route *r = &k->routes[k->by_local[i] - 1];
        if (r->s->keys.local == local)
            return r;
    }
    return NULL;
}

static uint32_t *peer_slot(const struct keyring *k, const struct vi_id *peer)
{
    unsigned i = (unsigned)vi_id_bucket(peer) & k->mask;
    while (k->by_peer[i] && !vi_id_equal(&k->routes[k->by_peer[i] - 1].s->keys.peer, peer))
        i = (i + 1) & k->mask;
    return &k->by_peer[i];
}

const struct route *route_to(const struct keyring *k, const struct vi_id *peer, vi_time now)
{
    uint32_t at = k ? *peer_slot(k, peer) : 0;
    /* the newest; if it is too old, so are the others */
    return at && now < k->routes[at - 1].s->keys.born + MESH_REJECT_AFTER ? &k->routes[at - 1] : NULL;
}

static struct keyring *make_keyring(const struct datapath *d)
{
    unsigned slots = 16;
    struct keyring *k;
    while (slots < 2 * d->n_routes + 2)
        slots *= 2;
    k = calloc(1, sizeof *k + d->n_routes * sizeof *k->routes + 2 * slots * sizeof *k->by_local);
    if (!k)
        return NULL;
    k->n = d->n_routes;
    k->mask = slots - 1;
    k->routes = (struct route *)(k + 1);
    k->by_local = (uint32_t *)(k->routes + k->n);
    k->by_peer = k->by_local + slots;
    memcpy(k->routes, d->routes, k->n * sizeof *k->routes);
    for (unsigned i = 0; i < k->n; i++) {
        const struct route *r = &k->routes[i];
        unsigned at = local_slot(r->s->keys.local, k->mask);
        uint32_t *peer;
        while (k->by_local[at])
            at = (at + 1) & k->mask;
        k->by_local[at] = i + 1;
        if (!r->send)
            continue;
        peer = peer_slot(k, &r->s->keys.peer);
        if (!*peer || k->routes[*peer - 1].s->keys.generation < r->s->keys.generation)
            *peer = i + 1;
    }
    return k;
}

/* ---- paths and sessions ---- */

static struct path *path_of(struct datapath *d, const struct mesh_keys *k)
{
    struct path *p = d->paths;
    while (p && !vi_id_equal(&p->peer, &k->peer))
        p = p->next;
    if (!p) {
        p = calloc(1, sizeof *p);
        if (!p)
            return NULL;
        p->peer = k->peer;
        p->addr = k->addr;
        atomic_init(&p->bytes, path_start_bytes(d, &k->addr));
        atomic_init(&p->gso, d->offload.gso);
        atomic_init(&p->resting, true);
        pthread_mutex_init(&p->lock, NULL);
        pmtu_init(&p->pmtu, PATH_MOST, vi_clock_boottime());
        p->next = d->paths;
        d->paths = p;
    }
    p->refs++;
    return p;
}

static void path_release(struct datapath *d, struct path *p)
{
    struct path **at = &d->paths;
    if (!p || --p->refs)
        return;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* The peer is somewhere else: what its path carries is found out anew. */
static void path_moved(struct datapath *d, struct path *p, const struct mesh_addr *addr)
{
    if (mesh_addr_equal(&p->addr, addr))
        return;
    p->addr = *addr;
    pthread_mutex_lock(&p->lock);
    pmtu_init(&p->pmtu, PATH_MOST, vi_clock_boottime());
    atomic_store(&p->bytes, path_start_bytes(d, addr));
    pthread_mutex_unlock(&p->lock);
    datapath_poke(d->worker[0]);
}

static void session_end(struct datapath *d, void *what)
{
    struct session *s = what;
    for (unsigned i = 0; i < TX_QUEUES; i++)
        if (s->tx[i]) {
            aead_clear(&s->tx[i]->key);
            free(s->tx[i]);
        }
    for (unsigned q = 0; q < MESH_QUEUES; q++) {
        struct rx_queue *r = atomic_load(&s->rx[q]);
        if (r) {
            aead_clear(&r->key);
            free(r);
        }
    }
    path_release(d, s->path);
    sodium_memzero(s, sizeof *s);
    free(s);
}

static void keyring_end(struct datapath *d, void *what)
{
    (void)d;
    free(what);
}

static struct tx_queue *make_tx(const struct mesh_keys *k, uint16_t queue)
{
    uint8_t key[NOISE_KEY];
    size_t size = (sizeof(struct tx_queue) + 63) & ~(size_t)63; /* no two threads on one cache line */
    struct tx_queue *t = aligned_alloc(64, size);
    if (!t)
        return NULL;
    memset(t, 0, size);
    mesh_queue_key(k->tx_base, k->cipher, queue, key);
    if (aead_init(&t->key, k->cipher, key, true)) {
        free(t);
        t = NULL;
    }
    sodium_memzero(key, sizeof key);
    return t;
}

static struct session *session_make(struct datapath *d, const struct mesh_keys *k)
{
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->keys = *k;
    s->path = path_of(d, k);
    for (unsigned i = 0; s->path && i < d->threads * d->lanes && i + 1 < k->tx_queues; i++)
        if (!(s->tx[i] = make_tx(k, (uint16_t)(i + 1))))
            break;
    if (!s->path || !s->tx[0]) {
        session_end(d, s);
        return NULL;
    }
    return s;
}

static socklen_t to_sockaddr(const struct mesh_addr *a, union udp_addr *to)
{
    memset(to, 0, sizeof *to);
    if (a->family == 6) {
        to->v6.sin6_family = AF_INET6;
        to->v6.sin6_port = htons(a->port);
        memcpy(&to->v6.sin6_addr, a->ip, 16);
        return sizeof to->v6;
    }
    to->v4.sin_family = AF_INET;
    to->v4.sin_port = htons(a->port);
    memcpy(&to->v4.sin_addr, a->ip, 4);
    return sizeof to->v4;
}

/* ---- replacing ---- */

/* The place of the session in d->routes; d->n_routes: none. */
static unsigned place_of(const struct datapath *d, uint32_t local)
{
    unsigned i = 0;
    while (i < d->n_routes && d->routes[i].s->keys.local != local)
        i++;
    return i;
}

/* Puts the routes in force, and ends what isn't in them any more. Without memory the old keyring stays, and
 * with it what it points to. */
static bool publish(struct datapath *d, struct session *gone)
{
    struct keyring *k = make_keyring(d);
    if (!k)
        return false;
    k = atomic_exchange(&d->keyring, k);
    if (k)
        datapath_retire(d, keyring_end, k);
    if (gone)
        datapath_retire(d, session_end, gone);
    return true;
}

static void set_keys(struct datapath *d, const struct mesh_keys *k)
{
    unsigned i = place_of(d, k->local), before = d->n_routes;
    struct session *old = i < before ? d->routes[i].s : NULL;
    struct route was = old ? d->routes[i] : (struct route){0};
    struct session *s = old && old->keys.generation == k->generation ? old : NULL;
    if (k->withdrawn) {
        if (!old)
            return;
        d->routes[i] = d->routes[--d->n_routes];
        if (!publish(d, old)) { /* still there, but sent with no more than before: told again at the next change */
            d->routes[d->n_routes++] = d->routes[i];
            d->routes[i] = was;
        }
        return;
    }
    if (i == DATAPATH_SESSIONS)
        return; /* over the bound: this peer's frames are counted as tx_no_session */
    if (!s && !(s = session_make(d, k)))
        return;
    if (s == old && was.send == k->send && mesh_addr_equal(&was.addr, &k->addr))
        return;
    path_moved(d, s->path, &k->addr);
    d->routes[i] = (struct route){.s = s, .send = k->send, .addr = k->addr};
    d->routes[i].to_len = to_sockaddr(&k->addr, &d->routes[i].to);
    d->n_routes = i == before ? before + 1 : before;
    if (!publish(d, s == old ? NULL : old)) {
        if (s != old)
            session_end(d, s);
        d->n_routes = before;
        if (i < before)
            d->routes[i] = was;
    }
}

void datapath_set_keys(struct datapath *d, const struct mesh_keys *k)
{
    pthread_mutex_lock(&d->owner);
    set_keys(d, k);
    pthread_mutex_unlock(&d->owner);
}

/* The threads have ended. */
void keys_free(struct datapath *d)
{
    free(atomic_load(&d->keyring));
    for (unsigned i = 0; i < d->n_routes; i++)
        session_end(d, d->routes[i].s);
}

/* ---- told to the owner ---- */

bool datapath_path(struct datapath *d, const struct vi_id *peer, struct datapath_path *out)
{
    const struct route *r;
    pthread_mutex_lock(&d->owner);
    r = route_to(atomic_load(&d->keyring), peer, vi_clock_boottime());
    if (r) {
        struct path *p = r->s->path;
        out->bytes = atomic_load(&p->bytes);
        out->gso = atomic_load(&p->gso) && r->addr.family != MESH_VIA;
        if (r->addr.family == MESH_VIA && out->bytes > VIA_MOST)
            out->bytes = VIA_MOST; /* inside the relay's datagrams, one by one */
        out->cipher = r->s->keys.cipher;
        pthread_mutex_lock(&p->lock);
        out->found = d->cfg.path_bytes || p->pmtu.raise_at != VI_NEVER || p->pmtu.size == p->pmtu.most;
        pthread_mutex_unlock(&p->lock);
    }
    pthread_mutex_unlock(&d->owner);
    return r != NULL;
}

/* What a session carried since it was last asked. */
static void take_used(struct datapath *d, struct session *s, uint64_t *sent, uint64_t *received,
                      struct mesh_addr *from)
{
    uint64_t all = 0;
    *sent = 0;
    for (unsigned i = 0; i < d->threads * d->lanes && s->tx[i]; i++) {
        uint64_t n = atomic_load(&s->tx[i]->sent), since = n - s->said_sent[i];
        s->said_sent[i] = n;
        if (since > *sent)
            *sent = since;
    }
    for (unsigned q = 1; q < MESH_QUEUES; q++) {
        struct rx_queue *r = atomic_load(&s->rx[q]);
        all += r ? atomic_load(&r->received) : 0;
    }
    *received = all - s->said_received;
    s->said_received = all;
    pthread_mutex_lock(&d->mail);
    *from = s->from;
    pthread_mutex_unlock(&d->mail);
}

static void collect_used(struct datapath *d,
                         void (*used)(void *arg, uint32_t local, uint64_t sent, uint64_t received,
                                      const struct mesh_addr *from),
                         void *arg)
{
    for (unsigned i = 0;; i++) { /* unlocked while it calls, which may set keys */
        struct mesh_addr from = {0};
        uint64_t sent, received;
        uint32_t local;
        pthread_mutex_lock(&d->owner);
        if (i >= d->n_routes) {
            pthread_mutex_unlock(&d->owner);
            return;
        }
        local = d->routes[i].s->keys.local;
        take_used(d, d->routes[i].s, &sent, &received, &from);
        pthread_mutex_unlock(&d->owner);
        if (sent || received)
            used(arg, local, sent, received, &from);
    }
}

void datapath_collect(struct datapath *d,
                      void (*used)(void *arg, uint32_t local, uint64_t sent, uint64_t received,
                                   const struct mesh_addr *from),
                      void (*unknown)(void *arg, const struct mesh_addr *from, const uint8_t *data, size_t len),
                      void *arg)
{
    struct unknown *list = NULL;
    unsigned n;
    if (used)
        collect_used(d, used, arg);
    if (!unknown)
        return;
    pthread_mutex_lock(&d->mail);
    n = d->n_unknown;
    if (n && (list = malloc(n * sizeof *list)))
        memcpy(list, d->unknown, n * sizeof *list);
    d->n_unknown = 0;
    pthread_mutex_unlock(&d->mail);
    for (unsigned i = 0; list && i < n; i++)
        unknown(arg, &list[i].from, list[i].bytes, list[i].len);
    free(list);
}
