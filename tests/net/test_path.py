#!/usr/bin/env python3
"""A TCP transfer with a checksum through two data paths and a bad network: 1 % of the datagrams are lost, 5 % come late,
1 % come twice, the path shrinks from 1500 to 1280 bytes midway without a word, and the keys change every second.

Two ends (tests/unit/tool_overlay_pair.c) in network namespaces of their own; between them a third, in which this
program's own relay is the network. BYTES=… says how much is sent."""
import atexit, hashlib, json, os, random, select, signal, socket, subprocess, sys, threading, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAIR = os.environ.get("PAIR") or os.path.join(ROOT, "build", "tests", "overlay_pair")
BYTES = int(os.environ.get("BYTES", 16 << 20))
BOUND = 120 + BYTES / 200e3  # seconds: generous, a stalled transfer ends with a sentence
NAMES = [f"vp{os.getpid() % 100000}{c}" for c in "aub"]
procs = []


def run(*cmd, check=True):
    r = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)
    if check and r.returncode:
        raise RuntimeError(f"{' '.join(cmd)}: {r.stdout.strip()}")
    return r.stdout


def clean():
    for p in procs:
        if p.poll() is None:
            p.kill()
        p.wait()
    for n in NAMES:
        run("ip", "netns", "del", n, check=False)


def in_namespace(name):
    """This process (a forked child) goes on in a namespace."""
    import ctypes
    fd = os.open(f"/run/netns/{name}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000):
        raise OSError("setns")
    os.close(fd)


def relay(largest_by_now):
    """The network: 10.66.1.1:7000 for end 0, 10.66.2.1:7000 for end 1."""
    rng = random.Random(5)
    socks = []
    for i in (1, 2):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.bind((f"10.66.{i}.1", 7000))
        s.setblocking(False)
        socks.append(s)
    late = []
    while True:
        select.select(socks, [], [], 0.005)
        for i, s in enumerate(socks):
            out, to = socks[1 - i], (f"10.66.{2 - i}.2", 7000)
            for _ in range(200):
                try:
                    data = s.recv(65536)
                except BlockingIOError:
                    break
                if len(data) > largest_by_now() or rng.random() < 0.01:
                    continue
                if rng.random() < 0.05:
                    late.append((time.monotonic() + rng.uniform(0.001, 0.01), out, to, data))
                    continue
                for _ in range(2 if rng.random() < 0.01 else 1):
                    try:
                        out.sendto(data, to)
                    except OSError:
                        pass
        now = time.monotonic()
        for item in [x for x in late if x[0] <= now]:
            late.remove(item)
            try:
                item[1].sendto(item[3], item[2])
            except OSError:
                pass


def fork(name, body):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            in_namespace(name)
            body()
            code = 0
        except BaseException as e:  # a child must never go on as its parent
            print(f"{name}: {e!r}", file=sys.stderr)
        finally:
            os._exit(code)
    return pid


def network():
    for n in NAMES:
        run("ip", "netns", "add", n)
        run("ip", "-n", n, "link", "set", "lo", "up")
    for i, n in ((1, NAMES[0]), (2, NAMES[2])):
        run("ip", "-n", NAMES[1], "link", "add", f"e{i}", "type", "veth", "peer", "name", "eth0", "netns", n)
        run("ip", "-n", n, "addr", "add", f"10.66.{i}.2/24", "dev", "eth0")
        run("ip", "-n", NAMES[1], "addr", "add", f"10.66.{i}.1/24", "dev", f"e{i}")
        run("ip", "-n", n, "link", "set", "eth0", "up")
        run("ip", "-n", NAMES[1], "link", "set", f"e{i}", "up")


def end(side):
    name = NAMES[2 * side]
    p = subprocess.Popen(["ip", "netns", "exec", name, PAIR, str(side), "t0", f"10.66.{side + 1}.2:7000",
                          f"10.66.{side + 1}.1:7000", "rekey=1000", "cipher=aes" if os.environ.get("AES") else "cipher=chacha"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    procs.append(p)
    if p.stdout.readline().strip() != "ready":
        raise RuntimeError("an end didn't start")
    run("ip", "-n", name, "addr", "add", f"10.88.0.{side + 1}/24", "dev", "t0")
    return p


def pattern(i):
    return hashlib.sha256(i.to_bytes(8, "big")).digest() * 512  # 16 KiB


def send(progress_fd):
    s = socket.create_connection(("10.88.0.2", 9), timeout=60)
    s.settimeout(BOUND)
    for i in range(BYTES // 16384):
        s.sendall(pattern(i))
        os.write(progress_fd, b".")
    s.shutdown(socket.SHUT_WR)
    s.recv(1)


def receive(ready_fd, result_fd):
    l = socket.socket()
    l.bind(("10.88.0.2", 9))
    l.listen()
    os.write(ready_fd, b"r")
    l.settimeout(BOUND)
    c, _ = l.accept()
    c.settimeout(BOUND)
    h, n = hashlib.sha256(), 0
    while True:
        d = c.recv(1 << 16)
        if not d:
            break
        h.update(d)
        n += len(d)
    os.write(result_fd, f"{n} {h.hexdigest()}".encode())
    c.close()


def main():
    if os.geteuid():
        sys.exit("this needs root (network namespaces, TAP devices)")
    if not os.path.exists(PAIR):
        sys.exit(f"{PAIR}: build it first (make {os.path.relpath(PAIR, ROOT)})")
    atexit.register(clean)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    network()
    shrink_r, shrink_w = os.pipe()
    os.set_blocking(shrink_r, False)
    state = {"largest": 1472}

    def largest_by_now():
        if state["largest"] == 1472:
            try:
                if os.read(shrink_r, 1):
                    state["largest"] = 1252
            except BlockingIOError:
                pass
        return state["largest"]
    children = [fork(NAMES[1], lambda: relay(largest_by_now))]
    try:
        ends = [end(0), end(1)]
        ready_r, ready_w = os.pipe()
        result_r, result_w = os.pipe()
        progress_r, progress_w = os.pipe()
        receiver = fork(NAMES[2], lambda: receive(ready_w, result_w))
        children.append(receiver)
        os.read(ready_r, 1)
        began = time.monotonic()
        sender = fork(NAMES[0], lambda: send(progress_w))
        children.append(sender)
        sent = 0
        while sent < BYTES // 16384 // 2:  # the path shrinks midway
            if not select.select([progress_r], [], [], BOUND)[0]:
                raise AssertionError("the transfer stalls before the path shrinks")
            sent += len(os.read(progress_r, 4096))
        os.write(shrink_w, b"s")
        threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(progress_r, 4096), b"")], daemon=True).start()
        if not select.select([result_r], [], [], BOUND)[0]:
            raise AssertionError("the transfer doesn't end")
        took = time.monotonic() - began
        n, digest = os.read(result_r, 200).decode().split()
        want = hashlib.sha256()
        for i in range(BYTES // 16384):
            want.update(pattern(i))
        counters = []
        for p in ends:
            p.stdin.close()
            counters.append(json.loads(p.stdout.read()))
    finally:
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.waitpid(pid, 0)
    assert int(n) == BYTES and digest == want.hexdigest(), f"{n} of {BYTES} bytes, or other ones, arrived"
    assert 1200 <= counters[0]["bytes"] <= 1252, f"the path was not found out: {counters[0]['bytes']} bytes"
    assert counters[0].get("black_holes", 0) >= 1
    for c in counters:
        assert not c.get("rx_auth"), "a good datagram was taken for a forged one"
        assert not c.get("rx_number") and not c.get("tap_refused") and not c.get("tap_header"), c
    assert sum(c.get("rx_replay", 0) for c in counters) > 0, "the network's duplicates were not noticed"
    print(f"ok    bad_network: {BYTES >> 20} MiB with the right checksum in {took:.1f} s ({BYTES * 8 / took / 1e6:.1f} Mb/s), "
          f"path {counters[0]['bytes']} bytes, duplicates refused {sum(c.get('rx_replay', 0) for c in counters)}")


try:
    main()
except Exception as e:
    print(f"FAIL  bad_network: {e}\ntest_path: 0 passed, 1 failed")
    sys.exit(1)
print("test_path: 1 passed, 0 failed")
