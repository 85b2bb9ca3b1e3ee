/* The log: one line an event, `area: text`, levelled; to stderr, which systemd or the supervisor keeps.
 * What is below the level goes to the trace ring only (trace.h).
 * Cores do not log; they leave effects that their owner may log. */
#ifndef PEER_BASE_LOG_H
#define PEER_BASE_LOG_H

enum vi_level { VI_LOG_ERROR, VI_LOG_WARN, VI_LOG_INFO, VI_LOG_DEBUG };

void vi_log_level(enum vi_level most);
/* Replaces where lines go (tests, the agent's link); NULL puts stderr back. */
void vi_log_sink(void (*sink)(void *arg, enum vi_level l, const char *area, const char *text),
                 void *arg);
void vi_log(enum vi_level l, const char *area, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
