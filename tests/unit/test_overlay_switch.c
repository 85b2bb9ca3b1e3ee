/* The virtual switch's core: three hosts wired together, with a wire that tests can cut or bend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/switch.h"
#include "peer/base/wire.h"

#define HOSTS 3

struct host {
    struct vswitch *s;
    struct vi_id id;
    uint8_t pk[32], sk[64];
    struct switch_table *table;
    unsigned announced, conflicts, sent;
    bool deaf; /* what is sent to it is lost */
};

static struct host h[HOSTS];
static struct vi_id env, guest;
static vi_time now;
static const uint8_t mac1[6] = {0, 0x16, 0x3e, 0, 0, 1}, mac2[6] = {0, 0x16, 0x3e, 0, 0, 2};

static bool key_of(void *arg, const struct vi_id *peer, uint8_t pk[32])
{
    (void)arg;
    for (unsigned i = 0; i < HOSTS; i++)
        if (vi_id_equal(peer, &h[i].id)) {
            memcpy(pk, h[i].pk, 32);
            return true;
        }
    return false;
}

static void say(unsigned to, const struct vi_id *from, const uint8_t *data, size_t len)
{
    struct switch_event ev = {.kind = SWITCH_EV_MESSAGE, .peer = *from, .data = data, .len = len};
    switch_step(h[to].s, now, &ev);
}

static bool take_one(unsigned i)
{
    static struct switch_effect fx;
    const struct switch_effect *p = switch_effect(h[i].s);
    if (!p)
        return false;
    fx = *p;
    switch (fx.kind) {
    case SWITCH_FX_TABLE:
        switch_table_free(h[i].table);
        h[i].table = fx.table;
        break;
    case SWITCH_FX_ANNOUNCE: h[i].announced++; break;
    case SWITCH_FX_CONFLICT: h[i].conflicts++; break;
    case SWITCH_FX_SEND:
        h[i].sent++;
        assert_in_range(fx.len, 1, SWITCH_MESSAGE_MAX);
        for (unsigned k = 0; k < HOSTS; k++)
            if (vi_id_equal(&fx.peer, &h[k].id) && !h[k].deaf)
                say(k, &h[i].id, fx.data, fx.len);
        break;
    }
    return true;
}

/* Until nothing is under way any more. */
static void settle(void)
{
    for (bool any = true; any;) {
        any = false;
        for (unsigned i = 0; i < HOSTS; i++)
            while (take_one(i))
                any = true;
    }
}

static void pass(vi_time t)
{
    for (vi_time end = now + t; now < end;) {
        now += 100 * VI_MSEC;
        for (unsigned i = 0; i < HOSTS; i++)
            if (switch_deadline(h[i].s) <= now) {
                struct switch_event tick = {.kind = SWITCH_EV_TICK};
                switch_step(h[i].s, now, &tick);
            }
        settle();
    }
}

static void participants(unsigned i, unsigned n, const struct vi_id *ids)
{
    struct switch_event ev = {.kind = SWITCH_EV_PARTICIPANTS, .env = env, .peers = ids, .n = n};
    switch_step(h[i].s, now, &ev);
}

static void local(unsigned i, const uint8_t mac[6], uint64_t epoch, bool on)
{
    uint8_t macs[1][6];
    struct switch_event ev = {.kind = SWITCH_EV_LOCAL, .env = env, .guest = guest, .on = on, .epoch = epoch, .n = 1};
    memcpy(macs[0], mac, 6);
    ev.macs = (const uint8_t(*)[6])macs;
    switch_step(h[i].s, now, &ev);
}

/* -1: nobody; else the host that i's table sends frames for mac to (i itself: local). */
static int where(unsigned i, const uint8_t mac[6])
{
    for (unsigned e = 0; h[i].table && e < SWITCH_ENVS; e++) {
        const struct switch_env_table *t = h[i].table->envs[e];
        const struct switch_mac *m = t ? switch_table_find(t, mac) : NULL;
        if (!t || !vi_id_equal(&t->env, &env) || !m)
            continue;
        if (m->local)
            return (int)i;
        for (unsigned k = 0; k < HOSTS; k++)
            if (vi_id_equal(&t->peers[m->peer], &h[k].id))
                return t->number[m->peer] ? (int)k : -2; /* -2: it can't be sent to yet */
    }
    return -1;
}

static void open_env(unsigned i)
{
    struct switch_event ev = {.kind = SWITCH_EV_ENV, .env = env, .on = true};
    switch_step(h[i].s, now, &ev);
    assert_true(switch_has(h[i].s, &env));
}

/* All three open the environment; the first `n` take part and know each other. */
static void world(unsigned n)
{
    now = 100 * VI_SEC;
    memset(env.b, 0xe, sizeof env.b);
    memset(guest.b, 0x9, sizeof guest.b);
    for (unsigned i = 0; i < HOSTS; i++) {
        struct switch_config c = {.first_counter = 1000 * (i + 1), .key_of = key_of};
        uint8_t seed[32] = {(uint8_t)(i + 1)};
        memset(&h[i], 0, sizeof h[i]);
        crypto_sign_seed_keypair(h[i].pk, h[i].sk, seed);
        memset(h[i].id.b, (int)i + 1, sizeof h[i].id.b);
        c.self = h[i].id;
        h[i].s = switch_new(&c, now);
        assert_non_null(h[i].s);
        open_env(i);
    }
    for (unsigned i = 0; i < HOSTS; i++) {
        struct vi_id others[HOSTS];
        unsigned k = 0;
        for (unsigned j = 0; j < n; j++)
            if (j != i)
                others[k++] = h[j].id;
        participants(i, k, others);
    }
    settle();
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HOSTS; i++) {
        switch_table_free(h[i].table);
        switch_free(h[i].s);
        h[i].table = NULL;
        h[i].s = NULL;
    }
    return 0;
}

static size_t transfer(unsigned from, unsigned to, unsigned signer, uint64_t epoch, uint8_t out[TRANSFER_MAX])
{
    struct transfer t = {.guest = guest, .env = env, .from = h[from].id, .to = h[to].id, .epoch = epoch, .n_macs = 1};
    int n;
    memset(t.handover.b, 7, sizeof t.handover.b);
    memcpy(t.macs[0], mac1, 6);
    n = transfer_sign(&t, h[signer].sk, out, TRANSFER_MAX);
    assert_true(n > 0);
    return (size_t)n;
}

static void activate(unsigned i, const uint8_t *t, size_t len)
{
    struct switch_event ev = {.kind = SWITCH_EV_ACTIVATE, .data = t, .len = len};
    switch_step(h[i].s, now, &ev);
}

static void given(unsigned i, const uint8_t *t, size_t len)
{
    struct switch_event ev = {.kind = SWITCH_EV_GIVEN, .data = t, .len = len};
    switch_step(h[i].s, now, &ev);
}

/* A transfer as message 3. */
static size_t transfer_message(const uint8_t *t, size_t len, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 3);
    vi_write_uint(&w, 3);
    vi_write_id(&w, &env);
    vi_write_bin(&w, t, len);
    return w.len;
}

/* ---- */

static void stated_is_known(void **state)
{
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    assert_int_equal(where(0, mac1), 0);
    assert_int_equal(where(1, mac1), 0);
    assert_int_equal(where(2, mac1), 0);
    assert_int_equal(where(1, mac2), -1);
    local(0, mac1, 1, false);
    settle();
    assert_int_equal(where(0, mac1), -1);
    assert_int_equal(where(1, mac1), -1);
}

static void lost_statement_is_said_again(void **state)
{
    (void)state;
    world(3);
    h[1].deaf = true;
    local(0, mac1, 1, true);
    settle();
    assert_int_equal(where(1, mac1), -1);
    assert_int_equal(where(2, mac1), 0);
    h[1].deaf = false;
    pass(2 * VI_SEC);
    assert_int_equal(where(1, mac1), 0);
    h[0].sent = 0;
    pass(5 * VI_SEC); /* acknowledged: nothing more to say until the refresh */
    assert_true(h[0].sent <= 4);
}

static void second_statement_is_a_conflict(void **state)
{
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    memset(guest.b, 0x33, sizeof guest.b); /* another guest, the same MAC */
    local(1, mac1, 1, true);
    settle();
    assert_int_equal(where(2, mac1), 0);
    assert_true(h[1].conflicts + h[2].conflicts + h[0].conflicts > 0);
    assert_true(switch_conflicts(h[1].s) > 0);
    {
        struct vi_id whose;
        assert_true(switch_elsewhere(h[1].s, &env, mac1, &whose));
        assert_true(vi_id_equal(&whose, &h[0].id));
        assert_false(switch_elsewhere(h[0].s, &env, mac1, &whose)); /* it had it first */
        assert_false(switch_elsewhere(h[1].s, &env, mac2, &whose));
    }
}

static void who_takes_no_part_is_not_believed(void **state)
{
    (void)state;
    world(2);
    local(2, mac1, 1, true);
    settle();
    pass(12 * VI_SEC);
    assert_int_equal(where(0, mac1), -1);
    assert_int_equal(where(1, mac1), -1);
}

static void dead_hosts_macs_are_free(void **state)
{
    struct switch_event gone = {.kind = SWITCH_EV_PEER_GONE};
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    gone.peer = h[0].id;
    switch_step(h[2].s, now, &gone);
    settle();
    assert_int_equal(where(2, mac1), -1);
    assert_int_equal(where(1, mac1), 0);
}

static void transfer_moves_a_mac(void **state)
{
    uint8_t t[TRANSFER_MAX];
    size_t n;
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    n = transfer(0, 1, 0, 2, t);
    given(0, t, n);
    settle();
    assert_int_equal(where(0, mac1), 1); /* what still arrives is passed on */
    activate(1, t, n);
    settle();
    assert_int_equal(h[1].announced, 1);
    assert_int_equal(where(1, mac1), 1);
    assert_int_equal(where(2, mac1), 1);
    local(0, mac1, 1, false);
    pass(12 * VI_SEC);
    assert_int_equal(where(0, mac1), 1);
    assert_int_equal(where(2, mac1), 1);
    assert_int_equal(h[0].conflicts + h[1].conflicts + h[2].conflicts, 0);
}

/* The destination's record that it takes part is still under way: the transfer is enough, for a minute. */
static void destination_is_known_by_its_transfer(void **state)
{
    uint8_t t[TRANSFER_MAX];
    struct vi_id others[2];
    size_t n;
    (void)state;
    world(2); /* host 2 knows 0 and 1; they don't know of it */
    local(0, mac1, 1, true);
    settle();
    n = transfer(0, 2, 0, 2, t);
    given(0, t, n);
    settle();
    activate(2, t, n);
    settle();
    assert_int_equal(where(0, mac1), 2);
    assert_int_equal(where(1, mac1), 2);
    others[0] = h[0].id; /* another change of the participants does not throw it out … */
    participants(1, 1, others);
    settle();
    assert_int_equal(where(1, mac1), 2);
    others[1] = h[2].id; /* … and its record comes */
    participants(1, 2, others);
    now += 120 * VI_SEC;
    participants(1, 2, others);
    settle();
    assert_int_equal(where(1, mac1), 2);
    participants(0, 1, &h[1].id); /* here it never came: after a minute it takes no part */
    settle();
    assert_true(where(0, mac1) < 0);
}

static void bad_transfers_move_nothing(void **state)
{
    uint8_t t[TRANSFER_MAX], m[SWITCH_MESSAGE_MAX];
    size_t n, len;
    (void)state;
    world(2);
    local(0, mac1, 5, true);
    settle();
    n = transfer(0, 2, 1, 6, t); /* signed by another */
    len = transfer_message(t, n, m, sizeof m);
    say(1, &h[2].id, m, len);
    settle();
    assert_int_equal(where(1, mac1), 0);
    n = transfer(0, 2, 0, 5, t); /* an epoch that was */
    len = transfer_message(t, n, m, sizeof m);
    say(1, &h[2].id, m, len);
    settle();
    assert_int_equal(where(1, mac1), 0);
    n = transfer(2, 1, 2, 9, t); /* given by who never had it */
    len = transfer_message(t, n, m, sizeof m);
    say(0, &h[1].id, m, len);
    settle();
    assert_int_equal(where(0, mac1), 0);
    n = transfer(0, 2, 0, 6, t); /* good, but told by a third who takes no part */
    len = transfer_message(t, n, m, sizeof m);
    n = len;
    {
        struct vi_id stranger;
        memset(stranger.b, 0x77, sizeof stranger.b);
        say(1, &stranger, m, n);
    }
    settle();
    assert_int_equal(where(1, mac1), 0);
    for (size_t i = 0; i < len; i++) { /* every byte counts */
        m[i] ^= 1;
        say(1, &h[2].id, m, len);
        m[i] ^= 1;
    }
    settle();
    assert_int_equal(where(1, mac1), 0);
    say(1, &h[2].id, m, len); /* as it was: it moves */
    settle();
    assert_true(where(1, mac1) == 2 || where(1, mac1) == -2);
}

static void garbage_changes_nothing(void **state)
{
    uint8_t junk[64];
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    for (unsigned i = 0; i < 20000; i++) {
        randombytes_buf_deterministic(junk, sizeof junk, (const uint8_t[32]){(uint8_t)i, (uint8_t)(i >> 8)});
        say(1, &h[0].id, junk, i % (sizeof junk + 1));
    }
    settle();
    assert_int_equal(where(1, mac1), 0);
}

/* One environment's MACs beyond the table's size: the first stay, nothing breaks. */
static void full_table(void **state)
{
    (void)state;
    world(3);
    for (unsigned i = 0; i < SWITCH_LOCAL_MACS + 20; i++) {
        uint8_t m[6] = {2, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i};
        memset(guest.b, 0, sizeof guest.b);
        memcpy(guest.b, &i, sizeof i);
        local(0, m, 1, true);
        settle();
    }
    pass(3 * VI_SEC);
    assert_int_equal(where(1, (const uint8_t[6]){2, 0, 0, 0, 0, 0}), 0);
    assert_int_equal(where(1, (const uint8_t[6]){2, 0, 0, 0, 0, 255}), 0);
    assert_int_equal(where(1, (const uint8_t[6]){2, 0, 0, 0, 1, 5}), -1);
}

/* A MAC that was stated with a huge epoch, and dropped, is free again a minute later. */
static void epochs_cannot_block_for_ever(void **state)
{
    (void)state;
    world(3);
    local(0, mac1, UINT64_MAX - 1, true);
    settle();
    local(0, mac1, UINT64_MAX - 1, false);
    settle();
    local(1, mac1, 1, true);
    settle();
    assert_int_equal(where(2, mac1), -1); /* might be an echo */
    pass(75 * VI_SEC);
    assert_int_equal(where(2, mac1), 1);
}

static void closed_env_is_forgotten(void **state)
{
    struct switch_event ev = {.kind = SWITCH_EV_ENV, .on = false};
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    ev.env = env;
    switch_step(h[1].s, now, &ev);
    settle();
    assert_int_equal(where(1, mac1), -1);
    assert_false(switch_has(h[1].s, &env));
    open_env(1);
    participants(1, 1, &h[0].id);
    pass(12 * VI_SEC);
    assert_int_equal(where(1, mac1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(stated_is_known, tear_down),
        cmocka_unit_test_teardown(lost_statement_is_said_again, tear_down),
        cmocka_unit_test_teardown(second_statement_is_a_conflict, tear_down),
        cmocka_unit_test_teardown(who_takes_no_part_is_not_believed, tear_down),
        cmocka_unit_test_teardown(dead_hosts_macs_are_free, tear_down),
        cmocka_unit_test_teardown(transfer_moves_a_mac, tear_down),
        cmocka_unit_test_teardown(destination_is_known_by_its_transfer, tear_down),
        cmocka_unit_test_teardown(bad_transfers_move_nothing, tear_down),
        cmocka_unit_test_teardown(garbage_changes_nothing, tear_down),
        cmocka_unit_test_teardown(full_table, tear_down),
        cmocka_unit_test_teardown(epochs_cannot_block_for_ever, tear_down),
        cmocka_unit_test_teardown(closed_env_is_forgotten, tear_down),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
