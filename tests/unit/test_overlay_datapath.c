/* Two data paths with their threads, over loopback, in a network namespace of their own where that
 * is allowed. The TAPs are socket pairs that keep a frame a message, as a TAP does, or real ones;
 * between the two sits a relay of the test's, which can lose, double and bend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sodium.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "overlay/overlay.h"
#include "overlay/vnet.h"

#define PATH_BYTES 1400 /* of a frame in one datagram */
#define SOON 10000 /* ms; bounds what should come at once */

struct side {
    struct datapath *d;
    int udp, tap, tap_there; /* tap: the test's end */
    struct vi_id id;
    uint16_t port;
    uint8_t mac[6];
};

static struct side a, b;
static int relay; /* both sides believe that the other is here */
static uint16_t relay_port;
static struct vi_id env;
static uint8_t packet[4096];
static size_t packet_len;
static bool found_out; /* sides are opened without a given path size */
static struct udp_sockets wide[2];

static void on_wake(void *arg)
{
    (void)arg;
}

static int udp_socket(uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static struct mesh_keys keys_for(const struct side *to, uint32_t local, uint32_t remote,
                                 uint64_t generation)
{
    struct mesh_keys k = {.peer = to->id,
                          .local = local,
                          .remote = remote,
                          .generation = generation,
                          .cipher = NOISE_CHACHAPOLY,
                          .tx_queues = 2,
                          .rx_queues = 2,
                          .send = true,
                          .born = vi_clock_boottime(),
                          .addr = {.family = 4, .port = relay_port, .ip = {127, 0, 0, 1}}};
    /* what goes from the smaller index to the greater has one base, what comes back the other */
    memset(k.tx_base, local < remote ? 0x11 : 0x22, sizeof k.tx_base);
    memset(k.rx_base, local < remote ? 0x22 : 0x11, sizeof k.rx_base);
    k.tx_base[0] = k.rx_base[0] = (uint8_t)generation;
    return k;
}

static void put_mac(struct switch_env_table *t, const uint8_t mac[6], bool local)
{
    unsigned slot = switch_mac_slot(mac);
    while (t->macs[slot].used)
        slot++;
    t->macs[slot] = (struct switch_mac){.used = true, .local = local};
    memcpy(t->macs[slot].mac, mac, 6);
}

static void set_table(struct side *s, const struct side *other, uint16_t number)
{
    struct switch_table *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->envs[0] = calloc(1, sizeof *t->envs[0]);
    assert_non_null(t->envs[0]);
    t->envs[0]->env = env;
    t->envs[0]->used = true;
    t->envs[0]->n_peers = 1;
    t->envs[0]->peers[0] = other->id;
    t->envs[0]->number[0] = number;
    put_mac(t->envs[0], s->mac, true);
    put_mac(t->envs[0], other->mac, false);
    datapath_set_table(s->d, t);
}

static void open_side(struct side *s, uint8_t n)
{
    struct datapath_config c = {.wake = on_wake, .path_bytes = found_out ? 0 : PATH_BYTES + DATAPATH_OVERHEAD};
    int pair[2];
    memset(s, 0, sizeof *s);
    memset(s->id.b, n, sizeof s->id.b);
    s->mac[0] = 2;
    s->mac[5] = n;
    s->udp = udp_socket(&s->port);
    c.udp_fd[0] = s->udp;
    s->d = datapath_start(&c);
    assert_non_null(s->d);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
                     0);
    s->tap = pair[0];
    datapath_set_tap(s->d, &env, pair[1], true);
}

static int set_up(void **state)
{
    (void)state;
    struct mesh_keys k;
    memset(env.b, 0xe, sizeof env.b);
    relay = udp_socket(&relay_port);
    open_side(&a, 1);
    open_side(&b, 2);
    k = keys_for(&b, 100, 200, 1);
    datapath_set_keys(a.d, &k);
    k = keys_for(&a, 200, 100, 1);
    datapath_set_keys(b.d, &k);
    set_table(&a, &b, 1);
    set_table(&b, &a, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    datapath_stop(a.d);
    datapath_stop(b.d);
    close(a.tap);
    close(b.tap);
    close(a.udp);
    close(b.udp);
    close(relay);
    return 0;
}

static bool readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

/* A frame from one side's guest to the other's, of len bytes that tell their place. */
static void write_frame(struct side *from, const struct side *to, size_t len)
{
    uint8_t f[DATAPATH_VNET_HDR + DATAPATH_FRAME_MAX + 1] = {0};
    memcpy(f + DATAPATH_VNET_HDR, to->mac, 6);
    memcpy(f + DATAPATH_VNET_HDR + 6, from->mac, 6);
    for (size_t i = 14; i < len; i++)
        f[DATAPATH_VNET_HDR + i] = (uint8_t)(i * 7 + len);
    assert_int_equal(send(from->tap, f, DATAPATH_VNET_HDR + len, 0),
                     (ssize_t)(DATAPATH_VNET_HDR + len));
}

/* Takes a packet at the relay. */
static void take_packet(void)
{
    ssize_t n;
    assert_true(readable(relay, SOON));
    n = recv(relay, packet, sizeof packet, 0);
    assert_true(n > 0);
    packet_len = (size_t)n;
}

static void pass_packet(const struct side *to)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(to->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(sendto(relay, packet, packet_len, 0, (struct sockaddr *)&at, sizeof at),
                     (ssize_t)packet_len);
}

static void expect_frame(struct side *at, const struct side *from, size_t len)
{
    uint8_t f[DATAPATH_VNET_HDR + DATAPATH_FRAME_MAX + 1];
    static const uint8_t none[DATAPATH_VNET_HDR];
    assert_true(readable(at->tap, SOON));
    assert_int_equal(recv(at->tap, f, sizeof f, 0), (ssize_t)(DATAPATH_VNET_HDR + len));
    assert_memory_equal(f, none, DATAPATH_VNET_HDR);
    assert_memory_equal(f + DATAPATH_VNET_HDR, at->mac, 6);
    assert_memory_equal(f + DATAPATH_VNET_HDR + 6, from->mac, 6);
    for (size_t i = 14; i < len; i++)
        assert_int_equal(f[DATAPATH_VNET_HDR + i], (uint8_t)(i * 7 + len));
}

/* The counter in c at this offset reaches n. */
static bool counter_reaches(struct datapath *d, size_t offset, uint64_t n)
{
    for (int ms = 0; ms < SOON; ms += 5) {
        struct datapath_counters c;
        uint64_t v;
        datapath_counters(d, &c);
        memcpy(&v, (const uint8_t *)&c + offset, sizeof v);
        if (v >= n)
            return v == n;
        usleep(5000);
    }
    return false;
}
#define REACHES(d, name, n)                                                                        \
    assert_true(counter_reaches(d, offsetof(struct datapath_counters, name), n))

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

static bool own_namespace;

static bool make_namespace(void)
{
    struct ifreq r = {.ifr_name = "lo"};
    int fd, err;
    if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) || unshare(CLONE_NEWNET))
        return false;
    fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6",
              O_WRONLY | O_CLOEXEC); /* its frames would disturb */
    if (fd >= 0) {
        (void)!write(fd, "1", 1);
        close(fd);
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    r.ifr_flags = IFF_UP;
    err = ioctl(fd, SIOCSIFFLAGS, &r);
    close(fd);
    return err == 0;
}

static int open_queue(const char *name, bool multi)
{
    struct ifreq r = {0};
    int size = DATAPATH_VNET_HDR, fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    r.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi ? IFF_MULTI_QUEUE : 0));
    assert_int_equal(ioctl(fd, TUNSETIFF, &r), 0);
    assert_int_equal(ioctl(fd, TUNSETVNETHDRSZ, &size), 0);
    return fd;
}

/* Puts it up; a packet socket at the guest's side of it. */
static int tap_guest(const char *name)
{
    struct ifreq r = {0};
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int guest, ctl = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    r.ifr_mtu = 2000;
    assert_int_equal(ioctl(ctl, SIOCSIFMTU, &r), 0);
    r.ifr_flags = IFF_UP;
    assert_int_equal(ioctl(ctl, SIOCSIFFLAGS, &r), 0);
    close(ctl);
    guest = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    assert_true(guest >= 0);
    at.sll_ifindex = (int)if_nametoindex(name);
    assert_int_equal(bind(guest, (struct sockaddr *)&at, sizeof at), 0);
    return guest;
}

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

static void crosses(size_t len)
{
    uint8_t f[DATAPATH_VNET_HDR + DATAPATH_FRAME_MAX + 1];
    write_frame(&a, &b, len);
    for (unsigned i = 0; i < 1000; i++) {
        play_network(10);
        while (recv(b.tap, f, sizeof f, MSG_DONTWAIT | MSG_PEEK) == DATAPATH_VNET_HDR + 100)
            recv(b.tap, f, sizeof f, 0); /* of before */
        if (readable(b.tap, 0))
            break;
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

/* ---- superframes, with several threads ---- */

#define THREADS 3

/* Two data paths of several threads, their sockets facing each other, real TAPs with as many queues. */
static void open_wide(struct side *s, uint8_t n, const char *tap, int *guest)
{
    struct datapath_config c = {.wake = on_wake, .threads = THREADS, .path_bytes = 1472};
    char why[200];
    memset(s, 0, sizeof *s);
    memset(s->id.b, n, sizeof s->id.b);
    s->mac[0] = 2;
    s->mac[5] = n;
    s->tap = -1;
    close(udp_socket(&s->port));
    assert_int_equal(udp_open(&wide[n - 1], "127.0.0.1", s->port, THREADS, why, sizeof why), 0);
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
    k.tx_queues = k.rx_queues = THREADS + 1;
    k.addr.port = b.port;
    datapath_set_keys(a.d, &k);
    k = keys_for(&a, 101 + 2 * g, 100 + 2 * g, generation);
    k.tx_queues = k.rx_queues = THREADS + 1;
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
    struct datapath_config c = {.wake = on_wake, .threads = THREADS, .path_bytes = 1472};
    int taps[THREADS], sinks[THREADS];
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
    for (unsigned i = 0; i < THREADS; i++)
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
        k.tx_queues = THREADS + 1;
        datapath_set_keys(a.d, &k);
        for (unsigned i = 0; i < 30; i++) {
            struct side via = a;
            via.tap = taps[i % THREADS];
            write_frame(&via, &b, 60 + i);
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
    assert_int_equal(queues, 2 | 4 | 8); /* all three did send */
    for (unsigned i = 0; i < THREADS; i++)
        close(taps[i]);
    datapath_stop(a.d);
    for (unsigned i = 1; i < THREADS; i++)
        close(sinks[i]);
    open_side(&a, 1); /* for the tear-down */
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
    unsigned n = threads();
    (void)state;
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
        cmocka_unit_test_setup_teardown(never_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(path_is_found_and_heals, set_up_found, tear_down),
        cmocka_unit_test_setup_teardown(jumbo_frames_where_they_fit, set_up_found, tear_down),
        cmocka_unit_test_setup_teardown(spoilt_datagrams_turn_offload_off, set_up_found, tear_down),
        cmocka_unit_test_teardown(flows_keep_their_order, close_wide),
        cmocka_unit_test_setup_teardown(no_nonce_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stop_leaves_nothing, set_up, tear_down),
    };
    if (sodium_init() < 0)
        return 1;
    own_namespace = make_namespace();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
