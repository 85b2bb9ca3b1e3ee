#!/usr/bin/env python3
"""lint.py: the rules of the house that a compiler doesn't check.

Who may include whom, what a pure core may call, how long files and functions may grow, and that
each folder says what it is for."""
import os, re, subprocess, sys

FOLDERS = ["peer/base", "gossip", "overlay", "policy", "xen", "peer"]
FOLDER_FILES = {"README.md"}
# Files of overlay/ and xen/ that touch the operating system; the others there are pure.
LINUX = {"overlay": {"tap", "datapath", "udp", "bulk"},
         "xen": {"libxl", "images", "simulated", "stream_check_main", "disk_dm", "disk_nbd", "disk_copy", "disk_store", "disk_files", "disk_host"}}
PURE_FORBIDDEN = re.compile(
    r"#include <(uv\.h|sys/socket\.h|sys/select\.h|poll\.h|pthread\.h|fcntl\.h|unistd\.h|time\.h|sys/time\.h"
    r"|netinet/.*|arpa/.*|linux/.*|net/.*|libxl.*|xenstore\.h)>"
    r"|\b(time|clock_gettime|gettimeofday|rand|random|srand|getrandom|randombytes_buf"
    r"|randombytes_random|vi_clock_boottime|vi_clock_wall|fopen|printf|fprintf|getenv)\s*\(")
PUBLIC = {"gossip": "gossip/gossip.h", "overlay": "overlay/overlay.h", "policy": "policy/policy.h"}
MAX_FILE, MAX_FUNCTION = 800, 100
errors = []


def say(path, line, text):
    errors.append(f"{path}:{line}: {text}")


def folder(path):
    for f in FOLDERS:
        if path.startswith(f + "/"):
            return f
    return None


def is_linux(path):
    f = folder(path)
    stem = os.path.basename(path).rsplit(".", 1)[0]
    if f == "xen" and stem == "simulated_model":
        return False
    return any(stem == n or stem.startswith(n + "_") for n in LINUX.get(f, ()))


def strip_comments(text):
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    text = re.sub(r"/\*.*?\*/", blank, text, flags=re.S)
    text = re.sub(r"//[^\n]*", blank, text)
    return text


def check_includes(path, lines):
    f = folder(path)
    for n, l in enumerate(lines, 1):
        m = re.match(r'\s*#include "([^"]+)"', l)
        if not m:
            if re.match(r"\s*#include <uv\.h>", l) and not (f == "peer" or is_linux(path)):
                say(path, n, "libuv belongs to peer/, overlay/'s Linux files and xen/'s event hook-up")
            if re.match(r"\s*#include <(libxl|xenstore)", l) and f != "xen":
                say(path, n, "libxl belongs to xen/")
            continue
        to = m.group(1)
        if "/" not in to:
            say(path, n, f'"{to}": spell the path from the root')
            continue
        t = folder(to)
        if f == "peer/base" and t != "peer/base":
            say(path, n, f"peer/base may not know {to}")
        elif f in ("gossip", "overlay", "policy", "xen") and t not in (f, "peer/base"):
            say(path, n, f"{f}/ may know itself and peer/base, not {to}")
        elif f == "peer" and t in PUBLIC and to != PUBLIC[t]:
            say(path, n, f"peer/ includes {PUBLIC[t]}, not {to}")


def check_pure(path, text):
    f = folder(path)
    if f not in ("gossip", "policy", "overlay", "xen") or is_linux(path):
        return
    for n, l in enumerate(strip_comments(text).splitlines(), 1):
        m = PURE_FORBIDDEN.search(re.sub(r'"(\\.|[^"\\])*"', '""', l))
        if m and not (l.lstrip().startswith("#include") and not m.group(1)):
            say(path, n, f"a pure file may not use {m.group(0).strip()}")


def check_size(path, text):
    lines = text.splitlines()
    if len(lines) > MAX_FILE:
        say(path, len(lines), f"{len(lines)} lines; {MAX_FILE} at most")
    start = None
    for n, l in enumerate(lines, 1):
        if l == "{":
            start = n
        elif l == "}" and start:
            if n - start > MAX_FUNCTION:
                say(path, start, f"a function of {n - start} lines; {MAX_FUNCTION} at most")
            start = None


def main():
    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    files = subprocess.run(["git", "ls-files", "*.c", "*.h"], stdout=subprocess.PIPE, text=True,
                           check=True).stdout.split()
    for path in files:
        if not os.path.exists(path):
            continue
        text = open(path, encoding="utf-8").read()
        if folder(path):
            check_includes(path, text.splitlines())
            check_pure(path, text)
        check_size(path, text)
        for n, l in enumerate(text.splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX)\b", l):
                say(path, n, "no work left for nobody: finish it or file it")
    for d in ["peer", "peer/base", "gossip", "overlay", "xen", "policy", "tests", "deploy"]:
        if not os.path.exists(os.path.join(d, "README.md")):
            say(d, 0, "no README.md")
        elif sum(1 for _ in open(os.path.join(d, "README.md"), encoding="utf-8")) > 110:
            say(d, 0, "README.md is longer than a page")
    print("\n".join(errors) if errors else "lint: nothing found")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
