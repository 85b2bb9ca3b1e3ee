"""lab.py: real peers as real processes, each host in a network namespace of its own.

A Lab makes one namespace for the hosts' network (a bridge) and one per host; guests of the
simulated hypervisor are namespaces too. Everything has the lab's own prefix, nothing outside is
touched, and close() ends every process and removes every namespace and file, also after a failure
and on Ctrl-C."""
import atexit, json, os, re, shutil, signal, socket, subprocess, sys, tempfile, time, uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(*cmd, check=True, **kw):
    if "input" not in kw:
        kw["stdin"] = subprocess.DEVNULL
    r = subprocess.run([str(c) for c in cmd], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)
    if check and r.returncode:
        raise RuntimeError(f"{' '.join(map(str, cmd))}: {r.returncode}: {r.stderr.strip() or r.stdout.strip()}")
    return r


def empty(folder):
    """All that is in it goes; itself it stays, with its owner and mode."""
    for e in list(os.scandir(folder)):
        shutil.rmtree(e.path) if e.is_dir(follow_symlinks=False) else os.unlink(e.path)


def wait_for(what, condition, seconds=60, every=0.1):
    """Waits for a state with a generous bound; says what never came."""
    end = time.monotonic() + seconds
    last = None
    while time.monotonic() < end:
        try:
            last = condition()
            if last:
                return last
        except (RuntimeError, OSError, ValueError, KeyError, IndexError, subprocess.TimeoutExpired) as e:
            last = e
        time.sleep(every)
    raise AssertionError(f"waited {seconds} s in vain for: {what} (last: {last!r})")


class Host:
    def __init__(self, lab, n, cpus, memory, conf):
        self.lab, self.n, self.name = lab, n, f"host{n}"
        self.ns = f"{lab.prefix}h{n}"
        self.ip = f"10.77.0.{n}"
        self.dir = os.path.join(lab.dir, self.name)
        self.proc = None
        self.clock = 0  # seconds by which it is wrong, with fault points only
        for d in ("state", "run", "sim"):
            os.makedirs(os.path.join(self.dir, d))
        os.chmod(self.dir, 0o755)
        run("ip", "netns", "add", self.ns)
        run("ip", "-n", self.ns, "link", "set", "lo", "up")
        run("ip", "-n", self.ns, "link", "add", "eth0", "type", "veth", "peer", "name", f"p{n}", "netns",
            lab.under)
        run("ip", "-n", self.ns, "addr", "add", f"{self.ip}/24", "dev", "eth0")
        run("ip", "-n", self.ns, "link", "set", "eth0", "up")
        run("ip", "-n", lab.under, "link", "set", f"p{n}", "master", "br0", "up")
        self.conf = os.path.join(self.dir, "violin.conf")
        with open(os.path.join(self.dir, "sim", "host.conf"), "w") as f:
            f.write(f"cpus={cpus} memory={memory} dom0=256\n")
        self.socket = os.path.join(self.dir, "run", "violin.sock")
        settings = {"state-dir": os.path.join(self.dir, "state"), "run-dir": os.path.join(self.dir, "run"),
                    "socket": self.socket, "user": "nobody", "group": "nogroup",
                    "hypervisor": "simulated", "simulated-dir": os.path.join(self.dir, "sim")}
        settings.update(lab.settings)
        settings.update(conf)
        with open(self.conf, "w") as f:
            for k, v in settings.items():
                f.write(f"{k} = {v if isinstance(v, (int, float)) or str(v).startswith('{') else json.dumps(v)}\n")

    def violin(self, *args, check=True, **kw):
        if self.clock:
            kw["env"] = {**os.environ, "VIOLIN_CLOCK": str(self.clock), **(kw.get("env") or {})}
        return run("ip", "netns", "exec", self.ns, self.lab.program, "-c", self.conf, *args, check=check, **kw)

    def start(self, env=None):
        """Starts `violin peer`, and waits until it answers on its socket."""
        self.log = open(os.path.join(self.dir, "log"), "ab")
        self.proc = subprocess.Popen(["ip", "netns", "exec", self.ns, self.lab.program, "-c", self.conf, "peer"],
                                     stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL,
                                     env={**os.environ, "VIOLIN_CLOCK": str(self.clock), **(env or {})}, start_new_session=True)
        wait_for(f"{self.name} answers", lambda: self.status(), 60)

    def status(self):
        return json.loads(self.violin("status", "--json").stdout)

    def json(self, *args):
        return json.loads(self.violin(*args, "--json").stdout)

    def stop(self, sig=signal.SIGTERM, seconds=20):
        if not self.proc:
            return
        if self.proc.poll() is None:
            try:
                self.proc.send_signal(sig)
                self.proc.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(self.proc.pid, signal.SIGKILL)
                self.proc.wait()
        self.proc = None
        log = os.path.join(self.dir, "log")
        if os.path.exists(log) and re.search("crashes with signal|AddressSanitizer|ThreadSanitizer|runtime error", open(log, errors="replace").read()):
            self.lab.crashed.append(self.name)

    def pids(self):
        r = run("ip", "netns", "pids", self.ns, check=False)
        return [int(p) for p in r.stdout.split()]

    def pid_of(self, role):
        """The process of this host whose command line holds this word: agent, peer-child."""
        for p in self.pids():
            try:
                argv = open(f"/proc/{p}/cmdline", "rb").read().split(b"\0")
            except OSError:
                continue
            if role.encode() in argv:
                return p
        return None

    def sim(self, line):
        """One line to the simulated hypervisor's control socket; its answer without `ok`."""
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(20)
        try:
            s.connect(os.path.join(self.dir, "sim", "sim.sock"))
            s.sendall(line.encode() + b"\n")
            data = b""
            while not data.endswith(b"\n"):
                d = s.recv(65536)
                if not d:
                    break
                data += d
        finally:
            s.close()
        text = data.decode().strip()
        if not text.startswith("ok"):
            raise RuntimeError(f"simulated hypervisor of {self.name}: {line}: {text}")
        return text[2:].strip()

    def link(self, up):
        run("ip", "-n", self.lab.under, "link", "set", f"p{self.n}", "up" if up else "down")


class Lab:
    def __init__(self, hosts=2, cpus=2, memory=2048, program=None, settings=None, conf=None):
        if os.geteuid() != 0:
            sys.exit("this needs root (network namespaces, TAP devices)")
        self.program = program or os.environ.get("VIOLIN") or os.path.join(ROOT, "build", "violin")
        self.prefix = f"v{os.getpid() % 100000}"
        self.under = f"{self.prefix}u"
        self.limbo = f"{self.prefix}l"
        self.settings = dict(settings or {})
        self.crashed = []  # hosts with a process that did
        self.settings.setdefault("simulated-limbo", self.limbo)
        self.closed = False
        self.namespaces, self.procs, self.hosts = [], [], []
        self.macs = 0  # guests made: their MACs are counted
        self.dir = tempfile.mkdtemp(prefix="violin-")
        os.chmod(self.dir, 0o755)
        atexit.register(self.close)
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, lambda *_: sys.exit(130))
        for ns in (self.under, self.limbo):
            run("ip", "netns", "add", ns)
        run("ip", "-n", self.under, "link", "add", "name", "br0", "type", "bridge", "forward_delay", "0")
        run("ip", "-n", self.under, "link", "set", "br0", "up")
        for n in range(1, hosts + 1):
            c = dict(conf(n) if conf else {})
            self.hosts.append(Host(self, n, c.pop("cpus", cpus), c.pop("memory", memory), c))

    def form(self, domain="lab"):
        """init on the first host, invite and join on the others; every peer running and known."""
        first = self.hosts[0]
        first.violin("init", "--domain", domain, "--host", first.name)
        first.start()
        for h in self.hosts[1:]:
            token = json.loads(first.violin("invite", "--json").stdout)["token"]
            h.violin("join", "--host", h.name, token)
            h.start()
        self.wait_members(len(self.hosts))

    def wait_members(self, n, hosts=None, seconds=60):
        for h in hosts or self.hosts:
            wait_for(f"{h.name} knows {n} living members",
                     lambda h=h: len([m for m in h.json("members") if m["state"] == "alive"]) == n, seconds)

    def guest(self, host, name, ip=None, bridge=None, **numbers):
        """A simulated guest; with ip it is a namespace on the environment's bridge."""
        self.macs += 1
        n = self.macs
        mac = "00:16:3e:%02x:%02x:%02x" % (n >> 16 & 255, n >> 8 & 255, n & 255)
        words = {"name": name, "uuid": str(uuid.uuid4()), "memory": 256, "maxmem": 1024, "vcpus": 1, "mac": mac,
                 "bridge": bridge, "cpu": 10, "used": 128, "dirty": 1}
        words.update(numbers)
        if ip:
            ns = f"{self.prefix}g-{name}"
            run("ip", "netns", "add", ns)
            run("ip", "-n", ns, "link", "set", "lo", "up")
            self.namespaces.append(ns)
            words["netns"] = ns
        if ip and bridge:  # the agent makes it a moment after the environment is known
            wait_for(f"{bridge} on {host.name}", lambda: run("ip", "-n", host.ns, "link", "show", bridge), 30)
        host.sim("create " + " ".join(f"{k}={v}" for k, v in words.items()))
        if ip:
            wait_for(f"{name} has its eth0", lambda: run("ip", "-n", ns, "link", "show", "eth0"), 20)
            run("ip", "-n", ns, "addr", "add", f"{ip}/24", "dev", "eth0")
            run("ip", "-n", ns, "link", "set", "eth0", "up")
        return words

    def spawn(self, ns, *cmd, env=None, **kw):
        """A process in any namespace, ended at the latest with the lab."""
        p = subprocess.Popen(["ip", "netns", "exec", ns, *map(str, cmd)], start_new_session=True, stdin=subprocess.DEVNULL,
                             env={**os.environ, **(env or {})}, **kw)
        self.procs.append(p)
        return p

    def in_guest(self, name, *cmd, **kw):
        p = subprocess.Popen(["ip", "netns", "exec", f"{self.prefix}g-{name}", *cmd], start_new_session=True,
                             stdin=subprocess.DEVNULL, **kw)
        self.procs.append(p)
        return p

    def where(self, name):
        """The hosts on which the simulated hypervisor has a running guest of this name."""
        found = []
        for h in self.hosts:
            try:
                found += [h for l in h.sim("list").split(";") if f"name={name} " in l + " " and "state=running" in l]
            except (OSError, RuntimeError):
                pass
        return found

    def logs(self):
        for h in self.hosts:
            path = os.path.join(h.dir, "log")
            if os.path.exists(path):
                print(f"--- {h.name}\n" + "".join(open(path, errors="replace").readlines()[-60:]))

    def close(self):
        if self.closed:
            return
        self.closed = True
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, signal.SIG_IGN)
        for p in self.procs:
            try:
                os.killpg(p.pid, signal.SIGKILL)
            except OSError:
                pass
            p.wait()
        for h in self.hosts:
            if h.proc and h.proc.poll() is None:
                h.proc.terminate()
        for h in self.hosts:
            h.stop()
        everything = [h.ns for h in self.hosts] + self.namespaces + [self.under, self.limbo]
        for ns in everything:
            for p in run("ip", "netns", "pids", ns, check=False).stdout.split():
                try:
                    os.kill(int(p), signal.SIGKILL)
                except OSError:
                    pass
        for ns in everything:
            run("ip", "netns", "del", ns, check=False)
        if self.crashed:
            self.logs()
        shutil.rmtree(self.dir, ignore_errors=True)
        if self.crashed:
            raise RuntimeError(f"processes crashed on {', '.join(sorted(set(self.crashed)))}")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        if kind and kind is not SystemExit and not os.environ.get("QUIET"):
            self.logs()
        self.close()
