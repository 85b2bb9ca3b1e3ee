/* See health.h. */
#include "overlay/health.h"

bool health_report(struct health *h, vi_time now, uint64_t good, uint64_t bad)
{
    if (h->off || bad < HEALTH_BAD || bad < good / HEALTH_SHARE)
        return false;
    if (h->penalty == 0 || now - h->failed_at > 2 * HEALTH_OFF_MOST)
        h->penalty = HEALTH_OFF; /* the first time, or it had worked for long */
    else if (h->penalty < HEALTH_OFF_MOST)
        h->penalty *= 2;
    if (h->penalty > HEALTH_OFF_MOST)
        h->penalty = HEALTH_OFF_MOST;
    h->off = true;
    h->failed_at = now;
    h->until = now + h->penalty;
    h->falls++;
    return true;
}

bool health_ok(struct health *h, vi_time now)
{
    if (h->off && now >= h->until)
        h->off = false;
    return !h->off;
}
