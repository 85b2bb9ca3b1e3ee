/* Two gossip cores side by side: a member that gets a new certificate, one whose new certificate is refused,
 * one that is forgotten and not admitted again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "gossip/gossip.h"
#include "peer/base/err.h"

struct side {
    struct gossip *g;
    struct gossip_config cfg;
    unsigned changed, forgotten;
    uint8_t refuse; /* certificates that begin with this byte; 0: none */
};

static struct side s[2];
static struct vi_rng rng;
static vi_time now;

static void sign(void *arg, const uint8_t *data, size_t len, uint8_t sig[GOSSIP_SIG])
{
    (void)arg;
    memset(sig, (int)(len & 0x7f), GOSSIP_SIG);
    sig[0] = data[len - 1];
}

static bool verify(void *arg, const uint8_t key[GOSSIP_KEY], const uint8_t *data, size_t len,
                   const uint8_t sig[GOSSIP_SIG])
{
    (void)arg;
    (void)key;
    return sig[0] == data[len - 1];
}

static bool admit(void *arg, const struct vi_id *id, const uint8_t key[GOSSIP_KEY], const uint8_t *cert,
                  size_t len)
{
    const struct side *k = arg;
    (void)id;
    (void)key;
    return len && (!k->refuse || cert[0] != k->refuse);
}

static void pump(unsigned i)
{
    const struct gossip_effect *fx;
    while ((fx = gossip_effect(s[i].g))) {
        struct gossip_event ev = {.kind = GOSSIP_EV_DATAGRAM};
        uint8_t copy[GOSSIP_DATAGRAM_MAX];
        if (fx->kind == GOSSIP_FX_MEMBER) {
            s[i].changed += fx->change == GOSSIP_CHANGED;
            s[i].forgotten += fx->change == GOSSIP_FORGOTTEN;
        }
        if (fx->kind != GOSSIP_FX_SEND || !vi_id_equal(&fx->id, &s[!i].cfg.id))
            continue;
        memcpy(copy, fx->data, fx->len);
        ev.datagram.from = s[i].cfg.id;
        ev.datagram.data = copy;
        ev.datagram.len = fx->len;
        (void)gossip_step(s[!i].g, now, &ev);
        pump(!i);
    }
}

static void run(vi_time span)
{
    struct gossip_event tick = {.kind = GOSSIP_EV_TICK};
    for (vi_time end = now + span; now < end; now += 10 * VI_MSEC)
        for (unsigned i = 0; i < 2; i++)
            if (gossip_deadline(s[i].g) <= now) {
                (void)gossip_step(s[i].g, now, &tick);
                pump(i);
            }
}

static int set_up(void **unused)
{
    struct gossip_event seed = {.kind = GOSSIP_EV_SEED};
    (void)unused;
    memset(s, 0, sizeof s);
    now = 10 * VI_SEC;
    vi_rng_seed(&rng, 5);
    for (unsigned i = 0; i < 2; i++) {
        struct gossip_config *c = &s[i].cfg;
        gossip_config_domain(c);
        memset(c->key, (int)i + 1, sizeof c->key);
        vi_id_hash(&c->id, "violin peer", c->key, sizeof c->key, NULL, 0);
        memset(c->cert, 'a', 100);
        c->cert_len = 100;
        c->arg = &s[i];
        c->sign = sign;
        c->verify = verify;
        c->admit = admit;
        s[i].g = gossip_new(c, &rng, now);
        assert_non_null(s[i].g);
    }
    seed.seed.id = s[1].cfg.id;
    assert_int_equal(gossip_step(s[0].g, now, &seed), 0);
    run(20 * VI_SEC);
    assert_int_equal(gossip_alive(s[0].g), 2);
    assert_int_equal(gossip_alive(s[1].g), 2);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    gossip_free(s[0].g);
    gossip_free(s[1].g);
    return 0;
}

static void renew(unsigned i, char with, size_t len)
{
    uint8_t cert[GOSSIP_CERT_MAX];
    struct gossip_event ev = {.kind = GOSSIP_EV_SET_SELF};
    memset(cert, with, len);
    ev.self.cert = cert;
    ev.self.cert_len = (uint16_t)len;
    assert_int_equal(gossip_step(s[i].g, now, &ev), 0);
    pump(i);
}

static void seen(unsigned by, unsigned whose, char with, size_t len)
{
    struct gossip_member m;
    assert_true(gossip_member_find(s[by].g, &s[whose].cfg.id, &m));
    assert_int_equal(m.cert_len, len);
    assert_int_equal(m.cert[0], with);
    assert_int_equal(m.state, GOSSIP_ALIVE);
}

static void test_new_certificate(void **unused)
{
    (void)unused;
    for (unsigned n = 0; n < 20; n++) {
        char with = (char)('b' + n);
        renew(n % 2, with, 120 + 20 * n);
        run(20 * VI_SEC);
        seen(!(n % 2), n % 2, with, 120 + 20 * n);
    }
    assert_true(s[0].changed >= 10 && s[1].changed >= 10);
    renew(0, 'z', GOSSIP_CERT_MAX);
    run(20 * VI_SEC);
    seen(1, 0, 'z', GOSSIP_CERT_MAX);
}

static void test_refused_certificate(void **unused)
{
    (void)unused;
    s[0].refuse = 'x';
    renew(1, 'x', 200);
    run(30 * VI_SEC);
    seen(0, 1, 'a', 100); /* it stays the member that it was, with what was good */
    s[0].refuse = 0;
    assert_int_equal(gossip_step(s[0].g, now, &(struct gossip_event){.kind = GOSSIP_EV_RECHECK}), 0);
    pump(0);
    run(5 * VI_SEC);
    seen(0, 1, 'x', 200);
}

static void test_forgotten(void **unused)
{
    struct gossip_event forget = {.kind = GOSSIP_EV_FORGET, .peer = s[1].cfg.id};
    struct gossip_member m;
    (void)unused;
    s[0].refuse = 'a';
    assert_int_equal(gossip_step(s[0].g, now, &forget), 0);
    pump(0);
    assert_int_equal(s[0].forgotten, 1);
    run(60 * VI_SEC);
    assert_false(gossip_member_find(s[0].g, &s[1].cfg.id, &m));
    assert_int_equal(gossip_alive(s[0].g), 1);
    assert_true(gossip_counters(s[0].g)->rx_forged > 0); /* it tried */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(test_new_certificate), T(test_refused_certificate), T(test_forgotten)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
