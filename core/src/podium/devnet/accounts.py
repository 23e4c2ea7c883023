"""Named accounts with keys that everybody knows: worthless outside a devnet."""

from __future__ import annotations

from attrs import field, frozen

from podium.crypto import KeySigner, checksum_address, keccak256

ETHER = 10**18
FUNDS_WEI = 10_000 * ETHER

STAKEHOLDERS = ("orchestrator", "orchestrator2", "delegator")
"""Those who start with LPT."""

STAKE_LPTU = 100_000 * ETHER
SUPPLY_LPTU = 10_000_000 * ETHER
"""What the deployer holds, so that one orchestrator's stake is not the whole supply."""

NAMES = (
    "deployer",
    *STAKEHOLDERS,
    "redeemer",
    "rewarder",
    "gateway",
    "gateway2",
    "gateway3",
)


@frozen
class Account:
    """A throwaway account.

    Attributes:
        name: Its name on the devnet.
        key: 32 bytes, derived from the name.
        address: 20 bytes.
    """

    name: str
    key: bytes = field(repr=False)
    address: bytes

    @classmethod
    def named(cls, name: str) -> Account:
        """Derive the account of a name; the same on every devnet."""
        key = keccak256(f"podium devnet {name}".encode())
        return cls(name, key, KeySigner(key).address)

    @property
    def text(self) -> str:
        """The address as EIP-55 text."""
        return checksum_address(self.address)


def named_accounts() -> dict[str, Account]:
    """Return the accounts that every devnet funds."""
    return {name: Account.named(name) for name in NAMES}
