/* `violin env`: environments, their hosts, guests and Ethernet. */
#include "peer/cli.h"
#include "peer/cli_internal.h"

#include <stdio.h>
#include <string.h>

void cli_print_numbers(const msgpack_object *m, const char *lead)
{
    char text[64];
    if (!m || m->type != MSGPACK_OBJECT_MAP || m->via.map.size == 0)
        return;
    printf("%s", lead);
    for (uint32_t i = 0; i < m->via.map.size; i++) {
        const msgpack_object_kv *kv = &m->via.map.ptr[i];
        if (kv->key.type != MSGPACK_OBJECT_STR)
            continue;
        printf("%s%.*s %s", i ? ", " : "", (int)kv->key.via.str.size, kv->key.via.str.ptr,
               cli_format_value(&kv->val, CLI_TEXT, text, sizeof text));
    }
    printf("\n");
}

static const struct cli_field env_fields[] = {
    {"name", "NAME", CLI_TEXT}, {"id", "ID", CLI_SHORT_ID}, {"bridge", "BRIDGE", CLI_TEXT},
    {"shares", "SHARES", CLI_COUNT}, {"hosts", "HOSTS", CLI_COUNT}, {"guests", "GUESTS HERE", CLI_COUNT},
    {"home", "HOME", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};
static const struct cli_field env_show_fields[] = {
    {"name", "name", CLI_TEXT}, {"id", "id", CLI_TEXT}, {"home", "home", CLI_TEXT},
    {"shares", "shares", CLI_COUNT}, {"priority", "priority", CLI_COUNT}, {"strict", "strict", CLI_YESNO}, {"mtu", "MTU", CLI_COUNT}, {"bridge", "bridge", CLI_TEXT},
    {"vif", "in the guest's configuration", CLI_TEXT}, {"hosts", "hosts", CLI_TEXT},
    {"guests", "guests here", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};
static const struct cli_field mac_fields[] = {
    {"mac", "MAC", CLI_TEXT}, {"name", "GUEST", CLI_TEXT}, {"host", "HOST", CLI_TEXT},
    {"epoch", "EPOCH", CLI_COUNT}, {"pinned", "PINNED", CLI_YESNO}, {"addresses", "ADDRESSES", CLI_TEXT},
    {NULL, NULL, CLI_TEXT}};

static const struct cli_field kept_fields[] = {
    {"name", "KEPT HERE", CLI_TEXT}, {"run", "SHALL RUN", CLI_YESNO}, {"state", "STATE", CLI_TEXT}, {"why", "WHY", CLI_TEXT},
    {NULL, NULL, CLI_TEXT}};

static const struct cli_field attached_fields[] = {
    {"interface", "ATTACHED", CLI_TEXT}, {"state", "STATE", CLI_TEXT}, {"why", "WHY", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};

static const struct cli_field conflict_fields[] = {
    {"mac", "STATED TWICE", CLI_TEXT}, {"stated_by", "BY", CLI_TEXT}, {"has", "AND", CLI_TEXT},
    {"decided", "DECIDED", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};

static const struct cli_field traffic_fields[] = {
    {"from", "FROM", CLI_TEXT}, {"to", "TO", CLI_TEXT}, {"frames", "FRAMES", CLI_COUNT},
    {"bytes", "BYTES", CLI_COUNT}, {NULL, NULL, CLI_TEXT}};

static const struct cli_field path_fields[] = {
    {"host", "PATH TO", CLI_TEXT}, {"way", "WAY", CLI_TEXT}, {"cipher", "CIPHER", CLI_TEXT}, {"datagram", "DATAGRAM", CLI_COUNT},
    {"whole", "WHOLE UP TO", CLI_COUNT}, {"gso", "MANY AT ONCE", CLI_YESNO}, {NULL, NULL, CLI_TEXT}};

static void env_table(const msgpack_object *r, const char *name, const struct cli_field *fields)
{
    const msgpack_object *o = cli_get(r, name);
    if (!o || o->type != MSGPACK_OBJECT_ARRAY || !o->via.array.size)
        return;
    printf("\n");
    cli_table(o, fields, "");
}

static int env_show(struct cli_client *c, const struct args *a, const char *method,
                    const struct cli_params *p)
{
    msgpack_object r;
    int err = cli_call(c, method, p, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return 0;
    }
    cli_list(&r, env_show_fields);
    cli_print_numbers(cli_get(&r, "limits"), "limits: ");
    cli_print_rules(&r);
    env_table(&r, "conflicts", conflict_fields);
    env_table(&r, "macs", mac_fields);
    env_table(&r, "kept", kept_fields);
    env_table(&r, "attached", attached_fields);
    env_table(&r, "traffic", traffic_fields);
    env_table(&r, "paths", path_fields);
    cli_print_numbers(cli_get(&r, "counters"), "\nframes here: ");
    return 0;
}

static int env_attach(struct cli_client *c, struct args *a, bool on)
{
    struct cli_params p;
    msgpack_object r;
    char iface[32] = "it";
    int err;
    if (a->n != (on ? 3U : 2U))
        return cli_usage(on ? "env attach wants NAME IFACE" : "env detach wants NAME", NULL);
    cli_params_init(&p);
    vi_write_map(&p.w, on ? 2 : 1);
    vi_write_str(&p.w, "name");
    vi_write_str(&p.w, a->arg[1]);
    if (on) {
        vi_write_str(&p.w, "interface");
        vi_write_str(&p.w, a->arg[2]);
    }
    err = cli_call(c, on ? "env.attach" : "env.detach", &p, &r);
    if (err)
        return err;
    (void)cli_get_text(&r, "interface", iface, sizeof iface);
    if (a->json)
        cli_json(&r, true);
    else if (on)
        printf("%s is in the bridge of %s: its guests reach what is there, and are reached\n", iface, a->arg[1]);
    else
        printf("%s is no longer in the bridge of %s\n", iface, a->arg[1]);
    return 0;
}

static int env_limit(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    uint64_t bandwidth;
    if (a->n != 3)
        return cli_usage("env limit wants NAME MIB", NULL);
    if (!cli_whole_number(a->arg[2], 100000, &bandwidth))
        return cli_usage("MIB is a number of MiB a second, at most 100000; 0 is no limit", a->arg[2]);
    cli_params_init(&p);
    vi_write_map(&p.w, 2);
    vi_write_str(&p.w, "name");
    vi_write_str(&p.w, a->arg[1]);
    vi_write_str(&p.w, "bandwidth_mib_s");
    vi_write_uint(&p.w, bandwidth);
    return env_show(c, a, "env.limit", &p);
}

static const char env_verbs[] =
    "env wants: list, create NAME, apply FILE, show NAME, start NAME, stop NAME, remove NAME, jobs, attach NAME IFACE, detach NAME, limit NAME MIB, "
    "rule NAME, priority NAME N, "
    "allow NAME DOMAIN, deny NAME DOMAIN, move NAME DOMAIN, moves, cancel ID";

int cli_do_env(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    const char *verb = a->arg[0];
    uint64_t shares = 100, priority = 50;
    if ((!strcmp(verb, "list") || !strcmp(verb, "jobs")) && a->n > 1)
        return cli_usage(!strcmp(verb, "list") ? "env list wants nothing else" : "env jobs wants nothing else", a->arg[1]);
    if (!strcmp(verb, "list"))
        return cli_ask(c, a, "env.list", NULL, env_fields, "no environments; make one: violin env create NAME");
    if (a->priority && strcmp(verb, "create") != 0)
        return cli_usage("--priority is for env create; later: env priority NAME N", NULL);
    if (cli_env_made(a))
        return cli_env_make(c, a);
    if (!strcmp(verb, "attach") || !strcmp(verb, "detach"))
        return env_attach(c, a, verb[0] == 'a');
    if (!strcmp(verb, "limit"))
        return env_limit(c, a);
    if (!strcmp(verb, "rule"))
        return cli_env_rule(c, a);
    if (!strcmp(verb, "priority"))
        return cli_env_priority(c, a);
    if (!strcmp(verb, "allow") || !strcmp(verb, "deny"))
        return cli_env_allow(c, a, verb[0] == 'a');
    if (!strcmp(verb, "move") || !strcmp(verb, "moves") || !strcmp(verb, "cancel"))
        return cli_env_move(c, a);
    if (a->n != 2 && (!strcmp(verb, "create") || !strcmp(verb, "show"))) {
        fprintf(stderr, "violin: env %s wants a NAME\n", verb);
        return CLI_USAGE;
    }
    if (a->n != 2)
        return cli_usage(env_verbs, verb);
    if (!strcmp(verb, "create")) {
        if (a->shares && (!cli_whole_number(a->shares, 10000, &shares) || shares == 0))
            return cli_usage("--shares is a number from 1 to 10000", a->shares);
        if (a->priority && !cli_whole_number(a->priority, 100, &priority))
            return cli_usage("--priority is a number from 0 to 100", a->priority);
        cli_params_init(&p);
        vi_write_map(&p.w, 2U + a->strict + (a->priority != NULL));
        if (a->priority) {
            vi_write_str(&p.w, "priority");
            vi_write_uint(&p.w, priority);
        }
        vi_write_str(&p.w, "name");
        vi_write_str(&p.w, a->arg[1]);
        vi_write_str(&p.w, "shares");
        vi_write_uint(&p.w, shares);
        if (a->strict) {
            vi_write_str(&p.w, "strict");
            vi_write_uint(&p.w, 1);
        }
        return env_show(c, a, "env.create", &p);
    }
    cli_one_param(&p, "name", a->arg[1]);
    if (!strcmp(verb, "show"))
        return env_show(c, a, "env.show", &p);
    return cli_usage(env_verbs, verb);
}
