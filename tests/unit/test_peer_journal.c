/* The journal's writer: answers come in order, on the loop, after the record is on the disk, and say so
 * when it is not. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>
#include <sqlite3.h>

#include "peer/base/err.h"
#include "peer/base/store.h"
#include "peer/journal.h"

#define MANY 1000

static char dir[64], file[96], last_text[256];
static uv_loop_t loop;
static struct journal *journal;
static unsigned n_done, n_failed, waiting_for;
static uint64_t done_handles[MANY];
static const struct vi_id guest = {{7}};

static void on_done(void *arg, uint64_t handle, int err, const char *text)
{
    assert_ptr_equal(arg, dir);
    assert_true(n_done < MANY);
    done_handles[n_done++] = handle;
    if (err) {
        n_failed++;
        snprintf(last_text, sizeof last_text, "%s", text);
    }
    if (n_done == waiting_for)
        uv_stop(&loop);
}

static void wait_done(unsigned n)
{
    waiting_for = n;
    if (n_done < n)
        uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(n_done, n);
}

static int set_up(void **unused)
{
    char why[600];
    (void)unused;
    snprintf(dir, sizeof dir, "/tmp/violin-journal-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/violin.db", dir);
    assert_int_equal(uv_loop_init(&loop), 0);
    n_done = n_failed = 0;
    journal = journal_open(&loop, dir, on_done, dir, why, sizeof why);
    return journal ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    journal_close(journal);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    unlink(file);
    rmdir(dir);
    return 0;
}

static bool collect(void *arg, const struct vi_id *id, const void *p, size_t len)
{
    char *to = arg;
    assert_true(vi_id_equal(id, &guest));
    snprintf(to + strlen(to), 64 - strlen(to), "%.*s ", (int)len, (const char *)p);
    return true;
}

static void stored(const char *what)
{
    char why[600], found[64] = "";
    struct store *s = store_open(dir, why, sizeof why);
    assert_non_null(s);
    assert_int_equal(store_journal_each(s, collect, found), 0);
    store_close(s);
    assert_string_equal(found, what);
}

static void test_in_order(void **unused)
{
    char record[8] = "one";
    (void)unused;
    assert_int_equal(journal_put(journal, 11, &guest, record, 3), 0);
    memset(record, 'x', sizeof record); /* it was copied */
    assert_int_equal(journal_put(journal, 12, &guest, "two", 3), 0);
    assert_int_equal(journal_put(journal, 13, &guest, "three", 5), 0);
    wait_done(3);
    assert_int_equal(n_failed, 0);
    assert_int_equal(done_handles[0], 11);
    assert_int_equal(done_handles[2], 13);
    stored("one two three ");
    journal_forget(journal, &guest);
    assert_int_equal(journal_put(journal, 14, &guest, "four", 4), 0);
    wait_done(4); /* the forgetting has no answer */
    stored("four ");
    assert_int_equal(journal_put(journal, 15, &guest, record, STORE_RECORD_MAX + 1), VI_EINVAL);
}

static void test_full_disk(void **unused)
{
    struct rlimit was, now;
    (void)unused;
    assert_int_equal(journal_put(journal, 1, &guest, "one", 3), 0);
    wait_done(1);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &was);
    now = was;
    now.rlim_cur = 512;
    setrlimit(RLIMIT_FSIZE, &now);
    assert_int_equal(journal_put(journal, 2, &guest, "two", 3), 0);
    wait_done(2);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(n_failed, 1);
    assert_non_null(strstr(last_text, "violin.db"));
    stored("one ");
    assert_int_equal(journal_put(journal, 3, &guest, "three", 5), 0);
    wait_done(3);
    assert_int_equal(n_failed, 1);
    stored("one three ");
}

/* While another connection holds the file, the queue fills, says so, and nothing of it is lost. */
static void test_queue_bound(void **unused)
{
    unsigned taken = 0;
    sqlite3 *db;
    (void)unused;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    while (taken < MANY && journal_put(journal, taken, &guest, "", 0) == 0)
        taken++;
    assert_int_equal(taken, JOURNAL_QUEUE_MAX);
    assert_int_equal(journal_put(journal, taken, &guest, "", 0), VI_EFULL);
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(db);
    wait_done(taken);
    assert_int_equal(n_failed, 0);
    for (unsigned i = 0; i < taken; i++)
        assert_int_equal(done_handles[i], i);
    assert_int_equal(journal_put(journal, taken, &guest, "", 0), 0);
    wait_done(taken + 1);
}

static void test_closed_with_work(void **unused)
{
    (void)unused;
    for (uint64_t i = 0; i < 50; i++)
        assert_int_equal(journal_put(journal, i, &guest, "x", 1), 0);
    /* tear_down closes it: no callback, no leak */
}

static void test_no_folder(void **unused)
{
    char why[600] = "";
    (void)unused;
    assert_null(journal_open(&loop, "/nonexistent/folder", on_done, NULL, why, sizeof why));
    assert_non_null(strstr(why, "can't be written"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queue_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_closed_with_work, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_folder, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
