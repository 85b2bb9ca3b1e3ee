#!/usr/bin/env python3
"""check_domains.py PROGRAM: on real Xen, an environment moves to another domain, all but its head, and comes back.

Two domains of two hosts each in QEMU: mars (host1, host2) and venus (host3, host4). The environment `physics` is the one
of deploy/examples/cluster: a head on host1, pinned, with a second interface in the hosts' own network, and two guests,
node1 and node2. Four connections of talk.c go on all the time, each watched at the end that stays where it is:

    node1, node2 → head                         within the environment
    node1 → head (NAT) → host2's dom0           out, as the example's head does it
    host2's dom0 → head (a port of it) → node2  in

PROGRAM is a build with fault points. Facts and figures: build/xen/domains.json. Emulated hosts are slow: times mean something
only next to those of `xl migrate` in the same run."""
import re, sys, time

sys.dont_write_bytecode = True
import facts
from facts import (alive_inside, copies, fact, guest, know_each_other, last_seq, report, reported, running, settled, state_of,
                   wait_for, xl_migrate)
from xenlab import XenLab

PERIOD = 5
EVERY_MS = 1000  # a message, and two datagrams: at ten times as many, emulated hosts do little else
MEMORY = 112  # MiB of a guest; it uses two thirds
HEAD, NODES = "10.80.0.1", {"node1": "10.80.0.11", "node2": "10.80.0.12"}
OUTSIDE = "192.168.77.100"  # the head's, in the hosts' network
lab = h1 = h2 = h3 = h4 = None
mars = venus = ()


def take(made):
    """The lab that the facts run in."""
    global lab, h1, h2, h3, h4, mars, venus
    lab = made
    h1, h2, h3, h4 = lab.hosts
    mars, venus = (h1, h2), (h3, h4)


# ---- the four connections -----------------------------------------------------------------------

# what it is, at which host its watched end is, and that end's log there
HEAD_LOG = "/var/log/xen/console/guest-head.log"
STREAMS = {7001: ("node1 with the head", 1, HEAD_LOG), 7002: ("node2 with the head", 1, HEAD_LOG),
           7003: ("node1 with outside, by NAT", 2, "/var/log/talk-7003.log"),
           7004: ("outside with node2, by a port of the head", 2, "/var/log/talk-7004.log")}


def log_of(port, end=""):
    """Its lines; the last ones only, with an end for tail."""
    _, n, path = STREAMS[port]
    return lab.hosts[n - 1].sh(f"grep -a ^{port}: {path} {end}", check=False).replace("\r", "")


def said(port, end=""):
    """Once a second: (messages, longest silence, datagrams, longest silence; ms). The speaker says only the first two."""
    found = re.findall(rf"^{port}: (?:heard|back) (\d+) (\d+)(?: (\d+) (\d+))?", log_of(port, end), re.M)
    return [tuple(int(x) if x else 0 for x in f) for f in found]


def messages():
    return {port: (said(port, "| tail -n 3") or [(0,)])[-1][0] for port in STREAMS}


def all_go_on(seconds=300):
    """Every connection carries messages from where it is, and not one was ever begun anew or broke."""
    before = messages()
    wait_for("all connections go on", lambda: all(n > before[p] + 10 for p, n in messages().items()), seconds)
    for port, (what, _, _) in STREAMS.items():
        log = log_of(port)
        assert "TALK-BROKEN" not in log, f"{what}: the connection broke"
        assert log.count("connected") <= 1, f"{what}: it was begun anew"
    for name in NODES:
        for h in lab.hosts:
            assert "TALK-BROKEN" not in h.guest_log(name), f"{name}: a connection broke, as seen on {h.name}"


def longest_gaps(before):
    """Of what was said since: the longest silence of each connection, and of the datagrams with the head (the pause)."""
    since = {p: said(p)[n:] for p, n in before.items()}
    gaps = {f"gap_{p}_s": max(x[1] for x in lines) / 1000 for p, lines in since.items()}
    pauses = {f"pause_{n}_s": max(x[3] for x in since[p]) / 1000 for n, p in zip(NODES, (7001, 7002))}
    return {**pauses, **gaps}


# ---- domains ------------------------------------------------------------------------------------

def card(host):
    return host.json("federate --card")["card"]


def federated(hosts, name):
    return all(any(x["domain"] == name and x["state"] == "federated" for x in h.json("domains")["domains"]) for h in hosts)


def representative(hosts):
    """The host that all name and that says so itself."""
    names = {h.json("domains").get("representative") for h in hosts}
    acting = [h for h in hosts if h.json("domains")["represents"]]
    return acting[0] if len(acting) == 1 and names == {acting[0].name} else None


def both_represented():
    return wait_for("each domain has its representative", lambda: representative(mars) and representative(venus), 240)


def places():
    return {n: copies(lab.hosts, n) for n in ("head", *NODES)}


def all_in(hosts):
    """Each guest once, running, and there; the head where it was."""
    names = {h.name for h in hosts}
    at = {n: running(lab.hosts, n) for n in ("head", *NODES)}
    return at == places() and at["head"] == ["host1"] and all(len(at[n]) == 1 and at[n][0] in names for n in NODES)


def open_parts():
    return [m for h in lab.hosts for m in h.json("env moves") if not m["over"]]


def nothing_left():
    """No part of a move is open, no handover, no lease, no copy that waits, anywhere."""
    return (not open_parts() and settled(lab.hosts) and
            all(sum(v for v in h.json("status")["env_moves"].values()) == 0 for h in lab.hosts) and
            all("--incoming" not in h.sh("xl list") for h in lab.hosts))


# ---- a move -------------------------------------------------------------------------------------

class Move:
    """`violin env move` in a host's dom0, as an operator types it; and what went on meanwhile."""

    def __init__(self, host, domain):
        self.host, self.began = host, time.monotonic()
        self.lines = {p: len(said(p)) for p in STREAMS}
        self.seq = {h: last_seq(h) for h in lab.hosts}
        host.sh("rm -f /root/move.*; (setsid sh -c 'violin env move physics %s >/root/move.log 2>&1; echo $? >/root/move.rc' "
                "</dev/null >/dev/null 2>&1 &)" % domain)

    def ended(self):
        """Its exit status, or nothing yet."""
        return self.host.sh("cat /root/move.rc 2>/dev/null", check=False).strip()

    def wait(self, seconds=2400):
        rc = wait_for("env move ends", self.ended, seconds)
        return int(rc), self.said()

    def said(self):
        return self.host.sh("cat /root/move.log", check=False).strip().splitlines()

    def whole_s(self):
        return round(time.monotonic() - self.began, 1)

    def states(self, hosts, name):
        """When the guest's handovers came into each state, as the hosts that it left had it."""
        at = {}
        for h in hosts:
            for e in facts.events(h, "handover", name, self.seq[h]):
                at.setdefault(e["text"].rsplit(": ", 1)[1].split(",")[0], []).append(e["at"])
        return at

    def figures(self, sources):
        out = longest_gaps(self.lines)
        for n in NODES:
            at = self.states(sources, n)
            if at.get("done") and at.get("offered"):  # a peer that was killed has forgotten what it did before
                out.update({f"{n}_s": round(max(at["done"]) - max(at["offered"]), 1), f"{n}_offers": len(at["offered"])})
        return out


def is_shown(hosts, domain):
    """`env show` at the head's host: each guest's MAC once, and where the guest is."""
    shown = {m["mac"]: m["host"] for m in h1.json("env show physics")["macs"] if m.get("guest")}
    at = {n: running(hosts, n) for n in NODES}
    want = {f"00:16:3e:80:00:{11 + i}": at[n][0] + (f".{domain}" if domain != "mars" else "") for i, n in enumerate(NODES) if at[n]}
    return shown == {**want, "00:16:3e:80:00:01": "host1"}


# ---- facts --------------------------------------------------------------------------------------

@fact
def starts():
    """four hosts boot; two domains of two are made, and federated by their cards"""
    began = time.monotonic()
    lab.boot(lab.hosts)
    boot = time.monotonic() - began
    for h in lab.hosts:
        h.sh("mkdir -p /root/images")
        h.sh("xl sched-credit2 -d Domain-0 -w 1024")  # as one does: what moves guests comes before the guests
        h.configure(("/mnt/images", "/root/images"), evaluation_period=PERIOD, settle_time=86400)  # nothing moves untold
    h1.sh("echo 'pinned = {\"head\"}' >> /etc/violin/violin.conf && violin config check")
    for (first, second), name in ((mars, "mars"), (venus, "venus")):
        first.violin(f"init --domain {name}")
        first.start()
        second.violin("join " + first.json("invite")["token"])
        second.start()
        know_each_other((first, second))
    h1.violin(f"federate {card(h3)} --guests 0")
    h3.violin(f"federate {card(h1)} --guests 4 --memory 1024 --cpu 200")
    wait_for("mars knows venus", lambda: federated(mars, "venus"), 240)
    wait_for("venus knows mars", lambda: federated(venus, "mars"), 240)
    return {"boot_s": round(boot, 1), "ready_s": round(time.monotonic() - began, 1)}


def in_hosts_network():
    """host1's network card becomes a port of a bridge: a guest may have an interface there."""
    h1.sh(f"ip link add lan type bridge; ip addr flush dev eth1; ip link set eth1 master lan; ip addr add {h1.ip}/24 dev lan; "
          "ip link set lan up")


@fact
def talks():
    """an environment with a head that routes, and two guests; all four connections go on"""
    h1.violin("env create physics")
    h1.violin("env allow physics venus")
    for h in lab.hosts:
        wait_for(f"{h.name} knows it", lambda h=h: [e["name"] for e in h.json("env list")] == ["physics"], 240)
    bridge = {h: wait_for("its bridge", lambda h=h: h.json("env show physics").get("bridge"), 60) for h in mars}
    in_hosts_network()
    for h in mars:  # an image that comes while the peer runs, and under another name than elsewhere
        h.sh("cp /mnt/images/domu.cpio /root/images/node.cpio")
    h2.sh("(setsid talk serve 7003 >/var/log/talk-7003.log 2>&1 &) </dev/null")
    h1.create("head", bridge[h1], "00:16:3e:80:00:01", 160, 160,
              f"ip4={HEAD}/24 outside={OUTSIDE}/24 forward=7004:{NODES['node2']} serve=7001,7002", image="head.cpio",
              more=[("00:16:3e:80:00:fe", "lan")])
    h1.create("node1", bridge[h1], "00:16:3e:80:00:11", MEMORY, MEMORY, image="/root/images/node.cpio",
              words=f"ip4={NODES['node1']}/24 gw={HEAD} talk={HEAD}:7001:{EVERY_MS},{h2.ip}:7003:{EVERY_MS}")
    h2.create("node2", bridge[h2], "00:16:3e:80:00:12", MEMORY, MEMORY, image="/root/images/node.cpio",
              words=f"ip4={NODES['node2']}/24 gw={HEAD} talk={HEAD}:7002:{EVERY_MS} serve=7004")
    h2.sh(f"(setsid talk to {OUTSIDE} 7004 {EVERY_MS} >/var/log/talk-7004.log 2>&1 &) </dev/null")
    for h, n in ((h1, "head"), (h1, "node1"), (h2, "node2")):
        wait_for(f"{n} reports", lambda h=h, n=n: reported(h, n), 600)
    assert "HEAD-UP" in h1.guest_log("head"), h1.guest_log("head")[-1500:]
    wait_for("all talk", lambda: all(n > 5 for n in messages().values()), 300)
    all_go_on()
    for h, n in ((h1, "node1"), (h2, "node2")):
        wait_for(f"{n} may move", lambda h=h, n=n: guest(h, n)["movable"], 240)
    assert not guest(h1, "head")["movable"], "it has an interface in the network of its host"


@fact
def xl_baseline():
    """one of the guests by `xl migrate` within its domain, there and back, for comparison"""
    figures = {}
    for h in mars:
        h.violin("mode observe")
    for way, source, target in (("out", h1, h2), ("back", h2, h1)):  # before violin moves it: what violin gave away, xl can't bring back
        lines = {p: len(said(p)) for p in STREAMS}
        began = time.monotonic()
        xl_migrate(source, target, "node1")
        whole = time.monotonic() - began
        wait_for("it runs there", lambda target=target: running(mars, "node1") == [target.name])
        all_go_on()
        gaps = longest_gaps(lines)
        figures.update({f"whole_s_{way}": round(whole, 1), f"pause_s_{way}": gaps["pause_node1_s"], f"gap_within_s_{way}": gaps["gap_7001_s"],
                        f"gap_through_head_s_{way}": gaps["gap_7003_s"]})
    for h in mars:
        h.violin("mode auto")
    wait_for("node1 reports", lambda: reported(h1, "node1"), 240)
    return figures


@fact
def limits():
    """a domain that takes in one guest doesn't take in two, and says so; nothing moves"""
    both_represented()
    h3.violin(f"federate {card(h1)} --guests 1 --memory 1024 --cpu 200")
    for h in venus:
        wait_for(f"{h.name} knows the limit", lambda h=h: h.json("domains")["domains"][0].get("limit_guests") == 1, 120)
    rc, said_so = Move(h2, "venus").wait()
    assert rc == 1 and said_so[-1].startswith("refused") and "takes in" in said_so[-1], said_so
    assert all_in(mars), places()
    h3.violin(f"federate {card(h1)} --guests 4 --memory 1024 --cpu 200")
    for h in venus:
        wait_for(f"{h.name} knows the limit", lambda h=h: h.json("domains")["domains"][0].get("limit_guests") == 4, 120)
    wait_for("nothing of it is left", nothing_left, 240)
    return {"said": said_so[-1]}


@fact
def moves():
    """the environment moves to the other domain, its head stays, and all connections go on"""
    lead, asked = (representative(d).name for d in (mars, venus) if both_represented())
    m = Move(h2, "venus")
    rc, said_so = m.wait()
    whole = m.whole_s()
    assert rc == 0 and said_so[-1].startswith("moved, 2 of 2"), said_so
    assert all_in(venus), places()
    all_go_on()
    wait_for("nothing of it is left", nothing_left, 240)
    wait_for("env show has them there", lambda: is_shown(venus, "venus"), 120)
    assert all(copies(mars, n) == [] for n in NODES) and copies(mars, "head") == ["host1"]
    told = [e["text"] for h in mars for e in facts.events(h, "envmove", "physics", m.seq[h])]
    assert any(t.endswith(": moved") for t in told), told
    for n in NODES:
        alive_inside(next(h for h in venus if state_of(h, n)), n)
    return {"lead": lead, "asked": asked, "whole_s": whole, **m.figures(mars), "said": " | ".join(said_so)}


def begun(host, lead):
    """A move home under way, its guests being sent; nothing if it was refused: a guest that has just been moved wants
    more of its emulated host for a while than it will."""
    m = Move(host, "mars")
    wait_for("guests are being sent, or it is refused", lambda: m.ended() or (
        any(m.states(venus, n).get("streaming") for n in NODES) and
        any(p["part"] == "lead" and p["phase"] == "going" for p in lead.json("env moves"))), 600, 0.5)
    return None if m.ended() else m


@fact
def representative_killed():
    """on the way back the leading representative is killed midway: another goes on, nothing lost or doubled"""
    both_represented()
    lead = representative(venus)
    other = next(h for h in venus if h is not lead)
    m = wait_for("there is room at home, and they go", lambda: begun(other, lead), 1800, 20)
    lead.sh("kill -KILL $(pidof violin-peer)")
    before = places()
    killed = time.monotonic()
    m.seq[lead] = 0
    represents = wait_for("one represents", lambda: representative(venus), 300)
    wait_for("all are back, by themselves", lambda: all_in(mars), 2400)
    whole = m.whole_s()
    rc, said_so = m.wait()
    wait_for("nothing of it is left", nothing_left, 900)
    assert all_in(mars) and all(copies(venus, n) == [] for n in NODES), places()
    all_go_on()
    wait_for("env show has them there", lambda: is_shown(mars, "mars"), 120)
    for n in NODES:
        alive_inside(next(h for h in mars if state_of(h, n)), n)
    return {"killed": lead.name, "then": represents.name, "copies_when_killed": before, "whole_s": whole,
            "after_kill_s": round(m.began + whole - killed, 1), **m.figures(venus), "order_status": rc,
            "said": " | ".join(said_so)}


@fact
def given_away():
    """`xl migrate` brings a guest back to a host that gave it away: it is paused there, and said; the manual's way out works"""
    source = next(h for h in mars if state_of(h, "node1"))
    target = next(h for h in mars if h is not source)
    wait_for("there is room for it", lambda: source.violin(f"migrate node1 {target.name}", check=False, timeout=1500) and
             copies(mars, "node1") == [target.name], 1800, 20)
    xl_migrate(target, source, "node1")
    wait_for("it is paused", lambda: state_of(source, "node1") == "paused", 120)
    said_so = wait_for("status says so", lambda: [w for w in source.json("status")["warnings"] if w.startswith("node1 ")], 120)
    source.stop()
    source.sh("xl unpause node1")
    xl_migrate(source, target, "node1")
    source.start()
    wait_for("both agree", lambda: settled(mars) and running(mars, "node1") == [target.name] == copies(mars, "node1"))
    alive_inside(target, "node1")
    return {"said": said_so[0]}


def compare():
    by = {e["name"]: e for e in report if e["ok"]}
    if "moves" not in by or "xl_baseline" not in by:
        return
    v, x = by["moves"], by["xl_baseline"]
    rows = [("whole move: both guests; one", v["whole_s"], "whole_s"),
            ("one guest's handover", max(v["node1_s"], v["node2_s"]), "whole_s"),
            ("pause (longest silence of UDP)", max(v["pause_node1_s"], v["pause_node2_s"]), "pause_s"),
            ("longest gap, guest and head", max(v["gap_7001_s"], v["gap_7002_s"]), "gap_within_s"),
            ("longest gap, through the head", max(v["gap_7003_s"], v["gap_7004_s"]), "gap_through_head_s")]
    print(f"\n  {'seconds':34}{'violin, to a domain':>22}{'xl migrate, within one':>26}")
    for text, a, key in rows:
        print(f"  {text:34}{a:22}{x[key + '_out']:>16}{x[key + '_back']:>10}")
    print()


def main():
    take(XenLab(sys.argv[1], 4, "domains"))
    failed = facts.run(lab, "domains.json", sys.argv[2:])
    compare()
    facts.ends("check_domains", failed)


if __name__ == "__main__":
    main()
