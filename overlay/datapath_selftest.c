/* Does UDP_SEGMENT work, and UDP_GRO? Asked of the kernel itself: there are some that refuse, and some that
 * would cut wrongly. */
#include <arpa/inet.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "overlay/datapath_internal.h"

#define SIZE  200
#define TOTAL (3 * SIZE + 77) /* three segments and a smaller one */
#define WAIT  500             /* ms; loopback is never that slow, but a loaded machine may be */

static int bound_socket(struct sockaddr_in *at)
{
    socklen_t len = sizeof *at;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd >= 0 && (bind(fd, (struct sockaddr *)at, sizeof *at) || getsockname(fd, (struct sockaddr *)at, &len))) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool send_segments(int fd, const struct sockaddr_in *to, uint8_t *data)
{
    int size = SIZE;
    return setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof size) == 0 &&
           sendto(fd, data, TOTAL, 0, (const struct sockaddr *)to, sizeof *to) == TOTAL;
}

static ssize_t receive(int fd, uint8_t *buf, size_t cap, int *size)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {buf, cap};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
                       .msg_controllen = sizeof control.space};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t n = poll(&p, 1, WAIT) == 1 ? recvmsg(fd, &m, MSG_DONTWAIT) : -1;
    *size = (int)n;
    if (n < 0)
        return -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
            memcpy(size, CMSG_DATA(c), sizeof *size);
    return n;
}

/* Does loopback work at all? Where it is down, nothing can be told. */
static bool can_tell(int from, int to, const struct sockaddr_in *at)
{
    uint8_t byte = 7;
    int size;
    return sendto(from, &byte, 1, 0, (const struct sockaddr *)at, sizeof *at) == 1 &&
           receive(to, &byte, 1, &size) == 1;
}

/* Everything arrives, in order, in datagrams (or, as the kernel says, segments) of the right size. */
static bool arrives(int fd, const uint8_t *data)
{
    uint8_t buf[TOTAL + 1];
    size_t at = 0;
    while (at < TOTAL) {
        int size;
        ssize_t n = receive(fd, buf, sizeof buf, &size);
        if (n <= 0 || at + (size_t)n > TOTAL || memcmp(buf, data + at, (size_t)n))
            return false;
        if (size != SIZE && !(n == size && at + (size_t)n == TOTAL))
            return false;
        at += (size_t)n;
    }
    return true;
}

void datapath_selftest(struct datapath_offload *out)
{
    struct sockaddr_in at, gro_at;
    uint8_t data[TOTAL];
    int one = 1, from = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), to = bound_socket(&at),
        gro = bound_socket(&gro_at);
    *out = (struct datapath_offload){false, false};
    for (size_t i = 0; i < TOTAL; i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    if (from >= 0 && to >= 0 && gro >= 0 && !can_tell(from, to, &at))
        *out = (struct datapath_offload){true, true}; /* tried in earnest: failures are noticed there, too */
    else if (from >= 0 && to >= 0)
        out->gso = send_segments(from, &at, data) && arrives(to, data);
    /* without segments sent, it can't be told whether joining works; then there is nothing to join, either */
    if (out->gso && !out->gro && gro >= 0 && setsockopt(gro, SOL_UDP, UDP_GRO, &one, sizeof one) == 0)
        out->gro = send_segments(from, &gro_at, data) && arrives(gro, data);
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    if (gro >= 0)
        close(gro);
}
