"""bad_network.py: two network namespaces joined by a relay that loses, delays, doubles and, once told, drops silently what
is larger than a size, or is 10 ms away each way and loses one packet in a hundred. The kernels here have no netem. Each end is a TUN device (IP packets, no offload, so each packet
is whole and on its own); the relay is a process that holds both.

    net = BadNetwork((ns, "eth0", "10.77.0.1"), (ns, "eth0", "10.77.0.2"), seed=5)
    net.bad(); net.far(); net.shrink(1280); net.close()"""
import ctypes, fcntl, heapq, os, random, select, signal, struct, time

from lab import run

LOST, LATE, TWICE = 0.01, 0.05, 0.01
LATE_BY = (0.0005, 0.003)  # seconds: others overtake it
FAR = 0.01  # seconds each way; in order


def tun_in(ns, name):
    """A TUN device in a namespace; this process stays there."""
    fd = os.open(f"/run/netns/{ns}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(fd)
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", name.encode(), 0x1001))  # TUNSETIFF: IFF_TUN | IFF_NO_PI
    return tun


class Relay:
    def __init__(self, tuns, commands, seed):
        self.tuns, self.commands, self.rng = tuns, commands, random.Random(seed)
        self.bad, self.far, self.largest = False, False, 65535
        self.late, self.n = [], 0

    def command(self):
        data = os.read(self.commands, 1024)
        if not data:
            os._exit(0)
        for c in data.decode().split():
            self.bad = c != "good" if c in ("good", "bad") else self.bad
            self.far = self.far or c == "far"
            self.largest = int(c) if c.isdigit() else self.largest

    def put(self, to, packet):
        try:
            os.write(to, packet)
        except OSError:
            pass  # its queue is full, or it is down: a lost packet

    def packet(self, to, p):
        if len(p) > self.largest:
            return
        if self.far:
            if self.rng.random() >= LOST:
                self.n += 1
                heapq.heappush(self.late, (time.monotonic() + FAR, self.n, to, p))
            return
        if not self.bad:
            return self.put(to, p)
        r = self.rng.random()
        if r < LOST:
            return
        if r < LOST + LATE:
            self.n += 1
            heapq.heappush(self.late, (time.monotonic() + self.rng.uniform(*LATE_BY), self.n, to, p))
            return
        self.put(to, p)
        if r > 1 - TWICE:
            self.put(to, p)

    def run(self):
        a, b = self.tuns
        other = {a: b, b: a}
        while True:
            wait = max(0, self.late[0][0] - time.monotonic()) if self.late else None
            for fd in select.select([a, b, self.commands], [], [], wait)[0]:
                if fd == self.commands:
                    self.command()
                    continue
                for _ in range(64):
                    try:
                        p = os.read(fd, 65536)
                    except OSError:
                        break
                    self.packet(other[fd], p)
            now = time.monotonic()
            while self.late and self.late[0][0] <= now:
                _, _, to, p = heapq.heappop(self.late)
                self.put(to, p)


class BadNetwork:
    def __init__(self, *ends, seed=1, mtu=1500):
        ready_r, ready_w = os.pipe()
        commands_r, self.commands = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.close(self.commands)
                tuns = [tun_in(ns, name) for ns, name, _ in ends]
                os.write(ready_w, b"r")
                Relay(tuns, commands_r, seed).run()
            finally:
                os._exit(1)  # a child must never go on as its parent
        os.close(ready_w)
        os.close(commands_r)
        up = os.read(ready_r, 1)
        os.close(ready_r)
        if not up:
            raise RuntimeError("the relay didn't start")
        for ns, name, ip in ends:
            run("ip", "-n", ns, "addr", "add", f"{ip}/24", "dev", name)
            run("ip", "-n", ns, "link", "set", name, "mtu", mtu, "txqueuelen", 1000, "up")

    def tell(self, what):
        os.write(self.commands, f"{what} ".encode())

    def bad(self):
        self.tell("bad")

    def far(self):
        self.tell("far")

    def shrink(self, size):
        self.tell(size)

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.commands)
            self.pid = None
