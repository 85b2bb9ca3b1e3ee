"""move_systems.py: three hosts of each system that bench_move.py compares: a bridge each, in it the system's
device, the guest that pings on the first, and the guest that moves, whose veth is moved at once."""
import os, re

from lab import run, wait_for


class Triple:
    """What all but violin have: three bare namespaces, a process of the system in each, its device."""
    package = binary = None

    def __init__(self, lab, n):
        self.lab, self.n, self.at = lab, n, 0
        self.dir = os.path.join(lab.dir, self.name)
        os.makedirs(self.dir)
        self.ns = [f"{lab.prefix}{self.name}{i}" for i in range(3)]
        self.under = [f"10.77.{100 + n}.{i + 1}" for i in range(3)]
        self.guests = [f"{lab.prefix}{self.name}{g}" for g in "pm"]
        for i, ns in enumerate(self.ns):
            self.namespace(ns)
            port = f"o{n}{i}"
            run("ip", "-n", ns, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", lab.under)
            run("ip", "-n", lab.under, "link", "set", port, "master", "br0", "up")
            run("ip", "-n", ns, "link", "set", "eth0", "up")
            run("ip", "-n", ns, "addr", "add", f"{self.under[i]}/24", "dev", "eth0")
            run("ip", "-n", ns, "link", "add", "brg", "type", "bridge", "forward_delay", "0")
            run("ip", "-n", ns, "link", "set", "brg", "up")
        for i, guest in enumerate(self.guests):
            self.namespace(guest)
            run("ip", "-n", self.ns[0], "link", "add", f"vif{i}", "type", "veth", "peer", "name", "eth0", "netns", guest)
            run("ip", "-n", self.ns[0], "link", "set", f"vif{i}", "master", "brg", "up")
            run("ip", "-n", guest, "addr", "add", f"10.83.{n}.{i + 1}/24", "dev", "eth0")
            run("ip", "-n", guest, "link", "set", "eth0", "up")
        self.ip = f"10.83.{n}.2"
        self.mac = run("ip", "netns", "exec", self.guests[1], "cat", "/sys/class/net/eth0/address").stdout.strip()

    def namespace(self, ns):
        run("ip", "netns", "add", ns)
        self.lab.namespaces.append(ns)
        run("ip", "-n", ns, "link", "set", "lo", "up")
        run("ip", "netns", "exec", ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", check=False)

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o600)
        return path

    def spawn(self, i, *cmd):
        with open(os.path.join(self.dir, f"log{i}"), "ab") as log:
            self.lab.spawn(self.ns[i], *cmd, stdout=log, stderr=log)

    def begin(self):
        """Starts all three; their devices come."""

    def plug(self):
        self.begin()
        for ns in self.ns:
            wait_for(f"{self.name}'s device", lambda ns=ns: run("ip", "-n", ns, "link", "show", self.dev), 20)
            run("ip", "-n", ns, "link", "set", self.dev, "master", "brg", "up")

    def move(self, to):
        """The same steps as the simulated hypervisor's, one right after the other."""
        source, dest, guest = self.ns[self.at], self.ns[to], self.guests[1]
        run("ip", "-n", source, "link", "set", "vif1", "nomaster", "down")
        run("ip", "-n", source, "link", "set", "vif1", "netns", dest)
        run("ip", "-n", guest, "link", "set", "eth0", "down")
        run("ip", "-n", dest, "link", "set", "vif1", "master", "brg", "up")
        run("ip", "-n", guest, "link", "set", "eth0", "up")
        self.at = to

    def revive(self):
        """A guest that isn't found says something, so that the next move begins from order."""
        run("ip", "netns", "exec", self.guests[1], "ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", f"10.83.{self.n}.1", check=False)

    def entries_wrong(self):
        return None


class Vxlan(Triple):
    name, dev = "vxlan", "vx0"

    def begin(self):
        for i, ns in enumerate(self.ns):
            run("ip", "-n", ns, "link", "add", "vx0", "type", "vxlan", "id", 7, "local", self.under[i], "dstport", 4789, "dev", "eth0")
            for other in self.under:
                if other != self.under[i]:
                    run("ip", "netns", "exec", ns, "bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vx0", "dst", other)


class Fastd(Triple):
    name = package = binary = dev = "fastd"

    def begin(self):
        keys = [dict(re.findall(r"(Secret|Public): ([0-9a-f]{64})", run("fastd", "--generate-key").stdout)) for _ in self.ns]
        for i in range(3):
            peers = "".join(f'peer "p{k}" {{ key "{keys[k]["Public"]}"; remote {self.under[k]}:10000; }}\n'
                            for k in range(3) if k != i)
            conf = self.write(f"{i}.conf", f'log level warn;\ninterface "fastd";\nmode tap;\nmtu 1400;\nmethod "salsa2012+umac";\n'
                                           f"bind {self.under[i]}:10000;\nsecret \"{keys[i]['Secret']}\";\n{peers}")
            self.spawn(i, "fastd", "--config", conf)


class Tinc(Triple):
    name = package = "tinc"
    binary, dev = "tincd", "tinc0"

    def begin(self):
        for i in range(3):
            others = "".join(f"ConnectTo = h{k}\n" for k in range(3) if k != i)
            self.write(f"{i}/tinc.conf", f"Name = h{i}\nMode = switch\nDeviceType = tap\nInterface = tinc0\nAddressFamily = ipv4\n{others}")
            self.write(f"{i}/hosts/h{i}", f"Address = {self.under[i]}\n")
            run("tincd", "-c", os.path.join(self.dir, str(i)), "-K", "2048")
        for i in range(3):
            for k in range(3):
                if k != i:
                    self.write(f"{k}/hosts/h{i}", open(os.path.join(self.dir, str(i), "hosts", f"h{i}")).read())
        for i in range(3):
            d = os.path.join(self.dir, str(i))
            self.spawn(i, "tincd", "-c", d, "-D", f"--pidfile={d}/pid")


class Violin:
    """Three real peers; the handover as it is, on the simulated hypervisor."""
    name = "violin"
    package = binary = None

    def __init__(self, lab, n):
        self.lab, self.at = lab, 0
        self.ip = f"10.83.{n}.2"
        self.guests = [f"{lab.prefix}g-{g}" for g in ("pinger", "mover")]
        first = lab.hosts[0]
        self.bridge = first.json("env", "create", "moving")["bridge"]
        for h in lab.hosts:
            wait_for(f"{h.name} knows it", lambda h=h: len(h.json("env", "list")) == 1, 30)
            wait_for(f"{h.name} knows itself", lambda h=h: all("memory_free_mib" in m for m in h.json("members")), 60)
        lab.guest(first, "pinger", f"10.83.{n}.1", self.bridge, movable="no", memory=64, used=32)
        self.mac = lab.guest(first, "mover", self.ip, self.bridge, memory=64, maxmem=64, used=32)["mac"]
        wait_for("it is listed", lambda: [g for g in first.json("guests") if g["name"] == "mover"], 30)
        for h in lab.hosts[1:]:  # as with any guest that didn't start just now
            wait_for(f"{h.name} knows who takes part", lambda h=h: h.json("env", "show", "moving")["hosts"], 30)

    def plug(self):
        pass

    def move(self, to):
        source, dest = self.lab.hosts[self.at], self.lab.hosts[to]
        wait_for("no handover is under way", lambda: not source.status()["handovers"]["active"], 60)
        wait_for(f"{source.name} lists it", lambda: [g for g in source.json("guests") if g["name"] == "mover"], 60)
        source.violin("migrate", "mover", dest.name)
        self.at = to

    def revive(self):
        pass

    def entries_wrong(self):
        """What is a second or an old entry for the guest's MAC on any host, or None."""
        here = self.lab.hosts[self.at].name
        for h in self.lab.hosts:
            shown = h.json("env", "show", "moving")
            said = [m["host"] for m in shown["macs"] if m["mac"] == self.mac]
            if said not in ([here], [] if h.name not in shown["hosts"] else [here]) or shown["conflicts"]:
                return f"{h.name} has the guest of {here} at {said}, conflicts {shown['conflicts']}"
        return None


SYSTEMS = (Violin, Vxlan, Fastd, Tinc)
