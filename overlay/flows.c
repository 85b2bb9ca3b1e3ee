/* See flows.h. */
#include "overlay/flows.h"

#include <string.h>

static uint64_t mix(uint64_t h, const uint8_t *p, size_t len)
{
    while (len) {
        size_t n = len < 8 ? len : 8;
        uint64_t v = 0;
        memcpy(&v, p, n);
        h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 32;
        p += n;
        len -= n;
    }
    return h;
}

uint64_t flows_key(unsigned env, const uint8_t *frame, size_t len, size_t l4)
{
    uint64_t h = mix(env + 1, frame, len < 14 ? len : 14);
    unsigned type = len < 14 ? 0 : (unsigned)(frame[12] << 8 | frame[13]);
    if (type == 0x0800 && len >= 34) {
        h = mix(h, frame + 23, 1);
        h = mix(h, frame + 26, 8);
    } else if (type == 0x86dd && len >= 54) {
        h = mix(h, frame + 20, 1);
        h = mix(h, frame + 22, 32);
    }
    return l4 && l4 + 4 <= len ? mix(h, frame + l4, 4) : h;
}

bool flows_light(struct flows *f, vi_time now, uint64_t key, size_t len)
{
    unsigned i = (unsigned)(key >> 40) % FLOWS;
    vi_time since = now - f->flow[i].at;
    uint64_t left = f->flow[i].left + (since > 0 ? (uint64_t)since : 0);
    if (f->flow[i].at == 0 || since > FLOW_REST) {
        f->flow[i].heavy = false;
        left = FLOW_BURST;
    }
    if (left > FLOW_BURST)
        left = FLOW_BURST;
    if (len > left) {
        f->flow[i].heavy = true;
        left = 0;
    } else
        left -= len;
    f->flow[i].left = (uint32_t)left;
    f->flow[i].at = now;
    return !f->flow[i].heavy;
}
