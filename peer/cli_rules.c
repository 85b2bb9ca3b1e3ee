/* `violin env rule`, `env priority`: where an environment's guests may be, and who goes first when a host is short. */
#include <stdio.h>
#include <string.h>

#include "peer/cli.h"
#include "peer/cli_internal.h"

static const struct cli_field rule_fields[] = {
    {"number", "RULE", CLI_COUNT}, {"kind", "KIND", CLI_TEXT}, {"guests", "GUESTS", CLI_TEXT}, {"host", "HOST", CLI_TEXT},
    {"broken_here", "BROKEN HERE", CLI_YESNO}, {NULL, NULL, CLI_TEXT}};

void cli_print_rules(const msgpack_object *r)
{
    const msgpack_object *o = cli_get(r, "rules");
    if (!o || o->type != MSGPACK_OBJECT_ARRAY || !o->via.array.size)
        return;
    printf("\n");
    cli_table(o, rule_fields, "");
}

static int show(struct cli_client *c, const struct args *a, const char *method, const struct cli_params *p)
{
    msgpack_object r;
    const msgpack_object *rules;
    int err = cli_call(c, method, p, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return 0;
    }
    rules = cli_get(&r, "rules");
    printf("%s has priority %.0f\n", a->arg[1], cli_get_number(&r, "priority", 50));
    if (rules && rules->type == MSGPACK_OBJECT_ARRAY)
        cli_table(rules, rule_fields, "no rules: its guests may be anywhere");
    return 0;
}

static int remove_rule(struct cli_client *c, const struct args *a)
{
    struct cli_params p;
    uint64_t number;
    if (a->n != 2)
        return cli_usage("env rule NAME --remove N wants nothing else", a->arg[2]);
    if (!cli_whole_number(a->remove, 32, &number) || number == 0)
        return cli_usage("--remove is the number of a rule, 1 to 32", a->remove);
    cli_params_init(&p);
    vi_write_map(&p.w, 2);
    vi_write_str(&p.w, "name");
    vi_write_str(&p.w, a->arg[1]);
    vi_write_str(&p.w, "number");
    vi_write_uint(&p.w, number);
    return show(c, a, "env.rule.remove", &p);
}

static int add_rule(struct cli_client *c, const struct args *a)
{
    const char *kind = a->arg[2];
    bool many = !strcmp(kind, "spread") || !strcmp(kind, "together");
    bool one = !strcmp(kind, "pin") || !strcmp(kind, "never");
    unsigned guests = many ? a->n - 3 : 1;
    struct cli_params p;
    if (!many && !one)
        return cli_usage("env rule NAME wants spread, together, pin or never", kind);
    if (many && (guests < 2 || guests > 16))
        return cli_usage("env rule NAME spread|together wants 2 to 16 guests", NULL);
    if (one && a->n != 5)
        return cli_usage("env rule NAME pin|never wants GUEST HOST", NULL);
    cli_params_init(&p);
    vi_write_map(&p.w, one ? 4 : 3);
    vi_write_str(&p.w, "name");
    vi_write_str(&p.w, a->arg[1]);
    vi_write_str(&p.w, "kind");
    vi_write_str(&p.w, kind);
    vi_write_str(&p.w, "guests");
    vi_write_array(&p.w, guests);
    for (unsigned i = 0; i < guests; i++)
        vi_write_str(&p.w, a->arg[3 + i]);
    if (one) {
        vi_write_str(&p.w, "host");
        vi_write_str(&p.w, a->arg[4]);
    }
    return show(c, a, "env.rule", &p);
}

int cli_env_rule(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    if (a->n < 2)
        return cli_usage("env rule wants a NAME", NULL);
    if (a->remove)
        return remove_rule(c, a);
    if (a->n > 2)
        return add_rule(c, a);
    cli_one_param(&p, "name", a->arg[1]);
    return show(c, a, "env.rules", &p);
}

int cli_env_priority(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    uint64_t priority;
    if (a->n != 3)
        return cli_usage("env priority wants NAME N", NULL);
    if (!cli_whole_number(a->arg[2], 100, &priority))
        return cli_usage("a priority is a number from 0 to 100", a->arg[2]);
    cli_params_init(&p);
    vi_write_map(&p.w, 2);
    vi_write_str(&p.w, "name");
    vi_write_str(&p.w, a->arg[1]);
    vi_write_str(&p.w, "priority");
    vi_write_uint(&p.w, priority);
    return show(c, a, "env.priority", &p);
}
