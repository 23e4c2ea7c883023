"""Ticket parameters: amounts, float, secret, issuing (payments 2, 6.2)."""

import stat
from fractions import Fraction

import pytest
from podium.errors import SenderError, StartupError
from podium.payments import PaymentSettings, RandSource, SenderFunds, load_secret
from podium.payments.params import face_value
from podium.payments.senders import available_funds, max_float, reserve_share, unlocks_soon
from podium.payments.ticket import expected_value
from podium.wire.payment import ExpirationParams

GWEI = 10**9
PLENTY = 10**30


def settings(**values):
    return PaymentSettings(recipient=b"\x01" * 20, **values)


@pytest.mark.parametrize(
    ("gas_price", "expected"),
    [(10**7, 12 * 10**14), (10**8, 12 * 10**15), (10**9, 12 * 10**16)],
)
def test_face_value_examples(gas_price, expected):
    assert face_value(settings(), gas_price, PLENTY) == expected


def test_face_value_without_a_gas_price_is_a_hundred_tickets():
    assert face_value(settings(ticket_ev=7), 0, PLENTY) == 700


def test_face_value_is_cut_to_float_and_maximum():
    cost = 350_000 * GWEI
    assert face_value(settings(redeem_gas=350_000), GWEI, 3 * cost) == 3 * cost
    assert (
        face_value(settings(redeem_gas=350_000, max_face_value=2 * cost), GWEI, PLENTY) == 2 * cost
    )
    assert (
        face_value(settings(redeem_gas=350_000, max_face_value=500 * cost), GWEI, PLENTY)
        == 100 * cost
    )


@pytest.mark.parametrize(
    ("values", "gas_price", "floated"),
    [
        ({"ticket_ev": 100}, 0, 99),
        ({"ticket_ev": 100}, 0, -90),
        ({"ticket_ev": 100, "max_face_value": 50}, 0, PLENTY),
        ({"redeem_gas": 350_000}, GWEI, 350_000 * GWEI - 1),
    ],
)
def test_insufficient_reserve(values, gas_price, floated):
    with pytest.raises(SenderError, match=r"^insufficient sender reserve$"):
        face_value(settings(**values), gas_price, floated)


def test_a_float_below_a_dear_redemption_is_taken_at_the_average_gas_price():
    """At 10 gwei one redemption costs more, but at 3 gwei this ticket is worth it."""
    average = 350_000 * 3 * GWEI
    values = settings(redeem_gas=350_000)
    assert face_value(values, 10 * GWEI, average) == average
    with pytest.raises(SenderError):
        face_value(values, 10 * GWEI, average - 1)


@pytest.mark.parametrize(
    ("funds", "expected"),
    [
        (SenderFunds(0, 500, claimed_by_us=100, pool_size=50), -90),
        (SenderFunds(300, 500, pool_size=1, pending=100), 500),
        (SenderFunds(299, 500, pool_size=1, pending=100), 400),
        (SenderFunds(200, 500, pool_size=1, pending=100), 400),
        (SenderFunds(0, 500, pool_size=1, pending=100), 400),
        (SenderFunds(10**18, 0, pool_size=0, claimed_by_us=5), 0),
        (SenderFunds(10**18, 0), 0),
        (SenderFunds(0, 400, reserve_claimed=100, pool_size=5), 100),
    ],
)
def test_max_float(funds, expected):
    assert max_float(funds) == expected


def test_available_funds_count_the_deposit():
    funds = SenderFunds(300, 400, reserve_claimed=100, claimed_by_us=50, pool_size=5, pending=20)
    assert reserve_share(funds) == 50
    assert available_funds(funds) == 330


@pytest.mark.parametrize(
    ("withdraw_round", "soon"), [(0, False), (12, False), (11, True), (10, True), (3, True)]
)
def test_unlock(withdraw_round, soon):
    assert unlocks_soon(SenderFunds(1, 1, withdraw_round=withdraw_round), 10) is soon


async def test_an_offer(setup):
    price = Fraction(101000000303, 200)
    sender = b"\x09" * 20
    one = await setup.node.offer(sender, price)
    other = await setup.node.offer(sender, price)
    assert one.recipient == setup.node.settings.recipient
    assert one.face_value == 35_000_000_245_000_000
    assert expected_value(one.face_value, one.win_prob) >= 7_000_000_000_000_001
    assert one.expiration_block == 1040
    assert one.expiration_params == ExpirationParams(10, b"\x55" * 32)
    assert one.recipient_rand_hash != other.recipient_rand_hash
    assert one.seed != other.seed
    assert [event.face_value for event in setup.events] == [one.face_value] * 2
    assert setup.events[0].max_float == 10**19


async def test_no_price_no_value_and_no_questions_about_funds(setup):
    setup.chain.default_funds = None
    params = await setup.node.offer(b"\x09" * 20, Fraction(0))
    assert (params.face_value, params.win_prob) == (0, 0)
    assert params.recipient_rand_hash != bytes(32)


async def test_a_round_without_a_hash_falls_back_to_the_one_before(setup):
    setup.chain.round_hashes = {9: b"\x99" * 32}
    params = await setup.node.offer(b"\x09" * 20, Fraction(1))
    assert params.expiration_params == ExpirationParams(9, b"\x99" * 32)
    setup.chain.round_hashes, setup.chain.current_round = {}, 0
    params = await setup.node.offer(b"\x09" * 20, Fraction(1))
    assert params.expiration_params == ExpirationParams(0, bytes(32))


async def test_poor_and_unreadable_senders_get_no_offer(setup):
    setup.chain.funds[b"\x09" * 20] = SenderFunds(10**20, 0)
    with pytest.raises(SenderError, match="insufficient sender reserve"):
        await setup.node.offer(b"\x09" * 20, Fraction(1))
    with pytest.raises(SenderError, match="insufficient sender reserve"):
        await setup.node.tx_cost_multiplier(b"\x09" * 20)
    setup.chain.default_funds = None
    with pytest.raises(SenderError, match="no answer"):
        await setup.node.offer(b"\x08" * 20, Fraction(1))


async def test_tx_cost_multiplier(setup):
    sender = b"\x09" * 20
    assert await setup.node.tx_cost_multiplier(sender) == 100
    cost = 350_000 * 1_000_000_007
    setup.chain.funds[sender] = SenderFunds(0, cost * 50)
    assert await setup.node.tx_cost_multiplier(sender) == 50
    setup.chain.wei = 0
    assert await setup.node.tx_cost_multiplier(sender) == 0


def test_the_secret_is_made_once_and_kept(tmp_path):
    directory = tmp_path / "data"
    secret = load_secret(directory)
    assert len(secret) == 32
    assert load_secret(directory) == secret
    (file,) = directory.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_secret(tmp_path / "other") != secret


def test_a_broken_secret_stops_the_start(tmp_path):
    (tmp_path / "ticket-secret").write_bytes(b"short")
    with pytest.raises(StartupError, match="has 5 bytes, not 32"):
        load_secret(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="cannot read or make the ticket secret"):
        load_secret(tmp_path / "file")


async def test_offers_outlive_a_restart(make_setup, tmp_path):
    before = make_setup(rand=RandSource(load_secret(tmp_path)))
    payment = await before.payer.payment(1)
    after = make_setup(rand=RandSource(load_secret(tmp_path)))
    assert (await after.node.receive(payment, "s")).tickets == 1


def test_secrets_are_not_shown():
    assert "4242" not in repr(RandSource(b"\x42" * 32)).lower()
    assert "B" * 32 not in repr(RandSource(b"\x42" * 32))
