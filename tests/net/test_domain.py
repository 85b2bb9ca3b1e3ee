#!/usr/bin/env python3
"""Real peers form a domain, lose members and find them again; an environment's Ethernet spans them."""
import json, os, signal, subprocess, sys, time

from harness import main, test
from lab import Lab, run, wait_for

lab = Lab(hosts=4)
lab.form()
h1, h2, h3, h4 = lab.hosts


def state_of(h, name):
    return [m["state"] for m in h.json("members") if m["name"] == name]


@test
def all_know_all():
    """four peers, each admitted by two commands, know each other's load"""
    for h in lab.hosts:
        wait_for(f"{h.name} has everybody's summary",
                 lambda h=h: all("memory_free_mib" in m for m in h.json("members")), 30)


@test
def killed_is_found_out():
    """a host that dies is declared dead by all, and comes back"""
    h4.link(False)
    for h in (h1, h2, h3):
        wait_for(f"{h.name} finds host4 dead", lambda h=h: state_of(h, "host4") == ["dead"], 60)
    h4.link(True)
    lab.wait_members(4, seconds=150)  # it stood aside for as long as its own probes failed


@test
def leaves():
    """a peer that ends in order has left, at once"""
    h4.stop()
    for h in (h1, h2, h3):
        wait_for(f"{h.name} knows that host4 left", lambda h=h: state_of(h, "host4") in (["left"], ["dead"]), 20)
    h4.start()
    lab.wait_members(4)


@test
def address_changes():
    """a host that gets another address while its peer runs is the same member, elsewhere"""
    def address(h):
        return [m["address"] for m in h.json("members") if m["name"] == "host3"]
    before = [m["id"] for m in h1.json("members") if m["name"] == "host3"]
    run("ip", "-n", h3.ns, "addr", "add", "10.77.0.33/24", "dev", "eth0")
    run("ip", "-n", h3.ns, "addr", "del", f"{h3.ip}/24", "dev", "eth0")
    if not run("ip", "-n", h3.ns, "addr", "show", "dev", "eth0").stdout.count("10.77.0.33"):
        run("ip", "-n", h3.ns, "addr", "add", "10.77.0.33/24", "dev", "eth0")
    for h in (h1, h2, h4):
        wait_for(f"{h.name} knows the new address", lambda h=h: address(h) == ["10.77.0.33:7411"], 60)
    assert [m["id"] for m in h1.json("members") if m["name"] == "host3"] == before
    run("ip", "-n", h3.ns, "addr", "add", f"{h3.ip}/24", "dev", "eth0")
    run("ip", "-n", h3.ns, "addr", "del", "10.77.0.33/24", "dev", "eth0")
    if not run("ip", "-n", h3.ns, "addr", "show", "dev", "eth0").stdout.count(h3.ip + "/"):
        run("ip", "-n", h3.ns, "addr", "add", f"{h3.ip}/24", "dev", "eth0")
    for h in (h1, h2, h4):
        wait_for(f"{h.name} knows the old address again", lambda h=h: address(h) == [f"{h3.ip}:7411"], 60)
    lab.wait_members(4)


@test
def peer_is_started_again():
    """a killed peer process is started again, and is a member again"""
    old = h2.pid_of("peer-child")
    os.kill(old, signal.SIGKILL)
    wait_for("another process", lambda: h2.pid_of("peer-child") not in (None, old), 30)
    wait_for("it answers", lambda: h2.status(), 30)
    lab.wait_members(4)


@test
def unprivileged():
    """what faces the network runs without root and without capabilities"""
    p = h1.pid_of("peer-child")
    status = dict(l.split(":", 1) for l in open(f"/proc/{p}/status").read().splitlines() if ":" in l)
    assert "0" not in status["Uid"].split(), status["Uid"]
    assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"


@test
def ethernet():
    """guests on three hosts reach each other; another environment's guest with the same address does not answer"""
    e = h1.json("env", "create", "physics", "--shares", "200")
    f = h1.json("env", "create", "biology")
    for h in lab.hosts:
        wait_for(f"{h.name} knows both", lambda h=h: len(h.json("env", "list")) == 2, 30)
    lab.guest(h1, "p1", "10.5.0.1", e["bridge"])
    lab.guest(h2, "p2", "10.5.0.2", e["bridge"])
    lab.guest(h3, "p3", "10.5.0.3", e["bridge"])
    lab.guest(h3, "b3", "10.5.0.3", f["bridge"])
    lab.guest(h2, "b9", "10.5.0.9", f["bridge"])
    for a, ip in (("p1", 2), ("p1", 3), ("p2", 3), ("p3", 1), ("b9", 3)):
        wait_for(f"{a} reaches 10.5.0.{ip}", lambda a=a, ip=ip: run(
            "ip", "netns", "exec", f"{lab.prefix}g-{a}", "ping", "-c", "1", "-W", "1", f"10.5.0.{ip}", check=False).returncode == 0, 40)
    r = run("ip", "netns", "exec", f"{lab.prefix}g-p1", "ping", "-c", "2", "-W", "1", "10.5.0.9", check=False)
    assert r.returncode != 0, "environments mixed"
    show = h1.json("env", "show", "physics")
    assert show["vif"] == f"vif = ['bridge={show['bridge']}']", show


@test
def big_frames():
    """frames of 1500 bytes pass"""
    r = run("ip", "netns", "exec", f"{lab.prefix}g-p1", "ping", "-c", "3", "-M", "do", "-s", "1472", "10.5.0.2", check=False)
    assert " 0% packet loss" in r.stdout, r.stdout


@test
def moves_and_keeps_its_connection():
    """an operator moves a guest; its TCP connection holds"""
    here = os.path.dirname(os.path.abspath(__file__))
    out = os.path.join(lab.dir, "traffic.json")
    lab.in_guest("p1", sys.executable, os.path.join(here, "traffic.py"), "serve", "10.5.0.1", "7000")
    lab.in_guest("p2", sys.executable, os.path.join(here, "traffic.py"), "talk", "10.5.0.1", "7000", out)
    said = lambda: json.load(open(out))
    wait_for("traffic", lambda: said()["answered"] > 10, 30)
    r = h2.violin("migrate", "p2", "host4", timeout=120)
    wait_for("p2 runs on host4 alone", lambda: lab.where("p2") == [h4], 30)
    before = said()["answered"]
    wait_for("the connection goes on", lambda: said()["answered"] > before + 20, 60)
    assert not said()["broken"]
    print(f"      longest silence {said()['longest_gap_ms']} ms")
    wait_for("p2 is listed there", lambda: [g["name"] for g in h4.json("guests")] == ["p2"], 30)
    r = h4.violin("migrate", "p2", "host2", timeout=120)  # and back
    wait_for("p2 runs on host2 alone", lambda: lab.where("p2") == [h2], 30)
    before = said()["answered"]
    wait_for("the connection goes on", lambda: said()["answered"] > before + 20, 60)
    assert not said()["broken"]


@test
def refusals():
    """moves that can't be are refused with a reason"""
    for args in (["nosuch"], ["p1", "nosuch"], ["p1", "host1"]):
        r = h1.violin("migrate", *args, check=False)
        assert r.returncode == 1 and r.stderr.startswith("violin:"), (args, r)


@test
def same_mac_twice():
    """a second guest with a MAC that another host's guest has is paused and reported, the first is not touched"""
    e = h1.json("env", "show", "physics")
    first = lab.guest(h1, "first", bridge=e["bridge"])
    wait_for("host2 knows its MAC", lambda: [m for m in h2.json("env", "show", "physics")["macs"] if m["mac"] == first["mac"]], 30)
    lab.guest(h2, "second", bridge=e["bridge"], mac=first["mac"])
    wait_for("it is paused", lambda: [g["state"] for g in h2.json("guests") if g["name"] == "second"] == ["paused"], 90)
    assert any("second" in w and first["mac"] in w for w in h2.status()["warnings"]), h2.status()["warnings"]
    assert [g["state"] for g in h1.json("guests") if g["name"] == "first"] == ["running"]
    h2.sim("destroy second")
    wait_for("the warning goes", lambda: not any("second" in w for w in h2.status()["warnings"]), 30)


@test
def explains():
    """explain tells numbers and decisions"""
    e = wait_for("p1 is known to the policy", lambda: h1.json("explain", "p1"), 30)
    assert "numbers" in e and e["guest"] == "p1", e


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
