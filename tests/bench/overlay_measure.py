"""overlay_measure.py: the figures of one system in one round."""
import json, os, subprocess, time

TICK = os.sysconf("SC_CLK_TCK")
UNITS = {"tcp1_gbps": "Gb/s", "tcp4_gbps": "Gb/s", "udp64_kpps": "1000/s", "rtt_idle_us_p50": "µs",
         "rtt_idle_us_p99": "µs", "rtt_loaded_us": "µs", "rtt_loaded_us_p99": "µs", "cpu_s_per_gb": "s/GB"}
MORE_IS_BETTER = ("tcp1_gbps", "tcp4_gbps", "udp64_kpps")
DEFINITIONS = {
    "tcp1_gbps": "iperf3, one TCP stream, 1 s, bytes received; both ends, the system and the load on this machine",
    "tcp4_gbps": "iperf3, four TCP streams at once",
    "udp64_kpps": "UDP datagrams of 64 bytes that arrive, of those that one thread sends as fast as it can",
    "rtt_idle_us_p50": "a UDP datagram of 64 bytes there and back, one each ms, nothing else being sent",
    "rtt_idle_us_p99": "the same",
    "rtt_loaded_us": "the same, one each 5 ms, beside tcp4's streams, median; what is lost isn't counted",
    "rtt_loaded_us_p99": "the same",
    "cpu_s_per_gb": "during tcp1: user and system time of both ends' processes of the system and of both iperf3 (in whose "
                    "name the kernel does much of its work), and the whole machine's hard and soft interrupt time, by "
                    "10^9 bytes received",
}


def cpu_of(pid):
    try:
        f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(f[11]) + int(f[12])) / TICK
    except OSError:
        return 0.0


def interrupts():
    f = open("/proc/stat").readline().split()
    return (int(f[6]) + int(f[7])) / TICK


class Failed(Exception):
    pass


class Meter:
    """Servers at the second end, measured from the first."""

    def __init__(self, lab, system, ends, probe, seconds):
        self.lab, self.system, self.probe, self.seconds = lab, system, probe, seconds
        self.near, self.far = ends
        self.iperf = None
        self.serve_iperf()
        lab.spawn(self.far.ns, probe, "serve", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def serve_iperf(self):
        if self.iperf:
            self.iperf.kill()
            self.iperf.wait()
        self.iperf = self.lab.spawn(self.far.ns, "iperf3", "-s", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self, *cmd):
        return subprocess.Popen(["ip", "netns", "exec", self.near.ns, *map(str, cmd)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, p, seconds, what):
        try:
            out, err = p.communicate(timeout=seconds + 15)
        except subprocess.TimeoutExpired:
            p.kill()
            p.communicate()
            raise Failed(f"{what}: no end")
        if p.returncode:
            raise Failed(f"{what}: {(err.strip() or out.strip())[-200:]}")
        return out

    def start_tcp(self, streams):
        return self.start("iperf3", "-c", self.far.ip, "-J", "-t", self.seconds, "-P", streams, "--connect-timeout", 3000)

    def end_tcp(self, p, streams):
        try:
            end = json.loads(self.finish(p, self.seconds, f"tcp{streams}"))["end"]
            return end["sum_received"]["bits_per_second"] / 1e9, end["sum_received"]["bytes"]
        except (Failed, KeyError, ValueError):
            self.serve_iperf()
            time.sleep(0.2)
            raise

    def rtt(self, p, seconds):
        p50, p99, received, sent = self.finish(p, seconds, "rtt").split()
        return float(p50), float(p99)

    def round(self):
        """All figures, by metric; what failed is None."""
        got = dict.fromkeys(UNITS)
        for step in (self.idle, self.tcp1, self.tcp4, self.udp):
            try:
                step(got)
            except (Failed, KeyError, ValueError) as e:
                got.setdefault("errors", []).append(f"{step.__name__}: {e}")
        return got

    def idle(self, got):
        got["rtt_idle_us_p50"], got["rtt_idle_us_p99"] = self.rtt(self.start(self.probe, "rtt", self.far.ip, 0.25, 1000), 1)

    def tcp1(self, got):
        pids = [*self.near.pids, *self.far.pids, self.iperf.pid]
        used = lambda: sum(map(cpu_of, pids)) + interrupts()
        children = lambda: sum(os.times()[2:4])  # iperf3 the client is one; nothing else of ours ends meanwhile
        before, before_children = used(), children()
        got["tcp1_gbps"], received = self.end_tcp(self.start_tcp(1), 1)
        time.sleep(0.02)
        if received:
            got["cpu_s_per_gb"] = (used() - before + children() - before_children) / (received / 1e9)

    def tcp4(self, got):
        load = self.start_tcp(4)
        time.sleep(0.25)
        probe = self.start(self.probe, "rtt", self.far.ip, self.seconds - 0.4, 5000)
        try:
            got["tcp4_gbps"], _ = self.end_tcp(load, 4)
        finally:
            got["rtt_loaded_us"], got["rtt_loaded_us_p99"] = self.rtt(probe, self.seconds)

    def udp(self, got):
        received, ns, _ = map(int, self.finish(self.start(self.probe, "flood", self.far.ip, 0.3), 1, "udp64").split())
        if received < 2 or ns == 0:
            raise Failed(f"{received} datagrams came through")
        got["udp64_kpps"] = (received - 1) / (ns / 1e9) / 1e3
