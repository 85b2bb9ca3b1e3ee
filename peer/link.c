/* Messages over a SOCK_SEQPACKET pair. See link.h.
 *
 * A packet is sent at once when nothing waits; else it is kept in a list, with a duplicate of its
 * descriptor, until the socket takes more. Losing the other side is noticed when reading; a send
 * that fails says so to its caller, and the loss itself is told from the loop. */
#include "peer/link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/base/err.h"

#define READS_AT_ONCE 64 /* then the loop's other work gets its turn */
#define VALUES_MAX    16384

struct packet {
    struct packet *next;
    int fd;
    size_t len;
    uint8_t data[];
};

struct link {
    uv_poll_t poll;
    int fd;
    link_on_message *on_message;
    link_on_lost *on_lost;
    void *arg;
    struct packet *first, **last;
    unsigned waiting;
    bool lost, closing, busy; /* busy: inside a callback of ours */
    uint8_t in[LINK_MESSAGE_MAX];
};

/* ---- the form of a message ------------------------------------------------------------------------ */

static void read_error(struct vi_reader *r, struct link_message *m)
{
    if (vi_read_peek(r) == VI_WIRE_NIL) {
        vi_read_nil(r);
        return;
    }
    if (vi_read_array(r, 2) != 2)
        r->err = VI_EPROTO;
    m->err = (int)vi_read_int(r, -1000, -1);
    vi_read_cstr(r, m->text, sizeof m->text);
}

int link_decode(struct link_message *m, const void *data, size_t len)
{
    struct vi_reader r, body;
    size_t used;
    memset(m, 0, sizeof *m);
    if (len > LINK_MESSAGE_MAX || vi_wire_walk(data, len, VI_WIRE_DEPTH, VALUES_MAX, &used) ||
        used != len)
        return VI_EPROTO;
    vi_reader_init(&r, data, len);
    uint32_t n = vi_read_array(&r, 4);
    uint64_t kind = vi_read_uint(&r, LINK_NOTIFICATION);
    m->kind = (enum link_kind)kind;
    if (r.err || n != (kind == LINK_NOTIFICATION ? 3 : 4))
        return VI_EPROTO;
    if (kind != LINK_NOTIFICATION)
        m->id = (uint32_t)vi_read_uint(&r, UINT32_MAX);
    if (kind == LINK_RESPONSE)
        read_error(&r, m);
    else
        vi_read_cstr(&r, m->method, sizeof m->method);
    body = r;
    vi_read_skip(&r);
    if (vi_read_end(&r))
        return VI_EPROTO;
    m->body = body;
    return 0;
}

void link_write_request(struct vi_writer *w, uint32_t id, const char *method)
{
    vi_write_array(w, 4);
    vi_write_uint(w, LINK_REQUEST);
    vi_write_uint(w, id);
    vi_write_str(w, method);
}

void link_write_response(struct vi_writer *w, uint32_t id, int err, const char *text)
{
    vi_write_array(w, 4);
    vi_write_uint(w, LINK_RESPONSE);
    vi_write_uint(w, id);
    if (!err) {
        vi_write_nil(w);
        return;
    }
    text = text ? text : "";
    vi_write_array(w, 2);
    vi_write_int(w, err);
    vi_write_strn(w, text, strnlen(text, LINK_TEXT_MAX - 1));
}

void link_write_notification(struct vi_writer *w, const char *method)
{
    vi_write_array(w, 3);
    vi_write_uint(w, LINK_NOTIFICATION);
    vi_write_str(w, method);
}

/* ---- the socket ------------------------------------------------------------------------------------- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct link *l)
{
    int events = UV_READABLE | (l->first ? UV_WRITABLE : 0);
    if (!l->closing && uv_poll_start(&l->poll, events, on_poll))
        l->lost = true;
}

static void lose(struct link *l, const char *why)
{
    l->lost = true;
    uv_poll_stop(&l->poll);
    l->on_lost(l->arg, why);
}

/* 0, VI_EAGAIN, or VI_EIO. */
static int send_now(struct link *l, const void *data, size_t len, int fd)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        memset(&control, 0, sizeof control);
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
        msg.msg_control = &control;
        msg.msg_controllen = sizeof control.space;
    }
    for (;;) {
        if (sendmsg(l->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return 0;
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ETOOMANYREFS)
            return VI_EAGAIN;
        if (errno != EINTR)
            return VI_EIO;
    }
}

static void drop_first(struct link *l)
{
    struct packet *p = l->first;
    l->first = p->next;
    if (!l->first)
        l->last = &l->first;
    if (p->fd >= 0)
        close(p->fd);
    free(p);
    l->waiting--;
}

static int flush(struct link *l)
{
    while (l->first) {
        int err = send_now(l, l->first->data, l->first->len, l->first->fd);
        if (err)
            return err;
        drop_first(l);
    }
    return 0;
}

int link_send(struct link *l, const void *data, size_t len, int fd)
{
    if (len == 0 || len > LINK_MESSAGE_MAX)
        return VI_EINVAL;
    if (l->lost || l->closing)
        return VI_EIO;
    int err = l->first ? VI_EAGAIN : send_now(l, data, len, fd);
    if (err != VI_EAGAIN)
        return err;
    if (l->waiting >= LINK_QUEUE_MAX)
        return VI_EFULL;
    struct packet *p = malloc(sizeof *p + len);
    if (!p)
        return VI_ENOMEM;
    *p = (struct packet){.fd = -1, .len = len};
    memcpy(p->data, data, len);
    if (fd >= 0 && (p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0) {
        free(p);
        return VI_EIO;
    }
    *l->last = p;
    l->last = &p->next;
    l->waiting++;
    watch(l);
    return 0;
}

/* Takes the first descriptor of a packet, closes any more. */
static int take_fd(struct msghdr *msg)
{
    int fd = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int f;
            memcpy(&f, CMSG_DATA(c) + i * sizeof f, sizeof f);
            if (fd < 0)
                fd = f;
            else
                close(f);
        }
    }
    return fd;
}

/* One packet in. True while there may be another. */
static bool receive(struct link *l)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = l->in, .iov_len = sizeof l->in};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                         .msg_controllen = sizeof control.space};
    ssize_t n = recvmsg(l->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
            return false;
        lose(l, strerror(errno));
        return false;
    }
    int fd = take_fd(&msg);
    if (n == 0) {
        if (fd >= 0)
            close(fd);
        lose(l, "the other side closed the link");
        return false;
    }
    struct link_message m;
    if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || link_decode(&m, l->in, (size_t)n)) {
        if (fd >= 0)
            close(fd);
        lose(l, "the other side sent something malformed");
        return false;
    }
    l->on_message(l->arg, &m, &fd);
    if (fd >= 0)
        close(fd);
    return !l->closing && !l->lost;
}

static void free_link(uv_handle_t *h)
{
    struct link *l = h->data;
    while (l->first)
        drop_first(l);
    close(l->fd);
    free(l);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct link *l = poll->data;
    (void)status; /* an error shows when reading */
    l->busy = true;
    if (events & UV_WRITABLE || status < 0)
        flush(l);
    for (int i = 0; i < READS_AT_ONCE && receive(l); i++)
        ;
    l->busy = false;
    if (l->closing)
        uv_close((uv_handle_t *)&l->poll, free_link);
    else if (!l->lost)
        watch(l);
}

int link_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) ? VI_EIO : 0;
}

struct link *link_open(uv_loop_t *loop, int fd, link_on_message *on_message, link_on_lost *on_lost,
                       void *arg)
{
    int type = 0;
    socklen_t size = sizeof type;
    struct link *l = NULL;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) || type != SOCK_SEQPACKET)
        goto fail;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    l = calloc(1, sizeof *l);
    if (!l || uv_poll_init(loop, &l->poll, fd))
        goto fail;
    l->fd = fd;
    l->poll.data = l;
    l->on_message = on_message;
    l->on_lost = on_lost;
    l->arg = arg;
    l->last = &l->first;
    watch(l);
    return l;
fail:
    free(l);
    if (fd >= 0)
        close(fd);
    return NULL;
}

void link_close(struct link *l)
{
    if (!l || l->closing)
        return;
    l->closing = true;
    uv_poll_stop(&l->poll);
    if (!l->busy)
        uv_close((uv_handle_t *)&l->poll, free_link);
}
