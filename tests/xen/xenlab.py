"""xenlab.py: real Xen hosts, each a QEMU process under emulation, joined by a small switch.

Commands run in dom0 over a forwarded loopback port; files go in and out by a shared folder (/mnt there).
Times mean nothing here; bounds are generous and compare with `xl migrate` in the same run."""
import atexit, ctypes, fcntl, json, os, re, shlex, signal, socket, subprocess, sys, threading, time

from images import Images

MEM, DOM0_MEM = 900, 384


def free_port():
    """A port of loopback that nobody has; labs may run side by side."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent():
    """Runs in the child: whatever ends the test, the host's process ends with it."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Switch(threading.Thread):
    """A learning Ethernet switch over QEMU's dgram sockets; ports are registered beforehand, so that a
    host that hasn't sent yet gets its frames."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.path = os.path.join(folder, "switch.sock")
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.s.bind(self.path)
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.ports, self.macs, self.cut = {}, {}, set()

    def run(self):
        while True:
            try:
                frame, source = self.s.recvfrom(70000)
            except OSError:
                return
            if source in self.cut:
                continue
            self.macs[frame[6:12]] = source
            to = self.macs.get(frame[:6]) if not frame[0] & 1 else None
            for port in [to] if to else list(self.ports):
                if port != source and port not in self.cut:
                    try:
                        self.s.sendto(frame, socket.MSG_DONTWAIT, port)
                    except OSError:
                        pass  # full, or not there yet: lost, as on a wire


class XenHost:
    def __init__(self, lab, n):
        self.lab, self.n, self.name = lab, n, f"host{n}"
        self.ip = f"192.168.77.{n}"
        self.port = None
        self.net, self.console, self.disk, self.err = (os.path.join(lab.run, f"{self.name}.{k}")
                                                       for k in ("net", "console", "disk", "err"))
        self.proc = None

    def make_disk(self):
        """What outlives the host's power: an empty file system for /var/lib."""
        with open(self.disk, "wb") as f:
            f.truncate(512 << 20)
        subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", self.disk], check=True)

    def boot(self):
        if not os.path.exists(self.disk):
            self.make_disk()
        for f in (self.net, self.console):
            if os.path.exists(f):
                os.unlink(f)
        im = self.lab.images
        self.port = free_port()
        self.lab.switch.ports[self.net] = True
        xen = (f"console=com1 com1=115200,8n1 loglvl=warning guest_loglvl=warning dom0_mem={DOM0_MEM}M,max:{DOM0_MEM}M "
               "dom0_max_vcpus=1 spec-ctrl=no xpti=no pcid=no ucode=no watchdog=0")
        linux = (f"{im.path('vmlinux')} console=hvc0 quiet mitigations=off apparmor=0 audit=0 random.trust_cpu=1 "
                 f"lab.name={self.name} lab.addr={self.ip}/24,{im.path('dom0.cpio')}")
        self.proc = subprocess.Popen(
            ["qemu-system-x86_64", "-name", f"violin-{self.name}", "-accel", "tcg,thread=multi,tb-size=192", "-cpu", "qemu64,+npt",
             "-smp", "1", "-m", str(MEM), "-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{self.console}",
             "-kernel", im.path("xen.elf"), "-append", xen, "-initrd", linux,
             "-netdev", f"user,id=m,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22",
             "-device", f"virtio-net-pci,netdev=m,mac=52:54:00:00:01:{self.n:02x},romfile=",
             "-netdev", f"dgram,id=d,local.type=unix,local.path={self.net},remote.type=unix,remote.path={self.lab.switch.path}",
             "-device", f"virtio-net-pci,netdev=d,mac=52:54:00:00:02:{self.n:02x},romfile=",
             "-drive", f"file={self.disk},if=virtio,format=raw,cache=writethrough",
             "-virtfs", f"local,path={im.share},mount_tag=share,security_model=none,multidevs=remap",
             "-object", "rng-random,id=r0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.err, "wb"),
            start_new_session=True, preexec_fn=die_with_parent)

    def wait_ready(self, seconds=300):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            said = open(self.console, errors="replace").read() if os.path.exists(self.console) else ""
            if "DOM0-READY" in said:
                return
            if self.proc.poll() is not None or "DOM0-FAILED" in said:
                break
            time.sleep(0.2)
        raise RuntimeError(f"{self.name} did not boot:\n" + open(self.console, errors="replace").read()[-2000:])

    def sh(self, script, timeout=300, check=True):
        """Runs a script in dom0; its output. Raises on a non-zero status."""
        end = time.monotonic() + 60
        while True:
            try:
                s = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
                s.sendall(b"echo __HELLO\n")
                hello = b""
                while not hello.endswith(b"__HELLO\n"):
                    d = s.recv(1)
                    if not d:
                        raise ConnectionResetError
                    hello += d
                break
            except (ConnectionError, BrokenPipeError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.3)
        s.sendall(b"export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root\n(\n" + script.encode() +
                  b"\n) </dev/null\nr=$?; echo; echo __RC=$r; exit\n")
        out = b""
        while not re.search(rb"\n__RC=(\d+)\n", out):
            d = s.recv(65536)
            if not d:
                break
            out += d
        s.close()
        m = re.search(rb"\n?\n__RC=(\d+)\n", out)
        text = (out[:m.start()] if m else out).decode(errors="replace")
        if check and (not m or int(m.group(1))):
            raise RuntimeError(f"{self.name}: {script.strip()[:200]}: {m.group(1).decode() if m else 'cut off'}: {text[-1500:]}")
        return text

    def violin(self, args, check=True, timeout=600):
        return self.sh(f"violin {args}", timeout=timeout, check=check)

    def json(self, args):
        return json.loads(self.violin(args + " --json"))

    def configure(self, images=("/mnt/images",), **settings):
        def words(v):
            return f"{{{json.dumps(v)[1:-1]}}}" if isinstance(v, (list, tuple)) else json.dumps(v)
        lines = {"image-dirs": images, "advertise": f"{self.ip}:7411", "mode": "auto", "memory-reserve": 16, "dom0-cpu": 0, "evaluation-period": 5,
                 "report-stale": 60, "memory-floor": 64, "log-level": "info", **settings}
        text = "".join(f"{k.replace('_', '-')} = {words(v)}\n" for k, v in lines.items())
        self.sh(f"cat > /etc/violin/violin.conf <<'X'\n{text}X\nviolin config check")

    def start(self, env=""):
        self.sh(f"{env} setsid sh -c 'echo $$ >/run/violin.pid; exec violin peer' </dev/null >>/var/log/violin.log 2>&1 & "
                "for i in $(seq 600); do violin status >/dev/null 2>&1 && exit 0; sleep 0.2; done; cat /var/log/violin.log; exit 1")

    def stop(self):
        """Ends the peer in order; one that a fault point stopped is killed with its supervisor."""
        self.sh("p=$(cat /run/violin.pid); for i in $(seq 100); do kill -TERM $p 2>/dev/null || exit 0; sleep 0.3; done; "
                "kill -KILL $p $(pidof violin-peer violin-agent); sleep 1")

    def create(self, name, bridge, mac, memory, maxmem, words, kernel="/mnt/images/vmlinuz", image="domu.cpio", more=(),
               disks=()):
        """image: a path, or a name in the shared folder; more: further interfaces, (mac, bridge) each; disks: writable
        devices, as xvda and so on."""
        image = os.path.join("/mnt/images", image)
        vifs = ", ".join(f'"mac={m},bridge={b}"' for m, b in ((mac, bridge), *more))
        vbds = ", ".join(f'"format=raw,vdev=xvd{chr(97 + i)},access=rw,target={d}"' for i, d in enumerate(disks))
        cfg = (f'name = "{name}"\ntype = "pvh"\nkernel = "{kernel}"\nramdisk = "{image}"\n'
               f'extra = "console=hvc0 quiet {words}"\nmemory = {memory}\nmaxmem = {maxmem}\nvcpus = 1\n'
               f'vif = [ {vifs} ]\ndisk = [ {vbds} ]\n')
        self.sh(f"cat > /root/{name}.cfg <<'X'\n{cfg}X\nxl create -q /root/{name}.cfg")

    def domid(self, name):
        """The guest's domain id here, or None."""
        for line in self.sh("xl list").splitlines()[1:]:
            words = line.split()
            if words and words[0] == name:
                return int(words[1])
        return None

    def type(self, name, line):
        """Types a line at the guest's console, which runs it."""
        domid = self.domid(name)
        self.sh(f"printf '%s\\n' {shlex.quote(line)} > $(xenstore-read /local/domain/{domid}/console/tty)")

    def guest_log(self, name):
        return self.sh(f"cat /var/log/xen/console/guest-{name}*.log 2>/dev/null", check=False)

    @property
    def up(self):
        return self.proc is not None and self.proc.poll() is None

    def kill(self):
        """As if the power were cut."""
        if self.proc and self.proc.poll() is None:
            os.killpg(self.proc.pid, signal.SIGKILL)
            self.proc.wait()


class XenLab:
    def __init__(self, program, hosts=2, name="xen"):
        """name: of the folder of what runs, below build/xen/run; one lab at a time has it."""
        self.images = Images(program)
        self.run = self.images.path("run", name)
        os.makedirs(self.run, exist_ok=True)
        self.lock = open(os.path.join(self.run, "lock"), "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another lab runs in {self.run}")
        self.images.build()
        self.switch = Switch(self.run)
        self.switch.start()
        for f in os.listdir(self.run):
            if f.endswith(".disk"):
                os.unlink(os.path.join(self.run, f))
        self.hosts = [XenHost(self, n) for n in range(1, hosts + 1)]
        atexit.register(self.close)
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, lambda *_: sys.exit(130))

    def boot(self, hosts):
        for h in hosts:
            h.boot()
        for h in hosts:
            h.wait_ready()

    def close(self):
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, signal.SIG_IGN)
        for h in self.hosts:
            h.kill()
        self.switch.s.close()
