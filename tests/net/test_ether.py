#!/usr/bin/env python3
"""The environments' Ethernet with the real program, watched at every TAP: what is seen where, and what is not."""
import os, socket, time

import watch
from harness import main, test
from lab import Lab, run, wait_for
from watch import EVERYBODY, raw, udp

lab = Lab(hosts=3)
lab.form()
h1, h2, h3 = lab.hosts

macs = {}


def guest(h, name, ip, e, **numbers):
    macs[name] = lab.guest(h, name, ip, e["bridge"], **numbers)["mac"]


def in_guest(name, *cmd, **kw):
    return run("ip", "netns", "exec", f"{lab.prefix}g-{name}", *cmd, **kw)


def send(name, frame, times=1):
    watch.send(f"{lab.prefix}g-{name}", frame, times)


def Watch(e, *hosts):
    return watch.Watch(lab, e, *hosts)


def reaches(a, ip, *options):
    return in_guest(a, "ping", "-n", "-c", "1", "-W", "1", *options, ip, check=False).returncode == 0


def show(h, name):
    return h.json("env", "show", name)


def counter(h, name, what):
    return show(h, name)["counters"].get(what, 0)


def address_known(h, env, mac, ip, host):
    return [m for m in show(h, env)["macs"] if m["mac"] == mac and ip in m["addresses"] and m["host"] == host]


@test
def environments_never_mix():
    """two with the same MACs and IPs: each TAP sees its own environment's frames, a host without a guest of it none"""
    global physics, biology
    physics, biology = h1.json("env", "create", "physics"), h1.json("env", "create", "biology")
    for h in lab.hosts:
        wait_for(f"{h.name} knows both", lambda h=h: len(h.json("env", "list")) == 2, 30)
    guest(h1, "p1", "10.5.0.1", physics)
    guest(h2, "p2", "10.5.0.2", physics)
    guest(h1, "b1", "10.5.0.1", biology)
    guest(h3, "b3", "10.5.0.2", biology, mac=macs["p2"])
    for a in ("p1", "b1"):
        wait_for(f"{a} reaches 10.5.0.2", lambda a=a: reaches(a, "10.5.0.2"), 40)
    with Watch(physics, *lab.hosts) as p, Watch(biology, *lab.hosts) as b:
        for a, text in (("p1", b"of-physics"), ("b1", b"of-biology")):
            for to in (macs["p2"], EVERYBODY, "02:00:00:00:00:99"):
                send(a, udp(macs[a], to, "10.5.0.1", "10.5.0.2", text), 3)
        wait_for("physics' frames", lambda: p.count(h2, b"of-physics") == 9, 30)
        wait_for("biology's frames", lambda: b.count(h3, b"of-biology") == 9, 30)
        for h in lab.hosts:
            assert p.count(h, b"of-biology") == 0 and b.count(h, b"of-physics") == 0, f"{h.name}: environments mixed"
        assert p.frames(h3) == [] and b.frames(h2) == [], "a host without a guest of it got frames"
    h3.sim("destroy b3")  # where it is, p2 couldn't go: a host has each MAC once


@test
def whole_frames_on_a_small_path():
    """frames of 1500 bytes pass where the hosts' network carries 1280, and again where it carries more"""
    def mtu(n):
        run("ip", "-n", h2.ns, "link", "set", "eth0", "mtu", n)
        run("ip", "-n", lab.under, "link", "set", "p2", "mtu", n)
    whole = lambda: reaches("p1", "10.5.0.2", "-M", "do", "-s", "1472")
    wait_for("1500 bytes", whole, 20)
    mtu(1280)
    wait_for("1500 bytes on 1280", whole, 30)
    r = in_guest("p1", "ping", "-n", "-c", "20", "-i", "0.05", "-M", "do", "-s", "1472", "10.5.0.2", check=False)
    assert " 0% packet loss" in r.stdout, r.stdout
    path = lambda: [q for q in show(h1, "physics")["paths"] if q["host"] == "host2"][0]["datagram"]
    wait_for("the path is known to be small", lambda: path() <= 1252, 30)
    mtu(1500)
    wait_for("1500 bytes again", whole, 20)


@test
def questions_go_to_who_can_answer():
    """an ARP request for an address that a guest has goes to its host alone; one that nobody has, to all"""
    guest(h3, "p3", "10.5.0.3", physics)
    wait_for("p3", lambda: reaches("p1", "10.5.0.3") and reaches("p2", "10.5.0.3"), 40)
    wait_for("p2's address", lambda: address_known(h1, "physics", macs["p2"], "10.5.0.2", "host2"), 30)
    ask = lambda ip: b"\x08\x06\0\x01\x08\0\x06\x04\0\x01" + raw(macs["p1"]) + socket.inet_aton("10.5.0.1") + b"\0" * 6 + socket.inet_aton(ip)
    frame = lambda ip: raw(EVERYBODY) + raw(macs["p1"]) + ask(ip)
    asked = counter(h1, "physics", "tx_asked")
    with Watch(physics, h2, h3) as w:
        send("p1", frame("10.5.0.2"), 5)
        send("p1", frame("10.5.0.77"), 5)
        for h in (h2, h3):
            wait_for("the question for an address nobody has", lambda h=h: w.count(h, ask("10.5.0.77")) >= 5, 20)
        wait_for("the question at p2's host", lambda: w.count(h2, ask("10.5.0.2")) >= 5, 20)
        assert w.count(h2, ask("10.5.0.2")) < 10  # p1's own kernel may ask once or twice, nothing comes twice
        assert w.count(h3, ask("10.5.0.2")) == 0, "p3's host was asked for p2's address"
    assert counter(h1, "physics", "tx_asked") >= asked + 5
    in_guest("p1", "ip", "neigh", "flush", "all")
    wait_for("asked so, p2 answers", lambda: reaches("p1", "10.5.0.2"), 20)


@test
def a_moved_guest_is_in_one_place():
    """after a move, and a restart of the peer it left, all know it, with its address, in its new place and there only"""
    h2.violin("migrate", "p2", "host3", timeout=120)
    wait_for("p2 runs on host3 alone", lambda: lab.where("p2") == [h3], 30)
    old = h2.pid_of("peer-child")
    os.kill(old, 9)
    wait_for("another process", lambda: h2.pid_of("peer-child") not in (None, old) and h2.status(), 30)
    lab.wait_members(3)
    for h in lab.hosts:
        if h != h2:  # it takes no part any more, and needn't know
            wait_for(f"{h.name} knows p2 there", lambda h=h: address_known(h, "physics", macs["p2"], "10.5.0.2", "host3"), 30)
        assert [m["host"] for m in show(h, "physics")["macs"] if m["mac"] == macs["p2"]] in (["host3"], [] if h == h2 else None)
        every = [m["mac"] for m in show(h, "physics")["macs"]]
        assert len(every) == len(set(every)), every
    wait_for("p2", lambda: reaches("p1", "10.5.0.2"), 20)
    wait_for("nobody warns of anything", lambda: not [w for h in lab.hosts for w in h.status()["warnings"]], 60)
    wait_for("host2 takes it back", lambda: h3.violin("migrate", "p2", "host2", timeout=120), 60)
    wait_for("p2 runs on host2 alone", lambda: lab.where("p2") == [h2], 30)
    wait_for("p2", lambda: reaches("p1", "10.5.0.2"), 20)


@test
def one_guest_cannot_flood():
    """broadcasts, and frames to MACs that don't exist, are bounded for each guest; another guest's still pass"""
    guest(h1, "q1", "10.5.0.11", physics, mac="00:16:3e:00:01:01")
    guest(h1, "q2", "10.5.0.12", physics, mac="00:16:3e:00:01:02")
    wait_for("both", lambda: reaches("q1", "10.5.0.2") and reaches("q2", "10.5.0.2"), 40)
    before = counter(h1, "physics", "dropped_guest_rate"), counter(h1, "physics", "dropped_unknown")
    with Watch(physics, h2) as w:
        began = time.monotonic()
        send("q1", udp(macs["q1"], EVERYBODY, "10.5.0.11", "10.5.0.255", b"flood"), 20000)
        word = udp(macs["q2"], EVERYBODY, "10.5.0.12", "10.5.0.255", b"word")
        # one by one: right behind the flood the TAP's own queue may be full
        wait_for("the other guest's", lambda: send("q2", word) or w.count(h2, b"word") >= 20, 60)
        most = 1000 + 500 * (time.monotonic() - began)
        assert 0 < w.count(h2, b"flood") <= most, (w.count(h2, b"flood"), most)
        began = time.monotonic()
        send("q2", udp(macs["q2"], "02:00:00:00:00:99", "10.5.0.12", "10.5.0.99", b"unknown"), 5000)
        wait_for("some of them", lambda: w.count(h2, b"unknown") > 0, 20)
        most = 400 + 200 * (time.monotonic() - began)
        assert w.count(h2, b"unknown") <= most, (w.count(h2, b"unknown"), most)
    assert counter(h1, "physics", "dropped_guest_rate") > before[0]
    assert counter(h1, "physics", "dropped_unknown") > before[1]


@test
def strict():
    """a guest of a strict environment speaks with its own MAC and address only; what else it says is counted"""
    e = h1.json("env", "create", "bank", "--strict")
    assert e["strict"] and not show(h1, "physics")["strict"]
    for h in lab.hosts:
        wait_for(f"{h.name} knows it", lambda h=h: len(h.json("env", "list")) == 3, 30)
    assert show(h2, "bank")["strict"]
    guest(h1, "s1", "10.7.0.1", e)
    guest(h2, "s2", "10.7.0.2", e)
    wait_for("s2", lambda: reaches("s1", "10.7.0.2"), 40)
    wait_for("s2's address", lambda: address_known(h1, "bank", macs["s2"], "10.7.0.2", "host2"), 30)
    time.sleep(3)  # the data path's table has it with the switch's next tick
    wrong = {"another's address": udp(macs["s1"], macs["s2"], "10.7.0.2", "10.7.0.1", b"lie-1"),
             "a MAC nobody has": udp("02:00:00:00:00:77", macs["s2"], "10.7.0.1", "10.7.0.2", b"lie-3"),
             "ARP for another MAC": raw(EVERYBODY) + raw(macs["s1"]) + b"\x08\x06\0\x01\x08\0\x06\x04\0\x02" + raw(macs["p1"])
                                    + socket.inet_aton("10.7.0.9") + b"\0" * 6 + socket.inet_aton("10.7.0.9") + b"lie-4",
             # the last one: host1's bridge then looks for s2 at s1's port, until it hears s2 again
             "another's MAC": udp(macs["s2"], EVERYBODY, "10.7.0.1", "10.7.0.2", b"lie-2")}
    before = counter(h1, "bank", "dropped_address"), counter(h1, "bank", "dropped_spoofed")
    with Watch(e, h2) as w:
        for f in wrong.values():
            send("s1", f, 5)
        wait_for("s2 is heard", lambda: reaches("s2", "10.7.0.1"), 20)  # and so host1's bridge knows better
        send("s1", udp(macs["s1"], macs["s2"], "10.7.0.1", "10.7.0.2", b"true"), 5)
        wait_for("what is true", lambda: w.count(h2, b"true") == 5, 20)
        assert w.count(h2, b"lie-") == 0
    assert counter(h1, "bank", "dropped_address") == before[0] + 10
    assert counter(h1, "bank", "dropped_spoofed") == before[1] + 10
    wait_for("both are heard", lambda: reaches("s1", "10.7.0.2") and reaches("s2", "10.7.0.1"), 20)


@test
def traffic_is_told():
    """env show tells who sent how much to whom, on both hosts"""
    def row(h, a, b):
        rows = [r for r in show(h, "physics")["traffic"] if r["from"] == macs[a] and r["to"] == macs[b]]
        return (rows[0]["frames"], rows[0]["bytes"]) if rows else (0, 0)
    pairs = [(h, a, b) for h in (h1, h2) for a, b in (("p1", "p2"), ("p2", "p1"))]
    before = [row(*x) for x in pairs]
    r = in_guest("p1", "ping", "-n", "-c", "50", "-i", "0.01", "-s", "1000", "10.5.0.2")
    assert " 0% packet loss" in r.stdout, r.stdout
    for x, (frames, size) in zip(pairs, before):
        now = row(*x)
        assert 50 <= now[0] - frames < 60 and 50 * 1042 <= now[1] - size < 60 * 1042, (x[0].name, x[1:], frames, size, now)
    assert row(h3, "p1", "p2")[0] <= row(h1, "p1", "p2")[0]
    text = h1.violin("env", "show", "physics").stdout
    assert "FROM" in text and macs["p1"] in text and "10.5.0.2" in text, text


with lab:
    main()
