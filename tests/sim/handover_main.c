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
 *
 * All of it again for a guest whose disk moves with it (DISK=1), and for one that moves back to where an old copy of its
 * disk is (BACK=1; STALE=1: one that is too old to build on), with three faults more. Beside the above: the copy of the disk that the guest runs on has every write
 * that the guest was told of as done, and is the true one; in the end there is one true copy with all of them, whether
 * the guest lives or not, and no other but an old one; and a cut, stalled or full disk alone leaves the guest running.
 *
 * Where a host died, the single faults run once more with an operator who decides for the destination (FOR_D=1).
 *
 * CASE="a fault b fault" repeats one case (what a failure prints); PAIRS=0 leaves the pairs out, and ONLY=plain, disk,
 * back or stale the other parts; ALL=1: all pairs on the way back, too. */
#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/handover_disks.h"
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

static const char *judge_disks(void)
{
    return hw_options.disk ? hwd_judge(hw_runs_at()) : NULL;
}

static const char *judge(void)
{
    struct open_ones o = open_ones();
    const char *bad;
    if (hw->overflow)
        return "too much was in flight";
    if (hw->twice)
        return "two copies ran";
    if (hw_options.disk && hwd->bad)
        return hwd->bad;
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
    bad = bad ? bad : judge_disks();
    return bad ? bad : judge_rename();
}

static bool for_destination;

/* As an operator does who has looked at both hosts: a guest that runs at the destination stays there, else the source's
 * copy of it goes on (for_destination: is given up, for what was written there); a disk that is given up at the source
 * is kept at the destination. */
static bool keeps(int n)
{
    if (n == 1)
        return hw_options.disk && hwd->copy[0].kind != HWD_TRUE;
    if (hw->h[1].dom == HW_RUNS || for_destination)
        return false;
    hwd_decided_for(0);
    return true;
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
            struct handover_event ev = {.kind = HANDOVER_EV_RESOLVE, .id = v.id};
            if (!v.undecided || (n == 1 && for_destination)) /* the source tells it */
                continue;
            ev.keep = keeps(n);
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
    bad = bad ? bad : judge_leftovers();
    return bad ? bad : judge_disks();
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
            "%s%s%sCASE=\"%u %d %u %d\": %s (%s at point %u, %s at point %u); source %d, destination "
            "%d\n",
            older ? "OLDER=1 " : "", for_destination ? "FOR_D=1 " : "",
            hw_options.stale ? "STALE=1 " : hw_options.back ? "BACK=1 " : hw_options.disk ? "DISK=1 " : "", a, (int)fa, b, (int)fb, bad, hw_fault_names[fa], a,
            hw_fault_names[fb], b, (int)hw->h[0].dom, (int)hw->h[1].dom);
}

static int faults(void)
{
    return hw_options.disk ? HW_FAULTS : HW_FAULTS_DISKLESS;
}

#ifdef __SANITIZE_ADDRESS__
#define ALL_PAIRS false /* what is slow there: single faults go through the same code */
#else
#define ALL_PAIRS true
#endif

/* On the way back, pairs are of those that strike the old copy or what is put on it; ALL=1: of all. */
static bool in_pairs(int f)
{
    return !hw_options.back || getenv("ALL") || f <= HW_DISK_D || f >= HW_FAULTS_DISKLESS;
}

static void all_cases(const char *name, bool pairs)
{
    unsigned points = 0, a, b;
    const char *bad = play(0, HW_NONE, 0, HW_NONE, &points);
    if (bad || !hw->h[0].moved) {
        printf("%s: an undisturbed handover fails: %s\n", name, bad ? bad : "it does not move");
        failed++;
    } else
        passed++;
    if (hw_options.back && !hw_options.stale && hwd->copied >= HWD_BLOCKS) {
        printf("%s: more than what changed was copied\n", name);
        failed++;
    }
    for (a = 0; a <= points; a++)
        for (int fa = HW_CRASH_S; fa < faults(); fa++)
            run_case(a, (enum hw_fault)fa, 0, HW_NONE);
    older = true;
    for (a = 0; a <= points; a++)
        for (int fa = HW_CRASH_S; fa < faults(); fa++)
            run_case(a, (enum hw_fault)fa, 0, HW_NONE);
    older = false;
    for_destination = true;
    for (a = 0; hw_options.disk && a <= points; a++)
        run_case(a, HW_REBOOT_D, 0, HW_NONE);
    for_destination = false;
    for (a = 0; pairs && a <= points; a++)
        for (b = a; b <= points + 6; b++)
            for (int fa = HW_CRASH_S; fa < faults(); fa++)
                for (int fb = HW_CRASH_S; fb < faults(); fb++)
                    if (in_pairs(fa) && in_pairs(fb))
                        run_case(a, (enum hw_fault)fa, b, (enum hw_fault)fb);
    printf("%s: %u fault points in one handover, %d faults\n", name, points, faults() - 1);
}

int main(void)
{
    static const struct {
        const char *name;
        bool disk, back, stale, pairs;
    } parts[] = {{"plain", false, false, false, true},
                 {"disk", true, false, false, true},
                 {"back", true, true, false, true},
                 {"stale", true, true, true, false}};
    const char *one = getenv("CASE"), *pairs = getenv("PAIRS"), *only = getenv("ONLY");
    unsigned a, b;
    int fa, fb;
    /* each case makes and frees the same large things */
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    if (sodium_init() < 0)
        return 1;
    older = getenv("OLDER") != NULL;
    for_destination = getenv("FOR_D") != NULL;
    hw_options.stale = getenv("STALE") != NULL;
    hw_options.back = hw_options.stale || getenv("BACK");
    hw_options.disk = hw_options.back || getenv("DISK");
    if (one && sscanf(one, "%u %d %u %d", &a, &fa, &b, &fb) == 4 && fa >= 0 && fa < HW_FAULTS &&
        fb >= 0 && fb < HW_FAULTS) {
        run_case(a, (enum hw_fault)fa, b, (enum hw_fault)fb);
        printf("handover: %u passed, %u failed\n", passed, failed);
        return failed > 0;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        hw_options.disk = parts[i].disk;
        hw_options.back = parts[i].back;
        hw_options.stale = parts[i].stale;
        if (!only || strcmp(only, parts[i].name) == 0)
            all_cases(parts[i].name, parts[i].pairs && (ALL_PAIRS || !parts[i].disk) && (!pairs || strcmp(pairs, "0") != 0));
    }
    printf("handover: %u passed, %u failed\n", passed, failed);
    return failed > 0;
}
