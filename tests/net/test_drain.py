#!/usr/bin/env python3
"""An operator drains a host before maintenance, and pauses the policy; both outlive a restart of the peer."""
import os, signal

from harness import main, test
from lab import Lab, wait_for

lab = Lab(hosts=3)
lab.form()
h1, h2, h3 = lab.hosts
h1.violin("env", "create", "cell")
bridge = h1.json("env", "show", "cell")["bridge"]
for n in range(3):
    lab.guest(h1, f"g{n}", bridge=bridge, memory=256 << n)
wait_for("host1 sees its guests", lambda: len(h1.json("guests")) == 3, 30)
for h in lab.hosts:
    wait_for("summaries", lambda: all("memory_free_mib" in m for m in h.json("members")), 30)


@test
def wrong_orders():
    """hosts that aren't there, orders of hosts that may not, and times that are none, are errors"""
    r = h1.violin("drain", "host9", check=False)
    assert r.returncode == 1 and "no living member" in r.stderr, r
    for order in (["drain", "host3"], ["undrain", "host1"]):
        r = h2.violin(*order, check=False)
        assert r.returncode == 1 and "may neither admit nor revoke" in r.stderr, r
    assert h1.violin("drain", "--deadline", "soon", check=False).returncode == 2
    assert h1.violin("pause", "--for", "-1", check=False).returncode == 2
    assert "draining" not in h1.status() and "paused_for_s" not in h1.status()


@test
def drains():
    """all guests leave in mode observe, too; who drains takes none; undrain ends it"""
    assert h1.status()["mode"] == "observe"
    r = h1.violin("drain", "host1", "--deadline", "10m", "--wait", timeout=120)
    assert "being drained: 3 guest(s)" in r.stdout and r.stdout.strip().endswith("no guest of an environment is here"), r
    for n in range(3):
        assert [h.name for h in lab.where(f"g{n}")] in (["host2"], ["host3"]), n
    wait_for("it is drained", lambda: h1.status()["draining"] == "drained", 30)
    assert any(e["kind"] == "drain" and "is drained" in e["text"] for e in h1.json("events"))
    there = lab.where("g0")[0]

    def refused():
        r = there.violin("migrate", "g0", "host1", check=False, timeout=60)
        assert r.returncode == 1, "host1 took it"
        return "drained" in r.stderr
    wait_for("that is why", refused, 30)


@test
def outlives_a_restart():
    """the peer restarts, and still takes nobody, until undrain"""
    h1.stop()
    h1.start()
    lab.wait_members(3)
    assert h1.status()["draining"]
    r = h1.violin("undrain")
    assert "takes guests" in r.stdout, r
    assert "draining" not in h1.status()
    there = lab.where("g0")[0]
    wait_for("host1 takes g0 again", lambda: there.violin("migrate", "g0", "host1", check=False, timeout=60).returncode == 0, 60)
    assert [h.name for h in lab.where("g0")] == ["host1"]


@test
def one_cannot():
    """a guest that nobody has room for is told of, and past the deadline there is a warning; no restart takes it for gone"""
    lab.guest(h1, "huge", bridge=bridge, memory=1300, maxmem=1300)
    for h in (h2, h3):
        lab.guest(h, f"fill-{h.name}", bridge=bridge, memory=600, maxmem=600)
    wait_for("the others are full", lambda: all(m["memory_free_mib"] < 1200 for m in h1.json("members") if m["name"] != "host1"), 60)
    h1.violin("drain", "--deadline", "5s")
    def left():
        return {g["name"]: g["why_here"] for g in h1.json("drain")["guests"]}
    wait_for("huge stays, and why", lambda: set(left()) == {"huge"} and "no other host has room" in left()["huge"], 60)
    wait_for("the warning", lambda: any("still here" in w for w in h1.status()["warnings"]), 60)
    agent, old = h1.pid_of("agent"), h1.pid_of("peer-child")
    os.kill(agent, signal.SIGSTOP)  # so that another peer isn't told of its guests
    try:
        os.kill(old, signal.SIGKILL)
        wait_for("another peer", lambda: h1.pid_of("peer-child") not in (None, old) and h1.status(), 30)
        r = h1.json("drain")
        assert not r["guests"] and not r["drained"], r
        assert h1.status()["draining"] == "yes" and "isn't known yet" in h1.violin("drain").stdout
    finally:
        os.kill(agent, signal.SIGCONT)
    wait_for("it knows them", lambda: set(left()) == {"huge"}, 60)
    h1.violin("undrain")
    wait_for("no warning", lambda: not any("still here" in w for w in h1.status()["warnings"]), 30)


@test
def from_another_host():
    """a host that may admit hosts has another one drained, waits for it, and lets it take guests again"""
    for h in (h2, h3):
        h.sim(f"destroy fill-{h.name}")
    h1.violin("undrain")
    h1.sim("destroy huge")
    left = {"g0", "g1", "g2"}
    wait_for("the others are gone", lambda: {g["name"] for h in lab.hosts for g in h.json("guests")} == left, 60)
    if lab.where("g0")[0] is not h2:
        wait_for("g0 moves", lambda: lab.where("g0")[0].violin("migrate", "g0", "host2", check=False, timeout=60).returncode == 0, 60)
    wait_for("host2 has g0", lambda: "g0" in [g["name"] for g in h2.json("guests")], 30)
    wait_for("all know how much room there is", lambda: sum(m["memory_free_mib"] for h in [h2] for m in h.json("members")) > 3000, 60)
    r = h1.violin("drain", "host2", "--wait", "--deadline", "1h", timeout=120)
    assert "host2 is drained" in r.stdout and h2.status()["draining"] == "drained", r
    assert any("ordered from host1" in r["text"] for r in h2.json("history", "--kind", "drain")["records"])
    assert h3.json("explain", "host2")["draining"] == "drained"
    assert "host2 takes guests" in h1.violin("undrain", "host2").stdout
    assert "draining" not in h2.status()


@test
def pauses():
    """a pause holds over a restart, and ends by itself or by resume"""
    h2.violin("mode", "auto")
    assert h2.json("pause", "--for", "1h")["paused_for_s"] > 3500
    h2.stop()
    h2.start()
    assert h2.status()["paused_for_s"] > 3000
    assert "paused_for_s" not in h2.json("resume")
    h2.violin("pause", "--for", "2s")
    wait_for("it ends", lambda: "paused_for_s" not in h2.status() and
             any("the pause is over" in e["text"] for e in h2.json("events")), 30)


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
