#!/usr/bin/env python3
"""Two domains and a stranger's: representatives, federation, an environment across both, cuts that heal, a
revoked and an unfederated host. CUT=300 makes the cut last as long (default 25 s)."""
import os, signal, subprocess, sys, time

from harness import main, test
from lab import Lab, empty, run, wait_for

CUT = int(os.environ.get("CUT", "25"))
lab = Lab(hosts=7)
earth, venus, mars = lab.hosts[:3], lab.hosts[3:6], lab.hosts[6]


def form(hosts, domain):
    hosts[0].violin("init", "--domain", domain, "--host", hosts[0].name)
    hosts[0].start()
    for h in hosts[1:]:
        h.violin("join", "--host", h.name, hosts[0].json("invite")["token"])
        h.start()
    lab.wait_members(len(hosts), hosts)


def card(h):
    return h.json("federate", "--card")["card"]


def domain(h, name):
    return next((x for x in h.json("domains")["domains"] if x["domain"] == name), None)


def representative(h):
    return h.json("domains").get("representative")


def settled(hosts):
    """All name the same representative, which is one of them and says so itself."""
    names = {representative(h) for h in hosts}
    acting = [h.name for h in hosts if h.json("domains")["represents"]]
    return len(names) == 1 and names == set(acting) and acting[0]


def federated(hosts, name):
    return all((domain(h, name) or {}).get("state") == "federated" for h in hosts)


def sessions(h):
    """Names of the peers with which h has a session."""
    return {r["name"] for r in h.json("reachability") if r["path"] != "none"}


def heard(h, seconds, froms):
    """UDP packets that reach h from these hosts within that time: source, first byte of what it carries, length."""
    script = """
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
s.settimeout(.2)
ips, end = sys.argv[2].split(","), time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    try:
        p, a = s.recvfrom(65535)
    except TimeoutError:
        continue
    at = (p[0] & 15) * 4
    if a[2] != socket.PACKET_OUTGOING and p[9] == 17 and socket.inet_ntoa(p[12:16]) in ips:
        print(socket.inet_ntoa(p[12:16]), p[at + 8], len(p) - at - 8)
"""
    p = subprocess.run(["ip", "netns", "exec", h.ns, sys.executable, "-c", script, str(seconds),
                        ",".join(x.ip for x in froms)], capture_output=True, text=True, timeout=seconds + 20)
    assert not p.stderr, p.stderr
    return p.stdout.split("\n")[:-1]


def cut(on):
    for a in earth:
        for b in venus:
            for x, y in ((a, b), (b, a)):
                run("ip", "-n", x.ns, "route", "add" if on else "del", "blackhole", f"{y.ip}/32")


def ping(name, ip, seconds=20):
    return wait_for(f"{name} reaches {ip}",
                    lambda: lab.in_guest(name, "ping", "-c1", "-W1", ip, stdout=subprocess.DEVNULL).wait() == 0, seconds)


for host, wrong in zip(venus, (1500, -600, 0)):  # clocks differ, between the domains and within one
    host.clock = wrong
form(earth, "earth")
form(venus, "venus")
mars.violin("init", "--domain", "mars", "--host", mars.name)
mars.start()


@test
def one_represents():
    """each domain has one representative, and all its members know who"""
    for hosts in (earth, venus):
        wait_for("one representative", lambda: settled(hosts), 60)


@test
def one_side_is_not_enough():
    """what one domain trusts gets nothing out of the other; a wrong card is refused"""
    r = earth[0].violin("federate", "violin-domain1-AAAA", check=False)
    assert r.returncode == 1 and "not whole" in r.stderr, r
    r = earth[0].violin("federate", card(earth[1]), check=False)
    assert r.returncode == 1 and "own card" in r.stderr, r
    r = earth[1].violin("federate", card(venus[0]), check=False)
    assert r.returncode == 1 and "may not speak for the domain" in r.stderr, r
    earth[0].violin("federate", card(venus[0]))
    for h in earth:
        wait_for(f"{h.name} knows of it", lambda: domain(h, "venus"), 30)
        assert domain(h, "venus")["state"] == "waiting for the other side"
    packets = heard(earth[0], 6, venus)
    assert not packets, packets
    assert not venus[0].json("domains")["domains"]


@test
def both_sides():
    """when both have said it, every member knows the other domain's representative and load"""
    venus[0].violin("federate", card(earth[0]), "--guests", "4", "--memory", "512")
    wait_for("earth knows venus", lambda: federated(earth, "venus"), 120)
    wait_for("venus knows earth", lambda: federated(venus, "earth"), 120)
    def all_of_it():  # its first summary may leave out one that was suspected just then
        d = domain(earth[2], "venus")
        return d["hosts"] == 3 and d["representative"] == settled(venus) and d["cpu_pct"] > 0 and d
    d = wait_for("earth knows all of venus", all_of_it, 120)
    assert not d["takes_guests"], d
    d = domain(venus[1], "earth")
    assert d["limit_guests"] == 4 and d["limit_memory_mib"] == 512 and d["takes_guests"], d


@test
def clocks_differ():
    """one whose clock is behind represents after one whose clock is ahead: what it says is as good"""
    old = next(h for h in venus if h.name == settled(venus))
    rest = [h for h in venus if h is not old]
    old.stop()
    wait_for("another represents venus", lambda: settled(rest), 60)
    wait_for("earth knows it", lambda: {domain(h, "venus")["representative"] for h in earth} == {settled(rest)}, 120)
    wait_for("earth knows venus", lambda: federated(earth, "venus") and domain(earth[0], "venus")["hosts"] == 2, 120)
    old.start()
    lab.wait_members(3, venus)
    wait_for("one representative", lambda: settled(venus) == old.name, 60)  # by its clock it has run for longest
    wait_for("earth knows it", lambda: {domain(h, "venus")["representative"] for h in earth} == {old.name}, 120)
    wait_for("its word counts", lambda: all(domain(h, "venus").get("hosts") == 3 for h in earth), 120)
    time.sleep(65)  # and goes on counting: FED_STALE and some
    assert federated(earth, "venus"), [domain(h, "venus") for h in earth]


@test
def nothing_but_what_is_needed():
    """a host that neither represents nor takes part has no session with the other domain"""
    reps = {wait_for("one represents it", lambda d=d: settled(d), 60) for d in (earth, venus)}
    foreign = {h.name for h in venus}
    for h in earth:
        if h.name not in reps:
            wait_for(f"{h.name} has no session with venus", lambda: not {n.split(".")[0] for n in sessions(h)} & foreign, 180)


@test
def environment_across():
    """an environment that is allowed there spans both domains; others stay at home"""
    earth[0].violin("env", "create", "pair")
    earth[0].violin("env", "create", "private")
    time.sleep(3)
    assert not venus[0].json("env", "list")
    r = venus[0].violin("env", "allow", "pair", "mars", check=False)
    assert r.returncode == 1 and "no environment" in r.stderr, r
    earth[0].violin("env", "allow", "pair", "venus")
    for h in venus:
        wait_for(f"{h.name} knows pair", lambda: [e["name"] for e in h.json("env", "list")] == ["pair"], 60)
    r = venus[0].violin("env", "allow", "pair", "mars", check=False)
    assert r.returncode == 1 and "at home in earth" in r.stderr, r
    r = venus[0].violin("env", "remove", "pair", check=False)
    assert r.returncode == 1 and "only that domain removes it" in r.stderr, r
    bridge = venus[0].json("env", "show", "pair")["bridge"]
    lab.guest(earth[1], "e", ip="10.5.0.1", bridge=bridge)
    lab.guest(venus[2], "v", ip="10.5.0.2", bridge=bridge)
    ping("e", "10.5.0.2", 90)
    ping("v", "10.5.0.1")
    assert "host6.venus" in earth[1].json("env", "show", "pair")["hosts"]


@test
def denied_at_once():
    """a domain that isn't allowed any more gets no frame, though sessions are open; allowed again it does"""
    def passes():
        return lab.in_guest("e", "ping", "-c1", "-W1", "10.5.0.2", stdout=subprocess.DEVNULL).wait() == 0
    wait_for("frames pass", passes, 20)
    earth[0].violin("env", "deny", "pair", "venus")
    wait_for("no frame passes", lambda: not passes(), 30)
    wait_for("its host is none of its hosts", lambda: "host6.venus" not in earth[1].json("env", "show", "pair")["hosts"], 30)
    for _ in range(5):
        assert not passes()
    earth[0].violin("env", "allow", "pair", "venus")
    ping("e", "10.5.0.2", 90)


@test
def too_many_environments():
    """a domain that allows very many environments elsewhere leaves room for others' there"""
    names = [f"many{i}" for i in range(20)]
    for name in names:
        earth[0].violin("env", "create", name)
        earth[0].violin("env", "allow", name, "venus")
    for h in venus:
        wait_for(f"{h.name} knows some", lambda: len(h.json("env", "list")) == 16, 90)
    wait_for("the representative says so", lambda: any("too many of its environments" in w for h in venus
                                                       for w in h.status()["warnings"]), 60)
    venus[0].violin("env", "create", "own")
    for h in venus:
        wait_for(f"{h.name} knows own", lambda: "own" in [e["name"] for e in h.json("env", "list")], 30)
        assert len(h.json("env", "list")) == 17
    for name in names:
        earth[0].violin("env", "remove", name)
    venus[0].violin("env", "remove", "own")
    for h in venus:
        wait_for(f"{h.name} knows pair alone", lambda: [e["name"] for e in h.json("env", "list")] == ["pair"], 90)
    ping("e", "10.5.0.2")


@test
def another_represents():
    """the representative dies: another takes over, and the other domain hears of it"""
    name = settled(earth)
    old = next(h for h in earth if h.name == name)
    if old is earth[1]:
        return  # it carries the guest of the test above: another time
    pids = old.pids()
    for sig in (signal.SIGSTOP, signal.SIGKILL):  # all at once: who sees another die says good-bye
        for p in pids:
            os.kill(p, sig)
    old.stop()
    rest = [h for h in earth if h is not old]
    wait_for("another represents earth", lambda: settled(rest), 60)
    wait_for("venus knows it", lambda: {domain(h, "earth")["representative"] for h in venus} == {settled(rest)}, 120)
    ping("e", "10.5.0.2")
    old.start()
    lab.wait_members(3, earth)
    wait_for("it takes nothing over", lambda: settled(earth) not in (None, False, name), 60)


@test
def cut_and_healed():
    """the domains are cut off from each other and find each other again without help"""
    cut(True)
    time.sleep(CUT)
    cut(False)
    wait_for("earth knows venus again", lambda: federated(earth, "venus"), 180)
    wait_for("venus knows earth again", lambda: federated(venus, "earth"), 180)
    ping("e", "10.5.0.2", 90)


@test
def restart_of_all():
    """both domains are switched off and on: they find each other by what they remember"""
    for h in earth + venus:
        h.stop()
    for h in reversed(earth + venus):
        h.start()
    for hosts in (earth, venus):
        lab.wait_members(3, hosts)
        wait_for("one representative", lambda: settled(hosts), 60)
    wait_for("earth knows venus", lambda: federated(earth, "venus"), 180)
    wait_for("venus knows earth", lambda: federated(venus, "earth"), 180)
    ping("e", "10.5.0.2", 120)


@test
def revoked_there():
    """a host that its own domain revokes loses its sessions in the other, too"""
    wait_for("they have a session", lambda: any(n.startswith("host6") for n in sessions(earth[1])), 60)
    venus[0].violin("revoke", "host6", "--why", "stolen")
    wait_for("earth has none with it", lambda: not any(n.startswith("host6") for n in sessions(earth[1])), 60)
    wait_for("it takes part no more", lambda: "host6.venus" not in earth[1].json("env", "show", "pair")["hosts"], 60)


@test
def new_authority_there():
    """the other domain goes over to a new authority and retires the old: the federation holds, also over a restart of all"""
    old = venus[0].json("cert")["authority"]
    two = venus[:2]
    venus[0].violin("authority", "rollover", "--overlap", "1d")
    for h in two:
        wait_for(f"{h.name} has gone over", lambda: h.json("cert")["authority"] != old, 90)
    wait_for("earth has heard of it", lambda: federated(earth, "venus") and federated(two, "earth"), 60)
    time.sleep(15)  # the statement crosses with the next exchange of the representatives
    venus[0].violin("authority", "retire", "--force")
    new = venus[0].json("cert")["authority"]
    for h in earth:
        wait_for(f"{h.name} has been told anew whom to trust", lambda: domain(h, "venus")["authority"] == new, 240)
    for h in earth:
        h.stop()
    for h in earth:
        h.start()
    lab.wait_members(3, earth)
    wait_for("earth knows venus", lambda: federated(earth, "venus"), 180)
    wait_for("venus knows earth", lambda: federated(two, "earth"), 180)


@test
def signer_revoked():
    """who signed the trust is revoked: another that may says it again, and who joins later is federated, too"""
    venus[0].violin("delegate", venus[1].name, "federate")
    wait_for("host5 may", lambda: "federate" in (venus[1].json("cert").get("capabilities") or ""), 60)
    venus[1].violin("federate", card(earth[0]), "--guests", "5")
    wait_for("said by host5", lambda: domain(venus[0], "earth")["limit_guests"] == 5, 30)
    venus[0].violin("revoke", venus[1].name)
    time.sleep(20)  # FED_TIDY and some
    venus[2].stop()
    state = os.path.join(venus[2].dir, "state")
    empty(state)
    venus[2].violin("join", "--host", "new", venus[0].json("invite")["token"])
    venus[2].start()
    wait_for("the new one is federated", lambda: (domain(venus[2], "earth") or {}).get("limit_guests") == 5 and
             federated(venus[2:], "earth"), 120)


@test
def unfederated():
    """after unfederate nothing crosses: no session, no packet, no environment"""
    earth[0].violin("unfederate", "venus")
    for h in earth:
        wait_for(f"{h.name} knows", lambda: not h.json("domains")["domains"], 30)
        wait_for(f"{h.name} has no session", lambda: not {n.split(".")[0] for n in sessions(h)} & {v.name for v in venus}, 30)
    packets = heard(venus[0], 8, earth)
    assert not packets, packets
    packets = heard(venus[1], 4, earth)
    assert not packets, packets


@test
def stranger_gets_nothing():
    """a peer of a domain that nobody is federated with gets not a packet out of any peer"""
    mars.violin("federate", card(earth[0]))
    mars.violin("federate", card(venus[0]))
    packets = heard(mars, 12, earth + venus)
    assert not packets, packets
    refused = sum(h.status()["mesh"]["certificates_refused"] for h in earth + venus)
    assert refused > 0, "it didn't even try"


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
