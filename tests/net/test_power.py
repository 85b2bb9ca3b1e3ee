#!/usr/bin/env python3
"""A whole domain is switched off and on, in several ways: it comes back from what its hosts remember of each other."""
import os, signal

from harness import main, test
from lab import Lab, empty, run, wait_for

lab = Lab(hosts=4)
lab.form()
h1, h2, h3, h4 = lab.hosts  # h1 invited the others: it is their only seed


def members(h):
    return {m["name"]: m for m in h.json("members")}


def incarnations():
    return {n: m["incarnation"] for n, m in members(h2).items()}


def power_cut():
    """All processes of all hosts at once, without a word."""
    pids = [p for h in lab.hosts for p in h.pids()]
    for sig in (signal.SIGSTOP, signal.SIGKILL):
        for p in pids:
            os.kill(p, sig)
    for h in lab.hosts:
        h.stop()


def grown(before):
    now = incarnations()
    return all(now[n] >= before[n] for n in before if n in now and now[n]) and now


@test
def without_the_seed():
    """the only seed stays off: the others find each other by what they remember, and it is found when it is back"""
    before, ids = incarnations(), {n: m["id"] for n, m in members(h2).items()}
    power_cut()
    for h in (h4, h3, h2):
        h.start()
    wait_for("three of them know each other", lambda: all(
        sorted(n for n, m in members(h).items() if m["state"] == "alive") == ["host2", "host3", "host4"]
        for h in (h2, h3, h4)), 120)
    assert grown(before), (before, incarnations())
    h1.start()
    lab.wait_members(4, seconds=120)
    assert {n: m["id"] for n, m in members(h2).items()} == ids
    assert grown(before), (before, incarnations())


@test
def elsewhere_afterwards():
    """a host has another address after the cut, which no other knows, and is the same member"""
    before, ids = incarnations(), {n: m["id"] for n, m in members(h2).items()}
    power_cut()
    run("ip", "-n", h4.ns, "addr", "add", "10.77.0.44/24", "dev", "eth0")
    run("ip", "-n", h4.ns, "addr", "del", f"{h4.ip}/24", "dev", "eth0")
    if "10.77.0.44" not in run("ip", "-n", h4.ns, "addr", "show", "dev", "eth0").stdout:
        run("ip", "-n", h4.ns, "addr", "add", "10.77.0.44/24", "dev", "eth0")
    for h in (h4, h3, h2):
        h.start()
    for h in (h2, h3, h4):
        wait_for(f"{h.name} knows where host4 is", lambda h=h: members(h)["host4"]["address"].startswith("10.77.0.44:") and
                 members(h)["host4"]["state"] == "alive", 120)
    h1.start()
    lab.wait_members(4, seconds=120)
    assert {n: m["id"] for n, m in members(h1).items()} == ids
    assert grown(before), (before, incarnations())


@test
def invitation_counts_on():
    """how often an invitation was used survives the cut"""
    token = h1.json("invite", "--uses", "1")["token"]
    h4.stop()
    state = os.path.join(h4.dir, "state")
    empty(state)
    h4.violin("join", "--host", "newcomer", token)
    power_cut()
    empty(state)
    for h in (h1, h2, h3):
        h.start()
    r = h4.violin("join", "--host", "another", token, check=False)
    assert r.returncode == 1 and "used" in r.stderr, r


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
