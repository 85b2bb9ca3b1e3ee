/* The trace ring, and what a crash leaves on stderr. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer/base/trace.h"

static void quiet(void *arg, enum vi_level l, const char *area, const char *text)
{
    unsigned *n = arg;
    (void)l, (void)area, (void)text;
    (*n)++;
}

static void newest_are_kept(void **state)
{
    struct trace_entry e;
    char text[32];
    uint64_t seq = 0, first, n = 0;
    (void)state;
    while (trace_after(seq, &e))
        seq = e.seq;
    first = seq + 1;
    for (unsigned i = 0; i < TRACE_KEPT + 100; i++) {
        snprintf(text, sizeof text, "entry %u", i);
        trace_add(VI_LOG_DEBUG, "test", text);
    }
    assert_true(trace_after(seq, &e));
    assert_int_equal(e.seq, first + 100); /* the oldest went */
    assert_string_equal(e.text, "entry 100");
    assert_string_equal(e.area, "test");
    for (seq = 0; trace_after(seq, &e); seq = e.seq) {
        assert_true(seq == 0 || e.seq == seq + 1);
        n++;
    }
    assert_int_equal(n, TRACE_KEPT);
    assert_string_equal(e.text, "entry 611");
    assert_false(trace_after(seq, &e));
    assert_false(trace_after(UINT64_MAX, &e));
}

static void long_texts_are_cut(void **state)
{
    struct trace_entry e;
    char text[600];
    uint64_t seq = 0;
    (void)state;
    while (trace_after(seq, &e))
        seq = e.seq;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    trace_add(VI_LOG_WARN, "an area with a long name", text);
    assert_true(trace_after(seq, &e));
    assert_int_equal(strlen(e.text), TRACE_TEXT - 1);
    assert_int_equal(strlen(e.area), TRACE_AREA - 1);
    assert_int_equal(e.level, VI_LOG_WARN);
}

static void log_below_its_level_is_traced(void **state)
{
    struct trace_entry e, last = {0};
    unsigned printed = 0;
    (void)state;
    vi_log_sink(quiet, &printed);
    vi_log_level(VI_LOG_INFO);
    vi_log(VI_LOG_DEBUG, "test", "number %d\n", 7);
    assert_int_equal(printed, 0);
    vi_log(VI_LOG_INFO, "test", "said");
    assert_int_equal(printed, 1);
    vi_log_sink(NULL, NULL);
    for (uint64_t seq = 0; trace_after(seq, &e); seq = e.seq) {
        if (!strcmp(e.text, "said"))
            assert_string_equal(last.text, "number 7?"); /* control characters are gone here, too */
        last = e;
    }
    assert_string_equal(last.text, "said");
}

static void crash_tells(void **state)
{
    char out[16384];
    size_t n = 0;
    ssize_t r;
    int fds[2], status;
    pid_t pid;
    (void)state;
    assert_int_equal(pipe(fds), 0);
    fflush(stdout);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], 2);
        trace_add(VI_LOG_DEBUG, "test", "just before");
        trace_on_crash("violin-test");
        raise(SIGSEGV);
        _exit(0);
    }
    close(fds[1]);
    while (n < sizeof out - 1 && (r = read(fds[0], out + n, sizeof out - 1 - n)) > 0)
        n += (size_t)r;
    out[n] = 0;
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    assert_non_null(strstr(out, "violin-test crashes with signal 11"));
    assert_non_null(strstr(out, " test: just before\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_are_kept),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(log_below_its_level_is_traced),
        cmocka_unit_test(crash_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
