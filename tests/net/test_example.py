#!/usr/bin/env python3
"""deploy/examples/cluster as it is: a head with an uplink that routes with NAT and serves home directories, and compute
guests on other hosts that use both, also while one moves. File service: SFTP over TCP (sftp-server, sshfs): no module."""
import os, subprocess, sys, time

from harness import main, test
from lab import ROOT, Lab, run, wait_for

EXAMPLE = os.path.join(ROOT, "deploy", "examples", "cluster")
HEAD_OUT, SERVER = "192.0.2.10", "192.0.2.1"
if not os.access("/dev/fuse", os.R_OK | os.W_OK):
    sys.exit("this needs /dev/fuse (sshfs)")
lab = Lab(hosts=3)
lab.form()
h1, h2, h3 = lab.hosts
homes = os.path.join(lab.dir, "homes")
campus_ns = f"{lab.prefix}g-campus"
mounts = {}

# The campus' server: answers each connection with the address that it came from.
TELL = """
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("192.0.2.1", 80)); s.listen(8)
while True:
    c, who = s.accept()
    c.sendall(who[0].encode()); c.close()
"""
ASK = "import socket; s = socket.create_connection(('192.0.2.1', 80), 5); print(s.recv(99).decode())"
# Lines into a file at home, each on the server's disk, until it is told to end; says how many.
WRITE = """
import os, sys, time
with open(sys.argv[1], "w") as f:
    n = 0
    while not os.path.exists(sys.argv[2]):
        n += 1
        print("line", n, file=f, flush=True)
        os.fsync(f.fileno())
        time.sleep(0.02)
print(n)
"""


def guest_ns(name):
    return f"{lab.prefix}g-{name}"


def inside(name, *cmd, **kw):
    """In the guest's network; not by `ip netns exec`, which would hide its mounts from the next command."""
    return run("nsenter", f"--net=/run/netns/{guest_ns(name)}", *cmd, **kw)


def example(name, script, *args, **settings):
    env = {**os.environ, "HEAD": "10.80.0.1", "SERVICE": "sftp", "HOMES": homes, "RUN": os.path.join(lab.dir, f"run-{name}")}
    env.update(settings)
    with open(os.path.join(lab.dir, f"{script}-{name}.log"), "ab") as log: # the service goes on with it
        r = subprocess.run(["nsenter", f"--net=/run/netns/{guest_ns(name)}", os.path.join(EXAMPLE, script), *args], env=env,
                           stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    assert r.returncode == 0, open(log.name).read()


def make_campus():
    """The campus LAN: a namespace with a server, a cable to host1's lan0."""
    run("ip", "netns", "add", campus_ns)
    lab.namespaces.append(campus_ns)
    run("ip", "-n", campus_ns, "link", "set", "lo", "up")
    run("ip", "-n", h1.ns, "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", campus_ns)
    run("ip", "-n", campus_ns, "link", "set", "eth0", "up")
    run("ip", "-n", campus_ns, "addr", "add", f"{SERVER}/24", "dev", "eth0")
    lab.in_guest("campus", sys.executable, "-c", TELL)


def compute(host, name, address):
    lab.guest(host, name, address, physics["bridge"])
    mounts[name] = os.path.join(lab.dir, f"home-{name}")
    example(name, "compute.sh", "start", address, MOUNT=mounts[name])


@test
def head_and_compute_guests():
    """the example's steps, as they are: environments, the uplink, the head, the compute guests on other hosts"""
    global physics, campus
    physics, campus = h1.json("env", "create", "physics"), h1.json("env", "create", "campus")
    for h in lab.hosts:
        wait_for(f"{h.name} knows both", lambda h=h: len(h.json("env", "list")) == 2, 30)
    make_campus()
    h1.violin("env", "attach", "campus", "lan0")
    lab.guest(h1, "head", "10.80.0.1", physics["bridge"], movable="no")
    # its second interface: the simulated hypervisor gives a guest one
    run("ip", "-n", h1.ns, "link", "add", "vhead1", "type", "veth", "peer", "name", "eth1", "netns", guest_ns("head"))
    run("ip", "-n", h1.ns, "link", "set", "vhead1", "master", campus["bridge"], "up")
    example("head", "head.sh", "start", OUTSIDE_ADDRESS=f"{HEAD_OUT}/24")
    compute(h2, "c1", "10.80.0.11")
    compute(h3, "c2", "10.80.0.12")
    assert [m for m in h2.json("env", "show", "physics")["macs"] if m["host"] == "host1" and m["pinned"]], "the head isn't pinned"


@test
def way_out():
    """a compute guest reaches the campus' server, which sees the head's address; from outside nobody reaches it"""
    for c in ("c1", "c2"):
        wait_for(f"{c} reaches the server", lambda c=c: inside(c, sys.executable, "-c", ASK).stdout.strip() == HEAD_OUT, 30)
    run("ip", "-n", campus_ns, "route", "add", "10.80.0.0/24", "via", HEAD_OUT)
    r = run("ip", "netns", "exec", campus_ns, "ping", "-n", "-c", "1", "-W", "1", "10.80.0.11", check=False)
    assert r.returncode != 0, "a compute guest is reached from outside"


@test
def homes_are_shared():
    """what one compute guest writes at home another reads, and it is on the head's disk"""
    with open(os.path.join(mounts["c1"], "result"), "w") as f:
        f.write("42\n" * 1000)
    assert open(os.path.join(mounts["c2"], "result")).read() == "42\n" * 1000
    assert open(os.path.join(homes, "result")).read() == "42\n" * 1000
    traffic = h2.json("env", "show", "physics")["traffic"]
    assert sum(t["bytes"] for t in traffic) > 3000, "the homes don't go over the virtual network"


@test
def moves_while_it_writes():
    """a compute guest writes into its home while it moves to another host: no line is lost, the mount goes on"""
    path, end = os.path.join(mounts["c1"], "log"), os.path.join(lab.dir, "end")
    out = open(os.path.join(lab.dir, "lines"), "w+")
    p = lab.in_guest("c1", sys.executable, "-c", WRITE, path, end, stdout=out)
    seen = lambda: len(open(os.path.join(homes, "log")).readlines())
    wait_for("it writes", lambda: seen() > 10, 30)
    h2.violin("migrate", "c1", "host3", timeout=120)
    wait_for("c1 runs on host3 alone", lambda: lab.where("c1") == [h3], 30)
    before = seen()
    wait_for("it goes on writing", lambda: seen() > before + 20, 60)
    open(end, "w").close()
    p.wait(60)
    out.seek(0)
    n = int(out.read())
    lines = open(os.path.join(homes, "log")).read().splitlines()
    assert lines == [f"line {i}" for i in range(1, n + 1)], (n, len(lines))
    run("ip", "-n", guest_ns("c1"), "route", "replace", "default", "via", "10.80.0.1")  # simulated guests keep only addresses
    wait_for("the way out, from there", lambda: inside("c1", sys.executable, "-c", ASK).stdout.strip() == HEAD_OUT, 30)


@test
def stops():
    """compute.sh stop and head.sh stop end what was started"""
    for c in ("c1", "c2"):
        example(c, "compute.sh", "stop", MOUNT=mounts[c])
        assert not os.path.ismount(mounts[c])
        del mounts[c]
    example("head", "head.sh", "stop")
    assert "violin_cluster" not in inside("head", "nft", "list", "tables").stdout


def unmount():
    for m in mounts.values(): # or what is mounted would be removed with the lab's folder
        run("umount", "-l", m, check=False)


with lab:
    try:
        main()
    finally:
        unmount()
