/* A joiner and an inviter; the input says what the network does to their datagrams, what the joiner
 * asks and what the inviter answers. Whatever happens: the key that is asked with is the joiner's,
 * and a certificate that comes of the inviter's own answer is the joiner's. */
#include <sodium.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "overlay/overlay.h"
#include "peer/invites.h"

#define KEPT 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct mesh *m[2]; /* inviter, joiner */
    vi_time now;
    uint32_t admission;
    bool lies; /* the inviter has answered with bytes of the input */
    unsigned nkept;
    struct {
        unsigned to;
        size_t len;
        uint8_t data[1500];
    } kept[KEPT];
};

static const vi_time wall = (vi_time)1800000000 * VI_SEC;
static char dir[64];
static struct store *store;
static struct invites *invites;
static struct identity inviter, joiner;
static struct mesh_config cfg[2];
static struct mesh_trust trust;
static struct mesh_addr addr[2];
static struct token token;

static void clean(void)
{
    char path[96];
    invites_free(invites);
    store_close(store);
    snprintf(path, sizeof path, "%s/violin.db", dir);
    unlink(path);
    rmdir(dir);
}

static void keys(struct identity *me, uint8_t n)
{
    uint8_t seed[32] = {n};
    crypto_sign_seed_keypair(me->ed_pk, me->ed_sk, seed);
    memset(me->x_sk, n, sizeof me->x_sk);
    crypto_scalarmult_base(me->x_pk, me->x_sk);
    cert_peer_id(&me->id, me->ed_pk);
}

static void invite(const uint8_t authority_sk[64])
{
    char why[400], text[TOKEN_TEXT];
    struct vi_rng rng;
    vi_time expires;
    snprintf(dir, sizeof dir, "/tmp/violin-fuzz-XXXXXX");
    if (!mkdtemp(dir) || !(store = store_open(dir, why, sizeof why)))
        abort();
    atexit(clean);
    inviter.has_delegation = true;
    invites = invites_new(store, &inviter);
    vi_rng_seed(&rng, 7);
    if (cert_delegate(&inviter.delegation, "lab", inviter.ed_pk, wall, wall + 9000 * VI_HOUR, CERT_ADMIT | CERT_ENV,
                      authority_sk) ||
        invites_make(invites, &rng, wall, 1000, VI_HOUR, "10.0.0.1:1", text, &expires, why, sizeof why) ||
        token_decode(&token, text, NULL))
        abort();
}

static void set_up(void)
{
    uint8_t sk[64], seed[32] = {9};
    struct cert *c = &inviter.cert;
    crypto_sign_seed_keypair(inviter.authority, sk, seed);
    keys(&inviter, 1);
    keys(&joiner, 2);
    strcpy(trust.domain, "lab");
    memcpy(trust.authority, inviter.authority, 32);
    memcpy(c->x, inviter.x_pk, 32);
    memcpy(c->ed, inviter.ed_pk, 32);
    strcpy(c->domain, "lab");
    strcpy(c->host, "inviter");
    c->not_after = wall + 9000 * VI_HOUR;
    if (cert_issue(c, sk))
        abort();
    invite(sk);
    for (unsigned i = 0; i < 2; i++) {
        memcpy(cfg[i].secret, i ? joiner.x_sk : inviter.x_sk, 32);
        cfg[i].wall_minus_now = wall;
        cfg[i].trust = &trust;
        cfg[i].trusts = 1;
        cfg[i].max_admissions = 3;
        addr[i] = (struct mesh_addr){.family = 4, .port = 1, .ip = {10, 0, 0, (uint8_t)i}};
    }
    cfg[0].has_cert = true;
    cfg[0].cert = inviter.cert;
    cfg[0].lookup_psk = invites_secret;
    cfg[0].arg = invites;
}

static void reply(struct world *w, const uint8_t *data, size_t len)
{
    struct mesh_event ev = {.kind = MESH_EV_ADMISSION_REPLY,
                            .admission_reply = {.admission = w->admission, .data = data, .len = len}};
    mesh_step(w->m[0], w->now, &ev);
}

static void asked(struct world *w, const struct mesh_effect *fx)
{
    char name[CERT_NAME_MAX + 1];
    uint8_t out[JOIN_MAX];
    size_t len;
    w->admission = fx->admission;
    if (memcmp(fx->x, joiner.x_pk, 32) || !vi_id_equal(&fx->token, &token.id))
        abort();
    len = invites_admit(invites, wall + w->now, &fx->token, fx->x, fx->data, fx->len, out, name);
    if (len)
        reply(w, out, len);
}

static void answered(const struct world *w, const struct mesh_effect *fx)
{
    struct join_answer a;
    if (fx->err || join_answer_decode(&a, fx->data, fx->len) || a.err)
        return;
    if (!w->lies && (memcmp(a.cert.ed, joiner.ed_pk, 32) || memcmp(a.cert.x, joiner.x_pk, 32)))
        abort();
}

static void drain(struct world *w)
{
    static struct mesh_effect fx;
    static uint8_t copy[1500];
    const struct mesh_effect *f;
    for (unsigned i = 0; i < 2; i++)
        while ((f = mesh_effect(w->m[i]))) {
            fx = *f;
            if (fx.len > sizeof copy)
                abort();
            if (fx.len)
                memcpy(copy, fx.data, fx.len);
            fx.data = copy;
            if (fx.kind == MESH_FX_ADMISSION_REQUEST)
                asked(w, &fx);
            else if (fx.kind == MESH_FX_ADMISSION_ANSWER)
                answered(w, &fx);
            else if (fx.kind == MESH_FX_DATAGRAM && w->nkept < KEPT) {
                w->kept[w->nkept].to = 1 - i;
                w->kept[w->nkept].len = fx.len;
                memcpy(w->kept[w->nkept++].data, copy, fx.len);
            }
        }
}

static void deliver(struct world *w, unsigned to, const uint8_t *data, size_t len)
{
    struct mesh_event ev = {.kind = MESH_EV_DATAGRAM, .datagram = {.from = addr[1 - to], .data = data, .len = len}};
    mesh_step(w->m[to], w->now, &ev);
    drain(w);
}

static void pass(struct world *w, unsigned k, bool forget)
{
    static uint8_t data[1500];
    unsigned to = w->kept[k].to;
    size_t len = w->kept[k].len;
    memcpy(data, w->kept[k].data, len);
    if (forget)
        w->kept[k] = w->kept[--w->nkept];
    deliver(w, to, data, len);
}

/* A good request, for a name out of the input; or, as the first byte says, one of another token; or bytes that are none. */
static void join(struct world *w, const uint8_t *d, size_t n)
{
    struct mesh_event ev = {.kind = MESH_EV_JOIN};
    struct join_request q = {.token = token.id};
    uint8_t buf[JOIN_MAX];
    size_t len = 0;
    memcpy(q.ed, joiner.ed_pk, 32);
    memcpy(q.x, joiner.x_pk, 32);
    for (size_t i = 0; i < 2 && i + 1 < n; i++)
        q.host[i] = (char)('a' + d[i + 1] % 28); /* most of them letters */
    if (d[0] & 16)
        q.x[0] ^= 1;
    if (d[0] & 32)
        q.token.b[0] ^= 1;
    if (join_request_encode(&q, joiner.ed_sk, buf, sizeof buf, &len) || d[0] & 64) {
        len = n < sizeof buf ? n : sizeof buf;
        memcpy(buf, d, len);
    }
    ev.join.x = inviter.x_pk;
    ev.join.peer = inviter.id;
    ev.join.addr = addr[0];
    ev.join.token = token.id;
    ev.join.psk = d[0] & 128 ? joiner.x_sk : token.secret;
    ev.join.trust = &trust;
    ev.join.request = buf;
    ev.join.len = len;
    mesh_step(w->m[1], w->now, &ev);
    drain(w);
}

static size_t command(struct world *w, const uint8_t *d, size_t n)
{
    unsigned i = d[0] >> 7, k = n > 1 && w->nkept ? d[1] % w->nkept : 0;
    struct mesh_event ev = {.kind = MESH_EV_TICK};
    size_t len;
    switch (d[0] & 15) {
    case 0:
    case 1:
        if (n > 1)
            join(w, d + 1, n - 1);
        return 4;
    case 2:
    case 3:
    case 4:
    case 5:
        if (w->nkept)
            pass(w, k, (d[0] & 15) != 5);
        return 2;
    case 6:
        if (w->nkept && n > 3)
            w->kept[k].data[(size_t)(d[2] * 4 + d[3]) % w->kept[k].len] ^= (uint8_t)(d[3] | 1);
        return 4;
    case 7:
        if (w->nkept)
            w->nkept--;
        return 1;
    case 8:
        w->now += (n > 1 ? d[1] : 1) * (vi_time)(VI_SEC / 4);
        mesh_step(w->m[0], w->now, &ev);
        mesh_step(w->m[1], w->now, &ev);
        drain(w);
        return 2;
    case 9:
        len = n > 2 ? (size_t)d[1] * 6 % (n - 1) : 0;
        deliver(w, i, d + 2, len);
        return 2 + len;
    case 10: /* another answer than the invitation's */
        w->lies = true;
        len = n > 2 ? (size_t)d[1] * 6 % (n - 1) : 0;
        reply(w, d + 2, len);
        drain(w);
        return 2 + len;
    default:
        mesh_free(w->m[i]);
        w->m[i] = NULL;
        return 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    char name[CERT_NAME_MAX + 1];
    uint8_t out[JOIN_MAX];
    struct join_answer a;
    struct vi_rng rng;
    size_t n;
    if (sodium_init() < 0 || size > 4096)
        return 0;
    if (!store)
        set_up();
    n = invites_admit(invites, wall, &token.id, joiner.x_pk, data, size, out, name);
    if (n && join_answer_decode(&a, out, n))
        abort();
    memset(&w, 0, sizeof w);
    w.now = VI_SEC;
    vi_rng_seed(&rng, 1);
    while (size) {
        for (unsigned i = 0; i < 2; i++)
            if (!w.m[i] && !(w.m[i] = mesh_new(&cfg[i], &rng, w.now)))
                abort();
        n = command(&w, data, size);
        n = n < size ? n : size;
        data += n;
        size -= n;
    }
    mesh_free(w.m[0]);
    mesh_free(w.m[1]);
    return 0;
}
