/* What the files of the command line share. */
#ifndef PEER_CLI_INTERNAL_H
#define PEER_CLI_INTERNAL_H

#include <argp.h>
#include <stdint.h>

#include "peer/cli_client.h"
#include "peer/cli_show.h"

#define CLI_ARGS_MAX 16

/* Keys of options. */
enum {
    OPT_INTERVAL = 'i', OPT_TIMES = 'T', OPT_JSON = 'j', OPT_FOLLOW = 'f', OPT_TTL = 't', OPT_USES = 'u',
    OPT_SHARES = 's', OPT_AFTER = 'a', OPT_LIMIT = 'n', OPT_WHY = 'w', OPT_OVERLAP = 'o', OPT_FORCE = 'F',
    OPT_DOUBTS = 'W', OPT_STATE = 'S', OPT_KIND = 'k', OPT_SUBJECT = 'b',
    OPT_CARD = 'c', OPT_GUESTS = 'G', OPT_MEMORY = 'M', OPT_CPU = 'C', OPT_STRICT = 'x'
};
#define JSON_OPTION {"json", OPT_JSON, NULL, 0, "print JSON", 0}

struct args {
    bool json, follow, force, doubts, card, strict;
    const char *guests, *memory, *cpu;
    const char *ttl, *uses, *shares, *after, *limit, *interval, *times, *why, *overlap, *state, *kind, *subject;
    unsigned n, least, most;
    const char *arg[CLI_ARGS_MAX];
};

/* Says what was expected and got; CLI_USAGE. */
int cli_usage(const char *what, const char *got);
/* A number from 0 to max and nothing else. */
bool cli_whole_number(const char *text, uint64_t max, uint64_t *out);
/* "90s", "30m", "1h", "7d" or plain seconds: 1 to `days` days. */
bool cli_duration(const char *text, unsigned days, uint64_t *seconds);
/* Params of one text. */
void cli_one_param(struct cli_params *p, const char *key, const char *value);
/* Calls and shows as JSON, a table or a list. */
int cli_ask(struct cli_client *c, const struct args *a, const char *method, const struct cli_params *p,
            const struct cli_field *fields, const char *none);

/* cli_env.c */
int cli_do_env(struct cli_client *c, struct args *a);
/* A map of numbers, on one line after lead; nothing when it is empty. */
void cli_print_numbers(const msgpack_object *m, const char *lead);

/* cli_members.c */
extern const struct argp_option cli_members_options[];
int cli_do_members(struct cli_client *c, struct args *a);

/* cli_events.c */
extern const struct argp_option cli_events_options[], cli_monitor_options[];
int cli_do_events(struct cli_client *c, struct args *a);
int cli_do_monitor(struct cli_client *c, struct args *a);

/* cli_reach.c */
int cli_do_reachability(struct cli_client *c, struct args *a);

/* cli_federation.c */
extern const struct argp_option cli_federate_options[];
int cli_do_domains(struct cli_client *c, struct args *a);
int cli_do_federate(struct cli_client *c, struct args *a);
int cli_do_unfederate(struct cli_client *c, struct args *a);
int cli_env_move(struct cli_client *c, struct args *a); /* args: move NAME DOMAIN, moves, or cancel ID */
void cli_explain_env(const msgpack_object *r);
int cli_env_allow(struct cli_client *c, struct args *a, bool allow); /* args: allow or deny, NAME, DOMAIN */

/* cli_drain.c */
extern const struct argp_option cli_drain_options[], cli_pause_options[];
int cli_do_drain(struct cli_client *c, struct args *a);
int cli_do_undrain(struct cli_client *c, struct args *a);
int cli_do_pause(struct cli_client *c, struct args *a);
int cli_do_resume(struct cli_client *c, struct args *a);

/* cli_keys.c */
extern const struct argp_option cli_revoke_options[], cli_delegate_options[], cli_authority_options[];
int cli_do_cert(struct cli_client *c, struct args *a);
int cli_do_revoke(struct cli_client *c, struct args *a);
int cli_do_revocations(struct cli_client *c, struct args *a);
int cli_do_delegate(struct cli_client *c, struct args *a);
int cli_do_authority(struct cli_client *c, struct args *a);

#endif
