#!/usr/bin/env python3
"""test_noise_json.py TOOL VECTORS: the tool that runs Noise test vectors also reads cacophony's JSON.

Two vectors of the text file are written as JSON; they must pass. Every field of them altered, and
every way in which such a file can be broken, must fail."""
import copy, json, os, subprocess, sys, tempfile

WANTED = ("Noise_IK_25519_ChaChaPoly_BLAKE2b", "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b")
BOTH = {"init_static": "init_static", "resp_static": "resp_static", "gen_init_ephemeral": "init_ephemeral",
        "gen_resp_ephemeral": "resp_ephemeral"}


def blocks(path):
    """The text file's vectors, each a dict."""
    one = {}
    with open(path) as f:
        for line in f:
            key, eq, value = line.strip().partition("=")
            if eq and key == "handshake" and one:
                yield one
                one = {}
            if eq:
                one[key] = value
    yield one


def to_json(b):
    v = {"protocol_name": b["handshake"]}
    for key, name in BOTH.items():
        v[name] = b[key]
    for side in ("init", "resp"):
        v[side + "_prologue"] = b.get("prologue", "")
        if "preshared_key" in b:
            v[side + "_psks"] = [b["preshared_key"]]
    n = sum(key.endswith("_ciphertext") for key in b)
    v["messages"] = [{"payload": b[f"msg_{i}_payload"], "ciphertext": b[f"msg_{i}_ciphertext"]} for i in range(n)]
    return v


def flipped(text, at):
    """One bit of one hex digit; of nothing, a byte."""
    if not text:
        return "00"
    at %= len(text)
    return text[:at] + f"{int(text[at], 16) ^ 1:x}" + text[at + 1:]


def alterations(good):
    """(what, file's content) for everything that must fail."""
    for i, v in enumerate(good):
        for key in sorted(v):
            if key == "messages":
                continue
            if key == "protocol_name":
                other = copy.deepcopy(good)
                other[i][key] = v[key].replace("IKpsk2", "IK") if "psk2" in v[key] else v[key].replace("IK", "IKpsk2")
                yield f"vector {i} as another protocol", {"vectors": other}
                continue
            for at in (0, 31):
                other = copy.deepcopy(good)
                if isinstance(v[key], list):
                    other[i][key][0] = flipped(v[key][0], at)
                else:
                    other[i][key] = flipped(v[key], at)
                yield f"vector {i}, {key}, digit {at}", {"vectors": other}
            other = copy.deepcopy(good)
            del other[i][key]
            if v[key]:
                yield f"vector {i} without {key}", {"vectors": other}
        for m in range(len(v["messages"])):
            for key in ("payload", "ciphertext"):
                for at in (0, -1):
                    other = copy.deepcopy(good)
                    other[i]["messages"][m][key] = flipped(v["messages"][m][key], at)
                    yield f"vector {i}, {key} of message {m}, digit {at}", {"vectors": other}
            other = copy.deepcopy(good)
            del other[i]["messages"][m]["ciphertext"]
            yield f"vector {i}, message {m} without ciphertext", {"vectors": other}
            other = copy.deepcopy(good)
            other[i]["messages"][m]["ciphertext"] = v["messages"][m]["ciphertext"][:-1]
            yield f"vector {i}, half a byte of message {m} missing", {"vectors": other}
            other = copy.deepcopy(good)
            other[i]["messages"][m]["ciphertext"] = "zz" + v["messages"][m]["ciphertext"][2:]
            yield f"vector {i}, message {m} isn't hex", {"vectors": other}
        other = copy.deepcopy(good)
        other[i]["messages"] = []
        yield f"vector {i} without messages", {"vectors": other}
        other = copy.deepcopy(good)
        other[i]["messages"] *= 20
        yield f"vector {i} with too many messages", {"vectors": other}
        other = copy.deepcopy(good)
        other[i]["init_remote_static"] = good[i]["init_static"]
        yield f"vector {i} with the wrong remote key", {"vectors": other}
    yield "no vectors", {"vectors": []}
    yield "no list of vectors", {"tests": good}
    yield "only other protocols", {"vectors": [dict(good[0], protocol_name="Noise_XX_25519_ChaChaPoly_BLAKE2b")]}


def main():
    tool, path = sys.argv[1:3]
    found = {}
    for b in blocks(path):
        name = b.get("handshake")
        if name in WANTED and b.get("prologue") and b.get("msg_0_payload"):
            found.setdefault(name, b)
    good = [to_json(found[name]) for name in WANTED]
    passed = failed = 0
    with tempfile.TemporaryDirectory() as d:
        file = os.path.join(d, "vectors.json")

        def status(text):
            with open(file, "w") as f:
                f.write(text)
            r = subprocess.run([tool, file], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            return r.returncode, r.stdout

        def expect(what, text, want, said=""):
            nonlocal passed, failed
            code, out = status(text)
            ok = (code == 0) == want and code in (0, 1) and said in out
            passed, failed = passed + ok, failed + (not ok)
            if not ok:
                print(f"{what}: exit {code}, not {'0' if want else '1'}\n{out}")

        whole = json.dumps({"vectors": good}, indent=1)
        expect("the two as they are", whole, True, "2 passed, 0 failed")
        expect("one alone, with members that nobody reads",
               json.dumps({"vectors": [dict(good[0], fallback=False, comment="")]}), True, "1 passed")
        for what, content in alterations(good):
            expect(what, json.dumps(content), False)
        for what, text in (("cut off", whole[:-20]), ("not JSON", "{vectors}"), ("empty", "{}")):
            expect(what, text, False)
    print(f"noise_json: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
