/* violin-sim: many peers in one process on virtual time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "tests/sim/command.h"
#include "tests/sim/measure.h"

static int usage(FILE *out, int status)
{
    fprintf(out,
            "usage: " COMMAND_RUN_USAGE "\n"
            "       " COMMAND_SOAK_USAGE "\n"
            "       " COMMAND_ADAPT_USAGE "\n"
            "       " COMMAND_SCALE_USAGE "\n"
            "       " COMMAND_TRACE_USAGE "\n"
            "       violin-sim measure CASE [--seed N] [--n N] [--swim] [--alpha A] [--beta B]\n"
            "                  [--anomalous N] [--blocked S] [--normal S] [--duration S] [--domains N]\n\ncases:\n");
    for (const struct measure_case *c = measure_cases; c->name; c++)
        fprintf(out, "  %-18s %s\n", c->name, c->what);
    return status;
}

static int measure(int argc, char **argv)
{
    struct measure_config mc = {.seed = 1, .anomalous = 8, .blocked_s = 8, .normal_s = .064};
    static struct measured m;
    const struct measure_case *c = measure_cases;

    while (argc && c->name && strcmp(c->name, argv[0]) != 0)
        c++;
    if (!argc || !c->name)
        return usage(stderr, 2);
    for (int k = 1; k < argc; k++) {
        const char *o = argv[k], *v = k + 1 < argc ? argv[k + 1] : "";

        if (!strcmp(o, "--swim")) {
            mc.swim = true;
            continue;
        }
        k++;
        if (!strcmp(o, "--seed"))
            mc.seed = strtoull(v, NULL, 10);
        else if (!strcmp(o, "--n"))
            mc.n = (unsigned)strtoul(v, NULL, 10);
        else if (!strcmp(o, "--alpha"))
            mc.alpha = strtod(v, NULL);
        else if (!strcmp(o, "--beta"))
            mc.beta = strtod(v, NULL);
        else if (!strcmp(o, "--anomalous"))
            mc.anomalous = (unsigned)strtoul(v, NULL, 10);
        else if (!strcmp(o, "--blocked"))
            mc.blocked_s = strtod(v, NULL);
        else if (!strcmp(o, "--normal"))
            mc.normal_s = strtod(v, NULL);
        else if (!strcmp(o, "--domains"))
            mc.domains = (unsigned)strtoul(v, NULL, 10);
        else if (!strcmp(o, "--duration"))
            mc.duration_s = strtod(v, NULL);
        else
            return usage(stderr, 2);
    }
    if (!c->run(&mc, &m)) {
        fprintf(stderr, "violin-sim: %s, seed %llu: it came to no end\n", c->name, (unsigned long long)mc.seed);
        return 1;
    }
    for (unsigned k = 0; k < m.n; k++)
        printf("%s %.9g\n", m.f[k].name, m.f[k].value);
    return 0;
}

int main(int argc, char **argv)
{
    if (sodium_init() < 0)
        return 1;
    if (argc >= 2 && !strcmp(argv[1], "measure"))
        return measure(argc - 2, argv + 2);
    if (argc >= 2 && !strcmp(argv[1], "run"))
        return command_run(argc - 2, argv + 2);
    if (argc >= 2 && !strcmp(argv[1], "soak"))
        return command_soak(argc - 2, argv + 2);
    if (argc >= 2 && !strcmp(argv[1], "adapt"))
        return command_adapt(argc - 2, argv + 2);
    if (argc >= 2 && !strcmp(argv[1], "scale"))
        return command_scale(argc - 2, argv + 2);
    if (argc >= 2 && !strcmp(argv[1], "trace"))
        return command_trace(argc - 2, argv + 2);
    return usage(argc >= 2 && !strcmp(argv[1], "--help") ? stdout : stderr, argc >= 2 ? 0 : 2);
}
