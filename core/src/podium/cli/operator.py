"""What a command works with that acts on chain: the chain, the account, its key."""

from __future__ import annotations

import asyncio
import fcntl
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import define, field

from podium.chain.flight import Flight
from podium.chain.ports import StoredTx
from podium.chain.values import Head
from podium.cli.lazy import Failed
from podium.cli.perform import Teller, confirm, interactive, problems_text, show_plan
from podium.config.load import find_config, load_settings
from podium.crypto import checksum_address
from podium.errors import AccountError, Reverted, StoreError, TxFailed
from podium.onchain.connect import (
    Chain,
    Orchestrator,
    connected,
    key_address,
    orchestrator,
    transactor,
    unlock,
)
from podium.protocol.plan import execute, prepare
from podium.protocol.reading import BlockReader
from podium.protocol.state import RoundState, read_account, read_round
from podium.stores.sqlite import Database
from podium.units import format_eth, format_lpt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from podium.chain.flight import TxEvent
    from podium.chain.signer import LocalSigner
    from podium.chain.tx import TransactionManager
    from podium.config.settings import Settings
    from podium.protocol.plan import Action, Plan
    from podium.protocol.state import AccountState
    from podium.stores.chainstate import HeadTable, TransactionTable

T = TypeVar("T")

STORE = "operator.sqlite3"
"""In the node's data folder, and not the node's own database: the node sees its transactions
through by itself, and must not replace those of a command that runs beside it."""

LOCK = "operator.lock"
INTENT = "intent"
"""Remembered: the action that was last agreed to."""

ONCE = {
    "Bond": {"bond"},
    "Unbond": {"unbond"},
    "Rebond": {"rebond"},
    "WithdrawFees": {"withdraw_fees"},
}
"""Actions that would do it twice if done twice, and the purpose of the transaction that does it."""
SAME = "it is so already"


@define(eq=False)
class Operator:
    """A command's connection to the chain.

    What has to wait runs in one event loop, a step at a time; between the steps a prompt may
    block, and Ctrl-C works as everywhere.

    Attributes:
        settings: The configuration.
        runner: Runs what has to wait.
        database: Keeps what these commands have under way.
        chain: The connection.
        own: The orchestrator, and whose key acts for it.
    """

    settings: Settings
    runner: asyncio.Runner
    database: Database
    chain: Chain
    own: Orchestrator
    _signer: LocalSigner | None = field(default=None, init=False)

    @property
    def address(self) -> bytes:
        """The account's 20 bytes."""
        return self.own.address

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for something; Ctrl-C cancels it."""
        return self.runner.run(work)

    def state(self) -> AccountState:
        """Read all about the account.

        Raises:
            ChainError: it could not be read.
        """
        return self.run(self._read())

    async def _read(self) -> AccountState:
        return await read_account(self.chain.rpc, self.chain.addresses, self.address)

    def round(self) -> RoundState:
        """Read the round.

        Raises:
            ChainError: it could not be read.
        """

        async def work() -> RoundState:
            read = await BlockReader.newest(self.chain.rpc)
            return await read_round(read, self.chain.addresses)

        return self.run(work())

    def heading(self) -> str:
        """Say who it is, and where."""
        return f"{checksum_address(self.address)} on {self.chain.network.name}"

    def unlock(self) -> LocalSigner:
        """Return the account's signer; a password that no setting gives is asked for, once.

        Raises:
            AccountError: the key is not there, or the password is wrong.
        """
        if self._signer is None:
            ask = ask_password if interactive() else None
            self._signer = unlock(self.own.own_keys(), self.own.section, ask)
        return self._signer

    def perform(self, make: Callable[[AccountState], Action], yes: bool, done: str = SAME) -> None:
        """Carry out an action, from the chain's state to the last receipt.

        Args:
            make: Makes the action from the state, asking for what is not known.
            yes: Do not ask whether to go on.
            done: What to say when there is nothing to do.

        Raises:
            Failed: it cannot be done, or it failed in the middle; all is said.
        """
        self.own.own_keys()
        with alone(self.settings.node.data_dir / LOCK):
            ended = self._settle()
            state = self.state()
            click.echo(self.heading())
            click.echo(f"  {summary(state)}")
            action = make(state)
            if self._was_it(action, ended):
                click.echo("  done: the earlier command was the same")
                return
            plan = self.run(prepare(self.chain.rpc, self.chain.addresses, self.address, action))
            if not plan.steps and not plan.problems:
                click.echo(f"  nothing to do: {done}")
                return
            show_plan(plan)
            if plan.problems:
                raise Failed(problems_text(plan))
            confirm(yes)
            self.run(self._memory.put_value(INTENT, self._intent(action)))
            self._execute(plan)

    def _execute(self, plan: Plan) -> None:
        signer = self.unlock()
        teller = Teller()

        async def work() -> None:
            async with self._sending(signer, teller.on_event) as sender:
                await execute(plan, sender, self._read, teller.on_progress)

        with teller.explaining(), teller.shown():
            self.run(work())

    def _sending(
        self, signer: LocalSigner, on_event: Callable[[TxEvent], None]
    ) -> AbstractAsyncContextManager[TransactionManager]:
        return transactor(self.chain, signer, self.settings, self._transactions, on_event)

    # What an earlier run left

    @property
    def _transactions(self) -> TransactionTable[StoredTx]:
        return self.database.transactions(StoredTx)

    @property
    def _memory(self) -> HeadTable[Head]:
        return self.database.heads(Head)

    def _intent(self, action: Action) -> str:
        return f"{self.address.hex()} {action!r}"

    def _was_it(self, action: Action, ended: set[str]) -> bool:
        """Return whether an action that adds to what there is was just done by an earlier run."""
        if type(action).__name__ not in ONCE or not ended & ONCE[type(action).__name__]:
            return False
        return self.run(self._memory.get(INTENT)) == self._intent(action)

    def _settle(self) -> set[str]:
        """See through what an earlier run left under way, so that nothing is sent twice.

        Returns:
            The purposes of those that did what they should.
        """
        left = self.run(self._transactions.under_way(self.address))
        if not left:
            return set()
        click.echo("waiting for what an earlier command has sent:")
        for stored in left:
            click.echo(f"  {stored.purpose} 0x{stored.hashes[-1].hex()}")
        signer = self.unlock()
        teller = Teller()
        with teller.explaining(), teller.shown():
            return self.run(self._see_through(signer, left, teller))

    async def _see_through(
        self, signer: LocalSigner, left: list[StoredTx], teller: Teller
    ) -> set[str]:
        """Wait until each has ended; one that failed has done nothing, and may be tried again."""
        worked = set()
        async with self._sending(signer, teller.on_event) as sender:
            for stored in left:
                try:
                    await sender.send(Flight.resumed(stored).request)
                except (TxFailed, Reverted) as error:
                    teller.line(f"  {stored.purpose}: {error}")
                else:
                    worked.add(stored.purpose)
        return worked


@contextmanager
def operating(
    config_path: Path | None, *, account: bool = True, any_key: bool = False
) -> Iterator[Operator]:
    """Connect to the configured chain as the configured account.

    Args:
        config_path: As given on the command line.
        account: Whether it needs one.
        any_key: Act as the key of ``[account]``, whoever the orchestrator is.

    Raises:
        ConfigInvalid: the configuration has problems, or no chain.
        AccountError: there is no account.
        ChainError: the chain cannot be reached, or it is another.
    """
    settings = load_settings(find_config(config_path))
    own = _account(settings, any_key) if account else Orchestrator(bytes(20))
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            database = runner.run(stack.enter_async_context(opened(settings, STORE)))
            link = connected(settings, database.heads(Head))
            chain = runner.run(stack.enter_async_context(link))
            yield Operator(settings, runner, database, chain, own)
        finally:
            runner.run(stack.aclose())


def _account(settings: Settings, any_key: bool) -> Orchestrator:
    if not any_key:
        return orchestrator(settings)
    own = key_address(settings.account)
    if own is None:
        msg = "no key: give account.keystore or account.private_key"
        raise AccountError(msg)
    return Orchestrator(own, settings.account)


def summary(state: AccountState) -> str:
    """Say in a line how the account stands."""
    coder, number = state.transcoder, state.round.number
    standing = "active" if coder.active else "registered" if coder.registered else "not registered"
    return (
        f"round {number}, {standing}: {format_lpt(state.delegator.stake)} bonded,"
        f" {format_lpt(state.lpt)} not bonded, {format_eth(state.eth)}"
    )


@asynccontextmanager
async def opened(settings: Settings, name: str) -> AsyncIterator[Database]:
    """Open a database of the data folder, which is made where it is missing.

    Raises:
        StoreError: it cannot be used.
    """
    folder = settings.node.data_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot use the data folder {folder}: {error.strerror}; set node.data_dir"
        raise StoreError(msg) from error
    database = await Database.open(folder / name)
    try:
        yield database
    finally:
        await database.close()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the file that transactions are kept in: one command sends from it at a time."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            msg = f"another command is sending from {path.parent}: wait until it has ended"
            raise Failed(msg) from None
        yield


def ask_password(prompt: str) -> str:
    """Ask for a password on the terminal, without showing it."""
    answer: str = click.prompt(prompt, hide_input=True, err=True)
    return answer
