/* Time. One unit everywhere: microseconds in a signed 64-bit integer.
 *
 * Cores never read a clock; `now` is handed to them. The daemon's clock is CLOCK_BOOTTIME (it goes
 * on while the machine sleeps and nobody sets it); the simulator's is virtual. */
#ifndef PEER_BASE_CLOCK_H
#define PEER_BASE_CLOCK_H

#include <stdint.h>

typedef int64_t vi_time; /* microseconds since an arbitrary start, or a duration */

#define VI_USEC  ((vi_time)1)
#define VI_MSEC  ((vi_time)1000)
#define VI_SEC   ((vi_time)1000000)
#define VI_MIN   (60 * VI_SEC)
#define VI_HOUR  (60 * VI_MIN)
#define VI_NEVER INT64_MAX /* a deadline that never comes */

/* CLOCK_BOOTTIME in microseconds. Only for peer/ and the Linux files; never for a core. */
vi_time vi_clock_boottime(void);

/* Wall clock, microseconds since 1970, for showing to people and for certificates' validity. */
vi_time vi_clock_wall(void);

#endif
