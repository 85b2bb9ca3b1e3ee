/* Bulk streams over loopback: both ends in one loop, what feeds and drains them in threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "overlay/bulk.h"
#include "peer/base/err.h"

static uv_loop_t loop;
static uv_timer_t limit; /* bounds a test that would hang */
static struct mesh_config cfg[2];
static struct mesh_trust trust;
static struct vi_id id[2];
static uint8_t x[2][32];
static struct vi_rng rng;
static struct bulk_server *server;
static uint16_t port;

struct end {
    bool done;
    int err;
    uint64_t bytes;
};
static struct end out_end, in_end;
static bool refuse;
static unsigned accepted;
static uint64_t bandwidth;

/* What the bytes are: any of them tells its place. */
static uint8_t byte_at(size_t i)
{
    return (uint8_t)((i * 2654435761U) >> 13 ^ i);
}

struct feed {
    pthread_t thread;
    int fd;
    size_t total, done, chunk;
    useconds_t pause;
    bool good;
};
static struct feed source, sink;

static void *write_all(void *arg)
{
    struct feed *f = arg;
    uint8_t *b = malloc(f->chunk);
    usleep(f->pause);
    while (b && f->done < f->total) {
        size_t n = f->total - f->done < f->chunk ? f->total - f->done : f->chunk;
        ssize_t w;
        for (size_t i = 0; i < n; i++)
            b[i] = byte_at(f->done + i);
        w = send(f->fd, b, n, MSG_NOSIGNAL);
        if (w <= 0)
            break;
        f->done += (size_t)w;
    }
    free(b);
    close(f->fd);
    return NULL;
}

static void *read_all(void *arg)
{
    struct feed *f = arg;
    uint8_t *b = malloc(f->chunk);
    ssize_t n;
    f->good = b != NULL;
    while (b && (n = read(f->fd, b, f->chunk)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            f->good &= b[i] == byte_at(f->done + (size_t)i);
        f->done += (size_t)n;
        if (f->pause)
            usleep(f->pause);
    }
    free(b);
    close(f->fd);
    return NULL;
}

static void done(void *arg, int err, const char *why, uint64_t bytes)
{
    struct end *e = arg;
    (void)why;
    assert_false(e->done);
    e->done = true;
    e->err = err;
    e->bytes = bytes;
    if (out_end.done && (in_end.done || !accepted))
        uv_stop(&loop);
}

static int on_accept(void *arg, const struct vi_id *peer, const uint8_t *purpose, size_t len,
                     bulk_done **d, void **d_arg)
{
    int pair[2];
    (void)arg;
    assert_true(vi_id_equal(peer, &id[0]));
    assert_int_equal(len, 7);
    assert_memory_equal(purpose, "purpose", 7);
    if (refuse)
        return -1;
    accepted++;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    sink.fd = pair[0];
    assert_int_equal(pthread_create(&sink.thread, NULL, read_all, &sink), 0);
    *d = done;
    *d_arg = &in_end;
    return pair[1];
}

static void on_limit(uv_timer_t *t)
{
    (void)t;
    uv_stop(&loop);
}

static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static void make_hosts(void)
{
    uint8_t pk[32], sk[64], ed_pk[32], ed_sk[64];
    crypto_sign_keypair(pk, sk);
    strcpy(trust.domain, "lab");
    memcpy(trust.authority, pk, 32);
    for (unsigned i = 0; i < 2; i++) {
        struct cert *c = &cfg[i].cert;
        memset(&cfg[i], 0, sizeof cfg[i]);
        crypto_sign_keypair(ed_pk, ed_sk);
        randombytes_buf(cfg[i].secret, 32);
        crypto_scalarmult_base(x[i], cfg[i].secret);
        cert_peer_id(&id[i], ed_pk);
        strcpy(c->domain, "lab");
        strcpy(c->host, i ? "there" : "here");
        memcpy(c->ed, ed_pk, 32);
        memcpy(c->x, x[i], 32);
        c->not_before = vi_clock_wall() - VI_HOUR;
        c->not_after = vi_clock_wall() + VI_HOUR;
        assert_int_equal(cert_issue(c, sk), 0);
        cfg[i].has_cert = true;
        cfg[i].trust = &trust;
        cfg[i].trusts = 1;
        cfg[i].wall_minus_now = vi_clock_wall() - vi_clock_boottime();
    }
}

static int set_up(void **state)
{
    char why[200];
    (void)state;
    make_hosts();
    vi_rng_seed(&rng, 3);
    uv_loop_init(&loop);
    uv_timer_init(&loop, &limit);
    uv_timer_start(&limit, on_limit, 60000, 0);
    port = free_port();
    server = bulk_listen(&loop, "127.0.0.1", port, &cfg[1], &rng, on_accept, NULL, why, sizeof why);
    assert_non_null(server);
    memset(&out_end, 0, sizeof out_end);
    memset(&in_end, 0, sizeof in_end);
    source = (struct feed){.chunk = 65536, .fd = -1};
    sink = (struct feed){.chunk = 65536, .fd = -1};
    refuse = false;
    accepted = 0;
    bandwidth = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (server)
        bulk_server_close(server);
    uv_close((uv_handle_t *)&limit, NULL);
    for (unsigned i = 0; i < 1000 && uv_run(&loop, UV_RUN_NOWAIT); i++)
        usleep(1000);
    return uv_loop_close(&loop);
}

static struct bulk *send_to(uint16_t to_port, const uint8_t to_x[32], const struct vi_id *to,
                            int *feeder)
{
    struct mesh_addr at = {.family = 4, .port = to_port, .ip = {127, 0, 0, 1}};
    int pair[2];
    struct bulk *b;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *feeder = pair[0];
    b = bulk_send(&loop, &cfg[0], &rng, &at, to_x, to, "purpose", 7, pair[1], bandwidth, done,
                  &out_end);
    assert_non_null(b);
    return b;
}

static void transport(size_t total, size_t write_chunk, size_t read_chunk, useconds_t pause)
{
    source.total = total;
    source.chunk = write_chunk;
    sink.chunk = read_chunk;
    sink.pause = pause;
    (void)send_to(port, x[1], &id[1], &source.fd);
    assert_int_equal(pthread_create(&source.thread, NULL, write_all, &source), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    pthread_join(source.thread, NULL);
    assert_int_equal(accepted, 1);
    pthread_join(sink.thread, NULL);
    assert_true(out_end.done && in_end.done);
    assert_int_equal(out_end.err, 0);
    assert_int_equal(in_end.err, 0);
    assert_int_equal(out_end.bytes, total);
    assert_int_equal(in_end.bytes, total);
    assert_int_equal(sink.done, total);
    assert_true(sink.good);
}

/* ---- */

static void whole_and_in_order(void **state)
{
    (void)state;
    transport(24 << 20, 65536, 65536, 0);
}

/* Many small writes while earlier ones are still under way, and a reader that takes its time. */
static void slow_reader(void **state)
{
    (void)state;
    transport(6 << 20, 777, 40000, 500);
}

static void empty(void **state)
{
    (void)state;
    transport(0, 1, 1, 0);
}

static void one_byte(void **state)
{
    (void)state;
    transport(1, 1, 1, 0);
}

static void refused(void **state)
{
    int feeder;
    (void)state;
    refuse = true;
    (void)send_to(port, x[1], &id[1], &feeder);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(out_end.done);
    assert_int_not_equal(out_end.err, 0);
    close(feeder);
}

static void nobody_there(void **state)
{
    int feeder;
    (void)state;
    (void)send_to(free_port(), x[1], &id[1], &feeder);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(out_end.done);
    assert_int_not_equal(out_end.err, 0);
    close(feeder);
}

static void another_host_there(void **state)
{
    int feeder;
    (void)state;
    (void)send_to(port, x[0], &id[0], &feeder); /* the key of somebody else */
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(out_end.done);
    assert_int_not_equal(out_end.err, 0);
    assert_int_equal(accepted, 0);
    close(feeder);
}

static struct bulk *to_cancel;

/* A stream that is under way: something of it has come. Its timer looks again and again. */
static bool under_way(void)
{
    return accepted && bulk_server_bytes(server, &in_end) > 0;
}

static void on_cancel_time(uv_timer_t *t)
{
    if (!under_way())
        return;
    bulk_cancel(to_cancel);
    uv_close((uv_handle_t *)t, NULL);
}

/* Given up midway: the other end hears of it, and never takes it for the whole. */
static void cancelled(void **state)
{
    static uv_timer_t t;
    (void)state;
    source.total = (size_t)1 << 40;
    sink.pause = 1000;
    to_cancel = send_to(port, x[1], &id[1], &source.fd);
    assert_int_equal(pthread_create(&source.thread, NULL, write_all, &source), 0);
    uv_timer_init(&loop, &t);
    uv_timer_start(&t, on_cancel_time, 10, 10);
    uv_run(&loop, UV_RUN_DEFAULT);
    pthread_join(source.thread, NULL);
    assert_int_equal(accepted, 1);
    pthread_join(sink.thread, NULL);
    assert_int_equal(out_end.err, VI_ECANCELED);
    assert_true(in_end.done);
    assert_int_not_equal(in_end.err, 0);
    assert_true(sink.good);
}

static void on_cancel_came(uv_timer_t *t)
{
    if (!under_way())
        return;
    assert_int_equal(bulk_server_bytes(server, &out_end), 0); /* nobody's that came in */
    bulk_server_cancel(server, &out_end);
    assert_false(in_end.done);
    bulk_server_cancel(server, &in_end);
    uv_close((uv_handle_t *)t, NULL);
}

/* The same by who it came to. */
static void cancelled_where_it_comes(void **state)
{
    static uv_timer_t t;
    (void)state;
    source.total = (size_t)1 << 40;
    sink.pause = 1000;
    (void)send_to(port, x[1], &id[1], &source.fd);
    assert_int_equal(pthread_create(&source.thread, NULL, write_all, &source), 0);
    uv_timer_init(&loop, &t);
    uv_timer_start(&t, on_cancel_came, 10, 10);
    uv_run(&loop, UV_RUN_DEFAULT);
    pthread_join(source.thread, NULL);
    pthread_join(sink.thread, NULL);
    assert_int_equal(in_end.err, VI_ECANCELED);
    assert_true(out_end.done);
    assert_int_not_equal(out_end.err, 0);
}

/* Who drains it goes away: the sender hears of it. */
static void reader_goes(void **state)
{
    (void)state;
    source.total = (size_t)1 << 40;
    sink.chunk = 0; /* reads nothing, closes at once */
    (void)send_to(port, x[1], &id[1], &source.fd);
    assert_int_equal(pthread_create(&source.thread, NULL, write_all, &source), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    pthread_join(source.thread, NULL);
    if (accepted)
        pthread_join(sink.thread, NULL);
    assert_true(out_end.done && in_end.done);
    assert_int_not_equal(out_end.err, 0);
    assert_int_not_equal(in_end.err, 0);
}

/* ---- what is kept, and how fast ---- */

static size_t in_use_most;

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2(); /* nothing under the sanitizers */
    return m.uordblks + m.hblkhd;
}

static void on_sample(uv_timer_t *t)
{
    size_t n = in_use();
    if (n > in_use_most)
        in_use_most = n;
    if (out_end.done && in_end.done)
        uv_close((uv_handle_t *)t, NULL);
}

/* A reader that is always behind: what waits for it stays a few MiB, however much goes through. */
static void little_is_kept(void **state)
{
    static uv_timer_t sample;
    size_t before = in_use();
    (void)state;
    in_use_most = 0;
    uv_timer_init(&loop, &sample);
    uv_timer_start(&sample, on_sample, 2, 2);
    transport(32 << 20, 65536, 65536, 300);
    assert_true(in_use_most < before + (12 << 20));
    if (!uv_is_closing((uv_handle_t *)&sample))
        uv_close((uv_handle_t *)&sample, NULL);
}

/* 3 MiB at 4 MiB/s, after a pause that lets at most 250 ms' worth through at once: the slower the
 * machine, the longer it takes, but never less. */
static void bandwidth_is_kept(void **state)
{
    vi_time began = vi_clock_boottime();
    (void)state;
    bandwidth = 4096;
    source.pause = 400000;
    transport(3 << 20, 65536, 65536, 0);
    assert_true(vi_clock_boottime() - began > 700 * VI_MSEC);
}

static void on_limit_time(uv_timer_t *t)
{
    bulk_limit(to_cancel, 4096);
    uv_close((uv_handle_t *)t, NULL);
}

/* One that had none gets a limit. */
static void a_limit_comes_later(void **state)
{
    static uv_timer_t t;
    vi_time began = vi_clock_boottime();
    (void)state;
    source.total = 3 << 20;
    source.chunk = 65536;
    source.pause = 500000; /* it begins to flow when the limit is there already */
    to_cancel = send_to(port, x[1], &id[1], &source.fd);
    assert_int_equal(pthread_create(&source.thread, NULL, write_all, &source), 0);
    uv_timer_init(&loop, &t);
    uv_timer_start(&t, on_limit_time, 200, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    pthread_join(source.thread, NULL);
    pthread_join(sink.thread, NULL);
    assert_int_equal(in_end.err, 0);
    assert_true(vi_clock_boottime() - began > 1000 * VI_MSEC); /* 3 MiB at 4 MiB/s, but for 250 ms' worth */
}

/* ---- a wire that is cut or bent ---- */

enum bend { CUT, FLIP, OVERSIZED };
static struct {
    pthread_t thread;
    int fd;
    enum bend how;
    size_t pos, hand; /* bytes from the sender so far; its handshake message, with its two bytes */
} wire;

/* The purpose's record is 4 + 7 + 16 bytes; the first data record follows it. */
static bool bend(uint8_t *p, ssize_t n)
{
    for (ssize_t i = 0; i < n; i++, wire.pos++) {
        size_t data = wire.hand + 27;
        if (wire.pos < 2)
            wire.hand = wire.pos == 0 ? 2U + p[i] : wire.hand + ((size_t)p[i] << 8);
        else if (wire.how == CUT && wire.pos == data + 1000000)
            return false;
        else if (wire.how == OVERSIZED && wire.pos == data + 2)
            p[i] = 0xff;
        else if (wire.how == FLIP && wire.pos == data + 1000000)
            p[i] ^= 4;
    }
    return true;
}

static bool send_whole(int fd, const uint8_t *p, ssize_t n)
{
    for (ssize_t at = 0, w; at < n; at += w)
        if ((w = send(fd, p + at, (size_t)(n - at), MSG_NOSIGNAL)) <= 0)
            return false;
    return true;
}

static void *run_wire(void *arg)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint8_t b[16384];
    int fds[2];
    (void)arg;
    fds[0] = accept(wire.fd, NULL, NULL);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    for (bool go = connect(fds[1], (struct sockaddr *)&at, sizeof at) == 0; go;) {
        struct pollfd p[2] = {{.fd = fds[0], .events = POLLIN}, {.fd = fds[1], .events = POLLIN}};
        poll(p, 2, -1);
        for (int i = 0; i < 2 && go; i++) {
            ssize_t n;
            if (!p[i].revents)
                continue;
            n = recv(fds[i], b, sizeof b, 0);
            go = n > 0 && (i == 1 || bend(b, n)) && send_whole(fds[!i], b, n);
        }
    }
    close(fds[0]);
    close(fds[1]);
    return NULL;
}

static void over_wire(enum bend how)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    memset(&wire, 0, sizeof wire);
    wire.how = how;
    wire.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(wire.fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(wire.fd, 1), 0);
    assert_int_equal(getsockname(wire.fd, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(pthread_create(&wire.thread, NULL, run_wire, NULL), 0);
    source.total = 8 << 20;
    (void)send_to(ntohs(at.sin_port), x[1], &id[1], &source.fd);
    assert_int_equal(pthread_create(&source.thread, NULL, write_all, &source), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    pthread_join(source.thread, NULL);
    pthread_join(wire.thread, NULL);
    close(wire.fd);
    assert_int_equal(accepted, 1);
    pthread_join(sink.thread, NULL);
    assert_true(out_end.done && in_end.done);
    assert_int_not_equal(out_end.err, 0);
    assert_true(sink.good); /* nothing that was not sent has come out */
    assert_true(sink.done < source.total);
}

static void cut_midway(void **state)
{
    (void)state;
    over_wire(CUT);
    assert_int_equal(in_end.err, VI_EIO);
    assert_true(sink.done > 0);
}

static void bent_midway(void **state)
{
    (void)state;
    over_wire(FLIP);
    assert_int_equal(in_end.err, VI_EAUTH);
    assert_true(sink.done < 1000000);
}

static void oversized_record(void **state)
{
    (void)state;
    over_wire(OVERSIZED);
    assert_int_equal(in_end.err, VI_EPROTO);
    assert_int_equal(sink.done, 0);
}

static void on_close_time(uv_timer_t *t)
{
    if (!under_way())
        return;
    bulk_server_close(server);
    server = NULL;
    uv_close((uv_handle_t *)t, NULL);
}

/* The receiving peer ends while a stream is under way: both ends are told, and nothing stays open.
 */
static void server_closes_midway(void **state)
{
    static uv_timer_t t;
    (void)state;
    source.total = (size_t)1 << 40;
    (void)send_to(port, x[1], &id[1], &source.fd);
    assert_int_equal(pthread_create(&source.thread, NULL, write_all, &source), 0);
    uv_timer_init(&loop, &t);
    uv_timer_start(&t, on_close_time, 10, 10);
    uv_run(&loop, UV_RUN_DEFAULT);
    pthread_join(source.thread, NULL);
    assert_int_equal(accepted, 1);
    pthread_join(sink.thread, NULL);
    assert_int_equal(in_end.err, VI_ECANCELED);
    assert_true(out_end.done);
    assert_int_not_equal(out_end.err, 0);
    assert_true(sink.good);
}

static atomic_bool talked;

static void *talk_garbage(void *arg)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint8_t junk[4096], byte;
    (void)arg;
    for (unsigned i = 0; i < BULK_STREAMS_MAX + 20; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) {
            randombytes_buf(junk, sizeof junk);
            (void)!send(fd, junk, i * 80, MSG_NOSIGNAL);
            shutdown(fd, SHUT_WR);
            while (recv(fd, &byte, 1, 0) > 0)
                ;
        }
        close(fd);
    }
    talked = true;
    return NULL;
}

static void on_talked(uv_timer_t *t)
{
    (void)t;
    if (talked)
        uv_stop(&loop);
}

/* Strangers with noise, more than there are places, and then a good one. */
static void garbage_first(void **state)
{
    pthread_t t;
    (void)state;
    talked = false;
    assert_int_equal(pthread_create(&t, NULL, talk_garbage, NULL), 0);
    uv_timer_start(&limit, on_talked, 10, 10);
    uv_run(&loop, UV_RUN_DEFAULT);
    pthread_join(t, NULL);
    assert_int_equal(accepted, 0);
    uv_timer_start(&limit, on_limit, 60000, 0);
    transport(100000, 1000, 1000, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_and_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(slow_reader, set_up, tear_down),
        cmocka_unit_test_setup_teardown(empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_host_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancelled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancelled_where_it_comes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reader_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(little_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bandwidth_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_limit_comes_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cut_midway, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bent_midway, set_up, tear_down),
        cmocka_unit_test_setup_teardown(oversized_record, set_up, tear_down),
        cmocka_unit_test_setup_teardown(server_closes_midway, set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage_first, set_up, tear_down),
    };
    if (sodium_init() < 0)
        return 1;
    signal(
        SIGPIPE,
        SIG_IGN); /* as the program does: a descriptor whose reader went is an error, not an end */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
