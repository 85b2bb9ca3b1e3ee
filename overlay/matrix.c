/* Who sent how much to whom. See matrix.h. */
#include "overlay/matrix.h"

#include <string.h>

#define SLOTS (MATRIX_PAIRS * 2)

static unsigned slot_of(const struct vi_id *env, const uint8_t from[6], const uint8_t to[6])
{
    uint8_t key[16];
    memcpy(key, env->b, 4); /* an environment's id is a hash */
    memcpy(key + 4, from, 6);
    memcpy(key + 10, to, 6);
    return (unsigned)(vi_bucket(key, sizeof key) % SLOTS);
}

static bool is_pair(const struct matrix_pair *p, const struct vi_id *env, const uint8_t from[6], const uint8_t to[6])
{
    return !memcmp(p->from, from, 6) && !memcmp(p->to, to, 6) && vi_id_equal(&p->env, env);
}

static void add(_Atomic uint64_t *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

void matrix_count(struct matrix *m, const struct vi_id *env, const uint8_t from[6], const uint8_t to[6], uint64_t frames,
                  uint64_t bytes)
{
    struct matrix_pair *p = &m->pair[m->last];
    unsigned at;
    if (atomic_load_explicit(&p->used, memory_order_relaxed) && is_pair(p, env, from, to)) { /* as with most frames */
        add(&p->frames, frames);
        add(&p->bytes, bytes);
        return;
    }
    at = slot_of(env, from, to);
    p = &m->pair[at];
    while (atomic_load_explicit(&p->used, memory_order_relaxed) && !is_pair(p, env, from, to)) {
        at = (at + 1) % SLOTS; /* half of them are free at least */
        p = &m->pair[at];
    }
    if (!atomic_load_explicit(&p->used, memory_order_relaxed)) {
        if (m->n >= MATRIX_PAIRS) {
            add(&m->more, frames);
            return;
        }
        m->n++;
        p->env = *env;
        memcpy(p->from, from, 6);
        memcpy(p->to, to, 6);
        atomic_store_explicit(&p->used, true, memory_order_release);
    }
    m->last = at;
    add(&p->frames, frames);
    add(&p->bytes, bytes);
}

static struct matrix_row *row_of(struct matrix_row *rows, unsigned cap, unsigned *n, const struct matrix_pair *p)
{
    for (unsigned i = 0; i < *n; i++)
        if (!memcmp(rows[i].from, p->from, 6) && !memcmp(rows[i].to, p->to, 6))
            return &rows[i];
    if (*n >= cap)
        return NULL;
    memset(&rows[*n], 0, sizeof rows[0]);
    memcpy(rows[*n].from, p->from, 6);
    memcpy(rows[*n].to, p->to, 6);
    return &rows[(*n)++];
}

void matrix_add(const struct matrix *m, const struct vi_id *env, struct matrix_row *rows, unsigned cap, unsigned *n)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        const struct matrix_pair *p = &m->pair[i];
        struct matrix_row *r;
        if (!atomic_load_explicit(&p->used, memory_order_acquire) || !vi_id_equal(&p->env, env))
            continue;
        r = row_of(rows, cap, n, p);
        if (!r)
            return;
        r->frames += atomic_load_explicit(&p->frames, memory_order_relaxed);
        r->bytes += atomic_load_explicit(&p->bytes, memory_order_relaxed);
    }
}
