/* The operators' commands, against a server that answers what a test wants: history, plan, explain, todo, drain. */
#include "tests/unit/cli_server.h"

static void record(struct vi_writer *w, const char *kind, const char *what, const char *line)
{
    bool move = strcmp(kind, "balloon") != 0;
    vi_write_map(w, move ? 6 : 4);
    number(w, "at", 1000000000);
    text(w, "kind", kind);
    text(w, "subject", what);
    text(w, "text", line);
    if (!move)
        return;
    vi_write_str(w, "words");
    vi_write_map(w, 3);
    text(w, "from", "north");
    text(w, "to", "south");
    text(w, "why", "ordered by an operator");
    vi_write_str(w, "numbers");
    vi_write_map(w, 4);
    number(w, "memory_mib", 256);
    number(w, "bytes", 1048576 * 20);
    number(w, "duration_s", 1.25);
    number(w, "pause_s", 0.125);
}

static void history(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 4);
    text(w, "host", "north");
    vi_write_str(w, "kept");
    vi_write_map(w, 2);
    number(w, "records", 9);
    number(w, "since", 999999999);
    vi_write_str(w, "summary");
    vi_write_map(w, 6);
    number(w, "records", 2);
    number(w, "moved", 1);
    number(w, "arrived", 0);
    number(w, "failed", 3);
    number(w, "bytes", 1048576 * 20);
    number(w, "mean_pause_s", 0.125);
    vi_write_str(w, "records");
    vi_write_array(w, 2);
    record(w, "balloon", "web", "web: memory 256 \xe2\x86\x92 512 MiB");
    record(w, "moved", "web", "web moved to south");
}

static void no_history(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 2);
    text(w, "host", "north");
    vi_write_str(w, "records");
    vi_write_array(w, 0);
}

/* What was kept is said on a line of its own where both don't fit on one. */
static void wide_history(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 3);
    text(w, "host", "north");
    vi_write_str(w, "kept");
    vi_write_map(w, 2);
    number(w, "records", 8);
    number(w, "since", 999999999);
    vi_write_str(w, "summary");
    vi_write_map(w, 4);
    number(w, "records", 8);
    number(w, "bytes", 1048576 * 20);
    number(w, "mean_pause_s", 0.125);
    number(w, "environments", 1);
}

static void test_history(void **unused)
{
    (void)unused;
    assert_int_equal(run("history web --since 24h --kind move,balloon --limit 5", history), CLI_OK);
    assert_string_equal(asked, "history {since_s 86400 limit 5 subject web kind move,balloon}\n");
    says(out, "2001-09-09 01:46:40  balloon  web: memory 256 \xe2\x86\x92 512 MiB\n");
    says(out, "moved    web  north \xe2\x86\x92 south  256 MiB, 20 MiB sent in 1.2 s, pause 0.12 s  (ordered by an operator)\n");
    says(out, "north: 1 moved away (20 MiB sent, mean pause 0.12 s), 0 came, 3 failed; 2 records of 9 since 2001-09-09 01:46:39\n");
    assert_int_equal(run("history", wide_history), CLI_OK);
    says(out, "0 failed, 1 environments led to other domains;\n  8 records of 8 since 2001-09-09 01:46:39\n");
    assert_int_equal(run("history", no_history), CLI_OK);
    assert_string_equal(asked, "history {since_s 0 limit 100}\n");
    says(out, "nothing of that is in this host's history\n\nnorth: 0 moved away, 0 came, 0 failed; 0 records\n");
    assert_int_equal(run("history --json", history), CLI_OK);
    says(out, "{\"host\":\"north\",\"kept\":");
    assert_int_equal(run("history --since soon", history), CLI_USAGE);
    assert_int_equal(run("history --limit 1001", history), CLI_USAGE);
    assert_string_equal(asked, "");
}

static void boolean(struct vi_writer *w, const char *key, bool v)
{
    vi_write_str(w, key);
    vi_write_bool(w, v);
}

static void a_move(struct vi_writer *w, const char *guest, bool makes_room)
{
    vi_write_map(w, 9);
    text(w, "guest", guest);
    text(w, "from", "north");
    text(w, "to", "south");
    number(w, "memory_mib", 512);
    number(w, "seconds", 10.2);
    number(w, "cpu_pct", 20);
    boolean(w, "makes_room", makes_room);
    text(w, "why", makes_room ? "" : "its host is to be empty");
    text(w, "command", "violin migrate web south");
}

static void a_host(struct vi_writer *w)
{
    vi_write_map(w, 8);
    text(w, "host", "north");
    boolean(w, "known", true);
    number(w, "memory_before", 0.5);
    number(w, "memory_after", 0.25);
    number(w, "cpu_before", 0.1);
    number(w, "cpu_after", 0);
    number(w, "guests_before", 2);
    number(w, "guests_after", 1);
}

static void plan(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 7);
    vi_write_str(w, "moves");
    vi_write_array(w, 2);
    a_move(w, "web", false);
    a_move(w, "small", true);
    vi_write_str(w, "stuck");
    vi_write_array(w, 1);
    vi_write_map(w, 3);
    text(w, "guest", "db");
    text(w, "host", "north");
    text(w, "why", "no other host has room for it");
    vi_write_str(w, "hosts");
    vi_write_array(w, 1);
    a_host(w);
    vi_write_str(w, "silent");
    vi_write_array(w, 1);
    vi_write_str(w, "west");
    vi_write_str(w, "notes");
    vi_write_array(w, 1);
    vi_write_str(w, "it can grow to 512 MiB only");
    vi_write_str(w, "without");
    vi_write_array(w, 1);
    vi_write_str(w, "north");
    vi_write_str(w, "elsewhere");
    vi_write_map(w, 8);
    text(w, "environment", "shop");
    text(w, "domain", "venus");
    number(w, "guests", 2);
    number(w, "stay", 1);
    number(w, "memory_mib", 800);
    number(w, "cpu_pct", 40);
    boolean(w, "fits", false);
    text(w, "why", "it has 100 MiB free, 800 are needed");
}

static void test_plan(void **unused)
{
    (void)unused;
    assert_int_equal(run("plan --guest web --memory x2 --without north,east --env shop --to venus", plan), CLI_OK);
    assert_string_equal(asked, "plan {guest web memory x2 without north,east env shop to venus}\n");
    says(out, "1 guest(s) would move, in this order:\n   1. web  north \xe2\x86\x92 south, 512 MiB in about 10 s, 20 % of a CPU: its host is to be empty\n"
              "      on north: violin migrate web south\n  finds no place: db on north: no other host has room for it\n"
              "what would make place for them");
    says(out, "shop to venus: 2 guest(s) with 800 MiB and 40 % of a CPU would leave, 1 would stay\n  venus would not take them: it has 100 MiB free");
    says(out, "HOST   MEMORY  AFTER   CPU  AFTER  GUESTS  AFTER\nnorth    50 %   25 %  10 %    0 %       2      1\n");
    says(out, "note: it can grow to 512 MiB only\nnot known, for they did not answer: west\nnothing was changed; `violin drain north` does it\n");
    assert_int_equal(run("plan", plan), CLI_USAGE);
    assert_string_equal(asked, "");
    assert_int_equal(run("plan --without north --json", plan), CLI_OK);
    says(out, "{\"moves\":[");
}

static void refused_there(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 7);
    text(w, "guest", "web");
    text(w, "from", "north");
    text(w, "on", "south");
    number(w, "needs_mib", 512);
    number(w, "needs_pct", 20);
    vi_write_str(w, "here");
    vi_write_array(w, 1);
    vi_write_str(w, "it was moved a short while ago");
    vi_write_str(w, "there");
    vi_write_array(w, 2);
    vi_write_str(w, "this host is being drained");
    vi_write_str(w, "an image is missing");
}

static void taken_there(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 7);
    text(w, "guest", "web");
    text(w, "from", "north");
    text(w, "on", "south");
    vi_write_str(w, "there");
    vi_write_array(w, 0);
    number(w, "utilisation_there", 0.71);
    number(w, "rank", 2);
    number(w, "of", 3);
}

static void host(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 10);
    text(w, "host", "south");
    text(w, "mode", "observe");
    text(w, "draining", "yes");
    number(w, "memory_total_mib", 4096);
    number(w, "memory_free_mib", 1024);
    number(w, "cpu_wanted_pct", 120);
    number(w, "cpu_capacity_pct", 375);
    vi_write_str(w, "takes");
    vi_write_map(w, 1);
    text(w, "why_not", "it is being drained");
    vi_write_str(w, "guests");
    vi_write_array(w, 0);
    vi_write_str(w, "why");
    vi_write_array(w, 1);
    vi_write_str(w, "nothing is short");
}

static void fixed_guest(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 4);
    text(w, "guest", "web");
    text(w, "environment", "e");
    text(w, "state", "running");
    vi_write_str(w, "advice");
    vi_write_array(w, 1);
    vi_write_str(w, "its disk xvda is this host's alone, so that it can't move");
}

static void test_explain(void **unused)
{
    (void)unused;
    assert_int_equal(run("explain web", fixed_guest), CLI_OK);
    says(out, "web of e, running\n");
    says(out, "\nTo do\n  its disk xvda is this host's alone, so that it can't move\n");
    assert_int_equal(run("explain web --on south", refused_there), CLI_OK);
    assert_string_equal(asked, "explain {guest web on south}\n");
    says(out, "web, of north, on south? It needs 512 MiB and 20 % of a CPU.\nsouth would refuse it:\n  this host is being drained\n  an image is missing\n"
              "the policy of north does not send it by itself:\n  it was moved a short while ago\n");
    assert_int_equal(run("explain web --on south", taken_there), CLI_OK);
    says(out, "south would take it; it would be 71 % utilised then: place 2 of 3 that fit\nan operator may: violin migrate web south\n");
    assert_int_equal(run("explain --host south", host), CLI_OK);
    assert_string_equal(asked, "explain {guest host:south}\n");
    says(out, "south, mode observe, being drained\n  memory  3072 of 4096 MiB given, 1024 free\n  CPU     120 of 375 % wanted\n"
              "  takes   nobody: it is being drained\n\nno guest of an environment is on it\n\nnothing is short\n");
    assert_int_equal(run("explain", host), CLI_USAGE);
    assert_int_equal(run("explain web --host south", host), CLI_USAGE);
    assert_int_equal(run("explain --host south --on north", host), CLI_USAGE);
}

static void todo(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 2);
    text(w, "mode", "observe");
    vi_write_str(w, "suggestions");
    vi_write_array(w, 2);
    vi_write_map(w, 2);
    text(w, "command", "xl mem-set web 512m");
    text(w, "text", "web: memory 256 to 512 MiB");
    vi_write_map(w, 4);
    text(w, "command", "violin migrate db south");
    text(w, "text", "db should move");
    number(w, "gain_cpu_s", 60);
    number(w, "cost_cpu_s", 2.5);
}

static void nothing_to_do(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 1);
    text(w, "mode", "auto");
}

static void test_todo(void **unused)
{
    (void)unused;
    assert_int_equal(run("todo", todo), CLI_OK);
    assert_string_equal(out, "xl mem-set web 512m\n    web: memory 256 to 512 MiB\nviolin migrate db south\n    db should move: gains 60 CPU seconds, costs 2.5\n");
    assert_int_equal(run("todo", nothing_to_do), CLI_OK);
    assert_string_equal(out, "nothing to do: in mode auto it is done by itself\n");
}

static unsigned polls;

static void draining(const char *method, uint64_t id, struct vi_writer *w)
{
    bool over = !strcmp(method, "undrain") || polls++ > 0;
    response(w, id);
    vi_write_map(w, 6);
    text(w, "host", "south");
    boolean(w, "draining", strcmp(method, "undrain") != 0);
    boolean(w, "drained", over);
    boolean(w, "within", true);
    number(w, "guests_here", over ? 0 : 40); /* more than are told of */
    vi_write_str(w, "guests");
    vi_write_array(w, over ? 0 : 1);
    if (over)
        return;
    vi_write_map(w, 2);
    text(w, "name", "web");
    text(w, "why_here", "it is being moved");
}

static void test_drain(void **unused)
{
    (void)unused;
    polls = 0;
    assert_int_equal(run("drain south --deadline 2h --within-domain", draining), CLI_OK);
    assert_string_equal(asked, "drain {host south deadline_s 7200 within 1}\n");
    says(out, "south is being drained within its domain: 40 guest(s) still here\n");
    polls = 0;
    assert_int_equal(run("drain south --wait", draining), CLI_OK);
    assert_string_equal(asked, "drain {host south}\ndrain.show {host south}\n");
    says(out, "south is drained");
    assert_int_equal(run("undrain south", draining), CLI_OK);
    assert_string_equal(asked, "undrain {host south}\n");
    assert_string_equal(out, "south takes guests\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_history), cmocka_unit_test(test_plan), cmocka_unit_test(test_explain),
                                       cmocka_unit_test(test_todo), cmocka_unit_test(test_drain)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
