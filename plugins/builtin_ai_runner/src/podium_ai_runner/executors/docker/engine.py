"""The container engine (Docker's, or Podman's copy of its interface), for the event loop.

Docker's Python package does the talking. It blocks, its limits bound silence and not the whole of
a call, and nothing cancels it; so each call runs in a thread, and the event loop bounds it.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from attrs import define, field
from podium_hookspecs import ConfigError

from podium_ai_runner.executors.docker.threads import Relay, Threads
from podium_ai_runner.executors.launcher import ExecutorDown, StartFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from docker import APIClient

    from podium_ai_runner.executors.docker.api import Api

T = TypeVar("T")
DEFAULT_HOST = "unix:///var/run/docker.sock"
CALLS_AT_A_TIME = 8
CALL_TIMEOUT_S = 30.0
QUICK_TIMEOUT_S = 5.0
START_TIMEOUT_S = 180.0
CREATE_TIMEOUT_S = 180.0
REMOVE_TIMEOUT_S = 30.0
CERTIFICATES = ("ca.pem", "cert.pem", "key.pem")
"""As Docker's own client names them: whom to trust, who we are, and our key."""


class EngineRefused(StartFailed):
    """The engine answered that it will not.

    Args:
        status: HTTP status of its answer.
        message: What it said.
    """

    code: ClassVar[str] = "engine_refused"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the container engine says {status}: {message}")
        self.status = status


@define(eq=False)
class Engine:
    """An engine. Connections are made for each call, so that it may restart.

    Every method raises ExecutorDown when there is no answer in time, or none of an engine, and
    EngineRefused when the engine says no. A cancelled caller does not wait; the call goes on to
    its own time limit.

    Args:
        address: ``unix://PATH`` or ``tcp://HOST:PORT``.
        certificates: Folder of those for TLS; empty: no TLS.
    """

    address: str
    certificates: str = ""
    _api: Api | None = field(default=None, init=False)
    _threads: Threads = field(factory=lambda: Threads(CALLS_AT_A_TIME), init=False)
    _closed: bool = field(default=False, init=False)

    @classmethod
    def at(cls, host: str) -> Engine:
        """Find the engine at an address; empty: ``DOCKER_HOST``, or its usual socket.

        Raises:
            ConfigError: that is no address of an engine.
        """
        host = host or os.environ.get("DOCKER_HOST", "") or DEFAULT_HOST
        scheme, _, rest = host.partition("://")
        if scheme == "unix" and rest:
            return cls(host)
        if scheme in ("tcp", "http", "https") and rest:
            secure = scheme == "https" or bool(os.environ.get("DOCKER_TLS_VERIFY"))
            return cls(host.rstrip("/"), _certificates() if secure else "")
        msg = f"plugins.ai: {host} is no address of a container engine: unix://PATH or tcp://HOST:PORT"
        raise ConfigError(msg)

    @property
    def socket(self) -> str:
        """Path of its socket; empty for TCP."""
        scheme, _, path = self.address.partition("://")
        return path if scheme == "unix" else ""

    async def ping(self) -> None:
        """See that it answers."""
        if not await self._ask(lambda client: client.ping(), QUICK_TIMEOUT_S):
            raise self._down("answers nonsense")

    async def create(self, name: str, body: Mapping[str, Any]) -> None:
        """Create a container, from a body as the engine's interface has it."""
        await self._ask(
            lambda client: client.create_container_from_config(dict(body), name=name),
            CREATE_TIMEOUT_S,
        )

    async def start(self, name: str) -> None:
        """Start a container."""
        await self._ask(lambda client: client.start(name), START_TIMEOUT_S)

    async def inspect(self, name: str, timeout_s: float = CALL_TIMEOUT_S) -> dict[str, Any]:
        """Return what the engine knows of a container."""
        found = await self._ask(lambda client: client.inspect_container(name), timeout_s)
        return found if isinstance(found, dict) else {}

    async def logs(self, name: str, lines: int) -> bytes:
        """Return the last lines that a container wrote, 16 MiB at most."""
        return await self._ask(lambda client: client.logs(name, tail=lines), QUICK_TIMEOUT_S)

    async def stop(self, name: str, grace_s: float) -> None:
        """Ask a container to end, and end it after a time."""
        grace = max(1, round(grace_s))
        await self._ask(lambda client: client.stop(name, timeout=grace), grace_s + QUICK_TIMEOUT_S)

    async def remove(self, which: str) -> None:
        """Remove a container by name or id, running or not, with its volumes."""
        await self._ask(
            lambda client: client.remove_container(which, v=True, force=True), REMOVE_TIMEOUT_S
        )

    async def containers(self, label: str) -> list[dict[str, Any]]:
        """List all containers, running or not, that carry a label, ``name=value``."""
        found = await self._ask(
            lambda client: client.containers(all=True, filters={"label": [label]}), CALL_TIMEOUT_S
        )
        return found if isinstance(found, list) else []

    async def inspect_image(self, image: str) -> None:
        """See that an image is here; EngineRefused with status 404 when it is not."""
        await self._ask(lambda client: client.inspect_image(image), CALL_TIMEOUT_S)

    async def pull(self, image: str, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        """Pull an image; yield the lines of its report. Ended early, so is the pull.

        It takes a thread of its own, and no other call's place.

        Args:
            image: Its name.
            silence_s: Longest time between two lines.

        Raises:
            StartFailed: no such name can be, or its credentials cannot be had.
        """
        self._check()
        relay: Relay[dict[str, Any]] = Relay()
        report = relay.follow(lambda: self._blocking().pull(image, silence_s, relay), silence_s)
        try:
            async with contextlib.aclosing(report) as lines:
                async for line in lines:
                    yield line
        except TimeoutError as error:
            raise self._down(f"has not said anything for {silence_s:.0f} s") from error
        except RuntimeError as error:
            raise self._down(f"cannot be asked: {error}") from error

    async def settle(self) -> None:
        """Wait for calls whose callers have gone."""
        await self._threads.settle()

    async def close(self) -> None:
        """Ask it nothing any more; every later call fails. Safe to call twice."""
        self._closed = True

    async def _ask(self, ask: Callable[[APIClient], T], timeout_s: float) -> T:
        self._check()
        deadline_s = time.monotonic() + timeout_s
        try:
            return await self._threads.run(
                lambda: self._blocking().call(ask, deadline_s), timeout_s
            )
        except TimeoutError as error:
            raise self._down(f"does not answer within {timeout_s:.0f} s") from error
        except RuntimeError as error:
            raise self._down(f"cannot be asked: {error}") from error

    def _blocking(self) -> Api:
        """Return the part that blocks; for threads only, since loading it takes its time."""
        from podium_ai_runner.executors.docker.api import Api

        if self._api is None:
            self._api = Api(self.address, self.certificates)
        return self._api

    def _check(self) -> None:
        if self._closed:
            raise self._down("is not asked any more")

    def _down(self, what: str) -> ExecutorDown:
        return ExecutorDown(f"the container engine at {self.address} {what}")


def _certificates() -> str:
    """Return the folder of certificates, where Docker's own client looks for it."""
    folder = os.environ.get("DOCKER_CERT_PATH", "")
    path = Path(folder).expanduser() if folder else Path.home() / ".docker"
    missing = [name for name in CERTIFICATES if not (path / name).is_file()]
    if missing:
        msg = f"plugins.ai: no {', '.join(missing)} for the container engine in {path}"
        raise ConfigError(msg)
    return str(path)
