"""SIGKILL at random moments, while gateways pay and winners are redeemed: nothing is lost."""

import os
import random
import secrets
import threading
import time
from collections import Counter

import pytest
from attrs import define, field
from podium.chain.contracts import BondingManager, TicketBroker
from podium.devnet import ETHER

TICKETS = 200
KILLS = ["any moment"] * 4 + ["before", "after", "mined"] * 2
"""Around the broadcast of a redemption: before the chain has it, after it has it and before the
node learns of it, and somewhere on the way to its confirmation."""
MAY_BE_REFUSED = ("already seen", "TicketParams expired")
REDEEMS = tuple(f.selector.hex() for f in (TicketBroker.redeem, TicketBroker.batch_redeem))


@define
class Killer:
    """Kills and restarts a node again and again."""

    lab: object
    node: object
    endpoint: object
    draw: random.Random
    kills: Counter = field(factory=Counter)
    stages: list = field(factory=list)
    _armed: str = ""
    _killed: threading.Event = field(factory=threading.Event)

    def on_send(self, stage, raw):
        """Kill in the moment in which the node waits for its broadcast to be answered."""
        if self._armed not in ("before", "after") or not any(each in raw for each in REDEEMS):
            return ""
        if stage != self._armed:
            return ""
        self.lab.devnet.set_automine(False)  # it still waits for its block at the next start
        self.kill(stage)
        return "drop"

    def kill(self, stage):
        self._armed = ""
        self.node.kill()
        self.stages.append(stage)
        self._killed.set()

    def run(self, moments):
        for moment in moments:
            self._killed.clear()
            time.sleep(self.draw.uniform(0.2, 2.0))
            self.do(moment)
            self.node.start()
            if self.stages[-1] in ("before", "after"):
                time.sleep(1)
                self.lab.devnet.set_interval(1)

    def do(self, moment):
        if moment == "any moment":
            self.kill(moment)
            return
        sent = len(self.endpoint.sent)
        self._armed = moment
        self.lab.devnet.mine(41)  # parameters expire: their winners are redeemed now
        if moment == "mined":
            self.wait(lambda: self.redemptions_since(sent))
            time.sleep(self.draw.uniform(0, 1.5))
            self.kill(moment if self.redemptions_since(sent) else "any moment")
        elif not self._killed.wait(4):
            self.kill("any moment")

    def redemptions_since(self, sent):
        return [raw for raw in self.endpoint.sent[sent:] if any(each in raw for each in REDEEMS)]

    def wait(self, condition):
        deadline = time.monotonic() + 4
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)


class Gateway(threading.Thread):
    """Pays until so many of its tickets were taken."""

    def __init__(self, payer, number, draw):
        super().__init__(daemon=True)
        self.payer, self.number, self.draw = payer, number, draw
        self.refusals, self.error = [], None

    def run(self):
        try:
            while (left := self.number - self.taken) > 0:
                answer = self.payer.pay(min(left, self.draw.randint(1, 3)))
                if answer.status != 200:
                    self.refusals.append(answer.text)
                elif self.draw.random() < 0.5:
                    self.payer.info = None
                time.sleep(self.draw.uniform(0.1, 1.5))
        except BaseException as error:
            self.error = error
            raise

    def assert_served(self):
        """All was paid in the end, and nothing was refused but what was late or came twice."""
        assert self.error is None
        assert self.taken == self.number
        odd = [text for text in self.refusals if not any(ok in text for ok in MAY_BE_REFUSED)]
        assert odd == []

    @property
    def taken(self):
        return sum(ticket.taken for ticket in self.payer.tickets)


@pytest.fixture
def gateways(lab):
    """Makes the three senders; most of the last one's winners are paid from its reserve."""
    poor = lab.devnet.new_account("poor gateway")
    lab.devnet.fund_gateway(poor, 2 * lab.face_wei, ETHER)
    names = ("gateway", "gateway2", "poor gateway")

    def make(node, seed):
        share, rest = divmod(TICKETS, len(names))
        return [
            Gateway(lab.payer(node, name), share + (index < rest), random.Random(seed + index))
            for index, name in enumerate(names)
        ]

    return make


def settled(node):
    """All tickets, once none is left to be redeemed."""
    found = node.tickets()
    left = {row["ticket"]: (row["state"], row["reason"]) for row in found if not row["paid_wei"]}
    if left:
        print(left)
        time.sleep(1)
    return None if left else found


@pytest.mark.timeout(300)
def test_every_winner_is_redeemed_once_over_ten_kills(lab, gateways):
    seed = int(os.environ.get("PODIUM_CRASH_SEED") or secrets.randbits(32))
    print(f"PODIUM_CRASH_SEED={seed}")
    draw = random.Random(seed)
    devnet, books, endpoint = lab.devnet, lab.books(), lab.endpoint()
    node = lab.node(
        [endpoint.url],
        chain={"initialize_rounds": True, "initialize_max_delay_s": 0.0, "redeem_batch": 3},
        payments={"ticket_ev_wei": lab.face_wei // 10},
    )
    node.start()
    senders = gateways(node, seed)
    killer = Killer(lab, node, endpoint, draw)
    endpoint.on_send = killer.on_send
    for sender in senders:
        sender.start()
    killer.run(draw.sample(KILLS, len(KILLS)))
    for sender in senders:
        sender.join(120)
        sender.assert_served()
    devnet.mine(41)

    tickets = [ticket for sender in senders for ticket in sender.payer.tickets]
    winners = {t.identity(node.secret) for t in tickets if t.wins(node.secret)}
    owed = {t.identity(node.secret) for t in tickets if t.taken and t.wins(node.secret)}
    print(f"kills: {killer.stages}; {len(tickets)} tickets signed, {len(owed)} winners owed")
    lab.until(lambda: owed <= {identity for identity, _ in books.redeemed()}, 40, "redemption")
    rows = lab.until(lambda: settled(node), 30, "all confirmed")
    lab.until(lambda: devnet.current_round in books.rewards(), 30, "the last reward")
    assert set(books.rewards()) >= set(books.initialized())

    redeemed = books.redeemed()
    counts = books.assert_nothing_twice()  # each winner once, and no transaction in vain
    assert not counts["gap"]
    assert {identity for identity, _ in redeemed} <= winners
    assert {row["state"] for row in rows} == {"confirmed"}
    assert {row["paid_wei"] for row in rows} == {lab.face_wei}
    assert len(rows) == len(redeemed)
    paid = sum(redemption.paid for _, redemption in redeemed)
    assert sum(row["paid_wei"] for row in rows) == paid
    fees = devnet.call(
        "BondingManager", BondingManager.pending_fees, books.account.address, devnet.current_round
    )
    assert paid - len(redeemed) <= fees <= paid  # the contract rounds down at each
    assert len(killer.stages) == len(KILLS)
    assert len([stage for stage in killer.stages if stage != "any moment"]) >= 2
    print(f"{len(redeemed)} redeemed, {paid} wei; fees {fees} wei; {dict(counts)}")
