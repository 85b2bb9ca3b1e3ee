/* Lines of words. See words.h. */
#include "tests/sim/words.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

bool words_fail(struct words *w, const char *expected)
{
    w->err->line = w->line;
    if (w->at < w->n)
        snprintf(w->err->text, sizeof w->err->text, "\"%.50s\": expected %s", w->word[w->at], expected);
    else
        snprintf(w->err->text, sizeof w->err->text, "the line ends: expected %s", expected);
    return false;
}

bool words_take(struct words *w, const char *word)
{
    if (w->at >= w->n || strcmp(w->word[w->at], word) != 0)
        return false;
    w->at++;
    return true;
}

bool words_need(struct words *w, const char *word)
{
    char expected[40];

    snprintf(expected, sizeof expected, "\"%s\"", word);
    return words_take(w, word) || words_fail(w, expected);
}

bool words_number(const char *s, const char **end, double *out)
{
    double v = 0, unit = 1;
    bool any = false, point = false;

    for (; isdigit((unsigned char)*s) || (*s == '.' && !point && s[1] != '.'); s++) {
        if (*s == '.') {
            point = true;
            continue;
        }
        any = true;
        v = point ? v + (*s - '0') * (unit /= 10) : v * 10 + (*s - '0');
        if (v > 1e12)
            return false;
    }
    *end = s;
    *out = v;
    return any;
}

/* A line taken apart; false if it can't be. */
static bool split(struct words *w, const char *text, size_t len)
{
    char *save = NULL;

    w->n = w->at = 0;
    if (len >= sizeof w->buf || memchr(text, 0, len))
        return words_fail(w, "a line of text, 319 bytes at most");
    memcpy(w->buf, text, len);
    w->buf[len] = 0;
    w->buf[strcspn(w->buf, "#")] = 0;
    for (char *s = strtok_r(w->buf, " \t\r", &save); s; s = strtok_r(NULL, " \t\r", &save)) {
        if (w->n == WORDS_MAX)
            return words_fail(w, "40 words at most");
        w->word[w->n++] = s;
    }
    return true;
}

bool words_each_line(struct words *w, const char *text, size_t len, bool (*statement)(void *arg), void *arg)
{
    const char *end = text + len;

    if (len > WORDS_FILE_MAX)
        return words_fail(w, "65536 bytes at most");
    while (text < end) {
        const char *nl = memchr(text, '\n', (size_t)(end - text));
        size_t n = nl ? (size_t)(nl - text) : (size_t)(end - text);

        w->line++;
        if (!split(w, text, n) || (w->n && !statement(arg)))
            return false;
        text += n + 1;
        if (!nl)
            break;
    }
    return true;
}
