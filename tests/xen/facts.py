"""facts.py: what the checks on real Xen share: facts with figures and their report, waiting for a state, asking hosts.

A program's facts run in the order in which they stand there. Each returns its figures; one that fails doesn't keep
the next from being tried, except the first and others that all the rest needs."""
import json, sys, time, traceback

facts, report = [], []
began = time.monotonic()


def fact(f):
    facts.append(f)
    return f


def wait_for(what, probe, seconds=300, every=2.0):
    """What probe answers once it is true. Bounds are generous: the machine may be busy."""
    end = time.monotonic() + seconds
    error = ""
    while True:
        try:
            r = probe()
        except RuntimeError as e:  # a peer that was killed does not answer until it is there again
            r, error = None, f" ({e})"
        if r:
            return r
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s{error}")
        time.sleep(every)


# ---- one host -----------------------------------------------------------------------------------

def guest(host, name):
    return next((g for g in host.json("guests") if g["name"] == name), None)


def state_of(host, name):
    """running, paused, … as the hypervisor has it, or None."""
    for line in host.sh("xl list").splitlines()[1:]:
        w = line.split()
        if w and w[0] in (name, name + "--incoming"):
            flags = w[4]
            return "suspended" if "s" in flags else "paused" if "p" in flags else "running"
    return None


def events(host, kind, subject, after=0):
    return [e for e in host.json("events --limit 1000") if e["kind"] == kind and e.get("subject") == subject and e["seq"] > after]


def last_seq(host):
    e = host.json("events --limit 1")
    return e[-1]["seq"] if e else 0


def reported(host, name):
    g = guest(host, name)
    return g if g and g["state"] == "running" and g.get("report_age_s", 99) < 15 else None


def alive_inside(host, name):
    """The guest answers: it isn't only listed as running."""
    mark = f"alive-{time.monotonic_ns()}"
    host.type(name, f"echo {mark[:5]}''{mark[5:]}")
    wait_for(f"{name} answers on {host.name}", lambda: mark in host.guest_log(name), 120)


# ---- several ------------------------------------------------------------------------------------

def running(hosts, name):
    return [h.name for h in hosts if h.up and state_of(h, name) == "running"]


def copies(hosts, name):
    return [h.name for h in hosts if h.up and state_of(h, name)]


def settled(hosts):
    return all(h.json("status")["handovers"]["active"] == 0 for h in hosts)


def know_each_other(hosts, seconds=120):
    """Every one of a domain's hosts sees all of them alive, and their loads."""
    def known(h):
        members = h.json("members")
        return [m["state"] for m in members] == ["alive"] * len(hosts) and all("memory_free_mib" in m for m in members)

    for h in hosts:
        wait_for(f"{h.name} knows all {len(hosts)}", lambda h=h: known(h), seconds)


def xl_migrate(source, target, name):
    """As an operator does it by hand, without ssh's encryption."""
    port = 8002
    target.sh(f"(setsid socat TCP-LISTEN:{port},reuseaddr EXEC:'xl migrate-receive' >/root/receive.log 2>&1 &) </dev/null >/dev/null 2>&1; sleep 1")
    source.sh(f"xl migrate -s '' {name} 'socat - TCP:{target.ip}:{port}' >/root/migrate.log 2>&1 || {{ cat /root/migrate.log; exit 1; }}", timeout=900)


# ---- running them, and the report ---------------------------------------------------------------

def write_report(path):
    with open(path, "w") as f:
        json.dump({"duration_s": round(time.monotonic() - began, 1), "facts": report}, f, indent=1)
        f.write("\n")


def dump(lab):
    """What is known about a failure: the hosts' logs."""
    for h in lab.hosts:
        if h.up:
            try:
                print(f"---- {h.name}\n" + h.sh("xl list; violin handover list; violin env moves; violin env jobs; "
                                                "tail -n 60 /var/log/violin.log; tail -n 20 /var/log/xen/xen-hotplug.log",
                                                check=False, timeout=120))
            except Exception as e:  # a host that doesn't answer must not hide the failure
                print(f"---- {h.name}: {e}")


def run(lab, file, only=(), needed=()):
    """Runs the facts (only these, if given), writes build/xen/FILE after each; how many failed. needed: without these, as
    without the first, there is nothing to try."""
    failed = 0
    for f in facts:
        if only and f.__name__ not in only:
            continue
        start = time.monotonic()
        entry = {"name": f.__name__, "what": f.__doc__.splitlines()[0], "ok": False}
        try:
            entry.update(f() or {})
            entry["ok"] = True
        except Exception as e:  # a failed fact must not keep the next from being tried
            failed += 1
            entry["why"] = f"{type(e).__name__}: {e}"
            print(traceback.format_exc())
            dump(lab)
        entry["took_s"] = round(time.monotonic() - start, 1)
        report.append(entry)
        write_report(lab.images.path(file))
        figures = ", ".join(f"{k} {v}" for k, v in entry.items() if k not in ("name", "what", "ok"))
        print(f"{'ok   ' if entry['ok'] else 'FAIL '} {entry['name']}: {entry['what']}\n      {figures}", flush=True)
        if not entry["ok"] and (f is facts[0] or f.__name__ in needed):
            break
    return failed


def ends(title, failed):
    print(f"{title}: {len(report) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
