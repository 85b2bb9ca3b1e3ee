#!/usr/bin/env python3
"""bench_idle.py: what a peer costs that has nothing to do: memory and CPU of its processes, with 16
members that know each other, no guests. MEMBERS, PERIOD (s) and RUNS change the figures."""
import os, sys, time

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(os.path.dirname(here), "net")]
from lab import Lab
from report import Report

MEMBERS, PERIOD, RUNS = (int(os.environ.get(k, d)) for k, d in (("MEMBERS", 16), ("PERIOD", 20), ("RUNS", 3)))
TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(f[11]) + int(f[12])) / TICK


def memory(pid):
    rss = pss = 0
    for l in open(f"/proc/{pid}/smaps_rollup"):
        if l.startswith("Rss:"):
            rss = int(l.split()[1])
        elif l.startswith("Pss:"):
            pss = int(l.split()[1])
    return rss / 1024, pss / 1024


def main():
    report = Report("idle")
    with Lab(hosts=MEMBERS) as lab:
        lab.form()
        time.sleep(10)
        h = lab.hosts[MEMBERS // 2]
        pids = {"peer": h.pid_of("peer-child"), "agent": h.pid_of("agent"), "supervisor": h.pid_of("peer")}
        seen = {k: {"cpu": [], "rss": [], "pss": []} for k in [*pids, "sum"]}
        for _ in range(RUNS):
            before, began = {k: cpu(p) for k, p in pids.items()}, time.monotonic()
            time.sleep(PERIOD)
            took = time.monotonic() - began
            total = [0.0, 0.0, 0.0]
            for k, p in pids.items():
                one = ((cpu(p) - before[k]) / took * 100, *memory(p))
                total = [a + b for a, b in zip(total, one)]
                for m, v in zip(("cpu", "rss", "pss"), one):
                    seen[k][m].append(v)
            for m, v in zip(("cpu", "rss", "pss"), total):
                seen["sum"][m].append(v)
    for k, v in seen.items():
        report.add(f"members={MEMBERS}", f"violin {k}", "cpu", "% of a core", v["cpu"])
        report.add(f"members={MEMBERS}", f"violin {k}", "rss", "MiB", v["rss"])
        report.add(f"members={MEMBERS}", f"violin {k}", "pss", "MiB", v["pss"])
    report.write()


if __name__ == "__main__":
    main()
