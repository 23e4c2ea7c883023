"""What a devnet is started with."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import ge

if TYPE_CHECKING:
    from collections.abc import Callable

CHAIN_ID = 31337
STATE_FORMAT = 1
"""Counts up with every change of what is deployed, so that no older state is loaded."""

DEFAULT_ROUND_LENGTH = 60
DEFAULT_INFLATION = 218_500
GWEI = 10**9


def default_cache_dir() -> Path:
    """Return where tools and deployed states are kept: ``$PODIUM_CACHE`` or ~/.cache/podium."""
    given = os.environ.get("PODIUM_CACHE")
    return (Path(given) if given else Path.home() / ".cache" / "podium") / "devnet"


def _quiet(message: str) -> None:
    del message


@frozen
class DevnetOptions:
    """A local chain's settings.

    Attributes:
        port: On 127.0.0.1; 0 takes a free one.
        block_time_s: A block every so many seconds; 0 mines with each transaction.
        round_length: Blocks in a round.
        unbonding_period: Rounds until unbonded stake can be withdrawn.
        inflation: Parts of 1e9 of the supply that a round mints; 0 keeps fees exact, since the
            contract estimates delegators' fees with the rewards.
        gas_limit: Of a block.
        base_fee_wei: Of the first block after the deployment; empty blocks lower it from there.
        cache_dir: Where tools and deployed states are kept.
        use_cached_state: Load a deployment of the same settings when there is one.
        ready_timeout_s: Until the node answers.
        log_path: Where Anvil's own output goes; nowhere by default.
        detach: Let it outlive this process.
        progress: Called with a line at each step that takes time.
    """

    port: int = field(default=0, validator=ge(0))
    block_time_s: int = field(default=0, validator=ge(0))
    round_length: int = field(default=DEFAULT_ROUND_LENGTH, validator=ge(1))
    unbonding_period: int = field(default=7, validator=ge(0))
    inflation: int = field(default=DEFAULT_INFLATION, validator=ge(0))
    gas_limit: int = field(default=30_000_000, validator=ge(10_000_000))
    base_fee_wei: int = field(default=GWEI, validator=ge(0))
    cache_dir: Path = field(factory=default_cache_dir)
    use_cached_state: bool = True
    ready_timeout_s: float = 20.0
    log_path: Path | None = None
    detach: bool = False
    progress: Callable[[str], None] = field(default=_quiet, eq=False)

    def state_key(self, tools_version: str) -> str:
        """Return the name of the deployed state these settings lead to."""
        parts = (
            STATE_FORMAT,
            tools_version,
            self.round_length,
            self.unbonding_period,
            self.inflation,
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
