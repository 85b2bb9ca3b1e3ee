/* events, monitor, members --why, as in test_peer_cli: what is asked, filtered and printed, and how they end. */
#include <jansson.h>
#include <signal.h>

#include "tests/unit/cli_server.h"

static void write_event(struct vi_writer *w, uint64_t seq, const char *what)
{
    vi_write_map(w, 5);
    text(w, "subject", seq == 2 ? "south" : "north");
    vi_write_str(w, "seq");
    vi_write_uint(w, seq);
    number(w, "at", 1700000000.25);
    text(w, "kind", "balloon");
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

/* Of two kinds; then the peer hangs up. */
static void happening(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 0);
    notify(w, "event", 1, "first");
    notify(w, "event", 2, "second");
    vi_write_array(w, 3);
    vi_write_uint(w, 2);
    vi_write_str(w, "event");
    vi_write_map(w, 5);
    number(w, "at", 1700000000.25);
    text(w, "kind", "member");
    text(w, "text", "east is dead");
    vi_write_str(w, "words");
    vi_write_map(w, 1);
    text(w, "accuser", "west\x1b[2J");
    vi_write_str(w, "numbers");
    vi_write_map(w, 1);
    number(w, "asked", 3);
    vi_write_str(w, "no message of the protocol");
    w->data[w->len++] = 0xc1;
}

/* Nothing ever happens; who listens is told to end. */
static void silence(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 0);
    notify(w, "event", 1, "only");
}

static void standing(struct vi_writer *w, bool aside)
{
    vi_write_str(w, "standing");
    vi_write_map(w, 5);
    vi_write_str(w, "local_health");
    vi_write_uint(w, 2);
    vi_write_str(w, "aside");
    vi_write_bool(w, aside);
    number(w, "probes", 40);
    number(w, "probes_failed", 7);
    number(w, "accused", 1);
}

/* One that is dead, found here; one that is back, heard of through another; one of which nothing more is known. */
static void doubts(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 2);
    vi_write_str(w, "members");
    vi_write_array(w, 3);
    vi_write_map(w, 4);
    text(w, "name", "south");
    text(w, "state", "dead");
    number(w, "since_s", 12);
    vi_write_str(w, "doubts");
    vi_write_array(w, 1);
    vi_write_map(w, 9);
    number(w, "at", 1700000000);
    text(w, "accuser", "north");
    text(w, "reason", "no answer to a probe");
    text(w, "path", "own probe");
    number(w, "asked", 3);
    number(w, "nacks", 2);
    number(w, "local_health", 1);
    number(w, "dead_after_s", 5);
    vi_write_str(w, "confirmed_by");
    vi_write_array(w, 2);
    vi_write_str(w, "east");
    vi_write_str(w, "west");
    vi_write_map(w, 3);
    text(w, "name", "east");
    text(w, "state", "alive");
    vi_write_str(w, "doubts");
    vi_write_array(w, 1);
    vi_write_map(w, 8);
    number(w, "at", 1700000000);
    text(w, "accuser", "west");
    text(w, "reason", "a member said so");
    text(w, "path", "relayed");
    text(w, "via", "north");
    text(w, "end", "refuted");
    number(w, "ended_after_s", 3);
    text(w, "end_via", "south");
    vi_write_map(w, 3);
    text(w, "name", "west");
    text(w, "state", "alive");
    vi_write_str(w, "doubts");
    vi_write_array(w, 0);
    standing(w, true);
}

/* ---- tests ---- */

#define DAY "2023-11-14 22:13:20  balloon    " /* another day than today: with its date */

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

static void test_monitor(void **unused)
{
    json_t *j;
    (void)unused;
    assert_int_equal(run("monitor", happening), CLI_NO_PEER); /* the protocol's end */
    assert_string_equal(asked, "events.follow {}\n");
    assert_string_equal(out, DAY "first\n" DAY "second\n" "2023-11-14 22:13:20  member     east is dead  (accuser: "
                        "west?[2J, asked: 3)\n");
    assert_int_equal(run("monitor --kind guest,member", happening), CLI_NO_PEER);
    assert_string_equal(out, "2023-11-14 22:13:20  member     east is dead  (accuser: west?[2J, asked: 3)\n");
    assert_int_equal(run("monitor --kind mem", happening), CLI_USAGE); /* whole words */
    assert_string_equal(out, "");
    assert_int_equal(run("monitor --subject south", happening), CLI_NO_PEER);
    assert_string_equal(out, DAY "second\n");
    assert_int_equal(run("monitor --subject sout", happening), CLI_NO_PEER);
    assert_string_equal(out, "");
    assert_int_equal(run("monitor --subject south --kind balloon --json", happening), CLI_NO_PEER);
    j = json_loads(out, 0, NULL); /* one line, one object */
    assert_string_equal(json_string_value(json_object_get(j, "text")), "second");
    json_decref(j);
}

/* It has printed what happened before, and says nothing more. */
static void test_stopped(void **unused)
{
    static const int with[] = {SIGINT, SIGTERM};
    (void)unused;
    for (unsigned i = 0; i < 2; i++) {
        char words[] = "monitor", line[200] = "", *argv[] = {words, NULL};
        int fd[2], status;
        pid_t pid;
        FILE *from;
        answer = silence;
        asked[0] = 0;
        assert_int_equal(pipe(fd), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            dup2(fd[1], 1);
            close(fd[0]);
            close(fd[1]);
            _exit(cli_run(path, 1, argv));
        }
        close(fd[1]);
        from = fdopen(fd[0], "r");
        assert_non_null(fgets(line, sizeof line, from));
        assert_string_equal(line, DAY "only\n");
        kill(pid, with[i]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), CLI_OK);
        assert_null(fgets(line, sizeof line, from));
        fclose(from);
    }
}

static void test_why(void **unused)
{
    json_t *j;
    (void)unused;
    assert_int_equal(run("members --why", doubts), CLI_OK);
    assert_string_equal(out,
        "south (-) is dead, since 12 s\n"
        "  2023-11-14 22:13:20  suspected by north: no answer to a probe, found by this host\n"
        "            3 other(s) probed, too, 2 said that they got no answer either; local health was 1\n"
        "            confirmed by east, west\n"
        "            declared dead after 5 s\n"
        "east (-) is alive\n"
        "  2023-11-14 22:13:20  suspected by west: a member said so, heard through north\n"
        "            refuted after 3 s, by its own word through south\n"
        "west (-) is alive\n"
        "  nobody doubted it since this peer was started\n"
        "This host: local health 2 (0 is good), 7 of 40 probes failed, accused 1 time(s)\n"
        "This host stands aside: its own probes fail. It judges nobody and may be removed by others until they are answered.\n");
    assert_int_equal(run("members --why --json", doubts), CLI_OK);
    j = json_loads(out, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(j, "members")), 3);
    assert_true(json_is_true(json_object_get(json_object_get(j, "standing"), "aside")));
    json_decref(j);
    assert_int_equal(run("members --why", empty), CLI_OK); /* of an earlier version, say */
    assert_string_equal(out, "nobody was suspected, dead or gone since this peer was started\n");
    assert_int_equal(run("members --why --state dead", empty), CLI_OK);
    assert_string_equal(out, "nobody who is now dead was suspected, dead or gone since this peer was started\n");
    assert_int_equal(run("members --why x", refuse), CLI_FAILED);
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follow), cmocka_unit_test(test_monitor), cmocka_unit_test(test_stopped), cmocka_unit_test(test_why),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
