/* Questions between peers. See call.h. [0, id, method, body] and [1, id, err, body]. */
#include "peer/call.h"

#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

struct one {
    bool used;
    uint64_t id;
    struct vi_id peer;
    unsigned tries;
    vi_time again;
    call_done *done;
    void *done_arg;
    size_t len;
    uint8_t bytes[CALL_BODY_MAX + 40];
};

struct calls {
    struct call_hooks hooks;
    struct vi_rng *rng;
    struct one one[CALLS_MAX];
};

struct calls *calls_new(const struct call_hooks *hooks, struct vi_rng *rng)
{
    struct calls *c = calloc(1, sizeof *c);
    if (c) {
        c->hooks = *hooks;
        c->rng = rng;
    }
    return c;
}

void calls_free(struct calls *c)
{
    free(c);
}

static size_t encode(uint8_t *out, size_t cap, unsigned kind, uint64_t id, int64_t what,
                     const uint8_t *body, size_t len)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 4);
    vi_write_uint(&w, kind);
    vi_write_uint(&w, id);
    vi_write_int(&w, what);
    vi_write_bin(&w, body, len);
    return w.err ? 0 : w.len;
}

int calls_ask(struct calls *c, vi_time now, const struct vi_id *peer, unsigned method,
              const uint8_t *body, size_t len, call_done *done, void *done_arg)
{
    if (len > CALL_BODY_MAX)
        return VI_EINVAL;
    for (unsigned i = 0; i < CALLS_MAX; i++) {
        struct one *o = &c->one[i];
        if (o->used)
            continue;
        o->used = true;
        o->id = vi_rng_u64(c->rng);
        o->peer = *peer;
        o->tries = 1;
        o->again = now + CALL_RETRY;
        o->done = done;
        o->done_arg = done_arg;
        o->len = encode(o->bytes, sizeof o->bytes, 0, o->id, method, body, len);
        c->hooks.send(c->hooks.arg, peer, o->bytes, o->len);
        return 0;
    }
    return VI_EFULL;
}

void calls_tell(struct calls *c, const struct vi_id *peer, unsigned method, const uint8_t *body,
                size_t len)
{
    uint8_t bytes[CALL_BODY_MAX + 40];
    size_t n = len > CALL_BODY_MAX ? 0 : encode(bytes, sizeof bytes, 0, vi_rng_u64(c->rng), method, body, len);
    if (n)
        c->hooks.send(c->hooks.arg, peer, bytes, n);
}

static void finish(struct one *o, int err, const uint8_t *body, size_t len)
{
    call_done *done = o->done;
    void *arg = o->done_arg;
    o->used = false;
    done(arg, err, body, len);
}

static void answer(struct calls *c, const struct vi_id *from, uint64_t id, unsigned method,
                   const uint8_t *body, size_t len)
{
    uint8_t out[CALL_BODY_MAX], bytes[CALL_BODY_MAX + 40];
    int n = c->hooks.answer(c->hooks.arg, from, method, body, len, out);
    size_t used;
    if (n == CALL_LATER)
        return;
    used = encode(bytes, sizeof bytes, 1, id, n < 0 ? n : 0, out, n < 0 ? 0 : (size_t)n);
    c->hooks.send(c->hooks.arg, from, bytes, used);
}

void calls_message(struct calls *c, vi_time now, const struct vi_id *from, const uint8_t *data,
                   size_t len)
{
    struct vi_reader r;
    uint64_t kind, id;
    int64_t what;
    const uint8_t *body;
    size_t n;
    (void)now;
    vi_reader_init(&r, data, len);
    if (vi_read_array(&r, 4) != 4)
        return;
    kind = vi_read_uint(&r, 1);
    id = vi_read_uint(&r, UINT64_MAX);
    what = vi_read_int(&r, -1000, 1000);
    body = vi_read_bin(&r, CALL_BODY_MAX, &n);
    if (vi_read_end(&r))
        return;
    if (kind == 0) {
        if (what >= 0)
            answer(c, from, id, (unsigned)what, body, n);
        return;
    }
    for (unsigned i = 0; i < CALLS_MAX; i++) {
        struct one *o = &c->one[i];
        if (o->used && o->id == id && vi_id_equal(&o->peer, from)) {
            finish(o, what < 0 ? (int)what : 0, body, n);
            return;
        }
    }
}

void calls_tick(struct calls *c, vi_time now)
{
    for (unsigned i = 0; i < CALLS_MAX; i++) {
        struct one *o = &c->one[i];
        if (!o->used || o->again > now)
            continue;
        if (o->tries >= CALL_TRIES) {
            finish(o, VI_ETIMEDOUT, (const uint8_t *)"", 0);
            continue;
        }
        o->tries++;
        o->again = now + CALL_RETRY;
        c->hooks.send(c->hooks.arg, &o->peer, o->bytes, o->len);
    }
}

vi_time calls_deadline(const struct calls *c)
{
    vi_time t = VI_NEVER;
    for (unsigned i = 0; i < CALLS_MAX; i++)
        if (c->one[i].used && c->one[i].again < t)
            t = c->one[i].again;
    return t;
}
