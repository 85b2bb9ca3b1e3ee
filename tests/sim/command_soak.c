/* violin-sim soak: one seed after the other, in as many processes as asked for.
 *
 * What a process is at lies in memory that all share, so that the seed that killed one can be named. */
#include "tests/sim/command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/soak.h"

#define JOBS_MAX 64

struct job {
    uint64_t seed, done, failed;
};

struct options {
    uint64_t first, seeds; /* seeds: 0: as time allows */
    double seconds;
    unsigned jobs;
    bool verbose;
};

static bool value(const char *text, double least, double most, double *out)
{
    char *end;

    *out = strtod(text, &end);
    return *text && !*end && *out >= least && *out <= most;
}

static bool read_options(int argc, char **argv, struct options *o)
{
    double v;

    *o = (struct options){.first = 1, .seconds = 60, .jobs = 1};
    for (int k = 0; k < argc; k++) {
        const char *name = argv[k];

        if (!strcmp(name, "--verbose")) {
            o->verbose = true;
            continue;
        }
        if (++k >= argc)
            return false;
        if (!strcmp(name, "--seconds") && value(argv[k], 0, 1e9, &v)) {
            o->seconds = v;
        } else if (!strcmp(name, "--seed") && value(argv[k], 0, 1e15, &v)) {
            o->first = (uint64_t)v;
        } else if (!strcmp(name, "--seeds") && value(argv[k], 1, 1e15, &v)) {
            o->seeds = (uint64_t)v;
        } else if (!strcmp(name, "--jobs") && value(argv[k], 1, JOBS_MAX, &v)) {
            o->jobs = (unsigned)v;
        } else {
            return false;
        }
    }
    return true;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void failed(uint64_t seed, const char *why)
{
    printf("FAILED: seed %" PRIu64 ": %s; violin-sim soak --seed %" PRIu64 " --seeds 1 replays it\n", seed, why, seed);
    fflush(stdout);
}

static void work(const struct options *o, struct job *j, unsigned index, double end)
{
    for (uint64_t k = index; o->seeds ? k < o->seeds : now() < end; k += o->jobs) {
        struct soak_report r;
        bool ok;

        j->seed = o->first + k;
        ok = soak_one(j->seed, &r);
        if (o->verbose)
            printf("seed %" PRIu64 ": %u peers%s%s, %.1f s, %" PRIu64 " events, trace %016" PRIx64 "%s\n", j->seed, r.peers,
                   r.crypto ? ", Ed25519" : "", r.alone ? ", a liar alone" : r.hostile ? ", a liar" : "", r.seconds, r.events,
                   r.hash, ok ? "" : ", failed");
        if (!ok) {
            failed(j->seed, r.why);
            j->failed++;
        }
        j->done++;
    }
    fflush(stdout);
}

/* false: it didn't end by itself; its seed is named. */
static bool wait_for(pid_t pid, const struct job *j)
{
    char why[60];
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    if (WIFEXITED(status) && !WEXITSTATUS(status))
        return true;
    if (WIFSIGNALED(status))
        snprintf(why, sizeof why, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(why, sizeof why, "the process ended with %d", WEXITSTATUS(status));
    failed(j->seed, why);
    return false;
}

int command_soak(int argc, char **argv)
{
    uint64_t done = 0, wrong = 0;
    pid_t pid[JOBS_MAX];
    struct options o;
    struct job *job;
    double began = now();

    if (!read_options(argc, argv, &o)) {
        fprintf(stderr, "usage: " COMMAND_SOAK_USAGE "\n");
        return 2;
    }
    job = mmap(NULL, JOBS_MAX * sizeof *job, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (job == MAP_FAILED) {
        fprintf(stderr, "violin-sim: %s\n", strerror(errno));
        return 2;
    }
    fflush(stdout);
    for (unsigned k = 0; k < o.jobs; k++) {
        pid[k] = fork();
        if (!pid[k]) {
            work(&o, &job[k], k, began + o.seconds);
            _exit(0);
        }
    }
    for (unsigned k = 0; k < o.jobs; k++) {
        if (pid[k] < 0)
            fprintf(stderr, "violin-sim: %s\n", strerror(errno));
        wrong += pid[k] < 0 || !wait_for(pid[k], &job[k]);
        wrong += job[k].failed; /* once it has ended */
        done += job[k].done;
    }
    printf("soak: %" PRIu64 " seeds from %" PRIu64 " on in %.0f s, %" PRIu64 " failed\n", done, o.first, now() - began, wrong);
    munmap(job, JOBS_MAX * sizeof *job);
    return wrong ? 1 : 0;
}
