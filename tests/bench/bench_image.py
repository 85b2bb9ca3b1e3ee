#!/usr/bin/env python3
"""bench_image.py: how long an image takes to another host, beside scp of the same file in the same run.

Four hosts in namespaces of one machine; the image is added on the first. Each round: scp from the first to the second,
then `violin image fetch` on the second (one has it), third (two) and fourth (three); then all is removed again. Times are of the
whole command, as a person waits for it: what violin fetched has then been tested twice, each chunk and the whole, and is on
the disk; scp's file is in the page cache. SIZE (300) is in MiB, ROUNDS (5); QUICK=1: 60 MiB, two rounds. INSTALL=1 installs openssh-server, which also starts it on this
machine: so it isn't among deploy/packages.txt."""
import os, shutil, subprocess, sys, time

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(os.path.dirname(here), "net")]
from lab import Lab, run, wait_for
from report import Report

QUICK = os.environ.get("QUICK") == "1"
MIB = 1 << 20
SIZE = int(os.environ.get("SIZE", "60" if QUICK else "300"))
ROUNDS = int(os.environ.get("ROUNDS", "2" if QUICK else "5"))
SSHD = "/usr/sbin/sshd"

if os.environ.get("INSTALL") == "1":
    subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", "openssh-server"], stdout=subprocess.DEVNULL,
                   env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=True)
missing = [p for p in (SSHD, shutil.which("scp") or "scp", shutil.which("ssh-keygen") or "ssh-keygen") if not os.path.exists(p)]
if missing:
    sys.exit(f"{', '.join(missing)}: not there; make bench-image INSTALL=1 installs openssh-server")


def start_sshd(lab, h):
    """On the host's address, with keys of its own, for root alone."""
    d = os.path.join(lab.dir, "ssh")
    os.makedirs(d, mode=0o700)
    for k in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(d, k))
    shutil.copy(os.path.join(d, "user.pub"), os.path.join(d, "authorized"))
    os.makedirs("/run/sshd", exist_ok=True)
    log = open(os.path.join(d, "log"), "wb")
    lab.spawn(h.ns, SSHD, "-D", "-e", "-f", "/dev/null", "-h", f"{d}/host", "-p", "22", "-o", f"ListenAddress={h.ip}", "-o",
              f"AuthorizedKeysFile={d}/authorized", "-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "PidFile=none", "-o",
              "PermitRootLogin=yes", "-o", "Subsystem=sftp internal-sftp", stdout=log, stderr=log)
    options = ["-q", "-i", f"{d}/user", "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={d}/known", "-o", "BatchMode=yes"]
    wait_for("sshd answers", lambda: run("ip", "netns", "exec", lab.hosts[1].ns, "ssh", *options, f"root@{h.ip}", "true").returncode == 0, 30)
    return options


def timed(f):
    began = time.monotonic()
    f()
    return time.monotonic() - began


def scp(lab, options, path):
    to = os.path.join(lab.hosts[1].dir, "copy.img")
    s = timed(lambda: run("ip", "netns", "exec", lab.hosts[1].ns, "scp", *options, f"root@{lab.hosts[0].ip}:{path}", to))
    assert os.path.getsize(to) == SIZE * MIB
    os.unlink(to)
    return s


def fetch(h, image):
    s = timed(lambda: h.violin("image", "fetch", image, timeout=600))
    by = {x["host"]: x["bytes"] for x in h.json("image", "show", image)["sources"] if x["bytes"]}
    return s, by


def main():
    report = Report("image")
    cases = {"scp": [], "1 source": [], "2 sources": [], "3 sources": []}
    with Lab(hosts=4, settings={"mode": "observe"}) as lab:
        lab.form()
        path = os.path.join(lab.dir, "root.img")
        with open(path, "wb") as f:
            for _ in range(SIZE):
                f.write(os.urandom(MIB))
        image = lab.hosts[0].violin("image", "add", path, "--name", "root", timeout=600).stdout.strip()
        options = start_sshd(lab, lab.hosts[0])
        shares = []
        for r in range(ROUNDS):
            cases["scp"].append(scp(lab, options, path))
            for n, h in enumerate(lab.hosts[1:], 1):
                s, by = fetch(h, image)
                cases["1 source" if n == 1 else f"{n} sources"].append(s)
                if n > 1:
                    shares.append({k: round(v / MIB, 1) for k, v in sorted(by.items())})
            for h in lab.hosts[1:]:
                h.violin("image", "remove", image)
            print(f"round {r + 1}: " + ", ".join(f"{c} {t[-1]:.2f} s" for c, t in cases.items()), flush=True)
    for c, seconds in cases.items():
        report.add(f"{SIZE} MiB", c, "throughput", "MiB/s", [SIZE / s for s in seconds])
        report.add(f"{SIZE} MiB", c, "time", "s", seconds)
    report.notes = {"definitions": __doc__, "mib_by_source": shares, "cpus": os.cpu_count(),
                    "scp": subprocess.run(["ssh", "-V"], stderr=subprocess.PIPE, text=True).stderr.strip()}
    report.write()


main()
