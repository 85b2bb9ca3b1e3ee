"""watch.py: frames in and out of guests, and what passes the TAPs of an environment."""
import os, socket, subprocess, sys, time

from lab import run, wait_for

# Frames at one TAP, as lines of hex; says so when it listens.
WATCH = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
s.bind((sys.argv[1], 0))
print("ready", flush=True)
while True:
    print(s.recv(65536)[:4096].hex(), flush=True)
"""
# Frames out of an interface: hex, times.
SEND = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
f = bytes.fromhex(sys.argv[2]).ljust(60, b"\\0")
for i in range(int(sys.argv[3])):
    s.send(f)
"""
EVERYBODY = "ff:ff:ff:ff:ff:ff"


def in_ns(ns, *cmd, **kw):
    return run("ip", "netns", "exec", ns, *cmd, **kw)


def send(ns, frame, times=1, interface="eth0"):
    in_ns(ns, sys.executable, "-c", SEND, interface, frame.hex(), times)


def raw(mac):
    return bytes.fromhex(mac.replace(":", ""))


def ip_sum(head):
    total = sum(int.from_bytes(head[i:i + 2], "big") for i in range(0, 20, 2))
    total = (total & 0xffff) + (total >> 16)
    return (0xffff - (total & 0xffff) - (total >> 16)).to_bytes(2, "big")


def udp(source_mac, to_mac, source, to, payload):
    """A frame with a UDP datagram (no UDP checksum)."""
    body = (9).to_bytes(2, "big") * 2 + (8 + len(payload)).to_bytes(2, "big") + b"\0\0" + payload
    head = bytearray(b"\x45\0" + (20 + len(body)).to_bytes(2, "big") + b"\0\0\0\0\x40\x11\0\0" + socket.inet_aton(source)
                     + socket.inet_aton(to))
    head[10:12] = ip_sum(head)
    return raw(to_mac) + raw(source_mac) + b"\x08\0" + bytes(head) + body


class Watch:
    """What passes an environment's TAPs on some hosts (or one interface of theirs), from `with` on."""

    def __init__(self, lab, e, *hosts, interface=None):
        self.lab, self.tap, self.hosts = lab, interface or e["bridge"].replace("vi-", "vt-"), hosts

    def __enter__(self):
        self.out, self.procs = {}, []
        for h in self.hosts:
            path = os.path.join(h.dir, f"watch-{self.tap}-{time.monotonic_ns()}")
            with open(path, "w") as f:
                p = subprocess.Popen(["ip", "netns", "exec", h.ns, sys.executable, "-c", WATCH, self.tap], stdout=f,
                                     stdin=subprocess.DEVNULL, start_new_session=True)
            self.lab.procs.append(p)
            self.procs.append(p)
            self.out[h] = path
        for h in self.hosts:
            wait_for(f"{self.tap} on {h.name} is watched", lambda h=h: open(self.out[h]).readline(), 20)
        return self

    def __exit__(self, *_):
        for p in self.procs:
            p.kill()
            p.wait()

    def frames(self, h):
        lines = open(self.out[h]).read().split("\n")[1:-1]
        return [bytes.fromhex(l) for l in lines]

    def count(self, h, what):
        """How often it is in frames (several may be one superframe here); not in the ICMP errors that quote them."""
        return sum(f.count(what) for f in self.frames(h) if not (f[12:14] == b"\x08\0" and f[23] == 1))
