"""How one plugin conducts itself, and what follows from it.

What goes wrong once is told. What goes wrong again and again degrades the plugin, and then
withdraws what it offers for a while, longer each time. A plugin is never withdrawn for what a
single peer can bring about.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import Busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAULTS_TO_DEGRADE = 3
"""Jobs in a row that ended by a fault of the plugin's own."""
FAULTS_TO_WITHDRAW = 10
STRIKES_TO_DEGRADE = 10
"""Hooks that took too long, or blocked the loop."""
STRIKES_TO_WITHDRAW = 30
FORGIVEN_AFTER = 100
"""Good calls in a row that make up for the bad ones."""
FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 600.0
MAX_TROUBLES = 10
MAX_REASON_CHARS = 300
NO_CAPACITY = "insufficient capacity"


def call_later(delay_s: float, func: Callable[[], None]) -> object:
    """Call a function on the loop that runs."""
    return asyncio.get_running_loop().call_later(delay_s, func)


@define(eq=False)
class Ward:
    """One plugin in use.

    Args:
        plugin: Its name.
        changed: Told when the state has changed.
        job_timeout_s: What the operator lets one of its jobs run; None: what it asks for.
        max_output_bytes: What one of its jobs may give back.
        later: Calls something after some seconds.

    Attributes:
        troubles: What is wrong now, by what it is about.
        withdrawn: Why nothing of it is offered for a while; empty when it is.
        closed: It is being replaced, or it is gone: no new jobs.
    """

    plugin: str
    changed: Callable[[Ward], None]
    job_timeout_s: float | None = None
    max_output_bytes: int = 2**62
    later: Callable[[float, Callable[[], None]], object] = call_later
    troubles: dict[str, str] = field(factory=dict, init=False)
    withdrawn: str = field(default="", init=False)
    closed: bool = field(default=False, init=False)
    _held: int = field(default=0, init=False)
    _idle: asyncio.Event = field(factory=asyncio.Event, init=False)
    _faults: int = field(default=0, init=False)
    _senders: set[bytes] = field(factory=set, init=False)
    _strikes: int = field(default=0, init=False)
    _good_calls: int = field(default=0, init=False)
    _pauses: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._idle.set()

    @property
    def reason(self) -> str:
        """What an operator reads."""
        return self.withdrawn or "; ".join(self.troubles.values())

    # What it is doing

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the plugin open while a job needs it.

        Raises:
            Busy: it is gone.
        """
        if self.closed and not self._held:
            raise Busy(f"plugin {self.plugin} is being replaced", public=NO_CAPACITY)
        self._held += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._held -= 1
            if not self._held:
                self._idle.set()

    async def idle(self, timeout_s: float) -> bool:
        """Wait until no job needs it; False when the time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    # What is wrong with it

    def trouble(self, about: str, reason: str) -> None:
        """Note that something is wrong."""
        text = reason if len(reason) <= MAX_REASON_CHARS else reason[:MAX_REASON_CHARS] + "..."
        if self.troubles.get(about) == text:
            return
        if about in self.troubles or len(self.troubles) < MAX_TROUBLES:
            self.troubles[about] = text
            self.changed(self)

    def clear(self, *about: str) -> None:
        """Note that something is well again; without a name, everything."""
        gone = [key for key in about or list(self.troubles) if self.troubles.pop(key, None)]
        if gone:
            self.changed(self)

    def fault(self, what: str, reason: str, sender: bytes | None = None) -> None:
        """Count a job that ended by a fault of the plugin's own.

        Args:
            what: Where: ``run``, ``require``, ...
            reason: What it was.
            sender: Whose job it was, 20 bytes; zeros off chain, where all peers are trusted.
        """
        self._faults += 1
        if sender is not None and len(self._senders) < 2:
            self._senders.add(sender)
        if self._faults >= FAULTS_TO_DEGRADE:
            times = f"{min(self._faults, FAULTS_TO_WITHDRAW)} or more jobs in a row failed"
            self.trouble("jobs", f"{times}, the last one in {what}: {reason}")
        # One peer whose input breaks the plugin must not take it away from all others.
        several = len(self._senders) > 1 or not any(map(any, self._senders))
        if self._faults >= FAULTS_TO_WITHDRAW and self._senders and several:
            self._withdraw(f"its jobs fail, the last one in {what}: {reason}")

    def worked(self) -> None:
        """Count a job that ended well."""
        if self._faults or self._pauses:
            self._faults, self._pauses = 0, 0
            self._senders.clear()
            self.clear("jobs")

    def strike(self, about: str, reason: str, weight: int = 1) -> None:
        """Count a call that was bad for the whole node."""
        self._strikes += weight
        self._good_calls = 0
        if self._strikes >= STRIKES_TO_DEGRADE:
            self.trouble(about, reason)
        if self._strikes >= STRIKES_TO_WITHDRAW:
            self._withdraw(reason)

    def good(self, about: str) -> None:
        """Count a call that was as it should be."""
        if not self._strikes:
            return
        self._good_calls += 1
        if self._good_calls >= FORGIVEN_AFTER:
            self._strikes = self._good_calls = self._pauses = 0
            self.clear(about)

    def _withdraw(self, reason: str) -> None:
        if self.withdrawn or self.closed:
            return
        pause_s = min(FIRST_PAUSE_S * 2**self._pauses, LONGEST_PAUSE_S)
        self._pauses += 1
        self.withdrawn = f"withdrawn for {pause_s:g} s: {reason}"[:MAX_REASON_CHARS]
        self.changed(self)
        self.later(pause_s, self._try_again)

    def _try_again(self) -> None:
        """Offer it again; the next thing that goes wrong withdraws it for longer."""
        self.withdrawn = ""
        self._faults = min(self._faults, FAULTS_TO_WITHDRAW - 1)
        self._strikes = min(self._strikes, STRIKES_TO_WITHDRAW - 1)
        self.changed(self)
