/* violin-sim scale: many peers, some of whose hosts get hot. */
#include "tests/sim/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/scale.h"

static bool option(struct scale_config *c, const char *name, const char *v)
{
    char *end;
    double x = strtod(v, &end);

    if (!*v || *end || x < 0 || x > 1e9)
        return false;
    if (!strcmp(name, "--seed"))
        c->seed = (uint64_t)x;
    else if (!strcmp(name, "--domains") && x >= 1 && x <= 100)
        c->domains = (unsigned)x;
    else if (!strcmp(name, "--hosts") && x >= 2 && x <= 1000)
        c->hosts = (unsigned)x;
    else if (!strcmp(name, "--guests") && x >= 1 && x <= 40)
        c->guests = (unsigned)x;
    else if (!strcmp(name, "--hot"))
        c->hot = (unsigned)x;
    else if (!strcmp(name, "--hot-domains"))
        c->hot_domains = (unsigned)x;
    else if (!strcmp(name, "--hot-guests"))
        c->hot_guests = (unsigned)x;
    else if (!strcmp(name, "--base") && x <= 1)
        c->base = x;
    else if (!strcmp(name, "--wants") && x <= 1)
        c->wants = x;
    else if (!strcmp(name, "--noise") && x <= 1)
        c->noise = x;
    else if (!strcmp(name, "--before") && x >= 1)
        c->before = (vi_time)(x * 1e6);
    else if (!strcmp(name, "--after") && x >= 1)
        c->after = (vi_time)(x * 1e6);
    else if (!strcmp(name, "--period") && x >= 1)
        c->period = (vi_time)(x * 1e6);
    else
        return false;
    return true;
}

static void print(const struct scale_result *r)
{
    double sum = 0;

    printf("unserved_most_pct %.0f\nresolved_s %.1f\nfirst_leaves_s %.2f\nmoves_before %u\nmoves %u\nmost_moves_of_a_host %u\n"
           "returns %u\ndestination_fullest_pct %.1f\ndestinations_over_range %u\ndestinations_over %u\nmost_arrivals %u\n",
           r->unserved_pct, r->resolved_s, r->first_leaves_s, r->moves_before, r->moves, r->most_moves, r->returns,
           r->fullest_pct, r->over_range, r->over, r->most_arrivals);
    for (unsigned k = 0; k < VIOLIN_CHANNELS; k++) {
        printf("%s_bytes_per_host_s %.1f\n", violin_channels[k], r->bytes[k]);
        sum += r->bytes[k];
    }
    printf("bytes_per_host_s %.1f\nbusy_bytes_per_host_s %.1f\nevaluation_median_ns %.0f\nevaluation_p99_ns %.0f\nchoosing_median_ns %.0f\n"
           "summary_age_p50_s %.1f\nsummary_age_p99_s %.1f\ntrace %016llx\n",
           sum, r->busy_bytes, r->ns_median, r->ns_p99, r->look_ns, r->age_s, r->age_p99_s, (unsigned long long)r->hash);
}

int command_scale(int argc, char **argv)
{
    struct scale_config c;
    struct scale_result r;

    scale_config_init(&c, 1);
    c.measure = true;
    if (argc && !strcmp(argv[argc - 1], "--events")) {
        c.events = true;
        argc--;
    }
    for (int k = 0; k < argc; k += 2)
        if (k + 1 >= argc || !option(&c, argv[k], argv[k + 1])) {
            fprintf(stderr, "usage: " COMMAND_SCALE_USAGE "\n");
            return 2;
        }
    if (!scale_run(&c, &r)) {
        fprintf(stderr, "violin-sim: no memory\n");
        return 2;
    }
    print(&r);
    return 0;
}
