"""What an operator's action will do, step by step, before and while it is done.

A plan is made from what the chain says, with everything checked first. Carrying it out asks the
chain again before each step and leaves out what is done, so that a plan that was broken off in
the middle is finished by making it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from attrs import evolve, field, frozen

from podium.crypto import checksum_address
from podium.errors import AccountError, ActionBlocked, Reverted
from podium.protocol.state import read_account

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from podium.chain.ports import Rpc, Transactor
    from podium.chain.reader import Addresses
    from podium.chain.values import Receipt, TxRequest
    from podium.protocol.state import AccountState


def never(state: AccountState) -> bool:
    """Say that a step is not done: for those that add to what was there before."""
    del state
    return False


@frozen
class Problem:
    """Why an action cannot be done now.

    Attributes:
        code: Stable: ``"round_locked"``, ``"insufficient_eth"``, ...
        text: A sentence that says what to do.
    """

    code: str
    text: str


@frozen
class Step:
    """One transaction.

    Attributes:
        sentence: What it does, for people: ``Bond 1000 LPT to yourself``.
        request: The transaction.
        gas: Units of gas that it commonly takes.
        done: Whether the chain already is as the step would have it.
        update: Makes the transaction from what the chain says when its turn comes, where an
            earlier step changes what it has to say; None: as planned.
    """

    sentence: str
    request: TxRequest
    gas: int
    done: Callable[[AccountState], bool] = field(default=never, eq=False, repr=False)
    update: Callable[[AccountState], TxRequest] | None = field(default=None, eq=False, repr=False)

    def request_at(self, state: AccountState) -> TxRequest:
        """Return the transaction, made for a state."""
        return self.request if self.update is None else self.update(state)


@frozen
class Plan:
    """What an action will do.

    Attributes:
        action: ``"activate"``, ...
        account: 20 bytes, who sends.
        steps: In order. None: there is nothing left to do.
        problems: Why it cannot be done now. With any, nothing is sent.
        warnings: Sentences that the operator should read first.
        gas_price: Wei, as it was when the plan was made.
    """

    action: str
    account: bytes
    steps: Sequence[Step] = ()
    problems: Sequence[Problem] = ()
    warnings: Sequence[str] = ()
    gas_price: int = 0

    @property
    def gas_cost(self) -> int:
        """Wei that the steps will commonly cost."""
        return sum(step.gas for step in self.steps) * self.gas_price

    @property
    def sentences(self) -> list[str]:
        """What will happen, for people."""
        return [step.sentence for step in self.steps]

    def raise_if_blocked(self) -> None:
        """Refuse a plan that has problems.

        Raises:
            ActionBlocked: with all of them.
        """
        if self.problems:
            raise ActionBlocked([problem.text for problem in self.problems])

    def with_problem(self, code: str, text: str) -> Plan:
        """Return this with one more problem."""
        return evolve(self, problems=(*self.problems, Problem(code, text)))


class Action(Protocol):
    """Something that an operator wants."""

    def plan(self, state: AccountState) -> Plan:
        """Return what it takes, from what the chain says; pure."""


@frozen
class Progress:
    """How far a plan has come.

    Attributes:
        number: Of the step, from 1.
        total: Number of steps.
        step: The step.
        status: ``"skipped"``: the chain is already so; ``"sending"``; ``"mined"``.
        receipt: Of a step that was mined.
    """

    number: int
    total: int
    step: Step
    status: Literal["skipped", "sending", "mined"]
    receipt: Receipt | None = None


def _quiet(progress: Progress) -> None:
    del progress


async def prepare(rpc: Rpc, contracts: Addresses, account: bytes, action: Action) -> Plan:
    """Read the chain and plan an action; its first step is tried without sending it.

    Raises:
        ChainError: the chain could not be read. Refusals are in the plan.
    """
    plan = action.plan(await read_account(rpc, contracts, account))
    if plan.problems or not plan.steps:
        return plan
    step = plan.steps[0]
    try:
        await dry_run(rpc, account, step.request)
    except Reverted as error:
        why = error.reason or "without saying why"
        return plan.with_problem("reverted", f"{step.sentence}: the contract refuses: {why}")
    return plan


async def dry_run(rpc: Rpc, account: bytes, request: TxRequest) -> None:
    """Try a transaction without sending it.

    Raises:
        Reverted: a contract refuses it.
        ChainError: it could not be tried.
    """
    call = {
        "from": checksum_address(account),
        "to": checksum_address(request.to),
        "data": "0x" + request.data.hex(),
        "value": hex(request.value),
    }
    await rpc.call("eth_call", call, "latest")


async def execute(
    plan: Plan,
    transactor: Transactor,
    refresh: Callable[[], Awaitable[AccountState]],
    progress: Callable[[Progress], None] = _quiet,
    *,
    timeout_s: float | None = None,
) -> list[Receipt]:
    """Carry out a plan, one transaction after the other.

    Args:
        plan: What to do.
        transactor: Sends as the plan's account.
        refresh: Reads the account's state; called before each step.
        progress: Called twice for each step.
        timeout_s: For each transaction.

    Returns:
        The receipts of what was sent.

    Raises:
        ActionBlocked: the plan has problems; nothing was sent.
        AccountError: the transactor sends as another account; nothing was sent.
        ChainError: a step failed; those before it are done. Make the plan again to go on.
    """
    plan.raise_if_blocked()
    if transactor.address != plan.account:
        msg = (
            f"the plan is for {checksum_address(plan.account)},"
            f" but the key is of {checksum_address(transactor.address)}"
        )
        raise AccountError(msg)
    receipts: list[Receipt] = []
    total = len(plan.steps)
    for number, step in enumerate(plan.steps, 1):
        state = await refresh()
        if step.done(state):
            progress(Progress(number, total, step, "skipped"))
            continue
        progress(Progress(number, total, step, "sending"))
        receipt = await _send(step, state, transactor, refresh, timeout_s)
        if receipt is None:
            progress(Progress(number, total, step, "skipped"))
            continue
        receipts.append(receipt)
        progress(Progress(number, total, step, "mined", receipt))
    return receipts


async def _send(
    step: Step,
    state: AccountState,
    transactor: Transactor,
    refresh: Callable[[], Awaitable[AccountState]],
    timeout_s: float | None,
) -> Receipt | None:
    """Send a step; None where it turns out that somebody did it meanwhile."""
    try:
        return await transactor.send(step.request_at(state), timeout_s=timeout_s)
    except Reverted:
        if step.done(await refresh()):
            return None  # the node called reward, or another run of this plan was faster
        raise
