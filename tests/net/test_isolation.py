#!/usr/bin/env python3
"""What is forged, repeated, cut or bent on the network, and who takes no part: dropped, and counted by its own reason.
And a guest that moves: found at once though it is silent, by who hasn't heard of it through its old host."""
import random, subprocess, sys, time

from harness import main, test
from lab import Lab, run, wait_for
from watch import EVERYBODY, Watch, in_ns, ip_sum, raw, send, udp

lab = Lab(hosts=3)
lab.form()
h1, h2, h3 = lab.hosts
macs = {}
DATA = 5  # the type of a data path's datagram, overlay/README.md
HEADER, PORT = 14 + 20 + 8, 7411


def guest(h, name, ip, **numbers):
    macs[name] = lab.guest(h, name, ip, physics["bridge"], **numbers)["mac"]


def ns(name):
    return f"{lab.prefix}g-{name}"


def reaches(a, ip):
    return in_ns(ns(a), "ping", "-n", "-c", "1", "-W", "1", ip, check=False).returncode == 0


def show(h):
    return h.json("env", "show", "physics")


def of_env(h, what):
    return show(h)["counters"].get(what, 0)


def of_host(h, what):
    return show(h)["datapath"]["counters"].get(what, 0)


def on_wire(frame, payload):
    """The datagram of this captured frame with another payload; no UDP checksum, as offloads leave none that is right."""
    head = bytearray(frame[:HEADER])
    head[16:18] = (28 + len(payload)).to_bytes(2, "big")
    head[24:26] = b"\0\0"
    head[24:26] = ip_sum(head[14:34])
    head[38:40] = (8 + len(payload)).to_bytes(2, "big")
    head[40:42] = b"\0\0"
    return bytes(head) + payload


def payload_of(frame):
    return frame[HEADER:14 + int.from_bytes(frame[16:18], "big")]


@test
def bent_datagrams():
    """datagrams between two hosts are repeated, altered, cut: none becomes a frame, each is counted by its reason"""
    global physics
    physics = h1.json("env", "create", "physics")
    for h in lab.hosts:
        wait_for(f"{h.name} knows it", lambda h=h: h.json("env", "list"), 30)
    guest(h1, "p1", "10.5.0.1")
    guest(h2, "p2", "10.5.0.2")
    wait_for("p2", lambda: reaches("p1", "10.5.0.2"), 40)
    with Watch(lab, None, h2, interface="eth0") as w, Watch(lab, physics, h2) as t:
        send(ns("p1"), udp(macs["p1"], macs["p2"], "10.5.0.1", "10.5.0.2", b"once-only"), 1)
        wait_for("it at its TAP", lambda: t.count(h2, b"once-only") == 1, 20)
        data = wait_for("a datagram of the data path", lambda: [
            f for f in w.frames(h2) if f[:6] == raw(mac_of(h2)) and f[12:14] == b"\x08\0" and f[23] == 17
            and int.from_bytes(f[36:38], "big") == PORT and f[HEADER] == DATA and len(payload_of(f)) > 90], 20)
        before = {c: of_host(h2, c) for c in ("rx_replay", "rx_auth", "rx_short", "rx_number")}
        f, p = data[-1], payload_of(data[-1])
        rng = random.Random(4)
        for i in range(7):
            send_wire(on_wire(f, p))  # replayed
        for i in range(11):  # altered anew, with counters that were not used yet: else they were replays
            bad = bytearray(p)
            bad[8:16] = (int.from_bytes(p[8:16], "big") + 1000 + i).to_bytes(8, "big")
            bad[rng.randrange(16, len(p))] ^= 1 << rng.randrange(8)
            send_wire(on_wire(f, bytes(bad)))
        for i in range(13):
            send_wire(on_wire(f, p[:20 + i]))  # cut: not even a header with an empty frame
        wait_for("replays", lambda: of_host(h2, "rx_replay") == before["rx_replay"] + 7, 20)
        wait_for("altered ones", lambda: of_host(h2, "rx_auth") == before["rx_auth"] + 11, 20)
        wait_for("cut ones", lambda: of_host(h2, "rx_short") == before["rx_short"] + 13, 20)
        assert of_host(h2, "rx_number") == before["rx_number"]
        assert t.count(h2, b"once-only") == 1
    assert reaches("p1", "10.5.0.2"), "and the session goes on"


def mac_of(h):
    return in_ns(h.ns, "cat", "/sys/class/net/eth0/address").stdout.strip()


def send_wire(frame):
    """To host2, as if from the network."""
    send(lab.under, frame, 1, interface="p2")


@test
def who_takes_no_part():
    """a host without a guest sends frames into its bridge of the environment: nothing leaves it, and it gets nothing"""
    before = of_env(h3, "dropped_away")
    with Watch(lab, physics, h1, h2) as w, Watch(lab, physics, h3) as at3:
        for to in (macs["p1"], macs["p2"], EVERYBODY):
            send(h3.ns, udp("02:00:00:00:00:33", to, "10.5.0.33", "10.5.0.255", b"stranger"), 4, interface=physics["bridge"])
        send(ns("p1"), udp(macs["p1"], EVERYBODY, "10.5.0.1", "10.5.0.255", b"members-only"), 4)
        wait_for("counted", lambda: of_env(h3, "dropped_away") >= before + 12, 20)
        wait_for("the members' own", lambda: w.count(h2, b"members-only") == 4, 20)
        assert w.count(h1, b"stranger") == w.count(h2, b"stranger") == 0
        assert at3.count(h3, b"members-only") == 0
    assert not [m for m in show(h1)["macs"] if m["mac"] == "02:00:00:00:00:33"], "its MAC was learned"


@test
def stated_without_a_transfer():
    """a guest with another's MAC is started elsewhere: reported as a conflict by all, the first keeps its frames"""
    guest(h3, "p3", "10.5.0.3")
    wait_for("p3", lambda: reaches("p2", "10.5.0.3"), 40)
    mac = macs["p1"]
    wait_for("host3, which has just begun to take part, knows p1", lambda: [m for m in show(h3)["macs"] if m["mac"] == mac and m["host"] == "host1"], 30)
    h3.sim(f"create name=liar uuid=11111111-2222-3333-4444-555555555555 memory=64 maxmem=64 vcpus=1 mac={mac} "
           f"bridge={physics['bridge']} cpu=1 used=10 dirty=0")
    wait_for("host3 says so", lambda: [c for c in show(h3)["conflicts"] if c["mac"] == mac and c["stated_by"] == "host3"
                                       and c["has"] == "host1" and c["decided"] == "undecided"], 30)
    wait_for("a warning", lambda: [w for w in h3.status()["warnings"] if mac in w], 30)
    with Watch(lab, physics, h1, h3) as w:
        send(ns("p2"), udp(macs["p2"], mac, "10.5.0.2", "10.5.0.1", b"for-p1"), 5)
        wait_for("at p1's host", lambda: w.count(h1, b"for-p1") == 5, 20)
        assert w.count(h3, b"for-p1") == 0
    h3.sim("destroy liar")
    wait_for("no conflict any more", lambda: not [c for h in lab.hosts for c in show(h)["conflicts"]], 90)
    wait_for("no warning any more", lambda: not [w for h in lab.hosts for w in h.status()["warnings"] if mac in w], 60)


def hears(h, port, say, seconds=3):
    """Does a program on the host hear a datagram at any of its addresses while say() speaks?"""
    p = lab.spawn(h.ns, sys.executable, "-c", f"import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', {port})); "
                  f"s.settimeout({seconds}); print('bound', flush=True); print(s.recv(9))", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert p.stdout.readline() == b"bound\n"
    for _ in range(5):
        say()
        time.sleep(0.1)
    p.wait(10)
    return p.returncode == 0


@test
def host_is_out_of_reach():
    """a guest gets no answer for its host's address, and nothing into its host's IP by the bridge's MAC or to all; another host does.
    What keeps it so is put back when others remove it"""
    mac = run("ip", "netns", "exec", h1.ns, "cat", f"/sys/class/net/{physics['bridge']}/address").stdout.strip()
    assert h1.ip and len(mac) == 17, mac
    word = [sys.executable, "-c", f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('{h1.ip}', 7999))"]
    assert hears(h1, 7999, lambda: in_ns(h2.ns, *word))
    run("ip", "-n", ns("p1"), "route", "add", h1.ip, "dev", "eth0")
    assert not reaches("p1", h1.ip)
    assert not hears(h1, 7999, lambda: in_ns(ns("p1"), *word))
    run("ip", "-n", ns("p1"), "neigh", "replace", h1.ip, "lladdr", mac, "dev", "eth0")
    assert not hears(h1, 7999, lambda: in_ns(ns("p1"), *word))

    def lax():  # as udev's rule may leave it where sysctl.d has patterns for interfaces
        for name in ("all", physics["bridge"], port):
            in_ns(h1.ns, "sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")
        in_ns(ns("p1"), *word)
    port = next(p for p in in_ns(h1.ns, "ls", f"/sys/class/net/{physics['bridge']}/brif").stdout.split() if not p.startswith("vt-"))
    assert not hears(h1, 7999, lax), "only rp_filter kept it out"
    in_ns(ns("p1"), "ip", "neigh", "replace", h1.ip, "lladdr", EVERYBODY, "dev", "eth0")
    assert not hears(h1, 7999, lax), "a frame to everybody came to the host, too"
    for last in (0, 1, 2, 3, 14, 15):  # groups that a bridge hands to its host, by the port
        in_ns(ns("p1"), "ip", "neigh", "replace", h1.ip, "lladdr", f"01:80:c2:00:00:{last:02x}", "dev", "eth0")
        assert not hears(h1, 7999, lax, 1), f"01:80:c2:00:00:{last:02x} reaches the host"
    for n in range(10):  # without the chain, and before the agent has put it back, it is heard: so the test hears
        in_ns(ns("p1"), "ip", "neigh", "replace", h1.ip, "lladdr", mac, "dev", "eth0")
        in_ns(h1.ns, "nft", "flush", "ruleset")
        if hears(h1, 7999, lax, 1):
            break
    else:
        raise AssertionError("not even without the chain")
    wait_for("the sysctl is set again", lambda: in_ns(h1.ns, "cat", f"/proc/sys/net/ipv4/conf/{physics['bridge']}/rp_filter").stdout == "1\n", 30)
    guarded = lambda: "policy drop" in in_ns(h1.ns, "nft", "list", "chain", "netdev", physics["bridge"], "to-host").stdout
    wait_for("the chain is there again", guarded, 30)
    run("ip", "-n", ns("p1"), "route", "del", h1.ip, "dev", "eth0")


@test
def silent_guest_is_found():
    """a guest that never says anything moves: each host knows where before it has spoken, and one frame is enough"""
    guest(h1, "mute", "10.5.0.9")
    in_ns(ns("mute"), "ip", "link", "set", "eth0", "arp", "off")
    wait_for("known", lambda: [m for m in show(h2)["macs"] if m["mac"] == macs["mute"] and m["host"] == "host1"], 30)
    unknown = of_env(h2, "dropped_unknown")
    h1.violin("migrate", "mute", "host3", timeout=120)
    for h in lab.hosts:
        wait_for(f"{h.name} knows", lambda h=h: [m["host"] for m in show(h)["macs"] if m["mac"] == macs["mute"]] == ["host3"], 30)
    with Watch(lab, physics, h1, h3) as w:
        send(ns("p2"), udp(macs["p2"], macs["mute"], "10.5.0.2", "10.5.0.9", b"are-you-there"), 1)
        wait_for("at its new place", lambda: w.count(h3, b"are-you-there") == 1, 20)
        assert w.count(h1, b"are-you-there") == 0, "it went to everybody, or to its old place"
    assert of_env(h2, "dropped_unknown") == unknown


@test
def old_host_passes_on():
    """who couldn't hear that a guest has moved sends to its old host, which passes it on; nothing goes round"""
    def deaf(on):
        if on:
            in_ns(h2.ns, "nft", "-f", "-", input="table ip deaf { chain in { type filter hook input priority 0; "
                  "ip saddr { 10.77.0.1, 10.77.0.3 } drop; }; }")
        else:
            in_ns(h2.ns, "nft", "delete", "table", "ip", "deaf")
    guest(h1, "q", "10.5.0.10", memory=16, maxmem=16, used=8)
    wait_for("q", lambda: reaches("p2", "10.5.0.10"), 40)
    passed = of_host(h1, "tx_packets")
    with Watch(lab, physics, h3) as w:
        deaf(True)
        try:
            h1.violin("migrate", "q", "host3", timeout=60)
            assert [m["host"] for m in show(h2)["macs"] if m["mac"] == macs["q"]] == ["host1"], "host2 has heard of it"
            frame = udp(macs["p2"], macs["q"], "10.5.0.2", "10.5.0.10", b"through-the-old")
            wait_for("frames there", lambda: send(ns("p2"), frame, 1) or w.count(h3, b"through-the-old") >= 3, 20, every=0.2)
        finally:
            deaf(False)
    assert of_host(h1, "tx_packets") > passed
    wait_for("host2 knows", lambda: [m["host"] for m in show(h2)["macs"] if m["mac"] == macs["q"]] == ["host3"], 60)
    wait_for("q", lambda: reaches("p2", "10.5.0.10"), 30)


with lab:
    main()
