"""One transaction on its way, and how it is written down for a restart."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Literal

from attrs import define, evolve, field, frozen

from podium.chain.fees import Fees
from podium.chain.ports import StoredTx
from podium.chain.values import Receipt, TxRequest
from podium.crypto import keccak256

if TYPE_CHECKING:
    from podium.chain.receipts import Mined
    from podium.errors import PodiumError

GAP_PURPOSE = "gap"
"""Of a transaction that does nothing, at a nonce that the account's others wait for."""

TxEventKind = Literal[
    "sent",  # stored and broadcast
    "resumed",  # found in the store at the start
    "replaced",  # sent again with higher fees
    "capped",  # waits: higher fees would pass the operator's maximum
    "refused",  # the chain does not take it now
    "mined",  # in a block; not confirmed yet
    "dropped",  # was mined, and a reorg took it back
    "foreign",  # another program used the nonce: sent anew
    "confirmed",  # done
    "failed",  # confirmed, and it reverted
    "given_up",  # nothing was sent, or it is of no use any more
    "trouble",  # the chain, the store or the signer could not be asked: tried again
]


@frozen
class TxEvent:
    """Something that happened to a transaction.

    Attributes:
        kind: What.
        account: 20 bytes, who sends.
        purpose: Its request's.
        key: Its request's.
        nonce: None while it has none.
        tx_hash: 32 bytes of its newest form, or of the one that was mined; None before that.
        fees: What it offers for gas; None before that is known.
        detail: The reason, where there is one.
        receipt: Once it is confirmed.
    """

    kind: TxEventKind
    account: bytes
    purpose: str = ""
    key: str = ""
    nonce: int | None = None
    tx_hash: bytes | None = None
    fees: Fees | None = None
    detail: str = ""
    receipt: Receipt | None = None


@define(eq=False)
class Flight:
    """A transaction on its way.

    Attributes:
        request: What was asked for.
        done: Becomes its receipt, or the error it ended with.
        fees: Of its newest form.
        gas_limit: As estimated.
        stored: As it is in the store; None before that.
        committed: It is in the store, or about to be: it must be seen through.
        airborne: Its first broadcast is over.
        waiters: How many callers wait.
        offered_at: Unix seconds, when its newest form was signed.
        broadcast_at: Unix seconds, when it was broadcast last.
        first_in_line_at: Unix seconds, since when no lower nonce waits; None: one does.
        mined: Where it was seen in a block.
        absent: How often in a row its nonce was used and it was nowhere.
    """

    request: TxRequest
    done: asyncio.Future[Receipt | PodiumError] = field(
        factory=lambda: asyncio.get_running_loop().create_future()
    )
    fees: Fees = field(factory=lambda: Fees(0))
    gas_limit: int = 0
    stored: StoredTx | None = None
    committed: bool = False
    airborne: bool = False
    waiters: int = 0
    offered_at: float = 0
    broadcast_at: float = 0
    first_in_line_at: float | None = None
    mined: Mined | None = None
    absent: int = 0

    @classmethod
    def resumed(cls, stored: StoredTx) -> Flight:
        """Read one that a former process left under way."""
        text = json.loads(stored.request)
        request = TxRequest(
            to=bytes.fromhex(text["to"]),
            data=bytes.fromhex(text["data"]),
            purpose=stored.purpose,
            key=stored.key,
            value=text["value"],
            gas_limit=text["gas_limit"],
        )
        return cls(
            request,
            fees=Fees(text["fee_cap"], text["tip"]),
            gas_limit=text["gas"],
            stored=stored,
            committed=True,
            airborne=True,
            offered_at=text["offered_at"],
            first_in_line_at=text["offered_at"],
        )

    @property
    def nonce(self) -> int:
        """Of the account; -1 before it has one."""
        return -1 if self.stored is None else self.stored.nonce

    @property
    def tx_hash(self) -> bytes | None:
        """Of its newest form."""
        return None if self.stored is None else self.stored.hashes[-1]

    @property
    def fills_gap(self) -> bool:
        """Whether it only uses up a nonce."""
        return self.request.purpose == GAP_PURPOSE

    def take_off(self, account: bytes, nonce: int, raw: bytes, now: float) -> StoredTx:
        """Note its first signed form, also of a second start with another nonce."""
        self.offered_at = self.broadcast_at = now
        self.first_in_line_at, self.mined, self.absent = None, None, 0
        self.stored = StoredTx(
            key=self.request.key,
            purpose=self.request.purpose,
            account=account,
            nonce=nonce,
            raws=(raw,),
            hashes=(keccak256(raw),),
            first_sent_at=now,
            request=self._text(),
        )
        return self.stored

    def replaced(self, raw: bytes, fees: Fees, now: float) -> StoredTx:
        """Note a further signed form of the same nonce."""
        assert self.stored is not None
        self.fees = fees
        self.offered_at = self.broadcast_at = now
        self.stored = evolve(
            self.stored,
            raws=(*self.stored.raws, raw),
            hashes=(*self.stored.hashes, keccak256(raw)),
            request=self._text(),
        )
        return self.stored

    def end(self, outcome: Receipt | PodiumError) -> None:
        """Tell who waits; the first outcome counts."""
        if not self.done.done():
            self.done.set_result(outcome)

    def fail(self, fault: BaseException) -> None:
        """Pass on a fault of ours, instead of letting those wait who do."""
        if not self.done.done():
            self.done.set_exception(fault)

    def _text(self) -> str:
        """Return what a replacement needs to be made after a restart."""
        request, fees = self.request, self.fees
        return json.dumps(
            {
                "to": request.to.hex(),
                "data": request.data.hex(),
                "value": request.value,
                "gas_limit": request.gas_limit,
                "gas": self.gas_limit,
                "fee_cap": fees.cap,
                "tip": fees.tip,
                "offered_at": self.offered_at,
            }
        )
