#!/usr/bin/env python3
"""envmove_mutants.py [SEEDS]: deliberately broken environment moves, each of which build/tests/envmove must catch.

A variant is one source file with one thing changed, compiled alone and linked in front of build/libviolin.a; it is
caught if a seed fails. A text that is not found means that the source has changed: the variant has to follow."""
import os, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD", os.path.join(ROOT, "build"))
CC = os.environ.get("CC", "gcc")
LIBS = "-lxenlight -lxentoollog -lxenstore -lconfuse -lsqlite3 -luv -lsodium -lcrypto -lmsgpackc -lcmocka -lm -pthread"

VARIANTS = [
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


def build(source, out, text):
    path = os.path.join(out, os.path.basename(source))
    with open(path, "w") as f:
        f.write(text)
    obj = path[:-2] + ".o"
    subprocess.run([CC, "-std=c11", "-D_GNU_SOURCE", "-DLIBXL_API_VERSION=0x041400", "-O2", "-I.", "-w", "-c", path,
                    "-o", obj], cwd=ROOT, check=True)
    exe = os.path.join(out, "envmove")
    subprocess.run([CC, "-o", exe, os.path.join(BUILD, "obj/tests/sim/envmove_main.o"), obj,
                    os.path.join(BUILD, "libsim.a"), os.path.join(BUILD, "libviolin.a")] + LIBS.split(), cwd=ROOT,
                   check=True)
    return exe


def main():
    seeds = sys.argv[1] if len(sys.argv) > 1 else "300"
    missed = 0
    for n, (name, file, old, new) in enumerate(VARIANTS):
        source = os.path.join(ROOT, "policy", file)
        text = open(source).read()
        if old not in text:
            print(f"  FAIL {name}: its place in {file} is not found")
            missed += 1
            continue
        out = os.path.join(BUILD, "mutants", str(n))
        os.makedirs(out, exist_ok=True)
        exe = build(source, out, text.replace(old, new, 1))
        try:
            r = subprocess.run([exe], env=dict(os.environ, SEEDS=seeds), stdout=subprocess.PIPE, timeout=300)
            lines = [l for l in r.stdout.decode(errors="replace").splitlines() if l.startswith("SEED=")]
            why = lines[0] if lines else "it does not say why"
            caught = r.returncode != 0
        except subprocess.TimeoutExpired:
            caught, why = True, "it never ends"
        print(f"  {'ok  ' if caught else 'FAIL'} {name}: {why if caught else 'not caught'}", flush=True)
        missed += not caught
    print(f"mutants: {len(VARIANTS) - missed} passed, {missed} failed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
