/* Asking a peer. See cli_client.h. */
#include "peer/cli_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/cli.h"
#include "peer/cli_show.h"

int cli_connect(struct cli_client *c, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    memset(c, 0, sizeof *c);
    c->fd = c->stop_fd = -1;
    if (strlen(path) >= sizeof a.sun_path) {
        fprintf(stderr, "violin: %s: the socket's path is too long\n", path);
        return CLI_USAGE;
    }
    strcpy(a.sun_path, path);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd >= 0 && connect(c->fd, (struct sockaddr *)&a, sizeof a) == 0)
        return 0;
    if (errno == ENOENT || errno == ECONNREFUSED)
        fprintf(stderr, "violin: no peer answers at %s: start it (systemctl start violin), or give its socket with -s\n",
                path);
    else if (errno == EACCES)
        fprintf(stderr, "violin: %s: you are neither root nor in the peer's group\n", path);
    else
        fprintf(stderr, "violin: %s: %s\n", path, strerror(errno));
    cli_disconnect(c);
    return CLI_NO_PEER;
}

void cli_disconnect(struct cli_client *c)
{
    if (c->has_answer)
        msgpack_unpacked_destroy(&c->answer);
    c->has_answer = false;
    free(c->in);
    c->in = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void cli_params_init(struct cli_params *p)
{
    vi_writer_init(&p->w, p->bytes, sizeof p->bytes);
}

static int lost(const char *what)
{
    fprintf(stderr, "violin: the peer %s\n", what);
    return CLI_NO_PEER;
}

static int send_all(int fd, const uint8_t *p, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* false: it is time to end. */
static bool wait_readable(const struct cli_client *c)
{
    struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN}, {.fd = c->stop_fd, .events = POLLIN}};
    int n;
    if (c->stop_fd < 0)
        return true;
    do
        n = poll(p, 2, -1);
    while (n < 0 && errno == EINTR);
    return n > 0 && !p[1].revents;
}

/* Reads until one whole message is there, and unpacks it into c->answer. */
static int next_message(struct cli_client *c)
{
    size_t used, off = 0;
    /* only now: the strings of the message before are in these bytes */
    if (c->in_used)
        memmove(c->in, c->in + c->in_used, c->in_len - c->in_used);
    c->in_len -= c->in_used;
    c->in_used = 0;
    for (;;) {
        int err = vi_wire_walk(c->in, c->in_len, 16, 2000000, &used);
        ssize_t n;
        if (!err)
            break;
        if (err != VI_EAGAIN || c->in_len >= CLI_ANSWER_MAX)
            return lost("answered something that is no msgpack-RPC");
        if (c->in_cap - c->in_len < 65536) {
            size_t cap = c->in_cap ? c->in_cap * 2 : 131072;
            uint8_t *p = realloc(c->in, cap);
            if (!p)
                return lost("answered more than there is memory for");
            c->in = p;
            c->in_cap = cap;
        }
        if (!wait_readable(c))
            return CLI_STOPPED;
        n = read(c->fd, c->in + c->in_len, c->in_cap - c->in_len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return lost("closed the connection");
        c->in_len += (size_t)n;
    }
    if (c->has_answer)
        msgpack_unpacked_destroy(&c->answer);
    msgpack_unpacked_init(&c->answer);
    c->has_answer = true;
    /* what was walked is bounded by the bytes that came, so unpacking it is too */
    if (msgpack_unpack_next(&c->answer, (const char *)c->in, used, &off) != MSGPACK_UNPACK_SUCCESS)
        return lost("answered something that can't be unpacked");
    c->in_used = used;
    return 0;
}

static int print_error(const msgpack_object *e)
{
    char text[1024];
    fprintf(stderr, "violin: %s\n", cli_get_text(e, "message", text, sizeof text) ? text : "refused");
    return CLI_FAILED;
}

int cli_call(struct cli_client *c, const char *method, const struct cli_params *params,
             msgpack_object *result)
{
    static const uint8_t empty_map[1] = {0x80};
    uint8_t head[128];
    struct vi_writer w;
    uint32_t id = ++c->next_id;
    if (params && params->w.err) {
        fprintf(stderr, "violin: an argument is too long\n");
        return CLI_USAGE;
    }
    vi_writer_init(&w, head, sizeof head);
    vi_write_array(&w, 4);
    vi_write_uint(&w, 0);
    vi_write_uint(&w, id);
    vi_write_str(&w, method);
    if (send_all(c->fd, head, w.len) ||
        send_all(c->fd, params ? params->bytes : empty_map, params ? params->w.len : 1)) {
        /* it may have said why before it closed */
        if (next_message(c))
            return CLI_NO_PEER;
    } else {
        int err = next_message(c);
        if (err)
            return err;
    }
    for (;;) {
        const msgpack_object *o = &c->answer.data;
        int err;
        if (o->type == MSGPACK_OBJECT_ARRAY && o->via.array.size == 4) {
            const msgpack_object *v = o->via.array.ptr;
            bool ours = v[1].type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
                        (v[1].via.u64 == id || (v[1].via.u64 == 0 && v[2].type != MSGPACK_OBJECT_NIL));
            if (ours && v[2].type != MSGPACK_OBJECT_NIL)
                return c->quiet ? CLI_FAILED : print_error(&v[2]);
            if (ours) {
                *result = v[3];
                return 0;
            }
        }
        err = next_message(c);
        if (err)
            return err;
    }
}

int cli_notification(struct cli_client *c, const char *method, msgpack_object *params)
{
    for (;;) {
        const msgpack_object *o;
        int err = next_message(c);
        if (err)
            return err;
        o = &c->answer.data;
        if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != 3 ||
            o->via.array.ptr[1].type != MSGPACK_OBJECT_STR)
            continue;
        if (o->via.array.ptr[1].via.str.size == strlen(method) &&
            !memcmp(o->via.array.ptr[1].via.str.ptr, method, strlen(method))) {
            *params = o->via.array.ptr[2];
            return 0;
        }
    }
}
