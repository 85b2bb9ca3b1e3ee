/* `violin explain` of a guest, a host, an environment, and why not there; `violin todo`. */
#include <stdio.h>
#include <string.h>

#include "peer/cli_internal.h"

const struct argp_option cli_explain_options[] = {
    {"on", OPT_ON, "HOST", 0, "why the guest isn't on that host, which is asked, too", 0},
    {"host", OPT_HOST, "HOST", 0, "of this host: the same as host:HOST", 0},
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

static void lines(const msgpack_object *list, const char *lead)
{
    char text[512];
    for (uint32_t i = 0; i < length(list); i++)
        printf("%s%s\n", lead, cli_format_value(&list->via.array.ptr[i], CLI_TEXT, text, sizeof text));
}

static void names(const msgpack_object *r, const char *key, const char *before)
{
    const msgpack_object *o = cli_get(r, key);
    char text[512];
    printf("%s%s", before, length(o) ? cli_format_value(o, CLI_TEXT, text, sizeof text) : "-");
}

/* ---- a guest ---- */

/* A change that was decided and not made, as in mode observe: what was refused or is short can't be made. */
static bool only_said(const msgpack_object *decision)
{
    const msgpack_object *done = cli_get(decision, "done");
    char kind[32] = "";
    (void)cli_get_text(decision, "kind", kind, sizeof kind);
    return done && done->type == MSGPACK_OBJECT_BOOLEAN && !done->via.boolean &&
           (!strcmp(kind, "grow") || !strcmp(kind, "shrink") || !strcmp(kind, "weight") || !strcmp(kind, "move"));
}

static void print_decision(const msgpack_object *d)
{
    char text[512], when[32];
    printf("  %s  %s", cli_format_value(cli_get(d, "at"), CLI_TIME, when, sizeof when),
           cli_format_value(cli_get(d, "text"), CLI_TEXT, text, sizeof text));
    printf("%s\n", only_said(d) ? " (not done)" : "");
    cli_print_numbers(cli_get(d, "numbers"), "            ");
    if (cli_get(d, "command"))
        printf("            to do it: %s\n", cli_format_value(cli_get(d, "command"), CLI_TEXT, text, sizeof text));
}

static void print_guest(const msgpack_object *r)
{
    const msgpack_object *list = cli_get(r, "numbers");
    char text[512], when[32];
    printf("%s", cli_format_value(cli_get(r, "guest"), CLI_TEXT, text, sizeof text));
    printf(" of %s", cli_format_value(cli_get(r, "environment"), CLI_TEXT, text, sizeof text));
    printf(", %s\n", cli_format_value(cli_get(r, "state"), CLI_TEXT, text, sizeof text));
    for (uint32_t i = 0; list && list->type == MSGPACK_OBJECT_MAP && i < list->via.map.size; i++) {
        const msgpack_object_kv *kv = &list->via.map.ptr[i];
        printf("  %-28s ", cli_format_value(&kv->key, CLI_TEXT, text, sizeof text));
        printf("%s\n", cli_format_value(&kv->val, CLI_TEXT, text, sizeof text));
    }
    list = cli_get(r, "decisions");
    printf("%s", length(list) ? "\nDecided\n" : "\nNothing was decided about it yet.\n");
    for (uint32_t i = 0; i < length(list); i++)
        print_decision(&list->via.array.ptr[i]);
    list = cli_get(r, "advice");
    if (length(list))
        printf("\nTo do\n");
    lines(list, "  ");
    list = cli_get(r, "hosts");
    if (length(list))
        printf("\nOther hosts\n");
    for (uint32_t i = 0; i < length(list); i++) {
        const msgpack_object *h = &list->via.array.ptr[i];
        printf("  %-12s", cli_format_value(cli_get(h, "host"), CLI_TEXT, when, sizeof when));
        printf(" %s\n", cli_format_value(cli_get(h, "text"), CLI_TEXT, text, sizeof text));
    }
}

/* ---- why not there ---- */

static void print_why_not(const msgpack_object *r)
{
    const msgpack_object *there = cli_get(r, "there"), *here = cli_get(r, "here");
    char guest[80], on[80], from[80], text[256];
    cli_get_text(r, "guest", guest, sizeof guest);
    cli_get_text(r, "on", on, sizeof on);
    cli_get_text(r, "from", from, sizeof from);
    printf("%s, of %s, on %s? It needs %.0f MiB and %.0f %% of a CPU.\n", guest, from, on, cli_get_number(r, "needs_mib", 0),
           cli_get_number(r, "needs_pct", 0));
    if (cli_get(r, "silent"))
        printf("  %s did not say: %s\n", on, cli_format_value(cli_get(r, "silent"), CLI_TEXT, text, sizeof text));
    if (length(there)) {
        if (is_true(r, "ordered"))
            printf("%s would say no to the policy of %s, but take it by an operator's order:\n", on, from);
        else
            printf("%s would refuse it:\n", on);
        lines(there, "  ");
    } else if (there) {
        printf("%s would take it", on);
        if (cli_get(r, "rank"))
            printf("; it would be %.0f %% utilised then: place %.0f of %.0f that fit", 100 * cli_get_number(r, "utilisation_there", 0),
                   cli_get_number(r, "rank", 0), cli_get_number(r, "of", 0));
        printf("\n");
    }
    if (length(here)) {
        printf("the policy of %s does not send it by itself:\n", from);
        lines(here, "  ");
    }
    if (is_true(r, "paused"))
        printf("note: %s is paused\n", on);
    if (there && (!length(there) || is_true(r, "ordered")))
        printf("an operator may: violin migrate %s %s\n", guest, on);
}

/* ---- a host ---- */

static void print_host(const msgpack_object *r)
{
    static const struct cli_field fields[] = {
        {"name", "GUEST", CLI_TEXT}, {"environment", "ENVIRONMENT", CLI_TEXT}, {"memory_mib", "MEMORY", CLI_MIB},
        {"wants_mib", "WANTS", CLI_MIB}, {"wants_pct", "CPU", CLI_PERCENT}, {"short_of", "SHORT OF", CLI_TEXT},
        {"movable", "MOVABLE", CLI_YESNO}, {"why_not", "WHY NOT", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};
    const msgpack_object *guests = cli_get(r, "guests"), *takes = cli_get(r, "takes");
    char text[256], mode[32], draining[32];
    double total = cli_get_number(r, "memory_total_mib", 0), left = cli_get_number(r, "memory_free_mib", 0);
    cli_get_text(r, "mode", mode, sizeof mode);
    cli_get_text(r, "draining", draining, sizeof draining);
    printf("%s, mode %s", cli_format_value(cli_get(r, "host"), CLI_TEXT, text, sizeof text), mode);
    printf("%s\n", !strcmp(draining, "yes") ? ", being drained" : !strcmp(draining, "drained") ? ", drained" : "");
    printf("  memory  %.0f of %.0f MiB given, %.0f free\n", total - left, total, left);
    printf("  CPU     %.0f of %.0f %% wanted\n", cli_get_number(r, "cpu_wanted_pct", 0), cli_get_number(r, "cpu_capacity_pct", 0));
    if (cli_get(takes, "why_not"))
        printf("  takes   nobody: %s\n", cli_format_value(cli_get(takes, "why_not"), CLI_TEXT, text, sizeof text));
    else
        printf("  takes   a guest of up to %.0f MiB and %.0f %% of a CPU; %.0f are arriving, %.0f may at once\n",
               cli_get_number(takes, "memory_mib", 0), cli_get_number(takes, "cpu_pct", 0), cli_get_number(r, "arriving", 0),
               cli_get_number(r, "arriving_most", 0));
    printf("\n");
    if (guests)
        cli_table(guests, fields, "no guest of an environment is on it");
    printf("\n");
    lines(cli_get(r, "why"), "");
    guests = cli_get(r, "latest");
    if (length(guests))
        printf("\nLast decided and done (violin history)\n");
    for (uint32_t i = 0; i < length(guests); i++) {
        printf("  %s", cli_format_value(cli_get(&guests->via.array.ptr[i], "at"), CLI_TIME, text, sizeof text));
        printf("  %s\n", cli_format_value(cli_get(&guests->via.array.ptr[i], "text"), CLI_TEXT, text, sizeof text));
    }
}

/* ---- an environment ---- */

static void print_domains(const msgpack_object *r)
{
    const msgpack_object *list = cli_get(r, "domains");
    char text[160];
    for (uint32_t i = 0; i < length(list); i++) {
        const msgpack_object *d = &list->via.array.ptr[i];
        printf("  %s could go to %s", i ? "it" : "the whole of it", cli_format_value(cli_get(d, "domain"), CLI_TEXT, text, sizeof text));
        if (is_true(d, "fits"))
            printf(", as far as is known here\n");
        else
            printf(": no, %s\n", cli_format_value(cli_get(d, "why"), CLI_TEXT, text, sizeof text));
    }
}

static void print_env(const msgpack_object *r)
{
    static const struct cli_field fields[] = {
        {"name", "GUEST", CLI_TEXT}, {"host", "HOST", CLI_TEXT}, {"memory_mib", "MEMORY", CLI_MIB}, {"wants_pct", "CPU", CLI_PERCENT},
        {"movable", "MOVABLE", CLI_YESNO}, {"why_not", "WHY NOT", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};
    const msgpack_object *o = cli_get(r, "decisions"), *guests = cli_get(r, "guests");
    char text[256], when[32];
    printf("%s", cli_format_value(cli_get(r, "environment"), CLI_TEXT, text, sizeof text));
    printf(", at home in %s", cli_format_value(cli_get(r, "home"), CLI_TEXT, text, sizeof text));
    names(r, "allowed", ", may also be in ");
    names(r, "hosts", "\n  on ");
    if (cli_get(r, "traffic_bytes"))
        printf("\n  shares %.0f; its guests here sent %s", cli_get_number(r, "shares", 0),
               cli_format_value(cli_get(r, "traffic_bytes"), CLI_BYTES, text, sizeof text));
    if (cli_get_number(r, "bandwidth_mib_s", 0) > 0)
        printf(", at most %.0f MiB a second", cli_get_number(r, "bandwidth_mib_s", 0));
    printf("\n");
    print_domains(r);
    if (length(guests)) {
        printf("\n");
        cli_table(guests, fields, "");
    }
    if (length(cli_get(r, "silent")))
        names(r, "silent", "not known, for they did not answer: ");
    printf("%s", length(o) ? "\nDecided and done here\n" : "\nNothing was decided about it here.\n");
    for (uint32_t i = 0; i < length(o); i++) {
        const msgpack_object *d = &o->via.array.ptr[i];
        printf("  %s  %s\n", cli_format_value(cli_get(d, "at"), CLI_TIME, when, sizeof when),
               cli_format_value(cli_get(d, "text"), CLI_TEXT, text, sizeof text));
    }
    o = cli_get(r, "moves");
    if (length(o)) {
        printf("\n");
        cli_table(o, cli_move_fields, "");
    }
}

/* ---- the commands ---- */

int cli_do_explain(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    char host[160];
    int err;
    if ((a->n > 0) == (a->host != NULL))
        return cli_usage("explain wants a GUEST, an ENV or a HOST, or --host HOST", NULL);
    if (a->host && a->on)
        return cli_usage("--on goes with a guest", a->host);
    snprintf(host, sizeof host, "host:%s", a->host ? a->host : "");
    cli_params_init(&p);
    vi_write_map(&p.w, 1U + (a->on != NULL));
    vi_write_str(&p.w, "guest");
    vi_write_str(&p.w, a->host ? host : a->arg[0]);
    if (a->on) {
        vi_write_str(&p.w, "on");
        vi_write_str(&p.w, a->on);
    }
    err = cli_call(c, "explain", &p, &r);
    if (err)
        return err;
    if (a->json)
        cli_json(&r, true);
    else if (cli_get(&r, "on"))
        print_why_not(&r);
    else if (cli_get(&r, "guest"))
        print_guest(&r);
    else if (cli_get(&r, "takes"))
        print_host(&r);
    else
        print_env(&r);
    return 0;
}

int cli_do_todo(struct cli_client *c, struct args *a)
{
    msgpack_object r;
    const msgpack_object *list;
    char text[512], command[256], mode[32];
    int err = cli_call(c, "todo", NULL, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return 0;
    }
    list = cli_get(&r, "suggestions");
    cli_get_text(&r, "mode", mode, sizeof mode);
    if (!length(list))
        printf("nothing to do%s\n", strcmp(mode, "auto") ? "" : ": in mode auto it is done by itself");
    for (uint32_t i = 0; i < length(list); i++) {
        const msgpack_object *s = &list->via.array.ptr[i];
        printf("%s\n    %s", cli_format_value(cli_get(s, "command"), CLI_TEXT, command, sizeof command),
               cli_format_value(cli_get(s, "text"), CLI_TEXT, text, sizeof text));
        if (cli_get(s, "gain_cpu_s"))
            printf(": gains %.0f CPU seconds, costs %.1f", cli_get_number(s, "gain_cpu_s", 0), cli_get_number(s, "cost_cpu_s", 0));
        printf("\n");
    }
    return 0;
}
