/* The data path: frames, parts, keys, tables, TAPs that come and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/datapath_pair.h"

/* ---- */

static void frames_pass(void **state)
{
    static const size_t sizes[] = {14, 60, 590, 1400, 1401, 1514, 2714, 2780};
    (void)state;
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct side *from = i % 2 ? &b : &a, *to = i % 2 ? &a : &b;
        write_frame(from, to, sizes[i]);
        take_packet();
        assert_true(packet_len <= PATH_BYTES + DATAPATH_OVERHEAD);
        pass_packet(to);
        if (sizes[i] > PATH_BYTES) {
            take_packet();
            pass_packet(to);
        }
        expect_frame(to, from, sizes[i]);
    }
    write_frame(&a, &b, DATAPATH_FRAME_MAX + 1);
    REACHES(a.d, too_long, 1);
}

static void halves_may_come_in_any_order(void **state)
{
    uint8_t first[4096];
    size_t n;
    (void)state;
    write_frame(&a, &b, 1514);
    take_packet();
    memcpy(first, packet, packet_len);
    n = packet_len;
    take_packet();
    pass_packet(&b);
    memcpy(packet, first, n);
    packet_len = n;
    pass_packet(&b);
    expect_frame(&b, &a, 1514);
}

static void replays_and_bent_packets_are_dropped(void **state)
{
    (void)state;
    write_frame(&a, &b, 100);
    take_packet();
    for (size_t i = MESH_HEADER; i < packet_len; i += 13) {
        packet[i] ^= 0x40;
        pass_packet(&b);
        packet[i] ^= 0x40;
    }
    REACHES(b.d, rx_auth, (packet_len - MESH_HEADER + 12) / 13);
    pass_packet(&b);
    expect_frame(&b, &a, 100);
    pass_packet(&b);
    pass_packet(&b);
    REACHES(b.d, rx_replay, 2);
    packet_len = 20;
    pass_packet(&b);
    REACHES(b.d, rx_short, 1);
    assert_false(readable(b.tap, 20));
}

static unsigned unknown_seen;

static void on_unknown(void *arg, const struct mesh_addr *from, const uint8_t *data, size_t len)
{
    (void)arg;
    assert_int_equal(from->family, 4);
    assert_true(len >= MESH_HEADER && data[0] == MESH_DATA);
    unknown_seen++;
}

static void unknown_sessions_are_told(void **state)
{
    struct mesh_header h = {.type = MESH_DATA, .queue = 1, .receiver = 999, .counter = 0};
    (void)state;
    unknown_seen = 0;
    memset(packet, 0, sizeof packet);
    packet_len = 100;
    mesh_header_write(packet, &h);
    for (unsigned i = 0; i < DATAPATH_UNKNOWN + 20; i++) {
        pass_packet(&b);
        REACHES(b.d, rx_unknown, i + 1);
    }
    datapath_collect(b.d, NULL, on_unknown, NULL);
    assert_int_equal(unknown_seen, DATAPATH_UNKNOWN); /* more are counted only */
    datapath_collect(b.d, NULL, on_unknown, NULL);
    assert_int_equal(unknown_seen, DATAPATH_UNKNOWN);
}

static void keys_are_replaced(void **state)
{
    struct mesh_keys k;
    struct mesh_header h;
    (void)state;
    k = keys_for(&a, 201, 101, 2);
    datapath_set_keys(b.d, &k);
    k = keys_for(&b, 101, 201, 2);
    datapath_set_keys(a.d, &k);
    write_frame(&a, &b, 200);
    take_packet();
    assert_int_equal(mesh_header_read(&h, packet, packet_len), 0);
    assert_int_equal(h.receiver, 201); /* the newest that may be sent with */
    pass_packet(&b);
    expect_frame(&b, &a, 200);
    k = (struct mesh_keys){.peer = b.id, .local = 101, .generation = 2, .withdrawn = true};
    datapath_set_keys(a.d, &k);
    write_frame(&a, &b, 201);
    take_packet();
    assert_int_equal(mesh_header_read(&h, packet, packet_len), 0);
    assert_int_equal(h.receiver, 200);
    k = (struct mesh_keys){.peer = b.id, .local = 100, .generation = 1, .withdrawn = true};
    datapath_set_keys(a.d, &k);
    write_frame(&a, &b, 202);
    REACHES(a.d, tx_no_session, 1);
}

static void old_keys_are_not_used(void **state)
{
    struct mesh_keys k = keys_for(&b, 100, 200, 3);
    (void)state;
    k.born = vi_clock_boottime() - MESH_REJECT_AFTER - VI_SEC;
    datapath_set_keys(a.d, &k);
    write_frame(&a, &b, 100);
    REACHES(a.d, tx_no_session, 1);
}

static void no_number_no_frame(void **state)
{
    (void)state;
    set_table(&a, &b, 0);
    write_frame(&a, &b, 100);
    REACHES(a.d, tx_no_number, 1);
    set_table(&a, &b, 7); /* one that the other doesn't have */
    write_frame(&a, &b, 100);
    take_packet();
    pass_packet(&b);
    REACHES(b.d, rx_number, 1);
    datapath_set_table(a.d, NULL);
    write_frame(&a, &b, 100); /* no table: nothing, and nothing breaks */
    set_table(&a, &b, 1);
    write_frame(&a, &b, 101);
    take_packet();
    pass_packet(&b);
}

static uint64_t carried;

static void on_used(void *arg, uint32_t local, uint64_t sent, uint64_t received,
                    const struct mesh_addr *from)
{
    (void)arg, (void)received, (void)from;
    assert_int_equal(local, 100);
    carried += sent;
}

/* Tables and keys are replaced while frames flow: none is lost, and the sanitizers see no race. */
static void replaced_under_load(void **state)
{
    (void)state;
    carried = 0;
    for (unsigned i = 0; i < 2000; i++) {
        struct mesh_keys k = keys_for(&b, 100, 200, 1);
        write_frame(&a, &b, 60 + i % 1000);
        if (i % 7 == 0)
            set_table(&a, &b, 1);
        if (i % 11 == 0)
            datapath_set_keys(a.d, &k);
        if (i % 13 == 0)
            datapath_collect(a.d, on_used, NULL, NULL);
        take_packet();
        pass_packet(&b);
        expect_frame(&b, &a, 60 + i % 1000);
    }
    datapath_collect(a.d, on_used, NULL, NULL);
    assert_int_equal(carried, 2000);
}

/* ---- TAPs that come and go ---- */

static int real_tap(const char *name, int *guest)
{
    int fd = open_queue(name, false);
    *guest = tap_guest(name);
    return fd;
}

static void through_real_taps(int from, int to, size_t len)
{
    uint8_t f[4096], got[4096];
    memcpy(f, b.mac, 6);
    memcpy(f + 6, a.mac, 6);
    f[12] = 0x88;
    f[13] = 0xb5;
    for (size_t i = 14; i < len; i++)
        f[i] = (uint8_t)(i * 11 + len);
    assert_int_equal(send(from, f, len, 0), (ssize_t)len);
    for (unsigned i = 0; i < (len > PATH_BYTES ? 2 : 1); i++) {
        take_packet();
        pass_packet(&b);
    }
    assert_true(readable(to, SOON));
    assert_int_equal(recv(to, got, sizeof got, 0), (ssize_t)len);
    assert_memory_equal(got, f, len);
}

static vi_time cpu_used(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (vi_time)t.tv_sec * VI_SEC + t.tv_nsec / 1000;
}

static void real_taps(void **state)
{
    int at_a, at_b;
    vi_time cpu;
    (void)state;
    if (!own_namespace)
        skip();
    datapath_set_tap(a.d, &env, real_tap("vta", &at_a), true);
    datapath_set_tap(b.d, &env, real_tap("vtb", &at_b), true);
    through_real_taps(at_a, at_b, 60);
    through_real_taps(at_a, at_b, 1514);
    through_real_taps(at_a, at_b, 2014);
    /* the administrator deletes one: told once, and its thread rests */
    close(at_a);
    assert_int_equal(system("ip link del vta"), 0);
    REACHES(a.d, tap_errors, 1);
    cpu = cpu_used();
    usleep(200000);
    assert_true(cpu_used() - cpu < 100 * VI_MSEC);
    datapath_set_tap(a.d, &env, real_tap("vta", &at_a), true); /* a new one serves again */
    through_real_taps(at_a, at_b, 1000);
    close(at_a);
    close(at_b);
}

static void tap_that_ends(void **state)
{
    int pair[2];
    vi_time cpu;
    (void)state;
    close(a.tap);
    REACHES(a.d, tap_errors, 1);
    cpu = cpu_used();
    usleep(200000);
    assert_true(cpu_used() - cpu < 100 * VI_MSEC);
    write_frame(&b, &a, 100); /* what comes for it is counted */
    take_packet();
    pass_packet(&a);
    REACHES(a.d, tap_errors, 2);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
                     0);
    a.tap = pair[0];
    datapath_set_tap(a.d, &env, pair[1], true);
    write_frame(&a, &b, 101);
    take_packet();
    pass_packet(&b);
    expect_frame(&b, &a, 101);
}

/* More half frames than are kept: the oldest go, are counted, and whole ones still come through. */
static void halves_without_end(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        write_frame(&a, &b, 1500);
        take_packet();
        pass_packet(&b);
        take_packet(); /* lost */
        REACHES(b.d, rx_fragments, i + 1);
    }
    REACHES(b.d, rx_incomplete, 36);
    write_frame(&a, &b, 1501);
    take_packet();
    pass_packet(&b);
    take_packet();
    pass_packet(&b);
    expect_frame(&b, &a, 1501);
}

/* A guest has left b for a third host, which here has a's other session: b passes its frames on, in
 * two parts when it must. */
static void passed_on(void **state)
{
    struct side at_b = b, third = {.id = {.b = {3}}}, nine = a;
    struct switch_table *t = calloc(1, sizeof *t);
    struct mesh_keys k = keys_for(&third, 400, 300, 1);
    static const size_t sizes[] = {500, 2000};
    (void)state;
    at_b.mac[5] = nine.mac[5] = 9;
    datapath_set_keys(b.d, &k);
    k = keys_for(&b, 300, 400, 1);
    datapath_set_keys(a.d, &k);
    assert_non_null(t);
    t->envs[0] = calloc(1, sizeof *t->envs[0]);
    assert_non_null(t->envs[0]);
    *t->envs[0] = (struct switch_env_table){
        .env = env, .used = true, .n_peers = 2, .peers = {third.id, a.id}, .number = {1, 1}};
    put_mac(t->envs[0], nine.mac, false);
    datapath_set_table(b.d, t);
    for (unsigned i = 0; i < 2; i++) {
        struct mesh_header h;
        uint8_t saved[2][4096];
        size_t len[2];
        set_table(&a, &at_b, 1);
        write_frame(&a, &at_b, sizes[i]);
        for (unsigned p = 0; p <= i; p++) {
            take_packet();
            memcpy(saved[p], packet, packet_len);
            len[p] = packet_len;
        }
        set_table(&nine, &b, 1); /* now it is known here */
        for (unsigned p = 0; p <= i; p++) {
            memcpy(packet, saved[p], len[p]);
            packet_len = len[p];
            pass_packet(&b);
        }
        for (unsigned p = 0; p <= i; p++) {
            take_packet();
            assert_int_equal(mesh_header_read(&h, packet, packet_len), 0);
            assert_int_equal(h.receiver, 300);
            pass_packet(&a);
        }
        expect_frame(&nine, &a, sizes[i]);
        assert_false(readable(b.tap, 20));
    }
    set_table(&a, &at_b,
              1); /* it left again, and who passed it on is said to have it: not a second time */
    write_frame(&a, &at_b, 100);
    take_packet();
    pass_packet(&b);
    take_packet();
    pass_packet(&a);
    REACHES(a.d, dropped[FORWARD_AGAIN], 1);
}

/* Superframes as a hostile guest may write them: what lies is dropped and counted, what doesn't goes out as frames. */
static void hostile_superframes(void **state)
{
    static const struct vnet_header bad[] = {
        {1, VNET_GSO_TCPV4, 54, 0, 34, 16},     {1, VNET_GSO_TCPV4, 54, 1, 34, 16},
        {1, VNET_GSO_TCPV4, 65535, 500, 34, 16}, {1, VNET_GSO_TCPV4, 54, 500, 65535, 16},
        {1, VNET_GSO_TCPV4, 54, 500, 34, 65535}, {0, VNET_GSO_TCPV4, 54, 500, 0, 0},
        {1, VNET_GSO_TCPV6, 54, 500, 34, 16},    {1, 3, 54, 500, 34, 16},
        {1, 77, 54, 500, 34, 16},                {1, VNET_GSO_NONE, 0, 0, 2000, 16},
        {1, VNET_GSO_NONE, 0, 0, 2, 2},
    };
    uint8_t f[VNET_HDR + 1554] = {0}, *e = f + VNET_HDR;
    struct vnet_header good = {1, VNET_GSO_TCPV4, 54, 500, 34, 16};
    struct vnet_frame v;
    size_t whole = 0;
    (void)state;
    memcpy(e, b.mac, 6);
    memcpy(e + 6, a.mac, 6);
    memcpy(e + 12, (uint8_t[]){8, 0, 0x45, 0, 1540 >> 8, 1540 & 255, 0, 0, 0x40, 0, 64, 6}, 12);
    e[46] = 0x50;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        vnet_write(f, &bad[i]);
        assert_int_equal(send(a.tap, f, sizeof f, 0), (ssize_t)sizeof f);
        REACHES(a.d, tap_header, i + 1);
    }
    for (size_t n = 1; n < VNET_HDR + 14; n += 5) { /* hardly a frame at all */
        vnet_write(f, &good);
        assert_int_equal(send(a.tap, f, n, 0), (ssize_t)n);
    }
    assert_false(readable(relay, 20));
    vnet_write(f, &good);
    assert_int_equal(send(a.tap, f, sizeof f, 0), (ssize_t)sizeof f);
    for (unsigned i = 0; i < 3; i++) {
        uint8_t got[VNET_HDR + 4096];
        ssize_t n;
        take_packet();
        assert_int_equal(packet_len, DATAPATH_OVERHEAD + 554);
        pass_packet(&b);
        assert_true(readable(b.tap, SOON));
        n = recv(b.tap, got, sizeof got, 0);
        assert_int_equal(n, VNET_HDR + 554);
        vnet_layers(&v, got + VNET_HDR, 554); /* a TAP without offloads: checksums are whole */
        assert_int_equal(vnet_fold(vnet_sum((uint32_t)vnet_pseudo(&v, got + VNET_HDR, 520), got + VNET_HDR + 34, 520)), 0xffff);
        whole++;
    }
    assert_int_equal(whole, 3);
}

/* Authentic packets of a host that takes no part, with a number that isn't given, or cut short. */
static void strangers_and_stumps(void **state)
{
    struct side stranger = a;
    (void)state;
    memset(stranger.id.b, 0x55, sizeof stranger.id.b);
    set_table(&b, &stranger, 1); /* a isn't among those who take part */
    write_frame(&a, &b, 100);
    take_packet();
    pass_packet(&b);
    REACHES(b.d, dropped[FORWARD_NOT_MEMBER], 1);
    set_table(&b, &a, 1);
    for (size_t cut = 1; cut < 60; cut += 7) {
        write_frame(&a, &b, 100);
        take_packet();
        packet_len -= cut;
        pass_packet(&b);
    }
    REACHES(b.d, rx_auth, 9);
    packet_len = DATAPATH_OVERHEAD - 1;
    pass_packet(&b);
    packet_len = 1;
    pass_packet(&b);
    REACHES(b.d, rx_short, 2);
    assert_false(readable(b.tap, 20));
}

/* A guest that has left b for a, which doesn't know it yet: a's own frames never come back. */
static void never_back(void **state)
{
    struct side at_b = b, at_a = a;
    uint8_t f[DATAPATH_VNET_HDR + 60] = {0};
    (void)state;
    at_a.mac[5] = at_b.mac[5] = 9; /* a believes it at b still, b knows it at a */
    set_table(&a, &at_b, 1);
    set_table(&b, &at_a, 1);
    memcpy(f + DATAPATH_VNET_HDR, at_b.mac, 6);
    memcpy(f + DATAPATH_VNET_HDR + 6, a.mac, 6);
    assert_int_equal(send(a.tap, f, sizeof f, 0), (ssize_t)sizeof f);
    take_packet();
    pass_packet(&b);
    REACHES(b.d, dropped[FORWARD_AGAIN], 1); /* it is at the one that it came from: never back */
    assert_false(readable(relay, 20));
}

static unsigned threads(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/task");
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void stop_leaves_nothing(void **state)
{
    uint8_t byte;
    unsigned before = 0, n = threads();
    (void)state;
    for (; n != before; usleep(5000)) { /* the last test's threads have ended, but may be listed for a moment */
        before = n;
        n = threads();
    }
    datapath_stop(a.d);
    a.d = NULL;
    for (int ms = 0; ms < SOON && threads() != n - 1; ms += 5)
        usleep(5000);
    assert_int_equal(threads(), n - 1);
    assert_int_equal(recv(a.tap, &byte, 1, 0), 0);
    datapath_set_tap(b.d, &env, -1, true);
    assert_int_equal(recv(b.tap, &byte, 1, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_pass, set_up, tear_down),
        cmocka_unit_test_setup_teardown(halves_may_come_in_any_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replays_and_bent_packets_are_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unknown_sessions_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_are_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_keys_are_not_used, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_number_no_frame, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replaced_under_load, set_up, tear_down),
        cmocka_unit_test_setup_teardown(real_taps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tap_that_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(halves_without_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(passed_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hostile_superframes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strangers_and_stumps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(never_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stop_leaves_nothing, set_up, tear_down),
    };
    if (sodium_init() < 0)
        return 1;
    own_namespace = make_namespace();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
