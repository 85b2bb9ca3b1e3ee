#!/usr/bin/env python3
"""bench_move.py [--quick]: how long a guest can't be reached because it moved, beside VXLAN, fastd and tinc.

A guest pinged every 5 ms moves round three hosts; with announcement it sends gratuitous ARP as soon as it runs again,
without it says nothing until it is spoken to. dark_ms is defined in tests/net/moving.py. A system that doesn't
find a silent guest within the bound is counted with the bound; the guest then speaks, and it goes on.
INSTALL=1 installs fastd and tinc. MOVES, SYSTEMS=violin,… choose less; QUICK=1 or --quick: six moves."""
import os, shutil, statistics, subprocess, sys, time

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(os.path.dirname(here), "net")]
from lab import Lab, wait_for
from move_systems import SYSTEMS
from moving import Moving
from report import Report

QUICK = "--quick" in sys.argv or os.environ.get("QUICK") == "1"
MOVES = int(os.environ.get("MOVES", "6" if QUICK else "50"))
WANTED = [s for s in os.environ.get("SYSTEMS", "").split(",") if s] or [s.name for s in SYSTEMS]
BOUND = 2 if QUICK else 10    # seconds that a silent guest is waited for
LOST_MOST = 2 if QUICK else 6  # and how often, then the case ends
CASES = {"announced": True, "silent": False}
AIM_MEDIAN, AIM_MAX = 15, 100


def install():
    packages = [s.package for s in SYSTEMS if s.package]
    if os.environ.get("INSTALL") == "1":
        line = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
        if subprocess.run(line, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}).returncode:
            sys.exit(f"{' '.join(line)}: failed")
    missing = {s.name: "not installed" for s in SYSTEMS if s.name in WANTED and s.binary and not shutil.which(s.binary)}
    for name in missing:
        print(f"{name}: not installed, left out (make bench-move INSTALL=1 installs it)", flush=True)
    return missing


def run_case(system, moving, announce):
    """(figures of each move, what was wrong with the entries after one)."""
    moving.start(announce)
    moves, wrong, lost = [], [], 0
    while len(moves) < MOVES and lost < LOST_MOST:
        to = (system.at + 1) % 3
        moves.append(moving.move(lambda: system.move(to), 60 if system.name == "violin" else BOUND))
        try:
            wait_for("one entry", lambda: not system.entries_wrong(), 20)
        except AssertionError:
            wrong.append(f"move {len(moves)}: {system.entries_wrong()}")
        if os.environ.get("V") == "1":
            print(f"  {system.name} {'announced' if announce else 'silent'} to {to + 1}: {moves[-1]}", flush=True)
        if not moves[-1]["found"]:
            lost += 1
            system.revive()
        if not goes_on(system, moving):
            print(f"  {system.name}: no pings were answered any more after {len(moves)} moves: the case ends", flush=True)
            break
    moving.stop()
    return moves, wrong


def answered(moving):
    n = len(moving.answers())
    try:
        return bool(wait_for("the pings go on", lambda: len(moving.answers()) > n + 40, 30))
    except AssertionError:
        return False


def goes_on(system, moving):
    """Are pings answered again? Those of another system may need one more word of the guest; violin's must be."""
    if answered(moving):
        return True
    if system.name == "violin":
        raise AssertionError("the pings didn't go on after the move")
    system.revive()
    return answered(moving)


def summary(case, system, moves):
    dark = [m["dark_ms"] for m in moves]
    lost = sum(not m["found"] for m in moves)
    print(f"{case:10} {system:7} {len(moves):3} moves: dark median {statistics.median(dark):8.1f} ms, max {max(dark):8.1f} ms; "
          f"the guest's own pause {statistics.median(m['pause_ms'] for m in moves):6.1f} ms"
          f"{f'; not found within {BOUND} s: {lost}' if lost else ''}", flush=True)


def main():
    began = time.monotonic()
    report, left_out, wrong, aims = Report("move"), install(), [], []
    with Lab(hosts=3, settings={"mode": "observe"}) as lab:
        lab.form()
        for n, kind in enumerate(SYSTEMS, 1):
            if kind.name not in WANTED or kind.name in left_out:
                continue
            system = kind(lab, n)
            system.plug()
            moving = Moving(lab, *system.guests, system.mac, system.ip)
            for case, announce in CASES.items():
                moves, bad = run_case(system, moving, announce)
                wrong += bad
                summary(case, kind.name, moves)
                for metric in ("dark_ms", "pause_ms"):
                    report.add(case, kind.name, metric, "ms", [m[metric] for m in moves])
                report.rows.append({"case": case, "system": kind.name, "metric": "not_found", "unit": f"of {len(moves)}",
                                    "median": sum(not m["found"] for m in moves), "min": 0, "max": 0, "runs": len(moves)})
                if kind.name == "violin":
                    dark = [m["dark_ms"] for m in moves]
                    aims += [{"case": case, "what": w, "value": round(v, 1), "aim": a, "reached": v <= a}
                             for w, v, a in (("median dark_ms", statistics.median(dark), AIM_MEDIAN), ("max dark_ms", max(dark), AIM_MAX))]
    for a in aims:
        print(f"{a['case']:10} {a['what']:16} {a['value']:8.1f}  aim ≤ {a['aim']:3}  {'reached' if a['reached'] else 'MISSED'}")
    print("entries after each move: " + ("; ".join(wrong) if wrong else "one on every host, the right one"))
    report.notes = {"left_out": left_out, "bound_s": BOUND, "aims": aims, "wrong_entries": wrong,
                    "definitions": {"dark_ms": "the longest time between two answers round the move, less the time from the "
                                               "guest's link gone to its link back (pause_ms)",
                                    "not_found": "moves after which no answer came within bound_s: counted with that as dark_ms"},
                    "seconds": round(time.monotonic() - began)}
    report.write()
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
