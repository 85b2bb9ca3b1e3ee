/* The control socket: answers, rights, and everything a client may do wrong. The server runs in a
 * child process; the tests are its clients, over real sockets. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/rpc.h"

static char dir[64], path[96];
static pid_t server;

struct state {
    struct rpc *rpc;
};

static void do_echo(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    uint64_t v = 0;
    uint32_t n = vi_read_map(params, 8);
    struct vi_writer *w;
    (void)arg;
    for (uint32_t i = 0; i < n; i++) {
        if (vi_read_key(params, "value"))
            v = vi_read_uint(params, UINT32_MAX);
        else
            vi_read_skip(params), vi_read_skip(params);
    }
    if (params->err) {
        rpc_error(call, VI_EINVAL, "bad value");
        return;
    }
    w = rpc_begin(call, 256);
    if (!w)
        return;
    vi_write_map(w, 1);
    vi_write_str(w, "value");
    vi_write_uint(w, v);
    rpc_end(call);
}

static void do_big(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct vi_writer *w = rpc_begin(call, 64);
    static const uint8_t junk[200];
    (void)arg;
    (void)params;
    vi_write_bin(w, junk, sizeof junk); /* more than was asked for */
    rpc_end(call);
}

static void do_follow(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct state *s = arg;
    struct vi_writer *w;
    static const uint8_t event[] = {0x81, 0xa1, 'n', 7};
    (void)params;
    rpc_follow(call);
    w = rpc_begin(call, 16);
    vi_write_nil(w);
    rpc_end(call);
    rpc_notify(s->rpc, "event", event, sizeof event);
}

static const struct rpc_entry table[] = {
    {"echo", do_echo, false}, {"change", do_echo, true}, {"big", do_big, false},
    {"follow", do_follow, false}, {NULL, NULL, false},
};

static int start_server(void **unused)
{
    (void)unused;
    snprintf(dir, sizeof dir, "/tmp/violin-rpc-XXXXXX");
    assert_non_null(mkdtemp(dir));
    chmod(dir, 0755);
    snprintf(path, sizeof path, "%s/s", dir);
    server = fork();
    if (server == 0) {
        static struct state s;
        char why[200];
        uv_loop_t loop;
        uv_loop_init(&loop);
        s.rpc = rpc_open(&loop, path, "nogroup", table, &s, why, sizeof why);
        if (!s.rpc)
            _exit(1);
        uv_run(&loop, UV_RUN_DEFAULT);
        _exit(0);
    }
    for (int i = 0; i < 500 && access(path, F_OK); i++)
        usleep(10000);
    return 0;
}

static int stop_server(void **unused)
{
    int st;
    (void)unused;
    kill(server, SIGKILL);
    waitpid(server, &st, 0);
    unlink(path);
    rmdir(dir);
    return 0;
}

static int client(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    for (int i = 0; i < 200; i++) {
        if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
            return fd;
        usleep(10000);
    }
    close(fd);
    return -1;
}

static size_t request(uint8_t *out, size_t cap, const char *method, uint64_t value)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 4);
    vi_write_uint(&w, 0);
    vi_write_uint(&w, 9);
    vi_write_str(&w, method);
    vi_write_map(&w, 1);
    vi_write_str(&w, "value");
    vi_write_uint(&w, value);
    return w.len;
}

/* Waits for one message; its length, 0 at the end of the connection. */
static size_t receive(int fd, uint8_t *out, size_t cap)
{
    size_t have = 0, used;
    while (have < cap) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;
        assert_int_equal(poll(&p, 1, 20000), 1);
        n = read(fd, out + have, 1);
        if (n <= 0)
            return 0;
        have++;
        if (vi_wire_walk(out, have, VI_WIRE_DEPTH, 4096, &used) == 0)
            return used;
    }
    return 0;
}

/* The code of the error answered, 0 for a result whose `value` is then in *value. */
static int64_t answer(int fd, uint64_t *value)
{
    uint8_t b[2048];
    size_t n = receive(fd, b, sizeof b);
    struct vi_reader r;
    assert_true(n > 0);
    vi_reader_init(&r, b, n);
    assert_int_equal(vi_read_array(&r, 4), 4);
    assert_int_equal(vi_read_uint(&r, 1), 1);
    vi_read_uint(&r, UINT32_MAX);
    if (vi_read_peek(&r) == VI_WIRE_MAP) {
        vi_read_map(&r, 2);
        assert_true(vi_read_key(&r, "code"));
        return vi_read_int(&r, -100, 0);
    }
    vi_read_nil(&r);
    if (vi_read_peek(&r) == VI_WIRE_MAP) {
        vi_read_map(&r, 1);
        assert_true(vi_read_key(&r, "value"));
        *value = vi_read_uint(&r, UINT64_MAX);
    }
    assert_int_equal(r.err, 0);
    return 0;
}

static void serves(void)
{
    uint8_t b[128];
    uint64_t v = 0;
    int fd = client();
    size_t n = request(b, sizeof b, "echo", 42);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, b, n), n);
    assert_int_equal(answer(fd, &v), 0);
    assert_int_equal(v, 42);
    close(fd);
}

static void test_answers(void **unused)
{
    uint8_t b[128];
    uint64_t v = 0;
    int fd = client();
    size_t n;
    (void)unused;
    serves();
    n = request(b, sizeof b, "nothing", 1);
    assert_int_equal(write(fd, b, n), n);
    assert_int_equal(answer(fd, &v), VI_ENOTFOUND);
    n = request(b, sizeof b, "echo", (uint64_t)1 << 40);
    assert_int_equal(write(fd, b, n), n);
    assert_int_equal(answer(fd, &v), VI_EINVAL);
    n = request(b, sizeof b, "big", 0);
    assert_int_equal(write(fd, b, n), n);
    assert_int_equal(answer(fd, &v), VI_EFULL);
    close(fd);
}

static void test_bytes_one_by_one(void **unused)
{
    uint8_t b[128];
    uint64_t v = 0;
    int fd = client();
    size_t n = request(b, sizeof b, "echo", 7);
    (void)unused;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(write(fd, b + i, 1), 1);
        if (i % 5 == 0)
            usleep(1000);
    }
    assert_int_equal(answer(fd, &v), 0);
    assert_int_equal(v, 7);
    close(fd);
}

static void refuses(const void *bytes, size_t n)
{
    uint8_t b[2048];
    int fd = client();
    assert_true(fd >= 0);
    (void)!write(fd, bytes, n);
    serves(); /* before and after we hang up */
    shutdown(fd, SHUT_WR);
    while (receive(fd, b, sizeof b) > 0) /* an error, perhaps, and then the end */
        ;
    close(fd);
    serves();
}

static void test_garbage(void **unused)
{
    uint8_t b[4096];
    (void)unused;
    memset(b, 0xc1, sizeof b);
    refuses(b, sizeof b);
    refuses("GET / HTTP/1.0\r\n\r\n", 18);
    refuses("\x94\x00\x01\xdb\x06\x40\x00\x00", 8); /* a string of 100 MB */
    refuses("\x94\x00\x01\xa4" "echo" "\xdf\x7f\xff\xff\xff", 13);
    memset(b, 0x91, sizeof b); /* arrays without end */
    refuses(b, sizeof b);
}

static void test_half_a_request(void **unused)
{
    uint8_t b[128];
    size_t n = request(b, sizeof b, "echo", 7);
    int fd = client();
    (void)unused;
    assert_int_equal(write(fd, b, n / 2), n / 2);
    serves();
    close(fd);
    serves();
}

static void test_endless_request(void **unused)
{
    static uint8_t b[RPC_REQUEST_MAX * 2];
    (void)unused;
    memset(b, 'x', sizeof b);
    memcpy(b, "\x94\x00\x01\xa4" "echo" "\xdb\x00\x02\x00\x00", 13);
    refuses(b, sizeof b);
}

static void test_thousand_idle(void **unused)
{
    int fds[1000];
    (void)unused;
    for (int i = 0; i < 1000; i++)
        fds[i] = client();
    serves();
    for (int i = 0; i < 1000; i++)
        close(fds[i]);
    serves();
}

static void test_follow(void **unused)
{
    uint8_t b[256];
    uint64_t v;
    int fd = client();
    size_t n = request(b, sizeof b, "follow", 0);
    struct vi_reader r;
    size_t len;
    (void)unused;
    assert_int_equal(write(fd, b, n), n);
    assert_int_equal(answer(fd, &v), 0);
    n = receive(fd, b, sizeof b);
    vi_reader_init(&r, b, n);
    assert_int_equal(vi_read_array(&r, 3), 3);
    assert_int_equal(vi_read_uint(&r, 9), 2);
    assert_memory_equal(vi_read_str(&r, 64, &len), "event", 5);
    close(fd);
    serves();
}

/* As another user: a stranger is kept out, a member of the group may read and not change. */
static int as_user(uid_t uid, gid_t gid, const char *method, int64_t *code)
{
    int st;
    pid_t p = fork();
    if (p == 0) {
        uint8_t b[128];
        uint64_t v;
        int fd;
        size_t n = request(b, sizeof b, method, 5);
        if (setgid(gid) || setuid(uid))
            _exit(99);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        {
            struct sockaddr_un a = {.sun_family = AF_UNIX};
            snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
            if (connect(fd, (struct sockaddr *)&a, sizeof a))
                _exit(errno == EACCES ? 77 : 98);
        }
        if (write(fd, b, n) != (ssize_t)n)
            _exit(97);
        _exit((int)-answer(fd, &v));
    }
    waitpid(p, &st, 0);
    *code = -(int64_t)WEXITSTATUS(st);
    return WEXITSTATUS(st);
}

static void test_rights(void **unused)
{
    int64_t code;
    (void)unused;
    assert_int_equal(geteuid(), 0);
    assert_int_equal(as_user(12345, 12345, "echo", &code), 77);
    assert_int_equal(as_user(12345, 65534, "echo", &code), 0);
    as_user(12345, 65534, "change", &code);
    assert_int_equal(code, VI_EAUTH);
    serves();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),       cmocka_unit_test(test_bytes_one_by_one),
        cmocka_unit_test(test_garbage),       cmocka_unit_test(test_half_a_request),
        cmocka_unit_test(test_endless_request), cmocka_unit_test(test_thousand_idle),
        cmocka_unit_test(test_follow),        cmocka_unit_test(test_rights),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
