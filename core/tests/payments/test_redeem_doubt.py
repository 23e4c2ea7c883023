"""What seems lost, but is not: tickets are given up only where the contract agrees."""

from __future__ import annotations

import asyncio

import pytest
from attrs import evolve
from podium.model import WinningTicket
from podium.payments.redeem import Redeemer, RedeemSettings, Situation
from podium.testing.redemption import FakeBroker, MemoryRedemptions

FACE = 10**18
SENDER = b"\x01" * 20
SETTINGS = RedeemSettings(redeem_gas=350_000, gather_s=0.0, check_wait_s=0.05, poll_s=0.02)
NOW = Situation(
    block=5000, l1_block=1040, current_round=10, round_initialized=True, paused=False,
    validity_rounds=2, blocks_left=50, round_length=60, gas_price=10**9, usual_gas_price=10**9,
)  # fmt: skip
TICKET = WinningTicket(
    sender=SENDER,
    recipient=b"\x09" * 20,
    face_value=FACE,
    win_prob=2**255,
    nonce=1,
    recipient_rand_hash=b"\x03" * 32,
    creation_round=10,
    block_hash=b"\x04" * 32,
    recipient_rand=5,
    expiration_block=1040,
    signature=b"\x05" * 65,
)


class Mistaken(FakeBroker):
    """A chain whose views are wrong about the rounds; its contract is not."""

    believed = None

    def situation(self):
        return self.believed or super().situation()


@pytest.fixture
async def rig():
    chain, store = Mistaken(NOW, {SENDER: 100 * FACE}), MemoryRedemptions()
    clock = [1000.0]
    redeemer = Redeemer(
        chain,
        store,
        settings=SETTINGS,
        on_event=lambda event: None,
        now=lambda: clock[0],
        jitter=lambda: 1.0,
    )

    async def look(wait_s=0.0):
        clock[0] += wait_s
        await redeemer.look()
        for _ in range(30):
            await asyncio.sleep(0)

    yield chain, store, redeemer, look
    await redeemer._work.stop()


async def test_a_ticket_that_only_seems_expired_is_kept_and_redeemed(rig):
    chain, store, redeemer, look = rig
    chain.believed = evolve(NOW, current_round=70_000, l1_block=400_000_000)
    await redeemer.add([TICKET])
    for _ in range(3):
        await look()
    assert store.state(TICKET).state.is_open
    chain.believed = None
    for _ in range(3):
        await look(300)
    assert store.state(TICKET).state == "confirmed"
    assert store.state(TICKET).paid == FACE


async def test_one_that_is_expired_is_given_up(rig):
    chain, store, redeemer, look = rig
    chain.set(current_round=12)
    await redeemer.add([TICKET])
    for _ in range(3):
        await look()
    assert store.state(TICKET).state == "expired"
