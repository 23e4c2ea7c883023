"""Shows what an action will do, asks, does it, and says how far it came."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from attrs import define, field

from podium.cli.lazy import EXIT_CONFIG, Failed
from podium.errors import PodiumError, Reverted, TxFailed
from podium.units import format_eth, format_gwei

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.status import Status

    from podium.chain.flight import TxEvent
    from podium.protocol.plan import Plan, Progress

EXIT_INTERRUPTED = 130

HINTS = {
    "round_not_initialized": "podium round initialize",
    "not_registered": "podium activate",
    "no_such_lock": "podium stake show",
    "insufficient_stake": "podium stake show",
    "insufficient_fees": "podium fees show",
}
"""Commands that help, by the problem's code."""

yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask, do it.")


class Refused(Failed):
    """Something needs an answer, and there is nobody to give it."""

    exit_code = EXIT_CONFIG


class Interrupted(Failed):
    """Ctrl-C while a transaction was under way."""

    exit_code = EXIT_INTERRUPTED


def interactive() -> bool:
    """Return whether somebody sits at a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def show_plan(plan: Plan) -> None:
    """Write what will happen, what it costs, and what to read first."""
    for number, step in enumerate(plan.steps, 1):
        click.echo(f"  {number}. {step.sentence}")
    for warning in plan.warnings:
        click.echo(f"  ! {warning}")
    if plan.steps:
        count = len(plan.steps)
        click.echo(
            f"  {count} transaction{'' if count == 1 else 's'}, about"
            f" {format_eth(_round(plan.gas_cost))} for gas at {format_gwei(plan.gas_price)}"
        )


def problems_text(plan: Plan) -> str:
    """Return why a plan cannot be carried out, with the commands that would help."""
    lines = []
    for problem in plan.problems:
        hint = HINTS.get(problem.code)
        lines.append(f"{problem.text} ({hint})" if hint else problem.text)
    return "\n".join(lines)


def _round(wei: int) -> int:
    """Keep four digits: it is an estimate."""
    unit: int = 10 ** max(0, len(str(wei)) - 4)
    return -(-wei // unit) * unit


def confirm(yes: bool) -> None:
    """Ask whether to go on, unless that was said already.

    Raises:
        Refused: it was not, and there is no terminal to ask on.
        Failed: the answer is no.
    """
    if yes:
        return
    if not interactive():
        raise Refused("nothing was sent: there is no terminal to ask on; say --yes")
    if not click.confirm("Go on?"):
        raise Failed("nothing was sent")


@define
class Teller:
    """Says how far a plan has come: a spinner on a terminal, lines elsewhere.

    Attributes:
        done: Sentences of the steps that are done.
        sent: The newest transaction that may still be mined, as text; empty: none.
    """

    done: list[str] = field(factory=list)
    sent: str = ""
    _status: Status | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the spinner while in the context, where there is a terminal."""
        if not sys.stdout.isatty():
            yield
            return
        from rich.console import Console

        console = Console(highlight=False, markup=False)
        with console.status("") as self._status:
            try:
                yield
            finally:
                self._status = None

    def on_progress(self, progress: Progress) -> None:
        """Tell of a step."""
        step = progress.step
        place = f"[{progress.number}/{progress.total}] {step.sentence}"
        if progress.status == "sending":
            self._now(place)
            return
        self.sent = ""
        self.done.append(step.sentence)
        if progress.receipt is None:
            self.line(f"{place}: is so already")
        else:
            receipt = progress.receipt
            self.line(
                f"{place}: done in block {receipt.block_number},"
                f" {format_eth(receipt.cost)} for gas\n      0x{receipt.tx_hash.hex()}"
            )

    def on_event(self, event: TxEvent) -> None:
        """Tell of what happens to a transaction while one waits."""
        link = "" if event.tx_hash is None else f"0x{event.tx_hash.hex()}"
        match event.kind:
            case "sent" | "resumed":
                self.sent = link
                self._now(f"waiting for {link} to be mined")
            case "replaced":
                self.sent = link
                self.line(f"      sent again with higher fees: {link}")
            case "capped":
                self.line("      waits: gas costs more than chain.max_gas_price_wei allows")
            case "dropped":
                self.line("      a reorganisation of the chain took it back; waiting again")
            case "trouble":
                self.line(f"      {event.detail}; trying again")
            case "confirmed" | "failed" | "given_up":
                self.sent = ""

    def _now(self, text: str) -> None:
        if self._status is not None:
            self._status.update(text)
        else:
            click.echo(f"{text} ...")

    def line(self, text: str) -> None:
        """Write something that stays."""
        if self._status is not None:
            self._status.console.print(text)
        else:
            click.echo(text)

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Turn an end in the middle into what was done before it, and what to do next."""
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted("\n".join(["interrupted", *self._came_to()])) from None
        except PodiumError as error:
            advice = [] if (text := _advice(error)) is None else [text]
            raise Failed("\n".join([str(error), *advice, *self._came_to()])) from error

    def _came_to(self) -> Sequence[str]:
        lines = [f"done before that: {sentence}" for sentence in self.done]
        if self.sent:
            lines.append(
                f"{self.sent} may still be mined: run the same command again, which waits for it"
            )
        elif self.done:
            lines.append("run the same command again to go on: what is done is left out")
        else:
            lines.append("nothing was changed")
        return lines


def _advice(error: PodiumError) -> str | None:
    """Return what to do about a contract's refusal."""
    if not isinstance(error, Reverted | TxFailed):
        return None
    from podium.chain.reverts import Revert, classify

    known = classify(error.reason)
    return None if known is Revert.UNKNOWN else known.advice
