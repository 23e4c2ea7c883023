"""The child: ``python -m podium_ai_runner.media TASK PARENT_PID MEMORY_MB SECONDS``.

What it is told comes as JSON on its standard input, files by descriptor; what it says goes as
JSON to its standard output. It holds no secret, may not grow past its limits, leaves no core
file, and ends with its parent.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

import av

from podium_ai_runner.media.probe import duration_ms
from podium_ai_runner.media.video import frames_to_mp4

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38

if TYPE_CHECKING:
    from collections.abc import Callable

TASKS: dict[str, Callable[..., dict[str, Any]]] = {"duration": duration_ms, "video": frames_to_mp4}


def main() -> None:
    """Do one task."""
    task, parent, memory_mb, seconds = sys.argv[1], *map(int, sys.argv[2:5])
    harden(parent, memory_mb, seconds)
    av.logging.set_level(None)
    facts = json.load(sys.stdin)
    try:
        answer = TASKS[task](**facts)
    except MemoryError:
        answer = {"error": "out of memory"}
    except (av.FFmpegError, ValueError, OSError, KeyError, TypeError) as error:
        answer = {"error": f"{type(error).__name__}: {error}"[:500]}
    json.dump(answer, sys.stdout)


def harden(parent: int, memory_mb: int, seconds: int) -> None:
    """Bound this process and tie it to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = memory_mb << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds * 4, seconds * 4 + 1))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent is gone")


if __name__ == "__main__":
    main()
