"""Servers under test as child processes."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from podium.errors import PodiumError

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB = 1024
STOP_TIMEOUT_S = 10.0


class BenchError(PodiumError):
    """A bench could not run."""

    code = "bench"


@frozen
class Server:
    """A running server under test."""

    port: int
    pid: int

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        status = Path(f"/proc/{self.pid}/status")
        if status.exists():
            line = next(li for li in status.read_text().splitlines() if li.startswith("VmRSS:"))
            return int(line.split()[1]) * KIB
        asked = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self.pid)], capture_output=True, text=True, check=True
        )
        return int(asked.stdout) * KIB


@contextmanager
def server(kind: str, *, max_sessions: int = 100) -> Iterator[Server]:
    """Run a server of one of ``server.KINDS`` in a process of its own.

    Raises:
        BenchError: it did not start.
    """
    command = [sys.executable, "-m", "podium.bench.server", kind]
    child = subprocess.Popen(
        [*command, "--max-sessions", str(max_sessions)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # its log costs what a log costs, and is read by nobody
    )
    try:
        with child:
            assert child.stdout is not None
            line = child.stdout.readline()
            if not line:
                raise BenchError(f"the server under test did not start: {' '.join(command)}")
            yield Server(**json.loads(line))
            _stop(child)
    finally:
        child.kill()


def _stop(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    child.wait(STOP_TIMEOUT_S)
