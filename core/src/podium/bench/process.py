"""Servers under test as child processes."""

from __future__ import annotations

import json
import os
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
_USER_TICKS, _SYSTEM_TICKS = 11, 12
"""Places in ``/proc/PID/stat`` after the name."""


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

    @property
    def cpu_s(self) -> float | None:
        """Processor time used up to now, by all its threads; None where nobody says."""
        status = Path(f"/proc/{self.pid}/stat")
        if not status.exists():
            return None
        fields = status.read_text().rpartition(")")[2].split()
        ticks = int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def server(kind: str, *, max_sessions: int = 100, runner: str = "") -> Iterator[Server]:
    """Run a server of one of ``server.KINDS`` in a process of its own.

    Args:
        kind: Which.
        max_sessions: Of a node.
        runner: Base URL of the runner behind a node for AI jobs.

    Raises:
        BenchError: it did not start.
    """
    options = ["--max-sessions", str(max_sessions), "--runner", runner]
    with program("podium.bench.server", kind, *options) as running:
        yield running


@contextmanager
def program(module: str, *arguments: str) -> Iterator[Server]:
    """Run a program of ours that says where it serves, and ends with its standard input.

    Raises:
        BenchError: it did not start.
    """
    command = [sys.executable, "-m", module, *arguments]
    child = subprocess.Popen(
        command,
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
