"""harness.py: tests are functions; a file's tests run in order, and the last line counts them."""
import os, sys, traceback

tests = []


def test(f):
    tests.append(f)
    return f


def main():
    only = sys.argv[1:]
    name = os.path.basename(sys.argv[0]).rsplit(".", 1)[0]
    passed = failed = 0
    for f in tests:
        if only and f.__name__ not in only:
            continue
        try:
            f()
            passed += 1
            print(f"ok    {f.__name__}: {(f.__doc__ or '').splitlines()[0] if f.__doc__ else ''}", flush=True)
        except Exception:  # a failing test must not keep the next from running
            failed += 1
            print(f"FAIL  {f.__name__}\n{traceback.format_exc()}", flush=True)
    print(f"{name}: {passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)
