#include "overlay/stream.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/mesh_internal.h"
#include "peer/base/err.h"

#define PROLOGUE   "violin stream 1"
#define HAND_MAX   768                       /* a handshake message, at most */
#define RECORD_MAX (4 + STREAM_RECORD + NOISE_TAG)

enum { REC_PURPOSE = 1, REC_DATA = 2, REC_END = 3 };
enum state { WAIT_INIT, WAIT_RESPONSE, WAIT_PURPOSE, OPEN, FAILED };

struct direction {
    uint8_t key[NOISE_KEY];
    uint64_t n; /* records under this key */
    bool ended;
};

struct stream {
    const struct mesh_config *cfg;
    enum state state;
    enum noise_cipher cipher;
    unsigned ciphers;
    vi_time wall;
    bool has_id;
    struct vi_id want, peer;
    struct cert cert;
    struct noise_handshake hs;
    uint8_t purpose[STREAM_PURPOSE];
    size_t purpose_len;
    struct direction tx, rx;
    uint8_t *in;  /* what came of the record that is being received */
    size_t in_len, in_want;
    uint8_t *out; /* sealed, waiting to be sent: out_from to out_to */
    size_t out_from, out_to, out_cap;
};

/* ---- sending ------------------------------------------------------------------------------------ */

static size_t room(const struct stream *s)
{
    return STREAM_OUT_MAX - (s->out_to - s->out_from);
}

/* len more bytes at the end of what waits to be sent, or NULL. */
static uint8_t *more(struct stream *s, size_t len)
{
    size_t have = s->out_to - s->out_from, cap;
    uint8_t *p;

    if (s->out_cap - s->out_to < len && s->out_from) {
        memmove(s->out, s->out + s->out_from, have);
        s->out_from = 0;
        s->out_to = have;
    }
    if (s->out_cap - s->out_to < len) {
        cap = s->out_cap ? s->out_cap : 4096;
        while (cap - s->out_to < len)
            cap *= 2;
        p = realloc(s->out, cap);
        if (!p)
            return NULL;
        s->out = p;
        s->out_cap = cap;
    }
    s->out_to += len;
    return s->out + s->out_to - len;
}

/* A one-way step, so that a key found later opens nothing sent before. */
static void rekey(struct direction *d, enum noise_cipher c)
{
    static const uint8_t zeros[NOISE_KEY];
    uint8_t next[NOISE_KEY + NOISE_TAG];

    /* Noise §4.2 REKEY: encrypt zeros under the greatest nonce. */
    if (!noise_seal(c, d->key, UINT64_MAX, NULL, 0, zeros, sizeof zeros, next))
        memcpy(d->key, next, NOISE_KEY);
    sodium_memzero(next, sizeof next);
    d->n = 0;
}

static int record(struct stream *s, int kind, const void *data, size_t len)
{
    uint8_t *p;

    if (room(s) < 4 + len + NOISE_TAG)
        return VI_EAGAIN;
    p = more(s, 4 + len + NOISE_TAG);
    if (!p)
        return VI_ENOMEM;
    p[0] = (uint8_t)len;
    p[1] = (uint8_t)(len >> 8);
    p[2] = (uint8_t)(len >> 16);
    p[3] = (uint8_t)kind;
    noise_seal(s->cipher, s->tx.key, s->tx.n++, p, 4, data, len, p + 4);
    if (s->tx.n == STREAM_REKEY)
        rekey(&s->tx, s->cipher);
    return 0;
}

int stream_write(struct stream *s, const void *data, size_t len, size_t *used)
{
    const uint8_t *p = data;
    int err = 0;

    *used = 0;
    if (s->state != OPEN || s->tx.ended)
        return VI_ESTATE;
    while (*used < len && !err) {
        size_t n = len - *used < STREAM_RECORD ? len - *used : STREAM_RECORD;

        err = record(s, REC_DATA, p + *used, n);
        if (!err)
            *used += n;
    }
    return *used ? 0 : err;
}

int stream_end(struct stream *s)
{
    int err;

    if (s->state != OPEN || s->tx.ended)
        return VI_ESTATE;
    err = record(s, REC_END, NULL, 0);
    s->tx.ended = !err;
    return err;
}

const uint8_t *stream_pending(const struct stream *s, size_t *len)
{
    *len = s->out_to - s->out_from;
    return *len ? s->out + s->out_from : NULL;
}

void stream_sent(struct stream *s, size_t len)
{
    if (len > s->out_to - s->out_from)
        len = s->out_to - s->out_from;
    s->out_from += len;
    if (s->out_from == s->out_to)
        s->out_from = s->out_to = 0;
}

bool stream_finished(const struct stream *s)
{
    return s->tx.ended && s->rx.ended && s->out_from == s->out_to;
}

/* ---- the handshake ------------------------------------------------------------------------------ */

/* Two bytes of length, then the Noise message. */
static int hand_write(struct stream *s)
{
    struct mesh_hello say = {.oldest = MESH_WIRE_OLDEST, .newest = MESH_WIRE, .ciphers = s->ciphers,
                             .queues = 1, .index = 1, .cert = &s->cfg->cert};
    uint8_t hello[HAND_MAX], msg[HAND_MAX];
    size_t n;
    uint8_t *p;
    int err;

    if (!s->hs.initiator)
        say.ciphers = 1U << s->cipher;
    err = mesh_hello_write(&say, false, hello, HAND_MAX - NOISE_IK_1, &n);
    if (!err)
        err = noise_write(&s->hs, hello, n, msg, sizeof msg, &n);
    if (err)
        return err;
    p = more(s, n + 2);
    if (!p)
        return VI_ENOMEM;
    p[0] = (uint8_t)n;
    p[1] = (uint8_t)(n >> 8);
    memcpy(p + 2, msg, n);
    return 0;
}

static int hand_read(struct stream *s, const uint8_t *msg, size_t len)
{
    uint8_t buf[HAND_MAX];
    struct mesh_hello h;
    size_t n;
    int err = noise_read(&s->hs, msg, len, buf, sizeof buf, &n);

    if (!err)
        err = mesh_hello_read(&h, buf, n);
    if (!err && h.err)
        err = h.err;
    if (!err)
        err = mesh_cert_check(s->cfg, s->cfg->trust, s->cfg->trusts, h.cert_bytes, h.cert_len,
                              s->hs.rs, s->wall, &s->cert, &s->peer);
    if (!err && s->has_id && !vi_id_equal(&s->want, &s->peer))
        err = VI_EAUTH;
    if (err)
        return err;
    s->cipher = mesh_cipher_choose(s->ciphers, h.ciphers);
    return s->ciphers & 1U << s->cipher ? 0 : VI_EPROTO;
}

/* Keys for the chosen cipher, from the chaining key as the mesh derives them. */
static void keys(struct stream *s)
{
    uint8_t tx[NOISE_HASH], rx[NOISE_HASH];

    noise_export(&s->hs, "violin from initiator", s->hs.initiator ? tx : rx);
    noise_export(&s->hs, "violin from responder", s->hs.initiator ? rx : tx);
    mesh_queue_key(tx, s->cipher, 0, s->tx.key);
    mesh_queue_key(rx, s->cipher, 0, s->rx.key);
    sodium_memzero(tx, sizeof tx);
    sodium_memzero(rx, sizeof rx);
    noise_clear(&s->hs);
}

struct stream *stream_new(const struct mesh_config *cfg, struct vi_rng *rng,
                          const uint8_t *remote_x, const struct vi_id *remote_id,
                          const void *purpose, size_t purpose_len, vi_time now)
{
    uint8_t ephemeral[NOISE_KEY];
    struct noise_setup su = {.cipher = NOISE_CHACHAPOLY, .initiator = remote_x != NULL,
                             .prologue = PROLOGUE, .prologue_len = sizeof PROLOGUE,
                             .secret = cfg->secret, .remote = remote_x, .ephemeral = ephemeral};
    struct stream *s;

    if (!cfg->has_cert || purpose_len > STREAM_PURPOSE)
        return NULL;
    s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->cfg = cfg;
    s->wall = now + cfg->wall_minus_now;
    s->ciphers = cfg->ciphers ? cfg->ciphers & noise_ciphers() : noise_ciphers();
    s->in = malloc(RECORD_MAX);
    s->in_want = 2;
    s->state = remote_x ? WAIT_RESPONSE : WAIT_INIT;
    if (remote_id) {
        s->has_id = true;
        s->want = *remote_id;
    }
    if (purpose_len)
        memcpy(s->purpose, purpose, purpose_len);
    s->purpose_len = purpose_len;
    vi_rng_bytes(rng, ephemeral, sizeof ephemeral);
    if (!s->in || noise_init(&s->hs, &su) || (remote_x && hand_write(s))) {
        stream_free(s);
        s = NULL;
    }
    sodium_memzero(ephemeral, sizeof ephemeral);
    return s;
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    if (s->in)
        sodium_memzero(s->in, RECORD_MAX);
    free(s->in);
    free(s->out);
    sodium_memzero(s, sizeof *s);
    free(s);
}

/* ---- receiving ---------------------------------------------------------------------------------- */

static void fail(struct stream *s, struct stream_event *ev, int err)
{
    s->state = FAILED;
    ev->kind = STREAM_FAILED;
    ev->err = err;
}

static void open_event(struct stream *s, struct stream_event *ev, const uint8_t *data, size_t len)
{
    s->state = OPEN;
    ev->kind = STREAM_OPEN;
    ev->peer = s->peer;
    ev->cert = &s->cert;
    ev->data = data;
    ev->len = len;
}

/* A whole handshake message is in s->in + 2. */
static void hand_whole(struct stream *s, struct stream_event *ev)
{
    int err = hand_read(s, s->in + 2, s->in_len - 2);

    if (err) {
        fail(s, ev, err);
        return;
    }
    if (s->state == WAIT_INIT) {
        err = hand_write(s);
        if (err) {
            fail(s, ev, err);
            return;
        }
        keys(s);
        s->state = WAIT_PURPOSE;
    } else {
        keys(s);
        err = record(s, REC_PURPOSE, s->purpose, s->purpose_len);
        if (err)
            fail(s, ev, err);
        else
            open_event(s, ev, NULL, 0);
    }
}

/* A whole record is in s->in; opened in place. */
static void record_whole(struct stream *s, struct stream_event *ev)
{
    size_t len = s->in_len - 4 - NOISE_TAG;
    uint8_t kind = s->in[3];

    if (noise_open(s->cipher, s->rx.key, s->rx.n++, s->in, 4, s->in + 4, s->in_len - 4, s->in + 4)) {
        fail(s, ev, VI_EAUTH);
        return;
    }
    if (s->rx.n == STREAM_REKEY)
        rekey(&s->rx, s->cipher);
    if (s->state == WAIT_PURPOSE && kind == REC_PURPOSE && len <= STREAM_PURPOSE) {
        open_event(s, ev, s->in + 4, len);
    } else if (s->state == OPEN && kind == REC_DATA && len) {
        ev->kind = STREAM_DATA;
        ev->data = s->in + 4;
        ev->len = len;
    } else if (s->state == OPEN && kind == REC_END && !len) {
        s->rx.ended = true;
        ev->kind = STREAM_END;
    } else {
        fail(s, ev, VI_EPROTO);
    }
}

/* A length is complete: how long is the message with it? 0: out of range. */
static size_t message_len(const struct stream *s)
{
    size_t n;

    if (s->state == WAIT_INIT || s->state == WAIT_RESPONSE) {
        n = (size_t)(s->in[0] | s->in[1] << 8);
        return n >= NOISE_IK_2 && n <= HAND_MAX ? n + 2 : 0;
    }
    n = (size_t)(s->in[0] | s->in[1] << 8 | s->in[2] << 16);
    return n <= STREAM_RECORD ? n + 4 + NOISE_TAG : 0;
}

void stream_feed(struct stream *s, const uint8_t *data, size_t len, size_t *used,
                 struct stream_event *ev)
{
    memset(ev, 0, sizeof *ev);
    *used = 0;
    while (*used < len && ev->kind == STREAM_NONE) {
        bool hand = s->state == WAIT_INIT || s->state == WAIT_RESPONSE;
        size_t head = hand ? 2 : 4, n = s->in_want - s->in_len;

        if (s->state == FAILED || s->rx.ended) {
            fail(s, ev, VI_EPROTO); /* nothing may follow */
            return;
        }
        if (n > len - *used)
            n = len - *used;
        memcpy(s->in + s->in_len, data + *used, n);
        s->in_len += n;
        *used += n;
        if (s->in_len < s->in_want)
            return;
        if (s->in_want == head) {
            s->in_want = message_len(s);
            if (!s->in_want) {
                fail(s, ev, VI_EPROTO);
                return;
            }
            continue;
        }
        if (hand)
            hand_whole(s, ev);
        else
            record_whole(s, ev);
        s->in_len = 0;
        s->in_want = s->state == WAIT_INIT || s->state == WAIT_RESPONSE ? 2 : 4;
    }
}

void stream_feed_eof(struct stream *s, struct stream_event *ev)
{
    memset(ev, 0, sizeof *ev);
    if (!s->rx.ended)
        fail(s, ev, VI_EPROTO);
}
