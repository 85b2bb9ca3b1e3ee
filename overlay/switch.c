/* The virtual switch's core. See switch.h; messages in overlay/README.md.
 *
 *   [1, env, our number for it, counter, part, parts, [mac, guest, epoch]…]   statement
 *   [2, env, counter]                                                        acknowledged
 *   [3, env, transfer]                                                       a guest has moved
 *   [4, env]                                                                 say yours again: I know nothing
 *   [5, env, counter, [mac, addresses]…]                                     switch_address.c */
#include "overlay/switch_internal.h"

#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

/* ---- effects ---- */

struct switch_effect *switch_push(struct vswitch *s, enum switch_effect_kind kind)
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
    for (unsigned i = 0; i < SWITCH_ENVS; i++) {
        if (s->envs[i] && !(t->envs[i] = switch_env_table_make(s->envs[i]))) {
            switch_table_free(t);
            return;
        }
        if (t->envs[i])
            t->envs[i]->slot = i;
    }
    if (!fx)
        fx = switch_push(s, SWITCH_FX_TABLE);
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

int switch_env_index(const struct vswitch *s, const struct vi_id *id)
{
    for (unsigned i = 0; i < SWITCH_ENVS; i++)
        if (s->envs[i] && vi_id_equal(&s->envs[i]->id, id))
            return (int)i;
    return -1;
}

struct senv *switch_env(const struct vswitch *s, const struct vi_id *id)
{
    int i = switch_env_index(s, id);
    return i < 0 ? NULL : s->envs[i];
}

/* ---- the owner's events ---- */

static void set_env(struct vswitch *s, const struct switch_event *ev)
{
    int at = switch_env_index(s, &ev->env);
    if (!ev->on) {
        if (at >= 0) {
            free(s->envs[at]);
            s->envs[at] = NULL;
            s->changed = true;
        }
        return;
    }
    if (at >= 0) {
        s->changed |= s->envs[at]->strict != ev->strict || s->envs[at]->bandwidth < ev->bandwidth ||
                      s->envs[at]->bandwidth > ev->bandwidth;
        s->envs[at]->strict = ev->strict;
        s->envs[at]->bandwidth = ev->bandwidth;
        return;
    }
    for (unsigned i = 0; i < SWITCH_ENVS; i++) {
        if (s->envs[i])
            continue;
        s->envs[i] = calloc(1, sizeof *s->envs[i]);
        if (!s->envs[i])
            return;
        s->envs[i]->used = true;
        s->envs[i]->id = ev->env;
        s->envs[i]->strict = ev->strict;
        s->envs[i]->bandwidth = ev->bandwidth;
        s->envs[i]->counter = s->envs[i]->serial = ++s->counter;
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

/* New ones are told what is here, and asked: what they said before was said to who didn't know them. Many at
 * once, as after a start, are asked by the tick. */
static void greet(struct vswitch *s, struct senv *e, vi_time now)
{
    unsigned asked = 0;
    for (unsigned i = 0; i < e->n_others; i++) {
        struct other *o = &e->others[i];
        if (o->last_sent)
            continue;
        switch_say(s, e, o, now);
        if (o->number == 0 && asked++ < GREETED)
            switch_ask(s, e, o);
    }
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
    greet(s, e, now);
    free(old);
}

/* The MACs of one guest that were local, for their addresses: it may be put in again, or be given away. */
struct removed {
    unsigned n; /* also of those for which there was no room */
    struct local_mac mac[16];
};

static void remove_local(struct senv *e, const struct vi_id *guest, struct removed *r)
{
    unsigned n = 0;
    r->n = 0;
    for (unsigned i = 0; i < e->n_local; i++)
        if (!vi_id_equal(&e->local[i].guest, guest))
            e->local[n++] = e->local[i];
        else if (r->n++ < sizeof r->mac / sizeof r->mac[0])
            r->mac[r->n - 1] = e->local[i];
    e->n_local = n;
    for (unsigned i = 0; i < r->n && i < sizeof r->mac / sizeof r->mac[0]; i++)
        e->pinned_tell |= r->mac[i].pinned;
}

static const struct says *says_of(const struct removed *r, const uint8_t mac[6])
{
    for (unsigned i = 0; i < r->n && i < sizeof r->mac / sizeof r->mac[0]; i++)
        if (!memcmp(r->mac[i].mac, mac, 6))
            return &r->mac[i].says;
    return NULL;
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
        if (!listed || l->epoch != ev->epoch || l->pinned != ev->pinned)
            return false;
        have++;
    }
    return have == (ev->on ? ev->n : 0);
}

static void add_local(struct vswitch *s, struct senv *e, const struct vi_id *guest, uint64_t epoch,
                      const uint8_t mac[6], const struct says *says, bool transferred, bool pinned)
{
    struct stated *m = switch_find_stated(e, mac, false);
    struct local_mac *l;
    if (switch_is_local(e, mac) || e->n_local >= SWITCH_LOCAL_MACS)
        return;
    if (m && !transferred && (m->gone ? switch_sticks(s, m) : m->epoch >= epoch)) {
        switch_conflict(s, e, mac, guest, epoch, &s->cfg.self, &m->peer); /* another host had it first */
        return;
    }
    if (m)
        m->used = false;
    switch_unlearn(e, mac);
    l = &e->local[e->n_local++];
    memset(l, 0, sizeof *l);
    memcpy(l->mac, mac, 6);
    l->guest = *guest;
    l->epoch = epoch;
    l->pinned = pinned;
    e->pinned_tell |= pinned;
    if (!says && m && vi_id_equal(&m->guest, guest))
        says = &m->says;
    if (says) { /* it comes with its addresses */
        l->says = *says;
        switch_addresses_here(&l->says, s->now);
    }
}

static void set_local(struct vswitch *s, vi_time now, const struct switch_event *ev)
{
    struct senv *e = switch_env(s, &ev->env);
    struct removed removed;
    unsigned before;
    if (!e || same_local(e, ev))
        return;
    before = e->n_local;
    remove_local(e, &ev->guest, &removed);
    for (unsigned i = 0; ev->on && i < ev->n; i++)
        add_local(s, e, &ev->guest, ev->epoch, ev->macs[i], says_of(&removed, ev->macs[i]), false, ev->pinned);
    if (removed.n || e->n_local != before)
        switch_say_to_all(s, e, now);
}

static void activate(struct vswitch *s, vi_time now, const struct switch_event *ev)
{
    struct transfer t;
    struct removed removed;
    struct senv *e;
    int at;
    if (transfer_decode(&t, ev->data, ev->len) || !(e = switch_env(s, &t.env)))
        return;
    remove_local(e, &t.guest, &removed);
    for (unsigned i = 0; i < t.n_macs; i++) {
        struct switch_effect *fx;
        add_local(s, e, &t.guest, t.epoch, t.macs[i], says_of(&removed, t.macs[i]), true, false);
        fx = switch_push(s, SWITCH_FX_ANNOUNCE);
        if (fx) {
            fx->env = t.env;
            memcpy(fx->mac, t.macs[i], 6);
        }
    }
    switch_chain_add(e, &t, ev->data, ev->len, true);
    at = switch_known_by_transfer(s, now, e, &t.from); /* it forwards what still arrives, and must hear of us */
    if (at >= 0 && e->others[at].number == 0)          /* what it said before, it said to who didn't know it */
        switch_ask(s, e, &e->others[at]);
    switch_tell_transfer(s, e, ev->data, ev->len);
    s->tell[s->next_tell % TRANSFERS].env = t.env;
    s->tell[s->next_tell % TRANSFERS].times = 4;
    s->tell[s->next_tell % TRANSFERS].len = ev->len;
    memcpy(s->tell[s->next_tell++ % TRANSFERS].data, ev->data, ev->len);
    switch_say_to_all(s, e, now);
}

/* That a guest came here isn't told again once it has left: who was started anew would believe it. */
static void stop_telling(struct vswitch *s, const struct transfer *left)
{
    struct transfer t;
    for (unsigned i = 0; i < TRANSFERS; i++)
        if (s->tell[i].times && !transfer_decode(&t, s->tell[i].data, s->tell[i].len) &&
            vi_id_equal(&t.env, &left->env) && vi_id_equal(&t.guest, &left->guest))
            s->tell[i].times = 0;
}

static void given(struct vswitch *s, vi_time now, const struct switch_event *ev)
{
    struct transfer t;
    struct removed removed;
    struct senv *e;
    if (transfer_decode(&t, ev->data, ev->len) || !(e = switch_env(s, &t.env)))
        return;
    remove_local(e, &t.guest, &removed);
    stop_telling(s, &t);
    (void)switch_known_by_transfer(s, now, e, &t.to);
    switch_chain_add(e, &t, ev->data, ev->len, true);
    for (unsigned i = 0; i < t.n_macs; i++) {
        struct stated *m = switch_find_stated(e, t.macs[i], true);
        const struct says *says = says_of(&removed, t.macs[i]);
        if (!m)
            continue;
        if (says)
            m->says = *says;
        m->says.counter = 0; /* the other host counts for itself */
        m->gone = m->pinned = false;
        m->peer = t.to;
        m->guest = t.guest;
        m->epoch = t.epoch;
        for (unsigned k = 0; k < e->n_others; k++)
            if (vi_id_equal(&e->others[k].peer, &t.to))
                m->counter = e->others[k].counter;
    }
    switch_say_to_all(s, e, now);
}

/* Nobody tells a host that takes no part what moves: what it knows would go stale, so it forgets it, and
 * asks when it takes part again. */
static void set_away(struct vswitch *s, vi_time now, const struct switch_event *ev)
{
    struct senv *e = switch_env(s, &ev->env);
    if (!e || e->away == ev->on)
        return;
    e->away = ev->on;
    s->changed = true;
    for (unsigned i = 0; ev->on && i < SWITCH_MACS; i++) {
        struct stated *m = &e->stated[i];
        if (!m->used || m->gone)
            continue;
        m->gone = true;
        m->pinned = false;
        m->gone_at = now;
    }
    for (unsigned k = 0; !ev->on && k < e->n_others; k++)
        switch_ask(s, e, &e->others[k]);
}

/* Our own store's: it was believed once. */
static void put_back(struct vswitch *s, const struct switch_event *ev)
{
    struct transfer t;
    struct senv *e;
    if (!transfer_decode(&t, ev->data, ev->len) && (e = switch_env(s, &t.env)) != NULL)
        switch_chain_add(e, &t, ev->data, ev->len, false);
}

static void peer_gone(struct vswitch *s, const struct vi_id *peer, bool left)
{
    for (unsigned i = 0; i < SWITCH_ENVS; i++)
        for (unsigned k = 0; s->envs[i] && k < SWITCH_MACS; k++) {
            struct stated *m = &s->envs[i]->stated[k];
            if (m->used && !m->gone && vi_id_equal(&m->peer, peer)) {
                m->gone = true;
                m->gone_at = s->now;
                s->changed = true;
            }
            if (m->used && left && vi_id_equal(&m->peer, peer))
                m->pinned = false;
        }
}

static void peer_up(struct vswitch *s, const struct vi_id *peer, vi_time now)
{
    for (unsigned i = 0; i < SWITCH_ENVS; i++) {
        int at = s->envs[i] ? switch_other(s->envs[i], peer) : -1;
        if (at >= 0)
            switch_say(s, s->envs[i], &s->envs[i]->others[at], now);
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
        if (e) {
            drop_unconfirmed(s, e, now);
            switch_chain_tick(s, now, e);
            switch_pinned_tick(s, e);
            switch_learned_tick(s, now, e);
            switch_addresses_tick(s, now, e);
        }
        for (unsigned k = 0; e && k < e->n_others; k++) {
            struct other *o = &e->others[k];
            if (now - o->last_sent >= (o->acked < e->counter ? AGAIN : REFRESH))
                switch_say(s, e, o, now);
            if (o->number == 0 && o->asks < ASKS) /* it may have said it before we could take it */
                switch_ask(s, e, o);
        }
    }
    for (unsigned i = 0; i < TRANSFERS; i++) {
        struct senv *e = s->tell[i].times ? switch_env(s, &s->tell[i].env) : NULL;
        if (!s->tell[i].times)
            continue;
        s->tell[i].times--;
        if (e)
            switch_tell_transfer(s, e, s->tell[i].data, s->tell[i].len);
    }
}

void switch_step(struct vswitch *s, vi_time now, const struct switch_event *ev)
{
    s->now = now;
    switch (ev->kind) {
    case SWITCH_EV_TICK: tick(s, now); break;
    case SWITCH_EV_ENV: set_env(s, ev); break;
    case SWITCH_EV_PARTICIPANTS: set_participants(s, now, ev); break;
    case SWITCH_EV_ADDRESS: switch_address(s, now, ev); break;
    case SWITCH_EV_LEARNED: switch_learned(s, now, ev); break;
    case SWITCH_EV_AWAY: set_away(s, now, ev); break;
    case SWITCH_EV_KEPT: put_back(s, ev); break;
    case SWITCH_EV_LOCAL: set_local(s, now, ev); break;
    case SWITCH_EV_MESSAGE: switch_take_message(s, now, ev); break;
    case SWITCH_EV_ACTIVATE: activate(s, now, ev); break;
    case SWITCH_EV_GIVEN: given(s, now, ev); break;
    case SWITCH_EV_PEER_UP: peer_up(s, &ev->peer, now); break;
    case SWITCH_EV_PEER_GONE: peer_gone(s, &ev->peer, ev->left); break;
    }
    if (s->changed)
        push_table(s);
}
