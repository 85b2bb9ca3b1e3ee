/* Scenario files. See scenario.h. */
#include "tests/sim/scenario.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define TIME_MAX (24 * VI_HOUR)

struct reader {
    struct scenario *s;
    struct words w;
    bool started; /* somebody is started by the file */
};

/* ---- values --------------------------------------------------------------------------------- */

static bool duration_of(const char *s, vi_time *out)
{
    static const struct {
        const char *name;
        vi_time unit;
    } units[] = {{"us", VI_USEC}, {"ms", VI_MSEC}, {"s", VI_SEC}, {"m", VI_MIN}, {"h", VI_HOUR}};
    const char *end;
    double v;

    if (!words_number(s, &end, &v))
        return false;
    for (size_t k = 0; k < sizeof units / sizeof units[0]; k++) {
        if (strcmp(end, units[k].name) != 0)
            continue;
        if (v * (double)units[k].unit > (double)TIME_MAX)
            return false;
        *out = (vi_time)(v * (double)units[k].unit + 0.5);
        return true;
    }
    return false;
}

/* 20ms, 1ms..20ms, 1..20ms */
static bool delays_of(const char *s, vi_time *min, vi_time *max)
{
    const char *dots = strstr(s, ".."), *unit;
    char first[32];
    size_t len;

    if (!dots) {
        bool ok = duration_of(s, max);

        *min = *max;
        return ok;
    }
    len = (size_t)(dots - s);
    for (unit = dots + 2; isdigit((unsigned char)*unit) || *unit == '.'; unit++)
        ;
    if (!len || len + strlen(unit) >= sizeof first)
        return false;
    memcpy(first, s, len);
    strcpy(first + len, isdigit((unsigned char)s[len - 1]) ? unit : "");
    return duration_of(first, min) && duration_of(dots + 2, max) && *min <= *max;
}

static bool duration(struct reader *r, vi_time *out)
{
    if (r->w.at >= r->w.n || !duration_of(r->w.word[r->w.at], out))
        return words_fail(&r->w, "a time such as 500ms, 20s, 5m (24h at most)");
    r->w.at++;
    return true;
}

static bool share(struct reader *r, double *out)
{
    const char *end;

    if (r->w.at >= r->w.n || !words_number(r->w.word[r->w.at], &end, out) || strcmp(end, "%") != 0 || *out > 100)
        return words_fail(&r->w, "a share such as 2%");
    *out /= 100;
    r->w.at++;
    return true;
}

static bool whole(struct reader *r, double most, const char *expected, double *out)
{
    const char *end;

    if (r->w.at >= r->w.n || !words_number(r->w.word[r->w.at], &end, out) || *end || *out > most)
        return words_fail(&r->w, expected);
    r->w.at++;
    return true;
}

static bool index_of(const char **p, unsigned *out)
{
    unsigned v = 0;

    if (!isdigit((unsigned char)**p))
        return false;
    for (; isdigit((unsigned char)**p); (*p)++) {
        v = v * 10 + (unsigned)(**p - '0');
        if (v >= SC_PEERS_MAX)
            return false;
    }
    *out = v;
    return true;
}

/* all, or 5 or 3-6 with commas between */
static bool set(struct reader *r, struct sc_set *out)
{
    const char *p = r->w.at < r->w.n ? r->w.word[r->w.at] : "";

    out->n = 0;
    if (words_take(&r->w, "all")) {
        out->r[out->n].lo = 0;
        out->r[out->n++].hi = SC_PEERS_MAX; /* made fit when the number of peers is known */
        return true;
    }
    for (;;) {
        unsigned lo, hi;

        if (out->n == SC_RANGES || !index_of(&p, &lo))
            break;
        hi = lo;
        if (*p == '-' && (p++, !index_of(&p, &hi)))
            break;
        if (hi < lo)
            break;
        out->r[out->n].lo = lo;
        out->r[out->n++].hi = hi;
        if (!*p) {
            r->w.at++;
            return true;
        }
        if (*p++ != ',')
            break;
    }
    return words_fail(&r->w, "peers such as 5, 3-6, 1,4,7-9 or all (16 parts at most)");
}

bool sc_has(const struct sc_set *of, unsigned who)
{
    for (unsigned k = 0; k < of->n; k++)
        if (who >= of->r[k].lo && who <= of->r[k].hi)
            return true;
    return false;
}

/* What the line says from word `from` on. */
static void text_from(const struct reader *r, unsigned from, char out[SC_TEXT])
{
    size_t len = 0;

    out[0] = 0;
    for (unsigned k = from; k < r->w.n && len + 1 < SC_TEXT; k++) {
        int n = snprintf(out + len, SC_TEXT - len, "%s%s", k > from ? " " : "", r->w.word[k]);

        len += n > 0 ? (size_t)n : 0;
    }
}

/* ---- events ----------------------------------------------------------------------------------- */

static const struct verb {
    const char *name;
    bool lasts;
} verbs[] = {
    [SC_START] = {"start", false},   [SC_RESTART] = {"restart", false},
    [SC_CRASH] = {"crash", false},   [SC_LEAVE] = {"leave", false},
    [SC_MOVE] = {"move", false},     [SC_PAUSE] = {"pause", true},
    [SC_BLOCK] = {"block", true},    [SC_MUTE] = {"mute", true},
    [SC_PARTITION] = {"partition", true}, [SC_CUT] = {"cut", true},
    [SC_LOSS] = {"loss", true},      [SC_NET] = {"net", true},
};
#define VERBS (sizeof verbs / sizeof verbs[0])

const char *sc_verb_text(enum sc_verb v)
{
    return verbs[v].name;
}

static bool verb(struct reader *r, enum sc_verb *out)
{
    for (size_t k = 0; k < VERBS; k++)
        if (words_take(&r->w, verbs[k].name)) {
            *out = (enum sc_verb)k;
            return true;
        }
    return words_fail(&r->w, "start, restart, crash, leave, move, pause, block, mute, partition, cut, loss or net");
}

static bool net(struct reader *r, struct world_net *out)
{
    unsigned before = r->w.at;

    for (;;) {
        if (words_take(&r->w, "delay")) {
            if (r->w.at >= r->w.n || !delays_of(r->w.word[r->w.at], &out->delay_min, &out->delay_max))
                return words_fail(&r->w, "a delay such as 5ms or 1..20ms");
            r->w.at++;
        } else if (words_take(&r->w, "loss")) {
            if (!share(r, &out->loss))
                return false;
        } else if (words_take(&r->w, "duplicate")) {
            if (!share(r, &out->duplicate))
                return false;
        } else if (words_take(&r->w, "reorder")) {
            if (!share(r, &out->reorder) || !duration(r, &out->reorder_delay))
                return false;
        } else {
            return r->w.at > before || words_fail(&r->w, "delay, loss, duplicate or reorder");
        }
    }
}

static bool losses(struct reader *r, struct sc_event *e)
{
    for (bool any = false;; any = true) {
        if (words_take(&r->w, "in")) {
            if (!share(r, &e->in))
                return false;
        } else if (words_take(&r->w, "out")) {
            if (!share(r, &e->out))
                return false;
        } else {
            return any || words_fail(&r->w, "\"in\" or \"out\"");
        }
    }
}

static bool what(struct reader *r, struct sc_event *e)
{
    if (!verb(r, &e->verb))
        return false;
    if (e->verb == SC_NET) {
        e->net = r->s->net;
        if (!net(r, &e->net))
            return false;
    } else if (!set(r, &e->set)) {
        return false;
    }
    if (e->verb == SC_CUT && (!words_need(&r->w, ">") || !set(r, &e->to)))
        return false;
    if (e->verb == SC_LOSS && !losses(r, e))
        return false;
    if (e->verb == SC_START || e->verb == SC_RESTART) {
        if (words_take(&r->w, "without")) {
            if (!words_need(&r->w, "disk"))
                return false;
            e->without_disk = true;
        }
        if (words_take(&r->w, "within") && !duration(r, &e->within))
            return false;
    }
    e->lasts = VI_NEVER;
    return !verbs[e->verb].lasts || !words_take(&r->w, "for") || duration(r, &e->lasts);
}

static bool add(struct reader *r, const struct sc_event *e)
{
    if (r->s->nevents == SC_EVENTS) {
        r->w.at = r->w.n;
        return words_fail(&r->w, "1024 events at most");
    }
    r->s->event[r->s->nevents++] = *e;
    return true;
}

static bool kw_at(struct reader *r)
{
    struct sc_event e = {.line = r->w.line};
    vi_time every = 0, until = 0;
    unsigned from;

    if (!duration(r, &e.at))
        return false;
    if (words_take(&r->w, "every")) {
        if (!duration(r, &every) || !words_need(&r->w, "until") || !duration(r, &until))
            return false;
        if (every < VI_MSEC)
            return words_fail(&r->w, "repetition every 1ms at most");
    }
    from = r->w.at;
    if (!what(r, &e))
        return false;
    text_from(r, from, e.text);
    do {
        if (!add(r, &e))
            return false;
        e.at += every;
    } while (every && e.at < until);
    return true;
}

static bool kw_start(struct reader *r)
{
    struct sc_event e = {.line = r->w.line};

    r->w.at--; /* the word is the verb's */
    r->started = true;
    if (!what(r, &e))
        return false;
    text_from(r, 0, e.text);
    return add(r, &e);
}

/* ---- expectations -------------------------------------------------------------------------------- */

static bool within(struct reader *r, struct sc_expect *e)
{
    if (!set(r, &e->set) || !words_need(&r->w, "within") || !duration(r, &e->within))
        return false;
    if (words_take(&r->w, "after"))
        e->after = true;
    else if (!words_take(&r->w, "of"))
        return words_fail(&r->w, "\"of\" or \"after\" and an event");
    return verb(r, &e->of);
}

static bool expectation(struct reader *r, struct sc_expect *e)
{
    if (words_take(&r->w, "no")) {
        if (!words_need(&r->w, "healthy") || !words_need(&r->w, "removed"))
            return false;
        e->kind = SC_NONE_REMOVED;
        if (words_take(&r->w, "by")) {
            e->kind = SC_NONE_REMOVED_BY_HEALTHY;
            return words_need(&r->w, "healthy");
        }
        return true;
    }
    if (words_take(&r->w, "never")) {
        e->kind = SC_NEVER_DEAD;
        return words_need(&r->w, "dead") && set(r, &e->set);
    }
    if (words_take(&r->w, "dead") || words_take(&r->w, "alive")) {
        e->kind = !strcmp(r->w.word[r->w.at - 1], "dead") ? SC_DEAD : SC_ALIVE;
        return within(r, e);
    }
    if (words_take(&r->w, "agreed")) {
        e->kind = SC_AGREED;
        e->within = VI_NEVER;
        return words_need(&r->w, "at") && (words_take(&r->w, "end") || duration(r, &e->within));
    }
    if (words_take(&r->w, "traffic")) {
        e->kind = SC_TRAFFIC;
        return words_need(&r->w, "below") && whole(r, 1e9, "bytes a second", &e->most);
    }
    return words_fail(&r->w, "no healthy removed, dead, alive, never dead, agreed at or traffic below");
}

static bool kw_expect(struct reader *r)
{
    struct sc_expect *e = &r->s->expect[r->s->nexpects];

    if (r->s->nexpects == SC_EXPECTS)
        return words_fail(&r->w, "64 expectations at most");
    *e = (struct sc_expect){.line = r->w.line};
    if (!expectation(r, e))
        return false;
    text_from(r, 1, e->text);
    r->s->nexpects++;
    return true;
}

/* ---- the rest ------------------------------------------------------------------------------------- */

static bool kw_peers(struct reader *r)
{
    double v;

    if (!whole(r, SC_PEERS_MAX, "2 to 2000 peers", &v))
        return false;
    if (v < 2 || v != (unsigned)v) {
        r->w.at--;
        return words_fail(&r->w, "2 to 2000 peers");
    }
    r->s->peers = (unsigned)v;
    return true;
}

static bool kw_seed(struct reader *r)
{
    double v;

    if (!whole(r, 1e12, "a number", &v))
        return false;
    r->s->seed = (uint64_t)v;
    return true;
}

static bool kw_net(struct reader *r)
{
    return net(r, &r->s->net);
}

static bool kw_system(struct reader *r)
{
    r->s->swim = r->w.at < r->w.n && !strcmp(r->w.word[r->w.at], "swim");
    return words_take(&r->w, "swim") || words_take(&r->w, "violin") || words_fail(&r->w, "violin or swim");
}

static bool kw_crypto(struct reader *r)
{
    r->s->crypto = r->w.at < r->w.n && !strcmp(r->w.word[r->w.at], "real");
    return words_take(&r->w, "real") || words_take(&r->w, "stub") || words_fail(&r->w, "real or stub");
}

static bool kw_clock(struct reader *r)
{
    struct scenario *s = r->s;

    if (s->nclocks == SC_CLOCKS)
        return words_fail(&r->w, "64 clocks at most");
    if (!set(r, &s->clock[s->nclocks].set) ||
        !whole(r, 2, "a rate between 0.5 and 2", &s->clock[s->nclocks].rate))
        return false;
    if (s->clock[s->nclocks].rate < 0.5) {
        r->w.at--;
        return words_fail(&r->w, "a rate between 0.5 and 2");
    }
    s->nclocks++;
    return true;
}

static bool kw_run(struct reader *r)
{
    return duration(r, &r->s->length);
}

static const struct {
    const char *name;
    bool (*fn)(struct reader *r);
} keywords[] = {
    {"peers", kw_peers}, {"seed", kw_seed}, {"net", kw_net},       {"system", kw_system}, {"crypto", kw_crypto},
    {"clock", kw_clock}, {"start", kw_start}, {"at", kw_at},       {"expect", kw_expect}, {"run", kw_run},
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
    return words_fail(&r->w, "peers, seed, net, system, crypto, clock, start, at, expect or run");
}

/* Once the number of peers is known. */
static bool fit(struct reader *r, struct sc_set *s, unsigned at)
{
    for (unsigned k = 0; k < s->n; k++) {
        if (s->r[k].hi == SC_PEERS_MAX)
            s->r[k].hi = r->s->peers - 1;
        if (s->r[k].hi < r->s->peers)
            continue;
        r->w.line = at;
        return words_fail(&r->w, "peers that there are (they count from 0)");
    }
    return true;
}

static bool finish(struct reader *r)
{
    struct scenario *s = r->s;

    r->w.n = r->w.at = 0;
    if (!s->peers)
        return words_fail(&r->w, "a line \"peers N\" somewhere");
    if (!s->length)
        return words_fail(&r->w, "a line \"run TIME\" somewhere");
    if (!r->started) {
        struct sc_event e = {.verb = SC_START, .lasts = VI_NEVER, .within = 5 * VI_SEC, .text = "start all within 5s"};

        e.set.n = 1;
        e.set.r[0].hi = SC_PEERS_MAX;
        if (!add(r, &e))
            return false;
        memmove(&s->event[1], &s->event[0], (s->nevents - 1) * sizeof e);
        s->event[0] = e;
    }
    for (unsigned k = 0; k < s->nevents; k++) {
        if (!fit(r, &s->event[k].set, s->event[k].line) || !fit(r, &s->event[k].to, s->event[k].line))
            return false;
        r->w.line = s->event[k].line;
        if (s->event[k].at >= s->length)
            return words_fail(&r->w, "an event before the end of the run");
    }
    for (unsigned k = 0; k < s->nclocks; k++)
        if (!fit(r, &s->clock[k].set, 0))
            return false;
    for (unsigned k = 0; k < s->nexpects; k++) {
        if (!fit(r, &s->expect[k].set, s->expect[k].line))
            return false;
        r->w.line = s->expect[k].line;
        if (s->expect[k].kind == SC_AGREED && s->expect[k].within != VI_NEVER && s->expect[k].within > s->length)
            return words_fail(&r->w, "a time before the end of the run");
    }
    return true;
}

bool scenario_parse(struct scenario *s, const char *text, size_t len, struct words_error *err)
{
    struct reader r = {.s = s, .w.err = err};

    memset(s, 0, sizeof *s);
    *err = (struct words_error){0};
    s->seed = 1;
    s->net.delay_min = VI_MSEC;
    s->net.delay_max = 5 * VI_MSEC;
    return words_each_line(&r.w, text, len, statement, &r) && finish(&r);
}
