/* The agent link: messages, descriptors, back pressure, an enemy at the other end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "peer/agent_request.h"
#include "peer/base/err.h"
#include "peer/link.h"
#include "peer/link_wire.h"

struct seen {
    unsigned messages, lost, with_fd;
    uint64_t last;
    struct link *l;
    bool close_at_first;
};

static void on_message(void *arg, const struct link_message *m, int *fd)
{
    struct seen *s = arg;
    struct vi_reader r = m->body;
    s->messages++;
    s->last = vi_read_uint(&r, UINT64_MAX);
    struct stat st;
    if (*fd >= 0 && !fstat(*fd, &st))
        s->with_fd++;
    if (s->close_at_first) {
        link_close(s->l);
        s->l = NULL;
    }
}

static void on_lost(void *arg, const char *why)
{
    struct seen *s = arg;
    assert_non_null(why);
    s->lost++;
}

static size_t number(uint8_t *out, size_t cap, uint64_t v, size_t filling)
{
    static uint8_t zeros[LINK_MESSAGE_MAX];
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    if (filling) {
        link_write_request(&w, (uint32_t)v, "list");
        vi_write_bin(&w, zeros, filling);
    } else {
        link_write_notification(&w, "event");
        vi_write_uint(&w, v);
    }
    assert_int_equal(w.err, 0);
    return w.len;
}

static void run(uv_loop_t *loop)
{
    for (int i = 0; i < 50; i++)
        uv_run(loop, UV_RUN_NOWAIT);
}

static void messages_and_descriptors_arrive(void **state)
{
    (void)state;
    uv_loop_t loop;
    int fds[2];
    struct seen a = {0}, b = {0};
    uint8_t m[128];
    uv_loop_init(&loop);
    assert_int_equal(link_pair(fds), 0);
    a.l = link_open(&loop, fds[0], on_message, on_lost, &a);
    b.l = link_open(&loop, fds[1], on_message, on_lost, &b);
    assert_int_equal(link_send(a.l, m, number(m, sizeof m, 7, 0), -1), 0);
    assert_int_equal(link_send(a.l, m, number(m, sizeof m, 8, 0), STDOUT_FILENO), 0);
    run(&loop);
    assert_int_equal(b.messages, 2);
    assert_int_equal(b.last, 8);
    assert_int_equal(b.with_fd, 1);
    b.close_at_first = true;
    assert_int_equal(link_send(a.l, m, number(m, sizeof m, 9, 0), -1), 0);
    run(&loop);
    assert_int_equal(b.messages, 3);
    assert_int_equal(b.lost, 0);
    assert_int_equal(a.lost, 1);
    link_close(a.l);
    run(&loop);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_slow_reader_is_waited_for(void **state)
{
    (void)state;
    uv_loop_t loop;
    int fds[2], err = 0;
    unsigned sent = 0;
    struct seen a = {0}, b = {0};
    static uint8_t m[LINK_MESSAGE_MAX];
    uv_loop_init(&loop);
    assert_int_equal(link_pair(fds), 0);
    a.l = link_open(&loop, fds[0], on_message, on_lost, &a);
    while (!(err = link_send(a.l, m, number(m, sizeof m, sent, 4000), STDOUT_FILENO)))
        sent++;
    assert_int_equal(err, VI_EFULL);
    assert_true(sent > LINK_QUEUE_MAX);
    assert_int_equal(link_send(a.l, m, sizeof m + 1, -1), VI_EINVAL);
    b.l = link_open(&loop, fds[1], on_message, on_lost, &b);
    run(&loop);
    assert_int_equal(b.messages, sent);
    assert_int_equal(b.with_fd, sent);
    link_close(a.l);
    link_close(b.l);
    run(&loop);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void garbage_ends_the_link(void **state)
{
    (void)state;
    uv_loop_t loop;
    int fds[2];
    struct seen a = {0};
    uv_loop_init(&loop);
    assert_int_equal(link_pair(fds), 0);
    a.l = link_open(&loop, fds[0], on_message, on_lost, &a);
    assert_int_equal(send(fds[1], "\xdd\xff\xff\xff\xff", 5, 0), 5);
    run(&loop);
    assert_int_equal(a.messages, 0);
    assert_int_equal(a.lost, 1);
    assert_int_equal(link_send(a.l, "\x90", 1, -1), VI_EIO);
    link_close(a.l);
    close(fds[1]);
    run(&loop);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_null(link_open(&loop, fds[0], on_message, on_lost, &a));
    close(fds[1]);
}

static void a_guest_reads_back(void **state)
{
    (void)state;
    struct hv_guest g, back;
    uint8_t m[4096];
    struct vi_writer w;
    struct vi_reader r;
    memset(&g, 0, sizeof g);
    g.domid = 7;
    g.uuid.b[3] = 9;
    snprintf(g.name, sizeof g.name, "guest");
    g.state = HV_SUSPENDED;
    g.reason = HV_SUSPEND;
    g.n_vifs = HV_VIFS_MAX;
    g.n_disks = HV_DISKS_MAX;
    for (unsigned i = 0; i < HV_VIFS_MAX; i++) {
        snprintf(g.vifs[i].bridge, 16, "vi-1234567%u", i % 10);
        g.disks[i].kind = HV_DISK_SHARED;
        snprintf(g.disks[i].storage_id, 64, "storage%u", i);
    }
    g.report.present = true;
    g.report.steal_ms = 12345;
    g.max_kb = 1u << 30;
    snprintf(g.why_not, sizeof g.why_not, "because");
    vi_writer_init(&w, m, sizeof m);
    link_write_guest(&w, &g);
    assert_int_equal(w.err, 0);
    assert_true(w.len < 2048); /* what the agent's pages count on */
    vi_reader_init(&r, m, w.len);
    link_read_guest(&r, &back);
    assert_int_equal(vi_read_end(&r), 0);
    assert_memory_equal(&g, &back, sizeof g);
    for (size_t cut = 0; cut < w.len; cut++) {
        vi_reader_init(&r, m, cut);
        link_read_guest(&r, &back);
        assert_int_not_equal(r.err, 0);
    }
}

static int request(const char *method, uint32_t domid, size_t id_len, bool more)
{
    uint8_t m[256], id[32] = {1};
    struct link_message lm;
    struct agent_request q;
    struct vi_writer w;
    vi_writer_init(&w, m, sizeof m);
    link_write_request(&w, 5, method);
    vi_write_array(&w, more ? 3 : 2);
    vi_write_uint(&w, domid);
    vi_write_bin(&w, id, id_len);
    if (more)
        vi_write_uint(&w, 1);
    assert_int_equal(link_decode(&lm, m, w.len), 0);
    int err = agent_request_decode(&q, &lm);
    assert_int_equal(q.id, 5);
    return err;
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    assert_int_equal(request("destroy", 3, 16, false), 0);
    assert_int_equal(request("destroy", 0, 16, false), VI_EPROTO);
    assert_int_equal(request("destroy", 0x7ff0, 16, false), VI_EPROTO);
    assert_int_equal(request("destroy", 3, 15, false), VI_EPROTO);
    assert_int_equal(request("destroy", 3, 16, true), VI_EPROTO);
    assert_int_equal(request("set_memory", 3, 16, true), 0);
    assert_int_equal(request("set_memory", 3, 16, false), VI_EPROTO);
    assert_int_equal(request("list", 3, 16, false), VI_EPROTO);
    assert_int_equal(request("format", 3, 16, false), VI_EUNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_and_descriptors_arrive),
        cmocka_unit_test(a_slow_reader_is_waited_for),
        cmocka_unit_test(garbage_ends_the_link),
        cmocka_unit_test(a_guest_reads_back),
        cmocka_unit_test(bad_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
