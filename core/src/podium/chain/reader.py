"""Reads contracts, at a block of one's choice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from attrs import fields, frozen

from podium.chain.contracts import Controller, contract_id
from podium.crypto import ZERO_ADDRESS, checksum_address
from podium.errors import WrongChain

if TYPE_CHECKING:
    from podium.chain.abi import Function
    from podium.chain.ports import Rpc


@frozen
class Addresses:
    """Where the contracts are; 20 bytes each."""

    controller: bytes
    bonding_manager: bytes
    ticket_broker: bytes
    rounds_manager: bytes
    service_registry: bytes
    minter: bytes
    livepeer_token: bytes

    @classmethod
    async def load(cls, rpc: Rpc, controller: bytes) -> Self:
        """Ask the Controller.

        Raises:
            WrongChain: there is no Controller at this address, or one without a contract.
            ChainError: it could not be asked.
        """
        if await rpc.call("eth_getCode", checksum_address(controller), "latest") == "0x":
            msg = (
                f"there is no contract at {checksum_address(controller)} on this chain:"
                " check chain.network, chain.controller and chain.rpc_urls"
            )
            raise WrongChain(msg)
        names = [attribute.name for attribute in fields(cls)][1:]
        ids = [contract_id(name.title().replace("_", "")) for name in names]
        found = await asyncio.gather(
            *(read(rpc, controller, Controller.get_contract, each) for each in ids)
        )
        missing = [n for n, address in zip(names, found, strict=True) if address == ZERO_ADDRESS]
        if missing:
            msg = f"the Controller {checksum_address(controller)} has no {', '.join(missing)}"
            raise WrongChain(msg)
        return cls(controller, *found)


async def read(
    rpc: Rpc, contract: bytes, function: Function, *arguments: Any, block: int | None = None
) -> Any:
    """Call a function that changes nothing and return what it returns.

    Args:
        rpc: Where.
        contract: 20 bytes.
        function: Declared in :mod:`podium.chain.contracts`.
        arguments: Its arguments; addresses as 20 bytes.
        block: Number of the block to read at; None: the endpoint's newest. With a number, an
            endpoint that lags behind gives no stale answer: it fails, and another is asked.

    Raises:
        Reverted: the contract refuses.
        ChainError: it could not be asked, or answered something else.
    """
    call = {
        "to": checksum_address(contract),
        "data": "0x" + function.encode(*arguments).hex(),
    }
    tag = "latest" if block is None else hex(block)
    answer = await rpc.call("eth_call", call, tag)
    return function.decode(bytes.fromhex(answer[2:]))
