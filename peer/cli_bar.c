/* How far something is, for a person who looks: a line on standard error, drawn again and again. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "peer/cli_internal.h"

#define BAR 30

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct cli_bar cli_bar_new(const struct args *a, const char *what)
{
    return (struct cli_bar){.on = !a->json && isatty(2), .what = what, .began = seconds_now()};
}

void cli_bar_show(struct cli_bar *b, double done, double of)
{
    double part = of > 0 ? done / of : 0, s = seconds_now() - b->began, rate = s > 0.2 ? done / s : 0;
    char line[BAR + 1];
    if (!b->on)
        return;
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    for (int i = 0; i < BAR; i++)
        line[i] = i < (int)(part * BAR) ? '#' : '.';
    line[BAR] = 0;
    fprintf(stderr, "\r%-9s [%s] %3.0f %%  %.1f of %.1f MiB", b->what, line, 100 * part, done / 1048576, of / 1048576);
    if (rate > 0 && part < 1)
        fprintf(stderr, ", %.1f MiB/s, %.0f s left ", rate / 1048576, (of - done) / rate);
    else
        fprintf(stderr, "%30s", "");
    b->said = true;
}

void cli_bar_end(struct cli_bar *b)
{
    if (b->said)
        fprintf(stderr, "\n");
}

void cli_wait_a_little(void)
{
    struct timespec t = {.tv_nsec = 200 * 1000 * 1000};
    nanosleep(&t, NULL);
}
