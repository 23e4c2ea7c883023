"""Start a devnet: from a deployed state in the cache, or by deploying."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.chain.contracts import Controller, contract_id
from podium.devnet.accounts import FUNDS_WEI
from podium.devnet.errors import DevnetError
from podium.devnet.install import VERSION, Tools, ensure_tools
from podium.devnet.network import Devnet
from podium.devnet.options import CHAIN_ID, DevnetOptions
from podium.devnet.process import AnvilProcess
from podium.devnet.rpc import Rpc
from podium.errors import PodiumError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PRICE_USD_E8 = 3000 * 10**8
REGISTERED = (
    "TicketBroker",
    "BondingManager",
    "RoundsManager",
    "ServiceRegistry",
    "Minter",
    "LivepeerToken",
    "LivepeerTokenFaucet",
)


def start_devnet(options: DevnetOptions | None = None) -> Devnet:
    """Start a chain with the contracts deployed and a round initialized.

    Raises:
        DevnetError: what it needs cannot be installed, the port is taken, or it did not start.
    """
    options = options or DevnetOptions()
    tools = ensure_tools(options.cache_dir, options.progress)
    devnet = _from_cache(tools, options) if options.use_cached_state else None
    if devnet is None:
        devnet = _deploy(tools, options)
    try:
        devnet.mine()  # a kept state's newest block is as old as the state
        devnet.set_next_base_fee(options.base_fee_wei)
        devnet.set_interval(options.block_time_s)
    except BaseException:
        devnet.close()
        raise
    return devnet


def attach_devnet(rpc_url: str, addresses: Mapping[str, bytes]) -> Devnet:
    """Use a devnet that another process started; closing it leaves it running.

    Raises:
        DevnetError: nothing answers there, or another chain.
    """
    rpc = Rpc(rpc_url)
    if (found := rpc.number("eth_chainId")) != CHAIN_ID:
        msg = f"chain {found} answers at {rpc_url}, not a devnet"
        raise DevnetError(msg)
    return Devnet(rpc, addresses)


def _run(tools: Tools, options: DevnetOptions) -> tuple[AnvilProcess, Rpc]:
    process = AnvilProcess.start(tools.anvil, options)
    return process, Rpc(process.url)


def _state_path(options: DevnetOptions) -> Path:
    return options.cache_dir / "states" / f"{options.state_key(VERSION)}.json"


def _from_cache(tools: Tools, options: DevnetOptions) -> Devnet | None:
    """Load a state that was kept; what does not hold up is forgotten and made anew."""
    path = _state_path(options)
    try:
        kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
        addresses = {name: bytes.fromhex(text) for name, text in kept["addresses"].items()}
        state = kept["state"]
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    process, rpc = _run(tools, options)
    devnet = Devnet(rpc, addresses, process)
    try:
        rpc.call("anvil_loadState", state)
        _verify(devnet)
    except PodiumError as error:
        options.progress(f"the kept deployment is not used: {error}")
        devnet.close()
        path.unlink(missing_ok=True)
        return None
    except BaseException:
        devnet.close()
        raise
    return devnet


def _verify(devnet: Devnet) -> None:
    """Check that the contracts are where we think, in a round that is initialized."""
    for name in REGISTERED:
        found = devnet.call("Controller", Controller.get_contract, contract_id(name))
        if found != devnet.addresses[name]:
            msg = f"{name} is not where it was deployed"
            raise DevnetError(msg)
    if devnet.call("Controller", Controller.paused) or not devnet.round_initialized:
        msg = "the contracts are not ready"
        raise DevnetError(msg)


def _deploy(tools: Tools, options: DevnetOptions) -> Devnet:
    from podium.devnet.deploy import Deployment
    from podium.devnet.sender import Sender

    options.progress("deploying the contracts")
    process, rpc = _run(tools, options)
    devnet = Devnet(rpc, {}, process)
    try:
        for account in devnet.accounts.values():
            devnet.set_balance(account, FUNDS_WEI)
        deployment = Deployment(Sender(rpc), devnet.deployer, tools.contracts)
        devnet.addresses.update(deployment.run(options, devnet.accounts))
        devnet.set_price(DEFAULT_PRICE_USD_E8)
        devnet.next_round()  # round 0 counts as initialized on a new chain, but is not
        _verify(devnet)
        for account in devnet.accounts.values():
            devnet.set_balance(account, FUNDS_WEI)
        _keep(devnet, _state_path(options))
    except BaseException:
        devnet.close()
        raise
    return devnet


def _keep(devnet: Devnet, path: Path) -> None:
    """Write the state beside its place and rename it: two processes may do so at once."""
    kept = {
        "addresses": {name: address.hex() for name, address in devnet.addresses.items()},
        "state": devnet.rpc.call("anvil_dumpState"),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(kept, file)
        Path(name).replace(path)
    except OSError as error:
        msg = f"cannot keep the deployed state in {path.parent}: {error}"
        raise DevnetError(msg) from error
