/* talk serve PORT  |  to IP PORT [MS]  |  sink PORT  |  bulk IP PORT: what runs in test guests to watch a connection.
 *
 * The speaker sends a numbered message every 100 ms (or MS) over TCP, a datagram twice as often over UDP. The
 * server answers the messages, and says once a second what came and the longest silence since it said so
 * last: "heard TCP-COUNT MS UDP-COUNT MS"; the speaker says the same of the answers: "back TCP-COUNT MS". Bulk sends
 * over TCP as fast as it goes; the sink says once a second "sunk BYTES MS": what came in it, and the longest silence,
 * from before it, too, if that lasts. Ends with a line TALK-BROKEN if a connection breaks. Every line begins with
 * the port: several may share a console. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 8
#define TCP_MS  100
#define SAY_MS  1000

static unsigned port; /* which of several of these a line is of */

struct line { /* what came over one of the two */
    unsigned long count;
    long last, gap;
};

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void came(struct line *l)
{
    long now = now_ms();
    if (l->count++ && now - l->last > l->gap)
        l->gap = now - l->last;
    l->last = now;
}

static void put_number(uint8_t *b, uint64_t n)
{
    for (int i = 0; i < MESSAGE; i++)
        b[i] = (uint8_t)(n >> (8 * i));
}

static uint64_t get_number(const uint8_t *b)
{
    uint64_t n = 0;
    for (int i = 0; i < MESSAGE; i++)
        n |= (uint64_t)b[i] << (8 * i);
    return n;
}

static int broken(const char *why)
{
    printf("%u: TALK-BROKEN %s\n", port, why);
    fflush(stdout);
    return 1;
}

/* Reads what is there; answers it. -1 when the connection is over or its messages aren't in order. */
static int answer(int fd, struct line *tcp, uint8_t *half, size_t *have, uint64_t *next)
{
    ssize_t n = recv(fd, half + *have, MESSAGE - *have, 0);
    if (n <= 0)
        return -1;
    *have += (size_t)n;
    if (*have < MESSAGE)
        return 0;
    *have = 0;
    if (get_number(half) != *next)
        return -1;
    (*next)++;
    came(tcp);
    return send(fd, half, MESSAGE, MSG_NOSIGNAL) == MESSAGE ? 0 : -1;
}

static int listen_at(int type, const struct sockaddr_in *at)
{
    int one = 1, fd = socket(AF_INET, type, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
        bind(fd, (const struct sockaddr *)at, sizeof *at) || (type == SOCK_STREAM && listen(fd, 4)))
        return -1;
    return fd;
}

static int serve(const struct sockaddr_in *at)
{
    struct pollfd p[3] = {{.fd = listen_at(SOCK_STREAM, at), .events = POLLIN},
                          {.fd = listen_at(SOCK_DGRAM, at), .events = POLLIN},
                          {.fd = -1, .events = POLLIN}};
    struct line tcp = {0}, udp = {0};
    uint8_t half[MESSAGE], datagram[MESSAGE];
    uint64_t next = 0;
    size_t have = 0;
    long say = now_ms() + SAY_MS;
    if (p[0].fd < 0 || p[1].fd < 0)
        return broken("no socket");
    for (;;) {
        (void)poll(p, 3, 200);
        if (p[0].revents & POLLIN) {
            if (p[2].fd >= 0) /* its speaker began anew */
                close(p[2].fd);
            p[2].fd = accept(p[0].fd, NULL, NULL);
            have = next = 0;
            tcp.count = 0;
            printf("%u: connected\n", port);
        }
        if (p[1].revents & POLLIN && recv(p[1].fd, datagram, sizeof datagram, 0) > 0)
            came(&udp);
        if (p[2].fd >= 0 && p[2].revents && answer(p[2].fd, &tcp, half, &have, &next)) {
            broken("at the server");
            close(p[2].fd);
            p[2].fd = -1;
        }
        if (now_ms() >= say) {
            printf("%u: heard %lu %ld %lu %ld\n", port, tcp.count, tcp.gap, udp.count, udp.gap);
            fflush(stdout);
            tcp.gap = udp.gap = 0;
            say = now_ms() + SAY_MS;
        }
    }
}

static int speak(const struct sockaddr_in *to, long every_ms)
{
    int one = 1, tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
    struct line back = {0};
    uint64_t said = 0, have = 0;
    uint8_t b[MESSAGE];
    long due = now_ms(), due_udp = due, say = due + SAY_MS;
    if (tcp < 0 || udp < 0)
        return broken("no socket");
    while (connect(tcp, (const struct sockaddr *)to, sizeof *to)) {
        usleep(500000);
        close(tcp);
        tcp = socket(AF_INET, SOCK_STREAM, 0);
    }
    setsockopt(tcp, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(tcp, F_SETFL, O_NONBLOCK);
    for (;;) {
        struct pollfd p = {.fd = tcp, .events = POLLIN};
        long now = now_ms();
        if (now >= due_udp) {
            put_number(b, said);
            (void)sendto(udp, b, MESSAGE, MSG_DONTWAIT, (const struct sockaddr *)to, sizeof *to);
            due_udp = now + every_ms / 2;
        }
        if (now >= due) {
            put_number(b, said);
            if (send(tcp, b, MESSAGE, MSG_NOSIGNAL) == MESSAGE)
                said++;
            else if (errno != EAGAIN)
                return broken(strerror(errno));
            due = now + every_ms;
        }
        if (poll(&p, 1, (int)(due_udp > now ? due_udp - now : 0)) > 0) {
            ssize_t n = recv(tcp, b, sizeof b, 0);
            if (n == 0 || (n < 0 && errno != EAGAIN))
                return broken(n ? strerror(errno) : "closed");
            for (have += n > 0 ? (uint64_t)n : 0; have >= MESSAGE; have -= MESSAGE)
                came(&back);
        }
        if (now >= say) {
            printf("%u: back %lu %ld\n", port, back.count, now - back.last > back.gap && back.count ? now - back.last : back.gap);
            fflush(stdout);
            back.gap = 0;
            say = now + SAY_MS;
        }
    }
}

static int sink(const struct sockaddr_in *at)
{
    static uint8_t b[1 << 17];
    struct pollfd p = {.fd = listen_at(SOCK_STREAM, at), .events = POLLIN};
    struct line in = {0};
    unsigned long bytes = 0;
    long say;
    int fd = p.fd < 0 ? -1 : accept(p.fd, NULL, NULL);
    if (fd < 0)
        return broken("no socket");
    printf("%u: connected\n", port);
    in.last = now_ms();
    say = in.last + SAY_MS;
    p.fd = fd;
    for (;;) {
        long now;
        if (poll(&p, 1, 100) > 0) {
            ssize_t n = recv(fd, b, sizeof b, 0);
            if (n <= 0)
                return broken(n ? strerror(errno) : "closed");
            bytes += (unsigned long)n;
            came(&in);
        }
        now = now_ms();
        if (now >= say) {
            printf("%u: sunk %lu %ld\n", port, bytes, now - in.last > in.gap ? now - in.last : in.gap);
            fflush(stdout);
            bytes = 0;
            in.gap = 0;
            say = now + SAY_MS;
        }
    }
}

static int bulk(const struct sockaddr_in *to)
{
    static const uint8_t b[1 << 16];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    while (fd >= 0 && connect(fd, (const struct sockaddr *)to, sizeof *to)) {
        usleep(500000);
        close(fd);
        fd = socket(AF_INET, SOCK_STREAM, 0);
    }
    while (send(fd, b, sizeof b, MSG_NOSIGNAL) > 0)
        ;
    return broken(strerror(errno));
}

int main(int argc, char **argv)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    if (argc == 3 && (!strcmp(argv[1], "serve") || !strcmp(argv[1], "sink"))) {
        port = (uint16_t)atoi(argv[2]);
        a.sin_port = htons((uint16_t)port);
        return argv[1][1] == 'e' ? serve(&a) : sink(&a);
    }
    if ((argc == 4 || (argc == 5 && atoi(argv[4]) > 1)) && (!strcmp(argv[1], "to") || !strcmp(argv[1], "bulk")) &&
        inet_pton(AF_INET, argv[2], &a.sin_addr) == 1) {
        port = (uint16_t)atoi(argv[3]);
        a.sin_port = htons((uint16_t)port);
        return argv[1][0] == 't' ? speak(&a, argc == 5 ? atoi(argv[4]) : TCP_MS) : bulk(&a);
    }
    fprintf(stderr, "talk serve PORT | to IP PORT [MS] | sink PORT | bulk IP PORT\n");
    return 2;
}
