/* For the tests of the commands that ask a peer: a server that answers what a test wants, and the command,
 * run in a process of its own. */
#ifndef TESTS_UNIT_CLI_SERVER_H
#define TESTS_UNIT_CLI_SERVER_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"
#include "peer/cli.h"

/* Writes whole messages in answer to a request: a response with this id, and what else it likes. */
typedef void answer_fn(const char *method, uint64_t id, struct vi_writer *w);

static char dir[64], path[96];
static int listener;
static pthread_t thread;
static answer_fn *answer;
static char asked[4096]; /* "method {key value …}\n" of each request; complete once the client has ended */
static char out[65536], err[4096];

/* ---- the server ---- */

static inline void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void note(const char *fmt, ...)
{
    size_t at = strlen(asked);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(asked + at, sizeof asked - at, fmt, ap);
    va_end(ap);
}

static inline void note_params(struct vi_reader *r)
{
    uint32_t n = vi_read_map(r, 32);
    note(" {");
    for (uint32_t i = 0; i < n; i++) {
        char text[128];
        vi_read_cstr(r, text, sizeof text);
        note("%s%s ", i ? " " : "", text);
        if (vi_read_peek(r) == VI_WIRE_STR) {
            vi_read_cstr(r, text, sizeof text);
            note("%s", text);
        } else if (vi_read_peek(r) == VI_WIRE_ARRAY) {
            uint32_t m = vi_read_array(r, 16);
            note("[");
            while (m--) {
                vi_read_cstr(r, text, sizeof text);
                note("%s%s", text, m ? " " : "");
            }
            note("]");
        } else
            note("%llu", (unsigned long long)vi_read_uint(r, UINT64_MAX));
    }
    note("}\n");
}

static inline void serve(int fd)
{
    static uint8_t in[65536], reply[65536];
    size_t have = 0, used;
    for (;;) {
        struct vi_reader r;
        struct vi_writer w;
        char method[64];
        uint64_t id;
        ssize_t n;
        while (have == 0 || vi_wire_walk(in, have, 8, 1000, &used)) {
            if ((n = read(fd, in + have, sizeof in - have)) <= 0)
                return;
            have += (size_t)n;
        }
        vi_reader_init(&r, in, used);
        if (vi_read_array(&r, 4) != 4 || vi_read_uint(&r, 0) != 0)
            note("not a request\n");
        id = vi_read_uint(&r, UINT32_MAX);
        vi_read_cstr(&r, method, sizeof method);
        note("%s", method);
        note_params(&r);
        if (vi_read_end(&r))
            note("malformed\n");
        memmove(in, in + used, have - used);
        have -= used;
        vi_writer_init(&w, reply, sizeof reply);
        answer(method, id, &w);
        if (w.len == 0)
            return; /* hangs up */
        for (size_t at = 0; at < w.len; at += 7) /* in pieces */
            if (send(fd, reply + at, w.len - at < 7 ? w.len - at : 7, MSG_NOSIGNAL) < 0)
                return;
    }
}

static inline void *server(void *arg)
{
    int fd;
    (void)arg;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        serve(fd);
        close(fd);
    }
    return NULL;
}

static inline int set_up(void **unused)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)unused;
    setenv("TZ", "UTC", 1);
    snprintf(dir, sizeof dir, "/tmp/violin-cli-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/sock", dir);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(listener, 4), 0);
    return pthread_create(&thread, NULL, server, NULL);
}

static inline int tear_down(void **unused)
{
    (void)unused;
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
    unlink(path);
    rmdir(dir);
    return 0;
}

/* ---- the client ---- */

static inline void read_all(FILE *f, char *to, size_t cap)
{
    size_t n;
    rewind(f);
    n = fread(to, 1, cap - 1, f);
    to[n] = 0;
    fclose(f);
}

static inline int run_at(const char *socket_path, const char *words)
{
    FILE *o = tmpfile(), *e = tmpfile();
    char copy[512], *argv[32], *save = NULL;
    int argc = 0, status;
    pid_t pid;
    snprintf(copy, sizeof copy, "%s", words);
    for (char *t = strtok_r(copy, " ", &save); t; t = strtok_r(NULL, " ", &save))
        argv[argc++] = t;
    argv[argc] = NULL;
    asked[0] = 0;
    fflush(stdout);
    fflush(stderr);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fileno(o), 1);
        dup2(fileno(e), 2);
        status = cli_run(socket_path, argc, argv);
        fflush(stdout);
        _exit(status);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    read_all(o, out, sizeof out);
    read_all(e, err, sizeof err);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static inline int run(const char *words, answer_fn *with)
{
    answer = with;
    return run_at(path, words);
}

static inline void says(const char *where, const char *what)
{
    if (!strstr(where, what))
        fail_msg("`%s` isn't in `%s`", what, where);
}

/* ---- answers ---- */

static inline void response(struct vi_writer *w, uint64_t id)
{
    vi_write_array(w, 4);
    vi_write_uint(w, 1);
    vi_write_uint(w, id);
    vi_write_nil(w);
}

static inline void text(struct vi_writer *w, const char *key, const char *value)
{
    vi_write_str(w, key);
    vi_write_str(w, value);
}

static inline void number(struct vi_writer *w, const char *key, double value)
{
    vi_write_str(w, key);
    vi_write_double(w, value);
}

static inline void refuse(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    vi_write_array(w, 4);
    vi_write_uint(w, 1);
    vi_write_uint(w, id);
    vi_write_map(w, 2);
    vi_write_str(w, "code");
    vi_write_int(w, VI_EREFUSED);
    text(w, "message", "no guest `x\x1b[2J\xc2\x9b" "31m\xff`");
    vi_write_nil(w);
}

static inline void empty(const char *method, uint64_t id, struct vi_writer *w)
{
    response(w, id);
    if (!strcmp(method, "members") || !strcmp(method, "reachability") || !strcmp(method, "guests") || strstr(method, ".list") || !strcmp(method, "revocations") || !strcmp(method, "events") ||
        !strcmp(method, "trace"))
        vi_write_array(w, 0);
    else
        vi_write_map(w, 0);
}

#endif
