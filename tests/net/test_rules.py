#!/usr/bin/env python3
"""Rules of an environment: kept by every chooser on three hosts, shown, broken only by an operator's --force, mended."""
from harness import main, test
from lab import Lab, wait_for

lab = Lab(hosts=3, settings={"settle-time": 1, "evaluation-period": 1, "cooldown": 1, "no-return": 1})
lab.form()
h1, h2, h3 = lab.hosts
bridge = h1.json("env", "create", "cell", "--priority", "70")["bridge"]
for n in range(2):
    lab.guest(h1, f"g{n}", bridge=bridge, memory=128)
lab.guest(h2, "far", bridge=bridge, memory=128)
wait_for("host1 sees its guests", lambda: len(h1.json("guests")) == 2, 30)
wait_for("host1 knows where the others are", lambda: "host2" in h1.json("env", "show", "cell")["hosts"], 60)
for h in lab.hosts:
    wait_for("summaries", lambda: all("memory_free_mib" in m for m in h.json("members")), 60)


def where(name):
    return [h.name for h in lab.where(name)]


def rules(h):
    return [(r["number"], r["kind"], r["guests"], r.get("host")) for r in h.json("env", "rule", "cell")["rules"]]


@test
def known_everywhere():
    """a rule is signed at one host and known to all; guests by name wherever they are, or by UUID"""
    r = h1.json("env", "rule", "cell", "spread", "g0", "far")
    assert r["priority"] == 70 and [x["kind"] for x in r["rules"]] == ["spread"], r
    h1.violin("env", "rule", "cell", "pin", "g1", "host1")
    for h in lab.hosts:
        wait_for(f"{h.name} has both rules", lambda h=h: len(rules(h)) == 2, 60)
        assert h.json("env", "show", "cell")["priority"] == 70
    assert rules(h1)[1] == (2, "pin", ["g1"], "host1"), rules(h1)
    for h in lab.hosts:
        wait_for(f"{h.name} knows the names of guests elsewhere", lambda h=h: rules(h)[0][2] == ["g0", "far"], 60)
    shown = {m.get("name") for m in h1.json("env", "show", "cell")["macs"]}
    assert {"g0", "g1", "far"} <= shown and "far" in h1.violin("env", "show", "cell").stdout, shown
    assert "host1" in h3.violin("env", "rule", "cell").stdout
    for words in (["spread", "g0", "nobody"], ["never", "g0", "nowhere"], ["spread", "g0", "g0"]):
        assert h1.violin("env", "rule", "cell", *words, check=False).returncode == 1, words
    assert h1.violin("env", "rule", "cell", "--remove", "9", check=False).returncode == 1
    assert h1.violin("env", "rule", "none", check=False).returncode == 1


@test
def refused_but_by_force():
    """an operator's move against a rule is refused, with the rule; with --force it is made, and the destination takes it"""
    r = h1.violin("migrate", "g0", "host2", check=False, timeout=60)
    assert r.returncode == 1 and "rule 1 (spread" in r.stderr and "--force" in r.stderr, r
    assert where("g0") == ["host1"]
    h1.violin("migrate", "g0", "host2", "--force", timeout=60)
    assert where("g0") == ["host2"]
    wait_for("it is shown", lambda: [r for r in h2.json("env", "rule", "cell")["rules"] if r["broken_here"]], 30)


@test
def mended():
    """who acts by itself mends what is broken: one of the two leaves, to where no other is"""
    assert h2.status()["mode"] == "observe"
    wait_for("it says what it would do", lambda: any(e["kind"] == "moving" and "rule 1 (spread" in e["text"]
                                                      for e in h2.json("events")), 60)
    assert where("g0") == ["host2"] and where("far") == ["host2"]
    h2.violin("mode", "auto")
    wait_for("they are apart", lambda: where("g0") and where("far") and where("g0") != where("far"), 200)
    h2.violin("mode", "observe")
    wait_for("nobody says it is broken", lambda: not any(
        r["broken_here"] for h in lab.hosts for r in h.json("env", "rule", "cell")["rules"]), 30)


@test
def drain_keeps_them():
    """who drains a host keeps the rules: a pinned guest stays, with the reason; the others are apart"""
    h1.violin("drain", timeout=60)
    def left():
        return {g["name"]: g["why_here"] for g in h1.json("drain")["guests"]}
    wait_for("only the pinned one is left, and why", lambda: set(left()) == {"g1"} and "rule 2 (pin" in left()["g1"], 120)
    assert where("g1") == ["host1"]
    assert "rule 2 (pin" in h1.violin("explain", "g1").stdout
    wait_for("all run", lambda: where("g0") and where("far"), 60)
    assert where("g0") != where("far")
    h1.violin("undrain")


@test
def removed():
    """without the rule the guest may go; a restart forgets no rule"""
    h1.violin("env", "rule", "cell", "--remove", "2")
    h1.violin("env", "rule", "cell", "never", "g1", "host3")
    h1.violin("env", "priority", "cell", "20")
    h1.stop()
    h1.start()
    lab.wait_members(3)
    for h in lab.hosts: # the destination keeps to what it knows: the change may have been on its way when host1 went down
        wait_for(f"both are there again, at {h.name}", lambda h=h: [r[1] for r in rules(h)] == ["spread", "never"], 60)
    assert h1.json("env", "rule", "cell")["priority"] == 20
    wait_for("host1 knows the others", lambda: all("memory_free_mib" in m for m in h1.json("members")), 60)
    wait_for("it sees its guest", lambda: any(g["name"] == "g1" and g["movable"] for g in h1.json("guests")), 60)
    assert h1.violin("migrate", "g1", "host3", check=False, timeout=60).returncode == 1
    h1.violin("migrate", "g1", "host2", timeout=60)
    assert where("g1") == ["host2"]


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
