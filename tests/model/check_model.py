#!/usr/bin/env python3
"""check_model.py [--build DIR] [--jobs N] [NAME...]: the models of this folder, exhaustively, with spin.

A run is a model with bounds: it must hold. A variant is a model with one rule taken away (a macro BREAK_...): spin
must find what comes of it. What the handover's model does must be tests/model/transitions, no more and no fewer.
Every line is a test; the last says "model: N passed, N failed"."""
import argparse, concurrent.futures, os, re, shutil, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))

# What an error is, by the first of these that its assertion has.
ERRORS = [
    ("acceptance", "never ends"),
    ("s_copy==3)+", "not one true disk"),
    ("lacks", "its disk lacks a write"),
    ("_copy==", "on a disk that is not whole, or not the true one"),
    ("mirror!=", "a late write on a disk that another runs on"),
    ("s_left==0", "not well over"),
    ("s_dom!=0", "no copy left"),
    ("s_undecided", "undecided for no reason"),
    ("s_dom==1", "two copies run"),
    ("d_ran", "goes on where the other ran"),
    ("s_went_on", "goes on where the other ran"),
    ("e_age*e_rate", "outlives its term"),
    ("e_phase==97", "what is trusted has ended"),
    ("d_phase", "handed over without lease or GO"),
    ("go_said", "GO without all"),
    ("phase[0]", "a move split, unseen"),
    ("lease[", "more than there is room for"),
]
TWO = "-DLIVE -DMOVES=2 -DLOSS=1"
# A run: model, name, definitions, and whether it is about what must come (LTL), too, or only what must not.
RUNS = [
    ("handover", "safety", "-DCRASHES=2 -DREBOOTS=2", False),
    ("handover", "journal lost", "-DCRASHES=2 -DREBOOTS=1 -DJLOSS=1 -DWRITES=0", False),
    ("handover", "it ends", "-DLIVE -DCRASHES=2", True),
    ("handover", "safety with a disk", "-DDISKS=1 -DCRASHES=2 -DREBOOTS=2", False),
    ("handover", "it ends with a disk", "-DDISKS=1 -DLIVE -DCRASHES=1", True),
    ("terms", "a lease in time", "", False),
    ("envmove", "two moves", "-DMOVES=2 -DLOSS=0 -DSLIPS=0 -DATTEMPTS=1", False),
    ("envmove", "two leads", "-DMOVES=1 -DLOSS=0 -DSLIPS=0 -DATTEMPTS=1", False),
    ("envmove", "two moves end", "-DLIVE -DMOVES=2 -DLOSS=2 -DSLIPS=1", True),
    ("envmove", "... with room for both", "-DLIVE -DMOVES=2 -DCAP=2 -DLOSS=1 -DSLIPS=1", True),
    ("envmove", "... a representative dies", TWO + " -DSLIPS=0 -DDEATHS=1 -DBALLOTS=4", True),
    ("envmove", "... a host dies", TWO + " -DSLIPS=1 -DHOSTS=1", True),
]
# A variant: model, macro, the bounds it is looked at with, kind, what must be seen.
VARIANTS = [
    ("handover", "BREAK_GO_UNWRITTEN", "", False, "goes on where the other ran"),
    ("handover", "BREAK_ABORT_AFTER_GO", "", False, "goes on where the other ran"),
    ("handover", "BREAK_SECOND_RESTART", "-DREBOOTS=0 -DWRITES=0", False, "not well over"),
    ("handover", "BREAK_UNPAUSE_WITHOUT_GO", "", False, "goes on where the other ran"),
    ("handover", "BREAK_UNPAUSE_UNWRITTEN", "", False, "goes on where the other ran"),
    ("handover", "BREAK_ABORTED_UNWRITTEN", "", False, "goes on where the other ran"),
    ("handover", "BREAK_RESTART_UNPAUSES", "", False, "goes on where the other ran"),
    ("handover", "BREAK_LOST_IS_ABORTED", "", False, "goes on where the other ran"),
    ("handover", "BREAK_TIMER_ENDS_RESTORED", "", False, "no copy left"),
    ("handover", "BREAK_UNKNOWN_IS_ABORTED", "-DCRASHES=1 -DREBOOTS=1 -DJLOSS=1 -DWRITES=0", False,
     "goes on where the other ran"),
    ("handover", "BREAK_GO_SAID_ONCE", "-DLIVE -DCRASHES=1", True, "never ends"),
    ("handover", "BREAK_GO_BEFORE_COMPLETE", "-DDISKS=1 -DCRASHES=1", False,
     "on a disk that is not whole, or not the true one"),
    ("handover", "BREAK_FINISH_UNCHECKED", "-DDISKS=1 -DCRASHES=1", False, "its disk lacks a write"),
    ("handover", "BREAK_MIRROR_LEFT", "-DDISKS=1 -DCRASHES=1", False, "a late write on a disk that another runs on"),
    ("handover", "BREAK_TRUE_COPY_TAKEN", "-DDISKS=1 -DCRASHES=1", False, "not one true disk"),
    ("handover", "BREAK_UNPAUSE_BEFORE_OWN", "-DDISKS=1 -DCRASHES=1", False,
     "on a disk that is not whole, or not the true one"),
    ("terms", "BREAK_WHOLE_TERM_TRUSTED", "-DCRASHES=0", False, "what is trusted has ended"),
    ("terms", "BREAK_TRUST_FROM_ANSWER", "", False, "what is trusted has ended"),
    ("terms", "BREAK_LEFT_FROM_ANSWER", "", False, "what is trusted has ended"),
    ("terms", "BREAK_LEASE_UNWRITTEN", "", False, "what is trusted has ended"),
    ("terms", "BREAK_TERM_NEVER_ENDS", "", False, "outlives its term"),
    ("envmove", "BREAK_GO_WITHOUT_ALL_GRANTS", TWO, True, "GO without all"),
    ("envmove", "BREAK_ROOM_WITHOUT_ALL_LEASES", TWO, True, "GO without all"),
    ("envmove", "BREAK_LEASES_UNCOUNTED", TWO, True, "more than there is room for"),
    ("envmove", "BREAK_MOVES_BEFORE_WRITTEN", TWO, True, "handed over without lease or GO"),
    ("envmove", "BREAK_MOVES_WITHOUT_LEASE", TWO, True, "handed over without lease or GO"),
    ("envmove", "BREAK_LEASE_ENDS_EARLY", TWO, True, "handed over without lease or GO"),
    ("envmove", "BREAK_HOLD_AND_WAIT", TWO + " -DCAP=2 -DSLIPS=0", True, "never ends"),
    ("envmove", "BREAK_NOBODY_TAKES_OVER", TWO + " -DSLIPS=0 -DDEATHS=1 -DBALLOTS=4", True, "a move split, unseen"),
]
SECONDS = 170


class Outcome:
    def __init__(self, states, depth, seconds, error, complete, steps):
        self.states, self.depth, self.seconds = states, depth, seconds
        self.error, self.complete, self.steps = error, complete, steps


def run(folder, model, definitions, live, optimize):
    """Spin's verifier for the model, to its end or its first error."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    shutil.copy(os.path.join(HERE, model + ".pml"), os.path.join(folder, "model.pml"))

    def do(command):
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}:\n{done.stdout}")
    do(["spin", "-a", "-o3", *definitions.split(), "model.pml"])
    do(["gcc", optimize, "-w", "-DNOFAIR", *([] if live else ["-DSAFETY"]), "-o", "pan", "pan.c"])
    began = time.monotonic()
    try:
        out = subprocess.run(["./pan", "-m1000000", "-w25", *(["-a"] if live else [])], cwd=folder, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS).stdout
    except subprocess.TimeoutExpired as late:
        out = (late.stdout or b"").decode(errors="replace")
    took = time.monotonic() - began
    with open(os.path.join(folder, "out"), "w") as f:
        f.write(out)

    def figure(pattern):
        m = re.search(pattern, out)
        return int(float(m[1])) if m else 0
    error = re.search(r"^pan:\d+: (.*?) *\(at depth", out, re.M)
    complete = "errors: 0" in out and not re.search(r"Search not completed|max search depth too small|out of memory", out)
    steps = {(int(a), int(b)) for a, b in re.findall(r"^T (\d+) (\d+)$", out, re.M)}
    return Outcome(figure(r"([\d.e+]+) states, stored"), figure(r"depth reached (\d+)"), took,
                   error[1] if error else None, complete, steps)


def table():
    steps = set()
    with open(os.path.join(HERE, "transitions")) as f:
        for line in f:
            words = line.split()
            if words and words[0] != "#":
                steps |= {(words[0], w) for w in words[1:]}
    return steps


def states_of(model):
    with open(os.path.join(HERE, model + ".pml")) as f:
        names = {int(n): name for name, n in re.findall(r"^#define (H[SD]_\w+) (\d+)$", f.read(), re.M)}
    names[0] = "-"
    return names


def named_error(text):
    text = text.replace(" ", "")
    return next((name for sign, name in ERRORS if sign in text), text[:60])


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", default="build/model")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("names", nargs="*", help="only these models or variants")
    a = ap.parse_args()
    todo = [(m, n, d, live, None) for m, n, d, live in RUNS] + \
           [(m, n, f"-D{n} {d}", live, must) for m, n, d, live, must in VARIANTS]
    todo = [t for t in todo if not a.names or t[0] in a.names or t[1] in a.names]
    for model in {t[0] for t in todo}:
        with open(os.path.join(HERE, model + ".pml")) as f:
            unknown = set(re.findall(r"^#ifn?def (BREAK_\w+)", f.read(), re.M)) ^ {v[1] for v in VARIANTS if v[0] == model}
        if unknown:
            sys.exit(f"{model}: not both in the model and in the list of variants: {', '.join(sorted(unknown))}")
    passed = failed = 0
    steps = set()
    print(f"{'model':9} {'run or variant':29} {'states':>10} {'depth':>6} {'s':>6}  result")
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        def one(t):
            return t, run(os.path.join(a.build, f"{t[0]}-{t[1].replace(' ', '-')}"), *t[:1], t[2], t[3], "-O0" if t[4] else "-O1")
        for (model, name, _, _, must), o in pool.map(one, todo):
            error = named_error(o.error) if o.error else None
            if must:
                good = error == must
                said = f"caught: {error}" if good else f"NOT CAUGHT ({error or 'no error'}; must be: {must})"
            else:
                good = o.error is None and o.complete
                said = "holds" if good else f"BROKEN: {error}" if o.error else "NOT TO ITS END"
                if model == "handover":
                    steps |= o.steps
            passed, failed = passed + good, failed + (not good)
            print(f"{model:9} {name:29} {o.states:10} {o.depth:6} {o.seconds:6.1f}  {said}", flush=True)
    if not a.names:
        names = states_of("handover")
        done, want = {(names[x], names[y]) for x, y in steps}, table()
        for x, y in sorted(done ^ want):
            print(f"handover: {x} -> {y}: {'done, and not in the table' if (x, y) in done else 'in the table, never done'}")
        passed, failed = passed + (done == want), failed + (done != want)
        print(f"handover  steps as in tests/model/transitions: {len(done & want)} of {len(want)}")
    print(f"model: {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
