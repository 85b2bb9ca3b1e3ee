/* Who sent how much to whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "overlay/matrix.h"

static struct matrix m, other;
static struct matrix_row rows[MATRIX_PAIRS + 8];
static const uint8_t a[6] = {2, 0, 0, 0, 0, 1}, b[6] = {2, 0, 0, 0, 0, 2};

static void sums(void **state)
{
    const struct vi_id physics = {{1}}, biology = {{2}};
    unsigned n = 0;
    (void)state;
    memset(&m, 0, sizeof m);
    memset(&other, 0, sizeof other);
    matrix_count(&m, &physics, a, b, 1, 100);
    matrix_count(&m, &physics, a, b, 3, 4000);
    matrix_count(&m, &physics, b, a, 1, 60);
    matrix_count(&m, &biology, a, b, 9, 9); /* the same MACs in another environment */
    matrix_count(&other, &physics, a, b, 2, 200);
    matrix_add(&m, &physics, rows, 8, &n);
    matrix_add(&other, &physics, rows, 8, &n);
    assert_int_equal(n, 2);
    for (unsigned i = 0; i < n; i++) {
        bool forth = !memcmp(rows[i].from, a, 6);
        assert_int_equal(rows[i].frames, forth ? 6 : 1);
        assert_int_equal(rows[i].bytes, forth ? 4300 : 60);
    }
    n = 0;
    matrix_add(&m, &physics, rows, 1, &n);
    assert_int_equal(n, 1);
}

static void full(void **state)
{
    const struct vi_id env = {{7}};
    uint8_t mac[6] = {2};
    unsigned n = 0;
    (void)state;
    memset(&m, 0, sizeof m);
    for (unsigned i = 0; i < MATRIX_PAIRS + 100; i++) {
        mac[4] = (uint8_t)(i >> 8);
        mac[5] = (uint8_t)i;
        matrix_count(&m, &env, mac, a, 1, 10);
    }
    assert_int_equal(m.n, MATRIX_PAIRS);
    assert_int_equal(atomic_load(&m.more), 100);
    matrix_count(&m, &env, (const uint8_t[6]){2}, a, 5, 5); /* those that are there go on */
    assert_int_equal(atomic_load(&m.more), 100);
    matrix_add(&m, &env, rows, MATRIX_PAIRS + 8, &n);
    assert_int_equal(n, MATRIX_PAIRS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums), cmocka_unit_test(full)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
