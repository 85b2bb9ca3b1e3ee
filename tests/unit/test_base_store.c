/* The store on a real disk: what is put is there after reopening; what can't be is said. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <sqlite3.h>

#include "peer/base/err.h"
#include "peer/base/store.h"

static char dir[64], file[96];

static int set_up(void **unused)
{
    (void)unused;
    snprintf(dir, sizeof dir, "/tmp/violin-store-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/violin.db", dir);
    return 0;
}

static int tear_down(void **unused)
{
    char journal[sizeof file + 8];
    (void)unused;
    snprintf(journal, sizeof journal, "%s-journal", file); /* left by a process that was killed */
    unlink(journal);
    unlink(file);
    return rmdir(dir);
}

static struct store *must_open(void)
{
    char why[600];
    struct store *s = store_open(dir, why, sizeof why);
    if (!s)
        fail_msg("%s", why);
    return s;
}

static char seen[256];

static bool collect(void *arg, const struct vi_id *id, const void *p, size_t len)
{
    size_t at = strlen(seen);
    (void)arg;
    snprintf(seen + at, sizeof seen - at, "%d:%.*s ", id->b[0], (int)len, (const char *)p);
    return true;
}

static void test_journal(void **unused)
{
    struct vi_id a = {{1}}, b = {{2}}, j1, j2;
    struct store *s = must_open();
    (void)unused;
    assert_int_equal(store_journal_put(s, &a, "one", 3), 0);
    assert_int_equal(store_journal_put(s, &b, "two", 3), 0);
    assert_int_equal(store_journal_put(s, &a, "three", 5), 0);
    store_journal_id(s, &j1);
    store_close(s);
    s = must_open();
    store_journal_id(s, &j2);
    assert_true(vi_id_equal(&j1, &j2));
    seen[0] = 0;
    assert_int_equal(store_journal_each(s, collect, NULL), 0);
    assert_string_equal(seen, "1:one 2:two 1:three ");
    assert_int_equal(store_journal_forget(s, &a), 0);
    seen[0] = 0;
    store_journal_each(s, collect, NULL);
    assert_string_equal(seen, "2:two ");
    store_close(s);
    unlink(file);
    s = must_open(); /* a new journal is known for one */
    store_journal_id(s, &j2);
    assert_false(vi_id_equal(&j1, &j2));
    store_close(s);
}

static void test_records(void **unused)
{
    struct vi_id a = {{1}}, b = {{2}};
    char out[8];
    size_t len;
    struct store *s = must_open();
    (void)unused;
    assert_int_equal(store_get(s, STORE_PEER, &a, out, sizeof out, &len), VI_ENOTFOUND);
    assert_int_equal(store_put(s, STORE_PEER, &a, "x", 1), 0);
    assert_int_equal(store_put(s, STORE_PEER, &a, "yy", 2), 0);
    assert_int_equal(store_put(s, STORE_OWNER, &a, "owner", 5), 0);
    assert_int_equal(store_put(s, STORE_PEER, &b, "", 0), 0);
    assert_int_equal(store_get(s, STORE_PEER, &a, out, sizeof out, &len), 0);
    assert_int_equal(len, 2);
    assert_int_equal(store_get(s, STORE_OWNER, &a, out, 2, &len), VI_EFULL);
    seen[0] = 0;
    store_each(s, STORE_PEER, collect, NULL);
    assert_string_equal(seen, "1:yy 2: ");
    assert_int_equal(store_delete(s, STORE_PEER, &a), 0);
    assert_int_equal(store_get(s, STORE_PEER, &a, out, sizeof out, &len), VI_ENOTFOUND);
    assert_int_equal(store_put(s, STORE_PEER, &a, out, STORE_RECORD_MAX + 1), VI_EINVAL);
    assert_int_equal(store_set_number(s, "incarnation", 7), 0);
    assert_int_equal(store_number(s, "incarnation", 0), 7);
    assert_int_equal(store_number(s, "other", -3), -3);
    store_close(s);
}

static void test_two_connections(void **unused)
{
    struct vi_id a = {{1}};
    char out[8];
    size_t len;
    struct store *s = must_open(), *t = must_open();
    (void)unused;
    assert_int_equal(store_put(s, STORE_PEER, &a, "s", 1), 0);
    assert_int_equal(store_put(t, STORE_PEER, &a, "t", 1), 0);
    assert_int_equal(store_get(s, STORE_PEER, &a, out, sizeof out, &len), 0);
    assert_int_equal(out[0], 't');
    store_close(s);
    store_close(t);
}

static void test_failing_write(void **unused)
{
    struct vi_id a = {{1}};
    struct store *s = must_open();
    (void)unused;
    store_fail_after(s, 2);
    assert_int_equal(store_journal_put(s, &a, "1", 1), 0);
    assert_int_equal(store_journal_put(s, &a, "2", 1), VI_EIO);
    assert_non_null(strstr(store_error(s), "full"));
    store_fail_after(s, 0);
    assert_int_equal(store_journal_put(s, &a, "3", 1), 0);
    seen[0] = 0;
    store_journal_each(s, collect, NULL);
    assert_string_equal(seen, "1:1 1:3 ");
    store_close(s);
}

static void test_damaged_newer_unwritable(void **unused)
{
    char why[600] = "";
    sqlite3 *db;
    FILE *f;
    struct store *s = must_open();
    (void)unused;
    store_close(s);
    sqlite3_open(file, &db);
    sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_null(store_open(dir, why, sizeof why));
    assert_non_null(strstr(why, "later violin"));
    f = fopen(file, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database ", f);
    fclose(f);
    assert_null(store_open(dir, why, sizeof why));
    assert_non_null(strstr(why, "damaged"));
    assert_null(store_open("/nonexistent/folder", why, sizeof why));
    assert_non_null(strstr(why, "can't be written"));
}

static bool count(void *arg, uint64_t seq, vi_time wall, const void *p, size_t len)
{
    (void)seq;
    (void)p;
    (void)len;
    *(int64_t *)arg += wall;
    return true;
}

static void test_history(void **unused)
{
    int64_t sum = 0;
    struct store *s = must_open();
    (void)unused;
    for (int i = 1; i <= 5; i++)
        assert_int_equal(store_history_add(s, i, "r", 1), 0);
    assert_int_equal(store_history_each(s, 2, count, &sum), 0);
    assert_int_equal(sum, 9);
    store_close(s);
}

static bool count_rows(void *arg, const struct vi_id *id, const void *p, size_t len)
{
    (void)id;
    (void)p;
    (void)len;
    ++*(unsigned *)arg;
    return true;
}

/* A write that the operating system refuses in its middle: said, undone, and the next one works. */
static void test_no_room(void **unused)
{
    static uint8_t big[STORE_RECORD_MAX];
    struct rlimit was, now;
    struct vi_id a = {{1}};
    unsigned rows = 0, written = 0;
    struct store *s = must_open();
    (void)unused;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &was);
    now = was;
    now.rlim_cur = 300000;
    setrlimit(RLIMIT_FSIZE, &now);
    while (written < 100 && store_journal_put(s, &a, big, sizeof big) == 0)
        written++;
    assert_in_range(written, 1, 99);
    assert_non_null(strstr(store_error(s), file));
    assert_non_null(strstr(store_error(s), "full"));
    assert_int_equal(store_journal_put(s, &a, big, sizeof big), VI_EIO);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(store_journal_put(s, &a, "after", 5), 0);
    store_close(s);
    s = must_open();
    assert_int_equal(store_journal_each(s, count_rows, &rows), 0);
    assert_int_equal(rows, written + 1); /* all that was said to be written, nothing that was not */
    store_close(s);
}

static void *write_many(void *arg)
{
    struct vi_id id = {{*(uint8_t *)arg}};
    char why[600];
    struct store *s = store_open(dir, why, sizeof why);
    uint8_t failed = s == NULL;
    for (uint8_t i = 0; s && i < 30; i++)
        failed |= store_journal_put(s, &id, &i, 1) != 0;
    store_close(s);
    *(uint8_t *)arg = failed;
    return NULL;
}

static bool in_order(void *arg, const struct vi_id *id, const void *p, size_t len)
{
    uint8_t *next = arg;
    assert_int_equal(len, 1);
    assert_int_equal(*(const uint8_t *)p, next[id->b[0]]);
    next[id->b[0]]++;
    return true;
}

/* Two threads make the file, and write to it, at once. */
static void test_two_threads(void **unused)
{
    uint8_t who[2] = {1, 2}, next[3] = {0};
    pthread_t t[2];
    struct store *s;
    (void)unused;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, write_many, &who[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(who[0] + who[1], 0);
    s = must_open();
    assert_int_equal(store_journal_each(s, in_order, next), 0);
    assert_int_equal(next[1] + next[2], 60);
    store_close(s);
}

/* Killed at any moment, what was reported is there. */
static void test_killed(void **unused)
{
    (void)unused;
    for (unsigned round = 0; round < 5; round++) {
        int fd[2];
        unsigned rows = 0;
        uint8_t n = 0, b;
        pid_t pid;
        struct store *s = must_open();
        store_close(s);
        assert_int_equal(pipe(fd), 0);
        pid = fork();
        if (pid == 0) {
            struct vi_id id = {{1}};
            s = must_open();
            for (b = 1; b < 200; b++)
                if (store_journal_put(s, &id, &b, 1) || write(fd[1], &b, 1) != 1)
                    _exit(1);
            pause();
        }
        close(fd[1]);
        assert_int_equal(read(fd[0], &n, 1), 1);
        usleep(1000 * (round * 7 + 1));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (read(fd[0], &b, 1) == 1)
            n = b;
        close(fd[0]);
        s = must_open();
        assert_int_equal(store_journal_each(s, count_rows, &rows), 0);
        assert_in_range(rows, n, n + 1U);
        store_close(s);
        unlink(file);
    }
}

static void test_damaged_inside(void **unused)
{
    static uint8_t big[STORE_RECORD_MAX], junk[4096];
    char why[600] = "";
    struct vi_id a = {{1}};
    unsigned rows = 0;
    int fd, err = 0;
    struct store *s = must_open();
    (void)unused;
    memset(junk, 0xa5, sizeof junk);
    for (int i = 0; i < 20; i++)
        assert_int_equal(store_journal_put(s, &a, big, sizeof big), 0);
    store_close(s);
    fd = open(file, O_WRONLY | O_CLOEXEC);
    for (off_t at = 4096; at < 100 * 4096; at += 4096) /* all but the first page */
        if (pwrite(fd, junk, sizeof junk, at) != sizeof junk)
            fail();
    close(fd);
    s = store_open(dir, why, sizeof why);
    if (s) {
        err = store_journal_each(s, count_rows, &rows);
        snprintf(why, sizeof why, "%s", store_error(s));
        store_close(s);
        assert_int_equal(err, VI_EIO);
    }
    assert_non_null(strstr(why, "damaged"));
}

static void test_not_ours(void **unused)
{
    int status;
    pid_t pid;
    struct store *s = must_open();
    (void)unused;
    store_close(s);
    if (geteuid() != 0) /* nobody else to be */
        return;
    chmod(dir, 0755);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        char why[600] = "";
        struct vi_id a = {{1}};
        if (setgid(65534) || setuid(65534))
            _exit(9);
        s = store_open(dir, why, sizeof why);
        if (s && store_journal_put(s, &a, "x", 1))
            snprintf(why, sizeof why, "%s", store_error(s));
        _exit(strstr(why, "give it to the peer's user") ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

static bool first_seq(void *arg, uint64_t seq, vi_time wall, const void *p, size_t len)
{
    (void)wall;
    (void)p;
    (void)len;
    *(uint64_t *)arg = seq;
    return false;
}

static void test_history_bound(void **unused)
{
    uint64_t first = 0;
    sqlite3 *db;
    struct store *s = must_open();
    (void)unused;
    assert_int_equal(store_history_add(s, 1, "r", 1), 0);
    sqlite3_open(file, &db);
    sqlite3_exec(db, "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)"
                     "INSERT INTO history SELECT i, i, 'r' FROM n", NULL, NULL, NULL);
    sqlite3_close(db);
    for (int i = 0; i < 256; i++) /* within so many the bound is held */
        assert_int_equal(store_history_add(s, 1, "r", 1), 0);
    assert_int_equal(store_history_each(s, UINT32_MAX, first_seq, &first), 0);
    assert_in_range(first, 20001, 20257);
    store_close(s);
}

static bool backwards(void *arg, uint64_t seq, vi_time wall, const void *p, size_t len)
{
    uint64_t *last = arg;
    (void)wall;
    (void)p;
    (void)len;
    assert_true(seq < *last);
    *last = seq;
    return seq > 3;
}

static bool count_all(void *arg, uint64_t seq, vi_time wall, const void *p, size_t len)
{
    (void)seq;
    (void)wall;
    (void)p;
    (void)len;
    ++*(unsigned *)arg;
    return true;
}

/* What is too old goes, but never the newest thousand. */
static void test_history_age(void **unused)
{
    uint64_t last = UINT64_MAX;
    unsigned n = 0;
    sqlite3 *db;
    struct store *s = must_open();
    (void)unused;
    for (int i = 1; i <= 5; i++)
        assert_int_equal(store_history_add(s, i, "r", 1), 0);
    assert_int_equal(store_history_back(s, backwards, &last), 0);
    assert_int_equal(last, 3);
    sqlite3_open(file, &db);
    sqlite3_exec(db, "WITH RECURSIVE n(i) AS (SELECT 6 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
                     "INSERT INTO history SELECT i, i, 'r' FROM n", NULL, NULL, NULL);
    sqlite3_close(db);
    for (int i = 0; i < 256; i++)
        assert_int_equal(store_history_add(s, STORE_HISTORY_AGE + 10000, "r", 1), 0);
    assert_int_equal(store_history_back(s, count_all, &n), 0);
    assert_in_range(n, STORE_HISTORY_LEAST, STORE_HISTORY_LEAST + 256);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_journal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_connections, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failing_write, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_newer_unwritable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_history, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_threads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_ours, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_history_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_history_age, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
