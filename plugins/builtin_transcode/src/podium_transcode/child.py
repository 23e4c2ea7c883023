"""The child process: one slot, where hostile media is read.

Started as ``python -m podium_transcode.child DESCRIPTOR PARENT_PID MEMORY_MB``.
It holds no secret, may not grow past its memory limit, leaves no core file,
and ends with its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

import av
from podium_hookspecs import PluginError

from podium_transcode.engine.refusals import INVALID_DATA
from podium_transcode.engine.request import job_from_json
from podium_transcode.engine.signature import signatures
from podium_transcode.engine.transcode import transcode
from podium_transcode.protocol import Message, receive_job_blocking, send_blocking

if TYPE_CHECKING:
    from podium_transcode.engine.request import Encoded, EngineJob

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
IDLE_S = 0.5
"""After this long without a job, memory kept for the next one goes back to the system."""


def main() -> None:
    """Serve jobs until the node closes the connection."""
    descriptor, parent, memory_mb = (int(argument) for argument in sys.argv[1:4])
    harden(parent, memory_mb)
    av.logging.set_level(None)
    with socket.socket(fileno=descriptor) as connection:
        send_blocking(connection, Message({"kind": "ready"}))
        while _wait(connection):
            received = receive_job_blocking(connection)
            if received is None:
                return
            job_descriptor, message = received
            try:
                serve(connection, job_descriptor, job_from_json(message.head))
            finally:
                os.close(job_descriptor)


def harden(parent: int, memory_mb: int) -> None:
    """Bound this process and tie it to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = memory_mb << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent is gone")


def serve(connection: socket.socket, descriptor: int, job: EngineJob) -> None:
    """Run one job; send each output as soon as it is ready, then how it ended."""
    lock = threading.Lock()

    def send(head: dict[str, object], payload: bytes = b"") -> None:
        with lock:
            send_blocking(connection, Message(head, payload))

    def emit(index: int, encoded: Encoded) -> None:
        facts = {name: getattr(encoded, name) for name in ("frames", "pixels", "width", "height")}
        send({"kind": "rendition", "index": index, **facts}, encoded.data)

    def emit_signature(index: int, data: bytes) -> None:
        send({"kind": "signature", "index": index}, data)

    try:
        with signatures(descriptor, job, emit_signature):
            summary = transcode(descriptor, job, emit)
    except PluginError as error:
        send({"kind": "error", "code": error.code, "public": error.public, "detail": str(error)})
    except MemoryError:
        send(_failure("Cannot allocate memory", "out of memory: raise memory_limit_mb"))
    except (av.FFmpegError, ValueError, OSError) as error:
        send(_failure(getattr(error, "strerror", None) or INVALID_DATA, repr(error)))
    else:
        facts = {"decoded_frames": summary.decoded_frames, "decoded_pixels": summary.decoded_pixels}
        send({"kind": "done", "seconds": summary.seconds, **facts})


def _failure(public: str, detail: str) -> dict[str, object]:
    return {"kind": "error", "code": "job_failed", "public": public, "detail": detail}


def _wait(connection: socket.socket) -> bool:
    """Wait for a job; after a while without one, return freed memory to the system."""
    if not select.select([connection], [], [], IDLE_S)[0]:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        select.select([connection], [], [])
    return True


if __name__ == "__main__":
    main()
