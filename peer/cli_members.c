/* violin members: the domain's hosts, and with --why who said what of whom. */
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/cli.h"
#include "peer/cli_internal.h"

const struct argp_option cli_members_options[] = {
    JSON_OPTION,
    {"why", OPT_DOUBTS, NULL, 0, "who was suspected by whom, why, and how it ended", 0},
    {"state", OPT_STATE, "STATE", 0, "only hosts that are now alive, suspect, dead or left", 0},
    {0}};

static const struct cli_field member_fields[] = {
    {"name", "NAME", CLI_TEXT}, {"id", "ID", CLI_SHORT_ID}, {"state", "STATE", CLI_TEXT},
    {"address", "ADDRESS", CLI_TEXT}, {"guests", "GUESTS", CLI_COUNT},
    {"cpu_demand_pct", "CPU", CLI_PERCENT}, {"cpu_capacity_pct", "OF", CLI_PERCENT},
    {"memory_free_mib", "FREE", CLI_MIB}, {"memory_total_mib", "OF", CLI_MIB},
    {"mode", "MODE", CLI_TEXT}, {"placement", "PLACEMENT", CLI_TEXT}, {"summary_age_s", "AGE", CLI_SECONDS}, {"reason", "WHY", CLI_TEXT},
    {"capabilities", "MAY", CLI_TEXT},
    {NULL, NULL, CLI_TEXT}};

#define CAP 512

static bool has(const msgpack_object *map, const char *key)
{
    return cli_get(map, key) != NULL;
}

static const char *text_of(const msgpack_object *map, const char *key, char out[CAP])
{
    return cli_format_value(cli_get(map, key), CLI_TEXT, out, CAP);
}

static bool is(const msgpack_object *map, const char *key, const char *want)
{
    const msgpack_object *v = cli_get(map, key);
    return v && v->type == MSGPACK_OBJECT_STR && v->via.str.size == strlen(want) &&
           !memcmp(v->via.str.ptr, want, v->via.str.size);
}

/* "accused by host1 (a member said so), heard from host1 itself" */
static void print_beginning(const msgpack_object *b)
{
    char when[CAP], t[CAP];
    printf("  %s  ", cli_format_value(cli_get(b, "at"), CLI_TIME, when, sizeof when));
    if (has(b, "accuser"))
        printf("suspected by %s: ", text_of(b, "accuser", t));
    printf("%s", text_of(b, "reason", t));
    if (is(b, "path", "own probe"))
        printf(", found by this host");
    else if (is(b, "path", "direct"))
        printf(", said to this host directly");
    if (has(b, "via"))
        printf(", heard through %s", text_of(b, "via", t));
    printf("\n");
    if (has(b, "asked")) {
        printf("            %s other(s) probed, too", text_of(b, "asked", t));
        printf(", %s said that they got no answer either", text_of(b, "nacks", t));
        printf("; local health was %s\n", text_of(b, "local_health", t));
    }
}

static void print_after(const msgpack_object *b, const char *key, const char *what)
{
    char t[CAP];
    if (has(b, key))
        printf("            %s after %s\n", what, cli_format_value(cli_get(b, key), CLI_SECONDS, t, sizeof t));
}

static void print_doubt(const msgpack_object *b)
{
    const msgpack_object *also = cli_get(b, "confirmed_by");
    char t[CAP], after[CAP];
    print_beginning(b);
    if (also && also->type == MSGPACK_OBJECT_ARRAY && also->via.array.size)
        printf("            confirmed by %s\n", text_of(b, "confirmed_by", t));
    print_after(b, "dead_after_s", "declared dead");
    if (has(b, "accuser"))
        print_after(b, "left_after_s", "left");
    if (!has(b, "end"))
        return;
    printf("            %s after %s", text_of(b, "end", t),
           cli_format_value(cli_get(b, "ended_after_s"), CLI_SECONDS, after, sizeof after));
    if (!is(b, "end", "forgotten"))
        printf(", by its own word");
    if (has(b, "end_via"))
        printf(" through %s", text_of(b, "end_via", t));
    printf("\n");
}

static void print_history(const msgpack_object *m)
{
    const msgpack_object *list = cli_get(m, "doubts");
    char name[CAP], id[CAP], state[CAP], since[CAP];
    printf("%s (%s) is %s", text_of(m, "name", name), cli_format_value(cli_get(m, "id"), CLI_SHORT_ID, id, sizeof id),
           text_of(m, "state", state));
    if (has(m, "since_s"))
        printf(", since %s", cli_format_value(cli_get(m, "since_s"), CLI_SECONDS, since, sizeof since));
    printf("\n");
    if (!list || list->type != MSGPACK_OBJECT_ARRAY || !list->via.array.size) {
        printf("  nobody doubted it since this peer was started\n");
        return;
    }
    for (uint32_t i = 0; i < list->via.array.size; i++)
        print_doubt(&list->via.array.ptr[i]);
}

static void print_standing(const msgpack_object *r)
{
    char t[CAP];
    printf("This host: local health %s (0 is good)", text_of(r, "standing.local_health", t));
    printf(", %s of ", text_of(r, "standing.probes_failed", t));
    printf("%s probes failed", text_of(r, "standing.probes", t));
    printf(", accused %s time(s)\n", text_of(r, "standing.accused", t));
    if (cli_get_number(r, "standing.aside", 0) != 0)
        printf("This host stands aside: its own probes fail. It judges nobody and may be removed by others until they are answered.\n");
    else if (cli_get_number(r, "standing.guarded", 0) != 0)
        printf("This host judges nobody just now: it stood still, or hears nobody.\n");
}

static int do_why(struct cli_client *c, const struct args *a, const struct cli_params *p)
{
    const msgpack_object *list;
    msgpack_object r;
    int err = cli_call(c, "members.why", p, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return 0;
    }
    list = cli_get(&r, "members");
    if (!list || list->type != MSGPACK_OBJECT_ARRAY || !list->via.array.size)
        printf("nobody%s%s was suspected, dead or gone since this peer was started\n", a->state ? " who is now " : "",
               a->state ? a->state : "");
    for (uint32_t i = 0; list && list->type == MSGPACK_OBJECT_ARRAY && i < list->via.array.size; i++)
        print_history(&list->via.array.ptr[i]);
    if (has(&r, "standing"))
        print_standing(&r);
    return 0;
}

int cli_do_members(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    if (a->state && strcmp(a->state, "alive") != 0 && strcmp(a->state, "suspect") != 0 && strcmp(a->state, "dead") != 0 &&
        strcmp(a->state, "left") != 0)
        return cli_usage("--state is alive, suspect, dead or left", a->state);
    cli_params_init(&p);
    vi_write_map(&p.w, (uint32_t)(a->state != NULL) + (a->n != 0));
    if (a->state) {
        vi_write_str(&p.w, "state");
        vi_write_str(&p.w, a->state);
    }
    if (a->n) {
        vi_write_str(&p.w, "names");
        vi_write_array(&p.w, a->n);
        for (unsigned i = 0; i < a->n; i++)
            vi_write_str(&p.w, a->arg[i]);
    }
    if (a->doubts)
        return do_why(c, a, &p);
    return cli_ask(c, a, "members", &p, member_fields, a->state ? "no members in this state" : "no members");
}
