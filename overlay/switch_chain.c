/* Two hosts state one MAC: whose is it? See switch.h.
 *
 *   [6, env, mac]   by which transfers do you state it?   answered with [3, env, transfer]…
 *
 * Each host keeps the transfers it believed, and those that lead to them. One that peer signed itself, of a later epoch
 * than it states, says that the MAC isn't its own any more: it is told so. Who has the MAC by a transfer that nobody
 * here has heard of shows it, and is then believed as with any transfer. */
#include <string.h>

#include "overlay/switch_internal.h"
#include "peer/base/wire.h"

bool switch_transfer_has(const struct transfer *t, const uint8_t mac[6])
{
    for (unsigned i = 0; i < t->n_macs; i++)
        if (!memcmp(t->macs[i], mac, 6))
            return true;
    return false;
}

/* The one that is there already; the guest's oldest, when it has enough; a free one; the next in turn. */
static struct kept *place_for(struct senv *e, const struct transfer *t)
{
    struct kept *oldest = NULL, *unused = NULL;
    unsigned of_guest = 0;
    for (unsigned i = 0; i < SWITCH_TRANSFERS; i++) {
        struct kept *k = &e->kept[i];
        if (!k->used) {
            unused = unused ? unused : k;
            continue;
        }
        if (!vi_id_equal(&k->t.guest, &t->guest))
            continue;
        if (vi_id_equal(&k->t.handover, &t->handover) && k->t.epoch == t->epoch && vi_id_equal(&k->t.from, &t->from))
            return k;
        of_guest++;
        if (!oldest || k->t.epoch < oldest->t.epoch)
            oldest = k;
    }
    if (of_guest >= SWITCH_CHAIN)
        return oldest->t.epoch < t->epoch ? oldest : NULL;
    return unused ? unused : &e->kept[e->next_kept++ % SWITCH_TRANSFERS];
}

void switch_chain_add(struct senv *e, const struct transfer *t, const uint8_t *data, size_t len, bool write)
{
    struct kept *k = place_for(e, t);
    if (!k || len > sizeof k->data)
        return;
    if (k->used && k->len == len && !memcmp(k->data, data, len))
        return;
    k->used = true;
    k->write = write;
    k->t = *t;
    k->len = len;
    memcpy(k->data, data, len);
}

bool switch_chain_links(const struct senv *e, const struct transfer *t)
{
    for (unsigned i = 0; i < SWITCH_TRANSFERS; i++) {
        const struct kept *k = &e->kept[i];
        if (k->used && vi_id_equal(&k->t.guest, &t->guest) && vi_id_equal(&k->t.from, &t->to) && k->t.epoch > t->epoch)
            return true;
    }
    return false;
}

/* The transfer by which peer gave this MAC of the guest away after it had it with this epoch; NULL: not known. */
static const struct kept *given_away(const struct senv *e, const uint8_t mac[6], const struct vi_id *guest, uint64_t epoch,
                                     const struct vi_id *peer)
{
    for (unsigned i = 0; i < SWITCH_TRANSFERS; i++) {
        const struct kept *k = &e->kept[i];
        if (k->used && vi_id_equal(&k->t.from, peer) && k->t.epoch > epoch && vi_id_equal(&k->t.guest, guest) &&
            switch_transfer_has(&k->t, mac))
            return k;
    }
    return NULL;
}

static void tell(struct vswitch *s, const struct senv *e, const struct vi_id *to, const struct kept *k)
{
    struct switch_effect *fx = switch_push(s, SWITCH_FX_SEND);
    struct vi_writer w;
    if (!fx)
        return;
    fx->peer = *to;
    vi_writer_init(&w, fx->data, sizeof fx->data);
    vi_write_array(&w, 3);
    vi_write_uint(&w, 3);
    vi_write_id(&w, &e->id);
    vi_write_bin(&w, k->data, k->len);
    fx->len = w.len;
}

static void ask_for(struct vswitch *s, const struct senv *e, const struct vi_id *peer, const uint8_t mac[6])
{
    struct switch_effect *fx = vi_id_equal(peer, &s->cfg.self) ? NULL : switch_push(s, SWITCH_FX_SEND);
    struct vi_writer w;
    if (!fx)
        return;
    fx->peer = *peer;
    vi_writer_init(&w, fx->data, sizeof fx->data);
    vi_write_array(&w, 3);
    vi_write_uint(&w, 6);
    vi_write_id(&w, &e->id);
    vi_write_bin(&w, mac, 6);
    fx->len = w.len;
}

/* In both orders: who has believed an old one goes forward from it, who has the newest goes back. */
void switch_chain_show(struct vswitch *s, struct senv *e, const struct vi_id *to, const uint8_t mac[6])
{
    const struct kept *list[SWITCH_CHAIN];
    unsigned n = 0;
    if (e->shown && s->now - e->shown < SHOW_EVERY)
        return; /* it will ask again */
    e->shown = s->now;
    for (unsigned i = 0; i < SWITCH_TRANSFERS && n < SWITCH_CHAIN; i++) {
        unsigned at = n;
        if (!e->kept[i].used || !switch_transfer_has(&e->kept[i].t, mac))
            continue;
        for (; at > 0 && list[at - 1]->t.epoch > e->kept[i].t.epoch; at--)
            list[at] = list[at - 1];
        list[at] = &e->kept[i];
        n++;
    }
    for (unsigned i = 0; i < n; i++)
        tell(s, e, to, list[i]);
    for (unsigned i = n > 1 ? n - 1 : 0; i-- > 0;)
        tell(s, e, to, list[i]);
}

/* ---- conflicts ---- */

static struct dispute *dispute_of(struct senv *e, const uint8_t mac[6], const struct vi_id *peer, bool make)
{
    struct dispute *oldest = &e->disputes[0];
    for (unsigned i = 0; i < SWITCH_CONFLICTS; i++) {
        struct dispute *c = &e->disputes[i];
        if (c->used && !memcmp(c->mac, mac, 6) && vi_id_equal(&c->peer, peer))
            return c;
        if (oldest->used && (!c->used || c->at < oldest->at))
            oldest = c;
    }
    if (!make)
        return NULL;
    memset(oldest, 0, sizeof *oldest);
    memcpy(oldest->mac, mac, 6);
    oldest->peer = *peer;
    return oldest;
}

static void report(struct vswitch *s, const struct senv *e, struct dispute *c)
{
    struct switch_effect *fx = switch_push(s, SWITCH_FX_CONFLICT);
    c->said = s->now;
    if (!fx)
        return;
    fx->env = e->id;
    fx->peer = c->peer;
    fx->other = c->has;
    fx->decided = c->decided;
    memcpy(fx->mac, c->mac, 6);
}

void switch_conflict(struct vswitch *s, struct senv *e, const uint8_t mac[6], const struct vi_id *guest, uint64_t epoch,
                     const struct vi_id *peer, const struct vi_id *has)
{
    struct dispute *c = dispute_of(e, mac, peer, true);
    const struct kept *given = given_away(e, mac, guest, epoch, peer);
    enum switch_decision decided = given ? SWITCH_STAYS : SWITCH_UNDECIDED;
    bool is_new = !c->used || c->decided != decided || !vi_id_equal(&c->has, has);
    s->conflicts++;
    c->used = true;
    c->has = *has;
    c->decided = decided;
    c->at = s->now;
    if (is_new)
        report(s, e, c);
    if (c->asked && s->now - c->asked < ASK_AGAIN)
        return;
    c->asked = s->now;
    if (given && !vi_id_equal(peer, &s->cfg.self)) {
        tell(s, e, peer, given);
    } else if (!given) {
        ask_for(s, e, peer, mac);
        ask_for(s, e, has, mac);
    }
}

void switch_moved(struct vswitch *s, struct senv *e, const uint8_t mac[6], const struct vi_id *from,
                  const struct vi_id *to)
{
    struct dispute *c = dispute_of(e, mac, to, false);
    if (!c)
        return;
    c->has = *from;
    c->decided = SWITCH_MOVES;
    c->at = s->now;
    report(s, e, c);
}

bool switch_dispute_next(const struct vswitch *s, const struct vi_id *env, unsigned *pos, struct switch_dispute *out)
{
    const struct senv *e = switch_env(s, env);
    for (; e && *pos < SWITCH_CONFLICTS; (*pos)++) {
        const struct dispute *c = &e->disputes[*pos];
        if (!c->used)
            continue;
        memcpy(out->mac, c->mac, 6);
        out->peer = c->peer;
        out->has = c->has;
        out->decided = c->decided;
        (*pos)++;
        return true;
    }
    return false;
}

void switch_chain_tick(struct vswitch *s, vi_time now, struct senv *e)
{
    for (unsigned i = 0; i < SWITCH_CONFLICTS; i++)
        if (e->disputes[i].used && now - e->disputes[i].at > DISPUTE_MOST)
            e->disputes[i].used = false;
    for (unsigned i = 0; i < SWITCH_TRANSFERS; i++) {
        struct kept *k = &e->kept[i];
        struct switch_effect *fx = k->used && k->write ? switch_push(s, SWITCH_FX_KEEP) : NULL;
        if (!fx)
            continue;
        k->write = false;
        fx->env = e->id;
        fx->peer = k->t.guest;
        fx->len = k->len;
        memcpy(fx->data, k->data, k->len);
    }
}
