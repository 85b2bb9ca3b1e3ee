/* The commands about other domains. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/cli.h"
#include "peer/cli_internal.h"

const struct argp_option cli_federate_options[] = {
    JSON_OPTION,
    {"card", OPT_CARD, NULL, 0, "print this domain's card, for the other domain's operator", 0},
    {"guests", OPT_GUESTS, "N", 0, "take in so many of its guests (default 0: carry their Ethernet only)", 0},
    {"memory", OPT_MEMORY, "MIB", 0, "… of so much memory in all (with --guests)", 0},
    {"cpu", OPT_CPU, "PERCENT", 0, "… and so much CPU, 100 is one (with --guests)", 0},
    {0}};

static const struct cli_field domain_fields[] = {
    {"domain", "DOMAIN", CLI_TEXT}, {"state", "STATE", CLI_TEXT}, {"representative", "REPRESENTATIVE", CLI_TEXT},
    {"hosts", "HOSTS", CLI_COUNT}, {"cpu_used_pct", "CPU", CLI_PERCENT}, {"cpu_pct", "OF", CLI_PERCENT},
    {"memory_free_mib", "FREE", CLI_MIB}, {"memory_mib", "OF", CLI_MIB}, {"heard_s", "HEARD", CLI_SECONDS},
    {"takes_guests", "TAKEN IN", CLI_YESNO}, {NULL, NULL, CLI_TEXT}};

int cli_do_domains(struct cli_client *c, struct args *a)
{
    const msgpack_object *list;
    msgpack_object r;
    char own[80] = "", rep[80] = "";
    int err = cli_call(c, "domains", NULL, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return 0;
    }
    cli_get_text(&r, "domain", own, sizeof own);
    if (cli_get_text(&r, "representative", rep, sizeof rep))
        printf("%s is represented by %s\n", own, rep);
    list = cli_get(&r, "domains");
    if (list)
        cli_table(list, domain_fields, "federated with no other domain");
    return 0;
}

static int print_card(struct cli_client *c, const struct args *a)
{
    char text[1100], id[64];
    msgpack_object r;
    int err = cli_call(c, "federation.card", NULL, &r);
    if (err)
        return err;
    if (a->json)
        cli_json(&r, true);
    else if (cli_get_text(&r, "card", text, sizeof text) && cli_get_text(&r, "authority", id, sizeof id)) {
        printf("%s\n", text);
        fprintf(stderr, "Authority %s. Nothing in the card is secret, but the other domain must get the right one.\n", id);
    }
    return 0;
}

static bool number(const char *text, const char *what, uint64_t *out)
{
    char *end;
    unsigned long long v;
    if (!text)
        return true;
    v = strtoull(text, &end, 10);
    if (end == text || *end || text[0] == '-' || v > UINT32_MAX) {
        cli_usage(what, text);
        return false;
    }
    *out = v;
    return true;
}

int cli_do_federate(struct cli_client *c, struct args *a)
{
    uint64_t guests = 0, memory = UINT32_MAX, cpu = UINT32_MAX;
    struct cli_params p;
    msgpack_object r;
    char domain[80], id[64];
    int err;
    if (a->card)
        return print_card(c, a);
    if (a->n != 1)
        return cli_usage("federate wants the other domain's card, or --card to print this one's", NULL);
    if (!number(a->guests, "--guests is a whole number", &guests) ||
        !number(a->memory, "--memory is a whole number of MiB", &memory) ||
        !number(a->cpu, "--cpu is a whole number of percent", &cpu))
        return CLI_USAGE;
    cli_params_init(&p);
    vi_write_map(&p.w, 4);
    vi_write_str(&p.w, "card");
    vi_write_str(&p.w, a->arg[0]);
    vi_write_str(&p.w, "guests");
    vi_write_uint(&p.w, guests);
    vi_write_str(&p.w, "memory_mib");
    vi_write_uint(&p.w, guests ? memory : 0);
    vi_write_str(&p.w, "cpu_pct");
    vi_write_uint(&p.w, guests ? cpu : 0);
    err = cli_call(c, "federate", &p, &r);
    if (err)
        return err;
    if (a->json)
        cli_json(&r, true);
    else if (cli_get_text(&r, "domain", domain, sizeof domain) && cli_get_text(&r, "authority", id, sizeof id))
        printf("This domain trusts %s (authority %s). Nothing crosses until %s says the same of this one; "
               "`violin domains` shows it.\n", domain, id, domain);
    return 0;
}

int cli_do_unfederate(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    int err;
    cli_one_param(&p, "domain", a->arg[0]);
    err = cli_call(c, "unfederate", &p, &r);
    if (err)
        return err;
    if (a->json)
        cli_json(&r, true);
    else
        printf("%s is not trusted any more; its hosts lose their sessions with every member that hears of it\n",
               a->arg[0]);
    return 0;
}

/* False when the peer says that it isn't; when it can't be asked, nothing is claimed. */
static bool maybe_federated(struct cli_client *c, const char *domain)
{
    const msgpack_object *list;
    msgpack_object r;
    char name[80];
    if (cli_call(c, "domains", NULL, &r) || !(list = cli_get(&r, "domains")) || list->type != MSGPACK_OBJECT_ARRAY)
        return true;
    for (uint32_t i = 0; i < list->via.array.size; i++)
        if (cli_get_text(&list->via.array.ptr[i], "domain", name, sizeof name) && !strcmp(name, domain))
            return true;
    return false;
}

int cli_env_allow(struct cli_client *c, struct args *a, bool allow)
{
    struct cli_params p;
    msgpack_object r;
    int err;
    if (a->n != 3)
        return cli_usage(allow ? "env allow wants NAME DOMAIN" : "env deny wants NAME DOMAIN", NULL);
    cli_params_init(&p);
    vi_write_map(&p.w, 3);
    vi_write_str(&p.w, "name");
    vi_write_str(&p.w, a->arg[1]);
    vi_write_str(&p.w, "domain");
    vi_write_str(&p.w, a->arg[2]);
    vi_write_str(&p.w, "allow");
    vi_write_uint(&p.w, allow);
    err = cli_call(c, "env.allow", &p, &r);
    if (err)
        return err;
    if (a->json)
        cli_json(&r, true);
    else if (allow && !maybe_federated(c, a->arg[2]))
        printf("guests of %s may be in %s, too, as soon as this domain is federated with it: violin federate\n", a->arg[1], a->arg[2]);
    else if (allow)
        printf("guests of %s may be in %s, too; hosts there make its bridge as soon as they hear of it\n", a->arg[1], a->arg[2]);
    else
        printf("guests of %s may not be in %s any more; those that are lose its Ethernet\n", a->arg[1], a->arg[2]);
    return 0;
}
