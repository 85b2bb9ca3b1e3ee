#!/usr/bin/env python3
"""Nobody starves anybody: a moving guest's bulk stream, gossip, and the frames of several guests over one pair of hosts;
an environment's bandwidth bounds it alone. No speeds are asserted: each is waited for while all the others go on."""
import os, sys, time

from harness import main, test
from lab import Lab, wait_for
from watch import in_ns

lab = Lab(hosts=3, memory=4096, conf=lambda n: {"overlay-bandwidth": 2} if n == 3 else {})
for h in lab.hosts:  # the simulated hypervisor sends so many MiB of a guest's memory, not only a few
    with open(os.path.join(h.dir, "sim", "host.conf"), "a") as f:
        f.write("stream=600\n")
lab.form()
h1, h2, h3 = lab.hosts
macs = {}

SINK = """
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("0.0.0.0", 5001)); s.listen(1)
c, _ = s.accept()
n = 0
while (d := c.recv(1 << 18)):
    n += len(d)
    open(sys.argv[1] + ".new", "w").write(str(n))
    import os; os.rename(sys.argv[1] + ".new", sys.argv[1])
"""
POUR = """
import socket, sys
s = socket.create_connection((sys.argv[1], 5001), 20)
s.settimeout(None)
b = b"x" * (1 << 16)
while True:
    s.sendall(b)
"""
# Small datagrams as fast as they go, to everybody or one.
FLOOD = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
b = b"f" * int(sys.argv[2])
while True:
    try:
        s.sendto(b, (sys.argv[1], 9))
    except OSError:
        pass
"""


def guest(h, name, ip, e, **numbers):
    macs[name] = lab.guest(h, name, ip, e["bridge"], **numbers)["mac"]


def reaches(a, ip):
    return in_ns(f"{lab.prefix}g-{a}", "ping", "-n", "-c", "1", "-W", "2", ip, check=False).returncode == 0


def number(path):
    try:
        return int(open(path).read() or 0)
    except (OSError, ValueError):
        return 0


def received(h):
    return int(in_ns(h.ns, "cat", "/sys/class/net/eth0/statistics/rx_bytes").stdout)


def pings(path):
    return open(path).read().count("bytes from")


@test
def all_go_on():
    """a TCP stream, a flood of broadcasts, pings and gossip between two hosts while a guest's memory goes the same way"""
    global physics, biology
    physics, biology = h1.json("env", "create", "physics"), h1.json("env", "create", "biology")
    for h in lab.hosts:
        wait_for(f"{h.name} knows both", lambda h=h: len(h.json("env", "list")) == 2, 30)
    guest(h1, "a", "10.5.0.1", physics)
    guest(h2, "b", "10.5.0.2", physics)
    guest(h1, "loud", "10.5.0.3", physics)
    guest(h1, "c", "10.6.0.1", biology)
    guest(h2, "d", "10.6.0.2", biology)
    guest(h1, "m", "10.6.0.3", biology, memory=1024, maxmem=1024, used=900, dirty=1)
    wait_for("b", lambda: reaches("a", "10.5.0.2"), 40)
    wait_for("d", lambda: reaches("c", "10.6.0.2"), 40)
    sunk, echoed = os.path.join(lab.dir, "sunk"), os.path.join(lab.dir, "echoed")
    lab.in_guest("b", sys.executable, "-c", SINK, sunk)
    wait_for("it listens", lambda: ":5001" in in_ns(f"{lab.prefix}g-b", "ss", "-ltnH").stdout, 30)
    lab.in_guest("a", sys.executable, "-c", POUR, "10.5.0.2")
    flood = lab.in_guest("loud", sys.executable, "-c", FLOOD, "10.5.0.255", "100")
    lab.in_guest("c", "ping", "-n", "-i", "0.1", "10.6.0.2", stdout=open(echoed, "w"))
    wait_for("the stream", lambda: number(sunk) > 1 << 20, 60)
    wait_for("pings", lambda: pings(echoed) > 3, 60)
    wait_for("host2 can take guests", lambda: h2.json("guests") and h2.status()["load"].get("memory_free_mib"), 60)
    before = number(sunk), pings(echoed), time.monotonic(), received(h2)
    wait_for("it moves", lambda: h1.violin("migrate", "m", "host2", timeout=300), 300)
    wait_for("m runs on host2 alone", lambda: lab.where("m") == [h2], 60)
    took = time.monotonic() - before[2]
    assert number(sunk) > before[0], "the stream starved while the guest moved"
    assert pings(echoed) > before[1], "the other environment's pings starved while the guest moved"
    now = number(sunk)
    moved = received(h2) - before[3] - (now - before[0])
    assert moved > 400 << 20, moved
    wait_for("the stream goes on", lambda: number(sunk) > now + (1 << 20), 60)
    lab.wait_members(3)
    for h in lab.hosts:
        died = [e["text"] for e in h.json("events") if e["kind"] == "member" and " dead" in e["text"]]
        assert not died, died
    assert h1.json("env", "show", "physics")["counters"].get("dropped_guest_rate", 0) > 0
    assert h1.json("env", "show", "biology")["counters"].get("dropped_guest_rate", 0) == 0
    print(f"      while it moved ({took:.1f} s): {moved >> 20} MiB of its memory, {(now - before[0]) >> 20} MiB of the stream, {pings(echoed) - before[1]} pings")
    flood.kill()


@test
def bandwidth_of_an_environment():
    """an environment that sends more than its bandwidth loses frames, by that reason; another on the same host doesn't"""
    guest(h3, "x", "10.5.0.11", physics)
    guest(h3, "y", "10.6.0.11", biology)
    wait_for("x", lambda: reaches("x", "10.5.0.2"), 40)
    wait_for("y", lambda: reaches("y", "10.6.0.2"), 40)
    show = lambda e: h3.json("env", "show", e)
    assert show("physics")["limits"]["bandwidth_mib_s"] == 2
    sent, began = show("physics")["counters"]["tx_bytes"], time.monotonic()
    flood = lab.in_guest("x", sys.executable, "-c", FLOOD, "10.5.0.2", "1400")
    wait_for("drops", lambda: show("physics")["counters"].get("dropped_env_rate", 0) > 100, 30)
    wait_for("20 pings of 20", lambda: " 0% packet loss" in in_ns(f"{lab.prefix}g-y", "ping", "-n", "-q", "-c", "20", "-i", "0.05", "10.6.0.2", check=False).stdout, 30)
    flood.kill()
    flood.wait()
    most = (2 << 20) * (time.monotonic() - began + 1.5)
    assert show("physics")["counters"]["tx_bytes"] - sent <= most
    assert show("biology")["counters"].get("dropped_env_rate", 0) == 0


@test
def limit_of_one_environment():
    """`env limit` bounds one environment on all hosts, from then on; a host's own limit stays where it is less"""
    e = h1.json("env", "limit", "physics", "1")
    assert e["limits"]["bandwidth_mib_s"] == 1
    show = lambda h, e: h.json("env", "show", e)
    for h in lab.hosts:
        wait_for(f"{h.name} knows", lambda h=h: show(h, "physics")["limits"]["bandwidth_mib_s"] == 1, 30)
    assert show(h1, "biology")["limits"]["bandwidth_mib_s"] == 0 and show(h3, "biology")["limits"]["bandwidth_mib_s"] == 2
    before = show(h1, "physics")["counters"].get("dropped_env_rate", 0)
    wait_for("the stream is cut down", lambda: show(h1, "physics")["counters"].get("dropped_env_rate", 0) > before + 10, 60)
    h1.violin("env", "limit", "physics", "500")
    wait_for("host3 keeps its own", lambda: show(h1, "physics")["limits"]["bandwidth_mib_s"] == 500
             and show(h3, "physics")["limits"]["bandwidth_mib_s"] == 2, 30)
    h1.violin("env", "limit", "physics", "0")
    r = h1.violin("env", "limit", "physics", "much", check=False)
    assert r.returncode == 2 and "MiB a second" in r.stderr, r.stderr


with lab:
    main()
