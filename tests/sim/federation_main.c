/* federation: several domains, faults at random moments; many seeds.
 *
 *   federation            40 seeds
 *   SEEDS=n federation    n seeds
 *   SEED=n federation     that one only, again
 *
 * Invariants: every domain's running members agree in the end and have one representative; the
 * representatives know exactly each other and have fresh summaries; a part that is cut off has a
 * representative of its own, one, while it is; the same seed makes the same run. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/federation.h"

#define CHECK(ok, ...)                                                                             \
    do {                                                                                           \
        if (!(ok)) {                                                                               \
            printf("  %s:%d: ", __FILE__, __LINE__);                                               \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

#define NODES_MAX 64

static void run(struct federation *f, vi_time t)
{
    struct world *w = federation_world(f);

    world_run(w, world_now(w) + t);
}

static bool settle(struct federation *f, vi_time most)
{
    vi_time end = world_now(federation_world(f)) + most;

    while (!federation_agreed(f)) {
        if (world_now(federation_world(f)) >= end)
            return false;
        run(f, 250 * VI_MSEC);
    }
    return true;
}

static void start_all(struct federation *f, unsigned n)
{
    for (unsigned k = 0; k < n; k++) {
        world_resume(federation_world(f), k);
        world_start(federation_world(f), k);
        run(f, 100 * VI_MSEC);
    }
}

static void trouble(struct federation *f, unsigned n, struct vi_rng *r)
{
    struct world *w = federation_world(f);
    unsigned who = vi_rng_below(r, n);
    bool side[NODES_MAX];

    switch (vi_rng_below(r, 7)) {
    case 0:
    case 1:
        world_crash(w, who);
        break;
    case 2:
    case 3:
        world_start(w, who);
        break;
    case 4:
        world_pause(w, who);
        break;
    case 5:
        for (unsigned k = 0; k < n; k++)
            side[k] = vi_rng_below(r, 2);
        world_partition(w, side);
        break;
    default:
        world_heal(w);
        for (unsigned k = 0; k < n; k++)
            world_resume(w, k);
        break;
    }
    run(f, (vi_time)vi_rng_below(r, 8000) * VI_MSEC);
}

/* One domain of the others cut in two: each half that is large enough has one representative. */
static bool halves(struct federation *f, unsigned members, unsigned n)
{
    struct world *w = federation_world(f);
    bool side[NODES_MAX] = {false};
    unsigned acting[2] = {0}, who = 0;

    for (unsigned k = 0; k < members / 2; k++)
        side[k] = true;
    world_partition(w, side);
    run(f, 120 * VI_SEC);
    for (unsigned k = 0; k < members; k++)
        acting[side[k]] += federation_acts(f, k);
    CHECK(acting[0] == 1 && acting[1] == 1, "%u and %u represent the halves of a domain", acting[0], acting[1]);
    for (unsigned d = 1; d < n / members; d++)
        CHECK(federation_acting(f, d, &who) == 1, "domain %u lost its representative by another's cut", d);
    world_heal(w);
    return true;
}

static bool one(uint64_t seed, uint64_t *hash)
{
    struct federation_config c = {.seed = seed, .domains = 2 + (unsigned)(seed % 5), .members = 3 + (unsigned)(seed % 6),
                                  .net = {.delay_min = VI_MSEC, .delay_max = 40 * VI_MSEC, .loss = .02,
                                          .duplicate = .02, .reorder = .02, .reorder_delay = 100 * VI_MSEC}};
    unsigned n = c.domains * c.members;
    struct federation *f = federation_new(&c);
    struct world *w;
    bool ok;

    if (!f)
        return false;
    w = federation_world(f);
    start_all(f, n);
    ok = settle(f, 300 * VI_SEC);
    if (!ok)
        printf("  they don't find each other\n");
    ok = ok && halves(f, c.members, n);
    for (unsigned k = 0; ok && k < 40; k++)
        trouble(f, n, world_rng(w));
    world_heal(w);
    start_all(f, n);
    if (ok && !settle(f, 400 * VI_SEC)) {
        printf("  not healed after all was well again\n");
        ok = false;
    }
    run(f, 60 * VI_SEC);
    if (ok && federation_summaries(f, 60 * VI_SEC) < .999) {
        printf("  only %.0f %% of the summaries are fresh\n", 100 * federation_summaries(f, 60 * VI_SEC));
        ok = false;
    }
    *hash = world_hash(w);
    federation_free(f);
    if (!ok)
        printf("FAILED federation: SEED=%llu replays it\n", (unsigned long long)seed);
    return ok;
}

int main(void)
{
    const char *only = getenv("SEED"), *many = getenv("SEEDS");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1, n = only ? 1 : many ? strtoull(many, NULL, 10) : 40;
    unsigned passed = 0, failed = 0;
    uint64_t hash, again;

    if (sodium_init() < 0)
        return 1;
    for (uint64_t s = first; s < first + n; s++) {
        bool ok = one(s, &hash);

        if (ok && s == first && (!one(s, &again) || again != hash)) {
            printf("FAILED: seed %llu ran differently the second time\n", (unsigned long long)s);
            ok = false;
        }
        passed += ok;
        failed += !ok;
    }
    printf("seeds %llu to %llu\n", (unsigned long long)first, (unsigned long long)(first + n - 1));
    printf("federation: %u passed, %u failed\n", passed, failed);
    return failed != 0;
}
