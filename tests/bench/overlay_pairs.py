"""overlay_pairs.py: two ends of each system of bench_overlay.py, on one network of the lab's.

An end is a namespace with an eth0 in the lab's bridge, and the system's device in it. plug() makes what
the case wants of the device: an address on it (tap), or a bridge with a guest behind a veth (bridge)."""
import os

from lab import run, wait_for


def netns(ns, *cmd, **kw):
    return run("ip", "netns", "exec", ns, *cmd, **kw)


class End:
    """One end: .ns is where the load runs, .ip its address there, .pids the system's processes."""

    def __init__(self, ns, ip, pids=()):
        self.ns, self.ip, self.pids = ns, ip, list(pids)


class Pair:
    """What all but violin have: two bare namespaces, a process of the system in each, its device."""
    package = binary = None
    layer = 2

    def __init__(self, lab, n, case, mtu):
        self.lab, self.n, self.case, self.mtu = lab, n, case, mtu
        self.dir = os.path.join(lab.dir, self.name)
        os.makedirs(self.dir)
        self.ns = [f"{lab.prefix}{self.name[:6]}{s}" for s in "ab"]
        self.under = [f"10.77.{100 + n}.{i}" for i in (1, 2)]
        self.procs = [None, None]
        for i, ns in enumerate(self.ns):
            run("ip", "netns", "add", ns)
            lab.namespaces.append(ns)
            run("ip", "-n", ns, "link", "set", "lo", "up")
            port = f"o{n}{'ab'[i]}"
            run("ip", "-n", ns, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", lab.under)
            run("ip", "-n", lab.under, "link", "set", port, "mtu", lab.under_mtu, "master", "br0", "up")
            run("ip", "-n", ns, "link", "set", "eth0", "mtu", lab.under_mtu, "up")
            run("ip", "-n", ns, "addr", "add", f"{self.under[i]}/24", "dev", "eth0")
            netns(ns, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.disable_ipv6=1", check=False)

    def spawn(self, i, *cmd, env=None):
        with open(os.path.join(self.dir, f"log{i}"), "ab") as log:
            self.procs[i] = self.lab.spawn(self.ns[i], *cmd, stdout=log, stderr=log, env=env)

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def begin(self):
        """Starts both ends; self.dev is then the name of the device that comes."""

    def device_ready(self):
        for i, ns in enumerate(self.ns):
            wait_for(f"{self.name}'s device {self.dev[i]}", lambda: run("ip", "-n", ns, "link", "show", self.dev[i]), 20)

    def end_pids(self, i):
        return [self.procs[i].pid] if self.procs[i] else []

    def plug(self):
        self.device_ready()
        return self.plug_bridge() if self.case.startswith("bridge") else self.plug_device()

    def plug_device(self):
        ends = []
        for i, ns in enumerate(self.ns):
            ip = self.inner(i)
            run("ip", "-n", ns, "link", "set", self.dev[i], "mtu", self.mtu, "up")
            if not self.addressed:
                run("ip", "-n", ns, "addr", "add", f"{ip}/24", "dev", self.dev[i])
            ends.append(End(ns, ip, self.end_pids(i)))
        return ends

    addressed = False  # the system gives its device the address itself

    def inner(self, i):
        return f"10.81.{self.n}.{i + 1}"

    def guest_net(self, i):
        return f"10.82.{self.n}.{128 * i}/25"

    def plug_bridge(self):
        ends = []
        for i, ns in enumerate(self.ns):
            guest = f"{ns}g"
            run("ip", "netns", "add", guest)
            self.lab.namespaces.append(guest)
            run("ip", "-n", ns, "link", "add", "brg", "type", "bridge", "forward_delay", "0")
            run("ip", "-n", ns, "link", "add", "vif", "type", "veth", "peer", "name", "eth0", "netns", guest)
            run("ip", "-n", ns, "link", "set", "brg", "mtu", self.mtu, "up")
            run("ip", "-n", ns, "link", "set", "vif", "master", "brg", "mtu", self.mtu, "up")
            run("ip", "-n", guest, "link", "set", "eth0", "mtu", self.mtu, "up")
            run("ip", "-n", ns, "link", "set", self.dev[i], "mtu", self.mtu, "up")
            if self.layer == 2:
                ip = f"10.81.{self.n}.{i + 1}"
                run("ip", "-n", ns, "link", "set", self.dev[i], "master", "brg")
                run("ip", "-n", guest, "addr", "add", f"{ip}/24", "dev", "eth0")
            else:
                ip = f"10.82.{self.n}.{128 * i + 2}"
                run("ip", "-n", ns, "addr", "add", f"10.82.{self.n}.{128 * i + 1}/25", "dev", "brg")
                run("ip", "-n", guest, "addr", "add", f"{ip}/25", "dev", "eth0")
                run("ip", "-n", guest, "route", "add", "default", "via", f"10.82.{self.n}.{128 * i + 1}")
                if not self.addressed:
                    run("ip", "-n", ns, "addr", "add", f"{self.inner(i)}/24", "dev", self.dev[i])
                    run("ip", "-n", ns, "route", "add", self.guest_net(1 - i), "dev", self.dev[i])
            ends.append(End(guest, ip, self.end_pids(i)))
        return ends
