#!/usr/bin/env python3
"""Many real peers on one machine, MANY=12 of them: one is stopped and continued, one whole host is, one is
killed, one cut off. No healthy peer is declared dead by anyone, everybody comes back, and everybody can say who
said so. How long each took is printed."""
import concurrent.futures, json, os, signal, subprocess, time

from harness import main, test
from lab import Lab, run, wait_for

MANY = int(os.environ.get("MANY", 12))
PAUSE = 30 if MANY >= 64 else 12
LONG = 60 + 10 * MANY  # generous: the machine may be slow, and is full

lab = Lab(hosts=MANY, settings={"events-kept": 5000})
first = lab.hosts[0]


def say(text):
    print(f"      {text}", flush=True)


def ask(h, *args):
    """Its control socket is a file: no namespace is needed."""
    return json.loads(run(lab.program, "-c", h.conf, *args, "--json").stdout)


def each(hosts, f):
    """f of every host, a few at a time; the answers in their order."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return list(pool.map(f, hosts))


def states(h):
    return {m["name"]: m["state"] for m in ask(h, "members")}


def all_say(hosts, what, want):
    """Waits until each of the hosts' tables is as wanted; how long the last one took."""
    began, left = time.monotonic(), list(hosts)

    def still():
        nonlocal left
        left = [h for h, s in zip(left, each(left, states)) if not want(s)]
        return not left
    wait_for(f"{what} on all of {len(hosts)} hosts", lambda: still() or (left[0].name, states(left[0])) and False, LONG, 0.3)
    return time.monotonic() - began


def all_alive(hosts, n=MANY):
    return all_say(hosts, f"{n} alive", lambda s: len(s) >= n and sum(v == "alive" for v in s.values()) == n and
                   all(v in ("alive", "dead") for v in s.values()))


def marks():
    return {h.name: ask(h, "events", "--limit", "1")[-1]["seq"] for h in lab.hosts}


def happened(h, after):
    return [e for e in ask(h, "events", "--after", str(after[h.name]), "--limit", "5000") if e["kind"] == "member"]


def nobody_else_died(after, but, hosts=lab.hosts):
    """Of every peer's events since the marks: none says that another than `but` is dead."""
    wrong, doubted = [], 0
    for h, events in zip(hosts, each(hosts, lambda h: happened(h, after))):
        wrong += [(h.name, e) for e in events if e["text"].endswith("is dead") and e["subject"] != but]
        doubted += sum("suspected" in e["text"] and e["subject"] != but for e in events)
    assert not wrong, wrong
    say(f"suspicions of healthy peers, all refuted: {doubted} among {len(hosts)} peers")


def memory(pid):
    return sum(int(l.split()[1]) for l in open(f"/proc/{pid}/smaps_rollup") if l.startswith("Pss:")) / 1024


def stopped(victim, roles, name):
    """These processes of the host are stopped for a while and continued: it is missed, comes back, and neither
    it nor anyone else took a healthy peer for dead."""
    others = [h for h in lab.hosts if h is not victim]
    after, pids = marks(), [victim.pid_of(r) for r in roles]
    assert all(pids), pids
    began = time.monotonic()
    for p in pids:
        os.kill(p, signal.SIGSTOP)
    try:
        took = all_say(others, f"{victim.name} is dead", lambda s: s[victim.name] == "dead")
        time.sleep(max(0, began + PAUSE - time.monotonic()))
    finally:
        for p in pids[::-1]:
            os.kill(p, signal.SIGCONT)
    lasted, back = time.monotonic() - began, time.monotonic()
    all_alive(lab.hosts)
    say(f"{name}: missed by all after {took:.1f} s; continued after {lasted:.1f} s, {time.monotonic() - back:.1f} s later "
        "all know it and it knows all")
    assert [victim.pid_of(r) for r in roles] == pids, "it was not started anew"
    nobody_else_died(after, victim.name)


def know_neighbours():
    """The kernel's table of neighbours has 1024 places for all namespaces together, less than MANY * MANY: each
    host is told the others' Ethernet addresses for good, which take none."""
    mac = {h.ip: f"02:00:00:00:00:{h.n:02x}" for h in lab.hosts}
    for h in lab.hosts:
        run("ip", "-n", h.ns, "link", "set", "eth0", "address", mac[h.ip])
        run("ip", "-n", h.ns, "-batch", "-", input="".join(f"neigh replace {ip} lladdr {m} dev eth0 nud permanent\n"
                                                         for ip, m in mac.items() if ip != h.ip))


@test
def all_start():
    """they start and find each other"""
    know_neighbours()
    first.violin("init", "--domain", "lab", "--host", first.name)
    first.start()
    token = first.json("invite", "--uses", str(MANY))["token"]
    began = time.monotonic()

    def begin(h):
        h.violin("join", "--host", h.name, token)
        h.start()
    each(lab.hosts[1:], begin)
    started = time.monotonic() - began
    all_alive(lab.hosts)
    mib = [memory(h.pid_of("peer-child")) for h in lab.hosts]
    say(f"{MANY} peers joined and started in {started:.1f} s, {time.monotonic() - began - started:.1f} s later all know all; "
        f"a peer's memory {sum(mib) / MANY:.1f} MiB, at most {max(mib):.1f}")


@test
def peer_stopped():
    """one peer's process is stopped and continued: no healthy peer is declared dead by anyone, it comes back"""
    stopped(lab.hosts[MANY // 2], ["peer-child"], "stopped peer")


@test
def host_stopped():
    """supervisor, agent and peer of a host are stopped and continued"""
    stopped(lab.hosts[MANY // 3], ["peer", "agent", "peer-child"], "stopped host")


def why(h, *args):
    return ask(h, "members", "--why", *args)


@test
def killed():
    """one is killed: known to all, and all can say who said so; it comes back with a newer incarnation"""
    victim = lab.hosts[-1]
    others, after = lab.hosts[:-1], marks()
    incarnation = [m["incarnation"] for m in ask(first, "members", victim.name)][0]
    log = open(os.path.join(lab.dir, "monitor"), "w+")
    monitor = subprocess.Popen([lab.program, "-c", first.conf, "monitor", "--kind", "member", "--subject", victim.name, "--json"],
                               stdout=log, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    lab.procs.append(monitor)
    wait_for("the monitor is connected", lambda: any("socket:" in os.readlink(f"/proc/{monitor.pid}/fd/{fd}")
                                                     for fd in os.listdir(f"/proc/{monitor.pid}/fd")), 30)
    pids = [victim.pid_of(role) for role in ("peer", "agent", "peer-child")]
    assert all(pids), pids
    for sig in (signal.SIGSTOP, signal.SIGKILL):  # all at once: who sees another die says good-bye
        for p in pids:
            os.kill(p, sig)
    took = all_say(others, f"{victim.name} is dead", lambda s: s[victim.name] == "dead")
    say(f"killed peer: known to all after {took:.1f} s")
    names = {h.name for h in others}
    paths = {}
    for h, r in zip(others, each(others, lambda h: why(h, "--state", "dead"))):
        assert [m["name"] for m in r["members"]] == [victim.name], r
        d = r["members"][0]["doubts"][-1]
        assert d["lasts"] and "end" not in d and d["dead_after_s"] > 0 and d["at"] > 1e9, d
        assert d["accuser"] in names and set(d["confirmed_by"]) <= names - {d["accuser"]}, d
        assert d["path"] in ("own probe", "direct", "relayed"), d
        assert ("via" in d) == (d["path"] == "relayed") and ("asked" in d) == (d["path"] == "own probe"), d
        assert (d["accuser"] == h.name) == (d["path"] == "own probe"), (h.name, d)
        paths[d["path"]] = paths.get(d["path"], 0) + 1
    assert paths.get("own probe"), paths
    say(f"heard of it by: {paths}")
    text = run(lab.program, "-c", first.conf, "members", "--why", victim.name).stdout
    assert f"{victim.name} (" in text and ") is dead" in text and "suspected by" in text and "declared dead after" in text, text
    victim.proc.wait()
    victim.start()
    all_alive(lab.hosts)
    # on a busy machine it may be suspected once more, and refute that
    d = wait_for("how its death ended", lambda: [x for x in why(first, victim.name)["members"][0]["doubts"]
                                                 if x.get("end") == "back"], 30)[-1]
    assert not d["lasts"] and d["ended_after_s"] > d["dead_after_s"], d
    assert ask(first, "members", victim.name)[0]["incarnation"] > incarnation
    nobody_else_died(after, victim.name, others)
    lines = wait_for("the monitor has all", lambda: [l for l in [json.loads(l) for l in open(log.name)] if l["text"].endswith("back")] and
                     [json.loads(l) for l in open(log.name)], 20)
    monitor.send_signal(signal.SIGINT)
    assert monitor.wait(20) == 0
    assert {l["subject"] for l in lines} == {victim.name} and {l["kind"] for l in lines} == {"member"}, lines
    dead = [l for l in lines if l["text"].endswith("is dead")]
    assert len(dead) == 1 and dead[0]["words"]["accuser"] in names, lines
    assert any("suspected" in l["text"] and l["words"]["accuser"] in names and l["words"]["reason"] for l in lines), lines


@test
def cut_off():
    """one without a network says that it stands aside, accuses nobody, and comes back by itself"""
    victim, after = lab.hosts[1], marks()
    others = [h for h in lab.hosts if h is not victim]
    assert not ask(victim, "status")["standing"]["aside"]
    victim.link(False)
    try:
        all_say(others, f"{victim.name} is dead", lambda s: s[victim.name] == "dead")
        s = wait_for("it knows that the fault is its own", lambda: (lambda s: s["standing"]["aside"] and
                     any("own probes fail" in w for w in s["warnings"]) and s)(ask(victim, "status")), 60)
        assert s["standing"]["local_health"] > 0 and s["standing"]["aside_s"] >= 0, s["standing"]
        text = run(lab.program, "-c", victim.conf, "members", "--why").stdout
        assert "stands aside" in text, text
    finally:
        victim.link(True)
    began = time.monotonic()
    all_alive(lab.hosts)
    wait_for("it stands aside no more", lambda: not ask(victim, "status")["standing"]["aside"] and
             not ask(victim, "status")["warnings"], LONG)
    say(f"cut off and healed: {time.monotonic() - began:.1f} s until all is well")
    nobody_else_died(after, victim.name)


@test
def filters():
    """names, ids and states that are asked for; what nobody is called is an error"""
    two = ask(first, "members", lab.hosts[1].name, lab.hosts[2].name)
    assert sorted(m["name"] for m in two) == sorted(h.name for h in lab.hosts[1:3]), two
    assert [m["name"] for m in ask(first, "members", two[0]["id"][:12])] == [two[0]["name"]]
    wait_for("all are alive", lambda: len(ask(first, "members", "--state", "alive")) == MANY, LONG)
    assert ask(first, "members", "--state", "left") == []
    assert [m["name"] for m in why(first, first.name)["members"]] == [first.name]
    for args in (["members", "nosuch"], ["members", "--why", "nosuch"]):
        r = run(lab.program, "-c", first.conf, *args, check=False)
        assert r.returncode == 1 and "nosuch" in r.stderr, r
    victim = lab.hosts[2]
    victim.stop()
    others = [h for h in lab.hosts if h is not victim]
    all_say(others, f"{victim.name} has left", lambda s: s[victim.name] == "left")
    gone = why(first, "--state", "left")["members"]
    assert [m["name"] for m in gone] == [victim.name], gone
    d = gone[0]["doubts"][-1]
    assert d["reason"] == "its own word" and "accuser" not in d and d["lasts"] and d["left_after_s"] == 0, d


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
