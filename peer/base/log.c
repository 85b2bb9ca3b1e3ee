/* The log. See log.h. */
#include "peer/base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "peer/base/trace.h"

static enum vi_level most_level = VI_LOG_INFO;
static void (*log_sink)(void *, enum vi_level, const char *, const char *);
static void *sink_arg;

void vi_log_level(enum vi_level most)
{
    most_level = most;
}

void vi_log_sink(void (*sink)(void *arg, enum vi_level l, const char *area, const char *text),
                 void *arg)
{
    log_sink = sink;
    sink_arg = arg;
}

void vi_log(enum vi_level l, const char *area, const char *fmt, ...)
{
    static const char *const words[] = {"error", "warning", "info", "debug"};
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++) /* one line an event, whatever a peer may have named itself */
        if ((unsigned char)*p < 32 || *p == 127)
            *p = '?';
    trace_add(l, area, text);
    if (l > most_level)
        return;
    if (log_sink)
        log_sink(sink_arg, l, area, text);
    else if (l <= VI_LOG_WARN)
        fprintf(stderr, "violin: %s: %s: %s\n", words[l], area, text);
    else
        fprintf(stderr, "violin: %s: %s\n", area, text);
}
