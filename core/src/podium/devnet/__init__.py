"""A local chain with the real Livepeer contracts, for tests, demos and trying things out.

    with start_devnet(DevnetOptions(round_length=20)) as devnet:
        devnet.register_orchestrator("orchestrator", service_uri="https://127.0.0.1:8935")
        devnet.fund_gateway("gateway", deposit_wei=10**18, reserve_wei=10**18)
        devnet.next_round()

Anvil and the compiled contracts come from npm on first use. Nothing here is for real money: the
keys are derived from the accounts' names.
"""

from podium.devnet.accounts import ETHER, Account
from podium.devnet.errors import DevnetError, Reverted, RpcError
from podium.devnet.network import Devnet
from podium.devnet.options import CHAIN_ID, GWEI, DevnetOptions
from podium.devnet.start import attach_devnet, start_devnet

__all__ = [
    "CHAIN_ID",
    "ETHER",
    "GWEI",
    "Account",
    "Devnet",
    "DevnetError",
    "DevnetOptions",
    "Reverted",
    "RpcError",
    "attach_devnet",
    "start_devnet",
]
