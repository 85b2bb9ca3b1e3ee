/* The addresses that guests say they have: two hosts wired together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <string.h>

#include "overlay/switch.h"
#include "peer/base/wire.h"

static struct host {
    struct vswitch *s;
    struct vi_id id;
    uint8_t pk[32], sk[64];
    struct switch_table *table;
    bool deaf;
} h[2];
static struct vi_id env, guest;
static vi_time now;
static uint8_t mac[1][6] = {{2, 0, 0, 0, 0, 1}};

static bool key_of(void *arg, const struct vi_id *peer, uint8_t pk[32])
{
    (void)arg;
    memcpy(pk, vi_id_equal(peer, &h[0].id) ? h[0].pk : h[1].pk, 32);
    return true;
}

static void message(unsigned to, const uint8_t *data, size_t len)
{
    struct switch_event ev = {.kind = SWITCH_EV_MESSAGE, .peer = h[1 - to].id, .data = data, .len = len};
    switch_step(h[to].s, now, &ev);
}

static void settle(void)
{
    for (bool any = true; any;) {
        any = false;
        for (unsigned i = 0; i < 2; i++) {
            static struct switch_effect fx;
            const struct switch_effect *p = switch_effect(h[i].s);
            if (!p)
                continue;
            fx = *p;
            any = true;
            if (fx.kind == SWITCH_FX_TABLE) {
                switch_table_free(h[i].table);
                h[i].table = fx.table;
            } else if (fx.kind == SWITCH_FX_SEND && !h[1 - i].deaf) {
                message(1 - i, fx.data, fx.len);
            }
        }
    }
}

static void pass(vi_time t)
{
    for (vi_time end = now + t; now < end; settle()) {
        now += 250 * VI_MSEC;
        for (unsigned i = 0; i < 2; i++)
            if (switch_deadline(h[i].s) <= now) {
                struct switch_event tick = {.kind = SWITCH_EV_TICK};
                switch_step(h[i].s, now, &tick);
            }
    }
}

static void step(unsigned i, struct switch_event ev)
{
    ev.env = env;
    ev.guest = guest;
    switch_step(h[i].s, now, &ev);
}

static void local(unsigned i, uint64_t epoch, bool on)
{
    step(i, (struct switch_event){.kind = SWITCH_EV_LOCAL, .on = on, .epoch = epoch, .n = 1, .macs = (const uint8_t(*)[6])mac});
}

static void ip_of(uint8_t out[IP_BYTES], uint8_t last)
{
    memset(out, 0, IP_BYTES);
    out[10] = out[11] = 0xff;
    out[12] = 10;
    out[15] = last;
}

static void says(unsigned i, uint8_t last)
{
    struct switch_event ev = {.kind = SWITCH_EV_ADDRESS};
    memcpy(ev.mac, mac[0], 6);
    ip_of(ev.ip, last);
    step(i, ev);
}

/* Does i's table have this address? 0: no; 1: of a guest here; 2: of one there. */
static int has(unsigned i, uint8_t last)
{
    uint8_t ip[IP_BYTES];
    const struct switch_ip *p;
    ip_of(ip, last);
    p = h[i].table && h[i].table->envs[0] ? switch_table_find_ip(h[i].table->envs[0], ip) : NULL;
    return p ? p->local ? 1 : 2 : 0;
}

static int set_up(void **state)
{
    (void)state;
    now = 100 * VI_SEC;
    memset(env.b, 0xe, sizeof env.b);
    memset(guest.b, 0x9, sizeof guest.b);
    memset(h, 0, sizeof h);
    for (unsigned i = 0; i < 2; i++) {
        struct switch_config c = {.first_counter = 1000000 * (2 - i), .key_of = key_of};
        uint8_t seed[32] = {(uint8_t)(i + 1)};
        crypto_sign_seed_keypair(h[i].pk, h[i].sk, seed);
        memset(h[i].id.b, (int)i + 1, sizeof h[i].id.b);
        c.self = h[i].id;
        h[i].s = switch_new(&c, now);
        step(i, (struct switch_event){.kind = SWITCH_EV_ENV, .on = true});
    }
    for (unsigned i = 0; i < 2; i++)
        step(i, (struct switch_event){.kind = SWITCH_EV_PARTICIPANTS, .peers = &h[1 - i].id, .n = 1});
    local(0, 1, true);
    settle();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        switch_table_free(h[i].table);
        switch_free(h[i].s);
    }
    return 0;
}

static void told(void **state)
{
    struct switch_place p;
    unsigned pos = 0;
    (void)state;
    says(0, 1);
    pass(VI_SEC);
    assert_int_equal(has(0, 1), 1);
    assert_int_equal(has(1, 1), 2);
    assert_int_equal(has(1, 2), 0);
    assert_true(switch_place_next(h[1].s, &env, &pos, &p));
    assert_int_equal(p.n_ips, 1);
    assert_int_equal(p.ips[0][15], 1);
    local(0, 1, false); /* the guest is gone */
    settle();
    assert_int_equal(has(1, 1), 0);
}

static void told_again_when_lost(void **state)
{
    (void)state;
    h[1].deaf = true;
    says(0, 1);
    pass(VI_SEC);
    assert_int_equal(has(1, 1), 0);
    h[1].deaf = false;
    pass(12 * VI_SEC);
    assert_int_equal(has(1, 1), 2);
}

static void oldest_makes_room(void **state)
{
    (void)state;
    for (uint8_t i = 1; i <= SWITCH_MAC_IPS + 1; i++) {
        says(0, i);
        pass(VI_SEC);
    }
    assert_int_equal(has(1, 1), 0);
    for (uint8_t i = 2; i <= SWITCH_MAC_IPS + 1; i++)
        assert_int_equal(has(1, i), 2);
}

static void forgotten_when_silent(void **state)
{
    (void)state;
    says(0, 1);
    says(0, 2);
    pass(15 * 60 * VI_SEC);
    says(0, 2);
    pass(10 * 60 * VI_SEC);
    assert_int_equal(has(0, 1), 0);
    assert_int_equal(has(1, 1), 0);
    assert_int_equal(has(0, 2), 1);
    assert_int_equal(has(1, 2), 2);
}

static void kept_with_another_epoch(void **state)
{
    (void)state;
    says(0, 1);
    pass(VI_SEC);
    local(0, 2, true);
    settle();
    assert_int_equal(has(0, 1), 1);
}

static void moves_with_its_guest(void **state)
{
    struct transfer t = {.guest = guest, .env = env, .from = h[0].id, .to = h[1].id, .epoch = 2, .n_macs = 1};
    uint8_t b[TRANSFER_MAX];
    int n;
    (void)state;
    says(0, 1);
    pass(VI_SEC);
    memcpy(t.macs[0], mac[0], 6);
    n = transfer_sign(&t, h[0].sk, b, sizeof b);
    assert_true(n > 0);
    step(0, (struct switch_event){.kind = SWITCH_EV_GIVEN, .data = b, .len = (size_t)n});
    assert_int_equal(has(0, 1), 1);
    settle();
    assert_int_equal(has(0, 1), 2); /* at once, and nobody has said anything since */
    step(1, (struct switch_event){.kind = SWITCH_EV_ACTIVATE, .data = b, .len = (size_t)n});
    settle();
    assert_int_equal(has(1, 1), 1);
    assert_int_equal(has(0, 1), 2);
    says(1, 2); /* the new host counts for itself, from less than the old one */
    pass(VI_SEC);
    assert_int_equal(has(0, 2), 2);
}

static size_t forged(uint8_t *out, size_t cap, const uint8_t m[6], size_t bytes)
{
    uint8_t ips[SWITCH_MAC_IPS * IP_BYTES + 16] = {0};
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 4);
    vi_write_uint(&w, 5);
    vi_write_id(&w, &env);
    vi_write_uint(&w, UINT64_MAX);
    vi_write_array(&w, 2);
    vi_write_bin(&w, m, 6);
    ip_of(ips, 66);
    vi_write_bin(&w, ips, bytes);
    return w.len;
}

static void only_of_what_it_states(void **state)
{
    const uint8_t unstated[6] = {2, 0, 0, 0, 0, 7};
    uint8_t b[400];
    size_t n;
    (void)state;
    message(1, b, forged(b, sizeof b, unstated, IP_BYTES));
    message(0, b, forged(b, sizeof b, mac[0], IP_BYTES)); /* of a guest of the receiver's own */
    message(1, b, forged(b, sizeof b, mac[0], IP_BYTES - 1));
    message(1, b, forged(b, sizeof b, mac[0], (SWITCH_MAC_IPS + 1) * IP_BYTES));
    n = forged(b, sizeof b, mac[0], IP_BYTES);
    for (size_t i = 0; i < n; i++)
        message(1, b, i);
    pass(VI_SEC);
    assert_int_equal(has(1, 66), 0);
    assert_int_equal(has(0, 66), 0);
    message(1, b, n);
    pass(VI_SEC);
    assert_int_equal(has(1, 66), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(told_again_when_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(oldest_makes_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(forgotten_when_silent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kept_with_another_epoch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(moves_with_its_guest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_of_what_it_states, set_up, tear_down),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
