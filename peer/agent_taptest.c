/* A TAP tried out. See agent_taptest.h. */
#include "peer/agent_taptest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define HDR     ((int)sizeof(struct virtio_net_hdr))
#define HEADERS (14 + 20 + 20)
#define SEGMENT 500
#define LENGTH  (HEADERS + 3 * SEGMENT + 77)
#define WAIT    500 /* ms */
#define TRIES   20  /* frames of others that may come between */

struct trial {
    int tap, guest; /* guest: a packet socket at the other end */
    uint8_t frame[HDR + LENGTH], got[HDR + LENGTH + 64];
};

static uint16_t fold(uint32_t s)
{
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return (uint16_t)s;
}

static uint32_t sum(const uint8_t *p, size_t n)
{
    uint32_t s = 0;
    for (size_t i = 0; i < n; i += 2)
        s += (uint32_t)(p[i] << 8 | p[i + 1]);
    return s;
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* From one address of documentation to another, and to a MAC that isn't the TAP's: no stack takes it. */
static void make_frame(uint8_t *b)
{
    static const uint8_t start[HEADERS] = {
        2, 0, 0, 0, 0, 0xb2, 2, 0, 0, 0, 0, 0xb1, 8, 0, /* Ethernet */
        0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, /* IPv4, TCP */
        0x30, 0x39, 0, 9, 0, 0, 1, 0, 0, 0, 2, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0};
    struct virtio_net_hdr h = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                               .hdr_len = HEADERS, .gso_size = SEGMENT, .csum_start = 34, .csum_offset = 16};
    uint8_t *f = b + HDR;
    memcpy(b, &h, sizeof h);
    memcpy(f, start, HEADERS);
    put16(f + 16, LENGTH - 14);
    put16(f + 24, (uint16_t)~fold(sum(f + 14, 20)));
    put16(f + 50, fold(sum(f + 26, 8) + 6 + LENGTH - 34));
    for (size_t i = HEADERS; i < LENGTH; i++)
        f[i] = (uint8_t)(i * 13 + i / 256);
}

static bool open_tap(struct trial *t)
{
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    struct ifreq r = {.ifr_name = "vitest%d"};
    int size = HDR, one = 1;
    char path[96];
    t->tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    r.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (t->tap < 0 || ioctl(t->tap, TUNSETIFF, &r) || ioctl(t->tap, TUNSETVNETHDRSZ, &size) ||
        ioctl(t->tap, TUNSETOFFLOAD, (unsigned long)(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)))
        return false;
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%.15s/disable_ipv6", r.ifr_name);
    int quiet = open(path, O_WRONLY | O_CLOEXEC); /* its own frames would only disturb */
    if (quiet >= 0) {
        (void)!write(quiet, "1", 1);
        close(quiet);
    }
    t->guest = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
    if (t->guest < 0)
        return false;
    at.sll_ifindex = (int)if_nametoindex(r.ifr_name);
    r.ifr_flags = IFF_UP;
    return at.sll_ifindex && !ioctl(t->guest, SIOCSIFFLAGS, &r) &&
           !setsockopt(t->guest, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one) &&
           !bind(t->guest, (struct sockaddr *)&at, sizeof at);
}

/* The frame comes out of fd whole, and its header says what it is. */
static bool comes(struct trial *t, int fd)
{
    for (unsigned i = 0; i < TRIES; i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        struct virtio_net_hdr h;
        ssize_t n = poll(&p, 1, WAIT) == 1 ? read(fd, t->got, sizeof t->got) : -1;
        if (n < 0)
            return false;
        if (n < HDR + 14 || memcmp(t->got + HDR, t->frame + HDR, 12))
            continue;
        memcpy(&h, t->got, sizeof h);
        return n == HDR + LENGTH && h.gso_type == VIRTIO_NET_HDR_GSO_TCPV4 && h.gso_size == SEGMENT &&
               h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM && !memcmp(t->got + HDR, t->frame + HDR, LENGTH);
    }
    return false;
}

bool agent_tap_superframes(char *why, size_t why_size)
{
    struct trial t = {.tap = -1, .guest = -1};
    const char *bad = NULL;
    make_frame(t.frame);
    if (!open_tap(&t))
        bad = "can't be made for a trial";
    else if (write(t.tap, t.frame, sizeof t.frame) != (ssize_t)sizeof t.frame || !comes(&t, t.guest))
        bad = "spoil or refuse the superframes written to them";
    else if (send(t.guest, t.frame, sizeof t.frame, 0) != (ssize_t)sizeof t.frame || !comes(&t, t.tap))
        bad = "spoil or refuse the superframes read from them";
    if (bad)
        snprintf(why, why_size, "this kernel's TAPs %s: frames go one by one, which is slower", bad);
    if (t.tap >= 0)
        close(t.tap);
    if (t.guest >= 0)
        close(t.guest);
    return !bad;
}
