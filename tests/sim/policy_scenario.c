/* Experiments' files, line by line. README.md has the words; see policy_world.h. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/policy_world.h"

#define TIME_MAX (24 * VI_HOUR)
#define KB_MAX   ((double)(UINT64_C(1) << 32))

/* A problem's size, as in the paper: z million particles on n guests. */
#define WORK_OF_SIZE   4000.0 /* CPU seconds, of all guests together */
#define MIB_OF_SIZE    3200.0 /* in use, of all guests together (800 MB on each of four) */
#define USED_OF_MEMORY 0.6    /* of what a guest has */

struct reader {
    struct pw_scenario *s;
    struct words w;
};

/* ---- values --------------------------------------------------------------------------------- */

/* A number and one of the units; within 0 and most, in units of the first. */
static bool with_unit(struct reader *r, const char *const *names, const double *worth, double most, const char *expected,
                      double *out)
{
    const char *end;
    double v;

    if (r->w.at < r->w.n && words_number(r->w.word[r->w.at], &end, &v))
        for (unsigned k = 0; names[k]; k++)
            if (!strcmp(end, names[k]) && v * worth[k] <= most) {
                *out = v * worth[k];
                r->w.at++;
                return true;
            }
    return words_fail(&r->w, expected);
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

    if (r->w.at >= r->w.n || !words_number(r->w.word[r->w.at], &end, out) || *end || *out > most || *out < least || floor(*out) != *out)
        return words_fail(&r->w, expected);
    r->w.at++;
    return true;
}

/* 1, 0.5 or 1/8 */
static bool fraction(struct reader *r, double *out)
{
    const char *end;
    double v, by = 1;

    if (r->w.at >= r->w.n || !words_number(r->w.word[r->w.at], &end, &v) || (*end == '/' && !words_number(end + 1, &end, &by)) || *end ||
        by <= 0 || !(v / by > 0) || v / by > 1000)
        return words_fail(&r->w, "a size such as 1 or 1/8 (million particles; 1000 at most)");
    *out = v / by;
    r->w.at++;
    return true;
}

static bool name(struct reader *r, char out[PW_NAME])
{
    const char *w = r->w.at < r->w.n ? r->w.word[r->w.at] : "";
    size_t len = strlen(w);

    for (size_t k = 0; k < len; k++)
        if (!isalnum((unsigned char)w[k]) && !strchr("-_./", w[k]))
            len = 0;
    if (!len || len >= PW_NAME)
        return words_fail(&r->w, "a name: letters, digits, - _ . / (23 at most)");
    memcpy(out, w, len + 1);
    r->w.at++;
    return true;
}

static bool domain(struct reader *r, unsigned *out)
{
    for (unsigned d = 0; d < r->s->n_domains && r->w.at < r->w.n; d++)
        if (!strcmp(r->s->domain[d].name, r->w.word[r->w.at])) {
            *out = d;
            r->w.at++;
            return true;
        }
    return words_fail(&r->w, "a domain of a line before");
}

static bool environment(struct reader *r, unsigned *out)
{
    for (unsigned e = 0; e < r->s->n_envs && r->w.at < r->w.n; e++)
        if (!strcmp(r->s->env[e].name, r->w.word[r->w.at])) {
            *out = e;
            r->w.at++;
            return true;
        }
    return words_fail(&r->w, "an environment of a line before");
}

/* ---- statements ------------------------------------------------------------------------------- */

static bool kw_title(struct reader *r)
{
    size_t len = 0;

    for (; r->w.at < r->w.n; r->w.at++) {
        int n = snprintf(r->s->title + len, PW_TITLE - len, "%s%s", len ? " " : "", r->w.word[r->w.at]);

        len += n > 0 ? (size_t)n : 0;
        if (len >= PW_TITLE)
            return words_fail(&r->w, "99 bytes at most");
    }
    return len > 0 || words_fail(&r->w, "a title");
}

static bool kw_domain(struct reader *r)
{
    struct pw_domain *d = &r->s->domain[r->s->n_domains];
    unsigned other;
    double v;

    if (r->s->n_domains == PW_FILE_DOMAINS)
        return words_fail(&r->w, "32 domains at most");
    *d = (struct pw_domain){.first = r->s->n_hosts, .cpus = 1, .kb = 8192 * PW_MIB};
    if (!name(r, d->name))
        return false;
    r->w.at--;
    if (domain(r, &other)) {
        r->w.at--;
        return words_fail(&r->w, "a name that no other domain has");
    }
    r->w.at++;
    if (!words_need(&r->w, "hosts") || !whole(r, 1, PW_FILE_HOSTS - r->s->n_hosts, "1 to 1000 hosts, of all domains together", &v))
        return false;
    d->hosts = (unsigned)v;
    while (r->w.at < r->w.n) {
        if (words_take(&r->w, "memory")) {
            if (!memory(r, &d->kb))
                return false;
        } else if (words_take(&r->w, "cpus")) {
            if (!whole(r, 1, 64, "1 to 64 CPUs", &v))
                return false;
            d->cpus = (unsigned)v;
        } else {
            return words_fail(&r->w, "memory or cpus");
        }
    }
    r->s->n_hosts += d->hosts;
    r->s->n_domains++;
    return true;
}

static bool add_stage(struct reader *r, struct pw_env *e, double demand, double work)
{
    if (e->n_stages == PW_STAGES)
        return words_fail(&r->w, "16 stages at most");
    e->stage[e->n_stages++] = (struct pw_stage){demand, work};
    return true;
}

static bool rate(struct reader *r, double *kbps)
{
    static const char *const names[] = {"KB/s", "MB/s", "GB/s", NULL};
    static const double worth[] = {1, 1024, 1048576};

    return with_unit(r, names, worth, KB_MAX, "a rate such as 40MB/s", kbps);
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
    if (words_take(&r->w, "size"))
        return of_size(r, e);
    if (words_take(&r->w, "start"))
        return duration(r, &e->start);
    if (words_take(&r->w, "memory"))
        return memory(r, &e->kb);
    if (words_take(&r->w, "maximum"))
        return memory(r, &e->max_kb);
    if (words_take(&r->w, "dirty"))
        return rate(r, &e->dirty_kbps);
    if (words_take(&r->w, "used")) {
        e->n_uses = 1;
        return memory(r, &e->use[0].kb);
    }
    if (words_take(&r->w, "priority")) {
        double v;

        if (!whole(r, 0, 100, "a priority from 0 to 100", &v))
            return false;
        e->priority = (unsigned)v;
        return true;
    }
    if (words_take(&r->w, "on")) {
        e->each_host = true;
        return words_need(&r->w, "each") && words_need(&r->w, "host");
    }
    return words_fail(&r->w, "size, start, memory, maximum, used, dirty, priority or on each host");
}

/* environment NAME in D [static D] guests N … */
static bool kw_environment(struct reader *r)
{
    struct pw_env *e = &r->s->env[r->s->n_envs];
    unsigned other;
    double v;

    if (r->s->n_envs == PW_FILE_ENVS)
        return words_fail(&r->w, "64 environments at most");
    *e = (struct pw_env){.kb = 256 * PW_MIB, .dirty_kbps = 20 * 1024, .priority = 50, .n_uses = 1, .use = {{0, 150 * PW_MIB}}};
    if (!name(r, e->name))
        return false;
    r->w.at--;
    if (environment(r, &other)) {
        r->w.at--;
        return words_fail(&r->w, "a name that no other environment has");
    }
    r->w.at++;
    if (!words_need(&r->w, "in") || !domain(r, &e->domain))
        return false;
    e->domain_static = e->domain;
    if (words_take(&r->w, "static") && !domain(r, &e->domain_static))
        return false;
    if (!words_need(&r->w, "guests") || !whole(r, 1, PW_GUESTS, "1 to 64 guests", &v))
        return false;
    e->guests = (unsigned)v;
    while (r->w.at < r->w.n)
        if (!of_env(r, e))
            return false;
    if (!e->kb)
        return words_fail(&r->w, "memory");
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

    if (!environment(r, &env) || (words_take(&r->w, "demand") && !share(r, &demand)))
        return false;
    if (words_take(&r->w, "for")) {
        if (!duration(r, &lasts))
            return false;
        work = demand * (double)lasts / 1e6;
    } else if (words_take(&r->w, "work") && !whole(r, 0, 1e9, "CPU seconds of each guest", &work)) {
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

    if (!environment(r, &env) || !memory(r, &u.kb) || !words_need(&r->w, "at") || !duration(r, &u.at))
        return false;
    e = &r->s->env[env];
    r->w.at = r->w.n;
    if (e->n_uses == PW_USES)
        return words_fail(&r->w, "16 changes of an environment at most");
    if (u.at <= e->start || u.at <= e->use[e->n_uses - 1].at)
        return words_fail(&r->w, "a time after its start and after the change before");
    e->use[e->n_uses++] = u;
    return true;
}

static bool guests_of_rule(struct reader *r, struct pw_rule *rule, unsigned least, unsigned most)
{
    unsigned all = r->s->env[rule->env].guests;
    double v;

    while (rule->n < most && r->w.at < r->w.n) {
        if (!whole(r, 1, all, "a guest of the environment, by its number from 1", &v))
            return false;
        rule->guest[rule->n++] = (unsigned)v - 1;
    }
    return rule->n >= least || words_fail(&r->w, "guests of the environment, 2 to 16");
}

/* rule ENV spread|together N N… · rule ENV pin|never N on D HOST */
static bool kw_rule(struct reader *r)
{
    struct pw_rule *rule = &r->s->rule[r->s->n_rules];
    unsigned d;
    double v;

    if (r->s->n_rules == PW_RULES)
        return words_fail(&r->w, "32 rules at most");
    *rule = (struct pw_rule){.n = 0};
    if (!environment(r, &rule->env))
        return false;
    for (unsigned k = POLICY_RULE_SPREAD; k <= POLICY_RULE_NEVER && !rule->kind; k++)
        if (words_take(&r->w, policy_rule_kind_text((enum policy_rule_kind)k)))
            rule->kind = (enum policy_rule_kind)k;
    if (!rule->kind)
        return words_fail(&r->w, "spread, together, pin or never");
    if (rule->kind == POLICY_RULE_SPREAD || rule->kind == POLICY_RULE_TOGETHER) {
        if (!guests_of_rule(r, rule, 2, POLICY_RULE_GUESTS))
            return false;
    } else {
        if (!guests_of_rule(r, rule, 1, 1) || !words_need(&r->w, "on") || !domain(r, &d) ||
            !whole(r, 1, r->s->domain[d].hosts, "a host of the domain, by its number from 1", &v))
            return false;
        rule->host = r->s->domain[d].first + (unsigned)v - 1;
    }
    r->s->n_rules++;
    return true;
}

/* talk ENV N N RATE */
static bool kw_talk(struct reader *r)
{
    struct pw_talk *t = &r->s->talk[r->s->n_talks];
    double a, b;

    if (r->s->n_talks == PW_TALKS)
        return words_fail(&r->w, "32 pairs that talk at most");
    if (!environment(r, &t->env) || !whole(r, 1, r->s->env[t->env].guests, "a guest of the environment, by its number from 1", &a) ||
        !whole(r, 1, r->s->env[t->env].guests, "another guest of the environment, by its number", &b) || !rate(r, &t->kbps))
        return false;
    t->a = (unsigned)a - 1;
    t->b = (unsigned)b - 1;
    r->s->n_talks++;
    return true;
}

/* at T move ENV to D */
static bool kw_at(struct reader *r)
{
    struct pw_order *o = &r->s->order[r->s->n_orders];

    if (r->s->n_orders == PW_ORDERS)
        return words_fail(&r->w, "32 orders at most");
    if (!duration(r, &o->at) || !words_need(&r->w, "move") || !environment(r, &o->env) || !words_need(&r->w, "to") || !domain(r, &o->domain))
        return false;
    r->s->n_orders++;
    return true;
}

static bool kw_link(struct reader *r)
{
    static const char *const names[] = {"Mb/s", "Gb/s", NULL};
    static const double worth[] = {1e6 / 8 / 1024, 1e9 / 8 / 1024};

    return with_unit(r, names, worth, 1e9, "a bandwidth such as 1Gb/s", &r->s->link_kbps) &&
           (r->s->link_kbps >= 1 || (r->w.at--, words_fail(&r->w, "a bandwidth such as 1Gb/s")));
}

/* evaluate every T needed N */
static bool kw_evaluate(struct reader *r)
{
    double v;

    if (!words_need(&r->w, "every") || !duration(r, &r->s->period) || !words_need(&r->w, "needed") || !whole(r, 1, 20, "1 to 20", &v))
        return false;
    r->s->needed = (unsigned)v;
    return r->s->period >= VI_SEC || (r->w.at = r->w.n, words_fail(&r->w, "every 1s at most"));
}

/* range LOW HIGH [floor MEMORY] */
static bool kw_range(struct reader *r)
{
    if (!share(r, &r->s->range_low) || !share(r, &r->s->range_high))
        return false;
    if (!(r->s->range_low > 0 && r->s->range_low < r->s->range_high && r->s->range_high < 1)) {
        r->w.at = r->w.n;
        return words_fail(&r->w, "0% < low < high < 100%");
    }
    return !words_take(&r->w, "floor") || memory(r, &r->s->floor_kb);
}

/* paper METRIC VALUE */
static bool kw_paper(struct reader *r)
{
    struct pw_quote *q = &r->s->quote[r->s->n_quotes];
    bool less = false;
    const char *end, *w;

    if (r->s->n_quotes == PW_QUOTES || r->w.at >= r->w.n || strlen(r->w.word[r->w.at]) >= sizeof q->metric ||
        strspn(r->w.word[r->w.at], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != strlen(r->w.word[r->w.at]))
        return words_fail(&r->w, "a metric's name (39 bytes, 32 lines at most)");
    memcpy(q->metric, r->w.word[r->w.at], strlen(r->w.word[r->w.at]) + 1);
    if (++r->w.at < r->w.n && *(w = r->w.word[r->w.at])) {
        less = *w == '-';
        if (words_number(w + less, &end, &q->value) && !*end) {
            q->value = less ? -q->value : q->value;
            r->w.at++;
            r->s->n_quotes++;
            return true;
        }
    }
    return words_fail(&r->w, "a number");
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
    {"rule", kw_rule},   {"talk", kw_talk},   {"evaluate", kw_evaluate}, {"range", kw_range}, {"paper", kw_paper}, {"run", kw_run},
};

static bool statement(void *arg)
{
    struct reader *r = arg;

    for (size_t k = 0; k < sizeof keywords / sizeof keywords[0]; k++) {
        if (!words_take(&r->w, keywords[k].name))
            continue;
        if (!keywords[k].fn(r))
            return false;
        return r->w.at == r->w.n || words_fail(&r->w, "the end of the line");
    }
    return words_fail(&r->w, "name, title, domain, environment, stage, use, rule, talk, at, link, evaluate, range, paper or run");
}

static bool finish(struct reader *r)
{
    struct pw_scenario *s = r->s;

    r->w.n = r->w.at = 0;
    if (!s->name[0])
        return words_fail(&r->w, "a line \"name NAME\" somewhere");
    if (!s->n_envs)
        return words_fail(&r->w, "a line \"environment NAME …\" somewhere");
    if (!s->length)
        return words_fail(&r->w, "a line \"run TIME\" somewhere");
    for (unsigned e = 0; e < s->n_envs; e++) {
        struct pw_env *d = &s->env[e];

        d->use[0].at = d->start;
        if (!d->n_stages)
            return words_fail(&r->w, "a size or a stage for every environment");
        if (d->each_host && (d->guests > s->domain[d->domain].hosts || d->guests > s->domain[d->domain_static].hosts))
            return words_fail(&r->w, "no more guests than hosts, on each host");
    }
    return true;
}

bool pw_parse(struct pw_scenario *s, const char *text, size_t len, struct words_error *err)
{
    struct reader r = {.s = s, .w.err = err};

    memset(s, 0, sizeof *s);
    *err = (struct words_error){0};
    s->period = 5 * VI_SEC;
    s->needed = 3;
    s->range_low = .40;
    s->range_high = .75;
    s->floor_kb = 64 * PW_MIB;
    s->link_kbps = 1e9 / 8 / 1024;
    s->domain = calloc(PW_FILE_DOMAINS + 1, sizeof *s->domain);
    s->env = calloc(PW_FILE_ENVS + 1, sizeof *s->env);
    if (!s->domain || !s->env)
        return words_fail(&r.w, "memory for it");
    return words_each_line(&r.w, text, len, statement, &r) && finish(&r);
}

void pw_scenario_free(struct pw_scenario *s)
{
    free(s->domain);
    free(s->env);
    s->domain = NULL;
    s->env = NULL;
}
