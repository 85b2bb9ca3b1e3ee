/* The trace ring. See trace.h. */
#include "peer/base/trace.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CRASH_LINES 100

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct trace_entry ring[TRACE_KEPT];
static uint64_t newest;
static char who[32] = "violin";

void trace_add(enum vi_level level, const char *area, const char *text)
{
    struct trace_entry *e;
    pthread_mutex_lock(&lock);
    e = &ring[newest % TRACE_KEPT];
    e->wall = vi_clock_wall();
    e->level = level;
    snprintf(e->area, sizeof e->area, "%s", area);
    snprintf(e->text, sizeof e->text, "%s", text);
    e->seq = ++newest;
    pthread_mutex_unlock(&lock);
}

bool trace_after(uint64_t after, struct trace_entry *out)
{
    bool found;
    pthread_mutex_lock(&lock);
    if (newest > TRACE_KEPT && after < newest - TRACE_KEPT)
        after = newest - TRACE_KEPT;
    found = after < newest;
    if (found)
        *out = ring[after % TRACE_KEPT];
    pthread_mutex_unlock(&lock);
    return found;
}

/* ---- in a signal handler: no printf, no lock ---- */

static void put(int fd, const char *text, size_t most)
{
    (void)!write(fd, text, strnlen(text, most));
}

static void put_number(int fd, uint64_t n)
{
    char digits[24];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    (void)!write(fd, digits + at, sizeof digits - at);
}

void trace_dump(int fd, unsigned n)
{
    uint64_t last = newest, first = last > TRACE_KEPT ? last - TRACE_KEPT : 0;
    if (last - first > n)
        first = last - n;
    for (uint64_t i = first; i < last; i++) {
        const struct trace_entry *e = &ring[i % TRACE_KEPT];
        put_number(fd, (uint64_t)(e->wall / VI_SEC));
        put(fd, " ", 1);
        put(fd, e->area, sizeof e->area);
        put(fd, ": ", 2);
        put(fd, e->text, sizeof e->text);
        put(fd, "\n", 1);
    }
}

static void on_crash(int number)
{
    put(2, who, sizeof who);
    put(2, " crashes with signal ", 32);
    put_number(2, (uint64_t)number);
    put(2, "; what came before (seconds since 1970):\n", 64);
    trace_dump(2, CRASH_LINES);
    raise(number); /* SA_RESETHAND: now it has its usual effect */
}

void trace_on_crash(const char *process)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    struct sigaction a = {.sa_handler = on_crash, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};
    snprintf(who, sizeof who, "%s", process);
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &a, NULL);
}
