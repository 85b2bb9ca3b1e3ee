/* What the switch tells other hosts. See switch.h; messages in overlay/README.md. */
#include "overlay/switch_internal.h"
#include "peer/base/wire.h"

static void say_part(struct vswitch *s, struct senv *e, unsigned index, struct other *o, unsigned part,
                     unsigned parts)
{
    struct switch_effect *fx = switch_push(s, SWITCH_FX_SEND);
    struct vi_writer w;
    unsigned from = part * PER_PART, to = from + PER_PART < e->n_local ? from + PER_PART : e->n_local;
    if (!fx)
        return;
    fx->peer = o->peer;
    vi_writer_init(&w, fx->data, sizeof fx->data);
    vi_write_array(&w, 7);
    vi_write_uint(&w, 1);
    vi_write_id(&w, &e->id);
    vi_write_uint(&w, index + 1);
    vi_write_uint(&w, e->counter);
    vi_write_uint(&w, part);
    vi_write_uint(&w, parts);
    vi_write_array(&w, (to - from) * 3);
    for (unsigned i = from; i < to; i++) {
        vi_write_bin(&w, e->local[i].mac, 6);
        vi_write_id(&w, &e->local[i].guest);
        vi_write_uint(&w, e->local[i].epoch);
    }
    fx->len = w.len;
}

void switch_say(struct vswitch *s, struct senv *e, struct other *o, vi_time now)
{
    unsigned parts = e->n_local ? (e->n_local + PER_PART - 1) / PER_PART : 1;
    for (unsigned part = 0; part < parts; part++)
        say_part(s, e, (unsigned)switch_env_index(s, &e->id), o, part, parts);
    switch_say_addresses(s, e, o, false);
    switch_say_pinned(s, e, o, false);
    switch_say_learned(s, e, o, false);
    o->last_sent = now;
}

void switch_ask(struct vswitch *s, const struct senv *e, struct other *o)
{
    struct switch_effect *fx = switch_push(s, SWITCH_FX_SEND);
    struct vi_writer w;
    if (!fx)
        return;
    fx->peer = o->peer;
    vi_writer_init(&w, fx->data, sizeof fx->data);
    vi_write_array(&w, 2);
    vi_write_uint(&w, 4);
    vi_write_id(&w, &e->id);
    fx->len = w.len;
    o->asks++;
}

void switch_say_to_all(struct vswitch *s, struct senv *e, vi_time now)
{
    e->counter = ++s->counter;
    for (unsigned i = 0; i < e->n_others; i++)
        switch_say(s, e, &e->others[i], now);
    s->changed = true;
}

void switch_tell_transfer(struct vswitch *s, const struct senv *e, const uint8_t *data, size_t len)
{
    for (unsigned i = 0; i < e->n_others; i++) {
        struct switch_effect *fx = switch_push(s, SWITCH_FX_SEND);
        struct vi_writer w;
        if (!fx)
            return;
        fx->peer = e->others[i].peer;
        vi_writer_init(&w, fx->data, sizeof fx->data);
        vi_write_array(&w, 3);
        vi_write_uint(&w, 3);
        vi_write_id(&w, &e->id);
        vi_write_bin(&w, data, len);
        fx->len = w.len;
    }
}
