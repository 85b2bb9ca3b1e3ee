/* The history: which records are asked for, what they come to; records read back from the disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/history.h"

static struct event *make(const char *kind, const char *subject, const char *env, const char *from, const char *to)
{
    static struct event ev;
    memset(&ev, 0, sizeof ev);
    ev.seq = 7;
    ev.wall = 1700000000 * (vi_time)1000000;
    snprintf(ev.kind, sizeof ev.kind, "%s", kind);
    snprintf(ev.subject, sizeof ev.subject, "%s", subject);
    snprintf(ev.text, sizeof ev.text, "something about %s", subject);
    event_word(&ev, "environment", env);
    event_word(&ev, "from", from);
    event_word(&ev, "to", to);
    return &ev;
}

static void test_read_back(void **unused)
{
    uint8_t b[EVENT_BYTES_MAX];
    struct event *ev = make("moved", "web", "shop", "north", "south"), back;
    struct vi_writer w;
    (void)unused;
    event_number(ev, "bytes", 1e9);
    event_number(ev, "pause_s", 0.25);
    vi_writer_init(&w, b, sizeof b);
    event_write(&w, ev);
    assert_int_equal(w.err, 0);
    assert_int_equal(event_read(&back, b, w.len), 0);
    assert_memory_equal(ev, &back, sizeof back);
    assert_string_equal(event_word_of(&back, "to"), "south");
    assert_null(event_word_of(&back, "t"));
    for (size_t n = 0; n < w.len; n++)
        assert_int_equal(event_read(&back, b, n), VI_EPROTO);
    b[0]++; /* a field more than there is */
    assert_int_equal(event_read(&back, b, w.len), VI_EPROTO);
    vi_writer_init(&w, b, sizeof b); /* a later version's */
    vi_write_map(&w, 2);
    vi_write_str(&w, "colour");
    vi_write_array(&w, 1);
    vi_write_str(&w, "red");
    vi_write_str(&w, "at");
    vi_write_double(&w, 1e300);
    assert_int_equal(event_read(&back, b, w.len), 0);
    assert_int_equal(back.wall, 0);
}

static void test_kinds(void **unused)
{
    struct history_filter f = {.n_kinds = 0};
    char bad[8];
    (void)unused;
    assert_int_equal(history_kinds(&f, "move,balloon", bad, sizeof bad), 0);
    assert_int_equal(f.n_kinds, 6);
    assert_true(history_match(&f, make("arrived", "web", NULL, NULL, NULL)));
    assert_true(history_match(&f, make("envmove", "shop", NULL, NULL, NULL)));
    assert_true(history_match(&f, make("balloon", "web", NULL, NULL, NULL)));
    assert_false(history_match(&f, make("weight", "web", NULL, NULL, NULL)));
    assert_int_equal(history_kinds(&f, "moved,colourful-things", bad, sizeof bad), VI_EINVAL);
    assert_string_equal(bad, "colourf");
    assert_int_equal(history_kinds(&f, "", bad, sizeof bad), VI_EINVAL);
    assert_int_equal(history_kinds(&f, "moved,", bad, sizeof bad), VI_EINVAL);
    assert_int_equal(history_kinds(&f, "move,move,move,move,move", bad, sizeof bad), VI_EINVAL); /* too many */
}

/* A name is looked for where it means what was asked for. */
static void test_subjects(void **unused)
{
    struct history_filter f = {.subject = "web"};
    const struct event *ev = make("moved", "web", "shop", "north", "south");
    (void)unused;
    assert_true(history_match(&f, ev));
    f.what = HISTORY_GUEST;
    assert_true(history_match(&f, ev));
    f.what = HISTORY_ENV;
    assert_false(history_match(&f, ev));
    strcpy(f.subject, "shop");
    assert_true(history_match(&f, ev));
    assert_true(history_match(&f, make("envmove", "shop", NULL, NULL, NULL)));
    f.what = HISTORY_GUEST;
    assert_false(history_match(&f, make("envmove", "shop", NULL, NULL, NULL)));
    ev = make("moved", "web", "shop", "north", "south");
    f.what = HISTORY_HOST;
    assert_false(history_match(&f, ev));
    strcpy(f.subject, "south");
    assert_true(history_match(&f, ev));
    f.since = ev->wall + 1;
    assert_false(history_match(&f, ev));
    f.since = ev->wall;
    assert_true(history_match(&f, ev));
}

static void test_sums(void **unused)
{
    struct history_summary s = {0};
    struct event *ev = make("moved", "web", "shop", "north", "south");
    (void)unused;
    event_number(ev, "bytes", 1000);
    event_number(ev, "pause_s", 0.5);
    history_count(&s, ev);
    ev = make("moved", "db", "shop", "north", "south"); /* begun before a restart: no figures */
    history_count(&s, ev);
    history_count(&s, make("arrived", "web", "shop", "south", "north"));
    history_count(&s, make("failed", "web", "shop", NULL, NULL)); /* the policy's word on the same */
    history_count(&s, make("failed", "web", "shop", "north", "south"));
    ev = make("envmove", "shop", NULL, NULL, NULL);
    history_count(&s, ev);
    event_word(ev, "end", "moved");
    history_count(&s, ev);
    ev = make("envmove", "shop", NULL, NULL, NULL);
    event_word(ev, "end", "refused");
    history_count(&s, ev);
    assert_int_equal(s.records, 8);
    assert_int_equal(s.moved, 2);
    assert_int_equal(s.arrived, 1);
    assert_int_equal(s.failed, 1);
    assert_int_equal(s.environments, 1);
    assert_int_equal(s.pauses, 1);
    assert_true(s.pause_s > 0.49 && s.pause_s < 0.51 && s.bytes > 999 && s.bytes < 1001);
}

/* What is said every minute is kept once an hour; what happens, each time. */
static void test_again(void **unused)
{
    static struct history_memory m;
    struct event *ev = make("short", "web", NULL, NULL, NULL);
    vi_time now = VI_SEC;
    unsigned kept = 0;
    (void)unused;
    for (unsigned i = 0; i < 120; i++, now += VI_MIN)
        kept += !history_again(&m, now, ev);
    assert_int_equal(kept, 2);
    assert_false(history_again(&m, now, make("short", "db", NULL, NULL, NULL)));
    ev = make("balloon", "web", NULL, NULL, NULL);
    assert_false(history_again(&m, now, ev)); /* done: each */
    assert_false(history_again(&m, now, ev));
    event_word(ev, "command", "xl mem-set web 512m");
    assert_false(history_again(&m, now, ev));
    assert_true(history_again(&m, now, ev));
    ev = make("balloon", "web", NULL, NULL, NULL);
    event_word(ev, "command", "xl mem-set web 1024m");
    assert_false(history_again(&m, now, ev)); /* another thing */
    ev = make("refused", "web", NULL, NULL, NULL);
    assert_false(history_again(&m, now, ev));
    assert_true(history_again(&m, now, ev));
    strcpy(ev->text, "for another reason");
    assert_false(history_again(&m, now, ev));
    for (unsigned i = 0; i < 2 * HISTORY_MEMORY; i++, now += VI_MSEC) { /* full: the oldest is forgotten */
        char name[16];
        snprintf(name, sizeof name, "g%u", i);
        assert_false(history_again(&m, now, make("short", name, NULL, NULL, NULL)));
    }
    assert_false(history_again(&m, now, make("short", "g0", NULL, NULL, NULL)));
    assert_true(history_again(&m, now, make("short", "g1023", NULL, NULL, NULL)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_read_back), cmocka_unit_test(test_kinds),
                                       cmocka_unit_test(test_subjects), cmocka_unit_test(test_sums),
                                       cmocka_unit_test(test_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
