#!/usr/bin/env python3
"""Who is preferred, on real peers: of environments that are short on one host the one with the lower priority gives way, the other
grows where it is; guests that talk much over the overlay are brought to one host, and their connection goes on."""
import os, sys

from harness import main, test
from lab import Lab, wait_for

SINK = """
import os, socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("0.0.0.0", 5001)); s.listen(1)
c, _ = s.accept()
n = 0
while (d := c.recv(1 << 18)):
    n += len(d)
    open(sys.argv[1] + ".new", "w").write(str(n))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
"""
POUR = """
import socket, sys, time
end = time.monotonic() + 60
while True:
    try:
        s = socket.create_connection((sys.argv[1], 5001), 30)
        break
    except OSError: # nobody listens yet, or the way is not known
        if time.monotonic() > end:
            raise
        time.sleep(0.2)
s.settimeout(None)
while True: # about 2 MB a second
    s.sendall(b"x" * (1 << 16))
    time.sleep(0.03)
"""

# host1 and host2 have room for one guest's growth, not for two; host3 and host4 for all
lab = Lab(hosts=4, conf=lambda n: {"memory": 1024 if n < 3 else 4096, "settle-time": 0, "cooldown": 1, "evaluation-period": 1,
                                   "memory-reserve": 0, "payoff-horizon": 3600})
lab.form()
h1, h2, h3, h4 = lab.hosts
low = h1.json("env", "create", "low", "--priority", "20")["bridge"]
high = h1.json("env", "create", "high", "--priority", "80")["bridge"]
talk = h1.json("env", "create", "talk")["bridge"]
for h in lab.hosts:
    wait_for(f"{h.name} knows them", lambda h=h: {e["name"]: h.json("env", "rule", e["name"])["priority"] for e in h.json("env", "list")} ==
             {"low": 20, "high": 80, "talk": 50}, 60)
    wait_for(f"{h.name} knows all loads", lambda h=h: all("memory_free_mib" in m for m in h.json("members")), 60)


def where(name):
    return [h.name for h in lab.where(name)]


def memory(h, name):
    return next((g["memory_mib"] for g in h.json("guests") if g["name"] == name), None)


@test
def lower_priority_gives_way():
    """two hosts, on each one guest of either environment, all alike and short of memory: of each pair the one with the lower priority
    leaves, whichever was there first, and the other grows where it is"""
    pairs = [(h1, [("a-low", low), ("a-high", high)]), (h2, [("b-high", high), ("b-low", low)])]
    for h, guests in pairs:
        for name, bridge in guests:
            lab.guest(h, name, bridge=bridge, memory=256, maxmem=512, used=100)
        wait_for("they are there", lambda h=h: len(h.json("guests")) == 2, 60)
    for h, guests in pairs:
        for name, _ in guests:
            h.sim(f"load {name} used=240")
    for h, name in ((h1, "a-low"), (h2, "b-low")):  # said once the other's needs count, too: who reports first has no start
        wait_for(f"{name} is short", lambda h=h, name=name: any(e["kind"] == "short" and e.get("subject") == name for e in h.json("events")), 120)
    for h in lab.hosts:
        h.violin("mode", "auto")
    for name, h in (("a-low", h1), ("b-low", h2)):
        wait_for(f"{name} has left", lambda name=name, h=h: where(name) and where(name) != [h.name], 300)
    for name, h in (("a-high", h1), ("b-high", h2)):
        wait_for(f"{name} has grown", lambda name=name, h=h: memory(h, name) == 512, 120)
        assert where(name) == [h.name], name
    for name in ("a-low", "b-low"):
        wait_for(f"{name} runs elsewhere", lambda name=name: where(name) in (["host3"], ["host4"]), 60)


@test
def who_talk_come_together():
    """two guests on hosts of their own that send each other 2 MB a second come to be on one; a silent one stays where it is"""
    for h in lab.hosts:
        h.violin("mode", "observe")
    out = os.path.join(lab.dir, "poured")
    lab.guest(h3, "x", "10.6.0.1", talk, memory=64, maxmem=64, used=20)
    lab.guest(h4, "y", "10.6.0.2", talk, memory=64, maxmem=64, used=20)
    lab.guest(h4, "silent", "10.6.0.3", talk, memory=64, maxmem=64, used=20)
    lab.in_guest("x", sys.executable, "-c", SINK, out)
    lab.in_guest("y", sys.executable, "-c", POUR, "10.6.0.1")
    poured = lambda: int(open(out).read())
    wait_for("they talk", lambda: poured() > 1 << 20, 60)
    h4.violin("mode", "auto")
    h3.violin("mode", "auto")
    wait_for("they are on one host", lambda: where("x") and where("x") == where("y"), 300)
    assert where("silent") == ["host4"], where("silent")
    text = [r["text"] for h in (h3, h4) for r in h.json("history", "--kind", "moving")["records"]]
    assert any("traffic" in t for t in text), text
    before = poured()
    wait_for("their connection goes on", lambda: poured() > before + (1 << 20), 60)


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
