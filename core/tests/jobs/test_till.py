from fractions import Fraction

import pytest
from podium.errors import InsufficientBalance, SenderError
from podium.jobs.till import Till
from podium.model import PriceInfo
from podium.payments import NoPayments, PaymentSettings, RandSource, SenderFunds, TicketPayments
from podium.pricing import PriceBook, Rates
from podium.testing.chain import FakeChain, MemoryTickets
from podium.wire.payment import Payment
from podium_hookspecs import PluginError, Price

SENDER = b"\2" * 20


def make_till(decide=lambda request: None, price=Fraction(5)):
    chain = FakeChain()
    chain.funds[SENDER] = SenderFunds(10**18, 10**18)
    payments = TicketPayments.build(
        PaymentSettings(b"\1" * 20, ticket_ev=1000),
        rand=RandSource(b"s" * 32),
        clock=chain,
        broker=chain,
        gas_price=chain,
        store=MemoryTickets(),
        on_event=lambda event: None,
    )
    book = PriceBook(Rates(price, auto_adjust=False), decide, payments.tx_cost_multiplier)
    return Till(payments, book)


async def test_a_quote_binds_tickets_to_its_price():
    params, info = await make_till().quote(SENDER, "session")
    assert info.wei_per_unit == 5
    assert params.recipient == b"\1" * 20


async def test_off_chain_there_is_no_quote():
    till = Till(NoPayments(), make_till().book)
    assert await till.quote(SENDER, "session") is None
    assert not till.verifies
    assert till.charge(Payment(SENDER), "session").wei_per_unit == 0


async def test_an_admission_can_make_a_session_free():
    till = make_till()
    with pytest.raises(InsufficientBalance):
        till.charge(Payment(SENDER, expected_price=PriceInfo(5, 1)), "session")
    _, info = await till.quote(SENDER, "session", Price(0, "pixel"))
    assert info.wei_per_unit == 0
    assert till.charge(Payment(SENDER, expected_price=PriceInfo(0, 1)), "session").wei_per_unit == 0
    with pytest.raises(InsufficientBalance):
        till.charge(Payment(SENDER, expected_price=PriceInfo(0, 1)), "another")


async def test_a_failing_price_plugin_refuses():
    def decide(request):
        raise PluginError("feed is stale", public="no price")

    till = make_till(decide)
    with pytest.raises(SenderError, match=r"^no price$"):
        await till.quote(SENDER, "session")
    with pytest.raises(SenderError, match=r"^no price$"):
        till.charge(Payment(SENDER), "session")


async def test_jobs_side_by_side_cannot_count_on_the_same_ticket():
    till = make_till()
    ledger = till.payments.ledger
    ledger.credit(SENDER, "session", Fraction(2500), Fraction(5))
    payment = Payment(SENDER, expected_price=PriceInfo(5, 1))
    first, second = till.charge(payment, "session"), till.charge(payment, "session")
    with pytest.raises(InsufficientBalance):
        till.charge(payment, "session")
    # What was billed is held no longer: 2500 - 600 billed - 400 and 1000 still held.
    till.debit(SENDER, "session", Fraction(600))
    first.spent(Fraction(600))
    with pytest.raises(InsufficientBalance):
        till.charge(payment, "session")
    second.release()
    second.release()
    till.charge(payment, "session").release()
    first.spent(Fraction(9999))
    assert till._held == {}
