/* A hostile environment in an honest domain, 100 seeds of it, three hours each. Always:
 *
 *   moves     no environment's guests move more in any hour than its budget, over all hosts together
 *   memory    no honest guest is shrunk to where it is above its range; no host gives more than it has
 *   CPU       over every ten minutes honest guests get what is their due by their environments' shares, or what they want
 *
 * SEEDS=100, SEED=1 (the first), HOURS=3; one seed, with what is decided: SEEDS=1 SEED=n TRACE=1. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/hostile_world.h"

#define SPAN  (10 * VI_MIN)
#define LEAST 0.90 /* of its due: what a change of demand costs until weights follow */

static unsigned number(const char *name, unsigned otherwise)
{
    const char *v = getenv(name);
    return v ? (unsigned)strtoul(v, NULL, 10) : otherwise;
}

static void look_at_cpu(struct hw *w, double *least)
{
    for (unsigned i = 0; i < w->n_guests; i++) {
        struct hw_guest *g = &w->guest[i];
        double part = g->fair_s > 1 ? g->got_s / g->fair_s : 1;
        bool whole = g->moved_at < w->now - SPAN;
        if (!g->hostile && whole && part < *least)
            *least = part;
        if (!g->hostile && whole && part < LEAST)
            hw_bad(w, "%s got %.0f CPU seconds of the %.0f that are its due", g->in.name, g->got_s, g->fair_s);
        g->wanted_s = g->fair_s = g->got_s = 0;
    }
}

int main(void)
{
    static struct hw w;
    unsigned seeds = number("SEEDS", 100), first = number("SEED", 1), hours = number("HOURS", 3);
    unsigned failed = 0, moves = 0, most = 0, refused = 0;
    double least = 1;
    if (sodium_init() < 0)
        return 1;
    for (unsigned s = first; s < first + seeds; s++) {
        hw_open(&w, s);
        w.trace = number("TRACE", 0) != 0;
        while (w.now < w.begun + hours * VI_HOUR && !w.failed) {
            hw_second(&w);
            if ((w.now - w.begun) % SPAN == 0)
                look_at_cpu(&w, &least);
        }
        if (w.failed)
            printf("SEED=%u: after %.0f s: %s\n", s, (double)(w.now - w.begun) / 1e6, w.why);
        failed += w.failed;
        moves += w.n_moves;
        refused += w.refused;
        most = w.most_in_hour > most ? w.most_in_hour : most;
        hw_close(&w);
    }
    printf("hostile: %u passed, %u failed; %u moves, at most %u of an environment in an hour, %u refused, at least %.0f %% of "
           "its due for an honest guest\n", seeds - failed, failed, moves, most, refused, least * 100);
    return failed ? 1 : 0;
}
