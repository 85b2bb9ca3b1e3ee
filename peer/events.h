/* What happened here: a bounded ring of events for `violin events`, each with the numbers behind it.
 * When the ring is full the oldest goes; numbers grow without gaps, so that a reader sees that. */
#ifndef PEER_EVENTS_H
#define PEER_EVENTS_H

#include <stddef.h>

#include "peer/base/clock.h"
#include "peer/base/wire.h"

#define EVENT_KIND      16
#define EVENT_SUBJECT   64
#define EVENT_TEXT      300
#define EVENT_NUMBERS   12
#define EVENT_NUMBER    28
#define EVENT_WORDS     400  /* bytes of all words, names and NULs included */
#define EVENT_BYTES_MAX 2048 /* encoded */

struct event_number {
    char name[EVENT_NUMBER];
    double value;
};

struct event {
    uint64_t seq;
    vi_time wall; /* µs since 1970 */
    char kind[EVENT_KIND], subject[EVENT_SUBJECT], text[EVENT_TEXT];
    unsigned n_numbers;
    struct event_number numbers[EVENT_NUMBERS];
    unsigned words_len;
    char words[EVENT_WORDS]; /* name NUL value NUL … */
};

struct events;
struct events *events_new(unsigned keep);
void events_free(struct events *e);
/* Adds one; the returned event is filled in further by the caller (numbers) before the next call. */
struct event *events_add(struct events *e, vi_time wall, const char *kind, const char *subject,
                         const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* A number more; dropped when there are EVENT_NUMBERS. */
void event_number(struct event *ev, const char *name, double value);
/* A word more (who, why, through whom), each name once; dropped when there is no room or value is NULL. */
void event_word(struct event *ev, const char *name, const char *value);
/* The value of a word, or NULL. */
const char *event_word_of(const struct event *ev, const char *name);
/* The oldest event with seq > after, or NULL. */
const struct event *events_after(const struct events *e, uint64_t after);
uint64_t events_last(const struct events *e); /* 0: none yet */
/* {seq, at, kind, subject, text, numbers, words}: subject and words absent when there are none */
void event_write(struct vi_writer *w, const struct event *ev);
/* What event_write() wrote, from the disk: 0, or VI_EPROTO. What a later version added is passed over. */
int event_read(struct event *ev, const void *data, size_t len);

#endif
