"""Anvil as a child process that cannot be left behind by accident."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from typing import IO, TYPE_CHECKING

from podium.devnet.errors import DevnetError
from podium.devnet.options import CHAIN_ID
from podium.devnet.rpc import Rpc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from podium.devnet.options import DevnetOptions

HOST = "127.0.0.1"
POLL_S = 0.01
STOP_TIMEOUT_S = 5.0
PORT_TRIES = 5
LOG_TAIL_BYTES = 2000

WATCHDOG = 'read _; kill -9 "$0" 2>/dev/null'
"""Reads until the pipe from us closes, which it does however we end; then ends the node."""


class AnvilProcess:
    """A running node."""

    def __init__(self, child: subprocess.Popen[bytes], port: int, *, detach: bool) -> None:
        self._child = child
        self._watchdog = None if detach else _watch(child.pid)
        self.port = port
        self.pid = child.pid

    @classmethod
    def start(cls, anvil: Path, options: DevnetOptions) -> AnvilProcess:
        """Start a node and wait until it answers.

        Raises:
            DevnetError: the port is taken, or it did not start; with its last words.
        """
        if options.port:
            _check_free(options.port)
            return cls._start_on(anvil, options, options.port)
        for _ in range(PORT_TRIES - 1):
            with contextlib.suppress(DevnetError):  # another process may take the port first
                return cls._start_on(anvil, options, free_port())
        return cls._start_on(anvil, options, free_port())

    @classmethod
    def _start_on(cls, anvil: Path, options: DevnetOptions, port: int) -> AnvilProcess:
        with _log(options.log_path) as log:
            try:
                child = subprocess.Popen(
                    [str(anvil), *_arguments(options, port)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is ours to handle
                )
            except OSError as error:
                msg = f"Anvil could not be run: {error}"
                raise DevnetError(msg) from error
            process = cls(child, port, detach=options.detach)
            try:
                process._await_ready(options.ready_timeout_s)
            except DevnetError as error:
                process.stop()
                msg = f"{error}: {_tail(log)}".rstrip(": ")
                raise DevnetError(msg) from error
            except BaseException:
                process.stop()
                raise
        return process

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    def _await_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                msg = f"Anvil ended at once with code {self._child.returncode}"
                raise DevnetError(msg)
            if _answers(self.url):
                return
            time.sleep(POLL_S)
        msg = f"Anvil did not answer within {timeout_s:g} s"
        raise DevnetError(msg)

    def pause(self) -> None:
        """Freeze it: connections are taken, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def wait(self) -> int:
        """Wait until it ends; its exit code."""
        return self._child.wait()

    def alive(self) -> bool:
        """Return whether it runs."""
        return self._child.poll() is None

    def stop(self) -> None:
        """End it, also when it is frozen. Calling this again does nothing."""
        if self._watchdog is not None:
            watchdog, self._watchdog = self._watchdog, None
            watchdog.kill()
            watchdog.communicate()
        if self._child.poll() is not None:
            return
        self.resume()
        self._child.terminate()
        try:
            self._child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def _arguments(options: DevnetOptions, port: int) -> list[str]:
    return [
        *("--silent", "--host", HOST, "--port", str(port)),
        *("--accounts", "1", "--chain-id", str(CHAIN_ID)),
        *("--gas-limit", str(options.gas_limit)),
    ]


def _watch(pid: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", WATCHDOG, str(pid)], stdin=subprocess.PIPE, start_new_session=True
    )


@contextlib.contextmanager
def _log(path: Path | None) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() if path is None else path.open("w+b") as file:
        yield file


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()


def _answers(url: str) -> bool:
    rpc = Rpc(url, timeout_s=2)
    try:
        return rpc.number("eth_chainId") == CHAIN_ID
    except DevnetError:
        return False


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            msg = f"port {port} cannot be used: {error}; choose another one, or 0 for a free one"
            raise DevnetError(msg) from error
