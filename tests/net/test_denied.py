#!/usr/bin/env python3
"""An environment is denied to another domain while one of its guests is on the way there, past the point of no return:
the move is brought to its end all the same."""
import os, signal, subprocess

from harness import main, test
from lab import Lab, wait_for

lab = Lab(hosts=2, memory=4096, conf=lambda n: {"settle-time": 0, "mode": "auto"})
earth, venus = lab.hosts


def knows(h, name):
    return any(x["domain"] == name and x["state"] == "federated" for x in h.json("domains")["domains"])


def parent(pid):
    return int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])


@test
def ready():
    """two domains of one host each, and an environment that may be in both"""
    for h, domain in ((earth, "earth"), (venus, "venus")):
        h.violin("init", "--domain", domain, "--host", h.name)
    earth.start()
    venus.start(env={"VIOLIN_FAULT": "handover.owned.journalled:kill"})
    card = {h: h.json("federate", "--card")["card"] for h in lab.hosts}
    earth.violin("federate", card[venus])
    venus.violin("federate", card[earth], "--guests", "8", "--memory", "8192", "--cpu", "800")
    wait_for("earth knows venus", lambda: knows(earth, "venus"), 180)
    wait_for("venus knows earth", lambda: knows(venus, "earth"), 180)
    earth.violin("env", "create", "pair")
    earth.violin("env", "allow", "pair", "venus")
    wait_for("venus knows pair", lambda: venus.json("env", "list"), 90)
    lab.guest(earth, "a", ip="10.6.0.2", bridge=earth.json("env", "show", "pair")["bridge"], memory=200, maxmem=400, used=100)
    wait_for("the guest is seen", lambda: earth.json("guests"), 60)


@test
def denied_on_the_way():
    """the destination dies when it owns the guest, and comes back when its domain isn't allowed any more"""
    peer = venus.pid_of("peer-child")
    supervisor = parent(peer)
    os.kill(supervisor, signal.SIGSTOP)  # so that it isn't started again at once
    try:
        lab.spawn(earth.ns, lab.program, "-c", earth.conf, "env", "move", "pair", "venus",
                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("the destination is dead", lambda: open(f"/proc/{peer}/stat").read().rsplit(")", 1)[1].split()[0] == "Z", 120)
        earth.violin("env", "deny", "pair", "venus")
        wait_for("earth has denied it", lambda: "venus" not in str(earth.json("env", "show", "pair").get("allowed", "")), 30)
        assert earth.status()["handovers"]["active"] == 1
    finally:
        os.kill(supervisor, signal.SIGCONT)
    wait_for("the guest runs there", lambda: [h.name for h in lab.where("a")] == [venus.name], 120)
    wait_for("the move is over at both ends", lambda: all(
        h.status()["handovers"] == {"active": 0, "undecided": 0} for h in lab.hosts), 120)
    assert "name=a " not in earth.sim("list") + " ", earth.sim("list")


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
