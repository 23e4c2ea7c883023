"""What is explained is what is quoted."""

import asyncio
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium.errors import SenderError
from podium.pricing import PriceBook, Rate, Rates
from podium.pricing.explain import explain
from podium_hookspecs import Admission, Price, PriceRequest
from podium_hookspecs.errors import PluginError

SENDER = bytes.fromhex("b5a19836a14ef38d9625fd917f7bd2de9b0b4130")
REQUEST = PriceRequest(SENDER, capability=0)
IN = Admission(True)
amounts = st.fractions(min_value=0, max_value=10**20)
prices = st.builds(Price, amounts, st.just("pixel"))
answers = st.lists(st.one_of(st.none(), prices, st.just(PluginError("stale", public="none now"))))


def first(polled):
    """Decide as the plugin host does."""
    for answer in polled:
        if isinstance(answer, PluginError):
            raise answer
        if answer is not None:
            return answer
    return None


@given(answers, amounts, st.one_of(st.none(), prices), amounts, st.booleans())
def test_it_is_what_the_book_quotes(polled, configured, admitted, multiplier, auto_adjust):
    async def of_sender(sender):
        return multiplier

    rates = Rates(configured, auto_adjust=auto_adjust)
    book = PriceBook(rates, lambda _: first(polled), of_sender)

    async def both():
        named = [(str(number), answer) for number, answer in enumerate(polled)]
        told = await explain(REQUEST, named, rates, Admission(True, price=admitted), of_sender)
        try:
            return told, await book.quote(REQUEST, admitted=admitted)
        except (PluginError, ValueError):
            return told, None

    told, quoted = asyncio.run(both())
    assert told.quoted == quoted
    assert (quoted is None) is bool(told.refusal)
    if quoted is not None:
        assert told.as_json()["quoted"] == str(quoted.wei_per_unit)


async def told(polled=(), rates=None, admission=IN, multiplier=None, **more):
    rates = rates or Rates(Fraction(5))
    return (await explain(REQUEST, polled, rates, admission, multiplier, **more)).as_json()


async def test_everybodys_answer_is_shown_in_order():
    found = await told([("a", None), ("b", Price(Fraction(1, 3), "pixel"))])
    assert found["answers"] == [
        {"who": "a", "wei_per_unit": None, "error": ""},
        {"who": "b", "wei_per_unit": "1/3", "error": ""},
        {"who": "configuration", "wei_per_unit": "5", "error": ""},
    ]
    assert (found["decided_by"], found["quoted"]) == ("b", "1/3")
    assert (found["auto_adjust"], found["multiplier"]) == (True, None)


async def test_an_admissions_price_goes_first_and_its_refusal_before_all():
    found = await told(
        [("a", Price(1, "pixel"))], admission=Admission(True, price=Price(2, "pixel"))
    )
    assert (found["decided_by"], found["quoted"]) == ("admission", "2")
    found = await told([("a", Price(1, "pixel"))], admission=Admission(False, "not you"))
    assert found["quoted"] is None
    assert found["refused"] == "not you (by an admission plugin)"


async def test_a_failure_refuses_unless_somebody_was_heard_before():
    stale = ("feed", PluginError("the feed is stale", public="no price"))
    found = await told([stale, ("a", Price(1, "pixel"))])
    assert (found["decided_by"], found["quoted"]) == ("feed", None)
    assert found["refused"] == "the feed is stale"
    found = await told([("a", Price(1, "pixel")), stale])
    assert (found["decided_by"], found["quoted"], found["refused"]) == ("a", "1", "")


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"rates": Rates(Rate(Fraction(1), "usd"))}, "there is no price feed for USD"),
        (
            {"admission": Admission(True, price=Price(1, "second"))},
            "price is per second, the work is counted in pixel",
        ),
        ({"rates": Rates(Fraction(2**70))}, "a price of 1180591620717411303424 wei"),
    ],
)
async def test_what_cannot_be_quoted_is_refused(more, refusal):
    found = await told(**more)
    assert found["quoted"] is None
    assert found["refused"].startswith(refusal)


async def test_a_sender_without_funds_is_refused():
    async def poor(sender):
        raise SenderError("insufficient sender reserve")

    assert (await told(multiplier=poor))["refused"] == "insufficient sender reserve"


async def test_a_node_that_charges_nobody_quotes_nothing():
    found = await told(charged=False)
    assert (found["quoted"], found["refused"], found["charged"]) == (None, "", False)
