/* The ring of events: numbers without gaps, the oldest goes, what is encoded fits its bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/wire.h"
#include "peer/events.h"

static void test_ring(void **unused)
{
    struct events *e = events_new(4);
    const struct event *ev;
    uint64_t next = 7;
    (void)unused;
    assert_non_null(e);
    assert_int_equal(events_last(e), 0);
    assert_null(events_after(e, 0));
    for (int i = 1; i <= 10; i++)
        events_add(e, i, "kind", NULL, "event %d", i);
    assert_int_equal(events_last(e), 10);
    for (ev = events_after(e, 0); ev; ev = events_after(e, ev->seq)) {
        char text[32];
        snprintf(text, sizeof text, "event %d", (int)next);
        assert_int_equal(ev->seq, next);
        assert_int_equal(ev->wall, next);
        assert_string_equal(ev->text, text);
        next++;
    }
    assert_int_equal(next, 11);
    assert_int_equal(events_after(e, 8)->seq, 9);
    assert_int_equal(events_after(e, 3)->seq, 7); /* gone: the oldest that is left */
    assert_null(events_after(e, 10));
    assert_null(events_after(e, UINT64_MAX));
    events_free(e);
    e = events_new(0); /* one at least */
    events_add(e, 1, "k", "s", "only");
    events_add(e, 2, "k", "s", "last");
    assert_string_equal(events_after(e, 0)->text, "last");
    events_free(e);
    events_free(NULL);
}

static void test_longest(void **unused)
{
    static uint8_t bytes[EVENT_BYTES_MAX];
    char many[1000];
    struct events *e = events_new(1);
    struct event *ev;
    struct vi_writer w;
    struct vi_reader r;
    char text[EVENT_TEXT];
    (void)unused;
    memset(many, 'x', sizeof many - 1);
    many[sizeof many - 1] = 0;
    ev = events_add(e, INT64_MAX, many, many, "%s", many);
    for (int i = 0; i < EVENT_NUMBERS + 5; i++)
        event_number(ev, many, 1.5);
    many[EVENT_WORDS - 3] = 0; /* all the room there is */
    event_word(ev, "w", many);
    assert_int_equal(ev->words_len, EVENT_WORDS);
    many[EVENT_WORDS - 3] = 'x';
    assert_int_equal(ev->n_numbers, EVENT_NUMBERS);
    assert_int_equal(strlen(ev->text), EVENT_TEXT - 1);
    vi_writer_init(&w, bytes, sizeof bytes);
    event_write(&w, ev);
    assert_int_equal(w.err, 0);
    vi_reader_init(&r, bytes, w.len);
    assert_int_equal(vi_read_map(&r, 7), 7);
    for (int i = 0; i < 3; i++)
        vi_read_skip(&r), vi_read_skip(&r);
    assert_true(vi_read_key(&r, "subject"));
    vi_read_skip(&r);
    assert_true(vi_read_key(&r, "text"));
    vi_read_cstr(&r, text, sizeof text);
    assert_true(vi_read_key(&r, "numbers"));
    assert_int_equal(vi_read_map(&r, 100), EVENT_NUMBERS);
    for (int i = 0; i < EVENT_NUMBERS; i++) {
        vi_read_skip(&r);
        assert_true(vi_read_double(&r) == 1.5);
    }
    assert_true(vi_read_key(&r, "words"));
    vi_read_skip(&r);
    assert_int_equal(vi_read_end(&r), 0);
    events_free(e);
}

static void test_words(void **unused)
{
    static uint8_t bytes[EVENT_BYTES_MAX];
    char many[EVENT_WORDS];
    struct events *e = events_new(1);
    struct event *ev = events_add(e, 1, "member", "south", "south is dead");
    struct vi_writer w;
    struct vi_reader r;
    char text[EVENT_WORDS];
    (void)unused;
    memset(many, 'x', sizeof many - 1);
    many[sizeof many - 1] = 0;
    event_word(ev, "accuser", "north");
    event_word(ev, "via", NULL); /* unknown: absent */
    event_word(ev, "much", many); /* no room */
    event_word(ev, "empty", "");
    many[EVENT_WORDS - 1 - ev->words_len - 2] = 0; /* just fits */
    event_word(ev, "y", many);
    event_word(ev, "z", "");
    assert_int_equal(ev->words_len, EVENT_WORDS);
    vi_writer_init(&w, bytes, sizeof bytes);
    event_write(&w, ev);
    assert_int_equal(w.err, 0);
    vi_reader_init(&r, bytes, w.len);
    assert_int_equal(vi_read_map(&r, 7), 7);
    for (int i = 0; i < 6; i++)
        vi_read_skip(&r), vi_read_skip(&r);
    assert_true(vi_read_key(&r, "words"));
    assert_int_equal(vi_read_map(&r, 9), 3);
    assert_true(vi_read_key(&r, "accuser"));
    vi_read_cstr(&r, text, sizeof text);
    assert_string_equal(text, "north");
    assert_true(vi_read_key(&r, "empty"));
    vi_read_cstr(&r, text, sizeof text);
    assert_string_equal(text, "");
    assert_true(vi_read_key(&r, "y"));
    vi_read_cstr(&r, text, sizeof text);
    assert_string_equal(text, many);
    assert_int_equal(vi_read_end(&r), 0);
    ev = events_add(e, 2, "member", "south", "south is back"); /* the ring's only place, again */
    assert_int_equal(ev->words_len, 0);
    events_free(e);
}

static void test_without_subject(void **unused)
{
    uint8_t bytes[EVENT_BYTES_MAX];
    struct events *e = events_new(1);
    struct vi_writer w;
    struct vi_reader r;
    (void)unused;
    vi_writer_init(&w, bytes, sizeof bytes);
    event_write(&w, events_add(e, 1500000, "k", "", "text"));
    vi_reader_init(&r, bytes, w.len);
    assert_int_equal(vi_read_map(&r, 6), 5); /* absent, not empty */
    assert_true(vi_read_key(&r, "seq"));
    assert_int_equal(vi_read_uint(&r, 9), 1);
    assert_true(vi_read_key(&r, "at"));
    assert_true(vi_read_double(&r) == 1.5);
    events_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring), cmocka_unit_test(test_longest), cmocka_unit_test(test_words),
        cmocka_unit_test(test_without_subject),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
