#!/usr/bin/env python3
"""traffic.py serve IP PORT | talk IP PORT FILE: one TCP connection that says something every 100 ms.

talk writes what it sees to FILE, replaced as a whole once a second: messages sent and answered, the
longest time between two answers, whether the connection broke."""
import json, os, select, socket, sys, time

EVERY = 0.1


def serve(ip, port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((ip, port))
    listener.listen(1)
    while True:
        c, _ = listener.accept()
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while (d := c.recv(4096)):
                c.sendall(d)
        except OSError:
            pass
        c.close()


def connect(ip, port):
    end = time.monotonic() + 30
    while True:
        try:
            s = socket.create_connection((ip, port), timeout=2)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.setblocking(False)
            return s
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def talk(ip, port, path):
    said = {"sent": 0, "answered": 0, "longest_gap_ms": 0.0, "longest_gap_at": None, "broken": False, "gaps": []}

    def write():
        with open(path + ".new", "w") as f:
            json.dump(said, f)
        os.replace(path + ".new", path)

    s = connect(ip, port)
    last = now = time.monotonic()
    next_send, next_write = now, now
    have = 0
    while not said["broken"]:
        now = time.monotonic()
        if now >= next_send:
            try:
                s.send(b"%08d" % (said["sent"] % 10**8))
                said["sent"] += 1
            except BlockingIOError:
                pass
            except OSError:
                said["broken"] = True
            next_send += EVERY
        if now >= next_write:
            said["silent_for_ms"] = round((now - last) * 1000, 1)
            write()
            next_write = now + 0.5
        r, _, _ = select.select([s], [], [], max(0, min(next_send, next_write) - time.monotonic()))
        if not r:
            continue
        try:
            d = s.recv(65536)
        except BlockingIOError:
            continue
        except OSError:
            d = b""
        if not d:
            said["broken"] = True
            break
        now = time.monotonic()
        gap, last = (now - last) * 1000, now
        have += len(d)
        said["answered"] = have // 8
        if gap > said["longest_gap_ms"]:
            said["longest_gap_ms"], said["longest_gap_at"] = round(gap, 1), time.time()
        if gap > 300:
            said["gaps"] = (said["gaps"] + [{"ms": round(gap, 1), "at": time.time()}])[-50:]
    write()


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    elif len(sys.argv) == 5 and sys.argv[1] == "talk":
        talk(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        sys.exit(__doc__)
