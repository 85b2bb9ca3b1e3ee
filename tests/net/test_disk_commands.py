#!/usr/bin/env python3
"""`violin disk` and the writable disks of guests that violin makes, on real peers with simulated hypervisors: what the
commands print, refuse and leave behind."""
import hashlib, json, os

from harness import main, test
from lab import Lab, wait_for

MIB = 1 << 20
lab = Lab(hosts=3, memory=4096, settings={"mode": "observe", "evaluation-period": 1, "migration-bandwidth": 64})
h1, h2, h3 = lab.hosts
for h in lab.hosts:
    for d in ("images", "mine"):
        os.makedirs(os.path.join(h.dir, d))
    with open(os.path.join(h.dir, "images", "vmlinuz"), "w") as f:
        f.write("a kernel")
    with open(os.path.join(h.dir, "images", "root.img"), "wb") as f:
        f.write(hashlib.shake_128(b"root").digest(3 * MIB + 1000))
    with open(h.conf, "a") as f:
        f.write(f'image-dirs = {{ "{os.path.join(h.dir, "images")}" }}\ndisk-adopt = {{ "{os.path.join(h.dir, "mine")}" }}\n')
lab.form()
CREATE = ["env", "create", "web", "--guests", "2", "--kernel", "vmlinuz", "--copy", "root.img:8M", "--image", "root.img",
          "--disk", "1M", "--memory", "64"]


def disks(h):
    return {d["name"]: d for d in h.json("disk", "list")["disks"]}


def refused(h, *words, says=()):
    r = h.violin(*words, check=False, timeout=60)
    assert r.returncode == 1 and not r.stdout, (words, r.returncode, r.stdout)
    for w in [says] if isinstance(says, str) else says:
        assert w in r.stderr, (words, r.stderr)
    return r.stderr


def files(h):
    """What the disks' folder has in it."""
    return sorted(os.path.basename(p) for p in paths(h))


def paths(h):
    found = []
    for top, _, names in os.walk(os.path.join(h.dir, "sim")):
        found += [os.path.join(top, n) for n in names if n.endswith((".disk", ".img", ".new"))]
    return found


def guests(h):
    return h.sim("list")


def place(name):
    return next(h for h in lab.hosts if f"name={name} " in guests(h) + " ")


@test
def made_and_removed():
    """of zeros, and as a copy; it takes its room at once, is listed, and goes with force only"""
    out = h1.violin("disk", "create", "data", "4M").stdout
    assert "disk data of" in out and "violin disk attach data GUEST" in out, out
    d = disks(h1)["data"]
    assert d["size"] == 4 * MIB and d["kind"] == "true" and d["state"] == "true copy" and d["generation"] == 1, d
    r = json.loads(h1.violin("disk", "create", "root", "--copy", "root.img", "--json").stdout)
    assert r["over"] and not r["why"] and r["size"] == (3 * MIB + 1000 + 4095) // 4096 * 4096, r
    text = h1.violin("disk", "list").stdout
    assert "true copy" in text and "room for more:" in text, text
    copy = [p for p in files(h1) if p.endswith(".img")]
    assert len(copy) == 2, copy
    taken = sum(os.stat(p).st_blocks for p in paths(h1) if p.endswith(".img")) * 512
    assert taken >= 7 * MIB, f"room that isn't taken yet: {taken} bytes are"
    refused(h1, "disk", "create", "data", "4M", says=("already", "violin disk remove data"))
    refused(h1, "disk", "create", "x", "2T", says=("2048 GiB are wanted", "violin disk list"))
    for name in ("a/b", "x" * 80):
        refused(h1, "disk", "create", name, "4M", says="at most 47")
    refused(h1, "disk", "create", "x", "--copy", "nosuch.img", says="violin image add")
    refused(h1, "disk", "create", "x", "--copy", "root.img:1M", says="more than the disk")
    refused(h1, "disk", "show", "nosuch", says="violin disk list")
    refused(h1, "disk", "remove", "data", says=("true copy", "--force"))
    assert "data" in disks(h1)
    for name in ("data", "root"):
        h1.violin("disk", "remove", name, "--force")
    wait_for("they are gone from the list", lambda: not disks(h1), 30)
    assert not files(h1), files(h1)
    assert "no disks on this host" in h1.violin("disk", "list").stdout


@test
def adopted():
    """what is there already, below an allowed folder only; it prints the configuration's line, and is never deleted"""
    path, other = os.path.join(h1.dir, "mine", "old.img"), os.path.join(h1.dir, "elsewhere.img")
    for p in (path, other):
        with open(p, "wb") as f:
            f.write(b"precious" * (MIB // 8))
    refused(h1, "disk", "adopt", "old", other, says="disk-adopt = {")
    out = h1.violin("disk", "adopt", "old", path).stdout
    assert out.startswith("disk = [ 'phy:") and out.count("\n") == 1, out
    d = disks(h1)["old"]
    assert d["adopted"] == os.path.realpath(path) and d["size"] == MIB, d
    refused(h1, "disk", "adopt", "again", path, says="already")
    h1.violin("disk", "remove", "old")  # no force: nothing is lost
    wait_for("it is gone from the list", lambda: not disks(h1), 30)
    assert open(path, "rb").read() == b"precious" * (MIB // 8)


@test
def attached():
    """to a guest that runs, under the next free name; while it is there it isn't removed; taken away again"""
    bridge = h1.json("env", "create", "lab")["bridge"]
    lab.guest(h1, "g", bridge=bridge, memory=64, maxmem=64)
    wait_for("it is listed", lambda: [g for g in h1.json("guests") if g["name"] == "g"], 30)
    h1.violin("disk", "create", "data", "2M")
    refused(h1, "disk", "attach", "data", "nobody", says="violin guests")
    refused(h1, "disk", "attach", "nothing", "g", says="violin disk list")
    refused(h1, "disk", "attach", "data", "g", "../x", says="xvdb")
    r = json.loads(h1.violin("disk", "attach", "data", "g", "--json").stdout)
    assert r["vdev"] == "xvda" and r["guest"] == "g" and not r["why"], r
    wait_for("who has it is listed", lambda: disks(h1)["data"].get("guest") == "g", 30)
    refused(h1, "disk", "remove", "data", "--force", says=("g has it", "violin disk detach data"))
    refused(h1, "disk", "attach", "data", "g", says="already")
    h1.violin("disk", "detach", "data")
    wait_for("nobody has it", lambda: "guest" not in disks(h1)["data"], 30)
    refused(h1, "disk", "detach", "data", says="no guest")
    h1.violin("disk", "attach", "data", "g", "xvdc")
    wait_for("it has it again", lambda: disks(h1)["data"].get("guest") == "g", 30)


@test
def moved():
    """with its guest; both hosts say which copy is which, each knows of the other's, and nothing is attached from the old one"""
    wait_for("it may move", lambda: [g for g in h1.json("guests") if g["name"] == "g" and g["movable"]], 60)
    # known there isn't open there: refused until then
    wait_for("it is let in", lambda: h1.violin("migrate", "g", h2.name, check=False, timeout=240).returncode == 0, 120)
    wait_for("it has moved", lambda: lab.where("g") == [h2] and disks(h2).get("data", {}).get("kind") == "true" and
             disks(h1)["data"]["kind"] == "old", 60)
    d = disks(h1)["data"]
    assert d["state"].startswith("old copy, of ") and d["state"].endswith("; it went to host2"), d
    assert disks(h2)["data"]["generation"] == d["generation"] + 1, (disks(h2)["data"], d)
    shown = h2.json("disk", "show", "data")
    assert [(c["host"], c["state"].split(",")[0]) for c in shown["copies"]] == [("host1", "old copy")], shown
    assert not shown["silent"] and not shown["unasked"], shown
    assert [c["state"] for c in h1.json("disk", "show", "data")["copies"]] == ["true copy"]
    lab.guest(h1, "thief", bridge=h1.json("env", "show", "lab")["bridge"], memory=64, maxmem=64)
    wait_for("it is listed", lambda: [g for g in h1.json("guests") if g["name"] == "thief"], 30)
    refused(h1, "disk", "attach", "data", "thief", says=("old copy", "violin disk show data"))
    h1.sim("destroy thief")
    assert "data is taken from g; it stays here" in h2.violin("disk", "detach", "data").stdout
    wait_for("nobody has it", lambda: "guest" not in disks(h2)["data"], 30)
    out = h2.violin("disk", "remove", "data", "--force").stdout
    assert f"copies of it stay on host1: there, violin disk remove {d['id']}\n" == out, out
    h1.violin("disk", "remove", d["id"])  # an old copy: nothing is lost
    h2.sim("destroy g")
    wait_for("they are gone from the lists", lambda: not disks(h1) and not disks(h2), 30)
    wait_for("it can be removed", lambda: h1.violin("env", "remove", "lab", check=False).returncode == 0, 60)


@test
def an_environment_with_disks():
    """every guest has a copy of its own and an empty disk, made with it; stopped and started it has the same"""
    for h in lab.hosts:
        wait_for("load is known", lambda h=h: all("memory_free_mib" in m for m in h.json("members")), 60)
    r = json.loads(h1.violin(*CREATE, "--json", timeout=180).stdout)
    assert r["over"] and not r["failed"] and r["done"] == 2, r
    at = place("web-1")
    d = disks(at)
    assert d["web-1-xvda"]["size"] == 8 * MIB and d["web-1-xvdc"]["size"] == MIB and "web-1-xvdb" not in d, d
    wait_for("who has it is listed", lambda: disks(at)["web-1-xvda"].get("guest") == "web-1", 30)
    refused(at, "disk", "remove", "web-1-xvda", "--force", says="web-1 has it")
    for h in (h2, h3):  # by gossip
        wait_for(f"{h.name} knows who takes part", lambda h=h: {place("web-1").name, place("web-2").name} <= set(h.json("env", "show", "web")["hosts"]), 30)
    h2.violin("env", "stop", "web", timeout=120)
    wait_for("it is stopped", lambda: disks(at)["web-1-xvda"].get("guest") == "web-1 (stopped)", 30)
    refused(at, "disk", "remove", "web-1-xvda", "--force", says="web-1 (stopped) has it")
    before = disks(at)["web-1-xvda"]["id"]
    h2.violin("env", "start", "web", timeout=120)
    assert place("web-1") is at and disks(at)["web-1-xvda"]["id"] == before
    path = os.path.join(lab.dir, "web.env")
    with open(path, "w") as f:
        f.write('name = web\nguests = 2\nkernel = vmlinuz\ncopy = "root.img:8M"\nimage = root.img\ndisk = 1M\nmemory = 64\n')
    assert h3.json("env", "apply", path)["as_it_says"]
    with open(path, "a") as f:
        f.write("disk = 1M\n")
    r = h3.violin("env", "apply", path, check=False, timeout=60)
    assert r.returncode == 1 and "something else" in r.stdout, r.stdout


@test
def moved_and_removed():
    """one that has moved takes its disks along; when the environment goes, no file of it is left on any host"""
    source = place("web-1")
    target = next(h for h in lab.hosts if h is not source)
    wait_for("it may move", lambda: [g for g in source.json("guests") if g["name"] == "web-1" and g["movable"]], 60)
    source.violin("migrate", "web-1", target.name, timeout=240)
    wait_for("it has moved", lambda: lab.where("web-1") == [target] and
             disks(source)["web-1-xvda"]["kind"] == "old" and disks(target)["web-1-xvda"]["kind"] == "true", 60)
    target.stop()
    target.start()
    lab.wait_members(3)
    target.sim("reboot-host")
    target.stop()
    target.start()
    lab.wait_members(3)
    wait_for("its host starts it from there", lambda: lab.where("web-1") == [target], 60)
    h1.violin("env", "remove", "web", "--force", timeout=120)
    wait_for("nothing is left", lambda: not any(files(h) or guests(h) or disks(h) for h in lab.hosts), 90)


@test
def no_room():
    """a host without room for the disks is passed over; where none has it nothing is made, and it says so"""
    r = h1.violin("env", "create", "web", "--guests", "1", "--kernel", "vmlinuz", "--disk", "2T", "--memory", "64", check=False,
                  timeout=120)
    assert r.returncode == 1 and "no room for its disks" in r.stderr, r.stderr
    r = h1.violin("env", "create", "web", "--guests", "1", "--kernel", "vmlinuz", "--copy", "root.img:1M", "--memory", "64",
                  check=False, timeout=120)
    assert r.returncode == 1 and "more than its copy" in r.stderr, r.stderr
    wait_for("nothing is left", lambda: not any(files(h) or h.json("env", "list") for h in lab.hosts), 60)


def killed_at(point, victim, whole):
    mark = os.path.join(victim.dir, "state", "fault-done")
    if os.path.exists(mark):
        os.unlink(mark)
    victim.stop()
    victim.start(env={"VIOLIN_FAULT": f"{point}:kill"})
    lab.wait_members(3)
    for h in lab.hosts:
        wait_for("load is known", lambda h=h: all("memory_free_mib" in m for m in h.json("members")), 60)
    words = ["env", "create", "web", "--guests", "6", "--kernel", "vmlinuz", "--copy", "root.img:8M", "--memory", "64"]
    h1.violin(*words, check=False, timeout=240)
    if not whole:  # what strikes when they are removed
        h1.violin("env", "remove", "web", "--force", check=False, timeout=120)
    wait_for("the fault struck", lambda: os.path.exists(mark), 60)

    def settled():
        lab.wait_members(3)
        if any(not j["over"] for h in lab.hosts for j in h.json("env", "jobs")):
            return False
        running, there = sum(len(lab.where(f"web-{n}")) for n in range(1, 7)), sum(len(disks(h)) for h in lab.hosts)
        return running == there == 6 or running == there == 0 and not any(files(h) for h in lab.hosts)
    wait_for(f"killed at {point}: guests and disks of all, or of none", settled, 240)
    if h1.json("env", "list"):
        wait_for("it can be removed", lambda: h1.violin("env", "remove", "web", "--force", check=False, timeout=120).returncode == 0, 120)
    wait_for("nothing is left", lambda: not any(files(h) or guests(h) or disks(h) for h in lab.hosts), 90)


@test
def killed_while_disks_are_made():
    """the peer is killed when the disks are there and the guest isn't: all of them come to be, or none, and no disk is left"""
    killed_at("envmake.guest.disks", h2, True)


@test
def killed_while_disks_are_removed():
    """the peer is killed when the disks are gone and the record isn't: it ends what it began"""
    killed_at("envmake.guest.wiped", h3, False)


if __name__ == "__main__":
    with lab:
        main()
