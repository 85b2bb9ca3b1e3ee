/* The ring of events. See events.h. */
#include "peer/events.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

struct events {
    unsigned keep;
    uint64_t last;
    struct event ring[];
};

struct events *events_new(unsigned keep)
{
    struct events *e;
    if (keep == 0)
        keep = 1;
    e = calloc(1, sizeof *e + (size_t)keep * sizeof e->ring[0]);
    if (e)
        e->keep = keep;
    return e;
}

void events_free(struct events *e)
{
    free(e);
}

struct event *events_add(struct events *e, vi_time wall, const char *kind, const char *subject,
                         const char *fmt, ...)
{
    struct event *ev = &e->ring[++e->last % e->keep];
    va_list ap;
    memset(ev, 0, sizeof *ev);
    ev->seq = e->last;
    ev->wall = wall;
    snprintf(ev->kind, sizeof ev->kind, "%s", kind);
    snprintf(ev->subject, sizeof ev->subject, "%s", subject ? subject : "");
    va_start(ap, fmt);
    vsnprintf(ev->text, sizeof ev->text, fmt, ap);
    va_end(ap);
    return ev;
}

void event_number(struct event *ev, const char *name, double value)
{
    struct event_number *n;
    if (ev->n_numbers >= EVENT_NUMBERS)
        return;
    n = &ev->numbers[ev->n_numbers++];
    snprintf(n->name, sizeof n->name, "%s", name);
    n->value = value;
}

void event_word(struct event *ev, const char *name, const char *value)
{
    size_t n = strlen(name) + 1, v = value ? strlen(value) + 1 : 0;
    if (!value || n + v > EVENT_WORDS - ev->words_len)
        return;
    memcpy(ev->words + ev->words_len, name, n);
    memcpy(ev->words + ev->words_len + n, value, v);
    ev->words_len += (unsigned)(n + v);
}

const char *event_word_of(const struct event *ev, const char *name)
{
    for (unsigned at = 0; at < ev->words_len;) {
        const char *key = ev->words + at, *value = key + strlen(key) + 1;
        if (!strcmp(key, name))
            return value;
        at += (unsigned)(strlen(key) + strlen(value) + 2);
    }
    return NULL;
}

const struct event *events_after(const struct events *e, uint64_t after)
{
    uint64_t first = e->last >= e->keep ? e->last - e->keep + 1 : 1;
    uint64_t want = after + 1 > first ? after + 1 : first;
    return want <= e->last && after < e->last ? &e->ring[want % e->keep] : NULL;
}

uint64_t events_last(const struct events *e)
{
    return e->last;
}

void event_write(struct vi_writer *w, const struct event *ev)
{
    uint32_t words = 0;
    for (unsigned at = 0; at < ev->words_len; at++)
        words += ev->words[at] == 0;
    vi_write_map(w, 5U + (ev->subject[0] != 0) + (words != 0));
    vi_write_str(w, "seq");
    vi_write_uint(w, ev->seq);
    vi_write_str(w, "at");
    vi_write_double(w, (double)ev->wall / 1e6);
    vi_write_str(w, "kind");
    vi_write_str(w, ev->kind);
    if (ev->subject[0]) {
        vi_write_str(w, "subject");
        vi_write_str(w, ev->subject);
    }
    vi_write_str(w, "text");
    vi_write_str(w, ev->text);
    vi_write_str(w, "numbers");
    vi_write_map(w, ev->n_numbers);
    for (unsigned i = 0; i < ev->n_numbers; i++) {
        vi_write_str(w, ev->numbers[i].name);
        vi_write_double(w, ev->numbers[i].value);
    }
    if (!words)
        return;
    vi_write_str(w, "words");
    vi_write_map(w, words / 2);
    for (unsigned at = 0; at < ev->words_len; at += (unsigned)strlen(ev->words + at) + 1)
        vi_write_str(w, ev->words + at);
}

/* ---- reading back ---- */

static void read_numbers(struct vi_reader *r, struct event *ev)
{
    uint32_t n = vi_read_map(r, EVENT_NUMBERS);
    for (uint32_t i = 0; i < n && !r->err; i++) {
        struct event_number *x = &ev->numbers[ev->n_numbers++];
        vi_read_cstr(r, x->name, sizeof x->name);
        x->value = vi_read_double(r);
    }
}

static void read_words(struct vi_reader *r, struct event *ev)
{
    uint32_t n = vi_read_map(r, EVENT_WORDS / 2);
    for (uint32_t i = 0; i < n && !r->err; i++) {
        char name[EVENT_WORDS], value[EVENT_WORDS];
        vi_read_cstr(r, name, sizeof name);
        vi_read_cstr(r, value, sizeof value);
        if (!r->err)
            event_word(ev, name, value);
    }
}

int event_read(struct event *ev, const void *data, size_t len)
{
    struct vi_reader r;
    uint32_t n;
    double at = 0;
    memset(ev, 0, sizeof *ev);
    vi_reader_init(&r, data, len);
    n = vi_read_map(&r, 16);
    for (uint32_t i = 0; i < n && !r.err; i++) {
        if (vi_read_key(&r, "seq"))
            ev->seq = vi_read_uint(&r, UINT64_MAX);
        else if (vi_read_key(&r, "at"))
            at = vi_read_double(&r);
        else if (vi_read_key(&r, "kind"))
            vi_read_cstr(&r, ev->kind, sizeof ev->kind);
        else if (vi_read_key(&r, "subject"))
            vi_read_cstr(&r, ev->subject, sizeof ev->subject);
        else if (vi_read_key(&r, "text"))
            vi_read_cstr(&r, ev->text, sizeof ev->text);
        else if (ev->n_numbers == 0 && vi_read_key(&r, "numbers"))
            read_numbers(&r, ev);
        else if (ev->words_len == 0 && vi_read_key(&r, "words"))
            read_words(&r, ev);
        else {
            vi_read_skip(&r);
            vi_read_skip(&r);
        }
    }
    if (!(at > -1e12 && at < 1e12))
        at = 0;
    ev->wall = (vi_time)(at * 1e6);
    return vi_read_end(&r) ? VI_EPROTO : 0;
}
