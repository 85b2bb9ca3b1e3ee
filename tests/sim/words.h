/* Text files of lines of words, as the simulator's scenarios are: words by blanks, `#` begins a comment. Bounded, no
 * allocation; every error has its line and what was expected there. */
#ifndef TESTS_SIM_WORDS_H
#define TESTS_SIM_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#define WORDS_FILE_MAX 65536 /* bytes */
#define WORDS_LINE_MAX 320   /* bytes of a line, with its NUL */
#define WORDS_MAX      40    /* on a line */

struct words_error {
    unsigned line; /* 0: of the whole file */
    char text[160];
};

struct words {
    struct words_error *err;
    unsigned line, n, at; /* at: the next one to be read */
    char *word[WORDS_MAX];
    char buf[WORDS_LINE_MAX];
};

/* Says what was expected instead of the next word; always false. */
bool words_fail(struct words *w, const char *expected);
/* The next word is this one, and is passed by. */
bool words_take(struct words *w, const char *word);
/* It must be. */
bool words_need(struct words *w, const char *word);
/* Digits with at most one point; *end is behind them. At most 1e12. */
bool words_number(const char *s, const char **end, double *out);
/* Each line that has words is handed to `statement`, which reads them; false when one was refused, or all is too long. */
bool words_each_line(struct words *w, const char *text, size_t len, bool (*statement)(void *arg), void *arg);

#endif
