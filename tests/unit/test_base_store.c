/* The store on a real disk: what is put is there after reopening; what can't be is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
    (void)unused;
    unlink(file);
    rmdir(dir);
    return 0;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_journal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_connections, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failing_write, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_newer_unwritable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_history, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
