#!/usr/bin/env python3
"""placement = pack on real peers: guests gather on few hosts, the empty ones say that they can be switched off; load brings one back
into use, and nobody goes to and fro."""
from harness import main, test
from lab import Lab, wait_for

lab = Lab(hosts=3, settings={"placement": "pack", "settle-time": 0, "cooldown": 1, "no-return": 1, "evaluation-period": 1,
                             "forecast-after": 5, "moves-per-hour": 64})
lab.form()
h1, h2, h3 = lab.hosts
bridge = h1.json("env", "create", "cell")["bridge"]
for h in lab.hosts:
    wait_for(f"{h.name} knows the environment", lambda h=h: h.json("env", "list"), 60)
GUESTS = {f"g{h.n}": h for h in lab.hosts}
for name, h in GUESTS.items():
    lab.guest(h, name, bridge=bridge, memory=256, maxmem=256, cpu=10)
    wait_for(f"{h.name} has it", lambda h=h: h.json("guests"), 60)


def where():
    """name → host; None while one is on its way."""
    at = {name: lab.where(name) for name in GUESTS}
    return {n: v[0].name for n, v in at.items()} if all(len(v) == 1 for v in at.values()) else None


def in_use():
    at = where()
    return at and sorted(set(at.values()))


def moved():
    return sum(h.json("history")["summary"]["moved"] for h in lab.hosts)


def empty_ones():
    return sorted(h.name for h in lab.hosts if h.status().get("empty"))


@test
def observed():
    """who only observes says what he would do, and moves nobody; each member shows how the others place guests"""
    for h in lab.hosts:
        assert h.status()["placement"] == "pack" and h.status()["mode"] == "observe"
        wait_for("all are known to pack", lambda h=h: [m.get("placement") for m in h.json("members")] == ["pack"] * 3, 60)
    assert "pack" in h1.violin("members").stdout
    assert len(in_use()) == 3 and moved() == 0 and empty_ones() == []


@test
def gathered():
    """all guests come to run on one host; the others are empty and say that they can be switched off"""
    for h in lab.hosts:
        h.violin("mode", "auto")
    wait_for("one host carries them all", lambda: len(in_use() or [1, 2]) == 1, 300)
    wait_for("the others can be switched off", lambda: empty_ones() == sorted({h.name for h in lab.hosts} - set(in_use() or [])), 60)
    assert "can be switched off" in next(h for h in lab.hosts if h.name == empty_ones()[0]).violin("status").stdout
    text = [r["text"] for h in lab.hosts for r in h.json("history", "--kind", "moving")["records"]]
    assert any("can be switched off" in t for t in text), text
    before = moved()
    assert before <= 4, before  # two hosts' guests, one of which may have gone to the other that left later
    looked = next(h for h in lab.hosts if h.name == in_use()[0])
    seen = len(looked.json("trace"))
    wait_for("it has been evaluated again and again", lambda: looked.json("members")[0]["summary_age_s"] >= 0 and
             len(looked.json("trace")) >= seen and in_use() is not None, 30)
    assert moved() == before


@test
def spread_by_load():
    """a host that is short sends a guest to an empty one: it is in use again, and what is short is no longer"""
    at = next(h for h in lab.hosts if h.name == in_use()[0])
    before = moved()
    for name in GUESTS:
        at.sim(f"load {name} cpu=90")
    wait_for("two or three hosts carry them", lambda: len(in_use() or []) > 1, 300)
    wait_for("the move is in the history", lambda: moved() > before, 60)
    wait_for("nothing is short", lambda: not any(g["short_of"] != "-" for h in lab.hosts for g in h.json("explain", f"host:{h.name}")["guests"]), 120)
    wait_for("one host less is empty", lambda: len(empty_ones()) < 2, 60)


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
