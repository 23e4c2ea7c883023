"""What gas costs: now, for what is sent now; and smoothed, for what is redeemed later."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from statistics import median_low
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from podium.chain.blocks import quantity
from podium.errors import ChainError, RpcError

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.chain.ports import Rpc

logger = logging.getLogger("podium.chain")

_BLOCKS = 100
_FIRST_BLOCKS = 1000
_FIRST_SAMPLES = 10
_MAX_BACK_OFF_S = 60.0


@frozen
class _Sample:
    """A price that was typical for some blocks."""

    wei: int
    at: float


@define
class GasMonitor:
    """Asks for gas prices now and then.

    Tickets that are issued now are redeemed in minutes to days, so what they allow for gas comes
    from the median of the last half hour: a spike changes no price and refuses no work. What is
    sent now looks at the price of now.

    Attributes:
        rpc: Where.
        min_wei: Gas never counts as cheaper.
        max_wei: The operator's limit for what is sent; 0: none. Prices are told as they are.
        poll_interval_s: Between two looks.
        window_s: How long a price counts in the median.
    """

    rpc: Rpc
    min_wei: int = 0
    max_wei: int = 0
    poll_interval_s: float = 5.0
    window_s: float = 1800.0
    _clock: Callable[[], float] = field(default=time.monotonic, alias="clock", kw_only=True)
    _price: int | None = field(init=False, default=None)
    _asked_at: float | None = field(init=False, default=None)
    _samples: deque[_Sample] = field(init=False, factory=deque, repr=False)
    _smoothed: int | None = field(init=False, default=None)

    @property
    def wei(self) -> int:
        """Smoothed price of one unit of gas, for tickets; 0 until it is known."""
        return 0 if self._smoothed is None else max(self._smoothed, self.min_wei)

    @property
    def current_wei(self) -> int:
        """The price of one unit of gas now; 0 until it is known."""
        return 0 if self._price is None else max(self._price, self.min_wei)

    @property
    def is_too_high(self) -> bool:
        """Whether gas costs more now than the operator allows."""
        return bool(self.max_wei) and self.current_wei > self.max_wei

    @property
    def age_s(self) -> float | None:
        """Seconds since the chain told the price; None: never yet."""
        return None if self._asked_at is None else self._clock() - self._asked_at

    async def refresh(self) -> None:
        """Look once.

        Raises:
            ChainError: the chain could not be asked. What was known stays.
        """
        blocks = _BLOCKS if self._samples else _FIRST_BLOCKS
        answer, base_fees = await asyncio.gather(
            self.rpc.call("eth_gasPrice"), self._base_fees(blocks)
        )
        self._price = price = quantity(answer)
        self._asked_at = now = self._clock()
        # The last fee is the next block's: the one before belongs to the price.
        tip = max(0, price - base_fees[-2]) if len(base_fees) > 1 else 0
        for piece in _pieces(base_fees, 1 if self._samples else _FIRST_SAMPLES) or [[price]]:
            self._samples.append(_Sample(median_low(piece) + (tip if base_fees else 0), now))
        while self._samples[0].at < now - self.window_s:
            self._samples.popleft()
        self._smoothed = median_low(sample.wei for sample in self._samples)

    async def run(self) -> None:
        """Look until cancelled. Trouble is logged once, and tried again."""
        failures = 0
        while True:
            try:
                await self.refresh()
            except ChainError as error:
                failures += 1
                if failures == 1:
                    logger.warning("the gas price is not known anew: %s", error)
            else:
                failures = 0
            wait_s = min(self.poll_interval_s * 2 ** min(failures, 10), _MAX_BACK_OFF_S)
            await asyncio.sleep(max(self.poll_interval_s, wait_s))

    async def _base_fees(self, blocks: int) -> list[int]:
        """Return the base fees of the newest blocks and the next; none where there are none."""
        try:
            answer = await self.rpc.call("eth_feeHistory", hex(blocks), "latest", [])
        except RpcError:
            return []  # a chain, or an endpoint, that knows no fee history
        fees = answer.get("baseFeePerGas") if isinstance(answer, dict) else None
        found = [quantity(fee) for fee in fees] if isinstance(fees, list) else []
        return found if any(found) else []


def _pieces(values: list[Any], count: int) -> list[list[Any]]:
    """Split values into at most so many pieces, in order; none is empty."""
    size = max(1, -(-len(values) // count))
    return [values[start : start + size] for start in range(0, len(values), size)]
