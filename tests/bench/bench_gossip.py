#!/usr/bin/env python3
"""bench_gossip.py: failure detection, false alarms, stability, traffic and size of the gossip, on virtual
time, beside SWIM without what came after it, and beside published figures. The cores are the peer's own.

FULL=1 runs Lifeguard's whole grid (the default a tenth of it); SEEDS=10; ONLY=crash,join runs some parts;
QUICK=1 is for development: three seeds, small sizes."""
import concurrent.futures, itertools, os, subprocess, sys, time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
from report import ROOT, Report

FULL, QUICK = os.environ.get("FULL") == "1", os.environ.get("QUICK") == "1"
SEEDS = int(os.environ.get("SEEDS", "3" if QUICK else "10"))
ONLY = [p for p in os.environ.get("ONLY", "").split(",") if p]
SIM = os.path.join(ROOT, "build", "violin-sim")
SYSTEMS = (("violin", []), ("swim", ["--swim"]))
report = Report("gossip")
pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2)


def measure(case, *options):
    """One run: its figures by name."""
    p = subprocess.run([SIM, "measure", case, *map(str, options)], capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError(f"{case} {' '.join(map(str, options))}: {p.stderr.strip()}")
    figures = {}
    for line in p.stdout.splitlines():
        name, value = line.split()
        figures.setdefault(name, []).append(float(value))
    return figures


def runs(case, *options, seeds=SEEDS, system=()):
    """The same with many seeds: figures by name, one list for each run."""
    jobs = [pool.submit(measure, case, "--seed", s + 1, *options, *system) for s in range(seeds)]
    return [j.result() for j in jobs]


def part(name):
    def wrap(f):
        if not ONLY or name in ONLY:
            began = time.monotonic()
            print(f"-- {name}", end="", flush=True)
            f()
            print(f": {time.monotonic() - began:.0f} s", flush=True)
        return f
    return wrap


# what memberlist's defaults come to by its own formula: probe, suspicion of 4 × log10 n, spreading
PUBLISHED_CRASH = {16: 6.7, 128: 10.3, 1000: 13.9}


@part("crash")
def crash():
    for n in (16, 128) if QUICK else (16, 128, 1000):
        for system, flag in SYSTEMS:
            done = runs("crash", "--n", n, system=flag)
            for metric in ("known_to_first_s", "known_to_all_s"):
                report.add(f"n={n}", system, "crash_" + metric, "s", [x for r in done for x in r[metric]])
        report.add(f"n={n}", "published", "crash_known_to_all_s", "s", [PUBLISHED_CRASH[n]])


def grid():
    """Lifeguard's: members blocked, for how long, and how long not in between (seconds)."""
    cells = list(itertools.product((1, 4, 8, 12, 16, 20, 24, 28, 32),
                                   (.128, .512, 2.048, 8.192, 16.384, 32.768),
                                   (.001, .004, .016, .064, .256, 1.024, 4.096, 16.384)))
    return cells if FULL else cells[5::10]


def worse_cells(sums):
    """Cells in which violin has more false alarms than 3.2 % of SWIM's: said one by one."""
    out = []
    for cell, by in sorted(sums.items()):
        v, s = (sum(r["false_positive"] for r in by[k]) for k in ("violin", "swim"))
        if v > .032 * s:
            out.append((cell, v, s))
    return out


@part("interval")
def interval():
    sums, jobs = {}, []
    seeds = range(1, SEEDS + 1)
    for cell in grid()[::6] if QUICK else grid():
        for (system, flag), seed in itertools.product(SYSTEMS, seeds):
            jobs.append((cell, system, seed, pool.submit(measure, "interval", "--seed", seed, "--anomalous", cell[0],
                                                         "--blocked", cell[1], "--normal", cell[2], *flag)))
    total = {}
    for cell, system, seed, job in jobs:
        f = {k: v[0] for k, v in job.result().items()}
        sums.setdefault(cell, {}).setdefault(system, []).append(f)
        for k, v in f.items():
            total[system, seed, k] = total.get((system, seed, k), 0) + v
    for k in ("false_positive", "false_positive_healthy"):
        for system, _ in SYSTEMS:
            report.add("lifeguard-interval", system, k, "removals", [total[system, s, k] for s in seeds])
        report.add("lifeguard-interval", "violin", k + "_pct_of_swim", "%",
                   [100 * total["violin", s, k] / max(1, total["swim", s, k]) for s in seeds])
    report.add("lifeguard-interval", "published", "false_positive_pct_of_swim", "%", [3.2])
    report.add("lifeguard-interval", "published", "false_positive_healthy_pct_of_swim", "%", [4.8])
    report.add("lifeguard-interval", "violin", "cells", "cells", [len(sums)])
    worse = worse_cells(sums)
    report.add("lifeguard-interval", "violin", "cells_above_aim", "cells", [len(worse)])
    print("".join(f"\n   {c[0]} members blocked {c[1]} s, {c[2]} s in between: violin {v:.0f}, swim {s:.0f} removals"
                  for c, v, s in worse), end="")


@part("threshold")
def threshold():
    """Detection of members that are blocked for 32 s; alpha-2 is Lifeguard alone, tuned for speed."""
    for anomalous in (4, 16, 32):
        for system, flag in SYSTEMS:
            done = runs("threshold", "--anomalous", anomalous, "--blocked", 32.768, system=flag)
            for metric in ("first_detection_s", "known_to_healthy_s"):
                v = [x for r in done for x in r.get(metric, [])]
                if v:
                    report.add(f"lifeguard-threshold-{anomalous}", system, metric, "s", v)


@part("rapid")
def rapid():
    n = 200 if QUICK else 1000
    for case in ("rapid-80pct-loss", "rapid-flipflop"):
        for system, flag in SYSTEMS:
            seeds = SEEDS if system == "violin" or FULL else min(3, SEEDS)
            done = runs(case, "--n", n, seeds=seeds, system=flag)
            for metric, unit in (("healthy_removed", "removals"), ("healthy_removed_by_faulty", "removals"),
                                 ("oscillations_per_faulty_10min", "returns"), ("removals_per_faulty_10min", "removals"),
                                 ("faulty_removed_at_the_end_pct", "%"), ("healed_after_s", "s")):
                report.add(case, system, metric, unit, [r[metric][0] for r in done])


@part("traffic")
def traffic():
    for n in (100,) if QUICK else (100, 1000):
        done = runs("traffic", "--n", n)
        for metric in done[0]:
            report.add(f"n={n}", "violin", metric, "s" if "age" in metric else "%" if "pct" in metric else "B/s",
                       [r[metric][0] for r in done])
    for system, mean in (("published Rapid", 710), ("published memberlist", 640)):
        report.add("n=1000", system, "membership_tx_bytes_per_s_mean", "B/s", [mean])


@part("join")
def join():
    n = 200 if QUICK else 2000
    report.add(f"{n}-one-seed", "violin", "join_s", "s", [r["join_s"][0] for r in runs("join", "--n", n)])


@part("update")
def update():
    done = runs("update", "--n", 100 if QUICK else 1000)
    for metric, unit in (("update_everywhere_s", "s"), ("update_everywhere_syncs", "syncs")):
        report.add("loss-25pct", "violin", metric, unit, [x for r in done for x in r[metric]])


@part("large")
def large():
    for case, name, options in (("federation", "100x100", ["--domains", 10 if QUICK else 100, "--n", 10 if QUICK else 100]),
                                ("flat", "flat-1000" if QUICK else "flat-10000", ["--n", 1000 if QUICK else 10000])):
        done = [measure(case, *options)]
        for metric in done[0]:
            unit = "B" if "bytes" in metric else "1/s" if "per_s" in metric else "%" if metric.endswith("_pct") else "s"
            report.add(name, "violin", metric, unit, [x for r in done for x in r[metric]])


report.write()
