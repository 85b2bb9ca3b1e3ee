#!/usr/bin/env python3
"""check_xen_disks.py PROGRAM [FACT…]: on real Xen, a guest's disk moves with it between two hosts that share no storage.

The guest `writer` writes 20 random blocks of 4 KiB a second to its disk, without the page cache, and keeps a table of what it
wrote (blocks.c); after everything that happens to it all blocks are read and compared. The same guest without a disk,
`plain`, is beside it. PROGRAM is a build with fault points. MIB: the disk's size, 128 unless said.

Facts and figures: build/xen/disks.json. Emulated hosts are slow: times mean something only next to others of the same run."""
import os, re, shlex, sys, time

sys.dont_write_bytecode = True
import facts
from facts import fact, guest, know_each_other, report, reported, state_of, wait_for
from xenlab import XenLab

MIB = int(os.environ.get("MIB", "128"))
RATE = 20
MEMORY = 128  # MiB of a guest: of 96, which a kernel halves, nothing is left after some moves
SERVER, PORTS = "10.9.0.1", {"writer": 7001, "plain": 7002}
ADDRESSES = {"writer": "10.9.0.2", "plain": "10.9.0.3"}
DISK, RAW = "writer-disk", "/var/lib/raw"
lab = h1 = h2 = None


def both():
    return (h1, h2)


def other(host):
    return h2 if host is h1 else h1


def where(name):
    """The one host where it runs."""
    found = [h for h in both() if h.up and state_of(h, name) == "running"]
    assert len(found) == 1, f"{name} runs on {[h.name for h in found]}"
    return found[0]


def copies(name):
    return facts.copies(both(), name)


# ---- the guest's own view of its disk -----------------------------------------------------------

def inside(host, name, script, pattern, seconds=300):
    """Runs a script in the guest by its console; what its log then says that the pattern fits."""
    mark = f"mark-{time.monotonic_ns()}"
    host.type(name, f"echo {mark[:4]}''{mark[4:]}; {script}")
    return wait_for(f"{name}: {script}", lambda: re.search(rf"{mark}\s(?:.*?){pattern}", host.guest_log(name), re.S), seconds)


def verified(host, name="writer", device="xvda"):
    """Every block is read: how many there are. None may be bad, none of its reads and writes may have failed."""
    m = inside(host, name, "kill -USR1 $(pidof blocks)", rf"{device}: verified (\d+) (\d+) (\d+) (\w+)")
    blocks, bad, errors = (int(x) for x in m.groups()[:3])
    assert (bad, errors) == (0, 0), f"{bad} bad blocks of {blocks}, {errors} I/O errors"
    return blocks


def rests(host, name="writer", device="xvda"):
    """No writes any more, what was written is flushed: a hash of the table."""
    return inside(host, name, "kill -USR2 $(pidof blocks)", rf"{device}: rests (\w+)").group(1)


def goes_on(host, name="writer", device="xvda"):
    inside(host, name, "kill -USR2 $(pidof blocks)", rf"{device}: goes on")


def begun(host, name, device="xvda"):
    """What the writer found on its disk when it started last: (blocks that hold a write, bad ones, the table's hash)."""
    found = re.findall(rf"{device}: begins \d+ (\d+) (\d+) (\w+)", host.guest_log(name))
    return found and (int(found[-1][0]), int(found[-1][1]), found[-1][2])


def writes(host, name="writer", device="xvda"):
    """Lines of `wrote`: (writes since the start, errors, the longest of them in ms)."""
    return [tuple(int(x) for x in m) for m in re.findall(rf"{device}: wrote (\d+) (\d+) (\d+)", host.guest_log(name))]


def goes_on_writing(host, name="writer"):
    n = len(writes(host, name))
    wait_for(f"{name} writes on {host.name}", lambda: len(writes(host, name)) >= n + 3, 240)


# ---- violin's view of it ------------------------------------------------------------------------

def disk(host, name=DISK):
    return next((d for d in host.json("disk list")["disks"] if d["name"] == name), None)


def kinds(name=DISK):
    """What each host says that its copy is."""
    found = [(h.name, disk(h, name)) for h in both() if h.up]
    return {h: d["kind"] for h, d in found if d}


def agree(name=DISK):
    """Exactly one true copy, and it is where the guest runs; another is an old one."""
    k = kinds(name)
    return list(k.values()).count("true") == 1 and set(k.values()) <= {"true", "old"} and k


def settled():
    return facts.settled(both())


def sound(name="writer", disk_name=DISK):
    """After something happened: it runs on one side, that has the true copy, no block is bad. The host."""
    wait_for("both agree", lambda: settled() and len(copies(name)) == 1 and agree(disk_name), 420)
    host = where(name)
    assert copies(name) == [host.name] and kinds(disk_name)[host.name] == "true", (copies(name), kinds(disk_name))
    goes_on_writing(host, name)
    verified(host, name)
    return host


def nothing_under_way(host):
    """No mirror, no nbd, no loop device beside those of disks that are here."""
    left = host.sh("cat /sys/block/nbd*/pid 2>/dev/null; true").split()
    assert not left, f"{host.name}: an nbd device is connected still"


def sent(host):
    """Bytes that it has sent to the hosts' network so far."""
    return int(host.sh("cat /sys/class/net/eth1/statistics/tx_bytes"))


def numbers(host, name):
    """What violin itself says of the last move from that host."""
    return [e for e in host.json(f"history {name}")["records"] if e["kind"] == "moved"][-1]["numbers"]


# ---- pauses, as host1 sees them: a card of its is in the environment ------------------------------

def talk_log(name):
    return h1.sh(f"cat /var/log/talk-{name}.log")


def heard(name):
    """What host1 said of it, once a second: (messages, longest silence, datagrams, longest silence; ms)."""
    return [tuple(map(int, m)) for m in re.findall(r"heard (\d+) (\d+) (\d+) (\d+)", talk_log(name))]


def messages(name):
    h = heard(name)
    return h[-1][0] if h else 0


def order(name, target):
    """A shell's words for a move by hand, and what came of it in migrate.log. An emulated CPU is full soon: then it waits."""
    return (f"while ! violin migrate {name} {target.name} >/root/migrate.log 2>&1 && grep -q 'of a CPU' /root/migrate.log; do sleep 5; done; "
            "! grep '^violin: the guest was not moved' /root/migrate.log")


def move(name, target):
    """By hand, watched: how long it took and how long nothing came from it."""
    source = where(name)
    lines, broken, began, bytes_before = len(heard(name)), talk_log(name).count("TALK-BROKEN"), time.monotonic(), sent(source)
    source.sh(order(name, target), timeout=1800)
    wait_for(f"{name} runs on {target.name}", lambda: copies(name) == [target.name] and state_of(target, name) == "running")
    whole = time.monotonic() - began
    moved = sent(source) - bytes_before
    n = messages(name)
    wait_for("its connection goes on", lambda: messages(name) > n + 20, 300)
    assert talk_log(name).count("TALK-BROKEN") == broken, "the connection broke"
    said = numbers(source, name)
    return {"whole_s": round(whole, 1), "silent_s": max(u for _, _, _, u in heard(name)[lines:]) / 1000,
            "pause_s": round(said["pause_s"], 2), "sent_mib": round(moved / 2**20, 1), "memory_mib": round(said["bytes"] / 2**20, 1),
            "disk_mib": round(said.get("disk_bytes", 0) / 2**20, 1)}


# ---- hosts --------------------------------------------------------------------------------------

def configure(host):
    host.configure(evaluation_period=5, settle_time=3600, mode="observe", disk_adopt=[RAW])


def restart(host, fault=None):
    host.stop()
    host.sh("rm -f /var/lib/violin/fault-done")
    host.start(f"VIOLIN_FAULT={fault}" if fault else "")
    know_each_other(both(), 180)


def fault_struck(host):
    return host.sh("test -e /var/lib/violin/fault-done && echo yes", check=False).strip() == "yes"


def bridge():
    return next(e["bridge"] for e in h1.json("env list") if e["name"] == "web")


# ---- facts --------------------------------------------------------------------------------------

@fact
def starts():
    """two hosts are one domain; a disk is made, a guest writes to it; the same guest without a disk is beside it"""
    lab.boot(both())
    for h in both():
        h.sh(f"mkdir -m 700 {RAW}")
        configure(h)
    h1.violin("init --domain lab")
    h1.start()
    h1.violin("env create web")
    h2.violin("join " + h1.json("invite")["token"])
    h2.start()
    know_each_other(both(), 240)
    wait_for("bridges", lambda: all("bridge" in e for h in both() for e in h.json("env list")), 60)
    h1.violin(f"disk create {DISK} {MIB}M")
    h1.sh("modprobe veth; ip link add lab0 type veth peer name lab1; ip link set lab0 up; ip link set lab1 up; "
          f"ip addr add {SERVER}/24 dev lab0")
    h1.violin("env attach web lab1")
    for name, port in PORTS.items():
        h1.sh(f"(setsid talk serve {port} >/var/log/talk-{name}.log 2>&1 &) </dev/null >/dev/null 2>&1")
    for n, (name, ip) in enumerate(ADDRESSES.items()):
        words = f"ip4={ip}/24 talk={SERVER}:{PORTS[name]}:500" + (f" writes=xvda:{RATE}" if name == "writer" else "")
        h1.create(name, bridge(), f"00:16:3e:09:00:1{n}", MEMORY, MEMORY, words, disks=[disk(h1)["device"]] if name == "writer" else ())
    wait_for("they talk", lambda: all(messages(n) > 20 for n in PORTS), 600)
    wait_for("it writes", lambda: len(writes(h1)) > 5, 300)
    assert begun(h1, "writer")[:2] == (0, 0), begun(h1, "writer")
    for name in ADDRESSES:
        g = wait_for(f"{name} reports", lambda name=name: reported(h1, name))
        assert g["movable"], g
    return {"mib": MIB, "writes": writes(h1)[-1][0]}


@fact
def moves():
    """moves live to a host that has nothing of its disk, and back; the same without a disk: pauses side by side"""
    figures = {}
    assert kinds() == {"host1": "true"}, kinds()
    for way, target, source in (("out", h2, h1), ("back", h1, h2)):  # nothing between: what is written meanwhile has to go back
        w = move("writer", target)
        wait_for("both agree", lambda: settled() and agree() == {source.name: "old", target.name: "true"}, 120)
        blocks = verified(target)
        nothing_under_way(source)
        # Violin's own numbers aren't taken on trust: what the source's card has sent (headers take a tenth at most).
        assert w["memory_mib"] + w["disk_mib"] < w["sent_mib"] < 1.15 * (w["memory_mib"] + w["disk_mib"]), w
        figures.update({f"{k}_{way}": v for k, v in w.items()})
        figures[f"of_disk_{way}"] = round(w["disk_mib"] / MIB, 2)
    goes_on_writing(h1)
    for way, target in (("out", h2), ("back", h1)):
        figures.update({f"{k}_{way}_without": v for k, v in move("plain", target).items()})
    assert figures["of_disk_out"] >= 1 and figures["of_disk_back"] <= 0.5, figures
    figures.update(blocks=blocks, worst_write_ms=max(w[2] for h in both() for w in writes(h)))
    return figures


@fact
def stale_copy():
    """the old copy can't be started: neither by xl from its device, nor attached by violin"""
    host = where("writer")
    if kinds().get(other(host).name) != "old":
        move("writer", other(host))
        host = where("writer")
    stale = other(host)
    wait_for("both agree", lambda: settled() and agree() == {stale.name: "old", host.name: "true"}, 120)
    assert not disk(stale).get("device"), disk(stale)
    device = disk(host)["device"]
    said = stale.sh(f"printf 'name = \"stale\"\\ntype = \"pvh\"\\nkernel = \"/mnt/images/vmlinuz\"\\nramdisk = \"/mnt/images/domu.cpio\"\\n"
                    f"memory = 96\\ndisk = [ \"format=raw,vdev=xvda,access=rw,target={device}\" ]\\n' > /root/stale.cfg; "
                    "xl create -q /root/stale.cfg; echo status $?", check=False)
    assert "status 0" not in said and state_of(stale, "stale") is None, said
    if where("plain") is not stale:
        host.sh(order("plain", stale), timeout=900)
    refused = stale.violin(f"disk attach {DISK} plain", check=False)
    assert "old copy" in refused and "xvdb" not in str(guest(stale, "plain")), refused
    h = sound()
    return {"xl_create": said.strip().splitlines()[0][:160], "violin": refused.strip()[:160], "runs_on": h.name}


@fact
def reboots():
    """the guest reboots with its disk: all that was flushed is there"""
    host = where("writer")
    old, table = host.domid("writer"), rests(host)
    n = host.guest_log("writer").count("xvda: begins")
    host.type("writer", "reboot -f")
    wait_for("another domain of the same name", lambda: host.domid("writer") not in (None, old))
    wait_for("it writes again", lambda: host.guest_log("writer").count("xvda: begins") > n, 420)
    known, bad, again = begun(host, "writer")
    assert (bad, again) == (0, table) and known > 0, (known, bad, again, table)
    wait_for("it reports", lambda: reported(host, "writer"))
    sound()
    return {"blocks_known": known, "on": host.name}


@fact
def attaches():
    """a second disk is attached to a running guest, can't be removed while it has it, moves with it, and is detached"""
    host = where("plain")
    host.violin("disk create extra 8M")
    host.violin("disk attach extra plain xvdb")
    table = inside(host, "plain", "dd if=/dev/urandom of=/dev/xvdb bs=4096 count=64 conv=fsync; md5sum /dev/xvdb", r"(\w{32})  /dev/xvdb").group(1)
    refused = host.violin("disk remove extra --force", check=False)
    assert disk(host, "extra")["kind"] == "true", refused
    wait_for("it is listed with it", lambda: disk(host, "extra").get("guest") == "plain", 60)
    host.sh(order("plain", other(host)), timeout=900)
    host = other(host)
    wait_for("both agree", lambda: settled() and agree("extra") == {other(host).name: "old", host.name: "true"}, 120)
    again = inside(host, "plain", "echo 3 >/proc/sys/vm/drop_caches; md5sum /dev/xvdb", r"(\w{32})  /dev/xvdb").group(1)
    assert again == table, (table, again)
    host.violin("disk detach extra")
    inside(host, "plain", "sleep 2; ls /dev/xvdb >/dev/null 2>&1 || echo no''-xvdb", "no-xvdb", 60)
    host.violin("disk remove extra --force")
    other(host).violin("disk remove extra")
    assert not kinds("extra"), kinds("extra")
    return {"removing_refused": refused.strip()[:160]}


@fact
def adopts():
    """a guest whose disk is a file of its own stays, and is told how not to; adopted, its disk moves with it from its next start"""
    raw = f"{RAW}/own.img"
    h1.sh(f"truncate -s 16M {raw}; losetup /dev/loop7 {raw}")
    h1.create("own", bridge(), "00:16:3e:09:00:20", 96, 96, "writes=xvda:5", disks=["/dev/loop7"])
    wait_for("it writes", lambda: len(writes(h1, "own")) > 3, 300)
    g = wait_for("it reports", lambda: reported(h1, "own"))
    assert not g["movable"] and "violin disk adopt" in g["why_not"], g
    busy = h1.violin(f"disk adopt own {raw}", check=False)
    assert not kinds("own"), busy
    table = rests(h1, "own")
    h1.sh("xl destroy own; losetup -d /dev/loop7")
    device = wait_for("it is adopted", lambda: re.search(r"phy:([^,]+),", h1.violin(f"disk adopt own {raw}", check=False)), 60).group(1)
    h1.create("own", bridge(), "00:16:3e:09:00:20", 96, 96, "writes=xvda:5", disks=[device])
    wait_for("it writes again", lambda: h1.guest_log("own").count("xvda: begins") > 1, 300)
    known, bad, again = begun(h1, "own")
    assert (bad, again) == (0, table) and known > 0, (known, bad, again, table)
    assert wait_for("it reports", lambda: reported(h1, "own"))["movable"], guest(h1, "own")
    h1.sh(order("own", h2), timeout=900)
    wait_for("both agree", lambda: settled() and agree("own") == {"host1": "old", "host2": "true"}, 120)
    verified(h2, "own")
    h2.sh("xl destroy own")
    return {"said": g["why_not"], "while_it_ran": busy.strip()[:160], "blocks_known": known}


# ---- faults -------------------------------------------------------------------------------------

@fact
def full():
    """the destination's disk is full: refused before anything is touched, the guest stays"""
    source, target = fresh_way()
    free = int(target.sh("df -m /var/lib | tail -n 1").split()[3])
    target.sh(f"fallocate -l {free - MIB // 2}M /var/lib/filler")
    try:
        said = source.sh(order("writer", target), check=False, timeout=900)
        assert "its disks need" in said, said
        assert copies("writer") == [source.name], copies("writer")
    finally:
        target.sh("rm /var/lib/filler")
    assert sound() is source and kinds() == {source.name: "true"}, kinds()
    return {"said": said.strip().splitlines()[-1][:200]}


def begins(source, target):
    """A move, without waiting for its end."""
    source.sh(f"(setsid sh -c {shlex.quote(order('writer', target))} &) </dev/null >/dev/null 2>&1")


def fresh_way():
    """Where it is and where it can go, with nothing of its disk there."""
    source = where("writer")
    target = other(source)
    if disk(target):
        target.violin(f"disk remove {DISK}")
    return source, target


def midway(source):
    """A third of the disk is over; bytes that went."""
    before = sent(source)
    wait_for("a third of the disk is over", lambda: sent(source) - before > MIB * 2**20 // 3, 600, 0.5)
    return sent(source) - before


def handovers(host):
    """The writer's, by their ids: their states."""
    return {h["id"]: h["state"] for h in host.json("handover list") if h["guest"] == "writer"}


def states(host, before):
    return [state for i, state in handovers(host).items() if i not in before]


def stayed(source, lines, mib):
    assert sound() is source, where("writer").name
    nothing_under_way(source)
    return {"mib_when_cut": round(mib / 2**20, 1), "worst_write_ms": max(w[2] for w in writes(source)[lines:]),
            "said": source.sh("cat /root/migrate.log").strip().splitlines()[-1][:200]}


@fact
def stream_cut():
    """the connection that carries the disk is cut midway: it goes on at the source"""
    source, target = fresh_way()
    lines = len(writes(source))
    begins(source, target)
    went = midway(source)
    listed = source.sh(f"modprobe -a inet_diag tcp_diag; ss -tinHO state established dst {target.ip}")
    most = max((int(m.group(2)), m.group(1)) for m in re.finditer(r"\S+:(\d+)\s+\S+:\d+.*?bytes_sent:(\d+)", listed))
    killed = source.sh(f"ss -KtnH state established sport = :{most[1]}")
    assert most[1] in killed and most[0] > MIB * 2**20 // 4, (listed, killed)
    return stayed(source, lines, went)


@fact
def silent():
    """nothing passes between the hosts from midway on, for longer than the lease: it goes on at the source"""
    source, target = fresh_way()
    lines = len(writes(source))
    before = handovers(source)
    begins(source, target)
    went = midway(source)
    lab.switch.cut.update({source.net, target.net})
    try:
        wait_for("it is given up at the source", lambda: "aborted" in states(source, before), 420)
        goes_on_writing(source)
    finally:
        lab.switch.cut.clear()
    know_each_other(both(), 300)
    return stayed(source, lines, went)


def killed_at(point, whose, disturb=None):
    """A move during which the source's or destination's peer is killed at a fault point; where the guest is then."""
    source, target = fresh_way()
    victim = source if whose == "source" else target
    restart(victim, f"{point}:kill")
    wait_for("it reports", lambda: reported(source, "writer"))
    begins(source, target)
    if disturb:
        disturb(source, target)
    wait_for(f"{point} struck", lambda: fault_struck(victim), 900)
    host = sound()
    for h in both():
        nothing_under_way(h)
    return {"at": point, "went_on_at": "source" if host is source else "destination", "copies": kinds()}


def source_dies(source, target):
    wait_for("the mirror is under way", lambda: source.sh("cat /sys/block/nbd*/pid 2>/dev/null; true").split(), 600, 0.5)
    source.sh("kill -KILL $(pidof violin-peer)")


# Every fault point that is of disks alone: policy/handover.c.
FAULTS = [("disks.made", "destination", "its disks are made"),
          ("complete.journalled", "destination", "it has written down that the disks are complete"),
          ("complete.sent", "destination", "it has said that the disks are complete"),
          ("disks.owned", "destination", "its copy has become the true one"),
          ("disks.discarded", "destination", "its half copy is thrown away, since the source has given up"),
          ("mirroring.journalled", "source", "it is about to copy"),
          ("disks.mirrored", "source", "the disks are in sync"),
          ("synced.sent", "source", "it has said that the last writes are over"),
          ("disks.retired", "source", "its copy has become an old one")]


def fault_fact(point, whose, when):
    def f():
        return killed_at("handover." + point, whose, source_dies if point == "disks.discarded" else None)
    f.__name__, f.__doc__ = f"{whose}_killed_{point.replace('.', '_')}", f"the {whose}'s peer is killed when {when}"
    fact(f)


for one in FAULTS:
    fault_fact(*one)


@fact
def slow_line():
    """a line of 20 ms round trip that loses one packet of a hundred: it moves all the same"""
    for h in both():
        restart(h)
        h.sh("modprobe sch_netem; tc qdisc add dev eth1 root netem delay 10ms loss 1%")
    try:
        source, target = fresh_way()
        figures = move("writer", target)
        ping = source.sh(f"ping -c 20 -i 0.2 -q {target.ip}", check=False)
    finally:
        for h in both():
            h.sh("tc qdisc del dev eth1 root", check=False)
    assert sound() is target
    return {**figures, "ping": ping.strip().splitlines()[-1]}


# ---- a host's power ------------------------------------------------------------------------------

@fact
def power():
    """a kept guest's host loses power: started again at its boot from the true copy; an old copy's host starts nothing"""
    for h in both():
        for name in [*ADDRESSES, "own"]:
            h.sh(f"xl destroy {name} 2>/dev/null", check=False)
    h1.violin("env create shop --guests 1 --kernel vmlinuz --ramdisk domu.cpio --disk 16M --memory 96 "
              f"--append 'console=hvc0 quiet writes=xvda:{RATE}'", timeout=900)
    name = "shop-1"
    wait_for("it runs", lambda: len(facts.running(both(), name)) == 1, 300)
    host = where(name)
    wait_for("it writes", lambda: len(writes(host, name)) > 5, 420)
    wait_for("it reports", lambda: reported(host, name))
    its = next(d["name"] for d in host.json("disk list")["disks"] if d["name"].startswith(name))
    stale, host = host, other(host)
    stale.sh(order(name, host), timeout=1200)
    wait_for("it runs there", lambda: copies(name) == [host.name])
    wait_for("both agree", lambda: settled() and agree(its) == {stale.name: "old", host.name: "true"}, 120)
    table = rests(host, name)
    for h in both():
        h.kill()
    lab.boot(both())
    for h in both():
        configure(h)
        h.start()
    know_each_other(both(), 300)
    wait_for("it runs again", lambda: facts.running(both(), name) == [host.name], 600)
    wait_for("it has looked at its disk", lambda: begun(host, name), 420)
    known, bad, again = begun(host, name)
    assert (bad, again) == (0, table) and known > 0, (known, bad, again, table)
    time.sleep(30)  # the other one has had its chance
    assert copies(name) == [host.name] and agree(its) == {stale.name: "old", host.name: "true"}, (copies(name), kinds(its))
    verified(host, name)
    h1.violin("env remove shop --force", timeout=600)
    wait_for("its disks are gone", lambda: not kinds(its), 120)
    return {"ran_on": host.name, "old_copy_on": stale.name, "blocks_known": known}


def main():
    global lab, h1, h2
    lab = XenLab(sys.argv[1], 2)
    h1, h2 = lab.hosts
    failed = facts.run(lab, "disks.json", sys.argv[2:] and ["starts", *sys.argv[2:]])
    table()
    facts.ends("check_xen_disks", failed)


def table():
    by = {e["name"]: e for e in report if e["ok"]}
    if "moves" not in by:
        return
    m = by["moves"]
    print(f"\n  {'':28}{'out':>9}{'back':>9}{'without a disk':>19}{'back':>8}")
    for key, text in (("pause_s", "pause, s"), ("silent_s", "longest silence, s"), ("whole_s", "whole move, s"), ("sent_mib", "sent by the source, MiB")):
        print(f"  {text:28}{m[key + '_out']:9}{m[key + '_back']:9}{m[key + '_out_without']:19}{m[key + '_back_without']:8}")
    print(f"  {'of the disk':28}{m['of_disk_out']:9}{m['of_disk_back']:9}\n")


if __name__ == "__main__":
    main()
