#include "overlay/mesh_internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

#define SLOT_BITS 20

struct mesh_peer *mesh_peer_get(const struct mesh *m, const struct vi_id *id)
{
    struct mesh_peer *p = m->bucket[vi_id_bucket(id) % MESH_BUCKETS];

    while (p && !vi_id_equal(&p->id, id))
        p = p->chain;
    return p;
}

/* The table is full: make room by forgetting the peer that has been silent longest, if any is idle. */
static bool evict(struct mesh *m)
{
    struct mesh_peer *oldest = NULL;

    for (size_t i = 0; i < m->npeers; i++) {
        struct mesh_peer *p = m->peers[i];

        if (!p->cur && !p->next && !p->prev && !p->half.on && !p->queued &&
            (!oldest || p->last_rx < oldest->last_rx))
            oldest = p;
    }
    if (oldest)
        mesh_peer_free(m, oldest);
    return oldest != NULL;
}

struct mesh_peer *mesh_peer_make(struct mesh *m, const struct vi_id *id)
{
    struct mesh_peer *p, **more;
    size_t cap;

    if (m->npeers >= m->cfg.max_peers && !evict(m)) {
        m->n.peers_full++;
        return NULL;
    }
    if (m->npeers == m->peers_cap) {
        cap = m->peers_cap ? 2 * m->peers_cap : 16;
        more = realloc(m->peers, cap * sizeof *more);
        if (!more)
            goto no_memory;
        m->peers = more;
        m->peers_cap = cap;
    }
    p = calloc(1, sizeof *p);
    if (!p)
        goto no_memory;
    p->id = *id;
    p->tail = &p->head;
    p->due = p->keepalive_at = p->expect_at = p->rekey_at = VI_NEVER;
    mesh_path_reset(&p->path);
    p->chain = m->bucket[vi_id_bucket(id) % MESH_BUCKETS];
    m->bucket[vi_id_bucket(id) % MESH_BUCKETS] = p;
    p->at = m->npeers;
    m->peers[m->npeers++] = p;
    return p;
no_memory:
    m->n.no_memory++;
    return NULL;
}

void mesh_queue_clear(struct mesh_peer *p)
{
    while (p->head) {
        struct mesh_queued *q = p->head;

        p->head = q->next;
        free(q);
    }
    p->tail = &p->head;
    p->queued = 0;
}

void mesh_peer_free(struct mesh *m, struct mesh_peer *p)
{
    struct mesh_peer **at = &m->bucket[vi_id_bucket(&p->id) % MESH_BUCKETS];

    while (*at != p)
        at = &(*at)->chain;
    *at = p->chain;
    m->peers[p->at] = m->peers[--m->npeers];
    m->peers[p->at]->at = p->at;
    mesh_half_end(m, &p->half);
    mesh_session_drop(m, p, &p->cur);
    mesh_session_drop(m, p, &p->prev);
    mesh_session_drop(m, p, &p->next);
    mesh_queue_clear(p);
    sodium_memzero(p, sizeof *p);
    free(p);
}

/* A session index is a slot's number below and random bits above: found at once, hard to guess. */
uint32_t mesh_index_new(struct mesh *m, struct mesh_peer *p, struct mesh_admission *a)
{
    uint32_t n = m->nslots, cap;
    struct mesh_slot *more;

    for (uint32_t i = 0; i < m->nslots && n == m->nslots; i++) {
        m->slot_hand = (m->slot_hand + 1) % m->nslots;
        if (!m->slots[m->slot_hand].index)
            n = m->slot_hand;
    }
    if (n == m->nslots) {
        cap = m->nslots ? 2 * m->nslots : 64;
        if (cap > 1U << SLOT_BITS)
            return 0;
        more = realloc(m->slots, cap * sizeof *more);
        if (!more) {
            m->n.no_memory++;
            return 0;
        }
        memset(more + m->nslots, 0, (cap - m->nslots) * sizeof *more);
        m->slots = more;
        m->nslots = cap;
    }
    do
        m->slots[n].index = (uint32_t)vi_rng_u64(m->rng) << SLOT_BITS | n;
    while (!m->slots[n].index);
    m->slots[n].peer = p;
    m->slots[n].adm = a;
    return m->slots[n].index;
}

struct mesh_slot *mesh_index_find(struct mesh *m, uint32_t index)
{
    uint32_t n = index & ((1U << SLOT_BITS) - 1);

    return index && n < m->nslots && m->slots[n].index == index ? &m->slots[n] : NULL;
}

void mesh_index_free(struct mesh *m, uint32_t index)
{
    struct mesh_slot *s = mesh_index_find(m, index);

    if (s)
        memset(s, 0, sizeof *s);
}

/* ---- effects ------------------------------------------------------------------------------------ */

/* Nodes for effects that may not be lost are set aside before a step changes anything. */
bool mesh_reserve(struct mesh *m, unsigned n)
{
    while (m->spares < n) {
        struct mesh_node *s = malloc(sizeof *s);

        if (!s) {
            m->n.no_memory++;
            return false;
        }
        s->next = m->spare;
        m->spare = s;
        m->spares++;
    }
    return true;
}

static void append(struct mesh *m, struct mesh_node *n)
{
    n->next = NULL;
    *m->last = n;
    m->last = &n->next;
    m->waiting++;
}

struct mesh_effect *mesh_say(struct mesh *m, enum mesh_effect_kind kind)
{
    struct mesh_node *n = m->spare;

    m->spare = n->next;
    m->spares--;
    memset(&n->fx, 0, sizeof n->fx);
    n->fx.kind = kind;
    append(m, n);
    return &n->fx;
}

int mesh_say_bytes(struct mesh *m, const struct mesh_effect *fx, const void *data, size_t len)
{
    struct mesh_node *n;

    if (m->waiting >= MESH_EFFECTS) {
        m->n.effects_full++;
        return VI_EFULL;
    }
    n = malloc(sizeof *n + len);
    if (!n) {
        m->n.no_memory++;
        return VI_ENOMEM;
    }
    n->fx = *fx;
    if (len)
        memcpy(n->data, data, len);
    n->fx.data = n->data;
    n->fx.len = len;
    append(m, n);
    return 0;
}

void mesh_datagram(struct mesh *m, const struct mesh_addr *to, const void *data, size_t len)
{
    struct mesh_effect fx = {.kind = MESH_FX_DATAGRAM, .addr = *to};

    if (to->family == MESH_VIA)
        mesh_relay_send(m, to, data, len);
    else if (to->family)
        mesh_say_bytes(m, &fx, data, len);
}

static void sooner(vi_time *due, vi_time t)
{
    if (t < *due)
        *due = t;
}

/* When this peer next needs a tick; the core's deadline is at most that. */
void mesh_touch(struct mesh *m, struct mesh_peer *p)
{
    p->due = VI_NEVER;
    if (p->half.on)
        sooner(&p->due, p->half.next);
    if (p->cur) {
        sooner(&p->due, p->cur->born + MESH_REJECT_AFTER);
        sooner(&p->due, p->rekey_at);
        sooner(&p->due, p->keepalive_at);
        sooner(&p->due, p->expect_at);
        sooner(&p->due, mesh_path_due(p));
        if (!p->cur->confirmed)
            sooner(&p->due, p->cur->confirm_at);
    }
    if (p->prev)
        sooner(&p->due, p->prev->born + MESH_REJECT_AFTER);
    if (p->next)
        sooner(&p->due, p->next->born + MESH_PENDING);
    sooner(&m->due, p->due);
}
