/* What becomes of one frame. See switch.h. */
#include <string.h>

#include "overlay/switch.h"

static bool to_many(const uint8_t mac[6])
{
    return mac[0] & 1;
}

const char *forward_why_text(enum forward_why w)
{
    static const char *const text[FORWARD_REASONS] = {"ok",   "short", "spoofed", "stays",
                                                      "rate", "not_member", "again"};
    return (unsigned)w < FORWARD_REASONS ? text[w] : "?";
}

static bool allowed(struct forward_rate *r, vi_time now)
{
    if (r->at == 0)
        r->tokens = FORWARD_BURST;
    else
        r->tokens += (double)(now - r->at) / 1e6 * FORWARD_RATE_PER_S;
    r->at = now;
    if (r->tokens > FORWARD_BURST)
        r->tokens = FORWARD_BURST;
    if (r->tokens < 1)
        return false;
    r->tokens -= 1;
    return true;
}

static struct forward_decision drop(enum forward_why why)
{
    struct forward_decision d = {FORWARD_DROP, why, 0};
    return d;
}

struct forward_decision forward_from_tap(const struct switch_env_table *t, struct forward_rate *rate,
                                         vi_time now, const uint8_t *frame, size_t len)
{
    struct forward_decision d = {FORWARD_ALL, FORWARD_OK, 0};
    const struct switch_mac *src, *dst;
    if (len < 14)
        return drop(FORWARD_SHORT);
    src = switch_table_find(t, frame + 6);
    if (src && !src->local)
        return drop(FORWARD_SPOOFED);
    if (!to_many(frame)) {
        dst = switch_table_find(t, frame);
        if (dst && dst->local)
            return drop(FORWARD_STAYS);
        if (dst) {
            d.to = FORWARD_PEER;
            d.peer = dst->peer;
            return d;
        }
    }
    return allowed(rate, now) ? d : drop(FORWARD_RATE);
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
    struct forward_decision d = {FORWARD_LOCAL, FORWARD_OK, 0};
    const struct switch_mac *dst;
    if (len < 14)
        return drop(FORWARD_SHORT);
    if (index_of(t, peer) < 0)
        return drop(FORWARD_NOT_MEMBER);
    if (to_many(frame))
        return d;
    dst = switch_table_find(t, frame);
    if (!dst || dst->local)
        return d;
    /* the guest has left us: pass it on, once, and never back */
    if (again || vi_id_equal(&t->peers[dst->peer], peer))
        return drop(FORWARD_AGAIN);
    d.to = FORWARD_PEER;
    d.peer = dst->peer;
    return d;
}
