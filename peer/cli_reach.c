/* violin reachability: which way other peers are reached. */
#include <stdio.h>
#include <time.h>

#include "peer/base/err.h"
#include "peer/cli.h"
#include "peer/cli_internal.h"

#define TRIES 16 /* half a second apart: as long as a handshake may need through a relay */

static const struct cli_field fields[] = {
    {"name", "PEER", CLI_TEXT}, {"state", "STATE", CLI_TEXT}, {"path", "PATH", CLI_TEXT}, {"via", "VIA", CLI_TEXT},
    {"address", "ADDRESS", CLI_TEXT}, {"rtt_ms", "RTT ms", CLI_TEXT}, {"loss_pct", "LOSS", CLI_PERCENT},
    {"since_s", "SINCE", CLI_SECONDS}, {"why", "WHY", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};

/* Is a way still looked for, to the one peer that was asked for? */
static bool undecided(const msgpack_object *r)
{
    const msgpack_object *one = r->type == MSGPACK_OBJECT_ARRAY && r->via.array.size == 1 ? r->via.array.ptr : NULL;
    char path[16];
    return one && cli_get_text(one, "path", path, sizeof path) && path[0] == 'n' &&
           (cli_get(one, "handshaking") || !cli_get(one, "since_s"));
}

int cli_do_reachability(struct cli_client *c, struct args *a)
{
    const struct timespec pause = {.tv_nsec = 500000000};
    struct cli_params p;
    msgpack_object r;
    int err;
    if (a->n)
        cli_one_param(&p, "peer", a->arg[0]);
    for (unsigned i = 0;; i++) {
        err = cli_call(c, "reachability", a->n ? &p : NULL, &r);
        if (err)
            return err;
        if (!a->n || i == TRIES || !undecided(&r))
            break;
        nanosleep(&pause, NULL);
    }
    if (a->json)
        cli_json(&r, true);
    else
        cli_table(&r, fields, "no other peers");
    return 0;
}
