#!/usr/bin/env python3
"""A stranger's client: the control socket spoken by Debian's python3-msgpack, and by those who can't."""
import grp, json, os, pwd, socket, struct, subprocess, sys, time

import msgpack

from harness import main, test
from lab import Lab, run, wait_for

lab = Lab(hosts=1)
host = lab.hosts[0]
host.violin("init", "--domain", "lab", "--host", "host1")
host.start()


class Client:
    def __init__(self):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.s.connect(host.socket)  # waits for its turn; with a timeout it would be refused while many come at once
        self.s.settimeout(20)
        self.unpacker = msgpack.Unpacker(raw=False)
        self.next = 0

    def message(self):
        while True:
            for m in self.unpacker:
                return m
            d = self.s.recv(65536)
            if not d:
                raise EOFError
            self.unpacker.feed(d)

    def call(self, method, **params):
        self.next += 1
        self.s.sendall(msgpack.packb([0, self.next, method, params]))
        while True:
            m = self.message()
            if m[0] == 1:
                assert m[1] == self.next
                if m[2] is not None:
                    raise RuntimeError(m[2]["message"])
                return m[3]


@test
def reads_status():
    """reads the status"""
    s = Client().call("status")
    assert s["host"] == "host1" and s["domain"] == "lab" and s["members"]["alive"] == 1, s
    assert s["mode"] in ("observe", "auto")


@test
def follows_events():
    """follows events as they happen"""
    follower, other = Client(), Client()
    follower.call("events.follow")
    other.call("mode.set", mode="auto")
    other.call("env.create", name="stranger")
    while True:
        m = follower.message()
        if m[0] == 2 and m[1] == "event" and "stranger" in m[2]["text"]:
            break
    seqs = [e["seq"] for e in other.call("events")]
    assert seqs == sorted(seqs) and seqs
    other.call("env.remove", name="stranger")


@test
def unknown_method():
    """an unknown method, wrong parameters: an error with a sentence"""
    c = Client()
    for method, params in (("nothing", {}), ("explain", {}), ("explain", {"guest": 5}), ("mode.set", {"mode": "x"}),
                           ("env.show", {"name": "nosuch"}), ("migrate", {"guest": "nosuch"})):
        try:
            c.call(method, **params)
            assert False, method
        except RuntimeError as e:
            assert len(str(e)) > 5


@test
def garbage():
    """garbage, halves, a length of 100 MB: the peer goes on serving"""
    idle = []
    for bad in (b"\xc1" * 4096, b"GET / HTTP/1.0\r\n\r\n", b"\x94\x00\x01\xdb" + struct.pack(">I", 100 << 20),
                b"\x94\x00\x01\xc6" + struct.pack(">I", 100 << 20) + b"x" * 100000, msgpack.packb([0, 1, "status", {}])[:5],
                b"\x91" * 60000, msgpack.packb([7, 7]), msgpack.packb({"a": 1}), os.urandom(20000)):
        c = Client()
        try:
            c.s.sendall(bad)
        except OSError:
            pass
        idle.append(c)
        assert Client().call("status")["host"] == "host1"


@test
def thousand_idle():
    """1,000 idle connections, and it serves"""
    idle = []
    for _ in range(1000):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(host.socket)
        idle.append(s)
    assert Client().call("status")["host"] == "host1"
    for s in idle:
        s.close()
    assert Client().call("status")["host"] == "host1"


def as_user(uid, gid, *args):
    return subprocess.run([lab.program, "-s", host.socket, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          user=uid, group=gid, extra_groups=[])


@test
def refused_outside_the_group():
    """a user outside the group is refused, with a line that says so"""
    r = as_user(12345, 12345, "status")
    assert r.returncode not in (0, 2) and len(r.stderr.strip().splitlines()) == 1, r


@test
def group_reads():
    """a member of the group reads, and changes nothing"""
    g = grp.getgrnam("nogroup").gr_gid
    assert as_user(12345, g, "status").returncode == 0
    r = as_user(12345, g, "mode", "observe")
    assert r.returncode not in (0, 2) and "root" in r.stderr, r


@test
def cli_says_what_to_do():
    """no peer: one line that says what to do, its own exit status"""
    r = run(lab.program, "-s", "/nonexistent/sock", "status", check=False)
    assert r.returncode == 3 and len(r.stderr.strip().splitlines()) == 1, r
    assert run(lab.program, "nosuchcommand", check=False).returncode == 2
    for c in ("status", "members", "guests", "explain", "events", "migrate", "mode", "invite", "env", "handover", "config",
              "init", "join", "peer", "cert", "revoke", "revocations", "delegate", "authority"):
        r = run(lab.program, c, "--help", check=False)
        assert r.returncode == 0 and len(r.stdout) > 40, (c, r)


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
