/* `violin config check|print`. See config.h. */
#include <argp.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "peer/config.h"

struct args {
    const char *verb;
};

static error_t option(int key, char *arg, struct argp_state *state)
{
    struct args *a = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        if (a->verb)
            argp_error(state, "`%s` is one argument too many", arg);
        if (strcmp(arg, "check") && strcmp(arg, "print"))
            argp_error(state, "check or print, not `%s`", arg);
        a->verb = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->verb)
            argp_error(state, "check or print?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int config_command(const char *path, int argc, char **argv)
{
    static const struct argp argp = {
        NULL, option, "check\nprint",
        "Checks the configuration file (violin -c FILE config check), also whether its addresses, folders, user and "
        "group fit this host; or prints every setting with its meaning, its range and the value in force, in a form "
        "that parses again.",
        NULL, NULL, NULL};
    struct args a = {0};
    struct config c;
    unsigned wrong;
    char why[600] = "", name[] = "violin config";
    argv[0] = name;
    if (argp_parse(&argp, argc, argv, 0, NULL, &a))
        return 2;
    if (config_load(&c, path, why, sizeof why)) {
        fprintf(stderr, "violin: %s\n", why);
        return 1;
    }
    if (!strcmp(a.verb, "print")) {
        config_print(&c, stdout);
        return 0;
    }
    wrong = config_surroundings(&c, stderr);
    if (wrong == 0)
        printf("%s: %s\n", path, access(path, F_OK) ? "not there; the defaults hold" : "good");
    return wrong ? 1 : 0;
}
