#!/usr/bin/env python3
"""Everything an operator may meet on the way in: one line that says what to do, and nothing lost."""
import json, os, shutil, signal, socket, subprocess, sys, time

from harness import main, test
from lab import Lab, run, wait_for

lab = Lab(hosts=3)
a, b, c = lab.hosts
a.violin("init", "--domain", "lab", "--host", "host1")
a.start()


def line(r, *words):
    """Failed, and with one line that holds these words."""
    assert r.returncode != 0, r
    text = [l for l in r.stderr.strip().splitlines() if l.startswith("violin:")]
    assert text, r
    for w in words:
        assert w.lower() in text[-1].lower(), (w, r.stderr)


def token(*args):
    return json.loads(a.violin("invite", "--json", *args).stdout)["token"]


@test
def init_twice():
    """init on a member"""
    line(a.violin("init", "--domain", "other", check=False), "already")


@test
def peer_without_domain():
    """the peer on a host that is in no domain"""
    r = b.violin("peer", check=False, timeout=30)
    line(r, "violin join")


@test
def bad_tokens():
    """a mistyped token, none, an expired one"""
    assert b.violin("join", check=False).returncode == 2
    t = token()
    line(b.violin("join", t[:-5] + "AAAAA", check=False), "token")
    line(b.violin("join", "rubbish", check=False), "token")
    t = token("--ttl", "1s")
    time.sleep(2)
    r = b.violin("join", "--host", "host2", t, check=False, timeout=120)
    line(r, "expired")
    assert not os.path.exists(os.path.join(b.dir, "state", "cert"))


@test
def reused_token():
    """a token used up"""
    t = token()
    r = b.violin("join", "--host", "host1", t, check=False)
    line(r, "living member")
    b.violin("join", "--host", "host2", t)
    line(c.violin("join", "--host", "host3", t, check=False, timeout=120), "token")
    assert not os.path.exists(os.path.join(c.dir, "state", "cert"))


@test
def wrong_domain():
    """a host of another domain with our seed gets no session and is no member"""
    b.start()
    lab.wait_members(2, [a, b])
    c.violin("init", "--domain", "lab", "--host", "host3")  # the same name, another key
    with open(os.path.join(b.dir, "state", "seeds")) as f:
        seeds = f.read()
    with open(os.path.join(c.dir, "state", "seeds"), "w") as f:
        f.write(seeds)
    c.start()
    wait_for("the stranger says that it is refused",
             lambda: any("authority" in w or "domain" in w for w in c.status().get("warnings", [])), 60)
    lab.wait_members(2, [a, b])
    assert len([m for m in c.json("members") if m["state"] == "alive"]) == 1
    c.stop()


@test
def port_in_use():
    """the port is taken: said, and tried again until it is free"""
    b.stop()
    blocker = subprocess.Popen(["ip", "netns", "exec", b.ns, sys.executable, "-c",
                                "import socket,time\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
                                "s.bind(('0.0.0.0',7411))\nprint('bound',flush=True)\ntime.sleep(600)"],
                               stdout=subprocess.PIPE)
    lab.procs.append(blocker)
    blocker.stdout.readline()
    log = os.path.join(b.dir, "log2")
    with open(log, "wb") as f:
        p = subprocess.Popen(["ip", "netns", "exec", b.ns, lab.program, "-c", b.conf, "peer"], stdout=f, stderr=f,
                             start_new_session=True)
    lab.procs.append(p)

    def said():
        text = open(log).read()
        return "7411" in text and "in use" in text.lower()
    wait_for("it says that the port is in use", said, 30)
    blocker.kill()
    blocker.wait()
    if p.poll() is None:
        wait_for("it comes up by itself", lambda: b.status(), 60)
        p.terminate()
        p.wait(20)
    else:
        assert p.returncode != 0


@test
def unwritable_state():
    """a state folder whose files the peer can't read: said with the file's name; mended, it runs"""
    state = os.path.join(b.dir, "state")
    run("chown", "-R", "root:root", state)
    log = os.path.join(b.dir, "log3")
    with open(log, "wb") as f:
        p = subprocess.Popen(["ip", "netns", "exec", b.ns, lab.program, "-c", b.conf, "peer"], stdout=f, stderr=f,
                             start_new_session=True)
    lab.procs.append(p)
    wait_for("it says which file", lambda: state in open(log).read(), 30)
    run("chown", "-R", "nobody:nogroup", state)
    if p.poll() is None:
        wait_for("it comes up by itself", lambda: b.status(), 60)
        p.terminate()
        p.wait(20)


@test
def full_disk():
    """a full disk: said, nothing lost, and it goes on when there is room"""
    state = os.path.join(b.dir, "state")
    saved = state + ".saved"
    shutil.copytree(state, saved)
    run("mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", state)
    try:
        shutil.copytree(saved, state, dirs_exist_ok=True)
        run("chown", "-R", "nobody:nogroup", state)
        with open(os.path.join(state, "ballast"), "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 4096)
            except OSError:
                pass
        log = os.path.join(b.dir, "log4")
        with open(log, "wb") as f:
            p = subprocess.Popen(["ip", "netns", "exec", b.ns, lab.program, "-c", b.conf, "peer"], stdout=f, stderr=f,
                                 start_new_session=True)
        lab.procs.append(p)
        wait_for("it says that the disk is full", lambda: "full" in open(log).read().lower(), 30)
        os.unlink(os.path.join(state, "ballast"))
        wait_for("it serves again", lambda: b.status()["members"]["alive"] == 2, 90)
        p.terminate()
        p.wait(20)
    finally:
        run("umount", "-l", state)
        shutil.rmtree(saved)


@test
def no_hypervisor():
    """no Xen here: said, the peer waits for it and is a member all the same"""
    conf = open(b.conf).read()
    with open(b.conf, "w") as f:
        f.write(conf.replace('"simulated"', '"libxl"', 1))
    b.start()
    wait_for("status says that there is no hypervisor",
             lambda: any("hypervisor" in w.lower() for w in b.status().get("warnings", [])), 30)
    lab.wait_members(2, [a, b])
    b.stop()


@test
def bad_configuration():
    """a configuration that isn't one"""
    for text, word in (("nonsense = 1\n", "nonsense"), ("port = 99999999\n", "port"), ("mode = \"sometimes\"\n", "mode"),
                       ("port = \n", "conf")):
        path = os.path.join(b.dir, "bad.conf")
        with open(path, "w") as f:
            f.write(text)
        for command in (["config", "check"], ["status"], ["peer"]):
            r = run(lab.program, "-c", path, *command, check=False, timeout=30)
            line(r, word)


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
