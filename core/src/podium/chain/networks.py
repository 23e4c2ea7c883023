"""Networks that are known by name, and the chain's id, which must stay the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

from podium.errors import ConfigInvalid, WrongChain

if TYPE_CHECKING:
    from podium.chain.ports import HeadStore, Rpc

OFFCHAIN = "offchain"
DEVNET = "devnet"
L2_REDEEM_GAS = 1_200_000
"""Gas that a redemption is reckoned with on Arbitrum, where L1 data costs too."""

REDEEM_GAS = 350_000
_GWEI = 10**9
_CHAIN_ID = "chain_id"


@frozen(kw_only=True)
class Network:
    """A network, and what is particular to it.

    Attributes:
        name: As configured.
        chain_id: What its endpoints have to answer; None: whatever the first one says.
        controller: 20 bytes; None off chain.
        redeem_gas: Units of gas that tickets allow for a redemption.
        min_gas_price_wei: Gas never counts as cheaper.
        poll_interval_s: Between two looks for a new block.
        confirmations: Blocks after which a transaction counts as final.
        price_feed: 20 bytes, the Chainlink aggregator of ETH in USD; None: none is known.
        ai_registry: 20 bytes, the service registry of AI orchestrators; None: none is known.
    """

    name: str
    chain_id: int | None = None
    controller: bytes | None = None
    redeem_gas: int = REDEEM_GAS
    min_gas_price_wei: int = 0
    poll_interval_s: float = 5.0
    confirmations: int = 3
    price_feed: bytes | None = None
    ai_registry: bytes | None = None

    @property
    def on_chain(self) -> bool:
        """Whether there is a chain at all."""
        return self.name != OFFCHAIN

    @property
    def never_idle(self) -> bool:
        """Whether it is known to make blocks all the time, as public networks do."""
        return self.chain_id is not None and self.name != DEVNET


def _address(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


PRESETS = (
    Network(name=OFFCHAIN),
    Network(name=DEVNET, chain_id=31337, poll_interval_s=0.5, confirmations=1),
    Network(
        name="arbitrum-one-mainnet",
        chain_id=42161,
        controller=_address("0xD8E8328501E9645d16Cf49539efC04f734606ee4"),
        redeem_gas=L2_REDEEM_GAS,
        confirmations=10,
        price_feed=_address("0x639Fe6ab55C921f74e7fac1ee960C0B6293ba612"),
        ai_registry=_address("0x04C0b249740175999E5BF5c9ac1dA92431EF34C5"),
    ),
    Network(name="arbitrum-sepolia", chain_id=421614, redeem_gas=L2_REDEEM_GAS, confirmations=10),
    Network(
        name="mainnet",
        chain_id=1,
        controller=_address("0xf96d54e490317c557a967abfa5d6e33006be69b3"),
        min_gas_price_wei=_GWEI,
    ),
    Network(
        name="arbitrum-one-rinkeby",
        chain_id=421611,
        controller=_address("0x9ceC649179e2C7Ab91688271bcD09fb707b3E574"),
        redeem_gas=L2_REDEEM_GAS,
        confirmations=10,
    ),
    Network(
        name="rinkeby",
        chain_id=4,
        controller=_address("0x9a9827455911a858E55f07911904fACC0D66027E"),
    ),
)


def find_network(name: str, controller: bytes | None = None) -> Network:
    """Return the network of a name; names that are not known get what is usual.

    Args:
        name: As configured.
        controller: 20 bytes, instead of the one that is known.

    Raises:
        ConfigInvalid: its Controller is neither given nor known.
    """
    preset = next((each for each in PRESETS if each.name == name), Network(name=name))
    if not preset.on_chain:
        return preset
    found = evolve(preset, controller=controller or preset.controller)
    if found.controller is None:
        problem = f'chain.controller: must be given, none is known for network "{name}"'
        raise ConfigInvalid([problem])
    return found


async def settle_chain_id(rpc: Rpc, store: HeadStore, network: Network) -> int:
    """Return the chain's id, and remember it: with one data folder it must stay the same.

    Raises:
        WrongChain: it is another than the network's, or than last time.
        ChainError: the chain could not be asked.
    """
    answer = await rpc.call("eth_chainId")
    try:
        found = int(answer, 16)
    except (TypeError, ValueError) as error:
        msg = "the endpoint answers no chain id: check chain.rpc_urls"
        raise WrongChain(msg) from error
    if network.chain_id not in {None, found}:
        msg = (
            f'network "{network.name}" is chain {network.chain_id}, and the endpoint serves chain'
            f" {found}: check chain.network and chain.rpc_urls"
        )
        raise WrongChain(msg)
    known = await store.get(_CHAIN_ID)
    if known not in {None, str(found)}:
        msg = (
            f"this data folder was used with chain {known}, and this is chain {found}:"
            " use another folder for another network"
        )
        raise WrongChain(msg)
    await store.put_value(_CHAIN_ID, str(found))
    return found
