#!/usr/bin/env python3
"""check_xen.py PROGRAM [FACT…]: the main job on real Xen, two hosts in QEMU (three at the end), nobody touching it.

PROGRAM is a build with fault points. Every fact, its figures and whether it held: build/xen/report.json.
Emulated hosts are slow: times mean something only next to those of `xl migrate` in the same run."""
import re, sys, time

sys.dont_write_bytecode = True
import facts
from facts import (alive_inside, events, fact, guest, know_each_other, last_seq, report, reported, state_of, wait_for,
                   xl_migrate)
from xenlab import XenLab

PERIOD = 5
SERVER, MOVER = "10.9.0.1", "10.9.0.2"
lab = h1 = h2 = h3 = None


def running(name):
    return facts.running((h1, h2), name)


def copies(name):
    return facts.copies((h1, h2), name)


# ---- the connection, as the server saw it -------------------------------------------------------

def heard():
    """What the server said, once a second: (messages, longest silence, datagrams, longest silence; ms)."""
    return [tuple(map(int, m)) for m in re.findall(r"heard (\d+) (\d+) (\d+) (\d+)", h1.guest_log("server"))]


def messages():
    h = heard()
    return h[-1][0] if h else 0


def talk_is_whole():
    for h, name in ((h1, "server"), (h1, "mover"), (h2, "mover")):
        assert "TALK-BROKEN" not in h.guest_log(name), "the connection broke"
    assert h1.guest_log("server").count("connected") == 1


def measure(move, done):
    """Moves the server's partner and says how long it took and how long nothing came."""
    lines = len(heard())
    began = time.monotonic()
    figures = move() or {}
    figures["whole_s"] = round(time.monotonic() - began, 1)
    wait_for("the mover runs", done)
    n = messages()
    wait_for("the connection goes on", lambda: messages() > n + 20, 240)
    during = heard()[lines:]
    figures.update(pause_s=max(u for _, _, _, u in during) / 1000, connection_longest_gap_s=max(t for _, t, _, _ in during) / 1000)
    talk_is_whole()
    return figures


def settled():
    return facts.settled((h1, h2))


def restart(host, fault=None):
    host.stop()
    host.sh("rm -f /var/lib/violin/fault-done")
    host.start(f"VIOLIN_FAULT={fault}" if fault else "")
    for h in (h1, h2):
        wait_for(f"{h.name} sees two", lambda h=h: [m["state"] for m in h.json("members")] == ["alive"] * 2, 120)
    for h in (h1, h2):
        wait_for("load is known", lambda h=h: all("memory_free_mib" in m for m in h.json("members")))


# ---- facts --------------------------------------------------------------------------------------

@fact
def starts():
    """two hosts boot; a domain is made; the first peer answers"""
    began = time.monotonic()
    lab.boot((h1, h2))
    for h in (h1, h2):
        h.configure(evaluation_period=PERIOD, settle_time=3600)  # booting takes an emulated CPU as a whole
    h1.violin("init --domain lab")
    h1.start()
    h1.violin("env create web --shares 300")
    h1.violin("env create batch --shares 100")
    wait_for("bridges", lambda: all("bridge" in e for e in h1.json("env list")), 60)
    assert "nf_tables" not in h1.sh("cat /var/log/violin.log"), "bridges aren't guarded"
    return {"boot_s": round(time.monotonic() - began, 1), "xen": h1.json("status")["hypervisor"]["version"]}


def bridge(env):
    return next(e["bridge"] for e in h1.json("env list") if e["name"] == env)


@fact
def shares():
    """two guests want a whole CPU, their environments have 300 and 100 shares: CPU time 3:1, and explain says so"""
    for name, env, mac in (("hog-web", "web", "00:16:3e:09:00:03"), ("hog-batch", "batch", "00:16:3e:09:00:04")):
        h1.create(name, bridge(env), mac, 96, 192, "burn=1")

    def weights():
        a, b = guest(h1, "hog-web"), guest(h1, "hog-batch")
        return a and b and 2.6 < a["weight"] / b["weight"] < 3.4 and (a["weight"], b["weight"])
    w = wait_for("weights of 3:1", weights)
    out = h1.sh("xl list; echo ----; sleep 30; xl list")
    used = {}
    for name in ("hog-web", "hog-batch"):
        t = [float(line.split()[-1]) for line in out.splitlines() if line.startswith(name + " ")]
        used[name] = t[1] - t[0]
    ratio = used["hog-web"] / used["hog-batch"]
    explained = {n: h1.json(f"explain {n}")["numbers"] for n in used}
    text = h1.violin("explain hog-web")
    for name in used:
        h1.sh(f"xl destroy {name}")
    e = explained["hog-web"]["cpu_entitlement_pct"] / explained["hog-batch"]["cpu_entitlement_pct"]
    assert 3 * 0.85 < ratio < 3 * 1.15, f"CPU time {used}: {ratio:.2f}:1"
    assert 3 * 0.85 < e < 3 * 1.15 and "CPU weight" in text, text
    assert explained["hog-web"]["shares_of_environment"] == 300
    return {"weight_web": w[0], "weight_batch": w[1], "cpu_web_s": round(used["hog-web"], 2), "cpu_batch_s": round(used["hog-batch"], 2),
            "ratio": round(ratio, 2), "explained_ratio": round(e, 2)}


@fact
def joins():
    """the second host is admitted by a token"""
    token = h1.json("invite")["token"]
    h2.violin("join " + token)
    h2.start()
    know_each_other((h1, h2))


@fact
def balloon():
    """a guest that uses 80 % of its memory is given double within five evaluations"""
    # A kernel outside of the image folders: the server is one that can't move, the clocks of its log go on.
    h1.sh("cp /mnt/images/vmlinuz /root/vmlinuz")
    h1.create("server", bridge("web"), "00:16:3e:09:00:01", 128, 128, f"ip4={SERVER}/24 serve=7000", "/root/vmlinuz")
    h1.create("mover", bridge("web"), "00:16:3e:09:00:02", 128, 384, f"ip4={MOVER}/24 talk={SERVER}:7000")
    wait_for("both report", lambda: reported(h1, "server") and reported(h1, "mover"))
    wait_for("they talk", lambda: messages() > 50)
    g = guest(h1, "mover")
    hold = int(0.80 * g["memory_mib"] - g["used_mib"])
    h1.type("mover", f"dd if=/dev/zero of=/tmp/held bs=1048576 count={hold}")
    wait_for("it reports 80 %", lambda: guest(h1, "mover").get("memory_utilisation", 0) > 0.76 or guest(h1, "mover")["memory_mib"] > 140)
    began = time.monotonic()
    wait_for("it has 256 MiB", lambda: guest(h1, "mover")["memory_mib"] > 255)
    took = time.monotonic() - began
    grown = [d for d in h1.json("explain mover")["decisions"] if d["kind"] == "grow"][0]
    assert grown["numbers"]["evaluations"] <= 5, grown
    return {"before_mib": round(g["memory_mib"]), "after_mib": round(guest(h1, "mover")["memory_mib"]),
            "utilisation": round(grown["numbers"]["utilisation"], 2), "evaluations": int(grown["numbers"]["evaluations"]),
            "seconds_from_report": round(took, 1)}


@fact
def xl_baseline():
    """the same guest by `xl migrate`, there and back, for comparison"""
    for h in (h1, h2):
        h.violin("mode observe")
    out = measure(lambda: xl_migrate(h1, h2, "mover"), lambda: running("mover") == ["host2"])
    back = measure(lambda: xl_migrate(h2, h1, "mover"), lambda: running("mover") == ["host1"])
    wait_for("host1 sees it again", lambda: reported(h1, "mover"))
    return {f"{k}_{way}": v for way, f in (("out", out), ("back", back)) for k, v in f.items()}


@fact
def moves():
    """a guest that its host can't satisfy moves live; its TCP connection survives"""
    for h in (h1, h2):
        h.configure(evaluation_period=PERIOD, settle_time=0)
        restart(h)
    g = wait_for("it reports", lambda: reported(h1, "mover"))
    seq = last_seq(h1)
    hold = int(0.82 * g["memory_mib"] - g["used_mib"])

    def move():
        h1.type("mover", f"dd if=/dev/zero of=/tmp/more bs=1048576 count={hold}")
        wait_for("it is moved", lambda: events(h1, "moved", "mover", seq) or events(h1, "failed", "mover", seq), 600)
        return {}
    figures = measure(move, lambda: copies("mover") == ["host2"])
    happened = events(h1, "moved", "mover", seq)
    assert happened, events(h1, "failed", "mover", seq)
    states = {e["text"].rsplit(": ", 1)[1].split(",")[0]: e["at"] for e in events(h1, "handover", "mover", seq)}
    figures["noticed_and_moved_s"] = figures["whole_s"]
    figures["whole_s"] = round(states["done"] - states["offered"], 1)
    figures["mib_sent"] = round(happened[-1]["numbers"].get("bytes", 0) / 1048576, 1)
    figures["why"] = events(h1, "moving", "mover", seq)[-1]["text"]
    wait_for("it has what it wanted", lambda: guest(h2, "mover")["memory_mib"] > g["memory_mib"] + 64)
    figures["memory_after_mib"] = round(guest(h2, "mover")["memory_mib"])
    return figures


@fact
def reboots():
    """the moved guest reboots by itself and comes up again"""
    old = h2.domid("mover")
    h2.type("mover", "reboot -f")
    wait_for("another domain of the same name", lambda: h2.domid("mover") not in (None, old))
    new = h2.domid("mover")
    wait_for("it reports", lambda: reported(h2, "mover"))
    wait_for("its network is there again", lambda: h1.guest_log("server").count("connected") == 2 and messages() > 20, 240)
    assert copies("mover") == ["host2"]
    return {"domid_before": old, "domid_after": new}


# ---- faults -------------------------------------------------------------------------------------

def fresh_guest(name):
    for h in (h1, h2):
        h.configure(evaluation_period=PERIOD, mode="observe")
    h1.create(name, bridge("web"), "00:16:3e:09:00:05", 96, 96, "ip4=10.9.0.5/24")
    wait_for("it reports", lambda: reported(h1, name))


def fault_struck(host):
    return host.sh("test -e /var/lib/violin/fault-done && echo yes", check=False).strip() == "yes"


@fact
def destination_peer_killed():
    """the destination's peer is killed while the stream arrives: the guest goes on at the source"""
    for name, h in (("mover", h2), ("server", h1)):
        h.sh(f"xl destroy {name}", check=False)
    fresh_guest("f")
    restart(h2, "handover.stream.arriving:kill")
    h1.violin("migrate f host2", check=False)
    wait_for("the fault struck", lambda: fault_struck(h2))
    wait_for("both agree", lambda: settled() and copies("f") == ["host1"])
    alive_inside(h1, "f")
    return {"copies": copies("f"), "running": running("f"), "at": "handover.stream.arriving"}


@fact
def source_peer_killed():
    """the source's peer is killed right after GO is journalled: one copy runs"""
    restart(h2)
    restart(h1, "handover.go.journalled:kill")
    wait_for("it reports", lambda: reported(h1, "f"))
    h1.violin("migrate f host2", check=False)
    wait_for("the fault struck", lambda: fault_struck(h1))
    wait_for("both agree", lambda: settled() and copies("f") == ["host2"])
    alive_inside(h2, "f")
    return {"copies": copies("f"), "running": running("f"), "at": "handover.go.journalled"}


@fact
def destination_host_killed():
    """the destination's whole host dies after RESTORED: the guest isn't doubled, status says what is known"""
    restart(h2)
    restart(h1, "handover.restored.sent:stop")  # host1 is the destination: the guest is at host2 now
    wait_for("it reports", lambda: reported(h2, "f"))
    h2.sh("(setsid violin migrate f host1 >/root/migrate.log 2>&1 &) </dev/null >/dev/null 2>&1")
    wait_for("the fault struck", lambda: fault_struck(h1))
    h1.kill()
    assert running("f") == [], "it runs although the other host may have it"
    of_f = lambda s: [(s, w) for w in s["warnings"] if w.startswith("f ") and "host1" in w]
    status, said = wait_for("status says so", lambda: of_f(h2.json("status")), 120)[0]  # until it goes on
    assert status["handovers"]["active"] + status["handovers"]["undecided"] == 1, status
    assert said in h2.violin("status")
    # No GO was given, so it may go on here, and does, without waiting for the dead host.
    wait_for("it goes on at the source", lambda: running("f") == ["host2"])
    wait_for("the dead host is known for dead", lambda: [m["state"] for m in h2.json("members") if m["name"] == "host1"] == ["dead"], 240)
    h1.boot()
    h1.wait_ready()
    h1.configure(evaluation_period=PERIOD, mode="observe")
    h1.start()
    wait_for("both agree", lambda: settled() and running("f") == ["host2"] and copies("f") == ["host2"])
    alive_inside(h2, "f")
    return {"said": said, "copies": copies("f"), "running": running("f")}


# ---- a stream between guests, across hosts all the time -------------------------------------------

RECEIVER, SENDER = "10.9.0.11", "10.9.0.12"


def sunk():
    """What the receiver said, once a second of its own: (bytes, longest silence in ms)."""
    return [tuple(map(int, m)) for m in re.findall(r"sunk (\d+) (\d+)", h1.guest_log("receiver"))]


def mbps(seconds):
    return round(sum(b for b, _ in seconds) * 8 / 1e6 / max(1, len(seconds)), 2)


def let_go(name, seconds):
    """Moves a guest from host2 to host3: how often it was refused first (a host that is busy for long may be held for dead), what
    had been sunk when it was not, and how long it took then."""
    end, refused = time.monotonic() + seconds, 0
    while True:
        n, began = len(sunk()), time.monotonic()
        try:
            h2.violin(f"migrate {name} host3", timeout=1500)
            return refused, n, time.monotonic() - began
        except RuntimeError as e:
            if "no living member" not in str(e) or time.monotonic() > end:
                raise
            refused += 1
            time.sleep(5)


@fact
def streams():
    """guest-to-guest TCP at full speed across hosts, before, during and after a live migration to a third host"""
    for h in (h1, h2):
        h.violin("mode observe")
    lab.boot((h3,))
    h3.configure(evaluation_period=PERIOD, mode="observe")
    h3.violin("join " + h1.json("invite")["token"])
    h3.start()
    know_each_other(lab.hosts, 240)
    h1.create("receiver", bridge("web"), "00:16:3e:09:00:11", 96, 96, f"ip4={RECEIVER}/24 sink=7100")
    h2.create("sender", bridge("web"), "00:16:3e:09:00:12", 96, 96, f"ip4={SENDER}/24 bulk={RECEIVER}:7100")
    wait_for("the stream flows", lambda: len([b for b, _ in sunk() if b]) > 5, 600)
    wait_for("host2 lists the sender", lambda: guest(h2, "sender"))
    n0 = len(sunk())
    wait_for("some time before", lambda: len(sunk()) >= n0 + 15, 240)
    refused, n1, whole = let_go("sender", 240)
    wait_for("it runs at the third host", lambda: state_of(h3, "sender") == "running" and not state_of(h2, "sender"))
    n2 = len(sunk())
    wait_for("the stream goes on", lambda: [b for b, _ in sunk()[n2:] if b], 600)
    n3 = len(sunk())
    wait_for("some time after", lambda: len(sunk()) >= n3 + 15, 240)
    s, said = sunk(), h1.guest_log("receiver") + h3.guest_log("sender")
    assert "TALK-BROKEN" not in said and h1.guest_log("receiver").count("connected") == 1, said[-500:]
    return {"before_mbps": mbps(s[n0:n1]), "during_mbps": mbps(s[n1:n2]), "after_mbps": mbps(s[n3:]),
            "whole_s": round(whole, 1), "refused_as_dead": refused, "gap_s": max(g for _, g in s[n1:n3 + 1]) / 1000,
            "gap_before_s": max(g for _, g in s[n0:n1]) / 1000}


def main():
    global lab, h1, h2, h3
    lab = XenLab(sys.argv[1], 3)
    h1, h2, h3 = lab.hosts
    failed = facts.run(lab, "report.json", sys.argv[2:])
    compare()
    stream()
    facts.ends("check_xen", failed)


def compare():
    by = {e["name"]: e for e in report if e["ok"]}
    if "moves" not in by or "xl_baseline" not in by:
        return
    v, x = by["moves"], by["xl_baseline"]
    print(f"\n  {'seconds':32}{'violin':>10}{'xl migrate':>22}")
    for key, text in (("whole_s", "whole move"), ("pause_s", "pause (longest silence of UDP)"), ("connection_longest_gap_s", "longest gap of the connection")):
        print(f"  {text:32}{v[key]:10}{x[key + '_out']:>12} {x[key + '_back']:>9}")
    print()


def stream():
    for e in report:
        if e["ok"] and e["name"] == "streams":
            print(f"  guest-to-guest TCP across hosts, Mbit/s: {e['before_mbps']} before, {e['during_mbps']} during, {e['after_mbps']} after "
                  f"the move; longest gap {e['gap_s']} s\n")


if __name__ == "__main__":
    main()
