/* What members tell each other for operators: a host in detail, why not there, draining, and their questions. The first byte says which.
 * What is taken is within its bounds, and means the same when it is written again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "peer/drainword.h"
#include "peer/hostview.h"
#include "peer/whynot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t bytes[65536];

static void view(const uint8_t *data, size_t size)
{
    static struct hostview_guest a[HOSTVIEW_PAGE], b[HOSTVIEW_PAGE], all[HOSTVIEW_GUESTS];
    struct hostview h, g;
    unsigned first, n, first2, n2;
    int len;
    if (hostview_decode(&h, &first, &n, a, data, size))
        return;
    if (n > HOSTVIEW_PAGE || first + n > h.guests || h.guests > HOSTVIEW_GUESTS)
        abort();
    memset(all, 0, sizeof all);
    memcpy(&all[first], a, n * sizeof a[0]);
    len = hostview_encode(&h, all, first, bytes, sizeof bytes);
    if (len < 0 || hostview_decode(&g, &first2, &n2, b, bytes, (size_t)len) || first2 != first || n2 < n ||
        memcmp(a, b, n * sizeof a[0]) != 0 || memcmp(&h, &g, sizeof h) != 0)
        abort();
}

static void whynot(const uint8_t *data, size_t size)
{
    static struct whynot_question q, q2;
    static struct whynot_answer a, a2;
    int len;
    if (!whynot_question_decode(&q, data, size)) {
        len = whynot_question_encode(&q, bytes, sizeof bytes);
        if (len < 0 || whynot_question_decode(&q2, bytes, (size_t)len) || q.kb != q2.kb || q.len != q2.len)
            abort();
    }
    if (!whynot_answer_decode(&a, data, size)) {
        len = whynot_answer_encode(&a, bytes, sizeof bytes);
        if (len < 0 || whynot_answer_decode(&a2, bytes, (size_t)len) || a.n != a2.n || strcmp(a.reason[0], a2.reason[0]) != 0)
            abort();
    }
}

static void drain(const uint8_t *data, size_t size)
{
    static struct drainword w, w2;
    struct drainword_order o, o2;
    int len;
    if (!drainword_order_decode(&o, data, size)) {
        len = drainword_order_encode(&o, bytes, sizeof bytes);
        if (len < 0 || drainword_order_decode(&o2, bytes, (size_t)len) || o.what != o2.what || o.deadline_s != o2.deadline_s)
            abort();
    }
    if (!drainword_decode(&w, data, size)) {
        len = drainword_encode(&w, bytes, sizeof bytes);
        if (w.n > w.guests || len < 0 || drainword_decode(&w2, bytes, (size_t)len) || w.n != w2.n || w.guests != w2.guests)
            abort();
    }
}

static void amount(const uint8_t *data, size_t size)
{
    char text[64];
    double v;
    unsigned first;
    size_t n = size < sizeof text - 1 ? size : sizeof text - 1;
    (void)hostview_question_decode(&first, data, size);
    if (n)
        memcpy(text, data, n);
    text[n] = 0;
    if (!hostview_amount(text, 512, n & 1, &v) && !(v >= 0 && v <= 1e10))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const each[])(const uint8_t *data, size_t size) = {view, whynot, drain, amount};
    if (size)
        each[data[0] % 4](data + 1, size - 1);
    return 0;
}
