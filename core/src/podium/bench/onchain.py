"""The chain's part of a node over a devnet, and winning tickets for it; nothing here is timed."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import TicketRedeemed, TransactionEnded

from podium import assembly
from podium.bench.process import BenchError
from podium.config.load import parse_settings
from podium.crypto import KeySigner, checksum_address
from podium.model import MAX_WIN_PROB, TicketState
from podium.payments.params import current_expiration
from podium.payments.ticket import TicketTerms, rand_hash
from podium.stores.sqlite import Database
from podium.wire.payment import TicketParams, TicketSenderParams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from podium_hookspecs import Event

    from podium.devnet import Account, Devnet
    from podium.model import WinningTicket
    from podium.onchain.node import OnChainNode
    from podium.payments.ports import Clock

SENDERS = ("gateway", "gateway2", "gateway3")
ORCHESTRATOR = "orchestrator"
POLL_S = 0.05


@define(eq=False)
class Heard:
    """What the node told, added up.

    Attributes:
        redeemed: Tickets, as the node reports them.
        paid_wei: What they brought.
        transactions: Redeeming transactions that were confirmed.
        gas: Units that they used.
    """

    redeemed: int = 0
    paid_wei: int = 0
    transactions: int = 0
    gas: int = 0
    _wanted: int = 0
    _enough: asyncio.Event = field(factory=asyncio.Event)

    def hear(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, TransactionEnded) and event.purpose == "redeem":
            if event.outcome != "mined":
                return
            self.transactions += 1
            self.gas += event.gas_used
        elif isinstance(event, TicketRedeemed):
            self.redeemed += 1
            self.paid_wei += event.paid or 0
            if self.redeemed >= self._wanted:
                self._enough.set()

    async def reach(self, redeemed: int, timeout_s: float) -> None:
        """Wait until so many tickets are redeemed.

        Raises:
            BenchError: they were not in time.
        """
        self._wanted = redeemed
        self._enough.clear()
        if self.redeemed >= redeemed:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._enough.wait()
        except TimeoutError:
            msg = f"{self.redeemed} of {redeemed} tickets were redeemed within {timeout_s:.0f} s"
            raise BenchError(msg) from None


@define(eq=False)
class Rig:
    """A node's part on a chain, which runs, and the devnet below it."""

    devnet: Devnet
    database: Database
    node: OnChainNode
    heard: Heard

    @property
    def rpc_calls(self) -> int:
        """Requests to the chain so far."""
        return self.node.chain.rpc.calls.total()

    @property
    def chain_cpu_s(self) -> float:
        """Seconds of processor that the devnet took so far; 0 where that cannot be told."""
        process = self.devnet.process
        stat = Path(f"/proc/{process.pid}/stat") if process is not None else None
        if stat is None or not stat.exists():
            return 0.0
        user, system = stat.read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    async def taken_over(self, number: int, timeout_s: float) -> None:
        """Wait until the redeemer has so many tickets that wait for their time.

        Raises:
            BenchError: it did not take them over in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    if self.node.redeemer.summary()[TicketState.PENDING].tickets >= number:
                        return
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            msg = f"the redeemer did not take over {number} tickets within {timeout_s:.0f} s"
            raise BenchError(msg) from None


def prepare(devnet: Devnet, deposit_wei: int, reserve_wei: int) -> None:
    """Register and activate the orchestrator, and give each sender its money."""
    devnet.register_orchestrator(ORCHESTRATOR)
    for name in SENDERS:
        devnet.set_balance(name, 2 * (deposit_wei + reserve_wei))
        devnet.fund_gateway(name, deposit_wei, reserve_wei)
    devnet.next_round()


@asynccontextmanager
async def rigged(devnet: Devnet, folder: Path, batch: int = 0) -> AsyncIterator[Rig]:
    """Run the chain's part of a node.

    Args:
        devnet: Where.
        folder: For its database.
        batch: Tickets of one transaction; 0: as many as without a configuration.
    """
    from podium.chain.signer import LocalSigner
    from podium.onchain.build import OnChainBuilder

    account = devnet.account(ORCHESTRATOR)
    chain = {
        "network": "devnet",
        "rpc_urls": [devnet.rpc_url],
        "controller": checksum_address(devnet.controller),
        "reward": "off",
    }
    settings = parse_settings(
        {
            "node": {"data_dir": str(folder), "log_level": "warning"},
            "account": {"private_key": account.key.hex()},
            "chain": chain | ({"redeem_batch": batch} if batch else {}),
        }
    )
    heard = Heard()
    async with AsyncExitStack() as stack:
        database = await Database.open(folder / "podium.sqlite3")
        stack.push_async_callback(database.close)
        log = assembly.log(settings)
        signer = LocalSigner(account.key)
        node = await OnChainBuilder(
            settings, database, signer, account.address, heard.hear, log, stack
        ).build()
        yield Rig(devnet, database, node, heard)


def make_winners(
    clock: Clock,
    senders: Sequence[Account],
    recipient: bytes,
    *,
    number: int,
    face_value: int,
    expiration_block: int,
    secret: int,
) -> list[WinningTicket]:
    """Return tickets that win for certain, their senders in turn, all signed.

    Args:
        clock: The round that they are bound to.
        senders: Who signs.
        recipient: 20 bytes.
        number: How many.
        face_value: Wei.
        expiration_block: From which they can be redeemed.
        secret: The recipient's randomness; another one for each call.
    """
    expiration = current_expiration(clock)
    made = []
    for place in range(number):
        turn = place % len(senders)
        rand = len(senders) * secret + turn
        params = TicketParams(
            recipient=recipient,
            face_value=face_value,
            win_prob=MAX_WIN_PROB,
            recipient_rand_hash=rand_hash(rand),
            seed=0,
            expiration_block=expiration_block,
            expiration_params=expiration,
        )
        signer = KeySigner(senders[turn].key)
        terms = TicketTerms(signer.address, params, expiration, rand)
        nonce = 1 + place // len(senders)
        signature = signer.sign_digest(terms.ticket_hash(nonce))
        made.append(terms.winner(TicketSenderParams(nonce, signature)))
    return made
