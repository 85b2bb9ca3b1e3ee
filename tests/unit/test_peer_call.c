/* Questions between peers: answered, asked again, given up; hostile bytes change nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/call.h"

struct side {
    struct calls *calls;
    struct side *other;
    struct vi_id id;
    vi_time now;
    unsigned sent, lose;
    int answered, err;
    uint8_t got[64];
    size_t got_len;
};

static void send_to(void *arg, const struct vi_id *peer, const uint8_t *data, size_t len)
{
    struct side *s = arg;
    assert_true(vi_id_equal(peer, &s->other->id));
    s->sent++;
    if (s->lose) {
        s->lose--;
        return;
    }
    calls_message(s->other->calls, s->now, &s->id, data, len);
}

static int answer(void *arg, const struct vi_id *from, unsigned method, const uint8_t *body,
                  size_t len, uint8_t *out)
{
    (void)arg;
    (void)from;
    if (method != CALL_LOAD)
        return VI_EUNSUPPORTED;
    for (size_t i = 0; i < len; i++)
        out[i] = body[len - 1 - i];
    return (int)len;
}

static void done(void *arg, int err, const uint8_t *body, size_t len)
{
    struct side *s = arg;
    s->answered++;
    s->err = err;
    s->got_len = len;
    memcpy(s->got, body, len);
}

static struct side a, b;
static struct vi_rng rng;

static int set_up(void **unused)
{
    (void)unused;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    vi_rng_seed(&rng, 1);
    struct call_hooks h = {.arg = &a, .send = send_to, .answer = answer};
    a.calls = calls_new(&h, &rng);
    h.arg = &b;
    b.calls = calls_new(&h, &rng);
    a.other = &b;
    b.other = &a;
    a.id.b[0] = 1;
    b.id.b[0] = 2;
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    calls_free(a.calls);
    calls_free(b.calls);
    return 0;
}

static void test_answered(void **unused)
{
    (void)unused;
    assert_int_equal(calls_ask(a.calls, 0, &b.id, CALL_LOAD, (const uint8_t *)"abc", 3, done, &a), 0);
    assert_int_equal(a.answered, 1);
    assert_int_equal(a.err, 0);
    assert_memory_equal(a.got, "cba", 3);
    assert_true(calls_deadline(a.calls) == VI_NEVER);
    assert_int_equal(calls_ask(a.calls, 0, &b.id, 9, NULL, 0, done, &a), 0);
    assert_int_equal(a.err, VI_EUNSUPPORTED);
}

static void test_lost(void **unused)
{
    (void)unused;
    a.lose = 2;
    calls_ask(a.calls, 0, &b.id, CALL_LOAD, (const uint8_t *)"x", 1, done, &a);
    calls_tick(a.calls, CALL_RETRY);
    assert_int_equal(a.answered, 0);
    calls_tick(a.calls, 2 * CALL_RETRY);
    assert_int_equal(a.answered, 1);
    a.lose = 99;
    calls_ask(a.calls, 0, &b.id, CALL_LOAD, (const uint8_t *)"x", 1, done, &a);
    for (int i = 1; i < 10; i++)
        calls_tick(a.calls, i * CALL_RETRY);
    assert_int_equal(a.answered, 2);
    assert_int_equal(a.err, VI_ETIMEDOUT);
}

static void test_bound(void **unused)
{
    (void)unused;
    a.lose = 1000;
    for (int i = 0; i < CALLS_MAX; i++)
        assert_int_equal(calls_ask(a.calls, 0, &b.id, CALL_LOAD, NULL, 0, done, &a), 0);
    assert_int_equal(calls_ask(a.calls, 0, &b.id, CALL_LOAD, NULL, 0, done, &a), VI_EFULL);
}

static void test_hostile(void **unused)
{
    uint8_t junk[64];
    (void)unused;
    a.lose = 1;
    calls_ask(a.calls, 0, &b.id, CALL_LOAD, NULL, 0, done, &a);
    for (int i = 0; i < 2000; i++) {
        vi_rng_bytes(&rng, junk, sizeof junk);
        junk[0] = 0x94;
        junk[1] = (uint8_t)(i & 1);
        b.lose = 1;
        a.lose = 1;
        calls_message(a.calls, 0, &b.id, junk, (size_t)i % sizeof junk);
    }
    assert_int_equal(a.answered, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hostile, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
