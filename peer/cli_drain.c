/* `violin drain`, `undrain`, `pause`, `resume`. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peer/cli_internal.h"

#define WAIT_EVERY_S 2
#define LONG_GONE    15 /* questions in vain to another host */

const struct argp_option cli_drain_options[] = {
    {"deadline", OPT_TTL, "TIME", 0, "by when it is to be empty: 30m, 2h, 1d; when that is near, and over, what is left is a warning", 0},
    {"within-domain", OPT_STRICT, NULL, 0, "no environment leaves for another domain", 0},
    {"wait", OPT_FOLLOW, NULL, 0, "until the host is empty, and say how far it is", 0},
    JSON_OPTION,
    {0}};
const struct argp_option cli_pause_options[] = {
    {"for", OPT_TTL, "TIME", 0, "how long: 30m, 8h, 1d (default 1h)", 0}, JSON_OPTION, {0}};

static uint32_t guests_of(const msgpack_object *r)
{
    const msgpack_object *g = cli_get(r, "guests");
    return (uint32_t)cli_get_number(r, "guests_here", g && g->type == MSGPACK_OBJECT_ARRAY ? g->via.array.size : 0);
}

static bool is_true(const msgpack_object *r, const char *key)
{
    const msgpack_object *v = cli_get(r, key);
    return v && v->type == MSGPACK_OBJECT_BOOLEAN && v->via.boolean;
}

static void show(const msgpack_object *r)
{
    static const struct cli_field fields[] = {{"name", "GUEST", CLI_TEXT}, {"why_here", "WHY IT IS STILL HERE", CLI_TEXT},
                                              {NULL, NULL, CLI_TEXT}};
    char host[128], when[64];
    cli_get_text(r, "host", host, sizeof host);
    if (!is_true(r, "draining")) {
        printf("%s takes guests\n", host);
        return;
    }
    if (is_true(r, "drained")) {
        printf("%s is drained: no guest of an environment is here\n", host);
        return;
    }
    printf("%s is being drained%s: ", host, is_true(r, "within") ? " within its domain" : "");
    if (guests_of(r))
        printf("%u guest(s) still here", guests_of(r));
    else
        printf("no guest is listed, but it isn't known yet that none is here, or one is still let in or started");
    if (cli_get(r, "deadline"))
        printf(", until %s", cli_format_value(cli_get(r, "deadline"), CLI_TIME, when, sizeof when));
    printf("\n");
    cli_table(cli_get(r, "guests"), fields, "");
}

static void host_param(struct cli_params *p, const struct args *a)
{
    cli_params_init(p);
    vi_write_map(&p->w, a->n > 0);
    if (a->n > 0) {
        vi_write_str(&p->w, "host");
        vi_write_str(&p->w, a->arg[0]);
    }
}

static int wait_for_it(struct cli_client *c, const struct args *a)
{
    uint32_t before = UINT32_MAX;
    unsigned in_vain = 0;
    for (;;) {
        struct cli_params p;
        msgpack_object r;
        int err;
        host_param(&p, a);
        err = cli_call(c, "drain.show", &p, &r);
        if (err && a->n > 0 && ++in_vain < LONG_GONE) { /* its peer may be restarting, or the network is slow */
            sleep(WAIT_EVERY_S);
            continue;
        }
        if (err)
            return err;
        in_vain = 0;
        if (guests_of(&r) != before || !is_true(&r, "draining") || is_true(&r, "drained")) {
            before = guests_of(&r);
            if (a->json)
                cli_json(&r, true);
            else
                show(&r);
            fflush(stdout);
        }
        if (is_true(&r, "drained"))
            return 0;
        if (!is_true(&r, "draining")) {
            fprintf(stderr, "violin: the draining was ended by `violin undrain`\n");
            return 1;
        }
        sleep(WAIT_EVERY_S);
    }
}

int cli_do_drain(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    uint64_t s = 0;
    int err;
    if (a->ttl && !cli_duration(a->ttl, 366, &s))
        return cli_usage("--deadline is a time such as 30m, 2h or 1d, at most 366d", a->ttl);
    cli_params_init(&p);
    vi_write_map(&p.w, (a->n > 0 ? 1U : 0U) + (a->ttl ? 1U : 0U) + (a->strict ? 1U : 0U));
    if (a->n > 0) {
        vi_write_str(&p.w, "host");
        vi_write_str(&p.w, a->arg[0]);
    }
    if (a->ttl) {
        vi_write_str(&p.w, "deadline_s");
        vi_write_uint(&p.w, s);
    }
    if (a->strict) {
        vi_write_str(&p.w, "within");
        vi_write_uint(&p.w, 1);
    }
    err = cli_call(c, "drain", &p, &r);
    if (err)
        return err;
    if (a->follow)
        return wait_for_it(c, a);
    if (a->json)
        cli_json(&r, true);
    else
        show(&r);
    return 0;
}

int cli_do_undrain(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    int err;
    host_param(&p, a);
    err = cli_call(c, "undrain", &p, &r);
    if (err)
        return err;
    if (a->json)
        cli_json(&r, true);
    else
        show(&r);
    return 0;
}

static const struct cli_field mode_fields[] = {
    {"mode", "mode", CLI_TEXT}, {"paused_for_s", "paused for", CLI_SECONDS}, {NULL, NULL, CLI_TEXT}};

int cli_do_pause(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    uint64_t s = 3600;
    if (a->ttl && !cli_duration(a->ttl, 366, &s))
        return cli_usage("--for is a time such as 30m, 8h or 1d, at most 366d", a->ttl);
    cli_params_init(&p);
    vi_write_map(&p.w, 1);
    vi_write_str(&p.w, "for_s");
    vi_write_uint(&p.w, s);
    return cli_ask(c, a, "pause", &p, mode_fields, "");
}

int cli_do_resume(struct cli_client *c, struct args *a)
{
    return cli_ask(c, a, "resume", NULL, mode_fields, "");
}
