#!/usr/bin/env python3
"""bench_scale.py: the policy at scale, whole peers on virtual time (`violin-sim scale`): hot hosts relieved in a domain of
500 hosts with 5,000 guests and in 100 domains of 100 hosts, 200 of 500 hosts overloaded at once, noise; and what a peer sends
and computes, by size. Default settings everywhere. SEEDS=3 (of 1,000 and more hosts one); QUICK=1 is for development."""
import concurrent.futures, os, subprocess, sys, time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
from report import ROOT, Report

QUICK = os.environ.get("QUICK") == "1"
SEEDS = int(os.environ.get("SEEDS", "1" if QUICK else "3"))
SIM = os.path.join(ROOT, "build", "violin-sim")
UNITS = {"resolved_s": "s", "first_leaves_s": "s", "moves_before": "guests", "moves": "guests", "most_moves_of_a_host": "guests",
         "returns": "guests", "destination_fullest_pct": "%", "destinations_over_range": "hosts", "destinations_over": "hosts",
         "most_arrivals": "guests", "unserved_most_pct": "%", "evaluation_median_ns": "ns", "evaluation_p99_ns": "ns",
         "choosing_median_ns": "ns", "summary_age_p50_s": "s", "summary_age_p99_s": "s"}
HOT = ("resolved_s", "first_leaves_s", "moves", "most_moves_of_a_host", "returns", "destination_fullest_pct",
       "destinations_over_range", "destinations_over", "unserved_most_pct")
COST = ("evaluation_median_ns", "evaluation_p99_ns", "choosing_median_ns", "summary_age_p50_s", "summary_age_p99_s", "membership_bytes_per_host_s", "summaries_bytes_per_host_s",
        "federation_bytes_per_host_s", "calls_bytes_per_host_s", "bytes_per_host_s", "busy_bytes_per_host_s")
SHORT = ["--before", 65, "--after", 30]
CASES = [ # name, options, figures, seeds
    ("hosts-50", ["--hosts", 50, *SHORT], HOT + COST, SEEDS),
    ("hosts-100", ["--hosts", 100, *SHORT], HOT + COST, SEEDS),
    ("hosts-500", ["--hosts", 500, *SHORT], HOT + COST, SEEDS),
    ("hosts-1000", ["--hosts", 1000, "--before", 150, "--after", 30], HOT + COST, 1), # so long until all have all records
    ("hosts-500-herd", ["--hosts", 500, "--hot", 200, "--hot-guests", 4, "--before", 65, "--after", 60], HOT + ("most_arrivals",), SEEDS),
    ("domains-10x100", ["--domains", 10, "--hosts", 100, "--hot", 3, "--hot-domains", 5, *SHORT], HOT + COST, SEEDS),
    ("domains-100x100", ["--domains", 100, "--hosts", 100, "--hot", 3, "--hot-domains", 10, *SHORT], HOT + COST, 1),
    ("noise-at-50", ["--hosts", 60, "--hot", 0, "--noise", .2, "--before", 150, "--after", 1], ("moves_before", "returns"), SEEDS),
    ("noise-at-75", ["--hosts", 60, "--hot", 0, "--base", .3, "--noise", .2, "--before", 150, "--after", 1], ("moves_before", "returns"), SEEDS),
]
if QUICK:
    CASES = [c for c in CASES if c[0] in ("hosts-50", "noise-at-50")]
report = Report("scale")
report.notes["definitions"] = {
    "system": "violin: every host a node with the program's cores, 4 CPUs, 10 guests of 256 MiB that want a fifth of a CPU each "
              "(noise: more or less all the time), 1 Gb/s a host, 1 to 20 ms, 1 in 100 lost; default settings: evaluation every "
              "5 s, 3 of 5, a fifth of a period apart while a host is very short",
    "resolved_s": "from when six guests of each hot host want nine tenths of a CPU (620 % of 400; herd: four, 480 %) until nobody "
                  "on any host wants what isn't there; -1: not within the run",
    "destinations_over_range": "hosts to which guests came and whose guests then couldn't all be allocated what keeps them in "
                               "their range (whole CPUs at most)",
    "destination_fullest_pct": "most that was wanted of such a host, of what it has",
    "evaluation_ns": "CPU time of one evaluation of one host's policy, on this machine, its state in the caches, before anything is hot",
    "choosing_median_ns": "of those evaluations that looked for another host, when some are hot",
    "bytes_per_host_s": "sent by a host, with UDP's, IPv4's and the mesh's heads; summaries: bounded (gossip/README.md); with them "
                        "the hosts' records, and what a domain says to its hosts of each other domain",
    "summary_age": "of all others' at all hosts, when the hosts get hot",
    "moves_before": "noise: moves of 600 guests in 90 s",
}


def run(options, seed):
    began = time.monotonic()
    p = subprocess.run([SIM, "scale", "--seed", str(seed), *map(str, options)], capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError(f"scale {' '.join(map(str, options))}: {p.stderr.strip()}")
    figures = dict(l.split() for l in p.stdout.splitlines())
    return figures, time.monotonic() - began


def main():
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2)
    jobs = [(name, figures, [pool.submit(run, options, s + 1) for s in range(seeds)]) for name, options, figures, seeds in
            sorted(CASES, key=lambda c: -len(c[0]))]
    for name, figures, runs in jobs:
        done = [j.result() for j in runs]
        for f in figures:
            report.add(name, "violin", f, UNITS.get(f, "B"), [float(d[0][f]) for d in done])
        report.add(name, "violin", "wall_s", "s", [d[1] for d in done])
    report.write()
    flat()
    return 0


def flat():
    """What a peer computes and sends, by the size of its domain."""
    by = {(r["case"], r["metric"]): r["median"] for r in report.rows}
    sizes = [c[0] for c in CASES if ("evaluation_median_ns" in c[2])]
    print("\nby size".ljust(30) + "".join(s.rjust(16) for s in sizes))
    for metric in ("evaluation_median_ns", "choosing_median_ns", "bytes_per_host_s", "busy_bytes_per_host_s", "summary_age_p50_s", "summary_age_p99_s", "resolved_s"):
        print(metric.ljust(29) + "".join(f"{by[s, metric]:16.0f}" if by[s, metric] > 100 else f"{by[s, metric]:16.1f}" for s in sizes))


if __name__ == "__main__":
    sys.exit(main())
