/* A client of the control socket. The first byte says in pieces of how many bytes the rest is sent (0:
 * whole); every answer must be an answer, and nothing may be left of the client when it has gone. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "peer/rpc.h"
#include "peer/rpc_write.h"

#define WAITING 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64], path[96];
static uv_loop_t loop;
static struct rpc *rpc;
static struct rpc_call *waiting[WAITING];
static unsigned n_waiting;

static void do_echo(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    char text[64];
    struct vi_writer *w;
    (void)arg;
    if (!rpc_param_text(call, *params, "text", true, text, sizeof text))
        return;
    w = rpc_begin(call, 256);
    if (!w)
        return;
    vi_write_str(w, text);
    rpc_end(call);
}

static void do_follow(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    static const uint8_t event[] = {0x81, 0xa1, 'n', 7};
    struct vi_writer *w;
    (void)arg;
    (void)params;
    rpc_follow(call);
    w = rpc_begin(call, 16);
    if (w)
        vi_write_nil(w);
    rpc_end(call);
    rpc_notify(rpc, "event", event, sizeof event);
}

/* Answered when the client has gone, or when there are too many. */
static void do_wait(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    (void)arg;
    (void)params;
    if (n_waiting == WAITING)
        rpc_error(call, -3, "too many");
    else
        waiting[n_waiting++] = call;
}

static const struct rpc_entry table[] = {
    {"echo", do_echo, false}, {"follow", do_follow, false}, {"wait", do_wait, true}, {NULL, NULL, false}};

static void clean(void)
{
    unlink(path);
    rmdir(dir);
}

static void set_up(void)
{
    char why[200];
    snprintf(dir, sizeof dir, "/tmp/violin-fuzz-XXXXXX");
    if (!mkdtemp(dir))
        abort();
    snprintf(path, sizeof path, "%s/s", dir);
    uv_loop_init(&loop);
    rpc = rpc_open(&loop, path, NULL, table, NULL, why, sizeof why);
    if (!rpc)
        abort();
    atexit(clean);
}

static int connected(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a))
        abort();
    uv_run(&loop, UV_RUN_NOWAIT);
    if (rpc_clients(rpc) != 1)
        abort();
    return fd;
}

/* Reads what has come and drops the whole answers from it; false at the end of the connection. */
static bool hear(int fd)
{
    static uint8_t in[1 << 16];
    static size_t have;
    size_t used, at = 0;
    ssize_t n;
    if (fd < 0) {
        have = 0;
        return false;
    }
    n = recv(fd, in + have, sizeof in - have, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    have += (size_t)n;
    while (at < have && vi_wire_walk(in + at, have - at, VI_WIRE_DEPTH, 4096, &used) == 0) {
        struct vi_reader r;
        uint32_t fields;
        vi_reader_init(&r, in + at, used);
        fields = vi_read_array(&r, 4);
        if (vi_read_uint(&r, 2) != (fields == 4 ? 1U : 2U) || fields < 3 || r.err)
            abort();
        at += used;
    }
    memmove(in, in + at, have - at);
    have -= at;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t piece;
    int fd;
    if (size < 2)
        return 0;
    if (!rpc)
        set_up();
    fd = connected();
    piece = data[0] ? data[0] : size;
    if (size / piece > 300)
        piece = size / 300;
    data++, size--;
    while (size) {
        size_t n = piece < size ? piece : size;
        ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);
        uv_run(&loop, UV_RUN_NOWAIT);
        if (!hear(fd) || (sent < 0 && errno != EAGAIN))
            break;
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        }
    }
    close(fd);
    hear(-1);
    for (unsigned i = 0; i < 10 && rpc_clients(rpc); i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    uv_run(&loop, UV_RUN_NOWAIT);
    if (rpc_clients(rpc) || rpc_has_followers(rpc))
        abort();
    while (n_waiting) /* to nobody */
        rpc_error(waiting[--n_waiting], -1, "gone");
    return 0;
}
