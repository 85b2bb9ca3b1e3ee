/* The backlog against a list that is simply long enough. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "overlay/backlog.h"

#define MOST 65610

static struct backlog b;

static void empty_has_nothing(void **state)
{
    (void)state;
    memset(&b, 0, sizeof b);
    assert_null(backlog_first(&b));
    backlog_next(&b);
    assert_null(backlog_first(&b));
    assert_null(backlog_room(&b, BACKLOG_BYTES));
    assert_non_null(backlog_room(&b, MOST));
}

/* Is it full before it could be, or not when it should be? And does it begin anew? */
static void holds_what_it_says(void **state)
{
    unsigned n = 0;
    struct backlog_item *i, *first = backlog_room(&b, MOST);
    (void)state;
    while ((i = backlog_room(&b, MOST))) {
        i->len = MOST;
        memset(i->env.b, (int)n++, sizeof i->env.b);
        backlog_add(&b, i);
        assert_true(n <= BACKLOG_BYTES / MOST);
    }
    assert_true(n >= BACKLOG_BYTES / (MOST + 200));
    for (unsigned k = 0; k < n; k++) {
        assert_int_equal(backlog_first(&b)->env.b[15], (uint8_t)k);
        backlog_next(&b);
    }
    assert_null(backlog_first(&b));
    assert_ptr_equal(backlog_room(&b, MOST), first);
}

static void first_in_first_out(void **state)
{
    static struct {
        size_t len;
        uint8_t fill;
    } list[1 << 18];
    size_t head = 0, tail = 0, full = 0, emptied = 0;
    uint64_t x = 7;
    (void)state;
    memset(&b, 0, sizeof b);
    for (unsigned n = 0; n < 60000; n++) {
        bool in = (x = x * UINT64_C(6364136223846793005) + 1442695040888963407u) >> 60 < (n / 4000 % 2 ? 9 : 7);
        size_t len = x >> 33 & 1 ? x >> 40 & 127 : (x >> 40) % MOST;
        struct backlog_item *i = in ? backlog_room(&b, MOST) : NULL; /* room for more than is then used */
        if (in && !i)
            full++;
        if (in && i) {
            assert_true((uint8_t *)i >= b.mem && i->bytes + MOST <= b.mem + sizeof b.mem);
            list[tail].len = i->len = len;
            list[tail].fill = (uint8_t)n;
            if (len) {
                i->bytes[0] = i->bytes[len - 1] = (uint8_t)n;
                i->bytes[len / 2] = (uint8_t)n;
            }
            backlog_add(&b, i);
            tail++;
        }
        if (!in && head < tail) {
            i = backlog_first(&b);
            assert_non_null(i);
            assert_int_equal(i->len, list[head].len);
            if (i->len) {
                assert_int_equal(i->bytes[0], list[head].fill);
                assert_int_equal(i->bytes[i->len / 2], list[head].fill);
                assert_int_equal(i->bytes[i->len - 1], list[head].fill);
            }
            backlog_next(&b);
            head++;
            emptied += head == tail;
        }
        assert_true((backlog_first(&b) != NULL) == (head < tail));
    }
    assert_true(full > 100 && emptied > 10 && tail > 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_has_nothing),
        cmocka_unit_test(holds_what_it_says),
        cmocka_unit_test(first_in_first_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
