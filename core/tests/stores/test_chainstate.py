"""Transactions under way, heads and remembered values come back as they were."""

import pytest
from attrs import evolve
from podium.chain.ports import StoredTx
from podium.chain.values import Head
from podium.stores.sqlite import Database

ACCOUNT = b"\x01" * 20


@pytest.fixture
async def database(tmp_path):
    opened = await Database.open(tmp_path / "node.sqlite3")
    yield opened
    await opened.close()


def tx(number, **fields):
    stored = StoredTx(
        key=f"redeem:{number}",
        purpose="redeem",
        account=ACCOUNT,
        nonce=number,
        raws=(b"raw", b"dearer"),
        hashes=(b"\x05" * 32, b"\x06" * 32),
        first_sent_at=1795424184.25,
        request='{"to": "0x"}',
    )
    return evolve(stored, **fields)


async def test_transactions_under_way_survive_a_restart(database):
    transactions = database.transactions(StoredTx)
    await transactions.put(tx(11))
    await transactions.put(tx(9))
    await transactions.put(tx(10, account=b"\x02" * 20))
    await transactions.put(tx(11, raws=(b"another",), hashes=(b"\x09" * 32,)))
    await database.close()
    again = await Database.open(database.path)
    transactions = again.transactions(StoredTx)
    assert await transactions.under_way(ACCOUNT) == [
        tx(9),
        tx(11, raws=(b"another",), hashes=(b"\x09" * 32,)),
    ]
    await transactions.remove("redeem:9")
    await transactions.remove("redeem:none")
    assert [each.key for each in await transactions.under_way(ACCOUNT)] == ["redeem:11"]
    await again.close()


def head(number, fee=None):
    return Head(number, bytes([number]) * 32, bytes([number - 1]) * 32, 1000 + number, 7, fee)


async def test_heads_are_replaced_as_a_whole(database):
    heads = database.heads(Head)
    assert await heads.heads() == []
    await heads.keep_heads([head(2), head(1, 10**30), head(3, 0)])
    await heads.keep_heads([head(3, 0), head(4)])
    await heads.keep_heads([head(5), head(4, 2**70)])
    await database.close()
    again = await Database.open(database.path)
    assert await again.heads(Head).heads() == [head(4, 2**70), head(5)]
    await again.close()


async def test_values_are_remembered(database):
    heads = database.heads(Head)
    assert await heads.get("chain_id") is None
    await heads.put_value("chain_id", "42161")
    await heads.put_value("chain_id", "421614")
    assert await heads.get("chain_id") == "421614"
