/* Days of CPU use: what is read, what is refused; what is made up looks like what was measured. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/sim/trace.h"
#include "tests/sim/trace_world.h"

static char text[8192];

static size_t line(char *out, const char *name, unsigned values, const char *value)
{
    size_t n = (size_t)sprintf(out, "%s", name);

    for (unsigned k = 0; k < values; k++)
        n += (size_t)sprintf(out + n, ",%s", value);
    return n + (size_t)sprintf(out + n, "\n");
}

static void refused(const char *name, unsigned values, const char *value, const char *why)
{
    struct trace t;
    struct trace_error err;
    size_t n = line(text, "good", TRACE_STEPS, "1");

    n += line(text + n, name, values, value);
    assert_false(trace_parse(&t, text, n, &err));
    trace_free(&t);
    assert_int_equal(err.line, 2);
    assert_non_null(strstr(err.text, why));
}

static void test_read(void **unused)
{
    struct trace t;
    struct trace_error err;
    size_t n = line(text, "zoi host", TRACE_STEPS, "7");
    (void)unused;

    n += line(text + n, "alpha", TRACE_STEPS, "100");
    assert_true(trace_parse(&t, text, n - 1, &err)); /* the last line's end may be missing */
    assert_int_equal(t.n, 2);
    assert_string_equal(t.guest[0].name, "alpha");
    assert_string_equal(t.guest[1].name, "zoi host");
    assert_true(t.guest[0].pct[287] == 100 && t.guest[1].pct[0] == 7);
    trace_free(&t);
}

static void test_refused(void **unused)
{
    char longest[200];
    struct trace t;
    struct trace_error err;
    size_t n;
    (void)unused;

    memset(longest, 'x', sizeof longest);
    longest[128] = 0;
    refused("a", TRACE_STEPS, "101", "0 to 100");
    refused("a", TRACE_STEPS, "1.5", "comma before each");
    refused("a", TRACE_STEPS, "-1", "0 to 100");
    refused("a", TRACE_STEPS, "", "0 to 100");
    refused("a", TRACE_STEPS, "99999999999999999999", "0 to 100");
    refused("a", TRACE_STEPS - 1, "1", "288 percentages are expected");
    refused("a", TRACE_STEPS + 1, "1", "more than 288");
    refused("", TRACE_STEPS, "1", "1 to 127");
    refused(longest, TRACE_STEPS, "1", "1 to 127");
    refused("a\033[2J", TRACE_STEPS, "1", "isn't printable");
    refused("a", 0, "", "a name, a comma");
    assert_false(trace_parse(&t, "", 0, &err));
    trace_free(&t);
    n = line(text, "same", TRACE_STEPS, "1");
    n += line(text + n, "same", TRACE_STEPS, "2");
    assert_false(trace_parse(&t, text, n, &err));
    assert_non_null(strstr(err.text, "same is there twice"));
    trace_free(&t);
}

static void test_too_many(void **unused)
{
    char *many = malloc(TRACE_GUESTS + 1);
    struct trace t;
    struct trace_error err;
    (void)unused;

    assert_non_null(many);
    memset(many, '\n', TRACE_GUESTS + 1);
    assert_false(trace_parse(&t, many, TRACE_GUESTS + 1, &err));
    trace_free(&t);
    assert_non_null(strstr(err.text, "4096"));
    free(many);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* The ranges are those of three days of PlanetLab's, a little widened (trace.c). */
static void test_made_up(void **unused)
{
    enum { N = 1052 };
    static double mean[N], spread[N];
    double all = 0, squares = 0, next = 0;
    unsigned high = 0;
    struct trace t, again;
    (void)unused;

    assert_true(trace_generate(&t, N, 5) && trace_generate(&again, N, 5));
    assert_memory_equal(t.guest, again.guest, N * sizeof *t.guest);
    for (unsigned g = 0; g < N; g++) {
        const uint8_t *p = t.guest[g].pct;
        double sum = 0, square = 0, with_next = 0;

        for (unsigned k = 0; k < TRACE_STEPS; k++) {
            sum += p[k];
            square += p[k] * p[k];
            high += p[k] >= 50;
        }
        mean[g] = sum / TRACE_STEPS;
        for (unsigned k = 1; k < TRACE_STEPS; k++)
            with_next += (p[k] - mean[g]) * (p[k - 1] - mean[g]);
        spread[g] = sqrt(square / TRACE_STEPS - mean[g] * mean[g]);
        all += mean[g] / N;
        squares += spread[g] * spread[g] / N;
        next += with_next / (TRACE_STEPS - 1) / N;
    }
    qsort(mean, N, sizeof *mean, by_size);
    qsort(spread, N, sizeof *spread, by_size);
    assert_true(all > 9.5 && all < 13);
    assert_true(mean[N / 10] > 1 && mean[N / 10] < 2.2 && mean[N / 2] > 5.5 && mean[N / 2] < 7.5);
    assert_true(mean[N * 9 / 10] > 20 && mean[N * 9 / 10] < 35 && mean[N * 99 / 100] > 50 && mean[N * 99 / 100] < 80);
    assert_true(spread[N / 2] > 4.5 && spread[N / 2] < 7 && sqrt(squares) > 7 && sqrt(squares) < 10);
    assert_true(next / squares > 0.05 && next / squares < 0.25);
    assert_true(high > 0.02 * N * TRACE_STEPS && high < 0.06 * N * TRACE_STEPS);
    trace_free(&t);
    trace_free(&again);
}

/* Overload, unserved and returns are counted as they are defined. */
static void test_tally(void **unused)
{
    struct trace t;
    struct tw w;
    (void)unused;

    assert_true(trace_generate(&t, 8, 1));
    for (unsigned g = 0; g < 8; g++)
        memset(t.guest[g].pct, g % 2 ? 100 : 20, TRACE_STEPS);
    assert_true(tw_open_mean(&w, &t, 0.6)); /* 480 of 800 */
    assert_int_equal(w.n_hosts, 2);
    tw_begin_step(&w, 0); /* all busy ones are on host 1: 400 of 400 */
    assert_true(w.tally.host_steps == 2 && w.tally.overloaded == 1 && w.tally.unserved == 0);
    tw_move(&w, 0, 1);
    tw_begin_step(&w, 1);
    assert_true(w.tally.overloaded == 2 && w.tally.unserved == 20 && w.tally.moves == 1 && w.tally.returns == 0);
    tw_move(&w, 0, 0);
    assert_true(w.tally.moves == 2 && w.tally.returns == 1); /* five minutes after it left */
    tw_begin_step(&w, 2);
    tw_move(&w, 0, 1);
    tw_begin_step(&w, 9);
    tw_move(&w, 0, 0);
    assert_true(w.tally.returns == 2); /* it left host 1 five minutes before; host 0 35 minutes before */
    tw_close(&w);
    trace_free(&t);
}

/* Power, and the time that is spent overloaded. */
static void test_pack_setting(void **unused)
{
    struct trace t;
    struct tw w;
    (void)unused;

    assert_true(trace_generate(&t, 8, 1));
    for (unsigned g = 0; g < 8; g++)
        memset(t.guest[g].pct, 0, TRACE_STEPS);
    assert_true(tw_open_pack(&w, &t, 10, false));
    assert_true(w.host[0].capacity == 200 && fabs(w.host[1].capacity - 286.02) < 0.01);
    assert_true(fabs(tw_watts(&w.host[0], 0) - 86) < 1e-9 && fabs(tw_watts(&w.host[1], w.host[1].capacity) - 135) < 1e-9);
    assert_true(fabs(tw_watts(&w.host[0], 30) - (89.4 + 92.6) / 2) < 1e-9); /* 15 % */
    for (unsigned g = 0; g < 8; g++) {
        const struct tw_host *h = &w.host[w.guest[g].host];
        assert_true(g >= 2 || h->capacity > 200); /* 2500 MIPS don't fit a G4's core */
    }
    tw_begin_step(&w, 0);
    w.now = TRACE_STEP_S * VI_SEC;
    tw_settle_all(&w);
    assert_true(fabs(w.tally.active_s - 300.0 * tw_active(&w)) < 1e-6 && w.tally.violated_s == 0);
    assert_true(w.tally.joules >= 86.0 * 300 * tw_active(&w) && w.tally.joules <= 93.7 * 300 * tw_active(&w));
    tw_close(&w);
    trace_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),  cmocka_unit_test(test_refused), cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_made_up), cmocka_unit_test(test_tally), cmocka_unit_test(test_pack_setting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
