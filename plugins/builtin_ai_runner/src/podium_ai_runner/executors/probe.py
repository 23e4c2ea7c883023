"""Asks a runner how it is, what it is and what it runs on (ai 5.2). Nothing it says is trusted."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any

import aiohttp
from attrs import define, field
from podium_hookspecs import Device

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from podium_hookspecs import Secret

MAX_REPLY_BYTES = 64 * 1024
MAX_DEVICES = 64
MAX_TEXT = 200
UNKNOWN_VERSION = "0.0.0"
VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}([-+][0-9A-Za-z.+-]{1,40})?")


class Answer(Enum):
    """What ``/health`` says."""

    OK = "OK"
    IDLE = "IDLE"
    LOADING = "LOADING"
    ERROR = "ERROR"


class ProbeFailed(Exception):
    """A runner gave no usable answer; the text says why, for the operator."""


class ProbeSlow(ProbeFailed):
    """It gave none in time: one that is at work may have none to spare."""


@define(eq=False)
class Probe:
    """Asks runners, each question within ``timeout_s`` and each answer at most 64 KiB."""

    timeout_s: float
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)

    async def health(self, url: str, token: Secret | None = None, api: str = "runner") -> Answer:
        """Ask how it is; a service that speaks OpenAI's API is well if it lists its models.

        Raises:
            ProbeFailed: no answer in time, or one that means nothing.
        """
        if api == "openai":
            await self._ask(url, "v1/models", token)
            return Answer.OK
        status = (await self._ask(url, "health", token)).get("status")
        try:
            return Answer(status)
        except ValueError:
            msg = f"/health says status {_short(status)!r}"
            raise ProbeFailed(msg) from None

    async def version(self, url: str, token: Secret | None = None) -> str:
        """Ask its version; ``0.0.0`` when it does not say."""
        try:
            version = (await self._ask(url, "version", token)).get("version")
        except ProbeFailed:
            return UNKNOWN_VERSION
        known = isinstance(version, str) and VERSION.fullmatch(version)
        return str(version) if known else UNKNOWN_VERSION

    async def hardware(self, url: str, token: Secret | None = None) -> tuple[Device, ...]:
        """Ask which GPUs it has; none when it does not say."""
        try:
            listed = (await self._ask(url, "hardware/info", token)).get("gpu_info")
        except ProbeFailed:
            return ()
        gpus = list(listed.values())[:MAX_DEVICES] if isinstance(listed, dict) else []
        return tuple(_device(gpu) for gpu in gpus if isinstance(gpu, dict))

    async def close(self) -> None:
        """Close its connections; every later question fails. Safe to call twice."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, url: str, path: str, token: Secret | None) -> dict[str, Any]:
        if self._closed:
            msg = "nobody asks any more"
            raise ProbeFailed(msg)
        headers = {"Authorization": f"Bearer {token.reveal}"} if token else {}
        try:
            async with self._get(f"{url}/{path}", headers) as response:
                if response.status != 200:
                    msg = f"/{path} answers {response.status}"
                    raise ProbeFailed(msg)
                reply = json.loads(await read_at_most(response, MAX_REPLY_BYTES))
        except TimeoutError:
            msg = f"/{path} does not answer within {self.timeout_s:g} s"
            raise ProbeSlow(msg) from None
        except aiohttp.ClientError as error:
            msg = f"/{path} cannot be asked: {type(error).__name__}: {error}"
            raise ProbeFailed(msg) from error
        except (ValueError, RecursionError) as error:  # bad JSON, bad UTF-8, too long, too deep
            msg = f"/{path} answers nonsense: {_short(error)}"
            raise ProbeFailed(msg) from error
        if not isinstance(reply, dict):
            msg = f"/{path} answers nonsense: no JSON object"
            raise ProbeFailed(msg)
        return reply

    @asynccontextmanager
    async def _get(
        self, url: str, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            # A new connection for each question: a kept one would outlive the runner it was for.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                timeout=aiohttp.ClientTimeout(total=self.timeout_s),
                auto_decompress=False,
            )
        async with self._session.get(url, headers=headers, allow_redirects=False) as response:
            yield response


async def read_at_most(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Read a whole body.

    Raises:
        ValueError: it is longer than that.
    """
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit_bytes:
            msg = f"more than {limit_bytes} bytes"
            raise ValueError(msg)
        parts.append(part)
    return b"".join(parts)


def _device(gpu: dict[str, Any]) -> Device:
    compute = ".".join(str(_count(gpu.get(part))) for part in ("major", "minor"))
    return Device(
        id=_short(gpu.get("id", "")),
        name=_short(gpu.get("name", "")),
        memory_total_bytes=_count(gpu.get("memory_total")),
        memory_free_bytes=_count(gpu.get("memory_free")),
        compute="" if compute == "0.0" else compute,
    )


def _count(value: object) -> int:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if usable and isinstance(value, int) else 0


def _short(value: object) -> str:
    return str(value)[:MAX_TEXT]
