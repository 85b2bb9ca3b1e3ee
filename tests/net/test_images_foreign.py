#!/usr/bin/env python3
"""Images between two domains: a host of another domain gets those of guests whose environment it takes part in, and no others."""
import os, sys

from harness import main, test
from lab import Lab, wait_for

lab = Lab(hosts=3, settings={"mode": "observe"})
earth, venus = lab.hosts[:2], lab.hosts[2:]
e1, e2, v = lab.hosts
hashes = {}


def form(hosts, domain):
    hosts[0].violin("init", "--domain", domain, "--host", hosts[0].name)
    hosts[0].start()
    for h in hosts[1:]:
        h.violin("join", "--host", h.name, hosts[0].json("invite")["token"])
        h.start()
    lab.wait_members(len(hosts), hosts)


def federated(h, name):
    return any(x["domain"] == name and x["state"] == "federated" for x in h.json("domains")["domains"])


def add(h, name):
    path = os.path.join(lab.dir, name)
    with open(path, "wb") as f:
        f.write(os.urandom(3 << 20))
    hashes[name] = h.violin("image", "add", path).stdout.strip()


def listed(h):
    return {i["hash"] for i in h.json("image", "list") if i["state"] in ("added", "fetched")}


@test
def two_domains_share_an_environment():
    """an environment with guests in both domains, another in one; each guest has an image, one more is nobody's"""
    form(earth, "earth")
    form(venus, "venus")
    card = lambda h: h.json("federate", "--card")["card"]
    e1.violin("federate", card(v), "--guests", "8")
    v.violin("federate", card(e1), "--guests", "8")
    for h, other in ((e1, "venus"), (e2, "venus"), (v, "earth")):
        wait_for(f"{h.name} knows {other}", lambda h=h, other=other: federated(h, other), 180)
    bridges = {n: e1.json("env", "create", n)["bridge"] for n in ("shared", "own")}
    e1.violin("env", "allow", "shared", "venus")
    wait_for("it is known there", lambda: [e["name"] for e in v.json("env", "list")] == ["shared"], 90)
    wait_for("and here", lambda: len(e2.json("env", "list")) == 2, 60)
    for n in ("shared.img", "own.img", "nobodys.img"):
        add(e1, n)
    small = {"memory": 64, "maxmem": 64, "used": 32}
    lab.guest(e1, "s1", None, bridges["shared"], image=hashes["shared.img"], **small)
    lab.guest(e1, "o1", None, bridges["own"], image=hashes["own.img"], **small)
    lab.guest(v, "s2", None, bridges["shared"], **small)
    wait_for("both take part", lambda: all(len(h.json("env", "show", "shared")["hosts"]) == 2 for h in (e1, v)), 120)
    wait_for("they are in use", lambda: {i.get("used_by") for i in e1.json("image", "list")} == {"s1", "o1", None}, 60)


@test
def only_what_they_share():
    """the image of the shared environment's guest comes; the other's, and the one that nobody uses, don't"""
    v.violin("image", "fetch", hashes["shared.img"], timeout=120)
    assert listed(v) == {hashes["shared.img"]}
    for n in ("own.img", "nobodys.img"):
        r = v.violin("image", "fetch", hashes[n], check=False, timeout=120)
        assert r.returncode == 1 and "no host that could be asked has it" in r.stderr, (n, r.stderr)
    assert listed(v) == {hashes["shared.img"]}


@test
def members_have_all():
    """a host of the own domain gets any of them"""
    for n in hashes:
        e2.violin("image", "fetch", hashes[n], timeout=120)
    assert listed(e2) == set(hashes.values())


with lab:
    main()
