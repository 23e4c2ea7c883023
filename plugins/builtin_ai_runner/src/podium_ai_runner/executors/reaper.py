"""Ends what a node leaves behind when it is killed: ``reaper.py SOCKET LABEL``.

A small process beside the node. It reads lines from the node's pipe: ``+PID`` for a process group
to mind, ``-PID`` for one that is gone, ``.`` when all is well. The pipe's end without that is the
node's end: those groups are ended, and the containers that carry LABEL are removed. SOCKET is the
engine's; empty: none.

Run by path, without the package: it must be small, and outlive whatever befalls the node.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sys
import time
import urllib.parse

BYE = "."
GRACE_S = 3.0
PASSES = 3
PAUSE_S = 2.0
ENGINE_TIMEOUT_S = 60.0


class EngineConnection(http.client.HTTPConnection):
    """HTTP over the engine's socket."""

    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=ENGINE_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ENGINE_TIMEOUT_S)
        self.sock.connect(self._path)


def ask(path: str, method: str, target: str) -> bytes:
    """Ask the engine; raises OSError or HTTPException when it does not answer."""
    with contextlib.closing(EngineConnection(path)) as connection:
        connection.request(method, target)
        return connection.getresponse().read()


def remove_containers(path: str, label: str) -> int:
    """Remove the containers that carry a label; return how many there were."""
    query = urllib.parse.urlencode({"all": "1", "filters": json.dumps({"label": [label]})})
    found = json.loads(ask(path, "GET", f"/containers/json?{query}"))
    for container in found:
        ask(path, "DELETE", f"/containers/{container['Id']}?force=1&v=1")
    return len(found)


def end_groups(groups: set[int]) -> None:
    """Ask each group to end, then make it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
        limit_s = time.monotonic() + GRACE_S
        while groups and time.monotonic() < limit_s:
            groups = {group for group in groups if exists(group)}
            time.sleep(0.05)


def exists(group: int) -> bool:
    """Say whether a process group still has members."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def read_groups(groups: set[int]) -> bool:
    """Follow the node's lines until its end; say whether that was a proper one."""
    for line in sys.stdin:
        if line.startswith(BYE):
            return True
        (groups.add if line.startswith("+") else groups.discard)(int(line[1:]))
    return False


def main() -> None:
    """Wait for the node's end, then tidy up."""
    path, label = sys.argv[1:3]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the node, not before it
    groups: set[int] = set()
    if read_groups(groups):
        return
    end_groups(groups)
    for _ in range(PASSES if path else 0):
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, KeyError):
            remove_containers(path, label)
        time.sleep(PAUSE_S)  # what the node was about to start when it died appears a moment later


if __name__ == "__main__":
    main()
