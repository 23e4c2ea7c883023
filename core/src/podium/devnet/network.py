"""A running devnet, and everything a test does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from podium.chain.blocks import log_of
from podium.chain.contracts import (
    BondingManager,
    RoundsManager,
    ServiceRegistry,
    TicketBroker,
    Token,
)
from podium.crypto import checksum_address
from podium.devnet.accounts import FUNDS_WEI, Account, named_accounts
from podium.devnet.errors import DevnetError, Reverted
from podium.devnet.feed import PRICE_SLOT, UPDATED_SLOT
from podium.devnet.options import CHAIN_ID
from podium.devnet.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podium.chain.abi import Event, Function
    from podium.devnet.process import AnvilProcess
    from podium.devnet.rpc import Rpc

DEFAULT_REWARD_CUT = 100_000
DEFAULT_FEE_SHARE = 50_000
DEFAULT_STAKE_LPTU = 3_000 * 10**18


class Devnet:
    """A local chain with the real contracts. Synchronous; a context manager that ends it.

    Attributes:
        rpc_url: Where it answers.
        chain_id: 31337.
        rpc: For requests that have no method here: ``rpc.call("eth_getLogs", {...})``.
        addresses: The contracts' 20-byte addresses by name, ``PriceFeed`` among them.
        accounts: Funded accounts by name: deployer, orchestrator, orchestrator2, delegator,
            redeemer, rewarder, gateway, gateway2, gateway3.
        process: The node; None where another process started it.
    """

    chain_id = CHAIN_ID

    def __init__(
        self, rpc: Rpc, addresses: Mapping[str, bytes], process: AnvilProcess | None = None
    ) -> None:
        self.rpc = rpc
        self.rpc_url = rpc.url
        self.addresses = dict(addresses)
        self.accounts = named_accounts()
        self.process = process
        self._sender = Sender(rpc)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the node that was started here. Calling this again does nothing."""
        if self.process is not None:
            self.process.stop()

    @property
    def controller(self) -> bytes:
        """The Controller's address."""
        return self.addresses["Controller"]

    @property
    def deployer(self) -> Account:
        """Who owns the contracts."""
        return self.accounts["deployer"]

    # calls and transactions

    def call(self, contract: str | bytes, function: Function, *arguments: Any) -> Any:
        """Read from a contract, given by its name or address."""
        call = {"to": checksum_address(self._address(contract))}
        call["data"] = "0x" + function.encode(*arguments).hex()
        return function.decode(bytes.fromhex(self.rpc.call("eth_call", call, "latest")[2:]))

    def send(
        self,
        account: str | Account,
        contract: str | bytes,
        function: Function,
        *arguments: Any,
        value_wei: int = 0,
    ) -> dict[str, Any]:
        """Call a contract in a transaction, and wait until it is mined; returns the receipt.

        Raises:
            Reverted: it failed; the text has the contract's reason.
        """
        data = function.encode(*arguments)
        return self._sender.send(self.account(account), self._address(contract), data, value_wei)

    def events(self, contract: str | bytes, event: Event) -> list[dict[str, Any]]:
        """Return all events of a kind since the first block, oldest first, with ``tx_hash``."""
        query = {
            "fromBlock": "0x0",
            "toBlock": "latest",
            "address": checksum_address(self._address(contract)),
            "topics": ["0x" + event.topic.hex()],
        }
        logs = [log_of(each) for each in self.rpc.call("eth_getLogs", query)]
        return [{**event.decode(log), "tx_hash": log.tx_hash} for log in logs]

    def transfer(self, account: str | Account, to: bytes, value_wei: int) -> dict[str, Any]:
        """Send ETH."""
        return self._sender.send(self.account(account), to, b"", value_wei)

    def account(self, name: str | Account) -> Account:
        """Return an account by its name.

        Raises:
            DevnetError: there is none of that name.
        """
        if isinstance(name, Account):
            return name
        if name not in self.accounts:
            msg = f"the devnet has no account {name}: {', '.join(self.accounts)}"
            raise DevnetError(msg)
        return self.accounts[name]

    def new_account(self, name: str, balance_wei: int = FUNDS_WEI, lptu: int = 0) -> Account:
        """Make another account, with ETH and LPT (in units of 1e-18)."""
        self.accounts[name] = Account.named(name)
        self.set_balance(name, balance_wei)
        if lptu:
            recipient = self.accounts[name].address
            self.send("deployer", "LivepeerToken", Token.transfer, recipient, lptu)
        return self.accounts[name]

    def balance(self, account: str | Account | bytes) -> int:
        """Return an account's ETH, in wei."""
        return self.rpc.number("eth_getBalance", self._holder(account), "latest")

    def set_balance(self, account: str | Account | bytes, balance_wei: int) -> None:
        """Set an account's ETH."""
        self.rpc.call("anvil_setBalance", self._holder(account), hex(balance_wei))

    def _holder(self, account: str | Account | bytes) -> str:
        return checksum_address(
            account if isinstance(account, bytes) else self.account(account).address
        )

    def _address(self, contract: str | bytes) -> bytes:
        return self.addresses[contract] if isinstance(contract, str) else contract

    # blocks

    @property
    def block_number(self) -> int:
        """The newest block."""
        return self.rpc.number("eth_blockNumber")

    def mine(self, blocks: int = 1) -> None:
        """Mine blocks at once, whatever else mines."""
        if blocks > 0:
            self.rpc.call("anvil_mine", hex(blocks))

    def set_automine(self, enabled: bool = True) -> None:
        """Mine a block for each transaction; off: only :meth:`mine` makes blocks."""
        self.rpc.call("evm_setIntervalMining", 0)
        self.rpc.call("evm_setAutomine", enabled)
        self._sender.mines = not enabled

    def set_interval(self, seconds: int) -> None:
        """Mine a block every so many seconds; 0 mines with each transaction."""
        if not seconds:
            self.set_automine(True)
            return
        self.rpc.call("evm_setAutomine", False)
        self.rpc.call("evm_setIntervalMining", seconds)
        self._sender.mines = False

    def set_next_base_fee(self, base_fee_wei: int) -> None:
        """Set the next block's base fee; later blocks follow from it."""
        self.rpc.call("anvil_setNextBlockBaseFeePerGas", hex(base_fee_wei))

    def drop_pending(self) -> None:
        """Forget all transactions that are not mined."""
        self.rpc.call("anvil_dropAllTransactions")

    def reorg(self, depth: int) -> None:
        """Replace the newest blocks by as many empty ones: what they held never happened."""
        self.rpc.call("anvil_reorg", depth, [])

    def snapshot(self) -> str:
        """Keep the chain's state; the answer is for :meth:`revert`, once."""
        return str(self.rpc.call("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        """Go back to a snapshot; later snapshots are gone, and this one too.

        Raises:
            DevnetError: there is no such snapshot.
        """
        if not self.rpc.call("evm_revert", snapshot):
            msg = f"the devnet has no snapshot {snapshot}"
            raise DevnetError(msg)

    def pause_process(self) -> None:
        """Freeze the node, as an endpoint that hangs."""
        self._started_here().pause()

    def resume_process(self) -> None:
        """Let the node go on."""
        self._started_here().resume()

    def _started_here(self) -> AnvilProcess:
        if self.process is None:
            msg = "this devnet was started by another process"
            raise DevnetError(msg)
        return self.process

    # the protocol

    @property
    def current_round(self) -> int:
        """The round by block number, initialized or not."""
        found: int = self.call("RoundsManager", RoundsManager.current_round)
        return found

    @property
    def round_initialized(self) -> bool:
        """Whether the current round is initialized."""
        found: bool = self.call("RoundsManager", RoundsManager.initialized)
        return found

    def to_next_round(self) -> int:
        """Mine to the first block of the next round, without initializing it; its number."""
        length: int = self.call("RoundsManager", RoundsManager.round_length)
        start: int = self.call("RoundsManager", RoundsManager.start_block)
        self.mine(start + length - self.block_number)
        return self.current_round

    def next_round(self) -> int:
        """Mine to the next round and initialize it, unless somebody was faster; its number."""
        number = self.to_next_round()
        self.initialize_round()
        return number

    def initialize_round(self) -> None:
        """Initialize the current round, unless it is."""
        if self.call("RoundsManager", RoundsManager.last_initialized) == self.current_round:
            return
        try:
            self.send("deployer", "RoundsManager", RoundsManager.initialize)
        except Reverted:
            if not self.round_initialized:
                raise

    def fund_gateway(self, account: str | Account, deposit_wei: int, reserve_wei: int) -> None:
        """Add to a Gateway's deposit and reserve."""
        self.send(
            account,
            "TicketBroker",
            TicketBroker.fund_deposit_and_reserve,
            deposit_wei,
            reserve_wei,
            value_wei=deposit_wei + reserve_wei,
        )

    def bond(
        self, account: str | Account, stake_lptu: int, to: str | Account | None = None
    ) -> None:
        """Bond LPT (in units of 1e-18) to an orchestrator; to oneself by default."""
        delegate = self.account(account if to is None else to).address
        manager = self.addresses["BondingManager"]
        self.send(account, "LivepeerToken", Token.approve, manager, stake_lptu)
        self.send(account, "BondingManager", BondingManager.bond, stake_lptu, delegate)

    def register_orchestrator(
        self,
        account: str | Account,
        stake_lptu: int = DEFAULT_STAKE_LPTU,
        reward_cut: int = DEFAULT_REWARD_CUT,
        fee_share: int = DEFAULT_FEE_SHARE,
        service_uri: str = "",
    ) -> None:
        """Bond, set the cuts (parts of 1e6) and the service URI; active from the next round."""
        self.bond(account, stake_lptu)
        cuts = (reward_cut, fee_share, bytes(20), bytes(20))
        self.send(account, "BondingManager", BondingManager.transcoder_with_hint, *cuts)
        if service_uri:
            self.send(account, "ServiceRegistry", ServiceRegistry.set_uri, service_uri)

    def set_price(self, usd_e8: int, updated_at: int = 0) -> None:
        """Set the price feed's answer, in USD x 1e8, and its age; 0 is always fresh."""
        feed = checksum_address(self.addresses["PriceFeed"])
        for slot, value in ((PRICE_SLOT, usd_e8), (UPDATED_SLOT, updated_at)):
            word = "0x" + (value % 2**256).to_bytes(32, "big").hex()
            self.rpc.call("anvil_setStorageAt", feed, hex(slot), word)
