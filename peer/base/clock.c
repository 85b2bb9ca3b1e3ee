/* The daemon's clocks. See clock.h. */
#include "peer/base/clock.h"

#include <stdlib.h>
#include <time.h>

static vi_time read_clock(clockid_t id)
{
    struct timespec t = {0};
    clock_gettime(id, &t);
    return (vi_time)t.tv_sec * VI_SEC + t.tv_nsec / 1000;
}

vi_time vi_clock_boottime(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

vi_time vi_clock_wall(void)
{
#ifdef VIOLIN_FAULTS /* a clock that is wrong by so many seconds, for tests */
    const char *wrong = getenv("VIOLIN_CLOCK");
    return read_clock(CLOCK_REALTIME) + (wrong ? strtoll(wrong, NULL, 10) * VI_SEC : 0);
#else
    return read_clock(CLOCK_REALTIME);
#endif
}
