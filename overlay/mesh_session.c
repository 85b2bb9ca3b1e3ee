/* Sessions: sealing, opening, promoting, and what follows from hearing or not hearing a peer.
 *
 * A peer has up to three: cur (we send with it), prev (its packets may still come), next (we
 * answered a handshake and wait for the first packet, which proves that the other holds the keys
 * and that the handshake was no replay). */
#include "overlay/mesh_internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

struct mesh_session *mesh_session_new(struct mesh *m, const struct noise_handshake *hs,
                                      uint32_t local, uint32_t remote, enum noise_cipher c,
                                      uint16_t rx_queues, const struct mesh_addr *addr, vi_time now)
{
    struct mesh_session *s = calloc(1, sizeof *s);

    if (!s) {
        m->n.no_memory++;
        return NULL;
    }
    s->local = local;
    s->remote = remote;
    s->generation = ++m->generation;
    s->initiator = hs->initiator;
    s->cipher = c;
    s->rx_queues = rx_queues;
    s->born = now;
    s->addr = *addr;
    s->confirm_at = now + MESH_CONFIRM;
    noise_export(hs, "violin from initiator", hs->initiator ? s->tx_base : s->rx_base);
    noise_export(hs, "violin from responder", hs->initiator ? s->rx_base : s->tx_base);
    mesh_queue_key(s->tx_base, c, 0, s->tx);
    mesh_queue_key(s->rx_base, c, 0, s->rx);
    return s;
}

void mesh_say_keys(struct mesh *m, struct mesh_peer *p, struct mesh_session *s)
{
    struct mesh_effect *fx = mesh_say(m, MESH_FX_KEYS);

    fx->peer = p->id;
    fx->keys = (struct mesh_keys){.peer = p->id,
                                  .local = s->local,
                                  .remote = s->remote,
                                  .generation = s->generation,
                                  .cipher = s->cipher,
                                  .tx_queues = m->cfg.queues,
                                  .rx_queues = s->rx_queues,
                                  .send = s->confirmed,
                                  .born = s->born,
                                  .addr = p->addr};
    memcpy(fx->keys.tx_base, s->tx_base, NOISE_HASH);
    memcpy(fx->keys.rx_base, s->rx_base, NOISE_HASH);
    s->told = true;
}

void mesh_session_drop(struct mesh *m, struct mesh_peer *p, struct mesh_session **at)
{
    struct mesh_session *s = *at;
    struct mesh_effect *fx;

    if (!s)
        return;
    *at = NULL;
    if (s->told && p) {
        fx = mesh_say(m, MESH_FX_KEYS);
        fx->peer = fx->keys.peer = p->id;
        fx->keys.local = s->local;
        fx->keys.generation = s->generation;
        fx->keys.withdrawn = true;
    }
    mesh_index_free(m, s->local);
    sodium_memzero(s, sizeof *s);
    free(s);
}

void mesh_peer_up(struct mesh *m, struct mesh_peer *p)
{
    struct mesh_effect *fx;

    if (p->up)
        return;
    p->up = true;
    fx = mesh_say(m, MESH_FX_PEER_UP);
    fx->peer = p->id;
    fx->addr = p->addr;
    fx->cert = p->cert;
}

/* Ends all that there is with a peer; the record with its key and address stays. */
void mesh_peer_down(struct mesh *m, struct mesh_peer *p, enum mesh_down why, int err)
{
    struct mesh_effect *fx;

    mesh_path_down(m, p, why, m->now);
    mesh_half_end(m, &p->half);
    mesh_session_drop(m, p, &p->cur);
    mesh_session_drop(m, p, &p->prev);
    mesh_session_drop(m, p, &p->next);
    mesh_queue_clear(p);
    p->keepalive_at = p->expect_at = p->rekey_at = VI_NEVER;
    p->up = false;
    fx = mesh_say(m, MESH_FX_PEER_DOWN);
    fx->peer = p->id;
    fx->addr = p->addr;
    fx->why = why;
    fx->err = err;
}

/* An empty plaintext is a keepalive. */
void mesh_session_seal(struct mesh *m, struct mesh_session *s, const struct mesh_addr *to,
                       const uint8_t *data, size_t len)
{
    mesh_session_seal_as(m, s, MESH_CONTROL, to, data, len);
}

void mesh_session_seal_as(struct mesh *m, struct mesh_session *s, enum mesh_packet type,
                          const struct mesh_addr *to, const uint8_t *data, size_t len)
{
    uint8_t out[MESH_RELAY_MAX];
    struct mesh_header h = {.type = (uint8_t)type, .receiver = s->remote, .counter = s->tx_next};

    if (s->tx_next >= m->cfg.rekey_messages + (1U << 20)) {
        m->n.tx_session_spent++;
        return;
    }
    mesh_header_write(out, &h);
    s->tx_next++;
    if (!noise_seal(s->cipher, s->tx, h.counter, out, MESH_HEADER, data, len, out + MESH_HEADER))
        mesh_datagram(m, to, out, len + MESH_OVERHEAD);
}

static bool spent(const struct mesh *m, const struct mesh_session *s)
{
    return s->tx_next >= m->cfg.rekey_messages || s->data_sent >= m->cfg.rekey_messages;
}

static void sealed(struct mesh *m, struct mesh_peer *p, const uint8_t *data, size_t len, vi_time now)
{
    mesh_session_seal(m, p->cur, &p->addr, data, len);
    p->last_tx = now;
    p->keepalive_at = VI_NEVER;
    if (len) {
        m->n.control_tx++;
        p->tx_count++;
        p->last_use = now;
        mesh_path_said(p, now);
        if (p->expect_at == VI_NEVER)
            p->expect_at = now + MESH_EXPECT;
    }
    if (spent(m, p->cur) && !p->half.on)
        mesh_half_begin(m, p, now);
}

void mesh_keepalive(struct mesh *m, struct mesh_peer *p, vi_time now)
{
    sealed(m, p, NULL, 0, now);
}

void mesh_flush(struct mesh *m, struct mesh_peer *p, vi_time now)
{
    for (const struct mesh_queued *q = p->head; q; q = q->next)
        sealed(m, p, q->data, q->len, now);
    mesh_queue_clear(p);
}

static int enqueue(struct mesh *m, struct mesh_peer *p, const uint8_t *data, size_t len)
{
    struct mesh_queued *q;

    if (p->queued + len + sizeof *q > m->cfg.queue_bytes) {
        m->n.tx_queue_full++;
        return VI_EFULL;
    }
    q = malloc(sizeof *q + len);
    if (!q) {
        m->n.no_memory++;
        return VI_ENOMEM;
    }
    q->next = NULL;
    q->len = len;
    memcpy(q->data, data, len);
    *p->tail = q;
    p->tail = &q->next;
    p->queued += (uint32_t)(len + sizeof *q);
    return 0;
}

int mesh_peer_send(struct mesh *m, struct mesh_peer *p, uint8_t channel, const uint8_t *data,
                   size_t len, vi_time now)
{
    uint8_t buf[1 + MESH_PAYLOAD_MAX];
    int err;

    buf[0] = channel;
    if (len)
        memcpy(buf + 1, data, len);
    if (p->cur && now - p->cur->born < MESH_REJECT_AFTER) {
        sealed(m, p, buf, len + 1, now);
        return 0;
    }
    if (!p->has_x || (!p->addr.family && !p->hint.family))
        return VI_ENOTFOUND;
    if (now < p->refused_until && !p->half.on)
        return VI_EREFUSED;
    err = enqueue(m, p, buf, len + 1);
    if (!err && !p->half.on)
        mesh_half_begin(m, p, now);
    return err;
}

/* The first packet on a session that we answered: it becomes the current one. */
static void promote(struct mesh *m, struct mesh_peer *p, const struct mesh_addr *from, vi_time now)
{
    mesh_session_drop(m, p, &p->prev);
    p->prev = p->cur;
    p->cur = p->next;
    p->next = NULL;
    p->cur->confirmed = true;
    p->cert = p->next_cert;
    p->has_cert = true;
    memcpy(p->x, p->cert.x, CERT_KEY);
    p->has_x = true;
    mesh_path_set(p, from, now);
    if (p->cur->counter > p->greatest)
        p->greatest = p->cur->counter;
    p->rekey_at = p->cur->born + m->cfg.rekey_after + m->cfg.rekey_after / 8; /* the initiator's turn first */
    p->expect_at = VI_NEVER;
    p->last_use = now;
    mesh_half_end(m, &p->half);
    p->refusals = 0;
    p->refused_until = 0;
    m->n.handshakes_done++;
    mesh_say_keys(m, p, p->cur);
    mesh_peer_up(m, p);
    if (p->head)
        mesh_flush(m, p, now);
    else
        mesh_keepalive(m, p, now); /* tells the initiator that we have it */
}

static void heard(struct mesh *m, struct mesh_peer *p, struct mesh_session *s, vi_time now)
{
    p->last_rx = now;
    p->expect_at = p->path.quiet_at = VI_NEVER;
    if (s == p->cur && !s->confirmed) {
        s->confirmed = true;
        mesh_say_keys(m, p, s);
    }
}

static void deliver(struct mesh *m, struct mesh_peer *p, const uint8_t *plain, size_t len, vi_time now)
{
    struct mesh_effect fx = {.kind = MESH_FX_DELIVER, .peer = p->id, .addr = p->addr};

    m->n.control_rx++;
    p->rx_count++;
    p->last_use = now;
    if (p->keepalive_at == VI_NEVER)
        p->keepalive_at = now + MESH_KEEPALIVE;
    if (!mesh_channel_ok(plain[0])) {
        m->n.rx_channel++;
        return;
    }
    fx.channel = plain[0];
    mesh_say_bytes(m, &fx, plain + 1, len - 1);
}

/* Is it where a peer that we know was seen, or may be tried? */
static bool known_address(const struct mesh *m, const struct mesh_addr *a)
{
    for (size_t i = 0; i < m->npeers; i++)
        if (mesh_addr_equal(&m->peers[i]->addr, a))
            return true;
    return false;
}

/* "I don't know that session": 16 bytes, never more than came. What it says isn't authentic; all
 * that it can bring about is one handshake. Strangers are told nothing, not even that. */
static void say_unknown(struct mesh *m, vi_time now, const struct mesh_addr *from,
                        const struct mesh_header *h)
{
    uint8_t out[MESH_UNKNOWN_SIZE] = {MESH_UNKNOWN, h->type};

    m->n.rx_unknown_index++;
    if (now - m->hints_since >= VI_SEC) {
        m->hints_since = now;
        m->hints_out = m->hints_in = 0;
    }
    if (m->hints_out >= 64)
        return;
    m->hints_out++; /* looking counts, too */
    if (!known_address(m, from))
        return;
    m->n.hints_sent++;
    mesh_put32(out + 4, h->receiver);
    mesh_put64(out + 8, h->counter);
    mesh_datagram(m, from, out, sizeof out);
}

struct mesh_session *mesh_session_of(const struct mesh_slot *slot, uint32_t index)
{
    struct mesh_peer *p = slot->peer;

    if (slot->adm)
        return slot->adm->s && slot->adm->s->local == index ? slot->adm->s : NULL;
    if (p->cur && p->cur->local == index)
        return p->cur;
    if (p->prev && p->prev->local == index)
        return p->prev;
    return p->next && p->next->local == index ? p->next : NULL;
}

static void opened(struct mesh *m, vi_time now, struct mesh_peer *p, struct mesh_session *s,
                   const struct mesh_addr *from, bool newest, const uint8_t *plain, size_t len)
{
    if (s == p->next)
        promote(m, p, from, now);
    mesh_path_heard(m, p, from, newest && s == p->cur, now);
    heard(m, p, s, now);
    if (len && plain[0] == MESH_CHANNEL_PATH)
        mesh_path_message(m, p, from, plain + 1, len - 1, now);
    else if (len)
        deliver(m, p, plain, len, now);
    mesh_touch(m, p);
}

/* A control packet as it should be: not too long for its type; a relay's not within another's. */
static bool may_open(const struct mesh_header *h, const struct mesh_addr *from, size_t len)
{
    if (h->queue)
        return false;
    return h->type == MESH_RELAY ? len <= MESH_RELAY_MAX && from->family != MESH_VIA
                                 : h->type == MESH_CONTROL && len <= MESH_DATAGRAM_MAX;
}

void mesh_on_control(struct mesh *m, vi_time now, const struct mesh_addr *from, const uint8_t *data,
                     size_t len)
{
    uint8_t plain[MESH_RELAY_MAX];
    struct mesh_session *s = NULL;
    struct mesh_slot *slot;
    struct mesh_header h;
    bool newest;

    if (mesh_header_read(&h, data, len)) {
        m->n.rx_garbage++;
        return;
    }
    slot = mesh_index_find(m, h.receiver);
    if (slot)
        s = mesh_session_of(slot, h.receiver);
    if (!s) {
        say_unknown(m, now, from, &h);
        return;
    }
    if (h.type == MESH_DATA && from->family == MESH_VIA && slot->peer) {
        struct mesh_effect fx = {.kind = MESH_FX_DATA, .peer = slot->peer->id};

        mesh_say_bytes(m, &fx, data, len);
        return;
    }
    if (!may_open(&h, from, len)) {
        m->n.rx_garbage++; /* also data of a session that the data path must know */
        return;
    }
    if (now - s->born >= MESH_REJECT_AFTER) {
        m->n.rx_too_old_session++;
        return;
    }
    if (!mesh_window_fresh(&s->window, h.counter)) {
        m->n.rx_replay++;
        return;
    }
    newest = h.counter >= s->window.next;
    if (noise_open(s->cipher, s->rx, h.counter, data, MESH_HEADER, data + MESH_HEADER,
                   len - MESH_HEADER, plain)) {
        m->n.rx_auth++;
        return;
    }
    mesh_window_mark(&s->window, h.counter);
    if (h.type == MESH_RELAY) {
        struct mesh_peer *p = slot->peer;

        if (!p)
            return;
        opened(m, now, p, s, from, newest, NULL, 0);
        mesh_relay_packet(m, p, plain, len - MESH_OVERHEAD, now);
        mesh_touch(m, p);
    } else if (slot->adm)
        mesh_admission_control(m, now, slot->adm, from, plain, len - MESH_OVERHEAD);
    else
        opened(m, now, slot->peer, s, from, newest, plain, len - MESH_OVERHEAD);
}

/* The other has lost a session that we send with: it has restarted. The session stays until a new
 * handshake, which an impostor can't answer, has made another. */
void mesh_on_unknown(struct mesh *m, vi_time now, const struct mesh_addr *from, const uint8_t *data,
                     size_t len)
{
    if (now - m->hints_since >= VI_SEC) {
        m->hints_since = now;
        m->hints_out = m->hints_in = 0;
    }
    if (len != MESH_UNKNOWN_SIZE || ++m->hints_in > 64) {
        m->n.rx_hint_bad++;
        return;
    }
    for (size_t i = 0; i < m->npeers; i++) {
        struct mesh_peer *p = m->peers[i];
        uint64_t counter = mesh_get64(data + 8);

        if (!p->cur || p->cur->remote != mesh_get32(data + 4) || !mesh_addr_equal(&p->addr, from))
            continue;
        if (p->half.on || now < p->hint_after ||
            (data[1] == MESH_CONTROL &&
             (counter >= p->cur->tx_next || p->cur->tx_next - counter > MESH_WINDOW)))
            break;
        p->hint_after = now + MESH_HINT_GAP;
        m->n.hints_heeded++;
        mesh_half_begin(m, p, now);
        mesh_touch(m, p);
        return;
    }
    m->n.rx_hint_bad++;
}

void mesh_on_used(struct mesh *m, vi_time now, uint32_t local, uint64_t sent, uint64_t received,
                  const struct mesh_addr *from)
{
    struct mesh_slot *slot = mesh_index_find(m, local);
    struct mesh_session *s = slot && slot->peer ? mesh_session_of(slot, local) : NULL;
    struct mesh_peer *p;

    if (!s || s == slot->peer->next)
        return;
    p = slot->peer;
    if (sent || received)
        p->last_use = now;
    if (received) {
        mesh_path_heard(m, p, from, s == p->cur, now);
        heard(m, p, s, now);
        if (!sent && p->keepalive_at == VI_NEVER)
            p->keepalive_at = now + MESH_KEEPALIVE;
    } else if (sent) {
        mesh_path_said(p, now);
        if (p->expect_at == VI_NEVER)
            p->expect_at = now + MESH_EXPECT;
    }
    if (sent)
        p->keepalive_at = VI_NEVER;
    s->data_sent = s->data_sent + sent < sent ? UINT64_MAX : s->data_sent + sent;
    if (s == p->cur && spent(m, s) && !p->half.on)
        mesh_half_begin(m, p, now);
    mesh_touch(m, p);
}
