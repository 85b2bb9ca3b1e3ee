#!/usr/bin/env python3
"""Whole environments move between two domains of three real peers each, with real Ethernet under simulated guests: an
environment of three guests and a pinned head; connections among its guests and to its head go on, also when either
domain's representative is killed midway."""
import json, os, signal, subprocess, sys, threading, time

from harness import main, test
from lab import Lab, run, wait_for

TALK = r"""
import os, socket, sys, threading, time
me, peers = sys.argv[1], sys.argv[2].split(",")

def answer(c):
    while True:
        b = c.recv(64)
        if not b:
            return
        c.sendall(b)

def listen():
    s = socket.create_server((me, 7000))
    while True:
        c, _ = s.accept()
        threading.Thread(target=answer, args=(c,), daemon=True).start()

def talk(ip):
    while True:
        try:
            c = socket.create_connection((ip, 7000), 5)
            break
        except OSError:
            time.sleep(.3)
    c.settimeout(None)
    n = 0
    while True:
        word = b"%08d" % n
        c.sendall(word)
        back = b""
        while len(back) < 8:
            b = c.recv(64)
            if not b:
                os.write(1, b"%s closed\n" % ip.encode())
                return
            back += b
        assert back == word, (back, word)
        n += 1
        os.write(1, b"%s %d\n" % (ip.encode(), n))
        time.sleep(.1)

threading.Thread(target=listen, daemon=True).start()
for p in peers:
    threading.Thread(target=talk, args=(p,), daemon=True).start()
while True:
    time.sleep(60)
"""

SETTLE = 10
PINNED = {"pinned": '{ "head", "filler0", "filler1", "filler2" }', "settle-time": SETTLE, "mode": "auto"}
lab = Lab(hosts=6, memory=4096, conf=lambda n: dict(PINNED))
earth, venus = lab.hosts[:3], lab.hosts[3:]
GUESTS = {"head": "10.6.0.1", "a": "10.6.0.2", "b": "10.6.0.3", "c": "10.6.0.4"}
talks = {}


def form(hosts, domain):
    hosts[0].violin("init", "--domain", domain, "--host", hosts[0].name)
    hosts[0].start()
    for h in hosts[1:]:
        h.violin("join", "--host", h.name, hosts[0].json("invite")["token"])
        h.start()
    lab.wait_members(3, hosts)


def card(h):
    return h.json("federate", "--card")["card"]


def federated(hosts, name):
    return all(any(x["domain"] == name and x["state"] == "federated" for x in h.json("domains")["domains"]) for h in hosts)


def rep_of(hosts):
    """The host that all name as their representative, and which says so itself."""
    alive = [h for h in hosts if h.proc]
    names = {h.json("domains").get("representative") for h in alive}
    acting = [h for h in alive if h.json("domains")["represents"]]
    return acting[0] if len(names) == 1 and len(acting) == 1 and names == {acting[0].name} else None


class Talk:
    """The words that went there and back between one guest and each of the others, on one connection each."""

    def __init__(self, name):
        self.count, self.closed = {}, False
        others = ",".join(ip for n, ip in GUESTS.items() if n != name)
        self.p = lab.in_guest(name, "/usr/bin/python3", "-c", TALK, GUESTS[name], others, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for l in self.p.stdout:
            ip, n = l.split()
            self.closed |= n == "closed"
            if n != "closed":
                self.count[ip] = int(n)


def all_talk(seconds=60):
    """Every connection goes on from where it is, and none was closed."""
    before = {n: dict(t.count) for n, t in talks.items()}
    wait_for("all connections go on", lambda: all(
        len(t.count) == 3 and all(c > before[n].get(ip, 0) + 5 for ip, c in t.count.items()) for n, t in talks.items()), seconds)
    assert not any(t.closed for t in talks.values())


def places():
    return {n: [h.name for h in lab.where(n)] for n in GUESTS}


def in_domain(hosts, but=("head",)):
    names = {h.name for h in hosts}
    return all(len(w) == 1 and w[0] in names for n, w in places().items() if n not in but)


def nothing_left(hosts):
    return all(not [m for m in h.json("env", "moves") if not m["over"]] for h in hosts if h.proc)


def move(at, domain, seconds=240):
    r = at.violin("env", "move", "pair", domain, "--json", check=False, timeout=seconds)
    return r


def die(h, hosts):
    """The peer's process stops dead, until another represents the domain; then it is killed, and started again by its
    supervisor. (Its host and its guests live on.)"""
    pid = h.pid_of("peer-child")
    os.kill(pid, signal.SIGSTOP)
    others = [x for x in hosts if x is not h]
    try:
        wait_for("another represents the domain", lambda: any(x.json("domains")["represents"] for x in others), 90)
        time.sleep(3)
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_for(f"{h.name} is back", h.status, 60)


form(earth, "earth")
form(venus, "venus")


@test
def federated_and_talking():
    """two domains; an environment of three guests and a head in one of them; all talk with all"""
    earth[0].violin("federate", card(venus[0]), "--guests", "0")
    venus[0].violin("federate", card(earth[0]), "--guests", "8", "--memory", "8192", "--cpu", "800")
    wait_for("earth knows venus", lambda: federated(earth, "venus"), 180)
    wait_for("venus knows earth", lambda: federated(venus, "earth"), 180)
    earth[0].violin("env", "create", "pair")
    for h in earth:
        wait_for(f"{h.name} knows pair", lambda: [e["name"] for e in h.json("env", "list")] == ["pair"], 60)
    bridge = earth[0].json("env", "show", "pair")["bridge"]
    for n, host in (("head", earth[0]), ("a", earth[1]), ("b", earth[2]), ("c", earth[1])):
        lab.guest(host, n, ip=GUESTS[n], bridge=bridge, memory=200, maxmem=400, cpu=10, used=100)
    for n in GUESTS:
        talks[n] = Talk(n)
    all_talk(120)


@test
def not_without_leave():
    """not to a domain that isn't known, nor where the environment may not be"""
    r = earth[0].violin("env", "move", "pair", "mars", check=False)
    assert r.returncode == 1 and "not federated" in r.stderr, r
    r = earth[0].violin("env", "move", "pair", "venus", check=False)
    assert r.returncode == 1 and "env allow" in r.stderr, r
    earth[0].violin("env", "allow", "pair", "venus")
    for h in venus:
        wait_for(f"{h.name} knows pair", lambda: [e["name"] for e in h.json("env", "list")] == ["pair"], 90)


@test
def whole():
    """the environment moves to the other domain, all but its head, and every connection goes on"""
    wait_for("it can be asked", lambda: rep_of(earth) and rep_of(venus), 60)
    at = next(h for h in earth if h is not rep_of(earth))  # any host passes it on
    r = move(at, "venus")
    assert r.returncode == 0, (r.stdout, r.stderr)
    out = json.loads(r.stdout)
    assert out["phase"] == "moved" and out["moved"] == 3 and out["of"] == 3, out
    assert in_domain(venus) and places()["head"] == [earth[0].name], places()
    all_talk()
    wait_for("nothing is left of it", lambda: nothing_left(lab.hosts), 120)
    assert {m["phase"] for h in earth for m in h.json("env", "moves") if m["part"] == "grant"} == {"over"}
    e = rep_of(earth).json("explain", "pair")
    assert any("moved" in d["text"] for d in e["decisions"]) and e["home"] == "earth", e
    assert any("room" in d["text"] for d in rep_of(venus).json("explain", "pair")["decisions"])


@test
def not_stopped_from_afar():
    """env stop says that guests in the other domain are left as they are, and what to do"""
    r = earth[0].violin("env", "stop", "pair", check=False, timeout=60)
    assert r.returncode == 1 and "are in another domain" in r.stderr and "violin env move pair" in r.stderr, r
    [j] = [j for j in earth[0].json("env", "jobs") if j["kind"] == "stop"]
    assert j["elsewhere"] == 3 and j["where"].endswith(".venus"), j


@test
def limits():
    """a domain that takes in two guests doesn't take in three"""
    back = move(venus[0], "earth")
    assert back.returncode == 0, (back.stdout, back.stderr)
    assert in_domain(earth), places()
    venus[0].violin("federate", card(earth[0]), "--guests", "2", "--memory", "8192", "--cpu", "800")
    wait_for("all know the limit", lambda: all(h.json("domains")["domains"][0].get("limit_guests") == 2 for h in venus), 60)
    r = move(earth[0], "venus")
    assert r.returncode == 1 and json.loads(r.stdout)["phase"] == "refused", r
    assert "takes in" in json.loads(r.stdout)["why"], r.stdout
    assert in_domain(earth), places()
    venus[0].violin("federate", card(earth[0]), "--guests", "8", "--memory", "8192", "--cpu", "800")
    wait_for("all know the limit", lambda: all(h.json("domains")["domains"][0].get("limit_guests") == 8 for h in venus), 60)
    all_talk()


def with_a_death(hosts, other, domain, victim):
    """Moves the environment; once its hosts go, the victim's peer is killed, and started again later."""
    start = next(h for h in hosts if h is not victim)
    order = subprocess.Popen(["ip", "netns", "exec", start.ns, lab.program, "-c", start.conf, "env", "move", "pair", domain],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lab.procs.append(order)
    wait_for("hosts hold a grant of it", lambda: any(
        m["part"] in ("grant", "lease") for h in hosts + other if h.proc for m in h.json("env", "moves") if not m["over"]), 90, 0.02)
    die(victim, hosts if victim in hosts else other)
    wait_for("nothing of it is open", lambda: nothing_left(lab.hosts), 400, 1)
    wait_for("each guest runs once", lambda: all(len(w) == 1 for w in places().values()), 60)
    assert order.wait(120) or in_domain(other), places()  # who asked is told 0 only if all are there
    if not in_domain(other):  # it was given back, or some are left: an operator tries again
        wait_for("it can be asked", lambda: rep_of(hosts) and rep_of(other), 90)
        r = move(rep_of(hosts), domain)
        assert r.returncode == 0, (r.stdout, r.stderr, places())
    assert in_domain(other), places()
    all_talk(120)


@test
def leading_representative_dies():
    """the representative that leads the move is killed midway: completed or given back, nothing lost"""
    with_a_death(earth, venus, "venus", wait_for("one represents", lambda: rep_of(earth), 60))


@test
def asked_representative_dies():
    """the representative that was asked is killed midway, on the way back: completed or given back"""
    lab.wait_members(3, earth)
    with_a_death(venus, earth, "earth", wait_for("one represents", lambda: rep_of(earth), 60))


@test
def by_itself():
    """a domain whose guests want more memory than it has moves the environment that helps, without being told, but not because
    guests boot"""
    wait_for("nothing is open", lambda: nothing_left(lab.hosts), 200, 1)
    venus[0].violin("federate", card(earth[0]), "--guests", "16", "--memory", "16384", "--cpu", "800")
    for name in ("filler", "big"):
        earth[0].violin("env", "create", name)
    earth[0].violin("env", "allow", "big", "venus")
    bridges = {e["name"]: e["bridge"] for e in earth[0].json("env", "list")}
    for h in venus:
        wait_for(f"{h.name} knows big", lambda: "big" in [e["name"] for e in h.json("env", "list")], 90)
    created = time.time()
    for i, h in enumerate(earth):
        wait_for(f"{h.name} knows both", lambda: {"big", "filler"} <= {e["name"] for e in h.json("env", "list")}, 60)
        lab.guest(h, f"filler{i}", bridge=bridges["filler"], memory=1700, maxmem=1700, cpu=10, used=1000)
        lab.guest(h, f"big{i}", bridge=bridges["big"], memory=1500, maxmem=3000, cpu=20, used=1450)
    names = {h.name for h in venus}
    wait_for("big is in venus", lambda: all([h.name in names for h in lab.where(f"big{i}")] == [True] for i in range(3)), 400, 1)
    wait_for("its guests have what they want", lambda: all(g["memory_mib"] > 2000 for h in venus for g in h.json("guests")
                                                            if g["name"].startswith("big")), 120, 1)
    assert all(lab.where(f"filler{i}") == [earth[i]] for i in range(3))
    said = [d for h in earth for d in h.json("explain", "big")["decisions"] if "overloaded" in d["text"]]
    assert said and min(d["at"] for d in said) > created + SETTLE, said


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
