/* Histories of doubts. See doubts.h. */
#include "peer/doubts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct doubts {
    unsigned most, n;
    struct doubted *of[];
};

struct doubts *doubts_new(unsigned members)
{
    struct doubts *s = calloc(1, sizeof *s + members * sizeof s->of[0]);
    if (s)
        s->most = members;
    return s;
}

void doubts_free(struct doubts *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->n; i++)
        free(s->of[i]);
    free(s);
}

static struct doubt *newest(struct doubted *m)
{
    return m->n ? &m->ring[(m->total - 1) % DOUBTS_EACH] : NULL;
}

const struct doubt *doubted_at(const struct doubted *m, unsigned i)
{
    return i < m->n ? &m->ring[(m->total - m->n + i) % DOUBTS_EACH] : NULL;
}

static struct doubted *find(const struct doubts *s, const struct vi_id *id)
{
    for (unsigned i = 0; i < s->n; i++)
        if (vi_id_equal(&s->of[i]->id, id))
            return s->of[i];
    return NULL;
}

const struct doubted *doubts_find(const struct doubts *s, const struct vi_id *id)
{
    return find(s, id);
}

const struct doubted *doubts_next(const struct doubts *s, size_t *pos)
{
    return *pos < s->n ? s->of[(*pos)++] : NULL;
}

static bool goes_before(struct doubted *a, struct doubted *b)
{
    bool a_over = newest(a)->ended != 0, b_over = newest(b)->ended != 0;
    return a_over != b_over ? a_over : a->last < b->last;
}

/* A place for one more; its old content is forgotten. */
static struct doubted *place(struct doubts *s)
{
    struct doubted *m;
    unsigned best = 0;
    if (s->n < s->most) {
        m = calloc(1, sizeof *m);
        if (m)
            s->of[s->n++] = m;
        return m;
    }
    if (!s->n)
        return NULL;
    for (unsigned i = 1; i < s->n; i++)
        if (goes_before(s->of[i], s->of[best]))
            best = i;
    memset(s->of[best], 0, sizeof *s->of[best]);
    return s->of[best];
}

static struct doubt *begin(struct doubts *s, const struct gossip_effect *fx, vi_time now, vi_time wall, unsigned health)
{
    struct doubted *m = find(s, &fx->id);
    struct doubt *b;
    if (!m) {
        m = place(s);
        if (!m)
            return NULL;
        m->id = fx->id;
    }
    if (m->n < DOUBTS_EACH)
        m->n++;
    m->total++;
    b = newest(m);
    *b = (struct doubt){.why = fx->why, .wall = wall, .began = now, .health = health};
    return b;
}

static void confirm(struct doubt *b, const struct vi_id *by)
{
    for (unsigned i = 0; i < b->n_confirmers; i++)
        if (vi_id_equal(&b->confirmers[i], by))
            return;
    if (b->n_confirmers < DOUBT_CONFIRMERS && !vi_id_equal(&b->why.accuser, by))
        b->confirmers[b->n_confirmers++] = *by;
}

static void end(struct doubt *b, enum doubt_end how, const struct gossip_effect *fx, vi_time now)
{
    b->ended = now;
    b->end = how;
    b->end_via = fx->why.via;
}

/* What a change does to the member's open doubt; NULL: there is none, and none begins. */
static struct doubt *apply(struct doubts *s, const struct gossip_effect *fx, struct doubt *open, vi_time now,
                           vi_time wall, unsigned health)
{
    switch (fx->change) {
    case GOSSIP_SUSPECTED:
        return begin(s, fx, now, wall, health);
    case GOSSIP_GOODBYE:
        if (!open)
            open = begin(s, fx, now, wall, health);
        if (open)
            open->left = now;
        return open;
    case GOSSIP_CONFIRMED:
        if (open)
            confirm(open, &fx->why.accuser);
        return open;
    case GOSSIP_DOWN:
        if (open)
            open->died = now;
        return open;
    case GOSSIP_REFUTED:
        if (open)
            end(open, DOUBT_REFUTED, fx, now);
        return open;
    case GOSSIP_UP:
        if (open)
            end(open, DOUBT_BACK, fx, now);
        return open;
    case GOSSIP_FORGOTTEN:
        if (open)
            end(open, DOUBT_FORGOTTEN, fx, now);
        return open;
    default:
        return NULL;
    }
}

const struct doubt *doubts_note(struct doubts *s, const struct gossip_effect *fx, const char *name,
                                vi_time now, vi_time wall, unsigned health)
{
    struct doubted *m = find(s, &fx->id);
    struct doubt *open = m ? newest(m) : NULL;
    if (open && open->ended)
        open = NULL;
    open = apply(s, fx, open, now, wall, health);
    m = open || m ? find(s, &fx->id) : NULL;
    if (m && name[0])
        snprintf(m->name, sizeof m->name, "%s", name);
    if (m && open)
        m->last = now;
    return open;
}
