/* Opening the port. See udp.h. */
#include "overlay/udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/base/err.h"

#define BUFFER       (4 << 20)
#define BUFFER_FIRST (256 << 10)
#define PRIORITY     6 /* TC_PRIO_INTERACTIVE, the most that needs no privilege: the first band of pfifo_fast, tc-prio(8) */

static int address_of(const char *listen, uint16_t port, struct sockaddr_storage *ss, socklen_t *len)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ss;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ss;
    memset(ss, 0, sizeof *ss);
    if (inet_pton(AF_INET, listen, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        *len = sizeof *v4;
        return 0;
    }
    if (inet_pton(AF_INET6, listen, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        *len = sizeof *v6;
        return 0;
    }
    return VI_EINVAL;
}

static int open_one(const struct sockaddr_storage *ss, socklen_t len, int buffer)
{
    int one = 1, zero = 0;
    int fd = socket(ss->ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (ss->ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    /* as much as the system allows; a smaller buffer only loses datagrams sooner */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0 ||
        bind(fd, (const struct sockaddr *)ss, len) < 0) {
        int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

/* A queue full of guests' data at an interface doesn't hold up probes, or its host would be held for dead. A queue that
 * goes by flows (fq_codel) doesn't look at this. */
static void before_data(int fd)
{
    int priority = PRIORITY;
    (void)setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof priority);
}

/* Is somebody else there already? SO_REUSEPORT would let us in beside another peer of the same user. */
static int taken(const struct sockaddr_storage *ss, socklen_t len)
{
    int zero = 0, err, fd = socket(ss->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    if (ss->ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    err = bind(fd, (const struct sockaddr *)ss, len) < 0 ? errno : 0;
    close(fd);
    return err;
}

int udp_open(struct udp_sockets *s, const char *listen, uint16_t port, unsigned n, char *why, size_t cap)
{
    /* By the first byte; MESH_DATA by its queue, the third byte (the next is always zero; queue 0 has no data
     * packets). Sockets are numbered as they are bound; what is too short ends the program with 0. */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MESH_INIT, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MESH_DATA, 0, 5),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 2),
        BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, n - 1), /* - 1, modulo n */
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, n),
        BPF_JUMP(BPF_JMP | BPF_JA, 2, 0, 0),
        BPF_STMT(BPF_RET | BPF_K, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 2),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    struct sockaddr_storage ss;
    socklen_t len;
    s->control = s->first = -1;
    s->n = 0;
    if (n == 0 || n > UDP_DATA_MAX) {
        snprintf(why, cap, "the data path has 1 to %d sockets", UDP_DATA_MAX);
        return VI_EINVAL;
    }
    if (address_of(listen, port, &ss, &len)) {
        snprintf(why, cap, "listen: `%s` is no IPv4 or IPv6 address", listen);
        return VI_EINVAL;
    }
    errno = taken(&ss, len);
    if (!errno) {
        s->control = open_one(&ss, len, BUFFER);
        if (s->control >= 0)
            s->first = open_one(&ss, len, BUFFER_FIRST);
        while (s->first >= 0 && s->n < n && (s->data[s->n] = open_one(&ss, len, BUFFER)) >= 0)
            s->n++;
    }
    if (s->n == n) {
        before_data(s->control);
        before_data(s->first);
    } else {
        snprintf(why, cap, "UDP port %u at %s: %s; %s", port, listen, strerror(errno),
                 errno == EADDRINUSE      ? "is another peer running? set `port`, or end what uses it"
                 : errno == EADDRNOTAVAIL ? "the address is not on this host: set `listen`"
                                          : "set `port` and `listen`");
        udp_close(s);
        return VI_EIO;
    }
    if (setsockopt(s->control, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) < 0) {
        snprintf(why, cap, "the kernel can't sort datagrams between sockets (SO_ATTACH_REUSEPORT_CBPF): %s",
                 strerror(errno));
        udp_close(s);
        return VI_EIO;
    }
    return 0;
}

void udp_close(struct udp_sockets *s)
{
    if (s->control >= 0)
        close(s->control);
    if (s->first >= 0)
        close(s->first);
    while (s->n > 0)
        close(s->data[--s->n]);
    s->control = s->first = -1;
}
