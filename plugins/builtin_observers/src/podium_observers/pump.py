"""From the node's events to a sink: a bounded queue that never holds the node up."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections import deque
from typing import TYPE_CHECKING

from attrs import define, field, frozen, validators

from podium_observers.record import Record
from podium_observers.sink import SinkError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from podium_hookspecs import Event, Log, PluginContext

    from podium_observers.sink import Sink

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
STUCK_S = 0.5
"""What a sink may still take once its call is cancelled."""

MAX_FLUSH_S = 4.0
"""The host waits a little longer than this for a plugin's tasks."""


def doc(text: str) -> dict[str, str]:
    """Return the metadata that carries a key's help."""
    return {"help": text}


@frozen(kw_only=True)
class PumpSettings:
    """Keys that the sections of all observers have."""

    queue: int = field(
        default=10_000,
        validator=validators.ge(1),
        metadata=doc("Events that may wait; beyond that the oldest are dropped, and counted."),
    )
    batch: int = field(
        default=100, validator=validators.ge(1), metadata=doc("Events sent at a time.")
    )
    delay_s: float = field(
        default=0.5,
        validator=validators.ge(0),
        metadata=doc("Seconds that an event waits for others to go with it."),
    )
    attempts: int = field(
        default=8,
        validator=validators.ge(1),
        metadata=doc("Tries before a batch is given up; the waits between double, up to 60 s."),
    )
    flush_timeout_s: float = field(
        default=3.0,
        validator=[validators.ge(0), validators.le(MAX_FLUSH_S)],
        metadata=doc("Seconds for what is left when the node stops."),
    )


@frozen
class Counters:
    """What became of events."""

    delivered: Callable[..., None]
    dropped: Callable[..., None]

    @classmethod
    def of(cls, context: PluginContext) -> Counters:
        """Make the plugin's series."""
        return cls(
            context.metrics.counter("delivered_total", "Events that the sink took."),
            context.metrics.counter(
                "dropped_total",
                "Events that were lost, by reason: overflow, refused or stopped.",
                ["reason"],
            ),
        )


@define(eq=False)
class Pump:
    """Feeds one sink. ``put`` never waits; ``run`` is a background task.

    Args:
        sink: Where records go.
        settings: Its bounds.
        counters: Told what became of them.
        log: For the operator.
        now: Unix seconds.
        sleep: Waits between tries.
    """

    sink: Sink
    settings: PumpSettings
    counters: Counters
    log: Log
    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _waiting: deque[Record] = field(factory=deque, init=False)
    _sending: list[Record] = field(factory=list, init=False)
    _call: asyncio.Future[None] | None = field(default=None, init=False)
    _wake: asyncio.Event = field(factory=asyncio.Event, init=False)
    _boot: str = field(factory=lambda: secrets.token_hex(4), init=False)
    _count: int = field(default=0, init=False)

    def put(self, event: Event) -> None:
        """Queue an event; where there is no room the oldest one goes."""
        if len(self._waiting) >= self.settings.queue:
            self._waiting.popleft()
            self.counters.dropped(reason="overflow")
        self._count += 1
        self._waiting.append(Record(f"{self._boot}-{self._count}", self.now(), event))
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled; then flush what is left, for a bounded time."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if len(self._waiting) < self.settings.batch:
                    await self.sleep(self.settings.delay_s)
                while self._take():
                    await self._deliver()
        finally:
            await self._flush()
            await self.sink.close()

    def _take(self) -> bool:
        """Make the next records those in flight; those already in flight stay there."""
        while self._waiting and len(self._sending) < self.settings.batch:
            self._sending.append(self._waiting.popleft())
        return bool(self._sending)

    async def _deliver(self) -> None:
        """Send what is in flight, with tries and waits, until it is taken or given up."""
        for attempt in range(1, self.settings.attempts + 1):
            try:
                await self._send()
            except SinkError as error:
                last = attempt == self.settings.attempts or not error.retry
                if last:
                    self._give_up("refused", str(error))
                    return
                self.log.debug("events could not be sent", attempt=attempt, error=str(error))
                await self.sleep(backoff(attempt))
            else:
                return

    async def _send(self) -> None:
        """Send what is in flight. A stop does not cut this off: the flush waits for its end."""
        if self._call is None:
            self._call = asyncio.ensure_future(self.sink.send(tuple(self._sending)))
        call = self._call
        try:
            await asyncio.shield(call)
        finally:
            if call.done():
                self._call = None
        self.counters.delivered(len(self._sending))
        self._sending.clear()

    def _give_up(self, reason: str, error: str) -> None:
        lost = len(self._sending)
        self.counters.dropped(lost, reason=reason)
        self.log.warning("events were lost", events=lost, reason=reason, error=error)
        self._sending.clear()

    async def _flush(self) -> None:
        """Send what is left, once each: nobody waits for a second try."""
        try:
            async with asyncio.timeout(self.settings.flush_timeout_s):
                if self._call is not None:
                    with contextlib.suppress(SinkError):
                        await self._send()
                while self._take():
                    await self._send()
        except (SinkError, TimeoutError) as error:
            self._sending.extend(self._waiting)
            self._waiting.clear()
            self._give_up("stopped", str(error) or "no time was left")
        if self._call is not None:
            self._call.cancel()
            with contextlib.suppress(SinkError, TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(STUCK_S):
                    await self._call


def backoff(attempt: int) -> float:
    """Return seconds to wait after a failed try: doubling, bounded, and never in step."""
    longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempt - 1, 16))
    return longest * random.uniform(0.5, 1)


def start_pump(context: PluginContext, sink: Sink, settings: PumpSettings) -> Pump:
    """Make a pump and run it in the background of a plugin; call it in a register hook."""
    pump = Pump(sink, settings, Counters.of(context), context.log)
    context.spawn(pump.run(), name="pump")
    return pump
