#!/usr/bin/env python3
"""check_create.py PROGRAM [FACT…]: on real Xen, an environment is made from images by one command, over two hosts in QEMU.

One head and two guests, all with their root on one image that only one of the hosts has at first: read-only, and what they
write in memory. All reach each other on their virtual Ethernet. One moves live, they are stopped and started, survive the
power of a host being cut, and are removed without a trace.
(Peers that are killed midway: tests/net/test_envcreate.py.) Facts and figures: build/xen/create.json."""
import hashlib, os, re, sys, time

sys.dont_write_bytecode = True
import facts
from facts import copies, events, fact, know_each_other, wait_for
from xenlab import XenLab

ADDRESSES = {"web-head": "10.9.0.1", "web-1": "10.9.0.11", "web-2": "10.9.0.12"}
CREATE = ("env create web --guests 2 --head --kernel vmlinuz --ramdisk boot.cpio --image root --memory 96 --network 10.9.0.0/24 "
          "--append 'console=hvc0 quiet ip4=%a/%p'")
REFUSED = r"Operation not permitted|Permission denied|Read-only file system"
lab = h1 = h2 = None
before = {}  # what was on each host when it had no environment


def domains(host):
    """What `xl list` has, beside dom0: name → flags."""
    return {w[0]: w[4] for w in (l.split() for l in host.sh("xl list").splitlines()[1:]) if w and w[0] != "Domain-0"}


def where():
    """Each domain's hosts."""
    found = {}
    for h in (h1, h2):
        for name in domains(h):
            found.setdefault(name, []).append(h)
    return found


def alone():
    """Each domain's host; there is only one."""
    return {name: host for name, (host,) in where().items()}


def whole():
    """Each of the three runs on exactly one host."""
    found = where()
    assert all(len(v) == 1 for v in found.values()), f"more than one copy: {found}"
    return sorted(found) == sorted(ADDRESSES) and all(domains(v[0])[n][2] != "p" for n, v in found.items())


def traces(host):
    """All that an environment, or what makes one, could leave: domains, devices, bridges, records, files."""
    return set(host.sh("""
        xl list | sed 's/ .*//'; ls /sys/class/net; losetup -a; ls -d /sys/block/dm-* 2>/dev/null
        for k in /local/domain /libxl /vm; do xenstore-list -p $k; done; xenstore-ls -f /local/domain/0/backend 2>/dev/null
        find /var/lib /run /etc/violin /etc/xen /root /tmp -xdev ! -name '*-wal' ! -name '*-shm' ! -name '*-journal' \\
            ! -path /run/xen-hotplug ! -path /run/xen/domid-history  # Xen's own: from the first disk and the first domain on
        violin env list --json; violin guests --json""").splitlines())


def cached(host):
    """Images that this host was given or has fetched."""
    return [(i["name"], i["state"]) for i in host.json("image list") if i["state"] != "folder"]


def left(host):
    return sorted(traces(host) - before[host.name])


def booted():
    for name, v in where().items():
        wait_for(f"{name} is up inside", lambda v=v, name=name: "DOMU-UP" in v[0].guest_log(name), 300)


def reachable():
    """Each of them pings both others; how long that took."""
    began = time.monotonic()
    found = where()
    mark = time.monotonic_ns()
    for a in ADDRESSES:
        others = " ".join(ip for b, ip in ADDRESSES.items() if b != a)
        found[a][0].type(a, f"for p in {others}; do i=0; until ping -c 1 -W 2 $p >/dev/null || [ $i = 40 ]; do i=$((i+1)); done; "
                            f"[ $i -lt 40 ] && echo reached''-$p-{mark}; done")
    for a in ADDRESSES:
        for b, ip in ADDRESSES.items():
            if a != b:
                wait_for(f"{a} reaches {b}", lambda a=a, ip=ip: f"reached-{ip}-{mark}" in found[a][0].guest_log(a), 300)
    return round(time.monotonic() - began, 1)


def inside(guests, script):
    """What a script says in each of some guests (name → host), by their consoles, all at the same time: name → text."""
    mark, said = time.monotonic_ns(), {}
    for name, host in guests.items():
        host.type(name, f"echo begin''-{mark}; ({script}) 2>&1; echo end''-{mark}")
    for name, host in guests.items():
        found = wait_for(f"{name} answers", lambda: re.search(rf"begin-{mark}\s(.*)end-{mark}", host.guest_log(name), re.S), 300)
        said[name] = found.group(1).replace("\r", "")
    return said


# ---- the root image -----------------------------------------------------------------------------

def image_file():
    return os.path.join(lab.images.share, "root.ext4")


def digest():
    with open(image_file(), "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def device(host, name):
    """A guest's xvda as dom0 has it: the loop device, the file below it, and whether Xen and the kernel call it read-only."""
    at = f"/local/domain/0/backend/vbd/{host.domid(name)}/51712"
    loop, mode, ro, path = host.sh(f"p=$(xenstore-read {at}/physical-device-path); echo $p; xenstore-read {at}/mode; "
                                   "cat /sys/block/${p##*/}/ro /sys/block/${p##*/}/loop/backing_file").split("\n")[:4]
    assert mode == "r" and ro == "1", (name, loop, mode, ro)
    return loop, path


def roots_are_images(guests):
    """In each guest: its root is the image with memory over it, and the device has exactly the image's bytes."""
    for said in inside(guests, "grep -E ' (/|/image|/written) ' /proc/mounts; echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/xvda").values():
        mounts = {l.split()[1]: l.split() for l in said.splitlines() if l.count(" ") == 5}
        assert mounts["/"][2] == "overlay" and "lowerdir=/image,upperdir=/written/files" in mounts["/"][3], said
        assert mounts["/image"][0] == "/dev/xvda" and "ro" in mounts["/image"][3].split(","), said
        assert mounts["/written"][2] == "tmpfs" and digest() in said, said


def configured(h):
    h.sh("ip link add xenout type bridge && ip link set xenout up")
    h.configure(settle_time=3600, outside_bridge="xenout", mode="observe")


# ---- facts --------------------------------------------------------------------------------------

@fact
def starts():
    """two hosts boot and are one domain; each has a bridge for legs outside, one of them the root image"""
    lab.boot((h1, h2))
    for h in (h1, h2):
        configured(h)
    h1.violin("init --domain lab")
    h1.start()
    h2.violin("join " + h1.json("invite")["token"])
    h2.start()
    know_each_other((h1, h2), 180)
    for h in (h1, h2):
        before[h.name] = traces(h)
    name = h1.violin("image add /mnt/root.ext4 --name root").split()[0]
    with open(image_file(), "rb") as f:
        assert name == hashlib.blake2b(f.read(), digest_size=32).hexdigest(), name
    return {"image": name[:12], "image_mib": os.path.getsize(image_file()) >> 20, "things_seen": [len(before[h.name]) for h in (h1, h2)]}


@fact
def creates():
    """one command: a head and two guests over both hosts, from one image; all reach each other"""
    assert (cached(h1), cached(h2)) == ([("root", "added")], []), "host2 is to fetch it"
    began = time.monotonic()
    h1.violin(CREATE, timeout=900)
    took = round(time.monotonic() - began, 1)
    assert whole(), where()
    found = {n: v[0].name for n, v in where().items()}
    assert set(found.values()) == {"host1", "host2"}, found
    assert cached(h2) == [("root", "fetched")], cached(h2)
    booted()
    head = where()["web-head"][0]
    bridges = head.sh(f"for v in $(ls /sys/class/net | grep vif{head.domid('web-head')}); do basename $(readlink -f /sys/class/net/$v/master); done")
    assert sorted(b[:6] for b in bridges.split()) == sorted(["vi-" + h1.json("env show web")["id"][:3], "xenout"]), bridges
    came = next(e["numbers"] for e in events(h2, "image", "root") if "seconds" in e["numbers"])
    return {"create_s": took, "reach_s": reachable(), **found, "fetched_bytes": came["bytes"], "fetch_s": round(came["seconds"], 2)}


@fact
def roots_are_the_image():
    """root: the image, read-only, in memory what is written; the device takes no writes; two guests share one file"""
    guests = alone()
    roots_are_images(guests)
    tried = inside(guests, "dd if=/dev/zero of=/dev/xvda bs=4096 count=1; mount -o remount,rw /image; touch /image/x; "
                           "grep -o 'violin.name=[^ ]*' /proc/cmdline >/etc/written; cat /written/files/etc/written")
    refused = {name: re.findall(REFUSED, said) for name, said in tried.items()}
    assert all(len(refused[n]) == 3 and f"violin.name={n}\n" in tried[n] for n in guests), tried
    files = {h.name: [device(h, n) for n, at in guests.items() if at is h] for h in (h1, h2)}
    shared = next(f for f in files.values() if len(f) == 2)
    assert shared[0][0] != shared[1][0] and shared[0][1] == shared[1][1], shared
    for h in (h1, h2):  # after all those tries
        assert digest() in h.sh(f"sha256sum {files[h.name][0][1]}")
    return {"refused": refused, "two_share": shared[0][1], "loops": [l for l, _ in shared]}


@fact
def moves():
    """one moves live to the other host, with what it wrote; it reads its root from that host's copy"""
    source = next(h for h in (h1, h2) if len(domains(h)) == 2)
    target = h2 if source is h1 else h1
    name = next(n for n in sorted(domains(source)) if n != "web-head")
    boot_id = inside({name: source}, "cat /proc/sys/kernel/random/boot_id")
    began = time.monotonic()
    source.violin(f"migrate {name} {target.name}", timeout=1500)
    took = round(time.monotonic() - began, 1)
    wait_for("it is there alone", lambda: copies((h1, h2), name) == [target.name])
    assert inside({name: target}, "cat /proc/sys/kernel/random/boot_id") == boot_id, "another boot"
    roots_are_images({name: target})
    assert f"violin.name={name}\n" in inside({name: target}, "cat /etc/written")[name]
    (loop, path), (other, same) = (device(target, n) for n in (name, *(domains(target).keys() - {name})))
    assert loop != other and path == same and digest() in target.sh(f"sha256sum {path}"), (loop, other, path, same)
    assert len(source.sh("losetup -a").splitlines()) == 1, "the source keeps a loop device"
    return {"moved": name, "to": target.name, "whole_s": took, "reach_s": reachable(), "loop": loop}


@fact
def stops_and_starts():
    """stop asks them to power off, the head last; start brings them back, without what they wrote"""
    began = time.monotonic()
    h2.violin("env stop web", timeout=900)
    stopped = round(time.monotonic() - began, 1)
    assert not where(), where()
    assert all(h.sh("losetup -a").strip() == "" for h in (h1, h2)), "loop devices of stopped guests"
    began = time.monotonic()
    h1.violin("env start web", timeout=900)
    started = round(time.monotonic() - began, 1)
    assert whole(), where()
    booted()
    reachable()
    roots_are_images(alone())
    assert all("No such file" in said for said in inside(alone(), "cat /etc/written").values())
    return {"stop_s": stopped, "start_s": started}


@fact
def survives_power():
    """the power of a host is cut: after its boot violin starts what that host owns, and only that"""
    there = {n: v[0].name for n, v in where().items()}
    h2.kill()
    time.sleep(2)
    began = time.monotonic()
    lab.boot((h2,))
    # libxl never takes away what it kept of domains whose end it didn't see
    before["host2"] |= set(h2.sh("ls -d /var/lib/xen/userdata-* 2>/dev/null; true").split())
    configured(h2)
    h2.start()
    know_each_other((h1, h2), 180)
    wait_for("all run", whole, 600)
    after = {n: v[0].name for n, v in where().items()}
    assert after == there, (there, after)
    took = round(time.monotonic() - began, 1)
    booted()
    reachable()
    roots_are_images(alone())
    return {"back_s": took, "started_there": sum(h == "host2" for h in after.values())}


@fact
def removes():
    """remove leaves nothing: domains, devices, bridges, files, records; the image can be removed then, not before"""
    r = h1.violin("env remove web", check=False, timeout=300)
    assert "violin env stop first" in r and whole(), r
    assert "in use" in (kept := h1.violin("image remove root", check=False)) and cached(h1), kept
    began = time.monotonic()
    h1.violin("env remove web --force", timeout=900)
    took = round(time.monotonic() - began, 1)
    wait_for("no environment anywhere", lambda: not any(domains(h) or h.json("env list") for h in (h1, h2)), 120)
    for h in (h1, h2):
        h.violin("image remove root")
    try:
        wait_for("nothing is left", lambda: not left(h1) and not left(h2), 120)
    except AssertionError as e:
        raise AssertionError(f"{e}: {left(h1)}, {left(h2)}")
    return {"remove_s": took, "looked_at": [len(traces(h)) for h in (h1, h2)], "left": 0}


def main():
    global lab, h1, h2
    lab = XenLab(sys.argv[1], 2)
    h1, h2 = lab.hosts
    facts.ends("check_create", facts.run(lab, "create.json", sys.argv[2:], ("creates",)))


if __name__ == "__main__":
    main()
