/* violin-sim adapt: experiments played under the systems that are compared. */
#include "tests/sim/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/policy_report.h"

#define FILES 32

struct options {
    const char *file[FILES], *json, *html;
    unsigned files, seeds;
    uint64_t first;
    bool events, play[PW_SYSTEMS];
};

static bool read_systems(struct options *o, const char *list)
{
    char names[100], *save = NULL;
    unsigned found = 0;

    memset(o->play, 0, sizeof o->play);
    snprintf(names, sizeof names, "%s", list);
    for (char *w = strtok_r(names, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        unsigned sys = 0;

        while (sys < PW_SYSTEMS && strcmp(pw_system_names[sys], w) != 0)
            sys++;
        if (sys == PW_SYSTEMS)
            return false;
        o->play[sys] = true;
        found++;
    }
    o->play[PW_STATIC] = true; /* all others are held against it */
    return found;
}

static bool number(const char *v, uint64_t most, uint64_t *out)
{
    char *end;

    *out = strtoull(v, &end, 10);
    return *v && !*end && *out <= most;
}

static bool read_options(int argc, char **argv, struct options *o)
{
    uint64_t v;

    for (int k = 0; k < argc; k++) {
        const char *a = argv[k], *next = k + 1 < argc ? argv[k + 1] : NULL;

        if (!strcmp(a, "--events")) {
            o->events = true;
            continue;
        }
        if (!strcmp(a, "--aloud")) {
            policy_run_aloud(true);
            continue;
        }
        if (a[0] != '-') {
            if (o->files == FILES)
                return false;
            o->file[o->files++] = a;
            continue;
        }
        if (!next)
            return false;
        k++;
        if (!strcmp(a, "--json"))
            o->json = next;
        else if (!strcmp(a, "--html"))
            o->html = next;
        else if (!strcmp(a, "--systems") && read_systems(o, next))
            continue;
        else if (!strcmp(a, "--seed") && number(next, UINT64_MAX / 2, &v))
            o->first = v;
        else if (!strcmp(a, "--seeds") && number(next, PR_SEEDS, &v) && v)
            o->seeds = (unsigned)v;
        else
            return false;
    }
    return o->files;
}

static bool read_case(const char *path, struct pr_case *c)
{
    char *text = malloc(PW_FILE_MAX + 1);
    FILE *f = fopen(path, "r");
    struct words_error err;
    bool ok = false;
    size_t len;

    if (!f || !text) {
        fprintf(stderr, "violin-sim: %s: %s\n", path, strerror(errno));
    } else {
        len = fread(text, 1, PW_FILE_MAX + 1, f);
        ok = pw_parse(&c->s, text, len, &err);
        if (!ok)
            fprintf(stderr, "%s:%u: %s\n", path, err.line, err.text);
    }
    if (f)
        fclose(f);
    free(text);
    return ok;
}

static bool play(const struct options *o, struct pr_case *c)
{
    for (unsigned sys = 0; sys < PW_SYSTEMS; sys++) {
        unsigned seeds = sys <= PW_REFERENCE ? 1 : o->seeds; /* no chance in these */

        for (unsigned k = 0; o->play[sys] && k < seeds; k++) {
            c->run[sys][k] = policy_run(&c->s, (enum pw_system)sys, o->first + k);
            if (!c->run[sys][k]) {
                fprintf(stderr, "violin-sim: no memory\n");
                return false;
            }
            c->n[sys]++;
            if (o->events && sys != PW_STATIC) {
                printf("%s, %s, seed %llu\n", c->s.name, pw_system_names[sys], (unsigned long long)(o->first + k));
                pr_events(c->run[sys][k], stdout);
            }
        }
    }
    return true;
}

static bool write_file(const char *path, const struct pr_case *cases, unsigned n,
                       int (*fn)(const struct pr_case *cases, unsigned n, FILE *out))
{
    FILE *f = fopen(path, "w");
    int err = f ? fn(cases, n, f) : -1;

    if (f && fclose(f))
        err = -1;
    if (err)
        fprintf(stderr, "violin-sim: %s can't be written: %s\n", path, strerror(errno));
    return !err;
}

int command_adapt(int argc, char **argv)
{
    struct options o = {.seeds = 1, .first = 1, .play = {true, true, true, true}};
    struct pr_case *cases = NULL;
    bool ok = read_options(argc, argv, &o);

    if (!ok) {
        fprintf(stderr, "usage: " COMMAND_ADAPT_USAGE "\n");
        return 2;
    }
    cases = calloc(o.files, sizeof *cases);
    for (unsigned k = 0; cases && ok && k < o.files; k++)
        ok = read_case(o.file[k], &cases[k]) && play(&o, &cases[k]);
    ok = ok && cases && !pr_text(cases, o.files, stdout) && (!o.json || write_file(o.json, cases, o.files, pr_json)) &&
         (!o.html || write_file(o.html, cases, o.files, pr_html));
    for (unsigned k = 0; cases && k < o.files; k++) {
        for (unsigned sys = 0; sys < PW_SYSTEMS; sys++)
            for (unsigned i = 0; i < cases[k].n[sys]; i++)
                policy_run_free(cases[k].run[sys][i]);
        pw_scenario_free(&cases[k].s);
    }
    free(cases);
    return ok ? 0 : 2;
}
