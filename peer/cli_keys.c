/* The commands about keys: certificates, revocations, delegations, the authority. */
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/cli.h"
#include "peer/cli_internal.h"

const struct argp_option cli_revoke_options[] = {
    JSON_OPTION,
    {"why", OPT_WHY, "TEXT", 0, "the reason, for people (at most 120 bytes)", 0},
    {0}};
const struct argp_option cli_delegate_options[] = {
    JSON_OPTION,
    {"ttl", OPT_TTL, "TIME", 0, "how long: 12h, 90d (default 365d)", 0},
    {0}};
const struct argp_option cli_authority_options[] = {
    JSON_OPTION,
    {"overlap", OPT_OVERLAP, "TIME", 0, "rollover: how long the old one still counts: 12h, 30d (default 30d)", 0},
    {"force", OPT_FORCE, NULL, 0, "retire: although some have no certificate of the new one yet", 0},
    {0}};

static const struct cli_field cert_fields[] = {
    {"host", "host", CLI_TEXT}, {"domain", "domain", CLI_TEXT}, {"peer", "peer", CLI_TEXT},
    {"state", "certificate", CLI_TEXT}, {"issued_by", "  issued by", CLI_TEXT},
    {"not_before", "  from", CLI_TIME}, {"not_after", "  until", CLI_TIME},
    {"renews_at", "  is renewed from", CLI_TIME}, {"rights", "  rights", CLI_TEXT},
    {"trouble", "  last renewal failed", CLI_TEXT},
    {"capabilities", "may, for the authority", CLI_TEXT}, {"capabilities_until", "  until", CLI_TIME},
    {"authority", "authority", CLI_TEXT}, {"authority_here", "  its secret key is here", CLI_YESNO},
    {NULL, NULL, CLI_TEXT}};
static const struct cli_field authority_fields[] = {
    {"id", "AUTHORITY", CLI_TEXT}, {"state", "STATE", CLI_TEXT}, {"until", "UNTIL", CLI_TIME},
    {NULL, NULL, CLI_TEXT}};

int cli_do_cert(struct cli_client *c, struct args *a)
{
    const msgpack_object *list;
    msgpack_object r;
    char when[32];
    bool renew = a->n == 1 && !strcmp(a->arg[0], "renew");
    int err;
    if (a->n == 1 && !renew)
        return cli_usage("cert wants nothing, or renew", a->arg[0]);
    err = cli_call(c, renew ? "cert.renew" : "cert", NULL, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return 0;
    }
    if (renew) {
        printf("renewed until %s\n", cli_format_value(cli_get(&r, "not_after"), CLI_TIME, when, sizeof when));
        return 0;
    }
    cli_list(&r, cert_fields);
    list = cli_get(&r, "authorities");
    if (list && list->type == MSGPACK_OBJECT_ARRAY && list->via.array.size > 1) {
        printf("\n");
        cli_table(list, authority_fields, "");
    }
    return 0;
}

int cli_do_revoke(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    char id[64];
    int err;
    cli_params_init(&p);
    vi_write_map(&p.w, a->why ? 2 : 1);
    vi_write_str(&p.w, "host");
    vi_write_str(&p.w, a->arg[0]);
    if (a->why) {
        vi_write_str(&p.w, "why");
        vi_write_str(&p.w, a->why);
    }
    err = cli_call(c, "revoke", &p, &r);
    if (err)
        return err;
    if (a->json)
        cli_json(&r, true);
    else if (cli_get_text(&r, "peer", id, sizeof id))
        printf("%s (%.8s) is revoked; every peer that hears of it ends its sessions\n", a->arg[0], id);
    return 0;
}

int cli_do_revocations(struct cli_client *c, struct args *a)
{
    static const struct cli_field fields[] = {
        {"host", "HOST", CLI_TEXT}, {"peer", "ID", CLI_SHORT_ID}, {"at", "AT", CLI_TIME},
        {"by", "BY", CLI_TEXT}, {"why", "WHY", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};
    return cli_ask(c, a, "revocations", NULL, fields, "nobody was revoked");
}

int cli_do_delegate(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    uint64_t ttl = 365 * 86400;
    int err;
    if (a->ttl && !cli_duration(a->ttl, 3660, &ttl))
        return cli_usage("--ttl is a time such as 12h or 90d, at most 3660d", a->ttl);
    cli_params_init(&p);
    vi_write_map(&p.w, 3);
    vi_write_str(&p.w, "host");
    vi_write_str(&p.w, a->arg[0]);
    vi_write_str(&p.w, "capabilities");
    vi_write_str(&p.w, a->arg[1]);
    vi_write_str(&p.w, "ttl_s");
    vi_write_uint(&p.w, ttl);
    err = cli_call(c, "delegate", &p, &r);
    if (err)
        return err;
    if (a->json)
        cli_json(&r, true);
    else
        printf("%s may now, in the authority's place: %s\n", a->arg[0], a->arg[1]);
    return 0;
}

static int show_authorities(const struct args *a, const msgpack_object *r)
{
    const msgpack_object *list = cli_get(r, "authorities");
    if (a->json)
        cli_json(r, true);
    else if (list)
        cli_table(list, authority_fields, "");
    return 0;
}

int cli_do_authority(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    uint64_t overlap = 30 * 86400;
    int err;
    cli_params_init(&p);
    vi_write_map(&p.w, 1);
    if (!strcmp(a->arg[0], "rollover")) {
        if (a->overlap && (!cli_duration(a->overlap, 3660, &overlap) || overlap < 60))
            return cli_usage("--overlap is a time such as 12h or 30d, 1m to 3660d", a->overlap);
        vi_write_str(&p.w, "overlap_s");
        vi_write_uint(&p.w, overlap);
        err = cli_call(c, "authority.rollover", &p, &r);
        if (err)
            return err;
        if (!a->json)
            printf("There is a new authority; the members go over to it. Keep a copy of its key (violin authority "
                   "export), and when all have gone over: violin authority retire\n\n");
        return show_authorities(a, &r);
    }
    if (!strcmp(a->arg[0], "retire")) {
        vi_write_str(&p.w, "force");
        vi_write_uint(&p.w, a->force);
        err = cli_call(c, "authority.retire", &p, &r);
        return err ? err : show_authorities(a, &r);
    }
    return cli_usage("authority wants: rollover, retire, export FILE, import FILE", a->arg[0]);
}
