/* What the files of the command line share. */
#ifndef PEER_CLI_INTERNAL_H
#define PEER_CLI_INTERNAL_H

#include <argp.h>
#include <stdint.h>

#include "peer/cli_client.h"
#include "peer/cli_show.h"

#define CLI_ARGS_MAX 20
#define CLI_DISKS_MAX 4

/* Keys of options. */
enum {
    OPT_INTERVAL = 'i', OPT_TIMES = 'T', OPT_JSON = 'j', OPT_FOLLOW = 'f', OPT_TTL = 't', OPT_USES = 'u',
    OPT_SHARES = 's', OPT_AFTER = 'a', OPT_LIMIT = 'n', OPT_WHY = 'w', OPT_OVERLAP = 'o', OPT_FORCE = 'F',
    OPT_NAME = 'N', OPT_DOUBTS = 'W', OPT_STATE = 'S', OPT_KIND = 'k', OPT_SUBJECT = 'b',
    OPT_CARD = 'c', OPT_GUESTS = 'G', OPT_MEMORY = 'M', OPT_CPU = 'C', OPT_STRICT = 'x', OPT_SINCE = 'I', OPT_PRIORITY = 'p', OPT_REMOVE = 'r',
    OPT_HEAD = 0x200, OPT_KERNEL, OPT_RAMDISK, OPT_IMAGE, OPT_COPY, OPT_DISK, OPT_MAX_MEMORY, OPT_VCPUS, OPT_WEIGHT, OPT_APPEND, OPT_NETWORK,
    OPT_ON_POWEROFF, OPT_ON_REBOOT, OPT_ON_CRASH, OPT_SPREAD, OPT_CHECK, OPT_GUEST, OPT_WITHOUT, OPT_ENV, OPT_TO, OPT_ON, OPT_HOST
};
#define JSON_OPTION {"json", OPT_JSON, NULL, 0, "print JSON", 0}

struct args {
    bool json, follow, force, doubts, card, strict, spread;
    const char *guests, *memory, *cpu, *name;
    bool head, check;
    const char *head_host, *kernel, *ramdisk, *max_memory, *vcpus, *weight, *append, *network;
    const char *on_poweroff, *on_reboot, *on_crash;
    struct {
        const char *key, *text; /* image, copy or disk, in the order in which they are given */
    } disk[CLI_DISKS_MAX];
    unsigned n_disks;
    const char *ttl, *uses, *shares, *after, *limit, *interval, *times, *why, *overlap, *state, *kind, *subject, *since, *priority, *remove;
    const char *guest, *without, *env, *to, *on, *host;
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
/* cli_envmake.c: is it about guests that violin makes? Then that. */
extern const struct argp_option cli_env_options[];
bool cli_env_made(const struct args *a);
int cli_env_make(struct cli_client *c, struct args *a);
/* One of its options: true if it was. */
bool cli_env_option(int key, char *arg, struct args *a);
/* cli_rules.c: env rule, env priority */
int cli_env_rule(struct cli_client *c, struct args *a);
int cli_env_priority(struct cli_client *c, struct args *a);
void cli_print_rules(const msgpack_object *r); /* the field `rules` */
/* A map of numbers, on one line after lead; nothing when it is empty. */
void cli_print_numbers(const msgpack_object *m, const char *lead);

/* cli_members.c */
extern const struct argp_option cli_members_options[];
int cli_do_members(struct cli_client *c, struct args *a);

/* cli_events.c */
extern const struct argp_option cli_events_options[], cli_monitor_options[];
int cli_do_events(struct cli_client *c, struct args *a);
int cli_do_monitor(struct cli_client *c, struct args *a);

/* cli_history.c */
extern const struct argp_option cli_history_options[];
int cli_do_history(struct cli_client *c, struct args *a);

/* cli_explain.c */
extern const struct argp_option cli_explain_options[];
int cli_do_explain(struct cli_client *c, struct args *a);
int cli_do_todo(struct cli_client *c, struct args *a);

/* cli_plan.c */
extern const struct argp_option cli_plan_options[];
int cli_do_plan(struct cli_client *c, struct args *a);

/* cli_reach.c */
int cli_do_reachability(struct cli_client *c, struct args *a);

/* cli_federation.c */
extern const struct argp_option cli_federate_options[];
int cli_do_domains(struct cli_client *c, struct args *a);
int cli_do_federate(struct cli_client *c, struct args *a);
int cli_do_unfederate(struct cli_client *c, struct args *a);
int cli_env_move(struct cli_client *c, struct args *a); /* args: move NAME DOMAIN, moves, or cancel ID */
extern const struct cli_field cli_move_fields[];
int cli_env_allow(struct cli_client *c, struct args *a, bool allow); /* args: allow or deny, NAME, DOMAIN */

/* cli_image.c */
extern const struct argp_option cli_image_options[];
int cli_do_image(struct cli_client *c, struct args *a);

/* cli_bar.c: how far something is, for a person who looks */
struct cli_bar {
    bool on, said;
    const char *what;
    double began;
};
struct cli_bar cli_bar_new(const struct args *a, const char *what);
void cli_bar_show(struct cli_bar *b, double done, double of); /* bytes */
void cli_bar_end(struct cli_bar *b);
void cli_wait_a_little(void);

/* cli_disk.c */
extern const struct argp_option cli_disk_options[];
int cli_do_disk(struct cli_client *c, struct args *a);

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
