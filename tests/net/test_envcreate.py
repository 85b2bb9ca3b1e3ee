#!/usr/bin/env python3
"""Environments made from images by real peers: one command makes a head and four guests over three hosts, all reachable on
their virtual Ethernet; whatever is killed midway, all of them come to be, or none; start, stop and remove; a host's reboot
starts what it owns, and only that."""
import json, os, time

from harness import main, test
from lab import Lab, run, wait_for

NET = "10.9.0"
ADDRESSES = {"web-head": f"{NET}.1", **{f"web-{n}": f"{NET}.{10 + n}" for n in range(1, 7)}}
WHOLE = ["web-1", "web-2", "web-3", "web-4", "web-head"]


def conf(n):
    c = {"settle-time": 0, "evaluation-period": 1}
    if n == 2:
        c["outside-bridge"] = "out0"
    return c


lab = Lab(hosts=3, memory=4096, conf=conf)
h1, h2, h3 = lab.hosts
for h in lab.hosts:
    images = os.path.join(h.dir, "images")
    os.makedirs(images)
    for name in ("vmlinuz", "root.img"):
        with open(os.path.join(images, name), "w") as f:
            f.write(f"what is in {name}")
    with open(h.conf, "a") as f:
        f.write(f'image-dirs = {{ "{images}" }}\n')
    with open(os.path.join(h.dir, "sim", "host.conf"), "a") as f:
        f.write(f"netns={lab.prefix}g-\n")
for name in ADDRESSES:
    run("ip", "netns", "add", f"{lab.prefix}g-{name}")
    run("ip", "-n", f"{lab.prefix}g-{name}", "link", "set", "lo", "up")
    lab.namespaces.append(f"{lab.prefix}g-{name}")
lab.form()
for h in lab.hosts:
    wait_for("load is known", lambda h=h: all("memory_free_mib" in m for m in h.json("members")), 60)

CREATE = ["env", "create", "web", "--guests", "4", "--head", "--kernel", "vmlinuz", "--image", "root.img", "--memory", "256",
          "--append", "root=/dev/xvda ro", "--network", f"{NET}.0/24"]


def guests(state=None):
    """Every domain of every simulated host: name → hosts."""
    found = {}
    for h in lab.hosts:
        for item in h.sim("list").split(";"):
            words = dict(w.split("=", 1) for w in item.split() if "=" in w)
            if "name" in words and (state is None or words["state"] == state):
                found.setdefault(words["name"], []).append(h)
    return found


def run_whole(names=WHOLE):
    found = guests()
    assert all(len(v) == 1 for v in found.values()), found
    return sorted(found) == sorted(names) and sorted(guests("running")) == sorted(names)


def nothing_left():
    if guests():
        return False
    for h in lab.hosts:
        if h.json("env", "list") or h.json("env", "jobs") and any(not j["over"] for j in h.json("env", "jobs")):
            return False
        if "vi-" in run("ip", "-n", h.ns, "-o", "link").stdout or "vs-" in run("ip", "-n", h.ns, "-o", "link").stdout:
            return False
    return True


def reachable(names=WHOLE):
    """Each guest's init would set its address: here the test does."""
    for n in names:
        ns = f"{lab.prefix}g-{n}"
        run("ip", "-n", ns, "addr", "replace", f"{ADDRESSES[n]}/24", "dev", "eth0")
    for a in names:
        for b in names:
            if a != b:
                wait_for(f"{a} reaches {b}", lambda: run("ip", "netns", "exec", f"{lab.prefix}g-{a}", "ping", "-c", "1", "-W", "2",
                                                         ADDRESSES[b]), 60)


def remove():
    h1.violin("env", "remove", "web", "--force", timeout=120)
    wait_for("nothing is left", nothing_left, 60)


@test
def one_command():
    """A head and four guests over three hosts, all reachable; the head is where its leg outside can be."""
    r = json.loads(h1.violin(*CREATE, "--json", timeout=180).stdout)
    assert r["over"] and not r["failed"] and r["done"] == r["total"] == 5, r
    assert run_whole()
    found = guests()
    assert found["web-head"] == [h2], found
    assert len({h.name for v in found.values() for h in v}) == 3, found
    reachable()
    head = next(g for g in h2.json("guests") if g["name"] == "web-head")
    assert not head["movable"] and "leg outside" in head["why_not"], head
    r = h1.violin(*CREATE, check=False)
    assert r.returncode and "there is an environment" in r.stderr, r.stderr


@test
def stop_and_start():
    """Asked of another host; who is stopped stays stopped, over a restart of its peer, too."""
    r = h3.violin("env", "remove", "web", check=False, timeout=60)
    assert r.returncode and "stop" in r.stderr and run_whole(), r.stderr
    h3.violin("env", "stop", "web", timeout=120)
    assert not guests(), guests()
    h2.stop()
    h2.start()
    lab.wait_members(3)
    time.sleep(3)
    assert not guests(), guests()
    kept = [k for h in lab.hosts for k in h.json("env", "show", "web")["kept"]]
    assert sorted(k["name"] for k in kept) == WHOLE and all(k["state"] == "stopped" and not k["run"] for k in kept), kept
    h2.violin("env", "start", "web", timeout=120)
    assert run_whole()
    reachable()


@test
def a_move_takes_it_along():
    """Whose guest moved keeps it: its new host starts it after a reboot, its old one doesn't."""
    found = guests()
    name = next(n for n, v in found.items() if v == [h1] and n != "web-head")
    h1.violin("migrate", name, "host3", timeout=120)
    wait_for("it is there", lambda: guests("running")[name] == [h3], 30)
    there = sorted(n for n, v in guests().items() if v == [h3])
    mine = sorted(n for n, v in guests().items() if v == [h1])
    for h, names in ((h3, there), (h1, mine)):
        h.stop()
        h.start()  # the simulated hypervisor's guests outlive that
        lab.wait_members(3)
        h.sim("reboot-host")
        h.stop()
        h.start()
        lab.wait_members(3)
        wait_for("what it owns runs", lambda: sorted(n for n, v in guests("running").items() if v == [h]) == names, 60)
        assert run_whole(), guests()
    reachable()


@test
def a_file():
    """apply: what is missing is made, what differs is said, what is as it says is left."""
    path = os.path.join(lab.dir, "web.env")

    def write(**more):
        keys = {"name": "web", "guests": 4, "head": "yes", "kernel": "vmlinuz", "image": '{"root.img"}', "memory": 256,
                "command-line": '"root=/dev/xvda ro"', "network": f'"{NET}.0/24"', **more}
        with open(path, "w") as f:
            f.write("# an environment\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()))

    write()
    r = h3.json("env", "apply", path)
    assert r["as_it_says"] and not r["create"], r
    write(guests=6)
    r = json.loads(h3.violin("env", "apply", path, "--check", "--json", timeout=60).stdout)
    assert r["make"] == 2 and not r["done"] and len(guests()) == 5, r
    h3.violin("env", "apply", path, timeout=180)
    assert run_whole(WHOLE + ["web-5", "web-6"]), guests()
    write(guests=4)
    r = h3.violin("env", "apply", path, "--check", timeout=60)
    assert "they run, and go with --force only: web-5, web-6" in r.stdout and len(guests()) == 7, r.stdout
    r = h3.violin("env", "apply", path, check=False, timeout=60)
    assert r.returncode and "(web-5, web-6): use --force" in r.stderr, r.stderr
    h3.violin("env", "apply", path, "--force", timeout=180)
    assert run_whole(), guests()
    write(memory=512)
    r = h1.violin("env", "apply", path, check=False, timeout=60)
    assert r.returncode and "something else" in r.stdout and run_whole(), r.stdout
    with open(path, "a") as f:
        f.write("gusts = 4\n")
    r = h1.violin("env", "apply", path, check=False, timeout=60)
    assert r.returncode and f"{path}:10: `gusts`" in r.stderr, r.stderr
    remove()


@test
def all_or_none():
    """A host that lacks the image fetches it; where it can't be had, nothing is made and nothing stays."""
    clean()
    os.unlink(os.path.join(h3.dir, "images", "root.img"))
    h1.violin(*CREATE, timeout=240)
    assert run_whole() and [h3] in guests().values(), guests()
    assert [i for i in h3.json("image", "list") if i["state"] == "fetched"], h3.json("image", "list")
    remove()
    for why, words in (("nosuch", ["--guests", "2", "--kernel", "nosuch"]),
                       ("room", ["--guests", "64", "--kernel", "vmlinuz", "--memory", "4000"]),
                       ("outside-bridge", ["--guests", "2", "--head=host1", "--kernel", "vmlinuz"]),
                       ("fetched", ["--guests", "2", "--kernel", "00" * 32])):
        r = h1.violin("env", "create", "web", *words, check=False, timeout=240)
        assert r.returncode and why in r.stderr, (words, r.stderr)
        wait_for("nothing is left", nothing_left, 60)
    path = os.path.join(h1.dir, "web.env")
    for why, text in (("outside-bridge", "head = host1\nkernel = vmlinuz\n"), ("nosuch", "kernel = nosuch\n")):
        with open(path, "w") as f:
            f.write("name = web\nguests = 2\n" + text)
        r = h1.violin("env", "apply", path, "--check", check=False)
        assert r.returncode and why in r.stderr and nothing_left(), r


@test
def kept_apart():
    """--spread is a rule from the beginning: each on a host of its own; four on three hosts are not made. What an environment's file
    says otherwise than it is, is said; wrong words are refused"""
    clean()
    words = ["env", "create", "web", "--guests", "{}", "--spread", "--priority", "70", "--kernel", "vmlinuz", "--memory", "128"]
    h1.violin(*[w.format(3) for w in words], timeout=180)
    assert len({h[0].name for h in guests("running").values()}) == 3, guests()
    wait_for("host2 has its rules", lambda: (lambda e: e["priority"] == 70 and e["rules"])(h2.json("env", "rule", "web")), 30)
    wait_for("host1 knows who takes part", lambda: len(h1.json("env", "show", "web")["hosts"]) == 3, 30)
    e = h2.json("env", "rule", "web")
    assert e["priority"] == 70 and [(r["kind"], r["guests"]) for r in e["rules"]] == [("spread", ["web-1", "web-2", "web-3"])], e
    path = os.path.join(h1.dir, "web.env")
    with open(path, "w") as f:
        f.write("name = web\nguests = 3\nkernel = vmlinuz\nmemory = 128\nspread = yes\nshares = 200\npriority = 20\n")
    r = h1.violin("env", "apply", path, check=False, timeout=120)
    assert r.returncode == 1 and "it has 100 shares, the file says 200" in r.stdout and "its priority is 20, it was 70" in r.stdout, r
    r = json.loads(h1.violin("env", "apply", path, "--check", "--json", check=False, timeout=120).stdout)
    assert r["shares_differ"] and not r["priority_differs"] and not r["as_it_says"], r
    r = h1.violin("env", "apply", h1.dir, check=False)
    assert r.returncode == 2 and "that is a folder" in r.stderr, r
    for extra in (["env", "list", "xx"], ["env", "jobs", "xx"]):
        r = h1.violin(*extra, check=False)
        assert r.returncode == 2 and "xx" in r.stderr, r
    remove()
    r = h1.violin(*[w.format(4) for w in words], check=False, timeout=180)
    assert r.returncode and "rule 1 (spread" in r.stderr and "where there is room" in r.stderr, r
    wait_for("nothing is left", nothing_left, 60)


def clean():
    """What a test that failed left."""
    if h1.json("env", "list"):
        remove()


def killed_at(point, victim, whole):
    clean()
    for h in [victim]:
        mark = os.path.join(h.dir, "state", "fault-done")
        if os.path.exists(mark):
            os.unlink(mark)
        h.stop()
        h.start(env={"VIOLIN_FAULT": f"{point}:kill"})
    lab.wait_members(3)
    for h in lab.hosts:
        wait_for("load is known", lambda h=h: all("memory_free_mib" in m for m in h.json("members")), 60)
    h1.violin(*CREATE, check=False, timeout=240)
    wait_for("the fault struck", lambda: os.path.exists(os.path.join(victim.dir, "state", "fault-done")), 60)
    wait_for(f"killed at {point}: all or none, and nothing under way",
             lambda: lab.wait_members(3) is None and (run_whole() or nothing_left()) and
             all(j["over"] for h in lab.hosts for j in h.json("env", "jobs")), 240)
    assert whole is None or run_whole() == whole, (point, guests())
    if run_whole():
        remove()


def faults(point, who, whole):
    def f():
        killed_at(point, who, whole)
    f.__name__ = f"{who.name}_killed_at_{point.split('.', 1)[1].replace('.', '_')}"
    f.__doc__ = "all of them are made" if whole else "none of them stays" if whole is False else "all, as its peer is soon back, or none"
    test(f)


for p, w, whole in (("envmake.job.begun", h1, False), ("envmake.job.leased", h1, False), ("envmake.job.planned", h1, False), ("envmake.job.made", h1, False),
                    ("envmake.job.committed", h1, True), ("envmake.guest.written", h2, None),
                    ("envmake.guest.made", h2, None), ("envmake.guest.kept", h2, True)):
    faults(p, w, whole)


if __name__ == "__main__":
    with lab:
        main()
