/* Key to index. See idmap.h. */
#include "gossip/idmap.h"

#include <stdlib.h>

#include "peer/base/err.h"
#include "peer/base/id.h"

#include <string.h>

void gsp_idmap_init(struct gsp_idmap *m, size_t key_len,
                    const void *(*key)(const void *arg, uint32_t index), const void *arg)
{
    *m = (struct gsp_idmap){.key_len = key_len, .arg = arg, .key = key};
}

void gsp_idmap_free(struct gsp_idmap *m)
{
    free(m->slot);
    m->slot = NULL;
    m->mask = m->used = 0;
}

#define INDEX GSP_IDMAP_MOST

static uint64_t hash(const struct gsp_idmap *m, const void *key)
{
    return vi_bucket(key, m->key_len);
}

static uint32_t home(const struct gsp_idmap *m, uint64_t h)
{
    return (uint32_t)h & m->mask;
}

/* Of the hash what home() doesn't use: tells most other keys apart without looking at them. */
static uint32_t mark(uint64_t h)
{
    return (uint32_t)(h >> 56) << 24;
}

uint32_t gsp_idmap_find(const struct gsp_idmap *m, const void *key)
{
    uint64_t h;

    if (!m->slot)
        return GSP_NONE;
    h = hash(m, key);
    for (uint32_t i = home(m, h); m->slot[i]; i = (i + 1) & m->mask)
        if ((m->slot[i] & ~INDEX) == mark(h) &&
            !memcmp(m->key(m->arg, (m->slot[i] & INDEX) - 1), key, m->key_len))
            return (m->slot[i] & INDEX) - 1;
    return GSP_NONE;
}

static void place(struct gsp_idmap *m, uint32_t index)
{
    uint64_t h = hash(m, m->key(m->arg, index));
    uint32_t i = home(m, h);

    while (m->slot[i])
        i = (i + 1) & m->mask;
    m->slot[i] = mark(h) | (index + 1);
}

static int grow(struct gsp_idmap *m)
{
    uint32_t *old = m->slot, n = old ? m->mask + 1 : 0, want = n ? 2 * n : 16;
    uint32_t *slot = calloc(want, sizeof *slot);

    if (!slot)
        return VI_ENOMEM;
    m->slot = slot;
    m->mask = want - 1;
    for (uint32_t i = 0; i < n; i++)
        if (old[i])
            place(m, (old[i] & INDEX) - 1);
    free(old);
    return 0;
}

int gsp_idmap_add(struct gsp_idmap *m, uint32_t index)
{
    if (!m->slot || m->used + 1 > (m->mask + 1) / 4 * 3)
        if (grow(m))
            return VI_ENOMEM;
    place(m, index);
    m->used++;
    return 0;
}

/* Closes the gap, so that no marks of removed ones pile up (Knuth, vol. 3, 6.4, algorithm R). */
void gsp_idmap_remove(struct gsp_idmap *m, uint32_t index)
{
    uint32_t i, j;

    if (!m->slot)
        return;
    i = home(m, hash(m, m->key(m->arg, index)));
    while (m->slot[i] && (m->slot[i] & INDEX) != index + 1)
        i = (i + 1) & m->mask;
    if (!m->slot[i])
        return;
    for (j = (i + 1) & m->mask; m->slot[j]; j = (j + 1) & m->mask) {
        uint32_t h = home(m, hash(m, m->key(m->arg, (m->slot[j] & INDEX) - 1)));

        if (((j - h) & m->mask) >= ((j - i) & m->mask)) {
            m->slot[i] = m->slot[j];
            i = j;
        }
    }
    m->slot[i] = 0;
    m->used--;
}
