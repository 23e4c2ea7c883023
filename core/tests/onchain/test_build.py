"""How the chain's part of a node is put together."""

import asyncio
import time
from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest
from podium.chain.contracts import TicketBroker
from podium.chain.keystore import Keystore
from podium.chain.networks import find_network
from podium.chain.signer import LocalSigner
from podium.chain.values import Head, HeadUpdate, Log
from podium.config.load import parse_settings
from podium.errors import StartupError
from podium.onchain.build import OnChainBuilder
from podium.onchain.connect import Chain
from podium.stores.sqlite import Database

KEY, OTHER = b"\x01" * 32, b"\x02" * 32


def settings_of(**account):
    return parse_settings(
        {
            "version": 1,
            "chain": {
                "network": "devnet",
                "controller": "0x" + "cc" * 20,
                "rpc_urls": ["http://127.0.0.1:1"],
            },
            "account": {"private_key": KEY.hex(), **account},
        }
    )


@pytest.fixture
async def build(tmp_path):
    """Make a builder of these settings."""
    async with AsyncExitStack() as stack:
        database = await Database.open(tmp_path / "node.sqlite3")
        stack.push_async_callback(database.close)

        def make(**account):
            signer = LocalSigner(KEY)
            recipient = signer.address
            return OnChainBuilder(
                settings_of(**account), database, signer, recipient, print, None, stack
            )

        yield make


async def test_a_key_with_several_roles_has_one_sender(build):
    """Two of one account in one store would take each other's nonces."""
    chain = Chain(find_network("devnet", b"\xcc" * 20), None, None, 31337)
    same = {"private_key": KEY.hex()}
    builder = build(redeemer=same, rewarder=same)
    await builder._unlock()
    redeemer = await builder._transactor(chain, builder._keys["redeemer"])
    assert await builder._own_transactor(chain, redeemer) is redeemer
    apart = build(redeemer={"private_key": OTHER.hex()}, rewarder=same)
    await apart._unlock()
    redeemer = await apart._transactor(chain, apart._keys["redeemer"])
    own = await apart._own_transactor(chain, redeemer)
    assert own is not redeemer
    assert own.address == LocalSigner(KEY).address


async def test_whoever_types_a_password_is_not_hurried(build, tmp_path, monkeypatch):
    """The chain has so many seconds to answer, and nobody's typing counts among them."""
    Keystore(tmp_path / "keys").create("right")
    monkeypatch.setattr("podium.onchain.build.START_TIMEOUT_S", 0.01)
    typed = []

    def ask(prompt):
        time.sleep(0.1)
        typed.append(prompt)
        return "right"

    builder = build(redeemer={"keystore": str(tmp_path / "keys")})
    builder.ask = ask
    with pytest.raises(StartupError, match=r"chain.rpc_urls"):
        await builder.build()
    assert len(typed) == 1
    assert "redeemer" in builder._keys


async def test_what_waits_for_a_sender_s_money_hears_of_it(build):
    """It waited for up to five minutes, though the deposit was there."""
    broker, sender, heard = b"\xbb" * 20, b"\xaa" * 20, []

    async def nothing(_):
        pass

    contracts = SimpleNamespace(ticket_broker=broker)
    views = SimpleNamespace(contracts=contracts, start=nothing, on_update=nothing)
    redeemer = SimpleNamespace(funds_changed=heard.append, wake=lambda reorg: None)
    listen = build()._listener(views, redeemer)

    def log(event, address):
        topics = (event.topic, sender.rjust(32, b"\0"))
        return Log(address, topics, bytes(32), 7, bytes(32), bytes(32))

    head = Head(7, bytes(32), bytes(32), 0, 7)
    for event, address in (
        (TicketBroker.deposit_funded, broker),
        (TicketBroker.reserve_funded, broker),
        (TicketBroker.withdrawal, broker),
        (TicketBroker.deposit_funded, b"\xcc" * 20),
    ):
        await listen(HeadUpdate(head, (log(event, address),)))
    assert heard == [sender, sender]


async def test_a_part_that_ends_by_a_fault_is_not_missed_in_silence(build):
    async def fail():
        raise TypeError("a bug")

    builder, told = build(), []
    builder.log = SimpleNamespace(error=lambda text, **more: told.append(more))
    builder._keep(fail(), "balances")
    await asyncio.sleep(0.01)
    assert told == [{"part": "balances", "error": "TypeError('a bug')"}]
