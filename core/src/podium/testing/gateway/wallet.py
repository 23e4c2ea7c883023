"""Options that every command of the Gateway takes: whom to ask, what to pay, with which key."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from podium.crypto import Signer

KEY_VARIABLE = "PODIUM_GATEWAY_KEY"


class Wei(click.ParamType):  # type: ignore[type-arg]
    """An exact amount of wei: ``1200``, ``0.5`` or ``101/100``."""

    name = "wei"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Fraction:
        """Read it, or say what is wrong."""
        try:
            amount = Fraction(value)
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is not a number of wei", param, ctx)
        if amount < 0:
            self.fail(f"{value!r} is negative", param, ctx)
        return amount


orch_addr = click.option(
    "--orch-addr", metavar="URI,...", help="Orchestrators; default port 8935, default https."
)
key_file = click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help=f"The wallet's private key in hex; or {KEY_VARIABLE}. Without one: off chain.",
)
max_ticket_ev = click.option(
    "--max-ticket-ev", type=Wei(), default="3000000000000", show_default=True
)
max_total_ev = click.option(
    "--max-total-ev", type=Wei(), default="20000000000000", show_default=True
)


def read_signer(path: Path | None) -> Signer:
    """Return the wallet of a file or of the environment; none is a Gateway off chain.

    Raises:
        click.ClickException: there is one, and it cannot be used.
    """
    from podium.crypto import KeySigner, NoSigner

    text = os.environ.get(KEY_VARIABLE)
    try:
        if path is not None:
            text = path.read_text().strip()
        if not text:
            return NoSigner()
        return KeySigner(bytes.fromhex(text.removeprefix("0x")))
    except OSError as error:
        raise click.ClickException(
            f"the key file {path} cannot be read: {error.strerror}"
        ) from error
    except ValueError as error:
        where = str(path) if path is not None else KEY_VARIABLE
        raise click.ClickException(
            f"{where} must hold a private key: 64 hexadecimal digits"
        ) from error
