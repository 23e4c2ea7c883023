"""The worker's handle on one child process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import WorkerLost

from podium_transcode.protocol import JOB_MARK, Message, read_message

if TYPE_CHECKING:
    from asyncio.subprocess import Process

START_TIMEOUT_S = 30.0
READ_LIMIT_BYTES = 1 << 20
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")
KEPT_PREFIXES = ("CUDA_", "NVIDIA_")
ALLOCATOR = {
    # Frames and encoders of one segment have the sizes of the next one's: keep their memory
    # instead of asking the system for it again page by page. An idle child gives it back.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
}


def child_environment() -> dict[str, str]:
    """Return the few variables a child needs; none of the node's secrets are among them."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }
    return {**kept, **ALLOCATOR}


@define(eq=False)
class ChildProcess:
    """A started child. Use it for one job at a time; after any trouble, kill it."""

    process: Process
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    _control: socket.socket
    _killed: bool = field(default=False)

    @classmethod
    async def start(cls, memory_limit_mb: int) -> ChildProcess:
        """Start a child and wait until it is ready.

        Raises:
            WorkerLost: it ended, or was not ready in time.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "podium_transcode.child"),
                *(str(theirs.fileno()), str(os.getpid()), str(memory_limit_mb)),
                pass_fds=(theirs.fileno(),),
                env=child_environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # its own group, so that a kill takes what it started
            )
        control = ours.dup()  # descriptors go past the transport
        reader, writer = await asyncio.open_connection(sock=ours, limit=READ_LIMIT_BYTES)
        child = cls(process, reader, writer, control)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await child.receive()
        except TimeoutError as error:
            await child.kill()
            msg = f"a transcoder process was not ready within {START_TIMEOUT_S:.0f} s"
            raise WorkerLost(msg) from error
        except asyncio.CancelledError:
            child.stop()
            raise
        return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """It may be given a job."""
        return not self._killed and self.process.returncode is None

    async def send_job(self, descriptor: int, message: Message) -> None:
        """Hand over a job and its input.

        Raises:
            WorkerLost: the child is gone.
        """
        try:
            # One byte into an idle socket never waits; the descriptor travels with it.
            socket.send_fds(self._control, [JOB_MARK], [descriptor])
            self._writer.write(message.encoded_head())
            await self._writer.drain()
        except OSError as error:
            raise self._lost() from error

    async def receive(self) -> Message:
        """Wait for its next message.

        Raises:
            WorkerLost: the child is gone, or talks nonsense.
        """
        try:
            return await read_message(self._reader)
        except (asyncio.IncompleteReadError, OSError, ValueError) as error:
            await self.kill()
            raise self._lost() from error

    def stop(self) -> None:
        """Kill it and everything it started, without waiting; safe to call twice."""
        if not self._killed:
            self._killed = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self._control.close()
            self._writer.close()

    async def kill(self) -> None:
        """Kill it as ``stop`` does, at once, then wait for its end."""
        self.stop()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        await self.process.wait()

    def _lost(self) -> WorkerLost:
        code = self.process.returncode
        return WorkerLost(f"the transcoder process {self.pid} ended (code {code}) under its job")
