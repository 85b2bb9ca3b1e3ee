/* The daemon and images: who has one? A few are asked at a time, the likely ones first. See daemon_image.h.
 *
 * Nothing is announced: a guest's source has its images, hosts of its environment do, and everybody else is only asked
 * when these can't give it. At 1,000 hosts the worst case, an image that one of them has, is 1,000 questions once. */
#include "peer/daemon_image.h"

#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

#define LIKELY 16 /* so many are asked before one that has it is enough */

struct image_look {
    struct daemon *d;
    uint8_t body[IMAGE_BODY_MAX];
    int len;
    struct vi_id *whom;
    unsigned n, next, asking, have, enough;
    bool cancelled;
    image_found_cb *found;
    image_looked_cb *looked;
    void *arg;
};

struct asking {
    struct image_look *l;
    struct vi_id peer;
};

static void release(struct image_look *l)
{
    if (l->asking || !l->cancelled)
        return;
    free(l->whom);
    free(l);
}

static void on_answer(void *arg, int err, const uint8_t *body, size_t len)
{
    struct asking *a = arg;
    struct image_look *l = a->l;
    struct vi_id peer = a->peer;
    struct image_found found;
    free(a);
    l->asking--;
    if (!l->cancelled && !err && image_found_decode(&found, body, len) == 0) {
        l->have++;
        l->found(l->arg, &peer, &found);
    }
    if (l->cancelled)
        release(l);
    else
        (void)image_look_pump(l);
}

static bool ask(struct image_look *l)
{
    struct asking *a = malloc(sizeof *a);
    if (!a)
        return false;
    a->l = l;
    a->peer = l->whom[l->next];
    if (calls_ask(l->d->calls, daemon_now(), &a->peer, CALL_IMAGE_FIND, l->body, (size_t)l->len, on_answer, a)) {
        free(a);
        return false;
    }
    l->next++;
    l->asking++;
    return true;
}

bool image_look_pump(struct image_look *l)
{
    image_looked_cb *looked = l->looked;
    void *arg = l->arg;
    unsigned asked;
    while (l->next < l->n && l->asking < IMAGE_ASKED && l->have < l->enough && (!l->have || l->next < LIKELY))
        if (!ask(l))
            break; /* too many calls for the moment: when one of them ends, or with the next tick */
    if (l->asking || (l->next < l->n && !l->have))
        return l->asking > 0;
    asked = l->next;
    l->cancelled = true;
    release(l);
    looked(arg, asked);
    return true;
}

void image_look_cancel(struct image_look *l)
{
    l->cancelled = true;
    release(l);
}

static void add(struct image_look *l, const struct vi_id *id, unsigned cap)
{
    if (l->n == cap || vi_id_is_zero(id) || vi_id_equal(id, &l->d->me.id) || image_is_enemy(l->d, id) ||
        daemon_keys_blocked(l->d, id))
        return;
    for (unsigned i = 0; i < l->n && i < LIKELY; i++) /* twice one of the others is no harm */
        if (vi_id_equal(&l->whom[i], id))
            return;
    l->whom[l->n++] = *id;
}

static void add_members(struct image_look *l, unsigned cap)
{
    unsigned from = l->n;
    struct gossip_member m;
    size_t pos = 0;
    while (gossip_member_next(l->d->gossip, &pos, &m))
        if (m.state == GOSSIP_ALIVE)
            add(l, &m.id, cap);
    for (unsigned i = l->n; i > from + 1; i--) { /* in any order */
        unsigned k = from + vi_rng_below(&l->d->rng, i - from);
        struct vi_id t = l->whom[i - 1];
        l->whom[i - 1] = l->whom[k];
        l->whom[k] = t;
    }
}

struct image_look *image_look(struct daemon *d, const struct image_find *what, const struct vi_id *first, unsigned n,
                              unsigned enough, image_found_cb *found, image_looked_cb *looked, void *arg)
{
    struct image_look *l = calloc(1, sizeof *l);
    unsigned cap = n + gossip_alive(d->gossip);
    if (!l)
        return NULL;
    l->d = d;
    l->enough = enough;
    l->found = found;
    l->looked = looked;
    l->arg = arg;
    l->len = image_find_encode(what, l->body, sizeof l->body);
    l->whom = calloc(cap ? cap : 1, sizeof *l->whom);
    if (!l->whom || l->len < 0) {
        free(l->whom);
        free(l);
        return NULL;
    }
    for (unsigned i = 0; i < n; i++)
        add(l, &first[i], cap);
    add_members(l, cap);
    return l;
}
