/* `violin env move`, `env moves`, `env cancel`. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peer/cli.h"
#include "peer/cli_internal.h"

#define LONG_GONE 60 /* answers in vain, a second apart: nobody represents the domain, or nobody knows the move */

const struct cli_field cli_move_fields[] = {
    {"id", "ID", CLI_SHORT_ID}, {"environment", "ENVIRONMENT", CLI_TEXT}, {"part", "PART", CLI_TEXT},
    {"phase", "PHASE", CLI_TEXT}, {"domain", "DOMAIN", CLI_TEXT}, {"moved", "MOVED", CLI_COUNT}, {"left", "LEFT", CLI_COUNT},
    {"of", "OF", CLI_COUNT}, {"since_s", "SINCE", CLI_SECONDS}, {"why", "WHY", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};

static const struct cli_field guest_fields[] = {
    {"name", "GUEST", CLI_TEXT}, {"uuid", "UUID", CLI_TEXT}, {"from", "FROM", CLI_TEXT}, {"to", "TO", CLI_TEXT},
    {"memory_mib", "MEMORY", CLI_MIB}, {"state", "STATE", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};

static void print_progress(const msgpack_object *r, bool over, char *last, size_t cap)
{
    char phase[48], why[200], line[320];
    unsigned moved = (unsigned)cli_get_number(r, "moved", 0), of = (unsigned)cli_get_number(r, "of", 0);
    cli_get_text(r, "phase", phase, sizeof phase);
    cli_get_text(r, "why", why, sizeof why);
    if (!strcmp(why, "-"))
        why[0] = 0;
    if (of)
        snprintf(line, sizeof line, "%s, %u of %u guests moved%s%s", phase, moved, of, why[0] ? ": " : "", why);
    else /* which they are is being asked */
        snprintf(line, sizeof line, "%s%s%s", phase, why[0] ? ": " : "", why);
    if (strcmp(line, last)) {
        if (!over) /* the last word goes to standard output */
            fprintf(stderr, "%s\n", line);
        snprintf(last, cap, "%s", line);
    }
}

/* No answer for the moment: who led it may have died, and another takes it over from the hosts. */
static void wait_for_another(const struct args *a, unsigned times)
{
    if (times == 1 && !a->json)
        fprintf(stderr, "nobody answers for the move now; asking again for a minute\n");
    if (times < LONG_GONE)
        sleep(1);
    else
        fprintf(stderr, "what it came to isn't known here; `violin env show %s` says where its guests are\n", a->arg[1]);
}

/* Until it is over. All guests there: 0; some or none: a failure. */
static int watch(struct cli_client *c, const struct args *a, const char *id)
{
    char last[320] = "", phase[48];
    unsigned in_vain = 0;
    for (;;) {
        struct cli_params p;
        const msgpack_object *said;
        msgpack_object r;
        bool over;
        int err;
        cli_one_param(&p, "id", id);
        c->quiet = in_vain + 1 < LONG_GONE;
        err = cli_call(c, "env.move.show", &p, &r);
        if (err == CLI_FAILED)
            wait_for_another(a, ++in_vain);
        if (err == CLI_FAILED && in_vain < LONG_GONE)
            continue;
        if (err)
            return err;
        in_vain = 0;
        said = cli_get(&r, "over");
        over = said && said->type == MSGPACK_OBJECT_BOOLEAN && said->via.boolean;
        if (!a->json)
            print_progress(&r, over, last, sizeof last);
        if (!over) {
            usleep(300000);
            continue;
        }
        cli_get_text(&r, "phase", phase, sizeof phase);
        if (a->json)
            cli_json(&r, true);
        else
            printf("%s\n", last);
        return strcmp(phase, "moved") ? CLI_FAILED : 0;
    }
}

static int begin(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    char id[64];
    int err;
    cli_params_init(&p);
    vi_write_map(&p.w, 2);
    vi_write_str(&p.w, "name");
    vi_write_str(&p.w, a->arg[1]);
    vi_write_str(&p.w, "domain");
    vi_write_str(&p.w, a->arg[2]);
    err = cli_call(c, "env.move", &p, &r);
    if (err)
        return err;
    cli_get_text(&r, "id", id, sizeof id);
    return watch(c, a, id);
}

static int list(struct cli_client *c, const struct args *a)
{
    msgpack_object r;
    int err = cli_call(c, "env.moves", NULL, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return 0;
    }
    cli_table(&r, cli_move_fields, "this host takes part in no environment's move");
    for (uint32_t i = 0; r.type == MSGPACK_OBJECT_ARRAY && i < r.via.array.size; i++) {
        const msgpack_object *guests = cli_get(&r.via.array.ptr[i], "guests");
        if (!guests || !guests->via.array.size)
            continue;
        printf("\n");
        cli_table(guests, guest_fields, "");
    }
    return 0;
}

int cli_env_move(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    int err;
    if (!strcmp(a->arg[0], "moves"))
        return a->n == 1 ? list(c, a) : cli_usage("env moves wants nothing more", a->arg[1]);
    if (!strcmp(a->arg[0], "move"))
        return a->n == 3 ? begin(c, a) : cli_usage("env move wants NAME DOMAIN", a->n > 1 ? a->arg[1] : "nothing");
    if (a->n != 2)
        return cli_usage("env cancel wants a move's ID", a->n > 1 ? a->arg[2] : "nothing");
    cli_one_param(&p, "id", a->arg[1]);
    err = cli_call(c, "env.move.cancel", &p, &r);
    if (!err && a->json)
        cli_json(&r, true);
    else if (!err)
        printf("the move is given up, and what was kept for it is given back\n");
    return err;
}
