/* The data path: paths whose size is found out, offload that is turned off, several threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/wait.h>

#include "overlay/flows.h"
#include "tests/unit/datapath_pair.h"

/* ---- paths that are found out, with a network that the relay plays ---- */

static size_t carries;   /* the relay drops what is larger */
static unsigned bends;   /* one in so many data packets is bent; 0: none */

/* Passes on what there is, and waits a little for more. */
static void play_network(int ms)
{
    struct pollfd p = {.fd = relay, .events = POLLIN};
    static unsigned n;
    while (poll(&p, 1, ms) == 1) {
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        static uint8_t big[65536];
        ssize_t got = recvfrom(relay, big, sizeof big, MSG_DONTWAIT, (struct sockaddr *)&from, &len);
        struct side *to = ntohs(from.sin_port) == a.port ? &b : &a;
        if (got <= 0 || (size_t)got > carries)
            continue;
        if (bends && got > 200 && n++ % bends == 0)
            big[50] ^= 1;
        from.sin_port = htons(to->port);
        (void)sendto(relay, big, (size_t)got, 0, (struct sockaddr *)&from, sizeof from);
        ms = 0;
    }
}

static int set_up_found(void **state)
{
    struct mesh_keys k;
    (void)state;
    found_out = true;
    carries = 65536;
    bends = 0;
    set_up(NULL);
    found_out = false;
    k = keys_for(&b, 100, 200, 1); /* said again: nothing changes */
    datapath_set_keys(a.d, &k);
    return 0;
}

static unsigned bytes_to(struct side *s, const struct side *peer)
{
    struct datapath_path p;
    assert_true(datapath_path(s->d, &peer->id, &p));
    return p.bytes;
}

/* Frames go both ways until the path from a carries between least and most bytes. */
static void until_path(unsigned least, unsigned most)
{
    uint8_t f[DATAPATH_VNET_HDR + DATAPATH_FRAME_MAX];
    for (unsigned i = 0; i < 2000; i++) {
        unsigned bytes = bytes_to(&a, &b);
        if (bytes >= least && bytes <= most)
            return;
        write_frame(&a, &b, 100);
        play_network(10);
        usleep(5000);
        while (recv(b.tap, f, sizeof f, MSG_DONTWAIT) > 0)
            ;
    }
    fail_msg("the path carries %u bytes", bytes_to(&a, &b));
}

/* Small frames of before may come at any time: the thread that writes them doesn't wait for us. */
static void crosses(size_t len)
{
    uint8_t f[DATAPATH_VNET_HDR + DATAPATH_FRAME_MAX + 1];
    ssize_t n = 0;
    write_frame(&a, &b, len);
    for (unsigned i = 0; i < 1000 && n <= DATAPATH_VNET_HDR + 100; i++) {
        play_network(10);
        n = recv(b.tap, f, sizeof f, MSG_DONTWAIT | MSG_PEEK);
        if (n == DATAPATH_VNET_HDR + 100)
            (void)recv(b.tap, f, sizeof f, 0);
    }
    expect_frame(&b, &a, len);
}

/* What the path carries is found; when it carries less all at once, that is found, too, and frames pass in parts. */
static void path_is_found_and_heals(void **state)
{
    (void)state;
    assert_int_equal(bytes_to(&a, &b), 1232);
    carries = 1472;
    until_path(1464, 1472);
    crosses(1514);
    crosses(9014);
    carries = 1300; /* nobody says so */
    until_path(1292, 1300);
    crosses(1514);
    REACHES(a.d, black_holes, 1);
    carries = 600;
    until_path(548, 600);
    crosses(1514);
}

static void jumbo_frames_where_they_fit(void **state)
{
    (void)state;
    until_path(DATAPATH_FRAME_MAX, 65536); /* loopback carries everything */
    crosses(9014);
    crosses(DATAPATH_FRAME_MAX);
}

/* Datagrams spoil on the way: both ends turn off what may be the reason. */
static void spoilt_datagrams_turn_offload_off(void **state)
{
    struct datapath_path p = {.gso = false};
    struct datapath_offload o;
    struct datapath_counters c = {.gro_off = 0};
    uint8_t f[4096];
    (void)state;
    datapath_selftest(&o);
    if (!o.gso || !o.gro)
        skip();
    until_path(1400, 65536);
    assert_true(datapath_path(a.d, &b.id, &p) && p.gso);
    bends = 3;
    for (unsigned i = 0; i < 5000 && (p.gso || !c.gro_off); i++) {
        for (unsigned k = 0; k < 10; k++)
            write_frame(&a, &b, 1000);
        play_network(5);
        usleep(2000);
        while (recv(b.tap, f, sizeof f, MSG_DONTWAIT) > 0)
            ;
        datapath_counters(b.d, &c);
        assert_true(datapath_path(a.d, &b.id, &p));
    }
    assert_false(p.gso);
    assert_int_equal(c.gro_off, 1);
    bends = 0;
    while (recv(b.tap, f, sizeof f, MSG_DONTWAIT) > 0)
        ;
    write_frame(&a, &b, 1200); /* and all goes on */
    for (unsigned i = 0; i < 2000; i++) {
        play_network(5);
        if (recv(b.tap, f, sizeof f, MSG_DONTWAIT) == DATAPATH_VNET_HDR + 1200)
            return;
    }
    fail();
}

/* Where loopback is down the kernel can't be asked: then it is believed, until it fails in earnest. */
static void selftest_without_loopback(void **state)
{
    int status;
    pid_t child;
    (void)state;
    if (!own_namespace)
        skip();
    child = fork();
    if (child == 0) {
        struct datapath_offload o = {false, false};
        if (unshare(CLONE_NEWNET))
            _exit(2);
        datapath_selftest(&o);
        _exit(o.gso && o.gro ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ---- superframes, with several threads ---- */

#define THREADS 3
#define QUEUES  (THREADS * DATAPATH_LANES)

static struct udp_sockets wide[2];

/* Two data paths of several threads, their sockets facing each other, real TAPs with as many queues. */
static void open_wide(struct side *s, uint8_t n, const char *tap, int *guest)
{
    struct datapath_config c = {.wake = on_wake, .threads = THREADS, .lanes = DATAPATH_LANES, .path_bytes = 1472};
    char why[200];
    memset(s, 0, sizeof *s);
    memset(s->id.b, n, sizeof s->id.b);
    s->mac[0] = 2;
    s->mac[5] = n;
    s->tap = -1;
    close(udp_socket(&s->port));
    assert_int_equal(udp_open(&wide[n - 1], "127.0.0.1", s->port, QUEUES, why, sizeof why), 0);
    memcpy(c.udp_fd, wide[n - 1].data, sizeof c.udp_fd);
    s->d = datapath_start(&c);
    assert_non_null(s->d);
    for (unsigned i = 0; i < THREADS; i++) {
        int fd = open_queue(tap, true);
        if (i == 0)
            datapath_set_tap(s->d, &env, fd, true);
        else
            datapath_add_queue(s->d, &env, fd);
    }
    datapath_add_queue(s->d, &env, open_queue(tap, true)); /* one too many: closed */
    *guest = tap_guest(tap);
}

static int close_wide(void **state)
{
    (void)state;
    datapath_stop(a.d);
    datapath_stop(b.d);
    udp_close(&wide[0]);
    udp_close(&wide[1]);
    return 0;
}

static void wide_keys(uint64_t generation)
{
    uint32_t g = (uint32_t)generation;
    struct mesh_keys k = keys_for(&b, 100 + 2 * g, 101 + 2 * g, generation);
    k.tx_queues = k.rx_queues = QUEUES + 1;
    k.addr.port = b.port;
    datapath_set_keys(a.d, &k);
    k = keys_for(&a, 101 + 2 * g, 100 + 2 * g, generation);
    k.tx_queues = k.rx_queues = QUEUES + 1;
    k.addr.port = a.port;
    datapath_set_keys(b.d, &k);
}

/* A TCP superframe of a flow, as the guest's kernel hands it over. */
static size_t superframe(uint8_t *out, unsigned flow, uint32_t seq, size_t payload)
{
    static const uint8_t start[54] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0,
                                      10, 9, 0, 1, 10, 9, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0x50, 0x10, 1, 0};
    struct vnet_header h = {.flags = 1, .gso_type = VNET_GSO_TCPV4, .hdr_len = 54, .gso_size = 1000, .csum_start = 34,
                            .csum_offset = 16};
    uint8_t *f = out + VNET_HDR;
    struct vnet_frame v;
    uint16_t sum;
    vnet_write(out, &h);
    memcpy(f, start, sizeof start);
    f[16] = (uint8_t)((payload + 40) >> 8);
    f[17] = (uint8_t)(payload + 40);
    f[34] = 0x40;
    f[35] = (uint8_t)flow;
    for (unsigned i = 0; i < 4; i++)
        f[38 + i] = (uint8_t)(seq >> (24 - 8 * i));
    sum = (uint16_t)~vnet_fold(vnet_sum(0, f + 14, 20));
    f[24] = (uint8_t)(sum >> 8);
    f[25] = (uint8_t)sum;
    vnet_layers(&v, f, payload + 54);
    sum = vnet_pseudo(&v, f, payload + 20);
    f[50] = (uint8_t)(sum >> 8);
    f[51] = (uint8_t)sum;
    for (size_t i = 0; i < payload; i++)
        f[54 + i] = (uint8_t)((seq + i) * 31 >> 3);
    return VNET_HDR + 54 + payload;
}

/* Many flows of superframes through several threads, while keys and tables are replaced: each flow's bytes arrive whole
 * and in order, though some are lost when a queue is full. */
static void flows_keep_their_order(void **state)
{
    static uint8_t out[VNET_HDR + 65536], in[VNET_HDR + 70000];
    static uint32_t next[8], sent[8];
    struct datapath_counters c;
    unsigned frames = 0, big = 0;
    int at_a, at_b, one = 1;
    (void)state;
    if (!own_namespace) {
        open_side(&a, 1); /* something to close */
        open_side(&b, 2);
        skip();
    }
    memset(env.b, 0xe, sizeof env.b);
    memset(next, 0, sizeof next);
    memset(sent, 0, sizeof sent);
    open_wide(&a, 1, "vwa", &at_a);
    open_wide(&b, 2, "vwb", &at_b);
    assert_int_equal(setsockopt(at_a, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one), 0);
    assert_int_equal(setsockopt(at_b, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one), 0);
    wide_keys(1);
    set_table(&a, &b, 1);
    set_table(&b, &a, 1);
    for (unsigned i = 0; i < 600; i++) {
        unsigned flow = i % 8;
        size_t payload = 1500 + i * 37 % 30000, n = superframe(out, flow, sent[flow], payload);
        if (i % 20 == 19) {
            wide_keys(2 + i / 20);
            set_table(&a, &b, 1);
        }
        if (send(at_a, out, n, 0) != (ssize_t)n)
            continue; /* the queue is full: as on any network */
        sent[flow] += (uint32_t)payload;
        while (readable(at_b, i % 4 == 3 ? 20 : 0)) {
            ssize_t got = recv(at_b, in, sizeof in, 0);
            const uint8_t *f = in + VNET_HDR;
            uint32_t seq;
            assert_true(got > VNET_HDR + 54);
            if (memcmp(f, out + VNET_HDR, 14))
                continue;
            flow = f[35];
            seq = (uint32_t)f[38] << 24 | (uint32_t)f[39] << 16 | (uint32_t)f[40] << 8 | f[41];
            assert_true(flow < 8 && seq >= next[flow]); /* never back */
            for (size_t k = 0; k < (size_t)got - VNET_HDR - 54; k++)
                assert_int_equal(f[54 + k], (uint8_t)((seq + k) * 31 >> 3));
            next[flow] = seq + (uint32_t)got - VNET_HDR - 54;
            frames++;
            big += got > 3000;
        }
    }
    assert_true(frames > 100 && big > 50); /* they are joined again */
    datapath_counters(b.d, &c);
    assert_int_equal(c.rx_auth + c.rx_replay + c.rx_stray, 0);
    close(at_a);
    close(at_b);
}

/* No two packets are ever sealed with one key and nonce: not by two queues, and not by one across a rekey. */
static void no_nonce_twice(void **state)
{
    enum { MANY = 3000 };
    static struct mesh_header seen[MANY];
    uint8_t key[2][MESH_QUEUES][NOISE_KEY];
    struct datapath_config c = {.wake = on_wake, .threads = THREADS, .lanes = DATAPATH_LANES, .path_bytes = 1472};
    int taps[THREADS], sinks[QUEUES];
    unsigned n = 0, queues = 0;
    struct mesh_keys k;
    (void)state;
    for (unsigned g = 0; g < 2; g++) /* every queue of every session has a key of its own */
        for (uint16_t q = 0; q < MESH_QUEUES; q++) {
            k = keys_for(&b, 100, 200, g + 1);
            mesh_queue_key(k.tx_base, k.cipher, q, key[g][q]);
            for (unsigned i = 0; i < g * MESH_QUEUES + q; i++)
                assert_memory_not_equal(key[g][q], key[i / MESH_QUEUES][i % MESH_QUEUES], NOISE_KEY);
        }
    datapath_stop(a.d);
    for (unsigned i = 0; i < QUEUES; i++)
        c.udp_fd[i] = sinks[i] = i ? dup(a.udp) : a.udp;
    a.d = datapath_start(&c);
    for (unsigned i = 0; i < THREADS; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
        taps[i] = pair[0];
        if (i == 0)
            datapath_set_tap(a.d, &env, pair[1], false);
        else
            datapath_add_queue(a.d, &env, pair[1]);
    }
    set_table(&a, &b, 1);
    while (n < MANY) {
        k = keys_for(&b, 100 + n / 1000, 200 + n / 1000, 1 + n / 1000);
        k.tx_queues = QUEUES + 1;
        datapath_set_keys(a.d, &k);
        for (unsigned i = 0; i < 30; i++) {
            struct side via = a;
            via.tap = taps[i % THREADS];
            write_frame(&via, &b, i < 15 ? 60 + i : 1400); /* light flows, and a heavy one */
        }
        for (unsigned i = 0; i < 30 && n < MANY; i++) {
            take_packet();
            assert_int_equal(mesh_header_read(&seen[n++], packet, packet_len), 0);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        queues |= 1u << seen[i].queue;
        for (unsigned j = 0; j < i; j++)
            assert_false(seen[i].receiver == seen[j].receiver && seen[i].queue == seen[j].queue &&
                         seen[i].counter == seen[j].counter);
    }
    assert_int_equal(queues, 2 | 4 | 8 | 16 | 32 | 64); /* all did send */
    for (unsigned i = 0; i < THREADS; i++)
        close(taps[i]);
    datapath_stop(a.d);
    for (unsigned i = 1; i < QUEUES; i++)
        close(sinks[i]);
    open_side(&a, 1); /* for the tear-down */
}

/* Frames of a flow that carries little leave in the light lane and are read first, however many others wait; a heavy
 * flow's leave in order, in the other one. */
static void light_frames_go_first(void **state)
{
    struct datapath_config c = {.wake = on_wake, .lanes = DATAPATH_LANES, .path_bytes = PATH_BYTES + DATAPATH_OVERHEAD};
    uint8_t other[DATAPATH_VNET_HDR + 100] = {0}; /* of another flow, by its type */
    int pair[2], second;
    unsigned heavy = 0, light = 0, before = 99;
    struct mesh_keys k = keys_for(&b, 100, 200, 9);
    (void)state;
    datapath_stop(a.d);
    close(a.tap);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    a.tap = pair[0];
    memcpy(other + DATAPATH_VNET_HDR, b.mac, 6);
    memcpy(other + DATAPATH_VNET_HDR + 6, a.mac, 6);
    other[DATAPATH_VNET_HDR + 12] = 0x88;
    c.udp_fd[0] = a.udp;
    c.udp_fd[1] = second = dup(a.udp);
    a.d = datapath_start(&c);
    assert_non_null(a.d);
    for (unsigned i = 0; i < 60; i++) /* before anybody reads: fewer bytes than a turn reads */
        if (i == 55)
            assert_int_equal(send(a.tap, other, sizeof other, 0), (ssize_t)sizeof other);
        else
            write_frame(&a, &b, 1400);
    k.tx_queues = DATAPATH_LANES + 1;
    datapath_set_keys(a.d, &k);
    set_table(&a, &b, 1);
    usleep(20000);
    datapath_set_tap(a.d, &env, pair[1], true);
    for (unsigned i = 0; i < 60; i++) {
        struct mesh_header h;
        take_packet();
        assert_int_equal(mesh_header_read(&h, packet, packet_len), 0);
        assert_true(h.queue == 1 || h.queue == 2);
        assert_int_equal(h.counter, h.queue == 1 ? heavy : light);
        *(h.queue == 1 ? &heavy : &light) += 1;
        if (packet_len < 200) {
            assert_int_equal(h.queue, 2);
            before = heavy;
        }
    }
    assert_in_range(light, 2, FLOW_BURST / 1400 + 2); /* the heavy flow's first ones, too */
    assert_int_equal(before, 0);
    datapath_stop(a.d);
    close(second);
    close(a.udp);
    close(a.tap);
    open_side(&a, 1); /* for the tear-down */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(path_is_found_and_heals, set_up_found, tear_down),
        cmocka_unit_test_setup_teardown(jumbo_frames_where_they_fit, set_up_found, tear_down),
        cmocka_unit_test_setup_teardown(spoilt_datagrams_turn_offload_off, set_up_found, tear_down),
        cmocka_unit_test(selftest_without_loopback),
        cmocka_unit_test_teardown(flows_keep_their_order, close_wide),
        cmocka_unit_test_setup_teardown(no_nonce_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(light_frames_go_first, set_up, tear_down),
    };
    if (sodium_init() < 0)
        return 1;
    own_namespace = make_namespace();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
