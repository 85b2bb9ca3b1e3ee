/* MACs that nobody states: stations of an attached LAN, bridges inside guests.
 *
 *   [8, env, counter, [mac…]]   heard behind my TAP: all of them
 *
 * Told with each statement, and at the next tick when one is new. */
#include <string.h>

#include "overlay/switch_internal.h"
#include "peer/base/wire.h"

#define FORGET      (300 * VI_SEC)
#define HEARD_NOW   (30 * VI_SEC)
#define FORGET_TOLD (60 * VI_SEC) /* it is said again every 10 s */

static struct learned *find(struct learned *list, unsigned n, const uint8_t mac[6])
{
    for (unsigned i = 0; i < n; i++)
        if (!memcmp(list[i].mac, mac, 6))
            return &list[i];
    return NULL;
}

static void drop(struct learned *list, unsigned *n, struct learned *l)
{
    *l = list[--*n];
}

static bool is_stated(const struct senv *e, const uint8_t mac[6])
{
    if (switch_is_local(e, mac))
        return true;
    for (unsigned i = 0; i < SWITCH_MACS; i++)
        if (e->stated[i].used && !e->stated[i].gone && !memcmp(e->stated[i].mac, mac, 6))
            return true;
    return false;
}

void switch_unlearn(struct senv *e, const uint8_t mac[6])
{
    struct learned *own = find(e->own, e->n_own, mac), *others = find(e->learned, e->n_learned, mac);
    if (own) {
        drop(e->own, &e->n_own, own);
        e->learned_tell = true;
    }
    if (others)
        drop(e->learned, &e->n_learned, others);
}

void switch_learned(struct vswitch *s, vi_time now, const struct switch_event *ev)
{
    struct senv *e = switch_env(s, &ev->env);
    struct learned *l, *others;
    if (!e || e->strict || (ev->mac[0] & 1) || is_stated(e, ev->mac))
        return;
    l = find(e->own, e->n_own, ev->mac);
    others = find(e->learned, e->n_learned, ev->mac);
    if (others) { /* it was heard here later */
        drop(e->learned, &e->n_learned, others);
        e->addresses_new = true;
    }
    if (!l && e->n_own < SWITCH_LEARNED_OWN) {
        l = &e->own[e->n_own++];
        memset(l, 0, sizeof *l);
        memcpy(l->mac, ev->mac, 6);
        e->learned_tell = e->addresses_new = true;
    }
    if (l)
        l->at = now;
}

void switch_say_learned(struct vswitch *s, const struct senv *e, const struct other *o, bool empty)
{
    struct switch_effect *fx = e->n_own || empty ? switch_push(s, SWITCH_FX_SEND) : NULL;
    struct vi_writer w;
    if (!fx)
        return;
    fx->peer = o->peer;
    vi_writer_init(&w, fx->data, sizeof fx->data);
    vi_write_array(&w, 4);
    vi_write_uint(&w, 8);
    vi_write_id(&w, &e->id);
    vi_write_uint(&w, ++s->counter);
    vi_write_array(&w, e->n_own);
    for (unsigned i = 0; i < e->n_own; i++)
        vi_write_bin(&w, e->own[i].mac, 6);
    fx->len = w.len;
}

static void take_one(struct senv *e, vi_time now, const struct vi_id *from, const uint8_t mac[6])
{
    struct learned *l = find(e->learned, e->n_learned, mac), *own = find(e->own, e->n_own, mac);
    if ((mac[0] & 1) || is_stated(e, mac) || (own && now - own->at < HEARD_NOW) ||
        (l && !vi_id_equal(&l->peer, from) && now - l->at < HEARD_NOW))
        return; /* it was just heard elsewhere: the first stays */
    if (own) {
        drop(e->own, &e->n_own, own);
        e->learned_tell = true;
    }
    if (!l && e->n_learned < SWITCH_LEARNED) {
        l = &e->learned[e->n_learned++];
        memset(l, 0, sizeof *l);
        memcpy(l->mac, mac, 6);
    }
    if (!l)
        return;
    e->addresses_new |= own || !vi_id_equal(&l->peer, from);
    l->peer = *from;
    l->at = now;
}

void switch_take_learned(struct vswitch *s, vi_time now, const struct vi_id *from, struct vi_reader *r)
{
    uint8_t macs[SWITCH_LEARNED_OWN][6];
    struct vi_id env;
    struct senv *e;
    uint32_t n;
    vi_read_id(r, &env);
    (void)vi_read_uint(r, UINT64_MAX);
    n = vi_read_array(r, SWITCH_LEARNED_OWN);
    for (uint32_t i = 0; i < n && !r->err; i++)
        vi_read_bytes(r, macs[i], 6);
    e = switch_env(s, &env);
    if (vi_read_end(r) || !e || e->strict || switch_other(e, from) < 0)
        return;
    for (unsigned i = 0; i < e->n_learned;) {
        bool listed = !vi_id_equal(&e->learned[i].peer, from);
        for (uint32_t k = 0; k < n && !listed; k++)
            listed = !memcmp(e->learned[i].mac, macs[k], 6);
        if (listed) {
            i++;
            continue;
        }
        drop(e->learned, &e->n_learned, &e->learned[i]);
        e->addresses_new = true;
    }
    for (uint32_t i = 0; i < n; i++)
        take_one(e, now, from, macs[i]);
}

static void forget(struct senv *e, struct learned *list, unsigned *n, vi_time before, bool own)
{
    for (unsigned i = 0; i < *n;) {
        if (list[i].at > before) {
            i++;
            continue;
        }
        drop(list, n, &list[i]);
        e->addresses_new = true;
        e->learned_tell |= own;
    }
}

void switch_learned_tick(struct vswitch *s, vi_time now, struct senv *e)
{
    forget(e, e->own, &e->n_own, now - FORGET, true);
    forget(e, e->learned, &e->n_learned, now - FORGET_TOLD, false);
    for (unsigned k = 0; e->learned_tell && k < e->n_others; k++)
        switch_say_learned(s, e, &e->others[k], true);
    for (unsigned k = 0; e->pinned_tell && k < e->n_others; k++)
        switch_say_pinned(s, e, &e->others[k], true);
    e->learned_tell = e->pinned_tell = false;
}
