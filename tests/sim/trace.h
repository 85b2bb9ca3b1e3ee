/* A day of many guests' CPU use: read from a file, or made up.
 *
 * The form is that of PlanetLab's days as CloudSim carries them (collected by the CoMon project): a line a
 * guest, its name, then 288 whole percentages, one every five minutes, all parted by commas. */
#ifndef TESTS_SIM_TRACE_H
#define TESTS_SIM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_STEPS  288
#define TRACE_STEP_S 300
#define TRACE_GUESTS 4096
#define TRACE_NAME   128
#define TRACE_BYTES  ((size_t)8 << 20) /* of a file, at most */

struct trace_guest {
    char name[TRACE_NAME];
    uint8_t pct[TRACE_STEPS]; /* 0 … 100 */
};

struct trace {
    unsigned n;
    struct trace_guest *guest; /* in the order of their names */
};

struct trace_error {
    unsigned line;
    char text[120];
};

/* A file's text, which need not end in a NUL. Refused, with the line and why: more than TRACE_GUESTS lines, a
 * line of another form, a percentage above 100, a name twice or too long, no line at all. The trace is to be freed
 * either way. */
bool trace_parse(struct trace *t, const char *text, size_t len, struct trace_error *err);
/* A day of that form; the same seed makes the same day. How: in trace.c. false: no memory. */
bool trace_generate(struct trace *t, unsigned guests, uint64_t seed);
void trace_free(struct trace *t);

#endif
