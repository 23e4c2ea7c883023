"""The protocol's contracts, deployed without the bridge (contracts.md 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from podium.chain.abi import Function
from podium.chain.contracts import contract_id
from podium.devnet.accounts import STAKE_LPTU, STAKEHOLDERS, SUPPLY_LPTU
from podium.devnet.artifacts import Artifact, wrap_runtime
from podium.devnet.feed import FEED_RUNTIME

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from podium.devnet.accounts import Account
    from podium.devnet.options import DevnetOptions
    from podium.devnet.sender import Sender

SET_CONTRACT = Function("setContractInfo(bytes32,address,bytes20)")
GRANT_ROLE = Function("grantRole(bytes32,address)")
MINT = Function("mint(address,uint256)")
MINTER_ROLE = contract_id("MINTER_ROLE")

INFLATION_CHANGE = 500
TARGET_BONDING_RATE = 500_000_000
LOCK_AMOUNT = 100_000
ACTIVE_ORCHESTRATORS = 100
UNLOCK_PERIOD = 2
TICKET_VALIDITY_PERIOD = 2
FAUCET_LPTU = 10 * 10**18
FAUCET_WAIT_HOURS = 1

ZERO_SUPPLY_RUNTIME = bytes.fromhex("60206000f3")
"""Answers 0 to everything: there is no L1, so nothing circulates there."""


@define
class Deployment:
    """One deployment in the making.

    Attributes:
        sender: Sends the transactions.
        deployer: Owns the Controller.
        folder: Where the compiled contracts are.
        addresses: What is deployed so far, by name.
    """

    sender: Sender
    deployer: Account
    folder: Path
    addresses: dict[str, bytes] = field(factory=dict)

    def run(self, options: DevnetOptions, accounts: Mapping[str, Account]) -> dict[str, bytes]:
        """Deploy everything; the Controller is unpaused, no round is initialized yet.

        Returns:
            The contracts' addresses by name.
        """
        self._deploy("Controller")
        self._contracts(options)
        self._parameters(options)
        self._tokens(accounts)
        self.send("Controller", Function("unpause()"))
        return self.addresses

    def send(self, contract: str, function: Function, *arguments: Any) -> None:
        """Call a contract as its owner."""
        data = function.encode(*arguments)
        self.sender.send(self.deployer, self.addresses[contract], data)

    def _contracts(self, options: DevnetOptions) -> None:
        controller = self.addresses["Controller"]
        change = INFLATION_CHANGE if options.inflation else 0
        self._deploy("Minter", controller, options.inflation, change, TARGET_BONDING_RATE)
        self._deploy("LivepeerToken")
        token = self.addresses["LivepeerToken"]
        self._deploy("LivepeerTokenFaucet", token, FAUCET_LPTU, FAUCET_WAIT_HOURS)
        for name in ("Minter", "LivepeerToken", "LivepeerTokenFaucet"):
            self._register(name, self.addresses[name])
        self._deploy("SortedDoublyLL")
        for name in ("TicketBroker", "BondingManager", "RoundsManager", "ServiceRegistry"):
            self._deploy_proxied(name)
        self._register("JobsManager", self.addresses["TicketBroker"])  # the Minter pays only it
        self._create("L2LPTDataCache", wrap_runtime(ZERO_SUPPLY_RUNTIME))
        self._register("L2LPTDataCache", self.addresses["L2LPTDataCache"])
        self._deploy("PollCreator", self.addresses["BondingManager"])
        self._create("PriceFeed", wrap_runtime(FEED_RUNTIME))

    def _parameters(self, options: DevnetOptions) -> None:
        period = Function("setUnbondingPeriod(uint64)")
        self.send("BondingManager", period, options.unbonding_period)
        size = Function("setNumActiveTranscoders(uint256)")
        self.send("BondingManager", size, ACTIVE_ORCHESTRATORS)
        length = Function("setRoundLength(uint256)")
        self.send("RoundsManager", length, options.round_length)
        self.send("RoundsManager", Function("setRoundLockAmount(uint256)"), LOCK_AMOUNT)
        self.send("TicketBroker", Function("setUnlockPeriod(uint256)"), UNLOCK_PERIOD)
        validity = Function("setTicketValidityPeriod(uint256)")
        self.send("TicketBroker", validity, TICKET_VALIDITY_PERIOD)

    def _tokens(self, accounts: Mapping[str, Account]) -> None:
        for minter in (self.deployer.address, self.addresses["Minter"]):
            self.send("LivepeerToken", GRANT_ROLE, MINTER_ROLE, minter)
        holders = {name: STAKE_LPTU for name in STAKEHOLDERS} | {"deployer": SUPPLY_LPTU}
        for name, amount in holders.items():
            self.send("LivepeerToken", MINT, accounts[name].address, amount)
        faucet = self.addresses["LivepeerTokenFaucet"]
        self.send("LivepeerToken", MINT, faucet, STAKE_LPTU)

    def _deploy_proxied(self, name: str) -> None:
        controller = self.addresses["Controller"]
        target = f"{name}Target"
        self._create(target, self._code(name, controller))
        self._register(target, self.addresses[target])
        self._create(name, self._code("ManagerProxy", controller, contract_id(target)))
        self._register(name, self.addresses[name])

    def _deploy(self, name: str, *arguments: Any) -> None:
        self._create(name, self._code(name, *arguments))

    def _code(self, name: str, *arguments: Any) -> bytes:
        return Artifact.load(self.folder, name).creation_code(*arguments, libraries=self.addresses)

    def _create(self, name: str, code: bytes) -> None:
        receipt = self.sender.send(self.deployer, None, code)
        self.addresses[name] = bytes.fromhex(receipt["contractAddress"][2:])

    def _register(self, name: str, address: bytes) -> None:
        self.send("Controller", SET_CONTRACT, contract_id(name), address, bytes(20))
