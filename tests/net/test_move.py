#!/usr/bin/env python3
"""A guest that moves round three hosts with the real program, pinged all the time: found at once, also when it says
nothing, and in one place only. tests/bench/bench_move.py measures the same at length."""
import os, signal, sys, time

from harness import main, test
from lab import Lab, run, wait_for
from moving import Moving

lab = Lab(hosts=3, settings={"mode": "observe"})
lab.form()
h1, h2, h3 = lab.hosts
place = h1


def entries_of(h):
    return [m["host"] for m in h.json("env", "show", "moving")["macs"] if m["mac"] == mac and not m["learned"]]


def conflicts():
    return [c for h in lab.hosts for c in h.json("env", "show", "moving")["conflicts"]]


def takes_part(h):
    return h.name in h.json("env", "show", "moving")["hosts"]


def right_entry(h, where):
    e = entries_of(h)
    return e == [where.name] or (not e and not takes_part(h))


def one_entry():
    return not conflicts() and all(right_entry(h, place) for h in lab.hosts)


def move(to):
    global place
    source, place = place, to
    wait_for("no handover is under way", lambda: not any(h.status()["handovers"]["active"] for h in lab.hosts), 60)
    wait_for("it is listed", lambda: [g for g in source.json("guests") if g["name"] == "mover"], 60)
    source.violin("migrate", "mover", to.name, timeout=120)


def in_place():
    wait_for("it runs in one place", lambda: lab.where("mover") == [place], 30)
    wait_for("one entry on every host", one_entry, 30)


def rounds(announce, hosts):
    """Whatever this machine's load, a guest that nobody tells of would be lost for far longer than this."""
    moving.start(announce)
    for to in hosts:
        m = moving.move(lambda: move(to), 30)
        assert m["found"], m
        print(f"      to {to.name}: dark {m['dark_ms']:.1f} ms, pause {m['pause_ms']:.1f} ms")
        in_place()
    moving.stop()


@test
def found_at_once_though_just_begun():
    """the first move comes at once, before gossip has said who takes part"""
    global moving, mac
    bridge = h1.json("env", "create", "moving")["bridge"]
    for h in lab.hosts:
        wait_for(f"{h.name} knows it", lambda h=h: h.json("env", "list"), 30)
        wait_for(f"{h.name} knows itself", lambda h=h: all("memory_free_mib" in m for m in h.json("members")), 60)
    lab.guest(h1, "pinger", "10.83.1.1", bridge, movable="no", memory=64, used=32)
    mac = lab.guest(h1, "mover", "10.83.1.2", bridge, memory=64, maxmem=64, used=32)["mac"]
    moving = Moving(lab, f"{lab.prefix}g-pinger", f"{lab.prefix}g-mover", mac, "10.83.1.2")
    rounds(True, [h2])


@test
def found_with_announcement():
    """a guest that announces itself, round three hosts"""
    rounds(True, [h3, h1, h2])


@test
def found_in_silence():
    """a guest that says nothing until it is spoken to, round three hosts"""
    rounds(False, [h3, h1, h2])


@test
def silent_until_activation():
    """until GO the destination states nothing: every other host has the guest at its source alone"""
    h1.stop()
    h1.start({"VIOLIN_FAULT": "handover.restored.sent:stop"})
    lab.wait_members(3)
    wait_for("it knows itself", lambda: all("memory_free_mib" in m for m in h1.json("members")), 60)
    global place
    source = place
    p = lab.spawn(source.ns, lab.program, "-c", source.conf, "migrate", "mover", h1.name)
    wait_for("the destination has it, and stops", lambda: os.path.exists(os.path.join(h1.dir, "state", "fault-done")), 60)
    for h in (h2, h3):
        assert right_entry(h, source), (h.name, entries_of(h))
    assert lab.where("mover") == [], "a guest that is neither gone nor come runs"
    os.kill(h1.pid_of("peer-child"), signal.SIGCONT)
    p.wait(60)
    wait_for("it is decided", lambda: not any(h.status()["handovers"]["active"] for h in lab.hosts), 60)
    place = wait_for("it runs", lambda: lab.where("mover"), 60)[0]
    in_place()
    reaches = lambda: run("ip", "netns", "exec", f"{lab.prefix}g-pinger", "ping", "-n", "-c", "1", "-W", "1", "10.83.1.2").returncode == 0
    wait_for("it answers", reaches, 30)


@test
def who_takes_no_part_keeps_nothing():
    """a host that takes no part any more forgets: no stale entry of a guest that moves between others"""
    if place != h2:
        move(h2)
    in_place()
    wait_for("host3 takes no part", lambda: not any("host3" in h.json("env", "show", "moving")["hosts"] for h in lab.hosts), 60)
    for to in (h1, h2):
        move(to)
        in_place()
        assert entries_of(h3) == [], entries_of(h3)
    move(h3)
    in_place()
    wait_for("all of it is known there again", lambda: len(h3.json("env", "show", "moving")["guests"]) == 1 and len(
        [m for m in h3.json("env", "show", "moving")["macs"] if not m["learned"]]) == 2, 30)


with lab:
    main()
