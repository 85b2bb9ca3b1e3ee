/* The trace ring: the last things this process logged, those below the log's level too, kept in memory.
 * When something goes wrong it tells what came before: `violin trace` shows the peer's, and a process that
 * crashes writes its own to stderr. */
#ifndef PEER_BASE_TRACE_H
#define PEER_BASE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "peer/base/clock.h"
#include "peer/base/log.h"

#define TRACE_KEPT 512 /* entries; the oldest go */
#define TRACE_AREA 12
#define TRACE_TEXT 144 /* longer texts are cut */

struct trace_entry {
    uint64_t seq; /* from 1, without gaps */
    vi_time wall; /* µs since 1970 */
    enum vi_level level;
    char area[TRACE_AREA], text[TRACE_TEXT];
};

/* Adds one. vi_log() does so; may be called from any thread. */
void trace_add(enum vi_level level, const char *area, const char *text);
/* A copy of the oldest entry with seq > after; false: there is none. */
bool trace_after(uint64_t after, struct trace_entry *out);
/* Writes the newest entries, at most n, as lines. Safe in a signal handler; what is being added meanwhile
 * may be cut. */
void trace_dump(int fd, unsigned n);
/* From now on a crash (SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL) writes the trace to stderr, after a line
 * with the process' name, and then ends the process as it would have. */
void trace_on_crash(const char *process);

#endif
