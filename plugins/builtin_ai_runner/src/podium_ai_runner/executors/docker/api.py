"""Docker's Python package, with every answer bounded and our errors; all of it blocks.

Only threads of ``Engine`` import this module, so that a node without containers never loads it.
"""

from __future__ import annotations

import json
import math
import socket
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field
from docker import APIClient
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig
from urllib3.exceptions import HTTPError

from podium_ai_runner.executors.docker.engine import (
    CERTIFICATES,
    QUICK_TIMEOUT_S,
    EngineRefused,
)
from podium_ai_runner.executors.launcher import ExecutorDown, StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from podium_ai_runner.executors.docker.threads import Relay

T = TypeVar("T")
UNIX = "unix://"
MAX_REPLY_BYTES = 16 * 2**20
MAX_LINE_BYTES = 1 << 20
NONSENSE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What the package raises on answers that are not the engine's."""


class Client(APIClient):
    """A client for one call: it has that call's time limits, and no connection outlives it.

    Args:
        host: The engine's address.
        version: Of the interface.
        tls: For TCP with certificates.
        silence_s: Longest wait for any byte.
        deadline_s: For the whole call, on the monotonic clock.
    """

    def __init__(
        self, host: str, version: str, tls: TLSConfig | None, silence_s: float, deadline_s: float
    ) -> None:
        super().__init__(host, version=version, tls=tls or False)
        self.trust_env = False  # neither a proxy nor .netrc is between a node and its engine
        self._silence_s = silence_s
        self._deadline_s = deadline_s
        self._responses: list[Any] = []
        self.hooks["response"].append(self._bound)

    def send(self, request: Any, **kwargs: Any) -> Any:
        """Send a request with our time limit: the package gives a pull none."""
        left_s = min(self._silence_s, self._deadline_s - time.monotonic())
        return super().send(request, **{**kwargs, "timeout": max(left_s, 0.001)})

    def close(self) -> None:
        """Close its connections, those of answers half read too."""
        for response in self._responses:
            response.close()
        super().close()

    def _bound(self, response: Any, **_: Any) -> None:
        response.raw = Bounded(response.raw, self._deadline_s)
        self._responses.append(response)


@define(eq=False)
class Bounded:
    """An answer's bytes: cut off when they are too many, an error when they come too late."""

    _raw: Any
    _deadline_s: float

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        """Yield them, as urllib3 does."""
        left = MAX_REPLY_BYTES
        try:
            for part in self._raw.stream(*args, **kwargs):
                yield part[:left]
                left -= len(part)
                if left <= 0:
                    return
                if time.monotonic() > self._deadline_s:
                    raise TimeoutError("too slow")
        finally:
            self._raw.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


@define(eq=False)
class Api:
    """An engine's interface, in the version that it speaks.

    Args:
        host: Its address.
        certificates: Folder of those to trust and to show; empty: no TLS.
    """

    host: str
    certificates: str
    _version: str = field(default="", init=False)

    def call(self, ask: Callable[[APIClient], T], deadline_s: float) -> T:
        """Make one call, by a time on the monotonic clock.

        Raises:
            ExecutorDown: no answer, or none in time, or none of an engine.
            EngineRefused: it says no.
        """
        with self._errors(), self._client(math.inf, deadline_s) as client:
            return ask(client)

    def pull(self, image: str, silence_s: float, relay: Relay[dict[str, Any]]) -> None:
        """Pull an image; hand on each line of its report.

        Raises:
            ExecutorDown, EngineRefused: as for ``call``.
            StartFailed: no such name can be, or its credentials cannot be had.
            Stopped: the report is not wanted any more.
        """
        with self._errors(), self._client(silence_s, math.inf) as client:

            def attach(response: Any, **_: Any) -> None:
                relay.may_stop(response.raw.shutdown)

            client.hooks["response"].append(attach)
            try:
                parts = client.pull(image, stream=True)
            except APIError:
                raise
            except DockerException as error:
                raise StartFailed(str(error)) from error
            for line in map(json.loads, lines_of(parts)):
                if isinstance(line, dict):
                    relay.put(line)

    def _client(self, silence_s: float, deadline_s: float) -> Client:
        self._knock()
        tls = self._tls() if self.certificates else None
        if not self._version:
            soon_s = min(deadline_s, time.monotonic() + QUICK_TIMEOUT_S)
            with Client(self.host, DEFAULT_DOCKER_API_VERSION, tls, silence_s, soon_s) as first:
                self._version = str(first.version(api_version=False)["ApiVersion"])
        return Client(self.host, self._version, tls, silence_s, deadline_s)

    def _knock(self) -> None:
        """See that there is a socket: the package leaves its own open when there is none."""
        if self.host.startswith(UNIX):
            with socket.socket(socket.AF_UNIX) as channel:
                channel.settimeout(QUICK_TIMEOUT_S)
                channel.connect(self.host.removeprefix(UNIX))

    def _tls(self) -> TLSConfig:
        ca, certificate, key = (str(Path(self.certificates, name)) for name in CERTIFICATES)
        return TLSConfig((certificate, key), ca, verify=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except APIError as error:
            said = str(error.explanation or error).strip()[:1000]
            raise EngineRefused(error.status_code or 0, said) from error
        except NONSENSE as error:
            raise self._down("answers nonsense") from error
        except (DockerException, HTTPError, OSError) as error:
            raise self._down(f"does not answer: {first_of(error)}") from error

    def _down(self, what: str) -> ExecutorDown:
        self._version = ""  # another one may answer next time
        return ExecutorDown(f"the container engine at {self.host} {what}")


def lines_of(parts: Iterable[bytes | str]) -> Iterator[bytes]:
    """Put a report's lines together.

    Raises:
        ValueError: a line without an end.
    """
    rest = b""
    for part in parts:
        *lines, rest = (rest + (part.encode() if isinstance(part, str) else part)).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise ValueError("a line without an end")
        yield from filter(bytes.strip, lines)
    if rest.strip():
        yield rest


def first_of(error: BaseException) -> str:
    """Say what an error began with: packages wrap the system's own words several times."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return (str(error) or repr(error))[:200]
