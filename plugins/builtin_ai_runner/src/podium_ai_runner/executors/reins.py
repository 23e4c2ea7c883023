"""Becomes a runner that ends with its node: ``reins.py NODE_PID MEMORY_MB PROGRAM ARGUMENT...``.

Run by path, without the package: it has to be up in no time.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to the node, bound it, and become the program."""
    node_pid, memory_mb, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(node_pid):
        sys.exit("the node is gone")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if int(memory_mb):
        size_bytes = int(memory_mb) << 20
        resource.setrlimit(resource.RLIMIT_AS, (size_bytes, size_bytes))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error}")


if __name__ == "__main__":
    main()
