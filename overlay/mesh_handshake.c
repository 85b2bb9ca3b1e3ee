/* Handshakes.
 *
 *   initiator                                responder
 *   mesh_half_begin → INIT            →      mesh_on_init: mac1, load, cookie, certificate;
 *                                     ←      RESPONSE; session waits as `next`
 *   mesh_on_response: session is `cur`
 *   keepalive or queued messages      →      promote(): `next` becomes `cur`
 *                                     ←      keepalive: the initiator's is confirmed too
 *
 * Lost INIT or RESPONSE: a new INIT after a growing time. Lost first packet: repeated. Replayed
 * INIT: no `next` becomes current by it, and its counter is stale. Both begin at once: the smaller
 * id's handshake wins. */
#include "overlay/mesh_internal.h"

#include <sodium.h>
#include <string.h>

#include "peer/base/err.h"

static const char PROLOGUE[] = "violin mesh";

/* The prologue: a label and all of the INIT's clear header. */
size_t mesh_prologue(const uint8_t *init, uint8_t out[64])
{
    memcpy(out, PROLOGUE, sizeof PROLOGUE);
    memcpy(out + sizeof PROLOGUE, init, MESH_INIT_HEAD);
    return sizeof PROLOGUE + MESH_INIT_HEAD;
}

int mesh_init_build(struct mesh *m, struct mesh_half *h, int kind, enum noise_cipher c,
                    const uint8_t *x, const struct vi_id *token, const uint8_t *psk, vi_time now,
                    uint8_t out[MESH_INIT_SIZE])
{
    uint8_t hello[MESH_HELLO_MAX], ephemeral[NOISE_KEY], pro[64], key[32];
    uint64_t wall = (uint64_t)(now + m->cfg.wall_minus_now);
    struct mesh_hello say = {.oldest = MESH_WIRE_OLDEST,
                             .newest = MESH_WIRE,
                             .ciphers = m->cfg.ciphers,
                             .queues = m->cfg.queues,
                             .index = h->local,
                             .cert = kind == MESH_KIND_MEMBER ? &m->cfg.cert : NULL};
    struct noise_setup su = {.cipher = c, .initiator = true, .psk2 = kind == MESH_KIND_ADMISSION,
                             .psk = psk, .prologue = pro, .secret = m->cfg.secret, .remote = x,
                             .ephemeral = ephemeral};
    size_t len;
    int err;

    m->hello_counter = wall > m->hello_counter ? wall : m->hello_counter + 1;
    say.counter = m->hello_counter;
    memset(out, 0, MESH_INIT_SIZE);
    out[0] = MESH_INIT;
    out[1] = MESH_WIRE;
    out[2] = (uint8_t)kind;
    out[3] = (uint8_t)c;
    mesh_put32(out + 4, h->local);
    if (token)
        memcpy(out + 8, token->b, VI_ID_SIZE);
    su.prologue_len = mesh_prologue(out, pro);
    vi_rng_bytes(m->rng, ephemeral, sizeof ephemeral);
    err = mesh_hello_write(&say, true, hello, sizeof hello, &len);
    if (!err)
        err = noise_init(&h->hs, &su);
    if (!err)
        err = noise_write(&h->hs, hello, len, out + MESH_INIT_HEAD, MESH_INIT_SIZE, &len);
    sodium_memzero(ephemeral, sizeof ephemeral);
    if (err)
        return err;
    mesh_label_key("violin mac1", x, key);
    mesh_mac(out, MESH_INIT_SIZE - 2 * MESH_MAC, key, sizeof key, h->mac1);
    memcpy(out + MESH_INIT_SIZE - 2 * MESH_MAC, h->mac1, MESH_MAC);
    if (h->has_cookie && now < h->cookie_until)
        mesh_mac(out, MESH_INIT_SIZE - MESH_MAC, h->cookie, MESH_MAC,
                 out + MESH_INIT_SIZE - MESH_MAC);
    h->mac_sent = true;
    h->bad = 0;
    m->n.handshakes_started++;
    return 0;
}

void mesh_half_end(struct mesh *m, struct mesh_half *h)
{
    if (h->local)
        mesh_index_free(m, h->local);
    sodium_memzero(h, sizeof *h);
}

void mesh_half_begin(struct mesh *m, struct mesh_peer *p, vi_time now)
{
    if (!m->cfg.has_cert || !p->has_x)
        return;
    mesh_half_end(m, &p->half);
    p->half.on = true;
    p->half.first = p->half.next = now;
    if (p->cur)
        m->n.rekeys++;
    mesh_half_send(m, p, now);
}

static vi_time backoff(struct mesh *m, unsigned attempts)
{
    vi_time t = MESH_RETRY_FIRST << (attempts < 5 ? attempts : 5);

    if (t > MESH_RETRY_MOST)
        t = MESH_RETRY_MOST;
    return t * 3 / 4 + (vi_time)vi_rng_below(m->rng, (uint32_t)(t / 2));
}

/* Every attempt is a handshake of its own: new index, new ephemeral key. */
void mesh_half_send(struct mesh *m, struct mesh_peer *p, vi_time now)
{
    struct mesh_half *h = &p->half;
    struct mesh_addr to;
    uint8_t out[MESH_INIT_SIZE];
    /* AES for the handshake itself only where the peer is known to have it, and not for long. */
    bool aes = h->attempts < 2 &&
               mesh_cipher_choose(m->cfg.ciphers, p->ciphers) == NOISE_AESGCM;

    h->next = now + backoff(m, h->attempts);
    mesh_path_for_init(m, p, h->attempts, now, &to);
    h->attempts++;
    if (h->local)
        mesh_index_free(m, h->local);
    h->local = mesh_index_new(m, p, NULL);
    if (h->local &&
        !mesh_init_build(m, h, MESH_KIND_MEMBER, aes ? NOISE_AESGCM : NOISE_CHACHAPOLY, p->x, NULL,
                         NULL, now, out))
        mesh_datagram(m, &to, out, sizeof out);
    mesh_touch(m, p);
}

/* ---- the responder ------------------------------------------------------------------------------ */

static void source_cookie(struct mesh *m, vi_time now, const struct mesh_addr *from,
                          uint8_t out[MESH_MAC])
{
    uint8_t text[35];

    if (now - m->cookie_born >= MESH_COOKIE_LIFE) {
        vi_rng_bytes(m->rng, m->cookie_secret, sizeof m->cookie_secret);
        m->cookie_born = now;
    }
    text[0] = from->family;
    text[1] = (uint8_t)from->port;
    text[2] = (uint8_t)(from->port >> 8);
    memcpy(text + 3, from->ip, 16);
    memcpy(text + 19, from->to.b, 16);
    mesh_mac(text, sizeof text, m->cookie_secret, sizeof m->cookie_secret, out);
}

static void ask_cookie(struct mesh *m, const struct mesh_addr *from, const uint8_t *init,
                       const uint8_t cookie[MESH_MAC])
{
    uint8_t out[MESH_COOKIE_SIZE] = {MESH_COOKIE, MESH_WIRE};

    memcpy(out + 4, init + 4, 4);
    vi_rng_bytes(m->rng, out + 8, 24);
    crypto_aead_xchacha20poly1305_ietf_encrypt(out + 32, NULL, cookie, MESH_MAC,
                                               init + MESH_INIT_SIZE - 2 * MESH_MAC, MESH_MAC, NULL,
                                               out + 8, m->cookie_key);
    m->n.rx_cookie_asked++;
    mesh_datagram(m, from, out, sizeof out);
}

/* IPv6: a source is a /64. Of a relayed one: whom the relay names. Sources that share a bucket share its limit. */
static struct mesh_source *source_of(struct mesh *m, vi_time now, const struct mesh_addr *from)
{
    uint8_t ip[16] = {0};
    struct mesh_source *s;

    if (from->family == MESH_VIA)
        memcpy(ip, from->to.b, sizeof ip);
    else
        memcpy(ip, from->ip, from->family == 6 ? 8 : 4);
    s = &m->source[vi_bucket(ip, sizeof ip) % MESH_SOURCES];
    if (now - s->since >= VI_SEC) {
        s->since = now;
        s->proved = s->unproved = 0;
    }
    return s;
}

/* mac1, then, under load or from a source that asks much, mac2: all before any public-key work. */
static bool worth_work(struct mesh *m, vi_time now, const struct mesh_addr *from,
                       const uint8_t *init)
{
    static const uint8_t none[MESH_MAC];
    const uint8_t *mac1 = init + MESH_INIT_SIZE - 2 * MESH_MAC, *mac2 = mac1 + MESH_MAC;
    struct mesh_source *s = source_of(m, now, from);
    uint8_t cookie[MESH_MAC];

    if (!mesh_mac_ok(init, MESH_INIT_SIZE - 2 * MESH_MAC, m->mac1_key, sizeof m->mac1_key, mac1)) {
        m->n.rx_mac1++;
        return false;
    }
    if (now - m->load_since >= VI_SEC) {
        m->load_before = now - m->load_since < 2 * VI_SEC ? m->load : 0;
        m->load = 0;
        m->load_since = now;
    }
    m->load++;
    if (m->load <= m->cfg.load_threshold && m->load_before <= m->cfg.load_threshold &&
        s->unproved < m->cfg.source_limit) {
        s->unproved++;
        return true;
    }
    source_cookie(m, now, from, cookie);
    if (!mesh_mac_ok(init, MESH_INIT_SIZE - MESH_MAC, cookie, sizeof cookie, mac2)) {
        if (sodium_memcmp(mac2, none, MESH_MAC))
            m->n.rx_cookie_bad++;
        ask_cookie(m, from, init, cookie);
        return false;
    }
    if (s->proved >= m->cfg.source_limit) {
        m->n.rx_source_limit++;
        return false;
    }
    s->proved++;
    return true;
}

int mesh_response_build(struct mesh *m, struct noise_handshake *hs, int kind, uint32_t local,
                        uint32_t remote, enum noise_cipher c, int err, uint8_t *out, size_t *len)
{
    uint8_t hello[MESH_HELLO_MAX], key[32];
    struct mesh_hello say = {.oldest = MESH_WIRE, .newest = MESH_WIRE, .ciphers = 1U << c,
                             .queues = m->cfg.queues, .index = local, .err = err,
                             .cert = err ? NULL : &m->cfg.cert};
    size_t n;
    int bad;

    memset(out, 0, MESH_RESPONSE_HEAD);
    out[0] = MESH_RESPONSE;
    out[1] = MESH_WIRE;
    out[2] = (uint8_t)kind;
    mesh_put32(out + 4, local);
    mesh_put32(out + 8, remote);
    bad = mesh_hello_write(&say, false, hello, sizeof hello, &n);
    if (!bad)
        bad = noise_write(hs, hello, n, out + MESH_RESPONSE_HEAD,
                          MESH_INIT_SIZE - MESH_RESPONSE_HEAD - MESH_MAC, &n);
    if (bad)
        return bad;
    n += MESH_RESPONSE_HEAD;
    mesh_label_key("violin mac1", hs->rs, key);
    mesh_mac(out, n, key, sizeof key, out + n);
    *len = n + MESH_MAC;
    return 0;
}

/* May this handshake take the place of what there is with the peer? */
static bool acceptable(struct mesh *m, struct mesh_peer *p, uint64_t counter, vi_time now)
{
    if (p->next && counter <= p->next->counter &&
        (counter == p->next->counter || now - p->next->born < 5 * VI_SEC)) {
        m->n.rx_stale_init++;
        return false;
    }
    /* An old counter is a replay, or a peer whose clock was set back. The second shows in that
     * its session, if any, is silent; and a replay costs only a session that never begins. */
    if (counter <= p->greatest && p->cur && now - p->last_rx < MESH_EXPECT) {
        m->n.rx_stale_init++;
        return false;
    }
    if (p->half.on && now - p->half.first < 2 * VI_SEC && vi_id_compare(&m->id, &p->id) < 0) {
        m->n.rx_simultaneous++;
        return false;
    }
    return true;
}

static void respond(struct mesh *m, vi_time now, const struct mesh_addr *from, struct mesh_peer *p,
                    struct noise_handshake *hs, const struct mesh_hello *hello, const struct cert *c)
{
    enum noise_cipher cipher = mesh_cipher_choose(m->cfg.ciphers, hello->ciphers);
    uint32_t local = mesh_index_new(m, p, NULL);
    uint8_t out[MESH_INIT_SIZE];
    struct mesh_session *s;
    size_t len;

    if (!local)
        return;
    if (mesh_response_build(m, hs, MESH_KIND_MEMBER, local, hello->index, cipher, 0, out, &len))
        goto fail;
    s = mesh_session_new(m, hs, local, hello->index, cipher, hello->queues, from, now);
    if (!s)
        goto fail;
    s->counter = hello->counter;
    mesh_session_drop(m, p, &p->next);
    p->next = s;
    p->next_cert = *c;
    p->ciphers = hello->ciphers;
    if (!p->has_x) {
        memcpy(p->x, c->x, CERT_KEY);
        p->has_x = true;
    }
    if (!p->addr.family)
        p->addr = *from;
    mesh_datagram(m, from, out, len);
    mesh_touch(m, p);
    return;
fail:
    mesh_index_free(m, local);
}

/* Says no, with the reason, to a holder of a certificate that isn't good here. It has proved nothing
 * but its key; it gets nothing but a number, and that only if it says to be of our own domain: other
 * domains' hosts get nothing out of us unless we let them in. */
static void decline(struct mesh *m, const struct mesh_addr *from, struct noise_handshake *hs,
                    const struct mesh_hello *hello, const char *domain, int err)
{
    uint8_t out[MESH_INIT_SIZE];
    size_t len;

    if (err == VI_EEXPIRED)
        m->n.rx_cert_expired++;
    else if (err == VI_EREFUSED)
        m->n.rx_refused++;
    else
        m->n.rx_cert_bad++;
    if (strcmp(domain, m->cfg.cert.domain) != 0)
        return;
    if (!mesh_response_build(m, hs, MESH_KIND_MEMBER, 0, hello->index, NOISE_CHACHAPOLY, err, out,
                             &len))
        mesh_datagram(m, from, out, len);
}

static void member_init(struct mesh *m, vi_time now, const struct mesh_addr *from,
                        const uint8_t *data)
{
    uint8_t plain[MESH_INIT_SIZE], pro[64], ephemeral[NOISE_KEY];
    struct noise_setup su = {.cipher = data[3], .secret = m->cfg.secret, .prologue = pro,
                             .prologue_len = mesh_prologue(data, pro), .ephemeral = ephemeral};
    struct noise_handshake hs;
    struct mesh_hello hello;
    struct mesh_peer *p;
    struct vi_id id;
    struct cert c = {.domain = ""};
    size_t len;
    int err;

    vi_rng_bytes(m->rng, ephemeral, sizeof ephemeral);
    m->n.init_computed++;
    if (noise_init(&hs, &su) ||
        noise_read(&hs, data + MESH_INIT_HEAD, MESH_INIT_SIZE - 2 * MESH_MAC - MESH_INIT_HEAD,
                   plain, sizeof plain, &len) ||
        mesh_hello_read(&hello, plain, len) || hello.index != mesh_get32(data + 4) ||
        !hello.index) {
        m->n.rx_handshake_bad++;
        goto out;
    }
    err = mesh_cert_check(&m->cfg, m->cfg.trust, m->cfg.trusts, hello.cert_bytes, hello.cert_len,
                          hs.rs, now + m->cfg.wall_minus_now, &c, &id);
    if (err) {
        decline(m, from, &hs, &hello, c.domain, err);
        goto out;
    }
    if (vi_id_equal(&id, &m->id)) {
        m->n.rx_to_self++;
        goto out;
    }
    p = mesh_peer_get(m, &id);
    if (!p)
        p = mesh_peer_make(m, &id);
    if (p && acceptable(m, p, hello.counter, now))
        respond(m, now, from, p, &hs, &hello, &c);
out:
    noise_clear(&hs);
    sodium_memzero(ephemeral, sizeof ephemeral);
}

void mesh_on_init(struct mesh *m, vi_time now, const struct mesh_addr *from, const uint8_t *data,
                  size_t len)
{
    if (len != MESH_INIT_SIZE || data[2] > MESH_KIND_ADMISSION || !m->cfg.has_cert ||
        (data[2] == MESH_KIND_ADMISSION && from->family == MESH_VIA)) {
        m->n.rx_garbage++;
        return;
    }
    if (data[1] < MESH_WIRE_OLDEST || data[1] > MESH_WIRE) {
        m->n.rx_version++;
        return;
    }
    if (!worth_work(m, now, from, data))
        return;
    if (data[2] == MESH_KIND_ADMISSION)
        mesh_admission_init(m, now, from, data, len);
    else
        member_init(m, now, from, data);
}

/* ---- the initiator again ------------------------------------------------------------------------ */

/* A forged answer must not spoil the handshake: it's read on a copy of the state. */
int mesh_response_read(struct mesh_half *h, const uint8_t *data, size_t len,
                       struct noise_handshake *hs, struct mesh_hello *hello, uint8_t *buf)
{
    size_t n;

    *hs = h->hs;
    if (h->bad >= 16 ||
        noise_read(hs, data + MESH_RESPONSE_HEAD, len - MESH_RESPONSE_HEAD - MESH_MAC, buf,
                   MESH_INIT_SIZE, &n) ||
        mesh_hello_read(hello, buf, n) || hello->index != mesh_get32(data + 4)) {
        h->bad++;
        return VI_EAUTH;
    }
    return 0;
}

static void establish(struct mesh *m, vi_time now, const struct mesh_addr *from,
                      struct mesh_peer *p, const struct noise_handshake *hs,
                      const struct mesh_hello *hello, const struct cert *c)
{
    enum noise_cipher cipher =
        hello->ciphers & 1U << NOISE_AESGCM ? NOISE_AESGCM : NOISE_CHACHAPOLY;
    struct mesh_session *s;

    if (!(m->cfg.ciphers & 1U << cipher))
        return;
    s = mesh_session_new(m, hs, p->half.local, hello->index, cipher, hello->queues, from, now);
    if (!s)
        return;
    p->half.local = 0; /* the index is the session's now */
    mesh_half_end(m, &p->half);
    mesh_session_drop(m, p, &p->prev);
    mesh_session_drop(m, p, &p->next);
    p->prev = p->cur;
    p->cur = s;
    p->cert = *c;
    p->has_cert = true;
    p->ciphers |= hello->ciphers;
    mesh_path_set(p, from, now);
    p->last_rx = p->last_use = now;
    p->expect_at = VI_NEVER;
    p->path.quiet_at = now + MESH_QUIET; /* the first packet is answered */
    p->rekey_at = now + m->cfg.rekey_after - (vi_time)vi_rng_below(m->rng, (uint32_t)(m->cfg.rekey_after / 24));
    p->refusals = 0;
    p->refused_until = 0;
    m->n.handshakes_done++;
    mesh_say_keys(m, p, s);
    mesh_peer_up(m, p);
    if (p->head)
        mesh_flush(m, p, now);
    else
        mesh_keepalive(m, p, now); /* the other waits for a first packet */
    mesh_touch(m, p);
}

void mesh_on_response(struct mesh *m, vi_time now, const struct mesh_addr *from,
                      const uint8_t *data, size_t len)
{
    uint8_t buf[MESH_INIT_SIZE];
    struct noise_handshake hs;
    struct mesh_hello hello;
    struct mesh_slot *slot;
    struct mesh_peer *p;
    struct vi_id id;
    struct cert c;
    int err;

    if (len < MESH_RESPONSE_HEAD + NOISE_IK_2 + MESH_MAC || len > MESH_INIT_SIZE) {
        m->n.rx_garbage++;
        return;
    }
    if (!mesh_mac_ok(data, len - MESH_MAC, m->mac1_key, sizeof m->mac1_key,
                     data + len - MESH_MAC)) {
        m->n.rx_mac1++;
        return;
    }
    slot = mesh_index_find(m, mesh_get32(data + 8));
    if (slot && slot->adm && slot->adm->joiner && !slot->adm->s) {
        mesh_join_response(m, now, from, data, len);
        return;
    }
    p = slot ? slot->peer : NULL;
    if (!p || !p->half.on || p->half.local != slot->index) {
        m->n.rx_response_unknown++;
        return;
    }
    m->n.response_computed += p->half.bad < 16;
    if (mesh_response_read(&p->half, data, len, &hs, &hello, buf)) {
        m->n.rx_handshake_bad++;
        goto out;
    }
    err = hello.err ? hello.err
                    : mesh_cert_check(&m->cfg, m->cfg.trust, m->cfg.trusts, hello.cert_bytes,
                                      hello.cert_len, p->x, now + m->cfg.wall_minus_now, &c, &id);
    if (!err && !vi_id_equal(&id, &p->id)) {
        m->n.rx_wrong_peer++;
        err = VI_EAUTH;
    }
    if (err) {
        m->n.rx_refused++;
        p->refused_until = now + (p->refusals < 5 ? MESH_REFUSED_FIRST << p->refusals : MESH_REFUSED_MOST);
        p->refusals++;
        mesh_peer_down(m, p, MESH_DOWN_REFUSED, err);
    } else {
        establish(m, now, from, p, &hs, &hello, &c);
    }
out:
    noise_clear(&hs);
}

void mesh_on_cookie(struct mesh *m, vi_time now, const uint8_t *data, size_t len)
{
    struct mesh_slot *slot = len == MESH_COOKIE_SIZE ? mesh_index_find(m, mesh_get32(data + 4)) : NULL;
    struct mesh_half *h = NULL;
    const uint8_t *x = NULL;
    uint8_t key[32];

    if (slot && slot->peer && slot->peer->half.local == slot->index) {
        h = &slot->peer->half;
        x = slot->peer->x;
    } else if (slot && slot->adm && slot->adm->half.local == slot->index) {
        h = &slot->adm->half;
        x = slot->adm->x;
    }
    if (!h || !h->mac_sent) {
        m->n.rx_garbage++;
        return;
    }
    mesh_label_key("violin cookie", x, key);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(h->cookie, NULL, NULL, data + 32, 32, h->mac1,
                                                   MESH_MAC, data + 8, key)) {
        m->n.rx_auth++;
        return;
    }
    h->has_cookie = true;
    h->mac_sent = false; /* one cookie for one INIT */
    h->cookie_until = now + MESH_COOKIE_LIFE;
    /* Kept for the retry that comes anyway: answering at once would let a replier drive us. */
}
