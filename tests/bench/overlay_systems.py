"""overlay_systems.py: the systems that bench_overlay.py compares, each set up as well as its manual says.

All but wireguard-go and nebula carry Ethernet frames; these two carry IP packets (a TUN), so in the
bridge cases their guests' networks are routed, not bridged, which spares them work."""
import base64, os, re, socket, subprocess

from lab import run, wait_for
from overlay_pairs import End, Pair, netns


class Veth(Pair):
    """No tunnel: eth0 itself, what the machine can do."""
    name = "veth"
    dev = ("eth0", "eth0")

    def plug_device(self):
        for ns in self.ns:
            run("ip", "-n", ns, "link", "set", "eth0", "mtu", self.mtu)
        return [End(ns, ip) for ns, ip in zip(self.ns, self.under)]


class Vxlan(Pair):
    name = "vxlan"
    dev = ("vx0", "vx0")

    def begin(self):
        for i, ns in enumerate(self.ns):
            run("ip", "-n", ns, "link", "add", "vx0", "type", "vxlan", "id", 7, "local", self.under[i], "remote",
                self.under[1 - i], "dstport", 4789, "dev", "eth0")


class Fastd(Pair):
    name = package = binary = "fastd"
    dev = ("fastd0", "fastd0")
    setting = "salsa2012+umac, its fastest"

    def begin(self):
        keys = [dict(re.findall(r"(Secret|Public): ([0-9a-f]{64})", run("fastd", "--generate-key").stdout))
                for _ in self.ns]
        for i in (0, 1):
            conf = self.write(f"{i}.conf", f"""
log level warn;
interface "fastd0";
mode tap;
mtu {self.mtu};
method "salsa2012+umac";
bind {self.under[i]}:10000;
secret "{keys[i]['Secret']}";
peer "other" {{ key "{keys[1 - i]['Public']}"; remote {self.under[1 - i]}:10000; }}
""")
            self.spawn(i, "fastd", "--config", conf)


class Tinc(Pair):
    name = package = "tinc"
    binary = "tincd"
    dev = ("tinc0", "tinc0")
    setting = "1.0, its defaults, Mode = switch"

    def begin(self):
        for i in (0, 1):
            me, other = "ab"[i], "ab"[1 - i]
            self.write(f"{i}/tinc.conf", f"Name = {me}\nMode = switch\nDeviceType = tap\nInterface = tinc0\n"
                                         f"AddressFamily = ipv4\nConnectTo = {other}\n")
            self.write(f"{i}/hosts/{me}", f"Address = {self.under[i]}\n")
            run("tincd", "-c", os.path.join(self.dir, str(i)), "-K", "2048")
        for i in (0, 1):
            me, d = "ab"[i], os.path.join(self.dir, str(i))
            self.write(f"{1 - i}/hosts/{me}", open(os.path.join(d, "hosts", me)).read())
        for i in (0, 1):
            d = os.path.join(self.dir, str(i))
            self.spawn(i, "tincd", "-c", d, "-D", f"--pidfile={d}/pid")


class Wireguard(Pair):
    name = package = binary = "wireguard-go"
    layer = 3
    setting = "ChaCha20-Poly1305, TUN"

    def begin(self):
        self.dev = [f"wg{os.getpid() % 100000}{s}{self.case[4]}{self.mtu // 1000}" for s in "ab"]
        keys = []
        for i in (0, 1):
            pem = os.path.join(self.dir, f"{i}.pem")
            run("openssl", "genpkey", "-algorithm", "X25519", "-out", pem)
            keys.append([subprocess.run(["openssl", "pkey", "-in", pem, "-outform", "DER", *p], check=True,
                                        capture_output=True).stdout[-32:].hex() for p in ([], ["-pubout"])])
        for i in (0, 1):
            self.spawn(i, "wireguard-go", "-f", self.dev[i], env={"LOG_LEVEL": "error"})
        for i in (0, 1):
            s = wait_for("wireguard-go's socket", lambda: self.control(self.dev[i]), 20)
            s.sendall(f"set=1\nprivate_key={keys[i][0]}\nlisten_port=51820\npublic_key={keys[1 - i][1]}\n"
                      f"endpoint={self.under[1 - i]}:51820\nallowed_ip=0.0.0.0/0\n\n".encode())
            answer = s.recv(1000).decode()
            s.close()
            if "errno=0" not in answer:
                raise RuntimeError(f"wireguard-go: {answer}")


    @staticmethod
    def control(device):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(f"/var/run/wireguard/{device}.sock")
        except OSError:
            s.close()
            raise
        return s


class Nebula(Pair):
    name = package = binary = "nebula"
    layer = 3
    addressed = True
    dev = ("neb0", "neb0")
    setting = "AES-GCM, TUN"

    def begin(self):
        d = self.dir
        self.mtu = min(self.mtu, 8900)  # its buffers end at 9001 bytes
        run("nebula-cert", "ca", "-name", "bench", "-out-crt", f"{d}/ca.crt", "-out-key", f"{d}/ca.key")
        for i in (0, 1):
            run("nebula-cert", "sign", "-name", "ab"[i], "-ip", f"{self.inner(i)}/24", "-subnets", self.guest_net(i),
                "-ca-crt", f"{d}/ca.crt", "-ca-key", f"{d}/ca.key", "-out-crt", f"{d}/{i}.crt", "-out-key", f"{d}/{i}.key")
            conf = self.write(f"{i}.yml", f"""
pki: {{ca: {d}/ca.crt, cert: {d}/{i}.crt, key: {d}/{i}.key}}
static_host_map: {{"{self.inner(1 - i)}": ["{self.under[1 - i]}:4242"]}}
lighthouse: {{am_lighthouse: false}}
listen: {{host: {self.under[i]}, port: 4242, read_buffer: 4194304, write_buffer: 4194304}}
cipher: aes
tun:
  dev: neb0
  mtu: {self.mtu}
  tx_queue: 1000
  unsafe_routes: [{{route: {self.guest_net(1 - i)}, via: {self.inner(1 - i)}, mtu: {self.mtu}}}]
logging: {{level: error, format: text}}
firewall:
  conntrack: {{tcp_timeout: 12m, udp_timeout: 3m, default_timeout: 10m}}
  outbound: [{{port: any, proto: any, host: any}}]
  inbound: [{{port: any, proto: any, host: any}}]
""")
            self.spawn(i, "nebula", "-config", conf)


class Openvpn(Pair):
    name = package = binary = "openvpn"
    dev = ("ovpn0", "ovpn0")
    setting = "AES-128-GCM, TAP, two peers"

    def begin(self):
        d, prints = self.dir, []
        for i in (0, 1):
            run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=" + "ab"[i], "-keyout", f"{d}/{i}.key", "-out", f"{d}/{i}.crt")
            prints.append(run("openssl", "x509", "-in", f"{d}/{i}.crt", "-noout", "-fingerprint", "-sha256").stdout.strip().split("=")[1])
        for i in (0, 1):
            self.spawn(i, "openvpn", "--dev", "ovpn0", "--dev-type", "tap", "--proto", "udp", "--local", self.under[i],
                       "--remote", self.under[1 - i], "--port", "1194", "--tun-mtu", str(self.mtu), "--fast-io", "--mssfix", "0",
                       "--sndbuf", "4194304", "--rcvbuf", "4194304", "--data-ciphers", "AES-128-GCM", "--verb", "1",
                       "--cert", f"{d}/{i}.crt", "--key", f"{d}/{i}.key", "--peer-fingerprint", prints[1 - i],
                       *(["--tls-server", "--dh", "none"] if i == 0 else ["--tls-client"]))


class Violin:
    """Two peers of the lab, one environment, guests of the simulated hypervisor."""
    package = binary = None
    hosts_from = 0
    settings, cipher = {}, None

    def __init__(self, lab, n, case, mtu):
        self.lab, self.n, self.case, self.mtu = lab, n, case, mtu
        self.hosts = lab.hosts[self.hosts_from:self.hosts_from + 2]
        self.env = self.name[7:]

    def begin(self):
        self.bridge = self.hosts[0].json("env", "create", self.env)["bridge"]

    def plug(self):
        ends = []
        for i, h in enumerate(self.hosts):
            wait_for(f"{h.name} knows {self.env}", lambda: [e for e in h.json("env", "list") if self.env in json_text(e)], 30)
            ip, name = f"10.81.{self.n}.{i + 1}", f"{self.env}{i}"
            pids = [h.pid_of("peer-child"), h.pid_of("agent")]
            if self.case.startswith("bridge"):
                self.lab.guest(h, name, ip, self.bridge)
                ends.append(End(f"{self.lab.prefix}g-{name}", ip, pids))
                continue
            mac = self.lab.guest(h, name, bridge=self.bridge)["mac"]
            tap = self.bridge.replace("vi-", "vt-")
            wait_for(f"{tap} on {h.name}", lambda: run("ip", "-n", h.ns, "link", "show", tap), 20)
            run("ip", "-n", h.ns, "link", "set", tap, "nomaster")  # the kernel's IP is the guest, without a bridge
            run("ip", "-n", h.ns, "link", "set", tap, "address", mac)
            run("ip", "-n", h.ns, "addr", "add", f"{ip}/24", "dev", tap)
            ends.append(End(h.ns, ip, pids))
        return ends

    def check(self):
        """Does it do what its name says? The path's cipher, and whether its size is found."""
        def path():
            p = [p for p in self.hosts[0].json("env", "show", self.env)["paths"] if p["host"] == self.hosts[1].name]
            return p[0] if p else None
        p = wait_for("the path", path, 20)
        if self.cipher and p["cipher"] != self.cipher:
            raise RuntimeError(f"the path has {p['cipher']}: these processors have no AES instructions?")
        return p


def json_text(e):
    return [str(v) for v in e.values()] if isinstance(e, dict) else [str(e)]


class ViolinChacha(Violin):
    name = "violin-chacha"
    hosts_from = 0
    settings, cipher = {"overlay-cipher": "chacha"}, "ChaCha20-Poly1305"
    setting = "ChaCha20-Poly1305"


class ViolinAes(Violin):
    name = "violin-aes"
    hosts_from = 2
    cipher = "AES-256-GCM"
    setting = "AES-256-GCM"


class ViolinPlain(Violin):
    name = "violin-plain"
    hosts_from = 4
    settings = {"overlay-gso": "off", "overlay-vnet-hdr": "off"}
    setting = "no segmentation offload, no superframes; cipher as violin-aes"


VIOLINS = (ViolinChacha, ViolinAes, ViolinPlain)
TUNNELS = (Fastd, Tinc, Wireguard, Nebula, Openvpn)
SYSTEMS = (Veth, Vxlan, *TUNNELS, *VIOLINS)
PACKAGES = ("iperf3", "openssl", *(t.package for t in TUNNELS))
