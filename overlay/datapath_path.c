/* Paths: how large their datagrams may be, and whether segmentation offload works on them. The first thread
 * looks after those in use; answers come in at any. */
#include <errno.h>
#include <string.h>

#include "overlay/datapath_internal.h"

#define PROBES_AT_ONCE 24 /* sizes that the system refuses cost nothing */

static void put32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)(v >> 32));
    put32(p + 4, (uint32_t)v);
}

static uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) << 32 | get32(p + 4);
}

unsigned path_start_bytes(const struct datapath *d, const struct mesh_addr *addr)
{
    unsigned v6 = addr->family == 6 ? 20 : 0; /* its header is so much longer */
    if (!d->cfg.path_bytes)
        return PMTU_BASE;
    return d->cfg.path_bytes > PMTU_MIN + v6 ? d->cfg.path_bytes - v6 : PMTU_MIN;
}

void path_used(struct worker *w, struct path *p)
{
    atomic_store_explicit(&p->used_at, w->now, memory_order_relaxed);
    if (atomic_load_explicit(&p->resting, memory_order_relaxed) && atomic_exchange(&p->resting, false)) {
        pthread_mutex_lock(&p->lock);
        pmtu_resume(&p->pmtu, w->now);
        pthread_mutex_unlock(&p->lock);
        datapath_poke(w->d->worker[0]);
    }
}

/* p->lock is held */
static void take_size(struct worker *w, struct path *p, uint64_t holes)
{
    if (!w->d->cfg.path_bytes)
        atomic_store(&p->bytes, p->pmtu.size);
    count(&w->n.black_holes, p->pmtu.holes - holes);
}

void path_refused(struct worker *w, struct path *p, size_t size)
{
    uint64_t holes;
    pthread_mutex_lock(&p->lock);
    holes = p->pmtu.holes;
    pmtu_refused(&p->pmtu, w->now, (unsigned)size);
    take_size(w, p, holes);
    pthread_mutex_unlock(&p->lock);
    datapath_poke(w->d->worker[0]);
}

void path_gso_failed(struct worker *w, struct path *p)
{
    pthread_mutex_lock(&p->lock);
    if (health_report(&p->health, w->now, 0, HEALTH_BAD))
        count(&w->n.gso_off, 1);
    atomic_store(&p->gso, false);
    pthread_mutex_unlock(&p->lock);
}

/* ---- packets of our own ---- */

static int send_probe(struct worker *w, const struct route *r, unsigned size, uint32_t id)
{
    uint8_t *plain = w->probe + MESH_HEADER;
    memset(plain, 0, size - MESH_OVERHEAD);
    plain[2] = KIND_PROBE;
    put32(plain + 3, id);
    count(&w->n.probes, 1);
    return tx_own(w, r, w->probe, size - MESH_OVERHEAD);
}

static void answer(struct worker *w, const struct route *asked, uint32_t id)
{
    const struct session *s = asked->s;
    const struct route *r = route_to(w->keyring, &s->keys.peer, w->now);
    uint8_t datagram[ANSWER + MESH_OVERHEAD] = {0}, *plain = datagram + MESH_HEADER;
    uint64_t good = 0, bad = 0;
    if (!r)
        return;
    for (unsigned q = 1; q < MESH_QUEUES; q++) {
        struct rx_queue *x = atomic_load(&s->rx[q]);
        good += x ? atomic_load(&x->received) : 0;
        bad += x ? atomic_load(&x->failed) : 0;
    }
    plain[2] = KIND_ANSWER;
    put32(plain + 3, id);
    put32(plain + 7, s->keys.local);
    put64(plain + 11, good);
    put64(plain + 19, bad);
    (void)tx_own(w, r, datagram, ANSWER); /* a lost answer is a lost probe */
}

/* p->lock is held. What the peer got of what we sent: does segmentation offload spoil it? */
static void judge(struct worker *w, struct path *p, uint32_t session, uint64_t good, uint64_t bad)
{
    if (p->counted == session && good >= p->counted_good && bad >= p->counted_bad &&
        health_report(&p->health, w->now, good - p->counted_good, bad - p->counted_bad)) {
        atomic_store(&p->gso, false);
        count(&w->n.gso_off, 1);
    }
    p->counted = session;
    p->counted_good = good;
    p->counted_bad = bad;
}

void path_packet(struct worker *w, const struct route *r, const uint8_t *plain, size_t len)
{
    struct path *p = r->s->path;
    uint64_t holes;
    if (plain[2] == KIND_PROBE && len >= 7) {
        answer(w, r, get32(plain + 3));
        return;
    }
    if (plain[2] != KIND_ANSWER || len < ANSWER) {
        count(&w->n.rx_number, 1);
        return;
    }
    pthread_mutex_lock(&p->lock);
    holes = p->pmtu.holes;
    pmtu_acked(&p->pmtu, w->now, get32(plain + 3));
    take_size(w, p, holes);
    judge(w, p, get32(plain + 7), get64(plain + 11), get64(plain + 19));
    pthread_mutex_unlock(&p->lock);
    datapath_poke(w->d->worker[0]); /* the next probe may go */
}

/* ---- time ---- */

static vi_time look_after(struct worker *w, const struct route *r)
{
    struct path *p = r->s->path;
    vi_time next = w->now + VI_SEC;
    uint64_t holes;
    unsigned size;
    uint32_t id;
    if (w->d->cfg.path_bytes || w->now - atomic_load(&p->used_at) > PATH_IDLE) { /* given: nothing to find out */
        atomic_store(&p->resting, true);
        return VI_NEVER;
    }
    pthread_mutex_lock(&p->lock);
    holes = p->pmtu.holes;
    for (unsigned i = 0; i < PROBES_AT_ONCE && pmtu_poll(&p->pmtu, w->now, &size, &id); i++) {
        if (send_probe(w, r, size, id) == EMSGSIZE)
            pmtu_refused(&p->pmtu, w->now, size);
    }
    take_size(w, p, holes);
    if (w->d->offload.gso && health_ok(&p->health, w->now))
        atomic_store(&p->gso, true);
    if (pmtu_deadline(&p->pmtu, w->now) < next)
        next = pmtu_deadline(&p->pmtu, w->now);
    pthread_mutex_unlock(&p->lock);
    return next;
}

vi_time path_tick(struct worker *w)
{
    vi_time next = VI_NEVER;
    for (unsigned i = 0; w->keyring && i < w->keyring->n; i++) {
        const struct route *r = &w->keyring->routes[i];
        vi_time at;
        if (atomic_load_explicit(&r->s->path->resting, memory_order_relaxed) ||
            route_to(w->keyring, &r->s->keys.peer, w->now) != r)
            continue;
        at = look_after(w, r);
        if (at < next)
            next = at;
    }
    return next > w->now + 10 * VI_MSEC || next == VI_NEVER ? next : w->now + 10 * VI_MSEC;
}
