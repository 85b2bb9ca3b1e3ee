#!/usr/bin/env python3
"""run.py --results DIR --seconds N TARGET...: runs each fuzz target over its seeds for N seconds,
two at a time. A crash is kept in build/fuzz/crashes/ and shown with the command that repeats it."""
import argparse, concurrent.futures, os, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))


def fuzz(target, seconds):
    name = os.path.basename(target)
    short = name[len("fuzz_"):]
    build = os.path.dirname(target)
    seeds = os.path.join(HERE, "corpus", short)
    corpus = os.path.join(build, "corpus", short)
    crashes = os.path.join(build, "crashes", "")
    os.makedirs(corpus, exist_ok=True)
    os.makedirs(crashes, exist_ok=True)
    dirs = [corpus] + ([seeds] if os.path.isdir(seeds) else [])
    cmd = [target, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024",
           "-print_final_stats=1", "-max_len=65536", f"-artifact_prefix={crashes}{short}-"] + dirs
    r = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    text = r.stdout.decode(errors="replace")
    runs = [l.split()[-1] for l in text.splitlines() if "number_of_executed_units" in l]
    return name, r.returncode, runs[0] if runs else "?", text, cmd


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--results", required=True)
    ap.add_argument("--seconds", type=int, default=30)
    ap.add_argument("targets", nargs="*")
    a = ap.parse_args()
    passed = failed = 0
    crashed = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, status, runs, text, cmd in pool.map(lambda t: fuzz(t, a.seconds), a.targets):
            print(f"  {'ok  ' if status == 0 else 'FAIL'} {name:28} {runs} runs", flush=True)
            passed, failed = passed + (status == 0), failed + (status != 0)
            if status:
                print("\n".join("      " + l for l in text.splitlines()[-40:]))
                crashed.append(f"{name}: status {status}")
                print("      repeat with: " + cmd[0] + " FILE   (see the artifact's name above)")
    os.makedirs(a.results, exist_ok=True)
    with open(os.path.join(a.results, "fuzz"), "w") as fh:
        fh.write(f"{passed} {failed}\n")
    os.makedirs(a.results + ".failed", exist_ok=True)
    with open(os.path.join(a.results + ".failed", "fuzz"), "w") as fh:
        fh.writelines(line + "\n" for line in crashed)
    print(f"fuzz: {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
