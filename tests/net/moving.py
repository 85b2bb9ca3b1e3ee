"""moving.py: how long a guest that moves can't be reached: one guest pings it, and in the one that moves a
watcher says when its link goes and comes, and announces the guest if it should: by gratuitous ARP, five times in
0.8 s, as virtual machine monitors do it.

All clocks are the machine's own (CLOCK_REALTIME), arrivals are stamped by the kernel.
  gap    the longest time between two answers' arrivals, the move within
  pause  from the guest's link gone to its link back: for so long it isn't anywhere
  dark   gap - pause, never below 0: what the network adds; it holds up to one interval of the pings"""
import os, sys, time

from lab import run, wait_for

PINGER = r"""
import os, select, socket, struct, sys, time
to, every = sys.argv[1], float(sys.argv[2])
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
s.setblocking(False)
me, seq, due = os.getpid() & 0xffff, 0, time.monotonic()
def checksum(b):
    t = sum(struct.unpack("!%dH" % (len(b) // 2), b))
    t = (t & 0xffff) + (t >> 16)
    return 0xffff & ~(t + (t >> 16))
while True:
    now = time.monotonic()
    if now >= due:
        seq += 1
        b = struct.pack("!BBHHH", 8, 0, 0, me, seq & 0xffff) + struct.pack("!Q", seq)
        try:
            s.sendto(b[:2] + struct.pack("!H", checksum(b)) + b[4:], (to, 0))
        except OSError:
            pass
        due = max(due + every, now)
    if select.select([s], [], [], max(0, due - time.monotonic()))[0]:
        b, extra, _, _ = s.recvmsg(2048, 256)
        if len(b) >= 36 and b[20] == 0 and struct.unpack("!H", b[24:26])[0] == me:
            at = next((struct.unpack("qq", x[:16]) for _, kind, x in extra if kind == 35), None)
            at = at[0] + at[1] / 1e9 if at else time.time()
            os.write(1, b"%.6f %d\n" % (at, struct.unpack("!Q", b[28:36])[0]))
"""

# The link as ethtool has it: at once, not when the kernel gets round to telling.
WATCHER = r"""
import array, fcntl, os, socket, struct, sys, time
announce, mac, ip = sys.argv[1] == "1", bytes.fromhex(sys.argv[2].replace(":", "")), socket.inet_aton(sys.argv[3])
q = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(("eth0", 0))
value = array.array("B", struct.pack("II", 0xa, 0))  # ETHTOOL_GLINK
ask = struct.pack("16sP", b"eth0", value.buffer_info()[0])
arp = b"\xff" * 6 + mac + b"\x08\x06\0\1\x08\0\6\4\0\1" + mac + ip + b"\0" * 6 + ip
def link():
    value[0] = 0xa
    fcntl.ioctl(q, 0x8946, ask)
    return value[4] != 0
was, due = True, []
os.write(1, b"ready\n")
while True:
    now, up = time.time(), link()
    if due and now >= due[0] and up:
        try:
            raw.send(arp.ljust(60, b"\0"))
        except OSError:
            continue
        due.pop(0)
    if up != was:
        if announce:
            due = [now + t for t in (0, 0.05, 0.2, 0.45, 0.8)] if up else []
        os.write(1, b"%s %.6f\n" % (b"up" if up else b"down", now))
        was = up
    time.sleep(0.001)
"""


class Moving:
    """The pinger in one namespace and the watcher in another. start() says whether the guest announces itself."""

    def __init__(self, lab, pinger_ns, guest_ns, mac, ip, every=0.005):
        self.lab, self.ns, self.mac, self.ip, self.every = lab, (pinger_ns, guest_ns), mac, ip, every
        self.procs = []
        for ns in self.ns:
            run("ip", "netns", "exec", ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", check=False)
        # No ARP of the pinger's may find a silent guest by chance.
        run("ip", "-n", pinger_ns, "neigh", "replace", ip, "lladdr", mac, "nud", "permanent", "dev", "eth0")

    def start(self, announce):
        self.stop()
        self.files = [os.path.join(self.lab.dir, f"moving-{time.monotonic_ns()}-{w}") for w in ("ping", "link")]
        words = ((PINGER, self.ip, self.every), (WATCHER, int(announce), self.mac, self.ip))
        for ns, path, (script, *args) in zip(self.ns, self.files, words):
            with open(path, "wb") as f:
                self.procs.append(self.lab.spawn(ns, "nice", "-n", "-5", sys.executable, "-c", script, *args, stdout=f))
        self.seen = 0
        wait_for("the watcher", lambda: self.link() is not None and "ready" in open(self.files[1]).read(), 30)
        wait_for("answers", lambda: len(self.answers()) > 5, 60)

    def stop(self):
        for p in self.procs:
            p.kill()
            p.wait()
        self.procs = []

    def answers(self):
        with open(self.files[0]) as f:
            return [float(l.split()[0]) for l in f.read().split("\n")[:-1]]

    def link(self):
        with open(self.files[1]) as f:
            return [(w, float(t)) for w, t in (l.split() for l in f.read().split("\n")[1:-1])]

    def move(self, how, bound=60):
        """Calls how(), waits for the first answer after it: {gap_ms, pause_ms, dark_ms}. If none comes within bound
        seconds: {dark_ms: at least that, found: False}."""
        how()
        def back():
            e = self.link()[self.seen:]
            return e if e and e[0][0] == "down" and e[-1][0] == "up" else None
        e = wait_for("its link came back", back, 60, 0.02)
        down, up = e[0][1], e[-1][1]
        self.seen += len(e)
        end = up + bound
        while not [a for a in self.answers()[-50:] if a > up]:
            if time.time() > end:
                return {"dark_ms": (time.time() - up) * 1000, "pause_ms": (up - down) * 1000, "found": False}
            time.sleep(0.02)
        a = self.answers()
        a = a[max(0, next(i for i, x in enumerate(a) if x > down) - 1):]  # from the last one before
        gap, first = max((y - x, y) for x, y in zip(a, a[1:]) if y > down)
        pause = min(up, first) - down  # an answer says that it is back, too, should the watcher have been late
        return {"gap_ms": gap * 1000, "pause_ms": pause * 1000, "dark_ms": max(0, gap - pause) * 1000, "found": True}
