#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/stream.h"
#include "peer/base/err.h"

#define WALL (INT64_C(1700000000) * VI_SEC)

struct side {
    struct mesh_config cfg;
    struct vi_id id;
    uint8_t x[32], ed_sk[64];
    struct stream *s;
    unsigned opens, ends, fails;
    int err;
    uint8_t purpose[STREAM_PURPOSE];
    size_t purpose_len, got;
    uint64_t hash;
};

static struct side a, b;
static struct mesh_trust trust;
static struct vi_rng rng;
static uint8_t auth_pk[32], auth_sk[64];

static void make(struct side *d, const uint8_t *sk)
{
    struct cert *c = &d->cfg.cert;
    uint8_t seed[32];

    memset(d, 0, sizeof *d);
    vi_rng_bytes(&rng, seed, 32);
    crypto_sign_seed_keypair(c->ed, d->ed_sk, seed);
    vi_rng_bytes(&rng, d->cfg.secret, 32);
    crypto_scalarmult_base(d->x, d->cfg.secret);
    memcpy(c->x, d->x, 32);
    strcpy(c->domain, "lab");
    strcpy(c->host, "h");
    c->not_before = WALL - VI_HOUR;
    c->not_after = WALL + VI_HOUR;
    assert_int_equal(cert_issue(c, sk), 0);
    cert_peer_id(&d->id, c->ed);
    d->cfg.has_cert = true;
    d->cfg.trust = &trust;
    d->cfg.trusts = 1;
    d->cfg.wall_minus_now = WALL;
}

static int set_up(void **state)
{
    (void)state;
    vi_rng_seed(&rng, 7);
    strcpy(trust.domain, "lab");
    memcpy(trust.authority, auth_pk, 32);
    make(&a, auth_sk);
    make(&b, auth_sk);
    a.s = stream_new(&a.cfg, &rng, b.x, &b.id, "handover 1", 10, 0);
    b.s = stream_new(&b.cfg, &rng, NULL, NULL, NULL, 0, 0);
    assert_non_null(a.s);
    assert_non_null(b.s);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stream_free(a.s);
    stream_free(b.s);
    return 0;
}

static void note(struct side *d, const struct stream_event *ev)
{
    if (ev->kind == STREAM_OPEN) {
        d->opens++;
        d->purpose_len = ev->len;
        if (ev->len)
            memcpy(d->purpose, ev->data, ev->len);
        assert_true(vi_id_equal(&ev->peer, d == &a ? &b.id : &a.id));
        assert_string_equal(ev->cert->domain, "lab");
    } else if (ev->kind == STREAM_DATA) {
        for (size_t i = 0; i < ev->len; i++)
            d->hash = d->hash * 31 + ev->data[i];
        d->got += ev->len;
    } else if (ev->kind == STREAM_END) {
        d->ends++;
    } else if (ev->kind == STREAM_FAILED) {
        if (!d->fails++)
            d->err = ev->err;
    }
}

static void feed(struct side *d, const uint8_t *p, size_t len)
{
    struct stream_event ev;
    size_t used;

    do {
        stream_feed(d->s, p, len, &used, &ev);
        note(d, &ev);
        p += used;
        len -= used;
    } while ((len || ev.kind != STREAM_NONE) && ev.kind != STREAM_FAILED);
}

/* Carries at most `most` bytes one way, in pieces. */
static size_t carry(struct side *from, struct side *to, size_t most, size_t piece)
{
    static uint8_t buf[70000];
    size_t done = 0, n;
    const uint8_t *p;

    while (done < most && (p = stream_pending(from->s, &n))) {
        n = n < piece ? n : piece;
        n = n < most - done ? n : most - done;
        memcpy(buf, p, n);
        stream_sent(from->s, n);
        feed(to, buf, n);
        done += n;
    }
    return done;
}

static void pump(size_t piece)
{
    while (carry(&a, &b, SIZE_MAX, piece) + carry(&b, &a, SIZE_MAX, piece))
        ;
}

static void test_whole(void **state)
{
    static uint8_t data[300000];
    static const size_t pieces[] = {1, 7, 1000, 65536};
    uint64_t hash = 0;
    size_t used, sent = 0;
    struct stream_event ev;

    (void)state;
    vi_rng_bytes(&rng, data, sizeof data);
    assert_int_equal(stream_write(a.s, "x", 1, &used), VI_ESTATE);
    pump(3);
    assert_int_equal(a.opens, 1);
    assert_int_equal(b.opens, 1);
    assert_int_equal(b.purpose_len, 10);
    assert_memory_equal(b.purpose, "handover 1", 10);
    for (unsigned i = 0; i < 4; i++) {
        size_t n = i ? sizeof data : 3000;

        assert_int_equal(stream_write(a.s, data, n, &used), 0);
        assert_int_equal(used, n);
        for (size_t k = 0; k < n; k++)
            hash = hash * 31 + data[k];
        sent += n;
        pump(pieces[i]);
    }
    assert_int_equal(stream_write(b.s, "back", 4, &used), 0);
    pump(65536);
    assert_int_equal(a.got, 4);
    assert_int_equal(b.got, sent);
    assert_true(b.hash == hash);
    assert_int_equal(stream_end(a.s), 0);
    assert_int_equal(stream_end(a.s), VI_ESTATE);
    assert_int_equal(stream_write(a.s, "x", 1, &used), VI_ESTATE);
    pump(100);
    assert_int_equal(b.ends, 1);
    assert_false(stream_finished(b.s));
    stream_feed_eof(b.s, &ev);
    assert_int_equal(ev.kind, STREAM_NONE);
    assert_int_equal(stream_end(b.s), 0);
    pump(100);
    assert_true(stream_finished(a.s) && stream_finished(b.s));
}

static void test_back_pressure(void **state)
{
    static uint8_t data[1 << 20];
    size_t used, total = 0;
    int err;

    (void)state;
    pump(1000);
    while (!(err = stream_write(a.s, data, sizeof data, &used)))
        total += used;
    assert_int_equal(err, VI_EAGAIN);
    assert_in_range(total, STREAM_OUT_MAX - (2 << 16), STREAM_OUT_MAX);
    pump(60000);
    assert_int_equal(b.got, total);
    assert_int_equal(stream_write(a.s, data, sizeof data, &used), 0);
}

static void test_rekey(void **state)
{
    size_t used;

    (void)state;
    pump(1000);
    for (unsigned i = 0; i < STREAM_REKEY + 100; i++) {
        assert_int_equal(stream_write(a.s, "r", 1, &used), 0);
        if (i % 1000 == 0)
            pump(65536);
    }
    pump(65536);
    assert_int_equal(b.got, STREAM_REKEY + 100);
    assert_int_equal(b.fails, 0);
}

static void test_cut_short(void **state)
{
    struct stream_event ev;
    size_t used;

    (void)state;
    pump(1000);
    stream_write(a.s, "0123456789", 10, &used);
    pump(1000);
    stream_feed_eof(b.s, &ev); /* at a record's border, but without the end marker */
    assert_int_equal(ev.kind, STREAM_FAILED);
    assert_int_equal(ev.err, VI_EPROTO);
}

static void test_altered(void **state)
{
    uint8_t buf[64];
    const uint8_t *p;
    size_t n, used;

    for (unsigned bit = 0; bit < 30; bit++) {
        tear_down(state);
        set_up(state);
        pump(1000);
        stream_write(a.s, "0123456789", 10, &used);
        p = stream_pending(a.s, &n);
        assert_int_equal(n, 30);
        memcpy(buf, p, n);
        buf[bit] ^= 1;
        feed(&b, buf, n);
        stream_write(a.s, "0123456789", 10, &used);
        stream_sent(a.s, n);
        carry(&a, &b, SIZE_MAX, 1000);
        assert_int_equal(b.got, 0);
        if (bit > 3)
            assert_int_equal(b.err, VI_EAUTH);
    }
}

static void test_strangers(void **state)
{
    uint8_t pk[32], sk[64];

    (void)state;
    crypto_sign_seed_keypair(pk, sk, (const uint8_t *)"another authority, not ours, 32.");
    stream_free(a.s);
    make(&a, sk);
    a.s = stream_new(&a.cfg, &rng, b.x, &b.id, NULL, 0, 0);
    pump(100);
    assert_int_equal(b.err, VI_EAUTH);
    assert_int_equal(a.opens + b.opens, 0);
    tear_down(state);
    set_up(state);
    stream_free(a.s);
    a.s = stream_new(&a.cfg, &rng, b.x, &a.id, NULL, 0, 0); /* not who was called */
    pump(100);
    assert_int_equal(a.err, VI_EAUTH);
    assert_int_equal(a.opens + b.opens, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_whole), T(test_back_pressure), T(test_rekey),
                                       T(test_cut_short), T(test_altered), T(test_strangers)};

    if (sodium_init() < 0)
        return 2;
    crypto_sign_seed_keypair(auth_pk, auth_sk, (const uint8_t *)"authority authority authority 32");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
