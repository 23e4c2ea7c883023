"""A runner that misbehaves as it is told: sockets and threads only, for the barest of Pythons.

Environment: FAKE_HEALTH (what /health does at first), FAKE_START_S (until the socket opens),
FAKE_LOADING_S (LOADING for so long), FAKE_EXIT (exit code, at once), FAKE_VERSION.
The body of a job says what to do: ``echo``, ``slow:SECONDS``, ``die``, ``kill``, ``oom:MB``,
``endless``, ``garbage``, ``closed``, ``health:MODE`` (from now on).
"""

# ruff: noqa: PTH123, UP031  Debian's minimal Python has no pathlib; JSON by hand is full of braces

import os
import signal
import socket
import sys
import threading
import time

PIPELINE, MODEL = os.environ.get("PIPELINE", ""), os.environ.get("MODEL_ID", "")
STARTED = time.monotonic()
STATE = {"health": os.environ.get("FAKE_HEALTH", "OK")}
TOKEN = os.environ.get("AUTH_TOKEN", "")

CHAT = (
    '{"id":"1","model":"%s","created":1,'
    '"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2},"choices":'
    '[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"%d"}}]}'
)


def reply(connection, body, status="200 OK", kind="application/json"):
    data = body.encode()
    head = "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    connection.sendall((head % (status, kind, len(data))).encode() + data)


def endless(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def health(connection):
    loading_s = float(os.environ.get("FAKE_LOADING_S", "0"))
    mode = STATE["health"]
    if time.monotonic() - STARTED < loading_s:
        mode = "LOADING"
    if mode == "garbage":
        reply(connection, "<html>\xff{", kind="text/html")
    elif mode == "slow":
        time.sleep(600)
    elif mode == "endless":
        endless(connection)
    elif mode == "500":
        reply(connection, '{"detail":{"msg":"no"}}', "500 Internal Server Error")
    else:
        reply(connection, '{"status":"%s"}' % mode)


def read_request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    length = int(fields.get("content-length", "0"))
    while len(body) < length:
        body += connection.recv(65536)
    return lines[0].split()[1], fields, body.decode()


def job(connection, fields, body):
    if TOKEN and fields.get("authorization") != "Bearer " + TOKEN:
        reply(connection, '{"detail":{"msg":"Invalid bearer token."}}', "401 Unauthorized")
        return
    chat = body.startswith("{")
    if chat:
        body = body.partition('"content"')[2].split('"')[1]
    what, _, rest = body.partition(":")
    if DEEDS.get(what, lambda *_: False)(connection, rest):
        return
    if chat:
        reply(connection, CHAT % (MODEL, os.getpid()))
        return
    answer = '{"pipeline":"%s","model":"%s","pid":%d,"uid":%d}'
    reply(connection, answer % (PIPELINE, MODEL, os.getpid(), os.getuid()))


def die(connection, rest):
    print("the runner dies", flush=True)
    os._exit(3)


def hog(connection, rest):
    return not [bytearray(os.urandom(4096) * 256) for _ in range(int(rest))]


def garbage(connection, rest):
    connection.sendall(b"\x00\x01 this is no HTTP\r\n\r\n")
    return True


# What a job's first word does; True: it has answered, or will not.
DEEDS = {
    "slow": lambda connection, rest: time.sleep(float(rest)),
    "die": die,
    "kill": lambda connection, rest: os.kill(os.getpid(), signal.SIGKILL),
    "oom": hog,
    "endless": lambda connection, rest: endless(connection),
    "garbage": garbage,
    "closed": lambda connection, rest: True,
    "health": lambda connection, rest: STATE.update(health=rest),
}


def text_of(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def inspect(connection):
    """Say what this process may do, for the tests of hardening."""
    facts = {}
    for path in ("/etc/probe", "/models/probe", "/tmp/probe"):
        try:
            with open(path, "w"):
                facts[path] = "writable"
        except OSError as error:
            facts[path] = type(error).__name__
    for line in text_of("/proc/self/status").splitlines():
        if line.startswith(("CapEff", "NoNewPrivs")):
            facts[line.split(":")[0]] = line.split(":")[1].strip()
    for name in ("memory.max", "memory/memory.limit_in_bytes", "pids.max", "pids/pids.max"):
        facts[name] = text_of("/sys/fs/cgroup/" + name).strip()
    parts = ['"%s":"%s"' % item for item in facts.items()]
    reply(connection, "{" + ",".join(parts) + "}")


def serve(connection):
    try:
        request = read_request(connection)
        if request is None:
            return
        path, fields, body = request
        if path == "/health":
            health(connection)
        elif path == "/version":
            reply(connection, '{"version":"%s"}' % os.environ.get("FAKE_VERSION", "1.2.3"))
        elif path == "/hardware/info":
            gpu = (
                '{"id":"GPU-1","name":"Fake","memory_total":8,"memory_free":4,"major":9,"minor":0}'
            )
            reply(connection, '{"gpu_info":{"0":%s}}' % gpu)
        elif path == "/v1/models":
            reply(connection, '{"object":"list","data":[]}')
        elif path == "/inspect":
            inspect(connection)
        elif path == "/" + PIPELINE:
            job(connection, fields, body)
        else:
            reply(connection, '{"detail":"Not Found"}', "404 Not Found")
    except OSError:
        pass
    finally:
        connection.close()


def main():
    print("fake runner of", PIPELINE, MODEL, file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if os.environ.get("FAKE_EXIT"):
        print("it cannot work", file=sys.stderr, flush=True)
        sys.exit(int(os.environ["FAKE_EXIT"]))
    time.sleep(float(os.environ.get("FAKE_START_S", "0")))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8000"))))
    listener.listen(64)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


main()
