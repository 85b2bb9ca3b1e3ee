#!/usr/bin/env python3
"""A LAN attached to an environment: its station and the guests reach each other, once per LAN, also after restarts."""
import os, sys, time

from harness import main, test
from lab import Lab, run, wait_for

lab = Lab(hosts=3)
lab.form()
h1, h2, h3 = lab.hosts
lan = f"{lab.prefix}g-lan"  # a LAN with a station, and a cable to each host


def make_lan():
    run("ip", "netns", "add", lan)
    lab.namespaces.append(lan)
    run("ip", "-n", lan, "link", "set", "lo", "up")
    run("ip", "-n", lan, "link", "add", "name", "sw", "type", "bridge", "forward_delay", "0")
    run("ip", "-n", lan, "link", "set", "sw", "up")
    run("ip", "-n", lan, "addr", "add", "10.6.0.100/24", "dev", "sw")
    for h in lab.hosts:
        run("ip", "-n", h.ns, "link", "add", "lan0", "type", "veth", "peer", "name", f"c{h.n}", "netns", lan)
        run("ip", "-n", lan, "link", "set", f"c{h.n}", "master", "sw", "up")


def reaches(ns, ip):
    return run("ip", "netns", "exec", ns, "ping", "-n", "-c", "1", "-W", "1", ip, check=False).returncode == 0


def guest_reaches(name, ip):
    return reaches(f"{lab.prefix}g-{name}", ip)


def show(h):
    return h.json("env", "show", "physics")


def attached(h):
    return [a["state"] for a in show(h)["attached"]]


def in_bridge(h):
    return physics["bridge"] in run("ip", "-n", h.ns, "link", "show", "lan0").stdout


@test
def station_and_guests():
    """a LAN is attached on a host without guests: its station and guests elsewhere reach each other; its MAC is learned"""
    global physics
    make_lan()
    physics = h1.json("env", "create", "physics")
    for h in lab.hosts:
        wait_for(f"{h.name} knows it", lambda h=h: h.json("env", "list"), 30)
    lab.guest(h1, "p1", "10.6.0.1", physics["bridge"])
    lab.guest(h2, "p2", "10.6.0.2", physics["bridge"])
    wait_for("p2", lambda: guest_reaches("p1", "10.6.0.2"), 40)
    assert not guest_reaches("p1", "10.6.0.100")
    assert h3.json("env", "attach", "physics", "lan0") == {"environment": "physics", "interface": "lan0"}
    assert attached(h3) == ["on"] and in_bridge(h3)
    for g in ("p1", "p2"):
        wait_for(f"{g} reaches the station", lambda g=g: guest_reaches(g, "10.6.0.100"), 30)
    wait_for("the station reaches p1", lambda: reaches(lan, "10.6.0.1"), 30)
    mac = run("ip", "netns", "exec", lan, "cat", "/sys/class/net/sw/address").stdout.strip()
    for h in (h1, h2):
        wait_for(f"{h.name} knows where the station is",
                 lambda h=h: [m for m in show(h)["macs"] if m["mac"] == mac and m["learned"] and m["host"] == "host3"], 30)
    ping = lambda: run("ip", "netns", "exec", f"{lab.prefix}g-p1", "ping", "-n", "-q", "-c", "600", "-i", "0.002", "10.6.0.100", check=False)
    wait_for("600 pings of 600: more than unknown MACs may have", lambda: " 0% packet loss" in ping().stdout, 60)
    assert "ATTACHED" in h3.violin("env", "show", "physics").stdout


@test
def once_per_lan():
    """another host's attachment of the same LAN is refused, and so is a second on the same host"""
    r = h2.violin("env", "attach", "physics", "lan0", check=False)
    assert r.returncode == 1 and "attached to physics by host3 already" in r.stderr, (r.returncode, r.stderr)
    assert not in_bridge(h2) and attached(h2) == []
    r = h3.violin("env", "attach", "physics", "eth0", check=False)
    assert r.returncode == 1 and "one LAN an environment and host" in r.stderr, r.stderr
    wait_for("p1 reaches the station", lambda: guest_reaches("p1", "10.6.0.100"), 20)


@test
def what_cannot_be_attached():
    """an interface with addresses, of another bridge, none at all, an environment's own: refused with the reason"""
    wrong = {"eth0": "has this host's address 10.77.0.2", "nothing0": "there is no interface", "lo": "no Ethernet",
             physics["bridge"]: "an environment's or a guest's own", "../x": "no interface's name"}
    for iface, why in wrong.items():
        r = h2.violin("env", "attach", "physics", iface, check=False)
        assert r.returncode == 1 and why in r.stderr, (iface, r.returncode, r.stderr)
    run("ip", "-n", h2.ns, "link", "add", "name", "other", "type", "bridge")
    run("ip", "-n", h2.ns, "link", "add", "port0", "type", "veth", "peer", "name", "port1")
    run("ip", "-n", h2.ns, "link", "set", "port0", "master", "other")
    r = h2.violin("env", "attach", "physics", "port0", check=False)
    assert r.returncode == 1 and "in another bridge" in r.stderr, r.stderr
    r = h2.violin("env", "detach", "physics", check=False)
    assert r.returncode == 1 and "nothing is attached" in r.stderr, r.stderr
    r = h2.violin("env", "attach", "physics", check=False)
    assert r.returncode == 2, r.stderr
    h1.violin("env", "create", "bank", "--strict")
    wait_for("host2 knows it", lambda: len(h2.json("env", "list")) == 2, 30)
    r = h2.violin("env", "attach", "bank", "lan0", check=False)
    assert r.returncode == 1 and "strict" in r.stderr, r.stderr


@test
def outlives_the_peer():
    """the peer's process, and all of the host's processes, are killed: the LAN is attached as before, and frames pass"""
    old = h3.pid_of("peer-child")
    os.kill(old, 9)
    wait_for("another process", lambda: h3.pid_of("peer-child") not in (None, old) and h3.status(), 30)
    wait_for("attached again", lambda: attached(h3) == ["on"] and in_bridge(h3), 40)
    wait_for("p1 reaches the station", lambda: guest_reaches("p1", "10.6.0.100"), 40)
    h3.stop()
    h3.start()
    wait_for("attached again", lambda: attached(h3) == ["on"] and in_bridge(h3), 40)
    wait_for("p1 reaches the station", lambda: guest_reaches("p1", "10.6.0.100"), 40)


@test
def two_lans_become_one():
    """two LANs are attached by two hosts and then joined by a cable: the younger attachment leaves, and comes back after"""
    run("ip", "-n", lan, "link", "set", "c2", "nomaster")
    h2.violin("env", "attach", "physics", "lan0")
    assert in_bridge(h2)
    run("ip", "-n", lan, "link", "set", "c2", "master", "sw")
    wait_for("host2's is held", lambda: attached(h2) == ["held"] and not in_bridge(h2), 30)
    assert attached(h3) == ["on"]
    wait_for("a warning", lambda: [w for w in h2.status()["warnings"] if "would be a loop" in w], 20)
    wait_for("p2 reaches the station", lambda: guest_reaches("p2", "10.6.0.100"), 40)
    before = show(h1)["counters"]["rx_frames"]
    r = run("ip", "netns", "exec", f"{lab.prefix}g-p1", "ping", "-n", "-q", "-c", "50", "-i", "0.02", "-b", "10.6.0.255", check=False)
    assert show(h1)["counters"]["rx_frames"] - before < 500, "frames go round"
    run("ip", "-n", lan, "link", "set", "c2", "nomaster")
    wait_for("host2's is back", lambda: attached(h2) == ["on"] and in_bridge(h2), 40)
    wait_for("no warning", lambda: not [w for w in h2.status()["warnings"] if "loop" in w], 20)
    h2.violin("env", "detach", "physics")
    assert not attached(h2)
    wait_for("out of the bridge", lambda: not in_bridge(h2), 20)


@test
def detached_is_apart():
    """what is detached isn't reached any more, and stays so after a restart"""
    h3.violin("env", "detach", "physics")
    wait_for("out of the bridge", lambda: not in_bridge(h3), 20)
    assert not guest_reaches("p1", "10.6.0.100")
    h3.stop()
    h3.start()
    assert attached(h3) == [] and not in_bridge(h3)
    wait_for("p1 reaches p2", lambda: guest_reaches("p1", "10.6.0.2"), 20)


with lab:
    main()
