/* What the switch believes of what other hosts say. See switch.h; messages in overlay/README.md. */
#include "overlay/switch_internal.h"

#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

struct stated *switch_find_stated(struct senv *e, const uint8_t mac[6], bool make)
{
    struct stated *freed = NULL;
    for (unsigned i = 0; i < SWITCH_MACS; i++) {
        struct stated *m = &e->stated[i];
        if (m->used && !memcmp(m->mac, mac, 6))
            return m;
        if (!m->used || (m->gone && !m->pinned))
            if (!freed || (freed->used && !m->used))
                freed = m;
    }
    if (!make || !freed)
        return NULL;
    memset(freed, 0, sizeof *freed);
    freed->used = freed->gone = true;
    memcpy(freed->mac, mac, 6);
    return freed;
}

bool switch_is_local(const struct senv *e, const uint8_t mac[6])
{
    for (unsigned i = 0; i < e->n_local; i++)
        if (!memcmp(e->local[i].mac, mac, 6))
            return true;
    return false;
}

static void believe(struct vswitch *s, struct senv *e, const struct vi_id *peer, const uint8_t mac[6],
                    const struct vi_id *guest, uint64_t epoch, uint64_t counter)
{
    struct stated *m;
    if (switch_is_local(e, mac)) {
        switch_conflict(s, e, mac, guest, epoch, peer, &s->cfg.self);
        return;
    }
    m = switch_find_stated(e, mac, true);
    if (!m)
        return; /* the table is full: frames to it go to everybody, at the bounded rate */
    if ((!m->gone || switch_sticks(s, m)) && !vi_id_equal(&m->peer, peer)) {
        switch_conflict(s, e, mac, guest, epoch, peer, &m->peer);
        return;
    }
    if (m->gone && epoch < m->epoch && s->now - m->gone_at < ECHO_MOST)
        return; /* an echo from before its last move */
    if (m->gone || !vi_id_equal(&m->guest, guest) || m->epoch != epoch) {
        s->changed = true;
        switch_unlearn(e, mac);
    }
    if (!vi_id_equal(&m->guest, guest))
        m->says.n = 0;
    if (!vi_id_equal(&m->peer, peer))
        m->says.counter = 0; /* each host counts for itself */
    m->pinned &= vi_id_equal(&m->peer, peer);
    m->gone = false;
    m->peer = *peer;
    m->guest = *guest;
    m->epoch = epoch;
    m->counter = counter;
}

/* MACs that were not in the peer's newest whole statement are no longer there. */
static void forget_unsaid(struct vswitch *s, struct senv *e, const struct other *o)
{
    for (unsigned i = 0; i < SWITCH_MACS; i++) {
        struct stated *m = &e->stated[i];
        if (m->used && !m->gone && vi_id_equal(&m->peer, &o->peer) && m->counter != o->counter) {
            m->gone = true;
            m->pinned = false;
            m->gone_at = s->now;
            s->changed = true;
        }
    }
}

/* n / 3 entries, and nothing after them? A statement is taken whole or not at all. */
static bool entries_whole(struct vi_reader r, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 3) {
        uint8_t mac[6];
        struct vi_id guest;
        vi_read_bytes(&r, mac, 6);
        vi_read_id(&r, &guest);
        (void)vi_read_uint(&r, UINT64_MAX);
    }
    return vi_read_end(&r) == 0;
}

static void take_statement(struct vswitch *s, const struct vi_id *from, struct vi_reader *r)
{
    struct vi_id env;
    struct senv *e;
    struct other *o;
    uint64_t number, counter, part, parts;
    uint32_t n;
    int at;
    vi_read_id(r, &env);
    number = vi_read_uint(r, SWITCH_ENVS);
    counter = vi_read_uint(r, UINT64_MAX);
    part = vi_read_uint(r, 31);
    parts = vi_read_uint(r, 32);
    n = vi_read_array(r, PER_PART * 3);
    e = switch_env(s, &env);
    at = e ? switch_other(e, from) : -1;
    if (r->err || at < 0 || number == 0 || parts == 0 || part >= parts || n % 3 || !entries_whole(*r, n))
        return; /* of an environment we know nothing of, or from who takes no part in it */
    o = &e->others[at];
    if (counter < o->counter)
        return;
    if (counter > o->counter) {
        o->counter = counter;
        o->parts_seen = 0;
    }
    if (o->number != number) {
        o->number = (uint16_t)number;
        s->changed = true;
    }
    for (uint32_t i = 0; i < n / 3; i++) {
        uint8_t mac[6];
        struct vi_id guest;
        uint64_t epoch;
        vi_read_bytes(r, mac, 6);
        vi_read_id(r, &guest);
        epoch = vi_read_uint(r, UINT64_MAX);
        if (!(mac[0] & 1) && !e->away)
            believe(s, e, from, mac, &guest, epoch, counter);
    }
    o->parts_seen |= 1U << part;
    if (o->parts_seen == (parts == 32 ? UINT32_MAX : (1U << parts) - 1)) {
        struct switch_effect *fx = switch_push(s, SWITCH_FX_SEND);
        forget_unsaid(s, e, o);
        if (fx) {
            struct vi_writer w;
            fx->peer = *from;
            vi_writer_init(&w, fx->data, sizeof fx->data);
            vi_write_array(&w, 3);
            vi_write_uint(&w, 2);
            vi_write_id(&w, &env);
            vi_write_uint(&w, counter);
            fx->len = w.len;
        }
    }
}

/* The record that says that a host takes part travels by gossip and may come after the guest has moved
 * there. Who has the guest by a transfer that is good takes part. */
int switch_known_by_transfer(struct vswitch *s, vi_time now, struct senv *e, const struct vi_id *peer)
{
    int at = switch_other(e, peer);
    struct other *o;
    if (at >= 0 || e->n_others >= SWITCH_PEERS || vi_id_equal(peer, &s->cfg.self))
        return at;
    o = &e->others[e->n_others];
    memset(o, 0, sizeof *o);
    o->peer = *peer;
    o->until = now + RECORD_MOST;
    s->changed = true;
    switch_say(s, e, o, now);
    return (int)e->n_others++;
}

/* By our own word a guest of ours isn't ours any more: what is here is a copy that somebody brought back. */
static bool we_gave(const struct vswitch *s, const struct senv *e, const struct transfer *t, const uint8_t mac[6])
{
    if (!vi_id_equal(&t->from, &s->cfg.self))
        return false;
    for (unsigned i = 0; i < e->n_local; i++)
        if (!memcmp(e->local[i].mac, mac, 6))
            return vi_id_equal(&e->local[i].guest, &t->guest) && e->local[i].epoch < t->epoch;
    return false;
}

static void drop_local(struct senv *e, const uint8_t mac[6])
{
    unsigned n = 0;
    for (unsigned i = 0; i < e->n_local; i++)
        if (memcmp(e->local[i].mac, mac, 6) != 0)
            e->local[n++] = e->local[i];
    e->n_local = n;
}

/* Who has it by our book gives it away, for the guest that has it; or nobody has it. */
static bool may_move(const struct vswitch *s, const struct stated *m, const struct transfer *t)
{
    if (t->epoch <= m->epoch)
        return false;
    if (m->gone && !switch_sticks(s, m))
        return true;
    return vi_id_equal(&m->peer, &t->from) && vi_id_equal(&m->guest, &t->guest);
}

static void move(struct vswitch *s, struct senv *e, struct stated *m, const struct transfer *t)
{
    struct vi_id from = m->peer;
    int at = switch_other(e, &t->to);
    bool had = !m->gone;
    switch_unlearn(e, m->mac);
    m->says.counter = 0; /* the other host counts for itself */
    m->gone = m->pinned = false;
    m->peer = t->to;
    m->guest = t->guest;
    m->epoch = t->epoch;
    m->counter = at < 0 ? 0 : e->others[at].counter;
    s->changed = true;
    if (had)
        switch_moved(s, e, m->mac, &from, &t->to);
}

/* A transfer is believed when who signed it has the MACs by our book, or nobody has. */
static void take_transfer(struct vswitch *s, vi_time now, struct senv *e, const struct vi_id *teller,
                          const uint8_t *data, size_t len)
{
    struct transfer t;
    uint8_t pk[32];
    bool holds = false, dropped = false;
    if (transfer_decode(&t, data, len) || !vi_id_equal(&t.env, &e->id) ||
        !s->cfg.key_of(s->cfg.arg, &t.from, pk) || transfer_verify(data, len, pk))
        return;
    if (vi_id_equal(&t.to, &s->cfg.self))
        return; /* ours: by SWITCH_EV_ACTIVATE only */
    if (e->away)
        return; /* it would go stale: nobody would tell us of the next move */
    if (switch_other(e, teller) < 0 && (!vi_id_equal(teller, &t.to) || switch_other(e, &t.from) < 0))
        return; /* told by who takes no part, or given by who took none */
    for (unsigned i = 0; i < t.n_macs; i++) {
        struct stated *m;
        bool ours = switch_is_local(e, t.macs[i]), gave = ours && we_gave(s, e, &t, t.macs[i]);
        if (ours && !gave)
            continue;
        if (gave) {
            drop_local(e, t.macs[i]);
            switch_chain_add(e, &t, data, len, true);
            switch_conflict(s, e, t.macs[i], &t.guest, t.epoch - 1, &s->cfg.self, &t.to);
            dropped = true;
        }
        m = switch_find_stated(e, t.macs[i], true);
        holds |= m && !m->gone && t.epoch == m->epoch && vi_id_equal(&m->peer, &t.to);
        if (!m || !may_move(s, m, &t))
            continue;
        holds = true;
        move(s, e, m, &t);
    }
    if (holds || switch_chain_links(e, &t))
        switch_chain_add(e, &t, data, len, false);
    if (dropped)
        switch_say_to_all(s, e, now);
    if (holds) /* an old one, told again, makes nobody take part */
        (void)switch_known_by_transfer(s, now, e, &t.to);
}

void switch_take_message(struct vswitch *s, vi_time now, const struct switch_event *ev)
{
    struct vi_reader r;
    struct vi_id env;
    struct senv *e;
    uint64_t kind;
    uint32_t n;
    vi_reader_init(&r, ev->data, ev->len);
    n = vi_read_array(&r, 7);
    kind = vi_read_uint(&r, 255);
    if (kind == 1 && n == 7) {
        take_statement(s, &ev->peer, &r);
    } else if (kind == 2 && n == 3) {
        uint64_t counter;
        int at;
        vi_read_id(&r, &env);
        counter = vi_read_uint(&r, UINT64_MAX);
        e = switch_env(s, &env);
        at = e ? switch_other(e, &ev->peer) : -1;
        if (!vi_read_end(&r) && at >= 0 && counter > e->others[at].acked)
            e->others[at].acked = counter;
    } else if (kind == 5 && n == 4) {
        switch_take_addresses(s, &ev->peer, &r);
    } else if (kind == 6 && n == 3) {
        uint8_t mac[6];
        vi_read_id(&r, &env);
        vi_read_bytes(&r, mac, sizeof mac);
        e = switch_env(s, &env);
        if (!vi_read_end(&r) && e && switch_other(e, &ev->peer) >= 0)
            switch_chain_show(s, e, &ev->peer, mac);
    } else if (kind == 7 && n == 4) {
        switch_take_pinned(s, &ev->peer, &r);
    } else if (kind == 8 && n == 4) {
        switch_take_learned(s, now, &ev->peer, &r);
    } else if (kind == 3 && n == 3) {
        size_t len;
        const uint8_t *data;
        vi_read_id(&r, &env);
        data = vi_read_bin(&r, TRANSFER_MAX, &len);
        e = switch_env(s, &env);
        if (!vi_read_end(&r) && e)
            take_transfer(s, now, e, &ev->peer, data, len);
    } else if (kind == 4 && n == 2) {
        int at;
        vi_read_id(&r, &env);
        e = switch_env(s, &env);
        at = e ? switch_other(e, &ev->peer) : -1;
        if (!vi_read_end(&r) && at >= 0 &&
            (e->others[at].acked < e->counter || now - e->others[at].last_sent >= AGAIN / 2))
            switch_say(s, e, &e->others[at], now);
    }
}
