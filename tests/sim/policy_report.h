/* What came of scenarios under several systems: as text, as JSON in the benchmarks' format, as one HTML page
 * with pictures in it. */
#ifndef TESTS_SIM_POLICY_REPORT_H
#define TESTS_SIM_POLICY_REPORT_H

#include <stdio.h>

#include "tests/sim/policy_run.h"

#define PR_SEEDS 100

struct pr_case {
    struct pw_scenario s;
    unsigned n[PW_SYSTEMS]; /* runs of each system; 0: left out */
    struct pw_run *run[PW_SYSTEMS][PR_SEEDS];
};

struct pr_metric {
    char name[48];
    const char *unit;
    unsigned n;
    double median, mean, min, max;
};
/* The order of events as one word after another: an environment is created ("V1+"), all of it has come to another domain
 * ("V1>D2"), it ended ("V1."), died ("V1!"). Cut off where there is no room. */
void pr_order(const struct pw_world *w, char *out, size_t cap);

/* The k-th of what is told of a system in a case; false: there is none. Sets out. */
bool pr_metric(const struct pr_case *c, enum pw_system system, unsigned k, struct pr_metric *out);

/* All return 0, or -1 when out can't be written. */
int pr_text(const struct pr_case *cases, unsigned n, FILE *out);
int pr_json(const struct pr_case *cases, unsigned n, FILE *out);
int pr_html(const struct pr_case *cases, unsigned n, FILE *out);
/* Every event of a run, one a line. */
int pr_events(const struct pw_run *r, FILE *out);

#endif
