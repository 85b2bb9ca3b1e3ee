/* The commands that ask a running peer. See cli.h; what each method answers: peer/rpc.md. */
#include "peer/cli.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/cli_internal.h"
#include "peer/cli_top.h"


static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct args *a = state->input;
    switch (key) {
    case OPT_JSON: a->json = true; return 0;
    case OPT_FOLLOW: a->follow = true; return 0;
    case OPT_TTL: a->ttl = arg; return 0;
    case OPT_USES: a->uses = arg; return 0;
    case OPT_SHARES: a->shares = arg; return 0;
    case OPT_AFTER: a->after = arg; return 0;
    case OPT_LIMIT: a->limit = arg; return 0;
    case OPT_INTERVAL: a->interval = arg; return 0;
    case OPT_TIMES: a->times = arg; return 0;
    case OPT_WHY: a->why = arg; return 0;
    case OPT_OVERLAP: a->overlap = arg; return 0;
    case OPT_FORCE: a->force = true; return 0;
    case OPT_DOUBTS: a->doubts = true; return 0;
    case OPT_STATE: a->state = arg; return 0;
    case OPT_KIND: a->kind = arg; return 0;
    case OPT_SUBJECT: a->subject = arg; return 0;
    case OPT_SINCE: a->since = arg; return 0;
    case OPT_GUEST: a->guest = arg; return 0;
    case OPT_WITHOUT: a->without = arg; return 0;
    case OPT_ENV: a->env = arg; return 0;
    case OPT_TO: a->to = arg; return 0;
    case OPT_ON: a->on = arg; return 0;
    case OPT_HOST: a->host = arg; return 0;
    case OPT_CARD: a->card = true; return 0;
    case OPT_GUESTS: a->guests = arg; return 0;
    case OPT_MEMORY: a->memory = arg; return 0;
    case OPT_CPU: a->cpu = arg; return 0;
    case OPT_NAME: a->name = arg; return 0;
    case OPT_STRICT: a->strict = true; return 0;
    case OPT_PRIORITY: a->priority = arg; return 0;
    case OPT_REMOVE: a->remove = arg; return 0;
    case ARGP_KEY_ARG:
        if (a->n >= a->most)
            argp_error(state, "`%s` is one argument too many", arg);
        a->arg[a->n++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (a->n < a->least)
            argp_error(state, "an argument is missing");
        return 0;
    default:
        return cli_env_option(key, arg, a) ? 0 : ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option plain_options[] = {JSON_OPTION, {0}};
static const struct argp_option top_options[] = {
    {"json", OPT_JSON, NULL, 0, "print a line of JSON each time", 0},
    {"interval", OPT_INTERVAL, "SECONDS", 0, "between two pictures (default 2)", 0},
    {"times", OPT_TIMES, "N", 0, "end after N pictures (default: at Ctrl-C)", 0},
    {0}};
static const struct argp_option trace_options[] = {
    JSON_OPTION,
    {"limit", OPT_LIMIT, "N", 0, "at most N, the newest (default 200, at most 512)", 0},
    {0}};
static const struct argp_option invite_options[] = {
    JSON_OPTION,
    {"uses", OPT_USES, "N", 0, "how many hosts may join with it (default 1)", 0},
    {"ttl", OPT_TTL, "TIME", 0, "how long it holds: 90s, 30m, 1h, 7d (default 1h)", 0},
    {0}};
static const struct argp_option migrate_options[] = {
    JSON_OPTION,
    {"force", OPT_FORCE, NULL, 0, "although a rule of its environment forbids it", 0},
    {0}};

/* ---- helpers ---- */

bool cli_whole_number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    unsigned long long v;
    errno = 0;
    v = strtoull(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || v > max)
        return false;
    *out = v;
    return true;
}

int cli_usage(const char *what, const char *got)
{
    if (got)
        fprintf(stderr, "violin: %s, not `%s`\n", what, got);
    else
        fprintf(stderr, "violin: %s\n", what);
    return CLI_USAGE;
}

/* "90s", "30m", "1h", "7d" or plain seconds. */
bool cli_duration(const char *text, unsigned days, uint64_t *seconds)
{
    static const struct {
        char unit;
        uint64_t s;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    char digits[24];
    size_t n = strlen(text);
    uint64_t mult = 1;
    if (n == 0 || n >= sizeof digits)
        return false;
    memcpy(digits, text, n + 1);
    for (unsigned i = 0; i < 4; i++)
        if (digits[n - 1] == units[i].unit) {
            mult = units[i].s;
            digits[n - 1] = 0;
            break;
        }
    if (!cli_whole_number(digits, (uint64_t)days * 86400, seconds))
        return false;
    *seconds *= mult;
    return *seconds > 0 && *seconds <= (uint64_t)days * 86400;
}

void cli_one_param(struct cli_params *p, const char *key, const char *value)
{
    cli_params_init(p);
    vi_write_map(&p->w, 1);
    vi_write_str(&p->w, key);
    vi_write_str(&p->w, value);
}

/* Calls and shows as JSON, a table or a list. */
int cli_ask(struct cli_client *c, const struct args *a, const char *method, const struct cli_params *p,
            const struct cli_field *fields, const char *none)
{
    msgpack_object r;
    int err = cli_call(c, method, p, &r);
    if (err)
        return err;
    if (a->json)
        cli_json(&r, true);
    else if (r.type == MSGPACK_OBJECT_ARRAY)
        cli_table(&r, fields, none);
    else
        cli_list(&r, fields);
    return 0;
}

/* ---- commands ---- */

static const struct cli_field status_fields[] = {
    {"host", "host", CLI_TEXT},
    {"domain", "domain", CLI_TEXT},
    {"peer", "peer", CLI_TEXT},
    {"address", "address", CLI_TEXT},
    {"version", "version", CLI_TEXT},
    {"uptime_s", "running for", CLI_SECONDS},
    {"mode", "mode", CLI_TEXT},
    {"paused_for_s", "  paused for", CLI_SECONDS},
    {"placement", "placement", CLI_TEXT},
    {"empty", "  empty", CLI_TEXT},
    {"draining", "draining", CLI_TEXT},
    {"hypervisor.kind", "hypervisor", CLI_TEXT},
    {"hypervisor.version", "  version", CLI_TEXT},
    {"hypervisor.state", "  state", CLI_TEXT},
    {"members.alive", "members alive", CLI_COUNT},
    {"members.suspect", "  suspect", CLI_COUNT},
    {"members.dead", "  dead", CLI_COUNT},
    {"guests", "guests", CLI_COUNT},
    {"load.cpu_demand_pct", "CPU wanted", CLI_PERCENT},
    {"load.cpu_entitled_pct", "  entitled", CLI_PERCENT},
    {"load.cpu_capacity_pct", "  of", CLI_PERCENT},
    {"load.memory_charged_mib", "memory given", CLI_MIB},
    {"load.memory_promised_mib", "  promised", CLI_MIB},
    {"load.memory_reserve_mib", "  kept back", CLI_MIB},
    {"load.memory_free_mib", "  free", CLI_MIB},
    {"load.memory_total_mib", "  of", CLI_MIB},
    {"standing.local_health", "local health (0 is good)", CLI_COUNT},
    {"standing.guarded", "  judges nobody just now", CLI_YESNO},
    {"standing.aside", "  stands aside", CLI_YESNO},
    {"handovers.active", "handovers under way", CLI_COUNT},
    {"handovers.undecided", "  undecided", CLI_COUNT},
    {NULL, NULL, CLI_TEXT}};
static const struct cli_field env_moves_fields[] = {
    {"env_moves.leading", "environments led elsewhere", CLI_COUNT},
    {"env_moves.asked", "  asked to take in", CLI_COUNT},
    {"env_moves.granted", "  moving from here", CLI_COUNT},
    {"env_moves.leases", "  guests expected", CLI_COUNT},
    {"env_moves.split", "  left split", CLI_COUNT},
    {NULL, NULL, CLI_TEXT}};

static int do_status(struct cli_client *c, struct args *a)
{
    msgpack_object r;
    const msgpack_object *w;
    int err = cli_call(c, "status", NULL, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return 0;
    }
    cli_list(&r, status_fields);
    for (const struct cli_field *f = env_moves_fields; f->key; f++)
        if (cli_get_number(&r, f->key, 0) > 0) {
            cli_list(&r, env_moves_fields); /* few hosts ever have to do with one */
            break;
        }
    if (cli_get_number(&r, "suggestions", 0) > 0)
        printf("%.0f thing(s) it would do: violin todo\n", cli_get_number(&r, "suggestions", 0));
    w = cli_get(&r, "warnings");
    for (uint32_t i = 0; w && w->type == MSGPACK_OBJECT_ARRAY && i < w->via.array.size; i++) {
        char text[512];
        printf("warning: %s\n", cli_format_value(&w->via.array.ptr[i], CLI_TEXT, text, sizeof text));
    }
    return 0;
}

static const struct cli_field guest_fields[] = {
    {"name", "NAME", CLI_TEXT}, {"environment", "ENVIRONMENT", CLI_TEXT}, {"state", "STATE", CLI_TEXT},
    {"used_mib", "USED", CLI_MIB}, {"memory_mib", "OF", CLI_MIB}, {"max_mib", "MOST", CLI_MIB},
    {"cpu_pct", "CPU", CLI_PERCENT}, {"demand_pct", "WANTS", CLI_PERCENT},
    {"entitlement_pct", "ENTITLED", CLI_PERCENT}, {"weight", "WEIGHT", CLI_COUNT},
    {"report_age_s", "REPORT", CLI_SECONDS}, {"movable", "MOVABLE", CLI_YESNO},
    {"why_not", "WHY NOT", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};

static int do_guests(struct cli_client *c, struct args *a)
{
    return cli_ask(c, a, "guests", NULL, guest_fields, "no guests on this host");
}

static int do_top(struct cli_client *c, struct args *a)
{
    uint64_t interval = 2, times = 0;
    if (a->interval && (!cli_whole_number(a->interval, 3600, &interval) || interval == 0))
        return cli_usage("--interval is a number of seconds from 1 to 3600", a->interval);
    if (a->times && (!cli_whole_number(a->times, 1000000, &times) || times == 0))
        return cli_usage("--times is a number from 1 to 1000000", a->times);
    return cli_top(c, (double)interval, (unsigned)times, a->json);
}

static int do_trace(struct cli_client *c, struct args *a)
{
    static const struct cli_field fields[] = {{"at", "AT", CLI_TIME}, {"level", "LEVEL", CLI_TEXT},
                                              {"area", "AREA", CLI_TEXT}, {"text", "TEXT", CLI_TEXT},
                                              {NULL, NULL, CLI_TEXT}};
    struct cli_params p;
    uint64_t limit = 200;
    if (a->limit && (!cli_whole_number(a->limit, 512, &limit) || limit == 0))
        return cli_usage("--limit is a number from 1 to 512", a->limit);
    cli_params_init(&p);
    vi_write_map(&p.w, 1);
    vi_write_str(&p.w, "limit");
    vi_write_uint(&p.w, limit);
    return cli_ask(c, a, "trace", &p, fields, "nothing was traced yet");
}

static const struct cli_field handover_fields[] = {
    {"id", "ID", CLI_SHORT_ID}, {"guest", "GUEST", CLI_TEXT}, {"role", "ROLE", CLI_TEXT},
    {"from", "FROM", CLI_TEXT}, {"to", "TO", CLI_TEXT}, {"state", "STATE", CLI_TEXT},
    {"since_s", "SINCE", CLI_SECONDS}, {"bytes", "SENT", CLI_BYTES}, {"disk_bytes", "DISKS", CLI_BYTES}, {"undecided", "UNDECIDED", CLI_YESNO},
    {"why", "WHY", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};

/* On a terminal one line that changes; else one line a state. */
static void progress_line(const msgpack_object *h, double seconds, bool tty, char *last, size_t cap)
{
    char state[48], sent[32], memory[32], disks[32], line[160];
    const msgpack_object *bytes = cli_get(h, "bytes");
    int n;
    cli_get_text(h, "state", state, sizeof state);
    n = snprintf(line, sizeof line, "%6.1f s  %-12s", seconds, state);
    if (!bytes && cli_get_number(h, "disk_bytes", 0) > 0)
        snprintf(line + n, sizeof line - (size_t)n, " %s of its disks sent, %s of %s are equal",
                 cli_format_value(cli_get(h, "disk_bytes"), CLI_BYTES, sent, sizeof sent),
                 cli_format_value(cli_get(h, "disk_in_sync_mib"), CLI_MIB, memory, sizeof memory),
                 cli_format_value(cli_get(h, "disk_mib"), CLI_MIB, disks, sizeof disks));
    else if (bytes)
        snprintf(line + n, sizeof line - (size_t)n, " %s sent, the guest has %s",
                 cli_format_value(bytes, CLI_BYTES, sent, sizeof sent),
                 cli_format_value(cli_get(h, "memory_mib"), CLI_MIB, memory, sizeof memory));
    if (tty)
        fprintf(stderr, "\r%-70s", line);
    else if (strcmp(last, state))
        fprintf(stderr, "%s\n", line);
    snprintf(last, cap, "%s", state);
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Follows one handover until it is over. */
static int watch(struct cli_client *c, const struct args *a, const char *id)
{
    struct cli_params p;
    char last[48] = "", state[48], why[256];
    bool tty = isatty(2);
    double start = seconds_now();
    for (;;) {
        struct timespec t = {.tv_nsec = 200 * 1000 * 1000};
        msgpack_object h;
        int err;
        cli_one_param(&p, "id", id);
        err = cli_call(c, "handover.show", &p, &h);
        if (err)
            return err;
        cli_get_text(&h, "state", state, sizeof state);
        if (!a->json)
            progress_line(&h, seconds_now() - start, tty, last, sizeof last);
        if (!strcmp(state, "done") || !strcmp(state, "aborted") || !strcmp(state, "refused") ||
            !strcmp(state, "lost") || cli_get_number(&h, "undecided", 0) > 0) {
            if (tty && !a->json)
                fprintf(stderr, "\n");
            if (a->json)
                cli_json(&h, true);
            if (!strcmp(state, "done"))
                return CLI_OK;
            cli_get_text(&h, "why", why, sizeof why);
            fprintf(stderr, "violin: the guest was not moved: %s\n", why);
            return CLI_FAILED;
        }
        nanosleep(&t, NULL);
    }
}

static int do_migrate(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    char id[64];
    int err;
    cli_params_init(&p);
    vi_write_map(&p.w, a->n + a->force);
    vi_write_str(&p.w, "guest");
    vi_write_str(&p.w, a->arg[0]);
    if (a->force) {
        vi_write_str(&p.w, "force");
        vi_write_uint(&p.w, 1);
    }
    if (a->n > 1) {
        vi_write_str(&p.w, "host");
        vi_write_str(&p.w, a->arg[1]);
    }
    err = cli_call(c, "migrate", &p, &r);
    if (err)
        return err;
    cli_get_text(&r, "handover", id, sizeof id);
    return watch(c, a, id);
}

static int do_handover(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    int err;
    if (!strcmp(a->arg[0], "list") && a->n == 1)
        return cli_ask(c, a, "handover.list", NULL, handover_fields, "no handovers");
    if (!strcmp(a->arg[0], "resolve") && a->n != 3) {
        fprintf(stderr, "violin: handover resolve wants an ID, and keep-here or give-up\n");
        return CLI_USAGE;
    }
    if (strcmp(a->arg[0], "resolve") || a->n != 3)
        return cli_usage("handover wants: list, or resolve ID keep-here|give-up", a->arg[0]);
    if (strcmp(a->arg[2], "keep-here") && strcmp(a->arg[2], "give-up"))
        return cli_usage("handover resolve wants an ID, and keep-here or give-up", a->arg[2]);
    cli_params_init(&p);
    vi_write_map(&p.w, 2);
    vi_write_str(&p.w, "id");
    vi_write_str(&p.w, a->arg[1]);
    vi_write_str(&p.w, "action");
    vi_write_str(&p.w, a->arg[2]);
    err = cli_call(c, "handover.resolve", &p, &r);
    if (!err && a->json)
        cli_json(&r, true);
    return err;
}

static int do_mode(struct cli_client *c, struct args *a)
{
    static const struct cli_field fields[] = {{"mode", "mode", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};
    struct cli_params p;
    if (a->n == 0)
        return cli_ask(c, a, "mode.get", NULL, fields, "");
    if (strcmp(a->arg[0], "observe") && strcmp(a->arg[0], "auto"))
        return cli_usage("mode wants nothing, observe or auto", a->arg[0]);
    cli_one_param(&p, "mode", a->arg[0]);
    return cli_ask(c, a, "mode.set", &p, fields, "");
}

static int do_invite(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    char text[2048], when[32];
    uint64_t uses = 1, ttl = 3600;
    int err;
    if (a->uses && (!cli_whole_number(a->uses, 1000, &uses) || uses == 0))
        return cli_usage("--uses is a number from 1 to 1000", a->uses);
    if (a->ttl && !cli_duration(a->ttl, 366, &ttl))
        return cli_usage("--ttl is a time such as 90s, 30m, 1h or 7d, at most 366d", a->ttl);
    cli_params_init(&p);
    vi_write_map(&p.w, 2);
    vi_write_str(&p.w, "uses");
    vi_write_uint(&p.w, uses);
    vi_write_str(&p.w, "ttl_s");
    vi_write_uint(&p.w, ttl);
    err = cli_call(c, "invite", &p, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return 0;
    }
    fprintf(stderr, "On the new host, until %s:\n\n",
            cli_format_value(cli_get(&r, "expires_at"), CLI_TIME, when, sizeof when));
    cli_get_text(&r, "token", text, sizeof text);
    printf("violin join %s\n", text);
    return 0;
}

/* ---- the table ---- */

static const struct entry {
    const char *name;
    int (*run)(struct cli_client *c, struct args *a);
    const struct argp_option *options;
    unsigned least, most;
    const char *args, *doc;
} entries[] = {
    {"status", do_status, plain_options, 0, 0, "", "What this peer is, knows and warns of."},
    {"members", cli_do_members, cli_members_options, 0, 16, "[HOST|ID...]",
     "The domain's hosts, how they are and how full. With --why: who is or was lately suspected, dead or gone; who said so "
     "first, why, through whom it came here, who found the same, and what ended it."},
    {"reachability", cli_do_reachability, plain_options, 0, 1, "[PEER]",
     "Which way other peers are reached: direct, punched (through NATs), relayed by another peer, or none; how long "
     "there and back, how much is lost, and why not directly. A PEER (name or id) without a session is tried first."},
    {"guests", do_guests, plain_options, 0, 0, "", "This host's guests: what each has, uses and wants."},
    {"top", do_top, top_options, 0, 0, "", "The domain's hosts and this host's guests as bars, again and again."},
    {"env", cli_do_env, cli_env_options, 1, 19, "list\ncreate NAME\napply FILE\nshow NAME\nstart NAME\nstop NAME\nremove NAME\njobs\nattach NAME IFACE\ndetach NAME\nlimit NAME MIB\nrule NAME [spread GUEST...|together GUEST...|pin GUEST HOST|never GUEST HOST]\npriority NAME N\nallow NAME DOMAIN\ndeny NAME DOMAIN\nmove NAME DOMAIN\nmoves\ncancel ID",
     "Environments: private clusters of guests on a virtual Ethernet. `create` with --guests makes its guests, too, from images, on "
     "the hosts that fit best: all of them or none. `start`, `stop` and `remove` are for such guests, wherever they are; a host "
     "starts those that it owns after a reboot. `apply` makes an environment as a file says (violin(8)), `jobs` shows what is under way. "
     "Guests that `xl create` made are yours to start and stop. `attach` puts a network interface of this host, which "
     "has no address of its own, into the environment's bridge: once per environment and LAN. "
     "`rule` says where its guests may be: never two of them on one host (spread), on one host where possible (together), "
     "on that host only (pin), never on that host; without more it lists the rules. Of environments that are short on one "
     "host, that of lower `priority` gives way. "
     "`limit` bounds what its guests on one host send to others, in MiB a second (0: no limit). `allow` lets its guests be in another domain, too "
     "(see violin federate); deny takes that back. `move` moves all its guests of this domain to another that may have it, "
     "`moves` shows what this host has to do with such moves, `cancel` gives one up while no guest has been told to go."},
    {"explain", cli_do_explain, cli_explain_options, 0, 1, "GUEST [--on HOST]\nHOST\nENV",
     "Why a guest has what it has, and is where it is; with --on, why not there: that host is asked, too. Of a host: what it carries, what is "
     "short, what it would take, and why nothing is done. Of an environment: where its guests are, where it could go and why not, what was "
     "decided about it. When a name means several things: guest:NAME, env:NAME, host:NAME."},
    {"todo", cli_do_todo, plain_options, 0, 0, "",
     "What this host's policy would do, as commands to copy: in mode observe, and while it is paused, it only says so."},
    {"history", cli_do_history, cli_history_options, 0, 1, "[GUEST|ENV|HOST]",
     "What was decided and done on this host, over restarts: when, what, from where to where, why, and how long it took. A "
     "move within the domain is in the histories of both hosts: with its pause and bytes where the guest left. Kinds: moving (decided), "
     "moved, arrived, failed, envmove, refused, balloon, weight, short, drain, mode. Two things of one name: guest:NAME, env:NAME, host:NAME."},
    {"plan", cli_do_plan, cli_plan_options, 0, 0, "",
     "What if a guest were larger, hosts were to be empty, an environment went to another domain? Asks the domain's hosts how they are and says "
     "which guests would move, in which order, who would find no place, and how full the hosts would be, by the policy's own rules. "
     "Nothing is changed. Several questions at once are answered together."},
    {"events", cli_do_events, cli_events_options, 0, 0, "", "What happened here, and with --follow what happens."},
    {"monitor", cli_do_monitor, cli_monitor_options, 0, 0, "",
     "What happens from now on, a line an event, until Ctrl-C: of all kinds, or of those that are asked for: member, env, "
     "guest, balloon, weight, short, moving, envmove, handover, moved, arrived, refused, failed, image, disk, attach, conflict, drain, keys, admitted, revoked, federation, address, mode, warning, started."},
    {"trace", do_trace, trace_options, 0, 0, "", "What the peer's process logged last, more than the log shows: for a report of what went wrong."},
    {"migrate", do_migrate, migrate_options, 1, 2, "GUEST [HOST]",
     "Moves a guest live, to HOST or to the least loaded host that fits; waits and shows progress. A HOST that a rule of its "
     "environment forbids is refused, but with --force."},
    {"handover", do_handover, plain_options, 1, 3, "list\nresolve ID keep-here|give-up",
     "Handovers under way or undecided. `resolve` decides one that only a person can: keep-here runs the copy of "
     "this host, give-up destroys it. ID: as listed, or its beginning. Make sure first that the other host's copy is gone, or running."},
    {"image", cli_do_image, cli_image_options, 1, 2, "list\nadd FILE\nshow IMAGE\nfetch IMAGE\ncancel IMAGE\nremove IMAGE",
     "Kernels, ramdisks and read-only disks, known by what is in them. `add` takes a file into this host's cache; the other "
     "hosts fetch it when a guest that needs it is to come to them, or with `fetch`, in pieces from several hosts that have it, "
     "each piece tested. `cancel` gives that up. What was fetched and isn't in use makes room for others; what was added "
     "stays until `remove`. IMAGE: its name, its hash, or at least 8 digits of that."},
    {"disk", cli_do_disk, cli_disk_options, 1, 4, "list\ncreate NAME SIZE\ncreate NAME --copy IMAGE[:SIZE]\nshow DISK\n"
     "attach DISK GUEST [xvdX]\ndetach DISK\nadopt NAME PATH\nremove DISK",
     "Writable disks that move with their guests, between hosts that share no storage. `create` makes one, of zeros or as a copy of "
     "an image; `adopt` takes a block device or a file that is there as it is, and prints the line for its guest's configuration. "
     "Only one copy of a disk is the true one, on which its guest runs; a move leaves the old copy behind as a base, so that the way "
     "back copies only what has changed, until its room is needed. `show` asks the other hosts for theirs. `remove` refuses what is in "
     "use, and what was adopted keeps its bytes. SIZE: 512M, 10G, 2T. DISK: its name, or its id."},
    {"drain", cli_do_drain, cli_drain_options, 0, 1, "[HOST]",
     "Empties this host, or another of the domain, before maintenance: its guests move to other hosts of the domain, a few at a time, also "
     "in mode observe, and none comes until `violin undrain`; a restart of the peer changes nothing about it. A guest that no host of the domain "
     "has room for leaves with its whole environment for another domain that may have it. Nothing is ever ended or suspended for it. Shows who is "
     "still here, and why. Another host obeys a host that may admit or revoke hosts."},
    {"undrain", cli_do_undrain, plain_options, 0, 1, "[HOST]", "The host takes guests again."},
    {"pause", cli_do_pause, cli_pause_options, 0, 0, "",
     "For a while nothing on this host is changed or moved by itself, as in mode observe; an operator's orders are "
     "carried out. `violin resume` ends it."},
    {"resume", cli_do_resume, plain_options, 0, 0, "", "Ends a pause."},
    {"mode", do_mode, plain_options, 0, 1, "[observe|auto]",
     "Shows or sets whether this peer acts (auto) or only says what it would do (observe). What is set holds until "
     "the peer is restarted; `mode` in the configuration says how it starts."},
    {"invite", do_invite, invite_options, 0, 0, "", "Prints a token with which another host may join the domain."},
    {"cert", cli_do_cert, plain_options, 0, 1, "[renew]",
     "This host's certificate: who issued it, how long it holds, when it is renewed, and what the host may do in the "
     "authority's place. `renew` renews it now."},
    {"revoke", cli_do_revoke, cli_revoke_options, 1, 1, "HOST|ID",
     "Makes a host's key worthless in the domain, for good: every peer that hears of it ends its sessions and takes it "
     "in no more. The host can join again with new keys."},
    {"revocations", cli_do_revocations, plain_options, 0, 0, "", "The keys that were revoked."},
    {"delegate", cli_do_delegate, cli_delegate_options, 2, 2, "HOST CAPABILITY[,CAPABILITY]",
     "Lets a host do in the authority's place: admit, renew, revoke, env (give the right to make environments), "
     "federate; or none any more. Needs the authority's key here; afterwards it may be off line."},
    {"authority", cli_do_authority, cli_authority_options, 1, 1, "rollover\nretire\nexport FILE\nimport FILE",
     "The domain's authority. `rollover` makes a new one: both count until the old one is retired, the members get new "
     "certificates meanwhile. `export` and `import`: violin authority export --help."},
    {"domains", cli_do_domains, plain_options, 0, 0, "", "Who represents this domain, and the domains that it is federated with."},
    {"federate", cli_do_federate, cli_federate_options, 0, 1, "CARD\n--card",
     "Trusts another domain: its hosts may carry the Ethernet of environments that both have (violin env allow), and with "
     "--guests run theirs here. CARD is what `violin federate --card` prints there. Nothing crosses until both domains "
     "have done this. Again with other limits: changes them."},
    {"unfederate", cli_do_unfederate, plain_options, 1, 1, "DOMAIN", "Trusts another domain no more."},
    {NULL, NULL, NULL, 0, 0, NULL, NULL}};

const struct cli_command cli_commands[] = {
    {"status", "", "what this peer is, knows and warns of"},
    {"members", "[--why]", "the domain's hosts; who suspects whom"},
    {"reachability", "[PEER]", "which way other peers are reached"},
    {"guests", "", "this host's guests"},
    {"top", "", "hosts and guests as bars, live"},
    {"env", "list|create|...", "environments"},
    {"explain", "GUEST|HOST|ENV", "why it is as it is; --on HOST: why not there"},
    {"todo", "", "what would be done, as commands to copy"},
    {"history", "[NAME] [--since T]", "what was decided and done, over restarts"},
    {"plan", "--without HOST|...", "what if: which guests would move where"},
    {"events", "[--follow]", "what happened"},
    {"monitor", "[--kind K]", "what happens, live"},
    {"trace", "", "what the peer logged last, in detail"},
    {"migrate", "GUEST [HOST]", "move a guest live"},
    {"handover", "list|resolve", "handovers under way or undecided"},
    {"image", "add|list|fetch|...", "kernels and disks that guests need"},
    {"disk", "create|list|...", "writable disks that move with their guests"},
    {"drain", "[HOST] [--wait]", "empty a host, before maintenance; undrain ends it"},
    {"undrain", "[HOST]", "take guests again"},
    {"pause", "[--for TIME]", "do nothing by itself for a while; resume ends it"},
    {"resume", "", "end a pause"},
    {"mode", "[observe|auto]", "watch only, or act"},
    {"invite", "", "print a token for another host"},
    {"cert", "[renew]", "this host's certificate and capabilities"},
    {"revoke", "HOST|ID", "make a host's key worthless"},
    {"revocations", "", "the keys that were revoked"},
    {"delegate", "HOST CAP", "let a host admit, renew, revoke"},
    {"authority", "rollover|retire", "a new authority"},
    {"domains", "", "other domains, and who represents this one"},
    {"federate", "CARD", "trust another domain"},
    {"unfederate", "DOMAIN", "trust it no more"},
    {NULL, NULL, NULL}};

static const struct entry *find(const char *name)
{
    for (const struct entry *e = entries; e->name; e++)
        if (!strcmp(e->name, name))
            return e;
    return NULL;
}

bool cli_knows(const char *command)
{
    return find(command) != NULL;
}

int cli_run(const char *socket_path, int argc, char **argv)
{
    const struct entry *e = find(argv[0]);
    struct cli_client c;
    struct args a = {0};
    struct argp argp = {0};
    char name[64];
    int err;
    if (!e)
        return CLI_USAGE;
    a.least = e->least;
    a.most = e->most;
    argp.options = e->options;
    argp.parser = parse;
    argp.args_doc = e->args;
    argp.doc = e->doc;
    snprintf(name, sizeof name, "violin %s", argv[0]);
    argv[0] = name;
    argp_err_exit_status = CLI_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &a))
        return CLI_USAGE;
    err = cli_connect(&c, socket_path);
    if (err)
        return err;
    err = e->run(&c, &a);
    cli_disconnect(&c);
    return err;
}
