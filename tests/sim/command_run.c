/* violin-sim run: a scenario file played. */
#include "tests/sim/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/scenario_run.h"

struct options {
    const char *file, *json, *svg;
    uint64_t seed;
    bool seeded, trace;
};

static bool read_options(int argc, char **argv, struct options *o)
{
    for (int k = 0; k < argc; k++) {
        const char *v = k + 1 < argc ? argv[k + 1] : NULL;

        if (!strcmp(argv[k], "--trace")) {
            o->trace = true;
        } else if (!strcmp(argv[k], "--json") && v) {
            o->json = argv[++k];
        } else if (!strcmp(argv[k], "--svg") && v) {
            o->svg = argv[++k];
        } else if (!strcmp(argv[k], "--seed") && v) {
            char *end;

            o->seed = strtoull(argv[++k], &end, 10);
            o->seeded = true;
            if (!*v || *end)
                return false;
        } else if (argv[k][0] != '-' && !o->file) {
            o->file = argv[k];
        } else {
            return false;
        }
    }
    return o->file;
}

static bool read_file(const char *path, char **text, size_t *len)
{
    FILE *f = fopen(path, "r");

    *text = malloc(SC_FILE_MAX + 1);
    if (!f || !*text) {
        fprintf(stderr, "violin-sim: %s: %s\n", path, strerror(errno));
        if (f)
            fclose(f);
        return false;
    }
    *len = fread(*text, 1, SC_FILE_MAX + 1, f);
    if (ferror(f)) {
        fprintf(stderr, "violin-sim: %s: %s\n", path, strerror(errno));
        fclose(f);
        return false;
    }
    fclose(f);
    return true;
}

static bool write_file(const char *path, const struct scenario_run *r, const char *name,
                       int (*fn)(const struct scenario_run *r, const char *name, FILE *out))
{
    FILE *f = fopen(path, "w");
    int err = f ? fn(r, name, f) : -1;

    if (f && fclose(f))
        err = -1;
    if (err)
        fprintf(stderr, "violin-sim: %s can't be written: %s\n", path, strerror(errno));
    return !err;
}

static int play(const struct options *o, const struct scenario *s)
{
    const char *slash = strrchr(o->file, '/'), *name = slash ? slash + 1 : o->file;
    struct scenario_run *r = scenario_run(s, o->seeded ? o->seed : s->seed, o->trace ? stdout : NULL);
    int status = 2;

    if (!r) {
        fprintf(stderr, "violin-sim: no memory\n");
        return 2;
    }
    scenario_text(r, name, stdout);
    if ((!o->json || write_file(o->json, r, name, scenario_json)) &&
        (!o->svg || write_file(o->svg, r, name, scenario_svg)))
        status = r->ok ? 0 : 1;
    scenario_run_free(r);
    return status;
}

int command_run(int argc, char **argv)
{
    struct options o = {0};
    struct scenario *s = calloc(1, sizeof *s);
    struct words_error err;
    char *text = NULL;
    int status = 2;
    size_t len;

    if (!s)
        return 2;
    if (!read_options(argc, argv, &o)) {
        fprintf(stderr, "usage: " COMMAND_RUN_USAGE "\n");
    } else if (read_file(o.file, &text, &len)) {
        if (scenario_parse(s, text, len, &err))
            status = play(&o, s);
        else
            fprintf(stderr, "%s:%u: %s\n", o.file, err.line, err.text);
    }
    free(text);
    free(s);
    return status;
}
