/* The commands that ask a peer, against a server that answers what a test wants: what is asked, what is
 * printed, what the exit status is. Each command runs in a process of its own. */
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
#include <jansson.h>

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

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *fmt, ...)
{
    size_t at = strlen(asked);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(asked + at, sizeof asked - at, fmt, ap);
    va_end(ap);
}

static void note_params(struct vi_reader *r)
{
    uint32_t n = vi_read_map(r, 16);
    note(" {");
    for (uint32_t i = 0; i < n; i++) {
        char text[128];
        vi_read_cstr(r, text, sizeof text);
        note("%s%s ", i ? " " : "", text);
        if (vi_read_peek(r) == VI_WIRE_STR) {
            vi_read_cstr(r, text, sizeof text);
            note("%s", text);
        } else
            note("%llu", (unsigned long long)vi_read_uint(r, UINT64_MAX));
    }
    note("}\n");
}

static void serve(int fd)
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

static void *server(void *arg)
{
    int fd;
    (void)arg;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        serve(fd);
        close(fd);
    }
    return NULL;
}

static int set_up(void **unused)
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

static int tear_down(void **unused)
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

static void read_all(FILE *f, char *to, size_t cap)
{
    size_t n;
    rewind(f);
    n = fread(to, 1, cap - 1, f);
    to[n] = 0;
    fclose(f);
}

static int run_at(const char *socket_path, const char *words)
{
    FILE *o = tmpfile(), *e = tmpfile();
    char copy[512], *argv[16], *save = NULL;
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

static int run(const char *words, answer_fn *with)
{
    answer = with;
    return run_at(path, words);
}

static void says(const char *where, const char *what)
{
    if (!strstr(where, what))
        fail_msg("`%s` isn't in `%s`", what, where);
}

/* ---- answers ---- */

static void response(struct vi_writer *w, uint64_t id)
{
    vi_write_array(w, 4);
    vi_write_uint(w, 1);
    vi_write_uint(w, id);
    vi_write_nil(w);
}

static void text(struct vi_writer *w, const char *key, const char *value)
{
    vi_write_str(w, key);
    vi_write_str(w, value);
}

static void number(struct vi_writer *w, const char *key, double value)
{
    vi_write_str(w, key);
    vi_write_double(w, value);
}

static void refuse(const char *method, uint64_t id, struct vi_writer *w)
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

static void empty(const char *method, uint64_t id, struct vi_writer *w)
{
    response(w, id);
    if (!strcmp(method, "members") || !strcmp(method, "reachability") || !strcmp(method, "guests") || strstr(method, ".list") || !strcmp(method, "revocations") || !strcmp(method, "events") ||
        !strcmp(method, "trace"))
        vi_write_array(w, 0);
    else
        vi_write_map(w, 0);
}

static void status(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 6);
    text(w, "host", "north\xc3\xa9");
    text(w, "mode", "observe");
    number(w, "uptime_s", 7200);
    vi_write_str(w, "members");
    vi_write_map(w, 1);
    vi_write_str(w, "alive");
    vi_write_uint(w, 3);
    vi_write_str(w, "warnings");
    vi_write_array(w, 1);
    vi_write_str(w, "one copy is suspended");
    text(w, "of_a_later_version", "\"quoted\\\"\n\x01\xff");
}

static void members(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_array(w, 2);
    vi_write_map(w, 4);
    text(w, "name", "north");
    text(w, "id", "00112233445566778899aabbccddeeff");
    text(w, "state", "alive");
    number(w, "memory_free_mib", 1024.4);
    vi_write_map(w, 2);
    text(w, "name", "a-much-longer-name");
    text(w, "state", "suspect");
}

static void write_event(struct vi_writer *w, uint64_t seq, const char *what)
{
    vi_write_map(w, 4);
    vi_write_str(w, "seq");
    vi_write_uint(w, seq);
    number(w, "at", 1700000000.25);
    text(w, "kind", "memory");
    text(w, "text", what);
}

static void notify(struct vi_writer *w, const char *method, uint64_t seq, const char *what)
{
    vi_write_array(w, 3);
    vi_write_uint(w, 2);
    vi_write_str(w, method);
    write_event(w, seq, what);
}

/* An event happens between the answers to follow and to events: it is in both. */
static void events(const char *method, uint64_t id, struct vi_writer *w)
{
    response(w, id);
    if (!strcmp(method, "events.follow")) {
        vi_write_map(w, 0);
        notify(w, "event", 2, "second");
        return;
    }
    vi_write_array(w, 2);
    write_event(w, 1, "first");
    write_event(w, 2, "second");
    notify(w, "event", 2, "second");
    notify(w, "other", 3, "of another kind");
    notify(w, "event", 3, "third");
    vi_write_str(w, "no message of the protocol");
    w->data[w->len++] = 0xc1; /* begins nothing */
}

static unsigned shown;

static void moving(const char *method, uint64_t id, struct vi_writer *w)
{
    static const char *const states[] = {"offered", "streaming", "done"};
    response(w, id);
    if (!strcmp(method, "migrate")) {
        shown = 0;
        vi_write_map(w, 1);
        text(w, "handover", "0123");
        return;
    }
    vi_write_map(w, 4);
    text(w, "state", states[shown < 2 ? shown : 2]);
    shown++;
    number(w, "bytes", 20971520);
    number(w, "memory_mib", 96);
    number(w, "since_s", 2);
}

static void failing(const char *method, uint64_t id, struct vi_writer *w)
{
    response(w, id);
    vi_write_map(w, 2);
    text(w, !strcmp(method, "migrate") ? "handover" : "state", !strcmp(method, "migrate") ? "0123" : "refused");
    text(w, "why", "no room at south");
}

static void token(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 2);
    text(w, "token", "violin1-abc");
    number(w, "expires_at", 1700000000);
}

static void hang_up(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    (void)id;
    (void)w;
}

static void garbage(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    (void)id;
    w->data[0] = 0xc1;
    w->len = 1;
}

static void bomb(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    (void)id;
    memcpy(w->data, "\xdd\x00\xff\xff\xff", 5);
    w->len = 5;
}

static void deep(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    (void)id;
    memset(w->data, 0x91, 40);
    w->len = 40;
}

static void cert(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 5);
    text(w, "host", "north");
    text(w, "issued_by", "the authority");
    number(w, "not_after", 1700000000);
    text(w, "capabilities", "admit,renew");
    vi_write_str(w, "authorities");
    vi_write_array(w, 2);
    vi_write_map(w, 2);
    text(w, "id", "aa11");
    text(w, "state", "newest");
    vi_write_map(w, 3);
    text(w, "id", "bb22");
    text(w, "state", "trusted");
    number(w, "until", 1700000000);
}

static void revocations(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_array(w, 1);
    vi_write_map(w, 4);
    text(w, "peer", "00112233445566778899aabbccddeeff");
    text(w, "host", "south");
    text(w, "by", "the authority");
    text(w, "why", "lost\x1b[2J");
}

/* ---- tests ---- */

static void test_keys(void **unused)
{
    (void)unused;
    assert_int_equal(run("cert", cert), CLI_OK);
    says(out, "issued by");
    says(out, "the authority");
    says(out, "admit,renew");
    says(out, "trusted");
    says(out, "2023-11-14");
    assert_int_equal(run("revocations", revocations), CLI_OK);
    says(out, "south");
    says(out, "00112233");
    assert_null(strchr(out, 0x1b));
    assert_int_equal(run("revocations", empty), CLI_OK);
    says(out, "nobody was revoked");
    assert_int_equal(run("revoke x", refuse), CLI_FAILED);
    assert_string_equal(out, "");
}

static void test_requests(void **unused)
{
    static const struct {
        const char *words, *asked;
    } t[] = {
        {"status", "status {}\n"},
        {"members", "members {}\n"},
        {"reachability", "reachability {}\n"},
        {"reachability host3 --json", "reachability {peer host3}\n"},
        {"guests --json", "guests {}\n"},
        {"env list", "env.list {}\n"},
        {"env create web", "env.create {name web shares 100}\n"},
        {"env create web --shares 7", "env.create {name web shares 7}\n"},
        {"env show web", "env.show {name web}\n"},
        {"env remove web", "env.remove {name web}\n"},
        {"explain g1", "explain {guest g1}\n"},
        {"events", "events {after 0 limit 50}\n"},
        {"events --after 9 --limit 2", "events {after 9 limit 2}\n"},
        {"handover list", "handover.list {}\n"},
        {"handover resolve 0a keep-here", "handover.resolve {id 0a action keep-here}\n"},
        {"mode", "mode.get {}\n"},
        {"mode auto", "mode.set {mode auto}\n"},
        {"invite", "invite {uses 1 ttl_s 3600}\n"},
        {"invite --uses 3 --ttl 7d", "invite {uses 3 ttl_s 604800}\n"},
        {"invite --ttl 90", "invite {uses 1 ttl_s 90}\n"},
        {"cert", "cert {}\n"},
        {"cert renew", "cert.renew {}\n"},
        {"revoke host3", "revoke {host host3}\n"},
        {"revoke host3 --why stolen", "revoke {host host3 why stolen}\n"},
        {"revocations", "revocations {}\n"},
        {"delegate host2 admit,renew", "delegate {host host2 capabilities admit,renew ttl_s 31536000}\n"},
        {"delegate host2 none --ttl 2d", "delegate {host host2 capabilities none ttl_s 172800}\n"},
        {"authority rollover", "authority.rollover {overlap_s 2592000}\n"},
        {"authority rollover --overlap 12h", "authority.rollover {overlap_s 43200}\n"},
        {"authority retire", "authority.retire {force 0}\n"},
        {"authority retire --force", "authority.retire {force 1}\n"},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        assert_int_equal(run(t[i].words, empty), CLI_OK);
        assert_string_equal(asked, t[i].asked);
    }
}

static void test_usage(void **unused)
{
    static const char *const wrong[] = {
        "status extra", "explain", "env", "env paint web", "env create", "env create a b", "migrate", "migrate a b c",
        "handover", "handover resolve 0a", "mode a b", "invite --uses 0", "invite --uses -1", "invite --uses 1x",
        "invite --ttl 0", "invite --ttl h", "invite --ttl 400d", "invite --ttl 99999999999999999999s", "events --after x",
        "events --limit 0", "env create a --shares 0", "status --nonsense", "cert forge", "cert renew now", "revoke",
        "revoke a b", "delegate a", "delegate a admit --ttl 0", "delegate a admit --ttl 4000d", "authority",
        "authority burn", "authority rollover --overlap 5s", "authority rollover --overlap x"};
    (void)unused;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (run(wrong[i], empty) != CLI_USAGE)
            fail_msg("`%s` is no usage error", wrong[i]);
        assert_string_equal(out, "");
        says(err, "violin");
        assert_string_equal(asked, ""); /* nothing is asked by mistake */
    }
    assert_false(cli_knows("stat"));
    assert_int_equal(run("stat", empty), CLI_USAGE);
    for (const struct cli_command *c = cli_commands; c->name; c++) {
        char words[64];
        assert_true(cli_knows(c->name));
        snprintf(words, sizeof words, "%s --help", c->name);
        assert_int_equal(run(words, empty), CLI_OK);
        says(out, "--json");
    }
}

static void test_status(void **unused)
{
    json_t *j;
    (void)unused;
    assert_int_equal(run("status", status), CLI_OK);
    says(out, "host:          north\xc3\xa9\n");
    says(out, "running for:   2.0 h\n");
    says(out, "members alive: 3\n");
    says(out, "warning: one copy is suspended\n");
    assert_null(strstr(out, "hypervisor")); /* what isn't known isn't shown */
    assert_int_equal(run("status --json", status), CLI_OK);
    j = json_loads(out, 0, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "host")), "north\xc3\xa9");
    assert_string_equal(json_string_value(json_object_get(j, "of_a_later_version")), "\"quoted\\\"\n\x01\xef\xbf\xbd");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "members"), "alive")), 3);
    json_decref(j);
}

static void test_table(void **unused)
{
    (void)unused;
    assert_int_equal(run("members", members), CLI_OK);
    says(out, "NAME                ID        STATE    ADDRESS");
    says(out, "north               00112233  alive    -");
    says(out, "1024 MiB");
    says(out, "a-much-longer-name  -         suspect  -");
    assert_int_equal(run("members --json", members), CLI_OK);
    says(out, "\"id\":\"00112233445566778899aabbccddeeff\"");
    assert_int_equal(run("guests", empty), CLI_OK);
    assert_string_equal(out, "no guests on this host\n");
}

static unsigned reach_asked;

/* Of one peer: at first a way is still looked for. */
static void reach(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_array(w, 1);
    if (reach_asked++ < 2) {
        vi_write_map(w, 3);
        text(w, "name", "south");
        text(w, "path", "none");
        vi_write_str(w, "handshaking");
        vi_write_bool(w, true);
        return;
    }
    vi_write_map(w, 7);
    text(w, "name", "south");
    text(w, "path", "relayed");
    text(w, "via", "north");
    number(w, "rtt_ms", 12.25);
    number(w, "loss_pct", 25);
    number(w, "since_s", 7);
    text(w, "why", "nothing passes directly, either way");
}

static void test_reachability(void **unused)
{
    (void)unused;
    reach_asked = 0;
    assert_int_equal(run("reachability south", reach), CLI_OK);
    assert_string_equal(asked, "reachability {peer south}\nreachability {peer south}\nreachability {peer south}\n");
    says(out, "PEER   STATE  PATH     VIA    ADDRESS  RTT ms  LOSS  SINCE  WHY");
    says(out, "south  -      relayed  north  -        12.25   25 %    7 s  nothing passes directly, either way");
    reach_asked = 0;
    assert_int_equal(run("reachability", reach), CLI_OK); /* of all: as it is now */
    assert_string_equal(asked, "reachability {}\n");
    says(out, "none");
    assert_int_equal(run("reachability", empty), CLI_OK);
    assert_string_equal(out, "no other peers\n");
    assert_int_equal(run("reachability nosuch", refuse), CLI_FAILED);
    assert_int_equal(run("reachability a b", reach), CLI_USAGE);
}

/* Whatever `top` asks for; a guest with nothing known of it, one with everything, one beyond its bars. */
static void picture(const char *method, uint64_t id, struct vi_writer *w)
{
    if (!strcmp(method, "status")) {
        status(method, id, w);
        return;
    }
    if (!strcmp(method, "members")) {
        members(method, id, w);
        return;
    }
    response(w, id);
    vi_write_array(w, 3);
    vi_write_map(w, 1);
    text(w, "name", "new");
    vi_write_map(w, 8);
    text(w, "name", "web");
    text(w, "state", "running");
    number(w, "vcpus", 2);
    number(w, "cpu_pct", 50);
    number(w, "entitlement_pct", 100);
    number(w, "memory_mib", 200);
    number(w, "used_mib", 150);
    number(w, "weight", 256);
    vi_write_map(w, 5);
    text(w, "name", "a\x1b[2Jliar");
    number(w, "vcpus", 1);
    number(w, "cpu_pct", 1e300);
    number(w, "memory_mib", 1);
    number(w, "used_mib", 1e9);
}

static void test_top(void **unused)
{
    (void)unused;
    assert_int_equal(run("top --times 1", picture), CLI_OK);
    says(out, "mode observe");
    says(out, "warning: one copy is suspended\n");
    says(out, "web              running  [#####-----..........]");
    says(out, "[###############.....]    150/200 M");
    says(out, "a?[2Jliar        -        [####################]");
    says(out, "?/0 M"); /* what isn't known isn't made up */
    assert_int_equal(run("top --times 2 --interval 1 --json", picture), CLI_OK);
    says(out, "{\"status\":{\"host\"");
    says(out, "],\"guests\":[{\"name\":\"new\"}");
    assert_int_equal(run("top --times 1", refuse), CLI_FAILED);
    assert_int_equal(run("top --interval 0", picture), CLI_USAGE);
    assert_int_equal(run("trace --limit 513", picture), CLI_USAGE);
    assert_int_equal(run("trace", empty), CLI_OK);
    assert_string_equal(out, "nothing was traced yet\n");
}

static void test_refused(void **unused)
{
    (void)unused;
    assert_int_equal(run("explain x", refuse), CLI_FAILED);
    assert_string_equal(err, "violin: no guest `x?[2J?31m?`\n"); /* nothing that a terminal obeys */
    assert_string_equal(out, "");
    assert_int_equal(run("migrate x", refuse), CLI_FAILED);
    assert_string_equal(asked, "migrate {guest x}\n");
}

#define DAY "2023-11-14 22:13:20  memory     " /* another day than today: with its date */

static void test_follow(void **unused)
{
    json_t *j;
    (void)unused;
    assert_int_equal(run("events", events), CLI_OK);
    assert_string_equal(out, DAY "first\n" DAY "second\n");
    assert_int_equal(run("events --follow", events), CLI_NO_PEER); /* the protocol's end */
    assert_string_equal(asked, "events.follow {}\nevents {after 0 limit 50}\n");
    assert_string_equal(out, DAY "first\n" DAY "second\n" DAY "third\n");
    says(err, "no msgpack-RPC");
    assert_int_equal(run("events --json", events), CLI_OK);
    j = json_loads(out, 0, NULL);
    assert_int_equal(json_array_size(j), 2);
    assert_true(json_real_value(json_object_get(json_array_get(j, 0), "at")) == 1700000000.25);
    json_decref(j);
}

static void test_migrate(void **unused)
{
    (void)unused;
    assert_int_equal(run("migrate g south", moving), CLI_OK);
    assert_string_equal(asked, "migrate {guest g host south}\nhandover.show {id 0123}\nhandover.show {id 0123}\n"
                               "handover.show {id 0123}\n");
    says(err, "streaming    20 MiB sent, the guest has 96 MiB\n");
    assert_int_equal(run("migrate g --json", moving), CLI_OK);
    says(out, "\"state\":\"done\"");
    assert_int_equal(run("migrate g", failing), CLI_FAILED);
    says(err, "violin: the guest was not moved: no room at south\n");
}

static void test_invite(void **unused)
{
    (void)unused;
    assert_int_equal(run("invite", token), CLI_OK);
    assert_string_equal(out, "violin join violin1-abc\n"); /* alone on its way to a script */
    says(err, "22:13:20");
}

static void test_no_peer(void **unused)
{
    char other[128], long_path[200];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd;
    (void)unused;
    snprintf(other, sizeof other, "%s/none", dir);
    assert_int_equal(run_at(other, "status"), CLI_NO_PEER);
    says(err, "start it");
    snprintf(a.sun_path, sizeof a.sun_path, "%s/none", dir);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0); /* a socket that nobody listens at */
    close(fd);
    assert_int_equal(run_at(other, "status"), CLI_NO_PEER);
    says(err, "start it");
    unlink(other);
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = 0;
    assert_int_equal(run_at(long_path, "status"), CLI_USAGE);
}

static void test_bad_server(void **unused)
{
    (void)unused;
    assert_int_equal(run("status", hang_up), CLI_NO_PEER);
    says(err, "closed the connection");
    assert_int_equal(run("status", garbage), CLI_NO_PEER);
    says(err, "no msgpack-RPC");
    assert_int_equal(run("status", bomb), CLI_NO_PEER);
    says(err, "no msgpack-RPC");
    assert_int_equal(run("status", deep), CLI_NO_PEER);
    says(err, "no msgpack-RPC");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests), cmocka_unit_test(test_usage), cmocka_unit_test(test_keys), cmocka_unit_test(test_status),
        cmocka_unit_test(test_table), cmocka_unit_test(test_refused), cmocka_unit_test(test_follow),
        cmocka_unit_test(test_migrate), cmocka_unit_test(test_invite), cmocka_unit_test(test_no_peer),
        cmocka_unit_test(test_bad_server), cmocka_unit_test(test_top), cmocka_unit_test(test_reachability),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
