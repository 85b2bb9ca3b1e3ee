/* Records of the history, as read from the disk: within their bounds, and what is written again means the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "peer/history.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct event a, b;
    static uint8_t bytes[2 * EVENT_BYTES_MAX];
    struct history_filter f = {.n_kinds = 0};
    struct history_summary s = {0};
    struct vi_writer w;
    char bad[32], text[128];
    size_t n = size < sizeof text - 1 ? size : sizeof text - 1;
    if (n)
        memcpy(text, data, n);
    text[n] = 0;
    (void)history_kinds(&f, text, bad, sizeof bad);
    if (event_read(&a, data, size))
        return 0;
    if (!memchr(a.kind, 0, sizeof a.kind) || !memchr(a.text, 0, sizeof a.text) || a.n_numbers > EVENT_NUMBERS ||
        a.words_len > EVENT_WORDS)
        abort();
    (void)history_match(&f, &a);
    history_count(&s, &a);
    vi_writer_init(&w, bytes, sizeof bytes);
    event_write(&w, &a);
    if (w.err || event_read(&b, bytes, w.len) || strcmp(a.text, b.text) != 0 || a.n_numbers != b.n_numbers ||
        a.words_len != b.words_len || memcmp(a.words, b.words, a.words_len) != 0)
        abort();
    return 0;
}
