/* The virtual switch's core. See switch.h; messages in overlay/README.md.
 *
 *   [1, env, our number for it, counter, part, parts, [mac, guest, epoch]…]   statement
 *   [2, env, counter]                                                        acknowledged
 *   [3, env, transfer]                                                       a guest has moved
 *   [4, env]                                                                 say yours again: I know nothing */
#include "overlay/switch_internal.h"

#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

/* ---- tables ---- */

unsigned switch_mac_slot(const uint8_t mac[6])
{
    return (unsigned)(vi_bucket(mac, 6) % (SWITCH_MACS * 2));
}

const struct switch_mac *switch_table_find(const struct switch_env_table *t, const uint8_t mac[6])
{
    unsigned at = switch_mac_slot(mac);
    for (unsigned i = 0; i < SWITCH_MACS * 2; i++) {
        const struct switch_mac *m = &t->macs[(at + i) % (SWITCH_MACS * 2)];
        if (!m->used)
            return NULL;
        if (!memcmp(m->mac, mac, 6))
            return m;
    }
    return NULL;
}

static void table_add(struct switch_env_table *t, const uint8_t mac[6], bool local, unsigned peer)
{
    unsigned at = switch_mac_slot(mac);
    for (unsigned i = 0; i < SWITCH_MACS * 2; i++) {
        struct switch_mac *m = &t->macs[(at + i) % (SWITCH_MACS * 2)];
        if (m->used)
            continue;
        memcpy(m->mac, mac, 6);
        m->used = true;
        m->local = local;
        m->peer = (uint16_t)peer;
        return;
    }
}

void switch_table_free(struct switch_table *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < SWITCH_ENVS; i++)
        free(t->envs[i]);
    free(t);
}

static int other_index(const struct senv *e, const struct vi_id *peer)
{
    for (unsigned i = 0; i < e->n_others; i++)
        if (vi_id_equal(&e->others[i].peer, peer))
            return (int)i;
    return -1;
}

static struct switch_env_table *env_table(const struct senv *e)
{
    struct switch_env_table *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->env = e->id;
    t->used = true;
    t->n_peers = e->n_others;
    for (unsigned i = 0; i < e->n_others; i++) {
        t->peers[i] = e->others[i].peer;
        t->number[i] = e->others[i].number;
    }
    for (unsigned i = 0; i < e->n_local; i++)
        table_add(t, e->local[i].mac, true, 0);
    for (unsigned i = 0; i < SWITCH_MACS; i++) {
        const struct stated *s = &e->stated[i];
        int at = s->used && !s->gone ? other_index(e, &s->peer) : -1;
        if (at >= 0 && !switch_table_find(t, s->mac))
            table_add(t, s->mac, false, (unsigned)at);
    }
    return t;
}

/* ---- effects ---- */

static struct switch_effect *push(struct vswitch *s, enum switch_effect_kind kind)
{
    struct switch_effect *fx;
    if (s->count >= EFFECTS)
        return NULL;
    fx = &s->effects[(s->first + s->count++) % EFFECTS];
    memset(fx, 0, offsetof(struct switch_effect, data));
    fx->kind = kind;
    return fx;
}

static struct switch_effect *table_waiting(struct vswitch *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        struct switch_effect *fx = &s->effects[(s->first + i) % EFFECTS];
        if (fx->kind == SWITCH_FX_TABLE)
            return fx;
    }
    return NULL;
}

static void push_table(struct vswitch *s)
{
    struct switch_effect *fx = table_waiting(s);
    struct switch_table *t = calloc(1, sizeof *t);
    if (!t)
        return; /* s->changed stays: tried again at the next step */
    for (unsigned i = 0; i < SWITCH_ENVS; i++)
        if (s->envs[i] && !(t->envs[i] = env_table(s->envs[i]))) {
            switch_table_free(t);
            return;
        }
    if (!fx)
        fx = push(s, SWITCH_FX_TABLE);
    if (!fx) {
        switch_table_free(t);
        return;
    }
    switch_table_free(fx->table);
    fx->table = t;
    s->changed = false;
}

const struct switch_effect *switch_effect(struct vswitch *s)
{
    const struct switch_effect *fx;
    if (s->count == 0)
        return NULL;
    fx = &s->effects[s->first];
    s->first = (s->first + 1) % EFFECTS;
    s->count--;
    return fx;
}

/* ---- opening ---- */

struct vswitch *switch_new(const struct switch_config *cfg, vi_time now)
{
    struct vswitch *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->cfg = *cfg;
    s->counter = cfg->first_counter;
    s->next = now + AGAIN;
    return s;
}

void switch_free(struct vswitch *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->count; i++)
        switch_table_free(s->effects[(s->first + i) % EFFECTS].table);
    for (unsigned i = 0; i < SWITCH_ENVS; i++)
        free(s->envs[i]);
    free(s);
}

vi_time switch_deadline(const struct vswitch *s)
{
    return s->next;
}

uint64_t switch_conflicts(const struct vswitch *s)
{
    return s->conflicts;
}

static int env_index(const struct vswitch *s, const struct vi_id *id)
{
    for (unsigned i = 0; i < SWITCH_ENVS; i++)
        if (s->envs[i] && vi_id_equal(&s->envs[i]->id, id))
            return (int)i;
    return -1;
}

struct senv *switch_env(const struct vswitch *s, const struct vi_id *id)
{
    int i = env_index(s, id);
    return i < 0 ? NULL : s->envs[i];
}

/* ---- saying ---- */

static void say_part(struct vswitch *s, struct senv *e, unsigned index, struct other *o, unsigned part,
                     unsigned parts)
{
    struct switch_effect *fx = push(s, SWITCH_FX_SEND);
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

static void say(struct vswitch *s, struct senv *e, struct other *o, vi_time now)
{
    unsigned parts = e->n_local ? (e->n_local + PER_PART - 1) / PER_PART : 1;
    for (unsigned part = 0; part < parts; part++)
        say_part(s, e, (unsigned)env_index(s, &e->id), o, part, parts);
    o->last_sent = now;
}

static void ask(struct vswitch *s, const struct senv *e, struct other *o)
{
    struct switch_effect *fx = push(s, SWITCH_FX_SEND);
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

static void say_to_all(struct vswitch *s, struct senv *e, vi_time now)
{
    e->counter = ++s->counter;
    for (unsigned i = 0; i < e->n_others; i++)
        say(s, e, &e->others[i], now);
    s->changed = true;
}

static void tell_transfer(struct vswitch *s, const struct senv *e, const uint8_t *data, size_t len)
{
    for (unsigned i = 0; i < e->n_others; i++) {
        struct switch_effect *fx = push(s, SWITCH_FX_SEND);
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

/* ---- believing ---- */

static struct stated *find_stated(struct senv *e, const uint8_t mac[6], bool make)
{
    struct stated *freed = NULL;
    for (unsigned i = 0; i < SWITCH_MACS; i++) {
        struct stated *m = &e->stated[i];
        if (m->used && !memcmp(m->mac, mac, 6))
            return m;
        if (!m->used || m->gone)
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

static void conflict(struct vswitch *s, const struct senv *e, const uint8_t mac[6], const struct vi_id *peer,
                     const struct vi_id *has)
{
    struct switch_effect *fx;
    s->conflicts++;
    fx = push(s, SWITCH_FX_CONFLICT);
    if (!fx)
        return;
    fx->env = e->id;
    fx->peer = *peer;
    fx->other = *has;
    memcpy(fx->mac, mac, 6);
}

static void believe(struct vswitch *s, struct senv *e, const struct vi_id *peer, const uint8_t mac[6],
                    const struct vi_id *guest, uint64_t epoch, uint64_t counter)
{
    struct stated *m;
    if (switch_is_local(e, mac)) {
        conflict(s, e, mac, peer, &s->cfg.self);
        return;
    }
    m = find_stated(e, mac, true);
    if (!m)
        return; /* the table is full: frames to it go to everybody, at the bounded rate */
    if (!m->gone && !vi_id_equal(&m->peer, peer)) {
        conflict(s, e, mac, peer, &m->peer);
        return;
    }
    if (m->gone && epoch < m->epoch && s->now - m->gone_at < ECHO_MOST)
        return; /* an echo from before its last move */
    if (m->gone || !vi_id_equal(&m->guest, guest) || m->epoch != epoch)
        s->changed = true;
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
    at = e ? other_index(e, from) : -1;
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
        if (!(mac[0] & 1))
            believe(s, e, from, mac, &guest, epoch, counter);
    }
    o->parts_seen |= 1U << part;
    if (o->parts_seen == (parts == 32 ? UINT32_MAX : (1U << parts) - 1)) {
        struct switch_effect *fx = push(s, SWITCH_FX_SEND);
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
static int known_by_transfer(struct vswitch *s, vi_time now, struct senv *e, const struct vi_id *peer)
{
    int at = other_index(e, peer);
    struct other *o;
    if (at >= 0 || e->n_others >= SWITCH_PEERS || vi_id_equal(peer, &s->cfg.self))
        return at;
    o = &e->others[e->n_others];
    memset(o, 0, sizeof *o);
    o->peer = *peer;
    o->until = now + RECORD_MOST;
    s->changed = true;
    say(s, e, o, now);
    return (int)e->n_others++;
}

/* A transfer is believed when who signed it has the MACs by our book, or nobody has. */
static void take_transfer(struct vswitch *s, vi_time now, struct senv *e, const struct vi_id *teller,
                          const uint8_t *data, size_t len)
{
    struct transfer t;
    uint8_t pk[32];
    bool holds = false;
    if (transfer_decode(&t, data, len) || !vi_id_equal(&t.env, &e->id) ||
        !s->cfg.key_of(s->cfg.arg, &t.from, pk) || transfer_verify(data, len, pk))
        return;
    if (vi_id_equal(&t.to, &s->cfg.self))
        return; /* ours: by SWITCH_EV_ACTIVATE only */
    if (other_index(e, teller) < 0 && (!vi_id_equal(teller, &t.to) || other_index(e, &t.from) < 0))
        return; /* told by who takes no part, or given by who took none */
    for (unsigned i = 0; i < t.n_macs; i++) {
        struct stated *m;
        if (switch_is_local(e, t.macs[i]))
            continue;
        m = find_stated(e, t.macs[i], true);
        holds |= m && !m->gone && t.epoch == m->epoch && vi_id_equal(&m->peer, &t.to);
        if (!m || t.epoch <= m->epoch || !(m->gone || vi_id_equal(&m->peer, &t.from)))
            continue;
        holds = true;
        m->gone = false;
        m->peer = t.to;
        m->guest = t.guest;
        m->epoch = t.epoch;
        m->counter = 0;
        for (unsigned k = 0; k < e->n_others; k++)
            if (vi_id_equal(&e->others[k].peer, &t.to))
                m->counter = e->others[k].counter;
        s->changed = true;
    }
    if (holds) /* an old one, told again, makes nobody take part */
        (void)known_by_transfer(s, now, e, &t.to);
}

static void take_message(struct vswitch *s, vi_time now, const struct switch_event *ev)
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
        at = e ? other_index(e, &ev->peer) : -1;
        if (!vi_read_end(&r) && at >= 0 && counter > e->others[at].acked)
            e->others[at].acked = counter;
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
        at = e ? other_index(e, &ev->peer) : -1;
        if (!vi_read_end(&r) && at >= 0 && now - e->others[at].last_sent >= AGAIN / 2)
            say(s, e, &e->others[at], now);
    }
}

/* ---- the owner's events ---- */

static void set_env(struct vswitch *s, const struct switch_event *ev)
{
    int at = env_index(s, &ev->env);
    if (!ev->on) {
        if (at >= 0) {
            free(s->envs[at]);
            s->envs[at] = NULL;
            s->changed = true;
        }
        return;
    }
    for (unsigned i = 0; at < 0 && i < SWITCH_ENVS; i++) {
        if (s->envs[i])
            continue;
        s->envs[i] = calloc(1, sizeof *s->envs[i]);
        if (!s->envs[i])
            return;
        s->envs[i]->used = true;
        s->envs[i]->id = ev->env;
        s->envs[i]->counter = ++s->counter;
        s->changed = true;
        return;
    }
}

static bool in_list(const struct switch_event *ev, const struct vi_id *peer)
{
    for (unsigned i = 0; i < ev->n; i++)
        if (vi_id_equal(&ev->peers[i], peer))
            return true;
    return false;
}

static void set_participants(struct vswitch *s, vi_time now, const struct switch_event *ev)
{
    struct senv *e = switch_env(s, &ev->env);
    struct other *old;
    unsigned n_old, n = 0;
    if (!e)
        return;
    n_old = e->n_others;
    old = malloc(sizeof e->others);
    if (!old)
        return;
    memcpy(old, e->others, sizeof e->others);
    for (unsigned i = 0; i < ev->n && n < SWITCH_PEERS; i++) {
        struct other *o = &e->others[n++];
        bool known = false;
        for (unsigned k = 0; k < n_old && !known; k++)
            if (vi_id_equal(&old[k].peer, &ev->peers[i])) {
                *o = old[k];
                known = true;
            }
        if (known)
            continue;
        memset(o, 0, sizeof *o);
        o->peer = ev->peers[i];
        s->changed = true;
    }
    for (unsigned i = 0; i < n; i++)
        e->others[i].until = VI_NEVER;
    for (unsigned k = 0; k < n_old && n < SWITCH_PEERS; k++)
        if (old[k].until != VI_NEVER && old[k].until > now && !in_list(ev, &old[k].peer))
            e->others[n++] = old[k];
    s->changed |= n != n_old;
    e->n_others = n;
    for (unsigned i = 0; i < n; i++)
        if (e->others[i].last_sent == 0)
            say(s, e, &e->others[i], now);
    free(old);
}

static bool remove_local(struct senv *e, const struct vi_id *guest)
{
    unsigned n = 0;
    for (unsigned i = 0; i < e->n_local; i++)
        if (!vi_id_equal(&e->local[i].guest, guest))
            e->local[n++] = e->local[i];
    if (n == e->n_local)
        return false;
    e->n_local = n;
    return true;
}

static bool same_local(const struct senv *e, const struct switch_event *ev)
{
    unsigned have = 0;
    for (unsigned i = 0; i < e->n_local; i++) {
        const struct local_mac *l = &e->local[i];
        bool listed = false;
        if (!vi_id_equal(&l->guest, &ev->guest))
            continue;
        for (unsigned k = 0; k < ev->n; k++)
            listed |= !memcmp(l->mac, ev->macs[k], 6);
        if (!listed || l->epoch != ev->epoch)
            return false;
        have++;
    }
    return have == (ev->on ? ev->n : 0);
}

static void add_local(struct vswitch *s, struct senv *e, const struct vi_id *guest, uint64_t epoch,
                      const uint8_t mac[6], bool transferred)
{
    struct stated *m = find_stated(e, mac, false);
    if (switch_is_local(e, mac) || e->n_local >= SWITCH_LOCAL_MACS)
        return;
    if (m && !m->gone && !transferred && m->epoch >= epoch) {
        conflict(s, e, mac, &s->cfg.self, &m->peer); /* another host had it first */
        return;
    }
    if (m)
        m->used = false;
    memcpy(e->local[e->n_local].mac, mac, 6);
    e->local[e->n_local].guest = *guest;
    e->local[e->n_local++].epoch = epoch;
}

static void set_local(struct vswitch *s, vi_time now, const struct switch_event *ev)
{
    struct senv *e = switch_env(s, &ev->env);
    unsigned before;
    if (!e || same_local(e, ev))
        return;
    before = e->n_local;
    bool removed = remove_local(e, &ev->guest);
    for (unsigned i = 0; ev->on && i < ev->n; i++)
        add_local(s, e, &ev->guest, ev->epoch, ev->macs[i], false);
    if (removed || e->n_local != before)
        say_to_all(s, e, now);
}

static void activate(struct vswitch *s, vi_time now, const struct switch_event *ev)
{
    struct transfer t;
    struct senv *e;
    if (transfer_decode(&t, ev->data, ev->len) || !(e = switch_env(s, &t.env)))
        return;
    remove_local(e, &t.guest);
    for (unsigned i = 0; i < t.n_macs; i++) {
        struct switch_effect *fx;
        add_local(s, e, &t.guest, t.epoch, t.macs[i], true);
        fx = push(s, SWITCH_FX_ANNOUNCE);
        if (fx) {
            fx->env = t.env;
            memcpy(fx->mac, t.macs[i], 6);
        }
    }
    tell_transfer(s, e, ev->data, ev->len);
    s->tell[s->next_tell % TRANSFERS].env = t.env;
    s->tell[s->next_tell % TRANSFERS].times = 4;
    s->tell[s->next_tell % TRANSFERS].len = ev->len;
    memcpy(s->tell[s->next_tell++ % TRANSFERS].data, ev->data, ev->len);
    say_to_all(s, e, now);
}

static void given(struct vswitch *s, vi_time now, const struct switch_event *ev)
{
    struct transfer t;
    struct senv *e;
    if (transfer_decode(&t, ev->data, ev->len) || !(e = switch_env(s, &t.env)))
        return;
    remove_local(e, &t.guest);
    (void)known_by_transfer(s, now, e, &t.to);
    for (unsigned i = 0; i < t.n_macs; i++) {
        struct stated *m = find_stated(e, t.macs[i], true);
        if (!m)
            continue;
        m->gone = false;
        m->peer = t.to;
        m->guest = t.guest;
        m->epoch = t.epoch;
        for (unsigned k = 0; k < e->n_others; k++)
            if (vi_id_equal(&e->others[k].peer, &t.to))
                m->counter = e->others[k].counter;
    }
    say_to_all(s, e, now);
}

static void peer_gone(struct vswitch *s, const struct vi_id *peer)
{
    for (unsigned i = 0; i < SWITCH_ENVS; i++)
        for (unsigned k = 0; s->envs[i] && k < SWITCH_MACS; k++) {
            struct stated *m = &s->envs[i]->stated[k];
            if (m->used && !m->gone && vi_id_equal(&m->peer, peer)) {
                m->gone = true;
                m->gone_at = s->now;
                s->changed = true;
            }
        }
}

static void peer_up(struct vswitch *s, const struct vi_id *peer, vi_time now)
{
    for (unsigned i = 0; i < SWITCH_ENVS; i++) {
        int at = s->envs[i] ? other_index(s->envs[i], peer) : -1;
        if (at >= 0)
            say(s, s->envs[i], &s->envs[i]->others[at], now);
    }
}

/* Hosts whose record that they take part never came. */
static void drop_unconfirmed(struct vswitch *s, struct senv *e, vi_time now)
{
    unsigned n = 0;
    for (unsigned k = 0; k < e->n_others; k++)
        if (e->others[k].until > now)
            e->others[n++] = e->others[k];
    s->changed |= n != e->n_others;
    e->n_others = n;
}

static void tick(struct vswitch *s, vi_time now)
{
    s->next = now + AGAIN;
    for (unsigned i = 0; i < SWITCH_ENVS; i++) {
        struct senv *e = s->envs[i];
        if (e)
            drop_unconfirmed(s, e, now);
        for (unsigned k = 0; e && k < e->n_others; k++) {
            struct other *o = &e->others[k];
            if (now - o->last_sent >= (o->acked < e->counter ? AGAIN : REFRESH))
                say(s, e, o, now);
            if (o->number == 0 && o->asks < ASKS) /* it may have said it before we could take it */
                ask(s, e, o);
        }
    }
    for (unsigned i = 0; i < TRANSFERS; i++) {
        struct senv *e = s->tell[i].times ? switch_env(s, &s->tell[i].env) : NULL;
        if (!s->tell[i].times)
            continue;
        s->tell[i].times--;
        if (e)
            tell_transfer(s, e, s->tell[i].data, s->tell[i].len);
    }
}

void switch_step(struct vswitch *s, vi_time now, const struct switch_event *ev)
{
    s->now = now;
    switch (ev->kind) {
    case SWITCH_EV_TICK: tick(s, now); break;
    case SWITCH_EV_ENV: set_env(s, ev); break;
    case SWITCH_EV_PARTICIPANTS: set_participants(s, now, ev); break;
    case SWITCH_EV_LOCAL: set_local(s, now, ev); break;
    case SWITCH_EV_MESSAGE: take_message(s, now, ev); break;
    case SWITCH_EV_ACTIVATE: activate(s, now, ev); break;
    case SWITCH_EV_GIVEN: given(s, now, ev); break;
    case SWITCH_EV_PEER_UP: peer_up(s, &ev->peer, now); break;
    case SWITCH_EV_PEER_GONE: peer_gone(s, &ev->peer); break;
    }
    if (s->changed)
        push_table(s);
}
