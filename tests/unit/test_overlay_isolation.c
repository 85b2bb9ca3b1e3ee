/* Two environments with the same MACs on the same two hosts, real data paths, real keys: nothing crosses, and what is
 * forged is dropped and counted by its own reason, in the environment that it was meant for. */
#include "tests/unit/datapath_pair.h"

#define E 0
#define F 1

static struct vi_id envs[2];
static int taps[2][2]; /* of side, environment: the test's ends */

static void table_of(struct side *s, const struct side *other, bool in_f, bool strict)
{
    struct switch_table *t = calloc(1, sizeof *t);
    assert_non_null(t);
    for (unsigned i = 0; i < 2; i++) {
        struct switch_env_table *e = t->envs[i] = calloc(1, sizeof *e);
        assert_non_null(e);
        e->env = envs[i];
        e->used = true;
        e->strict = strict;
        e->slot = i;
        e->serial = 100 + i;
        put_mac(e, s->mac, true);
        if (i == F && !in_f)
            continue; /* the other takes no part in it */
        e->n_peers = 1;
        e->peers[0] = other->id;
        e->number[0] = (uint16_t)(i + 1);
        put_mac(e, other->mac, false);
    }
    datapath_set_table(s->d, t);
}

static int set_up_two(void **state)
{
    struct side *const sides[2] = {&a, &b};
    int err = set_up(state);
    envs[E] = env;
    memset(envs[F].b, 0xf, sizeof envs[F].b);
    for (unsigned i = 0; i < 2; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
        taps[i][E] = sides[i]->tap;
        taps[i][F] = pair[0];
        datapath_set_tap(sides[i]->d, &envs[F], pair[1], true);
    }
    table_of(&a, &b, true, false);
    table_of(&b, &a, true, false);
    return err;
}

static int tear_down_two(void **state)
{
    int err = tear_down(state);
    close(taps[0][F]);
    close(taps[1][F]);
    return err;
}

static void put(int tap, const uint8_t to[6], const uint8_t from[6], uint8_t mark)
{
    uint8_t f[DATAPATH_VNET_HDR + 60] = {0};
    memcpy(f + DATAPATH_VNET_HDR, to, 6);
    memcpy(f + DATAPATH_VNET_HDR + 6, from, 6);
    memset(f + DATAPATH_VNET_HDR + 14, mark, 46);
    assert_int_equal(send(tap, f, sizeof f, 0), (ssize_t)sizeof f);
}

static void come(int tap, uint8_t mark)
{
    uint8_t f[256];
    assert_true(readable(tap, SOON));
    assert_int_equal(recv(tap, f, sizeof f, 0), DATAPATH_VNET_HDR + 60);
    assert_int_equal(f[DATAPATH_VNET_HDR + 20], mark);
}

static struct datapath_env_counters of(struct datapath *d, unsigned i)
{
    struct datapath_env_counters c;
    assert_true(datapath_env_counters(d, &envs[i], &c));
    return c;
}

/* Its counter in this environment reaches n. */
static void dropped(struct datapath *d, unsigned i, enum forward_why why, uint64_t n)
{
    for (int ms = 0; ms < SOON && of(d, i).dropped[why] < n; ms += 5)
        usleep(5000);
    assert_int_equal(of(d, i).dropped[why], n);
}

static void same_macs_in_both(void **state)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, nobody[6] = {2, 9, 9, 9, 9, 9};
    const uint8_t *const to[] = {b.mac, all, nobody};
    (void)state;
    for (unsigned k = 0; k < 3; k++)
        for (unsigned i = 0; i < 2; i++) {
            put(taps[0][i], to[k], a.mac, (uint8_t)(0x10 * (k + 1) + i));
            take_packet();
            pass_packet(&b);
            come(taps[1][i], (uint8_t)(0x10 * (k + 1) + i));
            assert_false(readable(taps[1][!i], 20));
        }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(of(a.d, i).tx_frames, 3);
        assert_int_equal(of(a.d, i).tx_bytes, 180);
        assert_int_equal(of(b.d, i).rx_frames, 3);
        assert_int_equal(of(b.d, i).rx_bytes, 180);
        assert_int_equal(of(b.d, i).tx_frames, 0);
    }
}

static void who_takes_no_part(void **state)
{
    (void)state;
    table_of(&b, &a, false, false);
    put(taps[0][F], b.mac, a.mac, 1); /* a believes that it takes part in F, b knows better */
    take_packet();
    pass_packet(&b);
    dropped(b.d, F, FORWARD_NOT_MEMBER, 1);
    assert_int_equal(of(b.d, E).dropped[FORWARD_NOT_MEMBER], 0);
    put(taps[0][E], b.mac, a.mac, 2);
    take_packet();
    pass_packet(&b);
    come(taps[1][E], 2);
    assert_false(readable(taps[1][F], 20));
    put(taps[1][F], a.mac, b.mac, 3); /* and in the other direction nothing leaves: nobody takes part */
    assert_false(readable(relay, 50));
}

/* A packet as a sends it, with the environment's number changed: sealed with the right key by a hostile host. */
static void forged_environment(void **state)
{
    struct datapath_counters c;
    struct switch_table *t;
    (void)state;
    table_of(&a, &b, true, false);
    t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->envs[0] = calloc(1, sizeof *t->envs[0]);
    assert_non_null(t->envs[0]);
    t->envs[0]->env = envs[E];
    t->envs[0]->used = true;
    t->envs[0]->n_peers = 1;
    t->envs[0]->peers[0] = b.id;
    put_mac(t->envs[0], a.mac, true);
    t->envs[0]->number[0] = 63; /* b has no such */
    datapath_set_table(a.d, t);
    put(taps[0][E], (const uint8_t[6]){0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, a.mac, 1);
    take_packet();
    pass_packet(&b);
    REACHES(b.d, rx_number, 1);
    datapath_counters(b.d, &c);
    assert_int_equal(c.rx_auth + c.rx_replay + c.rx_short, 0);
    assert_false(readable(taps[1][E], 20) || readable(taps[1][F], 1));
}

static void bent_packets_count_by_reason(void **state)
{
    uint8_t whole[4096];
    size_t len;
    (void)state;
    put(taps[0][E], b.mac, a.mac, 7);
    take_packet();
    len = packet_len;
    memcpy(whole, packet, len);
    packet[len - 1] ^= 1; /* altered */
    pass_packet(&b);
    REACHES(b.d, rx_auth, 1);
    memcpy(packet, whole, len);
    packet_len = len - 5; /* truncated */
    pass_packet(&b);
    REACHES(b.d, rx_auth, 2);
    packet_len = DATAPATH_OVERHEAD - 1; /* more so */
    pass_packet(&b);
    REACHES(b.d, rx_short, 1);
    packet_len = len;
    pass_packet(&b);
    come(taps[1][E], 7);
    pass_packet(&b); /* replayed */
    REACHES(b.d, rx_replay, 1);
    assert_false(readable(taps[1][E], 20) || readable(taps[1][F], 1));
}

static void stated_elsewhere(void **state)
{
    (void)state;
    put(taps[0][E], b.mac, b.mac, 1); /* a's guest with the MAC of b's: no transfer has brought it here */
    dropped(a.d, E, FORWARD_SPOOFED, 1);
    assert_int_equal(of(a.d, F).dropped[FORWARD_SPOOFED], 0);
    assert_false(readable(relay, 20));
    table_of(&b, &a, true, true); /* b's guests are strict; what a, the hostile host, lets out is looked at, too */
    table_of(&a, &b, true, false);
    {
        struct switch_table *t = calloc(1, sizeof *t);
        assert_non_null(t);
        t->envs[0] = calloc(1, sizeof *t->envs[0]);
        assert_non_null(t->envs[0]);
        t->envs[0]->env = envs[E];
        t->envs[0]->used = true;
        t->envs[0]->n_peers = 1;
        t->envs[0]->peers[0] = b.id;
        t->envs[0]->number[0] = 1;
        put_mac(t->envs[0], b.mac, true);
        datapath_set_table(a.d, t);
    }
    put(taps[0][E], (const uint8_t[6]){0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, b.mac, 2);
    take_packet();
    pass_packet(&b);
    dropped(b.d, E, FORWARD_SPOOFED, 1);
    assert_false(readable(taps[1][E], 20));
}

static void hostile_header(void **state)
{
    static const uint8_t big[65600]; /* a place that 16 bits don't tell */
    static const uint8_t far[VNET_HDR] = {VNET_NEEDS_CSUM, 0, 0, 0, 0, 0, 0xff, 0xff, 12, 0};
    struct vnet_frame v;
    uint8_t f[DATAPATH_VNET_HDR + 60] = {0};
    (void)state;
    memcpy(f + DATAPATH_VNET_HDR, b.mac, 6);
    memcpy(f + DATAPATH_VNET_HDR + 6, a.mac, 6);
    assert_int_not_equal(vnet_check(&v, far, big, sizeof big), 0);
    f[0] = 1;                /* a checksum that is to be completed … */
    f[6] = f[7] = 0xff;      /* … far behind the frame's end */
    assert_int_equal(send(taps[0][F], f, sizeof f, 0), (ssize_t)sizeof f);
    REACHES(a.d, tap_header, 1);
    assert_false(readable(relay, 20));
}

static void no_tap_is_a_reason(void **state)
{
    (void)state;
    datapath_set_tap(b.d, &envs[F], -1, false);
    put(taps[0][F], b.mac, a.mac, 1);
    take_packet();
    pass_packet(&b);
    dropped(b.d, F, FORWARD_NO_TAP, 1);
    assert_false(readable(taps[1][E], 20));
}

/* A header that has a word of the frame completed: what is judged is what would leave. */
static void header_that_writes_an_address(void **state)
{
    static const uint8_t ip[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 2};
    uint8_t f[DATAPATH_VNET_HDR + 60] = {0}, *frame = f + DATAPATH_VNET_HDR;
    struct switch_table *t = calloc(1, sizeof *t);
    struct vnet_header h = {.flags = VNET_NEEDS_CSUM, .csum_start = 58, .csum_offset = 0};
    (void)state;
    assert_non_null(t);
    t->envs[0] = calloc(1, sizeof *t->envs[0]);
    assert_non_null(t->envs[0]);
    t->envs[0]->env = envs[E];
    t->envs[0]->used = t->envs[0]->strict = true;
    t->envs[0]->serial = 7;
    t->envs[0]->n_peers = 1;
    t->envs[0]->peers[0] = b.id;
    t->envs[0]->number[0] = 1;
    put_mac(t->envs[0], a.mac, true);
    put_mac(t->envs[0], b.mac, false);
    switch_table_add_ip(t->envs[0], ip, b.mac, false, 0);
    datapath_set_table(a.d, t);
    memcpy(frame, b.mac, 6);
    memcpy(frame + 6, a.mac, 6);
    frame[12] = 8;
    frame[29] = 2; /* from 0.0.0.2, which nobody has */
    frame[58] = 0xf5;
    frame[59] = 0xff;
    vnet_write(f, &h);
    assert_int_equal(send(taps[0][E], f, sizeof f, 0), (ssize_t)sizeof f);
    take_packet();
    assert_int_equal(of(a.d, E).dropped[FORWARD_ADDRESS], 0);
    h.csum_start = 26; /* ~(2 + f5fd) makes it 10.0.0.2 */
    h.csum_offset = 0;
    frame[59] = 0xfd;
    vnet_write(f, &h);
    assert_int_equal(send(taps[0][E], f, sizeof f, 0), (ssize_t)sizeof f);
    dropped(a.d, E, FORWARD_ADDRESS, 1);
    assert_false(readable(relay, 20));
}

/* What another environment counted in the same place is not this one's. */
static void counters_begin_anew(void **state)
{
    struct switch_table *t;
    struct datapath_env_counters c;
    (void)state;
    put(taps[0][E], b.mac, a.mac, 1);
    take_packet();
    assert_int_equal(of(a.d, E).tx_frames, 1);
    t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->envs[0] = calloc(1, sizeof *t->envs[0]);
    assert_non_null(t->envs[0]);
    memset(t->envs[0]->env.b, 0xd, sizeof t->envs[0]->env.b);
    t->envs[0]->serial = 999;
    datapath_set_table(a.d, t);
    assert_false(datapath_env_counters(a.d, &envs[E], &c));
    memset(envs[E].b, 0xd, sizeof envs[E].b);
    assert_int_equal(of(a.d, E).tx_frames, 0);
    envs[E] = env;
    table_of(&a, &b, true, false);
    put(taps[0][E], b.mac, a.mac, 2);
    take_packet();
    assert_int_equal(of(a.d, E).tx_frames, 1 + 1); /* the same opening of it as before */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(same_macs_in_both, set_up_two, tear_down_two),
        cmocka_unit_test_setup_teardown(who_takes_no_part, set_up_two, tear_down_two),
        cmocka_unit_test_setup_teardown(forged_environment, set_up_two, tear_down_two),
        cmocka_unit_test_setup_teardown(bent_packets_count_by_reason, set_up_two, tear_down_two),
        cmocka_unit_test_setup_teardown(stated_elsewhere, set_up_two, tear_down_two),
        cmocka_unit_test_setup_teardown(hostile_header, set_up_two, tear_down_two),
        cmocka_unit_test_setup_teardown(header_that_writes_an_address, set_up_two, tear_down_two),
        cmocka_unit_test_setup_teardown(no_tap_is_a_reason, set_up_two, tear_down_two),
        cmocka_unit_test_setup_teardown(counters_begin_anew, set_up_two, tear_down_two),
    };
    if (sodium_init() < 0)
        return 1;
    own_namespace = make_namespace();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
