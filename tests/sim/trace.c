/* Days of CPU use. See trace.h.
 *
 * The generator follows three of PlanetLab's days of 2011 (3 and 25 March, 12 April), whose figures are: 1052 to 1078
 * guests; the mean of all 10.6–12.3 %; a guest's mean 1.6 % at the tenth percentile, 6.6 at the median, 23–34 at the
 * 90th, 56–74 at the 99th; a guest's standard deviation 5.3–6.2 at the median, 13–14 at the 90th, 7.8–9.0 in quadratic
 * mean; 3–5 % of all values 50 or more; and an autocorrelation of only 0.1–0.2, as good as the same from five minutes to
 * two hours: a guest swings about a mean of its own, five minutes know little of the next. The total of all swings by 15–20 %.
 * So a guest here is: a mean from a log-normal distribution; times a slow factor (a first-order autoregression of the
 * logarithm) and a part that all share (a slow wave); times a factor drawn anew for each step; plus, rarely, a burst of a few
 * steps; in whole percentages within 0 … 100. What comes out is held against the ranges above by tests/unit/test_sim_trace.c. */
#include "tests/sim/trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/rng.h"

#define PI 3.14159265358979323846

/* ---- reading ---- */

struct reader {
    const char *at, *end;
    struct trace_error *err;
};

static bool fail(struct reader *r, const char *why)
{
    snprintf(r->err->text, sizeof r->err->text, "%s", why);
    return false;
}

static bool read_name(struct reader *r, struct trace_guest *g)
{
    const char *from = r->at;

    while (r->at < r->end && *r->at != ',' && *r->at != '\n')
        r->at++;
    if (r->at == r->end || *r->at != ',')
        return fail(r, "a name, a comma and percentages are expected");
    if (r->at == from || r->at - from >= TRACE_NAME)
        return fail(r, "a name of 1 to 127 characters is expected");
    for (const char *p = from; p < r->at; p++)
        if ((unsigned char)*p < 32 || (unsigned char)*p > 126)
            return fail(r, "a name has a character that isn't printable");
    memcpy(g->name, from, (size_t)(r->at - from));
    return true;
}

static bool read_percentage(struct reader *r, uint8_t *out)
{
    unsigned v = 0, digits = 0;

    while (r->at < r->end && *r->at >= '0' && *r->at <= '9' && digits < 4) {
        v = 10 * v + (unsigned)(*r->at++ - '0');
        digits++;
    }
    if (!digits || v > 100)
        return fail(r, "a whole percentage of 0 to 100 is expected");
    *out = (uint8_t)v;
    return true;
}

static bool read_line(struct reader *r, struct trace_guest *g)
{
    if (!read_name(r, g))
        return false;
    for (unsigned k = 0; k < TRACE_STEPS; k++) {
        if (r->at == r->end || *r->at != ',')
            return fail(r, "288 percentages are expected, with a comma before each");
        r->at++;
        if (!read_percentage(r, &g->pct[k]))
            return false;
    }
    if (r->at < r->end && *r->at == '\r')
        r->at++;
    if (r->at < r->end && *r->at != '\n')
        return fail(r, "there is more than 288 percentages");
    if (r->at < r->end)
        r->at++;
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct trace_guest *)a)->name, ((const struct trace_guest *)b)->name);
}

static unsigned lines_of(const char *text, size_t len)
{
    unsigned n = 0;

    for (const char *p = text; p < text + len && n <= TRACE_GUESTS; n++) {
        p = memchr(p, '\n', (size_t)(text + len - p));
        if (!p)
            return n + 1;
        p++;
    }
    return n;
}

bool trace_parse(struct trace *t, const char *text, size_t len, struct trace_error *err)
{
    struct reader r = {.at = text, .end = text + len, .err = err};
    unsigned lines = len <= TRACE_BYTES ? lines_of(text, len) : TRACE_GUESTS + 1;

    memset(t, 0, sizeof *t);
    memset(err, 0, sizeof *err);
    if (!lines || lines > TRACE_GUESTS)
        return fail(&r, lines ? "the file is larger than 4096 guests" : "the file is empty");
    t->guest = calloc(lines, sizeof *t->guest);
    if (!t->guest)
        return fail(&r, "no memory");
    for (; r.at < r.end; t->n++) {
        err->line = t->n + 1;
        if (!read_line(&r, &t->guest[t->n]))
            return false;
    }
    qsort(t->guest, t->n, sizeof *t->guest, by_name);
    for (unsigned k = 1; k < t->n; k++)
        if (!strcmp(t->guest[k - 1].name, t->guest[k].name)) {
            err->line = 0;
            snprintf(err->text, sizeof err->text, "%.80s is there twice", t->guest[k].name);
            return false;
        }
    err->line = 0;
    return true;
}

void trace_free(struct trace *t)
{
    free(t->guest);
    memset(t, 0, sizeof *t);
}

/* ---- making up ---- */

/* Box and Muller. */
static double normal(struct vi_rng *r)
{
    double u = 1 - vi_rng_unit(r), v = vi_rng_unit(r);

    return sqrt(-2 * log(u)) * cos(2 * PI * v);
}

#define MEDIAN_PCT   5.4
#define SPREAD       1.10 /* of the means' logarithms */
#define SLOW_KEEPS   0.98
#define SLOW_SPREAD  0.18
#define FAST_SPREAD  0.62
#define FAST_LESS    0.0055 /* a busy guest swings less, in proportion: for each percent of its mean */
#define WAVE         0.10
#define BURST_CHANCE 0.0012 /* that one begins in a step */
#define BURST_ENDS   0.35   /* and that it ends */

static void one_guest(struct trace_guest *g, struct vi_rng *r, double phase)
{
    double mean = MEDIAN_PCT * exp(SPREAD * normal(r)), slow = normal(r), burst = 0;
    double spread = fmax(0.25, FAST_SPREAD - FAST_LESS * mean);

    for (unsigned k = 0; k < TRACE_STEPS; k++) {
        double wave = 1 + WAVE * sin(2 * PI * k / TRACE_STEPS + phase), v;

        slow = SLOW_KEEPS * slow + sqrt(1 - SLOW_KEEPS * SLOW_KEEPS) * normal(r);
        if (burst > 0 && vi_rng_unit(r) < BURST_ENDS)
            burst = 0;
        if (burst <= 0 && vi_rng_unit(r) < BURST_CHANCE)
            burst = 20 + 60 * vi_rng_unit(r);
        v = mean * wave * exp(SLOW_SPREAD * slow + spread * normal(r)) + burst;
        g->pct[k] = (uint8_t)(v > 100 ? 100 : v < 0 ? 0 : v + 0.5);
    }
}

bool trace_generate(struct trace *t, unsigned guests, uint64_t seed)
{
    struct vi_rng r;
    double phase;

    memset(t, 0, sizeof *t);
    t->guest = calloc(guests ? guests : 1, sizeof *t->guest);
    if (!t->guest)
        return false;
    vi_rng_seed(&r, seed);
    phase = 2 * PI * vi_rng_unit(&r);
    for (t->n = 0; t->n < guests; t->n++) {
        snprintf(t->guest[t->n].name, TRACE_NAME, "guest-%04u", t->n);
        one_guest(&t->guest[t->n], &r, phase);
    }
    return true;
}
