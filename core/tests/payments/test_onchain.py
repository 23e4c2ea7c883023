"""Payments whose clock and broker are views of the chain."""

from fractions import Fraction

import pytest
from podium.chain.contracts import BondingManager, TicketBroker
from podium.chain.values import HeadUpdate
from podium.chain.views import ChainViews
from podium.crypto import KeySigner, checksum_address
from podium.errors import PaymentError, RpcUnavailable, SenderError, TicketError
from podium.model import PriceInfo
from podium.payments import PaymentSettings, RandSource, TicketPayments
from podium.payments.local import FixedGasPrice
from podium.payments.onchain import ChainBroker, ChainClock
from podium.payments.ports import SenderFunds
from podium.payments.senders import max_float
from podium.payments.ticket import TicketTerms
from podium.testing.chain import MemoryTickets
from podium.testing.rpc import FAKE_CONTRACTS, FakeProtocol
from podium.wire.payment import Payment, TicketSenderParams

US, OTHER, ALICE = b"\x11" * 20, b"\x22" * 20, b"\xa1" * 20
DOWN = RpcUnavailable("no endpoint gave an answer in time")


@pytest.fixture
def chain():
    chain = FakeProtocol()
    chain.activate(US, 9)
    chain.senders[ALICE] = (10**18, 0, 10**18, 10**17)
    chain.claimed[ALICE, US] = 10**16
    return chain


@pytest.fixture
async def views(chain):
    views = ChainViews(chain.rpc, FAKE_CONTRACTS, US)
    await views.start(chain.head)
    return views


async def test_clock(chain, views):
    clock = ChainClock(views)
    assert (clock.l1_block, clock.current_round) == (1005, 10)
    assert clock.round_hash(10) == chain.hashes[10]
    chain.mine(95)
    await views.on_update(HeadUpdate(chain.head))
    assert (clock.l1_block, clock.current_round) == (1100, 10)  # 11 is not initialized
    await views.on_update(HeadUpdate(chain.head, (chain.initialize_round(),)))
    assert clock.current_round == 11
    assert clock.round_hash(11) == chain.hashes[11]


async def test_funds(views):
    broker = ChainBroker(views, pending={ALICE: 5}.get)
    assert await broker.sender_funds(ALICE) == SenderFunds(
        deposit=10**18,
        reserve_remaining=10**18,
        reserve_claimed=10**17,
        claimed_by_us=10**16,
        pool_size=2,
        withdraw_round=0,
        pending=5,
    )


async def test_a_known_sender_costs_no_request(chain, views):
    broker = ChainBroker(views)
    await broker.sender_funds(ALICE)
    chain.rpc.calls.clear()
    for _ in range(1000):
        await broker.sender_funds(ALICE)
        await broker.is_active(US, 10)
    assert chain.rpc.calls.total() == 0


async def test_what_cannot_be_read_is_the_senders_error(chain, views):
    chain.rpc.error = DOWN
    broker = ChainBroker(views)
    with pytest.raises(SenderError, match=r"^no endpoint gave an answer in time$"):
        await broker.sender_funds(ALICE)
    with pytest.raises(SenderError, match=r"^no endpoint gave an answer in time$"):
        await broker.is_active(OTHER, 10)
    assert await broker.is_active(US, 10)


@pytest.fixture
def node(views):
    return TicketPayments.build(
        PaymentSettings(US, ticket_ev=10**15, redeem_gas=350_000),
        rand=RandSource(b"\x42" * 32),
        clock=ChainClock(views),
        broker=ChainBroker(views),
        gas_price=FixedGasPrice(10**9),
        store=MemoryTickets(),
        on_event=lambda _event: None,
    )


async def test_an_offer_follows_the_chain(chain, views, node):
    offer = await node.offer(ALICE, Fraction(1))
    assert offer.face_value == 350_000 * 10**9 * 100
    assert offer.expiration_block == 1045
    assert offer.expiration_params.creation_round == 10
    assert offer.expiration_params.block_hash == chain.hashes[10]
    chain.senders[ALICE] = (10**18, 0, 10**16, 0)
    event = chain.sender_log(TicketBroker.ticket_transfer, ALICE, OTHER)
    await views.on_update(HeadUpdate(chain.head, (event,)))
    floated = max_float(await node.issuer.broker.sender_funds(ALICE))
    assert floated < 0  # we took more than our part of what is left
    with pytest.raises(SenderError, match=r"^insufficient sender reserve$"):
        await node.offer(ALICE, Fraction(1))


@pytest.fixture
def payer(node):
    """Signs for parameters; the shape of the payments' own tests."""
    signer = KeySigner(b"\x07" * 32)

    async def payment(nonce):
        params = await node.offer(signer.address, Fraction(1))
        terms = TicketTerms(signer.address, params, params.expiration_params, recipient_rand=0)
        return Payment(
            sender=signer.address,
            ticket_params=params,
            expiration_params=params.expiration_params,
            ticket_sender_params=(
                TicketSenderParams(nonce, signer.sign_digest(terms.ticket_hash(nonce))),
            ),
            expected_price=PriceInfo(1, 1),
        )

    payment.address = signer.address
    return payment


async def test_payments_are_taken_and_refused_as_the_chain_says(chain, views, node, payer):
    chain.senders[payer.address] = (10**18, 0, 10**18, 0)
    assert (await node.receive(await payer(1), "s")).tickets == 1

    good = await payer(1)
    chain.senders[payer.address] = (10**18, 11, 10**18, 0)
    unlock = chain.sender_log(TicketBroker.unlocked, payer.address)
    await views.on_update(HeadUpdate(chain.head, (unlock,)))
    text = (
        f"^deposit and reserve for sender {checksum_address(payer.address)} is set to unlock soon$"
    )
    with pytest.raises(TicketError, match=text):
        await node.receive(good, "s")

    chain.senders[payer.address] = (10**18, 0, 10**18, 0)
    cancelled = chain.sender_log(TicketBroker.unlock_cancelled, payer.address)
    own = chain.orchestrators[US]
    own.transcoder = (*own.transcoder[:5], 10, *own.transcoder[6:])
    resigned = chain.own_log(BondingManager.deactivated, US)
    await views.on_update(HeadUpdate(chain.head, (cancelled, resigned)))
    text = f"^orchestrator {checksum_address(US)} is inactive in round 10, cannot process payments$"
    with pytest.raises(PaymentError, match=text):
        await node.receive(good, "s")


async def test_funds_that_cannot_be_read_refuse_the_payment(chain, views, node, payer):
    chain.senders[payer.address] = (10**18, 0, 10**18, 0)
    payment = await payer(1)
    await views.on_update(HeadUpdate(chain.head, reorg=True))
    fresh = ChainViews(chain.rpc, FAKE_CONTRACTS, US)
    await fresh.start(chain.head)
    chain.rpc.error = DOWN
    node.intake.broker = ChainBroker(fresh)
    text = f"^could not get sender info for {checksum_address(payer.address)}: {DOWN}$"
    with pytest.raises(TicketError, match=text):
        await node.receive(payment, "s")
    assert node.balance(payer.address, "s") is None
