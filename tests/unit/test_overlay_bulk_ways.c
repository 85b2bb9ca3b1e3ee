/* Bulk streams whose sender can't connect: the other connects, or both connect to a relay. Over loopback,
 * sender, receiver and relay in one loop, what feeds and drains in threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "overlay/bulk.h"
#include "peer/base/err.h"

enum { SENDER, RECEIVER, RELAY, HOSTS };

static uv_loop_t loop;
static uv_timer_t limit; /* bounds a test that would hang */
static struct mesh_config cfg[HOSTS];
static struct mesh_trust trust;
static struct vi_id id[HOSTS];
static uint8_t x[HOSTS][32];
static struct vi_rng rng;
static struct bulk_server *server[HOSTS];
static struct mesh_addr at[HOSTS];
static const uint8_t token[BULK_TOKEN] = "sixteen letters", other_token[BULK_TOKEN] = "other sixteen l";

static struct {
    pthread_t thread;
    int fd;
    size_t total, done;
    bool good;
} source, sink;
static struct {
    bool done;
    int err;
    uint64_t bytes;
} ends[2]; /* sender's, receiver's */
static unsigned accepted;
static useconds_t reader_pause;

static uint8_t byte_at(size_t i)
{
    return (uint8_t)((i * 2654435761U) >> 13 ^ i);
}

static void *write_all(void *arg)
{
    static uint8_t b[65536];
    (void)arg;
    while (source.done < source.total) {
        size_t n = source.total - source.done < sizeof b ? source.total - source.done : sizeof b;
        ssize_t w;
        for (size_t i = 0; i < n; i++)
            b[i] = byte_at(source.done + i);
        w = send(source.fd, b, n, MSG_NOSIGNAL);
        if (w <= 0)
            break;
        source.done += (size_t)w;
    }
    close(source.fd);
    return NULL;
}

static void *read_all(void *arg)
{
    static uint8_t b[65536];
    ssize_t n;
    (void)arg;
    sink.good = true;
    while ((n = read(sink.fd, b, sizeof b)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            sink.good &= b[i] == byte_at(sink.done + (size_t)i);
        sink.done += (size_t)n;
        if (reader_pause)
            usleep(reader_pause);
    }
    close(sink.fd);
    return NULL;
}

static void ended(unsigned which, int err, uint64_t bytes)
{
    assert_false(ends[which].done);
    ends[which].done = true;
    ends[which].err = err;
    ends[which].bytes = bytes;
    if (ends[0].done && (ends[1].done || !accepted))
        uv_stop(&loop);
}

static void sender_done(void *arg, int err, const char *why, uint64_t bytes)
{
    (void)arg;
    (void)why;
    ended(0, err, bytes);
}

static void receiver_done(void *arg, int err, const char *why, uint64_t bytes)
{
    (void)arg;
    (void)why;
    ended(1, err, bytes);
}

static int on_accept(void *arg, const struct vi_id *peer, const uint8_t *purpose, size_t len, bulk_done **d,
                     void **d_arg)
{
    int pair[2];
    assert_true(arg == &server[RECEIVER]);
    assert_true(vi_id_equal(peer, &id[SENDER])); /* the relay is none of the two */
    assert_int_equal(len, 7);
    assert_memory_equal(purpose, "purpose", 7);
    accepted++;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    sink.fd = pair[0];
    assert_int_equal(pthread_create(&sink.thread, NULL, read_all, NULL), 0);
    *d = receiver_done;
    *d_arg = NULL;
    return pair[1];
}

static void on_limit(uv_timer_t *t)
{
    (void)t;
    uv_stop(&loop);
}

static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void make_host(unsigned i, const uint8_t sk[64])
{
    struct cert *c = &cfg[i].cert;
    uint8_t ed_sk[64];
    char why[200];
    memset(&cfg[i], 0, sizeof cfg[i]);
    crypto_sign_keypair(c->ed, ed_sk);
    randombytes_buf(cfg[i].secret, 32);
    crypto_scalarmult_base(x[i], cfg[i].secret);
    cert_peer_id(&id[i], c->ed);
    strcpy(c->domain, "lab");
    strcpy(c->host, "host");
    memcpy(c->x, x[i], 32);
    c->not_before = vi_clock_wall() - VI_HOUR;
    c->not_after = vi_clock_wall() + VI_HOUR;
    assert_int_equal(cert_issue(c, sk), 0);
    cfg[i].has_cert = true;
    cfg[i].trust = &trust;
    cfg[i].trusts = 1;
    cfg[i].wall_minus_now = vi_clock_wall() - vi_clock_boottime();
    at[i] = (struct mesh_addr){.family = 4, .port = free_port(), .ip = {127, 0, 0, 1}};
    server[i] = bulk_listen(&loop, "127.0.0.1", at[i].port, &cfg[i], &rng, on_accept, &server[i], why, sizeof why);
    assert_non_null(server[i]);
}

static int set_up(void **state)
{
    uint8_t pk[32], sk[64];
    (void)state;
    vi_rng_seed(&rng, 3);
    uv_loop_init(&loop);
    uv_timer_init(&loop, &limit);
    uv_timer_start(&limit, on_limit, 60000, 0);
    crypto_sign_keypair(pk, sk);
    strcpy(trust.domain, "lab");
    memcpy(trust.authority, pk, 32);
    for (unsigned i = 0; i < HOSTS; i++)
        make_host(i, sk);
    memset(ends, 0, sizeof ends);
    memset(&source, 0, sizeof source);
    memset(&sink, 0, sizeof sink);
    accepted = 0;
    reader_pause = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HOSTS; i++)
        bulk_server_close(server[i]);
    uv_close((uv_handle_t *)&limit, NULL);
    for (unsigned i = 0; i < 1000 && uv_run(&loop, UV_RUN_NOWAIT); i++)
        usleep(1000);
    return uv_loop_close(&loop);
}

/* The descriptor that the stream is read from. */
static int feed(size_t total)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    source.fd = pair[0];
    source.total = total;
    assert_int_equal(pthread_create(&source.thread, NULL, write_all, NULL), 0);
    return pair[1];
}

static struct bulk *send_through(size_t total)
{
    struct bulk *b = bulk_send_through(&loop, &cfg[SENDER], &rng, &at[RELAY], token, x[RECEIVER], &id[RECEIVER],
                                       "purpose", 7, feed(total), 0, sender_done, NULL);
    assert_non_null(b);
    return b;
}

static struct bulk *send_await(size_t total)
{
    struct bulk *b = bulk_send_await(server[SENDER], token, x[RECEIVER], &id[RECEIVER], "purpose", 7, feed(total), 0,
                                     sender_done, NULL);
    assert_non_null(b);
    return b;
}

static void whole(void)
{
    uv_run(&loop, UV_RUN_DEFAULT);
    pthread_join(source.thread, NULL);
    assert_int_equal(accepted, 1);
    pthread_join(sink.thread, NULL);
    assert_true(ends[0].done && ends[1].done);
    assert_int_equal(ends[0].err, 0);
    assert_int_equal(ends[1].err, 0);
    assert_int_equal(ends[0].bytes, source.total);
    assert_int_equal(sink.done, source.total);
    assert_true(sink.good);
}

static void reversed(void **state)
{
    (void)state;
    send_await(6 << 20);
    assert_int_equal(bulk_server_dial(server[RECEIVER], &at[SENDER], BULK_REVERSE, token), 0);
    assert_int_equal(bulk_server_dial(server[RECEIVER], &at[SENDER], BULK_REVERSE, token), 0); /* asked again: once */
    whole();
}

static void relayed(void **state)
{
    (void)state;
    assert_int_equal(bulk_server_splice(server[RELAY], token, 0), 0);
    assert_int_equal(bulk_server_splice(server[RELAY], token, 0), 0);
    send_through(12 << 20);
    assert_int_equal(bulk_server_dial(server[RECEIVER], &at[RELAY], BULK_JOIN, token), 0);
    whole();
}

/* The relay keeps no more than what it reads at once, whoever is slow. */
static void relayed_slowly(void **state)
{
    (void)state;
    reader_pause = 2000;
    assert_int_equal(bulk_server_splice(server[RELAY], token, 0), 0);
    assert_int_equal(bulk_server_dial(server[RECEIVER], &at[RELAY], BULK_JOIN, token), 0);
    send_through(6 << 20);
    whole();
}

static void relays_bandwidth(void **state)
{
    vi_time began = vi_clock_boottime();
    (void)state;
    assert_int_equal(bulk_server_splice(server[RELAY], token, 1024), 0);
    assert_int_equal(bulk_server_dial(server[RECEIVER], &at[RELAY], BULK_JOIN, token), 0);
    send_through(2 << 20);
    whole();
    assert_true(vi_clock_boottime() - began > VI_SEC); /* 2 MiB at 1 MiB/s, a quarter at once */
}

/* Who says a token that nobody gave is not joined to anybody. */
static void unknown_tokens(void **state)
{
    (void)state;
    bulk_open_within(send_await(1000), 2 * VI_SEC);
    assert_int_equal(bulk_server_splice(server[RELAY], token, 0), 0);
    assert_int_equal(bulk_server_dial(server[RECEIVER], &at[SENDER], BULK_REVERSE, other_token), 0);
    assert_int_equal(bulk_server_dial(server[RECEIVER], &at[RELAY], BULK_JOIN, other_token), 0);
    assert_int_equal(bulk_server_dial(server[RECEIVER], &at[SENDER], BULK_JOIN, token), 0); /* not its sort */
    uv_run(&loop, UV_RUN_DEFAULT);
    pthread_join(source.thread, NULL);
    assert_int_equal(accepted, 0);
    assert_true(ends[0].done);
    assert_int_equal(ends[0].err, VI_ETIMEDOUT);
    assert_int_equal(ends[0].bytes, 0);
}

/* Another host that learned the token gets nothing but an end of the stream. */
static void wrong_host(void **state)
{
    struct bulk *b;
    (void)state;
    b = send_await(1000);
    assert_int_equal(bulk_server_dial(server[RELAY], &at[SENDER], BULK_REVERSE, token), 0);
    assert_false(bulk_opened(b));
    uv_run(&loop, UV_RUN_DEFAULT);
    pthread_join(source.thread, NULL);
    assert_int_equal(accepted, 0);
    assert_true(ends[0].done);
    assert_int_not_equal(ends[0].err, 0);
    assert_int_equal(ends[0].bytes, 0);
}

static void splices_are_bounded(void **state)
{
    uint8_t t[BULK_TOKEN] = {0};
    (void)state;
    for (unsigned i = 0; i < BULK_SPLICES_MAX; i++) {
        t[0] = (uint8_t)i;
        assert_int_equal(bulk_server_splice(server[RELAY], t, 0), 0);
    }
    t[0] = 99;
    assert_int_equal(bulk_server_splice(server[RELAY], t, 0), VI_EFULL);
    t[0] = 3;
    assert_int_equal(bulk_server_splice(server[RELAY], t, 0), 0); /* known already */
}

static void cut_hello(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const char *const says[] = {"V", "Violin\1", "Violin\2", "Violin\1\1short", "Violin\1\7sixteen letters"};
    int fd[5];
    char c;
    (void)state;
    a.sin_port = htons(at[RELAY].port);
    for (unsigned i = 0; i < 5; i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd[i], (struct sockaddr *)&a, sizeof a), 0);
        assert_true(send(fd[i], says[i], strlen(says[i]), 0) > 0);
    }
    for (unsigned ms = 0; ms < 10000 && (recv(fd[2], &c, 1, MSG_DONTWAIT) || recv(fd[4], &c, 1, MSG_DONTWAIT)); ms++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    for (unsigned i = 0; i < 5; i++) { /* what can't be a hello any more was closed, the rest waits */
        bool open = recv(fd[i], &c, 1, MSG_DONTWAIT) < 0;
        assert_int_equal(open, i == 0 || i == 1 || i == 3);
        close(fd[i]);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(reversed), T(relayed), T(relayed_slowly), T(relays_bandwidth), T(unknown_tokens), T(wrong_host),
        T(splices_are_bounded), T(cut_hello),
    };
    if (sodium_init() < 0)
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
