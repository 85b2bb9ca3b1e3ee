/* `violin top`. See cli_top.h. */
#include "peer/cli_top.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "peer/cli_show.h"

#define BAR 20

static void text_of(const msgpack_object *row, const char *key, enum cli_format f, char *out, size_t cap)
{
    cli_format_value(cli_get(row, key), f, out, cap);
}

/* "[#######...........]": part of whole; what is between part and mark as '-'. Unknown numbers leave it empty. */
static void bar(double part, double mark, double whole, char out[BAR + 3])
{
    int n = whole > 0 && part > 0 ? (int)lround(fmin(part / whole, 1) * BAR) : 0;
    int m = whole > 0 && mark > 0 ? (int)lround(fmin(mark / whole, 1) * BAR) : 0;
    out[0] = '[';
    for (int i = 0; i < BAR; i++)
        out[1 + i] = i < n ? '#' : i < m ? '-' : '.';
    out[BAR + 1] = ']';
    out[BAR + 2] = 0;
}

static void head(const msgpack_object *s)
{
    char host[64], domain[64], mode[16], when[32];
    time_t now = time(NULL);
    struct tm tm;
    text_of(s, "host", CLI_TEXT, host, sizeof host);
    text_of(s, "domain", CLI_TEXT, domain, sizeof domain);
    text_of(s, "mode", CLI_TEXT, mode, sizeof mode);
    if (!localtime_r(&now, &tm) || !strftime(when, sizeof when, "%H:%M:%S", &tm))
        when[0] = 0;
    printf("%s of %s, mode %s, %.0f of %.0f members alive, %.0f handover(s) under way  %s\n", host, domain, mode,
           cli_get_number(s, "members.alive", 0),
           cli_get_number(s, "members.alive", 0) + cli_get_number(s, "members.suspect", 0) +
               cli_get_number(s, "members.dead", 0),
           cli_get_number(s, "handovers.active", 0), when);
}

static void warnings(const msgpack_object *s)
{
    const msgpack_object *w = cli_get(s, "warnings");
    char text[512];
    if (cli_get_number(s, "suggestions", 0) > 0)
        printf("%.0f thing(s) it would do: violin todo\n", cli_get_number(s, "suggestions", 0));
    for (uint32_t i = 0; w && w->type == MSGPACK_OBJECT_ARRAY && i < w->via.array.size; i++)
        printf("warning: %s\n", cli_format_value(&w->via.array.ptr[i], CLI_TEXT, text, sizeof text));
}

static void members(const msgpack_object *rows)
{
    printf("\n%-16s %-8s %-22s %12s  %-22s %12s  %6s\n", "HOST", "STATE", "CPU WANTED", "", "MEMORY TAKEN", "", "GUESTS");
    for (uint32_t i = 0; rows->type == MSGPACK_OBJECT_ARRAY && i < rows->via.array.size; i++) {
        const msgpack_object *r = &rows->via.array.ptr[i];
        double cap = cli_get_number(r, "cpu_capacity_pct", 0), want = cli_get_number(r, "cpu_demand_pct", 0);
        double all = cli_get_number(r, "memory_total_mib", 0), free_mib = cli_get_number(r, "memory_free_mib", 0);
        char name[17], state[9], cpu[BAR + 3], memory[BAR + 3], guests[16], n1[24] = "-", n2[24] = "-";
        text_of(r, "name", CLI_TEXT, name, sizeof name);
        text_of(r, "state", CLI_TEXT, state, sizeof state);
        text_of(r, "guests", CLI_COUNT, guests, sizeof guests);
        bar(want, 0, cap, cpu);
        bar(all - free_mib, 0, all, memory);
        if (cap > 0)
            snprintf(n1, sizeof n1, "%.0f/%.0f %%", want, cap);
        if (all > 0)
            snprintf(n2, sizeof n2, "%.0f/%.0f M", all - free_mib, all);
        printf("%-16s %-8s %s %12s  %s %12s  %6s\n", name, state, cpu, n1, memory, n2, guests);
    }
}

static void guests(const msgpack_object *rows)
{
    if (rows->type != MSGPACK_OBJECT_ARRAY || rows->via.array.size == 0) {
        printf("\nno guests on this host\n");
        return;
    }
    printf("\n%-16s %-8s %-22s %12s  %-22s %12s  %6s\n", "GUEST", "STATE", "CPU USED - ENTITLED", "WANTS", "MEMORY USED", "",
           "WEIGHT");
    for (uint32_t i = 0; i < rows->via.array.size; i++) {
        const msgpack_object *r = &rows->via.array.ptr[i];
        double whole = 100 * cli_get_number(r, "vcpus", 1), has = cli_get_number(r, "memory_mib", 0);
        double used = cli_get_number(r, "used_mib", -1);
        char name[17], state[9], cpu[BAR + 3], memory[BAR + 3], weight[16], wants[24], n2[24] = "-";
        text_of(r, "name", CLI_TEXT, name, sizeof name);
        text_of(r, "state", CLI_TEXT, state, sizeof state);
        text_of(r, "weight", CLI_COUNT, weight, sizeof weight);
        text_of(r, "demand_pct", CLI_PERCENT, wants, sizeof wants);
        bar(cli_get_number(r, "cpu_pct", 0), cli_get_number(r, "entitlement_pct", 0), whole, cpu);
        bar(used, 0, has, memory);
        if (used >= 0)
            snprintf(n2, sizeof n2, "%.0f/%.0f M", used, has);
        else
            snprintf(n2, sizeof n2, "?/%.0f M", has);
        printf("%-16s %-8s %s %12s  %s %12s  %6s\n", name, state, cpu, wants, memory, n2, weight);
    }
}

static int draw(struct cli_client *c, bool terminal)
{
    msgpack_object r;
    int err = cli_call(c, "status", NULL, &r);
    if (err)
        return err;
    if (terminal)
        printf("\033[H\033[2J"); /* home, clear */
    head(&r);
    warnings(&r);
    err = cli_call(c, "members", NULL, &r);
    if (err)
        return err;
    members(&r);
    err = cli_call(c, "guests", NULL, &r);
    if (err)
        return err;
    guests(&r);
    if (!terminal)
        printf("\n");
    fflush(stdout);
    return ferror(stdout) ? 1 : 0;
}

/* One line: what a picture is made of. */
static int draw_json(struct cli_client *c)
{
    static const char *const methods[] = {"status", "members", "guests"};
    msgpack_object r;
    for (unsigned i = 0; i < 3; i++) {
        int err = cli_call(c, methods[i], NULL, &r);
        if (err)
            return err;
        printf("%c\"%s\":", i ? ',' : '{', methods[i]);
        cli_json(&r, false);
    }
    printf("}\n");
    fflush(stdout);
    return ferror(stdout) ? 1 : 0;
}

int cli_top(struct cli_client *c, double interval, unsigned times, bool json)
{
    bool terminal = isatty(1);
    double whole = floor(interval);
    struct timespec t = {.tv_sec = (time_t)whole, .tv_nsec = (long)((interval - whole) * 1e9)};
    int err = 0;
    for (unsigned n = 0; !err && (times == 0 || n < times); n++) {
        if (n)
            nanosleep(&t, NULL);
        err = json ? draw_json(c) : draw(c, terminal);
    }
    return err;
}
