#!/usr/bin/env python3
"""bench_overlay.py [--quick]: the environments' Ethernet beside the kernel's VXLAN, which doesn't encrypt, and
beside the tunnels that Debian packages; both ends and the load on this machine, all systems in turn in each round.

INSTALL=1 installs the systems it compares with. ROUNDS, CASES=tap-1500,…, SYSTEMS=fastd,… choose less;
QUICK=1 or --quick is for development: one round of tap-1500."""
import os, shutil, statistics, subprocess, sys, time

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(os.path.dirname(here), "net")]
from lab import Lab, run, wait_for
from overlay_measure import DEFINITIONS, MORE_IS_BETTER, UNITS, Meter
from overlay_systems import PACKAGES, SYSTEMS, TUNNELS, VIOLINS
from report import ROOT, Report

QUICK = "--quick" in sys.argv or os.environ.get("QUICK") == "1"
ROUNDS = int(os.environ.get("ROUNDS", "1" if QUICK else "5"))
CASES = {"tap-1500": (1500, 1600), "bridge-1500": (1500, 1600), "tap-9000": (9000, 9200)}  # MTU of guests, underlay
CHOSEN = [c for c in os.environ.get("CASES", "tap-1500" if QUICK else "").split(",") if c] or list(CASES)
WANTED = [s for s in os.environ.get("SYSTEMS", "").split(",") if s] or [s.name for s in SYSTEMS]
PROBE = os.path.join(ROOT, "build", "tests", "overlay_probe")
CONTROLS = {"net.core.rmem_max": 4194304, "net.core.wmem_max": 4194304}  # for all of them; put back at the end


class BenchLab(Lab):
    def __init__(self, case):
        self.mtu, self.under_mtu = CASES[case]
        violins = {v.hosts_from + i: v for v in VIOLINS for i in (1, 2)}
        super().__init__(hosts=6, settings={"overlay-mtu": self.mtu}, conf=lambda n: violins[n].settings)
        run("ip", "-n", self.under, "link", "set", "br0", "mtu", self.under_mtu)
        for h in self.hosts:
            run("ip", "-n", self.under, "link", "set", f"p{h.n}", "mtu", self.under_mtu)
            run("ip", "-n", h.ns, "link", "set", "eth0", "mtu", self.under_mtu)


def install():
    if os.environ.get("INSTALL") == "1":
        line = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES]
        if subprocess.run(line, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}).returncode:
            sys.exit(f"{' '.join(line)}: failed")
    if not shutil.which("iperf3"):
        sys.exit("iperf3 isn't installed; make bench-overlay INSTALL=1 installs it and the systems to compare with")
    missing = [s for s in TUNNELS if s.name in WANTED and not (shutil.which(s.binary) and shutil.which("openssl"))]
    for s in missing:
        print(f"{s.name}: not installed, left out (make bench-overlay INSTALL=1 installs it)", flush=True)
    return {s.name: "not installed" for s in missing}


def passes(ends, mtu):
    r = run("ip", "netns", "exec", ends[0].ns, "ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", mtu - 28, ends[1].ip, check=False)
    return r.returncode == 0


def connect(lab, system):
    """Its meter, or what is wrong."""
    try:
        ends = system.plug()
        try:
            wait_for("the other end", lambda: passes(ends, 100), 20)
        except AssertionError:
            return "its ends don't reach each other"
        try:
            wait_for("whole frames", lambda: passes(ends, system.mtu), 4)
        except AssertionError:
            return f"frames of {system.mtu} bytes don't pass"
        if hasattr(system, "check"):
            system.check()
        return Meter(lab, system, ends, PROBE, 1)
    except (RuntimeError, AssertionError) as e:
        return str(e)


def run_case(case, left_out, values):
    began = time.monotonic()
    with BenchLab(case) as lab:
        lab.form()
        systems = [s(lab, n, case, lab.mtu) for n, s in enumerate(SYSTEMS, 1) if s.name in WANTED and s.name not in left_out]
        for s in systems:
            s.begin()
        meters = {}
        for s in systems:
            m = connect(lab, s)
            if isinstance(m, str):
                left_out[f"{s.name} {case}"] = m
                print(f"{case}: {s.name} is left out: {m}", flush=True)
            else:
                meters[s.name] = m
        time.sleep(1)
        print(f"{case}: {len(meters)} systems set up in {time.monotonic() - began:.0f} s, round", end="", flush=True)
        for r in range(ROUNDS):
            print(f" {r + 1}", end="", flush=True)
            for name, m in meters.items():
                got = m.round()
                for e in got.pop("errors", []):
                    print(f"\n{case}: {name}: {e}", flush=True)
                for metric, v in got.items():
                    if v is not None:
                        values.setdefault((case, name, metric), []).append(v)
        print(f": {time.monotonic() - began:.0f} s", flush=True)


def ratios(values):
    """violin ÷ the best packaged tunnel, and ÷ the kernel's VXLAN, by medians."""
    median = {k: statistics.median(v) for k, v in values.items()}
    out = []
    for case in CHOSEN:
        for metric in UNITS:
            tunnels = {t.name: median[case, t.name, metric] for t in TUNNELS if (case, t.name, metric) in median}
            pick = max if metric in MORE_IS_BETTER else min
            best = pick(tunnels, key=tunnels.get) if tunnels else None
            vxlan = median.get((case, "vxlan", metric))
            for v in VIOLINS:
                x = median.get((case, v.name, metric))
                if x is not None:
                    out.append({"case": case, "metric": metric, "system": v.name, "best_tunnel": best,
                                "by_best_tunnel": round(x / tunnels[best], 3) if best and tunnels[best] else None,
                                "by_vxlan": round(x / vxlan, 3) if vxlan else None})
    return out


def table(values, rates):
    print("\nmedians" + " " * 22 + "  ".join(f"{m:>17}" for m in UNITS))
    for case in CHOSEN:
        for s in SYSTEMS:
            row = [values.get((case, s.name, m)) for m in UNITS]
            if any(row):
                print(f"{case:12} {s.name:14}  " + "  ".join(f"{statistics.median(v):17.2f}" if v else " " * 16 + "-" for v in row))
    for by, text in (("by_best_tunnel", "÷ best packaged tunnel"), ("by_vxlan", "÷ kernel VXLAN")):
        print(f"\n{text}")
        for case in CHOSEN:
            for v in VIOLINS:
                row = {r["metric"]: r[by] for r in rates if r["case"] == case and r["system"] == v.name}
                if row:
                    print(f"{case:12} {v.name:14}  " + "  ".join(f"{row[m]:17.2f}" if row.get(m) else " " * 16 + "-" for m in UNITS))


def aims(values, rates):
    """What issue and design hope for, of the systems with encryption and offloads."""
    median = lambda *k: statistics.median(values[k]) if k in values else None
    out = []
    for r in rates:
        if r["system"] == "violin-plain":
            continue
        want = {"tcp1_gbps": [("by_best_tunnel", "≥", 6), ("by_vxlan", "≥", 0.5)],
                "cpu_s_per_gb": [("by_best_tunnel", "≤", 1 / 6)]}.get(r["metric"], [])
        for by, how, aim in want:
            if r[by] is not None:
                out.append((r["case"], r["system"], f"{r['metric']} {by}", r[by], how, aim))
        fastd = median(r["case"], "fastd", r["metric"])
        if r["metric"].startswith("rtt") and fastd:
            out.append((r["case"], r["system"], f"{r['metric']} by_fastd", median(r["case"], r["system"], r["metric"]) / fastd, "≤", 1))
    rows = [{"case": c, "system": s, "what": w, "value": round(x, 3), "aim": f"{how} {aim:.3g}",
             "reached": x >= aim if how == "≥" else x <= aim} for c, s, w, x, how, aim in out]
    print("\naims")
    for r in rows:
        print(f"{r['case']:12} {r['system']:14} {r['what']:32} {r['value']:8.3f}  aim {r['aim']:8} {'reached' if r['reached'] else 'MISSED'}")
    return rows


def main():
    began = time.monotonic()
    report, values = Report("overlay"), {}
    left_out = install()
    before = {k: run("sysctl", "-n", k).stdout.strip() for k in CONTROLS}
    try:
        for k, v in CONTROLS.items():
            run("sysctl", "-qw", f"{k}={max(v, int(before[k]))}")
        for case in CHOSEN:
            run_case(case, left_out, values)
    finally:
        for k, v in before.items():
            run("sysctl", "-qw", f"{k}={v}", check=False)
    for (case, system, metric), v in values.items():
        report.add(case, system, metric, UNITS[metric], v)
    rates = ratios(values)
    report.notes = {"left_out": left_out, "definitions": DEFINITIONS, "ratios": rates,
                    "settings": {s.name: s.setting for s in SYSTEMS if hasattr(s, "setting")},
                    "cases": {c: f"guests' MTU {CASES[c][0]}, Ethernet between hosts {CASES[c][1]}" for c in CHOSEN}}
    table(values, rates)
    report.notes["aims"] = aims(values, rates)
    report.notes["seconds"] = round(time.monotonic() - began)
    report.write(show=False)
    for what, why in left_out.items():
        print(f"left out: {what}: {why}")
    print("cpu_s_per_gb: " + DEFINITIONS["cpu_s_per_gb"])
    print(f"{report.notes['seconds']} s")


if __name__ == "__main__":
    main()
