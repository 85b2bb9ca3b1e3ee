/* Figures of played scenarios, as text and JSON. See policy_report.h. */
#include "tests/sim/policy_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- figures ----------------------------------------------------------------------------------- */

static const struct pw_world *still(const struct pr_case *c)
{
    return c->run[PW_STATIC][0]->w;
}

static double less(double before, double after)
{
    return before > 0 ? 100 * (before - after) / before : 0;
}

static double average_of(const struct pr_case *c, const struct pw_world *w, unsigned e)
{
    (void)e;
    return less(pw_average_s(still(c)), pw_average_s(w));
}

static double overall_of(const struct pr_case *c, const struct pw_world *w, unsigned e)
{
    (void)e;
    return less(pw_overall_s(still(c)), pw_overall_s(w));
}

static double reduction_of(const struct pr_case *c, const struct pw_world *w, unsigned e)
{
    return less(pw_execution_s(still(c), e), pw_execution_s(w, e));
}

static double seconds_of(const struct pr_case *c, const struct pw_world *w, unsigned e)
{
    (void)c;
    return pw_execution_s(w, e);
}

static double overhead_of(const struct pr_case *c, const struct pw_world *w, unsigned e)
{
    return pw_execution_s(w, e) - pw_execution_s(still(c), e);
}

static double died_of(const struct pr_case *c, const struct pw_world *w, unsigned e)
{
    (void)c;
    return w->env[e].state == PW_DIED;
}

static double created_of(const struct pr_case *c, const struct pw_world *w, unsigned e)
{
    (void)c;
    return w->env[e].created > 0 ? (double)(w->env[e].created - w->s->env[e].start) / 1e6 : w->env[e].state == PW_WAITS ? -1 : 0;
}

static double most_memory_of(const struct pr_case *c, const struct pw_world *w, unsigned e)
{
    uint64_t most = w->s->env[e].kb;

    (void)c;
    for (unsigned k = 0; k < w->n_notes; k++)
        if (w->note[k].env == e && w->note[k].kind == PW_GROWS && w->note[k].kb > most)
            most = w->note[k].kb;
    return (double)most / 1024;
}

static double moves_of(const struct pr_case *c, const struct pw_world *w, unsigned e)
{
    (void)c;
    return w->env[e].moves;
}

static double migrations_of(const struct pr_case *c, const struct pw_world *w, unsigned e)
{
    (void)c, (void)e;
    return pw_moves(w);
}

static double sent_of(const struct pr_case *c, const struct pw_world *w, unsigned e)
{
    (void)c, (void)e;
    return w->sent_kb / 1024;
}

void pr_order(const struct pw_world *w, char *out, size_t cap)
{
    unsigned came[PW_FILE_ENVS] = {0};
    size_t n = 0;

    out[0] = 0;
    for (unsigned k = 0; k < w->n_notes; k++) {
        const struct pw_note *p = &w->note[k];
        const char *name = w->s->env[p->env].name, *mark = NULL, *where = "";

        if (p->kind == PW_CREATED)
            mark = "+";
        else if (p->kind == PW_FINISHED)
            mark = ".";
        else if (p->kind == PW_OUT_OF_MEMORY)
            mark = "!";
        else if (p->kind == PW_ARRIVES && w->host[p->from].domain != w->host[p->to].domain &&
                 ++came[p->env % PW_FILE_ENVS] == w->s->env[p->env].guests) {
            came[p->env % PW_FILE_ENVS] = 0;
            mark = ">";
            where = w->s->domain[w->host[p->to].domain].name;
        }
        if (mark && n + 2 * PW_NAME + 3 < cap)
            n += (size_t)snprintf(out + n, cap - n, "%s%s%s%s", n ? " " : "", name, mark, where);
    }
}

static double order_of(const struct pr_case *c, const struct pw_world *w, unsigned e)
{
    char theirs[2000], ours[2000];

    (void)e;
    if (!c->n[PW_REFERENCE])
        return 0;
    pr_order(c->run[PW_REFERENCE][0]->w, theirs, sizeof theirs);
    pr_order(w, ours, sizeof ours);
    return !strcmp(theirs, ours);
}

/* What is of interest where. */
enum { WHERE_ENDS = 1, WHERE_ORDERED = 2, WHERE_GOES_ON = 4 };

static unsigned kind_of(const struct pr_case *c)
{
    if (c->s.n_orders)
        return WHERE_ORDERED;
    for (unsigned e = 0; e < c->s.n_envs; e++)
        if (still(c)->env[e].state != PW_ENDED)
            return WHERE_GOES_ON;
    return WHERE_ENDS;
}

static const struct {
    const char *name, *unit;
    unsigned where;
    bool each;
    double (*of)(const struct pr_case *c, const struct pw_world *w, unsigned e);
} figures[] = {
    {"average_reduction_pct", "%", WHERE_ENDS, false, average_of},
    {"overall_reduction_pct", "%", WHERE_ENDS, false, overall_of},
    {"migrations", "guests", WHERE_ENDS | WHERE_ORDERED | WHERE_GOES_ON, false, migrations_of},
    {"order_as_reference", "0/1", WHERE_ENDS | WHERE_ORDERED | WHERE_GOES_ON, false, order_of},
    {"sent_mib", "MiB", WHERE_ENDS | WHERE_ORDERED | WHERE_GOES_ON, false, sent_of},
    {"reduction_pct", "%", WHERE_ENDS, true, reduction_of},
    {"execution_s", "s", WHERE_ENDS | WHERE_ORDERED, true, seconds_of},
    {"overhead_s", "s", WHERE_ORDERED, true, overhead_of},
    {"moves", "guests", WHERE_ENDS | WHERE_GOES_ON, true, moves_of},
    {"died", "0/1", WHERE_GOES_ON, true, died_of},
    {"created_after_s", "s", WHERE_GOES_ON, true, created_of}, /* -1: never */
    {"memory_most_mib", "MiB", WHERE_GOES_ON, true, most_memory_of},
};
#define FIGURES (sizeof figures / sizeof figures[0])

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void sum_up(const struct pr_case *c, enum pw_system system, unsigned f, unsigned e, struct pr_metric *out)
{
    double v[PR_SEEDS];

    out->n = c->n[system];
    out->unit = figures[f].unit;
    snprintf(out->name, sizeof out->name, "%s%s%s", figures[f].each ? c->s.env[e].name : "", figures[f].each ? "_" : "",
             figures[f].name);
    out->mean = 0;
    for (unsigned k = 0; k < out->n; k++) {
        v[k] = figures[f].of(c, c->run[system][k]->w, e);
        out->mean += v[k] / out->n;
    }
    qsort(v, out->n, sizeof v[0], by_size);
    out->min = v[0];
    out->max = v[out->n - 1];
    out->median = (v[(out->n - 1) / 2] + v[out->n / 2]) / 2;
}

bool pr_metric(const struct pr_case *c, enum pw_system system, unsigned k, struct pr_metric *out)
{
    unsigned kind = kind_of(c);

    if (!c->n[system])
        return false;
    for (unsigned f = 0; f < FIGURES; f++) {
        unsigned n = figures[f].each ? c->s.n_envs : 1;

        if (!(figures[f].where & kind))
            continue;
        if (k < n) {
            sum_up(c, system, f, k, out);
            return true;
        }
        k -= n;
    }
    return false;
}

/* ---- text ---------------------------------------------------------------------------------------- */

static void one_row(const struct pr_case *c, unsigned k, FILE *out)
{
    struct pr_metric m;

    if (!pr_metric(c, PW_STATIC, k, &m))
        return;
    fprintf(out, "  %-26s", m.name);
    for (unsigned q = 0; q <= c->s.n_quotes; q++)
        if (q == c->s.n_quotes)
            fprintf(out, " %9s", "-");
        else if (!strcmp(c->s.quote[q].metric, m.name)) {
            fprintf(out, " %9.1f", c->s.quote[q].value);
            break;
        }
    for (unsigned sys = 0; sys < PW_SYSTEMS; sys++) {
        char range[40] = "";

        if (!pr_metric(c, sys, k, &m))
            continue;
        if (m.max - m.min > .05)
            snprintf(range, sizeof range, " (%.1f…%.1f)", m.min, m.max);
        fprintf(out, " %9.1f%-*s", m.mean, m.n > 1 ? 18 : 1, range);
    }
    fprintf(out, " %s\n", m.unit);
}

int pr_text(const struct pr_case *cases, unsigned n, FILE *out)
{
    for (unsigned i = 0; i < n; i++) {
        const struct pr_case *c = &cases[i];
        struct pr_metric m;

        fprintf(out, "%s: %s\n  %-26s %9s", c->s.name, c->s.title, "mean (range)", "paper");
        for (unsigned sys = 0; sys < PW_SYSTEMS; sys++)
            if (c->n[sys])
                fprintf(out, " %*s%*s", c->n[sys] > 1 ? 15 : 9, pw_system_names[sys], c->n[sys] > 1 ? 12 : 1, "");
        fputc('\n', out);
        for (unsigned k = 0; pr_metric(c, PW_STATIC, k, &m); k++)
            one_row(c, k, out);
        fputc('\n', out);
    }
    return ferror(out) ? -1 : 0;
}

int pr_events(const struct pw_run *r, FILE *out)
{
    const struct pw_world *w = r->w;

    for (unsigned k = 0; k < w->n_notes; k++) {
        const struct pw_note *p = &w->note[k];

        fprintf(out, "%9.3f s  %s", (double)p->at / 1e6, w->s->env[p->env].name);
        if (p->guest != PW_NOWHERE)
            fprintf(out, ".%u", w->guest[p->guest].index);
        fprintf(out, " %s", pw_note_names[p->kind]);
        if (p->from != PW_NOWHERE)
            fprintf(out, ", from %s.%u", w->s->domain[w->host[p->from].domain].name,
                    p->from - w->s->domain[w->host[p->from].domain].first);
        if (p->to != PW_NOWHERE && p->to != p->from)
            fprintf(out, " to %s.%u", w->s->domain[w->host[p->to].domain].name,
                    p->to - w->s->domain[w->host[p->to].domain].first);
        if (p->kb)
            fprintf(out, ", %.0f MiB", (double)p->kb / 1024);
        fputc('\n', out);
    }
    return ferror(out) ? -1 : 0;
}

/* ---- JSON ------------------------------------------------------------------------------------------ */

static void row(FILE *out, bool *first, const char *name, const char *system, const char *metric, const char *unit,
                const struct pr_metric *m)
{
    fprintf(out, "%s\n  {\"case\": \"%s\", \"system\": \"%s\", \"metric\": \"%s\", \"unit\": \"%s\", \"median\": %.4f, "
                 "\"mean\": %.4f, \"min\": %.4f, \"max\": %.4f, \"runs\": %u}", *first ? "" : ",", name, system, metric, unit,
            m->median, m->mean, m->min, m->max, m->n);
    *first = false;
}

static const char *unit_of(const char *metric)
{
    size_t len = strlen(metric);

    return len > 4 && !strcmp(metric + len - 4, "_pct") ? "%" : len > 2 && !strcmp(metric + len - 2, "_s") ? "s" : "";
}

int pr_json(const struct pr_case *cases, unsigned n, FILE *out)
{
    bool first = true;

    fprintf(out, "{\"bench\": \"scenarios\",\n \"definitions\": {\n"
                 "  \"reduction_pct\": \"100 x (static - system) / static, of the time from start to end; average: of the "
                 "mean over environments; overall: from the first start to the last end\",\n"
                 "  \"overhead_s\": \"execution time with one ordered move, less that without\",\n"
                 "  \"created_after_s\": \"from when it was wanted; -1: never\",\n"
                 "  \"order_as_reference\": \"1: environments were created, came whole to another domain, ended or died in the "
                 "reference's order; moves within a domain aren't looked at\",\n"
                 "  \"paper\": \"quoted: what the paper states; the other systems play inputs that were fixed beforehand\",\n"
                 "  \"reference\": \"a central view of everything at once; a move stalls 20 s\",\n"
                 "  \"violin-20s\": \"every host a node with the program's cores, 1 to 20 ms delay, 1 in 100 lost; a guest that moves "
                 "stalls 20 s\",\n"
                 "  \"violin-modelled\": \"the same; the stall comes of memory, dirty rate and 1 Gb/s between domains and hosts\"},\n"
                 " \"rows\": [");
    for (unsigned i = 0; i < n; i++) {
        const struct pr_case *c = &cases[i];
        struct pr_metric m;

        for (unsigned q = 0; q < c->s.n_quotes; q++) {
            m = (struct pr_metric){.n = 1, .median = c->s.quote[q].value, .mean = c->s.quote[q].value, .min = c->s.quote[q].value, .max = c->s.quote[q].value};
            row(out, &first, c->s.name, "paper", c->s.quote[q].metric, unit_of(c->s.quote[q].metric), &m);
        }
        for (unsigned sys = 0; sys < PW_SYSTEMS; sys++)
            for (unsigned k = 0; pr_metric(c, sys, k, &m); k++)
                row(out, &first, c->s.name, pw_system_names[sys], m.name, m.unit, &m);
    }
    fprintf(out, "\n ]}\n");
    return ferror(out) ? -1 : 0;
}
