/* What becomes of one frame. See switch.h. */
#include <string.h>

#include "overlay/switch.h"

static bool to_many(const uint8_t mac[6])
{
    return mac[0] & 1;
}

const char *forward_why_text(enum forward_why w)
{
    static const char *const text[FORWARD_REASONS] = {"ok",    "short",      "spoofed", "stays",  "rate", "not_member",
                                                      "again", "guest_rate", "unknown", "address"};
    return (unsigned)w < FORWARD_REASONS ? text[w] : "?";
}

static bool allowed(struct forward_rate *r, vi_time now, double per_s, double burst)
{
    if (r->at == 0)
        r->tokens = burst;
    else
        r->tokens += (double)(now - r->at) / 1e6 * per_s;
    r->at = now;
    if (r->tokens > burst)
        r->tokens = burst;
    if (r->tokens < 1)
        return false;
    r->tokens -= 1;
    return true;
}

static struct forward_decision drop(enum forward_why why)
{
    struct forward_decision d = {.to = FORWARD_DROP, .why = why};
    return d;
}

/* In a strict environment: is it what its sender may say? */
static enum forward_why honest(const struct switch_env_table *t, const uint8_t *frame, size_t len)
{
    const struct switch_ip *has;
    struct frame_says says;
    frame_says(&says, frame, len);
    if (says.forged)
        return FORWARD_ADDRESS;
    has = says.source ? switch_table_find_ip(t, says.ip) : NULL;
    return has && !has->many && memcmp(has->mac, frame + 6, 6) != 0 ? FORWARD_ADDRESS : FORWARD_OK;
}

/* A question for an address that exactly one guest has: to that guest's host, d says where. */
static bool answerer(const struct switch_env_table *t, const uint8_t *frame, size_t len, struct forward_decision *d)
{
    const struct switch_ip *has;
    struct frame_says says;
    if (!frame_resolves(frame, len))
        return false;
    frame_says(&says, frame, len);
    has = says.asks ? switch_table_find_ip(t, says.asked) : NULL;
    if (!has || has->many)
        return false;
    if (has->local) {
        *d = drop(FORWARD_STAYS);
        return true;
    }
    d->to = FORWARD_PEER;
    d->peer = has->peer;
    d->asked = true;
    return true;
}

/* To many, or to who knows whom: each guest has its rate, and all have one. */
static enum forward_why flood(struct forward_rates *r, vi_time now, const uint8_t *frame)
{
    struct forward_rate *guest = &r->guest[vi_bucket(frame + 6, 6) % (sizeof r->guest / sizeof r->guest[0])];
    if (!to_many(frame) && !allowed(&r->unknown, now, FORWARD_UNKNOWN_PER_S, FORWARD_UNKNOWN_BURST))
        return FORWARD_UNKNOWN;
    if (!allowed(guest, now, FORWARD_GUEST_PER_S, FORWARD_GUEST_BURST))
        return FORWARD_GUEST_RATE;
    return allowed(&r->all, now, FORWARD_RATE_PER_S, FORWARD_BURST) ? FORWARD_OK : FORWARD_RATE;
}

struct forward_decision forward_from_tap(const struct switch_env_table *t, struct forward_rates *rates,
                                         vi_time now, const uint8_t *frame, size_t len)
{
    struct forward_decision d = {.to = FORWARD_ALL, .why = FORWARD_OK};
    const struct switch_mac *src, *dst;
    if (len < 14)
        return drop(FORWARD_SHORT);
    src = switch_table_find(t, frame + 6);
    d.src_known = src != NULL;
    if (src ? !src->local : t->strict)
        return drop(FORWARD_SPOOFED);
    if (t->strict && (d.why = honest(t, frame, len)) != FORWARD_OK)
        return drop(d.why);
    if (!to_many(frame)) {
        dst = switch_table_find(t, frame);
        d.dst_known = dst != NULL;
        if (dst && dst->local)
            return drop(FORWARD_STAYS);
        if (dst) {
            d.to = FORWARD_PEER;
            d.peer = dst->peer;
            return d;
        }
    } else if (answerer(t, frame, len, &d)) {
        return d;
    }
    d.why = flood(rates, now, frame);
    return d.why == FORWARD_OK ? d : drop(d.why);
}

static int index_of(const struct switch_env_table *t, const struct vi_id *peer)
{
    for (unsigned i = 0; i < t->n_peers; i++)
        if (vi_id_equal(&t->peers[i], peer))
            return (int)i;
    return -1;
}

struct forward_decision forward_from_peer(const struct switch_env_table *t, const struct vi_id *peer,
                                          bool again, const uint8_t *frame, size_t len)
{
    struct forward_decision d = {.to = FORWARD_LOCAL, .why = FORWARD_OK};
    const struct switch_mac *dst, *src;
    if (len < 14)
        return drop(FORWARD_SHORT);
    if (index_of(t, peer) < 0)
        return drop(FORWARD_NOT_MEMBER);
    src = switch_table_find(t, frame + 6);
    d.src_known = src != NULL;
    /* what was passed on comes from another than its sender's host */
    if (t->strict && src && !again && (src->local || !vi_id_equal(&t->peers[src->peer], peer)))
        return drop(FORWARD_SPOOFED);
    if (to_many(frame))
        return d;
    dst = switch_table_find(t, frame);
    d.dst_known = dst != NULL;
    if (!dst || dst->local)
        return d;
    /* the guest has left us: pass it on, once, and never back */
    if (again || vi_id_equal(&t->peers[dst->peer], peer))
        return drop(FORWARD_AGAIN);
    d.to = FORWARD_PEER;
    d.peer = dst->peer;
    return d;
}
