"""The answer to a BYOC job: statuses, balances, and streams that end well (byoc 2.3, 2.4)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attrs import define
from podium_hookspecs import BadInput, BudgetExhausted, Busy, Chunk, JobTimeout, PluginError

from podium.web.answer import EVENT, METADATA, header_value, status_of
from podium.web.asgi import PLAIN_TEXT
from podium.wire.byoc import decimal

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction

    from podium_hookspecs import Output

    from podium.errors import PodiumError
    from podium.web.asgi import Send

DONE = b"[DONE]"
MAX_LINE_BYTES = 2**20
FAILED = "job not able to be processed, removing capability err="
NO_BALANCE = b'event: insufficient balance\ndata: {"balance": 0}\n\ndata: [DONE]\n\n'
FIRST_BAD_STATUS = 400


@define(eq=False)
class Lines:
    """Cuts a stream of events into whole lines, up to the one that ends it."""

    done: bytes = b""
    """The line that says so, once it was seen; what follows it is dropped."""
    _rest: bytes = b""

    def feed(self, data: bytes) -> bytes:
        """Return what may be passed on."""
        if self.done:
            return b""
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        whole, self._rest = data[:end], data[end:]
        if DONE in whole:
            begin = whole.rfind(b"\n", 0, whole.index(DONE)) + 1
            self.done, self._rest = whole[begin:].split(b"\n", 1)[0] + b"\n", b""
            return whole[:begin]
        if len(self._rest) > MAX_LINE_BYTES:
            whole, self._rest = whole + self._rest, b""
        return whole

    def end(self) -> bytes:
        """Return what was left without a line's end, as a line."""
        rest, self._rest = self._rest, b""
        if DONE in rest:
            self.done = rest + b"\n"
            return b""
        return rest + b"\n" if rest else b""


@define(eq=False)
class JobAnswer:
    """The answer to one job, from its first chunk or error on.

    Args:
        send: From ASGI.
        balance: Returns the sender's balance; set once the job is accepted, so that refusals
            carry none.
        timeout_s: The job's, for the text of its end.
    """

    send: Send
    balance: Callable[[], Fraction | int] | None = None
    timeout_s: float = 0.0
    started: bool = False
    _lines: Lines | None = None
    _held: Chunk | None = None

    async def deliver(self, output: Output) -> None:
        """Pass one output on; a first chunk of a body waits to learn whether it is the only one."""
        if not isinstance(output, Chunk):
            await self._end()
        elif self._lines is not None:
            await self._event(output.data)
        elif self.started:
            await self._body(output.data)
        elif output.kind == EVENT:
            self._lines = Lines()
            await self._start_events(output)
            await self._event(output.data)
        elif self._held is None:
            self._held = output
        else:
            held, self._held = self._held, None
            await self._start(held)
            await self._body(held.data)
            await self._body(output.data)

    async def refuse(self, error: PluginError | PodiumError) -> None:
        """Answer with an error; once a stream of events has begun, say so in it and end it."""
        if self._lines is not None:
            await self._end_events(self._last_event(error))
        elif not self.started:
            await self._text(*self._status_of(error))
        # A body that began is left unfinished: the server cuts the connection or resets the
        # stream, so nobody takes half an answer for a whole one.

    def _status_of(self, error: PluginError | PodiumError) -> tuple[int, str]:
        if self.balance is None or not isinstance(error, PluginError):
            return status_of(error)
        if isinstance(error, BadInput | Busy):
            return status_of(error)
        return 500, f"{FAILED}{self._reason(error)}"

    def _reason(self, error: PluginError | PodiumError) -> str:
        if isinstance(error, JobTimeout):
            return f"no end within {self.timeout_s:g} s"
        return error.public if isinstance(error, PluginError) else "internal error"

    def _last_event(self, error: PluginError | PodiumError) -> bytes:
        if isinstance(error, BudgetExhausted):
            return NO_BALANCE
        kind = "timeout" if isinstance(error, JobTimeout) else "error"
        text = json.dumps({"error": self._reason(error)})
        return f"event: {kind}\ndata: {text}\n\n".encode()

    @property
    def _balance(self) -> Fraction | int:
        return 0 if self.balance is None else self.balance()

    async def _text(self, status: int, text: str) -> None:
        body = text.encode(errors="replace") + b"\n"
        await self._begin(status, [*PLAIN_TEXT, *self._balance_header()], len(body))
        await self._body(body, more=False)

    def _balance_header(self) -> list[tuple[bytes, bytes]]:
        if self.balance is None:
            return []
        return [(b"livepeer-balance", decimal(self._balance).encode())]

    async def _start(self, first: Chunk, size_bytes: int | None = None) -> None:
        """Begin an answer that is not a stream of events; statuses below 400 become 200."""
        status = int(first.attributes.get("status", "200"))
        if bad := status >= FIRST_BAD_STATUS:
            headers = list(PLAIN_TEXT)
        else:
            headers = [(b"content-type", header_value(first.content_type))]
        headers += [*self._balance_header(), _metadata(first)]
        await self._begin(status if bad else 200, headers, size_bytes)

    async def _start_events(self, first: Chunk) -> None:
        headers = [
            (b"content-type", header_value(first.content_type)),
            (b"cache-control", b"no-cache"),
            (b"livepeer-payment-balance", decimal(self._balance).encode()),
            _metadata(first),
        ]
        await self._begin(200, headers)

    async def _begin(
        self, status: int, headers: list[tuple[bytes, bytes]], size_bytes: int | None = None
    ) -> None:
        self.started = True
        if size_bytes is not None:
            headers.append((b"content-length", str(size_bytes).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, data: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def _event(self, data: bytes) -> None:
        assert self._lines is not None
        if whole := self._lines.feed(data):
            await self._body(whole)
        elif not data:
            await self._body(b"")  # the headers leave, though there is no event yet

    async def _end(self) -> None:
        if self._lines is not None:
            await self._end_events()
        elif self.started:
            await self._body(b"", more=False)
        else:
            only, self._held = self._held or Chunk(b""), None
            # A refusal ends in a newline, as the network's do.
            bad = int(only.attributes.get("status", "200")) >= FIRST_BAD_STATUS
            data = only.data + b"\n" if bad else only.data
            await self._start(only, len(data))
            await self._body(data, more=False)

    async def _end_events(self, last: bytes = b"") -> None:
        """End a stream of events: what is left of it, why it ends, the balance, the end."""
        lines = self._lines
        assert lines is not None
        rest = lines.end()
        if last is NO_BALANCE:
            await self._body(rest + last, more=False)
            return
        balance = f'data: {{"balance": {decimal(self._balance, 3)}}}\n\n\n'.encode()
        done = (lines.done or b"data: [DONE]\n") + b"\n"
        last = b"" if lines.done else last
        await self._body(rest + last + balance + done, more=False)


def _metadata(chunk: Chunk) -> tuple[bytes, bytes]:
    return METADATA.encode(), header_value(chunk.attributes.get(METADATA, ""))
