"""Where in the pool of orchestrators a changed stake will stand (payments 7.3).

The BondingManager keeps its pool as a list sorted by stake. Whoever changes a stake may say
between which two neighbours it then belongs. A wrong hint costs gas for a search, nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from podium.chain.contracts import BondingManager
from podium.crypto import ZERO_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.protocol.reading import BlockReader

SHARE_DIVISOR = 10**9
"""100 % in the Minter."""

TREASURY_DIVISOR = 10**27
"""100 % of the treasury's cut."""


@frozen
class Hints:
    """The neighbours of a place in the pool.

    Attributes:
        previous: 20 bytes, who has more stake; zeros: nobody.
        following: 20 bytes, who has less; zeros: nobody.
    """

    previous: bytes = ZERO_ADDRESS
    following: bytes = ZERO_ADDRESS


NO_HINTS = Hints()


@frozen
class Pool:
    """The pool at one block.

    Attributes:
        members: Address and total stake of each, most stake first.
        max_size: How many find a place.
    """

    members: Sequence[tuple[bytes, int]] = ()
    max_size: int = 0

    def __contains__(self, address: bytes) -> bool:
        return any(member == address for member, _ in self.members)

    @property
    def full(self) -> bool:
        """Whether a newcomer has to have more stake than the last one."""
        return len(self.members) >= self.max_size

    @property
    def least_stake(self) -> int:
        """Stake that a newcomer has to exceed; 0 while there is room."""
        return self.members[-1][1] if self.full and self.members else 0

    def hints(self, address: bytes, stake: int) -> Hints:
        """Predict the neighbours of an orchestrator once it has this stake in total.

        Without hints where it finds no place, or stands alone.
        """
        others = [member for member in self.members if member[0] != address]
        if address not in self and self.full:
            if stake <= self.least_stake:
                return NO_HINTS
            others.pop()  # it makes room
        above = [member for member, other in others if other >= stake]
        below = [member for member, other in others if other < stake]
        return Hints(
            previous=above[-1] if above else ZERO_ADDRESS,
            following=below[0] if below else ZERO_ADDRESS,
        )


async def read_pool(read: BlockReader, bonding_manager: bytes) -> Pool:
    """Walk through the pool as it is at the reader's block.

    Raises:
        ChainError: it could not be read.
    """
    max_size: int = await read(bonding_manager, BondingManager.pool_max_size)
    addresses: list[bytes] = []
    found = await read(bonding_manager, BondingManager.first_in_pool)
    while found != ZERO_ADDRESS and len(addresses) < max_size:
        addresses.append(found)
        found = await read(bonding_manager, BondingManager.next_in_pool, found)
    stakes = await read.each(
        (bonding_manager, BondingManager.total_stake, address) for address in addresses
    )
    return Pool(tuple(zip(addresses, stakes, strict=True)), max_size)


def predict_reward(mintable: int, stake: int, total_active: int, treasury_rate: int = 0) -> int:
    """Return what ``reward`` will add to an orchestrator's stake (contracts 5.3).

    Args:
        mintable: LPTU that the round mints.
        stake: LPTU that counts in this round, in total.
        total_active: The same of all active orchestrators; 0: nothing is minted.
        treasury_rate: The treasury's cut, in parts of 10**27.
    """
    if not total_active:
        return 0
    share = stake * SHARE_DIVISOR // total_active
    total = mintable * share // SHARE_DIVISOR
    return total - total * treasury_rate // TREASURY_DIVISOR
