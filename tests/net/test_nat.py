#!/usr/bin/env python3
"""Real peers behind real NATs (nftables' masquerade), and with one-way blocks between them: frames and a
moving guest pass all the same, `reachability` tells how, and direct ways come back by themselves."""
import os, sys, time

from harness import main, test
from lab import Lab, run, wait_for

RULES = """
table ip nat {
    chain leaving { type nat hook postrouting priority 100; oifname "out" masquerade %s; }
}
table ip filter {
    chain arriving { type filter hook input priority 0; iifname "out" ct state new drop; }
    chain through { type filter hook forward priority 0; iifname "out" ct state new drop; }
}
"""


def nft(ns, text):
    run("ip", "netns", "exec", ns, "nft", *text.split())


class Nat:
    """A router of its own between a host and the others: the host is 192.168.N.2, outside 10.77.0.(100 + N)."""

    def __init__(self, lab, host, symmetric):
        self.ns = f"{lab.prefix}n{host.n}"
        n, net = host.n, f"192.168.{host.n}"
        run("ip", "netns", "add", self.ns)
        lab.namespaces.append(self.ns)
        run("ip", "-n", lab.under, "link", "set", f"p{n}", "nomaster", "down")
        run("ip", "-n", lab.under, "link", "set", f"p{n}", "netns", self.ns, "name", "in")
        run("ip", "-n", self.ns, "link", "add", "out", "type", "veth", "peer", "name", f"p{n}", "netns", lab.under)
        run("ip", "-n", lab.under, "link", "set", f"p{n}", "master", "br0", "up")
        for dev, addr in (("in", f"{net}.1/24"), ("out", f"10.77.0.{100 + n}/24")):
            run("ip", "-n", self.ns, "addr", "add", addr, "dev", dev)
            run("ip", "-n", self.ns, "link", "set", dev, "up")
        run("ip", "-n", host.ns, "addr", "flush", "dev", "eth0")
        run("ip", "-n", host.ns, "addr", "add", f"{net}.2/24", "dev", "eth0")
        run("ip", "-n", host.ns, "route", "add", "default", "via", f"{net}.1")
        host.ip = f"10.77.0.{100 + n}"
        run("ip", "netns", "exec", self.ns, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        rules = os.path.join(host.dir, "nat.nft")
        with open(rules, "w") as f:
            f.write(RULES % ("fully-random" if symmetric else ""))
        run("ip", "netns", "exec", self.ns, "nft", "-f", rules)


lab = Lab(hosts=6)
h1, h2, h3, h4, h5, h6 = lab.hosts  # 2, 3: NATs with one mapping for all; 4, 5: a new one for each; 1, 6: none
nats = {h.n: Nat(lab, h, symmetric=h.n >= 4) for h in (h2, h3, h4, h5)}
lab.form()
env = h1.json("env", "create", "physics")
for h in lab.hosts:
    wait_for(f"{h.name} knows the environment", lambda h=h: h.json("env", "list"), 60)
for h in lab.hosts:
    lab.guest(h, f"g{h.n}", f"10.5.0.{h.n}", env["bridge"])


def reach(a, b):
    rows = a.json("reachability", b.name)
    assert len(rows) == 1 and rows[0]["name"] == b.name, rows
    return rows[0]


def both(a, b, *paths, seconds=90):
    """Both ends say one of these, for the other."""
    def now():
        rows = reach(a, b), reach(b, a)
        if not all(r["path"] in paths for r in rows):
            raise RuntimeError(rows)
        return rows
    wait_for(f"{a.name} and {b.name}: {' or '.join(paths)}", now, seconds)
    return reach(a, b)


def pings(a, b, n=3, size=56):
    r = run("ip", "netns", "exec", f"{lab.prefix}g-g{a.n}", "ping", "-c", n, "-i", "0.2", "-W", "1", "-s", size,
            "-M", "do", f"10.5.0.{b.n}", check=False)
    return " 0% packet loss" in r.stdout


def frames_pass(a, b):
    wait_for(f"frames pass from {a.name} to {b.name}", lambda: pings(a, b), 60)
    assert wait_for(f"frames of 1500 bytes pass from {a.name} to {b.name}", lambda: pings(a, b, size=1472), 30)




@test
def direct_without_nat():
    """two hosts without a NAT talk directly"""
    r = both(h1, h6, "direct")
    assert r["address"] == "10.77.0.6:7411", r
    assert "via" not in r and "why" not in r, r
    wait_for("its round trip is measured", lambda: 0 < reach(h1, h6)["rtt_ms"] < 5000)
    wait_for("its loss is measured", lambda: 0 <= reach(h1, h6)["loss_pct"] <= 100, 90)
    frames_pass(h1, h6)


@test
def nat_to_public():
    """a host behind a NAT talks directly with one that has none, whoever began"""
    for a, b in ((h2, h1), (h4, h6)):  # the open one may have found the NAT's address through the relay
        both(a, b, "direct", "punched")
        assert reach(a, b)["address"] == b.ip + ":7411", reach(a, b)
        assert reach(b, a)["address"].startswith(a.ip + ":"), reach(b, a)
    frames_pass(h2, h1)
    frames_pass(h6, h4)


@test
def punched():
    """two hosts behind NATs of the common kind find a way through both"""
    r = both(h2, h3, "punched")
    assert r["address"] == "10.77.0.103:7411", r
    frames_pass(h2, h3)
    frames_pass(h3, h2)


@test
def relayed():
    """behind NATs that can't be passed: relayed, and said so"""
    r = both(h4, h5, "relayed")
    assert r["via"] == "host1" and "address" not in r and "NAT" in r["why"], r
    wait_for("its round trip is measured", lambda: reach(h4, h5)["rtt_ms"] > 0)
    frames_pass(h4, h5)
    frames_pass(h5, h4)
    both(h2, h4, "relayed")
    frames_pass(h2, h4)


@test
def everybody_is_alive():
    """members behind NATs aren't suspected: for half a minute nobody is declared dead"""
    lab.wait_members(6)
    after = {h.n: h.json("events")[-1]["seq"] for h in lab.hosts}
    for _ in range(6):
        time.sleep(5)
        lab.wait_members(6, seconds=20)
    for h in lab.hosts:
        dead = [e for e in h.json("events", "--after", str(after[h.n])) if e["text"].endswith("is dead")]
        assert not dead, (h.name, dead)


@test
def table_is_complete():
    """reachability without a name lists every other peer"""
    for h in (h1, h4):
        rows = h.json("reachability")
        assert sorted(r["name"] for r in rows) == sorted(x.name for x in lab.hosts if x != h), rows
    text = h4.violin("reachability").stdout
    assert "relayed" in text and "host1" in text, text
    r = h1.violin("reachability", "nosuch", check=False)
    assert r.returncode == 1 and "nosuch" in r.stderr, r


def moves(guest, a, b, how):
    """A live move of a guest whose memory really crosses; the source's log says which way the stream took."""
    wait_for("no handover is under way", lambda: not any(h.status()["handovers"]["active"] for h in lab.hosts), 60)
    wait_for("it is listed", lambda: guest in [g["name"] for g in a.json("guests")], 60)
    mark = os.path.getsize(os.path.join(a.dir, "log"))
    a.violin("migrate", guest, b.name, timeout=150)
    wait_for(f"{guest} runs on {b.name} alone", lambda: lab.where(guest) == [b], 60)
    with open(os.path.join(a.dir, "log"), errors="replace") as f:
        f.seek(mark)
        tried = [l for l in f if " now\n" in l and "to " + b.name in l]
    assert [w for w in ("the other way round", "through a relay") if any(w in l for l in tried)] == how, tried


@test
def stream_direct():
    """a guest moves between hosts without NATs, and from behind one to the open: directly"""
    moves("g6", h6, h1, [])
    moves("g6", h1, h6, [])
    moves("g2", h2, h6, [])


@test
def stream_reversed():
    """back behind the NAT, where nobody can connect to: its host connects"""
    moves("g2", h6, h2, ["the other way round"])
    frames_pass(h6, h2)


@test
def stream_relayed():
    """from behind one NAT to behind another: through a relay, which joins two connections"""
    moves("g2", h2, h3, ["the other way round", "through a relay"])
    moves("g4", h4, h5, ["the other way round", "through a relay"])
    moves("g2", h3, h2, ["the other way round", "through a relay"])
    frames_pass(h2, h4)


@test
def one_way():
    """packets pass in one direction only: relayed, with the reason; direct again when the block goes"""
    nft(h6.ns, "add table ip block")
    nft(h6.ns, "add chain ip block arriving { type filter hook input priority 0 ; }")
    nft(h6.ns, "add rule ip block arriving ip saddr 10.77.0.1 drop")
    both(h1, h6, "relayed")
    frames_pass(h1, h6)
    frames_pass(h6, h1)
    wait_for("host1 says why", lambda: "ours don't reach it" in reach(h1, h6)["why"], 90)
    wait_for("host6 says why", lambda: "its packets don't come here" in reach(h6, h1)["why"], 90)
    assert [m["state"] for m in h1.json("members") if m["name"] == "host6"] == ["alive"]
    nft(h6.ns, "delete table ip block")
    both(h1, h6, "direct", seconds=120)
    frames_pass(h1, h6)


@test
def lost_and_found():
    """the punched way is blocked: relayed without loss of members; open again: punched again"""
    nft(nats[3].ns, "add chain ip filter gone { type filter hook forward priority -10 ; }")
    nft(nats[3].ns, "add rule ip filter gone ip saddr 10.77.0.102 drop")
    nft(nats[3].ns, "add rule ip filter gone ip daddr 10.77.0.102 drop")
    r = both(h2, h3, "relayed")
    frames_pass(h2, h3)
    nft(nats[3].ns, "flush chain ip filter gone")
    both(h2, h3, "punched", seconds=150)
    frames_pass(h3, h2)


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
