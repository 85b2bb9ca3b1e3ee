/* Which IP addresses the guests say they have.
 *
 *   [5, env, counter, [mac, addresses]…]   of my guests, each MAC with all of its addresses, 16 bytes each
 *
 * Said with each statement, and when something is new. Who states a MAC says its addresses; the newest holds. */
#include <string.h>

#include "overlay/switch_internal.h"
#include "peer/base/wire.h"

#define FORGET  (20 * 60 * VI_SEC)
#define PER_MESSAGE 8

static void say_some(struct vswitch *s, const struct senv *e, const struct other *o, unsigned from, unsigned to)
{
    struct switch_effect *fx = switch_push(s, SWITCH_FX_SEND);
    struct vi_writer w;
    if (!fx)
        return;
    fx->peer = o->peer;
    vi_writer_init(&w, fx->data, sizeof fx->data);
    vi_write_array(&w, 4);
    vi_write_uint(&w, 5);
    vi_write_id(&w, &e->id);
    vi_write_uint(&w, ++s->counter);
    vi_write_array(&w, (to - from) * 2);
    for (unsigned i = from; i < to; i++) {
        vi_write_bin(&w, e->local[i].mac, 6);
        vi_write_bin(&w, e->local[i].says.ip[0], (size_t)e->local[i].says.n * IP_BYTES);
    }
    fx->len = w.len;
}

void switch_say_addresses(struct vswitch *s, const struct senv *e, const struct other *o, bool empty)
{
    for (unsigned from = 0; from < e->n_local; from += PER_MESSAGE) {
        unsigned to = from + PER_MESSAGE < e->n_local ? from + PER_MESSAGE : e->n_local;
        bool any = empty;
        for (unsigned i = from; i < to; i++)
            any |= e->local[i].says.n > 0;
        if (any)
            say_some(s, e, o, from, to);
    }
}

static struct stated *stated_by(struct senv *e, const struct vi_id *peer, const uint8_t mac[6])
{
    for (unsigned i = 0; i < SWITCH_MACS; i++) {
        struct stated *m = &e->stated[i];
        if (m->used && !memcmp(m->mac, mac, 6))
            return !m->gone && vi_id_equal(&m->peer, peer) ? m : NULL;
    }
    return NULL;
}

/* n / 2 entries, and nothing after them? Taken whole or not at all. */
static bool entries_whole(struct vi_reader r, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 2) {
        uint8_t mac[6];
        size_t len;
        vi_read_bytes(&r, mac, 6);
        (void)vi_read_bin(&r, SWITCH_MAC_IPS * IP_BYTES, &len);
        if (r.err || len % IP_BYTES)
            return false;
    }
    return vi_read_end(&r) == 0;
}

void switch_take_addresses(struct vswitch *s, const struct vi_id *from, struct vi_reader *r)
{
    struct vi_id env;
    struct senv *e;
    uint64_t counter;
    uint32_t n;
    vi_read_id(r, &env);
    counter = vi_read_uint(r, UINT64_MAX);
    n = vi_read_array(r, PER_MESSAGE * 2);
    e = switch_env(s, &env);
    if (r->err || !e || switch_other(e, from) < 0 || n % 2 || !entries_whole(*r, n))
        return;
    for (uint32_t i = 0; i < n; i += 2) {
        uint8_t mac[6];
        const uint8_t *ips;
        size_t len;
        struct stated *m;
        vi_read_bytes(r, mac, 6);
        ips = vi_read_bin(r, SWITCH_MAC_IPS * IP_BYTES, &len);
        m = stated_by(e, from, mac);
        if (!m || counter <= m->says.counter)
            continue;
        m->says.counter = counter;
        if (m->says.n * IP_BYTES == len && (len == 0 || !memcmp(m->says.ip, ips, len)))
            continue;
        m->says.n = (unsigned)(len / IP_BYTES);
        if (len)
            memcpy(m->says.ip, ips, len);
        e->addresses_new = true; /* published at the next tick: many may be new at once */
    }
}

/* The place of one more: a free one, or the one that was said longest ago. */
static unsigned place_for(struct says *says)
{
    unsigned oldest = 0;
    if (says->n < SWITCH_MAC_IPS)
        return says->n++;
    for (unsigned i = 1; i < says->n; i++)
        if (says->at[i] < says->at[oldest])
            oldest = i;
    return oldest;
}

void switch_address(struct vswitch *s, vi_time now, const struct switch_event *ev)
{
    struct senv *e = switch_env(s, &ev->env);
    for (unsigned i = 0; e && i < e->n_local; i++) {
        struct says *says = &e->local[i].says;
        unsigned at = 0;
        if (memcmp(e->local[i].mac, ev->mac, 6) != 0)
            continue;
        while (at < says->n && memcmp(says->ip[at], ev->ip, IP_BYTES) != 0)
            at++;
        if (at == says->n) {
            at = place_for(says);
            memcpy(says->ip[at], ev->ip, IP_BYTES);
            e->addresses_new = e->addresses_tell = true;
        }
        says->at[at] = now;
        return;
    }
}

void switch_addresses_tick(struct vswitch *s, vi_time now, struct senv *e)
{
    for (unsigned i = 0; i < e->n_local; i++) {
        struct says *says = &e->local[i].says;
        for (unsigned k = 0; k < says->n;) {
            if (now - says->at[k] < FORGET) {
                k++;
                continue;
            }
            says->n--;
            memcpy(says->ip[k], says->ip[says->n], IP_BYTES);
            says->at[k] = says->at[says->n];
            e->addresses_new = e->addresses_tell = true;
        }
    }
    for (unsigned k = 0; e->addresses_tell && k < e->n_others; k++)
        switch_say_addresses(s, e, &e->others[k], true);
    s->changed |= e->addresses_new;
    e->addresses_new = e->addresses_tell = false;
}

void switch_addresses_here(struct says *says, vi_time now)
{
    for (unsigned i = 0; i < says->n; i++)
        says->at[i] = now;
}
