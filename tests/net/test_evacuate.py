#!/usr/bin/env python3
"""A host is drained whose guests no other host of its domain has room for: their environment leaves for another domain, and the host
is empty; what may go nowhere stays, and why is said as the deadline comes near."""
import os

from harness import main, test
from lab import Lab, wait_for

lab = Lab(hosts=4, memory=2048, conf=lambda n: {"settle-time": 0, "mode": "auto", **({"pinned": '{ "full" }'} if n == 2 else {})})
earth, venus = lab.hosts[:2], lab.hosts[2:]
h1, h2 = earth


def form(hosts, domain):
    hosts[0].violin("init", "--domain", domain, "--host", hosts[0].name)
    hosts[0].start()
    for h in hosts[1:]:
        h.violin("join", "--host", h.name, hosts[0].json("invite")["token"])
        h.start()
    lab.wait_members(2, hosts)


def card(h):
    return h.json("federate", "--card")["card"]


def federated(hosts, name):
    return all(any(x["domain"] == name and x["state"] == "federated" for x in h.json("domains")["domains"]) for h in hosts)


form(earth, "earth")
form(venus, "venus")
h1.violin("federate", card(venus[0]), "--guests", "0")
venus[0].violin("federate", card(h1), "--guests", "8", "--memory", "8192", "--cpu", "800")
wait_for("they are federated", lambda: federated(earth, "venus") and federated(venus, "earth"), 180)
for name in ("goes", "stays"):
    h1.violin("env", "create", name)
h1.violin("env", "allow", "goes", "venus")
for h in lab.hosts:
    wait_for(f"{h.name} knows goes", lambda h=h: "goes" in [e["name"] for e in h.json("env", "list")], 120)
wait_for("host2 knows stays", lambda: "stays" in [e["name"] for e in h2.json("env", "list")], 60)
bridges = {e["name"]: e["bridge"] for e in h1.json("env", "list")}
lab.guest(h1, "a", bridge=bridges["goes"], memory=600, maxmem=600, used=300)
lab.guest(h1, "s", bridge=bridges["stays"], memory=500, maxmem=500, used=250)
lab.guest(h2, "b", bridge=bridges["goes"], memory=200, maxmem=200, used=100)
lab.guest(h2, "full", bridge=bridges["stays"], memory=1200, maxmem=1200, used=700)
wait_for("host1 sees its guests", lambda: len(h1.json("guests")) == 2 and len(h2.json("guests")) == 2, 60)
wait_for("host2 is full", lambda: [m for m in h1.json("members") if m["name"] == "host2" and m["memory_free_mib"] < 400], 60)


@test
def said_before():
    """plan and explain say what will be: no room in the domain, room for the environment in the other"""
    wait_for("earth has heard of venus", lambda: h1.json("explain", "goes")["domains"] == [{"domain": "venus", "fits": True}], 120)
    wait_for("a and s are stuck", lambda: {s["guest"] for s in h1.json("plan", "--without", "host1")["stuck"]} == {"a", "s"}, 30)
    plan = h2.json("plan", "--env", "goes", "--to", "venus")
    assert plan["elsewhere"]["fits"] and plan["elsewhere"]["guests"] == 2, plan
    print("\n" + h1.violin("plan", "--without", "host1", "--env", "goes", "--to", "venus").stdout)


@test
def within_the_domain():
    """with --within-domain nothing leaves the domain, and each guest's reason is told"""
    h1.violin("drain", "--within-domain")
    wait_for("both stay, and why", lambda: {g["name"] for g in h1.json("drain")["guests"] if "no other host has room" in g["why_here"]} == {"a", "s"}, 60)
    assert h1.json("drain")["within"]
    h1.violin("undrain")


@test
def to_another_domain():
    """the environment that may goes to the other domain as a whole; what may not stays, with its reason, near the deadline in a warning"""
    h2.violin("drain", "host1", check=False)  # may not: it neither admits nor revokes
    h1.violin("drain", "host1", "--deadline", "8m")
    names = {h.name for h in venus}
    wait_for("a and b are in venus", lambda: all([h.name in names for h in lab.where(g)] == [True] for g in ("a", "b")), 240, 1)
    left = wait_for("only s is left", lambda: [g for g in [h1.json("drain")["guests"]] if [x["name"] for x in g] == ["s"]], 60)[0]
    wait_for("why", lambda: "may be in no other domain" in h1.json("drain")["guests"][0]["why_here"], 60)
    assert not h1.status()["warnings"] or not any("still here" in w for w in h1.status()["warnings"])
    print("\n" + h1.violin("drain", "host1").stdout)
    h1.violin("drain", "--deadline", "5s")
    wait_for("the warning names it", lambda: any("still here: s (" in w for w in h1.status()["warnings"]), 60)
    history = h1.json("history", "--kind", "drain,moved")["records"]
    assert any("environment goes is to go to venus" in r["text"] for r in history), history
    assert any(r["kind"] == "moved" and r["subject"] == "a" for r in history), history
    h1.sim("destroy s")
    wait_for("it is drained", lambda: h1.status()["draining"] == "drained", 60)
    print(h1.violin("history", "--kind", "move,drain").stdout)


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
