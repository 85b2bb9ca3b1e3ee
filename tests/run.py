#!/usr/bin/env python3
"""run.py --results DIR [--show] [--jobs N] SUITE PROGRAM...: runs test programs, N at a time, shows a line for
each (with --show their output as it comes), the whole output of those that fail, and adds the counts to DIR/SUITE.

A program says how many of its tests passed either as cmocka does or with a last line
"NAME: N passed, N failed". One that says neither counts as one test, by its exit status. One that
says that nothing ran counts as failed: a suite that tests nothing must not be green.

What failed is said once more at the end, a line each, and stands in DIR.failed/SUITE: a long log is read from its end."""
import argparse, concurrent.futures, os, re, shlex, subprocess, sys, threading, time


def counts(output, status):
    passed = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", output))
    failed = sum(int(n) for n in re.findall(r"\[  FAILED  \] [^\n]*?(\d+) test\(s\)", output))
    for p, f in re.findall(r"^\S+: (\d+) passed, (\d+) failed", output, re.M):
        passed, failed = passed + int(p), failed + int(f)
    if status == 0 and passed == 0 and failed == 0:
        said = re.search(r"passed|PASSED", output)
        return (0, 1) if said else (1, 0)
    if status != 0 and failed == 0:
        failed = 1
    return passed, failed


def failures(output, status):
    """Which tests of a failed program, and what of their output says why: cmocka's, harness.py's, a sanitizer's words."""
    lines, found = output.splitlines(), []
    for i, line in enumerate(lines):
        if (m := re.match(r"\[  FAILED  \] (?!\d+ test)(\S+)", line)) and not any(f.split(": ")[0] == m[1] for f in found):  # cmocka lists them again
            errors = [l.split("--- ", 1)[-1] for l in lines[max(0, i - 12):i] if l.startswith(("[  ERROR   ]", "[   LINE"))]
            found.append(": ".join([m[1]] + errors[-2:]))
        elif m := re.match(r"FAIL  (\S+)", line):
            trace = lines[i + 1:i + 1 + next((n for n, l in enumerate(lines[i + 1:]) if not l), len(lines))]
            at = [t[1] for l in trace if (t := re.search(r"test_\w+\.py\", (line \d+)", l))]
            found.append(": ".join([m[1]] + at[:1] + trace[-1:]))
    if not found:
        bad = [l for l in lines if re.search(r"ERROR: \w+Sanitizer|runtime error|WARNING: ThreadSanitizer|^FAIL", l)]
        found.append(f"status {status}: {(bad or lines[-1:] or ['it said nothing'])[0].strip()}")
    return found


def run(command, seconds, show):
    """Its output and status; 124 when it took too long."""
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    late = threading.Timer(seconds, p.terminate)
    late.start()
    lines = []
    for line in p.stdout:
        lines.append(line.decode(errors="replace"))
        if show:
            print("  " + lines[-1], end="", flush=True)
    try:
        status = p.wait(30)
    except subprocess.TimeoutExpired:
        p.kill()
        status = p.wait()
    if not late.is_alive():
        lines.append("timed out\n")
        status = 124
    late.cancel()
    return "".join(lines), status


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--results", required=True)
    ap.add_argument("--timeout", type=float, default=600)
    ap.add_argument("--show", action="store_true")
    ap.add_argument("--jobs", type=int, default=1)
    ap.add_argument("suite")
    ap.add_argument("programs", nargs="*")
    a = ap.parse_args()
    total_p = total_f = 0
    failed = []

    def one(prog):
        began = time.monotonic()
        out, status = run(shlex.split(prog), a.timeout, a.show)
        return prog, out, status, time.monotonic() - began

    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(one, prog) for prog in a.programs]):
            prog, out, status, took = done.result()
            p, f = counts(out, status)
            total_p, total_f = total_p + p, total_f + f
            words = shlex.split(prog)
            name = os.path.basename(words[1] if words[0].endswith("python3") and len(words) > 1 else words[0])
            print(f"  {'ok  ' if not f else 'FAIL'} {name:34} {p:5} passed"
                  f"{f', {f} FAILED' if f else ''}  {took:.1f} s", flush=True)
            if f:
                failed += [f"{name}: {line}"[:400] for line in failures(out, status)]
            if f and not a.show:
                print("\n".join("      " + l for l in out.splitlines()[-120:]), flush=True)
    os.makedirs(a.results, exist_ok=True)
    with open(os.path.join(a.results, a.suite), "w") as fh:
        fh.write(f"{total_p} {total_f}\n")
    os.makedirs(a.results + ".failed", exist_ok=True)
    with open(os.path.join(a.results + ".failed", a.suite), "w") as fh:
        fh.writelines(line + "\n" for line in failed)
    for line in failed:
        print(f"  failed: {line}")
    print(f"{a.suite}: {total_p} passed, {total_f} failed")
    return 1 if total_f or not total_p else 0


if __name__ == "__main__":
    sys.exit(main())
