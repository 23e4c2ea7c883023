"""The reference's redemptions, and the winner it lost: ours send the same bytes, and lose none."""

import hmac
import json
from pathlib import Path

import pytest
from podium.chain.contracts import TicketBroker
from podium.chain.values import Log
from podium.model import TicketState, WinningTicket
from podium.payments.redeem import Redeemer, RedeemSettings, Situation
from podium.payments.redeem.receipts import arguments, call_data, identity, redemptions
from podium.payments.ticket import rand_hash, winner_hash, wins
from podium.stores.sqlite import Database
from podium.testing.redemption import FakeBroker

DATA = Path(__file__).parent / "data/onchain-video"
RECORDED = json.loads((DATA / "redemptions.json").read_text())
SETUP = json.loads((DATA / "setup.json").read_text())
BROKER = bytes.fromhex(SETUP["addresses"]["TicketBroker"][2:])
FIRST_L1_BLOCK = 931
"""The first that the restarted node saw, about."""
LAST_L1_BLOCK = 959
"""The last of round 15; the ticket is of round 14, and those live for two rounds."""


def unhex(text):
    return bytes.fromhex(text.removeprefix("0x"))


def winner_of(entry):
    """A recorded ticket as our database would have it."""
    ticket = entry["ticket"]
    aux_data = unhex(ticket["auxData"])
    return WinningTicket(
        sender=unhex(ticket["sender"]),
        recipient=unhex(ticket["recipient"]),
        face_value=ticket["faceValue"],
        win_prob=ticket["winProb"],
        nonce=ticket["senderNonce"],
        recipient_rand_hash=unhex(ticket["recipientRandHash"]),
        creation_round=int.from_bytes(aux_data[:32], "big"),
        block_hash=aux_data[32:],
        recipient_rand=int(ticket["recipientRand"], 16),
        expiration_block=entry["ticketQueue_row"]["paramsExpirationBlock"],
        signature=unhex(ticket["sig"]),
    )


def logs_of(entry, tx_hash=None):
    return [
        Log(
            address=unhex(log["address"]),
            topics=tuple(map(unhex, log["topics"])),
            data=unhex(log["data"]),
            block_number=entry["block"],
            block_hash=bytes(32),
            tx_hash=tx_hash or unhex(entry["hash"]),
            index=index,
        )
        for index, log in enumerate(entry["logs"])
    ]


def amount_of(entry):
    (transfer,) = [
        log["decoded"]["args"]["amount"]
        for log in entry["logs"]
        if log["decoded"]["event"] == "WinningTicketTransfer"
    ]
    return transfer


@pytest.mark.parametrize("entry", RECORDED["redeemed"], ids=lambda entry: entry["hash"][:8])
def test_a_redemption_is_the_same_call_and_reads_the_same(entry):
    ticket = winner_of(entry)
    assert unhex(entry["to"]) == BROKER
    assert call_data([ticket]) == unhex(entry["input"])
    assert winner_hash(ticket).hex() == entry["ticket"]["ticket_hash"]
    assert wins(ticket.signature, ticket.recipient_rand, ticket.win_prob)
    ((key, redemption),) = redemptions(logs_of(entry), BROKER)
    assert key == identity(ticket)
    assert redemption.paid == amount_of(entry)
    assert (redemption.tx_hash, redemption.block) == (unhex(entry["hash"]), entry["block"])


def test_all_of_them_in_one_batch():
    tickets = [winner_of(entry) for entry in RECORDED["redeemed"]]
    assert len(tickets) == 16
    packed, signatures, rands = TicketBroker.batch_redeem.decode_input(call_data(tickets))
    called = list(zip(packed, signatures, rands, strict=True))
    assert called == [arguments(ticket) for ticket in tickets]
    logs = [log for entry in RECORDED["redeemed"] for log in logs_of(entry, tx_hash=b"\x01" * 32)]
    found = dict(redemptions(logs, BROKER))
    assert [found[identity(t)].paid for t in tickets] == [
        amount_of(e) for e in RECORDED["redeemed"]
    ]


def test_a_redemption_without_a_transfer_paid_nothing():
    first, second = RECORDED["redeemed"][:2]
    transfer, redeemed = logs_of(first, b"\x01" * 32)
    _, nothing = logs_of(second, b"\x01" * 32)
    found = dict(redemptions([transfer, redeemed, nothing], BROKER))
    assert found[identity(winner_of(first))].paid == amount_of(first)
    assert found[identity(winner_of(second))].paid == 0
    elsewhere = [transfer, *logs_of(second)[1:]]  # another transaction's transfer is not ours
    assert [each.paid for _, each in redemptions(elsewhere, BROKER)] == [0]
    assert list(redemptions(logs_of(first), b"\x02" * 20)) == []


def lost_winner():
    """The ticket that the reference lost at a restart, with the randomness it forgot."""
    (row,) = RECORDED["never_redeemed_rows"]
    refusals = json.loads((DATA / "refusals.json").read_text())
    (payment,) = [each["payment"] for each in refusals if each.get("id") == 91]
    params, expiry = payment["ticket_params"], payment["expiration_params"]
    (signed,) = payment["ticket_sender_params"]
    price = payment["expected_price"]
    assert (row["senderNonce"], row["creationRound"]) == (12, expiry["creation_round"])
    block_hash = unhex(expiry["creation_round_block_hash"])
    parts = (
        unhex(params["seed"]),
        unhex(payment["sender"]),
        unhex(params["face_value"]),
        unhex(params["win_prob"]),
        row["paramsExpirationBlock"].to_bytes(2, "big"),
        price["pricePerUnit"].to_bytes(5, "big"),
        price["pixelsPerUnit"].to_bytes(1, "big"),
        expiry["creation_round"].to_bytes(32, "big"),
        block_hash,
    )
    secret = unhex(SETUP["orchestrator_secrets"]["orch1"]["ticket_secret"])
    rand = int.from_bytes(hmac.digest(secret, b"".join(parts), "sha256"), "big")
    return WinningTicket(
        sender=unhex(payment["sender"]),
        recipient=unhex(params["recipient"]),
        face_value=int(params["face_value"], 16),
        win_prob=int(params["win_prob"], 16),
        nonce=signed["sender_nonce"],
        recipient_rand_hash=unhex(params["recipient_rand_hash"]),
        creation_round=expiry["creation_round"],
        block_hash=block_hash,
        recipient_rand=rand,
        expiration_block=row["paramsExpirationBlock"],
        signature=unhex(signed["sig"]),
    )


async def test_the_winner_that_the_reference_lost_at_a_restart_is_redeemed_in_time(tmp_path):
    ticket = lost_winner()
    assert rand_hash(ticket.recipient_rand) == ticket.recipient_rand_hash
    assert wins(ticket.signature, ticket.recipient_rand, ticket.win_prob)
    before = await Database.open(tmp_path / "node.sqlite3")
    await before.add([ticket])
    await before.close()

    length = SETUP["rounds"]["length_blocks"]
    chain = FakeBroker(at_block(FIRST_L1_BLOCK, length), {ticket.sender: 2 * 10**18})
    database = await Database.open(tmp_path / "node.sqlite3")
    redeemer = Redeemer(
        chain,
        database.tickets,
        settings=RedeemSettings(redeem_gas=SETUP["redeem_gas_constant"]),
        on_event=lambda event: None,
    )
    for l1_block in range(FIRST_L1_BLOCK, LAST_L1_BLOCK + 1):
        chain.now = at_block(l1_block, length)
        await redeemer.look()
        await redeemer.settled()
        (record,) = await database.list_tickets()
        # The ticket's last round ends before its parameters expire. So they are ended early, and
        # no more tickets of theirs are taken: their randomness is known now.
        redeemed = l1_block >= LAST_L1_BLOCK - length // 4 + 1
        assert record.state is (TicketState.CONFIRMED if redeemed else TicketState.PENDING)
        assert redeemer.has_revealed(ticket.recipient_rand) == redeemed
    await database.close()
    assert record.paid == ticket.face_value
    assert len(chain.sent) == 1
    assert ticket.expiration_block > LAST_L1_BLOCK


def at_block(l1_block, length):
    """The recorded chain at one of its blocks; rounds began with the chain."""
    number, into = divmod(l1_block, length)
    return Situation(
        block=l1_block,
        l1_block=l1_block,
        current_round=number,
        round_initialized=True,
        paused=False,
        validity_rounds=SETUP["rounds"]["ticket_validity_rounds"],
        blocks_left=length - into,
        round_length=length,
        gas_price=SETUP["gas_price_seen"],
    )
