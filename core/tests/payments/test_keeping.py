"""Balances over a restart: exact, not older than ten minutes, and no ticket counts twice."""

from fractions import Fraction

import pytest
from podium.errors import StoreError
from podium.payments import Keeper, Ledger
from podium.payments.nonces import NonceTable
from podium.stores.sqlite import Database
from podium.testing.chain import FakeChain

SENDER = b"\x22" * 20
OTHER = b"\x33" * 20
KEY = "37_shout"
RAND = 2**255 + 7


class Life:
    """One life of a node's books on one database file."""

    def __init__(self, database, unix_s, block=100):
        self.seconds = 1000.0
        self.unix_s = unix_s
        self.ledger = Ledger(now=lambda: self.seconds)
        self.nonces = NonceTable()
        self.chain = FakeChain(l1_block=block)
        self.keeper = Keeper(
            self.ledger,
            self.nonces,
            self.chain,
            database.balances,
            lambda key: "_" in key,
            now=lambda: self.unix_s + self.seconds,
        )

    def pay(self, nonce, amount, key=KEY, price=None):
        assert self.nonces.take(RAND, 140, nonce)
        self.keeper.taken(key, RAND, 140)
        self.ledger.credit(SENDER, key, Fraction(amount), price)


@pytest.fixture
async def database(tmp_path):
    database = await Database.open(tmp_path / "podium.sqlite3")
    yield database
    await database.close()


@pytest.fixture
def life(database):
    async def begin(unix_s=0.0, block=100):
        life = Life(database, unix_s, block)
        await life.keeper.restore()
        return life

    return begin


async def test_a_balance_outlives_a_restart_to_the_last_fraction(life):
    first = await life()
    first.pay(1, Fraction(7 * 10**15, 2**256 - 1) + 5, price=Fraction(101, 100))
    first.ledger.debit(SENDER, KEY, Fraction(1, 3))
    first.ledger.debit(OTHER, KEY, Fraction(9))
    await first.keeper.save()
    second = await life()
    assert second.ledger.balance(SENDER, KEY) == first.ledger.balance(SENDER, KEY)
    assert second.ledger.fixed_price(SENDER, KEY) == Fraction(101, 100)
    assert second.ledger.balance(OTHER, KEY) == -9, "a debt is kept too"


async def test_a_session_s_balance_ends_with_the_node(life):
    first = await life()
    first.pay(1, 5, key="a1b2c3d4")
    await first.keeper.save()
    second = await life()
    assert len(second.ledger) == 0
    assert not second.nonces.seen(RAND, 140, 1)


async def test_after_a_crash_a_ticket_counts_once_at_most(life):
    first = await life()
    first.pay(1, 5)
    await first.keeper.save()
    first.pay(2, 5)  # and the node is killed
    second = await life()
    assert second.ledger.balance(SENDER, KEY) == 5
    assert second.nonces.seen(RAND, 140, 1), "what was kept is not credited again"
    second.pay(2, 5)
    await second.keeper.save()
    third = await life()
    assert third.ledger.balance(SENDER, KEY) == 10
    assert third.nonces.seen(RAND, 140, 1)
    assert third.nonces.seen(RAND, 140, 2)


async def test_what_is_old_is_forgotten(life):
    first = await life()
    first.pay(1, 5)
    await first.keeper.save()
    second = await life(unix_s=599)
    assert second.ledger.balance(SENDER, KEY) == 5
    second.seconds += 2
    assert second.ledger.balance(SENDER, KEY) is None, "its age counts on"
    third = await life(unix_s=601, block=140)
    assert third.ledger.balance(SENDER, KEY) is None
    third.ledger.debit(OTHER, KEY, Fraction(1))
    await third.keeper.save()
    fourth = await life(unix_s=601)
    assert not fourth.nonces.seen(RAND, 140, 1), "expired ones go"


async def test_only_what_moved_is_written(life, database):
    first = await life()
    first.pay(1, 5)
    await first.keeper.save()
    await database.close()
    await first.keeper.save()  # nothing to write: it does not fail
    first.pay(2, 5)
    with pytest.raises(StoreError):
        await first.keeper.save()


async def test_a_failed_write_is_told_and_made_up_for(life, database, tmp_path):
    first = await life()
    reasons = []
    first.keeper.on_error = reasons.append
    first.pay(1, 5)
    await database.close()
    await first.keeper.close()
    assert len(reasons) == 1
    again = await Database.open(tmp_path / "podium.sqlite3")
    first.keeper.store = again.balances
    await first.keeper.close()
    second = Life(again, 0.0)
    await second.keeper.restore()
    assert second.ledger.balance(SENDER, KEY) == 5
    await again.close()
