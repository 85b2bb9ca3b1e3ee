/* trace: balancers on made-up days with few hosts: Violin overloads at most half as many hosts as without moves, in the
 * mean of the days no more than Xen Orchestra's rules (and a margin for so few hosts), never sends a guest back, needs
 * fewer moves; the same seed makes the same run.
 *
 *   trace           three days
 *   SEED=n trace    that one only, without the mean */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "tests/sim/trace_systems.h"

#define GUESTS 200
#define DAYS   3
#define MARGIN 0.25 /* points, of the mean: with ten hosts one more that is overloaded for five minutes of a day is 0.03 */

static unsigned passed, failed;

static void check(uint64_t seed, double mean, bool ok, const char *what)
{
    passed += ok;
    failed += !ok;
    if (!ok)
        printf("FAILED: seed %" PRIu64 ", mean %.2f: %s: SEED=%" PRIu64 " build/tests/trace replays it\n", seed, mean, what, seed);
}

static bool play(const struct trace *t, double mean, uint64_t seed, bool (*system)(struct tw *w, const struct ts_config *c),
                 struct tw_tally *out)
{
    struct ts_config c = {.seed = seed};
    struct tw w;
    bool ok = tw_open_mean(&w, t, mean) && system(&w, &c);

    *out = w.tally;
    tw_close(&w);
    return ok;
}

static double overload(const struct tw_tally *y)
{
    return 100.0 * (double)y->overloaded / (double)y->host_steps;
}

/* more: by how much Violin's overload is above Orchestra's. */
static void one(uint64_t seed, double mean, double *more)
{
    struct tw_tally idle, xo, violin, again;
    struct trace t;
    bool ok = trace_generate(&t, GUESTS, seed) && play(&t, mean, seed, ts_static, &idle) &&
              play(&t, mean, seed, ts_orchestra, &xo) && play(&t, mean, seed, ts_violin, &violin) &&
              play(&t, mean, seed, ts_violin, &again);

    trace_free(&t);
    check(seed, mean, ok, "it can't be played");
    if (!ok)
        return;
    printf("seed %" PRIu64 ", mean %.2f: overload static %.2f, orchestra %.2f, violin %.2f %%; moves %" PRIu64 ", %" PRIu64 "\n",
           seed, mean, overload(&idle), overload(&xo), overload(&violin), xo.moves, violin.moves);
    check(seed, mean, idle.moves == 0 && xo.moves > 0, "static moves, or orchestra doesn't");
    *more += overload(&violin) - overload(&xo);
    check(seed, mean, violin.overloaded * 2 <= idle.overloaded, "violin is little better than nothing");
    check(seed, mean, violin.moves < xo.moves, "violin needs more moves");
    check(seed, mean, violin.returns == 0, "violin sends a guest back");
    check(seed, mean, !memcmp(&violin, &again, sizeof again), "the same seed makes another run");
}

int main(void)
{
    const char *only = getenv("SEED");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1, n = only ? 1 : DAYS;
    double more[2] = {0, 0};

    if (sodium_init() < 0)
        return 1;
    for (uint64_t seed = first; seed < first + n; seed++) {
        one(seed, 0.5, &more[0]);
        one(seed, 0.6, &more[1]);
    }
    for (unsigned k = 0; k < 2 && !only; k++) {
        bool ok = more[k] / DAYS <= MARGIN;
        passed += ok;
        failed += !ok;
        printf("%smean %s: violin's overload %+.2f points beside orchestra's, mean of the days\n", ok ? "" : "FAILED: ",
               k ? "0.60" : "0.50", more[k] / DAYS);
    }
    printf("trace: %u passed, %u failed\n", passed, failed);
    return failed > 0;
}
