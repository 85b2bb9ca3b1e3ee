/* The mesh core: events in, effects out. See overlay/mesh.h; the parts are mesh_*.c. */
#include "overlay/mesh.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/mesh_internal.h"
#include "peer/base/err.h"

#define MESH_USED (5 * VI_SEC) /* a session that nobody has used for so long needs no new keys */

/* State effects that one event, or one peer's tick, may leave at most: keys withdrawn and given for
 * three sessions, up, down. */
#define RESERVE 16

static bool set_defaults(struct mesh_config *c)
{
    c->ciphers = c->ciphers ? c->ciphers & noise_ciphers() : noise_ciphers();
    c->queues = c->queues ? c->queues : 2;
    c->max_peers = c->max_peers ? c->max_peers : 2048;
    c->max_admissions = c->max_admissions ? c->max_admissions : 16;
    c->load_threshold = c->load_threshold ? c->load_threshold : 200;
    c->source_limit = c->source_limit ? c->source_limit : 20;
    c->queue_bytes = c->queue_bytes ? c->queue_bytes : 32768;
    c->rekey_messages = c->rekey_messages ? c->rekey_messages : MESH_REKEY_MESSAGES;
    c->rekey_after = c->rekey_after ? c->rekey_after : MESH_REKEY_AFTER;
    c->relay_bytes = c->relay_bytes ? c->relay_bytes : 12500000;
    c->relay_packets = c->relay_packets ? c->relay_packets : 20000;
    return c->ciphers && c->queues <= MESH_QUEUES && c->max_peers <= 100000 &&
           c->max_admissions <= 1024 && c->rekey_messages <= MESH_REKEY_MESSAGES &&
           c->rekey_after > 0 && c->rekey_after <= MESH_REKEY_AFTER &&
           (!c->trusts || c->trust);
}

struct mesh *mesh_new(const struct mesh_config *cfg, struct vi_rng *rng, vi_time now)
{
    struct mesh *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    m->cfg = *cfg;
    m->rng = rng;
    m->last = &m->first;
    m->due = VI_NEVER;
    m->now = now;
    m->load_since = m->hints_since = now;
    if (!set_defaults(&m->cfg) || crypto_scalarmult_base(m->x, m->cfg.secret))
        goto fail;
    m->adm = calloc(m->cfg.max_admissions, sizeof *m->adm);
    if (!m->adm)
        goto fail;
    m->cfg.has_cert = false;
    if (cfg->has_cert && mesh_set_cert(m, &cfg->cert))
        goto fail;
    mesh_label_key("violin mac1", m->x, m->mac1_key);
    mesh_label_key("violin cookie", m->x, m->cookie_key);
    vi_rng_bytes(rng, m->cookie_secret, sizeof m->cookie_secret);
    m->cookie_born = now;
    return m;
fail:
    mesh_free(m);
    return NULL;
}

static void node_free(struct mesh_node **n)
{
    struct mesh_node *gone = *n;

    *n = gone->next;
    sodium_memzero(&gone->fx, sizeof gone->fx);
    free(gone);
}

void mesh_free(struct mesh *m)
{
    if (!m)
        return;
    while (m->npeers) {
        struct mesh_peer *p = m->peers[m->npeers - 1];

        for (unsigned i = 0; i < 3; i++) {
            struct mesh_session *s = i == 0 ? p->cur : i == 1 ? p->prev : p->next;

            if (s)
                s->told = false; /* nobody is left to withdraw keys from */
        }
        mesh_peer_free(m, p);
    }
    for (uint32_t i = 0; m->adm && i < m->cfg.max_admissions; i++)
        mesh_admission_free(m, &m->adm[i]);
    mesh_admission_free(m, &m->join);
    while (m->first)
        node_free(&m->first);
    while (m->spare)
        node_free(&m->spare);
    if (m->taken)
        node_free(&m->taken);
    free(m->adm);
    free(m->pairs);
    free(m->peers);
    free(m->slots);
    sodium_memzero(m, sizeof *m);
    free(m);
}

/* What was refused may be taken now. */
static void forgive(struct mesh *m)
{
    for (size_t i = 0; i < m->npeers; i++) {
        m->peers[i]->refusals = 0;
        m->peers[i]->refused_until = 0;
    }
}

int mesh_set_cert(struct mesh *m, const struct cert *c)
{
    if (memcmp(c->x, m->x, CERT_KEY) || !cert_name_ok(c->domain) || !cert_name_ok(c->host))
        return VI_EINVAL;
    m->cfg.cert = *c;
    m->cfg.has_cert = true;
    cert_peer_id(&m->id, c->ed);
    forgive(m);
    return 0;
}

void mesh_set_wall(struct mesh *m, vi_time wall_minus_now)
{
    if (llabs(wall_minus_now - m->cfg.wall_minus_now) > 10 * VI_SEC)
        forgive(m);
    m->cfg.wall_minus_now = wall_minus_now;
}

/* ---- time --------------------------------------------------------------------------------------- */

static void half_tick(struct mesh *m, struct mesh_peer *p, vi_time now)
{
    if (now - p->half.first < MESH_GIVE_UP) {
        mesh_half_send(m, p, now);
        return;
    }
    m->n.tx_gave_up++;
    if (!p->cur || now - p->last_rx >= MESH_EXPECT)
        mesh_peer_down(m, p, MESH_DOWN_TIMEOUT, VI_ETIMEDOUT);
    else
        mesh_half_end(m, &p->half); /* the session lives: the next timer tries again */
}

static void confirm_tick(struct mesh *m, struct mesh_peer *p, vi_time now)
{
    struct mesh_session *s = p->cur;

    if (s->confirms < MESH_CONFIRMS) {
        s->confirm_at = now + (MESH_CONFIRM << (s->confirms / 2));
        s->confirms++;
        mesh_keepalive(m, p, now);
    } else {
        s->confirm_at = now + 10 * VI_SEC; /* the other doesn't have it: begin again */
        if (!p->half.on)
            mesh_half_begin(m, p, now);
    }
}

static void session_tick(struct mesh *m, struct mesh_peer *p, vi_time now)
{
    if (now - p->cur->born >= MESH_REJECT_AFTER) {
        if (p->half.on)
            mesh_session_drop(m, p, &p->cur); /* the handshake goes on, and decides */
        else
            mesh_peer_down(m, p, MESH_DOWN_IDLE, 0);
        return;
    }
    if (!p->cur->confirmed && now >= p->cur->confirm_at)
        confirm_tick(m, p, now);
    if (now >= p->keepalive_at)
        mesh_keepalive(m, p, now);
    if (now >= p->expect_at) {
        p->expect_at = VI_NEVER;
        if (!p->half.on)
            mesh_half_begin(m, p, now);
    }
    if (now >= p->rekey_at) {
        vi_time used = m->cfg.rekey_after / 2 > MESH_USED ? m->cfg.rekey_after / 2 : MESH_USED;
        p->rekey_at = now + 10 * VI_SEC;
        if (!p->half.on && now - p->last_use < used)
            mesh_half_begin(m, p, now);
    }
}

static void peer_tick(struct mesh *m, struct mesh_peer *p, vi_time now)
{
    if (p->prev && now - p->prev->born >= MESH_REJECT_AFTER)
        mesh_session_drop(m, p, &p->prev);
    if (p->next && now - p->next->born >= MESH_PENDING)
        mesh_session_drop(m, p, &p->next);
    if (p->half.on && now >= p->half.next)
        half_tick(m, p, now);
    if (p->cur)
        session_tick(m, p, now);
    if (p->cur)
        mesh_path_tick(m, p, now);
    mesh_touch(m, p);
}

static void tick(struct mesh *m, vi_time now)
{
    bool short_of_memory = false;

    m->due = VI_NEVER;
    mesh_admission_tick(m, now);
    for (size_t i = 0; i < m->npeers; i++) {
        struct mesh_peer *p = m->peers[i];

        if (p->due > now) {
            if (p->due < m->due)
                m->due = p->due;
            continue;
        }
        if (mesh_reserve(m, RESERVE))
            peer_tick(m, p, now);
        else
            short_of_memory = true;
    }
    if (short_of_memory)
        m->due = now + 100 * VI_MSEC;
}

vi_time mesh_deadline(const struct mesh *m)
{
    vi_time adm = mesh_admission_due(m);

    return adm < m->due ? adm : m->due;
}

/* ---- events ------------------------------------------------------------------------------------- */

void mesh_dispatch(struct mesh *m, vi_time now, const struct mesh_addr *from, const uint8_t *data,
                   size_t len)
{
    switch (len ? data[0] : 0) {
    case MESH_INIT:
        mesh_on_init(m, now, from, data, len);
        break;
    case MESH_RESPONSE:
        mesh_on_response(m, now, from, data, len);
        break;
    case MESH_COOKIE:
        mesh_on_cookie(m, now, data, len);
        break;
    case MESH_CONTROL:
    case MESH_DATA:
    case MESH_RELAY:
        mesh_on_control(m, now, from, data, len);
        break;
    case MESH_UNKNOWN:
        mesh_on_unknown(m, now, from, data, len);
        break;
    default:
        m->n.rx_garbage++;
    }
}

static int on_connect(struct mesh *m, vi_time now, const struct mesh_event *ev)
{
    struct mesh_peer *p = mesh_peer_get(m, &ev->connect.peer);

    if (vi_id_equal(&ev->connect.peer, &m->id) || !m->cfg.has_cert)
        return VI_EINVAL;
    if (!p && !ev->connect.x)
        return VI_ENOTFOUND;
    if (!p)
        p = mesh_peer_make(m, &ev->connect.peer);
    if (!p)
        return VI_EFULL;
    if (ev->connect.x && !p->cur) {
        memcpy(p->x, ev->connect.x, CERT_KEY);
        p->has_x = true;
    }
    if (ev->connect.addr.family)
        mesh_path_hint(p, &ev->connect.addr, now);
    mesh_touch(m, p);
    if (!p->addr.family)
        p->addr = p->hint;
    if (p->cur || p->half.on)
        return 0;
    if (!p->has_x || !p->addr.family)
        return VI_ENOTFOUND;
    if (now < p->refused_until)
        return VI_EREFUSED;
    mesh_half_begin(m, p, now);
    return 0;
}

static int on_send(struct mesh *m, vi_time now, const struct mesh_event *ev)
{
    struct mesh_peer *p = mesh_peer_get(m, &ev->send.peer);
    int err;

    if (!mesh_channel_ok(ev->send.channel) ||
        ev->send.len > MESH_PAYLOAD_MAX)
        return VI_EINVAL;
    if (!p)
        return VI_ENOTFOUND;
    err = mesh_peer_send(m, p, ev->send.channel, ev->send.data, ev->send.len, now);
    mesh_touch(m, p);
    return err;
}

static int on_close(struct mesh *m, const struct vi_id *id)
{
    struct mesh_peer *p = mesh_peer_get(m, id);

    if (!p)
        return VI_ENOTFOUND;
    if (p->up || p->half.on)
        mesh_peer_down(m, p, MESH_DOWN_CLOSED, 0);
    mesh_peer_free(m, p);
    return 0;
}

static int on_set_addr(struct mesh *m, vi_time now, const struct mesh_event *ev)
{
    struct mesh_peer *p = mesh_peer_get(m, &ev->set_addr.peer);

    if (!p)
        return VI_ENOTFOUND;
    mesh_path_hint(p, &ev->set_addr.addr, now);
    if (!p->cur)
        p->addr = ev->set_addr.addr;
    mesh_touch(m, p);
    return 0;
}

static int on_relays(struct mesh *m, const struct mesh_event *ev)
{
    m->n_relays = ev->relays.n < MESH_RELAYS ? ev->relays.n : MESH_RELAYS;
    for (unsigned i = 0; i < m->n_relays; i++)
        m->relays[i] = ev->relays.id[i];
    return 0;
}

int mesh_step(struct mesh *m, vi_time now, const struct mesh_event *ev)
{
    m->now = now;
    if (ev->kind == MESH_EV_TICK) {
        tick(m, now);
        return 0;
    }
    if (!mesh_reserve(m, RESERVE))
        return VI_ENOMEM;
    switch (ev->kind) {
    case MESH_EV_DATAGRAM:
        mesh_dispatch(m, now, &ev->datagram.from, ev->datagram.data, ev->datagram.len);
        return 0;
    case MESH_EV_CONNECT:
        return on_connect(m, now, ev);
    case MESH_EV_SEND:
        return on_send(m, now, ev);
    case MESH_EV_CLOSE:
        return on_close(m, &ev->close.peer);
    case MESH_EV_SET_ADDR:
        return on_set_addr(m, now, ev);
    case MESH_EV_USED:
        mesh_on_used(m, now, ev->used.local, ev->used.sent, ev->used.received, &ev->used.from);
        return 0;
    case MESH_EV_JOIN:
        return mesh_join_begin(m, now, ev);
    case MESH_EV_ADMISSION_REPLY:
        return mesh_admission_reply(m, now, ev);
    case MESH_EV_RELAYED:
        return mesh_relay_data(m, ev->relayed.local, ev->relayed.data, ev->relayed.len);
    case MESH_EV_RELAYS:
        return on_relays(m, ev);
    case MESH_EV_SELF:
        m->self = ev->self.addr;
        return 0;
    default:
        return VI_EINVAL;
    }
}

const struct mesh_effect *mesh_effect(struct mesh *m)
{
    if (m->taken)
        node_free(&m->taken);
    if (!m->first)
        return NULL;
    m->taken = m->first;
    m->first = m->taken->next;
    if (!m->first)
        m->last = &m->first;
    m->taken->next = NULL;
    m->waiting--;
    return &m->taken->fx;
}

/* ---- for display -------------------------------------------------------------------------------- */

static void show(const struct mesh_peer *p, struct mesh_peer_info *out)
{
    *out = (struct mesh_peer_info){.id = p->id,
                                   .up = p->up,
                                   .has_cert = p->has_cert,
                                   .handshaking = p->half.on,
                                   .addr = p->addr.family ? p->addr : p->hint,
                                   .cert = &p->cert,
                                   .last_rx = p->last_rx,
                                   .last_tx = p->last_tx,
                                   .tx = p->tx_count,
                                   .rx = p->rx_count,
                                   .queued = p->queued};
    if (p->cur) {
        out->cipher = p->cur->cipher;
        out->born = p->cur->born;
    }
}

bool mesh_peer_next(const struct mesh *m, size_t *pos, struct mesh_peer_info *out)
{
    if (*pos >= m->npeers)
        return false;
    show(m->peers[(*pos)++], out);
    return true;
}

bool mesh_peer_find(const struct mesh *m, const struct vi_id *id, struct mesh_peer_info *out)
{
    const struct mesh_peer *p = mesh_peer_get(m, id);

    if (p)
        show(p, out);
    return p != NULL;
}

const struct mesh_counters *mesh_counters(const struct mesh *m)
{
    return &m->n;
}

const char *mesh_down_text(enum mesh_down why)
{
    static const char *const text[] = {
        [MESH_DOWN_TIMEOUT] = "no answer",
        [MESH_DOWN_IDLE] = "idle",
        [MESH_DOWN_CLOSED] = "closed here",
        [MESH_DOWN_REFUSED] = "refused",
    };

    return (unsigned)why < sizeof text / sizeof text[0] ? text[why] : "unknown";
}
