"""A task that looks again and again whether something is to be done, until it is."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod

from attrs import define, field, frozen

from podium.errors import ChainError, PodiumError

logger = logging.getLogger("podium.protocol")


@frozen
class Pace:
    """How often a keeper looks.

    Attributes:
        check_s: Seconds between looks at the views, which cost nothing.
        verify_s: Seconds after which the chain is asked whatever the views say.
        retry_s: Seconds before the second try; doubles with each failure.
        max_retry_s: The longest such wait.
        attempt_s: What one try may take in all; a transaction that is not mined by then stays
            under way, and the next try waits for it.
    """

    check_s: float = 5.0
    verify_s: float = 300.0
    retry_s: float = 1.0
    max_retry_s: float = 30.0
    attempt_s: float = 600.0

    def retry_after(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row."""
        return min(self.max_retry_s, self.retry_s * 2.0 ** min(failures - 1, 30))


@define(eq=False)
class Keeper(ABC):
    """Runs ``attempt`` whenever the views or the time call for it.

    Level-triggered: what counts is how things are, not which event was seen.

    Attributes:
        pace: How often.
        failures: Tries that failed in a row.
        errors: Tries that failed, in all.
        last_error: Why the newest one did; empty after one that did not.
    """

    pace: Pace = field(factory=Pace, kw_only=True)
    failures: int = field(default=0, init=False)
    errors: int = field(default=0, init=False)
    last_error: str = field(default="", init=False)
    _wake: asyncio.Event = field(factory=asyncio.Event, init=False, repr=False)
    _verified_at: float | None = field(default=None, init=False)

    @abstractmethod
    def wanted(self) -> bool:
        """Return whether something seems to be to do, from memory.

        Raises:
            ChainError: it is not known yet.
        """

    @abstractmethod
    async def attempt(self) -> None:
        """Ask the chain, and do it if it is to do.

        Raises:
            PodiumError: it failed; another try follows.
        """

    def failed(self, error: PodiumError) -> None:
        """Hear that a try failed."""
        del error

    def wake(self) -> None:
        """Look now: a round began, or the chain changed its mind."""
        self._wake.set()

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            pause_s = await self._guarded_check()
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _guarded_check(self) -> float:
        """Look once; what nobody has thought of must not end the looking."""
        try:
            return await self.check()
        except Exception as fault:
            logger.exception("a look failed")
            self.failures += 1
            self.errors += 1
            self.last_error = repr(fault)
            return self.pace.retry_after(self.failures)

    async def check(self) -> float:
        """Look once; return the seconds until the next look."""
        try:
            if self._is_wanted():
                async with asyncio.timeout(self.pace.attempt_s):
                    await self.attempt()
                self._verified_at = asyncio.get_running_loop().time()
        except (PodiumError, TimeoutError) as error:
            self._note(error)
            return self.pace.retry_after(self.failures)
        self.failures, self.last_error = 0, ""
        return self.pace.check_s

    def _is_wanted(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._verified_at is None or now - self._verified_at >= self.pace.verify_s:
            return True
        return self.wanted()

    def _note(self, error: PodiumError | TimeoutError) -> None:
        if isinstance(error, TimeoutError):
            error = ChainError(f"not done within {self.pace.attempt_s:g} s")
        self.failures += 1
        self.errors += 1
        self.last_error = str(error)
        self.failed(error)
