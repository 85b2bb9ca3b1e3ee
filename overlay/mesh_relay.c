/* Through another peer: datagrams for one that can't be reached directly, as they would be on the wire,
 * inside the sender's session with the relay and then inside the relay's session with the receiver. What
 * is inside stays closed to the relay: handshakes, control and data are those of the two ends.
 *
 *   relay packet   header as CONTROL · kind 1 (1: pass on, 2: passed on), the other's id 16, datagram
 *
 * A relay passes on only between peers that both have a direct session with it, within its limits per
 * pair and direction, and never what was relayed already. */
#include "overlay/mesh_internal.h"

#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

enum { PASS_ON = 1, PASSED_ON = 2 };

#define PAIR_OLD   (60 * VI_SEC) /* a pair's entry may go to another */
#define PAIR_PROBE 8
#define BURST_PART 4 /* a quarter of a second's worth may come at once */
#define REFUSE_GAP (100 * VI_MSEC)

void mesh_via(struct mesh_addr *a, const struct vi_id *relay, const struct vi_id *to)
{
    memset(a, 0, sizeof *a);
    a->family = MESH_VIA;
    memcpy(a->ip, relay->b, VI_ID_SIZE);
    a->to = *to;
}

/* ---- choosing ------------------------------------------------------------------------------------ */

static bool usable(const struct mesh_peer *r, const struct mesh_peer *p, vi_time now)
{
    if (r == p || !r->up || !r->cur || !r->cur->confirmed || !mesh_direct(&r->addr) ||
        r->path.failing || r->path.lost_in_row || now - r->cur->born >= MESH_REJECT_AFTER)
        return false;
    for (unsigned i = 0; i < MESH_BAD; i++)
        if (p->path.bad[i].until > now && vi_id_equal(&p->path.bad[i].id, &r->id))
            return false;
    return true;
}

static unsigned rank(const struct mesh *m, const struct mesh_peer *r)
{
    for (unsigned i = 0; i < m->n_relays; i++)
        if (vi_id_equal(&m->relays[i], &r->id))
            return i;
    return MESH_RELAYS;
}

static bool better(const struct mesh *m, const struct mesh_peer *a, const struct mesh_peer *b)
{
    unsigned ra = rank(m, a), rb = rank(m, b);
    vi_time ta = a->path.rtt ? a->path.rtt : VI_NEVER, tb = b->path.rtt ? b->path.rtt : VI_NEVER;

    if (ra != rb)
        return ra < rb;
    if (ta != tb)
        return ta < tb;
    return vi_id_compare(&a->id, &b->id) < 0;
}

struct mesh_peer *mesh_relay_pick(const struct mesh *m, const struct mesh_peer *p, vi_time now)
{
    struct mesh_peer *best = NULL;
    unsigned tried = 0;

    for (unsigned i = 0; i < MESH_BAD; i++)
        tried += p->path.bad[i].until > now;
    if (tried == MESH_BAD) /* it is not the relays */
        return NULL;
    for (size_t i = 0; i < m->npeers; i++)
        if (usable(m->peers[i], p, now) && (!best || better(m, m->peers[i], best)))
            best = m->peers[i];
    return best;
}

bool mesh_relay_for(const struct mesh *m, vi_time now, const struct vi_id *peer, struct vi_id *relay)
{
    const struct mesh_peer *p = mesh_peer_get(m, peer), *r;

    if (!p)
        return false;
    if (p->addr.family == MESH_VIA) {
        memcpy(relay->b, p->addr.ip, VI_ID_SIZE);
        return true;
    }
    r = mesh_relay_pick(m, p, now);
    if (r)
        *relay = r->id;
    return r != NULL;
}

/* ---- the ends ------------------------------------------------------------------------------------ */

static bool alive(const struct mesh *m, const struct mesh_peer *p)
{
    return p && p->cur && m->now - p->cur->born < MESH_REJECT_AFTER;
}

static void seal(struct mesh *m, struct mesh_peer *p, uint8_t kind, const struct vi_id *other,
                 const uint8_t *data, size_t len)
{
    uint8_t buf[MESH_RELAY_HEAD + MESH_INNER_MAX];

    buf[0] = kind;
    memcpy(buf + 1, other->b, VI_ID_SIZE);
    memcpy(buf + MESH_RELAY_HEAD, data, len);
    mesh_session_seal_as(m, p->cur, MESH_RELAY, &p->addr, buf, MESH_RELAY_HEAD + len);
    p->last_tx = p->last_use = m->now;
    mesh_path_said(p, m->now);
}

void mesh_relay_send(struct mesh *m, const struct mesh_addr *via, const void *data, size_t len)
{
    struct mesh_peer *r;
    struct vi_id id;

    memcpy(id.b, via->ip, sizeof id.b);
    r = mesh_peer_get(m, &id);
    if (!alive(m, r) || !mesh_direct(&r->addr) || len > MESH_INNER_MAX) {
        m->n.relay_tx_lost++;
        return;
    }
    m->n.relay_tx++;
    seal(m, r, PASS_ON, &via->to, data, len);
    mesh_touch(m, r);
}

/* A data packet of one of our sessions, sealed by the data path. */
int mesh_relay_data(struct mesh *m, uint32_t local, const uint8_t *data, size_t len)
{
    struct mesh_slot *slot = mesh_index_find(m, local);

    if (!slot || !slot->peer || len < MESH_OVERHEAD || len > MESH_INNER_MAX || data[0] != MESH_DATA)
        return VI_EINVAL;
    mesh_datagram(m, &slot->peer->addr, data, len);
    return 0;
}

static void passed_on(struct mesh *m, struct mesh_peer *p, const struct vi_id *from,
                      const uint8_t *data, size_t len, vi_time now)
{
    struct mesh_addr via;

    if (data[0] == MESH_RELAY || vi_id_equal(from, &m->id) || vi_id_equal(from, &p->id)) {
        m->n.rx_garbage++;
        return;
    }
    m->n.relay_rx++;
    if (p->keepalive_at == VI_NEVER)
        p->keepalive_at = now + MESH_KEEPALIVE;
    mesh_via(&via, &p->id, from);
    mesh_dispatch(m, now, &via, data, len);
}

/* ---- the relay ----------------------------------------------------------------------------------- */

static struct mesh_pair *pair_of(struct mesh *m, const struct vi_id *from, const struct vi_id *to,
                                 vi_time now)
{
    uint64_t h = vi_id_bucket(from) + 3 * vi_id_bucket(to);
    struct mesh_pair *freed = NULL;

    if (!m->pairs)
        m->pairs = calloc(MESH_PAIRS, sizeof *m->pairs);
    for (unsigned i = 0; m->pairs && i < PAIR_PROBE; i++) {
        struct mesh_pair *pr = &m->pairs[(h + i) % MESH_PAIRS];

        if (pr->used && vi_id_equal(&pr->from, from) && vi_id_equal(&pr->to, to))
            return pr;
        if (!freed && (!pr->used || now - pr->last > PAIR_OLD))
            freed = pr;
    }
    if (freed)
        *freed = (struct mesh_pair){.from = *from, .to = *to, .used = true, .filled = now, .last = now,
                                    .bytes = m->cfg.relay_bytes / BURST_PART,
                                    .packets = m->cfg.relay_packets / BURST_PART};
    return freed;
}

static int64_t filled(int64_t have, vi_time span, uint32_t rate)
{
    int64_t most = rate / BURST_PART;

    have += (int64_t)((double)span * rate / VI_SEC);
    return have < most ? have : most;
}

static bool within_limits(struct mesh *m, struct mesh_pair *pr, size_t len, vi_time now)
{
    vi_time span = now - pr->filled;

    pr->last = now;
    if (span >= 10 * VI_MSEC) { /* less would be rounded away */
        pr->bytes = filled(pr->bytes, span, m->cfg.relay_bytes);
        pr->packets = filled(pr->packets, span, m->cfg.relay_packets);
        pr->filled = now;
    }
    if (pr->bytes < (int64_t)len || pr->packets < 1)
        return false;
    pr->bytes -= (int64_t)len;
    pr->packets--;
    return true;
}

static void refuse(struct mesh *m, struct mesh_peer *p, const struct vi_id *other,
                   enum mesh_refusal reason, vi_time now)
{
    struct mesh_path_msg msg = {.kind = MESH_REFUSED, .flags = (uint8_t)reason, .peer = *other};
    uint8_t out[MESH_PATH_MAX];
    size_t len = mesh_path_write(&msg, out);

    m->n.relay_refused++;
    if (now - p->path.refused_at < REFUSE_GAP || !p->cur)
        return;
    p->path.refused_at = now;
    mesh_session_seal(m, p->cur, &p->addr, out, len);
}

/* 0, or why not. */
static enum mesh_refusal may_pass(struct mesh *m, const struct mesh_peer *p, struct mesh_peer *q,
                                  const struct vi_id *to, vi_time now)
{
    if (m->cfg.relay_off || (m->cfg.relay && !m->cfg.relay(m->cfg.arg, &p->id, to)))
        return MESH_NOT_ALLOWED;
    if (!q || q == p)
        return MESH_NO_PEER;
    if (!alive(m, q)) {
        if (!q->half.on && now >= q->refused_until && (q->addr.family || q->hint.family))
            mesh_half_begin(m, q, now); /* for the next time */
        return MESH_NO_SESSION;
    }
    return mesh_direct(&q->addr) && mesh_direct(&p->addr) ? 0 : MESH_NOT_DIRECT;
}

static void pass_on(struct mesh *m, struct mesh_peer *p, const struct vi_id *to, const uint8_t *data,
                    size_t len, vi_time now)
{
    struct mesh_peer *q = mesh_peer_get(m, to);
    enum mesh_refusal why = may_pass(m, p, q, to, now);
    struct mesh_pair *pr;

    if (why || data[0] < MESH_INIT || data[0] > MESH_UNKNOWN) {
        refuse(m, p, to, why ? why : MESH_NOT_ALLOWED, now);
        return;
    }
    pr = pair_of(m, &p->id, to, now);
    if (!pr) {
        m->n.relay_full++;
        refuse(m, p, to, MESH_TOO_MUCH, now);
        return;
    }
    if (!within_limits(m, pr, len, now)) {
        m->n.relay_limited++;
        return;
    }
    m->n.relayed++;
    m->n.relayed_bytes += len;
    seal(m, q, PASSED_ON, &p->id, data, len);
    mesh_touch(m, q);
}

void mesh_relay_packet(struct mesh *m, struct mesh_peer *p, const uint8_t *data, size_t len, vi_time now)
{
    struct vi_id other;

    if (len <= MESH_RELAY_HEAD) {
        m->n.rx_garbage++;
        return;
    }
    memcpy(other.b, data + 1, VI_ID_SIZE);
    p->last_use = now;
    if (data[0] == PASS_ON)
        pass_on(m, p, &other, data + MESH_RELAY_HEAD, len - MESH_RELAY_HEAD, now);
    else if (data[0] == PASSED_ON)
        passed_on(m, p, &other, data + MESH_RELAY_HEAD, len - MESH_RELAY_HEAD, now);
    else
        m->n.rx_garbage++;
}

/* p asks that it and other hear where the relay sees them: each then tries the other there. */
void mesh_relay_meet(struct mesh *m, struct mesh_peer *p, const struct vi_id *other, vi_time now)
{
    struct mesh_peer *q = mesh_peer_get(m, other);
    struct mesh_path_msg msg = {.kind = MESH_SEEN};
    uint8_t out[MESH_PATH_MAX];

    if (now - p->path.meet_at < VI_SEC / 2 || may_pass(m, p, q, other, now))
        return;
    p->path.meet_at = now;
    msg.peer = p->id;
    msg.addr = p->addr;
    mesh_session_seal(m, q->cur, &q->addr, out, mesh_path_write(&msg, out));
    msg.peer = q->id;
    msg.addr = q->addr;
    mesh_session_seal(m, p->cur, &p->addr, out, mesh_path_write(&msg, out));
}
