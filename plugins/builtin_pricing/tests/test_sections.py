"""A wrong section is refused with all its problems, each by its key."""

import pytest


async def test_every_problem_of_a_table_is_named_at_once(problems):
    found = await problems(
        """
        [plugins.price-per-gateway]
        enabled = true
        [[plugins.price-per-gateway.prices]]
        gateway = "0x12"
        price = -1
        [[plugins.price-per-gateway.prices]]
        gateway = "0xB5A19836a14EF38d9625Fd917f7bD2De9B0B4130"
        price = 0
        currency = "US$"
        per = 0
        [[plugins.price-per-gateway.prices]]
        gateway = "0x1111111111111111111111111111111111111111"
        [[plugins.price-per-gateway.prices]]
        price = 0.5
        pirce = 1
        """
    )
    assert sorted(found) == sorted(
        [
            'price-per-gateway.prices[0].gateway: "0x12" must be an address: 0x and 40 hex digits',
            "price-per-gateway.prices[0].price: must be > 0",
            'price-per-gateway.prices[1].gateway: "0xB5A19836a14EF38d9625Fd917f7bD2De9B0B4130" has a'
            " wrong checksum; is there a typing error in it?",
            "price-per-gateway.prices[1].price: must be > 0; to charge nothing, write free = true",
            "price-per-gateway.prices[1].per: must be >= 1: 0",
            "price-per-gateway.prices[1].currency: must be letters, as in wei, eth or USD",
            "price-per-gateway.prices[2].price: is missing; to charge nothing, write free = true",
            "price-per-gateway.prices[3].pirce: unknown key; did you mean price?",
            'price-per-gateway.prices[3].price: must be a whole number or a text like "0.5" or "1/3"'
            " (exact, so no floats)",
            "price-per-gateway.prices[3].gateway: is missing. The gateway's address.",
        ]
    )


@pytest.mark.parametrize(
    ("name", "section", "problem"),
    [
        ("price-fixed", "", "prices: is missing."),
        ("price-fixed", "prices = []", "prices: Length of 'prices' must be >= 1"),
        ("price-fixed", "prices = [{price = 1, free = true}]", "goes without a price"),
        ("price-fixed", 'prices = [{price = "1e9"}]', "prices[0].price: must be a whole number"),
        ("price-fixed", 'prices = [{price = "1/0"}]', "prices[0].price: must be a whole number"),
        (
            "price-fixed",
            'prices = [{price = 1}, {price = 2, unit = "second"}]',
            "prices[1] is never the answer: prices[0] fits first",
        ),
        (
            "price-per-capability",
            'prices = [{capability = "text-to-imgae", price = 1}]',
            'capability: "text-to-imgae" is no pipeline of the network; did you mean text-to-image',
        ),
        (
            "price-per-capability",
            "prices = [{capability = -1, price = 1}]",
            "capability: must be >= 0",
        ),
        (
            "price-per-capability",
            'prices = [{capability = 27, price = 1}, {capability = "text-to-image", price = 2}]',
            "prices[1] is never the answer",
        ),
        ("price-fiat", 'currency = "eth"\nprices = [{price = 1}]', "currency: eth needs no feed"),
        ("price-load", "rises_from = 1", "rises_to: must be more than rises_from"),
        ("price-load", 'max_factor = "0.5"', "max_factor: must be more than min_factor"),
        ("price-load", "min_factor = 0", "min_factor: must be > 0"),
        ("price-load", 'measure = "cpu"', "measure: must be one of 'sessions', 'slots'"),
        ("admit-lists", "", "capabilities: allow, deny or one of these must name a gateway"),
        ("admit-lists", 'allow = ["nobody"]', 'allow: "nobody" must be an address'),
        (
            "admit-lists",
            f'allow = ["0x{"ab" * 20}"]\ndeny = ["0x{"AB" * 20}"]',
            "is in allow too",
        ),
    ],
)
async def test_a_mistake_is_refused_before_anything_starts(problems, name, section, problem):
    found = await problems(f"[plugins.{name}]\nenabled = true\n{section}")
    assert len(found) == 1
    assert found[0].startswith(f"{name}.")
    assert problem in found[0]
