/* The virtual switch's core. */
#include "tests/unit/switch_world.h"

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

/* A host that was started again knows nothing: with its new session it is told at once. */
static void new_session_is_told_at_once(void **state)
{
    struct switch_event up = {.kind = SWITCH_EV_PEER_UP};
    const struct switch_effect *fx;
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    up.peer = h[1].id;
    switch_step(h[0].s, now, &up);
    fx = switch_effect(h[0].s);
    assert_non_null(fx);
    assert_int_equal(fx->kind, SWITCH_FX_SEND);
    assert_true(vi_id_equal(&fx->peer, &h[1].id));
    assert_null(switch_effect(h[0].s));
    memset(up.peer.b, 0x77, sizeof up.peer.b); /* one that takes no part */
    switch_step(h[0].s, now, &up);
    assert_null(switch_effect(h[0].s));
}

/* What was said before it could be taken is asked for. */
static void asks_for_what_it_missed(void **state)
{
    const struct switch_effect *fx;
    struct switch_config c = {.first_counter = 1u << 30, .key_of = key_of};
    (void)state;
    world(2);
    local(0, mac1, 1, true);
    settle();
    c.self = h[1].id;
    switch_free(h[1].s); /* started again, and the first host doesn't notice */
    switch_table_free(h[1].table);
    h[1].table = NULL;
    h[1].s = switch_new(&c, now);
    assert_non_null(h[1].s);
    open_env(1);
    participants(1, 1, &h[0].id);
    while ((fx = switch_effect(h[1].s))) /* what it says at once is lost */
        if (fx->kind == SWITCH_FX_TABLE)
            h[1].table = fx->table;
    assert_int_equal(where(1, mac1), -1);
    pass(2 * VI_SEC);
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

/* The destination's record that it takes part is still under way: the transfer is enough, for a
 * minute. */
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

/* The source's record is under way, too: the destination knows it by the transfer, tells it at once, and
 * asks for what it said before. */
static void source_is_known_by_its_transfer(void **state)
{
    uint8_t t[TRANSFER_MAX];
    size_t n;
    (void)state;
    world(2);
    participants(1, 0, NULL);
    local(0, mac1, 1, true);
    local(0, mac2, 1, true);
    settle();
    assert_int_equal(where(1, mac2), -1);
    n = transfer(0, 1, 0, 2, t);
    given(0, t, n);
    settle();
    activate(1, t, n);
    settle(); /* and no time passes */
    assert_int_equal(where(0, mac1), 1);
    assert_int_not_equal(h[1].table->envs[0]->n_peers, 0);
    assert_int_not_equal(h[1].table->envs[0]->number[0], 0);
    assert_int_not_equal(h[0].table->envs[0]->number[0], 0);
}

/* Nobody tells a host that takes no part what moves: it keeps nothing, and asks when it takes part again. */
static void away_forgets(void **state)
{
    struct switch_event away = {.kind = SWITCH_EV_AWAY, .env = env, .on = true};
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    assert_int_equal(where(1, mac1), 0);
    switch_step(h[1].s, now, &away);
    settle();
    assert_int_equal(where(1, mac1), -1);
    pass(12 * VI_SEC); /* statements that still come are not taken */
    assert_int_equal(where(1, mac1), -1);
    away.on = false;
    switch_step(h[1].s, now, &away);
    settle();
    assert_int_equal(where(1, mac1), 0);
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
        randombytes_buf_deterministic(junk, sizeof junk,
                                      (const uint8_t[32]){(uint8_t)i, (uint8_t)(i >> 8)});
        say(1, &h[0].id, junk, i % (sizeof junk + 1));
    }
    settle();
    assert_int_equal(where(1, mac1), 0);
}

/* ---- messages made by hand ---- */

/* A statement of n MACs, 2:0:0:tag:hi:lo, from `first` on. */
static size_t statement(uint8_t *out, uint64_t counter, unsigned part, unsigned parts, unsigned n,
                        uint8_t tag, unsigned first)
{
    struct vi_writer w;
    vi_writer_init(&w, out, SWITCH_MESSAGE_MAX);
    vi_write_array(&w, 7);
    vi_write_uint(&w, 1);
    vi_write_id(&w, &env);
    vi_write_uint(&w, 1);
    vi_write_uint(&w, counter);
    vi_write_uint(&w, part);
    vi_write_uint(&w, parts);
    vi_write_array(&w, n * 3);
    for (unsigned i = first; i < first + n; i++) {
        uint8_t m[6] = {2, 0, 0, tag, (uint8_t)(i >> 8), (uint8_t)i};
        vi_write_bin(&w, m, 6);
        vi_write_id(&w, &guest);
        vi_write_uint(&w, 1);
    }
    assert_int_equal(w.err, 0);
    return w.len;
}

static unsigned places(unsigned i)
{
    struct switch_place p;
    unsigned pos = 0, n = 0;
    while (switch_place_next(h[i].s, &env, &pos, &p))
        n++;
    return n;
}

static void nothing_came_of_it(unsigned i, unsigned n_places)
{
    assert_null(switch_effect(h[i].s));
    assert_int_equal(places(i), n_places);
}

/* Each kind of message, cut anywhere, or with a byte too many: nothing is believed, not even a
 * part. */
static void cut_messages_change_nothing(void **state)
{
    uint8_t m[SWITCH_MESSAGE_MAX + 1] = {0}, t[TRANSFER_MAX];
    size_t n, k;
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    assert_int_equal(places(1), 1);
    n = statement(m, UINT64_MAX, 0, 1, 5, 1, 0);
    for (size_t len = 0; len <= n + 1; len++) {
        if (len == n)
            continue;
        say(1, &h[0].id, m, len);
        nothing_came_of_it(1, 1);
    }
    k = transfer(0, 2, 0, 9, t);
    n = transfer_message(t, k, m, sizeof m);
    m[n] = 0;
    for (size_t len = 0; len <= n + 1; len++) {
        if (len == n)
            continue;
        say(1, &h[2].id, m, len);
        nothing_came_of_it(1, 1);
    }
    assert_int_equal(where(1, mac1), 0);
    n = statement(m, 500000, 0, 1, 5, 1,
                  0); /* a smaller number than those cut: they left none behind */
    say(1, &h[0].id, m, n);
    settle();
    assert_int_equal(places(1), 5);
    assert_int_equal(where(1, mac1), -1); /* no longer said */
}

/* Out of range, each in turn. */
static void bad_numbers_change_nothing(void **state)
{
    static const struct {
        unsigned part, parts;
    } bad[] = {{1, 1}, {0, 0}, {3, 2}, {32, 32}, {0, 33}, {200, 255}};
    uint8_t m[SWITCH_MESSAGE_MAX];
    size_t n;
    (void)state;
    world(3);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        n = statement(m, 500000, bad[i].part, bad[i].parts, 2, 1, 0);
        say(1, &h[0].id, m, n);
        nothing_came_of_it(1, 0);
    }
    n = statement(m, 500000, 0, 1, 2, 1, 0);
    m[19 + 1] = 0; /* after the array's head, the kind, and the id's 18 bytes: its number for it */
    say(1, &h[0].id, m, n);
    nothing_came_of_it(1, 0);
    m[19 + 1] = SWITCH_ENVS + 1;
    say(1, &h[0].id, m, n);
    nothing_came_of_it(1, 0);
    m[19 + 1] = 1;
    say(1, &h[0].id, m, n);
    assert_int_equal(places(1), 2); /* as it should be, it is believed */
    settle();
}

/* What was true once, said again by who recorded it. */
static void old_statements_are_not_believed(void **state)
{
    uint8_t old[SWITCH_MESSAGE_MAX], m[SWITCH_MESSAGE_MAX];
    size_t n_old, n;
    (void)state;
    world(3);
    n_old = statement(old, 500000, 0, 1, 1, 1, 0);
    say(1, &h[0].id, old, n_old);
    n = statement(m, 500001, 0, 1, 1, 1, 7);
    say(1, &h[0].id, m, n);
    settle();
    assert_int_equal(where(1, (const uint8_t[6]){2, 0, 0, 1, 0, 7}), 0);
    assert_int_equal(where(1, (const uint8_t[6]){2, 0, 0, 1, 0, 0}), -1);
    say(1, &h[0].id, old, n_old);
    nothing_came_of_it(1, 1);
    assert_int_equal(where(1, (const uint8_t[6]){2, 0, 0, 1, 0, 0}), -1);
}

/* A list in two parts: what was in neither goes only when both have come, in any order. */
static void parts_make_a_whole(void **state)
{
    static const uint8_t first[6] = {2, 0, 0, 9, 0, 0};
    uint8_t m[SWITCH_MESSAGE_MAX];
    (void)state;
    world(3);
    say(1, &h[0].id, m, statement(m, 500000, 0, 1, 1, 9, 0));
    settle();
    say(1, &h[0].id, m, statement(m, 500001, 1, 2, 24, 1, 24));
    settle();
    assert_int_equal(places(1), 25);
    assert_int_equal(where(1, first), 0);
    say(1, &h[0].id, m, statement(m, 500001, 0, 2, 24, 1, 0));
    settle();
    assert_int_equal(places(1), 48);
    assert_int_equal(where(1, first), -1);
}

/* More of everything than there is room for: the first stay, and nothing is written beyond. */
static void bounds_are_kept(void **state)
{
    struct vi_id many[SWITCH_PEERS + 9];
    struct switch_event ev = {.kind = SWITCH_EV_ENV, .on = true};
    uint8_t m[SWITCH_MESSAGE_MAX];
    (void)state;
    world(3);
    memset(many, 0, sizeof many);
    for (unsigned i = 0; i < SWITCH_PEERS + 9; i++) {
        many[i].b[0] = (uint8_t)i;
        many[i].b[1] = (uint8_t)(0x40 + (i >> 8));
    }
    participants(1, SWITCH_PEERS + 9, many);
    settle();
    assert_int_equal(h[1].table->envs[0]->n_peers, SWITCH_PEERS);
    for (unsigned p = 0; p < SWITCH_PEERS; p++) /* 6144 MACs */
        say(1, &many[p], m, statement(m, 500000, 0, 1, 24, (uint8_t)p, 0));
    settle();
    assert_int_equal(places(1), SWITCH_MACS);
    say(1, &many[SWITCH_PEERS + 1], m,
        statement(m, 500000, 0, 1, 1, 0xee, 77)); /* over the bound: unknown */
    settle();
    assert_int_equal(places(1), SWITCH_MACS);
    assert_true(where(1, (const uint8_t[6]){2, 0, 0, 0, 0, 0}) ==
                -1); /* at a host that isn't ours */
    assert_non_null(switch_table_find(h[1].table->envs[0], (const uint8_t[6]){2, 0, 0, 0, 0, 0}));
    assert_null(switch_table_find(h[1].table->envs[0], (const uint8_t[6]){2, 0, 0, 200, 0, 0}));
    say(1, &many[0], m,
        statement(m, 500001, 0, 1, 0, 0, 0)); /* one takes all back: there is room again */
    say(1, &many[200], m, statement(m, 500001, 0, 1, 24, 200, 0));
    settle();
    assert_int_equal(places(1), SWITCH_MACS);
    assert_non_null(switch_table_find(h[1].table->envs[0], (const uint8_t[6]){2, 0, 0, 200, 0, 0}));
    for (unsigned i = 1; i < SWITCH_ENVS + 3; i++) {
        memset(ev.env.b, (int)(0x60 + i), sizeof ev.env.b);
        switch_step(h[1].s, now, &ev);
        assert_int_equal(switch_has(h[1].s, &ev.env), i < SWITCH_ENVS);
    }
    settle();
}

/* Nobody takes the effects: they don't grow without end, the newest table is the one that waits. */
static void effects_wait_within_bounds(void **state)
{
    unsigned sends = 0, tables = 0;
    (void)state;
    world(3);
    for (unsigned i = 0; i < 2000; i++) {
        local(0, i % 2 ? mac1 : mac2, 1 + i, true);
        now += VI_SEC;
    }
    for (const struct switch_effect *fx; (fx = switch_effect(h[0].s));) {
        sends += fx->kind == SWITCH_FX_SEND;
        if (fx->kind != SWITCH_FX_TABLE)
            continue;
        tables++;
        switch_table_free(h[0].table);
        h[0].table = fx->table;
    }
    assert_int_equal(tables, 1);
    assert_int_equal(sends, 511);
    assert_int_equal(where(0, mac1), 0); /* the newest */
    assert_int_equal(where(0, mac2), -1);
    pass(12 * VI_SEC); /* what was dropped is said again */
    assert_int_equal(where(1, mac1), 0);
    assert_int_equal(where(1, mac2), -1);
}

/* Along a chain of hosts, each transfer signed by who had it; then all of it told again. */
static void chain_of_transfers(void **state)
{
    uint8_t t[3][TRANSFER_MAX], m[SWITCH_MESSAGE_MAX];
    size_t n[3];
    (void)state;
    world(3);
    local(0, mac1, 1, true);
    settle();
    for (unsigned i = 0; i < 3; i++) { /* 0 → 1 → 2 → 0 */
        n[i] = transfer(i, (i + 1) % 3, i, i + 2, t[i]);
        given(i, t[i], n[i]);
        activate((i + 1) % 3, t[i], n[i]);
        settle();
        for (unsigned k = 0; k < HOSTS; k++)
            assert_int_equal(where(k, mac1), (i + 1) % 3);
    }
    for (unsigned i = 0; i < 3; i++) {
        size_t len = transfer_message(t[i], n[i], m, sizeof m);
        for (unsigned k = 0; k < HOSTS; k++)
            for (unsigned by = 0; by < HOSTS; by++)
                say(k, &h[by].id, m, len);
    }
    settle();
    pass(12 * VI_SEC);
    for (unsigned k = 0; k < HOSTS; k++)
        assert_int_equal(where(k, mac1), 0);
    assert_int_equal(h[0].conflicts + h[1].conflicts + h[2].conflicts, 0);
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
        cmocka_unit_test_teardown(new_session_is_told_at_once, tear_down),
        cmocka_unit_test_teardown(asks_for_what_it_missed, tear_down),
        cmocka_unit_test_teardown(transfer_moves_a_mac, tear_down),
        cmocka_unit_test_teardown(destination_is_known_by_its_transfer, tear_down),
        cmocka_unit_test_teardown(bad_transfers_move_nothing, tear_down),
        cmocka_unit_test_teardown(garbage_changes_nothing, tear_down),
        cmocka_unit_test_teardown(cut_messages_change_nothing, tear_down),
        cmocka_unit_test_teardown(bad_numbers_change_nothing, tear_down),
        cmocka_unit_test_teardown(old_statements_are_not_believed, tear_down),
        cmocka_unit_test_teardown(parts_make_a_whole, tear_down),
        cmocka_unit_test_teardown(bounds_are_kept, tear_down),
        cmocka_unit_test_teardown(effects_wait_within_bounds, tear_down),
        cmocka_unit_test_teardown(chain_of_transfers, tear_down),
        cmocka_unit_test_teardown(full_table, tear_down),
        cmocka_unit_test_teardown(epochs_cannot_block_for_ever, tear_down),
        cmocka_unit_test_teardown(source_is_known_by_its_transfer, tear_down),
        cmocka_unit_test_teardown(away_forgets, tear_down),
        cmocka_unit_test_teardown(closed_env_is_forgotten, tear_down),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
