/* `violin history`: what was decided and done on this host, over restarts. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "peer/cli_internal.h"

const struct argp_option cli_history_options[] = {
    {"since", OPT_SINCE, "TIME", 0, "only of the last TIME: 90m, 24h, 7d (default: all that is kept)", 0},
    {"kind", OPT_KIND, "KIND[,KIND]", 0, "only records of these kinds; `move`: all about moves", 0},
    {"limit", OPT_LIMIT, "N", 0, "at most N, the newest (default 100, at most 1000); the summary counts all", 0},
    JSON_OPTION,
    {0}};

static bool is_number(const msgpack_object *r, const char *key, double *out)
{
    *out = cli_get_number(r, key, -1);
    return *out >= 0;
}

static void add(char *line, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void add(char *line, size_t cap, const char *fmt, ...)
{
    size_t at = strlen(line);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + at, cap - at, fmt, ap);
    va_end(ap);
}

/* "256 MiB, 12 MiB sent in 1.3 s, pause 0.21 s", the disks' in between: what is known of it. */
static void add_figures(char *line, size_t cap, const msgpack_object *r)
{
    const char *sep = "  ";
    char text[32];
    double v;
    if (is_number(r, "numbers.memory_mib", &v)) {
        add(line, cap, "%s%.0f MiB", sep, v);
        sep = ", ";
    }
    if (is_number(r, "numbers.bytes", &v) && v > 0) {
        add(line, cap, "%s%s sent", sep, cli_format_value(cli_get(r, "numbers.bytes"), CLI_BYTES, text, sizeof text));
        sep = ", ";
    }
    if (is_number(r, "numbers.disk_mib", &v)) {
        add(line, cap, "%s%.0f MiB of disks", sep, v);
        sep = ", ";
        if (is_number(r, "numbers.disk_bytes", &v) && v > 0)
            add(line, cap, ", %s sent", cli_format_value(cli_get(r, "numbers.disk_bytes"), CLI_BYTES, text, sizeof text));
    }
    if (is_number(r, "numbers.duration_s", &v)) {
        add(line, cap, "%sin %.1f s", !strcmp(sep, ", ") ? " " : sep, v);
        sep = ", ";
    }
    if (is_number(r, "numbers.pause_s", &v))
        add(line, cap, "%spause %.2f s", sep, v);
}

/* What doesn't fit on its line comes on the next. */
static void print_line(char *line, char *more)
{
    if (more[0] && cli_width(line) + cli_width(more) + 2 > CLI_LINE) {
        cli_cut(line, CLI_LINE);
        cli_cut(more, CLI_LINE - 19);
        printf("%s\n%*s%s\n", line, 19, "", more);
    } else {
        cli_cut(line, CLI_LINE);
        printf("%s%s%s\n", line, more[0] ? "  " : "", more);
    }
}

static void print_record(const msgpack_object *r)
{
    char line[1024] = "", more[512] = "", when[32], kind[32], text[512], from[80], to[80];
    bool ways = cli_get(r, "words.from") && cli_get(r, "words.to");
    cli_format_value(cli_get(r, "at"), CLI_TIME, when, sizeof when);
    cli_format_value(cli_get(r, "kind"), CLI_TEXT, kind, sizeof kind);
    add(line, sizeof line, "%s  %-8s ", when, kind);
    cli_get_text(r, "text", text, sizeof text);
    if (ways && strcmp(kind, "failed") != 0) {
        cli_get_text(r, "subject", text, sizeof text);
        cli_get_text(r, "words.from", from, sizeof from);
        cli_get_text(r, "words.to", to, sizeof to);
        add(line, sizeof line, "%s  %s → %s", text, from, to);
        add_figures(line, sizeof line, r);
    } else
        add(line, sizeof line, "%s", text);
    if (ways && cli_get(r, "words.why"))
        add(more, sizeof more, "(%s)", cli_format_value(cli_get(r, "words.why"), CLI_TEXT, text, sizeof text));
    print_line(line, more);
}

static void print_summary(const msgpack_object *r)
{
    const msgpack_object *s = cli_get(r, "summary");
    char host[80], bytes[32], since[32], line[512] = "", more[160] = "";
    bool sent = cli_get_number(s, "bytes", 0) > 0;
    double pause;
    cli_get_text(r, "host", host, sizeof host);
    add(line, sizeof line, "%s: %.0f moved away", host, cli_get_number(s, "moved", 0));
    if (sent)
        add(line, sizeof line, " (%s sent", cli_format_value(cli_get(s, "bytes"), CLI_BYTES, bytes, sizeof bytes));
    if (is_number(s, "mean_pause_s", &pause))
        add(line, sizeof line, "%s mean pause %.2f s", sent ? "," : " (", pause);
    add(line, sizeof line, "%s, %.0f came, %.0f failed", sent || pause >= 0 ? ")" : "", cli_get_number(s, "arrived", 0),
        cli_get_number(s, "failed", 0));
    if (cli_get_number(s, "environments", 0) > 0)
        add(line, sizeof line, ", %.0f environments led to other domains", cli_get_number(s, "environments", 0));
    add(more, sizeof more, "%.0f records", cli_get_number(s, "records", 0));
    if (cli_get(r, "kept.since"))
        add(more, sizeof more, " of %.0f since %s", cli_get_number(r, "kept.records", 0),
            cli_format_value(cli_get(r, "kept.since"), CLI_TIME, since, sizeof since));
    printf("\n%s;%s%s\n", line, cli_width(line) + cli_width(more) + 2 > CLI_LINE ? "\n  " : " ", more);
}

int cli_do_history(struct cli_client *c, struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    const msgpack_object *list;
    uint64_t since = 0, limit = 100;
    int err;
    if (a->since && !cli_duration(a->since, 366, &since))
        return cli_usage("--since is a time such as 90m, 24h or 7d, at most 366d", a->since);
    if (a->limit && (!cli_whole_number(a->limit, 1000, &limit) || limit == 0))
        return cli_usage("--limit is a number from 1 to 1000", a->limit);
    cli_params_init(&p);
    vi_write_map(&p.w, 2U + (a->n > 0) + (a->kind != NULL));
    vi_write_str(&p.w, "since_s");
    vi_write_uint(&p.w, since);
    vi_write_str(&p.w, "limit");
    vi_write_uint(&p.w, limit);
    if (a->n > 0) {
        vi_write_str(&p.w, "subject");
        vi_write_str(&p.w, a->arg[0]);
    }
    if (a->kind) {
        vi_write_str(&p.w, "kind");
        vi_write_str(&p.w, a->kind);
    }
    err = cli_call(c, "history", &p, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return 0;
    }
    list = cli_get(&r, "records");
    if (!list || list->type != MSGPACK_OBJECT_ARRAY || !list->via.array.size)
        printf("nothing of that is in this host's history\n");
    for (uint32_t i = 0; list && list->type == MSGPACK_OBJECT_ARRAY && i < list->via.array.size; i++)
        print_record(&list->via.array.ptr[i]);
    print_summary(&r);
    return 0;
}
