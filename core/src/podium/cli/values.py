"""What an operator types, as exact numbers: refused with a sentence before anything is done."""

from __future__ import annotations

from typing import Any

import click

from podium.config.address import parse_account
from podium.units import WHOLE, parse_amount, parse_percent

MOST = 10**9 * WHOLE
"""Far more than there is of either ETH or LPT: whoever asks for it means something else."""

ALL = -1
"""What ``all`` is turned into: the amount is looked up."""


class Amount(click.ParamType[int]):
    """An amount of LPT or ETH, turned into its smallest parts.

    Attributes:
        symbol: ``LPT`` or ``ETH``.
        all_allowed: Whether ``all`` may be said.
        zero_allowed: Whether it may be nothing.
    """

    def __init__(
        self, symbol: str, *, all_allowed: bool = False, zero_allowed: bool = False
    ) -> None:
        self.symbol = symbol
        self.all_allowed = all_allowed
        self.zero_allowed = zero_allowed
        self.name = f"{symbol}|all" if all_allowed else symbol

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it, exactly."""
        if isinstance(value, int):
            return value
        if self.all_allowed and value.strip().lower() == "all":
            return ALL
        try:
            parts = parse_amount(value, self.symbol)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if parts > MOST:
            self.fail(f"{value} {self.symbol} is more than there is", param, ctx)
        if not parts and not self.zero_allowed:
            self.fail("must be more than 0", param, ctx)
        return parts


class Percent(click.ParamType[int]):
    """A share, turned into millionths."""

    name = "PERCENT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it, exactly."""
        if isinstance(value, int):
            return value
        try:
            return parse_percent(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class ServiceUri(click.ParamType[str]):
    """Where gateways will look for the node."""

    name = "URI"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Complete it as the configuration does."""
        from podium.protocol.registration import check_service_uri

        check = check_service_uri(value)
        if check.problem or not check.uri:
            self.fail(check.problem or "must name a host, as in https://HOST:8935", param, ctx)
        return check.uri


class EthereumAddress(click.ParamType[bytes]):
    """An account, turned into 20 bytes; mixed case must be the checksum."""

    name = "ADDRESS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        """Read it."""
        if isinstance(value, bytes):
            return value
        try:
            return parse_account(value)
        except ValueError as error:
            self.fail(f'"{value}": {error}', param, ctx)
