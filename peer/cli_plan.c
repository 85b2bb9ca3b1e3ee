/* `violin plan`: what if? Asked of the running peer; nothing is changed. */
#include <stdio.h>
#include <string.h>

#include "peer/cli_internal.h"

const struct argp_option cli_plan_options[] = {
    {"guest", OPT_GUEST, "GUEST", 0, "what if this guest had another size (HOST/GUEST when two have the name)", 0},
    {"memory", OPT_MEMORY, "AMOUNT", 0, "its memory: x2, +50%, 4096M, 4G", 0},
    {"cpu", OPT_CPU, "AMOUNT", 0, "the CPU that it wants: x2, +50%, or a percent of one CPU", 0},
    {"without", OPT_WITHOUT, "HOST[,HOST]", 0, "what if these hosts were to be empty", 0},
    {"env", OPT_ENV, "ENV", 0, "what if this environment went …", 0},
    {"to", OPT_TO, "DOMAIN", 0, "… to that domain", 0},
    JSON_OPTION,
    {0}};

static uint32_t length(const msgpack_object *list)
{
    return list && list->type == MSGPACK_OBJECT_ARRAY ? list->via.array.size : 0;
}

static bool is_true(const msgpack_object *r, const char *key)
{
    const msgpack_object *v = cli_get(r, key);
    return v && v->type == MSGPACK_OBJECT_BOOLEAN && v->via.boolean;
}

static void print_move(const msgpack_object *m, unsigned number)
{
    char guest[80], from[80], to[80], command[256], why[128], disks[48] = "";
    double disk_mib = cli_get_number(m, "disk_mib", 0);
    cli_get_text(m, "guest", guest, sizeof guest);
    cli_get_text(m, "from", from, sizeof from);
    cli_get_text(m, "to", to, sizeof to);
    cli_get_text(m, "command", command, sizeof command);
    cli_get_text(m, "why", why, sizeof why);
    if (disk_mib > 0)
        snprintf(disks, sizeof disks, " and %.0f MiB of disks", disk_mib);
    printf("  %2u. %s  %s → %s, %.0f MiB%s in about %.0f s, %.0f %% of a CPU: %s\n      on %s: %s\n", number, guest, from, to,
           cli_get_number(m, "memory_mib", 0), disks, cli_get_number(m, "seconds", 0), cli_get_number(m, "cpu_pct", 0),
           strcmp(why, "-") ? why : "makes room", from, command);
}

static void print_moves(const msgpack_object *r)
{
    const msgpack_object *list = cli_get(r, "moves"), *stuck = cli_get(r, "stuck");
    unsigned n = 0, first = 0;
    for (uint32_t i = 0; i < length(list); i++)
        n += !is_true(&list->via.array.ptr[i], "makes_room");
    printf(n ? "%u guest(s) would move, in this order:\n" : "no guest would move\n", n);
    for (uint32_t i = 0; i < length(list); i++)
        if (!is_true(&list->via.array.ptr[i], "makes_room"))
            print_move(&list->via.array.ptr[i], ++first);
    for (uint32_t i = 0; i < length(stuck); i++) {
        const msgpack_object *s = &stuck->via.array.ptr[i];
        char guest[80], host[80], why[128];
        cli_get_text(s, "guest", guest, sizeof guest);
        cli_get_text(s, "host", host, sizeof host);
        cli_get_text(s, "why", why, sizeof why);
        printf("  finds no place: %s on %s:%s%s\n", guest, host, strlen(guest) + strlen(host) + strlen(why) > CLI_LINE - 24 ? "\n      " : " ", why);
    }
    if (n < length(list))
        printf("what would make place for them, in this order; nobody does it by itself:\n");
    for (uint32_t i = 0, k = 0; n < length(list) && i < length(list); i++)
        if (is_true(&list->via.array.ptr[i], "makes_room"))
            print_move(&list->via.array.ptr[i], ++k);
}

static void print_elsewhere(const msgpack_object *r)
{
    const msgpack_object *e = cli_get(r, "elsewhere");
    char env[80], domain[80], text[256];
    if (!e)
        return;
    cli_get_text(e, "environment", env, sizeof env);
    cli_get_text(e, "domain", domain, sizeof domain);
    printf("%s to %s: %.0f guest(s) with %.0f MiB and %.0f %% of a CPU would leave, %.0f would stay\n", env, domain,
           cli_get_number(e, "guests", 0), cli_get_number(e, "memory_mib", 0), cli_get_number(e, "cpu_pct", 0),
           cli_get_number(e, "stay", 0));
    if (is_true(e, "fits"))
        printf("  as far as is known here they fit; on which hosts, %s decides when it is asked:\n  %s\n", domain,
               cli_format_value(cli_get(e, "command"), CLI_TEXT, text, sizeof text));
    else
        printf("  %s would not take them: %s\n", domain, cli_format_value(cli_get(e, "why"), CLI_TEXT, text, sizeof text));
}

static void print_hosts(const msgpack_object *r)
{
    static const struct cli_field fields[] = {
        {"host", "HOST", CLI_TEXT}, {"memory_before", "MEMORY", CLI_RATIO}, {"memory_after", "AFTER", CLI_RATIO},
        {"cpu_before", "CPU", CLI_RATIO}, {"cpu_after", "AFTER", CLI_RATIO}, {"guests_before", "GUESTS", CLI_COUNT},
        {"guests_after", "AFTER", CLI_COUNT}, {NULL, NULL, CLI_TEXT}};
    const msgpack_object *hosts = cli_get(r, "hosts");
    printf("\n");
    if (length(hosts))
        cli_table(hosts, fields, "");
}

static void print_notes(const msgpack_object *r)
{
    const msgpack_object *silent = cli_get(r, "silent"), *notes = cli_get(r, "notes");
    char text[256];
    for (uint32_t i = 0; i < length(notes); i++)
        printf("note: %s\n", cli_format_value(&notes->via.array.ptr[i], CLI_TEXT, text, sizeof text));
    if (length(silent))
        printf("not known, for they did not answer: %s\n", cli_format_value(silent, CLI_TEXT, text, sizeof text));
    if (cli_get_number(r, "unasked", 0) > 0)
        printf("not known: %.0f more hosts, which were not asked\n", cli_get_number(r, "unasked", 0));
    printf("nothing was changed");
    if (length(cli_get(r, "without")) == 1)
        printf("; `violin drain %s` does it",
               cli_format_value(&cli_get(r, "without")->via.array.ptr[0], CLI_TEXT, text, sizeof text));
    printf("\n");
}

int cli_do_plan(struct cli_client *c, struct args *a)
{
    const struct {
        const char *key, *value;
    } given[] = {{"guest", a->guest}, {"memory", a->memory}, {"cpu", a->cpu}, {"without", a->without}, {"env", a->env}, {"to", a->to}};
    struct cli_params p;
    msgpack_object r;
    uint32_t n = 0;
    int err;
    for (unsigned i = 0; i < 6; i++)
        n += given[i].value != NULL;
    if (!a->guest && !a->without && !a->env)
        return cli_usage("plan wants --guest with --memory or --cpu, --without HOST, or --env ENV --to DOMAIN", NULL);
    cli_params_init(&p);
    vi_write_map(&p.w, n);
    for (unsigned i = 0; i < 6; i++)
        if (given[i].value) {
            vi_write_str(&p.w, given[i].key);
            vi_write_str(&p.w, given[i].value);
        }
    err = cli_call(c, "plan", &p, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return 0;
    }
    print_moves(&r);
    print_elsewhere(&r);
    print_hosts(&r);
    print_notes(&r);
    return 0;
}
