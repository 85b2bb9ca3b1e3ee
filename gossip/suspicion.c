/* Lifeguard's figures. See suspicion.h. */
#include "gossip/suspicion.h"

/* log2(n) × 2^16: the integer part by shifting, then 16 bits by squaring the mantissa. */
static uint64_t log2_fixed(unsigned n)
{
    unsigned whole = 0;
    uint64_t m, out;

    while (n >> (whole + 1))
        whole++;
    m = ((uint64_t)n << 31) >> whole; /* [1, 2) × 2^31 */
    out = whole;
    for (int i = 0; i < 16; i++) {
        m = (m * m) >> 31;
        out <<= 1;
        if (m >= UINT64_C(1) << 32) {
            m >>= 1;
            out |= 1;
        }
    }
    return out;
}

unsigned gsp_log10_milli(unsigned n)
{
    if (n <= 1)
        return 0;
    /* log10 2 = 0.30103; one is added against the sixteen truncations, so that 10^k gives k */
    return (unsigned)(((log2_fixed(n) + 1) * 30103 * 1000 / 100000) >> 16);
}

vi_time gsp_suspicion_min(const struct gsp_suspicion *s, unsigned members)
{
    unsigned l = gsp_log10_milli(members);

    if (l < 1000)
        l = 1000;
    return (vi_time)(s->alpha * (double)s->interval * (double)l / 1000.0);
}

vi_time gsp_suspicion_time(const struct gsp_suspicion *s, unsigned members, unsigned confirmations)
{
    vi_time min = gsp_suspicion_min(s, members), max = (vi_time)(s->beta * (double)min);
    unsigned k = s->k;

    if (members < k + 2)
        k = members > 2 ? members - 2 : 0;
    if (confirmations >= k)
        return min;
    return max - (vi_time)((double)(max - min) * (double)gsp_log10_milli(confirmations + 1) /
                           (double)gsp_log10_milli(k + 1));
}

unsigned gsp_health_add(unsigned health, int delta, unsigned most)
{
    if (delta < 0)
        return health < (unsigned)-delta ? 0 : health - (unsigned)-delta;
    return health + (unsigned)delta > most ? most : health + (unsigned)delta;
}

void gsp_rtt_add(struct gsp_rtts *r, vi_time rtt)
{
    r->v[r->next] = rtt < 0 ? 0 : rtt;
    r->next = (r->next + 1) % GSP_RTTS;
    if (r->n < GSP_RTTS)
        r->n++;
}

vi_time gsp_rtt_timeout(const struct gsp_rtts *r, vi_time min, vi_time max)
{
    vi_time p = 0;

    if (r->n < 8)
        return max;
    for (unsigned i = 0; i < r->n; i++) /* of at most 64, the greatest is the 99th percentile */
        if (r->v[i] > p)
            p = r->v[i];
    if (p > max)
        return max;
    p *= 3;
    return p < min ? min : p > max ? max : p;
}
