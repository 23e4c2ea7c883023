"""The node's handle on the reaper, the process that tidies up if the node is killed."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from podium_hookspecs import Log, PluginContext

PROGRAM = Path(__file__).with_name("reaper.py")
STOP_TIMEOUT_S = 15.0


@define(eq=False)
class Guard:
    """Starts a reaper when the first runner needs one.

    Args:
        context: The plugin's.
        socket: The engine's socket; empty: no containers.
        label: ``name=value`` of the containers of this life of the node.
    """

    context: PluginContext
    socket: str = ""
    label: str = ""
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _groups: set[int] = field(factory=set, init=False)
    _starting: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    @property
    def _log(self) -> Log:
        return self.context.log

    async def begin(self) -> None:
        """Start the reaper unless it runs; without one the next start tidies up."""
        async with self._starting:  # a second one, dropped, would take the first one's runners
            if self._process is not None and self._process.poll() is None:
                return
            try:
                self._process = await self.context.run_blocking(self._popen)
            except OSError as error:
                self._log.warning("no reaper", reason=str(error))
            for group in self._groups:
                self._write(f"+{group}\n")

    def _popen(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(PROGRAM), self.socket, self.label],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},  # none of the node's secrets
            start_new_session=True,
            text=True,
        )

    def mind(self, group: int) -> None:
        """Have a process group ended with the node."""
        self._groups.add(group)
        self._write(f"+{group}\n")

    def forget(self, group: int) -> None:
        """A process group is gone."""
        self._groups.discard(group)
        self._write(f"-{group}\n")

    async def close(self, *, clean: bool) -> None:
        """Let the reaper go: at once when all is well, else once it has tried to tidy up."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.write(".\n" if clean else "")
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await self.context.run_blocking(process.wait, STOP_TIMEOUT_S)

    def _write(self, line: str) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except OSError as error:
            self._log.warning("the reaper is gone", reason=str(error))
