/* Two hosts state one MAC; guests that stay; MACs that nobody states. */
#include "tests/unit/switch_world.h"

#include "overlay/switch_internal.h"

static const uint8_t station[6] = {2, 0x55, 0, 0, 0, 1};

/* i starts again and knows nothing. */
static void starts_again(unsigned i)
{
    struct switch_config c = {.self = h[i].id, .first_counter = 1000000, .key_of = key_of};
    struct vi_id others[HOSTS];
    unsigned n = 0;
    switch_free(h[i].s);
    switch_table_free(h[i].table);
    h[i].table = NULL;
    h[i].s = switch_new(&c, now);
    assert_non_null(h[i].s);
    open_env(i);
    for (unsigned k = 0; k < HOSTS; k++)
        if (k != i)
            others[n++] = h[k].id;
    participants(i, n, others);
}

static void forget_conflicts(void)
{
    for (unsigned i = 0; i < HOSTS; i++) {
        h[i].conflicts = 0;
        h[i].decided = SWITCH_UNDECIDED;
    }
}

static void moves(unsigned from, unsigned to, uint64_t epoch)
{
    uint8_t t[TRANSFER_MAX];
    size_t len = transfer(from, to, from, epoch, t);
    given(from, t, len);
    activate(to, t, len);
    settle();
}

static unsigned disputes(unsigned i, struct switch_dispute *last)
{
    unsigned pos = 0, n = 0;
    while (switch_dispute_next(h[i].s, &env, &pos, last))
        n++;
    return n;
}

static void who_gave_it_away_loses(void **state)
{
    struct switch_dispute c;
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    moves(0, 1, 2);
    assert_int_equal(where(2, mac1), 1);
    assert_int_equal(h[0].conflicts + h[1].conflicts + h[2].conflicts, 0);
    starts_again(0); /* with a copy from before, and nothing that says so */
    local(0, mac1, 1, true);
    h[1].deaf = true; /* 0 hears of it from 2 */
    settle();
    assert_int_equal(where(2, mac1), 1);
    assert_int_equal(h[2].decided, SWITCH_STAYS);
    assert_int_equal(disputes(2, &c), 1);
    assert_true(vi_id_equal(&c.peer, &h[0].id));
    assert_true(vi_id_equal(&c.has, &h[1].id));
    assert_int_not_equal(where(0, mac1), 0);
    assert_int_equal(h[0].decided, SWITCH_STAYS);
    h[1].deaf = false;
    pass(40 * VI_SEC); /* it states it no more */
    assert_int_equal(disputes(0, &c) + disputes(1, &c) + disputes(2, &c), 0);
    for (unsigned i = 0; i < HOSTS; i++)
        assert_int_equal(where(i, mac1), 1);
}

static void newcomer_is_shown_the_transfers(void **state)
{
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    h[2].deaf = true;
    moves(0, 1, 2);
    moves(1, 0, 3);
    moves(0, 1, 4);
    h[0].deaf = true;
    starts_again(0); /* an old copy, and it hears nobody */
    local(0, mac1, 1, true);
    h[2].deaf = false;
    starts_again(2);
    forget_conflicts();
    while (take_one(0)) /* 2 hears the wrong one first */
        ;
    assert_int_equal(where(2, mac1), -1);
    while (take_one(2))
        ;
    assert_int_equal(where(2, mac1), 0);
    pass(15 * VI_SEC);
    assert_int_equal(where(2, mac1), 1);
    assert_true(h[2].conflicts > 0);
    assert_int_equal(h[2].decided, SWITCH_STAYS); /* it moved, and 0 still states it */
    h[0].deaf = false;
    pass(15 * VI_SEC);
    for (unsigned i = 0; i < HOSTS; i++)
        assert_int_equal(where(i, mac1), 1);
}

static void without_transfers_the_first_stays(void **state)
{
    struct switch_dispute c;
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    starts_again(1);
    h[1].deaf = true;
    local(1, mac1, 7, true);
    settle();
    pass(15 * VI_SEC);
    assert_int_equal(where(0, mac1), 0);
    assert_int_equal(where(2, mac1), 0);
    assert_int_equal(h[2].decided, SWITCH_UNDECIDED);
    assert_int_equal(disputes(2, &c), 1);
    assert_int_equal(h[2].conflicts, 1); /* reported once, not at each statement */
    assert_true(switch_conflicts(h[2].s) > 1);
}

static void old_transfers_of_other_guests_move_nothing(void **state)
{
    uint8_t t[TRANSFER_MAX], m[TRANSFER_MAX + 64];
    size_t len;
    (void)state;
    world(3);
    len = transfer(0, 1, 0, 9, t); /* of a guest that had the MAC before */
    memset(guest.b, 0x44, sizeof guest.b);
    local(0, mac1, 1, true);
    settle();
    len = transfer_message(t, len, m, sizeof m);
    for (unsigned i = 0; i < HOSTS; i++)
        say(i, &h[1].id, m, len);
    settle();
    for (unsigned i = 0; i < HOSTS; i++)
        assert_int_equal(where(i, mac1), 0);
}

static void nobody_else_signs_our_guests_away(void **state)
{
    uint8_t t[TRANSFER_MAX], m[TRANSFER_MAX + 64];
    size_t len;
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    len = transfer_message(t, transfer(0, 1, 1, 2, t), m, sizeof m); /* 1's signature */
    for (unsigned i = 0; i < HOSTS; i++)
        say(i, &h[1].id, m, len);
    settle();
    for (unsigned i = 0; i < HOSTS; i++)
        assert_int_equal(where(i, mac1), 0);
}

static void own_transfers_are_kept(void **state)
{
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    h[2].deaf = true;
    moves(0, 1, 2);
    pass(VI_SEC);
    assert_int_equal(h[0].n_kept, 1);
    assert_int_equal(h[1].n_kept, 1);
    assert_int_equal(h[2].n_kept, 0);
    starts_again(1); /* with what it kept */
    {
        struct switch_event ev = {.kind = SWITCH_EV_KEPT, .data = h[1].kept[0], .len = h[1].kept_len[0]};
        switch_step(h[1].s, now, &ev);
    }
    starts_again(0);
    h[0].deaf = true;
    local(0, mac1, 1, true);
    h[2].deaf = false;
    starts_again(2);
    while (take_one(0) || take_one(2))
        ;
    assert_int_equal(where(2, mac1), 0);
    local(1, mac1, 2, true);
    settle();
    pass(15 * VI_SEC);
    assert_int_equal(where(2, mac1), 1);
}

static void bounds_of_what_is_kept(void **state)
{
    uint8_t t[TRANSFER_MAX];
    struct vi_writer w;
    uint8_t ask[64];
    size_t len;
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    for (uint64_t epoch = 2; epoch < 40; epoch++)
        moves(epoch % 2 ? 1 : 0, epoch % 2 ? 0 : 1, epoch);
    len = transfer(0, 1, 0, 40, t);
    (void)len;
    vi_writer_init(&w, ask, sizeof ask);
    vi_write_array(&w, 3);
    vi_write_uint(&w, 6);
    vi_write_id(&w, &env);
    vi_write_bin(&w, mac1, 6);
    h[1].deaf = true; /* counts what 0 sends */
    h[0].sent = 0;
    say(0, &h[1].id, ask, w.len);
    settle();
    assert_int_equal(h[0].sent, 2 * SWITCH_CHAIN - 1);
    h[0].sent = 0;
    say(0, &h[1].id, ask, w.len); /* not again at once */
    now += VI_SEC;
    say(0, &(struct vi_id){.b = {0x77}}, ask, w.len); /* who takes no part isn't answered */
    say(0, &h[1].id, ask, w.len - 1);
    settle();
    assert_int_equal(h[0].sent, 0);
}

static void pins(unsigned i, uint64_t epoch)
{
    uint8_t macs[1][6];
    struct switch_event ev = {.kind = SWITCH_EV_LOCAL, .env = env, .guest = guest, .on = true, .epoch = epoch, .n = 1,
                              .pinned = true, .macs = (const uint8_t(*)[6])macs};
    memcpy(macs[0], mac1, 6);
    switch_step(h[i].s, now, &ev);
    settle();
    pass(VI_SEC);
}

static void gone(unsigned i, bool left)
{
    struct switch_event ev = {.kind = SWITCH_EV_PEER_GONE, .peer = h[i].id, .left = left};
    for (unsigned k = 0; k < HOSTS; k++)
        if (k != i)
            switch_step(h[k].s, now, &ev);
    h[i].deaf = h[i].mute = true;
    settle();
}

static void pinned_stays(void **state)
{
    (void)state;
    world(3);
    pins(0, 1);
    gone(0, false);
    assert_int_equal(where(2, mac1), -1);
    local(1, mac1, 1, true); /* not even here … */
    settle();
    assert_int_equal(where(1, mac1), -1);
    assert_true(h[1].conflicts > 0);
    starts_again(1); /* … and not by one that knows nothing */
    local(1, mac1, 5, true);
    settle();
    assert_int_equal(where(2, mac1), -1);
    assert_true(h[2].conflicts > 0);
    now += 3600 * VI_SEC;
    pass(12 * VI_SEC);
    assert_int_equal(where(2, mac1), 1);
}

static void pinned_ends(void **state)
{
    (void)state;
    world(3);
    pins(0, 1);
    moves(0, 1, 2); /* by its own host's will */
    assert_int_equal(where(2, mac1), 1);
    moves(1, 0, 3);
    pins(0, 3);
    gone(0, true);
    local(1, mac1, 4, true);
    settle();
    assert_int_equal(where(2, mac1), 1);
    pins(1, 4);
    local(1, mac1, 4, true); /* not pinned any more */
    settle();
    pass(VI_SEC);
    gone(1, false);
    h[0].deaf = h[0].mute = false;
    starts_again(0);
    local(0, mac1, 5, true);
    settle();
    assert_int_equal(where(2, mac1), 0);
}

/* A table full of the MACs of pinned guests whose host is gone has room again afterwards. */
static void pinned_makes_room(void **state)
{
    struct senv *e;
    (void)state;
    world(3);
    e = switch_env(h[2].s, &env);
    assert_non_null(e);
    for (unsigned i = 0; i < SWITCH_MACS; i++)
        e->stated[i] = (struct stated){.used = true, .gone = true, .pinned = true, .peer = h[0].id, .gone_at = now,
                                       .mac = {2, 1, 0, 0, (uint8_t)(i >> 8), (uint8_t)i}};
    local(1, mac2, 1, true);
    settle();
    pass(12 * VI_SEC);
    assert_int_equal(where(2, mac2), -1);
    now += 3600 * VI_SEC;
    pass(12 * VI_SEC);
    assert_int_equal(where(2, mac2), 1);
}

static void heard(unsigned i, const uint8_t mac[6])
{
    struct switch_event ev = {.kind = SWITCH_EV_LEARNED, .env = env};
    memcpy(ev.mac, mac, 6);
    switch_step(h[i].s, now, &ev);
}

static void stations_are_learned(void **state)
{
    struct switch_place p;
    unsigned pos = 0, found = 0;
    (void)state;
    world(3);
    heard(0, station);
    pass(VI_SEC);
    for (unsigned i = 0; i < HOSTS; i++)
        assert_int_equal(where(i, station), 0);
    while (switch_place_next(h[1].s, &env, &pos, &p))
        found += p.learned && !memcmp(p.mac, station, 6) && vi_id_equal(&p.peer, &h[0].id);
    assert_int_equal(found, 1);
    local(1, station, 1, true); /* stated: that holds */
    settle();
    assert_int_equal(where(2, station), 1);
    heard(0, station);
    pass(VI_SEC);
    assert_int_equal(where(2, station), 1);
    assert_int_equal(where(0, station), 1);
    pos = found = 0;
    while (switch_place_next(h[2].s, &env, &pos, &p))
        found += !memcmp(p.mac, station, 6);
    assert_int_equal(found, 1); /* and is told once */
    local(1, station, 1, false);
    settle();
    heard(0, station);
    pass(VI_SEC);
    assert_int_equal(where(2, station), 0);
    pass(300 * VI_SEC); /* nobody hears it any more */
    for (unsigned i = 0; i < HOSTS; i++)
        assert_int_equal(where(i, station), -1);
}

static void station_goes_elsewhere(void **state)
{
    (void)state;
    world(3);
    heard(0, station);
    pass(40 * VI_SEC);
    heard(1, station);
    pass(45 * VI_SEC);
    for (unsigned i = 0; i < HOSTS; i++)
        assert_int_equal(where(i, station), 1);
    h[1].deaf = true;
    gone(1, false);
    for (unsigned k = 0; k < HOSTS; k += 2) { /* and is told by nobody */
        struct vi_id other = h[k ? 0 : 2].id;
        participants(k, 1, &other);
    }
    settle();
    assert_int_equal(where(2, station), -1);
}

static void learning_is_bounded(void **state)
{
    uint8_t mac[6] = {2, 0x66};
    struct switch_event strict = {.kind = SWITCH_EV_ENV, .env = env, .on = true, .strict = true};
    unsigned known = 0;
    (void)state;
    world(3);
    for (unsigned i = 0; i < 1000; i++) {
        mac[4] = (uint8_t)(i >> 8);
        mac[5] = (uint8_t)i;
        heard(0, mac);
    }
    heard(0, (const uint8_t[6]){1, 2, 3, 4, 5, 6}); /* a group's */
    pass(2 * VI_SEC);
    for (unsigned i = 0; i < 1000; i++) {
        mac[4] = (uint8_t)(i >> 8);
        mac[5] = (uint8_t)i;
        known += where(1, mac) == 0;
    }
    assert_int_equal(known, SWITCH_LEARNED_OWN);
    switch_step(h[2].s, now, &strict);
    heard(2, station);
    pass(2 * VI_SEC);
    assert_int_equal(where(2, station), -1);
}

static void away_is_in_the_table(void **state)
{
    struct switch_event ev = {.kind = SWITCH_EV_AWAY, .env = env, .on = true};
    (void)state;
    world(3);
    settle();
    assert_false(h[0].table->envs[0]->away);
    switch_step(h[0].s, now, &ev);
    settle();
    assert_true(h[0].table->envs[0]->away);
    local(0, mac1, 1, true); /* a guest has just come */
    settle();
    assert_false(h[0].table->envs[0]->away);
    local(0, mac1, 1, false);
    settle();
    assert_true(h[0].table->envs[0]->away);
    ev.on = false;
    switch_step(h[0].s, now, &ev);
    settle();
    assert_false(h[0].table->envs[0]->away);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(who_gave_it_away_loses, tear_down),
        cmocka_unit_test_teardown(newcomer_is_shown_the_transfers, tear_down),
        cmocka_unit_test_teardown(without_transfers_the_first_stays, tear_down),
        cmocka_unit_test_teardown(old_transfers_of_other_guests_move_nothing, tear_down),
        cmocka_unit_test_teardown(nobody_else_signs_our_guests_away, tear_down),
        cmocka_unit_test_teardown(own_transfers_are_kept, tear_down),
        cmocka_unit_test_teardown(bounds_of_what_is_kept, tear_down),
        cmocka_unit_test_teardown(pinned_stays, tear_down),
        cmocka_unit_test_teardown(pinned_ends, tear_down),
        cmocka_unit_test_teardown(pinned_makes_room, tear_down),
        cmocka_unit_test_teardown(stations_are_learned, tear_down),
        cmocka_unit_test_teardown(station_goes_elsewhere, tear_down),
        cmocka_unit_test_teardown(learning_is_bounded, tear_down),
        cmocka_unit_test_teardown(away_is_in_the_table, tear_down),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
