/* Probing, in our own name and for others; suspicions that run out; the two guards. */
#include "gossip/internal.h"

#include <stdlib.h>
#include <string.h>

void gsp_health(struct gossip *g, int delta)
{
    g->health = gsp_health_add(g->health, delta, g->cfg.health_max);
}

vi_time gsp_probe_timeout(const struct gossip *g)
{
    vi_time t = gsp_rtt_timeout(&g->rtts, g->cfg.timeout_min, g->cfg.timeout_max);

    return t * (vi_time)(g->health + 1);
}

/* ---- guards ----------------------------------------------------------------------------------- */

bool gsp_held(struct gossip *g)
{
    vi_time silent = g->now - g->last_rx;

    if (g->now < g->hold_until)
        return true;
    if (g->norder >= 3 && silent > g->cfg.silence && silent < g->cfg.silence_most) {
        g->count.guard_silence++;
        return true;
    }
    return false;
}

/* We stood still: whatever waits for an answer waits that much longer, and nobody is judged until
 * what lies in the sockets could be read. */
void gsp_lagged(struct gossip *g, vi_time lag)
{
    if (lag <= 0)
        return;
    g->count.guard_lag++;
    gsp_health(g, 1);
    g->hold_until = g->now + g->cfg.timeout_max;
    g->last_rx += lag;
    g->next_probe_at += lag;
    if (g->probe.on) {
        g->probe.direct_until += lag;
        g->probe.end += lag;
        g->probe.again += g->probe.again == VI_NEVER ? 0 : lag;
    }
    for (uint32_t k = 0; k < g->nsuspects; k++) {
        g->m[g->suspects[k]].doubt->until += lag;
        g->m[g->suspects[k]].doubt->ask += lag;
    }
    for (unsigned k = 0; k < g->relay_cap; k++) {
        g->relay[k].nack_at += lag;
        g->relay[k].until += lag;
    }
    g->next_gossip = g->next_gossip < g->now ? g->now : g->next_gossip;
    g->next_sync = g->next_sync < g->now ? g->now : g->next_sync;
    g->next_store = g->next_store < g->now ? g->now : g->next_store;
    g->next_join = g->next_join < g->now ? g->now : g->next_join;
}

/* ---- suspicions ------------------------------------------------------------------------------- */

/* Sooner than now is now: a deadline in the past would look as if we had stood still since then. */
void gsp_doubt_until(const struct gossip *g, struct gsp_doubt *d, vi_time until)
{
    if (until < g->now)
        until = g->now;
    if (until < d->until)
        d->until = until;
}

void gsp_confirm(struct gossip *g, uint32_t i, const struct vi_id *accuser, const struct gossip_why *why)
{
    const struct gsp_suspicion s = {g->cfg.alpha, g->cfg.beta, g->cfg.confirmations,
                                    g->cfg.probe_interval};
    struct gsp_doubt *d = g->m[i].doubt;
    bool known = false;
    vi_time until;

    for (unsigned k = 0; k < d->n; k++)
        known |= vi_id_equal(&d->accusers[k], accuser);
    if (!known && d->n <= g->cfg.confirmations && d->n < GSP_ACCUSERS) {
        d->accusers[d->n++] = *accuser;
        d->why.confirmations = d->n - 1;
        struct gossip_why also = *why;
        also.accuser = *accuser;
        also.confirmations = d->n - 1;
        gsp_member_effect(g, i, GOSSIP_SUSPECT, GOSSIP_CONFIRMED, &also);
        gsp_rumour(g, i); /* an independent one is news (Lifeguard §IV-B) */
    }
    until = d->start + gsp_suspicion_time(&s, g->norder + 1, d->n - 1);
    gsp_doubt_until(g, d, until);
}

void gsp_dies(struct gossip *g, uint32_t i)
{
    struct gossip_why why = g->m[i].doubt->why;

    why.reason = GOSSIP_WHY_TIMEOUT;
    if (gsp_member_state(g, i, GOSSIP_DEAD, GOSSIP_DOWN, &why)) {
        g->m[i].doubt->until = g->now + g->cfg.probe_interval;
        return;
    }
    g->m[i].doubt->why.at = g->now;
    g->count.died++;
    gsp_rumour(g, i);
}

/* Whoever spoke to us since it was accused lives, whatever was said: it is told again, and has the
 * time to refute. The dead don't speak, so this ends. */
static bool spoke(const struct gossip *g, const struct gsp_member *m)
{
    return m->heard > m->doubt->start && g->now - m->heard < 2 * g->cfg.probe_interval;
}

static void ping(struct gossip *g, uint32_t i, uint32_t seq)
{
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    gsp_begin(g, &o, buf, GSP_PING);
    gsp_put_u32(&o, seq);
    gsp_piggyback(g, &o, i);
    gsp_send(g, gsp_id(&g->m[i]), &g->m[i].word->st.addr, &o);
}

/* A refutation may have missed us: two others are asked, every half of the shortest suspicion. And the
 * suspect itself: it hears of the accusation, and an answer spares it whatever others say. Without that a
 * single liar, who names accusers that never accused, has a healthy member declared dead by those whom
 * the refutation reaches too late. */
static void ask(struct gossip *g, uint32_t i)
{
    struct gsp_doubt *d = g->m[i].doubt;

    if (d->ask > g->now || g->cfg.plain)
        return;
    d->ask = g->now + gsp_ask_gap(g);
    gsp_ask_about(g, i);
    ping(g, i, ++g->seq);
}

vi_time gsp_ask_gap(const struct gossip *g)
{
    const struct gsp_suspicion s = {g->cfg.alpha, g->cfg.beta, g->cfg.confirmations,
                                    g->cfg.probe_interval};

    return gsp_suspicion_min(&s, g->norder + 1) / 2;
}

void gsp_doubt_tick(struct gossip *g)
{
    bool held = gsp_held(g);

    for (uint32_t k = g->nsuspects; k > 0; k--) {
        uint32_t i = g->suspects[k - 1];
        struct gsp_doubt *d = g->m[i].doubt;

        if (d->until > g->now) {
            ask(g, i);
            continue;
        }
        if (held || gsp_aside_holds(g, d)) {
            d->until = g->now + g->cfg.timeout_max;
        } else if (!g->cfg.plain && spoke(g, &g->m[i])) {
            d->until = g->now + g->cfg.probe_interval;
            gsp_tell(g, i);
        } else {
            gsp_dies(g, i);
        }
    }
}

vi_time gsp_doubt_deadline(const struct gossip *g)
{
    vi_time t = VI_NEVER;

    for (uint32_t k = 0; k < g->nsuspects; k++) {
        const struct gsp_doubt *d = g->m[g->suspects[k]].doubt;

        if (d->until < t)
            t = d->until;
        if (d->ask < t && !g->cfg.plain)
            t = d->ask;
    }
    return t;
}

/* ---- our own probes --------------------------------------------------------------------------- */

static void shuffle(struct gossip *g)
{
    for (uint32_t k = g->norder; k > 1; k--) {
        uint32_t j = vi_rng_below(g->rng, k), a = g->order[k - 1], b = g->order[j];

        g->order[k - 1] = b;
        g->m[b].order = k - 1;
        g->order[j] = a;
        g->m[a].order = j;
    }
    g->next_probe = 0;
}

static uint32_t next_target(struct gossip *g)
{
    if (!vi_id_is_zero(&g->hint)) {
        uint32_t i = gsp_find(g, &g->hint);

        memset(&g->hint, 0, sizeof g->hint);
        if (i != GSP_NONE && i != GSP_SELF && gsp_is_up(&g->m[i]))
            return i;
    }
    if (g->next_probe >= g->norder)
        shuffle(g);
    return g->order[g->next_probe++];
}

static void begin(struct gossip *g)
{
    struct gsp_probe *p = &g->probe;
    vi_time period = g->cfg.probe_interval * (vi_time)(g->health + 1);
    uint32_t i = next_target(g);

    *p = (struct gsp_probe){.on = true, .seq = ++g->seq, .sent = g->now, .target = *gsp_id(&g->m[i])};
    p->direct_until = g->now + gsp_probe_timeout(g);
    p->end = g->now + period;
    if (p->direct_until > p->end)
        p->direct_until = p->end;
    g->next_probe_at = p->end;
    g->count.probes++;
    ping(g, i, p->seq);
}

static void ask_helper(struct gossip *g, uint32_t helper)
{
    struct gsp_probe *p = &g->probe;
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;

    gsp_begin(g, &o, buf, GSP_PING_REQ);
    gsp_put_u32(&o, p->seq);
    gsp_put(&o, p->target.b, VI_ID_SIZE);
    gsp_piggyback(g, &o, helper);
    g->count.indirect++;
    gsp_send(g, gsp_id(&g->m[helper]), &g->m[helper].word->st.addr, &o);
}

static void ping_again(struct gossip *g)
{
    uint32_t i = gsp_find(g, &g->probe.target);

    if (i != GSP_NONE && gsp_is_up(&g->m[i]) && !g->cfg.plain)
        ping(g, i, g->probe.seq);
}

static void ask_others(struct gossip *g)
{
    struct gsp_probe *p = &g->probe;
    uint32_t helper[GSP_HELPERS];
    unsigned n = g->cfg.indirect < GSP_HELPERS ? g->cfg.indirect : GSP_HELPERS;

    p->asked = true;
    p->again = p->direct_until + (p->end - p->direct_until) / 2;
    ping_again(g);
    n = gsp_pick(g, &p->target, n, helper);
    for (unsigned k = 0; k < n; k++) {
        p->helpers[p->nhelpers++] = *gsp_id(&g->m[helper[k]]);
        ask_helper(g, helper[k]);
    }
}

/* Once more, all of them: where datagrams are lost, one question each makes too many suspects. */
static void ask_again(struct gossip *g)
{
    struct gsp_probe *p = &g->probe;

    p->again = VI_NEVER;
    ping_again(g);
    for (unsigned k = 0; k < p->nhelpers && !g->cfg.plain; k++) {
        uint32_t i = gsp_find(g, &p->helpers[k]);

        if (i != GSP_NONE && !p->nacked[k])
            ask_helper(g, i);
    }
}

static void verdict(struct gossip *g)
{
    struct gsp_probe *p = &g->probe;
    struct gossip_why why = {.reason = GOSSIP_WHY_PROBE, .accuser = g->cfg.id,
                             .asked = p->nhelpers, .nacks = p->nacks, .at = g->now};
    uint32_t i = gsp_find(g, &p->target);

    p->on = false;
    g->count.probes_failed++;
    if (i == GSP_NONE || !gsp_is_up(&g->m[i]))
        return;
    if (g->now >= g->hold_until && p->nhelpers && 2 * p->nacks < p->nhelpers)
        gsp_outcome(g, false);
    /* Lifeguard §IV-A: helpers that don't even say no make ourselves the likelier culprit */
    gsp_health(g, p->nhelpers ? (int)(p->nhelpers - p->nacks) : 1);
    if (gsp_held(g) || (g->m[i].heard > p->sent && !g->cfg.plain))
        return;
    if (g->m[i].state == GOSSIP_ALIVE)
        gsp_suspect(g, i, &g->cfg.id, 1, &why);
    else
        gsp_confirm(g, i, &g->cfg.id, &why);
}

void gsp_probe_tick(struct gossip *g)
{
    struct gsp_probe *p = &g->probe;

    if (p->on && !p->asked && g->now >= p->direct_until)
        ask_others(g);
    if (p->on && p->asked && g->now >= p->again)
        ask_again(g);
    if (p->on && g->now >= p->end)
        verdict(g);
    if (!p->on && g->norder && g->now >= g->next_probe_at)
        begin(g);
}

vi_time gsp_probe_deadline(const struct gossip *g)
{
    const struct gsp_probe *p = &g->probe;

    if (p->on)
        return !p->asked ? p->direct_until : p->again < p->end ? p->again : p->end;
    return g->norder ? g->next_probe_at : VI_NEVER;
}

/* ---- answers, and probes for others ------------------------------------------------------------ */

static void answer(struct gossip *g, const struct vi_id *to, enum gsp_type type, uint32_t seq)
{
    uint8_t buf[GOSSIP_DATAGRAM_MAX];
    struct gsp_out o;
    uint32_t i = gsp_find(g, to);

    gsp_begin(g, &o, buf, type);
    gsp_put_u32(&o, seq);
    gsp_piggyback(g, &o, i);
    gsp_send(g, to, i == GSP_NONE ? NULL : &g->m[i].word->st.addr, &o);
}

void gsp_on_ping(struct gossip *g, const struct vi_id *from, uint32_t seq)
{
    answer(g, from, GSP_ACK, seq);
}

static struct gsp_relay *free_relay(struct gossip *g)
{
    unsigned k, cap = g->relay_cap + 8;
    struct gsp_relay *r;

    for (k = 0; k < g->relay_cap; k++)
        if (!g->relay[k].on)
            return &g->relay[k];
    if (cap > GSP_RELAYS_MAX)
        return NULL;
    r = realloc(g->relay, cap * sizeof *r);
    if (!r)
        return NULL;
    g->relay = r;
    memset(r + g->relay_cap, 0, (cap - g->relay_cap) * sizeof *r);
    g->relay_cap = cap;
    return &r[k];
}

void gsp_on_ping_req(struct gossip *g, const struct vi_id *from, uint32_t seq,
                     const struct vi_id *target)
{
    uint32_t i = gsp_find(g, target);
    struct gsp_relay *r;
    vi_time wait;

    if (i == GSP_SELF) {
        answer(g, from, GSP_ACK, seq);
        return;
    }
    if (i == GSP_NONE || !gsp_is_up(&g->m[i])) { /* silence would make the asker doubt itself */
        answer(g, from, GSP_NACK, seq);
        return;
    }
    r = free_relay(g);
    if (!r) {
        g->count.relays_full++;
        return;
    }
    wait = gsp_rtt_timeout(&g->rtts, g->cfg.timeout_min, g->cfg.timeout_max);
    *r = (struct gsp_relay){.on = true, .seq = ++g->seq, .from_seq = seq, .from = *from,
                            .target = *target, .nack_at = g->now + wait * 4 / 5,
                            .until = g->now + g->cfg.probe_interval};
    g->nrelays++;
    g->count.relays++;
    ping(g, i, r->seq);
}

static void relay_end(struct gossip *g, struct gsp_relay *r)
{
    r->on = false;
    g->nrelays--;
}

void gsp_relay_tick(struct gossip *g)
{
    for (unsigned k = 0; k < g->relay_cap && g->nrelays; k++) {
        struct gsp_relay *r = &g->relay[k];

        if (!r->on)
            continue;
        if (!r->nacked && g->now >= r->nack_at) {
            r->nacked = true;
            answer(g, &r->from, GSP_NACK, r->from_seq);
        }
        if (g->now >= r->until)
            relay_end(g, r);
    }
}

vi_time gsp_relay_deadline(const struct gossip *g)
{
    vi_time t = VI_NEVER;

    for (unsigned k = 0; k < g->relay_cap && g->nrelays; k++) {
        const struct gsp_relay *r = &g->relay[k];
        vi_time at = r->nacked ? r->until : r->nack_at;

        if (r->on && at < t)
            t = at;
    }
    return t;
}

static int helper_of(const struct gsp_probe *p, const struct vi_id *from)
{
    for (unsigned k = 0; k < p->nhelpers; k++)
        if (vi_id_equal(&p->helpers[k], from))
            return (int)k;
    return -1;
}

void gsp_on_ack(struct gossip *g, const struct vi_id *from, uint32_t seq)
{
    struct gsp_probe *p = &g->probe;

    if (p->on && seq == p->seq) {
        bool direct = vi_id_equal(from, &p->target);

        if (!direct && helper_of(p, from) < 0)
            return;
        if (direct)
            gsp_rtt_add(&g->rtts, g->now - p->sent);
        gsp_health(g, -1);
        p->on = false;
        gsp_outcome(g, true);
        return;
    }
    for (unsigned k = 0; k < g->relay_cap && g->nrelays; k++) {
        struct gsp_relay *r = &g->relay[k];

        if (r->on && r->seq == seq && vi_id_equal(&r->target, from)) {
            answer(g, &r->from, GSP_ACK, r->from_seq);
            relay_end(g, r);
            return;
        }
    }
}

void gsp_on_nack(struct gossip *g, const struct vi_id *from, uint32_t seq)
{
    struct gsp_probe *p = &g->probe;
    int k;

    if (!p->on || seq != p->seq)
        return;
    k = helper_of(p, from);
    if (k >= 0 && !p->nacked[k]) {
        p->nacked[k] = true;
        p->nacks++;
    }
}
