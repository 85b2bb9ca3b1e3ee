/* Two data paths with their threads over loopback, in a network namespace of their own where that is allowed. Their
 * TAPs are socket pairs that keep a frame a message, as a TAP does, or real ones; between the two sits a relay of the
 * test's, which can lose, double and bend. For the tests of overlay/datapath*.c. */
#ifndef TESTS_UNIT_DATAPATH_PAIR_H
#define TESTS_UNIT_DATAPATH_PAIR_H

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

static inline void on_wake(void *arg)
{
    (void)arg;
}

static inline int udp_socket(uint16_t *port)
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

static inline struct mesh_keys keys_for(const struct side *to, uint32_t local, uint32_t remote,
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

static inline void put_mac(struct switch_env_table *t, const uint8_t mac[6], bool local)
{
    unsigned slot = switch_mac_slot(mac);
    while (t->macs[slot].used)
        slot++;
    t->macs[slot] = (struct switch_mac){.used = true, .local = local};
    memcpy(t->macs[slot].mac, mac, 6);
}

static inline void set_table(struct side *s, const struct side *other, uint16_t number)
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

static inline void open_side(struct side *s, uint8_t n)
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

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
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

static inline bool readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

/* A frame from one side's guest to the other's, of len bytes that tell their place. */
static inline void write_frame(struct side *from, const struct side *to, size_t len)
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
static inline void take_packet(void)
{
    ssize_t n;
    assert_true(readable(relay, SOON));
    n = recv(relay, packet, sizeof packet, 0);
    assert_true(n > 0);
    packet_len = (size_t)n;
}

static inline void pass_packet(const struct side *to)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(to->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(sendto(relay, packet, packet_len, 0, (struct sockaddr *)&at, sizeof at),
                     (ssize_t)packet_len);
}

static inline void expect_frame(struct side *at, const struct side *from, size_t len)
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
static inline bool counter_reaches(struct datapath *d, size_t offset, uint64_t n)
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

static bool own_namespace;

static inline bool make_namespace(void)
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

static inline int open_queue(const char *name, bool multi)
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
static inline int tap_guest(const char *name)
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

#endif
