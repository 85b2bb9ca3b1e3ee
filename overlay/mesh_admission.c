/* Admission: a host without a certificate, but with an invitation's secret, asks to be admitted.
 *
 *   joiner                                    inviter
 *   MESH_EV_JOIN → INIT (IKpsk2, token id) →  mesh_admission_init: the secret by cfg.lookup_psk
 *                                          ←  RESPONSE with the inviter's certificate
 *   request, repeated until answered       →  MESH_FX_ADMISSION_REQUEST, once
 *   MESH_FX_ADMISSION_ANSWER               ←  MESH_EV_ADMISSION_REPLY, repeated when asked again
 *
 * The session carries nothing else, and dies after MESH_ADMISSION_LIFE. That the joiner holds the
 * secret is proved by its first packet, so nothing is asked of the owner before. */
#include "overlay/mesh_internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

#define QUIET (2 * VI_SEC) /* of MESH_RETRY_FIRST several */

void mesh_admission_free(struct mesh *m, struct mesh_admission **at)
{
    struct mesh_admission *a = *at;

    if (!a)
        return;
    *at = NULL;
    mesh_half_end(m, &a->half);
    mesh_session_drop(m, NULL, &a->s);
    sodium_memzero(a, sizeof *a);
    free(a);
}

static void send_init(struct mesh *m, struct mesh_admission *a, vi_time now)
{
    uint8_t out[MESH_INIT_SIZE];

    if (a->half.local)
        mesh_index_free(m, a->half.local);
    a->half.local = mesh_index_new(m, NULL, a);
    if (a->half.local && !mesh_init_build(m, &a->half, MESH_KIND_ADMISSION, NOISE_CHACHAPOLY, a->x,
                                          &a->token, a->psk, now, out))
        mesh_datagram(m, &a->addr, out, sizeof out);
}

static void send_request(struct mesh *m, struct mesh_admission *a)
{
    uint8_t buf[1 + MESH_PAYLOAD_MAX];

    buf[0] = MESH_CHANNEL_JOIN;
    memcpy(buf + 1, a->request, a->request_len);
    mesh_session_seal(m, a->s, &a->addr, buf, a->request_len + 1);
}

int mesh_join_begin(struct mesh *m, vi_time now, const struct mesh_event *ev)
{
    struct mesh_admission *a;

    if (m->join)
        return VI_EEXIST;
    if (!ev->join.x || !ev->join.psk || !ev->join.trust || !ev->join.addr.family ||
        !ev->join.len || ev->join.len > MESH_PAYLOAD_MAX)
        return VI_EINVAL;
    a = calloc(1, sizeof *a);
    if (!a)
        return VI_ENOMEM;
    a->joiner = true;
    a->half.on = true;
    a->token = ev->join.token;
    a->peer = ev->join.peer;
    a->addr = ev->join.addr;
    a->trust = *ev->join.trust;
    a->born = now;
    a->next = now + MESH_RETRY_FIRST;
    memcpy(a->psk, ev->join.psk, sizeof a->psk);
    memcpy(a->x, ev->join.x, sizeof a->x);
    memcpy(a->request, ev->join.request, ev->join.len);
    a->request_len = ev->join.len;
    m->join = a;
    send_init(m, a, now);
    return 0;
}

static void answer(struct mesh *m, int err, const uint8_t *data, size_t len)
{
    struct mesh_effect fx = {.kind = MESH_FX_ADMISSION_ANSWER, .err = err};

    fx.peer = m->join->peer;
    fx.addr = m->join->addr;
    if (mesh_say_bytes(m, &fx, data, len))
        return; /* no memory: the request is repeated, and so is the answer */
    mesh_admission_free(m, &m->join);
}

void mesh_join_response(struct mesh *m, vi_time now, const struct mesh_addr *from,
                        const uint8_t *data, size_t len)
{
    struct mesh_admission *a = m->join;
    uint8_t buf[MESH_INIT_SIZE];
    struct noise_handshake hs;
    struct mesh_hello hello;
    enum noise_cipher cipher;
    struct vi_id id;
    struct cert c;
    int err;

    if (mesh_response_read(&a->half, data, len, &hs, &hello, buf)) {
        m->n.rx_handshake_bad++;
        goto out;
    }
    err = hello.err ? hello.err
                    : mesh_cert_check(&m->cfg, &a->trust, 1, hello.cert_bytes, hello.cert_len, a->x,
                                      now + m->cfg.wall_minus_now, &c, &id);
    if (!err && !vi_id_is_zero(&a->peer) && !vi_id_equal(&a->peer, &id))
        err = VI_EAUTH;
    cipher = hello.ciphers & 1U << NOISE_AESGCM ? NOISE_AESGCM : NOISE_CHACHAPOLY;
    if (!err && !(m->cfg.ciphers & 1U << cipher))
        err = VI_EPROTO;
    if (err) {
        answer(m, err, NULL, 0);
        goto out;
    }
    a->s = mesh_session_new(m, &hs, a->half.local, hello.index, cipher, hello.queues, from, now);
    if (!a->s)
        goto out;
    a->half.local = 0;
    mesh_half_end(m, &a->half);
    a->addr = *from;
    a->next = now + MESH_RETRY_FIRST;
    send_request(m, a);
out:
    noise_clear(&hs);
}

/* At the bound: who never proved to hold the secret, and who has its answer and asks no more. So a place
 * isn't taken for all of its life, and many hosts can join at once. */
static bool gives_way(const struct mesh_admission *a, vi_time now)
{
    return a->asked ? a->answered && now - a->heard >= QUIET : now - a->born >= VI_SEC;
}

/* A place for one more; of those that give way the oldest does. */
static struct mesh_admission **place(struct mesh *m, vi_time now)
{
    struct mesh_admission **oldest = NULL;

    for (uint32_t i = 0; i < m->cfg.max_admissions; i++) {
        struct mesh_admission **a = &m->adm[i];

        if (!*a)
            return a;
        if (gives_way(*a, now) && (!oldest || (*a)->born < (*oldest)->born))
            oldest = a;
    }
    if (oldest)
        mesh_admission_free(m, oldest);
    else
        m->n.admissions_full++;
    return oldest;
}

static int inviter_session(struct mesh *m, vi_time now, const struct mesh_addr *from,
                           struct mesh_admission *a, struct noise_handshake *hs,
                           const struct mesh_hello *hello)
{
    enum noise_cipher cipher = mesh_cipher_choose(m->cfg.ciphers, hello->ciphers);
    uint32_t local = mesh_index_new(m, NULL, a);
    uint8_t out[MESH_INIT_SIZE];
    size_t len;

    if (!local)
        return VI_EFULL;
    if (!mesh_response_build(m, hs, MESH_KIND_ADMISSION, local, hello->index, cipher, 0, out, &len))
        a->s = mesh_session_new(m, hs, local, hello->index, cipher, hello->queues, from, now);
    if (!a->s) {
        mesh_index_free(m, local);
        return VI_ENOMEM;
    }
    a->id = local;
    mesh_datagram(m, from, out, len);
    return 0;
}

void mesh_admission_init(struct mesh *m, vi_time now, const struct mesh_addr *from,
                         const uint8_t *data, size_t len)
{
    uint8_t plain[MESH_INIT_SIZE], pro[64], eph[NOISE_KEY], psk[NOISE_KEY] = {0};
    struct noise_setup su = {.cipher = data[3], .psk2 = true, .secret = m->cfg.secret, .psk = psk,
                             .prologue = pro, .ephemeral = eph};
    struct noise_handshake hs = {0};
    struct mesh_admission **at, *a;
    struct mesh_hello hello;
    struct vi_id token;
    size_t n;

    memcpy(token.b, data + 8, VI_ID_SIZE);
    if (!m->cfg.lookup_psk || !m->cfg.lookup_psk(m->cfg.arg, &token, psk)) {
        m->n.rx_no_token++;
        return;
    }
    su.prologue_len = mesh_prologue(data, pro);
    vi_rng_bytes(m->rng, eph, sizeof eph);
    m->n.init_computed++;
    if (noise_init(&hs, &su) ||
        noise_read(&hs, data + MESH_INIT_HEAD, len - 2 * MESH_MAC - MESH_INIT_HEAD, plain,
                   sizeof plain, &n) ||
        mesh_hello_read(&hello, plain, n) || hello.index != mesh_get32(data + 4) || !hello.index) {
        m->n.rx_handshake_bad++;
        goto out;
    }
    at = place(m, now);
    a = at ? calloc(1, sizeof *a) : NULL;
    if (!a)
        goto out;
    a->token = token;
    a->addr = *from;
    a->born = now;
    memcpy(a->x, hs.rs, CERT_KEY);
    *at = a;
    if (inviter_session(m, now, from, a, &hs, &hello))
        mesh_admission_free(m, at);
out:
    noise_clear(&hs);
    sodium_memzero(eph, sizeof eph);
    sodium_memzero(psk, sizeof psk);
}

static void send_reply(struct mesh *m, struct mesh_admission *a)
{
    uint8_t buf[1 + MESH_PAYLOAD_MAX];

    buf[0] = MESH_CHANNEL_JOIN;
    memcpy(buf + 1, a->reply, a->reply_len);
    mesh_session_seal(m, a->s, &a->addr, buf, a->reply_len + 1);
}

void mesh_admission_control(struct mesh *m, vi_time now, struct mesh_admission *a,
                            const struct mesh_addr *from, const uint8_t *plain, size_t len)
{
    struct mesh_effect fx = {.kind = MESH_FX_ADMISSION_REQUEST, .admission = a->id};

    if (len < 2 || plain[0] != MESH_CHANNEL_JOIN) {
        m->n.rx_channel++;
        return;
    }
    a->addr = *from;
    a->heard = now;
    if (a->joiner) {
        answer(m, 0, plain + 1, len - 1);
    } else if (a->answered) {
        send_reply(m, a);
    } else if (!a->asked) {
        fx.addr = *from;
        fx.token = a->token;
        memcpy(fx.x, a->x, CERT_KEY);
        a->asked = !mesh_say_bytes(m, &fx, plain + 1, len - 1);
    }
}

int mesh_admission_reply(struct mesh *m, vi_time now, const struct mesh_event *ev)
{
    struct mesh_slot *slot = mesh_index_find(m, ev->admission_reply.admission);
    struct mesh_admission *a = slot ? slot->adm : NULL;

    (void)now;
    if (!a || a->joiner || !a->asked)
        return VI_ENOTFOUND;
    if (!ev->admission_reply.len || ev->admission_reply.len > MESH_PAYLOAD_MAX)
        return VI_EINVAL;
    memcpy(a->reply, ev->admission_reply.data, ev->admission_reply.len);
    a->reply_len = ev->admission_reply.len;
    a->answered = true;
    send_reply(m, a);
    return 0;
}

void mesh_admission_tick(struct mesh *m, vi_time now)
{
    struct mesh_admission *j = m->join;

    for (uint32_t i = 0; i < m->cfg.max_admissions; i++)
        if (m->adm[i] && now - m->adm[i]->born >= MESH_ADMISSION_LIFE)
            mesh_admission_free(m, &m->adm[i]);
    if (!j)
        return;
    if (now - j->born >= MESH_ADMISSION_LIFE) {
        answer(m, VI_ETIMEDOUT, NULL, 0);
        if (m->join)
            m->join->born += VI_SEC; /* the effect found no memory: try again */
    } else if (now >= j->next) {
        j->next = now + MESH_RETRY_FIRST + (j->s ? 0 : MESH_RETRY_FIRST);
        if (j->s)
            send_request(m, j);
        else
            send_init(m, j, now);
    }
}

vi_time mesh_admission_due(const struct mesh *m)
{
    vi_time due = VI_NEVER, t;

    for (uint32_t i = 0; i < m->cfg.max_admissions; i++) {
        t = m->adm[i] ? m->adm[i]->born + MESH_ADMISSION_LIFE : VI_NEVER;
        if (t < due)
            due = t;
    }
    if (m->join) {
        t = m->join->born + MESH_ADMISSION_LIFE;
        if (m->join->next < t)
            t = m->join->next;
        if (t < due)
            due = t;
    }
    return due;
}
