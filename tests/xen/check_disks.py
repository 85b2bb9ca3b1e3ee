#!/usr/bin/env python3
"""check_disks.py PROBE HOST_PROBE: a disk is copied between two hosts while a guest writes to it, by the kernel's device
mapper and nbd, as xen/disk.h does it: out, back (only what differs), with a slow line, a line that is cut or lets nothing
through, and a destination that is full; then the same as two agents do it, in threads, behind xen/disks.h. No Xen is needed
for that: one Debian kernel in QEMU is both hosts, the program's disk_probe and disk_host_probe the guest and the line between
them. MIB=64: the disk's size.

Facts, not speed: everything is emulated. Each scenario is a test; the last line counts them."""
import json, os, shutil, subprocess, sys

from images import Images
from xenlab import die_with_parent

MIB = int(os.environ.get("MIB", "48"))
INIT = r"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /small
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
mount -t tmpfs -o size=400m tmpfs /tmp; mount -t tmpfs -o size=4m tmpfs /small
for m in loop dm-mod dm-mirror nbd; do modprobe $m || echo "modprobe $m failed"; done
mkdir /tmp/disks
ip link set lo up
disk_probe /tmp/disks @MIB@ >/dev/ttyS0 2>&1
echo "PROBE-ENDED $?"
disk_host_probe /tmp/disks @MIB@ >/dev/ttyS0 2>&1
echo "HOST-PROBE-ENDED $?"
left=$(ls -d /sys/block/dm-* /sys/block/loop*/loop /sys/block/nbd*/pid /dev/mapper/violin-* /tmp/disks/*/* /small/*/* /tmp/violin-disk-log* /run/violin-disk-log* 2>/dev/null)
echo '{"scenario": "nothing is left", "left": "'$left'"}'
poweroff -f
"""


class Machine:
    def __init__(self, probe, host_probe):
        self.images = Images(probe)
        with self.images.locked():
            self.build(probe, host_probe)

    def build(self, probe, host_probe):
        self.images.download()
        root = self.images.fresh("b-disks")
        self.images.busybox(root)
        self.images.copy_binary(root, self.images.pkgs + "/bin/kmod", "/bin/kmod")
        os.unlink(root + "/bin/modprobe")
        os.symlink("kmod", root + "/bin/modprobe")
        self.images.copy_binary(root, probe, "/bin/disk_probe")
        self.images.copy_binary(root, host_probe, "/bin/disk_host_probe")
        self.images.copy_modules(root, ["loop", "dm-mod", "dm-mirror", "nbd"])
        self.images.script(root, "init", INIT.replace("@MIB@", str(MIB)))
        self.images.pack(root, self.images.path("disks.cpio"))
        shutil.rmtree(root)

    def run(self, seconds):
        """What the machine said, by lines."""
        kernel = os.path.join(self.images.pkgs, f"boot/vmlinuz-{self.images.kv}")
        command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-nodefaults", "-display", "none",
                   "-no-reboot", "-serial", "stdio", "-kernel", kernel, "-initrd", self.images.path("disks.cpio"),
                   "-append", "console=ttyS0 quiet mitigations=off audit=0 random.trust_cpu=1"]
        p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
                           preexec_fn=die_with_parent)
        return p.stdout.decode(errors="replace").splitlines()


def sound(f):
    return f["bad_blocks"] == 0 and f["io_errors"] == 0


def moved(most):
    return lambda f: f["finished"] and sound(f) and f["of_disk"] <= most


def agents_moved(most):
    return lambda f: moved(most)(f) and f["served"] == 0 and not f["old_starts"] and f["left_device"] == ""


def good(f):
    return f["good"]


def stays(f):
    return not f["finished"] and sound(f)


def stays_cut(f):
    """And the other side doesn't take it for a copy that has ended in order."""
    return stays(f) and f["served"] != ""


# In the order in which the probe plays them. A way out moves all of the disk, and what was written meanwhile.
WANTED = [
    ("out", moved(1.3)),
    ("back", moved(0.5)),
    ("out with delay", moved(1.3)),
    ("back with delay", moved(0.5)),
    ("a write fails there while it is compared", stays),
    ("a device of its name was left", stays),
    ("a guest discards", stays),
    ("given up midway", stays_cut),
    ("stream cut midway", stays_cut),
    ("nothing comes through", stays_cut),
    ("destination's disk is full", stays),
    ("out", moved(1.3)),
    ("back", moved(0.5)),
    ("an agent that dies leaves a disk that goes on", good),
    ("agents: stream cut midway", stays),
    ("agents: taken down midway", stays),
    ("a quiet mirror says something", good),
    ("agents: out", agents_moved(1.3)),
    ("agents: back", agents_moved(0.5)),
    ("what is in use isn't adopted", good),
    ("nor is a name of the day", good),
    ("a device is adopted", good),
    ("a raw file is adopted in place", good),
    ("nothing is left", lambda f: f["left"] == ""),
]


def main():
    lines = Machine(*map(os.path.abspath, sys.argv[1:3])).run(1700)
    facts = [json.loads(l) for l in lines if l.startswith("{")]
    failed = 0
    for n, (name, good) in enumerate(WANTED):
        f = facts[n] if n < len(facts) else {}
        well = f.get("scenario") == name and good(f)
        failed += not well
        print(f"  {'ok  ' if well else 'FAIL'} {name}: {json.dumps(f)}", flush=True)
    if failed:
        print("\n".join(lines))
    print(f"disks: {len(WANTED) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
