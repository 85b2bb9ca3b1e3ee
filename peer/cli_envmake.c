/* `violin env create NAME --guests …`, start, stop, remove, apply FILE, jobs: environments made from images. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "peer/cli.h"
#include "peer/cli_internal.h"
#include "peer/envfile.h"

#define GUESTS_MOST 64
#define PROGRESS_WIDTH 79 /* of a terminal's line, without its last column */

const struct argp_option cli_env_options[] = {
    JSON_OPTION,
    {"shares", OPT_SHARES, "N", 0, "create: its part of a CPU that is short (default 100)", 0},
    {"strict", OPT_STRICT, NULL, 0, "create: guests speak with their own MACs and IP addresses only", 0},
    {"priority", OPT_PRIORITY, "N", 0, "create: 0 to 100 (default 50); the lower one gives way when a host is short", 0},
    {"remove", OPT_REMOVE, "N", 0, "rule: takes the environment's rule N away", 0},
    {"guests", OPT_GUESTS, "N", 0, "create: with so many guests, made from images", 1},
    {"head", OPT_HEAD, "HOST", OPTION_ARG_OPTIONAL, "create: and one with a leg outside, at HOST, where it stays; its host needs the key outside-bridge", 1},
    {"kernel", OPT_KERNEL, "IMAGE", 0, "create: what they boot: an image's name, or a file's in image-dirs, or its hash", 1},
    {"ramdisk", OPT_RAMDISK, "IMAGE", 0, "create: the same", 1},
    {"image", OPT_IMAGE, "IMAGE", 0, "create: a read-only disk: xvda; the next of these three xvdb, …, at most 4", 1},
    {"copy", OPT_COPY, "IMAGE[:SIZE]", 0, "create: a writable copy of an image for each guest, moving with it; like root.img:4G", 1},
    {"disk", OPT_DISK, "SIZE", 0, "create: an empty writable disk for each guest, moving with it; like 10G", 1},
    {"memory", OPT_MEMORY, "MIB", 0, "create: of each guest: 512, 512M, 2G (default 256)", 1},
    {"max-memory", OPT_MAX_MEMORY, "MIB", 0, "create: what it can grow to (default: twice its memory)", 1},
    {"vcpus", OPT_VCPUS, "N", 0, "create: of each guest (default 1)", 1},
    {"weight", OPT_WEIGHT, "N", 0, "create: of each guest (default 256)", 1},
    {"append", OPT_APPEND, "TEXT", 0, "create: kernel command line; %n number, %N name, %a address, %p prefix", 1},
    {"network", OPT_NETWORK, "NET", 0, "create: like 10.9.0.0/24: guest n gets the address 10 + n, the head 1", 1},
    {"on-poweroff", OPT_ON_POWEROFF, "WHAT", 0, "create: destroy, restart or preserve (default destroy)", 1},
    {"on-reboot", OPT_ON_REBOOT, "WHAT", 0, "create: the same (default restart)", 1},
    {"on-crash", OPT_ON_CRASH, "WHAT", 0, "create: the same (default destroy)", 1},
    {"spread", OPT_SPREAD, NULL, 0, "create: no two of them on one host, now and later (a rule); at most 16 guests", 1},
    {"force", OPT_FORCE, NULL, 0, "stop: destroy who doesn't power off in 60 s; remove, apply: guests that run, too", 2},
    {"check", OPT_CHECK, NULL, 0, "apply: only say what would be done", 2},
    {0}};

static void add_disk(struct args *a, const char *key, const char *text)
{
    if (a->n_disks == CLI_DISKS_MAX) {
        fprintf(stderr, "violin: at most %d of --image, --copy and --disk\n", CLI_DISKS_MAX);
        exit(CLI_USAGE);
    }
    a->disk[a->n_disks].key = key;
    a->disk[a->n_disks++].text = text;
}

bool cli_env_option(int key, char *arg, struct args *a)
{
    const char **to[] = {[OPT_KERNEL - OPT_HEAD] = &a->kernel, [OPT_RAMDISK - OPT_HEAD] = &a->ramdisk,
                         [OPT_MAX_MEMORY - OPT_HEAD] = &a->max_memory, [OPT_VCPUS - OPT_HEAD] = &a->vcpus,
                         [OPT_WEIGHT - OPT_HEAD] = &a->weight, [OPT_APPEND - OPT_HEAD] = &a->append,
                         [OPT_NETWORK - OPT_HEAD] = &a->network, [OPT_ON_POWEROFF - OPT_HEAD] = &a->on_poweroff,
                         [OPT_ON_REBOOT - OPT_HEAD] = &a->on_reboot, [OPT_ON_CRASH - OPT_HEAD] = &a->on_crash,
                         [OPT_CHECK - OPT_HEAD] = NULL};
    if (key < OPT_HEAD || key > OPT_CHECK)
        return false;
    if (key == OPT_HEAD) {
        a->head = true;
        a->head_host = arg;
    } else if (key == OPT_CHECK) {
        a->check = true;
    } else if (key == OPT_SPREAD) {
        a->spread = true;
    } else if (key == OPT_IMAGE) {
        add_disk(a, "image", arg);
    } else if (key == OPT_COPY) {
        add_disk(a, "copy", arg);
    } else if (key == OPT_DISK) {
        add_disk(a, "disk", arg);
    } else {
        *to[key - OPT_HEAD] = arg;
    }
    return true;
}

/* ---- a job, followed until it is over ---- */

static void say_progress(const msgpack_object *job, char *last, size_t cap)
{
    const msgpack_object *guests = cli_get(job, "guests");
    char phase[32] = "", line[160], one[80];
    unsigned left_out = 0;
    size_t at;
    (void)cli_get_text(job, "phase", phase, sizeof phase);
    at = (size_t)snprintf(line, sizeof line, "%s: %.0f of %.0f guests", phase, cli_get_number(job, "done", 0),
                          cli_get_number(job, "total", 0));
    for (uint32_t i = 0; guests && guests->type == MSGPACK_OBJECT_ARRAY && i < guests->via.array.size; i++) {
        const msgpack_object *g = &guests->via.array.ptr[i], *done = cli_get(g, "done");
        char name[64] = "", host[64] = "-", state[32] = "", far[8] = "";
        (void)cli_get_text(g, "name", name, sizeof name);
        (void)cli_get_text(g, "host", host, sizeof host);
        (void)cli_get_text(g, "state", state, sizeof state);
        if (!done || done->type != MSGPACK_OBJECT_BOOLEAN || done->via.boolean)
            continue;
        if (!strcmp(state, "copying disks")) /* its word is how far that is */
            (void)cli_get_text(g, "why", far, sizeof far);
        snprintf(one, sizeof one, "%s%.20s %.16s%s%s on %.16s", strchr(line, ';') ? ", " : "; ", name, state, far[0] ? " " : "",
                 far, host);
        if (left_out || at + strlen(one) > PROGRESS_WIDTH - strlen(", and 64 more"))
            left_out++;
        else
            at += (size_t)snprintf(line + at, sizeof line - at, "%s", one);
    }
    (void)cli_get_text(job, "why", one, sizeof one);
    if (!strchr(line, ';') && !left_out && one[0] && strcmp(one, "-") != 0) /* what the last of it waits for */
        snprintf(line + at, PROGRESS_WIDTH + 1 - at, "; %s", one);
    if (left_out)
        snprintf(line + at, sizeof line - at, "%s%u more", strchr(line, ';') ? ", and " : "; ", left_out);
    if (strcmp(line, last) == 0)
        return;
    if (isatty(2))
        fprintf(stderr, "\r%-*.*s", PROGRESS_WIDTH, PROGRESS_WIDTH, line);
    else
        fprintf(stderr, "%s\n", line);
    snprintf(last, cap, "%s", line);
}

static bool is_true(const msgpack_object *o, const char *key)
{
    const msgpack_object *v = cli_get(o, key);
    return v && v->type == MSGPACK_OBJECT_BOOLEAN && v->via.boolean;
}

static const struct cli_field guest_fields[] = {
    {"name", "GUEST", CLI_TEXT}, {"host", "HOST", CLI_TEXT}, {"state", "STATE", CLI_TEXT}, {"why", "WHY", CLI_TEXT},
    {NULL, NULL, CLI_TEXT}};

/* *job is borrowed until the next call. 0, or an exit status with the reason said. */
static int follow(struct cli_client *c, const struct args *a, const char *id, msgpack_object *job)
{
    struct cli_params p;
    char last[160] = "", why[256] = "";
    for (;;) {
        struct timespec t = {.tv_nsec = 250 * 1000 * 1000};
        int err;
        cli_one_param(&p, "id", id);
        err = cli_call(c, "env.job", &p, job);
        if (err)
            return err;
        if (!a->json)
            say_progress(job, last, sizeof last);
        if (is_true(job, "over"))
            break;
        nanosleep(&t, NULL);
    }
    if (isatty(2) && !a->json)
        fprintf(stderr, "\n");
    if (!is_true(job, "failed"))
        return CLI_OK;
    (void)cli_get_text(job, "why", why, sizeof why);
    fprintf(stderr, "violin: %s\n", why);
    return CLI_FAILED;
}

static int run_job(struct cli_client *c, const struct args *a, const char *method, const struct cli_params *p,
                   msgpack_object *job)
{
    char id[64] = "";
    msgpack_object r;
    int err = cli_call(c, method, p, &r);
    if (err)
        return err;
    if (!cli_get_text(&r, "job", id, sizeof id)) { /* an environment without guests: there was nothing to wait for */
        *job = r;
        return CLI_OK;
    }
    return follow(c, a, id, job);
}

/* Nobody else's hosts are asked to start or stop anything: that is said, and what to do. */
static int left_elsewhere(const msgpack_object *job)
{
    char name[64] = "", where[160] = "";
    (void)cli_get_text(job, "environment", name, sizeof name);
    (void)cli_get_text(job, "where", where, sizeof where);
    fprintf(stderr, "violin: %.0f guest(s) of %s are in another domain (%s), and left as they are: bring them home first (on a host there: "
            "violin env move %s, and this domain's name)\n", cli_get_number(job, "elsewhere", 0), name, where, name);
    return CLI_FAILED;
}

static int run_and_show(struct cli_client *c, const struct args *a, const char *method, const struct cli_params *p,
                        const char *done)
{
    msgpack_object job = {.type = MSGPACK_OBJECT_NIL};
    const msgpack_object *guests;
    int err = run_job(c, a, method, p, &job);
    if (a->json && (err == CLI_OK || err == CLI_FAILED))
        cli_json(&job, true);
    guests = err ? NULL : cli_get(&job, "guests");
    if (!err && !a->json && guests && guests->type == MSGPACK_OBJECT_ARRAY && guests->via.array.size)
        cli_table(guests, guest_fields, "");
    if ((!err || err == CLI_FAILED) && cli_get_number(&job, "elsewhere", 0) > 0)
        return left_elsewhere(&job);
    if (!err && !a->json && done)
        printf("%s\n", done);
    return err;
}

/* ---- what is asked for, from options ---- */

static int from_options(struct envfile *f, const struct args *a)
{
    const struct {
        const char *key, *value;
    } given[] = {{"guests", a->guests}, {"memory", a->memory}, {"max-memory", a->max_memory}, {"vcpus", a->vcpus},
                 {"weight", a->weight}, {"kernel", a->kernel}, {"ramdisk", a->ramdisk}, {"command-line", a->append},
                 {"network", a->network}, {"on-poweroff", a->on_poweroff}, {"on-reboot", a->on_reboot},
                 {"on-crash", a->on_crash}, {"shares", a->shares}, {"priority", a->priority}, {"name", a->arg[1]}};
    char why[200];
    envfile_defaults(f);
    for (unsigned i = 0; i < sizeof given / sizeof *given; i++)
        if (given[i].value && envfile_set(f, given[i].key, given[i].value, why, sizeof why))
            return cli_usage(why, NULL);
    for (unsigned i = 0; i < a->n_disks; i++)
        if (envfile_set(f, a->disk[i].key, a->disk[i].text, why, sizeof why))
            return cli_usage(why, NULL);
    f->strict = a->strict;
    f->spread = a->spread;
    if (a->head && envfile_set(f, "head", a->head_host ? a->head_host : "yes", why, sizeof why))
        return cli_usage(why, NULL);
    return envfile_check(f, why, sizeof why) ? cli_usage(why, NULL) : CLI_OK;
}

static void put(struct cli_params *p, const char *key, const char *text)
{
    vi_write_str(&p->w, key);
    vi_write_str(&p->w, text);
}

static void put_n(struct cli_params *p, const char *key, uint64_t n)
{
    vi_write_str(&p->w, key);
    vi_write_uint(&p->w, n);
}

/* "image=a,copy=b:4096,disk=512"; where all are images only their names: "a,b". Are there others? */
static bool write_disks(const struct envfile *f, char *out, size_t cap)
{
    static const char *const words[] = {[ENVFILE_IMAGE] = "image=", [ENVFILE_COPY] = "copy=", [ENVFILE_EMPTY] = "disk="};
    bool writable = false;
    size_t at = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < f->n_disks; i++)
        writable |= f->disk[i].kind != ENVFILE_IMAGE;
    for (unsigned i = 0; i < f->n_disks; i++) {
        const struct envfile_disk *d = &f->disk[i];
        at += (size_t)snprintf(out + at, cap - at, "%s%s%s", i ? "," : "", writable ? words[d->kind] : "", d->image);
        if (d->mib)
            at += (size_t)snprintf(out + at, cap - at, "%s%llu", d->kind == ENVFILE_COPY ? ":" : "", (unsigned long long)d->mib);
    }
    return writable;
}

/* add: to an environment that is there. */
static void write_params(struct cli_params *p, const struct envfile *f, bool add, bool head, unsigned first,
                         unsigned guests, bool check)
{
    char disks[ENVFILE_DISKS * (ENVFILE_TEXT + 24)];
    bool writable = write_disks(f, disks, sizeof disks);
    cli_params_init(p);
    vi_write_map(&p->w, 20U + (f->priority != ENVFILE_UNSAID) + f->spread + check);
    if (f->priority != ENVFILE_UNSAID)
        put_n(p, "priority", f->priority);
    if (f->spread)
        put_n(p, "spread", 1);
    if (check)
        put_n(p, "check", 1);
    put(p, "name", f->name);
    put_n(p, "guests", guests);
    put_n(p, "first", first);
    put_n(p, "head", head);
    put(p, "head_host", f->head_host);
    put_n(p, "add", add);
    put_n(p, "shares", f->shares);
    put_n(p, "strict", f->strict);
    put_n(p, "memory_mib", f->memory);
    put_n(p, "max_mib", f->max_memory);
    put_n(p, "vcpus", f->vcpus);
    put_n(p, "weight", f->weight);
    put(p, "kernel", f->kernel);
    put(p, "ramdisk", f->ramdisk);
    put(p, writable ? "disks" : "images", disks);
    put(p, "cmdline", f->cmdline);
    put(p, "network", f->network);
    put(p, "on_poweroff", f->on_poweroff);
    put(p, "on_reboot", f->on_reboot);
    put(p, "on_crash", f->on_crash);
}

static int create(struct cli_client *c, const struct args *a)
{
    struct envfile f;
    struct cli_params p;
    int err;
    if (a->n != 2)
        return cli_usage("env create wants a NAME", NULL);
    err = from_options(&f, a);
    if (err)
        return err;
    write_params(&p, &f, false, f.head, 1, (unsigned)f.guests, false);
    return run_and_show(c, a, "env.make", &p, NULL);
}

/* ---- apply ---- */

/* What there is, against what the file says. */
struct plan {
    bool create, head, more_head;
    bool there[GUESTS_MOST + 1]; /* by number */
    unsigned differ, missing, extra; /* extra: above the wanted ones */
    char differing[160], running[160]; /* running: of the extra ones; they go with --force only */
    bool shares, strict, priority; /* of the environment: another than the file says */
    double has_shares, has_priority;
};

static bool runs(const msgpack_object *guest)
{
    char state[32] = "";
    (void)cli_get_text(guest, "state", state, sizeof state);
    return strcmp(state, "stopped") && strcmp(state, "made") && strcmp(state, "being made");
}

static void add_name(char *list, size_t cap, const char *name)
{
    size_t at = strlen(list);
    snprintf(list + at, cap - at, "%s%.40s", at ? ", " : "", name);
}

static void look_at_guest(struct plan *n, const msgpack_object *g, unsigned number, const struct envfile *f)
{
    char name[64] = "";
    (void)cli_get_text(g, "name", name, sizeof name);
    n->there[number] = true;
    n->extra += number > f->guests;
    if (is_true(g, "differs") && number <= f->guests) {
        n->differ++;
        add_name(n->differing, sizeof n->differing, name);
    }
    if (number > f->guests && runs(g))
        add_name(n->running, sizeof n->running, name);
}

static void look_at(struct plan *n, const msgpack_object *job, const struct envfile *f)
{
    const msgpack_object *guests = cli_get(job, "guests");
    uint32_t all = guests && guests->type == MSGPACK_OBJECT_ARRAY ? guests->via.array.size : 0;
    bool head = false;
    for (uint32_t i = 0; i < all; i++)
        head |= is_true(&guests->via.array.ptr[i], "head");
    for (unsigned number = 0; number <= GUESTS_MOST; number++) /* they come in any order */
        for (uint32_t i = 0; i < all; i++)
            if ((unsigned)cli_get_number(&guests->via.array.ptr[i], "number", 0) == number)
                look_at_guest(n, &guests->via.array.ptr[i], number, f);
    n->head = f->head && !head;
    n->more_head = head && !f->head;
    for (unsigned i = 1; i <= f->guests; i++)
        n->missing += !n->there[i];
}

/* The environment's own figures against the file's. */
static int look_at_env(struct cli_client *c, struct plan *n, const struct envfile *f)
{
    struct cli_params p;
    msgpack_object r;
    int err;
    cli_one_param(&p, "name", f->name);
    err = cli_call(c, "env.show", &p, &r);
    if (err)
        return err;
    n->has_shares = cli_get_number(&r, "shares", 0);
    n->has_priority = cli_get_number(&r, "priority", 0);
    n->shares = n->has_shares != (double)f->shares;
    n->strict = is_true(&r, "strict") != f->strict;
    n->priority = f->priority != ENVFILE_UNSAID && n->has_priority != (double)f->priority;
    return 0;
}

static bool exists(struct cli_client *c, const char *name, int *err)
{
    msgpack_object r;
    *err = cli_call(c, "env.list", NULL, &r);
    for (uint32_t i = 0; !*err && r.type == MSGPACK_OBJECT_ARRAY && i < r.via.array.size; i++) {
        char have[64] = "";
        (void)cli_get_text(&r.via.array.ptr[i], "name", have, sizeof have);
        if (!strcmp(have, name))
            return true;
    }
    return false;
}

static bool changes(const struct plan *n)
{
    return n->create || n->head || n->missing || n->extra || n->differ || n->more_head || n->shares || n->strict || n->priority;
}

static void say_plan(const struct plan *n, const struct envfile *f, bool json, bool did)
{
    const char *would = did ? "" : "would be ";
    if (json) {
        printf("{\"environment\": \"%s\", \"create\": %s, \"head\": %s, \"make\": %u, \"remove\": %u, \"differ\": %u, "
               "\"shares_differ\": %s, \"strict_differs\": %s, \"priority_differs\": %s, \"as_it_says\": %s, \"done\": %s}\n",
               f->name, n->create ? "true" : "false", n->head ? "true" : "false", n->missing, n->extra, n->differ,
               n->shares ? "true" : "false", n->strict ? "true" : "false", n->priority ? "true" : "false", changes(n) ? "false" : "true", did ? "true" : "false");
        return;
    }
    if (n->create)
        printf("%s: the environment %smade\n", f->name, would);
    if (n->head)
        printf("%s: its head %smade\n", f->name, would);
    if (n->missing)
        printf("%s: %u guest(s) %smade\n", f->name, n->missing, would);
    if (n->extra)
        printf("%s: %u guest(s) %sremoved\n", f->name, n->extra, would);
    if (n->running[0] && !did)
        printf("%s: they run, and go with --force only: %s\n", f->name, n->running);
    if (n->more_head)
        printf("%s: it has a head, which the file doesn't say; that stays\n", f->name);
    if (n->shares)
        printf("%s: it has %.0f shares, the file says %llu; that stays: they are what it was made with\n", f->name, n->has_shares,
               (unsigned long long)f->shares);
    if (n->strict)
        printf("%s: it is %sstrict, the file says it is%s; that stays: it was made so\n", f->name, f->strict ? "not " : "", f->strict ? "" : " not");
    if (n->priority)
        printf("%s: its priority %s %llu, it was %.0f\n", f->name, did ? "is" : "would be", (unsigned long long)f->priority, n->has_priority);
    if (n->differ)
        printf("%s: made of something else than the file says, and left so: %s\n", f->name, n->differing);
    if (!changes(n))
        printf("%s: all is as the file says\n", f->name);
}

/* Makes what is missing, a run of numbers after the other. */
static int fill_up(struct cli_client *c, const struct args *a, const struct envfile *f, const struct plan *n)
{
    struct cli_params p;
    msgpack_object job;
    bool head = n->head;
    int err = 0;
    for (unsigned i = 1; !err && (i <= f->guests || head); i++) {
        unsigned first = i, run = 0;
        while (i <= f->guests && !n->there[i]) {
            run++;
            i++;
        }
        if (!run && !head)
            continue;
        write_params(&p, f, !n->create, head, first, run, false);
        err = run_job(c, a, "env.make", &p, &job);
        head = false;
    }
    return err;
}

static int remove_extra(struct cli_client *c, const struct args *a, const struct envfile *f)
{
    struct cli_params p;
    msgpack_object job;
    cli_params_init(&p);
    vi_write_map(&p.w, 3);
    put(&p, "name", f->name);
    put_n(&p, "from", f->guests + 1);
    put_n(&p, "force", a->force);
    return run_job(c, a, "env.shrink", &p, &job);
}

static int set_priority(struct cli_client *c, const struct envfile *f)
{
    struct cli_params p;
    msgpack_object r;
    cli_params_init(&p);
    vi_write_map(&p.w, 2);
    put(&p, "name", f->name);
    put_n(&p, "priority", f->priority);
    return cli_call(c, "env.priority", &p, &r);
}

/* Are its images known, and could a head be made? */
static int ask_check(struct cli_client *c, const struct envfile *f, const struct plan *n)
{
    struct cli_params p;
    msgpack_object r;
    write_params(&p, f, !n->create, n->head, 1, n->missing, true);
    return cli_call(c, "env.make", &p, &r);
}

static int apply_file(struct cli_client *c, const struct args *a, const struct envfile *f)
{
    struct cli_params p;
    struct plan n = {.create = false};
    msgpack_object job;
    int err;
    n.create = !exists(c, f->name, &err);
    if (err)
        return err;
    n.head = n.create && f->head;
    n.missing = n.create ? (unsigned)f->guests : 0;
    if (!n.create) {
        write_params(&p, f, true, false, 1, 0, false);
        err = run_job(c, a, "env.look", &p, &job);
        if (err)
            return err;
        look_at(&n, &job, f);
        err = look_at_env(c, &n, f);
        if (err)
            return err;
    }
    if (a->check) {
        err = n.head || n.missing ? ask_check(c, f, &n) : 0;
        if (!err)
            say_plan(&n, f, a->json, false);
        return err;
    }
    if (n.extra)
        err = remove_extra(c, a, f);
    if (!err)
        err = fill_up(c, a, f, &n);
    if (!err && n.priority)
        err = set_priority(c, f);
    if (!err)
        say_plan(&n, f, a->json, true);
    return err ? err : n.differ || n.shares || n.strict ? CLI_FAILED : CLI_OK;
}

static int apply(struct cli_client *c, const struct args *a)
{
    static char text[ENVFILE_MAX + 1];
    struct envfile f;
    char why[400];
    size_t len;
    FILE *in;
    int err;
    if (a->n != 2)
        return cli_usage("env apply wants a FILE, or - for the standard input", NULL);
    in = strcmp(a->arg[1], "-") ? fopen(a->arg[1], "re") : stdin;
    if (!in) {
        fprintf(stderr, "violin: %s: %s\n", a->arg[1], strerror(errno));
        return CLI_USAGE;
    }
    len = fread(text, 1, sizeof text, in);
    err = ferror(in) ? errno : 0;
    if (in != stdin)
        fclose(in);
    if (err) {
        fprintf(stderr, "violin: %s: %s\n", a->arg[1], err == EISDIR ? "that is a folder; env apply wants a file" : strerror(err));
        return CLI_USAGE;
    }
    if (envfile_parse(&f, text, len, a->arg[1], why, sizeof why)) {
        fprintf(stderr, "violin: %s\n", why);
        return CLI_USAGE;
    }
    return apply_file(c, a, &f);
}

/* ---- the rest ---- */

static int by_name(struct cli_client *c, const struct args *a, const char *method, const char *done)
{
    struct cli_params p;
    char text[160];
    if (a->n != 2) {
        fprintf(stderr, "violin: env %s wants a NAME\n", a->arg[0]);
        return CLI_USAGE;
    }
    cli_params_init(&p);
    vi_write_map(&p.w, a->force ? 2 : 1);
    put(&p, "name", a->arg[1]);
    if (a->force)
        put_n(&p, "force", 1);
    snprintf(text, sizeof text, "%.100s is %s", a->arg[1], done);
    return run_and_show(c, a, method, &p, text);
}

static const struct cli_field job_fields[] = {
    {"id", "ID", CLI_SHORT_ID}, {"environment", "ENVIRONMENT", CLI_TEXT}, {"kind", "WHAT", CLI_TEXT},
    {"phase", "PHASE", CLI_TEXT}, {"done", "DONE", CLI_COUNT}, {"total", "OF", CLI_COUNT}, {"why", "WHY", CLI_TEXT},
    {NULL, NULL, CLI_TEXT}};

bool cli_env_made(const struct args *a)
{
    const char *verb = a->arg[0];
    return !strcmp(verb, "start") || !strcmp(verb, "stop") || !strcmp(verb, "remove") || !strcmp(verb, "apply") ||
           !strcmp(verb, "jobs") ||
           (!strcmp(verb, "create") &&
            (a->guests || a->head || a->kernel || a->ramdisk || a->n_disks || a->memory || a->max_memory || a->vcpus ||
             a->weight || a->append || a->network || a->on_poweroff || a->on_reboot || a->on_crash || a->spread));
}

int cli_env_make(struct cli_client *c, struct args *a)
{
    const char *verb = a->arg[0];
    if (!strcmp(verb, "create"))
        return create(c, a);
    if (!strcmp(verb, "apply"))
        return apply(c, a);
    if (!strcmp(verb, "jobs"))
        return cli_ask(c, a, "env.jobs", NULL, job_fields, "nothing is, or was lately, made, started, stopped or removed from here");
    if (!strcmp(verb, "start"))
        return by_name(c, a, "env.start", "started");
    if (!strcmp(verb, "stop"))
        return by_name(c, a, "env.stop", "stopped");
    return by_name(c, a, "env.remove", "removed");
}
