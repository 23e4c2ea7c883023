"""Prices in a currency, on a chain with a price feed."""

import asyncio
import json
from fractions import Fraction

import pytest
from click.testing import CliRunner
from podium.cli import cli
from podium.crypto import KeySigner, checksum_address
from podium.devnet import ETHER
from podium.errors import StartupError
from podium.testing.gateway.requests import orchestrator_request
from podium.testing.gateway.transport import Rpc


def section(currency):
    line = {"price": "1/3", "per": 10**12}
    return {"enabled": True, "currency": currency, "prices": [line]}


@pytest.fixture
def start(podium_app, devnet):
    """Start a node whose only price is a plugin's, in a currency."""

    def make(currency="usd", **chain):
        devnet.register_orchestrator("orchestrator", service_uri="https://127.0.0.1:8935")
        devnet.to_next_round()
        devnet.fund_gateway("gateway", ETHER, ETHER)
        config = {
            "account": {"private_key": devnet.account("orchestrator").key.hex()},
            "chain": {
                "network": "devnet",
                "rpc_urls": [devnet.rpc_url],
                "controller": checksum_address(devnet.controller),
                "price_feed": checksum_address(devnet.addresses["PriceFeed"]),
                "poll_interval_s": 0.1,
                **chain,
            },
            "payments": {"auto_adjust_price": False},
            "plugins": {"price-fiat": section(currency)},
        }
        return podium_app(config)

    return make


def test_a_price_in_dollars_is_quoted_by_the_feed_and_explained(start, devnet, tmp_path):
    devnet.set_price(2_500 * 10**8)
    app = start()
    gateway = devnet.account("gateway")

    async def ask():
        rpc = Rpc()
        try:
            return await rpc.get_orchestrator(
                app.uri, orchestrator_request(KeySigner(gateway.key)), 10
            )
        finally:
            await rpc.close()

    price = asyncio.run(ask()).price_info
    wanted = Fraction(1, 3) / 10**12 / 2_500 * ETHER
    assert Fraction(price.pricePerUnit, price.pixelsPerUnit) == wanted
    path = tmp_path / "podium.toml"
    admin = app.admin_uri.removeprefix("http://")
    path.write_text(f'[node]\nadmin_listen = "{admin}"\n')
    args = ["price", "explain", "-c", str(path), "--json"]
    done = CliRunner().invoke(cli, [*args, "--sender", "0x" + gateway.address.hex()])
    told = json.loads(done.stdout)
    assert (told["decided_by"], Fraction(told["quoted"])) == ("price-fiat", wanted)


def test_a_currency_that_the_feed_does_not_know_stops_the_start(start):
    with pytest.raises(StartupError, match=r"price-fiat failed: prices in EUR: .*\(ETH/USD\)"):
        start("eur")


def test_without_a_feed_the_start_stops(start):
    with pytest.raises(StartupError, match="prices in USD: there is no price feed for USD"):
        start(price_feed=None)
