/* CloudSim's PlanetLab setting, as published with Beloglazov and Buyya, "Optimal Online Deterministic Algorithms and
 * Adaptive Heuristics for Energy and Performance Efficient Dynamic Consolidation of Virtual Machines in Cloud Data
 * Centers", Concurrency and Computation 24(13), 2012, §6.1, and as CloudSim's own examples have it.
 *
 * Hosts alternate between HP ProLiant ML110 G4 (2 × 1860 MIPS) and G5 (2 × 2660 MIPS), 4 GB each; their power by
 * SPECpower_ssj2008, linear between its eleven points; none without a guest. A quarter of the guests each has 2500, 2000, 1000, 500
 * MIPS and 870, 1740, 1740, 613 MB. In the beginning each guest in turn is placed by its full size, CPU and memory, where it adds
 * the least power. From then on CloudSim asks for no memory for a guest that moves (its requested memory is that of
 * a utilisation model which is zero), so in the published figures a 4 GB host carries far more: with memory counted 1052 guests
 * need 319 hosts. `memory` counts it all the time.
 *
 * CPU here is in percent of a G4's core. */
#include "tests/sim/trace_systems.h"

#include <math.h>
#include <stdlib.h>

#define G4_CORE 1860.0
#define G5_CORE 2660.0
#define HOST_KB (UINT64_C(4096) * 1024)
#define TYPES   4

static const double g4_watts[11] = {86, 89.4, 92.6, 96, 99.5, 102, 106, 108, 112, 114, 117};
static const double g5_watts[11] = {93.7, 97, 101, 105, 110, 116, 121, 125, 129, 133, 135};
static const double mips[TYPES] = {2500, 2000, 1000, 500};
static const uint64_t mib[TYPES] = {870, 1740, 1740, 613};

/* The host where a guest of that size adds least power. */
static unsigned first_place(const struct tw *w, const double *taken, const uint64_t *kb, double pct, uint64_t guest_kb)
{
    unsigned best = TW_NOWHERE;
    double least = INFINITY;

    for (unsigned h = 0; h < w->n_hosts; h++) {
        const struct tw_host *host = &w->host[h];
        double core = host->capacity / 2, more;

        if (pct > core || taken[h] + pct > host->capacity || kb[h] + guest_kb > HOST_KB)
            continue;
        more = tw_watts(host, taken[h] + pct) - (taken[h] > 0 ? tw_watts(host, taken[h]) : 0);
        if (more < least) {
            least = more;
            best = h;
        }
    }
    return best;
}

static void make_host(struct tw_host *h, bool g5, bool memory)
{
    h->capacity = g5 ? 200 * G5_CORE / G4_CORE : 200;
    h->cpus = (uint32_t)ceil(h->capacity / 100);
    h->watts = g5 ? g5_watts : g4_watts;
    h->kb = memory ? HOST_KB : 256 * HOST_KB;
}

bool tw_open_pack(struct tw *w, const struct trace *t, unsigned hosts, bool memory)
{
    double *taken = calloc(hosts, sizeof *taken);
    uint64_t *kb = calloc(hosts, sizeof *kb);
    unsigned each = (t->n + TYPES - 1) / TYPES;
    bool ok = taken && kb && tw_open(w, t, hosts);

    for (unsigned h = 0; ok && h < hosts; h++)
        make_host(&w->host[h], h % 2, memory);
    for (unsigned g = 0; ok && g < t->n; g++) {
        unsigned type = g / each, h;
        double pct = 100 * mips[type] / G4_CORE;

        w->guest[g].scale = mips[type] / G4_CORE;
        w->guest[g].kb = mib[type] * 1024;
        h = first_place(w, taken, kb, pct, w->guest[g].kb);
        if (h == TW_NOWHERE) {
            ok = false;
            break;
        }
        taken[h] += pct;
        kb[h] += w->guest[g].kb;
        tw_place(w, g, h);
    }
    free(taken);
    free(kb);
    return ok && !w->no_memory;
}
