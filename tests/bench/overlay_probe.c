/* overlay_probe: what iperf3 can't measure: small datagrams a second, and round trips beside other traffic.
 *
 *   overlay_probe serve                            echoes and counts, UDP port 7007, until it is killed
 *   overlay_probe rtt IP SECONDS INTERVAL_US       one datagram each interval, whether the last came back or not:
 *                                                  "p50 p99 received sent" (µs)
 *   overlay_probe flood IP SECONDS                 datagrams of 64 bytes as fast as one thread sends them:
 *                                                  "received nanoseconds sent": from the first to the last received */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORT    7007
#define PAYLOAD 64
#define BATCH   64
#define PROBES  100000

enum kind { ECHO = 'E', COUNT = 'F', RESET = 'R', QUERY = 'Q' };

struct datagram { /* the two ends are one machine: no byte order */
    uint64_t kind, number;
    int64_t sent;
    uint64_t received;
    int64_t first, last;
    uint8_t rest[PAYLOAD - 48];
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int open_socket(void)
{
    int size = 4 << 20, fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0) {
        perror("socket");
        exit(1);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    return fd;
}

static int connected(const char *ip)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int fd = open_socket();
    if (inet_pton(AF_INET, ip, &a.sin_addr) != 1 || connect(fd, (struct sockaddr *)&a, sizeof a)) {
        perror(ip);
        exit(1);
    }
    return fd;
}

static void serve(void)
{
    static struct datagram d[BATCH], seen;
    struct sockaddr_in from[BATCH], any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    struct iovec iov[BATCH];
    struct mmsghdr m[BATCH];
    int fd = open_socket();
    if (bind(fd, (struct sockaddr *)&any, sizeof any)) {
        perror("bind");
        exit(1);
    }
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            iov[i] = (struct iovec){&d[i], sizeof d[i]};
            m[i].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_namelen = sizeof from[i],
                                           .msg_iov = &iov[i], .msg_iovlen = 1};
        }
        int n = recvmmsg(fd, m, BATCH, MSG_WAITFORONE, NULL);
        int64_t now = now_ns();
        for (int i = 0; i < n; i++) {
            if (m[i].msg_len != sizeof d[i])
                continue;
            if (d[i].kind == COUNT && d[i].number == seen.number) {
                if (seen.received++ == 0)
                    seen.first = now;
                seen.last = now;
                continue;
            }
            if (d[i].kind == RESET && d[i].number != seen.number)
                seen = (struct datagram){.number = d[i].number};
            if (d[i].kind == QUERY && d[i].number == seen.number) {
                d[i].received = seen.received;
                d[i].first = seen.first;
                d[i].last = seen.last;
            }
            if (d[i].kind != COUNT)
                (void)sendto(fd, &d[i], sizeof d[i], MSG_DONTWAIT, (struct sockaddr *)&from[i], sizeof from[i]);
        }
    }
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static int rtt(const char *ip, double seconds, double interval_us)
{
    static int64_t took[PROBES];
    size_t n = 0;
    uint64_t sent = 0;
    int fd = connected(ip);
    int64_t next = now_ns(), end = next + (int64_t)(seconds * 1e9), grace = end + 500000000, now;
    while ((now = now_ns()) < (n < sent ? grace : end)) {
        struct datagram d = {.kind = ECHO, .sent = now};
        int64_t until = now < end ? next : grace;
        if (now >= next && now < end) {
            sent += send(fd, &d, sizeof d, MSG_DONTWAIT) == (ssize_t)sizeof d;
            next += (int64_t)(interval_us * 1e3);
            continue;
        }
        struct pollfd p = {.fd = fd, .events = POLLIN};
        struct timespec wait = {.tv_sec = (until - now) / 1000000000, .tv_nsec = (until - now) % 1000000000};
        if (ppoll(&p, 1, until > now ? &wait : &(struct timespec){0}, NULL) > 0)
            while (n < PROBES && recv(fd, &d, sizeof d, MSG_DONTWAIT) == (ssize_t)sizeof d)
                took[n++] = now_ns() - d.sent;
    }
    if (n == 0) {
        fprintf(stderr, "%s: nothing came back\n", ip);
        return 1;
    }
    qsort(took, n, sizeof took[0], by_size);
    printf("%.1f %.1f %zu %llu\n", (double)took[n / 2] / 1e3, (double)took[n * 99 / 100] / 1e3, n, (unsigned long long)sent);
    return 0;
}

/* Asks until it is answered: for some seconds, since what was sent before may still lie in queues. */
static int ask(int fd, struct datagram *d, enum kind kind, uint64_t number)
{
    for (int i = 0; i < 50; i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        *d = (struct datagram){.kind = kind, .number = number};
        (void)send(fd, d, sizeof *d, 0);
        while (poll(&p, 1, 100) > 0)
            if (recv(fd, d, sizeof *d, MSG_DONTWAIT) == (ssize_t)sizeof *d && d->kind == (uint64_t)kind && d->number == number)
                return 0;
    }
    fprintf(stderr, "no answer\n");
    return 1;
}

static int flood(const char *ip, double seconds)
{
    static struct datagram d[BATCH], answer;
    struct iovec iov[BATCH];
    struct mmsghdr m[BATCH] = {0};
    uint64_t sent = 0, last, number = (uint64_t)now_ns();
    int fd = connected(ip);
    if (ask(fd, &answer, RESET, number))
        return 1;
    for (int i = 0; i < BATCH; i++) {
        d[i] = (struct datagram){.kind = COUNT, .number = number};
        iov[i] = (struct iovec){&d[i], sizeof d[i]};
        m[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
    }
    for (int64_t end = now_ns() + (int64_t)(seconds * 1e9); now_ns() < end;) {
        int n = sendmmsg(fd, m, BATCH, 0);
        if (n < 0 && errno != ENOBUFS && errno != ECONNREFUSED) {
            perror("send");
            return 1;
        }
        sent += n > 0 ? (uint64_t)n : 0;
    }
    do { /* until no more arrive */
        last = answer.received;
        if (ask(fd, &answer, QUERY, number))
            return 1;
        poll(NULL, 0, 20);
    } while (answer.received != last);
    printf("%llu %lld %llu\n", (unsigned long long)answer.received, (long long)(answer.last - answer.first),
           (unsigned long long)sent);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "serve"))
        serve();
    if (argc == 5 && !strcmp(argv[1], "rtt"))
        return rtt(argv[2], atof(argv[3]), atof(argv[4]));
    if (argc == 4 && !strcmp(argv[1], "flood"))
        return flood(argv[2], atof(argv[3]));
    fprintf(stderr, "usage: overlay_probe serve | rtt IP SECONDS INTERVAL_US | flood IP SECONDS\n");
    return 2;
}
