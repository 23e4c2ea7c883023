"""Runners as processes of this machine, for machines without a container engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from podium_ai_runner.executors.launcher import StartFailed
from podium_ai_runner.executors.values import Ended

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable, Mapping, Sequence

    from podium_ai_runner.executors.guard import Guard
    from podium_ai_runner.executors.values import Progress, RunnerSpec

REINS = Path(__file__).with_name("reins.py")
PORTS = range(20_000, 32_000)
PORT_TRIES = 200
LOOPBACK = "127.0.0.1"
LOG_PIECES = 32
LOG_PIECE_BYTES = 8192
LOG_TAIL_CHARACTERS = 8000
KILL_WAIT_S = 5.0
KEPT_VARIABLES = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH"),
    *("VIRTUAL_ENV", "HF_HOME"),
)
KEPT_PREFIXES = ("CUDA_", "NVIDIA_")


@define(eq=False)
class Tail:
    """Reads what a process writes, so that it never waits, and keeps the end of it."""

    _transport: asyncio.ReadTransport
    _reader: asyncio.Task[None]
    _pieces: deque[str]

    @classmethod
    async def of(cls, descriptor: int) -> Tail:
        """Read a pipe from now on; it is closed by ``close``."""
        stream, pieces = asyncio.StreamReader(), deque[str](maxlen=LOG_PIECES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(descriptor, "rb", 0)
        )

        async def read() -> None:
            while data := await stream.read(LOG_PIECE_BYTES):
                pieces.append(data.decode(errors="replace"))

        return cls(transport, asyncio.create_task(read(), name="runner-log"), pieces)

    async def text(self, *, wait_s: float) -> str:
        """Return the end of it; wait so long for the pipe's end."""
        await asyncio.wait([self._reader], timeout=wait_s)
        return "".join(self._pieces)[-LOG_TAIL_CHARACTERS:]

    async def close(self) -> None:
        """Stop reading."""
        self._reader.cancel()
        self._transport.close()
        await asyncio.wait([self._reader])


@define(eq=False)
class ProcessRunner:
    """A process in a group of its own; its log's end is kept."""

    url: str
    _process: Process
    _tail: Tail
    _grace_s: float
    _record: Path
    _guard: Guard
    _stopped: bool = False

    @property
    def pid(self) -> int:
        """Its process id, and its group's."""
        return self._process.pid

    async def ended(self) -> Ended | None:
        """See ``Runner``."""
        code = self._process.returncode
        if code is None:
            return None
        how = signal.strsignal(-code) if code < 0 else f"code {code}"
        return Ended(f"process {self.pid} ended: {how}")

    async def logs(self) -> str:
        """See ``Runner``."""
        return await self._tail.text(wait_s=0.0 if self._process.returncode is None else 1.0)

    async def stop(self) -> None:
        """Ask its group to end, then make it; see ``Runner``."""
        if self._stopped:
            return  # its number may be another's by now
        try:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._grace_s):
                    await self._process.wait()
        finally:
            self._signal(signal.SIGKILL)  # also what its leader left behind
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_WAIT_S):
                await self._process.wait()
        await self._tail.close()
        self._stopped = True
        self._guard.forget(self.pid)
        self._record.unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


@define(eq=False)
class ProcessLauncher:
    """Starts processes; see ``Launcher``.

    Args:
        state_dir: Where it notes what runs, for its next life.
        guard: Ends what runs if the node is killed.
        stop_s: For a process to end by itself.
    """

    state_dir: Path
    guard: Guard
    stop_s: float = 8.0
    kind: str = field(default="process", init=False)
    restarts: bool = field(default=True, init=False)
    _mine: set[int] = field(factory=set, init=False)

    async def check(self) -> None:
        """A machine always can."""

    async def sweep(self) -> int:
        """End what an earlier life of this node left behind; see ``Launcher``."""
        return await self.guard.context.run_blocking(self._sweep)

    def _sweep(self) -> int:
        ended = 0
        for path in self._records().glob("*.json"):
            group = _recorded(path)
            if group in self._mine:
                continue
            if group is not None:
                ended += 1
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
            path.unlink(missing_ok=True)
        return ended

    async def fetch(self, spec: RunnerSpec, report: Callable[[Progress], None]) -> None:
        """There is nothing to fetch."""

    async def launch(self, spec: RunnerSpec) -> ProcessRunner:
        """Start the spec's command with a port of its own; see ``Launcher``."""
        port = free_port()
        await self.guard.begin()
        command = [sys.executable, "-I", "-S", str(REINS), str(os.getpid())]
        command += [str(spec.limits.memory_mb), *_filled(spec, port)]
        starting = asyncio.ensure_future(self._spawn(command, _environment(spec, port)))
        try:
            process, tail = await asyncio.shield(starting)
        except OSError as error:
            msg = f"{spec.command[0]} cannot be run: {error}"
            raise StartFailed(msg) from error
        except asyncio.CancelledError:
            process, tail = await starting
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            await tail.close()
            raise
        self._mine.add(process.pid)
        self.guard.mind(process.pid)
        record = self._records() / f"{process.pid}.json"
        record.write_text(json.dumps({"pid": process.pid, "started": started_at(process.pid)}))
        url = f"http://{LOOPBACK}:{port}"
        return ProcessRunner(url, process, tail, self.stop_s, record, self.guard)

    async def _spawn(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[Process, Tail]:
        ours, theirs = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return process, await Tail.of(ours)

    async def close(self) -> bool:
        """Every process was ended with its runner."""
        return True

    def _records(self) -> Path:
        folder = self.state_dir / "runners"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def free_port() -> int:
    """Return a loopback port that was free a moment ago.

    Not one that the system gives out by itself: until the runner has it, an outgoing connection
    of any program could take it.

    Raises:
        StartFailed: there is none.
    """
    for _ in range(PORT_TRIES):
        port = secrets.choice(PORTS)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind((LOOPBACK, port))
            return port
    msg = f"no free port among {PORTS.start} to {PORTS.stop - 1}"
    raise StartFailed(msg)


def _filled(spec: RunnerSpec, port: int) -> list[str]:
    """Fill in the command: ``{port}`` and its like."""
    places = {
        "{host}": LOOPBACK,
        "{port}": str(port),
        "{pipeline}": spec.key.pipeline,
        "{model}": spec.key.model,
        "{models_dir}": spec.models_dir,
        "{gpu}": spec.gpu,
    }
    filled = []
    for word in spec.command:
        for place, value in places.items():
            word = word.replace(place, value)
        filled.append(word)
    return filled


def _environment(spec: RunnerSpec, port: int) -> dict[str, str]:
    """Return what a runner is told; none of the node's secrets are among it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }
    told = {
        "HOST": LOOPBACK,
        "PORT": str(port),
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": spec.gpu,
        **({"MODEL_DIR": spec.models_dir} if spec.models_dir else {}),
    }
    return {**kept, **told, **spec.told}


def _recorded(path: Path) -> int | None:
    """Return the process group that a note speaks of, if it is still that one."""
    try:
        note = json.loads(path.read_text())
        pid, started = int(note["pid"]), str(note["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if started and started == started_at(pid) else None


def started_at(pid: int) -> str:
    """Return when a process began, as text that no other process of that number has; or empty."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return f"{boot} {fields[19]}" if fields[0] != "Z" else ""
