#!/usr/bin/env python3
"""A guest whose disk moves with it, while it writes to it: real processes, simulated hypervisors, disks as files. Out and
back, cut midway, killed at each fault point, no room, a bad link. After each: the guest runs on one host, both agree which
copy of its disk is the true one, nothing starts from the other, and no block is wrong."""
import os, re, signal, subprocess, time

from bad_network import BadNetwork
from harness import main, test
from lab import Lab, run, wait_for

MIB = 24   # of the disk
SLOW = 4   # MiB/s: slow enough that something can happen midway
lab = Lab(hosts=2, settings={"mode": "observe", "migration-bandwidth": SLOW})
h1, h2 = lab.hosts
nets, mounts = [], []


def other(h):
    return h2 if h is h1 else h1


def here():
    return lab.where("g")[0]


def disks(h):
    return {d["name"]: d for d in h.json("disk", "list")["disks"]}


def kind(h):
    return disks(h).get("root", {}).get("kind")


def settled():
    return not any(h.status()["handovers"]["active"] for h in lab.hosts)


def check(where=None):
    """The invariants, whatever has happened; the host on which the guest is."""
    wait_for("both are up, and agree", lambda: settled() and len(lab.where("g")) == 1, 200)
    h = here()
    assert where is None or h is where, f"the guest is on {h.name}"
    wait_for(f"the true copy is on {h.name} alone", lambda: kind(h) == "true" and kind(other(h)) in (None, "old"), 30)
    assert sum("name=g " in x.sim("list") + " " for x in lab.hosts) == 1, "more than one copy is left"
    blocks, bad = verify(h)
    assert bad == 0, f"{bad} of {blocks} blocks are wrong on {h.name}"
    wait_for("it writes on", lambda: verify(h)[0] > blocks, 30)
    try:
        other(h).sim("create name=thief uuid=00000000-0000-4000-8000-000000000001 memory=64 maxmem=64 vcpus=1 disk=root")
    except RuntimeError as e:
        assert kind(other(h)) is None or "old copy" in str(e), e
    else:
        raise AssertionError(f"a guest was started from the copy on {other(h).name}")
    return h


def verify(h):
    """How many blocks the guest knows of, and how many are not as it wrote them last."""
    words = dict(w.split("=", 1) for w in h.sim("verify g").split() if "=" in w)
    return int(words["blocks"]), int(words["bad"])


def ready():
    lab.wait_members(2)
    h = wait_for("the guest runs", lambda: lab.where("g"), 60)[0]
    wait_for("it is listed", lambda: [g for g in h.json("guests") if g["name"] == "g" and g["movable"]], 60)
    wait_for("load is known", lambda: all("memory_free_mib" in m for m in h.json("members")), 60)
    wait_for("nothing is under way", settled, 60)
    return h


def moved(h):
    """Figures of the last move that this host tells of."""
    r = [e for e in h.json("history", "g")["records"] if e["kind"] in ("moved", "failed")][-1]
    return r["numbers"]


def whole(h):
    """The next move away from there has to take all of the disk along."""
    if kind(other(h)) == "old":
        other(h).violin("disk", "remove", "root")


def begin():
    """A move of all of it, in a process of its own."""
    h = ready()
    whole(h)
    p = lab.spawn(h.ns, lab.program, "-c", h.conf, "migrate", "g", other(h).name, stdout=subprocess.DEVNULL,
                  stderr=subprocess.DEVNULL)
    return h, p


def midway(h):
    """Some of the disk is there, and not all."""
    def some():
        v = h.json("handover", "list")
        v = [x for x in v if x["state"] == "mirroring"]
        return v and v[0]["disk_bytes"] > 4 << 20
    wait_for("the disk is under way", some, 60, 0.05)


@test
def there_and_back():
    """all of it out, and only what has changed back; nothing is wrong after either"""
    lab.form()
    bridge = h1.json("env", "create", "e")["bridge"]
    wait_for("host2 knows it", lambda: h2.json("env", "list"), 30)
    h1.violin("disk", "create", "root", f"{MIB}M")
    lab.guest(h1, "g", bridge=bridge, disk="root", writes=40, memory=32, maxmem=32, used=16)
    wait_for("it writes", lambda: verify(h1)[0] > 20, 30)
    ready()
    plan = wait_for("host2 is known", lambda: h1.json("plan", "--without", h1.name)["moves"], 30)
    assert [m.get("disk_mib") for m in plan] == [MIB] and plan[0]["seconds"] > 0, plan
    h1.violin("migrate", "g", h2.name, timeout=240)
    check(h2)
    assert kind(h1) == "old", kind(h1)
    out = moved(h1)
    over = h1.json("handover", "list")[0] # the figures stay when it is over
    assert over["state"] == "done" and over["disk_bytes"] == out["disk_bytes"] and over["disk_in_sync_mib"] == MIB and over["bytes"] > 0, over
    ready()
    h2.violin("migrate", "g", h1.name, timeout=240)
    check(h1)
    assert kind(h2) == "old", kind(h2)
    back = moved(h2)
    for name, m in (("out", out), ("back", back)):
        print(f"      {name}: {m['disk_bytes'] / 2**20:.1f} MiB for {m['disk_mib']:.0f} MiB of disk, pause {m['pause_s']:.2f} s")
    assert out["disk_mib"] == MIB and out["disk_bytes"] >= MIB << 20
    assert back["disk_bytes"] <= (MIB << 20) / 2, "more than half of it came back"


@test
def no_more_than_its_bandwidth():
    """disk and memory divide what a guest's move may take"""
    h = ready()
    whole(h)
    began = time.monotonic()
    h.violin("migrate", "g", other(h).name, timeout=240)
    took = time.monotonic() - began
    m = moved(h)
    check(other(h))
    sent = (m["disk_bytes"] + m["bytes"]) / 2**20
    assert sent / took < SLOW * 1.25, f"{sent:.1f} MiB in {took:.1f} s"


@test
def cut_midway():
    """the connection that carries the disk is cut: the guest goes on where it is"""
    h, p = begin()
    midway(h)
    r = run("ip", "netns", "exec", h.ns, "ss", "-tinHO", "state", "established", "dst", other(h).ip).stdout
    sent = {int(m.group(1)): re.search(r"\S+:(\d+)\s+\S+:\d+", l) for l in r.splitlines() for m in [re.search(r"bytes_sent:(\d+)", l)] if m}
    port = sent[max(sent)].group(1)
    killed = run("ip", "netns", "exec", h.ns, "ss", "-KtnH", "state", "established", f"sport = :{port}").stdout
    assert port in killed, "nothing was cut"
    assert p.wait(120) != 0
    check(h)


@test
def the_other_host_is_gone_midway():
    """every packet is lost: given up after a while, and the guest was never held up for long"""
    h, p = begin()
    midway(h)
    other(h).link(False)
    blocks = verify(h)[0]
    wait_for("it writes on meanwhile", lambda: verify(h)[0] > blocks, 40)
    p.wait(200)
    wait_for("it is given up here", lambda: not [x for x in h.json("handover", "list") if x["state"] not in ("aborted", "done", "refused")], 120)
    assert lab.where("g") == [h]
    other(h).link(True)
    check(h)


@test
def nobody_waits_for_a_peer_that_ends():
    """the destination is stopped in order midway"""
    h, p = begin()
    midway(h)
    other(h).stop()
    p.wait(200)
    other(h).start()
    check(h)


@test
def an_agent_is_killed_midway():
    """the process that copies, on either side: the guest stays, and the peer is started again with the agent"""
    for side in ("source", "destination"):
        h, p = begin()
        midway(h)
        victim = h if side == "source" else other(h)
        os.kill(victim.pid_of("agent"), signal.SIGKILL)
        p.wait(200)
        wait_for("both answer", lambda: all(x.status() for x in lab.hosts), 60)
        check(h)


@test
def no_room():
    """a host without room says no beforehand; one whose room goes meanwhile gives up, and the guest stays"""
    h = ready()
    o = other(h)
    folder = os.path.join(o.dir, "few")
    os.makedirs(folder, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={MIB * 3 // 2}m,mode=0700", "tmpfs", folder)
    mounts.append(folder)
    o.stop()
    with open(o.conf, "a") as f:
        f.write(f'disk-folder = "{folder}"\n')
    fill = os.path.join(folder, "fill")
    with open(fill, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, MIB << 20)
    o.start()
    h = ready()
    r = h.violin("migrate", "g", o.name, check=False, timeout=120)
    assert r.returncode and "its disks need" in r.stderr, r.stderr
    check(h)
    os.unlink(fill)
    restart(o, "handover.receiving.journalled:stop")
    h, p = begin()
    wait_for("it has room, and stops", lambda: done_mark(o), 60)
    with open(fill, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, MIB << 20)
    os.kill(o.pid_of("peer-child"), signal.SIGCONT)
    assert p.wait(120) != 0
    check(h)
    os.unlink(fill)
    restart(o)


def mark_of(h):
    return os.path.join(h.dir, "state", "fault-done")


def done_mark(h):
    return os.path.exists(mark_of(h))


def restart(h, fault=None):
    h.stop()
    if done_mark(h):
        os.unlink(mark_of(h))
    h.start(env={"VIOLIN_FAULT": fault} if fault else None)


def kill_at(point, side, goes):
    source = ready()
    target = other(source)
    victim = source if side == "source" else target
    restart(victim, f"{point}:kill")
    source, p = begin()
    if point == "handover.disks.discarded":
        midway(source)
        source.stop() # it gives up, and the other discards
        source.start()
    wait_for("the fault struck", lambda: done_mark(victim), 120)
    p.wait(200)
    check(None if goes is None else target if goes else source)
    restart(victim)


def make(point, side, goes):
    def f():
        kill_at(point, side, goes)
    f.__name__ = f"{side}_killed_at_{point.split('.', 1)[1].replace('.', '_').replace('-', '_')}"
    f.__doc__ = "either is good" if goes is None else "the guest goes" if goes else "the guest stays"
    test(f)


for point, side, goes in (
        ("handover.mirroring.journalled", "source", False), ("handover.disks.mirrored", "source", False),
        ("handover.synced.sent", "source", False), ("handover.disks.retired", "source", True),
        ("handover.receiving.journalled", "destination", False), ("handover.disks.made", "destination", False),
        ("handover.restored.journalled", "destination", None), ("handover.complete.journalled", "destination", True),
        ("handover.complete.sent", "destination", True), ("handover.disks.owned", "destination", True),
        ("handover.disks.discarded", "destination", False)):
    make(point, side, goes)


@test
def a_bad_link():
    """20 ms there and back, one packet in a hundred is lost: out and back"""
    net = BadNetwork(*[(h.ns, "bad0", f"10.79.0.{h.n}") for h in lab.hosts], seed=11)
    nets.append(net)
    for h in lab.hosts:
        run("ip", "netns", "exec", h.ns, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.bad0.rp_filter=0",
            "net.ipv4.conf.eth0.rp_filter=0")
        run("ip", "-n", h.ns, "route", "replace", f"{other(h).ip}/32", "dev", "bad0", "src", h.ip)
    net.far()
    def least(): # of three pings, in ms
        r = run("ip", "netns", "exec", h1.ns, "ping", "-n", "-c", "3", "-i", "0.2", h2.ip).stdout
        return float(re.search(r"rtt [^=]*= ([\d.]+)/", r).group(1))
    wait_for("the link is as long as that", lambda: least() >= 20, 30)
    for _ in range(2):
        h = ready()
        h.violin("migrate", "g", other(h).name, timeout=400)
        check(other(h))
        m = moved(h)
        print(f"      to {other(h).name}: {m['disk_bytes'] / 2**20:.1f} MiB in {m['duration_s']:.0f} s, pause {m['pause_s']:.2f} s")


with lab:
    try:
        main()
    finally:
        for n in nets:
            n.close()
        for h in lab.hosts:
            h.stop()
        for m in mounts:
            run("umount", m, check=False)
