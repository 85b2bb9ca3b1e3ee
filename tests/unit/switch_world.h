/* The virtual switch's core: three hosts wired together, with a wire that tests can cut or bend. For the tests of
 * overlay/switch*.c. */
#ifndef TESTS_UNIT_SWITCH_WORLD_H
#define TESTS_UNIT_SWITCH_WORLD_H

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
#define KEPT  16

struct host {
    struct vswitch *s;
    struct vi_id id;
    uint8_t pk[32], sk[64];
    struct switch_table *table;
    unsigned announced, conflicts, sent;
    enum switch_decision decided; /* the last conflict */
    unsigned n_kept;
    size_t kept_len[KEPT];
    uint8_t kept[KEPT][TRANSFER_MAX];
    bool deaf; /* what is sent to it is lost */
    bool mute; /* what it sends is lost */
};

static struct host h[HOSTS];
static struct vi_id env, guest;
static vi_time now;
static const uint8_t mac1[6] = {0, 0x16, 0x3e, 0, 0, 1}, mac2[6] = {0, 0x16, 0x3e, 0, 0, 2};

static inline bool key_of(void *arg, const struct vi_id *peer, uint8_t pk[32])
{
    (void)arg;
    for (unsigned i = 0; i < HOSTS; i++)
        if (vi_id_equal(peer, &h[i].id)) {
            memcpy(pk, h[i].pk, 32);
            return true;
        }
    return false;
}

static inline void say(unsigned to, const struct vi_id *from, const uint8_t *data, size_t len)
{
    struct switch_event ev = {.kind = SWITCH_EV_MESSAGE, .peer = *from, .data = data, .len = len};
    switch_step(h[to].s, now, &ev);
}

static inline bool take_one(unsigned i)
{
    static struct switch_effect fx;
    struct transfer kept;
    const struct switch_effect *p = switch_effect(h[i].s);
    if (!p)
        return false;
    fx = *p;
    switch (fx.kind) {
    case SWITCH_FX_TABLE:
        switch_table_free(h[i].table);
        h[i].table = fx.table;
        break;
    case SWITCH_FX_ANNOUNCE:
        h[i].announced++;
        break;
    case SWITCH_FX_CONFLICT:
        h[i].conflicts++;
        h[i].decided = fx.decided;
        break;
    case SWITCH_FX_KEEP:
        assert_true(h[i].n_kept < KEPT);
        assert_int_equal(transfer_decode(&kept, fx.data, fx.len), 0);
        assert_true(vi_id_equal(&fx.peer, &kept.guest)); /* one record a guest, not one a handover */
        h[i].kept_len[h[i].n_kept] = fx.len;
        memcpy(h[i].kept[h[i].n_kept++], fx.data, fx.len);
        break;
    case SWITCH_FX_SEND:
        h[i].sent++;
        assert_in_range(fx.len, 1, SWITCH_MESSAGE_MAX);
        for (unsigned k = 0; k < HOSTS; k++)
            if (vi_id_equal(&fx.peer, &h[k].id) && !h[k].deaf && !h[i].mute)
                say(k, &h[i].id, fx.data, fx.len);
        break;
    }
    return true;
}

/* Until nothing is under way any more. */
static inline void settle(void)
{
    for (bool any = true; any;) {
        any = false;
        for (unsigned i = 0; i < HOSTS; i++)
            while (take_one(i))
                any = true;
    }
}

static inline void pass(vi_time t)
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

static inline void participants(unsigned i, unsigned n, const struct vi_id *ids)
{
    struct switch_event ev = {.kind = SWITCH_EV_PARTICIPANTS, .env = env, .peers = ids, .n = n};
    switch_step(h[i].s, now, &ev);
}

static inline void local(unsigned i, const uint8_t mac[6], uint64_t epoch, bool on)
{
    uint8_t macs[1][6];
    struct switch_event ev = {
        .kind = SWITCH_EV_LOCAL, .env = env, .guest = guest, .on = on, .epoch = epoch, .n = 1};
    memcpy(macs[0], mac, 6);
    ev.macs = (const uint8_t(*)[6])macs;
    switch_step(h[i].s, now, &ev);
}

/* -1: nobody; else the host that i's table sends frames for mac to (i itself: local). */
static inline int where(unsigned i, const uint8_t mac[6])
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

static inline void open_env(unsigned i)
{
    struct switch_event ev = {.kind = SWITCH_EV_ENV, .env = env, .on = true};
    switch_step(h[i].s, now, &ev);
    assert_true(switch_has(h[i].s, &env));
}

/* All three open the environment; the first `n` take part and know each other. */
static inline void world(unsigned n)
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

static inline int tear_down(void **state)
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

static inline size_t transfer(unsigned from, unsigned to, unsigned signer, uint64_t epoch,
                       uint8_t out[TRANSFER_MAX])
{
    struct transfer t = {.guest = guest,
                         .env = env,
                         .from = h[from].id,
                         .to = h[to].id,
                         .epoch = epoch,
                         .n_macs = 1};
    int n;
    memset(t.handover.b, 7, sizeof t.handover.b);
    memcpy(t.macs[0], mac1, 6);
    n = transfer_sign(&t, h[signer].sk, out, TRANSFER_MAX);
    assert_true(n > 0);
    return (size_t)n;
}

static inline void activate(unsigned i, const uint8_t *t, size_t len)
{
    struct switch_event ev = {.kind = SWITCH_EV_ACTIVATE, .data = t, .len = len};
    switch_step(h[i].s, now, &ev);
}

static inline void given(unsigned i, const uint8_t *t, size_t len)
{
    struct switch_event ev = {.kind = SWITCH_EV_GIVEN, .data = t, .len = len};
    switch_step(h[i].s, now, &ev);
}

/* A transfer as message 3. */
static inline size_t transfer_message(const uint8_t *t, size_t len, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 3);
    vi_write_uint(&w, 3);
    vi_write_id(&w, &env);
    vi_write_bin(&w, t, len);
    return w.len;
}

#endif
