/* soak: random mixed faults, and what must hold after them; many seeds, each once, some twice.
 *
 *   soak            100 seeds, and those that once failed
 *   SEEDS=n soak    n seeds
 *   SEED=n soak     that one only
 *   VERBOSE=1 soak  a line a run */
#include "tests/sim/soak.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TWICE 3 /* so many of them: the same seed makes the same run */

/* A member that had left, one that had lost its disk, was there again, and whoever held it for gone took nothing from it; a summary
 * forged with the very number of the true one stayed. */
static const uint64_t once_failed[] = {5442, 41227, 20345, 22118};

static bool one(uint64_t seed, struct soak_report *r)
{
    bool ok = soak_one(seed, r);

    if (getenv("VERBOSE"))
        printf("seed %4" PRIu64 ": %3u peers%s%s, %6.1f s, %8" PRIu64 " events, %7.0f bytes a peer%s\n", seed, r->peers,
               r->crypto ? ", Ed25519" : "", r->alone ? ", a liar alone" : r->hostile ? ", a liar" : "", r->seconds,
               r->events, r->memory, ok ? "" : ", failed");
    if (!ok)
        printf("FAILED: %s (%u peers%s): SEED=%" PRIu64 " build/tests/soak, or build/violin-sim soak --seed %" PRIu64
               " --seeds 1, replays it\n", r->why, r->peers, r->hostile ? ", a liar" : "", seed, seed);
    return ok;
}

int main(void)
{
    const char *only = getenv("SEED"), *many = getenv("SEEDS");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1, n = only ? 1 : many ? strtoull(many, NULL, 10) : 100;
    unsigned passed = 0, failed = 0, crypto = 0, hostile = 0;

    for (uint64_t seed = first; seed < first + n; seed++) {
        struct soak_report r, again;
        bool ok = one(seed, &r);

        crypto += r.crypto;
        hostile += r.hostile;
        if (ok && seed - first < TWICE && !(soak_one(seed, &again) && again.hash == r.hash)) {
            printf("FAILED: seed %" PRIu64 " makes another run the second time\n", seed);
            ok = false;
        }
        passed += ok;
        failed += !ok;
    }
    for (unsigned k = 0; !only && !many && k < sizeof once_failed / sizeof *once_failed; k++) {
        struct soak_report r;
        bool ok = one(once_failed[k], &r);

        passed += ok;
        failed += !ok;
    }
    printf("%u seeds with Ed25519, %u with a liar\n", crypto, hostile);
    printf("soak: %u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}
