#!/usr/bin/env python3
"""Keys over time: renewal while running, delegates in the absent authority's place, revocation, a new
authority with members that were away, and the authority's backup."""
import os, subprocess, time

from harness import main, test
from lab import Lab, empty, run, wait_for

lab = Lab(hosts=6, settings={"cert-lifetime": 86400})
h1, h2, h3, h4, h5, spare = lab.hosts
five = (h1, h2, h3, h4, h5)


def join(h, by):
    token = by.json("invite")["token"]
    r = h.violin("join", "--host", h.name, token, check=False)
    return r


def state_of(h, name):
    return [m["state"] for m in h.json("members") if m["name"] == name]


def may(h, name):
    return [m.get("capabilities") for m in h.json("members") if m["name"] == name]


def cert(h):
    return h.json("cert")


def fails(h, *args):
    r = h.violin(*args, check=False)
    assert r.returncode == 1 and len(r.stderr.strip().splitlines()) == 1, r
    return r.stderr


h1.violin("init", "--domain", "lab", "--host", h1.name)
h1.start()
for h in (h2, h3, h4):
    assert join(h, h1).returncode == 0
    h.start()
lab.wait_members(4, lab.hosts[:4])


@test
def shows_certificate():
    """every host shows its certificate, and who may do what"""
    c = cert(h3)
    assert c["host"] == "host3" and c["state"] == "good" and c["issued_by"] == "host1" and c["rights"] == "env", c
    assert c["not_before"] < c["renews_at"] < c["not_after"] and "capabilities" not in c and not c["authority_here"], c
    assert abs((c["renews_at"] - c["not_before"]) / (c["not_after"] - c["not_before"]) - 2 / 3) < 0.01, c
    c = cert(h1)
    assert c["authority_here"] and c["capabilities"] == "admit,renew,revoke,env,federate", c
    wait_for("host3 sees what host1 may", lambda: may(h3, "host1") == ["admit,renew,revoke,env,federate"], 30)
    assert may(h3, "host2") == [None]
    assert "may not admit" in fails(h3, "invite")
    assert "may not revoke" in fails(h3, "revoke", "host4")
    assert "authority's secret key isn't on this host" in fails(h3, "delegate", "host3", "admit")
    assert "authority's secret key isn't on this host" in fails(h3, "authority", "rollover")


@test
def delegates():
    """capabilities are delegated; then the authority's host goes"""
    h1.violin("delegate", "host2", "admit,renew,revoke,env")
    h1.violin("delegate", "host3", "renew", "--ttl", "30d")
    assert "no member" in fails(h1, "delegate", "nosuch", "admit")
    assert "capabilities" in fails(h1, "delegate", "host2", "everything")
    wait_for("all know what host2 and host3 may",
             lambda: all(may(h, "host2") == ["admit,renew,revoke,env"] and may(h, "host3") == ["renew"] for h in (h2, h3, h4)), 30)
    wait_for("host2 may", lambda: cert(h2)["capabilities"] == "admit,renew,revoke,env", 30)
    h1.stop()
    for h in (h2, h3, h4):
        wait_for("host1 has left", lambda h=h: state_of(h, "host1") != ["alive"], 30)


@test
def delegate_admits():
    """with the authority absent, a delegate admits"""
    r = join(h5, h2)
    assert r.returncode == 0, r
    h5.start()
    lab.wait_members(4, (h2, h3, h4, h5))
    assert cert(h5)["issued_by"] == "host2"


@test
def renews_now():
    """with the authority absent, delegates renew; one that may only renew keeps the certificate's root"""
    before = cert(h4)
    h4.violin("cert", "renew")
    after = cert(h4)
    assert after["not_before"] > before["not_before"] and after["issued_by"] in ("host2", "host3"), after
    before = cert(h3)
    h3.violin("cert", "renew")  # by itself: it may
    after = cert(h3)
    assert after["issued_by"] == "host3" and after["not_before"] > before["not_before"], after
    h3.stop()
    h3.start()  # with that certificate everybody still speaks with it
    lab.wait_members(4, (h2, h3, h4, h5))


@test
def renews_while_running():
    """a certificate whose time is two thirds over is renewed while the peer runs; no session is lost"""
    for h in (h2, h3):
        h.stop()
        text = open(h.conf).read()
        open(h.conf, "w").write(text.replace("cert-lifetime = 86400", "cert-lifetime = 60"))
        h.start()
    lab.wait_members(4, (h2, h3, h4, h5))
    h4.violin("cert", "renew")
    c = cert(h4)
    assert c["not_after"] - c["not_before"] < 61, c
    seq = max([e["seq"] for e in h2.json("events")])
    wait_for("host4's certificate is renewed by itself", lambda: cert(h4)["not_before"] > c["not_before"] + 30, 90)
    lost = [e for e in h2.json("events", "--after", str(seq)) if e["kind"] == "member" and "host4" in e["text"] and
            e["text"].endswith(("is dead", "has left", "is back", "is a member"))]
    assert not lost, lost
    assert state_of(h4, "host2") == ["alive"]
    # nobody who may renew is there: it says so in time, and goes on by itself once somebody is
    h2.stop()
    h3.stop()
    wait_for("host4 says that it can't be renewed", lambda: any("is not renewed: no living member may" in w for w in h4.status()["warnings"]), 120)
    r = h4.violin("cert", "renew", check=False)
    assert r.returncode == 1 and "no living member may renew" in r.stderr, r
    assert "no living member may renew" in cert(h4)["trouble"]
    h2.start()
    h3.start()
    wait_for("host4 is renewed", lambda: "trouble" not in cert(h4) and h4.status()["warnings"] == [], 120)
    for h in (h2, h3):
        h.stop()
        text = open(h.conf).read()
        open(h.conf, "w").write(text.replace("cert-lifetime = 60", "cert-lifetime = 86400"))
        h.start()
    lab.wait_members(4, (h2, h3, h4, h5))
    h4.violin("cert", "renew")
    assert cert(h4)["not_after"] - cert(h4)["not_before"] > 80000


def reaches(guest, ip):
    return run("ip", "netns", "exec", f"{lab.prefix}g-{guest}", "ping", "-c", "1", "-W", "1", ip, check=False).returncode == 0


@test
def revokes():
    """with the authority absent, a delegate revokes: every session ends, everywhere; the revoked one says so"""
    h2.violin("env", "create", "cell")
    for h in (h2, h4, h5):
        wait_for("the environment is known", lambda h=h: [e["name"] for e in h.json("env", "list")] == ["cell"], 30)
    bridge = h2.json("env", "show", "cell")["bridge"]
    for n, h in ((2, h2), (4, h4), (5, h5)):
        lab.guest(h, f"k{n}", ip=f"10.5.0.{n}", bridge=bridge)
    for n in (4, 5):
        wait_for(f"host2's guest reaches host{n}'s", lambda n=n: reaches("k2", f"10.5.0.{n}"), 60)
    assert "that is this host" in fails(h2, "revoke", "host2")
    assert "no member" in fails(h2, "revoke", "nosuch")
    h2.violin("revoke", "host4", "--why", "stolen from the rack")
    for h in (h2, h3, h5):
        wait_for(f"{h.name} has dropped host4", lambda h=h: state_of(h, "host4") == [], 30)
        r = h.json("revocations")
        assert [(e["host"], e["why"], e["by"]) for e in r] == [("host4", "stolen from the rack", "host2")], r
    wait_for("host4 says that it was revoked", lambda: any("revoked" in w and "stolen" in w for w in h4.status()["warnings"]), 30)
    assert cert(h4)["state"] == "revoked"
    wait_for("host4 is alone", lambda: [m for m in h4.json("members") if m["state"] == "alive" and not m["self"]] == [], 180)
    # no frame passes any more, to the others as before
    wait_for("host2's guest does not reach host4's", lambda: not reaches("k2", "10.5.0.4"), 30)
    assert not any(reaches(a, ip) for a, ip in (("k4", "10.5.0.2"), ("k4", "10.5.0.5"), ("k5", "10.5.0.4")))
    wait_for("host5's guest is reached as before", lambda: reaches("k2", "10.5.0.5"), 20)
    # it knows, and leaves the others in peace
    refused = sum(h.status()["mesh"]["certificates_refused"] for h in (h2, h3, h5))
    time.sleep(5)
    assert sum(h.status()["mesh"]["certificates_refused"] for h in (h2, h3, h5)) == refused
    for h in (h2, h3, h5):
        assert state_of(h, "host4") == []
    h4.stop()
    h4.start()
    assert any("revoked" in w for w in h4.status()["warnings"]), h4.status()["warnings"]


@test
def joins_with_new_keys_only():
    """who was revoked is refused with the same keys, and joins with new ones under the same name"""
    h4.stop()
    state = os.path.join(h4.dir, "state")
    os.unlink(os.path.join(state, "cert"))
    r = join(h4, h2)
    assert r.returncode == 1 and "key was revoked: stolen from the rack" in r.stderr and "new ones" in r.stderr, r
    empty(state)
    r = join(h4, h2)
    assert r.returncode == 0, r
    h4.start()
    lab.wait_members(4, (h2, h3, h4, h5))
    assert h4.status()["warnings"] == []
    wait_for("it learns of the revocation", lambda: len(h4.json("revocations")) == 1, 30)


@test
def rollover():
    """a new authority: all members go over to it, the old one is retired, nothing is lost"""
    h1.start()  # heard nothing of the revocation yet
    lab.wait_members(5, five)
    h5.stop()  # away for all of it
    wait_for("host1 learns of it", lambda: len(h1.json("revocations")) == 1, 30)
    old = cert(h1)["authority"]
    assert "no old authority" in fails(h1, "authority", "retire")
    h1.violin("authority", "rollover", "--overlap", "1d")
    new = [a["id"] for a in cert(h1)["authorities"] if a["state"] == "newest"][0]
    assert new != old
    assert "isn't over" in fails(h1, "authority", "rollover")
    for h in (h1, h2, h3, h4):
        wait_for(f"{h.name} has gone over", lambda h=h: cert(h)["authority"] == new, 90)
    # killed between the statement and the files: finished at the next start; before the statement: undone
    state = os.path.join(h1.dir, "state")
    h1.stop()
    os.rename(os.path.join(state, "authority"), os.path.join(state, "authority.next"))
    os.rename(os.path.join(state, "authority.old"), os.path.join(state, "authority"))
    h1.start()
    assert cert(h1)["authority_here"] and cert(h1)["authority"] == new
    assert os.path.exists(os.path.join(state, "authority.old")) and not os.path.exists(os.path.join(state, "authority.next"))
    h1.stop()
    with open(os.path.join(state, "authority.next"), "wb") as f:
        f.write(os.urandom(64))
    h1.start()
    assert cert(h1)["authority_here"] and not os.path.exists(os.path.join(state, "authority.next"))
    lab.wait_members(4, (h1, h2, h3, h4))
    wait_for("host2 has its delegation again", lambda: may(h3, "host2") == ["admit,renew,revoke,env"], 60)
    wait_for("all have the others' new certificates but host5's",
             lambda: "1 member(s) have no certificate of the new authority yet: host5" in fails(h1, "authority", "retire"), 60)
    h1.violin("authority", "retire", "--force")
    for h in (h1, h2, h3, h4):
        wait_for(f"{h.name} has retired the old one",
                 lambda h=h: [a["state"] for a in cert(h)["authorities"]] == ["newest", "retired"], 30)
    assert not os.path.exists(os.path.join(h1.dir, "state", "authority.old"))
    lab.wait_members(4, (h1, h2, h3, h4))
    for h in (h1, h2, h3, h4):
        assert [e["name"] for e in h.json("env", "list")] == ["cell"]
        assert [e["host"] for e in h.json("revocations")] == ["host4"]


@test
def comes_back_after_overlap():
    """a peer that was away for the whole overlap comes back, and goes over"""
    new = cert(h1)["authority"]
    assert h5.proc is None
    h5.start()
    lab.wait_members(5, five, 90)
    wait_for("host5 has gone over", lambda: cert(h5)["authority"] == new, 90)
    # all restart at once, from what is on their disks
    for h in five:
        h.stop()
    for h in five:
        h.start()
    lab.wait_members(5, five, 90)
    assert [e["name"] for e in h5.json("env", "list")] == ["cell"]


@test
def backup():
    """the authority is exported, and restored on another host; a wrong passphrase is refused"""
    path, phrase = os.path.join(lab.dir, "backup"), os.path.join(lab.dir, "phrase")
    open(phrase, "w").write("correct horse battery\n")
    r = h3.violin("authority", "export", path, "--passphrase-file", phrase, check=False)
    assert r.returncode == 1 and "isn't on this host" in r.stderr, r
    h1.violin("authority", "export", path, "--passphrase-file", phrase)
    assert os.stat(path).st_mode & 0o777 == 0o600
    secret = open(os.path.join(h1.dir, "state", "authority"), "rb").read()
    assert secret[:32] not in open(path, "rb").read()
    r = h1.violin("authority", "export", path, "--passphrase-file", phrase, check=False)
    assert r.returncode == 1 and "exists" in r.stderr, r
    os.unlink(os.path.join(h1.dir, "state", "authority"))
    assert not cert(h1)["authority_here"]
    assert "isn't on this host" in fails(h1, "delegate", "host4", "renew")
    open(phrase, "w").write("wrong horse battery\n")
    r = h3.violin("authority", "import", path, "--passphrase-file", phrase, check=False)
    assert r.returncode == 1 and "passphrase" in r.stderr, r
    open(phrase, "w").write("correct horse battery\n")
    h3.violin("authority", "import", path, "--passphrase-file", phrase)
    assert cert(h3)["authority_here"]
    wait_for("host3 may everything", lambda: cert(h3).get("capabilities") == "admit,renew,revoke,env,federate", 60)
    h3.violin("delegate", "host4", "revoke")
    wait_for("host4 may revoke", lambda: may(h1, "host4") == ["revoke"], 30)
    h3.violin("delegate", "host4", "none")
    wait_for("host4 may not any more", lambda: may(h1, "host4") == [None] and "capabilities" not in cert(h4), 30)
    assert "may not revoke" in fails(h4, "revoke", "host5")
    # a domain that is lost begins again from the backup, on a machine that knows nothing
    r = subprocess.run(["ip", "netns", "exec", spare.ns, lab.program, "-c", spare.conf, "authority", "import", path,
                        "--host", "first"], stdin=open(phrase), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert r.returncode == 0, r
    spare.start()
    c = cert(spare)
    assert c["domain"] == "lab" and c["host"] == "first" and c["authority_here"] and c["authority"] == cert(h3)["authority"], c
    assert spare.json("invite")["token"]
    spare.stop()


@test
def revoked_while_away():
    """who was revoked while it was away is refused by all when it comes, and says so"""
    h5.stop()
    wait_for("host5 has left", lambda: state_of(h1, "host5") != ["alive"], 30)
    wanted = [m for m in h1.json("members") if m["name"] == "host5"][0]
    assert wanted["issued_by"] in ("the authority", "host1", "host2") and wanted["cert_until"] > time.time(), wanted
    h1.violin("revoke", wanted["id"][:8])  # by the beginning of its id
    for h in (h2, h3, h4):
        wait_for(f"{h.name} has heard of it", lambda h=h: len(h.json("revocations")) == 2, 30)
    h5.start()
    wait_for("host5 says that it is refused", lambda: any("refuses this host: revoked" in w for w in h5.status()["warnings"]), 60)
    wait_for("it tries again", lambda: sum(h.status()["mesh"]["certificates_refused"] for h in (h1, h2, h3, h4)) > 2, 60)
    assert state_of(h1, "host5") == []
    wait_for("all still know each other", lambda: len([m for m in h1.json("members") if m["state"] == "alive"]) == 4, 30)


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.close()
