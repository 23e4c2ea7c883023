"""Endpoints that fail in the middle of a redemption and a reward: it goes on, and nothing twice."""

import threading
import time
from functools import partial

import pytest

HELD_S = 1.0
"""How long a lone endpoint fails."""

FAULTS = (
    ("die", "prepare"),
    ("limit", "before"),
    ("lose", "after"),
    ("hang", "before"),
    ("stale", "after"),
)
"""What happens, and when: at the dry run, or when the endpoint is given a transaction, before or
after it has passed that on."""


class Scene:
    """A round's work: a reward that is due, and winners whose time has come."""

    def __init__(self, lab, node, books):
        self.lab, self.node, self.books = lab, node, books
        self.payer = lab.payer(node)
        self.winners = 0
        lab.until(books.rewards, 20, "the first round's reward")

    def open(self):
        """Win two tickets, and begin a round: both the reward and their redemption are due."""
        self.lab.until(self._pay, 30, "a payment")
        self.winners += 2
        self.lab.devnet.next_round()

    def _pay(self):
        self.payer.info = None
        answer = self.payer.pay(2)
        if answer.status != 200:
            print(f"refused: {answer.text.strip()}")
            time.sleep(0.2)
        return answer.status == 200

    def close(self, timeout_s):
        """Wait until all is done, and until the node knows it."""
        self.lab.until(self._is_done, timeout_s, "reward and redemption")
        self.lab.until(self._is_known, timeout_s, "the tickets' states")

    def _is_done(self):
        redeemed = len(self.books.redeemed()) == self.winners
        return redeemed and self.lab.devnet.current_round in self.books.rewards()

    def _is_known(self):
        return {row["state"] for row in self.node.tickets()} == {"confirmed"}


class Fault:
    """Lets the endpoint that is in use fail at a moment, and ends it again."""

    def __init__(self, endpoints, kind, moment):
        self.endpoints, self.kind, self.moment = endpoints, kind, moment
        self.failing = None
        self._lock = threading.Lock()
        for each in endpoints:
            each.on_call = partial(self._on_call, each)
            each.on_send = partial(self._on_send, each)

    def _on_call(self, endpoint, method):
        if self.moment == "prepare" and method == "eth_estimateGas":
            self._begin(endpoint)

    def _on_send(self, endpoint, stage, _raw):
        if self.moment == stage:
            self._begin(endpoint)
        return "drop" if self.failing is endpoint and self.kind != "stale" else ""

    def _begin(self, endpoint):
        with self._lock:
            if self.failing is not None:
                return
            self.failing = endpoint
        if self.kind == "die":
            endpoint.die()
        else:
            endpoint.mode = self.kind

    def end(self):
        for each in self.endpoints:
            each.on_send, each.on_call = lambda _stage, _raw: "", lambda _method: None
        if self.kind == "die":
            self.failing.revive()
        self.failing.mode = "pass"


@pytest.mark.timeout(200)
def test_work_goes_on_through_the_other_endpoint(lab):
    first, second = lab.endpoint(), lab.endpoint()
    books = lab.books()
    node = lab.node([first.url, second.url]).start()
    scene = Scene(lab, node, books)
    for kind, moment in FAULTS:
        fault = Fault((first, second), kind, moment)
        scene.open()
        lab.until(lambda: fault.failing, 20, f"the {moment} of {kind}")  # noqa: B023
        if kind == "stale":
            lab.devnet.mine(45)  # it stands still, and the others have gone far ahead
        before = time.monotonic()
        scene.close(40)  # while it still fails
        print(f"{kind} {moment}: done {time.monotonic() - before:.1f} s after it")
        fault.end()
    assert books.assert_nothing_twice()["reward"] == 1 + len(FAULTS)
    assert node.stop() == 0


@pytest.mark.timeout(200)
def test_work_resumes_when_the_only_endpoint_is_back(lab):
    only = lab.endpoint()
    books = lab.books()
    node = lab.node([only.url]).start()
    scene = Scene(lab, node, books)
    for kind, moment in FAULTS:
        fault = Fault((only,), kind, moment)
        scene.open()
        lab.until(lambda: fault.failing, 20, f"the {moment} of {kind}")  # noqa: B023
        time.sleep(HELD_S)
        fault.end()
        before = time.monotonic()
        scene.close(40)
        print(f"{kind} {moment}: done {time.monotonic() - before:.1f} s after its end")
    assert books.assert_nothing_twice()["reward"] == 1 + len(FAULTS)
    assert node.stop() == 0
