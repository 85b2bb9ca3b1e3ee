/* Who represents the domain. See representative.h. */
#include "gossip/representative.h"

#include <string.h>

#define META_VERSION 1
#define ACTING   1
#define DEGRADED 2

void rep_meta_encode(const struct rep_meta *m, uint8_t out[REP_META])
{
    out[0] = META_VERSION;
    out[1] = (uint8_t)((m->acting ? ACTING : 0) | (m->degraded ? DEGRADED : 0));
    for (int i = 0; i < 4; i++)
        out[2 + i] = (uint8_t)(m->started >> (8 * i));
}

void rep_meta_decode(struct rep_meta *m, const uint8_t *data, size_t len)
{
    *m = (struct rep_meta){0};
    if (len < REP_META || data[0] != META_VERSION)
        return;
    m->acting = data[1] & ACTING;
    m->degraded = data[1] & DEGRADED;
    for (int i = 0; i < 4; i++)
        m->started |= (uint32_t)data[2 + i] << (8 * i);
}

int rep_compare(const struct rep_rank *a, const struct rep_rank *b)
{
    /* unknown is later than any time */
    uint32_t x = a->started - 1, y = b->started - 1;

    if (a->degraded != b->degraded)
        return a->degraded ? 1 : -1;
    if (x != y)
        return x < y ? -1 : 1;
    return memcmp(a->id.b, b->id.b, VI_ID_SIZE);
}

void rep_offer(struct rep_first *f, const struct rep_rank *r)
{
    unsigned at = f->n;

    while (at && rep_compare(r, &f->r[at - 1]) < 0)
        at--;
    if (at == REP_FIRST)
        return;
    if (f->n < REP_FIRST)
        f->n++;
    for (unsigned k = f->n - 1; k > at; k--)
        f->r[k] = f->r[k - 1];
    f->r[at] = *r;
}

void rep_init(struct representative *r, const struct vi_id *me, vi_time now)
{
    *r = (struct representative){.me = *me, .own = {.id = *me}, .heard = now, .declare_at = now};
}

static unsigned position(const struct representative *r)
{
    unsigned k = 0;

    while (k < r->first.n && !vi_id_equal(&r->first.r[k].id, &r->me))
        k++;
    return k < r->first.n ? k : REP_FIRST;
}

/* When we act if nobody declares itself until then. */
static vi_time patience(const struct representative *r)
{
    unsigned at = position(r);

    if (at == REP_FIRST || r->own.degraded)
        return VI_NEVER;
    return r->heard + REP_EXPIRY + (at ? (vi_time)(at - 1) * REP_PERIOD : 0);
}

static void act(struct representative *r, vi_time now)
{
    if (r->acting)
        return;
    r->acting = true;
    r->declare_at = now;
}

void rep_set(struct representative *r, vi_time now, const struct rep_first *f,
             const struct rep_rank *own)
{
    r->first = *f;
    r->own = *own;
    if (r->acting && own->degraded && f->n > 1)
        r->acting = false;
    /* the one that acted is gone, and we are next: no need to wait */
    if (!r->acting && !own->degraded && position(r) == 0 && !vi_id_is_zero(&r->declared)) {
        for (unsigned k = 0; k < f->n; k++)
            if (vi_id_equal(&f->r[k].id, &r->declared))
                return;
        act(r, now);
    }
}

bool rep_declaration(struct representative *r, vi_time now, const struct rep_rank *from)
{
    bool better = rep_compare(from, &r->own) < 0;

    if (!better && r->acting)
        return true;
    /* one that ranks behind us acts: it hasn't heard of us, or we have just come before it */
    if (!better && position(r) == 0 && !r->own.degraded) {
        act(r, now);
        return true;
    }
    r->acting = r->acting && !better;
    r->heard = now;
    r->declared = from->id;
    return false;
}

bool rep_tick(struct representative *r, vi_time now)
{
    if (!r->acting && now >= patience(r))
        act(r, now);
    if (!r->acting || now < r->declare_at)
        return false;
    r->declare_at = now + REP_PERIOD;
    return true;
}

vi_time rep_deadline(const struct representative *r)
{
    return r->acting ? r->declare_at : patience(r);
}

unsigned rep_standbys(const struct representative *r, struct vi_id out[REP_FIRST])
{
    unsigned n = 0;

    for (unsigned k = 0; k < r->first.n; k++)
        if (!vi_id_equal(&r->first.r[k].id, &r->me))
            out[n++] = r->first.r[k].id;
    return n;
}

const struct vi_id *rep_current(const struct representative *r, vi_time now)
{
    if (r->acting)
        return &r->me;
    if (!vi_id_is_zero(&r->declared) && now - r->heard < REP_EXPIRY + REP_PERIOD)
        return &r->declared;
    return r->first.n ? &r->first.r[0].id : NULL;
}
