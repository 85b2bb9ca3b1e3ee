/* handover: every fault at every fault point, and then in pairs, in the world of handover_world.h.
 *
 * After every step: never two running copies. In the end:
 *
 *   struck by                          what must have come of it
 *   a crash, a cut, a full disk        exactly one copy runs
 *   a cut for good                     one runs; or none, and the handover is shown as open or
 * undecided xl reboot, on either side          exactly one copy runs, in whatever domain xl rename,
 * on either side          exactly one copy runs, it moved, and it has the name it should have xl
 * destroy, shutdown, a panic      of a running guest, of the source's copy before GO is journalled,
 * of the destination's after OWNED, or of the last copy: none runs, for ever; of another copy:
 * exactly one runs reboot of a host                   the same, but where none would run, the other
 * copy may live on
 *
 * No handover stays open (but in a cut for good) except undecided ones; those appear only where a
 * host died; once an operator decides they end, too. No copy is left over beside the one that runs.
 *
 * The single faults run once more with an older handover of the guest in the journal (OLDER=1).
 * CASE="a fault b fault" repeats one case (what a failure prints); PAIRS=0 leaves the pairs out. */
#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/handover_world.h"

struct open_ones {
    unsigned open, undecided; /* undecided ones are not counted as open */
};

static struct open_ones open_ones(void)
{
    struct open_ones o = {0, 0};
    for (int n = 0; n < 2; n++) {
        struct handover_view v;
        unsigned pos = 0;
        while (hw->h[n].core && handover_next(hw->h[n].core, &pos, &v)) {
            if (vi_id_equal(&v.id, &hw_older))
                continue;
            o.undecided += v.undecided;
            o.open += !v.over && !v.undecided;
        }
    }
    return o;
}

static bool has(enum hw_fault f)
{
    return hw->what[0] == f || hw->what[1] == f;
}

static bool host_died(void)
{
    return has(HW_REBOOT_S) || has(HW_REBOOT_D);
}

/* How many copies run: see the table above. */
static const char *judge_copies(void)
{
    unsigned running = hw_running();
    if (running > 1)
        return "two copies run";
    if (running == 1)
        return hw->gone && !host_died() ? "it runs again though somebody ended it" : NULL;
    if (hw->gone || hw->may_be_gone)
        return NULL;
    return "no copy runs";
}

/* A copy beside the one that runs would hold its memory, and stand in the way of the next handover.
 * One that panicked was kept by whoever configured it so. */
static const char *judge_leftovers(void)
{
    for (int n = 0; n < 2; n++)
        if (hw->h[n].dom == HW_PAUSED || hw->h[n].dom == HW_SUSPENDED)
            return n ? "a copy is left at the destination" : "a copy is left at the source";
    return NULL;
}

static const char *judge_rename(void)
{
    bool alone = hw->what[1] == HW_NONE;
    const char *name = has(HW_XL_RENAME_D) && hw->at[0] < hw->point ? NULL : HW_NAME;
    if (!alone || (hw->what[0] != HW_XL_RENAME_S && hw->what[0] != HW_XL_RENAME_D))
        return NULL;
    if (!hw->h[0].moved || hw->h[1].dom != HW_RUNS)
        return "a new name kept it from moving";
    if (name && strcmp(hw->h[1].name, name) != 0)
        return "it did not come under the name it was offered by";
    if (strcmp(hw->h[1].name, HW_NAME) != 0 && strcmp(hw->h[1].name, HW_RENAMED) != 0)
        return "it runs under neither its own name nor the operator's";
    return NULL;
}

static const char *judge(void)
{
    struct open_ones o = open_ones();
    const char *bad;
    if (hw->overflow)
        return "too much was in flight";
    if (hw->twice)
        return "two copies ran";
    if (o.undecided && !host_died())
        return "undecided though no host died";
    if (has(HW_CUT_FOR_GOOD) && o.open + o.undecided)
        return hw_running() <= 1 ? NULL : "two copies run";
    if (o.open)
        return "it never ends";
    if (o.undecided)
        return NULL; /* judged once it is decided */
    bad = judge_copies();
    bad = bad ? bad : judge_leftovers();
    return bad ? bad : judge_rename();
}

/* An undecided handover is decided, knowing where the guest runs; then nothing may be open any
 * more. */
static const char *operator_decides(void)
{
    struct open_ones o;
    const char *bad;
    for (int n = 0; n < 2; n++) {
        struct handover_view v;
        unsigned pos = 0;
        while (hw->h[n].core && handover_next(hw->h[n].core, &pos, &v)) {
            struct handover_event ev = {
                .kind = HANDOVER_EV_RESOLVE, .id = v.id, .keep = n == 0 && hw->h[1].dom != HW_RUNS};
            if (v.undecided)
                hw_step(n, &ev);
        }
    }
    hw_turn(hw->now + 300 * VI_SEC);
    o = open_ones();
    if (hw->twice)
        return "two copies ran after an operator's decision";
    if (o.open + o.undecided)
        return "an operator's decision does not end it";
    bad = judge_copies();
    return bad ? bad : judge_leftovers();
}

static bool older;

static const char *play(unsigned a, enum hw_fault fa, unsigned b, enum hw_fault fb,
                        unsigned *points)
{
    const char *bad;
    hw_begin(a * 1000003ULL + b * 31ULL + (unsigned)fa * 7ULL + (unsigned)fb, older, a, fa, b, fb);
    hw_turn(hw->now + 600 * VI_SEC);
    *points = hw->point;
    bad = judge();
    if (!bad && !has(HW_CUT_FOR_GOOD))
        bad = operator_decides();
    hw_end();
    return bad;
}

static unsigned passed, failed;

static void run_case(unsigned a, enum hw_fault fa, unsigned b, enum hw_fault fb)
{
    unsigned points;
    const char *bad = play(a, fa, b, fb, &points);
    if (!bad) {
        passed++;
        return;
    }
    failed++;
    if (failed <= 20)
        printf(
            "%sCASE=\"%u %d %u %d\": %s (%s at point %u, %s at point %u); source %d, destination "
            "%d\n",
            older ? "OLDER=1 " : "", a, (int)fa, b, (int)fb, bad, hw_fault_names[fa], a,
            hw_fault_names[fb], b, (int)hw->h[0].dom, (int)hw->h[1].dom);
}

static int all_cases(bool pairs)
{
    unsigned points = 0, a, b;
    if (play(0, HW_NONE, 0, HW_NONE, &points) || !hw->h[0].moved) {
        printf("an undisturbed handover fails\n");
        failed++;
    } else
        passed++;
    for (a = 0; a <= points; a++)
        for (int fa = HW_CRASH_S; fa < HW_FAULTS; fa++)
            run_case(a, (enum hw_fault)fa, 0, HW_NONE);
    older = true;
    for (a = 0; a <= points; a++)
        for (int fa = HW_CRASH_S; fa < HW_FAULTS; fa++)
            run_case(a, (enum hw_fault)fa, 0, HW_NONE);
    older = false;
    for (a = 0; pairs && a <= points; a++)
        for (b = a; b <= points + 6; b++)
            for (int fa = HW_CRASH_S; fa < HW_FAULTS; fa++)
                for (int fb = HW_CRASH_S; fb < HW_FAULTS; fb++)
                    run_case(a, (enum hw_fault)fa, b, (enum hw_fault)fb);
    printf("%u fault points in one handover, %d faults\n", points, HW_FAULTS - 1);
    printf("handover: %u passed, %u failed\n", passed, failed);
    return failed > 0;
}

int main(void)
{
    const char *one = getenv("CASE"), *pairs = getenv("PAIRS");
    unsigned a, b;
    int fa, fb;
    /* each case makes and frees the same large things */
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    if (sodium_init() < 0)
        return 1;
    older = getenv("OLDER") != NULL;
    if (one && sscanf(one, "%u %d %u %d", &a, &fa, &b, &fb) == 4 && fa >= 0 && fa < HW_FAULTS &&
        fb >= 0 && fb < HW_FAULTS) {
        run_case(a, (enum hw_fault)fa, b, (enum hw_fault)fb);
        printf("handover: %u passed, %u failed\n", passed, failed);
        return failed > 0;
    }
    return all_cases(!pairs || strcmp(pairs, "0") != 0);
}
