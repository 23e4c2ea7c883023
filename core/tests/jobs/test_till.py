from fractions import Fraction

import pytest
from podium.errors import InsufficientBalance, SenderError, TicketError
from podium.jobs.till import TRANSCODING, Quotes, Till, Ware
from podium.model import PriceInfo
from podium.payments import NoPayments, PaymentSettings, RandSource, SenderFunds, TicketPayments
from podium.pricing import PriceBook, Rates
from podium.testing.chain import FakeChain, MemoryTickets
from podium.wire.payment import ExpirationParams, Payment, TicketParams, TicketSenderParams
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


def test_the_least_quote_of_late_counts_and_no_other_key_s():
    clock = [0.0]
    quotes = Quotes(lambda: clock[0])
    assert quotes.least(SENDER, "a") is None
    quotes.note(SENDER, "a", Fraction(7))
    quotes.note(SENDER, "a", Fraction(9))
    quotes.note(SENDER, "b", Fraction(1))
    assert quotes.least(SENDER, "a") == 7
    clock[0] = 1799.0
    quotes.note(SENDER, "a", Fraction(9))
    assert quotes.least(SENDER, "a") == 7
    clock[0] = 3600.0
    assert quotes.least(SENDER, "a") is None


async def test_tickets_of_a_cheaper_ware_are_taken_for_nothing_dear():
    till = make_till(lambda request: Price(50, "token") if request.model == "dear" else None)
    dear = Ware(33, "dear", "token")
    params, info = await till.quote(SENDER, "session")
    terms = {"ticket_params": params, "ticket_sender_params": (TicketSenderParams(1, b""),)}
    cheap = Payment(SENDER, expected_price=PriceInfo(info.price_per_unit, 1), **terms)
    with pytest.raises(TicketError, match="invalid recipientRand"):
        await till.receive(cheap, dear.key, ware=dear)
    free = Payment(SENDER, expected_price=PriceInfo(0, 1), **terms)
    with pytest.raises(TicketError, match="invalid recipientRand"):
        await till.receive(free, dear.key, ware=dear)
    assert till.payments.fixed_price(SENDER, dear.key) is None


async def test_a_price_that_was_agreed_needs_no_plugin_s_answer():
    asked = []

    def decide(request):
        asked.append(request)
        raise PluginError("feed is stale", public="no price")

    till = make_till(decide)
    till.payments.ledger.credit(SENDER, "session", Fraction(2500), Fraction(5))
    await till.receive(Payment(SENDER), "session", ware=TRANSCODING)
    with pytest.raises(SenderError, match="no price"):
        await till.receive(ticket_for(4), "session", ware=TRANSCODING)
    asked.clear()
    with pytest.raises(TicketError):  # its own check: the parameters are nobody's
        await till.receive(ticket_for(5), "session", ware=TRANSCODING)
    assert asked == []


def ticket_for(price):
    params = TicketParams(b"\1" * 20, 1, 1, b"\0" * 32, 1, 1)
    return Payment(
        SENDER,
        ticket_params=params,
        expiration_params=ExpirationParams(1, b"\0" * 32),
        ticket_sender_params=(TicketSenderParams(1, b""),),
        expected_price=PriceInfo(price, 1),
    )
