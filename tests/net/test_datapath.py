#!/usr/bin/env python3
"""Hosts whose data paths are set up in every way carry each other's frames whole; a peer that is killed and started
again misses few."""
import hashlib, os, re, signal, subprocess, sys

from harness import main, test
from lab import Lab, run, wait_for

WAYS = {1: {"overlay-threads": 2},
        2: {"overlay-gso": "off", "overlay-vnet-hdr": "off"},
        3: {"overlay-cipher": "chacha", "overlay-path-mtu": 1400},
        4: {"overlay-vnet-hdr": "off"}}
lab = Lab(hosts=4, conf=lambda n: WAYS[n])
lab.form()
h1, h2, h3, h4 = lab.hosts
BLOCKS = 300

SERVE = """
import hashlib, socket
l = socket.socket()
l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
l.bind(("", 9))
l.listen(8)
while True:
    c, _ = l.accept()
    c.settimeout(60)
    h = hashlib.sha256()
    try:
        while True:
            d = c.recv(65536)
            if not d:
                break
            h.update(d)
        c.sendall(h.hexdigest().encode())
    except OSError:
        pass
    c.close()
"""
TALK = """
import hashlib, socket, sys
s = socket.create_connection((sys.argv[1], 9), timeout=60)
for i in range(int(sys.argv[2])):
    s.sendall(hashlib.sha256(i.to_bytes(8, "big")).digest() * 1024)
s.shutdown(socket.SHUT_WR)
print(s.recv(100).decode())
"""


def guest_run(n, *cmd, **kw):
    return run("ip", "netns", "exec", f"{lab.prefix}g-g{n}", *cmd, **kw)


def reaches(a, b):
    return guest_run(a, "ping", "-c", "1", "-W", "1", f"10.6.0.{b}", check=False).returncode == 0


@test
def every_way_to_every_other():
    """threads, no offload, no superframes, another cipher, a given MTU: streams arrive whole from each to each"""
    e = h1.json("env", "create", "physics")
    for h in lab.hosts:
        wait_for(f"{h.name} knows it", lambda h=h: len(h.json("env", "list")) == 1, 30)
    for n, h in enumerate(lab.hosts, 1):
        lab.guest(h, f"g{n}", f"10.6.0.{n}", e["bridge"])
        lab.in_guest(f"g{n}", sys.executable, "-c", SERVE)
    want = hashlib.sha256(b"".join(hashlib.sha256(i.to_bytes(8, "big")).digest() * 1024 for i in range(BLOCKS))).hexdigest()
    for a in range(1, 5):
        for b in range(1, 5):
            if a == b:
                continue
            wait_for(f"g{a} reaches g{b}", lambda: reaches(a, b), 40)
            got = guest_run(a, sys.executable, "-c", TALK, f"10.6.0.{b}", str(BLOCKS)).stdout.strip()
            assert got == want, f"g{a} → g{b}: {got!r}"
            r = guest_run(a, "ping", "-c", "2", "-i", "0.2", "-M", "do", "-s", "1472", f"10.6.0.{b}", check=False)
            assert " 0% packet loss" in r.stdout, f"g{a} → g{b}, frames of 1500 bytes: {r.stdout}"


@test
def says_how():
    """env show tells the cipher, the size and the way of each path"""
    show = {h.name: h.json("env", "show", "physics") for h in lab.hosts}
    path = lambda a, b: [p for p in show[a]["paths"] if p["host"] == b][0]
    assert show["host1"]["datapath"]["threads"] == 2 and show["host4"]["datapath"]["threads"] >= 1
    assert not show["host2"]["datapath"]["gso"] and not show["host2"]["datapath"]["superframes"]
    assert not show["host4"]["datapath"]["superframes"]
    assert path("host1", "host3")["cipher"] == path("host3", "host1")["cipher"] == "ChaCha20-Poly1305"
    assert path("host3", "host1")["datagram"] == 1372
    assert not path("host2", "host1")["gso"]
    wait_for("the size of an Ethernet", lambda: reaches(1, 4) and [p["datagram"] for p in h1.json("env", "show", "physics")["paths"]
                                                                if p["host"] == "host4"] == [1472], 30)
    for name, s in show.items():
        for bad in ("rx_auth", "rx_number", "rx_stray", "tap_header", "tap_refused", "too_long"):
            assert not s["datapath"]["counters"].get(bad), f"{name}: {bad} = {s['datapath']['counters'][bad]}"
    assert show["host1"]["datapath"]["counters"].get("tx_superframes"), "a TCP stream left a guest without superframes"
    assert "PATH TO" in h1.violin("env", "show", "physics").stdout


@test
def restart_misses_few():
    """a peer process is killed and started again: the guests' frames flow on"""
    wait_for("g3", lambda: reaches(1, 3), 20)
    p = lab.in_guest("g1", "ping", "-i", "0.02", "-D", "10.6.0.3", stdout=subprocess.PIPE, text=True)
    times = []
    for line in p.stdout:
        m = re.match(r"\[([0-9.]+)\] .* icmp_seq=", line)
        if not m:
            continue
        times.append(float(m.group(1)))
        if len(times) == 50:
            old = h3.pid_of("peer-child")
            os.kill(old, signal.SIGKILL)
        if len(times) == 150:
            break
    os.killpg(p.pid, signal.SIGKILL)
    gap = max(b - a for a, b in zip(times, times[1:]))
    assert h3.pid_of("peer-child") not in (None, old)
    print(f"      nothing for {gap * 1000:.0f} ms")
    assert gap < 20, f"{gap} s" # generous: what is claimed is printed


with lab:
    main()
