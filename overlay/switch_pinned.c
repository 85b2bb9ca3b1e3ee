/* Guests that stay where they are.
 *
 *   [7, env, counter, [mac…]]   of my MACs, those of pinned guests: all of them
 *
 * Such a MAC stays its host's while that host is gone, for STICKY: nobody else's statement is believed meanwhile. A
 * transfer that its host signs moves it as any. */
#include <string.h>

#include "overlay/switch_internal.h"
#include "peer/base/wire.h"

bool switch_sticks(const struct vswitch *s, const struct stated *m)
{
    return m->used && m->gone && m->pinned && s->now - m->gone_at < STICKY;
}

/* What stuck for long enough makes room for others. */
void switch_pinned_tick(const struct vswitch *s, struct senv *e)
{
    for (unsigned i = 0; i < SWITCH_MACS; i++)
        if (e->stated[i].gone && !switch_sticks(s, &e->stated[i]))
            e->stated[i].pinned = false;
}

void switch_say_pinned(struct vswitch *s, const struct senv *e, const struct other *o, bool empty)
{
    struct switch_effect *fx;
    struct vi_writer w;
    uint32_t n = 0;
    for (unsigned i = 0; i < e->n_local; i++)
        n += e->local[i].pinned;
    if (n == 0 && !empty)
        return;
    fx = switch_push(s, SWITCH_FX_SEND);
    if (!fx)
        return;
    n = n < SWITCH_PINNED ? n : SWITCH_PINNED;
    fx->peer = o->peer;
    vi_writer_init(&w, fx->data, sizeof fx->data);
    vi_write_array(&w, 4);
    vi_write_uint(&w, 7);
    vi_write_id(&w, &e->id);
    vi_write_uint(&w, ++s->counter);
    vi_write_array(&w, n);
    for (unsigned i = 0; i < e->n_local && n > 0; i++)
        if (e->local[i].pinned) {
            vi_write_bin(&w, e->local[i].mac, 6);
            n--;
        }
    fx->len = w.len;
}

void switch_take_pinned(struct vswitch *s, const struct vi_id *from, struct vi_reader *r)
{
    uint8_t macs[SWITCH_PINNED][6];
    struct vi_id env;
    struct senv *e;
    uint32_t n;
    vi_read_id(r, &env);
    (void)vi_read_uint(r, UINT64_MAX);
    n = vi_read_array(r, SWITCH_PINNED);
    for (uint32_t i = 0; i < n && !r->err; i++)
        vi_read_bytes(r, macs[i], 6);
    e = switch_env(s, &env);
    if (vi_read_end(r) || !e || switch_other(e, from) < 0)
        return;
    for (unsigned i = 0; i < SWITCH_MACS; i++) {
        struct stated *m = &e->stated[i];
        bool listed = false;
        if (!m->used || m->gone || !vi_id_equal(&m->peer, from))
            continue;
        for (uint32_t k = 0; k < n && !listed; k++)
            listed = !memcmp(m->mac, macs[k], 6);
        m->pinned = listed;
    }
}
