"""``podium tickets``: what it says, and that a running node would hear of a retry."""

import asyncio
import json

import pytest
from click.testing import CliRunner
from podium.cli import cli
from podium.model import TicketRecord, TicketState, WinningTicket
from podium.payments.ticket import winner_hash
from podium.stores.sqlite import Database

WEI = 35_000_000_245_000_001


def ticket(number):
    return WinningTicket(
        sender=b"\x01" * 20,
        recipient=b"\x02" * 20,
        face_value=WEI,
        win_prob=2**255,
        nonce=number,
        recipient_rand_hash=b"\x03" * 32,
        creation_round=7,
        block_hash=b"\x04" * 32,
        recipient_rand=5,
        expiration_block=40,
        signature=bytes([number]) * 65,
    )


RECORDS = [
    TicketRecord(ticket(1)),
    TicketRecord(ticket(2), TicketState.BLOCKED, "face value does not cover the gas",
                 gas_price_limit=100_000_000_700),
    TicketRecord(ticket(3), TicketState.DEAD, "ticket did not win", attempts=2),
    TicketRecord(ticket(4), TicketState.CONFIRMED, tx_hash=b"\xab" * 32, paid=WEI - 1, block=9),
    TicketRecord(ticket(5), TicketState.EXPIRED, "ticket is expired"),
]  # fmt: skip


def name(number):
    return "0x" + winner_hash(ticket(number)).hex()


def in_database(folder, work):
    async def run():
        database = await Database.open(folder / "podium.sqlite3")
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


@pytest.fixture
def podium(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "podium.toml").write_text(f'[node]\ndata_dir = "{tmp_path}"\n')

    async def fill(database):
        await database.add([record.ticket for record in RECORDS])
        await database.tickets.save(RECORDS)

    in_database(tmp_path, fill)
    return lambda *args: CliRunner().invoke(cli, ["tickets", *args])


def rows(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


def test_states_and_amounts_are_exact(podium):
    found = {row["nonce"]: row for row in rows(podium("list", "--json"))}
    assert [row["state"] for row in found.values()] == [
        "pending", "blocked", "dead", "confirmed", "expired",
    ]  # fmt: skip
    assert found[1]["face_value"] == "0.035000000245000001 ETH"
    assert found[2]["unlocks_at"] == "100.0000007 gwei"
    assert found[4]["paid"] == "0.035000000245 ETH"
    assert found[4]["paid_wei"] == WEI - 1
    assert found[4]["tx_hash"] == "0x" + "ab" * 32
    table = podium("list").output
    assert "blocked: face value does not cover the gas" in table
    assert "100.0000007 gwei" in table


@pytest.mark.parametrize(
    ("flags", "nonces"),
    [
        (["--open"], [1, 2]),
        (["--state", "dead"], [3]),
        (["--state", "dead", "--state", "expired"], [3, 5]),
        (["--state", "submitted"], []),
        (["--limit", "2"], [1, 2]),
    ],
)
def test_the_list_can_be_narrowed(podium, flags, nonces):
    assert [row["nonce"] for row in rows(podium("list", "--json", *flags))] == nonces


@pytest.mark.parametrize("form", ["hash", "no prefix", "signature"])
def test_a_ticket_is_named_by_the_start_of_its_hash_or_signature(podium, form):
    prefix = {"hash": name(3)[:10], "no prefix": name(3)[2:12], "signature": "0x030303"}[form]
    (row,) = rows(podium("show", prefix, "--json"))
    assert (row["nonce"], row["attempts"]) == (3, 2)
    text = podium("show", prefix).output
    assert "ticket did not win" in text
    assert "there is nothing to redeem" in text  # what the contract's text means


@pytest.mark.parametrize("command", ["show", "retry"])
@pytest.mark.parametrize(
    ("prefix", "message"),
    [("0x99999999", "there is no ticket 0x99999999"), ("", "there is no ticket")],
)
def test_what_is_no_ticket_is_a_mistake(podium, command, prefix, message):
    result = podium(command, prefix)
    assert result.exit_code == 1
    assert message in result.output


def test_retry_makes_blocked_and_dead_ones_pending(podium, tmp_path):
    result = podium("retry", name(2), name(3))
    assert (result.exit_code, result.output) == (0, "2 tickets will be tried again\n")
    states = {row["nonce"]: row for row in rows(podium("list", "--json"))}
    for nonce in (2, 3):
        assert (states[nonce]["state"], states[nonce]["reason"]) == ("pending", "")
        assert (states[nonce]["attempts"], states[nonce]["unlocks_at"]) == (0, None)
    assert podium("retry", "--all").output == "0 tickets will be tried again\n"


def test_retry_all(podium):
    assert podium("retry", "--all").output == "2 tickets will be tried again\n"


@pytest.mark.parametrize(("number", "state"), [(1, "pending"), (4, "confirmed"), (5, "expired")])
def test_retry_is_only_for_blocked_and_dead_ones(podium, number, state):
    result = podium("retry", name(2), name(number))
    assert result.exit_code == 1
    assert f"ticket {name(number)} is {state}" in result.output
    assert [row["nonce"] for row in rows(podium("list", "--json", "--state", "blocked"))] == [2]


@pytest.mark.parametrize("args", [(), ("--all", "0x01")])
def test_retry_wants_names_or_all(podium, args):
    assert podium("retry", *args).exit_code == 2


async def test_a_node_that_runs_hears_of_a_retry(podium, tmp_path):
    database = await Database.open(tmp_path / "podium.sqlite3")
    await database.tickets.changed_elsewhere()
    assert not await database.tickets.changed_elsewhere()
    result = await asyncio.to_thread(podium, "retry", name(3))
    assert result.exit_code == 0
    assert await database.tickets.changed_elsewhere()
    found = await database.tickets.unsettled(since_round=0)
    assert TicketState.DEAD not in {record.state for record in found}
    assert 3 in {record.ticket.nonce for record in found}
    await database.close()
