/* Is something that is known to go wrong on some machines (segmentation offload, say) going wrong here?
 * Off when failures rise, tried again after a while, a longer while each time it fails again. Pure. */
#ifndef OVERLAY_HEALTH_H
#define OVERLAY_HEALTH_H

#include <stdbool.h>

#include "peer/base/clock.h"

#define HEALTH_BAD      8  /* failures in one report that are more than chance … */
#define HEALTH_SHARE    16 /* … if they are at least a sixteenth of the successes */
#define HEALTH_OFF      (30 * VI_SEC)
#define HEALTH_OFF_MOST (600 * VI_SEC)

struct health { /* zero it to begin with: it works */
    bool off;
    vi_time until, penalty, failed_at;
    uint64_t falls;
};

/* What happened since the last report. true: just turned off. */
bool health_report(struct health *h, vi_time now, uint64_t good, uint64_t bad);
/* May it be used? Turned on again by this when its time is over. */
bool health_ok(struct health *h, vi_time now);

#endif
