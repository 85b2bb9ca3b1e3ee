/* libxl's descriptors, timeouts, children and log on the agent's libuv loop.
 *
 * libxl_event.h says what the hooks must do. Three things that it does not say, from running it:
 * it may register one descriptor twice (libuv can't: so each is duplicated); uv_poll_init makes the
 * open file non-blocking, with which libxl's reads from its helper then fail (so the flags are put
 * back); a timeout is only ever modified to {0,0}, "now". */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "peer/base/log.h"
#include "xen/libxl_internal.h"

struct fd_hook {
    uv_poll_t poll;
    libxl_ctx *ctx;
    int fd, copy;
    short events;
    void *for_libxl;
};

static void fd_closed(uv_handle_t *h)
{
    struct fd_hook *r = h->data;
    close(r->copy);
    free(r);
}

static void fd_ready(uv_poll_t *h, int status, int events)
{
    struct fd_hook *r = h->data;
    short revents = 0;

    if (events & UV_READABLE)
        revents = POLLIN;
    if (events & UV_WRITABLE)
        revents = (short)(revents | POLLOUT);
    if (events & UV_PRIORITIZED)
        revents = (short)(revents | POLLPRI);
    if (status < 0)
        revents = (short)(revents | POLLERR);
    libxl_osevent_occurred_fd(r->ctx, r->for_libxl, r->fd, r->events, revents);
}

static int fd_listen(struct fd_hook *r, short events)
{
    int mask = 0;

    r->events = events;
    if (events & POLLIN)
        mask |= UV_READABLE;
    if (events & POLLOUT)
        mask |= UV_WRITABLE;
    if (events & POLLPRI)
        mask |= UV_PRIORITIZED;
    return (mask ? uv_poll_start(&r->poll, mask, fd_ready) : uv_poll_stop(&r->poll))
               ? ERROR_OSEVENT_REG_FAIL
               : 0;
}

static int fd_register(void *user, int fd, void **out, short events, void *for_libxl)
{
    struct lx *lx = user;
    struct fd_hook *r = calloc(1, sizeof *r);
    int flags = fcntl(fd, F_GETFL);

    if (!r)
        return ERROR_NOMEM;
    r->ctx = lx->ctx;
    r->fd = fd;
    r->for_libxl = for_libxl;
    r->copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (r->copy < 0 || uv_poll_init(lx->loop, &r->poll, r->copy)) {
        if (r->copy >= 0)
            close(r->copy);
        free(r);
        return ERROR_OSEVENT_REG_FAIL;
    }
    fcntl(fd, F_SETFL, flags);
    r->poll.data = r;
    *out = r;
    if (fd_listen(r, events)) {
        uv_close((uv_handle_t *)&r->poll, fd_closed);
        return ERROR_OSEVENT_REG_FAIL;
    }
    return 0;
}

static int fd_modify(void *user, int fd, void **registration, short events)
{
    (void)user;
    (void)fd;
    return fd_listen(*registration, events);
}

static void fd_deregister(void *user, int fd, void *registration)
{
    struct fd_hook *r = registration;
    (void)user;
    (void)fd;
    uv_poll_stop(&r->poll);
    uv_close((uv_handle_t *)&r->poll, fd_closed);
}

struct timeout_hook {
    uv_timer_t timer;
    libxl_ctx *ctx;
    void *for_libxl;
};

static void timeout_closed(uv_handle_t *h)
{
    free(h->data);
}

static void timeout_fired(uv_timer_t *t)
{
    struct timeout_hook *r = t->data;
    libxl_ctx *ctx = r->ctx;
    void *for_libxl = r->for_libxl;

    uv_close((uv_handle_t *)t, timeout_closed);
    libxl_osevent_occurred_timeout(ctx, for_libxl);
}

static int timeout_register(void *user, void **out, struct timeval at, void *for_libxl)
{
    struct lx *lx = user;
    struct timeout_hook *r = calloc(1, sizeof *r);
    struct timeval now;

    if (!r)
        return ERROR_NOMEM;
    gettimeofday(&now, NULL);
    int64_t ms = ((int64_t)at.tv_sec - now.tv_sec) * 1000 + (at.tv_usec - now.tv_usec) / 1000;
    r->ctx = lx->ctx;
    r->for_libxl = for_libxl;
    uv_timer_init(lx->loop, &r->timer);
    r->timer.data = r;
    uv_update_time(lx->loop);
    uv_timer_start(&r->timer, timeout_fired, ms > 0 ? (uint64_t)ms : 0, 0);
    *out = r;
    return 0;
}

static int timeout_modify(void *user, void **registration, struct timeval at)
{
    struct timeout_hook *r = *registration;
    (void)user;
    (void)at;
    uv_timer_start(&r->timer, timeout_fired, 0, 0);
    return 0;
}

/* libxl never calls it (libxl_event.h: "will never be called"), but wants one. */
static void timeout_deregister(void *user, void *registration)
{
    struct timeout_hook *r = registration;
    (void)user;
    uv_timer_stop(&r->timer);
    uv_close((uv_handle_t *)&r->timer, timeout_closed);
}

static const libxl_osevent_hooks osevent_hooks = {
    .fd_register = fd_register,
    .fd_modify = fd_modify,
    .fd_deregister = fd_deregister,
    .timeout_register = timeout_register,
    .timeout_modify = timeout_modify,
    .timeout_deregister = timeout_deregister,
};

/* libxl and libuv each wait only for the children that they started, by their ids. */
static const libxl_childproc_hooks childproc_hooks = {.chldowner = libxl_sigchld_owner_mainloop};

static void on_sigchld(uv_signal_t *h, int signum)
{
    struct lx *lx = h->data;
    (void)signum;
    if (lx->ctx)
        libxl_childproc_sigchld_occurred(lx->ctx);
}

int lx_loop_open(struct lx *lx)
{
    libxl_osevent_register_hooks(lx->ctx, &osevent_hooks, lx);
    libxl_childproc_setmode(lx->ctx, &childproc_hooks, lx);
    if (uv_signal_init(lx->loop, &lx->sigchld))
        return VI_EIO;
    lx->handles++;
    lx->sigchld.data = lx;
    return uv_signal_start(&lx->sigchld, on_sigchld, SIGCHLD) ? VI_EIO : 0;
}

static void logger_message(xentoollog_logger *logger, xentoollog_level level, int errnoval,
                           const char *context, const char *format, va_list args)
{
    char text[1024];
    enum vi_level l = level >= XTL_ERROR ? VI_LOG_ERROR
                      : level >= XTL_WARN ? VI_LOG_WARN
                                          : VI_LOG_DEBUG;
    (void)logger;
    (void)errnoval;
    if (level < XTL_NOTICE)
        return;
    vsnprintf(text, sizeof text, format, args);
    vi_log(l, "libxl", "%s%s%s", context ? context : "", context ? ": " : "", text);
}

static void logger_destroy(xentoollog_logger *logger)
{
    (void)logger;
}

void lx_logger_init(struct lx *lx)
{
    lx->logger = (xentoollog_logger){.vmessage = logger_message, .destroy = logger_destroy};
}
