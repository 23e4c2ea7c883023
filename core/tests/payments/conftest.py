"""A node's payments over a chain in memory, and a sender who signs tickets for it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from attrs import define, field
from podium.crypto import KeySigner
from podium.model import PriceInfo
from podium.payments import PaymentSettings, RandSource, TicketPayments
from podium.payments.ticket import TicketTerms
from podium.testing.chain import FakeChain, MemoryTickets
from podium.wire.payment import Payment, TicketSenderParams

RECIPIENT = bytes.fromhex("f68ecc2ba57060d871518bc6bf75bedb54a729c8")
PRICE = PriceInfo(101, 100)
TICKET_EV = 7_000_000_000_000_001


@define
class Payer:
    """Signs tickets for the parameters that a node offers it."""

    node: TicketPayments
    signer: KeySigner

    @property
    def address(self):
        return self.signer.address

    async def payment(self, *nonces, price=PRICE, params=None):
        """A payment with honest tickets of these nonces."""
        if params is None:
            params = await self.node.offer(self.address, price.wei_per_unit)
        terms = TicketTerms(self.address, params, params.expiration_params, recipient_rand=0)
        return Payment(
            sender=self.address,
            ticket_params=params,
            expiration_params=params.expiration_params,
            ticket_sender_params=tuple(
                TicketSenderParams(nonce, self.signer.sign_digest(terms.ticket_hash(nonce)))
                for nonce in nonces
            ),
            expected_price=price,
        )

    def ticketless(self, price=PRICE):
        return Payment(sender=self.address, expected_price=price)


@define
class Setup:
    """Everything of one node."""

    chain: FakeChain
    store: MemoryTickets
    node: TicketPayments
    events: list
    payer: Payer = field(init=False)

    def __attrs_post_init__(self):
        self.payer = self.new_payer(b"\x07" * 32)

    def new_payer(self, key):
        return Payer(self.node, KeySigner(key))

    def balance(self, key="s"):
        return self.node.balance(self.payer.address, key)


@pytest.fixture
def make_setup():
    """Build nodes: ``make_setup(ticket_ev=..., chain=..., rand=...)``."""

    def build(*, chain=None, rand=None, store=None, recipient=RECIPIENT, **settings):
        settings.setdefault("ticket_ev", TICKET_EV)
        settings.setdefault("redeem_gas", 350_000)
        chain = chain or FakeChain(
            round_hashes={10: b"\x55" * 32}, wei=1_000_000_007, l1_block=1000, current_round=10
        )
        store = store or MemoryTickets()
        events = []
        node = TicketPayments.build(
            PaymentSettings(recipient=recipient, **settings),
            rand=rand or RandSource(b"\x42" * 32),
            clock=chain,
            broker=chain,
            gas_price=chain,
            store=store,
            on_event=events.append,
        )
        return Setup(chain, store, node, events)

    return build


@pytest.fixture
def setup(make_setup):
    return make_setup()


@pytest.fixture
def ticket_value(setup):
    """Exact wei of one ticket under the standard setup."""
    return Fraction(35_000_000_245_000_000 * _threshold(), 2**256 - 1)


def _threshold():
    quotient, remainder = divmod(2**256 - 1, 35_000_000_245_000_000)
    return TICKET_EV * (quotient + bool(remainder))
