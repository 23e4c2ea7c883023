"""A peer that means no good: replays bad requests against one path of a node.

::

    replays = await replay_hostile(app.uri + "/llm", headers=fresh_headers)
    assert_contained(replays)

Each request is sent over a connection of its own, byte by byte, so that framing can be wrong too.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import define, field, frozen

from podium.testing.paying import unverified

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable, Mapping

JSON = "application/json"
BOMB_BYTES = 32 * 2**20
NESTED = 100_000
ANSWER_S = 15.0
QUIET_S = 0.5
"""How long a peer that has stalled waits before it goes away."""

REFUSALS = frozenset({*range(400, 500), 503})


@frozen
class Attack:
    """One bad request.

    Attributes:
        name: What is bad about it.
        body: What is sent.
        content_type: As claimed.
        headers: Further headers.
        claimed_bytes: The length that is claimed, where it is not the body's.
        chunked: Send it without a length.
        stalls: Say nothing more after the body, and go away after a while.
    """

    name: str
    body: bytes = field(default=b"", repr=False)
    content_type: str = JSON
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    claimed_bytes: int | None = None
    chunked: bool = False
    stalls: bool = False


@frozen
class Replay:
    """How the node took one bad request.

    Attributes:
        attack: Its name.
        status: Of the answer; None when the connection ended without one.
        waited_s: Until the answer, or the end.
        gave_up: The peer left first.
    """

    attack: str
    status: int | None
    waited_s: float
    gave_up: bool = False


def _json(name: str, value: object) -> Attack:
    return Attack(name, json.dumps(value).encode())


ATTACKS: tuple[Attack, ...] = (
    Attack("no body"),
    Attack("not JSON", b"{"),
    Attack("not text", b"\xff\xfe\x00{\x80}"),
    Attack("zeros", bytes(4096)),
    _json("missing fields", {}),
    _json("a list", []),
    _json("a text", "x"),
    _json("nothing", None),
    _json("numbers for texts", {"model": 7, "model_id": 7, "prompt": 7, "messages": 7}),
    _json("texts for numbers", {"width": "x", "height": "-1", "max_tokens": "many", "count": "x"}),
    _json("negative numbers", {"width": -1, "height": -1, "max_tokens": -1, "count": -1}),
    Attack("not a number", b'{"width": NaN, "count": Infinity, "max_tokens": -Infinity}'),
    Attack("a huge number", b'{"count": ' + b"9" * 100_000 + b"}"),
    Attack("deep nesting", b"[" * NESTED),
    Attack("deep objects", b'{"a":' * NESTED),
    Attack("a wrong type", b"\x89PNG\r\n\x1a\n", "image/png"),
    Attack("no boundary", b"--x\r\n\r\n", "multipart/form-data"),
    Attack("half a form", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb',
           "multipart/form-data; boundary=x"),
    Attack("many parts", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 20_000,
           "multipart/form-data; boundary=x"),
    Attack("a bomb", gzip.compress(bytes(BOMB_BYTES)), headers={"Content-Encoding": "gzip"}),
    Attack("truncated", b'{"a"', claimed_bytes=1000, stalls=True),
    Attack("oversize, claimed", claimed_bytes=2**40, stalls=True),
    Attack("a negative length", b"{}", claimed_bytes=-1),
    Attack("chunks that end early", b"5\r\nab", chunked=True, stalls=True),
    Attack("chunks of nonsense", b"zz\r\nab\r\n0\r\n\r\n", chunked=True),
    Attack("slow", b"{", claimed_bytes=2, stalls=True),
    Attack("a huge header", b"{}", headers={"X-Huge": "x" * 2 * 2**20}),
    Attack("many headers", b"{}", headers={f"X-{n}": "x" for n in range(5000)}),
)  # fmt: skip
"""What every path must survive."""


async def no_headers() -> Mapping[str, str]:
    """Send no credentials."""
    return {}


async def replay_hostile(
    url: str,
    *,
    headers: Callable[[], Awaitable[Mapping[str, str]]] = no_headers,
    attacks: Iterable[Attack] = ATTACKS,
    oversize_bytes: int = 0,
    method: str = "POST",
) -> list[Replay]:
    """Send every bad request in turn.

    Args:
        url: Of the path under test, ``http`` or ``https`` (any certificate will do).
        headers: Awaited for each request: credentials and payment, such as
            ``(await payer.prepare(...)).headers``, so that it reaches what is behind them.
        attacks: What to send.
        oversize_bytes: If given, a body that really is this large is sent too.
        method: Of the requests.
    """
    wanted = list(attacks)
    if oversize_bytes:
        wanted.append(Attack("oversize, sent", b"x" * oversize_bytes, "application/octet-stream"))
    peer = _Peer(url, method, unverified() if urlsplit(url).scheme == "https" else None)
    return [await peer.send(attack, await headers()) for attack in wanted]


def assert_contained(replays: Iterable[Replay], allowed: Iterable[int] = REFUSALS) -> None:
    """Every request was refused as the peer's fault, or its connection ended, in time.

    Args:
        replays: From ``replay_hostile``.
        allowed: Statuses that are refusals.
    """
    good = frozenset(allowed)
    wrong = [
        replay
        for replay in replays
        if replay.waited_s >= ANSWER_S or (replay.status is not None and replay.status not in good)
    ]
    assert not wrong, "\n".join(map(str, wrong))


@define
class _Peer:
    url: str
    method: str
    tls: ssl.SSLContext | None

    async def send(self, attack: Attack, headers: Mapping[str, str]) -> Replay:
        began_s = time.monotonic()
        status, gave_up = None, False
        try:
            async with asyncio.timeout(QUIET_S if attack.stalls else ANSWER_S):
                status = await self._exchange(attack, headers)
        except TimeoutError:
            gave_up = True
        except (OSError, asyncio.IncompleteReadError):
            pass  # the node ended the connection, which is an answer too
        return Replay(attack.name, status, time.monotonic() - began_s, gave_up)

    async def _exchange(self, attack: Attack, headers: Mapping[str, str]) -> int | None:
        parts = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port, ssl=self.tls, server_hostname=self._name(parts.hostname)
        )
        try:
            # A node may answer, and close, before all of it was sent.
            with suppress(OSError):
                writer.write(self._head(attack, headers) + attack.body)
                await writer.drain()
            line = await reader.readline()
            return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else None
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _name(self, host: str | None) -> str | None:
        return host if self.tls else None

    def _head(self, attack: Attack, headers: Mapping[str, str]) -> bytes:
        parts = urlsplit(self.url)
        fields = {"Host": parts.netloc, "Content-Type": attack.content_type, "Connection": "close"}
        if attack.chunked:
            fields["Transfer-Encoding"] = "chunked"
        else:
            claimed = len(attack.body) if attack.claimed_bytes is None else attack.claimed_bytes
            fields["Content-Length"] = str(claimed)
        fields |= {**headers, **attack.headers}
        lines = [f"{self.method} {parts.path or '/'} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
