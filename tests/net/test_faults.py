#!/usr/bin/env python3
"""Real peers killed at named fault points of a handover: exactly one copy runs, and both sides agree."""
import os, time

from harness import main, test
from lab import Lab, wait_for

lab = Lab(hosts=2)
lab.form()
h1, h2 = lab.hosts
env = h1.json("env", "create", "e")
wait_for("host2 knows the environment", lambda: h2.json("env", "list"), 30)
lab.guest(h1, "g", bridge=env["bridge"])
wait_for("the peer sees the guest", lambda: h1.json("guests"), 30)


def settled():
    """No handover is under way on either side."""
    return not any(h.status()["handovers"]["active"] for h in lab.hosts)


def restart(host, fault=None):
    host.stop()
    mark = os.path.join(host.dir, "state", "fault-done")
    if os.path.exists(mark):
        os.unlink(mark)
    host.start(env={"VIOLIN_FAULT": f"{fault}:kill"} if fault else None)


def kill_at(point, side, goes):
    """One move with a kill; then the guest runs on exactly one host, the expected one."""
    source = lab.where("g")[0]
    target = h2 if source is h1 else h1
    victim = source if side == "source" else target
    restart(victim, point)
    lab.wait_members(2)
    wait_for("the guest is seen", lambda: source.json("guests"), 30)
    wait_for("load is known", lambda: all("memory_free_mib" in m for m in source.json("members")), 30)
    source.violin("migrate", "g", target.name, check=False, timeout=120)
    wait_for("the fault struck", lambda: os.path.exists(os.path.join(victim.dir, "state", "fault-done")), 60)
    wait_for("both are up and agree", lambda: settled() and len(lab.where("g")) == 1, 150)
    where = lab.where("g")
    assert where == [target if goes else source], (point, [h.name for h in where])
    copies = sum("name=g" in h.sim("list") for h in lab.hosts)
    assert copies == 1, f"{copies} copies are left"
    restart(victim)
    lab.wait_members(2)


def make(point, side, goes):
    def f():
        kill_at(point, side, goes)
    f.__name__ = f"{side}_killed_at_{point.split('.', 1)[1].replace('.', '_').replace('-', '_')}"
    f.__doc__ = "the guest goes" if goes else "the guest stays"
    test(f)


for p, s, g in (("handover.streaming.journalled", "source", False), ("handover.suspended.journalled", "source", False),
                ("handover.go.journalled", "source", True), ("handover.go.sent", "source", True),
                ("handover.receiving.journalled", "destination", False),
                ("handover.restored.journalled", "destination", True),
                ("handover.owned.journalled", "destination", True),
                ("handover.running.journalled", "destination", True)):
    make(p, s, g)


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
