#!/usr/bin/env python3
"""bench_policy.py: balancers on days of guests' CPU use (tests/sim/trace_world.h): who overloads how many hosts, with how
many moves. Violin is its policy cores, one a host, with the ages of summaries that gossip makes; the central ones see all.

TRACES="FILE…" (CSV, gzip'd or not: a name, then 288 percentages at steps of five minutes; `make` finds those beside the
repository); without any, days made up by `violin-sim trace` (tests/sim/trace.c says how), and the output says so. SEEDS=3: runs of violin
on each day. QUICK=1: one day, one seed, no packing."""
import concurrent.futures, gzip, os, re, statistics, subprocess, sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
from report import ROOT, Report

QUICK = os.environ.get("QUICK") == "1"
SEEDS = int(os.environ.get("SEEDS", "1" if QUICK else "3"))
SIM = os.path.join(ROOT, "build", "violin-sim")
LIMIT = 8 << 20  # bytes of a day, as violin-sim's own
SYSTEMS = ("static", "orchestra", "greedy-central", "violin")
UNITS = {"overload_pct": "%", "unserved_pct": "%", "moves_per_guest_day": "1/day", "returns": "moves"}
report = Report("policy")
pool = concurrent.futures.ThreadPoolExecutor(min(2, os.cpu_count() or 1))


def read_day(path):
    opened = gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")
    with opened as f:
        text = f.read(LIMIT + 1)
    if len(text) > LIMIT:
        raise SystemExit(f"{path}: larger than {LIMIT} bytes")
    return text


def days():
    """[name, text or None, seed of a made-up day]"""
    files = [f for f in os.environ.get("TRACES", "").split() if f]
    if files:
        found = [(re.sub(r"\.csv(\.gz)?$", "", os.path.basename(f)), read_day(f), 1) for f in files]
    else:
        found = [(f"generated-{n}", None, n) for n in (1, 2, 3)]
    return found[:1] if QUICK else found


def simulate(day, system, options, seed):
    name, text, made = day
    command = ["nice", "-n", "5", SIM, "trace", *(["-"] if text else []), "--system", system, *map(str, options),
               "--seed", str(seed if text else made)]
    p = subprocess.run(command, input=text, capture_output=True)
    if p.returncode:
        raise SystemExit(f"{name}, {system}: {p.stderr.decode().strip()}")
    return {k: float(v) for k, v in (line.split() for line in p.stdout.decode().splitlines())}


def start(day, system, options):
    seeds = SEEDS if system == "violin" and day[1] else 1
    return [pool.submit(simulate, day, system, options, s + 1) for s in range(seeds)]


def mean_case(found, mean):
    """A row a day and their mean; the aim is held for each."""
    case = f"mean-{mean:.2f}"
    jobs = {(d[0], s): start(d, s, ("--mean", mean)) for d in found for s in SYSTEMS}
    done = {key: [j.result() for j in js] for key, js in jobs.items()}
    for d in found:
        for s in SYSTEMS:
            for metric, unit in UNITS.items():
                report.add(f"{case} {d[0]}", s, metric, unit, [r[metric] for r in done[d[0], s]])
    for s in SYSTEMS:
        for metric, unit in UNITS.items():
            report.add(case, s, metric, unit, [statistics.fmean(r[metric] for d in found for r in done[d[0], s])])
    return case


# Beloglazov and Buyya's local regression with minimum migration time on 3 March 2011, as published
LR_MMT = {"migrations": 27859, "energy_kwh": 163.5, "slatah_pct": 5.86}
PACK_UNITS = {"migrations": "moves", "energy_kwh": "kWh", "slatah_pct": "%", "pdm_pct": "%", "hosts_on_mean": "hosts",
              "returns": "moves"}


def pack_case(found):
    """CloudSim's setting, on the day of the published figures if it is there."""
    day = next((d for d in found if "20110303" in d[0]), found[0])
    for system in ("static", "violin"):
        r = simulate(day, system, ("--case", "pack"), 1)
        for metric, unit in PACK_UNITS.items():
            report.add("pack-800", system, metric, unit, [r[metric]])
    for metric, v in LR_MMT.items():
        report.add("pack-800", "published LR-MMT", metric, PACK_UNITS[metric], [v])
    return day[0]


def pack_aims(day):
    aim = {"migrations": 5709, "energy_kwh": LR_MMT["energy_kwh"], "slatah_pct": LR_MMT["slatah_pct"]}
    text = []
    for metric, most in aim.items():
        is_ = value("pack-800", "violin", metric)
        text.append(f"{metric} {is_:g} (aim {most:g}): " + ("met" if is_ <= most else f"missed by {is_ - most:g}"))
    other = "" if "20110303" in day else " (not the day of the published figures)"
    print(f"pack-800, {day}{other}: " + "; ".join(text))


def value(case, system, metric):
    return next(r["median"] for r in report.rows if (r["case"], r["system"], r["metric"]) == (case, system, metric))


def aims(case, part):
    """How far violin is from the aim, in the case and on each day."""
    for c in sorted({r["case"] for r in report.rows if r["case"].split()[0] == case}):
        over, limit = value(c, "violin", "overload_pct"), value(c, "orchestra", "overload_pct") + 0.05
        moves, most = value(c, "violin", "moves_per_guest_day"), value(c, "orchestra", "moves_per_guest_day") / part
        back = value(c, "violin", "returns")
        met = [f"overload {over:.3f} % (aim {limit:.3f}): " + ("met" if over <= limit else f"missed by {over - limit:.3f}"),
               f"moves {moves:.3f} a guest and day (aim {most:.3f}): " + ("met" if moves <= most else f"missed by {moves - most:.3f}"),
               f"returns {back:.0f}: " + ("met" if back == 0 else "missed")]
        print(f"{c}: " + "; ".join(met))


def main():
    found = days()
    source = ", ".join(d[0] for d in found)
    made = found[0][1] is None
    print(f"traces: {'none found; made up: ' if made else ''}{source}")
    report.notes = {
        "traces": source, "made_up": made,
        "definitions": {
            "overload_pct": "share of host-steps (five minutes) that begin with demand >= capacity; demand is piecewise constant for all systems",
            "unserved_pct": "demand beyond capacity at these beginnings, of all demand",
            "returns": "moves to a host that the guest left less than 30 minutes before",
            "mean-0.50, mean-0.60": "hosts of 4 CPUs, guests of one, as many hosts as make that mean utilisation, guests dealt round "
                                    "robin in the order of names, 1 GiB each; the case without a day is the mean of all days",
            "pack-800": "800 hosts and the guests' sizes of CloudSim's PlanetLab setting (tests/sim/trace_cloudsim.c), the first places by full "
                        "size; from then on memory is no limit, as there; slatah_pct: share of the time of hosts that are on with more "
                        "demand than capacity; energy: SPECpower, none for a host without guests",
            "pdm_pct": "a tenth of what a guest wants while its memory is sent at half of 1 Gb/s, as CloudSim charges, of all demand",
            "orchestra, greedy-central": "central, once a step, moves free and at once",
            "violin": "the policy cores with their defaults, an evaluation every 5 s, summaries as old as gossip makes them, moves at 50 MiB/s"}}
    cases = [(mean_case(found, 0.50), 4), (mean_case(found, 0.60), 10)]
    packed = None if QUICK else pack_case(found)
    report.write()
    for case, part in cases:
        aims(case, part)
    if packed:
        pack_aims(packed)


main()
