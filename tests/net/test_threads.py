#!/usr/bin/env python3
"""Everything that happens to the data path's threads at once: streams through several threads, new keys each second, a
guest that moves back and forth, environments that come and go. Built with TSan (make check-asan), a race in any host's
processes fails it.  MOVES=… says how often the guest moves."""
import hashlib, os, subprocess, sys

from harness import main, test
from lab import Lab, run, wait_for

MOVES = int(os.environ.get("MOVES", 4))
SERVE = """
import hashlib, socket, threading
l = socket.socket()
l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
l.bind(("", 9))
l.listen(8)
def one(c):
    n = 0
    while True: # blocks of 64 KiB that say what they hold; an answer to each
        d = b""
        while len(d) < 65536 + 32:
            more = c.recv(65536 + 32 - len(d))
            if not more:
                return
            d += more
        if hashlib.sha256(d[32:]).digest() != d[:32]:
            c.sendall(b"!")
            return
        c.sendall(b".")
while True:
    threading.Thread(target=one, args=l.accept()[:1], daemon=True).start()
"""
TALK = """
import hashlib, os, socket, sys
for tries in range(100):
    try:
        s = socket.create_connection((sys.argv[1], 9), timeout=60)
        break
    except ConnectionRefusedError:
        import time
        time.sleep(0.1)
s.settimeout(120)
while True:
    d = os.urandom(65536)
    s.sendall(hashlib.sha256(d).digest() + d)
    a = s.recv(1)
    if a != b".":
        print("wrong: " + repr(a), flush=True)
        break
    print("ok", flush=True)
"""
lab = Lab(hosts=3, settings={"overlay-rekey": 1, "overlay-threads": 2, "cooldown": 0, "settle-time": 0})
h1, h2, h3 = lab.hosts
ns = lambda name: f"{lab.prefix}g-{name}"


class Stream:
    """One that goes on until it is ended; every block of it is checked by the receiver."""

    def __init__(self, guest, ip):
        self.path = os.path.join(lab.dir, f"stream-{guest}-{ip}")
        with open(self.path, "w") as f:
            lab.in_guest(guest, sys.executable, "-c", TALK, ip, stdout=f, stderr=subprocess.STDOUT)

    def blocks(self):
        lines = open(self.path).read().splitlines()
        wrong = [l for l in lines if l != "ok"]
        assert not wrong, f"{self.path}: {wrong[:3]}"
        return len(lines)

    def goes_on(self):
        n = self.blocks()
        wait_for(f"{os.path.basename(self.path)} goes on", lambda: self.blocks() > n + 3, 60)


@test
def at_once():
    """streams, new keys, moves, environments: every block arrives as it was sent, and no thread disturbs another"""
    lab.form()
    e = h1.json("env", "create", "physics")
    for h in lab.hosts:
        wait_for(f"{h.name} knows it", lambda h=h: len(h.json("env", "list")) == 1, 30)
    for n, h in enumerate(lab.hosts, 1):
        lab.guest(h, f"g{n}", f"10.6.0.{n}", e["bridge"])
        lab.in_guest(f"g{n}", sys.executable, "-c", SERVE)
    for a, b in ((1, 2), (1, 3), (2, 3)):
        wait_for(f"g{a} reaches g{b}", lambda: run("ip", "netns", "exec", ns(f"g{a}"), "ping", "-c", "1", "-W", "1", f"10.6.0.{b}"), 60)
    streams = [Stream("g1", "10.6.0.2"), Stream("g2", "10.6.0.1"), Stream("g1", "10.6.0.3"), Stream("g3", "10.6.0.2")]
    for s in streams:
        s.goes_on()
    for i in range(MOVES):
        source, target = (h3, h1) if i % 2 == 0 else (h1, h3)
        wait_for("the guest may move", lambda: source.violin("migrate", "g3", target.name, timeout=120), 60)
        wait_for(f"it is on {target.name}", lambda: lab.where("g3") == [target], 60)
        other = h2.json("env", "create", f"other{i}")
        wait_for("a second environment", lambda: len(target.json("env", "list")) == 2, 30)
        h2.violin("env", "remove", f"other{i}")
        wait_for("it is gone", lambda: len(target.json("env", "list")) == 1, 30)
        for s in streams:
            s.goes_on()
    print(f"      {MOVES} moves, {sum(s.blocks() for s in streams)} blocks, "
          f"{sum(h.status()['mesh']['handshakes_done'] for h in lab.hosts)} times new keys", flush=True)
    for h in lab.hosts:
        c = h.json("env", "show", "physics")["datapath"]["counters"]
        for bad in ("rx_auth", "rx_number", "tap_header", "tap_refused"):
            assert not c.get(bad), f"{h.name}: {bad} = {c[bad]}"


with lab:
    main()
