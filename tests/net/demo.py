#!/usr/bin/env python3
"""demo.py: the main job before your eyes, on four simulated hosts with four real peers.

Each host is a network namespace that runs the real program; guests are namespaces on the hosts'
real TAPs and bridges. Only the hypervisor below is simulated. Load is replayed from a trace (below);
everything that happens is decided by the peers. KEEP=1 leaves it running."""
import json, os, signal, sys, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import ROOT, Lab, wait_for
from timeline import timeline_svg

OUT = os.path.join(ROOT, "build", "demo")
COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
WIDTH = 24

# What the guests do, second by second: (at, guest, {numbers}). used in MiB, cpu in percent of one CPU.
TRACE = [
    (0, "alice-1", {"used": 110, "cpu": 20}),
    (8, "alice-1", {"used": 215}),             # outgrows its 256 MiB: the balloon
    (22, "bob-1", {"cpu": 100}),               # two guests that want the same CPU: the weights
    (22, "carol-1", {"cpu": 100}),
    (36, "alice-2", {"used": 690, "cpu": 60}),  # more than its host has left: it must move
]


def paint(text, code):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def bar(part, whole, mark=None):
    n = 0 if not whole else max(0, min(WIDTH, round(WIDTH * part / whole)))
    text = "█" * n + "·" * (WIDTH - n)
    colour = 31 if whole and part / whole > 0.9 else 33 if whole and part / whole > 0.75 else 32
    return paint(text, colour)


class Demo:
    def __init__(self):
        self.began = time.time()
        self.events, self.samples = [], []
        self.lock = threading.Lock()
        self.stopped = threading.Event()

    def say(self, text, code=0):
        stamp = f"{time.time() - self.began:5.1f} s "
        with self.lock:
            print(paint(stamp, 2) + (paint(text, code) if code else text), flush=True)

    def follow(self, host):
        """Events of one peer, as it says them."""
        import subprocess
        p = subprocess.Popen([self.lab.program, "-c", host.conf, "events", "--follow", "--json"],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                             text=True, start_new_session=True)
        self.lab.procs.append(p)
        for line in p.stdout:
            try:
                e = json.loads(line)
            except ValueError:
                continue
            e["host"] = host.name
            e["t"] = round(e.get("at", time.time()) - self.began, 2)
            self.events.append(e)
            if e["kind"] in SHOWN and not self.stopped.is_set():
                self.say(f"{paint(host.name, 36)}  {e['text']}", SHOWN[e["kind"]])

    def sample(self):
        """Bars every few seconds: how full each host is and what each guest has."""
        while not self.stopped.wait(1.0):
            now = round(time.time() - self.began, 2)
            picture = []
            for h in self.lab.hosts:
                try:
                    s, guests = h.status(), h.json("guests")
                except (RuntimeError, ValueError):
                    continue
                picture.append((h.name, s, guests))
                self.samples.append({"t": now, "host": h.name, "load": s.get("load", {}),
                                     "guests": [{k: g.get(k) for k in
                                                 ("name", "state", "memory_mib", "used_mib", "cpu_pct", "entitlement_pct")}
                                                for g in guests]})
            if int(now) % 8 == 0:
                self.show(picture)

    def show(self, picture):
        with self.lock:
            print()
            for name, s, guests in picture:
                load = s.get("load", {})
                mem, total = load.get("memory_charged_mib", 0), load.get("memory_total_mib", 0)
                cpu, cap = load.get("cpu_demand_pct", 0), load.get("cpu_capacity_pct", 0)
                print(f"   {paint(name, 36)}  memory {bar(mem, total)} {mem:5.0f}/{total:.0f} MiB   "
                      f"cpu {bar(cpu, cap)} {cpu:4.0f}/{cap:.0f} %")
                for g in guests:
                    used, have = g.get("used_mib"), g.get("memory_mib", 0)
                    print(f"            {g['name']:9} {bar(used or 0, have)} {used if used is not None else 0:5.0f}"
                          f"/{have:.0f} MiB   cpu {g.get('cpu_pct', 0):4.0f} % of {g.get('entitlement_pct', 0):.0f} %"
                          f"  weight {g.get('weight', 0)}")
            print(flush=True)

    def set_up(self):
        self.say("four hosts, each a network namespace with the real program in it", 1)
        self.lab = Lab(hosts=4, cpus=1, memory=2048, settings={
            "mode": "auto", "evaluation-period": 1, "shrink-window": 3600, "settle-time": 0, "log-level": "info"})
        lab = self.lab
        lab.form("demo")
        self.say("they know each other: " + ", ".join(m["name"] for m in lab.hosts[0].json("members")))
        a = lab.hosts[0]
        self.env = {}
        for name, shares in (("alice", 100), ("bob", 300), ("carol", 100)):
            self.env[name] = a.json("env", "create", name, "--shares", str(shares))
        for h in lab.hosts:
            wait_for(f"{h.name} knows the environments", lambda h=h: len(h.json("env", "list")) == 3)
            threading.Thread(target=self.follow, args=(h,), daemon=True).start()
        bridge = {n: e["bridge"] for n, e in self.env.items()}
        lab.guest(lab.hosts[0], "alice-1", "10.9.0.1", bridge["alice"], memory=256, maxmem=1024)
        lab.guest(lab.hosts[2], "alice-2", "10.9.0.2", bridge["alice"], memory=768, maxmem=1536, used=400)
        lab.guest(lab.hosts[2], "alice-3", "10.9.0.3", bridge["alice"], memory=768, maxmem=768, used=480, cpu=5, movable="no")
        lab.guest(lab.hosts[1], "bob-1", "10.9.0.1", bridge["bob"], memory=512, used=250, movable="no")
        lab.guest(lab.hosts[1], "carol-1", "10.9.0.1", bridge["carol"], memory=512, used=250, movable="no")
        self.say("guests of three environments run; alice-2 holds a TCP connection to alice-1 from now on")
        here = os.path.dirname(os.path.abspath(__file__))
        self.traffic = os.path.join(OUT, "traffic.json")
        if os.path.exists(self.traffic):
            os.unlink(self.traffic)
        traffic = os.path.join(here, "traffic.py")
        lab.in_guest("alice-1", sys.executable, traffic, "serve", "10.9.0.1", "7000")
        lab.in_guest("alice-2", sys.executable, traffic, "talk", "10.9.0.1", "7000", self.traffic)
        wait_for("the connection carries data", lambda: self.connection()["answered"] > 10, 40)

    def connection(self):
        with open(self.traffic) as f:
            return json.load(f)

    def replay(self):
        start = time.monotonic()
        threading.Thread(target=self.sample, daemon=True).start()
        for at, guest, numbers in TRACE:
            time.sleep(max(0, start + at - time.monotonic()))
            where = self.lab.where(guest)
            if where:
                where[0].sim(f"load {guest} " + " ".join(f"{k}={v}" for k, v in numbers.items()))
                what = " and ".join(f"{v} MiB" if k == "used" else f"{v} % of a CPU" for k, v in numbers.items())
                self.say(f"load: {guest} now uses {what}", 35)
        wait_for("alice-2 runs on another host", lambda: [h for h in self.lab.where("alice-2") if h.n != 3], 60)
        wait_for("its connection goes on", lambda: self.connection().get("silent_for_ms", 9e9) < 500, 30)
        time.sleep(3)

    def report(self):
        self.stopped.set()
        c = self.connection()
        kinds = [e["kind"] for e in self.events]
        moves = [e for e in self.events if e["kind"] == "moved"]
        report = {"balloons": kinds.count("balloon"), "weight_changes": kinds.count("weight"), "moves": len(moves),
                  "connection_longest_gap_ms": c["longest_gap_ms"], "connection_broken": c["broken"],
                  "connection_answered": c["answered"], "duration_s": round(time.time() - self.began, 1),
                  "events": [e for e in self.events if e["kind"] in SHOWN]}
        with open(os.path.join(OUT, "report.json"), "w") as f:
            json.dump(report, f, indent=1)
        with open(os.path.join(OUT, "timeline.svg"), "w") as f:
            f.write(timeline_svg([h.name for h in self.lab.hosts], self.samples, report["events"], c))
        print("\n" + paint("What happened", 1))
        for e in report["events"]:
            print(f"  {e['t']:6.1f} s  {e['host']}  {e['text']}")
        print(paint("\nIn short", 1))
        print(f"  memory given by the balloon {report['balloons']} times, CPU weights changed {report['weight_changes']} "
              f"times, guests moved {report['moves']}")
        print(f"  the connection {'BROKE' if c['broken'] else 'held'}: {c['answered']} messages answered, "
              f"longest silence {c['longest_gap_ms']:.0f} ms")
        print(f"  {report['duration_s']} s in all; build/demo/report.json, build/demo/timeline.svg")
        ok = report["balloons"] and report["weight_changes"] and report["moves"] and not c["broken"]
        if not ok:
            print(paint("  this is not what should have happened", 31))
            self.lab.logs()
        return 0 if ok else 1

    def keep(self):
        print(f"\nLeft running. For example:\n  build/violin -c {self.lab.hosts[0].conf} status\n"
              f"  build/violin -c {self.lab.hosts[2].conf} explain alice-2\nCtrl-C ends it.")
        signal.pause()


# Which events are shown, and in which colour.
SHOWN = {"balloon": 32, "weight": 33, "moving": 34, "moved": 34, "handover": 34, "refused": 31, "failed": 31}


def main():
    os.makedirs(OUT, exist_ok=True)
    demo = Demo()
    try:
        demo.set_up()
        demo.replay()
        status = demo.report()
        if os.environ.get("KEEP") == "1":
            demo.keep()
        return status
    finally:
        demo.stopped.set()
        if hasattr(demo, "lab"):
            demo.lab.close()


if __name__ == "__main__":
    sys.exit(main())
