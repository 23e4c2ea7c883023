"""What a currency is in wei, by a Chainlink feed (payments 5.7)."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field, frozen

from podium.chain.contracts import PriceFeedContract
from podium.chain.reader import read
from podium.errors import ChainError, PriceFeedError, RpcUnavailable
from podium.units import WHOLE, WHOLE_WEI

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from podium.chain.abi import Function
    from podium.chain.ports import Rpc

HOUR_S = 3600
RETRY_DELAYS_S = (30.0, 60.0, 120.0, 240.0)
"""Between the five tries of one refresh."""

READ_TIMEOUT_S = 10.0
STALE_AFTER_S = 25 * HOUR_S
"""A feed tells a new price at least once a day, and an hour passes until we look."""

WITHOUT_FEED: Mapping[str, int] = {"": 1, **WHOLE_WEI}
ETH = "ETH"


@frozen
class Pair:
    """The two sides of a feed, as its description has them: one unit of ``base`` in ``quote``."""

    base: str
    quote: str

    @classmethod
    def parse(cls, description: str) -> Self:
        """Read a description.

        Raises:
            PriceFeedError: it is not one of two currencies.
        """
        sides = [side.strip() for side in description.split("/")]
        if len(sides) != 2 or not all(sides):
            msg = f"aggregator description must be in the format 'FROM / TO' but got: {description}"
            raise PriceFeedError(msg)
        return cls(*sides)

    def __str__(self) -> str:
        return f"{self.base}/{self.quote}"

    def has(self, currency: str) -> bool:
        """Return whether a currency is one of the sides."""
        return currency.upper() in (self.base.upper(), self.quote.upper())


@frozen
class FeedAnswer:
    """A price that the feed told.

    Attributes:
        price: Exact: what one unit of the feed's first currency costs in its second.
        updated_at: Unix seconds, when the feed learned it.
    """

    price: Fraction
    updated_at: int


def _ignore(problem: str) -> None:
    del problem


@define(eq=False)
class PriceFeed:
    """A Chainlink aggregator, read at the start and at each full hour.

    Converts from memory. What it told last holds until it tells something newer: an old price is
    the operator's concern, and better than none.

    Attributes:
        rpc: Where to read.
        address: 20 bytes, the aggregator.
        stale_after_s: From this age on the operator is warned.
        on_problem: Hears in one sentence what is wrong, at each refresh.
        now: Unix seconds.
        sleep: Waits so many seconds.
        answer: The newest price; None before the first.
    """

    rpc: Rpc
    address: bytes
    stale_after_s: float = STALE_AFTER_S
    on_problem: Callable[[str], None] = _ignore
    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    answer: FeedAnswer | None = field(default=None, init=False)
    _pair: Pair | None = field(default=None, init=False)
    _decimals: int = field(default=0, init=False)

    @property
    def pair(self) -> Pair | None:
        """Its currencies; None before :meth:`start`."""
        return self._pair

    @property
    def age_s(self) -> float | None:
        """Seconds since the feed learned its price; None without one."""
        return None if self.answer is None else max(0.0, self.now() - self.answer.updated_at)

    @property
    def stale(self) -> bool:
        """Whether the price is too old to be trusted without a look; also without any."""
        return self.age_s is None or self.age_s > self.stale_after_s

    async def start(self, *currencies: str) -> None:
        """Read the feed.

        Args:
            currencies: Those that will be converted: refused now rather than at the first job.

        Raises:
            PriceFeedError: it is no feed for ETH and these currencies.
            ChainError: it could not be read.
        """
        await self._look()
        for currency in currencies:
            self.wei(Fraction(1), currency)

    async def run(self) -> None:
        """Read it again at each full hour, until cancelled. Trouble is reported, and passes."""
        while True:
            await self.sleep(HOUR_S - self.now() % HOUR_S)
            await self.refresh()
            if self.stale and self.age_s is not None:
                self.on_problem(f"the price feed's price is {self.age_s / HOUR_S:.0f} hours old")

    async def refresh(self) -> bool:
        """Read the price until there is a newer one, up to five times; return whether there was.

        An unchanged price is usual: feeds write a new one when it has moved, or once a day.
        """
        problem: ChainError | None = None
        for delay_s in (*RETRY_DELAYS_S, None):
            try:
                if await self._look():
                    return True
                problem = None
            except ChainError as error:
                problem = error
            if delay_s is not None:
                await self.sleep(delay_s)
        if problem is not None:
            self.on_problem(f"the price feed could not be read: {problem}")
        return False

    async def _look(self) -> bool:
        """Read once; return whether there was something newer."""
        if self._pair is None:
            pair = Pair.parse(await self._read(PriceFeedContract.description))
            self._decimals = await self._read(PriceFeedContract.decimals)
            self._pair = pair
        _, answer, _, updated_at, _ = await self._read(PriceFeedContract.latest)
        if self.answer is not None and updated_at <= self.answer.updated_at:
            return False
        if answer <= 0 or updated_at <= 0:
            msg = f"the price feed answers {answer}, which is no price"
            raise PriceFeedError(msg)
        self.answer = FeedAnswer(Fraction(answer, 10**self._decimals), updated_at)
        return True

    async def _read(self, function: Function) -> Any:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await read(self.rpc, self.address, function)
        except TimeoutError as error:
            msg = f"the price feed did not answer within {READ_TIMEOUT_S:g} s"
            raise RpcUnavailable(msg) from error

    def wei(self, amount: Fraction, currency: str) -> Fraction:
        """Return what an amount of a currency is in wei, exactly.

        Args:
            amount: In units of the currency.
            currency: Upper or lower case are the same.

        Raises:
            PriceFeedError: the feed was never read, or is not for this currency.
        """
        whole = WITHOUT_FEED.get(currency.lower())
        if whole is not None:
            return amount * whole
        if self.answer is None or self._pair is None:
            msg = "PriceFeedWatcher is not initialized"
            raise PriceFeedError(msg)
        for wanted in (ETH, currency.upper()):
            if not self._pair.has(wanted):
                msg = f"price feed does not have {wanted} as a currency ({self._pair})"
                raise PriceFeedError(msg)
        price = self.answer.price
        in_eth = amount / price if self._pair.base.upper() == ETH else amount * price
        return in_eth * WHOLE
