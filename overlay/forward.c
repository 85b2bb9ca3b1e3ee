/* What becomes of one frame. See switch.h. */
#include <string.h>

#include "overlay/switch.h"

#define MEGA 1048576.0

const struct forward_limits forward_defaults = {.all = 2000, .guest = 500, .unknown = 200};

static bool to_many(const uint8_t mac[6])
{
    return mac[0] & 1;
}

const char *forward_why_text(enum forward_why w)
{
    static const char *const text[FORWARD_REASONS] = {
        "ok",    "short",      "spoofed", "stays",   "rate", "not_member",
        "again", "guest_rate", "unknown", "address", "away", "env_rate",   "beacon",
        "no_tap"};
    return (unsigned)w < FORWARD_REASONS ? text[w] : "?";
}

static bool spend(struct forward_rate *r, vi_time now, double per_s, double burst, double cost)
{
    if (r->at == 0)
        r->tokens = burst;
    else
        r->tokens += (double)(now - r->at) / 1e6 * per_s;
    r->at = now;
    if (r->tokens > burst)
        r->tokens = burst;
    if (r->tokens < cost)
        return false;
    r->tokens -= cost;
    return true;
}

static bool allowed(struct forward_rate *r, vi_time now, double per_s)
{
    return spend(r, now, per_s, 2 * per_s, 1);
}

/* The environment's bandwidth, or this host's for each, whichever is less. A quarter of a second's worth at once, but
 * always a few superframes. */
static bool within_bandwidth(struct forward_rates *r, const struct switch_env_table *t, const struct forward_limits *l,
                             vi_time now, size_t len)
{
    double most = t->bandwidth <= 0 || (l->bytes > 0 && l->bytes < t->bandwidth) ? l->bytes : t->bandwidth;
    return most <= 0 || spend(&r->bytes, now, most, most / 4 > MEGA ? most / 4 : MEGA, (double)len);
}

static bool is_beacon(const uint8_t *frame, size_t len)
{
    return len >= 14 + FORWARD_BEACON_MAGIC && (frame[12] << 8 | frame[13]) == FORWARD_BEACON_TYPE &&
           !memcmp(frame + 14, FORWARD_BEACON_TEXT, FORWARD_BEACON_MAGIC);
}

static struct forward_decision drop(enum forward_why why)
{
    struct forward_decision d = {.to = FORWARD_DROP, .why = why};
    return d;
}

/* For somebody here; who sent it is learned all the same. */
static struct forward_decision stays(const struct forward_decision *d)
{
    struct forward_decision out = drop(FORWARD_STAYS);
    out.learn = d->learn;
    return out;
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
        *d = stays(d);
        return true;
    }
    d->to = FORWARD_PEER;
    d->peer = has->peer;
    d->asked = true;
    return true;
}

/* To many, or to who knows whom: each guest has its rate, and all have one. */
static enum forward_why flood(struct forward_rates *r, const struct forward_limits *l, vi_time now, const uint8_t *frame)
{
    struct forward_rate *guest = &r->guest[vi_bucket(frame + 6, 6) % (sizeof r->guest / sizeof r->guest[0])];
    if (!to_many(frame) && !allowed(&r->unknown, now, l->unknown))
        return FORWARD_UNKNOWN;
    if (!allowed(guest, now, l->guest))
        return FORWARD_GUEST_RATE;
    return allowed(&r->all, now, l->all) ? FORWARD_OK : FORWARD_RATE;
}

/* Who may this be from? d says whether it is known, and to be learned. */
static enum forward_why sender(const struct switch_env_table *t, const uint8_t *frame, size_t len,
                               struct forward_decision *d)
{
    const struct switch_mac *src = switch_table_find(t, frame + 6);
    d->src_known = src && !src->learned;
    d->learn = !d->src_known && !t->strict;
    if (d->src_known ? !src->local : t->strict)
        return FORWARD_SPOOFED;
    return t->strict ? honest(t, frame, len) : FORWARD_OK;
}

struct forward_decision forward_from_tap(const struct switch_env_table *t, struct forward_rates *rates,
                                         vi_time now, const uint8_t *frame, size_t len)
{
    struct forward_decision d = {.to = FORWARD_ALL, .why = FORWARD_OK};
    const struct forward_limits *limits = rates->limits ? rates->limits : &forward_defaults;
    const struct switch_mac *dst;
    if (len < 14)
        return drop(FORWARD_SHORT);
    if (t->away)
        return drop(FORWARD_AWAY);
    if (is_beacon(frame, len))
        return drop(FORWARD_BEACON);
    d.why = sender(t, frame, len, &d);
    if (d.why != FORWARD_OK)
        return drop(d.why);
    if (!to_many(frame)) {
        dst = switch_table_find(t, frame);
        d.dst_known = dst && !dst->learned;
        if (dst && dst->local)
            return stays(&d);
        if (dst && within_bandwidth(rates, t, limits, now, len)) {
            d.to = FORWARD_PEER;
            d.peer = dst->peer;
            return d;
        }
        if (dst)
            return drop(FORWARD_ENV_RATE);
    } else if (answerer(t, frame, len, &d)) {
        return d.to == FORWARD_PEER && !within_bandwidth(rates, t, limits, now, len) ? drop(FORWARD_ENV_RATE) : d;
    }
    d.why = flood(rates, limits, now, frame);
    if (d.why == FORWARD_OK && !within_bandwidth(rates, t, limits, now, len))
        d.why = FORWARD_ENV_RATE;
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
    if (is_beacon(frame, len))
        return drop(FORWARD_BEACON);
    src = switch_table_find(t, frame + 6);
    if (src && src->learned)
        src = NULL;
    d.src_known = src != NULL;
    /* what was passed on comes from another than its sender's host */
    if (t->strict && src && !again && (src->local || !vi_id_equal(&t->peers[src->peer], peer)))
        return drop(FORWARD_SPOOFED);
    dst = to_many(frame) ? NULL : switch_table_find(t, frame);
    d.dst_known = dst && !dst->learned;
    if (!dst || dst->local || dst->learned)
        return t->away ? drop(FORWARD_AWAY) : d;
    /* the guest has left us: pass it on, once, and never back */
    if (again || vi_id_equal(&t->peers[dst->peer], peer))
        return drop(FORWARD_AGAIN);
    d.to = FORWARD_PEER;
    d.peer = dst->peer;
    return d;
}
