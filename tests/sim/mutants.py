#!/usr/bin/env python3
"""mutants.py [handover|envmove|hostile] ...: deliberately broken policies, each of which its test below build/tests must catch;
without arguments all of them (handover's take many minutes). SEEDS=400: of envmove and hostile.

A variant is one or more places in the sources changed, compiled alone and linked in front of build/libviolin.a; it is caught if
the test fails. A text that is not found exactly once means that the source has changed: the variant has to follow."""
import os, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD", os.path.join(ROOT, "build"))
CC = os.environ.get("CC", "gcc").split()
LIBS = "-lxenlight -lxentoollog -lxenstore -lconfuse -lsqlite3 -luv -lsodium -lcrypto -lmsgpackc -lcmocka -lm -pthread".split()
SEEDS = os.environ.get("SEEDS", "400")

# Name; then file, text, what stands there instead: once, or again where places must agree.
HANDOVER = [
    ("GO before disk-complete", "handover_source.c", "        if (h->wait == W_NONE)\n            ho_send(s, h, M_SYNCED);",
     "        if (h->wait == W_NONE)\n            check(s, now, h);",
     "handover_dest.c", "h->state == (h->guest.n_disks ? HD_COMPLETE : HD_RESTORED) && h->wait == W_NONE",
     "(h->state == HD_COMPLETE || h->state == HD_RESTORED) && h->wait == W_NONE"),
    ("disk-complete is said before it is on the disk", "handover_dest.c", "        ho_persist(s, h, HD_COMPLETE);",
     "        ho_persist(s, h, HD_COMPLETE);\n        ho_send(s, h, M_COMPLETE);"),
    ("the mirror is not finished after the suspend", "handover_source.c", "        ho_hv(s, h, HANDOVER_OP_FINISH);",
     "        h->op = HANDOVER_OP_FINISH;\n        disks_done(s, now, h, &(struct handover_event){.err = 0});",
     "handover_source.c", "/* SUSPENDED is on the disk. */",
     "static void disks_done(struct handovers *, vi_time, struct handover *, const struct handover_event *);"),
    ("a mirror that isn't whole is gone on with", "handover_source.c",
     "if (ev->err && (h->op == HANDOVER_OP_MIRROR || h->op == HANDOVER_OP_FINISH)) {", "if (ev->err && h->op == HANDOVER_OP_MIRROR) {",
     "handover_source.c", "    if (ev->err) { /* asked again by the tick */", "    if (ev->err && h->op != HANDOVER_OP_FINISH) {"),
    ("the guest is unpaused before its disk is the true one", "handover_dest.c",
     "ho_hv(s, h, h->guest.n_disks ? HANDOVER_OP_OWN : HANDOVER_OP_UNPAUSE);", "ho_hv(s, h, HANDOVER_OP_UNPAUSE);"),
    ("the old copy is not retired", "handover_source.c", "        if (h->guest.n_disks)\n            ho_hv(s, h, HANDOVER_OP_RETIRE);\n        else\n", ""),
    ("what was made is not discarded", "handover_dest.c", "    if (h->guest.n_disks && !h->disks_done)\n        ho_hv(s, h, HANDOVER_OP_DISCARD);\n    else\n", ""),
    ("the mirror is left when it is given up", "handover_source.c",
     "h->guest.n_disks && !h->disks_done && !moves_otherwise(s, h)", "h->guest.n_disks > 9"),
    ("any old copy is built on", "handover_dest.c", "!vi_id_is_zero(&k->since) && vi_id_equal(&bases[i], &k->since)",
     "!vi_id_is_zero(&bases[i])"),
    ("a mirror that stalls is waited for", "handover_source.c",
     "        if (now >= h->until)\n            source_abort(s, now, h, \"its disks are not copied any further\");\n        else\n", ""),
    ("a rebooted source trusts RESTORED", "handover_source.c",
     "            source_abort(s, now, h, \"its disks were not complete at the destination when this host was restarted\");",
     "            check(s, now, h);",
     "handover_dest.c", "h->state == (h->guest.n_disks ? HD_COMPLETE : HD_RESTORED) && h->wait == W_NONE",
     "(h->state == HD_COMPLETE || h->state == HD_RESTORED) && h->wait == W_NONE"),
    ("lost, and the source has given up: thrown away", "handover_dest.c",
     "dest_decided(s, now, h, true, \"decided by an operator at the source\");",
     "dest_decided(s, now, h, false, \"decided by an operator at the source\");"),
]
ENVMOVE = [
    ("leases are not counted against each other", "envmove_lease.c",
     "(void)envmove_leased(s, &kb, &pct);\n    return s->cfg.hooks.can_take(", "kb = 0, pct = 0;\n    return s->cfg.hooks.can_take("),
    ("a lease without a term", "envmove_lease.c", "here(s, &e->guest) || now >= e->until", "here(s, &e->guest)"),
    ("limits are not looked at", "envmove_room.c", "return r->at_home || (", "return r->at_home || r->round < 9 || ("),
    ("nobody takes over", "envmove_lead.c", "if (unfinished(m, from))\n            em_taking_over(s, now, from, m);", ""),
    ("who takes over forgets that GO was said", "envmove_going.c", "l->moved_any = true; /* that is: GO was said */", ""),
    ("GO is said before there is room", "envmove_lead.c", "    if (now >= l->ask_next)\n        em_lead_ask(s, now, l);\n}\n\n/* Room", 
     "    for (unsigned i = 0; i < l->plan.n; i++)\n        l->plan.g[i].to = s->cfg.self;\n    em_going_begin(s, now, l);\n}\n\n/* Room"),
    ("every other lease is not counted", "envmove_lease.c",
     "        if (s->lease[i].used && counts(s, &s->lease[i])) {", "        if (s->lease[i].used && counts(s, &s->lease[i]) && i % 2) {"),
    ("a lease's host forgets it at once", "envmove_lease.c",
     "    e->phase = EE_LEASED;\n    expect(s, e, true);\n    say(s, now, e, &e->asker);", "    say(s, now, e, &e->asker);\n    let_go(s, e);"),
]
HOSTILE = [
    ("each host has a budget of its own", "budget.c",
     "policy_budget_spent(p, now, &q->env, now);\n    }\n", "(void)q;\n    }\n"),
    ("who comes isn't counted, nor what is heard of", "budget.c", "    while (k > 0)\n        policy_budget_spent(p, now, env, news[--k]);\n    return 0;",
     "    return 0;"),
    ("no turns: who sees moves left takes them", "budget.c", "    if (left >= hosts)\n        return NULL;", "    if (left >= 1)\n        return NULL;"),
    ("no budget at all", "budget.c", "    if (used >= p->cfg.moves_per_hour)", "    if (used > 1000)"),
    ("what is promised may be given away", "memory.c", "real = p->cfg.reserve_kb + s->reserved_kb + pending;", "book -= s->reserved_kb, real = p->cfg.reserve_kb;"),
    ("shrunk by what it uses now, not by the window's peak", "memory.c",
     "    kb = (uint64_t)((double)peak_of(g) / mid);\n    least = (uint64_t)((double)g->used_kb / p->cfg.range_high) + STEP_KB;",
     "    kb = g->used_kb;\n    least = 0;"),
    ("shares don't count", "cpu.c", "shares[n] = policy_shares_of(p, g);", "shares[n] = want[n];"),
]
# Of each test: its variants, and the environments that it is run with until one fails.
TESTS = {
    "handover": (HANDOVER, [{"ONLY": part, "PAIRS": pairs} for part, pairs in (("disk", "0"), ("back", "0"), ("stale", "0"), ("disk", "1"))]),
    "envmove": (ENVMOVE, [{"SEEDS": SEEDS}]),
    "hostile": (HOSTILE, [{"SEEDS": SEEDS}]),
}


def changed(changes):
    """The files with their changes; None if a place isn't there."""
    texts = {}
    for file, old, new in zip(changes[::3], changes[1::3], changes[2::3]):
        text = texts.get(file) or open(os.path.join(ROOT, "policy", file)).read()
        if text.count(old) != 1:
            return None
        texts[file] = text.replace(old, new)
    return texts


def build(test, texts, out):
    objects = []
    os.makedirs(out, exist_ok=True)
    for name, text in texts.items():
        path = os.path.join(out, name)
        with open(path, "w") as f:
            f.write(text)
        objects.append(path[:-2] + ".o")
        subprocess.run([*CC, "-std=c11", "-D_GNU_SOURCE", "-DLIBXL_API_VERSION=0x041400", "-O2", "-I.", "-w", "-c", path, "-o",
                        objects[-1]], cwd=ROOT, check=True)
    exe = os.path.join(out, test)
    subprocess.run([*CC, "-o", exe, os.path.join(BUILD, f"obj/tests/sim/{test}_main.o"), *objects,
                    os.path.join(BUILD, "libsim.a"), os.path.join(BUILD, "libviolin.a"), *LIBS], cwd=ROOT, check=True)
    return exe


def failure(exe, environment):
    """What the test says when it fails; None."""
    try:
        r = subprocess.run([exe], env=dict(os.environ, **environment), stdout=subprocess.PIPE, timeout=1800)
    except subprocess.TimeoutExpired:
        return "it never ends"
    lines = [l for l in r.stdout.decode(errors="replace").splitlines() if l.startswith("SEED=") or "CASE=" in l or "fails" in l]
    return (lines[0].strip() if lines else "it does not say why") if r.returncode else None


def verdict(test, n, changes):
    """Is it caught, and by what?"""
    texts = changed(changes)
    if not texts:
        return False, "its place is not found"
    exe = build(test, texts, os.path.join(BUILD, "mutants", f"{test}-{n}"))
    why = next((why for why in (failure(exe, e) for e in TESTS[test][1]) if why), None)
    return bool(why), why or "not caught"


def main():
    chosen = sys.argv[1:] or list(TESTS)
    if any(t not in TESTS for t in chosen):
        print(__doc__, file=sys.stderr)
        return 2
    passed = failed = 0
    for test in chosen:
        for n, (name, *changes) in enumerate(TESTS[test][0]):
            caught, why = verdict(test, n, changes)
            print(f"  {'ok  ' if caught else 'FAIL'} {test}, {name}: {why}", flush=True)
            passed += caught
            failed += not caught
    print(f"mutants: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
