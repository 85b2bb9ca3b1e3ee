/* Experiments' files, line by line. README.md has the words; see policy_world.h. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/policy_world.h"

#define WORDS    40
#define LINE_MAX_BYTES 320
#define TIME_MAX (24 * VI_HOUR)
#define KB_MAX   ((double)(UINT64_C(1) << 32))

/* A problem's size, as in the paper: z million particles on n guests. */
#define WORK_OF_SIZE   4000.0 /* CPU seconds, of all guests together */
#define MIB_OF_SIZE    3200.0 /* in use, of all guests together (800 MB on each of four) */
#define USED_OF_MEMORY 0.6    /* of what a guest has */

struct reader {
    struct pw_scenario *s;
    struct pw_error *err;
    unsigned line, n, at;
    char *word[WORDS];
    char buf[LINE_MAX_BYTES];
};

static bool fail(struct reader *r, const char *expected)
{
    r->err->line = r->line;
    if (r->at < r->n)
        snprintf(r->err->text, sizeof r->err->text, "\"%.50s\": expected %s", r->word[r->at], expected);
    else
        snprintf(r->err->text, sizeof r->err->text, "the line ends: expected %s", expected);
    return false;
}

static bool take(struct reader *r, const char *word)
{
    if (r->at >= r->n || strcmp(r->word[r->at], word) != 0)
        return false;
    r->at++;
    return true;
}

static bool need(struct reader *r, const char *word)
{
    char expected[40];

    snprintf(expected, sizeof expected, "\"%s\"", word);
    return take(r, word) || fail(r, expected);
}

/* ---- values --------------------------------------------------------------------------------- */

/* Digits with at most one point; *end is behind them. */
static bool number_of(const char *s, const char **end, double *out)
{
    double v = 0, unit = 1;
    bool any = false, point = false;

    for (; isdigit((unsigned char)*s) || (*s == '.' && !point && s[1] != '.'); s++) {
        if (*s == '.') {
            point = true;
            continue;
        }
        any = true;
        v = point ? v + (*s - '0') * (unit /= 10) : v * 10 + (*s - '0');
        if (v > 1e12)
            return false;
    }
    *end = s;
    *out = v;
    return any;
}

/* A number and one of the units; within 0 and most, in units of the first. */
static bool with_unit(struct reader *r, const char *const *names, const double *worth, double most, const char *expected,
                      double *out)
{
    const char *end;
    double v;

    if (r->at < r->n && number_of(r->word[r->at], &end, &v))
        for (unsigned k = 0; names[k]; k++)
            if (!strcmp(end, names[k]) && v * worth[k] <= most) {
                *out = v * worth[k];
                r->at++;
                return true;
            }
    return fail(r, expected);
}

static bool duration(struct reader *r, vi_time *out)
{
    static const char *const names[] = {"us", "ms", "s", "m", "h", NULL};
    static const double worth[] = {1, 1e3, 1e6, 60e6, 3600e6};
    double v;

    if (!with_unit(r, names, worth, (double)TIME_MAX, "a time such as 500ms, 20s, 5m (24h at most)", &v))
        return false;
    *out = (vi_time)(v + .5);
    return true;
}

static bool memory(struct reader *r, uint64_t *kb)
{
    static const char *const names[] = {"KB", "MB", "GB", NULL};
    static const double worth[] = {1, 1024, 1048576};
    double v;

    if (!with_unit(r, names, worth, KB_MAX, "memory such as 200MB or 8GB (4096GB at most)", &v))
        return false;
    *kb = (uint64_t)v;
    return true;
}

static bool share(struct reader *r, double *out)
{
    static const char *const names[] = {"%", NULL};
    static const double worth[] = {.01};

    return with_unit(r, names, worth, 1, "a share such as 25%", out);
}

static bool whole(struct reader *r, double least, double most, const char *expected, double *out)
{
    const char *end;

    if (r->at >= r->n || !number_of(r->word[r->at], &end, out) || *end || *out > most || *out < least || floor(*out) != *out)
        return fail(r, expected);
    r->at++;
    return true;
}

/* 1, 0.5 or 1/8 */
static bool fraction(struct reader *r, double *out)
{
    const char *end;
    double v, by = 1;

    if (r->at >= r->n || !number_of(r->word[r->at], &end, &v) || (*end == '/' && !number_of(end + 1, &end, &by)) || *end ||
        by <= 0 || !(v / by > 0) || v / by > 1000)
        return fail(r, "a size such as 1 or 1/8 (million particles; 1000 at most)");
    *out = v / by;
    r->at++;
    return true;
}

static bool name(struct reader *r, char out[PW_NAME])
{
    const char *w = r->at < r->n ? r->word[r->at] : "";
    size_t len = strlen(w);

    for (size_t k = 0; k < len; k++)
        if (!isalnum((unsigned char)w[k]) && !strchr("-_./", w[k]))
            len = 0;
    if (!len || len >= PW_NAME)
        return fail(r, "a name: letters, digits, - _ . / (23 at most)");
    memcpy(out, w, len + 1);
    r->at++;
    return true;
}

static bool domain(struct reader *r, unsigned *out)
{
    for (unsigned d = 0; d < r->s->n_domains && r->at < r->n; d++)
        if (!strcmp(r->s->domain[d].name, r->word[r->at])) {
            *out = d;
            r->at++;
            return true;
        }
    return fail(r, "a domain of a line before");
}

static bool environment(struct reader *r, unsigned *out)
{
    for (unsigned e = 0; e < r->s->n_envs && r->at < r->n; e++)
        if (!strcmp(r->s->env[e].name, r->word[r->at])) {
            *out = e;
            r->at++;
            return true;
        }
    return fail(r, "an environment of a line before");
}

/* ---- statements ------------------------------------------------------------------------------- */

static bool kw_title(struct reader *r)
{
    size_t len = 0;

    for (; r->at < r->n; r->at++) {
        int n = snprintf(r->s->title + len, PW_TITLE - len, "%s%s", len ? " " : "", r->word[r->at]);

        len += n > 0 ? (size_t)n : 0;
        if (len >= PW_TITLE)
            return fail(r, "99 bytes at most");
    }
    return len > 0 || fail(r, "a title");
}

static bool kw_domain(struct reader *r)
{
    struct pw_domain *d = &r->s->domain[r->s->n_domains];
    unsigned other;
    double v;

    if (r->s->n_domains == PW_FILE_DOMAINS)
        return fail(r, "32 domains at most");
    *d = (struct pw_domain){.first = r->s->n_hosts, .cpus = 1, .kb = 8192 * PW_MIB};
    if (!name(r, d->name))
        return false;
    r->at--;
    if (domain(r, &other)) {
        r->at--;
        return fail(r, "a name that no other domain has");
    }
    r->at++;
    if (!need(r, "hosts") || !whole(r, 1, PW_FILE_HOSTS - r->s->n_hosts, "1 to 1000 hosts, of all domains together", &v))
        return false;
    d->hosts = (unsigned)v;
    while (r->at < r->n) {
        if (take(r, "memory")) {
            if (!memory(r, &d->kb))
                return false;
        } else if (take(r, "cpus")) {
            if (!whole(r, 1, 64, "1 to 64 CPUs", &v))
                return false;
            d->cpus = (unsigned)v;
        } else {
            return fail(r, "memory or cpus");
        }
    }
    r->s->n_hosts += d->hosts;
    r->s->n_domains++;
    return true;
}

static bool add_stage(struct reader *r, struct pw_env *e, double demand, double work)
{
    if (e->n_stages == PW_STAGES)
        return fail(r, "16 stages at most");
    e->stage[e->n_stages++] = (struct pw_stage){demand, work};
    return true;
}

static bool dirty(struct reader *r, struct pw_env *e)
{
    static const char *const names[] = {"KB/s", "MB/s", "GB/s", NULL};
    static const double worth[] = {1, 1024, 1048576};

    return with_unit(r, names, worth, KB_MAX, "a rate such as 40MB/s", &e->dirty_kbps);
}

static bool of_size(struct reader *r, struct pw_env *e)
{
    double z = 0;

    if (!fraction(r, &z))
        return false;
    e->use[0].kb = (uint64_t)(MIB_OF_SIZE * z / e->guests * 1024);
    e->n_uses = 1;
    e->kb = (uint64_t)((double)e->use[0].kb / USED_OF_MEMORY);
    return add_stage(r, e, 1, WORK_OF_SIZE * z / e->guests);
}

static bool of_env(struct reader *r, struct pw_env *e)
{
    if (take(r, "size"))
        return of_size(r, e);
    if (take(r, "start"))
        return duration(r, &e->start);
    if (take(r, "memory"))
        return memory(r, &e->kb);
    if (take(r, "maximum"))
        return memory(r, &e->max_kb);
    if (take(r, "dirty"))
        return dirty(r, e);
    if (take(r, "used")) {
        e->n_uses = 1;
        return memory(r, &e->use[0].kb);
    }
    if (take(r, "on")) {
        e->each_host = true;
        return need(r, "each") && need(r, "host");
    }
    return fail(r, "size, start, memory, maximum, used, dirty or on each host");
}

/* environment NAME in D [static D] guests N … */
static bool kw_environment(struct reader *r)
{
    struct pw_env *e = &r->s->env[r->s->n_envs];
    unsigned other;
    double v;

    if (r->s->n_envs == PW_FILE_ENVS)
        return fail(r, "64 environments at most");
    *e = (struct pw_env){.kb = 256 * PW_MIB, .dirty_kbps = 20 * 1024, .n_uses = 1, .use = {{0, 150 * PW_MIB}}};
    if (!name(r, e->name))
        return false;
    r->at--;
    if (environment(r, &other)) {
        r->at--;
        return fail(r, "a name that no other environment has");
    }
    r->at++;
    if (!need(r, "in") || !domain(r, &e->domain))
        return false;
    e->domain_static = e->domain;
    if (take(r, "static") && !domain(r, &e->domain_static))
        return false;
    if (!need(r, "guests") || !whole(r, 1, PW_GUESTS, "1 to 64 guests", &v))
        return false;
    e->guests = (unsigned)v;
    while (r->at < r->n)
        if (!of_env(r, e))
            return false;
    if (!e->kb)
        return fail(r, "memory");
    if (!e->max_kb)
        e->max_kb = 4 * e->kb;
    r->s->n_envs++;
    return true;
}

/* stage ENV demand S [for T | work N] */
static bool kw_stage(struct reader *r)
{
    unsigned env;
    double demand = 1, work = INFINITY;
    vi_time lasts;

    if (!environment(r, &env) || (take(r, "demand") && !share(r, &demand)))
        return false;
    if (take(r, "for")) {
        if (!duration(r, &lasts))
            return false;
        work = demand * (double)lasts / 1e6;
    } else if (take(r, "work") && !whole(r, 0, 1e9, "CPU seconds of each guest", &work)) {
        return false;
    }
    return add_stage(r, &r->s->env[env], demand, work);
}

/* use ENV MEMORY at T */
static bool kw_use(struct reader *r)
{
    struct pw_use u;
    struct pw_env *e;
    unsigned env;

    if (!environment(r, &env) || !memory(r, &u.kb) || !need(r, "at") || !duration(r, &u.at))
        return false;
    e = &r->s->env[env];
    r->at = r->n;
    if (e->n_uses == PW_USES)
        return fail(r, "16 changes of an environment at most");
    if (u.at <= e->start || u.at <= e->use[e->n_uses - 1].at)
        return fail(r, "a time after its start and after the change before");
    e->use[e->n_uses++] = u;
    return true;
}

/* at T move ENV to D */
static bool kw_at(struct reader *r)
{
    struct pw_order *o = &r->s->order[r->s->n_orders];

    if (r->s->n_orders == PW_ORDERS)
        return fail(r, "32 orders at most");
    if (!duration(r, &o->at) || !need(r, "move") || !environment(r, &o->env) || !need(r, "to") || !domain(r, &o->domain))
        return false;
    r->s->n_orders++;
    return true;
}

static bool kw_link(struct reader *r)
{
    static const char *const names[] = {"Mb/s", "Gb/s", NULL};
    static const double worth[] = {1e6 / 8 / 1024, 1e9 / 8 / 1024};

    return with_unit(r, names, worth, 1e9, "a bandwidth such as 1Gb/s", &r->s->link_kbps) &&
           (r->s->link_kbps >= 1 || (r->at--, fail(r, "a bandwidth such as 1Gb/s")));
}

/* evaluate every T needed N */
static bool kw_evaluate(struct reader *r)
{
    double v;

    if (!need(r, "every") || !duration(r, &r->s->period) || !need(r, "needed") || !whole(r, 1, 20, "1 to 20", &v))
        return false;
    r->s->needed = (unsigned)v;
    return r->s->period >= VI_SEC || (r->at = r->n, fail(r, "every 1s at most"));
}

/* range LOW HIGH [floor MEMORY] */
static bool kw_range(struct reader *r)
{
    if (!share(r, &r->s->range_low) || !share(r, &r->s->range_high))
        return false;
    if (!(r->s->range_low > 0 && r->s->range_low < r->s->range_high && r->s->range_high < 1)) {
        r->at = r->n;
        return fail(r, "0% < low < high < 100%");
    }
    return !take(r, "floor") || memory(r, &r->s->floor_kb);
}

/* paper METRIC VALUE */
static bool kw_paper(struct reader *r)
{
    struct pw_quote *q = &r->s->quote[r->s->n_quotes];
    bool less = false;
    const char *end, *w;

    if (r->s->n_quotes == PW_QUOTES || r->at >= r->n || strlen(r->word[r->at]) >= sizeof q->metric ||
        strspn(r->word[r->at], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != strlen(r->word[r->at]))
        return fail(r, "a metric's name (39 bytes, 32 lines at most)");
    memcpy(q->metric, r->word[r->at], strlen(r->word[r->at]) + 1);
    if (++r->at < r->n && *(w = r->word[r->at])) {
        less = *w == '-';
        if (number_of(w + less, &end, &q->value) && !*end) {
            q->value = less ? -q->value : q->value;
            r->at++;
            r->s->n_quotes++;
            return true;
        }
    }
    return fail(r, "a number");
}

static bool kw_run(struct reader *r)
{
    return duration(r, &r->s->length);
}

static bool kw_name(struct reader *r)
{
    return name(r, r->s->name);
}

/* ---- lines ------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bool (*fn)(struct reader *r);
} keywords[] = {
    {"name", kw_name},   {"title", kw_title}, {"domain", kw_domain}, {"environment", kw_environment},
    {"stage", kw_stage}, {"use", kw_use},     {"at", kw_at},         {"link", kw_link},
    {"evaluate", kw_evaluate}, {"range", kw_range}, {"paper", kw_paper}, {"run", kw_run},
};

static bool statement(struct reader *r)
{
    for (size_t k = 0; k < sizeof keywords / sizeof keywords[0]; k++) {
        if (!take(r, keywords[k].name))
            continue;
        if (!keywords[k].fn(r))
            return false;
        return r->at == r->n || fail(r, "the end of the line");
    }
    return fail(r, "name, title, domain, environment, stage, use, at, link, evaluate, range, paper or run");
}

static bool line(struct reader *r, const char *text, size_t len)
{
    char *save = NULL;

    r->n = r->at = 0;
    if (len >= sizeof r->buf || memchr(text, 0, len))
        return fail(r, "a line of text, 319 bytes at most");
    memcpy(r->buf, text, len);
    r->buf[len] = 0;
    r->buf[strcspn(r->buf, "#")] = 0;
    for (char *w = strtok_r(r->buf, " \t\r", &save); w; w = strtok_r(NULL, " \t\r", &save)) {
        if (r->n == WORDS)
            return fail(r, "40 words at most");
        r->word[r->n++] = w;
    }
    return !r->n || statement(r);
}

static bool finish(struct reader *r)
{
    struct pw_scenario *s = r->s;

    r->n = r->at = 0;
    if (!s->name[0])
        return fail(r, "a line \"name NAME\" somewhere");
    if (!s->n_envs)
        return fail(r, "a line \"environment NAME …\" somewhere");
    if (!s->length)
        return fail(r, "a line \"run TIME\" somewhere");
    for (unsigned e = 0; e < s->n_envs; e++) {
        struct pw_env *d = &s->env[e];

        d->use[0].at = d->start;
        if (!d->n_stages)
            return fail(r, "a size or a stage for every environment");
        if (d->each_host && (d->guests > s->domain[d->domain].hosts || d->guests > s->domain[d->domain_static].hosts))
            return fail(r, "no more guests than hosts, on each host");
    }
    return true;
}

bool pw_parse(struct pw_scenario *s, const char *text, size_t len, struct pw_error *err)
{
    struct reader r = {.s = s, .err = err};
    const char *end = text + len;

    memset(s, 0, sizeof *s);
    *err = (struct pw_error){0};
    s->period = 5 * VI_SEC;
    s->needed = 3;
    s->range_low = .40;
    s->range_high = .75;
    s->floor_kb = 64 * PW_MIB;
    s->link_kbps = 1e9 / 8 / 1024;
    s->domain = calloc(PW_FILE_DOMAINS + 1, sizeof *s->domain);
    s->env = calloc(PW_FILE_ENVS + 1, sizeof *s->env);
    if (!s->domain || !s->env || len > PW_FILE_MAX)
        return fail(&r, "65536 bytes at most, and memory");
    while (text < end) {
        const char *nl = memchr(text, '\n', (size_t)(end - text));
        size_t n = nl ? (size_t)(nl - text) : (size_t)(end - text);

        r.line++;
        if (!line(&r, text, n))
            return false;
        text += n + 1;
        if (!nl)
            break;
    }
    return finish(&r);
}

void pw_scenario_free(struct pw_scenario *s)
{
    free(s->domain);
    free(s->env);
    s->domain = NULL;
    s->env = NULL;
}
