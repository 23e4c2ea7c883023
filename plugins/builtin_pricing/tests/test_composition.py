"""Plugins together, with values nobody thought of: the first that fits decides, exactly."""

import asyncio
import tempfile
from fractions import Fraction
from pathlib import Path

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from podium.config.load import parse_settings
from podium.pluginhost import NodeFacts, PluginHost, Services
from podium.telemetry.plugin_metrics import PluginMetrics
from podium.telemetry.registry import Registry
from podium_hookspecs import NodeStarted, Price, PriceRequest, SessionOpened

SENDERS = [bytes([number]) * 20 for number in (0x11, 0x22, 0x33)]
WORK = [0, 27, 37]
UNITS = ["pixel", "second"]
CONFIGURED = Fraction(5, 7)
SESSIONS = 8

amounts = st.fractions(min_value=Fraction(1, 10**9), max_value=10**12)
selectors = {
    "price-fixed": st.fixed_dictionaries({"unit": st.sampled_from(["", *UNITS])}),
    "price-per-gateway": st.fixed_dictionaries(
        {"sender": st.sampled_from(SENDERS), "unit": st.sampled_from(["", *UNITS])}
    ),
    "price-per-capability": st.fixed_dictionaries(
        {"capability": st.sampled_from(WORK), "model": st.sampled_from(["", "m"])}
    ),
}


@st.composite
def plugins(draw):
    """Some of the table plugins, in any order, each with prices for this and that."""
    names = draw(st.lists(st.sampled_from(sorted(selectors)), unique=True))
    if draw(st.booleans()):
        names.insert(draw(st.integers(0, len(names))), "price-load")
    rules = st.tuples(amounts, st.integers(1, 10**12))
    return [
        (
            name,
            [(draw(selectors[name]), *draw(rules)) for _ in range(draw(st.integers(1, 4)))]
            if name in selectors
            else [],
        )
        for name in names
    ]


requests = st.builds(
    PriceRequest,
    st.sampled_from(SENDERS),
    st.sampled_from(WORK),
    st.sampled_from([None, "m"]),
    st.sampled_from(UNITS),
)


def fits(rule, request):
    selector = rule[0]
    return (
        selector.get("unit") in (None, "", request.unit)
        and selector.get("sender") in (None, request.sender)
        and selector.get("capability") in (None, request.capability)
        and selector.get("model") in (None, "", request.model)
    )


def expected(plugins, request, load):
    """The plugins' rules, said again in five lines."""
    for index, (name, rules) in enumerate(plugins):
        if name == "price-load":
            share = max(Fraction(0), min(Fraction(1), (load - Fraction(1, 2)) * 2))
            return expected(plugins[index + 1 :], request, load) * (1 + share)
        for rule in rules:
            if fits(rule, request):
                return rule[1] / rule[2]
    return CONFIGURED


def section(rules):
    """Write rules as a section, without those that are never the answer."""
    lines, kept = [], []
    for selector, amount, per in rules:
        if any(covers(wide, selector) for wide in kept):
            continue
        kept.append(selector)
        line = {key: value for key, value in selector.items() if key != "sender"}
        if "sender" in selector:
            line["gateway"] = "0x" + selector["sender"].hex()
        lines.append(line | {"price": str(amount), "per": per})
    return {"enabled": True, **({"prices": lines} if lines else {})}


def covers(wide, narrow):
    return all(value in ("", narrow[key]) for key, value in wide.items())


async def quote(plugins, asked, load):
    with tempfile.TemporaryDirectory() as folder:
        document = {
            "node": {"data_dir": folder},
            "plugins": {name: section(rules) for name, rules in plugins},
        }
        services = Services(
            facts=NodeFacts("0.9.1"),
            log=lambda name: structlog.get_logger().bind(plugin=name),
            metrics=lambda name: PluginMetrics(Registry(), name),
            environ={},
        )
        host = await PluginHost.load(parse_settings(document, path=Path(folder, "x")), services)
        host.open_market(lambda amount, _: amount, lambda one: Price(CONFIGURED, one.unit))
        host.emit(NodeStarted("0.9.1", "", max_sessions=SESSIONS))
        host.emit(SessionOpened("s", bytes(20), load))
        prices = [host.price(one) or Price(CONFIGURED, one.unit) for one in asked]
        polled = [host.poll_prices(one) for one in asked]
        await host.close()
        return prices, polled


@settings(max_examples=40, deadline=None)
@given(plugins(), st.lists(requests, min_size=1, max_size=5), st.integers(0, SESSIONS))
def test_the_first_that_fits_decides_exactly(plugins, asked, load):
    prices, polled = asyncio.run(quote(plugins, asked, load))
    for request, price, answers in zip(asked, prices, polled, strict=True):
        wanted = expected(plugins, request, Fraction(load, SESSIONS))
        assert type(price.wei_per_unit) is Fraction
        assert price == Price(wanted, request.unit)
        assert [name for name, _ in answers] == [name for name, _ in plugins]
        told = [answer for _, answer in answers if answer is not None]
        assert (told[0] if told else Price(CONFIGURED, request.unit)) == price
