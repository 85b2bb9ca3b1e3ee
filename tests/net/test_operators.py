#!/usr/bin/env python3
"""What operators are told and what then happens: history over restarts."""
import os

from harness import main, test
from lab import Lab, wait_for

lab = Lab(hosts=3, conf=lambda n: {"settle-time": 0})
lab.form()
h1, h2, h3 = lab.hosts
h1.violin("env", "create", "cell")
bridge = h1.json("env", "show", "cell")["bridge"]
for h in lab.hosts:
    wait_for(f"{h.name} knows cell", lambda h=h: [e["name"] for e in h.json("env", "list")] == ["cell"], 60)
for n in range(3):
    lab.guest(h1, f"g{n}", bridge=bridge, memory=256 << n, maxmem=1024)
wait_for("host1 sees its guests", lambda: len(h1.json("guests")) == 3, 30)
for h in lab.hosts:
    wait_for("summaries", lambda h=h: all("memory_free_mib" in m for m in h.json("members")), 30)


def knows_the_room(h):
    """whether what h knows of all hosts, itself too, is of their guests as they are now: a drain goes by these summaries, a plan asks
    each host for its own"""
    said = {m["name"]: m.get("memory_free_mib") for m in h.json("members")}
    return all(said.get(o.name) == 1664 - sum(g["memory_mib"] for g in o.json("guests")) for o in lab.hosts)


def there(h, *names):
    wait_for(f"{h.name} has {names}", lambda: set(names) <= {g["name"] for g in h.json("guests")}, 30)


@test
def history_outlives_restarts():
    """a move is in both hosts' histories, with its figures, also after their peers were restarted"""
    r = wait_for("g0 moves", lambda: h1.violin("migrate", "g0", "host2", check=False, timeout=60).returncode == 0, 60)
    there(h2, "g0")
    for h in (h1, h2):
        h.stop()
        h.start()
    lab.wait_members(3)
    left = h1.json("history", "g0", "--kind", "move", "--since", "1h")
    [m] = [r for r in left["records"] if r["kind"] == "moved"]
    assert m["words"] == {"from": "host1", "to": "host2", "environment": "cell", "why": "ordered by an operator"}, m
    assert m["numbers"]["duration_s"] > 0 and m["numbers"]["pause_s"] >= 0 and m["numbers"]["bytes"] > 0, m
    assert left["summary"]["moved"] == 1 and left["summary"]["failed"] == 0 and "mean_pause_s" in left["summary"], left
    for name in ("g0", "cell", "host1", "guest:g0", "env:cell", "host2"):
        [m] = [r for r in h2.json("history", name)["records"] if r["kind"] == "arrived"]
        assert m["words"]["from"] == "host1" and m["words"]["to"] == "host2", m
    assert not h2.json("history", "env:g0")["records"] and not h2.json("history", "host3")["records"]
    out = h1.violin("history", "g0").stdout
    assert "host1 → host2" in out and "1 moved away" in out, out
    print("\n" + out)


@test
def one_record_of_a_failure():
    """a move that comes to nothing is one record, with why; no line is longer than a terminal's"""
    lab.guest(h3, "large", bridge=bridge, memory=1500, maxmem=1500)
    wait_for("host3 has it", lambda: "large" in [g["name"] for g in h3.json("guests")], 60)
    assert h3.violin("migrate", "large", "host1", check=False, timeout=60).returncode == 1
    wait_for("it is over", lambda: h3.json("history", "large")["records"], 60)
    [r] = h3.json("history", "large")["records"]
    assert r["kind"] == "failed" and "stays here" in r["text"] and h3.json("history", "large")["summary"]["failed"] == 1, r
    for words in (["history"], ["members"], ["guests"], ["env", "show", "cell"], ["env", "rule", "cell"], ["status"], ["explain", "host3"]):
        lines = h3.violin(*words).stdout.splitlines()
        assert max(map(len, lines)) <= 120, max(lines, key=len)
    h3.sim("destroy large")
    wait_for("it is gone", lambda: "large" not in [g["name"] for g in h3.json("guests")], 60)


@test
def history_is_asked_well():
    """kinds that there are none of, and names of two things, are errors"""
    r = h1.violin("history", "--kind", "colours", check=False)
    assert r.returncode == 1 and "colours" in r.stderr, r
    h3.violin("env", "create", "g2")
    wait_for("host1 knows it", lambda: "g2" in [e["name"] for e in h1.json("env", "list")], 60)
    r = h1.violin("history", "g2", check=False)
    assert r.returncode == 1 and "guest:g2" in r.stderr and "env:g2" in r.stderr, r
    h3.violin("env", "remove", "g2")


@test
def plan_comes_true():
    """plan --without host1, then drain host1: the same guests leave, to the same hosts"""
    there(h1, "g1", "g2")
    for h in lab.hosts:
        wait_for(f"{h.name} knows what all have", lambda h=h: knows_the_room(h), 60)
    plan = h3.json("plan", "--without", "host1")
    assert {m["guest"] for m in plan["moves"]} == {g["name"] for g in h1.json("guests")} and not plan["stuck"], plan
    assert [m["memory_mib"] for m in plan["moves"]] == sorted((m["memory_mib"] for m in plan["moves"]), reverse=True), plan
    assert all(h["known"] for h in plan["hosts"]) and len(plan["hosts"]) == 3, plan
    before = {g["name"] for g in h1.json("guests")}
    assert before == {"g1", "g2"}, "a plan changes nothing"
    print("\n" + h3.violin("plan", "--without", "host1").stdout)
    try:
        h1.violin("drain", "--wait", timeout=120)
        for m in plan["moves"]:
            assert [h.name for h in lab.where(m["guest"])] == [m["to"]], (m, plan)
    finally:
        h1.violin("undrain")


@test
def plan_of_growth():
    """a guest too large for its host moves, one too large for all finds no place, and why is said; wrong questions are errors"""
    at = lab.where("g2")[0]
    there(at, "g2")
    plan = h1.json("plan", "--guest", "g2", "--memory", "100G")
    assert [s["guest"] for s in plan["stuck"]] == ["g2"] and any("maxmem" in n for n in plan["notes"]), plan
    def free():  # once its summary counts g2, which has just come
        left = next(m["memory_free_mib"] for m in h1.json("members") if m["name"] == at.name)
        return left if left <= 1664 - sum(g["memory_mib"] for g in at.json("guests")) else None
    free = wait_for("its summary counts its guests", free, 60)
    lab.guest(at, "filler", bridge=bridge, memory=int(free) - 100, maxmem=int(free) - 100)
    there(at, "filler")
    plan = wait_for("its host is full", lambda: [p for p in [h3.json("plan", "--guest", f"{at.name}/g2", "--memory", "x1.2")] if p["moves"]], 60)[0]
    assert len(plan["moves"]) == 1 and plan["moves"][0]["guest"] in ("g2", "g0", "filler") and not plan["stuck"], plan
    for args in (["--guest", "nosuch", "--memory", "x2"], ["--guest", "g2", "--memory", "lots"], ["--without", "mars"],
                 ["--env", "cell", "--to", ""], ["--guest", "g2"], ["--env", "nosuch", "--to", "mars"]):
        r = h1.violin("plan", *args, check=False)
        assert r.returncode == 1 and r.stderr.startswith("violin:"), (args, r)
    assert "not federated" in h1.violin("plan", "--env", "cell", "--to", "mars").stdout
    at.sim("destroy filler")


@test
def plan_without_an_answer():
    """a host that does not answer is named, and takes nobody"""
    h3.link(False)
    try:
        plan = h1.json("plan", "--without", lab.where("g2")[0].name if lab.where("g2")[0] is not h3 else "host2")
        assert "host3" in plan["silent"] or len(plan["hosts"]) == 2, plan
        assert not any(m["to"] == "host3" for m in plan["moves"]), plan
    finally:
        h3.link(True)
    lab.wait_members(3, seconds=150)


@test
def explains_why_not_there():
    """explain GUEST --on HOST names every true reason, of both sides, and the place among those that fit"""
    at = lab.where("g1")[0]
    there(at, "g1")
    other = next(h for h in lab.hosts if h is not at)
    r = wait_for("it has answered", lambda: [r for r in [at.json("explain", "g1", "--on", other.name)] if "there" in r], 30)[0]
    assert r["there"] == [] and r["rank"] >= 1 and r["of"] >= 1 and 0 < r["utilisation_there"] < 1, r
    lab.guest(other, "big", bridge=bridge, memory=1300, maxmem=1300)
    lab.guest(other, "same", bridge=bridge, memory=64, maxmem=64,
              mac=at.json("env", "show", "cell")["macs"][0]["mac"])
    there(other, "big")
    other.violin("drain", "--within-domain")
    r = wait_for("it says so", lambda: [r for r in [at.json("explain", "g1", "--on", other.name)] if r["there"]], 30)[0]
    assert any("being drained" in w for w in r["there"]), r
    other.violin("undrain")
    r = wait_for("it is full", lambda: [r for r in [at.json("explain", "g1", "--on", other.name)] if any("MiB" in w for w in r["there"])], 60)[0]
    print("\n" + at.violin("explain", "g1", "--on", other.name).stdout)
    for name in ("big", "same"):
        wait_for("it is there to be destroyed", lambda: other.sim(f"destroy {name}") is not None, 30)
    wait_for("they are listed no more", lambda: not {"big", "same"} & {g["name"] for g in other.json("guests")}, 30)
    wrong = at.violin("explain", "g1", "--on", at.name, check=False)
    assert wrong.returncode == 1 and "already" in wrong.stderr, wrong
    wrong = other.violin("explain", "g1", check=False)
    assert wrong.returncode == 1 and f"is on {at.name}" in wrong.stderr, wrong


@test
def explains_hosts_and_environments():
    """a host: what it carries and why nothing is done; an environment: where its guests are, where it could go"""
    at = lab.where("g1")[0]
    for h in lab.hosts:
        e = wait_for("it has answered", lambda h=h: h.json("explain", "--host", at.name), 30)
        assert e["mode"] == "observe" and "g1" in {g["name"] for g in e["guests"]} and e["takes"]["memory_mib"] > 0, e
        assert any("nothing is short" in w for w in e["why"]), e
    e = wait_for("all have answered", lambda: [e for e in [h3.json("explain", "cell")] if not e["silent"]], 30)[0]
    assert {g["name"]: g["host"] for g in e["guests"]}["g1"] == at.name and e["domains"] == [] and e["silent"] == [], e
    print("\n" + h1.violin("explain", at.name).stdout + "\n" + h1.violin("explain", "env:cell").stdout)
    r = h1.violin("explain", "nobody", check=False)
    assert r.returncode == 1 and "no guest, environment or host" in r.stderr, r


@test
def observes_with_commands():
    """in mode observe what would be done is a list of commands; carried out, they are gone from it"""
    at = lab.where("g0")[0]
    there(at, "g0")
    at.sim("load g0 used=230 cpu=10")
    todo = wait_for("the balloon is suggested", lambda: [s for s in at.json("todo")["suggestions"] if s["command"].startswith("xl mem-set g0 ")], 90)
    assert at.status()["suggestions"] >= 1 and "violin todo" in at.violin("status").stdout
    assert any(e.get("words", {}).get("command") == todo[0]["command"] for e in at.json("events")), at.json("events")
    assert any(d.get("command") == todo[0]["command"] for d in at.json("explain", "g0")["decisions"])
    print("\n" + at.violin("todo").stdout)
    at.violin("mode", "auto")
    wait_for("it is done", lambda: not [s for s in at.json("todo")["suggestions"] if s["command"].startswith("xl mem-set g0 ")], 90)
    assert [r for r in at.json("history", "g0", "--kind", "balloon")["records"] if not r["text"].startswith("would do")]
    at.violin("mode", "observe")


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
