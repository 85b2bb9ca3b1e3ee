/* violin-sim trace: a day of many guests' CPU use under the systems that are compared. */
#include "tests/sim/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/trace_systems.h"

#define CLOUDSIM_KBPS (62.5e6 / 1024) /* half of 1 Gb/s */

struct options {
    const char *file, *system, *kind;
    uint64_t seed, guests, hosts;
    double mean;
    bool memory;
};

static bool read_options(int argc, char **argv, struct options *o)
{
    char *end = NULL;

    for (int k = 0; k < argc; k++) {
        const char *a = argv[k], *next = k + 1 < argc ? argv[k + 1] : NULL;

        if (!strcmp(a, "--memory")) {
            o->memory = true;
            continue;
        }
        if (a[0] != '-' || !strcmp(a, "-")) {
            if (o->file)
                return false;
            o->file = a;
            continue;
        }
        if (!next)
            return false;
        k++;
        if (!strcmp(a, "--system"))
            o->system = next;
        else if (!strcmp(a, "--case"))
            o->kind = next;
        else if (!strcmp(a, "--seed"))
            o->seed = strtoull(next, &end, 10);
        else if (!strcmp(a, "--guests"))
            o->guests = strtoull(next, &end, 10);
        else if (!strcmp(a, "--hosts"))
            o->hosts = strtoull(next, &end, 10);
        else if (!strcmp(a, "--mean"))
            o->mean = strtod(next, &end);
        else
            return false;
        if (end && *end)
            return false;
    }
    return (!strcmp(o->kind, "mean") || !strcmp(o->kind, "pack")) && o->mean > 0.05 && o->mean < 1 && o->guests >= 2 &&
           o->guests <= TRACE_GUESTS && o->hosts >= 2 && o->hosts <= 1000;
}

static bool read_trace(const struct options *o, struct trace *t)
{
    struct trace_error err;
    FILE *f;
    char *text;
    size_t len;
    bool ok;

    if (!o->file)
        return trace_generate(t, (unsigned)o->guests, o->seed);
    f = strcmp(o->file, "-") ? fopen(o->file, "r") : stdin;
    text = malloc(TRACE_BYTES + 1);
    if (!f || !text) {
        fprintf(stderr, "violin-sim: %s: %s\n", o->file, strerror(errno));
        free(text);
        return false;
    }
    len = fread(text, 1, TRACE_BYTES + 1, f);
    ok = trace_parse(t, text, len, &err);
    if (!ok)
        fprintf(stderr, "%s:%u: %s\n", o->file, err.line, err.text);
    if (f != stdin)
        fclose(f);
    free(text);
    return ok;
}

static void show(const struct tw *w, bool pack)
{
    const struct tw_tally *y = &w->tally;

    printf("hosts %u\nguests %u\nsteps %u\n", w->n_hosts, w->n_guests, TRACE_STEPS);
    printf("overload_pct %.6g\n", 100.0 * (double)y->overloaded / (double)y->host_steps);
    printf("unserved_pct %.6g\n", y->demanded > 0 ? 100 * y->unserved / y->demanded : 0);
    printf("moves_per_guest_day %.6g\n", (double)y->moves / w->n_guests);
    printf("migrations %llu\nreturns %llu\nto_overload %llu\n", (unsigned long long)y->moves, (unsigned long long)y->returns,
           (unsigned long long)y->to_overload);
    if (!pack)
        return;
    printf("energy_kwh %.6g\n", y->joules / 3.6e6);
    printf("slatah_pct %.6g\n", y->active_s > 0 ? 100 * y->violated_s / y->active_s : 0);
    printf("pdm_pct %.6g\n", y->wanted_s > 0 ? 100 * y->degraded_s / y->wanted_s : 0);
    printf("hosts_on_mean %.6g\nhosts_on_at_end %u\n", y->active_s / (TRACE_STEPS * TRACE_STEP_S), tw_active(w));
}

int command_trace(int argc, char **argv)
{
    struct options o = {.system = "violin", .kind = "mean", .seed = 1, .guests = 1052, .hosts = 800, .mean = 0.5};
    struct ts_config c = {0};
    const struct ts_system *s = ts_systems;
    struct trace t = {0};
    struct tw w = {0};
    bool pack, ok = read_options(argc, argv, &o);

    while (ok && s->name && strcmp(s->name, o.system) != 0)
        s++;
    if (!ok || !s->name) {
        fprintf(stderr, "usage: " COMMAND_TRACE_USAGE "\nsystems:\n");
        for (s = ts_systems; s->name; s++)
            fprintf(stderr, "  %-15s %s\n", s->name, s->what);
        return 2;
    }
    pack = !strcmp(o.kind, "pack");
    c.seed = o.seed;
    c.pack = pack;
    c.bandwidth_kbps = pack ? CLOUDSIM_KBPS : 0;
    ok = read_trace(&o, &t);
    if (ok) {
        ok = (pack ? tw_open_pack(&w, &t, (unsigned)o.hosts, o.memory) : tw_open_mean(&w, &t, o.mean)) && s->play(&w, &c);
        if (ok) {
            w.now = (vi_time)TRACE_STEPS * TRACE_STEP_S * VI_SEC;
            tw_settle_all(&w);
            show(&w, pack);
        } else
            fprintf(stderr, "violin-sim: no memory, or too few guests\n");
        tw_close(&w);
    }
    trace_free(&t);
    return ok ? 0 : 2;
}
