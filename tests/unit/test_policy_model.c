/* The handover's transitions are those of tests/model/transitions, no more and no fewer: the table that `make model`
 * holds the Promela model to (tests/model/). Every fault at every fault point, in the world of
 * tests/sim/handover_world.h; cancelled at any moment on either side; refused; decided either way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/handover_world.h"

#define STATES 64

static bool table[STATES][STATES], seen[STATES][STATES];

static const struct {
    enum handover_state state;
    const char *name;
} names[] = {{HS_OFFERED, "HS_OFFERED"},       {HS_ACCEPTED, "HS_ACCEPTED"},     {HS_STREAMING, "HS_STREAMING"},
             {HS_SUSPENDED, "HS_SUSPENDED"},   {HS_CHECKING, "HS_CHECKING"},     {HS_GO, "HS_GO"},
             {HS_DESTROYING, "HS_DESTROYING"}, {HS_DONE, "HS_DONE"},             {HS_ABORTING, "HS_ABORTING"},
             {HS_MIRRORING, "HS_MIRRORING"},   {HS_SYNCING, "HS_SYNCING"},       {HS_SYNCED, "HS_SYNCED"},
             {HS_RESUMING, "HS_RESUMING"},     {HS_ABORTED, "HS_ABORTED"},       {HS_REFUSED, "HS_REFUSED"},
             {HD_ADMITTING, "HD_ADMITTING"},   {HD_RESERVED, "HD_RESERVED"},     {HD_PREPARING, "HD_PREPARING"},
             {HD_READY, "HD_READY"},           {HD_RESTORING, "HD_RESTORING"},   {HD_RESTORED, "HD_RESTORED"},
             {HD_CHECKING, "HD_CHECKING"},     {HD_OWNED, "HD_OWNED"},           {HD_RUNNING, "HD_RUNNING"},
             {HD_ABORTING, "HD_ABORTING"},     {HD_ABORTED, "HD_ABORTED"},       {HD_LOST, "HD_LOST"},
             {HD_DONE, "HD_DONE"},             {HD_COMPLETING, "HD_COMPLETING"}, {HD_COMPLETE, "HD_COMPLETE"}};
#define NAMES (sizeof names / sizeof names[0])

static const char *name_of(unsigned st)
{
    for (size_t i = 0; i < NAMES; i++)
        if ((unsigned)names[i].state == st)
            return names[i].name;
    return "-";
}

static unsigned state_of(const char *name)
{
    for (size_t i = 0; i < NAMES; i++)
        if (strcmp(names[i].name, name) == 0)
            return (unsigned)names[i].state;
    assert_string_equal(name, "-");
    return 0;
}

/* Each line: a state, then all that follow it at once; `-` is none yet. */
static void read_table(void)
{
    char line[512];
    FILE *f = fopen("tests/model/transitions", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char *rest = line, *word = strtok_r(rest, " \n", &rest);
        unsigned from;
        if (!word || word[0] == '#')
            continue;
        from = state_of(word);
        while ((word = strtok_r(rest, " \n", &rest)))
            table[from][state_of(word)] = true;
    }
    fclose(f);
}

static void on_state(const struct handover_effect *fx)
{
    assert_in_range(fx->was, 0, STATES - 1);
    assert_in_range(fx->state, 1, STATES - 1);
    seen[fx->was][fx->state] = true;
}

/* ---- the worlds ---- */

static unsigned cases;

static void decide(bool keep)
{
    for (int n = 0; n < 2; n++) {
        struct handover_view v;
        unsigned pos = 0;
        while (hw->h[n].core && handover_next(hw->h[n].core, &pos, &v)) {
            struct handover_event ev = {.kind = HANDOVER_EV_RESOLVE, .id = v.id, .keep = keep == (n == 0)};
            if (v.undecided)
                hw_step(n, &ev);
        }
    }
}

static void cancel(int n)
{
    struct handover_event ev = {.kind = HANDOVER_EV_CANCEL};
    memset(ev.id.b, 0x77, sizeof ev.id.b);
    hw_step(n, &ev);
}

static unsigned play(unsigned a, enum hw_fault fa, unsigned b, enum hw_fault fb, bool keep)
{
    unsigned points;
    hw_begin(a * 131ULL + (unsigned)fa + 7919ULL * b + (unsigned)fb, false, a, fa, b, fb);
    hw_turn(hw->now + 400 * VI_SEC);
    decide(keep);
    hw_turn(hw->now + 200 * VI_SEC);
    points = hw->point;
    hw_end();
    cases++;
    return points;
}

/* Every fault at every fault point, and crashes of both sides in pairs: decided for the source, and against it. */
static void with_faults(void)
{
    static const enum hw_fault crashes[] = {HW_CRASH_S, HW_CRASH_D, HW_REBOOT_S, HW_REBOOT_D, HW_DISK_S, HW_DISK_D};
    unsigned points = play(0, HW_NONE, 0, HW_NONE, true);
    for (unsigned a = 0; a <= points; a++)
        for (int f = HW_CRASH_S; f < (hw_options.disk ? HW_FAULTS : HW_FAULTS_DISKLESS); f++) {
            play(a, (enum hw_fault)f, 0, HW_NONE, true);
            play(a, (enum hw_fault)f, 0, HW_NONE, false);
        }
    for (unsigned a = 0; a <= points; a++)
        for (unsigned b = a; b <= points + 6; b++)
            for (unsigned f = 0; f < 6; f++)
                for (unsigned g = 0; g < 6; g++)
                    play(a, crashes[f], b, crashes[g], (a + b + f + g) % 2);
}

/* Cancelled on either side, any number of milliseconds after the start; with a full disk, too. */
static void with_cancels(void)
{
    for (unsigned ms = 0; ms < (hw_options.disk ? 12000 : 4000); ms += 4)
        for (int n = 0; n < 2; n++)
            for (int disk = 0; disk < 3; disk++) {
                hw_begin(ms + (unsigned)n, false, 0, HW_NONE, 0, HW_NONE);
                hw_turn(hw->now + (vi_time)ms * VI_MSEC);
                if (disk)
                    hw->h[disk - 1].disk_fails_until = hw->now + 5 * VI_SEC;
                cancel(n);
                hw_turn(hw->now + 200 * VI_SEC);
                hw_end();
                cases++;
            }
}

static void with_a_refusal(void)
{
    hw_options.refuses = true;
    play(0, HW_NONE, 0, HW_NONE, true);
    hw_options.refuses = false;
}

static void test_transitions_are_the_tables(void **state)
{
    unsigned wrong = 0, n = 0;
    (void)state;
    mallopt(M_MMAP_THRESHOLD, 64 << 20); /* each case makes and frees the same large things */
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    read_table();
    hw_options.states = on_state;
    for (int disk = 0; disk < 2; disk++) {
        hw_options.disk = disk; /* and once more for a guest whose disk moves with it */
        with_faults();
        with_cancels();
        with_a_refusal();
    }
    hw_options.states = NULL;
    for (unsigned a = 0; a < STATES; a++)
        for (unsigned b = 0; b < STATES; b++) {
            n += table[a][b];
            if (table[a][b] == seen[a][b])
                continue;
            wrong++;
            printf("%s -> %s: %s\n", name_of(a), name_of(b),
                   seen[a][b] ? "is done, and not in the table" : "in the table, and never done");
        }
    printf("%u transitions in the table, %u cases\n", n, cases);
    assert_true(n > 50);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_transitions_are_the_tables)};
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
