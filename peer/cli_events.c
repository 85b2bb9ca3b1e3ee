/* violin events, violin monitor: what happened, and what happens. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/cli.h"
#include "peer/cli_internal.h"

const struct argp_option cli_events_options[] = {
    JSON_OPTION,
    {"follow", OPT_FOLLOW, NULL, 0, "go on with what happens from now on", 0},
    {"after", OPT_AFTER, "SEQ", 0, "only events after this number", 0},
    {"limit", OPT_LIMIT, "N", 0, "at most N, the newest (default 50)", 0},
    {0}};
const struct argp_option cli_monitor_options[] = {
    {"json", OPT_JSON, NULL, 0, "print a line of JSON for each event", 0},
    {"kind", OPT_KIND, "KIND[,KIND]", 0, "only events of these kinds", 0},
    {"subject", OPT_SUBJECT, "NAME", 0, "only events about this host, guest or environment", 0},
    {0}};

/* ---- one event ---- */

/* " (name value, name value)": words first, then numbers; nothing if there are none. */
static void print_details(const msgpack_object *e)
{
    const msgpack_object *lists[] = {cli_get(e, "words"), cli_get(e, "numbers")};
    char name[40], text[512];
    unsigned n = 0;
    for (unsigned k = 0; k < 2; k++)
        for (uint32_t i = 0; lists[k] && lists[k]->type == MSGPACK_OBJECT_MAP && i < lists[k]->via.map.size; i++)
            printf("%s%s: %s", n++ ? ", " : "  (",
                   cli_format_value(&lists[k]->via.map.ptr[i].key, CLI_TEXT, name, sizeof name),
                   cli_format_value(&lists[k]->via.map.ptr[i].val, CLI_TEXT, text, sizeof text));
    printf("%s\n", n ? ")" : "");
}

/* Numbers alone, as decisions have many, and what the text says anyway are for `explain`, `history` and programs; a decision
 * that was only said has the command that would do it. */
static void print_event(const msgpack_object *e, bool json)
{
    char text[512], when[32], kind[32];
    if (json) {
        cli_json(e, true);
        return;
    }
    printf("%s  %-10s %s", cli_format_value(cli_get(e, "at"), CLI_TIME, when, sizeof when),
           cli_format_value(cli_get(e, "kind"), CLI_TEXT, kind, sizeof kind),
           cli_format_value(cli_get(e, "text"), CLI_TEXT, text, sizeof text));
    if (cli_get(e, "words.command"))
        printf("  [%s]\n", cli_format_value(cli_get(e, "words.command"), CLI_TEXT, text, sizeof text));
    else if (cli_get(e, "words") && !cli_get(e, "words.environment"))
        print_details(e);
    else
        printf("\n");
    fflush(stdout);
}

static uint64_t number_of(const msgpack_object *e)
{
    const msgpack_object *v = cli_get(e, "seq");
    return v && v->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? v->via.u64 : 0; /* 0: unnumbered */
}

/* ---- filters ---- */

static bool has_text(const msgpack_object *e, const char *key, const char *want, size_t n)
{
    const msgpack_object *v = cli_get(e, key);
    return v && v->type == MSGPACK_OBJECT_STR && v->via.str.size == n && !memcmp(v->via.str.ptr, want, n);
}

static bool is_wanted(const msgpack_object *e, const struct args *a)
{
    bool kind = !a->kind;
    for (const char *k = a->kind; k && !kind; k = *k ? k + 1 : NULL) {
        size_t n = strcspn(k, ",");
        kind = n && has_text(e, "kind", k, n);
        k += n;
    }
    return kind && (!a->subject || has_text(e, "subject", a->subject, strlen(a->subject)));
}

/* ---- Ctrl-C ---- */

static int stop_fd = -1;

static void on_stop(int number)
{
    static const uint64_t one = 1;
    int saved = errno;
    (void)number;
    if (write(stop_fd, &one, sizeof one) < 0) {
        /* it is readable already */
    }
    errno = saved;
}

/* From now on SIGINT and SIGTERM end the waiting, with what was printed so far whole. */
static void stop_on_signals(struct cli_client *c)
{
    struct sigaction s = {.sa_handler = on_stop}; /* without SA_RESTART: a blocked write ends, too */
    stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_fd < 0)
        return; /* they end us as they always did */
    sigaction(SIGINT, &s, NULL);
    sigaction(SIGTERM, &s, NULL);
    c->stop_fd = stop_fd;
}

/* Prints what is notified and wanted until Ctrl-C or the peer's end. */
static int follow(struct cli_client *c, const struct args *a, uint64_t last)
{
    msgpack_object r;
    for (;;) {
        int err = cli_notification(c, "event", &r);
        if (err)
            return err == CLI_STOPPED ? CLI_OK : err;
        if ((number_of(&r) == 0 || number_of(&r) > last) && is_wanted(&r, a))
            print_event(&r, a->json);
        if (ferror(stdout))
            return CLI_FAILED;
    }
}

/* ---- the commands ---- */

static int print_events(struct cli_client *c, const struct args *a, uint64_t after, uint64_t limit, uint64_t *last)
{
    struct cli_params p;
    msgpack_object r;
    int err;
    cli_params_init(&p);
    vi_write_map(&p.w, 2);
    vi_write_str(&p.w, "after");
    vi_write_uint(&p.w, after);
    vi_write_str(&p.w, "limit");
    vi_write_uint(&p.w, limit);
    err = cli_call(c, "events", &p, &r);
    if (err)
        return err;
    if (a->json && !a->follow) {
        cli_json(&r, true);
        return 0;
    }
    for (uint32_t i = 0; r.type == MSGPACK_OBJECT_ARRAY && i < r.via.array.size; i++) {
        *last = number_of(&r.via.array.ptr[i]);
        print_event(&r.via.array.ptr[i], a->json);
    }
    return 0;
}

int cli_do_events(struct cli_client *c, struct args *a)
{
    msgpack_object r;
    uint64_t after = 0, limit = 50, last = 0;
    int err;
    if (a->after && !cli_whole_number(a->after, UINT64_MAX, &after))
        return cli_usage("--after is an event's number", a->after);
    if (a->limit && (!cli_whole_number(a->limit, 10000, &limit) || limit == 0))
        return cli_usage("--limit is a number from 1 to 10000", a->limit);
    /* Follow first, so that nothing falls between the two answers: what is notified before the list
     * came is in the list. */
    if (a->follow && (err = cli_call(c, "events.follow", NULL, &r)))
        return err;
    err = print_events(c, a, after, limit, &last);
    if (err || !a->follow)
        return err;
    stop_on_signals(c);
    return follow(c, a, last);
}

/* The first of KIND[,KIND] that no event is of, with what follows it; else NULL. */
static const char *unknown_kind(const char *text)
{
    static const char *const kinds[] = {
        "member", "env", "guest", "balloon", "weight", "short", "moving", "envmove", "handover", "moved", "arrived", "refused", "failed", "image",
        "disk", "attach", "conflict", "drain", "keys", "admitted", "revoked", "federation", "address", "mode", "warning", "started"};
    while (*text) {
        size_t n = strcspn(text, ","), i = 0;
        while (i < sizeof kinds / sizeof *kinds && (strlen(kinds[i]) != n || memcmp(kinds[i], text, n) != 0))
            i++;
        if (n && i == sizeof kinds / sizeof *kinds)
            return text;
        text += n + (text[n] == ',');
    }
    return NULL;
}

int cli_do_monitor(struct cli_client *c, struct args *a)
{
    msgpack_object r;
    const char *what;
    int err;
    if (a->kind && (what = unknown_kind(a->kind)))
        return cli_usage("--kind is one or several, with commas between, of those that `violin monitor --help` names", what);
    if (a->kind && (!a->kind[0] || a->kind[0] == ',' || strstr(a->kind, ",,") || a->kind[strlen(a->kind) - 1] == ','))
        return cli_usage("--kind is a kind of event or several with commas between", a->kind);
    stop_on_signals(c);
    err = cli_call(c, "events.follow", NULL, &r);
    if (err)
        return err == CLI_STOPPED ? CLI_OK : err;
    return follow(c, a, 0);
}
