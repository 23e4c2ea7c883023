"""Tickets that cannot be redeemed, at the head of the queue: each says why, none holds others up."""

import asyncio
import re
from collections import Counter

import pytest
from attrs import evolve
from podium.chain.abi import Function
from podium.chain.contracts import RoundsManager, TicketBroker
from podium.chain.reverts import Revert
from podium.crypto import KeySigner, keccak256
from podium.devnet import ETHER
from podium.model import MAX_WIN_PROB, WinningTicket
from podium.payments.redeem.receipts import arguments
from podium.payments.redeem.rules import (
    EXPIRED,
    FEW_FUNDS,
    NO_FUNDS,
    NOT_INITIALIZED,
    PAUSED,
    UNLOCKED,
)
from podium.payments.ticket import winner_hash
from podium.stores.sqlite import Database

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Press:
    """Makes tickets to order, as they would lie in the database."""

    def __init__(self, lab):
        self.lab, self.nonce = lab, 0

    def ticket(self, sender="gateway", **changes):
        """A ticket that is good but for the changes, signed by its sender."""
        self.nonce += 1
        devnet = self.lab.devnet
        number = devnet.current_round
        rand = 10**6 + self.nonce
        made = WinningTicket(
            sender=devnet.account(sender).address,
            recipient=devnet.account("orchestrator").address,
            face_value=self.lab.face_wei,
            win_prob=MAX_WIN_PROB,
            nonce=self.nonce,
            recipient_rand_hash=keccak256(rand.to_bytes(32, "big")),
            creation_round=number,
            block_hash=devnet.call("RoundsManager", RoundsManager.block_hash_for_round, number),
            recipient_rand=rand,
            expiration_block=1,
            signature=b"",
        )
        made = evolve(made, **changes)
        signature = KeySigner(devnet.account(sender).key).sign_digest(winner_hash(made))
        return made if "signature" in changes else evolve(made, signature=signature)

    def other_s(self):
        """A ticket whose signature has the other s, which the contract takes for malleable."""
        good = self.ticket()
        r, s, v = (
            good.signature[:32],
            int.from_bytes(good.signature[32:64], "big"),
            good.signature[64],
        )
        flipped = r + (CURVE_ORDER - s).to_bytes(32, "big") + bytes([55 - v])
        return evolve(good, signature=flipped)


def put(node, tickets):
    """Put tickets into the database, in this order."""

    async def add():
        node.data.mkdir(mode=0o700, exist_ok=True)
        database = await Database.open(node.data / "podium.sqlite3")
        for ticket in tickets:
            await database.tickets.add([ticket])
        await database.close()

    asyncio.run(add())


@pytest.fixture
def press(lab):
    return Press(lab)


def poisoned(lab, press):
    """Every ticket that the contract refuses for good or for now, with where it has to end.

    Made before the chain's changes below: what they need to exist has to exist already.
    """
    devnet = lab.devnet
    old = press.ticket()  # its rounds go by meanwhile
    unlocking = devnet.new_account("unlocking")
    devnet.fund_gateway(unlocking, ETHER, ETHER)
    devnet.send(unlocking, "TicketBroker", TicketBroker.unlock)
    for _ in range(3):
        devnet.next_round()
    poor = devnet.new_account("poor")
    devnet.fund_gateway(poor, lab.face_wei // 2, 0)
    devnet.new_account("nobody")
    used = press.ticket()
    devnet.send("redeemer", "TicketBroker", TicketBroker.redeem, *arguments(used))
    stranger = devnet.account("orchestrator2").address
    good = press.ticket()
    return [
        (old, "expired", EXPIRED),
        (press.ticket("unlocking"), "blocked", UNLOCKED),
        (press.ticket("nobody"), "blocked", NO_FUNDS),
        (press.ticket("poor"), "blocked", FEW_FUNDS),
        (press.ticket(recipient=stranger), "blocked", Revert.NOT_REGISTERED.text),
        (press.ticket(recipient=bytes(20)), "dead", Revert.RECIPIENT_NULL.text),
        (
            press.ticket(sender="gateway2", signature=good.signature),
            "dead",
            Revert.WRONG_SIGNER.text,
        ),
        (press.ticket(signature=b"\1" * 64 + b"\x1b"), "dead", Revert.WRONG_SIGNER.text),
        (
            press.ticket(signature=good.signature[:64] + b"\5"),
            "dead",
            "ECDSA: invalid signature 'v' value",
        ),
        (press.other_s(), "dead", "ECDSA: invalid signature 's' value"),
        (press.ticket(recipient_rand=5), "dead", Revert.WRONG_RAND.text),
        (press.ticket(win_prob=1), "dead", "ticket did not win"),
        (press.ticket(creation_round=devnet.current_round + 1), "dead", Revert.NO_BLOCK_HASH.text),
        (press.ticket(block_hash=b"\7" * 32), "dead", Revert.WRONG_BLOCK_HASH.text),
        (used, "confirmed", ""),
    ]


def test_poison_at_the_head_holds_nobody_up_and_says_why(lab, press):
    bad = poisoned(lab, press)
    good = [press.ticket(name) for name in lab.gateways for _ in range(2)]
    node = lab.node(chain={"reward": "off"})
    put(node, [ticket for ticket, _, _ in bad] + good)
    books = lab.books()
    node.start()
    wanted = {ticket.signature for ticket in good}
    lab.until(lambda: len(books.redeemed()) == len(good), 10, "the good ones")  # others are tried

    expected = {"0x" + t.signature.hex(): (state, reason) for t, state, reason in bad}
    expected |= {"0x" + signature.hex(): ("confirmed", "") for signature in wanted}

    def found():
        return {row["signature"]: (row["state"], row["reason"]) for row in node.tickets()}

    try:
        lab.until(lambda: found() == expected, 30)
    except AssertionError:
        assert found() == expected
    counts = books.assert_nothing_twice()
    assert set(counts) == {"redeem"}
    assert len(books.redeemed()) == len(good)

    listed = node.run("tickets", "list")
    for state, reason in expected.values():
        assert (f"{state}: {reason}" if reason else state) in listed
    for row in node.tickets():
        if row["state"] == "confirmed":
            assert (row["paid_wei"], len(row["tx_hash"])) == (lab.face_wei, 66)
    shown = node.run("tickets", "show", node.tickets()[1]["ticket"][:12])
    assert "blocked" in shown
    assert UNLOCKED in shown
    numbers = Counter(state for state, _ in expected.values())
    for state, number in numbers.items():
        assert f'podium_tickets{{state="{state}"}} {number}' in re.sub(
            r'node_id="[^"]*",|,?node_type="[^"]*",?|node_version="[^"]*",?', "", node.metrics()
        )


def test_a_paused_protocol_and_an_uninitialized_round_are_waited_for(lab, press):
    devnet = lab.devnet
    node = lab.node(chain={"reward": "off"})
    put(node, [press.ticket()])
    books = lab.books()
    devnet.send("deployer", "Controller", Function("pause()"))
    node.start()
    state = lab.until(lambda: seen(node, "blocked"), 10)
    assert state["reason"] == PAUSED
    devnet.to_next_round()
    devnet.send("deployer", "Controller", Function("unpause()"))
    state = lab.until(lambda: seen(node, "blocked", NOT_INITIALIZED), 10)
    assert books.redeemed() == []
    devnet.initialize_round()
    lab.until(lambda: books.redeemed(), 10)
    state = lab.until(lambda: seen(node, "confirmed"), 10)
    assert (state["reason"], state["paid_wei"]) == ("", lab.face_wei)
    books.assert_nothing_twice()


def seen(node, state, reason=None):
    [row] = node.tickets()
    return row if row["state"] == state and reason in (None, row["reason"]) else None
