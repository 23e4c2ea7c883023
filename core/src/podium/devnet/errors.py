"""What can go wrong with a devnet."""

from __future__ import annotations

from typing import Any

from podium.errors import PodiumError


class DevnetError(PodiumError):
    """The local chain could not be installed, started, deployed to or ended."""

    code = "devnet"


class RpcError(DevnetError):
    """The chain answered a request with an error.

    Attributes:
        data: What came with it; for a revert, its data.
    """

    code = "devnet_rpc"

    def __init__(self, method: str, message: str, data: Any = None) -> None:
        self.data = data
        super().__init__(f"{method}: {message}")


class Reverted(DevnetError):
    """A transaction was mined and failed; the text ends in the contract's reason."""

    code = "devnet_reverted"
