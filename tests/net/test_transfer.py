#!/usr/bin/env python3
"""A transfer with a checksum between two guests while their hosts' network is bad: 1 % of the packets are lost, 5 % come
late, 1 % come twice, the path shrinks from 1500 to 1280 bytes midway without a word, and sessions get new keys each
second. Beside it plain TCP through the same kind of network. BYTES=… says how much is sent (1 GB in check-long)."""
import hashlib, json, os, subprocess, sys, time

from bad_network import BadNetwork
from harness import main, test
from lab import Lab, run, wait_for

BYTES = int(float(os.environ.get("BYTES", 24e6))) // 16384 * 16384
BOUND = 120 + BYTES / 100e3  # seconds: generous; a stalled transfer ends with a sentence
PLAIN = {"net.ipv4.tcp_mtu_probing": "1"}  # plain TCP would hang in the black hole for ever without it

SERVE = """
import hashlib, json, socket
l = socket.socket()
l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
l.bind(("", 9))
l.listen(8)
while True:
    c, _ = l.accept()
    h, n = hashlib.sha256(), 0
    try:
        while True:
            d = c.recv(1 << 16)
            if not d:
                break
            h.update(d)
            n += len(d)
        c.sendall(json.dumps({"bytes": n, "sha256": h.hexdigest()}).encode())
    except OSError:
        pass
    c.close()
"""
TALK = """
import hashlib, socket, sys, time
bytes_, bound = int(sys.argv[2]), float(sys.argv[3])
for tries in range(300):
    try:
        s = socket.create_connection((sys.argv[1], 9), timeout=60)
        break
    except ConnectionRefusedError: # it comes up
        time.sleep(0.1)
s.settimeout(bound)
began = time.monotonic()
for i in range(bytes_ // 16384):
    s.sendall(hashlib.sha256(i.to_bytes(8, "big")).digest() * 512)
    if i == bytes_ // 32768:
        print("half", flush=True)
s.shutdown(socket.SHUT_WR)
print(s.recv(1000).decode(), flush=True)
print(time.monotonic() - began, flush=True)
"""
lab = Lab(hosts=2, settings={"overlay-rekey": 1})
h1, h2 = lab.hosts
took, nets = {}, []


def network(namespaces, name, ips):
    nets.append(BadNetwork(*[(ns, name, ip) for ns, ip in zip(namespaces, ips)], seed=5))
    return nets[-1]


def transfer(spawn, to, net):
    """Sends, shrinks the path midway; the seconds it took."""
    p = spawn(sys.executable, "-c", TALK, to, BYTES, BOUND, stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "half\n", "the transfer stalls before the path shrinks"
    net.shrink(1280)
    said = json.loads(p.stdout.readline() or '{"bytes": "nothing"}')
    want = hashlib.sha256()
    for i in range(BYTES // 16384):
        want.update(hashlib.sha256(i.to_bytes(8, "big")).digest() * 512)
    assert said["bytes"] == BYTES, f"{said['bytes']} of {BYTES} bytes arrived"
    assert said["sha256"] == want.hexdigest(), "other bytes arrived"
    return float(p.stdout.readline())


def in_namespace(ns):
    def spawn(*cmd, **kw):
        p = subprocess.Popen(["ip", "netns", "exec", ns, *map(str, cmd)], stdin=subprocess.DEVNULL, start_new_session=True, **kw)
        lab.procs.append(p)
        return p
    return spawn


def speed(seconds):
    return f"{BYTES * 8 / seconds / 1e6:.1f} Mb/s ({seconds:.1f} s)"


@test
def over_the_mesh():
    """between guests, through the mesh: the right bytes arrive, nothing but duplicates and lost parts was refused"""
    for h in lab.hosts:
        run("ip", "-n", h.ns, "link", "del", "eth0")
    net = network([h.ns for h in lab.hosts], "eth0", [h.ip for h in lab.hosts])
    lab.form()
    e = h1.json("env", "create", "physics")
    wait_for("host2 knows it", lambda: len(h2.json("env", "list")) == 1, 30)
    lab.guest(h1, "g1", "10.6.0.1", e["bridge"])
    lab.guest(h2, "g2", "10.6.0.2", e["bridge"])
    ns = [f"{lab.prefix}g-g{i}" for i in (1, 2)]
    in_namespace(ns[1])(sys.executable, "-c", SERVE)
    wait_for("g2", lambda: run("ip", "netns", "exec", ns[0], "ping", "-c", "1", "-W", "1", "10.6.0.2"), 40)
    show = lambda h: h.json("env", "show", "physics")
    wait_for("the path's size", lambda: show(h1)["paths"][0]["datagram"] == 1472, 30)
    handshakes = lambda: h1.status()["mesh"]["handshakes_done"]
    before = handshakes()
    net.bad()
    took["mesh"] = transfer(in_namespace(ns[0]), "10.6.0.2", net)
    c = [show(h)["datapath"]["counters"] for h in lab.hosts]
    wait_for("the path's size is known", lambda: 1200 <= show(h1)["paths"][0]["datagram"] <= 1252, 30)
    assert c[0].get("black_holes"), c[0]
    assert sum(x.get("rx_replay", 0) for x in c) > 0, "the network's duplicates were not noticed"
    for x in c:
        for bad in ("rx_auth", "rx_number", "rx_stray", "tap_refused", "tap_header", "tx_no_session", "gso_off", "gro_off"):
            assert not x.get(bad), f"{bad}: {x[bad]}"
    keys = handshakes() - before
    assert keys >= took["mesh"] / 4, f"new keys were rare: {keys}"
    lab.wait_members(2)
    print(f"      {BYTES / 1e6:.0f} MB over the mesh: {speed(took['mesh'])}, new keys {keys} times", flush=True)


@test
def black_hole():
    """the path carries 700 bytes from now on, without a word: frames of 1500 bytes pass again within seconds"""
    ping = lambda n: run("ip", "netns", "exec", f"{lab.prefix}g-g1", "ping", "-n", "-c", n, "-i", "0.1", "-W", "1", "-M", "do",
                         "-s", "1472", "10.6.0.2", check=False).stdout
    nets[0].tell("good")
    wait_for("all of five", lambda: " 0% packet loss" in ping(5), 30)
    nets[0].shrink(700)
    began = time.monotonic()
    wait_for("a frame of 1500 bytes", lambda: " 0% packet loss" in ping(1), 60)
    print(f"      nothing for {time.monotonic() - began:.1f} s", flush=True)
    wait_for("five in a row", lambda: " 0% packet loss" in ping(5), 30)
    assert " 0% packet loss" in ping(10), "frames of 1500 bytes don't always pass"
    size = h1.json("env", "show", "physics")["paths"][0]["datagram"]
    assert size <= 672, size


@test
def plain():
    """plain TCP through the same kind of network, for comparison: it arrives, too"""
    ns = [f"{lab.prefix}p{i}" for i in (1, 2)]
    for n in ns:
        run("ip", "netns", "add", n)
        lab.namespaces.append(n)
        for k, v in PLAIN.items():
            run("ip", "netns", "exec", n, "sysctl", "-qw", f"{k}={v}")
    net = network(ns, "tun0", ["10.6.1.1", "10.6.1.2"])
    in_namespace(ns[1])(sys.executable, "-c", SERVE)
    wait_for("the other end", lambda: run("ip", "netns", "exec", ns[0], "ping", "-c", "1", "-W", "1", "10.6.1.2"), 20)
    net.bad()
    took["plain"] = transfer(in_namespace(ns[0]), "10.6.1.2", net)
    print(f"      {BYTES / 1e6:.0f} MB of plain TCP: {speed(took['plain'])}"
          + (f"; over the mesh {took['plain'] / took['mesh']:.2f} times that" if "mesh" in took else ""), flush=True)


with lab:
    try:
        main()
    finally:
        for n in nets:
            n.close()
