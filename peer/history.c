/* Which records of the history are asked for. See history.h. */
#include "peer/history.h"

#include <string.h>

#include "peer/base/err.h"

/* What is kept, in the order of `violin history --help`. */
static const char *const kept[] = {"moving", "moved", "arrived", "failed", "envmove", "refused", "balloon", "weight", "short",
                                   "drain", "mode"};
#define OF_MOVES 5 /* the first so many */

static bool add(struct history_filter *f, const char *kind, size_t n)
{
    if (n >= EVENT_KIND || f->n_kinds >= HISTORY_KINDS)
        return false;
    memcpy(f->kind[f->n_kinds], kind, n);
    f->kind[f->n_kinds++][n] = 0;
    return true;
}

static bool take(struct history_filter *f, const char *kind, size_t n)
{
    if (n == 4 && !memcmp(kind, "move", n)) {
        for (unsigned i = 0; i < OF_MOVES; i++)
            if (!add(f, kept[i], strlen(kept[i])))
                return false;
        return true;
    }
    for (unsigned i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strlen(kept[i]) == n && !memcmp(kept[i], kind, n))
            return add(f, kind, n);
    return false;
}

int history_kinds(struct history_filter *f, const char *text, char *bad, size_t cap)
{
    f->n_kinds = 0;
    for (;;) {
        size_t n = strcspn(text, ",");
        if (!take(f, text, n)) {
            n = n < cap ? n : cap - 1;
            memcpy(bad, text, n);
            bad[n] = 0;
            return VI_EINVAL;
        }
        text += n;
        if (!*text++)
            return 0;
    }
}

static bool word_is(const struct event *ev, const char *name, const char *who)
{
    const char *value = event_word_of(ev, name);
    return value && !strcmp(value, who);
}

static bool names(const struct event *ev, const char *who, unsigned what)
{
    bool subject = !strcmp(ev->subject, who), env = !strcmp(ev->kind, "envmove");
    bool host = !strcmp(ev->kind, "drain") || !strcmp(ev->kind, "mode");
    bool is[] = {subject && !env && !host, (subject && env) || word_is(ev, "environment", who),
                 (subject && host) || word_is(ev, "from", who) || word_is(ev, "to", who)};
    for (unsigned i = 0; i < 3; i++)
        if (is[i] && (!what || what & 1U << i))
            return true;
    return !what && word_is(ev, "domain", who);
}

bool history_match(const struct history_filter *f, const struct event *ev)
{
    bool kind = f->n_kinds == 0;
    if (ev->wall < f->since)
        return false;
    for (unsigned i = 0; i < f->n_kinds; i++)
        kind |= !strcmp(f->kind[i], ev->kind);
    return kind && (!f->subject[0] || names(ev, f->subject, f->what));
}

/* FNV-1a (Fowler, Noll, Vo) over three texts; two that clash cost a record. */
static uint64_t sum_of(const char *a, const char *b, const char *c)
{
    const char *const parts[] = {a, b, c};
    uint64_t sum = 14695981039346656037ULL;
    for (unsigned i = 0; i < 3; i++)
        for (size_t k = 0; k <= strlen(parts[i]); k++)
            sum = (sum ^ (unsigned char)parts[i][k]) * 1099511628211ULL;
    return sum;
}

bool history_again(struct history_memory *m, vi_time now, const struct event *ev)
{
    const char *command = event_word_of(ev, "command");
    bool refused = !strcmp(ev->kind, "refused");
    unsigned oldest = 0;
    uint64_t sum;
    if (!command && !refused && strcmp(ev->kind, "short") != 0)
        return false;
    sum = sum_of(ev->subject, ev->kind, command ? command : refused ? ev->text : "");
    for (unsigned i = 0; i < HISTORY_MEMORY; i++) {
        if (m->record[i].at && m->record[i].sum == sum) {
            if (now - m->record[i].at < VI_HOUR)
                return true;
            m->record[i].at = 0;
        }
        if (m->record[i].at < m->record[oldest].at)
            oldest = i;
    }
    m->record[oldest].sum = sum;
    m->record[oldest].at = now;
    return false;
}

static const struct event_number *number_of(const struct event *ev, const char *name)
{
    for (unsigned i = 0; i < ev->n_numbers; i++)
        if (!strcmp(ev->numbers[i].name, name))
            return &ev->numbers[i];
    return NULL;
}

void history_count(struct history_summary *s, const struct event *ev)
{
    const struct event_number *pause = number_of(ev, "pause_s"), *bytes = number_of(ev, "bytes");
    const char *end = event_word_of(ev, "end");
    s->records++;
    s->arrived += !strcmp(ev->kind, "arrived");
    /* of a decision that was made and of the attempt itself there are two records: only the attempt counts */
    s->failed += !strcmp(ev->kind, "failed") && event_word_of(ev, "to");
    s->environments += !strcmp(ev->kind, "envmove") && end && strcmp(end, "refused") != 0;
    if (strcmp(ev->kind, "moved") != 0)
        return;
    s->moved++;
    if (bytes)
        s->bytes += bytes->value;
    if (pause) {
        s->pauses++;
        s->pause_s += pause->value;
    }
}
